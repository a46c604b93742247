//! Offers to a player: the first one, and the later ones of a main track whose sources come and
//! go (RFC 8829 §5.2.2).
//!
//! The m-lines of an offer only grow in number. That of a source that left is stopped, which is
//! what makes browsers fire `removetrack`; once that was answered, the next track of its kind
//! takes the m-line over under a mid that was never used before, because a browser keeps the track
//! id of a mid for ever (INTEROP(chrome)). The m-line that leads the BUNDLE group carries the
//! transport and is never stopped: in a room that is the data channel's, elsewhere a track's,
//! which is made inactive instead. A label that stays and stands for another track of the same
//! codec (a slot) keeps its m-line: its sending goes on with that track, and no offer is needed.

use rand::Rng;

use super::Engine;
use super::negotiation::Description;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{ConnId, Mid, PeerId};
use crate::base::limits::MAX_MEDIA_SECTIONS;
use crate::model::layers::Target;
use crate::model::track::{PlayGrant, Source, StreamId, TrackInfo};
use crate::peer::ssrcs::Ssrcs;
use crate::peer::subscriber::{Sending, SendingState, Subscriber};
use crate::peer::{Peer, Side};
use crate::router::rewrite::Rewriter;
use crate::sdp::offer::{self, Accepted, AcceptedSection, OfferSection, SendSection};
use crate::sdp::player;
use crate::sdp::{SdpError, SessionVersion};
use crate::stream::send::{RtxStream, SendStream};

/// What became of a later offer.
#[derive(Clone, Debug)]
pub(super) enum Renegotiated {
    /// What is wanted is offered already.
    Unchanged,
    /// The next offer.
    Offer(Description),
}

impl Engine {
    /// Makes a subscriber for `grant` and the offer to it.
    pub(super) fn make_offer(
        &mut self,
        now: Now,
        conn: ConnId,
        stream: &StreamId,
        grant: &PlayGrant,
    ) -> Option<(PeerId, Description)> {
        let session = SessionVersion {
            id: self.rng.random::<u64>() >> 1,
            version: 1,
        };
        let ssrcs = Ssrcs::random(&mut self.rng);
        let mut subscriber = Subscriber::new(now, session, ssrcs);
        let leads = grant.room.as_ref() == Some(stream);
        if grant.data_channel && leads {
            let mid = subscriber.next_mid()?;
            subscriber.offered.push(OfferSection::Data { mid });
        }
        for (label, info) in lanes(&grant.lineup.sources) {
            let mid = subscriber.next_mid()?;
            let in_stream = media_stream(stream, label, &grant.lineup.sources);
            let section = send_section(mid, in_stream, label, info, &mut subscriber.ssrcs);
            subscriber
                .sendings
                .push(self.sending(&section, label, info));
            subscriber.offered.push(OfferSection::Send(section));
        }
        if grant.data_channel && !leads {
            let mid = subscriber.next_mid()?;
            subscriber.offered.push(OfferSection::Data { mid });
        }
        let id = self.insert_peer(now, conn, stream, Side::Subscriber(Box::new(subscriber)));
        Some((id, self.describe(id)?))
    }

    /// Ends what is not among `sources` at once, and makes the offer of what is. `None` when
    /// there is no such subscriber.
    pub(super) fn renegotiate_play(
        &mut self,
        now: Now,
        id: PeerId,
        sources: &[Source],
    ) -> Option<Renegotiated> {
        let lanes = lanes(sources);
        self.retarget(now, id, &lanes);
        let played = self.peers.get(id)?.stream.clone();
        let subscriber = self.subscriber_mut(id)?;
        let is_lane = |sending: &Sending, (label, info): &(&StreamId, &TrackInfo)| {
            sending.is_in_use() && sending.info.id == info.id && sending.label == **label
        };
        let sendings = &subscriber.sendings;
        let gone: Vec<usize> = (0..)
            .zip(sendings)
            .filter(|(_, s)| s.is_in_use() && !lanes.iter().any(|lane| is_lane(s, lane)))
            .map(|(at, _)| at)
            .collect();
        let come: Vec<_> = lanes
            .iter()
            .filter(|lane| !sendings.iter().any(|s| is_lane(s, lane)))
            .collect();
        if gone.is_empty() && come.is_empty() {
            return Some(Renegotiated::Unchanged);
        }
        // Only what an earlier answer has seen stopped may be used again.
        let mut free: Vec<usize> = (0..)
            .zip(&subscriber.offered)
            .filter(|(_, section)| matches!(section, OfferSection::Stopped { .. }))
            .map(|(at, _)| at)
            .collect();
        subscriber.session.version += 1;
        for at in gone {
            self.stop_sending(id, at);
        }
        for &(label, info) in come {
            let in_stream = media_stream(&played, label, sources);
            self.add_sending(id, in_stream, label, info, &mut free);
        }
        self.describe(id).map(Renegotiated::Offer)
    }

