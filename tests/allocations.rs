//! Steady state allocates nothing: two engines forward, relay, repair and report under a counting
//! allocator.
//!
//! The peers are the simulator's bare ones, so that every datagram can be written beforehand and
//! only engine code runs while allocations count.

#[path = "sim/agenda.rs"]
mod agenda;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/bare.rs"]
mod bare;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/client.rs"]
mod client;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/control.rs"]
mod control;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/media.rs"]
mod media;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/network.rs"]
mod network;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/world.rs"]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::time::Duration;

use leafcutter::base::bytes::Writer;
use leafcutter::base::clock::Now;
use leafcutter::base::egress::{Egress, Route};
use leafcutter::base::ids::Ssrc;
use leafcutter::base::seq::{RtpTime, SeqNo};
use leafcutter::engine::{ConnOutput, Engine, Progress};
use leafcutter::model::mail::{Outgoing, WorkerMail};
use leafcutter::model::settings::AppSettings;
use leafcutter::rtcp::report::{ReportBlock, SenderInfo};
use leafcutter::rtcp::write;

use bare::{AUDIO_SSRC, Bare, Negotiated, Rtp, VIDEO_SSRC};
use control::Control;
use world::World;

/// Counts allocations of the thread that asked for it.
struct Counting;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Where the first few came from.
    static TRACES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Counting {
    fn count(&self, len: usize) {
        if !ARMED.get() {
            return;
        }
        ARMED.set(false);
        COUNT.set(COUNT.get() + 1);
        TRACES.with_borrow_mut(|traces| {
            if traces.len() < 10 {
                let trace = std::backtrace::Backtrace::force_capture();
                traces.push(format!("{len} bytes\n{trace}"));
            }
        });
        ARMED.set(true);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches
// thread-local cells without destructors that matter and never unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        self.count(len);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(place, layout, len) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`; returns its allocations and where the first of them are.
fn allocations(work: impl FnOnce()) -> (u64, Vec<String>) {
    COUNT.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
    (COUNT.get(), TRACES.take())
}

/// The datagrams of one turn of one engine.
type Datagrams = Vec<(usize, Route, Vec<u8>)>;

/// Engines between sockets that swallow everything.
struct Bench {
    now: Now,
    engines: Vec<Engine>,
    egress: Egress,
    /// Datagrams written.
    sent: usize,
    /// Batches mailed from one engine to the other.
    relayed: usize,
    /// Mails to the control plane.
    told: u64,
    said: usize,
}

impl Bench {
    /// What `worker/run.rs` does each turn.
    fn turn(&mut self, datagrams: &mut Datagrams) {
        self.now = self.now.after(TURN);
        for (worker, route, datagram) in datagrams {
            self.engines[*worker].handle_datagram(self.now, *route, datagram);
        }
        for worker in 0..self.engines.len() {
            self.forward(worker);
            let due = self.engines[worker].poll_timeout();
            if due.is_some_and(|due| due <= self.now.instant) {
                self.engines[worker].handle_timeout(self.now);
                self.forward(worker);
            }
            while let Some(mail) = self.engines[worker].poll_mail() {
                match mail {
                    Outgoing::Worker(to, mail) => {
                        self.relayed += usize::from(matches!(mail, WorkerMail::RelayPackets(_)));
                        self.engines[usize::from(to.0)].handle_mail(self.now, mail);
                    }
                    Outgoing::Others(_) => {}
                    Outgoing::Control(_) => self.told += 1,
                }
            }
            while let Some((_, output)) = self.engines[worker].poll_conn() {
                self.said += usize::from(matches!(output, ConnOutput::Text(_)));
            }
        }
    }

    fn forward(&mut self, worker: usize) {
        loop {
            let progress = self.engines[worker].forward(self.now, &mut self.egress);
            self.sent += self
                .egress
                .runs()
                .iter()
                .map(|run| run.segments)
                .sum::<usize>();
            self.egress.clear();
            if progress == Progress::Done {
                return;
            }
        }
    }
}

/// A viewer and how its numbers follow from the publisher's.
struct Viewer {
    peer: Bare,
    media: Ssrc,
    offset: u16,
}

/// Everything that the publisher and its viewers send, turn by turn.
struct Script {
    publisher: Bare,
    viewers: Vec<Viewer>,
    video_seq: u16,
    audio_seq: u16,
    transport_seq: u16,
    ticks: u32,
    payload: Vec<u8>,
}

impl Script {
    fn turn(&mut self, now: Now, turn: usize) -> Datagrams {
        let mut datagrams = Datagrams::new();
        self.ticks += 90 * TURN.as_millis() as u32;
        let mut packets = Vec::new();
        for index in 0..3 {
            packets.push(self.video(index == 0, index == 2));
        }
        if turn.is_multiple_of(2) {
            packets.push(self.audio());
        }
        // A packet is missing and comes late: asked for, then forwarded out of order.
        if turn % 20 == 5 {
            packets.remove(1);
        }
        if turn % 20 == 7 {
            let late = Rtp {
                seq: self.video_seq - 8,
                ..self.video_packet(false, false)
            };
            packets.push(self.publisher.rtp(&late));
        }
        let route = Route::udp(self.publisher.address, None);
        datagrams.extend(packets.into_iter().map(|packet| (0, route, packet)));
        if turn.is_multiple_of(10) {
            let report = self.sender_report(now);
            datagrams.push((0, route, report));
        }
        for number in 0..self.viewers.len() {
            if (turn + number).is_multiple_of(6) {
                let seq = self.video_seq;
                let viewer = &mut self.viewers[number];
                let route = Route::udp(viewer.peer.address, None);
                datagrams.push((viewer.peer.worker, route, viewer.feedback(now, seq)));
            }
        }
        datagrams
    }

    fn video_packet(&self, start: bool, end: bool) -> Rtp<'_> {
        let payload = if start {
            &self.payload[..]
        } else {
            &self.payload[1..]
        };
        Rtp {
            pt: 96,
            ssrc: VIDEO_SSRC,
            seq: self.video_seq,
            timestamp: self.ticks,
            marker: end,
            transport_seq: self.transport_seq,
            payload,
        }
    }

    fn video(&mut self, start: bool, end: bool) -> Vec<u8> {
        let packet = self.publisher.rtp(&self.video_packet(start, end));
        self.video_seq += 1;
        self.transport_seq += 1;
        packet
    }

    fn audio(&mut self) -> Vec<u8> {
        let packet = Rtp {
            pt: 111,
            ssrc: AUDIO_SSRC,
            seq: self.audio_seq,
            timestamp: self.ticks / 90 * 48,
            marker: false,
            transport_seq: self.transport_seq,
            payload: &self.payload[..120],
        };
        self.audio_seq += 1;
        self.transport_seq += 1;
        self.publisher.rtp(&packet)
    }

    fn sender_report(&mut self, now: Now) -> Vec<u8> {
        let rtp = RtpTime(self.ticks);
        let info = SenderInfo {
            ntp: now.ntp(),
            rtp,
            packets: 100,
            octets: 100_000,
        };
        compound(&mut self.publisher, |w| {
            write::sender_report(w, Ssrc(VIDEO_SSRC), &info, &[]);
            write::sdes_cname(w, Ssrc(VIDEO_SSRC), "bare");
        })
    }
}

impl Viewer {
    /// Receiver report and NACK of five packets.
    fn feedback(&mut self, now: Now, newest: u16) -> Vec<u8> {
        let block = ReportBlock {
            ssrc: self.media,
            fraction_lost: 10,
            cumulative_lost: 5,
            highest_seq: u32::from(newest),
            jitter: 3,
            last_sr: now.ntp().compact(),
            delay_since_last_sr: 100,
        };
        let seqs: Vec<_> = (9..14)
            .map(|back| SeqNo(newest.wrapping_add(self.offset) - back))
            .collect();
        let media = self.media;
        compound(&mut self.peer, |w| {
            write::receiver_report(w, Ssrc(1), &[block]);
            write::nack(w, Ssrc(1), media, &seqs);
        })
    }
}

fn compound(peer: &mut Bare, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    fill(&mut w);
    let len = w.len();
    peer.rtcp(&buf[..len])
}

/// A publisher on engine 0, ten viewers there and two on engine 1, all connected and watching.
fn stage(mut world: World) -> (Bench, Script) {
    // The peers that answer here speak no SCTP, and a server that is not answered asks again.
    world.control = Control::new(AppSettings {
        data_channel_enabled: false,
        ..AppSettings::default()
    });
    let publisher = Negotiated::publisher(&mut world, 0, "call").connect(&mut world);
    let workers = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let peers: Vec<_> = workers
        .iter()
        .map(|worker| Negotiated::viewer(&mut world, *worker, "call").connect(&mut world))
        .collect();
    // VP8: descriptor, key frame tag, start code, 640x360.
    let mut payload = vec![0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
    payload.resize(1100, 0x5a);
    let mut script = Script {
        publisher,
        viewers: Vec::new(),
        video_seq: FIRST_SEQ,
        audio_seq: 0,
        transport_seq: 0,
        ticks: 0,
        payload,
    };
    for _ in 0..3 {
        for packet in [
            script.video(true, false),
            script.video(false, true),
            script.audio(),
        ] {
            script.publisher.send(&mut world, &packet);
        }
        world.run(Duration::from_millis(10));
    }
    for peer in peers {
        let received = peer.rtp_received(&mut world);
        let first = received
            .iter()
            .find(|header| header.pt.0 == 96)
            .expect("video came");
        let offset = first.seq.0.wrapping_sub(FIRST_SEQ);
        script.viewers.push(Viewer {
            media: first.ssrc,
            offset,
            peer,
        });
    }
    script.payload[1] = 0x11;
    let World { now, servers, .. } = world;
    let engines = servers.into_iter().map(|server| server.engine).collect();
    let egress = Egress::default();
    let bench = Bench {
        now,
        engines,
        egress,
        sent: 0,
        relayed: 0,
        told: 0,
        said: 0,
    };
    (bench, script)
}

#[test]
fn a_running_call_allocates_nothing() {
    let (mut bench, mut script) = stage(World::new(1, 2));
    run_for_nothing(&mut bench, &mut script, |worker| worker);
    assert_eq!(bench.engines[0].counters().passed, 0);
}

/// Every datagram comes to the engine that does not own its peer.
#[test]
fn passing_datagrams_allocates_nothing() {
    let (mut bench, mut script) = stage(World::on_one_port(1, 2));
    let before = bench.engines[1].counters().passed;
    run_for_nothing(&mut bench, &mut script, |worker| 1 - worker);
    let passed = bench.engines[1].counters().passed - before;
    assert!(passed > 3 * MEASURED as u64);
    assert!(bench.engines[0].counters().passed > 0);
}

/// Runs the script, whose datagrams for a worker come `to` another one maybe.
fn run_for_nothing(bench: &mut Bench, script: &mut Script, to: fn(usize) -> usize) {
    let mut now = bench.now;
    let mut turns: Vec<_> = (0..WARM_UP + MEASURED)
        .map(|turn| {
            now = now.after(TURN);
            let mut datagrams = script.turn(now, turn);
            datagrams
                .iter_mut()
                .for_each(|(worker, ..)| *worker = to(*worker));
            datagrams
        })
        .collect();
    for turn in &mut turns[..WARM_UP] {
        bench.turn(turn);
    }
    let before = [bench.engines[0].counters(), bench.engines[1].counters()];
    let (sent, relayed, told) = (bench.sent, bench.relayed, bench.told);
    let said = bench.said;
    let (count, traces) = allocations(|| {
        for turn in &mut turns[WARM_UP..] {
            bench.turn(turn);
        }
    });
    let after = [bench.engines[0].counters(), bench.engines[1].counters()];

    // Everything that was to be measured did happen.
    assert!(after[0].rtp_received - before[0].rtp_received > 3 * MEASURED as u64);
    assert!(bench.sent - sent > 3 * 12 * MEASURED);
    assert!(bench.relayed - relayed >= MEASURED);
    for (after, before) in after.iter().zip(&before) {
        assert!(after.retransmitted > before.retransmitted);
    }
    assert!(after[0].nacks_sent > before[0].nacks_sent);
    assert_eq!(after[0].peers_connected, 11);
    // A mail to control is one box: what a publisher sends is measured once a second.
    let told = bench.told - told;
    assert!((5..=7).contains(&told), "{told} measurements in 6 s");
    // A text to a player is written anew, every other second.
    let said = bench.said - said;
    assert!((20..=40).contains(&said), "{said} texts in 6 s");
    let texts = said as u64 * ALLOCATIONS_PER_TEXT;
    assert!(
        (told..=told + texts).contains(&count),
        "{count} allocations; the first of all:\n{}",
        traces.join("\n")
    );
}

/// How much time passes from turn to turn.
const TURN: Duration = Duration::from_millis(10);

/// The text's buffer, which grows once or twice, and its place in the queue.
const ALLOCATIONS_PER_TEXT: u64 = 4;

/// Turns until every buffer has its size.
const WARM_UP: usize = 400;

/// Turns that are measured; with the warm-up less than consent lasts.
const MEASURED: usize = 600;

/// Of the publisher's video.
const FIRST_SEQ: u16 = 100;
