//! getifaddrs(3): the host's own addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::option::done;

/// Addresses of the interfaces that are up, IPv4 and IPv6, in the kernel's order; loopback and
/// link-local ones (which mean something on one link only) are left out.
///
/// # Errors
/// What getifaddrs said.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let list = List::read()?;
    let mut found = Vec::new();
    let mut next = list.0;
    while let Some(entry) = list.entry(next) {
        next = entry.ifa_next;
        let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        if let Some(ip) = ip_of(entry).filter(|ip| up && is_reachable(*ip))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    Ok(found)
}

fn is_reachable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !link_local
}

/// A list that getifaddrs allocated; freed on drop.
struct List(*mut libc::ifaddrs);

impl List {
    fn read() -> io::Result<Self> {
        let mut head = std::ptr::null_mut();
        // SAFETY: the call stores one pointer into `head`, which lives through it.
        let result = unsafe { libc::getifaddrs(&raw mut head) };
        done(result).map(|()| Self(head))
    }

    /// The entry at `at`, which is this list's head or an `ifa_next` of it; `None` at the end.
    fn entry(&self, at: *mut libc::ifaddrs) -> Option<&libc::ifaddrs> {
        // SAFETY: `at` is null or an entry of the list, which is valid and unchanged until drop.
        unsafe { at.as_ref() }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer came from getifaddrs and is freed once, here.
        unsafe { libc::freeifaddrs(self.0) }
    }
}

fn ip_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    // SAFETY: `ifa_addr` is null or points to a socket address that lives as long as the list.
    let family = unsafe { entry.ifa_addr.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an address whose family is AF_INET is a sockaddr_in.
            let addr = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().as_ref() }?;
            Some(Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an address whose family is AF_INET6 is a sockaddr_in6.
            let addr = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().as_ref() }?;
            Some(Ipv6Addr::from(addr.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_neither_loopback_nor_link_local_addresses() {
        let found = local_addresses().unwrap();
        assert!(found.iter().all(|ip| is_reachable(*ip)), "{found:?}");
        for (ip, reachable) in [("::1", false), ("fe80::1", false), ("2001:db8::1", true)] {
            assert_eq!(is_reachable(ip.parse().unwrap()), reachable, "{ip}");
        }
    }
}
