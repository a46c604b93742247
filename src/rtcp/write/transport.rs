//! Transport-wide feedback, written (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! Chooses status chunks greedily: a run where one symbol repeats, otherwise 14 symbols of 1 bit,
//! otherwise 7 of 2 bits. Does not remember what arrived: that is `bwe::arrivals`, the caller.

use crate::base::bytes::Writer;
use crate::base::ids::Ssrc;

use super::super::transport_feedback::{
    MAX_RUN, ONE_BIT_SYMBOLS, TICKS_PER_REFERENCE, TWO_BIT_SYMBOLS, TWO_BIT_VECTOR, VECTOR_CHUNK,
};
use super::super::{FMT_TRANSPORT_FEEDBACK, TRANSPORT_LAYER_FEEDBACK};
use super::{HEADER_LEN, begin};

/// What a feedback packet says besides the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackHead {
    /// Who received the packets: the server.
    pub sender: Ssrc,
    /// Any SSRC of the transport that is reported on.
    pub media: Ssrc,
    /// Transport-wide sequence number of the first arrival.
    pub base_seq: u16,
    /// Counts feedback packets modulo 256.
    pub feedback_count: u8,
}

/// Appends feedback for consecutive packets from `head.base_seq`; returns how many it covers.
///
/// Each item of `arrivals` is the arrival in 250 us ticks on a clock of the caller's, or `None`
/// for a packet that did not arrive; a slice is passed as `.iter().copied()`. The last packet
/// covered is one that arrived. Fewer than all are covered when room runs out, when two
/// neighbouring arrivals are more than 8.19 s apart (a delta has 16 bits), or behind 65535: the
/// caller goes on with another packet. 0 means that nothing was written: nothing arrived or
/// there is no room. The reference time is the first arrival's, modulo 2^24 of 64 ms.
pub fn transport_feedback(
    w: &mut Writer<'_>,
    head: &FeedbackHead,
    arrivals: impl Iterator<Item = Option<i64>> + Clone,
) -> usize {
    let Some(first) = arrivals.clone().flatten().next() else {
        return 0;
    };
    let reference_time = first.div_euclid(TICKS_PER_REFERENCE);
    let symbols = Symbols {
        arrivals,
        previous: reference_time * TICKS_PER_REFERENCE,
    };
    let expressible = up_to_last_arrival(symbols.clone().take(usize::from(u16::MAX)));
    let budget = w.room().saturating_sub(HEADER_LEN + FIXED_BODY_LEN) & !3;
    let fitting = fitting(&symbols, expressible, budget);
    let covered = up_to_last_arrival(symbols.clone().take(fitting));
    if covered == 0 {
        return 0;
    }
    put(w, head, reference_time, &symbols, covered).map_or(0, |()| covered)
}

fn put<I: Iterator<Item = Option<i64>> + Clone>(
    w: &mut Writer<'_>,
    head: &FeedbackHead,
    reference_time: i64,
    symbols: &Symbols<I>,
    covered: usize,
) -> Option<()> {
    let chunks = Chunks {
        symbols: symbols.clone(),
        left: covered,
    };
    let deltas_len: usize = symbols.clone().take(covered).map(Symbol::delta_len).sum();
    let content_len = chunks.clone().count() * CHUNK_LEN + deltas_len;
    let padded = content_len.next_multiple_of(4);
    begin(
        w,
        FMT_TRANSPORT_FEEDBACK,
        TRANSPORT_LAYER_FEEDBACK,
        FIXED_BODY_LEN + padded,
    )?;
    w.u32(head.sender.0)?;
    w.u32(head.media.0)?;
    w.u16(head.base_seq)?;
    w.u16(u16::try_from(covered).ok()?)?;
    w.u24(reference_time as u32)?;
    w.u8(head.feedback_count)?;
    for chunk in chunks {
        w.u16(chunk.bits)?;
    }
    for symbol in symbols.clone().take(covered) {
        match symbol {
            Symbol::Missing => {}
            Symbol::Small(delta) => w.u8(delta)?,
            Symbol::Large(delta) => w.u16(delta as u16)?,
        }
    }
    // INTEROP(gstreamer): zero bytes, as the draft draws them, and not the P bit: older versions
    // refuse a reduced-size packet that begins with it.
    (content_len..padded).try_for_each(|_| w.u8(0))
}

