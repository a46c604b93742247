//! A broadcast as REST shows it: Ant Media's field names, units and fillers.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::broadcast::{Broadcast, Phase, fitting};
use crate::base::limits::MAX_SUBTRACK_IDS_LEN;
use crate::model::broadcast::{BroadcastRecord, BroadcastStatus};
use crate::model::track::StreamId;

/// The Broadcast object of REST v2. Fields that mean nothing in an SFU hold Ant Media's fillers;
/// unset texts are null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Broadcast)]
pub struct BroadcastView {
    stream_id: String,
    status: &'static str,
    #[serde(rename = "type")]
    kind: String,
    publish_type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    publish: bool,
    /// Milliseconds since 1970.
    date: u64,
    /// Seconds since 1970; 0 when not planned.
    planned_start_date: u64,
    planned_end_date: u64,
    /// Milliseconds on air.
    duration: u64,
    public_stream: bool,
    is360: bool,
    #[serde(rename = "listenerHookURL")]
    listener_hook_url: Option<String>,
    category: Option<String>,
    ip_addr: Option<String>,
    username: Option<String>,
    password: Option<String>,
    quality: Option<String>,
    speed: f64,
    stream_url: Option<String>,
    origin_adress: Option<String>,
    mp4_enabled: i32,
    web_m_enabled: i32,
    seek_time_in_ms: u64,
    subtracks_limit: i64,
    #[serde(rename = "expireDurationMS")]
    expire_duration_ms: u64,
    #[serde(rename = "rtmpURL")]
    rtmp_url: Option<String>,
    zombi: bool,
    pending_packet_size: u64,
    hls_viewer_count: u64,
    dash_viewer_count: u64,
    #[serde(rename = "webRTCViewerCount")]
    webrtc_viewer_count: u64,
    rtmp_viewer_count: u64,
    /// Milliseconds since 1970; 0 before it is live.
    start_time: u64,
    received_bytes: u64,
    /// Bits per second, audio and video.
    bitrate: u64,
    width: u16,
    height: u16,
    encoder_queue_size: u64,
    drop_packet_count_in_ingestion: u64,
    drop_frame_count_in_encoding: u64,
    packet_lost_ratio: f64,
    packets_lost: u64,
    jitter_ms: u64,
    rtt_ms: u64,
    user_agent: String,
    remote_ip: Option<String>,
    latitude: Option<String>,
    longitude: Option<String>,
    altitude: Option<String>,
    main_track_stream_id: Option<String>,
    sub_track_stream_ids: Vec<String>,
    absolute_start_time_ms: u64,
    #[serde(rename = "webRTCViewerLimit")]
    webrtc_viewer_limit: i64,
    hls_viewer_limit: i64,
    dash_viewer_limit: i64,
    sub_folder: Option<String>,
    current_play_index: u64,
    meta_data: Option<String>,
    playlist_loop_enabled: bool,
    /// Milliseconds since 1970.
    update_time: u64,
    role: Option<String>,
    auto_start_stop_enabled: bool,
    #[serde(rename = "virtual")]
    is_virtual: bool,
    max_idle_time: u64,
    encoder_settings_list: Option<Vec<Value>>,
    end_point_list: Option<Vec<Value>>,
    play_list_item_list: Option<Vec<Value>>,
}

impl BroadcastView {
    /// `broadcast` as it is at `now_unix_us`, microseconds since 1970.
    pub fn of(broadcast: &Broadcast, now_unix_us: u64) -> Self {
        Self::listing(broadcast, broadcast.subtracks.iter(), now_unix_us)
    }

    /// The same for a client, who is shown [`MAX_SUBTRACK_IDS_LEN`] bytes of subtracks at most.
    pub(super) fn for_client(broadcast: &Broadcast, now_unix_us: u64) -> Self {
        let subtracks = broadcast.subtracks.iter();
        let subtracks = fitting(subtracks, QUOTED_LEN, MAX_SUBTRACK_IDS_LEN);
        Self::listing(broadcast, subtracks, now_unix_us)
    }

