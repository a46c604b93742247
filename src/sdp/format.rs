//! One payload type of an m-line: what `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` say about it.
//!
//! RFC 8866 §6.6 and §6.15, RFC 4585 §4.2. Which one is chosen is `choose.rs`.

use crate::base::codec::{self, Codec};
use crate::base::ids::Pt;

/// One payload type with its mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The payload type.
    pub pt: Pt,
    /// Encoding name as written; empty for a static payload type other than PCMU and PCMA.
    pub name: String,
    /// RTP clock rate in Hz; 0 when `name` is empty.
    pub clock_hz: u32,
    /// Channels of audio; 1 when the mapping names none.
    pub channels: u8,
    /// `a=fmtp` behind the payload type, as written; empty when there is none.
    pub fmtp: String,
    /// `a=rtcp-fb`, wildcard lines included.
    pub feedback: Feedback,
}

/// RTCP feedback that is acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `nack` (RFC 4585 §6.2.1).
    pub nack: bool,
    /// `nack pli` (RFC 4585 §6.3.1).
    pub pli: bool,
    /// `ccm fir` (RFC 5104 §7.1).
    pub fir: bool,
    /// `transport-cc`.
    pub transport_cc: bool,
    /// `goog-remb`.
    pub remb: bool,
}

impl Feedback {
    /// Adds what the rest of one `a=rtcp-fb` line asks for; unknown kinds are dropped.
    pub(super) fn add(&mut self, text: &str) {
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("nack"), None) => self.nack = true,
            (Some("nack"), Some("pli")) => self.pli = true,
            (Some("ccm"), Some("fir")) => self.fir = true,
            (Some("transport-cc"), _) => self.transport_cc = true,
            (Some("goog-remb"), _) => self.remb = true,
            (_, _) => {}
        }
    }

    /// What either of two sets asks for.
    pub(super) fn or(self, other: Feedback) -> Feedback {
        Feedback {
            nack: self.nack || other.nack,
            pli: self.pli || other.pli,
            fir: self.fir || other.fir,
            transport_cc: self.transport_cc || other.transport_cc,
            remb: self.remb || other.remb,
        }
    }
}

/// What a payload type is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatRole {
    /// A codec that this server forwards.
    Media(Codec),
    /// Retransmission (RFC 4588) of the payload type `apt`; `None` when it names none.
    Rtx(Option<Pt>),
    /// Redundant audio, or the wrapping of video's FEC (RFC 2198); never chosen by itself.
    Red,
    /// RFC 5109 (`ulpfec`) and RFC 8627 (`flexfec`, `flexfec-03`); never chosen.
    Fec,
    /// Comfort noise, telephone events, codecs that are not forwarded.
    Other,
}

impl Format {
    /// A format as the m-line alone defines it: static PCMU and PCMA are known (RFC 3551 §6).
    pub(super) fn from_pt(pt: Pt) -> Self {
        let (name, clock_hz) = match pt.0 {
            0 => (Codec::Pcmu.name(), Codec::Pcmu.clock_hz()),
            8 => (Codec::Pcma.name(), Codec::Pcma.clock_hz()),
            _ => ("", 0),
        };
        Self {
            pt,
            name: name.to_owned(),
            clock_hz,
            channels: 1,
            fmtp: String::new(),
            feedback: Feedback::default(),
        }
    }

    /// The value of a format parameter, blanks removed; `None` when absent.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        codec::fmtp_parameter(&self.fmtp, key)
    }

    /// The value of a format parameter as a number; `None` when absent or no number.
    pub(super) fn number(&self, key: &str) -> Option<u32> {
        self.parameter(key)?.parse().ok()
    }

    /// What the payload type is for, judged by its encoding name.
    pub fn role(&self) -> FormatRole {
        if let Some(codec) = Codec::from_name(&self.name) {
            return FormatRole::Media(codec);
        }
        let is = |name: &str| self.name.eq_ignore_ascii_case(name);
        if is("rtx") {
            let apt = self.number("apt").and_then(|n| u8::try_from(n).ok());
            FormatRole::Rtx(apt.map(Pt))
        } else if is("red") {
            FormatRole::Red
        } else if is("ulpfec") || is("flexfec") || is("flexfec-03") {
            FormatRole::Fec
        } else {
            FormatRole::Other
        }
    }

    /// True when both give the payload type the same encoding.
    pub(super) fn maps_like(&self, other: &Format) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
            && self.clock_hz == other.clock_hz
            && self.channels == other.channels
    }
}
