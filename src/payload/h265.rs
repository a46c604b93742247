//! H.265: which NAL units a packet brings, without reassembling any.
//!
//! RFC 7798 §4.4.1 (single), §4.4.2 (AP), §4.4.3 (FU); ITU-T H.265 §7.3.1.2, Table 7-1. DONL
//! fields are absent (`sprop-max-don-diff` is 0 in WebRTC); PACI packets read as nothing. Called
//! by `payload::inspect`.

use crate::base::bytes::Reader;

use super::{PacketInfo, Resolution, h265_sps};

/// What one packet brings.
///
/// ```text
/// +---------------+---------------+
/// |0|1|2|3|4|5|6|7|0|1|2|3|4|5|6|7|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |F|   Type    |  LayerId  | TID |   NAL unit header; Type 48 = AP, 49 = FU; TID is plus 1
/// +-------------+-----------------+
/// |S|E|  FuType   |                   FU header, behind a FU payload header
/// +---------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// A video parameter set, or its first fragment.
    pub vps: bool,
    /// A sequence parameter set, or its first fragment.
    pub sps: bool,
    /// A picture parameter set, or its first fragment.
    pub pps: bool,
    /// The first slice segment of an intra random access point (types 16..=21).
    pub irap_start: bool,
    /// The first slice segment of any picture, or its first fragment.
    pub picture_start: bool,
    /// A delimiter, prefix SEI or parameter set: precedes the first slice segment.
    pub prelude: bool,
    /// Slice segment data of any kind.
    pub slices: bool,
    /// Slice segment data of pictures that others of the same temporal layer may refer to.
    pub reference: bool,
    /// TemporalId of the first NAL unit, 0..=6.
    pub temporal: u8,
    /// `nuh_layer_id` of the first NAL unit, 0..=63.
    pub layer: u8,
    /// From the SPS; `None` without one, or when it is fragmented before its size.
    pub resolution: Option<Resolution>,
}

impl Summary {
    /// Notes a NAL unit, or its first fragment: its type and what follows its header.
    fn note(&mut self, kind: u8, body: &[u8]) {
        self.note_data(kind);
        match kind {
            0..=LAST_SLICE => {
                let first = body.first().is_some_and(|byte| byte & 0x80 != 0);
                self.picture_start |= first;
                self.irap_start |= first && (FIRST_IRAP..=LAST_IRAP).contains(&kind);
            }
            VPS => {
                self.vps = true;
                self.prelude = true;
            }
            SPS => {
                self.sps = true;
                self.prelude = true;
                self.resolution = self.resolution.or_else(|| h265_sps::resolution(body));
            }
            PPS => {
                self.pps = true;
                self.prelude = true;
            }
            DELIMITER | PREFIX_SEI => self.prelude = true,
            _ => {}
        }
    }

    /// Notes slice segment data of type `kind`.
    fn note_data(&mut self, kind: u8) {
        if kind <= LAST_SLICE {
            self.slices = true;
            // Even types up to 14 are sub-layer non-reference pictures (Table 7-1, note 2).
            self.reference |= kind > LAST_NON_REFERENCE || kind & 1 == 1;
        }
    }
}

/// Lists what `payload` brings; the default when it is shorter than a NAL unit header. NAL units
/// ahead of a cut in an aggregation packet count.
pub fn summarize(payload: &[u8]) -> Summary {
    let mut r = Reader::new(payload);
    let Some([first, second]) = r.array() else {
        return Summary::default();
    };
    let mut summary = Summary {
        temporal: (second & 7).saturating_sub(1),
        layer: (first & 1) << 5 | second >> 3,
        ..Summary::default()
    };
    match nal_type(first) {
        AGGREGATION => {
            while let Some(mut nal) = r.u16().and_then(|len| r.sub(len.into())) {
                if let Some([first, _]) = nal.array() {
                    summary.note(nal_type(first), nal.rest());
                }
            }
        }
        FRAGMENT => {
            if let Some(fu) = r.u8() {
                if fu & FU_START != 0 {
                    summary.note(fu & TYPE_MASK, r.rest());
                } else {
                    summary.note_data(fu & TYPE_MASK);
                }
            }
        }
        kind => summary.note(kind, r.rest()),
    }
    summary
}

