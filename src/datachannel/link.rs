//! One SCTP association (RFC 9260) through `sctp-proto`, and what keeps it within bounds.
//!
//! A WebRTC peer has one association and never restarts it: everything that would make another
//! one, and everything that would make the library hoard state, ends here. Knows streams and PPIDs
//! (RFC 8831 §8), no channels. Called by `channels.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc};
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Ppid, ReliabilityType, ServerConfig, StreamEvent,
    TransportConfig,
};

use super::dcep::Reliability;
use super::guard::{
    BEGINS, COMMON_HEADER_LEN, DATA, ENDS, Guard, IMMEDIATE, INIT, Update, Verdict,
};
use crate::base::bytes::Reader;
use crate::base::limits::{
    DATA_RECEIVE_WINDOW_LEN, MAX_DATA_BACKLOG_LEN, MAX_DATA_CHANNELS, MAX_DATA_MESSAGE_LEN,
    MAX_DATA_RESETS, MAX_DATAGRAM_LEN,
};

/// The association of one peer, or the wait for it.
pub(super) struct Link {
    endpoint: Endpoint,
    /// Boxed: it is large, and a peer that never uses its channels has none.
    association: Option<(AssociationHandle, Box<Association>)>,
    guard: Guard,
    /// Ports and verification tag of the peer's packets.
    header: [u8; TAG_END],
    /// Since when the peer should hear that its window is open again.
    update_at: Option<Instant>,
    state: State,
    /// When this side initiates because the peer has not.
    initiate_at: Instant,
    remote: Remote,
    readable: VecDeque<u16>,
    closed: VecDeque<u16>,
    /// Streams that were reset and whose ids are not free yet.
    resets: usize,
    /// Streams that exist.
    streams: usize,
    out: VecDeque<Bytes>,
    /// Bytes that were not acknowledged when that was last looked at.
    backlog_len: usize,
    /// Those of each stream.
    buffered: Vec<(u16, usize)>,
    /// Those of streams that the peer has reset: the library sends them yet, and tells no more
    /// how many there are.
    orphaned: Vec<(u16, usize)>,
    /// Since when the backlog has been long.
    long_since: Option<Instant>,
}

/// What the peer's description says of its end (RFC 8841).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its SCTP port.
    pub port: u16,
    /// Bytes of the longest message that it takes.
    pub max_message_len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The peer is expected to initiate.
    Waiting,
    /// This side has initiated, and has heard nothing.
    Initiated,
    /// The handshake is on its way.
    Connecting,
    Up,
    Lost,
}

