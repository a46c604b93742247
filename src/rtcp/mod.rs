//! RTCP: compound packets taken apart, and each packet kind the server sends.
//!
//! RFC 3550 §6 (SR, RR, SDES, BYE), RFC 4585 §6 (NACK, PLI), RFC 5104 §4.3.1 (FIR), RFC 3611 §4.4
//! and §4.5 (XR), RFC 5506 (reduced size), draft-alvestrand-rmcat-remb-03 (REMB),
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 (transport feedback). Does not decrypt,
//! does not decide what or when to send, keeps no state. Called by `stream/`, `bwe/`, `peer/` and
//! `router/`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod feedback;
pub mod report;
pub mod transport_feedback;
pub mod write;
pub mod xr;

use crate::base::bytes::Reader;
use crate::base::ids::Ssrc;

use feedback::{FirEntries, LostSeqs, SsrcList};
use report::{ReportBlocks, Sdes, SenderInfo};
use transport_feedback::TransportFeedback;
use xr::XrBlocks;

/// A packet that contradicts its own lengths, or whose version is not 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The packets of one decrypted RTCP datagram, in order (RFC 3550 §6.1).
///
/// Reduced-size datagrams (RFC 5506) are taken as well: no packet kind has to come first. A
/// malformed packet yields one `Err` and ends the iteration, as nothing behind it can be found.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P| RC/FMT  |  packet type  |    length in words, minus 1   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: Reader<'a>,
}

impl<'a> Compound<'a> {
    /// Starts at the first packet of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: Reader::new(bytes),
        }
    }

    fn packet(&mut self) -> Option<Packet<'a>> {
        let first = self.rest.u8()?;
        if first >> 6 != VERSION {
            return None;
        }
        let packet_type = self.rest.u8()?;
        let words = usize::from(self.rest.u16()?);
        let mut body = self.rest.take(words * 4)?;
        if first & PADDING != 0 {
            // INTEROP(chrome): pads transport feedback by 1 to 3 bytes, where RFC 3550 §6.4.1
            // asks for a multiple of 4.
            let pad_len = usize::from(*body.last()?);
            if pad_len == 0 {
                return None;
            }
            body = body.get(..body.len().checked_sub(pad_len)?)?;
        }
        Packet::parse(packet_type, first & COUNT, body)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.packet();
        if packet.is_none() {
            self.rest = Reader::new(&[]);
        }
        Some(packet.ok_or(Malformed))
    }
}

