//! The receiving side of a publisher: its m-lines, their encodings, and which SSRC is which.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::feedback::Ask;
use crate::base::clock::{Now, NtpTime, SenderClock};
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::ids::{Pt, Rid, Ssrc};
use crate::base::limits::MAX_SSRCS_PER_PEER;
use crate::base::seq::RtpTime;
use crate::bwe::arrivals::Arrivals;
use crate::payload::Resolution;
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtp::RtpHeader;
use crate::rtp::extension::Known;
use crate::sdp::answer::ReceiveSection;
use crate::stream::receive::RecvStream;

/// A publisher's receiving state.
#[derive(Debug)]
pub struct Publisher {
    /// The accepted m-lines, with the track each feeds.
    pub sections: Vec<Published>,
    pub(super) ssrcs: Vec<Source>,
    pub(super) arrivals: Option<Arrivals>,
    pub(super) clock_offset: ClockOffset,
    pub(super) next_report: Instant,
    pub(super) next_transport_feedback: Instant,
    pub(super) next_nack: Instant,
    pub(super) ask: Ask,
    pub(super) fir_seq: u8,
    /// The loudest of its audio since the last report (RFC 6464 §3): 0 is loudest, 127 silence.
    level: Option<u8>,
    next_level: Instant,
}

/// One accepted m-line.
#[derive(Debug)]
pub struct Published {
    /// What was negotiated.
    pub section: ReceiveSection,
    /// Where its packets go.
    pub track: TrackKey,
    /// Size of the last key frame.
    pub resolution: Option<Resolution>,
}

/// One authenticated SSRC of a publisher.
#[derive(Debug)]
pub struct Source {
    /// Sequence, loss and replay state.
    pub stream: RecvStream,
    /// Which m-line.
    pub section: usize,
    /// Media, or retransmission of it.
    pub role: SourceRole,
}

/// What an SSRC carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRole {
    /// An encoding; its RID when the m-line is simulcast.
    Media(Option<Rid>),
    /// RTX of the encoding with this SSRC or RID.
    Rtx(Option<Rid>),
}

impl SourceRole {
    /// The RID it names.
    pub fn rid(&self) -> Option<&Rid> {
        match self {
            Self::Media(rid) | Self::Rtx(rid) => rid.as_ref(),
        }
    }
}

/// Where an unknown SSRC belongs, before its first packet is authenticated.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub section: usize,
    pub role: SourceRole,
}

impl Publisher {
    /// The state for negotiated m-lines and their tracks.
    pub fn new(now: Now, sections: Vec<Published>) -> Self {
        let transport_cc = sections.iter().any(|s| s.section.transport_cc);
        Self {
            sections,
            ssrcs: Vec::new(),
            arrivals: transport_cc.then(Arrivals::default),
            clock_offset: ClockOffset::default(),
            next_report: now.instant + FIRST_REPORT,
            next_transport_feedback: now.instant,
            next_nack: now.instant,
            ask: Ask::new(),
            fir_seq: 0,
            level: None,
            next_level: now.instant,
        }
    }

    /// When feedback is due.
    pub fn poll_timeout(&self, now: Now) -> Instant {
        let mut due = self.next_report;
        if self.arrivals.is_some() {
            due = due.min(self.next_transport_feedback);
        }
        if self.ssrcs.iter().any(|s| !s.stream.missing.is_empty()) {
            due = due.min(self.next_nack.max(now.instant));
        }
        if self.level.is_some() {
            due = due.min(self.next_level.max(now.instant));
        }
        due
    }

    /// An audio packet says that it is so loud.
    pub(super) fn note_level(&mut self, level: u8) {
        self.level = Some(self.level.map_or(level, |loudest| loudest.min(level)));
    }

    /// How loud it was since the last call, every 200 ms; `None` in between, and while its packets
    /// do not say so. 0 is the loudest, 127 silence.
    pub fn take_level(&mut self, now: Now) -> Option<u8> {
        if now.instant < self.next_level {
            return None;
        }
        let level = self.level.take()?;
        self.next_level = now.instant + LEVEL_PERIOD;
        Some(level)
    }

