//! One bound UDP socket: how it is set up, and one pass of receiving and of sending.
//!
//! udp(7), ip(7); `UDP_SEGMENT` since Linux 4.18, `UDP_GRO` since 5.0. Called by `worker/`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use tracing::warn;

use super::addr::Family;
use super::recv::RecvBatch;
use super::send::{Cursor, Outbox, SendReport};
use super::sys::{option, socket};
use crate::base::egress::Egress;
use crate::base::limits::MAX_GSO_SEGMENTS;

/// A non-blocking UDP socket that takes runs of datagrams.
#[derive(Debug)]
pub struct UdpSocket {
    socket: mio::net::UdpSocket,
    local: SocketAddr,
    family: Family,
    granted: Granted,
    outbox: Outbox,
    single: Outbox,
}

/// What the kernel granted of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Bytes of receive buffer, the kernel's overhead included.
    pub recv_buffer_len: usize,
    /// Bytes of send buffer, the kernel's overhead included.
    pub send_buffer_len: usize,
    /// Runs are sent with `UDP_SEGMENT`.
    pub gso: bool,
    /// Runs are received with `UDP_GRO`.
    pub gro: bool,
}

impl UdpSocket {
    /// Binds to `addr` (port 0: any free one), non-blocking; IPv6 wildcards take IPv4 too.
    ///
    /// On a wildcard address the local address of each datagram is asked for, so that answers
    /// leave from the one that the client talks to.
    ///
    /// # Errors
    /// What `socket`, `bind` or asking for the local addresses said. Buffers and offloads that
    /// are refused are no error: see [`granted`](Self::granted).
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::set_up(mio::net::UdpSocket::bind(addr)?, addr)
    }

    /// The same, beside other sockets that are bound to `addr` this way (`SO_REUSEPORT`): the
    /// kernel gives all datagrams between the same two ends to the same one of them, as long as
    /// none comes or goes.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); not for an address that is taken by a socket of this user's that
    /// was bound this way.
    pub fn bind_shared(addr: SocketAddr) -> io::Result<Self> {
        let socket = socket::bind_shared(addr)?;
        socket.set_nonblocking(true)?;
        Self::set_up(mio::net::UdpSocket::from_std(socket), addr)
    }

    fn set_up(socket: mio::net::UdpSocket, addr: SocketAddr) -> io::Result<Self> {
        let family = Family::of(addr);
        let fd = socket.as_fd();
        if addr.ip().is_unspecified() {
            let (level, name) = match family {
                Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            option::set_int(fd, level, name, 1)?;
        }
        let granted = Granted {
            recv_buffer_len: enlarge(fd, &RECV_BUFFER)?,
            send_buffer_len: enlarge(fd, &SEND_BUFFER)?,
            // A kernel that does not know the option would send a run as one long datagram, so
            // it is asked first; 0 means no segmentation unless a message says so.
            gso: option::set_int(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok(),
            gro: option::set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok(),
        };
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            family,
            granted,
            outbox: Outbox::new(MESSAGES_PER_CALL),
            single: Outbox::new(MAX_GSO_SEGMENTS),
        })
    }

    /// The bound address with its real port.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted; `gso` falls to false when it is refused later.
    pub const fn granted(&self) -> Granted {
        self.granted
    }

    /// Receives without `UDP_GRO` from here on: for measuring what it brings.
    ///
    /// # Errors
    /// The operating system's.
    pub fn refuse_gro(&mut self) -> io::Result<()> {
        option::set_int(self.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 0)?;
        self.granted.gro = false;
        Ok(())
    }

    /// Behaves as a host without `UDP_SEGMENT` when `allowed` is false.
    #[cfg(test)]
    pub(super) fn deny_gso_unless(&mut self, allowed: bool) {
        self.granted.gso &= allowed;
    }

    /// Slots for [`receive`](Self::receive).
    pub fn batch(&self) -> RecvBatch {
        RecvBatch::new(self.granted.gro)
    }

    /// Receives what waits, up to the batch's slots, and returns how many messages came; fewer
    /// than `batch.slots()` means that nothing waits any more.
    ///
    /// # Errors
    /// What `recvmmsg` said, except that nothing waits: that is `Ok(0)`.
    pub fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        match batch.fill(self.socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// The next send may look a few times whether the kernel would choose the wanted local address
    /// by itself, and need not be told; without this call it always is told.
    pub fn begin_send(&mut self, now: Instant) {
        self.outbox.begin(now);
    }

    /// Sends every run of `egress` that is for UDP once, oldest first. A datagram that its own
    /// destination or path refuses is passed over; a full socket buffer is waited for once, at
    /// most `ROOM_WAIT_MS`, then the rest is given up.
    pub fn send(&mut self, egress: &Egress) -> SendReport {
        let mut pass = Pass::default();
        let mut cursor = Cursor::default();
        while !pass.full
            && self
                .outbox
                .fill(egress, &mut cursor, self.family, self.granted.gso)
        {
            self.send_filled(egress, &mut pass);
        }
        let runs = egress.runs().iter().filter(|run| run.route.tcp.is_none());
        let total: usize = runs.map(|run| run.segments).sum();
        SendReport {
            sent: pass.sent as u64,
            failed: (total - pass.sent) as u64,
            would_block: pass.full,
        }
    }

    /// Sends the messages of the outbox; those whose run the kernel will not cut go singly.
    fn send_filled(&mut self, egress: &Egress, pass: &mut Pass) {
        let mut from = 0;
        while let Some(first) = self.outbox.messages().get(from) {
            let (run, is_run) = (first.run, first.datagrams > 1);
            match self.outbox.send(self.socket.as_fd(), egress.bytes(), from) {
                Ok(count) => {
                    pass.sent += self.outbox.datagrams(from, count);
                    from += count.max(1);
                }
                Err(error) => match refusal(&error, is_run) {
                    Refusal::Full if self.wait_for_room(pass) => {}
                    Refusal::Full => return,
                    Refusal::OffloadGone | Refusal::Run => {
                        self.note_run_refused(&error);
                        self.send_singly(egress, run, pass);
                        from += 1;
                    }
                    Refusal::Message => from += 1,
                },
            }
            if pass.full {
                return;
            }
        }
    }

    /// Sends the datagrams of run number `index` one message each.
    fn send_singly(&mut self, egress: &Egress, index: usize, pass: &mut Pass) {
        let Some(run) = egress.runs().get(index) else {
            return;
        };
        self.single.fill_plain(run, index, self.family);
        let mut from = 0;
        while from < self.single.messages().len() {
            match self.single.send(self.socket.as_fd(), egress.bytes(), from) {
                Ok(count) => {
                    pass.sent += count;
                    from += count.max(1);
                }
                Err(error) => match refusal(&error, false) {
                    Refusal::Full if self.wait_for_room(pass) => {}
                    Refusal::Full => return,
                    Refusal::OffloadGone | Refusal::Run | Refusal::Message => from += 1,
                },
            }
        }
    }

    /// Turns `UDP_SEGMENT` off for good when the kernel, not one path, refused it.
    fn note_run_refused(&mut self, error: &io::Error) {
        if self.granted.gso && refusal(error, true) == Refusal::OffloadGone {
            self.granted.gso = false;
            warn!(%error, "UDP_SEGMENT refused: datagrams are sent one by one from here on");
        }
    }

    /// True when the socket buffer got room; the first call of a pass waits, later ones give up.
    fn wait_for_room(&self, pass: &mut Pass) -> bool {
        pass.full = pass.waited || !option::wait_writable(self.socket.as_fd(), ROOM_WAIT_MS);
        pass.waited = true;
        !pass.full
    }
}

