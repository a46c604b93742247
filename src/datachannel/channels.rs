//! The channels of one peer as one pipe: whatever channel a message comes from, it is the peer's;
//! what goes to the peer goes over one channel.
//!
//! INTEROP(antmedia): a player listens on the channel that the server opened, and some SDKs open
//! one of their own besides. Messages go out over the channel that the peer opened last, else over
//! the server's, so that no peer gets one twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::PayloadProtocolIdentifier as Ppid;

use super::dcep::{Dcep, Open, Reliability};
use super::link::{Link, Received};
use crate::base::limits::{
    MAX_DATA_BACKLOG_LEN, MAX_DATA_CHANNELS, MAX_DATA_HELD, MAX_DATA_HELD_LEN,
};
use crate::model::data::{DataKind, DataMessage};

pub use super::link::{MAX_PACKET_LEN, Remote};

/// The data channels of one peer.
#[derive(Debug)]
pub struct DataChannels {
    remote: Remote,
    /// `None` before DTLS is up.
    link: Option<Link>,
    channels: Vec<Channel>,
    /// The label of the channel that this side opens once it can.
    label: Option<String>,
    held: VecDeque<DataMessage>,
    held_len: usize,
    events: VecDeque<DataEvent>,
    told_lost: bool,
    ignored: u64,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    stream: u16,
    by_peer: bool,
    open: bool,
    /// The peer's OPEN was acknowledged.
    acknowledged: bool,
}

/// What came of a peer's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEvent {
    /// A channel can be sent on; told each time that one is opened.
    Opened,
    /// The peer sent a message.
    Message(DataMessage),
    /// The association is over, and with it every channel.
    Lost,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Longer than the peer takes.
    TooLong,
    /// `limits::MAX_DATA_BACKLOG_LEN`, or without an open channel `limits::MAX_DATA_HELD`.
    Full,
    /// The association is over.
    Lost,
}

impl DataChannels {
    /// Channels towards `remote`, before its DTLS handshake.
    pub fn new(remote: Remote) -> Self {
        Self {
            remote,
            link: None,
            channels: Vec::new(),
            label: None,
            held: VecDeque::new(),
            held_len: 0,
            events: VecDeque::new(),
            told_lost: false,
            ignored: 0,
        }
    }

    /// DTLS is up: the association may begin. Without effect when it has.
    pub fn start(&mut self, now: Instant) {
        self.link.get_or_insert_with(|| Link::new(now, self.remote));
    }

    /// Opens an ordered, reliable channel as soon as there is an association (RFC 8832 §6).
    pub fn open(&mut self, now: Instant, label: &str) {
        self.label = Some(label.to_owned());
        self.open_own(now);
    }

