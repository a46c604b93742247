//! ICE for one peer: str0m's agent in lite mode (RFC 8445 §2.5) behind three verbs.
//!
//! The agent answers binding requests and verifies their integrity; which address is used is
//! decided by `Transport`. Candidates from signalling are not needed by a lite agent: every
//! address is learnt from an authenticated request, so `.local` names and dead candidates cost
//! nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;
use str0m::Candidate;
use str0m::ice::{IceAgent, IceCreds, StunMessage, StunPacket, TransId};
use str0m::net::Protocol;

use super::certificate::provider;
use crate::base::fault::DropReason;

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
            ufrag: ice_chars(rng, 8),
            password: ice_chars(rng, 24),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.ufrag)
    }
}

/// One peer's agent.
pub struct Ice {
    agent: IceAgent,
    credentials: Credentials,
    remote: Option<Credentials>,
    /// Transaction ids of the latest authentic requests, oldest first from `oldest` on.
    heard: Vec<TransId>,
    oldest: usize,
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ice({})", self.credentials.ufrag)
    }
}

impl Ice {
    /// A controlled lite agent.
    pub fn new(credentials: Credentials) -> Self {
        let creds = IceCreds {
            ufrag: credentials.ufrag.clone(),
            pass: credentials.password.clone(),
        };
        let mut agent = IceAgent::with_hmac(creds, provider().sha1_hmac_provider);
        agent.set_ice_lite(true);
        agent.set_controlling(false);
        if let Ok(candidate) = Candidate::host(LOCAL, Protocol::Udp) {
            agent.add_local_candidate(candidate);
        }
        Self {
            agent,
            credentials,
            remote: None,
            heard: Vec::with_capacity(MAX_HEARD),
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
    pub fn set_remote(&mut self, now: Instant, remote: Credentials) {
        self.remote = Some(remote.clone());
        self.agent.set_remote_credentials(IceCreds {
            ufrag: remote.ufrag,
            pass: remote.password,
        });
        // The agent answers one early request per call and keeps at most 100.
        for _ in 0..EARLY_REQUESTS {
            self.agent.handle_timeout(now);
        }
    }

    /// One message from `source`; `known` says that authentic requests came from there before.
    ///
    /// A request may be copied by somebody who sees it and be sent again from elsewhere, which
    /// would bring the media there: a new address needs a transaction of its own.
    ///
    /// # Errors
    /// `StunRejected` when it is not for this agent, its integrity is wrong, or it is a copy from
    /// a new address.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        source: SocketAddr,
        known: bool,
        message: StunMessage<'_>,
    ) -> Result<(), DropReason> {
        let transaction = message.trans_id();
        let heard = self.heard.contains(&transaction);
        if heard && !known {
            return Err(DropReason::StunRejected);
        }
        let packet = StunPacket {
            proto: Protocol::Udp,
            source,
            destination: LOCAL,
            message,
        };
        let accepted = self.agent.handle_packet(now, packet);
        while self.agent.poll_event().is_some() {}
        if !accepted {
            return Err(DropReason::StunRejected);
        }
        if !heard {
            self.remember(transaction);
        }
        Ok(())
    }

    fn remember(&mut self, transaction: TransId) {
        match self.heard.get_mut(self.oldest) {
            Some(oldest) => *oldest = transaction,
            None => self.heard.push(transaction),
        }
        self.oldest = (self.oldest + 1) % MAX_HEARD;
    }

    /// Ages candidate pairs.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        while self.agent.poll_event().is_some() {}
    }

    /// The next STUN answer and where it goes.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let transmit = self.agent.poll_transmit()?;
        Some((transmit.destination, transmit.contents.into()))
    }
}

fn ice_chars(rng: &mut StdRng, len: usize) -> String {
    (0..len)
        .map(|_| {
            let at = rng.random_range(0..ICE_CHARS.len());
            char::from(ICE_CHARS.get(at).copied().unwrap_or(b'a'))
        })
        .collect()
}

/// `ice-char` of RFC 8839 §5.4: 64 characters, 6 bits each.
const ICE_CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Stands for this host in every agent. The agent drops requests to addresses it does not know,
/// but the socket has already received them: which of the host's addresses they came to is the
/// business of `Route::local`. From TEST-NET-1 (RFC 5737), so it can never be a real one.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

/// Transactions remembered per peer: a browser makes one in 2.5 s, so these are minutes old before
/// they are forgotten. 768 bytes.
const MAX_HEARD: usize = 64;

/// How many requests that came before the answer are served; a browser sends about 20 a second.
const EARLY_REQUESTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn credentials_are_long_enough_and_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let a = Credentials::random(&mut rng);
        let b = Credentials::random(&mut rng);
        assert!(a.ufrag.len() >= 4 && a.password.len() >= 22);
        assert_ne!(a.ufrag, b.ufrag);
        assert_ne!(a.password, b.password);
    }
}
