//! Copies of one peer's decrypted RTP packets on their way from a worker to a file.
//!
//! The worker puts copies into a bounded queue and never waits; the control side takes them out
//! and writes them (`front/captures/`). Whoever drops its end of the [`Tap`] ends the capture.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_queue::ArrayQueue;

use crate::base::limits::MAX_CAPTURE_QUEUE;

/// Which bytes of a packet are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureContent {
    /// The RTP header with its extensions.
    Headers,
    /// Everything.
    Packets,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was received or written, microseconds since 1970.
    pub unix_us: u64,
    /// The bytes that are kept.
    pub bytes: Box<[u8]>,
    /// How many it had.
    pub len: usize,
}

/// The queue between a worker and the file, and what does not change during a capture.
#[derive(Debug)]
pub struct Tap {
    content: CaptureContent,
    /// This server's address and the peer's.
    pub pair: (SocketAddr, SocketAddr),
    /// The peer is a publisher: what is captured comes in.
    pub is_incoming: bool,
    start: (Instant, u64),
    queue: ArrayQueue<Captured>,
    lost: AtomicU64,
}

impl Tap {
    /// An empty queue. `start` is one moment by both clocks, the second one in microseconds since
    /// 1970.
    pub fn new(
        content: CaptureContent,
        pair: (SocketAddr, SocketAddr),
        is_incoming: bool,
        start: (Instant, u64),
    ) -> Self {
        Self {
            content,
            pair,
            is_incoming,
            start,
            queue: ArrayQueue::new(MAX_CAPTURE_QUEUE),
            lost: AtomicU64::new(0),
        }
    }

    /// Copies `packet`, whose header has `header_len` bytes. One that finds the queue full is
    /// counted and lost.
    pub fn copy(&self, now: Instant, header_len: usize, packet: &[u8]) {
        let kept = match self.content {
            CaptureContent::Headers => packet.get(..header_len).unwrap_or(packet),
            CaptureContent::Packets => packet,
        };
        let (start, unix_us) = self.start;
        let passed = now.saturating_duration_since(start).as_micros();
        let captured = Captured {
            unix_us: unix_us.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)),
            bytes: kept.into(),
            len: packet.len(),
        };
        if self.queue.push(captured).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The oldest packet that waits.
    pub fn take(&self) -> Option<Captured> {
        self.queue.pop()
    }

    /// Packets that found the queue full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::tests::test_now;

    fn tap(content: CaptureContent) -> (Tap, Instant) {
        let start = test_now().instant;
        let addr = SocketAddr::from(([127, 0, 0, 1], 5000));
        (Tap::new(content, (addr, addr), false, (start, 1000)), start)
    }

    #[test]
    fn headers_are_cut_and_the_whole_length_is_remembered() {
        let (tap, start) = tap(CaptureContent::Headers);
        tap.copy(start + Duration::from_micros(7), 12, &[5; 100]);
        let captured = tap.take().unwrap();
        assert_eq!(
            (captured.unix_us, captured.bytes.len(), captured.len),
            (1007, 12, 100)
        );
        assert_eq!(tap.take(), None);
    }

    #[test]
    fn a_full_queue_loses_and_counts() {
        let (tap, start) = tap(CaptureContent::Packets);
        for _ in 0..MAX_CAPTURE_QUEUE + 3 {
            tap.copy(start, 12, &[5; 100]);
        }
        assert_eq!(tap.lost(), 3);
        assert_eq!(tap.take().unwrap().bytes.len(), 100);
    }
}