/// One message of one stream.
#[derive(Debug)]
pub(super) struct Received {
    pub stream: u16,
    pub ppid: Ppid,
    pub bytes: Bytes,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Waits for the peer's INIT, which a WebRTC peer sends as soon as DTLS is up.
    pub fn new(now: Instant, remote: Remote) -> Self {
        Self {
            endpoint: Endpoint::new(endpoint_config(), Some(server_config())),
            association: None,
            guard: Guard::default(),
            header: [0; TAG_END],
            update_at: None,
            state: State::Waiting,
            initiate_at: now + PATIENCE,
            remote,
            readable: VecDeque::new(),
            closed: VecDeque::new(),
            resets: 0,
            streams: 0,
            out: VecDeque::new(),
            backlog_len: 0,
            buffered: Vec::new(),
            orphaned: Vec::new(),
            long_since: None,
        }
    }

    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// One SCTP packet.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        // A late copy of the INIT that made the association: the library would end it.
        if self.state == State::Lost || self.state == State::Up && is_init(&packet) {
            return;
        }
        match self.guard.judge(&packet) {
            Verdict::Take => {}
            Verdict::Lose => return,
            Verdict::End => return self.abort(),
        }
        let handled = self
            .endpoint
            .handle(now, NOWHERE, None, None, packet.clone());
        match handled {
            None => {}
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                // Both sides may initiate (RFC 8841 §9.3). The peer's attempt is the one that is
                // gone on with: to a peer that handles the collision it makes no difference, and
                // INTEROP(aiortc) one whose part is the client's answers none.
                if matches!(self.state, State::Waiting | State::Initiated) {
                    self.state = State::Connecting;
                    self.association = Some((handle, Box::new(association)));
                    self.guard = Guard::default();
                }
                self.endpoint.reject_new_associations();
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((own, association)) = &mut self.association
                    && *own == handle
                {
                    if self.state == State::Initiated {
                        self.state = State::Connecting;
                        self.endpoint.reject_new_associations();
                    }
                    self.guard.note(&packet);
                    association.handle_event(event);
                    self.header = packet.first_chunk().copied().unwrap_or(self.header);
                }
            }
        }
        self.settle(now);
    }

    /// Retransmits and acknowledges what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Waiting && now >= self.initiate_at {
            self.initiate();
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.update_window(now);
        self.settle(now);
    }

    /// Has a SACK made when the peer is to hear of a window that is open again: by a copy of what
    /// has come long since, which has to be acknowledged at once (RFC 9260 §6.2) and of which the
    /// library takes no other notice. It sends none by itself when messages are read, and the peer
    /// would wait until it probes (RFC 9260 §6.1 A).
    fn update_window(&mut self, now: Instant) {
        if self.update_at.take().is_none() {
            return;
        }
        let Some(Update { old_tsn, late }) = self.guard.take_update() else {
            return;
        };
        let packet = update(&self.header, old_tsn, &late);
        if self.guard.judge(&packet) != Verdict::Take {
            return;
        }
        let handled = self
            .endpoint
            .handle(now, NOWHERE, None, None, packet.clone());
        if let (Some((own, association)), Some((handle, event))) = (&mut self.association, handled)
            && *own == handle
            && let DatagramEvent::AssociationEvent(event) = event
        {
            self.guard.note(&packet);
            association.handle_event(event);
        }
    }

    fn initiate(&mut self) {
        let mut config = ClientConfig::new();
        config.transport = Arc::new(transport_config().with_remote_port(self.remote.port));
        match self.endpoint.connect(config, NOWHERE) {
            Ok((handle, association)) => {
                self.state = State::Initiated;
                self.association = Some((handle, Box::new(association)));
            }
            // A remote port of 0.
            Err(_) => self.state = State::Lost,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (&self.association, self.state) {
            (None, State::Waiting) => Some(self.initiate_at),
            (_, State::Lost) | (None, _) => None,
            (Some((_, association)), _) => {
                let due = [association.poll_timeout(), self.update_at];
                due.into_iter().flatten().min()
            }
        }
    }

    /// The next SCTP packet to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        self.update_window(now);
        while self.out.is_empty() {
            let (_, association) = self.association.as_mut()?;
            let Some(transmit) = association.poll_transmit(now) else {
                // What ends an association has been said: what waited behind it is of no use.
                if self.state == State::Lost {
                    self.drop_association();
                }
                return None;
            };
            match transmit.payload {
                Payload::RawEncode(packets) => {
                    for packet in &packets {
                        if self.guard.note_sent(packet) {
                            self.guard.note_performed(&association.stream_ids());
                        }
                    }
                    self.out.extend(packets);
                }
                Payload::PartialDecode(_) => {}
            }
        }
        self.out.pop_front()
    }

    /// The next message, of whatever stream.
    pub fn read(&mut self) -> Option<Received> {
        loop {
            let stream = *self.readable.front()?;
            let (_, association) = self.association.as_mut()?;
            let read = association.stream(stream).and_then(|mut s| s.read_sctp());
            let Ok(Some(chunks)) = read else {
                self.readable.pop_front();
                continue;
            };
            self.guard
                .note_read(stream, chunks.chunks.len(), chunks.len());
            let mut bytes = vec![0; chunks.len()];
            if chunks.read(&mut bytes).is_err() {
                continue;
            }
            return Some(Received {
                stream,
                ppid: chunks.ppi,
                bytes: Bytes::from(bytes),
            });
        }
    }

    /// True while [`read`](Self::read) may have something.
    pub fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// The next stream that the peer has closed and of which everything was read.
    pub fn poll_closed(&mut self, now: Instant) -> Option<u16> {
        self.settle(now);
        self.closed.pop_front()
    }

    /// Makes an outgoing stream; false when its id is in use.
    pub fn open(&mut self, stream: u16) -> bool {
        let Some((_, association)) = &mut self.association else {
            return false;
        };
        let opened = association.open_stream(stream, Ppid::Unknown).is_ok();
        self.streams += usize::from(opened);
        opened
    }

    /// Sends with what a channel was opened with from here on.
    pub fn set_reliability(&mut self, stream: u16, ordered: bool, reliability: Reliability) {
        let (kind, value) = match reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::Retransmits(most) => (ReliabilityType::Rexmit, most),
            Reliability::Lifetime(ms) => (ReliabilityType::Timed, ms),
        };
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            // Fails for a stream that is closed, whose reliability no longer matters.
            let _ = stream.set_reliability_params(!ordered, kind, value);
        }
    }

    /// Queues one message; false when the stream is closed.
    pub fn write(&mut self, now: Instant, stream: u16, ppid: Ppid, bytes: &[u8]) -> bool {
        let Some((_, association)) = &mut self.association else {
            return false;
        };
        let written = association
            .stream(stream)
            .and_then(|mut s| s.write_with_ppi(bytes, ppid));
        let written = written.is_ok();
        if written {
            self.backlog_len += bytes.len();
            match self.buffered.iter_mut().find(|(id, _)| *id == stream) {
                Some((_, len)) => *len += bytes.len(),
                None => self.buffered.push((stream, bytes.len())),
            }
            self.note_backlog(now);
        }
        written
    }

    /// Bytes that wait to be sent or acknowledged, over all streams.
    pub fn backlog_len(&self) -> usize {
        self.backlog_len
    }

    /// Since when the backlog has been long: over half of what it may be, and not yet under a
    /// quarter again. `None` when it is not.
    pub fn long_since(&self) -> Option<Instant> {
        self.long_since
    }

    /// DATA chunks of the peer that may be held: at most `2 * limits::MAX_DATA_CHUNKS`.
    pub fn held(&self) -> usize {
        self.guard.held()
    }

    fn note_backlog(&mut self, now: Instant) {
        if self.backlog_len > MAX_DATA_BACKLOG_LEN / 2 {
            self.long_since.get_or_insert(now);
        } else if self.backlog_len < MAX_DATA_BACKLOG_LEN / 4 {
            self.long_since = None;
        }
    }

    /// Gives the association up without a word: what else would be sent waits for a peer that
    /// does not do its part.
    pub fn abort(&mut self) {
        self.state = State::Lost;
        self.readable.clear();
        if let Some((_, association)) = &mut self.association {
            let _ = association.close();
        }
    }

    fn drop_association(&mut self) {
        self.association = None;
        self.readable.clear();
        self.buffered.clear();
        self.orphaned.clear();
        self.backlog_len = 0;
    }

    /// Takes the library's events and looks at its bounds.
    fn settle(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        let mut hoards = false;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    association.set_max_send_message_size(self.remote.max_message_len);
                    self.state = State::Up;
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => {
                    self.state = State::Lost;
                }
                Event::Stream(event) => match event {
                    StreamEvent::Opened { .. } => {
                        self.streams += 1;
                        hoards |= self.streams > MAX_DATA_CHANNELS;
                    }
                    StreamEvent::Readable { id } if !self.readable.contains(&id) => {
                        self.readable.push_back(id);
                    }
                    StreamEvent::Finished { id } => {
                        self.streams = self.streams.saturating_sub(1);
                        self.resets += 1;
                        self.guard.note_finished(id);
                        hoards |= self.resets > MAX_DATA_RESETS;
                        self.closed.push_back(id);
                        let buffered = self.buffered.iter().position(|(of, _)| *of == id);
                        if let Some(at) = buffered {
                            self.orphaned.push(self.buffered.swap_remove(at));
                        }
                    }
                    StreamEvent::ResetComplete { id } | StreamEvent::ResetFailed { id, .. } => {
                        self.resets = self.resets.saturating_sub(1);
                        if let Some(at) = self.orphaned.iter().position(|(of, _)| *of == id) {
                            self.orphaned.swap_remove(at);
                        }
                    }
                    // What else the library tells, today or later, changes nothing here.
                    _ => {}
                },
                _ => {}
            }
        }
        // The endpoint need not know that an association is over: both go together.
        while association.poll_endpoint_event().is_some() {}
        self.buffered.clear();
        for id in association.stream_ids() {
            let buffered = association.stream(id).and_then(|s| s.buffered_amount());
            self.buffered.push((id, buffered.unwrap_or(0)));
        }
        let counted = self.buffered.iter().chain(&self.orphaned);
        self.backlog_len = counted.map(|(_, len)| len).sum();
        self.note_backlog(now);
        if self.guard.is_update_due() {
            self.update_at.get_or_insert(now);
        }
        if hoards {
            self.abort();
        }
    }
}

