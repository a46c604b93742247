//! Tests of `session.rs`: what transcripts cannot show, and invariants under random conversations.

use crate::model::call::{CallStep, JoinGrant};
use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::action::{Ask, Tell};
use super::*;
use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Pt, TrackId, WorkerId};
use crate::base::limits::MAX_COMMANDS_HELD;
use crate::model::room::{Joined, RoomAnswer, RoomMail};
use crate::model::track::{Source, TrackInfo};

#[allow(clippy::disallowed_methods, reason = "the virtual clock's zero")]
fn zero() -> Now {
    Now {
        instant: Instant::now(),
        unix_us: 0,
    }
}

fn session() -> Session {
    Session::new("live".into(), Arc::new(AppSettings::default()))
}

fn say(session: &mut Session, now: Now, message: Value) -> Vec<Action> {
    let mut actions = Vec::new();
    session.handle_message(now, &message.to_string(), &mut actions);
    actions
}

fn grant_publish(session: &mut Session, now: Now, request: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    session.handle_publish_decision(now, request, Ok(()), &mut actions);
    actions
}

/// Stopped and published anew, an id is not moved by what control said of the first publish.
#[test]
fn a_move_is_about_the_publish_that_control_has_answered() {
    let (mut s, now) = (session(), zero());
    let publish = |room: &str| json!({"command": "publish", "streamId": "a", "mainTrack": room});
    say(&mut s, now, publish("first"));
    say(&mut s, now, json!({"command": "stop", "streamId": "a"}));
    say(&mut s, now, publish("second"));
    grant_publish(&mut s, now, 1);
    s.handle_publish_moved(&"a".into(), Some("registered".into()));
    assert_eq!(s.room_of(&"a".into()).map(|room| &**room), Some("second"));
    grant_publish(&mut s, now, 2);
    s.handle_publish_moved(&"a".into(), Some("third".into()));
    assert_eq!(s.room_of(&"a".into()).map(|room| &**room), Some("third"));
}

#[test]
fn what_is_said_of_a_play_before_its_offer_waits_for_it() {
    let (mut s, now) = (session(), zero());
    let quality = json!({"command": "forceStreamQuality", "streamId": "r", "streamHeight": 240});
    let enable = json!({"command": "enableTrack", "streamId": "r", "trackId": "b"});
    let mute = json!({"command": "toggleAudio", "streamId": "r", "enabled": false});
    let word = |action: &Action| match action {
        Action::ForceQuality { height, .. } => format!("quality {height}"),
        Action::Switch(switch) => format!("{} {}", switch.track, switch.enabled),
        Action::Tell(Tell::Errand(Errand::Show { track, .. })) => format!("show {track}"),
        Action::MakeOffer { .. } => "offer".to_owned(),
        _ => String::new(),
    };
    let words = |actions: &[Action]| -> Vec<String> {
        let words = actions.iter().map(word);
        words.filter(|word| !word.is_empty()).collect()
    };
    say(&mut s, now, json!({"command": "play", "streamId": "r"}));
    for command in [&quality, &enable] {
        assert_eq!(say(&mut s, now, command.clone()), []);
    }
    let mut actions = Vec::new();
    s.handle_play_decision(now, 1, Ok(grant()), &mut actions);
    assert_eq!(words(&actions), ["show b", "offer"]);
    assert_eq!(say(&mut s, now, mute.clone()), []);
    assert_eq!(words(&say(&mut s, now, enable.clone())), ["show b"]);
    for _ in 0..MAX_COMMANDS_HELD {
        assert_eq!(say(&mut s, now, quality.clone()), []);
    }
    let done = words(&peer(&mut s, now, "r", Role::Play, offered()));
    assert_eq!(done[..4], ["quality 240", "b true", "r false", "b true"]);
    assert_eq!(done.len(), MAX_COMMANDS_HELD, "no more are held");
    assert_eq!(words(&say(&mut s, now, mute)), ["r false"]);
}