    /// The authenticated SSRC, if it is known.
    pub(super) fn find(&self, ssrc: Ssrc) -> Option<usize> {
        self.ssrcs.iter().position(|s| s.stream.ssrc == ssrc)
    }

    /// True once an authentic packet came.
    pub fn has_received(&self) -> bool {
        !self.ssrcs.is_empty()
    }

    /// Where a new SSRC belongs: by the SDP's `a=ssrc` lines, else by its MID and RID extensions,
    /// else by a payload type that only one m-line has (RFC 8843 §9.2).
    pub(super) fn place(&self, packet: &[u8], header: &RtpHeader) -> Result<Candidate, DropReason> {
        if self.ssrcs.len() >= MAX_SSRCS_PER_PEER {
            return Err(DropReason::UnknownSsrc);
        }
        for (section, published) in self.sections.iter().enumerate() {
            for &(media, rtx) in &published.section.ssrcs {
                if media == header.ssrc {
                    return Ok(Candidate {
                        section,
                        role: SourceRole::Media(None),
                    });
                }
                if rtx == Some(header.ssrc) {
                    return Ok(Candidate {
                        section,
                        role: SourceRole::Rtx(None),
                    });
                }
            }
        }
        let has_pt =
            |p: &Published| p.section.pt == header.pt || p.section.rtx_pt == Some(header.pt);
        let mut by_mid = None;
        let mut by_pt = SmallVec::<[usize; 2]>::new();
        for (section, published) in self.sections.iter().enumerate() {
            let known = Known::read(packet, header, &published.section.extensions);
            if known.mid == Some(published.section.mid.as_str()) {
                by_mid = Some(section);
            }
            if has_pt(published) {
                by_pt.push(section);
            }
        }
        let section = match (by_mid, by_pt.as_slice()) {
            (Some(section), _) => section,
            (None, &[section]) => section,
            (None, _) => return Err(DropReason::UnknownSsrc),
        };
        let published = self.sections.get(section).ok_or(DropReason::UnknownSsrc)?;
        let known = Known::read(packet, header, &published.section.extensions);
        let role = if published.section.rtx_pt == Some(header.pt) {
            SourceRole::Rtx(known.repaired_rid.or(known.rid).and_then(Rid::new))
        } else {
            SourceRole::Media(known.rid.and_then(Rid::new))
        };
        Ok(Candidate { section, role })
    }

    /// Checks the payload type against the m-line that the SSRC belongs to.
    pub(super) fn check_pt(&self, section: usize, pt: Pt, role: &SourceRole) -> bool {
        self.sections.get(section).is_some_and(|p| match role {
            SourceRole::Media(_) => p.section.pt == pt,
            SourceRole::Rtx(_) => p.section.rtx_pt == Some(pt),
        })
    }

    /// The media SSRC that an RTX source repairs: same m-line, same RID.
    pub(super) fn repaired(&self, section: usize, rid: Option<&Rid>) -> Option<usize> {
        self.ssrcs.iter().position(|s| {
            s.section == section
                && matches!(&s.role, SourceRole::Media(r) if rid.is_none() || r.as_ref() == rid)
        })
    }

    /// True when this encoding is the one that is forwarded: the first RID of the m-line, or the
    /// only encoding.
    pub(super) fn is_forwarded(&self, section: usize, rid: Option<&Rid>) -> bool {
        let Some(published) = self.sections.get(section) else {
            return false;
        };
        match (published.section.rids.first(), rid) {
            (Some(first), Some(rid)) => first == rid,
            (Some(_), None) | (None, _) => true,
        }
    }

    /// The media SSRC of `track`, for key frame requests; `None` before its first packet.
    pub fn media_ssrc(&self, track: TrackKey) -> Option<Ssrc> {
        let section = self.sections.iter().position(|p| p.track == track)?;
        let first = self.sections.get(section)?.section.rids.first();
        self.repaired(section, first)
            .and_then(|at| Some(self.ssrcs.get(at)?.stream.ssrc))
    }

