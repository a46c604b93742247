//! The picture size in an H.264 sequence parameter set.
//!
//! ITU-T H.264 §7.3.2.1.1 (syntax), §7.4.2.1.1 (cropping). Reads up to the cropping rectangle and
//! stops: no VUI. Called by `h264.rs`.

use super::Resolution;
use super::bits::BitReader;

/// Reads the size after cropping; `sps` begins behind the NAL unit header. `None` when cut off
/// before the cropping rectangle, or when the values contradict the standard.
pub(super) fn resolution(sps: &[u8]) -> Option<Resolution> {
    let mut r = BitReader::nal(sps);
    let profile = r.bits(8)?;
    r.skip(16)?;
    r.ue()?;
    let chroma = if HIGH_PROFILES.contains(&profile) {
        Chroma::read(&mut r)?
    } else {
        Chroma::YUV420
    };
    r.ue()?;
    skip_picture_order_count(&mut r)?;
    r.ue()?;
    r.skip(1)?;
    let width_mbs = r.ue()?.checked_add(1)?;
    let height_units = r.ue()?.checked_add(1)?;
    let frame_mbs_only = r.flag()?;
    if !frame_mbs_only {
        r.skip(1)?;
    }
    r.skip(1)?;
    // Field coding halves the map units, so both the height and the vertical crop unit double.
    let fields = if frame_mbs_only { 1 } else { 2 };
    let mut width = width_mbs.checked_mul(MACROBLOCK)?;
    let mut height = height_units.checked_mul(MACROBLOCK * fields)?;
    if r.flag()? {
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        let across = left.checked_add(right)?.checked_mul(chroma.crop_width)?;
        let down = top
            .checked_add(bottom)?
            .checked_mul(chroma.crop_height * fields)?;
        width = width.checked_sub(across)?;
        height = height.checked_sub(down)?;
    }
    Resolution::new(width, height)
}

/// Pixels per cropping unit, from the chroma format (Table 6-1).
struct Chroma {
    crop_width: u32,
    crop_height: u32,
}

impl Chroma {
    const YUV420: Self = Self {
        crop_width: 2,
        crop_height: 2,
    };

