//! RTP header extensions by meaning: their URIs, the server's own ids, and one peer's id map.
//!
//! Publishers number extensions as their offer says; [`ExtensionMap`] translates. Towards
//! subscribers every peer uses [`ExtensionKind::server_id`], because the server writes the offer.

/// What an extension element means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExtensionKind {
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
    TransportCc,
    /// RFC 9143 / RFC 8843 §15.
    Mid,
    /// RFC 8852 §3.1.
    Rid,
    /// RFC 8852 §3.1, on retransmissions.
    RepairedRid,
    /// RFC 6464 client-to-mixer audio level.
    AudioLevel,
    /// 24-bit send time, for REMB (draft-alvestrand-rmcat-remb-03 §2.4).
    AbsSendTime,
    /// 3GPP TS 26.114 coordination of video orientation.
    VideoOrientation,
    /// Capture time on the sender's clock.
    AbsCaptureTime,
    /// Minimum and maximum playout delay.
    PlayoutDelay,
    /// Screen or camera.
    VideoContentType,
    /// Sender-side frame timing.
    VideoTiming,
    /// Colour space of a key frame.
    ColorSpace,
    /// AV1 RTP specification, appendix A; also used with VP8, VP9 and H.264.
    DependencyDescriptor,
    /// Bitrate and resolution of each simulcast layer, as the sender allots them.
    VideoLayersAllocation,
}

impl ExtensionKind {
    /// Every kind, ordered by server id.
    pub const ALL: [ExtensionKind; 14] = [
        ExtensionKind::TransportCc,
        ExtensionKind::Mid,
        ExtensionKind::Rid,
        ExtensionKind::RepairedRid,
        ExtensionKind::AudioLevel,
        ExtensionKind::AbsSendTime,
        ExtensionKind::VideoOrientation,
        ExtensionKind::AbsCaptureTime,
        ExtensionKind::PlayoutDelay,
        ExtensionKind::VideoContentType,
        ExtensionKind::VideoTiming,
        ExtensionKind::ColorSpace,
        ExtensionKind::DependencyDescriptor,
        ExtensionKind::VideoLayersAllocation,
    ];

    /// The URI of `a=extmap`.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::VideoContentType => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type"
            }
            Self::VideoTiming => "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
            Self::ColorSpace => "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::VideoLayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
        }
    }

    /// The kind of a URI; `None` for extensions that mean nothing to this server.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }

    /// The id this server uses in its own offers, 1..=14: fits the one-byte form (RFC 8285 §4.2).
    pub const fn server_id(self) -> u8 {
        self as u8 + 1
    }

    /// True when the element is passed on to subscribers as it came. The others are hop by hop:
    /// used up here or written anew per subscriber.
    pub const fn is_forwarded(self) -> bool {
        match self {
            Self::AudioLevel
            | Self::VideoOrientation
            | Self::AbsCaptureTime
            | Self::PlayoutDelay
            | Self::VideoContentType
            | Self::ColorSpace
            | Self::DependencyDescriptor => true,
            Self::TransportCc
            | Self::Mid
            | Self::Rid
            | Self::RepairedRid
            | Self::AbsSendTime
            | Self::VideoTiming
            | Self::VideoLayersAllocation => false,
        }
    }
}

/// Ids of one m-line as its peer numbers them, 1..=255 (RFC 8285 §4.3 two-byte form).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    ids: [u8; ExtensionKind::ALL.len()],
}

impl ExtensionMap {
    /// The map of this server's own offers, holding every kind.
    pub fn server() -> Self {
        let mut map = Self::default();
        for kind in ExtensionKind::ALL {
            map.insert(kind, kind.server_id());
        }
        map
    }

    /// Sets the id of `kind`; 0 removes it.
    pub fn insert(&mut self, kind: ExtensionKind, id: u8) {
        if let Some(slot) = self.ids.get_mut(kind as usize) {
            *slot = id;
        }
    }

    /// The id of `kind`; `None` when it was not negotiated.
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        self.ids.get(kind as usize).copied().filter(|&id| id != 0)
    }

    /// The kind that `id` means; `None` for ids not negotiated and for 0 (padding).
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        if id == 0 {
            return None;
        }
        let at = self.ids.iter().position(|&known| known == id)?;
        ExtensionKind::ALL.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_ids_fit_the_one_byte_form_and_lead_back() {
        let map = ExtensionMap::server();
        for kind in ExtensionKind::ALL {
            assert!((1..=14).contains(&kind.server_id()));
            assert_eq!(map.kind(kind.server_id()), Some(kind));
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(kind));
        }
        assert_eq!(map.kind(0), None);
        assert_eq!(ExtensionMap::default().id(ExtensionKind::Mid), None);
    }
}
