//! Webhooks against a small HTTP server: what they say, their order, repetitions, time limits.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use leafcutter::base::limits::MAX_WEBHOOKS_UNDER_WAY;
use leafcutter::bench::client::Role;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Server, once};

/// One request that came in.
#[derive(Debug)]
struct Posted {
    line: String,
    content_type: String,
    body: String,
}

impl Posted {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    /// Not at all, until the other side has hung up.
    Silence,
}

/// A receiver of webhooks that gives `replies` in turn, and 200 to all others.
fn receiver(replies: &[Reply]) -> (SocketAddr, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut replies: VecDeque<Reply> = replies.iter().copied().collect();
    let (sender, posted) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let reply = replies.pop_front().unwrap_or(Reply::Status(200));
            if serve(stream, reply, &sender).is_none() {
                return;
            }
        }
    });
    (addr, posted)
}

/// `None` when nobody listens any more.
fn serve(stream: TcpStream, reply: Reply, sender: &Sender<Posted>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let value = lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        value.unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let posted = Posted {
        line: lines[0].clone(),
        content_type: header("content-type"),
        body: String::from_utf8(body).unwrap(),
    };
    sender.send(posted).ok()?;
    match reply {
        Reply::Status(status) => {
            let text = format!(
                "HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            reader.get_mut().write_all(text.as_bytes()).unwrap();
        }
        Reply::Silence => {
            let _ = reader.read(&mut [0]);
        }
    }
    Some(())
}

fn put_settings(server: &Server, settings: &Value) {
    let answer = server.send("PUT", "/live/rest/v2/settings", "", &settings.to_string());
    assert_eq!(answer.json()["success"], true, "{answer:?}");
}

/// Lets a publish of `stream` come too late; one webhook follows.
fn publish_too_late(server: &Server, stream: &str) {
    let mut socket = server.websocket("/live/websocket");
    let publish = json!({"command": "publish", "streamId": stream, "subscriberId": "anna"});
    socket.send(Message::text(publish.to_string())).unwrap();
    while !socket
        .read()
        .unwrap()
        .to_text()
        .unwrap()
        .contains("publishTimeoutError")
    {}
}

#[test]
fn the_life_of_a_broadcast_is_told_in_order() {
    life_of_a_broadcast("POST", "/stop");
}

/// What is told of it goes to its own hook, although that is stored no more.
#[test]
fn the_end_of_a_deleted_broadcast_is_told_to_its_own_hook() {
    life_of_a_broadcast("DELETE", "");
}

/// It ends by a request of `method` to its path with `suffix`.
fn life_of_a_broadcast(method: &str, suffix: &str) {
    let (addr, posted) = receiver(&[]);
    let server = Server::start(&["--workers", "2"]);
    put_settings(
        &server,
        &json!({"listenerHookURL": format!("http://{addr}/app")}),
    );
    let own = json!({
        "streamId": "s", "category": "news", "listenerHookURL": format!("http://{addr}/own"),
    });
    let path = "/live/rest/v2/broadcasts";
    let made = server.send("POST", &format!("{path}/create"), "", &own.to_string());
    assert_eq!(made.status, 200, "{made:?}");

    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 7).unwrap();
    let mut told: Vec<Posted> = Vec::new();
    let mut await_told = |fleet: &mut Fleet, count: usize| {
        fleet.run_until(PATIENCE, |_| {
            told.extend(posted.try_iter());
            told.len() >= count
        });
        assert_eq!(told.len(), count, "{told:?}");
        told.last().map(Posted::json).unwrap()
    };
    let role = fleet.publisher(&SHAPES);
    let publisher = fleet.open("s", role).unwrap();
    fleet.ask(
        publisher,
        &json!({"streamName": "Name", "metaData": "{\"a\":1}"}),
    );
    let started = await_told(&mut fleet, 1);
    assert_eq!(started["action"], "liveStreamStarted");
    assert!(
        started["timestamp"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_600_000_000_000
    );
    for (key, value) in [
        ("id", json!("s")),
        ("app", json!("live")),
        ("streamName", json!("Name")),
        ("category", json!("news")),
        ("metadata", json!({"a": 1})),
        ("subscriberId", Value::Null),
    ] {
        assert_eq!(started[key], value, "{key}: {started}");
    }

    let shown = server.get(&format!("{path}/s")).json();
    assert_eq!(
        (&shown["status"], &shown["category"]),
        (&json!("broadcasting"), &json!("news"))
    );
    let viewer = fleet.open("s", Role::viewer(false)).unwrap();
    fleet.ask(viewer, &json!({}));
    assert_eq!(await_told(&mut fleet, 2)["action"], "playStarted");
    let statistics = server.get(&format!("{path}/s/broadcast-statistics")).json();
    assert_eq!(statistics["totalWebRTCWatchersCount"], 1);
    are_measured(&server, &mut fleet);

    let stopped = server.send(method, &format!("{path}/s{suffix}"), "", "");
    assert_eq!(stopped.json()["success"], true, "{stopped:?}");
    await_told(&mut fleet, 4);
    let actions: Vec<Value> = told.iter().map(|p| p.json()["action"].clone()).collect();
    assert_eq!(actions[2..], ["liveStreamEnded", "playStopped"]);
    assert!(
        told.iter().all(|p| p.line == "POST /own HTTP/1.1"),
        "{told:?}"
    );
    assert!(
        told.iter().all(|p| p.content_type == "application/json"),
        "{told:?}"
    );
    let finished = fleet.run_until(PATIENCE, |clients| {
        let heard = |at: usize, word: &str| clients[at].heard.iter().any(|h| h == word);
        heard(publisher, "publish_finished") && heard(viewer, "play_finished")
    });
    assert!(finished, "{:?}", fleet.clients[publisher].heard);
}

/// The one player of `s` and its publisher show up in the statistics; media flows meanwhile.
fn are_measured(server: &Server, fleet: &mut Fleet) {
    // Key frames are asked for half a second apart, and the publisher has only just begun.
    let is_served = fleet.run_until(PATIENCE, |clients| {
        clients.iter().all(|client| match &client.role {
            Role::Viewer(viewer) => viewer.tracks() == (2, 2),
            Role::Publisher { .. } => true,
        })
    });
    assert!(is_served, "audio and video flow");
    let base = "/live/rest/v2/broadcasts";
    let paths = [
        "s/webrtc-client-stats/0/50",
        "webrtc-send-low-level-stats",
        "webrtc-receive-low-level-stats",
        "s/stream-info",
    ];
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let get = |path| server.get(&format!("{base}/{path}"));
        let asking = scope.spawn(move || paths.map(|path| get(path).json()));
        fleet.run_until(PATIENCE, |_| asking.is_finished());
        asking.join().unwrap().into()
    });
    let [player] = answers[0].as_array().unwrap().as_slice() else {
        panic!("{}", answers[0]);
    };
    assert_eq!(player["clientIp"], "127.0.0.1", "{player}");
    assert!(player["videoPacketCount"].as_u64() > Some(0), "{player}");
    assert!(player["sendBitrate"].as_u64() > Some(0), "{player}");
    let sent = &answers[1]["videoSendStats"]["bytesSentPerSecond"];
    assert!(sent.as_u64() > Some(0), "{}", answers[1]);
    assert!(answers[2]["bytesReceived"].is_u64(), "{}", answers[2]);
    assert_eq!(answers[3].as_array().unwrap().len(), 1, "{}", answers[3]);
    let beyond = server
        .get(&format!("{base}/s/webrtc-client-stats/1/50"))
        .json();
    assert_eq!(beyond, json!([]));
}

