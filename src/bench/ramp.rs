//! Which load a ramp tries next, and when it names a capacity. Pure; called by `run.rs`.

use super::report::Measured;

/// Grows the load by half until it does not hold, then halves the distance until it is within
/// 5 %.
#[derive(Clone, Debug)]
pub struct Ramp {
    at: usize,
    holds: usize,
    breaks: Option<usize>,
    p99_max_ms: f64,
}

/// What follows from a measured load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many viewers.
    Measure(usize),
    /// Most viewers that held.
    Capacity(usize),
    /// No capacity can be named, and why: the tester was the bottleneck, or the first load did not
    /// hold.
    Refuse(String),
}

impl Ramp {
    /// A ramp whose first load has `viewers`; a load holds when its 99th percentile of latency is
    /// below `p99_max_ms`, among the rest that [`Measured::holds`] asks.
    pub fn begin(viewers: usize, p99_max_ms: f64) -> Self {
        Self {
            at: viewers,
            holds: 0,
            breaks: None,
            p99_max_ms,
        }
    }

    /// Takes what the load under way showed.
    pub fn judge(&mut self, measured: &Measured) -> Next {
        if let Some(why) = measured.bottleneck() {
            let holds = self.holds;
            return Next::Refuse(format!(
                "{holds} viewers hold; beyond, the tester was the bottleneck: {why}"
            ));
        }
        if measured.holds(self.p99_max_ms) {
            self.holds = self.at;
        } else if self.holds == 0 {
            return Next::Refuse(format!("{} viewers do not hold already", self.at));
        } else {
            self.breaks = Some(self.at);
        }
        self.at = match self.breaks {
            None => self.holds + self.holds.div_ceil(2),
            Some(breaks) if breaks - self.holds <= (self.holds / 20).max(1) => {
                return Next::Capacity(self.holds);
            }
            Some(breaks) => self.holds + (breaks - self.holds) / 2,
        };
        Next::Measure(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::measured;
    use super::*;

    /// Runs a ramp against a server that holds up to `limit` viewers, with a tester that keeps its
    /// own time up to `tester`.
    fn climb(first: usize, limit: usize, tester: usize) -> Next {
        let mut ramp = Ramp::begin(first, 10.0);
        let mut viewers = first;
        loop {
            let mut measured = measured();
            measured.load.viewers = viewers;
            measured.playing = viewers;
            measured.loss = if viewers > limit { 0.01 } else { 0.0 };
            measured.tester_busiest_thread = if viewers > tester { 0.95 } else { 0.5 };
            match ramp.judge(&measured) {
                Next::Measure(next) => viewers = next,
                end => return end,
            }
        }
    }

    #[test]
    fn finds_the_highest_load_that_holds_within_five_percent() {
        for limit in [100, 137, 400, 1999] {
            let Next::Capacity(found) = climb(100, limit, usize::MAX) else {
                panic!("no capacity below {limit}")
            };
            assert!(
                found <= limit && found * 106 >= limit * 100,
                "{found} of {limit}"
            );
        }
    }

    #[test]
    fn names_no_capacity_when_the_tester_was_the_bottleneck() {
        let Next::Refuse(why) = climb(100, 5000, 300) else {
            panic!("a capacity was named")
        };
        assert!(
            why.starts_with("225 viewers hold") && why.contains("95 % busy"),
            "{why}"
        );
        let Next::Refuse(why) = climb(100, 5000, 10) else {
            panic!("a capacity was named")
        };
        assert!(why.starts_with("0 viewers hold"), "{why}");
    }

    #[test]
    fn names_no_capacity_when_the_first_load_breaks() {
        assert_eq!(
            climb(100, 50, usize::MAX),
            Next::Refuse("100 viewers do not hold already".to_owned())
        );
    }

    #[test]
    fn the_bound_on_latency_is_the_one_asked_for() {
        let mut slow = measured();
        slow.latency_ms.p99 = 30.0;
        assert!(!slow.holds(10.0) && slow.holds(50.0));
    }
}
