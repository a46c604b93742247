//! RTP packets: parse what a publisher sends, write what a subscriber receives.
//!
//! RFC 3550 §5 (header, padding), RFC 8285 (header extensions), RFC 6464 (audio level), RFC 4588
//! §4 (retransmission payload), RFC 5761 §4 (telling RTCP apart). Does not decrypt, keeps no state
//! between packets and knows no codec. Called by `srtp/`, `stream/`, `peer/` and `router/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod canonical;
pub mod extension;
mod header;
pub mod padding;
pub mod renumber;
pub mod rtx;

pub use header::{ExtensionBlock, RtpHeader};

/// True when a packet of a multiplexed RTP/RTCP flow is RTCP (RFC 5761 §4).
///
/// `packet` begins with the RTP or RTCP header and may be encrypted: only its second byte is
/// read. RTCP packet types 192..=223 fill that whole byte; an RTP packet would look the same only
/// with the marker set and a payload type of 64..=95, which RFC 5761 forbids. A packet shorter
/// than 2 bytes is not RTCP. That the first byte says RTP or RTCP at all is the demultiplexer's
/// knowledge (RFC 7983 §7).
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet
        .get(1)
        .is_some_and(|second| (192..=223).contains(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rtcp_from_rtp_by_the_second_byte() {
        let cases = [
            (200, true),  // sender report
            (207, true),  // extended report
            (192, true),  // first of the range
            (223, true),  // last of the range
            (191, false), // marker, payload type 63
            (224, false), // marker, payload type 96
            (96, false),  // payload type 96
            (0x80 | 111, false),
        ];
        for (second, rtcp) in cases {
            assert_eq!(is_rtcp(&[0x80, second]), rtcp, "second byte {second}");
        }
        assert!(!is_rtcp(&[0x80]));
        assert!(!is_rtcp(&[]));
    }
}
