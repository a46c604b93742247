//! The dependency descriptor header extension: what a frame needs and who needs it.
//!
//! AV1 RTP payload format, Appendix A. Parses; does not write, does not track which frames
//! arrived. The structure that most descriptors refer to travels only at the start of a coded
//! video sequence, so the caller stores it and hands it back. Called by `payload::inspect` and by
//! `router/` when it selects layers.

use super::Resolution;
use super::bits::BitReader;
use super::dependency_structure::{ChainDiffs, FrameDiffs, Indications, Structure};

/// One dependency descriptor (AV1 RTP A.4.1).
///
/// ```text
///  0                   1                   2
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |S|E| template  |         frame number          |  mandatory
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |T|A|D|F|C| structure, active targets, ...  bits   when longer than 3 bytes
/// +-+-+-+-+-+-+-+-+-
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor<'a> {
    bytes: &'a [u8],
    /// S: first packet of the frame.
    pub starts_frame: bool,
    /// E: last packet of the frame; more frames of the same picture may follow.
    pub ends_frame: bool,
    /// 0..=63; resolved by [`Structure::template`].
    pub template_id: u8,
    /// Counts frames in decode order, modulo 2^16.
    pub frame_number: u16,
    /// T: this packet carries a structure, see [`structure`](Self::structure).
    pub has_structure: bool,
    /// Largest render size of the structure in this packet; `None` without one.
    pub resolution: Option<Resolution>,
    /// Bit i = decode target i is produced. Set when the packet lists them, and to all targets
    /// when it brings a structure without a list. `None`: as the caller last saw it.
    pub active_decode_targets: Option<u32>,
    /// The frame's layers and references; `None` when no structure is known or the template
    /// belongs to another one.
    pub frame: Option<Frame>,
}

/// A frame's place in the prediction structure: its template with the packet's own changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 0..=7.
    pub spatial: u8,
    /// 0..=7.
    pub temporal: u8,
    /// Every decode target lacks the frame or may discard it.
    pub discardable: bool,
    /// Up to which temporal layer who takes the frame can take what follows of its spatial layer:
    /// above its own one, or 0.
    pub switches_up: u8,
    /// Per decode target.
    pub indications: Indications,
    /// Frames referred to.
    pub frame_diffs: FrameDiffs,
    /// Per chain.
    pub chain_diffs: ChainDiffs,
}

impl Descriptor<'_> {
    /// The structure in this packet, for the caller to store; `None` when it carries none. Reads
    /// it again from the bytes, so that packets without one do not move 4 KB around.
    pub fn structure(&self) -> Option<Structure> {
        if !self.has_structure {
            return None;
        }
        let mut r = BitReader::new(self.bytes);
        r.skip(MANDATORY_BITS + EXTENDED_FLAG_BITS)?;
        Structure::read(&mut r)
    }
}

/// Which parts of the template a packet replaces.
#[derive(Clone, Copy, Debug, Default)]
struct Extended {
    lists_active_targets: bool,
    custom_indications: bool,
    custom_frame_diffs: bool,
    custom_chain_diffs: bool,
}

/// Parses one header extension.
///
/// `previous` is the structure stored for this encoding; it is not used when the packet brings
/// its own. `None` when cut off or malformed. Without any structure the mandatory fields are
/// still returned.
pub fn parse<'a>(bytes: &'a [u8], previous: Option<&Structure>) -> Option<Descriptor<'a>> {
    let mut r = BitReader::new(bytes);
    let mut descriptor = Descriptor {
        bytes,
        starts_frame: r.flag()?,
        ends_frame: r.flag()?,
        template_id: r.bits(6)? as u8,
        frame_number: r.bits(16)? as u16,
        has_structure: false,
        resolution: None,
        active_decode_targets: None,
        frame: None,
    };
    let mut extended = Extended::default();
    if bytes.len() > MANDATORY_LEN {
        descriptor.has_structure = r.flag()?;
        extended = Extended {
            lists_active_targets: r.flag()?,
            custom_indications: r.flag()?,
            custom_frame_diffs: r.flag()?,
            custom_chain_diffs: r.flag()?,
        };
    }
    if descriptor.has_structure {
        return with_own_structure(descriptor, r, extended);
    }
    match previous {
        Some(structure) => resolve(descriptor, r, extended, structure),
        None => Some(descriptor),
    }
}

