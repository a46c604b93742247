//! The delay-based rate: raised while the queue is still, cut when it grows.
//!
//! draft-ietf-rmcat-gcc-02 §5.5: multiplicative far from the link's capacity, additive near it,
//! and a cut to 85 % of what the receiver confirms. Called by [`super::estimator`].

use super::trend::Usage;
use crate::base::limits::{MAX_ESTIMATE_BPS, MIN_ESTIMATE_BPS};

/// Additive increase, multiplicative decrease.
#[derive(Debug)]
pub struct RateControl {
    bps: f64,
    state: State,
    updated_us: Option<i64>,
    cut_us: Option<i64>,
    capacity: Capacity,
    /// Cuts for a queue that stood, since it was last short.
    standing_cuts: u8,
    tries: Tries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
}

/// What is known about the path at an update.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The detector's verdict.
    pub usage: Usage,
    /// What the receiver confirms, bits per second.
    pub acknowledged_bps: Option<f64>,
    /// The same over a moment.
    pub latest_bps: Option<f64>,
    /// Round trip, microseconds.
    pub rtt_us: i64,
    /// What waits on the path, microseconds.
    pub queue_us: i64,
    /// Less is sent than could be: nothing is learnt by raising the rate.
    pub limited: bool,
    /// Up to here, bits per second, it is raised all the same: no probe could find out.
    pub untried_bps: f64,
    /// More is sent than the rate, and than arrives: cuts have not been obeyed yet.
    pub exceeded: bool,
}

impl Observed {
    /// What the path carries. Behind a queue packets come as fast as the link sends them, and a
    /// moment tells how fast that is.
    fn carried_bps(self) -> Option<f64> {
        let latest_bps = self.latest_bps.filter(|_| self.queue_us > STEADY_QUEUE_US);
        let known_bps = self.acknowledged_bps?;
        Some(latest_bps.map_or(known_bps, |bps| bps.min(known_bps)))
    }

    /// The detector's verdict, where there is a queue at all: a slope without one is jitter. One
    /// that shrinks and is short enough already is not waited for.
    pub fn verdict(self) -> Usage {
        match self.usage {
            Usage::Over if self.queue_us < MIN_QUEUE_US => Usage::Normal,
            Usage::Under if self.queue_us < KEPT_QUEUE_US => Usage::Normal,
            usage => usage,
        }
    }
}

impl RateControl {
    /// Begins at `bps`.
    pub fn new(bps: f64) -> Self {
        Self {
            bps,
            state: State::Increase,
            updated_us: None,
            cut_us: None,
            capacity: Capacity::default(),
            standing_cuts: 0,
            tries: Tries::default(),
        }
    }

    /// The rate, bits per second.
    pub fn bps(&self) -> f64 {
        self.bps
    }

    /// Takes over a rate that a probe has proved.
    pub fn set(&mut self, now_us: i64, bps: f64) {
        self.bps = bps.clamp(MIN_ESTIMATE_BPS as f64, MAX_ESTIMATE_BPS as f64);
        self.updated_us = Some(now_us);
    }

    /// When the rate was last cut, microseconds; `None` if never.
    pub fn cut_us(&self) -> Option<i64> {
        self.cut_us
    }

    /// Moves the rate; true when that was a cut.
    pub fn update(&mut self, now_us: i64, observed: Observed) -> bool {
        let passed_us = now_us - self.updated_us.unwrap_or(now_us);
        self.updated_us = Some(now_us);
        match observed.verdict() {
            Usage::Under => self.state = State::Hold,
            Usage::Normal => match self.state {
                State::Hold => self.state = State::Increase,
                State::Increase => self.increase(now_us, passed_us, observed),
            },
            Usage::Over => {
                self.state = State::Hold;
                if self.may_cut(now_us, observed) {
                    self.cut(now_us, observed);
                    return true;
                }
            }
        }
        self.cut_standing(now_us, observed)
    }

