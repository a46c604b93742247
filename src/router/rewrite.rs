//! Sequence numbers and timestamps of one subscription: one continuous stream out of whatever
//! comes in.
//!
//! Within one source the mapping is an addition, so gaps stay where the input lost packets and a
//! late packet keeps its place. A change of source opens a new segment behind the last packet
//! sent; the last few segments are remembered so that a NACK can be led back. Packets that are
//! left out on purpose (`select.rs`) open one too, so that their numbers are used by what follows.
//! Integers only.

use smallvec::SmallVec;

use crate::base::seq::RtpTime;
use crate::model::layers::Marks;

/// The mapping of one subscription.
#[derive(Clone, Debug)]
pub struct Rewriter {
    segments: SmallVec<[Segment; 2]>,
    next_out: u64,
    first_out: u64,
    last_time: RtpTime,
    is_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// First output number of the segment.
    out_start: u64,
    /// First input number of the segment.
    in_start: u64,
    /// Added to input timestamps.
    time_shift: u32,
    /// Which source the input numbers belong to.
    source: u32,
    /// What else is changed in its packets.
    patch: Patch,
    /// Why it begins, when it goes on with the source of the one before.
    cut: Option<Cut>,
}

/// The frame at which a segment was cut, and the layers that were sent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    timestamp: RtpTime,
    /// The first input number that was missing then: what has a lower one was sent before.
    from: u64,
    spatial: u8,
    temporal: u8,
}

impl Segment {
    /// Its patch of packet `seq` at `timestamp`, with the segment behind it: what was missing of
    /// the frame at which that one was cut shares the fate of the rest.
    ///
    /// INVARIANT: a packet that was sent has the same patch for good, whatever its publisher
    /// writes into later ones (RFC 7714 §8.4).
    fn patch_of(&self, next: Option<&Segment>, seq: u64, timestamp: RtpTime) -> Patch {
        match next.and_then(|next| next.cut) {
            Some(cut) if cut.timestamp == timestamp && seq >= cut.from => Patch {
                spatial: cut.spatial,
                temporal: cut.temporal,
                ..self.patch
            },
            Some(_) | None => self.patch,
        }
    }
}

/// What a segment changes in its packets besides number and timestamp, and which it takes at all.
/// Everything is added, modulo the width of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Added to VP8 and VP9 picture ids.
    pub picture_id: u16,
    /// Added to frame numbers of dependency descriptors.
    pub frame_number: u16,
    /// Added to TL0PICIDX.
    pub tl0_pic_idx: u8,
    /// Added to template ids of dependency descriptors.
    pub template_id: u8,
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
}

impl Patch {
    /// Takes every packet and changes nothing.
    pub const NONE: Self = Self {
        picture_id: 0,
        frame_number: 0,
        tl0_pic_idx: 0,
        template_id: 0,
        spatial: u8::MAX,
        temporal: u8::MAX,
    };

    /// True when packets of these layers are sent.
    pub const fn takes(&self, marks: Marks) -> bool {
        marks.spatial() <= self.spatial && marks.temporal() <= self.temporal
    }
}

/// An output packet led back to what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which source.
    pub source: u32,
    /// Its extended number there.
    pub seq: u64,
    /// Added to its timestamp.
    pub time_shift: u32,
    segment: Segment,
    next: Option<Segment>,
}

impl Origin {
    /// What else was changed in the packet, whose timestamp there is `timestamp`.
    pub fn patch(&self, timestamp: RtpTime) -> Patch {
        self.segment
            .patch_of(self.next.as_ref(), self.seq, timestamp)
    }
}

impl Rewriter {
    /// A mapping whose first packet will have the extended number `first`; at least 65536.
    pub fn new(first: u64) -> Self {
        Self {
            segments: SmallVec::new(),
            next_out: first,
            first_out: first,
            last_time: RtpTime(0),
            is_open: false,
        }
    }

    /// The source of the open segment; `None` before the first and after [`close`](Self::close).
    pub fn source(&self) -> Option<u32> {
        let last = self.segments.last().filter(|_| self.is_open);
        last.map(|segment| segment.source)
    }

    /// Closes the open segment: nothing maps until the next one starts. What was sent can still
    /// be led back.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// True when a segment may start at input packet `seq` of `source`: one that goes on with a
    /// source that was sent before must not go back in it.
    pub fn may_start(&self, source: u32, seq: u64) -> bool {
        let mut end = self.next_out;
        for segment in self.segments.iter().rev() {
            if segment.source == source {
                return seq >= segment.in_start + (end - segment.out_start);
            }
            end = segment.out_start;
        }
        true
    }

