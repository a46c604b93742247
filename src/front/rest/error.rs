//! Every refusal of the REST interface: one table, error to status and text.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::front::app::KnownApp;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestError {
    /// Offset or size is no number.
    BadPage,
    /// No broadcast has this id.
    UnknownBroadcast,
    /// No resource is at this path.
    UnknownPath,
}

/// Ant Media's Result object: the answer of everything that returns no resource.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether it was done.
    pub success: bool,
    /// Why not.
    pub message: Option<&'static str>,
    /// What was made, if something was.
    pub data_id: Option<String>,
    /// Always 0 here: the text says more.
    pub error_id: i32,
}

impl RestError {
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadPage => (StatusCode::BAD_REQUEST, "Offset and size must be numbers"),
            Self::UnknownBroadcast => (StatusCode::NOT_FOUND, "There is no such broadcast"),
            Self::UnknownPath => (StatusCode::NOT_FOUND, "There is no such resource"),
        }
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let (status, message) = self.parts();
        let outcome = Outcome {
            success: false,
            message: Some(message),
            data_id: None,
            error_id: 0,
        };
        (status, Json(outcome)).into_response()
    }
}

/// Paths below the interface that lead nowhere.
pub async fn nothing(_app: KnownApp) -> RestError {
    RestError::UnknownPath
}
