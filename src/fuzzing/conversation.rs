//! A whole conversation with one WebSocket's state machine, held against what a driver knows that
//! believes every action.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{chunk, pass, start};
use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::base::limits::MAX_ENTRIES_PER_CONN;
use crate::model::call::{CallEvent, CallNews, CallStep, JoinGrant};
use crate::model::definition::Definition;
use crate::model::errand::Errand;
use crate::model::room::{Joined, RoomAnswer, RoomMail};
use crate::model::settings::AppSettings;
use crate::model::track::{Lineup, PlayGrant, Source, StreamId};
use crate::signal::action::{Action, Ask, PeerEvent, Role, Tell};
use crate::signal::session::Session;

/// Steps of one conversation, a few bytes each: what the client says, what control decides, what
/// becomes of peers, and time.
pub fn conversation(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut talk = Talk {
        now: start(),
        session: Session::new("live".into(), Arc::new(AppSettings::default())),
        model: Model::default(),
        stopped: BTreeMap::new(),
    };
    while talk.step(&mut input).is_some() {
        let held = talk.model.open.len() + talk.model.calls.len();
        assert!(held <= MAX_ENTRIES_PER_CONN, "{held} entries");
    }
    talk.close();
}

struct Talk {
    now: Now,
    session: Session,
    model: Model,
    /// Ids that were stopped and not asked for again, and when.
    stopped: BTreeMap<String, Instant>,
}

impl Talk {
    fn step(&mut self, input: &mut Reader<'_>) -> Option<()> {
        match input.u8()? % 16 {
            0..=3 => {
                let command = COMMANDS.get(usize::from(input.u8()?) % COMMANDS.len())?;
                let id = id(input)?;
                self.say(command, &id);
            }
            4 => self.say_anything(&String::from_utf8_lossy(chunk(input, 2000)?)),
            5..=7 => {
                let what = input.u8()?;
                self.decide(u64::from(what >> 1) % 4, what & 1 == 0);
            }
            8..=11 => {
                let (id, what) = (id(input)?, input.u8()?);
                let role = [Role::Publish, Role::Play][usize::from(what & 1)];
                self.peer(&id, role, what >> 1);
            }
            12 => self.tell(&id(input)?, input.u8()?),
            13 => self.room(input.u8()?, &id(input)?),
            14 => {
                self.now = pass(input, self.now)?;
                let mut actions = Vec::new();
                self.session.handle_timeout(self.now, &mut actions);
                let due = self.session.poll_timeout();
                assert!(due.is_none_or(|at| at > self.now.instant));
                self.take(&actions);
            }
            _ => self.close(),
        }
        Some(())
    }

    fn say(&mut self, command: &str, id: &str) {
        let mut actions = Vec::new();
        let text = text_of(command, id).to_string();
        self.session.handle_message(self.now, &text, &mut actions);
        match command {
            "stop" => {
                self.model.take(&actions);
                assert!(!self.model.open.keys().any(|(_, open)| open == id));
                assert!(!self.model.calls.contains_key(id));
                self.stopped.insert(id.to_owned(), self.now.instant);
                return;
            }
            "offer" | "answer" | "candidate" | "ping" | "toggleVideo" => {}
            _ => {
                self.stopped.remove(id);
            }
        }
        self.take(&actions);
    }

    fn say_anything(&mut self, text: &str) {
        let mut actions = Vec::new();
        self.session.handle_message(self.now, text, &mut actions);
        // It may have been any command about any id.
        self.stopped.clear();
        self.take(&actions);
    }

    /// Control answers the question asked `ago` questions before the newest.
    fn decide(&mut self, ago: u64, granted: bool) {
        let (mut actions, no) = (Vec::new(), Definition::StreamIdInUse);
        let request = self.model.asked.saturating_sub(ago);
        let open = self.model.open.iter().find(|(_, open)| **open == request);
        let open = open.map(|(key, _)| key.clone());
        let (publish, play) = if granted {
            (Ok(()), Ok(grant()))
        } else {
            (Err(no), Err(no))
        };
        let session = &mut self.session;
        session.handle_publish_decision(self.now, request, publish, &mut actions);
        session.handle_play_decision(self.now, request, play, &mut actions);
        if !granted && !actions.is_empty() {
            let open = open.expect("nobody asked, and is told no");
            self.model.open.remove(&open);
        }
        let joining = self.model.calls.iter().find(|(_, call)| **call == request);
        let call = joining.map(|(call, _)| call.clone());
        let result = if granted {
            Ok(JoinGrant::Joined)
        } else {
            Err(no)
        };
        let before = actions.len();
        let news = CallNews::Decision { request, result };
        session.handle_call_news(news, &mut actions);
        if !granted && actions.len() > before {
            let call = call.expect("nobody asked, and is told no");
            self.model.calls.remove(&call);
        }
        self.take(&actions);
    }

