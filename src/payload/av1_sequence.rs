//! The picture size in an AV1 sequence header.
//!
//! AV1 bitstream specification §5.5.1 (syntax), §5.5.3 and §5.5.5 (timing, operating parameters).
//! Reads up to the maximum frame size and stops. Called by `av1.rs`.

use super::Resolution;
use super::bits::BitReader;

/// Reads `max_frame_width_minus_1` and its sibling; `body` is the OBU behind header and size.
/// `None` when cut off before them, or above 65535.
pub(super) fn resolution(body: &[u8]) -> Option<Resolution> {
    let mut r = BitReader::new(body);
    r.skip(3 + 1)?;
    let reduced = r.flag()?;
    if reduced {
        r.skip(5)?;
    } else {
        skip_operating_points(&mut r)?;
    }
    let width_bits = r.bits(4)? + 1;
    let height_bits = r.bits(4)? + 1;
    let width = r.bits(width_bits)? + 1;
    let height = r.bits(height_bits)? + 1;
    Resolution::new(width, height)
}

/// From `timing_info_present_flag` to the last operating point.
fn skip_operating_points(r: &mut BitReader<'_>) -> Option<()> {
    // Set with decoder_model_info: bits in each of the two delay fields.
    let mut delay_bits = None;
    if r.flag()? {
        r.skip(32 + 32)?;
        if r.flag()? {
            r.ue()?;
        }
        if r.flag()? {
            delay_bits = Some(r.bits(5)? + 1);
            r.skip(32 + 5 + 5)?;
        }
    }
    let has_display_delay = r.flag()?;
    let operating_points = r.bits(5)? + 1;
    for _ in 0..operating_points {
        r.skip(12)?;
        let level = r.bits(5)?;
        if level > LAST_LEVEL_WITHOUT_TIER {
            r.skip(1)?;
        }
        if let Some(bits) = delay_bits
            && r.flag()?
        {
            r.skip(2 * bits + 1)?;
        }
        if has_display_delay && r.flag()? {
            r.skip(4)?;
        }
    }
    Some(())
}

/// §5.5.1: `seq_tier` is sent for `seq_level_idx` above 7 (levels from 4.0).
const LAST_LEVEL_WITHOUT_TIER: u32 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::{BitWriter, hex};
    use super::*;

    #[test]
    fn computes_sizes_of_headers_from_encoders() {
        let cases = [
            // libaom, SVT-AV1, rav1e.
            ("0000002d4cffb3ccaf9004", (1280, 720)),
            ("00000042abbfc373efe401", (1920, 1080)),
            ("000000fa1e7fde210a88101010a0", (320, 240)),
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
    fn passes_over_every_optional_field() {
        for choice in 0..32u32 {
            let chosen = |bit: u32| choice >> bit & 1 == 1;
            let (timing, equal, model) = (chosen(0), chosen(1), chosen(0) && chosen(2));
            let (display, points) = (chosen(3), if chosen(4) { 3 } else { 1 });
            let mut w = BitWriter::default();
            w.bits(0, 3).flag(false).flag(false).flag(timing);
            if timing {
                w.bits(1, 32).bits(30, 32).flag(equal);
                if equal {
                    w.ue(5);
                }
                w.flag(model);
                if model {
                    w.bits(9, 5).bits(1, 32).bits(9, 5).bits(9, 5);
                }
            }
            w.flag(display).bits(points - 1, 5);
            for point in 0..points {
                let level = if point == 0 { 13 } else { 5 };
                w.bits(0x101, 12).bits(level, 5);
                if level > 7 {
                    w.flag(true);
                }
                if model {
                    w.flag(point != 1);
                    if point != 1 {
                        w.bits(0x3ff, 10).bits(0x3ff, 10).flag(true);
                    }
                }
                if display {
                    w.flag(point != 2);
                    if point != 2 {
                        w.bits(3, 4);
                    }
                }
            }
            w.bits(10, 4).bits(9, 4).bits(1919, 11).bits(1079 - 512, 10);
            assert_eq!(
                resolution(&w.bytes()),
                Resolution::new(1920, 568),
                "choice {choice:05b}"
            );
        }
    }

    #[test]
    fn reads_reduced_still_picture_headers_and_refuses_cuts() {
        let mut w = BitWriter::default();
        w.bits(0, 3).flag(true).flag(true).bits(8, 5);
        w.bits(15, 4).bits(15, 4).bits(639, 16).bits(479, 16);
        let bytes = w.bytes();
        assert_eq!(resolution(&bytes), Resolution::new(640, 480));
        for len in 0..bytes.len() {
            assert_eq!(resolution(&bytes[..len]), None);
        }
        let mut wide = BitWriter::default();
        wide.bits(0, 3).flag(true).flag(true).bits(8, 5);
        wide.bits(15, 4).bits(15, 4).bits(65_535, 16).bits(0, 16);
        assert_eq!(resolution(&wide.bytes()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            resolution(&body);
        }
    }
}
