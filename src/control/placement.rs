//! Which worker a newcomer is to live on: the least loaded one.
//!
//! Load is the share of time that a worker spends in turns. Samples come in (`front/workers.rs`
//! takes one of every worker a second), choices come out. Whoever was just placed does not show in
//! the samples yet: a WebSocket becomes a player, and its media work, within the next seconds. So
//! each choice counts on top as what a peer costs on average, until the samples tell.

use std::time::{Duration, Instant};

/// What a worker says of itself at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSample {
    /// Time spent in finished turns since the start.
    pub busy: Duration,
    /// Finished turns since the start.
    pub turns: u64,
    /// A turn is under way.
    pub is_in_turn: bool,
    /// Open WebSockets.
    pub conns: u64,
    /// Peers that exist.
    pub peers: u64,
}

/// What is known of every worker.
#[derive(Clone, Debug)]
pub struct Placement {
    workers: Vec<Estimate>,
    sampled: Option<Instant>,
    /// Among equals they take turns: whose it is.
    next: usize,
}

#[derive(Clone, Debug, Default)]
struct Estimate {
    last: WorkerSample,
    /// Share of time in turns, 0..=1, smoothed.
    busy: f64,
    /// Newcomers placed since the latest sample, between it and the one before, and so on.
    placed: [u32; INTERVALS_UNSEEN],
}

impl Placement {
    /// Of so many workers, all idle.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: vec![Estimate::default(); workers],
            sampled: None,
            next: 0,
        }
    }

    /// Takes a sample of every worker in, worker `i` at place `i`; about one a second.
    pub fn handle_samples(&mut self, now: Instant, samples: &[WorkerSample]) {
        let passed = self
            .sampled
            .map(|before| now.saturating_duration_since(before));
        if passed.is_some_and(|passed| passed.is_zero()) {
            return;
        }
        self.sampled = Some(now);
        for (worker, sample) in self.workers.iter_mut().zip(samples) {
            worker.take(sample, passed);
        }
    }

    /// The worker for the next newcomer, out of those that `is_able` lets through; `None` when it
    /// lets none through.
    ///
    /// The least loaded; loads so close that the difference is chance are equal, and then it is
    /// the one with the fewest WebSockets; they take turns when that is equal too.
    pub fn pick(&mut self, is_able: impl Fn(usize) -> bool) -> Option<usize> {
        let cost = self.cost();
        let count = self.workers.len();
        let from_next = (0..count).map(|i| (self.next + i) % count);
        let able: Vec<(usize, &Estimate)> = from_next
            .filter(|i| is_able(*i))
            .filter_map(|i| Some((i, self.workers.get(i)?)))
            .collect();
        let loads = able.iter().map(|(_, worker)| worker.expected(cost));
        let least = loads.fold(f64::INFINITY, f64::min);
        let (best, _) = able
            .into_iter()
            .filter(|(_, worker)| worker.expected(cost) <= least + EQUAL_WITHIN)
            .min_by_key(|(_, worker)| worker.sockets())?;
        if let Some([latest, ..]) = self.workers.get_mut(best).map(|worker| &mut worker.placed) {
            *latest = latest.saturating_add(1);
        }
        self.next = best + 1;
        Some(best)
    }

    /// Share of its time that `worker` spends in turns, 0..=1, smoothed over about
    /// `SMOOTHED_OVER`; 0 for one that does not exist and before the second sample.
    pub fn busy(&self, worker: usize) -> f64 {
        self.workers.get(worker).map_or(0.0, |worker| worker.busy)
    }

    /// The same of the least busy one.
    pub fn least_busy(&self) -> f64 {
        let all = self.workers.iter().map(|worker| worker.busy);
        all.fold(1.0, f64::min)
    }

    /// What a peer costs on average, as a share of one worker's time.
    fn cost(&self) -> f64 {
        let busy: f64 = self.workers.iter().map(|worker| worker.busy).sum();
        let peers: u64 = self.workers.iter().map(|worker| worker.last.peers).sum();
        let average = if peers > 0 { busy / peers as f64 } else { 0.0 };
        average.clamp(COST_MIN, COST_MAX)
    }
}

