//! Runs every conversation of `tests/data/signalling/*.txt` against a `Session`.
//!
//! A transcript is read as documentation and run as a test. One line, one thing:
//!
//! ```text
//! # comment
//! > {json}                  the client sends this (text that is no JSON is allowed)
//! < {json}                  the server's next message is exactly this; the value "*" is anything
//! @ 10s   @ 500ms           time passes, timers fire
//! = effect                  what the session asked of engine or control, in order (see below)
//! ! grant publish           control allows the oldest undecided publish
//! ! grant play v,a          control allows the oldest undecided play, of video and audio
//! ! grant play v,a of A,B    control allows it: a room in which A and B are (`-`: nobody)
//! ! sources ID v,a of A,B    what a play is to be sent becomes this
//! ! sources ID v of A,B on videoTrack0   ... of A and B, under the labels of slots
//! ! joined ID of A,B         control allows the oldest undecided joinRoom, under this id
//! ! room R own ID of A,B     control answers a getRoomInfo (`-`: without an id of its own)
//! ! deny publish DEFINITION control refuses the oldest undecided publish (or: deny play ...,
//!                           deny join ..., deny room R ...)
//! ! connected publish ID    ICE and DTLS of that peer are up (or: connected play ID)
//! ! receiving publish ID    the first packet of that peer came
//! ! failed publish ID       that peer failed (or: failed play ID)
//! ! grant call              control allows the oldest undecided join of a call
//! ! redirect call ID        control sends the newcomer of a multi-peer call to this id
//! ! deny call DEFINITION    control refuses the oldest undecided join of a call
//! ! call ID EVENT           news of a call: start, left, over, no_peer, another ID, or the JSON
//!                           text that the other client's session made
//! ! ended ID                the broadcast is over
//! ! stop publish ID         an operator stops the publish through REST
//! ! no description          the server cannot make its next description
//! ! settings {json}         the application's settings become these
//! ! server will stop        the process is about to end
//! ! close                   the socket is gone
//! ```
//!
//! Effects: `ask publish ID`, `ask play ID`, `live publish ID`, `live play ID`,
//! `released publish ID stopped|lost`, `released play ID`, `peer publish ID` (made),
//! `renegotiated publish ID`, `peer play ID`, `offer play ID A,B`, `answer play ID`,
//! `ask join R ID`, `ask room R ID`, `left R`, `candidate publish|play ID TEXT`,
//! `closed publish|play ID`, `ask call ID`, `left call ID`,
//! `relay description|candidate|message ID`, `switch play ID TRACK audio|video|both on|off`,
//! `switch publish ID audio|video|both on|off`, `metadata ID TEXT`, `debug ID`,
//! `question QUESTION`, `slots COMMAND` (both as Rust shows them). An `=` line finds its effect
//! behind the one found before; effects that are not asked for are passed over.
//!
//! Nothing may be sent that no `<` line expects. The fake engine refuses every client description
//! that does not begin with `v=0` and takes an answer that begins with `v=0 stale` for an old one.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leafcutter::base::clock::Now;
use leafcutter::base::codec::{Codec, MediaKind};
use leafcutter::base::ids::{Mid, Pt, TrackId, WorkerId};
use leafcutter::model::call::{CallEvent, CallNews, CallStep, JoinGrant, RelayKind};
use leafcutter::model::definition::Definition;
use leafcutter::model::errand::Errand;
use leafcutter::model::mail::PublishEnding;
use leafcutter::model::room::{Joined, RoomAnswer, RoomMail, RoomStream};
use leafcutter::model::settings::AppSettings;
use leafcutter::model::track::{Lineup, PlayGrant, Source, StreamId, TrackInfo};
use leafcutter::signal::action::{Action, Ask, PeerEvent, Role, Tell};
use leafcutter::signal::command::{Candidate, Switch};
use leafcutter::signal::session::Session;
use serde_json::Value;

#[test]
fn every_transcript_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signalling");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "transcripts are missing");
    let failures: Vec<String> = files.iter().filter_map(|file| run(file).err()).collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn run(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    hold(&file.file_name().unwrap().to_string_lossy(), &text)
}

