//! A running call for the benches: engines with one publisher and its viewers, connected by the
//! simulator's bare peers, and everything that those send, written beforehand.
//!
//! The engines are the product's own, driven through what `worker/run.rs` calls; there are no
//! sockets. Their timers do not run: a stage neither times out nor reports.

#![allow(dead_code, reason = "no bench uses all of it")]

#[path = "../../tests/sim/agenda.rs"]
mod agenda;
#[path = "../../tests/sim/bare.rs"]
mod bare;
#[path = "../../tests/sim/client.rs"]
mod client;
#[path = "../../tests/sim/control.rs"]
mod control;
#[path = "../../tests/sim/media.rs"]
mod media;
#[path = "../../tests/sim/network.rs"]
mod network;
#[path = "../../tests/sim/world.rs"]
mod world;

use std::time::{Duration, Instant};

use leafcutter::base::bytes::Writer;
use leafcutter::base::clock::Now;
use leafcutter::base::egress::{Egress, Route};
use leafcutter::base::ids::Ssrc;
use leafcutter::base::seq::SeqNo;
use leafcutter::engine::{Engine, Progress};
use leafcutter::model::mail::{Outgoing, WorkerMail};
use leafcutter::model::settings::AppSettings;
use leafcutter::rtcp::report::ReportBlock;
use leafcutter::rtcp::write::{self, FeedbackHead};

use bare::{Bare, Negotiated, Rtp, VIDEO_SSRC};
use control::Control;
use world::World;

/// Packets in a frame: 2 Mbit/s at 30 frames a second.
pub const PACKETS: usize = 8;

/// Payload bytes per packet.
pub const PAYLOAD_LEN: usize = 1150;

/// From frame to frame.
pub const FRAME: Duration = Duration::from_micros(33_333);

/// A datagram and where it comes from.
pub type Datagram = (Route, Vec<u8>);

/// One engine and the buffer that it writes to.
#[derive(Debug)]
pub struct Seat {
    /// The engine.
    pub engine: Engine,
    /// Its buffer, emptied whenever it is full, as sockets that take everything would.
    pub egress: Egress,
    /// Datagrams that left through the buffer.
    pub sent: u64,
}

impl Seat {
    /// What `worker/run.rs` does between receiving and flushing, timers left out.
    pub fn turn(&mut self, now: Now, datagrams: &mut [Datagram]) {
        for (route, datagram) in datagrams {
            self.engine.handle_datagram(now, *route, datagram);
        }
        self.forward(now);
    }

