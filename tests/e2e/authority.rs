//! A certificate authority that speaks ACME (RFC 8555) to one client: it checks each signature,
//! nonce and URL, looks at the TLS listener for the proof (RFC 8737), and signs what is asked for.
//!
//! HTTP on loopback, plain or (as authorities of one's own) with TLS that its own root vouches for;
//! one request per connection, one thread.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::request::CertReq;

use crate::clients::PATIENCE;

/// The authority, for as long as the test lasts.
#[derive(Debug)]
pub struct Authority {
    /// Where its directory is.
    pub directory_url: String,
    /// What signs everything that it issues.
    pub root: CertificateDer<'static>,
    /// The same as a PEM file.
    pub root_pem: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

/// What it knows.
#[derive(Debug, Default)]
pub struct State {
    /// Where it looks for proofs; it waits until it is told.
    pub tls_addr: Option<SocketAddr>,
    /// So many orders are refused.
    pub refusals: u32,
    /// What it issues is valid from then to then, in seconds from now.
    pub validity: Range<i64>,
    /// Accounts made.
    pub accounts: u32,
    /// Contacts of the last one.
    pub contact: Value,
    /// Orders made, refused ones too.
    pub orders: u32,
    /// What the client did against the rules.
    pub faults: Vec<String>,
    nonces: HashSet<String>,
    nonces_given: u32,
    key: Value,
    domains: Vec<String>,
    proven: HashSet<usize>,
    certificate: Option<String>,
}

struct Signer {
    issuer: Issuer<'static, KeyPair>,
    base: String,
    /// `None`: plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

/// What a request may say once it is found to be in order.
type Result<T> = std::result::Result<T, String>;

/// Status, headers, body.
type Reply = (u16, Vec<(&'static str, String)>, String);

impl Authority {
    /// Listens for plain HTTP.
    pub fn start(validity: Range<i64>) -> Self {
        Self::start_at("http", validity)
    }

    /// Listens for HTTPS, which whoever knows `root` can check.
    pub fn start_private(validity: Range<i64>) -> Self {
        Self::start_at("https", validity)
    }

    fn start_at(scheme: &str, validity: Range<i64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("{scheme}://{}", listener.local_addr().unwrap());
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (root, root_pem) = (own.der().clone(), own.pem());
        let state = State {
            validity,
            ..State::default()
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let issuer = Issuer::new(params, key);
        let signer = Signer {
            tls: (scheme == "https").then(|| tls(&issuer)),
            issuer,
            base: base.clone(),
            state: state.clone(),
        };
        std::thread::spawn(move || signer.serve(&listener));
        Self {
            directory_url: format!("{base}/directory"),
            root,
            root_pem,
            state,
        }
    }

    /// What it knows, to be read or changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// Tells it where to look for proofs.
    pub fn look_at(&self, tls_addr: SocketAddr) {
        self.state().tls_addr = Some(tls_addr);
        self.state.1.notify_all();
    }
}

impl Signer {
    fn serve(&self, listener: &TcpListener) {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            match &self.tls {
                None => self.serve_one(stream),
                Some(config) => {
                    let conn = ServerConnection::new(config.clone()).unwrap();
                    let mut stream = StreamOwned::new(conn, stream);
                    self.serve_one(&mut stream);
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        }
    }

    /// Answers one request; one that does not come to an end is answered nothing.
    fn serve_one(&self, mut stream: impl Read + Write) {
        if let Some(request) = read(&mut stream) {
            let (status, mut headers, body) = self.answer(&request).unwrap_or_else(|fault| {
                let detail = format!("{} {}: {fault}", request.method, request.path);
                self.state().faults.push(detail.clone());
                problem(400, "malformed", &detail)
            });
            let mut state = self.state();
            state.nonces_given += 1;
            let nonce = format!("nonce{}", state.nonces_given);
            state.nonces.insert(nonce.clone());
            drop(state);
            headers.push(("Replay-Nonce", nonce));
            headers.push(("Content-Length", body.len().to_string()));
            let lines: String = headers
                .iter()
                .map(|(k, v)| format!("{k}: {v}\r\n"))
                .collect();
            let head = format!("HTTP/1.1 {status} .\r\nConnection: close\r\n{lines}\r\n");
            let body = if request.method == "HEAD" { "" } else { &body };
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn answer(&self, request: &Request) -> Result<Reply> {
        match (&*request.method, &*request.path) {
            ("GET", "/directory") => Ok(ok(&json!({
                "newNonce": self.url("/nonce"), "newAccount": self.url("/account"),
                "newOrder": self.url("/order"), "revokeCert": self.url("/revoke"),
                "keyChange": self.url("/key"), "meta": { "termsOfService": self.url("/terms") },
            }))),
            ("HEAD", "/nonce") => Ok((200, Vec::new(), String::new())),
            ("POST", path) => {
                let payload = self.open(request)?;
                self.post(path, &payload)
            }
            _ => Err("no such thing".to_owned()),
        }
    }

    /// The payload of a signed request (RFC 8555 §6.2 to §6.4).
    fn open(&self, request: &Request) -> Result<Value> {
        let jws: Value = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
        let text = |name: &str| jws[name].as_str().ok_or(format!("no {name}"));
        let decoded = |name: &str| {
            let bytes = BASE64.decode(text(name)?.as_bytes());
            bytes.map_err(|e| format!("{name}: {e}"))
        };
        let header: Value =
            serde_json::from_slice(&decoded("protected")?).map_err(|e| e.to_string())?;
        demand(header["alg"] == "ES256", "the algorithm")?;
        demand(header["url"] == self.url(&request.path), "the URL")?;
        let mut state = self.state();
        let nonce = header["nonce"].as_str().ok_or("no nonce")?;
        demand(state.nonces.remove(nonce), "the nonce")?;
        let is_first = request.path == "/account";
        if is_first {
            demand(header["kid"].is_null(), "a kid without an account")?;
            state.key = header["jwk"].clone();
        } else {
            demand(header["jwk"].is_null(), "a jwk beside the kid")?;
            demand(header["kid"] == self.url("/account/1"), "the kid")?;
        }
        let mut point = vec![4];
        for name in ["x", "y"] {
            let text = state.key[name].as_str().ok_or("no coordinate")?;
            point.extend(BASE64.decode(text.as_bytes()).map_err(|e| e.to_string())?);
        }
        let signed = format!("{}.{}", text("protected")?, text("payload")?);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &decoded("signature")?)
            .map_err(|_| "the signature")?;
        match decoded("payload")? {
            empty if empty.is_empty() => Ok(Value::Null),
            payload => serde_json::from_slice(&payload).map_err(|e| e.to_string()),
        }
    }

    fn post(&self, path: &str, payload: &Value) -> Result<Reply> {
        let (kind, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let mut state = self.state();
        match kind {
            "account" => {
                demand(payload["termsOfServiceAgreed"] == true, "the terms")?;
                state.contact = payload["contact"].clone();
                state.accounts += 1;
                Ok(created(self.url("/account/1"), &json!({"status": "valid"})))
            }
            "order" if rest.is_empty() => {
                state.orders += 1;
                if state.refusals > 0 {
                    state.refusals -= 1;
                    return Ok(problem(429, "rateLimited", "too many of those this week"));
                }
                let identifiers = payload["identifiers"].as_array().ok_or("no identifiers")?;
                let names = identifiers.iter().filter_map(|i| i["value"].as_str());
                state.domains = names.map(str::to_owned).collect();
                state.proven.clear();
                state.certificate = None;
                Ok(created(self.url("/order/1"), &self.order(&state)))
            }
            "order" => Ok(ok(&self.order(&state))),
            "authorization" => {
                let at: usize = rest.parse().map_err(|_| "the number")?;
                Ok(ok(&json!({
                    "identifier": {"type": "dns", "value": state.domains[at]},
                    "status": status(state.proven.contains(&at)),
                    "challenges": [self.challenge(&state, at)],
                })))
            }
            "challenge" => {
                let at: usize = rest.parse().map_err(|_| "the number")?;
                let (domain, key) = (state.domains[at].clone(), state.key.clone());
                let waits = |state: &mut State| state.tls_addr.is_none();
                let state = self.state.1.wait_while(state, waits).unwrap();
                let addr = state.tls_addr.ok_or("nowhere to look")?;
                // The server may ask for something else meanwhile.
                drop(state);
                look(addr, &domain, &key)?;
                let mut state = self.state();
                state.proven.insert(at);
                Ok(ok(&self.challenge(&state, at)))
            }
            "finalize" => {
                demand(state.proven.len() == state.domains.len(), "not proven yet")?;
                let csr = payload["csr"].as_str().ok_or("no request")?;
                let csr = BASE64.decode(csr.as_bytes()).map_err(|e| e.to_string())?;
                state.certificate = Some(self.sign(&state, &csr)?);
                Ok(ok(&self.order(&state)))
            }
            "certificate" => {
                let chain = state.certificate.clone().ok_or("not issued yet")?;
                let kind = (
                    "Content-Type",
                    "application/pem-certificate-chain".to_owned(),
                );
                Ok((200, vec![kind], chain))
            }
            _ => Err("no such thing".to_owned()),
        }
    }

    fn order(&self, state: &State) -> Value {
        let count = state.domains.len();
        let authorizations = (0..count).map(|at| self.url(&format!("/authorization/{at}")));
        let status = match &state.certificate {
            Some(_) => "valid",
            None if state.proven.len() == count => "ready",
            None => "pending",
        };
        let names = state.domains.iter();
        json!({
            "status": status,
            "identifiers": names.map(|n| json!({"type": "dns", "value": n})).collect::<Vec<_>>(),
            "authorizations": authorizations.collect::<Vec<_>>(),
            "finalize": self.url("/finalize/1"),
            "certificate": self.url("/certificate/1"),
        })
    }

    fn challenge(&self, state: &State, at: usize) -> Value {
        json!({
            "type": "tls-alpn-01", "url": self.url(&format!("/challenge/{at}")), "token": TOKEN,
            "status": status(state.proven.contains(&at)),
        })
    }

    /// Signs the key of a request for the domains of the order.
    #[allow(
        clippy::disallowed_methods,
        reason = "the real server has the real time"
    )]
    fn sign(&self, state: &State, csr: &[u8]) -> Result<String> {
        let request = CertReq::from_der(csr).map_err(|e| e.to_string())?;
        let key = request.info.public_key.subject_public_key;
        let key = AskedFor(key.raw_bytes().to_vec());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let at = |seconds: i64| {
            let since = now.saturating_add_signed(seconds);
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since)
        };
        let mut params =
            CertificateParams::new(state.domains.clone()).map_err(|e| e.to_string())?;
        (params.not_before, params.not_after) = (at(state.validity.start), at(state.validity.end));
        let signed = params.signed_by(&key, &self.issuer);
        Ok(signed.map_err(|e| e.to_string())?.pem())
    }
}

/// The public key of a request.
struct AskedFor(Vec<u8>);

impl PublicKeyData for AskedFor {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Looks for the proof as RFC 8737 §3 says.
fn look(addr: SocketAddr, domain: &str, key: &Value) -> Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(domain.to_owned()).map_err(|e| e.to_string())?;
    let mut client = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let mut socket = TcpStream::connect(addr).map_err(|e| e.to_string())?;
    while client.is_handshaking() {
        client.complete_io(&mut socket).map_err(|e| e.to_string())?;
    }
    demand(
        client.alpn_protocol() == Some(b"acme-tls/1"),
        "the protocol",
    )?;
    let shown = client.peer_certificates().ok_or("no certificate")?;
    let shown = Certificate::from_der(&shown[0]).map_err(|e| e.to_string())?;
    let extensions = shown
        .tbs_certificate()
        .extensions()
        .ok_or("no extensions")?;
    let proof = extensions
        .iter()
        .find(|e| e.extn_id.to_string() == "1.3.6.1.5.5.7.1.31")
        .ok_or("no proof")?;
    demand(proof.critical, "the proof is not critical")?;
    // RFC 7638: the members in this order.
    let (x, y) = (&key["x"], &key["y"]);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#);
    let thumbprint = BASE64.encode(digest(&SHA256, canonical.as_bytes()).as_ref());
    let authorization = format!("{TOKEN}.{thumbprint}");
    let expected = digest(&SHA256, authorization.as_bytes());
    let said = proof.extn_value.as_bytes();
    demand(said[..2] == [4, 32], "an octet string of 32 bytes")?;
    demand(said[2..] == *expected.as_ref(), "the digest")
}

/// Proofs are signed by themselves.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// TLS of 127.0.0.1, with a certificate that `issuer` signs.
fn tls(issuer: &Issuer<'static, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    Arc::new(config.unwrap())
}

fn read(stream: impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, body })
}

fn demand(holds: bool, what: &str) -> Result<()> {
    holds.then_some(()).ok_or(what.to_owned())
}

fn status(proven: bool) -> &'static str {
    if proven { "valid" } else { "pending" }
}

fn ok(body: &Value) -> Reply {
    (200, vec![json_kind()], body.to_string())
}

fn created(location: String, body: &Value) -> Reply {
    (
        201,
        vec![json_kind(), ("Location", location)],
        body.to_string(),
    )
}

fn problem(status: u16, kind: &str, detail: &str) -> Reply {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    let body = json!({"type": kind, "detail": detail, "status": status});
    let json = ("Content-Type", "application/problem+json".to_owned());
    (status, vec![json], body.to_string())
}

fn json_kind() -> (&'static str, String) {
    ("Content-Type", "application/json".to_owned())
}

const TOKEN: &str = "a-token-of-the-authority";
