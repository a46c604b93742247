//! A publisher's RTP packet, from datagram to history: the numbered steps are its whole way in.

use super::publisher::{Published, Publisher, Source, SourceRole};
use crate::base::clock::Now;
use crate::base::codec::{Codec, MediaKind, RED_PT};
use crate::base::extension::ExtensionKind;
use crate::base::fault::DropReason;
use crate::base::limits::{MAX_RTP_LEN, MAX_SCALABLE_LAYERS};
use crate::base::seq::SeqNo;
use crate::model::layers::Marks;
use crate::payload::{self, PacketInfo, dependency_descriptor, layers_allocation, red, vp9};
use crate::router::figures::Sizes;
use crate::router::history::Stored;
use crate::router::track::Track;
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
        let known = self.find(header.ssrc)?;
        let candidate = match known {
            Some(_) => None,
            None => {
                self.make_room();
                Some(self.place(datagram, &header)?)
            }
        };
        // 3. Seen before? Costs nothing, so it comes before the cipher.
        let extended = match known.and_then(|at| self.ssrcs.get(at)) {
            Some(source) if source.place.role == SourceRole::Left => {
                return Err(DropReason::UnknownSsrc);
            }
            Some(source) => source.stream.check(header.seq)?,
            None => 0x1_0000 + u64::from(header.seq.0),
        };
        // 4. Authenticate and decrypt in place.
        let index = packet_index(extended).ok_or(DropReason::TooOld)?;
        let len = unprotect.unprotect_rtp(datagram, header.header_len, index)?;
        let packet = datagram.get(..len).ok_or(DropReason::MalformedRtp)?;
        if let Some(tap) = &self.tap {
            tap.copy(now.instant, header.header_len, packet);
        }
        // 5. It is genuine: make state, record it.
        let at = match (known, candidate) {
            (Some(at), _) => at,
            (None, Some(candidate)) => {
                let stream = RecvStream::new(header.ssrc, self.clock_hz(candidate.section));
                let place = candidate;
                if place.role == SourceRole::Media {
                    if self.check_pt(place, header.pt) {
                        self.begin(now, place, tracks);
                    } else if self.media_at(place).is_some() {
                        // It takes the place of another one with media that was agreed on, if ever.
                        return Err(DropReason::UnknownPt);
                    }
                }
                self.ssrcs.push(Source {
                    stream,
                    place,
                    since_us: now.unix_us,
                });
                self.ssrcs.len() - 1
            }
            (None, None) => return Err(DropReason::UnknownSsrc),
        };
        self.record(now, at, packet, &header, extended, tracks);
        // 6 to 9. Its media goes into the history.
        self.store(now, at, packet, &header, extended, tracks)
    }

    fn clock_hz(&self, section: usize) -> u32 {
        self.sections
            .get(section)
            .map_or(90_000, |p| p.section.codec.clock_hz())
    }

    fn record(
        &mut self,
        now: Now,
        at: usize,
        packet: &[u8],
        header: &RtpHeader,
        extended: u64,
        tracks: &mut Tracks,
    ) {
        let Some(source) = self.ssrcs.get_mut(at) else {
            return;
        };
        source.stream.record(now, extended, header.timestamp);
        let Some(published) = self.sections.get(source.place.section) else {
            return;
        };
        let is_audio = published.section.kind == MediaKind::Audio;
        let declares = ExtensionKind::VideoLayersAllocation;
        let declares = published.section.extensions.id(declares).is_some();
        if self.arrivals.is_none() && !is_audio && !declares {
            return;
        }
        let known = Known::read(packet, header, &published.section.extensions);
        if let (Some(arrivals), Some(seq)) = (&mut self.arrivals, known.transport_seq) {
            arrivals.record(seq, now.instant);
        }
        if let Some(value) = known.layers_allocation {
            published.declare(now, source.place.encoding, value, tracks);
        }
        if let Some(audio) = known.audio_level.filter(|_| is_audio) {
            self.note_level(audio.level_dbov);
        }
    }

    /// Steps 6 to 9 for a packet of the authenticated SSRC at place `at`.
    fn store(
        &mut self,
        now: Now,
        at: usize,
        packet: &[u8],
        header: &RtpHeader,
        extended: u64,
        tracks: &mut Tracks,
    ) -> Result<TrackKey, DropReason> {
        let media = self.media(at, packet, header, extended)?;
        // 7. Account for gaps; a retransmission that nobody missed is a duplicate, and so is a
        //    packet whose number was repaired, however long ago.
        let source = self
            .ssrcs
            .get_mut(media.at)
            .ok_or(DropReason::UnknownSsrc)?;
        let place = source.place;
        let arrival = source.stream.missing.arrived(now.instant, media.seq);
        let is_needless = arrival == Arrival::Late && media.at != at;
        if is_needless || source.stream.has_taken(media.seq) {
            return Err(DropReason::Duplicate);
        }
        let published = self
            .sections
            .get_mut(place.section)
            .ok_or(DropReason::UnknownSsrc)?;
        // 8. Look at the payload: does a key frame start here, and which layers is it of?
        let info = match media.refused {
            Some(_) => PacketInfo::default(),
            None => published.inspect(place.encoding, (packet, header), &media, tracks),
        };
        let sizes = published.sizes(place.encoding, &info, media.payload);
        // 9. Canonicalise into the history: the one plaintext copy.
        let encoding = published.encodings.get(place.encoding);
        let key = encoding.ok_or(DropReason::UnknownSsrc)?.track;
        let track = tracks.get_mut(key).ok_or(DropReason::UnknownSsrc)?;
        if let (Some(sizes), Some(figures)) = (sizes, &mut track.figures) {
            figures.set_sizes(sizes);
        }
        let out = track
            .history
            .slot(now.instant, MAX_RTP_LEN)
            .ok_or(DropReason::Oversized)?;
        let layout = published.canonicalise(out, (packet, header), &media)?;
        let stored = Stored {
            seq: media.seq,
            timestamp: header.timestamp,
            len: layout.len,
            header_len: layout.header_len,
            transport_seq_at: layout.transport_seq_at,
            marks: marks(&info),
        };
        track.store(now.instant, stored);
        source.stream.take(media.seq);
        if arrival == Arrival::Jump && track.misses(media.seq.saturating_sub(1)) {
            tracks.want_key_frame(now.instant, key);
        }
        // The number of what is refused goes on, together with the next packet of media: who found
        // it missing would wait for it.
        media.refused.map_or(Ok(key), Err)
    }

    /// Step 6: the media in a packet, of its own SSRC or of the one that an RTX packet repairs,
    /// where it takes its original number's place.
    fn media<'a>(
        &self,
        at: usize,
        packet: &'a [u8],
        header: &RtpHeader,
        extended: u64,
    ) -> Result<Media<'a>, DropReason> {
        let source = self.ssrcs.get(at).ok_or(DropReason::UnknownSsrc)?;
        let is_agreed = self.check_pt(source.place, header.pt);
        let payload = header.payload(packet);
        match source.place.role {
            SourceRole::Left => Err(DropReason::UnknownSsrc),
            SourceRole::Media => {
                let payload = payload.filter(|payload| is_agreed && !payload.is_empty());
                let refused = match is_agreed {
                    true => payload.is_none().then_some(DropReason::Padding),
                    false => Some(DropReason::UnknownPt),
                };
                Ok(Media {
                    at,
                    seq: extended,
                    payload: payload.unwrap_or_default(),
                    refused,
                })
            }
            SourceRole::Rtx => {
                if !is_agreed {
                    return Err(DropReason::UnknownPt);
                }
                let unwrapped = payload.and_then(rtx::unwrap);
                let unwrapped = unwrapped.filter(|(_, payload)| !payload.is_empty());
                let (osn, payload) = unwrapped.ok_or(DropReason::Padding)?;
                let repaired = self.media_at(source.place);
                let at = repaired.ok_or(DropReason::UnknownSsrc)?;
                let newest = self.ssrcs.get(at).and_then(|s| s.stream.highest());
                let newest = newest.ok_or(DropReason::UnknownSsrc)?;
                let back = SeqNo(newest as u16).distance(osn);
                Ok(Media {
                    at,
                    seq: newest.saturating_add_signed(-i64::from(back)),
                    payload,
                    refused: None,
                })
            }
        }
    }
}

