//! socket(2) and bind(2) with an option set in between, which the standard library does not offer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::option;
use crate::net::addr::{Family, RawAddr};

/// A UDP socket bound to `addr` beside others of this user's that are bound to it this way
/// (`SO_REUSEPORT`, socket(7)); the kernel gives each datagram to one of them, by a hash of both
/// ends' addresses.
///
/// # Errors
/// What socket, setsockopt or bind said.
pub fn bind_shared(addr: SocketAddr) -> io::Result<UdpSocket> {
    let family = Family::of(addr);
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // SAFETY: socket takes integers only.
    let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    option::done(fd)?;
    // SAFETY: the kernel has just handed `fd` out, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    option::set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    let raw = RawAddr::encode(addr, family).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads `raw.len()` bytes of `raw`, which has them and outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr().cast(), raw.len()) };
    option::done(result)?;
    Ok(UdpSocket::from(socket))
}
