//! A broadcast as REST shows it: Ant Media's field names, units and fillers.

use serde::Serialize;
use utoipa::ToSchema;

use super::broadcast::Broadcast;

/// The Broadcast object of REST v2. Fields that mean nothing in an SFU hold Ant Media's fillers;
/// unset texts are null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Broadcast)]
pub struct BroadcastView {
    stream_id: String,
    status: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    publish_type: &'static str,
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
    user_agent: &'static str,
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
    encoder_settings_list: Option<Vec<String>>,
    end_point_list: Option<Vec<String>>,
    play_list_item_list: Option<Vec<String>>,
}

impl BroadcastView {
    /// `broadcast` as it is at `now_unix_us`, microseconds since 1970.
    pub fn of(broadcast: &Broadcast, now_unix_us: u64) -> Self {
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
            main_track_stream_id: broadcast.main_track.as_deref().map(str::to_owned),
            ..Self::empty()
        }
    }

    /// The same with the ids of its subtracks.
    pub fn with_subtracks(mut self, streams: Vec<String>) -> Self {
        self.sub_track_stream_ids = streams;
        self
    }

    /// The fillers that are not null, 0 or false.
    fn empty() -> Self {
        Self {
            kind: "liveStream",
            publish_type: "WebRTC",
            publish: true,
            public_stream: true,
            user_agent: "N/A",
            subtracks_limit: -1,
            webrtc_viewer_limit: -1,
            hls_viewer_limit: -1,
            dash_viewer_limit: -1,
            ..Self::default()
        }
    }
}

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
