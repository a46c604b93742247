//! H.264: which NAL units a packet brings, without reassembling any.
//!
//! RFC 6184 §5.2 (packet types), §5.6 (single), §5.7.1 (STAP-A), §5.8 (FU-A); ITU-T H.264 §7.3.1,
//! §7.4.1. The interleaved mode (STAP-B, MTAP, FU-B) is never negotiated in WebRTC and reads as
//! nothing. Called by `payload::inspect`.

use crate::base::bytes::Reader;

use super::{PacketInfo, Resolution, h264_sps};

/// What one packet brings.
///
/// ```text
/// +---------------+
/// |0|1|2|3|4|5|6|7|
/// +-+-+-+-+-+-+-+-+
/// |F|NRI|  Type   |   NAL unit header; Type 24 = STAP-A, 28 = FU-A
/// +---------------+
/// |S|E|R|  Type   |   FU header, behind a FU-A indicator
/// +---------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// A sequence parameter set, or its first fragment.
    pub sps: bool,
    /// A picture parameter set, or its first fragment.
    pub pps: bool,
    /// The first slice of an IDR picture, or its first fragment.
    pub idr_start: bool,
    /// The first slice of any picture, or its first fragment.
    pub picture_start: bool,
    /// An access unit delimiter, SEI or parameter set: precedes the first slice.
    pub prelude: bool,
    /// Slice data of any kind.
    pub slices: bool,
    /// Slice data with NRI above 0: other pictures refer to it.
    pub reference: bool,
    /// From the SPS; `None` without one, or when it is fragmented before its size.
    pub resolution: Option<Resolution>,
}

impl Summary {
    /// Notes a NAL unit, or its first fragment: `header` with F and NRI, and what follows it.
    fn note(&mut self, header: u8, body: &[u8]) {
        let kind = header & TYPE_MASK;
        self.note_data(header);
        match kind {
            SLICE | PARTITION_A | IDR => {
                // first_mb_in_slice is the first field, and 0 is coded as a single 1 bit.
                let first = body.first().is_some_and(|byte| byte & 0x80 != 0);
                self.picture_start |= first;
                self.idr_start |= first && kind == IDR;
            }
            SPS => {
                self.sps = true;
                self.prelude = true;
                self.resolution = self.resolution.or_else(|| h264_sps::resolution(body));
            }
            PPS => {
                self.pps = true;
                self.prelude = true;
            }
            SEI | DELIMITER => self.prelude = true,
            _ => {}
        }
    }

    /// Notes slice data, from the header of its NAL unit.
    fn note_data(&mut self, header: u8) {
        if (SLICE..=IDR).contains(&(header & TYPE_MASK)) {
            self.slices = true;
            self.reference |= header & NRI_MASK != 0;
        }
    }
}

/// Lists what `payload` brings; the default when it is empty, cut off at once, or of a packet
/// type that is not in use. NAL units ahead of a cut in a STAP-A count.
pub fn summarize(payload: &[u8]) -> Summary {
    let mut summary = Summary::default();
    let Some((&header, body)) = payload.split_first() else {
        return summary;
    };
    match header & TYPE_MASK {
        1..=23 => summary.note(header, body),
        STAP_A => {
            let mut r = Reader::new(body);
            while let Some(mut nal) = r.u16().and_then(|len| r.sub(len.into())) {
                if let Some(header) = nal.u8() {
                    summary.note(header, nal.rest());
                }
            }
        }
        FU_A => {
            if let Some((&fu, fragment)) = body.split_first() {
                let rebuilt = header & !TYPE_MASK | fu & TYPE_MASK;
                if fu & FU_START != 0 {
                    summary.note(rebuilt, fragment);
                } else {
                    summary.note_data(rebuilt);
                }
            }
        }
        _ => {}
    }
    summary
}

/// Describes one packet; [`PacketInfo::default`] but for the marker when malformed.
///
/// A key frame starts with an SPS, or with the first slice of an IDR picture for senders whose
/// parameter sets travel in packets of their own or in SDP.
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let summary = summarize(payload);
    PacketInfo {
        key_frame: summary.sps || summary.idr_start,
        starts_frame: summary.prelude || summary.picture_start,
        ends_frame: marker && !payload.is_empty(),
        discardable: summary.slices && !summary.reference,
        switches_up: 0,
        temporal: 0,
        spatial: 0,
        resolution: summary.resolution,
    }
}

