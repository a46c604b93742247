//! Answers to questions about broadcasts, and measurements that are sent unasked.

use serde::Serialize;
use serde_json::{Map, Value};

use super::event::VideoSlot;
use super::json;

/// One rendition of a broadcast, an entry of `streamInfo`. The Android SDK needs all five.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendition {
    /// Pixels.
    pub stream_width: u32,
    /// Pixels.
    pub stream_height: u32,
    /// Bits per second.
    #[serde(rename = "videoBitrate")]
    pub video_bps: u64,
    /// Bits per second.
    #[serde(rename = "audioBitrate")]
    pub audio_bps: u64,
    /// `H264`, `VP8` and so on; `NoCodec` without video.
    pub video_codec: String,
}

/// `streamInformation`.
pub fn stream_information(stream: &str, renditions: &[Rendition]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stream_id: &'a str,
        stream_info: &'a [Rendition],
    }
    json(&Message {
        command: "streamInformation",
        stream_id: stream,
        stream_info: renditions,
    })
}

/// `trackList`: the subtracks of a main track; empty for a plain stream.
pub fn track_list(stream: &str, tracks: &[String]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        stream_id: &'a str,
        track_list: &'a [String],
    }
    json(&Message {
        command: "trackList",
        stream_id: stream,
        track_list: tracks,
    })
}

/// `bitrateMeasurement` to a player, all in bits per second: what its path carries (estimated),
/// what its video and audio take.
pub fn bitrate_measurement(
    stream: &str,
    target_bps: u64,
    video_bps: u64,
    audio_bps: u64,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        definition: &'a str,
        stream_id: &'a str,
        target_bitrate: u64,
        video_bitrate: u64,
        audio_bitrate: u64,
    }
    json(&Message {
        command: "notification",
        definition: "bitrateMeasurement",
        stream_id: stream,
        target_bitrate: target_bps,
        video_bitrate: video_bps,
        audio_bitrate: audio_bps,
    })
}

/// `resolutionChangeInfo`: a player gets video of this height in pixels.
pub fn resolution_change_info(stream: &str, height: u32) -> String {
    notification(
        "resolutionChangeInfo",
        stream,
        "streamHeight",
        height.into(),
    )
}

/// `broadcastObject`; `broadcast` is JSON text and stays a text on the wire.
pub fn broadcast_object(stream: &str, broadcast: &str) -> String {
    notification("broadcastObject", stream, "broadcast", broadcast.into())
}

/// `subtrackList`; each entry is the JSON text of a broadcast and stays a text on the wire.
pub fn subtrack_list(stream: &str, broadcasts: &[String]) -> String {
    notification("subtrackList", stream, "subtrackList", broadcasts.into())
}

/// `subtrackCount`.
pub fn subtrack_count(stream: &str, count: u64) -> String {
    notification("subtrackCount", stream, "count", count.into())
}

/// `subscriberCount`.
pub fn subscriber_count(stream: &str, count: u64) -> String {
    notification("subscriberCount", stream, "count", count.into())
}

/// `subscriberList`; each entry is the JSON text of a subscriber and stays a text on the wire.
pub fn subscriber_list(stream: &str, subscribers: &[String]) -> String {
    notification(
        "subscriberList",
        stream,
        "subscriberList",
        subscribers.into(),
    )
}

/// `debugInfo`: text for a person.
pub fn debug_info(stream: &str, text: &str) -> String {
    notification("debugInfo", stream, "debugInfo", text.into())
}

/// `videoTrackAssignmentList`; the list goes under both keys that clients look for.
pub fn video_track_assignment_list(stream: &str, slots: &[VideoSlot]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        command: &'a str,
        definition: &'a str,
        stream_id: &'a str,
        payload: &'a [VideoSlot],
        video_track_assignment_list: &'a [VideoSlot],
    }
    json(&Message {
        command: "notification",
        definition: "videoTrackAssignmentList",
        stream_id: stream,
        payload: slots,
        video_track_assignment_list: slots,
    })
}

/// Answer to a push command: done or not, which definition, and a text for a person.
pub fn push_result(success: bool, definition: &str, information: &str) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        command: &'a str,
        success: bool,
        definition: &'a str,
        information: &'a str,
    }
    json(&Message {
        command: "notification",
        success,
        definition,
        information,
    })
}

fn notification(definition: &str, stream: &str, key: &str, value: Value) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        command: &'a str,
        definition: &'a str,
        #[serde(rename = "streamId")]
        stream_id: &'a str,
        #[serde(flatten)]
        payload: Map<String, Value>,
    }
    json(&Message {
        command: "notification",
        definition,
        stream_id: stream,
        payload: Map::from_iter([(key.to_owned(), value)]),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn check(text: String, want: Value) {
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
    }

    #[test]
    fn stream_information_has_five_numbers_and_names_per_rendition() {
        let rendition = Rendition {
            stream_width: 1280,
            stream_height: 720,
            video_bps: 1_500_000,
            audio_bps: 96_000,
            video_codec: "H264".to_owned(),
        };
        check(
            stream_information("s", &[rendition]),
            value!({"command": "streamInformation", "streamId": "s", "streamInfo": [{
                "streamWidth": 1280, "streamHeight": 720, "videoBitrate": 1_500_000,
                "audioBitrate": 96_000, "videoCodec": "H264"}]}),
        );
        check(
            track_list("s", &["t1".to_owned(), "t2".to_owned()]),
            value!({"command": "trackList", "streamId": "s", "trackList": ["t1", "t2"]}),
        );
    }

    #[test]
    fn lists_counts_and_objects_are_notifications() {
        let one = ["{}".to_owned()];
        for (text, definition, key, payload) in [
            (
                resolution_change_info("s", 360),
                "resolutionChangeInfo",
                "streamHeight",
                value!(360),
            ),
            (
                broadcast_object("s", "{}"),
                "broadcastObject",
                "broadcast",
                value!("{}"),
            ),
            (
                subtrack_list("s", &one),
                "subtrackList",
                "subtrackList",
                value!(["{}"]),
            ),
            (subtrack_count("s", 3), "subtrackCount", "count", value!(3)),
            (
                subscriber_count("s", 4),
                "subscriberCount",
                "count",
                value!(4),
            ),
            (
                subscriber_list("s", &one),
                "subscriberList",
                "subscriberList",
                value!(["{}"]),
            ),
            (debug_info("s", "x"), "debugInfo", "debugInfo", value!("x")),
        ] {
            let mut want =
                value!({"command": "notification", "definition": definition, "streamId": "s"});
            want[key] = payload;
            check(text, want);
        }
    }

    #[test]
    fn measurements_and_slots() {
        check(
            bitrate_measurement("s", 3, 2, 1),
            value!({"command": "notification", "definition": "bitrateMeasurement",
                "streamId": "s", "targetBitrate": 3, "videoBitrate": 2, "audioBitrate": 1}),
        );
        let slot = VideoSlot {
            video_label: "videoTrack0".to_owned(),
            track_id: String::new(),
            reserved: false,
        };
        let list = value!([{"videoLabel": "videoTrack0", "trackId": "", "reserved": false}]);
        check(
            video_track_assignment_list("r", &[slot]),
            value!({"command": "notification", "definition": "videoTrackAssignmentList",
                "streamId": "r", "payload": list, "videoTrackAssignmentList": list}),
        );
        check(
            push_result(false, "missingParameter", "token"),
            value!({"command": "notification", "success": false,
                "definition": "missingParameter", "information": "token"}),
        );
    }
}
