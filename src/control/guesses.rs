//! Wrong time-based codes: how often one was tried for a subscriber, and from where.
//!
//! Six digits are a million; who may try thousands a second has one within minutes. RFC 4226 §7.3
//! demands that guessing is slowed down. An address is stopped before anybody else is, so that
//! nobody is locked out by one who guesses elsewhere; and a code counts once, because a page that
//! reconnects by itself tries its old one again and again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::crowd::network_of;
use crate::model::mail::AppName;

/// Whose secret the code that was tried is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// A registered subscriber's own.
    Subscriber {
        app: AppName,
        stream: String,
        id: String,
    },
    /// The application's. Every subscriber id has a code then, and who guesses chooses among them,
    /// so they count together.
    App(AppName),
}

impl Whose {
    /// How many wrong codes are borne, from one address and in all.
    fn limits(&self) -> (u32, u32) {
        match self {
            Self::Subscriber { .. } => (10, 50),
            Self::App(_) => (100, 5000),
        }
    }
}

/// Wrong codes of the last [`SPAN`]. What was tried is kept as hashes of a key of its own.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    hasher: RandomState,
    counts: HashMap<u64, u32>,
    seen: HashSet<Guess>,
    /// What was seen, in the order in which it came.
    order: VecDeque<(Instant, Guess)>,
}

/// One code, as it counts for one of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guess {
    limit: u64,
    code: u64,
}

impl Guesses {
    /// True when no more codes made with `whose` secret are looked at, from `from`.
    pub fn are_too_many(&mut self, now: Instant, whose: &Whose, from: Option<IpAddr>) -> bool {
        self.forget(now);
        let (here, in_all) = whose.limits();
        let count = |network| self.counts.get(&self.limit_of(whose, network)).copied();
        let tried_here = network(from).and_then(|network| count(Some(network)));
        tried_here.unwrap_or(0) >= here || count(None).unwrap_or(0) >= in_all
    }

    /// A wrong `code` for the subscriber `id` came from `from`.
    pub fn note(
        &mut self,
        now: Instant,
        whose: &Whose,
        from: Option<IpAddr>,
        (id, code): (&str, &str),
    ) {
        let code = self.hasher.hash_one((id, code));
        let here = network(from).map(Some);
        for network in here.into_iter().chain([None]) {
            let limit = self.limit_of(whose, network);
            let guess = Guess { limit, code };
            if !self.seen.insert(guess) {
                continue;
            }
            if self.order.len() >= MAX_REMEMBERED {
                self.forget_oldest();
            }
            let count = self.counts.entry(limit).or_default();
            *count += 1;
            self.order.push_back((now, guess));
            if network.is_none() && *count == whose.limits().1 {
                tracing::warn!(?whose, "too many wrong codes: no more are looked at");
            }
        }
    }

    fn limit_of(&self, whose: &Whose, network: Option<IpAddr>) -> u64 {
        self.hasher.hash_one((whose, network))
    }

    fn forget(&mut self, now: Instant) {
        let is_over = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) >= SPAN;
        while self.order.front().is_some_and(is_over) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, guess)) = self.order.pop_front() else {
            return;
        };
        self.seen.remove(&guess);
        if let Some(count) = self.counts.get_mut(&guess.limit) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&guess.limit);
            }
        }
    }
}

/// What an address counts as; behind loopback is a proxy, so everybody.
fn network(from: Option<IpAddr>) -> Option<IpAddr> {
    from.map(network_of)
        .filter(|network| !network.is_loopback())
}

/// How long a wrong code counts: 50 in that time are 7200 a day, while two codes of a million are
/// good at a time, so that one is found in 69 days on average; 100 from one address are 35 days,
/// 5000 are 17 hours.
const SPAN: Duration = Duration::from_secs(600);

/// Wrong codes that are remembered, each once for its address and once in all; the oldest go.
const MAX_REMEMBERED: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::base::clock::tests::test_now;

    fn own(id: &str) -> Whose {
        Whose::Subscriber {
            app: "live".into(),
            stream: "s".to_owned(),
            id: id.to_owned(),
        }
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    /// Guesses from one address after the other; how many were looked at of the first one's, and
    /// of all.
    fn guess_all_over(guesses: &mut Guesses, now: Instant, whose: &Whose) -> (u32, u32) {
        let (mut tried, mut at_first) = (0, 0);
        for last in 0..200 {
            while !guesses.are_too_many(now, whose, address(last)) {
                // Another subscriber each time, which gains nothing.
                let (id, code) = (tried.to_string(), format!("{tried:06}"));
                guesses.note(now, whose, address(last), (&id, &code));
                guesses.note(now, whose, address(last), (&id, &code));
                tried += 1;
            }
            if last == 0 {
                at_first = tried;
                assert!(!guesses.are_too_many(now, whose, address(1)));
            }
        }
        (at_first, tried)
    }

    #[test]
    fn an_address_is_stopped_first_and_then_everybody_for_a_while() {
        let t = test_now().instant;
        let mut guesses = Guesses::default();
        for whose in [own("anna"), Whose::App("live".into())] {
            let stopped = guess_all_over(&mut guesses, t, &whose);
            assert_eq!(stopped, whose.limits());
        }
        assert!(!guesses.are_too_many(t, &own("bob"), address(0)));
        assert!(!guesses.are_too_many(t, &Whose::App("other".into()), address(0)));
        for whose in [own("anna"), Whose::App("live".into())] {
            assert!(!guesses.are_too_many(t + SPAN, &whose, address(0)));
        }
        assert!(guesses.counts.is_empty() && guesses.seen.is_empty());
    }

    #[test]
    fn who_guesses_for_everybody_fills_no_memory() {
        let t = test_now().instant;
        let mut guesses = Guesses::default();
        for at in 0..MAX_REMEMBERED {
            guesses.note(t, &own(&at.to_string()), address(0), ("", "123456"));
        }
        assert_eq!(guesses.order.len(), MAX_REMEMBERED);
        assert_eq!(guesses.counts.len(), MAX_REMEMBERED);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_proxy_none() {
        let t = test_now().instant;
        let mut guesses = Guesses::default();
        let whose = own("anna");
        for code in 0..10 {
            let ip = format!("2001:db8::{code:x}").parse().ok();
            guesses.note(t, &whose, ip, ("anna", &code.to_string()));
            let proxy = Some(IpAddr::from([127, 0, 0, 1]));
            guesses.note(t, &whose, proxy, ("anna", &(10 + code).to_string()));
        }
        let at = |text: &str| text.parse().ok();
        assert!(guesses.are_too_many(t, &whose, at("2001:db8::ffff")));
        assert!(!guesses.are_too_many(t, &whose, at("2001:db8:0:1::1")));
        assert!(!guesses.are_too_many(t, &whose, at("127.0.0.1")));
    }
}