    /// One SCTP packet of the peer.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        if let Some(link) = &mut self.link {
            link.handle_packet(now, packet);
            self.settle(now);
        }
    }

    /// Retransmits, acknowledges, initiates.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.handle_timeout(now);
            self.settle(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link.as_ref()?.poll_timeout()
    }

    /// The next SCTP packet for the peer, at most `MAX_PACKET_LEN` bytes.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        self.link.as_mut()?.poll_transmit(now)
    }

    /// What came of the peer's packets. Not calling it is back-pressure: what is not read fills
    /// the receive window, and the peer waits.
    pub fn poll_event(&mut self, now: Instant) -> Option<DataEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let received = self.link.as_mut()?.read()?;
            if let Some(message) = self.take(now, received) {
                self.events.push_back(DataEvent::Message(message));
            }
            self.settle(now);
        }
    }

    /// True while [`poll_event`](Self::poll_event) may have something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || self.link.as_ref().is_some_and(Link::is_readable)
    }

    /// Sends a message over the pipe, or holds it until there is one.
    ///
    /// # Errors
    /// The message was dropped, whole.
    pub fn send(&mut self, now: Instant, message: &DataMessage) -> Result<(), NotSent> {
        if message.bytes.len() > self.remote.max_message_len as usize {
            return Err(NotSent::TooLong);
        }
        if self.link.as_ref().is_some_and(Link::is_lost) {
            return Err(NotSent::Lost);
        }
        let Some(stream) = self.pipe() else {
            return self.hold(message);
        };
        self.write(now, stream, message)
    }

    /// True once a channel is open.
    pub fn is_open(&self) -> bool {
        self.pipe().is_some()
    }

    /// Bytes that wait to be sent or acknowledged.
    pub fn backlog_len(&self) -> usize {
        self.link.as_ref().map_or(0, Link::backlog_len)
    }

    /// DATA chunks of the peer that may be held: at most `2 * limits::MAX_DATA_CHUNKS`.
    pub fn held_chunks(&self) -> usize {
        self.link.as_ref().map_or(0, Link::held)
    }

    /// True when those who send to this peer do well to wait: its backlog has become long, and has
    /// not been so for longer than a peer is waited for.
    pub fn is_pressed(&self, now: Instant) -> bool {
        let since = self.link.as_ref().and_then(Link::long_since);
        since.is_some_and(|since| now.saturating_duration_since(since) < WAITED_FOR)
    }

    /// Messages of the peer that were neither text, bytes nor DCEP that makes sense.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn pipe(&self) -> Option<u16> {
        let open = || self.channels.iter().rev().filter(|c| c.open);
        let theirs = open().find(|c| c.by_peer);
        theirs.or_else(|| open().next()).map(|c| c.stream)
    }

    fn hold(&mut self, message: &DataMessage) -> Result<(), NotSent> {
        let len = self.held_len + message.bytes.len();
        if self.held.len() >= MAX_DATA_HELD || len > MAX_DATA_HELD_LEN {
            return Err(NotSent::Full);
        }
        self.held_len = len;
        self.held.push_back(message.clone());
        Ok(())
    }

    fn write(&mut self, now: Instant, stream: u16, message: &DataMessage) -> Result<(), NotSent> {
        let link = self.link.as_mut().ok_or(NotSent::Lost)?;
        if link.backlog_len() + message.bytes.len() > MAX_DATA_BACKLOG_LEN {
            return Err(NotSent::Full);
        }
        // SCTP has no empty messages: one byte and a PPID of its own stand for them
        // (RFC 8831 §6.6).
        let (ppid, bytes) = match (message.kind, message.bytes.is_empty()) {
            (DataKind::Text, false) => (Ppid::String, &*message.bytes),
            (DataKind::Text, true) => (Ppid::StringEmpty, &[0][..]),
            (DataKind::Binary, false) => (Ppid::Binary, &*message.bytes),
            (DataKind::Binary, true) => (Ppid::BinaryEmpty, &[0][..]),
        };
        match link.write(now, stream, ppid, bytes) {
            true => Ok(()),
            false => Err(NotSent::Lost),
        }
    }

    /// One message of one stream: a message of the pipe, or DCEP.
    fn take(&mut self, now: Instant, received: Received) -> Option<DataMessage> {
        let Received {
            stream,
            ppid,
            bytes,
        } = received;
        let message = match ppid {
            Ppid::Dcep => {
                self.take_dcep(now, stream, &bytes);
                return None;
            }
            Ppid::String if std::str::from_utf8(&bytes).is_ok() => DataMessage {
                kind: DataKind::Text,
                bytes,
            },
            Ppid::StringEmpty => DataMessage::text(""),
            Ppid::Binary => DataMessage::binary(bytes),
            Ppid::BinaryEmpty => DataMessage::binary(Bytes::new()),
            Ppid::String | Ppid::Unknown => {
                self.ignored += 1;
                return None;
            }
        };
        // A message may overtake the OPEN when the channel is unordered (RFC 8832 §6), and there
        // is none on a channel that was negotiated otherwise: such a channel is the peer's.
        let known = self.channels.iter_mut().find(|c| c.stream == stream);
        match known {
            Some(channel) if channel.open => {}
            Some(channel) => {
                channel.open = true;
                self.opened(now);
            }
            None => {
                if self.add(stream, true) {
                    self.opened(now);
                }
            }
        }
        Some(message)
    }

    fn take_dcep(&mut self, now: Instant, stream: u16, bytes: &[u8]) {
        match Dcep::parse(bytes) {
            Some(Dcep::Open(open)) => self.take_open(now, stream, &open),
            Some(Dcep::Ack) => {
                let waiting = self
                    .channels
                    .iter_mut()
                    .find(|c| c.stream == stream && !c.open);
                if let Some(channel) = waiting {
                    channel.open = true;
                    self.opened(now);
                }
            }
            None => self.ignored += 1,
        }
    }

    fn take_open(&mut self, now: Instant, stream: u16, open: &Open) {
        let known = self.channels.iter().position(|c| c.stream == stream);
        let known = known.and_then(|at| Some((at, self.channels.get(at)?.acknowledged)));
        // One OPEN for each time that a stream is used (RFC 8832 §6): copies would make copies
        // of the ACK, for a peer that may take none.
        if known.is_some_and(|(_, acknowledged)| acknowledged) {
            self.ignored += 1;
            return;
        }
        // On a stream that this side has just opened (both wanted the same id): one channel.
        if let Some((at, _)) = known {
            self.channels.remove(at);
        }
        if !self.add(stream, true) {
            return;
        }
        let ack = Dcep::Ack.write();
        if let Some(link) = &mut self.link {
            if link.backlog_len() + ack.len() > MAX_DATA_BACKLOG_LEN {
                link.abort();
                return;
            }
            link.set_reliability(stream, true, Reliability::Reliable);
            link.write(now, stream, Ppid::Dcep, &ack);
            link.set_reliability(stream, open.ordered, open.reliability);
        }
        if let Some(channel) = self.channels.iter_mut().find(|c| c.stream == stream) {
            channel.acknowledged = true;
        }
        self.opened(now);
    }

    /// False when there are too many.
    fn add(&mut self, stream: u16, open: bool) -> bool {
        if self.channels.len() >= MAX_DATA_CHANNELS {
            self.ignored += 1;
            return false;
        }
        self.channels.push(Channel {
            stream,
            by_peer: open,
            open,
            acknowledged: false,
        });
        true
    }

    /// A channel is open: what was held goes out.
    fn opened(&mut self, now: Instant) {
        self.events.push_back(DataEvent::Opened);
        let Some(stream) = self.pipe() else { return };
        while let Some(message) = self.held.pop_front() {
            self.held_len -= message.bytes.len();
            // There is room for all of them unless the peer stands still.
            if self.write(now, stream, &message).is_err() {
                self.ignored += 1;
            }
        }
    }

    fn open_own(&mut self, now: Instant) {
        let Some(link) = self.link.as_mut().filter(|link| link.is_up()) else {
            return;
        };
        let Some(label) = &self.label else { return };
        let open = Dcep::Open(Open {
            ordered: true,
            reliability: Reliability::Reliable,
            priority: PRIORITY_NORMAL,
            label: label.clone(),
            protocol: String::new(),
        });
        let open = open.write();
        // Tried again when the peer has taken some.
        if link.backlog_len() + open.len() > MAX_DATA_BACKLOG_LEN {
            return;
        }
        self.label = None;
        let mut ids = (FIRST_STREAM..).step_by(2).take(MAX_DATA_CHANNELS + 1);
        let Some(stream) = ids.find(|id| link.open(*id)) else {
            return;
        };
        link.write(now, stream, Ppid::Dcep, &open);
        self.add(stream, false);
    }

    /// Follows the association.
    fn settle(&mut self, now: Instant) {
        self.open_own(now);
        let Some(link) = &mut self.link else { return };
        while let Some(stream) = link.poll_closed(now) {
            self.channels.retain(|c| c.stream != stream);
        }
        if link.is_lost() && !self.told_lost {
            self.told_lost = true;
            self.channels.clear();
            self.held.clear();
            self.held_len = 0;
            self.events.push_back(DataEvent::Lost);
        }
    }
}

/// The DTLS server opens odd streams (RFC 8832 §6). INTEROP(android): its SDK asks for stream 1
/// whatever its part is, so that one is left to it.
const FIRST_STREAM: u16 = 3;

/// How long senders wait for one peer: whoever cannot take half a backlog within this does not
/// hold the others up, and goes without some messages instead.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// RFC 8831 §6.4.
const PRIORITY_NORMAL: u16 = 256;

#[cfg(test)]
mod tests;
