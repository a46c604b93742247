//! Refusals of WHIP and WHEP: one table, signalling error to status, and problem details
//! (RFC 9457) that say what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::model::definition::Definition;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    /// The signalling protocol's word for it, where it has one.
    definition: Option<&'static str>,
    detail: &'static str,
}

impl Problem {
    /// One that is HTTP's alone.
    pub const fn new(status: StatusCode, detail: &'static str) -> Self {
        Self {
            status,
            definition: None,
            detail,
        }
    }

    /// What signalling refused, by its text.
    pub fn of_signalling(text: &str) -> Self {
        let known = Definition::ALL.into_iter().find(|d| d.text() == text);
        known.map_or(
            Self::new(
                StatusCode::BAD_GATEWAY,
                "The server refused, in words unknown.",
            ),
            Self::of,
        )
    }

    fn of(definition: Definition) -> Self {
        let (status, detail) = explain(definition);
        Self {
            status,
            definition: Some(definition.text()),
            detail,
        }
    }
}

fn explain(definition: Definition) -> (StatusCode, &'static str) {
    use Definition as D;
    const NOT_NOW: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match definition {
        D::NoStreamNameSpecified | D::InvalidStreamName => (
            StatusCode::BAD_REQUEST,
            "The last part of the path must be a stream id: A-Z a-z 0-9 - _ . only.",
        ),
        D::TextTooLong => (
            StatusCode::BAD_REQUEST,
            "A token may have 8 KiB, other parameters 1 KiB.",
        ),
        D::NotInitializedYet => (NOT_NOW, "The application is still starting."),
        D::DataStoreNotAvailable => (NOT_NOW, "The server's database cannot be used."),
        D::HighResourceUsage => (NOT_NOW, "The server is busy."),
        D::LicenseSuspended => (StatusCode::FORBIDDEN, "The application is suspended."),
        D::NoCodecEnabled | D::NoEncoderSettings => (
            StatusCode::FORBIDDEN,
            "The application's settings allow no video codec.",
        ),
        D::NotAllowedUnregisteredStreams => (
            StatusCode::FORBIDDEN,
            "Only registered broadcasts may be published in this application.",
        ),
        D::StreamNotActiveOrExpired | D::RoomNotActiveOrExpired => (
            StatusCode::FORBIDDEN,
            "The broadcast or its room is outside of its planned dates.",
        ),
        D::UnauthorizedAccess => (
            StatusCode::UNAUTHORIZED,
            "A valid token is needed: Authorization: Bearer TOKEN.",
        ),
        D::UserBlocked => (StatusCode::FORBIDDEN, "The subscriber is blocked."),
        D::StreamIdInUse | D::AlreadyPublishing | D::AlreadyPlaying => (
            StatusCode::CONFLICT,
            "Somebody publishes under this id already.",
        ),
        D::NoStreamExist | D::NoRoomSpecified | D::NoActiveStreamsInRoom => {
            (StatusCode::NOT_FOUND, "Nothing is live under this id.")
        }
        D::WebrtcNotEnabled => (
            StatusCode::FORBIDDEN,
            "The application does not allow WebRTC playing.",
        ),
        D::ViewerLimitReached => (NOT_NOW, "As many viewers as are allowed are here."),
        D::SubtrackLimitReached => (NOT_NOW, "The room holds as many as it may."),
        D::PublishTimeoutError | D::NoPacketReceivedForTimeoutDuration => {
            (StatusCode::GATEWAY_TIMEOUT, "Media did not come in time.")
        }
        D::NotSetLocalDescription => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The server could not describe what it sends.",
        ),
        D::NotSetRemoteDescription | D::NoPeerAssociatedBefore => (
            StatusCode::BAD_REQUEST,
            "The SDP offer cannot be used: it is malformed, lacks ICE credentials or a SHA-256 \
             fingerprint, is not BUNDLE with rtcp-mux, or has no codec in common.",
        ),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "definition": self.definition,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_a_refusal() {
        for definition in Definition::ALL {
            let problem = Problem::of_signalling(definition.text());
            assert!(problem.status.as_u16() >= 400, "{problem:?}");
            assert_eq!(problem.definition, Some(definition.text()));
        }
        let unknown = Problem::of_signalling("somethingElse");
        assert_eq!(unknown.status, StatusCode::BAD_GATEWAY);
    }
}
