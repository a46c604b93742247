//! The receiving side of a publisher: its m-lines, their encodings, and which SSRC is which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::feedback::Ask;
use crate::base::clock::{Now, NtpTime, SenderClock};
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::ids::{Pt, Rid, Ssrc};
use crate::base::limits::{MAX_RETIRED_SSRCS, MAX_SSRCS_PER_PEER};
use crate::base::seq::RtpTime;
use crate::bwe::arrivals::Arrivals;
use crate::model::capture::Tap;
use crate::model::track::TrackInfo;
use crate::payload::dependency_structure::Structure;
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtp::RtpHeader;
use crate::rtp::extension::Known;
use crate::sdp::SessionVersion;
use crate::sdp::answer::ReceiveSection;
use crate::stream::missing::Missing;
use crate::stream::receive::RecvStream;

/// A publisher's receiving state.
#[derive(Debug)]
pub struct Publisher {
    /// The accepted m-lines, with the track each feeds.
    pub sections: Vec<Published>,
    /// The `o=` line of the last answer (RFC 3264 §8).
    pub session: SessionVersion,
    pub(super) ssrcs: Vec<Source>,
    /// Those that made room for others, as far as they send nothing any more.
    retired: Vec<Source>,
    pub(super) arrivals: Option<Arrivals>,
    pub(super) clock_offset: ClockOffset,
    pub(super) next_report: Instant,
    /// The SSRC at which the next report begins, when one cannot hold all.
    pub(super) report_from: usize,
    pub(super) next_transport_feedback: Instant,
    pub(super) next_nack: Instant,
    pub(super) ask: Ask,
    pub(super) fir_seq: u8,
    /// The loudest of its audio since the last report (RFC 6464 §3): 0 is loudest, 127 silence.
    level: Option<u8>,
    next_level: Instant,
    /// Where copies of its packets go while it is captured.
    pub tap: Option<Arc<Tap>>,
}

/// One accepted m-line.
#[derive(Debug)]
pub struct Published {
    /// What was negotiated.
    pub section: ReceiveSection,
    /// What is published of it at once: at least one, at most `limits::MAX_ENCODINGS`.
    pub encodings: SmallVec<[Encoding; 1]>,
}

/// One encoding of an m-line (RFC 8853): a stream of its own.
#[derive(Debug)]
pub struct Encoding {
    /// Its RID; `None` when the m-line has none.
    pub rid: Option<Rid>,
    /// Where its packets go.
    pub track: TrackKey,
    /// What its dependency descriptors refer to, once a key frame has brought it.
    pub(super) structure: Option<Box<Structure>>,
    /// Its parameter sets have come among its packets (H.264 and H.265).
    pub(super) has_parameters: bool,
}

impl Encoding {
    /// An encoding that has sent nothing.
    pub fn new(rid: Option<Rid>, track: TrackKey) -> Self {
        Self {
            rid,
            track,
            structure: None,
            has_parameters: false,
        }
    }
}

impl Published {
    /// The tracks of its encodings.
    pub fn tracks(&self) -> impl Iterator<Item = TrackKey> {
        self.encodings.iter().map(|encoding| encoding.track)
    }

    /// What was negotiated, with the RIDs of all its encodings, whichever of them the last offer
    /// had.
    pub fn known(&self) -> ReceiveSection {
        let rids = self.encodings.iter().filter_map(|e| e.rid.clone());
        ReceiveSection {
            rids: rids.collect(),
            ..self.section.clone()
        }
    }

    /// Its track, as everybody else is told.
    pub fn track_info(&self, tracks: &Tracks) -> Option<TrackInfo> {
        let first = tracks.get(self.tracks().next()?)?;
        Some(TrackInfo {
            encodings: self.encodings.len() as u8,
            ..first.info.clone()
        })
    }

    /// Which encoding a RID names. One that the m-line does not have is `None`; without RID it is
    /// the only one that was negotiated last.
    fn encoding_of(&self, rid: Option<&str>) -> Option<usize> {
        match (rid, self.encodings.as_slice()) {
            (None, _) if self.section.rids.len() < 2 => Some(0),
            (None, _) => None,
            (Some(_), [only]) if only.rid.is_none() => Some(0),
            (Some(rid), all) => {
                let named = |e: &Encoding| e.rid.as_ref().is_some_and(|own| own.as_str() == rid);
                all.iter().position(named)
            }
        }
    }
}

/// One authenticated SSRC of a publisher.
#[derive(Debug)]
pub struct Source {
    /// Sequence, loss and replay state.
    pub stream: RecvStream,
    /// When its first packet came, microseconds since 1970.
    pub since_us: u64,
    /// Where it belongs.
    pub place: Place,
}

impl Source {
    /// True for the SSRC of an encoding.
    pub(super) fn is_media(&self) -> bool {
        self.place.role == SourceRole::Media
    }

