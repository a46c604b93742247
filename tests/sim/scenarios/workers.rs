//! A publisher and its viewers on different workers.

use std::collections::HashSet;
use std::time::Duration;

use crate::check::{assert_all_arrived, assert_repaired};
use crate::network::Link;
use crate::seeds;
use crate::world::World;

#[test]
fn a_track_crosses_once_per_worker_and_turn() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewers = [
            world.play(1, "call"),
            world.play(0, "call"),
            world.play(1, "call"),
        ];
        world.connect();
        world.run(Duration::from_secs(3));
        let until = world.now.instant - Duration::from_millis(100);
        for viewer in viewers {
            assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
        }

        let relayed = &world.servers[0].relayed;
        assert!(!relayed.is_empty());
        let turns: HashSet<_> = relayed
            .iter()
            .map(|(at, track, to, _)| (at, track, to))
            .collect();
        assert_eq!(
            turns.len(),
            relayed.len(),
            "one mail per turn, track and worker"
        );
        let packets: usize = relayed.iter().map(|(.., packets)| packets).sum();
        assert!(
            packets <= world.clients[publisher].published.len(),
            "each packet once"
        );
        assert!(world.servers[1].relayed.is_empty());
    });
}

#[test]
fn loss_on_the_far_worker_is_repaired_there() {
    seeds::for_each(5, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewers = [world.play(1, "call"), world.play(0, "call")];
        world.connect();
        for client in [publisher, viewers[0], viewers[1]] {
            world.set_links(client, Link::lossy(0.05), Link::lossy(0.05));
        }
        world.run(Duration::from_secs(5));
        let until = world.now.instant - Duration::from_millis(1500);
        for viewer in viewers {
            assert_repaired(&world.clients[publisher], &world.clients[viewer], until);
        }
        assert!(world.counters(1).retransmitted > 0);
    });
}

#[test]
fn a_key_frame_request_crosses_workers() {
    let mut world = World::new(1, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(1, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    let asked = world.clients[publisher].key_frame_requests.len();
    let mailed = world.servers[1].relayed_key_frames;

    let now = world.now.instant;
    world.clients[viewer].request_key_frame(now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.servers[1].relayed_key_frames, mailed + 1);
    assert_eq!(world.clients[publisher].key_frame_requests.len(), asked + 1);
}

#[test]
fn a_copy_nobody_watches_is_given_up() {
    let mut world = World::new(2, 2);
    world.publish(0, "call");
    world.connect();
    let viewers = [world.play(1, "call"), world.play(1, "call")];
    world.connect();
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters(1).tracks, 2);
    for viewer in viewers {
        world.say(viewer, serde_json::json!({ "command": "stop" }));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters(1).tracks, 0);
    assert_eq!(world.counters(0).tracks, 2);
    let relayed = world.servers[0].relayed.len();
    world.run(Duration::from_secs(1));
    assert_eq!(
        world.servers[0].relayed.len(),
        relayed,
        "nothing is mailed any more"
    );

    let again = world.play(1, "call");
    world.run(Duration::from_secs(2));
    assert!(!world.clients[again].received.is_empty());
}
