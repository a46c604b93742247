//! REST over real HTTP: each operation, its errors, the filters, and settings that change live.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use leafcutter::bench::client::Client;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Answer, Server, once};

const BASE: &str = "/live/rest/v2";

fn call(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = "Content-Type: application/json\r\n";
    server.send(method, &format!("{BASE}{path}"), headers, &body)
}

/// The JSON of an answer with status 200.
fn ok(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let answer = call(server, method, path, body);
    assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    assert!(
        answer.headers.contains("content-type: application/json"),
        "{answer:?}"
    );
    answer.json()
}

fn get(server: &Server, path: &str) -> Value {
    ok(server, "GET", path, &Value::Null)
}

/// Whether a Result object says success.
fn done(server: &Server, method: &str, path: &str, body: &Value) -> bool {
    ok(server, method, path, body)["success"] == true
}

/// The message of a Result object behind `status`.
fn refused(server: &Server, status: u16, method: &str, path: &str, body: &Value) -> String {
    let answer = call(server, method, path, body);
    assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    let result = answer.json();
    assert_eq!(result["success"], false, "{answer:?}");
    result["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_broadcast_is_created_shown_changed_and_deleted() {
    let server = Server::start(&["--workers", "1"]);
    let made = ok(&server, "POST", "/broadcasts/create", &Value::Null);
    let id = made["streamId"].as_str().unwrap();
    assert_eq!((id.len(), &made["status"]), (24, &json!("created")));

    let wish = json!({
        "streamId": "stream1", "name": "First", "description": "d", "webRTCViewerLimit": 7,
        "plannedStartDate": 5, "someThingNew": {"x": 1}, "status": "broadcasting",
    });
    let made = ok(&server, "POST", "/broadcasts/create", &wish);
    assert_eq!(made, get(&server, "/broadcasts/stream1"));
    for (key, value) in [
        ("name", json!("First")),
        ("webRTCViewerLimit", json!(7)),
        ("status", json!("created")),
        ("zombi", json!(false)),
        ("type", json!("liveStream")),
        ("category", Value::Null),
    ] {
        assert_eq!(made[key], value, "{key}");
    }
    assert!(made["date"].as_u64().unwrap() > 1_600_000_000_000);
    let again = refused(&server, 400, "POST", "/broadcasts/create", &wish);
    assert!(again.contains("in use"), "{again}");
    for bad in [
        json!({"streamId": "a b"}),
        json!({"streamId": "x".repeat(257)}),
        json!({"streamId": 7}),
        json!({"name": 7}),
        json!({"listenerHookURL": "ftp://x"}),
        json!({"subFolder": "a/../b"}),
        json!([]),
    ] {
        refused(&server, 400, "POST", "/broadcasts/create", &bad);
    }

    let change = json!({"name": "Second", "description": null});
    assert!(done(&server, "PUT", "/broadcasts/stream1", &change));
    let shown = get(&server, "/broadcasts/stream1");
    assert_eq!(
        (&shown["name"], &shown["description"]),
        (&json!("Second"), &json!("d"))
    );
    assert!(!done(&server, "PUT", "/broadcasts/unknown", &change));
    let wrong = refused(
        &server,
        400,
        "PUT",
        "/broadcasts/stream1",
        &json!({"date": "x"}),
    );
    assert!(wrong.contains("date"), "{wrong}");

    assert!(done(&server, "DELETE", "/broadcasts/stream1", &Value::Null));
    assert!(!done(
        &server,
        "DELETE",
        "/broadcasts/stream1",
        &Value::Null
    ));
    refused(&server, 404, "GET", "/broadcasts/stream1", &Value::Null);
}

#[test]
fn broadcasts_are_listed_counted_and_deleted_in_bulk() {
    let mut server = Server::start(&["--workers", "1"]);
    for (id, name) in [("a1", "Zebra"), ("a2", "Apple"), ("b1", "Mango")] {
        let wish = json!({"streamId": id, "name": name});
        ok(&server, "POST", "/broadcasts/create", &wish);
    }
    server.restart(&["--workers", "1"]);
    let ids = |path: &str| -> Vec<String> {
        let list = get(&server, &format!("/broadcasts/list/{path}"));
        let ids = list.as_array().unwrap().iter();
        ids.map(|b| b["streamId"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("0/50"), ["a1", "a2", "b1"]);
    assert_eq!(ids("1/1"), ["a2"]);
    assert_eq!(ids("-5/1000"), ["a1", "a2", "b1"]);
    assert_eq!(ids("0/0"), Vec::<String>::new());
    assert_eq!(ids("0/50?sort_by=name&order_by=desc"), ["a1", "b1", "a2"]);
    assert_eq!(ids("0/50?search=MANGO&type_by=liveStream"), ["b1"]);
    assert_eq!(ids("0/50?type_by=ipCamera"), Vec::<String>::new());
    assert_eq!(get(&server, "/broadcasts/count"), json!({"number": 3}));
    assert_eq!(get(&server, "/broadcasts/count/a2"), json!({"number": 1}));
    assert_eq!(
        get(&server, "/broadcasts/active-live-stream-count"),
        json!({"number": 0})
    );
    refused(&server, 400, "GET", "/broadcasts/list/a/b", &Value::Null);

    assert!(done(
        &server,
        "DELETE",
        "/broadcasts?ids=a1,a2",
        &Value::Null
    ));
    let result = ok(&server, "DELETE", "/broadcasts/?ids=a1,b1", &Value::Null);
    assert_eq!(result["success"], false);
    assert!(
        result["message"].as_str().unwrap().ends_with(": a1"),
        "{result}"
    );
    refused(&server, 400, "DELETE", "/broadcasts", &Value::Null);
    assert_eq!(get(&server, "/broadcasts/count"), json!({"number": 0}));
}

#[test]
fn what_is_on_air_is_listed_before_any_number_of_registered_ones_and_without_a_store() {
    let server = Server::start(&["--workers", "1"]);
    for at in 0..50 {
        let wish = json!({"streamId": format!("a{at:02}")});
        ok(&server, "POST", "/broadcasts/create", &wish);
    }
    let wish = json!({"streamId": "y", "name": "Known", "description": "registered"});
    ok(&server, "POST", "/broadcasts/create", &wish);
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    for stream in ["z", "y", "x"] {
        let role = fleet.publisher(&SHAPES);
        let at = fleet.open(stream, role).unwrap();
        fleet.ask(at, &json!({}));
    }
    let are_live = fleet.run_until(PATIENCE, |clients| {
        let says = |c: &Client| c.heard.iter().any(|word| word == "publish_started");
        clients.iter().all(says)
    });
    assert!(are_live);
    let list = |path: &str| get(&server, &format!("/broadcasts/list/{path}"));
    let ids = |path: &str| -> Vec<String> {
        let list = list(path);
        let ids = list.as_array().unwrap().iter();
        ids.map(|b| b["streamId"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("0/50").len(), 50);
    assert_eq!(ids("0/50?live=true"), ["x", "y", "z"]);
    assert_eq!(ids("1/1?live=true&order_by=desc"), ["y"]);
    assert_eq!(ids("0/50?live=true&search=X"), ["x"]);
    assert_eq!(ids("0/50?live=false&search=a00"), ["a00"]);
    let live = list("0/50?live=true");
    let seen = ["status", "description", "zombi"].map(|field| &live[1][field]);
    let wanted = [json!("broadcasting"), json!("registered"), json!(false)];
    assert_eq!(seen, wanted.each_ref());
    assert_eq!(live[0]["zombi"], true);

    let file = server.directory().join("leafcutter-data/leafcutter.db");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", file.display()));
    }
    fs::write(
        &file,
        "no database, and long enough to be read as one".repeat(90),
    )
    .unwrap();
    let is_down = || server.get("/readyz").status == 503;
    once(|| is_down().then_some(()), || "it is up".to_owned());
    assert_eq!(ids("0/50?live=true"), ["x", "y", "z"]);
    refused(&server, 503, "GET", "/broadcasts/list/0/50", &Value::Null);
}

#[test]
fn tokens_are_made_listed_used_up_and_deleted() {
    let server = Server::start(&["--workers", "1"]);
    let far = "expireDate=4102444800";
    let token = get(&server, &format!("/broadcasts/s/token?{far}&type=play"));
    assert_eq!(
        (&token["streamId"], &token["type"]),
        (&json!("s"), &json!("play"))
    );
    let listed = get(&server, "/broadcasts/s/tokens/list/0/10");
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_ne!(
        listed[0]["tokenId"], token["tokenId"],
        "the text is not kept"
    );

    let mut wrong = token.clone();
    wrong["type"] = json!("publish");
    assert!(!done(&server, "POST", "/broadcasts/validate-token", &wrong));
    assert!(done(&server, "POST", "/broadcasts/validate-token", &token));
    assert!(
        !done(&server, "POST", "/broadcasts/validate-token", &token),
        "one time"
    );
    refused(
        &server,
        400,
        "POST",
        "/broadcasts/validate-token",
        &json!({"tokenId": "x"}),
    );

    let room = get(
        &server,
        &format!("/broadcasts/s/token?{far}&type=play&roomId=r"),
    );
    assert!(done(&server, "POST", "/broadcasts/validate-token", &room));
    assert!(
        done(&server, "POST", "/broadcasts/validate-token", &room),
        "for a room"
    );
    assert!(done(
        &server,
        "DELETE",
        "/broadcasts/s/tokens",
        &Value::Null
    ));
    assert!(!done(
        &server,
        "DELETE",
        "/broadcasts/s/tokens",
        &Value::Null
    ));
    for bad in [
        "expireDate=5&type=play".to_owned(),
        format!("{far}&type=watch"),
        format!("{far}&type=play&roomId=a%20b"),
        "type=play".to_owned(),
    ] {
        refused(
            &server,
            400,
            "GET",
            &format!("/broadcasts/s/token?{bad}"),
            &Value::Null,
        );
    }

    let path = format!("/broadcasts/s/jwt-token?{far}&type=publish");
    let unset = refused(&server, 400, "GET", &path, &Value::Null);
    assert!(unset.contains("jwtStreamSecretKey"), "{unset}");
    let secret = json!({"jwtStreamSecretKey": "0123456789abcdef0123456789abcdef"});
    assert!(done(&server, "PUT", "/settings", &secret));
    let jwt = get(&server, &path);
    assert_eq!(jwt["tokenId"].as_str().unwrap().split('.').count(), 3);
}

#[test]
fn subscribers_are_registered_blocked_and_get_codes() {
    let server = Server::start(&["--workers", "1"]);
    let path = "/broadcasts/s/subscribers";
    let anna = json!({
        "subscriberId": "anna", "subscriberName": "Anna", "b32Secret": "JBSWY3DPEHPK3PXP",
        "type": "publish", "concurrentConnectionsLimit": 2,
    });
    assert!(done(&server, "POST", path, &anna));
    assert!(done(
        &server,
        "POST",
        path,
        &json!({"subscriberId": "berta"})
    ));
    for bad in [
        json!({"subscriberId": "abc"}),
        json!({"subscriberId": "clara", "b32Secret": "1!"}),
        json!({"subscriberId": "clara", "totpExpiryPeriodSeconds": 9}),
    ] {
        assert!(!done(&server, "POST", path, &bad), "{bad}");
    }
    refused(
        &server,
        400,
        "POST",
        path,
        &json!({"subscriberId": "clara", "type": "x"}),
    );

    let code = get(&server, &format!("{path}/anna/totp?type=play"));
    let digits = code["dataId"].as_str().unwrap();
    assert!(
        digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()),
        "{code}"
    );
    assert!(!done(
        &server,
        "GET",
        &format!("{path}/berta/totp?type=play"),
        &Value::Null
    ));
    let secret = json!({"timeTokenSecretForPlay": "abc"});
    assert!(done(&server, "PUT", "/settings", &secret));
    assert!(done(
        &server,
        "GET",
        &format!("{path}/berta/totp?type=play"),
        &Value::Null
    ));

    assert!(done(
        &server,
        "PUT",
        &format!("{path}/anna/block/60/play"),
        &Value::Null
    ));
    let listed = get(&server, &format!("{path}/list/0/10"));
    assert_eq!(listed[0]["subscriberId"], "anna");
    assert_eq!(listed[0]["blockedType"], "play");
    assert!(listed[0]["blockedUntilUnitTimeStampMs"].as_i64().unwrap() > 0);
    assert!(listed[0].get("b32Secret").is_none(), "{listed}");
    assert_eq!(listed[1]["blockedType"], Value::Null);
    assert!(done(
        &server,
        "PUT",
        &format!("{path}/anna/block/0/play"),
        &Value::Null
    ));
    let listed = get(&server, &format!("{path}/list/0/10"));
    assert_eq!(listed[0]["blockedType"], Value::Null);
    refused(
        &server,
        400,
        "PUT",
        &format!("{path}/anna/block/5/all"),
        &Value::Null,
    );
    refused(
        &server,
        400,
        "PUT",
        &format!("{path}/anna/block/-5/play"),
        &Value::Null,
    );

    assert_eq!(
        get(&server, "/broadcasts/s/connection-events/0/10"),
        json!([])
    );
    assert!(done(
        &server,
        "DELETE",
        &format!("{path}/anna"),
        &Value::Null
    ));
    assert!(!done(
        &server,
        "DELETE",
        &format!("{path}/anna"),
        &Value::Null
    ));
    assert!(done(&server, "DELETE", path, &Value::Null));
    assert_eq!(get(&server, &format!("{path}/list/0/10")), json!([]));
}

#[test]
fn subtracks_are_added_listed_and_removed() {
    let server = Server::start(&["--workers", "1"]);
    for wish in [
        json!({"streamId": "room", "subtracksLimit": 2}),
        json!({"streamId": "t1", "role": "speaker"}),
        json!({"streamId": "t2"}),
        json!({"streamId": "t3"}),
    ] {
        ok(&server, "POST", "/broadcasts/create", &wish);
    }
    let add = |id: &str| {
        done(
            &server,
            "POST",
            &format!("/broadcasts/room/subtrack?id={id}"),
            &Value::Null,
        )
    };
    assert!(add("t1") && add("t2"));
    assert!(!add("t3"), "the limit");
    assert!(!add("room"), "itself");
    assert!(!add("unknown"));
    let list = get(&server, "/broadcasts/room/subtracks/0/10");
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["mainTrackStreamId"], "room");
    let speakers = get(&server, "/broadcasts/room/subtracks/0/10?role=speaker");
    assert_eq!(speakers.as_array().unwrap().len(), 1);
    assert_eq!(
        get(&server, "/broadcasts/room/active-subtracks/0/10"),
        json!([])
    );
    let count = get(&server, "/broadcasts/room/active-subtracks-count");
    assert_eq!(count, json!({"number": 0}));
    for path in [
        "subtracks/0/9",
        "active-subtracks/0/9",
        "active-subtracks-count",
    ] {
        let path = format!("/broadcasts/nothing/{path}");
        refused(&server, 404, "GET", &path, &Value::Null);
    }
    let gone = "/broadcasts/room/subtrack?id=t1";
    assert!(done(&server, "DELETE", gone, &Value::Null));
    assert!(done(
        &server,
        "DELETE",
        "/broadcasts/room?deleteSubtracks=true",
        &Value::Null
    ));
    refused(&server, 404, "GET", "/broadcasts/t2", &Value::Null);
    assert_eq!(
        get(&server, "/broadcasts/t1")["mainTrackStreamId"],
        Value::Null
    );
}

#[test]
fn what_is_not_on_air_is_answered_honestly() {
    let server = Server::start(&["--workers", "1"]);
    for path in ["stop", "start", "data"] {
        let path = format!("/broadcasts/s/{path}");
        assert!(!done(&server, "POST", &path, &Value::Null), "{path}");
    }
    let none = get(&server, "/broadcasts/s/broadcast-statistics");
    assert_eq!(none["totalWebRTCWatchersCount"], -1);
    let total = get(&server, "/broadcasts/total-broadcast-statistics");
    assert_eq!(total["totalWebRTCWatchersCount"], 0);
    assert_eq!(total["activeLiveStreamCount"], 0);
    assert!(get(&server, "/version")["versionName"].is_string());
    let document = get(&server, "/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], json!([{"url": BASE}]));
}

#[test]
fn every_request_that_cannot_be_read_is_answered_with_a_result() {
    let server = Server::start(&["--workers", "1"]);
    refused(&server, 404, "GET", "/nothing", &Value::Null);
    refused(&server, 405, "PUT", "/version", &Value::Null);
    refused(&server, 400, "GET", "/broadcasts/%ff", &Value::Null);
    refused(&server, 400, "GET", "/broadcasts/a%20b", &Value::Null);
    let cut = server.send(
        "POST",
        &format!("{BASE}/broadcasts/create"),
        "",
        "{\"name\":",
    );
    assert_eq!((cut.status, &cut.json()["success"]), (400, &json!(false)));
    let long = json!({"description": "x".repeat(65_536)});
    refused(&server, 413, "POST", "/broadcasts/create", &long);
    let unknown = server.get("/nope/rest/v2/version");
    assert_eq!(
        (unknown.status, &unknown.json()["success"]),
        (404, &json!(false))
    );
}

#[test]
fn a_changed_setting_is_felt_by_open_sockets_and_kept_over_a_restart() {
    let mut server = Server::start_with("[app.live]\nvp8Enabled = false\n", &["--workers", "2"]);
    let mut socket = server.websocket("/live/websocket");
    let mut stun = || {
        let command = Message::text("{\"command\":\"getIceServerConfig\"}");
        socket.send(command).unwrap();
        let answer: Value =
            serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        answer["stunServerUri"].as_str().unwrap().to_owned()
    };
    assert_eq!(stun(), "stun:stun1.l.google.com:19302");
    let change = json!({
        "stunServerURI": "stun:192.0.2.1:3478", "jwtStreamSecretKey": "secret",
        "hlsMuxingEnabled": true, "applicationSuspended": true,
    });
    let result = ok(&server, "PUT", "/settings", &change);
    assert_eq!(result["success"], true);
    assert!(
        result["message"]
            .as_str()
            .unwrap()
            .contains("hlsMuxingEnabled"),
        "{result}"
    );
    assert_eq!(
        stun(),
        "stun:192.0.2.1:3478",
        "the mail was sent before the answer"
    );

    for (bad, name) in [
        (json!({"stunServerURI": "http://x"}), "stunServerURI"),
        (json!({"webRTCViewerLimit": "many"}), "webRTCViewerLimit"),
        (
            json!({"webRTCViewerLimit": 3, "timeTokenPeriod": 1}),
            "timeTokenPeriod",
        ),
    ] {
        let message = refused(&server, 400, "PUT", "/settings", &bad);
        assert!(message.contains(name), "{message}");
    }
    let shown = get(&server, "/settings");
    assert_eq!(shown["webRTCViewerLimit"], -1, "all or nothing");
    assert_eq!(shown["jwtStreamSecretKey"], "********");
    assert!(
        done(&server, "PUT", "/settings", &shown),
        "what is shown can be put back"
    );

    server.restart(&["--workers", "2"]);
    let shown = get(&server, "/settings");
    assert_eq!(shown["stunServerURI"], "stun:192.0.2.1:3478");
    assert_eq!(
        (&shown["vp8Enabled"], &shown["applicationSuspended"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(shown["jwtStreamSecretKey"], "********");
    let others = server.get("/LiveApp/rest/v2/settings").json();
    assert_eq!(others["vp8Enabled"], true);
}

#[test]
fn the_filters_let_in_whom_the_settings_name() {
    let secret = "a secret of thirty-two or more bytes";
    let settings = format!(
        "[app.closed]\nremoteAllowedCIDR = \"10.0.0.0/8\"\n\
         [app.wide]\nremoteAllowedCIDR = \"10.0.0.0/8, 127.0.0.0/8\"\n\
         [app.open]\nipFilterEnabled = false\nremoteAllowedCIDR = \"\"\n\
         [app.signed]\njwtControlEnabled = true\njwtSecretKey = \"{secret}\"\n"
    );
    let server = Server::start_with(&settings, &["--workers", "1"]);
    for path in ["version", "openapi.json", "broadcasts/count", "nothing"] {
        let closed = server.get(&format!("/closed/rest/v2/{path}"));
        assert_eq!(
            (closed.status, &closed.json()["message"]),
            (403, &json!("Not allowed IP"))
        );
    }
    assert_eq!(server.get("/wide/rest/v2/version").status, 200);
    assert_eq!(server.get("/open/rest/v2/version").status, 200);

    let jwt = |claims: &Value, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    };
    let good = jwt(&json!({}), secret);
    let cases = [
        (String::new(), 403),
        (format!("Authorization: {good}\r\n"), 200),
        (format!("Authorization: Bearer {good}\r\n"), 200),
        (format!("authorization: bearer {good}\r\n"), 200),
        (
            format!("Authorization: {}\r\n", jwt(&json!({}), "another")),
            403,
        ),
        (
            format!("Authorization: {}\r\n", jwt(&json!({"exp": 5}), secret)),
            403,
        ),
    ];
    for (headers, status) in cases {
        let answer = server.request("GET", "/signed/rest/v2/version", &headers);
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
        if status == 403 {
            assert_eq!(answer.json()["message"], "Invalid App JWT Token");
        }
    }
}

#[test]
fn a_changed_file_is_applied_where_it_can_be_and_says_what_waits() {
    let server = Server::start_with("[app.live]\nwebRTCViewerLimit = 3\n", &[]);
    let base = "/live/rest/v2";
    let put = |fields: &Value| server.rest("PUT", &format!("{base}/settings"), fields);
    let said =
        put(&json!({"maxVideoTrackCount": 4, "vp9Enabled": false, "hlsMuxingEnabled": true}));
    assert_eq!(
        said["message"],
        "ignored, without a meaning here: hlsMuxingEnabled; \
         for who connects from now on: maxVideoTrackCount, vp9Enabled"
    );
    let file = server.directory().join("leafcutter.toml");
    let text = "[server]\nworkers = 5\n[limits]\nmax_sockets = 9\n\
                [app.live]\nwebRTCViewerLimit = 9\nmaxVideoTrackCount = 7\n[app.more]\n";
    std::fs::write(&file, text).unwrap();
    let said = server.rest("POST", &format!("{base}/server/reload"), &Value::Null);
    assert_eq!(
        said["message"],
        "applied: live; needs a restart: limits.max_sockets, server.workers, app.more"
    );
    let settings = server.rest("GET", &format!("{base}/settings"), &Value::Null);
    assert_eq!(settings["webRTCViewerLimit"], 9);
    assert_eq!(
        settings["maxVideoTrackCount"], 4,
        "REST lies above the file"
    );
    std::fs::write(&file, "[app.live]\nwebRTCViewerLimt = 1\n").unwrap();
    let said = server.rest("POST", &format!("{base}/server/reload"), &Value::Null);
    assert_eq!(said["success"], false);
    assert!(
        said["message"]
            .as_str()
            .unwrap()
            .contains("leafcutter.toml:2"),
        "{said}"
    );
    // By itself too, within a second or two.
    std::fs::write(&file, "[app.live]\nwebRTCViewerLimit = 11\n").unwrap();
    let look = || {
        let settings = server.rest("GET", &format!("{base}/settings"), &Value::Null);
        (settings["webRTCViewerLimit"] == 11).then_some(())
    };
    once(look, || "the file is not looked at".to_owned());
    // Without a file every check would be off.
    let reload = || server.rest("POST", &format!("{base}/server/reload"), &Value::Null);
    std::fs::remove_file(&file).unwrap();
    for _ in 0..2 {
        let said = reload();
        assert_eq!(said["success"], false, "{said}");
        assert!(look().is_some(), "what the file said is forgotten");
        std::fs::write(&file, "").unwrap();
    }
    std::fs::write(&file, "[app.live]\nwebRTCViewerLimit = 12\n").unwrap();
    assert_eq!(reload()["success"], true);
}

#[test]
fn what_rest_changed_stays_usable_whatever_the_file_says_then() {
    let with_key = "[app.signed]\njwtSecretKey = \"a secret of thirty-two or more bytes\"\n";
    let mut server = Server::start_with(with_key, &[]);
    let settings = "/signed/rest/v2/settings";
    for fields in [
        json!({"webRTCViewerLimit": 5}),
        json!({"jwtControlEnabled": true}),
    ] {
        assert_eq!(server.rest("PUT", settings, &fields)["success"], true);
    }
    assert_eq!(server.get(settings).status, 403);
    let file = server.directory().join("leafcutter.toml");
    std::fs::write(&file, "[app.signed]\n[app.live]\nwebRTCViewerLimit = 9\n").unwrap();
    let said = server.rest("POST", "/live/rest/v2/server/reload", &Value::Null);
    assert_eq!(
        said["message"],
        "app.signed: jwtControlEnabled was set by REST, and then jwtSecretKey must not be empty \
         while jwtControlEnabled is true"
    );
    let live = server.get("/live/rest/v2/settings").json();
    assert_eq!(live["webRTCViewerLimit"], -1, "all of the file or nothing");

    server.restart(&[]);
    // What cannot be used is left out by itself.
    let signed = || {
        let answer = server.get(settings);
        (answer.status == 200 && answer.json()["webRTCViewerLimit"] == 5).then_some(())
    };
    once(signed, || format!("{:?}", server.get(settings)));
}
