//! How much one subscriber's path takes: transport-wide feedback in, a bitrate out.
//!
//! draft-ietf-rmcat-gcc-02, at the sender: delay (`trend`, `rate`), loss (`loss`) and probes
//! (`probe`) combined; without transport-wide feedback the receiver's own estimate
//! (draft-alvestrand-rmcat-remb-03). Sends nothing and picks no layers. Called by `peer/`: for
//! each packet sent, for each feedback packet, and when its timers run.

use std::time::Instant;

use super::acknowledged::Acknowledged;
use super::calm::Calm;
use super::loss::{Counts, LossControl};
use super::probe::{Prober, Proved, Situation};
use super::queue::Queue;
use super::rate::{Observed, RateControl};
use super::sent::SentRing;
use super::trend::{Trend, Usage};
use crate::base::limits::{MAX_ESTIMATE_BPS, MIN_ESTIMATE_BPS};
use crate::rtcp::transport_feedback::TransportFeedback;

/// The estimate of one path. Rates are those on the wire: [`OVERHEAD_LEN`] bytes per packet are
/// added to what the caller counts.
///
/// Feeding and asking allocate nothing, but for the records that grow with the packet rate.
#[derive(Debug)]
pub struct Estimator {
    sent: SentRing,
    trend: Trend,
    queue: Queue,
    acknowledged: Acknowledged,
    rate: RateControl,
    loss: LossControl,
    calm: Calm,
    prober: Prober,
    activity: Activity,
    clock: ReceiverClock,
    /// Count of the latest feedback packet; `None` before the first.
    feedback_count: Option<u8>,
    feedback_us: i64,
    /// When the first packet behind the latest feedback was sent; `None`: nothing waits for any.
    unanswered_us: Option<i64>,
    /// Packets sent before took another path.
    path_since_us: i64,
    starved_us: i64,
    rtt_us: Option<i64>,
    /// The receiver's own estimate, used while there is no feedback.
    remb_bps: Option<u64>,
    wanted_bps: f64,
    can_probe: bool,
    /// When a probe was last believed, and what it proved.
    believed: Option<(i64, f64)>,
}

impl Estimator {
    /// Begins at `start_bps`, which is what is assumed until the first feedback.
    pub fn new(now: Instant, start_bps: u64) -> Self {
        let start_bps = start_bps.clamp(MIN_ESTIMATE_BPS, MAX_ESTIMATE_BPS) as f64;
        Self {
            sent: SentRing::new(now),
            trend: Trend::default(),
            queue: Queue::default(),
            acknowledged: Acknowledged::default(),
            rate: RateControl::new(start_bps),
            loss: LossControl::default(),
            calm: Calm::default(),
            prober: Prober::default(),
            activity: Activity::default(),
            clock: ReceiverClock::default(),
            feedback_count: None,
            feedback_us: 0,
            unanswered_us: None,
            path_since_us: 0,
            starved_us: 0,
            rtt_us: None,
            remb_bps: None,
            wanted_bps: start_bps,
            can_probe: true,
            believed: None,
        }
    }

    /// The estimate in bits per second, [`MIN_ESTIMATE_BPS`]..=[`MAX_ESTIMATE_BPS`]; `None` while
    /// the receiver has told nothing.
    pub fn estimate_bps(&self) -> Option<u64> {
        if self.feedback_count.is_some() {
            return Some(self.combined_bps() as u64);
        }
        self.remb_bps
            .map(|bps| bps.clamp(MIN_ESTIMATE_BPS, MAX_ESTIMATE_BPS))
    }

    /// What would be sent if the path took it, bits per second: probes reach for that.
    pub fn set_wanted(&mut self, bps: u64) {
        self.wanted_bps = bps as f64;
    }

    /// Whether there is anything to make probes of. Where there is not, the estimate rises to what
    /// is wanted by itself.
    pub fn set_can_probe(&mut self, can_probe: bool) {
        self.can_probe = can_probe;
    }

    /// Round trip with the receiver's wait for the next feedback, in microseconds; `None` before
    /// the first.
    pub fn rtt_us(&self) -> Option<u32> {
        self.rtt_us.map(|us| u32::try_from(us).unwrap_or(u32::MAX))
    }

    /// What waits on the path, in microseconds; 0 when nothing has told of it for long.
    pub fn queue_us(&self) -> u32 {
        u32::try_from(self.queue.delay_us()).unwrap_or(u32::MAX)
    }

