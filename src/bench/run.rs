//! `leafcutter bench`: runs what the command line asks for and shows it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::args::{BenchCommand, FanoutArgs, FloorArgs, SoakArgs, Target};
use super::composed::{self, Setting};
use super::fanout::{self, Plan};
use super::ramp::{Next, Ramp};
use super::report::{self, Measured, Report};
use super::traffic::Shape;
use super::{floor, html, process, soak};
use crate::base::codec::MediaKind;
use crate::srtp::Profile;

/// Runs it; the text to print.
///
/// # Errors
/// Why not, for a person.
pub fn run(command: &BenchCommand) -> Result<String, String> {
    match command {
        BenchCommand::Floor(args) => run_floor(args),
        BenchCommand::Fanout(args) => run_fanout(args),
        BenchCommand::Soak(args) => run_soak(args),
    }
}

fn run_floor(args: &FloorArgs) -> Result<String, String> {
    let bar = bar(0);
    let figures = floor::run(Duration::from_millis(args.millis), |what| {
        bar.set_message(what.to_owned());
        bar.tick();
    })
    .map_err(|e| e.to_string())?;
    let setting = Setting {
        profile: Profile::AeadAes128Gcm,
        receivers: args.receivers as usize,
        packet_len: args.size as usize + RTP_HEADER_LEN,
        audio_len: AUDIO_LEN + RTP_HEADER_LEN,
        time: Duration::from_millis(args.millis),
        pace: Duration::from_secs(1) / args.fps,
        broadcasts: 1,
        cpus: cpus(None),
    };
    let costs = composed::run(&setting, |what| {
        bar.set_message(what.to_owned());
        bar.tick();
    })
    .map_err(|e| e.to_string())?;
    bar.finish_and_clear();
    let machine = process::machine();
    if let Some(path) = &args.json {
        let all = json!({"machine": machine, "figures": figures, "composed": costs});
        write_json(path, &all)?;
    }
    let mut rows: Vec<(&str, String)> = figures
        .iter()
        .map(|figure| (figure.what.as_str(), format!("{:8.0} ns", figure.ns)))
        .collect();
    let composed = costs.rows();
    rows.extend(
        composed
            .iter()
            .map(|(what, ns)| (what.as_str(), format!("{ns:8.0} ns"))),
    );
    Ok(format!(
        "{}\n\n{}",
        machine.join("\n"),
        report::table(&rows)
    ))
}

fn run_soak(args: &SoakArgs) -> Result<String, String> {
    let bar = bar(1);
    let soaked = soak::run(args, |what, at, of| {
        bar.set_message(what.to_owned());
        bar.set_length(of.max(1));
        bar.set_position(at);
    })?;
    bar.finish_and_clear();
    if let Some(path) = &args.csv {
        write(path, &soaked.csv())?;
    }
    if let Some(path) = &args.svg {
        write(path, &soaked.svg())?;
    }
    let table = report::table(&soaked.rows());
    match soaked.fault(args.growth_max) {
        Some(why) => Err(format!("{why}\n{table}")),
        None => Ok(table),
    }
}

fn run_fanout(args: &FanoutArgs) -> Result<String, String> {
    let plan = plan(args)?;
    let mut loads = Vec::new();
    let (mut capacity, mut refusal) = (None, None);
    let mut viewers = plan.viewers;
    let mut ramp = Ramp::begin(viewers, args.p99_max_ms);
    loop {
        let measured = measure(&Plan {
            viewers,
            ..plan.clone()
        })?;
        let next = ramp.judge(&measured);
        loads.push(measured);
        if !args.ramp {
            break;
        }
        match next {
            Next::Measure(more) => viewers = more,
            Next::Capacity(most) => capacity = Some(most),
            Next::Refuse(why) => refusal = Some(why),
        }
        if capacity.is_some() || refusal.is_some() {
            break;
        }
    }
    if args.floor {
        add_floors(args, &mut loads)?;
    }
    let report = Report {
        machine: process::machine(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        loads,
        capacity_viewers: capacity,
        refusal,
    };
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::page(&report))?;
    }
    let mut out = report.machine.join("\n");
    for measured in &report.loads {
        out.push_str("\n\n");
        out.push_str(&report::table(&measured.rows()));
    }
    match (report.capacity_viewers, report.refusal) {
        (Some(viewers), _) => out.push_str(&format!("\ncapacity: {viewers} viewers\n")),
        (None, Some(why)) => out.push_str(&format!("\nno capacity: {why}\n")),
        (None, None) => {}
    }
    Ok(out)
}

