//! RTP and RTCP: what is read is what was written, and nothing reaches beyond its own length.

use crate::base::bytes::{Reader, Writer};
use crate::base::extension::ExtensionMap;
use crate::base::ids::{Pt, Ssrc};
use crate::base::seq::{RtpTime, SeqNo};
use crate::rtcp::report::{ReportBlock, SenderInfo};
use crate::rtcp::transport_feedback::TransportFeedback;
use crate::rtcp::write::{self, FeedbackHead};
use crate::rtcp::xr::XrBlock;
use crate::rtcp::{Compound, Malformed, Packet};
use crate::rtp::canonical::{self, Layout, Source};
use crate::rtp::extension::{Known, elements};
use crate::rtp::rtx::{self, Retransmission};
use crate::rtp::{RtpHeader, padding};

/// One RTP packet: its canonical form says the same, once it is made it stays as it is, and
/// retransmission and padding are taken off again (RFC 3550 §5.1, RFC 8285, RFC 4588 §4).
pub fn rtp(bytes: &[u8]) {
    let Some(header) = RtpHeader::parse(bytes) else {
        return;
    };
    assert!(header.header_len <= bytes.len());
    let block_len = header.extension.map_or(0, |block| block.len);
    let mut taken = 0;
    for (id, value) in elements(bytes, &header) {
        assert_ne!(id, 0);
        taken += 1 + value.len();
    }
    assert!(taken <= block_len);
    let map = ExtensionMap::server();
    let _ = Known::read(bytes, &header, &map);
    let Some(payload) = header.payload(bytes) else {
        return;
    };
    assert!(payload.len() <= bytes.len() - header.header_len);

    let source = Source {
        packet: bytes,
        header: &header,
        payload,
        extensions: &map,
        pt: header.pt,
        seq: header.seq,
        marker: header.marker,
    };
    // Every kind once: a value of 255 bytes and its header each, at most.
    let mut out = vec![0; bytes.len() + 64];
    let layout = canonical::write(&mut out, source).expect("room for what was there, and a slot");
    out.truncate(layout.len);
    let again = RtpHeader::parse(&out).expect("our own");
    assert_eq!(again.header_len, layout.header_len);
    assert_eq!(again.payload(&out), Some(payload));
    assert_eq!(
        (
            again.marker,
            again.pt,
            again.seq,
            again.timestamp,
            again.ssrc
        ),
        (
            header.marker,
            header.pt,
            header.seq,
            header.timestamp,
            header.ssrc
        )
    );
    settled(&out, layout, &map);
    repaired(&out, layout, payload);
    padded(&out, layout, payload);
}

/// The canonical form of a canonical packet is itself, and its slot takes a number.
fn settled(packet: &[u8], layout: Layout, map: &ExtensionMap) {
    let header = RtpHeader::parse(packet).expect("our own");
    let mut out = vec![0; packet.len()];
    let again = canonical::write(
        &mut out,
        Source {
            packet,
            header: &header,
            payload: header.payload(packet).expect("no padding"),
            extensions: map,
            pt: header.pt,
            seq: header.seq,
            marker: header.marker,
        },
    );
    assert_eq!(again, Some(layout));
    assert_eq!(out, packet);
    assert!(
        canonical::set_transport_seq(&mut out, layout.transport_seq_at, Some(0x1234)).is_some()
    );
    let mut bare = out.clone();
    let after = Known::read(&out, &header, map);
    assert_eq!(after.transport_seq, Some(0x1234));
    assert_eq!(
        (after.mid, after.rid, after.repaired_rid),
        (None, None, None)
    );
    assert!(canonical::set_transport_seq(&mut bare, layout.transport_seq_at, None).is_some());
    let without = Known {
        transport_seq: None,
        ..after
    };
    assert_eq!(Known::read(&bare, &header, map), without);
}

fn repaired(packet: &[u8], layout: Layout, payload: &[u8]) {
    let with = Retransmission {
        pt: Pt(97),
        seq: SeqNo(5),
        timestamp: RtpTime(90_000),
        ssrc: Ssrc(7),
        osn: SeqNo(0xfffe),
    };
    let mut out = vec![0; packet.len() + 2];
    let len = rtx::wrap(&mut out, packet, layout.header_len, with).expect("room for two bytes");
    assert_eq!(len, out.len());
    let header = RtpHeader::parse(&out).expect("our own");
    let body = header.payload(&out).expect("no padding");
    assert_eq!(rtx::unwrap(body), Some((with.osn, payload)));
}

fn padded(packet: &[u8], layout: Layout, payload: &[u8]) {
    let mut out = packet.to_vec();
    out.resize(packet.len() + 9, 0xee);
    let len = padding::append(&mut out, packet.len(), 9).expect("room for nine bytes");
    let header = RtpHeader::parse(&out[..len]).expect("our own");
    assert_eq!(header.payload(&out[..len]), Some(payload));
    canonical::blank(&mut out).expect("a header");
    let blank = &out[..layout.header_len];
    let header = RtpHeader::parse(blank).expect("our own");
    assert_eq!(
        (header.payload(blank), header.marker),
        (Some(&[][..]), false)
    );
}

