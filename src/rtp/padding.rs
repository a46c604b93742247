//! RTP padding: packets of padding alone, and packets brought to a length (RFC 3550 §5.1).
//!
//! Does not decide when to pad. Padding-only packets probe a path's capacity (`bwe/`); `router/`
//! evens out the lengths of neighbouring packets so that they share one UDP_SEGMENT run.

use crate::base::bytes::Writer;
use crate::base::ids::{Pt, Ssrc};
use crate::base::seq::{RtpTime, SeqNo};

use super::canonical::{Layout, write_slot_only};
use super::header::{EXTENSION, MARKER, PADDING, VERSION};

/// What the header of a padding-only packet says. The marker is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingHeader {
    /// Payload type, 0..=127; commonly that of RTX, where padding disturbs no media numbers.
    pub pt: Pt,
    /// Sequence number of `ssrc`.
    pub seq: SeqNo,
    /// Timestamp, commonly that of the last media packet.
    pub timestamp: RtpTime,
    /// The SSRC that pads.
    pub ssrc: Ssrc,
}

/// Writes to the front of `out` a packet without payload and with `pad_len` bytes of padding,
/// 1..=255.
///
/// It has a slot for the transport-wide sequence number, as canonical packets have, and its
/// `Layout::header_len` leads to the padding. `None` when `pad_len` is 0 or `out` too short.
pub fn write(out: &mut [u8], header: PaddingHeader, pad_len: u8) -> Option<Layout> {
    let mut w = Writer::new(out);
    w.u8(VERSION << 6 | PADDING | EXTENSION)?;
    w.u8(header.pt.0 & !MARKER)?;
    w.u16(header.seq.0)?;
    w.u32(header.timestamp.0)?;
    w.u32(header.ssrc.0)?;
    let transport_seq_at = write_slot_only(&mut w)?;
    let header_len = w.len();
    put_padding(&mut w, pad_len)?;
    Some(Layout {
        len: w.len(),
        header_len,
        transport_seq_at,
    })
}

/// Appends `pad_len` bytes of padding, 1..=255, to the packet in the first `len` bytes of `out`;
/// returns its length.
///
/// `None`, with the packet unchanged, when `pad_len` is 0, the packet has padding, or `out` is
/// too short.
pub fn append(out: &mut [u8], len: usize, pad_len: u8) -> Option<usize> {
    let (packet, room) = out.split_at_mut_checked(len)?;
    let first = packet.first_mut().filter(|first| **first & PADDING == 0)?;
    put_padding(&mut Writer::new(room), pad_len)?;
    *first |= PADDING;
    Some(len + usize::from(pad_len))
}

/// Writes zero bytes and the count, which counts itself.
fn put_padding(w: &mut Writer<'_>, pad_len: u8) -> Option<()> {
    let zeros = &[0; u8::MAX as usize];
    if w.room() < usize::from(pad_len) {
        return None;
    }
    w.put(zeros.get(..usize::from(pad_len.checked_sub(1)?))?)?;
    w.u8(pad_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::extension::ExtensionMap;
    use crate::rtp::canonical::set_transport_seq;
    use crate::rtp::extension::Known;
    use crate::rtp::header::RtpHeader;

    const HEADER: PaddingHeader = PaddingHeader {
        pt: Pt(97),
        seq: SeqNo(77),
        timestamp: RtpTime(88),
        ssrc: Ssrc(99),
    };

    #[test]
    fn a_padding_packet_has_an_empty_payload_and_a_slot() {
        for pad_len in [1, 2, 254, 255] {
            let mut out = [0xee; 300];
            let layout = write(&mut out, HEADER, pad_len).unwrap();
            assert_eq!(layout.len, layout.header_len + usize::from(pad_len));
            let packet = &mut out[..layout.len];
            set_transport_seq(packet, layout.transport_seq_at, Some(3)).unwrap();
            let header = RtpHeader::parse(packet).unwrap();
            assert_eq!((header.pt, header.seq), (HEADER.pt, HEADER.seq));
            assert_eq!(header.payload(packet), Some(&[][..]));
            let known = Known::read(packet, &header, &ExtensionMap::server());
            assert_eq!(known.transport_seq, Some(3));
        }
    }

    #[test]
    fn refuses_no_padding_and_no_room() {
        assert_eq!(write(&mut [0; 300], HEADER, 0), None);
        assert_eq!(write(&mut [0; 29], HEADER, 10), None);
        assert!(write(&mut [0; 30], HEADER, 10).is_some());
    }

    #[test]
    fn appended_padding_is_taken_off_again() {
        let mut out = [0xee; 40];
        out[..16].copy_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4]);
        let len = append(&mut out, 16, 5).unwrap();
        assert_eq!(len, 21);
        let header = RtpHeader::parse(&out[..len]).unwrap();
        assert_eq!(header.payload(&out[..len]), Some(&[1, 2, 3, 4][..]));
        assert_eq!(append(&mut out, 21, 5), None, "padded once");
    }

    #[test]
    fn append_without_room_leaves_the_packet_alone() {
        let mut out = [0x80; 16];
        assert_eq!(append(&mut out, 12, 5), None);
        assert_eq!(append(&mut out, 12, 0), None);
        assert_eq!(append(&mut out, 17, 1), None);
        assert_eq!(append(&mut out, 0, 1), None);
        assert_eq!(out, [0x80; 16]);
        assert_eq!(append(&mut out, 12, 4), Some(16));
    }
}
