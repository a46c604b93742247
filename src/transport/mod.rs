//! F2: everything between a datagram and a decrypted packet of one peer: demultiplexing, ICE,
//! DTLS, and the SRTP contexts that DTLS keys.
//!
//! Sans-IO: datagrams in, datagrams and events out. Knows no SDP and no RTP stream. STUN is read
//! and written by str0m, DTLS is `dimpl`'s; their errors end here. Called by `peer/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod certificate;
pub mod demux;
pub mod dtls;
pub mod framing;
pub mod ice;

use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;
use str0m::ice::StunMessage;

use crate::base::clock::Now;
use crate::base::egress::{Egress, Route, Source, TcpId};
use crate::base::fault::{DropReason, PeerFault};
use crate::base::limits::MAX_ADDRESSES_PER_PEER;
use crate::srtp::{Protect, Unprotect};
use certificate::{Certificate, Fingerprint};
use dtls::Dtls;
use ice::{Credentials, Ice};

/// One peer's transport: BUNDLE and rtcp-mux leave it one ICE component and one DTLS association.
#[derive(Debug)]
pub struct Transport {
    ice: Ice,
    dtls: Association,
    expected: Vec<Fingerprint>,
    keys: Option<SrtpKeys>,
    validated: SmallVec<[Source; 2]>,
    route: Option<Route>,
    /// When the peer was last heard by `route`.
    route_heard: Instant,
    /// When it was made, and from the end of the handshake on, when that was.
    since: Instant,
    consent: Option<Instant>,
    closed: Option<Instant>,
}

/// The DTLS association, which is needed for the handshake and for data channels.
#[derive(Debug)]
enum Association {
    /// The ClientHello has not come.
    Awaited,
    /// Boxed because it is for a moment only, mostly.
    Live(Box<Dtls>),
    /// The keys are exported and all that is left of it is its last record.
    Released { goodbye: Option<Box<[u8]>> },
}

impl Association {
    fn live(&mut self) -> Option<&mut Dtls> {
        match self {
            Self::Live(dtls) => Some(dtls),
            Self::Awaited | Self::Released { .. } => None,
        }
    }
}

/// The SRTP contexts of a finished handshake.
#[derive(Debug)]
pub struct SrtpKeys {
    /// Towards the peer.
    pub protect: Protect,
    /// From the peer.
    pub unprotect: Unprotect,
}

/// What an accepted STUN message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StunAccepted {
    /// This source was validated for the first time: the gate must learn it.
    pub newly_validated: bool,
    /// A validated source that was forgotten to make room.
    pub forgotten: Option<Source>,
}

/// What a DTLS record led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsOutcome {
    /// Nothing visible yet.
    Progress,
    /// The record was of no use and was passed over.
    Refused,
    /// The handshake finished: media may flow.
    Connected,
    /// The peer closed the association and has said nothing since.
    Closed,
}

impl Transport {
    /// A transport with fresh credentials.
    pub fn new(now: Now, credentials: Credentials) -> Self {
        Self {
            ice: Ice::new(credentials),
            dtls: Association::Awaited,
            expected: Vec::new(),
            keys: None,
            validated: SmallVec::new(),
            route: None,
            route_heard: now.instant,
            since: now.instant,
            consent: None,
            closed: None,
        }
    }

    /// The credentials that go into the local SDP.
    pub fn credentials(&self) -> &Credentials {
        self.ice.credentials()
    }

    /// Takes what the remote SDP says. STUN that came earlier is answered by the next
    /// [`flush`](Self::flush).
    pub fn set_remote(&mut self, remote: Credentials, expected: Vec<Fingerprint>) {
        self.ice.set_remote(remote);
        self.expected = expected;
    }

    /// The certificates that the remote SDP promised.
    pub fn expected(&self) -> &[Fingerprint] {
        &self.expected
    }

    /// True when `remote` differs from what was set before: an ICE restart (RFC 8839 §4.4.1.1.1).
    pub fn is_restart(&self, remote: &Credentials) -> bool {
        self.ice.remote().is_some_and(|known| known != remote)
    }

    /// Begins a new ICE session; media goes on over the old route until the next nomination.
    pub fn restart_ice(&mut self, credentials: Credentials) {
        self.ice = Ice::new(credentials);
    }

    /// Where datagrams for this peer go; `None` before the first binding request, after the peer
    /// closed the association, and from the loss of the TCP connection in use to the next binding
    /// request.
    pub fn route(&self) -> Option<Route> {
        self.route.filter(|_| self.closed.is_none())
    }

    /// Sources that the gate lets in for this peer.
    pub fn validated(&self) -> &[Source] {
        &self.validated
    }

