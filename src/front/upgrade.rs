//! WebSocket upgrade (RFC 6455 §4.2) and the hand-over of the raw socket to a worker.
//!
//! Any origin and any query are accepted, as the SDKs need, up to a length; no subprotocol, no
//! extension.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tungstenite::handshake::derive_accept_key;

use super::app::KnownApp;
use super::http::{Remote, client_ip};
use super::shared::Shared;
use crate::base::crowd;
use crate::base::ids::WorkerId;
use crate::base::limits::{MAX_META_DATA_LEN, MAX_TEXT_LEN};
use crate::base::redact::Address;
use crate::model::mail::Client;
use crate::worker::NewConn;

/// `/{app}/websocket`: answers 101 and gives the socket away, or says why not.
pub async fn websocket(
    State(shared): State<Shared>,
    app: KnownApp,
    mut request: Request,
) -> Response {
    let accept = match accept_key(request.method(), request.version(), request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(Remote(remote)) = request.extensions().get().copied() else {
        return Refusal::NotUpgradable.into_response();
    };
    if shared.is_stopping() {
        return Refusal::Stopping.into_response();
    }
    let client = match client_of(remote, &request) {
        Ok(client) => client,
        Err(too_long) => return Refusal::TooLong(too_long).into_response(),
    };
    let Some(held) = shared.socket_place(client.remote.unwrap_or(remote.ip())) else {
        return Refusal::TooMany.into_response();
    };
    let Some(worker) = shared.pick_worker() else {
        return Refusal::Busy.into_response();
    };
    let place = Place {
        worker,
        app,
        remote,
        client: Arc::new(client),
        held,
    };
    tokio::spawn(hand_over(shared, place, hyper::upgrade::on(&mut request)));
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Where an accepted socket goes, and what of.
struct Place {
    worker: WorkerId,
    app: KnownApp,
    remote: SocketAddr,
    client: Arc<Client>,
    held: crowd::Place,
}

/// Waits until the 101 is out, takes the socket out of hyper, and mails it. A socket that cannot
/// be handed over is closed.
async fn hand_over(shared: Shared, place: Place, upgrade: OnUpgrade) {
    let remote = Address(place.remote);
    let taken = match upgrade.await.map(take_apart) {
        Ok(Some(taken)) => taken,
        Ok(None) => return tracing::error!("an upgraded connection is not a TCP socket"),
        Err(error) => return tracing::debug!(%remote, %error, "upgrade failed"),
    };
    let stream = match taken.socket.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%remote, %error, "socket lost"),
    };
    let conn = NewConn {
        stream,
        tls: taken.tls,
        read_ahead: taken.read_ahead,
        app: place.app.name,
        settings: place.app.settings,
        remote: place.remote,
        client: place.client,
        place: Some(place.held),
    };
    if shared.hand_over(place.worker, conn).is_err() {
        tracing::warn!(%remote, worker = place.worker.0, "inbox full, socket closed");
    }
}

/// What is behind an upgraded connection.
struct Taken {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    read_ahead: Vec<u8>,
}

/// Takes the socket, and the state of its TLS, out of hyper.
fn take_apart(upgraded: Upgraded) -> Option<Taken> {
    // The bytes are copied, because hyper read them into a buffer of 8 KiB.
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            return Some(Taken {
                socket: parts.io.into_inner(),
                tls: None,
                read_ahead: parts.read_buf.to_vec(),
            });
        }
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    let (socket, tls) = parts.io.into_inner().into_inner();
    Some(Taken {
        socket,
        tls: Some(Box::new(tls)),
        read_ahead: parts.read_buf.to_vec(),
    })
}

/// What control is told of the client. It is kept as long as the client is there, and therefore
/// has a length.
pub(super) fn client_of(remote: SocketAddr, request: &Request) -> Result<Client, TooLong> {
    let origin = request.headers().get(header::ORIGIN);
    if origin.is_some_and(|value| value.len() > MAX_TEXT_LEN) {
        return Err(TooLong::Origin);
    }
    let query = request.uri().query();
    if query.is_some_and(|query| query.len() > MAX_META_DATA_LEN) {
        return Err(TooLong::Query);
    }
    Ok(Client {
        remote: Some(client_ip(remote, request.headers())),
        origin: origin.and_then(|value| value.to_str().ok()).map(Arc::from),
        query: query.map(Arc::from),
    })
}

/// What of a request is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLong {
    Query,
    Origin,
}

