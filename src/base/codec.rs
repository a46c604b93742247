//! The codecs that Leafcutter forwards: their SDP names and the server's own payload types.
//!
//! The server writes the offer on the play side, so these payload types hold for every viewer. One
//! BUNDLE group may give a payload type only one meaning (RFC 8843 §10.1.1): each variant of a
//! codec that differs in its format parameters has its own.

use super::ids::Pt;

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

/// The server's payload type for Opus with redundancy (RFC 2198).
pub const RED_PT: Pt = Pt(63);

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

    /// The server's payload types for this codec with the format parameters `fmtp` (the text of
    /// `a=fmtp` behind the payload type): media and its retransmission (RFC 4588), which G.711 is
    /// without.
    ///
    /// Every pair is used by one variant only; 64..=95 stay free, where RTP and RTCP could not be
    /// told apart (RFC 5761 §4). The spare pairs of one codec (`H264Profile::Other`, VP9 and AV1
    /// profiles outside the table) are shared by what is left of it.
    pub fn server_pts(self, fmtp: &str) -> (Pt, Option<Pt>) {
        let media = match self {
            Codec::Opus => return (Pt(111), Some(Pt(110))),
            Codec::Pcmu => return (Pt(0), None),
            Codec::Pcma => return (Pt(8), None),
            Codec::Vp8 => 96,
            Codec::Vp9 => match fmtp_number(fmtp, "profile-id").unwrap_or(0) {
                0 => 98,
                2 => 100,
                1 => 35,
                _ => 37,
            },
            Codec::Av1 => match fmtp_number(fmtp, "profile").unwrap_or(0) {
                0 => 45,
                _ => 47,
            },
            Codec::H265 => match fmtp_number(fmtp, "profile-id").unwrap_or(1) {
                1 => 49,
                _ => 51,
            },
            Codec::H264 => h264_server_pt(fmtp),
        };
        (Pt(media), Some(Pt(media + 1)))
    }
}

fn h264_server_pt(fmtp: &str) -> u8 {
    let non_interleaved = fmtp_number(fmtp, "packetization-mode").unwrap_or(0) == 1;
    match (H264Profile::of(fmtp), non_interleaved) {
        (H264Profile::ConstrainedBaseline, true) => 102,
        (H264Profile::ConstrainedBaseline, false) => 104,
        (H264Profile::Baseline, true) => 106,
        (H264Profile::Baseline, false) => 116,
        (H264Profile::Main, true) => 108,
        (H264Profile::Main, false) => 118,
        (H264Profile::ConstrainedHigh, true) => 120,
        (H264Profile::ConstrainedHigh, false) => 124,
        (H264Profile::High, true) => 112,
        (H264Profile::High, false) => 122,
        (H264Profile::High444 | H264Profile::Other, true) => 114,
        (H264Profile::High444 | H264Profile::Other, false) => 126,
    }
}

/// The profiles of RFC 6184 §8.1, table 5, that WebRTC endpoints offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum H264Profile {
    /// 42 with constraint_set1 (`42e0`), and its other spellings by way of 4d.
    ConstrainedBaseline,
    /// 42 without constraint_set1.
    Baseline,
    /// 4d without constraint_set0.
    Main,
    /// 64 with constraint_set4 and 5 (`640c`).
    ConstrainedHigh,
    /// 64 without both.
    High,
    /// f4, High 4:4:4 Predictive.
    High444,
    /// Any other, or a `profile-level-id` that is not six hexadecimal digits.
    Other,
}

