//! The path to one subscriber: what was sent under which transport-wide number, what the path
//! takes, and how far video is behind where that is less than what comes in.
//!
//! The queue of a subscriber that waits is a position in each track's history, no packets. Pacing
//! smooths and never polices: what is sent at all is decided by allocation, and the bucket is
//! always filled faster than the tracks that were chosen. `send.rs` asks before each packet;
//! `engine/pace.rs` comes back for those that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::send::{Again, Outlet};
use super::subscriber::{Sending, Subscriber};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::limits::MAX_SENT_RECORDS;
use crate::base::seq::{RtpTime, SeqNo};
use crate::bwe::allocate::UP_PERCENT;
use crate::bwe::bucket::Bucket;
use crate::bwe::estimator::Estimator;
use crate::bwe::probe;
use crate::model::capture::Tap;
use crate::model::layers::{Target, choose};
use crate::router::track::{Rate, Track};
use crate::router::tracks::{TrackKey, Tracks};
use crate::rtcp::transport_feedback::TransportFeedback;

/// Numbers packets for the whole transport and remembers them.
#[derive(Debug, Default)]
pub struct Path {
    /// The next transport-wide sequence number.
    pub(super) next_seq: u16,
    /// What is known of the path; `None` until the subscriber has agreed to report on it, or has
    /// told an estimate of its own.
    pub(super) known: Option<Box<Known>>,
    /// Where copies of what is sent go while the subscriber is captured.
    pub tap: Option<Arc<Tap>>,
}

/// What is known of a path, and what waits for it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) estimator: Estimator,
    bucket: Bucket,
    behind: SmallVec<[Behind; 4]>,
    /// Until when a key frame that was begun held up what waits behind it.
    held_up: Option<Instant>,
    /// The engine has it among those to be served.
    is_listed: bool,
    /// What all that is sent came to when it was last summed up, bits per second on the wire.
    sent_bps: u64,
    /// When it was last summed up, and what the path was thought to take then.
    settled: Option<(Instant, u64)>,
    /// What was sent again for who asked: no layer is chosen for it, but the path carries it.
    resent: Rate,
    /// When it was last divided among what is sent, and what it was thought to take then.
    divided: Option<(Instant, u64)>,
    /// Packets that feedback may still speak of, and the number up to which those sent count.
    reportable: usize,
    counted_seq: u16,
}

/// All that is sent, in bits per second on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// What it comes to.
    sent_bps: u64,
    /// What it would come to if all of it fitted.
    wanted_bps: u64,
    /// Something has just begun, and counts for nothing yet.
    is_unknown: bool,
    /// There is video that can be sent again for a probe.
    can_probe: bool,
}

/// A subscription that waits.
#[derive(Clone, Copy, Debug)]
struct Behind {
    sending: usize,
    track: TrackKey,
    /// The first packet not sent.
    position: u64,
}

impl Known {
    fn is_impatient(&self) -> bool {
        !self.behind.is_empty() || self.estimator.is_probing()
    }

    /// Sets how fast the bucket fills: at twice the estimate, for frames differ in size, and one
    /// that is larger than most must not wait for half of the next. Behind a queue that is long
    /// already, no faster than the path carries; but always faster than what was chosen to be sent.
    fn pace(&mut self, now: Instant, is_unknown: bool) {
        let is_full = self.is_full();
        let least_bps = self.sent_bps * LEAST_PERCENT / 100;
        let factor = if is_full { 1 } else { 2 };
        let estimate = self.estimator.estimate_bps();
        let known = estimate.filter(|_| is_full || !is_unknown);
        let deep = self.estimator.allows_bursts(now);
        let pace_bps = known.map(|bps| (bps * factor).max(least_bps));
        self.bucket.set_rate(pace_bps, deep);
    }

    fn is_full(&self) -> bool {
        self.estimator.queue_us() > HARMFUL_QUEUE_US
    }

    fn is_short(&self) -> bool {
        let estimate = self.estimator.estimate_bps();
        estimate.is_some_and(|bps| bps < self.sent_bps)
    }
}

impl Path {
    /// Begins to remember what is sent.
    pub fn open(&mut self, now: Instant) {
        if self.known.is_none() {
            self.known = Some(Box::new(Known {
                estimator: Estimator::new(now, START_BPS),
                bucket: Bucket::default(),
                behind: SmallVec::new(),
                held_up: None,
                is_listed: false,
                sent_bps: 0,
                settled: None,
                resent: Rate::default(),
                divided: None,
                reportable: MAX_SENT_RECORDS,
                counted_seq: self.next_seq,
            }));
        }
    }