/// The media of one packet.
struct Media<'a> {
    /// Place of its media SSRC.
    at: usize,
    /// Extended sequence number in that SSRC.
    seq: u64,
    payload: &'a [u8],
    /// Why nothing of it goes on but its number, and `payload` is empty: it is padding in the place
    /// of media, or of a format that was not agreed on.
    refused: Option<DropReason>,
}

impl Published {
    /// Writes the canonical form of a packet to the front of `out`.
    fn canonicalise(
        &self,
        out: &mut [u8],
        (packet, header): (&[u8], &RtpHeader),
        media: &Media<'_>,
    ) -> Result<canonical::Layout, DropReason> {
        let section = &self.section;
        let is_red = section.red_pt == Some(header.pt) && media.refused.is_none();
        let source = canonical::Source {
            packet,
            header,
            payload: media.payload,
            extensions: &section.extensions,
            pt: if is_red { RED_PT } else { section.server_pt },
            seq: SeqNo(media.seq as u16),
            marker: header.marker,
        };
        let layout = canonical::write(out, source).ok_or(DropReason::Oversized)?;
        if is_red {
            let blocks = out.get_mut(layout.header_len..layout.len);
            let (from, to) = (section.pt, section.server_pt);
            let renumbered = red::renumber(blocks.unwrap_or_default(), from, to);
            renumbered.ok_or(DropReason::MalformedRtp)?;
        }
        Ok(layout)
    }

