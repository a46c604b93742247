//! Which values an application's settings may have. Shared by the file and by REST, so that both
//! refuse the same.

use std::net::IpAddr;

use ipnet::IpNet;

use super::AppSettings;

/// A setting whose value cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Its name as Ant Media writes it.
    pub name: &'static str,
    /// What it must be, without a full stop.
    pub message: &'static str,
}

impl AppSettings {
    /// Checks every value; the types have been checked by reading them.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), BadSetting> {
        self.check_limits()?;
        self.check_addresses()?;
        self.check_webhooks()?;
        demand(
            "audioLevelThreshold",
            self.audio_level_threshold <= 127,
            "must be in 0..=127",
        )?;
        demand(
            "timeTokenPeriod",
            (10..=86_400).contains(&self.time_token_period),
            "must be in 10..=86400 seconds",
        )?;
        // Nobody could use REST to correct it.
        demand(
            "jwtSecretKey",
            !self.jwt_control_enabled || !self.jwt_secret_key.is_empty(),
            "must not be empty while jwtControlEnabled is true",
        )
    }

    fn check_limits(&self) -> Result<(), BadSetting> {
        demand(
            "webRTCClientStartTimeoutMs",
            (100..=600_000).contains(&self.webrtc_client_start_timeout_ms),
            "must be in 100..=600000 milliseconds",
        )?;
        let limits = [
            ("webRTCViewerLimit", self.webrtc_viewer_limit),
            ("ingestingStreamLimit", self.ingesting_stream_limit),
            ("maxVideoTrackCount", self.max_video_track_count),
            ("maxAudioTrackCount", self.max_audio_track_count),
        ];
        limits
            .into_iter()
            .try_for_each(|(name, value)| demand(name, value >= -1, NO_LIMIT_OR_MORE))
    }

    fn check_addresses(&self) -> Result<(), BadSetting> {
        let uri = self.stun_server_uri.as_str();
        let schemes = ["stun:", "stuns:", "turn:", "turns:"];
        demand(
            "stunServerURI",
            uri.is_empty() || schemes.iter().any(|scheme| uri.starts_with(scheme)),
            "must be empty or begin with stun: or turn:",
        )?;
        let ranges = [
            ("allowedPublisherCIDR", &self.allowed_publisher_cidr),
            ("remoteAllowedCIDR", &self.remote_allowed_cidr),
        ];
        ranges
            .into_iter()
            .try_for_each(|(name, list)| demand(name, is_cidr_list(list), CIDR_LIST))
    }

    fn check_webhooks(&self) -> Result<(), BadSetting> {
        let urls = [
            ("dataChannelWebHookURL", &self.data_channel_web_hook_url),
            ("webhookAuthenticateURL", &self.webhook_authenticate_url),
            ("webhookPlayAuthUrl", &self.webhook_play_auth_url),
            ("listenerHookURL", &self.listener_hook_url),
        ];
        for (name, url) in urls {
            demand(name, url.is_empty() || is_http_url(url), EMPTY_OR_URL)?;
        }
        demand(
            "webhookContentType",
            WEBHOOK_TYPES.contains(&self.webhook_content_type.as_str()),
            "must be application/json or application/x-www-form-urlencoded",
        )?;
        demand(
            "webhookRetryCount",
            self.webhook_retry_count <= 100,
            "must be in 0..=100",
        )?;
        demand(
            "webhookRetryDelay",
            self.webhook_retry_delay <= 600_000,
            "must be in 0..=600000 milliseconds",
        )?;
        let period = self.webhook_stream_status_update_period_ms;
        demand(
            "webhookStreamStatusUpdatePeriodMs",
            period == -1 || (1000..=86_400_000).contains(&period),
            "must be -1 (never) or in 1000..=86400000 milliseconds",
        )
    }
}

/// Whether `url` is one that a webhook can be posted to: `http://` or `https://`, a host, no
/// spaces or control characters.
pub fn is_http_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
    has_host && url.len() <= MAX_URL_LEN && url.bytes().all(|b| b.is_ascii_graphic())
}

fn is_cidr_list(list: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .all(|part| part.parse::<IpNet>().is_ok() || part.parse::<IpAddr>().is_ok())
}

fn demand(name: &'static str, is_good: bool, message: &'static str) -> Result<(), BadSetting> {
    if is_good {
        Ok(())
    } else {
        Err(BadSetting { name, message })
    }
}

const NO_LIMIT_OR_MORE: &str = "must be -1 (no limit) or more";
const CIDR_LIST: &str = "must be comma-separated addresses or CIDR ranges";
const EMPTY_OR_URL: &str = "must be empty or an http:// or https:// URL";

/// JSON, or what an HTML form sends.
const WEBHOOK_TYPES: [&str; 2] = ["application/json", "application/x-www-form-urlencoded"];

/// Bytes; what HTTP servers commonly take.
const MAX_URL_LEN: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(AppSettings::default().check(), Ok(()));
    }

    #[test]
    fn names_what_cannot_be_used() {
        type Change = fn(&mut AppSettings);
        let cases: [(&str, Change); 15] = [
            ("webRTCClientStartTimeoutMs", |s| {
                s.webrtc_client_start_timeout_ms = 99;
            }),
            ("webRTCViewerLimit", |s| s.webrtc_viewer_limit = -2),
            ("ingestingStreamLimit", |s| s.ingesting_stream_limit = -2),
            ("maxVideoTrackCount", |s| s.max_video_track_count = -2),
            ("maxAudioTrackCount", |s| s.max_audio_track_count = -2),
            ("stunServerURI", |s| s.stun_server_uri = "http://x".into()),
            ("allowedPublisherCIDR", |s| {
                s.allowed_publisher_cidr = "10.0.0.0/33".into();
            }),
            ("remoteAllowedCIDR", |s| {
                s.remote_allowed_cidr = "here".into();
            }),
            ("listenerHookURL", |s| {
                s.listener_hook_url = "ftp://x".into();
            }),
            ("webhookPlayAuthUrl", |s| {
                s.webhook_play_auth_url = "http:///x".into();
            }),
            ("webhookContentType", |s| {
                s.webhook_content_type = "text/xml".into();
            }),
            ("webhookStreamStatusUpdatePeriodMs", |s| {
                s.webhook_stream_status_update_period_ms = 0;
            }),
            ("audioLevelThreshold", |s| s.audio_level_threshold = 128),
            ("timeTokenPeriod", |s| s.time_token_period = 9),
            ("jwtSecretKey", |s| s.jwt_control_enabled = true),
        ];
        for (name, change) in cases {
            let mut settings = AppSettings::default();
            change(&mut settings);
            let refused = settings.check().expect_err(name);
            assert_eq!(refused.name, name);
        }
    }

    #[test]
    fn takes_addresses_ranges_and_empty_lists() {
        for list in ["", "127.0.0.1", "10.0.0.0/8, ::1", "2001:db8::/32,"] {
            assert!(is_cidr_list(list), "{list}");
        }
        for list in ["127.0.0.1;10.0.0.1", "10.0.0", "10.0.0.0/8 10.1.0.0/16"] {
            assert!(!is_cidr_list(list), "{list}");
        }
    }

    #[test]
    fn a_webhook_needs_a_scheme_and_a_host() {
        for url in ["http://a", "https://a:1/b?c=d#e"] {
            assert!(is_http_url(url), "{url}");
        }
        for url in [
            "",
            "a",
            "//a",
            "http://",
            "http:///a",
            "http://a b",
            "file:///a",
        ] {
            assert!(!is_http_url(url), "{url}");
        }
    }
}
