//! One run: two links, one for each direction, and the flows that share them, a millisecond at a
//! time; and what it came to.

use std::collections::BTreeMap;
use std::time::Instant;

use super::anchor::Anchor;
use super::bottleneck::{Bottleneck, Shape};
use super::media::Ours;
use super::tcp::Tcp;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Section of RFC 8867, and what it is about.
    pub name: &'static str,
    /// How long.
    pub seconds: i64,
    /// The link that media takes, and the one back.
    pub links: [Shape; 2],
    /// Seconds, link, bits per second: the link's rate from then on.
    pub rates: Vec<(i64, usize, f64)>,
    /// Who uses them.
    pub flows: Vec<FlowPlan>,
}

/// One flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowPlan {
    /// Media or TCP.
    pub kind: Kind,
    /// The link that it sends into; what is told back takes the other one.
    pub link: usize,
    /// Seconds at which it begins and ends.
    pub from_s: i64,
    /// The end.
    pub to_s: i64,
    /// Seconds between which it has nothing to send.
    pub paused: Option<(i64, i64)>,
    /// Path behind each link, milliseconds one way.
    pub one_way_ms: i64,
    /// Most that its source makes, bits per second.
    pub max_bps: f64,
}

/// What a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Media, under the congestion control that is tried.
    Media,
    /// An endless TCP transfer.
    Tcp,
    /// Short TCP transfers.
    ShortTcp,
}

/// Whose congestion control is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The product's.
    Ours,
    /// str0m's.
    Anchor,
}

/// What a flow sends.
#[derive(Debug, Default)]
pub struct Out {
    sent: Vec<(bool, Vec<u8>)>,
}

impl Out {
    /// Towards the receiver.
    pub fn forth(&mut self, packet: Vec<u8>) {
        self.sent.push((true, packet));
    }

    /// Towards the sender.
    pub fn back(&mut self, packet: Vec<u8>) {
        self.sent.push((false, packet));
    }
}

#[derive(Debug)]
enum Flow {
    Ours(Box<Ours>),
    Anchor(Box<Anchor>),
    Tcp(Box<Tcp>),
}

/// One packet behind the first link.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its flow.
    pub flow: usize,
    /// Microseconds.
    pub at_us: i64,
    /// Bytes on the wire.
    pub len: usize,
    /// Wait in the queue, and its own flow's part of it.
    pub queued_us: i64,
    /// The part.
    pub own_queued_us: i64,
}

/// A tenth of a second.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds.
    pub at_s: f64,
    /// The first link's rate.
    pub capacity_bps: f64,
    /// Its queue.
    pub queue_us: i64,
    /// Of each flow: the estimate and what the source makes; 0 where there is none.
    pub flows: Vec<(f64, f64)>,
    /// Flows that want to send into the first link.
    pub active: usize,
}

/// What a run came to.
#[derive(Debug)]
pub struct Record {
    /// The plan.
    pub plan: Plan,
    /// Tenths of seconds.
    pub samples: Vec<Sample>,
    /// Packets behind the first link.
    pub seen: Vec<Seen>,
    /// Packets that the first link dropped.
    pub dropped: u64,
}

struct Course {
    plan: Plan,
    whose: Whose,
    seed: u64,
    epoch: Instant,
    links: [Bottleneck<(bool, Vec<u8>)>; 2],
    flows: Vec<Option<Flow>>,
    /// On the path behind a link: arrival, order, flow, direction, bytes.
    under_way: BTreeMap<(i64, u64), (usize, bool, Vec<u8>)>,
    order: u64,
    record: Record,
}

/// Runs `plan`.
pub fn run(plan: &Plan, whose: Whose, seed: u64) -> Record {
    let [forth, back] = plan.links;
    let mut course = Course {
        plan: plan.clone(),
        whose,
        seed,
        epoch: epoch(),
        links: [Bottleneck::new(forth, seed), Bottleneck::new(back, !seed)],
        flows: plan.flows.iter().map(|_| None).collect(),
        under_way: BTreeMap::new(),
        order: 0,
        record: Record {
            plan: plan.clone(),
            samples: Vec::new(),
            seen: Vec::new(),
            dropped: 0,
        },
    };
    for ms in 0..plan.seconds * 1000 {
        course.step(ms * 1000);
    }
    course.record.dropped = course.links[0].dropped;
    course.record
}

/// When virtual time begins.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other constructor; only distances to it are used"
)]
pub fn epoch() -> Instant {
    Instant::now()
}

