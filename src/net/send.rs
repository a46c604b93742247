//! The messages of one `sendmmsg`: an [`Egress`] cut into entries, and what became of them.
//!
//! Called by `udp.rs`.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::addr::{Family, RawAddr};
use super::cmsg::Control;
use super::sources::Sources;
use super::sys::mmsg::Headers;
use crate::base::egress::{Egress, Route, Run};

/// What became of an [`Egress`], in datagrams (not runs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Taken by the kernel.
    pub sent: u64,
    /// Not taken, for whatever reason.
    pub failed: u64,
    /// True when the pass ended early because the socket buffer stayed full.
    pub would_block: bool,
}

/// One entry of `sendmmsg`: one datagram, or one run for `UDP_SEGMENT`.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Where to.
    pub name: RawAddr,
    /// From where, and the segment length.
    pub control: Control,
    /// Offset of its first byte in the egress buffer.
    pub start: usize,
    /// Bytes of all its datagrams.
    pub len: usize,
    /// Datagrams in it.
    pub datagrams: usize,
    /// Index of the run it came from.
    pub run: usize,
}

/// How far into an [`Egress`] the messages have come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    run: usize,
    segment: usize,
}

/// A reusable list of messages with their headers. Allocates once, when made.
#[derive(Debug)]
pub struct Outbox {
    messages: Vec<Message>,
    capacity: usize,
    headers: Headers,
    /// Asked before a local address is told.
    sources: Sources,
}

impl Outbox {
    /// Room for `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        Self {
            messages: Vec::with_capacity(capacity),
            capacity,
            headers: Headers::new(capacity),
            sources: Sources::new(),
        }
    }

    /// A send begins at `now`.
    pub fn begin(&mut self, now: Instant) {
        self.sources.begin(now);
    }

    /// The messages that the last fill made.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Replaces the messages by the next ones of `egress` and moves `cursor` behind them; false
    /// when there are none left. Runs stay whole with `gso`, else each datagram is a message.
    /// Runs for TCP connections are passed over, and destinations that a socket of `family` cannot
    /// reach.
    pub fn fill(
        &mut self,
        egress: &Egress,
        cursor: &mut Cursor,
        family: Family,
        gso: bool,
    ) -> bool {
        self.messages.clear();
        while let Some(run) = egress.runs().get(cursor.run) {
            if self.messages.len() == self.capacity {
                break;
            }
            if run.route.tcp.is_some() {
                *cursor = Cursor {
                    run: cursor.run + 1,
                    segment: 0,
                };
                continue;
            }
            let whole = gso && run.segments > 1;
            if let Some(to) = Destination::of(run.route, family, &mut self.sources) {
                let segment = (!whole).then_some(cursor.segment);
                self.messages.push(message(run, cursor.run, to, segment));
            }
            cursor.segment += 1;
            if whole || cursor.segment >= run.segments {
                *cursor = Cursor {
                    run: cursor.run + 1,
                    segment: 0,
                };
            }
        }
        !self.messages.is_empty()
    }

    /// Replaces the messages by the single datagrams of run number `index`.
    pub fn fill_plain(&mut self, run: &Run, index: usize, family: Family) {
        self.messages.clear();
        let Some(to) = Destination::of(run.route, family, &mut self.sources) else {
            return;
        };
        for segment in 0..run.segments.min(self.capacity) {
            self.messages.push(message(run, index, to, Some(segment)));
        }
    }

    /// Sends the messages from number `from` on; how many were taken, or why the first was not.
    pub fn send(&mut self, fd: BorrowedFd<'_>, bytes: &[u8], from: usize) -> io::Result<usize> {
        let messages = self.messages.get(from..).unwrap_or_default();
        self.headers.send(fd, bytes, messages)
    }

    /// Datagrams in messages `from..from + count`.
    pub fn datagrams(&self, from: usize, count: usize) -> usize {
        let messages = self.messages.get(from..from + count).unwrap_or_default();
        messages.iter().map(|m| m.datagrams).sum()
    }
}

/// A route in the kernel's form.
#[derive(Clone, Copy)]
struct Destination {
    name: RawAddr,
    control: Control,
}

impl Destination {
    fn of(route: Route, family: Family, sources: &mut Sources) -> Option<Self> {
        let mut control = Control::EMPTY;
        if let Some(local) = route.local
            && !sources.is_chosen(route.remote, local)
        {
            control.put_source(local, family);
        }
        let name = RawAddr::encode(route.remote, family)?;
        Some(Self { name, control })
    }
}

/// Datagram number `segment` of `run`, or all of it when `None`.
fn message(run: &Run, index: usize, to: Destination, segment: Option<usize>) -> Message {
    let mut control = to.control;
    let (skipped, len, datagrams) = match segment {
        Some(segment) => {
            let skipped = (segment * run.segment_len).min(run.len);
            (skipped, run.segment_len.min(run.len - skipped), 1)
        }
        None => {
            control.put_segment_len(run.segment_len as u16);
            (0, run.len, run.segments)
        }
    };
    Message {
        name: to.name,
        control,
        start: run.start + skipped,
        len,
        datagrams,
        run: index,
    }
}

const _: () = assert!(crate::base::limits::MAX_DATAGRAM_LEN <= u16::MAX as usize);