/// Runs one transcript; `shown` names it in complaints.
pub fn hold(shown: &str, text: &str) -> Result<(), String> {
    let mut world = World::new();
    for (number, line) in text.lines().enumerate() {
        let failed = |why: String| format!("{shown}:{}: {why}\n    {line}", number + 1);
        world.line(line.trim()).map_err(failed)?;
    }
    world
        .nothing_unexpected()
        .map_err(|why| format!("{shown}: at its end: {why}"))
}

/// A session with a fake engine and a fake control plane around it.
struct World {
    now: Now,
    session: Session,
    /// Sent and not expected yet.
    sent: VecDeque<String>,
    /// Asked of engine and control and not looked at yet.
    effects: VecDeque<String>,
    publish_asks: VecDeque<u64>,
    play_asks: VecDeque<(u64, StreamId)>,
    call_asks: VecDeque<u64>,
    join_asks: VecDeque<u64>,
    peers: BTreeSet<(Role, StreamId)>,
    next_description_fails: bool,
    is_closed: bool,
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "the virtual clock's zero")]
    fn new() -> Self {
        let now = Now {
            instant: Instant::now(),
            unix_us: 1_700_000_000_000_000,
        };
        Self {
            now,
            session: Session::new("live".into(), Arc::new(AppSettings::default())),
            sent: VecDeque::new(),
            effects: VecDeque::new(),
            publish_asks: VecDeque::new(),
            play_asks: VecDeque::new(),
            call_asks: VecDeque::new(),
            join_asks: VecDeque::new(),
            peers: BTreeSet::new(),
            next_description_fails: false,
            is_closed: false,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (kind, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.trim();
        match kind {
            "" | "#" => Ok(()),
            "<" => self.expect(rest),
            "=" => self.expect_effect(rest),
            ">" | "@" | "!" => {
                self.nothing_unexpected()?;
                match kind {
                    ">" => self.act(|s, now, actions| s.handle_message(now, rest, actions)),
                    "@" => self.pass(rest)?,
                    _ => self.harness(rest)?,
                }
                Ok(())
            }
            _ => Err("no such kind of line".to_owned()),
        }
    }

    fn nothing_unexpected(&self) -> Result<(), String> {
        match self.sent.front() {
            Some(text) => Err(format!("the server also sent {text}")),
            None if self.is_closed && !self.peers.is_empty() => {
                Err(format!("peers outlive their socket: {:?}", self.peers))
            }
            None => Ok(()),
        }
    }

    fn expect(&mut self, want: &str) -> Result<(), String> {
        let want: Value = serde_json::from_str(want).map_err(|e| e.to_string())?;
        let text = self.sent.pop_front().ok_or("the server sent nothing")?;
        let got: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        if matches(&want, &got) {
            Ok(())
        } else {
            Err(format!("the server sent {text}"))
        }
    }

    fn expect_effect(&mut self, want: &str) -> Result<(), String> {
        let seen: Vec<_> = self.effects.iter().cloned().collect();
        while let Some(effect) = self.effects.pop_front() {
            if effect == want {
                return Ok(());
            }
        }
        Err(format!("not among {seen:?}"))
    }

    fn pass(&mut self, time: &str) -> Result<(), String> {
        let (number, unit_ms) = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
            (Some(number), _) => (number, 1),
            (None, Some(number)) => (number, 1000),
            (None, None) => return Err("a time ends in s or ms".to_owned()),
        };
        let number: u64 = number.trim().parse().map_err(|_| "no number")?;
        let end = self.now.after(Duration::from_millis(number * unit_ms));
        while let Some(due) = self
            .session
            .poll_timeout()
            .filter(|due| *due <= end.instant)
        {
            self.now = self
                .now
                .after(due.saturating_duration_since(self.now.instant));
            self.act(|s, now, actions| s.handle_timeout(now, actions));
        }
        self.now = end;
        Ok(())
    }

    fn harness(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["grant", "publish"] => self.decide_publish(Ok(()))?,
            ["deny", "publish", text] => self.decide_publish(Err(definition(text)?))?,
            ["grant", "call"] => self.decide_call(Ok(JoinGrant::Joined))?,
            ["redirect", "call", id] => {
                self.decide_call(Ok(JoinGrant::Redirected((*id).into())))?;
            }
            ["deny", "call", text] => self.decide_call(Err(definition(text)?))?,
            ["call", id, event @ ..] => {
                let (stream, event) = (StreamId::from(*id), call_event(event)?);
                let news = CallNews::Event { stream, event };
                self.act(|s, _, actions| s.handle_call_news(news, actions));
            }
            ["grant", "play", media] => self.decide_play(|stream| Ok(grant(stream, media)))?,
            ["grant", "play", media, "of", ids] => self.decide_play(|room| {
                Ok(PlayGrant {
                    lineup: Lineup::of(sources(ids, media)),
                    room: Some(room.clone()),
                    ..grant(room, media)
                })
            })?,
            ["sources", id, media, "of", ids] => {
                let (id, lineup) = (StreamId::from(*id), Lineup::of(sources(ids, media)));
                self.act(|s, _, actions| s.handle_play_lineup(&id, lineup, actions));
            }
            ["sources", id, media, "of", ids, "on", labels] => {
                let id = StreamId::from(*id);
                let lineup = Lineup {
                    participants: Lineup::of(sources(ids, media)).participants,
                    sources: sources(labels, media),
                };
                self.act(|s, _, actions| s.handle_play_lineup(&id, lineup, actions));
            }
            ["joined", id, "of", ids] => self.decide_join(Ok(Joined {
                stream: StreamId::from(*id),
                others: others(ids),
            }))?,
            ["room", room, "own", own, "of", ids] => {
                let own = (*own != "-").then_some(*own);
                self.tell_room(room, own, Ok(others(ids)));
            }
            ["deny", "join", text] => self.decide_join(Err(definition(text)?))?,
            ["deny", "room", room, text] => {
                self.tell_room(room, None, Err(definition(text)?));
            }
            ["deny", "play", text] => {
                let definition = definition(text)?;
                self.decide_play(|_| Err(definition))?;
            }
            [event @ ("connected" | "failed" | "receiving"), role, id] => {
                let (role, id) = (role_of(role)?, StreamId::from(*id));
                if !self.peers.contains(&(role, id.clone())) {
                    return Err("there is no such peer".to_owned());
                }
                let event = match *event {
                    "failed" => PeerEvent::Failed,
                    "receiving" => PeerEvent::Receiving,
                    _ => PeerEvent::Connected,
                };
                self.act(|s, now, actions| s.handle_peer(now, &id, role, event, actions));
            }
            ["ended", id] => {
                let id = StreamId::from(*id);
                self.act(|s, now, actions| s.handle_broadcast_ended(now, &id, actions));
            }
            ["stop", "publish", id] => {
                let id = StreamId::from(*id);
                self.act(|s, now, actions| s.handle_stop_publish(now, &id, actions));
            }
            ["no", "description"] => self.next_description_fails = true,
            ["settings", ..] => {
                let json = line.trim_start_matches("settings");
                let settings = serde_json::from_str::<AppSettings>(json);
                self.session
                    .set_settings(Arc::new(settings.map_err(|e| e.to_string())?));
            }
            ["server", "will", "stop"] => {
                self.act(|s, _, actions| s.handle_server_will_stop(actions));
            }
            ["close"] => {
                self.act(|s, _, actions| s.handle_closed(actions));
                self.is_closed = true;
            }
            _ => return Err("no such harness line".to_owned()),
        }
        Ok(())
    }

    fn decide_publish(&mut self, result: Result<(), Definition>) -> Result<(), String> {
        let request = self
            .publish_asks
            .pop_front()
            .ok_or("nobody asked to publish")?;
        self.act(|s, now, actions| s.handle_publish_decision(now, request, result, actions));
        Ok(())
    }

    fn decide_join(&mut self, result: Result<Joined, Definition>) -> Result<(), String> {
        let request = self.join_asks.pop_front().ok_or("nobody asked to join")?;
        let answer = RoomAnswer::Join { request, result };
        self.act(|s, _, actions| s.handle_room_answer(answer, actions));
        Ok(())
    }

    fn tell_room(
        &mut self,
        room: &str,
        own: Option<&str>,
        result: Result<Vec<RoomStream>, Definition>,
    ) {
        let answer = RoomAnswer::Information {
            room: room.into(),
            stream: own.map(StreamId::from),
            result,
        };
        self.act(|s, _, actions| s.handle_room_answer(answer, actions));
    }

    fn decide_play(
        &mut self,
        decide: impl Fn(&StreamId) -> Result<PlayGrant, Definition>,
    ) -> Result<(), String> {
        let (request, stream) = self.play_asks.pop_front().ok_or("nobody asked to play")?;
        let result = decide(&stream);
        self.act(|s, now, actions| s.handle_play_decision(now, request, result, actions));
        Ok(())
    }

    fn decide_call(&mut self, result: Result<JoinGrant, Definition>) -> Result<(), String> {
        let request = self
            .call_asks
            .pop_front()
            .ok_or("nobody asked to join a call")?;
        let news = CallNews::Decision { request, result };
        self.act(|s, _, actions| s.handle_call_news(news, actions));
        Ok(())
    }

    /// Lets the session act and does what it wants, peers at once, as the engine would.
    fn act(&mut self, step: impl FnOnce(&mut Session, Now, &mut Vec<Action>)) {
        let mut actions = Vec::new();
        step(&mut self.session, self.now, &mut actions);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Reply(text) => self.sent.push_back(text),
            Action::Ask(ask) => self.ask(ask),
            Action::Tell(tell) => {
                if let Tell::Errand(Errand::Call(CallStep::Join { request, .. })) = &tell {
                    self.call_asks.push_back(*request);
                }
                self.effects.push_back(told(&tell));
            }
            Action::AcceptOffer { stream, sdp } => self.accept_offer(&stream, &sdp),
            Action::MakeOffer { stream, grant } => self.make_offer(&stream, &grant),
            Action::Renegotiate { stream, sources } => self.renegotiate(&stream, &sources),
            Action::AcceptAnswer { stream, sdp } => {
                self.effects.push_back(format!("answer play {stream}"));
                let event = match sdp.as_str() {
                    sdp if sdp.starts_with("v=0 stale") => PeerEvent::AnswerStale,
                    sdp if sdp.starts_with("v=0") => PeerEvent::AnswerAccepted,
                    _ => PeerEvent::AnswerRefused(Definition::NotSetRemoteDescription),
                };
                self.act(|s, now, a| s.handle_peer(now, &stream, Role::Play, event, a));
            }
            Action::AnswerPlayer { stream, sdp } => {
                self.effects.push_back(format!("offer play {stream}"));
                let event = match sdp.starts_with("v=0") {
                    true => PeerEvent::Answered {
                        sdp: "v=0 answer".to_owned(),
                        candidates: Vec::new(),
                    },
                    false => PeerEvent::OfferRefused(Definition::NotSetRemoteDescription),
                };
                self.act(|s, now, a| s.handle_peer(now, &stream, Role::Play, event, a));
            }
            Action::AddCandidate {
                stream,
                role,
                candidate,
            } => {
                assert!(
                    self.peers.contains(&(role, stream.clone())),
                    "candidate for no peer"
                );
                let (role, text) = (role_text(role), candidate.candidate);
                self.effects
                    .push_back(format!("candidate {role} {stream} {text}"));
            }
            Action::ForceQuality {
                stream,
                height,
                track,
            } => {
                let track = track.as_deref().unwrap_or("all");
                let text = format!("height {stream} {track} {height}");
                self.effects.push_back(text);
            }
            Action::Debug { stream } => self.effects.push_back(format!("debug {stream}")),
            Action::Switch(switch) => {
                let Switch { stream, track, .. } = &switch;
                let how = how(switch.media.kind(), switch.enabled);
                self.effects
                    .push_back(format!("switch play {stream} {track} {how}"));
            }
            Action::ClosePeer { stream, role } => {
                self.effects
                    .push_back(format!("closed {} {stream}", role_text(role)));
                assert!(
                    self.peers.remove(&(role, stream)),
                    "closes a peer that is not there"
                );
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Publish { request, ask } => {
                self.publish_asks.push_back(request);
                self.effects
                    .push_back(format!("ask publish {}", ask.stream.unwrap()));
            }
            Ask::Play { request, ask } => {
                let stream = ask.stream.unwrap();
                self.effects.push_back(format!("ask play {stream}"));
                self.play_asks.push_back((request, stream));
            }
            Ask::Room(mail) => self.ask_about_room(mail),
        }
    }

    fn ask_about_room(&mut self, mail: RoomMail) {
        match mail {
            RoomMail::AskJoin { request, ask } => {
                let stream = ask.stream.as_deref().unwrap_or("-");
                self.effects
                    .push_back(format!("ask join {} {stream}", ask.room));
                self.join_asks.push_back(request);
            }
            RoomMail::AskInformation { room, stream } => {
                let stream = stream.as_deref().unwrap_or("-");
                self.effects.push_back(format!("ask room {room} {stream}"));
            }
            RoomMail::Left { .. } => panic!("told, not asked"),
        }
    }

    fn accept_offer(&mut self, stream: &StreamId, sdp: &str) {
        let event = if !sdp.starts_with("v=0") {
            PeerEvent::OfferRefused(Definition::NotSetRemoteDescription)
        } else if std::mem::take(&mut self.next_description_fails) {
            PeerEvent::OfferRefused(Definition::NotSetLocalDescription)
        } else {
            let is_first = self.peers.insert((Role::Publish, stream.clone()));
            let verb = if is_first { "peer" } else { "renegotiated" };
            self.effects.push_back(format!("{verb} publish {stream}"));
            let candidates = if is_first {
                vec![server_candidate()]
            } else {
                Vec::new()
            };
            let sdp = "v=0 the server's answer".to_owned();
            PeerEvent::Answered { sdp, candidates }
        };
        self.act(|s, now, a| s.handle_peer(now, stream, Role::Publish, event, a));
    }

    fn make_offer(&mut self, stream: &StreamId, grant: &PlayGrant) {
        let event = if std::mem::take(&mut self.next_description_fails) {
            PeerEvent::OfferFailed(Definition::NotSetLocalDescription)
        } else {
            self.peers.insert((Role::Play, stream.clone()));
            self.effects.push_back(format!("peer play {stream}"));
            PeerEvent::Offered {
                sdp: "v=0 the server's offer".to_owned(),
                id_mapping: id_mapping(&grant.lineup.sources),
                candidates: vec![server_candidate()],
            }
        };
        self.act(|s, now, a| s.handle_peer(now, stream, Role::Play, event, a));
    }

    fn renegotiate(&mut self, stream: &StreamId, sources: &[Source]) {
        let ids: Vec<&str> = sources.iter().map(|source| &*source.stream).collect();
        self.effects
            .push_back(format!("offer play {stream} {}", ids.join(",")));
        let event = match std::mem::take(&mut self.next_description_fails) {
            true => PeerEvent::OfferFailed(Definition::NotSetLocalDescription),
            false => PeerEvent::Offered {
                sdp: "v=0 the server's next offer".to_owned(),
                id_mapping: id_mapping(sources),
                candidates: Vec::new(),
            },
        };
        self.act(|s, now, a| s.handle_peer(now, stream, Role::Play, event, a));
    }
}

