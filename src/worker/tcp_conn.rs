//! One TCP connection that carries a peer's datagrams (RFC 6544, framed as RFC 4571 has it).
//!
//! Non-blocking, and bounded in every direction: what is read at once, what waits to be written,
//! how long it may go without use. Owned by the table in `tcp.rs`.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::base::clock::Now;
use crate::base::crowd::Place;
use crate::base::egress::{Route, TcpId};
use crate::base::limits::MAX_TCP_BACKLOG_LEN;
use crate::engine::Engine;
use crate::net;
use crate::transport::demux::{self, Protocol};
use crate::transport::framing::{Deframer, Frames, HEADER_LEN, MAX_FRAME_LEN, put_frame};

/// A connection and where it stands.
#[derive(Debug)]
pub(super) struct TcpConn {
    /// Its number.
    pub id: TcpId,
    /// It is in the table's list of connections to be read.
    pub queued: bool,
    /// It is in the table's list of connections to be flushed.
    pub dirty: bool,

    _place: Place,
    stream: TcpStream,
    route: Route,
    deframer: Deframer,
    /// Frames that wait to be written, from `written` on.
    pending: Vec<u8>,
    written: usize,
    /// When the client last took something, or nothing waited.
    moved: Instant,
    last_heard: Instant,
    /// Since when ICE knows nothing of it; `None` while it is a validated peer's.
    unknown_since: Option<Instant>,
}

/// What reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many frames; there may be more.
    Frames(u64),
    /// Nothing more until the socket is readable again.
    Drained,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpEnd {
    /// The client closed it.
    Closed,
    /// It sent what is no frame, or no STUN before ICE knew it.
    Misbehaved,
    /// It was not validated in time, its peer is gone, or nothing came for long.
    Idle,
    /// It did not read what was sent.
    SlowReader,
}

impl TcpConn {
    /// Takes over an accepted socket and registers it.
    ///
    /// # Errors
    /// What the operating system said: the client is gone already.
    pub fn open(
        id: TcpId,
        mut stream: TcpStream,
        remote: SocketAddr,
        place: Place,
        (registry, token): (&Registry, Token),
        now: Instant,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        net::limit_unsent(stream.as_fd(), UNSENT_MAX)?;
        let local = stream.local_addr()?.ip().to_canonical();
        // The poll tells of an edge only: room is told of when there was none.
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let route = Route {
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            local: Some(local),
            tcp: Some(id),
        };
        Ok(Self {
            id,
            queued: false,
            dirty: false,
            _place: place,
            stream,
            route,
            deframer: Deframer::default(),
            pending: Vec::new(),
            written: 0,
            moved: now,
            last_heard: now,
            unknown_since: Some(now),
        })
    }

    /// The client.
    pub fn remote(&self) -> SocketAddr {
        self.route.remote
    }

    /// Reads once into `buffer`, of [`READ_BUFFER_LEN`] bytes, and hands each whole frame to the
    /// engine.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn read(
        &mut self,
        now: Now,
        buffer: &mut [u8],
        engine: &mut Engine,
    ) -> Result<Heard, TcpEnd> {
        let kept = self.deframer.resume(buffer);
        let len = match self.stream.read(buffer.get_mut(kept..).unwrap_or_default()) {
            Ok(0) => return Err(TcpEnd::Closed),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Heard::Drained),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Heard::Frames(0));
            }
            Err(_) => return Err(TcpEnd::Closed),
        };
        self.last_heard = now.instant;
        let stream = buffer.get_mut(..kept + len).unwrap_or_default();
        let mut frames = Frames::of(stream);
        let mut count = 0;
        while let Some(frame) = frames.take().map_err(|_| TcpEnd::Misbehaved)? {
            let is_unknown = self.unknown_since.is_some();
            if is_unknown && demux::classify(frame) != Some(Protocol::Stun) {
                return Err(TcpEnd::Misbehaved);
            }
            engine.handle_datagram(now, self.route, frame);
            if is_unknown && engine.is_validated(self.id) {
                self.unknown_since = None;
            }
            count += 1;
        }
        let rest = frames.rest();
        self.deframer.keep(rest);
        Ok(Heard::Frames(count))
    }

    /// Queues one datagram; false when it does not fit.
    pub fn push(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let waiting = self.pending.len() - self.written;
        let len = HEADER_LEN + datagram.len();
        if waiting + len > MAX_TCP_BACKLOG_LEN {
            return false;
        }
        if waiting == 0 {
            self.moved = now;
        }
        if self.pending.len() + len > self.pending.capacity() {
            self.pending.drain(..self.written);
            self.written = 0;
        }
        put_frame(&mut self.pending, datagram)
    }

    /// Writes what is queued as far as the client takes it.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn flush(&mut self, now: Instant) -> Result<(), TcpEnd> {
        while let Some(rest) = self.pending.get(self.written..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(TcpEnd::Closed),
                Ok(len) => {
                    self.written += len;
                    self.moved = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(TcpEnd::Closed),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// True while frames wait for the client.
    pub fn has_pending(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Looks at its times, about once a second; `is_validated`: it is a peer's.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn keep_alive(&mut self, now: Instant, is_validated: bool) -> Result<(), TcpEnd> {
        let since = |at: Instant| now.saturating_duration_since(at);
        if is_validated {
            self.unknown_since = None;
        } else if since(*self.unknown_since.get_or_insert(now)) >= UNKNOWN_MAX {
            return Err(TcpEnd::Idle);
        }
        if since(self.last_heard) >= SILENT_MAX {
            return Err(TcpEnd::Idle);
        }
        if self.has_pending() && since(self.moved) >= STUCK_MAX {
            return Err(TcpEnd::SlowReader);
        }
        Ok(())
    }

    /// Takes the socket out of the poll, before it is dropped.
    pub fn deregister(&mut self, registry: &Registry) {
        // It fails only for what is not registered.
        let _ = registry.deregister(&mut self.stream);
    }
}

/// How long a connection may be nobody's: before its first binding request was accepted, and after
/// its peer is gone. A browser sends one as soon as it is connected.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);

/// How long nothing may come: a browser checks a pair that it keeps in reserve every 25 s
/// (INTEROP(chrome)).
const SILENT_MAX: Duration = Duration::from_secs(60);

/// How long a client may take nothing while something waits for it: twice the longest stall of a
/// path that is still of use for live media.
const STUCK_MAX: Duration = Duration::from_secs(10);

/// Bytes that wait in the kernel to be sent for the first time: a quarter of a second at 2 Mbit/s.
const UNSENT_MAX: i32 = 64 * 1024;

/// Bytes read at once, of all connections of a worker in turn: if they are the shortest binding
/// requests, some hundreds, which is as much as the UDP socket may bring in one turn.
pub(super) const READ_BUFFER_LEN: usize = 16 * 1024;

const _: () = assert!(READ_BUFFER_LEN >= 2 * MAX_FRAME_LEN);
