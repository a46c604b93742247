//! Datagrams on their way out: packets written back to back, grouped into runs per destination.
//!
//! The engine writes; `net/` sends each [`Run`] with one system call entry (UDP_SEGMENT where it
//! holds more than one datagram). Knows no socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::limits::{EGRESS_LEN, MAX_DATAGRAM_LEN, MAX_GSO_SEGMENTS};

/// A way to a peer: its address, and which of this host's addresses it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The peer's transport address.
    pub remote: SocketAddr,
    /// The local address that its datagrams came to, so that answers leave from the same one;
    /// `None` when the socket is bound to one address anyway.
    pub local: Option<IpAddr>,
    /// The TCP connection that carries its datagrams as frames (RFC 4571); `None`: UDP.
    pub tcp: Option<TcpId>,
}

impl Route {
    /// Over UDP.
    pub const fn udp(remote: SocketAddr, local: Option<IpAddr>) -> Self {
        Self {
            remote,
            local,
            tcp: None,
        }
    }

    /// Whom its datagrams are from, for the gate.
    pub fn source(&self) -> Source {
        match self.tcp {
            None => Source::Udp(self.remote),
            Some(id) => Source::Tcp(id),
        }
    }
}

/// What tells the sender of a datagram from others: its address, or its connection, which is
/// nobody else's for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The transport address that it sends from.
    Udp(SocketAddr),
    /// The connection that it sends over.
    Tcp(TcpId),
}

/// A TCP connection of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpId {
    /// Its place in the worker's table, which others have after it.
    pub slot: u32,
    /// Tells it from those; counted up.
    pub serial: u32,
}

/// Datagrams of one length to one destination, back to back; the last one may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where to, and from which local address.
    pub route: Route,
    /// Offset of the first byte in [`Egress::bytes`].
    pub start: usize,
    /// Bytes of all datagrams together.
    pub len: usize,
    /// Bytes per datagram; only the last may be shorter.
    pub segment_len: usize,
    /// Datagrams, 1..=`limits::MAX_GSO_SEGMENTS`.
    pub segments: usize,
    /// When its first packet came in; `None` for what was not forwarded.
    pub stored: Option<Instant>,
}

/// The buffer and its runs. Allocates once, when made.
#[derive(Debug)]
pub struct Egress {
    bytes: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            bytes: vec![0; EGRESS_LEN].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(EGRESS_LEN / 64),
        }
    }
}

impl Egress {
    /// The runs written since the last [`clear`](Self::clear), oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The bytes of `run`.
    pub fn bytes_of(&self, run: &Run) -> &[u8] {
        self.bytes
            .get(run.start..run.start + run.len)
            .unwrap_or_default()
    }

    /// The whole buffer; runs point into it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// True when `datagrams` of any length still fit.
    pub fn has_room_for(&self, datagrams: usize) -> bool {
        self.runs.len() + datagrams <= self.runs.capacity()
            && self.used + datagrams * MAX_DATAGRAM_LEN <= self.bytes.len()
    }

    /// Forgets everything, after it was sent.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }

    /// The place for the next datagram, `MAX_DATAGRAM_LEN` bytes; `None` when full. What is
    /// written there is sent only after [`commit`](Self::commit).
    pub fn slot(&mut self) -> Option<&mut [u8; MAX_DATAGRAM_LEN]> {
        if self.runs.len() == self.runs.capacity() {
            return None;
        }
        self.bytes.get_mut(self.used..)?.first_chunk_mut()
    }

    /// Takes the first `len` bytes of the slot as one datagram along `route`.
    ///
    /// It joins the latest run when that has the same route, is below `max_segments`, and
    /// all its datagrams are of one length that is not below `len` (UDP_SEGMENT lets only the
    /// last one be shorter).
    pub fn commit(&mut self, route: Route, len: usize, max_segments: usize) {
        self.append(route, len, max_segments, None);
    }

    /// The same for a packet that is forwarded and was stored at `stored`.
    pub fn commit_stored(
        &mut self,
        route: Route,
        len: usize,
        max_segments: usize,
        stored: Instant,
    ) {
        self.append(route, len, max_segments, Some(stored));
    }

    fn append(&mut self, route: Route, len: usize, max_segments: usize, stored: Option<Instant>) {
        let start = self.used;
        self.used += len;
        if let Some(run) = self.runs.last_mut() {
            let whole = run.len == run.segments * run.segment_len;
            let open = run.segments < max_segments.min(MAX_GSO_SEGMENTS);
            if open && whole && len <= run.segment_len && run.route == route {
                run.len += len;
                run.segments += 1;
                return;
            }
        }
        self.runs.push(Run {
            route,
            start,
            len,
            segment_len: len,
            segments: 1,
            stored,
        });
    }

    /// Copies `datagram` in; false when there is no room or it is too long.
    pub fn push(&mut self, route: Route, datagram: &[u8]) -> bool {
        let Some(slot) = self.slot() else {
            return false;
        };
        let Some(place) = slot.get_mut(..datagram.len()) else {
            return false;
        };
        place.copy_from_slice(datagram);
        self.commit(route, datagram.len(), 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> Route {
        Route::udp(SocketAddr::from(([127, 0, 0, 1], port)), None)
    }

    fn commit(e: &mut Egress, port: u16, len: usize) {
        assert!(e.slot().is_some());
        e.commit(addr(port), len, MAX_GSO_SEGMENTS);
    }

    #[test]
    fn equal_lengths_to_one_place_form_a_run_and_a_shorter_one_ends_it() {
        let mut e = Egress::default();
        for len in [100, 100, 60, 60] {
            commit(&mut e, 1, len);
        }
        commit(&mut e, 2, 60);
        let runs: Vec<_> = e
            .runs()
            .iter()
            .map(|r| (r.segments, r.segment_len, r.len))
            .collect();
        assert_eq!(runs, [(3, 100, 260), (1, 60, 60), (1, 60, 60)]);
    }

    #[test]
    fn a_run_is_capped() {
        let mut e = Egress::default();
        for _ in 0..=MAX_GSO_SEGMENTS {
            commit(&mut e, 1, 100);
        }
        assert_eq!(e.runs().len(), 2);
    }

    #[test]
    fn a_full_buffer_refuses_and_clearing_makes_room() {
        let mut e = Egress::default();
        let mut sent = 0;
        while e.push(addr(1), &[0; MAX_DATAGRAM_LEN]) {
            sent += 1;
        }
        assert_eq!(sent, EGRESS_LEN / MAX_DATAGRAM_LEN);
        e.clear();
        assert!(e.push(addr(1), &[7]));
        assert_eq!(e.bytes_of(&e.runs()[0]), &[7]);
    }
}
