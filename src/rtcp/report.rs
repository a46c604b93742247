//! Sender and receiver reports, and source descriptions (RFC 3550 §6.4, §6.5).
//!
//! Does not compute loss or jitter: see `stream/`. Read through [`super::Compound`], written
//! through [`super::write`].

use crate::base::bytes::{Reader, Writer};
use crate::base::clock::NtpTime;
use crate::base::ids::Ssrc;
use crate::base::seq::RtpTime;

/// What a sender says of itself (RFC 3550 §6.4.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// |              NTP timestamp, most significant word             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |             NTP timestamp, least significant word             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                         RTP timestamp                         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                     sender's packet count                     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                      sender's octet count                     |
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock at which the report was sent; 0 when the sender has none.
    pub ntp: NtpTime,
    /// The same moment on the media clock.
    pub rtp: RtpTime,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, without headers and padding, modulo 2^32.
    pub octets: u32,
}

impl SenderInfo {
    pub(super) fn parse(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            ntp: NtpTime(r.u64()?),
            rtp: RtpTime(r.u32()?),
            packets: r.u32()?,
            octets: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u64(self.ntp.0)?;
        w.u32(self.rtp.0)?;
        w.u32(self.packets)?;
        w.u32(self.octets)
    }
}

/// How one source is received (RFC 3550 §6.4.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// |                 SSRC_1 (SSRC of first source)                 |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | fraction lost |       cumulative number of packets lost       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           extended highest sequence number received           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                      interarrival jitter                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                         last SR (LSR)                         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                   delay since last SR (DLSR)                  |
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: Ssrc,
    /// Loss since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Loss since the beginning, in packets; negative when duplicates outweigh it. 24 bits on the
    /// wire: written clamped to -2^23..=2^23 - 1.
    pub cumulative_lost: i32,
    /// Highest sequence number in the low 16 bits, count of its cycles in the high 16.
    pub highest_seq: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 16.16 seconds; 0 before one.
    pub last_sr: u32,
    /// From that report's arrival to this one's departure, in 1/65536 s; 0 before one.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Round-trip time in microseconds, when the report arrived at `arrival` on the clock that
    /// stamped the sender report (RFC 3550 §6.4.1).
    ///
    /// `None` when the block refers to no sender report, or claims to have left before one came.
    pub fn rtt_us(&self, arrival: NtpTime) -> Option<u64> {
        compact_rtt_us(arrival, self.last_sr, self.delay_since_last_sr)
    }

    fn parse(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            ssrc: Ssrc(r.u32()?),
            fraction_lost: r.u8()?,
            cumulative_lost: sign_extend_24(r.u24()?),
            highest_seq: r.u32()?,
            jitter: r.u32()?,
            last_sr: r.u32()?,
            delay_since_last_sr: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u32(self.ssrc.0)?;
        w.u8(self.fraction_lost)?;
        w.u24(self.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1) as u32)?;
        w.u32(self.highest_seq)?;
        w.u32(self.jitter)?;
        w.u32(self.last_sr)?;
        w.u32(self.delay_since_last_sr)
    }
}

/// `arrival` - `last` - `delay` in microseconds, from 16.16 seconds; `None` when there is no
/// `last` or the result is negative.
pub(super) fn compact_rtt_us(arrival: NtpTime, last: u32, delay: u32) -> Option<u64> {
    if last == 0 {
        return None;
    }
    let rtt = arrival.compact().wrapping_sub(last).wrapping_sub(delay);
    let negative = rtt > u32::MAX / 2;
    (!negative).then_some((u64::from(rtt) * 1_000_000) >> 16)
}

/// The low 24 bits of `value` as a signed number.
pub(super) const fn sign_extend_24(value: u32) -> i32 {
    ((value << 8) as i32) >> 8
}

/// Iterator over the report blocks of one packet, at most 31.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a>(Reader<'a>);

impl<'a> ReportBlocks<'a> {
    pub(super) fn parse(r: &mut Reader<'a>, count: u8) -> Option<Self> {
        r.sub(usize::from(count) * REPORT_BLOCK_LEN).map(Self)
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::parse(&mut self.0)
    }
}

