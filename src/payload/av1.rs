//! AV1: the aggregation header and the OBUs of one packet.
//!
//! AV1 RTP payload format §4.4 (aggregation header), §4.5 (payload structure); AV1 bitstream
//! specification §4.10.5 (leb128), §5.3 (OBU header), §6.2.2 (OBU types). Does not reassemble
//! OBUs over packets. Called by `payload::inspect`.

use crate::base::bytes::Reader;

use super::{PacketInfo, Resolution, av1_sequence};

/// The first byte of the payload (AV1 RTP §4.4).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |Z|Y| W |N|-|-|-|
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationHeader {
    /// Z: the first element continues an OBU of the previous packet.
    pub continues: bool,
    /// Y: the last element is continued in the next packet.
    pub continued: bool,
    /// W: number of elements, 1..=3, the last one without length; 0 = all have lengths.
    pub elements: u8,
    /// N: first packet of a coded video sequence.
    pub new_sequence: bool,
}

/// One OBU, or its first fragment (AV1 §5.3).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |F| type  |X|S|-|
/// +-+-+-+-+-+-+-+-+
/// X: | TID |SID|-|-|-|
/// S: | size, leb128  |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`, 0..=15 (§6.2.2).
    pub kind: u8,
    /// (temporal 0..=7, spatial 0..=3); `None` without the extension byte.
    pub layers: Option<(u8, u8)>,
    /// What follows the header and the optional size.
    pub body: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Reads the header of an OBU element; `None` when cut off.
    pub fn parse(element: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(element);
        let first = r.u8()?;
        let layers = if first & 0x04 != 0 {
            let byte = r.u8()?;
            Some((byte >> 5, (byte >> 3) & 3))
        } else {
            None
        };
        if first & 0x02 != 0 {
            // The length of the element already says it; senders may leave it in place.
            leb128(&mut r)?;
        }
        Some(Self {
            kind: (first >> 3) & 0x0f,
            layers,
            body: r.rest(),
        })
    }
}

/// The OBU elements of one payload, in order; stops at a cut one.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: Reader<'a>,
    /// Elements still to come when W says so, this one included; 0 = until the end.
    counted: u8,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        if self.counted == 1 {
            let last = self.rest.rest();
            self.rest = Reader::new(&[]);
            return Some(last);
        }
        self.counted = self.counted.saturating_sub(1);
        let element = leb128(&mut self.rest)
            .and_then(|len| usize::try_from(len).ok())
            .and_then(|len| self.rest.take(len));
        if element.is_none() {
            self.rest = Reader::new(&[]);
        }
        element
    }
}

/// Splits a payload into aggregation header and elements; `None` when empty.
pub fn parse(payload: &[u8]) -> Option<(AggregationHeader, Elements<'_>)> {
    let mut rest = Reader::new(payload);
    let byte = rest.u8()?;
    let header = AggregationHeader {
        continues: byte & 0x80 != 0,
        continued: byte & 0x40 != 0,
        elements: (byte >> 4) & 3,
        new_sequence: byte & 0x08 != 0,
    };
    let elements = Elements {
        rest,
        counted: header.elements,
    };
    Some((header, elements))
}

/// Describes one packet; [`PacketInfo::default`] when it has no payload behind the header.
///
/// A key frame starts where the N bit is set or a sequence header begins. Without dependency
/// descriptor a frame is taken to start with its first header OBU, and to end with the picture.
/// Layers are not named: a packet that goes on with an OBU does not say which one its frame is of,
/// and a frame must not be left out in part.
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let Some((header, elements)) = parse(payload).filter(|(_, e)| !e.rest.is_empty()) else {
        return PacketInfo::default();
    };
    let mut contents = Contents::default();
    for element in elements.skip(usize::from(header.continues)) {
        if let Some(obu) = Obu::parse(element) {
            contents.note(&obu);
        }
    }
    let fresh = !header.continues;
    PacketInfo {
        key_frame: fresh && header.new_sequence || contents.sequence_header,
        starts_frame: contents.frame_start || fresh && header.new_sequence,
        ends_frame: marker,
        discardable: false,
        switches_up: 0,
        temporal: 0,
        spatial: 0,
        resolution: contents.resolution,
    }
}

#[derive(Default)]
struct Contents {
    sequence_header: bool,
    frame_start: bool,
    resolution: Option<Resolution>,
}

impl Contents {
    fn note(&mut self, obu: &Obu<'_>) {
        match obu.kind {
            SEQUENCE_HEADER => {
                self.sequence_header = true;
                self.frame_start = true;
                self.resolution = self
                    .resolution
                    .or_else(|| av1_sequence::resolution(obu.body));
            }
            TEMPORAL_DELIMITER | FRAME_HEADER | METADATA | FRAME => self.frame_start = true,
            _ => {}
        }
    }
}