    /// A long queue that neither grows nor shrinks has no slope: a full one, for instance. It is
    /// answered too, but not for ever: what several cuts do not shorten is somebody else's, and
    /// who yields to that starves (RFC 8836 §2 (3)).
    fn cut_standing(&mut self, now_us: i64, observed: Observed) -> bool {
        if observed.queue_us < LONG_QUEUE_US / 2 {
            self.standing_cuts = 0;
        }
        let stands = observed.queue_us > LONG_QUEUE_US && observed.usage == Usage::Normal;
        let waited = self
            .cut_us
            .is_none_or(|at| now_us - at > STANDING_EVERY_US + observed.rtt_us);
        if !stands || !waited || self.standing_cuts >= MAX_STANDING_CUTS {
            return false;
        }
        if !observed.exceeded {
            self.standing_cuts += 1;
        }
        self.state = State::Hold;
        self.cut(now_us, observed);
        true
    }

    fn may_cut(&self, now_us: i64, observed: Observed) -> bool {
        let Some(cut_us) = self.cut_us else {
            return true;
        };
        // A cut shows after a round trip; before that the same queue would be answered twice.
        let effect_us = observed.rtt_us.clamp(MIN_EFFECT_US, MAX_EFFECT_US);
        let far_below = observed
            .acknowledged_bps
            .is_some_and(|bps| bps < self.bps / 2.0);
        now_us - cut_us >= effect_us || far_below
    }

    fn increase(&mut self, now_us: i64, passed_us: i64, observed: Observed) {
        let is_tried = self.bps < observed.untried_bps && self.tries.may_begin(now_us);
        if observed.limited && !is_tried {
            return;
        }
        if let Some(acknowledged) = observed.acknowledged_bps
            && self.capacity.is_exceeded_by(acknowledged)
        {
            self.capacity = Capacity::default();
        }
        let passed_s = (passed_us as f64 / 1e6).clamp(0.0, 1.0);
        let step = match self.capacity.bps {
            Some(capacity) => {
                let pace = if self.bps < capacity * NEAR {
                    FAR_PACE
                } else {
                    NEAR_PACE
                };
                self.additive_bps_per_s() * pace * passed_s
            }
            None => (self.bps * (GROWTH.powf(passed_s) - 1.0)).max(1000.0 * passed_s),
        };
        let limit = observed
            .acknowledged_bps
            .map_or(f64::INFINITY, |bps| bps * MAX_AHEAD + 10_000.0)
            .max(observed.untried_bps);
        // What arrives while the queue is not long is carried, whatever was thought before: a cut
        // was to drain the queue, and has, so its rate is not the link's.
        let carried = observed
            .acknowledged_bps
            .filter(|_| observed.queue_us < LONG_QUEUE_US)
            .unwrap_or(0.0);
        let raised = (self.bps + step).min(limit.max(self.bps)).max(carried);
        self.bps = raised.min(MAX_ESTIMATE_BPS as f64);
    }

    /// About one packet per response time: near the limit, feel the way. Packet and response time
    /// are one size for all, whatever the rate and the round trip, or small flows and those with
    /// long ways would stay behind (RFC 8867 §5.5).
    fn additive_bps_per_s(&self) -> f64 {
        let packet = PACKET_BITS / RESPONSE_S;
        packet
            .min(self.bps * MAX_ADDITIVE)
            .max(self.bps * MIN_ADDITIVE)
    }

    fn cut(&mut self, now_us: i64, observed: Observed) {
        let acknowledged = observed.carried_bps().unwrap_or(self.bps);
        let excess_us = (observed.queue_us - KEPT_QUEUE_US) as f64;
        let share = (1.0 - excess_us / DRAIN_US).clamp(CUT, LEAST_CUT);
        let mut cut = acknowledged * share;
        if cut > self.bps
            && let Some(capacity) = self.capacity.bps
        {
            cut = capacity * share;
        }
        self.bps = cut.min(self.bps).max(MIN_ESTIMATE_BPS as f64);
        if self.capacity.is_undercut_by(acknowledged) {
            self.capacity = Capacity::default();
        }
        self.capacity.add(acknowledged);
        self.cut_us = Some(now_us);
        self.tries.fail(now_us);
    }
}

/// When a rate that nothing has proved may be tried: each time costs the viewer a stutter where it
/// does not hold.
#[derive(Debug, Default)]
struct Tries {
    from_us: i64,
    wait_us: i64,
}

