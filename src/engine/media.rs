//! The story of a packet: a datagram comes in, is told apart, passes the gate, is decrypted into
//! its track's history; then, once per turn, every fresh packet goes to every subscriber.

use str0m::ice::StunMessage;

use super::{Engine, Progress, warm};
use crate::base::clock::Now;
use crate::base::egress::{Egress, Route};
use crate::base::fault::{DropReason, PeerFault};
use crate::base::ids::PeerId;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::peer::journal::Note;
use crate::peer::send::{Outlet, Sent};
use crate::peer::{Peer, Side};
use crate::router::even::even_out;
use crate::router::tracks::TrackKey;
use crate::signal::action::PeerEvent;
use crate::transport::DtlsOutcome;
use crate::transport::demux::{self, Protocol};

/// Where forwarding stopped for want of room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Index in the list of fresh tracks.
    track: usize,
    /// Index in that track's subscribers.
    subscriber: usize,
    /// History position; `None` at the start of a subscriber.
    position: Option<u64>,
}

impl Cursor {
    pub(super) fn is_at_start(&self) -> bool {
        self.track == 0 && self.subscriber == 0 && self.position.is_none()
    }
}

impl Engine {
    /// One datagram, to its end.
    pub(super) fn accept(
        &mut self,
        now: Now,
        route: Route,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        if datagram.len() > MAX_DATAGRAM_LEN {
            return Err(DropReason::Oversized);
        }
        let protocol = demux::classify(datagram).ok_or(DropReason::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            return self.accept_stun(now, route, datagram);
        }
        // The gate: nothing but STUN from a source that ICE has not validated.
        let Some(&peer) = self.sources.get(&route.source()) else {
            return self.pass_on(now, route, datagram);
        };
        match protocol {
            Protocol::Rtp => self.accept_rtp(now, peer, datagram),
            Protocol::Rtcp => self.accept_rtcp(now, peer, datagram),
            Protocol::Dtls => self.accept_dtls(now, peer, datagram),
            Protocol::Stun => Ok(()),
        }
    }

    fn accept_rtp(&mut self, now: Now, id: PeerId, datagram: &mut [u8]) -> Result<(), DropReason> {
        let peer = self
            .peers
            .get_mut(id)
            .ok_or(DropReason::UnvalidatedSource)?;
        let Peer {
            transport,
            side,
            drops,
            journal,
            ..
        } = peer;
        let keys = transport.keys().ok_or(DropReason::NoKeys)?;
        let Side::Publisher(publisher) = side else {
            return Err(DropReason::NotAPublisher);
        };
        let was_silent = !publisher.has_received();
        let received = publisher.receive(now, &keys.unprotect, datagram, &mut self.tracks);
        let due = publisher.poll_timeout(now);
        if let Err(reason) = &received {
            drops.count(*reason);
        }
        let begins = was_silent && publisher.has_received();
        if begins {
            journal.note(now.instant, Note::FirstPacket);
            self.tell_session(now, id, PeerEvent::Receiving);
        }
        let received = received?;
        self.counters.rtp_received += 1;
        self.tracks.mark_fresh(received);
        self.arm(id, due);
        Ok(())
    }

