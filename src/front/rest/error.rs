//! Every refusal of the REST interface: one table, error to status and text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::model::definition::Definition;
use crate::store::StoreError;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestError {
    /// A part of the path cannot be read; says which.
    BadPath(String),
    /// A query parameter cannot be read; says which.
    BadQuery(String),
    /// The body is no JSON of the form asked for; says where.
    BadBody(String),
    /// What was asked for cannot be done; says why.
    Refused(Cow<'static, str>),
    /// The client's address is not in `remoteAllowedCIDR`.
    NotAllowedIp,
    /// The page that asks is not this server's, and no JWT is asked for.
    ForeignPage,
    /// The request's `Host` is no name of this server's, and no JWT is asked for.
    ForeignHost,
    /// `jwtControlEnabled`, and the `Authorization` header holds no good JWT.
    InvalidAppJwt,
    /// No application has this name.
    UnknownApp,
    /// No broadcast has this id.
    UnknownBroadcast,
    /// No resource is at this path.
    UnknownPath,
    /// The resource does not know this method.
    UnknownMethod,
    /// The body is longer than `MAX_REST_BODY_LEN`.
    BodyTooLong,
    /// The body did not come to its end.
    BodyCut,
    /// As many requests as may be are worked on.
    TooMany,
    /// The store did not do it.
    Store(StoreError),
}

/// Ant Media's Result object: the answer of everything that returns no resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Result)]
pub struct Outcome {
    /// Whether it was done.
    pub success: bool,
    /// Why not.
    pub message: Option<String>,
    /// What was made, if something was.
    pub data_id: Option<String>,
    /// Always 0 here: the text says more.
    pub error_id: i32,
}

impl Outcome {
    /// It was done.
    pub fn done() -> Self {
        Self {
            success: true,
            message: None,
            data_id: None,
            error_id: 0,
        }
    }

    /// It was done, and this came of it.
    pub fn made(data_id: impl Into<String>) -> Self {
        Self {
            data_id: Some(data_id.into()),
            ..Self::done()
        }
    }

    /// It was not done. Ant Media says so with status 200 where the request itself was in order.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            success: false,
            message: Some(message.into()),
            data_id: None,
            error_id: 0,
        }
    }
}

impl RestError {
    fn parts(self) -> (StatusCode, Cow<'static, str>) {
        let bad = StatusCode::BAD_REQUEST;
        let missing = StatusCode::NOT_FOUND;
        match self {
            Self::BadPath(what) | Self::BadQuery(what) | Self::BadBody(what) => (bad, what.into()),
            Self::Refused(why) => (bad, why),
            Self::NotAllowedIp => (StatusCode::FORBIDDEN, "Not allowed IP".into()),
            Self::ForeignPage => {
                let text = "Pages of other origins need jwtControlEnabled and a JWT";
                (StatusCode::FORBIDDEN, text.into())
            }
            Self::ForeignHost => {
                let text = "The server is asked by a name that it does not know: add it to \
                            host_names of [server], use an IP address or localhost, or \
                            jwtControlEnabled and a JWT";
                (StatusCode::FORBIDDEN, text.into())
            }
            Self::InvalidAppJwt => (StatusCode::FORBIDDEN, "Invalid App JWT Token".into()),
            Self::UnknownApp => (missing, "There is no application of this name".into()),
            Self::UnknownBroadcast => (missing, "There is no such broadcast".into()),
            Self::UnknownPath => (missing, "There is no such resource".into()),
            Self::UnknownMethod => {
                let text = "The resource does not know this method";
                (StatusCode::METHOD_NOT_ALLOWED, text.into())
            }
            Self::BodyTooLong => {
                let text = "The body is longer than 65536 bytes";
                (StatusCode::PAYLOAD_TOO_LARGE, text.into())
            }
            Self::BodyCut => (bad, "The body did not come to its end".into()),
            Self::TooMany => {
                let text = "Too many requests are under way";
                (StatusCode::SERVICE_UNAVAILABLE, text.into())
            }
            Self::Store(StoreError::Unavailable) => {
                let text = Definition::DataStoreNotAvailable.text();
                (StatusCode::SERVICE_UNAVAILABLE, text.into())
            }
            Self::Store(StoreError::Exists) => (bad, "It exists already".into()),
            Self::Store(StoreError::Full) => (bad, "There is no room for more of these".into()),
        }
    }
}

impl From<StoreError> for RestError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let (status, message) = self.parts();
        (status, Json(Outcome::failed(message))).into_response()
    }
}

/// Documents what any operation may answer besides success: 400, 403 and 503.
#[derive(Debug)]
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        BTreeMap::from([
            documented(
                StatusCode::BAD_REQUEST,
                "Path, query or body cannot be used",
            ),
            documented(
                StatusCode::FORBIDDEN,
                "Refused by the IP filter or the JWT filter",
            ),
            documented(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests are under way",
            ),
        ])
    }
}

/// Documents that there may be no such thing: 404.
#[derive(Debug)]
pub struct Missing;

impl IntoResponses for Missing {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        BTreeMap::from([documented(
            StatusCode::NOT_FOUND,
            "There is no such broadcast",
        )])
    }
}

/// Documents that the store may be out of order: 503.
#[derive(Debug)]
pub struct StoreDown;

impl IntoResponses for StoreDown {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let text = "data_store_not_available, or too many requests are under way";
        BTreeMap::from([documented(status, text)])
    }
}

/// Documents that the body may be too long: 413.
#[derive(Debug)]
pub struct TooLong;

impl IntoResponses for TooLong {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        BTreeMap::from([documented(status, "The body is longer than 65536 bytes")])
    }
}

/// A Result object behind an error status.
fn documented(status: StatusCode, description: &str) -> (String, RefOr<utoipa::openapi::Response>) {
    let schema = Ref::from_schema_name(Outcome::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build();
    (status.as_str().to_owned(), RefOr::T(response))
}

/// The schema of [`Outcome`], which every document holds because every operation refers to it.
pub fn outcome_schema() -> (String, RefOr<utoipa::openapi::Schema>) {
    (Outcome::name().into_owned(), Outcome::schema())
}