/// Adds to frame number and template id, a structure's own offset included, in place.
///
/// False, with nothing changed, when `bytes` is cut off.
pub fn patch(bytes: &mut [u8], frame_number: u16, template_id: u8) -> bool {
    let [flags, high, low, rest @ ..] = bytes else {
        return false;
    };
    match rest {
        [extended, more, ..] if *extended & 0x80 != 0 => {
            let offset = (*extended & 0x07) << 3 | *more >> 5;
            let offset = offset.wrapping_add(template_id);
            *extended = *extended & !0x07 | offset >> 3 & 0x07;
            *more = *more & 0x1f | offset << 5;
        }
        [extended] if *extended & 0x80 != 0 => return false,
        _ => {}
    }
    *flags = *flags & 0xc0 | flags.wrapping_add(template_id) & 0x3f;
    let number = u16::from_be_bytes([*high, *low]).wrapping_add(frame_number);
    [*high, *low] = number.to_be_bytes();
    true
}

/// Apart from `parse`, so that its 4 KB of stack are touched at key frames only.
#[cold]
#[inline(never)]
fn with_own_structure<'a>(
    mut descriptor: Descriptor<'a>,
    mut r: BitReader<'a>,
    extended: Extended,
) -> Option<Descriptor<'a>> {
    let structure = Structure::read(&mut r)?;
    descriptor.resolution = structure.largest();
    descriptor.active_decode_targets =
        Some(u32::MAX >> (u32::BITS - u32::from(structure.decode_targets)));
    resolve(descriptor, r, extended, &structure)
}

/// The rest of the extended fields and `frame_dependency_definition()`.
fn resolve<'a>(
    mut descriptor: Descriptor<'a>,
    mut r: BitReader<'a>,
    extended: Extended,
    structure: &Structure,
) -> Option<Descriptor<'a>> {
    let Some(template) = structure.template(descriptor.template_id) else {
        return Some(descriptor);
    };
    if extended.lists_active_targets {
        descriptor.active_decode_targets = Some(r.bits(structure.decode_targets.into())?);
    }
    let indications = if extended.custom_indications {
        Indications::read(&mut r, structure.decode_targets)?
    } else {
        template.indications
    };
    let frame_diffs = if extended.custom_frame_diffs {
        read_frame_diffs(&mut r)?
    } else {
        template.frame_diffs
    };
    let chain_diffs = if extended.custom_chain_diffs {
        ChainDiffs::read(&mut r, structure.chains, 8)?
    } else {
        template.chain_diffs
    };
    let switches_up = structure.switches_up(template.spatial, indications);
    descriptor.frame = Some(Frame {
        spatial: template.spatial,
        temporal: template.temporal,
        discardable: indications.all_discardable(),
        switches_up: if switches_up > template.temporal {
            switches_up
        } else {
            0
        },
        indications,
        frame_diffs,
        chain_diffs,
    });
    Some(descriptor)
}

/// `frame_fdiffs()`.
fn read_frame_diffs(r: &mut BitReader<'_>) -> Option<FrameDiffs> {
    let mut diffs = FrameDiffs::default();
    loop {
        let nibbles = r.bits(2)?;
        if nibbles == 0 {
            return Some(diffs);
        }
        diffs.push(r.bits(4 * nibbles)? + 1)?;
    }
}

/// Bytes of a descriptor without extended fields.
const MANDATORY_LEN: usize = 3;

/// S, E, template id, frame number.
const MANDATORY_BITS: u32 = 24;