#[test]
fn a_failed_webhook_is_repeated_and_what_follows_waits() {
    let refuse = Reply::Status(500);
    let (addr, posted) = receiver(&[refuse, Reply::Status(302), Reply::Status(200), refuse]);
    let server = Server::start(&["--workers", "1"]);
    put_settings(
        &server,
        &json!({
            "listenerHookURL": format!("http://{addr}/hook"), "webhookRetryCount": 2,
            "webhookRetryDelay": 10, "webRTCClientStartTimeoutMs": 100,
            "webhookContentType": "application/x-www-form-urlencoded",
        }),
    );
    publish_too_late(&server, "s");
    publish_too_late(&server, "s");
    let told: Vec<Posted> = (0..5)
        .map(|_| posted.recv_timeout(PATIENCE).unwrap())
        .collect();
    for post in &told {
        assert_eq!(post.line, "POST /hook HTTP/1.1", "no redirect is followed");
        assert_eq!(post.content_type, "application/x-www-form-urlencoded");
        let fields: Vec<&str> = post.body.split('&').collect();
        assert!(fields.contains(&"action=publishTimeoutError"), "{post:?}");
        assert!(fields.contains(&"id=s"), "{post:?}");
        assert!(post.body.contains("subscriberId%22%3A%22anna"), "{post:?}");
    }
    let first = &told[0].body;
    assert!(told[..3].iter().all(|post| post.body == *first), "{told:?}");
    assert_ne!(told[3].body, *first);
    assert_eq!(told[3].body, told[4].body);
    let look = || {
        let metrics = server.get("/metrics").body;
        let told = metrics.contains("leafcutter_webhooks_total{result=\"delivered\"} 2\n");
        told.then_some(())
    };
    once(look, || server.get("/metrics").body);
}

