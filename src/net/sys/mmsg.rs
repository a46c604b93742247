//! recvmmsg(2) and sendmmsg(2) over buffers that the caller owns.
//!
//! Pointers are written into the header arrays at the start of a call and are dead at its end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::net::addr::{RAW_LEN, RawAddr};
use crate::net::cmsg::{CONTROL_LEN, Control};
use crate::net::send::Message;

/// The header arrays of one call, reused. Allocates once, when made.
pub struct Headers {
    headers: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
}

// SAFETY: the raw pointers inside are written and followed only within one `&mut self` call;
// between calls they are never read, so it does not matter which thread owns the value.
unsafe impl Send for Headers {}

/// What the kernel wrote into the header of one received message.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Bytes of payload.
    pub len: usize,
    /// Bytes of control messages.
    pub control_len: usize,
    /// True when payload or control messages did not fit.
    pub truncated: bool,
}

impl Headers {
    /// Headers for up to `count` messages per call.
    pub fn new(count: usize) -> Self {
        // SAFETY: mmsghdr holds integers and raw pointers only; all zero is a valid value of it.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let part = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            headers: vec![header; count].into_boxed_slice(),
            parts: vec![part; count].into_boxed_slice(),
        }
    }

    /// Receives without waiting into `slots`, with source and control messages of each beside it.
    /// Returns the number of messages, at most the shortest of the lists.
    ///
    /// # Errors
    /// What recvmmsg said; `WouldBlock` when nothing waits.
    pub fn receive<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        slots: impl Iterator<Item = &'a mut [u8]>,
        names: &mut [RawAddr],
        controls: &mut [Control],
    ) -> io::Result<usize> {
        let mut count = 0;
        let headers = self.headers.iter_mut().zip(self.parts.iter_mut());
        let places = slots.zip(names).zip(controls);
        for ((header, part), ((slot, name), control)) in headers.zip(places) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = slot.len();
            let h = &mut header.msg_hdr;
            h.msg_name = name.as_mut_ptr().cast();
            h.msg_namelen = RAW_LEN as libc::socklen_t;
            h.msg_iov = part;
            h.msg_iovlen = 1;
            h.msg_control = control.as_mut_ptr().cast();
            h.msg_controllen = CONTROL_LEN as _;
            h.msg_flags = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers were filled above; each points to a slot, a name and
        // a control buffer of the stated lengths that are exclusively borrowed for this call.
        let result = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// The headers of the `count` messages that the last receive brought.
    pub fn received(&self, count: usize) -> impl Iterator<Item = Header> {
        const CUT: libc::c_int = libc::MSG_TRUNC | libc::MSG_CTRUNC;
        self.headers.iter().take(count).map(|header| Header {
            len: header.msg_len as usize,
            control_len: header.msg_hdr.msg_controllen as _,
            truncated: header.msg_hdr.msg_flags & CUT != 0,
        })
    }

    /// Sends `messages`, whose payloads lie in `bytes`, without waiting; returns how many were
    /// taken. At most as many go as there are headers; a payload outside `bytes` is sent empty.
    ///
    /// # Errors
    /// Why the kernel did not take the first one.
    pub fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        messages: &[Message],
    ) -> io::Result<usize> {
        let mut count = 0;
        let headers = self.headers.iter_mut().zip(self.parts.iter_mut());
        for ((header, part), message) in headers.zip(messages) {
            let end = message.start.saturating_add(message.len);
            let payload = bytes.get(message.start..end).unwrap_or_default();
            part.iov_base = payload.as_ptr().cast_mut().cast();
            part.iov_len = payload.len();
            let h = &mut header.msg_hdr;
            h.msg_name = message.name.as_ptr().cast_mut().cast();
            h.msg_namelen = message.name.len();
            h.msg_iov = part;
            h.msg_iovlen = 1;
            h.msg_control = message.control.as_ptr().cast_mut().cast();
            h.msg_controllen = message.control.len() as _;
            h.msg_flags = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers were filled above and point into `bytes` and
        // `messages`, which are borrowed for this call; sendmmsg only reads through them and
        // writes nothing but the headers' own `msg_len`.
        let result = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Headers({})", self.headers.len())
    }
}
