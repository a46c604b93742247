//! Is the queue growing? Packets are grouped by when they were sent, the groups' delays are
//! followed over time, and their slope is held against a threshold that adapts.
//!
//! draft-ietf-rmcat-gcc-02 §5.1, §5.2 and §5.4 define groups, the over-use detector and its
//! adaptive threshold; the slope is a least-squares line over 20 groups, as browsers have it,
//! instead of the draft's Kalman filter (§5.3): it needs no model of the link's noise. Called by
//! [`super::estimator`] for each packet that arrived, in the order of sending.

/// What the delay says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// The queue neither grows nor shrinks.
    #[default]
    Normal,
    /// It grows: more is sent than the link takes.
    Over,
    /// It shrinks.
    Under,
}

/// Groups, line and detector of one path.
#[derive(Debug, Default)]
pub struct Trend {
    current: Option<Group>,
    previous: Option<Group>,
    /// Groups in a row that arrived before the one sent before them.
    reordered: u8,
    line: Line,
    detector: Detector,
}

/// Packets sent within [`GROUP_US`], or arrived in one burst.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent_us: i64,
    sent_us: i64,
    first_arrival_us: i64,
    arrival_us: i64,
}

impl Trend {
    /// A packet sent at `sent_us` (our clock) arrived at `arrival_us` (the receiver's clock).
    pub fn add(&mut self, sent_us: i64, arrival_us: i64) {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::of(sent_us, arrival_us));
            return;
        };
        if sent_us < current.first_sent_us {
            return;
        }
        if current.takes(sent_us, arrival_us) {
            current.sent_us = current.sent_us.max(sent_us);
            current.arrival_us = current.arrival_us.max(arrival_us);
            return;
        }
        let complete = *current;
        *current = Group::of(sent_us, arrival_us);
        let Some(before) = self.previous.replace(complete) else {
            return;
        };
        let sent = complete.sent_us - before.sent_us;
        let arrived = complete.arrival_us - before.arrival_us;
        if arrived < 0 {
            self.reordered += 1;
            if self.reordered >= MAX_REORDERED {
                self.restart();
            }
            return;
        }
        if arrived - sent > MAX_STEP_US {
            // Nobody was there to receive: a suspended machine, a radio that changed cells.
            self.restart();
            return;
        }
        self.reordered = 0;
        let slope = self.line.add(sent, arrived, complete.arrival_us);
        self.detector
            .detect(slope, self.line.groups, sent, complete.arrival_us);
    }

    /// The latest verdict.
    pub fn usage(&self) -> Usage {
        self.detector.usage
    }

    /// Smoothed delay above that at the beginning of the line, in microseconds; may be negative.
    pub fn smoothed_delay_us(&self) -> f64 {
        f64::from(self.line.smoothed_ms) * 1000.0
    }

    /// Forgets the packets, keeps the threshold: after a pause delays do not continue.
    pub fn restart(&mut self) {
        self.current = None;
        self.previous = None;
        self.reordered = 0;
        self.line = Line::default();
        self.detector.restart();
    }
}

impl Group {
    fn of(sent_us: i64, arrival_us: i64) -> Self {
        Self {
            first_sent_us: sent_us,
            sent_us,
            first_arrival_us: arrival_us,
            arrival_us,
        }
    }

    /// True when a packet belongs to this group: sent within its span, or arrived right behind it
    /// although it was sent later (what waited in front of a busy radio comes in one burst).
    fn takes(&self, sent_us: i64, arrival_us: i64) -> bool {
        if sent_us - self.first_sent_us <= GROUP_US {
            return true;
        }
        let sent = sent_us - self.sent_us;
        let arrived = arrival_us - self.arrival_us;
        arrived - sent < 0
            && arrived <= GROUP_US
            && arrival_us - self.first_arrival_us < MAX_BURST_US
    }
}

/// Smoothed delays of the latest groups and the slope through them.
#[derive(Debug, Default)]
struct Line {
    /// Arrival since `origin_us` and smoothed delay, both in milliseconds.
    points: [(f32, f32); WINDOW],
    /// Groups so far.
    groups: u32,
    origin_us: i64,
    delay_ms: f32,
    smoothed_ms: f32,
    slope: f32,
}

