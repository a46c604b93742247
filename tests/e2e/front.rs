//! The front door: pages, REST, metrics, upgrades.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use leafcutter::worker::clock::Clock;
use tungstenite::{Bytes, Message};

use crate::clients::PATIENCE;
use crate::server::{Server, once, ping};

#[test]
fn serves_pages_and_refuses_what_is_not_there() {
    let server = Server::start(&[]);
    assert_eq!(
        server.playground,
        format!("playground: http://{}/LiveApp/", server.addr)
    );
    let health = server.get("/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let ready = server.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));

    let storeless = Server::start(&["--data-dir", "/dev/null/data"]);
    let ready = storeless.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "store\n"));
    assert_eq!(storeless.get("/healthz").status, 200);

    let root = server.get("/");
    assert_eq!(root.status, 307);
    assert!(root.headers.contains("location: /liveapp/"), "{root:?}");
    let bare = server.get("/live?x=1");
    assert_eq!(bare.status, 307);
    assert!(bare.headers.contains("location: /live/?x=1"), "{bare:?}");
    for app in ["LiveApp", "WebRTCAppEE", "live"] {
        assert_eq!(server.request("HEAD", &format!("/{app}"), "").status, 200);
        let page = server.get(&format!("/{app}/"));
        assert_eq!(page.status, 200);
        assert!(page.headers.contains("text/html"), "{page:?}");
    }
    let script = server.get("/LiveApp/app.js");
    assert_eq!(script.status, 200);
    assert!(script.headers.contains("text/javascript"), "{script:?}");

    for path in [
        "/nope",
        "/nope/",
        "/nope/websocket",
        "/nope/rest/v2/version",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("no application"), "{path}: {answer:?}");
    }
    assert_eq!(server.request("HEAD", "/nope", "").status, 404);
    assert_eq!(server.get("/live/nothing.js").status, 404);
    assert_eq!(server.get("/live/no/thing").status, 404);
}

