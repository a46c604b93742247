//! Many clients on one thread: opens them, polls their sockets, runs their timers.
//!
//! Media sockets of playing viewers are not polled but looked at by a timer. Over loopback a
//! receiver that waits in a poll is woken up by the sender, in the sender's time: several hundred
//! of them on one thread would cost the server what no network does. The kernel notes when each
//! datagram came, so that nothing is measured later than it was.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::client::{Client, Front, Phase, Place, Role};
use super::link::Identity;
use crate::base::clock::Now;
use crate::net::TimedBatch;
use crate::worker::clock::Clock;

/// The clients of one thread.
#[derive(Debug)]
pub struct Fleet {
    /// Every client, in the order they were opened.
    pub clients: Vec<Client>,
    /// Media packets that the clients sent.
    pub sent: u64,
    /// Datagrams that the clients received.
    pub received: u64,
    front: Front,
    over_tcp: bool,
    server: SocketAddr,
    path: String,
    identity: Identity,
    poll: Poll,
    events: Events,
    clock: Clock,
    rng: StdRng,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    armed: Vec<Option<Instant>>,
    /// By client: its media socket is in the poll.
    polled: Vec<bool>,
    batch: TimedBatch,
    /// Playing viewers, whose media sockets are swept.
    swept: Vec<usize>,
    /// Index in `swept` of the one looked at last.
    sweep_from: usize,
    next_sweep: Instant,
}