impl Line {
    /// Adds a group; returns the slope before and with it.
    fn add(&mut self, sent_us: i64, arrived_us: i64, arrival_us: i64) -> (f32, f32) {
        if self.groups == 0 {
            self.origin_us = arrival_us;
        }
        let before = self.slope;
        self.delay_ms += (arrived_us - sent_us) as f32 / 1000.0;
        self.smoothed_ms += (self.delay_ms - self.smoothed_ms) * (1.0 - SMOOTHING);
        let at_ms = (arrival_us - self.origin_us) as f32 / 1000.0;
        if let Some(point) = self.points.get_mut(self.groups as usize % WINDOW) {
            *point = (at_ms, self.smoothed_ms);
        }
        self.groups = self.groups.saturating_add(1);
        if self.groups >= WINDOW as u32 {
            self.slope = slope(&self.points).unwrap_or(self.slope);
            if self.groups == u32::MAX {
                self.groups = WINDOW as u32;
            }
        }
        if at_ms > REBASE_MS {
            self.rebase(arrival_us, at_ms);
        }
        (before, self.slope)
    }

    /// Moves the origin, so that an `f32` keeps telling milliseconds apart.
    fn rebase(&mut self, arrival_us: i64, at_ms: f32) {
        self.origin_us = arrival_us;
        let delay = self.delay_ms.min(self.smoothed_ms);
        for point in &mut self.points {
            point.0 -= at_ms;
            point.1 -= delay;
        }
        self.delay_ms -= delay;
        self.smoothed_ms -= delay;
    }
}

/// Least squares; `None` when all points are at one time.
fn slope(points: &[(f32, f32); WINDOW]) -> Option<f32> {
    let count = WINDOW as f32;
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in points {
        over += (x - mean_x) * (y - mean_y);
        under += (x - mean_x) * (x - mean_x);
    }
    (under > 0.0).then(|| over / under)
}

/// draft-ietf-rmcat-gcc-02 §5.4, §5.5.
#[derive(Debug)]
struct Detector {
    usage: Usage,
    threshold_ms: f32,
    updated_us: Option<i64>,
    /// Microseconds above the threshold; `None` while not above.
    above_us: Option<i64>,
    above_count: u32,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            usage: Usage::Normal,
            threshold_ms: START_THRESHOLD_MS,
            updated_us: None,
            above_us: None,
            above_count: 0,
        }
    }
}