    /// Opens a segment at input packet `seq` of `source`: it becomes the next output number.
    ///
    /// `elapsed_ticks` is how far the output clock should have moved since the last packet sent;
    /// it is used when the source is another one. The first one keeps the publisher's timestamps,
    /// and one that goes on after a pause keeps its own shift: its clock has run on.
    pub fn start(&mut self, source: u32, seq: u64, timestamp: RtpTime, elapsed_ticks: u32) {
        let time_shift = match self.segments.last() {
            None => 0,
            Some(last) if last.source == source => last.time_shift,
            Some(_) => self.shift_after(timestamp, elapsed_ticks),
        };
        self.begin(source, seq, time_shift, Patch::NONE);
    }

    /// The shift that puts `timestamp` this far behind the last packet sent, at least one tick.
    pub fn shift_after(&self, timestamp: RtpTime, elapsed_ticks: u32) -> u32 {
        let due = self.last_time.plus(elapsed_ticks.max(1));
        due.distance(timestamp) as u32
    }

    /// Opens a segment at input packet `seq` of `source` as the caller wants it.
    pub fn begin(&mut self, source: u32, seq: u64, time_shift: u32, patch: Patch) {
        self.is_open = true;
        if self.segments.len() >= MAX_SEGMENTS {
            self.segments.remove(0);
        }
        self.segments.push(Segment {
            out_start: self.next_out,
            in_start: seq,
            time_shift,
            source,
            patch,
            cut: None,
        });
    }

    /// The open segment's next input number: what comes with a lower one is late.
    pub fn expected(&self) -> Option<u64> {
        let last = self.segments.last().filter(|_| self.is_open)?;
        Some(last.in_start + (self.next_out - last.out_start))
    }

    /// Shift and patch of the newest segment; `None` before the first.
    pub fn newest(&self) -> Option<(u32, Patch)> {
        self.segments.last().map(|s| (s.time_shift, s.patch))
    }

    /// Timestamp of the newest packet sent, as its source has it; `None` before the first.
    pub fn newest_input(&self) -> Option<RtpTime> {
        let last = self.segments.last()?;
        Some(self.last_time.plus(last.time_shift.wrapping_neg()))
    }

    /// The shift that `source` has, if the newest segment is its.
    pub fn shift_of(&self, source: u32) -> Option<u32> {
        let last = self.segments.last().filter(|s| s.source == source)?;
        Some(last.time_shift)
    }

    /// Room for as many segments as are remembered, so that none is made on the packet path.
    pub fn reserve(&mut self) {
        let missing = MAX_SEGMENTS.saturating_sub(self.segments.len());
        self.segments.reserve_exact(missing);
    }

    /// Goes on with `patch` from input packet `seq` on, which is not late, is sent, and of the
    /// frame at `timestamp`.
    pub fn change(&mut self, seq: u64, timestamp: RtpTime, patch: Patch) {
        self.cut(seq, seq, timestamp, patch);
    }

    /// Leaves input packet `seq` out, which is not late and of the frame at `timestamp`: its
    /// number goes to the next one that is sent, which `patch` is for. Those missing before it
    /// keep theirs.
    pub fn skip(&mut self, seq: u64, timestamp: RtpTime, patch: Patch) {
        self.cut(seq, seq + 1, timestamp, patch);
    }

    /// Ends the open segment before `end`; the next one begins at `start`.
    fn cut(&mut self, end: u64, start: u64, timestamp: RtpTime, patch: Patch) {
        let Some(expected) = self.expected() else {
            return;
        };
        let missing = end.saturating_sub(expected);
        self.next_out += missing;
        let next_out = self.next_out;
        let Some(last) = self.segments.last_mut() else {
            return;
        };
        // One that holds nothing was cut at the frame before which something may be missing.
        if last.out_start == next_out {
            (last.in_start, last.patch) = (start, patch);
            return;
        }
        let (source, time_shift) = (last.source, last.time_shift);
        self.begin(source, start, time_shift, patch);
        if let Some(last) = self.segments.last_mut() {
            last.cut = Some(Cut {
                timestamp,
                from: expected,
                spatial: patch.spatial,
                temporal: patch.temporal,
            });
        }
    }

