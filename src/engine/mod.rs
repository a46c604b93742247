//! F4: a worker's whole knowledge, sans-IO: sockets are byte slices, time is an argument.
//!
//! The shell (`worker/run.rs`) and the simulator drive it: `handle_*` bring news in, `forward`
//! fills an [`Egress`], `poll_*` take results out. `media.rs` follows a packet, `signalling.rs` a
//! message; the others are called from those two.

mod allocate;
mod data;
mod debug;
mod feedback;
mod handshakes;
mod layers;
mod media;
mod negotiation;
mod pace;
mod peers;
mod plays;
mod relay;
mod renegotiation;
mod signalling;
mod steering;
mod switch;
mod warm;

pub use debug::Sizes;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::base::clock::Now;
use crate::base::egress::{Egress, Route, Source, TcpId};
use crate::base::fault::{DropCounters, DropReason};
use crate::base::ids::{ConnId, PeerId, TrackId, WorkerId};
use crate::base::table::Table;
use crate::model::mail::{AppName, Client, Outgoing, WorkerMail};
use crate::model::settings::AppSettings;
use crate::model::track::StreamId;
use crate::peer::Peer;
use crate::peer::journal::Note;
use crate::peer::send::Sent;
use crate::router::tracks::{TrackKey, Tracks};
use crate::sdp::{IceParameters, LocalParameters};
use crate::transport::certificate::Certificate;
use data::DataPlane;
use handshakes::Handshakes;
use media::Cursor;
use pace::Waiting;
use relay::Batches;
use signalling::Conn;
use steering::Steering;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which worker it is.
    pub worker: WorkerId,
    /// The addresses that clients are told, most wanted first; at least one.
    pub candidates: Vec<SocketAddr>,
    /// The same for TCP, which clients use when UDP does not come through; none: not served.
    pub tcp_candidates: Vec<SocketAddr>,
    /// How many workers, this one included, receive on this one's UDP port: a datagram may come to
    /// any of them. 0 or 1: the port is its own.
    pub port_shared_by: u16,
    /// Seeds SSRCs and ICE credentials: from the operating system, or fixed in a simulation.
    pub seed: [u8; 32],
    /// Pads neighbouring packets to one length, so that they share a UDP_SEGMENT run.
    pub even_lengths: bool,
    /// The DTLS certificate of the process.
    pub certificate: Arc<Certificate>,
}

/// A WebSocket that was just opened.
#[derive(Clone, Debug)]
pub struct ConnOpened {
    /// Its number.
    pub conn: ConnId,
    /// The application of its path.
    pub app: AppName,
    /// That application's settings.
    pub settings: Arc<AppSettings>,
    /// Who opened it.
    pub client: Arc<Client>,
}

/// What an engine wants of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnOutput {
    /// Send one text message.
    Text(String),
    /// Close it.
    Close,
}

/// Whether a step is finished or waits for room in the egress buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything was written.
    Done,
    /// The buffer is full: flush it and call again.
    EgressFull,
}

/// Plain counters, published by the shell once a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Datagrams that went no further, by reason.
    pub dropped: DropCounters,
    /// RTP packets received and authenticated.
    pub rtp_received: u64,
    /// RTP packets written to subscribers, retransmissions included.
    pub rtp_sent: u64,
    /// Payload bytes written to subscribers.
    pub rtp_sent_len: u64,
    /// Retransmitted packets among `rtp_sent`.
    pub retransmitted: u64,
    /// RTP packets padded to the length of their neighbours, once each, not per subscriber.
    pub padded: u64,
    /// Videos that a subscriber's path had no room for, each time it was paused.
    pub paused: u64,
    /// Key frame requests sent to publishers.
    pub key_frame_requests: u64,
    /// NACK packets sent to publishers.
    pub nacks_sent: u64,
    /// Sequence numbers asked for by subscribers.
    pub nacked: u64,
    /// Data channel messages received.
    pub data_received: u64,
    /// Data channel messages sent, one per receiver.
    pub data_sent: u64,
    /// Data channel messages that a receiver did not get.
    pub data_dropped: u64,
    /// Datagrams received and passed to the worker that owns their peer.
    pub passed: u64,
    /// Peers whose DTLS handshake is complete.
    pub peers_connected: u64,
    /// Peers that exist.
    pub peers: u64,
    /// Open WebSockets.
    pub conns: u64,
    /// Tracks known, copies of other workers' included.
    pub tracks: u64,
}

