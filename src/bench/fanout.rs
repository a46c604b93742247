//! One load against a server: S broadcasts, N viewers, and what they saw.
//!
//! Threads run their own clients and go through the stages together: broadcasts go live, viewers
//! open their WebSockets, all of them ask to play at once, and when everybody plays the measured
//! time begins.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::args::Target;
use super::client::{Client, Phase, Role};
use super::fleet::Fleet;
use super::link::Identity;
use super::process;
use super::report::{Load, Measured, Percentiles};
use super::traffic::Shape;

/// What a load is made with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// Broadcasts.
    pub broadcasts: usize,
    /// Viewers over all broadcasts.
    pub viewers: usize,
    /// The tracks of each broadcast.
    pub shapes: Vec<Shape>,
    /// How long is measured.
    pub duration: Duration,
    /// One viewer in this many decrypts and checks.
    pub verify_every: usize,
    /// The server's process.
    pub pid: Option<u32>,
    /// Threads of the tester.
    pub threads: usize,
}

/// Where all threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Publish,
    Open,
    Join,
    Measure,
    End,
}

/// What the threads and their conductor share.
struct Stand {
    stage: AtomicUsize,
    done: Mutex<usize>,
    moved: Condvar,
    playing: AtomicU64,
}

/// What one thread found.
#[derive(Default)]
struct Share {
    expected: u64,
    came: u64,
    damaged: u64,
    repaired: u64,
    verified: u64,
    latencies_us: Vec<u32>,
    joins_us: Vec<u32>,
    joined_packets: u64,
    failures: Vec<String>,
    playing: usize,
    /// Processor time of this thread within the measured time.
    cpu_us: u64,
    ports: BTreeSet<u16>,
    drops: u64,
}

/// Runs `plan`; `watch` hears of progress: what happens, how far, of how much.
///
/// # Errors
/// Why no figures can be had, for a person.
pub fn run(plan: &Plan, mut watch: impl FnMut(&str, u64, u64)) -> Result<Measured, String> {
    let identity = Identity::generate().ok_or("no DTLS certificate can be made")?;
    let stand = Stand {
        stage: AtomicUsize::new(Stage::Publish as usize),
        done: Mutex::new(0),
        moved: Condvar::new(),
        playing: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let (stand, identity) = (&stand, &identity);
                scope.spawn(move || one_thread(plan, index, stand, identity))
            })
            .collect();
        let marks = conduct(plan, &stand, &mut watch);
        let mut shares = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(Ok(share)) => shares.push(share),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("a thread of the tester ended".to_owned()),
            }
        }
        let marks = marks?;
        Ok(sum_up(plan, &marks, shares))
    })
}

/// Readings of the server and the clock at the borders of the stages.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at_us: u64,
    cpu_us: Option<u64>,
    resident_len: Option<u64>,
}

#[derive(Debug, Default)]
struct Marks {
    before_open: Mark,
    before_join: Mark,
    after_join: Mark,
    begin: Mark,
    end: Mark,
}

fn conduct(
    plan: &Plan,
    stand: &Stand,
    watch: &mut impl FnMut(&str, u64, u64),
) -> Result<Marks, String> {
    let mut clock = crate::worker::clock::Clock::start();
    let mut mark = || Mark {
        at_us: clock.now().unix_us,
        cpu_us: plan.pid.and_then(process::cpu_us),
        resident_len: plan.pid.and_then(process::resident_len),
    };
    let viewers = plan.viewers as u64;
    let mut marks = Marks::default();
    let publishing = stand.wait_for_all(plan.threads, || watch("broadcasts go live", 0, 1));
    if publishing.is_ok() {
        marks.before_open = mark();
        stand.advance(Stage::Open);
        stand.wait_for_all(plan.threads, || watch("viewers connect", 0, viewers))?;
        marks.before_join = mark();
        stand.advance(Stage::Join);
        stand.wait_for_all(plan.threads, || {
            watch(
                "viewers join",
                stand.playing.load(Ordering::Relaxed),
                viewers,
            );
        })?;
        marks.after_join = mark();
        stand.advance(Stage::Measure);
        marks.begin = mark();
        let whole = plan.duration.as_micros() as u64;
        loop {
            let now = mark();
            let passed = now.at_us.saturating_sub(marks.begin.at_us);
            watch("measuring", passed.min(whole), whole);
            if passed >= whole {
                marks.end = now;
                break;
            }
            stand.rest(Duration::from_micros((whole - passed).min(200_000)));
        }
    }
    stand.advance(Stage::End);
    publishing.map(|()| marks)
}

