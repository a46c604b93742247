//! Tracks that are switched off and on, by a player for itself and by a publisher for everybody.

use std::time::{Duration, Instant};

use leafcutter::base::codec::MediaKind;
use leafcutter::base::fault::DropReason;
use serde_json::json;

use crate::client::{Received, WirePacket};
use crate::media::is_key_frame_start;
use crate::network::Link;
use crate::seeds;
use crate::world::World;

/// A switch has reached the engine and what was under way has arrived.
const SETTLED: Duration = Duration::from_millis(100);

#[test]
fn a_player_s_video_stops_and_comes_back_where_it_was() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewers = [world.play(0, "call"), world.play(0, "call")];
        world.connect();
        world.run(Duration::from_secs(2));

        world.say(viewers[0], toggle("toggleVideo", false));
        world.run(SETTLED);
        let off = world.now.instant;
        let asked = world.clients[publisher].key_frame_requests.len();
        world.run(Duration::from_secs(3));
        assert_eq!(kinds_on_the_wire(&world, viewers[0], off), (true, false));
        assert_eq!(kinds_on_the_wire(&world, viewers[1], off), (true, true));
        assert!(world.dropped(DropReason::Disabled) > 60, "counted");
        assert_eq!(
            world.clients[publisher].key_frame_requests.len(),
            asked,
            "nobody needs a key frame of what is off"
        );

        world.say(viewers[0], toggle("toggleVideo", true));
        let on = world.now.instant;
        world.run(Duration::from_secs(2));
        assert_continuous(&world, viewers[0], MediaKind::Video, off, on);
        assert_continuous(&world, viewers[1], MediaKind::Video, off, off);
        assert!(world.clients[publisher].key_frame_requests.len() > asked);
        assert_eq!(world.counters(0).retransmitted, 0, "no gap was seen");
        assert_reports_agree(&world, viewers[0]);
    });
}

#[test]
fn a_player_s_audio_stops_and_comes_back_and_both_do_on_another_worker() {
    for (command, audio, video) in [("toggleAudio", false, true), ("enableTrack", false, false)] {
        let mut world = World::new(5, 2);
        world.publish(0, "call");
        world.connect();
        let viewer = world.play(1, "call");
        world.connect();
        world.run(Duration::from_secs(1));
        world.say(viewer, toggle(command, false));
        world.run(SETTLED);
        let off = world.now.instant;
        world.run(Duration::from_secs(2));
        assert_eq!(kinds_on_the_wire(&world, viewer, off), (audio, video));
        let before = world.servers[1].relayed_key_frames;
        // What is on already is not switched on again.
        world.say(viewer, toggle("enableTrack", true));
        world.say(viewer, toggle("enableTrack", true));
        let on = world.now.instant;
        world.run(Duration::from_secs(2));
        assert_continuous(&world, viewer, MediaKind::Audio, off, on);
        if !video {
            assert_continuous(&world, viewer, MediaKind::Video, off, on);
            assert_eq!(world.servers[1].relayed_key_frames, before + 1);
        }
    }
}

#[test]
fn what_is_off_is_not_repaired_either() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.connect();
        world.set_links(viewer, Link::CLEAN, Link::lossy(0.2));
        world.run(Duration::from_secs(2));
        world.say(viewer, toggle("toggleVideo", false));
        world.run(SETTLED);
        let off = world.now.instant;
        world.run(Duration::from_secs(2));
        assert_eq!(kinds_on_the_wire(&world, viewer, off), (true, false));
        world.set_links(viewer, Link::CLEAN, Link::CLEAN);
        world.say(viewer, toggle("toggleVideo", true));
        world.run(Duration::from_secs(2));
        let video = since(&world, viewer, MediaKind::Video, off);
        assert!(video.len() > 60, "it is back: {}", video.len());
    });
}

