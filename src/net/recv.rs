//! Where received datagrams land: preallocated slots, read back one datagram at a time.
//!
//! Filled by [`UdpSocket::receive`](super::UdpSocket::receive), read by `worker/run.rs`.

use std::io;
use std::os::fd::BorrowedFd;

use super::addr::RawAddr;
use super::cmsg::Control;
use super::sys::mmsg::Headers;
use crate::base::egress::Route;

/// One `recvmmsg`'s worth of datagrams.
///
/// With `UDP_GRO` a slot takes what the kernel joined, up to 64 KiB: 2 MiB of address space, of
/// which only the pages that were ever filled are resident. Without it a slot is 2 KiB.
#[derive(Debug)]
pub struct RecvBatch {
    stride: usize,
    bytes: Box<[u8]>,
    names: Box<[RawAddr]>,
    controls: Box<[Control]>,
    headers: Headers,
    filled: Vec<Filled>,
    truncated: u64,
}

/// What lies in one slot.
#[derive(Clone, Copy, Debug)]
struct Filled {
    route: Route,
    len: usize,
    segment_len: usize,
}

impl RecvBatch {
    /// Slots for a socket with or without `UDP_GRO`. Allocates once, here.
    pub fn new(gro: bool) -> Self {
        let stride = if gro { GRO_STRIDE } else { PLAIN_STRIDE };
        Self {
            stride,
            bytes: vec![0; SLOTS * stride].into_boxed_slice(),
            names: vec![RawAddr::EMPTY; SLOTS].into_boxed_slice(),
            controls: vec![Control::EMPTY; SLOTS].into_boxed_slice(),
            headers: Headers::new(SLOTS),
            filled: Vec::with_capacity(SLOTS),
            truncated: 0,
        }
    }

    /// Messages that one receive call can bring.
    pub const fn slots(&self) -> usize {
        SLOTS
    }

    /// The datagrams of the last receive call, oldest first, to be decrypted in place. Empty
    /// datagrams and those cut short by the kernel are not among them.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (Route, &mut [u8])> {
        let slots = self.bytes.chunks_exact_mut(self.stride);
        slots.zip(&self.filled).flat_map(|(slot, filled)| {
            let joined = slot.get_mut(..filled.len).unwrap_or_default();
            let route = filled.route;
            joined
                .chunks_mut(filled.segment_len)
                .map(move |datagram| (route, datagram))
        })
    }

    /// Messages dropped since the start because they were longer than a slot.
    pub const fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Fills the slots; how many were, or the error of `recvmmsg`.
    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.filled.clear();
        let slots = self.bytes.chunks_exact_mut(self.stride);
        let count = self
            .headers
            .receive(fd, slots, &mut self.names, &mut self.controls)?;
        for ((header, name), control) in self
            .headers
            .received(count)
            .zip(&self.names)
            .zip(&self.controls)
        {
            self.truncated += u64::from(header.truncated);
            let said = control.received(header.control_len);
            let remote = name.decode().filter(|_| !header.truncated);
            let len = if remote.is_some() { header.len } else { 0 };
            self.filled.push(Filled {
                route: Route::udp(remote.unwrap_or(NOWHERE), said.local),
                len,
                segment_len: said.segment_len.unwrap_or(len).max(1),
            });
        }
        Ok(count)
    }
}

/// Messages per `recvmmsg`: enough that its fixed cost (about 0.3 us) is lost among them, few
/// enough that what was received first is still in L2 when its turn comes.
const SLOTS: usize = 32;

/// 64 KiB, the longest that the kernel joins, and an odd number of cache lines more, so that the
/// beginnings of the slots do not share cache sets.
const GRO_STRIDE: usize = 64 * 1024 + 25 * 64;

/// Above `limits::MAX_DATAGRAM_LEN`, so that the engine sees, and counts, what is too long.
const PLAIN_STRIDE: usize = 2048;

const _: () = assert!(PLAIN_STRIDE > crate::base::limits::MAX_DATAGRAM_LEN);

/// Fills the place of a source address that could not be read; its slot is empty.
const NOWHERE: std::net::SocketAddr = std::net::SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::UNSPECIFIED,
    0,
));