    /// What the path takes, bits per second; `None` while the subscriber has told nothing.
    pub fn estimate_bps(&self) -> Option<u64> {
        let known = self.known.as_ref()?;
        known.estimator.estimate_bps()
    }

    /// Share of packets lost on the path, 0..=1; `None` while the subscriber has told nothing.
    pub fn loss(&self) -> Option<f64> {
        let known = self.known.as_ref()?;
        known.estimator.estimate_bps()?;
        Some(known.estimator.loss())
    }

    /// What may be divided among what is sent, bits per second: what the path takes, without what
    /// repairs take. `None` while the subscriber has told nothing.
    pub fn divide(&mut self, now: Instant) -> Option<u64> {
        let known = self.known.as_mut()?;
        let estimate_bps = known.estimator.estimate_bps()?;
        known.divided = Some((now, estimate_bps));
        let repairs_bps = known.resent.wire_bps_at(now);
        Some(estimate_bps - repairs_bps.min(estimate_bps / REPAIRS_SHARE))
    }

    /// True while more is sent than the path is thought to take.
    pub fn is_short(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.is_short())
    }

    /// True when it has fallen so far since it was divided that this cannot wait.
    pub fn has_fallen(&self, now: Instant) -> bool {
        let Some(known) = self.known.as_ref().filter(|known| known.is_short()) else {
            return false;
        };
        let (Some((at, before_bps)), Some(bps)) = (known.divided, known.estimator.estimate_bps())
        else {
            return true;
        };
        let has_waited = now.saturating_duration_since(at) >= DIVIDE_EVERY;
        has_waited && bps < before_bps * FALLEN_PERCENT / 100
    }

    /// True while what is sent harms: packets are lost, or wait for long.
    pub fn suffers(&self) -> bool {
        self.known
            .as_ref()
            .is_some_and(|known| known.estimator.average_loss() > HARMFUL_LOSS || known.is_full())
    }

    /// True while what is sent waits for long: nothing more than needed is to be added.
    pub(super) fn is_full(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.is_full())
    }

    /// True while packets get lost, but not for want of room: whatever is sent twice arrives.
    pub(super) fn wants_redundancy(&self) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| {
            known.estimator.average_loss() > REDUNDANT_FROM && !known.is_short() && !known.is_full()
        })
    }

    /// True while the path is full, and of what it takes repairs have had their share.
    pub(super) fn has_repaired_enough(&self, now: Instant) -> bool {
        let Some(known) = self.known.as_ref().filter(|_| self.is_full()) else {
            return false;
        };
        let estimate = known.estimator.estimate_bps();
        let begun_bps = known.resent.begun_wire_bps(now);
        estimate.is_some_and(|bps| begun_bps > bps / REPAIRS_SHARE)
    }

    /// True once when it begins to be one that is served every few milliseconds: something waits,
    /// or a probe is being sent. It is listed until [`stays_listed`](Self::stays_listed) denies it,
    /// or [`unlist`](Self::unlist) is called.
    pub fn lists_anew(&mut self) -> bool {
        let Some(known) = self.known.as_mut().filter(|known| !known.is_listed) else {
            return false;
        };
        known.is_listed = known.is_impatient();
        known.is_listed
    }

    /// It is not served for now: it is listed by [`lists_anew`](Self::lists_anew) again.
    pub fn unlist(&mut self) {
        if let Some(known) = &mut self.known {
            known.is_listed = false;
        }
    }

    /// True while it is still to be served.
    pub fn stays_listed(&mut self) -> bool {
        let Some(known) = &mut self.known else {
            return false;
        };
        known.is_listed = known.is_impatient();
        known.is_listed
    }

    /// What is sent from here on goes another way.
    pub fn handle_new_route(&mut self, now: Instant) {
        if let Some(known) = &mut self.known {
            known.estimator.handle_new_path(now);
        }
    }

    /// The subscriber's own estimate came.
    pub(super) fn handle_remb(&mut self, now: Instant, bps: u64) {
        self.open(now);
        if let Some(known) = &mut self.known {
            known.estimator.handle_remb(bps);
        }
    }

    /// True when feedback may speak of `count` more packets. Each is looked up, and 40 bytes can
    /// call 65535 lost: who speaks of many times what it was sent is not listened to.
    pub(super) fn may_report(&mut self, count: u16) -> bool {
        let Some(known) = &mut self.known else {
            return true;
        };
        let sent = self.next_seq.wrapping_sub(known.counted_seq);
        known.counted_seq = self.next_seq;
        let reportable = known.reportable + usize::from(sent) * REPORTS_PER_PACKET;
        known.reportable = reportable.min(MAX_SENT_RECORDS);
        match known.reportable.checked_sub(usize::from(count)) {
            Some(left) => {
                known.reportable = left;
                true
            }
            None => false,
        }
    }

    /// Transport-wide feedback came.
    pub(super) fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        if let Some(known) = &mut self.known {
            known.estimator.handle_feedback(now, feedback);
            known.estimator.handle_timeout(now);
        }
    }

    /// Reads what sending begins with; the value means nothing.
    pub fn touch(&self) -> usize {
        self.known.as_ref().map_or(0, |known| {
            let own = known.behind.len() ^ usize::from(known.is_listed);
            own ^ known.estimator.touch(self.next_seq)
        })
    }

    /// Copies a packet that is about to be protected, where somebody wants copies.
    pub(super) fn copy(&self, now: Instant, header_len: usize, packet: Option<&[u8]>) {
        if let (Some(tap), Some(packet)) = (&self.tap, packet) {
            tap.copy(now, header_len, packet);
        }
    }

    /// The number of the packet that is being written.
    pub(super) fn take_seq(&mut self) -> u16 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        seq
    }

    /// A packet of `len` bytes was written; if `numbered`, it took the latest number.
    pub(super) fn record(&mut self, numbered: bool, now: Instant, len: usize) {
        if let Some(known) = self.known.as_mut().filter(|_| numbered) {
            let seq = self.next_seq.wrapping_sub(1);
            known.estimator.record_sent(now, seq, len);
        }
    }

    /// Fills the bucket; once per turn is enough.
    pub(super) fn fill(&mut self, now: Instant) {
        if let Some(known) = &mut self.known {
            known.bucket.fill(now);
        }
    }

    /// Counts `len` bytes that were sent again for who asked: fresh video waits for them.
    pub(super) fn charge_again(&mut self, now: Instant, len: usize) {
        if let Some(known) = &mut self.known {
            known.bucket.charge(len);
            known.resent.add(now, len);
        }
    }

    /// Counts repairs anew: what they were of is not sent any more, and what takes its place must
    /// not go without.
    pub fn forget_repairs(&mut self) {
        if let Some(known) = &mut self.known {
            known.resent = Rate::default();
        }
    }

    /// Takes `len` bytes of the bucket; false when a packet of `kind` has to wait. Audio never
    /// does, but counts.
    pub(super) fn takes(&mut self, kind: MediaKind, len: usize) -> bool {
        let Some(known) = &mut self.known else {
            return true;
        };
        match kind {
            MediaKind::Video => known.bucket.take(len),
            MediaKind::Audio => {
                known.bucket.charge(len);
                true
            }
        }
    }

    /// Gives back what [`takes`](Self::takes) took for a packet that was not sent after all.
    pub(super) fn give_back(&mut self, len: usize) {
        if let Some(known) = &mut self.known {
            known.bucket.give_back(len);
        }
    }

    /// True when subscription `sending` waits with packets of `track`: later ones go behind them.
    pub(super) fn waits(&self, sending: usize, track: TrackKey) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| {
            let mut behind = known.behind.iter();
            behind.any(|b| b.sending == sending && b.track == track)
        })
    }

    /// Subscription `sending` goes on at `position` later.
    pub(super) fn wait(&mut self, sending: usize, track: TrackKey, position: u64) {
        if let Some(known) = &mut self.known {
            known.behind.push(Behind {
                sending,
                track,
                position,
            });
        }
    }

    /// Forgets what waits of subscription `sending`.
    pub fn forget(&mut self, sending: usize) {
        if let Some(known) = &mut self.known {
            known.behind.retain(|behind| behind.sending != sending);
        }
    }

    /// True when what is sent is to be summed up anew: it was some time ago, or the path has fallen
    /// since.
    pub(super) fn is_unsettled(&self, now: Instant) -> bool {
        let Some(known) = &self.known else {
            return false;
        };
        known.settled.is_none_or(|(at, before_bps)| {
            let bps = known.estimator.estimate_bps().unwrap_or(0);
            let is_due = now.saturating_duration_since(at) >= SETTLE_EVERY;
            is_due || bps < before_bps * FALLEN_PERCENT / 100
        })
    }

    /// Sets how fast the bucket fills, and what probes reach for. What cannot be summed up yet is
    /// not paced.
    pub(super) fn settle(&mut self, now: Instant, sums: Sums) {
        let Some(known) = &mut self.known else {
            return;
        };
        if sums.wanted_bps > 0 || known.sent_bps > 0 {
            let wanted_bps = sums.wanted_bps * WANTED_PERCENT / 100;
            known.estimator.set_wanted(wanted_bps);
            known.estimator.set_can_probe(sums.can_probe);
            known.sent_bps = sums.sent_bps;
            known.pace(now, sums.is_unknown);
        }
        let estimate_bps = known.estimator.estimate_bps().unwrap_or(0);
        known.settled = Some((now, estimate_bps));
        known.estimator.handle_timeout(now);
    }
}

