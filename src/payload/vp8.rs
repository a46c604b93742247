//! VP8: the payload descriptor, the key frame header, and the patch for layer switching.
//!
//! RFC 7741 §4.2 (descriptor), §4.3 (payload header); RFC 6386 §9.1 (key frame header). Does not
//! decode. Called by `payload::inspect` and by `router/` when it rewrites.

use crate::base::bytes::Reader;

use super::picture_id::PictureId;
use super::{PacketInfo, Resolution};

/// The VP8 payload descriptor (RFC 7741 §4.2).
///
/// ```text
///      0 1 2 3 4 5 6 7
///     +-+-+-+-+-+-+-+-+
///     |X|R|N|S|R| PID | (REQUIRED)
///     +-+-+-+-+-+-+-+-+
/// X:  |I|L|T|K| RSV   | (OPTIONAL)
///     +-+-+-+-+-+-+-+-+
/// I:  |M| PictureID   | (OPTIONAL)
///     +-+-+-+-+-+-+-+-+
/// M:  |   PictureID   |
///     +-+-+-+-+-+-+-+-+
/// L:  |   TL0PICIDX   | (OPTIONAL)
///     +-+-+-+-+-+-+-+-+
/// T/K:|TID|Y| KEYIDX  | (OPTIONAL)
///     +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: first packet of the partition `partition`.
    pub starts_partition: bool,
    /// PID, 0..=7.
    pub partition: u8,
    /// I: 7 or 15 bits; `None` when absent.
    pub picture_id: Option<PictureId>,
    /// L: running index of base layer frames; `None` when absent.
    pub tl0_pic_idx: Option<u8>,
    /// T: temporal layer, 0..=3; `None` when absent.
    pub temporal: Option<u8>,
    /// Y: depends on base layer frames only, so a receiver may switch up here. False without T.
    pub layer_sync: bool,
    /// K: key frame index, 0..=31; `None` when absent.
    pub key_idx: Option<u8>,
    /// Bytes of the descriptor, 1..=6; the VP8 payload header follows.
    pub len_bytes: usize,
}

impl Vp8Descriptor {
    /// First packet of a frame.
    pub const fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }
}

/// Reads the descriptor; `None` when it is cut off.
pub fn parse(payload: &[u8]) -> Option<Vp8Descriptor> {
    let mut r = Reader::new(payload);
    let first = r.u8()?;
    let extensions = if first & 0x80 != 0 { r.u8()? } else { 0 };
    let picture_id = if extensions & 0x80 != 0 {
        Some(PictureId::read(&mut r)?)
    } else {
        None
    };
    let tl0_pic_idx = if extensions & 0x40 != 0 {
        Some(r.u8()?)
    } else {
        None
    };
    let (has_temporal, has_key_idx) = (extensions & 0x20 != 0, extensions & 0x10 != 0);
    let layer = if has_temporal || has_key_idx {
        r.u8()?
    } else {
        0
    };
    Some(Vp8Descriptor {
        non_reference: first & 0x20 != 0,
        starts_partition: first & 0x10 != 0,
        partition: first & 0x07,
        picture_id,
        tl0_pic_idx,
        temporal: has_temporal.then_some(layer >> 6),
        layer_sync: has_temporal && layer & 0x20 != 0,
        key_idx: has_key_idx.then_some(layer & 0x1f),
        len_bytes: payload.len() - r.len(),
    })
}

/// Describes one packet; [`PacketInfo::default`] when malformed.
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let Some(descriptor) = parse(payload) else {
        return PacketInfo::default();
    };
    let frame = payload.get(descriptor.len_bytes..).unwrap_or_default();
    if frame.is_empty() {
        return PacketInfo::default();
    }
    let starts_frame = descriptor.starts_frame();
    let header = starts_frame.then(|| FrameHeader::read(frame));
    let (key_frame, resolution) = match header {
        Some(FrameHeader::Key(resolution)) => (true, resolution),
        Some(FrameHeader::Inter) | None => (false, None),
    };
    let temporal = descriptor.temporal.unwrap_or(0);
    PacketInfo {
        key_frame,
        starts_frame,
        ends_frame: marker,
        discardable: descriptor.non_reference,
        switches_up: if descriptor.layer_sync { temporal } else { 0 },
        temporal,
        spatial: 0,
        resolution,
    }
}

