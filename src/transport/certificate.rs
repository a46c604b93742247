//! The server's DTLS certificate, made once per process, and fingerprints (RFC 8122 §5).

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate};
use ring::digest;
use subtle::ConstantTimeEq;

/// A self-signed certificate, its SHA-256 fingerprint, and what all its associations share.
#[derive(Clone)]
pub struct Certificate {
    dtls: DtlsCertificate,
    fingerprint: [u8; 32],
    /// PERF(join): the library tests every cipher when it makes one, half a millisecond.
    config: Arc<Config>,
}

impl Certificate {
    /// Makes one; costs a key generation, so once per process.
    ///
    /// `None` when the cryptographic provider cannot.
    pub fn generate() -> Option<Self> {
        let dtls = dimpl::certificate::generate_self_signed_certificate().ok()?;
        let fingerprint = sha256(&dtls.certificate);
        // ICE has proved the return path, which a cookie would prove again.
        let config = Config::builder()
            .use_server_cookie(false)
            .mtu(HANDSHAKE_MTU)
            .build()
            .ok()?;
        Some(Self {
            dtls,
            fingerprint,
            config: Arc::new(config),
        })
    }

    /// The 32 bytes of `a=fingerprint:sha-256`.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// One end of an association, version 1.2 or 1.3 as the peers agree; a server until
    /// `set_active` makes it a client.
    pub fn association(&self, now: Instant) -> Dtls {
        Dtls::new_auto(self.config.clone(), self.dtls.clone(), now)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

/// One `a=fingerprint` of a remote SDP: the digest that its certificate must have.
#[derive(Clone, PartialEq, Eq)]
pub enum Fingerprint {
    /// `sha-256`.
    Sha256([u8; 32]),
    /// `sha-384`.
    Sha384([u8; 48]),
    /// `sha-512`.
    Sha512([u8; 64]),
}

impl Fingerprint {
    /// From the hash name of SDP, compared without case, and the digest's bytes. `None` for
    /// other hashes (`sha-1` and `md5` are not accepted, RFC 8827 §6.5) or a wrong length.
    pub fn new(hash: &str, bytes: &[u8]) -> Option<Self> {
        let is = |name: &str| hash.eq_ignore_ascii_case(name);
        if is("sha-256") {
            Some(Self::Sha256(bytes.try_into().ok()?))
        } else if is("sha-384") {
            Some(Self::Sha384(bytes.try_into().ok()?))
        } else if is("sha-512") {
            Some(Self::Sha512(bytes.try_into().ok()?))
        } else {
            None
        }
    }

    /// True when `der` has this digest; constant time in the digest.
    pub fn matches(&self, der: &[u8]) -> bool {
        let (algorithm, wanted): (_, &[u8]) = match self {
            Self::Sha256(bytes) => (&digest::SHA256, bytes),
            Self::Sha384(bytes) => (&digest::SHA384, bytes),
            Self::Sha512(bytes) => (&digest::SHA512, bytes),
        };
        digest::digest(algorithm, der).as_ref().ct_eq(wanted).into()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Handshake flights are split to fit any path that carries IPv6 (RFC 8200 §5 minimum of 1280,
/// less IP and UDP headers).
const HANDSHAKE_MTU: usize = 1200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_matches_its_own_fingerprint_only() {
        let certificate = Certificate::generate().unwrap();
        let print = Fingerprint::new("SHA-256", &certificate.fingerprint()).unwrap();
        assert!(print.matches(&certificate.dtls.certificate));
        assert!(!print.matches(b"another"));
    }

    #[test]
    fn weak_hashes_and_wrong_lengths_are_refused() {
        assert!(Fingerprint::new("sha-1", &[0; 20]).is_none());
        assert!(Fingerprint::new("sha-256", &[0; 31]).is_none());
        assert!(Fingerprint::new("sha-512", &[0; 64]).is_some());
    }
}
