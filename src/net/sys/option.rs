//! getsockopt(2) and setsockopt(2) for options that hold an `int`; poll(2) for one socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option that holds an `int`.
///
/// # Errors
/// What setsockopt said.
pub fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<i32>()` bytes from `value`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    done(result)
}

/// Reads an option that holds an `int`.
///
/// # Errors
/// What getsockopt said.
pub fn int(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `value`, which is that long.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    done(result).map(|()| value)
}

/// Waits until the socket takes data again, at most `wait_ms` milliseconds; false when it does not.
pub fn wait_writable(fd: BorrowedFd<'_>, wait_ms: i32) -> bool {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `entry` is one valid pollfd that lives through the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, wait_ms) };
    ready > 0
}

/// The errno convention: negative means failed.
pub(super) fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
