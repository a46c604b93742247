//! Media connections over TCP: one alone, and those of a worker.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mio::{Poll, Token};
use tokio::sync::mpsc::{Receiver, channel};

use super::tcp_conn::{TcpConn, TcpEnd};
use super::tests::{config, stop, wait_until};
use super::{Bound, Started};
use crate::base::crowd::{Crowd, CrowdLimits};
use crate::base::egress::TcpId;
use crate::base::limits::MAX_TCP_BACKLOG_LEN;
use crate::model::mail::ControlMail;
use crate::transport::framing::put_frame;

/// A connection without a worker around it, its client, and a time to begin with.
fn lone() -> (Poll, TcpConn, TcpStream, Instant) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(HANG_GUARD)).unwrap();
    let (stream, remote) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let poll = Poll::new().unwrap();
    let now = crate::base::clock::tests::test_now().instant;
    let place = Crowd::default().enter(remote.ip()).unwrap();
    let stream = mio::net::TcpStream::from_std(stream);
    let id = TcpId { slot: 0, serial: 0 };
    let at = (poll.registry(), Token(0));
    let conn = TcpConn::open(id, stream, remote, place, at, now).unwrap();
    (poll, conn, client, now)
}

/// Pushes numbered datagrams until one is not taken; all that were, as frames.
fn fill(conn: &mut TcpConn, now: Instant) -> Vec<u8> {
    let mut frames = Vec::new();
    for number in 0..1_000_000u32 {
        let mut datagram = [0; 1000];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        if !conn.push(now, &datagram) {
            return frames;
        }
        assert!(put_frame(&mut frames, &datagram));
        conn.flush(now).unwrap();
    }
    panic!("nobody reads and everything is taken");
}

#[test]
fn who_does_not_read_costs_a_bounded_queue_and_is_sent_whole_frames_later() {
    let (_poll, mut conn, mut client, now) = lone();
    let mut taken = fill(&mut conn, now);
    assert!(conn.has_pending());
    assert!(taken.len() > MAX_TCP_BACKLOG_LEN, "{}", taken.len());
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    for round in 0.. {
        conn.flush(now).unwrap();
        if round == 100 {
            // Into the room that reading made, in front of which something still waits.
            assert!(conn.push(now, b"later"));
            assert!(put_frame(&mut taken, b"later"));
        }
        if read.len() == taken.len() {
            break;
        }
        let len = client.read(&mut buffer).unwrap();
        read.extend_from_slice(&buffer[..len]);
    }
    assert!(read == taken, "other bytes");
    assert!(!conn.has_pending());
}

#[test]
fn a_connection_of_nobody_ends_after_seconds_and_a_silent_one_after_a_minute() {
    let (_poll, mut conn, _client, start) = lone();
    let at = |s: f64| start + Duration::from_secs_f64(s);
    assert_eq!(conn.keep_alive(at(4.9), false), Ok(()));
    assert_eq!(conn.keep_alive(at(5.0), false), Err(TcpEnd::Idle));
    assert_eq!(conn.keep_alive(at(5.1), true), Ok(()), "validated");
    assert_eq!(conn.keep_alive(at(20.0), false), Ok(()), "its peer is gone");
    assert_eq!(conn.keep_alive(at(24.9), false), Ok(()));
    assert_eq!(conn.keep_alive(at(25.0), false), Err(TcpEnd::Idle));
    assert_eq!(conn.keep_alive(at(59.9), true), Ok(()));
    assert_eq!(conn.keep_alive(at(60.0), true), Err(TcpEnd::Idle));
}

#[test]
fn who_takes_nothing_for_ten_seconds_is_let_go() {
    let (_poll, mut conn, _client, start) = lone();
    let at = |s: f64| start + Duration::from_secs_f64(s);
    assert_eq!(conn.keep_alive(at(30.0), true), Ok(()), "nothing waits");
    fill(&mut conn, at(31.0));
    assert_eq!(conn.keep_alive(at(40.9), true), Ok(()));
    assert_eq!(conn.keep_alive(at(41.0), true), Err(TcpEnd::SlowReader));
}

#[test]
fn who_hangs_up_is_noticed() {
    let (_poll, mut conn, client, now) = lone();
    drop(client);
    let mut outcome = Ok(());
    // The first write may still go out; the answer to it says that nobody is there.
    while outcome.is_ok() {
        conn.push(now, &[0; 100]);
        outcome = conn.flush(now);
    }
    assert_eq!(outcome, Err(TcpEnd::Closed));
}

/// A worker that takes so many media connections, and where.
fn start(all: usize) -> (Started, Receiver<ControlMail>, SocketAddr) {
    let mut config = config(0);
    config.tcp_limits = CrowdLimits {
        all,
        per_address: 0,
    };
    let bound = Bound::bind(config).unwrap();
    let at = bound.tcp_candidates()[0];
    let (control, mails) = channel(16);
    let inboxes = vec![bound.inbox()];
    (bound.run(inboxes, control).unwrap(), mails, at)
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(HANG_GUARD)).unwrap();
    client
}

/// True when the worker has closed it; waits for that.
fn is_closed(client: &mut TcpStream) -> bool {
    match client.read(&mut [0; 16]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn what_is_no_binding_request_ends_a_connection() {
    let (worker, _mails, at) = start(0);
    let hostile: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[0, 4, 0x80, 96, 0, 1],
        &[0, 4, 0x80, 200, 0, 1],
        &[0, 3, 22, 254, 253],
        &[5, 221],
        &[0, 0, 0, 2, 0, 1, 0, 1, 0xff],
    ];
    for bytes in hostile {
        let mut client = connect(at);
        client.write_all(bytes).unwrap();
        assert!(is_closed(&mut client), "{bytes:?}");
    }
    let load = worker.inbox().load();
    wait_until("all are gone", || {
        let tcp = load.shell().tcp;
        (tcp.open, tcp.accepted) == (0, 6)
    });
    stop(worker);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_a_place_is_taken_again() {
    let (worker, _mails, at) = start(2);
    let load = worker.inbox().load();
    let (one, mut two) = (connect(at), connect(at));
    // Half a frame, which never ends.
    two.write_all(&[0, 100, 0, 1]).unwrap();
    wait_until("both are in", || load.shell().tcp.open == 2);
    assert!(is_closed(&mut connect(at)));
    wait_until("it was counted", || load.shell().tcp.refused == 1);
    drop(one);
    wait_until("a place is free", || load.shell().tcp.open == 1);
    let mut three = connect(at);
    wait_until("it is taken", || load.shell().tcp.open == 2);
    assert!(is_closed(&mut three), "it says nothing");
    assert!(is_closed(&mut two), "half a frame is nothing either");
    stop(worker);
}

#[test]
fn a_worker_without_tcp_has_no_candidates_for_it() {
    let mut off = config(0);
    off.tcp_bind = None;
    assert!(Bound::bind(off).unwrap().tcp_candidates().is_empty());
    let first = Bound::bind(config(0)).unwrap();
    let taken = first.tcp_candidates()[0];
    let mut second = config(1);
    second.tcp_bind = Some(taken);
    let error = Bound::bind(second).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
}

const HANG_GUARD: Duration = Duration::from_secs(60);
