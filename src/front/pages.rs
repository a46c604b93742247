//! What is not REST: health, metrics and the playground, whose files are part of the binary.

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::app::KnownApp;
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

/// `/metrics`: the figures of this moment.
pub async fn metrics(State(shared): State<Shared>) -> Response {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, metrics::render(shared.snapshot())).into_response()
}

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
    file("index.html")
}

/// `/{app}/{asset}`: one of the playground's files.
pub async fn asset(_app: KnownApp, Path(path): Path<AssetPath>) -> Response {
    file(&path.asset)
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

fn file(name: &str) -> Response {
    let Some((_, content_type, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
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

/// Every file of `playground/`: name, type, text.
const FILES: [(&str, &str, &str); 7] = [
    ("index.html", HTML, include_str!("playground/index.html")),
    ("style.css", STYLE, include_str!("playground/style.css")),
    ("app.js", SCRIPT, include_str!("playground/app.js")),
    ("client.js", SCRIPT, include_str!("playground/client.js")),
    ("errors.js", SCRIPT, include_str!("playground/errors.js")),
    ("meter.js", SCRIPT, include_str!("playground/meter.js")),
    ("sources.js", SCRIPT, include_str!("playground/sources.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_playground_is_in_the_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/front/playground");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(FILES.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
}