impl TooLong {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Query => StatusCode::URI_TOO_LONG,
            Self::Origin => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Query => "The query may have 8 KiB.",
            Self::Origin => "The Origin header may have 1 KiB.",
        }
    }
}

/// Checks the client's handshake (RFC 6455 §4.2.1) and answers its key.
fn accept_key(method: &Method, version: Version, headers: &HeaderMap) -> Result<String, Refusal> {
    let is_upgrade = has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if method != Method::GET || version < Version::HTTP_11 || !is_upgrade {
        return Err(Refusal::NotAnUpgrade);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::SEC_WEBSOCKET_VERSION).map(str::trim) != Some("13") {
        return Err(Refusal::WrongVersion);
    }
    let key = text(header::SEC_WEBSOCKET_KEY).map(str::trim);
    key.filter(|key| is_key(key))
        .map(|key| derive_accept_key(key.as_bytes()))
        .ok_or(Refusal::BadKey)
}

/// Whether a comma-separated header holds `token`, compared without case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes in Base64 (RFC 6455 §4.1): 22 characters and two of padding.
fn is_key(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.strip_suffix("==")
        .is_some_and(|body| body.len() == 22 && body.bytes().all(allowed))
}

/// Why a socket was not upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotAnUpgrade,
    WrongVersion,
    BadKey,
    NotUpgradable,
    TooLong(TooLong),
    Stopping,
    Busy,
    TooMany,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let upgrade = [(header::UPGRADE, "websocket")];
        let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
        let retry = [(header::RETRY_AFTER, "1")];
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::NotAnUpgrade => {
                let text = "This path speaks WebSocket only.\n";
                (StatusCode::UPGRADE_REQUIRED, upgrade, text).into_response()
            }
            Self::WrongVersion => {
                let text = "This server speaks version 13 of WebSocket only.\n";
                (StatusCode::UPGRADE_REQUIRED, upgrade, version, text).into_response()
            }
            Self::BadKey => {
                let text = "Sec-WebSocket-Key is missing or not 16 bytes in Base64.\n";
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            Self::NotUpgradable => {
                let text = "This connection cannot be upgraded.\n";
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            Self::TooLong(what) => (what.status(), format!("{}\n", what.detail())).into_response(),
            Self::Stopping => (busy, retry, "The server is stopping.\n").into_response(),
            Self::TooMany => {
                let text = "There are too many WebSockets, of this address or in all.\n";
                (busy, retry, text).into_response()
            }
            Self::Busy => (busy, retry, "Every worker is busy.\n").into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_checked() {
        // The key and its answer are those of RFC 6455 §1.3.
        const GOOD: [(&str, &str); 4] = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let check = |changed: Option<(&'static str, &str)>| {
            let mut headers = HeaderMap::new();
            for (name, value) in GOOD.into_iter().chain(changed) {
                headers.insert(name, value.parse().unwrap());
            }
            accept_key(&Method::GET, Version::HTTP_11, &headers)
        };
        assert_eq!(check(None).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let cases = [
            (("connection", "keep-alive"), Refusal::NotAnUpgrade),
            (("upgrade", "h2c"), Refusal::NotAnUpgrade),
            (("sec-websocket-version", "8"), Refusal::WrongVersion),
            (("sec-websocket-key", "short=="), Refusal::BadKey),
            (
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ==="),
                Refusal::BadKey,
            ),
            (
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j\u{e9}Q=="),
                Refusal::BadKey,
            ),
        ];
        for (change, refusal) in cases {
            assert_eq!(check(Some(change)), Err(refusal), "{change:?}");
        }
        let headers = HeaderMap::new();
        let bare = accept_key(&Method::GET, Version::HTTP_11, &headers);
        assert_eq!(bare, Err(Refusal::NotAnUpgrade));
    }
    #[test]
    fn what_is_kept_of_a_client_has_a_length() {
        let check = |query_len, origin_len| {
            let request = Request::builder()
                .uri(format!("/live/websocket?{}", "q".repeat(query_len)))
                .header(header::ORIGIN, "o".repeat(origin_len))
                .body(axum::body::Body::empty())
                .unwrap();
            client_of(([127, 0, 0, 1], 1).into(), &request).map(drop)
        };
        assert_eq!(check(MAX_META_DATA_LEN, MAX_TEXT_LEN), Ok(()));
        assert_eq!(check(MAX_META_DATA_LEN + 1, 0), Err(TooLong::Query));
        assert_eq!(check(0, MAX_TEXT_LEN + 1), Err(TooLong::Origin));
    }
}
