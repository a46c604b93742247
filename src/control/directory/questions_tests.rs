//! Questions from their asking to their answer: the order of the checks, and what becomes of those
//! that are withdrawn.

use std::sync::Arc;

use super::*;
use crate::auth::code::code_at;
use crate::base::clock::tests::test_now;
use crate::base::codec::Codec;
use crate::base::ids::{Pt, TrackId, WorkerId};
use crate::control::HookRequest;
use crate::model::access::Block;
use crate::model::broadcast::BroadcastRecord;
use crate::model::mail::{Client, ControlMail, PlayAsk, PublishAsk, PublishEnding};
use crate::model::settings::AppSettings;

#[path = "questions_call_tests.rs"]
mod calls;
#[path = "questions_people_tests.rs"]
mod people;

const APP: &str = "live";
const ALICE: ConnId = conn(1);
const BOB: ConnId = conn(2);
const CAROL: ConnId = conn(3);

const fn conn(serial: u64) -> ConnId {
    ConnId {
        worker: WorkerId(0),
        serial,
    }
}

/// A directory, and a world outside that answers as it is told.
struct World {
    directory: Directory,
    now: Now,
    facts: Result<AdmissionFacts, StoreError>,
    /// What the webhook says.
    allows: bool,
    /// Whether the token is still there.
    is_there: Result<bool, StoreError>,
    hooks: Vec<HookRequest>,
    consumed: Vec<String>,
    requests: u64,
}

impl World {
    fn new(settings: AppSettings) -> Self {
        let apps = [(AppName::from(APP), Arc::new(settings))];
        Self {
            directory: Directory::new(apps.into_iter().collect()),
            now: test_now(),
            facts: Ok(AdmissionFacts::default()),
            allows: true,
            is_there: Ok(true),
            hooks: Vec::new(),
            consumed: Vec::new(),
            requests: 0,
        }
    }

    fn tell(&mut self, mail: ControlMail) {
        self.directory.handle_mail(self.now, mail);
        self.directory.apps[APP].assert_consistent();
    }

    /// Takes the oldest step; false when there is none.
    fn step(&mut self) -> bool {
        let Some((id, step)) = self.directory.poll_step() else {
            return false;
        };
        let result = self.outcome(step);
        self.directory.handle_step(self.now, id, result);
        self.directory.apps[APP].assert_consistent();
        true
    }

    fn outcome(&mut self, step: Step) -> StepResult {
        match step {
            Step::Look(_) => StepResult::Looked(self.facts.clone().map(Box::new)),
            Step::Hook(request) => {
                self.hooks.push(*request);
                StepResult::Hooked(self.allows)
            }
            Step::Consume { token, .. } => {
                self.consumed.push(token);
                StepResult::Consumed(self.is_there)
            }
        }
    }

    fn ask_publish(&mut self, conn: ConnId, ask: PublishAsk) -> u64 {
        self.requests += 1;
        let request = self.requests;
        self.tell(ControlMail::AskPublish {
            conn,
            request,
            app: APP.into(),
            ask,
        });
        request
    }

    fn ask_play(&mut self, conn: ConnId, ask: PlayAsk) -> u64 {
        self.requests += 1;
        let request = self.requests;
        self.tell(ControlMail::AskPlay {
            conn,
            request,
            app: APP.into(),
            ask,
        });
        request
    }

    /// Every mail, in few words.
    fn mails(&mut self) -> Vec<String> {
        let mails = std::iter::from_fn(|| self.directory.poll_mail());
        let text = |(_, mail)| match mail {
            WorkerMail::PublishDecision {
                request, result, ..
            } => format!("publish {request} {}", word(result)),
            WorkerMail::PlayDecision {
                request, result, ..
            } => format!("play {request} {}", word(result.map(drop))),
            WorkerMail::StopPublish { conn, stream } => {
                format!("stop publish {} {stream}", conn.serial)
            }
            WorkerMail::StopPlay { conn, stream } => format!("stop play {} {stream}", conn.serial),
            other => panic!("{other:?}"),
        };
        mails.map(text).collect()
    }

