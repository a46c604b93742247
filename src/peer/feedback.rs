//! RTCP both ways: what publishers and subscribers tell us, what we tell them.

use std::time::{Duration, Instant};

use super::publisher::Publisher;
use super::subscriber::{MAX_ASKED, Subscriber};
use super::{FEEDBACK_SSRC, MAX_RTCP_LEN};
use crate::base::bytes::Writer;
use crate::base::clock::Now;
use crate::base::fault::DropReason;
use crate::base::ids::Ssrc;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::base::seq::SeqNo;
use crate::router::tracks::Tracks;
use crate::rtcp::report::{ReportBlock, SenderInfo};
use crate::rtcp::{Compound, Packet, write};

/// What a compound from a subscriber asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Sequence numbers in NACKs.
    pub nacked: u64,
}

impl Publisher {
    /// One decrypted RTCP compound from the publisher.
    ///
    /// # Errors
    /// `MalformedRtcp` at the first packet that does not parse; those before it count.
    pub fn handle_rtcp(
        &mut self,
        now: Now,
        compound: &[u8],
        tracks: &mut Tracks,
    ) -> Result<(), DropReason> {
        for packet in Compound::new(compound) {
            match packet.map_err(|_| DropReason::MalformedRtcp)? {
                Packet::SenderReport { ssrc, info, .. } => {
                    self.record_report(now, ssrc, info.ntp, info.rtp, tracks);
                }
                // This server sends a publisher no media: nothing to report on or to repair.
                Packet::ReceiverReport { .. }
                | Packet::Sdes(_)
                | Packet::Bye(_)
                | Packet::Nack { .. }
                | Packet::Pli { .. }
                | Packet::Fir { .. }
                | Packet::Remb { .. }
                | Packet::TransportFeedback(_)
                | Packet::ExtendedReport { .. }
                | Packet::Other { .. } => {}
            }
        }
        Ok(())
    }