    /// Where a packet belongs that came too late to be mapped: its output number, timestamp and
    /// patch. `None` when its number was left out, or is forgotten.
    pub fn late(
        &mut self,
        source: u32,
        seq: u64,
        timestamp: RtpTime,
    ) -> Option<(u64, RtpTime, Patch)> {
        let is_of = |s: &Segment| s.source == source && s.in_start <= seq;
        let at = self.segments.iter().rposition(is_of)?;
        let segment = *self.segments.get(at)?;
        let next = self.segments.get(at + 1);
        let end = next.map_or(self.next_out, |next| next.out_start);
        let out = segment.out_start + (seq - segment.in_start);
        if out >= end {
            return None;
        }
        let patch = segment.patch_of(next, seq, timestamp);
        let time = timestamp.plus(segment.time_shift);
        // It may be newer than all that was sent, when what followed was left out.
        if time.distance(self.last_time) > 0 {
            self.last_time = time;
        }
        Some((out, time, patch))
    }

    /// Output number and timestamp of input packet `seq`; `None` when it is from before the
    /// current segment or of another source.
    pub fn map(&mut self, source: u32, seq: u64, timestamp: RtpTime) -> Option<(u64, RtpTime)> {
        let segment = self.segments.last().filter(|_| self.is_open)?;
        if segment.source != source {
            return None;
        }
        let out = segment.out_start + seq.checked_sub(segment.in_start)?;
        let time = timestamp.plus(segment.time_shift);
        if out >= self.next_out {
            self.next_out = out + 1;
            self.last_time = time;
        }
        Some((out, time))
    }

    /// What is behind output number `out`; `None` when it was never sent or its segment is
    /// forgotten.
    pub fn lead_back(&self, out: u64) -> Option<Origin> {
        if out >= self.next_out {
            return None;
        }
        let at = self.segments.iter().rposition(|s| s.out_start <= out)?;
        let segment = self.segments.get(at)?;
        let next = self.segments.get(at + 1).copied();
        Some(Origin {
            source: segment.source,
            seq: segment.in_start + (out - segment.out_start),
            time_shift: segment.time_shift,
            segment: *segment,
            next: next.filter(|next| next.source == segment.source),
        })
    }

    /// Output timestamp of `timestamp` in the current segment.
    pub fn time(&self, timestamp: RtpTime) -> RtpTime {
        timestamp.plus(self.segments.last().map_or(0, |s| s.time_shift))
    }

    /// Reads what mapping begins with; the value means nothing.
    pub fn touch(&self) -> usize {
        self.segments.len() ^ self.next_out as usize
    }

    /// Extended number of the newest packet sent; `None` before the first.
    pub fn highest_out(&self) -> Option<u64> {
        (self.next_out > self.first_out).then(|| self.next_out - 1)
    }
}

