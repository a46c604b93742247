//! VP9: the payload descriptor with its scalability structure, and patches for layer switching.
//!
//! RFC 9628 §4.2; the VP9 bitstream specification §6.2 for the size in a key frame's header. Does
//! not decode, does not store picture groups. Called by `payload::inspect` and by `router/`.

use crate::base::bytes::Reader;

use super::bits::BitReader;
use super::picture_id::PictureId;
use super::{PacketInfo, Resolution};

/// The VP9 payload descriptor (RFC 9628 §4.2).
///
/// ```text
///      0 1 2 3 4 5 6 7
///     +-+-+-+-+-+-+-+-+
///     |I|P|L|F|B|E|V|Z| (REQUIRED)
///     +-+-+-+-+-+-+-+-+
/// I:  |M| PICTURE ID  | (REQUIRED)
///     +-+-+-+-+-+-+-+-+
/// M:  | EXTENDED PID  | (RECOMMENDED)
///     +-+-+-+-+-+-+-+-+
/// L:  | TID |U| SID |D| (Conditionally RECOMMENDED)
///     +-+-+-+-+-+-+-+-+
/// !F: |   TL0PICIDX   | (with L, non-flexible mode)
///     +-+-+-+-+-+-+-+-+                             -\
/// P,F:| P_DIFF      |N| (flexible mode)              - up to 3 times
///     +-+-+-+-+-+-+-+-+                             -/
/// V:  | SS            |
///     | ..            |
///     +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// I: 7 or 15 bits; `None` when absent.
    pub picture_id: Option<PictureId>,
    /// P: predicted from earlier pictures.
    pub inter_predicted: bool,
    /// F: references are listed per frame.
    pub flexible: bool,
    /// B: first packet of a layer frame.
    pub starts_frame: bool,
    /// E: last packet of a layer frame.
    pub ends_frame: bool,
    /// Z: no higher spatial layer of this picture refers to this frame.
    pub not_upper_reference: bool,
    /// L: layer indices; `None` when absent.
    pub layers: Option<Vp9Layers>,
    /// Running index of base layer pictures; `None` in flexible mode and without L.
    pub tl0_pic_idx: Option<u8>,
    /// P_DIFF: distances in picture ids, 1..=127, the first `references` are valid.
    pub p_diffs: [u8; MAX_REFERENCES],
    /// Number of `p_diffs`, 0..=3.
    pub references: u8,
    /// V: `None` when absent.
    pub scalability: Option<ScalabilityStructure>,
    /// Bytes of the descriptor; the VP9 frame header or its continuation follows.
    pub len_bytes: usize,
}

/// The layer byte (RFC 9628 §4.2, L bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Layers {
    /// TID, 0..=7.
    pub temporal: u8,
    /// U: no later picture of a higher temporal layer refers to one from before this picture, so
    /// that who takes this one can take those that follow.
    pub switching_up: bool,
    /// SID, 0..=7.
    pub spatial: u8,
    /// D: predicted from the next lower spatial layer of the same picture.
    pub inter_layer: bool,
}

/// The scalability structure (RFC 9628 §4.2.1), without its picture group.
///
/// ```text
///      +-+-+-+-+-+-+-+-+
/// V:   | N_S |Y|G|-|-|-|
///      +-+-+-+-+-+-+-+-+              -\
/// Y:   |     WIDTH     |               .
///      |               |               .
///      |     HEIGHT    |               . - N_S + 1 times
///      |               |               .
///      +-+-+-+-+-+-+-+-+              -/
/// G:   |      N_G      |
///      +-+-+-+-+-+-+-+-+                            -\
/// N_G: | TID |U| R |-|-|                             .
///      +-+-+-+-+-+-+-+-+              -\             . - N_G times
///      |    P_DIFF     |               . - R times   .
///      +-+-+-+-+-+-+-+-+              -/            -/
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalabilityStructure {
    /// N_S + 1, 1..=8.
    pub spatial_layers: u8,
    /// Size per spatial layer, the first `spatial_layers` are valid; `None` where it is 0 or the
    /// structure has no sizes.
    pub resolutions: [Option<Resolution>; MAX_SPATIAL_LAYERS],
    /// N_G: pictures in a group; 0 without one.
    pub group_len: u8,
}

