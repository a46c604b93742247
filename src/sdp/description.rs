//! What a parsed description holds: one [`MediaSection`] per m-line, in order.
//!
//! RFC 8866 §5 with the attributes of RFC 8829 that this server acts on; all else is dropped while
//! parsing. Plain data: `parse.rs` fills it, `answer` and `offer` read it.

use super::format::Format;
use super::transport::{Fingerprint, IceParameters, Setup};
use crate::base::codec::MediaKind;
use crate::base::extension::ExtensionKind;
use crate::base::ids::{Mid, Pt, Rid, Ssrc};

/// A whole offer or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `sess-version` of the o-line (RFC 8866 §5.2); 0 when it is no number.
    pub session_version: u64,
    /// Mids of the first `a=group:BUNDLE` (RFC 8843); empty when there is none.
    pub bundle: Vec<Mid>,
    /// `a=ice-lite` (RFC 8839 §5.3).
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` (RFC 8285 §6) for the session or for every RTP section.
    pub extmap_allow_mixed: bool,
    /// The m-lines in order, at most `limits::MAX_MEDIA_SECTIONS`.
    pub media: Vec<MediaSection>,
}

/// One m-line with its attributes; session-level values are already copied in where they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSection {
    /// What the m-line carries.
    pub kind: SectionKind,
    /// Port 0 without `a=bundle-only`: refused or stopped.
    pub rejected: bool,
    /// `a=mid`; made up (`~0`, `~1`, by position) when `has_mid` is false.
    pub mid: Mid,
    /// False when the text had no mid here.
    pub has_mid: bool,
    /// The mid is in [`Description::bundle`].
    pub bundled: bool,
    /// `sendrecv` when the text says nothing (RFC 8866 §6.7).
    pub direction: Direction,
    /// Section or session level.
    pub ice: Option<IceParameters>,
    /// Section or session level; hashes from SHA-256 up only.
    pub fingerprints: Vec<Fingerprint>,
    /// Section or session level.
    pub setup: Option<Setup>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// Payload types in the m-line's order of preference, at most `limits::MAX_FORMATS`.
    pub formats: Vec<Format>,
    /// Header extensions that this server knows, each kind once.
    pub extmaps: Vec<Extmap>,
    /// `a=ssrc` (RFC 5576), at most `limits::MAX_SSRCS_PER_PEER`.
    pub ssrcs: Vec<SsrcLine>,
    /// `a=ssrc-group` (RFC 5576), at most `limits::MAX_SSRCS_PER_PEER`.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// `a=rid` (RFC 8851), at most `limits::MAX_SSRCS_PER_PEER`.
    pub rids: Vec<RidLine>,
    /// `a=simulcast` (RFC 8853).
    pub simulcast: Simulcast,
    /// `a=msid` (RFC 8830) behind the colon: stream id, blank, track id.
    pub msid: Option<String>,
    /// `candidate:...` texts, at most `limits::MAX_REMOTE_CANDIDATES`.
    pub candidates: Vec<String>,
    /// `a=end-of-candidates` (RFC 8840).
    pub end_of_candidates: bool,
    /// `a=sctp-port` (RFC 8841 §5).
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` (RFC 8841 §6) in bytes, saturated; 0 means any size.
    pub max_message_size: Option<u32>,
    /// First, third and fourth field of the m-line as they came, to be echoed when refused.
    pub(super) media_name: String,
    pub(super) protocol: String,
    pub(super) first_format: String,
}

impl MediaSection {
    /// Audio or video; `None` for data channels and unknown media.
    pub fn media_kind(&self) -> Option<MediaKind> {
        match self.kind {
            SectionKind::Audio => Some(MediaKind::Audio),
            SectionKind::Video => Some(MediaKind::Video),
            SectionKind::Application | SectionKind::Other => None,
        }
    }

    /// The id that the remote side gave to `kind` and its direction.
    pub fn extmap(&self, kind: ExtensionKind) -> Option<&Extmap> {
        self.extmaps.iter().find(|e| e.kind == kind)
    }