/// Mids by position, as if there were no data channel.
fn id_mapping(sources: &[Source]) -> Vec<(Mid, String)> {
    let tracks = sources.iter().flat_map(|source| {
        source.tracks.iter().map(|track| match track.kind {
            MediaKind::Audio => format!("ARDAMSa{}", source.stream),
            MediaKind::Video => format!("ARDAMSv{}", source.stream),
        })
    });
    let mids = (0..).map(|i: u32| Mid::new(&i.to_string()).unwrap());
    mids.zip(tracks).collect()
}

/// Whether `got` is `want`, where the text "*" in `want` is any value.
fn matches(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(want), Value::Object(got)) => {
            want.len() == got.len()
                && want
                    .iter()
                    .all(|(key, w)| got.get(key).is_some_and(|g| matches(w, g)))
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(w, g)| matches(w, g))
        }
        (want, got) => want == got,
    }
}

fn told(tell: &Tell) -> String {
    match tell {
        Tell::PublishLive { stream } => format!("live publish {stream}"),
        Tell::PublishReleased { stream, ending } => {
            let ending = match ending {
                PublishEnding::Stopped => "stopped",
                PublishEnding::Lost => "lost",
                PublishEnding::TimedOut => "timed out",
            };
            format!("released publish {stream} {ending}")
        }
        Tell::PlayLive { stream } => format!("live play {stream}"),
        Tell::PlayReleased { stream } => format!("released play {stream}"),
        Tell::RoomLeft { room } => format!("left {room}"),
        Tell::Errand(errand) => errand_text(errand),
    }
}

