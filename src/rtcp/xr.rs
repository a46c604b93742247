//! Extended reports, as far as a receiver's round-trip time needs them (RFC 3611 §4.4, §4.5).
//!
//! Reads receiver reference times and the answers to them; other blocks are passed over. Read
//! through [`super::Compound`].

use crate::base::bytes::Reader;
use crate::base::clock::NtpTime;
use crate::base::ids::Ssrc;

use super::report::compact_rtt_us;

/// One block of an extended report (RFC 3611 §3).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |      BT       | type-specific |         block length          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// :             type-specific block contents                      :
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug)]
pub enum XrBlock<'a> {
    /// RRTR: wall clock at which a receiver sent this report (RFC 3611 §4.4).
    ReceiverReferenceTime(NtpTime),
    /// DLRR: answers to earlier RRTRs (RFC 3611 §4.5).
    Dlrr(DlrrEntries<'a>),
    /// A block type that is not read.
    Other(u8),
}

/// Iterator over the blocks of one extended report.
#[derive(Clone, Debug)]
pub struct XrBlocks<'a>(Reader<'a>);

impl<'a> XrBlocks<'a> {
    /// `None` when a block passes the end of the packet.
    pub(super) fn parse(blocks: Reader<'a>) -> Option<Self> {
        let mut walk = Self(blocks);
        while !walk.0.is_empty() {
            walk.block()?;
        }
        Some(Self(blocks))
    }

    fn block(&mut self) -> Option<XrBlock<'a>> {
        let block_type = self.0.u8()?;
        self.0.skip(1)?;
        let words = usize::from(self.0.u16()?);
        let mut body = self.0.sub(words * 4)?;
        let block = match block_type {
            RRTR => XrBlock::ReceiverReferenceTime(NtpTime(body.u64()?)),
            DLRR => XrBlock::Dlrr(DlrrEntries(body)),
            other => XrBlock::Other(other),
        };
        Some(block)
    }
}

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        self.block()
    }
}

/// One answer to a receiver reference time (RFC 3611 §4.5).
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                 SSRC_1 (SSRC of first receiver)               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                         last RR (LRR)                         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                   delay since last RR (DLRR)                  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlrrEntry {
    /// The receiver that is answered.
    pub ssrc: Ssrc,
    /// Middle 32 bits of its last reference time, 16.16 seconds; 0 before one.
    pub last_rr: u32,
    /// From that report's arrival to this one's departure, in 1/65536 s.
    pub delay_since_last_rr: u32,
}

impl DlrrEntry {
    /// Round-trip time in microseconds, when the answer arrived at `arrival` on the clock that
    /// stamped the reference time. `None` when it answers none or would be negative.
    pub fn rtt_us(&self, arrival: NtpTime) -> Option<u64> {
        compact_rtt_us(arrival, self.last_rr, self.delay_since_last_rr)
    }
}

/// Iterator over the answers of one DLRR block; an incomplete last one is left out.
#[derive(Clone, Debug)]
pub struct DlrrEntries<'a>(Reader<'a>);

impl Iterator for DlrrEntries<'_> {
    type Item = DlrrEntry;

    fn next(&mut self) -> Option<DlrrEntry> {
        Some(DlrrEntry {
            ssrc: Ssrc(self.0.u32()?),
            last_rr: self.0.u32()?,
            delay_since_last_rr: self.0.u32()?,
        })
    }
}

/// Block type of the receiver reference time (RFC 3611 §4.4).
const RRTR: u8 = 4;

/// Block type of DLRR (RFC 3611 §4.5).
const DLRR: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_reference_times_and_answers_among_other_blocks() {
        let bytes = [
            6, 0, 0, 1, 9, 9, 9, 9, // statistics summary, not read
            4, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, // RRTR
            5, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, // DLRR
        ];
        let mut blocks = XrBlocks::parse(Reader::new(&bytes)).unwrap();
        assert!(matches!(blocks.next(), Some(XrBlock::Other(6))));
        assert!(matches!(
            blocks.next(),
            Some(XrBlock::ReceiverReferenceTime(NtpTime(0x1_0000_0002)))
        ));
        let Some(XrBlock::Dlrr(mut entries)) = blocks.next() else {
            panic!("a DLRR block");
        };
        let entry = DlrrEntry {
            ssrc: Ssrc(7),
            last_rr: 8,
            delay_since_last_rr: 9,
        };
        assert_eq!((entries.next(), entries.next()), (Some(entry), None));
        assert!(blocks.next().is_none());
        let late = NtpTime((8 + 9 + 0x1_0000) << 16);
        assert_eq!(entry.rtt_us(late), Some(1_000_000));
    }

    #[test]
    fn a_block_that_passes_the_end_is_malformed() {
        assert!(XrBlocks::parse(Reader::new(&[4, 0, 0, 2, 0, 0, 0, 0])).is_none());
        assert!(XrBlocks::parse(Reader::new(&[4, 0, 0, 1, 0, 0, 0, 0])).is_none());
        assert!(XrBlocks::parse(Reader::new(&[4, 0])).is_none());
        assert!(XrBlocks::parse(Reader::new(&[])).is_some());
    }
}
