//! What a datagram is, by its first byte (RFC 7983 §7) and RFC 5761 §4 for RTP against RTCP.

/// The protocols that share one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// First byte 0..=3.
    Stun,
    /// First byte 20..=63.
    Dtls,
    /// First byte 128..=191, payload type outside 64..=95.
    Rtp,
    /// First byte 128..=191, payload type 64..=95 (packet types 192..=223).
    Rtcp,
}

/// Classifies without looking further than two bytes; `None` for anything else (ZRTP, TURN
/// channel data, QUIC, empty datagrams).
pub fn classify(datagram: &[u8]) -> Option<Protocol> {
    match datagram {
        [0..=3, ..] => Some(Protocol::Stun),
        [20..=63, ..] => Some(Protocol::Dtls),
        [128..=191, second, ..] if (64..=95).contains(&(second & 0x7f)) => Some(Protocol::Rtcp),
        [128..=191, _, ..] => Some(Protocol::Rtp),
        [..] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning() {
        for first in 0..=255u8 {
            let want = match first {
                0..=3 => Some(Protocol::Stun),
                20..=63 => Some(Protocol::Dtls),
                128..=191 => Some(Protocol::Rtp),
                4..=19 | 64..=127 | 192..=255 => None,
            };
            assert_eq!(classify(&[first, 96, 0, 0]), want, "{first}");
        }
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[0x80]), None, "one byte is neither RTP nor RTCP");
    }

    #[test]
    fn rtcp_is_told_from_rtp_with_its_marker_bit() {
        assert_eq!(classify(&[0x80, 200, 0, 0]), Some(Protocol::Rtcp));
        assert_eq!(classify(&[0x81, 205, 0, 0]), Some(Protocol::Rtcp));
        assert_eq!(classify(&[0x80, 0x80 | 111, 0, 0]), Some(Protocol::Rtp));
    }
}
