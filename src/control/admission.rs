//! The checks of a publish or play, in the order that `docs/signalling.md` gives: what is asked of
//! the world outside ([`Step`]), and what follows from its answers. Pure; the story of a question
//! is in `directory/questions.rs`.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::auth::token::Wish;
use crate::auth::{addresses, code, hash, jwt, token};
use crate::model::access::{AccessKind, TokenGrant};
use crate::model::broadcast::BroadcastRecord;
use crate::model::call::JoinAsk;
use crate::model::definition::Definition;
use crate::model::mail::{AppName, PlayAsk, PublishAsk};
use crate::model::room;
use crate::model::settings::AppSettings;
use crate::store::{AdmissionFacts, AdmissionQuery, StoreError};

/// Names one question while its steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId(pub(super) u64);

/// What the shell is to do for a question; it hands the [`StepResult`] to
/// `Directory::handle_step`.
#[derive(Clone)]
pub enum Step {
    /// Look up what is stored.
    Look(Box<AdmissionQuery>),
    /// Ask a webhook: only status 200 allows.
    Hook(Box<HookRequest>),
    /// Use a token up.
    Consume {
        /// The application.
        app: AppName,
        /// Its text.
        token: String,
    },
}

/// What came of a [`Step`].
#[derive(Clone, Debug)]
pub enum StepResult {
    /// What is stored.
    Looked(Result<Box<AdmissionFacts>, StoreError>),
    /// Whether the webhook allowed it.
    Hooked(bool),
    /// Whether the token was still there.
    Consumed(Result<bool, StoreError>),
}

/// A question to a webhook.
#[derive(Clone, PartialEq)]
pub struct HookRequest {
    /// Where it is posted.
    pub url: String,
    /// The JSON object.
    pub body: Map<String, Value>,
}

/// Without credentials.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look(_) => "Look",
            Self::Hook(_) => "Hook",
            Self::Consume { .. } => "Consume",
        })
    }
}

impl Step {
    /// What comes of it where nothing is stored and no webhook answers.
    pub fn in_an_empty_world(&self) -> StepResult {
        match self {
            Self::Look(_) => StepResult::Looked(Ok(Box::default())),
            Self::Hook(_) => StepResult::Hooked(false),
            Self::Consume { .. } => StepResult::Consumed(Ok(false)),
        }
    }
}

/// What somebody asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Publish(PublishAsk),
    Play(PlayAsk),
    /// To see the tracks of a broadcast; checked as its play.
    Tracks(PlayAsk),
    /// Of a call; checked as the play that goes with it.
    Join(JoinAsk, PlayAsk),
    /// To join a room, which opens nothing by itself; with the play of that room.
    Room(room::JoinAsk, PlayAsk),
}

impl Asked {
    /// To join a room.
    pub fn room(ask: room::JoinAsk) -> Self {
        let play = PlayAsk {
            stream: Some(ask.room.clone()),
            ..PlayAsk::default()
        };
        Self::Room(ask, play)
    }

    pub fn kind(&self) -> AccessKind {
        match self {
            Self::Publish(_) => AccessKind::Publish,
            Self::Play(_) | Self::Tracks(_) | Self::Join(..) | Self::Room(..) => AccessKind::Play,
        }
    }

    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::Publish(ask) => ask.stream.as_deref(),
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                ask.stream.as_deref()
            }
        }
    }

    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Publish(ask) => ask.token.as_deref(),
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                ask.token.as_deref()
            }
        }
    }

    pub fn subscriber_id(&self) -> Option<&str> {
        match self {
            Self::Publish(ask) => ask.subscriber_id.as_deref(),
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                ask.subscriber_id.as_deref()
            }
        }
    }

    pub fn subscriber_code(&self) -> Option<&str> {
        match self {
            Self::Publish(ask) => ask.subscriber_code.as_deref(),
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                ask.subscriber_code.as_deref()
            }
        }
    }

    pub fn remote(&self) -> Option<IpAddr> {
        match self {
            Self::Publish(ask) => ask.client.remote,
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                ask.client.remote
            }
        }
    }

    /// The question to the application's webhook; `None` when it has none.
    pub fn hook(&self, app: &AppName, settings: &AppSettings) -> Option<HookRequest> {
        let (url, body) = match self {
            Self::Publish(ask) => (&settings.webhook_authenticate_url, publish_body(app, ask)),
            Self::Play(ask) | Self::Tracks(ask) | Self::Join(_, ask) | Self::Room(_, ask) => {
                (&settings.webhook_play_auth_url, play_body(app, ask))
            }
        };
        let body = body
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
        (!url.is_empty()).then(|| HookRequest {
            url: url.clone(),
            body: body.collect(),
        })
    }
}