#[test]
fn a_publisher_s_switch_is_for_everybody_on_every_worker() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewers = [world.play(0, "call"), world.play(1, "call")];
        world.connect();
        world.run(Duration::from_secs(2));
        world.say(publisher, toggle("toggleVideo", false));
        world.run(SETTLED);
        let off = world.now.instant;
        let mailed = world.servers[0].relayed.len();
        world.run(Duration::from_secs(2));
        for viewer in viewers {
            assert_eq!(kinds_on_the_wire(&world, viewer, off), (true, false));
        }
        let audio_only = world.servers[0].relayed.len() - mailed;
        assert!((90..=110).contains(&audio_only), "{audio_only}");
        world.say(publisher, toggle("enableTrack", true));
        let on = world.now.instant;
        world.run(Duration::from_secs(2));
        for viewer in viewers {
            assert_continuous(&world, viewer, MediaKind::Video, off, on);
        }
    });
}

#[test]
fn what_a_publisher_has_switched_off_costs_it_no_key_frames() {
    let mut world = World::new(6, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let early = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    world.run(Duration::from_secs(1));
    world.say(publisher, toggle("toggleVideo", false));
    world.run(SETTLED);
    let asked = world.clients[publisher].key_frame_requests.len();
    let late = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    for _ in 0..5 {
        let now = world.now.instant;
        for viewer in early {
            world.clients[viewer].request_key_frame(now);
        }
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.clients[publisher].key_frame_requests.len(), asked);
    world.say(publisher, toggle("toggleVideo", true));
    let on = world.now.instant;
    world.run(Duration::from_secs(1));
    for viewer in early.into_iter().chain(late) {
        let video = since(&world, viewer, MediaKind::Video, on);
        assert!(is_key_frame_start(&video[0].payload));
    }
}

#[test]
fn switches_outlive_a_publisher_that_comes_back() {
    let mut world = World::new(3, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    world.run(Duration::from_secs(1));
    world.say(viewers[0], toggle("toggleVideo", false));
    world.say(publisher, toggle("toggleAudio", false));
    world.run(SETTLED);
    world.close(publisher);
    world.run(Duration::from_secs(1));

    let back = world.publish(1, "call");
    world.connect();
    assert!(world.run_until(Duration::from_secs(1), |world| {
        world.clients[back].has_heard("session_restored")
    }));
    world.run(SETTLED);
    let off = world.now.instant;
    world.run(Duration::from_secs(2));
    assert_eq!(kinds_on_the_wire(&world, viewers[0], off), (false, false));
    assert_eq!(kinds_on_the_wire(&world, viewers[1], off), (false, true));
    world.say(viewers[0], toggle("toggleVideo", true));
    world.say(back, toggle("toggleAudio", true));
    let on = world.now.instant;
    world.run(Duration::from_secs(2));
    assert_continuous(&world, viewers[0], MediaKind::Video, off, on);
    assert_continuous(&world, viewers[1], MediaKind::Audio, off, on);
}

#[test]
fn a_participant_that_comes_again_stays_off_for_who_switched_it_off() {
    for all in [false, true] {
        let mut world = World::new(6, 2);
        let (_, viewer) = world.participate(0, "a", "room");
        let other = world.participate(1, "c", "room").1;
        let b = world.participate(1, "b", "room");
        world.connect();
        world.run(Duration::from_secs(1));
        let mut command = toggle("toggleVideo", false);
        command["trackId"] = json!(if all { "room" } else { "b" });
        world.say(viewer, command.clone());
        for client in [b.0, b.1] {
            world.say(client, json!({ "command": "stop" }));
        }
        world.run(SETTLED);
        for client in [b.0, b.1] {
            world.clients[client].vanish();
        }
        world.close(b.0);
        world.run(Duration::from_secs(1));

        let b = world.participate(0, "b", "room");
        world.connect_late(&[b.0, b.1]);
        let off = world.now.instant;
        world.run(Duration::from_secs(2));
        let came = |world: &World, viewer, kind| {
            let packets = since(world, viewer, kind, off).into_iter();
            packets.filter(|p| &*p.label == "b").count() > 60
        };
        assert!(came(&world, viewer, MediaKind::Audio));
        assert!(!came(&world, viewer, MediaKind::Video), "all: {all}");
        assert!(came(&world, other, MediaKind::Video));
        command["enabled"] = json!(true);
        world.say(viewer, command);
        world.run(Duration::from_secs(2));
        assert!(came(&world, viewer, MediaKind::Video), "all: {all}");
    }
}

#[test]
fn others_ids_and_others_publishes_are_not_switched() {
    let mut world = World::new(4, 1);
    world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));
    let mut message = toggle("enableTrack", false);
    message["trackId"] = json!("unknown");
    world.say(viewer, message);
    let stranger = world.open_conn(0);
    let mut message = toggle("enableTrack", false);
    message["streamId"] = json!("call");
    world.tell(stranger, message.to_string());
    world.run(SETTLED);
    let from = world.now.instant;
    world.run(Duration::from_secs(1));
    assert_eq!(kinds_on_the_wire(&world, viewer, from), (true, true));
    assert!(world.unheard.is_empty(), "{:?}", world.unheard);
}

