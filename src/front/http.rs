//! HTTP/1.1 connections: accepts them, bounds what a slow or idle one may hold, serves them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::shared::Shared;
use super::tls::Certificates;
use crate::base::crowd::Place;
use crate::base::redact::Address;

/// The client's address, put into every request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// Bytes of long responses that one connection has taken, in every request's extensions: who takes
/// them is not cut off for being slow. Short responses need not be counted.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// The client took `len` bytes more.
    pub fn add(&self, len: usize) {
        self.0.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn len(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The address of the client behind `remote`. A proxy on this host says it in `X-Real-IP`; from
/// anywhere else that header is worth nothing, because everybody can send it. Of a proxy whose word
/// cannot be understood, or that says it in another header, the client is nobody, who is unspecified
/// (`0.0.0.0`): taking it for somebody on this host would open REST to the world.
pub fn client_ip(remote: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let ip = remote.ip().to_canonical();
    if !ip.is_loopback() {
        return ip;
    }
    let mut said = headers.get_all(REAL_IP).iter();
    match (said.next(), said.next()) {
        (Some(only), None) => {
            let only = only.to_str().ok().and_then(|text| text.trim().parse().ok());
            only.map_or(NOBODY, |ip: IpAddr| ip.to_canonical())
        }
        (None, _) if !OTHER_PROXIES.iter().any(|name| headers.contains_key(*name)) => ip,
        (_, _) => NOBODY,
    }
}

/// The text of the `Authorization` header, without `Bearer`, which may be in any case or missing.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) | None => Some(text),
    }
}

/// A listening socket and what is spoken on it.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listener: TcpListener,
    /// TLS with these; `None`: plain HTTP.
    pub certificates: Option<Certificates>,
}

/// Accepts until it is aborted.
pub async fn accept(door: Door, router: Router, shared: Shared) {
    while let Some(place) = shared.http_place().await {
        match door.listener.accept().await {
            Ok((stream, remote)) => {
                // Dropped, which closes it, when its address has enough of them.
                if let Some(of_address) = shared.http_place_of(remote.ip()) {
                    let places = (place, of_address);
                    let certificates = door.certificates.clone();
                    tokio::spawn(receive(
                        stream,
                        remote,
                        certificates,
                        router.clone(),
                        places,
                    ));
                }
            }
            Err(error) => {
                // Out of file descriptors, or the client has gone: neither ends the server.
                tracing::warn!(%error, "accept failed");
                sleep(AFTER_ACCEPT_ERROR).await;
            }
        }
    }
}

async fn receive(
    stream: TcpStream,
    remote: SocketAddr,
    certificates: Option<Certificates>,
    router: Router,
    places: (OwnedSemaphorePermit, Place),
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    match certificates {
        None => serve(stream, remote, router, places).await,
        Some(certificates) => match certificates.accept(stream).await {
            Ok(stream) => serve(stream, remote, router, places).await,
            Err(error) => tracing::debug!(remote = %Address(remote), %error, "no TLS handshake"),
        },
    }
}

/// Each request is handled to its end, even when its client has gone: what a handler has begun
/// elsewhere it alone can finish or undo. It holds the connection's places for as long.
async fn serve<S>(stream: S, remote: SocketAddr, router: Router, places: impl Send + Sync + 'static)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(places);
    let taken = Progress::default();
    let progress = taken.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Remote(remote));
        request.extensions_mut().insert(progress.clone());
        let response = router.clone().oneshot(request.map(Body::new));
        let held = places.clone();
        let handling = tokio::spawn(async move {
            let response = response.await;
            drop(held);
            response
        });
        async { handling.await.map(|Ok(response)| response) }
    });
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut conn = pin!(conn);
    if timeout(CONN_TIME, conn.as_mut()).await.is_ok() {
        return;
    }
    conn.as_mut().graceful_shutdown();
    let mut before = taken.len();
    while timeout(LAST_RESPONSE_TIME, conn.as_mut()).await.is_err() {
        let now = taken.len();
        if now - before < LEAST_TAKEN_LEN {
            tracing::debug!("an HTTP client took too long");
            return;
        }
        before = now;
    }
}

/// Set by nginx and others: the address that a proxy was connected to from.
const REAL_IP: &str = "x-real-ip";

/// Set by proxies that do not set that one (RFC 7239 and what was before it): a client may have
/// begun their lists itself, so they are a sign that there is a proxy and no more.
const OTHER_PROXIES: [&str; 2] = ["forwarded", "x-forwarded-for"];

