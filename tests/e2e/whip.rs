//! WHIP and WHEP as HTTP: resources are made, changed and ended; what is refused says why. Media
//! over them is the browsers' and GStreamer's part.

use std::io::{Read, Write};

use serde_json::Value;

use crate::server::{Answer, Server, once};

pub const OFFER: &str = include_str!("../data/sdp/chrome.sdp");
pub const SDP: &str = "Content-Type: application/sdp\r\n";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";
const RESTART: &str = "a=ice-ufrag:Fresh\r\na=ice-pwd:aPasswordOfTwentyFourChars\r\n";

impl Answer {
    /// A header's value as it was sent, but in lower case.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.headers.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .trim()
    }

    /// What problem details say, and that they are some.
    fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(
            problem["detail"].as_str().unwrap().ends_with('.'),
            "{self:?}"
        );
        problem
    }
}

/// The answer's ICE user fragment.
fn ufrag(body: &str) -> &str {
    let mut lines = body.lines();
    lines
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap()
}

#[test]
fn a_publish_is_made_restarted_and_ended() {
    // Nobody connects here, and a busy machine takes its time.
    let settings = "[app.live]\nwebRTCClientStartTimeoutMs = 60000\n";
    let server = Server::start_with(settings, &[]);
    let made = server.send("POST", "/live/whip/one", SDP, OFFER);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("content-type"), "application/sdp");
    assert!(made.body.contains("a=recvonly\r\n"), "{}", made.body);
    assert!(made.body.contains("a=candidate:"), "{}", made.body);
    assert!(made.header("link").contains("rel=\"ice-server\""));
    let exposed = made.header("access-control-expose-headers");
    assert!(
        exposed.contains("location") && exposed.contains("etag"),
        "{exposed}"
    );
    let location = made.header("location").to_owned();
    assert!(location.starts_with("/live/whip/one/"), "{location}");
    let etag = made.header("etag").to_owned();

    let taken = server.send("POST", "/live/whip/one", SDP, OFFER);
    assert_eq!(
        (taken.status, taken.problem()["definition"].as_str()),
        (409, Some("streamIdInUse"))
    );

    let patch = |condition: &str, body: &str| {
        let headers = format!("{FRAGMENT}{condition}");
        server.send("PATCH", &location, &headers, body)
    };
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
    assert_eq!(
        patch(&format!("If-Match: {etag}\r\n"), candidate).status,
        204
    );
    assert_eq!(patch("", candidate).status, 428);
    assert_eq!(patch("If-Match: \"another\"\r\n", candidate).status, 412);
    assert_eq!(patch("If-Match: *\r\n", "a=ice-ufrag:half\r\n").status, 400);
    let restarted = patch("If-Match: *\r\n", RESTART);
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_ne!(ufrag(&restarted.body), ufrag(&made.body));
    assert_ne!(restarted.header("etag"), etag);
    assert_eq!(
        patch(&format!("If-Match: {etag}\r\n"), candidate).status,
        412
    );

    let elsewhere = location.replace("/one/", "/two/");
    assert_eq!(server.request("DELETE", &elsewhere, "").status, 404);
    assert_eq!(server.request("DELETE", &location, "").status, 200);
    // The worker hears of it a moment later; the id is free then.
    let look = || {
        let again = server.send("POST", "/live/whip/one", SDP, OFFER);
        (again.status != 409).then_some(again.status)
    };
    assert_eq!(once(look, || "the id is taken".to_owned()), 201);
    assert_eq!(server.request("DELETE", &location, "").status, 404);
}

