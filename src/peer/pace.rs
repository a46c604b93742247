//! The path to one subscriber: what was sent under which transport-wide number, what the path
//! takes, and how far video is behind where that is less than what comes in.
//!
//! The queue of a subscriber that waits is a position in each track's history, no packets. Pacing
//! smooths and never polices: what is sent at all is decided by allocation, and the bucket is
//! always filled faster than the tracks that were chosen. `send.rs` asks before each packet;
//! `engine/pace.rs` comes back for those that wait.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::send::Outlet;
use super::subscriber::{Sending, Subscriber};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::seq::SeqNo;
use crate::bwe::bucket::Bucket;
use crate::bwe::estimator::Estimator;
use crate::model::layers::{Target, choose};
use crate::router::track::Track;
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
}

/// What is known of a path, and what waits for it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) estimator: Estimator,
    bucket: Bucket,
    behind: SmallVec<[Behind; 4]>,
    /// The engine has it among those to be served.
    is_listed: bool,
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
}

impl Path {
    /// Begins to remember what is sent.
    pub fn open(&mut self, now: Instant) {
        if self.known.is_none() {
            self.known = Some(Box::new(Known {
                estimator: Estimator::new(now, START_BPS),
                bucket: Bucket::default(),
                behind: SmallVec::new(),
                is_listed: false,
            }));
        }
    }

    /// What the path takes, bits per second; `None` while the subscriber has told nothing.
    pub fn estimate_bps(&self) -> Option<u64> {
        let known = self.known.as_ref()?;
        known.estimator.estimate_bps()
    }

    /// True once when it begins to be one that is served every few milliseconds: something waits,
    /// or a probe is being sent. It is listed until [`stays_listed`](Self::stays_listed) denies it.
    pub fn lists_anew(&mut self) -> bool {
        let Some(known) = self.known.as_mut().filter(|known| !known.is_listed) else {
            return false;
        };
        known.is_listed = known.is_impatient();
        known.is_listed
    }

    /// True while it is still to be served.
    pub fn stays_listed(&mut self) -> bool {
        let Some(known) = &mut self.known else {
            return false;
        };
        known.is_listed = known.is_impatient();
        known.is_listed
    }

    /// The subscriber's own estimate came.
    pub(super) fn handle_remb(&mut self, now: Instant, bps: u64) {
        self.open(now);
        if let Some(known) = &mut self.known {
            known.estimator.handle_remb(bps);
        }
    }

    /// Transport-wide feedback came.
    pub(super) fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        if let Some(known) = &mut self.known {
            known.estimator.handle_feedback(now, feedback);
            known.estimator.handle_timeout(now);
        }
    }

    /// The number of the packet that is being written.
    pub(super) fn take_seq(&mut self) -> u16 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        seq
    }

    /// The packet that took the latest number was written, `len` bytes.
    pub(super) fn record(&mut self, now: Instant, len: usize) {
        if let Some(known) = &mut self.known {
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
    pub(super) fn forget(&mut self, sending: usize) {
        if let Some(known) = &mut self.known {
            known.behind.retain(|behind| behind.sending != sending);
        }
    }

    /// Sets how fast the bucket fills, and what probes reach for: all that is sent comes to
    /// `sent_bps`, and would come to `wanted_bps` if all of it fitted.
    pub(super) fn settle(&mut self, now: Instant, sent_bps: u64, wanted_bps: u64) {
        let Some(known) = &mut self.known else {
            return;
        };
        if wanted_bps > 0 {
            let headers_too = wanted_bps * WANTED_PERCENT / 100;
            known.estimator.set_wanted(headers_too);
            let estimate = known.estimator.estimate_bps();
            let least = sent_bps * LEAST_PERCENT / 100;
            known
                .bucket
                .set_estimate(estimate.map(|bps| bps.max(least)));
        }
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
            let from = self.catch_up(now.instant, behind, track);
            if from != behind.position {
                let lost = from - behind.position;
                outlet.dropped.add(DropReason::TooOld, lost);
                if from == track.history.end() {
                    tracks.want_key_frame(now.instant, behind.track);
                    continue;
                }
            }
            let Some(track) = tracks.get(behind.track) else {
                continue;
            };
            let reached = self.forward(behind.sending, behind.track, track, from, outlet);
            if reached < track.history.end() {
                self.path.wait(behind.sending, behind.track, reached);
                has_room = false;
            }
        }
        self.pad(now, tracks, outlet);
        has_room
    }

    /// Tells the path what all that is sent comes to at present.
    pub(super) fn settle_path(&mut self, now: Now, tracks: &Tracks) {
        let (mut sent_bps, mut wanted_bps) = (0, 0);
        for sending in self.sendings.iter().filter(|s| s.is_in_use() && s.enabled) {
            let track = sending.track.and_then(|key| tracks.get(key));
            let bps = track.map_or(0, |track| track.rate.latest_bps());
            let best = sending.layers.as_ref().and_then(|_| {
                let layers = tracks.layers(now.instant, &sending.info);
                choose(&layers, Target::Best, sending.max_height)
            });
            sent_bps += bps;
            wanted_bps += best.map_or(bps, |best| best.bps.max(bps));
        }
        self.path.settle(now.instant, sent_bps, wanted_bps);
    }

    /// Where a subscription that waits goes on: where it is, or, when that is too old to be shown,
    /// at the latest key frame behind it, or at the end. What is left out is whole frames, and
    /// leaves no hole in what is sent.
    fn catch_up(&mut self, now: Instant, behind: Behind, track: &Track) -> u64 {
        let end = track.history.end();
        let late = match track.history.at(behind.position) {
            Some((entry, _)) => now.saturating_duration_since(entry.stored) > MAX_WAIT,
            None => true,
        };
        if !late || behind.position >= end {
            return behind.position;
        }
        if let Some(sending) = self.sendings.get_mut(behind.sending) {
            sending.rewriter.close();
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

    /// Sends recent packets again as far as a probe needs them. A subscriber without RTX is not
    /// probed.
    fn pad(&mut self, now: Now, tracks: &Tracks, outlet: &mut Outlet<'_>) {
        for back in 0..MAX_PADDING {
            let Some(known) = &self.path.known else {
                return;
            };
            if known.estimator.padding_due(now.instant) == 0 || !outlet.egress.has_room_for(1) {
                return;
            }
            let carries = |s: &&mut Sending| {
                s.enabled && s.info.kind == MediaKind::Video && s.stream.rtx.is_some()
            };
            let Some(sending) = self.sendings.iter_mut().find(carries) else {
                return;
            };
            let Some(highest) = sending.rewriter.highest_out() else {
                return;
            };
            let seq = SeqNo(highest as u16).plus(0_u16.wrapping_sub(back));
            if sending
                .write_again(now, tracks, seq, &mut self.path, outlet)
                .is_err()
            {
                return;
            }
        }
    }
}

/// Assumed of a path until it has told more: what browsers send to one another without asking.
const START_BPS: u64 = 1_000_000;

/// What is wanted of a path, in percent of the payload: headers, and room for a rate that wavers.
const WANTED_PERCENT: u64 = 115;

/// Twice this share of what is sent fills the bucket at least, so that nothing piles up because
/// an estimate is low.
const LEAST_PERCENT: u64 = 75;

/// Video that waits longer is left out up to the next key frame: the player would show it late or
/// not at all.
const MAX_WAIT: Duration = Duration::from_millis(400);

/// Packets sent again for a probe at one go.
const MAX_PADDING: u16 = 16;
