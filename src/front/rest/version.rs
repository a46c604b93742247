//! `/version`.

use axum::Json;
use serde::Serialize;

use crate::front::app::KnownApp;

/// The Version object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    version_name: &'static str,
    version_type: &'static str,
    build_number: &'static str,
}

/// `GET /version`.
pub async fn show(_app: KnownApp) -> Json<Version> {
    Json(Version {
        version_name: env!("CARGO_PKG_VERSION"),
        version_type: "Leafcutter",
        build_number: env!("CARGO_PKG_VERSION"),
    })
}