#[test]
fn a_receiver_that_is_silent_delays_its_own_broadcast_only() {
    let (addr, posted) = receiver(&[Reply::Silence]);
    let server = Server::start(&["--workers", "1"]);
    let wish = json!({"streamId": "slow", "listenerHookURL": format!("http://{addr}/slow")});
    let create = "/live/rest/v2/broadcasts/create";
    assert_eq!(
        server.send("POST", create, "", &wish.to_string()).status,
        200
    );
    let (other, quickly) = receiver(&[]);
    put_settings(
        &server,
        &json!({
            "listenerHookURL": format!("http://{other}/quick"), "webhookRetryCount": 1,
            "webhookRetryDelay": 0, "webRTCClientStartTimeoutMs": 100,
        }),
    );
    publish_too_late(&server, "slow");
    assert_eq!(posted.recv_timeout(PATIENCE).unwrap().json()["id"], "slow");
    publish_too_late(&server, "quick");
    assert_eq!(
        quickly.recv_timeout(PATIENCE).unwrap().json()["id"],
        "quick"
    );
    assert!(
        posted.try_recv().is_err(),
        "the repetition comes when the time is up"
    );
    assert_eq!(posted.recv_timeout(PATIENCE).unwrap().json()["id"], "slow");
}

/// More broadcasts than requests may be under way wait to repeat theirs.
#[test]
fn who_waits_to_repeat_a_webhook_holds_up_nobody_else() {
    let server = Server::start(&["--workers", "1"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let (addr, posted) = receiver(&[]);
    put_settings(
        &server,
        &json!({
            "listenerHookURL": format!("http://{nobody}/"), "webhookRetryCount": 9,
            "webhookRetryDelay": 600_000, "webRTCClientStartTimeoutMs": 100,
        }),
    );
    let wish = json!({"streamId": "well", "listenerHookURL": format!("http://{addr}/")});
    let made = server.send(
        "POST",
        "/live/rest/v2/broadcasts/create",
        "",
        &wish.to_string(),
    );
    assert_eq!(made.status, 200);
    for at in 0..MAX_WEBHOOKS_UNDER_WAY + 1 {
        publish_too_late(&server, &format!("ill{at}"));
    }
    publish_too_late(&server, "well");
    assert_eq!(posted.recv_timeout(PATIENCE).unwrap().json()["id"], "well");
}

#[test]
fn webhooks_decide_about_publish_and_play() {
    let refuse = Reply::Status(403);
    let (publishing, asked_to_publish) = receiver(&[refuse]);
    let (playing, asked_to_play) = receiver(&[refuse, Reply::Status(204), Reply::Silence]);
    let server = Server::start(&["--workers", "1"]);
    put_settings(
        &server,
        &json!({
            "webhookAuthenticateURL": format!("http://{publishing}/publish"),
            "webhookPlayAuthUrl": format!("http://{playing}/play"),
        }),
    );
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket?a=b", &identity, 7).unwrap();
    let mut ask = |publishes: bool, answer: &str| {
        let role = match publishes {
            true => fleet.publisher(&SHAPES),
            false => Role::viewer(false),
        };
        let at = fleet.open("s", role).unwrap();
        fleet.ask(at, &json!({"token": "t0ken", "subscriberId": "anna"}));
        let is_said = |said: &String| said == answer;
        let heard = fleet.run_until(PATIENCE, |clients| clients[at].heard.iter().any(is_said));
        assert!(heard, "{answer}: {:?}", fleet.clients[at].heard);
    };
    ask(true, "unauthorized_access");
    ask(true, "publish_started");
    for _ in 0..2 {
        let question = asked_to_publish.recv_timeout(PATIENCE).unwrap().json();
        let known = json!({
            "appName": "live", "name": "s", "streamId": "s", "mode": "live", "token": "t0ken",
            "subscriberId": "anna", "queryParams": question["queryParams"],
        });
        assert_eq!(question, known);
        assert!(question["queryParams"].as_str().unwrap().contains("a=b"));
    }
    // Only 200 allows, and silence does not.
    for _ in 0..3 {
        ask(false, "unauthorized_access");
    }
    ask(false, "play_started");
    for _ in 0..4 {
        let question = asked_to_play.recv_timeout(PATIENCE).unwrap().json();
        assert_eq!(question["mode"], "play", "{question}");
        assert_eq!(question["ipAddress"], "127.0.0.1", "{question}");
    }
}
