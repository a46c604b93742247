//! Clients that go without a word.

use std::time::Duration;

use crate::bare::Negotiated;
use crate::check::assert_all_arrived;
use crate::control::Control;
use crate::network::Link;
use crate::world::World;
use leafcutter::engine::Counters;
use leafcutter::model::settings::AppSettings;
use serde_json::json;

fn level(counters: Counters) -> [u64; 4] {
    [
        counters.peers,
        counters.peers_connected,
        counters.tracks,
        counters.conns,
    ]
}

fn levels(world: &World) -> Vec<[u64; 4]> {
    (0..world.servers.len())
        .map(|worker| level(world.counters(worker)))
        .collect()
}

#[test]
fn viewers_of_a_publisher_whose_socket_closed_are_told_after_the_window() {
    let mut world = World::new(1, 2);
    let before = levels(&world);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    world.run(Duration::from_secs(1));

    world.clients[publisher].vanish();
    world.close(publisher);
    world.run(Duration::from_millis(4_900));
    for viewer in viewers {
        assert!(
            !world.clients[viewer].has_heard("play_finished"),
            "viewers wait"
        );
    }
    world.run(Duration::from_millis(200));
    for viewer in viewers {
        assert_eq!(world.clients[viewer].story().last(), Some(&"play_finished"));
        world.close(viewer);
    }
    world.run(Duration::from_millis(100));
    assert_eq!(levels(&world), before);
}

#[test]
fn viewers_of_a_publisher_that_fell_silent_are_told_too() {
    let mut world = World::new(2, 2);
    let before = levels(&world);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [world.play(0, "call"), world.play(1, "call")];
    world.connect();
    world.run(Duration::from_secs(1));

    world.clients[publisher].vanish();
    let told = world.run_until(Duration::from_secs(60), |world| {
        viewers
            .iter()
            .all(|viewer| world.clients[*viewer].has_heard("play_finished"))
    });
    assert!(told, "consent runs out, then the window");
    assert!(world.clients[publisher].has_heard("publish_finished"));
    for client in [publisher, viewers[0], viewers[1]] {
        world.close(client);
    }
    world.run(Duration::from_millis(100));
    assert_eq!(levels(&world), before);
}

#[test]
fn a_viewer_that_fell_silent_is_let_go() {
    let mut world = World::new(3, 2);
    world.publish(0, "call");
    world.connect();
    let without = levels(&world);
    let viewer = world.play(1, "call");
    world.connect();
    world.clients[viewer].vanish();
    world.close(viewer);
    world.run(Duration::from_millis(100));
    assert_eq!(levels(&world), without, "its socket closed");

    let viewer = world.play(1, "call");
    world.run(Duration::from_secs(2));
    assert!(world.clients[viewer].has_heard("play_started"));
    world.clients[viewer].vanish();
    world.run(Duration::from_secs(32));
    let with_socket = without
        .iter()
        .map(|level| level[..3].to_vec())
        .collect::<Vec<_>>();
    let after = levels(&world)
        .iter()
        .map(|level| level[..3].to_vec())
        .collect::<Vec<_>>();
    assert_eq!(after, with_socket, "its consent ran out");
    assert!(world.clients[viewer].has_heard("play_finished"));
}

#[test]
fn half_made_peers_are_let_go() {
    let mut world = World::new(4, 1);
    world.publish(0, "call");
    world.connect();
    let without = levels(&world);
    let publisher = world.publish(0, "other");
    let viewer = world.play(0, "call");
    world.run(Duration::from_millis(60));
    world.clients[publisher].vanish();
    world.clients[viewer].vanish();
    world.run(Duration::from_secs(40));
    assert!(world.clients[publisher].has_heard("publishTimeoutError"));
    world.close(publisher);
    world.close(viewer);
    world.run(Duration::from_millis(100));
    assert_eq!(levels(&world), without);
}

#[test]
fn an_answer_to_an_offer_given_up_disturbs_nobody() {
    let mut world = World::new(5, 1);
    let hasty = world.publish(0, "call");
    let offered = |world: &World| world.clients[hasty].has_heard("start");
    assert!(world.run_until(Duration::from_secs(1), offered));
    world.clients[hasty].vanish();
    world.close(hasty);
    let answered = |world: &World| world.clients[hasty].has_heard("takeConfiguration");
    assert!(
        world.run_until(Duration::from_secs(1), answered),
        "it was under way"
    );
    world.run(Duration::from_millis(100));

    let publisher = world.publish(0, "call");
    world.connect_late(&[publisher]);
    let viewer = world.play(0, "call");
    world.connect_late(&[viewer]);
    world.run(Duration::from_secs(1));
    let until = world.now.instant - Duration::from_millis(200);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    assert_eq!(world.clients[hasty].story(), ["start", "takeConfiguration"]);
}

/// A room's id is free for a publisher; one that never connects leaves no track behind in it.
#[test]
fn a_publisher_under_a_room_s_id_that_never_connects_leaves_nothing() {
    let mut world = World::new(1, 1);
    let member = world.open_conn(0);
    let join = json!({ "command": "joinRoom", "room": "room", "streamId": "x" });
    world.tell(member, join.to_string());
    world.run(Duration::from_millis(100));
    let publisher = world.publish(0, "room");
    world.set_links(publisher, Link::lossy(1.0), Link::lossy(1.0));
    world.run(Duration::from_secs(2));
    assert!(world.counters(0).tracks > 0, "its offer was answered");
    world.say(publisher, json!({ "command": "stop" }));
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters(0).tracks, 0);
    world.close(publisher);
    world.clients[publisher].vanish();
    world.close_conn(member);
    // Timers that were armed come up.
    world.run(Duration::from_secs(45));
    assert_eq!(world.servers[0].engine.sizes(), Default::default());
    assert_eq!(world.control.broadcasts(), 0);
}

#[test]
fn who_is_let_go_is_told_so_by_dtls() {
    let mut world = World::new(11, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(1, "call");
    world.connect();
    for client in [viewer, publisher] {
        assert!(world.clients[client].is_connected());
        world.say(client, json!({ "command": "stop", "streamId": "call" }));
        world.run(Duration::from_millis(100));
        assert!(!world.clients[client].is_connected());
    }
}

#[test]
fn who_is_let_go_long_after_the_handshake_is_told_so_too() {
    let mut world = World::new(12, 1);
    world.control = Control::new(AppSettings {
        data_channel_enabled: false,
        ..AppSettings::default()
    });
    world.publish(0, "call");
    world.connect();
    let mut viewer = Negotiated::viewer(&mut world, 0, "call").connect(&mut world);
    // Once SRTCP has come its association lingers, and is given back.
    let report = viewer.rtcp(&EMPTY_REPORT);
    viewer.send(&mut world, &report);
    world.run(Duration::from_secs(7));
    assert_eq!(viewer.alerts_received(&mut world), 0);
    let stop = json!({ "command": "stop", "streamId": "call" });
    world.tell(viewer.conn, stop.to_string());
    world.run(Duration::from_millis(100));
    assert_eq!(viewer.alerts_received(&mut world), 1);
}

/// RFC 3550 §6.4.2: a receiver report without blocks.
const EMPTY_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 1];
