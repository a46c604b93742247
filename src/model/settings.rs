//! An application's settings under Ant Media's own names, with their defaults.
//!
//! Read from `[app.NAME]` of `leafcutter.toml`; read and written by REST. Units are those of
//! the names (`...Ms` milliseconds); -1 means no limit where the name ends in `Limit`. `check.rs`
//! says which values are good, `foreign.rs` which names of Ant Media's have no meaning here.

mod check;
mod foreign;
mod merge;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use check::{BadSetting, is_http_url};
pub use foreign::{advice_for_check, is_foreign};
pub use merge::{SettingsChange, Unusable};

/// Settings of one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
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
    /// Secret shared with the TURN server: clients get credentials that expire.
    pub turn_server_secret: String,
    /// Most viewers per broadcast; -1 no limit.
    #[serde(rename = "webRTCViewerLimit")]
    pub webrtc_viewer_limit: i64,
    /// Most publishers of the application; -1 no limit.
    pub ingesting_stream_limit: i64,

    /// Most video tracks a room play is sent at once (slots); -1: one section per track.
    pub max_video_track_count: i64,
    /// Most audio tracks a room play is sent at once (slots); -1: one section per track.
    pub max_audio_track_count: i64,
    /// RFC 6464 level, 0 (loudest) to 127: who is louder competes for a slot.
    pub audio_level_threshold: u8,
    /// Players are told each speaker's level over the data channel, five times a second.
    pub send_audio_level_to_viewers: bool,
    /// Who receives what a player sends over its data channel.
    pub data_channel_player_distribution: DataDistribution,
    /// Every data channel message is posted here; empty: nowhere.
    #[serde(rename = "dataChannelWebHookURL")]
    pub data_channel_web_hook_url: String,
    /// For each role, the roles whose subtracks a player of that role receives.
    pub participant_visibility_matrix: BTreeMap<String, Vec<String>>,
    /// A publisher that is connected and sends no packet within
    /// `webRTCClientStartTimeoutMs` is ended with `noPacketReceivedForTimeoutDuration`.
    #[serde(rename = "dropWebRTCIngestIfNoPacketReceived")]
    pub drop_webrtc_ingest_if_no_packet_received: bool,

    /// The operator has suspended the application: publish and play are answered
    /// `license_suspended_please_renew_license`; what runs goes on. Not an Ant Media setting.
    pub application_suspended: bool,
    /// Publishing needs `encoderSettings`, and is answered `no_encoder_settings` without. Not an
    /// Ant Media setting: there, every application with adaptive bitrate behaves so.
    pub encoder_settings_required: bool,
    /// Renditions as Ant Media lists them: `height,video bits/s,audio bits/s,...`. A forwarding
    /// server makes none of them.
    pub encoder_settings: String,
    /// Publishing under an id that is not registered is answered
    /// `not_allowed_unregistered_streams`.
    pub accept_only_streams_in_data_store: bool,
    /// The same for rooms.
    pub accept_only_rooms_in_data_store: bool,
    /// Comma-separated CIDR ranges that may publish; empty: everybody.
    #[serde(rename = "allowedPublisherCIDR")]
    pub allowed_publisher_cidr: String,

    /// Publishing needs a one-time token.
    pub publish_token_control_enabled: bool,
    /// Playing needs a one-time token.
    pub play_token_control_enabled: bool,
    /// Publishing needs a stream JWT.
    pub publish_jwt_control_enabled: bool,
    /// Playing needs a stream JWT.
    pub play_jwt_control_enabled: bool,
    /// HS256 secret of stream JWTs.
    pub jwt_stream_secret_key: String,
    /// Publishing needs a hash.
    pub hash_control_publish_enabled: bool,
    /// Playing needs a hash.
    pub hash_control_play_enabled: bool,
    /// Secret of the hashes.
    pub token_hash_secret: String,
    /// Publishing needs a time-based code (RFC 6238).
    pub enable_time_token_for_publish: bool,
    /// Playing needs a time-based code.
    pub enable_time_token_for_play: bool,
    /// Seconds that a code lasts, 10 or more.
    pub time_token_period: u64,
    /// Periods that a code is accepted beyond its own. Not an Ant Media setting.
    pub time_token_past_periods: u8,
    /// Secret that codes of unregistered publishers derive from; empty: they have none.
    pub time_token_secret_for_publish: String,
    /// Secret that codes of unregistered players derive from; empty: they have none.
    pub time_token_secret_for_play: String,
    /// Asked before each publish; only status 200 allows it; empty: nobody is asked.
    #[serde(rename = "webhookAuthenticateURL")]
    pub webhook_authenticate_url: String,
    /// Asked before each play; only status 200 allows it; empty: nobody is asked.
    pub webhook_play_auth_url: String,

    /// Told of each event of a broadcast that has no hook of its own; empty: nobody is told.
    #[serde(rename = "listenerHookURL")]
    pub listener_hook_url: String,
    /// `application/json` or `application/x-www-form-urlencoded`.
    pub webhook_content_type: String,
    /// Repetitions of a webhook that failed.
    pub webhook_retry_count: u32,
    /// Milliseconds between them.
    pub webhook_retry_delay: u64,
    /// Milliseconds between two `liveStreamStatus` hooks of a broadcast; -1: none.
    pub webhook_stream_status_update_period_ms: i64,

    /// REST is answered to `remoteAllowedCIDR` only.
    pub ip_filter_enabled: bool,
    /// Comma-separated CIDR ranges.
    #[serde(rename = "remoteAllowedCIDR")]
    pub remote_allowed_cidr: String,
    /// REST needs a JWT in its `Authorization` header.
    pub jwt_control_enabled: bool,
    /// HS256 secret of the REST JWTs.
    pub jwt_secret_key: String,
}