/// AV1 §4.10.5: little-endian groups of seven bits, at most eight bytes and 2^32 - 1.
pub(super) fn leb128(r: &mut Reader<'_>) -> Option<u32> {
    let mut value = 0u64;
    for i in 0..8 {
        let byte = r.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

// AV1 §6.2.2.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_bits::hex;
    use super::*;

    /// libaom's 1280x720 sequence header as an OBU without size field.
    const SEQUENCE: &str = "080000002d4cffb3ccaf9004";

    fn info(text: &str) -> PacketInfo {
        inspect(&hex(text), false)
    }

    fn elements(text: &str) -> Vec<Vec<u8>> {
        let bytes = hex(text);
        let (_, elements) = parse(&bytes).unwrap();
        elements.map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn splits_elements_counted_or_not() {
        assert_eq!(elements("20 01 aa bbcc"), [hex("aa"), hex("bbcc")]);
        assert_eq!(
            elements("30 01 aa 02 bbcc dd"),
            [hex("aa"), hex("bbcc"), hex("dd")]
        );
        assert_eq!(elements("00 01 aa 02 bbcc"), [hex("aa"), hex("bbcc")]);
        assert_eq!(elements("10 aabbcc"), [hex("aabbcc")]);
        assert_eq!(
            elements("00 8100 aa"),
            [hex("aa")],
            "a length may be padded"
        );
        assert_eq!(elements("00 01 aa 05 bb"), [hex("aa")], "cut");
        assert_eq!(elements("20 01 aa"), [hex("aa")], "the last one is missing");
        assert_eq!(elements("00 00 01 aa"), [vec![], hex("aa")]);
        assert!(
            elements("00 ffffffffffffffff01").is_empty(),
            "length of nine bytes"
        );
        assert!(
            elements("00 ffffffffff01").is_empty(),
            "length above 32 bits"
        );
        assert_eq!(parse(&[]).map(|(header, _)| header), None);
    }

    #[test]
    fn reads_the_aggregation_header() {
        let (header, _) = parse(&[0b1010_1000]).unwrap();
        assert!(header.continues && !header.continued && header.new_sequence);
        assert_eq!(header.elements, 2);
        let (header, _) = parse(&[0b0101_0000]).unwrap();
        assert!(!header.continues && header.continued && !header.new_sequence);
    }

    #[test]
    fn a_key_frame_starts_with_a_new_sequence() {
        let cases = [
            (
                format!("28 0c {SEQUENCE} 3010"),
                true,
                true,
                "sequence header and frame",
            ),
            (
                format!("20 0c {SEQUENCE} 3010"),
                true,
                true,
                "without the N bit",
            ),
            (
                "18 3010".into(),
                true,
                true,
                "N bit, sequence header not visible",
            ),
            ("10 3010".into(), false, true, "delta frame"),
            ("90 3010".into(), false, false, "continuation"),
            ("98 3010".into(), false, false, "N bit on a continuation"),
            (
                "a0 02 0800 3010".into(),
                false,
                true,
                "continuation, then a frame",
            ),
            ("10 2010".into(), false, false, "tile group"),
            ("10 1200".into(), false, true, "temporal delimiter"),
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
    fn the_size_comes_from_the_sequence_header() {
        let hd = Resolution::new(1280, 720);
        assert_eq!(info(&format!("28 0c {SEQUENCE} 3010")).resolution, hd);
        let with_size = format!("18 0a0b {}", &SEQUENCE[2..]);
        assert_eq!(info(&with_size).resolution, hd);
        let cut = info("58 0800000000");
        assert!(cut.key_frame && cut.resolution.is_none());
    }

    #[test]
    fn an_extension_byte_names_layers() {
        assert_eq!(Obu::parse(&hex("34 48 10")).unwrap().layers, Some((2, 1)));
        assert_eq!(Obu::parse(&hex("30 48")).unwrap().layers, None);
    }

    /// The second packet goes on with the OBU of the first, and does not say of which layer.
    #[test]
    fn every_packet_of_a_frame_is_of_one_layer() {
        let layers = |text| (info(text).temporal, info(text).spatial);
        assert_eq!(layers("50 34 48 10"), layers("90 aa bb cc"));
    }

    #[test]
    fn a_descriptor_refines_the_payload() {
        use super::super::dependency_descriptor::parse as parse_descriptor;
        let delta = info("10 3010");
        let bytes = [0x45, 0x00, 0x01];
        let refined = delta.refine(&parse_descriptor(&bytes, None).unwrap());
        assert!(!refined.starts_frame && refined.ends_frame && !refined.key_frame);
    }

    #[test]
    fn nothing_behind_the_header_says_nothing() {
        assert_eq!(inspect(&[0x18], true), PacketInfo::default());
        assert!(inspect(&hex("10 3010"), true).ends_frame);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let info = inspect(&payload, true);
            prop_assert!(info.temporal < 8 && info.spatial < 4);
            if let Some((_, elements)) = parse(&payload) {
                prop_assert!(elements.count() <= payload.len());
            }
        }
    }
}
