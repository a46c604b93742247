//! Questions about people: who may connect how often, what webhooks and a broadcast's notes are
//! told, who may enter a room, what one socket may do with its token.

use std::net::IpAddr;

use super::*;
use crate::auth::code::derived_key;
use crate::base::crowd::CrowdLimits;
use crate::model::access::{Proof, Subscriber};
use crate::model::call::CallStep;
use crate::model::errand::Errand;
use crate::model::information::Information;
use crate::model::mail::Client;
use crate::model::room::{JoinAsk, RoomMail};

/// A subscriber of `s` with a secret, and the code that it has at the start of the clock.
fn anna(kind: AccessKind, limit: i64) -> (Subscriber, String) {
    let subscriber = Subscriber {
        subscriber_id: "anna".to_owned(),
        stream_id: "s".to_owned(),
        subscriber_name: None,
        b32_secret: Some("JBSWY3DPEHPK3PXP".to_owned()),
        kind,
        concurrent_connections_limit: limit,
        totp_expiry_period_seconds: Some(30),
    };
    // Computed with Python's hmac.
    (subscriber, "324550".to_owned())
}

#[test]
fn a_subscriber_connects_as_often_as_it_may() {
    let mut w = World::new(AppSettings {
        enable_time_token_for_play: true,
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    let refused = Err(Definition::UnauthorizedAccess);
    for (limit, second) in [(1, refused), (2, Ok(())), (-1, Ok(()))] {
        let (subscriber, code) = anna(AccessKind::Play, limit);
        w.facts = Ok(AdmissionFacts {
            subscriber: Some(subscriber),
            ..AdmissionFacts::default()
        });
        let ask = || PlayAsk {
            subscriber_id: Some("anna".to_owned()),
            subscriber_code: Some(code.clone()),
            ..play_of("s")
        };
        assert_eq!(w.play(ALICE, ask()), Ok(()));
        assert_eq!(w.play(ALICE, ask()), Ok(()), "the same socket again");
        assert_eq!(w.play(BOB, ask()), second, "limit {limit}");
        w.release_play(ALICE, "s");
        assert_eq!(w.play(BOB, ask()), Ok(()), "a place is free");
        w.release_play(BOB, "s");
    }
}

#[test]
fn a_subscriber_does_not_get_past_its_limit_while_a_webhook_thinks() {
    let mut w = World::new(AppSettings {
        enable_time_token_for_play: true,
        webhook_play_auth_url: "http://hook/".to_owned(),
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    let (subscriber, code) = anna(AccessKind::Play, 1);
    w.facts = Ok(AdmissionFacts {
        subscriber: Some(subscriber),
        ..AdmissionFacts::default()
    });
    let ask = PlayAsk {
        subscriber_id: Some("anna".to_owned()),
        subscriber_code: Some(code),
        ..play_of("s")
    };
    w.ask_play(ALICE, ask.clone());
    w.ask_play(BOB, ask);
    while w.step() {}
    assert_eq!(w.mails(), ["play 1 granted", "play 2 unauthorized_access"]);
}

#[test]
fn a_subscriber_who_may_play_may_not_publish_and_one_who_may_publish_may_play() {
    let settings = AppSettings {
        enable_time_token_for_play: true,
        enable_time_token_for_publish: true,
        ..AppSettings::default()
    };
    let refused = Err(Definition::UnauthorizedAccess);
    for (kind, publish) in [(AccessKind::Play, refused), (AccessKind::Publish, Ok(()))] {
        let mut w = World::new(settings.clone());
        w.put_live(CAROL, "other");
        let (subscriber, code) = anna(kind, 9);
        w.facts = Ok(AdmissionFacts {
            subscriber: Some(subscriber),
            ..AdmissionFacts::default()
        });
        let id = Some("anna".to_owned());
        let play = PlayAsk {
            subscriber_id: id.clone(),
            subscriber_code: Some(code.clone()),
            ..play_of("other")
        };
        assert_eq!(w.play(ALICE, play), Ok(()));
        let ask = PublishAsk {
            subscriber_id: id,
            subscriber_code: Some(code),
            ..publish_of("s")
        };
        assert_eq!(w.publish(ALICE, ask), publish);
    }
}

#[test]
fn a_block_ends_what_runs_and_refuses_what_is_asked() {
    let mut w = World::new(AppSettings::default());
    let publish = PublishAsk {
        subscriber_id: Some("anna".to_owned()),
        ..publish_of("s")
    };
    let play = PlayAsk {
        subscriber_id: Some("anna".to_owned()),
        ..play_of("s")
    };
    assert_eq!(w.publish(ALICE, publish), Ok(()));
    w.go_live(ALICE, "s");
    assert_eq!(w.play(BOB, play.clone()), Ok(()));
    assert_eq!(w.play(CAROL, play_of("s")), Ok(()));
    w.ask_play(CAROL, play);
    let app = AppName::from(APP);
    w.directory
        .block_subscriber(&app, "s", "anna", BlockKind::Play);
    assert_eq!(w.mails(), ["stop play 2 s", "play 4 user_blocked"]);
    while w.step() {}
    assert!(w.mails().is_empty(), "its late look changes nothing");
    w.directory
        .block_subscriber(&app, "s", "anna", BlockKind::PublishPlay);
    assert_eq!(w.mails(), ["stop publish 1 s", "stop play 2 s"]);
}

#[test]
fn the_webhooks_are_told_who_wants_what() {
    let mut w = World::new(AppSettings {
        webhook_authenticate_url: "http://hook/publish".to_owned(),
        webhook_play_auth_url: "http://hook/play".to_owned(),
        ..AppSettings::default()
    });
    w.put_live(CAROL, "t");
    let client = Arc::new(Client {
        remote: Some("192.0.2.7".parse().unwrap()),
        origin: Some("https://page".into()),
        query: Some("target=origin".into()),
    });
    let publish = PublishAsk {
        token: Some("tok".to_owned()),
        client: client.clone(),
        ..publish_of("s")
    };
    assert_eq!(w.publish(ALICE, publish), Ok(()));
    let play = PlayAsk {
        viewer_info: Some("info".to_owned()),
        client,
        ..play_of("t")
    };
    assert_eq!(w.play(ALICE, play), Ok(()));
    let expected = [
        (
            "http://hook/publish",
            serde_json::json!({
                "appName": "live", "name": "s", "streamId": "s", "mode": "live", "token": "tok",
                "queryParams": "target=origin",
            }),
        ),
        (
            "http://hook/play",
            serde_json::json!({
                "appName": "live", "streamId": "t", "mode": "play", "origin": "https://page",
                "metaData": "info", "ipAddress": "192.0.2.7",
            }),
        ),
    ];
    let asked: Vec<_> = w
        .hooks
        .iter()
        .map(|hook| {
            (
                hook.url.as_str(),
                serde_json::Value::Object(hook.body.clone()),
            )
        })
        .collect();
    assert_eq!(asked, expected);
}

#[test]
fn what_becomes_of_a_broadcast_and_its_subscribers_is_noted() {
    let mut w = World::new(AppSettings::default());
    w.put_live(CAROL, "s");
    assert_eq!(w.statuses(), ["broadcasting"]);
    let play = PlayAsk {
        subscriber_id: Some("anna".to_owned()),
        ..play_of("s")
    };
    assert_eq!(w.play(BOB, play), Ok(()));
    let (app, stream) = (AppName::from(APP), StreamId::from("s"));
    w.tell(ControlMail::PlayLive {
        conn: BOB,
        app,
        stream,
    });
    w.release_play(BOB, "s");
    w.release_play(BOB, "s");
    let notes = w.directory.take_notes(100);
    let events: Vec<_> = notes
        .iter()
        .map(|note| match note {
            Note::Event { event, .. } => (&*event.subscriber_id, event.event_type.text()),
            Note::Status { .. } => ("", ""),
        })
        .collect();
    assert_eq!(events, [("anna", "connected"), ("anna", "disconnected")]);
    w.release_publish(CAROL, "s");
    assert_eq!(w.statuses(), ["finished"]);
    assert_eq!(w.publish(ALICE, publish_of("s")), Ok(()));
    w.release_publish(ALICE, "s");
    assert!(w.statuses().is_empty(), "it was never on air");
}

#[test]
fn a_room_is_joined_when_it_is_known_and_in_its_time() {
    let mut w = World::new(AppSettings {
        accept_only_rooms_in_data_store: true,
        play_token_control_enabled: true,
        webhook_play_auth_url: "http://hook/".to_owned(),
        ..AppSettings::default()
    });
    let over = BroadcastRecord {
        planned_start_date: 1,
        planned_end_date: 2,
        ..record("room")
    };
    let unregistered = Some(Definition::NotAllowedUnregisteredStreams);
    let cases = [
        (
            Err(StoreError::Unavailable),
            Some(Definition::DataStoreNotAvailable),
        ),
        (Ok(None), unregistered),
        (Ok(Some(over)), Some(Definition::RoomNotActiveOrExpired)),
        (Ok(Some(record("room"))), None),
    ];
    for (known, expected) in cases {
        w.facts = known.map(|broadcast| AdmissionFacts {
            broadcast,
            ..AdmissionFacts::default()
        });
        w.tell(ControlMail::Room {
            conn: ALICE,
            app: APP.into(),
            mail: RoomMail::AskJoin {
                request: 7,
                ask: JoinAsk {
                    room: "room".into(),
                    stream: Some("a".into()),
                    token: None,
                },
            },
        });
        while w.step() {}
        let refused = match w.directory.poll_mail() {
            Some((_, WorkerMail::Room { answer, .. })) => match answer {
                RoomAnswer::Join { request, result } => {
                    assert_eq!(request, 7);
                    result.err()
                }
                RoomAnswer::Information { .. } => panic!("{answer:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(refused, expected);
    }
    assert!(w.hooks.is_empty());
}

#[test]
fn a_token_of_a_room_lets_its_socket_publish_and_play_at_once() {
    let mut w = World::new(AppSettings {
        publish_token_control_enabled: true,
        play_token_control_enabled: true,
        ..AppSettings::default()
    });
    let app = AppName::from(APP);
    w.put_live(CAROL, "other");
    w.directory.move_to_room(w.now, &app, "other", Some("room"));
    while w.directory.poll_mail().is_some() {}
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("room", AccessKind::Publish)),
        ..AdmissionFacts::default()
    });
    let token = Some("secret".to_owned());
    let publish = PublishAsk {
        token: token.clone(),
        main_track: Some("room".into()),
        ..publish_of("s")
    };
    let play = PlayAsk {
        token,
        ..play_of("room")
    };
    w.ask_publish(ALICE, publish);
    w.ask_play(ALICE, play.clone());
    w.ask_play(BOB, play);
    assert!(w.step() && w.step() && w.step(), "all are looked up");
    assert!(w.step(), "the first uses it up");
    w.is_there = Ok(false);
    while w.step() {}
    let expected = [
        "publish 1 granted",
        "play 2 granted",
        "play 3 unauthorized_access",
    ];
    assert_eq!(w.mails(), expected);
}

#[test]
fn a_token_that_is_used_up_after_its_socket_went_is_not_remembered() {
    let mut w = World::new(AppSettings {
        publish_token_control_enabled: true,
        ..AppSettings::default()
    });
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Publish)),
        ..AdmissionFacts::default()
    });
    let ask = PublishAsk {
        token: Some("secret".to_owned()),
        ..publish_of("s")
    };
    w.ask_publish(ALICE, ask);
    assert!(w.step());
    w.release_publish(ALICE, "s");
    w.tell(ControlMail::ConnClosed { conn: ALICE });
    assert!(w.step() && !w.step());
    assert!(w.mails().is_empty());
    assert!(w.directory.questions.used.is_empty());
    assert!(w.directory.questions.waiting.is_empty());
}