    fn publish(&mut self, conn: ConnId, ask: PublishAsk) -> Result<(), Definition> {
        self.ask_publish(conn, ask);
        while self.step() {}
        match self.directory.outbox.pop_back() {
            Some((_, WorkerMail::PublishDecision { result, .. })) => result,
            other => panic!("{other:?}"),
        }
    }

    fn play(&mut self, conn: ConnId, ask: PlayAsk) -> Result<(), Definition> {
        self.ask_play(conn, ask);
        while self.step() {}
        match self.directory.outbox.pop_back() {
            Some((_, WorkerMail::PlayDecision { result, .. })) => result.map(drop),
            other => panic!("{other:?}"),
        }
    }

    /// `conn` is live on `stream` without any check.
    fn put_live(&mut self, conn: ConnId, stream: &str) {
        let ask = publish_of(stream);
        self.directory
            .decide_publish(self.now, conn, &APP.into(), ask)
            .unwrap();
        self.go_live(conn, stream);
    }

    fn go_live(&mut self, conn: ConnId, stream: &str) {
        let track = TrackInfo {
            id: TrackId {
                origin: WorkerId(0),
                serial: conn.serial,
            },
            kind: MediaKind::Video,
            codec: Codec::Vp8,
            fmtp: "".into(),
            pt: Pt(96),
            rtx_pt: None,
            red: false,
            encodings: 1,
        };
        self.tell(ControlMail::PublishLive {
            conn,
            app: APP.into(),
            stream: stream.into(),
            tracks: vec![track],
        });
    }

    fn release_play(&mut self, conn: ConnId, stream: &str) {
        self.tell(ControlMail::PlayReleased {
            conn,
            app: APP.into(),
            stream: stream.into(),
        });
    }

    fn release_publish(&mut self, conn: ConnId, stream: &str) {
        self.tell(ControlMail::PublishReleased {
            conn,
            app: APP.into(),
            stream: stream.into(),
            ending: PublishEnding::Stopped,
        });
    }

    fn statuses(&mut self) -> Vec<&'static str> {
        let notes = self.directory.take_notes(100);
        let status = |note| match note {
            Note::Status { status, .. } => Some(status.text()),
            Note::Event { .. } => None,
        };
        notes.into_iter().filter_map(status).collect()
    }
}

fn word(result: Result<(), Definition>) -> &'static str {
    result.map_or_else(Definition::text, |()| "granted")
}

fn publish_of(stream: &str) -> PublishAsk {
    PublishAsk {
        stream: Some(stream.into()),
        video: true,
        audio: true,
        ..PublishAsk::default()
    }
}

fn play_of(stream: &str) -> PlayAsk {
    PlayAsk {
        stream: Some(stream.into()),
        ..PlayAsk::default()
    }
}

fn record(stream: &str) -> BroadcastRecord {
    BroadcastRecord {
        stream_id: stream.to_owned(),
        ..BroadcastRecord::default()
    }
}

fn grant(stream: &str, kind: AccessKind) -> TokenGrant {
    TokenGrant {
        stream_id: stream.to_owned(),
        // The virtual clock begins at 1700000000.
        expire_date: 1_700_000_100,
        kind,
        room_id: None,
    }
}

/// Everything that can stand in the way of a publish or play at once.
struct Situation {
    settings: AppSettings,
    is_down: bool,
    is_overloaded: bool,
    /// A publisher of the id, other than who asks.
    is_taken: bool,
    is_live: bool,
    facts: AdmissionFacts,
    token: Option<&'static str>,
}

impl Situation {
    fn worst() -> Self {
        let planned = BroadcastRecord {
            planned_start_date: 1,
            planned_end_date: 2,
            webrtc_viewer_limit: 0,
            ..record("s")
        };
        let full = BroadcastRecord {
            subtracks_limit: 0,
            ..record("room")
        };
        Self {
            settings: AppSettings {
                application_suspended: true,
                h264_enabled: false,
                vp8_enabled: false,
                vp9_enabled: false,
                h265_enabled: false,
                av1_enabled: false,
                encoder_settings_required: true,
                accept_only_streams_in_data_store: true,
                publish_token_control_enabled: true,
                play_token_control_enabled: true,
                webrtc_enabled: false,
                ..AppSettings::default()
            },
            is_down: true,
            is_overloaded: true,
            is_taken: true,
            is_live: false,
            facts: AdmissionFacts {
                broadcast: Some(planned),
                main: Some(full),
                blocks: vec![Block {
                    kind: BlockKind::PublishPlay,
                    until_unix_ms: i64::MAX,
                }],
                ..AdmissionFacts::default()
            },
            token: None,
        }
    }

