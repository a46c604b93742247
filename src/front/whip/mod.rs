//! WHIP (RFC 9725) publishes and WHEP (draft-ietf-wish-whep) plays over plain HTTP: one POST with
//! an offer makes a resource, PATCH restarts its ICE, DELETE ends it.
//!
//! A resource is a client of the same signalling as every WebSocket (`dialogue.rs`), so the same
//! checks let it in. Candidates in a PATCH are not needed: the server is ICE-lite.

mod dialogue;
mod problem;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::app::KnownApp;
use super::http::{Remote, bearer};
use super::shared::Shared;
use super::upgrade::client_of;
use crate::base::limits::MAX_WHIP_BODY_LEN;
use crate::model::ice_server::IceServer;
use crate::sdp::{self, IceParameters, fragment};
use dialogue::{Dialogue, Heard};
use problem::Problem;
use table::{Begin, Resource};

pub use table::Table;

/// Its paths.
pub fn router() -> Router<Shared> {
    let endpoint = |role| {
        let create = move |state, path, app, query, request| {
            create(state, (role, path), app, query, request)
        };
        post(create).options(describe)
    };
    let resource = |role| {
        let change = move |state, path, request| change(state, (role, path), request);
        patch(change).delete(end)
    };
    Router::new()
        .route("/{app}/whip/{stream}", endpoint(Role::Whip))
        .route("/{app}/whep/{stream}", endpoint(Role::Whep))
        .route("/{app}/whip/{stream}/{resource}", resource(Role::Whip))
        .route("/{app}/whep/{stream}/{resource}", resource(Role::Whep))
}

/// Which way media flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Whip,
    Whep,
}

/// The last segment of an endpoint's path.
#[derive(Debug, Deserialize)]
struct EndpointPath {
    app: String,
    stream: String,
}

/// The last segments of a resource's path.
#[derive(Debug, Deserialize)]
struct ResourcePath {
    resource: String,
}

/// `OPTIONS`: what a POST may hold, and the ICE servers for it.
async fn describe(State(shared): State<Shared>, app: KnownApp) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    add_ice_servers(headers, &app, &shared);
    response
}