impl Source for UdpSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket.register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

/// One [`UdpSocket::send`] under way.
#[derive(Clone, Copy, Debug, Default)]
struct Pass {
    sent: usize,
    waited: bool,
    full: bool,
}

/// What a failed send says about the messages behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The socket buffer is full: nothing goes at the moment.
    Full,
    /// Runs are not possible on this host: no checksum offload or no support.
    OffloadGone,
    /// This run is not possible (path MTU below the segment length), its datagrams may be.
    ///
    /// Only this one: a path MTU is learnt from ICMP, and one subscriber's forged ICMP must not
    /// cost the others their runs.
    Run,
    /// This message is not possible.
    Message,
}

/// Reads the error of a send whose first message was a run (`is_run`) or a single datagram.
pub(super) fn refusal(error: &io::Error, is_run: bool) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Refusal::Full,
        Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) if is_run => Refusal::OffloadGone,
        Some(libc::EINVAL | libc::EMSGSIZE) if is_run => Refusal::Run,
        _ => Refusal::Message,
    }
}

/// A socket buffer's options: enlarging as root, enlarging within the host's limit, and the size
/// wanted in bytes.
struct Buffer {
    force: i32,
    plain: i32,
    wanted_len: i32,
}

/// Enlarges a buffer as far as the host lets; returns what it is then.
fn enlarge(fd: std::os::fd::BorrowedFd<'_>, buffer: &Buffer) -> io::Result<usize> {
    let level = libc::SOL_SOCKET;
    if option::set_int(fd, level, buffer.force, buffer.wanted_len).is_err() {
        // Never an error: the kernel caps the value at net.core.{r,w}mem_max silently.
        option::set_int(fd, level, buffer.plain, buffer.wanted_len)?;
    }
    let len = option::int(fd, level, buffer.plain)?;
    Ok(usize::try_from(len).unwrap_or(0))
}

/// 30 ms of 1 Gbit/s with the kernel's overhead per packet: a turn that came late loses nothing.
const RECV_BUFFER: Buffer = Buffer {
    force: libc::SO_RCVBUFFORCE,
    plain: libc::SO_RCVBUF,
    wanted_len: 8 * 1024 * 1024,
};

/// Several full egress buffers, so that a flush meets a full buffer only when the link is behind.
const SEND_BUFFER: Buffer = Buffer {
    force: libc::SO_SNDBUFFORCE,
    plain: libc::SO_SNDBUF,
    wanted_len: 4 * 1024 * 1024,
};

const _: () = assert!(SEND_BUFFER.wanted_len as usize >= 4 * crate::base::limits::EGRESS_LEN);

/// Messages per `sendmmsg`: its fixed cost is lost among them, and their headers stay in L1/L2.
const MESSAGES_PER_CALL: usize = 256;

/// How long a pass waits, once, for a full socket buffer: a millisecond of a 1 Gbit/s link drains
/// 80 datagrams, which is better than losing them; longer would hold up the worker's turn.
pub const ROOM_WAIT_MS: i32 = 1;
