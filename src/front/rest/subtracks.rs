//! Subtracks of a main track, which is what a room is.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::broadcasts::views_of;
use super::error::{Missing, Outcome, Refusals, RestError, StoreDown};
use super::input::{Id, InPath, InQuery, Number, OfBroadcast, PageOfBroadcast};
use crate::control::BroadcastView;
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::store::StoreError;

/// Every operation on subtracks.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(add, remove))
        .routes(routes!(list))
        .routes(routes!(list_active))
        .routes(routes!(count_active))
}

/// Which subtrack.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Subtrack {
    /// Id of the subtrack.
    #[serde(rename = "id")]
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    subtrack: Id,
}

/// Makes a broadcast a subtrack of another; both must be registered.
#[utoipa::path(
    post,
    path = "/broadcasts/{id}/subtrack",
    operation_id = "addSubtrack",
    tag = "subtracks",
    params(OfBroadcast, Subtrack),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn add(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(Subtrack { subtrack }): InQuery<Subtrack>,
) -> Result<Json<Outcome>, RestError> {
    if id == subtrack {
        return Ok(Json(Outcome::failed(
            "A broadcast is no subtrack of its own",
        )));
    }
    let store = shared.store();
    let done = store
        .set_subtrack(&app.name, &id.0, &subtrack.0, true)
        .await;
    if let Ok(true) = done {
        shared.update(|directory, now| {
            directory.move_to_room(now, &app.name, &subtrack.0, Some(&id.0));
        });
    }
    Ok(Json(match done {
        Ok(true) => Outcome::done(),
        Ok(false) => Outcome::failed(NOT_REGISTERED),
        Err(StoreError::Full) => Outcome::failed("The main track has its subtracksLimit"),
        Err(error) => return Err(error.into()),
    }))
}

/// Takes a subtrack out of its main track; both must be registered.
#[utoipa::path(
    delete,
    path = "/broadcasts/{id}/subtrack",
    operation_id = "removeSubtrack",
    tag = "subtracks",
    params(OfBroadcast, Subtrack),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn remove(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(Subtrack { subtrack }): InQuery<Subtrack>,
) -> Result<Json<Outcome>, RestError> {
    let store = shared.store();
    let done = store
        .set_subtrack(&app.name, &id.0, &subtrack.0, false)
        .await?;
    shared.update(|directory, now| {
        let live = directory.broadcast(&app.name, &subtrack.0);
        if done && live.is_some_and(|live| live.main_track.as_deref() == Some(&*id.0)) {
            directory.move_to_room(now, &app.name, &subtrack.0, None);
        }
    });
    Ok(Json(if done {
        Outcome::done()
    } else {
        Outcome::failed(NOT_REGISTERED)
    }))
}

/// Which subtracks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Only {
    /// Only those of this role.
    role: Option<String>,
}

/// One page of the subtracks of a main track.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/subtracks/{offset}/{size}",
    operation_id = "listSubtracks",
    tag = "subtracks",
    params(PageOfBroadcast, Only),
    responses(
        (status = 200, description = "As asked", body = Vec<BroadcastView>),
        Refusals, Missing, StoreDown
    )
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
    InQuery(only): InQuery<Only>,
) -> Result<Json<Vec<BroadcastView>>, RestError> {
    page_of(&shared, &app, &page, only, false).await
}

/// One page of the subtracks of a main track that are on air.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/active-subtracks/{offset}/{size}",
    operation_id = "listActiveSubtracks",
    tag = "subtracks",
    params(PageOfBroadcast, Only),
    responses(
        (status = 200, description = "As asked", body = Vec<BroadcastView>),
        Refusals, Missing, StoreDown
    )
)]
async fn list_active(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
    InQuery(only): InQuery<Only>,
) -> Result<Json<Vec<BroadcastView>>, RestError> {
    page_of(&shared, &app, &page, only, true).await
}

/// How many subtracks of a main track are on air.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/active-subtracks-count",
    operation_id = "countActiveSubtracks",
    tag = "subtracks",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = Number), Refusals, Missing, StoreDown)
)]
async fn count_active(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Result<Number, RestError> {
    let views = views_of(&shared, &app.name, &id.0)
        .await?
        .ok_or(RestError::UnknownBroadcast)?;
    let number = views.iter().filter(|view| view.is_on_air()).count();
    Ok(Number { number })
}

async fn page_of(
    shared: &Shared,
    app: &KnownApp,
    page: &PageOfBroadcast,
    only: Only,
    active: bool,
) -> Result<Json<Vec<BroadcastView>>, RestError> {
    let (offset, size) = page.bounds();
    let role = only.role.filter(|role| !role.is_empty());
    let views = views_of(shared, &app.name, &page.id.0)
        .await?
        .ok_or(RestError::UnknownBroadcast)?;
    let page = views
        .into_iter()
        .filter(|view| !active || view.is_on_air())
        .filter(|view| role.as_deref().is_none_or(|role| view.role() == Some(role)))
        .skip(offset)
        .take(size);
    Ok(Json(page.collect()))
}

const NOT_REGISTERED: &str = "Both broadcasts must be registered";
