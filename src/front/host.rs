//! Looks at the host: how busy its processor is and how much memory is left, from `/proc`, which
//! is memory and never blocks.

use std::fs;

use crate::control::HostSample;

/// One sample; `None` where the host does not tell.
pub fn sample() -> Option<HostSample> {
    let (total, busy) = processor(&fs::read_to_string("/proc/stat").ok()?)?;
    let memory = fs::read_to_string("/proc/meminfo").ok();
    Some(HostSample {
        total,
        busy,
        available_len: memory.as_deref().and_then(available_len),
    })
}

/// All time and busy time of all cores, in ticks (proc_stat(5)). Time in guests is within user time
/// already; waiting for a disk is idle.
fn processor(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(FIELDS)
        .map_while(|field| field.parse().ok())
        .collect();
    let [_user, _nice, _system, idle, waiting, ..] = ticks.as_slice() else {
        return None;
    };
    let total = ticks.iter().sum::<u64>();
    Some((total, total.saturating_sub(idle + waiting)))
}

/// `MemAvailable` (proc_meminfo(5)), in bytes.
fn available_len(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// user, nice, system, idle, iowait, irq, softirq, steal.
const FIELDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_files_are_read() {
        let stat = "cpu  100 5 45 800 50 1 2 3 7 9\ncpu0 1 2 3 4 5 6 7 8\n";
        assert_eq!(processor(stat), Some((1006, 156)));
        assert_eq!(processor("cpu  1 2 3\n"), None);
        assert_eq!(processor(""), None);
        let meminfo = "MemTotal:  8000 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available_len(meminfo), Some(2 << 20));
        assert_eq!(available_len("MemTotal: 8000 kB\n"), None);
        assert!(sample().is_some_and(|sample| sample.total >= sample.busy));
    }
}
