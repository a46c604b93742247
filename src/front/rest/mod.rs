//! REST v2 below `/{app}/rest/v2`: one file per resource, one table of errors (`error.rs`), one
//! way to read requests (`input.rs`), one guard before all (`guard.rs`), and the OpenAPI document
//! that is generated from the handlers (`document.rs`).

mod broadcasts;
mod document;
mod error;
mod guard;
mod input;
mod live;
mod peers;
mod server;
mod settings;
mod statistics;
mod subscribers;
mod subtracks;
mod tokens;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::shared::Shared;
use crate::base::limits::MAX_REST_BODY_LEN;
use document::Document;
use error::RestError;
pub use guard::allows_ip;

/// Every path below `/{app}/rest/v2`. `host_names` are those by which this server is asked.
pub fn router(shared: Shared, host_names: Arc<[String]>) -> Router<Shared> {
    let (router, api) = operations().split_for_parts();
    router
        // INTEROP(antmedia) its own documents write the bulk deletion with a slash.
        .route("/broadcasts/", delete(broadcasts::remove_many))
        .route("/{*rest}", any(async || RestError::UnknownPath))
        .method_not_allowed_fallback(async || RestError::UnknownMethod)
        .layer(DefaultBodyLimit::max(MAX_REST_BODY_LEN))
        .layer(Extension(Document::of(&api)))
        .layer(from_fn_with_state((shared, host_names), guard::guard))
}

/// Every operation with its documentation.
fn operations() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(version::show))
        .routes(routes!(document::show))
        .merge(server::router())
        .merge(peers::router())
        .merge(settings::router())
        .merge(broadcasts::router())
        .merge(live::router())
        .merge(statistics::router())
        .merge(subtracks::router())
        .merge(tokens::router())
        .merge(subscribers::router())
}
