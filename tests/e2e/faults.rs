//! What the host does to the server: no descriptors, no disk, a locked database; and a bug.
//! Viewers who watch meanwhile lose nothing.

use std::net::{TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use leafcutter::bench::process;
use rusqlite::Connection;

use crate::attack::Watch;
use crate::server::{Answer, Server, ping};

#[test]
fn without_descriptors_it_neither_spins_nor_disturbs_those_who_watch() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_limited(directory, "ulimit -n 64", &["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    let crowd: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(server.addr).unwrap())
        .collect();
    watch.turn_for(Duration::from_millis(300));
    let before_us = process::cpu_us(server.pid()).unwrap();
    watch.turn_for(Duration::from_secs(1));
    let spent_us = process::cpu_us(server.pid()).unwrap() - before_us;
    assert!(spent_us < 500_000, "{spent_us} us of a second: it spins");
    drop(crowd);
    ping(&mut server.websocket("/live/websocket"));
    watch.assert_nothing_lost();
}

#[test]
fn a_full_disk_is_said_and_loses_neither_media_nor_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes; without the trap the signal would end the process.
    let prelude = "trap '' XFSZ; ulimit -f 800";
    let server = Server::start_limited(directory, prelude, &["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    let mut acknowledged = 0;
    let refusal = loop {
        let answer = create(&server, acknowledged);
        if answer.status != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the disk never fills");
    };
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(acknowledged > 0);
    assert_eq!(server.get("/healthz").status, 200);
    watch.turn_for(Duration::from_millis(500));
    watch.assert_nothing_lost();
    drop(watch);
    let server = Server::start_in(server.kill(), &[]);
    for number in 0..acknowledged {
        let answer = server.get(&format!("/live/rest/v2/broadcasts/full{number}"));
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
    }
}

#[test]
fn a_locked_database_refuses_what_needs_it_until_it_is_free() {
    let server = Server::start(&["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    assert_eq!(create(&server, 0).status, 200);
    let file = server.directory().join("leafcutter-data/leafcutter.db");
    let locker = Connection::open(file).unwrap();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = create(&server, 1);
    assert_eq!(answer.status, 503, "{answer:?}");
    watch.turn_for(Duration::from_millis(500));
    locker.execute_batch("ROLLBACK").unwrap();
    // Tried again once a second.
    let free = (0..100).any(|_| {
        watch.turn_for(Duration::from_millis(100));
        create(&server, 2).status == 200
    });
    assert!(free);
    watch.assert_nothing_lost();
}

fn create(server: &Server, number: usize) -> Answer {
    let body = format!(
        "{{\"streamId\":\"full{number}\",\"description\":\"{}\"}}",
        "d".repeat(2000)
    );
    let headers = "Content-Type: application/json\r\n";
    server.send("POST", "/live/rest/v2/broadcasts/create", headers, &body)
}

/// Run again by itself as the process that panics.
#[test]
fn a_panic_ends_the_process_and_names_the_thread() {
    const CHILD: &str = "LEAFCUTTER_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        leafcutter::worker::panic::end_process();
        let worker = std::thread::Builder::new().name("worker-3".to_owned());
        let _ = worker.spawn(|| panic!("a bug")).unwrap().join();
        return;
    }
    let name = "faults::a_panic_ends_the_process_and_names_the_thread";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("worker-3") && said.contains("a bug"),
        "{said}"
    );
    assert_eq!(output.status.signal(), Some(6), "SIGABRT: {said}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "measures the real process")]
fn after_a_restart_on_the_same_ports_those_who_reconnect_play_again_within_10_s() {
    let port = |socket: UdpSocket| socket.local_addr().unwrap().port().to_string();
    let media_port = port(UdpSocket::bind("127.0.0.1:0").unwrap());
    let flags = ["--workers", "1", "--media-port", &media_port];
    let server = Server::start(&flags);
    let listen = server.addr.to_string();
    let watch = Watch::begin(&server);
    let begin = Instant::now();
    server.signal("TERM");
    drop(watch);
    let directory = server.ended();
    let flags = [&flags[..], &["--listen", &listen]].concat();
    let server = Server::start_in(directory, &flags);
    assert_eq!(server.addr.to_string(), listen);
    let mut watch = Watch::begin(&server);
    let took = begin.elapsed();
    println!("playing again after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}");
    watch.turn_for(Duration::from_secs(1));
    watch.assert_nothing_lost();
}

#[test]
fn sessions_go_on_within_the_time_to_leave_and_the_end_comes_when_they_left() {
    let settings = "[server]\ndrain_timeout = 600\n";
    let mut server = Server::start_with(settings, &["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    let mut socket = server.websocket("/live/websocket");
    ping(&mut socket);
    server.signal("TERM");
    let text = socket.read().unwrap().into_text().unwrap();
    assert!(text.contains("server_will_stop"), "{text}");
    watch.turn_for(Duration::from_millis(500));
    watch.assert_nothing_lost();
    socket
        .send("{\"command\":\"play\",\"streamId\":\"s\"}".into())
        .unwrap();
    let text = socket.read().unwrap().into_text().unwrap();
    assert!(text.contains("highResourceUsage"), "{text}");
    drop(watch);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_time_to_leave_ends() {
    let settings = "[server]\ndrain_timeout = 1\n";
    let mut server = Server::start_with(settings, &["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    server.signal("TERM");
    watch.turn_for(Duration::from_millis(2000));
    assert_eq!(server.wait().code(), Some(0));
}
