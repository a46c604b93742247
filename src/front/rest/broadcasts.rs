//! `/broadcasts`: what is on air.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::error::RestError;
use crate::control::{Broadcast, BroadcastView};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;

/// Every path below `/broadcasts`.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/count", get(count))
        .route("/active-live-stream-count", get(count_live))
        .route("/list/{offset}/{size}", get(list))
        .route("/{id}", get(show))
        .route("/{id}/broadcast-statistics", get(statistics))
}

#[derive(Debug, Deserialize)]
struct Id {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    offset: i64,
    size: i64,
}

#[derive(Debug, Serialize)]
struct Number {
    number: usize,
}

/// Watchers by way of watching; -1 when unknown.
#[derive(Debug, Serialize)]
struct Statistics {
    #[serde(rename = "totalRTMPWatchersCount")]
    rtmp: i64,
    #[serde(rename = "totalHLSWatchersCount")]
    hls: i64,
    #[serde(rename = "totalWebRTCWatchersCount")]
    webrtc: i64,
    #[serde(rename = "totalDASHWatchersCount")]
    dash: i64,
}

async fn show(
    State(shared): State<Shared>,
    app: KnownApp,
    Path(Id { id }): Path<Id>,
) -> Result<Json<BroadcastView>, RestError> {
    shared
        .read(|directory, now| {
            let broadcast = directory.broadcast(&app.name, &id)?;
            Some(BroadcastView::of(broadcast, now.unix_us))
        })
        .map(Json)
        .ok_or(RestError::UnknownBroadcast)
}

/// Negative offsets begin at 0; at most [`MAX_PAGE`] are shown, as Ant Media does.
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    page: Result<Path<Page>, PathRejection>,
) -> Result<Json<Vec<BroadcastView>>, RestError> {
    let Path(Page { offset, size }) = page.map_err(|_| RestError::BadPage)?;
    let offset = usize::try_from(offset).unwrap_or(0);
    let size = usize::try_from(size).unwrap_or(0).min(MAX_PAGE);
    let views = shared.read(|directory, now| {
        directory
            .broadcasts(&app.name)
            .skip(offset)
            .take(size)
            .map(|broadcast| BroadcastView::of(broadcast, now.unix_us))
            .collect()
    });
    Ok(Json(views))
}

async fn count(State(shared): State<Shared>, app: KnownApp) -> Json<Number> {
    let number = shared.read(|directory, _| directory.broadcasts(&app.name).count());
    Json(Number { number })
}

async fn count_live(State(shared): State<Shared>, app: KnownApp) -> Json<Number> {
    let is_live = |broadcast: &&Broadcast| broadcast.is_playable();
    let number =
        shared.read(|directory, _| directory.broadcasts(&app.name).filter(is_live).count());
    Json(Number { number })
}

async fn statistics(
    State(shared): State<Shared>,
    app: KnownApp,
    Path(Id { id }): Path<Id>,
) -> Json<Statistics> {
    let viewers =
        shared.read(|directory, _| directory.broadcast(&app.name, &id).map(Broadcast::viewers));
    let others = if viewers.is_some() { 0 } else { -1 };
    Json(Statistics {
        rtmp: others,
        hls: others,
        webrtc: viewers.map_or(-1, |viewers| viewers as i64),
        dash: others,
    })
}

/// Most broadcasts in one answer.
const MAX_PAGE: usize = 50;
