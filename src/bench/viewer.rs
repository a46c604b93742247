//! A viewer's tracks: continuity of every packet, and, where it verifies, what is inside.

use std::time::Duration;

use smallvec::SmallVec;

use super::description::Flow;
use super::traffic::{self, Said};
use crate::base::bytes::Writer;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::ids::Ssrc;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::bwe::arrivals::Arrivals;
use crate::rtcp::report::ReportBlock;
use crate::rtcp::write;
use crate::rtp::RtpHeader;
use crate::rtp::extension::Known;
use crate::srtp::{Unprotect, packet_index};
use crate::stream::receive::RecvStream;

/// What a viewer reports beside reception and missing packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Feedback {
    /// Every packet's arrival, ten times a second.
    #[default]
    TransportCc,
    /// A bandwidth estimate, once a second.
    Remb,
    /// Nothing: reception once a second.
    None,
}

impl Feedback {
    /// Between two reports.
    pub const fn interval(self) -> Duration {
        match self {
            // As browsers: every 50 to 250 ms.
            Self::TransportCc => Duration::from_millis(100),
            Self::Remb | Self::None => Duration::from_secs(1),
        }
    }
}

/// The tracks of one viewer.
#[derive(Debug)]
pub struct Viewer {
    verify: bool,
    feedback: Feedback,
    flows: SmallVec<[Receiving; 2]>,
    arrivals: Option<Arrivals>,
    extensions: ExtensionMap,
    ask: Vec<crate::base::seq::SeqNo>,
    first_packet: Option<Now>,
    last_packet: Option<Now>,
    /// What came, since the start.
    pub tally: Tally,
    /// One-way latencies in microseconds, of verified packets, since they were last taken.
    pub latencies_us: Vec<u32>,
}

/// Counters of a viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Media packets, retransmissions not counted.
    pub packets: u64,
    /// Their bytes with header and tag.
    pub len: u64,
    /// Retransmissions.
    pub repaired: u64,
    /// Packets that did not authenticate, or whose content was not what was sent.
    pub damaged: u64,
    /// Packets seen before.
    pub repeated: u64,
    /// Packets that were decrypted and whole.
    pub verified: u64,
    /// Video packets among `packets`.
    pub video: u64,
}

#[derive(Debug)]
struct Receiving {
    flow: Flow,
    stream: Option<RecvStream>,
    rtx: Option<RecvStream>,
    received: u64,
    first: Option<u64>,
}

impl Viewer {
    /// A viewer that got no offer yet.
    pub fn new(verify: bool, feedback: Feedback) -> Self {
        Self {
            verify,
            feedback,
            flows: SmallVec::new(),
            arrivals: None,
            extensions: ExtensionMap::default(),
            ask: Vec::new(),
            first_packet: None,
            last_packet: None,
            tally: Tally::default(),
            latencies_us: Vec::new(),
        }
    }

    /// The tracks of the server's latest offer; those that go on keep their state.
    pub fn set_flows(&mut self, flows: &[Flow]) {
        self.flows.retain(|known| flows.contains(&known.flow));
        for &flow in flows {
            if !self.flows.iter().any(|known| known.flow == flow) {
                self.flows.push(Receiving {
                    flow,
                    stream: None,
                    rtx: None,
                    received: 0,
                    first: None,
                });
            }
            if let Some(id) = flow.transport_cc
                && self.feedback == Feedback::TransportCc
            {
                self.extensions.insert(ExtensionKind::TransportCc, id);
                self.arrivals.get_or_insert_default();
            }
        }
    }

    /// What it reports.
    pub fn feedback(&self) -> Feedback {
        self.feedback
    }

    /// When the first packet came.
    pub fn first_packet(&self) -> Option<Now> {
        self.first_packet
    }

    /// When the latest packet came.
    pub fn last_packet(&self) -> Option<Now> {
        self.last_packet
    }

    /// Tracks offered, and those that at least one packet came of.
    pub fn tracks(&self) -> (usize, usize) {
        let flowing = self.flows.iter().filter(|f| f.received > 0).count();
        (self.flows.len(), flowing)
    }

    /// Packets that should have come by the sequence numbers, and those that came.
    pub fn continuity(&self) -> (u64, u64) {
        self.flows.iter().fold((0, 0), |(expected, came), flow| {
            let highest = flow.stream.as_ref().and_then(RecvStream::highest);
            let span = match (flow.first, highest) {
                (Some(first), Some(highest)) => highest + 1 - first,
                (None, _) | (_, None) => 0,
            };
            (expected + span, came + flow.received)
        })
    }

