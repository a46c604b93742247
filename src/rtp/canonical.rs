//! The server's own form of a media packet: written once per packet, stamped per subscriber.
//!
//! RFC 3550 §5.1, RFC 8285 §4. A canonical packet has no CSRCs and no padding, the server's own
//! payload type and extension ids, and a first extension element that is a slot for the
//! transport-wide sequence number. Does not choose numbers and does not encrypt. Written by
//! `peer/` on receipt, stamped by `router/` on the way out.

use std::ops::Range;

use crate::base::bytes::{Reader, Writer};
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::ids::{Pt, Ssrc};
use crate::base::seq::{RtpTime, SeqNo};

use super::extension::{Form, elements};
use super::header::{EXTENSION, FIXED_LEN, MARKER, PADDING, RtpHeader, VERSION};

/// A received packet and what its canonical form shall say.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The decrypted packet that carries the extensions; for retransmissions the RTX packet.
    pub packet: &'a [u8],
    /// Header of `packet`; its timestamp and SSRC are copied.
    pub header: &'a RtpHeader,
    /// The media payload without padding and, for retransmissions, without OSN.
    pub payload: &'a [u8],
    /// The publisher's extension ids.
    pub extensions: &'a ExtensionMap,
    /// The server's own payload type, 0..=127.
    pub pt: Pt,
    /// The media sequence number; for retransmissions the OSN (RFC 4588 §4).
    pub seq: SeqNo,
    /// The marker bit to write.
    pub marker: bool,
}

/// Where things lie in a canonical packet, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the whole packet.
    pub len: usize,
    /// Before the payload, extension block included; a multiple of 4.
    pub header_len: usize,
    /// Offset of the transport-wide sequence number's 2 bytes.
    pub transport_seq_at: usize,
}

/// Writes the canonical form of `source` to the front of `out`.
///
/// Extension elements that are forwarded ([`ExtensionKind::is_forwarded`]) follow the slot in the
/// order of their server ids, each kind once: of repeated elements the first counts. The one-byte
/// form is used unless an element is empty or longer than 16 bytes. `None` when `out` is too
/// short; what it then holds is unspecified.
pub fn write(out: &mut [u8], source: Source<'_>) -> Option<Layout> {
    let forwarded = Forwarded::collect(&source);
    let mut w = Writer::new(out);
    w.u8(VERSION << 6 | EXTENSION)?;
    w.u8(u8::from(source.marker) << 7 | source.pt.0 & !MARKER)?;
    w.u16(source.seq.0)?;
    w.u32(source.header.timestamp.0)?;
    w.u32(source.header.ssrc.0)?;
    let transport_seq_at = forwarded.write(&mut w)?;
    let header_len = w.len();
    w.put(source.payload)?;
    Some(Layout {
        len: w.len(),
        header_len,
        transport_seq_at,
    })
}

/// Overwrites the header fields that differ per subscriber; `pt: None` keeps the payload type.
///
/// Works on every RTP packet. `None`, with nothing changed, when `packet` is shorter than 12 bytes.
pub fn stamp(
    packet: &mut [u8],
    pt: Option<Pt>,
    seq: SeqNo,
    timestamp: RtpTime,
    ssrc: Ssrc,
) -> Option<()> {
    let (fixed, _) = packet.split_first_chunk_mut::<FIXED_LEN>()?;
    let [_, marker_and_pt, rest @ ..] = fixed;
    if let Some(pt) = pt {
        *marker_and_pt = *marker_and_pt & MARKER | pt.0 & !MARKER;
    }
    let mut w = Writer::new(rest);
    w.u16(seq.0)?;
    w.u32(timestamp.0)?;
    w.u32(ssrc.0)
}

/// The payload type; `None` when `packet` is shorter than 2 bytes.
pub fn pt(packet: &[u8]) -> Option<Pt> {
    packet.get(1).map(|byte| Pt(byte & !MARKER))
}

/// Overwrites the payload type. `None` when `packet` is shorter than 2 bytes.
pub fn set_pt(packet: &mut [u8], pt: Pt) -> Option<()> {
    let byte = packet.get_mut(1)?;
    *byte = *byte & MARKER | pt.0 & !MARKER;
    Some(())
}

/// The marker bit; false when `packet` is shorter than 2 bytes.
pub fn marker(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|byte| byte & MARKER != 0)
}

/// Overwrites the marker bit, for a frame whose last packets are not forwarded. `None` when
/// `packet` is shorter than 2 bytes.
pub fn set_marker(packet: &mut [u8], marker: bool) -> Option<()> {
    let byte = packet.get_mut(1)?;
    *byte = *byte & !MARKER | u8::from(marker) << 7;
    Some(())
}

