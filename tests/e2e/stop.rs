//! The end of the process.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::server::{Server, ping};

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
