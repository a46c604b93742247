//! HTTPS and secure WebSockets: served, and their certificate changed under open sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use leafcutter::base::limits::MAX_MESSAGE_LEN;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::clients::PATIENCE;
use crate::server::{Server, once};

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Writes a fresh certificate for `localhost` and its key.
fn certify(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // The key first: a server that looks in between finds a pair that does not fit.
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn settings(directory: &Path) {
    let text = "[server]\ntls_listen = \"127.0.0.1:0\"\n\
                tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    fs::write(directory.join("leafcutter.toml"), text).unwrap();
}

fn start() -> (Server, CertificateDer<'static>) {
    let directory: TempDir = tempfile::tempdir().unwrap();
    settings(directory.path());
    let certificate = certify(directory.path());
    (Server::start_in(directory, &[]), certificate)
}

/// A connection that trusts `certificate` alone.
fn connect(server: &Server, certificate: &CertificateDer<'static>) -> std::io::Result<Stream> {
    connect_to(server, "localhost", certificate)
}

/// A connection to a server of this name that trusts `root` alone.
pub fn connect_to(
    server: &Server,
    name: &'static str,
    root: &CertificateDer<'static>,
) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(server.tls_addr.unwrap())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(client, socket);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn websocket(server: &Server, certificate: &CertificateDer<'static>) -> WebSocket<Stream> {
    let stream = connect(server, certificate).unwrap();
    tungstenite::client("wss://localhost/live/websocket", stream)
        .unwrap()
        .0
}

pub fn ping(socket: &mut WebSocket<Stream>) {
    socket.send(Message::text(r#"{"command":"ping"}"#)).unwrap();
    let answer = socket.read().unwrap().into_text().unwrap();
    assert!(answer.contains("\"pong\""), "{answer}");
}

#[test]
fn pages_and_websockets_are_served_over_tls() {
    let (server, certificate) = start();
    let mut stream = connect(&server, &certificate).unwrap();
    write!(
        stream,
        "GET /live/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let mut socket = websocket(&server, &certificate);
    ping(&mut socket);
    // Many records at once, the longest message there may be, and small ones behind it.
    let padding = "x".repeat(MAX_MESSAGE_LEN - 100);
    let long = format!(r#"{{"command":"ping","padding":"{padding}"}}"#);
    for _ in 0..3 {
        socket.write(Message::text(long.clone())).unwrap();
        socket
            .write(Message::text(r#"{"command":"ping"}"#))
            .unwrap();
    }
    socket.flush().unwrap();
    for _ in 0..6 {
        let answer = socket.read().unwrap().into_text().unwrap();
        assert!(answer.contains("\"pong\""), "{answer}");
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
}

#[test]
fn noise_on_the_tls_port_ends_that_connection_alone() {
    let (server, certificate) = start();
    let mut socket = websocket(&server, &certificate);
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = TcpStream::connect(server.tls_addr.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(noise).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    // Noise behind the handshake: a record that nobody encrypted.
    let mut torn = websocket(&server, &certificate);
    let raw = &mut torn.get_mut().sock;
    raw.write_all(&[0x17, 3, 3, 0, 4, 1, 2, 3, 4]).unwrap();
    assert!(torn.read().is_err());
    ping(&mut socket);
}

#[test]
fn a_certificate_is_read_again_and_open_sockets_stay() {
    let (server, old) = start();
    let mut socket = websocket(&server, &old);
    let new = certify(server.directory());
    server.signal("HUP");
    // The signal is on its way while the first connections are made.
    let look = || connect(&server, &new).ok();
    once(look, || "the new certificate was never read".to_owned());
    assert!(
        connect(&server, &old).is_err(),
        "the old one is still shown"
    );
    ping(&mut socket);
    // What cannot be used changes nothing.
    fs::write(server.directory().join("cert.pem"), "no certificate").unwrap();
    server.signal("HUP");
    ping(&mut socket);
    connect(&server, &new).unwrap();
}

#[test]
fn a_certificate_file_that_does_not_answer_keeps_no_signal_waiting() {
    let (server, certificate) = start();
    let file = server.directory().join("cert.pem");
    fs::remove_file(&file).unwrap();
    // Opening it waits for somebody who writes, and nobody does.
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    server.signal("HUP");
    ping(&mut websocket(&server, &certificate));
    server.signal("TERM");
    server.ended();
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    settings(directory.path());
    certify(directory.path());
    fs::write(directory.path().join("key.pem"), "no key").unwrap();
    let output = crate::server::run(directory.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("server.tls_listen: key.pem"), "{error}");
}
