//! ICE over TCP (RFC 6544), passive side: a worker's listener and the connections that clients make
//! when UDP does not come through.
//!
//! Each frame goes to the engine like a datagram, with a route that names the connection; runs for
//! such routes come back here instead of the UDP socket. Called by `run.rs`; one connection is in
//! `tcp_conn.rs`. Knows no STUN: which connections are whose is ICE's to say.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Registry, Token};
use slab::Slab;

use super::conns::{FIRST_TOKEN, MAX_CONNS};
use super::tcp_conn::{Heard, READ_BUFFER_LEN, TcpConn, TcpEnd};
use crate::base::clock::Now;
use crate::base::crowd::{Crowd, CrowdLimits};
use crate::base::egress::{Run, TcpId};
use crate::base::limits::MAX_TCP_CONNS;
use crate::base::redact::Address;
use crate::engine::Engine;
use crate::metrics::TcpFigures;

/// All media connections of one worker.
#[derive(Debug)]
pub(super) struct TcpConns {
    /// `None`: TCP is not served.
    listener: Option<TcpListener>,
    registry: Registry,
    /// The listener may hold connections: its readiness is told once per arrival.
    accepts: bool,
    /// The system refused to accept: the sweep tries again.
    stalled: bool,
    slots: Slab<TcpConn>,
    next_serial: u32,
    crowd: Crowd,
    /// Slots to be read; a slot that is free by its turn is passed over.
    ready: VecDeque<usize>,
    /// Slots to be flushed.
    dirty: Vec<usize>,
    /// What is read, of all connections in turn.
    buffer: Box<[u8]>,
    sweep_at: usize,
    next_sweep: Instant,
    counters: TcpFigures,
}

