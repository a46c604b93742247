//! Traces as CSV and as SVG, for `docs/plots/`.

use std::fmt::Write as _;

use leafcutter::bwe::allocate::{Choice, Wish, allocate};
use leafcutter::model::layers::Priority;

use super::course::{Kind, Record};

/// The layers of a simulcast of browsers at 1280x720: 320x180, 640x360 and the whole.
const LADDER_BPS: [u64; 3] = [150_000, 500_000, 2_000_000];

/// Layers that an allocation over time picks for the first flow: -1 for paused.
fn layers(record: &Record) -> Vec<i32> {
    let mut present = Choice::Layer(0);
    let samples = record.samples.iter();
    samples
        .map(|sample| {
            let wish = Wish {
                audio: false,
                priority: Priority::Normal,
                layers_bps: &LADDER_BPS,
                present,
            };
            let mut choices = [Choice::Paused];
            allocate(sample.flows[0].0 as u64, u64::MAX, &[wish], &mut choices);
            present = choices[0];
            match present {
                Choice::Paused => -1,
                Choice::Layer(layer) => layer as i32,
            }
        })
        .collect()
}

/// One row per second: what the plot shows finer.
pub fn csv(record: &Record) -> String {
    let mut text = String::from("seconds,capacity_kbps,queue_ms,layer");
    let media = media(record);
    for flow in &media {
        write!(text, ",estimate_{flow}_kbps,target_{flow}_kbps").unwrap();
    }
    text.push('\n');
    for (sample, layer) in record.samples.iter().zip(layers(record)).step_by(10) {
        write!(
            text,
            "{:.0},{:.0},{:.1},{layer}",
            sample.at_s,
            sample.capacity_bps / 1e3,
            sample.queue_us as f64 / 1e3
        )
        .unwrap();
        for &flow in &media {
            let (estimate, target) = sample.flows[flow];
            write!(text, ",{:.0},{:.0}", estimate / 1e3, target / 1e3).unwrap();
        }
        text.push('\n');
    }
    text
}

/// Rates above, queue and layer below.
pub fn svg(record: &Record) -> String {
    let seconds = record.plan.seconds as f64;
    let highest = record
        .samples
        .iter()
        .map(|sample| sample.capacity_bps)
        .fold(0.0, f64::max)
        * 1.25;
    let x = |at_s: f64| 50.0 + at_s / seconds * 830.0;
    let rate_y = |bps: f64| 290.0 - (bps / highest).min(1.0) * 250.0;
    let queue_y = |us: i64| 420.0 - (us as f64 / 350e3).min(1.0) * 100.0;
    let layer_y = |layer: i32| 485.0 - f64::from(layer + 1) * 13.0;
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 510\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"900\" height=\"510\" fill=\"white\"/>\n",
    );
    let name = &record.plan.name;
    label(&mut text, 50.0, 20.0, &format!("RFC 8867 {name}"));
    axes(&mut text, seconds, highest, x);
    // A plot is 830 wide: more points than that only make the file longer.
    let stride = (record.samples.len() / 1000).max(1);
    let samples = || record.samples.iter().step_by(stride);
    let capacity: Vec<_> = samples()
        .map(|s| (x(s.at_s), rate_y(s.capacity_bps)))
        .collect();
    line(&mut text, "#999", 2.0, &capacity);
    for (&flow, colour) in media(record).iter().zip(COLOURS) {
        let here = || samples().filter(move |s| s.flows[flow].0 > 0.0);
        let target: Vec<_> = here()
            .map(|s| (x(s.at_s), rate_y(s.flows[flow].1)))
            .collect();
        line(&mut text, "#bbb", 0.5, &target);
        let estimate: Vec<_> = here()
            .map(|s| (x(s.at_s), rate_y(s.flows[flow].0)))
            .collect();
        line(&mut text, colour, 1.0, &estimate);
    }
    let queue: Vec<_> = samples()
        .map(|s| (x(s.at_s), queue_y(s.queue_us)))
        .collect();
    line(&mut text, "#a00", 1.0, &queue);
    let at = samples().map(|s| x(s.at_s));
    let layers = layers(record).into_iter().step_by(stride);
    let layer: Vec<_> = at.zip(layers.map(layer_y)).collect();
    line(&mut text, "#060", 1.5, &layer);
    text.push_str("</svg>\n");
    text
}

fn media(record: &Record) -> Vec<usize> {
    let flows = record.plan.flows.iter().enumerate();
    flows
        .filter(|(_, flow)| flow.kind == Kind::Media)
        .map(|(index, _)| index)
        .collect()
}

fn axes(text: &mut String, seconds: f64, highest: f64, x: impl Fn(f64) -> f64) {
    for (y, name) in [
        (40.0, format!("{:.1} Mbit/s", highest / 1e6)),
        (
            290.0,
            String::from("0; grey: capacity, targets; colours: estimates"),
        ),
        (320.0, String::from("350 ms of queue")),
        (420.0, String::from("0")),
        (
            444.0,
            String::from("layer 2, 1, 0, paused of 0.15, 0.5 and 2 Mbit/s (first flow)"),
        ),
        (485.0, String::new()),
    ] {
        line(text, "#ddd", 0.5, &[(50.0, y), (880.0, y)]);
        label(text, 54.0, y - 3.0, &name);
    }
    let mut at_s = 0.0;
    while at_s <= seconds {
        label(text, x(at_s) - 6.0, 502.0, &format!("{at_s} s"));
        at_s += seconds / 10.0;
    }
}

fn label(text: &mut String, x: f64, y: f64, what: &str) {
    writeln!(text, "<text x=\"{x:.0}\" y=\"{y:.0}\">{what}</text>").unwrap();
}

fn line(text: &mut String, colour: &str, width: f64, points: &[(f64, f64)]) {
    write!(
        text,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" points=\""
    )
    .unwrap();
    for (x, y) in points {
        write!(text, "{x:.1},{y:.1} ").unwrap();
    }
    text.push_str("\"/>\n");
}

const COLOURS: [&str; 5] = ["#04c", "#c50", "#080", "#808", "#088"];
