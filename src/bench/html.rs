//! The load tester's report as one HTML file: nothing is fetched, charts are inline SVG.
//!
//! Light and dark by the reader's preference, readable from 390 px on. Called by `run.rs`.

use std::fmt::Write;

use super::mix::Mix;
use super::report::{Measured, Report};

/// The page of `report`.
pub fn page(report: &Report) -> String {
    let mut out = String::from(HEAD);
    put_summary(&mut out, report);
    out.push_str("<section class=charts>");
    for chart in charts(&report.loads) {
        chart.put(&mut out);
    }
    if let Some(last) = report.loads.last() {
        put_run_lengths(&mut out, &last.mix, last.runs_known);
    }
    out.push_str("</section>");
    // One load is shown, the others open at a click: the capacity, or else the last.
    let last = report.loads.last().map(|last| last.load.viewers);
    let shown = report.capacity_viewers.or(last);
    for measured in &report.loads {
        let viewers = measured.load.viewers;
        let open = if Some(viewers) == shown { " open" } else { "" };
        let _ = write!(
            out,
            "<details{open}><summary>{viewers} viewers</summary><table>"
        );
        for (name, value) in measured.rows() {
            let _ = write!(
                out,
                "<tr><th scope=row>{name}</th><td>{}</td></tr>",
                escape(&value)
            );
        }
        out.push_str("</table></details>");
    }
    out.push_str("<h2>Machine</h2><ul>");
    for line in &report.machine {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    let command = escape(&report.command);
    let _ = writeln!(
        out,
        "</ul><p><code>{command}</code></p></main></body></html>"
    );
    out
}

fn put_summary(out: &mut String, report: &Report) {
    match (report.capacity_viewers, &report.refusal) {
        (Some(viewers), _) => {
            let _ = write!(out, "<p class=big>Capacity: {viewers} viewers</p>");
        }
        (None, Some(why)) => {
            let _ = write!(out, "<p class=big>No capacity: {}</p>", escape(why));
        }
        (None, None) => {}
    }
}

/// One chart over viewers.
struct Chart {
    title: &'static str,
    unit: &'static str,
    series: Vec<Series>,
}

struct Series {
    name: &'static str,
    /// Viewers and value.
    points: Vec<(f64, f64)>,
}

fn charts(loads: &[Measured]) -> Vec<Chart> {
    let series = |name, value: fn(&Measured) -> Option<f64>| {
        let points = loads
            .iter()
            .filter_map(|m| Some((m.load.viewers as f64, value(m)?)));
        let mut points: Vec<_> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name, points }
    };
    let chart = |title, unit, series: Vec<Series>| Chart {
        title,
        unit,
        series: series
            .into_iter()
            .filter(|s| !s.points.is_empty())
            .collect(),
    };
    let all = [
        chart(
            "Processor time per packet",
            "us",
            vec![
                series("server", |m| m.server_us_per_packet),
                series("floor", |m| Some(m.floor?.with_feedback_ns / 1000.0)),
            ],
        ),
        chart(
            "One-way latency",
            "ms",
            vec![
                series("p50", |m| Some(m.latency_ms.p50)),
                series("p99", |m| Some(m.latency_ms.p99)),
                series("p99.9", |m| Some(m.latency_ms.p999)),
            ],
        ),
        chart(
            "Processors in use",
            "cores",
            vec![
                series("server", |m| m.server_cpu),
                series("tester", |m| Some(m.tester_cpu)),
            ],
        ),
        chart("Loss", "%", vec![series("loss", |m| Some(m.loss * 100.0))]),
    ];
    let drawn = all.into_iter().filter(|chart| !chart.series.is_empty());
    drawn.collect()
}

