//! Redundant audio: a packet's own block behind copies of earlier ones.
//!
//! RFC 2198 §3. Does not repair anything: whoever decodes does. Called on receipt (`peer/`) to
//! check a packet and to bring its block types to the server's own, on the way to a player that
//! takes plain packets, and on the way to one that loses many.

use crate::base::ids::Pt;

/// Bytes ahead of the primary block, which is the rest of `payload`; `None` when `payload` is cut
/// off or malformed.
///
/// A block's header has 4 bytes, but for the primary one's, which comes last and has 1. The blocks
/// follow in the same order.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |1|   block PT  |  timestamp offset         |   block length    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |0|   block PT  |
/// +-+-+-+-+-+-+-+-+
/// ```
pub fn primary_at(payload: &[u8]) -> Option<usize> {
    let (mut at, mut redundant_len) = (0, 0);
    loop {
        match *payload.get(at..)? {
            [first, _, high, low, ..] if first & FOLLOWED != 0 => {
                redundant_len += usize::from(high & 0x03) << 8 | usize::from(low);
                at += HEADER_LEN;
            }
            [first, ..] if first & FOLLOWED == 0 => {
                let primary_at = at + 1 + redundant_len;
                return (primary_at <= payload.len()).then_some(primary_at);
            }
            _ => return None,
        }
    }
}

/// Replaces the type of every block, which is to be `from`, by `to`. `None` when `payload` is
/// malformed or has a block of another type; what it then holds is unspecified.
pub fn renumber(payload: &mut [u8], from: Pt, to: Pt) -> Option<()> {
    primary_at(payload)?;
    for header in payload.chunks_mut(HEADER_LEN) {
        let first = header.first_mut()?;
        if *first & !FOLLOWED != from.0 {
            return None;
        }
        let is_last = *first & FOLLOWED == 0;
        *first = *first & FOLLOWED | to.0 & !FOLLOWED;
        if is_last {
            return Some(());
        }
    }
    None
}

/// Moves the primary block to the front of `payload` and returns its length in bytes; `None`, with
/// nothing changed, when `payload` is malformed.
pub fn unwrap(payload: &mut [u8]) -> Option<usize> {
    let at = primary_at(payload)?;
    payload.copy_within(at.., 0);
    payload.len().checked_sub(at)
}

/// Puts `earlier`, a payload of `ticks` before, ahead of the payload at `at..len` of `packet`, both
/// of type `pt`; returns where the packet ends then. `None`, with nothing changed, when the header
/// has no room for `ticks` (14 bits) or the length of `earlier` (10 bits), or `packet` for it all.
pub fn wrap(
    packet: &mut [u8],
    (at, len): (usize, usize),
    pt: Pt,
    (ticks, earlier): (u32, &[u8]),
) -> Option<usize> {
    if ticks >= 1 << 14 || earlier.len() >= 1 << 10 || at > len {
        return None;
    }
    let primary_at = at + HEADER_LEN + 1 + earlier.len();
    let end = primary_at + (len - at);
    if end > packet.len() {
        return None;
    }
    packet.copy_within(at..len, primary_at);
    let head = packet.get_mut(at..primary_at)?;
    let (header, rest) = head.split_first_chunk_mut::<HEADER_LEN>()?;
    let fields = ticks << 10 | earlier.len() as u32;
    *header = (u32::from(FOLLOWED | pt.0) << 24 | fields).to_be_bytes();
    let (last, block) = rest.split_first_mut()?;
    *last = pt.0 & !FOLLOWED;
    block.copy_from_slice(earlier);
    Some(end)
}

/// Another header follows.
const FOLLOWED: u8 = 0x80;

/// Bytes of a redundant block's header.
const HEADER_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One redundant block `[1, 2, 3]` 960 ticks behind, and the primary block `[4, 5]`.
    const TWO_BLOCKS: [u8; 10] = [0x80 | 111, 0x0f, 0x00, 3, 111, 1, 2, 3, 4, 5];

    #[test]
    fn finds_the_primary_block() {
        assert_eq!(primary_at(&TWO_BLOCKS), Some(8));
        assert_eq!(primary_at(&[111, 9]), Some(1), "no redundancy");
        assert_eq!(primary_at(&[111]), Some(1), "an empty block");
        let mut long = vec![0xef, 0, 0x01, 0x00, 0xef, 0, 0x02, 0x01, 0x6f];
        assert_eq!(primary_at(&long), None, "blocks of 256 and 513 bytes");
        long.resize(9 + 256 + 513, 0);
        assert_eq!(primary_at(&long), Some(9 + 256 + 513));
    }

    #[test]
    fn a_packet_that_is_cut_off_has_none() {
        for len in 0..8 {
            assert_eq!(primary_at(&TWO_BLOCKS[..len]), None, "{len}");
        }
    }

    #[test]
    fn block_types_become_the_servers_and_nothing_else_changes() {
        let mut payload = TWO_BLOCKS;
        payload[0] = 0x80 | 96;
        payload[4] = 96;
        assert_eq!(renumber(&mut payload, Pt(96), Pt(111)), Some(()));
        assert_eq!(payload, TWO_BLOCKS);
        payload[4] = 97;
        assert_eq!(renumber(&mut payload, Pt(111), Pt(96)), None);
        assert_eq!(renumber(&mut [], Pt(111), Pt(96)), None);
    }

    #[test]
    fn unwrapping_leaves_the_primary_block() {
        let mut payload = TWO_BLOCKS;
        assert_eq!(unwrap(&mut payload), Some(2));
        assert_eq!(payload[..2], [4, 5]);
        assert_eq!(unwrap(&mut [0xef, 0, 0]), None);
    }

    #[test]
    fn wrapping_gives_what_unwrapping_takes_apart() {
        let mut packet = [0; 14];
        packet[2..4].copy_from_slice(&[4, 5]);
        let end = wrap(&mut packet, (2, 4), Pt(111), (960, &[1, 2, 3]));
        assert_eq!(end, Some(12));
        assert_eq!(packet[2..12], TWO_BLOCKS);
        assert_eq!(unwrap(&mut packet[2..12]), Some(2));
        let mut packet = [7; 2000];
        assert_eq!(wrap(&mut packet, (12, 20), Pt(111), (1 << 14, &[])), None);
        assert_eq!(wrap(&mut packet, (12, 20), Pt(111), (1, &[0; 1024])), None);
        assert_eq!(
            wrap(&mut packet[..30], (12, 20), Pt(111), (1, &[0; 6])),
            None
        );
        assert_eq!(packet, [7; 2000]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            mut payload in proptest::collection::vec(any::<u8>(), 0..40),
            from in 0_u8..128,
        ) {
            let at = primary_at(&payload);
            prop_assert!(at.is_none_or(|at| (1..=payload.len()).contains(&at)));
            if renumber(&mut payload, Pt(from), Pt(111)).is_some() {
                prop_assert_eq!(primary_at(&payload), at);
            }
        }
    }
}
