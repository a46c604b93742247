//! A track's packets towards one subscriber: select, rewrite, copy, protect in place.

use std::ops::Range;
use std::time::Instant;

use super::pace::Path;
use super::subscriber::{Sending, Subscriber};
use crate::base::clock::Now;
use crate::base::codec::{MediaKind, RED_PT};
use crate::base::egress::{Egress, Route};
use crate::base::fault::{DropCounters, DropReason};
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_GSO_SEGMENTS};
use crate::base::seq::{RtpTime, SeqNo};
use crate::payload::red;
use crate::router::history::Entry;
use crate::router::rewrite::{Origin, Patch};
use crate::router::select::Placed;
use crate::router::track::Track;
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtp::padding::{self, PaddingHeader};
use crate::rtp::{canonical, rtx};
use crate::srtp::{Protect, packet_index};

/// What forwarding counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// RTP packets written.
    pub packets: u64,
    /// Their payload bytes.
    pub payload_len: u64,
    /// Retransmissions among them.
    pub retransmitted: u64,
}

/// Why a packet is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The subscriber asked for it.
    Asked,
    /// It fills a probe, which has a budget of its own.
    Probe,
}

/// The way to one subscriber for one turn.
#[derive(Debug)]
pub struct Outlet<'a> {
    /// The time of the turn.
    pub now: Instant,
    /// Where to.
    pub route: Route,
    /// Its keys.
    pub protect: &'a Protect,
    /// The buffer.
    pub egress: &'a mut Egress,
    /// What went no further.
    pub dropped: &'a mut DropCounters,
    /// The same, of this subscriber alone.
    pub drops: &'a mut DropCounters,
    /// What was written.
    pub sent: &'a mut Sent,
}

impl Outlet<'_> {
    /// Counts a packet that goes no further.
    fn drop(&mut self, reason: DropReason) {
        self.dropped.count(reason);
        self.drops.count(reason);
    }
}

impl Subscriber {
    /// Forwards the packets of `track` at positions `range` through subscription `sending`;
    /// returns the position reached, which is short of the range's end when `egress` is full.
    /// What the path does not take yet counts as reached: [`resume`](Self::resume) sends it.
    pub fn forward(
        &mut self,
        sending: usize,
        key: TrackKey,
        track: &Track,
        range: Range<u64>,
        outlet: &mut Outlet<'_>,
    ) -> u64 {
        let end = range.end;
        let index = sending;
        let Some(sending) = self.sendings.get_mut(index) else {
            return end;
        };
        if self.path.waits(index, key) {
            return end;
        }
        self.path.fill(outlet.now);
        let mut position = range.start;
        while position < end {
            if !outlet.egress.has_room_for(1) {
                return position;
            }
            if let Some((entry, packet)) = track.history.at(position) {
                if !self.path.takes(sending.info.kind, packet.len()) {
                    self.path.wait(index, key, position);
                    return end;
                }
                let result = sending.write(track, entry, packet, &mut self.path, outlet);
                if let Err(reason) = result {
                    self.path.give_back(packet.len());
                    sending.dropped += 1;
                    outlet.drop(reason);
                }
            }
            position += 1;
        }
        end
    }

    /// Sends again what was asked for since the last call, as far as the budget allows.
    pub fn retransmit(&mut self, now: Now, tracks: &Tracks, outlet: &mut Outlet<'_>) {
        for (sending, seq) in self.asked.drain(..) {
            let Some(sending) = self.sendings.get_mut(sending) else {
                continue;
            };
            let result =
                sending.write_again(now, tracks, (seq, Again::Asked), &mut self.path, outlet);
            if let Err(reason) = result {
                sending.dropped += 1;
                outlet.drop(reason);
            }
        }
    }
}

