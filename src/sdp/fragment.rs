//! SDP fragments of trickle ICE (`application/trickle-ice-sdpfrag`, RFC 8840 §9, as RFC 9725 §4.3
//! uses them): read from a client, written back after an ICE restart.
//!
//! Candidates are passed over: a lite agent learns addresses from binding requests.

use super::SdpError;
use super::text::LocalParameters;
use super::transport::IceParameters;
use crate::base::limits::{MAX_SDP_LEN, MAX_SDP_LINE_LEN};

/// The ICE credentials in `text`, which may also be a whole description; those of its first
/// section that has any. `None` when it has none.
///
/// # Errors
/// `TooLong`, `LineTooLong`; `MalformedIce`, also for a user fragment without password.
pub fn credentials(text: &str) -> Result<Option<IceParameters>, SdpError> {
    if text.len() > MAX_SDP_LEN {
        return Err(SdpError::TooLong);
    }
    let (mut ufrag, mut pwd) = (None, None);
    for line in text.lines().map(str::trim_end) {
        if line.len() > MAX_SDP_LINE_LEN {
            return Err(SdpError::LineTooLong);
        }
        if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
            ufrag.get_or_insert(value.trim());
        } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
            pwd.get_or_insert(value.trim());
        }
    }
    match (ufrag, pwd) {
        (None, None) => Ok(None),
        (Some(ufrag), Some(pwd)) => IceParameters::new(ufrag, pwd).map(Some),
        (Some(_), None) | (None, Some(_)) => Err(SdpError::MalformedIce),
    }
}

/// The server's fragment: its credentials and candidates, for the m-line of the transport, which
/// has the mid `mid`.
pub fn write(local: &LocalParameters, mid: &str) -> String {
    let mut text = String::with_capacity(512);
    let mut put = |line: &str| {
        text.push_str(line);
        text.push_str("\r\n");
    };
    put("a=ice-lite");
    put(&format!("a=group:BUNDLE {mid}"));
    put("m=audio 9 UDP/TLS/RTP/SAVPF 0");
    put(&format!("a=mid:{mid}"));
    put(&format!("a=ice-ufrag:{}", local.ice.ufrag));
    put(&format!("a=ice-pwd:{}", local.ice.pwd));
    for candidate in &local.candidates {
        put(&format!("a={candidate}"));
    }
    put("a=end-of-candidates");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{Fingerprint, HashFunction};

    const UFRAG: &str = "a=ice-ufrag:EsAw\r\n";
    const PWD: &str = "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

    #[test]
    fn credentials_are_found_at_either_level() {
        let session = format!("{UFRAG}{PWD}m=audio 9 RTP/AVP 0\r\na=mid:0\r\n");
        let media = format!("a=group:BUNDLE 0\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{PWD}{UFRAG}");
        for text in [session, media] {
            let found = credentials(&text).unwrap().unwrap();
            assert_eq!((found.ufrag.as_str(), found.pwd.len()), ("EsAw", 24));
        }
        assert_eq!(
            credentials("a=candidate:1 1 udp 1 h 1 typ host\r\n"),
            Ok(None)
        );
        assert_eq!(credentials(""), Ok(None));
    }

    #[test]
    fn half_a_pair_and_bad_characters_are_refused() {
        for text in [UFRAG, PWD, "a=ice-ufrag:x\r\na=ice-pwd:y\r\n"] {
            assert_eq!(credentials(text), Err(SdpError::MalformedIce), "{text}");
        }
        let long = "a".repeat(MAX_SDP_LINE_LEN + 1);
        assert_eq!(credentials(&long), Err(SdpError::LineTooLong));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let local = LocalParameters {
            ice: IceParameters::new("abcd", "0123456789abcdef012345").unwrap(),
            fingerprint: Fingerprint {
                hash: HashFunction::Sha256,
                bytes: vec![7; 32],
            },
            candidates: vec!["candidate:1 1 udp 1 192.0.2.1 5 typ host".to_owned()],
        };
        let text = write(&local, "audio");
        assert_eq!(credentials(&text), Ok(Some(local.ice)));
        assert!(text.contains("\r\na=mid:audio\r\n"), "{text}");
        assert!(text.contains("\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n"));
    }
}
