//! A track's packets towards one subscriber: select, rewrite, copy, protect in place.

use super::subscriber::{Sending, Subscriber};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::egress::{Egress, Route};
use crate::base::fault::{DropCounters, DropReason};
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_GSO_SEGMENTS};
use crate::base::seq::SeqNo;
use crate::router::history::Entry;
use crate::router::track::Track;
use crate::router::tracks::Tracks;
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

/// The way to one subscriber for one turn.
#[derive(Debug)]
pub struct Outlet<'a> {
    /// Where to.
    pub route: Route,
    /// Its keys.
    pub protect: &'a Protect,
    /// The buffer.
    pub egress: &'a mut Egress,
    /// What went no further.
    pub dropped: &'a mut DropCounters,
    /// What was written.
    pub sent: &'a mut Sent,
}

impl Subscriber {
    /// Forwards the packets of `track` from position `from` to its end through subscription
    /// `sending`; returns the position reached, which is short of the end when `egress` is full.
    pub fn forward(
        &mut self,
        sending: usize,
        track: &Track,
        from: u64,
        outlet: &mut Outlet<'_>,
    ) -> u64 {
        let end = track.history.end();
        let Some(sending) = self.sendings.get_mut(sending) else {
            return end;
        };
        let mut position = from;
        while position < end {
            if !outlet.egress.has_room_for(1) {
                return position;
            }
            if let Some((entry, packet)) = track.history.at(position) {
                let result =
                    sending.write(track, entry, packet, &mut self.next_transport_seq, outlet);
                if let Err(reason) = result {
                    sending.dropped += 1;
                    outlet.dropped.count(reason);
                }
            }
            position += 1;
        }
        end
    }

