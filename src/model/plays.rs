//! Figures of players, asked for by REST and gathered from the workers.

use std::net::SocketAddr;

use super::track::StreamId;
use crate::base::ids::ConnId;

/// What one player has been sent since its play began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayFigures {
    /// Whose play.
    pub conn: ConnId,
    /// Which broadcast or room.
    pub stream: StreamId,
    /// Where its media goes; `None` before ICE is up.
    pub remote: Option<SocketAddr>,
    /// When they were taken, microseconds since 1970.
    pub unix_us: u64,
    /// Its audio.
    pub audio: SentFigures,
    /// Its video.
    pub video: SentFigures,
    /// Round trip in microseconds; 0 before the first report.
    pub rtt_us: u32,
}

/// Packets sent, retransmissions left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentFigures {
    /// Packets.
    pub packets: u64,
    /// Payload bytes.
    pub len: u64,
}
