//! One PeerConnection from the client's side: full ICE agent, DTLS client, SRTP both ways.
//!
//! RFC 8445, RFC 5764. Sans-IO like the server's `transport/`, whose opposite it is: that one is a
//! lite agent and always the DTLS server. Used by the load tester and by end-to-end tests.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Dtls, Output, SrtpProfile};
use rand::rngs::StdRng;
use str0m::Candidate;
use str0m::crypto::CryptoProvider;
use str0m::ice::{IceAgent, IceAgentEvent, IceCreds, StunMessage, StunPacket};
use str0m::net::Protocol as IceProtocol;

use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::srtp::{Keys, Profile, Protect, Unprotect};
use crate::transport::certificate::Certificate;
use crate::transport::demux::{self, Protocol};
use crate::transport::ice::Credentials;

/// The client certificate that all links of a process share: making one costs a key generation.
#[derive(Clone)]
pub struct Identity {
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    fingerprint: String,
}

impl Identity {
    /// Makes one. `None` when the cryptographic provider cannot.
    pub fn generate() -> Option<Self> {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = Certificate::generate()?;
        let digest = certificate.fingerprint();
        let hex: Vec<String> = digest.iter().map(|b| format!("{b:02X}")).collect();
        Some(Self {
            certificate: Arc::new(certificate),
            provider: Arc::new(provider),
            fingerprint: hex.join(":"),
        })
    }

    /// Behind `a=fingerprint:sha-256 `.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// The server's end, out of its description.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub credentials: Credentials,
    /// The candidate that is used.
    pub address: SocketAddr,
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// SRTP, still protected: [`Link::keys_mut`] opens it.
    Rtp,
    /// SRTCP, still protected: [`Link::keys_mut`] opens it.
    Rtcp,
    /// Handled here, or of no use.
    Nothing,
}

/// The contexts of a finished handshake.
#[derive(Debug)]
pub struct LinkKeys {
    /// The cipher.
    pub profile: Profile,
    /// Towards the server.
    pub protect: Protect,
    /// From the server.
    pub unprotect: Unprotect,
}

/// Why a link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The handshake failed.
    Dtls,
    /// The server closed the association.
    Closed,
}

/// One PeerConnection's transport.
pub struct Link {
    agent: IceAgent,
    dtls: Dtls,
    credentials: Credentials,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    nominated: bool,
    exported: Option<(Vec<u8>, Profile)>,
    connected: bool,
    closed: bool,
    keys: Option<LinkKeys>,
    packets: Vec<Vec<u8>>,
    dtls_due: Option<Instant>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A link whose socket is bound to `local`. `None` when `local` cannot be a candidate.
    pub fn new(
        now: Instant,
        identity: &Identity,
        local: SocketAddr,
        rng: &mut StdRng,
    ) -> Option<Self> {
        let credentials = Credentials::random(rng);
        let creds = IceCreds {
            ufrag: credentials.ufrag.clone(),
            pass: credentials.password.clone(),
        };
        let mut agent = IceAgent::with_hmac(creds, identity.provider.sha1_hmac_provider);
        agent.set_controlling(true);
        agent.set_timing_advance(ICE_PACE);
        agent.add_local_candidate(Candidate::host(local, IceProtocol::Udp).ok()?);
        let mut dtls = identity.certificate.association(now);
        dtls.set_active(true);
        Some(Self {
            agent,
            dtls,
            credentials,
            local,
            remote: None,
            nominated: false,
            exported: None,
            connected: false,
            closed: false,
            keys: None,
            packets: Vec::new(),
            dtls_due: None,
        })
    }

    /// The credentials for the description.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// True once ICE and DTLS are up.
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// Where datagrams go; `None` before [`set_remote`](Self::set_remote).
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Takes the server's end and begins to check it.
    ///
    /// # Errors
    /// `Dtls` when the instance refuses to start.
    pub fn set_remote(&mut self, now: Instant, remote: Remote) -> Result<(), LinkError> {
        self.agent.set_remote_credentials(IceCreds {
            ufrag: remote.credentials.ufrag,
            pass: remote.credentials.password,
        });
        if let Ok(candidate) = Candidate::host(remote.address, IceProtocol::Udp) {
            self.agent.add_remote_candidate(candidate);
        }
        self.remote = Some(remote.address);
        self.handle_timeout(now)
    }

