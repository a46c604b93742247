//! Instruction counts of the hot paths under callgrind, held against `benches/baseline.json`.
//!
//! Run through `benches/instructions.sh`. Counts do not depend on how busy the machine is, and
//! hardly on which one it is: valgrind shows every program the same processor with AES, carry-less
//! multiplication and AVX2, whatever else the real one has.
//!
//! Called with a case's name, runs that case: what happens within [`counted_by_callgrind`] counts.

#[path = "../stage/mod.rs"]
mod stage;

mod cases;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use cases::{CASES, Case};

/// What `benches/baseline.json` holds.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Baseline {
    /// The compiler that the counts come from.
    rustc: String,
    /// Instructions per unit of work, by case.
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--case", name] => run_case(name),
        ["--record"] => measure().and_then(|measured| record(&measured)),
        [] => measure().and_then(|measured| compare(&measured)),
        // What `cargo bench` adds when this is called through it.
        ["--bench"] => Err("run it through benches/instructions.sh".to_owned()),
        _ => Err("usage: instructions [--record]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The one function whose instructions count, those of its callees included.
#[inline(never)]
fn counted_by_callgrind<R>(work: impl FnOnce() -> R) -> R {
    work()
}

fn run_case(name: &str) -> Result<(), String> {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("there is no case {name}"))?;
    (case.run)();
    Ok(())
}

/// Every case under callgrind, two at a time.
fn measure() -> Result<Baseline, String> {
    if !has_the_features() {
        return Err("counts need an x86-64 processor with AVX2, AES and PCLMULQDQ".to_owned());
    }
    // The longest run last in the table and first here, so that none is left over alone.
    let waiting: Mutex<Vec<&Case>> = Mutex::new(CASES.iter().collect());
    let next = || waiting.lock().ok().and_then(|mut cases| cases.pop());
    let work = || {
        let cases = std::iter::from_fn(next);
        let counted = cases.map(|case| Ok((case.name.to_owned(), count(case)?)));
        counted.collect::<Result<BTreeMap<_, _>, String>>()
    };
    let instructions = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        let mut all = BTreeMap::new();
        for thread in threads {
            let counted = thread
                .join()
                .map_err(|_| "a thread panicked".to_owned())??;
            all.extend(counted);
        }
        Ok::<_, String>(all)
    })?;
    Ok(Baseline {
        rustc: output(Command::new("rustc").arg("--version"))?,
        instructions,
    })
}

/// Instructions per unit of work of `case`.
fn count(case: &Case) -> Result<f64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted_by_callgrind*")
        .arg(own)
        .args(["--case", case.name]);
    // glibc reads processor and tuning from here; neither is to come from the caller's shell.
    command
        .env_remove("GLIBC_TUNABLES")
        .env_remove("OPENSSL_ia32cap");
    let run = command.output();
    let run = run.map_err(|error| format!("valgrind: {error}"))?;
    let report = String::from_utf8_lossy(&run.stderr);
    let total: Option<f64> = report
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, total)| total.trim().parse().ok());
    match total.filter(|total| run.status.success() && *total > 0.0) {
        Some(total) => Ok((total / case.units as f64 * 10.0).round() / 10.0),
        None => Err(format!("{} under valgrind failed:\n{report}", case.name)),
    }
}

fn compare(measured: &Baseline) -> Result<(), String> {
    let path = baseline();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let expected: Baseline =
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let (mut worse, mut better, mut unknown) = (0, 0, 0);
    println!(
        "{:24} {:>12} {:>12}",
        "instructions per", "baseline", "measured"
    );
    for (name, count) in &measured.instructions {
        let Some(before) = expected.instructions.get(name) else {
            println!("{name:24} {:>12} {count:>12.1}", "none");
            unknown += 1;
            continue;
        };
        let percent = (count / before - 1.0) * 100.0;
        let verdict = if percent > TOLERANCE_PERCENT {
            worse += 1;
            "  MORE"
        } else if percent < -TOLERANCE_PERCENT {
            better += 1;
            "  less"
        } else {
            ""
        };
        println!("{name:24} {before:>12.1} {count:>12.1} {percent:>+7.1} %{verdict}");
    }
    let gone = |name: &&String| !measured.instructions.contains_key(*name);
    unknown += expected.instructions.keys().filter(gone).count();
    if worse + better + unknown == 0 {
        return Ok(());
    }
    let compilers = if expected.rustc == measured.rustc {
        String::new()
    } else {
        format!(
            "the baseline is of {}, this is {}; ",
            expected.rustc, measured.rustc
        )
    };
    Err(format!(
        "{compilers}{worse} cases take over {TOLERANCE_PERCENT} % more instructions, {better} that \
         much less, {unknown} are in one list only. Where that is meant: \
         bash benches/instructions.sh --record"
    ))
}

fn record(measured: &Baseline) -> Result<(), String> {
    let path = baseline();
    let text = serde_json::to_string_pretty(measured).map_err(|error| error.to_string())?;
    std::fs::write(&path, text + "\n").map_err(|error| format!("{path}: {error}"))?;
    for (name, count) in &measured.instructions {
        println!("{name:24} {count:>12.1}");
    }
    println!("written to {path}");
    Ok(())
}

fn baseline() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.json");
    path.to_string_lossy().into_owned()
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether valgrind shows this processor as the one that the baseline is of: it takes away what a
/// plain AVX2 machine lacks, but cannot add.
#[cfg(target_arch = "x86_64")]
fn has_the_features() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_the_features() -> bool {
    false
}

/// Percent that a count may differ, either way.
const TOLERANCE_PERCENT: f64 = 3.0;