    /// Sendings whose label stands for another track that fits their m-line go on with it. The old
    /// subscriptions end before the first one begins, because two slots may change places.
    fn retarget(&mut self, now: Now, id: PeerId, lanes: &[(&StreamId, &TrackInfo)]) {
        let Some(subscriber) = self.subscriber_mut(id) else {
            return;
        };
        let mut moves: Vec<(usize, &TrackInfo)> = Vec::new();
        let mut left = Vec::new();
        for (at, sending) in subscriber.sendings.iter_mut().enumerate() {
            let is_successor = |(label, info): &&(&StreamId, &TrackInfo)| {
                sending.label == **label
                    && sending.info.id != info.id
                    && sending.info.takes_same_section(info)
            };
            let Some(&(_, info)) = lanes.iter().find(is_successor) else {
                continue;
            };
            if sending.is_in_use() {
                sending.rewriter.close();
                // What waited is of the old one.
                subscriber.path.forget(at);
                let keys = sending.subscribed().into_iter();
                left.extend(keys.map(|key| (at, key)));
                moves.push((at, info));
            }
        }
        for (at, key) in left {
            self.unsubscribe_one(id, at, key);
        }
        for (at, info) in moves {
            self.replace_track(now, id, at, Some(info));
        }
    }

    /// Ends a subscription and stops its m-line.
    fn stop_sending(&mut self, id: PeerId, at: usize) {
        let Some(subscriber) = self.subscriber_mut(id) else {
            return;
        };
        for key in subscriber.end_sending(at).unwrap_or_default() {
            self.unsubscribe_one(id, at, key);
        }
    }

    /// Offers one more track, on an m-line of `free` when one is of its kind.
    fn add_sending(
        &mut self,
        id: PeerId,
        in_stream: &StreamId,
        label: &StreamId,
        info: &TrackInfo,
        free: &mut Vec<usize>,
    ) {
        let Some(subscriber) = self.subscriber_mut(id) else {
            return;
        };
        let Some(mid) = subscriber.next_mid() else {
            return;
        };
        let section = send_section(mid, in_stream, label, info, &mut subscriber.ssrcs);
        let mut sending = self.sending(&section, label, info);
        let Some(subscriber) = self.subscriber_mut(id) else {
            return;
        };
        sending.begin_with(subscriber.wishes.of(label, info.kind));
        let stopped = |&at: &usize| match subscriber.offered.get(at) {
            Some(OfferSection::Stopped { kind, .. }) => *kind == info.kind,
            Some(OfferSection::Send(_) | OfferSection::Data { .. }) | None => false,
        };
        match free.iter().position(stopped).map(|at| free.swap_remove(at)) {
            Some(at) => {
                if let Some(place) = subscriber.offered.get_mut(at) {
                    *place = OfferSection::Send(section);
                }
            }
            None if subscriber.offered.len() < MAX_MEDIA_SECTIONS => {
                subscriber.offered.push(OfferSection::Send(section));
            }
            None => return,
        }
        subscriber.add_sending(sending);
    }

    /// The text of a subscriber's current offer, and what goes with it.
    fn describe(&self, id: PeerId) -> Option<Description> {
        let local = self.local_parameters(id)?;
        let Side::Subscriber(subscriber) = &self.peers.get(id)?.side else {
            return None;
        };
        let sections = &subscriber.offered;
        let sdp = offer::write(sections, &local, subscriber.session);
        let named = sections.iter().filter_map(|section| match section {
            OfferSection::Send(send) if !send.disabled => {
                Some((send.mid.clone(), send.track_id.clone()))
            }
            OfferSection::Send(_) | OfferSection::Data { .. } | OfferSection::Stopped { .. } => {
                None
            }
        });
        Some(Description {
            sdp,
            id_mapping: named.collect(),
            candidates: local.candidates,
            first_mid: "0".to_owned(),
            first_label: 0,
        })
    }

