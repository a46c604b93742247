//! Stories of rooms, told to the directory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Pt, TrackId, WorkerId};
use crate::base::limits::{MAX_META_DATA_LEN, MAX_STREAM_ID_LEN, MAX_TEXT_LEN};
use crate::model::access::Proof;
use crate::model::errand::Errand;
use crate::model::information::Information;
use crate::model::mail::{ControlMail, PublishAsk, PublishEnding};
use crate::model::settings::AppSettings;
use crate::model::track::{PlayGrant, TrackInfo};

const APP: &str = "live";
const ALICE: ConnId = conn(0, 1);
const BOB: ConnId = conn(1, 1);
const CAROL: ConnId = conn(0, 2);

const fn conn(worker: u16, serial: u64) -> ConnId {
    ConnId {
        worker: WorkerId(worker),
        serial,
    }
}

/// A directory under a virtual clock.
struct World {
    directory: Directory,
    now: Now,
    tracks: u64,
}

impl World {
    fn new(settings: AppSettings) -> Self {
        let apps = [(AppName::from(APP), Arc::new(settings))];
        #[allow(clippy::disallowed_methods, reason = "the virtual clock's zero")]
        let instant = Instant::now();
        Self {
            directory: Directory::new(apps.into_iter().collect()),
            now: Now {
                instant,
                unix_us: 1_700_000_000_000_000,
            },
            tracks: 0,
        }
    }

    fn tell(&mut self, mail: ControlMail) {
        self.directory.handle_mail(self.now, mail);
        self.take_steps();
    }

    fn take_steps(&mut self) {
        while let Some((id, step)) = self.directory.poll_step() {
            let result = step.in_an_empty_world();
            self.directory.handle_step(self.now, id, result);
        }
        self.directory.apps[APP].assert_consistent();
    }

    fn mails(&mut self) -> Vec<WorkerMail> {
        std::iter::from_fn(|| self.directory.poll_mail())
            .map(|(_, mail)| mail)
            .collect()
    }

    fn ask_publish(&mut self, conn: ConnId, ask: PublishAsk) -> Result<(), Definition> {
        let (request, app) = (1, APP.into());
        self.tell(ControlMail::AskPublish {
            conn,
            request,
            app,
            ask,
        });
        let decision = self.mails().into_iter().find_map(|mail| match mail {
            WorkerMail::PublishDecision { result, .. } => Some(result),
            _ => None,
        });
        decision.expect("a decision")
    }

    fn publish(&mut self, conn: ConnId, stream: &str, room: &str) {
        let ask = publish_ask(stream, room);
        assert_eq!(self.ask_publish(conn, ask), Ok(()));
        self.go_live(conn, stream, Codec::Vp8);
    }

