//! The codecs that Leafcutter forwards, by their SDP names.

/// Audio or video; what an m-line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

/// A media format that is forwarded. RTX, RED and FEC are mechanisms, not codecs, and not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7587, 48 kHz, 2 channels in SDP.
    Opus,
    /// RFC 3551 §4.5.14, static payload type 0.
    Pcmu,
    /// RFC 3551 §4.5.14, static payload type 8.
    Pcma,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// AV1 RTP payload format.
    Av1,
}

impl Codec {
    /// Every codec, in the order of the server's own payload types.
    pub const ALL: [Codec; 8] = [
        Codec::Opus,
        Codec::Pcmu,
        Codec::Pcma,
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
    ];

    /// The encoding name of `a=rtpmap`, in its registered spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Av1 => "AV1",
        }
    }

    /// The codec of an `a=rtpmap` encoding name, compared without case; `None` for others.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// RTP clock rate in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::Pcmu | Codec::Pcma => 8_000,
            Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => 90_000,
        }
    }

    /// Which m-line it belongs in.
    pub const fn kind(self) -> MediaKind {
        match self {
            Codec::Opus | Codec::Pcmu | Codec::Pcma => MediaKind::Audio,
            Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => MediaKind::Video,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_without_case() {
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("vp8"), Some(Codec::Vp8));
        assert_eq!(Codec::from_name("rtx"), None);
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
        }
    }
}