/// Fills the slot of the transport-wide sequence number at [`Layout::transport_seq_at`].
///
/// `seq: None`, for a peer that did not negotiate it, turns the element into padding: zero bytes
/// that RFC 8285 §4.1 lets stand before other elements. A slot turned into padding cannot be
/// filled again. `None`, with nothing changed, when `at` is not an offset that [`write()`] returned
/// or lies outside of `packet`.
pub fn set_transport_seq(packet: &mut [u8], at: usize, seq: Option<u16>) -> Option<()> {
    // INVARIANT: the slot is the first element, so its own header is what lies before `at`.
    let end = at.checked_add(TRANSPORT_SEQ_LEN)?;
    let element = packet.get_mut(FIRST_ELEMENT_AT..end)?;
    let header_len = at.checked_sub(FIRST_ELEMENT_AT)?;
    if !(1..=2).contains(&header_len) {
        return None;
    }
    match seq {
        Some(seq) => element
            .get_mut(header_len..)?
            .copy_from_slice(&seq.to_be_bytes()),
        None => element.fill(0),
    }
    Some(())
}

/// Where the value of an extension element of a canonical packet lies; `None` when it has none.
pub fn element_at(packet: &[u8], kind: ExtensionKind) -> Option<Range<usize>> {
    let mut r = Reader::new(packet.get(FIXED_LEN..)?);
    let form = Form::of_profile(r.u16()?)?;
    let block_len = 4 * usize::from(r.u16()?);
    let mut block = r.sub(block_len)?;
    loop {
        let first = block.u8()?;
        let (id, len) = match (form, first) {
            // A slot that was turned into padding.
            (Form::OneByte | Form::TwoByte, 0) => continue,
            (Form::OneByte, _) => (first >> 4, usize::from(first & 0x0f) + 1),
            (Form::TwoByte, _) => (first, usize::from(block.u8()?)),
        };
        let at = FIRST_ELEMENT_AT + block_len - block.len();
        if id == kind.server_id() {
            return Some(at..at + len);
        }
        block.skip(len)?;
    }
}

/// Makes a packet one without payload, whose length is that of its header: it fills a place in
/// the numbers and carries nothing. `None` when `packet` is shorter than 2 bytes.
pub fn blank(packet: &mut [u8]) -> Option<()> {
    *packet.first_mut()? &= !PADDING;
    set_marker(packet, false)
}

/// Writes an extension block that holds the transport-wide slot alone; returns the slot's offset.
pub(super) fn write_slot_only(w: &mut Writer<'_>) -> Option<usize> {
    Forwarded::default().write(w)
}

/// The elements to pass on, by kind, and the form they need.
struct Forwarded<'a> {
    form: Form,
    /// Bytes of the values together.
    values_len: usize,
    values: [Option<&'a [u8]>; ExtensionKind::ALL.len()],
}

impl Default for Forwarded<'_> {
    fn default() -> Self {
        Self {
            form: Form::OneByte,
            values_len: 0,
            values: [None; ExtensionKind::ALL.len()],
        }
    }
}

impl<'a> Forwarded<'a> {
    fn collect(source: &Source<'a>) -> Self {
        let mut this = Self::default();
        for (id, value) in elements(source.packet, source.header) {
            let Some(kind) = source.extensions.kind(id).filter(|k| k.is_forwarded()) else {
                continue;
            };
            let Some(slot @ None) = this.values.get_mut(kind as usize) else {
                continue;
            };
            *slot = Some(value);
            this.values_len += value.len();
            if !(1..=MAX_ONE_BYTE_LEN).contains(&value.len()) {
                this.form = Form::TwoByte;
            }
        }
        this
    }

    /// Writes the block: header, slot, elements, padding. Returns the offset of the slot's value.
    fn write(&self, w: &mut Writer<'_>) -> Option<usize> {
        let elements = 1 + self.values.iter().flatten().count();
        let len = elements * self.form.element_header_len() + TRANSPORT_SEQ_LEN + self.values_len;
        let words = len.div_ceil(4);
        w.u16(self.form.profile())?;
        w.u16(u16::try_from(words).ok()?)?;
        self.element_header(w, ExtensionKind::TransportCc, TRANSPORT_SEQ_LEN)?;
        let transport_seq_at = w.len();
        w.u16(0)?;
        for (kind, value) in ExtensionKind::ALL.into_iter().zip(self.values) {
            if let Some(value) = value {
                self.element_header(w, kind, value.len())?;
                w.put(value)?;
            }
        }
        for _ in len..words * 4 {
            w.u8(0)?;
        }
        Some(transport_seq_at)
    }

