//! The server offers tracks to a player.
//!
//! RFC 8829 §5.2 with this server's own payload types and extension ids, so that a packet needs the
//! same rewriting for every player. One codec per m-line: the publisher's. Which m-line carries
//! what is the caller's (`peer/`) business; reading the answer is `accept.rs`.

use super::text::{Lines, LocalParameters, SessionVersion};
use crate::base::codec::{Codec, MediaKind, RED_PT};
use crate::base::extension::ExtensionKind;
use crate::base::ids::{Mid, Pt, Ssrc};

pub use super::accept::{Accepted, AcceptedSection, apply_answer};

/// One m-line of an offer. The order of sections never changes and none is ever removed
/// (RFC 8829 §5.2.2): a section that ended becomes `Stopped`, and may later be reused under
/// another mid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferSection {
    /// A track.
    Send(SendSection),
    /// The data channel association.
    Data {
        /// Its mid.
        mid: Mid,
    },
    /// Port 0.
    Stopped {
        /// The mid it had.
        mid: Mid,
        /// The kind it had.
        kind: MediaKind,
    },
}

/// A track as offered to one player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSection {
    /// Unique among the sections of the offer.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The publisher's codec.
    pub codec: Codec,
    /// `answer::ReceiveSection::fmtp` of the publisher.
    pub fmtp: String,
    /// `answer::ReceiveSection::server_pt` of the publisher.
    pub server_pt: Pt,
    /// `answer::ReceiveSection::server_rtx_pt`; offered together with `rtx_ssrc` only.
    pub server_rtx_pt: Option<Pt>,
    /// The publisher sends redundancy (RFC 2198).
    pub red: bool,
    /// Second token of `a=msid`, without blanks: `ARDAMSv...` or `ARDAMSa...`.
    ///
    /// INTEROP(chrome): refuses an offer in which two sections have the same `a=msid`.
    pub track_id: String,
    /// First token of `a=msid`, without blanks.
    pub stream_id: String,
    /// The source sent to this player.
    pub ssrc: Ssrc,
    /// The source of its retransmissions; `None` offers none.
    pub rtx_ssrc: Option<Ssrc>,
    /// RTCP canonical name, without blanks.
    pub cname: String,
    /// Offered `inactive` without msid: players see the track as removed, the m-line stays.
    pub disabled: bool,
}

impl SendSection {
    /// Payload type and source of retransmissions, when they are offered.
    ///
    /// INTEROP(chrome): refuses an audio m-line with two sources, so that audio has them only
    /// where the player makes the offer (`player.rs`).
    pub(super) fn rtx(&self) -> Option<(Pt, Ssrc)> {
        let offered = self.server_rtx_pt.zip(self.rtx_ssrc);
        offered.filter(|_| self.kind == MediaKind::Video)
    }
}

impl OfferSection {
    /// Its mid.
    pub fn mid(&self) -> &Mid {
        match self {
            Self::Send(section) => &section.mid,
            Self::Data { mid } | Self::Stopped { mid, .. } => mid,
        }
    }
}

/// The offer's text.
pub fn write(
    sections: &[OfferSection],
    local: &LocalParameters,
    session: SessionVersion,
) -> String {
    let bundle = sections
        .iter()
        .filter(|s| !matches!(s, OfferSection::Stopped { .. }))
        .map(OfferSection::mid);
    let mut lines = Lines::new(session, bundle, true);
    let mut first = true;
    // Until there is an answer nobody knows which m-line carries the transport: who does not take
    // the first one looks for candidates in another (RFC 8829 §4.1.1).
    let everywhere = session.version == 1;
    for section in sections {
        match section {
            OfferSection::Send(send) => {
                write_send(&mut lines, send, local, first || everywhere);
                first = false;
            }
            OfferSection::Data { mid } => {
                lines.put(format_args!(
                    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
                ));
                lines.connection(false);
                lines.put(format_args!("a=mid:{mid}"));
                lines.transport(local, "actpass", first || everywhere);
                lines.data_channel();
                first = false;
            }
            OfferSection::Stopped { mid, kind } => {
                lines.put(format_args!("m={} 0 {PROTOCOL} 0", media_name(*kind)));
                lines.connection(false);
                lines.put(format_args!("a=mid:{mid}"));
                lines.put(format_args!("a=inactive"));
            }
        }
    }
    lines.finish()
}

