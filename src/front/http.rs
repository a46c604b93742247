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
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::seats::{NoSeat, Passing, Seat, Seats};
use super::tls::Certificates;
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
/// anywhere else that header is worth nothing, because everybody can send it. Of a proxy whose
/// word cannot be understood, or that says it in another header, the client is nobody (`0.0.0.0`):
/// taking it for somebody on this host would open REST to the world.
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

/// What connections are served, and how many of them.
#[derive(Clone, Debug)]
pub struct Service {
    /// What.
    pub router: Router,
    /// How many.
    pub seats: Seats,
    /// Whether one connection may ask again.
    pub is_kept: bool,
}

/// Accepts until it is aborted. Who comes while somebody works for every connection of `all` is
/// served what is in `reserve`, where nothing waits for anything.
pub async fn accept(door: Door, all: Service, reserve: Service) {
    loop {
        let (stream, remote) = match door.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client has gone: neither ends the server.
                tracing::warn!(%error, "accept failed");
                sleep(AFTER_ACCEPT_ERROR).await;
                continue;
            }
        };
        let (seat, service) = match all.seats.take(remote.ip()).await {
            Err(NoSeat::AllBusy) => (reserve.seats.take(remote.ip()).await, &reserve),
            seat => (seat, &all),
        };
        // Dropped, which closes it, when there is no seat for it.
        if let Ok(seat) = seat {
            let (certificates, service) = (door.certificates.clone(), service.clone());
            tokio::spawn(receive(stream, remote, certificates, service, seat));
        }
    }
}

async fn receive(
    stream: TcpStream,
    remote: SocketAddr,
    certificates: Option<Certificates>,
    service: Service,
    seat: Seat,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let seat = Arc::new(seat);
    let served = async {
        match certificates {
            None => serve(stream, remote, service, &seat).await,
            Some(certificates) => match certificates.accept(stream).await {
                Ok(stream) => serve(stream, remote, service, &seat).await,
                Err(error) => {
                    tracing::debug!(remote = %Address(remote), %error, "no TLS handshake");
                }
            },
        }
    };
    tokio::select! {
        // First: a request that is read is to be answered.
        biased;
        () = seat.is_wanted() => {
            tracing::debug!(remote = %Address(remote), "an HTTP connection made room");
        }
        () = served => {}
    }
}