    fn sending(&mut self, section: &SendSection, label: &StreamId, info: &TrackInfo) -> Sending {
        let rtx = section
            .rtx_ssrc
            .zip(section.server_rtx_pt)
            .map(|(ssrc, pt)| RtxStream {
                ssrc,
                pt,
                next_seq: self.first_seq(),
            });
        Sending {
            mid: section.mid.clone(),
            label: label.clone(),
            info: info.clone(),
            track: None,
            layers: None,
            target: Target::Best,
            short_since: None,
            max_height: 0,
            stream: SendStream::new(section.ssrc, rtx),
            rewriter: Rewriter::new(self.first_seq()),
            state: SendingState::Offered,
            enabled: true,
            switched_on: true,
            dropped: 0,
            transport_cc: false,
            takes_red: false,
            pt: None,
            ids: None,
            last_stored: None,
            cname: section.cname.clone(),
        }
    }

    /// RFC 3550 §5.1 asks for a random start; the lower half keeps the first roll-over away from
    /// the start, where a receiver could guess it wrong (RFC 3711 §3.3.1).
    fn first_seq(&mut self) -> u64 {
        0x1_0000 + u64::from(self.rng.random::<u16>() >> 1)
    }

    /// A subscriber's answer. What it newly takes begins to flow when the peer is connected.
    pub(super) fn accept_answer(
        &mut self,
        now: Now,
        id: PeerId,
        sdp: &str,
    ) -> Result<(), SdpError> {
        let answer = crate::sdp::parse(sdp)?;
        let subscriber = self.subscriber_mut(id).ok_or(SdpError::Mismatch)?;
        let accepted = offer::apply_answer(&subscriber.offered, &answer)?;
        self.take_accepted(now, id, accepted)
    }

    /// A player's own offer instead of its answer; returns the answer to it.
    pub(super) fn accept_player_offer(
        &mut self,
        now: Now,
        id: PeerId,
        sdp: &str,
    ) -> Result<String, SdpError> {
        let offer = crate::sdp::parse(sdp)?;
        let subscriber = self.subscriber_mut(id).ok_or(SdpError::Mismatch)?;
        let sections = subscriber.offered.clone();
        let session = subscriber.session;
        let crossed = player::negotiate(&sections, &offer)?;
        self.take_accepted(now, id, crossed.accepted.clone())?;
        let local = self.local_parameters(id).ok_or(SdpError::Mismatch)?;
        Ok(player::write(&sections, &offer, &crossed, &local, session))
    }

    /// What a player takes of what it was offered takes effect. An answer may take back what an
    /// earlier one took, or take what that did not (RFC 3264 §6.1, RFC 8829 §5.11).
    fn take_accepted(&mut self, now: Now, id: PeerId, accepted: Accepted) -> Result<(), SdpError> {
        let subscriber = self.subscriber_mut(id).ok_or(SdpError::Mismatch)?;
        let transport = accepted.transport.ok_or(SdpError::NothingAccepted)?;
        subscriber.leader = accepted.leader;
        let mut left = Vec::new();
        for section in &accepted.sections {
            let is_it = |s: &Sending| s.is_in_use() && s.mid == section.mid;
            let Some(at) = subscriber.sendings.iter().position(is_it) else {
                continue;
            };
            if !section.accepted {
                let keys = subscriber.refuse_sending(at).into_iter();
                left.extend(keys.map(|key| (at, key)));
            } else if let Some(sending) = subscriber.sendings.get_mut(at)
                && take(sending, section)
                && sending.transport_cc
            {
                subscriber.path.open(now.instant);
            }
        }
        for (at, key) in left {
            self.unsubscribe_one(id, at, key);
        }
        self.set_remote(now, id, &transport);
        self.add_data(now, id, accepted.data.as_ref());
        if self
            .peers
            .get(id)
            .is_some_and(|peer| peer.transport.is_connected())
        {
            self.start_subscriptions(now, id);
        }
        Ok(())
    }

