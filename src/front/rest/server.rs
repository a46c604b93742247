//! The server as a whole, for who operates it: its workers and its load.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Outcome, Refusals};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::metrics::WorkerFigures;

/// Both operations.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(reload))
}

/// What the server as a whole is doing. Counters run since its start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerView {
    version: &'static str,
    /// The application that was asked.
    app: String,
    /// Every application.
    apps: Vec<AppView>,
    workers: Vec<WorkerView>,
    /// How close processor and memory are to their limits; 1 is at one of them.
    stress: f64,
    /// Newcomers are refused because the host is too busy.
    overloaded: bool,
    /// The process is about to end and takes nobody in.
    draining: bool,
    /// The database can be used.
    store_up: bool,
}

/// How much of an application is in use.
#[derive(Debug, Serialize, ToSchema)]
struct AppView {
    name: String,
    broadcasts: usize,
    viewers: usize,
}

/// One worker thread.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WorkerView {
    worker: u16,
    /// Share of its time that it spends working, 0 to 1, over the last seconds.
    busy: f64,
    /// Its longest turn of the last second, in milliseconds.
    lag_ms: f64,
    websockets: u64,
    peers: u64,
    packets_in: u64,
    packets_out: u64,
    /// Payload written to subscribers.
    bytes_out: u64,
}

impl WorkerView {
    fn of(figures: &WorkerFigures) -> Self {
        let counters = &figures.counters;
        Self {
            worker: figures.worker.0,
            busy: figures.busy,
            lag_ms: figures.lag_us as f64 / 1e3,
            websockets: counters.conns,
            peers: counters.peers,
            packets_in: counters.rtp_received,
            packets_out: counters.rtp_sent,
            bytes_out: counters.rtp_sent_len,
        }
    }
}

/// What the server as a whole is doing: workers, applications, load.
#[utoipa::path(
    get,
    path = "/server",
    operation_id = "getServer",
    tag = "server",
    responses((status = 200, description = "As asked", body = ServerView), Refusals)
)]
async fn show(State(shared): State<Shared>, app: KnownApp) -> Json<ServerView> {
    let snapshot = shared.snapshot();
    let apps = snapshot.apps.iter().map(|counts| AppView {
        name: counts.app.to_string(),
        broadcasts: counts.broadcasts,
        viewers: counts.viewers,
    });
    Json(ServerView {
        version: env!("CARGO_PKG_VERSION"),
        app: app.name.to_string(),
        apps: apps.collect(),
        workers: snapshot.workers.iter().map(WorkerView::of).collect(),
        stress: snapshot.stress,
        overloaded: snapshot.is_overloaded,
        draining: snapshot.is_draining,
        store_up: snapshot.store_is_up,
    })
}

/// Reads the server's settings file again, as happens by itself within two seconds of a change. The
/// answer's message says what was applied and what waits for a restart.
#[utoipa::path(
    post,
    path = "/server/reload",
    operation_id = "reloadSettings",
    tag = "server",
    responses((status = 200, description = "As asked", body = Outcome), Refusals)
)]
async fn reload(State(shared): State<Shared>) -> Json<Outcome> {
    let list = |keys: &[String]| match keys {
        [] => "nothing".to_owned(),
        keys => keys.join(", "),
    };
    Json(match shared.reload().now(&shared).await {
        Ok(reloaded) => Outcome {
            message: Some(format!(
                "applied: {}; needs a restart: {}",
                list(&reloaded.applied),
                list(&reloaded.waiting)
            )),
            ..Outcome::done()
        },
        Err(error) => Outcome::failed(error),
    })
}