impl Sending {
    fn write(
        &mut self,
        track: &Track,
        entry: &Entry,
        packet: &[u8],
        path: &mut Path,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), DropReason> {
        // The publisher's switch is for what waits behind a full path too.
        if !self.enabled || !track.enabled {
            return Err(DropReason::Disabled);
        }
        // Select and rewrite.
        let placed = match self.layers {
            None => self.place(track, entry, packet)?,
            Some(_) => self.place_layered(track, entry, packet)?,
        };
        // Copy and stamp.
        let mut len = usize::from(entry.len);
        let header_len = usize::from(entry.header_len);
        let slot = outlet.egress.slot().ok_or(DropReason::QueueFull)?;
        slot.get_mut(..len)
            .ok_or(DropReason::Oversized)?
            .copy_from_slice(packet);
        if self.layers.is_some() {
            len = self.patch(slot, placed.patch, entry, (header_len, len));
        }
        if self.unwraps(packet) {
            len = unwrap(slot, header_len, len)?;
            canonical::set_pt(slot, self.info.pt);
        }
        if self.repeats(packet, path) {
            len = self.repeat(slot, track, (entry, placed.out), (header_len, len));
        }
        let (out, timestamp) = (placed.out, placed.timestamp);
        self.stamp(slot, out, timestamp);
        self.stamp_extensions(slot, usize::from(entry.transport_seq_at), header_len, path);
        path.copy(outlet.now, header_len, slot.get(..len));
        // Protect in place.
        let index = packet_index(out).ok_or(DropReason::TooOld)?;
        let sealed = outlet
            .protect
            .protect_rtp(slot, header_len, len, index)
            .ok_or(DropReason::Oversized)?;
        let (route, stored) = (outlet.route, entry.stored);
        outlet
            .egress
            .commit_stored(route, sealed, MAX_GSO_SEGMENTS, stored);
        path.record(self.transport_cc, outlet.now, sealed);
        self.last_stored = Some(entry.stored);
        let payload_len = len.saturating_sub(header_len + usize::from(entry.padding_len)) as u64;
        self.stream.packets += 1;
        self.stream.octets += payload_len;
        outlet.sent.packets += 1;
        outlet.sent.payload_len += payload_len;
        Ok(())
    }

    /// Where a packet goes in what this subscription is sent; the reason when it does not go at
    /// all.
    fn place(&mut self, track: &Track, entry: &Entry, packet: &[u8]) -> Result<Placed, DropReason> {
        // A decoder starts at a key frame; from then on everything of this source. A
        // publisher that came back is another source, and a decoder starts anew, as it does
        // after a pause.
        if self.rewriter.source() != Some(track.source) {
            if self.info.kind == MediaKind::Video && !entry.marks.key_frame() {
                return Err(DropReason::AwaitingKeyFrame);
            }
            if self.carry_numbers(packet) {
                return self.place_layered(track, entry, packet);
            }
            if !self.rewriter.may_start(track.source, entry.seq) {
                return Err(DropReason::TooOld);
            }
            let ticks = self.ticks_since_last(entry);
            self.rewriter
                .start(track.source, entry.seq, entry.timestamp, ticks);
        }
        let (out, timestamp) = self
            .rewriter
            .map(track.source, entry.seq, entry.timestamp)
            .ok_or(DropReason::AwaitingKeyFrame)?;
        Ok(Placed {
            out,
            timestamp,
            patch: Patch::NONE,
        })
    }

