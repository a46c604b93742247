//! Socket addresses in the kernel's layout (`sockaddr_in`, `sockaddr_in6`), as plain bytes.
//!
//! Encoded and decoded without `unsafe`: the layouts are fixed kernel ABI. Called by `recv.rs` and
//! `send.rs`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::base::bytes::{Reader, Writer};

/// The address family of a socket; fixes the layout of every address it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, dual-stack: IPv4 peers appear as `::ffff:a.b.c.d` towards the kernel only.
    V6,
}

impl Family {
    /// The family of a socket bound to `addr`.
    pub fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }
}

/// A socket address as the kernel reads and writes it; aligned as `sockaddr_storage` asks.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct RawAddr {
    bytes: [u8; RAW_LEN],
    len: u32,
}

impl RawAddr {
    /// Room for any address, to be filled by the kernel.
    pub const EMPTY: RawAddr = RawAddr {
        bytes: [0; RAW_LEN],
        len: 0,
    };

    /// `addr` for a socket of `family`; `None` for an IPv6 address on an IPv4 socket.
    pub fn encode(addr: SocketAddr, family: Family) -> Option<Self> {
        let mut raw = Self::EMPTY;
        let mut out = Writer::new(&mut raw.bytes);
        match (family, addr) {
            (Family::V4, SocketAddr::V4(addr)) => {
                out.put(&(libc::AF_INET as u16).to_ne_bytes())?;
                out.u16(addr.port())?;
                out.put(&addr.ip().octets())?;
                raw.len = V4_LEN;
            }
            (Family::V4, SocketAddr::V6(_)) => return None,
            (Family::V6, addr) => {
                let (ip, scope) = match addr {
                    SocketAddr::V4(addr) => (addr.ip().to_ipv6_mapped(), 0),
                    SocketAddr::V6(addr) => (*addr.ip(), addr.scope_id()),
                };
                out.put(&(libc::AF_INET6 as u16).to_ne_bytes())?;
                out.u16(addr.port())?;
                out.u32(0)?;
                out.put(&ip.octets())?;
                out.put(&scope.to_ne_bytes())?;
                raw.len = RAW_LEN as u32;
            }
        }
        Some(raw)
    }

    /// What the kernel wrote; mapped IPv4 addresses come back as IPv4. `None` for other families.
    pub fn decode(&self) -> Option<SocketAddr> {
        let mut bytes = Reader::new(&self.bytes);
        let family = i32::from(u16::from_ne_bytes(bytes.array()?));
        let port = bytes.u16()?;
        if family == libc::AF_INET {
            return Some(SocketAddr::from((bytes.array::<4>()?, port)));
        }
        if family != libc::AF_INET6 {
            return None;
        }
        bytes.skip(4)?;
        let ip = Ipv6Addr::from(bytes.array::<16>()?);
        let scope = u32::from_ne_bytes(bytes.array()?);
        match ip.to_ipv4_mapped() {
            Some(v4) => Some(SocketAddr::from((v4, port))),
            None => Some(std::net::SocketAddrV6::new(ip, port, 0, scope).into()),
        }
    }

    /// Bytes that a filled address uses.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// For the kernel to read.
    pub const fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// For the kernel to write up to [`RAW_LEN`] bytes.
    pub const fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
}

/// `ip` as 16 bytes in the layout of `in6_addr`, IPv4 mapped.
pub fn mapped_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Size of `sockaddr_in6`, the longer of the two.
pub const RAW_LEN: usize = 28;

/// Size of `sockaddr_in`.
const V4_LEN: u32 = 16;

const _: () = assert!(RAW_LEN == size_of::<libc::sockaddr_in6>());
const _: () = assert!(V4_LEN as usize == size_of::<libc::sockaddr_in>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_layout() {
        let v4: SocketAddr = "192.0.2.7:4242".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        for (addr, family) in [(v4, Family::V4), (v4, Family::V6), (v6, Family::V6)] {
            let raw = RawAddr::encode(addr, family).unwrap();
            assert_eq!(raw.decode(), Some(addr), "{family:?}");
        }
        assert!(RawAddr::encode(v6, Family::V4).is_none());
        assert_eq!(RawAddr::EMPTY.decode(), None);
    }
}
