//! The directory's decisions, as tables and short stories.

use super::*;
use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Pt, TrackId};

const APP: &str = "live";
const ALICE: ConnId = conn(0, 1);
const BOB: ConnId = conn(1, 1);
const CAROL: ConnId = conn(2, 1);

const fn conn(worker: u16, serial: u64) -> ConnId {
    ConnId {
        worker: WorkerId(worker),
        serial,
    }
}

/// A directory under a virtual clock, spoken to in few words.
struct World {
    directory: Directory,
    now: Now,
    requests: u64,
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
            requests: 0,
        }
    }

    fn tell(&mut self, mail: ControlMail) {
        self.directory.handle_mail(self.now, mail);
        while let Some((id, step)) = self.directory.poll_step() {
            let result = step.in_an_empty_world();
            self.directory.handle_step(self.now, id, result);
        }
        self.directory.apps[APP].assert_consistent();
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        if self
            .directory
            .poll_timeout()
            .is_some_and(|due| due <= self.now.instant)
        {
            self.directory.handle_timeout(self.now);
        }
    }

    fn mails(&mut self) -> Vec<(u16, WorkerMail)> {
        std::iter::from_fn(|| self.directory.poll_mail())
            .map(|(worker, mail)| (worker.0, mail))
            .collect()
    }

    /// Workers that were told `BroadcastEnded`, in order; other mail must not be there.
    fn ended(&mut self) -> Vec<u16> {
        let worker = |(worker, mail)| match mail {
            WorkerMail::BroadcastEnded { app, stream } => {
                assert_eq!((&*app, &*stream), (APP, "s"));
                worker
            }
            other => panic!("{other:?}"),
        };
        self.mails().into_iter().map(worker).collect()
    }

    fn ask_publish(&mut self, conn: ConnId, stream: &str) -> Result<(), Definition> {
        self.requests += 1;
        let request = self.requests;
        self.tell(ControlMail::AskPublish {
            conn,
            request,
            app: APP.into(),
            ask: PublishAsk {
                stream: Some(stream.into()),
                video: true,
                audio: true,
                ..PublishAsk::default()
            },
        });
        match self.directory.outbox.pop_back() {
            Some((
                worker,
                WorkerMail::PublishDecision {
                    conn: to,
                    request: echo,
                    result,
                },
            )) => {
                assert_eq!((worker, to, echo), (conn.worker, conn, request));
                result
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask_play(&mut self, conn: ConnId, stream: &str) -> Result<PlayGrant, Definition> {
        self.requests += 1;
        let request = self.requests;
        self.tell(ControlMail::AskPlay {
            conn,
            request,
            app: APP.into(),
            ask: PlayAsk {
                stream: Some(stream.into()),
                ..PlayAsk::default()
            },
        });
        match self.directory.outbox.pop_back() {
            Some((
                worker,
                WorkerMail::PlayDecision {
                    conn: to,
                    request: echo,
                    result,
                },
            )) => {
                assert_eq!((worker, to, echo), (conn.worker, conn, request));
                result
            }
            other => panic!("{other:?}"),
        }
    }

    fn go_live(&mut self, conn: ConnId) {
        self.go_live_with(conn, vec![track(conn.worker)]);
    }

    fn go_live_with(&mut self, conn: ConnId, tracks: Vec<TrackInfo>) {
        self.tell(ControlMail::PublishLive {
            conn,
            app: APP.into(),
            stream: "s".into(),
            tracks,
        });
    }

    fn live(&mut self, conn: ConnId) {
        assert_eq!(self.ask_publish(conn, "s"), Ok(()));
        self.go_live(conn);
    }

    fn watch(&mut self, conn: ConnId) {
        self.ask_play(conn, "s").unwrap();
        let (app, stream) = (APP.into(), "s".into());
        self.tell(ControlMail::PlayLive { conn, app, stream });
    }

    fn unwatch(&mut self, conn: ConnId) {
        let (app, stream) = (APP.into(), "s".into());
        self.tell(ControlMail::PlayReleased { conn, app, stream });
    }

    fn release(&mut self, conn: ConnId, ending: PublishEnding) {
        self.tell(ControlMail::PublishReleased {
            conn,
            app: APP.into(),
            stream: "s".into(),
            ending,
        });
    }

    fn viewers(&self) -> usize {
        self.directory.counts().iter().map(|c| c.viewers).sum()
    }

    fn status(&self) -> Option<&'static str> {
        self.directory.broadcast(APP, "s").map(Broadcast::status)
    }
}

fn track(origin: WorkerId) -> TrackInfo {
    TrackInfo {
        id: TrackId { origin, serial: 7 },
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        fmtp: "".into(),
        pt: Pt(96),
        rtx_pt: None,
        red: false,
        encodings: 1,
    }
}

fn world() -> World {
    World::new(AppSettings::default())
}

#[test]
fn a_publish_is_prepared_then_broadcast_then_gone() {
    let mut w = world();
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    assert_eq!(w.status(), Some("preparing"));
    assert_eq!(w.ask_play(BOB, "s"), Err(Definition::NoStreamExist));
    w.go_live(ALICE);
    assert_eq!(w.status(), Some("broadcasting"));
    let grant = w.ask_play(BOB, "s").unwrap();
    assert_eq!(grant.lineup.sources[0].tracks, [track(WorkerId(0))]);
    assert!(grant.data_channel);
    w.release(ALICE, PublishEnding::Stopped);
    assert_eq!(w.ended(), [0, 1], "origin and the worker of the player");
    assert_eq!(w.status(), None);
    assert_eq!(w.ask_play(BOB, "s"), Err(Definition::NoStreamExist));
}

#[test]
fn an_id_belongs_to_one_connection() {
    let mut w = world();
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    assert_eq!(
        w.ask_publish(BOB, "s"),
        Err(Definition::StreamIdInUse),
        "preparing"
    );
    w.go_live(ALICE);
    assert_eq!(
        w.ask_publish(BOB, "s"),
        Err(Definition::StreamIdInUse),
        "live"
    );
    assert_eq!(w.ask_publish(BOB, "t"), Ok(()));
    assert!(w.mails().is_empty(), "nobody was disturbed");
    w.release(BOB, PublishEnding::Stopped);
    assert_eq!(
        w.status(),
        Some("broadcasting"),
        "a stranger's release is ignored"
    );
}

#[test]
fn settings_refuse_in_order() {
    let none = AppSettings {
        h264_enabled: false,
        vp8_enabled: false,
        vp9_enabled: false,
        h265_enabled: false,
        av1_enabled: false,
        ..AppSettings::default()
    };
    let mut w = World::new(none);
    assert_eq!(w.ask_publish(ALICE, "s"), Err(Definition::NoCodecEnabled));
    let mut w = World::new(AppSettings {
        webrtc_enabled: false,
        ..AppSettings::default()
    });
    w.live(ALICE);
    assert_eq!(w.ask_play(BOB, "s"), Err(Definition::WebrtcNotEnabled));
    let mut w = World::new(AppSettings {
        ingesting_stream_limit: 1,
        ..AppSettings::default()
    });
    w.live(ALICE);
    assert_eq!(w.ask_publish(BOB, "t"), Err(Definition::HighResourceUsage));
    assert_eq!(w.ask_publish(BOB, "s"), Err(Definition::StreamIdInUse));
    w.release(ALICE, PublishEnding::Stopped);
    assert_eq!(w.ended(), [0]);
    assert_eq!(w.ask_publish(BOB, "t"), Ok(()));
}

#[test]
fn what_names_nothing_is_refused() {
    let mut w = world();
    let unknown = |w: &mut World, app: &str, stream: Option<&str>| {
        w.tell(ControlMail::AskPlay {
            conn: BOB,
            request: 1,
            app: app.into(),
            ask: PlayAsk {
                stream: stream.map(Into::into),
                ..PlayAsk::default()
            },
        });
        match w.mails().pop() {
            Some((1, WorkerMail::PlayDecision { result, .. })) => result.unwrap_err(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        unknown(&mut w, "other", Some("s")),
        Definition::NotInitializedYet
    );
    assert_eq!(
        unknown(&mut w, APP, None),
        Definition::NoStreamNameSpecified
    );
}

#[test]
fn the_viewer_limit_counts_places_and_frees_them() {
    let mut w = World::new(AppSettings {
        webrtc_viewer_limit: 1,
        ..AppSettings::default()
    });
    w.live(ALICE);
    w.ask_play(BOB, "s").unwrap();
    assert_eq!(w.viewers(), 0, "granted, not connected");
    assert_eq!(w.ask_play(CAROL, "s"), Err(Definition::ViewerLimitReached));
    assert!(
        w.ask_play(BOB, "s").is_ok(),
        "the same connection replaces its play"
    );
    w.watch(BOB);
    assert_eq!(w.viewers(), 1);
    w.unwatch(CAROL);
    assert_eq!(w.viewers(), 1, "a stranger's release is ignored");
    w.unwatch(BOB);
    assert_eq!(w.viewers(), 0);
    assert!(w.ask_play(CAROL, "s").is_ok());
}

#[test]
fn a_lost_publisher_keeps_its_viewers_through_the_window() {
    let mut w = world();
    w.live(ALICE);
    w.watch(BOB);
    w.release(ALICE, PublishEnding::Lost);
    assert!(w.mails().is_empty());
    assert_eq!(w.status(), Some("broadcasting"));
    w.pass(4_999);
    assert!(w.mails().is_empty());
    w.watch(CAROL);
    w.pass(1);
    assert_eq!(w.ended(), [0, 1, 2]);
    assert_eq!((w.status(), w.directory.poll_timeout()), (None, None));
}

#[test]
fn a_publisher_that_comes_back_in_time_takes_its_viewers_over() {
    let mut w = world();
    w.live(ALICE);
    w.watch(CAROL);
    w.release(ALICE, PublishEnding::Lost);
    assert_eq!(w.ask_publish(BOB, "s"), Ok(()));
    assert!(w.ended().is_empty(), "viewers wait");
    assert_eq!(w.status(), Some("broadcasting"));
    w.pass(60_000);
    assert_eq!(
        w.status(),
        Some("broadcasting"),
        "the old window is no more"
    );
    w.go_live(ALICE);
    assert!(w.mails().is_empty(), "the old publisher has no say");
    w.go_live(BOB);
    let mails = w.mails();
    let replaced: Vec<_> = mails
        .iter()
        .filter_map(|(worker, mail)| match mail {
            WorkerMail::TracksReplaced { moves, .. } => Some((*worker, moves.clone())),
            _ => None,
        })
        .collect();
    let (old, new) = (track(ALICE.worker), track(BOB.worker));
    let moves = vec![(old.id, Some(new))];
    let everybody = [0, 1, 2].map(|worker| (worker, moves.clone()));
    assert_eq!(replaced, everybody);
    assert!(
        matches!(mails.last(), Some((1, WorkerMail::SessionRestored { conn, .. })) if *conn == BOB)
    );
    assert_eq!(w.viewers(), 1);
}

#[test]
fn players_are_told_what_a_later_offer_of_the_publisher_brought() {
    let mut w = world();
    w.live(ALICE);
    w.watch(BOB);
    assert!(w.mails().is_empty());
    let video = track(ALICE.worker);
    let audio = TrackInfo {
        id: TrackId {
            serial: 8,
            ..video.id
        },
        kind: MediaKind::Audio,
        codec: Codec::Opus,
        ..video.clone()
    };
    w.tell(ControlMail::PublishLive {
        conn: ALICE,
        app: APP.into(),
        stream: "s".into(),
        tracks: vec![video, audio],
    });
    let mails = w.mails();
    let [(worker, WorkerMail::PlaySources { conn, lineup, .. })] = &mails[..] else {
        panic!("{mails:?}")
    };
    assert_eq!((*worker, *conn), (BOB.worker.0, BOB));
    assert_eq!(lineup.sources[0].tracks.len(), 2);
    w.go_live(ALICE);
    assert_eq!(w.mails().len(), 1, "and what it took back");
    w.go_live(ALICE);
    assert!(w.mails().is_empty(), "nothing changed");
}

/// A publisher that exchanged its camera has an m-line that sends nothing; behind those that do.
#[test]
fn what_a_publisher_left_behind_or_brings_besides_does_not_end_the_plays() {
    let more = |serial| TrackInfo {
        id: TrackId {
            origin: ALICE.worker,
            serial,
        },
        codec: Codec::Vp9,
        ..track(ALICE.worker)
    };
    let table = [
        (vec![track(ALICE.worker), more(8)], vec![track(BOB.worker)]),
        (vec![track(ALICE.worker)], vec![track(BOB.worker), more(9)]),
    ];
    for (old, new) in table {
        let mut w = world();
        assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
        w.go_live_with(ALICE, old.clone());
        w.watch(CAROL);
        w.release(ALICE, PublishEnding::Lost);
        assert_eq!(w.ask_publish(BOB, "s"), Ok(()));
        w.mails();
        w.go_live_with(BOB, new.clone());
        let mails = w.mails();
        let is_moved = mails.iter().any(|(_, mail)| match mail {
            WorkerMail::TracksReplaced { moves, .. } => {
                let left = old.iter().skip(1).map(|track| (track.id, None));
                let first = (old[0].id, new.first().cloned());
                *moves == std::iter::once(first).chain(left).collect::<Vec<_>>()
            }
            _ => false,
        });
        assert!(is_moved, "{mails:?}");
        let is_end = |mail: &WorkerMail| matches!(mail, WorkerMail::PlaysEnded { .. });
        assert!(!mails.iter().any(|(_, mail)| is_end(mail)), "{mails:?}");
        let is_told = |mail: &WorkerMail| matches!(mail, WorkerMail::SessionRestored { .. });
        assert!(mails.iter().any(|(_, mail)| is_told(mail)), "{mails:?}");
    }
}

#[test]
fn a_publisher_that_comes_back_with_another_codec_ends_the_plays() {
    let mut w = world();
    w.live(ALICE);
    w.watch(CAROL);
    w.release(ALICE, PublishEnding::Lost);
    w.ask_publish(BOB, "s").unwrap();
    let other = TrackInfo {
        codec: Codec::Vp9,
        ..track(BOB.worker)
    };
    w.tell(ControlMail::PublishLive {
        conn: BOB,
        app: "live".into(),
        stream: "s".into(),
        tracks: vec![other],
    });
    let mails = w.mails();
    let ended = |mail: &WorkerMail| matches!(mail, WorkerMail::PlaysEnded { .. });
    assert!(mails.iter().any(|(worker, m)| *worker == 2 && ended(m)));
    assert!(
        !mails
            .iter()
            .any(|(_, m)| matches!(m, WorkerMail::SessionRestored { .. }))
    );
    assert_eq!(w.status(), Some("broadcasting"));
}

#[test]
fn a_publisher_that_comes_back_and_fails_ends_the_broadcast() {
    let mut w = world();
    w.live(ALICE);
    w.watch(CAROL);
    w.release(ALICE, PublishEnding::Lost);
    w.ask_publish(BOB, "s").unwrap();
    w.mails();
    w.release(BOB, PublishEnding::Stopped);
    assert_eq!((w.ended(), w.status()), (vec![0, 1, 2], None));
}

#[test]
fn a_publish_lost_before_it_was_live_ends_at_once() {
    let mut w = world();
    w.ask_publish(ALICE, "s").unwrap();
    w.release(ALICE, PublishEnding::Lost);
    assert_eq!((w.ended(), w.status()), (vec![0], None));
}

#[test]
fn a_lost_publisher_that_stops_after_all_ends_at_once() {
    let mut w = world();
    w.live(ALICE);
    w.release(ALICE, PublishEnding::Lost);
    w.release(ALICE, PublishEnding::Lost);
    w.release(ALICE, PublishEnding::Stopped);
    assert_eq!((w.ended(), w.directory.poll_timeout()), (vec![0], None));
}

#[test]
fn a_withdrawn_question_leaves_nothing_behind() {
    let mut w = world();
    w.ask_publish(ALICE, "s").unwrap();
    w.release(ALICE, PublishEnding::Stopped);
    assert_eq!(w.ended(), [0]);
    assert_eq!(w.ask_publish(BOB, "s"), Ok(()), "the id is free");
    w.go_live(ALICE);
    assert_eq!(w.status(), Some("preparing"), "a late mail changes nothing");
    w.go_live(BOB);
    w.ask_play(CAROL, "s").unwrap();
    w.unwatch(CAROL);
    w.release(BOB, PublishEnding::Stopped);
    assert_eq!(w.ended(), [1], "the withdrawn player is not told");
}

#[test]
fn a_second_question_of_the_publisher_itself_starts_over() {
    let mut w = world();
    w.live(ALICE);
    w.watch(BOB);
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    assert_eq!((w.ended(), w.status()), (vec![0, 1], Some("preparing")));
}

#[test]
fn figures_are_kept_while_live_only() {
    let mut w = world();
    let measure = PublishMeasure {
        video_bps: 1_500_000,
        received_len: 99,
        ..PublishMeasure::default()
    };
    let mail = ControlMail::PublishMeasured {
        app: APP.into(),
        stream: "s".into(),
        measure: measure.clone(),
    };
    w.tell(mail.clone());
    w.live(ALICE);
    w.tell(mail.clone());
    assert_eq!(w.directory.broadcast(APP, "s").unwrap().measure, measure);
    w.release(ALICE, PublishEnding::Lost);
    w.tell(mail);
    let kept = w.directory.broadcast(APP, "s").unwrap().measure.clone();
    assert_eq!((kept.video_bps, kept.received_len), (0, 99));
}

/// Action, broadcast and room of every event that waits.
fn told(w: &mut World) -> Vec<(&'static str, String, Option<String>)> {
    std::iter::from_fn(|| w.directory.poll_event())
        .map(|event| {
            let room = event.main_track.map(|room| room.to_string());
            (event.action.text(), event.stream.to_string(), room)
        })
        .collect()
}

#[test]
fn webhooks_are_told_what_happens_once_and_in_order() {
    let mut w = world();
    w.live(ALICE);
    w.watch(BOB);
    w.unwatch(BOB);
    w.watch(CAROL);
    w.release(ALICE, PublishEnding::Lost);
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    w.go_live(ALICE);
    w.release(ALICE, PublishEnding::Stopped);
    w.unwatch(CAROL);
    let actions: Vec<_> = told(&mut w)
        .into_iter()
        .map(|(action, ..)| action)
        .collect();
    let expected = [
        "liveStreamStarted",
        "playStarted",
        "playStopped",
        "playStarted",
        "liveStreamEnded",
        "playStopped",
    ];
    assert_eq!(
        actions, expected,
        "a takeover is neither an end nor a start"
    );
}

#[test]
fn webhooks_are_told_of_a_publish_that_came_too_late_and_of_no_other_that_never_was() {
    let mut w = world();
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    w.release(ALICE, PublishEnding::Stopped);
    assert_eq!(told(&mut w), []);
    assert_eq!(w.ask_publish(ALICE, "s"), Ok(()));
    w.release(ALICE, PublishEnding::TimedOut);
    let expected = ("publishTimeoutError", "s".to_owned(), None);
    assert_eq!(told(&mut w), [expected]);
}

#[test]
fn webhooks_are_told_the_status_as_often_as_the_settings_say() {
    let every = |ms| AppSettings {
        webhook_stream_status_update_period_ms: ms,
        ..AppSettings::default()
    };
    let mut w = World::new(every(1000));
    w.live(ALICE);
    told(&mut w);
    let statuses = |w: &mut World, ms: u64| {
        for _ in 0..ms / 100 {
            w.pass(100);
        }
        told(w).len()
    };
    assert_eq!(statuses(&mut w, 3000), 3);
    let now = w.now;
    w.directory
        .set_settings(now, &APP.into(), Arc::new(every(-1)));
    assert_eq!(statuses(&mut w, 3000), 0);
    w.directory
        .set_settings(now, &APP.into(), Arc::new(every(2000)));
    assert_eq!(statuses(&mut w, 4000), 2);
    w.release(ALICE, PublishEnding::Stopped);
    told(&mut w);
    assert_eq!(statuses(&mut w, 4000), 0);
}

#[test]
fn an_operator_ends_a_publish_at_once() {
    let mut w = world();
    w.live(ALICE);
    w.mails();
    assert!(w.directory.stop(w.now, &APP.into(), "s"));
    assert_eq!(w.status(), None);
    let mails = w.mails();
    let is_stop = |(worker, mail): &(u16, WorkerMail)| {
        *worker == ALICE.worker.0
            && matches!(mail, WorkerMail::StopPublish { conn, .. } if *conn == ALICE)
    };
    assert!(mails.first().is_some_and(is_stop), "{mails:?}");
    w.release(ALICE, PublishEnding::Stopped);
    assert!(!w.directory.stop(w.now, &APP.into(), "s"));
    assert_eq!(w.ask_publish(BOB, "s"), Ok(()), "the id is free");
}
