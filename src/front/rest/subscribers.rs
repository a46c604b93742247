//! Subscribers of a broadcast: who may use time-based codes, who is blocked, who came and went.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Outcome, Refusals, RestError, StoreDown, TooLong};
use super::input::{Id, InPath, InQuery, JsonBody, OfBroadcast, PageOfBroadcast};
use crate::auth::code;
use crate::base::limits::MAX_STREAM_ID_LEN;
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::model::access::{AccessKind, Block, BlockKind, ConnectionEvent, Subscriber};

/// Every operation on subscribers.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(add, remove_all))
        .routes(routes!(remove))
        .routes(routes!(totp))
        .routes(routes!(list))
        .routes(routes!(block))
        .routes(routes!(events))
}

/// Registers a subscriber, or replaces the one of this id.
#[utoipa::path(
    post,
    path = "/broadcasts/{id}/subscribers",
    operation_id = "addSubscriber",
    tag = "subscribers",
    params(OfBroadcast),
    request_body = Subscriber,
    responses(
        (status = 200, description = "As asked", body = Outcome),
        Refusals, TooLong, StoreDown
    )
)]
async fn add(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    JsonBody(mut subscriber): JsonBody<Subscriber>,
) -> Result<Json<Outcome>, RestError> {
    subscriber.stream_id = id.0;
    subscriber.b32_secret = subscriber.b32_secret.filter(|secret| !secret.is_empty());
    if let Some(problem) = problem_of(&subscriber) {
        return Ok(Json(Outcome::failed(problem)));
    }
    shared.store().put_subscriber(&app.name, subscriber).await?;
    Ok(Json(Outcome::done()))
}

fn problem_of(subscriber: &Subscriber) -> Option<&'static str> {
    let secret = subscriber.b32_secret.as_deref();
    let period = subscriber.totp_expiry_period_seconds;
    let checks = [
        (
            (4..=MAX_STREAM_ID_LEN).contains(&subscriber.subscriber_id.len()),
            "subscriberId must have 4 to 256 bytes",
        ),
        (
            secret.is_none_or(|secret| code::registered_key(secret).is_some()),
            "b32Secret is not Base32",
        ),
        (
            period.is_none_or(|period| (10..=86_400).contains(&period)),
            "totpExpiryPeriodSeconds must be in 10..=86400",
        ),
        (
            subscriber.concurrent_connections_limit >= -1,
            "concurrentConnectionsLimit must be -1 (no limit) or more",
        ),
    ];
    let failed = checks.iter().find(|(is_good, _)| !is_good);
    failed.map(|(_, problem)| *problem)
}

/// Forgets every subscriber of a broadcast.
#[utoipa::path(
    delete,
    path = "/broadcasts/{id}/subscribers",
    operation_id = "deleteSubscribers",
    tag = "subscribers",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn remove_all(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Result<Json<Outcome>, RestError> {
    let gone = shared.store().delete_subscribers(&app.name, &id.0).await?;
    Ok(Json(if gone > 0 {
        Outcome::done()
    } else {
        Outcome::failed("This broadcast has no subscribers")
    }))
}

/// A subscriber of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct OfSubscriber {
    /// Id of the broadcast: A-Z a-z 0-9 - _ . and at most 256 of them.
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    id: Id,
    /// Id of the subscriber.
    #[param(min_length = 1)]
    sid: String,
}

/// Forgets one subscriber.
#[utoipa::path(
    delete,
    path = "/broadcasts/{id}/subscribers/{sid}",
    operation_id = "deleteSubscriber",
    tag = "subscribers",
    params(OfSubscriber),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn remove(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfSubscriber { id, sid }): InPath<OfSubscriber>,
) -> Result<Json<Outcome>, RestError> {
    let store = shared.store();
    let is_gone = store.delete_subscriber(&app.name, &id.0, &sid).await?;
    Ok(Json(if is_gone {
        Outcome::done()
    } else {
        Outcome::failed(UNKNOWN)
    }))
}

/// What a code is for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CodeFor {
    /// Publishing or playing; without it publishing. It decides about the secret of subscribers
    /// that are not registered.
    #[serde(rename = "type")]
    #[param(inline)]
    kind: Option<AccessKind>,
}

/// The code of a subscriber at this moment, in `dataId`.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/subscribers/{sid}/totp",
    operation_id = "getTotp",
    tag = "subscribers",
    params(OfSubscriber, CodeFor),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn totp(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfSubscriber { id, sid }): InPath<OfSubscriber>,
    InQuery(CodeFor { kind }): InQuery<CodeFor>,
) -> Result<Json<Outcome>, RestError> {
    let subscriber = shared.store().subscriber(&app.name, &id.0, &sid).await?;
    let kind = kind.unwrap_or(AccessKind::Publish);
    let settings = &app.settings;
    let secret = match kind {
        AccessKind::Publish => &settings.time_token_secret_for_publish,
        AccessKind::Play => &settings.time_token_secret_for_play,
    };
    let registered = subscriber.as_ref().and_then(|s| s.b32_secret.as_deref());
    let key = match registered {
        Some(secret) => code::registered_key(secret),
        None => code::derived_key(secret, &sid, &id.0, kind),
    };
    let own_period = subscriber.and_then(|s| s.totp_expiry_period_seconds);
    let period_s = own_period.unwrap_or(settings.time_token_period);
    let now_s = u64::try_from(shared.unix_s()).unwrap_or(0);
    Ok(Json(match key {
        Some(key) => Outcome::made(code::code_at(&key, period_s, now_s)),
        None => Outcome::failed("There is no secret to make a code from"),
    }))
}

