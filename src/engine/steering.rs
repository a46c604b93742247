//! One UDP port for all workers: the kernel brings a datagram to any of them, and who does not own
//! its peer passes it to who does.
//!
//! A binding request (RFC 8445 §7.2.2) says by its user fragment whose it is, everything else by
//! its source: a worker tells the others which addresses its gate has validated and which it let
//! go. What was passed once is not passed again. Called by `media.rs`; reads no STUN of its own.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::base::bytes::Reader;
use crate::base::clock::Now;
use crate::base::egress::{Route, Source};
use crate::base::fault::DropReason;
use crate::base::ids::{PeerId, WorkerId};
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_PASSED_LEN, MAX_STRANGERS_PASSED};
use crate::model::mail::{Outgoing, Parcel, SourceNews, WorkerMail};
use crate::transport::ice::worker_of;

/// Whose every validated address is, and the datagrams that are to go there.
#[derive(Debug)]
pub(super) struct Steering {
    own: WorkerId,
    /// All workers' claims, this one's too. As bounded as the gates are: of each peer
    /// `limits::MAX_ADDRESSES_PER_PEER`.
    claims: HashMap<SocketAddr, Claim>,
    /// What the others have not been told.
    news: Vec<SourceNews>,
    /// By worker; this one's own stays empty.
    lanes: Vec<Lane>,
    /// The lanes with something to mail.
    waiting: Vec<WorkerId>,
    /// What others passed is being read: it is not passed again.
    is_reading: bool,
}

/// Who validated an address. Of two, the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    at: Instant,
    by: WorkerId,
}

impl Steering {
    /// Of worker `own` of `workers`.
    pub fn new(own: WorkerId, workers: u16) -> Self {
        Self {
            own,
            claims: HashMap::new(),
            news: Vec::new(),
            lanes: (0..workers).map(|_| Lane::default()).collect(),
            waiting: Vec::new(),
            is_reading: false,
        }
    }

    /// How many addresses are known, this worker's own among them.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Takes an address that an authenticated request came from. Of two workers that do, the later
    /// one keeps it, in all tables: a claim is later than any that this worker has heard of.
    fn claim(&mut self, now: Instant, source: SocketAddr) {
        let known = self.claims.get(&source);
        let after = known.map_or(now, |claim| claim.at + Duration::from_nanos(1));
        let claim = Claim {
            at: now.max(after),
            by: self.own,
        };
        self.claims.insert(source, claim);
        self.news.push(SourceNews::Claimed(source, claim.at));
    }

    /// Lets an address go. The others are told even when it is somebody else's by now, because one
    /// of them may have heard of that first.
    fn release(&mut self, source: SocketAddr) {
        self.remove(source, self.own);
        self.news.push(SourceNews::Released(source));
    }

    fn remove(&mut self, source: SocketAddr, by: WorkerId) {
        if self.claims.get(&source).is_some_and(|c| c.by == by) {
            self.claims.remove(&source);
        }
    }

    /// Takes what worker `by` says of an address; true when this worker has lost it thereby.
    fn hear(&mut self, by: WorkerId, news: SourceNews) -> bool {
        match news {
            SourceNews::Claimed(source, at) => {
                let claim = Claim { at, by };
                let known = self.claims.get(&source).copied();
                if known.is_some_and(|known| known >= claim) {
                    return false;
                }
                self.claims.insert(source, claim);
                known.is_some_and(|known| known.by == self.own)
            }
            SourceNews::Released(source) => {
                self.remove(source, by);
                false
            }
        }
    }

    /// The other worker that owns the peer at `route`.
    fn owner(&self, route: Route) -> Option<WorkerId> {
        let claim = self.claims.get(&route.remote)?;
        self.may_pass(route, claim.by).then_some(claim.by)
    }

    /// The other worker that a request over `route` names.
    fn named(&self, route: Route, ufrag: &str) -> Option<WorkerId> {
        worker_of(ufrag).filter(|worker| self.may_pass(route, *worker))
    }

