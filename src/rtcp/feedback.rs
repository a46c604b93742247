//! Feedback about packets and pictures: NACK, FIR, REMB and lists of sources.
//!
//! RFC 4585 §6.2.1, RFC 5104 §4.3.1.1, draft-alvestrand-rmcat-remb-03 §2.2. Does not decide
//! whether to obey. Read through [`super::Compound`], written through [`super::write`].

use crate::base::bytes::Reader;
use crate::base::ids::Ssrc;
use crate::base::seq::SeqNo;

/// Iterator over the sequence numbers a generic NACK asks for: 1 to 17 per pair, ascending within
/// it (RFC 4585 §6.2.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |            PID                |             BLP               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// A 1500-byte datagram can ask for some 6000 numbers: the caller bounds what it answers.
#[derive(Clone, Debug)]
pub struct LostSeqs<'a> {
    pairs: Reader<'a>,
    /// PID of the pair being read.
    pid: SeqNo,
    /// Bits of its BLP that were not yielded.
    blp: u16,
}

impl<'a> LostSeqs<'a> {
    pub(super) fn parse(pairs: Reader<'a>) -> Option<Self> {
        pairs.len().is_multiple_of(4).then_some(Self {
            pairs,
            pid: SeqNo(0),
            blp: 0,
        })
    }
}

impl Iterator for LostSeqs<'_> {
    type Item = SeqNo;

    fn next(&mut self) -> Option<SeqNo> {
        if self.blp == 0 {
            self.pid = SeqNo(self.pairs.u16()?);
            self.blp = self.pairs.u16()?;
            return Some(self.pid);
        }
        let bit = self.blp.trailing_zeros() as u16;
        self.blp &= self.blp - 1;
        Some(self.pid.plus(bit + 1))
    }
}

/// Iterator over the entries of a full intra request: source and command number
/// (RFC 5104 §4.3.1.1). A repeated command number is the same request.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                              SSRC                             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Seq nr.       |    Reserved                                   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug)]
pub struct FirEntries<'a>(Reader<'a>);

impl<'a> FirEntries<'a> {
    pub(super) fn parse(entries: Reader<'a>) -> Option<Self> {
        entries.len().is_multiple_of(8).then_some(Self(entries))
    }
}

impl Iterator for FirEntries<'_> {
    type Item = (Ssrc, u8);

    fn next(&mut self) -> Option<Self::Item> {
        let ssrc = Ssrc(self.0.u32()?);
        let seq = self.0.u8()?;
        self.0.skip(3)?;
        Some((ssrc, seq))
    }
}

/// Iterator over the sources that a BYE or a REMB names.
#[derive(Clone, Debug)]
pub struct SsrcList<'a>(Reader<'a>);

impl<'a> SsrcList<'a> {
    pub(super) fn parse(r: &mut Reader<'a>, count: u8) -> Option<Self> {
        r.sub(usize::from(count) * 4).map(Self)
    }
}

impl Iterator for SsrcList<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        self.0.u32().map(Ssrc)
    }
}

/// Reads what follows the unique identifier: bitrate and sources
/// (draft-alvestrand-rmcat-remb-03 §2.2).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Num SSRC     | BR Exp    |  BR Mantissa                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   SSRC feedback                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  ...                                                          |
/// ```
pub(super) fn parse_remb<'a>(r: &mut Reader<'a>) -> Option<(u64, SsrcList<'a>)> {
    let count = r.u8()?;
    let bits = r.u24()?;
    let mantissa = u64::from(bits & REMB_MANTISSA_MAX);
    let exponent = bits >> REMB_MANTISSA_BITS;
    let bitrate_bps = if mantissa == 0 {
        0
    } else if exponent > mantissa.leading_zeros() {
        u64::MAX
    } else {
        mantissa << exponent
    };
    Some((bitrate_bps, SsrcList::parse(r, count)?))
}

/// Exponent and mantissa of `bitrate_bps` in the low 24 bits, rounded down.
pub(super) const fn remb_bits(bitrate_bps: u64) -> u32 {
    let bits = u64::BITS - bitrate_bps.leading_zeros();
    let exponent = bits.saturating_sub(REMB_MANTISSA_BITS);
    exponent << REMB_MANTISSA_BITS | (bitrate_bps >> exponent) as u32
}

/// Bits of a REMB mantissa.
const REMB_MANTISSA_BITS: u32 = 18;

/// Largest REMB mantissa.
const REMB_MANTISSA_MAX: u32 = (1 << REMB_MANTISSA_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_names_its_pid_and_each_set_bit() {
        let bytes = [0xff, 0xfe, 0x80, 0x05, 0, 9, 0, 0];
        let lost: Vec<_> = LostSeqs::parse(Reader::new(&bytes))
            .unwrap()
            .map(|seq| seq.0)
            .collect();
        assert_eq!(lost, [0xfffe, 0xffff, 1, 14, 9]);
        assert!(LostSeqs::parse(Reader::new(&bytes[..6])).is_none());
    }

    #[test]
    fn remb_saturates_instead_of_overflowing() {
        let cases = [
            ([0_u8, 0x00, 0x00, 0x00], 0),
            ([0, 0xfc, 0x00, 0x00], 0),
            ([0, 0x07, 0xfb, 0x93], 0x3fb93 * 2),
            ([0, 0xfc, 0x00, 0x01], 1 << 63),
            ([0, 0xfc, 0x00, 0x02], u64::MAX),
            ([0, 0xff, 0xff, 0xff], u64::MAX),
        ];
        for (bytes, bitrate_bps) in cases {
            let (parsed, _) = parse_remb(&mut Reader::new(&bytes)).unwrap();
            assert_eq!(parsed, bitrate_bps, "{bytes:?}");
        }
        let announces_one = [1, 0, 0, 0];
        assert!(parse_remb(&mut Reader::new(&announces_one)).is_none());
    }

    proptest! {
        #[test]
        fn remb_loses_less_than_one_part_in_2_to_the_17(shift in 0_u32..64, value: u64) {
            let bitrate_bps = value >> shift;
            let [_, a, b, c] = remb_bits(bitrate_bps).to_be_bytes();
            let (parsed, _) = parse_remb(&mut Reader::new(&[0, a, b, c])).unwrap();
            prop_assert!(parsed <= bitrate_bps);
            prop_assert!(bitrate_bps - parsed <= bitrate_bps >> 17);
        }
    }
}
