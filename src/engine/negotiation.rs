//! From SDP to peers and back: a publisher's offer, what a takeover moves, and the end of a peer.
//! A subscriber's offers are in `renegotiation.rs`.

use rand::Rng;

use super::{Config, Engine};
use crate::base::clock::Now;
use crate::base::codec::{Codec, MediaKind};
use crate::base::fault::DropCounters;
use crate::base::ids::{ConnId, Mid, PeerId, Rid, TrackId};
use crate::base::limits::MAX_ENCODINGS;
use crate::model::mail::AppName;
use crate::model::settings::AppSettings;
use crate::model::track::{StreamId, TrackInfo};
use crate::peer::journal::{Journal, Note};
use crate::peer::publisher::{Encoding, Published, Publisher};
use crate::peer::subscriber::{Sending, SendingState};
use crate::peer::{Peer, Side};
use crate::router::track::Track;
use crate::sdp::answer::{self, DataSection, Negotiated, ReceiveSection, Section};
use crate::sdp::{
    self, CodecPolicy, Fingerprint, HashFunction, IceParameters, LocalParameters, RemoteTransport,
    SdpError, SessionVersion,
};
use crate::transport::Transport;
use crate::transport::certificate::Fingerprint as Digest;
use crate::transport::ice::Credentials;

/// A description of ours, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub sdp: String,
    /// Track id by mid.
    pub id_mapping: Vec<(Mid, String)>,
    /// `candidate:...` texts.
    pub candidates: Vec<String>,
    /// The mid that candidates belong to: that of the first m-line in use.
    pub first_mid: String,
    /// Its index.
    pub first_label: u32,
}

impl Engine {
    /// A publisher's offer: makes its peer on the first one, renegotiates on later ones.
    pub(super) fn accept_offer(
        &mut self,
        now: Now,
        who: (ConnId, &AppName, &StreamId),
        existing: Option<PeerId>,
        settings: &AppSettings,
        sdp: &str,
    ) -> Result<(PeerId, Description), SdpError> {
        let offer = sdp::parse(sdp)?;
        let existing = existing.filter(|id| self.publisher(*id).is_some());
        let sections = existing.and_then(|id| Some(&self.publisher(id)?.sections));
        let known: Vec<ReceiveSection> = sections
            .into_iter()
            .flatten()
            .map(Published::known)
            .collect();
        let negotiated = answer::renegotiate(&offer, &policy(settings), &known)?;
        let id = match existing {
            Some(id) => {
                self.renegotiate(now, id, who, &negotiated);
                id
            }
            None => self.make_publisher(now, who, &negotiated),
        };
        let session = self.publisher(id).map(|publisher| publisher.session);
        let session = session.ok_or(SdpError::NothingAccepted)?;
        let local = self.local_parameters(id).ok_or(SdpError::NothingAccepted)?;
        let sdp = answer::write(&offer, &negotiated, &local, session);
        let in_use = |s: &Section| !matches!(s, Section::Rejected { .. });
        let first = negotiated.sections.iter().position(in_use).unwrap_or(0);
        let named = offer.media.get(first).filter(|m| m.has_mid);
        let first_mid = named.map_or("0", |m| m.mid.as_str()).to_owned();
        let description = Description {
            sdp,
            id_mapping: Vec::new(),
            candidates: local.candidates,
            first_mid,
            first_label: first as u32,
        };
        Ok((id, description))
    }

    fn make_publisher(
        &mut self,
        now: Now,
        (conn, app, stream): (ConnId, &AppName, &StreamId),
        negotiated: &Negotiated,
    ) -> PeerId {
        let sections = receive_sections(negotiated)
            .map(|section| self.publish(app, stream, section))
            .collect();
        let session = SessionVersion {
            id: self.rng.random::<u64>() >> 1,
            version: 1,
        };
        let publisher = Publisher::new(now, session, sections);
        let id = self.insert_peer(now, conn, stream, Side::Publisher(Box::new(publisher)));
        self.set_remote(now, id, &negotiated.transport);
        self.own_tracks(id);
        self.add_data(now, id, data_section(negotiated));
        id
    }

