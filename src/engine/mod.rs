//! F4: a worker's whole knowledge, sans-IO: sockets are byte slices, time is an argument.
//!
//! The shell (`worker/run.rs`) and the simulator drive it: `handle_*` bring news in, `forward`
//! fills an [`Egress`], `poll_*` take results out. `media.rs` and `signalling.rs` tell the two
//! stories.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::base::clock::Now;
use crate::base::egress::{Egress, Route};
use crate::base::fault::DropCounters;
use crate::base::ids::{ConnId, WorkerId};
use crate::model::mail::{AppName, Outgoing, WorkerMail};
use crate::model::settings::AppSettings;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which worker it is.
    pub worker: WorkerId,
    /// The addresses that clients are told, most wanted first; at least one.
    pub candidates: Vec<SocketAddr>,
    /// Seeds SSRCs and ICE credentials: from the operating system, or fixed in a simulation.
    pub seed: [u8; 32],
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
    /// Key frame requests sent to publishers.
    pub key_frame_requests: u64,
    /// NACK packets sent to publishers.
    pub nacks_sent: u64,
    /// Sequence numbers asked for by subscribers.
    pub nacked: u64,
    /// Peers whose DTLS handshake is complete.
    pub peers_connected: u64,
    /// Peers that exist.
    pub peers: u64,
    /// Open WebSockets.
    pub conns: u64,
}

/// One worker's peers, tracks and conversations.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    counters: Counters,
}

impl Engine {
    /// An engine without connections.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            counters: Counters::default(),
        }
    }

    /// A WebSocket was opened.
    pub fn handle_conn_opened(&mut self, _now: Now, _opened: ConnOpened) {}

    /// A WebSocket is gone, by either side.
    pub fn handle_conn_closed(&mut self, _now: Now, _conn: ConnId) {}

    /// One text message came.
    pub fn handle_message(&mut self, _now: Now, _conn: ConnId, _text: &str) {}

    /// A mail from control or another worker came.
    pub fn handle_mail(&mut self, _now: Now, _mail: WorkerMail) {}

    /// One datagram came; it is decrypted in place.
    pub fn handle_datagram(&mut self, _now: Now, _route: Route, _datagram: &mut [u8]) {}

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// Writes what waits to be sent: handshakes, feedback, and every fresh packet of every track
    /// to every subscriber. When the buffer is full the caller flushes it and calls again.
    pub fn forward(&mut self, _now: Now, _egress: &mut Egress) -> Progress {
        Progress::Done
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next output for a WebSocket.
    pub fn poll_conn(&mut self) -> Option<(ConnId, ConnOutput)> {
        None
    }

    /// The next mail for control or another worker.
    pub fn poll_mail(&mut self) -> Option<Outgoing> {
        None
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts datagrams that the kernel refused after they were written.
    pub fn count_send_failures(&mut self, datagrams: u64) {
        self.counters
            .dropped
            .add(crate::base::fault::DropReason::SendFailed, datagrams);
    }
}