    /// Neither to itself, nor again, nor what did not come by the shared port.
    fn may_pass(&self, route: Route, to: WorkerId) -> bool {
        to != self.own && !self.is_reading && route.tcp.is_none()
    }

    /// Puts a datagram into this turn's parcel for `to`.
    fn pass(
        &mut self,
        now: Instant,
        to: WorkerId,
        route: Route,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let lane = self.lanes.get_mut(usize::from(to.0));
        let lane = lane.ok_or(DropReason::UnknownUfrag)?;
        if lane.push(now, route, datagram)? {
            self.waiting.push(to);
        }
        Ok(())
    }

    /// The same for STUN from an address that nobody has validated, of which few are passed.
    fn pass_stranger(
        &mut self,
        now: Instant,
        to: WorkerId,
        route: Route,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if let Some(lane) = self.lanes.get_mut(usize::from(to.0)) {
            if lane.strangers >= MAX_STRANGERS_PASSED {
                return Err(DropReason::QueueFull);
            }
            lane.strangers += 1;
        }
        self.pass(now, to, route, datagram)
    }

    /// The next mail of this turn: first the news, then the parcels.
    pub fn poll_mail(&mut self) -> Option<Outgoing> {
        if !self.news.is_empty() {
            let mail = WorkerMail::Sources {
                by: self.own,
                news: self.news.drain(..).collect(),
            };
            return Some(Outgoing::Others(mail));
        }
        let to = self.waiting.pop()?;
        let parcel = self.lanes.get_mut(usize::from(to.0))?.seal()?;
        Some(Outgoing::Worker(to, WorkerMail::Passed(parcel)))
    }
}

/// Parcels to one worker: one is being filled, some are on their way, some came back to be used
/// again, so that nothing is allocated once it runs.
#[derive(Debug, Default)]
struct Lane {
    open: Option<Arc<Parcel>>,
    /// Mailed, oldest first. Those that nobody else holds were read.
    mailed: VecDeque<Arc<Parcel>>,
    /// Bytes in both.
    len: usize,
    empty: Vec<Arc<Parcel>>,
    /// Bytes that those have room for.
    empty_len: usize,
    /// STUN from unknown addresses in the open one.
    strangers: usize,
}

impl Lane {
    /// Adds a datagram; true when it is the first of a parcel.
    ///
    /// # Errors
    /// `QueueFull` when too much is on its way.
    fn push(&mut self, now: Instant, route: Route, datagram: &[u8]) -> Result<bool, DropReason> {
        let begins = self.open.is_none();
        if begins || self.len + datagram.len() > MAX_PASSED_LEN {
            self.collect();
        }
        let len = u16::try_from(datagram.len()).map_err(|_| DropReason::Oversized)?;
        if self.len + datagram.len() > MAX_PASSED_LEN {
            return Err(DropReason::QueueFull);
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.reuse(),
        };
        let parcel = Arc::get_mut(self.open.insert(open)).ok_or(DropReason::QueueFull)?;
        parcel.received.get_or_insert(now);
        parcel.datagrams.push((route, len));
        parcel.bytes.extend_from_slice(datagram);
        self.len += datagram.len();
        Ok(begins)
    }

    /// Takes back the parcels that were read.
    fn collect(&mut self) {
        while let Some(parcel) = self.mailed.front_mut().and_then(Arc::get_mut) {
            self.len -= parcel.bytes.len();
            parcel.received = None;
            parcel.datagrams.clear();
            parcel.bytes.clear();
            let room = parcel.bytes.capacity();
            if let Some(parcel) = self.mailed.pop_front()
                && self.empty_len + room <= MAX_PASSED_LEN
            {
                self.empty_len += room;
                self.empty.push(parcel);
            }
        }
    }

