//! TLS: `tls_listen`, and one of two sources of its certificate, `[server]`'s files or `[acme]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustls::pki_types::DnsName;

use super::checked::{Tls, TlsCertificate};
use super::error::StartError;
use super::raw::{RawAcme, RawFile, RawServer};

/// `[acme]`: an authority that issues certificates (RFC 8555).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// DNS names that the certificate is for, in lower case; at least one.
    pub domains: Vec<String>,
    /// Mail address that the authority may write to.
    pub contact: Option<String>,
    /// Where the authority's directory is.
    pub directory_url: String,
    /// PEM file of the roots that its HTTPS is checked against; `None`: the system's.
    pub directory_ca: Option<PathBuf>,
    /// Where account, certificate and key are kept.
    pub cache_dir: PathBuf,
}

pub(super) fn check_tls(file: &RawFile, data_dir: &Path) -> Result<Option<Tls>, StartError> {
    let RawServer {
        tls_listen,
        tls_cert,
        tls_key,
        ..
    } = &file.server;
    if let Some(acme) = check_acme(file, data_dir)? {
        let files = [
            ("server.tls_cert", tls_cert.is_some()),
            ("server.tls_key", tls_key.is_some()),
        ];
        if let Some((key, _)) = files.iter().find(|(_, is_set)| *is_set) {
            return Err(file.error(
                key,
                "is set and acme.domains too; certificates have one source",
            ));
        }
        let listen = tls_listen
            .ok_or_else(|| file.error("acme.domains", "is set without server.tls_listen"))?;
        return Ok(Some(Tls {
            listen,
            certificate: TlsCertificate::Acme(acme),
        }));
    }
    if let (Some(listen), Some(cert), Some(key)) = (tls_listen, tls_cert, tls_key) {
        return Ok(Some(Tls {
            listen: *listen,
            certificate: TlsCertificate::Files {
                cert: cert.clone(),
                key: key.clone(),
            },
        }));
    }
    let given = [
        ("server.tls_listen", tls_listen.is_some()),
        ("server.tls_cert", tls_cert.is_some()),
        ("server.tls_key", tls_key.is_some()),
    ];
    let set = given.iter().find(|(_, is_set)| *is_set);
    let missing = given.iter().find(|(_, is_set)| !is_set);
    match (set, missing) {
        (Some((key, _)), Some((other, _))) => {
            let message = format!("is set without {other}; TLS needs all three, or acme.domains");
            Err(file.error(key, message))
        }
        (Some(_) | None, _) => Ok(None),
    }
}

/// `None` while no domain is named.
fn check_acme(file: &RawFile, data_dir: &Path) -> Result<Option<Acme>, StartError> {
    let RawAcme {
        domains,
        contact,
        directory_url,
        directory_ca,
        cache_dir,
    } = &file.acme;
    if domains.is_empty() {
        return Ok(None);
    }
    if let Some(wrong) = domains.iter().find(|name| !is_host_name(name)) {
        let message = format!("{wrong:?} is not the DNS name of one host");
        return Err(file.error("acme.domains", message));
    }
    let is_address = |text: &&String| text.contains('@') && !text.contains([' ', ':']);
    if contact.as_ref().is_some_and(|text| !is_address(&text)) {
        return Err(file.error("acme.contact", "is not a mail address"));
    }
    let directory_url = directory_url.as_deref().unwrap_or(DEFAULT_DIRECTORY);
    if !is_private(directory_url) {
        let message = "must begin with https: a directory that others can change is worth nothing";
        return Err(file.error("acme.directory_url", message));
    }
    Ok(Some(Acme {
        domains: domains
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        contact: contact.clone(),
        directory_url: directory_url.to_owned(),
        directory_ca: directory_ca.clone(),
        cache_dir: cache_dir.clone().unwrap_or_else(|| data_dir.join("acme")),
    }))
}

/// Whether `name` is the DNS name of one host: no wildcard, no address, no port.
pub(super) fn is_host_name(name: &str) -> bool {
    let is_ip = name.parse::<IpAddr>().is_ok();
    !is_ip && DnsName::try_from(name.to_owned()).is_ok()
}

/// RFC 8555 §6.1 wants HTTPS; on this host nobody is in between.
fn is_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match url.scheme() {
        "https" => true,
        "http" => ip.is_ok_and(|ip| ip.is_loopback()),
        _ => false,
    }
}

const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Option<Tls>, String> {
        let file = RawFile::parse(text, Path::new("x.toml")).map_err(|e| e.to_string())?;
        check_tls(&file, Path::new("data")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_authority_needs_no_more_than_a_name_and_an_address() {
        let text = "[server]\ntls_listen = \"0.0.0.0:443\"\n\
                    [acme]\ndomains = [\"SFU.example.org\"]";
        let tls = check(text).unwrap().unwrap();
        let TlsCertificate::Acme(acme) = tls.certificate else {
            panic!("{tls:?}");
        };
        let expected = Acme {
            domains: vec!["sfu.example.org".to_owned()],
            contact: None,
            directory_url: DEFAULT_DIRECTORY.to_owned(),
            directory_ca: None,
            cache_dir: PathBuf::from("data/acme"),
        };
        assert_eq!(acme, expected);
        assert_eq!(check("[acme]\ndomains = []"), Ok(None));
    }

    #[test]
    fn refuses_what_cannot_work() {
        let listen = "[server]\ntls_listen = \"0.0.0.0:1\"\n";
        let acme = |rest: &str| format!("{listen}[acme]\ndomains = [\"a.example\"]\n{rest}");
        let domains = |list: &str| format!("{listen}[acme]\ndomains = [{list}]");
        let cases = [
            (
                "[server]\ntls_cert = \"c\"".to_owned(),
                "server.tls_cert: is set without server.tls_listen",
            ),
            (
                format!("{listen}tls_key = \"k\""),
                "x.toml:2: server.tls_listen: is set without server.tls_cert",
            ),
            (
                "[acme]\ndomains = [\"a.example\"]".to_owned(),
                "x.toml:2: acme.domains: is set without server.tls_listen",
            ),
            (
                format!("{listen}tls_key = \"k\"\n[acme]\ndomains = [\"a.example\"]"),
                "x.toml:3: server.tls_key: is set and acme.domains too",
            ),
            (
                domains("\"*.a.example\""),
                "acme.domains: \"*.a.example\" is not",
            ),
            (
                domains("\"192.0.2.1\""),
                "acme.domains: \"192.0.2.1\" is not",
            ),
            (domains("\"a b\""), "acme.domains: \"a b\" is not"),
            (acme("contact = \"me\""), "x.toml:5: acme.contact: is not"),
            (
                acme("directory_url = \"http://ca.example/\""),
                "must begin with https",
            ),
            (acme("directory_url = \"nowhere\""), "must begin with https"),
        ];
        for (text, expected) in cases {
            let error = check(&text).expect_err(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        for local in ["http://127.0.0.1:1/d", "http://[::1]/d"] {
            assert!(check(&acme(&format!("directory_url = \"{local}\""))).is_ok());
        }
    }
}
