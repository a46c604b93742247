//! The log: whose addresses and secrets are not in it, and its form for machines.

use std::net::TcpStream;

use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::WebSocket;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Server, once, ping};
use crate::whip::{OFFER, SDP};

const KEY: &str = "a-key-of-the-whole-application-4711";

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let settings = format!(
        "[server]\nworkers = 1\n\
         [app.guarded]\njwtStreamSecretKey = \"{KEY}\"\npublishJwtControlEnabled = true\n\
         [app.brief]\nwebRTCClientStartTimeoutMs = 200\n"
    );
    std::fs::write(directory.path().join("leafcutter.toml"), settings).unwrap();
    directory
}

/// A publish that connects, two that are refused for their tokens, one over WHIP that never
/// connects, and a WebSocket from elsewhere; returns what may not be in the log.
fn live(server: &Server) -> Vec<String> {
    let mut secrets = vec![KEY.to_owned()];
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(
        publisher,
        &json!({"token": "a-token-that-nobody-asked-for"}),
    );
    secrets.push("a-token-that-nobody-asked-for".to_owned());
    let live = fleet.run_until(PATIENCE, |clients| {
        clients[publisher].heard == ["publish_started"]
    });
    assert!(live, "{:?}", fleet.clients[publisher]);
    secrets.extend(
        fleet.clients[publisher]
            .port()
            .map(|port| format!("127.0.0.1:{port}")),
    );

    for (app, token) in [
        ("guarded", "eyJhbGciOi.guessed.once"),
        ("brief", "bearer-815"),
    ] {
        let bearer = format!("{SDP}Authorization: Bearer {token}\r\nX-Real-IP: 203.0.113.77\r\n");
        let answer = server.send(
            "POST",
            &format!("/{app}/whip/w?token=in-the-query"),
            &bearer,
            OFFER,
        );
        assert_eq!(
            answer.status,
            if app == "brief" { 201 } else { 401 },
            "{answer:?}"
        );
        secrets.push(token.to_owned());
    }
    secrets.push("in-the-query".to_owned());

    let mut far: WebSocket<TcpStream> = server.websocket_of("203.0.113.77").unwrap();
    ping(&mut far);
    let text = json!({"command": "publish", "streamId": "t", "token": "guessed-again"});
    far.send(text.to_string().into()).unwrap();
    far.read().unwrap();
    let port = far.get_ref().local_addr().unwrap().port();
    far.close(None).unwrap();
    while far.read().is_ok() {}
    secrets.extend([
        "guessed-again".to_owned(),
        "203.0.113.77".to_owned(),
        format!("127.0.0.1:{port}"),
    ]);
    // Until the WebSocket is closed and the WHIP publish has failed; lines take their time.
    let is_end = |line: &str| {
        let names = ["stream=w ", "\"stream\":\"w\""];
        line.contains("publish ended") && names.iter().any(|name| line.contains(name))
    };
    let look = || {
        let log = server.log();
        (log.contains("127.0.x.x") && log.lines().any(is_end)).then_some(())
    };
    once(look, || server.log());
    secrets
}

#[test]
fn neither_secrets_nor_whole_addresses_are_logged() {
    let server = Server::start_logged(directory());
    let secrets = live(&server);
    let log = server.log();
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    assert!(
        log.contains("connected") && log.contains("127.0.x.x"),
        "{log}"
    );
}

#[test]
fn every_line_of_a_log_for_machines_is_an_object() {
    let mut server = Server::start_logged_with(directory(), &["--log-format", "json"]);
    live(&server);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |name: &str| {
            event[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name}: {line}"))
        };
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG"].contains(&text("level")),
            "{line}"
        );
        assert!(!text("message").is_empty(), "{line}");
        // RFC 3339, in UTC.
        let time = text("timestamp");
        assert!(
            time.len() >= 20 && &time[10..11] == "T" && time.ends_with('Z'),
            "{line}"
        );
    }
    assert!(log.contains("\"message\":\"connected\""), "{log}");
}
