//! Clients whose datagrams go over TCP connections, and what becomes of them when those close.

use std::time::Duration;

use leafcutter::base::fault::DropReason;

use crate::check::assert_all_arrived;
use crate::world::World;

/// A call on one worker whose viewer, and publisher if it is to be, are behind TCP.
fn call(seed: u64, publisher_too: bool) -> (World, usize, usize) {
    let mut world = World::new(seed, 1);
    let publisher = world.publish(0, "call");
    if publisher_too {
        world.open_tcp(publisher);
    }
    world.connect();
    let viewer = world.play(0, "call");
    world.open_tcp(viewer);
    world.connect();
    world.run(Duration::from_secs(2));
    (world, publisher, viewer)
}

#[test]
fn a_call_over_tcp_goes_over_tcp_alone() {
    let (mut world, publisher, viewer) = call(1, true);
    world.run(Duration::from_secs(20));
    let until = world.now.instant - Duration::from_millis(200);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    assert_eq!((world.lost_with_tcp, world.strays.len()), (0, 0));
    assert_eq!(world.servers[0].engine.sizes().sources, 2);
}

#[test]
fn a_closed_connection_is_sent_nothing_and_the_next_one_takes_over() {
    let (mut world, publisher, viewer) = call(2, false);
    for opens_anew in [true, false] {
        world.close_tcp(viewer);
        if opens_anew {
            world.open_tcp(viewer);
        }
        let received = world.clients[viewer].received.len();
        let moved = world.run_until(Duration::from_secs(10), |world| {
            world.clients[viewer].received.len() > received
        });
        assert!(moved, "by way of TCP: {opens_anew}");
        assert_eq!(world.lost_with_tcp, 0, "a route to a closed connection");
        assert_eq!(world.servers[0].engine.sizes().sources, 2);
        world.run(Duration::from_secs(2));
    }
    assert_eq!(world.counters(0).peers_connected, 2);
    assert!(!world.clients[viewer].has_heard("play_finished"));
    assert!(world.clients[publisher].has_heard("publish_started"));
}

#[test]
fn who_does_not_come_back_ends_as_the_silent_do() {
    let (mut world, _, viewer) = call(3, false);
    world.close_tcp(viewer);
    world.clients[viewer].vanish();
    world.run(Duration::from_secs(26));
    assert_eq!(world.counters(0).peers, 2, "it may come back");
    world.run(Duration::from_secs(6));
    assert_eq!(world.counters(0).peers, 1);
    assert_eq!(world.servers[0].engine.sizes().sources, 1);
    assert_eq!((world.lost_with_tcp, world.strays.len()), (0, 0));
}

#[test]
fn the_gate_knows_connections_not_addresses() {
    let (mut world, publisher, _) = call(4, true);
    let address = world.clients[publisher].address();
    world.clients[publisher].tape = Some(Vec::new());
    world.run(Duration::from_millis(200));
    let tape = world.clients[publisher].tape.take().unwrap_or_default();
    let media = tape
        .into_iter()
        .find(|d| d.first().is_some_and(|b| *b >= 128));
    let media = media.expect("media on the tape");
    let before = world.dropped(DropReason::UnvalidatedSource);
    let genuine = world.tcp[&address];
    world.open_tcp(publisher);
    world.inject(0, address, &media);
    world.run(Duration::from_millis(1));
    world.tcp.remove(&address);
    world.inject(0, address, &media);
    world.run(Duration::from_millis(1));
    world.tcp.insert(address, genuine);
    assert_eq!(world.dropped(DropReason::UnvalidatedSource), before + 2);
}
