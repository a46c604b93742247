//! The server answers a publisher's offer: what is taken of it, and the text that says so.
//!
//! RFC 8829 §5.3, RFC 8843 §7.3 (BUNDLE), RFC 8853 §5.3.2 (simulcast), RFC 8841 §10.3 (data
//! channels). The server only receives: accepted media is `recvonly`. Gathers no candidates and
//! keeps no state; called by `peer/` for publishers.

use std::collections::BTreeSet;

use super::SdpError;
use super::choose::{self, CodecPolicy, Permitted};
use super::description::{
    Description, Direction, MediaSection, RidDirection, SimulcastRid, SsrcGroupKind,
};
use super::text::{Lines, LocalParameters, SCTP_PORT, SessionVersion};
use super::transport::{self, RemoteTransport, Setup};
use crate::base::codec::{Codec, MediaKind};
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::ids::{Mid, Pt, Rid, Ssrc};
use crate::base::limits::{MAX_ENCODINGS, MAX_MEDIA_SECTIONS, MAX_PUBLISHED_TRACKS};

/// What was taken of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The publisher's end of the transport.
    pub transport: RemoteTransport,
    /// One per m-line of the offer, in its order.
    pub sections: Vec<Section>,
}

/// What became of one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// Media that the server receives.
    Receive(ReceiveSection),
    /// The data channel association.
    Data(DataSection),
    /// Answered with port 0.
    Rejected {
        /// Its mid.
        mid: Mid,
        /// Why.
        reason: RejectReason,
    },
}

/// Why an m-line was answered with port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The offer itself has port 0: stopped by the publisher.
    Stopped,
    /// Neither audio, video nor a data channel, or not over DTLS.
    Unknown,
    /// No codec in common.
    NoCodec,
    /// Outside the BUNDLE group of the first accepted section; there is one transport per peer.
    NotBundled,
    /// No `a=rtcp-mux`: RTCP would need a second port.
    NoRtcpMux,
    /// A second data channel association.
    SecondData,
    /// The application has data channels switched off.
    NoData,
    /// `limits::MAX_PUBLISHED_TRACKS` are before it.
    TooMany,
}

/// An accepted audio or video m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSection {
    /// Its mid.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// False when the publisher does not send for the time being; answered `inactive`.
    pub active: bool,
    /// The one codec taken.
    pub codec: Codec,
    /// The publisher's payload type for it.
    pub pt: Pt,
    /// The publisher's payload type for its retransmissions; `None` when it offered none.
    pub rtx_pt: Option<Pt>,
    /// The publisher's payload type for the codec with redundancy (RFC 2198); `None` when it does
    /// not prefer to send that.
    pub red_pt: Option<Pt>,
    /// Format parameters for viewers; empty when the codec has none.
    pub fmtp: String,
    /// Format parameters for the answer.
    pub answer_fmtp: String,
    /// Payload type towards viewers.
    pub server_pt: Pt,
    /// Retransmission payload type towards viewers.
    pub server_rtx_pt: Option<Pt>,
    /// The publisher's ids.
    pub extensions: ExtensionMap,
    /// Simulcast layers in the publisher's order; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Sources declared by `a=ssrc`, each with its retransmission. Several only with simulcast
    /// from before RFC 8853, then lowest layer first. Often empty with `rids`.
    pub ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
    /// The publisher takes generic NACK.
    pub nack: bool,
    /// The publisher takes PLI.
    pub pli: bool,
    /// The publisher takes FIR.
    pub fir: bool,
    /// The publisher takes transport-wide feedback, and has the extension for it.
    pub transport_cc: bool,
    /// The publisher takes REMB.
    pub remb: bool,
}

impl ReceiveSection {
    /// True for the publisher's payload types of the codec, with and without redundancy.
    pub fn has_media_pt(&self, pt: Pt) -> bool {
        self.pt == pt || self.red_pt == Some(pt)
    }
}

/// An accepted data channel m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSection {
    /// Its mid.
    pub mid: Mid,
    /// The remote SCTP port; 5000 when not said.
    pub sctp_port: u16,
    /// Bytes of the longest message that the remote side takes; 65536 when not said,
    /// `u32::MAX` when any size is fine (RFC 8841 §6.1).
    pub max_message_size: u32,
}

impl DataSection {
    pub(super) fn of(section: &MediaSection) -> Self {
        Self {
            mid: section.mid.clone(),
            sctp_port: section.sctp_port.unwrap_or(SCTP_PORT),
            max_message_size: match section.max_message_size {
                None => 65_536,
                Some(0) => u32::MAX,
                Some(size) => size,
            },
        }
    }
}

