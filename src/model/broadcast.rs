//! A broadcast as it is registered: what outlives its media. Field names, units and fillers are
//! Ant Media's, as REST v2 shows them; what only a running broadcast has is in `control/view.rs`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How far a broadcast is, as stored and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BroadcastStatus {
    /// Registered, never published.
    #[default]
    Created,
    /// Publishing was granted; no media yet.
    Preparing,
    /// Media flows.
    Broadcasting,
    /// Its publisher ended it.
    Finished,
    /// Ended by an error.
    Error,
    /// Could not be started.
    Failed,
    /// The server ended while it was on air.
    TerminatedUnexpectedly,
}

impl BroadcastStatus {
    /// The word in JSON and in the store.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Preparing => "preparing",
            Self::Broadcasting => "broadcasting",
            Self::Finished => "finished",
            Self::Error => "error",
            Self::Failed => "failed",
            Self::TerminatedUnexpectedly => "terminated_unexpectedly",
        }
    }
}

/// A registered broadcast or room. Unset texts are `None`, null in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = BroadcastFields)]
pub struct BroadcastRecord {
    /// The id on the wire; unique within its application.
    pub stream_id: String,
    /// How far it was when last heard of.
    pub status: BroadcastStatus,
    /// `liveStream` for everything that this server serves.
    #[serde(rename = "type")]
    pub kind: String,
    /// `WebRTC` once published.
    pub publish_type: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Always true here.
    pub publish: bool,
    /// When it was registered, milliseconds since 1970.
    pub date: i64,
    /// First second since 1970 of the time it may be used; 0: not planned.
    pub planned_start_date: i64,
    /// Last second since 1970 of that time; 0: not planned.
    pub planned_end_date: i64,
    /// Milliseconds that its last publish was on air.
    pub duration: i64,
    /// Listed for everybody.
    pub public_stream: bool,
    /// A 360 degree video.
    pub is360: bool,
    /// Where its events are posted, before the application's own.
    #[serde(rename = "listenerHookURL")]
    pub listener_hook_url: Option<String>,
    /// Free text.
    pub category: Option<String>,
    /// Address of a stream source.
    pub ip_addr: Option<String>,
    /// User name of a stream source.
    pub username: Option<String>,
    /// Password of a stream source; never logged.
    pub password: Option<String>,
    /// Free text.
    pub quality: Option<String>,
    /// URL of a stream source.
    pub stream_url: Option<String>,
    /// Ant Media's spelling of the origin's address.
    pub origin_adress: Option<String>,
    /// 0 as the application says, 1 on, -1 off; nothing is recorded here.
    pub mp4_enabled: i32,
    /// The same for WebM.
    pub web_m_enabled: i32,
    /// Where a file source begins, milliseconds.
    pub seek_time_in_ms: i64,
    /// Most subtracks; -1: no limit.
    pub subtracks_limit: i64,
    /// Milliseconds after `date` when publishing ends to be allowed; 0: never.
    #[serde(rename = "expireDurationMS")]
    pub expire_duration_ms: i64,
    /// RTMP address, for other servers.
    #[serde(rename = "rtmpURL")]
    pub rtmp_url: Option<String>,
    /// Made by publishing and forgotten at its end; never true in the store.
    pub zombi: bool,
    /// When its last publish went live, milliseconds since 1970.
    pub start_time: i64,
    /// The same; Ant Media keeps both.
    pub absolute_start_time_ms: i64,
    /// When anything changed last, milliseconds since 1970.
    pub update_time: i64,
    /// `User-Agent` of the last publisher.
    pub user_agent: String,
    /// Address of the last publisher.
    pub remote_ip: Option<String>,
    /// Degrees, as text.
    pub latitude: Option<String>,
    /// Degrees, as text.
    pub longitude: Option<String>,
    /// Metres, as text.
    pub altitude: Option<String>,
    /// The room that it belongs to. Empty text is read as none: a change that names it so takes the
    /// broadcast out of its room, where null would leave it in.
    #[serde(deserialize_with = "none_if_empty")]
    pub main_track_stream_id: Option<String>,
    /// The subtracks of a room that were registered with it.
    pub sub_track_stream_ids: Vec<String>,
    /// Most WebRTC viewers; -1: no limit of its own.
    #[serde(rename = "webRTCViewerLimit")]
    pub webrtc_viewer_limit: i64,
    /// Most HLS viewers; kept for other servers.
    pub hls_viewer_limit: i64,
    /// Most DASH viewers; kept for other servers.
    pub dash_viewer_limit: i64,
    /// Folder of recordings; kept for other servers.
    pub sub_folder: Option<String>,
    /// Place in a play list; kept for other servers.
    pub current_play_index: i64,
    /// Free text of the application, verbatim.
    pub meta_data: Option<String>,
    /// Kept for other servers.
    pub playlist_loop_enabled: bool,
    /// Conference role.
    pub role: Option<String>,
    /// Kept for other servers.
    pub auto_start_stop_enabled: bool,
    /// A room: it groups subtracks and has no media of its own.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Seconds a room may be empty; kept for other servers.
    pub max_idle_time: i64,
    /// Renditions; kept for other servers.
    pub encoder_settings_list: Option<Vec<Value>>,
    /// Restreaming targets; kept for other servers.
    pub end_point_list: Option<Vec<Value>>,
    /// Play list; kept for other servers.
    pub play_list_item_list: Option<Vec<Value>>,
}

