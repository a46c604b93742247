//! The RTP fixed header and the place of what follows it (RFC 3550 §5.1, §5.3.1).
//!
//! Reads packets whose payload may still be encrypted, as SRTP leaves the header in the clear
//! (RFC 3711 §3.1). Does not look into the extension block: see `extension`.

use crate::base::bytes::Reader;
use crate::base::ids::{Pt, Ssrc};
use crate::base::seq::{RtpTime, SeqNo};

/// An RTP header (RFC 3550 §5.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                           timestamp                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           synchronization source (SSRC) identifier            |
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// |            contributing source (CSRC) identifiers             |
/// |                             ....                              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// M; for video the last packet of a frame, for audio the first of a talk spurt.
    pub marker: bool,
    /// Payload type, 0..=127, in the sender's numbering.
    pub pt: Pt,
    /// Sequence number.
    pub seq: SeqNo,
    /// Timestamp in ticks of the payload's clock.
    pub timestamp: RtpTime,
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// P; the padding itself can be read only after decryption.
    pub has_padding: bool,
    /// Bytes before the payload: 12, the CSRCs and the extension block with its own header.
    pub header_len: usize,
    /// The extension block; `None` when X is not set.
    pub extension: Option<ExtensionBlock>,
}

/// Where the header extension lies in its packet (RFC 3550 §5.3.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |      defined by profile       |           length              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                        header extension                       |
/// |                             ....                              |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// 0xBEDE: one-byte elements; 0x1000..=0x100F: two-byte elements (RFC 8285 §4.2, §4.3).
    pub profile: u16,
    /// Offset in the packet of the first byte behind the 4-byte block header.
    pub start: usize,
    /// Bytes of elements and their padding, a multiple of 4; `start + len` is within the packet
    /// that was parsed.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header of `packet`, which begins with it and may be encrypted behind it.
    ///
    /// `None` when the version is not 2 or when CSRCs or extension block pass the packet's end.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let mut r = Reader::new(packet);
        let first = r.u8()?;
        if first >> 6 != VERSION {
            return None;
        }
        let second = r.u8()?;
        let seq = SeqNo(r.u16()?);
        let timestamp = RtpTime(r.u32()?);
        let ssrc = Ssrc(r.u32()?);
        r.skip(usize::from(first & CSRC_COUNT) * 4)?;
        let extension = if first & EXTENSION != 0 {
            let profile = r.u16()?;
            let len = usize::from(r.u16()?) * 4;
            let start = packet.len() - r.len();
            r.skip(len)?;
            Some(ExtensionBlock {
                profile,
                start,
                len,
            })
        } else {
            None
        };
        Some(Self {
            marker: second & MARKER != 0,
            pt: Pt(second & !MARKER),
            seq,
            timestamp,
            ssrc,
            has_padding: first & PADDING != 0,
            header_len: packet.len() - r.len(),
            extension,
        })
    }

    /// The payload of `packet`, which is decrypted and the one that was parsed, without its
    /// RFC 3550 §5.1 padding.
    ///
    /// Empty when the packet is padding only. `None` when the padding's own count is 0 or longer
    /// than what follows the header.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let padded = packet.get(self.header_len..)?;
        if !self.has_padding {
            return Some(padded);
        }
        let pad_len = usize::from(*padded.last()?);
        if pad_len == 0 {
            return None;
        }
        padded.get(..padded.len().checked_sub(pad_len)?)
    }
}

/// Bytes of the header without CSRCs and extension.
pub(super) const FIXED_LEN: usize = 12;

/// V, in the two high bits of the first byte.
pub(super) const VERSION: u8 = 2;

/// P in the first byte.
pub(super) const PADDING: u8 = 0x20;

/// X in the first byte.
pub(super) const EXTENSION: u8 = 0x10;

/// CC in the first byte.
const CSRC_COUNT: u8 = 0x0f;

/// M in the second byte; the payload type is the rest of it.
pub(super) const MARKER: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Marker, payload type 96, seq 0x1234, timestamp 1, SSRC 0xdecafbad.
    fn packet(first: u8, behind: &[u8]) -> Vec<u8> {
        let mut p = vec![first, 0xe0, 0x12, 0x34, 0, 0, 0, 1, 0xde, 0xca, 0xfb, 0xad];
        p.extend_from_slice(behind);
        p
    }

    #[test]
    fn reads_a_plain_header() {
        let p = packet(0x80, b"hello");
        let header = RtpHeader::parse(&p).unwrap();
        assert_eq!(
            header,
            RtpHeader {
                marker: true,
                pt: Pt(96),
                seq: SeqNo(0x1234),
                timestamp: RtpTime(1),
                ssrc: Ssrc(0xdeca_fbad),
                has_padding: false,
                header_len: 12,
                extension: None,
            }
        );
        assert_eq!(header.payload(&p), Some(&b"hello"[..]));
    }

    #[test]
    fn passes_over_csrcs_and_extension() {
        let mut behind = vec![0xaa; 8];
        behind.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 7, 0, 0, 9, 9]);
        let p = packet(0x92, &behind);
        let header = RtpHeader::parse(&p).unwrap();
        assert_eq!(header.header_len, 12 + 8 + 8);
        assert_eq!(
            header.extension,
            Some(ExtensionBlock {
                profile: 0xbede,
                start: 24,
                len: 4
            })
        );
        assert_eq!(header.payload(&p), Some(&[9, 9][..]));
    }

    #[test]
    fn refuses_other_versions_and_every_truncation() {
        let p = packet(0x91, &[1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0, 0, 0, 0]);
        assert!(RtpHeader::parse(&p).is_some());
        for len in 0..p.len() {
            assert!(RtpHeader::parse(&p[..len]).is_none(), "{len} bytes");
        }
        for version in [0x00, 0x40, 0xc0] {
            assert!(RtpHeader::parse(&packet(version, &[])).is_none());
        }
    }

    #[test]
    fn removes_padding_and_refuses_a_false_count() {
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (&[7, 8, 0, 2], Some(&[7, 8])),
            (&[7, 8, 1], Some(&[7, 8])),
            (&[0, 0, 3], Some(&[])),
            (&[7, 8, 0], None),
            (&[7, 8, 4], None),
            (&[], None),
        ];
        for (behind, payload) in cases {
            let p = packet(0xa0, behind);
            let header = RtpHeader::parse(&p).unwrap();
            assert!(header.has_padding);
            assert_eq!(header.payload(&p), payload, "{behind:?}");
        }
    }

    #[test]
    fn a_shorter_packet_than_the_parsed_one_has_no_payload() {
        let p = packet(0x80, &[]);
        let header = RtpHeader::parse(&p).unwrap();
        assert_eq!(header.payload(&p[..11]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = RtpHeader::parse(&bytes) {
                prop_assert!(header.header_len <= bytes.len());
                if let Some(block) = header.extension {
                    prop_assert_eq!(block.start + block.len, header.header_len);
                }
                let _ = header.payload(&bytes);
            }
        }
    }
}
