//! getifaddrs(3): the host's own addresses.

use std::io;
use std::net::Ipv4Addr;

use super::option::done;

/// IPv4 addresses of the interfaces that are up, loopback left out, in the kernel's order.
///
/// # Errors
/// What getifaddrs said.
pub fn local_ipv4() -> io::Result<Vec<Ipv4Addr>> {
    let list = List::read()?;
    let mut found = Vec::new();
    let mut next = list.0;
    while let Some(entry) = list.entry(next) {
        next = entry.ifa_next;
        let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        if let Some(ip) = ipv4_of(entry).filter(|ip| up && !ip.is_loopback())
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    Ok(found)
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

fn ipv4_of(entry: &libc::ifaddrs) -> Option<Ipv4Addr> {
    // SAFETY: `ifa_addr` is null or points to a socket address that lives as long as the list.
    let family = unsafe { entry.ifa_addr.as_ref() }?.sa_family;
    if i32::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: an address whose family is AF_INET is a sockaddr_in.
    let addr = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().as_ref() }?;
    Some(Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_no_loopback_address() {
        let found = local_ipv4().unwrap();
        assert!(found.iter().all(|ip| !ip.is_loopback()), "{found:?}");
    }
}