    fn world(&self) -> World {
        let mut w = World::new(AppSettings::default());
        if self.is_taken || self.is_live {
            w.put_live(CAROL, "s");
        }
        let settings = Arc::new(self.settings.clone());
        let now = w.now;
        assert!(w.directory.set_settings(now, &APP.into(), settings));
        w.directory.set_overloaded(self.is_overloaded);
        w.facts = if self.is_down {
            Err(StoreError::Unavailable)
        } else {
            Ok(self.facts.clone())
        };
        w
    }

    fn publish(&self) -> Result<(), Definition> {
        let ask = PublishAsk {
            main_track: Some("room".into()),
            token: self.token.map(str::to_owned),
            subscriber_id: Some("anna".to_owned()),
            ..publish_of("s")
        };
        self.world().publish(ALICE, ask)
    }

    fn play(&self) -> Result<(), Definition> {
        let ask = PlayAsk {
            token: self.token.map(str::to_owned),
            subscriber_id: Some("anna".to_owned()),
            ..play_of("s")
        };
        self.world().play(ALICE, ask)
    }
}

/// An obstacle: what it is answered with, and its end.
type Obstacle = (Definition, fn(&mut Situation));

#[test]
fn a_publish_meets_its_obstacles_in_order() {
    let mut situation = Situation::worst();
    let registered = situation.facts.broadcast.take();
    let obstacles: [Obstacle; 10] = [
        (Definition::DataStoreNotAvailable, |s| s.is_down = false),
        (Definition::LicenseSuspended, |s| {
            s.settings.application_suspended = false;
        }),
        (Definition::HighResourceUsage, |s| s.is_overloaded = false),
        (Definition::NoCodecEnabled, |s| {
            s.settings.vp8_enabled = true
        }),
        (Definition::NoEncoderSettings, |s| {
            s.settings.encoder_settings = "720,2000000,64000".to_owned();
        }),
        (Definition::StreamIdInUse, |s| s.is_taken = false),
        (Definition::NotAllowedUnregisteredStreams, |s| {
            s.facts.broadcast = Some(BroadcastRecord {
                planned_start_date: 1,
                planned_end_date: 2,
                ..record("s")
            });
        }),
        (Definition::StreamNotActiveOrExpired, |s| {
            s.facts.broadcast = Some(record("s"));
        }),
        (Definition::UserBlocked, |s| s.facts.blocks.clear()),
        (Definition::UnauthorizedAccess, |s| {
            s.token = Some("t");
            s.facts.token = Some(grant("s", AccessKind::Publish));
        }),
    ];
    assert!(registered.is_some());
    for (definition, remove) in obstacles {
        assert_eq!(situation.publish(), Err(definition));
        remove(&mut situation);
    }
    assert_eq!(situation.publish(), Err(Definition::SubtrackLimitReached));
    situation.facts.main = Some(record("room"));
    assert_eq!(situation.publish(), Ok(()));
}

