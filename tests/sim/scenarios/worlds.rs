//! Random worlds: people come, go, vanish, return elsewhere, switch what they send and see, on
//! networks and sockets that fail; after every step everybody has what is theirs and nothing else.
//!
//! `SIM_SEEDS=10000 cargo test --test sim worlds` is a long run, `SIM_SEED=X` replays a world.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use leafcutter::base::codec::MediaKind;
use leafcutter::base::fault::DropReason;
use leafcutter::base::limits::MAX_ADDRESSES_PER_PEER;
use leafcutter::transport::demux::{Protocol, classify};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::client;
use crate::network::Link;
use crate::seeds;
use crate::world::{World, epoch};

#[test]
fn random_worlds_keep_every_promise() {
    seeds::for_each(500, |seed| {
        let trace = live(seed);
        // The same seed makes the same world; now and then it is looked whether that holds.
        if seed % 100 == 7 {
            assert_eq!(live(seed), trace, "another course of events");
        }
    });
}

/// Lets a world run its course; returns a hash of what everybody received, and when.
fn live(seed: u64) -> u64 {
    let mut life = Life::new(seed);
    for _ in 0..life.rng.random_range(4..14) {
        life.act();
        let pause = Duration::from_millis(life.rng.random_range(10..400));
        life.world.run(pause);
        life.mend();
        life.check();
    }
    life.world.run(Duration::from_millis(500));
    life.check();
    life.end();
    life.trace()
}

struct Life {
    world: World,
    rng: StdRng,
    /// Nothing is lost or late in this world: what is sent arrives.
    fair: bool,
    people: Vec<Person>,
    ledger: Ledger,
    rebound: bool,
    /// Datagrams of strangers that only a peer may send.
    strange: u64,
    /// Media and reports of publishers that came a second time.
    copies: u64,
}

