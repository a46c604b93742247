//! A worker's WebSockets: the table, who is to be read and who to be flushed, and the sweep that
//! keeps them alive.
//!
//! Called by `run.rs`. Tells the engine of openings, messages and closings; a connection's closing
//! is told once, as soon as no further message can come from it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};
use slab::Slab;
use tungstenite::protocol::frame::coding::CloseCode;

use super::conn::{Conn, End, Next};
use super::inbox::NewConn;
use crate::base::clock::Now;
use crate::base::ids::{ConnId, WorkerId};
use crate::base::redact::Address;
use crate::engine::{ConnOpened, ConnOutput, Engine};

/// All WebSockets of one worker.
#[derive(Debug)]
pub(super) struct Conns {
    worker: WorkerId,
    registry: Registry,
    slots: Slab<Conn>,
    by_serial: HashMap<u64, usize>,
    next_serial: u64,
    /// Slots to be read; a slot that is free by its turn is passed over.
    ready: VecDeque<usize>,
    /// Slots to be flushed.
    dirty: Vec<usize>,
    sweep: Sweep,
    messages_per_s: u32,
    slow_readers: u64,
}

/// A pass over all slots, a few per turn, that starts about once a second.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    /// Next slot to be looked at; `None` between passes.
    at: Option<usize>,
    next: Instant,
}

impl Conns {
    /// An empty table whose sockets are registered with `registry`.
    /// Each may send so many messages per second; 0: no limit.
    pub fn new(worker: WorkerId, registry: Registry, now: Instant, messages_per_s: u32) -> Self {
        Self {
            worker,
            registry,
            slots: Slab::new(),
            by_serial: HashMap::new(),
            next_serial: 0,
            ready: VecDeque::new(),
            dirty: Vec::new(),
            sweep: Sweep {
                at: None,
                next: now + SWEEP_EVERY,
            },
            messages_per_s,
            slow_readers: 0,
        }
    }

    /// WebSockets in the table, closing ones included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// WebSockets closed because they did not read, since the start.
    pub fn slow_readers(&self) -> u64 {
        self.slow_readers
    }

    /// Takes over a WebSocket; one that is gone already, or above [`MAX_CONNS`], is dropped.
    pub fn open(&mut self, now: Now, new: NewConn, engine: &mut Engine) {
        if self.slots.len() >= MAX_CONNS {
            tracing::warn!(
                worker = self.worker.0,
                "too many WebSockets: one was refused"
            );
            return;
        }
        let id = ConnId {
            worker: self.worker,
            serial: self.next_serial,
        };
        let opened = ConnOpened {
            conn: id,
            app: new.app.clone(),
            settings: new.settings.clone(),
            client: new.client.clone(),
        };
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        let token = Token(FIRST_TOKEN + slot);
        let rate = self.messages_per_s;
        match Conn::open(id, new, token, &self.registry, rate, now.instant) {
            Ok(conn) => {
                entry.insert(conn);
            }
            Err(error) => {
                tracing::debug!(%error, "a WebSocket was gone before it was taken over");
                return;
            }
        }
        self.next_serial += 1;
        self.by_serial.insert(id.serial, slot);
        engine.handle_conn_opened(now, opened);
        // Frames may have come together with the HTTP request, which no event announces.
        self.queue(slot);
    }

    /// Takes note of what a poll said of one of the sockets.
    pub fn note(&mut self, event: &Event) {
        let Some(slot) = event.token().0.checked_sub(FIRST_TOKEN) else {
            return;
        };
        if event.is_writable() {
            self.mark_dirty(slot);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.queue(slot);
        }
    }

    /// Reads the sockets that are ready, oldest readiness first, [`CONNS_PER_TURN`] of them as
    /// long as `has_time`; true when some are left.
    pub fn serve(
        &mut self,
        now: Now,
        mut has_time: impl FnMut() -> bool,
        engine: &mut Engine,
    ) -> bool {
        for _ in 0..CONNS_PER_TURN {
            if !has_time() {
                break;
            }
            let Some(slot) = self.ready.pop_front() else {
                return false;
            };
            self.serve_one(slot, now, engine);
        }
        !self.ready.is_empty()
    }

    fn serve_one(&mut self, slot: usize, now: Now, engine: &mut Engine) {
        let Some(conn) = self.slots.get_mut(slot) else {
            return;
        };
        conn.queued = false;
        let was_open = conn.is_open();
        conn.allow();
        let mut outcome = Next::Paused;
        for _ in 0..MESSAGES_PER_CONN {
            match conn.next(now.instant) {
                Next::Text(text) => engine.handle_message(now, conn.id, text.as_str()),
                Next::Nothing => {}
                other => {
                    outcome = other;
                    break;
                }
            }
        }
        if let Next::Gone(end) = outcome {
            return self.remove(slot, end, was_open, now, engine);
        }
        if was_open && !conn.is_open() {
            engine.handle_conn_closed(now, conn.id);
        }
        if outcome == Next::Paused {
            self.queue(slot);
        }
        // Answers to pings and closes were queued by reading.
        self.mark_dirty(slot);
    }

