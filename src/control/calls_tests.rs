//! Calls between two clients, as short stories.

use super::*;
use crate::base::clock::tests::test_now;
use crate::base::ids::WorkerId;
use crate::model::access::Proof;

const A: ConnId = conn(0);
const B: ConnId = conn(1);
const C: ConnId = conn(2);

const fn conn(worker: u16) -> ConnId {
    ConnId {
        worker: WorkerId(worker),
        serial: 7,
    }
}

/// Calls under a virtual clock.
struct World {
    calls: Calls,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            calls: Calls::default(),
            now: test_now().instant,
        }
    }

    /// A owns the multi-peer call `r`, and B was told this id.
    fn with_invitation() -> (Self, StreamId) {
        let mut world = Self::new();
        world.enter_as(A, many());
        let (Ok(JoinGrant::Redirected(own)), _) = world.join(B) else {
            panic!("no id");
        };
        (world, own)
    }

    fn join_as(&mut self, conn: ConnId, ask: JoinAsk) -> (Result<JoinGrant, Definition>, News) {
        let mut news = News::new();
        let result = self.calls.join(conn, &ask, &mut news);
        (result, news)
    }

    fn join(&mut self, conn: ConnId) -> (Result<JoinGrant, Definition>, News) {
        self.join_as(conn, ask("r"))
    }

    /// Joins, with an ordinary answer and news that are of no interest.
    fn enter(&mut self, conn: ConnId) {
        self.enter_as(conn, ask("r"));
    }

    fn enter_as(&mut self, conn: ConnId, ask: JoinAsk) {
        let (result, _) = self.join_as(conn, ask);
        assert!(result.is_ok(), "{result:?}");
    }

    fn leave(&mut self, conn: ConnId) -> News {
        let mut news = News::new();
        self.calls.leave(self.now, conn, &"r".into(), &mut news);
        news
    }

    fn relay(&mut self, conn: ConnId, kind: RelayKind, text: &str) -> News {
        let mut news = News::new();
        let message = (kind, text.to_owned());
        self.calls
            .relay(self.now, conn, &"r".into(), message, &mut news);
        news
    }
}

fn ask(stream: &str) -> JoinAsk {
    JoinAsk {
        stream: stream.into(),
        multi_peer: false,
        play_only: false,
        proof: Proof::default(),
    }
}

fn many() -> JoinAsk {
    JoinAsk {
        multi_peer: true,
        ..ask("r")
    }
}

fn tells(conn: ConnId, event: CallEvent) -> News {
    vec![(conn, "r".into(), event)]
}

fn relayed(text: &str) -> CallEvent {
    CallEvent::Relayed(text.to_owned())
}

#[test]
fn the_first_starts_when_the_second_comes_and_a_third_is_refused() {
    let mut w = World::new();
    assert_eq!(w.join(A), (Ok(JoinGrant::Joined), vec![]));
    assert_eq!(
        w.join(B),
        (Ok(JoinGrant::Joined), tells(A, CallEvent::Start))
    );
    assert_eq!(w.join(C), (Err(Definition::StreamIdInUse), vec![]));
    assert_eq!(
        w.join(A),
        (Ok(JoinGrant::Joined), vec![]),
        "no second membership"
    );
}

#[test]
fn who_stays_becomes_the_first() {
    let mut w = World::new();
    w.enter(A);
    w.enter(B);
    assert_eq!(w.leave(A), tells(B, CallEvent::Left));
    assert_eq!(w.leave(A), vec![], "it is gone already");
    assert_eq!(
        w.join(C),
        (Ok(JoinGrant::Joined), tells(B, CallEvent::Start))
    );
    assert_eq!(w.leave(C), tells(B, CallEvent::Left));
    assert_eq!(w.leave(B), vec![]);
    assert_eq!(w.calls.len(), 0);
}

#[test]
fn candidates_wait_for_their_own_side_s_description() {
    let mut w = World::new();
    w.enter(A);
    w.enter(B);
    assert_eq!(w.relay(A, RelayKind::Candidate, "a1"), vec![]);
    assert_eq!(w.relay(A, RelayKind::Candidate, "a2"), vec![]);
    let mut offer = tells(B, relayed("offer"));
    offer.extend(tells(B, relayed("a1")));
    offer.extend(tells(B, relayed("a2")));
    assert_eq!(w.relay(A, RelayKind::Description, "offer"), offer);
    assert_eq!(
        w.relay(A, RelayKind::Candidate, "a3"),
        tells(B, relayed("a3"))
    );
    assert_eq!(
        w.relay(B, RelayKind::Candidate, "b1"),
        vec![],
        "B has not answered"
    );
    assert_eq!(
        w.relay(B, RelayKind::Message, "hello"),
        tells(A, relayed("hello"))
    );
    // The next one starts from nothing.
    w.leave(B);
    w.enter(C);
    assert_eq!(w.relay(A, RelayKind::Candidate, "a4"), vec![]);
    let offered = w.relay(A, RelayKind::Description, "offer 2");
    assert_eq!(offered.len(), 2, "{offered:?}");
}

#[test]
fn a_bounded_number_of_bounded_candidates_waits() {
    let mut w = World::new();
    w.enter(A);
    w.enter(B);
    for _ in 0..2 * MAX_REMOTE_CANDIDATES {
        w.relay(A, RelayKind::Candidate, &"x".repeat(MAX_CANDIDATE_LEN + 1));
        w.relay(A, RelayKind::Candidate, "c");
    }
    let delivered = w.relay(A, RelayKind::Description, "offer");
    assert_eq!(delivered.len(), 1 + MAX_REMOTE_CANDIDATES);
}

