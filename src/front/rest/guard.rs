//! Who may use REST: the IP filter and the JWT filter of the application, before every operation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::error::RestError;
use crate::auth::{addresses, jwt};
use crate::front::app::KnownApp;
use crate::front::http::{Remote, bearer, client_ip};
use crate::front::shared::Shared;
use crate::model::settings::AppSettings;

/// Lets a request pass when the application exists and both of its filters allow it; handlers
/// find the application in the request's extensions. Each takes one of `places` until it is done.
pub async fn guard(
    State((shared, host_names, places)): State<(Shared, Arc<[String]>, Arc<Semaphore>)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    Extension(Remote(remote)): Extension<Remote>,
    mut request: Request,
    next: Next,
) -> Response {
    let params = match params {
        Ok(params) => params,
        Err(e) => return RestError::BadPath(e.body_text()).into_response(),
    };
    let Ok(app) = KnownApp::find(&params, &shared) else {
        return RestError::UnknownApp.into_response();
    };
    // A proxy on this host must not make everybody local.
    let ip = client_ip(remote, request.headers());
    let (headers, now_unix_s) = (request.headers(), shared.unix_s());
    if let Err(refusal) = check(&app.settings, ip, headers, now_unix_s, &host_names) {
        return refusal.into_response();
    }
    let Ok(_place) = places.try_acquire() else {
        return RestError::TooMany.into_response();
    };
    request.extensions_mut().insert(app);
    next.run(request).await
}

fn check(
    settings: &AppSettings,
    ip: IpAddr,
    headers: &HeaderMap,
    now_unix_s: i64,
    host_names: &[String],
) -> Result<(), RestError> {
    if !allows_ip(settings, ip) {
        return Err(RestError::NotAllowedIp);
    }
    let is_good = |token| jwt::claims(token, &settings.jwt_secret_key, now_unix_s).is_some();
    if settings.jwt_control_enabled {
        let is_signed = bearer(headers).is_some_and(is_good);
        return is_signed.then_some(()).ok_or(RestError::InvalidAppJwt);
    }
    if allows_ip(settings, ANYBODY) {
        return Ok(());
    }
    match is_own_host(headers, host_names) {
        true if is_foreign_page(headers) => Err(RestError::ForeignPage),
        true => Ok(()),
        false => Err(RestError::ForeignHost),
    }
}

/// Whether the request asks for this server by an address, as `localhost`, or by one of `names`.
/// A page whose name its owner lets lead here (DNS rebinding) is of one origin with what it asks
/// for, and a browser then says no `Origin` where it only reads; but it says the page's name.
fn is_own_host(headers: &HeaderMap, names: &[String]) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default().trim();
    if let Some(rest) = host.strip_prefix('[') {
        let parts = rest.split_once(']');
        return parts.is_some_and(|(ip, port)| {
            ip.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'))
        });
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let is_name = |own: &String| own.eq_ignore_ascii_case(name);
    let is_local = |name: &str| {
        let (_, top) = name.rsplit_once('.').unwrap_or(("", name));
        !name.is_empty() && (top == name || LOCAL_TOPS.iter().any(|t| t.eq_ignore_ascii_case(top)))
    };
    name.parse::<Ipv4Addr>().is_ok() || is_local(name) || names.iter().any(is_name)
}

/// Whether a browser says that a page of another server asks: it would ask from the address of
/// whoever looks at it, which the IP filter may allow. Who is no page has no `Origin`.
fn is_foreign_page(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().zip(host);
        origin.is_some_and(|(origin, host)| is_same_host(origin, host))
    };
    !headers.get_all(header::ORIGIN).iter().all(is_own)
}

