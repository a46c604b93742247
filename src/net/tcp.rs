//! What media needs of a TCP socket beyond what the standard library sets.
//!
//! tcp(7); `TCP_NOTSENT_LOWAT` since Linux 3.12. Called by `worker/`.

use std::io;
use std::os::fd::BorrowedFd;

use super::sys::option;

/// Lets the kernel take no more while `len` bytes wait to be sent for the first time: what is old
/// before it leaves is better not written. What is under way does not count, so a long path keeps
/// its throughput.
///
/// # Errors
/// The operating system's.
pub fn limit_unsent(fd: BorrowedFd<'_>, len: i32) -> io::Result<()> {
    option::set_int(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, len)
}
