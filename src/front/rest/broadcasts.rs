//! `/broadcasts`: what is registered, merged with what is on air. Ids that are published without
//! being registered are listed behind those that are.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Missing, Outcome, Refusals, RestError, StoreDown, TooLong};
use super::input::{Id, InPath, InQuery, Number, ObjectBody, OfBroadcast, Page};
use crate::control::{Broadcast, BroadcastView};
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::model::broadcast::{BroadcastPatch, BroadcastRecord};
use crate::model::mail::AppName;
use crate::model::settings::is_http_url;
use crate::signal::message::is_valid_stream_id;
use crate::store::{BroadcastQuery, SortBy, StoreError};

/// Every operation on broadcasts themselves.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(show, change, remove))
        .routes(routes!(remove_many))
        .routes(routes!(list))
        .routes(routes!(count))
        .routes(routes!(count_found))
        .routes(routes!(count_live))
}

/// Registers a broadcast. Without `streamId` it gets an id.
#[utoipa::path(
    post,
    path = "/broadcasts/create",
    operation_id = "createBroadcast",
    tag = "broadcasts",
    request_body(content = Option<BroadcastRecord>, content_type = "application/json"),
    responses(
        (
            status = 200,
            description = "As asked",
            body = BroadcastView,
            links(
                ("show" = (
                    operation_id = "getBroadcast",
                    parameters(("id" = "$response.body#/streamId"))
                )),
                ("change" = (
                    operation_id = "putBroadcast",
                    parameters(("id" = "$response.body#/streamId"))
                )),
                ("delete" = (
                    operation_id = "deleteBroadcast",
                    parameters(("id" = "$response.body#/streamId"))
                )),
                ("subscribe" = (
                    operation_id = "addSubscriber",
                    parameters(("id" = "$response.body#/streamId"))
                )),
                ("listSubtracks" = (
                    operation_id = "listSubtracks",
                    parameters(("id" = "$response.body#/streamId"))
                )),
            )
        ),
        Refusals,
        TooLong,
        StoreDown
    )
)]
async fn create(
    State(shared): State<Shared>,
    app: KnownApp,
    ObjectBody(fields): ObjectBody,
) -> Result<Json<BroadcastView>, RestError> {
    let id = match fields.get("streamId") {
        None | Some(Value::Null) => shared.random_id(),
        Some(Value::String(id)) if id.is_empty() => shared.random_id(),
        Some(Value::String(id)) if is_valid_stream_id(id) => id.clone(),
        Some(_) => return Err(RestError::Refused(ID_RULE.into())),
    };
    let patch = patch_of(fields)?;
    let (is_live, now_ms) = shared.read(|directory, now| {
        let is_live = directory.broadcast(&app.name, &id).is_some();
        (is_live, (now.unix_us / 1000) as i64)
    });
    if is_live {
        return Err(RestError::Refused(IN_USE.into()));
    }
    let record = BroadcastRecord {
        stream_id: id,
        date: now_ms,
        update_time: now_ms,
        ..patch.apply(&BroadcastRecord::default())
    };
    match shared
        .store()
        .create_broadcast(&app.name, record.clone())
        .await
    {
        Ok(()) => {}
        Err(StoreError::Exists) => return Err(RestError::Refused(IN_USE.into())),
        Err(error) => return Err(error.into()),
    }
    Ok(Json(BroadcastView::registered(&record, None, 0)))
}

/// One broadcast.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}",
    operation_id = "getBroadcast",
    tag = "broadcasts",
    params(OfBroadcast),
    responses(
        (status = 200, description = "As asked", body = BroadcastView),
        Refusals, Missing, StoreDown
    )
)]
async fn show(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Result<Json<BroadcastView>, RestError> {
    let record = shared.store().broadcast(&app.name, &id.0).await;
    let view = shared.read(|directory, now| {
        let live = directory.broadcast(&app.name, &id.0);
        match (record, live) {
            (Ok(Some(record)), live) => Ok(BroadcastView::registered(&record, live, now.unix_us)),
            // What is on air is shown even without a store.
            (Ok(None) | Err(_), Some(live)) => Ok(BroadcastView::of(live, now.unix_us)),
            (Ok(None), None) => Err(RestError::UnknownBroadcast),
            (Err(error), None) => Err(error.into()),
        }
    });
    view.map(Json)
}

/// Changes the fields that the body names.
#[utoipa::path(
    put,
    path = "/broadcasts/{id}",
    operation_id = "putBroadcast",
    tag = "broadcasts",
    params(OfBroadcast),
    request_body = BroadcastRecord,
    responses(
        (status = 200, description = "As asked", body = Outcome),
        Refusals, TooLong, StoreDown
    )
)]
async fn change(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    ObjectBody(fields): ObjectBody,
) -> Result<Json<Outcome>, RestError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let (name, meta_data, role) = (text("name"), text("metaData"), text("role"));
    let patch = patch_of(fields)?;
    let is_registered = shared
        .store()
        .update_broadcast(&app.name, &id.0, patch)
        .await?;
    let is_live = shared
        .update(|directory, now| directory.describe(now, &app.name, &id.0, name, meta_data, role));
    Ok(Json(if is_registered || is_live {
        Outcome::done()
    } else {
        Outcome::failed(UNKNOWN)
    }))
}