impl H264Profile {
    /// The profile that `fmtp` names; Baseline when it names none (RFC 6184 §8.1).
    pub fn of(fmtp: &str) -> Self {
        let Some(text) = fmtp_parameter(fmtp, "profile-level-id") else {
            return Self::Baseline;
        };
        let hex = text.len() == 6 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let Some(id) = u32::from_str_radix(text, 16).ok().filter(|_| hex) else {
            return Self::Other;
        };
        let constraints = (id >> 8) & 0xff;
        match id >> 16 {
            0x42 if constraints & 0x40 != 0 => Self::ConstrainedBaseline,
            0x42 => Self::Baseline,
            0x4d if constraints & 0x80 != 0 => Self::ConstrainedBaseline,
            0x4d => Self::Main,
            0x64 if constraints & 0x0c == 0x0c => Self::ConstrainedHigh,
            0x64 => Self::High,
            0xf4 => Self::High444,
            _ => Self::Other,
        }
    }
}

/// The value of `key` in format parameters, blanks around both removed; `None` when `key` is
/// absent, `""` when it has no value.
///
/// INTEROP(ant-sdk): the JavaScript and Flutter SDKs write `useinbandfec=1; stereo=1`.
pub fn fmtp_parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

fn fmtp_number(fmtp: &str, key: &str) -> Option<u32> {
    fmtp_parameter(fmtp, key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_variants_share_a_payload_type() {
        let variants = [
            (Codec::Opus, "minptime=10;useinbandfec=1"),
            (Codec::Pcmu, ""),
            (Codec::Pcma, ""),
            (Codec::Vp8, ""),
            (Codec::Vp9, "profile-id=0"),
            (Codec::Vp9, "profile-id=1"),
            (Codec::Vp9, "profile-id=2"),
            (Codec::Vp9, "profile-id=3"),
            (Codec::Av1, "profile=0"),
            (Codec::Av1, "profile=1"),
            (Codec::H265, "profile-id=1"),
            (Codec::H265, "profile-id=2"),
            (Codec::H264, "packetization-mode=1;profile-level-id=42e01f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=42e01f"),
            (Codec::H264, "packetization-mode=1;profile-level-id=42001f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=42001f"),
            (Codec::H264, "packetization-mode=1;profile-level-id=4d001f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=4d001f"),
            (Codec::H264, "packetization-mode=1;profile-level-id=640c1f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=640c1f"),
            (Codec::H264, "packetization-mode=1;profile-level-id=64001f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=64001f"),
            (Codec::H264, "packetization-mode=1;profile-level-id=f4001f"),
            (Codec::H264, "packetization-mode=0;profile-level-id=f4001f"),
        ];
        let mut seen = vec![RED_PT];
        for (codec, fmtp) in variants {
            let (media, rtx) = codec.server_pts(fmtp);
            seen.push(media);
            seen.extend(rtx);
            assert_eq!(rtx.is_none(), matches!(codec, Codec::Pcmu | Codec::Pcma));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert!(seen.iter().all(|pt| pt.0 < 64 || (96..128).contains(&pt.0)));
    }

    #[test]
    fn payload_types_follow_the_format_parameters() {
        for (codec, fmtp, pt) in [
            (
                Codec::H264,
                "profile-level-id=42E034; packetization-mode=1",
                102,
            ),
            (
                Codec::H264,
                "profile-level-id=42c01f;packetization-mode=1",
                102,
            ),
            (
                Codec::H264,
                "profile-level-id=4de01f;packetization-mode=1",
                102,
            ),
            (Codec::H264, "", 116),
            (
                Codec::H264,
                "profile-level-id=f4001f;packetization-mode=1",
                114,
            ),
            (Codec::Vp9, "", 98),
            (Codec::Vp9, "profile-id=2", 100),
            (Codec::Av1, "", 45),
            (Codec::H265, "level-id=93", 49),
        ] {
            assert_eq!(codec.server_pts(fmtp).0, Pt(pt), "{codec:?} {fmtp}");
        }
    }

    #[test]
    fn format_parameters_are_found_between_blanks() {
        let fmtp = "minptime=10;useinbandfec=1; Stereo = 1 ;cbr";
        assert_eq!(fmtp_parameter(fmtp, "stereo"), Some("1"));
        assert_eq!(fmtp_parameter(fmtp, "cbr"), Some(""));
        assert_eq!(fmtp_parameter(fmtp, "mono"), None);
    }

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
