//! Starts that fail: one clear line on stderr, exit code 2.

use std::net::TcpListener;

use rcgen::{CertificateParams, KeyPair};

use crate::server::{Server, run};

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_nearest_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[server]\n\n[app.live]\nwebRTCViewerLimt = 3\n";
    std::fs::write(directory.path().join("leafcutter.toml"), file).unwrap();
    refused(
        directory.path(),
        &[],
        "leafcutter: leafcutter.toml:4: app.live.webRTCViewerLimt: unknown key, \
         did you mean \"webRTCViewerLimit\"?\n",
    );
}

#[test]
fn a_named_file_must_exist_and_tls_is_not_silently_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let missing = ["--config", "none.toml"];
    refused(
        directory.path(),
        &missing,
        "leafcutter: none.toml: cannot be read: ",
    );
    let tls = "[server]\ntls_listen = \"127.0.0.1:0\"\ntls_cert = \"c\"\ntls_key = \"k\"\n";
    std::fs::write(directory.path().join("tls.toml"), tls).unwrap();
    refused(
        directory.path(),
        &["--config", "tls.toml", "--listen", "127.0.0.1:0"],
        "leafcutter: server.tls_listen: c cannot be used: ",
    );
}

#[test]
fn an_address_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap().to_string();
    refused(
        directory.path(),
        &["--listen", &listen, "--media-port", "0"],
        &format!("leafcutter: server.listen: cannot listen on {listen}: "),
    );
}

#[test]
fn an_application_of_the_file_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    std::fs::write(&path, "[app.mine]\nwebRTCViewerLimit = 3\n").unwrap();
    let server = Server::start(&["--config", path.to_str().unwrap()]);
    assert_eq!(server.get("/mine/").status, 200);
    assert_eq!(server.get("/LiveApp/").status, 200);
}

#[test]
fn settings_are_checked_without_a_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("leafcutter.toml"),
        "[app.mine]\ngopSize = 3\n",
    )
    .unwrap();
    let said = said(directory.path(), &["check-config", "--workers", "3"], 0);
    for text in [
        "in order",
        "3 workers",
        "mine",
        "ignored, without a meaning here: app.mine.gopSize",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    refused(
        directory.path(),
        &["check-config", "--config", "none.toml"],
        "leafcutter: none.toml: cannot be read: ",
    );
}

#[test]
fn the_doctor_names_a_port_that_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap().to_string();
    let flags = ["doctor", "--listen", &listen, "--media-port", "0"];
    let text = said(directory.path(), &flags, 1);
    assert!(
        text.contains(&format!("bad      HTTP port: {listen}: ")),
        "{text}"
    );
    drop(holder);
    let text = said(directory.path(), &flags, 0);
    assert!(
        text.contains(&format!("good     HTTP port: {listen} is free")),
        "{text}"
    );
    for subject in [
        "data directory",
        "open files",
        "clock",
        "socket buffers",
        "send offload",
    ] {
        assert!(text.contains(subject), "{subject}: {text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn the_certificate_is_looked_at_before_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let tls = "[server]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\n\
               tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n[media]\nport = 0\n";
    write("leafcutter.toml", tls);
    let message = "leafcutter: server.tls_listen: cert.pem cannot be used: ";
    refused(directory.path(), &["check-config"], message);
    let text = said(directory.path(), &["doctor"], 1);
    let bad = "bad      certificate: cert.pem cannot be used: ";
    assert!(text.contains(bad), "{text}");

    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    write("key.pem", &key.serialize_pem());
    write("cert.pem", &params.self_signed(&key).unwrap().pem());
    let https = "https: 127.0.0.1:0, certificate for a.example until 2020-01-01T00:00:00Z\n";
    let text = said(directory.path(), &["check-config"], 0);
    assert!(text.contains(https), "{text}");
    let text = said(directory.path(), &["doctor"], 1);
    let bad = "bad      certificate: for a.example ended on 2020-01-01T00:00:00Z";
    assert!(text.contains(bad), "{text}");

    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    write("cert.pem", &params.self_signed(&key).unwrap().pem());
    let text = said(directory.path(), &["doctor"], 0);
    let warning = "warning  certificate: for a.example is signed by itself";
    assert!(text.contains(warning), "{text}");

    // The key of another one.
    write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    refused(directory.path(), &["check-config"], message);
}

#[test]
fn the_doctor_looks_for_the_domains_that_an_authority_would_look_for() {
    let directory = tempfile::tempdir().unwrap();
    let acme = "[server]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"127.0.0.1:0\"\n\
                [acme]\ndomains = [\"localhost\"]\n[media]\nport = 0\n";
    std::fs::write(directory.path().join("leafcutter.toml"), acme).unwrap();
    let text = said(directory.path(), &["doctor"], 0);
    for line in [
        "good     HTTPS port: 127.0.0.1:0 is free",
        "warning  certificate: none for localhost is kept in ./leafcutter-data/acme",
        "warning  authority: https://acme-v02.api.letsencrypt.org/directory looks at port 443",
        "good     domain: localhost leads to ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!directory.path().join("leafcutter-data/acme").exists());
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let bash = said(directory.path(), &["completions", "bash"], 0);
    assert!(
        bash.contains("check-config") && bash.contains("--media-port"),
        "{bash}"
    );
    let page = said(directory.path(), &["man"], 0);
    assert!(page.contains(".TH leafcutter 1"), "{page}");
}

/// What a command prints that ends with `code`.
pub fn said(directory: &std::path::Path, flags: &[&str], code: i32) -> String {
    let output = run(directory, flags);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn refused(directory: &std::path::Path, flags: &[&str], message: &str) {
    let output = run(directory, flags);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with(message), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
}