/// The core that a server runs on, or this process's first, and another one for its receivers.
fn cpus(server: Option<u32>) -> (Option<usize>, Option<usize>) {
    let own = process::cpus(None);
    let near = process::cpus(server).first().copied();
    let far = own.into_iter().find(|&cpu| Some(cpu) != near);
    (near, far.or(near))
}

fn plan(args: &FanoutArgs) -> Result<Plan, String> {
    if !(args.fps >= 1.0 && args.pps >= args.fps && args.pps <= 100_000.0) {
        return Err("--fps must be 1 or more, and --pps from --fps to 100000".to_owned());
    }
    let mut shapes = vec![Shape {
        kind: MediaKind::Video,
        fps: args.fps,
        pps: args.pps,
        payload_len: args.size as usize,
    }];
    if args.audio {
        shapes.push(Shape {
            kind: MediaKind::Audio,
            fps: 50.0,
            pps: 50.0,
            payload_len: AUDIO_LEN,
        });
    }
    Ok(Plan {
        target: Target::parse(&args.url)?,
        front: args.protocol,
        feedback: args.feedback,
        joins_per_second: Some(args.joins_per_second).filter(|&rate| rate > 0.0),
        broadcasts: args.broadcasts as usize,
        viewers: args.viewers as usize,
        shapes,
        settle: Duration::from_secs(args.settle),
        duration: Duration::from_secs(args.duration),
        verify_every: args.verify_every as usize,
        pid: args.pid,
        threads: args.threads as usize,
    })
}

/// Measures what kernel and cipher cost with as many receivers as the largest load had, and works
/// out each load's floor.
fn add_floors(args: &FanoutArgs, loads: &mut [Measured]) -> Result<(), String> {
    let bar = bar(0);
    let viewers = loads.iter().map(|m| m.playing).max().unwrap_or(1);
    let agreed = loads.iter().find_map(|m| m.cipher.as_deref());
    let profile = Profile::ALL
        .into_iter()
        .find(|profile| Some(format!("{profile:?}").as_str()) == agreed);
    let setting = Setting {
        profile: profile.unwrap_or(Profile::AeadAes128Gcm),
        receivers: viewers.max(1),
        packet_len: args.size as usize + RTP_HEADER_LEN,
        audio_len: AUDIO_LEN + RTP_HEADER_LEN,
        time: FLOOR_TIME,
        pace: Duration::from_secs_f64(1.0 / args.fps),
        broadcasts: args.broadcasts as usize,
        cpus: cpus(args.pid),
    };
    let costs = composed::run(&setting, |what| {
        bar.set_message(what.to_owned());
        bar.tick();
    })
    .map_err(|e| e.to_string())?;
    bar.finish_and_clear();
    for measured in loads {
        measured.floor = costs.floor(&measured.mix);
    }
    Ok(())
}

fn measure(plan: &Plan) -> Result<Measured, String> {
    let bar = bar(1);
    let measured = fanout::run(plan, |what, at, of| {
        bar.set_message(format!("{} viewers: {what}", plan.viewers));
        bar.set_length(of.max(1));
        bar.set_position(at);
    })?;
    bar.finish_and_clear();
    Ok(measured)
}

fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::new(len);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    write(path, &text)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Per figure of the floor of a load.
const FLOOR_TIME: Duration = Duration::from_millis(500);

/// Bytes of audio payload per packet: Opus at 48 kbit/s.
const AUDIO_LEN: usize = 120;

/// RTP header with the transport-wide number's extension, bytes.
const RTP_HEADER_LEN: usize = 20;