    /// Forgets a TCP connection that is gone. When media went over it, it stops until the next
    /// authentic request, by whichever way that comes (RFC 6544 §7.3.1 lets the client connect
    /// anew); without one the peer loses consent like any that fell silent.
    pub fn handle_tcp_closed(&mut self, id: TcpId) {
        self.validated.retain(|source| *source != Source::Tcp(id));
        if self.route.is_some_and(|route| route.tcp == Some(id)) {
            self.route = None;
        }
    }

    /// The SRTP contexts; `None` before the handshake finished.
    pub fn keys(&self) -> Option<&SrtpKeys> {
        self.keys.as_ref()
    }

    /// As [`keys`](Self::keys), for SRTCP, whose index moves.
    pub fn keys_mut(&mut self) -> Option<&mut SrtpKeys> {
        self.keys.as_mut()
    }

    /// True once the handshake is done.
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// One STUN message whose user fragment is this peer's.
    ///
    /// # Errors
    /// `StunRejected` when its integrity or user name is wrong.
    pub fn handle_stun(
        &mut self,
        now: Now,
        route: Route,
        message: StunMessage<'_>,
    ) -> Result<StunAccepted, DropReason> {
        let nominated = message.use_candidate();
        let known = self.validated.contains(&route.source());
        if self.ice.handle_stun(route, known, &message)? {
            self.consent = Some(now.instant);
            self.follow(now, route, nominated);
        }
        let mut accepted = StunAccepted {
            newly_validated: false,
            forgotten: None,
        };
        if !known {
            if self.validated.len() >= MAX_ADDRESSES_PER_PEER {
                // The oldest, but not the one in use.
                let used = self.route.map(|route| route.source());
                let oldest = self.validated.iter().position(|s| Some(*s) != used);
                accepted.forgotten = Some(self.validated.remove(oldest.unwrap_or(0)));
            }
            self.validated.push(route.source());
            accepted.newly_validated = true;
        }
        Ok(accepted)
    }

    /// One DTLS record from a validated address.
    ///
    /// A record that the handshake cannot use is passed over: records are not authenticated
    /// before the handshake ends, so one bad record from a forged source must not end the peer.
    ///
    /// # Errors
    /// A fault ends the peer.
    pub fn handle_dtls(
        &mut self,
        now: Now,
        certificate: &Certificate,
        record: &[u8],
    ) -> Result<DtlsOutcome, PeerFault> {
        if matches!(self.dtls, Association::Awaited) {
            let dtls = Dtls::new(now.instant, certificate)?;
            self.dtls = Association::Live(Box::new(dtls));
        }
        let Some(dtls) = self.dtls.live() else {
            return Ok(DtlsOutcome::Refused);
        };
        if !dtls.handle_packet(now.instant, record)? {
            return Ok(DtlsOutcome::Refused);
        }
        self.settle(now)
    }

    /// The next application data (SCTP) of the peer; none before its certificate is known to be
    /// the one that its SDP promised.
    pub fn take_data(&mut self) -> Option<Bytes> {
        self.keys.as_ref()?;
        self.dtls.live()?.take_received()
    }

    /// Protects application data and writes it.
    ///
    /// # Errors
    /// `NotConnected` before the handshake is done; `QueueFull` when `egress` is, or when the
    /// association takes no more. The data is lost.
    pub fn send_data(&mut self, data: &[u8], egress: &mut Egress) -> Result<(), DropReason> {
        let (Some(dtls), Some(_), Some(_)) = (self.dtls.live(), &self.keys, self.route) else {
            return Err(DropReason::NotConnected);
        };
        let queued = dtls.send(data).map_err(|_| DropReason::QueueFull);
        self.flush(egress)?;
        queued
    }

