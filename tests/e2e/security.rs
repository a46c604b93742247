//! Who is let in: real servers, real sockets, real credentials; each check with one that passes
//! and ones that do not.

use std::time::{SystemTime, UNIX_EPOCH};

use leafcutter::auth::{code, hash, jwt};
use leafcutter::bench::client::{Phase, Role};
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use leafcutter::model::access::AccessKind;
use serde_json::{Value, json};

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Server, once};

/// The clients of one application.
struct Clients<'a> {
    server: &'a Server,
    app: &'static str,
    fleet: Fleet,
}

impl<'a> Clients<'a> {
    fn of(server: &'a Server, app: &'static str) -> Self {
        let identity = Identity::generate().unwrap();
        let path = format!("/{app}/websocket");
        let fleet = Fleet::new(server.addr, &path, &identity, 7).unwrap();
        Self { server, app, fleet }
    }

    /// A new client that publishes: its number.
    fn publisher(&mut self, stream: &str) -> usize {
        let role = self.fleet.publisher(&SHAPES);
        self.fleet.open(stream, role).unwrap()
    }

    fn viewer(&mut self, stream: &str) -> usize {
        self.fleet.open(stream, Role::viewer(false)).unwrap()
    }

    /// Lets a client ask, with more members, and says how it ends: `connected` or the error.
    fn ask(&mut self, client: usize, extra: &Value) -> String {
        self.fleet.ask(client, extra);
        let is_over = |phase: &Phase| match phase {
            Phase::Connected | Phase::Failed(_) => true,
            Phase::Open | Phase::Asked(_) => false,
        };
        let ended = self
            .fleet
            .run_until(PATIENCE, |clients| is_over(&clients[client].phase));
        assert!(ended, "{:?}", self.fleet.clients[client]);
        match &self.fleet.clients[client].phase {
            Phase::Failed(definition) => definition.clone(),
            Phase::Connected | Phase::Open | Phase::Asked(_) => "connected".to_owned(),
        }
    }

    fn publish(&mut self, stream: &str, extra: &Value) -> String {
        let client = self.publisher(stream);
        self.ask(client, extra)
    }

    fn play(&mut self, stream: &str, extra: &Value) -> String {
        let client = self.viewer(stream);
        self.ask(client, extra)
    }

    fn wait_for(&mut self, client: usize, word: &str) {
        let heard = self.fleet.run_until(PATIENCE, |clients| {
            clients[client].heard.iter().any(|heard| heard == word)
        });
        assert!(heard, "{word}: {:?}", self.fleet.clients[client].heard);
    }

    fn rest(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/{}/rest/v2/broadcasts{path}", self.app);
        self.server.rest(method, &path, body)
    }

    fn token(&self, stream: &str, kind: &str) -> Value {
        let expire = unix_s() + 3600;
        let path = format!("/{stream}/token?expireDate={expire}&type={kind}");
        self.rest("GET", &path, &Value::Null)["tokenId"].clone()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the real server has the real time"
)]
fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

fn start(settings: &str) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\ncpu_limit = 100\n\
                  [media]\nport = 0\n";
    let text = format!("{server}{settings}");
    std::fs::write(directory.path().join("leafcutter.toml"), text).unwrap();
    Server::start_logged(directory)
}