/// An address that nobody has (RFC 5737): where it is allowed, everybody is, and a page gains
/// nothing by asking from somebody else's.
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Compares an origin (RFC 6454 §6.2) with a `Host` header, which has the same port or, like it,
/// none where that is the scheme's own. A proxy may have taken TLS off.
fn is_same_host(origin: &str, host: &str) -> bool {
    let (name, port) = match origin.split_once("://") {
        Some(("http", name)) => (name, ":80"),
        Some(("https", name)) => (name, ":443"),
        Some(_) | None => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    bare(name) == bare(host.trim())
}

/// The IP filter alone. This host is one host: who lets `127.0.0.1` in means `::1` too.
pub fn allows_ip(settings: &AppSettings, ip: IpAddr) -> bool {
    let holds = |ip| addresses::holds(&settings.remote_allowed_cidr, ip);
    let is_here = ip == IpAddr::V6(Ipv6Addr::LOCALHOST);
    !settings.ip_filter_enabled || holds(ip) || is_here && holds(Ipv4Addr::LOCALHOST.into())
}

/// What no public name ends in (RFC 6761, RFC 6762, RFC 9476 and ICANN's reservation), so that
/// nobody can let such a name lead here; nor names of one label, as hosts of containers have.
const LOCAL_TOPS: [&str; 4] = ["localhost", "local", "internal", "alt"];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of thirty-two or more bytes";
    const NOW: i64 = 1_700_000_000;

    fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn a_jwt_needs_the_secret_the_algorithm_and_the_time() {
        let hs256 = Algorithm::HS256;
        let cases = [
            (signed(&json!({}), hs256, SECRET), true),
            (
                signed(&json!({"exp": NOW + 1, "sub": "x"}), hs256, SECRET),
                true,
            ),
            (signed(&json!({"exp": NOW}), hs256, SECRET), false),
            (signed(&json!({"nbf": NOW + 9}), hs256, SECRET), false),
            (
                signed(&json!({}), hs256, "another secret of the same kind"),
                false,
            ),
            (signed(&json!({}), Algorithm::HS512, SECRET), false),
            ("not.a.jwt".to_owned(), false),
            (String::new(), false),
        ];
        for (token, expected) in cases {
            assert_eq!(
                jwt::claims(&token, SECRET, NOW).is_some(),
                expected,
                "{token}"
            );
        }
        assert!(
            jwt::claims(&signed(&json!({}), hs256, ""), "", NOW).is_none(),
            "no secret, no entry"
        );
    }

    #[test]
    fn both_filters_must_pass() {
        let ip = "127.0.0.1".parse().unwrap();
        let bare = headers(&[("host", "localhost")]);
        let mut settings = AppSettings::default();
        assert_eq!(check(&settings, ip, &bare, NOW, &[]), Ok(()));
        let here = "::1".parse().unwrap();
        assert_eq!(check(&settings, here, &bare, NOW, &[]), Ok(()));
        let elsewhere = Err(RestError::NotAllowedIp);
        let neighbour = "::2".parse().unwrap();
        assert_eq!(check(&settings, neighbour, &bare, NOW, &[]), elsewhere);
        settings.remote_allowed_cidr = "10.0.0.0/8".to_owned();
        assert_eq!(check(&settings, here, &bare, NOW, &[]), elsewhere);
        assert_eq!(
            check(&settings, ip, &bare, NOW, &[]),
            Err(RestError::NotAllowedIp)
        );
        settings.ip_filter_enabled = false;
        assert_eq!(check(&settings, ip, &bare, NOW, &[]), Ok(()));
        settings.jwt_control_enabled = true;
        settings.jwt_secret_key = SECRET.to_owned();
        assert_eq!(
            check(&settings, ip, &bare, NOW, &[]),
            Err(RestError::InvalidAppJwt)
        );
        let token = signed(&json!({}), Algorithm::HS256, SECRET);
        let headers = headers(&[("authorization", &token)]);
        assert_eq!(check(&settings, ip, &headers, NOW, &[]), Ok(()));
    }

    #[test]
    fn pages_of_others_need_a_jwt() {
        let ip = "127.0.0.1".parse().unwrap();
        let mut settings = AppSettings::default();
        let own = headers(&[("host", "[::1]:5080"), ("origin", "http://[::1]:5080")]);
        let foreign = headers(&[("host", "[::1]:5080"), ("origin", "http://b")]);
        assert_eq!(check(&settings, ip, &own, NOW, &[]), Ok(()));
        let refused = Err(RestError::ForeignPage);
        assert_eq!(check(&settings, ip, &foreign, NOW, &[]), refused);
        settings.remote_allowed_cidr = "0.0.0.0/0".to_owned();
        assert_eq!(
            check(&settings, ip, &foreign, NOW, &[]),
            Ok(()),
            "open to all"
        );
        settings.jwt_control_enabled = true;
        settings.jwt_secret_key = SECRET.to_owned();
        let refused = Err(RestError::InvalidAppJwt);
        assert_eq!(check(&settings, ip, &foreign, NOW, &[]), refused);
        let token = signed(&json!({}), Algorithm::HS256, SECRET);
        let known = headers(&[
            ("host", "a"),
            ("origin", "http://b"),
            ("authorization", &token),
        ]);
        assert_eq!(check(&settings, ip, &known, NOW, &[]), Ok(()));
    }

    #[test]
    fn a_name_that_others_let_lead_here_is_not_this_servers() {
        let ip = "127.0.0.1".parse().unwrap();
        let mut settings = AppSettings::default();
        let names = ["sfu.example".to_owned()];
        let cases = [
            ("127.0.0.1", true),
            ("203.0.113.7:5080", true),
            ("[::1]", true),
            ("[2001:db8::1]:5080", true),
            ("LocalHost:5080", true),
            ("sfu.example", true),
            ("sfu", true),
            ("sfu:5080", true),
            ("sfu.site.Internal:5080", true),
            ("internal.example", false),
            (".", false),
            (":5080", false),
            ("SFU.example:5080", true),
            ("evil.example:5080", false),
            ("sfu.example.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[::1].evil.example", false),
            ("[evil.example]", false),
            ("", false),
        ];
        for (host, is_own) in cases {
            let expected = if is_own {
                Ok(())
            } else {
                Err(RestError::ForeignHost)
            };
            let read = headers(&[("host", host)]);
            assert_eq!(check(&settings, ip, &read, NOW, &names), expected, "{host}");
            let origin = format!("http://{host}");
            let changed = headers(&[("host", host), ("origin", &origin)]);
            assert_eq!(
                check(&settings, ip, &changed, NOW, &names),
                expected,
                "{host}"
            );
        }
        let nameless = HeaderMap::new();
        let refused = Err(RestError::ForeignHost);
        assert_eq!(check(&settings, ip, &nameless, NOW, &names), refused);
        settings.remote_allowed_cidr = "0.0.0.0/0".to_owned();
        assert_eq!(check(&settings, ip, &nameless, NOW, &names), Ok(()));
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        fields.collect()
    }

    #[test]
    fn an_origin_is_compared_with_the_host() {
        let cases = [
            ("http://127.0.0.1:5080", "127.0.0.1:5080", true),
            ("http://SFU.example", "sfu.EXAMPLE:80", true),
            ("https://sfu.example", "sfu.example", true),
            ("https://sfu.example", "sfu.example:443", true),
            ("https://sfu.example:5443", "sfu.example:5443", true),
            ("http://[::1]:5080", "[::1]:5080", true),
            ("http://127.0.0.1:8000", "127.0.0.1:5080", false),
            ("https://sfu.example", "sfu.example:80", false),
            ("http://evil.example", "sfu.example", false),
            ("http://sfu.example.evil", "sfu.example", false),
            ("null", "null", false),
            ("file://", "", false),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(is_same_host(origin, host), expected, "{origin} {host}");
        }
    }
}