fn peer(
    session: &mut Session,
    now: Now,
    stream: &str,
    role: Role,
    event: PeerEvent,
) -> Vec<Action> {
    let mut actions = Vec::new();
    session.handle_peer(now, &stream.into(), role, event, &mut actions);
    actions
}

fn answered() -> PeerEvent {
    PeerEvent::Answered {
        sdp: "v=0".to_owned(),
        candidates: Vec::new(),
    }
}

fn offered() -> PeerEvent {
    PeerEvent::Offered {
        sdp: "v=0".to_owned(),
        id_mapping: Vec::new(),
        candidates: Vec::new(),
    }
}

fn grant() -> PlayGrant {
    PlayGrant {
        lineup: Lineup::default(),
        data_channel: true,
        room: None,
    }
}

fn definitions(actions: &[Action]) -> Vec<String> {
    let replies = actions.iter().filter_map(|action| match action {
        Action::Reply(text) => serde_json::from_str::<Value>(text).ok(),
        _ => None,
    });
    let name = |reply: Value| {
        let text = |key: &str| reply.get(key).and_then(Value::as_str).map(str::to_owned);
        text("definition").or_else(|| text("command")).unwrap()
    };
    replies.map(name).collect()
}

/// Publishes and plays `id` on one connection, both connected.
fn publish_and_play(now: Now, id: &str) -> Session {
    let mut s = session();
    let _ = say(&mut s, now, json!({"command": "publish", "streamId": id}));
    let _ = grant_publish(&mut s, now, 1);
    let offer = json!({"command": "takeConfiguration", "streamId": id, "type": "offer", "sdp": ""});
    let _ = say(&mut s, now, offer);
    let _ = peer(&mut s, now, id, Role::Publish, answered());
    let _ = peer(&mut s, now, id, Role::Publish, PeerEvent::Connected);
    let _ = say(&mut s, now, json!({"command": "play", "streamId": id}));
    let mut actions = Vec::new();
    s.handle_play_decision(now, 2, Ok(grant()), &mut actions);
    let _ = peer(&mut s, now, id, Role::Play, offered());
    s
}