const TYPE_MASK: u8 = 0x1f;
const NRI_MASK: u8 = 0x60;
const FU_START: u8 = 0x80;

// ITU-T H.264 Table 7-1.
const SLICE: u8 = 1;
const PARTITION_A: u8 = 2;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;

// RFC 6184 Table 1.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::hex;
    use super::*;

    /// x264, baseline, 640x480, with its PPS.
    const SPS_NAL: &str = "6742c016d900a03db011000003000100000300140f162e48";
    const PPS_NAL: &str = "68cb83cb20";

    fn info(text: &str) -> PacketInfo {
        inspect(&hex(text), false)
    }

    fn stap_a(nals: &[&str]) -> String {
        let mut out = String::from("78");
        for nal in nals {
            out += &format!("{:04x}{nal}", nal.len() / 2);
        }
        out
    }

    #[test]
    fn knows_where_key_frames_start() {
        let cases: [(String, bool, bool, &str); 15] = [
            (SPS_NAL.into(), true, true, "SPS alone"),
            (PPS_NAL.into(), false, true, "PPS alone"),
            ("09f0".into(), false, true, "delimiter"),
            ("0605ff".into(), false, true, "SEI"),
            ("6588840d".into(), true, true, "IDR"),
            ("650c840d".into(), false, false, "later slice of an IDR"),
            ("419a381b".into(), false, true, "other picture"),
            ("41021b".into(), false, false, "its later slice"),
            (stap_a(&[SPS_NAL, PPS_NAL]), true, true, "parameter sets"),
            (
                stap_a(&["09f0", SPS_NAL, PPS_NAL, "658884"]),
                true,
                true,
                "all",
            ),
            (stap_a(&["0605ff", "419a38"]), false, true, "SEI and slice"),
            ("7c85 88840d".into(), true, true, "FU-A start of an IDR"),
            (
                "7c85 0c840d".into(),
                false,
                false,
                "FU-A start of its later slice",
            ),
            ("7c05 88840d".into(), false, false, "FU-A middle"),
            ("5c81 9a381b".into(), false, true, "FU-A start of a slice"),
        ];
        for (text, key_frame, starts_frame, why) in cases {
            let got = info(&text);
            assert_eq!(
                (got.key_frame, got.starts_frame),
                (key_frame, starts_frame),
                "{why}"
            );
        }
    }

    #[test]
    fn the_size_comes_from_an_sps_wherever_it_is() {
        let vga = Resolution::new(640, 480);
        assert_eq!(info(SPS_NAL).resolution, vga);
        assert_eq!(info(&stap_a(&["09f0", SPS_NAL, PPS_NAL])).resolution, vga);
        let fragment = format!("7c87{}", &SPS_NAL[2..24]);
        assert_eq!(
            info(&fragment).resolution,
            vga,
            "size is within the fragment"
        );
        assert_eq!(info("658884").resolution, None);
    }

    #[test]
    fn discardable_means_slices_that_nothing_refers_to() {
        assert!(info("019a381b").discardable);
        assert!(info("1c819a38").discardable && info("1c019a38").discardable);
        assert!(!info("419a381b").discardable);
        assert!(!info("5c019a38").discardable);
        assert!(!info("0605ff").discardable, "SEI is no slice");
        assert!(!info(&stap_a(&["019a38", "410238"])).discardable);
        assert!(info(&stap_a(&["0605ff", "019a38"])).discardable);
    }

    #[test]
    fn the_marker_ends_the_frame() {
        assert!(inspect(&hex("419a38"), true).ends_frame);
        assert!(!inspect(&hex("419a38"), false).ends_frame);
        assert_eq!(inspect(&[], true), PacketInfo::default());
    }

    #[test]
    fn what_is_not_in_use_or_cut_says_nothing() {
        for text in [
            "7c", "78", "7800", "78ffff67", "79000000", "7a00", "7d8588", "7f", "e0",
        ] {
            assert_eq!(info(text), PacketInfo::default(), "{text}");
        }
        let cut = stap_a(&[SPS_NAL]) + "00ff68";
        assert!(info(&cut).key_frame, "what precedes the cut counts");
        assert_eq!(
            info("780000 0000"),
            PacketInfo::default(),
            "empty NAL units"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            mut payload in proptest::collection::vec(any::<u8>(), 1..100), kind in 0u8..32,
        ) {
            inspect(&payload, true);
            payload[0] = 0x60 | kind;
            inspect(&payload, false);
        }
    }
}