    /// Looks at consent and runs the timers of DTLS.
    ///
    /// # Errors
    /// `TimedOut` when consent (RFC 7675) is lost or the handshake gave up.
    pub fn handle_timeout(&mut self, now: Now) -> Result<DtlsOutcome, PeerFault> {
        if let Some(closed) = self.closed
            && now.instant.saturating_duration_since(closed) >= GOODBYE_GRACE
        {
            return Ok(DtlsOutcome::Closed);
        }
        if let Some(heard) = self.consent
            && now.instant.saturating_duration_since(heard) >= CONSENT_TIMEOUT
        {
            return Err(PeerFault::TimedOut);
        }
        if self.keys.is_none()
            && now.instant.saturating_duration_since(self.since) >= CONNECT_TIMEOUT
        {
            return Err(PeerFault::TimedOut);
        }
        match self.dtls.live() {
            Some(dtls) if dtls.is_due(now.instant) => {
                dtls.handle_timeout(now.instant)?;
                self.settle(now)
            }
            Some(_) | None => Ok(DtlsOutcome::Progress),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self, now: Now) -> Instant {
        let check = match self.closed {
            Some(closed) => closed + GOODBYE_GRACE,
            None => now.instant + CONSENT_CHECK_INTERVAL,
        };
        match &self.dtls {
            Association::Live(dtls) if self.keys.is_none() => {
                dtls.poll_timeout().map_or(check, |due| due.min(check))
            }
            Association::Live(_) | Association::Awaited | Association::Released { .. } => check,
        }
    }

    /// Gives the association's memory back once the peer cannot need it any more: it has sent
    /// something that only the exported keys protect, and `LINGER` has passed in case its last
    /// flight was lost. For peers without data channels. Such a peer's goodbye is not understood;
    /// its WebSocket's end and lost consent tell as much.
    pub fn release_dtls(&mut self, now: Now) {
        let proven = self
            .keys
            .as_ref()
            .is_some_and(|k| k.unprotect.has_opened_rtcp());
        let lingered = now.instant.saturating_duration_since(self.since) >= LINGER;
        if proven
            && lingered
            && self.closed.is_none()
            && let Some(dtls) = self.dtls.live()
        {
            let goodbye = dtls.close().map(Vec::into_boxed_slice);
            self.dtls = Association::Released { goodbye };
        }
    }

    /// Tells the peer that nothing more will come (RFC 8446 §6.1, RFC 5246 §7.2.1), so that it need
    /// not wait for consent to run out. Once, by a datagram that may be lost.
    pub fn say_goodbye(&mut self, egress: &mut Egress) {
        let record = match &mut self.dtls {
            Association::Awaited => None,
            Association::Live(dtls) => dtls.close().map(Vec::into_boxed_slice),
            Association::Released { goodbye } => goodbye.take(),
        };
        if let (Some(record), Some(route), None) = (record, self.route, self.closed) {
            // The peer is over, with or without it.
            let _ = egress.push(route, &record);
        }
    }

    /// Writes waiting STUN answers and DTLS records.
    pub fn flush(&mut self, egress: &mut Egress) -> Result<(), DropReason> {
        let mut result = Ok(());
        for (route, bytes) in self.ice.drain_answers() {
            if !egress.push(route, &bytes) {
                result = Err(DropReason::QueueFull);
            }
        }
        if let (Some(dtls), Some(route)) = (self.dtls.live(), self.route) {
            for record in dtls.drain_packets() {
                if !egress.push(route, &record) {
                    result = Err(DropReason::QueueFull);
                }
            }
        }
        result
    }

    /// An authentic request that is no copy came by `route`. RFC 8445 §7.3.1.5, lite: the
    /// controlling side's latest nomination decides, which is how Chrome tells that its address
    /// has changed. INTEROP(firefox), INTEROP(aiortc): their later checks nominate nothing, so
    /// they are followed once they come by another way only.
    fn follow(&mut self, now: Now, route: Route, nominated: bool) {
        let silence = now.instant.saturating_duration_since(self.route_heard);
        let stays = |current: Route| current != route && silence < ROUTE_SILENCE;
        if nominated || !self.route.is_some_and(stays) {
            self.route = Some(route);
            self.route_heard = now.instant;
        }
    }

    fn settle(&mut self, now: Now) -> Result<DtlsOutcome, PeerFault> {
        let Some(dtls) = self.dtls.live() else {
            return Ok(DtlsOutcome::Progress);
        };
        if dtls.is_closed() {
            self.closed.get_or_insert(now.instant);
            return Ok(DtlsOutcome::Progress);
        }
        if self.keys.is_some() {
            return Ok(DtlsOutcome::Progress);
        }
        let Some(keys) = dtls.take_keys(&self.expected)? else {
            return Ok(DtlsOutcome::Progress);
        };
        self.keys = Some(keys);
        self.since = now.instant;
        Ok(DtlsOutcome::Connected)
    }

    /// Forgets a source that somebody else has taken: the next authentic request from there is its
    /// first one again. Where datagrams go stays as it is, but for a connection that is gone.
    pub fn handle_source_taken(&mut self, source: Source) {
        match source {
            Source::Tcp(id) => self.handle_tcp_closed(id),
            Source::Udp(_) => self.validated.retain(|known| *known != source),
        }
    }
}

/// RFC 7675 §5.1. No less: some clients check every 4 to 6 s and do not repeat a check that was
/// lost, so half of it is two lost datagrams (INTEROP(firefox), INTEROP(aiortc)).
const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a route is kept that no check comes by while one comes by another: more than any
/// client leaves between two (6 s).
const ROUTE_SILENCE: Duration = Duration::from_millis(7500);

/// From creation to a finished handshake; a play session has no shorter timer of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// RFC 6347 §4.2.4 keeps the last flight for twice the longest life of a segment; a peer that has
/// sent SRTCP has it, and a copy of its own last flight is under way for less than this.
const LINGER: Duration = Duration::from_secs(5);

/// INTEROP(antmedia js): `stop` closes the PeerConnection first, so the DTLS goodbye overtakes the
/// command that explains it. Only a goodbye that nothing follows is a loss.
const GOODBYE_GRACE: Duration = Duration::from_secs(2);

/// How often consent is looked at.
const CONSENT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use str0m::ice::TransId;