impl Estimate {
    fn take(&mut self, sample: &WorkerSample, passed: Option<Duration>) {
        let last = std::mem::replace(&mut self.last, *sample);
        self.placed.rotate_right(1);
        if let Some(latest) = self.placed.first_mut() {
            *latest = 0;
        }
        let Some(passed) = passed else {
            return;
        };
        let passed_s = passed.as_secs_f64();
        // Nothing finished and one under way: it takes all this time already.
        let is_stuck = sample.is_in_turn && sample.turns == last.turns;
        let share = if is_stuck {
            1.0
        } else {
            sample.busy.saturating_sub(last.busy).as_secs_f64() / passed_s
        };
        let weight = passed_s / (passed_s + SMOOTHED_OVER.as_secs_f64());
        self.busy += weight * (share.min(1.0) - self.busy);
    }

    /// Load once everybody who was placed plays, at `cost` each.
    fn expected(&self, cost: f64) -> f64 {
        self.busy + cost * self.placed.iter().map(|&n| f64::from(n)).sum::<f64>()
    }

    /// WebSockets, those on their way included.
    fn sockets(&self) -> u64 {
        self.last.conns + self.placed.first().map_or(0, |&n| u64::from(n))
    }
}

/// How many intervals between samples a newcomer counts on top: from the WebSocket over handshakes
/// to the first packets takes a browser about a second, smoothing takes two more.
const INTERVALS_UNSEEN: usize = 3;

/// Time over which the share of busy time is averaged.
const SMOOTHED_OVER: Duration = Duration::from_secs(2);

/// Loads that differ by less are equal: an idle worker's housekeeping comes to less, even where
/// other programs interrupt it.
const EQUAL_WITHIN: f64 = 0.05;

/// A newcomer costs at least this much: a worker serves at most about 2000 players of video.
const COST_MIN: f64 = 1.0 / 2000.0;

