//! Workers that share a port, where every datagram arrives at one that does not own its peer.

use std::net::SocketAddr;
use std::time::Duration;

use leafcutter::base::fault::DropReason;
use leafcutter::base::limits::MAX_STRANGERS_PASSED;
use leafcutter::sdp::IceParameters;

use crate::bare::{Bare, Negotiated, Rtp, UFRAG, binding_request, take};
use crate::check::assert_all_arrived;
use crate::seeds;
use crate::world::World;

/// Addresses that each engine knows to be somebody's.
fn claims(world: &World) -> Vec<usize> {
    let servers = world.servers.iter();
    servers.map(|s| s.engine.sizes().claims).collect()
}

/// Addresses of each engine's own peers.
fn sources(world: &World) -> Vec<usize> {
    let servers = world.servers.iter();
    servers.map(|s| s.engine.sizes().sources).collect()
}

/// A broadcast on engine 0 of three, with a viewer on each.
fn call(seed: u64) -> (World, usize, [usize; 3]) {
    let mut world = World::on_one_port(seed, 3);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers = [0, 1, 2].map(|worker| world.play(worker, "call"));
    world.connect();
    (world, publisher, viewers)
}

/// Sends a genuine packet to engine `at`; true when it was taken, by whichever engine.
fn is_taken(world: &mut World, at: usize, from: SocketAddr, peer: &Bare, seq: u16) -> bool {
    let received = |world: &World| {
        let workers = 0..world.servers.len();
        workers.map(|w| world.counters(w).rtp_received).sum::<u64>()
    };
    let before = received(world);
    let datagram = peer.rtp(&Rtp::opus(seq));
    world.inject(at, from, &datagram);
    world.run(Duration::from_millis(2));
    received(world) > before
}

#[test]
fn a_call_goes_on_wherever_its_datagrams_arrive() {
    seeds::for_each(3, |seed| {
        let (mut world, publisher, viewers) = call(seed);
        world.run(Duration::from_secs(3));
        let until = world.now.instant - Duration::from_millis(100);
        for viewer in viewers {
            assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
        }
        assert_eq!(claims(&world), [4, 4, 4]);
        assert_eq!(sources(&world), [2, 1, 1]);
        assert!(world.counters(1).passed > world.rtp_sent, "the publisher's");
        assert!(world.counters(0).passed > 0 && world.counters(2).passed > 0);
        assert_eq!(world.dropped(DropReason::QueueFull), 0);
        assert_eq!(world.dropped(DropReason::UnknownUfrag), 0);
    });
}

#[test]
fn workers_with_ports_of_their_own_pass_nothing() {
    let mut world = World::new(1, 2);
    let publisher = world.publish(0, "call");
    world.connect();
    let from = world.network.public(publisher);
    world.clients[publisher].tape = Some(Vec::new());
    world.run(Duration::from_secs(6));
    let tape = world.clients[publisher].tape.take().unwrap_or_default();
    assert_eq!(claims(&world), [0, 0]);
    for datagram in &tape {
        world.inject(1, from, datagram);
    }
    world.run(Duration::from_millis(2));
    assert_eq!(world.counters(1).passed, 0);
    assert!(world.dropped(DropReason::UnknownUfrag) > 0, "STUN");
    assert!(world.dropped(DropReason::UnvalidatedSource) > 0, "media");
}

#[test]
fn a_client_is_found_at_its_new_address() {
    let (mut world, publisher, viewers) = call(2);
    world.run(Duration::from_secs(1));
    for client in [publisher, viewers[1]] {
        world.network.rebind(client);
    }
    world.run(Duration::from_secs(4));
    let moved = world.now.instant;
    world.run(Duration::from_secs(2));
    for viewer in viewers {
        let received = world.clients[viewer].received.iter();
        let after = received.filter(|packet| packet.at > moved).count();
        assert!(after > 200, "{after} packets in two seconds");
    }
    // Both addresses of either: the old one is kept until there are too many, or the peer ends.
    assert_eq!(claims(&world), [6, 6, 6]);
    let asked = world.clients[publisher].key_frame_requests.len();
    let now = world.now.instant;
    world.clients[viewers[1]].request_key_frame(now);
    world.run(Duration::from_secs(1));
    let requests = world.clients[publisher].key_frame_requests.len();
    assert_eq!(requests, asked + 1, "feedback is passed too");
}

#[test]
fn addresses_of_a_peer_that_ended_are_let_go_everywhere() {
    let (mut world, _, viewers) = call(3);
    let from = world.network.public(viewers[1]);
    world.clients[viewers[1]].tape = Some(Vec::new());
    world.run(Duration::from_secs(1));
    let tape = world.clients[viewers[1]].tape.take().unwrap_or_default();
    world.say(viewers[1], serde_json::json!({ "command": "stop" }));
    world.clients[viewers[1]].vanish();
    world.run(Duration::from_secs(1));
    assert_eq!(claims(&world), [3, 3, 3]);
    let before = world.dropped(DropReason::UnvalidatedSource);
    let passed = world.counters(2).passed;
    let feedback = tape.iter().find(|d| d.first().is_some_and(|b| *b >= 128));
    world.inject(2, from, feedback.expect("feedback on the tape"));
    world.run(Duration::from_millis(2));
    assert_eq!(world.dropped(DropReason::UnvalidatedSource), before + 1);
    assert_eq!(world.counters(2).passed, passed);

    world.close(viewers[2]);
    world.clients[viewers[2]].vanish();
    world.run(Duration::from_secs(1));
    assert_eq!(claims(&world), [2, 2, 2]);
}

