//! Workers that share a UDP port.

use std::collections::HashSet;
use std::fs;

use leafcutter::bench::client::Role;
use leafcutter::bench::fleet::Fleet;
use leafcutter::bench::link::Identity;
use serde_json::{Value, json};

use crate::clients::{PATIENCE, SHAPES};
use crate::server::{Server, run};

const FLAGS: [&str; 3] = ["--workers", "2", "--media-single-port"];

/// The ports of the UDP sockets that a process has, one entry per socket.
fn udp_ports(pid: u32) -> Vec<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = files.flatten().filter_map(|f| fs::read_link(f.path()).ok());
    let inode = |link: std::path::PathBuf| {
        let name = link.to_str()?.strip_prefix("socket:[")?;
        Some(name.strip_suffix(']')?.to_owned())
    };
    let inodes: HashSet<String> = links.filter_map(inode).collect();
    let tables =
        ["udp", "udp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let mut ports = Vec::new();
    for line in tables.iter().flatten().flat_map(|t| t.lines().skip(1)) {
        // sl local_address rem_address st queues timer retransmits uid timeout inode ...
        let words: Vec<&str> = line.split_whitespace().collect();
        if inodes.contains(words[9]) {
            let (_, port) = words[1].rsplit_once(':').unwrap();
            ports.push(u16::from_str_radix(port, 16).unwrap());
        }
    }
    ports
}

/// The value of a counter of `/metrics`.
fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").body;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
}

/// Four broadcasts with four viewers each, over sockets of their own: among twenty the kernel
/// brings some to the wrong worker.
#[test]
fn all_play_over_one_port() {
    let server = Server::start(&FLAGS);
    let identity = Identity::generate().unwrap();
    let mut fleet = Fleet::new(server.addr, "/live/websocket", &identity, 1).unwrap();
    let streams = ["a", "b", "c", "d"];
    for stream in streams {
        let role = fleet.publisher(&SHAPES);
        let publisher = fleet.open(stream, role).unwrap();
        fleet.ask(publisher, &json!({}));
    }
    let live = fleet.run_until(PATIENCE, |clients| {
        clients.iter().all(|c| c.heard == ["publish_started"])
    });
    assert!(live, "{:?}", fleet.census());
    for stream in streams.into_iter().cycle().take(16) {
        let viewer = fleet.open(stream, Role::viewer(true)).unwrap();
        fleet.ask(viewer, &json!({}));
    }
    let served = fleet.run_until(PATIENCE, |clients| {
        clients.iter().all(|client| match &client.role {
            Role::Viewer(viewer) => viewer.tally.verified > 300 && viewer.tracks() == (2, 2),
            Role::Publisher { .. } => true,
        })
    });
    assert!(served, "{:?}", fleet.census());
    for client in &fleet.clients {
        if let Role::Viewer(viewer) = &client.role {
            assert_eq!(viewer.tally.damaged, 0);
            let (expected, came) = viewer.continuity();
            assert_eq!(expected, came);
        }
    }
    assert!(metric(&server, "leafcutter_datagrams_passed_total") > 0.0);
    let lost = "leafcutter_packets_dropped_total{reason=\"unknown_ufrag\"}";
    assert_eq!(metric(&server, lost), 0.0);

    let ports = udp_ports(server.pid());
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert_eq!(ports[0], ports[1]);
    let peers = server.rest("GET", "/live/rest/v2/peers/0/50", &Value::Null);
    let peers = peers.as_array().unwrap();
    assert_eq!(peers.len(), 20);
    let port = format!(":{}", ports[0]);
    for peer in peers {
        let local = peer["localAddress"].as_str().unwrap();
        assert!(local.ends_with(&port), "{local}");
    }
    let worker = |peer: &Value| {
        let id = peer["clientId"].as_str().unwrap();
        id.split_once('-').unwrap().0.to_owned()
    };
    let workers: HashSet<String> = peers.iter().map(worker).collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
}

/// Its sockets would be given half of what is sent to the first one.
#[test]
fn a_second_server_does_not_share_the_port() {
    let first = Server::start(&FLAGS);
    let port = udp_ports(first.pid())[0].to_string();
    let directory = tempfile::tempdir().unwrap();
    let again = ["--listen", "127.0.0.1:0", "--media-port", &port];
    let output = run(directory.path(), &[&FLAGS[..], &again].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("media: cannot bind UDP"), "{said}");
}

#[test]
fn the_settings_say_that_there_is_one_port() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "[server]\nworkers = 3\n[media]\nport = 65535\nsingle_port = true\n";
    fs::write(directory.path().join("leafcutter.toml"), settings).unwrap();
    let output = run(directory.path(), &["check-config"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("media: 3 workers on UDP port 65535"),
        "{said}"
    );
    let refused = ["check-config", "--media-single-port=false"];
    assert_eq!(run(directory.path(), &refused).status.code(), Some(2));
}