    /// False once another SSRC has taken its place.
    pub(super) fn is_in_use(&self) -> bool {
        self.place.role != SourceRole::Left
    }
}

/// What an SSRC carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRole {
    /// An encoding.
    Media,
    /// RTX of an encoding (RFC 4588).
    Rtx,
    /// Nothing any more: another SSRC has taken its place. It stays so that nobody can send its
    /// packets again.
    Left,
}

/// Where an SSRC belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which m-line.
    pub section: usize,
    /// Which of its encodings.
    pub encoding: usize,
    /// Media, or retransmission of it.
    pub role: SourceRole,
}

impl Publisher {
    /// The state for negotiated m-lines and their tracks.
    pub fn new(now: Now, session: SessionVersion, sections: Vec<Published>) -> Self {
        Self {
            arrivals: has_transport_cc(&sections).then(Arrivals::default),
            sections,
            session,
            ssrcs: Vec::new(),
            retired: Vec::new(),
            clock_offset: ClockOffset::default(),
            next_report: now.instant + FIRST_REPORT,
            report_from: 0,
            next_transport_feedback: now.instant,
            next_nack: now.instant,
            ask: Ask::new(),
            fir_seq: 0,
            level: None,
            next_level: now.instant,
            tap: None,
        }
    }

    /// Takes the m-lines of a later offer, behind which known ones keep their places; its answer is
    /// the next version.
    pub fn renegotiate(&mut self, now: Now, sections: Vec<Published>) {
        if self.arrivals.is_none() && has_transport_cc(&sections) {
            self.arrivals = Some(Arrivals::default());
            self.next_transport_feedback = now.instant;
        }
        self.sections = sections;
        self.session.version += 1;
    }

