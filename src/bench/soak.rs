//! `leafcutter bench soak`: people come and go for hours, and what the server keeps is looked at.
//!
//! Every second a generation comes: a publisher of its own and viewers of it, of the generation
//! before and of two broadcasts that stay. It lives for a few seconds, switches tracks off and on,
//! and goes, by `stop` or without a word. Each generation is a [`Fleet`] of its own, so that what
//! it held goes with it. The level of memory is compared while nobody is there: after a short churn
//! that warms the server up, and after the long one.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::args::{SoakArgs, Target};
use super::client::{Phase, Role};
use super::fleet::Fleet;
use super::link::Identity;
use super::traffic::Shape;
use super::{process, scrape};
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::worker::clock::Clock;

/// What the server held at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at_s: f64,
    /// Resident memory, bytes.
    pub resident_len: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Open WebSockets.
    pub conns: u64,
    /// Peers that exist.
    pub peers: u64,
    /// Tracks that exist.
    pub tracks: u64,
    /// Clients that asked to publish or play until then.
    pub joins: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Soaked {
    /// While nobody was there, behind the warm-up.
    pub before: Sample,
    /// While nobody was there, at the end.
    pub after: Sample,
    /// One a second, the warm-up included.
    pub samples: Vec<Sample>,
    /// Clients that asked to publish or play behind the warm-up.
    pub joins: u64,
    /// Those of them whose media never flowed although they had time, or that were refused.
    pub failures: u64,
    /// Why the first one that was told why failed.
    #[serde(skip)]
    pub first_failure: Option<String>,
    /// Packets that checking viewers found damaged.
    pub damaged: u64,
}

/// The churn and its clock.
struct Churn<'a> {
    args: &'a SoakArgs,
    target: Target,
    identity: Identity,
    clock: Clock,
    begin: Now,
    generations: VecDeque<Generation>,
    /// Generations so far.
    count: u64,
    soaked: Soaked,
}

/// Those who came together.
struct Generation {
    fleet: Fleet,
    number: u64,
    since: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Joined,
    SwitchedOff,
    SwitchedOn,
}

/// Runs it; `watch` hears of progress: what happens, how far, of how much.
///
/// # Errors
/// Why it could not, for a person.
pub fn run(args: &SoakArgs, mut watch: impl FnMut(&str, u64, u64)) -> Result<Soaked, String> {
    let mut clock = Clock::start();
    let begin = clock.now();
    let mut churn = Churn {
        args,
        target: Target::parse(&args.url)?,
        identity: Identity::generate().ok_or("no DTLS certificate can be made")?,
        clock,
        begin,
        generations: VecDeque::new(),
        count: 0,
        soaked: Soaked {
            before: Sample::default(),
            after: Sample::default(),
            samples: Vec::new(),
            joins: 0,
            failures: 0,
            first_failure: None,
            damaged: 0,
        },
    };
    churn.phase("warming up", args.warm_up, &mut watch)?;
    churn.soaked.before = churn.quiet(&mut watch)?;
    churn.soaked.failures = 0;
    churn.phase("people come and go", args.seconds, &mut watch)?;
    churn.soaked.after = churn.quiet(&mut watch)?;
    churn.soaked.joins = churn.soaked.after.joins - churn.soaked.before.joins;
    Ok(churn.soaked)
}