#[test]
fn serves_rest_and_lets_pages_of_any_origin_read_the_answer() {
    let server = Server::start(&[]);
    let base = "/live/rest/v2";
    let cases = [
        ("/broadcasts/list/0/10", 200, "[]"),
        ("/broadcasts/count", 200, "{\"number\":0}"),
        (
            "/broadcasts/active-live-stream-count",
            200,
            "{\"number\":0}",
        ),
        ("/broadcasts/none", 404, "\"success\":false"),
        ("/broadcasts/list/a/b", 400, "\"success\":false"),
        (
            "/broadcasts/none/broadcast-statistics",
            200,
            "\"totalWebRTCWatchersCount\":-1",
        ),
        ("/version", 200, "\"versionName\":\""),
        ("/nothing", 404, "\"success\":false"),
    ];
    for (path, status, text) in cases {
        let answer = server.get(&format!("{base}{path}"));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.contains(text), "{path}: {answer:?}");
        assert!(
            answer.headers.contains("access-control-allow-origin: *"),
            "{answer:?}"
        );
    }
    let ask = "Origin: http://x\r\nAccess-Control-Request-Method: PUT\r\n";
    let preflight = server.request("OPTIONS", &format!("{base}/broadcasts/none"), ask);
    assert_eq!(preflight.status, 204);
    assert!(preflight.headers.contains("authorization"), "{preflight:?}");

    // Without a JWT only its own pages may ask.
    let count = format!("{base}/broadcasts/count");
    let own = format!("Origin: http://{}\r\n", server.addr);
    assert_eq!(server.request("GET", &count, &own).status, 200);
    let settings = format!("{base}/settings");
    let foreign = "Origin: http://x\r\nContent-Type: text/plain\r\n";
    for answer in [
        server.request("GET", &count, foreign),
        server.send("PUT", &settings, foreign, "{\"ipFilterEnabled\":false}"),
    ] {
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(answer.json()["success"], false);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

#[test]
fn rest_is_asked_by_the_servers_own_names_alone() {
    let settings = "[server]\nhost_names = [\"sfu.example\"]\n";
    let server = Server::start_with(settings, &[]);
    let ask = |host: &str, origin: &str| {
        let mut stream = server.connect();
        write!(
            stream,
            "GET /live/rest/v2/settings HTTP/1.1\r\nHost: {host}\r\n\
             Connection: close\r\n{origin}\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for host in [
        "sfu.example:5080",
        "localhost",
        "127.0.0.1:5080",
        "[::1]:5080",
    ] {
        let answer = ask(host, &format!("Origin: http://{host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for origin in ["", "Origin: http://evil.example:5080\r\n"] {
        let answer = ask("evil.example:5080", origin);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
        assert!(answer.contains("host_names of [server]"), "{answer}");
    }
}

#[test]
fn counts_open_websockets_in_the_metrics() {
    let server = Server::start(&["--workers", "2"]);
    let mut sockets: Vec<_> = (0..4)
        .map(|_| server.websocket("/live/websocket"))
        .collect();
    for socket in &mut sockets {
        ping(socket);
    }
    let wanted = [
        "leafcutter_conns 4\n",
        "leafcutter_worker_conns{worker=\"0\"} 2\n",
        "leafcutter_worker_conns{worker=\"1\"} 2\n",
        "leafcutter_viewers{app=\"LiveApp\"} 0\n",
        "leafcutter_packets_dropped_total{reason=\"unvalidated_source\"} 0\n",
    ];
    // A worker publishes at the end of a turn, which may be after its answer was read here.
    let look = || {
        let metrics = server.get("/metrics");
        assert!(
            metrics.headers.contains("text/plain; version=0.0.4"),
            "{metrics:?}"
        );
        let told = wanted.iter().all(|line| metrics.body.contains(line));
        told.then_some(())
    };
    once(look, || server.get("/metrics").body);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let metrics = server.request("GET", "/metrics", accept);
    assert!(metrics.headers.contains("openmetrics-text"), "{metrics:?}");
    assert!(metrics.body.ends_with("# EOF\n"), "{metrics:?}");
}

#[test]
fn counts_http_connections_that_are_served() {
    let server = Server::start(&[]);
    let held: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // Who asks is one too; who asked before may not have gone yet.
    let look = || {
        let metrics = server.get("/metrics").body;
        metrics.contains("leafcutter_http_conns 4\n").then_some(())
    };
    once(look, || server.get("/metrics").body);
    drop(held);
    let look = || {
        let metrics = server.get("/metrics").body;
        metrics.contains("leafcutter_http_conns 1\n").then_some(())
    };
    once(look, || server.get("/metrics").body);
}

#[test]
fn sockets_go_to_the_worker_that_is_less_busy() {
    let settings = "[limits]\nmax_messages_per_second = 0\n";
    let server = Server::start_with(settings, &["--workers", "2"]);
    let mut flooding = server.websocket("/live/websocket");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    flooding.write(Message::Ping(Bytes::new())).unwrap();
                }
                flooding.flush().unwrap();
                for _ in 0..50 {
                    assert!(matches!(flooding.read().unwrap(), Message::Pong(_)));
                }
            }
        });
        // Ends the thread even when a check below fails.
        let _end = Raised(&is_over);
        let busy = |worker: usize| {
            let metrics = server.get("/metrics").body;
            let name = format!("leafcutter_worker_busy_ratio{{worker=\"{worker}\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().parse::<f64>().unwrap()
        };
        let mut clock = Clock::start();
        let until = clock.now().instant + PATIENCE;
        let (mut flooded, mut share) = (0, 0.0);
        while share < 0.15 {
            assert!(clock.now().instant < until, "the flood does not show");
            flooded = usize::from(busy(1) > busy(0));
            share = busy(flooded);
        }
        let mut others: Vec<_> = (0..4)
            .map(|_| server.websocket("/live/websocket"))
            .collect();
        for socket in &mut others {
            ping(socket);
        }
        // A worker publishes at the end of a turn, which may be after its answer was read here.
        let mut metrics = String::new();
        while !metrics.contains("leafcutter_conns 5\n") {
            assert!(clock.now().instant < until, "{metrics}");
            metrics = server.get("/metrics").body;
        }
        let alone = format!("leafcutter_worker_conns{{worker=\"{flooded}\"}} 1\n");
        assert!(metrics.contains(&alone), "{metrics}");
    });
}