/// What else a deletion takes along.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// True: its subtracks are stopped and forgotten too.
    delete_subtracks: Option<bool>,
}

/// Stops a broadcast and forgets it.
#[utoipa::path(
    delete,
    path = "/broadcasts/{id}",
    operation_id = "deleteBroadcast",
    tag = "broadcasts",
    params(OfBroadcast, Deletion),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
async fn remove(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
    InQuery(deletion): InQuery<Deletion>,
) -> Result<Json<Outcome>, RestError> {
    let subtracks = deletion.delete_subtracks == Some(true);
    let is_gone = forget(&shared, &app.name, &id.0, subtracks).await?;
    Ok(Json(if is_gone {
        Outcome::done()
    } else {
        Outcome::failed(UNKNOWN)
    }))
}

/// Which broadcasts are deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Deletions {
    /// Their ids, with commas between.
    ids: String,
}

/// Stops and forgets several broadcasts. The answer names those that were not there.
#[utoipa::path(
    delete,
    path = "/broadcasts",
    operation_id = "deleteBroadcasts",
    tag = "broadcasts",
    params(Deletions),
    responses((status = 200, description = "As asked", body = Outcome), Refusals, StoreDown)
)]
pub async fn remove_many(
    State(shared): State<Shared>,
    app: KnownApp,
    InQuery(Deletions { ids }): InQuery<Deletions>,
) -> Result<Json<Outcome>, RestError> {
    let ids: Vec<&str> = ids
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() || !ids.iter().all(|id| is_valid_stream_id(id)) {
        return Err(RestError::BadQuery(format!("ids: {ID_RULE}")));
    }
    let mut unknown = Vec::new();
    for id in ids {
        if !forget(&shared, &app.name, id, false).await? {
            unknown.push(id);
        }
    }
    Ok(Json(if unknown.is_empty() {
        Outcome::done()
    } else {
        Outcome::failed(format!("{UNKNOWN}: {}", unknown.join(", ")))
    }))
}

/// Which broadcasts are listed, and in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// Only this `type`.
    type_by: Option<String>,
    /// `name`, `date` or `status`; anything else is the id.
    sort_by: Option<String>,
    /// `desc`: the last first.
    order_by: Option<String>,
    /// Only those whose id or name holds this text.
    search: Option<String>,
    /// True: only those that are `broadcasting`, registered or not, and without a database too.
    /// `type_by` is not looked at; names and dates are those of the publish, not of the record.
    live: Option<bool>,
}

impl Listing {
    fn query(self) -> BroadcastQuery {
        let sort_by = self.sort_by.unwrap_or_default();
        let sorts = [
            ("name", SortBy::Name),
            ("date", SortBy::Date),
            ("status", SortBy::Status),
        ];
        let found = sorts
            .iter()
            .find(|(word, _)| sort_by.eq_ignore_ascii_case(word));
        BroadcastQuery {
            search: self.search.unwrap_or_default(),
            kind: self.type_by.filter(|kind| !kind.is_empty()),
            sort_by: found.map_or(SortBy::Id, |(_, sort)| *sort),
            descending: self
                .order_by
                .is_some_and(|way| way.eq_ignore_ascii_case("desc")),
            ..BroadcastQuery::default()
        }
    }
}

