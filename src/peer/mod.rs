//! F3: one PeerConnection: a transport and, by role, the streams it sends us or is sent.
//!
//! `publisher.rs` and `receive.rs` are the way in, `subscriber.rs` and `send.rs` the way out, with
//! `pace.rs` between them and a narrow path, under what `ssrcs.rs` draws;
//! `feedback.rs` is RTCP both ways. Knows no signalling and no socket. Called by `engine/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod climb;
pub mod feedback;
pub mod journal;
pub mod layers;
pub mod measure;
pub mod pace;
pub mod publisher;
pub mod receive;
pub mod send;
pub mod ssrcs;
pub mod subscriber;
pub mod wishes;

use std::time::Instant;

use crate::base::clock::Now;
use crate::base::egress::Egress;
use crate::base::fault::{DropCounters, DropReason};
use crate::base::ids::{ConnId, Ssrc};
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::datachannel::DataChannels;
use crate::model::track::StreamId;
use crate::transport::Transport;
use journal::Journal;
use publisher::Publisher;
use subscriber::Subscriber;

/// One PeerConnection.
#[derive(Debug)]
pub struct Peer {
    /// The WebSocket it belongs to.
    pub conn: ConnId,
    /// The broadcast it publishes or plays.
    pub stream: StreamId,
    /// ICE, DTLS and SRTP.
    pub transport: Transport,
    /// What it is here for.
    pub side: Side,
    /// Its data channels; `None` when none were negotiated.
    pub data: Option<Box<DataChannels>>,
    /// When its timers were last asked to run; a heap entry with another time is stale.
    pub armed: Option<Instant>,
    /// Its packets that went no further.
    pub drops: DropCounters,
    /// What happened to it lately.
    pub journal: Journal,
}

/// What a peer is here for.
#[derive(Debug)]
pub enum Side {
    /// It sends media to this server.
    Publisher(Box<Publisher>),
    /// This server sends media to it.
    Subscriber(Box<Subscriber>),
}

impl Peer {
    /// When its timers have something to do.
    pub fn poll_timeout(&self, now: Now) -> Instant {
        let transport = self.transport.poll_timeout(now);
        if !self.transport.is_connected() {
            return transport;
        }
        let media = match &self.side {
            Side::Publisher(publisher) => publisher.poll_timeout(now),
            Side::Subscriber(subscriber) => subscriber.poll_timeout(now),
        };
        let data = self.data.as_ref().and_then(|data| data.poll_timeout());
        data.into_iter().fold(transport.min(media), Instant::min)
    }

    /// Gives back what only the handshake and data channels need.
    pub fn release_unneeded(&mut self, now: Now) {
        // A publisher may ask for data channels later.
        if matches!(self.side, Side::Subscriber(_)) && self.data.is_none() {
            self.transport.release_dtls(now);
        }
    }

    /// Protects the RTCP compound in `buf[..len]` and queues it.
    ///
    /// # Errors
    /// `NotConnected` before keys, `QueueFull` when `egress` is.
    pub fn send_rtcp(
        &mut self,
        egress: &mut Egress,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
        len: usize,
    ) -> Result<(), DropReason> {
        let route = self.transport.route().ok_or(DropReason::NotConnected)?;
        let keys = self.transport.keys_mut().ok_or(DropReason::NotConnected)?;
        let len = keys
            .protect
            .protect_rtcp(buf, len)
            .ok_or(DropReason::NotConnected)?;
        let datagram = buf.get(..len).unwrap_or_default();
        if egress.push(route, datagram) {
            Ok(())
        } else {
            Err(DropReason::QueueFull)
        }
    }
}

/// The SSRC this server uses as the sender of feedback that belongs to no media of its own
/// (RFC 3550 §8 asks for random ones; 1 is what browsers use for the same purpose).
pub const FEEDBACK_SSRC: Ssrc = Ssrc(1);

/// RTCP is kept this much below a datagram so that protection always fits.
pub const MAX_RTCP_LEN: usize = 1200;