#[test]
fn a_play_meets_its_obstacles_in_order() {
    let mut situation = Situation::worst();
    situation.is_taken = false;
    let obstacles: [Obstacle; 10] = [
        (Definition::DataStoreNotAvailable, |s| s.is_down = false),
        (Definition::LicenseSuspended, |s| {
            s.settings.application_suspended = false;
        }),
        (Definition::HighResourceUsage, |s| s.is_overloaded = false),
        (Definition::NoStreamExist, |s| s.is_live = true),
        (Definition::StreamNotActiveOrExpired, |s| {
            s.facts.broadcast = Some(BroadcastRecord {
                webrtc_viewer_limit: 0,
                ..record("s")
            });
        }),
        (Definition::UserBlocked, |s| s.facts.blocks.clear()),
        (Definition::UnauthorizedAccess, |s| {
            s.token = Some("t");
            s.facts.token = Some(grant("s", AccessKind::Play));
        }),
        (Definition::ViewerLimitReached, |s| {
            s.facts.broadcast = Some(record("s"));
        }),
        (Definition::WebrtcNotEnabled, |s| {
            s.settings.webrtc_enabled = true;
        }),
        (Definition::NoCodecEnabled, |s| {
            s.settings.vp8_enabled = true
        }),
    ];
    for (definition, remove) in obstacles {
        assert_eq!(situation.play(), Err(definition));
        remove(&mut situation);
    }
    assert_eq!(situation.play(), Ok(()));
}

#[test]
fn the_time_of_a_broadcast_is_between_its_dates_and_publishing_may_expire() {
    let planned = |start, end| BroadcastRecord {
        planned_start_date: start,
        planned_end_date: end,
        ..record("s")
    };
    let expiring = |expire_duration_ms| BroadcastRecord {
        date: 1_699_999_999_000,
        expire_duration_ms,
        ..record("s")
    };
    let now = 1_700_000_000;
    let no = Err(Definition::StreamNotActiveOrExpired);
    // The record; whether it can be published; whether it can be played.
    let cases = [
        (planned(0, 0), Ok(()), Ok(())),
        (planned(now, now), Ok(()), Ok(())),
        (planned(now + 1, now + 9), no, no),
        (planned(now - 9, now - 1), no, no),
        (planned(now + 1, 0), Ok(()), Ok(())),
        (planned(0, now - 1), Ok(()), Ok(())),
        (expiring(1000), Ok(()), Ok(())),
        (expiring(999), no, Ok(())),
    ];
    for (record, publish, play) in cases {
        let mut w = World::new(AppSettings::default());
        w.put_live(CAROL, "live");
        w.facts = Ok(AdmissionFacts {
            broadcast: Some(record),
            ..AdmissionFacts::default()
        });
        assert_eq!(w.publish(ALICE, publish_of("s")), publish);
        assert_eq!(w.play(ALICE, play_of("live")), play);
    }
}

#[test]
fn rooms_can_be_demanded_to_be_registered() {
    let mut w = World::new(AppSettings {
        accept_only_rooms_in_data_store: true,
        ..AppSettings::default()
    });
    let in_room = || PublishAsk {
        main_track: Some("room".into()),
        ..publish_of("s")
    };
    let refused = Err(Definition::NotAllowedUnregisteredStreams);
    assert_eq!(w.publish(ALICE, in_room()), refused);
    assert_eq!(w.publish(ALICE, publish_of("s")), Ok(()));
    w.facts = Ok(AdmissionFacts {
        main: Some(record("room")),
        ..AdmissionFacts::default()
    });
    assert_eq!(
        w.publish(BOB, PublishAsk { ..in_room() }),
        Err(Definition::StreamIdInUse)
    );
}