    /// True while whole frames may go out at once: the path carries all that is wanted of it, and
    /// has lost nothing for a while.
    pub fn allows_bursts(&self, now: Instant) -> bool {
        self.combined_bps() >= self.wanted_bps * BURSTS_FROM && self.calm.allows_bursts(now)
    }

    /// Share of the packets that the latest reports call lost, 0..=1.
    pub fn loss(&self) -> f64 {
        self.loss.fraction()
    }

    /// Share of the packets lost over the last seconds, 0..=1.
    pub fn average_loss(&self) -> f64 {
        self.loss.average()
    }

    /// What the receiver confirms to arrive, bits per second; `None` before the first window.
    pub fn acknowledged_bps(&self) -> Option<u64> {
        self.acknowledged.bps().map(|bps| bps as u64)
    }

    /// Reads what recording packet `seq` begins with; the value means nothing.
    pub fn touch(&self, seq: u16) -> usize {
        self.sent.touch(seq) ^ self.activity.len as usize
    }

    /// A packet of `len` bytes was sent under the transport-wide number `seq`.
    pub fn record_sent(&mut self, now: Instant, seq: u16, len: usize) {
        let now_us = self.sent.turn_us(now);
        let len = len + OVERHEAD_LEN;
        self.sent.record(now_us, seq, len, self.prober.id());
        self.prober.sent(now_us, len);
        self.activity.len += len as u64;
        self.unanswered_us.get_or_insert(now_us);
    }

    /// The receiver's own estimate came.
    pub fn handle_remb(&mut self, bps: u64) {
        self.remb_bps = Some(bps);
    }

    /// What is sent from here on takes another path: its delays are not those of the path before,
    /// and what it carries is to be found out soon.
    pub fn handle_new_path(&mut self, now: Instant) {
        let now_us = self.sent.us(now);
        self.path_since_us = now_us;
        self.trend.restart();
        self.queue = Queue::default();
        self.acknowledged.skip();
        self.prober.hurry(now_us);
    }