    fn peer(&mut self, id: &str, role: Role, number: u8) {
        let (mut actions, event) = (Vec::new(), event(number));
        if let PeerEvent::AnswerAccepted | PeerEvent::OfferUnchanged = event {
            self.model.offering.remove(id);
        }
        let stream = StreamId::from(id);
        let session = &mut self.session;
        session.handle_peer(self.now, &stream, role, event, &mut actions);
        self.model.learn(id, role, &actions);
        self.take(&actions);
    }

    /// Control says something unasked.
    fn tell(&mut self, id: &str, what: u8) {
        let (stream, mut actions) = (StreamId::from(id), Vec::new());
        let (now, session) = (self.now, &mut self.session);
        match what % 8 {
            0 => session.handle_broadcast_ended(now, &stream, &mut actions),
            1 => session.handle_stop_publish(now, &stream, &mut actions),
            2 => session.handle_session_restored(&stream, &mut actions),
            3 => session.handle_server_will_stop(&mut actions),
            4 => {
                let events = [
                    CallEvent::Start,
                    CallEvent::Left,
                    CallEvent::NoPeer,
                    // As another session writes it.
                    CallEvent::Relayed(r#"{"command":"takeCandidate"}"#.to_owned()),
                ];
                let at = usize::from(what >> 3) % events.len();
                let event = events[at].clone();
                let news = CallNews::Event { stream, event };
                session.handle_call_news(news, &mut actions);
                // It is for who is in a call, which the stopped one may be again.
                self.stopped.remove(id);
            }
            n => {
                let source = |id: &str| Source {
                    stream: id.into(),
                    tracks: Vec::new(),
                };
                let sources = IDS.into_iter().take(usize::from(n) - 5).map(source);
                let lineup = Lineup::of(sources.collect());
                session.handle_play_lineup(&stream, lineup, &mut actions);
            }
        }
        if what % 8 == 2 {
            // Whose it is no more would not be told.
            self.stopped.remove(id);
        }
        self.take(&actions);
    }

    fn room(&mut self, what: u8, id: &str) {
        let (mut actions, stream) = (Vec::new(), StreamId::from(id));
        let answer = if what & 1 == 0 {
            let joined = Joined {
                stream: stream.clone(),
                others: Vec::new(),
            };
            RoomAnswer::Join {
                request: self.model.asked.saturating_sub(u64::from(what >> 1) % 4),
                result: Ok(joined),
            }
        } else {
            RoomAnswer::Information {
                room: stream.clone(),
                stream: Some(stream),
                result: Ok(Vec::new()),
            }
        };
        self.session.handle_room_answer(answer, &mut actions);
        self.stopped.remove(id);
        self.take(&actions);
    }

    fn close(&mut self) {
        let mut actions = Vec::new();
        self.session.handle_closed(&mut actions);
        assert!(definitions(&actions).is_empty(), "nobody listens");
        assert_eq!(self.session.poll_timeout(), None);
        self.stopped.clear();
        self.take(&actions);
        let Model {
            peers, open, calls, ..
        } = &self.model;
        assert!(
            peers.is_empty() && open.is_empty() && calls.is_empty(),
            "left over"
        );
    }

    fn take(&mut self, actions: &[Action]) {
        self.model.take(actions);
        for reply in actions.iter().filter_map(reply) {
            let stopped = reply["streamId"]
                .as_str()
                .and_then(|id| self.stopped.get(id));
            let is_recent = stopped.is_some_and(|at| self.now.instant - *at < SILENT_FOR);
            assert!(!is_recent, "silence after stop: {reply}");
        }
    }
}

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
        assert!(actions.len() <= 4 * MAX_ENTRIES_PER_CONN, "bounded");
        for action in actions {
            match action {
                Action::Reply(_) => {
                    assert!(reply(action).is_some_and(|reply| reply["command"].is_string()));
                }
                Action::Ask(ask) => self.ask(ask),
                Action::Tell(tell) => self.tell(tell),
                Action::AcceptOffer { stream, .. } => {
                    assert!(self.is_open(Role::Publish, stream));
                }
                Action::MakeOffer { stream, .. } | Action::ForceQuality { stream, .. } => {
                    assert!(self.is_open(Role::Play, stream));
                }
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
                Action::Switch(switch) => {
                    assert!(self.is_open(Role::Play, &switch.stream));
                }
                Action::ClosePeer { stream, role } => {
                    let is_there = self.peers.remove(&(*role, stream.to_string()));
                    assert!(is_there, "one close each");
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
        let key = (role, stream.expect("an id").to_owned());
        let old = self.open.insert(key, request);
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
        assert_eq!(
            self.peers.contains(&key),
            !over,
            "closed before it is released"
        );
        if over {
            self.open.remove(&key);
        }
    }

    fn errand(&mut self, errand: &Errand) {
        match errand {
            Errand::Slots(_) | Errand::Question(_) => {}
            Errand::Show { main, .. } => assert!(self.is_open(Role::Play, main)),
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

    /// Records a peer that the session has just learnt of: an SDP reply says so.
    fn learn(&mut self, stream: &str, role: Role, actions: &[Action]) {
        if definitions(actions).contains(&"takeConfiguration".to_owned()) {
            self.peers.insert((role, stream.to_owned()));
        }
    }
}

/// The event of number `number`.
fn event(number: u8) -> PeerEvent {
    let sdp = || "v=0".to_owned();
    match number % 11 {
        0 => PeerEvent::Answered {
            sdp: sdp(),
            candidates: Vec::new(),
        },
        1 => PeerEvent::OfferRefused(Definition::NotSetRemoteDescription),
        2 => PeerEvent::Offered {
            sdp: sdp(),
            id_mapping: Vec::new(),
            candidates: Vec::new(),
        },
        3 => PeerEvent::OfferFailed(Definition::NotSetLocalDescription),
        4 => PeerEvent::AnswerAccepted,
        5 => PeerEvent::AnswerStale,
        6 => PeerEvent::AnswerRefused(Definition::NotSetRemoteDescription),
        7 => PeerEvent::Connected,
        8 => PeerEvent::Receiving,
        9 => PeerEvent::Failed,
        _ => PeerEvent::OfferUnchanged,
    }
}

fn grant() -> PlayGrant {
    PlayGrant {
        lineup: Lineup::default(),
        data_channel: true,
        room: None,
    }
}

fn reply(action: &Action) -> Option<Value> {
    match action {
        Action::Reply(text) => Some(serde_json::from_str(text).expect("JSON")),
        _ => None,
    }
}

/// What the replies say: their definitions, or else their commands.
fn definitions(actions: &[Action]) -> Vec<String> {
    let replies = actions.iter().filter_map(reply);
    let name = |reply: Value| {
        let text = |key: &str| reply.get(key).and_then(Value::as_str).map(str::to_owned);
        text("definition").or_else(|| text("command"))
    };
    replies.filter_map(name).collect()
}

/// One of four ids mostly, of many sometimes.
fn id(input: &mut Reader<'_>) -> Option<String> {
    let number = input.u8()?;
    let few = IDS.get(usize::from(number) % 4)?;
    Some(if number < 200 {
        (*few).to_owned()
    } else {
        format!("s{number}")
    })
}

pub(super) fn text_of(command: &str, id: &str) -> Value {
    match command {
        "offer" | "answer" => {
            json!({"command": "takeConfiguration", "streamId": id, "type": command, "sdp": "v=0"})
        }
        "candidate" => json!({"command": "takeCandidate", "streamId": id, "candidate": "c"}),
        "joinRoom" => json!({"command": command, "room": "r", "streamId": id}),
        "leaveFromRoom" | "getRoomInfo" => {
            json!({"command": command, "room": "r", "streamId": id})
        }
        "forceStreamQuality" => {
            json!({"command": command, "streamId": id, "streamHeight": 360})
        }
        other => json!({"command": other, "streamId": id, "trackId": id, "enabled": true}),
    }
}

const IDS: [&str; 4] = ["a", "b", "c", "r"];

pub(super) const COMMANDS: [&str; 20] = [
    "publish",
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
    "joinRoom",
    "leaveFromRoom",
    "getRoomInfo",
    "forceStreamQuality",
    "enableTrack",
    "leave",
    "peerMessageCommand",
    "getVideoTrackAssignments",
    "getDebugInfo",
];

/// As long as a client may be told nothing about what it stopped.
const SILENT_FOR: Duration = Duration::from_secs(10);