impl Counters {
    /// Adds what one pass wrote.
    fn add_sent(&mut self, sent: Sent) {
        self.rtp_sent += sent.packets;
        self.rtp_sent_len += sent.payload_len;
        self.retransmitted += sent.retransmitted;
    }
}

/// One worker's peers, tracks and conversations.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    rng: StdRng,
    conns: HashMap<ConnId, Conn>,
    peers: Table<Peer>,
    tracks: Tracks,
    /// The gate: sources that ICE has validated.
    sources: HashMap<Source, PeerId>,
    /// Where datagrams of other workers' peers go; `None` unless workers share a port.
    steering: Option<Steering>,
    /// Peers by the user fragment that STUN names.
    ufrags: HashMap<String, PeerId>,
    /// Tracks of this worker's own publishers, by broadcast; they outlive the publisher's peer
    /// through the takeover window.
    published: HashMap<(AppName, StreamId), Vec<TrackId>>,
    tracks_made: u64,
    handshakes: Handshakes,
    timers: BinaryHeap<Reverse<(Instant, PeerId)>>,
    session_timers: BinaryHeap<Reverse<(Instant, ConnId)>>,
    /// Handshakes, feedback and retransmissions, sent before the turn's media.
    urgent: Egress,
    /// Subscribers that asked for packets again.
    askers: Vec<PeerId>,
    /// Subscribers that are served between turns.
    waiting: Waiting,
    key_frames_due: Vec<TrackKey>,
    cursor: Cursor,
    /// When the first track that waits for the end of a frame waits no more.
    release: Option<Instant>,
    batches: Batches,
    data: DataPlane,
    conn_outputs: VecDeque<(ConnId, ConnOutput)>,
    mails: VecDeque<Outgoing>,
    counters: Counters,
}