    fn reuse(&mut self) -> Arc<Parcel> {
        let parcel = self.empty.pop().unwrap_or_default();
        self.empty_len -= parcel.bytes.capacity();
        parcel
    }

    /// Ends the open parcel, for the mail.
    fn seal(&mut self) -> Option<Arc<Parcel>> {
        self.strangers = 0;
        let parcel = self.open.take()?;
        self.mailed.push_back(parcel.clone());
        Some(parcel)
    }
}

impl Engine {
    /// An address or connection is a peer's from here on; whose it was before.
    pub(super) fn learn_source(&mut self, now: Now, source: Source, id: PeerId) -> Option<PeerId> {
        if let (Some(steering), Source::Udp(addr)) = (&mut self.steering, source) {
            steering.claim(now.instant, addr);
        }
        self.sources.insert(source, id)
    }

    /// It is no longer that peer's, if it still was.
    pub(super) fn forget_source(&mut self, source: Source, id: PeerId) {
        let owner = self.sources.get(&source).copied();
        if owner.is_some_and(|owner| owner != id) {
            return;
        }
        self.sources.remove(&source);
        if let (Some(steering), Source::Udp(addr)) = (&mut self.steering, source) {
            steering.release(addr);
        }
    }

    /// A datagram whose source is no peer's here: to the worker that has validated it.
    ///
    /// # Errors
    /// `UnvalidatedSource` when none has, `QueueFull`.
    pub(super) fn pass_on(
        &mut self,
        now: Now,
        route: Route,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let steering = self.steering.as_mut();
        let steering = steering.ok_or(DropReason::UnvalidatedSource)?;
        let to = steering.owner(route);
        let to = to.ok_or(DropReason::UnvalidatedSource)?;
        steering.pass(now.instant, to, route, datagram)?;
        self.counters.passed += 1;
        Ok(())
    }

    /// A binding request for a user fragment that is no peer's here: to the worker that it names.
    ///
    /// # Errors
    /// `UnknownUfrag` when it names none, `QueueFull`.
    pub(super) fn pass_request(
        &mut self,
        now: Now,
        route: Route,
        ufrag: &str,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let steering = self.steering.as_mut();
        let steering = steering.ok_or(DropReason::UnknownUfrag)?;
        let to = steering.named(route, ufrag);
        let to = to.ok_or(DropReason::UnknownUfrag)?;
        if steering.owner(route) == Some(to) {
            steering.pass(now.instant, to, route, datagram)?;
        } else {
            steering.pass_stranger(now.instant, to, route, datagram)?;
        }
        self.counters.passed += 1;
        Ok(())
    }

    /// Takes what another worker received, as if it had come here at that time.
    pub(super) fn take_parcel(&mut self, now: Now, parcel: &Parcel) {
        let now = parcel.received.map_or(now, |at| now.back_at(at));
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let mut bytes = Reader::new(&parcel.bytes);
        self.set_reading(true);
        for &(route, len) in &parcel.datagrams {
            let len = usize::from(len);
            let (Some(passed), Some(datagram)) = (bytes.take(len), buffer.get_mut(..len)) else {
                break;
            };
            datagram.copy_from_slice(passed);
            self.handle_datagram(now, route, datagram);
        }
        self.set_reading(false);
    }

    fn set_reading(&mut self, is_reading: bool) {
        if let Some(steering) = &mut self.steering {
            steering.is_reading = is_reading;
        }
    }

