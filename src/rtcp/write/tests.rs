//! What the writers write is what [`Compound`] reads.

use proptest::prelude::*;

use super::*;
use crate::base::clock::NtpTime;
use crate::base::seq::RtpTime;
use crate::rtcp::{Compound, Packet};

fn written(write: impl Fn(&mut Writer<'_>) -> Option<()>) -> Vec<u8> {
    let mut buf = vec![0; 8192];
    let mut w = Writer::new(&mut buf);
    write(&mut w).unwrap();
    let len = w.len();
    assert!(len.is_multiple_of(4));
    for room in [0, 3, 4, len - 1] {
        let mut w = Writer::new(&mut buf[..room]);
        assert!(write(&mut w).is_none());
        assert!(w.is_empty(), "nothing is begun without room");
    }
    buf.truncate(len);
    buf
}

/// A NACK for all of `missing`.
fn nack_for(missing: &[SeqNo]) -> Vec<u8> {
    let mut buf = vec![0; 8192];
    let mut w = Writer::new(&mut buf);
    assert_eq!(nack(&mut w, Ssrc(1), Ssrc(2), missing), missing.len());
    let len = w.len();
    buf.truncate(len);
    buf
}

fn only(bytes: &[u8]) -> Packet<'_> {
    let mut compound = Compound::new(bytes);
    let packet = compound.next().unwrap().unwrap();
    assert!(compound.next().is_none());
    packet
}

fn report() -> impl Strategy<Value = ReportBlock> {
    let loss = -(1 << 23)..(1 << 23);
    (
        any::<u32>(),
        any::<u8>(),
        loss,
        any::<u32>(),
        any::<u32>(),
        any::<(u32, u32)>(),
    )
        .prop_map(
            |(ssrc, fraction_lost, cumulative_lost, highest_seq, jitter, (lsr, dlsr))| {
                ReportBlock {
                    ssrc: Ssrc(ssrc),
                    fraction_lost,
                    cumulative_lost,
                    highest_seq,
                    jitter,
                    last_sr: lsr,
                    delay_since_last_sr: dlsr,
                }
            },
        )
}

fn lost_of(bytes: &[u8]) -> Vec<SeqNo> {
    let Packet::Nack { pairs, .. } = only(bytes) else {
        panic!("a NACK");
    };
    pairs.collect()
}

#[test]
fn packets_have_their_documented_bytes() {
    assert_eq!(
        written(|w| pli(w, Ssrc(1), Ssrc(0x0203_0405))),
        [0x81, 206, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5]
    );
    assert_eq!(
        written(|w| fir(w, Ssrc(1), Ssrc(2), 9)),
        [
            0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0
        ]
    );
    assert_eq!(
        written(|w| remb(w, Ssrc(1), 0x3fb93 * 2, &[Ssrc(7)])),
        [
            0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x07, 0xfb, 0x93,
            0, 0, 0, 7
        ]
    );
    assert_eq!(
        written(|w| sdes_cname(w, Ssrc(1), "ab")),
        [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]
    );
    assert_eq!(
        written(|w| bye(w, &[Ssrc(1)])),
        [0x81, 203, 0, 1, 0, 0, 0, 1]
    );
    let missing = [SeqNo(0xfffe), SeqNo(0xffff), SeqNo(14), SeqNo(15)];
    assert_eq!(
        nack_for(&missing),
        [
            0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe, 0x80, 0x01, 0, 15, 0, 0
        ]
    );
}

#[test]
fn lists_above_their_count_are_refused() {
    let mut buf = [0; 4096];
    let mut w = Writer::new(&mut buf);
    assert!(bye(&mut w, &[Ssrc(1); 32]).is_none());
    assert!(remb(&mut w, Ssrc(1), 1, &[Ssrc(1); 256]).is_none());
    assert!(sdes_cname(&mut w, Ssrc(1), &"x".repeat(256)).is_none());
    assert!(w.is_empty());
    assert!(bye(&mut w, &[Ssrc(1); 31]).is_some());
    assert!(remb(&mut w, Ssrc(1), 1, &[Ssrc(1); 255]).is_some());
    assert!(sdes_cname(&mut w, Ssrc(1), &"x".repeat(255)).is_some());
}

#[test]
fn loss_beyond_24_bits_is_clamped() {
    let block = |cumulative_lost| ReportBlock {
        ssrc: Ssrc(1),
        fraction_lost: 0,
        cumulative_lost,
        highest_seq: 0,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    };
    let reports = [block(i32::MAX), block(i32::MIN)];
    let bytes = written(|w| receiver_report(w, Ssrc(1), &reports));
    let Packet::ReceiverReport { reports, .. } = only(&bytes) else {
        panic!("a receiver report");
    };
    let lost: Vec<_> = reports.map(|r| r.cumulative_lost).collect();
    assert_eq!(lost, [0x7f_ffff, -0x80_0000]);
}