/// Decides on every m-line of `offer`.
///
/// # Errors
/// `NothingAccepted` when no section can be taken; `Setup` when the publisher insists on being the
/// DTLS server; `OpusParameters`, `MissingIce`, `MissingFingerprint`, `IceLite`.
pub fn negotiate(offer: &Description, policy: &CodecPolicy) -> Result<Negotiated, SdpError> {
    renegotiate(offer, policy, &[])
}

/// The same for a later offer of a publisher whose m-lines are `known`, in use or not. Viewers were
/// offered their codecs, so an m-line that is known keeps its codec, whatever `policy` says by now;
/// when that is not offered any more, it is rejected.
///
/// # Errors
/// As [`negotiate`]; `TooManySections` when all m-lines that ever were would be more than
/// `limits::MAX_MEDIA_SECTIONS`.
pub fn renegotiate(
    offer: &Description,
    policy: &CodecPolicy,
    known: &[ReceiveSection],
) -> Result<Negotiated, SdpError> {
    let known_as = |mid: &Mid| known.iter().find(|section| section.mid == *mid);
    let come = offer.media.iter().filter(|s| known_as(&s.mid).is_none());
    if known.len() + come.count() > MAX_MEDIA_SECTIONS {
        return Err(SdpError::TooManySections);
    }
    let mux = offer.media.iter().any(|s| s.bundled && s.rtcp_mux);
    let mut leader: Option<(usize, bool)> = None;
    let mut has_data = false;
    let mut tracks = 0;
    let mut sections = Vec::with_capacity(offer.media.len());
    for (at, section) in offer.media.iter().enumerate() {
        let joins = leader.is_none_or(|(_, bundled)| bundled && section.bundled);
        let muxed = section.rtcp_mux || (section.bundled && mux);
        let permitted = match known_as(&section.mid) {
            Some(kept) => Permitted::Kept(kept),
            None => Permitted::By(policy),
        };
        let so_far = SoFar {
            joins,
            muxed,
            has_data,
            tracks,
        };
        let decided = decide(section, policy, permitted, so_far)?;
        match &decided {
            Section::Data(_) => has_data = true,
            Section::Receive(receive) => tracks += usize::from(receive.active),
            Section::Rejected { .. } => {}
        }
        if !matches!(decided, Section::Rejected { .. }) {
            leader.get_or_insert((at, section.bundled));
        }
        sections.push(decided);
    }
    let (first, _) = leader.ok_or(SdpError::NothingAccepted)?;
    match transport::setup_of(offer, first) {
        Some(Setup::Active | Setup::ActPass) | None => {}
        Some(Setup::Passive | Setup::HoldConn) => return Err(SdpError::Setup),
    }
    let transport = RemoteTransport::of(offer, first)?;
    Ok(Negotiated {
        transport,
        sections,
    })
}

/// What the m-lines before one leave for it.
struct SoFar {
    /// It is in the BUNDLE group of the first one.
    joins: bool,
    muxed: bool,
    has_data: bool,
    /// How many of them are sent.
    tracks: usize,
}

fn decide(
    section: &MediaSection,
    policy: &CodecPolicy,
    permitted: Permitted<'_>,
    so_far: SoFar,
) -> Result<Section, SdpError> {
    let reject = |reason| {
        let mid = section.mid.clone();
        Ok(Section::Rejected { mid, reason })
    };
    if section.rejected {
        return reject(RejectReason::Stopped);
    }
    if section.is_data_channel() {
        if !policy.allows_data_channels() {
            return reject(RejectReason::NoData);
        }
        return match (so_far.joins, so_far.has_data) {
            (true, false) => Ok(Section::Data(DataSection::of(section))),
            (true, true) => reject(RejectReason::SecondData),
            (false, _) => reject(RejectReason::NotBundled),
        };
    }
    let Some(kind) = section.media_kind().filter(|_| section.is_rtp()) else {
        return reject(RejectReason::Unknown);
    };
    if !so_far.joins {
        return reject(RejectReason::NotBundled);
    }
    if !so_far.muxed {
        return reject(RejectReason::NoRtcpMux);
    }
    if section.direction.sends() && so_far.tracks >= MAX_PUBLISHED_TRACKS {
        return reject(RejectReason::TooMany);
    }
    let Some(choice) = choose::choose(section, permitted)? else {
        return reject(RejectReason::NoCodec);
    };
    let mut receive = receive(section, kind, &choice);
    // Its tracks are there, and their number stays.
    if let Permitted::Kept(kept) = permitted {
        let offered = std::mem::replace(&mut receive.rids, kept.rids.clone());
        receive.rids.retain(|rid| offered.contains(rid));
    }
    Ok(Section::Receive(receive))
}

