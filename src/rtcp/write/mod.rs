//! The RTCP packets that the server sends, each appended to a writer.
//!
//! The sections are named in [`super`]. Several calls on one writer make a compound packet; a
//! single one a reduced-size packet (RFC 5506). A packet that does not fit is not begun: what the
//! writer holds is always whole. Called by `stream/`, `bwe/`, `peer/` and `router/`.

mod transport;

pub use transport::{FeedbackHead, transport_feedback};

use crate::base::bytes::Writer;
use crate::base::ids::Ssrc;
use crate::base::seq::SeqNo;

use super::report::{REPORT_BLOCK_LEN, ReportBlock, SDES_CNAME, SENDER_INFO_LEN, SenderInfo};
use super::{
    BYE, FMT_APPLICATION, FMT_FIR, FMT_NACK, FMT_PLI, PAYLOAD_FEEDBACK, RECEIVER_REPORT, REMB_ID,
    SDES, SENDER_REPORT, TRANSPORT_LAYER_FEEDBACK, VERSION, feedback,
};

/// Appends a sender report (RFC 3550 §6.4.1); `None` without room or above 31 `reports`.
pub fn sender_report(
    w: &mut Writer<'_>,
    ssrc: Ssrc,
    info: &SenderInfo,
    reports: &[ReportBlock],
) -> Option<()> {
    let len = 4 + SENDER_INFO_LEN + reports.len() * REPORT_BLOCK_LEN;
    begin(w, count(reports.len())?, SENDER_REPORT, len)?;
    w.u32(ssrc.0)?;
    info.write(w)?;
    reports.iter().try_for_each(|report| report.write(w))
}

/// Appends a receiver report (RFC 3550 §6.4.2); `None` without room or above 31 `reports`. An
/// empty one is what a compound packet of a peer that receives nothing begins with.
pub fn receiver_report(w: &mut Writer<'_>, ssrc: Ssrc, reports: &[ReportBlock]) -> Option<()> {
    let len = 4 + reports.len() * REPORT_BLOCK_LEN;
    begin(w, count(reports.len())?, RECEIVER_REPORT, len)?;
    w.u32(ssrc.0)?;
    reports.iter().try_for_each(|report| report.write(w))
}

/// Appends a source description with a canonical name (RFC 3550 §6.5.1); `None` without room or
/// when `cname` is longer than 255 bytes.
pub fn sdes_cname(w: &mut Writer<'_>, ssrc: Ssrc, cname: &str) -> Option<()> {
    let text_len = u8::try_from(cname.len()).ok()?;
    // The items end with at least one zero byte and are padded with zeros.
    let items_len = 2 + cname.len();
    let padded = (items_len + 1).next_multiple_of(4);
    begin(w, 1, SDES, 4 + padded)?;
    w.u32(ssrc.0)?;
    w.u8(SDES_CNAME)?;
    w.u8(text_len)?;
    w.put(cname.as_bytes())?;
    (items_len..padded).try_for_each(|_| w.u8(0))
}

/// Appends a BYE (RFC 3550 §6.6); `None` without room or above 31 `ssrcs`.
pub fn bye(w: &mut Writer<'_>, ssrcs: &[Ssrc]) -> Option<()> {
    begin(w, count(ssrcs.len())?, BYE, ssrcs.len() * 4)?;
    ssrcs.iter().try_for_each(|ssrc| w.u32(ssrc.0))
}

/// Appends a generic NACK (RFC 4585 §6.2.1) for `missing`; returns how many of it were taken.
///
/// Numbers that ascend share a pair with up to 16 followers; others are written all the same.
/// Fewer than all are taken when room runs out: 0 means that nothing was written.
pub fn nack(w: &mut Writer<'_>, sender: Ssrc, media: Ssrc, missing: &[SeqNo]) -> usize {
    let max_pairs = w.room().saturating_sub(HEADER_LEN + 8) / 4;
    let (pairs, taken) = Pairs(missing)
        .take(max_pairs.min(MAX_PAIRS))
        .fold((0, 0), |(pairs, taken), pair| {
            (pairs + 1, taken + pair.taken)
        });
    if pairs == 0 {
        return 0;
    }
    put_nack(w, sender, media, missing, pairs).map_or(0, |()| taken)
}

