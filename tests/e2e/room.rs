//! A room of twenty renegotiates at every arrival while two hundred sockets ping.

use std::time::Duration;

use leafcutter::bench::client::{Client, Phase, Role};
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::json;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::Server;

const PARTIES: usize = 20;
const PINGERS: usize = 200;

#[test]
fn pings_are_answered_while_a_room_of_twenty_renegotiates() {
    let server = Server::start(&["--workers", "2"]);
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 7).unwrap();
    let pingers: Vec<usize> = (0..PINGERS)
        .map(|_| fleet.open("nothing", Role::viewer(false)).unwrap())
        .collect();
    let mut pings = Pings::default();
    let mut viewers = Vec::new();
    for party in 0..PARTIES {
        let own = format!("party{party}");
        let role = fleet.publisher(&SHAPES);
        let publisher = fleet.open(&own, role).unwrap();
        fleet.ask(publisher, &json!({"mainTrack": "room"}));
        pings.run_until(&mut fleet, &pingers, |clients| {
            clients[publisher].phase == Phase::Connected
        });
        let viewer = fleet.open("room", Role::viewer(false)).unwrap();
        fleet.ask(viewer, &json!({"userPublishId": own}));
        viewers.push(viewer);
        pings.run_until(&mut fleet, &pingers, |clients| {
            clients[viewer].phase == Phase::Connected || party == 0
        });
    }
    let everybody = 2 * (PARTIES - 1);
    pings.run_until(&mut fleet, &pingers, |clients| {
        let is_full = |&at: &usize| tracks(&clients[at]) == (everybody, everybody);
        viewers.iter().all(is_full)
    });
    println!("{} pings, slowest {:?}", pings.sent, pings.slowest);
    assert!(pings.sent > PINGERS as u64);
    assert_eq!(fleet.census().1, Vec::<&str>::new(), "nobody failed");
}

/// Tracks offered to a viewer, and those that flow.
fn tracks(client: &Client) -> (usize, usize) {
    match &client.role {
        Role::Viewer(viewer) => viewer.tracks(),
        Role::Publisher { .. } => (0, 0),
    }
}

/// Rounds of pings: every socket asks once a round, and the round ends with the last answer.
#[derive(Default)]
struct Pings {
    sent: u64,
    slowest: Duration,
}

impl Pings {
    /// Pings in rounds until `done`.
    fn run_until(
        &mut self,
        fleet: &mut Fleet,
        pingers: &[usize],
        mut done: impl FnMut(&[Client]) -> bool,
    ) {
        let end = fleet.now().instant + 3 * PATIENCE;
        loop {
            let asked = fleet.now().instant;
            assert!(asked < end, "the room did not get there");
            for &at in pingers {
                fleet.clients[at].heard.clear();
                fleet.clients[at].say(&json!({"command": "ping"}));
            }
            self.sent += pingers.len() as u64;
            let answered = fleet.run_until(PATIENCE, |clients| {
                pingers.iter().all(|&at| clients[at].heard == ["pong"])
            });
            assert!(answered, "a ping was not answered");
            self.slowest = self.slowest.max(fleet.now().instant - asked);
            if done(&fleet.clients) {
                return;
            }
            fleet.run_until(Duration::from_millis(20), |clients| done(clients));
        }
    }
}