impl Churn<'_> {
    /// `seconds` of coming and going.
    fn phase(
        &mut self,
        what: &str,
        seconds: u64,
        watch: &mut impl FnMut(&str, u64, u64),
    ) -> Result<(), String> {
        let mut staying = self.open_staying()?;
        for second in 0..seconds {
            let until = self.clock.now().instant + Duration::from_secs(1);
            self.join()?;
            while self.clock.now().instant < until {
                staying.turn(Duration::ZERO);
                for generation in &mut self.generations {
                    generation.turn();
                }
            }
            let now = self.clock.now().instant;
            while self
                .generations
                .front()
                .is_some_and(|oldest| now.saturating_duration_since(oldest.since) >= LIFE)
            {
                self.leave();
            }
            let sample = self.sample()?;
            self.soaked.samples.push(sample);
            watch(what, second + 1, seconds);
        }
        while !self.generations.is_empty() {
            self.leave();
        }
        Ok(())
    }

    /// Everybody is gone: waits until the server has noticed and its allocator has given back what
    /// it gives back, and looks.
    fn quiet(&mut self, watch: &mut impl FnMut(&str, u64, u64)) -> Result<Sample, String> {
        let mut nobody = self.fleet(0)?;
        for second in 0..self.args.rest {
            nobody.turn(Duration::from_secs(1));
            let sample = self.sample()?;
            self.soaked.samples.push(sample);
            watch("nobody is there", second + 1, self.args.rest);
        }
        self.sample()
    }

    /// The two broadcasts that stay.
    fn open_staying(&mut self) -> Result<Fleet, String> {
        let mut fleet = self.fleet(0)?;
        for stream in STAYING {
            let role = fleet.publisher(&SHAPES);
            let at = fleet.open(stream, role).map_err(|e| e.to_string())?;
            fleet.ask(at, &json!({}));
        }
        let is_on_air = |heard: &Vec<String>| heard.iter().any(|word| word == "publish_started");
        let live = fleet.run_until(PATIENCE, |clients| {
            clients.iter().all(|c| is_on_air(&c.heard))
        });
        if live {
            Ok(fleet)
        } else {
            Err(format!("no broadcast: {:?}", fleet.census().1))
        }
    }

    /// The next generation.
    fn join(&mut self) -> Result<(), String> {
        self.count += 1;
        let number = self.count;
        let mut fleet = self.fleet(number)?;
        let own = format!("soak-{number}");
        let before = format!("soak-{}", number - 1);
        let has_before = !self.generations.is_empty();
        let publisher = fleet.publisher(&SHAPES);
        let at = fleet.open(&own, publisher).map_err(|e| e.to_string())?;
        fleet.ask(at, &json!({}));
        for viewer in 1..self.args.joins_per_second {
            let stream = match viewer % 3 {
                0 => STAYING[0],
                1 if has_before => before.as_str(),
                _ => STAYING[1],
            };
            let role = Role::viewer(viewer % 5 == 0);
            let at = fleet.open(stream, role).map_err(|e| e.to_string())?;
            fleet.ask(at, &json!({}));
            fleet.turn(Duration::ZERO);
        }
        self.generations.push_back(Generation {
            fleet,
            number,
            since: self.clock.now().instant,
            stage: Stage::Joined,
        });
        Ok(())
    }

    fn fleet(&self, seed: u64) -> Result<Fleet, String> {
        let Target { server, path } = &self.target;
        Fleet::new(*server, path, &self.identity, seed).map_err(|e| e.to_string())
    }

    /// The oldest generation goes, every second one without a word.
    fn leave(&mut self) {
        let Some(mut oldest) = self.generations.pop_front() else {
            return;
        };
        let why = oldest.fleet.census().1.first().map(|&why| why.to_owned());
        self.soaked.first_failure = self.soaked.first_failure.take().or(why);
        let had_time = oldest.since.elapsed() >= LIFE;
        for client in &mut oldest.fleet.clients {
            let flowed = match &client.role {
                Role::Viewer(viewer) => {
                    self.soaked.damaged += viewer.tally.damaged;
                    viewer.first_packet().is_some()
                }
                Role::Publisher { .. } => client.phase == Phase::Connected,
            };
            let is_refused = matches!(client.phase, Phase::Failed(_));
            self.soaked.failures += u64::from(!flowed && (had_time || is_refused));
            if oldest.number % 2 == 0 {
                let stop = json!({"command": "stop", "streamId": client.stream});
                client.say(&stop);
            }
        }
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let pid = self.args.pid;
        let gone = || format!("process {pid} cannot be looked at");
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|_| gone())?;
        let metrics = scrape::get(self.target.server, "/metrics").map_err(|e| e.to_string())?;
        let of = |name: &str| {
            let value = scrape::value(&metrics, name);
            value.ok_or_else(|| format!("the server does not tell {name}"))
        };
        let passed = self.clock.now().instant - self.begin.instant;
        Ok(Sample {
            at_s: passed.as_secs_f64(),
            resident_len: process::resident_len(pid).ok_or_else(gone)?,
            descriptors: descriptors.count() as u64,
            conns: of("leafcutter_conns")?,
            peers: of("leafcutter_peers")?,
            tracks: of("leafcutter_tracks")?,
            joins: self.count * u64::from(self.args.joins_per_second),
        })
    }
}

