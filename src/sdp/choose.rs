//! Which payload type of an offered m-line is taken, and what is said about it to either side.
//!
//! The publisher's order of preference decides (RFC 8829 §5.3.1), with the exceptions that each
//! codec's function names. One codec per m-line, because viewers get what the publisher sends.
//! Called by `answer.rs` and `player.rs`.

use super::SdpError;
use super::answer::ReceiveSection;
use super::description::MediaSection;
use super::format::{Format, FormatRole};
use crate::base::codec::{Codec, H264Profile};
use crate::base::ids::Pt;

/// What may be negotiated: a set of codecs, and whether data channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecPolicy {
    enabled: [bool; Codec::ALL.len()],
    data_channels: bool,
}

impl Default for CodecPolicy {
    fn default() -> Self {
        Self::all()
    }
}

impl CodecPolicy {
    /// Every codec, and data channels.
    pub const fn all() -> Self {
        Self {
            enabled: [true; Codec::ALL.len()],
            data_channels: true,
        }
    }

    /// No codec, and data channels.
    pub const fn none() -> Self {
        Self {
            enabled: [false; Codec::ALL.len()],
            data_channels: true,
        }
    }

    /// The same set with `codec` in or out.
    pub fn with(mut self, codec: Codec, enabled: bool) -> Self {
        if let Some(slot) = self.enabled.get_mut(codec as usize) {
            *slot = enabled;
        }
        self
    }

    /// The same set of codecs, with or without data channels.
    pub fn with_data_channels(mut self, enabled: bool) -> Self {
        self.data_channels = enabled;
        self
    }

    /// True when data channels may be negotiated.
    pub fn allows_data_channels(&self) -> bool {
        self.data_channels
    }

    /// True when `codec` may be negotiated.
    pub fn allows(&self, codec: Codec) -> bool {
        self.enabled.get(codec as usize).copied().unwrap_or(false)
    }
}

/// The payload type taken from an m-line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub codec: Codec,
    pub format: &'a Format,
    /// Retransmission for it.
    pub rtx: Option<Pt>,
    /// Redundancy around it.
    pub red: Option<Pt>,
}

/// What an m-line may be taken with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Permitted<'a> {
    /// Any of these.
    By(&'a CodecPolicy),
    /// What it was taken with before.
    Kept(&'a ReceiveSection),
}

impl Permitted<'_> {
    fn allows(self, codec: Codec, format: &Format) -> bool {
        match self {
            Self::By(policy) => policy.allows(codec),
            // Another profile has another payload type towards viewers.
            Self::Kept(kept) => {
                let server_pt = || codec.server_pts(&viewer_fmtp(codec, format)).0;
                codec == kept.codec && server_pt() == kept.server_pt
            }
        }
    }

    /// Redundancy that viewers were not offered is none.
    fn allows_red(self) -> bool {
        match self {
            Self::By(_) => true,
            Self::Kept(kept) => kept.red_pt.is_some(),
        }
    }

    /// The payload type that it had goes before others of the same codec.
    fn is_new(self, format: &Format) -> bool {
        match self {
            Self::By(_) => false,
            Self::Kept(kept) => kept.pt != format.pt,
        }
    }
}

/// Chooses from `section`; `None` when no codec is in common.
///
/// # Errors
/// `OpusParameters` when the publisher prefers an Opus that is not `opus/48000/2`.
pub(super) fn choose<'a>(
    section: &'a MediaSection,
    permitted: Permitted<'_>,
) -> Result<Option<Choice<'a>>, SdpError> {
    let wanted = |format: &Format| match format.role() {
        FormatRole::Media(codec) => Some(codec)
            .filter(|c| Some(c.kind()) == section.media_kind())
            .filter(|c| permitted.allows(*c, format))
            .filter(|_| is_unambiguous(format.pt)),
        FormatRole::Rtx(_) | FormatRole::Red | FormatRole::Fec | FormatRole::Other => None,
    };
    // A codec without a usable format is looked through once, however often it is offered.
    let mut tried = CodecPolicy::none();
    for first in &section.formats {
        let Some(codec) = wanted(first).filter(|codec| !tried.allows(*codec)) else {
            continue;
        };
        tried = tried.with(codec, true);
        if codec == Codec::Opus && !is_usable(codec, first) {
            return Err(SdpError::OpusParameters);
        }
        let best = section
            .formats
            .iter()
            .filter(|f| f.role() == FormatRole::Media(codec))
            .filter(|f| wanted(f) == Some(codec) && is_usable(codec, f))
            .min_by_key(|f| (permitted.is_new(f), rank(codec, f)));
        if let Some(format) = best {
            return Ok(Some(Choice {
                codec,
                format,
                rtx: rtx_of(section, format),
                red: red_of(section, format).filter(|_| permitted.allows_red()),
            }));
        }
    }
    Ok(None)
}

/// RFC 5761 §4: with the marker bit, 64..=95 look like RTCP.
fn is_unambiguous(pt: Pt) -> bool {
    !(64..=95).contains(&pt.0)
}

