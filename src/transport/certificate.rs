//! The server's DTLS certificate, made once per process, and fingerprints (RFC 8122 §5).

use std::fmt;

use ring::digest;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::DtlsCert;
use subtle::ConstantTimeEq;

/// A self-signed certificate and its SHA-256 fingerprint.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) dtls: DtlsCert,
    fingerprint: [u8; 32],
}

impl Certificate {
    /// Makes one; costs a key generation, so once per process.
    ///
    /// `None` when the cryptographic provider cannot.
    pub fn generate() -> Option<Self> {
        let dtls = provider().dtls_provider.generate_certificate()?;
        let fingerprint = sha256(&dtls.certificate);
        Some(Self { dtls, fingerprint })
    }

    /// The 32 bytes of `a=fingerprint:sha-256`.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
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

/// The cryptographic provider that the Cargo features chose; installed as the process default so
/// that every part of str0m uses the same.
pub(super) fn provider() -> &'static CryptoProvider {
    if CryptoProvider::get_default().is_none() {
        str0m::crypto::from_feature_flags().install_process_default();
    }
    static FALLBACK: std::sync::OnceLock<CryptoProvider> = std::sync::OnceLock::new();
    CryptoProvider::get_default()
        .unwrap_or_else(|| FALLBACK.get_or_init(str0m::crypto::from_feature_flags))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

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
