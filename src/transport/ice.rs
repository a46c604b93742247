//! ICE for one peer: a lite agent (RFC 8445 §2.5), which only answers.
//!
//! Verifies the integrity of binding requests and answers them; which address is used is decided
//! by `Transport`. STUN messages (RFC 8489) are read and written by str0m. Candidates from
//! signalling are not needed: every address is learnt from an authenticated request, so `.local`
//! names and dead candidates cost nothing.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;
use ring::hmac;
use smallvec::SmallVec;
use str0m::ice::{StunMessage, TransId};

use crate::base::egress::Route;
use crate::base::fault::DropReason;
use crate::base::ids::WorkerId;

/// `a=ice-ufrag` and `a=ice-pwd` (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4 to 256 characters.
    pub ufrag: String,
    /// 22 to 256 characters.
    pub password: String,
}

impl Credentials {
    /// Fresh ones: 48 bits of user fragment, 144 bits of password (RFC 8445 §5.3 asks for 24 and
    /// 128).
    pub fn random(rng: &mut StdRng) -> Self {
        Self {
            ufrag: ice_chars(rng, RANDOM_UFRAG_LEN),
            password: ice_chars(rng, 24),
        }
    }

    /// The same, with a user fragment that begins with the number of `worker`: where workers share
    /// a port, [`worker_of`] reads in a request whose it is.
    pub fn of_worker(worker: WorkerId, rng: &mut StdRng) -> Self {
        let mut credentials = Self::random(rng);
        let digits = [worker.0 >> 6, worker.0];
        let number = digits.map(|digit| ice_char(usize::from(digit)));
        credentials.ufrag.insert_str(0, &String::from_iter(number));
        credentials
    }
}

/// The worker in a user fragment of [`Credentials::of_worker`]; `None` for one that is not so made.
pub fn worker_of(ufrag: &str) -> Option<WorkerId> {
    let [high, low, random @ ..] = ufrag.as_bytes() else {
        return None;
    };
    if random.len() != RANDOM_UFRAG_LEN {
        return None;
    }
    let digit = |byte: u8| ICE_CHARS.iter().position(|&char| char == byte);
    let number = digit(*high)? << 6 | digit(*low)?;
    u16::try_from(number).ok().map(WorkerId)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.ufrag)
    }
}

/// One peer's agent.
pub struct Ice {
    credentials: Credentials,
    remote: Option<Credentials>,
    /// Requests that came before the remote credentials.
    early: Vec<Early>,
    answers: SmallVec<[Answer; 1]>,
    /// Transaction ids of the latest authentic requests, oldest first from `oldest` on.
    heard: Vec<TransId>,
    oldest: usize,
}

/// A STUN answer and where it goes.
type Answer = (Route, Vec<u8>);

/// A request whose sender cannot be told yet from somebody else who knows our credentials.
struct Early {
    route: Route,
    transaction: TransId,
    remote_ufrag: String,
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ice({})", self.credentials.ufrag)
    }
}

