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
use crate::base::seq::SeqNo;
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
                is_listed: false,
                sent_bps: 0,
                settled: None,
                resent: Rate::default(),
                divided: None,
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
    pub(super) fn forget(&mut self, sending: usize) {
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
        if sums.wanted_bps > 0 {
            let wanted_bps = sums.wanted_bps * WANTED_PERCENT / 100;
            known.estimator.set_wanted(wanted_bps);
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
            let from = self.catch_up(now.instant, behind, track);
            if from != behind.position {
                let lost = from - behind.position;
                outlet.dropped.add(DropReason::TooOld, lost);
                outlet.drops.add(DropReason::TooOld, lost);
                if from == track.fresh {
                    tracks.want_key_frame(now.instant, behind.track);
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
        let is_wanted = |s: &&Sending| s.is_in_use() && s.switched_on;
        for sending in self.sendings.iter().filter(is_wanted) {
            let track = sending.track.and_then(|key| tracks.get(key));
            let mut sent_bps = track.map_or(0, |track| track.rate.latest_wire_bps());
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
        }
        self.path.settle(now.instant, sums);
    }

    /// Where a subscription that waits goes on: where it is, or, when that is too old to be shown,
    /// at the latest key frame behind it, or at the end. What is left out is whole frames, and
    /// leaves no hole in what is sent.
    fn catch_up(&mut self, now: Instant, behind: Behind, track: &Track) -> u64 {
        let end = track.fresh;
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
            let is_probed = |s: &&mut Sending| {
                let is_wanted = s.is_in_use() && s.switched_on && s.transport_cc;
                is_wanted && s.info.kind == MediaKind::Video && s.stream.rtx.is_some()
            };
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

/// More of either is not what a path that carries its load shows, a radio link's losses included.
const HARMFUL_LOSS: f64 = 0.05;
const HARMFUL_QUEUE_US: u32 = 100_000;

/// Packets sent again for a probe at one go.
const MAX_PADDING: u16 = 16;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::codec::Codec;
    use crate::base::egress::{Egress, Route};
    use crate::base::extension::ExtensionMap;
    use crate::base::fault::DropCounters;
    use crate::base::ids::{Mid, Pt, Ssrc, TrackId, WorkerId};
    use crate::base::limits::MAX_DATAGRAM_LEN;
    use crate::base::seq::RtpTime;
    use crate::model::layers::Marks;
    use crate::model::track::TrackInfo;
    use crate::peer::send::Sent;
    use crate::peer::subscriber::SendingState;
    use crate::router::history::Stored;
    use crate::router::rewrite::Rewriter;
    use crate::rtp::{RtpHeader, canonical};
    use crate::sdp::SessionVersion;
    use crate::srtp::{MasterKey, Profile, Protect};
    use crate::stream::send::SendStream;

    /// A track, a subscriber of it whose path takes 1 Mbit/s, and where its packets go.
    struct Bench {
        now: Now,
        tracks: Tracks,
        key: TrackKey,
        subscriber: Subscriber,
        protect: Protect,
        egress: Egress,
        dropped: DropCounters,
        drops: DropCounters,
        sent: Sent,
        next_seq: u64,
        payload_len: usize,
    }

    impl Bench {
        fn new() -> Self {
            let now = test_now();
            let info = TrackInfo {
                id: TrackId {
                    origin: WorkerId(0),
                    serial: 0,
                },
                kind: MediaKind::Video,
                codec: Codec::Vp8,
                fmtp: "".into(),
                pt: Pt(96),
                rtx_pt: None,
                red: false,
                encodings: 1,
            };
            let mut tracks = Tracks::default();
            let key = tracks.insert(Track::new(now.instant, info.clone()));
            let mut subscriber = Subscriber::new(now, SessionVersion { id: 1, version: 1 });
            subscriber.add_sending(Sending {
                mid: Mid::new("0").unwrap(),
                label: "s".into(),
                info,
                track: Some(key),
                layers: None,
                target: Target::Best,
                short_since: None,
                max_height: 0,
                stream: SendStream::new(Ssrc(1), None),
                rewriter: Rewriter::new(0x1_0000),
                state: SendingState::Flowing,
                enabled: true,
                switched_on: true,
                dropped: 0,
                transport_cc: true,
                takes_red: false,
                pt: None,
                ids: None,
                last_stored: None,
                cname: String::new(),
            });
            subscriber.path.handle_remb(now.instant, 1_000_000);
            let sums = Sums {
                sent_bps: 1_000_000,
                wanted_bps: 1_000_000,
                is_unknown: false,
            };
            subscriber.path.settle(now.instant, sums);
            let master = MasterKey::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).unwrap();
            Self {
                now,
                tracks,
                key,
                subscriber,
                protect: Protect::new(&master).unwrap(),
                egress: Egress::default(),
                dropped: DropCounters::default(),
                drops: DropCounters::default(),
                sent: Sent::default(),
                next_seq: 0x1_0000,
                payload_len: 1000,
            }
        }

        fn store(&mut self, packets: u64, key_frame: bool) {
            let track = self.tracks.get_mut(self.key).unwrap();
            for n in 0..packets {
                let seq = self.next_seq;
                self.next_seq += 1;
                let mut packet = [0; 12];
                packet[0] = 0x80;
                let slot = track.history.slot(self.now.instant, 1440).unwrap();
                let source = canonical::Source {
                    packet: &packet,
                    header: &RtpHeader::parse(&packet).unwrap(),
                    payload: &[0x5a; 1000][..self.payload_len],
                    extensions: &ExtensionMap::default(),
                    pt: Pt(96),
                    seq: SeqNo(seq as u16),
                    marker: false,
                };
                let layout = canonical::write(slot, source).unwrap();
                let stored = Stored {
                    seq,
                    timestamp: RtpTime(seq as u32),
                    len: layout.len,
                    header_len: layout.header_len,
                    transport_seq_at: layout.transport_seq_at,
                    marks: Marks::base(key_frame && n == 0),
                };
                track.store(self.now.instant, stored);
            }
        }

        /// Forwards from position `from`, or resumes; returns the packets written.
        fn serve(&mut self, from: Option<u64>) -> u64 {
            let before = self.sent.packets;
            let route = Route::udp(SocketAddr::from(([127, 0, 0, 1], 5000)), None);
            let mut outlet = Outlet {
                now: self.now.instant,
                route,
                protect: &self.protect,
                egress: &mut self.egress,
                dropped: &mut self.dropped,
                drops: &mut self.drops,
                sent: &mut self.sent,
            };
            match from {
                Some(from) => {
                    let track = self.tracks.get(self.key).unwrap();
                    let end = track.history.end();
                    let reached =
                        self.subscriber
                            .forward(0, self.key, track, from..end, &mut outlet);
                    assert_eq!(reached, end);
                    self.tracks.get_mut(self.key).unwrap().fresh = end;
                }
                None => {
                    let tracks = &mut self.tracks;
                    assert!(self.subscriber.resume(self.now, tracks, &mut outlet));
                }
            }
            self.egress.clear();
            self.sent.packets - before
        }

        /// What bringing along the payload before it adds to the newest packet, which was sent
        /// last.
        fn repeated_len(&self) -> usize {
            let track = self.tracks.get(self.key).unwrap();
            let sending = &self.subscriber.sendings[0];
            let (entry, packet) = track.history.at(track.history.end() - 1).unwrap();
            let mut slot = [0; MAX_DATAGRAM_LEN];
            slot[..packet.len()].copy_from_slice(packet);
            let out = sending.rewriter.highest_out().unwrap();
            let from = (usize::from(entry.header_len), packet.len());
            let end = sending.repeat(&mut slot, track, (entry, out), from);
            end - packet.len()
        }

        fn pass(&mut self, ms: u64) {
            self.now = self.now.after(Duration::from_millis(ms));
        }
    }

    #[test]
    fn a_large_frame_waits_in_the_history_and_is_sent_in_order_a_burst_at_a_time() {
        let mut bench = Bench::new();
        bench.pass(100);
        bench.store(40, true);
        let at_once = bench.serve(Some(0));
        assert!((1..=4).contains(&at_once), "{at_once}");
        assert!(bench.subscriber.path.lists_anew());
        assert!(!bench.subscriber.path.lists_anew(), "once");
        // What comes meanwhile goes behind it.
        bench.store(2, false);
        assert_eq!(bench.serve(Some(40)), 0);
        let (mut sent, mut ticks) = (at_once, 0);
        while bench.subscriber.path.stays_listed() {
            bench.pass(4);
            let burst = bench.serve(None);
            assert!(burst <= 2, "{burst}");
            sent += burst;
            ticks += 1;
        }
        assert_eq!(sent, 42);
        // 42 kB at 2 Mbit/s.
        assert!((35..60).contains(&ticks), "{ticks}");
        assert_eq!(bench.dropped.get(DropReason::TooOld), 0);
    }

    /// The pass that brings fresh packets to everybody would send them a second time, under the
    /// same numbers.
    #[test]
    fn fresh_packets_are_left_to_the_pass_that_sends_them_to_everybody() {
        let mut bench = Bench::new();
        bench.pass(100);
        bench.store(40, true);
        let mut sent = bench.serve(Some(0));
        bench.store(3, false);
        for _ in 0..50 {
            bench.pass(4);
            sent += bench.serve(None);
        }
        assert_eq!(sent, 40);
        assert!(!bench.subscriber.path.stays_listed());
        bench.pass(4);
        sent += bench.serve(Some(40));
        while bench.subscriber.path.lists_anew() || bench.subscriber.path.stays_listed() {
            bench.pass(4);
            sent += bench.serve(None);
        }
        assert_eq!(sent, 43);
    }

    #[test]
    fn what_waits_when_the_publisher_switches_its_track_off_is_not_sent() {
        let mut bench = Bench::new();
        bench.pass(100);
        bench.store(40, true);
        let at_once = bench.serve(Some(0));
        bench.store(2, false);
        let key = bench.key;
        let track = bench.tracks.get_mut(key).unwrap();
        track.switch(false, 0);
        track.fresh = track.history.end();
        for _ in 0..50 {
            bench.pass(4);
            assert_eq!(bench.serve(None), 0);
        }
        assert!(!bench.subscriber.path.stays_listed());
        assert_eq!(bench.dropped.get(DropReason::Disabled), 42 - at_once);
    }

    #[test]
    fn what_is_too_late_is_left_out_up_to_the_latest_key_frame() {
        let mut bench = Bench::new();
        bench.pass(100);
        bench.store(40, true);
        let at_once = bench.serve(Some(0));
        bench.store(20, false);
        bench.pass(500);
        bench.store(10, true);
        bench.serve(Some(60));
        bench.serve(None);
        let skipped = bench.dropped.get(DropReason::TooOld);
        assert_eq!(skipped, 60 - at_once);
        while bench.subscriber.path.stays_listed() {
            bench.pass(4);
            bench.serve(None);
        }
        assert_eq!(bench.sent.packets, at_once + 10);
        // No hole: the numbers go on where they were.
        let highest = bench.subscriber.sendings[0].rewriter.highest_out();
        assert_eq!(highest, Some(0x1_0000 + at_once + 10 - 1));
    }

    #[test]
    fn what_is_sent_twice_was_sent_once() {
        let mut bench = Bench::new();
        bench.payload_len = 200;
        bench.store(1, true);
        bench.serve(Some(0));
        assert_eq!(bench.repeated_len(), 0, "nothing was before it");
        bench.store(1, false);
        bench.serve(Some(1));
        assert_eq!(bench.repeated_len(), 5 + 200);
        // Switched off for one packet, which nobody is to get later either.
        bench.subscriber.sendings[0].rewriter.close();
        bench.store(1, false);
        bench.store(1, true);
        bench.serve(Some(3));
        assert_eq!(bench.repeated_len(), 0);
        bench.payload_len = 400;
        bench.store(2, false);
        bench.serve(Some(4));
        assert_eq!(bench.repeated_len(), 0, "too long to be sent twice");
    }

    #[test]
    fn without_a_key_frame_behind_one_is_asked_for() {
        let mut bench = Bench::new();
        bench.pass(100);
        bench.store(40, true);
        bench.serve(Some(0));
        bench.pass(500);
        assert_eq!(bench.serve(None), 0);
        assert!(!bench.subscriber.path.stays_listed());
        let mut wanted = Vec::new();
        bench.pass(2000);
        bench.tracks.poll_key_frames(bench.now.instant, &mut wanted);
        assert_eq!(wanted, [bench.key]);
    }
}
