//! Everything about PeerConnections that an operator may want to know, asked for by REST and
//! gathered from the workers.

use std::net::SocketAddr;

use super::layers::Layer;
use super::mail::AppName;
use super::track::StreamId;
use crate::base::codec::{Codec, MediaKind};
use crate::base::fault::DropCounters;
use crate::base::ids::{ConnId, PeerId};

/// A question about peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersAsk {
    /// Echoed in the answer.
    pub request: u64,
    /// Of which application.
    pub app: AppName,
    /// Of which broadcast; `None`: of all.
    pub stream: Option<StreamId>,
    /// This one alone, by its worker's number; `None`: all.
    pub peer: Option<(u16, PeerId)>,
    /// Figures of at most so many peers are wanted.
    pub max: usize,
}

/// The ends of a way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// This server's.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// It is a TCP connection; else UDP.
    pub is_tcp: bool,
}

/// One peer at one moment.
#[derive(Clone, Debug)]
pub struct PeerFigures {
    /// Its place on its worker.
    pub peer: PeerId,
    /// Its WebSocket, which names the worker.
    pub conn: ConnId,
    /// What it publishes or plays.
    pub stream: StreamId,
    /// It publishes.
    pub is_publisher: bool,
    /// ICE and DTLS are done.
    pub is_connected: bool,
    /// Milliseconds since it was made.
    pub age_ms: u64,
    /// The address pair that media takes; `None` before ICE has chosen one.
    pub pair: Option<Pair>,
    /// Round trip in microseconds; 0 while not measured.
    pub rtt_us: u32,
    /// Of a publisher: packets lost and not repaired. Of a player: 0.
    pub packets_lost: u64,
    /// Of a player: share of packets lost on the way to it, 0..=1; `None` while not known.
    pub loss: Option<f64>,
    /// Of a player: what its path takes, bits per second; `None` while not known.
    pub estimate_bps: Option<u64>,
    /// Its tracks.
    pub tracks: Vec<PeerTrack>,
    /// Its packets that went no further, by reason.
    pub drops: DropCounters,
    /// Its last events, oldest first: milliseconds since it was made, and what happened.
    pub events: Vec<(u32, String)>,
}

/// One track of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTrack {
    /// The broadcast it is of.
    pub label: StreamId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its codec.
    pub codec: Codec,
    /// Packets received from a publisher, or sent to a player, retransmissions left out.
    pub packets: u64,
    /// Payload bytes of them.
    pub len: u64,
    /// False while it is switched off or paused.
    pub enabled: bool,
    /// The layer that a player is sent; `None` where all there is is sent.
    pub layer: Option<Layer>,
    /// Pixels of the picture; 0 where not known.
    pub size: (u16, u16),
}
