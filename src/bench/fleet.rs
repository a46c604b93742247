//! Many clients on one thread: opens them, polls their sockets, runs their timers.

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
    server: SocketAddr,
    path: String,
    identity: Identity,
    poll: Poll,
    events: Events,
    clock: Clock,
    rng: StdRng,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    armed: Vec<Option<Instant>>,
}

impl Fleet {
    /// No clients yet of the server at `server`; its WebSockets are at `path`. `seed` makes their
    /// SSRCs and credentials.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(server: SocketAddr, path: &str, identity: &Identity, seed: u64) -> io::Result<Self> {
        Ok(Self {
            clients: Vec::new(),
            sent: 0,
            received: 0,
            front: Front::Ant,
            server,
            path: path.to_owned(),
            identity: identity.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            clock: Clock::start(),
            rng: StdRng::seed_from_u64(seed),
            timers: BinaryHeap::new(),
            armed: Vec::new(),
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

    /// Opens a client's WebSocket; returns its place in `clients`.
    ///
    /// # Errors
    /// What the operating system or the server said.
    pub fn open(&mut self, stream: &str, role: Role) -> io::Result<usize> {
        let at = self.clients.len();
        let now = self.clock.now();
        let place = Place {
            front: self.front,
            server: self.server,
            path: &self.path,
            identity: &self.identity,
            registry: self.poll.registry(),
            token: Token(2 * at),
        };
        let client = Client::open(place, stream, role, now, &mut self.rng)?;
        self.clients.push(client);
        self.armed.push(None);
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
        let due = self.timers.peek().map(|Reverse((at, _))| *at);
        let wait = due.map_or(patience, |at| {
            at.saturating_duration_since(now.instant).min(patience)
        });
        // An interrupted wait is a short one.
        let _ = self.poll.poll(&mut self.events, Some(wait));
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let at = event.token().0 / 2;
            // A reading per socket: packets that came while others were read are no younger.
            let now = self.clock.now();
            let Some(client) = self.clients.get_mut(at) else {
                continue;
            };
            if event.token().0 % 2 == 0 {
                client.handle_messages(now);
            } else {
                self.received += client.handle_datagrams(now) as u64;
            }
            self.rearm(at);
        }
        std::mem::swap(&mut events, &mut self.events);
        self.run_timers();
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
            if let Some(client) = self.clients.get_mut(at) {
                self.sent += client.handle_timeout(now);
            }
            self.rearm(at);
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

/// The longest wait within [`Fleet::run_until`].
const TURN: Duration = Duration::from_millis(20);