impl Generation {
    fn turn(&mut self) {
        self.fleet.turn(TURN);
        let age = self
            .fleet
            .now()
            .instant
            .saturating_duration_since(self.since);
        let (due, next) = match self.stage {
            Stage::Joined => (LIFE / 3, Stage::SwitchedOff),
            Stage::SwitchedOff => (LIFE / 2, Stage::SwitchedOn),
            Stage::SwitchedOn => return,
        };
        if age < due {
            return;
        }
        self.stage = next;
        for client in &mut self.fleet.clients {
            let command = json!({
                "command": "toggleVideo",
                "streamId": client.stream,
                "enabled": next == Stage::SwitchedOn,
            });
            client.say(&command);
        }
    }
}

impl Soaked {
    /// Memory at the end to memory at the beginning, both while nobody was there.
    pub fn ratio(&self) -> f64 {
        self.after.resident_len as f64 / self.before.resident_len.max(1) as f64
    }

    /// What the server did wrong, for a person; `None` when it kept what it should. Memory may have
    /// grown by `growth_max` percent.
    pub fn fault(&self, growth_max: f64) -> Option<String> {
        let left = [self.after.conns, self.after.peers, self.after.tracks];
        let grew = 100.0 * (self.ratio() - 1.0);
        if self.failures as f64 > self.joins as f64 * MAX_FAILED {
            let (failed, joins) = (self.failures, self.joins);
            let why = self.first_failure.as_deref().unwrap_or("no media came");
            return Some(format!("{failed} of {joins} joins failed, first: {why}"));
        }
        if left != [0; 3] {
            return Some("something was left behind".to_owned());
        }
        if self.damaged > 0 {
            return Some("packets came damaged".to_owned());
        }
        if self.after.descriptors > self.before.descriptors + FLEETING_DESCRIPTORS {
            return Some("descriptors were left behind".to_owned());
        }
        (grew > growth_max).then(|| format!("what nobody uses grew by {grew:.1} %"))
    }