/// Sets picture id and TL0PICIDX in place, each cut to the width that the packet has.
///
/// `None` leaves a field as it is; a field that the packet lacks stays absent. False, with nothing
/// changed, when the descriptor is malformed.
pub fn patch(payload: &mut [u8], picture_id: Option<u16>, tl0_pic_idx: Option<u8>) -> bool {
    let Some(descriptor) = parse(payload) else {
        return false;
    };
    if let (Some(old), Some(value)) = (descriptor.picture_id, picture_id)
        && old
            .with_value(value)
            .write(payload, PICTURE_ID_AT)
            .is_none()
    {
        return false;
    }
    if let (Some(_), Some(value)) = (descriptor.tl0_pic_idx, tl0_pic_idx) {
        let at = PICTURE_ID_AT + descriptor.picture_id.map_or(0, PictureId::len_bytes);
        if let Some(byte) = payload.get_mut(at) {
            *byte = value;
        }
    }
    true
}

/// The first bytes of a VP8 frame (RFC 7741 §4.3, RFC 6386 §9.1).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |Size0|H| VER |P|   P = 0: key frame
/// +-+-+-+-+-+-+-+-+
/// |     Size1     |
/// +-+-+-+-+-+-+-+-+
/// |     Size2     |
/// +-+-+-+-+-+-+-+-+   key frames only:
/// |   9d 01 2a    |   start code
/// |  scale:2 w:14 |   little endian
/// |  scale:2 h:14 |   little endian
/// ```
enum FrameHeader {
    Key(Option<Resolution>),
    Inter,
}

impl FrameHeader {
    /// `frame` begins behind the descriptor. A P bit of 0 with a wrong start code is no key frame;
    /// one whose header is cut off still is, with unknown size.
    fn read(frame: &[u8]) -> Self {
        let mut r = Reader::new(frame);
        if r.peek_u8().is_none_or(|tag| tag & 1 == 1) {
            return Self::Inter;
        }
        match r.skip(3).and_then(|()| r.array::<3>()) {
            Some(START_CODE) => Self::Key(Self::size(r)),
            Some(_) => Self::Inter,
            None => Self::Key(None),
        }
    }

    fn size(mut r: Reader<'_>) -> Option<Resolution> {
        let width = u16::from_le_bytes(r.array()?) & 0x3fff;
        let height = u16::from_le_bytes(r.array()?) & 0x3fff;
        Resolution::new(width.into(), height.into())
    }
}