    /// A later offer of the same publisher: codecs stay, new m-lines become new tracks, an ICE
    /// restart takes effect.
    fn renegotiate(
        &mut self,
        now: Now,
        id: PeerId,
        (_, app, stream): (ConnId, &AppName, &StreamId),
        negotiated: &Negotiated,
    ) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let Side::Publisher(publisher) = &mut peer.side else {
            return;
        };
        let mut known = std::mem::take(&mut publisher.sections);
        // What the offer has stopped is not among what is accepted.
        for published in &mut known {
            published.section.active = false;
        }
        for section in receive_sections(negotiated) {
            match known.iter_mut().find(|p| p.section.mid == section.mid) {
                Some(published) => published.section = section.clone(),
                None => {
                    let published = self.publish(app, stream, section);
                    known.push(published);
                }
            }
        }
        let stopped = known.iter().filter(|p| !p.section.active);
        for key in stopped.flat_map(Published::tracks) {
            if let Some(track) = self.tracks.get_mut(key) {
                track.history.release();
            }
        }
        if let Some(Peer {
            side: Side::Publisher(publisher),
            ..
        }) = self.peers.get_mut(id)
        {
            publisher.renegotiate(now, known);
        }
        self.set_remote(now, id, &negotiated.transport);
        self.own_tracks(id);
        self.add_data(now, id, data_section(negotiated));
    }

    /// Makes the tracks for one accepted m-line: one per encoding.
    fn publish(&mut self, app: &AppName, stream: &StreamId, section: &ReceiveSection) -> Published {
        let id = TrackId {
            origin: self.config.worker,
            serial: self.tracks_made * MAX_ENCODINGS as u64,
        };
        self.tracks_made += 1;
        let rids = encodings_of(section);
        let info = TrackInfo {
            id,
            kind: section.kind,
            codec: section.codec,
            fmtp: section.fmtp.as_str().into(),
            pt: section.server_pt,
            rtx_pt: section.server_rtx_pt,
            red: section.red_pt.is_some(),
            encodings: rids.len() as u8,
        };
        let encodings = (0..).zip(rids).map(|(index, rid)| {
            let mut track = Track::new(info.of_encoding(index));
            track.source = self.rng.random();
            let published = (app.clone(), stream.clone());
            let ids = self.published.entry(published).or_default();
            ids.push(track.info.id);
            Encoding::new(rid, self.tracks.insert(track))
        });
        Published {
            section: section.clone(),
            encodings: encodings.collect(),
        }
    }

    fn publisher(&self, id: PeerId) -> Option<&Publisher> {
        match &self.peers.get(id)?.side {
            Side::Publisher(publisher) => Some(publisher),
            Side::Subscriber(_) => None,
        }
    }

    fn own_tracks(&mut self, id: PeerId) {
        let Some(Peer {
            side: Side::Publisher(publisher),
            ..
        }) = self.peers.get(id)
        else {
            return;
        };
        for key in publisher.sections.iter().flat_map(Published::tracks) {
            if let Some(track) = self.tracks.get_mut(key) {
                track.publisher = Some(id);
            }
        }
    }

    /// The tracks of a publisher, as everybody else is told: first those that it sends, for of each
    /// kind the first one is played.
    pub(super) fn track_infos(&self, id: PeerId) -> Vec<TrackInfo> {
        let Some(Peer {
            side: Side::Publisher(publisher),
            ..
        }) = self.peers.get(id)
        else {
            return Vec::new();
        };
        let sections = publisher.sections.iter();
        let (sent, others): (Vec<_>, Vec<_>) = sections.partition(|p| p.section.active);
        let sections = sent.into_iter().chain(others);
        sections
            .filter_map(|p| p.track_info(&self.tracks))
            .collect()
    }

    /// Drops the tracks of a broadcast that this worker published.
    pub(super) fn drop_published(&mut self, app: &AppName, stream: &StreamId) {
        let Some(ids) = self.published.remove(&(app.clone(), stream.clone())) else {
            return;
        };
        for id in ids {
            self.tracks.remove(id);
        }
    }

    /// A publisher came back: what subscribed to its old tracks goes on with its new ones.
    pub(super) fn replace_tracks(
        &mut self,
        now: Now,
        broadcast: (AppName, StreamId),
        moves: &[(TrackId, Option<TrackInfo>)],
    ) {
        for (old, new) in moves {
            if let Some(ids) = self.published.get_mut(&broadcast) {
                ids.retain(|id| id.track() != *old);
                // It may go on at another worker, and end there.
                if ids.is_empty() {
                    self.published.remove(&broadcast);
                }
            }
            for id in (0..MAX_ENCODINGS as u8).map(|index| old.encoding(index)) {
                if self.tracks.remove(id).is_some() && old.origin != self.config.worker {
                    self.relay_stopped(id);
                }
            }
            for (peer, at) in self.sendings_of(*old) {
                self.replace_track(now, peer, at, new.as_ref());
            }
        }
    }

    /// Every sending of a track, also those that no answer has accepted yet.
    fn sendings_of(&self, track: TrackId) -> Vec<(PeerId, usize)> {
        let mut found = Vec::new();
        for (id, peer) in self.peers.iter() {
            if let Side::Subscriber(subscriber) = &peer.side {
                let all = (0..).zip(&subscriber.sendings);
                let of_track = all.filter(|(_, s)| s.is_in_use() && s.info.id == track);
                found.extend(of_track.map(|(at, _)| (id, at)));
            }
        }
        found
    }

    /// Sending `at` of `peer` goes on with another track; with `None` it falls silent. Its
    /// subscription to the old one has ended.
    pub(super) fn replace_track(
        &mut self,
        now: Now,
        peer: PeerId,
        at: usize,
        new: Option<&TrackInfo>,
    ) {
        let Some(sending) = self
            .subscriber_mut(peer)
            .and_then(|subscriber| subscriber.sendings.get_mut(at))
        else {
            return;
        };
        sending.track = None;
        let Some(info) = new else { return };
        sending.info = info.clone();
        // Also of one that has fallen silent before: nobody else starts it again.
        if sending.state == SendingState::Flowing {
            self.start_sending(now, peer, at, info);
        }
    }

    /// Takes a peer and everything that points at it out.
    pub(super) fn close_peer(&mut self, id: PeerId) {
        let Some(mut peer) = self.peers.remove(id) else {
            return;
        };
        peer.transport.say_goodbye(&mut self.urgent);
        self.drop_data(id);
        self.ufrags.remove(&peer.transport.credentials().ufrag);
        for source in peer.transport.validated() {
            self.forget_source(*source, id);
        }
        if peer.transport.is_connected() {
            self.counters.peers_connected = self.counters.peers_connected.saturating_sub(1);
        }
        match &peer.side {
            Side::Publisher(publisher) => {
                for key in publisher.sections.iter().flat_map(Published::tracks) {
                    if let Some(track) = self.tracks.get_mut(key) {
                        track.publisher = None;
                    }
                }
                if !peer.transport.is_connected() {
                    self.drop_unheard(&peer, publisher);
                }
            }
            Side::Subscriber(subscriber) => {
                for key in subscriber.sendings.iter().flat_map(Sending::subscribed) {
                    self.unsubscribe(id, key);
                }
            }
        }
    }

    /// Control was never told of the tracks of a publisher that did not connect: nobody else ends
    /// them.
    fn drop_unheard(&mut self, peer: &Peer, publisher: &Publisher) {
        let Some(app) = self.app_of(peer.conn) else {
            return;
        };
        let broadcast = (app, peer.stream.clone());
        for key in publisher.sections.iter().flat_map(Published::tracks) {
            let Some(id) = self.tracks.get(key).map(|track| track.info.id) else {
                continue;
            };
            self.tracks.remove(id);
            if let Some(ids) = self.published.get_mut(&broadcast) {
                ids.retain(|published| *published != id);
                if ids.is_empty() {
                    self.published.remove(&broadcast);
                }
            }
        }
    }

    pub(super) fn insert_peer(
        &mut self,
        now: Now,
        conn: ConnId,
        stream: &StreamId,
        side: Side,
    ) -> PeerId {
        let credentials = loop {
            let credentials = self.fresh_credentials();
            if !self.ufrags.contains_key(&credentials.ufrag) {
                break credentials;
            }
        };
        let ufrag = credentials.ufrag.clone();
        let transport = Transport::new(now, credentials);
        let stream = stream.clone();
        let id = self.peers.insert_with(|_| Peer {
            conn,
            stream,
            transport,
            side,
            data: None,
            armed: None,
            drops: DropCounters::default(),
            journal: Journal::new(now.instant),
        });
        self.ufrags.insert(ufrag, id);
        self.arm(id, now.instant);
        id
    }

    /// Where workers share a port, the user fragment names this one.
    fn fresh_credentials(&mut self) -> Credentials {
        match self.steering {
            Some(_) => Credentials::of_worker(self.config.worker, &mut self.rng),
            None => Credentials::random(&mut self.rng),
        }
    }

    pub(super) fn set_remote(&mut self, now: Now, id: PeerId, remote: &RemoteTransport) {
        let fingerprints = remote.fingerprints.iter();
        let expected = fingerprints
            .filter_map(|f| Digest::new(f.hash.name(), &f.bytes))
            .collect();
        self.set_remote_ice(now, id, &remote.ice, expected);
    }

    /// The peer of a connection that has one only begins a new ICE session (RFC 9725 §4.3.3);
    /// returns this server's end of it.
    pub(super) fn begin_ice_session(
        &mut self,
        now: Now,
        conn: ConnId,
        remote: &IceParameters,
    ) -> Option<LocalParameters> {
        let (_, id) = self.peers_of(conn).next()?;
        let expected = self.peers.get(id)?.transport.expected().to_vec();
        self.set_remote_ice(now, id, remote, expected);
        self.local_parameters(id)
    }

    fn set_remote_ice(
        &mut self,
        now: Now,
        id: PeerId,
        remote: &IceParameters,
        expected: Vec<Digest>,
    ) {
        let credentials = Credentials {
            ufrag: remote.ufrag.clone(),
            password: remote.pwd.clone(),
        };
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        let is_restart = peer.transport.is_restart(&credentials);
        let fresh = is_restart.then(|| self.fresh_credentials());
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if let Some(fresh) = fresh {
            self.ufrags.remove(&peer.transport.credentials().ufrag);
            self.ufrags.insert(fresh.ufrag.clone(), id);
            peer.transport.restart_ice(fresh);
            peer.journal.note(now.instant, Note::IceRestart);
        }
        peer.transport.set_remote(credentials, expected);
        if let Err(reason) = peer.transport.flush(&mut self.urgent) {
            self.counters.dropped.count(reason);
        }
    }

    pub(super) fn local_parameters(&self, id: PeerId) -> Option<LocalParameters> {
        let credentials = self.peers.get(id)?.transport.credentials();
        Some(LocalParameters {
            ice: IceParameters {
                ufrag: credentials.ufrag.clone(),
                pwd: credentials.password.clone(),
            },
            fingerprint: Fingerprint {
                hash: HashFunction::Sha256,
                bytes: self.config.certificate.fingerprint().to_vec(),
            },
            candidates: candidates(&self.config),
        })
    }
}