/// Bytes between the common header and the first chunk.
const FIXED_BODY_LEN: usize = 16;

/// Bytes of a status chunk.
const CHUNK_LEN: usize = 2;

/// How many of the first `limit` statuses fit `budget` bytes of chunks and deltas.
fn fitting<I: Iterator<Item = Option<i64>> + Clone>(
    symbols: &Symbols<I>,
    limit: usize,
    budget: usize,
) -> usize {
    let chunks = Chunks {
        symbols: symbols.clone(),
        left: limit,
    };
    let mut deltas = symbols.clone().map(Symbol::delta_len);
    let mut used = 0;
    let mut fitting = 0;
    for chunk in chunks {
        used += CHUNK_LEN;
        for len in deltas.by_ref().take(chunk.covers) {
            used += len;
            if used > budget {
                // INVARIANT: ending within a chunk costs no further one. What stands before the
                // cut is a shorter run or a shorter list.
                return fitting;
            }
            fitting += 1;
        }
    }
    fitting
}

/// Statuses up to and with the last that is an arrival.
fn up_to_last_arrival(symbols: impl Iterator<Item = Symbol>) -> usize {
    symbols.enumerate().fold(0, |covered, (at, symbol)| {
        if symbol.delta_len() > 0 {
            at + 1
        } else {
            covered
        }
    })
}

/// The status of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Missing,
    Small(u8),
    Large(i16),
}

impl Symbol {
    /// The symbol's 2 bits; 0 and 1 also fit 1 bit.
    const fn code(self) -> u16 {
        match self {
            Symbol::Missing => 0,
            Symbol::Small(_) => 1,
            Symbol::Large(_) => 2,
        }
    }

    const fn delta_len(self) -> usize {
        self.code() as usize
    }
}

/// Turns arrivals into symbols; ends at a delta that 16 bits cannot hold.
#[derive(Clone)]
struct Symbols<I> {
    arrivals: I,
    /// The arrival that the next delta adds to.
    previous: i64,
}

impl<I: Iterator<Item = Option<i64>>> Iterator for Symbols<I> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        let Some(tick) = self.arrivals.next()? else {
            return Some(Symbol::Missing);
        };
        let delta = i16::try_from(tick.saturating_sub(self.previous)).ok()?;
        self.previous = tick;
        Some(match u8::try_from(delta) {
            Ok(small) => Symbol::Small(small),
            Err(_) => Symbol::Large(delta),
        })
    }
}

/// A status chunk and how many statuses it stands for, at least 1.
struct Chunk {
    bits: u16,
    covers: usize,
}

/// Packs the next `left` symbols into chunks.
#[derive(Clone)]
struct Chunks<I> {
    symbols: Symbols<I>,
    left: usize,
}

impl<I: Iterator<Item = Option<i64>> + Clone> Iterator for Chunks<I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let code = self
            .symbols
            .clone()
            .next()
            .filter(|_| self.left > 0)?
            .code();
        let ahead = || self.symbols.clone().take(self.left).map(Symbol::code);
        let run = ahead()
            .take(usize::from(MAX_RUN))
            .take_while(|&c| c == code)
            .count();
        let list = || ahead().take(ONE_BIT_LEN);
        let fits_one_bit = || list().all(|c| c <= 1);
        let chunk = if run >= ONE_BIT_LEN || run == self.left {
            run_chunk(code, run)
        } else if fits_one_bit() {
            Chunk {
                bits: VECTOR_CHUNK | packed(list(), ONE_BIT_LEN, 1),
                covers: ONE_BIT_LEN.min(self.left),
            }
        } else if run >= TWO_BIT_LEN {
            run_chunk(code, run)
        } else {
            Chunk {
                bits: VECTOR_CHUNK | TWO_BIT_VECTOR | packed(list(), TWO_BIT_LEN, 2),
                covers: TWO_BIT_LEN.min(self.left),
            }
        };
        for _ in 0..chunk.covers {
            self.symbols.next();
        }
        self.left -= chunk.covers;
        Some(chunk)
    }
}