#[test]
fn an_ice_restart_keeps_its_worker() {
    let mut world = World::on_one_port(4, 2);
    let negotiated = Negotiated::publisher(&mut world, 0, "call");
    let conn = negotiated.conn;
    let peer = negotiated.connect(&mut world);
    let remote = IceParameters {
        ufrag: UFRAG.to_owned(),
        pwd: "another-password-of-a-restart".to_owned(),
    };
    let now = world.now;
    let local = world.servers[0].engine.restart_ice(now, conn, &remote);
    let ice = local.expect("a peer").ice;
    let sdp = format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd);

    let fresh = world.network.fresh_address();
    assert!(!is_taken(&mut world, 1, fresh, &peer, 1), "before a check");
    world.inject(1, fresh, &binding_request(&sdp, None));
    world.run(Duration::from_millis(2));
    assert_eq!(take(&mut world, fresh).len(), 1, "the answer");
    assert_eq!(claims(&world), [2, 2]);
    for (seq, at) in [(2, 0), (3, 1)] {
        assert!(is_taken(&mut world, at, fresh, &peer, seq));
    }
    assert_eq!(world.dropped(DropReason::UnknownUfrag), 0);
}

/// Who sees a viewer's address and a user fragment of another worker can write a check that names
/// both, but not sign it.
#[test]
fn a_forged_check_moves_no_address() {
    let (mut world, publisher, viewers) = call(5);
    let stranger = Negotiated::publisher(&mut world, 0, "other");
    world.run(Duration::from_secs(1));
    let from = world.network.public(viewers[1]);
    let forged = binding_request(&stranger.remote_sdp, Some("not-the-password-at-all"));
    let passed: Vec<_> = (0..3).map(|worker| world.counters(worker).passed).collect();
    let known = claims(&world);
    for worker in [0, 1, 2] {
        world.inject(worker, from, &forged);
    }
    world.run(Duration::from_millis(1));
    assert_eq!(world.dropped(DropReason::StunRejected), 3);
    assert_eq!(claims(&world), known);
    assert!(world.counters(1).passed > passed[1]);
    world.run(Duration::from_secs(2));
    let until = world.now.instant - Duration::from_millis(100);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewers[1]], until);
    assert!(!world.clients[viewers[1]].has_heard("play_finished"));
}

#[test]
fn a_request_is_passed_once_at_most_and_only_where_there_is_somebody() {
    let mut world = World::on_one_port(6, 2);
    let stranger = world.network.fresh_address();
    let request = |ufrag: &str| {
        let sdp = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:a-password-of-22-letters\r\n");
        binding_request(&sdp, None)
    };
    // Worker 1, who knows no such peer; this one; one that there is not; no worker at all.
    for (ufrag, passes) in [
        ("ABabcdefgh", 1),
        ("AAabcdefgh", 0),
        ("AJabcdefgh", 0),
        ("abcdefgh", 0),
    ] {
        let dropped = world.dropped(DropReason::UnknownUfrag);
        let passed = world.counters(0).passed;
        world.inject(0, stranger, &request(ufrag));
        world.run(Duration::from_millis(2));
        assert_eq!(world.counters(0).passed, passed + passes, "{ufrag}");
        assert_eq!(world.dropped(DropReason::UnknownUfrag), dropped + 1);
    }
    assert_eq!(world.counters(1).passed, 0, "not back again");

    // A flood in one turn.
    let limit = MAX_STRANGERS_PASSED as u64;
    let passed = world.counters(0).passed;
    for _ in 0..10 * limit {
        world.inject(0, stranger, &request("ABabcdefgh"));
    }
    world.run(Duration::from_millis(2));
    assert_eq!(world.counters(0).passed, passed + limit);
    assert_eq!(world.dropped(DropReason::QueueFull), 9 * limit);
    assert_eq!(claims(&world), [0, 0]);
}

/// A client ends one peer connection and takes the port for the next one.
#[test]
fn of_two_peers_at_one_address_the_later_one_has_it() {
    let mut world = World::on_one_port(7, 3);
    let first = Negotiated::publisher(&mut world, 0, "first");
    let conn = first.conn;
    let first = first.connect(&mut world);
    assert!(is_taken(&mut world, 2, first.address, &first, 1));

    let mut second = Negotiated::publisher(&mut world, 1, "second");
    second.address = first.address;
    let second = second.connect(&mut world);
    assert_eq!(
        (claims(&world), sources(&world)),
        (vec![1; 3], vec![0, 1, 0])
    );
    for (seq, at) in [(1, 0), (2, 1), (3, 2)] {
        assert!(is_taken(&mut world, at, second.address, &second, seq));
    }
    assert!(!is_taken(&mut world, 2, first.address, &first, 2));

    // The end of the one that had it before changes nothing.
    world.close_conn(conn);
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters(0).peers, 0);
    assert_eq!(claims(&world), [1, 1, 1]);
    assert!(is_taken(&mut world, 0, second.address, &second, 4));
}
