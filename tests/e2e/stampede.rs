//! Hundreds of viewers join at once while others play: the others lose nothing.

use leafcutter::bench::client::{Client, Role};
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::json;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::Server;

const PLAYING: usize = 10;
const JOINING: usize = 200;

#[test]
fn viewers_lose_nothing_while_hundreds_join_at_once() {
    let server = Server::start(&["--workers", "1"]);
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 11).unwrap();
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(publisher, &json!({}));
    let live = fleet.run_until(PATIENCE, |clients| {
        clients[publisher].heard == ["publish_started"]
    });
    assert!(live, "{:?}", fleet.clients[publisher]);
    let playing: Vec<usize> = (0..PLAYING)
        .map(|_| fleet.open("s", Role::viewer(true)).unwrap())
        .collect();
    for &at in &playing {
        fleet.ask(at, &json!({}));
    }
    let all_play =
        |clients: &mut Vec<Client>, of: &[usize]| of.iter().all(|&at| plays(&clients[at]));
    assert!(fleet.run_until(PATIENCE, |clients| all_play(clients, &playing)));

    let joining: Vec<usize> = (0..JOINING)
        .map(|_| fleet.open("s", Role::viewer(false)).unwrap())
        .collect();
    for &at in &joining {
        fleet.ask(at, &json!({}));
    }
    let joined = fleet.run_until(2 * PATIENCE, |clients| all_play(clients, &joining));
    assert_eq!(fleet.census().1, Vec::<&str>::new(), "nobody failed");
    assert!(joined, "everybody plays");
    for &at in &playing {
        let Role::Viewer(viewer) = &fleet.clients[at].role else {
            continue;
        };
        let (expected, came) = viewer.continuity();
        assert_eq!(expected, came, "{:?}", viewer.tally);
        assert_eq!(viewer.tally.damaged, 0);
    }
}

/// True once both tracks flow.
fn plays(client: &Client) -> bool {
    match &client.role {
        Role::Viewer(viewer) => viewer.tracks() == (2, 2),
        Role::Publisher { .. } => false,
    }
}