    fn go_live(&mut self, conn: ConnId, stream: &str, codec: Codec) {
        self.tracks += 1;
        let track = TrackInfo {
            id: TrackId {
                origin: conn.worker,
                serial: self.tracks,
            },
            kind: MediaKind::Video,
            codec,
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

    fn end(&mut self, conn: ConnId, stream: &str, ending: PublishEnding) {
        let (app, stream) = (APP.into(), stream.into());
        self.tell(ControlMail::PublishReleased {
            conn,
            app,
            stream,
            ending,
        });
    }

    fn ask_play(&mut self, conn: ConnId, ask: PlayAsk) -> Result<PlayGrant, Definition> {
        let (request, app) = (1, APP.into());
        self.tell(ControlMail::AskPlay {
            conn,
            request,
            app,
            ask,
        });
        let decision = self.mails().into_iter().find_map(|mail| match mail {
            WorkerMail::PlayDecision { result, .. } => Some(result),
            _ => None,
        });
        decision.expect("a decision")
    }

    /// Plays `room`; the ids offered.
    fn play(&mut self, conn: ConnId, room: &str) -> Vec<String> {
        let grant = self.ask_play(conn, play_ask(room)).expect("granted");
        assert_eq!(grant.room.as_deref(), Some(room));
        ids(&grant.lineup.sources)
    }

    /// What the plays are told since the last look: `conn: ids`.
    fn told(&mut self) -> Vec<(ConnId, Vec<String>)> {
        let told = self.mails().into_iter().filter_map(|mail| match mail {
            WorkerMail::PlaySources { conn, lineup, .. } => Some((conn, ids(&lineup.sources))),
            _ => None,
        });
        told.collect()
    }

    fn room(&mut self, conn: ConnId, mail: RoomMail) -> Option<RoomAnswer> {
        let app = APP.into();
        self.tell(ControlMail::Room { conn, app, mail });
        self.mails().into_iter().find_map(|mail| match mail {
            WorkerMail::Room { answer, .. } => Some(answer),
            _ => None,
        })
    }

    fn join(&mut self, conn: ConnId, room: &str, stream: &str) -> Result<Joined, Definition> {
        let ask = JoinAsk {
            room: room.into(),
            stream: Some(stream.into()),
            token: None,
        };
        match self.room(conn, RoomMail::AskJoin { request: 7, ask }) {
            Some(RoomAnswer::Join { request: 7, result }) => result,
            other => panic!("{other:?}"),
        }
    }

    fn information(&mut self, conn: ConnId, own: Option<&str>) -> Result<Vec<String>, Definition> {
        let mail = RoomMail::AskInformation {
            room: "r".into(),
            stream: own.map(StreamId::from),
        };
        match self.room(conn, mail) {
            Some(RoomAnswer::Information { result, .. }) => {
                result.map(|list| list.iter().map(|s| s.stream.to_string()).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_there(&self, stream: &str) -> bool {
        self.directory.broadcast(APP, stream).is_some()
    }
}

fn publish_ask(stream: &str, room: &str) -> PublishAsk {
    PublishAsk {
        stream: Some(stream.into()),
        main_track: (!room.is_empty()).then(|| room.into()),
        stream_name: Some(format!("the name of {stream}")),
        video: true,
        audio: true,
        ..PublishAsk::default()
    }
}

fn play_ask(stream: &str) -> PlayAsk {
    PlayAsk {
        stream: Some(stream.into()),
        ..PlayAsk::default()
    }
}

fn ids(sources: &[Source]) -> Vec<String> {
    sources.iter().map(|s| s.stream.to_string()).collect()
}

fn world() -> World {
    World::new(AppSettings::default())
}

#[test]
fn a_room_exists_from_the_first_publish_to_the_last() {
    let mut w = world();
    let refused = w.ask_play(CAROL, play_ask("r"));
    assert_eq!(refused, Err(Definition::NoStreamExist));
    assert_eq!(w.ask_publish(ALICE, publish_ask("a", "r")), Ok(()));
    assert_eq!(
        w.play(ALICE, "r"),
        [] as [&str; 0],
        "before anybody is live"
    );
    w.go_live(ALICE, "a", Codec::Vp8);
    assert_eq!(w.told(), [], "never its own");
    w.publish(BOB, "b", "r");
    assert_eq!(w.told(), [(ALICE, vec!["b".to_owned()])]);
    assert_eq!(w.play(BOB, "r"), ["a"]);
    assert_eq!(w.play(CAROL, "r"), ["a", "b"]);

    let room = w.directory.broadcast(APP, "r").unwrap();
    assert_eq!(
        (room.phase, room.status()),
        (Phase::Virtual, "broadcasting")
    );
    assert_eq!(room.publisher(), None);
    w.end(ALICE, "a", PublishEnding::Stopped);
    assert_eq!(w.told(), [(CAROL, vec!["b".to_owned()]), (BOB, vec![])]);
    w.end(BOB, "b", PublishEnding::Stopped);
    let ended: Vec<_> = w
        .mails()
        .into_iter()
        .filter_map(|mail| match mail {
            WorkerMail::BroadcastEnded { stream, .. } => Some(stream.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(ended, ["b", "r", "r"], "the room on both workers");
    assert!(!w.is_there("r"));
}

#[test]
fn a_lost_participant_is_kept_and_comes_back_under_the_same_or_another_codec() {
    for (codec, told) in [(Codec::Vp8, "same"), (Codec::H264, "other")] {
        let mut w = world();
        w.publish(ALICE, "a", "r");
        assert_eq!(w.play(BOB, "r"), ["a"]);
        w.end(ALICE, "a", PublishEnding::Lost);
        assert_eq!(w.told(), [], "viewers wait");
        assert_eq!(w.ask_publish(CAROL, publish_ask("a", "r")), Ok(()));
        w.go_live(CAROL, "a", codec);
        let mails = w.mails();
        let replaced = mails.iter().any(|mail| {
            matches!(mail, WorkerMail::TracksReplaced { moves, .. }
                if moves[0].1.is_some() == (told == "same"))
        });
        assert!(replaced, "{told}: {mails:?}");
        let is_told = |mail: &WorkerMail| matches!(mail, WorkerMail::PlaySources { conn: BOB, .. });
        assert!(mails.iter().any(is_told), "{told}");
    }
    let mut w = world();
    w.publish(ALICE, "a", "r");
    w.play(BOB, "r");
    w.end(ALICE, "a", PublishEnding::Lost);
    w.now = w.now.after(Duration::from_secs(6));
    w.directory.handle_timeout(w.now);
    assert!(!w.is_there("a") && !w.is_there("r"), "after the window");
}

#[test]
fn a_main_track_with_media_of_its_own_is_one_of_its_sources() {
    let mut w = world();
    w.publish(ALICE, "r", "");
    w.publish(BOB, "b", "r");
    assert_eq!(w.play(CAROL, "r"), ["r", "b"]);
    w.end(ALICE, "r", PublishEnding::Stopped);
    let mails = w.mails();
    let freed = |mail: &WorkerMail| {
        matches!(mail, WorkerMail::TracksReplaced { stream, moves, .. }
            if &**stream == "r" && moves.iter().all(|(_, new)| new.is_none()))
    };
    assert!(
        mails.iter().any(freed),
        "the origin frees its tracks: {mails:?}"
    );
    let left = |mail: &WorkerMail| {
        matches!(mail, WorkerMail::PlaySources { conn: CAROL, lineup, .. }
            if ids(&lineup.sources) == ["b"])
    };
    assert!(mails.iter().any(left), "{mails:?}");
    w.publish(ALICE, "r", "");
    assert_eq!(w.told(), [(CAROL, vec!["r".to_owned(), "b".to_owned()])]);
    w.end(BOB, "b", PublishEnding::Stopped);
    assert_eq!(w.told(), [(CAROL, vec!["r".to_owned()])]);
    w.end(ALICE, "r", PublishEnding::Stopped);
    assert!(!w.is_there("r"));
}

/// Between the last subtrack's end and the first packet of the main track's own media there is
/// nothing to be sent; a play stays and gets it then.
#[test]
fn a_play_of_a_group_gets_the_media_of_what_becomes_of_it() {
    let mut w = world();
    w.publish(BOB, "b", "r");
    assert_eq!(w.play(CAROL, "r"), ["b"]);
    assert_eq!(w.ask_publish(ALICE, publish_ask("r", "")), Ok(()));
    w.end(BOB, "b", PublishEnding::Stopped);
    w.mails();
    w.go_live(ALICE, "r", Codec::Vp8);
    assert_eq!(w.told(), [(CAROL, vec!["r".to_owned()])]);
}

#[test]
fn own_publishes_roles_and_track_lists_decide_what_a_play_is_sent() {
    let mut w = world();
    w.publish(ALICE, "a", "r");
    w.publish(BOB, "b", "r");
    let mut ask = publish_ask("s", "r");
    ask.role = Some("speaker".to_owned());
    assert_eq!(w.ask_publish(CAROL, ask), Ok(()));
    w.go_live(CAROL, "s", Codec::Vp8);
    let table: [(PlayAsk, &[&str]); 5] = [
        (play_ask("r"), &["a", "b"]),
        (
            PlayAsk {
                user_publish_id: Some("b".to_owned()),
                ..play_ask("r")
            },
            &["a"],
        ),
        (
            PlayAsk {
                role: Some("attendee".to_owned()),
                ..play_ask("r")
            },
            &["s"],
        ),
        (
            PlayAsk {
                track_list: vec!["b".to_owned(), "!a".to_owned()],
                ..play_ask("r")
            },
            &["b"],
        ),
        (
            PlayAsk {
                disable_tracks_by_default: true,
                ..play_ask("r")
            },
            &[],
        ),
    ];
    for (number, (ask, want)) in (10..).zip(table) {
        let grant = w.ask_play(conn(1, number), ask.clone()).unwrap();
        assert_eq!(ids(&grant.lineup.sources), want, "{ask:?}");
    }
}

#[test]
fn an_enabled_track_is_offered_at_once_or_when_it_comes() {
    let mut w = world();
    w.publish(ALICE, "a", "r");
    let ask = PlayAsk {
        disable_tracks_by_default: true,
        ..play_ask("r")
    };
    let grant = w.ask_play(BOB, ask).unwrap();
    assert_eq!(ids(&grant.lineup.sources), Vec::<String>::new());
    let enable = |track: &str| ControlMail::Errand {
        conn: BOB,
        app: APP.into(),
        client: Arc::default(),
        errand: Errand::Show {
            main: "r".into(),
            track: track.into(),
        },
    };
    w.told();
    w.tell(enable("a"));
    assert_eq!(w.told(), [(BOB, vec!["a".to_owned()])]);
    w.tell(enable("a"));
    w.tell(enable("c"));
    assert_eq!(w.told(), [], "nothing changed");
    w.publish(CAROL, "c", "r");
    let last = w.told().pop();
    assert_eq!(last, Some((BOB, vec!["a".to_owned(), "c".to_owned()])));
    w.publish(conn(1, 9), "d", "r");
    assert_eq!(w.told(), [], "nobody asked for it");
}

#[test]
fn a_room_that_is_over_leaves_the_main_track_it_was_in() {
    let mut w = world();
    w.publish(ALICE, "a", "inner");
    let app = APP.into();
    for (inner, outer) in [("inner", "outer"), ("outer", "outmost")] {
        let is_moved = w.directory.move_to_room(w.now, &app, inner, Some(outer));
        assert!(is_moved);
    }
    assert!(w.is_there("outmost"));
    w.end(ALICE, "a", PublishEnding::Stopped);
    for room in ["inner", "outer", "outmost"] {
        assert!(!w.is_there(room), "{room}");
    }

    // By the last member's leave too.
    w.join(ALICE, "inner", "a").unwrap();
    w.directory
        .move_to_room(w.now, &app, "inner", Some("outer"));
    let room = "inner".into();
    assert_eq!(w.room(ALICE, RoomMail::Left { room }), None);
    assert!(!w.is_there("inner") && !w.is_there("outer"));

    // A ring ends as well.
    w.publish(ALICE, "a", "inner");
    w.directory
        .move_to_room(w.now, &app, "inner", Some("outer"));
    w.directory
        .move_to_room(w.now, &app, "outer", Some("inner"));
    w.end(ALICE, "a", PublishEnding::Stopped);
    w.directory.move_to_room(w.now, &app, "outer", None);
    assert!(!w.is_there("inner") && !w.is_there("outer"));
}

#[test]
fn a_joined_room_is_known_until_its_last_member_left() {
    let mut w = world();
    assert_eq!(
        w.information(ALICE, Some("a")),
        Err(Definition::NoActiveStreamsInRoom)
    );
    let joined = w.join(ALICE, "r", "a").unwrap();
    assert_eq!((&*joined.stream, joined.others.len()), ("a", 0));
    assert_eq!(w.information(ALICE, Some("a")), Ok(vec![]));
    let refused = w.ask_play(BOB, play_ask("r"));
    assert_eq!(refused, Err(Definition::NoStreamExist), "nobody publishes");
    w.publish(ALICE, "a", "r");
    let joined = w.join(BOB, "r", "b").unwrap();
    assert_eq!(joined.others[0].name.as_deref(), Some("the name of a"));
    assert_eq!(w.information(ALICE, None), Ok(vec![]), "not its own");
    assert_eq!(w.information(BOB, None), Ok(vec!["a".to_owned()]));
    assert_eq!(w.join(BOB, "r", "a"), Err(Definition::StreamIdInUse));

    assert_eq!(w.play(BOB, "r"), ["a"]);
    w.end(ALICE, "a", PublishEnding::Stopped);
    let ended = |mail: &WorkerMail| match mail {
        WorkerMail::PlaysEnded { stream, .. } => &**stream == "r",
        _ => false,
    };
    assert!(w.mails().iter().any(ended), "plays end, the room does not");
    assert_eq!(w.information(BOB, Some("b")), Ok(vec![]));
    for member in [ALICE, BOB] {
        assert!(w.is_there("r"));
        let left = RoomMail::Left { room: "r".into() };
        assert_eq!(w.room(member, left), None);
    }
    assert!(!w.is_there("r"));
}

#[test]
fn a_room_full_of_long_descriptions_is_told_in_an_answer_that_fits() {
    let mut w = world();
    let (joiner, conns) = (conn(1, 9), 0..100);
    for number in conns.clone() {
        let ask = PublishAsk {
            // A character that JSON writes as six.
            stream_name: Some("\u{1}".repeat(MAX_TEXT_LEN)),
            meta_data: Some("\u{1}".repeat(MAX_META_DATA_LEN)),
            ..publish_ask(&format!("s{number}"), "r")
        };
        assert_eq!(w.ask_publish(conn(0, number), ask), Ok(()));
        w.go_live(conn(0, number), &format!("s{number}"), Codec::Vp8);
    }
    let others = w.join(joiner, "r", "me").unwrap().others;
    let ids: Vec<String> = others.iter().map(|s| s.stream.to_string()).collect();
    let all: Vec<String> = conns.map(|number| format!("s{number}")).collect();
    assert_eq!(ids, all);
    assert_eq!(w.information(joiner, Some("me")), Ok(all));
    let described = |s: &&RoomStream| s.name.is_some() && s.meta_data.is_some();
    assert_eq!(others.iter().filter(described).count(), 4);
    let written: usize = others
        .iter()
        .flat_map(|s| [&s.name, &s.meta_data])
        .flatten()
        .map(|text| serde_json::to_string(text).unwrap().len())
        .sum();
    assert!(written <= MAX_PAGE_LEN, "{written}");
}

#[test]
fn a_room_of_thousands_is_told_in_answers_that_fit() {
    let mut w = world();
    w.publish(ALICE, "a", "r");
    let (room, now) = (StreamId::from("r"), w.now);
    let broadcasts = &mut w.directory.apps.get_mut(APP).unwrap().broadcasts;
    for number in 0..2000 {
        let stream = StreamId::from(format!("{number:0>MAX_STREAM_ID_LEN$}"));
        let publisher = conn(0, 100 + number);
        let ask = publish_ask(&stream, "r");
        let mut broadcast = Broadcast::granted(stream.clone(), publisher, ask, now);
        broadcast.phase = Phase::Live { publisher };
        broadcast.main_track = Some(room.clone());
        broadcasts.insert(stream.clone(), broadcast);
        broadcasts.get_mut("r").unwrap().subtracks.push(stream);
    }
    let others = w.join(conn(1, 9), "r", "me").unwrap().others;
    let each = MAX_STREAM_ID_LEN + ENTRY_LEN;
    assert_eq!(others.len(), (MAX_PAGE_LEN - (1 + ENTRY_LEN)) / each + 1);
    assert_eq!(w.information(conn(1, 9), None).unwrap().len(), others.len());
    w.mails();
    for question in [
        Information::StreamInfo {
            stream: room.clone(),
        },
        Information::BroadcastObject {
            stream: room.clone(),
        },
        Information::TrackList {
            stream: room.clone(),
            proof: Proof::default(),
        },
    ] {
        w.tell(ControlMail::Errand {
            conn: CAROL,
            app: APP.into(),
            client: Arc::default(),
            errand: Errand::Question(question.clone()),
        });
        let texts = w.mails().into_iter().filter_map(|mail| match mail {
            WorkerMail::Text { text, .. } => Some(text),
            _ => None,
        });
        let texts: Vec<String> = texts.collect();
        let lens: Vec<usize> = texts.iter().map(String::len).collect();
        assert!(
            matches!(lens[..], [len] if (MAX_PAGE_LEN / 2..=MAX_PAGE_LEN + 256).contains(&len)),
            "{question:?}: {lens:?}"
        );
    }
}

#[test]
fn only_known_rooms_are_entered_where_that_is_demanded() {
    let mut w = World::new(AppSettings {
        accept_only_rooms_in_data_store: true,
        ..AppSettings::default()
    });
    let no = Err(Definition::NotAllowedUnregisteredStreams);
    assert_eq!(w.join(ALICE, "r", "a"), no.map(|()| unreachable!()));
    assert_eq!(w.ask_publish(ALICE, publish_ask("a", "r")), no);
    assert!(!w.is_there("r") && !w.is_there("a"));
    assert_eq!(w.ask_publish(ALICE, publish_ask("a", "")), Ok(()));
}

#[test]
fn a_changed_role_changes_who_sees_whom() {
    let mut w = world();
    w.publish(ALICE, "a", "r");
    assert_eq!(w.play(BOB, "r"), ["a"]);
    let role = Some("speaker".to_owned());
    assert!(w.directory.describe(w.now, APP, "a", None, None, role));
    assert_eq!(w.told(), [(BOB, vec![])]);
}

#[test]
fn a_publish_may_change_its_room() {
    let mut w = world();
    w.publish(ALICE, "a", "r");
    w.publish(BOB, "b", "r");
    w.play(CAROL, "r");
    w.end(ALICE, "a", PublishEnding::Lost);
    w.publish(ALICE, "a", "other");
    assert_eq!(w.play(CAROL, "r"), ["b"]);
    assert_eq!(w.play(conn(3, 3), "other"), ["a"]);
}

#[test]
fn a_play_is_sent_no_more_sources_than_it_may() {
    let mut w = world();
    for number in 0..MAX_SOURCES_PER_PLAY as u64 + 5 {
        w.publish(conn(1, 100 + number), &format!("s{number}"), "r");
    }
    assert_eq!(w.play(ALICE, "r").len(), MAX_SOURCES_PER_PLAY);
    w.mails();
    w.end(conn(1, 100), "s0", PublishEnding::Stopped);
    let told = w.told();
    assert_eq!(
        told[0].1.len(),
        MAX_SOURCES_PER_PLAY,
        "the next one moves up"
    );
}

mod slots;

#[test]
fn what_is_sent_to_a_room_goes_to_the_workers_of_its_members_alone() {
    let mut w = World::new(AppSettings::default());
    w.publish(ALICE, "a", "r");
    w.publish(BOB, "b", "r");
    w.publish(conn(5, 1), "x", "other");
    w.play(conn(2, 1), "r");
    w.mails();
    assert_eq!(w.directory.send_data(APP, "r", "hello"), Ok(()));
    let mails = std::iter::from_fn(|| w.directory.poll_mail());
    let workers: Vec<u16> = mails.map(|(worker, _)| worker.0).collect();
    assert_eq!(workers, [0, 1, 2]);
}