impl Default for BroadcastRecord {
    fn default() -> Self {
        Self {
            stream_id: String::new(),
            status: BroadcastStatus::Created,
            kind: "liveStream".to_owned(),
            publish_type: None,
            name: None,
            description: None,
            publish: true,
            date: 0,
            planned_start_date: 0,
            planned_end_date: 0,
            duration: 0,
            public_stream: true,
            is360: false,
            listener_hook_url: None,
            category: None,
            ip_addr: None,
            username: None,
            password: None,
            quality: None,
            stream_url: None,
            origin_adress: None,
            mp4_enabled: 0,
            web_m_enabled: 0,
            seek_time_in_ms: 0,
            subtracks_limit: -1,
            expire_duration_ms: 0,
            rtmp_url: None,
            zombi: false,
            start_time: 0,
            absolute_start_time_ms: 0,
            update_time: 0,
            user_agent: "N/A".to_owned(),
            remote_ip: None,
            latitude: None,
            longitude: None,
            altitude: None,
            main_track_stream_id: None,
            sub_track_stream_ids: Vec::new(),
            webrtc_viewer_limit: -1,
            hls_viewer_limit: -1,
            dash_viewer_limit: -1,
            sub_folder: None,
            current_play_index: 0,
            meta_data: None,
            playlist_loop_enabled: false,
            role: None,
            auto_start_stop_enabled: false,
            is_virtual: false,
            max_idle_time: 0,
            encoder_settings_list: None,
            end_point_list: None,
            play_list_item_list: None,
        }
    }
}

/// Some fields of a [`BroadcastRecord`], to be laid over it. Each is known and of the right type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BroadcastPatch(Map<String, Value>);

impl BroadcastPatch {
    /// Takes the fields that a record has; unknown ones and nulls are ignored, as Ant Media does,
    /// and so are `streamId`, `status` and `zombi`, which nobody may set.
    ///
    /// # Errors
    /// What is wrong with the first field that has the wrong type.
    pub fn new(fields: Map<String, Value>) -> Result<Self, String> {
        let blank = match serde_json::to_value(BroadcastRecord::default()) {
            Ok(Value::Object(blank)) => blank,
            Ok(_) | Err(_) => Map::new(),
        };
        let settable = |(name, value): &(String, Value)| {
            !value.is_null() && blank.contains_key(name) && !FIXED_FIELDS.contains(&name.as_str())
        };
        let patch = Self(fields.into_iter().filter(settable).collect());
        for (name, value) in &patch.0 {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<BroadcastRecord>(Value::Object(alone))
                .map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(patch)
    }

    /// `record` with this laid over it.
    pub fn apply(&self, record: &BroadcastRecord) -> BroadcastRecord {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(record) else {
            return record.clone();
        };
        fields.extend(self.0.clone());
        serde_json::from_value(Value::Object(fields)).unwrap_or_else(|_| record.clone())
    }
}

fn none_if_empty<'de, D: Deserializer<'de>>(text: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(text)?.filter(|text| !text.is_empty()))
}

/// Fields that belong to the server.
const FIXED_FIELDS: [&str; 3] = ["streamId", "status", "zombi"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(value: Value) -> Result<BroadcastPatch, String> {
        let Value::Object(fields) = value else {
            panic!("no object");
        };
        BroadcastPatch::new(fields)
    }

    #[test]
    fn a_record_survives_json_and_an_empty_object_is_the_default() {
        let record = BroadcastRecord {
            stream_id: "s".to_owned(),
            status: BroadcastStatus::TerminatedUnexpectedly,
            ..BroadcastRecord::default()
        };
        let value = serde_json::to_value(&record).unwrap();
        assert_eq!(value["status"], record.status.text());
        assert_eq!(value["webRTCViewerLimit"], -1);
        assert_eq!(
            serde_json::from_value::<BroadcastRecord>(value).unwrap(),
            record
        );
        let empty: BroadcastRecord = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, BroadcastRecord::default());
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_that_is_the_servers() {
        let record = BroadcastRecord {
            stream_id: "s".to_owned(),
            name: Some("old".to_owned()),
            description: Some("kept".to_owned()),
            ..BroadcastRecord::default()
        };
        let patched = patch(json!({
            "name": "new", "description": null, "virtual": true, "streamId": "other",
            "status": "finished", "zombi": true, "unknownField": 3, "plannedEndDate": 9,
        }))
        .unwrap()
        .apply(&record);
        let expected = BroadcastRecord {
            name: Some("new".to_owned()),
            is_virtual: true,
            planned_end_date: 9,
            ..record
        };
        assert_eq!(patched, expected);
        let in_room = patch(json!({"mainTrackStreamId": "room"})).unwrap();
        let in_room = in_room.apply(&expected);
        assert_eq!(in_room.main_track_stream_id.as_deref(), Some("room"));
        let out_of_it = patch(json!({"mainTrackStreamId": ""})).unwrap();
        assert_eq!(out_of_it.apply(&in_room), expected);
        let kept: BroadcastRecord = serde_json::from_str(r#"{"mainTrackStreamId": ""}"#).unwrap();
        assert_eq!(kept.main_track_stream_id, None);
        let error = patch(json!({"plannedEndDate": "soon"})).unwrap_err();
        assert!(error.starts_with("plannedEndDate: invalid type"), "{error}");
    }
}
