//! Publishes and plays that were granted and whose peers are not connected: handshakes in
//! progress. They cost memory and processor time before anybody has proved a thing, so they are
//! limited, in all and per address.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::seats::SeatKey;
use crate::base::crowd::{Crowd, CrowdLimits, Place};

/// Everybody who is on the way from a grant to a connected peer.
#[derive(Debug, Default)]
pub(super) struct Openings {
    crowd: Crowd,
    places: BTreeMap<SeatKey, (Instant, Place)>,
    /// In the order in which they came; what is not in `places` with this time is over.
    order: VecDeque<(Instant, SeatKey)>,
}

impl Openings {
    /// Changes the limits; who is in stays.
    pub fn set_limits(&mut self, limits: CrowdLimits) {
        self.crowd = Crowd::new(limits);
    }

    /// One more, of a client at `from`, if that is known; false when there are too many. Who is in
    /// already stays, from when it came.
    pub fn begin(&mut self, now: Instant, key: SeatKey, from: Option<IpAddr>) -> bool {
        self.expire(now);
        if self.contains(&key) {
            return true;
        }
        let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let Some(place) = self.crowd.enter(from) else {
            return false;
        };
        self.places.insert(key.clone(), (now, place));
        self.order.push_back((now, key));
        if self.order.len() > TIDY_MIN.max(2 * self.places.len()) {
            let places = &self.places;
            self.order
                .retain(|(since, key)| places.get(key).is_some_and(|(began, _)| began == since));
        }
        true
    }

    /// True while it is on its way.
    pub fn contains(&self, key: &SeatKey) -> bool {
        self.places.contains_key(key)
    }

    /// It is connected, or over.
    pub fn end(&mut self, key: &SeatKey) {
        self.places.remove(key);
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, key)) = self.order.front() {
            let is_it = |(began, _): &(Instant, Place)| began == since;
            let is_over = !self.places.get(key).is_some_and(is_it);
            if !is_over && now.saturating_duration_since(*since) < OPENING_MAX {
                return;
            }
            if !is_over {
                self.places.remove(key);
            }
            self.order.pop_front();
        }
    }
}

/// No peer waits longer for its handshake (`transport/mod.rs`); a play that waits for somebody to
/// come into its room has none.
const OPENING_MAX: Duration = Duration::from_secs(30);

/// Entries of those who have gone that are kept at least.
const TIDY_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::ids::{ConnId, WorkerId};
    use crate::model::access::AccessKind;

    fn key(serial: u64) -> SeatKey {
        let conn = ConnId {
            worker: WorkerId(0),
            serial,
        };
        (conn, "s".into(), AccessKind::Play)
    }

    #[test]
    fn places_come_back_when_peers_connect_end_or_take_too_long() {
        let mut openings = Openings::default();
        openings.set_limits(CrowdLimits {
            all: 0,
            per_address: 2,
        });
        let from = Some("203.0.113.9".parse().unwrap());
        let now = test_now().instant;
        assert!(openings.begin(now, key(1), from));
        assert!(openings.begin(now, key(2), from));
        assert!(openings.begin(now, key(2), from), "the same once more");
        assert!(!openings.begin(now, key(3), from));
        assert!(openings.begin(now, key(4), None), "nobody's");
        openings.end(&key(1));
        let later = now + OPENING_MAX / 2;
        assert!(openings.begin(later, key(3), from));
        assert!(!openings.begin(later, key(5), from));
        assert!(openings.begin(now + OPENING_MAX, key(5), from));
        assert!(!openings.begin(now + OPENING_MAX, key(6), from));
        assert!(openings.order.len() <= 3);
    }

    #[test]
    fn coming_and_going_behind_one_who_stays_leaves_nothing() {
        let mut openings = Openings::default();
        let now = test_now().instant;
        assert!(openings.begin(now, key(0), None));
        for serial in 1..=10_000 {
            assert!(openings.begin(now, key(serial), None));
            openings.end(&key(serial));
        }
        assert!(openings.order.len() <= TIDY_MIN + 1);
        assert!(openings.contains(&key(0)));
    }
}