    /// Every fresh packet into the buffer and out of it.
    pub fn forward(&mut self, now: Now) {
        loop {
            let progress = self.engine.forward(now, &mut self.egress);
            let segments = self.egress.runs().iter().map(|run| run.segments as u64);
            self.sent += segments.sum::<u64>();
            self.egress.clear();
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// The packets mailed to other workers; mails to control are dropped.
    pub fn relays(&mut self) -> impl Iterator<Item = (usize, WorkerMail)> {
        std::iter::from_fn(|| self.engine.poll_mail()).filter_map(|mail| match mail {
            Outgoing::Worker(to, mail) => Some((usize::from(to.0), mail)),
            Outgoing::Others(_) | Outgoing::Control(_) => None,
        })
    }
}

/// What the peers send, in the order in which it is asked for.
#[derive(Debug)]
pub struct Script {
    /// The time of the latest frame.
    pub now: Now,
    publisher: Bare,
    viewers: Vec<Viewer>,
    packets: u32,
    key_frames: bool,
    feedbacks: u8,
}

/// A viewer and how its numbers follow from the publisher's.
#[derive(Debug)]
struct Viewer {
    peer: Bare,
    media: Ssrc,
    offset: u16,
}

impl Script {
    /// The next frame, 33 ms later.
    pub fn frame(&mut self) -> Vec<Datagram> {
        self.now = self.now.after(FRAME);
        let first = self.packets;
        self.packets += PACKETS as u32;
        (first..self.packets)
            .map(|number| self.packet(number))
            .collect()
    }

    /// A receiver report and a NACK of `missing` packets of the latest frame from viewer `number`.
    ///
    /// # Panics
    /// When `missing` is not within 1..=[`PACKETS`].
    pub fn nack(&mut self, number: usize, missing: u16) -> Datagram {
        assert!((1..=PACKETS as u16).contains(&missing));
        let newest = (self.packets - 1) as u16;
        let now = self.now;
        let viewer = &mut self.viewers[number];
        let (media, offset) = (viewer.media, viewer.offset);
        let seq = |back| SeqNo(newest.wrapping_add(offset).wrapping_sub(back));
        let seqs: Vec<_> = (0..missing).rev().map(seq).collect();
        viewer.rtcp(|w| {
            let block = report(now, media, seq(0));
            write::receiver_report(w, Ssrc(1), &[block]).expect("room");
            assert_eq!(write::nack(w, Ssrc(1), media, &seqs), seqs.len());
        })
    }

    /// What a browser that plays over a wide path sends about the latest frames: a receiver report
    /// and the arrival of the last 24 packets, one after the other as they were sent.
    pub fn feedback(&mut self, number: usize) -> Datagram {
        let newest = (self.packets - 1) as u16;
        let now = self.now;
        self.feedbacks = self.feedbacks.wrapping_add(1);
        let feedback_count = self.feedbacks;
        let viewer = &mut self.viewers[number];
        let (media, offset) = (viewer.media, viewer.offset);
        viewer.rtcp(|w| {
            let block = report(now, media, SeqNo(newest.wrapping_add(offset)));
            write::receiver_report(w, Ssrc(1), &[block]).expect("room");
            let head = FeedbackHead {
                sender: Ssrc(1),
                media,
                base_seq: newest.wrapping_sub(23),
                feedback_count,
            };
            let arrivals = (0..24).map(|n| Some(arrival_ticks(self.packets - 24 + n)));
            assert_eq!(write::transport_feedback(w, &head, arrivals), 24);
        })
    }

    /// Packet `number`: as VP8 has it, its frame's first tells whether a decoder can start there.
    fn packet(&self, number: u32) -> Datagram {
        let at = number % PACKETS as u32;
        let mut payload = [0x5a; PAYLOAD_LEN];
        // RFC 7741 §4.2, §4.3: descriptor, and in a frame's first packet the frame tag; behind a
        // key frame's there are start code and size, 640x360.
        let start = match (at == 0, self.key_frames) {
            (true, true) => &[0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1][..],
            (true, false) => &[0x10, 0x11, 2, 0],
            (false, _) => &[0],
        };
        payload[..start.len()].copy_from_slice(start);
        let packet = Rtp {
            pt: 96,
            ssrc: VIDEO_SSRC,
            seq: number as u16,
            timestamp: number / PACKETS as u32 * 3000,
            marker: at == PACKETS as u32 - 1,
            transport_seq: number as u16,
            payload: &payload,
        };
        let datagram = self.publisher.rtp_late(&packet, number >> 16);
        (route(&self.publisher), datagram)
    }
}

/// When packet `number` arrives, in the 250 us of feedback: 20 ms after it was sent.
fn arrival_ticks(number: u32) -> i64 {
    let (frame, at) = (number / PACKETS as u32, number % PACKETS as u32);
    let sent = i64::from(frame) * FRAME.as_micros() as i64 / 250;
    sent + 80 + i64::from(at)
}

impl Viewer {
    fn rtcp(&mut self, fill: impl FnOnce(&mut Writer<'_>)) -> Datagram {
        let mut buf = [0; 1200];
        let mut w = Writer::new(&mut buf);
        fill(&mut w);
        let len = w.len();
        (route(&self.peer), self.peer.rtcp(&buf[..len]))
    }
}

/// One publisher on worker 0 of `workers` and viewer `i` on worker `viewers[i]`, all connected and
/// playing.
///
/// # Panics
/// When one of them does not come to play.
pub fn stage(workers: u16, viewers: &[u16]) -> (Vec<Seat>, Script) {
    let mut world = World::new(1, workers);
    // The peers that answer here speak no SCTP, and a server that is not answered asks again.
    world.control = Control::new(AppSettings {
        data_channel_enabled: false,
        ..AppSettings::default()
    });
    let publisher = Negotiated::publisher(&mut world, 0, "call").connect(&mut world);
    let mut peers: Vec<Bare> = Vec::new();
    let mut consented = world.now.instant;
    for worker in viewers {
        peers.push(Negotiated::viewer(&mut world, *worker, "call").connect(&mut world));
        // Joining takes virtual time; consent is to outlive the last one.
        if world.now.instant - consented > Duration::from_secs(5) || peers.len() == viewers.len() {
            consented = world.now.instant;
            for peer in std::iter::once(&publisher).chain(&peers) {
                peer.send(&mut world, &peer.binding_request(None));
            }
            world.run(Duration::from_millis(10));
            world.strays.clear();
            world.unheard.clear();
        }
    }
    let mut script = Script {
        now: world.now,
        publisher,
        viewers: Vec::new(),
        packets: 0,
        key_frames: true,
        feedbacks: 0,
    };
    for (_, datagram) in (0..3).flat_map(|_| script.frame()).collect::<Vec<_>>() {
        script.publisher.send(&mut world, &datagram);
        world.run(Duration::from_millis(4));
    }
    script.key_frames = false;
    script.now = world.now;
    let received = std::mem::take(&mut world.strays);
    for peer in peers {
        let own = received.iter().find_map(|(to, datagram)| {
            let header = leafcutter::rtp::RtpHeader::parse(datagram)?;
            (*to == peer.address && header.pt.0 == 96).then_some(header)
        });
        let first = own.expect("video came");
        script.viewers.push(Viewer {
            media: first.ssrc,
            offset: first.seq.0,
            peer,
        });
    }
    let seat = |server: world::Server| Seat {
        engine: server.engine,
        egress: Egress::default(),
        sent: 0,
    };
    (world.servers.into_iter().map(seat).collect(), script)
}

/// Any instant, for what only wants one.
pub fn instant() -> Instant {
    world::epoch()
}

fn route(peer: &Bare) -> Route {
    Route::udp(peer.address, None)
}

fn report(now: Now, media: Ssrc, highest: SeqNo) -> ReportBlock {
    ReportBlock {
        ssrc: media,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_seq: u32::from(highest.0),
        jitter: 3,
        last_sr: now.ntp().compact(),
        delay_since_last_sr: 100,
    }
}