impl Engine {
    /// An engine without connections.
    pub fn new(config: Config) -> Self {
        let rng = StdRng::from_seed(config.seed);
        let shares = config.port_shared_by > 1;
        Self {
            steering: shares.then(|| Steering::new(config.worker, config.port_shared_by)),
            config,
            rng,
            conns: HashMap::new(),
            peers: Table::default(),
            tracks: Tracks::default(),
            sources: HashMap::new(),
            ufrags: HashMap::new(),
            published: HashMap::new(),
            tracks_made: 0,
            handshakes: Handshakes::default(),
            timers: BinaryHeap::new(),
            session_timers: BinaryHeap::new(),
            urgent: Egress::default(),
            askers: Vec::new(),
            waiting: Waiting::default(),
            key_frames_due: Vec::new(),
            cursor: Cursor::default(),
            release: None,
            batches: Batches::default(),
            data: DataPlane::default(),
            conn_outputs: VecDeque::new(),
            mails: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A WebSocket was opened.
    pub fn handle_conn_opened(&mut self, now: Now, opened: ConnOpened) {
        self.open_conn(now, opened);
    }

    /// A WebSocket is gone, by either side.
    pub fn handle_conn_closed(&mut self, now: Now, conn: ConnId) {
        self.close_conn(now, conn);
    }

    /// One text message came.
    pub fn handle_message(&mut self, now: Now, conn: ConnId, text: &str) {
        self.converse(now, conn, text);
    }

    /// The client of a connection with one peer begins a new ICE session; returns this server's
    /// end of it, and `None` when there is no peer.
    pub fn restart_ice(
        &mut self,
        now: Now,
        conn: ConnId,
        remote: &IceParameters,
    ) -> Option<LocalParameters> {
        self.begin_ice_session(now, conn, remote)
    }

    /// A mail from control or another worker came.
    pub fn handle_mail(&mut self, now: Now, mail: WorkerMail) {
        self.open_mail(now, mail);
    }

    /// One datagram came; it is decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, route: Route, datagram: &mut [u8]) {
        if let Err(reason) = self.accept(now, route, datagram) {
            self.counters.dropped.count(reason);
        }
    }

    /// True while a TCP connection is one that ICE has validated, of a peer that exists.
    pub fn is_validated(&self, tcp: TcpId) -> bool {
        self.sources.contains_key(&Source::Tcp(tcp))
    }

    /// A TCP connection is gone: its peer goes on by another way, or falls silent.
    pub fn handle_tcp_closed(&mut self, now: Now, tcp: TcpId) {
        let id = self.sources.remove(&Source::Tcp(tcp));
        if let Some(peer) = id.and_then(|id| self.peers.get_mut(id)) {
            peer.journal.note(now.instant, Note::TcpClosed);
            peer.transport.handle_tcp_closed(tcp);
        }
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.run_session_timers(now);
        self.run_peer_timers(now);
    }

    /// Writes what waits to be sent: handshakes, feedback, every fresh packet of every track to
    /// every subscriber, and what data channels have for their peers. When the buffer is full the
    /// caller flushes it and calls again.
    pub fn forward(&mut self, now: Now, egress: &mut Egress) -> Progress {
        self.request_key_frames(now);
        self.retransmit(now);
        if !self.urgent.is_empty() {
            if !egress.is_empty() {
                return Progress::EgressFull;
            }
            std::mem::swap(&mut self.urgent, egress);
        }
        // Not in the middle of a pass: there, fresh packets were sent to some already.
        if self.cursor.is_at_start() && self.resume_waiting(now, egress) == Progress::EgressFull
            || self.forward_tracks(now, egress) == Progress::EgressFull
        {
            return Progress::EgressFull;
        }
        self.forward_data(now, egress)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.timers.peek().map(|Reverse((at, _))| *at);
        let sessions = self.session_timers.peek().map(|Reverse((at, _))| *at);
        let due = [self.waiting.at, self.release, self.tracks.poll_timeout()];
        [peers, sessions].into_iter().chain(due).flatten().min()
    }

    /// The next output for a WebSocket.
    pub fn poll_conn(&mut self) -> Option<(ConnId, ConnOutput)> {
        self.conn_outputs.pop_front()
    }

    /// The next mail for control or another worker. Called until there is none once a turn at
    /// least, and behind the receiving too where workers share a port, so that no other worker
    /// waits for what this one has to send.
    pub fn poll_mail(&mut self) -> Option<Outgoing> {
        let mail = self.mails.pop_front();
        mail.or_else(|| self.steering.as_mut()?.poll_mail())
    }

    /// True when workers share this one's port.
    pub fn shares_port(&self) -> bool {
        self.steering.is_some()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            peers: self.peers.len() as u64,
            conns: self.conns.len() as u64,
            tracks: self.tracks.len() as u64,
            ..self.counters
        }
    }

    /// Counts datagrams that went no further after they were written.
    pub fn count_dropped(&mut self, reason: DropReason, datagrams: u64) {
        self.counters.dropped.add(reason, datagrams);
    }

    /// Asks for the timers of `peer` to run at `at`, unless they will run earlier anyway.
    fn arm(&mut self, peer: PeerId, at: Instant) {
        let Some(state) = self.peers.get_mut(peer) else {
            return;
        };
        if state.armed.is_none_or(|armed| at < armed) {
            state.armed = Some(at);
            self.timers.push(Reverse((at, peer)));
        }
    }
}
