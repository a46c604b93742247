//! Retransmission payloads: taken apart on receipt, put together on repair (RFC 4588 §4).
//!
//! Does not decide what is sent again, and knows no history. Called by `peer/` for publishers'
//! RTX packets and by `router/` to answer a subscriber's NACK.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         RTP header                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            OSN                |                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               |
//! |                  original RTP packet payload                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::base::bytes::{Reader, Writer};
use crate::base::ids::{Pt, Ssrc};
use crate::base::seq::{RtpTime, SeqNo};

use super::canonical;
use super::header::FIXED_LEN;

/// Splits an RTX payload into original sequence number (OSN) and media payload (RFC 4588 §4).
///
/// `payload` is the decrypted RTX payload without RTP padding; its first 2 bytes are the OSN.
/// Returns `None` when it is shorter than 2 bytes: RTX used as padding, not media. The media
/// payload may be empty.
pub fn unwrap(payload: &[u8]) -> Option<(SeqNo, &[u8])> {
    let mut r = Reader::new(payload);
    Some((SeqNo(r.u16()?), r.rest()))
}

/// What the header of a retransmission says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// Payload type of the RTX format, 0..=127.
    pub pt: Pt,
    /// Sequence number of the RTX SSRC.
    pub seq: SeqNo,
    /// Timestamp of the packet sent again, as its first transmission had it.
    pub timestamp: RtpTime,
    /// The RTX SSRC.
    pub ssrc: Ssrc,
    /// Sequence number of the packet sent again, as its first transmission had it.
    pub osn: SeqNo,
}

/// Writes to the front of `out` the RTX packet for `packet`; returns its length in bytes.
///
/// `packet` is canonical with `header_len` bytes before the payload. Marker and extension block
/// are copied, so the slot of the transport-wide sequence number lies where it did. `None` when
/// `out` is shorter than `packet` and 2 bytes, or `header_len` is not within 12..=`packet.len()`.
pub fn wrap(
    out: &mut [u8],
    packet: &[u8],
    header_len: usize,
    with: Retransmission,
) -> Option<usize> {
    if header_len < FIXED_LEN {
        return None;
    }
    let (header, payload) = packet.split_at_checked(header_len)?;
    let mut w = Writer::new(out);
    w.put(header)?;
    w.u16(with.osn.0)?;
    w.put(payload)?;
    let len = w.len();
    canonical::stamp(out, Some(with.pt), with.seq, with.timestamp, with.ssrc)?;
    Some(len)
}

/// Bytes of the original sequence number.
pub const OSN_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::extension::ExtensionMap;
    use crate::rtp::canonical::Source;
    use crate::rtp::header::RtpHeader;
    use proptest::prelude::*;

    const WITH: Retransmission = Retransmission {
        pt: Pt(97),
        seq: SeqNo(5),
        timestamp: RtpTime(90_000),
        ssrc: Ssrc(0x0bad_cafe),
        osn: SeqNo(0xfffe),
    };

    #[test]
    fn splits_osn_and_payload() {
        assert_eq!(unwrap(&[0x12, 0x34, 5]), Some((SeqNo(0x1234), &[5][..])));
        assert_eq!(unwrap(&[0x12, 0x34]), Some((SeqNo(0x1234), &[][..])));
        assert_eq!(unwrap(&[0x12]), None);
        assert_eq!(unwrap(&[]), None);
    }

    #[test]
    fn refuses_a_false_header_length_and_a_short_buffer() {
        let packet = [0x80; 20];
        let mut out = [0; 64];
        assert_eq!(wrap(&mut out, &packet, 11, WITH), None);
        assert_eq!(wrap(&mut out, &packet, 21, WITH), None);
        assert_eq!(wrap(&mut out[..21], &packet, 12, WITH), None);
        assert_eq!(wrap(&mut out, &packet, 12, WITH), Some(22));
    }

    proptest! {
        #[test]
        fn unwrapping_what_was_wrapped_gives_the_packet_back(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            marker: bool,
        ) {
            let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
            packet.extend_from_slice(&payload);
            let header = RtpHeader::parse(&packet).unwrap();
            let mut canonical = [0; 512];
            let layout = canonical::write(&mut canonical, Source {
                packet: &packet,
                header: &header,
                payload: &payload,
                extensions: &ExtensionMap::default(),
                pt: Pt(96),
                seq: SeqNo(1),
                marker,
            }).unwrap();
            let mut out = [0; 512];
            let len = wrap(&mut out, &canonical[..layout.len], layout.header_len, WITH).unwrap();
            prop_assert_eq!(len, layout.len + 2);
            let again = RtpHeader::parse(&out[..len]).unwrap();
            prop_assert_eq!((again.marker, again.pt, again.seq), (marker, WITH.pt, WITH.seq));
            prop_assert_eq!((again.timestamp, again.ssrc), (WITH.timestamp, WITH.ssrc));
            prop_assert_eq!(&out[12..again.header_len], &canonical[12..layout.header_len]);
            let body = again.payload(&out[..len]).unwrap();
            prop_assert_eq!(unwrap(body), Some((WITH.osn, &payload[..])));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            packet in prop::collection::vec(any::<u8>(), 0..64),
            header_len in 0_usize..80,
            room in 0_usize..80,
        ) {
            let _ = unwrap(&packet);
            let _ = wrap(&mut vec![0; room], &packet, header_len, WITH);
        }
    }
}