#[test]
fn refusals_say_why_and_preflights_are_answered() {
    let settings = "[app.closed]\njwtStreamSecretKey = \"a secret of 32 characters, about\"\n\
                    publishJwtControlEnabled = true\n\
                    [app.live]\nstunServerURI = \"turn:turn.example:3478\"\n\
                    turnServerSecret = \"north\"\n";
    let server = Server::start_with(settings, &[]);
    let post = |path: &str, headers: &str, body: &str| server.send("POST", path, headers, body);
    let cases = [
        (post("/live/whip/a", "", OFFER), 415),
        (post("/live/whip/a", SDP, "v=0\r\n"), 400),
        (
            post("/live/whip/a", SDP, &format!("{OFFER}m=broken\r\n")),
            400,
        ),
        (post("/live/whip/a~b", SDP, OFFER), 400),
        (post("/live/whep/nobody", SDP, OFFER), 404),
        (post("/closed/whip/a", SDP, OFFER), 401),
        (
            post(
                "/closed/whip/a",
                &format!("{SDP}Authorization: Bearer x.y.z\r\n"),
                OFFER,
            ),
            401,
        ),
        (server.request("DELETE", "/live/whip/a/none", ""), 404),
        (
            server.send("PATCH", "/live/whip/a/none", FRAGMENT, RESTART),
            404,
        ),
    ];
    for (answer, status) in &cases {
        assert_eq!(answer.status, *status, "{answer:?}");
        answer.problem();
    }
    assert_eq!(cases[5].0.header("www-authenticate"), "bearer");
    assert_eq!(post("/none/whip/a", SDP, OFFER).status, 404);
    assert_eq!(server.get("/live/whip/a").status, 405);
    let preflight = "Access-Control-Request-Method: PATCH\r\n";
    let allowed = server.request("OPTIONS", "/live/whip/a/b", preflight);
    assert!(
        allowed
            .header("access-control-allow-methods")
            .contains("patch")
    );
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("if-match")
    );
    let options = server.request("OPTIONS", "/live/whip/a", "");
    assert_eq!(
        (options.status, options.header("accept-post")),
        (204, "application/sdp")
    );
    let link = options.header("link");
    assert!(
        link.starts_with("<turn:turn.example:3478>; rel=\"ice-server\"; username=\""),
        "{link}"
    );
    assert!(link.contains(":leafcutter\"; credential=\""), "{link}");
}

#[test]
fn resources_of_one_address_have_a_limit_and_their_places_come_back() {
    let settings =
        "[limits]\nmax_sockets_per_address = 2\n[app.live]\nwebRTCClientStartTimeoutMs = 60000\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let publish = |stream: &str, ip: &str| {
        let headers = format!("{SDP}X-Real-IP: {ip}\r\n");
        server.send("POST", &format!("/live/whip/{stream}"), &headers, OFFER)
    };
    let first = publish("one", "203.0.113.7");
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(publish("two", "203.0.113.7").status, 201);
    let refused = publish("three", "203.0.113.7");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.problem()["status"], 503);
    assert_eq!(server.websocket_of("203.0.113.7").err(), Some(503));
    assert_eq!(publish("four", "203.0.113.8").status, 201);
    assert_eq!(
        server
            .request("DELETE", first.header("location"), "")
            .status,
        200
    );
    let look = || (publish("three", "203.0.113.7").status == 201).then_some(());
    once(look, || "its place is not free again".to_owned());
}

#[test]
fn a_client_that_has_gone_before_its_answer_is_served_to_the_end() {
    let settings = "[limits]\nmax_http_per_address = 0\nmax_sockets_per_address = 0\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let (host, length) = (server.addr, OFFER.len());
    for _ in 0..HASTY {
        let mut stream = server.connect();
        write!(
            stream,
            "POST /live/whep/nobody HTTP/1.1\r\nHost: {host}\r\n{SDP}\
             Content-Length: {length}\r\n\r\n{OFFER}"
        )
        .unwrap();
    }
    let refused = format!("leafcutter_joins_total{{kind=\"play\",result=\"refused\"}} {HASTY}\n");
    let metrics = || server.get("/metrics").body;
    // Each was asked for, so each has its end: a dialogue that is over tells its worker.
    once(|| metrics().contains(&refused).then_some(()), metrics);
}

#[test]
fn a_resource_goes_by_the_settings_of_the_moment_when_it_is_made() {
    let server = Server::start(&["--workers", "1"]);
    let (host, length) = (server.addr, OFFER.len());
    let (before, after) = OFFER.split_at(length / 2);
    let mut stream = server.connect();
    // Asked for by the server when it begins to wait for the offer, with settings in its hand.
    write!(
        stream,
        "POST /live/whip/late HTTP/1.1\r\nHost: {host}\r\n{SDP}Connection: close\r\n\
         Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(before.as_bytes()).unwrap();
    let settings = serde_json::json!({"vp8Enabled": false});
    server.rest("PUT", "/live/rest/v2/settings", &settings);
    stream.write_all(after.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("H264/90000"), "{answer}");
    assert!(!answer.contains("VP8/90000"), "{answer}");
}

/// Clients that do not wait for their answer.
const HASTY: usize = 100;