impl Ice {
    /// An agent that waits for requests.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            remote: None,
            early: Vec::new(),
            answers: SmallVec::new(),
            heard: Vec::new(),
            oldest: 0,
        }
    }

    /// The local credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The remote credentials, once set.
    pub fn remote(&self) -> Option<&Credentials> {
        self.remote.as_ref()
    }

    /// Takes the remote credentials and answers the requests that came before them.
    pub fn set_remote(&mut self, remote: Credentials) {
        for early in std::mem::take(&mut self.early) {
            if early.remote_ufrag == remote.ufrag {
                let reply = StunMessage::binding_reply(early.transaction, early.route.remote);
                self.answer(early.route, reply);
            }
        }
        self.remote = Some(remote);
    }

    /// One message that came by `route`; `known` says that authentic requests came from there
    /// before. False when the request is a copy: it is answered and says nothing of its sender.
    ///
    /// A request may be copied by somebody who sees it and be sent again from elsewhere, which
    /// would bring the media there: a new address needs a transaction of its own.
    ///
    /// # Errors
    /// `StunRejected` when it is no binding request for this agent, its integrity is wrong, it is
    /// a copy from a new address, or its sender takes itself for the controlled side; that one is
    /// told (RFC 8445 §7.3.1.1).
    pub fn handle_stun(
        &mut self,
        route: Route,
        known: bool,
        message: &StunMessage<'_>,
    ) -> Result<bool, DropReason> {
        let remote_ufrag = self.check(message).ok_or(DropReason::StunRejected)?;
        let transaction = message.trans_id();
        let heard = self.heard.contains(&transaction);
        if heard && !known {
            return Err(DropReason::StunRejected);
        }
        if message.ice_controlled().is_some() {
            let reply = StunMessage::binding_role_conflict_reply(transaction);
            self.answer(route, reply);
            return Err(DropReason::StunRejected);
        }
        if self.remote.is_some() {
            let reply = StunMessage::binding_reply(transaction, route.remote);
            self.answer(route, reply);
        } else if self.early.len() < MAX_EARLY {
            self.early.push(Early {
                route,
                transaction,
                remote_ufrag: remote_ufrag.to_owned(),
            });
        }
        if !heard {
            self.remember(transaction);
        }
        Ok(!heard)
    }

    /// The sender's user fragment when `message` is an authentic request for this agent.
    fn check<'a>(&self, message: &'a StunMessage<'_>) -> Option<&'a str> {
        let (local, remote) = message
            .split_username()
            .filter(|_| message.is_binding_request())?;
        let meant = local == self.credentials.ufrag;
        let expected = self.remote.as_ref().is_none_or(|r| r.ufrag == remote);
        let password = self.credentials.password.as_bytes();
        (meant && expected && message.verify(password, hmac_sha1)).then_some(remote)
    }

    fn answer(&mut self, to: Route, reply: StunMessage<'_>) {
        let mut buf = [0; MAX_ANSWER_LEN];
        let password = self.credentials.password.as_bytes();
        // It fails only for want of room, of which there is enough.
        if let Ok(len) = reply.to_bytes(Some(password), &mut buf, hmac_sha1) {
            let bytes = buf.get(..len).unwrap_or_default().to_vec();
            self.answers.push((to, bytes));
        }
    }

    fn remember(&mut self, transaction: TransId) {
        match self.heard.get_mut(self.oldest) {
            Some(oldest) => *oldest = transaction,
            None => self.heard.push(transaction),
        }
        self.oldest = (self.oldest + 1) % MAX_HEARD;
    }

    /// The STUN answers and where they go.
    pub fn drain_answers(&mut self) -> impl Iterator<Item = (Route, Vec<u8>)> + '_ {
        self.answers.drain(..)
    }
}

/// HMAC-SHA1 over `parts`, one behind the other (RFC 8489 §14.5).
pub(super) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 20];
    out.copy_from_slice(context.sign().as_ref());
    out
}

fn ice_chars(rng: &mut StdRng, len: usize) -> String {
    (0..len)
        .map(|_| ice_char(rng.random_range(0..ICE_CHARS.len())))
        .collect()
}

/// The character for the lowest 6 bits of `number`.
fn ice_char(number: usize) -> char {
    let at = number % ICE_CHARS.len();
    char::from(ICE_CHARS.get(at).copied().unwrap_or(b'a'))
}

/// `ice-char` of RFC 8839 §5.4: 64 characters, 6 bits each.
const ICE_CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of a user fragment that are random: 48 bits.
const RANDOM_UFRAG_LEN: usize = 8;

/// Transactions remembered per peer: a browser makes one in 2.5 s, so these are minutes old before
/// they are forgotten. 768 bytes.
const MAX_HEARD: usize = 64;

/// How many requests that came before the answer are answered; a browser sends about 20 a second.
const MAX_EARLY: usize = 16;