impl Detector {
    fn detect(&mut self, slope: (f32, f32), groups: u32, sent_us: i64, arrival_us: i64) {
        if groups < 2 {
            return;
        }
        let (before, slope) = slope;
        let trend_ms = groups.min(MAX_WEIGHT) as f32 * slope * GAIN;
        if trend_ms > self.threshold_ms {
            let above_us = match self.above_us {
                // Between this group and the one before it, it went above: on average half way.
                None => sent_us / 2,
                Some(above_us) => above_us + sent_us,
            };
            self.above_us = Some(above_us);
            self.above_count += 1;
            if above_us > OVER_FOR_US && self.above_count > 1 && slope >= before {
                self.above_us = Some(0);
                self.above_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.above_us = None;
            self.above_count = 0;
            self.usage = if trend_ms < -self.threshold_ms {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.adapt(trend_ms, arrival_us);
    }

    fn adapt(&mut self, trend_ms: f32, arrival_us: i64) {
        let updated_us = self.updated_us.replace(arrival_us).unwrap_or(arrival_us);
        let height = trend_ms.abs();
        if height > self.threshold_ms + MAX_ABOVE_MS {
            return; // a spike, such as a change of route, is no reason to grow deaf
        }
        let rate = if height < self.threshold_ms {
            RATE_DOWN
        } else {
            RATE_UP
        };
        let passed_ms = (arrival_us - updated_us).clamp(0, MAX_ADAPT_US) as f32 / 1000.0;
        self.threshold_ms += rate * (height - self.threshold_ms) * passed_ms;
        self.threshold_ms = self.threshold_ms.clamp(MIN_THRESHOLD_MS, MAX_THRESHOLD_MS);
    }

    fn restart(&mut self) {
        self.usage = Usage::Normal;
        self.updated_us = None;
        self.above_us = None;
        self.above_count = 0;
    }
}

/// Packets sent within this span are one group (§5.1 of the draft).
const GROUP_US: i64 = 5000;

/// A burst of arrivals is no longer than this, or a standing queue would be one for ever.
const MAX_BURST_US: i64 = 100_000;

/// Reordered groups in a row after which the path is taken for another one.
const MAX_REORDERED: u8 = 3;

/// A delay that grows by this much from one group to the next is not a queue.
const MAX_STEP_US: i64 = 3_000_000;

/// Groups in the line.
const WINDOW: usize = 20;

/// Share of the past in the smoothed delay.
const SMOOTHING: f32 = 0.9;

/// Brings the slope into the range that the draft's thresholds are meant for.
const GAIN: f32 = 4.0;

/// A slope is trusted in proportion to the groups seen, up to these.
const MAX_WEIGHT: u32 = 60;

/// §5.4 of the draft: 12.5 ms, and never above 600. The draft's least is 6: with less a queue is
/// noticed some 10 ms earlier, and jitter that would pass for one is told by the queue's length.
const START_THRESHOLD_MS: f32 = 12.5;
const MIN_THRESHOLD_MS: f32 = 4.5;
const MAX_THRESHOLD_MS: f32 = 600.0;

/// The threshold does not follow what is further above it than this (§5.4).
const MAX_ABOVE_MS: f32 = 15.0;

/// Shares of the distance that the threshold moves per millisecond (K_d and K_u of §5.4, in the
/// proportions that browsers use).
const RATE_DOWN: f32 = 0.039;
const RATE_UP: f32 = 0.0087;

/// Longest step of adaptation.
const MAX_ADAPT_US: i64 = 100_000;

/// §5.5: over-use is signalled when it lasts this long.
const OVER_FOR_US: i64 = 10_000;

/// At a million milliseconds an `f32` still resolves 1/16 ms.
const REBASE_MS: f32 = 500_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet every 10 ms through a path whose delay at packet n is `delay_us(n)`.
    fn usages(packets: i64, delay_us: impl Fn(i64) -> i64) -> Vec<Usage> {
        let mut trend = Trend::default();
        let send = |n| {
            trend.add(n * 10_000, n * 10_000 + delay_us(n));
            trend.usage()
        };
        (0..packets).map(send).collect()
    }

    #[test]
    fn a_steady_delay_is_normal_and_jitter_too() {
        assert!(usages(500, |_| 40_000).iter().all(|u| *u == Usage::Normal));
        let jittery = usages(500, |n| 40_000 + (n * 7919 % 5) * 1000);
        let over = jittery.iter().filter(|u| **u == Usage::Over).count();
        assert!(over < 5, "{over} of 500");
    }

    #[test]
    fn a_growing_queue_is_found_within_half_a_second_and_a_shrinking_one_too() {
        // From packet 100 on, the delay grows by 1 ms per 10 ms; from 200 on it shrinks.
        let path =
            |n: i64| 40_000 + (n - 100).clamp(0, 100) * 1000 - (n - 200).clamp(0, 100) * 1000;
        let usages = usages(320, path);
        let over = usages.iter().position(|u| *u == Usage::Over).unwrap();
        assert!((100..150).contains(&over), "{over}");
        let under = usages.iter().position(|u| *u == Usage::Under).unwrap();
        assert!((200..260).contains(&under), "{under}");
    }

    #[test]
    fn packets_of_one_burst_are_one_group() {
        let mut trend = Trend::default();
        for frame in 0..100_i64 {
            for packet in 0..8 {
                let sent = frame * 33_000 + packet * 100;
                // Serialised at the bottleneck: 8 packets take 24 ms.
                trend.add(sent, frame * 33_000 + 40_000 + packet * 3000);
            }
            assert_eq!(trend.usage(), Usage::Normal, "frame {frame}");
        }
        assert_eq!(trend.line.groups, 98);
    }

    #[test]
    fn a_pause_of_the_receiver_starts_anew() {
        let mut trend = Trend::default();
        for n in 0..100_i64 {
            let delay = if n < 50 { 40_000 } else { 6_000_000 };
            trend.add(n * 10_000, n * 10_000 + delay);
            assert_ne!(trend.usage(), Usage::Over);
        }
    }

    #[test]
    fn moving_the_origin_changes_nothing() {
        let mut far = Trend::default();
        let hour_us = 3_600_000_000;
        let mut over = 0;
        for n in 0..hour_us / 100_000 {
            far.add(n * 100_000, n * 100_000 + 40_000);
            over += i32::from(far.usage() == Usage::Over);
        }
        assert_eq!(over, 0);
        let end = hour_us;
        for n in 0..60_i64 {
            far.add(end + n * 10_000, end + n * 10_000 + 40_000 + n * 2000);
        }
        assert_eq!(far.usage(), Usage::Over);
    }
}