fn write_send(lines: &mut Lines, send: &SendSection, local: &LocalParameters, candidates: bool) {
    let (media, pt) = (media_name(send.kind), send.server_pt.0);
    let besides = match send.red {
        true => Some(RED_PT),
        false => send.rtx().map(|(rtx, _)| rtx),
    };
    match besides {
        Some(besides) => lines.put(format_args!("m={media} 9 {PROTOCOL} {pt} {}", besides.0)),
        None => lines.put(format_args!("m={media} 9 {PROTOCOL} {pt}")),
    }
    lines.connection(true);
    lines.put(format_args!("a=mid:{}", send.mid));
    lines.transport(local, "actpass", candidates);
    for kind in extensions(send.kind, send.codec) {
        let (id, uri) = (kind.server_id(), kind.uri());
        lines.put(format_args!("a=extmap:{id} {uri}"));
    }
    if send.disabled {
        lines.put(format_args!("a=inactive"));
    } else {
        lines.put(format_args!("a=sendonly"));
        let (stream, track) = (&send.stream_id, &send.track_id);
        lines.put(format_args!("a=msid:{stream} {track}"));
    }
    lines.put(format_args!("a=rtcp-mux"));
    lines.put(format_args!("a=rtcp-rsize"));
    lines.codec(send.codec, send.server_pt, &send.fmtp);
    if send.red {
        lines.red(RED_PT, send.server_pt);
    }
    lines.put(format_args!("a=rtcp-fb:{pt} transport-cc"));
    lines.put(format_args!("a=rtcp-fb:{pt} nack"));
    match send.kind {
        MediaKind::Audio => {}
        MediaKind::Video => {
            lines.put(format_args!("a=rtcp-fb:{pt} nack pli"));
            lines.put(format_args!("a=rtcp-fb:{pt} ccm fir"));
        }
    }
    if let Some((rtx, _)) = send.rtx() {
        lines.rtx(rtx, send.server_pt, send.codec.clock_hz());
    }
    if !send.disabled {
        write_sources(lines, send);
    }
}

fn write_sources(lines: &mut Lines, send: &SendSection) {
    let rtx = send.rtx().map(|(_, ssrc)| ssrc);
    if let Some(rtx) = rtx {
        lines.put(format_args!("a=ssrc-group:FID {} {}", send.ssrc.0, rtx.0));
    }
    let (stream, track, cname) = (&send.stream_id, &send.track_id, &send.cname);
    for ssrc in std::iter::once(send.ssrc).chain(rtx) {
        lines.put(format_args!("a=ssrc:{} cname:{cname}", ssrc.0));
        lines.put(format_args!("a=ssrc:{} msid:{stream} {track}", ssrc.0));
    }
}

fn media_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// What a player may be sent in header extensions, by this server's ids.
pub(super) fn extensions(
    kind: MediaKind,
    codec: Codec,
) -> impl Iterator<Item = ExtensionKind> + Clone {
    let described = match codec {
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 => true,
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::H265 => false,
    };
    ExtensionKind::ALL.into_iter().filter(move |e| match e {
        ExtensionKind::TransportCc | ExtensionKind::Mid | ExtensionKind::AbsCaptureTime => true,
        ExtensionKind::AudioLevel => kind == MediaKind::Audio,
        ExtensionKind::VideoOrientation
        | ExtensionKind::PlayoutDelay
        | ExtensionKind::VideoContentType
        | ExtensionKind::ColorSpace => kind == MediaKind::Video,
        ExtensionKind::DependencyDescriptor => described,
        ExtensionKind::Rid
        | ExtensionKind::RepairedRid
        | ExtensionKind::AbsSendTime
        | ExtensionKind::VideoTiming
        | ExtensionKind::VideoLayersAllocation => false,
    })
}

/// RFC 8829 §5.1.2.
const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