    /// A sender report (RFC 3550 §6.4.1): moves the clock of the track it is about.
    pub(super) fn record_report(
        &mut self,
        now: Now,
        ssrc: Ssrc,
        ntp: NtpTime,
        rtp: RtpTime,
        tracks: &mut Tracks,
    ) {
        let Some(source) = self.ssrcs.iter_mut().find(|s| s.stream.ssrc == ssrc) else {
            return;
        };
        source.stream.record_report(now, ntp);
        let SourceRole::Media(rid) = &source.role else {
            return;
        };
        let (section, rid) = (source.section, rid.clone());
        let unix_us = self.clock_offset.update(now, ntp);
        if self.is_forwarded(section, rid.as_ref())
            && let Some(published) = self.sections.get(section)
            && let Some(track) = tracks.get_mut(published.track)
        {
            track.clock = Some(SenderClock { rtp, unix_us });
        }
    }

    /// Packets lost for good over all media SSRCs, since the start.
    pub fn packets_lost(&self) -> u64 {
        self.ssrcs
            .iter()
            .map(|s| s.stream.missing.abandoned())
            .sum()
    }

    /// Round trip as retransmissions show it, in microseconds; 0 without video.
    pub fn rtt_us(&self) -> u32 {
        let video = self.ssrcs.iter().find(|s| {
            let kind = self.sections.get(s.section).map(|p| p.section.kind);
            kind == Some(MediaKind::Video) && matches!(s.role, SourceRole::Media(_))
        });
        video.map_or(0, |s| {
            u32::try_from(s.stream.missing.rtt().as_micros()).unwrap_or(u32::MAX)
        })
    }
}

/// The distance between a publisher's NTP clock and ours, one for all its streams.
///
/// Each report shows distance plus delay; the smallest recent one has the least delay in it. It
/// may creep up, so that a clock that runs slower than ours is followed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockOffset {
    offset_us: Option<i64>,
}

impl ClockOffset {
    /// Our wall clock, in microseconds since 1970, at the publisher's `ntp`.
    fn update(&mut self, now: Now, ntp: NtpTime) -> u64 {
        let seen = now.ntp().us_since(ntp);
        let offset = match self.offset_us {
            Some(kept) if seen < kept => seen,
            // A step of the sender's clock is not creep.
            Some(kept) if seen - kept > CLOCK_STEP_US => seen,
            Some(kept) => kept + (seen - kept) / 128,
            None => seen,
        };
        self.offset_us = Some(offset);
        now.unix_us.saturating_add_signed(offset - seen)
    }
}

const FIRST_REPORT: Duration = Duration::from_millis(500);

/// More than any network delays a report.
const CLOCK_STEP_US: i64 = 5_000_000;

/// How often loudness is reported.
const LEVEL_PERIOD: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn audio_and_video_share_one_offset_whatever_their_reports_delay() {
        let sent = test_now();
        let ntp = NtpTime::from_unix_us(sent.unix_us - 3_000_000_000);
        let mut offset = ClockOffset::default();
        let fast = offset.update(sent.after(Duration::from_millis(10)), ntp);
        let slow = offset.update(sent.after(Duration::from_millis(90)), ntp);
        assert!(fast.abs_diff(slow) <= 1000, "{fast} {slow}");
    }

    #[test]
    fn the_loudest_of_a_period_is_reported_once() {
        let start = test_now();
        let mut publisher = Publisher::new(start, Vec::new());
        let at = |millis| start.after(Duration::from_millis(millis));
        assert_eq!(publisher.take_level(at(0)), None, "nothing was heard");
        publisher.note_level(40);
        publisher.note_level(30);
        publisher.note_level(127);
        assert_eq!(publisher.poll_timeout(at(1)), at(1).instant);
        assert_eq!(publisher.take_level(at(1)), Some(30));
        publisher.note_level(127);
        assert_eq!(publisher.poll_timeout(at(2)), at(201).instant);
        assert_eq!(publisher.take_level(at(200)), None);
        assert_eq!(publisher.take_level(at(201)), Some(127));
        assert_eq!(publisher.take_level(at(900)), None);
    }
}