impl Stand {
    fn stage(&self) -> usize {
        self.stage.load(Ordering::Acquire)
    }

    fn advance(&self, to: Stage) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = 0;
        self.stage.store(to as usize, Ordering::Release);
    }

    fn finished(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    /// Waits until every thread has finished the stage; `tick` runs about five times a second.
    fn wait_for_all(&self, threads: usize, mut tick: impl FnMut()) -> Result<(), String> {
        let mut rounds = 0;
        loop {
            tick();
            if self.rest(Duration::from_millis(200)) >= threads {
                return Ok(());
            }
            rounds += 1;
            if rounds > STAGE_ROUNDS {
                return Err("a stage did not end in time".to_owned());
            }
        }
    }

    fn rest(&self, time: Duration) -> usize {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_timeout(done, time);
        *waited.map_or_else(|e| e.into_inner().0, |(done, _)| done)
    }
}

fn one_thread(plan: &Plan, index: usize, stand: &Stand, identity: &Identity) -> io::Result<Share> {
    let Target { server, path } = &plan.target;
    let mut fleet = Fleet::new(*server, path, identity, index as u64 + 1)?;
    let mut share = Share::default();
    for number in (index..plan.broadcasts).step_by(plan.threads) {
        let role = fleet.publisher(&plan.shapes);
        let at = fleet.open(&format!("bench{number}"), role)?;
        fleet.ask(at, &json!({}));
    }
    let publishers = fleet.clients.len();
    fleet.run_until(JOIN_TIME, |clients| clients.iter().all(is_settled));
    pass(&mut fleet, stand, Stage::Publish);

    for number in (index..plan.viewers).step_by(plan.threads) {
        let verify = number % plan.verify_every == 0;
        let stream = format!("bench{}", number % plan.broadcasts);
        fleet.open(&stream, Role::viewer(verify))?;
        fleet.turn(Duration::ZERO);
    }
    pass(&mut fleet, stand, Stage::Open);

    let asked = fleet.now();
    for at in publishers..fleet.clients.len() {
        fleet.ask(at, &json!({}));
        if at % ASKS_PER_TURN == 0 {
            fleet.turn(Duration::ZERO);
        }
    }
    fleet.run_until(JOIN_TIME, |clients| {
        let viewers = clients.get(publishers..).unwrap_or_default();
        let playing = viewers
            .iter()
            .filter(|c| first_packet_us(c).is_some())
            .count();
        stand.playing.fetch_add(
            (playing - share.playing.min(playing)) as u64,
            Ordering::Relaxed,
        );
        share.playing = playing;
        playing + viewers.iter().filter(|c| is_failed(c)).count() == viewers.len()
    });
    for client in fleet.clients.get(publishers..).unwrap_or_default() {
        if let Some(us) = first_packet_us(client) {
            let waited = us.saturating_sub(asked.unix_us);
            share
                .joins_us
                .push(u32::try_from(waited).unwrap_or(u32::MAX));
        }
    }
    share.joined_packets = totals(&fleet).1;
    pass(&mut fleet, stand, Stage::Join);
    measure(&mut fleet, stand, &mut share);
    share.failures = fleet.census().1.into_iter().map(str::to_owned).collect();
    Ok(share)
}

/// Says that this thread is done with `stage` and goes on turning until all are.
fn pass(fleet: &mut Fleet, stand: &Stand, stage: Stage) {
    stand.finished();
    while stand.stage() == stage as usize {
        fleet.turn(TURN);
    }
}

fn measure(fleet: &mut Fleet, stand: &Stand, share: &mut Share) {
    share.ports = fleet.clients.iter().filter_map(Client::port).collect();
    let drops = process::socket_drops(&share.ports).unwrap_or(0);
    let cpu = process::own_thread_cpu_us().unwrap_or(0);
    let before = totals(fleet);
    for client in &mut fleet.clients {
        if let Role::Viewer(viewer) = &mut client.role {
            viewer.latencies_us.clear();
        }
    }
    while stand.stage() == Stage::Measure as usize {
        fleet.turn(TURN);
    }
    let after = totals(fleet);
    share.cpu_us = process::own_thread_cpu_us().unwrap_or(0) - cpu;
    share.drops = process::socket_drops(&share.ports).unwrap_or(0) - drops;
    share.expected = after.0 - before.0;
    share.came = after.1 - before.1;
    for client in &mut fleet.clients {
        if let Role::Viewer(viewer) = &mut client.role {
            share.latencies_us.append(&mut viewer.latencies_us);
            share.damaged += viewer.tally.damaged;
            share.repaired += viewer.tally.repaired;
            share.verified += viewer.tally.verified;
        }
    }
}