    /// One SRTP packet.
    pub fn receive(&mut self, now: Now, datagram: &mut [u8], unprotect: &Unprotect) {
        let Some(header) = RtpHeader::parse(datagram) else {
            self.tally.damaged += 1;
            return;
        };
        if let Some(arrivals) = &mut self.arrivals
            && let Some(seq) = Known::read(datagram, &header, &self.extensions).transport_seq
        {
            arrivals.record(seq, now.instant);
        }
        let by_media = self.flows.iter().position(|f| f.flow.ssrc == header.ssrc);
        let Some(at) = by_media else {
            return self.receive_repaired(now, &header);
        };
        let Some(receiving) = self.flows.get_mut(at) else {
            return;
        };
        let clock_hz = match receiving.flow.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        };
        let stream = receiving
            .stream
            .get_or_insert_with(|| RecvStream::new(header.ssrc, clock_hz));
        let Ok(extended) = stream.check(header.seq) else {
            self.tally.repeated += 1;
            return;
        };
        let len = datagram.len();
        if self.verify {
            let opened = packet_index(extended)
                .and_then(|i| unprotect.unprotect_rtp(datagram, header.header_len, i).ok())
                .and_then(|len| header.payload(datagram.get(..len)?))
                .and_then(traffic::verify);
            let Some(Said { sent_unix_us, .. }) = opened else {
                self.tally.damaged += 1;
                return;
            };
            self.tally.verified += 1;
            let us = now.unix_us.saturating_sub(sent_unix_us);
            self.latencies_us
                .push(u32::try_from(us).unwrap_or(u32::MAX));
        }
        stream.record(now, extended, header.timestamp);
        stream.missing.arrived(now.instant, extended);
        receiving.received += 1;
        receiving.first.get_or_insert(extended);
        self.first_packet.get_or_insert(now);
        self.last_packet = Some(now);
        self.tally.packets += 1;
        self.tally.video += u64::from(receiving.flow.kind == MediaKind::Video);
        self.tally.len += len as u64;
    }

    /// A packet of no media SSRC: a retransmission, by its payload type. It fills a gap of the
    /// report, and its content is not looked at.
    fn receive_repaired(&mut self, now: Now, header: &RtpHeader) {
        let repairs = |f: &&mut Receiving| f.flow.rtx_pt == Some(header.pt);
        let Some(receiving) = self.flows.iter_mut().find(repairs) else {
            self.tally.damaged += 1;
            return;
        };
        let stream = receiving
            .rtx
            .get_or_insert_with(|| RecvStream::new(header.ssrc, 90_000));
        if let Ok(extended) = stream.check(header.seq) {
            stream.record(now, extended, header.timestamp);
            self.tally.repaired += 1;
        }
    }

    /// Writes a receiver report, NACKs and what [`Feedback`] says; returns the bytes written.
    pub fn write_reports(&mut self, now: Now, buf: &mut [u8; MAX_DATAGRAM_LEN]) -> usize {
        let mut blocks = SmallVec::<[ReportBlock; 2]>::new();
        for stream in self.flows.iter_mut().filter_map(|f| f.stream.as_mut()) {
            if let Some(r) = stream.reception(now) {
                blocks.push(ReportBlock {
                    ssrc: stream.ssrc,
                    fraction_lost: r.fraction_lost,
                    cumulative_lost: r.cumulative_lost,
                    highest_seq: r.highest_seq,
                    jitter: r.jitter,
                    last_sr: r.last_sr,
                    delay_since_last_sr: r.delay_since_last_sr,
                });
            }
        }
        blocks.truncate(MAX_REPORT_BLOCKS);
        let mut w = Writer::new(buf.get_mut(..MAX_REPORT_LEN).unwrap_or_default());
        write::receiver_report(&mut w, OWN_SSRC, &blocks);
        write::sdes_cname(&mut w, OWN_SSRC, "bench");
        for stream in self.flows.iter_mut().filter_map(|f| f.stream.as_mut()) {
            self.ask.clear();
            stream.missing.poll(now.instant, &mut self.ask, MAX_NACKS);
            if !self.ask.is_empty() {
                write::nack(&mut w, OWN_SSRC, stream.ssrc, &self.ask);
            }
        }
        let media = self.flows.first().map_or(OWN_SSRC, |f| f.flow.ssrc);
        if self.feedback == Feedback::Remb {
            let all: SmallVec<[Ssrc; 2]> = self.flows.iter().map(|f| f.flow.ssrc).collect();
            write::remb(&mut w, OWN_SSRC, PLENTY_BPS, &all);
        }
        if let Some(arrivals) = &mut self.arrivals {
            // What does not fit any more goes with the next report.
            let _ = arrivals.write_feedback(&mut w, OWN_SSRC, media);
        }
        w.len()
    }
}

/// An estimate that limits nothing, bits per second.
const PLENTY_BPS: u64 = 50_000_000;

/// As browsers do for receive-only transports.
const OWN_SSRC: Ssrc = Ssrc(1);

/// Leaves room for SRTCP's index and tag.
const MAX_REPORT_LEN: usize = MAX_DATAGRAM_LEN - 64;

const MAX_NACKS: usize = 64;

/// RFC 3550 §6.4.1: the count has 5 bits.
const MAX_REPORT_BLOCKS: usize = 31;
