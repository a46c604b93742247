//! Receives on a plain socket with the time at which the kernel took each datagram
//! (`SO_TIMESTAMPNS`, socket(7)).
//!
//! For receivers that look at many sockets now and then instead of being woken by each: when a
//! datagram came is known however late it is read. No `UDP_GRO`: one message is one datagram.
//! Called by `bench/`; the server's own socket is [`UdpSocket`](super::UdpSocket).

use std::io;
use std::os::fd::AsFd;

use super::addr::RawAddr;
use super::cmsg::Control;
use super::sys::mmsg::Headers;
use super::sys::option;

/// Asks the kernel to note from here on when each datagram comes to `socket`.
///
/// # Errors
/// The operating system's.
pub fn note_times(socket: &impl AsFd) -> io::Result<()> {
    option::set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Datagrams of one receive call, each with its time. One serves any number of sockets in turn.
#[derive(Debug)]
pub struct TimedBatch {
    bytes: Box<[u8]>,
    names: Box<[RawAddr]>,
    controls: Box<[Control]>,
    headers: Headers,
    count: usize,
}

/// When a datagram came, microseconds since 1970 by the host's wall clock; `None` on a socket
/// that does not [note](note_times) it, and for the first ones after it began to.
pub type ArrivedUs = Option<u64>;

impl Default for TimedBatch {
    fn default() -> Self {
        Self {
            bytes: vec![0; SLOTS * STRIDE].into_boxed_slice(),
            names: vec![RawAddr::EMPTY; SLOTS].into_boxed_slice(),
            controls: vec![Control::EMPTY; SLOTS].into_boxed_slice(),
            headers: Headers::new(SLOTS),
            count: 0,
        }
    }
}

impl TimedBatch {
    /// Takes what waits at `socket`; true when more may.
    ///
    /// # Errors
    /// The operating system's; that nothing waits is none.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<bool> {
        self.count = 0;
        let slots = self.bytes.chunks_exact_mut(STRIDE);
        let received =
            self.headers
                .receive(socket.as_fd(), slots, &mut self.names, &mut self.controls);
        match received {
            Ok(count) => self.count = count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(self.count == SLOTS)
    }

    /// The datagrams that the last call took, oldest first; none of those that were too long.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (ArrivedUs, &mut [u8])> {
        let slots = self.bytes.chunks_exact_mut(STRIDE).zip(&self.controls);
        let received = self.headers.received(self.count);
        received.zip(slots).filter_map(|(header, (slot, control))| {
            if header.truncated {
                return None;
            }
            let arrived_us = control.received(header.control_len).arrived_us;
            Some((arrived_us, slot.get_mut(..header.len)?))
        })
    }
}

/// Datagrams per call: a frame and the next.
const SLOTS: usize = 16;

/// Above `limits::MAX_DATAGRAM_LEN`.
const STRIDE: usize = 2048;

const _: () = assert!(STRIDE > crate::base::limits::MAX_DATAGRAM_LEN);