    use super::*;
    use crate::base::clock::tests::test_now;

    fn transport() -> Transport {
        let credentials = Credentials::random(&mut StdRng::seed_from_u64(1));
        let mut transport = Transport::new(test_now(), credentials);
        let remote = Credentials {
            ufrag: "them".to_owned(),
            password: "their password, of 22+".to_owned(),
        };
        transport.set_remote(remote, Vec::new());
        transport
    }

    /// A genuine request.
    fn request(to: &Transport, nominates: bool) -> Vec<u8> {
        let Credentials { ufrag, password } = to.credentials();
        let username = format!("{ufrag}:them");
        let id = TransId::new();
        let message = StunMessage::binding_request(&username, id, true, 7, 1, nominates);
        let mut buf = [0; 256];
        let key = Some(password.as_bytes());
        let len = message.to_bytes(key, &mut buf, ice::hmac_sha1).unwrap();
        buf[..len].to_vec()
    }

    /// From the port `from`, so many tenths of a second after the start; where media goes then.
    fn hear(transport: &mut Transport, tenths: u64, from: u16, request: &[u8]) -> Option<u16> {
        let now = test_now().after(Duration::from_millis(100 * tenths));
        let route = Route::udp(([192, 0, 2, 1], from).into(), None);
        let message = StunMessage::parse(request).unwrap();
        transport.handle_stun(now, route, message).unwrap();
        Some(transport.route()?.remote.port())
    }

    #[test]
    fn of_too_many_addresses_the_oldest_goes_but_never_the_one_in_use() {
        let mut t = transport();
        let last = MAX_ADDRESSES_PER_PEER as u16 + 3;
        for from in 1..=last {
            let request = request(&t, from == 1);
            assert_eq!(hear(&mut t, 1, from, &request), Some(1));
        }
        let kept = t.validated().iter().map(|source| match source {
            Source::Udp(address) => address.port(),
            Source::Tcp(_) => 0,
        });
        let newest = last - (MAX_ADDRESSES_PER_PEER as u16 - 2)..=last;
        assert!(kept.eq(std::iter::once(1).chain(newest)));
    }

    #[test]
    fn a_route_that_fell_silent_gives_way_to_one_that_is_heard() {
        let mut t = transport();
        let mut check = |tenths, from, nominates| {
            let request = request(&t, nominates);
            hear(&mut t, tenths, from, &request)
        };
        assert_eq!(check(0, 1, false), Some(1), "the first");
        assert_eq!(check(1, 2, false), Some(1), "not nominated");
        assert_eq!(check(2, 2, true), Some(2));
        assert_eq!(check(60, 2, false), Some(2), "heard once more");
        assert_eq!(check(134, 3, false), Some(2), "after 7.4 s of silence");
        assert_eq!(check(135, 3, false), Some(3), "after 7.5 s");
        assert_eq!(check(140, 2, false), Some(3), "it was heard again itself");
        assert_eq!(
            check(141, 2, true),
            Some(2),
            "a nomination needs no silence"
        );
    }

    #[test]
    fn a_copied_request_moves_nothing_and_is_no_consent() {
        let mut t = transport();
        let nomination = request(&t, true);
        let other = request(&t, false);
        let current = request(&t, true);
        assert_eq!(hear(&mut t, 0, 1, &nomination), Some(1));
        assert_eq!(hear(&mut t, 1, 2, &other), Some(1));
        assert_eq!(hear(&mut t, 2, 3, &current), Some(3));
        for copy in [&nomination, &other] {
            assert_eq!(hear(&mut t, 200, 1, copy), Some(3));
            assert_eq!(hear(&mut t, 200, 2, copy), Some(3));
        }
        let at = |tenths: u64| test_now().after(Duration::from_millis(100 * tenths));
        t.since = at(300).instant;
        assert!(t.handle_timeout(at(301)).is_ok());
        assert_eq!(t.handle_timeout(at(302)), Err(PeerFault::TimedOut));
    }
}