#[test]
fn who_is_alone_or_not_there_has_no_peer_but_late_candidates_are_no_mistake() {
    let mut w = World::new();
    let kinds = [
        RelayKind::Description,
        RelayKind::Candidate,
        RelayKind::Message,
    ];
    for kind in kinds {
        assert_eq!(w.relay(A, kind, "x"), tells(A, CallEvent::NoPeer));
    }
    w.enter(A);
    for kind in kinds {
        assert_eq!(w.relay(A, kind, "x"), tells(A, CallEvent::NoPeer));
    }
    w.enter(B);
    for kind in kinds {
        assert_eq!(
            w.relay(C, kind, "x"),
            tells(C, CallEvent::NoPeer),
            "a stranger"
        );
    }
    w.leave(B);
    assert_eq!(w.relay(A, RelayKind::Candidate, "x"), vec![]);
    assert_eq!(
        w.relay(A, RelayKind::Description, "x"),
        tells(A, CallEvent::NoPeer)
    );
    w.now += LATE;
    assert_eq!(
        w.relay(A, RelayKind::Candidate, "x"),
        tells(A, CallEvent::NoPeer)
    );
}

#[test]
fn who_only_receives_does_not_offer_to_one_that_sends() {
    let receives = JoinAsk {
        play_only: true,
        ..ask("r")
    };
    let mut w = World::new();
    w.enter_as(A, receives.clone());
    assert_eq!(w.join(B).1, tells(B, CallEvent::Start));
    let mut w = World::new();
    w.enter_as(A, receives.clone());
    assert_eq!(w.join_as(B, receives.clone()).1, tells(A, CallEvent::Start));
    let mut w = World::new();
    w.enter(A);
    assert_eq!(w.join_as(B, receives).1, tells(A, CallEvent::Start));
}

#[test]
fn newcomers_of_a_multi_peer_call_get_calls_of_their_own() {
    let mut w = World::new();
    w.enter_as(A, many());
    let (result, news) = w.join(B);
    let Ok(JoinGrant::Redirected(own)) = result else {
        panic!("{result:?}");
    };
    assert!(news.is_empty() && &*own != "r");
    let (other, _) = w.join(C);
    assert_ne!(
        other,
        Ok(JoinGrant::Redirected(own.clone())),
        "each its own"
    );

    let (joined, news) = w.join_as(B, ask(&own));
    assert_eq!(joined, Ok(JoinGrant::Joined));
    let event = CallEvent::StartAnother(own.clone());
    assert_eq!(news, vec![(A, own.clone(), event)]);
    let mut news = News::new();
    let offer = (RelayKind::Description, "offer".to_owned());
    w.calls.relay(w.now, A, &own, offer, &mut news);
    assert_eq!(news, vec![(B, own.clone(), relayed("offer"))]);

    // Its end is no end for the owner, which waits for others.
    let mut news = News::new();
    w.calls.leave(w.now, B, &own, &mut news);
    assert_eq!(news, vec![(A, own.clone(), CallEvent::Over)]);
    assert_eq!(w.calls.len(), 1);
    assert!(matches!(w.join(B).0, Ok(JoinGrant::Redirected(_))));
}

#[test]
fn invitations_end_with_their_owner_and_are_bounded() {
    let (mut w, own) = World::with_invitation();
    assert_eq!(w.join(B).0, Ok(JoinGrant::Redirected(own.clone())), "once");
    w.leave(A);
    assert_eq!(w.join_as(B, ask(&own)), (Ok(JoinGrant::Joined), vec![]));
    w.enter_as(A, many());
    for serial in 0..2 * MAX_INVITATIONS as u64 {
        let worker = WorkerId(3);
        w.enter(ConnId { worker, serial });
    }
    assert_eq!(w.calls.invitations.len(), MAX_INVITATIONS);
    let long = "x".repeat(MAX_STREAM_ID_LEN);
    let invited = w.calls.invite((A, C), &long.into());
    assert_eq!(invited.len(), MAX_STREAM_ID_LEN);
}

#[test]
fn an_invitation_is_for_who_was_told_it() {
    let (mut w, own) = World::with_invitation();
    assert!(w.calls.has_invited(B, &own) && !w.calls.has_invited(C, &own));
    let refused = Err(Definition::StreamIdInUse);
    assert_eq!(w.join_as(C, ask(&own)), (refused, vec![]));
    assert_eq!(w.join_as(B, ask(&own)).0, Ok(JoinGrant::Joined));
    assert!(!w.calls.has_invited(B, &own));
}

#[test]
fn an_owner_that_is_gone_before_it_heard_of_a_newcomer_leaves_it() {
    let (mut w, own) = World::with_invitation();
    w.enter_as(B, ask(&own));
    // Its socket ends: it leaves what it knows of.
    w.leave(A);
    let mut news = News::new();
    w.calls.forget(w.now, A, &mut news);
    assert_eq!(news, vec![(B, own, CallEvent::Over)]);
    assert_eq!((w.calls.len(), w.calls.brought.len()), (0, 0));

    // A guest that is gone takes its invitation along.
    w.enter_as(A, many());
    w.enter(B);
    w.calls.forget(w.now, B, &mut news);
    assert!(w.calls.invitations.is_empty());
}