    /// Sends again what was asked for since the last call, as far as the budget allows.
    pub fn retransmit(&mut self, now: Now, tracks: &Tracks, outlet: &mut Outlet<'_>) {
        let transport_seq = &mut self.next_transport_seq;
        for (sending, seq) in self.asked.drain(..) {
            let Some(sending) = self.sendings.get_mut(sending) else {
                continue;
            };
            let result = sending.write_again(now, tracks, seq, transport_seq, outlet);
            if let Err(reason) = result {
                sending.dropped += 1;
                outlet.dropped.count(reason);
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
        next_transport_seq: &mut u16,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), DropReason> {
        if !self.enabled {
            return Err(DropReason::Disabled);
        }
        // Select: a decoder starts at a key frame; from then on everything of this source. A
        // publisher that came back is another source, and a decoder starts anew, as it does
        // after a pause.
        if self.rewriter.source() != Some(track.source) {
            if self.info.kind == MediaKind::Video && !entry.key_frame {
                return Err(DropReason::AwaitingKeyFrame);
            }
            if !self.rewriter.may_start(track.source, entry.seq) {
                return Err(DropReason::TooOld);
            }
            let ticks = self.ticks_since_last(entry);
            self.rewriter
                .start(track.source, entry.seq, entry.timestamp, ticks);
        }
        // Rewrite.
        let (out, timestamp) = self
            .rewriter
            .map(track.source, entry.seq, entry.timestamp)
            .ok_or(DropReason::AwaitingKeyFrame)?;
        // Copy and stamp.
        let len = usize::from(entry.len);
        let header_len = usize::from(entry.header_len);
        let slot = outlet.egress.slot().ok_or(DropReason::QueueFull)?;
        slot.get_mut(..len)
            .ok_or(DropReason::Oversized)?
            .copy_from_slice(packet);
        canonical::stamp(slot, None, SeqNo(out as u16), timestamp, self.stream.ssrc);
        self.stamp_transport_seq(slot, entry, next_transport_seq);
        // Protect in place.
        let index = packet_index(out).ok_or(DropReason::TooOld)?;
        let sealed = outlet
            .protect
            .protect_rtp(slot, header_len, len, index)
            .ok_or(DropReason::Oversized)?;
        outlet.egress.commit(outlet.route, sealed, MAX_GSO_SEGMENTS);
        self.last_stored = Some(entry.stored);
        let payload_len = (len - header_len - usize::from(entry.padding_len)) as u64;
        self.stream.packets += 1;
        self.stream.octets += payload_len;
        outlet.sent.packets += 1;
        outlet.sent.payload_len += payload_len;
        Ok(())
    }

    /// How far the RTP clock moved between the last packet sent and `entry`.
    fn ticks_since_last(&self, entry: &Entry) -> u32 {
        let last = self.last_stored.unwrap_or(entry.stored);
        let passed = entry.stored.saturating_duration_since(last).as_micros();
        let ticks = passed * u128::from(self.info.codec.clock_hz()) / 1_000_000;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn write_again(
        &mut self,
        now: Now,
        tracks: &Tracks,
        seq: SeqNo,
        next_transport_seq: &mut u16,
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
        let track = self
            .track
            .and_then(|key| tracks.get(key))
            .ok_or(DropReason::TooOld)?;
        if !track.enabled {
            return Err(DropReason::Disabled);
        }
        let found = self.lead_back(seq, track.source);
        let (out, input, shift) = found.ok_or(DropReason::TooOld)?;
        let (entry, packet) = track.history.find(input).ok_or(DropReason::TooOld)?;
        let len = usize::from(entry.len);
        let header_len = usize::from(entry.header_len);
        if !self
            .stream
            .may_retransmit(now.instant, len, track.rate.latest_bps())
        {
            return Err(DropReason::Disabled);
        }
        let timestamp = entry.timestamp.plus(shift);
        let slot = outlet.egress.slot().ok_or(DropReason::QueueFull)?;
        let (len, index) = match &mut self.stream.rtx {
            Some(stream) => {
                let number = stream.next_seq;
                stream.next_seq += 1;
                let with = rtx::Retransmission {
                    pt: stream.pt,
                    seq: SeqNo(number as u16),
                    timestamp,
                    ssrc: stream.ssrc,
                    osn: SeqNo(out as u16),
                };
                let len = rtx::wrap(slot, packet, header_len, with).ok_or(DropReason::Oversized)?;
                (len, packet_index(number).ok_or(DropReason::TooOld)?)
            }
            None => {
                slot.get_mut(..len)
                    .ok_or(DropReason::Oversized)?
                    .copy_from_slice(packet);
                canonical::stamp(slot, None, SeqNo(out as u16), timestamp, self.stream.ssrc);
                (len, packet_index(out).ok_or(DropReason::TooOld)?)
            }
        };
        self.stamp_transport_seq(slot, entry, next_transport_seq);
        let sealed = outlet
            .protect
            .protect_rtp(slot, header_len, len, index)
            .ok_or(DropReason::Oversized)?;
        outlet.egress.commit(outlet.route, sealed, MAX_GSO_SEGMENTS);
        outlet.sent.packets += 1;
        outlet.sent.retransmitted += 1;
        outlet.sent.payload_len += (len - header_len) as u64;
        Ok(())
    }

    /// The extended number behind `seq`, and the input number of `source` and the timestamp shift
    /// that it came from.
    fn lead_back(&self, seq: SeqNo, source: u32) -> Option<(u64, u64, u32)> {
        let highest = self.rewriter.highest_out()?;
        let back = SeqNo(highest as u16).distance(seq);
        let out = highest.saturating_add_signed(-i64::from(back));
        let (from, input, shift) = self.rewriter.lead_back(out)?;
        (from == source).then_some((out, input, shift))
    }

    fn stamp_transport_seq(
        &self,
        slot: &mut [u8; MAX_DATAGRAM_LEN],
        entry: &Entry,
        next: &mut u16,
    ) {
        let number = self.transport_cc.then_some(*next);
        if self.transport_cc {
            *next = next.wrapping_add(1);
        }
        canonical::set_transport_seq(slot, usize::from(entry.transport_seq_at), number);
    }
}