/// One RTCP compound: an error ends it, each packet that the server writes itself comes out as it
/// went in, and none reads into the one behind it (RFC 3550 §6, RFC 4585 §6).
pub fn rtcp(bytes: &[u8]) {
    let packets: Vec<_> = Compound::new(bytes).collect();
    assert!(packets.len() <= bytes.len().div_ceil(4));
    let faults = packets.iter().filter(|packet| packet.is_err()).count();
    assert!(faults == 0 || faults == 1 && packets.last().is_some_and(Result::is_err));
    if faults == 0 {
        let mut longer = bytes.to_vec();
        longer.extend_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(Compound::new(&longer).count(), packets.len() + 1);
    }
    for packet in packets.into_iter().flatten() {
        written_again(packet, bytes.len());
    }
}

/// Writes a packet from what was read, and reads that.
fn written_again(packet: Packet<'_>, len: usize) {
    match packet {
        Packet::SenderReport {
            ssrc,
            info,
            reports,
        } => reported(ssrc, Some(info), reports.collect(), len),
        Packet::ReceiverReport { ssrc, reports } => reported(ssrc, None, reports.collect(), len),
        Packet::Sdes(sdes) => {
            assert!(sdes.cnames().count() <= 31);
            if let Some((ssrc, cname)) = sdes.cnames().next() {
                let bytes = written(len, |w| write::sdes_cname(w, ssrc, cname));
                let Packet::Sdes(again) = only(&bytes) else {
                    panic!("an SDES");
                };
                assert_eq!(again.cnames().collect::<Vec<_>>(), [(ssrc, cname)]);
            }
        }
        Packet::Bye(list) => {
            let ssrcs: Vec<_> = list.collect();
            if !ssrcs.is_empty() {
                let bytes = written(len, |w| write::bye(w, &ssrcs));
                let Packet::Bye(again) = only(&bytes) else {
                    panic!("a BYE");
                };
                assert_eq!(again.collect::<Vec<_>>(), ssrcs);
            }
        }
        Packet::Nack {
            sender,
            media,
            pairs,
        } => asked_again(sender, media, pairs.collect()),
        Packet::TransportFeedback(feedback) => fed_back(&feedback),
        Packet::Pli { sender, media } => {
            let bytes = written(len, |w| write::pli(w, sender, media));
            let is_same = matches!(only(&bytes), Packet::Pli { sender: s, media: m }
                if (s, m) == (sender, media));
            assert!(is_same);
        }
        Packet::Fir { sender, entries } => {
            for (media, seq) in entries {
                let bytes = written(len, |w| write::fir(w, sender, media, seq));
                let Packet::Fir { entries, .. } = only(&bytes) else {
                    panic!("a FIR");
                };
                assert_eq!(entries.collect::<Vec<_>>(), [(media, seq)]);
            }
        }
        Packet::Remb {
            sender,
            bitrate_bps,
            ssrcs,
        } => bounded(sender, bitrate_bps, &ssrcs.collect::<Vec<_>>(), len),
        Packet::ExtendedReport { blocks, .. } => {
            for block in blocks {
                if let XrBlock::Dlrr(entries) = block {
                    assert!(entries.count() <= len / 12);
                }
            }
        }
        Packet::Other { .. } => {}
    }
}

/// A sender report where there is `info`, else a receiver report.
fn reported(ssrc: Ssrc, info: Option<SenderInfo>, reports: Vec<ReportBlock>, len: usize) {
    let bytes = written(len, |w| match &info {
        Some(info) => write::sender_report(w, ssrc, info, &reports),
        None => write::receiver_report(w, ssrc, &reports),
    });
    let (from, said, blocks) = match only(&bytes) {
        Packet::SenderReport {
            ssrc,
            info,
            reports,
        } => (ssrc, Some(info), reports),
        Packet::ReceiverReport { ssrc, reports } => (ssrc, None, reports),
        other => panic!("a report, not {other:?}"),
    };
    assert_eq!((from, said), (ssrc, info));
    assert_eq!(blocks.collect::<Vec<_>>(), reports);
}

fn asked_again(sender: Ssrc, media: Ssrc, missing: Vec<SeqNo>) {
    let mut buf = vec![0; 20 + 4 * missing.len()];
    let mut w = Writer::new(&mut buf);
    let taken = write::nack(&mut w, sender, media, &missing);
    let len = w.len();
    if taken == 0 {
        assert!(missing.is_empty() && len == 0);
        return;
    }
    let Packet::Nack { pairs, .. } = only(&buf[..len]) else {
        panic!("a NACK");
    };
    let named: Vec<_> = pairs.collect();
    assert!(missing[..taken].iter().all(|seq| named.contains(seq)));
    assert!(named.iter().all(|seq| missing[..taken].contains(seq)));
}

