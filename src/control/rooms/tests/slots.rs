//! Stories of room plays whose tracks are limited.

use serde_json::Value;

use super::*;
use crate::base::limits::MAX_COMMANDS_HELD;
use crate::model::information::Page;
use crate::model::layers::Priority;
use crate::model::slots::SlotCommand;

const DAVE: ConnId = conn(1, 2);

/// Alice, Bob and Carol publish `a`, `b` and `c`; Dave plays with so many video slots.
fn story(slots: i64) -> World {
    let mut w = World::new(AppSettings {
        max_video_track_count: slots,
        ..AppSettings::default()
    });
    for (conn, id) in [(ALICE, "a"), (BOB, "b"), (CAROL, "c")] {
        w.publish(conn, id, "r");
    }
    w
}

fn connect(w: &mut World, conn: ConnId) {
    let (app, stream) = (APP.into(), "r".into());
    w.tell(ControlMail::PlayLive { conn, app, stream });
}

fn command(w: &mut World, conn: ConnId, command: SlotCommand) {
    w.tell(ControlMail::Errand {
        conn,
        app: APP.into(),
        client: Arc::default(),
        errand: Errand::Slots(command),
    });
}

/// The same, while the questions before it wait for the store.
fn early(w: &mut World, conn: ConnId, command: SlotCommand) {
    let mail = ControlMail::Errand {
        conn,
        app: APP.into(),
        client: Arc::default(),
        errand: Errand::Slots(command),
    };
    w.directory.handle_mail(w.now, mail);
}

/// Asks to play, and nothing is looked up yet.
fn begin_play(w: &mut World, conn: ConnId, ask: PlayAsk) {
    let (request, app) = (1, APP.into());
    let mail = ControlMail::AskPlay {
        conn,
        request,
        app,
        ask,
    };
    w.directory.handle_mail(w.now, mail);
}

/// The publisher reports this level five times a second.
fn talk(w: &mut World, stream: &str, level: u8, millis: u64) {
    for _ in 0..millis / 200 {
        w.now = w.now.after(Duration::from_millis(200));
        w.tell(ControlMail::AudioLevel {
            app: APP.into(),
            stream: stream.into(),
            level,
        });
    }
}

/// What `conn` heard since the last look: `offer: sources` for a grant, `sources of participants`
/// for media, the slots for a list (a pinned one in brackets), `text: slots` for a notification.
fn heard(w: &mut World, conn: ConnId) -> Vec<String> {
    let told = w.mails().into_iter().filter_map(|mail| match mail {
        WorkerMail::PlaySources {
            conn: to, lineup, ..
        } if to == conn => {
            let sources = lineup.sources.iter();
            let sources = sources.map(|s| format!("{}={}", s.stream, s.tracks[0].id.serial));
            let sources: Vec<String> = sources.collect();
            Some(format!(
                "{} of {}",
                sources.join(" "),
                lineup.participants.join("")
            ))
        }
        WorkerMail::PlayDecision {
            conn: to,
            result: Ok(grant),
            ..
        } if to == conn => {
            let ids = ids(&grant.lineup.sources).join(" ");
            Some(format!("offer: {ids}"))
        }
        WorkerMail::DataEvent {
            conn: to, message, ..
        } if to == conn => {
            let event: Value = serde_json::from_slice(&message.bytes).unwrap();
            assert_eq!(event["streamId"], "r");
            match event["eventType"].as_str() {
                Some("VIDEO_TRACK_ASSIGNMENT_LIST") => Some(list(&event["payload"])),
                Some("TRACK_LIST_UPDATED") => None,
                other => Some(other.unwrap().to_owned()),
            }
        }
        WorkerMail::Text { conn: to, text } if to == conn => {
            let text: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(text["definition"], "videoTrackAssignmentList");
            Some(format!("text: {}", list(&text["payload"])))
        }
        _ => None,
    });
    told.collect()
}

fn list(payload: &Value) -> String {
    let slot = |(at, slot): (usize, &Value)| {
        assert_eq!(slot["videoLabel"], format!("videoTrack{at}"));
        let id = slot["trackId"].as_str().unwrap();
        match slot["reserved"] == true {
            true => format!("[{id}]"),
            false => id.to_owned(),
        }
    };
    let slots = payload.as_array().unwrap().iter().enumerate();
    slots.map(slot).collect::<Vec<_>>().join(" ")
}