    /// One datagram from the server.
    ///
    /// # Errors
    /// The link is over.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Incoming, LinkError> {
        match demux::classify(datagram) {
            Some(Protocol::Rtp) => Ok(Incoming::Rtp),
            Some(Protocol::Rtcp) => Ok(Incoming::Rtcp),
            Some(Protocol::Stun) => {
                let Some(source) = self.remote else {
                    return Ok(Incoming::Nothing);
                };
                if let Ok(message) = StunMessage::parse(datagram) {
                    let packet = StunPacket {
                        proto: IceProtocol::Udp,
                        source,
                        destination: self.local,
                        message,
                    };
                    self.agent.handle_packet(now, packet);
                }
                self.handle_timeout(now)?;
                Ok(Incoming::Nothing)
            }
            Some(Protocol::Dtls) => {
                // A record that is of no use is passed over, as the server does.
                let _ = self.dtls.handle_packet(datagram);
                self.poll_dtls(now)?;
                Ok(Incoming::Nothing)
            }
            None => Ok(Incoming::Nothing),
        }
    }

    /// Runs ICE's and DTLS's timers.
    ///
    /// # Errors
    /// The link is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), LinkError> {
        self.agent.handle_timeout(now);
        while let Some(event) = self.agent.poll_event() {
            if let IceAgentEvent::NominatedSend { .. } = event
                && !self.nominated
            {
                self.nominated = true;
                self.poll_dtls(now)?;
            }
        }
        if self.nominated && self.dtls_due.is_some_and(|due| due <= now) && self.keys.is_none() {
            self.poll_dtls(now)?;
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let ice = self.agent.poll_timeout();
        let dtls = self.dtls_due.filter(|_| self.keys.is_none());
        [ice, dtls].into_iter().flatten().min()
    }

    /// The next datagram for the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if let Some(transmit) = self.agent.poll_transmit() {
            return Some(transmit.contents.to_vec());
        }
        if self.packets.is_empty() {
            None
        } else {
            Some(self.packets.remove(0))
        }
    }

    /// The cipher of the SRTP contexts, once connected.
    pub fn profile(&self) -> Option<Profile> {
        self.keys.as_ref().map(|keys| keys.profile)
    }

    /// The SRTP contexts, once connected.
    pub fn keys_mut(&mut self) -> Option<&mut LinkKeys> {
        self.keys.as_mut()
    }

    fn poll_dtls(&mut self, now: Instant) -> Result<(), LinkError> {
        self.dtls.handle_timeout(now).map_err(|_| LinkError::Dtls)?;
        let mut buf = [0; 2 * MAX_DATAGRAM_LEN];
        loop {
            match self.dtls.poll_output(&mut buf) {
                Output::Packet(packet) => self.packets.push(packet.to_vec()),
                Output::Timeout(due) => {
                    self.dtls_due = Some(due);
                    break;
                }
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => {
                    let profile = profile_of(profile).ok_or(LinkError::Dtls)?;
                    self.exported = Some((material.to_vec(), profile));
                }
                Output::CloseNotify => self.closed = true,
                Output::BufferTooSmall { .. } => return Err(LinkError::Dtls),
                // The server's certificate and its data are nothing to a load tester.
                _ => {}
            }
        }
        if self.closed {
            return Err(LinkError::Closed);
        }
        if self.connected
            && let Some((material, profile)) = self.exported.take()
        {
            let keys = Keys::from_dtls(profile, &material).ok_or(LinkError::Dtls)?;
            self.keys = Some(LinkKeys {
                profile,
                protect: Protect::new(&keys.client).ok_or(LinkError::Dtls)?,
                unprotect: Unprotect::new(&keys.server).ok_or(LinkError::Dtls)?,
            });
        }
        Ok(())
    }
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::AesCm128HmacSha1_80),
        _ => None,
    }
}

/// Between two checks; RFC 8445 §14 asks for 50 ms over the Internet, this is one machine.
const ICE_PACE: Duration = Duration::from_millis(5);