/// True for a packet whose first chunk is an INIT (RFC 9260 §3.3.2), which is alone in it.
fn is_init(packet: &[u8]) -> bool {
    let mut reader = Reader::new(packet);
    reader.skip(COMMON_HEADER_LEN).is_some() && reader.u8() == Some(INIT)
}

/// A packet of a DATA chunk that wants an answer at once (RFC 9260 §3.3.1), and others.
fn update(header: &[u8; TAG_END], old_tsn: u32, late: &[u8]) -> Bytes {
    let mut packet = header.to_vec();
    packet.extend([0; 4]);
    packet.extend([DATA, IMMEDIATE | BEGINS | ENDS, 0, 17]);
    packet.extend(old_tsn.to_be_bytes());
    // Of stream 0: the library looks at the TSN first.
    packet.extend([0; 12]);
    packet.extend(late);
    let sum = CRC32C.checksum(&packet).to_le_bytes();
    packet.splice(TAG_END..COMMON_HEADER_LEN, sum);
    packet.into()
}

/// The checksum of SCTP (RFC 9260 appendix A).
pub static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

fn endpoint_config() -> Arc<EndpointConfig> {
    static CONFIG: OnceLock<Arc<EndpointConfig>> = OnceLock::new();
    let make = || {
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_CHUNK_LEN);
        Arc::new(config)
    };
    CONFIG.get_or_init(make).clone()
}

