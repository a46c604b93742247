//! Rooms: each participant publishes into a main track and plays it, over one WebSocket.

use std::collections::HashSet;
use std::time::Duration;

use leafcutter::base::codec::{Codec, MediaKind};
use leafcutter::base::ids::Pt;
use leafcutter::rtp::RtpHeader;
use serde_json::json;

use crate::bare::Negotiated;
use crate::check::assert_all_arrived;
use crate::seeds;
use crate::world::World;

/// A participant's publisher and viewer.
#[derive(Clone, Copy)]
struct Member(usize, usize);

fn enter(world: &mut World, worker: u16, id: &str) -> Member {
    let (publisher, viewer) = world.participate(worker, id, "room");
    Member(publisher, viewer)
}

/// Publish and play end by `stop`.
fn leave(world: &mut World, member: Member) {
    for client in [member.0, member.1] {
        world.say(client, json!({ "command": "stop" }));
    }
    world.run(Duration::from_millis(300));
    world.clients[member.0].vanish();
    world.clients[member.1].vanish();
    world.close(member.0);
}

/// Each of `members` has got everything of each other one since it began.
fn assert_all_see_all(world: &World, members: &[Member]) {
    let until = world.now.instant - Duration::from_millis(100);
    for (at, &Member(own, viewer)) in members.iter().enumerate() {
        let viewer = &world.clients[viewer];
        for (other, &Member(publisher, _)) in members.iter().enumerate() {
            if other != at {
                assert_all_arrived(&world.clients[publisher], viewer, until);
            }
        }
        let own = &*world.clients[own].stream;
        assert!(viewer.received.iter().all(|r| *r.label != *own), "its own");
    }
}

fn offers(world: &World, viewer: usize) -> Vec<&serde_json::Value> {
    let heard = world.clients[viewer].heard.iter();
    heard
        .filter(|m| m["command"] == "takeConfiguration")
        .collect()
}

fn assert_nothing_is_left(world: &mut World) {
    world.run(Duration::from_secs(1));
    for worker in 0..world.servers.len() {
        let counters = world.counters(worker);
        let left = (
            counters.peers,
            counters.tracks,
            counters.conns,
            counters.peers_connected,
        );
        assert_eq!(left, (0, 0, 0, 0), "worker {worker}");
    }
    assert_eq!(world.control.broadcasts(), 0);
}

#[test]
fn four_on_two_workers_see_each_other_and_nothing_is_left() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 2);
        let mut members: Vec<Member> = Vec::new();
        for (at, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
            members.push(enter(&mut world, at as u16 % 2, id));
            world.connect();
        }
        world.run(Duration::from_secs(3));
        assert_all_see_all(&world, &members);

        // The first one was offered the data channel alone.
        let first = offers(&world, members[0].1);
        assert_eq!(first[0]["idMapping"], json!({}));
        assert_eq!(first.len(), 4, "one offer for each who came");
        for member in members {
            leave(&mut world, member);
        }
        assert_nothing_is_left(&mut world);
    });
}

#[test]
fn who_leaves_vanishes_and_who_comes_takes_the_place_under_another_mid() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 2);
        let a = enter(&mut world, 0, "a");
        let b = enter(&mut world, 1, "b");
        world.connect();
        world.run(Duration::from_secs(1));
        let lines = |sdp: &str| sdp.lines().filter(|l| l.starts_with("m=")).count();
        let sdp = |world: &World, at: usize| {
            let offers = offers(world, a.1);
            offers[offers.len() - 1 - at]["sdp"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(lines(&sdp(&world, 0)), 3);

        leave(&mut world, b);
        world.run(Duration::from_secs(1));
        assert!(world.clients[a.1].has_heard("subtrackRemoved"));
        assert!(!world.clients[a.1].has_heard("play_finished"));
        let stopped = sdp(&world, 0);
        assert_eq!(stopped.matches(" 0 UDP/TLS/RTP/SAVPF").count(), 2);

        let mut c = enter(&mut world, 1, "c");
        world.connect_late(&[c.0, c.1]);
        world.run(Duration::from_secs(2));
        let recycled = sdp(&world, 0);
        assert_eq!(lines(&recycled), 3, "{recycled}");
        assert_eq!(recycled.matches(" 0 UDP/TLS/RTP/SAVPF").count(), 0);
        assert_all_see_all(&world, &[a, c]);

        // Ten more come and go: the m-lines stay, every mid is new.
        for round in 0..10 {
            leave(&mut world, c);
            c = enter(&mut world, round % 2, "c");
            world.connect_late(&[c.0, c.1]);
            world.run(Duration::from_secs(1));
        }
        assert_all_see_all(&world, &[a, c]);
        assert_eq!(lines(&sdp(&world, 0)), 3);
        let offers = offers(&world, a.1);
        let mut mids = HashSet::new();
        let mut labels = Vec::new();
        for offer in offers {
            for (mid, track) in offer["idMapping"].as_object().unwrap() {
                if mids.insert(mid.clone()) {
                    labels.push(track.as_str().unwrap().to_owned());
                }
            }
        }
        assert_eq!(labels.len(), 2 * 12, "{labels:?}");
        leave(&mut world, a);
        leave(&mut world, c);
        assert_nothing_is_left(&mut world);
    });
}

