//! Room plays with a limited number of tracks: who speaks is shown, and nothing is negotiated.

use std::collections::HashMap;
use std::time::Duration;

use leafcutter::base::codec::MediaKind;
use leafcutter::model::settings::AppSettings;
use serde_json::json;

use crate::client::{Message, Received};
use crate::control::Control;
use crate::media::is_key_frame_start;
use crate::seeds;
use crate::world::World;

/// Publisher and viewer of each of `a` to `d`, alternating between two workers.
fn room_of_four(seed: u64, settings: AppSettings) -> (World, Vec<(usize, usize)>) {
    let mut world = World::new(seed, 2);
    world.control = Control::new(settings);
    let mut members = Vec::new();
    for (at, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        members.push(world.participate(at as u16 % 2, id, "room"));
        world.connect();
    }
    world.run(Duration::from_secs(1));
    (world, members)
}

/// Only the publisher of `speaker` is loud.
fn speak(world: &mut World, members: &[(usize, usize)], speaker: usize) {
    for (at, (publisher, _)) in members.iter().enumerate() {
        world.clients[*publisher].level = Some(if at == speaker { 30 } else { 127 });
    }
    world.run(Duration::from_secs(4));
}

/// What `viewer` got under `label`, by sequence number, with the number of whose it is.
fn sent<'a>(
    world: &'a World,
    members: &[(usize, usize)],
    viewer: usize,
    label: &str,
) -> Vec<(&'a Received, usize)> {
    let mut owners: HashMap<&[u8], usize> = HashMap::new();
    for (at, (publisher, _)) in members.iter().enumerate() {
        let published = world.clients[*publisher].published.iter();
        owners.extend(published.map(|packet| (&*packet.payload, at)));
    }
    let received = world.clients[viewer].received.iter();
    let mut sent: Vec<(&Received, usize)> = received
        .filter(|r| &*r.label == label)
        .map(|r| (r, owners[&*r.payload]))
        .collect();
    sent.sort_by_key(|(packet, _)| packet.seq);
    sent
}

/// One stream without gaps, whose changes begin with key frames; whose it is, one after another.
fn assert_continuous(sent: &[(&Received, usize)]) -> Vec<usize> {
    let mut shown = vec![sent[0].1];
    for pair in sent.windows(2) {
        let ((before, old), (after, new)) = (pair[0], pair[1]);
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.seq, before.seq + 1, "{old} to {new}");
        let step = after.timestamp.wrapping_sub(before.timestamp);
        assert!(step < 90_000, "{old} to {new}: {step} ticks");
        if old != new {
            shown.push(new);
            let is_start = after.kind == MediaKind::Audio || is_key_frame_start(&after.payload);
            assert!(is_start, "{old} to {new}");
        }
    }
    shown
}

fn offers(world: &World, viewer: usize) -> usize {
    let heard = world.clients[viewer].heard.iter();
    heard
        .filter(|m| m["command"] == "takeConfiguration")
        .count()
}

/// The stream on the first video slot, as the latest message says.
fn listed(world: &World, viewer: usize) -> String {
    let texts = world.clients[viewer]
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Text(text) => serde_json::from_str::<serde_json::Value>(text).ok(),
            Message::Binary(_) => None,
        });
    let mut lists = texts.filter(|event| event["eventType"] == "VIDEO_TRACK_ASSIGNMENT_LIST");
    let last = lists.next_back().expect("a list");
    last["payload"][0]["trackId"].as_str().unwrap().to_owned()
}

#[test]
fn one_slot_shows_the_speaker_and_no_offer_is_made() {
    seeds::for_each(3, |seed| {
        let settings = AppSettings {
            max_video_track_count: 1,
            ..AppSettings::default()
        };
        let (mut world, members) = room_of_four(seed, settings);
        let viewer = members[3].1;
        assert_eq!(listed(&world, viewer), "a");
        let before = offers(&world, viewer);
        // Bob is on the viewer's worker, Carol and Alice are on the other one.
        for (speaker, id) in [(1, "b"), (2, "c"), (0, "a"), (1, "b")] {
            speak(&mut world, &members, speaker);
            assert_eq!(listed(&world, viewer), id);
        }
        assert_eq!(offers(&world, viewer), before);
        let video = sent(&world, &members, viewer, "videoTrack0");
        assert_eq!(assert_continuous(&video), [0, 1, 2, 0, 1]);
        // Audio is not limited: everybody is heard all the time.
        for other in ["a", "b", "c"] {
            let audio = sent(&world, &members, viewer, other);
            assert!(audio.len() > 16 * 50, "{other}");
            assert!(audio.iter().all(|(r, _)| r.kind == MediaKind::Audio));
        }
        // Who speaks is not shown to itself.
        assert_eq!(listed(&world, members[1].1), "a");
        for server in &world.servers {
            let tracks = server.engine.counters().tracks;
            assert!(
                tracks <= 8,
                "copies that nobody is sent are given up: {tracks}"
            );
        }
    });
}

#[test]
fn one_audio_slot_carries_the_speaker() {
    let settings = AppSettings {
        max_audio_track_count: 1,
        max_video_track_count: 0,
        ..AppSettings::default()
    };
    let (mut world, members) = room_of_four(11, settings);
    let viewer = members[3].1;
    let before = offers(&world, viewer);
    speak(&mut world, &members, 1);
    speak(&mut world, &members, 2);
    assert_eq!(offers(&world, viewer), before);
    let audio = sent(&world, &members, viewer, "audioTrack0");
    assert_eq!(assert_continuous(&audio), [0, 1, 2]);
    let received = &world.clients[viewer].received;
    assert!(received.iter().all(|r| r.kind == MediaKind::Audio));
}

