//! The load tester's figures, as a table and as JSON; `html.rs` draws them.
//!
//! The tester says when it was itself the bottleneck, and then names no capacity: its figures
//! would be its own and not the server's.

use std::fmt::Write;

use serde::Serialize;

use super::mix::{Floor, Mix};

/// What was asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Broadcasts.
    pub broadcasts: usize,
    /// Viewers over all broadcasts.
    pub viewers: usize,
    /// Seconds measured.
    pub seconds: f64,
}

/// Median and tails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// 50 %.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
}

impl Percentiles {
    /// Of samples in microseconds, as milliseconds; zeros without samples.
    pub fn of_us(mut samples: Vec<u32>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let last = samples.len().saturating_sub(1) as f64;
            let sample = samples.get((last * share).round() as usize);
            f64::from(sample.copied().unwrap_or(0)) / 1000.0
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}

/// What one load showed.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was asked for.
    pub load: Load,
    /// Viewers that still got packets when the measured time ended.
    pub playing: usize,
    /// Why clients failed.
    pub failures: Vec<String>,
    /// The cipher that was agreed on.
    pub cipher: Option<String>,
    /// Packets delivered to viewers, per second.
    pub delivered_per_s: f64,
    /// Feedback packets that the viewers sent, per second.
    pub feedback_per_s: f64,
    /// Share of the packets that did not come, 0..=1, repaired ones counted as lost.
    pub loss: f64,
    /// The same from each viewer's first packet until everybody played.
    pub loss_joining: f64,
    /// Share of what was published that the viewers did not get, 0..=1, by count: a server may
    /// leave packets out without a gap in the numbers. What came at the ends of the measured time
    /// may count on one side alone, a frame at each.
    pub left_out: f64,
    /// Retransmissions received.
    pub repaired: u64,
    /// Packets that did not authenticate or held something else than what was sent.
    pub damaged: u64,
    /// Packets decrypted and compared.
    pub verified: u64,
    /// From the publisher's send call to the viewer's receive call.
    pub latency_ms: Percentiles,
    /// From `play` to the first packet.
    pub join_ms: Percentiles,
    /// Viewers per second while all joined at once.
    pub joins_per_s: f64,
    /// Processor time of the server per packet delivered.
    pub server_us_per_packet: Option<f64>,
    /// Cores that the server used.
    pub server_cpu: Option<f64>,
    /// Processor time of the server per join, forwarding taken off.
    pub server_ms_per_join: Option<f64>,
    /// Resident memory that the viewers added, per viewer.
    pub server_kib_per_viewer: Option<f64>,
    /// Cores that the tester used.
    pub tester_cpu: f64,
    /// Share of a core that the tester's busiest thread used.
    pub tester_busiest_thread: f64,
    /// Datagrams that the kernel dropped at the tester's own sockets.
    pub tester_drops: u64,
    /// What the server sent and received within the measured time.
    pub mix: Mix,
    /// The server told its run lengths; else single datagrams are assumed.
    pub runs_known: bool,
    /// What that costs at least; `None` when it was not measured.
    pub floor: Option<Floor>,
}

impl Measured {
    /// Why the figures may be the tester's own; `None` when they are the server's.
    pub fn bottleneck(&self) -> Option<String> {
        if self.tester_drops > 0 {
            let drops = self.tester_drops;
            return Some(format!(
                "{drops} datagrams were dropped at the tester's sockets"
            ));
        }
        if self.tester_busiest_thread > BUSY {
            let busy = self.tester_busiest_thread * 100.0;
            return Some(format!("a thread of the tester was {busy:.0} % busy"));
        }
        None
    }

    /// Everybody plays until the end and nobody failed, whole, in time: loss below 0.1 %, nothing
    /// left out, p99 latency below `p99_max_ms`.
    pub fn holds(&self, p99_max_ms: f64) -> bool {
        self.playing == self.load.viewers
            && self.failures.is_empty()
            && self.loss < MAX_LOSS
            && self.left_out < MAX_LEFT_OUT
            && self.damaged == 0
            && self.latency_ms.p99 < p99_max_ms
    }

    /// What /proc said of the server.
    fn server_rows(&self) -> Vec<(&'static str, String)> {
        let optional = |value: Option<f64>, unit: &str| {
            value.map_or("not known (no --pid)".to_owned(), |v| {
                format!("{v:.2} {unit}")
            })
        };
        vec![
            (
                "server per packet",
                optional(self.server_us_per_packet, "us"),
            ),
            ("server processor", optional(self.server_cpu, "cores")),
            ("server per join", optional(self.server_ms_per_join, "ms")),
            (
                "server per viewer",
                optional(self.server_kib_per_viewer, "KiB"),
            ),
        ]
    }