    /// One feedback packet came.
    ///
    /// Of packets that no feedback speaks of nothing is concluded: lost feedback is not lost media.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let now_us = self.sent.us(now);
        let expected = self.feedback_count.map(|count| count.wrapping_add(1));
        if expected.is_some_and(|count| count != feedback.feedback_count) {
            self.acknowledged.skip();
        }
        self.feedback_count = Some(feedback.feedback_count);
        self.feedback_us = now_us;
        self.unanswered_us = None;
        self.starved_us = now_us;
        let origin_us = self.clock.origin_us(feedback.reference_time);
        let mut counts = Counts {
            confirmed_bps: self.acknowledged.bps().unwrap_or(0.0),
            ..Counts::default()
        };
        let mut newest_us = None;
        let mut proved = None;
        for (seq, tick) in feedback.arrivals() {
            let Some(tick) = tick else {
                counts.lost += u32::from(self.sent.lose(seq));
                continue;
            };
            let Some(packet) = self.sent.acknowledge(now_us, seq) else {
                continue;
            };
            counts.received += u32::from(!packet.was_lost);
            counts.mistaken += u32::from(packet.was_lost);
            newest_us = newest_us.max(Some(packet.sent_us));
            let arrival_us = origin_us + tick * TICK_US;
            if packet.sent_us >= self.path_since_us {
                self.trend.add(packet.sent_us, arrival_us);
                self.queue.add(packet.sent_us, arrival_us);
            }
            let limited = self.activity.limited;
            self.acknowledged.add(arrival_us, packet.len, limited);
            if packet.probe != 0 {
                let now_proved = self.prober.acknowledge(now_us, &packet, arrival_us);
                proved = now_proved.or(proved);
            }
        }
        if let Some(newest_us) = newest_us {
            self.measure_rtt(now_us - newest_us);
        }
        self.calm.handle_feedback(now, counts.lost);
        self.conclude(now_us, counts, proved);
    }

    /// Runs what depends on time alone: the start of probes, and the fall while feedback stays
    /// away. To be called at least every few hundred milliseconds, during a probe every few.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_us = self.sent.us(now);
        self.activity.roll(now_us, self.combined_bps());
        self.starve(now_us);
        if now_us - self.feedback_us > STALE_US {
            // What is not sent is not reported on: a verdict that stayed would forbid the probes
            // that alone could change it.
            self.trend.restart();
            self.queue.forget_present();
        }
        let proved = self.prober.give_up(now_us);
        self.take_proof(now_us, proved, self.observed(now_us));
        let congested = self.observed(now_us).verdict() == Usage::Over
            || self.rate.cut_us().is_some_and(|at| now_us - at < QUIET_US);
        let situation = Situation {
            estimate_bps: self.combined_bps(),
            wanted_bps: self.wanted_bps,
            congested,
        };
        if self.feedback_count.is_some() && self.can_probe {
            self.prober.poll(now_us, situation);
        }
    }

    /// True while a probe is being sent: [`padding_due`](Self::padding_due) wants to be asked
    /// every few milliseconds.
    pub fn is_probing(&self) -> bool {
        self.prober.id() != 0
    }

    /// Bytes of padding or repeated packets to send at `now`, so that a probe has its rate.
    pub fn padding_due(&self, now: Instant) -> usize {
        self.prober.padding_due(self.sent.us(now))
    }

    fn combined_bps(&self) -> f64 {
        let bps = self.loss.bounded(self.rate.bps());
        bps.clamp(MIN_ESTIMATE_BPS as f64, MAX_ESTIMATE_BPS as f64)
    }

    fn observed(&self, now_us: i64) -> Observed {
        let acknowledged_bps = self.confirmed_bps(now_us);
        let arrives = acknowledged_bps.is_none_or(|bps| bps >= self.activity.bps * ARRIVES);
        Observed {
            usage: self.trend.usage(),
            acknowledged_bps,
            latest_bps: self.acknowledged.latest_bps(),
            rtt_us: self.rtt_us.unwrap_or(START_RTT_US),
            queue_us: self.queue.delay_us(),
            limited: self.activity.limited,
            untried_bps: match self.can_probe {
                true => 0.0,
                false => self.wanted_bps,
            },
            exceeded: self.activity.exceeded && !arrives,
        }
    }

    fn measure_rtt(&mut self, sample_us: i64) {
        let before = self.rtt_us.unwrap_or(sample_us);
        self.rtt_us = Some(before + (sample_us - before) / 8);
    }

    fn conclude(&mut self, now_us: i64, counts: Counts, proved: Option<Proved>) {
        self.activity.roll(now_us, self.combined_bps());
        let observed = self.observed(now_us);
        let rtt_us = observed.rtt_us;
        let cut = self.rate.update(now_us, observed);
        if cut && observed.limited {
            self.prober.hurry(now_us);
        }
        if cut
            && self
                .believed
                .is_some_and(|(at_us, _)| now_us - at_us < PROOF_US)
        {
            self.prober.doubt();
        }
        self.loss
            .update(now_us, counts, rtt_us, self.combined_bps());
        self.take_proof(now_us, proved, observed);
    }

    fn take_proof(&mut self, now_us: i64, proved: Option<Proved>, observed: Observed) {
        let Some(proved) = proved else {
            return;
        };
        // A probe that filled the link says how wide it is only to one who has it to himself.
        let believed = proved.kept_up || observed.limited;
        if !believed || observed.verdict() == Usage::Over {
            return;
        }
        // The loss that lowered the bound is over: without this, probe after probe would prove what
        // the bound gives back at its own slow pace.
        self.loss.lift(proved.bps);
        if proved.bps > self.rate.bps() {
            self.rate.set(now_us, proved.bps);
            self.believed = Some((now_us, proved.bps));
        }
    }

    /// What arrives, or for a moment what a probe has proved would: the media follows later.
    fn confirmed_bps(&self, now_us: i64) -> Option<f64> {
        let acknowledged = self.acknowledged.bps();
        match self.believed {
            Some((at_us, bps)) if now_us - at_us < BELIEVED_US => {
                Some(acknowledged.unwrap_or(bps).max(bps * BELIEVED))
            }
            Some(_) | None => acknowledged,
        }
    }

    /// Without feedback for long, something on the path is worse than any estimate says. Where
    /// little is sent there is little to answer: a pause begins the wait anew.
    fn starve(&mut self, now_us: i64) {
        if !self.activity.recently {
            self.unanswered_us = None;
        }
        let patience_us = STARVED_US.max(3 * self.rtt_us.unwrap_or(0));
        let waits = |since_us| now_us - since_us > patience_us;
        let is_starved = self.feedback_count.is_some() && self.unanswered_us.is_some_and(waits);
        if is_starved && now_us - self.starved_us > STARVED_STEP_US {
            self.starved_us = now_us;
            self.rate.set(now_us, self.rate.bps() * STARVED_CUT);
        }
    }
}