fn publish_body(app: &AppName, ask: &PublishAsk) -> Vec<(&'static str, Option<String>)> {
    let stream = ask.stream.as_deref().map(str::to_owned);
    vec![
        ("appName", Some(app.to_string())),
        ("name", stream.clone()),
        ("streamId", stream),
        ("mode", Some("live".to_owned())),
        ("token", ask.token.clone()),
        ("subscriberId", ask.subscriber_id.clone()),
        ("subscriberCode", ask.subscriber_code.clone()),
        ("metaData", ask.meta_data.clone()),
        (
            "queryParams",
            ask.client.query.as_deref().map(str::to_owned),
        ),
    ]
}

fn play_body(app: &AppName, ask: &PlayAsk) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("appName", Some(app.to_string())),
        ("streamId", ask.stream.as_deref().map(str::to_owned)),
        ("mode", Some(AccessKind::Play.text().to_owned())),
        ("origin", ask.client.origin.as_deref().map(str::to_owned)),
        ("token", ask.token.clone()),
        ("subscriberId", ask.subscriber_id.clone()),
        ("subscriberCode", ask.subscriber_code.clone()),
        ("metaData", ask.viewer_info.clone()),
        ("ipAddress", ask.client.remote.map(|ip| ip.to_string())),
    ]
}

/// What a publish needs of the application, before the id is looked at.
pub(super) fn check_codecs(settings: &AppSettings, ask: &PublishAsk) -> Result<(), Definition> {
    if ask.video && !any_video_codec(settings) {
        return Err(Definition::NoCodecEnabled);
    }
    if settings.encoder_settings_required && settings.encoder_settings.trim().is_empty() {
        return Err(Definition::NoEncoderSettings);
    }
    Ok(())
}

/// Whether the id, and the room if there is one, may be used without being registered.
pub(super) fn check_registered(
    settings: &AppSettings,
    facts: &AdmissionFacts,
    main_track: Option<&str>,
) -> Result<(), Definition> {
    let stream_missing = settings.accept_only_streams_in_data_store && facts.broadcast.is_none();
    let room_missing =
        settings.accept_only_rooms_in_data_store && main_track.is_some() && facts.main.is_none();
    if stream_missing || room_missing {
        return Err(Definition::NotAllowedUnregisteredStreams);
    }
    Ok(())
}

/// Whether a room may be joined at `unix_ms`, milliseconds since 1970.
pub(super) fn check_room(
    settings: &AppSettings,
    facts: &AdmissionFacts,
    unix_ms: i64,
) -> Result<(), Definition> {
    match &facts.broadcast {
        Some(room) => check_dates(room, AccessKind::Play, unix_ms)
            .map_err(|_| Definition::RoomNotActiveOrExpired),
        None if settings.accept_only_rooms_in_data_store => {
            Err(Definition::NotAllowedUnregisteredStreams)
        }
        None => Ok(()),
    }
}