impl Subscriber {
    /// Sends what waits, as far as the bucket allows, and what a probe under way needs besides.
    /// False when `outlet` has no more room.
    pub fn resume(&mut self, now: Now, tracks: &mut Tracks, outlet: &mut Outlet<'_>) -> bool {
        let Some(known) = &mut self.path.known else {
            return true;
        };
        known.bucket.fill(now.instant);
        let waiting = std::mem::take(&mut known.behind);
        let mut has_room = true;
        for behind in waiting {
            let Some(track) = tracks.get(behind.track) else {
                continue;
            };
            let is_beside = self.is_beside(behind.sending, track);
            let from = self.catch_up(now.instant, behind, track);
            if from != behind.position {
                let lost = from - behind.position;
                outlet.dropped.add(DropReason::TooOld, lost);
                outlet.drops.add(DropReason::TooOld, lost);
                if from == track.fresh {
                    if !is_beside {
                        tracks.want_key_frame(now.instant, behind.track);
                    }
                    continue;
                }
            }
            let Some(track) = tracks.get(behind.track) else {
                continue;
            };
            // Fresh packets come to everybody by the next pass: sent here too, they would go
            // out twice.
            let range = from..track.fresh;
            let reached = self.forward(behind.sending, behind.track, track, range, outlet);
            if reached < track.fresh {
                self.path.wait(behind.sending, behind.track, reached);
                has_room = false;
            }
        }
        self.pad(now, tracks, outlet);
        has_room
    }

