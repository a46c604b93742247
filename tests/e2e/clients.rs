//! Real clients over real sockets: the load tester's own WebRTC client publishes and plays.

use std::time::Duration;

use leafcutter::base::codec::MediaKind;
use leafcutter::bench::client::Role;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use leafcutter::bench::traffic::Shape;
use serde_json::json;

use crate::server::Server;

/// A small talking head.
pub const SHAPES: [Shape; 2] = [
    Shape {
        kind: MediaKind::Audio,
        fps: 50.0,
        pps: 50.0,
        payload_len: 80,
    },
    Shape {
        kind: MediaKind::Video,
        fps: 30.0,
        pps: 60.0,
        payload_len: 900,
    },
];

/// Longer than any of this takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn two_viewers_get_every_packet_whole() {
    serve_two_viewers(&Server::start(&["--workers", "2"]));
}

/// The clients go where their WebSocket went.
#[test]
fn ipv6_is_served_beside_ipv4() {
    serve_two_viewers(&Server::start(&["--listen", "[::1]:0"]));
}

fn serve_two_viewers(server: &Server) {
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(publisher, &json!({}));
    let live = fleet.run_until(PATIENCE, |clients| {
        clients[publisher].heard == ["publish_started"]
    });
    assert!(live, "{:?}", fleet.clients[publisher]);
    for _ in 0..2 {
        let viewer = fleet.open("s", Role::viewer(true)).unwrap();
        fleet.ask(viewer, &json!({}));
    }
    let served = fleet.run_until(PATIENCE, |clients| {
        clients.iter().all(|client| match &client.role {
            Role::Viewer(viewer) => viewer.tally.verified > 300 && viewer.tracks() == (2, 2),
            Role::Publisher { .. } => true,
        })
    });
    for client in &fleet.clients {
        if let Role::Viewer(viewer) = &client.role {
            assert!(served, "{:?} {:?}", client.phase, viewer.tally);
            assert_eq!(viewer.tally.damaged, 0);
            let (expected, came) = viewer.continuity();
            assert_eq!(expected, came);
            let heard = client.heard.iter();
            let told: Vec<&String> = heard.filter(|word| *word != "bitrateMeasurement").collect();
            assert_eq!(told, ["play_started"]);
        }
    }
}
