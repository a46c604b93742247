//! REST v2 below `/{app}/rest/v2`: one file per resource, one table of errors.

mod broadcasts;
mod error;
mod version;

use axum::Router;
use axum::routing::{any, get};

use super::shared::Shared;

/// Every path below `/{app}/rest/v2`.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/version", get(version::show))
        .nest("/broadcasts", broadcasts::router())
        .route("/{*rest}", any(error::nothing))
}