    /// Does what the engine wants of one connection; nothing when that one is closing or gone.
    pub fn output(&mut self, now: Now, conn: ConnId, output: ConnOutput, engine: &mut Engine) {
        let Some(&slot) = self.by_serial.get(&conn.serial) else {
            return;
        };
        let Some(conn) = self.slots.get_mut(slot).filter(|conn| conn.is_open()) else {
            return;
        };
        let result = match output {
            ConnOutput::Text(text) => conn.send(text),
            ConnOutput::Close => {
                engine.handle_conn_closed(now, conn.id);
                conn.close(CloseCode::Normal, now.instant)
            }
        };
        let open = conn.is_open();
        match result {
            Ok(()) => self.mark_dirty(slot),
            Err(end) => self.remove(slot, end, open, now, engine),
        }
    }

    /// Sends what is queued on every connection that has something; true when one of them ended.
    pub fn flush(&mut self, now: Now, engine: &mut Engine) -> bool {
        let before = self.slots.len();
        while let Some(slot) = self.dirty.pop() {
            let Some(conn) = self.slots.get_mut(slot) else {
                continue;
            };
            conn.dirty = false;
            let open = conn.is_open();
            if let Err(end) = conn.flush(&self.registry) {
                self.remove(slot, end, open, now, engine);
            }
        }
        self.slots.len() < before
    }

    /// When [`sweep`](Self::sweep) is due; `None` without connections.
    pub fn next_sweep(&self) -> Option<Instant> {
        (!self.slots.is_empty()).then_some(self.sweep.next)
    }

    /// Sends pings and ends what is overdue, [`SWEPT_PER_TURN`] slots at a time; true while a
    /// pass is under way.
    pub fn sweep(&mut self, now: Now, engine: &mut Engine) -> bool {
        if self.sweep.at.is_none() && now.instant >= self.sweep.next {
            self.sweep = Sweep {
                at: Some(0),
                next: now.instant + SWEEP_EVERY,
            };
        }
        let Some(from) = self.sweep.at else {
            return false;
        };
        let to = from + SWEPT_PER_TURN;
        for slot in from..to {
            let Some(conn) = self.slots.get_mut(slot) else {
                continue;
            };
            let open = conn.is_open();
            match conn.keep_alive(now.instant) {
                Ok(true) => self.mark_dirty(slot),
                Ok(false) => {}
                Err(end) => self.remove(slot, end, open, now, engine),
            }
        }
        self.sweep.at = (to < self.slots.capacity()).then_some(to);
        self.sweep.at.is_some()
    }

    /// Starts to close every connection because the server goes away (RFC 6455 §7.4.1: 1001).
    pub fn close_all(&mut self, now: Now, engine: &mut Engine) {
        for slot in 0..self.slots.capacity() {
            let Some(conn) = self.slots.get_mut(slot).filter(|conn| conn.is_open()) else {
                continue;
            };
            let closing = conn.close(CloseCode::Away, now.instant);
            engine.handle_conn_closed(now, conn.id);
            match closing {
                Ok(()) => self.mark_dirty(slot),
                Err(end) => self.remove(slot, end, false, now, engine),
            }
        }
    }

    fn queue(&mut self, slot: usize) {
        if let Some(conn) = self.slots.get_mut(slot)
            && !std::mem::replace(&mut conn.queued, true)
        {
            self.ready.push_back(slot);
        }
    }

    fn mark_dirty(&mut self, slot: usize) {
        if let Some(conn) = self.slots.get_mut(slot)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Drops a connection; the engine hears of it when it was still `open`.
    fn remove(&mut self, slot: usize, end: End, open: bool, now: Now, engine: &mut Engine) {
        let Some(mut conn) = self.slots.try_remove(slot) else {
            return;
        };
        conn.deregister(&self.registry);
        self.by_serial.remove(&conn.id.serial);
        if open {
            engine.handle_conn_closed(now, conn.id);
        }
        let (serial, remote) = (conn.id.serial, Address(conn.remote));
        match end {
            End::Closed => tracing::debug!(serial, %remote, "WebSocket closed"),
            End::TimedOut => tracing::info!(serial, %remote, "WebSocket timed out"),
            End::SlowReader => {
                self.slow_readers += 1;
                tracing::info!(serial, %remote, "WebSocket closed: it does not read");
            }
        }
    }
}

/// Tokens below it are the media socket's, the waker's and the listener's.
pub(super) const FIRST_TOKEN: usize = 3;

/// WebSockets per worker; further ones are dropped. The front door sheds load long before.
pub(super) const MAX_CONNS: usize = 16_384;

/// Connections read per turn: at about 10 us for an ordinary message, half a millisecond at most
/// between two looks at the media socket.
const CONNS_PER_TURN: usize = 64;

/// Messages read per connection and turn: a burst of candidates fits, a flood waits its turn.
const MESSAGES_PER_CONN: usize = 16;

/// Slots looked at per turn of a sweep: if all of them are due for a ping, a millisecond.
const SWEPT_PER_TURN: usize = 256;

/// How often the keep-alive times are looked at; they are tens of seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
