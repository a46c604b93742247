//! How much waits on the path: the delay above the least one seen lately.
//!
//! A slope tells that a queue grows, not how long it is; jitter makes slopes where there is no
//! queue. Minima are blind to jitter: the least delay of the last tenth of a second against the
//! least of the last half minute. RFC 8836 §2 (1) asks for low delay, so the length is what counts.
//! Called by [`super::estimator`].

/// Minima of one-way delays. Clocks need not agree: only differences count.
#[derive(Debug, Default)]
pub struct Queue {
    recent: Minimum,
    base: Minimum,
}

/// The least value of the span that is open and of the one before it.
#[derive(Debug, Default)]
struct Minimum {
    began_us: Option<i64>,
    open_us: i64,
    before_us: i64,
}

impl Queue {
    /// A packet sent at `sent_us` (our clock) arrived at `arrival_us` (the receiver's).
    pub fn add(&mut self, sent_us: i64, arrival_us: i64) {
        let delay_us = arrival_us - sent_us;
        self.recent.add(sent_us, delay_us, RECENT_US);
        self.base.add(sent_us, delay_us, BASE_US);
    }

    /// Forgets the present, keeps the least delay: nothing tells any more what waits.
    pub fn forget_present(&mut self) {
        self.recent = Minimum::default();
    }

    /// Microseconds that packets wait at present; 0 while nothing is known of that.
    pub fn delay_us(&self) -> i64 {
        if self.recent.began_us.is_none() {
            return 0;
        }
        (self.recent.get() - self.base.get()).max(0)
    }
}

impl Minimum {
    fn add(&mut self, at_us: i64, delay_us: i64, span_us: i64) {
        match self.began_us {
            Some(began_us) if at_us - began_us < span_us => {
                self.open_us = self.open_us.min(delay_us);
            }
            Some(began_us) => {
                let silent = at_us - began_us >= 2 * span_us;
                self.before_us = if silent { delay_us } else { self.open_us };
                self.open_us = delay_us;
                self.began_us = Some(at_us);
            }
            None => {
                self.before_us = delay_us;
                self.open_us = delay_us;
                self.began_us = Some(at_us);
            }
        }
    }

    fn get(&self) -> i64 {
        self.open_us.min(self.before_us)
    }
}

/// Half of the span that is the present: at 30 frames per second two groups.
const RECENT_US: i64 = 60_000;

/// Half of the span that the least delay is remembered for. Two clocks part by 3 ms in that time
/// at 100 millionths.
const BASE_US: i64 = 15_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_the_queue_and_not_the_jitter() {
        let mut queue = Queue::default();
        assert_eq!(queue.delay_us(), 0);
        for n in 0..500_i64 {
            let jitter = n * 7919 % 30 * 1000;
            queue.add(n * 10_000, n * 10_000 - 5_000_000 + jitter);
        }
        // What counts as none: `rate::MIN_QUEUE_US`.
        assert!(queue.delay_us() < 12_000, "{}", queue.delay_us());
        for n in 500..550_i64 {
            let jitter = n * 7919 % 30 * 1000;
            queue.add(n * 10_000, n * 10_000 - 4_940_000 + jitter);
        }
        let delay = queue.delay_us();
        assert!((55_000..75_000).contains(&delay), "{delay}");
    }

    #[test]
    fn a_present_that_is_forgotten_is_no_queue_and_the_least_delay_stays() {
        let mut queue = Queue::default();
        for n in 0..200_i64 {
            let wait = if n < 100 { 0 } else { 90_000 };
            queue.add(n * 10_000, n * 10_000 - 5_000_000 + wait);
        }
        assert_eq!(queue.delay_us(), 90_000);
        queue.forget_present();
        assert_eq!(queue.delay_us(), 0);
        queue.add(5_000_000, 40_000);
        assert_eq!(queue.delay_us(), 40_000);
    }

    #[test]
    fn another_path_is_the_base_after_half_a_minute() {
        let mut queue = Queue::default();
        for n in 0..4000_i64 {
            let path = if n < 500 { 20_000 } else { 90_000 };
            queue.add(n * 10_000, n * 10_000 + path);
            if n == 600 {
                assert_eq!(queue.delay_us(), 70_000);
            }
        }
        assert_eq!(queue.delay_us(), 0);
    }
}