    /// Takes what a packet of `encoding` says of all layers. What numbers its streams otherwise
    /// than the m-line does is left alone.
    fn declare(&self, now: Now, encoding: usize, value: &[u8], tracks: &mut Tracks) {
        let Some(allocation) = layers_allocation::parse(value) else {
            return;
        };
        let numbers = (allocation.stream.into(), allocation.streams.into());
        if numbers != (encoding, self.encodings.len()) {
            return;
        }
        for (encoding, layers) in self.encodings.iter().zip(allocation.layers) {
            let track = tracks.get_mut(encoding.track);
            if let Some(figures) = track.and_then(|track| track.figures.as_mut()) {
                figures.declare(now.instant, layers);
            }
        }
    }

    /// What the payload says of itself, or its dependency descriptor for it. Audio says nothing.
    fn inspect(
        &mut self,
        encoding: usize,
        (packet, header): (&[u8], &RtpHeader),
        media: &Media<'_>,
        tracks: &Tracks,
    ) -> PacketInfo {
        let (codec, payload) = (self.section.codec, media.payload);
        match codec {
            Codec::Opus | Codec::Pcmu | Codec::Pcma => return PacketInfo::default(),
            // Their payload says it all.
            Codec::Vp8 | Codec::Vp9 => {
                return payload::inspect(codec, payload, header.marker, None);
            }
            Codec::H264 | Codec::H265 | Codec::Av1 => {}
        }
        let known = Known::read(packet, header, &self.section.extensions);
        let mut info = payload::inspect(codec, payload, header.marker, None);
        let Some(encoding) = self.encodings.get_mut(encoding) else {
            return info;
        };
        // Who began at a slice would go without the parameter sets ahead of it, which may still
        // come. Where none ever came with the media, the SDP has them.
        if info.key_frame && !payload::starts_with_parameters(codec, payload) {
            let track = tracks.get(encoding.track);
            let begins = |t: &Track| t.history.begins_key_frame(media.seq, header.timestamp);
            info.key_frame = !encoding.has_parameters || track.is_some_and(begins);
        } else {
            encoding.has_parameters |= info.key_frame;
        }
        let structure = encoding.structure.as_deref();
        let bytes = known.dependency_descriptor;
        let Some(descriptor) = bytes.and_then(|b| dependency_descriptor::parse(b, structure))
        else {
            return info;
        };
        let fresh = descriptor.structure();
        let info = info.refine(&descriptor);
        if let Some(fresh) = fresh {
            encoding.structure = Some(Box::new(fresh));
        }
        info
    }

    /// The picture size of each spatial layer, when this packet says so.
    fn sizes(&self, encoding: usize, info: &PacketInfo, payload: &[u8]) -> Option<Sizes> {
        let largest = info.resolution?;
        let mut sizes = Sizes::default();
        let structure = self.encodings.get(encoding)?.structure.as_deref();
        match self.section.codec {
            Codec::Vp9 => {
                let scalability = vp9::parse(payload).and_then(|d| d.scalability);
                let known = scalability.map_or([None; 8], |s| s.resolutions);
                sizes
                    .iter_mut()
                    .zip(known)
                    .for_each(|(size, known)| *size = known);
            }
            Codec::H264 | Codec::H265 | Codec::Av1 => {
                let known = (0..).map(|spatial| structure?.resolution(spatial));
                sizes
                    .iter_mut()
                    .zip(known)
                    .for_each(|(size, known)| *size = known);
            }
            Codec::Vp8 | Codec::Opus | Codec::Pcmu | Codec::Pcma => {}
        }
        if sizes.iter().all(Option::is_none) {
            sizes = [Some(largest); MAX_SCALABLE_LAYERS];
        }
        Some(sizes)
    }
}

/// What forwarding has to know of a packet.
fn marks(info: &PacketInfo) -> Marks {
    let layers = (info.spatial, info.temporal);
    Marks::new(info.key_frame, info.ends_frame, info.switches_up, layers)
}
