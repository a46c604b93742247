//! `getDebugInfo`: the peers of a connection as a text for a person.
//!
//! The Circle conference looks for `{label:<slot>,assigned stream id:<id>,reserved:<bool>,` in
//! it (INTEROP(circle)), so each sent track is written that way; the rest is free.

use std::fmt::Write;

use super::Engine;
use super::steering::Steering;
use crate::base::ids::{ConnId, PeerId};
use crate::base::limits::MAX_PAGE_LEN;
use crate::peer::{Peer, Side};

/// How many entries an engine's tables and queues hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Addresses and connections that ICE has validated.
    pub sources: usize,
    /// Addresses that any worker has validated, where they share a port.
    pub claims: usize,
    /// User fragments that STUN may name.
    pub user_fragments: usize,
    /// Tracks, copies of other workers' included.
    pub tracks: usize,
    /// Broadcasts of this worker's publishers.
    pub published: usize,
    /// Timers, those included that something earlier took the place of.
    pub timers: usize,
    /// Subscribers that wait for their turn between turns.
    pub askers: usize,
    /// Messages for WebSockets.
    pub outputs: usize,
    /// Mails for others.
    pub mails: usize,
}

impl Engine {
    /// What there is at the moment; all 0 when everybody has gone and the last timer has run.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            sources: self.sources.len(),
            claims: self.steering.as_ref().map_or(0, Steering::len),
            user_fragments: self.ufrags.len(),
            tracks: self.tracks.len(),
            published: self.published.len(),
            timers: self.timers.len() + self.session_timers.len(),
            askers: self.askers.len(),
            outputs: self.conn_outputs.len(),
            mails: self.mails.len(),
        }
    }

    /// The peers of `conn`: state and address pair, and their tracks with what they carried. Behind
    /// [`MAX_PAGE_LEN`] bytes no other begins.
    pub(super) fn debug_info(&self, conn: ConnId) -> String {
        let mut text = format!("worker {}, connection {}", conn.worker.0, conn.serial);
        let peers: Vec<PeerId> = self.peers_of(conn).map(|(_, peer)| peer).collect();
        if peers.is_empty() {
            text.push_str(", no peer connection");
        }
        for peer in peers.into_iter().filter_map(|id| self.peers.get(id)) {
            if text.len() > MAX_PAGE_LEN {
                text.push_str("\nand others");
                break;
            }
            self.describe_peer(peer, &mut text);
        }
        text
    }

    fn describe_peer(&self, peer: &Peer, out: &mut String) {
        let role = match &peer.side {
            Side::Publisher(_) => "publishes",
            Side::Subscriber(_) => "plays",
        };
        let state = if peer.transport.is_connected() {
            "connected"
        } else {
            "connecting"
        };
        // Writing to a text cannot fail.
        let _ = write!(out, "\n{role} {}: {state}", peer.stream);
        if let Some(route) = peer.transport.route() {
            let pair = self.pair(route).map(|pair| pair.local);
            let local = pair.map_or_else(|| "?".to_owned(), |local| local.to_string());
            let _ = write!(out, ", candidate pair {local} <-> {}", route.remote);
            if route.tcp.is_some() {
                out.push_str(" tcp");
            }
        }
        match &peer.side {
            Side::Publisher(publisher) => {
                let (lost, rtt_us) = (publisher.packets_lost(), publisher.rtt_us());
                let _ = write!(out, ", packets lost {lost}, round trip {rtt_us} us");
                for published in &publisher.sections {
                    let Some(key) = published.tracks().next() else {
                        continue;
                    };
                    let Some(track) = self.tracks.get(key) else {
                        continue;
                    };
                    let _ = write!(
                        out,
                        "\n{{mid:{},codec:{},packets:{},bytes:{},enabled:{},subscribers:{}}}",
                        published.section.mid.as_str(),
                        track.info.codec.name(),
                        track.history.end(),
                        track.rate.total_len(),
                        track.enabled,
                        track.subscribers.len(),
                    );
                }
            }
            Side::Subscriber(subscriber) => {
                let _ = write!(out, ", round trip {} us", subscriber.rtt_us());
                for sending in &subscriber.sendings {
                    let _ = write!(
                        out,
                        "\n{{label:{},assigned stream id:{},reserved:false,mid:{},codec:{},\
                         state:{:?},enabled:{},packets:{},bytes:{},dropped:{}}}",
                        sending.cname,
                        sending.label,
                        sending.mid.as_str(),
                        sending.info.codec.name(),
                        sending.state,
                        sending.enabled,
                        sending.stream.packets,
                        sending.stream.octets,
                        sending.dropped,
                    );
                }
            }
        }
    }
}
