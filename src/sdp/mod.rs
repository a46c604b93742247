//! SDP: parses what clients send, answers publishers, offers to players.
//!
//! RFC 8866 (SDP), RFC 8829 (JSEP), RFC 8843 (BUNDLE), RFC 8853 (simulcast), RFC 8841 (data
//! channels). Keeps no state between two descriptions, gathers no candidates and knows no peer:
//! `peer/` calls [`parse()`], [`answer::negotiate`], [`offer::write`] and [`offer::apply_answer`]
//! and holds what they return.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

use std::fmt;

mod accept;
pub mod answer;
mod attribute;
mod choose;
mod description;
mod format;
pub mod fragment;
pub mod offer;
mod parse;
pub mod player;
mod section;
mod text;
mod transport;

pub use choose::CodecPolicy;
pub use description::{
    Description, Direction, Extmap, MediaSection, RidDirection, RidLine, SectionKind, Simulcast,
    SimulcastRid, SsrcGroup, SsrcGroupKind, SsrcLine,
};
pub use format::{Feedback, Format, FormatRole};
pub use parse::parse;
pub use text::{LocalParameters, SessionVersion};
pub use transport::{Fingerprint, HashFunction, IceParameters, RemoteTransport, Setup};

/// Why a description was refused. The whole description is: nothing of it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SdpError {
    /// More bytes than `limits::MAX_SDP_LEN`.
    TooLong,
    /// A line with more bytes than `limits::MAX_SDP_LINE_LEN`.
    LineTooLong,
    /// More m-lines than `limits::MAX_MEDIA_SECTIONS`.
    TooManySections,
    /// Does not begin with `v=0`.
    NotSdp,
    /// An m-line without its four fields, or with a port or payload type that is no number.
    MalformedMedia,
    /// `a=mid` longer than 16 bytes or not a token.
    MalformedMid,
    /// Some m-lines have a mid and this one has none.
    MissingMid,
    /// Two m-lines have the same mid.
    DuplicateMid,
    /// A dynamic payload type has no `a=rtpmap`.
    MissingRtpmap,
    /// One payload type has two meanings, within an m-line or within the BUNDLE group
    /// (RFC 8843 §10.1.1).
    FormatConflict,
    /// One header extension id has two meanings within an m-line (RFC 8285 §5).
    ExtmapConflict,
    /// Opus that is not `opus/48000/2` (RFC 7587 §7).
    OpusParameters,
    /// No `a=ice-ufrag` or `a=ice-pwd` for the section that carries the transport.
    MissingIce,
    /// `a=ice-ufrag` or `a=ice-pwd` of a length or charset that RFC 8839 §5.4 does not allow.
    MalformedIce,
    /// The remote side is ICE-lite as this server is: nobody would check the path.
    IceLite,
    /// No usable fingerprint: none at all, or only hashes that RFC 8122 §5 calls broken (SHA-1,
    /// MD5).
    MissingFingerprint,
    /// `a=setup` values that contradict each other, or that would make this server the DTLS
    /// client.
    Setup,
    /// No section of the offer can be accepted: no common codec and no data channel.
    NothingAccepted,
    /// An answer whose m-lines are not those of the offer: it answers an older one.
    Mismatch,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "SDP is too long",
            Self::LineTooLong => "an SDP line is too long",
            Self::TooManySections => "too many m-lines",
            Self::NotSdp => "SDP does not begin with v=0",
            Self::MalformedMedia => "malformed m-line",
            Self::MalformedMid => "malformed mid",
            Self::MissingMid => "an m-line has no mid",
            Self::DuplicateMid => "two m-lines have the same mid",
            Self::MissingRtpmap => "a dynamic payload type has no rtpmap",
            Self::FormatConflict => "a payload type has two meanings",
            Self::ExtmapConflict => "a header extension id has two meanings",
            Self::OpusParameters => "opus must be opus/48000/2",
            Self::MissingIce => "no ice-ufrag and ice-pwd",
            Self::MalformedIce => "malformed ice-ufrag or ice-pwd",
            Self::IceLite => "both sides are ICE-lite",
            Self::MissingFingerprint => "no usable certificate fingerprint",
            Self::Setup => "unusable or conflicting setup attributes",
            Self::NothingAccepted => "no m-line can be accepted",
            Self::Mismatch => "the answer does not belong to the latest offer",
        })
    }
}

impl std::error::Error for SdpError {}

#[cfg(test)]
mod tests;