/// `POST`: an offer comes, its answer goes.
async fn create(
    State(shared): State<Shared>,
    (role, Path(path)): (Role, Path<EndpointPath>),
    app: KnownApp,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Result<Response, Problem> {
    if shared.is_stopping() {
        return Err(STOPPING);
    }
    demand_type(request.headers(), SDP)?;
    let remote = request.extensions().get().copied();
    let Remote(remote) = remote.ok_or(UNREADABLE)?;
    let client =
        client_of(remote, &request).map_err(|what| Problem::new(what.status(), what.detail()))?;
    let client = Arc::new(client);
    let token = bearer(request.headers()).map(str::to_owned);
    let place = shared.socket_place(client.remote.unwrap_or(remote.ip()));
    let place = place.ok_or(TOO_MANY)?;
    let offer = text(request).await?;
    let ufrag = fragment::credentials(&offer).ok().flatten();
    let Some(ufrag) = ufrag.map(|ice| ice.ufrag) else {
        return Err(Problem::of_signalling("notSetRemoteDescription"));
    };
    let dialogue = Dialogue::open(&shared, &app, (client, place));
    let negotiation = async {
        let mut dialogue = dialogue.await?;
        let ask = ask(role, &path.stream, query, token, &offer);
        let answer = negotiate(&mut dialogue, &path.stream, &ask, offer).await?;
        Ok::<_, Problem>((dialogue, answer))
    };
    let (dialogue, answer) = timeout(NEGOTIATION_TIME, negotiation)
        .await
        .map_err(|_| TOO_SLOW)??;
    let segment = match role {
        Role::Whip => "whip",
        Role::Whep => "whep",
    };
    let endpoint = format!("/{}/{segment}/{}", path.app, path.stream);
    let begin = Begin {
        mid: first_mid(&answer),
        endpoint: endpoint.clone(),
        stream: path.stream,
        ufrag,
    };
    let (key, etag) = table::enter(&shared, dialogue, begin);
    let location = format!("{endpoint}/{key}");
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    insert_text(headers, header::LOCATION, &location);
    insert_text(headers, header::ETAG, &format!("\"{etag}\""));
    add_ice_servers(headers, &app, &shared);
    Ok(response)
}

/// The signalling command that asks to publish or play.
fn ask(
    role: Role,
    stream: &str,
    mut query: HashMap<String, String>,
    token: Option<String>,
    offer: &str,
) -> Value {
    let (command, keys) = match role {
        Role::Whip => ("publish", &PUBLISH_KEYS[..]),
        Role::Whep => ("play", &PLAY_KEYS[..]),
    };
    let mut ask = Map::new();
    for key in keys {
        if let Some(value) = query.remove(*key) {
            ask.insert((*key).to_owned(), Value::String(value));
        }
    }
    if let Some(token) = token {
        ask.insert("token".to_owned(), Value::String(token));
    }
    ask.insert("command".to_owned(), json!(command));
    ask.insert("streamId".to_owned(), json!(stream));
    if role == Role::Whip {
        let has = |media: &str| offer.lines().any(|line| line.starts_with(media));
        ask.insert("video".to_owned(), json!(has("m=video")));
        ask.insert("audio".to_owned(), json!(has("m=audio")));
    }
    Value::Object(ask)
}

/// Asks, offers when that is granted, and returns the answer.
async fn negotiate(
    dialogue: &mut Dialogue,
    stream: &str,
    ask: &Value,
    offer: String,
) -> Result<String, Problem> {
    dialogue.say(ask);
    let mut offer = Some(offer);
    loop {
        match dialogue.hear().await {
            Some(Heard::Start | Heard::Offer) => {
                if let Some(sdp) = offer.take() {
                    dialogue.say(&json!({
                        "command": "takeConfiguration", "streamId": stream,
                        "type": "offer", "sdp": sdp,
                    }));
                }
            }
            Some(Heard::Answer(sdp)) => return Ok(sdp),
            Some(Heard::Refused(definition)) => return Err(Problem::of_signalling(&definition)),
            Some(Heard::Other | Heard::Restarted(_)) => {}
            Some(Heard::Over) | None => return Err(BUSY),
        }
    }
}

/// `PATCH`: candidates, which are passed over, or an ICE restart (RFC 9725 §4.3).
async fn change(
    State(shared): State<Shared>,
    (role, Path(path)): (Role, Path<ResourcePath>),
    request: Request,
) -> Result<Response, Problem> {
    let resource = find(&shared, &path, &request)?;
    demand_type(request.headers(), FRAGMENT)?;
    let condition = request.headers().get(header::IF_MATCH);
    let condition = condition.and_then(|value| value.to_str().ok());
    let condition = condition.map(|tags| tags.trim().to_owned());
    let text = text(request).await?;
    let remote = fragment::credentials(&text).map_err(|_| BAD_FRAGMENT)?;
    let is_same = |remote: &IceParameters| remote.ufrag == resource.ufrag;
    match condition.as_deref() {
        Some(tags) if tags == "*" || tags.split(',').any(|tag| is_tag(tag, &resource.etag)) => {}
        Some(_) => return Err(OTHER_SESSION),
        // Some players never send it (whip-whep 1.2); the user fragment names the session, too.
        None if role == Role::Whep && remote.as_ref().is_some_and(is_same) => {}
        None => return Err(NO_CONDITION),
    }
    let Some(remote) = remote.filter(|remote| !is_same(remote)) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let ufrag = remote.ufrag.clone();
    let local = resource.restart_ice(remote).await.ok_or(NO_RESOURCE)?;
    let etag = shared.random_id();
    shared.resources().retag(&path.resource, &etag, &ufrag);
    let text = fragment::write(&local, &resource.mid);
    let mut response = (StatusCode::OK, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
    insert_text(headers, header::ETAG, &format!("\"{etag}\""));
    Ok(response)
}

/// `DELETE`.
async fn end(
    State(shared): State<Shared>,
    Path(path): Path<ResourcePath>,
    request: Request,
) -> Result<StatusCode, Problem> {
    find(&shared, &path, &request)?.end().await;
    Ok(StatusCode::OK)
}

fn find(shared: &Shared, path: &ResourcePath, request: &Request) -> Result<Resource, Problem> {
    let (endpoint, _) = request.uri().path().rsplit_once('/').ok_or(NO_RESOURCE)?;
    let found = shared.resources().find(endpoint, &path.resource);
    found.ok_or(NO_RESOURCE)
}

/// Compares an entity tag (RFC 9110 §13.1.1) with one of ours.
fn is_tag(text: &str, etag: &str) -> bool {
    let quoted = text.trim().strip_prefix('"');
    quoted.and_then(|text| text.strip_suffix('"')) == Some(etag)
}

fn demand_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let text = headers.get(header::CONTENT_TYPE);
    let text = text.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => Err(WRONG_TYPE),
    }
}

