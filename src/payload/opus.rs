//! Opus: the table-of-contents byte and discontinuous transmission.
//!
//! RFC 6716 §2.1.9, §3.1, §3.2.5. Does not decode, does not measure loudness. Called by
//! the active speaker and statistics code above.

/// The first byte of an Opus packet (RFC 6716 §3.1).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// | config  |s| c |
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    /// Mode, bandwidth and frame size, 0..=31 (RFC 6716 Table 2).
    pub config: u8,
    /// Two channels.
    pub stereo: bool,
    /// Frames per packet: 0 = one, 1 = two equal, 2 = two unequal, 3 = counted.
    pub code: u8,
}

impl Toc {
    /// Reads the first byte; `None` when `payload` is empty.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let byte = *payload.first()?;
        Some(Self {
            config: byte >> 3,
            stereo: byte & 0x04 != 0,
            code: byte & 0x03,
        })
    }

    /// Duration of one frame in microseconds, 2500..=60000.
    pub const fn frame_us(self) -> u32 {
        match (self.config, self.config & 3) {
            (0..=11, 0) => 10_000,
            (0..=11, 1) => 20_000,
            (0..=11, 2) => 40_000,
            (0..=11, _) => 60_000,
            (12..=15, 0 | 2) => 10_000,
            (12..=15, _) => 20_000,
            (_, 0) => 2_500,
            (_, 1) => 5_000,
            (_, 2) => 10_000,
            (_, _) => 20_000,
        }
    }
}

/// Audio in one packet in microseconds, 2500..=120000; `None` when empty, cut off or longer than
/// the 120 ms that RFC 6716 §3.2.5 allows.
pub fn duration_us(payload: &[u8]) -> Option<u32> {
    let toc = Toc::parse(payload)?;
    let frames = match toc.code {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1)? & 0x3f),
    };
    Some(frames * toc.frame_us()).filter(|us| (1..=MAX_PACKET_US).contains(us))
}

/// True for a packet that only keeps the stream alive during silence: the table-of-contents byte
/// with at most one byte behind it. False for an empty payload, which is padding.
///
/// An encoder in DTX (RFC 6716 §2.1.9) sends one every 400 ms; a decoder conceals instead of
/// decoding it.
pub const fn is_dtx(payload: &[u8]) -> bool {
    matches!(payload.len(), 1 | 2)
}

/// RFC 6716 §3.2.5.
const MAX_PACKET_US: u32 = 120_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_table_of_contents() {
        // 0xfc: CELT fullband 20 ms, stereo, one frame: what browsers send for music.
        let toc = Toc::parse(&[0xfc]).unwrap();
        assert_eq!((toc.config, toc.stereo, toc.code), (31, true, 0));
        assert_eq!(Toc::parse(&[]), None);
    }

    #[test]
    fn knows_how_long_a_packet_lasts() {
        let cases: [(&[u8], Option<u32>); 9] = [
            (&[0xf8, 1, 2], Some(20_000)),
            (&[0x78], Some(20_000)),
            (&[0x70], Some(10_000)),
            (&[0x18], Some(60_000)),
            (&[0x80], Some(2_500)),
            (&[0xf9, 1, 2], Some(40_000)),
            (&[0xfb, 0x06], Some(120_000)),
            (&[0xfb, 0x07], None),
            (&[0xfb], None),
        ];
        for (payload, expected) in cases {
            assert_eq!(duration_us(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn one_or_two_bytes_are_dtx() {
        assert!(is_dtx(&[0x78]) && is_dtx(&[0x78, 0]));
        assert!(!is_dtx(&[]) && !is_dtx(&[0x78, 1, 2]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..8)) {
            if let Some(us) = duration_us(&payload) {
                prop_assert!((2_500..=120_000).contains(&us));
            }
        }
    }
}