fn get(stream: &str) -> SlotCommand {
    let stream = stream.into();
    SlotCommand::Get { stream }
}

fn pin(stream: &str, slot: &str, enabled: bool) -> SlotCommand {
    SlotCommand::Assign {
        stream: stream.into(),
        slot: Some(slot.to_owned()),
        enabled,
    }
}

#[test]
fn a_limited_play_is_offered_slots_and_told_who_is_on_them() {
    let mut w = story(2);
    let grant = w.ask_play(DAVE, play_ask("r")).unwrap();
    assert_eq!(ids(&grant.lineup.sources), ["videoTrack0", "videoTrack1"]);
    assert_eq!(grant.lineup.participants.join(""), "abc");
    connect(&mut w, DAVE);
    assert_eq!(heard(&mut w, DAVE), ["a b"]);
    w.end(ALICE, "a", PublishEnding::Stopped);
    let story = ["videoTrack0=3 videoTrack1=2 of bc", "c b"];
    assert_eq!(heard(&mut w, DAVE), story);
    w.end(CAROL, "c", PublishEnding::Stopped);
    assert_eq!(heard(&mut w, DAVE), ["videoTrack1=2 of b", " b"]);
    w.publish(ALICE, "a", "r");
    assert_eq!(w.ask_play(CAROL, play_ask("r")).map(drop), Ok(()));
}

#[test]
fn a_play_without_a_limit_has_one_entry_per_participant() {
    let mut w = story(-1);
    assert_eq!(w.play(DAVE, "r"), ["a", "b", "c"]);
    connect(&mut w, DAVE);
    assert_eq!(heard(&mut w, DAVE), ["a b c"]);
    command(&mut w, DAVE, get("r"));
    assert_eq!(heard(&mut w, DAVE), ["a b c", "text: a b c"]);
    command(&mut w, DAVE, pin("c", "videoTrack0", true));
    assert_eq!(heard(&mut w, DAVE), ["a b c"], "there is nothing to pin to");
    talk(&mut w, "c", 10, 1000);
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
}

#[test]
fn a_speaker_comes_onto_the_slot_of_every_play_that_lacks_it() {
    let mut w = story(1);
    w.play(DAVE, "r");
    w.play(ALICE, "r");
    connect(&mut w, DAVE);
    connect(&mut w, ALICE);
    w.mails();
    talk(&mut w, "b", 60, 200);
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
    talk(&mut w, "b", 60, 200);
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=2 of abc", "b"]);
    talk(&mut w, "b", 127, 2000);
    talk(&mut w, "c", 60, 400);
    assert_eq!(heard(&mut w, ALICE), ["videoTrack0=3 of bc", "c"]);
    talk(&mut w, "a", 60, 2400);
    assert_eq!(heard(&mut w, ALICE), [""; 0], "never its own");
}

#[test]
fn all_who_wait_are_given_slots_together_five_times_a_second() {
    let mut w = story(2);
    w.play(DAVE, "r");
    connect(&mut w, DAVE);
    assert_eq!(heard(&mut w, DAVE), ["a b"]);
    let turn = |w: &mut World, stream: &str| {
        talk(w, stream, 60, 200);
        // Half a period back, so that the two reports of a round are that far apart.
        w.now.unix_us -= 100_000;
        heard(w, DAVE)
    };
    let nobody: [&str; 0] = [];
    for stream in ["a", "c", "a"] {
        assert_eq!(turn(&mut w, stream), nobody, "{stream}");
    }
    assert_eq!(turn(&mut w, "c"), nobody, "it speaks, and waits");
    let story = ["videoTrack0=1 videoTrack1=3 of abc", "a c"];
    assert_eq!(turn(&mut w, "a"), story, "whoever reports then");
}

#[test]
fn a_pinned_stream_keeps_its_slot_until_it_is_let_go() {
    let mut w = story(1);
    w.play(DAVE, "r");
    connect(&mut w, DAVE);
    w.mails();
    command(&mut w, DAVE, pin("c", "videoTrack0", true));
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=3 of abc", "[c]"]);
    talk(&mut w, "b", 10, 3000);
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
    command(&mut w, DAVE, pin("nobody", "videoTrack0", true));
    command(&mut w, DAVE, pin("a", "videoTrack7", true));
    command(&mut w, DAVE, pin("a", "first", true));
    assert_eq!(heard(&mut w, DAVE), ["[c]"; 3]);
    command(&mut w, DAVE, pin("c", "videoTrack0", false));
    assert_eq!(heard(&mut w, DAVE), ["c"]);
    talk(&mut w, "b", 10, 200);
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=2 of abc", "b"]);
}