/// Packets expected and received by all viewers of this thread.
fn totals(fleet: &Fleet) -> (u64, u64) {
    let viewers = fleet.clients.iter().filter_map(|c| match &c.role {
        Role::Viewer(viewer) => Some(viewer.continuity()),
        Role::Publisher { .. } => None,
    });
    viewers.fold((0, 0), |(e, c), (expected, came)| (e + expected, c + came))
}

fn sum_up(plan: &Plan, marks: &Marks, shares: Vec<Share>) -> Measured {
    let mut all = Share::default();
    let seconds = (marks.end.at_us.saturating_sub(marks.begin.at_us)) as f64 / 1e6;
    let mut busiest = 0.0f64;
    for share in shares {
        all.expected += share.expected;
        all.came += share.came;
        all.damaged += share.damaged;
        all.repaired += share.repaired;
        all.verified += share.verified;
        all.latencies_us.extend(share.latencies_us);
        all.joins_us.extend(share.joins_us);
        all.joined_packets += share.joined_packets;
        all.failures.extend(share.failures);
        all.playing += share.playing;
        all.drops += share.drops;
        all.cpu_us += share.cpu_us;
        busiest = busiest.max(share.cpu_us as f64 / 1e6 / seconds);
    }
    let spent = |from: Mark, to: Mark| Some(to.cpu_us?.saturating_sub(from.cpu_us?));
    let per_packet = spent(marks.begin, marks.end)
        .filter(|_| all.came > 0)
        .map(|us| us as f64 / all.came as f64);
    let per_join = spent(marks.before_join, marks.after_join)
        .zip(per_packet)
        .filter(|_| all.playing > 0)
        .map(|(us, packet_us)| {
            let joining = us as f64 - packet_us * all.joined_packets as f64;
            joining.max(0.0) / 1000.0 / all.playing as f64
        });
    let resident = marks
        .end
        .resident_len
        .zip(marks.before_open.resident_len)
        .filter(|_| all.playing > 0)
        .map(|(after, before)| after.saturating_sub(before) as f64 / 1024.0 / all.playing as f64);
    let joining_s = (marks.after_join.at_us - marks.before_join.at_us) as f64 / 1e6;
    let last_join = all.joins_us.iter().max().copied().unwrap_or(0);
    Measured {
        load: Load {
            broadcasts: plan.broadcasts,
            viewers: plan.viewers,
            seconds,
        },
        playing: all.playing,
        failures: all.failures,
        delivered_per_s: all.came as f64 / seconds,
        loss: 1.0 - all.came.min(all.expected) as f64 / all.expected.max(1) as f64,
        repaired: all.repaired,
        damaged: all.damaged,
        verified: all.verified,
        latency_ms: Percentiles::of_us(all.latencies_us),
        join_ms: Percentiles::of_us(all.joins_us),
        joins_per_s: all.playing as f64
            / (f64::from(last_join) / 1e6).clamp(1e-3, joining_s.max(1e-3)),
        server_us_per_packet: per_packet,
        server_cpu: spent(marks.begin, marks.end).map(|us| us as f64 / 1e6 / seconds),
        server_ms_per_join: per_join,
        server_kib_per_viewer: resident,
        tester_cpu: all.cpu_us as f64 / 1e6 / seconds,
        tester_busiest_thread: busiest,
        tester_drops: all.drops,
    }
}

fn is_settled(client: &Client) -> bool {
    is_failed(client) || client.heard.iter().any(|said| said == "publish_started")
}

fn is_failed(client: &Client) -> bool {
    matches!(client.phase, Phase::Failed(_))
}

fn first_packet_us(client: &Client) -> Option<u64> {
    match &client.role {
        Role::Viewer(viewer) => viewer.first_packet().map(|now| now.unix_us),
        Role::Publisher { .. } => None,
    }
}

/// Longest wait of a thread that only turns its clients.
const TURN: Duration = Duration::from_millis(5);

/// `play` commands sent before the sockets are looked at again.
const ASKS_PER_TURN: usize = 16;

/// How long everybody may take to join; those who do not are reported.
const JOIN_TIME: Duration = Duration::from_secs(60);

/// Rounds of 200 ms that one stage may take: longer than [`JOIN_TIME`] and many handshakes.
const STAGE_ROUNDS: usize = 5 * 180;