/// Segments remembered for NACKs, which refer to the last second. Switches are seconds apart, but
/// each frame that is left out ends a segment.
const MAX_SEGMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn late_packets_keep_their_place_and_earlier_ones_are_refused() {
        let mut r = Rewriter::new(70_000);
        r.start(1, 500, RtpTime(9000), 0);
        assert_eq!(r.map(1, 500, RtpTime(9000)), Some((70_000, RtpTime(9000))));
        assert_eq!(r.map(1, 503, RtpTime(9300)), Some((70_003, RtpTime(9300))));
        assert_eq!(r.map(1, 502, RtpTime(9200)), Some((70_002, RtpTime(9200))));
        assert_eq!(r.map(1, 499, RtpTime(8900)), None);
        assert_eq!(r.highest_out(), Some(70_003));
    }

    #[test]
    fn another_source_continues_number_and_time() {
        let mut r = Rewriter::new(70_000);
        r.start(1, 500, RtpTime(9000), 0);
        r.map(1, 500, RtpTime(9000));
        r.start(2, 10, RtpTime(77), 3000);
        assert_eq!(r.map(2, 10, RtpTime(77)), Some((70_001, RtpTime(12_000))));
        assert_eq!(r.map(1, 501, RtpTime(9100)), None, "the old source is over");
        assert_eq!(
            r.lead_back(70_000).map(|b| (b.source, b.seq)),
            Some((1, 500))
        );
        assert_eq!(
            r.lead_back(70_001).map(|b| (b.source, b.seq)),
            Some((2, 10))
        );
        assert_eq!(r.lead_back(70_002), None);
    }

    #[test]
    fn a_pause_leaves_no_gap_in_the_numbers_and_its_time_in_the_timestamps() {
        let mut r = Rewriter::new(70_000);
        r.start(1, 500, RtpTime(9000), 0);
        assert_eq!(r.map(1, 502, RtpTime(9200)), Some((70_002, RtpTime(9200))));
        r.close();
        assert_eq!((r.source(), r.map(1, 503, RtpTime(9300))), (None, None));
        assert_eq!(
            r.lead_back(70_002).map(|b| (b.source, b.seq)),
            Some((1, 502))
        );
        assert!(!r.may_start(1, 501), "a late packet is from before");
        assert!(r.may_start(1, 900) && r.may_start(2, 3));
        r.start(1, 900, RtpTime(99_000), 7);
        assert_eq!(
            r.map(1, 900, RtpTime(99_000)),
            Some((70_003, RtpTime(99_000)))
        );
        assert_eq!(r.map(1, 503, RtpTime(9300)), None);
        assert_eq!(
            r.lead_back(70_001).map(|b| (b.source, b.seq)),
            Some((1, 501))
        );
    }

    #[test]
    fn a_cut_does_not_change_what_was_sent_before_it() {
        let low = Patch {
            spatial: 0,
            ..Patch::NONE
        };
        let mut r = Rewriter::new(70_000);
        r.start(1, 500, RtpTime(9000), 0);
        r.map(1, 500, RtpTime(9000));
        r.map(1, 502, RtpTime(9100));
        // Late, with the timestamp of a frame that is still to come.
        let (out, _, sent) = r.late(1, 501, RtpTime(9200)).unwrap();
        r.change(504, RtpTime(9200), low);
        let again = |out: u64| r.lead_back(out).unwrap().patch(RtpTime(9200));
        assert_eq!(again(out), sent, "the same bytes under one number");
        assert_eq!(again(70_003), low, "what was missing goes with its frame");
    }

    proptest! {
        /// Pauses at random, with packets that are lost and come late: without them the output
        /// has exactly the gaps that the input has, and each number is used once.
        #[test]
        fn pauses_are_not_seen_in_the_output(
            steps in prop::collection::vec((0u8..4, 1u64..4, prop::bool::ANY), 1..200)
        ) {
            let mut r = Rewriter::new(70_000);
            let (mut cursor, mut off) = (1000u64, false);
            let mut sent: Vec<(u64, u64, RtpTime)> = Vec::new();
            for (toggle, skip, late) in steps {
                if toggle == 0 {
                    off = !off;
                    r.close();
                }
                let seq = if late { cursor - 1 } else { cursor };
                cursor += u64::from(!late) * skip;
                let time = RtpTime(seq as u32 * 100);
                if off {
                    prop_assert_eq!(r.map(1, seq, time), None);
                    continue;
                }
                let opens = r.source().is_none();
                if opens {
                    if !r.may_start(1, seq) {
                        continue;
                    }
                    r.start(1, seq, time, 1);
                }
                let Some((out, shown)) = r.map(1, seq, time) else { continue };
                if sent.iter().any(|(input, ..)| *input == seq) {
                    continue; // The history hands out no packet twice.
                }
                prop_assert!(sent.iter().all(|(_, o, _)| *o != out), "{} twice", out);
                if let Some(&(input, before, then)) = sent.iter().max_by_key(|s| s.1) {
                    if opens {
                        prop_assert_eq!(out, before + 1, "contiguous");
                    } else if out > before {
                        prop_assert_eq!(out - before, seq - input);
                    }
                    if out > before {
                        prop_assert!(shown.distance(then) > 0, "time goes on");
                    }
                }
                sent.push((seq, out, shown));
            }
        }

        /// Against a naive list: every mapped packet leads back to itself, output numbers of one
        /// source differ exactly as its input numbers do, and sources never overlap.
        #[test]
        fn agrees_with_a_naive_list(
            ops in prop::collection::vec((0u32..3, 0u64..5, any::<bool>()), 1..200)
        ) {
            let mut r = Rewriter::new(65_536);
            let mut cursors = [1000u64, 5000, 9000];
            let mut current = None;
            let mut sent: Vec<(u32, u64, u64)> = Vec::new();
            for (source, skip, switch) in ops {
                let cursor = &mut cursors[source as usize];
                *cursor += skip;
                if current.is_none() || (switch && current != Some(source)) {
                    r.start(source, *cursor, RtpTime(*cursor as u32), 10);
                    current = Some(source);
                }
                if let Some((out, _)) = r.map(source, *cursor, RtpTime(*cursor as u32)) {
                    prop_assert_eq!(current, Some(source));
                    if let Some(&(s, i, o)) = sent.last() {
                        if s == source && skip == 0 && i == *cursor {
                            prop_assert!(out >= o);
                        } else {
                            prop_assert!(out > o);
                        }
                    }
                    sent.push((source, *cursor, out));
                }
                *cursor += 1;
            }
            for &(source, input, out) in sent.iter().rev().take(20) {
                if let Some(b) = r.lead_back(out) {
                    prop_assert_eq!((b.source, b.seq), (source, input));
                }
            }
        }
    }
}
