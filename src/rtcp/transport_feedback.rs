//! Transport-wide feedback, read: which packets arrived, and when.
//!
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1. Estimates nothing. Read through
//! [`super::Compound`] for `bwe/`, written by [`super::write::transport_feedback`].

use crate::base::bytes::Reader;
use crate::base::ids::Ssrc;

use super::report::sign_extend_24;

/// One feedback packet; its chunks and deltas were checked against its length.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P|  FMT=15 |    PT=205     |           length              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                     SSRC of packet sender                     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                      SSRC of media source                     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |      base sequence number     |      packet status count      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                 reference time                | fb pkt. count |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |          packet chunk         |         packet chunk          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// .                                                               .
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         packet chunk          |  recv delta   |  recv delta   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// .                                                               .
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           recv delta          |  recv delta   | zero padding  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug)]
pub struct TransportFeedback<'a> {
    /// Who received the packets.
    pub sender: Ssrc,
    /// Any SSRC of the transport; not meaningful.
    pub media: Ssrc,
    /// Transport-wide sequence number of the first status.
    pub base_seq: u16,
    /// Statuses that follow, 0..=65535. A few run-length chunks suffice for the maximum: the work
    /// of iterating is bounded by this, not by the packet's length, so the caller looks at it
    /// before.
    pub status_count: u16,
    /// What the first delta adds to, in units of 64 ms on the receiver's clock; 24 bits, signed,
    /// wraps.
    pub reference_time: i32,
    /// Counts feedback packets modulo 256; a gap is a lost one.
    pub feedback_count: u8,
    chunks: Reader<'a>,
    deltas: Reader<'a>,
}

impl<'a> TransportFeedback<'a> {
    /// `body` starts at the sender's SSRC. `None` when chunks or deltas are fewer than the
    /// statuses need, or one of those has the reserved symbol.
    pub(super) fn parse(mut body: Reader<'a>) -> Option<Self> {
        let sender = Ssrc(body.u32()?);
        let media = Ssrc(body.u32()?);
        let base_seq = body.u16()?;
        let status_count = body.u16()?;
        let reference_time = sign_extend_24(body.u24()?);
        let feedback_count = body.u8()?;

        let mut behind = body;
        let mut deltas_len = 0;
        let mut left = status_count;
        while left > 0 {
            let chunk = Chunk::decode(behind.u16()?);
            deltas_len += chunk.deltas_len(left)?;
            left -= chunk.left.min(left);
        }
        Some(Self {
            sender,
            media,
            base_seq,
            status_count,
            reference_time,
            feedback_count,
            chunks: body.sub(body.len() - behind.len())?,
            deltas: behind.sub(deltas_len)?,
        })
    }

    /// Sequence number and, for packets that arrived, the time since the arrival before it (the
    /// first: since [`reference_time`](Self::reference_time)), in 250 us ticks and signed.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            seq: self.base_seq,
            left: self.status_count,
            chunk: Chunk::decode(0),
            chunks: self.chunks,
            deltas: self.deltas,
        }
    }

    /// As [`statuses`](Self::statuses), with the deltas added up: arrival in 250 us ticks on the
    /// receiver's clock, whose zero is that of the reference time.
    pub fn arrivals(&self) -> impl Iterator<Item = (u16, Option<i64>)> + use<'a> {
        let mut tick = i64::from(self.reference_time) * TICKS_PER_REFERENCE;
        self.statuses().map(move |(seq, delta)| {
            let arrival = delta.map(|delta| {
                tick += i64::from(delta);
                tick
            });
            (seq, arrival)
        })
    }
}

/// Iterator of [`TransportFeedback::statuses`].
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    seq: u16,
    left: u16,
    chunk: Chunk,
    chunks: Reader<'a>,
    deltas: Reader<'a>,
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i32>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = loop {
            match self.chunk.next_symbol() {
                Some(symbol) => break symbol,
                None => self.chunk = Chunk::decode(self.chunks.u16()?),
            }
        };
        let delta = match symbol {
            SMALL_DELTA => Some(i32::from(self.deltas.u8()?)),
            LARGE_DELTA => Some(i32::from(self.deltas.u16()? as i16)),
            _ => None,
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        Some((seq, delta))
    }
}

/// A status chunk being read: symbols of 1 or 2 bits, the next one in the highest bits.
///
/// ```text
///  0                   1
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |0| S |       run length        |    one symbol, 0 to 8191 times
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |1|0|       symbol list         |    14 symbols of 1 bit
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |1|1|       symbol list         |    7 symbols of 2 bits
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug)]
struct Chunk {
    kind: ChunkKind,
    /// Symbols not taken yet.
    left: u16,
}

#[derive(Clone, Copy, Debug)]
enum ChunkKind {
    Run { symbol: u8 },
    OneBit { list: u16 },
    TwoBit { list: u16 },
}

impl Chunk {
    const fn decode(bits: u16) -> Self {
        if bits & VECTOR_CHUNK == 0 {
            let symbol = (bits >> 13) as u8;
            Self {
                kind: ChunkKind::Run { symbol },
                left: bits & MAX_RUN,
            }
        } else if bits & TWO_BIT_VECTOR == 0 {
            Self {
                kind: ChunkKind::OneBit { list: bits << 2 },
                left: ONE_BIT_SYMBOLS,
            }
        } else {
            Self {
                kind: ChunkKind::TwoBit { list: bits << 2 },
                left: TWO_BIT_SYMBOLS,
            }
        }
    }

