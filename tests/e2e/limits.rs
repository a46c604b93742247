//! `[limits]`: what one address, or one WebSocket, may take.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use leafcutter::worker::clock::Clock;
use serde_json::json;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::server::{Server, once, ping};

#[test]
fn an_address_has_so_many_websockets_and_another_has_its_own() {
    let settings = "[limits]\nmax_sockets_per_address = 3\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let mut held: Vec<_> = (0..3)
        .map(|_| server.websocket_of("203.0.113.7").unwrap())
        .collect();
    held.iter_mut().for_each(ping);
    assert_eq!(server.websocket_of("203.0.113.7").err(), Some(503));
    ping(&mut server.websocket_of("203.0.113.8").unwrap());
    ping(&mut server.websocket("/live/websocket"));
    held.pop();
    // The worker notices the end of the other one in its own time.
    let look = || server.websocket_of("203.0.113.7").ok();
    once(look, || "its place is not free again".to_owned());
}

#[test]
fn all_together_have_so_many() {
    let settings = "[limits]\nmax_sockets = 2\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let mut held = [1, 2].map(|_| server.websocket("/live/websocket"));
    held.iter_mut().for_each(ping);
    assert_eq!(server.websocket_of("203.0.113.9").err(), Some(503));
}

#[test]
fn who_talks_too_much_is_closed_and_nobody_else() {
    let settings = "[limits]\nmax_messages_per_second = 10\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let mut quiet = server.websocket("/live/websocket");
    let mut loud = server.websocket("/live/websocket");
    for _ in 0..100 {
        say(&mut loud, &json!({"command": "ping"}));
    }
    for _ in 0..100 {
        assert!(loud.read().unwrap().into_text().unwrap().contains("pong"));
    }
    for _ in 0..100 {
        // It may be closed by now.
        let _ = loud.send(Message::text("{\"command\":\"ping\"}"));
    }
    let code = loop {
        match loud.read() {
            Ok(Message::Close(frame)) => break frame.unwrap().code,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(code, CloseCode::Policy);
    ping(&mut quiet);
}

#[test]
fn an_address_has_so_many_handshakes_in_progress() {
    let settings = "[limits]\nmax_handshakes_per_address = 2\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let mut socket = server.websocket_of("203.0.113.7").unwrap();
    let mut answers = Vec::new();
    for stream in ["a", "b", "c"] {
        let publish = json!({"command": "publish", "streamId": stream, "video": true});
        say(&mut socket, &publish);
        answers.push(socket.read().unwrap().into_text().unwrap().to_string());
    }
    assert!(answers[1].contains("start"), "{answers:?}");
    assert!(answers[2].contains("highResourceUsage"), "{answers:?}");
    let mut other = server.websocket_of("203.0.113.8").unwrap();
    say(&mut other, &json!({"command": "publish", "streamId": "d"}));
    let text = other.read().unwrap().into_text().unwrap();
    assert!(text.contains("start"), "{text}");
    // Given up: there is room again.
    say(&mut socket, &json!({"command": "stop", "streamId": "a"}));
    let look = || {
        say(&mut socket, &json!({"command": "publish", "streamId": "c"}));
        let text = socket.read().unwrap().into_text().unwrap();
        (text.contains("\"start\"") && text.contains("\"c\"")).then_some(())
    };
    once(look, || "there is no room".to_owned());
}

/// Run again by itself in a network of its own, whose loopback has an address that is none:
/// loopback addresses are not counted.
#[test]
fn idle_http_connections_of_one_address_do_not_keep_others_out() {
    const INSIDE: &str = "LEAFCUTTER_TEST_IS_ALONE";
    const ADDRESS: &str = "192.0.2.1";
    if std::env::var_os(INSIDE).is_none() {
        let name = "limits::idle_http_connections_of_one_address_do_not_keep_others_out";
        let network =
            format!("ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec \"$0\" \"$@\"");
        let output = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c", &network])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let settings = "[limits]\nmax_http_per_address = 4\n";
    let server = Server::start_with(settings, &["--listen", "0.0.0.0:0"]);
    let connect = || TcpStream::connect((ADDRESS, server.addr.port())).unwrap();
    let idle: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    // Accepted in order: the fifth is one too many.
    let closed = connect().read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // Another address is served meanwhile.
    let mut other = TcpStream::connect(("127.0.0.1", server.addr.port())).unwrap();
    write!(other, "GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    other.read_to_string(&mut page).unwrap();
    assert!(page.contains(" 200 "), "{page}");
    drop(idle);
}

/// Loopback is not counted by address, so it may hold all places.
#[test]
fn idle_http_connections_keep_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_limited(directory, "ulimit -n 4096", &[]);
    // By another process, whose descriptors are not ours: as many as there are places, and some.
    // Not faster than the kernel's queue takes them.
    let script = format!(
        "ulimit -n 4096; for i in {{1..1100}}; do exec {{fd}}<>/dev/tcp/127.0.0.1/{}; \
         ((i % 50)) || read -t 0.03; done; echo held; read",
        server.addr.port()
    );
    let mut clock = Clock::start();
    let since = clock.now().instant;
    let mut holder = Command::new("bash")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = String::new();
    let mut lines = BufReader::new(holder.stdout.take().unwrap());
    lines.read_line(&mut held).unwrap();
    assert_eq!(held, "held\n");
    assert_eq!(server.get("/healthz").status, 200);
    // Before the first of them has had the time that an idle connection is given by itself.
    let took = clock.now().instant - since;
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

fn say(socket: &mut WebSocket<TcpStream>, message: &serde_json::Value) {
    socket.send(Message::text(message.to_string())).unwrap();
}
