//! A publisher's RTP packet, from datagram to history: the numbered steps are its whole way in.

use super::publisher::{Publisher, Source, SourceRole};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::limits::MAX_RTP_LEN;
use crate::payload;
use crate::router::history::Stored;
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtp::extension::Known;
use crate::rtp::{RtpHeader, canonical, rtx};
use crate::srtp::{Unprotect, packet_index};
use crate::stream::missing::Arrival;
use crate::stream::receive::RecvStream;

impl Publisher {
    /// Takes one SRTP packet; its media ends in the history of its track, which is returned.
    ///
    /// # Errors
    /// The reason why it went no further. State for an SSRC is made only after its first packet
    /// has authenticated.
    pub fn receive(
        &mut self,
        now: Now,
        unprotect: &Unprotect,
        datagram: &mut [u8],
        tracks: &mut Tracks,
    ) -> Result<TrackKey, DropReason> {
        // 1. Parse the header; SRTP leaves it in the clear.
        let header = RtpHeader::parse(datagram).ok_or(DropReason::MalformedRtp)?;
        // 2. Which stream is it, or would it be?
        let known = self.find(header.ssrc);
        let candidate = match known {
            Some(_) => None,
            None => Some(self.place(datagram, &header)?),
        };
        // 3. Seen before? Costs nothing, so it comes before the cipher.
        let extended = match known.and_then(|at| self.ssrcs.get(at)) {
            Some(source) => source.stream.check(header.seq)?,
            None => 0x1_0000 + u64::from(header.seq.0),
        };
        // 4. Authenticate and decrypt in place.
        let index = packet_index(extended).ok_or(DropReason::TooOld)?;
        let len = unprotect.unprotect_rtp(datagram, header.header_len, index)?;
        let packet = datagram.get(..len).ok_or(DropReason::MalformedRtp)?;
        // 5. It is genuine: make state, record it.
        let at = match (known, candidate) {
            (Some(at), _) => at,
            (None, Some(candidate)) => {
                let stream = RecvStream::new(header.ssrc, self.clock_hz(candidate.section));
                let (section, role) = (candidate.section, candidate.role);
                self.ssrcs.push(Source {
                    stream,
                    section,
                    role,
                });
                self.ssrcs.len() - 1
            }
            (None, None) => return Err(DropReason::UnknownSsrc),
        };
        self.record(now, at, packet, &header, extended);
        // 6. Media or retransmission of it.
        self.store(now, at, packet, &header, extended, tracks)
    }

    fn clock_hz(&self, section: usize) -> u32 {
        self.sections
            .get(section)
            .map_or(90_000, |p| p.section.codec.clock_hz())
    }

    fn record(&mut self, now: Now, at: usize, packet: &[u8], header: &RtpHeader, extended: u64) {
        let Some(source) = self.ssrcs.get_mut(at) else {
            return;
        };
        source.stream.record(now, extended, header.timestamp);
        let section = source.section;
        if let (Some(arrivals), Some(published)) = (&mut self.arrivals, self.sections.get(section))
        {
            let known = Known::read(packet, header, &published.section.extensions);
            if let Some(seq) = known.transport_seq {
                arrivals.record(seq, now.instant);
            }
        }
    }

    fn store(
        &mut self,
        now: Now,
        at: usize,
        packet: &[u8],
        header: &RtpHeader,
        extended: u64,
        tracks: &mut Tracks,
    ) -> Result<TrackKey, DropReason> {
        let source = self.ssrcs.get(at).ok_or(DropReason::UnknownSsrc)?;
        let (section, role) = (source.section, source.role.clone());
        if !self.check_pt(section, header.pt, &role) {
            return Err(DropReason::UnknownPt);
        }
        let payload = header.payload(packet).ok_or(DropReason::Padding)?;
        // 7. Unwrap RTX: the packet takes its original number's place.
        let (media, seq, payload, rid) = match &role {
            SourceRole::Media(rid) => (at, extended, payload, rid.clone()),
            SourceRole::Rtx(rid) => {
                let (osn, payload) = rtx::unwrap(payload).ok_or(DropReason::Padding)?;
                let media = self
                    .repaired(section, rid.as_ref())
                    .ok_or(DropReason::UnknownSsrc)?;
                let stream = &self.ssrcs.get(media).ok_or(DropReason::UnknownSsrc)?.stream;
                let newest = stream.highest().ok_or(DropReason::UnknownSsrc)?;
                let back = crate::base::seq::SeqNo(newest as u16).distance(osn);
                let seq = newest.saturating_add_signed(-i64::from(back));
                (media, seq, payload, self.rid_of(media))
            }
        };
        if payload.is_empty() {
            return Err(DropReason::Padding);
        }
        // 8. Account for gaps; what was neither expected nor missing is a duplicate.
        let arrival = match self.ssrcs.get_mut(media) {
            Some(source) => source.stream.missing.arrived(now.instant, seq),
            None => return Err(DropReason::UnknownSsrc),
        };
        if arrival == Arrival::Late && matches!(role, SourceRole::Rtx(_)) {
            return Err(DropReason::Duplicate);
        }
        let forwarded = self.is_forwarded(section, rid.as_ref());
        let published = self
            .sections
            .get_mut(section)
            .ok_or(DropReason::UnknownSsrc)?;
        if !forwarded {
            return Err(DropReason::Disabled);
        }
        if arrival == Arrival::Jump && published.section.kind == MediaKind::Video {
            tracks.want_key_frame(now.instant, published.track);
        }
        // 9. Canonicalise into the history: the one plaintext copy.
        let key = published.track;
        let track = tracks.get_mut(key).ok_or(DropReason::UnknownSsrc)?;
        if track.history.find(seq).is_some() {
            return Err(DropReason::Duplicate);
        }
        let known = Known::read(packet, header, &published.section.extensions);
        let info = match published.section.kind {
            MediaKind::Audio => None,
            MediaKind::Video => Some(payload::inspect(
                published.section.codec,
                payload,
                header.marker,
                known.dependency_descriptor,
            )),
        };
        if let Some(resolution) = info.and_then(|i| i.resolution) {
            published.resolution = Some(resolution);
        }
        let out = track
            .history
            .slot(now.instant, MAX_RTP_LEN)
            .ok_or(DropReason::Oversized)?;
        let layout = canonical::write(
            out,
            canonical::Source {
                packet,
                header,
                payload,
                extensions: &published.section.extensions,
                pt: published.section.server_pt,
                seq: crate::base::seq::SeqNo(seq as u16),
                marker: header.marker,
            },
        )
        .ok_or(DropReason::Oversized)?;
        let stored = Stored {
            seq,
            timestamp: header.timestamp,
            len: layout.len,
            header_len: layout.header_len,
            transport_seq_at: layout.transport_seq_at,
            key_frame: info.is_some_and(|i| i.key_frame),
        };
        track.store(now.instant, stored);
        Ok(key)
    }

    fn rid_of(&self, media: usize) -> Option<crate::base::ids::Rid> {
        match &self.ssrcs.get(media)?.role {
            SourceRole::Media(rid) => rid.clone(),
            SourceRole::Rtx(_) => None,
        }
    }
}
