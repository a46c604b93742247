//! The STUN or TURN server that clients of an application are told of, with credentials that
//! expire where a secret is shared with it.
//!
//! draft-uberti-behave-turn-rest: user name `expiry:name`, password HMAC-SHA1 over it with the
//! secret, in Base64. Read by signalling and by WHIP.

use data_encoding::BASE64;
use ring::hmac;

use super::settings::AppSettings;

/// One ICE server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:` or `turn:` URI.
    pub uri: String,
    /// For `turn:`; empty otherwise.
    pub username: String,
    /// For `turn:`; empty otherwise.
    pub credential: String,
}

impl IceServer {
    /// That of an application; `None` when it has none and clients keep their own. `unix_s`:
    /// seconds since 1970, from which on the credentials are good for `CREDENTIAL_LIFE_S`.
    pub fn of(settings: &AppSettings, unix_s: u64) -> Option<Self> {
        let uri = settings.stun_server_uri.clone();
        if uri.is_empty() {
            return None;
        }
        let is_turn = uri.starts_with("turn:") || uri.starts_with("turns:");
        let secret = &settings.turn_server_secret;
        if !is_turn || secret.is_empty() {
            return Some(Self {
                uri,
                username: settings.turn_server_username.clone(),
                credential: settings.turn_server_credential.clone(),
            });
        }
        let expiry = unix_s + CREDENTIAL_LIFE_S;
        let name = match settings.turn_server_username.as_str() {
            "" => "leafcutter",
            name => name,
        };
        let username = format!("{expiry}:{name}");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let digest = hmac::sign(&key, username.as_bytes());
        Some(Self {
            uri,
            credential: BASE64.encode(digest.as_ref()),
            username,
        })
    }

    /// As the value of a `Link` header (RFC 9725 §4.6, RFC 8288).
    pub fn to_link(&self) -> String {
        let mut link = format!("<{}>; rel=\"ice-server\"", self.uri);
        if !self.username.is_empty() {
            let (username, credential) = (quoted(&self.username), quoted(&self.credential));
            link += &format!(
                "; username={username}; credential={credential}; credential-type=\"password\""
            );
        }
        link
    }
}

/// `quoted-string` of RFC 9110 §5.6.4.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// How long credentials are good. A TURN server asks for them again whenever an allocation is
/// refreshed, so this is also the longest call through it.
const CREDENTIAL_LIFE_S: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(uri: &str, secret: &str) -> AppSettings {
        AppSettings {
            stun_server_uri: uri.to_owned(),
            turn_server_username: "user".to_owned(),
            turn_server_credential: "pass".to_owned(),
            turn_server_secret: secret.to_owned(),
            ..AppSettings::default()
        }
    }

    #[test]
    fn a_shared_secret_makes_credentials_that_expire() {
        // Computed with `printf 1700086400:user | openssl dgst -sha1 -hmac north -binary | base64`.
        let server = IceServer::of(&settings("turn:h:1", "north"), 1_700_000_000).unwrap();
        assert_eq!(server.username, "1700086400:user");
        assert_eq!(server.credential, "hAjN+KZ/pBIwaqPCy5NjtZb5L28=");
    }

    #[test]
    fn without_a_secret_the_written_credentials_are_told() {
        let server = IceServer::of(&settings("turn:h:1", ""), 1).unwrap();
        assert_eq!(
            (server.username.as_str(), server.credential.as_str()),
            ("user", "pass")
        );
        assert_eq!(IceServer::of(&settings("", "north"), 1), None);
        let stun = IceServer::of(&settings("stun:h:1", "north"), 1).unwrap();
        assert_eq!(stun.username, "user", "a secret is for TURN");
    }

    #[test]
    fn a_link_quotes_what_could_end_it() {
        let server = IceServer {
            uri: "turn:h:1?transport=udp".to_owned(),
            username: "a\"b\\".to_owned(),
            credential: "c".to_owned(),
        };
        assert_eq!(
            server.to_link(),
            "<turn:h:1?transport=udp>; rel=\"ice-server\"; username=\"a\\\"b\\\\\"; \
             credential=\"c\"; credential-type=\"password\""
        );
    }
}