impl ScalabilityStructure {
    /// The largest of the sizes; `None` when there is none.
    pub fn largest(&self) -> Option<Resolution> {
        self.resolutions
            .iter()
            .copied()
            .flatten()
            .max_by_key(|resolution| resolution.pixels())
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let first = r.u8()?;
        let mut structure = Self {
            spatial_layers: (first >> 5) + 1,
            resolutions: [None; MAX_SPATIAL_LAYERS],
            group_len: 0,
        };
        if first & 0x10 != 0 {
            let layers = usize::from(structure.spatial_layers);
            for slot in structure.resolutions.iter_mut().take(layers) {
                let (width, height) = (r.u16()?, r.u16()?);
                *slot = Resolution::new(width.into(), height.into());
            }
        }
        if first & 0x08 != 0 {
            structure.group_len = r.u8()?;
            for _ in 0..structure.group_len {
                let references = (r.u8()? >> 2) & 3;
                r.skip(references.into())?;
            }
        }
        Some(structure)
    }
}

impl Vp9Descriptor {
    /// Spatial layer, 0 without layer indices.
    pub fn spatial(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.spatial)
    }

    /// Temporal layer, 0 without layer indices.
    pub fn temporal(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.temporal)
    }

    /// First packet of a key picture: starts a base spatial layer frame that is not predicted.
    pub fn starts_key_frame(&self) -> bool {
        !self.inter_predicted && self.starts_frame && self.spatial() == 0
    }
}

/// Reads the descriptor; `None` when it is cut off or lists more than three references.
pub fn parse(payload: &[u8]) -> Option<Vp9Descriptor> {
    let mut r = Reader::new(payload);
    let flags = r.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let picture_id = if has(0x80) {
        Some(PictureId::read(&mut r)?)
    } else {
        None
    };
    let flexible = has(0x10);
    let (layers, tl0_pic_idx) = if has(0x20) {
        let byte = r.u8()?;
        let tl0_pic_idx = if flexible { None } else { Some(r.u8()?) };
        (Some(Vp9Layers::from_byte(byte)), tl0_pic_idx)
    } else {
        (None, None)
    };
    let (p_diffs, references) = if flexible && has(0x40) {
        read_p_diffs(&mut r)?
    } else {
        ([0; MAX_REFERENCES], 0)
    };
    let scalability = if has(0x02) {
        Some(ScalabilityStructure::read(&mut r)?)
    } else {
        None
    };
    Some(Vp9Descriptor {
        picture_id,
        inter_predicted: has(0x40),
        flexible,
        starts_frame: has(0x08),
        ends_frame: has(0x04),
        not_upper_reference: has(0x01),
        layers,
        tl0_pic_idx,
        p_diffs,
        references,
        scalability,
        len_bytes: payload.len() - r.len(),
    })
}

impl Vp9Layers {
    const fn from_byte(byte: u8) -> Self {
        Self {
            temporal: byte >> 5,
            switching_up: byte & 0x10 != 0,
            spatial: (byte >> 1) & 7,
            inter_layer: byte & 1 != 0,
        }
    }
}

fn read_p_diffs(r: &mut Reader<'_>) -> Option<([u8; MAX_REFERENCES], u8)> {
    let mut p_diffs = [0; MAX_REFERENCES];
    for (slot, count) in p_diffs.iter_mut().zip(1..) {
        let byte = r.u8()?;
        *slot = byte >> 1;
        if byte & 1 == 0 {
            return Some((p_diffs, count));
        }
    }
    None
}

/// Describes one packet; [`PacketInfo::default`] when malformed.
///
/// Frames are layer frames (the B and E bits); the RTP marker ends the whole picture and is not
/// needed here. Never discardable: the descriptor does not say what later pictures refer to.
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let Some(descriptor) = parse(payload) else {
        return PacketInfo::default();
    };
    let frame = payload.get(descriptor.len_bytes..).unwrap_or_default();
    if frame.is_empty() {
        return PacketInfo::default();
    }
    let key_frame = descriptor.starts_key_frame();
    let switches_up = descriptor.layers.is_some_and(|l| l.switching_up);
    let announced = descriptor.scalability.and_then(|s| s.largest());
    PacketInfo {
        key_frame,
        starts_frame: descriptor.starts_frame,
        ends_frame: descriptor.ends_frame,
        discardable: false,
        switches_up: if switches_up { u8::MAX } else { 0 },
        temporal: descriptor.temporal(),
        spatial: descriptor.spatial(),
        resolution: announced.or_else(|| key_frame.then(|| key_frame_size(frame)).flatten()),
    }
}

/// Sets the picture id in place, cut to the width that the packet has.
///
/// A packet without picture id stays as it is. False, with nothing changed, when malformed.
pub fn patch_picture_id(payload: &mut [u8], picture_id: u16) -> bool {
    let Some(descriptor) = parse(payload) else {
        return false;
    };
    descriptor.picture_id.is_none_or(|old| {
        old.with_value(picture_id)
            .write(payload, PICTURE_ID_AT)
            .is_some()
    })
}

