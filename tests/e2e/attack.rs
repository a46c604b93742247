//! Viewers watch while everything comes in that strangers can send: they lose nothing.
//!
//! `LEAFCUTTER_ALL=1` runs the full numbers of `docs/security.md` and checks the latency too,
//! which needs a machine that does nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use leafcutter::bench::client::{Client, Role};
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use leafcutter::bench::process;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use str0m::crypto::from_feature_flags;
use str0m::ice::{StunMessage, TransId};

use crate::clients::{PATIENCE, SHAPES};
use crate::server::Server;

/// How hard it is attacked.
struct Force {
    datagrams_per_s: u32,
    websockets: usize,
    time: Duration,
    /// What the 99th percentile of latency may be; `None` where other tests run too.
    p99_max_us: Option<u32>,
}

fn force() -> Force {
    if std::env::var_os("LEAFCUTTER_ALL").is_some() {
        Force {
            datagrams_per_s: 100_000,
            websockets: 1000,
            time: Duration::from_secs(20),
            p99_max_us: Some(20_000),
        }
    } else {
        Force {
            // What a socket buffer holds for seconds, should the server stand still.
            datagrams_per_s: 5000,
            websockets: 100,
            time: Duration::from_secs(2),
            p99_max_us: None,
        }
    }
}

#[test]
fn viewers_lose_nothing_under_garbage_and_hostile_websockets() {
    let force = force();
    let server = Server::start(&["--workers", "1"]);
    let mut watch = Watch::begin(&server);
    let (media, stun) = target(&server);
    let resident_before = process::resident_len(server.pid()).unwrap();
    let is_over = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let garbage = spawn_garbage(
            scope,
            media,
            &stun,
            force.datagrams_per_s,
            (&is_over, &sent),
        );
        let hostile = scope.spawn(|| annoy(&server, force.websockets, &is_over));
        watch.forget_latencies();
        watch.turn_for(force.time);
        is_over.store(true, Ordering::Relaxed);
        garbage.join().unwrap();
        let opened = hostile.join().unwrap();
        assert!(opened >= force.websockets, "{opened}");
    });
    watch.turn_for(Duration::from_millis(300));
    let grown = process::resident_len(server.pid())
        .unwrap()
        .saturating_sub(resident_before);
    let p99_us = watch.p99_us();
    let rate = sent.load(Ordering::Relaxed) as f64 / force.time.as_secs_f64();
    println!(
        "{rate:.0} datagrams/s, {} WebSockets: p99 {:.1} ms, {} KiB more memory",
        force.websockets,
        f64::from(p99_us) / 1000.0,
        grown / 1024
    );
    watch.assert_nothing_lost();
    assert!(rate > f64::from(force.datagrams_per_s) / 4.0, "{rate}");
    assert!(grown < 64 << 20, "{grown} bytes more");
    if let Some(max_us) = force.p99_max_us {
        assert!(rate > f64::from(force.datagrams_per_s) * 0.9, "{rate}");
        assert!(p99_us < max_us, "{p99_us} us");
    }
    let metrics = server.get("/metrics").body;
    for reason in [
        "unvalidated_source",
        "stun_rejected",
        "oversized",
        "unknown_protocol",
    ] {
        let none = format!("leafcutter_packets_dropped_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&none), "{reason}");
    }
}

/// A broadcast and viewers that check every packet.
pub struct Watch {
    fleet: Fleet,
    viewers: Vec<usize>,
}

impl Watch {
    /// Publishes `s` and plays it four times.
    pub fn begin(server: &Server) -> Self {
        let identity = Identity::generate().unwrap();
        let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 21).unwrap();
        let role = fleet.publisher(&SHAPES);
        let publisher = fleet.open("s", role).unwrap();
        fleet.ask(publisher, &json!({}));
        let live = fleet.run_until(PATIENCE, |clients| {
            clients[publisher].heard == ["publish_started"]
        });
        assert!(live, "{:?}", fleet.clients[publisher]);
        let viewers: Vec<usize> = (0..4)
            .map(|_| fleet.open("s", Role::viewer(true)).unwrap())
            .collect();
        for &at in &viewers {
            fleet.ask(at, &json!({}));
        }
        let play = |clients: &mut Vec<Client>| viewers.iter().all(|&at| plays(&clients[at]));
        assert!(fleet.run_until(PATIENCE, play));
        Self { fleet, viewers }
    }

    /// Goes on publishing and playing.
    pub fn turn_for(&mut self, time: Duration) {
        self.fleet.run_until(time, |_| false);
    }

    fn forget_latencies(&mut self) {
        for client in &mut self.fleet.clients {
            if let Role::Viewer(viewer) = &mut client.role {
                viewer.latencies_us.clear();
            }
        }
    }

    fn p99_us(&self) -> u32 {
        let mut all = Vec::new();
        for client in &self.fleet.clients {
            if let Role::Viewer(viewer) = &client.role {
                all.extend_from_slice(&viewer.latencies_us);
            }
        }
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }

    /// # Panics
    /// When a viewer lost a packet or got a damaged one, or got nothing at all.
    pub fn assert_nothing_lost(&self) {
        for &at in &self.viewers {
            let Role::Viewer(viewer) = &self.fleet.clients[at].role else {
                continue;
            };
            let (expected, came) = viewer.continuity();
            assert!(expected > 50, "{expected}");
            assert_eq!(expected, came, "{:?}", viewer.tally);
            assert_eq!(viewer.tally.damaged, 0);
        }
    }
}

fn plays(client: &Client) -> bool {
    match &client.role {
        Role::Viewer(viewer) => viewer.tracks() == (2, 2),
        Role::Publisher { .. } => false,
    }
}