/// T, A, D, F, C.
const EXTENDED_FLAG_BITS: u32 = 5;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::dependency_structure::Indication::{
        Discardable, NotPresent, Required, Switch,
    };
    use super::super::test_bits::BitWriter;
    use super::*;

    /// A template for [`write_structure`]: spatial, temporal, frame differences, chain differences,
    /// indications.
    pub(crate) type Row = (u32, u32, &'static [u32], &'static [u32], &'static [u32]);

    /// Three temporal layers, one chain: A.6.1 of the specification.
    const L1T3: [Row; 5] = [
        (0, 0, &[], &[0], &[2, 2, 2]),
        (0, 0, &[4], &[4], &[2, 2, 2]),
        (0, 1, &[2], &[2], &[2, 1, 0]),
        (0, 2, &[1], &[1], &[1, 0, 0]),
        (0, 2, &[1], &[3], &[1, 0, 0]),
    ];

    /// Two temporal layers as libwebrtc sends them.
    pub(crate) const L1T2_LIBWEBRTC: [Row; 3] = [
        (0, 0, &[], &[0], &[2, 2]),
        (0, 0, &[2], &[2], &[2, 2]),
        (0, 1, &[1], &[1], &[0, 1]),
    ];

    /// Three temporal layers as libwebrtc sends them.
    pub(crate) const L1T3_LIBWEBRTC: [Row; 5] = [
        (0, 0, &[], &[0], &[2, 2, 2]),
        (0, 0, &[4], &[4], &[2, 2, 2]),
        (0, 1, &[2], &[2], &[0, 1, 2]),
        (0, 2, &[1], &[1], &[0, 0, 1]),
        (0, 2, &[1], &[3], &[0, 0, 1]),
    ];

    /// Two spatial layers, two chains: A.6.2 of the specification.
    const L2T1: [Row; 5] = [
        (0, 0, &[], &[0, 0], &[2, 2]),
        (0, 0, &[2], &[2, 1], &[3, 2]),
        (0, 0, &[2], &[2, 1], &[2, 2]),
        (1, 0, &[1], &[1, 1], &[2, 0]),
        (1, 0, &[2, 1], &[1, 1], &[3, 0]),
    ];

    fn mandatory(w: &mut BitWriter, start: bool, end: bool, template: u32, number: u32) {
        w.flag(start).flag(end).bits(template, 6).bits(number, 16);
    }

    fn write_structure(
        w: &mut BitWriter,
        id_offset: u32,
        rows: &[Row],
        protected_by: &[u32],
        sizes: &[(u32, u32)],
    ) {
        let targets = protected_by.len() as u32;
        let chains = rows[0].3.len() as u32;
        w.bits(id_offset, 6).bits(targets - 1, 5);
        for pair in rows.windows(2) {
            w.bits(
                match (pair[1].0 - pair[0].0, pair[0].1 == pair[1].1) {
                    (0, true) => 0,
                    (0, false) => 1,
                    _ => 2,
                },
                2,
            );
        }
        w.bits(3, 2);
        for dti in rows.iter().flat_map(|row| row.4) {
            w.bits(*dti, 2);
        }
        for row in rows {
            for diff in row.2 {
                w.flag(true).bits(diff - 1, 4);
            }
            w.flag(false);
        }
        w.ns(chains, targets + 1);
        for chain in protected_by {
            w.ns(*chain, chains);
        }
        for diff in rows.iter().flat_map(|row| row.3) {
            w.bits(*diff, 4);
        }
        w.flag(!sizes.is_empty());
        for (width, height) in sizes {
            w.bits(width - 1, 16).bits(height - 1, 16);
        }
    }

    /// The descriptor of a frame in one packet: with the structure of one spatial layer when
    /// `rows` are given.
    pub(crate) fn frame_bytes(template: u32, number: u16, rows: Option<&[Row]>) -> Vec<u8> {
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, template, number.into());
        if let Some(rows) = rows {
            w.bits(0b10000, 5);
            let protected_by = vec![0; rows[0].4.len()];
            write_structure(&mut w, 0, rows, &protected_by, &[]);
        }
        w.bytes()
    }

    fn l1t3_bytes(id_offset: u32) -> Vec<u8> {
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, id_offset, 1);
        w.bits(0b10000, 5);
        write_structure(&mut w, id_offset, &L1T3, &[0, 0, 0], &[(1280, 720)]);
        w.bytes()
    }

    fn l1t3(id_offset: u32) -> Structure {
        let bytes = l1t3_bytes(id_offset);
        let descriptor = parse(&bytes, None).unwrap();
        assert_eq!(descriptor.active_decode_targets, Some(0b111));
        assert_eq!(descriptor.resolution, Resolution::new(1280, 720));
        descriptor.structure().unwrap()
    }

    #[test]
    fn mandatory_fields_need_no_structure() {
        let d = parse(&[0x86, 0x01, 0x73], None).unwrap();
        assert!(d.starts_frame && !d.ends_frame && !d.has_structure);
        assert_eq!((d.template_id, d.frame_number), (6, 0x173));
        assert_eq!((d.frame, d.active_decode_targets), (None, None));
        assert_eq!(parse(&[0x86, 0x01], None), None);
    }

    #[test]
    fn a_patched_descriptor_means_the_same_under_other_numbers() {
        for offset in [0, 5, 60] {
            let mut bytes = l1t3_bytes(offset);
            let before = parse(&bytes, None).unwrap().structure().unwrap();
            assert!(patch(&mut bytes, 65_535, 61));
            let d = parse(&bytes, None).unwrap();
            let after = d.structure().unwrap();
            assert_eq!(u32::from(after.id_offset), (offset + 61) % 64);
            assert_eq!(u32::from(d.template_id), (offset + 61) % 64);
            assert_eq!(
                (d.frame_number, d.starts_frame, d.ends_frame),
                (0, true, true)
            );
            assert_eq!(after.templates(), before.templates());
            assert_eq!(after.largest(), before.largest());
        }
        let mut short = [0x86, 0x01, 0x73];
        assert!(patch(&mut short, 2, 60));
        assert_eq!(short, [0x82, 0x01, 0x75]);
        assert!(!patch(&mut [0x86, 0x01], 2, 60));
    }

    #[test]
    fn reads_a_structure_and_resolves_its_templates() {
        let structure = l1t3(60);
        assert_eq!(structure.templates().len(), 5);
        assert_eq!((structure.decode_targets, structure.chains), (3, 1));
        assert_eq!(structure.chain_of(2), Some(0));
        assert_eq!(structure.chain_of(3), None);
        assert_eq!(
            [0, 1, 2].map(|target| structure.layers_of(target)),
            [(0, 2), (0, 1), (0, 0)]
        );
        // Template ids wrap at 64: 60 + 4 is sent as 0.
        for (i, (_, temporal, diffs, chains, indications)) in (0..).zip(L1T3) {
            let mut w = BitWriter::default();
            mandatory(&mut w, true, false, (60 + i) % 64, 77);
            let bytes = w.bytes();
            let frame = parse(&bytes, Some(&structure)).unwrap().frame.unwrap();
            assert_eq!(u32::from(frame.temporal), temporal);
            let wide = |d: &u16| u32::from(*d);
            let got: Vec<u32> = frame.frame_diffs.as_slice().iter().map(wide).collect();
            assert_eq!(got, diffs);
            assert_eq!(frame.chain_diffs.as_slice(), [chains[0] as u8]);
            let kinds = [NotPresent, Discardable, Switch, Required];
            for (target, dti) in (0..).zip(indications) {
                assert_eq!(frame.indications.get(target), kinds[*dti as usize]);
            }
            assert_eq!(frame.discardable, temporal == 2);
        }
    }

    /// Table A.2: Switch of a target above the frame's own layers is for what follows it; of its
    /// own ones it says nothing that who has the frame does not know.
    #[test]
    fn a_frame_says_how_far_up_one_can_switch_behind_it() {
        let cases: [(&[Row], &[u8]); 4] = [
            (&L1T2_LIBWEBRTC, &[1, 1, 0]),
            (&L1T3_LIBWEBRTC, &[2, 2, 2, 0, 0]),
            (&L1T3, &[2, 2, 2, 0, 0]),
            // Its upper spatial layer is joined in no other way than by a key frame.
            (&L2T1, &[0, 0, 0, 0, 0]),
        ];
        for (rows, want) in cases {
            let bytes = frame_bytes(0, 1, Some(rows));
            let structure = parse(&bytes, None).unwrap().structure().unwrap();
            let got: Vec<u8> = (0..rows.len() as u32)
                .map(|template| {
                    let bytes = frame_bytes(template, 2, None);
                    parse(&bytes, Some(&structure)).unwrap().frame.unwrap()
                })
                .map(|frame| frame.switches_up)
                .collect();
            assert_eq!(got, want, "{rows:?}");
        }
    }

    #[test]
    fn a_template_of_another_structure_resolves_to_nothing() {
        let structure = l1t3(10);
        let d = parse(&[0xc0 | 15, 0, 9], Some(&structure)).unwrap();
        assert_eq!((d.template_id, d.frame), (15, None));
        let d = parse(&[0xc0 | 9, 0, 9], Some(&structure)).unwrap();
        assert_eq!(d.frame, None);
    }

    #[test]
    fn a_packet_may_replace_parts_of_its_template() {
        let structure = l1t3(0);
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, 2, 500);
        w.bits(0b01111, 5).bits(0b011, 3);
        w.bits(1, 2).bits(0, 2).bits(0, 2);
        w.bits(1, 2).bits(6, 4);
        w.bits(2, 2).bits(99, 8);
        w.bits(3, 2).bits(4095, 12).bits(0, 2);
        w.bits(200, 8);
        let bytes = w.bytes();
        let d = parse(&bytes, Some(&structure)).unwrap();
        assert_eq!(d.active_decode_targets, Some(0b011));
        let frame = d.frame.unwrap();
        assert_eq!(frame.frame_diffs.as_slice(), [7, 100, 4096]);
        assert_eq!(frame.chain_diffs.as_slice(), [200]);
        assert!(frame.discardable);
        assert_eq!(frame.indications.get(0), Discardable);
        assert_eq!(
            parse(&bytes[..bytes.len() - 1], Some(&structure)),
            None,
            "cut"
        );
    }

    #[test]
    fn reads_spatial_layers_with_a_list_of_active_targets() {
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, 20, 0x172);
        w.bits(0b11000, 5);
        write_structure(&mut w, 20, &L2T1, &[1, 0], &[(640, 360), (1280, 720)]);
        w.bits(0b10, 2);
        let bytes = w.bytes();
        let d = parse(&bytes, None).unwrap();
        assert_eq!(d.active_decode_targets, Some(0b10));
        assert_eq!(d.resolution, Resolution::new(1280, 720));
        assert_eq!((d.template_id, d.frame_number), (20, 0x172));
        let first = d.frame.unwrap();
        assert_eq!((first.spatial, first.temporal), (0, 0));
        assert!(first.frame_diffs.as_slice().is_empty());

        let structure = d.structure().unwrap();
        assert_eq!(
            (structure.chain_of(0), structure.chain_of(1)),
            (Some(1), Some(0))
        );
        assert_eq!(
            (structure.layers_of(0), structure.layers_of(1)),
            ((1, 0), (0, 0))
        );
        assert_eq!(structure.resolution(0), Resolution::new(640, 360));
        assert_eq!(structure.resolution(2), None);

        let next = [0x80 | 24, 0x01, 0x73, 0b0100_0010];
        let d = parse(&next, Some(&structure)).unwrap();
        assert_eq!(d.active_decode_targets, Some(0b01));
        let frame = d.frame.unwrap();
        assert_eq!(
            (frame.spatial, frame.frame_diffs.as_slice()),
            (1, &[2, 1][..])
        );
        assert_eq!(frame.chain_diffs.as_slice(), [1, 1]);
        assert_eq!(frame.indications.get(1), NotPresent);
        let shorter = parse(&next[..3], Some(&structure)).unwrap();
        assert_eq!(
            (shorter.frame, shorter.active_decode_targets),
            (d.frame, None)
        );
    }

    #[test]
    fn every_cut_structure_is_none() {
        let bytes = l1t3_bytes(0);
        for len in 4..bytes.len() {
            assert_eq!(parse(&bytes[..len], None), None, "{len} bytes");
        }
    }

    #[test]
    fn too_many_references_or_layers_are_malformed() {
        for layer_step in [1, 2] {
            let mut w = BitWriter::default();
            mandatory(&mut w, true, true, 0, 1);
            w.bits(0b10000, 5).bits(0, 6).bits(0, 5);
            for _ in 0..8 {
                w.bits(layer_step, 2);
            }
            w.bits(3, 2).bits(0, 32).bits(0, 32).bits(0, 32);
            assert_eq!(parse(&w.bytes(), None), None);
        }
        let structure = l1t3(0);
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, 0, 1);
        w.bits(0b00010, 5);
        for _ in 0..9 {
            w.bits(1, 2).bits(0, 4);
        }
        w.bits(0, 8);
        assert_eq!(parse(&w.bytes(), Some(&structure)), None);
    }

    #[test]
    fn sixty_four_templates_fit() {
        let mut w = BitWriter::default();
        mandatory(&mut w, true, true, 5, 1);
        w.bits(0b10000, 5).bits(6, 6).bits(0, 5);
        for _ in 0..63 {
            w.bits(0, 2);
        }
        w.bits(3, 2);
        for _ in 0..64 {
            w.bits(2, 2);
        }
        for _ in 0..64 {
            w.flag(false);
        }
        w.ns(0, 2).flag(false);
        let bytes = w.bytes();
        let d = parse(&bytes, None).unwrap();
        assert_eq!(d.structure().unwrap().templates().len(), 64);
        assert_eq!(d.frame.unwrap().indications.get(0), Switch);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let structure = parse(&bytes, None).and_then(|d| d.structure());
            parse(&bytes, structure.as_ref());
        }

        #[test]
        fn arbitrary_follow_ups_never_panic(
            flips in proptest::collection::vec(0usize..1000, 0..8),
            next in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = l1t3_bytes(3);
            for bit in flips {
                let at = bit / 8 % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
            if let Some(structure) = parse(&bytes, None).and_then(|d| d.structure()) {
                prop_assert!((1..=64).contains(&structure.templates().len()));
                parse(&next, Some(&structure));
                for target in 0..=255 {
                    structure.layers_of(target);
                    structure.chain_of(target);
                }
            }
        }
    }
}
