//! Who may publish and play what: tokens, subscribers, blocks, and what is recorded of their
//! coming and going. Field names are those of REST v2.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Publishing or playing: what a credential is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AccessKind {
    /// Sending media.
    Publish,
    /// Receiving media.
    Play,
}

impl AccessKind {
    /// The word in JSON, in hashes and in the store.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
        }
    }

    /// `None` for any other word than [`text`](Self::text) gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Publish, Self::Play]
            .into_iter()
            .find(|kind| kind.text() == text)
    }
}

/// What a client shows to be let in; which of it is asked for is the application's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// One-time token, JWT or hash.
    pub token: Option<String>,
    /// For codes, limits and blocking.
    pub subscriber_id: Option<String>,
    /// Time-based code.
    pub subscriber_code: Option<String>,
}

/// What a subscriber is blocked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Publishing.
    Publish,
    /// Playing.
    Play,
    /// Both.
    PublishPlay,
}

impl BlockKind {
    /// The word in JSON, in paths and in the store.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
            Self::PublishPlay => "publish_play",
        }
    }

    /// `None` for any other word than [`text`](Self::text) gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Publish, Self::Play, Self::PublishPlay]
            .into_iter()
            .find(|kind| kind.text() == text)
    }

    /// Whether it stops `kind`.
    pub const fn covers(self, kind: AccessKind) -> bool {
        match (self, kind) {
            (Self::PublishPlay, _)
            | (Self::Publish, AccessKind::Publish)
            | (Self::Play, AccessKind::Play) => true,
            (Self::Publish, AccessKind::Play) | (Self::Play, AccessKind::Publish) => false,
        }
    }
}

/// A one-time token, or a stream JWT as REST hands it out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// What the client sends; in listings of stored tokens the hash that is kept in its place.
    pub token_id: String,
    /// The broadcast or room it is for.
    pub stream_id: String,
    /// When it ends, seconds since 1970.
    #[serde(default)]
    pub expire_date: i64,
    /// For publishing or for playing.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// Set: valid for every broadcast of that room, and not used up.
    #[serde(default)]
    pub room_id: Option<String>,
}

/// What the store keeps of a [`Token`]: everything but the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The broadcast or room it is for.
    pub stream_id: String,
    /// When it ends, seconds since 1970.
    pub expire_date: i64,
    /// For publishing or for playing.
    pub kind: AccessKind,
    /// Set: valid for every broadcast of that room, and not used up.
    pub room_id: Option<String>,
}

/// Somebody who may publish or play a broadcast and proves it with time-based codes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// Unique within its broadcast.
    pub subscriber_id: String,
    /// The broadcast or room.
    #[serde(default)]
    pub stream_id: String,
    /// Display name.
    #[serde(default)]
    pub subscriber_name: Option<String>,
    /// Base32 secret of its codes; written, never shown.
    #[serde(default, rename = "b32Secret", skip_serializing)]
    #[schema(write_only)]
    pub b32_secret: Option<String>,
    /// `publish` may play too.
    #[serde(rename = "type", default = "play")]
    pub kind: AccessKind,
    /// Connections at a time, all of its plays and publishes of the broadcast together.
    #[serde(default = "one")]
    pub concurrent_connections_limit: i64,
    /// Seconds that its codes last; `None`: the application's `timeTokenPeriod`.
    #[serde(default)]
    pub totp_expiry_period_seconds: Option<u64>,
}

/// A subscriber must not connect to a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is blocked from.
    pub kind: BlockKind,
    /// Until when, milliseconds since 1970.
    pub until_unix_ms: i64,
}

/// A subscriber came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionEvent {
    /// The broadcast.
    pub stream_id: String,
    /// Who.
    pub subscriber_id: String,
    /// Came or went.
    pub event_type: ConnectionEventKind,
    /// When, milliseconds since 1970.
    pub timestamp: i64,
    /// Publishing or playing.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// Always `webrtc`.
    pub event_protocol: String,
}

/// The two kinds of [`ConnectionEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionEventKind {
    /// Media flows.
    Connected,
    /// It is over.
    Disconnected,
}

impl ConnectionEventKind {
    /// The word in JSON and in the store.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("stream_id", &self.stream_id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("stream_id", &self.stream_id)
            .field("subscriber_id", &self.subscriber_id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

const fn one() -> i64 {
    1
}

const fn play() -> AccessKind {
    AccessKind::Play
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_written() {
        let json = r#"{"subscriberId":"user1","b32Secret":"JBSWY3DP","type":"publish"}"#;
        let subscriber: Subscriber = serde_json::from_str(json).unwrap();
        assert_eq!(subscriber.b32_secret.as_deref(), Some("JBSWY3DP"));
        assert_eq!(subscriber.concurrent_connections_limit, 1);
        let shown = serde_json::to_string(&subscriber).unwrap();
        assert!(!shown.contains("JBSWY3DP"), "{shown}");
        assert!(!format!("{subscriber:?}").contains("JBSWY3DP"));
    }

    #[test]
    fn words_are_read_back_and_blocks_cover_what_they_say() {
        for kind in [AccessKind::Publish, AccessKind::Play] {
            assert_eq!(AccessKind::parse(kind.text()), Some(kind));
            assert!(BlockKind::PublishPlay.covers(kind));
        }
        assert_eq!(
            BlockKind::parse("publish_play"),
            Some(BlockKind::PublishPlay)
        );
        assert_eq!(BlockKind::parse("all"), None);
        assert!(!BlockKind::Play.covers(AccessKind::Publish));
        assert!(!BlockKind::Publish.covers(AccessKind::Play));
    }
}