/// None of `secrets` may be in the log, which must hold something.
fn assert_silent(server: &Server, secrets: &[&str]) {
    let log = server.log();
    assert!(!log.is_empty());
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

const REFUSED: &str = "unauthorized_access";
const OPEN: &str = "connected";

#[test]
fn one_time_tokens() {
    let server =
        start("[app.live]\npublishTokenControlEnabled = true\nplayTokenControlEnabled = true\n");
    let mut clients = Clients::of(&server, "live");
    let (publish, play) = (clients.token("s", "publish"), clients.token("s", "play"));
    assert_eq!(clients.publish("s", &json!({})), REFUSED);
    assert_eq!(clients.publish("s", &json!({"token": "guessed"})), REFUSED);
    assert_eq!(clients.publish("s", &json!({"token": play})), REFUSED);
    assert_eq!(clients.publish("t", &json!({"token": publish})), REFUSED);
    assert_eq!(clients.publish("s", &json!({"token": publish})), OPEN);
    assert_eq!(clients.play("s", &json!({"token": publish})), REFUSED);
    let viewer = clients.viewer("s");
    assert_eq!(clients.ask(viewer, &json!({"token": play})), OPEN);
    assert_eq!(clients.play("s", &json!({"token": play})), REFUSED, "used");
    // The SDKs come back with the same token on the same socket.
    clients.fleet.clients[viewer].say(&json!({"command": "stop", "streamId": "s"}));
    clients.wait_for(viewer, "play_finished");
    clients.fleet.clients[viewer].heard.clear();
    clients.fleet.clients[viewer].say(&json!({
        "command": "play", "streamId": "s", "token": play,
    }));
    clients.fleet.clients[viewer].say(&json!({"command": "ping"}));
    clients.wait_for(viewer, "pong");
    assert_eq!(
        clients.play("s", &json!({"token": play})),
        REFUSED,
        "elsewhere"
    );
    assert!(
        !clients.fleet.clients[viewer]
            .heard
            .contains(&REFUSED.to_owned())
    );
    assert_silent(
        &server,
        &[publish.as_str().unwrap(), play.as_str().unwrap()],
    );
}

#[test]
fn stream_jwts_and_hashes() {
    let secret = "a secret of thirty-two or more bytes";
    let server = start(&format!(
        "[app.jwt]\npublishJwtControlEnabled = true\nplayJwtControlEnabled = true\n\
         jwtStreamSecretKey = \"{secret}\"\n\
         [app.hash]\nhashControlPublishEnabled = true\nhashControlPlayEnabled = true\n\
         tokenHashSecret = \"hashsecret4711\"\n"
    ));
    let later = i64::try_from(unix_s()).unwrap() + 3600;
    let sign = |stream, kind, until| json!({"token": jwt::make(stream, kind, until, secret)});
    let (publish, play) = (AccessKind::Publish, AccessKind::Play);
    let mut clients = Clients::of(&server, "jwt");
    assert_eq!(clients.publish("s", &json!({})), REFUSED);
    assert_eq!(clients.publish("s", &sign("s", play, later)), REFUSED);
    assert_eq!(clients.publish("s", &sign("t", publish, later)), REFUSED);
    assert_eq!(
        clients.publish("s", &sign("s", publish, 1_700_000_000)),
        REFUSED
    );
    let forged = jwt::make("s", publish, later, &secret.to_uppercase());
    assert_eq!(clients.publish("s", &json!({"token": forged})), REFUSED);
    assert_eq!(clients.publish("s", &sign("s", publish, later)), OPEN);
    assert_eq!(clients.play("s", &sign("t", play, later)), REFUSED);
    for _ in 0..2 {
        assert_eq!(clients.play("s", &sign("s", play, later)), OPEN);
    }

    let digest = |stream, kind| json!({"token": hash::hash(stream, kind, "hashsecret4711")});
    let mut clients = Clients::of(&server, "hash");
    assert_eq!(clients.publish("s", &digest("s", play)), REFUSED);
    assert_eq!(clients.publish("s", &digest("s", publish)), OPEN);
    assert_eq!(clients.play("s", &digest("t", play)), REFUSED);
    assert_eq!(clients.play("s", &digest("s", play)), OPEN);
    assert_silent(&server, &[secret, "hashsecret4711"]);
}

#[test]
fn time_based_codes() {
    let server = start(
        "[app.live]\nenableTimeTokenForPublish = true\nenableTimeTokenForPlay = true\n\
         timeTokenSecretForPublish = \"pubsecret4711\"\n\
         timeTokenSecretForPlay = \"playsecret4711\"\n",
    );
    let mut clients = Clients::of(&server, "live");
    let with = |id: &str, code: String| json!({"subscriberId": id, "subscriberCode": code});
    let derived = |secret, id, kind, back: u64| {
        let key = code::derived_key(secret, id, "s", kind).unwrap();
        with(id, code::code_at(&key, 60, unix_s() - back))
    };
    let publish = |back| derived("pubsecret4711", "anna", AccessKind::Publish, back);
    assert_eq!(
        clients.publish("s", &json!({"subscriberId": "anna"})),
        REFUSED
    );
    assert_eq!(clients.publish("s", &publish(600)), REFUSED);
    assert_eq!(clients.publish("s", &publish(0)), OPEN);
    let play = derived("playsecret4711", "bert", AccessKind::Play, 0);
    assert_eq!(clients.play("s", &play), OPEN);

    let carol = json!({
        "subscriberId": "carol", "b32Secret": "JBSWY3DPEHPK3PXP", "type": "play",
    });
    let outcome = clients.rest("POST", "/s/subscribers", &carol);
    assert_eq!(outcome["success"], true, "{outcome}");
    let key = code::registered_key("JBSWY3DPEHPK3PXP").unwrap();
    let code_of = |back: u64| with("carol", code::code_at(&key, 60, unix_s() - back));
    assert_eq!(clients.play("s", &code_of(600)), REFUSED);
    let viewer = clients.viewer("s");
    assert_eq!(clients.ask(viewer, &code_of(0)), OPEN);
    assert_eq!(clients.play("s", &code_of(0)), REFUSED, "one connection");
    clients.fleet.clients[viewer].say(&json!({"command": "stop", "streamId": "s"}));
    clients.wait_for(viewer, "play_finished");
    assert_eq!(clients.play("s", &code_of(0)), OPEN);
    let secrets = ["pubsecret4711", "playsecret4711", "JBSWY3DPEHPK3PXP"];
    assert_silent(&server, &secrets);
}

#[test]
fn dates_limits_and_registration() {
    let server = start(
        "[app.dates]\n[app.limit]\nwebRTCViewerLimit = 1\n\
         [app.known]\nacceptOnlyStreamsInDataStore = true\n\
         [app.off]\napplicationSuspended = true\n\
         [app.near]\nallowedPublisherCIDR = \"127.0.0.0/8\"\n\
         [app.far]\nallowedPublisherCIDR = \"192.0.2.0/24\"\n",
    );
    let mut clients = Clients::of(&server, "dates");
    let now = unix_s();
    for (id, start, end, expected) in [
        ("past", now - 200, now - 100, "stream_not_active_or_expired"),
        (
            "future",
            now + 1000,
            now + 2000,
            "stream_not_active_or_expired",
        ),
        ("present", now - 100, now + 1000, OPEN),
    ] {
        let record = json!({"streamId": id, "plannedStartDate": start, "plannedEndDate": end});
        clients.rest("POST", "/create", &record);
        assert_eq!(clients.publish(id, &json!({})), expected, "{id}");
    }

    let mut clients = Clients::of(&server, "limit");
    assert_eq!(clients.publish("s", &json!({})), OPEN);
    let viewer = clients.viewer("s");
    assert_eq!(clients.ask(viewer, &json!({})), OPEN);
    assert_eq!(clients.play("s", &json!({})), "viewerLimitReached");
    clients.fleet.clients[viewer].say(&json!({"command": "stop", "streamId": "s"}));
    clients.wait_for(viewer, "play_finished");
    assert_eq!(clients.play("s", &json!({})), OPEN);

    let mut clients = Clients::of(&server, "known");
    assert_eq!(
        clients.publish("s", &json!({})),
        "not_allowed_unregistered_streams"
    );
    clients.rest("POST", "/create", &json!({"streamId": "s"}));
    assert_eq!(clients.publish("s", &json!({})), OPEN);

    let suspended = "license_suspended_please_renew_license";
    assert_eq!(
        Clients::of(&server, "off").publish("s", &json!({})),
        suspended
    );
    assert_eq!(Clients::of(&server, "near").publish("s", &json!({})), OPEN);
    assert_eq!(
        Clients::of(&server, "far").publish("s", &json!({})),
        REFUSED
    );
}

#[test]
fn a_block_ends_a_running_play_and_keeps_the_subscriber_out_until_it_is_lifted() {
    let server = start("[app.live]\n");
    let mut clients = Clients::of(&server, "live");
    let anna = json!({"subscriberId": "anna"});
    assert_eq!(clients.publish("s", &json!({})), OPEN);
    let viewer = clients.viewer("s");
    assert_eq!(clients.ask(viewer, &anna), OPEN);
    let stranger = clients.viewer("s");
    assert_eq!(
        clients.ask(stranger, &json!({"subscriberId": "bert"})),
        OPEN
    );
    clients.rest("PUT", "/s/subscribers/anna/block/3600/play", &Value::Null);
    clients.wait_for(viewer, "play_finished");
    assert_eq!(clients.play("s", &anna), "user_blocked");
    assert!(
        !clients.fleet.clients[stranger]
            .heard
            .contains(&"play_finished".to_owned())
    );
    clients.rest("PUT", "/s/subscribers/anna/block/0/play", &Value::Null);
    assert_eq!(clients.play("s", &anna), OPEN);

    // The coming and going is written a moment later.
    let path = "/s/connection-events/0/50?subscriberId=anna";
    let look = || {
        let events = clients.rest("GET", path, &Value::Null);
        (events.as_array().unwrap().len() == 3).then_some(events)
    };
    let events = once(look, || "no events".to_owned());
    let kinds: Vec<_> = (0..3).map(|i| events[i]["eventType"].as_str()).collect();
    let (came, went) = (Some("connected"), Some("disconnected"));
    assert_eq!(kinds, [came, went, came]);
}

#[test]
fn a_server_without_memory_refuses_newcomers() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "[server]\nlisten = \"127.0.0.1:0\"\nmin_free_ram = 1000000000\n\
                    [media]\nport = 0\n";
    std::fs::write(directory.path().join("leafcutter.toml"), settings).unwrap();
    let server = Server::start_in(directory, &[]);
    let mut clients = Clients::of(&server, "live");
    // The host is looked at just after the start.
    let mut tries = 0;
    let look = || {
        tries += 1;
        let answer = clients.publish(&format!("s{tries}"), &json!({}));
        (answer == "highResourceUsage").then_some(())
    };
    once(look, || "nobody was refused".to_owned());
    assert_eq!(clients.play("s0", &json!({})), "highResourceUsage");
}

#[test]
fn a_damaged_store_refuses_newcomers_until_it_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("leafcutter-data");
    std::fs::create_dir(&data).unwrap();
    let file = data.join("leafcutter.db");
    std::fs::write(&file, "no database ".repeat(1000)).unwrap();
    let server = Server::start_logged(directory);
    let mut clients = Clients::of(&server, "live");
    assert_eq!(clients.publish("s", &json!({})), "data_store_not_available");
    assert_eq!(clients.play("s", &json!({})), "data_store_not_available");
    assert_eq!(server.get("/healthz").status, 200, "it stays up");
    let log = server.log();
    assert_eq!(
        log.matches("the store is not available").count(),
        1,
        "{log}"
    );
    assert!(log.contains("leafcutter.db"), "{log}");
    std::fs::remove_file(&file).unwrap();
    let look = || {
        let answer = clients.publish("s", &json!({}));
        (answer != "data_store_not_available").then_some(answer)
    };
    assert_eq!(once(look, || server.log()), OPEN);
}