/// Who receives what a player sends over its data channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DataDistribution {
    /// The publishers and all other players.
    #[default]
    All,
    /// The publishers.
    Publisher,
    /// Nobody.
    None,
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
            turn_server_secret: String::new(),
            webrtc_viewer_limit: -1,
            ingesting_stream_limit: -1,
            max_video_track_count: -1,
            max_audio_track_count: -1,
            audio_level_threshold: 120,
            send_audio_level_to_viewers: false,
            data_channel_player_distribution: DataDistribution::All,
            data_channel_web_hook_url: String::new(),
            participant_visibility_matrix: default_visibility(),
            drop_webrtc_ingest_if_no_packet_received: false,
            application_suspended: false,
            encoder_settings_required: false,
            encoder_settings: String::new(),
            accept_only_streams_in_data_store: false,
            accept_only_rooms_in_data_store: false,
            allowed_publisher_cidr: String::new(),
            publish_token_control_enabled: false,
            play_token_control_enabled: false,
            publish_jwt_control_enabled: false,
            play_jwt_control_enabled: false,
            jwt_stream_secret_key: String::new(),
            hash_control_publish_enabled: false,
            hash_control_play_enabled: false,
            token_hash_secret: String::new(),
            enable_time_token_for_publish: false,
            enable_time_token_for_play: false,
            time_token_period: 60,
            time_token_past_periods: 1,
            time_token_secret_for_publish: String::new(),
            time_token_secret_for_play: String::new(),
            webhook_authenticate_url: String::new(),
            webhook_play_auth_url: String::new(),
            listener_hook_url: String::new(),
            webhook_content_type: "application/json".to_owned(),
            webhook_retry_count: 0,
            webhook_retry_delay: 1000,
            webhook_stream_status_update_period_ms: -1,
            ip_filter_enabled: true,
            remote_allowed_cidr: "127.0.0.1".to_owned(),
            jwt_control_enabled: false,
            jwt_secret_key: String::new(),
        }
    }
}

/// Ant Media's matrix: attendees see speakers and those who were made active.
fn default_visibility() -> BTreeMap<String, Vec<String>> {
    [
        ("default", &["default"][..]),
        ("speaker", &["speaker", "active_attendee"]),
        ("attendee", &["speaker", "active_attendee"]),
        ("active_attendee", &["active_attendee", "speaker"]),
    ]
    .into_iter()
    .map(|(role, sees)| {
        let sees = sees.iter().map(|&role| role.to_owned()).collect();
        (role.to_owned(), sees)
    })
    .collect()
}

/// Other names of settings that are accepted in files and REST bodies, with those used here.
pub const ALIASES: [(&str, &str); 8] = [
    ("dataChannelWebHook", "dataChannelWebHookURL"),
    (
        "dataChannelPlayerDistrubution",
        "dataChannelPlayerDistribution",
    ),
    ("encoderSettingsString", "encoderSettings"),
    ("webhookRetryAttemptDelay", "webhookRetryDelay"),
    ("webrtc.stunServerURI", "stunServerURI"),
    ("webrtc.turnServerUsername", "turnServerUsername"),
    ("webrtc.turnServerCredential", "turnServerCredential"),
    (
        "webrtc.client.start.timeoutMs",
        "webRTCClientStartTimeoutMs",
    ),
];

/// What Ant Media's own files have before most names.
pub const PREFIX: &str = "settings.";
