//! Every message that the server sends, as JSON text with the exact keys the SDKs read.
//!
//! `streamId` is always a text and `label` always a number: the iOS SDK ends its process
//! otherwise (INTEROP(ios)). This file holds publishing, playing and errors; `room.rs` calls and
//! rooms; `info.rs` answers to questions; `event.rs` what goes over data channels.

pub mod event;
pub mod info;
pub mod room;

use serde::{Serialize, Serializer};

use super::command::{Candidate, SdpKind};
use crate::base::ids::Mid;
use crate::model::definition::Definition;

/// Track id by m-line, `idMapping` on the wire: covers every media section of an offer.
pub type IdMapping = [(Mid, String)];

/// `start`: the client may make its offer.
pub fn start(stream: &str) -> String {
    json(&Plain {
        command: "start",
        stream_id: Some(stream),
    })
}

/// `stop`: the other client of a call is gone. Never for publish or play: the Android SDK closes
/// its whole connection on it (INTEROP(android)).
pub fn stop(stream: &str) -> String {
    json(&Plain {
        command: "stop",
        stream_id: Some(stream),
    })
}

/// `pong`.
pub fn pong() -> String {
    json(&Plain {
        command: "pong",
        stream_id: None,
    })
}

/// `takeConfiguration` with the server's description. Offers need an `id_mapping`, answers none.
pub fn take_configuration(
    stream: &str,
    kind: SdpKind,
    sdp: &str,
    id_mapping: Option<&IdMapping>,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stream_id: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        sdp: &'a str,
        #[serde(
            skip_serializing_if = "Option::is_none",
            serialize_with = "write_id_mapping"
        )]
        id_mapping: Option<&'a IdMapping>,
    }
    json(&Message {
        command: "takeConfiguration",
        stream_id: stream,
        kind: kind.text(),
        sdp,
        id_mapping,
    })
}

/// `takeCandidate` with one of the server's candidates, after the description it belongs to.
pub fn take_candidate(stream: &str, candidate: &Candidate) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stream_id: &'a str,
        label: u32,
        id: &'a str,
        candidate: &'a str,
    }
    json(&Message {
        command: "takeCandidate",
        stream_id: stream,
        label: candidate.label,
        id: &candidate.mid,
        candidate: &candidate.candidate,
    })
}

/// `publish_started`: the publisher is connected. `room`: the room it publishes into.
pub fn publish_started(stream: &str, subscriber_id: Option<&str>, room: Option<&str>) -> String {
    json(&Notification {
        subscriber_id,
        room,
        attr_room_name: room,
        ..Notification::about("publish_started", stream)
    })
}

/// `publish_finished`.
pub fn publish_finished(stream: &str, subscriber_id: Option<&str>) -> String {
    json(&Notification {
        subscriber_id,
        ..Notification::about("publish_finished", stream)
    })
}

/// `play_started`: the player is connected.
pub fn play_started(stream: &str) -> String {
    json(&Notification::about("play_started", stream))
}

/// `play_finished`.
pub fn play_finished(stream: &str) -> String {
    json(&Notification::about("play_finished", stream))
}

/// `session_restored`: a publish took over the viewers of its lost predecessor.
pub fn session_restored(stream: &str) -> String {
    json(&Notification::about("session_restored", stream))
}

/// `streaming_starts_soon`: a source is being started on demand.
pub fn streaming_starts_soon(stream: &str) -> String {
    json(&Notification::about("streaming_starts_soon", stream))
}

/// `streaming_started`: a source that was started on demand is there.
pub fn streaming_started(stream: &str) -> String {
    json(&Notification::about("streaming_started", stream))
}

/// `server_will_stop`: clients close and come back.
pub fn server_will_stop() -> String {
    json(&Notification {
        definition: "server_will_stop",
        ..Notification::default()
    })
}

/// `iceServerConfig`. `uri` is one `stun:` or `turn:` URI; empty tells clients to keep their own.
pub fn ice_server_config(uri: &str, username: &str, credential: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stun_server_uri: &'a str,
        turn_server_username: &'a str,
        turn_server_credential: &'a str,
    }
    json(&Message {
        command: "iceServerConfig",
        stun_server_uri: uri,
        turn_server_username: username,
        turn_server_credential: credential,
    })
}

/// `error`; `stream` wherever an id is known. `no_stream_exist` carries `error_code` "404".
pub fn error(definition: Definition, stream: Option<&str>) -> String {
    json(&ErrorMessage {
        stream_id: stream,
        ..ErrorMessage::of(definition)
    })
}

/// `error` about a room: `no_active_streams_in_room` and its like carry the `room`.
pub fn room_error(definition: Definition, room: &str) -> String {
    json(&ErrorMessage {
        room: Some(room),
        ..ErrorMessage::of(definition)
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plain<'a> {
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    command: &'a str,
    definition: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(rename = "ATTR_ROOM_NAME", skip_serializing_if = "Option::is_none")]
    attr_room_name: Option<&'a str>,
}

impl Default for Notification<'_> {
    fn default() -> Self {
        Self {
            command: "notification",
            definition: "",
            stream_id: None,
            subscriber_id: None,
            room: None,
            attr_room_name: None,
        }
    }
}

