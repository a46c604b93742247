//! An application's settings under Ant Media's own names, with their defaults.
//!
//! Read from `[app.NAME]` of `leafcutter.toml`; read and written by REST. Units are those of
//! the names (`...Ms` milliseconds); -1 means no limit where the name ends in `Limit`.

use serde::{Deserialize, Serialize};

/// Settings of one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AppSettings {
    /// Milliseconds from `publish` to connected media; then `publishTimeoutError`. Also how long
    /// viewers of a lost publisher wait. `settings.webrtc.client.start.timeoutMs` is accepted too.
    #[serde(
        rename = "webRTCClientStartTimeoutMs",
        alias = "settings.webrtc.client.start.timeoutMs"
    )]
    pub webrtc_client_start_timeout_ms: u64,
    /// Answer `already_playing` to a second play of an id on one connection.
    #[serde(rename = "playWebRTCStreamOnceForEachSession")]
    pub play_webrtc_stream_once_for_each_session: bool,
    /// False: `webrtc_not_enabled` on play.
    #[serde(rename = "webRTCEnabled")]
    pub webrtc_enabled: bool,
    /// H.264 may be published.
    #[serde(rename = "h264Enabled")]
    pub h264_enabled: bool,
    /// VP8 may be published.
    #[serde(rename = "vp8Enabled")]
    pub vp8_enabled: bool,
    /// VP9 may be published.
    #[serde(rename = "vp9Enabled")]
    pub vp9_enabled: bool,
    /// H.265 may be published.
    #[serde(rename = "h265Enabled")]
    pub h265_enabled: bool,
    /// AV1 may be published.
    #[serde(rename = "av1Enabled")]
    pub av1_enabled: bool,
    /// Offers hold a data channel section.
    pub data_channel_enabled: bool,
    /// The ICE server handed to clients, `stun:` or `turn:` URI; empty: clients keep their own.
    #[serde(rename = "stunServerURI")]
    pub stun_server_uri: String,
    /// User name for a `turn:` URI.
    pub turn_server_username: String,
    /// Credential for a `turn:` URI.
    pub turn_server_credential: String,
    /// Most viewers per broadcast; -1 no limit.
    #[serde(rename = "webRTCViewerLimit")]
    pub webrtc_viewer_limit: i64,
    /// Most publishers of the application; -1 no limit.
    pub ingesting_stream_limit: i64,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            webrtc_client_start_timeout_ms: 5000,
            play_webrtc_stream_once_for_each_session: true,
            webrtc_enabled: true,
            h264_enabled: true,
            vp8_enabled: true,
            vp9_enabled: true,
            h265_enabled: true,
            av1_enabled: true,
            data_channel_enabled: true,
            stun_server_uri: "stun:stun1.l.google.com:19302".to_owned(),
            turn_server_username: String::new(),
            turn_server_credential: String::new(),
            webrtc_viewer_limit: -1,
            ingesting_stream_limit: -1,
        }
    }
}

/// Older names of settings that are accepted in files and REST bodies, with today's names.
pub const ALIASES: [(&str, &str); 1] = [(
    "settings.webrtc.client.start.timeoutMs",
    "webRTCClientStartTimeoutMs",
)];
