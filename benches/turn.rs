//! One turn of an engine: a frame of 8 packets from the publisher to N viewers, without sockets.
//!
//! Receive, unprotect, store, then per viewer select, rewrite, copy, stamp and protect into the
//! egress buffer. Throughput is in delivered packets.

mod stage;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use stage::{PACKETS, stage};

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn");
    for viewers in [1usize, 10, 100, 1000] {
        let (mut seats, mut script) = stage(1, &vec![0; viewers]);
        let mut seat = seats.remove(0);
        let mut frames = 0;
        group.throughput(Throughput::Elements((viewers * PACKETS) as u64));
        group.bench_function(BenchmarkId::from_parameter(viewers), |b| {
            b.iter_batched_ref(
                || (script.frame(), script.now),
                |(frame, now)| {
                    frames += 1;
                    seat.turn(*now, frame);
                },
                BatchSize::NumIterations(64),
            );
        });
        assert_eq!(seat.sent, frames * (viewers * PACKETS) as u64);
    }
    group.finish();
}

criterion_group!(benches, turn);
criterion_main!(benches);