    /// For a person.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let level = |sample: &Sample| {
            format!(
                "{:.1} MiB, {} descriptors, {} WebSockets, {} peers, {} tracks",
                sample.resident_len as f64 / MIB,
                sample.descriptors,
                sample.conns,
                sample.peers,
                sample.tracks
            )
        };
        let most = self.samples.iter().map(|sample| sample.resident_len).max();
        vec![
            ("joins", self.joins.to_string()),
            ("failed", self.failures.to_string()),
            ("damaged packets", self.damaged.to_string()),
            ("before", level(&self.before)),
            ("after", level(&self.after)),
            ("most", format!("{:.1} MiB", most.unwrap_or(0) as f64 / MIB)),
            ("after / before", format!("{:.3}", self.ratio())),
        ]
    }

    /// One row per second.
    pub fn csv(&self) -> String {
        let mut text =
            String::from("seconds,resident_kib,descriptors,websockets,peers,tracks,joins\n");
        for s in &self.samples {
            let _ = writeln!(
                text,
                "{:.0},{},{},{},{},{},{}",
                s.at_s,
                s.resident_len / 1024,
                s.descriptors,
                s.conns,
                s.peers,
                s.tracks,
                s.joins
            );
        }
        text
    }

    /// Memory above, descriptors and peers below.
    pub fn svg(&self) -> String {
        let end_s = self.samples.last().map_or(1.0, |last| last.at_s.max(1.0));
        let memory = |s: &Sample| s.resident_len as f64 / MIB;
        let descriptors = |s: &Sample| s.descriptors as f64;
        let peers = |s: &Sample| s.peers as f64;
        let mut text = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 560\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"900\" height=\"560\" fill=\"white\"/>\n",
        );
        self.panel(&mut text, 30.0, "resident memory, MiB", end_s, &memory);
        self.panel(&mut text, 210.0, "descriptors", end_s, &descriptors);
        self.panel(&mut text, 390.0, "peers", end_s, &peers);
        let _ = writeln!(
            text,
            "<text x=\"860\" y=\"552\" text-anchor=\"end\">{end_s:.0} s, {} joins</text>\n</svg>",
            self.joins
        );
        text
    }

    fn panel(
        &self,
        text: &mut String,
        top: f64,
        what: &str,
        end_s: f64,
        of: &dyn Fn(&Sample) -> f64,
    ) {
        let most = self.samples.iter().map(of).fold(1.0, f64::max);
        let _ = writeln!(
            text,
            "<text x=\"50\" y=\"{:.0}\">{what}: most {most:.0}</text>\n\
             <path d=\"M50 {:.0}H860\" stroke=\"#999\"/>",
            top - 6.0,
            top + 140.0
        );
        let mut line = String::new();
        for sample in &self.samples {
            let x = 50.0 + sample.at_s / end_s * 810.0;
            let y = top + 140.0 - of(sample) / most * 135.0;
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"#1565c0\" points=\"{}\"/>",
            line.trim_end()
        );
    }
}

const STAYING: [&str; 2] = ["soak-first", "soak-second"];

/// A small talking head: the churn is the load.
const SHAPES: [Shape; 2] = [
    Shape {
        kind: MediaKind::Audio,
        fps: 50.0,
        pps: 50.0,
        payload_len: 80,
    },
    Shape {
        kind: MediaKind::Video,
        fps: 15.0,
        pps: 30.0,
        payload_len: 600,
    },
];

/// How long a generation stays.
const LIFE: Duration = Duration::from_secs(4);

const TURN: Duration = Duration::from_millis(1);

const PATIENCE: Duration = Duration::from_secs(30);

/// Share of the joins that may fail: on a busy machine a handshake may take longer than a
/// generation lives.
const MAX_FAILED: f64 = 0.01;

/// Descriptors that may be open at one moment and not at another: connections that read metrics,
/// files of the database. One left behind by each of those who came would be more.
const FLEETING_DESCRIPTORS: u64 = 4;

const MIB: f64 = (1 << 20) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sampled_is_compared_and_drawn() {
        let sample = |at_s: f64, resident_len| Sample {
            at_s,
            resident_len,
            peers: 3,
            ..Sample::default()
        };
        let soaked = Soaked {
            before: Sample {
                peers: 0,
                ..sample(1.0, 100 << 20)
            },
            after: Sample {
                peers: 0,
                ..sample(9.0, 103 << 20)
            },
            samples: (0..10).map(|s| sample(f64::from(s), 120 << 20)).collect(),
            joins: 200,
            failures: 2,
            first_failure: None,
            damaged: 0,
        };
        assert_eq!(soaked.fault(5.0), None);
        let grew = soaked.fault(2.0).unwrap();
        assert!(grew.contains("3.0 %"), "{grew}");
        let refused = Soaked {
            failures: 3,
            first_failure: Some("viewerLimitReached".to_owned()),
            ..soaked.clone()
        };
        let why = refused.fault(5.0).unwrap();
        assert_eq!(why, "3 of 200 joins failed, first: viewerLimitReached");
        assert!((soaked.ratio() - 1.03).abs() < 1e-9);
        assert_eq!(soaked.csv().lines().count(), 11);
        let svg = soaked.svg();
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert!(svg.contains("most 120") && svg.ends_with("</svg>\n"));
        assert!(soaked.rows().iter().any(|(_, value)| value == "1.030"));
    }
}
