//! JWTs (RFC 7519, HS256): signature and time of any, and those of streams, whose claims are
//! `streamId` and `type`.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::model::access::{AccessKind, TokenGrant};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    stream_id: String,
    #[serde(rename = "type")]
    kind: AccessKind,
    /// Seconds since 1970, possibly with a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<Number>,
}

/// The claims of a JWT that is signed with `secret` and in its time at `now_s`, seconds since 1970:
/// from `nbf` on and before `exp` (RFC 7519 §4.1.4, §4.1.5), where it has them. `None` otherwise,
/// and with an empty secret.
pub fn claims(jwt: &str, secret: &str, now_s: i64) -> Option<Map<String, Value>> {
    if secret.is_empty() {
        return None;
    }
    // The library would read a clock of its own, so the time is checked here.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let claims: Map<String, Value> = decode(jwt, &key, &validation).ok()?.claims;
    let now_s = now_s as f64;
    // What is no time is never kept.
    let keeps = |name: &str, is_kept: fn(f64, f64) -> bool| match claims.get(name) {
        None | Some(Value::Null) => true,
        Some(value) => value.as_f64().is_some_and(|at_s| is_kept(now_s, at_s)),
    };
    let in_time =
        keeps("nbf", |now_s, at_s| now_s >= at_s) && keeps("exp", |now_s, at_s| now_s < at_s);
    in_time.then_some(claims)
}

/// What a stream's JWT allows at `now_s`; `None` when it allows nothing. One without `exp` ends
/// never.
pub fn read(jwt: &str, secret: &str, now_s: i64) -> Option<TokenGrant> {
    let claims = Value::Object(claims(jwt, secret, now_s)?);
    let claims: Claims = serde_json::from_value(claims).ok()?;
    let exp = claims.exp.and_then(|exp| exp.as_f64());
    Some(TokenGrant {
        stream_id: claims.stream_id,
        expire_date: exp.map_or(i64::MAX, |exp| exp as i64),
        kind: claims.kind,
        room_id: None,
    })
}

/// A JWT that [`read`] accepts until `expire_s`, seconds since 1970; 0: for ever. `None` when
/// `secret` is shorter than the 32 bytes that HS256 asks for (RFC 7518 §3.2).
pub fn make(stream: &str, kind: AccessKind, expire_s: i64, secret: &str) -> Option<String> {
    if secret.len() < MIN_SECRET_LEN {
        return None;
    }
    let claims = Claims {
        stream_id: stream.to_owned(),
        kind,
        exp: (expire_s > 0).then(|| expire_s.into()),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).ok()
}

/// Shortest secret that tokens are made with.
pub const MIN_SECRET_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "zautXStXM9iW3aD3FuyPH0TdK4GHPmHq";

    /// Made with Python's hmac: play of `stream1` until 1700000100.
    const PLAY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJzdHJlYW1JZCI6InN0cmVhbTEiLCJ0eXBlIjoicGxheSIsImV4cCI6MTcwMDAwMDEwMH0.\
        Px475BZkIw67q0eGBe2RGc9V3NLir7OiZb_j18uZm7E";

    /// Made with Python's hmac: publish of `stream1`, for ever.
    const PUBLISH: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJzdHJlYW1JZCI6InN0cmVhbTEiLCJ0eXBlIjoicHVibGlzaCJ9.\
        9otWqr4qTvh8afoBOifR9t9wkeaFQ3FcjMNtPuC2WKk";

    #[test]
    fn a_good_token_is_read_until_it_ends() {
        let grant = read(PLAY, SECRET, 1_700_000_099).unwrap();
        assert_eq!(
            (&*grant.stream_id, grant.kind),
            ("stream1", AccessKind::Play)
        );
        assert_eq!(grant.expire_date, 1_700_000_100);
        assert_eq!(read(PLAY, SECRET, 1_700_000_100), None);
        let grant = read(PUBLISH, SECRET, i64::MAX / 2).unwrap();
        assert_eq!(grant.kind, AccessKind::Publish);
    }

    #[test]
    fn a_token_is_not_read_before_it_begins() {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = serde_json::json!({"streamId": "s", "type": "play", "nbf": 100.5});
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert_eq!(read(&token, SECRET, 100), None);
        assert!(read(&token, SECRET, 101).is_some());
    }

    #[test]
    fn a_forged_token_is_not() {
        assert_eq!(read(PLAY, "another secret of thirty-two byte", 0), None);
        assert_eq!(read(PLAY, "", 0), None);
        assert_eq!(read("", SECRET, 0), None);
        let (head, _) = PLAY.rsplit_once('.').unwrap();
        let (_, other) = PUBLISH.rsplit_once('.').unwrap();
        assert_eq!(read(&format!("{head}.{other}"), SECRET, 0), None);
        // {"alg":"none"}
        let (_, body) = head.split_once('.').unwrap();
        assert_eq!(
            read(&format!("eyJhbGciOiJub25lIn0.{body}."), SECRET, 0),
            None
        );
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let claims = serde_json::json!({"streamId": "stream1", "type": "play"});
        let other = encode(&Header::new(Algorithm::HS384), &claims, &key).unwrap();
        assert_eq!(read(&other, SECRET, 0), None);
        let no_kind = serde_json::json!({"streamId": "stream1"});
        let no_kind = encode(&Header::new(Algorithm::HS256), &no_kind, &key).unwrap();
        assert_eq!(read(&no_kind, SECRET, 0), None);
    }

    #[test]
    fn what_is_made_is_read() {
        let made = make("s", AccessKind::Publish, 200, SECRET).unwrap();
        let grant = read(&made, SECRET, 199).unwrap();
        assert_eq!((&*grant.stream_id, grant.kind), ("s", AccessKind::Publish));
        assert_eq!(read(&made, SECRET, 200), None);
        assert_eq!(make("s", AccessKind::Publish, 200, &SECRET[1..]), None);
    }
}
