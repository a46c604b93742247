//! What is under way in a world, and when it arrives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use leafcutter::base::clock::Now;
use leafcutter::base::ids::{ConnId, WorkerId};
use leafcutter::model::mail::{ControlMail, WorkerMail};

use super::world::{TURN, epoch};

/// What is under way, earliest first; what arrives together keeps the order it was sent in.
#[derive(Debug, Default)]
pub struct Agenda {
    pending: BinaryHeap<Reverse<Event>>,
    events: u64,
}

#[derive(Debug)]
struct Event {
    at: Instant,
    order: u64,
    what: What,
}

/// What is to happen.
#[derive(Debug)]
pub enum What {
    /// A datagram reaches an engine.
    ToEngine {
        worker: usize,
        from: SocketAddr,
        datagram: Vec<u8>,
    },
    /// A datagram reaches a client.
    ToClient {
        client: usize,
        from: SocketAddr,
        datagram: Vec<u8>,
    },
    /// A message reaches an engine.
    TextToEngine { conn: ConnId, text: String },
    /// A message reaches a client.
    TextToClient { client: usize, text: String },
    /// A WebSocket ends.
    Close { conn: ConnId },
    /// A mail reaches the control plane.
    ToControl(Box<ControlMail>),
    /// A mail reaches a worker.
    ToWorker(WorkerId, WorkerMail),
}

impl Agenda {
    /// Adds what happens `after` now; datagrams reach an engine on the grid of its turns.
    pub fn add(&mut self, now: Now, after: Duration, what: What) {
        let mut at = now.instant + after;
        if matches!(what, What::ToEngine { .. }) {
            let us = (at - epoch()).as_micros() as u64;
            at = epoch() + Duration::from_micros(us.next_multiple_of(TURN.as_micros() as u64));
        }
        self.events += 1;
        self.pending.push(Reverse(Event {
            at,
            order: self.events,
            what,
        }));
    }

    /// When the earliest happens.
    pub fn next(&self) -> Option<Instant> {
        self.pending.peek().map(|Reverse(event)| event.at)
    }

    /// The next that is there at `at`.
    pub fn take(&mut self, at: Instant) -> Option<What> {
        self.next().filter(|due| *due <= at)?;
        self.pending.pop().map(|Reverse(event)| event.what)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