fn server_config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let make = || {
        let mut config = ServerConfig::new();
        config.transport = Arc::new(transport_config());
        Arc::new(config)
    };
    CONFIG.get_or_init(make).clone()
}

/// Nothing is ever given up: ICE consent decides when a peer is gone.
fn transport_config() -> TransportConfig {
    TransportConfig::default()
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_max_receive_message_size(MAX_DATA_MESSAGE_LEN as u32)
        .with_max_receive_buffer_size(DATA_RECEIVE_WINDOW_LEN as u32)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}

/// How long the peer's INIT is waited for. Every browser sends one at once; RFC 8841 §9.3 wants
/// one of either side, and a peer that only answers gets one this late.
const PATIENCE: Duration = Duration::from_secs(2);

/// DTLS has one remote end; the library wants an address that is not wrong.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// Bytes of user data in a DATA chunk, a multiple of 4: with 28 bytes of SCTP and 37 of DTLS 1.2
/// (RFC 5288 §3) a datagram of one chunk has less than 1200, as the handshake's have.
const MAX_CHUNK_LEN: u32 = 1132;

/// Bytes of an SCTP packet: the library counts neither padding nor the last chunk's header when it
/// puts short messages together, so that a packet of many has up to a fifth more.
pub const MAX_PACKET_LEN: usize = 1400;

const _: () = assert!(MAX_PACKET_LEN + 37 <= MAX_DATAGRAM_LEN);

/// What dcSCTP uses instead of RFC 9260 §16's seconds, which are meant for hosts that route around
/// failures: a lost packet of a chat is not worth a second.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 400;
const RTO_MAX_MS: u64 = 10_000;

/// The first part of the common header: everything before the checksum.
const TAG_END: usize = 8;

#[cfg(test)]
mod tests;