#[test]
fn a_publish_goes_into_the_room_that_it_is_registered_in() {
    let mut w = World::new(AppSettings::default());
    w.facts = Ok(AdmissionFacts {
        broadcast: Some(BroadcastRecord {
            main_track_stream_id: Some("room".to_owned()),
            ..record("s")
        }),
        ..AdmissionFacts::default()
    });
    w.ask_publish(ALICE, publish_of("s"));
    while w.step() {}
    let told: Vec<_> = std::iter::from_fn(|| w.directory.poll_mail()).collect();
    let is_order = matches!(
        &told[..],
        [
            (_, WorkerMail::PublishDecision { result: Ok(()), .. }),
            (_, WorkerMail::Moved { room: Some(room), .. }),
        ] if **room == *"room"
    );
    assert!(is_order, "the decision comes first: {told:?}");
    w.go_live(ALICE, "s");
    assert_eq!(w.play(BOB, play_of("room")), Ok(()));
}

#[test]
fn who_is_refused_for_want_of_a_place_keeps_the_token() {
    let mut w = World::new(AppSettings {
        webhook_authenticate_url: "http://hook/".to_owned(),
        publish_token_control_enabled: true,
        play_token_control_enabled: true,
        ..AppSettings::default()
    });
    let publish = || PublishAsk {
        token: Some("secret".to_owned()),
        ..publish_of("s")
    };
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Publish)),
        ..AdmissionFacts::default()
    });
    // Both were let through while the id was free; the other one's webhook answers first.
    w.ask_publish(BOB, publish());
    assert!(w.step(), "looked up");
    w.put_live(ALICE, "s");
    while w.step() {}
    assert_eq!(w.mails().last().unwrap(), "publish 1 streamIdInUse");

    w.directory.limit_openings(CrowdLimits {
        all: 1,
        per_address: 0,
    });
    w.facts = Ok(AdmissionFacts {
        token: Some(grant("s", AccessKind::Play)),
        ..AdmissionFacts::default()
    });
    let play = || PlayAsk {
        token: Some("secret".to_owned()),
        ..play_of("s")
    };
    w.is_there = Ok(false);
    let refused = Err(Definition::UnauthorizedAccess);
    assert_eq!(w.play(BOB, play()), refused, "used up");
    assert_eq!(w.consumed.len(), 1);
    w.is_there = Ok(true);
    assert_eq!(w.play(BOB, play()), Ok(()), "its place was given back");
    let busy = Err(Definition::HighResourceUsage);
    assert_eq!(w.play(CAROL, play()), busy);
    assert_eq!(w.consumed.len(), 2, "hers is not used up");
}

