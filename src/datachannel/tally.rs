//! How many DATA chunks of a peer the SCTP library may hold (RFC 9260 §6.9, RFC 3758 §3.6).
//!
//! All that were let in, less those of messages that were read, less those that FORWARD-TSN took
//! away. The library does not say which these are, so that they are told by their neighbours: a
//! message's chunks have TSNs in a row, and where one of these is passed over, what is there of it
//! is never read. Nothing is taken for gone that might be held; what may be held though it is gone
//! is of a peer that does not keep to the RFC. Knows no packets. Called by `guard.rs`.
//!
//! INVARIANT: `held` is what the library holds at least; and those that are counted in `open`,
//! `torn` and `came` and that it does not hold any more come on top of that.

use std::collections::HashMap;

/// The chunks of one association.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The library takes no notice of TSNs up to this one; `None` before the first SACK.
    acked: Option<u32>,
    /// The TSN that would continue what came without a gap, if the library took all of it.
    expected: u32,
    /// What was let in beyond `acked`.
    came: HashMap<u32, Piece>,
    held: usize,
    /// The last ones up to `acked`, as long as their message may go on.
    open: Option<Part>,
    /// Those of messages that never become whole, and were not taken away.
    torn: Vec<Part>,
    /// The library has been seen to follow FORWARD-TSN: the peer has announced it.
    forwards: bool,
}

/// A DATA chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub stream: u16,
    /// The number of its message; `None` when that is unordered.
    pub order: Option<u16>,
    pub begins: bool,
    pub ends: bool,
    /// It counts, as long as it is not part of a message that may be read.
    pub counts: bool,
}

/// Neighbours of one message, of which these cannot be read as things are.
#[derive(Clone, Copy, Debug)]
struct Part {
    stream: u16,
    order: Option<u16>,
    begins: bool,
    chunks: usize,
}

impl Tally {
    /// A TSN of which the library takes no notice.
    pub fn is_old(&self, tsn: u32) -> bool {
        self.acked.is_some_and(|acked| !is_after(tsn, acked))
    }

    /// A TSN that continues what came without a gap, or is part of it.
    pub fn continues(&self, tsn: u32) -> bool {
        let Some(acked) = self.acked else { return true };
        tsn.wrapping_sub(acked) <= self.expected.wrapping_sub(acked)
    }

    pub fn has(&self, tsn: u32) -> bool {
        self.came.contains_key(&tsn)
    }

    pub fn acked(&self) -> Option<u32> {
        self.acked
    }

    /// Chunks that may be held.
    pub fn held(&self) -> usize {
        self.held.max(self.came.len())
    }

    /// A chunk was let in that is not old; false when it was before.
    pub fn note_data(&mut self, tsn: u32, piece: Piece) -> bool {
        if self.has(tsn) {
            return false;
        }
        self.came.insert(tsn, piece);
        self.held += 1;
        self.advance();
        true
    }

    /// A message of `chunks` chunks was read.
    pub fn note_read(&mut self, chunks: usize) {
        self.held = self.held.saturating_sub(chunks);
    }

    /// FORWARD-TSN was let in. `gone` says of a stream and a message's number whether that went
    /// with it, when it is not whole.
    pub fn note_forward(&mut self, tsn: u32, gone: impl Fn(u16, Option<u16>) -> bool) {
        // One that is late does nothing.
        if self.is_old(tsn) || self.continues(tsn) && tsn != self.expected {
            return;
        }
        if self.forwards {
            self.pass(tsn);
            let mut less = 0;
            let mut goes = |part: &Part| {
                let goes = part.chunks > 0 && gone(part.stream, part.order);
                less += if goes { part.chunks } else { 0 };
                goes
            };
            self.torn.retain(|part| !goes(part));
            let is_whole = self.open.is_some_and(|open| self.goes_on_to_end(open, tsn));
            self.open = self.open.filter(|part| is_whole || !goes(part));
            self.held = self.held.saturating_sub(less);
        }
        self.expected = tsn.wrapping_add(1);
        self.advance();
    }

