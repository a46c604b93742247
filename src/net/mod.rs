//! F5: UDP as the kernel does it best: many datagrams per system call, runs of equal length per
//! entry; and the options of TCP sockets.
//!
//! [`UdpSocket`] sends an [`Egress`](crate::base::egress::Egress) with `sendmmsg` + `UDP_SEGMENT`
//! and receives into a [`RecvBatch`] with `recvmmsg` + `UDP_GRO`; where the kernel refuses either,
//! plain datagrams take over. Knows no protocol above UDP. Called by `worker/`. All `unsafe` of
//! the package is in `sys/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod addr;

mod cmsg;
mod recv;
mod send;
mod sources;
mod sys;
mod tcp;
mod timed;
mod udp;

#[cfg(test)]
mod tests;

pub use recv::RecvBatch;
pub use send::SendReport;
pub use sys::clock::{is_clock_synchronised, process_cpu_time};
pub use sys::interfaces::local_addresses;
pub use sys::thread::pin_current_thread;
pub use tcp::limit_unsent;
pub use timed::{TimedBatch, note_times};
pub use udp::{Granted, UdpSocket};