async fn text(request: Request) -> Result<String, Problem> {
    let body = to_bytes(request.into_body(), MAX_WHIP_BODY_LEN);
    let bytes: Bytes = timeout(BODY_TIME, body)
        .await
        .map_err(|_| TOO_LONG)?
        .map_err(|_| TOO_LONG)?;
    String::from_utf8(bytes.into()).map_err(|_| UNREADABLE)
}

/// The mid of the m-line that carries the transport.
fn first_mid(answer: &str) -> String {
    let sections = sdp::parse(answer).map(|answer| answer.media);
    let first = sections
        .iter()
        .flatten()
        .find(|section| !section.rejected)
        .map(|section| section.mid.to_string());
    first.unwrap_or_else(|| "0".to_owned())
}

/// `Link` headers (RFC 9725 §4.6).
fn add_ice_servers(headers: &mut HeaderMap, app: &KnownApp, shared: &Shared) {
    let unix_s = shared.unix_s().unsigned_abs();
    if let Some(server) = IceServer::of(&app.settings, unix_s)
        && let Ok(value) = HeaderValue::from_str(&server.to_link())
    {
        headers.append(header::LINK, value);
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Fields of `publish` that may stand in the query, by signalling's own names.
const PUBLISH_KEYS: [&str; 7] = [
    "token",
    "subscriberId",
    "subscriberCode",
    "streamName",
    "mainTrack",
    "metaData",
    "role",
];

/// Fields of `play` that may stand in the query.
const PLAY_KEYS: [&str; 6] = [
    "token",
    "subscriberId",
    "subscriberCode",
    "subscriberName",
    "viewerInfo",
    "role",
];

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Longer than a webhook may take to answer (`front/checks.rs`), and what follows it.
const NEGOTIATION_TIME: Duration = Duration::from_secs(20);

/// For a body to come to its end.
const BODY_TIME: Duration = Duration::from_secs(10);

const BUSY: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "Every worker is busy, or the server ended the negotiation.",
);
const STOPPING: Problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The server is stopping.");
const TOO_MANY: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "There are too many clients, of this address or in all.",
);
const TOO_SLOW: Problem = Problem::new(
    StatusCode::GATEWAY_TIMEOUT,
    "There was nothing to negotiate in time: is the broadcast live?",
);
const UNREADABLE: Problem = Problem::new(StatusCode::BAD_REQUEST, "The body is not UTF-8 text.");
const TOO_LONG: Problem = Problem::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "The body is too long or did not come to its end.",
);
const WRONG_TYPE: Problem = Problem::new(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "Content-Type must be application/sdp for POST and application/trickle-ice-sdpfrag for PATCH.",
);
const NO_RESOURCE: Problem = Problem::new(
    StatusCode::NOT_FOUND,
    "There is no such resource; it may have ended.",
);
const NO_CONDITION: Problem = Problem::new(
    StatusCode::PRECONDITION_REQUIRED,
    "PATCH needs If-Match: the ETag for candidates, * for an ICE restart.",
);
const OTHER_SESSION: Problem = Problem::new(
    StatusCode::PRECONDITION_FAILED,
    "The ETag is of an ICE session that is over.",
);
const BAD_FRAGMENT: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "The fragment's ICE credentials cannot be used.",
);
