//! What REST knows of single peers, the end of one, and captures that nobody has allowed.

use std::net::SocketAddr;

use leafcutter::bench::client::Role;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};

use crate::clients::{PATIENCE, SHAPES};
use crate::server::Server;

const BASE: &str = "/live/rest/v2";

#[test]
fn a_peer_is_shown_with_its_path_its_tracks_and_its_events_and_can_be_ended() {
    let server = Server::start(&["--workers", "2"]);
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("seen", role).unwrap();
    fleet.ask(publisher, &json!({}));
    assert!(fleet.run_until(PATIENCE, |clients| clients[publisher].heard
        == ["publish_started"]));
    let viewer = fleet.open("seen", Role::viewer(true)).unwrap();
    fleet.ask(viewer, &json!({"subscriberId": "me"}));

    let peers = || {
        server.rest(
            "GET",
            &format!("{BASE}/peers/0/50?streamId=seen"),
            &Value::Null,
        )
    };
    let of = |peers: &Value, role: &str| {
        let mut peers = peers.as_array().unwrap().iter();
        peers.find(|peer| peer["role"] == role).cloned()
    };
    let mut play = Value::Null;
    let seen = fleet.run_until(PATIENCE, |_| {
        play = of(&peers(), "play").unwrap_or_default();
        let tracks = play["tracks"].as_array();
        play["estimate"].is_number()
            && tracks.is_some_and(|t| t.len() == 2 && t.iter().all(|t| t["packets"] != 0))
    });
    assert!(seen, "{play}");
    assert_eq!(play["state"], "connected");
    assert_eq!(play["subscriberId"], "me");
    for end in ["localAddress", "remoteAddress"] {
        let address = play[end].as_str().unwrap();
        assert!(address.parse::<SocketAddr>().is_ok(), "{play}");
    }
    let events = play["events"].as_array().unwrap().iter();
    let events: Vec<&str> = events.map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(events[..2], ["created", "address validated"]);
    assert!(events.contains(&"connected"), "{events:?}");
    let publish = of(&peers(), "publish").unwrap();
    assert_eq!(publish["tracks"].as_array().unwrap().len(), 2, "{publish}");
    assert_eq!(
        server.rest(
            "GET",
            &format!("{BASE}/peers/0/50?streamId=x"),
            &Value::Null
        ),
        json!([])
    );

    let path = format!("{BASE}/peers/{}", play["peerId"].as_str().unwrap());
    let said = server.rest("POST", &format!("{path}/capture"), &Value::Null);
    assert_eq!(said["success"], false);
    assert!(
        said["message"].as_str().unwrap().contains("capture_dir"),
        "{said}"
    );
    assert_eq!(server.get(&format!("{BASE}/captures/x.pcapng")).status, 404);

    assert_eq!(server.rest("DELETE", &path, &Value::Null)["success"], true);
    let told = fleet.run_until(PATIENCE, |clients| {
        clients[viewer]
            .heard
            .iter()
            .any(|word| word == "play_finished")
    });
    assert!(told, "{:?}", fleet.clients[viewer].heard);
    assert_eq!(
        server.rest("DELETE", &path, &Value::Null)["success"],
        false,
        "it has gone"
    );
    assert!(of(&peers(), "publish").is_some(), "the publisher goes on");
}
