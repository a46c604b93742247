//! Control messages of `sendmsg` and `recvmsg` (cmsg(3)), as plain bytes.
//!
//! ```text
//! +--------------------+-------------+------------+---------------+-----+
//! | len: usize         | level: int  | type: int  | data          | pad |   repeated
//! +--------------------+-------------+------------+---------------+-----+
//!   len counts header and data; the next one starts at a multiple of the size of usize
//! ```
//!
//! Encoded and decoded without `unsafe`. Called by `recv.rs` and `send.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addr::{Family, mapped_octets};

/// The control buffer of one message, aligned as `cmsghdr` asks.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Control {
    bytes: [u8; CONTROL_LEN],
    len: usize,
}

/// What the kernel said about one received message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes per datagram when the kernel joined several (`UDP_GRO`); `None`: a single one.
    pub segment_len: Option<usize>,
    /// The local address it came to (`IP_PKTINFO`, `IPV6_PKTINFO`); `None` when not asked for.
    pub local: Option<IpAddr>,
    /// When it came (`SO_TIMESTAMPNS`), microseconds since 1970; `None` when not asked for.
    pub arrived_us: Option<u64>,
}

impl Control {
    /// No messages.
    pub const EMPTY: Control = Control {
        bytes: [0; CONTROL_LEN],
        len: 0,
    };

    /// Asks the kernel to cut the payload into datagrams of `segment_len` bytes.
    pub fn put_segment_len(&mut self, segment_len: u16) {
        self.put(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_len.to_ne_bytes());
    }

    /// Asks the kernel to send from `local`, on a socket of `family`.
    pub fn put_source(&mut self, local: IpAddr, family: Family) {
        match (family, local) {
            (Family::V4, IpAddr::V4(ip)) => {
                // struct in_pktinfo { int ifindex; in_addr spec_dst; in_addr addr; }
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (Family::V4, IpAddr::V6(_)) => {}
            (Family::V6, ip) => {
                // struct in6_pktinfo { in6_addr addr; unsigned ifindex; }
                let mut info = [0; 20];
                info[..16].copy_from_slice(&mapped_octets(ip));
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Reads the first `len` bytes, as the kernel filled them.
    pub fn received(&self, len: usize) -> Received {
        let mut found = Received::default();
        let mut rest = self.bytes.get(..len).unwrap_or(&self.bytes);
        while let Some((level, kind, data, next)) = split_first(rest) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let len = data.first_chunk().map(|b| i32::from_ne_bytes(*b));
                    found.segment_len = len.and_then(|l| usize::try_from(l).ok());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let spec_dst = data.get(4..).and_then(|d| d.first_chunk::<4>());
                    found.local = spec_dst.map(|b| Ipv4Addr::from(*b).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let addr = data.first_chunk::<16>().map(|b| Ipv6Addr::from(*b));
                    found.local = addr.map(|ip| IpAddr::from(ip).to_canonical());
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    found.arrived_us = timespec_us(data);
                }
                _ => {}
            }
            rest = next;
        }
        found
    }

    /// Bytes put so far, without those that would only make room for another message: the kernel
    /// keeps 36 on its stack, one IPv6 packet info, and allocates for more.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// For the kernel to read.
    pub const fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// For the kernel to write up to [`CONTROL_LEN`] bytes.
    pub const fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Appends one message. Everything this module puts fits, see [`CONTROL_LEN`].
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = HEADER_LEN + data.len();
        let start = aligned(self.len);
        let Some(place) = self.bytes.get_mut(start..start + len) else {
            return;
        };
        let parts: [&[u8]; 4] = [
            &len.to_ne_bytes(),
            &level.to_ne_bytes(),
            &kind.to_ne_bytes(),
            data,
        ];
        let bytes = parts.into_iter().flatten();
        place.iter_mut().zip(bytes).for_each(|(to, b)| *to = *b);
        self.len = start + len;
    }
}

/// Level, type and data of the first message, and what follows; `None` at the end.
fn split_first(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<{ size_of::<usize>() }>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    let len = usize::from_ne_bytes(*len);
    let data = bytes.get(HEADER_LEN..len)?;
    let next = bytes.get(aligned(len)..).unwrap_or_default();
    let (level, kind) = (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind));
    Some((level, kind, data, next))
}

/// A `timespec`: seconds and nanoseconds, a `long` each.
fn timespec_us(data: &[u8]) -> Option<u64> {
    const LONG: usize = size_of::<libc::c_long>();
    let (seconds, rest) = data.split_first_chunk::<LONG>()?;
    let nanoseconds = libc::c_long::from_ne_bytes(*rest.first_chunk::<LONG>()?);
    let seconds = u64::try_from(libc::c_long::from_ne_bytes(*seconds)).ok()?;
    let us = u64::try_from(nanoseconds).ok()? / 1000;
    seconds.checked_mul(1_000_000)?.checked_add(us)
}

/// `len` rounded up to the alignment of `cmsghdr`.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// One segment length and one IPv6 packet info, the most that is sent or received at once.
pub const CONTROL_LEN: usize = 64;

/// Size of `cmsghdr`.
const HEADER_LEN: usize = size_of::<usize>() + 8;

const _: () = assert!(HEADER_LEN == size_of::<libc::cmsghdr>());
const _: () = assert!(aligned(HEADER_LEN + 4) + aligned(HEADER_LEN + 20) <= CONTROL_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_length_and_source_fit_together() {
        let local: IpAddr = "2001:db8::1".parse().unwrap();
        let mut control = Control::EMPTY;
        control.put_segment_len(1200);
        control.put_source(local, Family::V6);
        assert_eq!(aligned(control.len()), CONTROL_LEN);
        assert_eq!(control.received(control.len()).local, Some(local));
    }

    #[test]
    fn a_v4_source_is_spec_dst_and_a_mapped_one_comes_back_as_v4() {
        let local: IpAddr = "192.0.2.1".parse().unwrap();
        for family in [Family::V4, Family::V6] {
            let mut control = Control::EMPTY;
            control.put_source(local, family);
            assert_eq!(control.received(control.len()).local, Some(local));
        }
    }

    #[test]
    fn reads_the_time_of_arrival_and_no_negative_one() {
        for (seconds, expected) in [(1_700_000_000, Some(1_700_000_000_000_123)), (-1, None)] {
            let mut data = [0; 16];
            data[..8].copy_from_slice(&i64::to_ne_bytes(seconds));
            data[8..].copy_from_slice(&123_999_i64.to_ne_bytes());
            let mut control = Control::EMPTY;
            control.put(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &data);
            assert_eq!(control.received(control.len()).arrived_us, expected);
        }
    }

    #[test]
    fn reads_the_gro_length_and_survives_nonsense() {
        let mut control = Control::EMPTY;
        control.put(libc::SOL_UDP, libc::UDP_GRO, &1100_i32.to_ne_bytes());
        assert_eq!(control.received(control.len()).segment_len, Some(1100));
        for len in 0..CONTROL_LEN + 8 {
            for filler in [0, 1, 15, 16, 17, 255] {
                let nonsense = Control {
                    bytes: [filler; CONTROL_LEN],
                    len: 0,
                };
                assert_eq!(nonsense.received(len), Received::default());
            }
        }
    }
}