/// Held by no range but those of everybody.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// From the first moment of waiting for a request to the end of its header.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's header; more is answered 431. JWTs in queries and cookies fit.
const MAX_HEAD_LEN: usize = 64 * 1024;

/// How long one connection may be used for requests; then it is closed after the current one.
const CONN_TIME: Duration = Duration::from_secs(120);

/// How long that current one may take, and again as long as so many bytes were taken in that time.
const LAST_RESPONSE_TIME: Duration = Duration::from_secs(10);
const LEAST_TAKEN_LEN: u64 = 64 * 1024;

const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::http::HeaderValue;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_util::io::{InspectReader, ReaderStream};

    use super::*;

    /// What a client gets of a response that comes in pieces of `len` bytes, one every 5 s, for
    /// 400 s, when it reads all it can; how long that took.
    async fn fetch(len: usize) -> (usize, Duration) {
        let router = Router::new().route(
            "/",
            get(move |Extension(progress): Extension<Progress>| async move {
                let (read, mut written) = duplex(len);
                tokio::spawn(async move {
                    for _ in 0..80 {
                        sleep(Duration::from_secs(5)).await;
                        if written.write_all(&vec![7; len]).await.is_err() {
                            break;
                        }
                    }
                });
                let read = InspectReader::new(read, move |bytes| progress.add(bytes.len()));
                Body::from_stream(ReaderStream::new(read))
            }),
        );
        let (mut client, server) = duplex(1024 * 1024);
        let began = tokio::time::Instant::now();
        let remote = "127.0.0.1:1".parse().unwrap();
        tokio::spawn(serve(server, remote, router, ()));
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        let body = all.iter().filter(|byte| **byte == 7).count();
        (body, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_taken_is_not_cut() {
        let (len, took) = fetch(40_000).await;
        assert_eq!(len, 80 * 40_000);
        assert!(took >= Duration::from_secs(400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_hardly_taken_ends() {
        let (len, took) = fetch(1000).await;
        assert!(len < 40 * 1000, "{len}");
        assert!(took <= CONN_TIME + 2 * LAST_RESPONSE_TIME, "{took:?}");
    }

    #[test]
    fn the_header_may_say_bearer_or_not() {
        for text in ["abc", "Bearer abc", "bearer  abc", "BEARER abc "] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(text));
            assert_eq!(bearer(&headers), Some("abc"), "{text}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn only_a_proxy_on_this_host_may_say_who_the_client_is() {
        let cases = [
            ("127.0.0.1:1", Some("203.0.113.7"), "203.0.113.7"),
            ("[::1]:1", Some(" 2001:db8::1 "), "2001:db8::1"),
            ("[::ffff:127.0.0.1]:1", Some("203.0.113.7"), "203.0.113.7"),
            ("198.51.100.9:1", Some("203.0.113.7"), "198.51.100.9"),
            ("127.0.0.1:1", None, "127.0.0.1"),
            ("[::ffff:198.51.100.9]:1", None, "198.51.100.9"),
        ];
        for (remote, said, expected) in cases {
            let said: Vec<_> = said.map(|said| (REAL_IP, said)).into_iter().collect();
            assert_eq!(seen_from(remote, &said), expected, "{remote} {said:?}");
        }
    }

    #[test]
    fn who_is_behind_a_proxy_that_is_not_understood_is_nobody() {
        let unreadable: [&[(&str, &str)]; 10] = [
            &[(REAL_IP, "somebody")],
            &[(REAL_IP, "")],
            &[(REAL_IP, "203.0.113.7:51234")],
            &[(REAL_IP, "unix:")],
            &[(REAL_IP, "[2001:db8::1]")],
            &[(REAL_IP, "203.0.113.7, 127.0.0.1")],
            &[(REAL_IP, "127.0.0.1"), (REAL_IP, "203.0.113.7")],
            &[("x-forwarded-for", "127.0.0.1")],
            &[("forwarded", "for=203.0.113.7")],
            &[(REAL_IP, "unix:"), ("x-forwarded-for", "203.0.113.7")],
        ];
        for said in unreadable {
            assert_eq!(seen_from("[::1]:1", said), "0.0.0.0", "{said:?}");
            assert_eq!(seen_from("198.51.100.9:1", said), "198.51.100.9");
        }
        let both = [("x-forwarded-for", "unix:"), (REAL_IP, "203.0.113.7")];
        assert_eq!(seen_from("127.0.0.1:1", &both), "203.0.113.7");
    }

    fn seen_from(remote: &str, said: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(*name, value.parse().unwrap());
        }
        client_ip(remote.parse().unwrap(), &headers).to_string()
    }
}
