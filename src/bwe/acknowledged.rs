//! How fast packets arrive at the receiver, by its own clock.
//!
//! draft-ietf-rmcat-gcc-02 §5.5 (R_hat). Windows of 150 ms, weighed against what is known by how
//! surprising they are, as browsers do. Called by [`super::estimator`].

/// The rate that the receiver confirms.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// The latest arrival; `None` where a packet would be compared with one from before a gap.
    latest_us: Option<i64>,
    /// The open window: time covered without its gaps, and the bytes that came within it.
    passed_us: i64,
    len: u64,
    estimate: Option<Estimate>,
    latest_bps: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    bps: f64,
    /// In (kbit/s)^2.
    variance: f64,
}

impl Acknowledged {
    /// `len` bytes arrived at `arrival_us` on the receiver's clock. While `limited`, less is sent
    /// than could be: a low rate says little then.
    pub fn add(&mut self, arrival_us: i64, len: usize, limited: bool) {
        let before_us = self.latest_us.replace(arrival_us);
        let Some(step_us) = before_us.map(|before_us| arrival_us - before_us) else {
            // The first packet only starts the clock: its bytes came before.
            return;
        };
        if step_us > MAX_GAP_US {
            return;
        }
        if step_us < -MAX_GAP_US {
            // Nothing is overtaken by so much: the receiver's clock was set back.
            self.passed_us = 0;
            self.len = 0;
            return;
        }
        if step_us < 0 {
            // Overtaken on its way: its bytes count, the time is known already.
            self.latest_us = before_us;
        }
        self.passed_us += step_us.max(0);
        self.len += len as u64;
        let window_us = match self.estimate {
            None => FIRST_WINDOW_US,
            Some(_) => WINDOW_US,
        };
        if self.passed_us >= window_us {
            let sample_bps = self.len as f64 * 8e6 / self.passed_us as f64;
            self.latest_bps = Some(sample_bps);
            self.weigh(sample_bps, limited);
            self.passed_us = 0;
            self.len = 0;
        }
    }

    /// The rate in bits per second; `None` before the first window.
    pub fn bps(&self) -> Option<f64> {
        self.estimate.map(|estimate| estimate.bps)
    }

    /// The latest window alone, which follows a fall at once; `None` before the first.
    pub fn latest_bps(&self) -> Option<f64> {
        self.latest_bps
    }

    /// A report is missing: what comes next has no known distance to what came last.
    pub fn skip(&mut self) {
        self.latest_us = None;
    }

    fn weigh(&mut self, sample_bps: f64, limited: bool) {
        let Some(known) = &mut self.estimate else {
            self.estimate = Some(Estimate {
                bps: sample_bps,
                variance: START_VARIANCE,
            });
            return;
        };
        let doubt = if limited && sample_bps < known.bps {
            DOUBT_LIMITED
        } else {
            DOUBT
        };
        let surprise = doubt * (known.bps - sample_bps).abs() / known.bps.max(1.0);
        let sample_variance = surprise * surprise;
        let variance = known.variance + DRIFT;
        let sum = sample_variance + variance;
        known.bps = ((sample_variance * known.bps + variance * sample_bps) / sum).max(MIN_BPS);
        known.variance = sample_variance * variance / sum;
    }
}

/// Windows; the first is longer, because nothing tempers it.
const WINDOW_US: i64 = 150_000;
const FIRST_WINDOW_US: i64 = 300_000;

/// A silence this long belongs to no window.
const MAX_GAP_US: i64 = 1_000_000;

/// How strongly a sample that differs is doubted.
const DOUBT: f64 = 10.0;
const DOUBT_LIMITED: f64 = 20.0;

/// Variance of the first sample, and what each window adds.
const START_VARIANCE: f64 = 50.0;
const DRIFT: f64 = 5.0;

/// An estimate is a divisor: it is never 0.
const MIN_BPS: f64 = 5000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_rate_and_follows_a_change() {
        let mut rate = Acknowledged::default();
        let mut at_us = 0;
        for _ in 0..300 {
            at_us += 10_000;
            rate.add(at_us, 1250, false);
        }
        let bps = rate.bps().unwrap();
        assert!((990e3..1010e3).contains(&bps), "{bps}");
        for _ in 0..150 {
            at_us += 20_000;
            rate.add(at_us, 1250, false);
        }
        let bps = rate.bps().unwrap();
        assert!((490e3..560e3).contains(&bps), "{bps}");
    }

    #[test]
    fn goes_on_when_the_receivers_clock_is_set() {
        for step_us in [-3_600_000_000, -1_100_000, 1_100_000, 3_600_000_000] {
            let mut rate = Acknowledged::default();
            let mut at_us = 0;
            for _ in 0..100 {
                at_us += 10_000;
                rate.add(at_us, 1250, false);
            }
            at_us += step_us;
            for _ in 0..150 {
                at_us += 20_000;
                rate.add(at_us, 1250, false);
            }
            let bps = rate.bps().unwrap();
            assert!((490e3..560e3).contains(&bps), "{bps}, {step_us}");
        }
    }

    #[test]
    fn a_window_with_a_hole_does_not_count() {
        let mut rate = Acknowledged::default();
        for n in 1..=1000_i64 {
            // Every fourth report of 100 ms is lost.
            if n / 10 % 4 == 3 {
                rate.skip();
            } else {
                rate.add(n * 10_000, 1250, false);
            }
        }
        let bps = rate.bps().unwrap();
        assert!((950e3..1050e3).contains(&bps), "{bps}");
    }
}