/// Whether now is within the time of `record`; the time to publish may end earlier.
pub(super) fn check_dates(
    record: &BroadcastRecord,
    kind: AccessKind,
    unix_ms: i64,
) -> Result<(), Definition> {
    let (start, end) = (record.planned_start_date, record.planned_end_date);
    let is_planned = start != 0 && end != 0;
    let outside = is_planned && !(start..=end).contains(&(unix_ms / 1000));
    let expired = kind == AccessKind::Publish
        && record.expire_duration_ms != 0
        && unix_ms > record.date.saturating_add(record.expire_duration_ms);
    if outside || expired {
        return Err(Definition::StreamNotActiveOrExpired);
    }
    Ok(())
}

/// Whether a block of who asks holds at `unix_ms`.
pub(super) fn check_blocks(
    facts: &AdmissionFacts,
    kind: AccessKind,
    unix_ms: i64,
) -> Result<(), Definition> {
    let holds = facts
        .blocks
        .iter()
        .any(|block| block.kind.covers(kind) && unix_ms < block.until_unix_ms);
    if holds {
        return Err(Definition::UserBlocked);
    }
    Ok(())
}

/// Everything that a credential is checked against.
pub(super) struct Credentials<'a> {
    pub settings: &'a AppSettings,
    pub asked: &'a Asked,
    pub facts: &'a AdmissionFacts,
    /// The room that the broadcast is in, or will be.
    pub main_track: Option<&'a str>,
    /// What the token allows, if this WebSocket has used it before.
    pub remembered: Option<&'a TokenGrant>,
    /// Other connections of the subscriber.
    pub connections: usize,
    /// Milliseconds since 1970.
    pub unix_ms: i64,
}

/// What time-based codes are made with.
pub(super) enum Secret {
    /// The key of a registered subscriber.
    Own(Vec<u8>),
    /// The keys of any id, derived from the application's secret for the broadcast and its room.
    Derived(Vec<Vec<u8>>),
}

