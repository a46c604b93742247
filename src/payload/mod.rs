//! What an SFU must read from, or patch in, the payload of an RTP packet, per codec.
//!
//! Payload formats: RFC 7741 (VP8), RFC 9628 (VP9), RFC 6184 (H.264), RFC 7798 (H.265), the AV1
//! RTP payload format with its dependency descriptor (Appendix A), RFC 7587 (Opus), RFC 2198
//! (RED). Decodes no pictures, reassembles nothing, keeps no state between packets and never
//! allocates. Called on receipt (`peer/`) to describe a packet once, and by `router/` when it
//! selects and rewrites.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod av1;
mod av1_sequence;
mod bits;
pub mod dependency_descriptor;
pub mod dependency_structure;
pub mod h264;
mod h264_sps;
pub mod h265;
mod h265_sps;
pub mod layers_allocation;
pub mod opus;
pub mod picture_id;
pub mod red;
#[cfg(test)]
pub(crate) mod test_bits;
pub mod vp8;
pub mod vp9;

use crate::base::codec::Codec;

use dependency_descriptor::Descriptor;

/// Width and height of a picture in pixels, each 1..=65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels per row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Resolution {
    /// `None` when either side is 0 or above 65535.
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let width = u16::try_from(width).ok().filter(|&w| w > 0)?;
        let height = u16::try_from(height).ok().filter(|&h| h > 0)?;
        Some(Self { width, height })
    }

    /// Pixels per picture.
    pub const fn pixels(self) -> u32 {
        self.width as u32 * self.height as u32
    }
}

/// What one packet's payload says about the frame it belongs to.
///
/// The default is what a malformed or empty video payload gives: nothing starts, nothing ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// This packet belongs to the start of a key frame: a decoder can begin here. Later packets
    /// of the same key frame say false.
    ///
    /// H.264 and H.265 may say true for several packets of one access unit (SPS first, IDR start
    /// behind it): begin at the first one of a timestamp. Always false for audio, where a decoder
    /// can begin anywhere.
    pub key_frame: bool,
    /// First packet of a frame (VP9 and AV1: of a layer frame). H.264 and H.265 also say true for
    /// parameter sets, delimiters and SEI sent in packets of their own ahead of the first slice.
    pub starts_frame: bool,
    /// Last packet of a frame (VP9, and AV1 with a dependency descriptor: of a layer frame;
    /// elsewhere the RTP marker).
    pub ends_frame: bool,
    /// No other frame of the same or a lower temporal layer is predicted from this one: it may be
    /// left out together with the temporal layers above. False when the payload does not say
    /// (VP9; AV1 without descriptor).
    pub discardable: bool,
    /// Up to which temporal layer one can switch here. 0 when the payload does not say, or says
    /// that one cannot.
    ///
    /// Its own one: who has had the lower layers only can take this frame (VP8's Y). A higher one:
    /// who takes this frame can take that layer's frames that follow (VP9's U, and Switch in
    /// dependency descriptors).
    pub switches_up: u8,
    /// Temporal layer, 0 = base, 0..=7. 0 when the payload does not say.
    pub temporal: u8,
    /// Spatial layer, 0 = base. 0 when the payload does not say.
    pub spatial: u8,
    /// Picture size of the largest spatial layer, from key frame headers, parameter sets or
    /// scalability structures. `None` for packets that carry none of these.
    pub resolution: Option<Resolution>,
}

impl PacketInfo {
    /// Replaces what the payload can only guess by what the descriptor states.
    ///
    /// [`inspect`] does this without a stored structure, so layers are known only on packets that
    /// carry one; a caller that keeps the [`dependency_structure::Structure`] parses with it and
    /// refines again.
    pub fn refine(self, descriptor: &Descriptor<'_>) -> Self {
        let mut info = self;
        info.starts_frame = descriptor.starts_frame;
        info.ends_frame = descriptor.ends_frame;
        if descriptor.has_structure {
            // The structure travels on the first packet of a coded video sequence and nowhere
            // else (AV1 RTP A.4.2), which also tells key frames of end-to-end encrypted payloads.
            info.key_frame |= descriptor.starts_frame;
            info.resolution = info.resolution.or(descriptor.resolution);
        }
        if let Some(frame) = &descriptor.frame {
            info.temporal = frame.temporal;
            info.spatial = frame.spatial;
            info.discardable = frame.discardable;
            info.switches_up = frame.switches_up;
        }
        info
    }
}

/// True for a packet that starts a key frame with what its decoder begins with: H.264 with an SPS,
/// H.265 with a VPS, other codecs always. A slice may depend on parameter sets ahead of it.
pub fn starts_with_parameters(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::summarize(payload).sps,
        Codec::H265 => h265::summarize(payload).vps,
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => true,
        Codec::Opus | Codec::Pcmu | Codec::Pcma => true,
    }
}

/// Describes one packet.
///
/// `payload` is the decrypted RTP payload without padding; `marker` the RTP marker bit;
/// `dependency_descriptor` the content of that header extension when the packet has it, used for
/// the codecs whose payload does not name frame ends and layers itself: H.264, H.265, AV1.
/// Malformed payloads give [`PacketInfo::default`]. Audio: each packet starts and ends a frame.
pub fn inspect(
    codec: Codec,
    payload: &[u8],
    marker: bool,
    dependency_descriptor: Option<&[u8]>,
) -> PacketInfo {
    let info = match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => {
            return PacketInfo {
                starts_frame: true,
                ends_frame: true,
                ..PacketInfo::default()
            };
        }
        Codec::Vp8 => return vp8::inspect(payload, marker),
        Codec::Vp9 => return vp9::inspect(payload),
        Codec::H264 => h264::inspect(payload, marker),
        Codec::H265 => h265::inspect(payload, marker),
        Codec::Av1 => av1::inspect(payload, marker),
    };
    match dependency_descriptor.and_then(|bytes| dependency_descriptor::parse(bytes, None)) {
        Some(descriptor) if !payload.is_empty() => info.refine(&descriptor),
        _ => info,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn audio_packets_are_whole_frames() {
        for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
            let info = inspect(codec, &[0xf8], false, None);
            assert!(info.starts_frame && info.ends_frame && !info.key_frame);
            assert_eq!(info.resolution, None);
        }
    }

    #[test]
    fn an_empty_video_payload_says_nothing() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
            let info = inspect(codec, &[], true, Some(&[0xc0, 0, 1]));
            assert_eq!(info, PacketInfo::default(), "{codec:?}");
        }
    }

    #[test]
    fn a_descriptor_decides_where_h264_frames_begin_and_end() {
        let slice = [0x41, 0x9a, 0x00];
        let plain = inspect(Codec::H264, &slice, false, None);
        assert!(plain.starts_frame && !plain.ends_frame);
        let described = inspect(Codec::H264, &slice, false, Some(&[0x42, 0x00, 0x07]));
        assert!(!described.starts_frame && described.ends_frame && !described.key_frame);
    }

    #[test]
    fn packet_info_stays_small() {
        assert!(size_of::<PacketInfo>() <= 16);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_payloads_never_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            descriptor in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
            marker: bool,
        ) {
            for codec in Codec::ALL {
                let info = inspect(codec, &payload, marker, descriptor.as_deref());
                prop_assert!(info.temporal < 8 && info.spatial < 64);
            }
        }
    }
}
