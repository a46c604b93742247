//! The system calls that the standard library and mio do not offer; the package's only `unsafe`.
//!
//! What an implementation for an operating system must supply, all of it behind safe functions:
//!
//! * `mmsg::Headers`: `receive` (recvmmsg) and `send` (sendmmsg) over caller-owned buffers
//! * `option::{set_int, int, wait_writable}`: socket options that hold an `int`; a bounded wait
//! * `socket::bind_shared`: a UDP socket on an address that others are bound to as well
//! * `interfaces::local_addresses`: the host's own IPv4 and IPv6 addresses
//! * `clock`: whether NTP keeps the host's clock right, how long a process has been at work
//! * `thread::pin_current_thread`: CPU affinity of the calling thread
//!
//! This one is for Linux. One operation per `unsafe` block; layouts are encoded as bytes in
//! `net/addr.rs` and `net/cmsg.rs`, so that no pointer is followed here except by the kernel.
#![allow(unsafe_code)]

pub mod clock;
pub mod interfaces;
pub mod mmsg;
pub mod option;
pub mod socket;
pub mod thread;