impl Credentials<'_> {
    /// Every check that the application has enabled must pass. True: the token is to be used up
    /// as the last step.
    pub fn check(&self) -> Result<bool, Definition> {
        let Some(uses_up) = self.token() else {
            return Err(Definition::UnauthorizedAccess);
        };
        if !(self.jwt() && self.hash() && self.code() && self.address()) {
            return Err(Definition::UnauthorizedAccess);
        }
        Ok(uses_up)
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            kind: self.asked.kind(),
            stream: self.asked.stream().unwrap_or_default(),
            main_track: self.main_track,
        }
    }

    fn by_kind<T>(&self, publish: T, play: T) -> T {
        match self.asked.kind() {
            AccessKind::Publish => publish,
            AccessKind::Play => play,
        }
    }

    /// `None`: not allowed. Otherwise whether it is to be used up.
    fn token(&self) -> Option<bool> {
        let settings = self.settings;
        let is_on = self.by_kind(
            settings.publish_token_control_enabled,
            settings.play_token_control_enabled,
        );
        if !is_on {
            return Some(false);
        }
        let stored = self.facts.token.as_ref();
        let is_good = |grant: &&TokenGrant| {
            self.unix_ms / 1000 < grant.expire_date && token::allows(grant, self.wish())
        };
        if let Some(grant) = stored.filter(is_good) {
            return Some(token::is_used_up(grant));
        }
        self.remembered
            .filter(|grant| token::allows(grant, self.wish()))
            .map(|_| false)
    }

    fn jwt(&self) -> bool {
        let settings = self.settings;
        let is_on = self.by_kind(
            settings.publish_jwt_control_enabled,
            settings.play_jwt_control_enabled,
        );
        let secret = &settings.jwt_stream_secret_key;
        let grant = || jwt::read(self.asked.token()?, secret, self.unix_ms / 1000);
        !is_on || grant().is_some_and(|grant| token::allows(&grant, self.wish()))
    }

    fn hash(&self) -> bool {
        let settings = self.settings;
        let is_on = self.by_kind(
            settings.hash_control_publish_enabled,
            settings.hash_control_play_enabled,
        );
        let Wish { kind, stream, .. } = self.wish();
        let secret = &settings.token_hash_secret;
        let is_good = |credential| hash::allows(credential, stream, kind, secret);
        !is_on || self.asked.token().is_some_and(is_good)
    }

    pub fn asks_for_code(&self) -> bool {
        self.by_kind(
            self.settings.enable_time_token_for_publish,
            self.settings.enable_time_token_for_play,
        )
    }

    /// False when the subscriber has its limit of connections: only a code proves whose they are.
    pub fn has_place(&self) -> bool {
        let subscriber = self.facts.subscriber.as_ref();
        let limit = subscriber.filter(|_| self.asks_for_code());
        limit.is_none_or(|subscriber| {
            usize::try_from(subscriber.concurrent_connections_limit)
                .map_or(true, |limit| self.connections < limit)
        })
    }

    /// The time-based code, and the limit of connections.
    fn code(&self) -> bool {
        if !self.asks_for_code() {
            return true;
        }
        let (Some(id), Some(code)) = (self.asked.subscriber_id(), self.asked.subscriber_code())
        else {
            return false;
        };
        let subscriber = self.facts.subscriber.as_ref();
        let kind = self.asked.kind();
        let may = |registered| registered == AccessKind::Publish || registered == kind;
        if subscriber.is_some_and(|s| !may(s.kind)) || !self.has_place() {
            return false;
        }
        self.is_code_of(id, code)
    }

    /// True when there is a code, where one is asked for, and it is not the subscriber's.
    pub fn has_wrong_code(&self) -> bool {
        let shown = self.asked.subscriber_id().zip(self.asked.subscriber_code());
        self.asks_for_code() && shown.is_some_and(|(id, code)| !self.is_code_of(id, code))
    }

    fn is_code_of(&self, id: &str, code: &str) -> bool {
        let subscriber = self.facts.subscriber.as_ref();
        let period = subscriber
            .and_then(|s| s.totp_expiry_period_seconds)
            .unwrap_or(self.settings.time_token_period);
        let past = self.settings.time_token_past_periods;
        let now_s = u64::try_from(self.unix_ms / 1000).unwrap_or(0);
        let keys = match self.secret(id) {
            Some(Secret::Own(key)) => vec![key],
            Some(Secret::Derived(keys)) => keys,
            None => return false,
        };
        keys.iter()
            .any(|key| code::allows(key, code, period, past, now_s))
    }

    /// What a subscriber's codes are made with; `None` when it can have none.
    pub fn secret(&self, id: &str) -> Option<Secret> {
        let own = self.facts.subscriber.as_ref().and_then(|subscriber| {
            let secret = subscriber.b32_secret.as_deref()?;
            (!secret.trim().is_empty()).then_some(secret)
        });
        if let Some(secret) = own {
            return code::registered_key(secret).map(Secret::Own);
        }
        let secret = self.by_kind(
            &self.settings.time_token_secret_for_publish,
            &self.settings.time_token_secret_for_play,
        );
        let Wish { kind, stream, .. } = self.wish();
        let keys: Vec<Vec<u8>> = [Some(stream), self.main_track]
            .into_iter()
            .flatten()
            .filter_map(|stream| code::derived_key(secret, id, stream, kind))
            .collect();
        (!keys.is_empty()).then_some(Secret::Derived(keys))
    }

    fn address(&self) -> bool {
        let ranges = self.settings.allowed_publisher_cidr.trim();
        let is_on = self.asked.kind() == AccessKind::Publish && !ranges.is_empty();
        let is_good = |ip| addresses::holds(ranges, ip);
        !is_on || self.asked.remote().is_some_and(is_good)
    }
}

/// Whether any video codec may be published.
pub(super) fn any_video_codec(settings: &AppSettings) -> bool {
    settings.h264_enabled
        || settings.vp8_enabled
        || settings.vp9_enabled
        || settings.h265_enabled
        || settings.av1_enabled
}

/// Whether `count` fills a limit; negative limits are none.
pub(super) fn reaches(count: usize, limit: i64) -> bool {
    usize::try_from(limit).is_ok_and(|limit| count >= limit)
}
