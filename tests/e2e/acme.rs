//! Certificates from an authority: ordered, proven on the TLS listener, shown, renewed, kept.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tungstenite::Message;

use crate::authority::Authority;
use crate::server::{Server, once};
use crate::start::{refused, said};
use crate::tls::{connect_to, ping};

const DOMAIN: &str = "sfu.example";

/// More than two thirds of its time are over.
const NEARLY_OVER: std::ops::Range<i64> = -10_000..3_600;
const FRESH: std::ops::Range<i64> = -60..7_776_000;

fn directory(authority: &Authority) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\ntls_listen = \"127.0.0.1:0\"\nworkers = 1\n\
         [acme]\ndomains = [\"{DOMAIN}\", \"other.example\"]\ncontact = \"ops@sfu.example\"\n\
         directory_url = \"{}\"\n",
        authority.directory_url
    );
    fs::write(directory.path().join("leafcutter.toml"), text).unwrap();
    directory
}

/// The certificate that a connection is shown, once there is one that is not `old`.
fn shown(
    server: &Server,
    authority: &Authority,
    old: Option<&CertificateDer<'static>>,
) -> CertificateDer<'static> {
    let look = || {
        let stream = connect_to(server, DOMAIN, &authority.root).ok()?;
        let certificate = stream
            .conn
            .peer_certificates()?
            .first()?
            .clone()
            .into_owned();
        (Some(&certificate) != old).then_some(certificate)
    };
    once(look, || {
        format!("{:?}\n{}", authority.state(), server.log())
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_certificate_is_ordered_shown_renewed_under_open_sockets_and_kept() {
    let authority = Authority::start(NEARLY_OVER);
    let server = Server::start_logged(directory(&authority));
    authority.look_at(server.tls_addr.unwrap());
    let first = shown(&server, &authority, None);
    assert_eq!(authority.state().contact[0], "mailto:ops@sfu.example");
    connect_to(&server, "other.example", &authority.root).unwrap();
    assert!(connect_to(&server, "third.example", &authority.root).is_err());

    let mut stream = connect_to(&server, DOMAIN, &authority.root).unwrap();
    write!(stream, "GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    let _ = stream.read_to_string(&mut page);
    assert!(page.contains(" 200 "), "{page}");

    let stream = connect_to(&server, DOMAIN, &authority.root).unwrap();
    let url = format!("wss://{DOMAIN}/live/websocket");
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    ping(&mut socket);
    authority.state().validity = FRESH;
    server.signal("HUP");
    let second = shown(&server, &authority, Some(&first));
    assert_ne!(second, first);
    ping(&mut socket);
    socket.send(Message::Close(None)).unwrap();
    assert_eq!(authority.state().orders, 2);

    // What is kept is shown by the next process, which asks for nothing.
    let kept = server.directory().join("leafcutter-data/acme");
    assert_eq!(mode(&kept), 0o700);
    for name in ["certificate.json", "account.json"] {
        assert_eq!(mode(&kept.join(name)), 0o600, "{name}");
    }
    let log = server.log();
    assert_eq!(log.matches("certificate issued").count(), 2, "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
    let server = Server::start_logged(server.kill());
    assert_eq!(shown(&server, &authority, None), second);
    let state = authority.state();
    assert_eq!((state.orders, state.accounts), (2, 1));
    assert!(state.faults.is_empty(), "{:?}", state.faults);
}

#[test]
fn without_a_certificate_plain_http_is_served_and_the_refusal_is_told() {
    let authority = Authority::start(FRESH);
    authority.state().refusals = 1;
    let server = Server::start_logged(directory(&authority));
    authority.look_at(server.tls_addr.unwrap());
    assert_eq!(server.get("/healthz").status, 200);
    let log = until_refusal_is_told(&server);
    assert!(log.contains("too many of those this week"), "{log}");
    assert!(connect_to(&server, DOMAIN, &authority.root).is_err());
    // It would be tried again in a minute.
    server.signal("HUP");
    shown(&server, &authority, None);
    let state = authority.state();
    assert_eq!((state.orders, state.accounts), (2, 1));
    assert!(state.faults.is_empty(), "{:?}", state.faults);
}

#[test]
fn an_authority_of_ones_own_is_believed_by_its_own_root_alone() {
    let authority = Authority::start_private(FRESH);
    let server = Server::start_logged(directory(&authority));
    authority.look_at(server.tls_addr.unwrap());
    let log = until_refusal_is_told(&server);
    assert!(log.contains("invalid peer certificate"), "{log}");
    assert_eq!(authority.state().orders, 0);

    let directory = server.kill();
    fs::write(directory.path().join("root.pem"), &authority.root_pem).unwrap();
    let path = directory.path().join("leafcutter.toml");
    let text = fs::read_to_string(&path).unwrap() + "directory_ca = \"root.pem\"\n";
    fs::write(&path, text).unwrap();
    let text = said(directory.path(), &["check-config"], 0);
    assert!(
        text.contains("to be ordered from https://127.0.0.1:"),
        "{text}"
    );
    let server = Server::start_logged(directory);
    authority.look_at(server.tls_addr.unwrap());
    shown(&server, &authority, None);
    assert!(authority.state().faults.is_empty());

    // What is kept is told; a root that cannot be read is refused, by a start too.
    let directory = server.kill();
    let text = said(directory.path(), &["check-config"], 0);
    let told = format!("certificate for {DOMAIN}, other.example until 20");
    assert!(text.contains(&told), "{text}");
    fs::write(directory.path().join("root.pem"), "no certificate").unwrap();
    let message = "leafcutter: server.tls_listen: root.pem cannot be used: it holds no certificate";
    refused(directory.path(), &["check-config"], message);
    refused(directory.path(), &["--listen", "127.0.0.1:0"], message);
}

#[test]
fn an_authority_that_is_away_does_not_hold_up_the_start() {
    let authority = Authority::start(FRESH);
    let directory = directory(&authority);
    let nobody = TcpStream::connect(("127.0.0.1", 1)).is_err();
    assert!(nobody, "port 1 is nobody's");
    let path = directory.path().join("leafcutter.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(&authority.directory_url, "http://127.0.0.1:1/directory");
    fs::write(&path, text).unwrap();
    let server = Server::start_logged(directory);
    until_refusal_is_told(&server);
    assert_eq!(server.get("/healthz").status, 200);
}

/// The log, once it has the whole line.
fn until_refusal_is_told(server: &Server) -> String {
    let look = || {
        let log = server.log();
        let told = |line: &str| line.contains("there is no certificate") && line.ends_with('\n');
        log.split_inclusive('\n').any(told).then_some(log)
    };
    once(look, || server.log())
}