/// Sets TL0PICIDX in place. A packet without one (flexible mode, no layer indices) stays as it
/// is. False, with nothing changed, when malformed.
pub fn patch_tl0_pic_idx(payload: &mut [u8], tl0_pic_idx: u8) -> bool {
    let Some(descriptor) = parse(payload) else {
        return false;
    };
    if descriptor.tl0_pic_idx.is_some() {
        let at = PICTURE_ID_AT + descriptor.picture_id.map_or(0, PictureId::len_bytes) + 1;
        if let Some(byte) = payload.get_mut(at) {
            *byte = tl0_pic_idx;
        }
    }
    true
}

/// The size in the uncompressed header of a key frame (VP9 bitstream §6.2, §7.2), for senders
/// that omit the scalability structure. `None` unless marker, frame type and sync code fit.
fn key_frame_size(frame: &[u8]) -> Option<Resolution> {
    let mut r = BitReader::new(frame);
    if r.bits(2)? != FRAME_MARKER {
        return None;
    }
    let profile = r.bits(1)? | r.bits(1)? << 1;
    if profile == 3 {
        r.skip(1)?;
    }
    let (shows_existing, inter) = (r.flag()?, r.flag()?);
    r.skip(2)?;
    if shows_existing || inter || r.bits(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        r.skip(1)?;
    }
    let rgb = r.bits(3)? == COLOR_SPACE_RGB;
    let odd_profile = profile & 1 == 1;
    r.skip(match (rgb, odd_profile) {
        (true, true) | (false, false) => 1,
        (true, false) => 0,
        (false, true) => 4,
    })?;
    let (width, height) = (r.bits(16)? + 1, r.bits(16)? + 1);
    Resolution::new(width, height)
}

/// The picture id, when present, stands behind the flag byte.
const PICTURE_ID_AT: usize = 1;

/// RFC 9628 §4.2: at most three P_DIFF.
const MAX_REFERENCES: usize = 3;

/// N_S has three bits.
const MAX_SPATIAL_LAYERS: usize = 8;

/// VP9 bitstream §7.2.
const FRAME_MARKER: u32 = 2;

/// VP9 bitstream §7.2.1.
const SYNC_CODE: u32 = 0x49_83_42;