#[test]
fn a_client_sets_its_number_of_slots_and_chooses_a_page() {
    let mut w = story(-1);
    let ask = PlayAsk {
        user_publish_id: Some("d".into()),
        ..play_ask("r")
    };
    w.ask_play(DAVE, ask).unwrap();
    connect(&mut w, DAVE);
    w.mails();
    // Under the id that it publishes itself.
    let set = |count| SlotCommand::SetMax {
        stream: "d".into(),
        count,
    };
    command(&mut w, DAVE, set(1));
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=1 of abc", "a"]);
    let page = Page {
        offset: 1,
        size: Some(1),
    };
    let stream = "r".into();
    command(&mut w, DAVE, SlotCommand::Update { stream, page });
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=2 of abc", "b"]);
    command(&mut w, DAVE, set(2));
    let story = ["videoTrack0=2 videoTrack1=1 of abc", "b a"];
    assert_eq!(heard(&mut w, DAVE), story);
    command(&mut w, DAVE, set(-1));
    assert_eq!(heard(&mut w, DAVE), ["a=1 b=2 c=3 of abc", "a b c"]);
}

#[test]
fn a_command_finds_the_play_that_it_means() {
    let mut w = story(1);
    w.publish(conn(3, 3), "x", "other");
    for stream in ["r", "a", "anything"] {
        command(&mut w, DAVE, get(stream));
        assert_eq!(heard(&mut w, DAVE), [""; 0], "nobody plays");
    }
    w.play(DAVE, "r");
    for stream in ["r", "a", "anything"] {
        command(&mut w, DAVE, get(stream));
        assert_eq!(
            heard(&mut w, DAVE),
            ["a", "text: a"],
            "its only one: {stream}"
        );
    }
    w.play(DAVE, "other");
    command(&mut w, DAVE, get("c"));
    assert_eq!(
        heard(&mut w, DAVE),
        ["a", "text: a"],
        "the one that it is in"
    );
    command(&mut w, DAVE, get("anything"));
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
}

fn set(stream: &str, count: i64) -> SlotCommand {
    let stream = stream.into();
    SlotCommand::SetMax { stream, count }
}

#[test]
fn what_is_said_right_behind_a_play_holds_from_its_first_offer() {
    let mut w = story(-1);
    w.mails();
    begin_play(&mut w, DAVE, play_ask("r"));
    early(&mut w, DAVE, set("r", 2));
    early(&mut w, DAVE, pin("c", "videoTrack0", true));
    early(&mut w, DAVE, get("r"));
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
    w.take_steps();
    let story = ["offer: videoTrack0 videoTrack1", "[c] b", "text: [c] b"];
    assert_eq!(heard(&mut w, DAVE), story);
    connect(&mut w, DAVE);
    assert_eq!(heard(&mut w, DAVE), ["[c] b"]);
    let priorities = w.directory.broadcast(APP, "r").unwrap().players[&DAVE]
        .important
        .clone();
    assert_eq!(priorities[0].1, Priority::Pinned);
    // Another play of the same socket begins as the application has it.
    w.publish(conn(3, 3), "x", "other");
    assert_eq!(w.play(DAVE, "other"), ["x"]);
}

