//! What can be done to, and known of, a broadcast while it is on air.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::broadcasts::subtracks_of;
use super::error::{Outcome, Refusals, RestError, StoreDown, TooLong};
use super::input::{InPath, InQuery, OfBroadcast, TextBody};
use crate::control::{Broadcast, DataRefused};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;

/// Every operation on running broadcasts.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(stop))
        .routes(routes!(start))
        .routes(routes!(statistics))
        .routes(routes!(total_statistics))
        .routes(routes!(send_data))
}

/// What else a stop takes along.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Stopping {
    /// True: its subtracks are stopped too.
    stop_subtracks: Option<bool>,
}

/// Ends the publish of a broadcast; its publisher is told `publish_finished`.
#[utoipa::path(
    post,
    path = "/broadcasts/{id}/stop",
    operation_id = "stopBroadcast",
    tag = "live",
    params(OfBroadcast, Stopping),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn stop(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(stopping): InQuery<Stopping>,
) -> Result<Json<Outcome>, RestError> {
    let mut ids = vec![id.0.clone()];
    if stopping.stop_subtracks == Some(true) {
        ids.extend(subtracks_of(&shared, &app.name, &id.0).await?);
    }
    let stop = |id: &&String| shared.update(|directory, now| directory.stop(now, &app.name, id));
    let stopped = ids.iter().filter(stop).count();
    Ok(Json(if stopped > 0 {
        Outcome::done()
    } else {
        Outcome::failed(NOT_LIVE)
    }))
}

/// Pulling a stream source is not served: a broadcast starts when it is published.
#[utoipa::path(
    post,
    path = "/broadcasts/{id}/start",
    operation_id = "startBroadcast",
    tag = "live",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = Outcome), Refusals)
)]
async fn start(InPath(_broadcast): InPath<OfBroadcast>) -> Json<Outcome> {
    Json(Outcome::failed(
        "This server pulls no stream sources; a broadcast starts when it is published",
    ))
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

impl BroadcastStatistics {
    /// Of `viewers`, all by WebRTC; `None`: there is no such broadcast.
    fn of(viewers: Option<usize>) -> Self {
        let others = if viewers.is_some() { 0 } else { -1 };
        let webrtc = viewers.map(|viewers| i64::try_from(viewers).unwrap_or(i64::MAX));
        Self {
            rtmp: others,
            hls: others,
            webrtc: webrtc.unwrap_or(-1),
            dash: others,
        }
    }
}

/// How many watch one broadcast.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/broadcast-statistics",
    operation_id = "getBroadcastStatistics",
    tag = "statistics",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = BroadcastStatistics), Refusals)
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
    Json(BroadcastStatistics::of(viewers))
}

/// Watchers of every broadcast together, and how many broadcasts are on air.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TotalStatistics {
    #[serde(flatten)]
    watchers: BroadcastStatistics,
    active_live_stream_count: usize,
}

/// How many watch the application's broadcasts.
#[utoipa::path(
    get,
    path = "/broadcasts/total-broadcast-statistics",
    operation_id = "getTotalStatistics",
    tag = "statistics",
    responses((status = 200, description = "As asked", body = TotalStatistics), Refusals)
)]
async fn total_statistics(State(shared): State<Shared>, app: KnownApp) -> Json<TotalStatistics> {
    let (viewers, active) = shared.read(|directory, _| {
        let all = || directory.broadcasts(&app.name);
        let viewers = all().map(Broadcast::viewers).sum();
        (viewers, all().filter(|b| b.is_on_air()).count())
    });
    Json(TotalStatistics {
        watchers: BroadcastStatistics::of(Some(viewers)),
        active_live_stream_count: active,
    })
}

/// Sends the body over the data channels of a broadcast, to its publisher and players.
#[utoipa::path(
    post,
    path = "/broadcasts/{id}/data",
    operation_id = "sendData",
    tag = "live",
    params(OfBroadcast),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, TooLong)
)]
async fn send_data(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    TextBody(text): TextBody,
) -> Json<Outcome> {
    let sent = shared.update(|directory, _| directory.send_data(&app.name, &id.0, &text));
    Json(match sent {
        Ok(()) => Outcome::done(),
        Err(DataRefused::NoApp | DataRefused::NoStream) => Outcome::failed(NOT_LIVE),
        Err(DataRefused::Disabled) => Outcome::failed("Data channels are switched off"),
        Err(DataRefused::TooLong) => Outcome::failed("The message is too long"),
    })
}

const NOT_LIVE: &str = "There is no such broadcast on air";