/// VP9 bitstream §7.2.2.
const COLOR_SPACE_RGB: u32 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::{BitWriter, hex};
    use super::*;

    /// First bytes of a 1280x720 key frame as libvpx wrote them.
    const KEY_FRAME: &str = "82498342004ff02cf6";

    fn descriptor(text: &str) -> Vp9Descriptor {
        parse(&hex(text)).unwrap()
    }

    #[test]
    fn reads_non_flexible_mode() {
        // I L B, 15-bit id, TID 2 U SID 1 D, TL0PICIDX.
        let d = descriptor("a8 9234 53 2a");
        assert_eq!(d.picture_id.unwrap().value, 0x1234);
        assert_eq!(
            (d.temporal(), d.spatial(), d.tl0_pic_idx),
            (2, 1, Some(0x2a))
        );
        let layers = d.layers.unwrap();
        assert!(layers.switching_up && layers.inter_layer);
        assert!(d.starts_frame && !d.ends_frame && !d.flexible);
        assert_eq!(d.len_bytes, 5);
    }

    #[test]
    fn reads_flexible_mode_with_up_to_three_references() {
        let d = descriptor("f5 2a 20 03 05 08");
        assert_eq!((d.references, d.p_diffs), (3, [1, 2, 4]));
        assert_eq!((d.tl0_pic_idx, d.temporal()), (None, 1));
        assert!(d.ends_frame && d.inter_predicted && d.not_upper_reference);
        assert_eq!(parse(&hex("f5 2a 20 03 05 09 00")), None, "a fourth one");
        let d = descriptor("d0 2a 02");
        assert_eq!((d.references, d.p_diffs[0], d.layers), (1, 1, None));
        let d = descriptor("90 2a 02");
        assert_eq!(
            (d.references, d.len_bytes),
            (0, 2),
            "not predicted: no list"
        );
    }

    #[test]
    fn reads_the_scalability_structure() {
        // Three layers with sizes and a group of two pictures with 0 and 2 references.
        let d = descriptor("8a 05 58 0140 00b4 0280 0168 0500 02d0 02 00 28 01 02 aa");
        let ss = d.scalability.unwrap();
        assert_eq!((ss.spatial_layers, ss.group_len), (3, 2));
        assert_eq!(ss.resolutions[0], Resolution::new(320, 180));
        assert_eq!(ss.resolutions[2], Resolution::new(1280, 720));
        assert_eq!(ss.resolutions[3], None);
        assert_eq!(ss.largest(), Resolution::new(1280, 720));
        assert_eq!(d.len_bytes, 20);
        let bare = descriptor("8a 05 00 aa").scalability.unwrap();
        assert_eq!((bare.spatial_layers, bare.largest()), (1, None));
    }

    #[test]
    fn a_cut_descriptor_is_none() {
        let whole = hex("eb 9234 53 2a 58 0140 00b4 0280 0168 0500 02d0 02 00 28 01 02");
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len} bytes");
        }
        assert!(parse(&whole).is_some());
    }

    #[test]
    fn a_key_frame_is_an_unpredicted_start_of_the_base_layer() {
        let cases = [
            ("8c 01", true, "B, no layers"),
            ("ac 01 00 00", true, "sid 0"),
            ("ac 01 02 00", false, "sid 1"),
            ("cc 01", false, "P"),
            ("84 01", false, "not B"),
        ];
        for (text, expected, why) in cases {
            let payload = hex(&format!("{text} {KEY_FRAME}"));
            assert_eq!(inspect(&payload).key_frame, expected, "{why}");
        }
    }

    #[test]
    fn the_size_comes_from_the_structure_or_else_from_the_frame() {
        let from_ss = inspect(&hex(&format!("8e 01 10 0280 0168 {KEY_FRAME}")));
        assert_eq!(from_ss.resolution, Resolution::new(640, 360));
        let from_frame = inspect(&hex(&format!("8c 01 {KEY_FRAME}")));
        assert_eq!(from_frame.resolution, Resolution::new(1280, 720));
        let encrypted = inspect(&hex("8c 01 f1f2f3f4f5f6f7f8f9"));
        assert!(encrypted.key_frame && encrypted.resolution.is_none());
    }

    #[test]
    fn finds_the_size_in_every_profile() {
        for (profile, rgb) in [(0, false), (1, false), (1, true), (2, false), (3, true)] {
            let mut w = BitWriter::default();
            w.bits(2, 2).bits(profile & 1, 1).bits(profile >> 1, 1);
            if profile == 3 {
                w.bits(0, 1);
            }
            w.bits(0b0010, 4).bits(0x498342, 24);
            if profile >= 2 {
                w.bits(1, 1);
            }
            if rgb {
                w.bits(7, 3).bits(0, 1);
            } else {
                w.bits(1, 3).bits(0, 1);
                w.bits(0, if profile % 2 == 1 { 3 } else { 0 });
            }
            w.bits(639, 16).bits(479, 16);
            assert_eq!(
                key_frame_size(&w.bytes()),
                Resolution::new(640, 480),
                "profile {profile} rgb {rgb}"
            );
        }
    }

    #[test]
    fn patches_in_place_and_keeps_widths() {
        let mut wide = hex("a8 9234 50 2a cc");
        assert!(patch_picture_id(&mut wide, 0xfffe) && patch_tl0_pic_idx(&mut wide, 0x77));
        assert_eq!(wide, hex("a8 fffe 50 77 cc"));
        let mut narrow = hex("a8 34 50 2a cc");
        assert!(patch_picture_id(&mut narrow, 0x01ff) && patch_tl0_pic_idx(&mut narrow, 1));
        assert_eq!(narrow, hex("a8 7f 50 01 cc"));
        let mut flexible = hex("b8 34 50 cc");
        assert!(patch_tl0_pic_idx(&mut flexible, 9));
        assert_eq!(flexible, hex("b8 34 50 cc"));
        let mut without = hex("08 cc");
        assert!(patch_picture_id(&mut without, 9) && patch_tl0_pic_idx(&mut without, 9));
        assert_eq!(without, hex("08 cc"));
        assert!(!patch_picture_id(&mut hex("80"), 9));
    }

    proptest! {
        #[test]
        fn a_patch_changes_what_it_names_and_nothing_else(
            mut payload in proptest::collection::vec(any::<u8>(), 0..40),
            picture_id: u16,
            tl0_pic_idx: u8,
        ) {
            let before = parse(&payload);
            patch_picture_id(&mut payload, picture_id);
            patch_tl0_pic_idx(&mut payload, tl0_pic_idx);
            let expected = before.map(|mut d| {
                d.picture_id = d.picture_id.map(|id| id.with_value(picture_id));
                d.tl0_pic_idx = d.tl0_pic_idx.map(|_| tl0_pic_idx);
                d
            });
            prop_assert_eq!(parse(&payload), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            inspect(&payload);
            key_frame_size(&payload);
        }
    }
}