impl Course {
    fn step(&mut self, now_us: i64) {
        for &(at_s, link, rate) in &self.plan.rates {
            if now_us == at_s * 1_000_000 {
                self.links[link].set_rate(rate);
            }
        }
        self.deliver(now_us);
        for index in 0..self.flows.len() {
            let flow = self.plan.flows[index];
            let (from_us, to_us) = (flow.from_s * 1_000_000, flow.to_s * 1_000_000);
            if now_us == from_us {
                self.flows[index] = Some(self.begin(index, flow));
            }
            if now_us >= to_us {
                self.flows[index] = None;
            }
            let paused = flow.paused.is_some_and(|(from_s, to_s)| {
                (from_s * 1_000_000..to_s * 1_000_000).contains(&now_us)
            });
            let mut out = Out::default();
            let own_us = now_us - from_us;
            match &mut self.flows[index] {
                None => {}
                Some(Flow::Ours(ours)) => {
                    ours.paused = paused;
                    ours.step(own_us, &mut out);
                }
                Some(Flow::Anchor(anchor)) => {
                    anchor.paused = paused;
                    anchor.step(own_us, &mut out);
                }
                Some(Flow::Tcp(tcp)) => tcp.step(own_us, &mut out),
            }
            self.send(now_us, index, out);
        }
        if now_us % 100_000 == 0 {
            self.sample(now_us);
        }
    }

    fn begin(&self, index: usize, flow: FlowPlan) -> Flow {
        let seed = self.seed.wrapping_add(index as u64 * 7919);
        match (flow.kind, self.whose) {
            (Kind::Media, Whose::Ours) => {
                Flow::Ours(Box::new(Ours::new(self.epoch, flow.max_bps, seed)))
            }
            (Kind::Media, Whose::Anchor) => {
                Flow::Anchor(Box::new(Anchor::new(self.epoch, flow.max_bps, seed)))
            }
            (Kind::Tcp, _) => Flow::Tcp(Box::new(Tcp::endless())),
            (Kind::ShortTcp, _) => Flow::Tcp(Box::new(Tcp::in_bouts(seed))),
        }
    }

    fn send(&mut self, now_us: i64, index: usize, out: Out) {
        for (forth, packet) in out.sent {
            let flow = self.plan.flows[index];
            let link = if forth { flow.link } else { 1 - flow.link };
            let len = packet.len() + HEADERS_LEN;
            self.links[link].push(now_us, index, len, (forth, packet));
        }
    }

    fn deliver(&mut self, now_us: i64) {
        for link in 0..2 {
            while let Some(passed) = self.links[link].poll(now_us) {
                if link == 0 {
                    self.record.seen.push(Seen {
                        flow: passed.flow,
                        at_us: passed.at_us,
                        len: passed.len,
                        queued_us: passed.queued_us,
                        own_queued_us: passed.own_queued_us,
                    });
                }
                let path_us = self.plan.flows[passed.flow].one_way_ms * 1000;
                self.order += 1;
                let (forth, bytes) = passed.what;
                let key = (passed.at_us + path_us, self.order);
                self.under_way.insert(key, (passed.flow, forth, bytes));
            }
        }
        while let Some(first) = self.under_way.first_entry() {
            let (at_us, _) = *first.key();
            if at_us > now_us {
                break;
            }
            let (index, forth, bytes) = first.remove();
            self.hand_over(now_us, at_us, index, forth, &bytes);
        }
    }

    fn hand_over(&mut self, now_us: i64, at_us: i64, index: usize, forth: bool, bytes: &[u8]) {
        let own_us = at_us - self.plan.flows[index].from_s * 1_000_000;
        let mut out = Out::default();
        match (&mut self.flows[index], forth) {
            (None, _) => {}
            (Some(Flow::Ours(ours)), true) => ours.arrived(own_us, bytes),
            (Some(Flow::Ours(ours)), false) => ours.told(own_us, bytes),
            (Some(Flow::Anchor(anchor)), true) => anchor.arrived(own_us, bytes, &mut out),
            (Some(Flow::Anchor(anchor)), false) => anchor.told(own_us, bytes, &mut out),
            (Some(Flow::Tcp(tcp)), true) => tcp.arrived(bytes, &mut out),
            (Some(Flow::Tcp(tcp)), false) => tcp.told(own_us, bytes),
        }
        self.send(now_us, index, out);
    }

