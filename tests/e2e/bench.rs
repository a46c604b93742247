//! The load tester against a real server: a few viewers, every packet checked, all its outputs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Server, once};

#[test]
fn a_small_load_is_delivered_whole_and_reported() {
    let server = Server::start(&["--workers", "1"]);
    let directory = tempfile::tempdir().unwrap();
    // Long enough that the moments between both counts weigh little.
    let flags = ["--broadcasts", "2", "--audio", "--floor", "--duration", "6"];
    let measured = fanout(&server, directory.path(), &flags);
    assert_eq!(measured["damaged"], 0, "{measured}");
    assert!(measured["verified"].as_u64() > Some(100), "{measured}");
    assert_eq!(measured["loss"], 0.0, "{measured}");
    assert_eq!(measured["loss_joining"], 0.0, "{measured}");
    assert!(measured["left_out"].as_f64().unwrap() < 0.2, "{measured}");
    assert_eq!(measured["runs_known"], true);
    let runs = measured["mix"]["runs"].as_array().unwrap();
    let sent: u64 = runs
        .iter()
        .zip(1..)
        .map(|(n, len)| n.as_u64().unwrap() * len)
        .sum();
    let delivered = measured["mix"]["delivered"].as_u64().unwrap();
    // The server's own count holds what was under way at both borders of the time.
    assert!(sent * 10 >= delivered * 9, "{sent} of {delivered}");
    assert!(measured["floor"]["with_feedback_ns"].as_f64() > Some(0.0));
    let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[test]
fn viewers_report_as_often_as_they_are_told() {
    let server = Server::start(&["--workers", "1"]);
    let directory = tempfile::tempdir().unwrap();
    let per_s = ["transport-cc", "remb", "none"].map(|feedback| {
        let flags = ["--feedback", feedback, "--joins-per-second", "50"];
        let measured = fanout(&server, directory.path(), &flags);
        assert_eq!(measured["damaged"], 0, "{measured}");
        measured["feedback_per_s"].as_f64().unwrap()
    });
    let [transport_cc, remb, none] = per_s;
    assert!(
        transport_cc > 2.0 * remb && transport_cc > 2.0 * none,
        "{per_s:?}"
    );
    assert!(remb > 0.0 && none > 0.0, "{per_s:?}");
}

#[test]
fn a_viewer_that_was_thrown_out_plays_no_longer_when_the_time_ends() {
    let server = Server::start(&["--workers", "1"]);
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let bench = Command::new(env!("CARGO_BIN_EXE_leafcutter"))
        .args(["bench", "fanout", "--viewers", "2", "--duration", "4"])
        .args(["--url", &format!("ws://{}/live/websocket", server.addr)])
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut bench = bench.unwrap();
    let peers = || server.rest("GET", "/live/rest/v2/peers/0/50", &Value::Null);
    let plays = |peer: &&Value| peer["role"] == "play" && peer["tracks"][0]["packets"] != 0;
    let thrown_out = once(
        || {
            let all = peers();
            let playing: Vec<_> = all.as_array()?.iter().filter(plays).collect();
            (playing.len() == 2).then(|| playing[0]["peerId"].as_str().unwrap().to_owned())
        },
        || peers().to_string(),
    );
    let path = format!("/live/rest/v2/peers/{thrown_out}");
    assert_eq!(server.rest("DELETE", &path, &Value::Null)["success"], true);
    assert!(bench.wait().unwrap().success());
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["loads"][0]["playing"], 1, "{report}");
}

#[test]
fn a_soak_whose_viewers_are_refused_fails_and_says_why() {
    let settings = "[app.default]\nwebRTCViewerLimit = 0\n";
    let server = Server::start_with(settings, &["--workers", "1"]);
    let output = Command::new(env!("CARGO_BIN_EXE_leafcutter"))
        .args(["bench", "soak", "--joins-per-second", "4", "--seconds", "2"])
        .args(["--warm-up", "1", "--rest", "1", "--growth-max", "1000"])
        .args(["--url", &format!("ws://{}/live/websocket", server.addr)])
        .args(["--pid", &server.pid().to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        said.contains("joins failed, first: viewerLimitReached"),
        "{output:?}"
    );
}

/// The short form of the soak; hours of it are run by hand (`docs/security.md`).
#[test]
fn those_who_came_and_went_left_nothing_behind() {
    let server = Server::start(&["--workers", "1"]);
    let directory = tempfile::tempdir().unwrap();
    let chart = directory.path().join("soak.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_leafcutter"))
        .args(["bench", "soak", "--joins-per-second", "8", "--seconds", "3"])
        .args(["--warm-up", "1", "--rest", "7", "--growth-max", "100"])
        .args(["--url", &format!("ws://{}/live/websocket", server.addr)])
        .args(["--pid", &server.pid().to_string()])
        .arg("--svg")
        .arg(&chart)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("joins") && said.contains("24"), "{said}");
    assert!(fs::read_to_string(chart).unwrap().contains("<polyline"));
}

/// Four viewers for two seconds, or as `flags` say; what the JSON report says of them.
fn fanout(server: &Server, directory: &Path, flags: &[&str]) -> Value {
    let json = directory.join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_leafcutter"))
        .args(["bench", "fanout", "--viewers", "4"])
        .args(["--verify-every", "1", "--pps", "120", "--size", "900"])
        .args(["--url", &format!("ws://{}/live/websocket", server.addr)])
        .args(["--pid", &server.pid().to_string()])
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(directory.join("report.html"))
        .args(flags)
        .args((!flags.contains(&"--duration")).then_some("--duration=2"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let measured = report["loads"][0].clone();
    assert_eq!(measured["playing"], 4, "{measured}");
    measured
}