/// Where media goes, and a binding request for a peer that waits there, signed with another
/// password.
fn target(server: &Server) -> (SocketAddr, Vec<u8>) {
    let mut socket = server.websocket("/live/websocket");
    let play = json!({"command": "play", "streamId": "s"});
    socket.send(play.to_string().into()).unwrap();
    let (mut ufrag, mut media) = (None, None);
    while ufrag.is_none() || media.is_none() {
        let text = socket.read().unwrap().into_text().unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        if let Some(sdp) = message["sdp"].as_str() {
            let mut lines = sdp.lines();
            ufrag = lines.find_map(|line| Some(line.strip_prefix("a=ice-ufrag:")?.to_owned()));
        }
        if let Some(candidate) = message["candidate"].as_str() {
            let words: Vec<&str> = candidate.split(' ').collect();
            media = Some(SocketAddr::new(
                [127, 0, 0, 1].into(),
                words[5].parse().unwrap(),
            ));
        }
    }
    let username = format!("{}:stranger", ufrag.unwrap());
    let message = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
    let hmac = from_feature_flags().sha1_hmac_provider;
    let mut buf = [0; 300];
    let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
    let len = message
        .to_bytes(Some(b"not-the-password-at-all"), &mut buf, sign)
        .unwrap();
    // The peer must live as long as the attack.
    std::mem::forget(socket);
    (media.unwrap(), buf[..len].to_vec())
}

/// Sends garbage from many ports at `per_s` until it is over.
fn spawn_garbage<'s>(
    scope: &'s Scope<'s, '_>,
    media: SocketAddr,
    stun: &'s [u8],
    per_s: u32,
    (is_over, sent): (&'s AtomicBool, &'s AtomicU64),
) -> ScopedJoinHandle<'s, ()> {
    scope.spawn(move || {
        let sockets: Vec<UdpSocket> = (0..64)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut rng = StdRng::seed_from_u64(5);
        let kinds = garbage(stun, &mut rng);
        let begin = now();
        let mut count = 0u64;
        while !is_over.load(Ordering::Relaxed) {
            let due = begin.elapsed().as_secs_f64() * f64::from(per_s);
            if count as f64 >= due {
                rest(Duration::from_millis(1));
                continue;
            }
            // One in a thousand is long: 64 KiB of each copied would be another attack.
            let long = count.is_multiple_of(1000);
            let kind = if long {
                rng.random_range(0..3)
            } else {
                rng.random_range(3..kinds.len())
            };
            let socket = &sockets[count as usize % sockets.len()];
            // A full buffer of our own refuses it; then it was not sent.
            if socket.send_to(&kinds[kind], media).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            count += 1;
        }
    })
}

/// Three long ones first, then short ones of every protocol, a third of them STUN.
fn garbage(stun: &[u8], rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut kinds = vec![vec![0x80; 1501], vec![0x16; 9000], vec![0x90; 65_507]];
    kinds.extend([vec![], vec![0x80], vec![0x80, 96], vec![22, 254, 253]]);
    for first in [0x80, 0x90, 0xff, 22, 20, 0x40, 0, 1] {
        let len = rng.random_range(12..1200);
        let mut noise: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        noise[0] = first;
        kinds.push(noise);
    }
    kinds.extend((0..8).map(|_| stun.to_vec()));
    kinds
}

/// Opens hostile WebSockets and keeps them hostile until it is over; how many were opened.
fn annoy(server: &Server, count: usize, is_over: &AtomicBool) -> usize {
    let mut sockets = Vec::new();
    let mut opened = 0;
    while opened < count {
        sockets.push(upgraded(server));
        opened += 1;
    }
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let hostile: [Vec<u8>; 8] = [
        // A frame that stops after its length; one without mask; one that says it is 2 GB.
        vec![0x81, 0xfe, 0x10, 0x00],
        vec![0x81, 5, b'h', b'e', b'l', b'l', b'o'],
        vec![0x01, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 0, 1, 2, 3, 4],
        frame(0x81, &[0xff, 0xfe, 0xfd]),
        frame(0x81, deep.as_bytes()),
        // The first of fragments that never end; compressed, which was not agreed on.
        frame(0x01, &[b'x'; 1000]),
        frame(0xc1, &[0; 100]),
        frame(0x81, b"{\"command\":\"play\",\"streamId\":\"s\"}"),
    ];
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (at, socket) in sockets.iter_mut().enumerate() {
            let _ = socket.write(&hostile[at % hostile.len()]);
            // Some read nothing, ever.
            if at.is_multiple_of(2) {
                let _ = socket.read(&mut [0; 4096]);
            }
            // Whoever was closed comes back.
            let is_gone = matches!(socket.peek(&mut [0; 1]), Ok(0))
                || socket.take_error().is_ok_and(|error| error.is_some());
            if is_gone && turn % 8 == 0 {
                *socket = upgraded(server);
                opened += 1;
            }
            if is_over.load(Ordering::Relaxed) {
                return opened;
            }
        }
        turn += 1;
        rest(Duration::from_millis(50));
    }
    opened
}

fn upgraded(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    let host = server.addr;
    write!(
        stream,
        "GET /live/websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 1024];
    let len = stream.read(&mut head).unwrap();
    assert!(head[..len].starts_with(b"HTTP/1.1 101"), "{head:?}");
    stream.set_nonblocking(true).unwrap();
    stream
}

/// A masked frame (RFC 6455 §5.2) whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len) if len < 126 => frame.push(0x80 | len as u8),
        Ok(len) => {
            frame.push(0xfe);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xff);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[allow(clippy::disallowed_methods, reason = "paces real traffic")]
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "paces real traffic")]
fn rest(time: Duration) {
    thread::sleep(time);
}