    /// Reads the fields that only the high profiles have, scaling matrices included.
    fn read(r: &mut BitReader<'_>) -> Option<Self> {
        let format = r.ue()?;
        let separate_planes = format == 3 && r.flag()?;
        r.ue()?;
        r.ue()?;
        r.skip(1)?;
        if r.flag()? {
            let lists = if format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.flag()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        let (crop_width, crop_height) = match (format, separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            (0 | 3, _) => (1, 1),
            _ => return None,
        };
        Some(Self {
            crop_width,
            crop_height,
        })
    }
}

/// §7.3.2.1.1.1: after a next scale of 0 the rest of the list is not sent.
fn skip_scaling_list(r: &mut BitReader<'_>, len: u32) -> Option<()> {
    let mut scale = 8i32;
    for _ in 0..len {
        let next = scale.wrapping_add(r.se()?) & 0xff;
        if next == 0 {
            break;
        }
        scale = next;
    }
    Some(())
}

fn skip_picture_order_count(r: &mut BitReader<'_>) -> Option<()> {
    match r.ue()? {
        0 => {
            r.ue()?;
        }
        1 => {
            r.skip(1)?;
            r.se()?;
            r.se()?;
            let cycle = r.ue()?;
            if cycle > MAX_POC_CYCLE {
                return None;
            }
            for _ in 0..cycle {
                r.se()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// `profile_idc` values with chroma format and scaling matrices (§7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Pixels per side of a macroblock.
const MACROBLOCK: u32 = 16;

/// §7.4.2.1.1: `num_ref_frames_in_pic_order_cnt_cycle`.
const MAX_POC_CYCLE: u32 = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::{BitWriter, hex};
    use super::*;

    /// The fields that decide the size; the rest of the SPS is filled in around them.
    #[derive(Clone)]
    struct Spec {
        profile: u32,
        chroma: u32,
        separate_planes: bool,
        scaling: bool,
        poc_type: u32,
        width_mbs: u32,
        height_units: u32,
        interlaced: bool,
        crop: Option<[u32; 4]>,
    }

    const PLAIN: Spec = Spec {
        profile: 66,
        chroma: 1,
        separate_planes: false,
        scaling: false,
        poc_type: 2,
        width_mbs: 80,
        height_units: 45,
        interlaced: false,
        crop: None,
    };

    fn write(spec: &Spec) -> Vec<u8> {
        let mut w = BitWriter::default();
        w.bits(spec.profile, 8).bits(0, 8).bits(31, 8).ue(0);
        if spec.profile >= 100 {
            w.ue(spec.chroma);
            if spec.chroma == 3 {
                w.flag(spec.separate_planes);
            }
            w.ue(0).ue(0).flag(false).flag(spec.scaling);
            if spec.scaling {
                let lists = if spec.chroma == 3 { 12 } else { 8 };
                for list in 0..lists {
                    match list % 3 {
                        0 => {
                            w.flag(false);
                        }
                        1 => {
                            // Deltas 1 throughout: a full list.
                            w.flag(true);
                            for _ in 0..if list < 6 { 16 } else { 64 } {
                                w.se(1);
                            }
                        }
                        _ => {
                            // 8 + 4 - 12 = 0 ends the list after two deltas.
                            w.flag(true).se(4).se(-12);
                        }
                    }
                }
            }
        }
        w.ue(0).ue(spec.poc_type);
        match spec.poc_type {
            0 => {
                w.ue(4);
            }
            1 => {
                w.flag(false).se(-3).se(70_000).ue(3).se(1).se(-1).se(9);
            }
            _ => {}
        }
        w.ue(1).flag(false);
        w.ue(spec.width_mbs - 1).ue(spec.height_units - 1);
        w.flag(!spec.interlaced);
        if spec.interlaced {
            w.flag(true);
        }
        w.flag(true).flag(spec.crop.is_some());
        for offset in spec.crop.into_iter().flatten() {
            w.ue(offset);
        }
        w.flag(false).trailing();
        w.nal()
    }

    #[test]
    fn computes_sizes_of_built_parameter_sets() {
        let full_hd = Spec {
            width_mbs: 120,
            height_units: 68,
            crop: Some([0, 0, 0, 4]),
            ..PLAIN
        };
        let high = Spec {
            profile: 100,
            poc_type: 0,
            ..full_hd.clone()
        };
        let with = |change: fn(&mut Spec)| {
            let mut spec = high.clone();
            change(&mut spec);
            spec
        };
        let cases = [
            (PLAIN, (1280, 720)),
            (
                Spec {
                    width_mbs: 40,
                    height_units: 30,
                    ..PLAIN
                },
                (640, 480),
            ),
            (
                Spec {
                    poc_type: 1,
                    ..PLAIN
                },
                (1280, 720),
            ),
            (full_hd.clone(), (1920, 1080)),
            (high.clone(), (1920, 1080)),
            (with(|s| s.scaling = true), (1920, 1080)),
            (
                with(|s| (s.interlaced, s.height_units, s.crop) = (true, 34, Some([0, 0, 0, 2]))),
                (1920, 1080),
            ),
            (
                with(|s| (s.chroma, s.crop) = (2, Some([1, 2, 3, 5]))),
                (1914, 1080),
            ),
            (
                with(|s| (s.chroma, s.crop, s.scaling) = (3, Some([1, 2, 3, 5]), true)),
                (1917, 1080),
            ),
            (
                with(|s| (s.chroma, s.separate_planes) = (3, true)),
                (1920, 1084),
            ),
            (with(|s| s.chroma = 0), (1920, 1084)),
        ];
        for (i, (spec, (width, height))) in cases.into_iter().enumerate() {
            let sps = write(&spec);
            assert_eq!(resolution(&sps), Resolution::new(width, height), "case {i}");
        }
    }

    #[test]
    fn computes_sizes_of_parameter_sets_from_encoders() {
        let cases = [
            // x264: baseline, high with cropping, interlaced high, 4:2:2, PAFF with JVT matrices.
            ("42c016d900a03db011000003000100000300140f162e48", (640, 480)),
            (
                "640028acd940780227e5c044000003000400000300503c60c658",
                (1920, 1080),
            ),
            (
                "640028acd94078044fde022000000300200000030283e2c5b2c0",
                (1920, 1080),
            ),
            (
                "7a001fbcd9405005bb011000000300100000030140f1831960",
                (1280, 720),
            ),
            ("640016acd940b424d80880000003008000000a0f8a14cb", (720, 576)),
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
        for len in 0..8 {
            assert_eq!(
                resolution(&sps[..len.min(sps.len() - 2)]),
                None,
                "{len} bytes"
            );
        }
        let too_much = Spec {
            crop: Some([640, 1, 0, 0]),
            ..PLAIN
        };
        assert_eq!(resolution(&write(&too_much)), None);
        let nothing_left = Spec {
            crop: Some([640, 0, 0, 0]),
            ..PLAIN
        };
        assert_eq!(resolution(&write(&nothing_left)), None);
        let too_wide = Spec {
            width_mbs: 4096,
            ..PLAIN
        };
        assert_eq!(resolution(&write(&too_wide)), None, "65536 pixels");
        let overflowing = Spec {
            width_mbs: u32::MAX - 1,
            ..PLAIN
        };
        assert_eq!(resolution(&write(&overflowing)), None);
        let bad_chroma = Spec {
            profile: 100,
            chroma: 4,
            ..PLAIN
        };
        assert_eq!(resolution(&write(&bad_chroma)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(mut sps in proptest::collection::vec(any::<u8>(), 1..80)) {
            resolution(&sps);
            sps[0] = 100;
            resolution(&sps);
        }
    }
}