/// One page of the broadcasts.
#[utoipa::path(
    get,
    path = "/broadcasts/list/{offset}/{size}",
    operation_id = "listBroadcasts",
    tag = "broadcasts",
    params(Page, Listing),
    responses(
        (status = 200, description = "As asked", body = Vec<BroadcastView>),
        Refusals, StoreDown
    )
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<Page>,
    InQuery(listing): InQuery<Listing>,
) -> Result<Json<Vec<BroadcastView>>, RestError> {
    let (offset, size) = page.bounds();
    let only_live = listing.live == Some(true);
    let query = listing.query();
    if only_live {
        return Ok(Json(live(&shared, &app.name, &query, offset, size).await));
    }
    let store = shared.store();
    let records = store
        .list_broadcasts(&app.name, query.clone(), offset, size)
        .await?;
    let missing = size - records.len();
    let ids = if missing == 0 {
        Vec::new()
    } else {
        let registered = store.count_broadcasts(&app.name, query.clone()).await?;
        let offset = offset.saturating_sub(usize::try_from(registered).unwrap_or(usize::MAX));
        let ids = unregistered(&shared, &app.name, &query).await?;
        ids.into_iter().skip(offset).take(missing).collect()
    };
    Ok(Json(shared.read(|directory, now| {
        let live = |id: &str| directory.broadcast(&app.name, id);
        let stored = records
            .iter()
            .map(|r| BroadcastView::registered(r, live(&r.stream_id), now.unix_us));
        let others = ids.iter().filter_map(|id| live(id));
        stored
            .chain(others.map(|live| BroadcastView::of(live, now.unix_us)))
            .collect()
    })))
}

/// One page of the broadcasts on air, with what is registered of them where the store can be read.
async fn live(
    shared: &Shared,
    app: &AppName,
    query: &BroadcastQuery,
    offset: usize,
    size: usize,
) -> Vec<BroadcastView> {
    let ids = held(shared, app, query, |live| live.status() == "broadcasting");
    let ids: Vec<String> = ids.into_iter().skip(offset).take(size).collect();
    let records = shared.store().broadcasts(app, &ids).await;
    let records = records.unwrap_or_default();
    shared.read(|directory, now| {
        let view = |id: &String| {
            let live = directory.broadcast(app, id)?;
            let record = records.iter().find(|record| record.stream_id == *id);
            Some(match record {
                Some(record) => BroadcastView::registered(record, Some(live), now.unix_us),
                None => BroadcastView::of(live, now.unix_us),
            })
        };
        ids.iter().filter_map(view).collect()
    })
}

/// How many broadcasts there are.
#[utoipa::path(
    get,
    path = "/broadcasts/count",
    operation_id = "countBroadcasts",
    tag = "broadcasts",
    responses((status = 200, description = "As asked", body = Number), Refusals, StoreDown)
)]
async fn count(State(shared): State<Shared>, app: KnownApp) -> Result<Number, RestError> {
    number_of(&shared, &app.name, BroadcastQuery::default()).await
}

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Search {
    /// Part of an id or name, in any case.
    #[param(min_length = 1)]
    search: String,
}

/// How many broadcasts have an id or name that holds a text.
#[utoipa::path(
    get,
    path = "/broadcasts/count/{search}",
    operation_id = "countBroadcastsFound",
    tag = "broadcasts",
    params(Search),
    responses((status = 200, description = "As asked", body = Number), Refusals, StoreDown)
)]
async fn count_found(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(Search { search }): InPath<Search>,
) -> Result<Number, RestError> {
    let query = BroadcastQuery {
        search,
        ..BroadcastQuery::default()
    };
    number_of(&shared, &app.name, query).await
}

/// How many broadcasts are on air.
#[utoipa::path(
    get,
    path = "/broadcasts/active-live-stream-count",
    operation_id = "countLiveBroadcasts",
    tag = "broadcasts",
    responses((status = 200, description = "As asked", body = Number), Refusals)
)]
async fn count_live(State(shared): State<Shared>, app: KnownApp) -> Number {
    let is_live = |broadcast: &&Broadcast| broadcast.is_on_air();
    let number =
        shared.read(|directory, _| directory.broadcasts(&app.name).filter(is_live).count());
    Number { number }
}

async fn number_of(
    shared: &Shared,
    app: &AppName,
    query: BroadcastQuery,
) -> Result<Number, RestError> {
    let others = unregistered(shared, app, &query).await?.len();
    let registered = shared.store().count_broadcasts(app, query).await?;
    let number = usize::try_from(registered).unwrap_or(usize::MAX) + others;
    Ok(Number { number })
}

/// Ids on air that nobody registered and that `query` describes, in its order.
async fn unregistered(
    shared: &Shared,
    app: &AppName,
    query: &BroadcastQuery,
) -> Result<Vec<String>, StoreError> {
    if query
        .kind
        .as_deref()
        .is_some_and(|kind| kind != "liveStream")
    {
        return Ok(Vec::new());
    }
    let mut ids = held(shared, app, query, |_| true);
    if !ids.is_empty() {
        let registered = shared.store().registered(app, ids.clone()).await?;
        ids.retain(|id| !registered.contains(id));
    }
    Ok(ids)
}