fn receive(section: &MediaSection, kind: MediaKind, choice: &choose::Choice<'_>) -> ReceiveSection {
    let (codec, format) = (choice.codec, choice.format);
    let fmtp = choose::viewer_fmtp(codec, format);
    let (server_pt, server_rtx_pt) = codec.server_pts(&fmtp);
    let extensions = extensions(section, kind);
    let has = |kind| extensions.id(kind).is_some();
    ReceiveSection {
        mid: section.mid.clone(),
        kind,
        active: section.direction.sends(),
        codec,
        pt: format.pt,
        rtx_pt: choice.rtx,
        red_pt: choice.red,
        answer_fmtp: choose::publisher_fmtp(codec, format),
        fmtp,
        server_pt,
        server_rtx_pt,
        rids: if has(ExtensionKind::Rid) {
            simulcast_rids(section, format.pt)
        } else {
            Vec::new()
        },
        ssrcs: sources(section),
        nack: format.feedback.nack,
        pli: format.feedback.pli,
        fir: format.feedback.fir,
        transport_cc: format.feedback.transport_cc && has(ExtensionKind::TransportCc),
        remb: format.feedback.remb,
        extensions,
    }
}

/// The offered extensions that are of use, unless the publisher will not send them.
fn extensions(section: &MediaSection, kind: MediaKind) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for extmap in section.extmaps.iter().filter(|e| e.sends()) {
        let wanted = match extmap.kind {
            ExtensionKind::AudioLevel => kind == MediaKind::Audio,
            // Nothing here reads it and viewers are not told of it.
            ExtensionKind::VideoTiming => false,
            ExtensionKind::TransportCc
            | ExtensionKind::Mid
            | ExtensionKind::Rid
            | ExtensionKind::RepairedRid
            | ExtensionKind::AbsSendTime
            | ExtensionKind::VideoOrientation
            | ExtensionKind::AbsCaptureTime
            | ExtensionKind::PlayoutDelay
            | ExtensionKind::VideoContentType
            | ExtensionKind::ColorSpace
            | ExtensionKind::DependencyDescriptor
            | ExtensionKind::VideoLayersAllocation => true,
        };
        if wanted {
            map.insert(extmap.kind, extmap.id);
        }
    }
    map
}

/// The layers that can be received with payload type `pt`: of each, the first alternative that is
/// declared for sending and not restricted to other payload types. A lone `a=rid` without
/// `a=simulcast` counts as one layer.
fn simulcast_rids(section: &MediaSection, pt: Pt) -> Vec<Rid> {
    let usable = |rid: &Rid| {
        section.rids.iter().any(|line| {
            &line.rid == rid
                && line.direction == RidDirection::Send
                && (line.pts.is_empty() || line.pts.contains(&pt))
        })
    };
    let layers = &section.simulcast.send;
    if layers.is_empty() {
        let mut lone = section.rids.iter().filter(|line| usable(&line.rid));
        return match (lone.next(), lone.next()) {
            (Some(line), None) => vec![line.rid.clone()],
            (_, _) => Vec::new(),
        };
    }
    let mut rids: Vec<Rid> = Vec::with_capacity(layers.len());
    for layer in layers {
        let fresh = |r: &&SimulcastRid| usable(&r.rid) && !rids.contains(&r.rid);
        if let Some(layer) = layer.iter().find(fresh) {
            rids.push(layer.rid.clone());
        }
    }
    rids.truncate(MAX_ENCODINGS);
    rids
}