/// Each request is handled to its end, even when its client has gone: what a handler has begun
/// elsewhere it alone can finish or undo. It holds the connection's seat for as long.
async fn serve<S>(stream: S, remote: SocketAddr, service: Service, seat: &Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let taken = Progress::default();
    let progress = taken.clone();
    let Service {
        router, is_kept, ..
    } = service;
    let handle = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Remote(remote));
        request.extensions_mut().insert(progress.clone());
        let seat = seat.clone();
        let request = request.map(|body| Body::new(Passing::request(body, seat.clone())));
        let response = router.clone().oneshot(request);
        tokio::spawn(async move {
            let Ok(response) = response.await;
            response.map(|body| Body::new(Passing::answer(body, seat)))
        })
    });
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEAD_LEN)
        .keep_alive(is_kept)
        .serve_connection(TokioIo::new(stream), handle)
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
    use std::collections::BTreeMap;

    use axum::Extension;
    use axum::http::HeaderValue;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::Notify;
    use tokio::task::yield_now;
    use tokio_util::io::{InspectReader, ReaderStream};

    use super::*;
    use crate::front::routes;
    use crate::front::shared::Shared;

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
        let remote: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let service = service(1, router);
        let seat = service.seats.take(remote.ip()).await.unwrap();
        tokio::spawn(async move { serve(server, remote, service, &Arc::new(seat)).await });
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

    /// One that newcomers wait for.
    fn service(count: usize, router: Router) -> Service {
        Service {
            router,
            seats: Seats::new(count, 0, 2 * PATIENCE),
            is_kept: true,
        }
    }

    /// A door with `count` seats: how many are taken, and where it is.
    async fn open(count: usize, router: Router) -> (Seats, SocketAddr) {
        open_with(service(count, router), service(1, Router::new())).await
    }

    async fn open_with(all: Service, reserve: Service) -> (Seats, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seats = all.seats.clone();
        let door = Door {
            listener,
            certificates: None,
        };
        tokio::spawn(accept(door, all, reserve));
        (seats, address)
    }

    /// A connection that has said `text` and has a seat.
    async fn connect(seats: &Seats, address: SocketAddr, text: &str) -> TcpStream {
        let before = seats.taken();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        while seats.taken() == before {
            yield_now().await;
        }
        stream
    }

    /// What comes until the other side ends it.
    async fn hear(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut text));
        // Who is closed with something unread is reset.
        let _ = read.await.expect("nobody closes it");
        text
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        hear(stream).await
    }

    #[tokio::test]
    async fn who_has_waited_longest_for_a_client_makes_room() {
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route("/read", post(async |text: String| text));
        let (seats, address) = open(3, router).await;
        let slow = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
        let mut idle = connect(&seats, address, "").await;
        let mut slow = connect(&seats, address, slow).await;
        let mut third = connect(&seats, address, "GET / HT").await;
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut newcomer, "/").await.ends_with("ok"));
        assert_eq!(hear(&mut idle).await, "");
        // The newcomer has left its seat to the next one.
        let _next = connect(&seats, address, "").await;
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut newcomer, "/").await.ends_with("ok"));
        assert_eq!(hear(&mut slow).await, "");
        third
            .write_all(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        assert!(hear(&mut third).await.ends_with("ok"));
    }

    #[tokio::test]
    async fn whoever_is_worked_for_gets_the_answer_before_making_room() {
        let (begun, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, until) = (begun.clone(), done.clone());
        let router = Router::new().route("/", get(async || "ok")).route(
            "/work",
            get(move || async move {
                begins.notify_one();
                until.notified().await;
                "done"
            }),
        );
        let (seats, address) = open(1, router).await;
        let work = "GET /work HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut busy = connect(&seats, address, work).await;
        begun.notified().await;
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        let asked = tokio::spawn(async move { ask(&mut newcomer, "/").await });
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!asked.is_finished());
        done.notify_one();
        assert!(hear(&mut busy).await.ends_with("done"));
        assert!(asked.await.unwrap().ends_with("ok"));
        while seats.taken() > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_comes_while_everybody_is_worked_for_is_served_what_waits_for_nothing() {
        let (begun, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, until) = (begun.clone(), done.clone());
        let work = move || async move {
            begins.notify_one();
            until.notified().await;
            "done"
        };
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route("/work", get(work));
        let shared = Shared::alone(BTreeMap::new());
        let all = Service {
            seats: Seats::new(1, 0, Duration::ZERO),
            ..service(1, router)
        };
        let reserve = Service {
            is_kept: false,
            ..service(1, routes::reserve(shared))
        };
        let (seats, address) = open_with(all, reserve).await;
        let work = "GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut busy = connect(&seats, address, work).await;
        begun.notified().await;
        // Whoever says nothing there makes room, and nobody may ask twice.
        let mut idle = TcpStream::connect(address).await.unwrap();
        for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/", 503)] {
            let mut newcomer = TcpStream::connect(address).await.unwrap();
            let twice = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2);
            newcomer.write_all(twice.as_bytes()).await.unwrap();
            let heard = hear(&mut newcomer).await;
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
            assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
        }
        assert_eq!(hear(&mut idle).await, "");
        done.notify_one();
        assert!(hear(&mut busy).await.ends_with("done"));
        while seats.taken() > 0 {
            yield_now().await;
        }
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut newcomer, "/").await.ends_with("ok"));
    }

    const PATIENCE: Duration = Duration::from_secs(60);

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