    fn active(&self) -> usize {
        let flows = self.flows.iter().zip(&self.plan.flows);
        let on_link = flows.filter(|(_, plan)| plan.link == 0);
        on_link
            .filter(|(flow, _)| match flow {
                Some(Flow::Ours(ours)) => !ours.paused,
                Some(Flow::Anchor(anchor)) => !anchor.paused,
                Some(Flow::Tcp(tcp)) => tcp.is_active(),
                None => false,
            })
            .count()
    }

    fn sample(&mut self, now_us: i64) {
        let figures = |flow: &Option<Flow>| match flow {
            Some(Flow::Ours(ours)) => (ours.estimate_bps(), ours.target_bps()),
            Some(Flow::Anchor(anchor)) => (anchor.estimate_bps(), anchor.target_bps()),
            Some(Flow::Tcp(_)) | None => (0.0, 0.0),
        };
        self.record.samples.push(Sample {
            at_s: now_us as f64 / 1e6,
            capacity_bps: self.links[0].rate_bps(),
            queue_us: self.links[0].delay_us(),
            flows: self.flows.iter().map(figures).collect(),
            active: self.active(),
        });
    }
}

impl Record {
    /// True at least [`SETTLING_S`] after the start and after every change.
    pub fn is_steady(&self, at_us: i64) -> bool {
        let at_s = at_us as f64 / 1e6;
        let flows = self.plan.flows.iter();
        let turns = flows.flat_map(|flow| {
            let (from, to) = flow.paused.unwrap_or((flow.from_s, flow.to_s));
            [flow.from_s, flow.to_s, from, to]
        });
        let rates = self.plan.rates.iter().map(|(at_s, ..)| *at_s);
        turns
            .chain(rates)
            .chain([0])
            .all(|turn| !(turn as f64..turn as f64 + SETTLING_S).contains(&at_s))
    }

    /// Share of the first link that was used over the steady part, 0..=1.
    pub fn usage(&self) -> f64 {
        let steady = self.seen.iter().filter(|seen| self.is_steady(seen.at_us));
        let sent = steady.map(|seen| seen.len as f64 * 8.0).sum::<f64>();
        let samples = self.samples.iter();
        let steady = samples.filter(|sample| self.is_steady((sample.at_s * 1e6) as i64));
        sent / steady.map(|sample| sample.capacity_bps / 10.0).sum::<f64>()
    }

    /// 95th percentile over the steady part of the wait that a media flow causes itself, and of
    /// the whole wait, milliseconds.
    pub fn delay_ms(&self) -> (f64, f64) {
        let steady = self.seen.iter().filter(|seen| {
            self.plan.flows[seen.flow].kind == Kind::Media && self.is_steady(seen.at_us)
        });
        let (mut own, mut all): (Vec<_>, Vec<_>) = steady
            .map(|seen| (seen.own_queued_us, seen.queued_us))
            .unzip();
        (percentile_ms(&mut own), percentile_ms(&mut all))
    }

    /// The least that a media flow of the first link had over the steady part while it was there,
    /// in shares of an equal part of the link.
    pub fn least_share(&self) -> f64 {
        let media = |flow: &FlowPlan| flow.kind == Kind::Media && flow.link == 0;
        let indices = self.plan.flows.iter().enumerate();
        let shares = indices
            .filter(|(_, flow)| media(flow))
            .map(|(index, flow)| {
                let mut fair = 0.0;
                for sample in &self.samples {
                    let at_us = (sample.at_s * 1e6) as i64;
                    if self.is_steady(at_us) && is_active(flow, sample.at_s) {
                        fair += sample.capacity_bps / 10.0 / sample.active as f64;
                    }
                }
                let seen = self.seen.iter();
                let own = seen.filter(|seen| {
                    seen.flow == index
                        && self.is_steady(seen.at_us)
                        && is_active(flow, seen.at_us as f64 / 1e6)
                });
                own.map(|seen| seen.len as f64 * 8.0).sum::<f64>() / fair
            });
        shares.fold(f64::INFINITY, f64::min)
    }
}

fn is_active(flow: &FlowPlan, at_s: f64) -> bool {
    let within = |from: i64, to: i64| (from as f64..to as f64).contains(&at_s);
    within(flow.from_s, flow.to_s) && !flow.paused.is_some_and(|(from, to)| within(from, to))
}

fn percentile_ms(values: &mut [i64]) -> f64 {
    values.sort_unstable();
    values[values.len() * 95 / 100] as f64 / 1000.0
}

/// IPv4 and UDP.
const HEADERS_LEN: usize = 28;

/// What is steady begins so long after a change.
const SETTLING_S: f64 = 10.0;
