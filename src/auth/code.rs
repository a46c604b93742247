//! Time-based codes (RFC 6238 with RFC 4226 §5.3): HMAC-SHA-1, six digits.
//!
//! A registered subscriber has a secret of its own; everybody else's derives from the
//! application's, the subscriber's id, the broadcast and the kind.

use data_encoding::{BASE32, BASE32_NOPAD};
use totp_rs::{Algorithm, Builder};

use super::is_same;
use crate::model::access::AccessKind;

/// Whether `code` is the one of the period at `now_s`, seconds since 1970, or of one of the
/// `past_periods` before it. `period_s` below 1 counts as 1.
pub fn allows(key: &[u8], code: &str, period_s: u64, past_periods: u8, now_s: u64) -> bool {
    let period_s = period_s.max(1);
    // All are compared, so that the time tells nothing.
    (0..=u64::from(past_periods))
        .filter_map(|back| now_s.checked_sub(back * period_s))
        .fold(false, |found, at_s| {
            found | is_same(code, &code_at(key, period_s, at_s))
        })
}

/// The six digits of the period at `unix_s`, seconds since 1970.
pub fn code_at(key: &[u8], period_s: u64, unix_s: u64) -> String {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_step_duration(period_s.max(1))
        .with_secret(key.to_vec())
        .build_noncompliant()
        .generate(unix_s)
        .to_string()
}

/// The key of a registered subscriber: its Base32 secret (RFC 4648 §6), decoded; upper or lower
/// case, with or without padding. `None` when it is not Base32 or empty.
pub fn registered_key(b32_secret: &str) -> Option<Vec<u8>> {
    let text = b32_secret.trim().to_ascii_uppercase();
    let decoded = if text.ends_with('=') {
        BASE32.decode(text.as_bytes())
    } else {
        BASE32_NOPAD.decode(text.as_bytes())
    };
    decoded.ok().filter(|key| !key.is_empty())
}

/// The key of a subscriber that is not registered: the bytes of secret, subscriber, broadcast and
/// kind, padded with `X` to a multiple of 8, as Ant Media derives it. `None` without a secret.
pub fn derived_key(
    secret: &str,
    subscriber_id: &str,
    stream: &str,
    kind: AccessKind,
) -> Option<Vec<u8>> {
    if secret.is_empty() {
        return None;
    }
    let mut key = format!("{secret}{subscriber_id}{stream}{}", kind.text()).into_bytes();
    key.resize(key.len().next_multiple_of(8), b'X');
    Some(key)
}

/// Digits of a code.
const DIGITS: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of the eight digits.
        let key = b"12345678901234567890";
        let cases = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (at, code) in cases {
            assert_eq!(code_at(key, 30, at), code);
        }
        let registered = registered_key("gezdgnbvgy3tqojqgezdgnbvgy3tqojq").unwrap();
        assert_eq!(registered, key);
    }

    /// The first two are vectors of the wire reference; all were computed with Python's hmac.
    #[test]
    fn derived_codes_are_those_computed_elsewhere() {
        use AccessKind::{Play, Publish};
        let cases = [
            (("abc", "user1", "stream1", Play), 60, 0, "521553"),
            (
                ("abc", "user1", "stream1", Play),
                60,
                1_700_000_000,
                "202481",
            ),
            (
                ("abc", "user1", "stream1", Play),
                30,
                1_700_000_000,
                "983988",
            ),
            (
                ("abc", "user1", "stream1", Play),
                10,
                1_111_111_109,
                "591316",
            ),
            (
                ("publishsecret", "anna", "room1", Publish),
                60,
                1_234_567_890,
                "388047",
            ),
            // Twenty bytes that need four of padding.
            (
                ("abcdefgh", "user", "s123", Play),
                60,
                1_700_000_000,
                "535227",
            ),
        ];
        for ((secret, subscriber, stream, kind), period, at, code) in cases {
            let key = derived_key(secret, subscriber, stream, kind).unwrap();
            assert_eq!(key.len() % 8, 0);
            assert_eq!(code_at(&key, period, at), code, "{subscriber} {at}");
        }
        let key = derived_key("abc", "user1", "stream1", Play).unwrap();
        assert_eq!(
            BASE32.encode(&key),
            "MFRGG5LTMVZDC43UOJSWC3JROBWGC6KYLBMFQWA="
        );
        assert_eq!(derived_key("", "user1", "stream1", Play), None);
    }

    #[test]
    fn a_registered_secret_is_read_in_every_spelling() {
        let key = registered_key("JBSWY3DPEHPK3PXP").unwrap();
        assert_eq!(code_at(&key, 30, 1_700_000_000), "324550");
        assert_eq!(registered_key(" jbswy3dpehpk3pxp "), Some(key));
        assert_eq!(registered_key("MFRGG==="), Some(b"abc".to_vec()));
        assert_eq!(registered_key("MFRGG"), Some(b"abc".to_vec()));
        for bad in ["", "1", "JBSWY3D!", "===="] {
            assert_eq!(registered_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_code_lasts_its_period_and_the_past_ones_that_are_allowed() {
        let key = b"12345678901234567890";
        let code = code_at(key, 60, 600);
        for (at, past_periods, expected) in [
            (600, 0, true),
            (659, 0, true),
            (660, 0, false),
            (660, 1, true),
            (719, 1, true),
            (720, 1, false),
            (599, 1, false),
            (779, 2, true),
        ] {
            assert_eq!(allows(key, &code, 60, past_periods, at), expected, "{at}");
        }
        assert!(!allows(key, "", 60, 1, 600));
        assert!(!allows(key, &code[1..], 60, 1, 600));
        assert!(
            allows(key, &code_at(key, 60, 0), 60, 5, 0),
            "before the first period"
        );
    }
}
