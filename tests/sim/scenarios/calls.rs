//! Publishing and playing when nothing goes wrong.

use std::time::Duration;

use crate::check::assert_all_arrived;
use crate::seeds;
use crate::world::World;

#[test]
fn a_viewer_gets_what_is_published() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.connect();
        world.run(Duration::from_secs(4));
        let until = world.now.instant - Duration::from_millis(100);

        let publisher = &world.clients[publisher];
        let viewer = &world.clients[viewer];
        assert_eq!(
            publisher.story(),
            ["start", "takeConfiguration", "publish_started"]
        );
        assert_eq!(viewer.story(), ["takeConfiguration", "play_started"]);
        assert_all_arrived(publisher, viewer, until);
        assert_eq!(world.counters(0).retransmitted, 0);
        assert!(world.control.measured >= 3);
    });
}

#[test]
fn an_offer_names_its_tracks() {
    let mut world = World::new(1, 1);
    world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    let viewer = &world.clients[viewer];
    let offer = viewer
        .heard
        .iter()
        .find(|m| m["command"] == "takeConfiguration")
        .unwrap();
    assert_eq!(offer["type"], "offer");
    let mapping = offer["idMapping"].as_object().unwrap();
    let mut tracks: Vec<_> = mapping
        .values()
        .map(|track| track.as_str().unwrap())
        .collect();
    tracks.sort_unstable();
    assert_eq!(tracks, ["ARDAMSacall", "ARDAMSvcall"]);
    let candidates = viewer
        .heard
        .iter()
        .filter(|m| m["command"] == "takeCandidate");
    assert!(candidates.count() > 0);
    for candidate in viewer
        .heard
        .iter()
        .filter(|m| m["command"] == "takeCandidate")
    {
        assert!(candidate["label"].is_u64() && candidate["id"].is_string());
    }
}

#[test]
fn stop_ends_both_sides_and_frees_everything() {
    let mut world = World::new(2, 1);
    let before = world.counters(0);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [world.play(0, "call"), world.play(0, "call")];
    world.connect();
    world.run(Duration::from_secs(1));

    world.say(viewers[0], serde_json::json!({ "command": "stop" }));
    world.run(Duration::from_millis(200));
    assert_eq!(
        world.clients[viewers[0]].story().last(),
        Some(&"play_finished")
    );
    assert!(!world.clients[viewers[1]].has_heard("play_finished"));
    let received = world.clients[viewers[0]].wire.len();

    world.say(publisher, serde_json::json!({ "command": "stop" }));
    world.run(Duration::from_millis(200));
    assert_eq!(
        world.clients[viewers[0]].wire.len(),
        received,
        "silence after stop"
    );
    assert_eq!(
        world.clients[publisher].story().last(),
        Some(&"publish_finished")
    );
    assert_eq!(
        world.clients[viewers[1]].story().last(),
        Some(&"play_finished")
    );

    for client in 0..3 {
        world.close(client);
    }
    world.run(Duration::from_millis(200));
    let after = world.counters(0);
    assert_eq!(
        (
            after.peers,
            after.tracks,
            after.conns,
            after.peers_connected
        ),
        (
            before.peers,
            before.tracks,
            before.conns,
            before.peers_connected
        )
    );
}

#[test]
fn nothing_live_is_told_and_may_be_asked_for_again() {
    let mut world = World::new(3, 1);
    let viewer = world.play(0, "call");
    world.run(Duration::from_millis(100));
    assert_eq!(world.clients[viewer].story(), ["no_stream_exist"]);
    world.publish(0, "call");
    world.run(Duration::from_secs(2));
    world.say(viewer, serde_json::json!({ "command": "play" }));
    world.connect();
}