    fn accept_stun(&mut self, now: Now, route: Route, datagram: &[u8]) -> Result<(), DropReason> {
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::MalformedStun)?;
        let (local, _) = message.split_username().ok_or(DropReason::UnknownUfrag)?;
        let Some(&id) = self.ufrags.get(local) else {
            if !message.is_binding_request() {
                return Err(DropReason::UnknownUfrag);
            }
            return self.pass_request(now, route, local, datagram);
        };
        let peer = self.peers.get_mut(id).ok_or(DropReason::UnknownUfrag)?;
        let before = peer.transport.route();
        let accepted = peer.transport.handle_stun(now, route, message);
        let flushed = peer.transport.flush(&mut self.urgent);
        let accepted = accepted?;
        if peer.transport.route() != before
            && let Side::Subscriber(subscriber) = &mut peer.side
        {
            subscriber.path.handle_new_route(now.instant);
        }
        if accepted.newly_validated {
            peer.journal.note(now.instant, Note::AddressValidated);
            let before = self.learn_source(now, route.source(), id);
            // An address is one peer's; who was there before has to prove it again.
            if let Some(before) = before.filter(|before| *before != id)
                && let Some(other) = self.peers.get_mut(before)
            {
                other.transport.handle_source_taken(route.source());
            }
        }
        if let Some(forgotten) = accepted.forgotten {
            self.forget_source(forgotten, id);
        }
        flushed
    }

    /// One datagram of an association, to its end.
    pub(super) fn handle_dtls(
        &mut self,
        now: Now,
        id: PeerId,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let peer = self
            .peers
            .get_mut(id)
            .ok_or(DropReason::UnvalidatedSource)?;
        let outcome = peer
            .transport
            .handle_dtls(now, &self.config.certificate, datagram);
        let flushed = peer.transport.flush(&mut self.urgent);
        let due = peer.poll_timeout(now);
        self.arm(id, due);
        self.settle_dtls(now, id, outcome)?;
        self.accept_data(now, id);
        flushed
    }

    pub(super) fn settle_dtls(
        &mut self,
        now: Now,
        id: PeerId,
        outcome: Result<DtlsOutcome, PeerFault>,
    ) -> Result<(), DropReason> {
        match outcome {
            Ok(DtlsOutcome::Progress) => Ok(()),
            Ok(DtlsOutcome::Refused) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.journal.note(now.instant, Note::DtlsRefused);
                    peer.drops.count(DropReason::DtlsRejected);
                }
                Err(DropReason::DtlsRejected)
            }
            Ok(DtlsOutcome::Connected) => {
                self.peer_connected(now, id);
                Ok(())
            }
            Ok(DtlsOutcome::Closed) => {
                self.peer_failed(now, id, None);
                Ok(())
            }
            Err(fault) => {
                self.peer_failed(now, id, Some(fault));
                Err(DropReason::DtlsRejected)
            }
        }
    }

    /// Every fresh packet of every track, track by track and subscriber by subscriber: one
    /// subscriber's keys and counters are touched once per track and turn.
    pub(super) fn forward_tracks(&mut self, now: Now, egress: &mut Egress) -> Progress {
        let mut sent = Sent::default();
        let progress = self.forward_from_cursor(now, egress, &mut sent);
        self.counters.add_sent(sent);
        progress
    }

    fn forward_from_cursor(&mut self, now: Now, egress: &mut Egress, sent: &mut Sent) -> Progress {
        if self.cursor.is_at_start() {
            self.release = None;
        }
        while let Some(&key) = self.tracks.fresh().get(self.cursor.track) {
            if self.skip_disabled(key) {
                self.next_track();
                continue;
            }
            if self.cursor.subscriber == 0 && self.cursor.position.is_none() {
                if self.is_held(now, key) {
                    self.next_track();
                    continue;
                }
                self.relay(key);
                self.even_out(key);
            }
            let Some(track) = self.tracks.get(key) else {
                self.next_track();
                continue;
            };
            while let Some(subscriber) = track.subscribers.get(self.cursor.subscriber) {
                let at = self.cursor.subscriber;
                if at.is_multiple_of(warm::TOGETHER) {
                    let end = track.subscribers.len().min(at + warm::TOGETHER);
                    let next = track.subscribers.get(at..end).unwrap_or_default();
                    warm::warm(next, |id| self.peers.get(id));
                }
                let from = self.cursor.position.unwrap_or(track.fresh);
                if let Some(Peer {
                    transport,
                    side: Side::Subscriber(state),
                    drops,
                    ..
                }) = self.peers.get_mut(subscriber.peer)
                    && let (Some(route), Some(keys)) = (transport.route(), transport.keys())
                {
                    let mut outlet = Outlet {
                        now: now.instant,
                        route,
                        protect: &keys.protect,
                        egress,
                        dropped: &mut self.counters.dropped,
                        drops,
                        sent,
                    };
                    let range = from..track.history.end();
                    let reached = state.forward(subscriber.sending, key, track, range, &mut outlet);
                    if reached < track.history.end() {
                        self.cursor.position = Some(reached);
                        return Progress::EgressFull;
                    }
                    if state.path.lists_anew() {
                        self.waiting.add(now.instant, subscriber.peer);
                    }
                }
                self.cursor.position = None;
                self.cursor.subscriber += 1;
            }
            if let Some(track) = self.tracks.get_mut(key) {
                track.fresh = track.history.end();
            }
            self.next_track();
        }
        self.tracks.clear_fresh();
        self.cursor = Cursor::default();
        Progress::Done
    }

    /// True while the fresh packets of a track wait for the rest of their frame.
    fn is_held(&mut self, now: Now, key: TrackKey) -> bool {
        let track = self.tracks.get_mut(key);
        let until = track.and_then(|track| track.held_until(now.instant));
        if let Some(until) = until {
            self.release = Some(self.release.map_or(until, |at| at.min(until)));
        }
        until.is_some()
    }

    /// Gives neighbouring fresh packets one length, where somebody on this worker is sent them.
    fn even_out(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        if self.config.even_lengths && !track.subscribers.is_empty() {
            self.counters.padded += even_out(&mut track.history, track.fresh);
        }
    }

    /// Passes over the fresh packets of a track that its publisher has switched off.
    fn skip_disabled(&mut self, key: TrackKey) -> bool {
        let Some(track) = self.tracks.get_mut(key).filter(|track| !track.enabled) else {
            return false;
        };
        let skipped = track.history.end() - track.fresh;
        track.fresh = track.history.end();
        self.counters.dropped.add(DropReason::Disabled, skipped);
        true
    }

    fn next_track(&mut self) {
        self.cursor = Cursor {
            track: self.cursor.track + 1,
            ..Cursor::default()
        };
    }
}