fn toggle(command: &str, enabled: bool) -> serde_json::Value {
    json!({ "command": command, "trackId": "call", "enabled": enabled })
}

/// Whether any byte of audio, and of video or its retransmissions, came since `from`.
fn kinds_on_the_wire(world: &World, viewer: usize, from: Instant) -> (bool, bool) {
    let packets = &world.clients[viewer].wire;
    let came = |wanted: fn(&WirePacket) -> bool| packets.iter().any(|p| p.at > from && wanted(p));
    (came(|p| p.pt == AUDIO_PT), came(|p| p.pt != AUDIO_PT))
}

fn since(world: &World, viewer: usize, kind: MediaKind, from: Instant) -> Vec<&Received> {
    let packets = world.clients[viewer].received.iter();
    packets.filter(|p| p.kind == kind && p.at > from).collect()
}

/// Numbers go on by one over the pause, timestamps by the time that passed, video starts at a key
/// frame, and within a second.
fn assert_continuous(world: &World, viewer: usize, kind: MediaKind, off: Instant, on: Instant) {
    let packets = world.clients[viewer].received.iter();
    let mut packets: Vec<_> = packets.filter(|p| p.kind == kind).collect();
    packets.sort_by_key(|packet| packet.seq);
    for (a, b) in packets.iter().zip(packets.iter().skip(1)) {
        assert_eq!(b.seq, a.seq + 1, "{kind:?}: no gap, nothing twice");
        let step = b.timestamp.wrapping_sub(a.timestamp);
        assert!(step < u32::MAX / 2, "{kind:?}: time goes on");
    }
    let Some(at) = packets.iter().position(|p| p.at > off && p.at > on) else {
        panic!("{kind:?} did not come back");
    };
    let (last, first) = (packets[at - 1], packets[at]);
    assert!(first.at - on < Duration::from_secs(1), "{kind:?}: late");
    if off != on {
        let hz = match kind {
            MediaKind::Audio => 48_000.0,
            MediaKind::Video => 90_000.0,
        };
        let ticks = f64::from(first.timestamp.wrapping_sub(last.timestamp));
        let passed = (first.at - last.at).as_secs_f64();
        assert!((ticks / hz - passed).abs() < 0.1, "{ticks} in {passed} s");
        assert!(kind == MediaKind::Audio || is_key_frame_start(&first.payload));
    }
}

/// The sender reports of video, before and behind a pause, lie on one line.
fn assert_reports_agree(world: &World, viewer: usize) {
    let client = &world.clients[viewer];
    let video = client.wire.iter().find(|p| p.pt != AUDIO_PT).unwrap().ssrc;
    let reports: Vec<_> = client.reports.iter().filter(|r| r.ssrc == video).collect();
    assert!(reports.len() >= 2, "{}", reports.len());
    for pair in reports.windows(2) {
        let passed = pair[1].ntp.duration_since(pair[0].ntp).unwrap();
        let ticks = f64::from(pair[1].rtp.wrapping_sub(pair[0].rtp));
        let error = (ticks / 90_000.0 - passed.as_secs_f64()).abs();
        assert!(error < 0.005, "{error} s");
    }
}

const AUDIO_PT: u8 = 111;