impl<'a> Notification<'a> {
    fn about(definition: &'a str, stream: &'a str) -> Self {
        Self {
            definition,
            stream_id: Some(stream),
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct ErrorMessage<'a> {
    command: &'a str,
    definition: &'a str,
    #[serde(rename = "streamId", skip_serializing_if = "Option::is_none")]
    stream_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

impl ErrorMessage<'_> {
    fn of(definition: Definition) -> Self {
        let missing = matches!(definition, Definition::NoStreamExist);
        Self {
            command: "error",
            definition: definition.text(),
            stream_id: None,
            room: None,
            error_code: missing.then_some("404"),
        }
    }
}

fn write_id_mapping<S: Serializer>(
    mapping: &Option<&IdMapping>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let entries = mapping.unwrap_or_default().iter();
    serializer.collect_map(entries.map(|(mid, track)| (mid.as_str(), track)))
}

/// How many bytes `text` is within a message, quotes included: some characters are written as six.
pub fn written_len(text: &str) -> usize {
    json(&text).len()
}

/// The JSON text of a message. Nothing in this folder can fail to serialise: every map key is a
/// text and no number is infinite.
fn json<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: String, want: &str) {
        let got: serde_json::Value = serde_json::from_str(&text).unwrap();
        let want: serde_json::Value = serde_json::from_str(want).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn a_publish_reads_as_the_sdks_expect() {
        check(start("s"), r#"{"command":"start","streamId":"s"}"#);
        check(pong(), r#"{"command":"pong"}"#);
        check(
            take_configuration("s", SdpKind::Answer, "v=0\r\n", None),
            r#"{"command":"takeConfiguration","streamId":"s","type":"answer","sdp":"v=0\r\n"}"#,
        );
        check(
            publish_started("s", Some("u"), Some("r")),
            r#"{"command":"notification","definition":"publish_started","streamId":"s",
                "subscriberId":"u","room":"r","ATTR_ROOM_NAME":"r"}"#,
        );
        check(
            publish_started("s", None, None),
            r#"{"command":"notification","definition":"publish_started","streamId":"s"}"#,
        );
        check(
            publish_finished("s", None),
            r#"{"command":"notification","definition":"publish_finished","streamId":"s"}"#,
        );
        check(
            session_restored("s"),
            r#"{"command":"notification","definition":"session_restored","streamId":"s"}"#,
        );
    }

    #[test]
    fn offers_carry_their_id_mapping_even_when_empty() {
        let mapping = [
            (Mid::new("0").unwrap(), "ARDAMSas".to_owned()),
            (Mid::new("1").unwrap(), "ARDAMSvs".to_owned()),
        ];
        check(
            take_configuration("s", SdpKind::Offer, "v=0", Some(&mapping)),
            r#"{"command":"takeConfiguration","streamId":"s","type":"offer","sdp":"v=0",
                "idMapping":{"0":"ARDAMSas","1":"ARDAMSvs"}}"#,
        );
        check(
            take_configuration("s", SdpKind::Offer, "v=0", Some(&[])),
            r#"{"command":"takeConfiguration","streamId":"s","type":"offer","sdp":"v=0",
                "idMapping":{}}"#,
        );
    }

    #[test]
    fn labels_are_numbers() {
        let candidate = Candidate {
            label: 0,
            mid: "0".to_owned(),
            candidate: "candidate:1 1 udp 1 127.0.0.1 5000 typ host".to_owned(),
        };
        check(
            take_candidate("s", &candidate),
            r#"{"command":"takeCandidate","streamId":"s","label":0,"id":"0",
                "candidate":"candidate:1 1 udp 1 127.0.0.1 5000 typ host"}"#,
        );
    }

    #[test]
    fn notifications_of_playing_and_of_the_server() {
        for (text, definition) in [
            (play_started("s"), "play_started"),
            (play_finished("s"), "play_finished"),
            (streaming_started("s"), "streaming_started"),
            (streaming_starts_soon("s"), "streaming_starts_soon"),
        ] {
            let want = format!(
                r#"{{"command":"notification","definition":"{definition}","streamId":"s"}}"#
            );
            check(text, &want);
        }
        check(
            server_will_stop(),
            r#"{"command":"notification","definition":"server_will_stop"}"#,
        );
        check(
            ice_server_config("turn:h:1", "u", "c"),
            r#"{"command":"iceServerConfig","stunServerUri":"turn:h:1",
                "turnServerUsername":"u","turnServerCredential":"c"}"#,
        );
    }

    #[test]
    fn every_error_is_spelt_by_its_definition_and_only_a_missing_stream_has_a_code() {
        for definition in Definition::ALL {
            let got: serde_json::Value =
                serde_json::from_str(&error(definition, Some("s"))).unwrap();
            assert_eq!(got["command"], "error");
            assert_eq!(got["definition"], definition.text());
            assert_eq!(got["streamId"], "s");
            let coded = definition == Definition::NoStreamExist;
            assert_eq!(got.get("error_code").is_some(), coded, "{definition:?}");
        }
        check(
            error(Definition::NoStreamExist, Some("s")),
            r#"{"command":"error","definition":"no_stream_exist","streamId":"s",
                "error_code":"404"}"#,
        );
        check(
            error(Definition::NoStreamNameSpecified, None),
            r#"{"command":"error","definition":"noStreamNameSpecified"}"#,
        );
        check(
            room_error(Definition::NoActiveStreamsInRoom, "r"),
            r#"{"command":"error","definition":"no_active_streams_in_room","room":"r"}"#,
        );
    }
}