/// Raises its flag when it goes.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn upgrades_on_both_paths_with_any_query() {
    let server = Server::start(&["--workers", "1"]);
    for path in [
        "/WebRTCAppEE/websocket",
        "/live/websocket?target=origin&rtmpForward=false",
        "/LiveApp/websocket/signaling?token=a%20b&jwt=x",
    ] {
        ping(&mut server.websocket(path));
    }
}

#[test]
fn answers_the_ping_command() {
    let server = Server::start(&["--workers", "1"]);
    let mut socket = server.websocket("/live/websocket");
    let command = Message::text("{\"command\":\"ping\"}");
    socket.send(command).unwrap();
    let answer = socket.read().unwrap();
    assert_eq!(answer.to_text().unwrap(), "{\"command\":\"pong\"}");
}

#[test]
fn a_frame_sent_together_with_the_upgrade_is_not_lost() {
    let server = Server::start(&["--workers", "1"]);
    let mut stream = server.connect();
    let mut bytes = UPGRADE.as_bytes().to_vec();
    // A masked ping frame (RFC 6455 §5.2) whose masking key is zero.
    let ping = b"early";
    bytes.extend([0x89, 0x80 | ping.len() as u8, 0, 0, 0, 0]);
    bytes.extend(ping);
    stream.write_all(&bytes).unwrap();
    let mut heard = Vec::new();
    let mut chunk = [0; 512];
    while !String::from_utf8_lossy(&heard).contains("early") {
        let len = stream.read(&mut chunk).unwrap();
        assert!(len > 0, "closed after {}", String::from_utf8_lossy(&heard));
        heard.extend(&chunk[..len]);
    }
    let text = String::from_utf8_lossy(&heard).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 101"), "{text}");
    assert!(
        text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{text}"
    );
}

#[test]
fn what_is_no_upgrade_is_told_so() {
    let server = Server::start(&[]);
    let plain = server.get("/live/websocket");
    assert_eq!(plain.status, 426);
    assert!(plain.headers.contains("upgrade: websocket"), "{plain:?}");
    assert_eq!(server.request("POST", "/live/websocket", "").status, 405);
    let mut stream = server.connect();
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    stream.write_all(old.as_bytes()).unwrap();
    let mut chunk = [0; 512];
    let len = stream.read(&mut chunk).unwrap();
    let text = String::from_utf8_lossy(&chunk[..len]).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 426"), "{text}");
    assert!(text.contains("sec-websocket-version: 13"), "{text}");
}

#[test]
fn a_client_is_told_that_its_query_or_its_origin_is_too_long() {
    let server = Server::start(&[]);
    let query = format!("websocket?{}", "q".repeat(10_000));
    let origin = format!("Origin: {}\r\nHost:", "o".repeat(2000));
    let table = [
        (
            UPGRADE.replace("websocket HTTP", &format!("{query} HTTP")),
            "414",
        ),
        (UPGRADE.replace("Host:", &origin), "431"),
        (UPGRADE.replace("Host:", "Origin: http://x\r\nHost:"), "101"),
    ];
    for (request, want) in table {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut chunk = [0; 512];
        let len = stream.read(&mut chunk).unwrap();
        let text = String::from_utf8_lossy(&chunk[..len]);
        assert!(text.starts_with(&format!("HTTP/1.1 {want}")), "{text}");
    }
}

/// The handshake of RFC 6455 §1.3.
const UPGRADE: &str = "GET /live/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                       Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