    /// Tells the path what all that is sent comes to at present.
    pub fn settle_path(&mut self, now: Now, tracks: &Tracks) {
        let mut sums = Sums::default();
        let is_wanted = |s: &&Sending| s.is_taken() && s.switched_on;
        for sending in self.sendings.iter().filter(is_wanted) {
            let track = sending.track.and_then(|key| tracks.get(key));
            let mut sent_bps = track.map_or(0, |track| track.wire_bps(now.instant));
            let mut wanted_bps = sent_bps;
            if sending.layers.is_some() {
                let layers = tracks.layers(now.instant, &sending.info);
                let costs =
                    |target| choose(&layers, target, sending.max_height).map(|f| f.wire_bps);
                let is_known = |bps: &u64| *bps > 0;
                sent_bps = costs(sending.target).filter(is_known).unwrap_or(sent_bps);
                wanted_bps = costs(Target::Best).unwrap_or(0).max(sent_bps);
            }
            if sending.enabled {
                sums.sent_bps += sent_bps;
                sums.is_unknown |= track.is_some_and(|track| track.rate.is_unknown());
            }
            sums.wanted_bps += wanted_bps;
            sums.can_probe |= sending.can_probe();
        }
        self.path.settle(now.instant, sums);
    }

    /// True when subscription `sending` is sent something else than `track`: what waits of that
    /// one was left, or has not taken over yet.
    fn is_beside(&self, sending: usize, track: &Track) -> bool {
        let sending = self.sendings.get(sending);
        let source = sending.and_then(|sending| sending.rewriter.source());
        source.is_some_and(|source| source != track.source)
    }

    /// Where a subscription that waits goes on: where it is, or, when that is too old to be shown,
    /// at the latest key frame behind it, or at the end. What is left out leaves no hole in what is
    /// sent.
    fn catch_up(&mut self, now: Instant, behind: Behind, track: &Track) -> u64 {
        let end = track.fresh;
        let late = match track.history.at(behind.position) {
            Some((entry, _)) => {
                let waited = now.saturating_duration_since(entry.stored);
                let mut is_excused =
                    || self.has_begun(now, behind, track, entry.timestamp) || self.is_held_up(now);
                waited > MAX_WAIT && (waited > MAX_KEY_FRAME_WAIT || !is_excused())
            }
            None => true,
        };
        if !late || behind.position >= end {
            return behind.position;
        }
        let is_beside = self.is_beside(behind.sending, track);
        if let Some(sending) = self.sendings.get_mut(behind.sending) {
            if !is_beside {
                sending.rewriter.close();
            }
            sending.dropped += 1;
        }
        let mut from = end;
        for position in (behind.position..end).rev() {
            match track.history.at(position) {
                Some((entry, _)) if entry.marks.key_frame() => from = position,
                Some(_) if from != end => break,
                Some(_) => {}
                None => break,
            }
        }
        from
    }

