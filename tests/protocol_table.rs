//! The protocol's checklist as a test: every command, notification and error has a row that
//! drives it (`tests/data/protocol_table.txt`), and a transcript that mentions it.

#[allow(dead_code, reason = "its harness is used, its own test runs by itself")]
#[path = "conversations.rs"]
mod conversations;
#[allow(dead_code, reason = "its harness is used, its own test runs by itself")]
#[path = "transcripts.rs"]
mod transcripts;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use leafcutter::model::definition::Definition;

/// Commands of the checklist.
const COMMANDS: [&str; 17] = [
    "publish",
    "takeConfiguration",
    "takeCandidate",
    "stop",
    "play",
    "toggleVideo",
    "toggleAudio",
    "enableTrack",
    "join",
    "leave",
    "joinRoom",
    "getRoomInfo",
    "leaveFromRoom",
    "ping",
    "getStreamInfo",
    "forceStreamQuality",
    "getTrackList",
];

/// Notifications of the checklist, and those that every SDK expects besides.
const NOTIFICATIONS: [&str; 14] = [
    "joinedTheRoom",
    "roomInformation",
    "leavedFromRoom",
    "bitrateMeasurement",
    "server_will_stop",
    "start",
    "publish_started",
    "publish_finished",
    "play_started",
    "play_finished",
    "joined",
    "leaved",
    "stop",
    "iceServerConfig",
];

/// Errors of the checklist.
const ERRORS: [&str; 19] = [
    "noStreamNameSpecified",
    "not_allowed_unregistered_streams",
    "no_room_specified",
    "unauthorized_access",
    "no_encoder_settings",
    "no_peer_associated_before",
    "notSetLocalDescription",
    "highResourceUsage",
    "streamIdInUse",
    "publishTimeoutError",
    "invalidStreamName",
    "data_store_not_available",
    "license_suspended_please_renew_license",
    "already_playing",
    "already_publishing",
    "no_codec_enabled_in_the_server",
    "stream_not_active_or_expired",
    "viewerLimitReached",
    "no_stream_exist",
];

/// Every command that a client can send.
const ALL_COMMANDS: [&str; 33] = [
    "ping",
    "getIceServerConfig",
    "publish",
    "play",
    "takeConfiguration",
    "takeCandidate",
    "stop",
    "toggleVideo",
    "toggleAudio",
    "enableTrack",
    "forceStreamQuality",
    "updateStreamMetaData",
    "join",
    "leave",
    "peerMessageCommand",
    "joinRoom",
    "leaveFromRoom",
    "getRoomInfo",
    "getStreamInfo",
    "getTrackList",
    "getBroadcastObject",
    "getSubtracks",
    "getSubtracksCount",
    "getSubscriberCount",
    "getSubscribers",
    "getDebugInfo",
    "getVideoTrackAssignmentsCommand",
    "assignVideoTrackCommand",
    "updateVideoTrackAssignmentsCommand",
    "setMaxVideoTrackCountCommand",
    "registerPushNotificationToken",
    "sendPushNotification",
    // Its older spelling.
    "getVideoTrackAssignments",
];

/// One row: what it is about, who runs it, and what is said.
struct Row {
    group: String,
    name: String,
    runner: String,
    script: String,
}

#[test]
fn every_row_of_the_checklist_holds() {
    let rows = rows();
    let failures: Vec<String> = rows.iter().filter_map(|row| run(row).err()).collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn no_row_of_the_checklist_is_missing() {
    let named: Vec<_> = rows()
        .into_iter()
        .map(|row| (row.group, row.name))
        .collect();
    let there: BTreeSet<_> = named.iter().cloned().collect();
    assert_eq!(there.len(), named.len(), "a row is there twice");
    let groups = [
        ("command", &COMMANDS[..]),
        ("notification", &NOTIFICATIONS[..]),
        ("error", &ERRORS[..]),
    ];
    let wanted: BTreeSet<_> = groups
        .into_iter()
        .flat_map(|(group, names)| {
            names
                .iter()
                .map(move |n| (group.to_owned(), (*n).to_owned()))
        })
        .collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    let unknown: Vec<_> = there.difference(&wanted).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{} of {} rows; missing: {missing:?}; unknown: {unknown:?}",
        there.len(),
        wanted.len()
    );
}

#[test]
fn every_command_and_every_definition_has_a_transcript() {
    let mut lines = String::new();
    for folder in ["signalling", "conversations"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let spoken = text.lines().filter(|line| !line.starts_with('#'));
            spoken.for_each(|line| lines.extend([line, "\n"]));
        }
    }
    let commands = ALL_COMMANDS.iter().filter(|name| {
        let member = format!("\"command\":\"{name}\"");
        !lines
            .lines()
            .any(|l| l.contains("> {") && l.contains(&member))
    });
    let definitions = Definition::ALL.iter().map(|definition| definition.text());
    let definitions = definitions.filter(|text| {
        let member = format!("\"definition\":\"{text}\"");
        !lines
            .lines()
            .any(|l| l.contains("< {") && l.contains(&member))
    });
    let missing: Vec<_> = commands.copied().chain(definitions).collect();
    assert!(missing.is_empty(), "without a transcript: {missing:?}");
}

#[test]
fn the_compatibility_page_names_every_command_and_every_definition_once() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let page = fs::read_to_string(page).unwrap();
    let definitions = Definition::ALL.iter().map(|definition| definition.text());
    let commands: BTreeSet<_> = ALL_COMMANDS.into_iter().collect();
    for name in commands.into_iter().chain(definitions) {
        let cell = format!("| `{name}` | ");
        assert_eq!(page.matches(&cell).count(), 1, "{name}");
    }
}

/// A row holds when its conversation does and says what the row is about.
fn run(row: &Row) -> Result<(), String> {
    let shown = format!("{} {}", row.group, row.name);
    let (arrow, member) = match row.group.as_str() {
        "command" => ("> {", format!("\"command\":\"{}\"", row.name)),
        "error" => (
            "< {\"command\":\"error\"",
            format!("\"definition\":\"{}\"", row.name),
        ),
        _ => ("< {", format!(":\"{}\"", row.name)),
    };
    let mut lines = row.script.lines();
    if !lines.any(|line| line.contains(arrow) && line.contains(&member)) {
        return Err(format!("{shown}: its row does not say it"));
    }
    match row.runner.as_str() {
        "server" => conversations::hold(&shown, &row.script),
        "session" => transcripts::hold(&shown, &row.script),
        other => Err(format!("{shown}: nobody is called {other}")),
    }
}

fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/protocol_table.txt");
    let text = fs::read_to_string(file).unwrap();
    let parts = text.split("\n== ").skip(1);
    let row = |part: &str| {
        let (head, script) = part.split_once('\n').expect("a row has lines");
        let words: Vec<&str> = head.split_whitespace().collect();
        let [group, name, runner] = words[..] else {
            panic!("a row is named by three words: {head}");
        };
        Row {
            group: group.to_owned(),
            name: name.to_owned(),
            runner: runner.to_owned(),
            script: script.to_owned(),
        }
    };
    parts.map(row).collect()
}