impl Tries {
    fn may_begin(&self, now_us: i64) -> bool {
        now_us >= self.from_us
    }

    /// Waits twice as long where the last time is not long ago.
    fn fail(&mut self, now_us: i64) {
        let passed_us = now_us - self.from_us;
        if passed_us > 2 * self.wait_us {
            self.wait_us = MIN_TRY_WAIT_US;
        } else if passed_us > 0 {
            self.wait_us = (2 * self.wait_us).min(MAX_TRY_WAIT_US);
        }
        self.from_us = now_us + self.wait_us;
    }
}

/// What was confirmed at cuts: the link's capacity, while that stays the same.
#[derive(Clone, Copy, Debug, Default)]
struct Capacity {
    bps: Option<f64>,
    /// Variance divided by the mean, in kbit/s.
    spread_kbps: f64,
}

impl Capacity {
    fn add(&mut self, sample_bps: f64) {
        let Some(mean) = &mut self.bps else {
            self.bps = Some(sample_bps);
            self.spread_kbps = MIN_SPREAD_KBPS;
            return;
        };
        *mean += CAPACITY_WEIGHT * (sample_bps - *mean);
        let error_kbps = (sample_bps - *mean) / 1000.0;
        let sample = error_kbps * error_kbps / (*mean / 1000.0).max(1.0);
        self.spread_kbps += CAPACITY_WEIGHT * (sample - self.spread_kbps);
        self.spread_kbps = self.spread_kbps.clamp(MIN_SPREAD_KBPS, MAX_SPREAD_KBPS);
    }

    fn tolerance_bps(&self, mean: f64) -> f64 {
        3000.0 * (self.spread_kbps * mean / 1000.0).sqrt()
    }

    fn is_exceeded_by(&self, bps: f64) -> bool {
        self.bps
            .is_some_and(|mean| bps > mean + self.tolerance_bps(mean))
    }

    fn is_undercut_by(&self, bps: f64) -> bool {
        self.bps
            .is_some_and(|mean| bps < mean - self.tolerance_bps(mean))
    }
}

/// §5.5 of the draft: beta, eta per second.
const CUT: f64 = 0.85;

/// A short queue takes a smaller cut: enough to drain it to [`KEPT_QUEUE_US`] within [`DRAIN_US`],
/// and never so little that it does not show.
const LEAST_CUT: f64 = 0.98;
const DRAIN_US: f64 = 400_000.0;

/// Shorter waits are not worth a cut: a frame's own burst makes them.
const MIN_QUEUE_US: i64 = 16_000;

/// A queue this long is left alone: where the last packet of it has gone before the rate rises
/// again, the link stands idle (RFC 8836 §2 (1)).
const KEPT_QUEUE_US: i64 = 20_000;

/// Behind a queue this long the link is never idle between two frames.
const STEADY_QUEUE_US: i64 = 100_000;

/// Growth per second far from the capacity.
const GROWTH: f64 = 1.08;

/// A queue this long is too long, whether it grows or not; how often that is answered, and after
/// how many times in vain it is not any more.
const LONG_QUEUE_US: i64 = 80_000;
const STANDING_EVERY_US: i64 = 300_000;
const MAX_STANDING_CUTS: u8 = 4;

/// Below this share of the capacity that is known, additive steps are longer; above it, where the
/// queue begins, shorter.
const NEAR: f64 = 0.93;
const FAR_PACE: f64 = 3.0;
const NEAR_PACE: f64 = 0.7;

/// The rate does not run further ahead of what is confirmed.
const MAX_AHEAD: f64 = 1.5;

/// Waits before an unproved rate is tried again.
const MIN_TRY_WAIT_US: i64 = 5_000_000;
const MAX_TRY_WAIT_US: i64 = 80_000_000;

/// The packet that additive increase reckons with.
const PACKET_BITS: f64 = 1200.0 * 8.0;

/// A round trip of 100 ms and as much for detection (§5.5).
const RESPONSE_S: f64 = 0.2;

/// Additive steps per second, in shares of the rate: at the least and at the most.
const MIN_ADDITIVE: f64 = 0.01;
const MAX_ADDITIVE: f64 = 0.5;