#[test]
fn an_early_command_finds_the_play_that_it_means() {
    let own = PlayAsk {
        user_publish_id: Some("d".into()),
        ..play_ask("r")
    };
    let limited = |w: &World, room: &str| {
        let play = &w.directory.broadcast(APP, room).unwrap().players[&DAVE];
        play.slots.video.is_some()
    };
    for (stream, meant) in [
        ("r", "r"),
        ("d", "r"),
        ("c", "r"),
        ("other", "other"),
        ("z", ""),
    ] {
        let mut w = story(-1);
        w.publish(conn(3, 3), "x", "other");
        w.play(DAVE, "other");
        begin_play(&mut w, DAVE, own.clone());
        early(&mut w, CAROL, set("r", 0));
        early(&mut w, DAVE, set(stream, 1));
        assert_eq!(limited(&w, "other"), meant == "other", "{stream}");
        w.take_steps();
        for room in ["r", "other"] {
            assert_eq!(limited(&w, room), meant == room, "{stream}: {room}");
        }
    }
    // A plain broadcast has no slots, granted or not.
    let mut w = story(-1);
    w.play(DAVE, "r");
    begin_play(&mut w, DAVE, play_ask("a"));
    early(&mut w, DAVE, set("anything", 1));
    assert_eq!(heard(&mut w, DAVE), ["videoTrack0=1 of abc", "a"]);
    w.take_steps();
    assert_eq!(heard(&mut w, DAVE), ["offer: a"]);
}

#[test]
fn a_bounded_number_of_early_commands_waits_and_goes_with_its_play() {
    let mut w = story(-1);
    w.mails();
    begin_play(&mut w, DAVE, play_ask("r"));
    for count in 0..2 * MAX_COMMANDS_HELD as i64 {
        early(&mut w, DAVE, set("r", count));
    }
    w.take_steps();
    let play = &w.directory.broadcast(APP, "r").unwrap().players[&DAVE];
    let slots = play.slots.video.as_ref().unwrap().slots();
    assert_eq!(slots.len(), MAX_COMMANDS_HELD - 1);
    w.mails();
    let release = ControlMail::PlayReleased {
        conn: DAVE,
        app: APP.into(),
        stream: "r".into(),
    };
    w.tell(release.clone());
    begin_play(&mut w, DAVE, play_ask("r"));
    early(&mut w, DAVE, set("r", 1));
    w.directory.handle_mail(w.now, release);
    early(&mut w, DAVE, set("r", 2));
    begin_play(&mut w, DAVE, play_ask("r"));
    w.take_steps();
    assert_eq!(heard(&mut w, DAVE), ["offer: a b c"]);
}

#[test]
fn limited_audio_is_told_with_levels_while_somebody_speaks() {
    let mut w = World::new(AppSettings {
        max_audio_track_count: 1,
        ..AppSettings::default()
    });
    w.publish(ALICE, "a", "r");
    w.play(DAVE, "r");
    connect(&mut w, DAVE);
    w.mails();
    talk(&mut w, "a", 60, 600);
    assert_eq!(heard(&mut w, DAVE), ["AUDIO_TRACK_ASSIGNMENT"; 2]);
    talk(&mut w, "a", 127, 600);
    assert_eq!(heard(&mut w, DAVE), [""; 0]);
}

/// Serials of the videos that matter more to `conn`, each with its priority, as was told last.
fn important(w: &mut World, conn: ConnId) -> Option<Vec<(u64, Priority)>> {
    let told = w.mails().into_iter().filter_map(|mail| match mail {
        WorkerMail::Priorities {
            conn: to, videos, ..
        } if to == conn => Some(videos),
        _ => None,
    });
    let last = told.last()?;
    Some(last.iter().map(|(id, what)| (id.serial, *what)).collect())
}

#[test]
fn workers_are_told_whose_video_matters_when_that_changes() {
    let mut w = story(3);
    w.play(DAVE, "r");
    connect(&mut w, DAVE);
    assert_eq!(important(&mut w, DAVE), None, "nobody's");
    talk(&mut w, "b", 20, 200);
    assert_eq!(important(&mut w, DAVE), None, "a cough");
    talk(&mut w, "b", 20, 600);
    assert_eq!(important(&mut w, DAVE), Some(vec![(2, Priority::Speaking)]));
    talk(&mut w, "b", 127, 2000);
    assert_eq!(important(&mut w, DAVE), None, "nobody else speaks");
    command(&mut w, DAVE, pin("a", "videoTrack0", true));
    let both = vec![(1, Priority::Pinned), (2, Priority::Speaking)];
    assert_eq!(important(&mut w, DAVE), Some(both));
    talk(&mut w, "a", 20, 600);
    assert_eq!(important(&mut w, DAVE), Some(vec![(1, Priority::Pinned)]));
    command(&mut w, DAVE, pin("a", "videoTrack0", false));
    assert_eq!(important(&mut w, DAVE), Some(vec![(1, Priority::Speaking)]));
}