/// A subscriber as it is listed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ListedSubscriber {
    #[serde(flatten)]
    subscriber: Subscriber,
    /// Publishes or plays now.
    connected: bool,
    /// How many connections it has now.
    current_concurrent_connections: usize,
    /// What it is blocked from; null when it is not.
    blocked_type: Option<BlockKind>,
    /// Until when, milliseconds since 1970; 0 when it is not blocked.
    blocked_until_unit_time_stamp_ms: i64,
}

/// One page of the subscribers of a broadcast.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/subscribers/list/{offset}/{size}",
    operation_id = "listSubscribers",
    tag = "subscribers",
    params(PageOfBroadcast),
    responses(
        (status = 200, description = "As asked", body = Vec<ListedSubscriber>),
        Refusals, StoreDown
    )
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
) -> Result<Json<Vec<ListedSubscriber>>, RestError> {
    let (offset, size) = page.bounds();
    let store = shared.store();
    let found = store
        .list_subscribers(&app.name, &page.id.0, offset, size)
        .await?;
    let now_ms = shared.unix_s() * 1000;
    let listed = |(subscriber, block): (Subscriber, Option<Block>)| {
        let connections = shared.read(|directory, _| {
            directory.connections_of(&app.name, &page.id.0, &subscriber.subscriber_id)
        });
        let block = block.filter(|block| block.until_unix_ms > now_ms);
        ListedSubscriber {
            connected: connections > 0,
            current_concurrent_connections: connections,
            blocked_type: block.map(|block| block.kind),
            blocked_until_unit_time_stamp_ms: block.map_or(0, |block| block.until_unix_ms),
            subscriber,
        }
    };
    Ok(Json(found.into_iter().map(listed).collect()))
}

/// Who is blocked from what for how long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Blocking {
    /// Id of the broadcast: A-Z a-z 0-9 - _ . and at most 256 of them.
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    id: Id,
    /// Id of the subscriber, registered or not.
    #[param(min_length = 1, max_length = 256)]
    sid: String,
    /// For how long, from 0 (not any more) to 10 years.
    #[param(minimum = 0, maximum = 315_360_000)]
    seconds: u32,
    /// From publishing, from playing or from both.
    #[serde(rename = "type")]
    #[param(inline)]
    kind: BlockKind,
}

/// Blocks a subscriber. Its connections that the block covers are ended at once.
#[utoipa::path(
    put,
    path = "/broadcasts/{id}/subscribers/{sid}/block/{seconds}/{type}",
    operation_id = "blockSubscriber",
    tag = "subscribers",
    params(Blocking),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn block(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(blocking): InPath<Blocking>,
) -> Result<Json<Outcome>, RestError> {
    let Blocking {
        id,
        sid,
        seconds,
        kind,
    } = blocking;
    if seconds > MAX_BLOCK_S {
        return Err(RestError::Refused(
            "Nobody is blocked for more than 10 years".into(),
        ));
    }
    if sid.len() > MAX_STREAM_ID_LEN {
        return Err(RestError::Refused(
            "subscriberId must have at most 256 bytes".into(),
        ));
    }
    let now_ms = shared.unix_s() * 1000;
    let block = Block {
        kind,
        until_unix_ms: now_ms + i64::from(seconds) * 1000,
    };
    shared
        .store()
        .block_subscriber(&app.name, &id.0, &sid, block, now_ms)
        .await?;
    if seconds > 0 {
        shared.update(|directory, _| {
            directory.block_subscriber(&app.name, &id.0, &sid, kind);
        });
    }
    Ok(Json(Outcome::done()))
}

/// Of whom.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct EventsOf {
    /// Only this subscriber's.
    subscriber_id: Option<String>,
}

/// One page of the comings and goings of a broadcast's subscribers, the oldest first.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/connection-events/{offset}/{size}",
    operation_id = "listConnectionEvents",
    tag = "subscribers",
    params(PageOfBroadcast, EventsOf),
    responses(
        (status = 200, description = "As asked", body = Vec<ConnectionEvent>),
        Refusals, StoreDown
    )
)]
async fn events(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
    InQuery(of): InQuery<EventsOf>,
) -> Result<Json<Vec<ConnectionEvent>>, RestError> {
    let (offset, size) = page.bounds();
    let subscriber = of.subscriber_id.as_deref().filter(|id| !id.is_empty());
    let store = shared.store();
    let events = store
        .list_events(&app.name, &page.id.0, subscriber, offset, size)
        .await?;
    Ok(Json(events))
}

const UNKNOWN: &str = "There is no such subscriber";

/// Ten years.
const MAX_BLOCK_S: u32 = 10 * 365 * 24 * 3600;
