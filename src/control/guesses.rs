//! Wrong time-based codes: how often one was tried for a subscriber, and from where.
//!
//! Six digits are a million; who may try thousands a second has one within minutes. RFC 4226 §7.3
//! demands that guessing is slowed down. An address is stopped before the subscriber is, so that
//! nobody is locked out by one who guesses elsewhere; and a code counts once, because a page that
//! reconnects by itself tries its old one again and again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::model::mail::AppName;

/// Whose code was tried: of which application's broadcast, and by which id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whose {
    pub app: AppName,
    pub stream: String,
    pub subscriber_id: String,
}

/// Whose code was tried, from which address; `None`: from anywhere.
type Key = (Whose, Option<IpAddr>);

/// Wrong codes of the last [`SPAN`].
#[derive(Debug, Default)]
pub(super) struct Guesses {
    counts: BTreeMap<Key, u32>,
    seen: BTreeSet<(Key, String)>,
    /// What was seen, in the order in which it came.
    order: VecDeque<(Instant, (Key, String))>,
}

impl Guesses {
    /// True when no more codes are looked at, of this subscriber from `from`.
    pub fn are_too_many(&mut self, now: Instant, whose: &Whose, from: Option<IpAddr>) -> bool {
        self.forget(now);
        let count = |from| self.counts.get(&(whose.clone(), from)).copied();
        let here = from.and_then(|from| count(Some(from))).unwrap_or(0);
        here >= MAX_HERE || count(None).unwrap_or(0) >= MAX_IN_ALL
    }

    /// A wrong `code` came from `from`.
    pub fn note(&mut self, now: Instant, whose: Whose, from: Option<IpAddr>, code: &str) {
        let here = from.map(|from| (whose.clone(), Some(from)));
        for key in here.into_iter().chain([(whose, None)]) {
            let guess = (key.clone(), code.to_owned());
            if !self.seen.insert(guess.clone()) {
                continue;
            }
            if self.order.len() >= MAX_REMEMBERED {
                self.forget_oldest();
            }
            *self.counts.entry(key).or_default() += 1;
            self.order.push_back((now, guess));
        }
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
        let (key, _) = guess;
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }
}

/// How long a wrong code counts.
const SPAN: Duration = Duration::from_secs(600);

/// Wrong codes of one subscriber from one address: somebody who mistypes, not more.
const MAX_HERE: u32 = 10;

/// And from everywhere: 7200 a day, while two codes of a million are good at a time, so that one is
/// found in 69 days on average.
const MAX_IN_ALL: u32 = 50;

/// Wrong codes that are remembered; the oldest go.
const MAX_REMEMBERED: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::base::clock::tests::test_now;

    fn anna() -> Whose {
        Whose {
            app: "live".into(),
            stream: "s".to_owned(),
            subscriber_id: "anna".to_owned(),
        }
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn an_address_is_stopped_first_and_then_the_subscriber_for_a_while() {
        let t = test_now().instant;
        let mut guesses = Guesses::default();
        let mut tried = 0;
        for last in 0..200 {
            while !guesses.are_too_many(t, &anna(), address(last)) {
                let code = format!("{tried:06}");
                guesses.note(t, anna(), address(last), &code);
                guesses.note(t, anna(), address(last), &code);
                tried += 1;
            }
            if last == 0 {
                assert_eq!(tried, MAX_HERE);
                assert!(!guesses.are_too_many(t, &anna(), address(1)));
            }
        }
        assert_eq!(tried, MAX_IN_ALL);
        let other = Whose {
            subscriber_id: "bob".to_owned(),
            ..anna()
        };
        assert!(!guesses.are_too_many(t, &other, address(0)));
        assert!(!guesses.are_too_many(t + SPAN, &anna(), address(0)));
        assert!(guesses.counts.is_empty());
    }

    #[test]
    fn who_guesses_for_everybody_fills_no_memory() {
        let t = test_now().instant;
        let mut guesses = Guesses::default();
        for at in 0..MAX_REMEMBERED {
            let whose = Whose {
                subscriber_id: at.to_string(),
                ..anna()
            };
            guesses.note(t, whose, address(0), "123456");
        }
        assert_eq!(guesses.order.len(), MAX_REMEMBERED);
        assert_eq!(guesses.counts.len(), MAX_REMEMBERED);
    }
}