/// One client and what became of it.
struct Person {
    client: usize,
    publishes: bool,
    /// Its socket and its peer connection are there.
    present: bool,
    /// Its link comes back in the next step.
    cut: Option<(Link, Link)>,
    /// From when on it is sent nothing more: it stopped, or its socket closed.
    quiet: Option<Instant>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let workers = rng.random_range(1..=2);
        let world = match seed.is_multiple_of(2) {
            true => World::new(seed, workers),
            false => World::on_one_port(seed, workers),
        };
        let mut life = Self {
            world,
            fair: seed.is_multiple_of(3),
            rng,
            people: Vec::new(),
            ledger: Ledger::default(),
            rebound: false,
            strange: 0,
            copies: 0,
        };
        life.publish("s0");
        life.world.run(Duration::from_millis(300));
        life.play("s0");
        life
    }

    fn act(&mut self) {
        let stream = *["s0", "s1", "s2"].choose(&mut self.rng).expect("some");
        match self.rng.random_range(0..20) {
            0 if !self.is_published(stream) => self.publish(stream),
            0..=4 => self.play(stream),
            5 => self.join_room(),
            6 => self.leave(true),
            7 => self.leave(false),
            8 => self.stop_and_return(),
            9 => self.take_over(),
            10..=12 => self.switch(),
            13 => self.slow_down(),
            14 => self.jump(),
            15 => self.disturb(),
            _ if self.fair => self.switch(),
            16 | 17 => self.spoil(),
            18 => self.cut(),
            _ => self.rebind(),
        }
    }

    fn worker(&mut self) -> u16 {
        self.rng.random_range(0..self.world.servers.len()) as u16
    }

    fn is_published(&self, stream: &str) -> bool {
        let is_it = |p: &Person| p.publishes && self.world.clients[p.client].stream == stream;
        self.people.iter().any(|p| p.present && is_it(p))
    }

    fn add(&mut self, client: usize, publishes: bool) {
        self.world.clients[client].tape = Some(Vec::new());
        self.people.push(Person {
            client,
            publishes,
            present: true,
            cut: None,
            quiet: None,
        });
    }

    fn publish(&mut self, stream: &str) {
        let worker = self.worker();
        let client = match stream {
            "s1" => self.world.publish_simulcast(worker, stream),
            _ => self.world.publish(worker, stream),
        };
        self.add(client, true);
    }

    fn play(&mut self, stream: &str) {
        if self.people.len() < MOST_PEOPLE {
            let worker = self.worker();
            let client = self.world.play(worker, stream);
            self.add(client, false);
        }
    }

    fn join_room(&mut self) {
        if self.people.len() + 1 < MOST_PEOPLE {
            let (worker, stream) = (self.worker(), format!("p{}", self.people.len()));
            let (publisher, viewer) = self.world.participate(worker, &stream, ROOM);
            self.add(publisher, true);
            self.add(viewer, false);
        }
    }

    fn somebody(&mut self, wanted: impl Fn(&Person) -> bool) -> Option<usize> {
        let all: Vec<_> = (0..self.people.len())
            .filter(|at| self.people[*at].present && wanted(&self.people[*at]))
            .collect();
        all.choose(&mut self.rng).copied()
    }

    /// The socket closes, or the whole client is gone without a word.
    fn leave(&mut self, closes: bool) {
        let Some(at) = self.somebody(|_| true) else {
            return;
        };
        let conn = self.world.clients[self.people[at].client].conn;
        if closes {
            self.world.close_conn(conn);
        }
        let quiet = closes.then(|| self.world.heard_at(conn) + MAILED);
        // A participant has two connections over one socket.
        for person in &mut self.people {
            if self.world.clients[person.client].conn == conn {
                person.present = false;
                person.quiet = quiet;
                self.world.clients[person.client].vanish();
            }
        }
    }

    /// Over the same socket: stops, and asks again a moment later.
    fn stop_and_return(&mut self) {
        let Some(at) = self.somebody(|p| !p.publishes) else {
            return;
        };
        let client = self.people[at].client;
        self.world.say(client, json!({ "command": "stop" }));
        self.world.clients[client].vanish();
        self.people[at].quiet = Some(self.world.heard_at(self.world.clients[client].conn));
        let pause = Duration::from_millis(self.rng.random_range(0..100));
        self.world.run(pause);
        self.assert_quiet();
        self.people[at].quiet = None;
        self.ledger.forget(client, self.world.now.instant);
        if let Some(tape) = &mut self.world.clients[client].tape {
            tape.clear();
        }
        self.world.say(client, json!({ "command": "play" }));
    }

    /// A publisher is gone, and is back elsewhere.
    fn take_over(&mut self) {
        let Some(at) = self.somebody(|p| p.publishes) else {
            return;
        };
        let client = self.people[at].client;
        let stream = self.world.clients[client].stream.clone();
        if stream.starts_with('p') {
            return;
        }
        self.world.close(client);
        self.world.clients[client].vanish();
        self.people[at].present = false;
        self.people[at].quiet = Some(self.world.heard_at(self.world.clients[client].conn));
        let pause = Duration::from_millis(self.rng.random_range(15..300));
        self.world.run(pause);
        self.publish(&stream);
    }

    fn switch(&mut self) {
        let Some(at) = self.somebody(|_| true) else {
            return;
        };
        let Person {
            client, publishes, ..
        } = self.people[at];
        let stream = self.world.clients[client].stream.clone();
        // Tracks that are switched for certain: those that it is sent, or its own.
        let mut meant = match publishes {
            true if self.world.clients[client].has_heard("publish_started") => vec![stream.clone()],
            true => Vec::new(),
            false => self.ledger.played(&self.world, client),
        };
        let mut track = stream.clone();
        // Of a room, one track or all of them.
        if self.rng.random_bool(0.7)
            && let Some(one) = meant.choose(&mut self.rng)
        {
            track = one.clone();
            meant = vec![track.clone()];
        }
        let enabled = self.rng.random_bool(0.6);
        let height = *[0, 180, 360, 720].choose(&mut self.rng).expect("some");
        let both = [MediaKind::Audio, MediaKind::Video];
        let (command, kinds) = match self.rng.random_range(0..4) {
            0 => ("toggleVideo", &both[1..]),
            1 => ("toggleAudio", &both[..1]),
            2 => ("enableTrack", &both[..]),
            _ => {
                let message = json!({"command": "forceStreamQuality", "streamHeight": height});
                return self.world.say(client, message);
            }
        };
        let message = json!({"command": command, "trackId": track, "enabled": enabled});
        self.world.say(client, message);
        let from = self.world.heard_at(self.world.clients[client].conn) + MAILED;
        for label in meant {
            for kind in kinds {
                self.ledger
                    .switch(client, (label.clone(), *kind), enabled, from);
            }
        }
    }

    /// A socket takes its time from here on.
    fn slow_down(&mut self) {
        if let Some(at) = self.somebody(|_| true) {
            let conn = self.world.clients[self.people[at].client].conn;
            let delay = Duration::from_millis(self.rng.random_range(0..1500));
            self.world.slow.insert(conn, delay);
        }
    }

    /// The wall clock is set; `worker/clock.rs` lets it go forward only.
    fn jump(&mut self) {
        self.world.now.unix_us += self.rng.random_range(0..20_000_000);
    }

    /// Datagrams of a stranger, and copies of what everybody sent of late.
    fn disturb(&mut self) {
        let stranger = self.world.network.fresh_address();
        let noise: Vec<u8> = (0..self.rng.random_range(1..200))
            .map(|_| self.rng.random())
            .collect();
        let worker = usize::from(self.worker());
        self.send_strange(worker, stranger, &noise);
        for at in 0..self.people.len() {
            let Person {
                client,
                publishes,
                present,
                ..
            } = self.people[at];
            if present {
                self.repeat(client, publishes, stranger);
            }
        }
    }

    /// What a client sent last comes once more, from a stranger and from its own address.
    fn repeat(&mut self, client: usize, publishes: bool, stranger: SocketAddr) {
        let worker = usize::from(self.world.clients[client].conn.worker.0);
        let own = self.world.network.public(client);
        let tape = self.world.clients[client].tape.replace(Vec::new());
        let tape = tape.unwrap_or_default();
        for datagram in tape.iter().rev().take(20) {
            let protocol = classify(datagram);
            // A copy of a request that overtakes it is as good as the request: `attacks.rs`.
            if protocol != Some(Protocol::Stun) {
                self.send_strange(worker, stranger, datagram);
            }
            let is_media = matches!(protocol, Some(Protocol::Rtp | Protocol::Rtcp));
            self.copies += u64::from(is_media && publishes);
            self.world.inject(worker, own, datagram);
        }
    }

    fn send_strange(&mut self, worker: usize, from: SocketAddr, datagram: &[u8]) {
        let is_peers = match classify(datagram) {
            Some(Protocol::Rtp | Protocol::Rtcp | Protocol::Dtls) => true,
            Some(Protocol::Stun) | None => false,
        };
        self.strange += u64::from(is_peers);
        self.world.inject(worker, from, datagram);
    }

    fn spoil(&mut self) {
        if let Some(at) = self.somebody(|_| true) {
            let mut link = || Link {
                delay: Duration::from_millis(self.rng.random_range(1..40)),
                jitter: Duration::from_millis(self.rng.random_range(0..25)),
                loss: self.rng.random_range(0.0..0.08),
                duplicate: self.rng.random_range(0.0..0.03),
            };
            let (up, down) = (link(), link());
            self.world.set_links(self.people[at].client, up, down);
        }
    }

    /// Until the next step nothing arrives.
    fn cut(&mut self) {
        if let Some(at) = self.somebody(|p| p.cut.is_none()) {
            self.people[at].cut = Some((Link::CLEAN, Link::CLEAN));
            let (none, client) = (Link::lossy(1.0), self.people[at].client);
            self.world.set_links(client, none, none);
        }
    }

    fn mend(&mut self) {
        for person in &mut self.people {
            if let Some((up, down)) = person.cut.take() {
                self.world.set_links(person.client, up, down);
            }
        }
    }

    fn rebind(&mut self) {
        if let Some(at) = self.somebody(|_| true) {
            self.world.network.rebind(self.people[at].client);
            self.rebound = true;
        }
    }

    fn check(&mut self) {
        self.ledger.enter(&self.world);
        self.assert_quiet();
        let strangers = self.world.dropped(DropReason::UnvalidatedSource);
        assert!(strangers >= self.strange, "strangers passed the gate");
        if self.fair {
            let replayed = self.world.dropped(DropReason::Replayed);
            assert!(replayed >= self.copies, "a replay was taken");
            assert_eq!(self.world.dropped(DropReason::Duplicate), 0, "as above");
        }
        for (worker, server) in self.world.servers.iter().enumerate() {
            let (counters, sizes) = (server.engine.counters(), server.engine.sizes());
            let peers = counters.peers as usize;
            assert!(peers <= 2 * self.people.len(), "{peers} peers on {worker}");
            assert!(
                sizes.user_fragments <= 2 * peers,
                "{sizes:?}, {peers} peers"
            );
            assert!(sizes.sources <= MAX_ADDRESSES_PER_PEER * peers, "{sizes:?}");
            assert!(sizes.tracks <= 5 * self.people.len(), "{sizes:?}");
            assert!(sizes.published <= self.people.len(), "{sizes:?}");
            // Each timer that was moved forward leaves the old one behind until it is due.
            assert!(sizes.timers <= 200 * (1 + self.people.len()), "{sizes:?}");
            assert_eq!((sizes.outputs, sizes.mails), (0, 0), "not taken");
        }
        assert!(
            self.rebound || self.world.strays.is_empty(),
            "sent to nobody"
        );
    }

    /// Nothing is sent to those who stopped, or whose socket closed.
    fn assert_quiet(&self) {
        for Person { client, quiet, .. } in &self.people {
            let last = self.world.last_rtp.get(client);
            if let (Some(quiet), Some(last)) = (quiet, last) {
                assert!(last <= quiet, "{client} is sent what it does not play");
            }
        }
    }

    /// Everybody goes; after the longest timer nothing is left.
    fn end(&mut self) {
        if self.fair {
            self.ledger.assert_whole();
        }
        for person in &self.people {
            self.world.clients[person.client].vanish();
            self.world.close(person.client);
        }
        self.world.run(Duration::from_secs(45));
        for server in &self.world.servers {
            let counters = server.engine.counters();
            let left = [counters.conns, counters.peers, counters.tracks];
            assert_eq!(left, [0; 3], "conns, peers, tracks are left");
            assert_eq!(server.engine.sizes(), Default::default(), "left over");
        }
        assert_eq!(self.world.control.broadcasts(), 0, "left over");
    }

    fn trace(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for client in &self.world.clients {
            for packet in &client.wire {
                let at = (packet.at - epoch()).as_micros();
                (at, packet.pt, packet.seq, packet.len).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// By extended sequence number: timestamp, and end of payload.
type Received = BTreeMap<u64, (u32, Vec<u8>)>;

/// What was published and what came of it.
#[derive(Default)]
struct Ledger {
    /// Packets by the end of their payload, which holds noise and what they are: the publisher,
    /// and which of its packets.
    published: HashMap<Vec<u8>, (usize, usize)>,
    /// How much of each client's lists was entered.
    entered: Vec<(usize, usize)>,
    /// What each viewer got of each source, by number: timestamp and end of payload.
    sources: HashMap<(usize, u32), Received>,
    /// What is off, by who switched it off, and since when for certain.
    off: HashMap<(usize, TrackName), Instant>,
    /// When a viewer began to play anew.
    again: HashMap<usize, Instant>,
}

/// Whose track, and which of them.
type TrackName = (String, MediaKind);

impl Ledger {
    /// Takes in what is new, and holds each packet received against what was published.
    ///
    /// # Panics
    /// When a packet is foreign or damaged, when one number stands for two packets, or when a
    /// later number has an earlier timestamp.
    fn enter(&mut self, world: &World) {
        self.entered.resize(world.clients.len(), (0, 0));
        for (number, client) in world.clients.iter().enumerate() {
            let (from, _) = self.entered[number];
            for (at, packet) in client.published.iter().enumerate().skip(from) {
                let before = self.published.insert(ending(&packet.payload), (number, at));
                assert_eq!(before, None, "noise that is not");
            }
            self.entered[number].0 = client.published.len();
        }
        for (number, client) in world.clients.iter().enumerate() {
            for at in self.entered[number].1..client.received.len() {
                self.enter_received(world, number, at);
            }
            self.entered[number].1 = client.received.len();
        }
    }

    /// A publisher or a viewer switches a track; what is switched off is off at `from`.
    fn switch(&mut self, client: usize, track: TrackName, enabled: bool, from: Instant) {
        if enabled {
            self.off.remove(&(client, track));
        } else {
            self.off.entry((client, track)).or_insert(from);
        }
    }

    /// A viewer plays anew: everything is on.
    fn forget(&mut self, client: usize, now: Instant) {
        self.off.retain(|(by, _), _| *by != client);
        self.again.insert(client, now);
    }

    /// Whose tracks a viewer has been sent since it began to play.
    fn played(&self, world: &World, client: usize) -> Vec<String> {
        let since = self.again.get(&client);
        let received = world.clients[client].received.iter();
        let received = received.filter(|packet| since.is_none_or(|since| packet.at > *since));
        let mut labels: Vec<_> = received.map(|packet| packet.label.to_string()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    fn assert_on(&self, by: usize, received: &client::Received, at: Instant) {
        let track = (received.label.to_string(), received.kind);
        if let Some(off) = self.off.get(&(by, track)) {
            assert!(at <= *off, "{by} switched {} off", received.label);
        }
    }

    fn enter_received(&mut self, world: &World, number: usize, at: usize) {
        let viewer = &world.clients[number];
        let received = &viewer.received[at];
        let is_own = *received.label == *viewer.stream
            || viewer.stream == ROOM && received.label.starts_with('p');
        assert!(
            is_own,
            "{} plays {} and got {}",
            number, viewer.stream, received.label
        );
        let sent_before = received.at - LONGEST_WAY;
        self.assert_on(number, received, sent_before);
        let end = ending(&received.payload);
        // A number that was kept for what is not sent: no payload.
        if !received.payload.is_empty() {
            let found = self.published.get(&end);
            let (by, packet) = *found.expect("what was not published came");
            let publisher = &world.clients[by];
            let packet = &publisher.published[packet];
            self.assert_on(by, received, packet.at);
            assert_eq!(*publisher.stream, *received.label, "of somebody else");
            assert_eq!(packet.kind, received.kind);
            assert_eq!(packet.marker, received.marker, "{:?}", packet.identity);
            // Picture ids of a layered track are the viewer's own.
            let is_patched = publisher.simulcast && packet.kind == MediaKind::Video;
            let from = if is_patched { 6 } else { 0 };
            assert_eq!(packet.payload.len(), received.payload.len());
            assert_eq!(packet.payload[from..], received.payload[from..], "damaged");
        }
        let source = self.sources.entry((number, received.ssrc)).or_default();
        let entry = (received.timestamp, end);
        let before = source.insert(received.seq, entry);
        assert_eq!(before, None, "number {} twice", received.seq);
        let rises = |a: u32, b: u32| b.wrapping_sub(a) < 1 << 31;
        if let Some((_, (earlier, _))) = source.range(..received.seq).next_back() {
            assert!(rises(*earlier, received.timestamp), "back in time");
        }
        if let Some((_, (later, _))) = source.range(received.seq + 1..).next() {
            assert!(rises(received.timestamp, *later), "back in time");
        }
    }

    /// Where nothing is lost, no number is missing, and no packet came under two.
    fn assert_whole(&self) {
        for ((viewer, ssrc), source) in &self.sources {
            let (first, last) = (source.first_key_value(), source.last_key_value());
            let (Some((first, _)), Some((last, _))) = (first, last) else {
                continue;
            };
            let span = (last - first + 1) as usize;
            assert_eq!(
                source.len(),
                span,
                "numbers of {ssrc} are missing at {viewer}"
            );
            let mut ends: Vec<_> = source.values().map(|(_, end)| end).collect();
            ends.retain(|end| !end.is_empty());
            let all = ends.len();
            ends.sort_unstable();
            ends.dedup();
            assert_eq!(ends.len(), all, "a packet came under two numbers");
        }
    }
}

/// Noise and identity.
fn ending(payload: &[u8]) -> Vec<u8> {
    payload[payload.len().saturating_sub(40)..].to_vec()
}

/// A switch of a publisher is known to every worker.
const MAILED: Duration = Duration::from_millis(1);

/// The slowest link's.
const LONGEST_WAY: Duration = Duration::from_millis(65);

const ROOM: &str = "room";

/// Enough for every pair of roles to meet.
const MOST_PEOPLE: usize = 9;
