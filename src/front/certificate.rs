//! What a certificate says of itself (RFC 5280): hosts, time, issuer. It checks nothing. For
//! `doctor` and `check-config`.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// DNS names and addresses of the hosts that it is for (RFC 5280 §4.2.1.6).
    pub names: Vec<String>,
    /// When it begins to be valid, in seconds since 1970.
    pub begin_s: u64,
    /// When it ends, in seconds since 1970.
    pub end_s: u64,
    /// Nobody else vouches for it.
    pub is_self_issued: bool,
}

impl About {
    /// Reads the first certificate of a PEM text; `None` when there is none, or it is malformed.
    pub fn read_pem(text: &[u8]) -> Option<Self> {
        let first = CertificateDer::pem_slice_iter(text).next()?.ok()?;
        let certificate = Certificate::from_der(&first).ok()?;
        let body = certificate.tbs_certificate();
        let alternatives = body.get_extension::<SubjectAltName>().ok()?;
        let names = alternatives.map_or_else(Vec::new, |(_, SubjectAltName(names))| names);
        let time = body.validity();
        Some(Self {
            names: names.iter().filter_map(host).collect(),
            begin_s: time.not_before.to_unix_duration().as_secs(),
            end_s: time.not_after.to_unix_duration().as_secs(),
            is_self_issued: body.issuer() == body.subject(),
        })
    }

    /// `end_s` as RFC 3339 writes it.
    pub fn end(&self) -> String {
        date(self.end_s)
    }

    /// `begin_s` as RFC 3339 writes it.
    pub fn begin(&self) -> String {
        date(self.begin_s)
    }
}

fn date(unix_s: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(unix_s))
        .map_or_else(|_| format!("second {unix_s}"), |date| date.to_string())
}

/// `None` for what is not a host: mail addresses, URIs.
fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let ip = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let ip = ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, Issuer, KeyPair};

    use super::*;

    #[test]
    fn hosts_time_and_issuer_are_read() {
        let names = ["a.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap().pem();
        let about = About::read_pem(own.as_bytes()).unwrap();
        assert_eq!(about.names, names);
        assert_eq!(about.begin(), "2024-01-01T00:00:00Z");
        assert_eq!(about.end(), "2031-02-03T00:00:00Z");
        assert!(about.is_self_issued);

        let mut authority = CertificateParams::new([]).unwrap();
        authority
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let issued = params.signed_by(&key, &issuer).unwrap().pem();
        assert!(!About::read_pem(issued.as_bytes()).unwrap().is_self_issued);
    }

    #[test]
    fn a_certificate_without_hosts_is_read_and_what_is_none_is_not() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([]).unwrap();
        let text = params.self_signed(&key).unwrap().pem();
        assert!(About::read_pem(text.as_bytes()).unwrap().names.is_empty());
        assert_eq!(About::read_pem(b"nothing"), None);
        assert_eq!(About::read_pem(key.serialize_pem().as_bytes()), None);
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert_eq!(About::read_pem(broken.as_bytes()), None);
    }
}