    /// True for RTP in one of the profiles that RFC 8829 §5.1.2 says to take as DTLS-SRTP.
    pub fn is_rtp(&self) -> bool {
        let protocol = self.protocol.as_str();
        let profile = protocol
            .strip_prefix("UDP/TLS/")
            .or_else(|| protocol.strip_prefix("TCP/TLS/"))
            .or_else(|| protocol.strip_prefix("TCP/DTLS/"))
            .unwrap_or(protocol);
        matches!(profile, "RTP/SAVPF" | "RTP/SAVP" | "RTP/AVPF" | "RTP/AVP")
    }

    /// True for `UDP/DTLS/SCTP webrtc-datachannel` (RFC 8841 §4).
    pub fn is_data_channel(&self) -> bool {
        self.kind == SectionKind::Application
            && matches!(self.protocol.as_str(), "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
            && self.first_format == "webrtc-datachannel"
    }
}

/// The first field of an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application`.
    Application,
    /// Anything else; always refused.
    Other,
}

/// RFC 8866 §6.7, from the point of view of whoever wrote the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// The writer sends.
    SendOnly,
    /// The writer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The attribute that says so.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction of that name; `None` for any other attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|d| d.as_str() == name)
    }

    /// The writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The writer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// `a=extmap:<id>["/"<direction>] <URI>` (RFC 8285 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extmap {
    /// 1..=14 or 16..=255; 15 is reserved (RFC 8285 §4.2).
    pub id: u8,
    /// The meaning of the URI.
    pub kind: ExtensionKind,
    /// `None` when the line names no direction: that of the section.
    pub direction: Option<Direction>,
}

impl Extmap {
    /// The writer may put the element into packets it sends.
    pub fn sends(&self) -> bool {
        self.direction.is_none_or(Direction::sends)
    }

    /// The writer understands the element in packets it receives.
    pub fn receives(&self) -> bool {
        self.direction.is_none_or(Direction::receives)
    }
}

/// What the `a=ssrc` lines of one SSRC say (RFC 5576 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcLine {
    /// The source.
    pub ssrc: Ssrc,
    /// `cname:`.
    pub cname: Option<String>,
    /// `msid:`: stream id, blank, track id.
    pub msid: Option<String>,
}

/// `a=ssrc-group` (RFC 5576 §4.2); at least two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// What the members are to each other.
    pub kind: SsrcGroupKind,
    /// In the order of the line, at most `limits::MAX_SSRCS_PER_PEER`.
    pub ssrcs: Vec<Ssrc>,
}

/// Semantics of an SSRC group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SsrcGroupKind {
    /// `FID`: media, then its retransmission (RFC 5576 §4.2, RFC 4588 §8.3).
    Fid,
    /// `SIM`: simulcast layers of clients from before RFC 8853, lowest first.
    Sim,
    /// `FEC`, `FEC-FR`: media, then its repair packets (RFC 5956 §4.3).
    Fec,
}

/// `a=rid` (RFC 8851 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RidLine {
    /// The identifier.
    pub rid: Rid,
    /// As seen by the writer.
    pub direction: RidDirection,
    /// `pt=`: the payload types it is restricted to; empty means all.
    pub pts: Vec<Pt>,
    /// `max-width` in pixels.
    pub max_width: Option<u32>,
    /// `max-height` in pixels.
    pub max_height: Option<u32>,
    /// `max-fps` in frames per second.
    pub max_fps: Option<u32>,
    /// `max-br` in bits per second.
    pub max_rate_bps: Option<u32>,
}

/// The direction of an `a=rid` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RidDirection {
    /// The writer sends it.
    Send,
    /// The writer receives it.
    Recv,
}

/// `a=simulcast` (RFC 8853 §5.1): layers in order of preference, alternatives within each layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulcast {
    /// What the writer sends; empty when nothing is said.
    pub send: Vec<Vec<SimulcastRid>>,
    /// What the writer receives; empty when nothing is said.
    pub recv: Vec<Vec<SimulcastRid>>,
}

/// One alternative of a simulcast layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulcastRid {
    /// Names an `a=rid` line.
    pub rid: Rid,
    /// Starts paused (`~`).
    pub paused: bool,
}