    /// When feedback is due.
    pub fn poll_timeout(&self, now: Now) -> Instant {
        let mut due = self.next_report;
        if self.arrivals.is_some() {
            due = due.min(self.next_transport_feedback);
        }
        let lacks = |s: &Source| s.is_media() && !s.stream.missing.is_empty();
        if self.ssrcs.iter().any(lacks) {
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

    /// The authenticated SSRC, if it is known. One that has made room is there again when its
    /// m-line is.
    ///
    /// # Errors
    /// `UnknownSsrc` for one that has made room and sends nothing any more.
    pub(super) fn find(&mut self, ssrc: Ssrc) -> Result<Option<usize>, DropReason> {
        if let Some(at) = self.ssrcs.iter().position(|s| s.stream.ssrc == ssrc) {
            return Ok(Some(at));
        }
        let Some(at) = self.retired.iter().position(|s| s.stream.ssrc == ssrc) else {
            return Ok(None);
        };
        if self.retired.get(at).is_none_or(|s| self.is_over(s)) {
            return Err(DropReason::UnknownSsrc);
        }
        self.ssrcs.push(self.retired.swap_remove(at));
        Ok(Some(self.ssrcs.len() - 1))
    }

    /// Makes room for one more SSRC. Pages that change a camera by `removeTrack` and `addTrack`
    /// have another m-line with other SSRCs each time.
    pub(super) fn make_room(&mut self) {
        let is_full = self.ssrcs.len() >= MAX_SSRCS_PER_PEER;
        let may_retire = is_full && self.retired.len() < MAX_RETIRED_SSRCS;
        // Whoever forges SSRCs comes here with each packet: nothing is moved in vain.
        if !may_retire || !self.ssrcs.iter().any(|source| self.is_over(source)) {
            return;
        }
        let all = std::mem::take(&mut self.ssrcs);
        for mut source in all {
            if self.retired.len() < MAX_RETIRED_SSRCS && self.is_over(&source) {
                source.stream.missing = Missing::default();
                self.retired.push(source);
            } else {
                self.ssrcs.push(source);
            }
        }
    }

    /// True when nothing is to come of it: another SSRC is in its place, or its m-line is stopped.
    fn is_over(&self, source: &Source) -> bool {
        let section = self.sections.get(source.place.section);
        source.place.role == SourceRole::Left || section.is_none_or(|p| !p.section.active)
    }

    /// True once an authentic packet came.
    pub fn has_received(&self) -> bool {
        !self.ssrcs.is_empty()
    }

    /// Where a new SSRC belongs: by the SDP's `a=ssrc` lines, else by its MID and RID extensions,
    /// else by a payload type that only one m-line has (RFC 8843 §9.2).
    pub(super) fn place(&self, packet: &[u8], header: &RtpHeader) -> Result<Place, DropReason> {
        if self.ssrcs.len() >= MAX_SSRCS_PER_PEER {
            return Err(DropReason::UnknownSsrc);
        }
        if let Some(place) = self.declared(header.ssrc) {
            return Ok(place);
        }
        let has_pt = |p: &Published| {
            p.section.rtx_pt == Some(header.pt) || p.section.has_media_pt(header.pt)
        };
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
        let (role, rid) = if published.section.rtx_pt == Some(header.pt) {
            (SourceRole::Rtx, known.repaired_rid.or(known.rid))
        } else {
            (SourceRole::Media, known.rid)
        };
        let encoding = published.encoding_of(rid).ok_or(DropReason::UnknownSsrc)?;
        Ok(Place {
            section,
            encoding,
            role,
        })
    }

    /// Where the SDP's `a=ssrc` lines place an SSRC. Without RIDs each source of an m-line is an
    /// encoding.
    fn declared(&self, ssrc: Ssrc) -> Option<Place> {
        self.sections.iter().enumerate().find_map(|(section, p)| {
            let mut sources = p.section.ssrcs.iter().enumerate();
            let (at, role) = sources.find_map(|(at, &(media, rtx))| {
                let role = match ssrc {
                    ssrc if ssrc == media => SourceRole::Media,
                    ssrc if rtx == Some(ssrc) => SourceRole::Rtx,
                    _ => return None,
                };
                Some((at, role))
            })?;
            let encoding = at.min(p.encodings.len().saturating_sub(1));
            // With RIDs, these say which is which.
            (p.section.rids.len() < 2).then_some(Place {
                section,
                encoding,
                role,
            })
        })
    }

    /// Checks the payload type against the m-line that the SSRC belongs to.
    pub(super) fn check_pt(&self, place: Place, pt: Pt) -> bool {
        self.sections
            .get(place.section)
            .is_some_and(|p| match place.role {
                SourceRole::Media => p.section.has_media_pt(pt),
                SourceRole::Rtx => p.section.rtx_pt == Some(pt),
                SourceRole::Left => false,
            })
    }

    /// A media SSRC begins at `place`. One that was there before, as after a restart of the
    /// publisher's sender (RFC 3550 §8), has left it with its retransmissions, and its track goes
    /// on with another source. Retransmissions that began when nothing of the old one came any
    /// more are the new one's: probes may come before media.
    pub(super) fn begin(&mut self, now: Now, place: Place, tracks: &mut Tracks) {
        let before = self.media_at(place).and_then(|at| self.ssrcs.get(at));
        let Some(before) = before else {
            return;
        };
        let heard_us = before.stream.heard_us();
        for source in &mut self.ssrcs {
            let is_its = source.place.role == SourceRole::Rtx && source.since_us > heard_us;
            let is_there =
                (source.place.section, source.place.encoding) == (place.section, place.encoding);
            if is_there && !is_its {
                source.place.role = SourceRole::Left;
            }
        }
        let published = self.sections.get_mut(place.section);
        let encoding = published.and_then(|p| p.encodings.get_mut(place.encoding));
        let Some(encoding) = encoding else {
            return;
        };
        encoding.structure = None;
        encoding.has_parameters = false;
        let Some(track) = tracks.get_mut(encoding.track) else {
            return;
        };
        track.set_source(track.source.wrapping_add(1));
        if track.info.kind == MediaKind::Video && track.is_wanted() {
            tracks.want_key_frame(now.instant, encoding.track);
        }
    }

    /// The media SSRC at `place`, also when that is its retransmission's.
    pub(super) fn media_at(&self, place: Place) -> Option<usize> {
        let media = Place {
            role: SourceRole::Media,
            ..place
        };
        self.ssrcs.iter().position(|s| s.place == media)
    }

    /// The media SSRC of `track`, for key frame requests; `None` before its first packet.
    pub fn media_ssrc(&self, track: TrackKey) -> Option<Ssrc> {
        let at = self
            .ssrcs
            .iter()
            .position(|s| s.is_media() && self.encoding(s.place).map(|e| e.track) == Some(track))?;
        self.ssrcs.get(at).map(|s| s.stream.ssrc)
    }

    pub(super) fn encoding(&self, place: Place) -> Option<&Encoding> {
        let published = self.sections.get(place.section)?;
        published.encodings.get(place.encoding)
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
        let place = source.place;
        // Who has no wall clock writes 0 (RFC 3550 §6.4.1): nothing can be read off that.
        if place.role != SourceRole::Media || ntp == NtpTime(0) {
            return;
        }
        let unix_us = self.clock_offset.update(now, ntp);
        if let Some(encoding) = self.encoding(place)
            && let Some(track) = tracks.get_mut(encoding.track)
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
            let kind = self.sections.get(s.place.section).map(|p| p.section.kind);
            kind == Some(MediaKind::Video) && s.is_media()
        });
        video.map_or(0, |s| {
            u32::try_from(s.stream.missing.rtt().as_micros()).unwrap_or(u32::MAX)
        })
    }
}

fn has_transport_cc(sections: &[Published]) -> bool {
    sections.iter().any(|s| s.section.transport_cc)
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
        let session = SessionVersion { id: 1, version: 1 };
        let mut publisher = Publisher::new(start, session, Vec::new());
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
