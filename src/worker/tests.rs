//! Workers with real sockets on loopback, port 0, and WebSocket clients behind a handshake that
//! is taken as done.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mio::Token;
use tokio::sync::mpsc::{Receiver, channel};
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::clock::Clock;
use super::conn::{CLOSING_MAX, Conn, End, IDLE_MAX, Next, PING_EVERY};
use super::*;
use crate::base::ids::ConnId;
use crate::base::limits::MAX_MESSAGE_LEN;
use crate::model::mail::WorkerMail;
use crate::model::settings::AppSettings;
use crate::transport::certificate::Certificate;

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

type Client = WebSocket<TcpStream>;

pub(super) fn config(worker: u16) -> Config {
    Config {
        worker: WorkerId(worker),
        media_bind: "127.0.0.1:0".parse().unwrap(),
        port_shared_by: 1,
        tcp_bind: Some("127.0.0.1:0".parse().unwrap()),
        tcp_limits: crate::base::crowd::CrowdLimits::default(),
        announce: Vec::new(),
        even_lengths: true,
        pin_cpu: None,
        seed: [7; 32],
        certificate: Arc::new(Certificate::generate().unwrap()),
        messages_per_s: 0,
    }
}

fn start() -> (Started, Receiver<ControlMail>) {
    let (control, mails) = channel(16);
    let bound = Bound::bind(config(0)).unwrap();
    let inboxes = vec![bound.inbox()];
    (bound.run(inboxes, control).unwrap(), mails)
}

pub(super) fn stop(worker: Started) {
    assert!(worker.inbox().send(Mail::Stop).is_ok());
    worker.join();
}

/// Both ends of a TCP connection, the client's one with a read timeout.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (listener.accept().unwrap().0, client)
}

fn new_conn(stream: TcpStream, read_ahead: Vec<u8>) -> NewConn {
    NewConn {
        remote: stream.peer_addr().unwrap(),
        stream,
        tls: None,
        read_ahead,
        app: "live".into(),
        settings: Arc::new(AppSettings::default()),
        client: Arc::default(),
        place: None,
    }
}

/// A client whose socket `worker` serves.
fn connect(worker: &Started) -> Client {
    let (server, client) = pair();
    let mail = Mail::Conn(new_conn(server, Vec::new()));
    assert!(worker.inbox().send(mail).is_ok());
    WebSocket::from_raw_socket(client, Role::Client, None)
}

/// The next message that is not one of the engine's.
fn read_control(client: &mut Client) -> Result<Message, Error> {
    loop {
        match client.read() {
            Ok(Message::Text(_)) => {}
            other => return other,
        }
    }
}

fn assert_answers_ping(client: &mut Client) {
    let token = Bytes::from_static(b"alive?");
    client.send(Message::Ping(token.clone())).unwrap();
    assert_eq!(read_control(client).unwrap(), Message::Pong(token));
}

pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut clock = Clock::start();
    let until = clock.now().instant + PATIENCE;
    while !holds() {
        assert!(clock.now().instant < until, "{what} did not come true");
        std::thread::yield_now();
    }
}

#[test]
fn answers_pings_takes_text_and_notices_a_client_that_closes() {
    let (worker, _mails) = start();
    let mut client = connect(&worker);
    assert_answers_ping(&mut client);
    wait_until("one connection", || worker.inbox().load().conns() == 1);
    client
        .send(Message::text("{\"command\":\"ping\"}"))
        .unwrap();
    client.send(Message::binary(vec![0xff, 0xfe])).unwrap();
    assert_answers_ping(&mut client);
    client.close(None).unwrap();
    loop {
        match read_control(&mut client) {
            Err(Error::ConnectionClosed) => break,
            other => assert!(matches!(other, Ok(Message::Close(_))), "{other:?}"),
        }
    }
    wait_until("no connection", || worker.inbox().load().conns() == 0);
    stop(worker);
}

#[test]
fn a_client_that_hangs_up_without_goodbye_is_noticed() {
    let (worker, _mails) = start();
    let mut client = connect(&worker);
    assert_answers_ping(&mut client);
    wait_until("one connection", || worker.inbox().load().conns() == 1);
    drop(client);
    wait_until("no connection", || worker.inbox().load().conns() == 0);
    stop(worker);
}

