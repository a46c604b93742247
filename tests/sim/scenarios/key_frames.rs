//! Viewers that come late begin with a key frame, and the publisher is asked for few.

use std::time::Duration;

use crate::check::assert_all_arrived;
use crate::world::World;

#[test]
fn twenty_viewers_at_once_cost_two_requests_at_most() {
    let mut world = World::new(1, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    let before = world.counters(0).key_frame_requests;

    let viewers: Vec<_> = (0..20).map(|_| world.play(0, "call")).collect();
    world.connect();
    world.run(Duration::from_secs(2));
    let requests = world.counters(0).key_frame_requests - before;
    assert!((1..=2).contains(&requests), "{requests} requests");
    let until = world.now.instant - Duration::from_millis(100);
    for viewer in viewers {
        assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    }
}

#[test]
fn viewers_that_ask_all_the_time_cost_two_requests_a_second() {
    let mut world = World::new(2, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers: Vec<_> = (0..5).map(|_| world.play(0, "call")).collect();
    world.connect();
    world.run(Duration::from_secs(1));
    let before = world.clients[publisher].key_frame_requests.len();
    for _ in 0..100 {
        let now = world.now.instant;
        for viewer in &viewers {
            world.clients[*viewer].request_key_frame(now);
        }
        world.run(Duration::from_millis(50));
    }
    let asked = world.clients[publisher].key_frame_requests.len() - before;
    assert!((9..=11).contains(&asked), "{asked} in five seconds");
}

#[test]
fn a_lost_request_is_repeated() {
    use crate::network::{Direction, Link};
    let mut world = World::new(3, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));
    world
        .network
        .set(publisher, Direction::Down, Link::lossy(1.0));
    let viewer = world.play(0, "call");
    world.connect();
    world.run(Duration::from_millis(700));
    assert!(!has_video(&world, viewer), "no key frame, no video");
    world.network.set(publisher, Direction::Down, Link::CLEAN);
    world.run(Duration::from_millis(1000));
    assert!(has_video(&world, viewer));
}

fn has_video(world: &World, viewer: usize) -> bool {
    use leafcutter::base::codec::MediaKind;
    world.clients[viewer]
        .received
        .iter()
        .any(|r| r.kind == MediaKind::Video)
}
