//! The end of the process.

use std::fs::{self, OpenOptions};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use leafcutter::bench::client::Role;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Answer, Server, once, ping};
use crate::whip::{OFFER, SDP};

#[test]
fn sigterm_tells_every_socket_closes_it_and_exits_0() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut sockets: Vec<_> = (0..3)
        .map(|_| server.websocket("/live/websocket"))
        .collect();
    sockets.iter_mut().for_each(ping);
    server.signal("TERM");
    for socket in &mut sockets {
        let text = socket.read().unwrap().into_text().unwrap();
        assert!(text.contains("\"server_will_stop\""), "{text}");
        assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_answer_the_close_does_not_hold_up_the_end() {
    let mut server = Server::start(&["--workers", "1"]);
    let mut socket = server.websocket("/live/websocket");
    ping(&mut socket);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "measures the real process")]
fn sigint_without_sockets_exits_0_at_once() {
    let mut server = Server::start(&[]);
    let begin = Instant::now();
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_second_signal_ends_it_without_waiting() {
    let mut server = Server::start(&["--workers", "1"]);
    let mut socket = server.websocket("/live/websocket");
    ping(&mut socket);
    server.signal("TERM");
    while TcpStream::connect(server.addr).is_ok() {
        std::thread::yield_now();
    }
    // The worker waits up to a second for the answer to its close frame, which never comes.
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
}

/// A server with a publish over WHIP that may take its time to connect, and to leave.
fn start_with_a_publish(stream: &str) -> (Server, String) {
    let settings = "[server]\ndrain_timeout = 600\n\
                    [app.live]\nwebRTCClientStartTimeoutMs = 60000\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let made = whip(&server, stream);
    assert_eq!(made.status, 201, "{made:?}");
    let location = made.header("location").to_owned();
    (server, location)
}

fn whip(server: &Server, stream: &str) -> Answer {
    server.send("POST", &format!("/live/whip/{stream}"), SDP, OFFER)
}

/// Asks until it is told that the server is stopping: the signal takes its time.
fn until_not_ready(server: &Server) {
    let look = || {
        let ready = server.get("/readyz");
        (ready.status == 503).then_some(ready.body)
    };
    assert_eq!(once(look, || "it is ready".to_owned()), "stopping\n");
}

#[test]
fn while_it_drains_newcomers_are_sent_elsewhere_and_those_who_are_there_may_leave() {
    let (mut server, location) = start_with_a_publish("one");
    server.signal("TERM");
    until_not_ready(&server);
    let refused = whip(&server, "two");
    assert_eq!(refused.status, 503, "{refused:?}");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(server.websocket_of("203.0.113.7").err(), Some(503));
    assert_eq!(server.get("/healthz").status, 503);
    assert_eq!(server.get("/metrics").status, 200);
    assert_eq!(server.request("DELETE", &location, "").status, 200);
    assert_eq!(server.wait().code(), Some(0), "nobody is left");
}

#[test]
fn a_second_signal_ends_the_drain() {
    let (mut server, _) = start_with_a_publish("one");
    server.signal("TERM");
    until_not_ready(&server);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn who_was_there_and_what_was_on_air_is_noted_at_the_end() {
    let server = Server::start(&["--workers", "2"]);
    let broadcasts = "/live/rest/v2/broadcasts";
    server.rest(
        "POST",
        &format!("{broadcasts}/create"),
        &json!({"streamId": "s"}),
    );
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(publisher, &json!({}));
    assert!(fleet.run_until(PATIENCE, |clients| clients[publisher].heard
        == ["publish_started"]));
    let viewer = fleet.open("s", Role::viewer(true)).unwrap();
    fleet.ask(viewer, &json!({"subscriberId": "anna"}));
    let plays = fleet.run_until(PATIENCE, |clients| {
        clients[viewer].heard.contains(&"play_started".to_owned())
    });
    assert!(plays, "{:?}", fleet.clients[viewer]);

    server.signal("TERM");
    let server = Server::start_in(server.ended(), &[]);
    let kept = server.rest("GET", &format!("{broadcasts}/s"), &Value::Null);
    assert_eq!(kept["status"], "finished", "{kept}");
    let path = format!("{broadcasts}/s/connection-events/0/50?subscriberId=anna");
    let events = server.rest("GET", &path, &Value::Null);
    let kinds = events.as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|event| event["eventType"].as_str()).collect();
    assert_eq!(kinds, [Some("connected"), Some("disconnected")]);
}

#[test]
fn a_file_that_does_not_answer_holds_up_neither_other_looks_nor_the_end() {
    let server = Server::start_with("", &[]);
    // The settings file becomes a pipe, into which nobody writes.
    let path = server.directory().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    fs::rename(&path, server.directory().join("leafcutter.toml")).unwrap();
    let mut options = OpenOptions::new();
    let path = server.directory().join("leafcutter.toml");
    // Returns when the server has begun to read.
    let silent = options.write(true).open(path).unwrap();
    // What is looked at once a second is looked at all the same: a lost database is made anew.
    let data = server.directory().join("leafcutter-data/leafcutter.db");
    for _ in 0..2 {
        fs::remove_file(&data).unwrap();
        let look = || data.exists().then_some(());
        once(look, || "nobody looks at the database".to_owned());
    }
    server.signal("TERM");
    server.ended();
    drop(silent);
}