#[test]
fn frames_that_came_with_the_http_request_are_not_lost() {
    let (worker, _mails) = start();
    let (mut server, client) = pair();
    let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
    let token = Bytes::from_static(b"early");
    client.send(Message::Ping(token.clone())).unwrap();
    let mut early = [0; 7];
    server.read_exact(&mut early).unwrap();
    let mail = Mail::Conn(new_conn(server, early.to_vec()));
    assert!(worker.inbox().send(mail).is_ok());
    assert_eq!(read_control(&mut client).unwrap(), Message::Pong(token));
    stop(worker);
}

#[test]
fn what_is_too_long_or_no_websocket_closes_only_its_own_connection() {
    let (worker, _mails) = start();
    let mut good = connect(&worker);
    let mut long = connect(&worker);
    let mut odd = connect(&worker);
    for client in [&mut good, &mut long, &mut odd] {
        assert_answers_ping(client);
    }
    wait_until("three connections", || worker.inbox().load().conns() == 3);
    // The header alone is enough: final text frame, masked, 64-bit length.
    let mut header = vec![0x81, 0xff];
    header.extend_from_slice(&(MAX_MESSAGE_LEN as u64 + 1).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    long.get_mut().write_all(&header).unwrap();
    // Unmasked, which RFC 6455 §5.1 forbids a client.
    odd.get_mut().write_all(&[0x81, 2, b'{', b'}']).unwrap();
    for (client, want) in [
        (&mut long, CloseCode::Size),
        (&mut odd, CloseCode::Protocol),
    ] {
        match read_control(client).unwrap() {
            Message::Close(Some(frame)) => assert_eq!(frame.code, want),
            other => panic!("{other:?}"),
        }
    }
    drop((long, odd));
    wait_until("one connection", || worker.inbox().load().conns() == 1);
    assert_answers_ping(&mut good);
    stop(worker);
}

#[test]
fn the_longest_message_passes_and_a_flood_does_not_starve_others() {
    let (worker, _mails) = start();
    let mut good = connect(&worker);
    let mut flood = connect(&worker);
    assert_answers_ping(&mut flood);
    let text = " ".repeat(MAX_MESSAGE_LEN);
    flood.send(Message::text(text)).unwrap();
    assert_answers_ping(&mut flood);
    // Empty fragments: a text frame that never ends.
    let mut fragments = vec![0x01, 0x80, 0, 0, 0, 0];
    fragments.extend([0x00, 0x80, 0, 0, 0, 0].repeat(50_000));
    flood.get_mut().write_all(&fragments).unwrap();
    assert_answers_ping(&mut good);
    assert_answers_ping(&mut flood);
    stop(worker);
}

#[test]
fn a_stop_closes_the_clients_and_ends_the_thread() {
    let (worker, _mails) = start();
    let mut polite = connect(&worker);
    let silent = connect(&worker);
    assert_answers_ping(&mut polite);
    let inbox = worker.inbox().clone();
    assert!(inbox.send(Mail::Engine(WorkerMail::ServerWillStop)).is_ok());
    assert!(inbox.send(Mail::Stop).is_ok());
    match read_control(&mut polite).unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    worker.join(); // although `silent` never answers
    drop(silent);
}

#[test]
fn datagrams_reach_the_engine_and_are_counted() {
    let (worker, _mails) = start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        socket.send_to(&[0x80; 200], worker.media_addr()).unwrap();
    }
    let load = worker.inbox().load();
    wait_until("100 datagrams", || load.shell().datagrams_received == 100);
    stop(worker);
}

