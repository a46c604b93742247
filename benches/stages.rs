//! The stages of a packet's journey, each by itself and per packet: receive, rewrite and stamp,
//! commit, relay to another worker and its taking there, feedback of a viewer.
//!
//! The cipher is in `srtp.rs`, parsing in `parse.rs`, all together in `turn.rs`.

mod stage;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use leafcutter::base::egress::{Egress, Route};
use leafcutter::base::ids::Ssrc;
use leafcutter::base::limits::MAX_GSO_SEGMENTS;
use leafcutter::base::seq::{RtpTime, SeqNo};
use leafcutter::router::rewrite::Rewriter;
use leafcutter::rtp::canonical;

use stage::{PACKETS, PAYLOAD_LEN, stage};

/// Parse, replay check, unprotect, canonical form, history: nobody watches.
fn receive(c: &mut Criterion) {
    let (mut seats, mut script) = stage(1, &[]);
    let mut seat = seats.remove(0);
    let mut group = c.benchmark_group("stages");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function("receive", |b| {
        b.iter_batched_ref(
            || (script.frame(), script.now),
            |(frame, now)| seat.turn(*now, frame),
            BatchSize::NumIterations(64),
        );
    });
    group.finish();
}

/// What is done to each packet for each viewer beside the cipher.
fn rewrite(c: &mut Criterion) {
    let mut rewriter = Rewriter::new(0);
    rewriter.start(1, 1000, RtpTime(0), 3000);
    let mut stored = [0x5a; 20 + PAYLOAD_LEN];
    stored[0] = 0x90;
    let mut slot = [0; 1500];
    let mut seq = 1000;
    let mut group = c.benchmark_group("stages");
    group.throughput(Throughput::Elements(1));
    group.bench_function("rewrite_copy_stamp", |b| {
        b.iter(|| {
            seq += 1;
            let mapped = rewriter.map(1, seq, RtpTime(seq as u32));
            let (out, timestamp) = mapped.expect("of the source that flows");
            slot[..stored.len()].copy_from_slice(black_box(&stored));
            let seq = SeqNo(out as u16);
            canonical::stamp(&mut slot, None, seq, timestamp, Ssrc(7))
        });
    });
    group.finish();
}

/// Runs of eight to one viewer after the other, the bytes left as they are.
fn commit(c: &mut Criterion) {
    let mut egress = Egress::default();
    let mut group = c.benchmark_group("stages");
    let remote = |n: u32| {
        Route::udp(
            ([127, 0, 0, 1], 1024 + (n / PACKETS as u32) as u16).into(),
            None,
        )
    };
    let mut n = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("commit", |b| {
        b.iter(|| {
            n = (n + 1) % 100_000;
            if !egress.has_room_for(1) {
                black_box(egress.runs());
                egress.clear();
            }
            if black_box(egress.slot()).is_some() {
                egress.commit(remote(n), PAYLOAD_LEN, MAX_GSO_SEGMENTS);
            }
        });
    });
    group.finish();
}

/// A frame from the publisher's worker to another one with a single viewer: first what the
/// publisher's does, receiving included, then what the other one does.
fn relay(c: &mut Criterion) {
    let (mut seats, mut script) = stage(2, &[1]);
    let [origin, other] = &mut seats[..] else {
        unreachable!("two workers were asked for")
    };
    let mut group = c.benchmark_group("stages");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function("receive_and_relay", |b| {
        b.iter_batched_ref(
            || (script.frame(), script.now),
            |(frame, now)| {
                origin.turn(*now, frame);
                assert_eq!(black_box(origin.relays()).count(), 1);
            },
            BatchSize::NumIterations(64),
        );
    });
    let mut mails = 0;
    group.bench_function("take_relay_and_send_to_one", |b| {
        b.iter_batched(
            || {
                let mut frame = script.frame();
                origin.turn(script.now, &mut frame);
                let (_, mail) = origin.relays().next().expect("a mail");
                (mail, script.now)
            },
            |(mail, now)| {
                mails += 1;
                other.engine.handle_mail(now, mail);
                other.forward(now);
            },
            BatchSize::NumIterations(32),
        );
    });
    assert_eq!(other.sent, mails * PACKETS as u64);
    group.finish();
}

/// A receiver report and transport-wide feedback about 24 packets.
fn feedback(c: &mut Criterion) {
    let (mut seats, mut script) = stage(1, &[0]);
    let mut seat = seats.remove(0);
    let mut frame = script.frame();
    seat.turn(script.now, &mut frame);
    let mut group = c.benchmark_group("stages");
    group.throughput(Throughput::Elements(1));
    group.bench_function("feedback", |b| {
        b.iter_batched_ref(
            || ([script.feedback(0)], script.now),
            |(told, now)| seat.turn(*now, told),
            BatchSize::NumIterations(64),
        );
    });
    group.finish();
}

criterion_group!(benches, receive, rewrite, commit, relay, feedback);
criterion_main!(benches);
