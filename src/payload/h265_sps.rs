//! The picture size in an H.265 sequence parameter set.
//!
//! ITU-T H.265 §7.3.2.2 (syntax), §7.3.3 (profile, tier and level), §7.4.3.2.1 (conformance
//! window). Reads up to the conformance window and stops. Called by `h265.rs`.

use super::Resolution;
use super::bits::BitReader;

/// Reads the size within the conformance window; `sps` begins behind the NAL unit header.
/// `None` when cut off before the window, or when the values contradict the standard.
pub(super) fn resolution(sps: &[u8]) -> Option<Resolution> {
    let mut r = BitReader::nal(sps);
    r.skip(4)?;
    let max_sub_layers_minus1 = r.bits(3)?;
    r.skip(1)?;
    skip_profile_tier_level(&mut r, max_sub_layers_minus1)?;
    r.ue()?;
    let (crop_width, crop_height) = match r.ue()? {
        1 => (2, 2),
        2 => (2, 1),
        0 => (1, 1),
        3 => {
            r.skip(1)?;
            (1, 1)
        }
        _ => return None,
    };
    let (mut width, mut height) = (r.ue()?, r.ue()?);
    if r.flag()? {
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        let across = left.checked_add(right)?.checked_mul(crop_width)?;
        let down = top.checked_add(bottom)?.checked_mul(crop_height)?;
        width = width.checked_sub(across)?;
        height = height.checked_sub(down)?;
    }
    Resolution::new(width, height)
}

/// `profile_tier_level( 1, max_sub_layers_minus1 )`.
fn skip_profile_tier_level(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Option<()> {
    if max_sub_layers_minus1 > MAX_SUB_LAYERS_MINUS1 {
        return None;
    }
    r.skip(PROFILE_BITS + LEVEL_BITS)?;
    let mut sub_layer_bits = 0;
    for _ in 0..max_sub_layers_minus1 {
        if r.flag()? {
            sub_layer_bits += PROFILE_BITS;
        }
        if r.flag()? {
            sub_layer_bits += LEVEL_BITS;
        }
    }
    if max_sub_layers_minus1 > 0 {
        // reserved_zero_2bits fill the presence flags up to eight sub-layers.
        r.skip(2 * (8 - max_sub_layers_minus1))?;
    }
    r.skip(sub_layer_bits)
}

/// Profile space, tier, profile, 32 compatibility flags, 48 constraint bits.
const PROFILE_BITS: u32 = 88;

/// `general_level_idc`, `sub_layer_level_idc`.
const LEVEL_BITS: u32 = 8;

/// §7.4.3.2.1: 0 to 6.
const MAX_SUB_LAYERS_MINUS1: u32 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::{BitWriter, hex};
    use super::*;

    #[derive(Clone)]
    struct Spec {
        sub_layers_minus1: u32,
        chroma: u32,
        size: (u32, u32),
        window: Option<[u32; 4]>,
    }

    const PLAIN: Spec = Spec {
        sub_layers_minus1: 0,
        chroma: 1,
        size: (1280, 720),
        window: None,
    };

    fn write(spec: &Spec) -> Vec<u8> {
        let mut w = BitWriter::default();
        w.bits(0, 4).bits(spec.sub_layers_minus1, 3).flag(true);
        w.bits(1, 8)
            .bits(0x6000_0000, 32)
            .bits(0x9000, 16)
            .bits(0, 32)
            .bits(93, 8);
        // Even sub-layers send a profile, multiples of three a level.
        for i in 0..spec.sub_layers_minus1 {
            w.flag(i % 2 == 0).flag(i % 3 == 0);
        }
        if spec.sub_layers_minus1 > 0 {
            for _ in spec.sub_layers_minus1..8 {
                w.bits(0, 2);
            }
        }
        for i in 0..spec.sub_layers_minus1 {
            if i % 2 == 0 {
                w.bits(0xffff_ffff, 32)
                    .bits(0xffff_ffff, 32)
                    .bits(0xff_ffff, 24);
            }
            if i % 3 == 0 {
                w.bits(0xff, 8);
            }
        }
        w.ue(0).ue(spec.chroma);
        if spec.chroma == 3 {
            w.flag(false);
        }
        w.ue(spec.size.0)
            .ue(spec.size.1)
            .flag(spec.window.is_some());
        for offset in spec.window.into_iter().flatten() {
            w.ue(offset);
        }
        w.ue(0).ue(0).trailing();
        w.nal()
    }

    #[test]
    fn computes_sizes_of_built_parameter_sets() {
        let full_hd = Spec {
            size: (1920, 1088),
            window: Some([0, 0, 0, 4]),
            ..PLAIN
        };
        let mut cases = vec![
            (PLAIN, (1280, 720)),
            (
                Spec {
                    size: (640, 480),
                    ..PLAIN
                },
                (640, 480),
            ),
            (full_hd.clone(), (1920, 1080)),
            (
                Spec {
                    chroma: 2,
                    window: Some([1, 2, 3, 5]),
                    ..full_hd.clone()
                },
                (1914, 1080),
            ),
            (
                Spec {
                    chroma: 3,
                    window: Some([1, 2, 3, 5]),
                    ..full_hd.clone()
                },
                (1917, 1080),
            ),
            (
                Spec {
                    chroma: 0,
                    window: Some([0, 0, 0, 8]),
                    ..full_hd.clone()
                },
                (1920, 1080),
            ),
        ];
        for sub_layers_minus1 in 1..=6 {
            cases.push((
                Spec {
                    sub_layers_minus1,
                    ..full_hd.clone()
                },
                (1920, 1080),
            ));
        }
        for (i, (spec, (width, height))) in cases.into_iter().enumerate() {
            let sps = write(&spec);
            assert_eq!(resolution(&sps), Resolution::new(width, height), "case {i}");
        }
    }

    #[test]
    fn computes_sizes_of_parameter_sets_from_encoders() {
        let cases = [
            // x265, main profile, without and with a conformance window.
            (
                "0101600000030090000003000003 0078a003c08010e5 96566924caf016808000\
                 0003008000000504",
                (1920, 1080),
            ),
            (
                "0101600000030090000003000003003fa005020169d5 65959a4932bc05a02000\
                 0003002000000301 41",
                (638, 358),
            ),
        ];
        for (text, (width, height)) in cases {
            assert_eq!(
                resolution(&hex(text)),
                Resolution::new(width, height),
                "{text}"
            );
        }
    }

    #[test]
    fn contradictions_and_cuts_are_none() {
        let sps = write(&PLAIN);
        for len in 0..sps.len() - 2 {
            assert_eq!(resolution(&sps[..len]), None, "{len} bytes");
        }
        for spec in [
            Spec {
                sub_layers_minus1: 7,
                ..PLAIN
            },
            Spec { chroma: 4, ..PLAIN },
            Spec {
                size: (0, 720),
                ..PLAIN
            },
            Spec {
                size: (65_536, 720),
                ..PLAIN
            },
            Spec {
                window: Some([640, 0, 0, 0]),
                ..PLAIN
            },
            Spec {
                window: Some([u32::MAX - 1, 0, 0, 1]),
                ..PLAIN
            },
        ] {
            assert_eq!(resolution(&write(&spec)), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(sps in proptest::collection::vec(any::<u8>(), 0..120)) {
            resolution(&sps);
        }
    }
}
