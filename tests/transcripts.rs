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
//! ! deny publish DEFINITION control refuses the oldest undecided publish (or: deny play ...)
//! ! connected publish ID    ICE and DTLS of that peer are up (or: connected play ID)
//! ! failed publish ID       that peer failed (or: failed play ID)
//! ! grant join              control allows the oldest undecided join
//! ! redirect join ID        control sends the newcomer of a multi-peer call to this id
//! ! deny join DEFINITION    control refuses the oldest undecided join
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
//! `renegotiated publish ID`, `peer play ID`, `answer play ID`, `candidate publish|play ID TEXT`,
//! `closed publish|play ID`, `ask join ID`, `left call ID`,
//! `relay description|candidate|message ID`, `switch play ID TRACK audio|video|both on|off`,
//! `switch publish ID audio|video|both on|off`. An `=` line finds its effect behind the one found
//! before; effects that are not asked for are passed over.
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
use leafcutter::model::call::{CallEvent, CallNews, JoinGrant, RelayKind};
use leafcutter::model::definition::Definition;
use leafcutter::model::mail::PublishEnding;
use leafcutter::model::settings::AppSettings;
use leafcutter::model::track::{PlayGrant, Source, StreamId, TrackInfo};
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
    let mut world = World::new();
    let shown = file.file_name().unwrap().to_string_lossy();
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
            ["grant", "play", media] => self.decide_play(Ok(media))?,
            ["deny", "play", text] => self.decide_play(Err(definition(text)?))?,
            ["grant", "join"] => self.decide_join(Ok(JoinGrant::Joined))?,
            ["redirect", "join", id] => {
                self.decide_join(Ok(JoinGrant::Redirected((*id).into())))?;
            }
            ["deny", "join", text] => self.decide_join(Err(definition(text)?))?,
            ["call", id, event @ ..] => {
                let (stream, event) = (StreamId::from(*id), call_event(event)?);
                let news = CallNews::Event { stream, event };
                self.act(|s, _, actions| s.handle_call_news(news, actions));
            }
            [event @ ("connected" | "failed"), role, id] => {
                let (role, id) = (role_of(role)?, StreamId::from(*id));
                if !self.peers.contains(&(role, id.clone())) {
                    return Err("there is no such peer".to_owned());
                }
                let event = if *event == "failed" {
                    PeerEvent::Failed
                } else {
                    PeerEvent::Connected
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

    fn decide_play(&mut self, result: Result<&str, Definition>) -> Result<(), String> {
        let (request, stream) = self.play_asks.pop_front().ok_or("nobody asked to play")?;
        let result = result.map(|media| grant(&stream, media));
        self.act(|s, now, actions| s.handle_play_decision(now, request, result, actions));
        Ok(())
    }

    fn decide_join(&mut self, result: Result<JoinGrant, Definition>) -> Result<(), String> {
        let request = self.join_asks.pop_front().ok_or("nobody asked to join")?;
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
            Action::Tell(tell) => self.effects.push_back(told(&tell)),
            Action::AcceptOffer { stream, sdp } => self.accept_offer(&stream, &sdp),
            Action::MakeOffer { stream, grant } => self.make_offer(&stream, &grant),
            Action::AcceptAnswer { stream, sdp } => {
                self.effects.push_back(format!("answer play {stream}"));
                let event = match sdp.as_str() {
                    sdp if sdp.starts_with("v=0 stale") => PeerEvent::AnswerStale,
                    sdp if sdp.starts_with("v=0") => PeerEvent::AnswerAccepted,
                    _ => PeerEvent::AnswerRefused(Definition::NotSetRemoteDescription),
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
            Ask::Join { request, ask } => {
                self.effects.push_back(format!("ask join {}", ask.stream));
                self.join_asks.push_back(request);
            }
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
            let tracks = grant.sources.iter().flat_map(|source| {
                source.tracks.iter().map(|track| match track.kind {
                    MediaKind::Audio => format!("ARDAMSa{}", source.stream),
                    MediaKind::Video => format!("ARDAMSv{}", source.stream),
                })
            });
            let mids = (0..).map(|i: u32| Mid::new(&i.to_string()).unwrap());
            PeerEvent::Offered {
                sdp: "v=0 the server's offer".to_owned(),
                id_mapping: mids.zip(tracks).collect(),
                candidates: vec![server_candidate()],
            }
        };
        self.act(|s, now, a| s.handle_peer(now, stream, Role::Play, event, a));
    }
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
            };
            format!("released publish {stream} {ending}")
        }
        Tell::PlayLive { stream } => format!("live play {stream}"),
        Tell::PlayReleased { stream } => format!("released play {stream}"),
        Tell::PublishSwitched {
            stream,
            kind,
            enabled,
        } => format!("switch publish {stream} {}", how(*kind, *enabled)),
        Tell::CallLeft { stream } => format!("left call {stream}"),
        Tell::CallRelay { stream, kind, .. } => {
            let kind = match kind {
                RelayKind::Description => "description",
                RelayKind::Candidate => "candidate",
                RelayKind::Message => "message",
            };
            format!("relay {kind} {stream}")
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
        })
    };
    PlayGrant {
        sources: vec![Source {
            stream: stream.clone(),
            tracks: media.split(',').filter_map(track).collect(),
        }],
        data_channel: true,
    }
}