/// `run` is 1..=8191.
const fn run_chunk(code: u16, run: usize) -> Chunk {
    Chunk {
        bits: code << 13 | run as u16,
        covers: run,
    }
}

/// The first `len` codes of `width` bits each, the first in the highest of 14 bits; absent ones
/// are 0.
fn packed(codes: impl Iterator<Item = u16>, len: usize, width: u32) -> u16 {
    codes
        .chain(std::iter::repeat(0))
        .take(len)
        .fold(0, |bits, code| bits << width | code)
}

/// Symbols of a 1-bit list.
const ONE_BIT_LEN: usize = ONE_BIT_SYMBOLS as usize;

/// Symbols of a 2-bit list.
const TWO_BIT_LEN: usize = TWO_BIT_SYMBOLS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Compound, Packet};
    use proptest::prelude::*;

    const HEAD: FeedbackHead = FeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: 0xfff0,
        feedback_count: 200,
    };

    fn write(arrivals: &[Option<i64>], room: usize) -> (usize, Vec<u8>) {
        let mut buf = vec![0xee; room];
        let mut w = Writer::new(&mut buf);
        let covered = transport_feedback(&mut w, &HEAD, arrivals.iter().copied());
        let len = w.len();
        buf.truncate(len);
        (covered, buf)
    }

    fn read(bytes: &[u8]) -> Vec<Option<i64>> {
        let packets: Vec<_> = Compound::new(bytes).collect();
        let [Ok(Packet::TransportFeedback(feedback))] = &packets[..] else {
            panic!("one feedback packet: {packets:?}");
        };
        assert_eq!((feedback.sender, feedback.media), (HEAD.sender, HEAD.media));
        assert_eq!(feedback.base_seq, HEAD.base_seq);
        assert_eq!(feedback.feedback_count, HEAD.feedback_count);
        let mut expected_seq = HEAD.base_seq;
        feedback
            .arrivals()
            .map(|(seq, arrival)| {
                assert_eq!(seq, expected_seq);
                expected_seq = expected_seq.wrapping_add(1);
                arrival
            })
            .collect()
    }

    /// The chunks of a packet that was written for `arrivals`, all of them.
    fn chunks_of(arrivals: &[Option<i64>]) -> Vec<u16> {
        let (covered, bytes) = write(arrivals, 4096);
        assert_eq!(covered, arrivals.len());
        assert_eq!(read(&bytes), arrivals);
        let first = arrivals.iter().copied().flatten().next().unwrap();
        let symbols = Symbols {
            arrivals: arrivals.iter().copied(),
            previous: first.div_euclid(256) * 256,
        };
        let left = arrivals.len();
        Chunks { symbols, left }.map(|chunk| chunk.bits).collect()
    }

    #[test]
    fn chunks_suit_what_they_hold() {
        let steady: Vec<_> = (0..100).map(|i| Some(i * 4)).collect();
        assert_eq!(chunks_of(&steady), [0x2000 | 100], "one run");

        let mut lossy = steady.clone();
        lossy.truncate(14);
        lossy[3] = None;
        assert_eq!(chunks_of(&lossy), [0b1011_1011_1111_1111], "one bit each");

        let bursts: Vec<_> = (0..7).map(|i| Some(i / 2 * 300)).collect();
        assert_eq!(chunks_of(&bursts), [0b1101_0110_0110_0110], "two bits each");

        let mut jump = vec![None; 8];
        jump.insert(0, Some(0));
        jump.push(Some(1000));
        assert_eq!(
            chunks_of(&jump),
            [0b1101_0000_0000_0000, 0b1100_0010 << 8],
            "a short gap is no run"
        );

        let mut gap = vec![Some(0)];
        gap.extend([None; 9000]);
        gap.push(Some(1));
        assert_eq!(
            chunks_of(&gap),
            [0x8000 | 0x2000, 0x1fff, 9000 - 13 - 8191, 0x2001],
            "the longest run is 8191"
        );
    }

    #[test]
    fn has_the_bytes_that_the_draft_draws() {
        let (covered, bytes) = write(&[Some(517), None, Some(516), Some(1000)], 64);
        assert_eq!(covered, 4);
        assert_eq!(
            bytes,
            [
                0x8f,
                205,
                0,
                6,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                2,
                0xff,
                0xf0,
                0,
                4,
                0,
                0,
                2,
                200, // head
                0b1101_0010,
                0b1000_0000,
                5,
                0xff,
                0xff,
                0x01,
                0xe4,
                0, // chunk, deltas, padding
            ]
        );
    }

    #[test]
    fn ends_with_the_last_arrival_and_needs_one() {
        assert_eq!(write(&[None, None], 4096), (0, vec![]));
        assert_eq!(write(&[], 4096), (0, vec![]));
        let (covered, bytes) = write(&[None, Some(3), None], 4096);
        assert_eq!(covered, 2);
        assert_eq!(read(&bytes), [None, Some(3)]);
    }

    #[test]
    fn splits_where_a_delta_has_no_room_in_16_bits() {
        let arrivals = [
            Some(0),
            None,
            Some(32_767),
            None,
            Some(65_535),
            Some(65_536),
        ];
        assert_eq!(write(&arrivals, 4096).0, 3);
        assert_eq!(write(&arrivals[3..], 4096).0, 3);
        assert_eq!(write(&[Some(40_000), Some(0)], 4096).0, 1);
    }

    #[test]
    fn covers_at_most_65535() {
        let mut arrivals = vec![None; 65_534];
        arrivals.extend([Some(1), Some(1)]);
        assert_eq!(write(&arrivals, 4096).0, 65_535);
        arrivals.insert(0, None);
        assert_eq!(write(&arrivals, 4096).0, 0);
    }

    #[test]
    fn the_reference_time_wraps_with_its_24_bits() {
        let tick = (1_i64 << 24) * 256 + 300;
        let (_, bytes) = write(&[Some(tick)], 64);
        assert_eq!(read(&bytes), [Some(300)]);
        let (_, bytes) = write(&[Some(i64::MIN), Some(i64::MAX)], 64);
        assert_eq!(read(&bytes), [Some(0)]);
    }

    fn arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
        let delta = prop_oneof![
            4 => (0_i64..40).prop_map(Some),
            2 => Just(None),
            1 => (-300_i64..600).prop_map(Some),
        ];
        let stretch = (delta, 1_usize..30);
        (0_i64..1 << 30, prop::collection::vec(stretch, 0..40)).prop_map(|(start, stretches)| {
            let mut tick = start + 20_000;
            let mut arrivals = Vec::new();
            for (delta, times) in stretches {
                for _ in 0..times {
                    tick += delta.unwrap_or(0);
                    arrivals.push(delta.map(|_| tick));
                }
            }
            arrivals
        })
    }

    proptest! {
        #[test]
        fn parts_put_together_are_the_arrivals(arrivals in arrivals(), room in 24_usize..1400) {
            let mut at = 0;
            let mut parts = Vec::new();
            loop {
                let (covered, bytes) = write(&arrivals[at..], room);
                if covered == 0 {
                    prop_assert!(bytes.is_empty());
                    break;
                }
                prop_assert!(bytes.len() <= room && bytes.len().is_multiple_of(4));
                let part = read(&bytes);
                prop_assert_eq!(&part[..], &arrivals[at..at + covered]);
                parts.extend(part);
                at += covered;
            }
            if room >= 200 {
                let all = arrivals.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                prop_assert_eq!(parts.len(), all);
            }
        }

        #[test]
        fn any_ticks_in_any_room_never_panic(
            arrivals in prop::collection::vec(any::<Option<i64>>(), 0..40),
            room in 0_usize..100,
        ) {
            let (covered, bytes) = write(&arrivals, room);
            prop_assert_eq!(covered == 0, bytes.is_empty());
        }
    }
}
