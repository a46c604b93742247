//! Messages of calls between two clients and of rooms.

use serde::Serialize;
use serde_json::Value;

use super::{Notification, Plain, json};

/// One active stream of a room, an entry of `streamList`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomStream {
    /// Its id; `streams` repeats it.
    pub stream_id: String,
    /// Its display name; null when it has none.
    pub stream_name: Option<String>,
    /// As its publisher gave it; null when it gave none.
    pub meta_data: Option<String>,
}

/// `joined` of a call.
pub fn joined(stream: &str) -> String {
    json(&Notification::about("joined", stream))
}

/// `leaved` of a call, in the protocol's own spelling.
pub fn leaved(stream: &str) -> String {
    json(&Notification::about("leaved", stream))
}

/// `connectWithNewId`: a newcomer of a multi-peer call joins again under this id.
pub fn connect_with_new_id(stream: &str) -> String {
    json(&Plain {
        command: "connectWithNewId",
        stream_id: Some(stream),
    })
}

/// `startNewP2PConnection`: the owner of a multi-peer call makes an offer to this id.
pub fn start_new_p2p_connection(stream: &str) -> String {
    json(&Plain {
        command: "startNewP2PConnection",
        stream_id: Some(stream),
    })
}

/// `peerMessageCommand`, relayed as it came. `data` is JSON text; what is none becomes null.
pub fn peer_message(stream: &str, definition: Option<&str>, data: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stream_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        definition: Option<&'a str>,
        data: Value,
    }
    json(&Message {
        command: "peerMessageCommand",
        stream_id: stream,
        definition,
        data: serde_json::from_str(data).unwrap_or(Value::Null),
    })
}

/// `joinedTheRoom`. `stream` is the id to publish under, `others` the active streams without it,
/// `max_track_count` the video slots of a play (-1: one per track).
pub fn joined_the_room(
    stream: &str,
    room: &str,
    others: &[RoomStream],
    max_track_count: i64,
) -> String {
    json(&RoomMessage {
        command: "notification",
        definition: Some("joinedTheRoom"),
        stream_id: Some(stream),
        max_track_count: Some(max_track_count),
        ..RoomMessage::of(room, others)
    })
}

/// `roomInformation`. `stream` is the caller's own id when it gave one, `others` the active
/// streams without it.
pub fn room_information(stream: Option<&str>, room: &str, others: &[RoomStream]) -> String {
    json(&RoomMessage {
        command: "roomInformation",
        stream_id: stream,
        ..RoomMessage::of(room, others)
    })
}

/// `leavedFromRoom`, in the protocol's own spelling.
pub fn leaved_from_room(room: &str, stream: Option<&str>) -> String {
    json(&Notification {
        definition: "leavedFromRoom",
        stream_id: stream,
        room: Some(room),
        attr_room_name: Some(room),
        ..Notification::default()
    })
}

/// `subtrackAdded`: `track` joined the main track that is played.
pub fn subtrack_added(main_track: &str, track: &str) -> String {
    subtrack("subtrackAdded", main_track, track)
}

/// `subtrackRemoved`: `track` left the main track that is played.
pub fn subtrack_removed(main_track: &str, track: &str) -> String {
    subtrack("subtrackRemoved", main_track, track)
}

fn subtrack(definition: &str, main_track: &str, track: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        definition: &'a str,
        track_id: &'a str,
        main_track: &'a str,
    }
    json(&Message {
        command: "notification",
        definition,
        track_id: track,
        main_track,
    })
}

/// Both arrays are always there: pages walk through them without asking (INTEROP(pages)).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomMessage<'a> {
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_id: Option<&'a str>,
    streams: Vec<&'a str>,
    stream_list: &'a [RoomStream],
    room: &'a str,
    #[serde(rename = "ATTR_ROOM_NAME")]
    attr_room_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_track_count: Option<i64>,
}

impl<'a> RoomMessage<'a> {
    fn of(room: &'a str, others: &'a [RoomStream]) -> Self {
        Self {
            command: "",
            definition: None,
            stream_id: None,
            streams: others.iter().map(|s| s.stream_id.as_str()).collect(),
            stream_list: others,
            room,
            attr_room_name: room,
            max_track_count: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn check(text: String, want: Value) {
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
    }

    #[test]
    fn messages_of_calls() {
        check(
            joined("s"),
            value!({"command": "notification", "definition": "joined", "streamId": "s"}),
        );
        check(
            leaved("s"),
            value!({"command": "notification", "definition": "leaved", "streamId": "s"}),
        );
        check(
            connect_with_new_id("n"),
            value!({"command": "connectWithNewId", "streamId": "n"}),
        );
        check(
            start_new_p2p_connection("n"),
            value!({"command": "startNewP2PConnection", "streamId": "n"}),
        );
        check(
            peer_message("s", Some("d"), r#"{"x":[1]}"#),
            value!({"command": "peerMessageCommand", "streamId": "s", "definition": "d",
                "data": {"x": [1]}}),
        );
    }

    #[test]
    fn messages_of_rooms_name_the_room_twice_and_hold_both_lists() {
        let others = [RoomStream {
            stream_id: "a".to_owned(),
            stream_name: Some("n".to_owned()),
            meta_data: None,
        }];
        let list = value!([{"streamId": "a", "streamName": "n", "metaData": null}]);
        check(
            joined_the_room("me", "r", &others, -1),
            value!({"command": "notification", "definition": "joinedTheRoom", "streamId": "me",
                "streams": ["a"], "streamList": list, "room": "r", "ATTR_ROOM_NAME": "r",
                "maxTrackCount": -1}),
        );
        check(
            room_information(None, "r", &[]),
            value!({"command": "roomInformation", "streams": [], "streamList": [], "room": "r",
                "ATTR_ROOM_NAME": "r"}),
        );
        check(
            leaved_from_room("r", None),
            value!({"command": "notification", "definition": "leavedFromRoom", "room": "r",
                "ATTR_ROOM_NAME": "r"}),
        );
    }

    #[test]
    fn subtracks_come_and_go_by_exactly_two_ids() {
        for (text, definition) in [
            (subtrack_added("r", "a"), "subtrackAdded"),
            (subtrack_removed("r", "a"), "subtrackRemoved"),
        ] {
            check(
                text,
                value!({"command": "notification", "definition": definition, "trackId": "a",
                    "mainTrack": "r"}),
            );
        }
    }
}
