//! Which certificate a connection is shown: the one that was issued, or to the authority that looks
//! whether a domain is ours the proof of that (RFC 8737).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::cache::Issued;
use super::order::Failure;

/// What there is to show.
#[derive(Default)]
pub struct Shown {
    certificate: Mutex<Option<Arc<CertifiedKey>>>,
    proofs: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// Keys are not for logs.
impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Shown {
    /// Shows this one from the next connection on.
    pub fn set(&self, certificate: CertifiedKey) {
        *locked(&self.certificate) = Some(Arc::new(certificate));
    }

    /// Shows whoever asks for the proof of `domain` the digest of its key authorization, 32 bytes.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn prove(&self, domain: &str, digest: &[u8]) -> Result<(), Failure> {
        let proof = Arc::new(proof(domain, digest)?);
        locked(&self.proofs).insert(domain.to_owned(), proof);
        Ok(())
    }

    /// Proves nothing any more.
    pub fn stop_proving(&self) {
        locked(&self.proofs).clear();
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wants_proof = hello
            .alpn()
            .is_some_and(|protocols| protocols.eq([PROOF_PROTOCOL]));
        match wants_proof {
            true => locked(&self.proofs).get(hello.server_name()?).cloned(),
            false => locked(&self.certificate).clone(),
        }
    }
}

/// TLS that shows what `shown` has; without a certificate handshakes fail.
///
/// # Errors
/// None that is known.
pub fn config(shown: Arc<Shown>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), PROOF_PROTOCOL.to_vec()];
    Ok(config)
}

/// A certificate to show, and when it is to be renewed in seconds since 1970: when a third of its
/// time is left.
///
/// # Errors
/// When chain or key cannot be used.
pub fn certified(issued: &Issued) -> Result<(CertifiedKey, u64), Failure> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(issued.chain.as_bytes()).collect();
    let chain = chain.map_err(|_| Failure::Unusable)?;
    let own = chain.first().ok_or(Failure::Unusable)?;
    let own = Certificate::from_der(own).map_err(|_| Failure::Unusable)?;
    let validity = own.tbs_certificate().validity();
    let begin = validity.not_before.to_unix_duration().as_secs();
    let end = validity.not_after.to_unix_duration().as_secs();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes());
    let key = key.map_err(|_| Failure::Unusable)?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|_| Failure::Unusable)?;
    Ok((certified, end - end.saturating_sub(begin) / 3))
}

/// Self-signed, with the digest in an extension of its own (RFC 8737 §3).
fn proof(domain: &str, digest: &[u8]) -> Result<CertifiedKey, Failure> {
    let made = || {
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.der().clone(), key.serialize_der()))
    };
    let (certificate, key) = made().map_err(|_: rcgen::Error| Failure::NoProof)?;
    let key = PrivateKeyDer::Pkcs8(key.into());
    // Unchecked: rustls knows no such extension, and it has to be a critical one.
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| Failure::NoProof)?;
    Ok(CertifiedKey::new(vec![certificate], key))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// ALPN's name of the validation protocol (RFC 8737 §4).
const PROOF_PROTOCOL: &[u8] = b"acme-tls/1";

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(years: std::ops::Range<i32>) -> Issued {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().unwrap();
        Issued {
            directory_url: String::new(),
            domains: Vec::new(),
            chain: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    #[test]
    fn is_renewed_when_a_third_of_its_time_is_left() {
        let (_, renew_at) = certified(&issued(2030..2033)).unwrap();
        // 2030, 2031 and 2032 have 1096 days; 2030-01-01 is 1893456000.
        assert_eq!(renew_at, 1_893_456_000 + 1096 * 86_400 * 2 / 3);
    }

    #[test]
    fn a_proof_is_shown_for_its_own_domain_until_it_is_over() {
        let shown = Shown::default();
        shown.prove("a.example", &[7; 32]).unwrap();
        let proof = locked(&shown.proofs).get("a.example").cloned();
        let der = proof.unwrap().cert.first().unwrap().clone();
        let parsed = Certificate::from_der(&der).unwrap();
        let extensions = parsed.tbs_certificate().extensions().unwrap();
        let digest = [&[4, 32], &[7; 32][..]].concat();
        let is_it = |value: &[u8]| value == digest;
        let found = extensions.iter().find(|e| is_it(e.extn_value.as_bytes()));
        assert!(found.unwrap().critical);
        shown.stop_proving();
        assert!(locked(&shown.proofs).is_empty());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let mixed = Issued {
            key: issued(2030..2031).key,
            ..issued(2030..2031)
        };
        assert!(matches!(certified(&mixed), Err(Failure::Unusable)));
    }
}