#[test]
fn every_enabled_check_must_pass() {
    let jwt_secret = "zautXStXM9iW3aD3FuyPH0TdK4GHPmHq";
    let jwt = crate::auth::jwt::make("s", AccessKind::Publish, 0, jwt_secret).unwrap();
    let hash = crate::auth::hash::hash("s", AccessKind::Publish, "h");
    let key = crate::auth::code::derived_key("c", "anna", "s", AccessKind::Publish).unwrap();
    let code = code_at(&key, 60, 1_700_000_000);
    let with = |token: &str, code: &str| PublishAsk {
        token: Some(token.to_owned()),
        subscriber_id: Some("anna".to_owned()),
        subscriber_code: Some(code.to_owned()),
        client: Arc::new(Client {
            remote: Some("192.0.2.7".parse().unwrap()),
            ..Client::default()
        }),
        ..publish_of("s")
    };
    let base = AppSettings {
        jwt_stream_secret_key: jwt_secret.to_owned(),
        token_hash_secret: "h".to_owned(),
        time_token_secret_for_publish: "c".to_owned(),
        ..AppSettings::default()
    };
    let only_jwt = AppSettings {
        publish_jwt_control_enabled: true,
        ..base.clone()
    };
    let only_hash = AppSettings {
        hash_control_publish_enabled: true,
        ..base.clone()
    };
    let only_code = AppSettings {
        enable_time_token_for_publish: true,
        ..base.clone()
    };
    let hash_and_code = AppSettings {
        hash_control_publish_enabled: true,
        ..only_code.clone()
    };
    let near = AppSettings {
        allowed_publisher_cidr: "192.0.2.0/24".to_owned(),
        ..base.clone()
    };
    let far = AppSettings {
        allowed_publisher_cidr: "198.51.100.0/24".to_owned(),
        ..base
    };
    let wrong = code_at(&key, 60, 0);
    let cases = [
        (&only_jwt, with(&jwt, ""), true),
        (&only_jwt, with(&hash, ""), false),
        (&only_hash, with(&hash, ""), true),
        (&only_hash, with(&jwt, ""), false),
        (&only_code, with("", &code), true),
        (&only_code, with("", &wrong), false),
        (&only_code, with("", ""), false),
        (&hash_and_code, with(&hash, &code), true),
        (&hash_and_code, with(&hash, &wrong), false),
        (&hash_and_code, with(&jwt, &code), false),
        (&near, with("", ""), true),
        (&far, with("", ""), false),
        (&near, publish_of("s"), false),
    ];
    for (number, (settings, ask, expected)) in cases.into_iter().enumerate() {
        let mut w = World::new(settings.clone());
        let refused = Err(Definition::UnauthorizedAccess);
        let expected = if expected { Ok(()) } else { refused };
        assert_eq!(w.publish(ALICE, ask), expected, "case {number}");
    }
}

#[test]
fn a_token_is_used_up_last_and_comes_back_only_on_its_own_socket() {
    let mut w = World::new(AppSettings {
        play_token_control_enabled: true,
        webhook_play_auth_url: "http://hook/".to_owned(),
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    w.put_live(CAROL, "t");
    let ask = |stream: &str| PlayAsk {
        token: Some("secret".to_owned()),
        ..play_of(stream)
    };
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Play)),
        ..AdmissionFacts::default()
    });
    w.allows = false;
    assert_eq!(w.play(ALICE, ask("s")), Err(Definition::UnauthorizedAccess));
    assert!(w.consumed.is_empty(), "the webhook comes first");
    w.allows = true;
    assert_eq!(w.play(ALICE, ask("s")), Ok(()));
    assert_eq!(w.consumed, ["secret"]);

    w.facts = Ok(AdmissionFacts::default());
    w.release_play(ALICE, "s");
    assert_eq!(w.play(ALICE, ask("s")), Ok(()), "the same socket again");
    assert_eq!(w.play(ALICE, ask("t")), Err(Definition::UnauthorizedAccess));
    assert_eq!(w.play(BOB, ask("s")), Err(Definition::UnauthorizedAccess));
    w.release_play(ALICE, "s");
    w.tell(ControlMail::ConnClosed { conn: ALICE });
    assert_eq!(w.play(ALICE, ask("s")), Err(Definition::UnauthorizedAccess));
    assert_eq!(w.consumed.len(), 1);
}

#[test]
fn of_two_who_use_a_token_at_once_one_is_let_in() {
    let mut w = World::new(AppSettings {
        play_token_control_enabled: true,
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Play)),
        ..AdmissionFacts::default()
    });
    let ask = PlayAsk {
        token: Some("secret".to_owned()),
        ..play_of("s")
    };
    w.ask_play(ALICE, ask.clone());
    w.ask_play(BOB, ask);
    assert!(w.step() && w.step() && w.step());
    w.is_there = Ok(false);
    assert!(w.step());
    assert!(!w.step());
    assert_eq!(w.mails(), ["play 1 granted", "play 2 unauthorized_access"]);
}