/// Header, address, integrity and fingerprint take 84 bytes at most, an error and its reason less.
const MAX_ANSWER_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_user_fragment_names_its_worker() {
        let mut rng = StdRng::seed_from_u64(1);
        for worker in (0..=300).map(WorkerId) {
            let made = Credentials::of_worker(worker, &mut rng);
            assert_eq!(made.ufrag.len(), 10);
            assert!(made.ufrag.bytes().all(|byte| ICE_CHARS.contains(&byte)));
            assert_eq!(worker_of(&made.ufrag), Some(worker));
        }
        assert_eq!(worker_of("ABCDEFGHIJ"), Some(WorkerId(1)));
        assert_eq!(worker_of("BA        "), Some(WorkerId(64)));
        let others = ["", "A", "AB", "ABCDEFGH", "ABCDEFGHI", "ABCDEFGHIJK"];
        let foreign = ["A-CDEFGHIJ", "-BCDEFGHIJ", "\u{e4}CDEFGHIJ"];
        for ufrag in others.into_iter().chain(foreign) {
            assert_eq!(worker_of(ufrag), None, "{ufrag}");
        }
        let without = Credentials::random(&mut rng).ufrag;
        assert_eq!(worker_of(&without), None);
    }

    #[test]
    fn credentials_are_long_enough_and_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let a = Credentials::random(&mut rng);
        let b = Credentials::random(&mut rng);
        assert!(a.ufrag.len() >= 4 && a.password.len() >= 22);
        assert_ne!(a.ufrag, b.ufrag);
        assert_ne!(a.password, b.password);
    }

    const SOURCE: &str = "127.0.0.1:4000";

    struct Request {
        username: String,
        password: String,
        controlling: bool,
        transaction: TransId,
    }

    impl Request {
        fn of(agent: &Ice) -> Self {
            Self {
                username: format!("{}:them", agent.credentials().ufrag),
                password: agent.credentials().password.clone(),
                controlling: true,
                transaction: TransId::new(),
            }
        }

        fn send(&self, agent: &mut Ice, from: &str) -> Result<bool, DropReason> {
            let request = StunMessage::binding_request(
                &self.username,
                self.transaction,
                self.controlling,
                7,
                1,
                false,
            );
            let mut buf = [0; 256];
            let password = Some(self.password.as_bytes());
            let len = request.to_bytes(password, &mut buf, hmac_sha1).unwrap();
            let message = StunMessage::parse(&buf[..len]).unwrap();
            let route = Route::udp(from.parse().unwrap(), None);
            agent.handle_stun(route, false, &message)
        }
    }

    fn agent() -> Ice {
        let mut rng = StdRng::seed_from_u64(2);
        Ice::new(Credentials::random(&mut rng))
    }

    fn them() -> Credentials {
        Credentials {
            ufrag: "them".to_owned(),
            password: "their password, of 22+".to_owned(),
        }
    }

    fn answered(agent: &mut Ice) -> Vec<Vec<u8>> {
        agent.drain_answers().map(|(_, bytes)| bytes).collect()
    }

    #[test]
    fn answers_what_is_authentic_with_the_address_it_came_from() {
        let mut agent = agent();
        agent.set_remote(them());
        let request = Request::of(&agent);
        request.send(&mut agent, SOURCE).unwrap();
        let answers = answered(&mut agent);
        let message = StunMessage::parse(&answers[0]).unwrap();
        assert!(message.is_successful_binding_response());
        assert_eq!(message.trans_id(), request.transaction);
        assert_eq!(message.mapped_address(), Some(SOURCE.parse().unwrap()));
        assert!(message.verify(request.password.as_bytes(), hmac_sha1));
    }

    #[test]
    fn refuses_what_is_not_for_it_or_not_authentic() {
        let mut agent = agent();
        agent.set_remote(them());
        let mut requests = [(); 3].map(|()| Request::of(&agent));
        requests[0].username = "somebody:them".to_owned();
        requests[1].username = format!("{}:others", agent.credentials().ufrag);
        requests[2].password = "guessed".to_owned();
        for request in &requests {
            let refused = request.send(&mut agent, SOURCE);
            assert_eq!(refused, Err(DropReason::StunRejected));
        }
        assert!(answered(&mut agent).is_empty());
    }

    #[test]
    fn a_copy_from_a_new_address_is_refused() {
        let mut agent = agent();
        agent.set_remote(them());
        let request = Request::of(&agent);
        request.send(&mut agent, SOURCE).unwrap();
        let copied = request.send(&mut agent, "127.0.0.1:4001");
        assert_eq!(copied, Err(DropReason::StunRejected));
        assert_eq!(answered(&mut agent).len(), 1);
    }

    #[test]
    fn early_requests_of_the_one_who_answers_are_answered_then() {
        let mut agent = agent();
        for _ in 0..2 * MAX_EARLY {
            let request = Request::of(&agent);
            request.send(&mut agent, SOURCE).unwrap();
        }
        assert!(answered(&mut agent).is_empty());
        agent.set_remote(them());
        assert_eq!(answered(&mut agent).len(), MAX_EARLY);
    }

    #[test]
    fn a_controlled_client_is_told_to_change() {
        let mut agent = agent();
        agent.set_remote(them());
        let mut request = Request::of(&agent);
        request.controlling = false;
        let refused = request.send(&mut agent, SOURCE);
        assert_eq!(refused, Err(DropReason::StunRejected));
        let answers = answered(&mut agent);
        let message = StunMessage::parse(&answers[0]).unwrap();
        assert_eq!(message.error_code().map(|(code, _)| code), Some(487));
    }
}