/// How much is sent of what could be.
#[derive(Debug, Default)]
struct Activity {
    began_us: i64,
    len: u64,
    /// What was sent, bits per second.
    bps: f64,
    limited: bool,
    /// More was sent than the estimate allows.
    exceeded: bool,
    recently: bool,
}

impl Activity {
    fn roll(&mut self, now_us: i64, estimate_bps: f64) {
        let passed_us = now_us - self.began_us;
        if passed_us < ACTIVITY_US {
            return;
        }
        self.bps = self.len as f64 * 8e6 / passed_us as f64;
        let share = self.bps / estimate_bps.max(1.0);
        self.limited = if self.limited {
            share < NOT_LIMITED
        } else {
            share < LIMITED
        };
        self.exceeded = share > EXCEEDED;
        self.recently = self.len > 0;
        self.began_us = now_us;
        self.len = 0;
    }
}

/// Unwraps reference times: 24 bits of 64 ms.
#[derive(Debug, Default)]
struct ReceiverClock {
    latest: Option<(i32, i64)>,
}

impl ReceiverClock {
    /// What is to be added to a tick's time so that the wrap does not show, in microseconds.
    fn origin_us(&mut self, reference: i32) -> i64 {
        let unwrapped = match self.latest {
            None => i64::from(reference),
            Some((before, unwrapped)) => {
                let step = reference.wrapping_sub(before) << 8 >> 8;
                unwrapped + i64::from(step)
            }
        };
        self.latest = Some((reference, unwrapped));
        (unwrapped - i64::from(reference)) * REFERENCE_US
    }
}

/// IPv4 and UDP headers: what a link carries besides the datagram.
pub const OVERHEAD_LEN: usize = 28;

/// Share of what is wanted that an estimate has to reach: below it the path is what limits.
const BURSTS_FROM: f64 = 0.8;

/// Microseconds per tick of an arrival, and per unit of the reference time.
const TICK_US: i64 = 250;
const REFERENCE_US: i64 = 64_000;

/// Assumed until the first feedback.
const START_RTT_US: i64 = 200_000;

/// A probe counts as if so much of it arrived all the time, for so long.
const BELIEVED_US: i64 = 1_000_000;
const BELIEVED: f64 = 0.9;

/// A cut so soon after a probe was believed says that it was wrong.
const PROOF_US: i64 = 4_000_000;

/// No probe so soon after a cut: the queue is not empty yet.
const QUIET_US: i64 = 2_000_000;

/// Feedback comes at least every 250 ms; silence this long is a fault of the path.
const STARVED_US: i64 = 1_000_000;
const STARVED_STEP_US: i64 = 500_000;
const STARVED_CUT: f64 = 0.8;

/// A path that nothing was heard of for so long is not called full any more.
const STALE_US: i64 = 2_000_000;

/// Span over which the share sent is measured, and the shares between which it counts as limited.
const ACTIVITY_US: i64 = 500_000;
const LIMITED: f64 = 0.65;
const NOT_LIMITED: f64 = 0.8;

