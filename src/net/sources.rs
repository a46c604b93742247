//! Whether the kernel would send from the wanted local address by itself.
//!
//! Answers have to leave from the address that was asked. To say so costs a control message, and
//! together with a segment length more room than the kernel has on its stack: 22 ns per datagram in
//! runs of eight, 130 ns where each goes singly (`docs/performance.md`). On most hosts the route
//! alone leads to the same address. Called by `send.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// What was found out, for [`KEPT_FOR`].
#[derive(Debug)]
pub struct Sources {
    /// By remote and local address.
    known: HashMap<(IpAddr, IpAddr), bool>,
    forget_at: Option<Instant>,
    /// Questions that may still be asked for the present send.
    left: usize,
}

impl Sources {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            known: HashMap::new(),
            forget_at: None,
            left: 0,
        }
    }

    /// A send begins: it may ask a few times, and what is old is asked anew.
    pub fn begin(&mut self, now: Instant) {
        self.left = QUESTIONS_PER_SEND;
        if self.forget_at.is_none_or(|at| at <= now) {
            self.known.clear();
            self.forget_at = Some(now + KEPT_FOR);
        }
    }

    /// True when datagrams to `remote` leave from `local` without a word; false where that is not
    /// known.
    pub fn is_chosen(&mut self, remote: SocketAddr, local: IpAddr) -> bool {
        let pair = (remote.ip(), local);
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        if self.left == 0 || self.known.len() >= MAX_KNOWN {
            return false;
        }
        self.left -= 1;
        let is_chosen = chosen(remote).is_some_and(|chosen| chosen == local);
        self.known.insert(pair, is_chosen);
        is_chosen
    }
}

/// The local address of a new socket that is connected to `remote`: the route decides, nothing is
/// sent. `None` when there is no way, or no descriptor for the question.
fn chosen(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Routes and addresses of a host change seldom, and a viewer asks for consent every few seconds.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// About 8 us each (five system calls, Zen 5): 0.13 ms of a turn at most.
const QUESTIONS_PER_SEND: usize = 16;

/// Addresses of viewers; those beyond have their control message.
const MAX_KNOWN: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    fn asked(sources: &mut Sources, remote: &str, local: &str) -> bool {
        sources.is_chosen(remote.parse().unwrap(), local.parse().unwrap())
    }

    #[test]
    fn the_route_decides_and_is_asked_anew_after_a_while() {
        let mut sources = Sources::new();
        let now = test_now().instant;
        assert!(!asked(&mut sources, "127.0.0.1:9", "127.0.0.1"), "no send");
        sources.begin(now);
        assert!(asked(&mut sources, "127.0.0.1:9", "127.0.0.1"));
        assert!(!asked(&mut sources, "127.0.0.1:9", "127.0.0.2"));
        assert!(!asked(&mut sources, "[::1]:9", "127.0.0.1"));
        sources.begin(now + KEPT_FOR / 2);
        assert_eq!(sources.known.len(), 3);
        sources.begin(now + KEPT_FOR);
        assert_eq!(sources.known.len(), 0);
    }

    #[test]
    fn one_send_asks_a_few_times_and_the_next_goes_on() {
        let mut sources = Sources::new();
        let now = test_now().instant;
        for sent in 1..=3 {
            sources.begin(now);
            for last in 1..=4 * QUESTIONS_PER_SEND {
                asked(&mut sources, &format!("127.0.0.{last}:9"), "127.0.0.1");
            }
            assert_eq!(sources.known.len(), sent * QUESTIONS_PER_SEND);
        }
        assert!(asked(&mut sources, "127.0.0.1:9", "127.0.0.1"), "kept");
    }
}