impl TcpConns {
    /// An empty table; `listener` is registered as [`LISTENER`] with `registry` already.
    pub fn new(
        listener: Option<TcpListener>,
        registry: Registry,
        limits: CrowdLimits,
        now: Instant,
    ) -> Self {
        let buffer_len = if listener.is_some() {
            READ_BUFFER_LEN
        } else {
            0
        };
        Self {
            accepts: listener.is_some(),
            stalled: false,
            listener,
            registry,
            slots: Slab::new(),
            next_serial: 0,
            crowd: Crowd::new(limits),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            buffer: vec![0; buffer_len].into_boxed_slice(),
            sweep_at: 0,
            next_sweep: now + SWEEP_EVERY,
            counters: TcpFigures::default(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> TcpFigures {
        TcpFigures {
            open: self.slots.len() as u64,
            ..self.counters
        }
    }

    /// Takes note of what a poll said of the listener or of a connection.
    pub fn note(&mut self, event: &Event) {
        if event.token() == LISTENER {
            self.accepts = true;
            return;
        }
        let Some(slot) = event.token().0.checked_sub(FIRST_TCP_TOKEN) else {
            return;
        };
        let Some(conn) = self.slots.get(slot) else {
            return;
        };
        if event.is_writable() && conn.has_pending() {
            self.mark_dirty(slot);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.queue(slot);
        }
    }

    /// True while there is nothing to accept or to read.
    pub fn is_idle(&self) -> bool {
        !self.accepts && self.ready.is_empty()
    }

    /// Accepts connections and reads those that are ready, oldest readiness first, as long as
    /// `has_time`; true when some are left.
    pub fn serve(
        &mut self,
        now: Now,
        mut has_time: impl FnMut() -> bool,
        engine: &mut Engine,
    ) -> bool {
        self.accept(now.instant);
        for _ in 0..READS_PER_TURN {
            let Some(slot) = self.ready.pop_front() else {
                return self.accepts;
            };
            self.serve_one(slot, now, engine);
            if !has_time() {
                break;
            }
        }
        self.accepts || !self.ready.is_empty()
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.accepts) else {
            return;
        };
        let mut taken: [Option<(TcpStream, SocketAddr)>; ACCEPTS_PER_TURN] = Default::default();
        for place in &mut taken {
            match listener.accept() {
                Ok(accepted) => *place = Some(accepted),
                Err(error) => {
                    self.accepts = false;
                    // Out of descriptors, say.
                    self.stalled = error.kind() != io::ErrorKind::WouldBlock;
                    if self.stalled {
                        tracing::warn!(%error, "a TCP connection for media was not accepted");
                    }
                    break;
                }
            }
        }
        for (stream, remote) in taken.into_iter().flatten() {
            self.open(now, stream, remote);
        }
    }

    fn open(&mut self, now: Instant, stream: TcpStream, remote: SocketAddr) {
        let place = match self.slots.len() {
            0..MAX_TCP_CONNS => self.crowd.enter(remote.ip()),
            _ => None,
        };
        let Some(place) = place else {
            self.counters.refused += 1;
            return;
        };
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        let id = TcpId {
            slot: slot as u32,
            serial: self.next_serial,
        };
        let poll = (&self.registry, Token(FIRST_TCP_TOKEN + slot));
        match TcpConn::open(id, stream, remote, place, poll, now) {
            Ok(conn) => {
                entry.insert(conn);
                self.next_serial = self.next_serial.wrapping_add(1);
                self.counters.accepted += 1;
            }
            Err(error) => tracing::debug!(%error, "a TCP connection was gone already"),
        }
    }

    fn serve_one(&mut self, slot: usize, now: Now, engine: &mut Engine) {
        let Some(conn) = self.slots.get_mut(slot) else {
            return;
        };
        conn.queued = false;
        match conn.read(now, &mut self.buffer, engine) {
            Ok(Heard::Frames(count)) => {
                self.counters.frames_received += count;
                self.queue(slot);
            }
            Ok(Heard::Drained) => {}
            Err(end) => self.remove(slot, end, now, engine),
        }
    }

    /// Queues the datagrams of one run on the connection that it names; returns how many were not,
    /// because it is gone or full.
    pub fn send(&mut self, now: Instant, to: TcpId, run: &Run, bytes: &[u8]) -> u64 {
        let slot = to.slot as usize;
        let Some(conn) = self.slots.get_mut(slot).filter(|conn| conn.id == to) else {
            return run.segments as u64;
        };
        let datagrams = bytes.chunks(run.segment_len.max(1));
        let dropped = datagrams.filter(|d| !conn.push(now, d)).count() as u64;
        self.counters.frames_sent += run.segments as u64 - dropped;
        self.mark_dirty(slot);
        dropped
    }

    /// Writes what is queued on every connection that has something.
    pub fn flush(&mut self, now: Now, engine: &mut Engine) {
        while let Some(slot) = self.dirty.pop() {
            let Some(conn) = self.slots.get_mut(slot) else {
                continue;
            };
            conn.dirty = false;
            if let Err(end) = conn.flush(now.instant) {
                self.remove(slot, end, now, engine);
            }
        }
    }

    /// When [`sweep`](Self::sweep) is due; `None` when there is nothing to look at.
    pub fn next_sweep(&self) -> Option<Instant> {
        (!self.slots.is_empty() || self.stalled).then_some(self.next_sweep)
    }

    /// Ends connections that are of no use, [`SWEPT_PER_TURN`] slots at a time; true while a pass
    /// is under way.
    pub fn sweep(&mut self, now: Now, engine: &mut Engine) -> bool {
        if self.sweep_at == 0 {
            if now.instant < self.next_sweep {
                return false;
            }
            self.next_sweep = now.instant + SWEEP_EVERY;
            self.accepts |= std::mem::take(&mut self.stalled);
        }
        let to = self.sweep_at + SWEPT_PER_TURN;
        for slot in self.sweep_at..to {
            let Some(conn) = self.slots.get_mut(slot) else {
                continue;
            };
            let is_validated = engine.is_validated(conn.id);
            if let Err(end) = conn.keep_alive(now.instant, is_validated) {
                self.remove(slot, end, now, engine);
            }
        }
        self.sweep_at = if to < self.slots.capacity() { to } else { 0 };
        self.sweep_at > 0
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

    fn remove(&mut self, slot: usize, end: TcpEnd, now: Now, engine: &mut Engine) {
        let Some(mut conn) = self.slots.try_remove(slot) else {
            return;
        };
        conn.deregister(&self.registry);
        self.counters.slow_readers += u64::from(end == TcpEnd::SlowReader);
        tracing::debug!(remote = %Address(conn.remote()), ?end, "TCP connection for media closed");
        engine.handle_tcp_closed(now, conn.id);
    }
}

/// The listener in the poll.
pub(super) const LISTENER: Token = Token(2);

/// Tokens of connections, behind those of all WebSockets.
pub(super) const FIRST_TCP_TOKEN: usize = FIRST_TOKEN + MAX_CONNS;

const _: () = assert!(LISTENER.0 < FIRST_TOKEN);

/// Connections accepted per turn: at about 10 us each, a flood takes a sixth of a millisecond.
const ACCEPTS_PER_TURN: usize = 16;

/// Reads per turn at most.
const READS_PER_TURN: usize = 64;

/// Slots looked at per turn of a sweep.
const SWEPT_PER_TURN: usize = 256;

/// How often times are looked at; they are seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