#[test]
fn candidates_are_what_is_announced_or_bound_or_the_hosts_own() {
    let ip = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let mut announced = config(0);
    announced.announce = vec![ip];
    let bound = Bound::bind(announced).unwrap();
    assert_eq!(
        bound.candidates(),
        [SocketAddr::new(ip, bound.media_addr().port())]
    );

    let bound = Bound::bind(config(1)).unwrap();
    assert_eq!(bound.candidates(), [bound.media_addr()]);

    let mut wildcard = config(2);
    wildcard.media_bind = "0.0.0.0:0".parse().unwrap();
    let bound = Bound::bind(wildcard).unwrap();
    let last = bound.candidates().last().unwrap();
    assert_eq!(last.ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(
        bound
            .candidates()
            .iter()
            .filter(|c| c.ip().is_loopback())
            .count(),
        1
    );
    assert!(bound.media_addr().port() > 0);
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let taken = Bound::bind(config(0)).unwrap();
    let mut second = config(1);
    second.media_bind = taken.media_addr();
    let error = Bound::bind(second).unwrap_err().to_string();
    assert!(error.contains(&taken.media_addr().to_string()), "{error}");
}

/// One connection without a worker around it, its client, and a time to begin with.
fn lone_conn() -> (mio::Poll, Conn, TcpStream, std::time::Instant) {
    let poll = mio::Poll::new().unwrap();
    let (server, client) = pair();
    let id = ConnId {
        worker: WorkerId(0),
        serial: 0,
    };
    let now = Clock::start().now().instant;
    let new = new_conn(server, Vec::new());
    let conn = Conn::open(id, new, Token(9), poll.registry(), 0, now).unwrap();
    (poll, conn, client, now)
}

#[test]
fn a_client_that_does_not_read_is_ended_at_the_backlog_limit() {
    let (poll, mut conn, client, _) = lone_conn();
    let text = "x".repeat(64 * 1024);
    let mut sent_len = 0;
    let end = loop {
        match conn
            .send(text.clone())
            .and_then(|()| conn.flush(poll.registry()))
        {
            Ok(()) => sent_len += text.len(),
            Err(end) => break end,
        }
        assert!(sent_len < 256 * 1024 * 1024, "the backlog is bounded");
    };
    assert_eq!(end, End::SlowReader);
    assert!(sent_len >= crate::base::limits::MAX_CONN_BACKLOG_LEN);
    drop(client);
}

#[test]
fn a_backlog_goes_out_when_the_client_reads_again() {
    let (mut poll, mut conn, client, _) = lone_conn();
    let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
    let text = "y".repeat(1024 * 1024);
    let mut queued = 0;
    // Fill the kernel's buffers; stop while the backlog is within its limit.
    for _ in 0..8 {
        match conn
            .send(text.clone())
            .and_then(|()| conn.flush(poll.registry()))
        {
            Ok(()) => queued += 1,
            Err(_) => break,
        }
        if conn.waits_for_room() {
            break;
        }
    }
    let reader = std::thread::spawn(move || {
        for _ in 0..queued {
            assert_eq!(client.read().unwrap().len(), 1024 * 1024);
        }
    });
    let mut events = mio::Events::with_capacity(4);
    while conn.waits_for_room() {
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "room is announced");
        conn.flush(poll.registry()).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn a_silent_client_is_pinged_and_then_given_up() {
    let (poll, mut conn, client, start) = lone_conn();
    assert_eq!(conn.keep_alive(start + PING_EVERY / 2), Ok(false));
    assert_eq!(conn.keep_alive(start + PING_EVERY), Ok(true));
    conn.flush(poll.registry()).unwrap();
    let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
    assert_eq!(client.read().unwrap(), Message::Ping(Bytes::new()));
    assert_eq!(conn.keep_alive(start + IDLE_MAX), Err(End::TimedOut));
}

#[test]
fn a_pong_counts_as_a_sign_of_life() {
    let (_poll, mut conn, client, start) = lone_conn();
    let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
    client.send(Message::Pong(Bytes::new())).unwrap();
    conn.allow();
    wait_until("the pong", || {
        conn.next(start + PING_EVERY) == Next::Nothing
    });
    assert_eq!(conn.keep_alive(start + IDLE_MAX), Ok(true));
    assert_eq!(
        conn.keep_alive(start + IDLE_MAX + PING_EVERY),
        Err(End::TimedOut)
    );
}

#[test]
fn a_close_that_is_not_answered_ends_in_time() {
    let (poll, mut conn, client, start) = lone_conn();
    conn.close(CloseCode::Normal, start).unwrap();
    conn.flush(poll.registry()).unwrap();
    assert!(!conn.is_open());
    assert_eq!(conn.keep_alive(start), Ok(false));
    assert_eq!(conn.keep_alive(start + CLOSING_MAX), Err(End::TimedOut));
    drop(client);
}