/// Declared media sources with their retransmission; repair sources are left out.
fn sources(section: &MediaSection) -> Vec<(Ssrc, Option<Ssrc>)> {
    let groups = &section.ssrc_groups;
    let repairing = groups.iter().filter(|g| g.kind != SsrcGroupKind::Sim);
    let secondary = repairing.flat_map(|g| g.ssrcs.iter().skip(1));
    let secondary: BTreeSet<&Ssrc> = secondary.collect();
    let rtx = |ssrc: Ssrc| {
        let own = groups
            .iter()
            .find(|g| g.kind == SsrcGroupKind::Fid && g.ssrcs.first() == Some(&ssrc));
        own.and_then(|g| g.ssrcs.get(1).copied())
    };
    let layered = groups
        .iter()
        .filter(|g| g.kind == SsrcGroupKind::Sim)
        .flat_map(|g| g.ssrcs.iter().copied());
    let mut found: Vec<Ssrc> = Vec::new();
    for ssrc in layered.chain(section.ssrcs.iter().map(|line| line.ssrc)) {
        let known = section.ssrcs.iter().any(|line| line.ssrc == ssrc);
        if known && !secondary.contains(&ssrc) && !found.contains(&ssrc) {
            found.push(ssrc);
        }
    }
    found.into_iter().map(|ssrc| (ssrc, rtx(ssrc))).collect()
}

/// The answer's text. `negotiated` is what [`negotiate`] made of the same `offer`.
pub fn write(
    offer: &Description,
    negotiated: &Negotiated,
    local: &LocalParameters,
    session: SessionVersion,
) -> String {
    let pairs = || offer.media.iter().zip(&negotiated.sections);
    let bundle = pairs()
        .filter(|(s, n)| s.bundled && !matches!(n, Section::Rejected { .. }))
        .map(|(s, _)| &s.mid);
    let mut lines = Lines::new(session, bundle, offer.extmap_allow_mixed);
    let mut first = true;
    for (section, decided) in pairs() {
        let (port, formats) = match decided {
            Section::Receive(r) => (9, payload_types(r)),
            Section::Data(_) => (9, section.first_format.clone()),
            Section::Rejected { .. } => (0, section.first_format.clone()),
        };
        let (media, protocol) = (&section.media_name, &section.protocol);
        lines.put(format_args!("m={media} {port} {protocol} {formats}"));
        lines.connection(matches!(decided, Section::Receive(_)));
        if section.has_mid {
            lines.put(format_args!("a=mid:{}", section.mid));
        }
        if port == 0 {
            lines.put(format_args!("a=inactive"));
            continue;
        }
        lines.transport(local, "passive", first);
        first = false;
        match decided {
            Section::Receive(receive) => write_receive(&mut lines, section, receive),
            Section::Data(_) => lines.data_channel(),
            Section::Rejected { .. } => {}
        }
    }
    lines.finish()
}

fn payload_types(receive: &ReceiveSection) -> String {
    let all = [receive.red_pt, Some(receive.pt), receive.rtx_pt];
    let all: Vec<String> = all.iter().flatten().map(|pt| pt.0.to_string()).collect();
    all.join(" ")
}

fn write_receive(lines: &mut Lines, offered: &MediaSection, receive: &ReceiveSection) {
    for extmap in &offered.extmaps {
        if receive.extensions.id(extmap.kind) == Some(extmap.id) {
            let one_way = extmap.direction == Some(Direction::SendOnly);
            let direction = if one_way { "/recvonly" } else { "" };
            let uri = extmap.kind.uri();
            lines.put(format_args!("a=extmap:{}{direction} {uri}", extmap.id));
        }
    }
    let direction = if receive.active {
        Direction::RecvOnly
    } else {
        Direction::Inactive
    };
    lines.put(format_args!("a={}", direction.as_str()));
    lines.put(format_args!("a=rtcp-mux"));
    if offered.rtcp_rsize {
        lines.put(format_args!("a=rtcp-rsize"));
    }
    lines.codec(receive.codec, receive.pt, &receive.answer_fmtp);
    if let Some(red) = receive.red_pt {
        lines.red(red, receive.pt);
    }
    for (offered, text) in [
        (receive.transport_cc, "transport-cc"),
        (receive.remb, "goog-remb"),
        (receive.fir, "ccm fir"),
        (receive.nack, "nack"),
        (receive.pli, "nack pli"),
    ] {
        if offered {
            lines.put(format_args!("a=rtcp-fb:{} {text}", receive.pt.0));
        }
    }
    if let Some(rtx) = receive.rtx_pt {
        lines.rtx(rtx, receive.pt, receive.codec.clock_hz());
    }
    for rid in &receive.rids {
        lines.put(format_args!("a=rid:{rid} recv"));
    }
    if !receive.rids.is_empty() && !offered.simulcast.send.is_empty() {
        let layers: Vec<&str> = receive.rids.iter().map(Rid::as_str).collect();
        lines.put(format_args!("a=simulcast:recv {}", layers.join(";")));
    }
}
