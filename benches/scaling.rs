//! One broadcast over 1, 2, 4 .. threads: an engine on each, linked by relay mails, no sockets.
//!
//! The viewers are spread evenly. The publisher's engine opens each packet once and mails each
//! frame once to every other engine, which is checked. Beside it the same viewers on engines that
//! each have a publisher of their own and no link: what the machine itself makes of the threads.
//!
//!     cargo bench --profile fast --bench scaling

mod stage;

use std::sync::Barrier;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use leafcutter::base::clock::Now;
use leafcutter::engine::Counters;
use leafcutter::model::mail::WorkerMail;

use stage::{Datagram, PACKETS, Script, Seat, stage};

/// Viewers in all.
const VIEWERS: usize = 480;

/// Frames per round.
const FRAMES: usize = 300;

/// Rounds of each, in turns; the best one counts: what slows the others down is somebody else.
const ROUNDS: usize = 15;

/// Mails on their way to one engine, before the publisher's waits for it.
const QUEUE: usize = 8;

/// Frames and the time of each, written beforehand.
type Frames = Vec<(Now, Vec<Datagram>)>;

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n <= cores);
    println!("{VIEWERS} viewers, {FRAMES} frames of {PACKETS} packets, {cores} processors");
    let mut all: Vec<_> = threads
        .map(|n| (n, Linked::new(n), Apart::new(n)))
        .collect();
    let mut best = vec![(0.0, 0.0); all.len()];
    for _ in 0..ROUNDS {
        for ((_, linked, apart), (best_linked, best_apart)) in all.iter_mut().zip(&mut best) {
            *best_linked = linked.round().max(*best_linked);
            *best_apart = apart.round().max(*best_apart);
        }
    }
    let Some(&(linked_alone, apart_alone)) = best.first() else {
        return;
    };
    for ((threads, ..), (linked, apart)) in all.iter().zip(best) {
        let rates = |rate: f64| format!("{rate:6.0} k/s, {:6.0} k/s each", rate / *threads as f64);
        println!(
            "{threads:2} threads: linked {}, {:4.2} times one; apart {}, {:4.2} times one",
            rates(linked),
            linked / linked_alone,
            rates(apart),
            apart / apart_alone,
        );
    }
}

/// Engines of one broadcast.
struct Linked {
    seats: Vec<Seat>,
    script: Script,
}

impl Linked {
    fn new(threads: usize) -> Self {
        let workers: Vec<u16> = (0..VIEWERS).map(|n| (n % threads) as u16).collect();
        let (seats, script) = stage(threads as u16, &workers);
        Self { seats, script }
    }

    /// Thousands of packets delivered per second.
    fn round(&mut self) -> f64 {
        let Self { seats, script } = self;
        let frames = frames(script);
        let before: Vec<Counters> = seats.iter().map(|seat| seat.engine.counters()).collect();
        let (took, mails) = run_linked(seats, frames);
        assert_eq!(
            mails,
            vec![FRAMES; seats.len() - 1],
            "each frame is mailed once"
        );
        let mut delivered = 0;
        for (number, (seat, before)) in seats.iter().zip(&before).enumerate() {
            let after = seat.engine.counters();
            let opened = after.rtp_received - before.rtp_received;
            let expected = if number == 0 { FRAMES * PACKETS } else { 0 };
            assert_eq!(
                opened, expected as u64,
                "only the publisher's engine opens packets"
            );
            delivered += after.rtp_sent - before.rtp_sent;
        }
        assert_eq!(
            delivered,
            (VIEWERS * FRAMES * PACKETS) as u64,
            "everybody gets everything"
        );
        rate(delivered, took)
    }
}

/// Engines that know nothing of each other, a broadcast on each.
struct Apart(Vec<(Vec<Seat>, Script)>);

impl Apart {
    fn new(threads: usize) -> Self {
        let one = |_| stage(1, &vec![0; VIEWERS / threads]);
        Self((0..threads).map(one).collect())
    }

    /// Thousands of packets delivered per second.
    fn round(&mut self) -> f64 {
        let start = Barrier::new(self.0.len() + 1);
        let frames: Vec<Frames> = self
            .0
            .iter_mut()
            .map(|(_, script)| frames(script))
            .collect();
        let before = self.sent();
        let began = std::thread::scope(|scope| {
            for ((seats, _), frames) in self.0.iter_mut().zip(frames) {
                let (seat, start) = (&mut seats[0], &start);
                scope.spawn(move || publish(seat, frames, &[], start));
            }
            start.wait();
            now()
        });
        let took = now() - began;
        rate(self.sent() - before, took)
    }

    fn sent(&self) -> u64 {
        let seats = self.0.iter().flat_map(|(seats, _)| seats);
        seats.map(|seat| seat.engine.counters().rtp_sent).sum()
    }
}

/// Runs all of `frames`; returns the time and how many mails each engine but the first got.
fn run_linked(seats: &mut [Seat], frames: Frames) -> (Duration, Vec<usize>) {
    let start = Barrier::new(seats.len() + 1);
    let (first, others) = seats.split_first_mut().expect("an engine");
    let (senders, receivers): (Vec<_>, Vec<_>) = others.iter().map(|_| sync_channel(QUEUE)).unzip();
    let (began, mails) = std::thread::scope(|scope| {
        let start = &start;
        scope.spawn(move || publish(first, frames, &senders, start));
        let others = others.iter_mut().zip(receivers);
        let others: Vec<_> = others
            .map(|(seat, mails)| scope.spawn(move || follow(seat, &mails, start)))
            .collect();
        start.wait();
        let began = now();
        let mails = others
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        let mails: Vec<usize> = mails.collect();
        (began, mails)
    });
    (now() - began, mails)
}

/// The publisher's engine: every frame to its own viewers and once to every other engine.
fn publish(
    seat: &mut Seat,
    frames: Frames,
    others: &[SyncSender<(Now, WorkerMail)>],
    start: &Barrier,
) {
    start.wait();
    for (now, mut frame) in frames {
        seat.turn(now, &mut frame);
        for (to, mail) in seat.relays() {
            others[to - 1].send((now, mail)).expect("it listens");
        }
    }
}

/// Another engine: whatever is mailed to it, to its viewers; returns the batches it got.
fn follow(seat: &mut Seat, mails: &Receiver<(Now, WorkerMail)>, start: &Barrier) -> usize {
    start.wait();
    let mut batches = 0;
    for (now, mail) in mails {
        batches += usize::from(matches!(mail, WorkerMail::RelayPackets(_)));
        seat.engine.handle_mail(now, mail);
        seat.forward(now);
    }
    batches
}

fn frames(script: &mut Script) -> Frames {
    let frame = |_| {
        let frame = script.frame();
        (script.now, frame)
    };
    (0..FRAMES).map(frame).collect()
}

fn rate(packets: u64, took: Duration) -> f64 {
    packets as f64 / took.as_secs_f64() / 1000.0
}

#[expect(clippy::disallowed_methods, reason = "the measurement itself")]
fn now() -> Instant {
    Instant::now()
}