#[test]
fn a_client_may_play_what_it_publishes_and_stop_ends_both() {
    let now = zero();
    let mut s = publish_and_play(now, "a");
    let actions = say(&mut s, now, json!({"command": "stop", "streamId": "a"}));
    assert_eq!(definitions(&actions), ["publish_finished", "play_finished"]);
    let closed: Vec<_> = actions
        .iter()
        .filter_map(|a| match a {
            Action::ClosePeer { role, .. } => Some(*role),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [Role::Publish, Role::Play]);
    assert_eq!(s.poll_timeout(), None);
}

#[test]
fn an_ambiguous_candidate_goes_to_the_one_that_negotiates() {
    let now = zero();
    let mut s = publish_and_play(now, "a");
    let candidate = json!({"command": "takeCandidate", "streamId": "a", "label": 0, "id": "0",
        "candidate": "candidate:1"});
    let actions = say(&mut s, now, candidate.clone());
    assert!(actions.is_empty(), "held for the play: {actions:?}");
    let actions = peer(&mut s, now, "a", Role::Play, PeerEvent::AnswerAccepted);
    assert!(matches!(
        actions.as_slice(),
        [Action::AddCandidate {
            role: Role::Play,
            ..
        }]
    ));
    let _ = peer(&mut s, now, "a", Role::Play, PeerEvent::Connected);
    let roles: Vec<_> = say(&mut s, now, candidate)
        .into_iter()
        .map(|a| match a {
            Action::AddCandidate { role, .. } => role,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(roles, [Role::Publish, Role::Play], "both connected: both");
}

#[test]
fn refuses_more_entries_than_a_connection_may_have() {
    let now = zero();
    let mut s = session();
    for i in 0..MAX_ENTRIES_PER_CONN {
        let command = if i % 2 == 0 { "publish" } else { "play" };
        let id = format!("s{i}");
        let actions = say(&mut s, now, json!({"command": command, "streamId": id}));
        assert!(matches!(actions.as_slice(), [Action::Ask(_)]));
    }
    for command in ["publish", "play"] {
        let actions = say(&mut s, now, json!({"command": command, "streamId": "more"}));
        assert_eq!(definitions(&actions), ["highResourceUsage"]);
    }
    let again = json!({"command": "publish", "streamId": "s0"});
    let actions = say(&mut s, now, again.clone());
    assert_eq!(definitions(&actions), ["already_publishing"]);
    let actions = say(&mut s, now.after(REPLACEABLE), again);
    assert_eq!(actions.len(), 2, "a replacement needs no room: {actions:?}");
}

#[test]
fn settings_decide_whether_a_second_play_replaces_the_first() {
    let now = zero();
    let mut s = publish_and_play(now, "a");
    let play = json!({"command": "play", "streamId": "a"});
    assert_eq!(
        definitions(&say(&mut s, now, play.clone())),
        ["already_playing"]
    );
    s.set_settings(Arc::new(AppSettings {
        play_webrtc_stream_once_for_each_session: false,
        ..AppSettings::default()
    }));
    let actions = say(&mut s, now, play);
    assert!(definitions(&actions).is_empty());
    assert!(matches!(
        actions.as_slice(),
        [
            Action::ClosePeer {
                role: Role::Play,
                ..
            },
            Action::Tell(Tell::PlayReleased { .. }),
            Action::Ask(Ask::Play { request: 3, .. }),
        ]
    ));
}

#[test]
fn a_play_without_anything_to_offer_waits_for_a_source() {
    let now = zero();
    let mut s = session();
    let _ = say(&mut s, now, json!({"command": "play", "streamId": "r"}));
    let grant = PlayGrant {
        data_channel: false,
        room: Some("r".into()),
        ..grant()
    };
    let mut actions = Vec::new();
    s.handle_play_decision(now, 1, Ok(grant), &mut actions);
    assert!(actions.is_empty(), "{actions:?}");
    let source = |tracks| Source {
        stream: "a".into(),
        tracks,
    };
    s.handle_play_lineup(
        &"r".into(),
        Lineup::of(vec![source(Vec::new())]),
        &mut actions,
    );
    assert!(actions.is_empty(), "data only: {actions:?}");
    let track = TrackInfo {
        id: TrackId {
            origin: WorkerId(0),
            serial: 1,
        },
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        fmtp: "".into(),
        pt: Pt(111),
        rtx_pt: None,
        red: false,
        encodings: 1,
    };
    s.handle_play_lineup(
        &"r".into(),
        Lineup::of(vec![source(vec![track])]),
        &mut actions,
    );
    assert!(
        matches!(actions.as_slice(), [Action::MakeOffer { grant, .. }] if !grant.data_channel),
        "{actions:?}"
    );
    actions.clear();
    s.handle_play_lineup(&"r".into(), Lineup::of(Vec::new()), &mut actions);
    assert!(actions.is_empty(), "the first answer comes first");
    let _ = peer(&mut s, now, "r", Role::Play, offered());
    let actions = peer(&mut s, now, "r", Role::Play, PeerEvent::AnswerAccepted);
    assert_eq!(definitions(&actions), ["subtrackRemoved"]);
    assert!(
        matches!(actions.last(), Some(Action::Renegotiate { sources, .. })
        if sources.is_empty())
    );
}

#[test]
fn memberships_count_among_the_entries_of_a_connection() {
    let now = zero();
    let mut s = session();
    for i in 0..MAX_ENTRIES_PER_CONN {
        let join = json!({"command": "joinRoom", "room": "r", "streamId": format!("s{i}")});
        assert_eq!(definitions(&say(&mut s, now, join)), [] as [&str; 0]);
    }
    for command in ["joinRoom", "play", "publish"] {
        let more = json!({"command": command, "room": "r", "streamId": "more"});
        assert_eq!(definitions(&say(&mut s, now, more)), ["highResourceUsage"]);
    }
    let again = json!({"command": "joinRoom", "room": "r", "streamId": "s1"});
    assert_eq!(definitions(&say(&mut s, now, again)), [] as [&str; 0]);
}

#[test]
fn a_join_that_is_refused_leaves_no_membership_behind() {
    let now = zero();
    let mut s = session();
    let join = json!({"command": "joinRoom", "room": "r", "streamId": "a"});
    let answer = |request, result| RoomAnswer::Join { request, result };
    let _ = say(&mut s, now, join.clone());
    let joined = Joined {
        stream: "a".into(),
        others: Vec::new(),
    };
    s.handle_room_answer(answer(1, Ok(joined)), &mut Vec::new());
    let _ = say(&mut s, now, join);
    let mut actions = Vec::new();
    s.handle_room_answer(answer(2, Err(Definition::HighResourceUsage)), &mut actions);
    assert_eq!(definitions(&actions), ["highResourceUsage"]);
    let is_left =
        |action: &Action| matches!(action, Action::Tell(Tell::RoomLeft { room }) if **room == *"r");
    assert!(
        actions.iter().any(is_left),
        "control still has the first: {actions:?}"
    );
}

#[test]
fn control_is_told_what_a_later_offer_brought() {
    let now = zero();
    let mut s = session();
    let _ = say(&mut s, now, json!({"command": "publish", "streamId": "a"}));
    let _ = grant_publish(&mut s, now, 1);
    let is_told = |actions: Vec<Action>| {
        let is_live = |action: &Action| matches!(action, Action::Tell(Tell::PublishLive { .. }));
        actions.iter().any(is_live)
    };
    assert!(!is_told(peer(&mut s, now, "a", Role::Publish, answered())));
    assert!(is_told(peer(
        &mut s,
        now,
        "a",
        Role::Publish,
        PeerEvent::Connected
    )));
    assert!(is_told(peer(&mut s, now, "a", Role::Publish, answered())));
}

#[test]
fn an_absurd_start_timeout_is_cut_and_a_zero_one_ends_at_once() {
    for (millis, at) in [(u64::MAX, MAX_START_TIMEOUT), (0, Duration::ZERO)] {
        let now = zero();
        let settings = AppSettings {
            webrtc_client_start_timeout_ms: millis,
            ..AppSettings::default()
        };
        let mut s = Session::new("live".into(), Arc::new(settings));
        let _ = say(&mut s, now, json!({"command": "publish", "streamId": "a"}));
        assert_eq!(s.poll_timeout(), None, "control takes the time it needs");
        let _ = grant_publish(&mut s, now, 1);
        assert_eq!(s.poll_timeout(), Some(now.instant + at));
        let mut actions = Vec::new();
        s.handle_timeout(now.after(at), &mut actions);
        assert_eq!(definitions(&actions), ["publishTimeoutError"]);
    }
}

#[test]
fn a_lost_connection_loses_what_was_live_and_stops_the_rest() {
    let now = zero();
    let mut s = publish_and_play(now, "a");
    let _ = say(&mut s, now, json!({"command": "publish", "streamId": "b"}));
    let mut actions = Vec::new();
    s.handle_closed(&mut actions);
    let want = vec![
        Action::ClosePeer {
            stream: "a".into(),
            role: Role::Publish,
        },
        Action::Tell(Tell::PublishReleased {
            stream: "a".into(),
            ending: PublishEnding::Lost,
        }),
        Action::Tell(Tell::PublishReleased {
            stream: "b".into(),
            ending: PublishEnding::Stopped,
        }),
        Action::ClosePeer {
            stream: "a".into(),
            role: Role::Play,
        },
        Action::Tell(Tell::PlayReleased { stream: "a".into() }),
    ];
    assert_eq!(actions, want);
    actions.clear();
    s.handle_closed(&mut actions);
    assert!(actions.is_empty(), "nothing is left");
}

#[test]
fn commands_of_other_parts_change_nothing() {
    let now = zero();
    let mut s = session();
    let names = "forceStreamQuality toggleVideo toggleAudio enableTrack updateStreamMetaData";
    for command in names.split_whitespace() {
        let actions = say(&mut s, now, json!({"command": command, "streamId": "a"}));
        assert!(actions.is_empty(), "{command}: {actions:?}");
    }
}

/// One step of a random conversation about one of three ids.
#[derive(Clone, Debug)]
enum Step {
    Say(&'static str, usize),
    Decide { ago: u64, granted: bool },
    Peer(usize, Role, u8),
    Ended(usize),
    Sources(usize, usize),
    StopPublish(usize),
    Pass(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop::sample::select(vec![
        "publish",
        "publish",
        "play",
        "play",
        "stop",
        "offer",
        "answer",
        "candidate",
        "ping",
        "toggleVideo",
        "join",
        "getStreamInfo",
        "updateStreamMetaData",
    ]);
    let role = prop::sample::select(vec![Role::Publish, Role::Play]);
    prop_oneof![
        8 => (command, 0..IDS.len()).prop_map(|(c, id)| Step::Say(c, id)),
        6 => (0..3u64, prop::bool::weighted(0.8))
            .prop_map(|(ago, granted)| Step::Decide { ago, granted }),
        12 => (0..IDS.len(), role, 0..10u8).prop_map(|(id, r, e)| Step::Peer(id, r, e)),
        1 => (0..IDS.len()).prop_map(Step::Ended),
        4 => (0..IDS.len(), 0..3usize).prop_map(|(id, n)| Step::Sources(id, n)),
        1 => (0..IDS.len()).prop_map(Step::StopPublish),
        3 => (0..4000u64).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ]
}

const IDS: [&str; 3] = ["a", "b", "c"];
const REPLACEABLE: Duration = crate::signal::action::REPLACEABLE_AFTER;

/// What a driver that believes every action would know.
#[derive(Default)]
struct Model {
    peers: BTreeSet<(Role, String)>,
    /// Questions without a denial or a release, with their numbers.
    open: BTreeMap<(Role, String), u64>,
    /// Calls asked for or joined, with their questions' numbers.
    calls: BTreeMap<String, u64>,
    /// Plays whose later offer is outstanding.
    offering: BTreeSet<String>,
    asked: u64,
}

impl Model {
    fn take(&mut self, actions: &[Action]) {
        assert!(actions.len() <= 128, "bounded");
        for action in actions {
            match action {
                Action::Reply(text) => {
                    let reply: Value = serde_json::from_str(text).unwrap();
                    assert!(reply["command"].is_string());
                }
                Action::Ask(ask) => self.ask(ask),
                Action::Tell(tell) => self.tell(tell),
                Action::AcceptOffer { stream, .. } => {
                    assert!(self.is_open(Role::Publish, stream));
                }
                Action::MakeOffer { stream, .. } => assert!(self.is_open(Role::Play, stream)),
                Action::Renegotiate { stream, .. } => {
                    assert!(self.peers.contains(&(Role::Play, stream.to_string())));
                    let is_first = self.offering.insert(stream.to_string());
                    assert!(is_first, "one outstanding offer");
                }
                Action::AcceptAnswer { stream, .. } | Action::AnswerPlayer { stream, .. } => {
                    assert!(self.peers.contains(&(Role::Play, stream.to_string())));
                }
                Action::AddCandidate { stream, role, .. } => {
                    assert!(self.peers.contains(&(*role, stream.to_string())));
                }
                Action::Debug { .. } => {}
                Action::ForceQuality { stream, .. } => {
                    assert!(self.is_open(Role::Play, stream));
                }
                Action::Switch(switch) => assert!(self.is_open(Role::Play, &switch.stream)),
                Action::ClosePeer { stream, role } => {
                    assert!(
                        self.peers.remove(&(*role, stream.to_string())),
                        "one close each"
                    );
                    if *role == Role::Play {
                        self.offering.remove(&**stream);
                    }
                }
            }
        }
    }

    fn is_open(&self, role: Role, stream: &StreamId) -> bool {
        self.open.contains_key(&(role, stream.to_string()))
    }

    fn ask(&mut self, ask: &Ask) {
        let (role, request, stream) = match ask {
            Ask::Publish { request, ask } => (Role::Publish, *request, ask.stream.as_deref()),
            Ask::Play { request, ask } => (Role::Play, *request, ask.stream.as_deref()),
            Ask::Room(RoomMail::AskJoin { request, .. }) => {
                self.asked = *request;
                return;
            }
            Ask::Room(RoomMail::AskInformation { .. } | RoomMail::Left { .. }) => return,
        };
        assert!(request > self.asked, "numbers are never used again");
        self.asked = request;
        let old = self
            .open
            .insert((role, stream.unwrap().to_owned()), request);
        assert_eq!(old, None, "one publish and one play per id");
    }

    fn tell(&mut self, tell: &Tell) {
        let (role, stream, over) = match tell {
            Tell::PublishLive { stream } => (Role::Publish, stream, false),
            Tell::PublishReleased { stream, .. } => (Role::Publish, stream, true),
            Tell::PlayLive { stream } => (Role::Play, stream, false),
            Tell::PlayReleased { stream } => (Role::Play, stream, true),
            Tell::Errand(errand) => return self.errand(errand),
            Tell::RoomLeft { .. } => return,
        };
        let key = (role, stream.to_string());
        assert!(self.open.contains_key(&key), "told of something unasked");
        if over {
            self.open.remove(&key);
            assert!(!self.peers.contains(&key), "closed before it is released");
        } else {
            assert!(self.peers.contains(&key));
        }
    }

    fn errand(&mut self, errand: &Errand) {
        match errand {
            Errand::Slots(_) => {}
            Errand::Show { main, .. } => assert!(self.is_open(Role::Play, main)),
            Errand::Question(_) => {}
            Errand::MetaData { stream, .. } | Errand::Switch { stream, .. } => {
                assert!(self.is_open(Role::Publish, stream));
            }
            Errand::Call(CallStep::Join { request, ask }) => {
                assert!(request > &self.asked, "numbers are never used again");
                self.asked = *request;
                let old = self.calls.insert(ask.stream.to_string(), *request);
                assert_eq!(old, None, "one membership per id");
            }
            Errand::Call(CallStep::Leave { stream }) => {
                assert!(self.calls.remove(&**stream).is_some(), "left twice");
            }
            Errand::Call(CallStep::Relay { stream, .. }) => {
                assert!(self.calls.contains_key(&**stream), "not in it");
            }
        }
    }

    /// The event of number `number`, and the peer it makes when the session believes it.
    fn event(number: u8) -> PeerEvent {
        match number {
            0 => answered(),
            1 => PeerEvent::OfferRefused(Definition::NotSetRemoteDescription),
            2 => offered(),
            3 => PeerEvent::OfferFailed(Definition::NotSetLocalDescription),
            4 => PeerEvent::AnswerAccepted,
            5 => PeerEvent::AnswerStale,
            6 => PeerEvent::AnswerRefused(Definition::NotSetRemoteDescription),
            7 => PeerEvent::Connected,
            8 => PeerEvent::Failed,
            _ => PeerEvent::OfferUnchanged,
        }
    }

    /// Records a peer that the session has just learnt of: an SDP reply says so.
    fn learn(&mut self, stream: &str, role: Role, actions: &[Action]) {
        if definitions(actions)
            .iter()
            .any(|d| d == "takeConfiguration")
        {
            self.peers.insert((role, stream.to_owned()));
        }
    }
}

fn text_of(command: &str, id: &str) -> Value {
    match command {
        "offer" | "answer" => {
            json!({"command": "takeConfiguration", "streamId": id, "type": command, "sdp": "v=0"})
        }
        "candidate" => json!({"command": "takeCandidate", "streamId": id, "candidate": "c"}),
        other => json!({"command": other, "streamId": id, "trackId": id}),
    }
}

/// Nothing is said about an id that was stopped a moment ago and not asked for again.
fn assert_silence(actions: &[Action], stopped: &BTreeMap<&str, Instant>, now: Instant) {
    for action in actions {
        let Action::Reply(text) = action else {
            continue;
        };
        let reply: Value = serde_json::from_str(text).unwrap();
        let at = reply["streamId"].as_str().and_then(|id| stopped.get(id));
        let is_recent = at.is_some_and(|at| now - *at < Duration::from_secs(10));
        assert!(!is_recent, "silence after stop: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_text_never_panics_a_session(texts in prop::collection::vec(".*", 0..8)) {
        let (mut s, mut actions) = (session(), Vec::new());
        for text in &texts {
            s.handle_message(zero(), text, &mut actions);
        }
    }

    #[test]
    fn a_random_conversation_keeps_every_promise(steps in prop::collection::vec(step(), 1..120)) {
        let (mut now, mut s, mut model) = (zero(), session(), Model::default());
        let mut stopped: BTreeMap<&str, Instant> = BTreeMap::new();
        for step in steps {
            let mut actions = Vec::new();
            match step {
                Step::Say(command, id) => {
                    let id = IDS[id];
                    s.handle_message(now, &text_of(command, id).to_string(), &mut actions);
                    match command {
                        "stop" => {
                            model.take(&actions);
                            actions.clear();
                            prop_assert!(!model.open.keys().any(|(_, open)| open == id));
                            prop_assert!(!model.calls.contains_key(id));
                            stopped.insert(id, now.instant);
                        }
                        "publish" | "play" | "join" => { stopped.remove(id); }
                        _ => {}
                    }
                }
                Step::Decide { ago, granted } => {
                    let request = model.asked.saturating_sub(ago);
                    let asked = model.open.iter().find(|(_, open)| **open == request);
                    let key = asked.map(|(key, _)| key.clone());
                    let no = Definition::StreamIdInUse;
                    if granted {
                        s.handle_publish_decision(now, request, Ok(()), &mut actions);
                        s.handle_play_decision(now, request, Ok(grant()), &mut actions);
                    } else {
                        s.handle_publish_decision(now, request, Err(no), &mut actions);
                        s.handle_play_decision(now, request, Err(no), &mut actions);
                        if !actions.is_empty() {
                            model.open.remove(&key.unwrap());
                        }
                    }
                    let joining = model.calls.iter().find(|(_, call)| **call == request);
                    let result = if granted { Ok(JoinGrant::Joined) } else { Err(no) };
                    let call = joining.map(|(call, _)| call.clone());
                    let before = actions.len();
                    s.handle_call_news(CallNews::Decision { request, result }, &mut actions);
                    if !granted && actions.len() > before {
                        model.calls.remove(&call.unwrap());
                    }
                }
                Step::Peer(id, role, number) => {
                    let (id, event) = (IDS[id], Model::event(number));
                    if let PeerEvent::AnswerAccepted | PeerEvent::OfferUnchanged = event {
                        model.offering.remove(id);
                    }
                    s.handle_peer(now, &id.into(), role, event, &mut actions);
                    model.learn(id, role, &actions);
                }
                Step::Ended(id) => {
                    s.handle_broadcast_ended(now, &IDS[id].into(), &mut actions);
                }
                Step::Sources(id, n) => {
                    let source = |id: &&str| Source { stream: (*id).into(), tracks: Vec::new() };
                    let sources = IDS.iter().take(n).map(source).collect();
                    s.handle_play_lineup(&IDS[id].into(), Lineup::of(sources), &mut actions);
                }
                Step::StopPublish(id) => {
                    s.handle_stop_publish(now, &IDS[id].into(), &mut actions);
                }
                Step::Pass(millis) => {
                    now = now.after(Duration::from_millis(millis));
                    s.handle_timeout(now, &mut actions);
                    prop_assert!(s.poll_timeout().is_none_or(|at| at > now.instant));
                }
                Step::Close => {
                    s.handle_closed(&mut actions);
                    prop_assert!(definitions(&actions).is_empty());
                    prop_assert_eq!(s.poll_timeout(), None);
                    stopped.clear();
                }
            }
            assert_silence(&actions, &stopped, now.instant);
            let over = matches!(step, Step::Close);
            model.take(&actions);
            if over {
                prop_assert!(model.open.is_empty() && model.peers.is_empty(), "nothing leaks");
                    prop_assert!(model.calls.is_empty(), "nothing leaks");
            }
        }
    }
}
