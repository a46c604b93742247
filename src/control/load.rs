//! Whether this host is too busy for newcomers: processor and memory against their limits.
//!
//! Samples come in (`front/host.rs` takes one a second), an answer comes out. Smoothed, so that a
//! spike refuses nobody, and with a gap between the two limits, so that the answer does not
//! flutter. Whoever is served already is never touched by it.

/// One look at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSample {
    /// Processor time of all cores since the start of the host, in any unit.
    pub total: u64,
    /// The part of it that was not idle.
    pub busy: u64,
    /// Memory that can be had without swapping, bytes; `None` when the host does not tell.
    pub available_len: Option<u64>,
}

/// What is known of the host, and its limits.
#[derive(Clone, Debug)]
pub struct HostLoad {
    cpu_limit: f64,
    min_free_len: u64,
    last: Option<HostSample>,
    /// Percent of all cores, smoothed; `None` before the second sample.
    cpu: Option<f64>,
    is_over: bool,
}

impl HostLoad {
    /// Limits: percent of all cores, taken as 10..=100, and megabytes (2^20 bytes) of memory.
    pub fn new(cpu_limit: u8, min_free_ram: u64) -> Self {
        Self {
            cpu_limit: f64::from(cpu_limit.clamp(10, 100)),
            min_free_len: min_free_ram.saturating_mul(1 << 20),
            last: None,
            cpu: None,
            is_over: false,
        }
    }

    /// Takes a sample in; true when newcomers are to be refused.
    pub fn handle_sample(&mut self, sample: HostSample) -> bool {
        if let Some(last) = self.last.replace(sample) {
            let total = sample.total.saturating_sub(last.total);
            let busy = sample.busy.saturating_sub(last.busy).min(total);
            if total > 0 {
                let percent = 100.0 * busy as f64 / total as f64;
                let before = self.cpu.unwrap_or(percent);
                self.cpu = Some(before + WEIGHT * (percent - before));
            }
        }
        let cpu = self.cpu.unwrap_or(0.0);
        let free = sample.available_len.unwrap_or(u64::MAX);
        self.is_over = if self.is_over {
            let margin = self.min_free_len / MEMORY_MARGIN;
            cpu > self.cpu_limit - CPU_MARGIN || free < self.min_free_len.saturating_add(margin)
        } else {
            cpu > self.cpu_limit || free < self.min_free_len
        };
        self.is_over
    }

    /// How close the host is to its limits, by the one that is closest: 0 is idle, 1 at the
    /// limit; no less while newcomers are refused.
    pub fn stress(&self) -> f64 {
        let cpu = self.cpu_percent() / self.cpu_limit;
        let free = self.last.and_then(|last| last.available_len);
        let memory = free.map_or(0.0, |free| self.min_free_len as f64 / free.max(1) as f64);
        let stress = cpu.max(memory);
        if self.is_over {
            stress.max(1.0)
        } else {
            stress.min(1.0)
        }
    }

    /// Percent of all cores in use, smoothed; 0 before the second sample.
    pub fn cpu_percent(&self) -> f64 {
        self.cpu.unwrap_or(0.0)
    }
}

/// Whether the workers are too busy for newcomers while the host is not: media of a broadcast is
/// one worker's work, and there may be more cores than workers.
#[derive(Clone, Debug)]
pub struct WorkerLoad {
    limit: f64,
    is_over: bool,
}

impl WorkerLoad {
    /// Limit: percent of one worker's time, taken as 10..=100; at 100 nobody is refused.
    pub fn new(limit: u8) -> Self {
        Self {
            limit: f64::from(limit.clamp(10, 100)) / 100.0,
            is_over: false,
        }
    }

    /// Takes in how busy the least busy worker is, 0..=1, smoothed; true when newcomers are to be
    /// refused.
    pub fn handle_busy(&mut self, least: f64) -> bool {
        let margin = if self.is_over {
            CPU_MARGIN / 100.0
        } else {
            0.0
        };
        self.is_over = least > self.limit - margin;
        self.is_over
    }
}

/// Weight of the newest sample: with one a second, a full load counts as over 85 % after 6 s.
const WEIGHT: f64 = 0.3;

/// Percent below the limit where newcomers are welcome again.
const CPU_MARGIN: f64 = 5.0;

/// The part of the least free memory that must come back on top of it.
const MEMORY_MARGIN: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A host under this many percent of load for so many seconds.
    fn run(load: &mut HostLoad, sample: &mut HostSample, percent: u64, seconds: u32) -> bool {
        let mut over = false;
        for _ in 0..seconds {
            sample.total += 200;
            sample.busy += 2 * percent;
            over = load.handle_sample(*sample);
        }
        over
    }

    fn idle() -> HostSample {
        HostSample {
            total: 1_000_000,
            busy: 900_000,
            available_len: Some(1 << 30),
        }
    }

    #[test]
    fn a_spike_refuses_nobody_and_a_lasting_load_does() {
        let (mut load, mut sample) = (HostLoad::new(85, 10), idle());
        assert!(
            !load.handle_sample(sample),
            "what was before is not counted"
        );
        assert!(!run(&mut load, &mut sample, 10, 5));
        assert!(!run(&mut load, &mut sample, 100, 2));
        assert!(!run(&mut load, &mut sample, 10, 5));
        assert!(load.stress() < 1.0);
        assert!(run(&mut load, &mut sample, 100, 8));
        assert!(load.stress() >= 1.0);
    }

    #[test]
    fn the_answer_changes_back_only_well_below_the_limit() {
        let (mut load, mut sample) = (HostLoad::new(85, 10), idle());
        run(&mut load, &mut sample, 100, 30);
        assert!(run(&mut load, &mut sample, 82, 60));
        assert!(!run(&mut load, &mut sample, 75, 60));
        assert!(!run(&mut load, &mut sample, 84, 60));
        assert!(run(&mut load, &mut sample, 90, 60));
    }

    #[test]
    fn workers_that_are_all_busy_refuse_until_one_is_well_below_the_limit() {
        let mut load = WorkerLoad::new(85);
        let answers = [0.5, 0.85, 0.9, 0.82, 0.79, 0.84].map(|busy| load.handle_busy(busy));
        assert_eq!(answers, [false, false, true, true, false, false]);
        assert!(!WorkerLoad::new(100).handle_busy(1.0));
    }

    #[test]
    fn little_memory_refuses_at_once_and_an_unknown_one_never() {
        let mut load = HostLoad::new(85, 10);
        let with = |available_len| HostSample {
            available_len,
            ..idle()
        };
        assert!(!load.handle_sample(with(Some(10 << 20))));
        assert!(load.handle_sample(with(Some((10 << 20) - 1))));
        assert!(load.handle_sample(with(Some(10 << 20))), "not yet enough");
        assert!(!load.handle_sample(with(Some(11 << 20))));
        assert!(!load.handle_sample(with(None)));
    }

    #[test]
    fn limits_are_kept_within_their_range_and_a_clock_that_jumps_does_no_harm() {
        let (mut load, mut sample) = (HostLoad::new(0, 0), idle());
        assert!(!run(&mut load, &mut sample, 9, 60));
        assert!(run(&mut load, &mut sample, 11, 60));
        let back = HostSample {
            total: 5,
            busy: 5,
            available_len: None,
        };
        load.handle_sample(back);
        assert!(load.cpu_percent() <= 100.0);
        let mut full = HostLoad::new(200, 0);
        assert!(!run(&mut full, &mut sample, 100, 60));
    }
}
