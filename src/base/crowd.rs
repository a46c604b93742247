//! Who holds how many of something that is limited: in all, and per address.
//!
//! One thread lets in; a [`Place`] may be given up on any other without a lock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the holders of places.
#[derive(Debug, Default)]
pub struct Crowd {
    limits: CrowdLimits,
    all: Arc<AtomicUsize>,
    /// By address, or by network of an IPv6 address; those without places are removed when the
    /// table has doubled.
    by_address: HashMap<IpAddr, Arc<AtomicUsize>>,
    tidy_at: usize,
}

/// How many may be in a [`Crowd`]; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrowdLimits {
    /// In all.
    pub all: usize,
    /// Of one IPv4 address, or of one IPv6 network of 64 bits. Loopback is not counted: behind it
    /// is a proxy, or the operator; nor is the unspecified address, which is everybody's whose own
    /// a proxy does not say.
    pub per_address: usize,
}

/// A place in a [`Crowd`], given up when it is dropped.
#[derive(Debug)]
pub struct Place {
    all: Arc<AtomicUsize>,
    of_address: Option<Arc<AtomicUsize>>,
}

impl Crowd {
    /// An empty crowd.
    pub fn new(limits: CrowdLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A place for `from`; `None` when a limit is reached, or nothing is known of it.
    pub fn enter(&mut self, from: IpAddr) -> Option<Place> {
        let is_full =
            |count: &AtomicUsize, limit: usize| limit > 0 && count.load(Ordering::Relaxed) >= limit;
        if is_full(&self.all, self.limits.all) {
            return None;
        }
        let of_address = match network_of(from) {
            ip if ip.is_loopback() || ip.is_unspecified() => None,
            ip => {
                self.tidy();
                let count = self.by_address.entry(ip).or_default();
                if is_full(count, self.limits.per_address) {
                    return None;
                }
                count.fetch_add(1, Ordering::Relaxed);
                Some(count.clone())
            }
        };
        self.all.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            all: self.all.clone(),
            of_address,
        })
    }

    /// Places that are held.
    pub fn len(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// True when nobody holds one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tidy(&mut self) {
        if self.by_address.len() >= self.tidy_at {
            self.by_address
                .retain(|_, count| count.load(Ordering::Relaxed) > 0);
            self.tidy_at = TIDY_MIN.max(2 * self.by_address.len());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = &self.of_address {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What counts as one address: a host gets an IPv6 network of 64 bits (RFC 6177 §2) and can take
/// any address in it.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let bits = u128::from(ip) & !u128::from(u64::MAX);
            Ipv6Addr::from(bits).into()
        }
        other => other,
    }
}

/// Addresses that are remembered without a place at least.
const TIDY_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_hold_in_all_and_per_address_until_places_are_given_up() {
        let mut crowd = Crowd::new(CrowdLimits {
            all: 4,
            per_address: 2,
        });
        let first = crowd.enter(ip("203.0.113.1")).unwrap();
        let _second = crowd.enter(ip("::ffff:203.0.113.1")).unwrap();
        assert!(crowd.enter(ip("203.0.113.1")).is_none());
        let _other = crowd.enter(ip("203.0.113.2")).unwrap();
        drop(first);
        let _again = crowd.enter(ip("203.0.113.1")).unwrap();
        let _last = crowd.enter(ip("127.0.0.1")).unwrap();
        assert_eq!(crowd.len(), 4);
        assert!(crowd.enter(ip("203.0.113.3")).is_none(), "all places");
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_loopback_is_none_nor_is_nobody() {
        let mut crowd = Crowd::new(CrowdLimits {
            all: 0,
            per_address: 1,
        });
        let _one = crowd.enter(ip("2001:db8::1")).unwrap();
        assert!(crowd.enter(ip("2001:db8::ffff:1")).is_none());
        let _next = crowd.enter(ip("2001:db8:0:1::1")).unwrap();
        for uncounted in ["::1", "0.0.0.0"] {
            let _many: Vec<_> = (0..100)
                .map(|_| crowd.enter(ip(uncounted)).unwrap())
                .collect();
        }
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let mut crowd = Crowd::default();
        for number in 0..100_000u32 {
            drop(crowd.enter(IpAddr::from(number.to_be_bytes())));
        }
        assert!(crowd.is_empty());
        assert!(crowd.by_address.len() <= TIDY_MIN);
    }
}