fn errand_text(errand: &Errand) -> String {
    match errand {
        Errand::Call(CallStep::Join { ask, .. }) => format!("ask call {}", ask.stream),
        Errand::Call(CallStep::Leave { stream }) => format!("left call {stream}"),
        Errand::Call(CallStep::Relay { stream, kind, .. }) => {
            let kind = match kind {
                RelayKind::Description => "description",
                RelayKind::Candidate => "candidate",
                RelayKind::Message => "message",
            };
            format!("relay {kind} {stream}")
        }
        Errand::Show { main, track } => format!("show {track} of {main}"),
        Errand::Slots(command) => format!("slots {command:?}"),
        Errand::Question(question) => format!("question {question:?}"),
        Errand::Switch {
            stream,
            kind,
            enabled,
        } => format!("switch publish {stream} {}", how(*kind, *enabled)),
        Errand::MetaData { stream, meta_data } => {
            format!(
                "metadata {stream} {}",
                meta_data.as_deref().unwrap_or("none")
            )
        }
    }
}

fn how(kind: Option<MediaKind>, enabled: bool) -> String {
    let media = match kind {
        Some(MediaKind::Audio) => "audio",
        Some(MediaKind::Video) => "video",
        None => "both",
    };
    format!("{media} {}", if enabled { "on" } else { "off" })
}

