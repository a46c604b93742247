//! The anchor: the same source and the same link with `str0m::Rtc` and its bandwidth estimator as
//! the sender, another `Rtc` as the receiver.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::course::Out;
use super::media::{Encoder, START_BPS};

/// Sender and receiver of one flow.
pub struct Anchor {
    epoch: Instant,
    /// What the handshake took: the flow's own time is ahead of the course's by that.
    offset_us: i64,
    sender: Side,
    receiver: Side,
    mid: Mid,
    encoder: Encoder,
    estimate_bps: f64,
    /// No frames are made.
    pub paused: bool,
}

struct Side {
    rtc: Rtc,
    address: SocketAddr,
    timeout: Instant,
    out: VecDeque<Vec<u8>>,
    estimate: Option<Bitrate>,
}

impl Anchor {
    /// A connected flow whose source makes at most `max_bps`.
    pub fn new(epoch: Instant, max_bps: f64, seed: u64) -> Self {
        let sender = Rtc::builder().enable_bwe(Some(Bitrate::bps(START_BPS)));
        let mut sender = Side::new(sender.build(epoch), epoch, 1);
        let mut receiver = Side::new(Rtc::builder().build(epoch), epoch, 2);
        let mut change = sender.rtc.sdp_api();
        let mid = change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = change.apply().expect("an offer");
        let answer = receiver.rtc.sdp_api().accept_offer(offer).expect("answer");
        let accepted = sender.rtc.sdp_api().accept_answer(pending, answer);
        accepted.expect("accepted");
        sender
            .rtc
            .bwe()
            .set_bitrate(Bitrate::ZERO, Bitrate::bps(max_bps as u64));
        let mut anchor = Self {
            epoch,
            offset_us: 0,
            sender,
            receiver,
            mid,
            encoder: Encoder::new(max_bps, PAYLOAD_SHARE, seed),
            estimate_bps: START_BPS as f64,
            paused: false,
        };
        anchor.shake_hands();
        anchor
    }

    /// Bits per second.
    pub fn estimate_bps(&self) -> f64 {
        self.estimate_bps
    }

    /// What the source makes, bits per second.
    pub fn target_bps(&self) -> f64 {
        if self.paused {
            return 0.0;
        }
        self.encoder.target_bps(self.estimate_bps)
    }

    /// One millisecond of both ends.
    pub fn step(&mut self, now_us: i64, out: &mut Out) {
        let now = self.at(now_us);
        if !self.paused
            && let Some(len) = self.encoder.frame(now_us, self.estimate_bps)
        {
            let time = MediaTime::from_90khz(now_us as u64 * 9 / 100);
            let frame: Vec<u8> = vec![0x5a; len];
            if let Some(writer) = self.sender.rtc.writer(self.mid) {
                let pt = writer.payload_params().next().expect("a codec").pt();
                writer.write(pt, now, time, frame).expect("written");
            }
        }
        self.sender.advance(now);
        self.receiver.advance(now);
        self.collect(out);
    }

    /// A datagram reached the receiver.
    pub fn arrived(&mut self, at_us: i64, datagram: &[u8], out: &mut Out) {
        let at = self.at(at_us);
        self.receiver.take(at, self.sender.address, datagram);
        self.collect(out);
    }

    /// A datagram reached the sender.
    pub fn told(&mut self, at_us: i64, datagram: &[u8], out: &mut Out) {
        let at = self.at(at_us);
        self.sender.take(at, self.receiver.address, datagram);
        self.collect(out);
    }

    fn collect(&mut self, out: &mut Out) {
        if let Some(estimate) = self.sender.estimate.take() {
            self.estimate_bps = estimate.as_f64();
        }
        self.sender.out.drain(..).for_each(|d| out.forth(d));
        self.receiver.out.drain(..).for_each(|d| out.back(d));
    }

    fn shake_hands(&mut self) {
        for step in 1..5000 {
            self.offset_us = step * 1000;
            let now = self.at(0);
            self.sender.advance(now);
            self.receiver.advance(now);
            for datagram in std::mem::take(&mut self.sender.out) {
                self.receiver.take(now, self.sender.address, &datagram);
            }
            for datagram in std::mem::take(&mut self.receiver.out) {
                self.sender.take(now, self.receiver.address, &datagram);
            }
            if self.sender.rtc.is_connected() && self.receiver.rtc.is_connected() {
                return;
            }
        }
        panic!("not connected");
    }

    fn at(&self, us: i64) -> Instant {
        self.epoch + Duration::from_micros((us + self.offset_us) as u64)
    }
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anchor").finish_non_exhaustive()
    }
}

impl Side {
    fn new(mut rtc: Rtc, epoch: Instant, host: u8) -> Self {
        let address = SocketAddr::from(([192, 0, 2, host], 5000));
        let candidate = Candidate::host(address, "udp").expect("a candidate");
        rtc.add_local_candidate(candidate);
        Self {
            rtc,
            address,
            timeout: epoch,
            out: VecDeque::new(),
            estimate: None,
        }
    }

    /// Runs its timers up to `now`, each at its own time.
    fn advance(&mut self, now: Instant) {
        self.poll();
        for _ in 0..1000 {
            if self.timeout > now {
                break;
            }
            let at = self.timeout;
            self.rtc.handle_input(Input::Timeout(at)).expect("time");
            self.poll();
            if self.timeout == at {
                break;
            }
        }
        self.rtc.handle_input(Input::Timeout(now)).expect("time");
        self.poll();
    }

    fn take(&mut self, at: Instant, from: SocketAddr, datagram: &[u8]) {
        let receive = Receive::new(Protocol::Udp, from, self.address, datagram).expect("known");
        self.rtc
            .handle_input(Input::Receive(at, receive))
            .expect("taken");
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().expect("output") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(transmit) => self.out.push_back(transmit.contents.to_vec()),
                Output::Event(Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. })) => {
                    self.estimate = Some(estimate);
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// Its estimate leaves out IP, UDP and SRTP, so a source that took all of it would send more than
/// that over the link.
const PAYLOAD_SHARE: f64 = 0.92;