impl Chart {
    fn put(&self, out: &mut String) {
        let all = || self.series.iter().flat_map(|s| &s.points);
        let right = all().map(|p| p.0).fold(1.0, f64::max);
        let top = round_up(all().map(|p| p.1).fold(0.0, f64::max));
        let x = |viewers: f64| LEFT + viewers / right * WIDTH;
        let y = |value: f64| BOTTOM - value / top * HEIGHT;
        begin_figure(out, self.title, self.unit);
        put_axis(out, top);
        let mut labelled = f64::MIN;
        let mut places: Vec<f64> = all().map(|p| p.0).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        for viewers in places {
            if x(viewers) - labelled >= LABEL_WIDTH {
                labelled = x(viewers);
                let _ = write!(
                    out,
                    "<text x='{labelled:.1}' y='196' class='m'>{viewers:.0}</text>"
                );
            }
        }
        for (series, class) in self.series.iter().zip(CLASSES) {
            let _ = write!(out, "<polyline class='{class}' points='");
            for &(viewers, value) in &series.points {
                let _ = write!(out, "{:.1},{:.1} ", x(viewers), y(value));
            }
            out.push_str("'/>");
            for &(viewers, value) in &series.points {
                let (x, y) = (x(viewers), y(value));
                let _ = write!(
                    out,
                    "<circle class='{class}' cx='{x:.1}' cy='{y:.1}' r='3.5'>\
                     <title>{}, {viewers:.0} viewers: {value:.2}</title></circle>",
                    series.name
                );
            }
        }
        out.push_str("</svg><p class=legend>");
        for (series, class) in self.series.iter().zip(CLASSES) {
            let name = series.name;
            let _ = write!(out, "<span class='{class}'><i></i>{name}</span>");
        }
        out.push_str("<span>over viewers</span></p></figure>");
    }
}

/// Share of the datagrams that left in runs of each length.
fn put_run_lengths(out: &mut String, mix: &Mix, known: bool) {
    let total = mix.datagrams();
    if total == 0 {
        return;
    }
    let shares: Vec<f64> = mix
        .runs
        .iter()
        .zip(1u32..)
        .map(|(&count, len)| count as f64 * f64::from(len) * 100.0 / total as f64)
        .collect();
    let top = round_up(shares.iter().copied().fold(0.0, f64::max));
    begin_figure(out, "Datagrams by length of their run", "%");
    put_axis(out, top);
    let step = WIDTH / shares.len() as f64;
    for (at, share) in shares.iter().enumerate() {
        let x = LEFT + at as f64 * step;
        let height = share / top * HEIGHT;
        let len = at + 1;
        let _ = write!(
            out,
            "<rect class='a' x='{:.1}' y='{:.1}' width='{:.1}' height='{height:.1}'>\
             <title>runs of {len}: {share:.1} %</title></rect>\
             <text x='{:.1}' y='196' class='m'>{len}</text>",
            x + step * 0.15,
            BOTTOM - height,
            (step * 0.7).min(48.0),
            x + (step * 0.5).min(step * 0.15 + 24.0),
        );
    }
    let how = if known {
        "told by the server, highest load"
    } else {
        "assumed: the server does not tell"
    };
    let _ = write!(out, "</svg><p class=legend><span>{how}</span></p></figure>");
}

fn begin_figure(out: &mut String, title: &str, unit: &str) {
    let _ = write!(
        out,
        "<figure><figcaption>{title}, {unit}</figcaption>\
         <svg viewBox='0 0 360 204' role='img' aria-label='{title}'>"
    );
}

/// Lines at nothing, half and `top`, with their values.
fn put_axis(out: &mut String, top: f64) {
    for share in [0.0, 0.5, 1.0] {
        let y = BOTTOM - share * HEIGHT;
        let value = short(top * share);
        let _ = write!(
            out,
            "<path d='M{LEFT} {y:.1}H{:.1}'/><text x='{:.1}' y='{:.1}' class='r'>{value}</text>",
            LEFT + WIDTH,
            LEFT - 5.0,
            y + 4.0
        );
    }
}

/// The next value of 1, 2, 5 times a power of ten; 1 for nothing.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let fits = steps.into_iter().find(|&step| step >= value * 0.999_999);
    fits.unwrap_or(value)
}

/// Without needless digits.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const LEFT: f64 = 44.0;
const WIDTH: f64 = 300.0;
const BOTTOM: f64 = 176.0;
const HEIGHT: f64 = 164.0;

/// Between two labels of the horizontal axis.
const LABEL_WIDTH: f64 = 34.0;

/// The colours of the series.
const CLASSES: [&str; 3] = ["a", "b", "c"];

