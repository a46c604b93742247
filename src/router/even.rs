//! Evens out the lengths of neighbouring packets, so that they share one UDP_SEGMENT run.
//!
//! Packetisers split a frame into packets whose sizes differ by a byte. All datagrams of a run but
//! the last must be of one length, so one byte would cut a frame's run into pieces, for every
//! subscriber again. Done once per turn and track, before the packets are sent to anybody.

use super::history::History;
use crate::base::limits::{MAX_EVENING_LEN, MAX_GSO_SEGMENTS};

/// Pads the packets from position `from` to the end of `history`: neighbours that differ by at
/// most `limits::MAX_EVENING_LEN` bytes become equally long, in groups of at most
/// `limits::MAX_GSO_SEGMENTS`. The last one of a group stays shorter if it is, as a run allows.
/// Returns how many were padded.
pub fn even_out(history: &mut History, from: u64) -> u64 {
    let mut padded = 0;
    let mut start = from;
    while start < history.end() {
        let (end, longest) = group(history, start);
        for position in start..end.saturating_sub(1) {
            padded += u64::from(history.pad(position, longest));
        }
        start = end;
    }
    padded
}

/// The end of the group that begins at `start`, above it, and the length of its longest packet.
fn group(history: &History, start: u64) -> (u64, usize) {
    let len_at = |position| {
        history
            .at(position)
            .map_or(0, |(entry, _)| usize::from(entry.len))
    };
    let first = len_at(start);
    let (mut shortest, mut longest) = (first, first);
    let limit = history.end().min(start + MAX_GSO_SEGMENTS as u64);
    for position in start + 1..limit {
        let len = len_at(position);
        if longest.max(len) - shortest.min(len) > MAX_EVENING_LEN {
            // A shorter one may still close the run as it is.
            let closes = len < shortest;
            return (position + u64::from(closes), longest);
        }
        shortest = shortest.min(len);
        longest = longest.max(len);
    }
    (limit, longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use crate::base::seq::RtpTime;
    use crate::model::layers::Marks;
    use crate::router::history::Stored;
    use crate::rtp::RtpHeader;
    use proptest::prelude::*;

    fn history(lens: &[usize]) -> History {
        let now = test_now().instant;
        let mut h = History::new(256, 1 << 20);
        for (seq, &len) in lens.iter().enumerate() {
            let slot = h.slot(now, len).unwrap();
            slot.fill(seq as u8);
            slot[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            h.push(
                now,
                Stored {
                    seq: seq as u64,
                    timestamp: RtpTime(0),
                    len,
                    header_len: 12,
                    transport_seq_at: 0,
                    marks: Marks::default(),
                },
            );
        }
        h
    }

    fn lens(h: &History) -> Vec<usize> {
        let at = |position| usize::from(h.at(position).unwrap().0.len);
        (0..h.end()).map(at).collect()
    }

    #[test]
    fn a_frame_of_almost_equal_packets_becomes_one_length() {
        let mut h = history(&[1000, 1000, 1001, 1001, 1001, 1000]);
        even_out(&mut h, 0);
        assert_eq!(lens(&h), [1001, 1001, 1001, 1001, 1001, 1000]);
    }

    #[test]
    fn what_differs_more_is_left_alone() {
        let mut h = history(&[1000, 900, 1000, 984, 1001, 300]);
        even_out(&mut h, 0);
        assert_eq!(lens(&h), [1000, 900, 1000, 984, 1001, 300]);
        let mut h = history(&[1000, 990, 1001, 300, 400]);
        even_out(&mut h, 0);
        assert_eq!(
            lens(&h),
            [1001, 1001, 1001, 300, 400],
            "the short one closes the run"
        );
    }

    proptest! {
        #[test]
        fn payloads_stay_and_no_run_gets_more_pieces(
            sizes in prop::collection::vec(20usize..60, 1..80),
            from in 0u64..10,
        ) {
            let mut h = history(&sizes);
            even_out(&mut h, from);
            even_out(&mut h, from);
            for (position, &size) in sizes.iter().enumerate() {
                let (entry, packet) = h.at(position as u64).unwrap();
                prop_assert_eq!(usize::from(entry.len), size + usize::from(entry.padding_len));
                prop_assert!(usize::from(entry.padding_len) <= MAX_EVENING_LEN);
                prop_assert!((position as u64) >= from || entry.padding_len == 0);
                let header = RtpHeader::parse(packet).unwrap();
                let payload = header.payload(packet).unwrap();
                prop_assert_eq!(payload.len(), size - 12);
                prop_assert!(payload.iter().all(|&b| b == position as u8));
            }
            let runs = |lens: &[usize]| {
                let (mut runs, mut segments, mut run_len, mut open) = (0, 0, 0, false);
                for &len in lens {
                    if open && len <= run_len && segments < MAX_GSO_SEGMENTS {
                        segments += 1;
                        open = len == run_len;
                    } else {
                        (runs, segments, run_len, open) = (runs + 1, 1, len, true);
                    }
                }
                runs
            };
            prop_assert!(runs(&lens(&h)) <= runs(&sizes));
        }
    }
}