impl Fleet {
    /// No clients yet of the server at `server`; its WebSockets are at `path`. `seed` makes their
    /// SSRCs and credentials.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(server: SocketAddr, path: &str, identity: &Identity, seed: u64) -> io::Result<Self> {
        let mut clock = Clock::start();
        Ok(Self {
            clients: Vec::new(),
            sent: 0,
            received: 0,
            front: Front::Ant,
            over_tcp: false,
            server,
            path: path.to_owned(),
            identity: identity.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            next_sweep: clock.now().instant,
            clock,
            rng: StdRng::seed_from_u64(seed),
            timers: BinaryHeap::new(),
            armed: Vec::new(),
            polled: Vec::new(),
            batch: TimedBatch::default(),
            swept: Vec::new(),
            sweep_from: 0,
        })
    }

    /// The time.
    pub fn now(&mut self) -> Now {
        self.clock.now()
    }

    /// A role, made with this fleet's randomness.
    pub fn publisher(&mut self, shapes: &[super::traffic::Shape]) -> Role {
        let now = self.clock.now();
        Role::publisher(shapes, now, &mut self.rng)
    }

    /// Clients opened from here on speak this signalling.
    pub fn set_front(&mut self, front: Front) {
        self.front = front;
    }

    /// Media of clients opened from here on goes over TCP.
    pub fn set_over_tcp(&mut self, over_tcp: bool) {
        self.over_tcp = over_tcp;
    }

    /// Opens a client's WebSocket; returns its place in `clients`.
    ///
    /// # Errors
    /// What the operating system or the server said.
    pub fn open(&mut self, stream: &str, role: Role) -> io::Result<usize> {
        let at = self.clients.len();
        let now = self.clock.now();
        let place = Place {
            front: self.front,
            over_tcp: self.over_tcp,
            server: self.server,
            path: &self.path,
            identity: &self.identity,
            registry: self.poll.registry(),
            token: Token(2 * at),
        };
        let client = Client::open(place, stream, role, now, &mut self.rng)?;
        self.clients.push(client);
        self.armed.push(None);
        self.polled.push(true);
        Ok(at)
    }

    /// Lets client `at` publish or play, with `extra` members in its command.
    pub fn ask(&mut self, at: usize, extra: &Value) {
        let now = self.clock.now();
        if let Some(client) = self.clients.get_mut(at) {
            client.ask(now, extra);
        }
        self.arm(at, now.instant);
    }

    /// Waits for at most `patience` for something to do, and does it.
    pub fn turn(&mut self, patience: Duration) {
        let now = self.clock.now();
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let sweep = Some(self.next_sweep).filter(|_| !self.swept.is_empty());
        let due = timer.into_iter().chain(sweep).min();
        let wait = due.map_or(patience, |at| {
            at.saturating_duration_since(now.instant).min(patience)
        });
        // An interrupted wait is a short one.
        let _ = self.poll.poll(&mut self.events, Some(wait));
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let at = event.token().0 / 2;
            if event.token().0 % 2 == 0 {
                let now = self.clock.now();
                if let Some(client) = self.clients.get_mut(at) {
                    client.handle_messages(now);
                }
            } else {
                self.read(at);
            }
            self.settle(at);
        }
        std::mem::swap(&mut events, &mut self.events);
        self.run_timers();
        if self.clock.now().instant >= self.next_sweep {
            self.sweep();
        }
    }

    /// Reads the media sockets of the next [`SWEPT_AT_ONCE`] playing viewers.
    fn sweep(&mut self) {
        self.next_sweep = self.clock.now().instant + SWEEP;
        for _ in 0..SWEPT_AT_ONCE.min(self.swept.len()) {
            self.sweep_from = (self.sweep_from + 1) % self.swept.len();
            if let Some(&at) = self.swept.get(self.sweep_from) {
                self.read(at);
                self.rearm(at);
            }
        }
    }

    fn read(&mut self, at: usize) {
        if let Some(client) = self.clients.get_mut(at) {
            let read = client.handle_datagrams(&mut self.clock, &mut self.batch);
            self.received += read as u64;
        }
    }

    /// After something happened to client `at`: its timer, and whether its media is swept.
    fn settle(&mut self, at: usize) {
        self.rearm(at);
        let Some((client, polled)) = self.clients.get_mut(at).zip(self.polled.get_mut(at)) else {
            return;
        };
        // Where it cannot leave the poll it stays there, and is read all the same.
        if *polled && client.leave_poll(self.poll.registry()).unwrap_or(false) {
            *polled = false;
            self.swept.push(at);
        }
    }

    fn run_timers(&mut self) {
        let now = self.clock.now();
        while let Some(&Reverse((due, at))) = self.timers.peek() {
            if due > now.instant {
                return;
            }
            self.timers.pop();
            if self.armed.get(at).copied().flatten() != Some(due) {
                continue;
            }
            if let Some(armed) = self.armed.get_mut(at) {
                *armed = None;
            }
            if self.polled.get(at) == Some(&false) {
                // A report tells of everything that has come.
                self.read(at);
            }
            if let Some(client) = self.clients.get_mut(at) {
                self.sent += client.handle_timeout(now);
            }
            self.settle(at);
        }
    }

    fn rearm(&mut self, at: usize) {
        if let Some(due) = self.clients.get_mut(at).and_then(Client::poll_timeout) {
            self.arm(at, due);
        }
    }

    fn arm(&mut self, at: usize, due: Instant) {
        let Some(armed) = self.armed.get_mut(at) else {
            return;
        };
        if armed.is_none_or(|earlier| due < earlier) {
            *armed = Some(due);
            self.timers.push(Reverse((due, at)));
        }
    }

    /// Turns until `done` says so; false when `patience` ran out first.
    pub fn run_until(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Vec<Client>) -> bool,
    ) -> bool {
        let end = self.clock.now().instant + patience;
        loop {
            if done(&mut self.clients) {
                return true;
            }
            if self.clock.now().instant >= end {
                return false;
            }
            self.turn(TURN);
        }
    }

    /// Clients that are connected, and why the others that failed did.
    pub fn census(&self) -> (usize, Vec<&str>) {
        let connected = self.clients.iter().filter(|c| c.phase == Phase::Connected);
        let failed = self.clients.iter().filter_map(|c| match &c.phase {
            Phase::Failed(why) => Some(why.as_str()),
            Phase::Open | Phase::Asked(_) | Phase::Connected => None,
        });
        (connected.count(), failed.collect())
    }
}

/// Sockets that one poll tells of.
const EVENTS: usize = 1024;

/// Between two looks at some of the media sockets.
pub(super) const SWEEP: Duration = Duration::from_millis(2);

/// Sockets that are read then: 50,000 looks a second take a few percent of a core, and each of
/// 1000 sockets has its turn every 20 ms, in which a fraction of its buffer fills.
pub(super) const SWEPT_AT_ONCE: usize = 100;

/// The longest wait within [`Fleet::run_until`].
const TURN: Duration = Duration::from_millis(20);