    /// Starts what a connected subscriber has accepted and is not sent yet.
    pub(super) fn start_subscriptions(&mut self, now: Now, id: PeerId) {
        let Some(subscriber) = self.subscriber_mut(id) else {
            return;
        };
        let starts = |sending: &mut Sending| match sending.state {
            SendingState::Accepted => {
                sending.state = SendingState::Flowing;
                Some(sending.info.clone())
            }
            SendingState::Offered
            | SendingState::Flowing
            | SendingState::Refused
            | SendingState::Ended => None,
        };
        let sendings = (0..).zip(&mut subscriber.sendings);
        let wanted: Vec<(usize, TrackInfo)> = sendings
            .filter_map(|(at, sending)| Some((at, starts(sending)?)))
            .collect();
        for (at, info) in wanted {
            self.start_sending(now, id, at, &info);
        }
    }

    pub(super) fn subscriber_mut(&mut self, id: PeerId) -> Option<&mut Subscriber> {
        match self.peers.get_mut(id)? {
            Peer {
                side: Side::Subscriber(subscriber),
                ..
            } => Some(subscriber),
            Peer {
                side: Side::Publisher(_),
                ..
            } => None,
        }
    }
}

/// The m-lines of `sources` in order: of each source its first audio and its first video track.
/// More of a kind would have the same track id, which browsers refuse (INTEROP(chrome)).
fn lanes(sources: &[Source]) -> Vec<(&StreamId, &TrackInfo)> {
    let kinds = [MediaKind::Audio, MediaKind::Video];
    let of = |source: &'_ Source, kind| source.tracks.iter().position(|t| t.kind == kind);
    let mut lanes = Vec::with_capacity(2 * sources.len());
    for source in sources {
        for at in kinds.iter().filter_map(|&kind| of(source, kind)) {
            lanes.extend(source.tracks.get(at).map(|info| (&source.stream, info)));
        }
    }
    lanes
}

/// The player takes `sending`, of which this is what it takes; false when it did before: how it is
/// sent stays as it was.
fn take(sending: &mut Sending, section: &AcceptedSection) -> bool {
    match sending.state {
        SendingState::Offered | SendingState::Refused => {}
        SendingState::Accepted | SendingState::Flowing | SendingState::Ended => return false,
    }
    sending.state = SendingState::Accepted;
    // Without RTX, repair is a plain copy, which has to be the same bytes as the first time: it
    // cannot carry a number of its own.
    sending.transport_cc = section.transport_cc && (section.rtx || !section.nack);
    sending.takes_red = section.red;
    if !section.rtx {
        sending.stream.rtx = None;
    }
    if let Some(numbers) = &section.numbers {
        sending.renumber(numbers);
    }
    true
}

/// The id of the MediaStream in which a track of `sources` comes. Beside media of the main track's
/// own all come in that one's, because a page with one element shows one MediaStream; where there
/// are none each broadcast has its own, which is how pages of a room tell people apart.
fn media_stream<'a>(played: &'a StreamId, label: &'a StreamId, sources: &[Source]) -> &'a StreamId {
    let has_own = sources.iter().any(|source| source.stream == *played);
    if has_own { played } else { label }
}

/// An m-line for a track, with sources that the player has not had.
fn send_section(
    mid: Mid,
    in_stream: &str,
    label: &str,
    info: &TrackInfo,
    ssrcs: &mut Ssrcs,
) -> SendSection {
    let letter = match info.kind {
        MediaKind::Audio => 'a',
        MediaKind::Video => 'v',
    };
    SendSection {
        mid,
        kind: info.kind,
        codec: info.codec,
        fmtp: info.fmtp.to_string(),
        server_pt: info.pt,
        server_rtx_pt: info.rtx_pt,
        red: info.red,
        track_id: format!("ARDAMS{letter}{label}"),
        stream_id: in_stream.to_owned(),
        ssrc: ssrcs.draw(),
        rtx_ssrc: info.rtx_pt.map(|_| ssrcs.draw()),
        cname: label.to_owned(),
        disabled: false,
    }
}