    /// True within a key frame, at `timestamp`, of which something was sent: that was for nothing
    /// without the rest, and the next one would wait for as long.
    fn has_begun(
        &mut self,
        now: Instant,
        behind: Behind,
        track: &Track,
        timestamp: RtpTime,
    ) -> bool {
        let sending = self.sendings.get(behind.sending);
        let flows = sending.is_some_and(|s| s.rewriter.source() == Some(track.source));
        let sent = (0..behind.position).rev();
        let mut frame = sent
            .map_while(|position| track.history.at(position))
            .take_while(|(entry, _)| entry.timestamp == timestamp);
        let has_begun = flows && frame.any(|(entry, _)| entry.marks.key_frame());
        if let Some(known) = self.path.known.as_mut().filter(|_| has_begun) {
            known.held_up = Some(now);
        }
        has_begun
    }

    /// True for what has had no time yet since a key frame let it through.
    fn is_held_up(&self, now: Instant) -> bool {
        let until = self.path.known.as_ref().and_then(|known| known.held_up);
        until.is_some_and(|until| now.saturating_duration_since(until) <= MAX_WAIT)
    }

    /// Sends recent packets again as far as a probe needs them, or padding where there are none. A
    /// subscriber without RTX is not probed.
    fn pad(&mut self, now: Now, tracks: &Tracks, outlet: &mut Outlet<'_>) {
        for back in 0..MAX_PADDING {
            let Some(known) = &self.path.known else {
                return;
            };
            if known.estimator.padding_due(now.instant) == 0 || !outlet.egress.has_room_for(1) {
                return;
            }
            let is_probed = |s: &&mut Sending| s.is_taken() && s.switched_on && s.can_probe();
            // What flows has packets to send again.
            let probed = self.sendings.iter_mut().filter(is_probed);
            let Some(sending) = probed.max_by_key(|sending| sending.enabled) else {
                return;
            };
            let is_sent_again = sending.rewriter.highest_out().is_some_and(|highest| {
                let seq = SeqNo(highest as u16).plus(0_u16.wrapping_sub(back));
                let again = (seq, Again::Probe);
                sending
                    .write_again(now, tracks, again, &mut self.path, outlet)
                    .is_ok()
            });
            if !is_sent_again && sending.write_padding(&mut self.path, outlet).is_err() {
                return;
            }
        }
    }
}

/// Assumed of a path until it has told more: what browsers send to one another without asking.
const START_BPS: u64 = 1_000_000;

/// What is wanted of a path, in percent of what all would come to: what a step up needs to spare,
/// and what an estimate that is close enough may lack of it.
const WANTED_PERCENT: u64 = 125;
const _: () = assert!(WANTED_PERCENT as f64 / 100.0 >= UP_PERCENT as f64 / 100.0 * probe::MARGIN);

/// From this share of packets lost on, a listener hears it.
const REDUNDANT_FROM: f64 = 0.005;

/// Repairs are allowed for, and on a full path allowed, this share of what it takes (1 / n).
const REPAIRS_SHARE: u64 = 4;

/// What is sent is summed up anew so often: as often as layers are looked at.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// What a path takes is divided anew, at most so often, when it has fallen to this share of what it
/// was; else when layers are looked at.
const DIVIDE_EVERY: Duration = Duration::from_millis(50);
const FALLEN_PERCENT: u64 = 95;

/// This share of what is sent fills the bucket at least, so that nothing piles up because an
/// estimate is low.
const LEAST_PERCENT: u64 = 150;

/// Video that waits longer is left out up to the next key frame: the player would show it late or
/// not at all.
const MAX_WAIT: Duration = Duration::from_millis(400);

/// A key frame that was begun may take longer: a slide is many times as large as what is sent while
/// the screen is still. Cut, it would show nothing, and cost everybody another one; so would what
/// waits behind it, here and in other videos.
const MAX_KEY_FRAME_WAIT: Duration = Duration::from_secs(2);

/// More of either is not what a path that carries its load shows, a radio link's losses included.
const HARMFUL_LOSS: f64 = 0.05;
const HARMFUL_QUEUE_US: u32 = 100_000;

/// How often feedback may speak of one packet, on average: receivers do once, and again of what
/// came late.
const REPORTS_PER_PACKET: usize = 4;

/// Packets sent again for a probe at one go.
const MAX_PADDING: u16 = 16;

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