    /// Writes the NACKs that are due; returns the bytes written, 0 when none are. Where a loss is
    /// final, a key frame is wanted.
    pub fn write_nacks(
        &mut self,
        now: Now,
        tracks: &mut Tracks,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> usize {
        self.next_nack = now.instant + NACK_INTERVAL;
        let mut w = Writer::new(buf.get_mut(..MAX_RTCP_LEN).unwrap_or_default());
        let mut ask = std::mem::take(&mut self.ask);
        for source in &mut self.ssrcs {
            if !source.is_media() || source.stream.missing.is_empty() {
                continue;
            }
            let Some(published) = self.sections.get(source.place.section) else {
                continue;
            };
            ask.clear();
            let missing = &mut source.stream.missing;
            let lost = match published.section.nack {
                true => missing.poll(now.instant, &mut ask, MAX_NACKS),
                false => missing.poll_unrepaired(now.instant),
            };
            if !ask.is_empty() {
                write::nack(&mut w, FEEDBACK_SSRC, source.stream.ssrc, &ask);
            }
            let encoding = published.encodings.get(source.place.encoding);
            if let (Some(seq), Some(encoding)) = (lost, encoding)
                && tracks.get(encoding.track).is_some_and(|t| t.misses(seq))
            {
                tracks.want_key_frame(now.instant, encoding.track);
            }
        }
        self.ask = ask;
        w.len()
    }

    /// True when something of [`write_reports`](Self::write_reports) is due.
    pub fn reports_due(&self, now: Now) -> bool {
        self.next_report <= now.instant
    }

    /// Writes receiver report, SDES and, where the publisher has no transport-wide feedback,
    /// REMB; returns the bytes written. More SSRCs than one report holds take turns.
    pub fn write_reports(&mut self, now: Now, buf: &mut [u8; MAX_DATAGRAM_LEN]) -> usize {
        self.next_report = now.instant + REPORT_INTERVAL;
        let mut blocks = smallvec::SmallVec::<[ReportBlock; 4]>::new();
        let in_use = self.ssrcs.iter().filter(|s| s.is_in_use()).count();
        let from = match in_use > MAX_REPORT_BLOCKS {
            true => self.report_from % self.ssrcs.len(),
            false => 0,
        };
        let (before, behind) = self.ssrcs.split_at_mut(from);
        let turns = behind.iter_mut().chain(before).enumerate();
        let turns = turns.filter(|(_, source)| source.is_in_use());
        for (at, source) in turns.take(MAX_REPORT_BLOCKS) {
            self.report_from = from + at + 1;
            if let Some(r) = source.stream.reception(now) {
                blocks.push(ReportBlock {
                    ssrc: source.stream.ssrc,
                    fraction_lost: r.fraction_lost,
                    cumulative_lost: r.cumulative_lost,
                    highest_seq: r.highest_seq,
                    jitter: r.jitter,
                    last_sr: r.last_sr,
                    delay_since_last_sr: r.delay_since_last_sr,
                });
            }
        }
        let mut w = Writer::new(buf.get_mut(..MAX_RTCP_LEN).unwrap_or_default());
        write::receiver_report(&mut w, FEEDBACK_SSRC, &blocks);
        write::sdes_cname(&mut w, FEEDBACK_SSRC, CNAME);
        let remb = self.arrivals.is_none() && self.sections.iter().any(|p| p.section.remb);
        if remb {
            let ssrcs: smallvec::SmallVec<[Ssrc; 8]> = self
                .ssrcs
                .iter()
                .filter(|s| s.is_media())
                .map(|s| s.stream.ssrc)
                .take(MAX_REPORT_BLOCKS)
                .collect();
            write::remb(&mut w, FEEDBACK_SSRC, REMB_BPS, &ssrcs);
        }
        w.len()
    }

    /// Writes transport-wide feedback when it is due; returns the bytes written, 0 when there is
    /// nothing to tell. To be called until 0.
    pub fn write_transport_feedback(
        &mut self,
        now: Now,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> usize {
        if self.next_transport_feedback > now.instant {
            return 0;
        }
        let media = self.ssrcs.iter().find(|s| s.is_media());
        let media = media.map_or(FEEDBACK_SSRC, |s| s.stream.ssrc);
        let mut w = Writer::new(buf.get_mut(..MAX_RTCP_LEN).unwrap_or_default());
        let written = match &mut self.arrivals {
            Some(arrivals) => arrivals
                .write_feedback(&mut w, FEEDBACK_SSRC, media)
                .is_some(),
            None => false,
        };
        if !written {
            self.next_transport_feedback = now.instant + TRANSPORT_FEEDBACK_INTERVAL;
            return 0;
        }
        w.len()
    }

    /// Writes a key frame request for `media`: PLI where negotiated, else FIR.
    pub fn write_key_frame_request(
        &mut self,
        media: Ssrc,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> usize {
        let section = self
            .ssrcs
            .iter()
            .find(|s| s.stream.ssrc == media)
            .map(|s| s.place.section);
        let pli = section
            .and_then(|at| self.sections.get(at))
            .is_none_or(|published| published.section.pli);
        let mut w = Writer::new(buf.get_mut(..MAX_RTCP_LEN).unwrap_or_default());
        if pli {
            write::pli(&mut w, FEEDBACK_SSRC, media);
        } else {
            self.fir_seq = self.fir_seq.wrapping_add(1);
            write::fir(&mut w, FEEDBACK_SSRC, media, self.fir_seq);
        }
        w.len()
    }
}

impl Subscriber {
    /// One decrypted RTCP compound from the subscriber.
    ///
    /// # Errors
    /// `MalformedRtcp` at the first packet that does not parse, or that reports on many times the
    /// packets that were sent; those before it count.
    pub fn handle_rtcp(
        &mut self,
        now: Now,
        compound: &[u8],
        tracks: &mut Tracks,
    ) -> Result<Asked, DropReason> {
        let mut asked = Asked::default();
        for packet in Compound::new(compound) {
            match packet.map_err(|_| DropReason::MalformedRtcp)? {
                Packet::Nack { media, pairs, .. } => {
                    let Some(sending) = self.find(media) else {
                        continue;
                    };
                    for seq in pairs {
                        asked.nacked += 1;
                        if self.asked.len() < MAX_ASKED {
                            self.asked.push((sending, seq));
                        }
                    }
                }
                Packet::Pli { media, .. } => self.want_key_frame(now.instant, media, tracks),
                Packet::Fir { entries, .. } => {
                    for (media, _) in entries {
                        self.want_key_frame(now.instant, media, tracks);
                    }
                }
                Packet::ReceiverReport { reports, .. } => {
                    for block in reports {
                        self.record_report(now, &block);
                    }
                }
                Packet::Remb { bitrate_bps, .. } => self.path.handle_remb(now.instant, bitrate_bps),
                Packet::TransportFeedback(feedback) => {
                    if !self.path.may_report(feedback.status_count) {
                        return Err(DropReason::MalformedRtcp);
                    }
                    self.path.handle_feedback(now.instant, &feedback);
                    if self.path.is_unsettled(now.instant) {
                        self.settle_path(now, tracks);
                    }
                }
                // Nothing else in a subscriber's compound matters to a sender.
                Packet::SenderReport { .. }
                | Packet::Sdes(_)
                | Packet::Bye(_)
                | Packet::ExtendedReport { .. }
                | Packet::Other { .. } => {}
            }
        }
        Ok(asked)
    }

    /// True when [`write_reports`](Self::write_reports) is due.
    pub fn reports_due(&self, now: Now) -> bool {
        self.next_report <= now.instant
    }

    /// Writes a sender report per flowing stream and SDES (RFC 3550 §6.4.1, §6.5); returns the
    /// bytes written, 0 when no publisher's clock is known yet. What one compound cannot hold is
    /// due a moment later.
    ///
    /// All reports of one broadcast map RTP time to the same wall clock, so lip sync survives.
    pub fn write_reports(
        &mut self,
        now: Now,
        tracks: &Tracks,
        buf: &mut [u8; MAX_DATAGRAM_LEN],
    ) -> usize {
        // Of those who came together each has its own time from the second report on.
        let interval = match std::mem::take(&mut self.report_spread) {
            Duration::ZERO => REPORT_INTERVAL,
            spread => REPORT_INTERVAL / 2 + spread,
        };
        self.next_report = next_tick(now, interval);
        self.settle_path(now, tracks);
        let mut w = Writer::new(buf.get_mut(..MAX_RTCP_LEN).unwrap_or_default());
        let from = std::mem::take(&mut self.report_from);
        for (at, sending) in self.sendings.iter().enumerate().skip(from) {
            let Some(track) = sending.track.and_then(|key| tracks.get(key)) else {
                continue;
            };
            let Some(clock) = track.clock else { continue };
            // Until the next key frame, a publisher that came back has no place in this stream.
            if sending.rewriter.source() != Some(track.source) {
                continue;
            }
            if w.room() < REPORT_LEN + sending.cname.len() {
                self.report_from = at;
                self.next_report = now.instant + NEXT_REPORTS;
                break;
            }
            let rtp = sending
                .rewriter
                .time(clock.rtp_at(now.unix_us, sending.info.codec.clock_hz()));
            let info = SenderInfo {
                ntp: now.ntp(),
                rtp,
                packets: sending.stream.packets as u32,
                octets: sending.stream.octets as u32,
            };
            write::sender_report(&mut w, sending.stream.ssrc, &info, &[]);
            write::sdes_cname(&mut w, sending.stream.ssrc, &sending.cname);
        }
        w.len()
    }

    fn want_key_frame(&mut self, now: Instant, media: Ssrc, tracks: &mut Tracks) {
        let sending = self.find(media).and_then(|at| self.sendings.get(at));
        if let Some(key) = sending.filter(|s| s.enabled).and_then(|s| s.track) {
            tracks.want_key_frame(now, key);
        }
    }

    /// Round trip from LSR and DLSR (RFC 3550 §6.4.1), smoothed.
    fn record_report(&mut self, now: Now, block: &ReportBlock) {
        if block.last_sr == 0 || self.find(block.ssrc).is_none() {
            return;
        }
        let passed = now.ntp().compact().wrapping_sub(block.last_sr);
        let travelled = passed.wrapping_sub(block.delay_since_last_sr);
        let us = (u64::from(travelled) * 1_000_000) >> 16;
        if us < MAX_RTT_US {
            let us = us as u32;
            self.rtt_us = if self.rtt_us == 0 {
                us
            } else {
                (self.rtt_us / 8) * 7 + us / 8
            };
        }
    }
}

/// The first tick after `wait`.
fn next_tick(now: Now, wait: Duration) -> Instant {
    let due_us = now.unix_us.wrapping_add(wait.as_micros() as u64);
    now.instant + wait + REPORT_TICK - Duration::from_micros(due_us % REPORT_TICK_US)
}

/// Reports of subscribers go out at common ticks: hundreds of them that each had a moment of their
/// own would wake an idle worker as often.
const REPORT_TICK: Duration = Duration::from_micros(REPORT_TICK_US);
const REPORT_TICK_US: u64 = 20_000;

/// Between the reports of one peer. The second of a subscriber comes after 0.5 to 1.5 times as
/// long, so that those who came together do not report together (RFC 3550 §6.3.1).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Between the compounds of one round of sender reports: spread out, and done well within a round.
const NEXT_REPORTS: Duration = Duration::from_millis(20);

/// A sender report and SDES without the text of the name, padding included.
const REPORT_LEN: usize = 28 + 16;

/// Finer than a retry, coarser than a turn.
const NACK_INTERVAL: Duration = Duration::from_millis(5);

/// libwebrtc's default; its estimator expects 50 to 250 ms.
const TRANSPORT_FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);

/// Sequence numbers in one NACK packet at most: 17 per 4 bytes when dense, 1 when sparse.
const MAX_NACKS: usize = 128;

/// RFC 3550 §6.4.1: the count has 5 bits.
const MAX_REPORT_BLOCKS: usize = 31;

/// An upper bound that lets a publisher without transport-wide feedback reach its own cap.
const REMB_BPS: u64 = 10_000_000;

const MAX_RTT_US: u64 = 60_000_000;

const CNAME: &str = "leafcutter";

/// Sequence numbers of missing packets, kept between calls so that asking allocates nothing.
pub(super) type Ask = Vec<SeqNo>;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::seq::RtpTime;
    use crate::peer::publisher::{Place, Source, SourceRole};
    use crate::peer::ssrcs::Ssrcs;
    use crate::sdp::SessionVersion;
    use crate::stream::receive::RecvStream;

    #[test]
    fn more_sources_than_a_report_holds_take_turns() {
        let (now, session) = (test_now(), SessionVersion { id: 1, version: 1 });
        for (sources, rounds) in [(31, 1), (40, 2), (64, 3)] {
            let mut publisher = Publisher::new(now, session, Vec::new());
            for ssrc in 0..sources {
                let mut stream = RecvStream::new(Ssrc(ssrc), 90_000);
                stream.record(now, 0x1_0000, RtpTime(0));
                let place = Place {
                    section: 0,
                    encoding: 0,
                    role: SourceRole::Media,
                };
                publisher.ssrcs.push(Source {
                    stream,
                    place,
                    since_us: now.unix_us,
                });
            }
            let mut reported = std::collections::HashSet::new();
            for _ in 0..rounds {
                let mut buf = [0; MAX_DATAGRAM_LEN];
                let len = publisher.write_reports(now, &mut buf);
                for packet in Compound::new(&buf[..len]) {
                    if let Ok(Packet::ReceiverReport { reports, .. }) = packet {
                        reported.extend(reports.map(|block| block.ssrc));
                    }
                }
            }
            assert_eq!(reported.len(), sources as usize, "in {rounds} rounds");
        }
    }

    #[test]
    fn those_who_came_together_report_apart() {
        let (now, tracks) = (test_now(), Tracks::default());
        let mut buf = [0; MAX_DATAGRAM_LEN];
        let mut tenths = [0; 10];
        for seed in 0..200 {
            let session = SessionVersion { id: 1, version: 1 };
            let ssrcs = Ssrcs::random(&mut StdRng::seed_from_u64(seed));
            let mut subscriber = Subscriber::new(now, session, ssrcs);
            subscriber.write_reports(now, &tracks, &mut buf);
            let second = subscriber.next_report - now.instant;
            let after = second.checked_sub(REPORT_INTERVAL / 2).unwrap();
            tenths[(after.as_millis() / 100).min(9) as usize] += 1;
            subscriber.write_reports(now, &tracks, &mut buf);
            let later = subscriber.next_report - now.instant;
            assert!(later > REPORT_INTERVAL && later <= REPORT_INTERVAL + REPORT_TICK);
            let due_us = now.unix_us + later.as_micros() as u64;
            assert_eq!(due_us % REPORT_TICK_US, 0);
        }
        assert!(tenths.iter().all(|n| (8..40).contains(n)), "{tenths:?}");
    }
}
