//! Viewers behind narrow links: what the server thinks of their paths, as it tells them.

use std::time::Duration;

use crate::network::{Direction, Link};
use crate::seeds;
use crate::world::World;

/// The latest `bitrateMeasurement` that a client heard: target, video and audio, bits per second.
fn measured(world: &World, client: usize) -> [u64; 3] {
    let heard = world.clients[client].heard.iter().rev();
    let mut ours = heard.filter(|m| m["definition"] == "bitrateMeasurement");
    let latest = ours.next().expect("a measurement");
    ["targetBitrate", "videoBitrate", "audioBitrate"].map(|field| latest[field].as_u64().unwrap())
}

fn call(seed: u64) -> (World, usize, usize) {
    let mut world = World::new(seed, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    (world, publisher, viewer)
}

#[test]
fn a_viewer_is_told_what_its_path_takes() {
    seeds::for_each(5, |seed| {
        let (mut world, _, viewer) = call(seed);
        world.run(Duration::from_secs(12));
        let [wide, video, audio] = measured(&world, viewer);
        let sent = video + audio;
        assert!(wide >= sent, "a wide path takes all: {wide} of {sent}");
        // A quarter more than is sent fits through; then a fifth less.
        let (more, less) = (sent * 5 / 4, sent * 4 / 5);
        world.network.narrow(viewer, Direction::Down, more);
        world.run(Duration::from_secs(10));
        let [fits, ..] = measured(&world, viewer);
        world.network.narrow(viewer, Direction::Down, less);
        world.run(Duration::from_secs(10));
        let [narrow, ..] = measured(&world, viewer);
        println!("{sent}: {wide}, {more}: {fits}, {less}: {narrow}");
        assert!(fits >= sent / 2, "{fits} of {sent}");
        assert!(narrow <= less * 11 / 10, "{narrow} of {less}");
        assert!(narrow >= less / 3, "{narrow} of {less}");
    });
}

/// Only what this server sent under its own numbers counts: a hole that came from the publisher
/// has none.
#[test]
fn the_publishers_loss_is_not_the_viewers() {
    seeds::for_each(5, |seed| {
        let (mut world, publisher, viewer) = call(seed);
        world.run(Duration::from_secs(12));
        let [before, ..] = measured(&world, viewer);
        let lossy = Link::lossy(0.2);
        world.set_links(publisher, lossy, lossy);
        world.run(Duration::from_secs(10));
        let [after, ..] = measured(&world, viewer);
        assert!(after >= before * 9 / 10, "{before} {after}");
    });
}

/// A single layer that does not fit is paused, the sound goes on, and the picture comes back with
/// the room for it.
#[test]
fn video_without_room_is_paused_and_comes_back() {
    seeds::for_each(3, |seed| {
        let (mut world, publisher, viewer) = call(seed);
        world.run(Duration::from_secs(8));
        let [_, video, audio] = measured(&world, viewer);
        world
            .network
            .narrow(viewer, Direction::Down, (video + audio) / 3);
        world.run(Duration::from_secs(10));
        let [_, paused, sound] = measured(&world, viewer);
        assert_eq!(paused, 0, "of {video}");
        assert!(sound >= audio * 9 / 10, "{sound} of {audio}");
        assert_eq!(world.counters(0).paused, 1, "once");
        let asked = world.clients[publisher].key_frame_requests.len();
        world.network.narrow(viewer, Direction::Down, 20_000_000);
        world.run(Duration::from_secs(20));
        let [_, resumed, _] = measured(&world, viewer);
        assert!(resumed >= video * 8 / 10, "{resumed} of {video}");
        assert_eq!(world.counters(0).paused, 1, "not again");
        let asked = world.clients[publisher].key_frame_requests.len() - asked;
        assert!(
            (1..=3).contains(&asked),
            "{asked} key frames for one return"
        );
    });
}

/// Where video is all there is, nothing is reported on while it is paused: the last report tells of
/// a full queue, which must not count for ever.
#[test]
fn video_alone_comes_back_from_behind_a_deep_queue() {
    seeds::for_each(3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish_video(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.connect();
        world.run(Duration::from_secs(8));
        let [_, video, _] = measured(&world, viewer);
        // Deep enough to grow for as long as the picture is given.
        let (less, deep) = (video * 3 / 4, Duration::from_secs(10));
        world
            .network
            .narrow_behind(viewer, Direction::Down, less, deep);
        world.run(Duration::from_secs(10));
        let [_, paused, _] = measured(&world, viewer);
        assert_eq!(paused, 0, "of {video}");
        world.network.narrow(viewer, Direction::Down, 20_000_000);
        world.run(Duration::from_secs(30));
        let [_, resumed, _] = measured(&world, viewer);
        assert!(resumed >= video * 8 / 10, "{resumed} of {video}");
    });
}