fn put_nack(
    w: &mut Writer<'_>,
    sender: Ssrc,
    media: Ssrc,
    missing: &[SeqNo],
    pairs: usize,
) -> Option<()> {
    begin(w, FMT_NACK, TRANSPORT_LAYER_FEEDBACK, 8 + pairs * 4)?;
    w.u32(sender.0)?;
    w.u32(media.0)?;
    for pair in Pairs(missing).take(pairs) {
        w.u16(pair.pid.0)?;
        w.u16(pair.blp)?;
    }
    Some(())
}

/// Most pairs of one packet: 255 of them ask for up to 4335 packets.
const MAX_PAIRS: usize = 255;

/// A PID, its bitmask, and how many of the missing they stand for.
struct Pair {
    pid: SeqNo,
    blp: u16,
    taken: usize,
}

/// Packs sequence numbers into pairs, greedily and in order.
struct Pairs<'a>(&'a [SeqNo]);

impl Iterator for Pairs<'_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        let (&pid, mut rest) = self.0.split_first()?;
        let mut pair = Pair {
            pid,
            blp: 0,
            taken: 1,
        };
        while let Some((seq, behind)) = rest.split_first() {
            match seq.distance(pid) {
                0 => {}
                bit @ 1..=16 => pair.blp |= 1 << (bit - 1),
                _ => break,
            }
            pair.taken += 1;
            rest = behind;
        }
        self.0 = rest;
        Some(pair)
    }
}

/// Appends a picture loss indication (RFC 4585 §6.3.1); `None` without room.
pub fn pli(w: &mut Writer<'_>, sender: Ssrc, media: Ssrc) -> Option<()> {
    begin(w, FMT_PLI, PAYLOAD_FEEDBACK, 8)?;
    w.u32(sender.0)?;
    w.u32(media.0)
}

/// Appends a full intra request for `media` (RFC 5104 §4.3.1); `seq` counts requests modulo 256
/// and stays the same in a repetition. `None` without room.
pub fn fir(w: &mut Writer<'_>, sender: Ssrc, media: Ssrc, seq: u8) -> Option<()> {
    begin(w, FMT_FIR, PAYLOAD_FEEDBACK, 16)?;
    w.u32(sender.0)?;
    w.u32(0)?;
    w.u32(media.0)?;
    w.put(&[seq, 0, 0, 0])
}

/// Appends a bandwidth estimate for `ssrcs` (draft-alvestrand-rmcat-remb-03 §2.2).
///
/// `bitrate_bps` is in bits per second and is written rounded down by at most one part in 2^17.
/// `None` without room or above 255 `ssrcs`.
pub fn remb(w: &mut Writer<'_>, sender: Ssrc, bitrate_bps: u64, ssrcs: &[Ssrc]) -> Option<()> {
    let ssrc_count = u8::try_from(ssrcs.len()).ok()?;
    begin(w, FMT_APPLICATION, PAYLOAD_FEEDBACK, 16 + ssrcs.len() * 4)?;
    w.u32(sender.0)?;
    w.u32(0)?;
    w.put(&REMB_ID)?;
    w.u8(ssrc_count)?;
    w.u24(feedback::remb_bits(bitrate_bps))?;
    ssrcs.iter().try_for_each(|ssrc| w.u32(ssrc.0))
}

/// Writes the common header of a packet with `body_len` bytes behind it, a multiple of 4, once
/// there is room for all of it.
fn begin(w: &mut Writer<'_>, count: u8, packet_type: u8, body_len: usize) -> Option<()> {
    if w.room() < HEADER_LEN + body_len {
        return None;
    }
    let words = u16::try_from(body_len / 4).ok()?;
    w.u8(VERSION << 6 | count)?;
    w.u8(packet_type)?;
    w.u16(words)
}

/// A list's length as it fits RC and SC, 0..=31.
fn count(len: usize) -> Option<u8> {
    u8::try_from(len).ok().filter(|&len| len <= super::COUNT)
}

/// Bytes of the header that all packets share.
const HEADER_LEN: usize = 4;

#[cfg(test)]
mod tests;