/// One RTCP packet. The lists in it were checked against the packet's length.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// Packet type 200 (RFC 3550 §6.4.1).
    SenderReport {
        /// Whose packets `info` is about.
        ssrc: Ssrc,
        /// What it has sent.
        info: SenderInfo,
        /// What it has received, at most 31.
        reports: ReportBlocks<'a>,
    },
    /// Packet type 201 (RFC 3550 §6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: Ssrc,
        /// What it has received, at most 31.
        reports: ReportBlocks<'a>,
    },
    /// Packet type 202 (RFC 3550 §6.5).
    Sdes(Sdes<'a>),
    /// Packet type 203 (RFC 3550 §6.6): sources that end; the reason text is not read.
    Bye(SsrcList<'a>),
    /// Packet type 205, FMT 1 (RFC 4585 §6.2.1).
    Nack {
        /// Who asks.
        sender: Ssrc,
        /// Whose packets are missing.
        media: Ssrc,
        /// Which ones.
        pairs: LostSeqs<'a>,
    },
    /// Packet type 205, FMT 15.
    TransportFeedback(TransportFeedback<'a>),
    /// Packet type 206, FMT 1 (RFC 4585 §6.3.1).
    Pli {
        /// Who asks for a key frame.
        sender: Ssrc,
        /// Whose key frame.
        media: Ssrc,
    },
    /// Packet type 206, FMT 4 (RFC 5104 §4.3.1).
    Fir {
        /// Who asks for key frames.
        sender: Ssrc,
        /// Whose key frames.
        entries: FirEntries<'a>,
    },
    /// Packet type 206, FMT 15, unique identifier "REMB".
    Remb {
        /// Who estimates.
        sender: Ssrc,
        /// What may be sent to it in total, in bits per second; `u64::MAX` when it is written
        /// larger than that.
        bitrate_bps: u64,
        /// The sources that share it.
        ssrcs: SsrcList<'a>,
    },
    /// Packet type 207 (RFC 3611 §2).
    ExtendedReport {
        /// Who reports.
        sender: Ssrc,
        /// What.
        blocks: XrBlocks<'a>,
    },
    /// What this server does not read: application packets, other feedback formats.
    Other {
        /// The second byte of the packet.
        packet_type: u8,
        /// The low 5 bits of its first byte.
        fmt: u8,
    },
}

impl<'a> Packet<'a> {
    /// `body` is what follows the 4-byte header, without padding.
    fn parse(packet_type: u8, count: u8, body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let packet = match (packet_type, count) {
            (SENDER_REPORT, _) => Self::SenderReport {
                ssrc: Ssrc(r.u32()?),
                info: SenderInfo::parse(&mut r)?,
                reports: ReportBlocks::parse(&mut r, count)?,
            },
            (RECEIVER_REPORT, _) => Self::ReceiverReport {
                ssrc: Ssrc(r.u32()?),
                reports: ReportBlocks::parse(&mut r, count)?,
            },
            (SDES, _) => Self::Sdes(Sdes::new(r, count)),
            (BYE, _) => Self::Bye(SsrcList::parse(&mut r, count)?),
            (TRANSPORT_LAYER_FEEDBACK, FMT_NACK) => Self::Nack {
                sender: Ssrc(r.u32()?),
                media: Ssrc(r.u32()?),
                pairs: LostSeqs::parse(r)?,
            },
            (TRANSPORT_LAYER_FEEDBACK, FMT_TRANSPORT_FEEDBACK) => {
                Self::TransportFeedback(TransportFeedback::parse(r)?)
            }
            (PAYLOAD_FEEDBACK, FMT_PLI) => Self::Pli {
                sender: Ssrc(r.u32()?),
                media: Ssrc(r.u32()?),
            },
            (PAYLOAD_FEEDBACK, FMT_FIR) => {
                let sender = Ssrc(r.u32()?);
                r.skip(4)?;
                let entries = FirEntries::parse(r)?;
                Self::Fir { sender, entries }
            }
            (PAYLOAD_FEEDBACK, FMT_APPLICATION) => {
                let sender = Ssrc(r.u32()?);
                r.skip(4)?;
                if r.array() == Some(REMB_ID) {
                    let (bitrate_bps, ssrcs) = feedback::parse_remb(&mut r)?;
                    Self::Remb {
                        sender,
                        bitrate_bps,
                        ssrcs,
                    }
                } else {
                    Self::Other {
                        packet_type,
                        fmt: count,
                    }
                }
            }
            (EXTENDED_REPORT, _) => Self::ExtendedReport {
                sender: Ssrc(r.u32()?),
                blocks: XrBlocks::parse(r)?,
            },
            (_, fmt) => Self::Other { packet_type, fmt },
        };
        Some(packet)
    }
}

/// V, in the two high bits of the first byte.
const VERSION: u8 = 2;

/// P in the first byte.
const PADDING: u8 = 0x20;

/// RC, SC or FMT in the first byte.
const COUNT: u8 = 0x1f;

/// SR (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;

/// RR (RFC 3550 §12.1).
const RECEIVER_REPORT: u8 = 201;

/// SDES (RFC 3550 §12.1).
const SDES: u8 = 202;

/// BYE (RFC 3550 §12.1).
const BYE: u8 = 203;

/// RTPFB (RFC 4585 §6.1).
const TRANSPORT_LAYER_FEEDBACK: u8 = 205;

/// PSFB (RFC 4585 §6.1).
const PAYLOAD_FEEDBACK: u8 = 206;

/// XR (RFC 3611 §2).
const EXTENDED_REPORT: u8 = 207;

/// Generic NACK (RFC 4585 §6.2.1).
const FMT_NACK: u8 = 1;

/// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
const FMT_TRANSPORT_FEEDBACK: u8 = 15;

/// Picture loss indication (RFC 4585 §6.3.1).
const FMT_PLI: u8 = 1;

/// Full intra request (RFC 5104 §4.3.1).
const FMT_FIR: u8 = 4;

/// Application layer feedback (RFC 4585 §6.4).
const FMT_APPLICATION: u8 = 15;

/// Unique identifier of REMB (draft-alvestrand-rmcat-remb-03 §2.2).
const REMB_ID: [u8; 4] = *b"REMB";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bytes::Writer;
    use crate::base::seq::SeqNo;
    use proptest::prelude::*;

    fn one(bytes: &[u8]) -> Option<Packet<'_>> {
        let mut compound = Compound::new(bytes);
        let packet = compound.next()?.ok();
        assert!(compound.next().is_none(), "one packet only");
        packet
    }

    #[test]
    fn a_compound_yields_its_packets_in_order() {
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        write::receiver_report(&mut w, Ssrc(1), &[]).unwrap();
        write::sdes_cname(&mut w, Ssrc(1), "leaf").unwrap();
        write::pli(&mut w, Ssrc(1), Ssrc(2)).unwrap();
        write::bye(&mut w, &[Ssrc(1)]).unwrap();
        let len = w.len();
        let kinds: Vec<_> = Compound::new(&buf[..len]).map(Result::unwrap).collect();
        assert!(matches!(
            kinds[..],
            [
                Packet::ReceiverReport { .. },
                Packet::Sdes(_),
                Packet::Pli {
                    sender: Ssrc(1),
                    media: Ssrc(2)
                },
                Packet::Bye(_)
            ]
        ));
    }

    #[test]
    fn a_malformed_packet_ends_the_compound_with_one_error() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let cases: [&[u8]; 7] = [
            &[0x41, 206, 0, 0],             // version 1
            &[0x81, 206, 0],                // no length
            &[0x81, 206, 0, 3, 0, 0, 0, 1], // shorter than its length
            &[0x81, 206, 0, 1, 0, 0, 0, 1], // a PLI without media SSRC
            &[0xa1, 206, 0, 1, 0, 0, 0, 0], // padding of 0
            &[0xa1, 206, 0, 1, 0, 0, 0, 5], // padding longer than the body
            &[0x81, 201, 0, 1, 0, 0, 0, 1], // announces a report block
        ];
        for case in cases {
            let mut bytes = pli.to_vec();
            bytes.extend_from_slice(case);
            bytes.extend_from_slice(&pli);
            // Lengths that reach into the next packet are malformed only at the end.
            let bytes = if case.len() == 8 && case[3] == 3 || case.len() == 3 {
                &bytes[..pli.len() + case.len()]
            } else {
                &bytes[..]
            };
            let results: Vec<_> = Compound::new(bytes).collect();
            assert!(matches!(
                results[..],
                [Ok(Packet::Pli { .. }), Err(Malformed)]
            ));
        }
    }

    #[test]
    fn padding_is_not_part_of_the_packet() {
        let nack = [
            0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 4,
        ];
        let Some(Packet::Nack { pairs, .. }) = one(&nack) else {
            panic!("a NACK");
        };
        assert_eq!(pairs.collect::<Vec<_>>(), [SeqNo(9)]);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let app = [0x85, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e'];
        assert!(matches!(
            one(&app),
            Some(Packet::Other {
                packet_type: 204,
                fmt: 5
            })
        ));
        let goog = [
            0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'A', b'B', b'C', b'D',
        ];
        assert!(matches!(one(&goog), Some(Packet::Other { fmt: 15, .. })));
    }

    /// Walks everything a packet holds.
    fn drain(packet: Packet<'_>) {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                assert!(reports.count() <= 31);
            }
            Packet::Sdes(sdes) => assert!(sdes.cnames().count() <= 31),
            Packet::Bye(list) => assert!(list.count() <= 31),
            Packet::Nack { pairs, .. } => assert!(pairs.count() <= 17 * 50),
            Packet::TransportFeedback(feedback) => {
                let count = usize::from(feedback.status_count);
                assert_eq!(feedback.statuses().count(), count);
                assert_eq!(feedback.arrivals().count(), count);
            }
            Packet::Pli { .. } | Packet::Other { .. } => {}
            Packet::Fir { entries, .. } => assert!(entries.count() <= 25),
            Packet::Remb { ssrcs, .. } => assert!(ssrcs.count() <= 255),
            Packet::ExtendedReport { blocks, .. } => {
                for block in blocks {
                    if let xr::XrBlock::Dlrr(entries) = block {
                        assert!(entries.count() <= 20);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Compound::new(&bytes).flatten().for_each(drain);
        }

        #[test]
        fn arbitrary_bodies_never_panic(
            padding in prop::sample::select(vec![0, PADDING]),
            count in 0_u8..32,
            packet_type in 200_u8..208,
            words in prop::collection::vec(any::<[u8; 4]>(), 0..40),
        ) {
            let len = (words.len() as u16).to_be_bytes();
            let mut bytes = vec![0x80 | padding | count, packet_type, len[0], len[1]];
            bytes.extend_from_slice(&words.concat());
            let results: Vec<_> = Compound::new(&bytes).collect();
            prop_assert_eq!(results.len(), 1);
            results.into_iter().flatten().for_each(drain);
        }

        #[test]
        fn arbitrary_feedback_never_panics(
            fmt in prop::sample::select(vec![FMT_NACK, FMT_FIR, FMT_TRANSPORT_FEEDBACK]),
            packet_type in 205_u8..207,
            remb: bool,
            words in prop::collection::vec(any::<[u8; 4]>(), 0..40),
        ) {
            let id = if remb { &REMB_ID[..] } else { &[] };
            let body = [&[0; 8], id, &words.concat()].concat();
            let len = ((body.len() / 4) as u16).to_be_bytes();
            let head = [0x80 | fmt, packet_type, len[0], len[1]];
            let bytes = [&head[..], &body].concat();
            Compound::new(&bytes).flatten().for_each(drain);
        }
    }
}
