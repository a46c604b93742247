//! A media flow with the product's estimator and bucket as its sender, and the product's feedback
//! as its receiver: every report is written and read as bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use leafcutter::base::bytes::Writer;
use leafcutter::base::ids::Ssrc;
use leafcutter::bwe::arrivals::Arrivals;
use leafcutter::bwe::bucket::Bucket;
use leafcutter::bwe::estimator::Estimator;
use leafcutter::rtcp::{Compound, Packet};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::course::Out;

/// A video source of 30 frames per second that makes what it is told to, more or less.
#[derive(Debug)]
pub struct Encoder {
    max_bps: f64,
    share: f64,
    next_us: i64,
    rng: StdRng,
}

impl Encoder {
    /// Between [`MIN_BPS`] and `max_bps`; of an estimate it takes `share`, the rest being headers.
    pub fn new(max_bps: f64, share: f64, seed: u64) -> Self {
        Self {
            max_bps,
            share,
            next_us: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// What it makes of this estimate, bits per second.
    pub fn target_bps(&self, estimate_bps: f64) -> f64 {
        (estimate_bps * self.share).clamp(MIN_BPS, self.max_bps)
    }

    /// Bytes of the frame that is due; `None` between frames.
    pub fn frame(&mut self, now_us: i64, estimate_bps: f64) -> Option<usize> {
        if now_us < self.next_us {
            return None;
        }
        self.next_us = now_us.max(self.next_us + FRAME_US);
        let mean = self.target_bps(estimate_bps) / 8.0 * FRAME_US as f64 / 1e6;
        let size = mean * self.rng.random_range(0.75..1.25);
        Some((size as usize).max(100))
    }
}

/// Sender and receiver of one flow.
#[derive(Debug)]
pub struct Ours {
    epoch: Instant,
    estimator: Estimator,
    bucket: Bucket,
    encoder: Encoder,
    queue: VecDeque<usize>,
    queued_len: usize,
    seq: u16,
    timers_us: i64,
    arrivals: Arrivals,
    feedback_us: i64,
    /// No frames are made.
    pub paused: bool,
}

impl Ours {
    /// A flow whose source makes at most `max_bps`.
    pub fn new(epoch: Instant, max_bps: f64, seed: u64) -> Self {
        let mut estimator = Estimator::new(epoch, START_BPS);
        estimator.set_wanted(max_bps as u64);
        Self {
            epoch,
            estimator,
            bucket: Bucket::default(),
            encoder: Encoder::new(max_bps, PAYLOAD_SHARE, seed),
            queue: VecDeque::new(),
            queued_len: 0,
            seq: 0,
            timers_us: 0,
            arrivals: Arrivals::default(),
            feedback_us: 0,
            paused: false,
        }
    }

    /// Bits per second.
    pub fn estimate_bps(&self) -> f64 {
        self.estimator.estimate_bps().unwrap_or(START_BPS) as f64
    }

    /// What the source makes, bits per second.
    pub fn target_bps(&self) -> f64 {
        if self.paused {
            return 0.0;
        }
        self.encoder.target_bps(self.estimate_bps())
    }

    /// One millisecond of the sender and of the receiver.
    pub fn step(&mut self, now_us: i64, out: &mut Out) {
        let now = self.at(now_us);
        if now_us >= self.timers_us || self.estimator.is_probing() {
            self.timers_us = now_us + 20_000;
            self.estimator.handle_timeout(now);
        }
        let estimate = self.estimate_bps();
        if !self.paused
            && let Some(len) = self.encoder.frame(now_us, estimate)
            && (self.queued_len as f64) < estimate / 8.0 * MAX_QUEUE_S
        {
            let packets = len.div_ceil(PACKET_LEN);
            self.queue
                .extend(std::iter::repeat_n(len.div_ceil(packets), packets));
            self.queued_len += len.div_ceil(packets) * packets;
        }
        self.bucket.set_rate(Some(estimate as u64 * 2), false);
        self.bucket.fill(now);
        while let Some(&len) = self.queue.front() {
            if !self.bucket.take(len) {
                break;
            }
            self.queue.pop_front();
            self.queued_len -= len;
            self.send(now, len, out);
        }
        while self.estimator.padding_due(now) > 0 {
            self.send(now, PADDING_LEN, out);
        }
        if now_us >= self.feedback_us {
            self.feedback_us = now_us + FEEDBACK_US;
            let mut buf = [0; 1200];
            let mut w = Writer::new(&mut buf);
            while self
                .arrivals
                .write_feedback(&mut w, Ssrc(1), Ssrc(2))
                .is_some()
            {}
            let len = w.len();
            if len > 0 {
                out.back(buf[..len].to_vec());
            }
        }
    }

    /// A packet reached the receiver.
    pub fn arrived(&mut self, at_us: i64, packet: &[u8]) {
        let seq = u16::from_be_bytes([packet[0], packet[1]]);
        let at = self.at(at_us);
        self.arrivals.record(seq, at);
    }

    /// Feedback reached the sender.
    pub fn told(&mut self, at_us: i64, compound: &[u8]) {
        let now = self.at(at_us);
        for packet in Compound::new(compound) {
            let Ok(Packet::TransportFeedback(feedback)) = packet else {
                panic!("nothing else was sent");
            };
            self.estimator.handle_feedback(now, &feedback);
        }
    }

    fn send(&mut self, now: Instant, len: usize, out: &mut Out) {
        self.estimator.record_sent(now, self.seq, len);
        let mut packet = vec![0; len];
        packet[..2].copy_from_slice(&self.seq.to_be_bytes());
        self.seq = self.seq.wrapping_add(1);
        out.forth(packet);
    }

    fn at(&self, us: i64) -> Instant {
        self.epoch + Duration::from_micros(us as u64)
    }
}

/// Least that a source makes.
pub const MIN_BPS: f64 = 50e3;

/// Where an estimate begins.
pub const START_BPS: u64 = 300_000;

/// Share of the estimate that is payload: the rest is IP and UDP.
const PAYLOAD_SHARE: f64 = 0.97;

const FRAME_US: i64 = 33_333;
const PACKET_LEN: usize = 1200;
const PADDING_LEN: usize = 1000;

/// How often a browser reports.
const FEEDBACK_US: i64 = 50_000;

/// A source whose sender is so far behind leaves frames out.
const MAX_QUEUE_S: f64 = 0.2;