const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
<title>Leafcutter load test</title><meta name=viewport content='width=device-width'><style>
:root{color-scheme:light dark;--ink:#1c2a1e;--soft:#55645a;--line:#d5dfd0;--paper:#fbfcf8;
--card:#fff;--a:#2f7d3b;--b:#b3541e;--c:#6a4fa3}
@media(prefers-color-scheme:dark){:root{--ink:#e4ece2;--soft:#9fb0a3;--line:#33413a;
--paper:#141a16;--card:#1b231e;--a:#6cc57a;--b:#e89a5f;--c:#b09ae6}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;padding:1rem;
color:var(--ink);background:var(--paper)}main{max-width:64rem;margin:auto}
h1{font-size:1.5rem}h2,summary{font-size:1.1rem;font-weight:600}h2{margin:2rem 0 .5rem}
.charts{margin-bottom:1.5rem}summary{margin:.5rem 0;cursor:pointer}
.big{font-size:1.3rem}code{overflow-wrap:anywhere;font-size:.85rem;color:var(--soft)}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
figure{margin:0;padding:.8rem;background:var(--card);border:1px solid var(--line);
border-radius:.5rem}figcaption{font-weight:600}
svg{width:100%;height:auto;font-size:12px;fill:var(--soft)}
path{stroke:var(--line)}polyline{fill:none;stroke-width:2}.m{text-anchor:middle}.r{text-anchor:end}
polyline.a{stroke:var(--a)}polyline.b{stroke:var(--b)}polyline.c{stroke:var(--c)}
circle.a,rect.a{fill:var(--a)}circle.b{fill:var(--b)}circle.c{fill:var(--c)}
.legend{margin:.2rem 0 0;font-size:.85rem;color:var(--soft);display:flex;gap:1rem;flex-wrap:wrap}
i{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin-right:.3rem}
.a i{background:var(--a)}.b i{background:var(--b)}.c i{background:var(--c)}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;
padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);font-weight:400}
th{width:38%;max-width:14rem;color:var(--soft)}li{overflow-wrap:anywhere}
</style></head><body><main><h1>Leafcutter load test</h1>
";

#[cfg(test)]
mod tests {
    use super::super::mix::tests::costs;
    use super::super::report::tests::measured;
    use super::*;

    fn report(loads: Vec<Measured>) -> Report {
        Report {
            machine: vec!["<x>".to_owned()],
            command: "a & b".to_owned(),
            loads,
            capacity_viewers: Some(10),
            refusal: None,
        }
    }

    /// The elements that are closed, but not in the order they were opened.
    fn misnested(page: &str) -> Vec<String> {
        const EMPTY: [&str; 2] = ["meta", "!doctype"];
        let mut open: Vec<&str> = Vec::new();
        let mut wrong = Vec::new();
        for tag in page.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else {
                wrong.push(tag.to_owned());
                continue;
            };
            let name = tag.split([' ', '/']).find(|word| !word.is_empty());
            let name = name.unwrap_or_default();
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    wrong.push(tag.to_owned());
                }
            } else if !tag.ends_with('/') && !EMPTY.contains(&name) {
                open.push(name);
            }
        }
        wrong.extend(open.into_iter().map(str::to_owned));
        wrong
    }

    #[test]
    fn the_page_is_well_formed_fetches_nothing_and_escapes() {
        let mut second = measured();
        second.load.viewers = 20;
        second.floor = costs().floor(&second.mix);
        second.failures.push("a <b>".to_owned());
        let page = page(&report(vec![measured(), second]));
        assert_eq!(misnested(&page), Vec::<String>::new());
        assert!(page.contains("&lt;x&gt;") && page.contains("a &amp; b"));
        assert!(page.contains("Capacity: 10 viewers") && page.contains("a &lt;b&gt;"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("NaN"));
        assert_eq!(page.matches("<figure>").count(), 5);
        assert!(page.contains("prefers-color-scheme:dark"));
        assert!(page.contains("<details><summary>20 viewers"), "{page}");
    }

    #[test]
    fn misnested_elements_are_noticed() {
        assert_eq!(misnested("<p><b></p>"), ["/p", "p"]);
        assert_eq!(misnested("<p>"), ["p"]);
        assert!(misnested("<p><br/></p>").is_empty());
    }

    #[test]
    fn axes_end_at_round_values() {
        for (value, end) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (1.01, 2.0),
            (70.0, 100.0),
        ] {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}");
        }
        assert_eq!(
            (short(0.5), short(100.0)),
            ("0.5".to_owned(), "100".to_owned())
        );
    }

    #[test]
    fn a_load_without_packets_has_a_page_too() {
        let mut nothing = measured();
        nothing.mix = Mix::default();
        nothing.server_us_per_packet = None;
        let page = page(&report(vec![nothing]));
        assert!(misnested(&page).is_empty() && !page.contains("NaN"));
    }
}