#[test]
fn a_crowd_that_comes_and_goes_at_once_is_coalesced() {
    let mut world = World::new(7, 2);
    let a = enter(&mut world, 0, "a");
    world.connect();
    let mut members = vec![a];
    for number in 0..8u16 {
        members.push(enter(&mut world, number % 2, &format!("m{number}")));
    }
    world.connect();
    world.run(Duration::from_secs(3));
    assert_all_see_all(&world, &members);
    let count = offers(&world, a.1).len();
    assert!(count <= 9, "{count} offers for 8 who came");
    for member in members.split_off(4) {
        leave(&mut world, member);
    }
    world.run(Duration::from_secs(1));
    assert_all_see_all_video_goes_on(&mut world, &members);
    for member in members {
        leave(&mut world, member);
    }
    assert_nothing_is_left(&mut world);
}

/// Every member still gets packets of every other one.
fn assert_all_see_all_video_goes_on(world: &mut World, members: &[Member]) {
    let since = world.now.instant;
    world.run(Duration::from_secs(1));
    for &Member(own, viewer) in members {
        for &Member(publisher, _) in members {
            let label = world.clients[publisher].stream.clone();
            let came = world.clients[viewer]
                .received
                .iter()
                .filter(|r| *r.label == *label && r.at >= since && r.kind == MediaKind::Video)
                .count();
            assert_eq!(came > 0, publisher != own, "{label}: {came}");
        }
    }
}

#[test]
fn the_room_ends_with_its_last_participant() {
    let mut world = World::new(3, 1);
    let a = enter(&mut world, 0, "a");
    world.connect();
    let guest = world.play(0, "room");
    world.connect();
    world.run(Duration::from_secs(1));
    assert!(!world.clients[guest].received.is_empty());
    leave(&mut world, a);
    world.run(Duration::from_millis(200));
    assert_eq!(world.clients[guest].story().last(), Some(&"play_finished"));
    let late = world.play(0, "room");
    world.run(Duration::from_millis(200));
    assert_eq!(world.clients[late].story(), ["no_stream_exist"]);
    world.close(guest);
    world.close(late);
    assert_nothing_is_left(&mut world);
}

#[test]
fn a_participant_that_comes_back_within_the_window_is_seen_again_without_an_offer() {
    let mut world = World::new(5, 2);
    let a = enter(&mut world, 0, "a");
    let b = enter(&mut world, 1, "b");
    world.connect();
    world.run(Duration::from_secs(1));
    let before = offers(&world, a.1).len();
    world.close(b.0);
    world.clients[b.0].vanish();
    world.clients[b.1].vanish();
    world.run(Duration::from_secs(1));
    assert!(!world.clients[a.1].has_heard("subtrackRemoved"));
    let again = enter(&mut world, 0, "b");
    world.connect_late(&[again.0, again.1]);
    world.run(Duration::from_secs(2));
    assert!(world.clients[again.0].has_heard("session_restored"));
    assert_eq!(offers(&world, a.1).len(), before, "no offer");
    assert_all_see_all_video_goes_on(&mut world, &[a, again]);
    leave(&mut world, a);
    leave(&mut world, again);
    assert_nothing_is_left(&mut world);
}

#[test]
fn a_player_may_refuse_in_a_later_answer_and_take_back_in_another() {
    let mut world = World::new(21, 1);
    enter(&mut world, 0, "a");
    world.connect();
    let viewer = Negotiated::viewer(&mut world, 0, "room").connect(&mut world);
    // Payload types of the audio and of the video.
    let count = |packets: &[RtpHeader], pt| packets.iter().filter(|p| p.pt == pt).count();
    let watch = |world: &mut World| {
        world.run(Duration::from_secs(1));
        viewer.rtp_received(world)
    };
    let (opus, vp8) = (Pt(111), Codec::Vp8.server_pts("").0);
    let before = watch(&mut world);
    assert!(count(&before, opus) > 40 && count(&before, vp8) > 40);
    let last = before.iter().rfind(|p| p.pt == vp8).expect("video");

    enter(&mut world, 0, "b");
    world.run(Duration::from_secs(1));
    let all = viewer.rtp_received(&mut world);
    let last = all.iter().rfind(|p| p.pt == vp8).unwrap_or(last);
    viewer.answer(&mut world, "room", |_, line| !line.contains("VP8"));
    let flown = viewer.rtp_received(&mut world);
    let last = flown.iter().rfind(|p| p.pt == vp8).unwrap_or(last);
    let without = watch(&mut world);
    assert_eq!(count(&without, vp8), 0, "both videos are refused");
    assert!(count(&without, opus) > 80, "both are heard");

    enter(&mut world, 0, "c");
    world.run(Duration::from_secs(1));
    assert_eq!(count(&viewer.rtp_received(&mut world), vp8), 0);
    viewer.answer(&mut world, "room", |_, _| true);
    let after = watch(&mut world);
    let videos = after.iter().filter(|p| p.pt == vp8);
    let ssrcs: HashSet<_> = videos.clone().map(|p| p.ssrc).collect();
    assert_eq!(ssrcs.len(), 3, "all videos are taken");
    let first = videos.clone().find(|p| p.ssrc == last.ssrc);
    assert_eq!(first.map(|p| p.seq), Some(last.seq.plus(1)), "it goes on");
}
