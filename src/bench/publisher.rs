//! A publisher's tracks: frames out of `traffic.rs`, packetised, numbered and protected.

use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;

use super::description::{Flow, Tracks};
use super::traffic::{Frame, Shape, Source};
use crate::base::bytes::Writer;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::Ssrc;
use crate::base::limits::MAX_DATAGRAM_LEN;
use crate::rtcp::{Compound, Packet};
use crate::srtp::Protect;

/// The tracks of one publisher.
#[derive(Debug)]
pub struct Publisher {
    tracks: Vec<Track>,
    transport_seq: u16,
}

#[derive(Debug)]
struct Track {
    shape: Shape,
    ssrc: Ssrc,
    source: Source,
    flow: Option<Flow>,
    /// Extended; the roll-over counter starts at 0.
    next_seq: u64,
    first_timestamp: u32,
}

impl Publisher {
    /// One track per shape; at most one of each kind is offered.
    pub fn new(shapes: &[Shape], now: Now, rng: &mut StdRng) -> Self {
        let tracks = shapes.iter().map(|&shape| Track {
            shape,
            ssrc: Ssrc(rng.random()),
            source: Source::new(shape, now.instant),
            flow: None,
            next_seq: u64::from(rng.random::<u16>() >> 1),
            first_timestamp: rng.random(),
        });
        Self {
            tracks: tracks.collect(),
            transport_seq: 0,
        }
    }

    /// What it offers.
    pub fn tracks(&self) -> Tracks {
        let of = |kind| {
            let track = self.tracks.iter().find(|t| t.shape.kind == kind);
            track.map(|t| t.ssrc)
        };
        Tracks {
            video: of(MediaKind::Video),
            audio: of(MediaKind::Audio),
        }
    }

    /// Begins to send what was accepted.
    pub fn start(&mut self, now: Instant, flows: &[Flow]) {
        for track in &mut self.tracks {
            track.flow = flows.iter().find(|f| f.ssrc == track.ssrc).copied();
            track.source = Source::new(track.shape, now);
        }
    }

    /// When the next frame is due; `None` when nothing was accepted.
    pub fn due(&self) -> Option<Instant> {
        let sending = self.tracks.iter().filter(|t| t.flow.is_some());
        sending.map(|t| t.source.due()).min()
    }

    /// Sends every frame that is due through `send`, which says whether the socket took it.
    /// Returns the packets taken.
    pub fn send(
        &mut self,
        now: Now,
        protect: &Protect,
        mut send: impl FnMut(&[u8]) -> bool,
    ) -> u64 {
        let mut sent = 0;
        let mut buf = [0; MAX_DATAGRAM_LEN];
        for track in &mut self.tracks {
            let Some(flow) = track.flow else { continue };
            while let Some(frame) = track.source.poll(now.instant) {
                for index in 0..frame.packets {
                    let number = track.next_seq;
                    track.next_seq += 1;
                    let timestamp = track.first_timestamp.wrapping_add(frame.ticks);
                    let head = Head {
                        flow,
                        seq: number as u16,
                        timestamp,
                        transport_seq: self.transport_seq,
                    };
                    self.transport_seq = self.transport_seq.wrapping_add(1);
                    let Some(len) = write_packet(&mut buf, &head, &frame, index, now) else {
                        continue;
                    };
                    let header_len = head.len();
                    if let Some(len) = protect.protect_rtp(&mut buf, header_len, len, number)
                        && send(buf.get(..len).unwrap_or_default())
                    {
                        sent += 1;
                    }
                }
            }
        }
        sent
    }

    /// One compound from the server: key frame requests matter, the rest changes nothing.
    pub fn handle_rtcp(&mut self, compound: &[u8]) {
        for packet in Compound::new(compound).flatten() {
            let wanted = match packet {
                Packet::Pli { media, .. } => vec![media],
                Packet::Fir { entries, .. } => entries.map(|(media, _)| media).collect(),
                Packet::SenderReport { .. }
                | Packet::ReceiverReport { .. }
                | Packet::Sdes(_)
                | Packet::Bye(_)
                | Packet::Nack { .. }
                | Packet::Remb { .. }
                | Packet::TransportFeedback(_)
                | Packet::ExtendedReport { .. }
                | Packet::Other { .. } => continue,
            };
            let tracks = self.tracks.iter_mut();
            for track in tracks.filter(|t| wanted.contains(&t.ssrc)) {
                track.source.want_key_frame();
            }
        }
    }
}

struct Head {
    flow: Flow,
    seq: u16,
    timestamp: u32,
    transport_seq: u16,
}

impl Head {
    fn len(&self) -> usize {
        if self.flow.transport_cc.is_some() {
            20
        } else {
            12
        }
    }
}

/// RFC 3550 §5.1, with a one-byte extension (RFC 8285 §4.2) for the transport-wide number.
fn write_packet(
    buf: &mut [u8; MAX_DATAGRAM_LEN],
    head: &Head,
    frame: &Frame,
    index: usize,
    now: Now,
) -> Option<usize> {
    let marker = index + 1 == frame.packets && head.flow.kind == MediaKind::Video;
    let mut w = Writer::new(buf);
    let extension = head.flow.transport_cc;
    w.u8(if extension.is_some() { 0x90 } else { 0x80 })?;
    w.u8(head.flow.pt.0 | if marker { 0x80 } else { 0 })?;
    w.u16(head.seq)?;
    w.u32(head.timestamp)?;
    w.u32(head.flow.ssrc.0)?;
    if let Some(id) = extension {
        w.u16(0xbede)?;
        w.u16(1)?;
        w.u8(id << 4 | 1)?;
        w.u16(head.transport_seq)?;
        w.u8(0)?;
    }
    let header_len = w.len();
    let payload_len = frame.payload(index, now, buf.get_mut(header_len..)?);
    (payload_len > 0).then_some(header_len + payload_len)
}
