//! The load tester's figures: as a table, as JSON, and as one HTML file with charts.
//!
//! The tester says when it was itself the bottleneck, and then names no capacity: its figures
//! would be its own and not the server's.

use std::fmt::Write;

use serde::Serialize;

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
    /// Viewers that got packets.
    pub playing: usize,
    /// Why clients failed.
    pub failures: Vec<String>,
    /// Packets delivered to viewers, per second.
    pub delivered_per_s: f64,
    /// Share of the packets that did not come, 0..=1, repaired ones counted as lost.
    pub loss: f64,
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

    /// Everybody plays, whole, in time: loss below 0.1 %, p99 latency below 10 ms.
    pub fn holds(&self) -> bool {
        self.playing == self.load.viewers
            && self.loss < MAX_LOSS
            && self.damaged == 0
            && self.latency_ms.p99 < MAX_P99_MS
    }

    /// The figures as rows: name, value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let optional = |value: Option<f64>, unit: &str| {
            value.map_or("not known (no --pid)".to_owned(), |v| {
                format!("{v:.2} {unit}")
            })
        };
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
                format!("{:.0} packets/s", self.delivered_per_s),
            ),
            ("loss", format!("{:.4} %", self.loss * 100.0)),
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
            (
                "tester",
                format!(
                    "{:.2} cores, busiest thread {:.0} %, {} drops",
                    self.tester_cpu,
                    self.tester_busiest_thread * 100.0,
                    self.tester_drops
                ),
            ),
        ];
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

/// One HTML file, nothing fetched: figures and charts over the loads.
pub fn html(report: &Report) -> String {
    let mut out = String::from(HTML_HEAD);
    let _ = write!(out, "<p><code>{}</code></p><ul>", escape(&report.command));
    for line in &report.machine {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>");
    match (report.capacity_viewers, &report.refusal) {
        (Some(viewers), _) => {
            let _ = write!(out, "<p class=big>Capacity: {viewers} viewers</p>");
        }
        (None, Some(why)) => {
            let _ = write!(out, "<p class=big>No capacity: {}</p>", escape(why));
        }
        (None, None) => {}
    }
    let viewers = |m: &Measured| m.load.viewers as f64;
    if report.loads.len() > 1 {
        type Axis = fn(&Measured) -> Option<f64>;
        let charts: [(&str, Axis); 4] = [
            ("server processor, cores", |m| m.server_cpu),
            ("server, us per packet", |m| m.server_us_per_packet),
            ("latency p99, ms", |m| Some(m.latency_ms.p99)),
            ("loss, %", |m| Some(m.loss * 100.0)),
        ];
        for (title, axis) in charts {
            let loads = report.loads.iter();
            let points: Vec<_> = loads.filter_map(|m| Some((viewers(m), axis(m)?))).collect();
            out.push_str(&chart(title, &points));
        }
    }
    for measured in &report.loads {
        out.push_str("<table>");
        for (name, value) in measured.rows() {
            let _ = write!(out, "<tr><th>{name}<td>{}", escape(&value));
        }
        out.push_str("</table>");
    }
    out.push_str("</main>\n");
    out
}

/// A line over viewers as SVG.
fn chart(title: &str, points: &[(f64, f64)]) -> String {
    let most = |axis: fn(&(f64, f64)) -> f64| points.iter().map(axis).fold(1e-9, f64::max);
    let (right, top) = (most(|p| p.0), most(|p| p.1));
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line: String = sorted.iter().fold(String::new(), |mut line, (x, y)| {
        let _ = write!(
            line,
            "{:.1},{:.1} ",
            50.0 + x / right * 430.0,
            170.0 - y / top * 140.0
        );
        line
    });
    let dots: String = sorted.iter().fold(String::new(), |mut dots, (x, y)| {
        let (cx, cy) = (50.0 + x / right * 430.0, 170.0 - y / top * 140.0);
        let _ = write!(dots, "<circle cx={cx:.1} cy={cy:.1} r=3 />");
        dots
    });
    format!(
        "<svg viewBox='0 0 500 200'><text x=50 y=16>{}</text><path d='M50 30V170H480'/>\
         <text x=44 y=36 class=r>{top:.2}</text><text x=44 y=174 class=r>0</text>\
         <text x=480 y=190 class=r>{right:.0} viewers</text><polyline points='{line}'/>{dots}\
         </svg>",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Share of a core from which a thread of the tester no longer keeps its own time.
const BUSY: f64 = 0.9;

/// What a load may lose to hold.
const MAX_LOSS: f64 = 0.001;

/// What its 99th percentile of latency may be.
const MAX_P99_MS: f64 = 10.0;

const HTML_HEAD: &str = "<!doctype html><meta charset=utf-8><title>Leafcutter load test</title>
<meta name=viewport content='width=device-width'><style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#1c2a1e;background:#fbfcf8}
main{max-width:64rem;margin:auto}table{border-collapse:collapse;margin:1rem 0;width:100%}
th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #dde5d8;font-weight:400}
th{width:14rem;color:#55645a}svg{width:100%;max-width:31rem;font-size:12px}
path{fill:none;stroke:#9aa89d}polyline{fill:none;stroke:#2f7d3b;stroke-width:2}circle{fill:#2f7d3b}
.r{text-anchor:end}.big{font-size:1.4rem}</style><main><h1>Leafcutter load test</h1>
";

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            load: Load {
                broadcasts: 1,
                viewers: 10,
                seconds: 1.0,
            },
            playing: 10,
            failures: Vec::new(),
            delivered_per_s: 2500.0,
            loss: 0.0,
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
        assert!(measured().holds());
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
        assert!(!lossy.holds());
    }

    #[test]
    fn the_html_report_fetches_nothing_and_escapes() {
        let report = Report {
            machine: vec!["<x>".to_owned()],
            command: "a & b".to_owned(),
            loads: vec![measured(), measured()],
            capacity_viewers: Some(10),
            refusal: None,
        };
        let page = html(&report);
        assert!(page.contains("&lt;x&gt;") && page.contains("a &amp; b"));
        assert!(page.contains("<polyline") && page.contains("Capacity: 10 viewers"));
        assert!(!page.contains("http:") && !page.contains("https:"));
    }
}