/// `candidate:...` texts (RFC 8839 §5.1, RFC 6544 §4.5), those over UDP first.
fn candidates(config: &Config) -> Vec<String> {
    let udp = config.candidates.iter().enumerate().map(|(at, address)| {
        // RFC 8445 §5.1.2.1: host preference 126, local preference by order, component 1.
        let priority = (126u32 << 24) | ((65_535 - at as u32) << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        format!("candidate:{} 1 udp {priority} {ip} {port} typ host", at + 1)
    });
    let tcp = config.tcp_candidates.iter().enumerate();
    let tcp = tcp.map(|(at, address)| {
        // RFC 6544 §4.2: a type preference below that of UDP, 90 as browsers have it; the local
        // preference is 3 bits of direction, 4 for a passive host, and 13 bits by order.
        let local = (4u32 << 13) | (8191 - at as u32);
        let priority = (90u32 << 24) | (local << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        let foundation = config.candidates.len() + at + 1;
        format!("candidate:{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive")
    });
    udp.chain(tcp).collect()
}

/// What an m-line publishes at once, by RID; simulcast from before RIDs has several sources
/// instead. At most `limits::MAX_ENCODINGS`.
fn encodings_of(section: &ReceiveSection) -> Vec<Option<Rid>> {
    let by_rid = section.rids.iter().cloned().map(Some);
    let by_source = section.ssrcs.iter().map(|_| None);
    let mut encodings: Vec<Option<Rid>> = match section.rids.is_empty() {
        true => by_source.collect(),
        false => by_rid.collect(),
    };
    if encodings.is_empty() || section.kind == MediaKind::Audio {
        encodings = vec![None];
    }
    encodings.truncate(MAX_ENCODINGS);
    encodings
}

fn receive_sections(negotiated: &Negotiated) -> impl Iterator<Item = &ReceiveSection> {
    negotiated
        .sections
        .iter()
        .filter_map(|section| match section {
            Section::Receive(section) => Some(section),
            Section::Data(_) | Section::Rejected { .. } => None,
        })
}

fn data_section(negotiated: &Negotiated) -> Option<&DataSection> {
    negotiated
        .sections
        .iter()
        .find_map(|section| match section {
            Section::Data(section) => Some(section),
            Section::Receive(_) | Section::Rejected { .. } => None,
        })
}

fn policy(settings: &AppSettings) -> CodecPolicy {
    CodecPolicy::default()
        .with(Codec::H264, settings.h264_enabled)
        .with(Codec::Vp8, settings.vp8_enabled)
        .with(Codec::Vp9, settings.vp9_enabled)
        .with(Codec::H265, settings.h265_enabled)
        .with(Codec::Av1, settings.av1_enabled)
        .with_data_channels(settings.data_channel_enabled)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ids::WorkerId;
    use crate::transport::certificate::Certificate;

    #[test]
    fn candidates_over_tcp_come_behind_those_over_udp() {
        let config = Config {
            worker: WorkerId(0),
            candidates: vec!["192.0.2.1:5".parse().unwrap()],
            tcp_candidates: vec![
                "192.0.2.1:6".parse().unwrap(),
                "[2001:db8::1]:6".parse().unwrap(),
            ],
            port_shared_by: 1,
            seed: [0; 32],
            even_lengths: true,
            certificate: Arc::new(Certificate::generate().unwrap()),
        };
        // 126 << 24 | 65535 << 8 | 255, then 90 << 24 | (4 << 13 | 8191) << 8 | 255.
        assert_eq!(
            candidates(&config),
            [
                "candidate:1 1 udp 2130706431 192.0.2.1 5 typ host",
                "candidate:2 1 tcp 1520435199 192.0.2.1 6 typ host tcptype passive",
                "candidate:3 1 tcp 1520434943 2001:db8::1 6 typ host tcptype passive",
            ]
        );
    }
}
