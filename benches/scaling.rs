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

/// Rounds of each; the best one counts, what disturbs it is somebody else.
const ROUNDS: usize = 5;

/// Mails on their way to one engine, before the publisher's waits for it.
const QUEUE: usize = 8;

/// Frames and the time of each, written beforehand.
type Frames = Vec<(Now, Vec<Datagram>)>;

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n <= cores);
    println!("{VIEWERS} viewers, {FRAMES} frames of {PACKETS} packets, {cores} processors");
    let mut alone = None;
    for threads in threads {
        let linked = linked(threads);
        let apart = apart(threads);
        let (linked_alone, apart_alone) = *alone.get_or_insert((linked, apart));
        let rates = |rate: f64| format!("{:6.0} k/s, {:6.0} k/s each", rate, rate / threads as f64);
        println!(
            "{threads:2} threads: linked {}, {:4.2} times one; apart {}, {:4.2} times one",
            rates(linked),
            linked / linked_alone,
            rates(apart),
            apart / apart_alone,
        );
    }
}

/// Thousands of packets delivered per second by `threads` linked engines.
fn linked(threads: usize) -> f64 {
    let workers: Vec<u16> = (0..VIEWERS).map(|n| (n % threads) as u16).collect();
    let (mut seats, mut script) = stage(threads as u16, &workers);
    let round = |_| {
        let frames = frames(&mut script);
        let before: Vec<Counters> = seats.iter().map(|seat| seat.engine.counters()).collect();
        let (took, mails) = run_linked(&mut seats, frames);
        assert_eq!(
            mails,
            vec![FRAMES; threads - 1],
            "each frame is mailed once"
        );
        let mut delivered = 0;
        for (number, (seat, before)) in seats.iter().zip(&before).enumerate() {
            let after = seat.engine.counters();
            let opened = after.rtp_received - before.rtp_received;
            assert_eq!(
                opened,
                if number == 0 {
                    (FRAMES * PACKETS) as u64
                } else {
                    0
                }
            );
            delivered += after.rtp_sent - before.rtp_sent;
        }
        rate(delivered, took)
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
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

/// Thousands of packets delivered per second by `threads` engines that know nothing of each other.
fn apart(threads: usize) -> f64 {
    let mut stages: Vec<_> = (0..threads)
        .map(|_| stage(1, &vec![0; VIEWERS / threads]))
        .collect();
    let round = |_| {
        let start = Barrier::new(threads + 1);
        let frames: Vec<Frames> = stages
            .iter_mut()
            .map(|(_, script)| frames(script))
            .collect();
        let before = sent(&stages);
        let began = std::thread::scope(|scope| {
            for ((seats, _), frames) in stages.iter_mut().zip(frames) {
                let (seat, start) = (&mut seats[0], &start);
                scope.spawn(move || publish(seat, frames, &[], start));
            }
            start.wait();
            now()
        });
        let took = now() - began;
        rate(sent(&stages) - before, took)
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

fn sent(stages: &[(Vec<Seat>, Script)]) -> u64 {
    let seats = stages.iter().flat_map(|(seats, _)| seats);
    seats.map(|seat| seat.engine.counters().rtp_sent).sum()
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
