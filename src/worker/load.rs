//! What a worker tells about itself once a turn: plain atomics, read by the front door (which
//! worker is least loaded) and by `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::fault::{DropCounters, DropReason};
use crate::base::histogram::Durations;
use crate::base::limits::MAX_GSO_SEGMENTS;
use crate::engine::Counters;
use crate::metrics::TcpFigures;

/// A worker's figures as of its last turn. Each is exact; two read together may be of
/// neighbouring turns.
#[derive(Debug, Default)]
pub struct Load {
    conns: AtomicU64,
    turn_ns: AtomicU64,
    busy_ns: AtomicU64,
    is_in_turn: AtomicBool,
    engine: Published<{ ENGINE_FIGURES + DropReason::ALL.len() }>,
    shell: Published<{ SHELL_FIGURES + MAX_GSO_SEGMENTS }>,
    latency: Published<{ Durations::FIGURES }>,
}

/// What the shell of a worker counts, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShellCounters {
    /// Turns of the loop.
    pub turns: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams that the kernel took.
    pub datagrams_sent: u64,
    /// Datagrams that the kernel did not take.
    pub datagrams_refused: u64,
    /// Packets and received datagrams for other workers whose inbox was full; part of
    /// `DropReason::QueueFull`.
    pub relay_packets_dropped: u64,
    /// Mails for control or other workers that were given up after long delay.
    pub mails_lost: u64,
    /// WebSockets closed because they did not read.
    pub slow_readers: u64,
    /// Media connections over TCP.
    pub tcp: TcpFigures,
    /// Runs given to the kernel, by length: at index 0 those of one datagram.
    pub runs: [u64; MAX_GSO_SEGMENTS],
    /// The longest turn of the last second in which there were turns, in microseconds: how long
    /// what came in had to wait at most.
    pub lag_us: u64,
    /// From a packet's arrival on this worker to the end of the pass that sent it.
    pub latency: Durations,
}

impl ShellCounters {
    /// Counts one run of `segments` datagrams, 1..=`limits::MAX_GSO_SEGMENTS`.
    pub fn count_run(&mut self, segments: usize) {
        if let Some(runs) = self.runs.get_mut(segments.wrapping_sub(1)) {
            *runs += 1;
        }
    }
}

impl Load {
    /// Open WebSockets.
    pub fn conns(&self) -> u64 {
        self.conns.load(Ordering::Relaxed)
    }

    /// Peers that exist.
    pub fn peers(&self) -> u64 {
        self.engine().peers
    }

    /// Length of a turn in microseconds, averaged over about 16 turns.
    pub fn turn_us(&self) -> u64 {
        self.turn_ns.load(Ordering::Relaxed) / 1000
    }

    /// Time spent in finished turns since the start, waiting left out.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// A turn is under way.
    pub fn is_in_turn(&self) -> bool {
        self.is_in_turn.load(Ordering::Relaxed)
    }

    /// The engine's counters; drops by the shell are in their `dropped`.
    pub fn engine(&self) -> Counters {
        let mut values = self.engine.load().into_iter();
        let mut next = || values.next().unwrap_or(0);
        let mut counters = Counters {
            dropped: DropCounters::default(),
            rtp_received: next(),
            rtp_sent: next(),
            rtp_sent_len: next(),
            retransmitted: next(),
            padded: next(),
            paused: next(),
            key_frame_requests: next(),
            nacks_sent: next(),
            nacked: next(),
            data_received: next(),
            data_sent: next(),
            data_dropped: next(),
            passed: next(),
            peers_connected: next(),
            peers: next(),
            conns: next(),
            tracks: next(),
        };
        for reason in DropReason::ALL {
            counters.dropped.add(reason, next());
        }
        counters
    }

    /// The shell's counters.
    pub fn shell(&self) -> ShellCounters {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, runs @ ..] = self.shell.load();
        ShellCounters {
            runs,
            turns: a,
            datagrams_received: b,
            datagrams_sent: c,
            datagrams_refused: d,
            relay_packets_dropped: e,
            mails_lost: f,
            slow_readers: g,
            lag_us: h,
            tcp: TcpFigures {
                open: i,
                accepted: j,
                refused: k,
                slow_readers: l,
                frames_received: m,
                frames_sent: n,
            },
            latency: Durations::of_figures(self.latency.load()),
        }
    }

    /// A turn begins: the wait is over.
    pub(super) fn begin_turn(&self) {
        self.is_in_turn.store(true, Ordering::Relaxed);
    }

    /// Publishes one turn that took `turn`.
    pub(super) fn publish(
        &self,
        conns: usize,
        turn: Duration,
        engine: &Counters,
        shell: &ShellCounters,
    ) {
        self.conns.store(conns as u64, Ordering::Relaxed);
        let average = self.turn_ns.load(Ordering::Relaxed);
        let turn = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
        let busy = self.busy_ns.load(Ordering::Relaxed).saturating_add(turn);
        self.busy_ns.store(busy, Ordering::Relaxed);
        self.is_in_turn.store(false, Ordering::Relaxed);
        let average = average - average / TURNS_AVERAGED + turn / TURNS_AVERAGED;
        self.turn_ns.store(average, Ordering::Relaxed);
        self.publish_engine(engine, shell.relay_packets_dropped);
        let figures: [u64; SHELL_FIGURES] = [
            shell.turns,
            shell.datagrams_received,
            shell.datagrams_sent,
            shell.datagrams_refused,
            shell.relay_packets_dropped,
            shell.mails_lost,
            shell.slow_readers,
            shell.lag_us,
            shell.tcp.open,
            shell.tcp.accepted,
            shell.tcp.refused,
            shell.tcp.slow_readers,
            shell.tcp.frames_received,
            shell.tcp.frames_sent,
        ];
        self.shell.store(figures.into_iter().chain(shell.runs));
        self.latency.store(shell.latency.figures());
    }

    fn publish_engine(&self, engine: &Counters, queue_full: u64) {
        let Counters {
            dropped,
            rtp_received,
            rtp_sent,
            rtp_sent_len,
            retransmitted,
            padded,
            paused,
            key_frame_requests,
            nacks_sent,
            nacked,
            data_received,
            data_sent,
            data_dropped,
            passed,
            peers_connected,
            peers,
            conns,
            tracks,
        } = *engine;
        let mut dropped = dropped;
        dropped.add(DropReason::QueueFull, queue_full);
        let figures: [u64; ENGINE_FIGURES] = [
            rtp_received,
            rtp_sent,
            rtp_sent_len,
            retransmitted,
            padded,
            paused,
            key_frame_requests,
            nacks_sent,
            nacked,
            data_received,
            data_sent,
            data_dropped,
            passed,
            peers_connected,
            peers,
            conns,
            tracks,
        ];
        let drops = DropReason::ALL.into_iter().map(|r| dropped.get(r));
        self.engine.store(figures.into_iter().chain(drops));
    }
}