/// True when this variant of the codec can be forwarded.
pub(super) fn is_usable(codec: Codec, format: &Format) -> bool {
    let number = |key, default| format.number(key).unwrap_or(default);
    let channels = if codec == Codec::Opus { 2 } else { 1 };
    format.clock_hz == codec.clock_hz()
        && format.channels == channels
        && match codec {
            Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Vp8 => true,
            Codec::Vp9 => number("profile-id", 0) <= 3,
            Codec::Av1 => number("profile", 0) == 0,
            Codec::H264 => {
                number("packetization-mode", 0) <= 1
                    && H264Profile::of(&format.fmtp) != H264Profile::Other
            }
            Codec::H265 => {
                matches!(number("profile-id", 1), 1 | 2)
                    && format.parameter("tx-mode").is_none_or(|m| m == "SRST")
            }
        }
}

/// Lower is better; equals keep the publisher's order.
///
/// INTEROP(firefox): decodes constrained baseline with packetization-mode 1, which every H.264
/// client has; Chrome accepts only a profile that it has in its own list.
fn rank(codec: Codec, format: &Format) -> u8 {
    match codec {
        Codec::H264 => {
            let baseline = H264Profile::of(&format.fmtp) == H264Profile::ConstrainedBaseline;
            match (format.number("packetization-mode"), baseline) {
                (Some(1), true) => 0,
                (Some(1), false) => 1,
                (_, _) => 2,
            }
        }
        Codec::Vp9 => u8::from(format.number("profile-id").unwrap_or(0) != 0),
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::Vp8 | Codec::H265 | Codec::Av1 => 0,
    }
}

pub(super) fn rtx_of(section: &MediaSection, media: &Format) -> Option<Pt> {
    let carries = |f: &&Format| {
        f.role() == FormatRole::Rtx(Some(media.pt))
            && f.clock_hz == media.clock_hz
            && is_unambiguous(f.pt)
    };
    section.formats.iter().find(carries).map(|f| f.pt)
}

/// How the publisher sends Opus with redundancy (RFC 2198 §5): only when it prefers that to Opus
/// alone, and no other encoding is among the blocks.
fn red_of(section: &MediaSection, media: &Format) -> Option<Pt> {
    let is_opus = media.role() == FormatRole::Media(Codec::Opus);
    let is_block = |block: &str| block.trim().parse() == Ok(media.pt.0);
    let carries = |f: &&Format| {
        f.role() == FormatRole::Red
            && (f.clock_hz, f.channels) == (media.clock_hz, media.channels)
            && f.fmtp.split('/').all(is_block)
            && is_unambiguous(f.pt)
    };
    let mut preferred = section.formats.iter().take_while(|f| f.pt != media.pt);
    preferred.find(carries).filter(|_| is_opus).map(|f| f.pt)
}

/// Format parameters for viewers: one text per payload type of [`Codec::server_pts`].
///
/// Levels are fixed instead of repeated, because a payload type may have only one configuration in
/// a BUNDLE group that carries many publishers (RFC 8843 §10.1.1), and decoders take the level
/// from the stream. Out-of-band parameter sets are dropped for the same reason.
pub(super) fn viewer_fmtp(codec: Codec, format: &Format) -> String {
    let number = |key, default| format.number(key).unwrap_or(default);
    match codec {
        Codec::Opus => "minptime=10;useinbandfec=1".to_owned(),
        Codec::Pcmu | Codec::Pcma | Codec::Vp8 => String::new(),
        Codec::Vp9 => format!("profile-id={}", number("profile-id", 0)),
        Codec::Av1 => "level-idx=5;profile=0;tier=0".to_owned(),
        // Level 3.1, the default of RFC 7798 §7.1: no decoder finds it too high.
        Codec::H265 => {
            let profile = number("profile-id", 1);
            format!("level-id=93;profile-id={profile};tier-flag=0;tx-mode=SRST")
        }
        Codec::H264 => {
            let mode = number("packetization-mode", 0);
            let profile = match H264Profile::of(&format.fmtp) {
                H264Profile::ConstrainedBaseline => "42e01f",
                H264Profile::Baseline => "42001f",
                H264Profile::Main => "4d001f",
                H264Profile::ConstrainedHigh => "640c1f",
                H264Profile::High => "64001f",
                H264Profile::High444 | H264Profile::Other => "f4001f",
            };
            format!(
                "level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}"
            )
        }
    }
}

/// Format parameters for the answer to the publisher: what it offered, without the limits of its
/// own decoder, which would limit its encoder when they come back as this server's.
pub(super) fn publisher_fmtp(codec: Codec, format: &Format) -> String {
    let mut kept: Vec<&str> = format
        .fmtp
        .split(';')
        .map(str::trim)
        .filter(|part| {
            let key = part.split('=').next().unwrap_or_default().trim();
            !part.is_empty() && !RECEIVER_LIMITS.iter().any(|l| key.eq_ignore_ascii_case(l))
        })
        .collect();
    // A publisher that announces stereo is asked for it (RFC 7587 §6.1).
    let announces = codec == Codec::Opus && format.parameter("sprop-stereo") == Some("1");
    if announces && format.parameter("stereo").is_none() {
        kept.push("stereo=1");
    }
    kept.join(";")
}

/// RFC 7741 §6.1, RFC 9628 §7, RFC 6184 §8.1, and out-of-band parameter sets.
const RECEIVER_LIMITS: [&str; 8] = [
    "max-fs",
    "max-fr",
    "max-mbps",
    "max-smbps",
    "max-cpb",
    "max-dpb",
    "max-br",
    "sprop-parameter-sets",
];
