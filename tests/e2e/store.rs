//! The store under `kill -9`: what was acknowledged is there after the next start. And behind an
//! orderly stop: all of it is in one file.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::server::Server;

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let mut rng = StdRng::seed_from_u64(4711);
    let mut directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let server = Server::start_in(directory, &[]);
        let target = rng.random_range(1..2 * WRITES / ROUNDS);
        acknowledged.extend(write_until_killed(&server, round, target));
        directory = server.kill();
    }
    let server = Server::start_in(directory, &[]);
    let mut conn = Conn::open(server.addr);
    assert!(acknowledged.len() >= WRITES / 2, "{}", acknowledged.len());
    for id in &acknowledged {
        let (status, body) = conn.request("GET", &format!("/{id}"), "").unwrap();
        assert_eq!(status, 200, "{id} was acknowledged: {body}");
    }
    let (_, count) = conn.request("GET", "/count", "").unwrap();
    let count: serde_json::Value = serde_json::from_str(&count).unwrap();
    assert!(count["number"].as_u64().unwrap() >= acknowledged.len() as u64);
}

#[test]
fn behind_an_orderly_stop_a_copy_of_the_one_file_has_everything() {
    let server = Server::start(&[]);
    let mut conn = Conn::open(server.addr);
    let (status, body) = conn
        .request("POST", "/create", r#"{"streamId":"kept"}"#)
        .unwrap();
    assert_eq!(status, 200, "{body}");
    server.signal("TERM");
    let stopped = server.ended();
    let copied = tempfile::tempdir().unwrap();
    let file = |directory: &TempDir| directory.path().join("leafcutter-data/leafcutter.db");
    fs::create_dir_all(file(&copied).parent().unwrap()).unwrap();
    fs::copy(file(&stopped), file(&copied)).unwrap();
    let server = Server::start_in(copied, &[]);
    let (status, body) = Conn::open(server.addr).request("GET", "/kept", "").unwrap();
    assert_eq!(status, 200, "{body}");
}

/// Writes over several connections until `target` writes are acknowledged; then the server is
/// killed while further ones are on their way. What was acknowledged.
fn write_until_killed(server: &Server, round: usize, target: usize) -> BTreeSet<String> {
    let done = Arc::new(AtomicUsize::new(0));
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let addr = server.addr;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (done, acknowledged) = (done.clone(), acknowledged.clone());
            thread::spawn(move || {
                let mut conn = Conn::open(addr);
                for number in 0.. {
                    let id = format!("r{round}w{writer}n{number}");
                    let body = format!("{{\"streamId\":\"{id}\",\"name\":\"a name\"}}");
                    match conn.request("POST", "/create", &body) {
                        Some((200, _)) => {}
                        Some((status, body)) => panic!("{status} {body}"),
                        None => return,
                    }
                    acknowledged.lock().unwrap().insert(id);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while done.load(Ordering::Relaxed) < target {
        assert!(writers.iter().all(|writer| !writer.is_finished()));
        thread::yield_now();
    }
    server.signal("KILL");
    for writer in writers {
        writer.join().unwrap();
    }
    Arc::into_inner(acknowledged).unwrap().into_inner().unwrap()
}

/// An HTTP connection that is used again and again.
struct Conn {
    stream: BufReader<TcpStream>,
}

impl Conn {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Status and body; `None` when the server is gone. A body that came only in part is one
    /// that was not acknowledged.
    fn request(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let text = format!(
            "{method} /live/rest/v2/broadcasts{path} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(text.as_bytes()).ok()?;
        let mut status = None;
        let mut len = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if status.is_none() {
                status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).ok()?;
        Some((status?, String::from_utf8(body).unwrap()))
    }
}

/// Writes, about, in all rounds together.
const WRITES: usize = 10_000;

/// How often the server is killed.
const ROUNDS: usize = 8;

/// Connections that write at once.
const WRITERS: usize = 8;
