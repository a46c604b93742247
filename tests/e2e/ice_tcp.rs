//! Clients that UDP does not reach: their media goes over TCP (RFC 6544).

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use leafcutter::base::codec::MediaKind;
use leafcutter::base::limits::MAX_TCP_BACKLOG_LEN;
use leafcutter::bench::Feedback;
use leafcutter::bench::client::{Client, Phase, Role};
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use leafcutter::bench::process;
use leafcutter::bench::traffic::Shape;
use serde_json::{Value, json};

use crate::attack::Watch;
use crate::clients::{PATIENCE, SHAPES};
use crate::server::Server;

fn fleet(server: &Server, over_tcp: bool, seed: u64) -> Fleet {
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, seed).unwrap();
    fleet.set_over_tcp(over_tcp);
    fleet
}

fn publish(fleet: &mut Fleet, shapes: &[Shape]) {
    let role = fleet.publisher(shapes);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(publisher, &json!({}));
    let live = fleet.run_until(PATIENCE, |clients| {
        clients[publisher].heard == ["publish_started"]
    });
    assert!(live, "{:?}", fleet.clients[publisher]);
}

fn has_verified(client: &Client, packets: u64) -> bool {
    match &client.role {
        Role::Viewer(viewer) => viewer.tally.verified > packets,
        Role::Publisher { .. } => true,
    }
}

fn assert_whole(client: &Client) {
    if let Role::Viewer(viewer) = &client.role {
        assert_eq!(viewer.tally.damaged, 0);
        let (expected, came) = viewer.continuity();
        assert!(expected > 0);
        assert_eq!(expected, came, "{:?}", viewer.tally);
    }
}

/// The value of a sample of `/metrics`.
fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").body;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
}

/// Where a worker takes media over TCP, out of its offer.
fn tcp_address(server: &Server) -> SocketAddr {
    let mut socket = server.websocket("/live/websocket");
    let play = json!({"command": "play", "streamId": "s"});
    socket.send(play.to_string().into()).unwrap();
    loop {
        let text = socket.read().unwrap().into_text().unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let Some(candidate) = message["candidate"].as_str() else {
            continue;
        };
        let words: Vec<&str> = candidate.split(' ').collect();
        if words[2] == "tcp" {
            assert_eq!(words[6..], ["typ", "host", "tcptype", "passive"]);
            return SocketAddr::new([127, 0, 0, 1].into(), words[5].parse().unwrap());
        }
    }
}

#[test]
fn publisher_and_viewers_over_tcp_and_udp_get_every_packet_whole() {
    let server = Server::start(&["--workers", "2", "--media-tcp-port", "0"]);
    let mut fleet = fleet(&server, true, 1);
    publish(&mut fleet, &SHAPES);
    for over_tcp in [true, true, false] {
        fleet.set_over_tcp(over_tcp);
        let viewer = fleet.open("s", Role::viewer(true)).unwrap();
        fleet.ask(viewer, &json!({}));
    }
    let served = fleet.run_until(PATIENCE, |clients| {
        clients.iter().all(|client| has_verified(client, 300))
    });
    assert!(served, "{:?}", fleet.census());
    fleet.clients.iter().for_each(assert_whole);

    let peers = server.get("/live/rest/v2/peers/0/50").body;
    let peers: Value = serde_json::from_str(&peers).unwrap();
    let peers = peers.as_array().unwrap();
    let count = |protocol| {
        let with = peers.iter().filter(|peer| peer["protocol"] == protocol);
        with.count()
    };
    assert_eq!((count("tcp"), count("udp")), (3, 1), "{peers:?}");
    assert_eq!(metric(&server, "leafcutter_tcp_conns"), 3.0);
    let accepted = "leafcutter_tcp_conns_opened_total{result=\"accepted\"}";
    assert_eq!(metric(&server, accepted), 3.0);
}

