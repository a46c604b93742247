//! `/version`.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Refusals;

/// Which server answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    version_name: &'static str,
    version_type: &'static str,
    build_number: &'static str,
}

/// Says which server and version this is.
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "getVersion",
    tag = "server",
    responses((status = 200, description = "As asked", body = Version), Refusals)
)]
pub async fn show() -> Json<Version> {
    Json(Version {
        version_name: env!("CARGO_PKG_VERSION"),
        version_type: "Leafcutter",
        build_number: env!("CARGO_PKG_VERSION"),
    })
}