    /// How far the RTP clock moved between the last packet sent and `entry`.
    pub(super) fn ticks_since_last(&self, entry: &Entry) -> u32 {
        let last = self.last_stored.unwrap_or(entry.stored);
        let passed = entry.stored.saturating_duration_since(last).as_micros();
        let ticks = passed * u128::from(self.info.codec.clock_hz()) / 1_000_000;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    pub(super) fn write_again(
        &mut self,
        now: Now,
        tracks: &Tracks,
        (seq, why): (SeqNo, Again),
        path: &mut Path,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), DropReason> {
        if !self.enabled {
            return Err(DropReason::Disabled);
        }
        // A plain copy has to be the same bytes as the first time (RFC 7714 §8.4), and a
        // transport-wide number is never used twice.
        if self.stream.rtx.is_none() && self.transport_cc {
            return Err(DropReason::NoRtx);
        }
        let (out, origin) = self.lead_back(seq).ok_or(DropReason::TooOld)?;
        // On a full path the picture it belongs to would come too late.
        if why == Again::Asked && path.is_full() && self.is_left(origin.source) {
            return Err(DropReason::NotSelected);
        }
        let sent = self.sent_track(tracks, origin.source);
        let track = sent.ok_or(DropReason::TooOld)?;
        if !track.enabled {
            return Err(DropReason::Disabled);
        }
        let position = track.history.position(origin.seq);
        let position = position.ok_or(DropReason::TooOld)?;
        // It goes out in this turn's pass, and until then its length may change.
        if position >= track.fresh {
            return Err(DropReason::Duplicate);
        }
        let found = track.history.at(position);
        let (entry, packet) = found.ok_or(DropReason::TooOld)?;
        let (len, header_len) = (usize::from(entry.len), usize::from(entry.header_len));
        if why == Again::Asked {
            let rate_bps = track.rate.latest_bps();
            let may = self.stream.may_retransmit(now.instant, len, rate_bps);
            if !may || path.has_repaired_enough(now.instant) {
                return Err(DropReason::Disabled);
            }
            path.charge_again(now.instant, len);
        }
        let timestamp = entry.timestamp.plus(origin.time_shift);
        let slot = outlet.egress.slot().ok_or(DropReason::QueueFull)?;
        let (len, index) = self.repair(slot, (header_len, packet), out, timestamp)?;
        let len = match self.layers {
            None => len,
            Some(_) => self.patch_again(slot, &origin, entry, (header_len, len)),
        };
        self.stamp_extensions(slot, usize::from(entry.transport_seq_at), header_len, path);
        path.copy(outlet.now, header_len, slot.get(..len));
        let sealed = outlet
            .protect
            .protect_rtp(slot, header_len, len, index)
            .ok_or(DropReason::Oversized)?;
        outlet.egress.commit(outlet.route, sealed, MAX_GSO_SEGMENTS);
        path.record(self.transport_cc, outlet.now, sealed);
        outlet.sent.packets += 1;
        outlet.sent.retransmitted += 1;
        outlet.sent.payload_len += (len - header_len) as u64;
        Ok(())
    }

    /// Writes `packet`, which was sent under number `out`, once more: as RTX, else as a plain copy.
    /// Returns its length and its SRTP index.
    fn repair(
        &mut self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        (header_len, packet): (usize, &[u8]),
        out: u64,
        timestamp: RtpTime,
    ) -> Result<(usize, u64), DropReason> {
        let Some(stream) = &mut self.stream.rtx else {
            return self.copy(slot, (header_len, packet), out, timestamp);
        };
        let number = stream.next_seq;
        stream.next_seq += 1;
        let with = rtx::Retransmission {
            pt: stream.pt,
            seq: SeqNo(number as u16),
            timestamp,
            ssrc: stream.ssrc,
            osn: SeqNo(out as u16),
        };
        let len = rtx::wrap(slot, packet, header_len, with);
        let mut len = len.ok_or(DropReason::Oversized)?;
        // Its payload type stands for the codec alone.
        if is_red(packet, self.info.kind) {
            len = unwrap(slot, header_len + rtx::OSN_LEN, len)?;
        }
        Ok((len, packet_index(number).ok_or(DropReason::TooOld)?))
    }

    /// Writes `packet` under number `out`; its length and its SRTP index.
    fn copy(
        &self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        (header_len, packet): (usize, &[u8]),
        out: u64,
        timestamp: RtpTime,
    ) -> Result<(usize, u64), DropReason> {
        let mut len = packet.len();
        let room = slot.get_mut(..len);
        room.ok_or(DropReason::Oversized)?.copy_from_slice(packet);
        if self.unwraps(packet) {
            len = unwrap(slot, header_len, len)?;
            canonical::set_pt(slot, self.info.pt);
        }
        self.stamp(slot, out, timestamp);
        Ok((len, packet_index(out).ok_or(DropReason::TooOld)?))
    }

    /// True for redundancy that the player does not take.
    fn unwraps(&self, packet: &[u8]) -> bool {
        is_red(packet, self.info.kind) && !self.takes_red
    }

    /// True for audio that is to bring along what was sent before it. A plain copy of it, which
    /// would be other bytes under the same SRTP index, must not be possible (see `write_again`).
    fn repeats(&self, packet: &[u8], path: &Path) -> bool {
        let is_plain = self.info.kind == MediaKind::Audio && self.takes_red && self.transport_cc;
        is_plain && !is_red(packet, self.info.kind) && path.wants_redundancy()
    }

    /// Puts what was sent ahead of packet `out`, which is `entry`, in front of its payload at
    /// `from.0..from.1` of `slot`; returns where the packet ends. What was not sent stays unsent:
    /// somebody may have been silent then on purpose.
    pub(super) fn repeat(
        &self,
        slot: &mut [u8],
        track: &Track,
        (entry, out): (&Entry, u64),
        from: (usize, usize),
    ) -> usize {
        let sent = out
            .checked_sub(1)
            .and_then(|out| self.rewriter.lead_back(out));
        let sent = sent.filter(|sent| sent.source == track.source && sent.seq + 1 == entry.seq);
        let earlier = sent.and_then(|sent| track.history.find(sent.seq));
        let plain = earlier.filter(|(earlier, packet)| {
            let is_padded = earlier.padding_len > 0 || entry.padding_len > 0;
            let is_empty = from.0 >= from.1;
            !is_padded && !is_empty && !is_red(packet, self.info.kind)
        });
        let end = plain.and_then(|(earlier, packet)| {
            let ticks = u32::try_from(entry.timestamp.distance(earlier.timestamp)).ok()?;
            let payload = packet.get(usize::from(earlier.header_len)..)?;
            let is_apt = (1..=MAX_REPEATED_LEN).contains(&payload.len());
            let payload = is_apt.then_some(payload)?;
            red::wrap(slot, from, self.info.pt, (ticks, payload))
        });
        if end.is_some() {
            canonical::set_pt(slot, RED_PT);
        }
        end.unwrap_or(from.1)
    }

    /// Writes a packet of padding alone under the next number of the RTX stream, where it disturbs
    /// no media (RFC 3550 §5.1).
    pub(super) fn write_padding(
        &mut self,
        path: &mut Path,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), DropReason> {
        let rtx = self.stream.rtx.as_mut().ok_or(DropReason::NoRtx)?;
        let slot = outlet.egress.slot().ok_or(DropReason::QueueFull)?;
        let number = rtx.next_seq;
        let index = packet_index(number).ok_or(DropReason::TooOld)?;
        rtx.next_seq += 1;
        let header = PaddingHeader {
            pt: rtx.pt,
            seq: SeqNo(number as u16),
            timestamp: RtpTime(0),
            ssrc: rtx.ssrc,
        };
        let layout = padding::write(slot, header, u8::MAX).ok_or(DropReason::Oversized)?;
        self.stamp_extensions(slot, layout.transport_seq_at, layout.header_len, path);
        let sealed = outlet
            .protect
            .protect_rtp(slot, layout.header_len, layout.len, index)
            .ok_or(DropReason::Oversized)?;
        outlet.egress.commit(outlet.route, sealed, MAX_GSO_SEGMENTS);
        path.record(self.transport_cc, outlet.now, sealed);
        outlet.sent.packets += 1;
        Ok(())
    }

    /// The extended number behind `seq`, and what was sent under it.
    fn lead_back(&self, seq: SeqNo) -> Option<(u64, Origin)> {
        let highest = self.rewriter.highest_out()?;
        let back = SeqNo(highest as u16).distance(seq);
        let out = highest.saturating_add_signed(-i64::from(back));
        Some((out, self.rewriter.lead_back(out)?))
    }

    fn stamp(&self, slot: &mut [u8; MAX_DATAGRAM_LEN], out: u64, timestamp: RtpTime) {
        let (seq, ssrc) = (SeqNo(out as u16), self.stream.ssrc);
        canonical::stamp(slot, self.pt, seq, timestamp, ssrc);
    }

    /// The transport-wide number, if agreed on, and the player's own extension ids.
    fn stamp_extensions(
        &self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        transport_seq_at: usize,
        header_len: usize,
        path: &mut Path,
    ) {
        let number = self.transport_cc.then(|| path.take_seq());
        canonical::set_transport_seq(slot, transport_seq_at, number);
        if let Some(ids) = &self.ids {
            ids.apply(slot, header_len);
        }
    }
}

/// Payloads that are sent twice have at most so many bytes: 20 ms of Opus at 128 kbit/s.
const MAX_REPEATED_LEN: usize = 320;

/// True for a canonical packet of a track of this kind with redundancy (RFC 2198).
fn is_red(packet: &[u8], kind: MediaKind) -> bool {
    kind == MediaKind::Audio && canonical::pt(packet) == Some(RED_PT)
}

/// Leaves the primary block of the redundancy at `at..len`; returns the length that remains.
fn unwrap(slot: &mut [u8], at: usize, len: usize) -> Result<usize, DropReason> {
    let blocks = slot.get_mut(at..len).unwrap_or_default();
    let primary_len = red::unwrap(blocks).ok_or(DropReason::MalformedRtp)?;
    Ok(at + primary_len)
}