/// It fills its queue, what does not fit is dropped, and after a while it is let go; a viewer
/// beside it is served as if it were not there.
#[test]
fn a_viewer_over_tcp_that_stops_reading_harms_nobody() {
    let video = Shape {
        kind: MediaKind::Video,
        fps: 30.0,
        pps: 600.0,
        payload_len: 1000,
    };
    let server = Server::start(&["--workers", "1", "--media-tcp-port", "0"]);
    let mut good = fleet(&server, false, 2);
    publish(&mut good, &[SHAPES[0], video]);
    let viewer = good.open("s", Role::viewer(true)).unwrap();
    good.ask(viewer, &json!({}));
    let mut bad = fleet(&server, true, 3);
    let stalled = bad.open("s", Role::viewer_with(true, Feedback::None));
    let stalled = stalled.unwrap();
    bad.ask(stalled, &json!({}));
    let mut plays = false;
    let both = good.run_until(PATIENCE, |clients| {
        bad.turn(Duration::from_millis(1));
        plays |= has_verified(&bad.clients[stalled], 100);
        plays && has_verified(&clients[viewer], 100)
    });
    assert!(both, "{:?} {:?}", bad.census(), good.census());

    let resident = process::resident_len(server.pid()).unwrap();
    let dropped = "leafcutter_packets_dropped_total{reason=\"tcp_full\"}";
    let mut was_full = false;
    let let_go = good.run_until(PATIENCE, |_| {
        was_full |= metric(&server, dropped) > 0.0;
        metric(&server, "leafcutter_tcp_slow_readers_total") > 0.0
    });
    assert!(was_full && let_go, "full: {was_full}, let go: {let_go}");
    let grown = process::resident_len(server.pid()).unwrap();
    let grown = grown.saturating_sub(resident);
    println!("{} KiB more memory", grown / 1024);
    assert!(
        grown < 16 * MAX_TCP_BACKLOG_LEN as u64,
        "{grown} bytes more"
    );
    assert_eq!(metric(&server, "leafcutter_tcp_conns"), 0.0);
    assert_whole(&good.clients[viewer]);
    assert_eq!(good.clients[viewer].phase, Phase::Connected);
}

#[test]
fn a_flood_of_connections_stays_within_its_limit_and_costs_viewers_nothing() {
    let settings = "[limits]\nmax_sockets = 50\n";
    let server = Server::start_with(settings, &["--workers", "1", "--media-tcp-port", "0"]);
    let mut watch = Watch::begin(&server);
    let at = tcp_address(&server);
    let stun = [
        0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2,
    ];
    let hostile: [&[u8]; 6] = [
        &[],
        &[0],
        &[5, 220, 0, 1],
        &stun,
        &[0xff; 4096],
        &[0, 0, 0, 0, 0, 0],
    ];
    let resident = process::resident_len(server.pid()).unwrap();
    let mut sockets = Vec::new();
    for round in 0..300 {
        let mut socket = TcpStream::connect(at).unwrap();
        // Who was refused may know it already.
        let _ = socket.write_all(hostile[round % hostile.len()]);
        sockets.push(socket);
        watch.turn_for(Duration::from_millis(2));
    }
    let refused = "leafcutter_tcp_conns_opened_total{result=\"refused\"}";
    let (open, refused) = (
        metric(&server, "leafcutter_tcp_conns"),
        metric(&server, refused),
    );
    println!("{open} open, {refused} refused");
    assert!(open > 0.0 && open <= 50.0, "{open}");
    assert!(refused > 0.0);
    let mut left = open;
    for _ in 0..PATIENCE.as_secs() {
        watch.turn_for(Duration::from_secs(1));
        left = metric(&server, "leafcutter_tcp_conns");
        if left == 0.0 {
            break;
        }
    }
    assert_eq!(left, 0.0, "those of nobody end");
    drop(sockets);
    watch.assert_nothing_lost();
    let grown = process::resident_len(server.pid()).unwrap();
    assert!(grown.saturating_sub(resident) < 16 << 20, "{grown} bytes");
}