#[test]
fn a_nack_without_room_takes_what_fits() {
    let missing: Vec<_> = (0..10).map(|i| SeqNo(i * 100)).collect();
    let mut buf = [0; 12 + 3 * 4 + 3];
    let mut w = Writer::new(&mut buf);
    assert_eq!(nack(&mut w, Ssrc(1), Ssrc(2), &missing), 3);
    let len = w.len();
    assert_eq!(lost_of(&buf[..len]), missing[..3]);
    let mut w = Writer::new(&mut buf[..15]);
    assert_eq!(nack(&mut w, Ssrc(1), Ssrc(2), &missing), 0);
    assert_eq!(nack(&mut w, Ssrc(1), Ssrc(2), &[]), 0);
    assert!(w.is_empty());
}

#[test]
fn a_nack_of_the_largest_size_is_taken_in_part() {
    let missing: Vec<_> = (0..300).map(|i| SeqNo(i * 17)).collect();
    let mut buf = [0; 4096];
    let mut w = Writer::new(&mut buf);
    assert_eq!(nack(&mut w, Ssrc(1), Ssrc(2), &missing), MAX_PAIRS);
}

proptest! {
    #[test]
    fn reports_survive_the_wire(
        ssrc: u32,
        (ntp, rtp, packets, octets) in any::<(u64, u32, u32, u32)>(),
        reports in prop::collection::vec(report(), 0..=31),
    ) {
        let info = SenderInfo { ntp: NtpTime(ntp), rtp: RtpTime(rtp), packets, octets };
        let bytes = written(|w| sender_report(w, Ssrc(ssrc), &info, &reports));
        let Packet::SenderReport { ssrc: from, info: read, reports: blocks } = only(&bytes) else {
            panic!("a sender report");
        };
        prop_assert_eq!((from, read), (Ssrc(ssrc), info));
        prop_assert_eq!(blocks.collect::<Vec<_>>(), reports.clone());

        let bytes = written(|w| receiver_report(w, Ssrc(ssrc), &reports));
        let Packet::ReceiverReport { ssrc: from, reports: blocks } = only(&bytes) else {
            panic!("a receiver report");
        };
        prop_assert_eq!(from, Ssrc(ssrc));
        prop_assert_eq!(blocks.collect::<Vec<_>>(), reports);
    }

    #[test]
    fn descriptions_and_byes_survive_the_wire(
        ssrcs in prop::collection::vec(any::<u32>().prop_map(Ssrc), 1..=31),
        cname in "[ -~]{0,60}",
    ) {
        let bytes = written(|w| sdes_cname(w, ssrcs[0], &cname));
        let Packet::Sdes(sdes) = only(&bytes) else { panic!("an SDES") };
        prop_assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(ssrcs[0], cname.as_str())]);

        let bytes = written(|w| bye(w, &ssrcs));
        let Packet::Bye(list) = only(&bytes) else { panic!("a BYE") };
        prop_assert_eq!(list.collect::<Vec<_>>(), ssrcs);
    }

    #[test]
    fn picture_feedback_survives_the_wire(
        (sender, media, seq) in any::<(u32, u32, u8)>(),
        bitrate_bps in 0_u64..1 << 18,
        exponent in 0_u32..46,
        ssrcs in prop::collection::vec(any::<u32>().prop_map(Ssrc), 0..40),
    ) {
        let bytes = written(|w| fir(w, Ssrc(sender), Ssrc(media), seq));
        let Packet::Fir { sender: from, entries } = only(&bytes) else { panic!("a FIR") };
        prop_assert_eq!(from, Ssrc(sender));
        prop_assert_eq!(entries.collect::<Vec<_>>(), [(Ssrc(media), seq)]);

        let bitrate_bps = bitrate_bps << exponent;
        let bytes = written(|w| remb(w, Ssrc(sender), bitrate_bps, &ssrcs));
        let Packet::Remb { sender: from, bitrate_bps: read, ssrcs: list } = only(&bytes) else {
            panic!("a REMB");
        };
        prop_assert_eq!((from, read), (Ssrc(sender), bitrate_bps));
        prop_assert_eq!(list.collect::<Vec<_>>(), ssrcs);
    }

    #[test]
    fn a_nack_names_exactly_the_missing(
        start: u16,
        gaps in prop::collection::vec(1_u16..40, 1..120),
    ) {
        let mut seq = SeqNo(start);
        let missing: Vec<_> = gaps.iter().map(|&gap| { seq = seq.plus(gap); seq }).collect();
        prop_assert_eq!(lost_of(&nack_for(&missing)), missing);
    }

    #[test]
    fn a_nack_of_any_order_names_all_that_it_took(
        seqs in prop::collection::vec(any::<u16>().prop_map(SeqNo), 1..60),
        room in 0_usize..200,
    ) {
        let mut buf = [0; 200];
        let mut w = Writer::new(&mut buf[..room]);
        let taken = nack(&mut w, Ssrc(1), Ssrc(2), &seqs);
        let len = w.len();
        if taken == 0 {
            prop_assert_eq!(len, 0);
        } else {
            let lost = lost_of(&buf[..len]);
            prop_assert!(seqs[..taken].iter().all(|seq| lost.contains(seq)));
            prop_assert!(lost.iter().all(|seq| seqs[..taken].contains(seq)));
        }
    }
}