/// Bytes of sender information.
pub(super) const SENDER_INFO_LEN: usize = 20;

/// Bytes of one report block.
pub(super) const REPORT_BLOCK_LEN: usize = 24;

/// Source descriptions (RFC 3550 §6.5): per source a list of texts, of which only CNAME is read.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// |                          SSRC/CSRC_1                          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |    CNAME=1    |     length    | user and domain name        ...
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug)]
pub struct Sdes<'a> {
    body: Reader<'a>,
    chunks: u8,
}

impl<'a> Sdes<'a> {
    pub(super) const fn new(body: Reader<'a>, chunks: u8) -> Self {
        Self { body, chunks }
    }

    /// Source and canonical name of each chunk that has one. A malformed chunk, which no other
    /// packet depends on, ends the iteration.
    pub fn cnames(&self) -> Cnames<'a> {
        Cnames {
            body: self.body,
            chunks: self.chunks,
        }
    }
}

/// Iterator of [`Sdes::cnames`].
#[derive(Clone, Debug)]
pub struct Cnames<'a> {
    body: Reader<'a>,
    chunks: u8,
}

impl<'a> Iterator for Cnames<'a> {
    type Item = (Ssrc, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(chunks) = self.chunks.checked_sub(1) {
            self.chunks = chunks;
            let (ssrc, cname) = self.chunk()?;
            if let Some(cname) = cname {
                return Some((ssrc, cname));
            }
        }
        None
    }
}

impl<'a> Cnames<'a> {
    fn chunk(&mut self) -> Option<(Ssrc, Option<&'a str>)> {
        let ssrc = Ssrc(self.body.u32()?);
        let start = self.body.len();
        let mut cname = None;
        loop {
            let item = self.body.u8()?;
            if item == SDES_END {
                break;
            }
            let len = usize::from(self.body.u8()?);
            let text = self.body.take(len)?;
            if item == SDES_CNAME {
                cname = std::str::from_utf8(text).ok();
            }
        }
        // The list of items is padded to a multiple of 4; the terminator is part of the padding.
        let read = start - self.body.len();
        self.body.skip(read.next_multiple_of(4) - read)?;
        Some((ssrc, cname))
    }
}

/// Ends a chunk's items (RFC 3550 §6.5).
const SDES_END: u8 = 0;

/// Canonical end-point identifier (RFC 3550 §6.5.1).
pub(super) const SDES_CNAME: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_time_follows_the_example_of_rfc_3550() {
        // RFC 3550 §6.4.1, figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 0x0005:4000.
        let block = ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 0,
            cumulative_lost: 0,
            highest_seq: 0,
            jitter: 0,
            last_sr: 0xb705_2000,
            delay_since_last_sr: 0x0005_4000,
        };
        let arrival = NtpTime(0x0000_b710_8000_0000);
        assert_eq!(block.rtt_us(arrival), Some(6_125_000));
        let early = NtpTime(0x0000_b705_3000_0000);
        assert_eq!(block.rtt_us(early), None);
        let unreferred = ReportBlock {
            last_sr: 0,
            ..block
        };
        assert_eq!(unreferred.rtt_us(arrival), None);
    }

    #[test]
    fn cnames_are_found_among_other_items() {
        let body = [
            0, 0, 0, 1, 2, 1, b'n', 1, 2, b'm', b'e', 0, // NAME, CNAME, end
            0, 0, 0, 2, 0, 0, 0, 0, // no items
            0, 0, 0, 3, 1, 1, b'x', 0, // CNAME, end
            0, 0, 0, 4, 1, 9, b'x', 0, // passes the end
        ];
        let sdes = Sdes::new(Reader::new(&body), 4);
        let cnames: Vec<_> = sdes.cnames().collect();
        assert_eq!(cnames, [(Ssrc(1), "me"), (Ssrc(3), "x")]);
    }

    #[test]
    fn cumulative_loss_is_signed() {
        assert_eq!(sign_extend_24(0x00ff_ffff), -1);
        assert_eq!(sign_extend_24(0x007f_ffff), 0x7f_ffff);
        assert_eq!(sign_extend_24(0x0080_0000), -0x80_0000);
    }
}