#[test]
fn an_expired_token_is_refused_and_one_of_a_room_is_not_used_up() {
    let mut w = World::new(AppSettings {
        publish_token_control_enabled: true,
        ..AppSettings::default()
    });
    let ask = || PublishAsk {
        token: Some("secret".to_owned()),
        main_track: Some("room".into()),
        ..publish_of("s")
    };
    let expired = TokenGrant {
        expire_date: 1_700_000_000,
        ..grant("s", AccessKind::Publish)
    };
    let of_room = TokenGrant {
        room_id: Some("room".to_owned()),
        ..grant("x", AccessKind::Publish)
    };
    for (token, expected) in [
        (expired, Err(Definition::UnauthorizedAccess)),
        (of_room, Ok(())),
    ] {
        w.facts = Ok(AdmissionFacts {
            token: Some(token),
            ..AdmissionFacts::default()
        });
        assert_eq!(w.publish(ALICE, ask()), expected);
    }
    assert!(w.consumed.is_empty());
}

#[test]
fn a_withdrawn_question_changes_nothing_when_its_answer_comes() {
    let mut w = World::new(AppSettings {
        webhook_authenticate_url: "http://hook/".to_owned(),
        ..AppSettings::default()
    });
    w.ask_publish(ALICE, publish_of("s"));
    assert!(w.step(), "looked up");
    w.release_publish(ALICE, "s");
    assert!(w.step(), "the webhook allowed it");
    assert!(!w.step());
    assert!(w.mails().is_empty());
    assert!(w.directory.broadcast(APP, "s").is_none());

    w.ask_publish(ALICE, publish_of("s"));
    w.release_publish(ALICE, "s");
    w.ask_publish(ALICE, publish_of("s"));
    while w.step() {}
    assert_eq!(w.mails(), ["publish 3 granted"]);
}

#[test]
fn a_token_that_was_used_up_by_a_withdrawn_question_is_remembered() {
    let mut w = World::new(AppSettings {
        publish_token_control_enabled: true,
        ..AppSettings::default()
    });
    let ask = PublishAsk {
        token: Some("secret".to_owned()),
        ..publish_of("s")
    };
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Publish)),
        ..AdmissionFacts::default()
    });
    w.ask_publish(ALICE, ask.clone());
    assert!(w.step());
    w.release_publish(ALICE, "s");
    assert!(w.step());
    assert!(w.mails().is_empty());
    w.facts = Ok(AdmissionFacts::default());
    assert_eq!(w.publish(ALICE, ask), Ok(()));
}

#[test]
fn too_many_questions_at_once_are_refused() {
    let mut w = World::new(AppSettings::default());
    for i in 0..MAX_CHECKS_PER_CONN {
        w.ask_publish(ALICE, publish_of(&format!("s{i}")));
    }
    w.ask_publish(ALICE, publish_of("one-more"));
    assert_eq!(w.mails(), ["publish 65 highResourceUsage"]);
    for serial in 100..100 + (MAX_CHECKS - MAX_CHECKS_PER_CONN) as u64 {
        w.ask_play(conn(serial), play_of("s"));
    }
    assert!(w.mails().is_empty());
    w.ask_play(BOB, play_of("s"));
    assert_eq!(w.mails(), ["play 1026 highResourceUsage"]);
    while w.step() {}
    assert_eq!(w.mails().len(), MAX_CHECKS);
    assert_eq!(w.play(BOB, play_of("s")), Err(Definition::NoStreamExist));
}

#[test]
fn an_overloaded_host_refuses_newcomers_and_lets_the_others_go_on() {
    let mut w = World::new(AppSettings::default());
    w.put_live(CAROL, "s");
    assert_eq!(w.play(BOB, play_of("s")), Ok(()));
    w.directory.set_overloaded(true);
    assert!(w.mails().is_empty());
    assert_eq!(
        w.play(ALICE, play_of("s")),
        Err(Definition::HighResourceUsage)
    );
    assert_eq!(
        w.publish(ALICE, publish_of("t")),
        Err(Definition::HighResourceUsage)
    );
    assert!(w.directory.broadcast(APP, "s").unwrap().is_playable());
    w.directory.set_overloaded(false);
    assert_eq!(w.play(ALICE, play_of("s")), Ok(()));
}