/// The longest turn of each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    since: Instant,
    longest: Duration,
    shown: Duration,
}

impl Lag {
    /// Begins to watch.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            longest: Duration::ZERO,
            shown: Duration::ZERO,
        }
    }

    /// A turn that ended at `now` took `turn`; the longest of the last finished second, or a
    /// longer one since, in microseconds.
    pub fn note(&mut self, now: Instant, turn: Duration) -> u64 {
        self.longest = self.longest.max(turn);
        if now.saturating_duration_since(self.since) >= LAG_PERIOD {
            self.since = now;
            self.shown = std::mem::take(&mut self.longest);
        }
        let us = self.shown.max(self.longest).as_micros();
        u64::try_from(us).unwrap_or(u64::MAX)
    }
}

/// A fixed list of figures that one thread writes and any may read.
#[derive(Debug)]
struct Published<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Published<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl<const N: usize> Published<N> {
    fn store(&self, values: impl IntoIterator<Item = u64>) {
        for (slot, value) in self.0.iter().zip(values) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    fn load(&self) -> [u64; N] {
        std::array::from_fn(|i| self.0.get(i).map_or(0, |slot| slot.load(Ordering::Relaxed)))
    }
}

/// Figures in [`Counters`] beside the drops.
const ENGINE_FIGURES: usize = 17;

/// Figures in [`ShellCounters`] beside the runs.
const SHELL_FIGURES: usize = 14;

/// How long a long turn is shown at least.
const LAG_PERIOD: Duration = Duration::from_secs(1);

/// Weight of history in the average length of a turn.
const TURNS_AVERAGED: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn a_long_turn_is_shown_for_a_second_and_then_forgotten() {
        let start = test_now().instant;
        let at = |ms| start + Duration::from_millis(ms);
        let mut lag = Lag::new(start);
        assert_eq!(lag.note(at(10), Duration::from_millis(1)), 1000);
        assert_eq!(lag.note(at(50), Duration::from_millis(40)), 40_000);
        assert_eq!(lag.note(at(1001), Duration::from_millis(1)), 40_000);
        assert_eq!(lag.note(at(1900), Duration::from_millis(2)), 40_000);
        assert_eq!(lag.note(at(2002), Duration::from_millis(1)), 2000);
    }

    #[test]
    fn what_was_published_is_read_back() {
        let load = Load::default();
        let mut engine = Counters {
            rtp_received: 1,
            nacked: 7,
            passed: 12,
            conns: 10,
            ..Counters::default()
        };
        engine.dropped.add(DropReason::QueueFull, 2);
        engine.dropped.add(DropReason::SendFailed, 9);
        let mut shell = ShellCounters {
            turns: 3,
            relay_packets_dropped: 4,
            slow_readers: 5,
            lag_us: 8,
            tcp: TcpFigures {
                open: 10,
                accepted: 11,
                refused: 12,
                slow_readers: 13,
                frames_received: 14,
                frames_sent: 15,
            },
            ..ShellCounters::default()
        };
        shell.latency.add(Duration::from_millis(2), 3);
        shell.count_run(1);
        shell.count_run(MAX_GSO_SEGMENTS);
        assert_eq!((shell.runs[0], shell.runs[MAX_GSO_SEGMENTS - 1]), (1, 1));
        load.begin_turn();
        assert!(load.is_in_turn());
        load.publish(6, Duration::from_micros(160), &engine, &shell);
        assert!(!load.is_in_turn());
        assert_eq!(load.busy(), Duration::from_micros(160));
        assert_eq!((load.conns(), load.turn_us()), (6, 10));
        assert_eq!(load.shell(), shell);
        let read = load.engine();
        assert_eq!((read.rtp_received, read.nacked, read.conns), (1, 7, 10));
        assert_eq!(read.passed, 12);
        assert_eq!(read.dropped.get(DropReason::QueueFull), 6);
        assert_eq!(read.dropped.get(DropReason::SendFailed), 9);
    }
}
