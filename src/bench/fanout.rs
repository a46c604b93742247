//! One load against a server: S broadcasts, N viewers, and what they saw.
//!
//! Threads run their own clients and go through the stages together: broadcasts go live, viewers
//! open their WebSockets, all of them ask to play at once, and when everybody plays the measured
//! time begins.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::Target;
use super::client::{Client, Front, Phase, Role};
use super::fleet::Fleet;
use super::link::Identity;
use super::mix::Mix;
use super::report::{Load, Measured, Percentiles};
use super::traffic::Shape;
use super::viewer::Feedback;
use super::{process, scrape};

/// What a load is made with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// Its signalling.
    pub front: Front,
    /// What viewers report.
    pub feedback: Feedback,
    /// Viewers that ask to play per second; `None` lets all ask at once.
    pub joins_per_second: Option<f64>,
    /// Broadcasts.
    pub broadcasts: usize,
    /// Viewers over all broadcasts.
    pub viewers: usize,
    /// The tracks of each broadcast.
    pub shapes: Vec<Shape>,
    /// How long everybody plays before that.
    pub settle: Duration,
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
    /// Within the measured time.
    totals: Totals,
    /// Until everybody played.
    joining: Totals,
    damaged: u64,
    repaired: u64,
    verified: u64,
    latencies_us: Vec<u32>,
    joins_us: Vec<u32>,
    /// From the first `play` to the last first packet.
    joining_us: u64,
    failures: Vec<String>,
    /// Viewers that got a packet.
    joined: usize,
    /// Those that still got packets when the measured time ended.
    playing: usize,
    /// Processor time of this thread within the measured time.
    cpu_us: u64,
    ports: BTreeSet<u16>,
    drops: u64,
    cipher: Option<String>,
}

/// Packets counted by all clients of a thread.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    /// Media packets that viewers should have got, by sequence numbers.
    expected: u64,
    /// Those that came.
    came: u64,
    /// Video packets among them.
    video: u64,
    /// Media packets that publishers sent.
    published: u64,
    /// Feedback packets that viewers sent.
    feedback: u64,
    /// RTCP datagrams that clients received.
    reports: u64,
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
        stand.advance(Stage::End);
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

/// Runs that the server sent until the measured time began and ended.
type Runs = Option<(Vec<u64>, Vec<u64>)>;

#[derive(Debug, Default)]
struct Marks {
    before_open: Mark,
    before_join: Mark,
    after_join: Mark,
    begin: Mark,
    end: Mark,
    runs: Runs,
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
    stand.wait_for_all(plan, || watch("broadcasts go live", 0, 1))?;
    marks.before_open = mark();
    stand.advance(Stage::Open);
    stand.wait_for_all(plan, || watch("viewers connect", 0, viewers))?;
    marks.before_join = mark();
    stand.advance(Stage::Join);
    stand.wait_for_all(plan, || {
        watch(
            "viewers join",
            stand.playing.load(Ordering::Relaxed),
            viewers,
        );
    })?;
    marks.after_join = mark();
    let settled_us = marks.after_join.at_us + plan.settle.as_micros() as u64;
    while mark().at_us < settled_us {
        watch("settling", 0, 1);
        stand.rest(Duration::from_millis(200));
    }
    let runs = || match plan.front {
        Front::Ant => scrape::runs(plan.target.server),
        Front::Janus => None,
    };
    stand.advance(Stage::Measure);
    marks.begin = mark();
    let runs_before = runs();
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
    // Before the server is asked: what comes while it answers is not of the measured time.
    stand.advance(Stage::End);
    marks.runs = runs_before.zip(runs());
    Ok(marks)
}