/// A rate has 18 significant bits: what is left of one, once read, is not rounded again.
fn bounded(sender: Ssrc, bitrate_bps: u64, ssrcs: &[Ssrc], len: usize) {
    let bytes = written(len, |w| write::remb(w, sender, bitrate_bps, ssrcs));
    let Packet::Remb {
        bitrate_bps: read,
        ssrcs: list,
        ..
    } = only(&bytes)
    else {
        panic!("a REMB");
    };
    assert!(read == bitrate_bps || bitrate_bps == u64::MAX && read > u64::MAX / 2);
    assert_eq!(list.collect::<Vec<_>>(), ssrcs);
}

/// The same arrivals come out, up to the last that is one.
fn fed_back(feedback: &TransportFeedback<'_>) {
    let count = usize::from(feedback.status_count);
    assert_eq!(feedback.statuses().count(), count);
    let arrivals: Vec<_> = feedback.arrivals().collect();
    assert_eq!(arrivals.len(), count);
    let ticks: Vec<_> = arrivals.iter().map(|(_, tick)| *tick).collect();
    let head = FeedbackHead {
        sender: feedback.sender,
        media: feedback.media,
        base_seq: feedback.base_seq,
        feedback_count: feedback.feedback_count,
    };
    let wanted = ticks
        .iter()
        .rposition(Option::is_some)
        .map_or(0, |at| at + 1);
    assert_eq!(told(&head, &ticks, 24 + 8 * count), wanted);
}

/// Writes feedback into `room` bytes, reads it, and returns how much of `ticks` it holds.
fn told(head: &FeedbackHead, ticks: &[Option<i64>], room: usize) -> usize {
    let mut buf = vec![0; room];
    let mut w = Writer::new(&mut buf);
    let covered = write::transport_feedback(&mut w, head, ticks.iter().copied());
    let len = w.len();
    assert!(covered <= ticks.len());
    if covered == 0 {
        assert_eq!(len, 0, "nothing is begun");
        return 0;
    }
    let Packet::TransportFeedback(read) = only(&buf[..len]) else {
        panic!("transport-wide feedback");
    };
    assert_eq!((read.sender, read.media), (head.sender, head.media));
    assert_eq!(read.feedback_count, head.feedback_count);
    assert_eq!(usize::from(read.status_count), covered);
    let mut seq = head.base_seq;
    for ((number, tick), wanted) in read.arrivals().zip(&ticks[..covered]) {
        assert_eq!(number, seq);
        // The reference time has 24 bits of 256 ticks.
        let cut = |tick: i64| tick.rem_euclid(1 << 32);
        assert_eq!(tick.map(cut), wanted.map(cut));
        seq = seq.wrapping_add(1);
    }
    covered
}

/// Transport-wide feedback about arbitrary arrivals in any room: it says what it covers, and
/// going on behind that covers the rest.
pub fn transport_feedback(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let (Some(room), Some(base_seq), Some(start)) = (input.u16(), input.u16(), input.u32()) else {
        return;
    };
    let mut tick = i64::from(start);
    let mut ticks = Vec::new();
    while let Some(what) = input.u8() {
        match what {
            0..0x60 => ticks.push(None),
            0x60..0xe0 => {
                tick += i64::from(what - 0x60);
                ticks.push(Some(tick));
            }
            0xe0..0xf0 => {
                tick += i64::from(input.u16().unwrap_or(0)) - 0x7000;
                ticks.push(Some(tick));
            }
            0xf0..=0xff => {
                let run = usize::from(input.u8().unwrap_or(0)) + 1;
                ticks.extend(std::iter::repeat_n(None, run));
            }
        }
    }
    let room = 24 + usize::from(room) % 1200;
    let mut at = 0;
    while at < ticks.len() {
        let head = FeedbackHead {
            sender: Ssrc(1),
            media: Ssrc(2),
            base_seq: base_seq.wrapping_add(at as u16),
            feedback_count: at as u8,
        };
        let covered = told(&head, &ticks[at..], room);
        let gone = ticks[at..].iter().take_while(|tick| tick.is_none()).count();
        // A gap may be longer than what fits; otherwise at least one arrival always does.
        at += covered.max(gone).max(1);
    }
}

fn written(len: usize, write: impl Fn(&mut Writer<'_>) -> Option<()>) -> Vec<u8> {
    let mut buf = vec![0; len + 64];
    let mut w = Writer::new(&mut buf);
    write(&mut w).expect("what was read can be written");
    let written = w.len();
    buf.truncate(written);
    buf
}

fn only(bytes: &[u8]) -> Packet<'_> {
    let mut packets = Compound::new(bytes);
    let first: Option<Result<Packet<'_>, Malformed>> = packets.next();
    assert!(packets.next().is_none(), "one packet");
    first.expect("a packet").expect("our own")
}
