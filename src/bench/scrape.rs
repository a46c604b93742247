//! What a Leafcutter server tells of itself on `/metrics`: the lengths of the runs it sent.
//!
//! Other servers tell nothing; then nothing is assumed of them but single datagrams.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Runs sent since the server's start, by length: at index 0 those of one datagram. `None` where
/// nobody answers with them.
pub fn runs(server: SocketAddr) -> Option<Vec<u64>> {
    runs_of(&get(server, "/metrics").ok()?)
}

/// What became more from `before` to `after`.
pub fn since(before: &[u64], after: &[u64]) -> Vec<u64> {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    let pairs = after.iter().zip(before);
    pairs
        .map(|(after, before)| after.saturating_sub(before))
        .collect()
}

/// The value of a figure without labels out of OpenMetrics text.
pub fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// The answer to a request, its header included.
///
/// # Errors
/// The operating system's.
pub fn get(server: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(MAX_ANSWER_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// The histogram of run lengths out of OpenMetrics text, its cumulative buckets taken apart.
fn runs_of(text: &str) -> Option<Vec<u64>> {
    let mut runs = Vec::new();
    let mut below = 0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("leafcutter_gso_run_length_bucket{le=\"") else {
            continue;
        };
        let (bound, count) = rest.split_once("\"} ")?;
        let count: u64 = count.trim().parse().ok()?;
        if let Ok(len) = bound.parse::<f64>()
            && len.is_finite()
        {
            // One bucket per length, ascending; a gap counts as its upper end.
            runs.resize((len as usize).clamp(1, MAX_LEN), 0);
            if let Some(last) = runs.last_mut() {
                *last = count.saturating_sub(below);
            }
            below = count;
        }
    }
    (!runs.is_empty()).then_some(runs)
}

const PATIENCE: Duration = Duration::from_secs(5);

const MAX_ANSWER_LEN: u64 = 4 * 1024 * 1024;

/// The kernel takes no longer runs (UDP_MAX_SEGMENTS).
const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{self, Snapshot, WorkerFigures};

    #[test]
    fn reads_back_what_the_server_writes() {
        let mut lengths = [0; crate::base::limits::MAX_GSO_SEGMENTS];
        lengths[0] = 7;
        lengths[7] = 9;
        let figures = WorkerFigures {
            worker: crate::base::ids::WorkerId(0),
            counters: crate::engine::Counters::default(),
            turn_us: 0,
            lag_us: 0,
            latency: crate::base::histogram::Durations::default(),
            busy: 0.0,
            tcp: crate::metrics::TcpFigures::default(),
            datagrams_received: 0,
            datagrams_sent: 79,
            runs: lengths,
        };
        let text = metrics::render(Snapshot {
            workers: vec![figures, figures],
            ..Snapshot::default()
        });
        let runs = runs_of(&text).unwrap();
        assert_eq!((runs.len(), runs[0], runs[7]), (lengths.len(), 14, 18));
        assert_eq!(runs.iter().sum::<u64>(), 32);
    }

    #[test]
    fn another_server_tells_nothing_and_counts_are_subtracted() {
        assert_eq!(runs_of("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(since(&[1, 2], &[4, 2, 5]), [3, 0, 5]);
    }
}