    fn listing<'a>(
        broadcast: &Broadcast,
        subtracks: impl Iterator<Item = &'a StreamId>,
        now_unix_us: u64,
    ) -> Self {
        let started = broadcast.started_unix_us;
        let on_air_us = if started == 0 {
            0
        } else {
            now_unix_us.saturating_sub(started)
        };
        let measure = &broadcast.measure;
        Self {
            stream_id: broadcast.stream.to_string(),
            status: broadcast.status(),
            name: broadcast.name.clone(),
            date: broadcast.created_unix_us / 1000,
            duration: on_air_us / 1000,
            zombi: true,
            webrtc_viewer_count: broadcast.viewers() as u64,
            start_time: started / 1000,
            absolute_start_time_ms: started / 1000,
            received_bytes: measure.received_len,
            bitrate: measure.video_bps + measure.audio_bps,
            width: measure.width,
            height: measure.height,
            packets_lost: measure.packets_lost,
            rtt_ms: u64::from(measure.rtt_us) / 1000,
            meta_data: broadcast.meta_data.clone(),
            update_time: broadcast.updated_unix_us / 1000,
            role: broadcast.role.clone(),
            main_track_stream_id: broadcast.main_track.as_ref().map(|id| id.to_string()),
            sub_track_stream_ids: subtracks.map(|id| id.to_string()).collect(),
            is_virtual: broadcast.phase == Phase::Virtual,
            ..Self::empty()
        }
    }

    /// `record` with what is known of it while somebody publishes it. The password of a stream
    /// source is not shown.
    pub fn registered(
        record: &BroadcastRecord,
        live: Option<&Broadcast>,
        now_unix_us: u64,
    ) -> Self {
        let mut view = Self::of_record(record);
        let Some(live) = live.map(|live| Self::of(live, now_unix_us)) else {
            return view;
        };
        view.status = live.status;
        view.name = live.name.or(view.name);
        view.meta_data = live.meta_data.or(view.meta_data);
        view.role = live.role.or(view.role);
        view.publish_type = live.publish_type;
        view.webrtc_viewer_count = live.webrtc_viewer_count;
        view.start_time = live.start_time;
        view.absolute_start_time_ms = live.absolute_start_time_ms;
        view.duration = live.duration;
        view.received_bytes = live.received_bytes;
        view.bitrate = live.bitrate;
        (view.width, view.height) = (live.width, live.height);
        view.packets_lost = live.packets_lost;
        view.rtt_ms = live.rtt_ms;
        view.update_time = live.update_time.max(view.update_time);
        view.main_track_stream_id = live.main_track_stream_id.or(view.main_track_stream_id);
        view.is_virtual |= live.is_virtual;
        for id in live.sub_track_stream_ids {
            if !view.sub_track_stream_ids.contains(&id) {
                view.sub_track_stream_ids.push(id);
            }
        }
        view
    }

    /// Whether media flows.
    pub fn is_on_air(&self) -> bool {
        self.status == BroadcastStatus::Broadcasting.text()
    }

    /// Its conference role.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    fn of_record(record: &BroadcastRecord) -> Self {
        let record = record.clone();
        Self {
            stream_id: record.stream_id,
            status: record.status.text(),
            kind: record.kind,
            publish_type: record.publish_type,
            name: record.name,
            description: record.description,
            publish: record.publish,
            date: whole(record.date),
            planned_start_date: whole(record.planned_start_date),
            planned_end_date: whole(record.planned_end_date),
            duration: whole(record.duration),
            public_stream: record.public_stream,
            is360: record.is360,
            listener_hook_url: record.listener_hook_url,
            category: record.category,
            ip_addr: record.ip_addr,
            username: record.username,
            quality: record.quality,
            stream_url: record.stream_url,
            origin_adress: record.origin_adress,
            mp4_enabled: record.mp4_enabled,
            web_m_enabled: record.web_m_enabled,
            seek_time_in_ms: whole(record.seek_time_in_ms),
            subtracks_limit: record.subtracks_limit,
            expire_duration_ms: whole(record.expire_duration_ms),
            rtmp_url: record.rtmp_url,
            start_time: whole(record.start_time),
            absolute_start_time_ms: whole(record.absolute_start_time_ms),
            update_time: whole(record.update_time),
            user_agent: record.user_agent,
            remote_ip: record.remote_ip,
            latitude: record.latitude,
            longitude: record.longitude,
            altitude: record.altitude,
            main_track_stream_id: record.main_track_stream_id,
            sub_track_stream_ids: record.sub_track_stream_ids,
            webrtc_viewer_limit: record.webrtc_viewer_limit,
            hls_viewer_limit: record.hls_viewer_limit,
            dash_viewer_limit: record.dash_viewer_limit,
            sub_folder: record.sub_folder,
            current_play_index: whole(record.current_play_index),
            meta_data: record.meta_data,
            playlist_loop_enabled: record.playlist_loop_enabled,
            role: record.role,
            auto_start_stop_enabled: record.auto_start_stop_enabled,
            is_virtual: record.is_virtual,
            max_idle_time: whole(record.max_idle_time),
            encoder_settings_list: record.encoder_settings_list,
            end_point_list: record.end_point_list,
            play_list_item_list: record.play_list_item_list,
            ..Self::empty()
        }
    }

    /// The fillers that are not null, 0 or false.
    fn empty() -> Self {
        Self {
            kind: "liveStream".to_owned(),
            publish_type: Some("WebRTC".to_owned()),
            publish: true,
            public_stream: true,
            user_agent: "N/A".to_owned(),
            subtracks_limit: -1,
            webrtc_viewer_limit: -1,
            hls_viewer_limit: -1,
            dash_viewer_limit: -1,
            ..Self::default()
        }
    }
}

/// Counts and times; negative ones that were registered are shown as 0.
fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Quotes and comma of an id in a list that is JSON within JSON.
const QUOTED_LEN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_the_fields_as_ant_media_does() {
        let json = serde_json::to_value(BroadcastView::empty()).unwrap();
        let named = [
            "streamId",
            "type",
            "publishType",
            "is360",
            "listenerHookURL",
            "originAdress",
            "mp4Enabled",
            "webMEnabled",
            "expireDurationMS",
            "rtmpURL",
            "zombi",
            "webRTCViewerCount",
            "absoluteStartTimeMs",
            "webRTCViewerLimit",
            "subTrackStreamIds",
            "virtual",
            "metaData",
            "rttMs",
        ];
        for name in named {
            assert!(json.get(name).is_some(), "{name} is missing in {json}");
        }
        assert!(json["name"].is_null());
    }
}
