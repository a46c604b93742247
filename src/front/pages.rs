//! What is not REST: health, metrics, and the files of the playground and of the admin page, which
//! are part of the binary.

use std::net::IpAddr;

use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::app::KnownApp;
use super::http::{Remote, client_ip};
use super::rest;
use super::shared::Shared;
use crate::metrics;

/// `/`: the playground of the application that Ant Media's own pages use.
pub async fn root() -> Redirect {
    Redirect::temporary("/LiveApp/")
}

/// `/healthz`: 200 while newcomers are served.
pub async fn health(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// `/readyz`: 200 while newcomers find everything that they need; otherwise 503 and what is
/// missing, one word per line.
pub async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let missing: Vec<&str> = [
        (shared.is_stopping(), "stopping"),
        (!shared.store().is_up(), "store"),
        (shared.is_overloaded(), "overloaded"),
    ]
    .into_iter()
    .filter_map(|(is_so, word)| is_so.then_some(word))
    .collect();
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let text = missing.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// `/metrics`: the figures of this moment, in OpenMetrics for whoever asks for that.
pub async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let snapshot = shared.snapshot();
    let (content_type, text) = if accepted.is_some_and(|list| list.contains(OPENMETRICS)) {
        (metrics::CONTENT_TYPE, metrics::render(snapshot))
    } else {
        (metrics::PLAIN_CONTENT_TYPE, metrics::render_plain(snapshot))
    };
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// Prometheus asks for it by this name.
const OPENMETRICS: &str = "application/openmetrics-text";

/// `GET /{app}`: the playground refers to its files relatively, so it needs the slash.
pub async fn app(app: KnownApp, RawQuery(query): RawQuery) -> Redirect {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::temporary(&format!("/{}/{query}", app.name))
}

/// `HEAD /{app}`: INTEROP(antmedia-js) with `httpEndpointUrl` the SDK asks this before it
/// connects, and retries until the answer is 2xx or 3xx.
pub async fn app_exists(_app: KnownApp) -> StatusCode {
    StatusCode::OK
}

/// `/{app}/`: the playground.
pub async fn index(_app: KnownApp) -> Response {
    file(&PLAYGROUND, "index.html")
}

/// `/{app}/{asset}`: one of the playground's files.
pub async fn asset(_app: KnownApp, Path(path): Path<AssetPath>) -> Response {
    file(&PLAYGROUND, &path.asset)
}

/// `/{app}/admin`: the admin page refers to its files relatively too.
pub async fn admin(app: KnownApp) -> Redirect {
    Redirect::temporary(&format!("/{}/admin/", app.name))
}

/// `/{app}/admin/`: the admin page, for addresses that may use REST.
pub async fn admin_index(
    app: KnownApp,
    Extension(Remote(remote)): Extension<Remote>,
    headers: HeaderMap,
) -> Response {
    admin_file(&app, client_ip(remote, &headers), "index.html")
}

/// `/{app}/admin/{asset}`: one of its files.
pub async fn admin_asset(
    app: KnownApp,
    Extension(Remote(remote)): Extension<Remote>,
    headers: HeaderMap,
    Path(path): Path<AssetPath>,
) -> Response {
    admin_file(&app, client_ip(remote, &headers), &path.asset)
}

/// A browser that opens a page sends no JWT, so the page asks for it; what it shows comes by REST.
fn admin_file(app: &KnownApp, ip: IpAddr, name: &str) -> Response {
    if !rest::allows_ip(&app.settings, ip) {
        let text = "This address is not in remoteAllowedCIDR of the application's settings.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let policy = [(header::CONTENT_SECURITY_POLICY, ADMIN_POLICY)];
    (policy, file(&ADMIN, name)).into_response()
}

/// The last segment of an asset's path.
#[derive(Debug, Deserialize)]
pub struct AssetPath {
    asset: String,
}

/// Every other path.
pub async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "There is nothing at this path.\n")
}

/// Every path that may wait for something, while too many do.
pub async fn later() -> Response {
    let headers = [(header::RETRY_AFTER, "1")];
    let text = "Too many requests are under way.\n";
    (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response()
}

fn file(files: &[File], name: &str) -> Response {
    let Some((_, content_type, text)) = files.iter().find(|(known, ..)| *known == name) else {
        return (StatusCode::NOT_FOUND, "There is no such file.\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, *content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, *text).into_response()
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Nothing but its own files and this server; in nobody's frame, so that nobody's page can have its
/// buttons pressed.
const ADMIN_POLICY: &str = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'";

/// A file's name, type and text.
type File = (&'static str, &'static str, &'static str);

/// Every file of `admin/`.
const ADMIN: [File; 7] = [
    ("index.html", HTML, include_str!("admin/index.html")),
    ("admin.css", STYLE, include_str!("admin/admin.css")),
    ("admin.js", SCRIPT, include_str!("admin/admin.js")),
    ("access.js", SCRIPT, include_str!("admin/access.js")),
    ("api.js", SCRIPT, include_str!("admin/api.js")),
    ("chart.js", SCRIPT, include_str!("admin/chart.js")),
    ("settings.js", SCRIPT, include_str!("admin/settings.js")),
];

/// Every file of `playground/`, and of the bare player for frames in other pages, `play.html`.
const PLAYGROUND: [File; 9] = [
    ("index.html", HTML, include_str!("playground/index.html")),
    ("style.css", STYLE, include_str!("playground/style.css")),
    ("app.js", SCRIPT, include_str!("playground/app.js")),
    ("client.js", SCRIPT, include_str!("playground/client.js")),
    ("errors.js", SCRIPT, include_str!("playground/errors.js")),
    ("meter.js", SCRIPT, include_str!("playground/meter.js")),
    ("play.html", HTML, include_str!("playground/play.html")),
    ("play.js", SCRIPT, include_str!("playground/play.js")),
    ("sources.js", SCRIPT, include_str!("playground/sources.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_pages_is_in_the_binary() {
        let front = concat!(env!("CARGO_MANIFEST_DIR"), "/src/front");
        for (folder, files) in [("playground", &PLAYGROUND[..]), ("admin", &ADMIN[..])] {
            for entry in std::fs::read_dir(format!("{front}/{folder}")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(files.iter().any(|(known, ..)| *known == name), "{name}");
            }
        }
    }
}