/// Describes one packet; [`PacketInfo::default`] when malformed.
///
/// A key frame starts with a VPS or SPS, or with the first slice segment of an intra random access
/// point. A PPS alone may also come between other pictures and does not count.
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    if payload.len() < HEADER_LEN {
        return PacketInfo::default();
    }
    let summary = summarize(payload);
    PacketInfo {
        key_frame: summary.vps || summary.sps || summary.irap_start,
        starts_frame: summary.prelude || summary.picture_start,
        ends_frame: marker,
        discardable: summary.slices && !summary.reference,
        switches_up: 0,
        temporal: summary.temporal,
        spatial: summary.layer,
        resolution: summary.resolution,
    }
}

const fn nal_type(first: u8) -> u8 {
    (first >> 1) & TYPE_MASK
}

const HEADER_LEN: usize = 2;
const TYPE_MASK: u8 = 0x3f;
const FU_START: u8 = 0x80;

// ITU-T H.265 Table 7-1.
const LAST_NON_REFERENCE: u8 = 14;
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 21;
const LAST_SLICE: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const PREFIX_SEI: u8 = 39;

// RFC 7798 §4.4.
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::hex;
    use super::*;

    /// x265, main profile, 1920x1080.
    const VPS_NAL: &str = "40010c01ffff016000000300900000030000030078959809";
    const SPS_NAL: &str =
        "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000504";
    const PPS_NAL: &str = "4401c172b46240";

    fn info(text: &str) -> PacketInfo {
        inspect(&hex(text), false)
    }

    fn aggregate(nals: &[&str]) -> String {
        let mut out = String::from("6001");
        for nal in nals {
            out += &format!("{:04x}{nal}", nal.len() / 2);
        }
        out
    }

    #[test]
    fn knows_where_key_frames_start() {
        let cases: [(String, bool, bool, &str); 14] = [
            (VPS_NAL.into(), true, true, "VPS"),
            (SPS_NAL.into(), true, true, "SPS"),
            (PPS_NAL.into(), false, true, "PPS"),
            ("460150".into(), false, true, "delimiter"),
            ("4e0105ff".into(), false, true, "prefix SEI"),
            ("2801af11".into(), true, true, "IDR_N_LP"),
            ("26018011".into(), true, true, "IDR_W_RADL"),
            ("2a018011".into(), true, true, "CRA"),
            ("28012f11".into(), false, false, "later segment of an IDR"),
            ("0201d009".into(), false, true, "trailing picture"),
            (
                aggregate(&[VPS_NAL, SPS_NAL, PPS_NAL]),
                true,
                true,
                "parameter sets",
            ),
            ("620194af11".into(), true, true, "FU start of an IDR"),
            ("620114af11".into(), false, false, "FU middle"),
            (
                "620181d009".into(),
                false,
                true,
                "FU start of a trailing picture",
            ),
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
        let full_hd = Resolution::new(1920, 1080);
        assert_eq!(info(SPS_NAL).resolution, full_hd);
        assert_eq!(
            info(&aggregate(&[VPS_NAL, SPS_NAL, PPS_NAL])).resolution,
            full_hd
        );
        let fragment = format!("6201a1{}", &SPS_NAL[4..60]);
        assert_eq!(info(&fragment).resolution, full_hd);
    }

    #[test]
    fn reads_layers_and_non_reference_pictures() {
        let tsa_n = info("0403d009");
        assert_eq!(
            (tsa_n.temporal, tsa_n.spatial, tsa_n.discardable),
            (2, 0, true)
        );
        let trail_r = info("0202d009");
        assert_eq!((trail_r.temporal, trail_r.discardable), (1, false));
        assert!(info("62030200d0").discardable, "FU middle of TSA_N");
        assert!(!info("2801af11").discardable && !info("4e0105ff").discardable);
        assert_eq!(info("0309d009").spatial, 33);
    }

    #[test]
    fn what_is_cut_or_not_in_use_says_nothing() {
        for text in ["", "40", "6001", "600100", "6001ffff42", "6201", "640100"] {
            assert_eq!(info(text), PacketInfo::default(), "{text}");
        }
        assert!(info(&(aggregate(&[SPS_NAL]) + "00ff44")).key_frame);
        assert!(inspect(&hex("0201d009"), true).ends_frame);
        assert!(!inspect(&[], true).ends_frame);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            mut payload in proptest::collection::vec(any::<u8>(), 2..120), kind in 0u8..64,
        ) {
            inspect(&payload, true);
            payload[0] = kind << 1;
            let info = inspect(&payload, false);
            prop_assert!(info.temporal < 7);
        }
    }
}