#[test]
fn leaving_a_call_withdraws_no_room_of_its_name() {
    let mut w = World::new(AppSettings::default());
    let ask = JoinAsk {
        room: "x".into(),
        stream: Some("s".into()),
        token: None,
    };
    let mail = RoomMail::AskJoin { request: 7, ask };
    w.tell(ControlMail::Room {
        conn: ALICE,
        app: APP.into(),
        mail,
    });
    w.tell(ControlMail::Errand {
        conn: ALICE,
        app: APP.into(),
        client: Arc::default(),
        errand: Errand::Call(CallStep::Leave { stream: "x".into() }),
    });
    while w.step() {}
    let room = w.directory.broadcast(APP, "x");
    assert!(room.is_some(), "she is in the room");
}

/// `s` is on air, and who plays it shows a code; Anna's.
pub(super) fn world_with_codes() -> (World, String) {
    let mut w = World::new(AppSettings {
        enable_time_token_for_play: true,
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    let (subscriber, code) = anna(AccessKind::Play, -1);
    w.facts = Ok(AdmissionFacts {
        subscriber: Some(subscriber),
        ..AdmissionFacts::default()
    });
    (w, code)
}

#[test]
fn who_plays_may_ask_for_the_tracks_without_a_code() {
    let (mut w, code) = world_with_codes();
    let ask = PlayAsk {
        subscriber_id: Some("anna".to_owned()),
        subscriber_code: Some(code),
        ..play_of("s")
    };
    assert_eq!(w.play(ALICE, ask), Ok(()));
    for (conn, answer) in [(ALICE, "trackList"), (BOB, "unauthorized_access")] {
        let question = Information::TrackList {
            stream: "s".into(),
            proof: Proof::default(),
        };
        w.tell(ControlMail::Errand {
            conn,
            app: APP.into(),
            client: Arc::default(),
            errand: Errand::Question(question),
        });
        while w.step() {}
        let Some((_, WorkerMail::Text { text, .. })) = w.directory.outbox.pop_back() else {
            panic!("no answer");
        };
        assert!(text.contains(answer), "{text}");
    }
}

/// Somebody at 192.0.2.`last` shows a code for `s`.
fn play_with_code(id: &str, code: &str, last: u8) -> PlayAsk {
    PlayAsk {
        subscriber_id: Some(id.to_owned()),
        subscriber_code: Some(code.to_owned()),
        client: Arc::new(Client {
            remote: Some(IpAddr::from([192, 0, 2, last])),
            ..Client::default()
        }),
        ..play_of("s")
    }
}

#[test]
fn another_id_for_each_guess_gains_nothing() {
    let mut w = World::new(AppSettings {
        enable_time_token_for_play: true,
        time_token_secret_for_play: "of the application".to_owned(),
        ..AppSettings::default()
    });
    w.put_live(CAROL, "s");
    let key = derived_key("of the application", "anna", "s", AccessKind::Play).unwrap();
    let code = code_at(&key, 60, 1_700_000_000);
    let refused = Err(Definition::UnauthorizedAccess);
    for guess in 0..100 {
        assert_eq!(
            w.play(BOB, play_with_code(&format!("id{guess}"), "000000", 1)),
            refused
        );
    }
    assert_eq!(
        w.play(BOB, play_with_code("anna", &code, 1)),
        refused,
        "found too late"
    );
    assert_eq!(w.play(ALICE, play_with_code("anna", &code, 2)), Ok(()));
}

#[test]
fn codes_are_not_to_be_guessed() {
    let (mut w, code) = world_with_codes();
    let ask = |code: &str, last: u8| play_with_code("anna", code, last);
    let refused = Err(Definition::UnauthorizedAccess);
    // An old code, as a page that reconnects shows it.
    for _ in 0..100 {
        assert_eq!(w.play(BOB, ask("000000", 1)), refused);
    }
    assert_eq!(w.play(BOB, ask(&code, 1)), Ok(()));
    for guess in 0..20 {
        assert_eq!(w.play(BOB, ask(&format!("{guess:06}"), 2)), refused);
    }
    assert_eq!(w.play(BOB, ask(&code, 2)), refused, "found too late");
    assert_eq!(w.play(ALICE, ask(&code, 3)), Ok(()), "she is elsewhere");
}
