//! The host: files, clock, processor.

use std::fs;
use std::path::Path;

use super::Finding;
use super::Verdict::{Bad, Good, Warning};
use crate::net;

/// Whether the database can be written.
pub(super) fn data_dir(path: &Path) -> Finding {
    let subject = "data directory";
    let shown = path.display();
    // The server would make it. Made here it would be of whoever asks, and in the server's way.
    let is_missing = |part: &&Path| !part.as_os_str().is_empty() && !part.exists();
    let missing: Vec<&Path> = path.ancestors().filter(is_missing).collect();
    let made = fs::create_dir_all(path);
    let written = made.as_ref().map(|()| tempfile_in(path));
    missing.iter().for_each(|part| drop(fs::remove_dir(part)));
    match written {
        Ok(Ok(())) if missing.is_empty() => {
            Finding::new(subject, Good, format!("{shown} can be written"))
        }
        Ok(Ok(())) => Finding::new(subject, Good, format!("{shown} can be made")),
        Ok(Err(error)) => Finding::new(
            subject,
            Bad,
            format!("{shown} cannot be written: {error}; change its owner, or set data_dir"),
        ),
        Err(error) => Finding::new(subject, Bad, format!("{shown} cannot be made: {error}")),
    }
}

fn tempfile_in(path: &Path) -> std::io::Result<()> {
    let file = path.join(format!(".doctor-{}", std::process::id()));
    fs::write(&file, b"doctor")?;
    fs::remove_file(&file)
}

/// How many files, and so sockets, the process may open.
pub(super) fn files() -> Finding {
    let subject = "open files";
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match max_open_files(&limits) {
        None => Finding::new(subject, Warning, "the limit cannot be read"),
        Some(max) if max < WANTED_FILES => Finding::new(
            subject,
            Warning,
            format!(
                "at most {max}; each viewer takes one. Raise it: `ulimit -n {WANTED_FILES}`, or \
                 LimitNOFILE={WANTED_FILES} in the systemd unit"
            ),
        ),
        Some(max) => Finding::new(subject, Good, format!("at most {max}")),
    }
}

/// The soft limit out of `/proc/self/limits`.
fn max_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find(|l| l.starts_with("Max open files"))?;
    match line.split_whitespace().nth(3)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether somebody keeps the clock right: tokens, codes and sender reports go by it.
pub(super) fn clock() -> Finding {
    let subject = "clock";
    match net::is_clock_synchronised() {
        Ok(true) => Finding::new(subject, Good, "kept in step by NTP or PTP"),
        Ok(false) => Finding::new(
            subject,
            Warning,
            "nothing tells the kernel that it is right; codes and JWTs are checked against it. \
             Run chrony or systemd-timesyncd (in a container: on its host)",
        ),
        Err(error) => Finding::new(subject, Warning, format!("cannot be asked: {error}")),
    }
}

/// Whether reading the clock is cheap; a worker does it several times a turn.
pub(super) fn time_source() -> Finding {
    let subject = "time source";
    let source = fs::read_to_string(CLOCK_SOURCE).unwrap_or_default();
    match source.trim() {
        "" => Finding::new(subject, Warning, format!("{CLOCK_SOURCE} cannot be read")),
        slow @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies") => Finding::new(
            subject,
            Warning,
            format!(
                "{slow}: each reading is a system call of a microsecond or more; boot with \
                 clocksource=tsc where the processor has a stable one"
            ),
        ),
        fast => Finding::new(subject, Good, fast),
    }
}

/// Whether the processor is allowed to be fast; `None` where the host does not say.
pub(super) fn governor() -> Option<Finding> {
    let governor = fs::read_to_string(GOVERNOR).ok()?;
    let governor = governor.trim();
    Some(if governor == "performance" {
        Finding::new("processor", Good, "governor performance")
    } else {
        Finding::new(
            "processor",
            Warning,
            format!(
                "governor {governor}: it slows down between packets. On a machine that does \
                 nothing else: cpupower frequency-set -g performance"
            ),
        )
    })
}

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

const GOVERNOR: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";

/// Each WebSocket is a file: room for tens of thousands of viewers.
const WANTED_FILES: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(max_open_files(limits), Some(1024));
        assert_eq!(
            max_open_files("Max open files  unlimited  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(max_open_files(""), None);
    }

    #[test]
    fn a_directory_below_a_file_is_bad_and_what_can_be_written_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(data_dir(directory.path()).verdict, Good);
        let missing = data_dir(&directory.path().join("a/b"));
        assert_eq!(missing.verdict, Good);
        assert!(missing.text.ends_with("can be made"), "{missing:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file.join("data")).verdict, Bad);
    }
}