/// From this share on, a queue is the sender's own fault, unless this share of what is sent
/// arrives: then the queue is not longer for it.
const EXCEEDED: f64 = 1.05;
const ARRIVES: f64 = 0.95;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::bytes::Writer;
    use crate::base::clock::tests::test_now;
    use crate::base::ids::Ssrc;
    use crate::bwe::arrivals::Arrivals;
    use crate::rtcp::{Compound, Packet};

    /// A sender, a link of one rate with an endless queue, and a receiver.
    struct Path {
        estimator: Estimator,
        start: Instant,
        arrivals: Arrivals,
        flight: Vec<(u64, u16)>,
        free_us: u64,
        /// How long packets take behind the link.
        way_us: u64,
        seq: u16,
        feedback: u64,
    }

    impl Path {
        fn new(start_bps: u64) -> Self {
            let start = test_now().instant;
            Self {
                estimator: Estimator::new(start, start_bps),
                start,
                arrivals: Arrivals::default(),
                flight: Vec::new(),
                free_us: 0,
                way_us: 20_000,
                seq: 65_000,
                feedback: 0,
            }
        }

        fn at(&self, us: u64) -> Instant {
            self.start + Duration::from_micros(us)
        }

        fn send(&mut self, us: u64, link_bps: u64, lost: bool) {
            let len = 1000;
            self.estimator.record_sent(self.at(us), self.seq, len);
            if !lost {
                let wire = (len + OVERHEAD_LEN) as u64;
                self.free_us = self.free_us.max(us) + wire * 8_000_000 / link_bps;
                self.flight.push((self.free_us + self.way_us, self.seq));
            }
            self.seq = self.seq.wrapping_add(1);
        }

        /// Delivers what has arrived by `us` and, unless `feedback_lost`, reports it.
        fn report(&mut self, us: u64, feedback_lost: bool) {
            let start = self.start;
            let arrivals = &mut self.arrivals;
            self.flight.retain(|&(at_us, seq)| {
                let arrived = at_us <= us;
                if arrived {
                    arrivals.record(seq, start + Duration::from_micros(at_us));
                }
                !arrived
            });
            let mut buf = [0; 1200];
            let mut w = Writer::new(&mut buf);
            if self
                .arrivals
                .write_feedback(&mut w, Ssrc(1), Ssrc(2))
                .is_none()
                || feedback_lost
            {
                return;
            }
            self.feedback += 1;
            let len = w.len();
            let Some(Ok(Packet::TransportFeedback(feedback))) = Compound::new(&buf[..len]).next()
            else {
                panic!("feedback");
            };
            let now = self.at(us);
            self.estimator.handle_feedback(now, &feedback);
        }

        /// For `seconds`, sends at the estimate (or at `fixed`) through a link of `link_bps`.
        fn run(&mut self, from_s: u64, seconds: u64, link_bps: u64, with: With) -> u64 {
            let mut budget = 0.0;
            for ms in from_s * 1000..(from_s + seconds) * 1000 {
                let us = ms * 1000;
                let now = self.at(us);
                if ms.is_multiple_of(20) {
                    self.estimator.handle_timeout(now);
                }
                let estimate = self.estimator.estimate_bps().unwrap_or(300_000);
                budget += with.fixed_bps.unwrap_or(estimate) as f64 / 8000.0;
                if self.estimator.padding_due(now) > 0 {
                    budget = budget.max(1028.0);
                }
                while budget >= 1028.0 {
                    let lost = with
                        .lose_every
                        .is_some_and(|every| self.seq.is_multiple_of(every));
                    self.send(us, link_bps, lost);
                    budget -= 1028.0;
                }
                if ms.is_multiple_of(50) {
                    let lost = with
                        .feedback_lost
                        .is_some_and(|every| !(ms / 50).is_multiple_of(every));
                    self.report(us, lost);
                }
            }
            self.estimator.estimate_bps().unwrap()
        }
    }

    #[derive(Clone, Copy, Default)]
    struct With {
        fixed_bps: Option<u64>,
        lose_every: Option<u16>,
        feedback_lost: Option<u64>,
    }

    #[test]
    fn finds_the_links_rate_and_follows_it_down_and_up() {
        let mut path = Path::new(300_000);
        assert_eq!(path.estimator.estimate_bps(), None);
        path.estimator.set_wanted(5_000_000);
        let bps = path.run(0, 10, 2_000_000, With::default());
        assert!((1_600_000..2_200_000).contains(&bps), "{bps}");
        let bps = path.run(10, 5, 600_000, With::default());
        assert!((450_000..700_000).contains(&bps), "{bps}");
        let bps = path.run(15, 10, 2_000_000, With::default());
        assert!((1_500_000..2_200_000).contains(&bps), "{bps}");
        assert!(path.estimator.rtt_us().unwrap() > 20_000);
    }

    #[test]
    fn lost_feedback_is_not_lost_media() {
        let mut path = Path::new(300_000);
        path.estimator.set_wanted(3_000_000);
        let with = With {
            feedback_lost: Some(3),
            ..With::default()
        };
        let bps = path.run(0, 15, 2_000_000, with);
        // Probes are not seen whole; it grows by 8 % per second.
        assert!((700_000..2_200_000).contains(&bps), "{bps}");
        assert_eq!(path.estimator.loss(), 0.0);
    }

    #[test]
    fn a_fifth_lost_lowers_it_and_a_hundredth_does_not() {
        let mut path = Path::new(1_000_000);
        path.estimator.set_wanted(1_000_000);
        let with = |every| With {
            lose_every: Some(every),
            fixed_bps: Some(900_000),
            ..With::default()
        };
        let mild = path.run(0, 10, 10_000_000, with(100));
        assert!(mild > 900_000, "{mild}");
        let heavy = path.run(10, 10, 10_000_000, with(5));
        assert!(heavy < mild * 3 / 4, "{heavy}");
        // 720 kbit/s arrive.
        assert!(heavy > 500_000, "{heavy}");
    }

    #[test]
    fn a_stream_below_the_estimate_leaves_it_where_probes_put_it() {
        let mut path = Path::new(300_000);
        path.estimator.set_wanted(2_000_000);
        let with = With {
            fixed_bps: Some(300_000),
            ..With::default()
        };
        let bps = path.run(0, 10, 10_000_000, with);
        assert!(bps > 1_900_000, "{bps}");
        let later = path.run(10, 20, 10_000_000, with);
        assert!(later >= bps && later < 4_000_000, "{later}");
    }

    #[test]
    fn who_stops_behind_a_growing_queue_is_probed_when_that_is_long_ago() {
        let mut path = Path::new(1_000_000);
        path.estimator.set_wanted(1_000_000);
        let fixed = |bps| With {
            fixed_bps: Some(bps),
            ..With::default()
        };
        path.run(0, 10, 10_000_000, fixed(900_000));
        // What waits then takes 8 s more to arrive.
        let low = path.run(10, 2, 100_000, fixed(500_000));
        assert!(low < 300_000, "{low}");
        path.run(12, 9, 10_000_000, fixed(0));
        assert!(
            path.estimator.queue_us() > 1_000_000,
            "the last that was heard"
        );
        let bps = path.run(21, 20, 10_000_000, fixed(0));
        assert!(bps > 900_000, "{bps}");
        assert!(path.estimator.queue_us() < 10_000);
    }

    /// A queue that somebody else keeps: all that is sent arrives, only later.
    #[test]
    fn a_queue_of_somebody_elses_is_yielded_to_for_a_while_only() {
        let mut path = Path::new(1_000_000);
        path.estimator.set_wanted(1_000_000);
        let with = With {
            fixed_bps: Some(900_000),
            ..With::default()
        };
        path.run(0, 10, 10_000_000, with);
        path.way_us += 150_000;
        let low = path.run(10, 2, 10_000_000, with);
        assert!(low < 850_000, "{low}");
        let bps = path.run(12, 10, 10_000_000, with);
        assert!(path.estimator.queue_us() > 140_000, "it stands");
        assert!(bps > 900_000, "{bps}");
    }

    /// Another network, or a TCP connection instead of UDP: the least delay is a longer one, which
    /// is no queue.
    #[test]
    fn a_longer_path_is_no_queue_when_it_is_known_to_be_another_one() {
        let mut path = Path::new(1_000_000);
        path.estimator.set_wanted(1_000_000);
        let before = path.run(0, 10, 10_000_000, With::default());
        path.estimator.handle_new_path(path.at(10_000_000));
        path.way_us = 200_000;
        for second in 10..20 {
            path.run(second, 1, 10_000_000, With::default());
            assert!(path.estimator.queue_us() < 10_000, "{second}");
        }
        let after = path.estimator.estimate_bps().unwrap();
        assert!(after >= before * 95 / 100, "{before} {after}");
    }

    #[test]
    fn a_pause_is_no_silence_of_the_receiver() {
        let mut path = Path::new(300_000);
        path.estimator.set_wanted(2_000_000);
        let before = path.run(0, 10, 2_000_000, With::default());
        for ms in (10_000..15_200).step_by(20) {
            if ms >= 15_000 {
                path.send(ms * 1000, 2_000_000, false);
            }
            let now = path.at(ms * 1000);
            path.estimator.handle_timeout(now);
        }
        assert_eq!(path.estimator.estimate_bps(), Some(before));
    }

    #[test]
    fn without_feedback_it_falls_and_remb_counts_only_before() {
        let mut path = Path::new(1_000_000);
        path.estimator.handle_remb(777_000);
        assert_eq!(path.estimator.estimate_bps(), Some(777_000));
        let before = path.run(0, 5, 10_000_000, With::default());
        let silent = With {
            fixed_bps: Some(500_000),
            feedback_lost: Some(u64::MAX),
            ..With::default()
        };
        let after = path.run(5, 5, 10_000_000, silent);
        assert!(after < before / 2, "{before} {after}");
    }

    #[test]
    fn the_receivers_clock_may_wrap() {
        let mut clock = ReceiverClock::default();
        let last = (1 << 23) - 1;
        assert_eq!(clock.origin_us(last), 0);
        let wrapped = -(1 << 23);
        assert_eq!(clock.origin_us(wrapped), (1 << 24) * REFERENCE_US);
    }
}