/// Key frame start code (RFC 6386 §9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// The picture id, when present, stands behind the two flag bytes.
const PICTURE_ID_AT: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::hex;
    use super::*;

    /// First bytes of a 1280x720 key frame as libvpx wrote them.
    const KEY_FRAME: &str = "9077019d012a0005d0020007";

    fn descriptor(text: &str) -> Vp8Descriptor {
        parse(&hex(text)).unwrap()
    }

    #[test]
    fn reads_every_descriptor_shape() {
        let plain = descriptor("10");
        assert!(plain.starts_frame() && plain.len_bytes == 1);
        assert_eq!(plain.picture_id, None);

        let d = descriptor("90 80 2a");
        assert_eq!(d.len_bytes, 3);
        let id = d.picture_id.unwrap();
        assert_eq!((id.value, id.wide), (0x2a, false));

        let d = descriptor("b0 f0 9234 07 a5");
        let id = d.picture_id.unwrap();
        assert_eq!((id.value, id.wide), (0x1234, true));
        assert_eq!(
            (d.tl0_pic_idx, d.temporal, d.key_idx),
            (Some(7), Some(2), Some(5))
        );
        assert!(d.layer_sync && d.non_reference);
        assert_eq!(d.len_bytes, 6);

        let d = descriptor("80 10 3f");
        assert_eq!(
            (d.temporal, d.key_idx, d.layer_sync),
            (None, Some(0x1f), false)
        );
        assert!(!d.starts_partition);

        let d = descriptor("15");
        assert!(!d.starts_frame(), "partition 5 starts, not the frame");
    }

    #[test]
    fn a_cut_descriptor_is_none() {
        for text in [
            "",
            "80",
            "80 80",
            "80 80 92",
            "80 40",
            "80 20",
            "80 f0 9234 07",
        ] {
            assert_eq!(parse(&hex(text)), None, "{text}");
        }
    }

    #[test]
    fn a_key_frame_gives_its_size() {
        let info = inspect(&hex(&format!("10 {KEY_FRAME}")), false);
        assert!(info.key_frame && info.starts_frame && !info.ends_frame);
        assert_eq!(info.resolution, Resolution::new(1280, 720));
        // Scale bits above the 14 of each side are not part of it.
        let scaled = inspect(&hex("10 000000 9d012a 8042 e081"), true);
        assert_eq!(scaled.resolution, Resolution::new(640, 480));
        assert!(scaled.ends_frame);
    }

    #[test]
    fn only_the_first_packet_of_a_key_frame_starts_one() {
        let cases = [
            (format!("00 {KEY_FRAME}"), false, "continuation"),
            (format!("11 {KEY_FRAME}"), false, "second partition"),
            ("10 91 77 01 9d 01 2a 00 05 d0 02".into(), false, "P bit"),
            (
                "10 90 77 01 9d 01 2b 00 05 d0 02".into(),
                false,
                "bad start code",
            ),
            ("10 90 77 01 9d".into(), true, "cut header"),
            ("10".into(), false, "descriptor alone"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(inspect(&hex(&text), false).key_frame, expected, "{why}");
        }
    }

    #[test]
    fn reports_temporal_layer_and_discardable() {
        let info = inspect(&hex("b0 e0 05 09 80 01 00"), true);
        assert_eq!((info.temporal, info.discardable), (2, true));
        assert!(!info.key_frame && info.starts_frame);
    }

    #[test]
    fn patches_in_place_and_keeps_widths() {
        let mut wide = hex("90 c0 9234 07 aa");
        assert!(patch(&mut wide, Some(0xffff), Some(0x55)));
        assert_eq!(wide, hex("90 c0 ffff 55 aa"));
        let mut narrow = hex("90 c0 12 07 aa");
        assert!(patch(&mut narrow, Some(0x1234), Some(0x56)));
        assert_eq!(narrow, hex("90 c0 34 56 aa"));
        let mut no_id = hex("90 60 07 40 aa");
        assert!(patch(&mut no_id, Some(1), Some(0x99)));
        assert_eq!(no_id, hex("90 60 99 40 aa"));
        let mut bare = hex("10 aa");
        assert!(patch(&mut bare, Some(1), Some(2)));
        assert_eq!(bare, hex("10 aa"));
        let mut cut = hex("90 c0 92");
        assert!(!patch(&mut cut, Some(1), Some(2)));
        assert_eq!(cut, hex("90 c0 92"));
    }

    proptest! {
        #[test]
        fn a_patch_changes_what_it_names_and_nothing_else(
            mut payload in proptest::collection::vec(any::<u8>(), 0..24),
            picture_id: Option<u16>,
            tl0_pic_idx: Option<u8>,
        ) {
            let before = parse(&payload);
            let tail = before.map(|d| payload[d.len_bytes..].to_vec());
            prop_assert_eq!(patch(&mut payload, picture_id, tl0_pic_idx), before.is_some());
            let after = parse(&payload);
            let expected = before.map(|mut d| {
                d.picture_id = d.picture_id.map(|id| id.with_value(picture_id.unwrap_or(id.value)));
                d.tl0_pic_idx = d.tl0_pic_idx.map(|old| tl0_pic_idx.unwrap_or(old));
                d
            });
            prop_assert_eq!(after, expected);
            prop_assert_eq!(after.map(|d| payload[d.len_bytes..].to_vec()), tail);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..40), marker: bool,
        ) {
            inspect(&payload, marker);
        }
    }
}