    /// A SACK of the library: the cumulative TSN, and the gap blocks (RFC 9260 §3.3.4) of which it
    /// has all that is beyond. It holds `most` chunks at most.
    pub fn note_sack(&mut self, tsn: u32, gaps: &[(u16, u16)], most: usize) {
        self.acked.get_or_insert_with(|| {
            let came = self.came.keys().map(|came| tsn.wrapping_sub(*came));
            let first = came.filter(|behind| *behind < 1 << 31).max();
            first.map_or(tsn, |behind| tsn.wrapping_sub(behind).wrapping_sub(1))
        });
        self.forwards |= self.pass(tsn);
        let before = self.came.len();
        self.came.retain(|came, _| {
            let ahead = came.wrapping_sub(tsn);
            let at = gaps.partition_point(|(_, end)| u32::from(*end) < ahead);
            let gap = gaps.get(at);
            gap.is_some_and(|(start, _)| u32::from(*start) <= ahead)
        });
        // Those it had no room for.
        self.held = self.held.saturating_sub(before - self.came.len());
        if self.held > most {
            self.held = most;
            // Some of these are gone, and which of them is not known.
            self.torn.clear();
            self.open = self.open.map(|open| Part { chunks: 0, ..open });
            self.came
                .values_mut()
                .for_each(|piece| piece.counts = false);
        }
        self.expected = tsn.wrapping_add(1);
        self.advance();
    }

    /// A stream was reset and read to its end.
    pub fn note_finished(&mut self, stream: u16) {
        self.torn.retain(|part| part.stream != stream);
    }

    fn advance(&mut self) {
        while self.came.contains_key(&self.expected) {
            self.expected = self.expected.wrapping_add(1);
        }
    }

    /// The library's cumulative TSN has got to `tsn` at least; true when some of those on the way
    /// did not come.
    fn pass(&mut self, tsn: u32) -> bool {
        let Some(acked) = self.acked.replace(tsn) else {
            return false;
        };
        let ahead = tsn.wrapping_sub(acked);
        let came = self
            .came
            .iter()
            .map(|(tsn, piece)| (tsn.wrapping_sub(acked), *piece));
        let mut passed: Vec<_> = came.filter(|(at, _)| *at <= ahead).collect();
        passed.sort_unstable_by_key(|(at, _)| *at);
        self.came.retain(|came, _| came.wrapping_sub(acked) > ahead);
        let mut last = 0;
        for (at, piece) in &passed {
            if *at != last + 1 {
                self.tear();
            }
            self.extend(*piece);
            last = *at;
        }
        if last != ahead {
            self.tear();
        }
        passed.len() as u64 != u64::from(ahead)
    }

    /// True when a message whose last chunk so far is `tsn` may be whole by what came behind it.
    fn goes_on_to_end(&self, open: Part, tsn: u32) -> bool {
        let behind = (1..).map_while(|by| self.came.get(&tsn.wrapping_add(by)));
        let mut goes_on = behind.take_while(|piece| open.takes(piece));
        open.begins && goes_on.any(|piece| piece.ends)
    }

    fn extend(&mut self, piece: Piece) {
        let goes_on = self.open.filter(|open| open.takes(&piece));
        if goes_on.is_none() {
            self.tear();
        }
        let mut open = goes_on.unwrap_or(Part {
            stream: piece.stream,
            order: piece.order,
            begins: piece.begins,
            chunks: 0,
        });
        open.chunks += usize::from(piece.counts);
        if piece.ends && open.begins {
            open.chunks = 0;
        }
        self.open = Some(open);
    }

    /// What is open does not go on.
    fn tear(&mut self) {
        let torn = self.open.take().filter(|part| part.chunks > 0);
        self.torn.extend(torn);
    }
}

impl Part {
    /// True when a chunk belongs to the same message, coming behind these.
    fn takes(&self, piece: &Piece) -> bool {
        let is_same = (self.stream, self.order) == (piece.stream, piece.order);
        // The library puts ordered chunks together by their number, wherever one begins.
        is_same && !(piece.begins && (piece.order.is_none() || !self.begins))
    }
}

/// Serial number arithmetic (RFC 1982); a number half the circle away counts as after.
pub(super) const fn is_after(tsn: u32, other: u32) -> bool {
    let ahead = tsn.wrapping_sub(other);
    ahead != 0 && ahead <= 1 << 31
}