/// Ids of what the directory holds, which `query` describes but for the type, in its order.
fn held(
    shared: &Shared,
    app: &AppName,
    query: &BroadcastQuery,
    is_wanted: impl Fn(&Broadcast) -> bool,
) -> Vec<String> {
    // As the store compares.
    let search = query.search.to_ascii_lowercase();
    let mut found: Vec<(Option<String>, u64, &str, String)> = shared.read(|directory, _| {
        directory
            .broadcasts(app)
            .filter(|live| {
                let name = live.name.as_deref().unwrap_or_default();
                is_wanted(live)
                    && (live.stream.to_ascii_lowercase().contains(&search)
                        || name.to_ascii_lowercase().contains(&search))
            })
            .map(|live| {
                let (date, status) = (live.created_unix_us, live.status());
                (live.name.clone(), date, status, live.stream.to_string())
            })
            .collect()
    });
    found.sort_by(|a, b| {
        let by = match query.sort_by {
            SortBy::Id => Ordering::Equal,
            SortBy::Name => a.0.cmp(&b.0),
            SortBy::Date => a.1.cmp(&b.1),
            SortBy::Status => a.2.cmp(b.2),
        };
        let by = by.then_with(|| a.3.cmp(&b.3));
        if query.descending { by.reverse() } else { by }
    });
    found.into_iter().map(|(.., id)| id).collect()
}

/// Stops and forgets one broadcast, with its subtracks if asked to. False when there is none.
async fn forget(
    shared: &Shared,
    app: &AppName,
    id: &str,
    subtracks: bool,
) -> Result<bool, RestError> {
    if subtracks {
        for subtrack in subtracks_of(shared, app, id).await? {
            forget_one(shared, app, &subtrack).await?;
        }
    }
    forget_one(shared, app, id).await
}

async fn forget_one(shared: &Shared, app: &AppName, id: &str) -> Result<bool, RestError> {
    if let Some(record) = shared.store().broadcast(app, id).await? {
        shared.webhooks().remember(app, &record, shared.unix_ms());
    }
    let is_registered = shared.store().delete_broadcast(app, id).await?;
    let was_live = shared.update(|directory, now| directory.stop(now, app, id));
    Ok(is_registered || was_live)
}

/// The subtracks of a broadcast as REST shows them, by id; `None` when there is no such broadcast.
pub async fn views_of(
    shared: &Shared,
    app: &AppName,
    main: &str,
) -> Result<Option<Vec<BroadcastView>>, RestError> {
    let is_live = shared.read(|directory, _| directory.broadcast(app, main).is_some());
    if !is_live && shared.store().broadcast(app, main).await?.is_none() {
        return Ok(None);
    }
    let mut ids = subtracks_of(shared, app, main).await?;
    ids.sort();
    let mut views = Vec::with_capacity(ids.len());
    for id in ids {
        let record = shared.store().broadcast(app, &id).await?;
        let view = shared.read(|directory, now| {
            let live = directory.broadcast(app, &id);
            match (record, live) {
                (Some(record), live) => Some(BroadcastView::registered(&record, live, now.unix_us)),
                (None, live) => live.map(|live| BroadcastView::of(live, now.unix_us)),
            }
        });
        views.extend(view);
    }
    Ok(Some(views))
}

/// The ids of the subtracks of a broadcast.
pub async fn subtracks_of(
    shared: &Shared,
    app: &AppName,
    id: &str,
) -> Result<Vec<String>, RestError> {
    let record = shared.store().broadcast(app, id).await?;
    let mut ids = record.map(|r| r.sub_track_stream_ids).unwrap_or_default();
    shared.read(|directory, _| {
        let live = directory.broadcast(app, id).map(|live| &live.subtracks);
        for subtrack in live.into_iter().flatten() {
            if !ids.iter().any(|id| **id == **subtrack) {
                ids.push(subtrack.to_string());
            }
        }
    });
    Ok(ids)
}

/// The fields of a body that a record has, checked.
fn patch_of(fields: Map<String, Value>) -> Result<BroadcastPatch, RestError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
    let url = text("listenerHookURL");
    if !url.is_empty() && !is_http_url(url) {
        let message = "listenerHookURL must be an http:// or https:// URL";
        return Err(RestError::Refused(message.into()));
    }
    if text("subFolder").split('/').any(|part| part == "..") {
        return Err(RestError::Refused("subFolder must not hold ..".into()));
    }
    let main_track = text("mainTrackStreamId");
    if !main_track.is_empty() && Id::try_from(main_track.to_owned()).is_err() {
        return Err(RestError::Refused(ID_RULE.into()));
    }
    BroadcastPatch::new(fields).map_err(RestError::BadBody)
}

const ID_RULE: &str = "An id is made of 1 to 256 of A-Z a-z 0-9 - _ .";
const IN_USE: &str = "The id is in use already";
const UNKNOWN: &str = "There is no such broadcast";
