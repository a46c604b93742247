//! Messages of the server itself over data channels: `{"command":"event","eventType":..}`.
//!
//! `Directory::send_event` and `WorkerMail::DataEvent` take them to a client.

use serde::Serialize;

use super::json;

/// One video slot of a room play, an entry of `VIDEO_TRACK_ASSIGNMENT_LIST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoSlot {
    /// The slot: `videoTrack0` and so on.
    pub video_label: String,
    /// The stream that fills it; empty when it is free.
    pub track_id: String,
    /// A client has pinned that stream to it.
    pub reserved: bool,
}

/// One audio slot of a room play, an entry of `AUDIO_TRACK_ASSIGNMENT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AudioSlot {
    /// The slot: `audioTrack0` and so on.
    pub audio_label: String,
    /// The stream that fills it; empty when it is free.
    pub track_id: String,
    /// Its level as RFC 6464 §3 has it: 0 is the loudest, 127 silence.
    pub audio_level: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a, T> {
    stream_id: &'a str,
    event_type: &'a str,
    command: &'a str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Payload<'a, T> {
    payload: &'a [T],
}

#[derive(Serialize)]
struct Nothing {}

/// `VIDEO_TRACK_ASSIGNMENT_LIST`: which stream fills which video slot of `room`.
pub fn video_track_assignments(room: &str, slots: &[VideoSlot]) -> String {
    let rest = Payload { payload: slots };
    event(room, "VIDEO_TRACK_ASSIGNMENT_LIST", rest)
}

/// `AUDIO_TRACK_ASSIGNMENT`: which stream fills which audio slot of `room`, and how loud it is.
pub fn audio_track_assignments(room: &str, slots: &[AudioSlot]) -> String {
    event(room, "AUDIO_TRACK_ASSIGNMENT", Payload { payload: slots })
}

/// `TRACK_LIST_UPDATED`: a subtrack of `room` has joined or left.
pub fn track_list_updated(room: &str) -> String {
    event(room, "TRACK_LIST_UPDATED", Nothing {})
}

/// `UPDATE_AUDIO_LEVEL`: how loud `stream` is, 0 (loudest) to 127.
pub fn audio_level(stream: &str, audio_level: u8) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Level {
        audio_level: u8,
    }
    event(stream, "UPDATE_AUDIO_LEVEL", Level { audio_level })
}

/// `UPDATE_PARTICIPANT_ROLE`: `stream` has another conference role.
pub fn participant_role(stream: &str, role: &str) -> String {
    #[derive(Serialize)]
    struct Role<'a> {
        role: &'a str,
    }
    event(stream, "UPDATE_PARTICIPANT_ROLE", Role { role })
}

/// `PLAYER_ADDED` or `PLAYER_REMOVED`: who plays `stream`, or no longer does. The ids are those
/// of its `play`, null when it gave none.
pub fn player(stream: &str, added: bool, id: Option<&str>, name: Option<&str>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Player<'a> {
        subscriber_id: Option<&'a str>,
        subscriber_name: Option<&'a str>,
    }
    let kind = if added {
        "PLAYER_ADDED"
    } else {
        "PLAYER_REMOVED"
    };
    let rest = Player {
        subscriber_id: id,
        subscriber_name: name,
    };
    event(stream, kind, rest)
}

fn event(stream_id: &str, event_type: &str, rest: impl Serialize) -> String {
    json(&Event {
        stream_id,
        event_type,
        command: "event",
        rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_keys_that_clients_read() {
        let video = VideoSlot {
            video_label: "videoTrack0".to_owned(),
            track_id: "alice".to_owned(),
            reserved: false,
        };
        let audio = AudioSlot {
            audio_label: "audioTrack0".to_owned(),
            track_id: String::new(),
            audio_level: 127,
        };
        for (text, rest) in [
            (
                video_track_assignments("r", &[video]),
                concat!(
                    r#""VIDEO_TRACK_ASSIGNMENT_LIST","command":"event","payload":"#,
                    r#"[{"videoLabel":"videoTrack0","trackId":"alice","reserved":false}]}"#
                ),
            ),
            (
                audio_track_assignments("r", &[audio]),
                concat!(
                    r#""AUDIO_TRACK_ASSIGNMENT","command":"event","payload":"#,
                    r#"[{"audioLabel":"audioTrack0","trackId":"","audioLevel":127}]}"#
                ),
            ),
            (
                track_list_updated("r"),
                r#""TRACK_LIST_UPDATED","command":"event"}"#,
            ),
            (
                audio_level("r", 0),
                r#""UPDATE_AUDIO_LEVEL","command":"event","audioLevel":0}"#,
            ),
            (
                participant_role("r", "speaker"),
                r#""UPDATE_PARTICIPANT_ROLE","command":"event","role":"speaker"}"#,
            ),
            (
                player("r", true, Some("s1"), None),
                r#""PLAYER_ADDED","command":"event","subscriberId":"s1","subscriberName":null}"#,
            ),
            (
                player("r", false, None, Some("Bo")),
                r#""PLAYER_REMOVED","command":"event","subscriberId":null,"subscriberName":"Bo"}"#,
            ),
        ] {
            assert_eq!(text, format!(r#"{{"streamId":"r","eventType":{rest}"#));
        }
    }
}