const MIN_EFFECT_US: i64 = 10_000;
const MAX_EFFECT_US: i64 = 1_000_000;

/// Weight of a cut in the mean, and the spread's range, as browsers have them.
const CAPACITY_WEIGHT: f64 = 0.05;
const MIN_SPREAD_KBPS: f64 = 0.4;
const MAX_SPREAD_KBPS: f64 = 2.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(usage: Usage, bps: f64) -> Observed {
        Observed {
            usage,
            acknowledged_bps: Some(bps),
            latest_bps: Some(bps),
            rtt_us: 100_000,
            queue_us: 80_000,
            limited: false,
            untried_bps: 0.0,
            exceeded: false,
        }
    }

    #[test]
    fn grows_by_eight_percent_per_second_and_feels_its_way_after_a_cut() {
        let mut rate = RateControl::new(1e6);
        for n in 0..=20 {
            let bps = rate.bps();
            rate.update(n * 50_000, observed(Usage::Normal, bps));
        }
        let grown = rate.bps();
        assert!((1.07e6..1.09e6).contains(&grown), "{grown}");
        assert!(rate.update(1_050_000, observed(Usage::Over, 1e6)));
        assert_eq!(rate.bps(), 850e3);
        for n in 0..=20 {
            rate.update(1_100_000 + n * 50_000, observed(Usage::Normal, 850e3));
        }
        let felt = rate.bps() - 850e3;
        assert!((60e3..130e3).contains(&felt), "{felt}");
    }

    #[test]
    fn cuts_once_per_round_trip() {
        let mut rate = RateControl::new(1e6);
        assert!(rate.update(0, observed(Usage::Over, 1e6)));
        assert!(!rate.update(50_000, observed(Usage::Over, 1e6)));
        assert!(rate.update(100_000, observed(Usage::Over, 0.9e6)));
        assert_eq!(rate.bps(), 0.9e6 * CUT);
        assert_eq!(rate.cut_us(), Some(100_000));
    }

    #[test]
    fn never_runs_ahead_of_what_is_confirmed_and_rests_while_little_is_sent() {
        let mut rate = RateControl::new(1e6);
        for n in 0..2000 {
            rate.update(n * 50_000, observed(Usage::Normal, 1e6));
        }
        assert!(rate.bps() <= 1.51e6);
        let mut resting = RateControl::new(1e6);
        for n in 0..2000 {
            let mut observed = observed(Usage::Normal, 5e5);
            observed.limited = true;
            resting.update(n * 50_000, observed);
        }
        assert_eq!(resting.bps(), 1e6);
    }

    #[test]
    fn what_no_probe_could_find_out_is_felt_for() {
        let mut rate = RateControl::new(1e6);
        for n in 0..=200 {
            let mut observed = observed(Usage::Normal, 5e5);
            observed.limited = true;
            observed.untried_bps = 3e6;
            rate.update(n * 50_000, observed);
        }
        let felt = rate.bps();
        assert!((2.1e6..2.2e6).contains(&felt), "8 % per second: {felt}");
    }

    #[test]
    fn is_back_at_what_arrives_as_soon_as_the_queue_is_not_long() {
        let after_cut = |queue_us| {
            let mut rate = RateControl::new(1e6);
            assert!(rate.update(0, observed(Usage::Over, 1e6)));
            let mut drained = observed(Usage::Normal, 1e6);
            drained.queue_us = queue_us;
            for n in 1..=3 {
                rate.update(n * 50_000, drained);
            }
            rate.bps()
        };
        assert!(after_cut(LONG_QUEUE_US) < 0.9e6);
        assert!((1e6..1.01e6).contains(&after_cut(LONG_QUEUE_US - 1)));
    }

    #[test]
    fn a_short_queue_that_shrinks_is_not_waited_for() {
        let rises = |queue_us| {
            let mut rate = RateControl::new(1e6);
            let mut shrinking = observed(Usage::Under, 1e6);
            shrinking.queue_us = queue_us;
            (0..10).for_each(|n| {
                rate.update(n * 50_000, shrinking);
            });
            rate.bps() > 1e6
        };
        assert!(rises(KEPT_QUEUE_US - 1));
        assert!(!rises(KEPT_QUEUE_US));
    }
}