    /// The next symbol, 0..=3; `None` at the chunk's end.
    fn next_symbol(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        Some(match &mut self.kind {
            ChunkKind::Run { symbol } => *symbol,
            ChunkKind::OneBit { list } => {
                let symbol = *list >> 15;
                *list <<= 1;
                symbol as u8
            }
            ChunkKind::TwoBit { list } => {
                let symbol = *list >> 14;
                *list <<= 2;
                symbol as u8
            }
        })
    }

    /// Bytes of deltas that the first `count` symbols announce; `None` when a reserved symbol is
    /// among them. A run takes one step, however long.
    fn deltas_len(mut self, count: u16) -> Option<usize> {
        if let ChunkKind::Run { symbol } = self.kind {
            let run = usize::from(self.left.min(count));
            return (run == 0 || symbol != RESERVED).then_some(run * usize::from(symbol));
        }
        let mut len = 0;
        for _ in 0..count {
            let Some(symbol) = self.next_symbol() else {
                break;
            };
            if symbol == RESERVED {
                return None;
            }
            len += usize::from(symbol);
        }
        Some(len)
    }
}

/// Ticks of 250 us in one unit of the reference time, 64 ms.
pub(super) const TICKS_PER_REFERENCE: i64 = 256;

/// T bit: a vector, not a run.
pub(super) const VECTOR_CHUNK: u16 = 0x8000;

/// S bit of a vector: symbols of 2 bits.
pub(super) const TWO_BIT_VECTOR: u16 = 0x4000;

/// Longest run.
pub(super) const MAX_RUN: u16 = 0x1fff;

/// Symbols of a 1-bit vector.
pub(super) const ONE_BIT_SYMBOLS: u16 = 14;

/// Symbols of a 2-bit vector.
pub(super) const TWO_BIT_SYMBOLS: u16 = 7;

/// Arrived, delta of 1 byte. A symbol's value is the bytes of its delta.
const SMALL_DELTA: u8 = 1;

/// Arrived, signed delta of 2 bytes.
const LARGE_DELTA: u8 = 2;

/// Not assigned.
const RESERVED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(status_count: u16, behind: &[u8]) -> Option<Vec<(u16, Option<i32>)>> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff];
        body.extend_from_slice(&status_count.to_be_bytes());
        body.extend_from_slice(&[0xff, 0xff, 0xfe, 7]);
        body.extend_from_slice(behind);
        let feedback = TransportFeedback::parse(Reader::new(&body))?;
        assert_eq!((feedback.sender, feedback.media), (Ssrc(1), Ssrc(2)));
        assert_eq!((feedback.reference_time, feedback.feedback_count), (-2, 7));
        Some(feedback.statuses().collect())
    }

    #[test]
    fn reads_each_kind_of_chunk() {
        let run = parse(3, &[0x20, 3, 1, 2, 255, 0]).unwrap();
        assert_eq!(
            run,
            [(0xffff, Some(1)), (0, Some(2)), (1, Some(255))],
            "the sequence number wraps"
        );
        let one_bit = parse(4, &[0b1010_1000, 0, 5, 6]).unwrap();
        let deltas: Vec<_> = one_bit.iter().map(|(_, delta)| *delta).collect();
        assert_eq!(deltas, [Some(5), None, Some(6), None]);
        let two_bit = parse(3, &[0b1110_0001, 0, 0x80, 0x00, 4, 0]).unwrap();
        let deltas: Vec<_> = two_bit.iter().map(|(_, delta)| *delta).collect();
        assert_eq!(deltas, [Some(-32768), None, Some(4)]);
    }

    #[test]
    fn arrivals_add_up_from_the_reference_time() {
        let body = [
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2,
            0,
            10,
            0,
            3,
            0,
            0,
            2,
            0, // reference time 2
            0b1110_0001,
            0,
            0xff,
            0xff,
            4,
            0,
        ];
        let feedback = TransportFeedback::parse(Reader::new(&body)).unwrap();
        let arrivals: Vec<_> = feedback.arrivals().collect();
        assert_eq!(arrivals, [(10, Some(511)), (11, None), (12, Some(515))]);
    }

    #[test]
    fn refuses_missing_chunks_and_deltas_and_the_reserved_symbol() {
        assert!(parse(1, &[]).is_none(), "no chunk");
        assert!(parse(9, &[0, 8]).is_none(), "chunks for 8 of 9");
        assert!(parse(2, &[0x20, 2, 1]).is_none(), "deltas for 1 of 2");
        assert!(parse(1, &[0x60, 1, 0, 0]).is_none(), "reserved run");
        assert!(parse(1, &[0b1111_0000, 0, 0, 0]).is_none(), "reserved");
        assert!(
            parse(1, &[0b1101_1100, 0, 0, 0]).is_some(),
            "behind the last"
        );
        assert!(parse(1, &[0, 0, 0, 0]).is_none(), "runs of nothing");
        assert_eq!(parse(0, &[]).unwrap(), []);
    }

    #[test]
    fn the_largest_count_needs_nine_chunks() {
        assert!(parse(65_535, &[0x1c; 18]).is_none(), "9 runs of 7196");
        let chunks = [0x1f, 0xff].repeat(9);
        assert_eq!(parse(65_535, &chunks).unwrap().len(), 65_535);
    }
}