fn call_event(words: &[&str]) -> Result<CallEvent, String> {
    match words {
        ["start"] => Ok(CallEvent::Start),
        ["left"] => Ok(CallEvent::Left),
        ["over"] => Ok(CallEvent::Over),
        ["no_peer"] => Ok(CallEvent::NoPeer),
        ["another", id] => Ok(CallEvent::StartAnother((*id).into())),
        [json, ..] if json.starts_with('{') => Ok(CallEvent::Relayed(words.join(" "))),
        _ => Err("no such event of a call".to_owned()),
    }
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Publish => "publish",
        Role::Play => "play",
    }
}

fn role_of(text: &str) -> Result<Role, String> {
    match text {
        "publish" => Ok(Role::Publish),
        "play" => Ok(Role::Play),
        _ => Err("a role is publish or play".to_owned()),
    }
}

fn definition(text: &str) -> Result<Definition, String> {
    let mut all = Definition::ALL.into_iter();
    all.find(|d| d.text() == text)
        .ok_or_else(|| format!("no definition {text}"))
}

fn server_candidate() -> Candidate {
    Candidate {
        label: 0,
        mid: "0".to_owned(),
        candidate: "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host".to_owned(),
    }
}

/// A broadcast of the media named in `media`: `v`, `a`, `v,a` or `data`.
fn grant(stream: &StreamId, media: &str) -> PlayGrant {
    let track = |name: &str| {
        let (kind, codec, pt) = match name {
            "v" => (MediaKind::Video, Codec::Vp8, Pt(96)),
            "a" => (MediaKind::Audio, Codec::Opus, Pt(111)),
            _ => return None,
        };
        Some(TrackInfo {
            id: TrackId {
                origin: WorkerId(0),
                serial: u64::from(pt.0),
            },
            kind,
            codec,
            fmtp: "".into(),
            pt,
            rtx_pt: None,
            red: false,
            encodings: 1,
        })
    };
    PlayGrant {
        lineup: Lineup::of(vec![Source {
            stream: stream.clone(),
            tracks: media.split(',').filter_map(track).collect(),
        }]),
        data_channel: true,
        room: None,
    }
}

/// The media of each of the broadcasts `ids`; `-` is none.
fn sources(ids: &str, media: &str) -> Vec<Source> {
    let ids = ids.split(',').filter(|id| *id != "-");
    ids.flat_map(|id| grant(&id.into(), media).lineup.sources)
        .collect()
}

fn others(ids: &str) -> Vec<RoomStream> {
    let ids = ids.split(',').filter(|id| *id != "-");
    let other = |id: &str| RoomStream {
        stream: id.into(),
        name: Some(format!("the name of {id}")),
        meta_data: None,
    };
    ids.map(other).collect()
}