    /// The floor and the ratio to it.
    fn floor_rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(run) = self.mix.mean_run() {
            let how = if self.runs_known {
                "told by the server"
            } else {
                "assumed, the server does not tell"
            };
            rows.push(("datagrams per run", format!("{run:.2} on average, {how}")));
        }
        let Some(floor) = self.floor else {
            return rows;
        };
        let ratio = |name, ns: f64| {
            let us = ns / 1000.0;
            let ratio = self.server_us_per_packet.map(|server| server / us);
            let ratio = ratio.map_or(String::new(), |ratio| {
                format!(", server per packet / floor = {ratio:.2}")
            });
            (name, format!("{us:.2} us{ratio}"))
        };
        rows.push(ratio("floor without feedback", floor.without_feedback_ns));
        rows.push(ratio("floor with feedback", floor.with_feedback_ns));
        rows.push(ratio("floor, receivers live", floor.live_ns));
        rows.push(ratio("floor, live and paced", floor.paced_ns));
        rows
    }

    /// The figures as rows: name, value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let Percentiles { p50, p99, p999 } = self.latency_ms;
        let join = self.join_ms;
        let mut rows = vec![
            (
                "load",
                format!(
                    "{} broadcasts, {} viewers, {:.1} s",
                    self.load.broadcasts, self.load.viewers, self.load.seconds
                ),
            ),
            ("playing", self.playing.to_string()),
            (
                "delivered",
                format!(
                    "{:.0} packets/s, {:.0} feedback packets/s back, {}",
                    self.delivered_per_s,
                    self.feedback_per_s,
                    self.cipher.as_deref().unwrap_or("no cipher")
                ),
            ),
            (
                "loss",
                format!(
                    "{:.4} %, while viewers joined {:.4} %; {:.1} % left out",
                    self.loss * 100.0,
                    self.loss_joining * 100.0,
                    self.left_out * 100.0
                ),
            ),
            (
                "verified",
                format!("{} packets, {} damaged", self.verified, self.damaged),
            ),
            ("repaired", self.repaired.to_string()),
            (
                "latency",
                format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms"),
            ),
            (
                "join",
                format!(
                    "p50 {:.0} ms, p99 {:.0} ms, {:.0} per second",
                    join.p50, join.p99, self.joins_per_s
                ),
            ),
        ];
        rows.extend(self.server_rows());
        rows.push((
            "tester",
            format!(
                "{:.2} cores, busiest thread {:.0} %, {} drops",
                self.tester_cpu,
                self.tester_busiest_thread * 100.0,
                self.tester_drops
            ),
        ));
        rows.extend(self.floor_rows());
        if let Some(why) = self.failures.first() {
            rows.push(("failures", format!("{}, first: {why}", self.failures.len())));
        }
        if let Some(why) = self.bottleneck() {
            rows.push(("bottleneck", format!("the tester itself: {why}")));
        }
        rows
    }
}

/// All loads of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Processor, kernel, mitigations.
    pub machine: Vec<String>,
    /// The command line.
    pub command: String,
    /// Every load, in order.
    pub loads: Vec<Measured>,
    /// Most viewers that held; `None` without `--ramp`, and where the tester was the bottleneck.
    pub capacity_viewers: Option<usize>,
    /// Why there is no capacity.
    pub refusal: Option<String>,
}

/// Rows as lines with aligned columns.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, (name, value)| {
        let _ = writeln!(out, "{name:width$}  {value}");
        out
    })
}

/// Share of a core from which a thread of the tester no longer keeps its own time.
const BUSY: f64 = 0.9;

/// What a load may lose to hold.
const MAX_LOSS: f64 = 0.001;

/// What may seem left out for the ends of the measured time: of two seconds at 30 frames per second
/// not quite two frames.
const MAX_LEFT_OUT: f64 = 0.03;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn measured() -> Measured {
        Measured {
            load: Load {
                broadcasts: 1,
                viewers: 10,
                seconds: 1.0,
            },
            playing: 10,
            failures: Vec::new(),
            cipher: Some("AeadAes128Gcm".to_owned()),
            delivered_per_s: 2500.0,
            feedback_per_s: 100.0,
            loss: 0.0,
            loss_joining: 0.0,
            left_out: 0.0,
            repaired: 0,
            damaged: 0,
            verified: 100,
            latency_ms: Percentiles::of_us((1..=1000).collect()),
            join_ms: Percentiles::default(),
            joins_per_s: 10.0,
            server_us_per_packet: Some(2.0),
            server_cpu: Some(0.1),
            server_ms_per_join: None,
            server_kib_per_viewer: None,
            tester_cpu: 0.2,
            tester_busiest_thread: 0.2,
            tester_drops: 0,
            mix: Mix {
                delivered: 2500,
                feedback_in: 100,
                ..Mix::of_single(2000, 500)
            },
            runs_known: true,
            floor: None,
        }
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let p = measured().latency_ms;
        assert!((p.p50 - 0.5).abs() < 0.01 && (p.p99 - 0.99).abs() < 0.01);
        assert_eq!(Percentiles::of_us(Vec::new()), Percentiles::default());
    }

    #[test]
    fn a_tester_at_its_own_limit_says_so() {
        assert_eq!(measured().bottleneck(), None);
        assert!(measured().holds(10.0));
        let busy = Measured {
            tester_busiest_thread: 0.95,
            ..measured()
        };
        assert!(busy.bottleneck().unwrap().contains("95 %"));
        let dropped = Measured {
            tester_drops: 3,
            ..measured()
        };
        assert!(dropped.bottleneck().unwrap().contains("3 datagrams"));
        let lossy = Measured {
            loss: 0.002,
            ..measured()
        };
        assert!(!lossy.holds(10.0));
        let spared = Measured {
            left_out: 0.04,
            ..measured()
        };
        assert!(!spared.holds(10.0));
        let thrown_out = Measured {
            failures: vec!["highResourceUsage".to_owned()],
            ..measured()
        };
        assert!(!thrown_out.holds(10.0));
    }

    #[test]
    fn the_ratio_to_the_floor_is_shown_where_both_are_known() {
        let floor = super::super::mix::tests::costs().floor(&measured().mix);
        let with = Measured {
            server_us_per_packet: Some(7.6),
            floor,
            ..measured()
        };
        let text = table(&with.rows());
        // 2000 at 4 us and 500 at 3 us are 3.8 us each, and 100 feedback packets 0.03 us more.
        assert!(
            text.contains("3.80 us, server per packet / floor = 2.00"),
            "{text}"
        );
        assert!(
            text.contains("3.83 us, server per packet / floor = 1.98"),
            "{text}"
        );
        let without = Measured {
            server_us_per_packet: None,
            ..with
        };
        assert!(!table(&without.rows()).contains("/ floor"));
    }
}