impl Plan {
    /// How long everybody may take to join; those who do not are reported.
    fn join_time(&self) -> Duration {
        let rate = self.joins_per_second;
        let asking = rate.map_or(0.0, |rate| self.viewers as f64 / rate);
        JOIN_TIME + Duration::from_secs_f64(asking)
    }
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
    fn wait_for_all(&self, plan: &Plan, mut tick: impl FnMut()) -> Result<(), String> {
        let mut rounds = 0;
        let most = STAGE_ROUNDS + 5 * plan.join_time().as_secs();
        loop {
            tick();
            if self.rest(Duration::from_millis(200)) >= plan.threads {
                return Ok(());
            }
            rounds += 1;
            if rounds > most {
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
    fleet.set_front(plan.front);
    let mut share = Share::default();
    for number in (index..plan.broadcasts).step_by(plan.threads) {
        let role = fleet.publisher(&plan.shapes);
        let at = fleet.open(&format!("bench{number}"), role)?;
        fleet.ask(at, &json!({}));
    }
    let publishers = fleet.clients.len();
    fleet.run_until(JOIN_TIME, |clients| clients.iter().all(is_settled));
    pass(&mut fleet, stand, Stage::Publish);

    for number in part(plan.viewers, index, plan.threads) {
        let verify = verifies(number, plan.broadcasts, plan.verify_every);
        let stream = format!("bench{}", number % plan.broadcasts);
        fleet.open(&stream, Role::viewer_with(verify, plan.feedback))?;
        fleet.turn(Duration::ZERO);
    }
    pass(&mut fleet, stand, Stage::Open);

    join(&mut fleet, publishers, plan, stand, &mut share);
    pass(&mut fleet, stand, Stage::Join);
    measure(&mut fleet, stand, &mut share);
    share.failures = fleet.census().1.into_iter().map(str::to_owned).collect();
    Ok(share)
}

/// Lets this thread's viewers, those behind the `publishers` first clients, ask to play at the
/// plan's rate, and waits until they do.
fn join(fleet: &mut Fleet, publishers: usize, plan: &Plan, stand: &Stand, share: &mut Share) {
    let begin = fleet.now();
    let rate = plan.joins_per_second.map(|rate| rate / plan.threads as f64);
    let viewers = fleet.clients.len() - publishers;
    let mut asked_us = Vec::with_capacity(viewers);
    loop {
        let now = fleet.now();
        let passed = now.instant - begin.instant;
        let due = rate.map_or(viewers, |rate| (passed.as_secs_f64() * rate) as usize + 1);
        let due = due.min(viewers).min(asked_us.len() + ASKS_PER_TURN);
        while asked_us.len() < due {
            fleet.ask(publishers + asked_us.len(), &json!({}));
            asked_us.push(now.unix_us);
        }
        let all_asked = asked_us.len() == viewers;
        let waits = all_asked || rate.is_some();
        fleet.turn(if waits { SHORT_TURN } else { Duration::ZERO });
        let clients = fleet.clients.get(publishers..).unwrap_or_default();
        let playing = clients.iter().filter(|c| first_packet_us(c).is_some());
        let playing = playing.count();
        let more = playing.saturating_sub(share.joined);
        stand.playing.fetch_add(more as u64, Ordering::Relaxed);
        share.joined = playing;
        let settled = playing + clients.iter().filter(|c| is_failed(c)).count();
        if all_asked && (settled >= viewers || passed > plan.join_time()) {
            break;
        }
    }
    let clients = fleet.clients.get(publishers..).unwrap_or_default();
    for (client, asked_us) in clients.iter().zip(asked_us) {
        if let Some(us) = first_packet_us(client) {
            let waited = us.saturating_sub(asked_us);
            share
                .joins_us
                .push(u32::try_from(waited).unwrap_or(u32::MAX));
            let since_begin = us.saturating_sub(begin.unix_us);
            share.joining_us = share.joining_us.max(since_begin);
        }
    }
    share.joining = totals(fleet);
    let profile = fleet.clients.iter().find_map(Client::profile);
    share.cipher = profile.map(|profile| format!("{profile:?}"));
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
    let end = fleet.now();
    let plays = |client: &&Client| last_packet(client).is_some_and(|at| end.instant - at < SILENCE);
    share.playing = fleet.clients.iter().filter(plays).count();
    share.cpu_us = process::own_thread_cpu_us().unwrap_or(0) - cpu;
    share.drops = process::socket_drops(&share.ports).unwrap_or(0) - drops;
    share.totals = after.less(before);
    for client in &mut fleet.clients {
        if let Role::Viewer(viewer) = &mut client.role {
            share.latencies_us.append(&mut viewer.latencies_us);
            share.damaged += viewer.tally.damaged;
            share.repaired += viewer.tally.repaired;
            share.verified += viewer.tally.verified;
        }
    }
}

/// What all clients of this thread have counted.
fn totals(fleet: &Fleet) -> Totals {
    let mut all = Totals {
        published: fleet.sent,
        ..Totals::default()
    };
    for client in &fleet.clients {
        all.reports += client.reports_received;
        if let Role::Viewer(viewer) = &client.role {
            let (expected, came) = viewer.continuity();
            all.expected += expected;
            all.came += came;
            all.video += viewer.tally.video;
            all.feedback += client.feedback_sent;
        }
    }
    all
}

impl Totals {
    /// What became more since `before`.
    fn less(self, before: Self) -> Self {
        Self {
            expected: self.expected - before.expected,
            came: self.came - before.came,
            video: self.video - before.video,
            published: self.published - before.published,
            feedback: self.feedback - before.feedback,
            reports: self.reports - before.reports,
        }
    }

    fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.came += other.came;
        self.video += other.video;
        self.published += other.published;
        self.feedback += other.feedback;
        self.reports += other.reports;
    }

    /// Share that did not come, 0..=1.
    fn loss(&self) -> f64 {
        1.0 - self.came.min(self.expected) as f64 / self.expected.max(1) as f64
    }

    /// Share of what was published that did not come to its viewers, of whom each broadcast has so
    /// many, 0..=1.
    fn left_out(&self, viewers: f64) -> f64 {
        let due = self.published as f64 * viewers;
        if due > 0.0 {
            (1.0 - self.came as f64 / due).max(0.0)
        } else {
            0.0
        }
    }

    /// What the server did, `runs` being those it says that it sent.
    fn mix(&self, runs: &Runs) -> Mix {
        let small = self.came - self.video.min(self.came) + self.reports;
        let single = Mix::of_single(self.video, small);
        let runs = runs.as_ref().map(|(from, to)| scrape::since(from, to));
        Mix {
            runs: runs.unwrap_or(single.runs),
            small,
            media_in: self.published,
            feedback_in: self.feedback,
            delivered: self.came,
        }
    }
}

/// Adds up what the threads found; the last is the busiest one's share of a core.
fn merge(shares: Vec<Share>, seconds: f64) -> (Share, f64) {
    let mut all = Share::default();
    let mut busiest = 0.0f64;
    for share in shares {
        all.totals.add(share.totals);
        all.joining.add(share.joining);
        all.damaged += share.damaged;
        all.repaired += share.repaired;
        all.verified += share.verified;
        all.latencies_us.extend(share.latencies_us);
        all.joins_us.extend(share.joins_us);
        all.joining_us = all.joining_us.max(share.joining_us);
        all.failures.extend(share.failures);
        all.joined += share.joined;
        all.playing += share.playing;
        all.drops += share.drops;
        all.cpu_us += share.cpu_us;
        all.cipher = all.cipher.or(share.cipher);
        busiest = busiest.max(share.cpu_us as f64 / 1e6 / seconds);
    }
    (all, busiest)
}

fn sum_up(plan: &Plan, marks: &Marks, shares: Vec<Share>) -> Measured {
    let seconds = (marks.end.at_us.saturating_sub(marks.begin.at_us)) as f64 / 1e6;
    let (all, busiest) = merge(shares, seconds);
    let came = all.totals.came;
    let spent = |from: Mark, to: Mark| Some(to.cpu_us?.saturating_sub(from.cpu_us?));
    let per_packet = spent(marks.begin, marks.end)
        .filter(|_| came > 0)
        .map(|us| us as f64 / came as f64);
    let per_join = spent(marks.before_join, marks.after_join)
        .zip(per_packet)
        .filter(|_| all.joined > 0)
        .map(|(us, packet_us)| {
            let joining = us as f64 - packet_us * all.joining.came as f64;
            joining.max(0.0) / 1000.0 / all.joined as f64
        });
    let resident = marks
        .end
        .resident_len
        .zip(marks.before_open.resident_len)
        .filter(|_| all.joined > 0)
        .map(|(after, before)| after.saturating_sub(before) as f64 / 1024.0 / all.joined as f64);
    Measured {
        load: Load {
            broadcasts: plan.broadcasts,
            viewers: plan.viewers,
            seconds,
        },
        playing: all.playing,
        failures: all.failures,
        cipher: all.cipher,
        delivered_per_s: came as f64 / seconds,
        feedback_per_s: all.totals.feedback as f64 / seconds,
        loss: all.totals.loss(),
        loss_joining: all.joining.loss(),
        left_out: all
            .totals
            .left_out(all.joined as f64 / plan.broadcasts as f64),
        repaired: all.repaired,
        damaged: all.damaged,
        verified: all.verified,
        latency_ms: Percentiles::of_us(all.latencies_us),
        join_ms: Percentiles::of_us(all.joins_us),
        joins_per_s: all.joined as f64 / (all.joining_us as f64 / 1e6).max(1e-3),
        server_us_per_packet: per_packet,
        server_cpu: spent(marks.begin, marks.end).map(|us| us as f64 / 1e6 / seconds),
        server_ms_per_join: per_join,
        server_kib_per_viewer: resident,
        tester_cpu: all.cpu_us as f64 / 1e6 / seconds,
        tester_busiest_thread: busiest,
        tester_drops: all.drops,
        mix: all.totals.mix(&marks.runs),
        runs_known: marks.runs.is_some(),
        floor: None,
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

fn last_packet(client: &Client) -> Option<Instant> {
    match &client.role {
        Role::Viewer(viewer) => viewer.last_packet().map(|now| now.instant),
        Role::Publisher { .. } => None,
    }
}

/// The viewers of thread `index`, a row of them: those that verify are spread over all threads.
fn part(viewers: usize, index: usize, threads: usize) -> Range<usize> {
    viewers * index / threads..viewers * (index + 1) / threads
}

/// True for one viewer in `every` of each broadcast. Viewers are dealt to the broadcasts in turn;
/// each broadcast begins elsewhere, so that with few viewers of many it is one in `every` too.
fn verifies(viewer: usize, broadcasts: usize, every: usize) -> bool {
    let (round, broadcast) = (viewer / broadcasts, viewer % broadcasts);
    round % every == broadcast * every / broadcasts
}

/// A viewer that got nothing for as long plays no longer: two frames at the lowest rate.
const SILENCE: Duration = Duration::from_secs(2);

/// Longest wait of a turn while viewers join.
const SHORT_TURN: Duration = Duration::from_millis(1);

/// Longest wait of a thread that only turns its clients.
const TURN: Duration = Duration::from_millis(5);

/// `play` commands sent before the sockets are looked at again.
const ASKS_PER_TURN: usize = 16;

/// How long everybody may take to join; those who do not are reported.
const JOIN_TIME: Duration = Duration::from_secs(60);

/// Rounds of 200 ms that one stage may take beside the joining: many handshakes.
const STAGE_ROUNDS: u64 = 5 * 180;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broadcast_and_each_thread_has_viewers_that_verify() {
        for broadcasts in [1, 2, 4, 5, 8, 10, 20, 40, 50] {
            let viewers = broadcasts * 40;
            let mut of_broadcast = vec![0; broadcasts];
            for threads in [1, 2, 4, 5, 10] {
                of_broadcast.fill(0);
                let mut seen = 0;
                for index in 0..threads {
                    let part = part(viewers, index, threads);
                    seen += part.len();
                    let verifying: Vec<_> = part.filter(|&v| verifies(v, broadcasts, 20)).collect();
                    assert!(!verifying.is_empty() || viewers < threads * 20);
                    for viewer in verifying {
                        of_broadcast[viewer % broadcasts] += 1;
                    }
                }
                assert_eq!(seen, viewers);
                assert!(of_broadcast.iter().all(|&n| n == 2), "{of_broadcast:?}");
            }
        }
        let few = (0..100).filter(|&v| verifies(v, 100, 20)).count();
        assert_eq!(few, 5);
    }

    #[test]
    fn what_leaves_no_gap_is_found_missing_by_its_count() {
        let totals = Totals {
            expected: 1500,
            came: 1500,
            published: 1000,
            ..Totals::default()
        };
        assert!(totals.loss() < f64::EPSILON);
        assert!((totals.left_out(2.0) - 0.25).abs() < 1e-9);
        assert!(totals.left_out(1.5) < f64::EPSILON && totals.left_out(1.0) < f64::EPSILON);
        assert!(Totals::default().left_out(2.0) < f64::EPSILON);
    }
}
