//! Where each path goes, and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::shared::Shared;
use super::{pages, rest, upgrade, whip};

/// Every path of the server, which is asked by `host_names`.
pub fn router(shared: Shared, host_names: Arc<[String]>) -> Router {
    watched()
        .route("/", get(pages::root))
        .route("/{app}", get(pages::app).head(pages::app_exists))
        .route("/{app}/", get(pages::index))
        .route("/{app}/{asset}", get(pages::asset))
        .route("/{app}/websocket", get(upgrade::websocket))
        .route("/{app}/websocket/signaling", get(upgrade::websocket))
        .route("/{app}/admin", get(pages::admin))
        .route("/{app}/admin/", get(pages::admin_index))
        .route("/{app}/admin/{asset}", get(pages::admin_asset))
        .merge(whip::router())
        .nest("/{app}/rest/v2", rest::router(shared.clone(), host_names))
        .fallback(pages::nothing)
        .layer(from_fn(finish))
        .with_state(shared)
}

/// What there is for those who come while every connection has a request that is worked on: whoever
/// operates the server sees how it is, all others come later.
pub fn reserve(shared: Shared) -> Router {
    watched()
        .fallback(pages::later)
        .layer(from_fn(finish))
        .with_state(shared)
}

/// How the server is; nothing here waits for anything.
fn watched() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(pages::health))
        .route("/readyz", get(pages::ready))
        .route("/metrics", get(pages::metrics))
}

/// Answers preflights, and lets pages of any origin read every answer, as Ant Media does: the
/// SDKs run on other people's pages.
async fn finish(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        let headers = [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                "GET, POST, HEAD, OPTIONS, PUT, PATCH, DELETE",
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Authorization, Content-Type, Accept, If-Match",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "3600"),
        ];
        (StatusCode::NO_CONTENT, headers).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Location, ETag, Link, Accept-Post, Accept-Patch"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
