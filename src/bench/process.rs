//! What the kernel says of a process and of this machine: processor time, memory, socket drops.
//!
//! proc(5), clock_getcpuclockid(3). Figures that cannot be read are `None`: the report then leaves
//! them out.

use std::collections::BTreeSet;
use std::fs;

use crate::net;

/// User and system time of process `pid`, its threads together, in microseconds.
pub fn cpu_us(pid: u32) -> Option<u64> {
    let time = net::process_cpu_time(pid).ok()?;
    u64::try_from(time.as_micros()).ok()
}

/// User and system time of the calling thread in microseconds.
pub fn own_thread_cpu_us() -> Option<u64> {
    cpu_of(&fs::read_to_string("/proc/thread-self/stat").ok()?)
}

/// Resident memory of process `pid`, bytes.
pub fn resident_len(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The CPUs that process `pid` may run on, ascending; without `pid` this one. Empty when unknown.
pub fn cpus(pid: Option<u32>) -> Vec<usize> {
    let who = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let status = fs::read_to_string(format!("/proc/{who}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    line.map(|list| cpus_of(list.trim())).unwrap_or_default()
}

/// Datagrams that the kernel dropped at UDP sockets with these local ports, since they exist.
pub fn socket_drops(ports: &BTreeSet<u16>) -> Option<u64> {
    let mut drops = 0;
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let Ok(table) = fs::read_to_string(file) else {
            continue;
        };
        drops += table
            .lines()
            .skip(1)
            .filter_map(|line| drops_of(line, ports))
            .sum::<u64>();
    }
    Some(drops)
}

/// Processor, kernel and the state of its mitigations, a line each.
pub fn machine() -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(info) = fs::read_to_string("/proc/cpuinfo") {
        let model = info.lines().find_map(|l| l.strip_prefix("model name"));
        let model = model.map_or("unknown", |m| m.trim_start_matches([' ', '\t', ':']));
        let count = info.lines().filter(|l| l.starts_with("processor")).count();
        lines.push(format!("processor: {model}, {count} visible"));
    }
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        lines.push(format!("kernel: Linux {}", release.trim()));
    }
    let mut mitigations: Vec<String> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let state = text.trim();
            let counts = state.starts_with("Mitigation") || state.starts_with("Vulnerable");
            counts.then(|| format!("{}: {state}", entry.file_name().to_string_lossy()))
        })
        .collect();
    mitigations.sort();
    lines.extend(mitigations);
    lines
}

fn cpu_of(stat: &str) -> Option<u64> {
    // The name in parentheses may hold blanks; fields 14 and 15 are utime and stime.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_US)
}

/// Reads `0-2,5`.
fn cpus_of(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn drops_of(line: &str, ports: &BTreeSet<u16>) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !ports.contains(&port) {
        return None;
    }
    fields.last()?.parse().ok()
}

/// Linux counts processor time for /proc in 1/100 s on every architecture (USER_HZ).
const TICK_US: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_of_proc() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_of(stat), Some(420_000));
        let line = "  12: 0100007F:C350 00000000:0000 07 00000000:00000000 00:00000000 00000000 \
                    0 0 99 2 0000000000000000 17";
        assert_eq!(drops_of(line, &BTreeSet::from([50_000])), Some(17));
        assert_eq!(drops_of(line, &BTreeSet::from([50_001])), None);
        let own = std::process::id();
        assert!(resident_len(own).is_some_and(|len| len > 0));
        assert!(cpu_us(own).is_some() && own_thread_cpu_us().is_some());
        assert!(!machine().is_empty());
        assert_eq!(cpus_of("0-2,5"), [0, 1, 2, 5]);
        assert!(cpus_of("").is_empty());
        assert!(!cpus(None).is_empty() && cpus(Some(own)) == cpus(None));
    }
}
