//! What congestion control costs per packet: the bucket, the record of what was sent, and the
//! intake of feedback.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leafcutter::base::bytes::Writer;
use leafcutter::base::ids::Ssrc;
use leafcutter::bwe::arrivals::Arrivals;
use leafcutter::bwe::bucket::Bucket;
use leafcutter::bwe::estimator::Estimator;
use leafcutter::rtcp::{Compound, Packet};

/// Packets per feedback: 250 per second, reported 20 times a second.
const PACKETS: u64 = 12;

/// A stream of 250 packets per second through a path without a queue.
struct Path {
    now: Instant,
    estimator: Estimator,
    arrivals: Arrivals,
    seq: u16,
}

impl Path {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time has to begin somewhere"
    )]
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            estimator: Estimator::new(now, 1_000_000),
            arrivals: Arrivals::default(),
            seq: 0,
        }
    }

    fn send(&mut self) {
        for _ in 0..PACKETS {
            self.now += Duration::from_millis(4);
            self.estimator.record_sent(self.now, self.seq, 1150);
            let arrival = self.now + Duration::from_millis(20);
            self.arrivals.record(self.seq, arrival);
            self.seq = self.seq.wrapping_add(1);
        }
    }

    fn feedback(&mut self, buf: &mut [u8]) -> usize {
        let mut w = Writer::new(buf);
        let written = self.arrivals.write_feedback(&mut w, Ssrc(1), Ssrc(2));
        assert!(written.is_some());
        w.len()
    }

    fn read(&mut self, compound: &[u8]) {
        for packet in Compound::new(compound) {
            if let Ok(Packet::TransportFeedback(feedback)) = packet {
                self.estimator.handle_feedback(self.now, &feedback);
                self.estimator.handle_timeout(self.now);
            }
        }
    }
}

fn congestion(c: &mut Criterion) {
    let mut group = c.benchmark_group("congestion");
    group.throughput(Throughput::Elements(PACKETS));
    let mut path = Path::new();
    let mut buf = [0; 1200];
    group.bench_function("send 12, report", |b| {
        b.iter(|| {
            path.send();
            black_box(path.feedback(&mut buf));
        });
    });
    let mut path = Path::new();
    group.bench_function("send 12, report, read the report", |b| {
        b.iter(|| {
            path.send();
            let len = path.feedback(&mut buf);
            path.read(&buf[..len]);
        });
    });
    let now = path.now;
    for (name, estimate) in [("no bucket", None), ("bucket", Some(20_000_000))] {
        let mut bucket = Bucket::default();
        bucket.set_rate(estimate.map(|bps| bps * 2), false);
        let mut at = now;
        group.bench_function(name, |b| {
            b.iter(|| {
                at += Duration::from_millis(33);
                bucket.fill(at);
                for _ in 0..PACKETS {
                    black_box(bucket.take(black_box(1150)));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, congestion);
criterion_main!(benches);