    /// Writes id and length; `len` is 1..=16 in the one-byte form and 0..=255 in the other.
    fn element_header(&self, w: &mut Writer<'_>, kind: ExtensionKind, len: usize) -> Option<()> {
        let len = u8::try_from(len).ok()?;
        match self.form {
            Form::OneByte => w.u8(kind.server_id() << 4 | len.checked_sub(1)?),
            Form::TwoByte => w.u8(kind.server_id()).and_then(|()| w.u8(len)),
        }
    }
}

/// Longest value of the one-byte form (RFC 8285 §4.2).
const MAX_ONE_BYTE_LEN: usize = 16;

/// Bytes of a transport-wide sequence number.
const TRANSPORT_SEQ_LEN: usize = 2;

/// Offset of the first element: fixed header, no CSRCs, the block's own header.
const FIRST_ELEMENT_AT: usize = FIXED_LEN + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::extension::Known;
    use proptest::prelude::*;

    /// A publisher's packet: two CSRCs, the given block, a payload of 3 bytes, padding of 2.
    fn received(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut block = elements.to_vec();
        block.resize(block.len().next_multiple_of(4), 0);
        let mut p = vec![0xb2, 96, 0x12, 0x34, 0, 0, 0x10, 0, 0, 0, 0, 7];
        p.extend_from_slice(&[0xcc; 8]);
        p.extend_from_slice(&profile.to_be_bytes());
        p.extend_from_slice(&((block.len() / 4) as u16).to_be_bytes());
        p.extend_from_slice(&block);
        p.extend_from_slice(&[1, 2, 3, 0, 2]);
        p
    }

    fn rewrite(packet: &[u8], map: &ExtensionMap, marker: bool) -> (Vec<u8>, Layout) {
        let header = RtpHeader::parse(packet).unwrap();
        let source = Source {
            packet,
            header: &header,
            payload: header.payload(packet).unwrap(),
            extensions: map,
            pt: Pt(102),
            seq: SeqNo(0x5678),
            marker,
        };
        let mut out = [0xee; 2048];
        let layout = write(&mut out, source).unwrap();
        for short in 0..layout.len {
            assert!(write(&mut [0; 2048][..short], source).is_none());
        }
        (out[..layout.len].to_vec(), layout)
    }

    fn publisher_map() -> ExtensionMap {
        let mut map = ExtensionMap::default();
        map.insert(ExtensionKind::Mid, 1);
        map.insert(ExtensionKind::TransportCc, 2);
        map.insert(ExtensionKind::AudioLevel, 3);
        map.insert(ExtensionKind::DependencyDescriptor, 4);
        map
    }

    #[test]
    fn translates_ids_and_drops_what_is_hop_by_hop() {
        let p = received(0xbede, &[0x10, b'0', 0x21, 9, 9, 0x30, 0x85, 0x90, 1]);
        let (out, layout) = rewrite(&p, &publisher_map(), true);
        let expected = [
            0x90,
            0x80 | 102,
            0x56,
            0x78,
            0,
            0,
            0x10,
            0,
            0,
            0,
            0,
            7, // fixed header
            0xbe,
            0xde,
            0,
            2,
            0x11,
            0,
            0,
            0x50,
            0x85,
            0,
            0,
            0, // slot, audio level, padding
            1,
            2,
            3,
        ];
        assert_eq!(out, expected);
        assert_eq!(
            layout,
            Layout {
                len: 27,
                header_len: 24,
                transport_seq_at: 17
            }
        );
    }

    #[test]
    fn long_or_empty_elements_need_the_two_byte_form() {
        let mut elements = vec![4, 17];
        elements.extend_from_slice(&[0xdd; 17]);
        let (out, layout) = rewrite(&received(0x1000, &elements), &publisher_map(), false);
        assert_eq!(out[12..20], [0x10, 0x00, 0, 6, 1, 2, 0, 0]);
        assert_eq!(out[20..22], [13, 17]);
        assert_eq!(layout.transport_seq_at, 18);

        let (out, _) = rewrite(&received(0x1000, &[4, 0]), &publisher_map(), false);
        assert_eq!(out[12..22], [0x10, 0x00, 0, 2, 1, 2, 0, 0, 13, 0]);

        let (out, _) = rewrite(&received(0x1000, &[4, 1, 0xdd]), &publisher_map(), false);
        assert_eq!(out[12..14], [0xbe, 0xde], "short ones do not");
    }

    #[test]
    fn a_repeated_element_is_written_once() {
        let p = received(0xbede, &[0x30, 5, 0x30, 6, 0x30, 7]);
        let (out, layout) = rewrite(&p, &publisher_map(), false);
        assert_eq!(layout.header_len, 24);
        assert_eq!(out[19..21], [0x50, 5]);
    }

    #[test]
    fn stamping_changes_the_four_fields_only() {
        let (before, _) = rewrite(&received(0xbede, &[0x30, 5]), &publisher_map(), true);
        let mut out = before.clone();
        let (seq, time, ssrc) = (SeqNo(0xaabb), RtpTime(0x0102_0304), Ssrc(0x0506_0708));
        stamp(&mut out, None, seq, time, ssrc).unwrap();
        assert_eq!(out[..2], before[..2]);
        assert_eq!(out[2..12], [0xaa, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(out[12..], before[12..]);
        stamp(&mut out, Some(Pt(45)), seq, time, ssrc).unwrap();
        assert_eq!(out[1], 0x80 | 45, "the marker stays");
        set_marker(&mut out, false).unwrap();
        assert_eq!(out[1], 45);
        set_marker(&mut out, true).unwrap();
        set_pt(&mut out, Pt(111)).unwrap();
        assert_eq!((out[1], pt(&out)), (0x80 | 111, Some(Pt(111))));
        assert_eq!(stamp(&mut out[..11], None, seq, time, ssrc), None);
    }

    #[test]
    fn the_slot_is_filled_or_becomes_padding_in_both_forms() {
        for block in [&[4, 1, 0xdd][..], &[4, 0][..]] {
            let (mut out, layout) = rewrite(&received(0x1000, block), &publisher_map(), false);
            let at = layout.transport_seq_at;
            set_transport_seq(&mut out, at, Some(0xabcd)).unwrap();
            let header = RtpHeader::parse(&out).unwrap();
            let known = Known::read(&out, &header, &ExtensionMap::server());
            assert_eq!(known.transport_seq, Some(0xabcd));

            set_transport_seq(&mut out, at, None).unwrap();
            let ids: Vec<u8> = elements(&out, &header).map(|(id, _)| id).collect();
            assert_eq!(ids, [ExtensionKind::DependencyDescriptor.server_id()]);
        }
    }

    #[test]
    fn a_false_slot_offset_changes_nothing() {
        let (mut out, layout) = rewrite(&received(0xbede, &[]), &publisher_map(), false);
        let before = out.clone();
        for at in [0, 15, 16, 19, 4000, usize::MAX] {
            assert_eq!(set_transport_seq(&mut out, at, None), None);
        }
        let short = &mut out[..layout.transport_seq_at + 1];
        assert_eq!(
            set_transport_seq(short, layout.transport_seq_at, None),
            None
        );
        assert_eq!(out, before);
    }

    proptest! {
        #[test]
        fn keeps_payload_marker_and_forwarded_elements(
            wanted in prop::collection::btree_map(
                0..ExtensionKind::ALL.len(),
                prop::collection::vec(any::<u8>(), 0..40),
                0..8,
            ),
            first_id in 1_u8..200,
            payload in prop::collection::vec(any::<u8>(), 0..64),
            marker: bool,
        ) {
            let mut map = ExtensionMap::default();
            let mut block = Vec::new();
            for (&at, value) in &wanted {
                let id = first_id + at as u8;
                map.insert(ExtensionKind::ALL[at], id);
                block.extend_from_slice(&[0, id, value.len() as u8]);
                block.extend_from_slice(value);
            }
            let mut packet = received(0x1000, &block);
            packet.truncate(packet.len() - 5);
            packet.extend_from_slice(&payload);
            packet.push(1);

            let (out, layout) = rewrite(&packet, &map, marker);
            let header = RtpHeader::parse(&out).unwrap();
            prop_assert_eq!(header.header_len, layout.header_len);
            prop_assert_eq!(header.payload(&out), Some(&payload[..]));
            prop_assert_eq!((header.marker, header.pt), (marker, Pt(102)));
            prop_assert_eq!((header.seq, header.timestamp), (SeqNo(0x5678), RtpTime(0x1000)));

            let mut expected = vec![(1_u8, vec![0_u8, 0])];
            for (&at, value) in &wanted {
                if ExtensionKind::ALL[at].is_forwarded() {
                    expected.push((ExtensionKind::ALL[at].server_id(), value.clone()));
                }
            }
            let found: Vec<_> = elements(&out, &header).map(|(id, v)| (id, v.to_vec())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