    /// Takes what another worker says of its addresses.
    pub(super) fn take_source_news(&mut self, by: WorkerId, news: &[SourceNews]) {
        let Some(steering) = &mut self.steering else {
            return;
        };
        for &said in news {
            if steering.hear(by, said)
                && let SourceNews::Claimed(source, _) = said
            {
                let source = Source::Udp(source);
                let before = self.sources.remove(&source);
                if let Some(other) = before.and_then(|id| self.peers.get_mut(id)) {
                    other.transport.handle_source_taken(source);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::base::clock::tests::test_now;

    const A: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const OWN: WorkerId = WorkerId(0);
    const OTHER: WorkerId = WorkerId(1);
    const THIRD: WorkerId = WorkerId(2);

    fn steering(own: WorkerId) -> Steering {
        Steering::new(own, 3)
    }

    fn at(ms: u64) -> Instant {
        static EPOCH: LazyLock<Instant> = LazyLock::new(|| test_now().instant);
        *EPOCH + Duration::from_millis(ms)
    }

    fn owner(steering: &Steering) -> Option<WorkerId> {
        steering.owner(Route::udp(A, None))
    }

    /// The news that `steering` has for the others.
    fn news(steering: &mut Steering) -> Vec<SourceNews> {
        match steering.poll_mail() {
            Some(Outgoing::Others(WorkerMail::Sources { by, news })) => {
                assert_eq!(by, steering.own);
                news.to_vec()
            }
            other => panic!("{other:?}"),
        }
    }

    fn parcel(steering: &mut Steering) -> (WorkerId, Arc<Parcel>) {
        match steering.poll_mail() {
            Some(Outgoing::Worker(to, WorkerMail::Passed(parcel))) => (to, parcel),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_later_claim_counts_in_whatever_order_claims_are_heard() {
        let (early, late) = (
            (OTHER, SourceNews::Claimed(A, at(1))),
            (THIRD, SourceNews::Claimed(A, at(2))),
        );
        for order in [[early, late], [late, early]] {
            let mut steering = steering(OWN);
            for (by, said) in order {
                assert!(!steering.hear(by, said));
            }
            assert_eq!(owner(&steering), Some(THIRD));
        }
    }

    #[test]
    fn of_two_that_claim_at_the_same_time_all_take_the_same() {
        let (mut one, mut other, mut third) = (steering(OWN), steering(OTHER), steering(THIRD));
        one.claim(at(0), A);
        other.claim(at(0), A);
        let (by_one, by_other) = (news(&mut one), news(&mut other));
        assert!(one.hear(OTHER, by_other[0]), "it has lost it");
        assert!(!other.hear(OWN, by_one[0]));
        third.hear(OTHER, by_other[0]);
        third.hear(OWN, by_one[0]);
        assert_eq!(
            [owner(&one), owner(&other), owner(&third)],
            [Some(OTHER), None, Some(OTHER)]
        );
    }

    #[test]
    fn a_claim_is_later_than_what_was_heard_before() {
        let mut steering = steering(OWN);
        steering.hear(OTHER, SourceNews::Claimed(A, at(5)));
        steering.claim(at(1), A);
        assert_eq!(owner(&steering), None);
        let later = at(5) + Duration::from_nanos(1);
        assert_eq!(news(&mut steering), [SourceNews::Claimed(A, later)]);
    }

    #[test]
    fn only_its_owner_can_release_an_address() {
        let mut steering = steering(OWN);
        steering.hear(OTHER, SourceNews::Claimed(A, at(1)));
        steering.hear(THIRD, SourceNews::Released(A));
        steering.release(A);
        assert_eq!(owner(&steering), Some(OTHER));
        assert_eq!(news(&mut steering), [SourceNews::Released(A)]);
        steering.hear(OTHER, SourceNews::Released(A));
        assert_eq!((owner(&steering), steering.len()), (None, 0));

        steering.claim(at(2), A);
        assert_eq!(steering.len(), 1);
        steering.release(A);
        assert_eq!(steering.len(), 0);
    }

    #[test]
    fn a_turns_datagrams_go_in_one_parcel_per_worker() {
        let mut steering = steering(OWN);
        let route = Route::udp(A, None);
        for (to, datagram) in [(OTHER, b"one"), (THIRD, b"two"), (OTHER, b"six")] {
            assert_eq!(steering.pass(at(3), to, route, datagram), Ok(()));
        }
        let mut parcels = [parcel(&mut steering), parcel(&mut steering)];
        parcels.sort_by_key(|(to, _)| *to);
        let [(to, first), (third, second)] = parcels;
        assert_eq!((to, third), (OTHER, THIRD));
        assert_eq!(first.bytes, b"onesix");
        assert_eq!(first.datagrams, [(route, 3), (route, 3)]);
        assert_eq!(first.received, Some(at(3)));
        assert_eq!(second.bytes, b"two");
        assert!(steering.poll_mail().is_none());
        let nowhere = steering.pass(at(3), WorkerId(3), route, b"x");
        assert_eq!(nowhere, Err(DropReason::UnknownUfrag));
    }

    #[test]
    fn what_is_on_its_way_is_bounded_and_parcels_come_back() {
        let mut steering = steering(OWN);
        let route = Route::udp(A, None);
        let datagram = [7; 1024];
        let mut on_their_way = Vec::new();
        for turn in 0..MAX_PASSED_LEN / 2048 {
            for _ in 0..2 {
                let passed = steering.pass(at(turn as u64), OTHER, route, &datagram);
                assert_eq!(passed, Ok(()));
            }
            on_their_way.push(parcel(&mut steering).1);
        }
        let more = steering.pass(at(0), OTHER, route, &datagram);
        assert_eq!(more, Err(DropReason::QueueFull));
        assert_eq!(steering.pass(at(0), THIRD, route, &datagram), Ok(()));
        assert_eq!(parcel(&mut steering).0, THIRD);

        let oldest = on_their_way.remove(0);
        let place = Arc::as_ptr(&oldest);
        drop(oldest);
        assert_eq!(steering.pass(at(9), OTHER, route, &datagram), Ok(()));
        let (_, again) = parcel(&mut steering);
        assert_eq!(Arc::as_ptr(&again), place);
        assert_eq!((again.bytes.len(), again.received), (1024, Some(at(9))));
        assert_eq!(again.datagrams.len(), 1);
    }

    #[test]
    fn strangers_are_passed_a_few_per_turn_and_known_addresses_all() {
        let mut steering = steering(OWN);
        let route = Route::udp(A, None);
        for _ in 0..2 {
            for _ in 0..MAX_STRANGERS_PASSED {
                assert_eq!(steering.pass_stranger(at(0), OTHER, route, b"x"), Ok(()));
            }
            let one_more = steering.pass_stranger(at(0), OTHER, route, b"x");
            assert_eq!(one_more, Err(DropReason::QueueFull));
            assert_eq!(steering.pass_stranger(at(0), THIRD, route, b"x"), Ok(()));
            assert_eq!(steering.pass(at(0), OTHER, route, b"x"), Ok(()));
            let sent = [parcel(&mut steering), parcel(&mut steering)];
            let sent = sent.map(|(_, parcel)| parcel.datagrams.len());
            assert_eq!(sent.iter().sum::<usize>(), MAX_STRANGERS_PASSED + 2);
        }
    }

    #[test]
    fn what_was_passed_and_what_came_over_tcp_goes_nowhere_else() {
        let mut steering = steering(OWN);
        steering.hear(OTHER, SourceNews::Claimed(A, at(1)));
        let udp = Route::udp(A, None);
        let tcp = Route {
            tcp: Some(crate::base::egress::TcpId { slot: 0, serial: 0 }),
            ..udp
        };
        let ufrag = "ABabcdefgh";
        let found =
            |steering: &Steering, route| (steering.owner(route), steering.named(route, ufrag));
        assert_eq!(found(&steering, udp), (Some(OTHER), Some(OTHER)));
        assert_eq!(found(&steering, tcp), (None, None));
        steering.is_reading = true;
        assert_eq!(found(&steering, udp), (None, None));
        steering.is_reading = false;
        assert_eq!(steering.named(udp, "AAabcdefgh"), None, "its own");
    }
}