/// And at most this, whatever a few publishers of much video cost on average.
const COST_MAX: f64 = 1.0 / 20.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    /// Workers of which each is busy so many percent of every second, for `seconds`, with so many
    /// sockets and peers.
    fn run(placement: &mut Placement, at: &mut Second, workers: &[(u64, u64)], seconds: u64) {
        for _ in 0..seconds {
            at.samples.resize_with(workers.len(), WorkerSample::default);
            for (sample, (percent, peers)) in at.samples.iter_mut().zip(workers) {
                sample.busy += Duration::from_millis(10 * percent);
                sample.turns += 1000;
                sample.conns = *peers;
                sample.peers = *peers;
            }
            at.now += Duration::from_secs(1);
            placement.handle_samples(at.now, &at.samples);
        }
    }

    struct Second {
        now: Instant,
        samples: Vec<WorkerSample>,
    }

    fn begin() -> Second {
        Second {
            now: test_now().instant,
            samples: Vec::new(),
        }
    }

    fn picks(placement: &mut Placement, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| placement.pick(|_| true).unwrap())
            .collect()
    }

    /// How many of `count` newcomers each worker gets.
    fn spread(placement: &mut Placement, count: usize) -> Vec<usize> {
        let mut each = vec![0; placement.workers.len()];
        for worker in picks(placement, count) {
            each[worker] += 1;
        }
        each
    }

    #[test]
    fn equal_workers_take_turns_and_sockets_decide_between_equal_loads() {
        let (mut placement, mut at) = (Placement::new(3), begin());
        assert_eq!(picks(&mut placement, 5), [0, 1, 2, 0, 1]);
        run(&mut placement, &mut at, &[(1, 7), (2, 5), (0, 6)], 5);
        assert_eq!(picks(&mut placement, 4), [1, 2, 1, 2], "by sockets");
        assert_eq!(picks(&mut placement, 3), [0, 1, 2], "level");
    }

    #[test]
    fn the_least_busy_worker_is_picked_however_many_sockets_it_has() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        run(&mut placement, &mut at, &[(60, 3), (20, 900)], 20);
        assert!((placement.busy(0) - 0.6).abs() < 0.01);
        assert!((placement.busy(1) - 0.2).abs() < 0.01);
        assert_eq!(picks(&mut placement, 4), [1, 1, 1, 1]);
    }

    #[test]
    fn a_stampede_between_two_samples_spreads_evenly() {
        let mut placement = Placement::new(4);
        assert_eq!(spread(&mut placement, 1000), [250; 4]);

        let (mut placement, mut at) = (Placement::new(4), begin());
        run(&mut placement, &mut at, &[(10, 100); 4], 20);
        assert_eq!(spread(&mut placement, 1000), [250; 4]);
    }

    #[test]
    fn a_stampede_levels_a_difference_out_and_goes_on_evenly() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        // A peer costs 0.1 %: 200 of them make up for 20 %.
        run(&mut placement, &mut at, &[(40, 400), (20, 200)], 30);
        let each = spread(&mut placement, 1000);
        assert!((595..=605).contains(&each[1]), "{each:?}");
    }

    #[test]
    fn newcomers_count_until_their_load_shows() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        run(&mut placement, &mut at, &[(50, 500), (50, 500)], 30);
        // 300 that came while worker 1 was behind with its mail.
        for _ in 0..300 {
            assert_eq!(placement.pick(|worker| worker == 0), Some(0));
        }
        // Their sockets show at once, their load does not.
        run(&mut placement, &mut at, &[(50, 500), (50, 900)], 1);
        assert_eq!(spread(&mut placement, 100), [0, 100]);
        // What never became load is forgotten.
        run(&mut placement, &mut at, &[(50, 500), (50, 900)], 3);
        assert_eq!(spread(&mut placement, 10), [10, 0], "by sockets");
    }

    #[test]
    fn stale_figures_do_not_send_everybody_to_one_worker() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        run(&mut placement, &mut at, &[(30, 300), (25, 250)], 20);
        // No sample ever again.
        let each = spread(&mut placement, 10_000);
        assert!(each.iter().all(|n| (4900..=5100).contains(n)), "{each:?}");
    }

    #[test]
    fn a_worker_that_hangs_in_a_turn_is_fully_busy() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        run(&mut placement, &mut at, &[(5, 10), (50, 10)], 10);
        for _ in 0..20 {
            at.now += Duration::from_secs(1);
            at.samples[0].is_in_turn = true;
            at.samples[1].busy += Duration::from_millis(500);
            at.samples[1].turns += 1000;
            placement.handle_samples(at.now, &at.samples);
        }
        assert!(placement.busy(0) > 0.95);
        assert_eq!(picks(&mut placement, 3), [1, 1, 1]);
        // The turn ends: 20 s within one.
        at.samples[0].is_in_turn = false;
        at.samples[0].busy += Duration::from_secs(20);
        at.samples[0].turns += 1;
        at.now += Duration::from_secs(1);
        placement.handle_samples(at.now, &at.samples);
        assert!(placement.busy(0) <= 1.0);
    }

    #[test]
    fn a_worker_that_sleeps_becomes_idle() {
        let (mut placement, mut at) = (Placement::new(2), begin());
        run(&mut placement, &mut at, &[(90, 10), (50, 10)], 20);
        assert_eq!(picks(&mut placement, 1), [1]);
        run(&mut placement, &mut at, &[(0, 10), (50, 10)], 10);
        assert!(placement.busy(0) < 0.05);
        assert_eq!(picks(&mut placement, 1), [0]);
    }

    #[test]
    fn nobody_is_picked_who_is_not_able_and_samples_of_one_moment_count_once() {
        let (mut placement, at) = (Placement::new(2), begin());
        assert_eq!(placement.pick(|_| false), None);
        assert_eq!(placement.pick(|worker| worker == 1), Some(1));
        let sample = WorkerSample::default();
        placement.handle_samples(at.now, &[sample; 2]);
        placement.handle_samples(at.now, &[sample; 2]);
        assert_eq!(placement.workers[1].placed, [0, 1, 0]);
        assert_eq!(Placement::new(0).pick(|_| true), None);
        assert_eq!(placement.busy(7), 0.0);
    }
}