#[test]
fn two_pinned_ones_change_places_without_an_offer() {
    seeds::for_each(3, |seed| {
        let settings = AppSettings {
            max_video_track_count: 2,
            ..AppSettings::default()
        };
        let (mut world, members) = room_of_four(seed, settings);
        let viewer = members[3].1;
        let before = offers(&world, viewer);
        for id in ["b", "c", "a"] {
            let pin = json!({
                "command": "assignVideoTrackCommand", "streamId": id,
                "videoTrackId": "videoTrack0", "enabled": true,
            });
            world.clients[viewer].out.texts.push(pin.to_string());
            world.say(viewer, json!({ "command": "ping" }));
            world.run(Duration::from_secs(2));
            assert_eq!(listed(&world, viewer), id);
        }
        assert_eq!(offers(&world, viewer), before);
        // Bob and Alice change places; Carol takes Bob's, and Alice that of Carol.
        for (label, shown) in [
            ("videoTrack0", &[0, 1, 2, 0][..]),
            ("videoTrack1", &[1, 0, 2]),
        ] {
            let video = sent(&world, &members, viewer, label);
            assert_eq!(assert_continuous(&video), shown, "{label}");
            let last = video.iter().map(|(packet, _)| packet.at).max();
            let silent = world.now.instant - last.expect("a packet");
            assert!(silent < Duration::from_millis(500), "{label}: {silent:?}");
        }
    });
}

#[test]
fn viewers_are_told_how_loud_everybody_is_where_the_application_says_so() {
    for told in [true, false] {
        let settings = AppSettings {
            send_audio_level_to_viewers: told,
            ..AppSettings::default()
        };
        let (mut world, members) = room_of_four(5, settings);
        let (_, viewer) = members[3];
        world.clients[viewer].messages.clear();
        speak(&mut world, &members, 1);
        let levels: Vec<serde_json::Value> = world.clients[viewer]
            .messages
            .iter()
            .filter_map(|message| match message {
                Message::Text(text) => serde_json::from_str::<serde_json::Value>(text).ok(),
                Message::Binary(_) => None,
            })
            .filter(|event| event["eventType"] == "UPDATE_AUDIO_LEVEL")
            .collect();
        if !told {
            assert_eq!(levels, Vec::<serde_json::Value>::new());
            continue;
        }
        for (id, level) in [("a", 127), ("b", 30), ("c", 127)] {
            let of = levels.iter().filter(|event| event["streamId"] == id);
            let heard: Vec<u64> = of
                .map(|event| event["audioLevel"].as_u64().unwrap())
                .collect();
            // Five a second for four seconds; the first may still be of before.
            assert!((16..=21).contains(&heard.len()), "{id}: {heard:?}");
            assert!(heard[2..].iter().all(|l| *l == level), "{id}: {heard:?}");
        }
    }
}

/// The room has media of its own. When that ends, its slot goes to a participant, whose media has
/// to flow although the slot was silent in between.
#[test]
fn a_slot_whose_participant_has_gone_is_sent_the_next_one() {
    for worker in 0..2 {
        let settings = AppSettings {
            max_video_track_count: 1,
            ..AppSettings::default()
        };
        let mut world = World::new(1, 2);
        world.control = Control::new(settings);
        let host = world.publish(0, "room");
        world.connect();
        let (guest, _) = world.participate(worker, "guest", "room");
        world.connect();
        let viewer = world.play(1, "room");
        world.connect();
        world.run(Duration::from_secs(2));
        world.say(host, json!({ "command": "stop" }));
        world.run(Duration::from_secs(3));
        let late = world.now.instant - Duration::from_secs(1);
        let payloads: Vec<&[u8]> = world.clients[guest]
            .published
            .iter()
            .map(|packet| &*packet.payload)
            .collect();
        let of_guest = world.clients[viewer].received.iter().filter(|r| {
            r.at > late && r.kind == MediaKind::Video && payloads.contains(&&*r.payload)
        });
        assert!(of_guest.count() > 0, "worker {worker}");
    }
}

#[test]
fn slots_that_are_set_right_behind_a_play_are_those_of_its_first_offer() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 2);
        let members = ["a", "b", "c"].map(|id| {
            let members = world.participate(0, id, "room");
            world.connect();
            members
        });
        world.control.is_slow = true;
        let viewer = world.play(1, "room");
        for command in [
            json!({ "command": "setMaxVideoTrackCountCommand", "maxTrackCount": 1 }),
            json!({
                "command": "assignVideoTrackCommand", "streamId": "c",
                "videoTrackId": "videoTrack0", "enabled": true,
            }),
        ] {
            let mut command = command;
            command["streamId"] = command.get("streamId").unwrap_or(&json!("room")).clone();
            world.clients[viewer].out.texts.push(command.to_string());
        }
        world.say(viewer, json!({ "command": "ping" }));
        world.run(Duration::from_millis(500));
        assert_eq!(offers(&world, viewer), 0, "nothing is decided");
        // The next mail of whomever finds the store at work again.
        world.control.is_slow = false;
        world.connect();
        world.run(Duration::from_secs(2));
        assert_eq!(offers(&world, viewer), 1);
        assert_eq!(listed(&world, viewer), "c");
        let video = sent(&world, &members, viewer, "videoTrack0");
        assert_eq!(assert_continuous(&video), [2]);
    });
}
