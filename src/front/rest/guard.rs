//! Who may use REST: the IP filter and the JWT filter of the application, before every operation.

use std::net::IpAddr;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::error::RestError;
use crate::auth::addresses;
use crate::front::app::KnownApp;
use crate::front::http::{Remote, bearer, client_ip};
use crate::front::shared::Shared;
use crate::model::settings::AppSettings;

/// Lets a request pass when the application exists and both of its filters allow it; handlers
/// find the application in the request's extensions.
pub async fn guard(
    State(shared): State<Shared>,
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
    let token = bearer(request.headers());
    let now_unix_s = shared.read(|_, now| now.unix_us) / 1_000_000;
    // A proxy on this host must not make everybody local.
    let ip = client_ip(remote, request.headers());
    if let Err(refusal) = check(&app.settings, ip, token, now_unix_s) {
        return refusal.into_response();
    }
    request.extensions_mut().insert(app);
    next.run(request).await
}

fn check(
    settings: &AppSettings,
    ip: IpAddr,
    token: Option<&str>,
    now_unix_s: u64,
) -> Result<(), RestError> {
    if !allows_ip(settings, ip) {
        return Err(RestError::NotAllowedIp);
    }
    let is_good = |token| is_app_jwt(token, &settings.jwt_secret_key, now_unix_s);
    if settings.jwt_control_enabled && !token.is_some_and(is_good) {
        return Err(RestError::InvalidAppJwt);
    }
    Ok(())
}

/// The IP filter alone.
pub fn allows_ip(settings: &AppSettings, ip: IpAddr) -> bool {
    !settings.ip_filter_enabled || addresses::holds(&settings.remote_allowed_cidr, ip)
}

#[derive(Debug, Deserialize)]
struct Claims {
    /// Seconds since 1970, possibly with a fraction.
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Whether `token` is signed with `secret` (HS256) and in its time, which it need not have. The
/// library would read a clock of its own, so the time is checked here.
fn is_app_jwt(token: &str, secret: &str, now_unix_s: u64) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let Ok(data) = decode::<Claims>(token, &key, &validation) else {
        return false;
    };
    let now = now_unix_s as f64;
    let Claims { exp, nbf } = data.claims;
    !secret.is_empty() && exp.is_none_or(|exp| now < exp) && nbf.is_none_or(|nbf| now >= nbf)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of thirty-two or more bytes";
    const NOW: u64 = 1_700_000_000;

    fn jwt(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn a_jwt_needs_the_secret_the_algorithm_and_the_time() {
        let hs256 = Algorithm::HS256;
        let cases = [
            (jwt(&json!({}), hs256, SECRET), true),
            (
                jwt(&json!({"exp": NOW + 1, "sub": "x"}), hs256, SECRET),
                true,
            ),
            (jwt(&json!({"exp": NOW}), hs256, SECRET), false),
            (jwt(&json!({"nbf": NOW + 9}), hs256, SECRET), false),
            (
                jwt(&json!({}), hs256, "another secret of the same kind"),
                false,
            ),
            (jwt(&json!({}), Algorithm::HS512, SECRET), false),
            ("not.a.jwt".to_owned(), false),
            (String::new(), false),
        ];
        for (token, expected) in cases {
            assert_eq!(is_app_jwt(&token, SECRET, NOW), expected, "{token}");
        }
        assert!(
            !is_app_jwt(&jwt(&json!({}), hs256, ""), "", NOW),
            "no secret, no entry"
        );
    }

    #[test]
    fn both_filters_must_pass() {
        let ip = "127.0.0.1".parse().unwrap();
        let mut settings = AppSettings::default();
        assert_eq!(check(&settings, ip, None, NOW), Ok(()));
        settings.remote_allowed_cidr = "10.0.0.0/8".to_owned();
        assert_eq!(
            check(&settings, ip, None, NOW),
            Err(RestError::NotAllowedIp)
        );
        settings.ip_filter_enabled = false;
        assert_eq!(check(&settings, ip, None, NOW), Ok(()));
        settings.jwt_control_enabled = true;
        settings.jwt_secret_key = SECRET.to_owned();
        assert_eq!(
            check(&settings, ip, None, NOW),
            Err(RestError::InvalidAppJwt)
        );
        let token = jwt(&json!({}), Algorithm::HS256, SECRET);
        assert_eq!(check(&settings, ip, Some(&token), NOW), Ok(()));
    }
}
