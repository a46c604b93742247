//! What requests are made of: path, query and body, read so that every refusal is a Result object.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::error::RestError;
use crate::base::limits::MAX_REST_PAGE;
use crate::front::shared::Shared;
use crate::signal::message::is_valid_stream_id;

/// Parts of the path.
#[derive(Debug)]
pub struct InPath<T>(pub T);

/// The query.
#[derive(Debug)]
pub struct InQuery<T>(pub T);

/// A JSON body, at most `MAX_REST_BODY_LEN` bytes, of whatever content type.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A JSON object as body, or an empty body, which is an empty object.
#[derive(Debug)]
pub struct ObjectBody(pub Map<String, Value>);

/// A body of text, at most `MAX_REST_BODY_LEN` bytes.
#[derive(Debug)]
pub struct TextBody(pub String);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for InPath<T> {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, RestError> {
        let path = Path::<T>::from_request_parts(parts, shared).await;
        path.map(|Path(value)| Self(value))
            .map_err(|e| RestError::BadPath(e.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for InQuery<T> {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, RestError> {
        let query = Query::<T>::from_request_parts(parts, shared).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|e| RestError::BadQuery(e.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for JsonBody<T> {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, RestError> {
        parse(&bytes_of(request).await?).map(Self)
    }
}

impl FromRequest<Shared> for ObjectBody {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, RestError> {
        let bytes = bytes_of(request).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        parse(&bytes).map(Self)
    }
}

impl FromRequest<Shared> for TextBody {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, RestError> {
        let bytes = bytes_of(request).await?;
        String::from_utf8(bytes.into())
            .map(Self)
            .map_err(|_| RestError::BadBody("The body is not UTF-8".to_owned()))
    }
}

/// The whole body, as long as the router's limit allows.
async fn bytes_of(request: Request) -> Result<Bytes, RestError> {
    let bytes = Bytes::from_request(request, &()).await;
    bytes.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => RestError::BodyTooLong,
        _ => RestError::BodyCut,
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(bytes)
        .map_err(|e| RestError::BadBody(format!("The body cannot be read: {e}")))
}

/// The id of a broadcast, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(
    value_type = String,
    pattern = "^[A-Za-z0-9_.-]+$",
    min_length = 1,
    max_length = 256
)]
pub struct Id(pub String);

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_valid_stream_id(&text) {
            Ok(Self(text))
        } else {
            Err("an id is made of 1 to 256 of A-Z a-z 0-9 - _ .")
        }
    }
}

/// The broadcast of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfBroadcast {
    /// Id of the broadcast: A-Z a-z 0-9 - _ . and at most 256 of them.
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    pub id: Id,
}

/// One page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Page {
    /// How many are left out at the start; negative is 0.
    pub offset: i64,
    /// How many are wanted; at most 50 are given.
    pub size: i64,
}

impl Page {
    /// The page as a place and a length.
    pub fn bounds(&self) -> (usize, usize) {
        bounds(self.offset, self.size)
    }
}

/// One page of a list that belongs to a broadcast.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PageOfBroadcast {
    /// Id of the broadcast: A-Z a-z 0-9 - _ . and at most 256 of them.
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    pub id: Id,
    /// How many are left out at the start; negative is 0.
    pub offset: i64,
    /// How many are wanted; at most 50 are given.
    pub size: i64,
}

impl PageOfBroadcast {
    /// The page as a place and a length.
    pub fn bounds(&self) -> (usize, usize) {
        bounds(self.offset, self.size)
    }
}

fn bounds(offset: i64, size: i64) -> (usize, usize) {
    let offset = usize::try_from(offset).unwrap_or(0);
    let size = usize::try_from(size).unwrap_or(0).min(MAX_REST_PAGE);
    (offset, size)
}

/// How many there are.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Number {
    /// The count.
    pub number: usize,
}

impl IntoResponse for Number {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
