//! `/broadcasts`: what is registered and what is on air.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Missing, Refusals, RestError};
use super::input::{InPath, Number, OfBroadcast, Page};
use crate::control::{Broadcast, BroadcastView};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;

/// Every operation below `/broadcasts` that is about broadcasts themselves.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(count))
        .routes(routes!(count_live))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(statistics))
}

/// Watchers by way of watching; -1 when unknown.
#[derive(Debug, Serialize, ToSchema)]
struct BroadcastStatistics {
    #[serde(rename = "totalRTMPWatchersCount")]
    rtmp: i64,
    #[serde(rename = "totalHLSWatchersCount")]
    hls: i64,
    #[serde(rename = "totalWebRTCWatchersCount")]
    webrtc: i64,
    #[serde(rename = "totalDASHWatchersCount")]
    dash: i64,
}

/// One broadcast.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}",
    operation_id = "getBroadcast",
    tag = "broadcasts",
    params(OfBroadcast),
    responses((status = 200, body = BroadcastView), Refusals, Missing)
)]
async fn show(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Result<Json<BroadcastView>, RestError> {
    shared
        .read(|directory, now| {
            let broadcast = directory.broadcast(&app.name, &id.0)?;
            Some(BroadcastView::of(broadcast, now.unix_us))
        })
        .map(Json)
        .ok_or(RestError::UnknownBroadcast)
}

/// One page of the broadcasts.
#[utoipa::path(
    get,
    path = "/broadcasts/list/{offset}/{size}",
    operation_id = "listBroadcasts",
    tag = "broadcasts",
    params(Page),
    responses((status = 200, body = Vec<BroadcastView>), Refusals)
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<Page>,
) -> Json<Vec<BroadcastView>> {
    let (offset, size) = page.bounds();
    Json(shared.read(|directory, now| {
        directory
            .broadcasts(&app.name)
            .skip(offset)
            .take(size)
            .map(|broadcast| BroadcastView::of(broadcast, now.unix_us))
            .collect()
    }))
}

/// How many broadcasts there are.
#[utoipa::path(
    get,
    path = "/broadcasts/count",
    operation_id = "countBroadcasts",
    tag = "broadcasts",
    responses((status = 200, body = Number), Refusals)
)]
async fn count(State(shared): State<Shared>, app: KnownApp) -> Number {
    let number = shared.read(|directory, _| directory.broadcasts(&app.name).count());
    Number { number }
}

/// How many broadcasts are on air.
#[utoipa::path(
    get,
    path = "/broadcasts/active-live-stream-count",
    operation_id = "countLiveBroadcasts",
    tag = "broadcasts",
    responses((status = 200, body = Number), Refusals)
)]
async fn count_live(State(shared): State<Shared>, app: KnownApp) -> Number {
    let is_live = |broadcast: &&Broadcast| broadcast.is_playable();
    let number =
        shared.read(|directory, _| directory.broadcasts(&app.name).filter(is_live).count());
    Number { number }
}

/// How many watch one broadcast.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/broadcast-statistics",
    operation_id = "getBroadcastStatistics",
    tag = "statistics",
    params(OfBroadcast),
    responses((status = 200, body = BroadcastStatistics), Refusals)
)]
async fn statistics(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Json<BroadcastStatistics> {
    let viewers = shared.read(|directory, _| {
        directory
            .broadcast(&app.name, &id.0)
            .map(Broadcast::viewers)
    });
    let others = if viewers.is_some() { 0 } else { -1 };
    Json(BroadcastStatistics {
        rtmp: others,
        hls: others,
        webrtc: viewers.map_or(-1, |viewers| viewers as i64),
        dash: others,
    })
}
