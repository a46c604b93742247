//! Everything about this worker's peers, when control asks.

use std::sync::Arc;

use super::Engine;
use crate::base::clock::Now;
use crate::base::egress::Route;
use crate::base::ids::PeerId;
use crate::model::capture::Tap;
use crate::model::layers::Layers;
use crate::model::mail::ControlMail;
use crate::model::peers::{Pair, PeerFigures, PeerTrack, PeersAsk};
use crate::peer::journal::Note;
use crate::peer::publisher::Publisher;
use crate::peer::subscriber::{Sending, Subscriber};
use crate::peer::{Peer, Side};

impl Engine {
    /// Answers with the figures of at most `max` peers, by connection.
    pub(super) fn answer_peers(&self, now: Now, ask: &PeersAsk) -> ControlMail {
        let is_of_app = |peer: &Peer| {
            let conn = self.conns.get(&peer.conn);
            conn.is_some_and(|conn| *conn.app() == ask.app)
        };
        let own = self.config.worker.0;
        let is_asked_for = |id: PeerId, peer: &Peer| {
            ask.stream.as_ref().is_none_or(|s| *s == peer.stream)
                && ask.peer.is_none_or(|named| named == (own, id))
                && is_of_app(peer)
        };
        let mut asked_for: Vec<_> = self
            .peers
            .iter()
            .filter(|(id, peer)| is_asked_for(*id, peer))
            .collect();
        asked_for.sort_by_key(|(id, peer)| (peer.conn, *id));
        asked_for.truncate(ask.max);
        let peers = asked_for
            .into_iter()
            .map(|(id, peer)| self.peer_figures(now, id, peer))
            .collect();
        ControlMail::Peers {
            request: ask.request,
            peers,
        }
    }

    /// Begins or ends to copy the RTP packets of a peer.
    pub(super) fn capture(&mut self, now: Now, id: PeerId, tap: Option<Arc<Tap>>) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if tap.is_some() {
            peer.journal.note(now.instant, Note::CaptureStarted);
        }
        match &mut peer.side {
            Side::Publisher(publisher) => publisher.tap = tap,
            Side::Subscriber(subscriber) => subscriber.path.tap = tap,
        }
    }

    fn peer_figures(&self, now: Now, id: PeerId, peer: &Peer) -> PeerFigures {
        let age = peer.journal.age(now.instant).as_millis();
        let mut figures = PeerFigures {
            peer: id,
            conn: peer.conn,
            stream: peer.stream.clone(),
            is_publisher: false,
            is_connected: peer.transport.is_connected(),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            pair: peer.transport.route().and_then(|route| self.pair(route)),
            rtt_us: 0,
            packets_lost: 0,
            loss: None,
            estimate_bps: None,
            tracks: Vec::new(),
            drops: peer.drops,
            events: peer
                .journal
                .entries()
                .map(|(ms, note)| (ms, note.to_string()))
                .collect(),
        };
        match &peer.side {
            Side::Publisher(publisher) => self.add_publisher(now, publisher, &mut figures),
            Side::Subscriber(subscriber) => self.add_subscriber(now, subscriber, &mut figures),
        }
        figures
    }

    /// Both ends of a route. The worker's sockets take all of the host's addresses, so their port
    /// is that of any candidate.
    pub(super) fn pair(&self, route: Route) -> Option<Pair> {
        let candidates = match route.tcp {
            None => &self.config.candidates,
            Some(_) => &self.config.tcp_candidates,
        };
        let mut local = *candidates.first()?;
        if let Some(ip) = route.local {
            local.set_ip(ip);
        }
        Some(Pair {
            local,
            remote: route.remote,
            is_tcp: route.tcp.is_some(),
        })
    }

    fn add_publisher(&self, now: Now, publisher: &Publisher, figures: &mut PeerFigures) {
        figures.is_publisher = true;
        figures.rtt_us = publisher.rtt_us();
        figures.packets_lost = publisher.packets_lost();
        for published in &publisher.sections {
            let tracks = published.tracks().filter_map(|key| self.tracks.get(key));
            let (mut packets, mut len, mut enabled) = (0, 0, false);
            for track in tracks {
                packets += track.history.end();
                len += track.rate.total_len();
                enabled |= track.enabled;
            }
            let Some(info) = published.track_info(&self.tracks) else {
                continue;
            };
            let layers = self.tracks.layers(now.instant, &info);
            figures.tracks.push(PeerTrack {
                label: figures.stream.clone(),
                kind: info.kind,
                codec: info.codec,
                packets,
                len,
                enabled,
                layer: None,
                size: layers
                    .last()
                    .map_or((0, 0), |best| (best.width, best.height)),
            });
        }
    }

    fn add_subscriber(&self, now: Now, subscriber: &Subscriber, figures: &mut PeerFigures) {
        figures.rtt_us = subscriber.rtt_us();
        figures.loss = subscriber.path.loss();
        figures.estimate_bps = subscriber.path.estimate_bps();
        let in_use = subscriber.sendings.iter().filter(|s| s.is_in_use());
        figures.tracks = in_use
            .map(|sending| {
                let layers = self.tracks.layers(now.instant, &sending.info);
                sent_track(sending, &layers)
            })
            .collect();
    }
}

fn sent_track(sending: &Sending, layers: &Layers) -> PeerTrack {
    let layers_of = sending.layers.as_ref().filter(|l| !l.is_whole);
    let layer = layers_of.map(|l| l.selector.current());
    let shown = match layer {
        Some(layer) => layers.iter().find(|f| f.layer == layer),
        None => layers.last(),
    };
    PeerTrack {
        label: sending.label.clone(),
        kind: sending.info.kind,
        codec: sending.info.codec,
        packets: sending.stream.packets,
        len: sending.stream.octets,
        enabled: sending.enabled,
        layer,
        size: shown.map_or((0, 0), |f| (f.width, f.height)),
    }
}
