//! The loss-based bound: heavy loss lowers it whatever the delay says.
//!
//! draft-ietf-rmcat-gcc-02 §6: above 10 % lost the rate falls by half the loss, between 2 % and
//! 10 % it stays, below 2 % it grows. Counts the sender's own transport-wide numbers only: what a
//! publisher lost on its way to the server never had one. Called by [`super::estimator`].

use crate::base::limits::MIN_ESTIMATE_BPS;

/// The bound.
#[derive(Debug, Default)]
pub struct LossControl {
    /// `None` while loss bounds nothing.
    bound_bps: Option<f64>,
    reported: u32,
    lost: u32,
    began_us: Option<i64>,
    updated_us: i64,
    cut_us: Option<i64>,
    fraction: f64,
    average: f64,
}

impl LossControl {
    /// Feedback told of `received` packets and of `lost` ones; `mistaken` were called lost before
    /// and came after all. `rate_bps` is the rate in force. True when the bound was cut.
    pub fn update(&mut self, now_us: i64, counts: Counts, rtt_us: i64, rate_bps: f64) -> bool {
        let began_us = *self.began_us.get_or_insert(now_us);
        self.reported += counts.received + counts.lost;
        self.lost = (self.lost + counts.lost).saturating_sub(counts.mistaken);
        if self.reported < MIN_REPORTED || now_us - began_us < MIN_WINDOW_US {
            return false;
        }
        self.fraction = f64::from(self.lost.min(self.reported)) / f64::from(self.reported);
        self.average += (self.fraction - self.average) * AVERAGE_WEIGHT;
        let passed_s = ((now_us - self.updated_us) as f64 / 1e6).clamp(0.0, 1.0);
        self.updated_us = now_us;
        self.reported = 0;
        self.lost = 0;
        self.began_us = Some(now_us);
        if self.fraction > HIGH {
            let wait_us = CUT_EVERY_US + rtt_us;
            if self.cut_us.is_none_or(|at| now_us - at >= wait_us) {
                self.cut_us = Some(now_us);
                // What arrives is carried, whatever else is lost for want of room.
                let carried = (counts.confirmed_bps * CARRIED).min(rate_bps);
                let bound = (rate_bps * (1.0 - self.fraction / 2.0)).max(carried);
                self.bound_bps = Some(bound.max(MIN_ESTIMATE_BPS as f64));
                return true;
            }
        } else if self.fraction < LOW
            && let Some(bound) = &mut self.bound_bps
        {
            *bound += *bound * GROWTH * passed_s + 1000.0 * passed_s;
            if *bound > GIVEN_UP * rate_bps {
                self.bound_bps = None;
            }
        }
        false
    }

    /// A probe has proved that `bps` arrive: the bound is not below that.
    pub fn lift(&mut self, bps: f64) {
        self.bound_bps = self.bound_bps.map(|bound| bound.max(bps));
    }

    /// `rate_bps` within the bound.
    pub fn bounded(&self, rate_bps: f64) -> f64 {
        self.bound_bps.map_or(rate_bps, |bound| rate_bps.min(bound))
    }

    /// Share of packets lost over the last seconds, 0..=1.
    pub fn average(&self) -> f64 {
        self.average
    }

    /// Share of packets lost in the latest window, 0..=1.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }
}

/// Weight of a window of at least 200 ms in the average.
const AVERAGE_WEIGHT: f64 = 0.1;

/// What one feedback packet told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// What arrives, bits per second; 0 while not known.
    pub confirmed_bps: f64,
    /// Packets that arrived.
    pub received: u32,
    /// Packets that did not.
    pub lost: u32,
    /// Packets that arrived after having been called lost.
    pub mistaken: u32,
}

/// A fraction of fewer packets says nothing.
const MIN_REPORTED: u32 = 20;

/// A bound is not below this share of what arrives: the delay's own cut.
const CARRIED: f64 = 0.85;

/// One full queue's worth of losses is one window.
const MIN_WINDOW_US: i64 = 200_000;

/// §6 of the draft.
const HIGH: f64 = 0.10;
const LOW: f64 = 0.02;

/// §6: 5 % per report of a second; browsers 8 %.
const GROWTH: f64 = 0.08;

/// A bound so far above the rate in force bounds nothing.
const GIVEN_UP: f64 = 1.2;

/// Longer than feedback takes: cuts answer separate losses.
const CUT_EVERY_US: i64 = 300_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(control: &mut LossControl, from_us: i64, seconds: i64, lost: u32, rate: &mut f64) {
        for n in 0..seconds * 20 {
            let counts = Counts {
                received: 20 - lost,
                lost,
                mistaken: 0,
                confirmed_bps: 0.0,
            };
            control.update(from_us + n * 50_000, counts, 100_000, *rate);
            *rate = control.bounded(1e6);
        }
    }

    #[test]
    fn five_percent_hold_a_fifth_cuts_and_none_recovers() {
        let mut control = LossControl::default();
        let mut rate = 1e6;
        run(&mut control, 0, 5, 1, &mut rate);
        assert_eq!(rate, 1e6, "one in twenty is held");
        run(&mut control, 5_000_000, 5, 4, &mut rate);
        assert!(rate < 400e3, "{rate}");
        let low = rate;
        run(&mut control, 10_000_000, 5, 0, &mut rate);
        assert!(rate > low * 1.3 && rate < low * 1.7, "{low} {rate}");
    }
}
