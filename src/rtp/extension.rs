//! RTP header extension elements, and the ones an SFU reads (RFC 8285 §4, RFC 6464 §3).
//!
//! Reads only; `canonical` writes. Header extensions are in the clear, so a packet may still be
//! encrypted (extensions encrypted by RFC 6904 or RFC 9335 are not negotiated). Values stay as
//! their sender wrote them: whether a MID exists is for `peer/` to say.

use crate::base::bytes::Reader;
use crate::base::extension::{ExtensionKind, ExtensionMap};

use super::header::RtpHeader;

/// The elements of the extension block of `packet`, whose header is `header`: id and value.
///
/// The one-byte form (profile 0xBEDE) yields ids 1..=14 and values of 1..=16 bytes; id 15 ends it
/// (RFC 8285 §4.2). The two-byte form (0x1000..=0x100F) yields ids 1..=255 and values of 0..=255
/// bytes. Padding is passed over. Empty when there is no block or when its profile is neither
/// form; an element that would pass the block's end ends the iteration.
pub fn elements<'a>(packet: &'a [u8], header: &RtpHeader) -> Elements<'a> {
    let block = header.extension.and_then(|block| {
        let form = Form::of_profile(block.profile)?;
        let end = block.start.checked_add(block.len)?;
        Some((form, packet.get(block.start..end)?))
    });
    let (form, bytes) = block.unwrap_or((Form::OneByte, &[]));
    Elements {
        form,
        rest: Reader::new(bytes),
    }
}

/// Iterator of [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    form: Form,
    rest: Reader<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.element();
        if element.is_none() {
            self.rest = Reader::new(&[]);
        }
        element
    }
}

impl<'a> Elements<'a> {
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let first = self.rest.u8()?;
            let (id, len) = match self.form {
                Form::OneByte => (first >> 4, usize::from(first & 0x0f) + 1),
                Form::TwoByte if first == PADDING_ID => continue,
                Form::TwoByte => (first, usize::from(self.rest.u8()?)),
            };
            match (self.form, id) {
                // INTEROP(chrome): the length bits beside id 0 are not looked at there either.
                (Form::OneByte, PADDING_ID) => {}
                (Form::OneByte, STOP_ID) => return None,
                (Form::OneByte | Form::TwoByte, _) => return Some((id, self.rest.take(len)?)),
            }
        }
    }
}

/// How elements are written.
///
/// ```text
/// one-byte (RFC 8285 §4.2)      two-byte (RFC 8285 §4.3)
///  0 1 2 3 4 5 6 7               0                   1
/// +-+-+-+-+-+-+-+-+              0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
/// |  ID   |len - 1|             +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// +-+-+-+-+-+-+-+-+             |       ID      |     length    |
///                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    OneByte,
    TwoByte,
}

impl Form {
    pub(super) fn of_profile(profile: u16) -> Option<Self> {
        if profile == ONE_BYTE_PROFILE {
            Some(Form::OneByte)
        } else if profile & 0xfff0 == TWO_BYTE_PROFILE {
            Some(Form::TwoByte)
        } else {
            None
        }
    }

    /// The "defined by profile" bits; the two-byte form's application bits are 0.
    pub(super) const fn profile(self) -> u16 {
        match self {
            Form::OneByte => ONE_BYTE_PROFILE,
            Form::TwoByte => TWO_BYTE_PROFILE,
        }
    }

    /// Bytes before each value.
    pub(super) const fn element_header_len(self) -> usize {
        match self {
            Form::OneByte => 1,
            Form::TwoByte => 2,
        }
    }
}

/// Profile of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;

/// Profile of the two-byte form; its low 4 bits are free for the application (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// A byte of padding between elements, in both forms.
const PADDING_ID: u8 = 0;

/// Reserved in the one-byte form: ends the block (RFC 8285 §4.2).
const STOP_ID: u8 = 15;

/// Loudness of a packet's audio (RFC 6464 §3).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |V|    level    |
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// Level in -dBov, 0..=127: 0 is the loudest, 127 is silence.
    pub level_dbov: u8,
    /// The sender believes that the packet holds voice.
    pub voice: bool,
}

/// The decoded values that the server itself uses; `None` where the packet does not carry the
/// element, where it was not negotiated, or where its value is malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// Which m-line the packet belongs to (RFC 8843 §15); not empty.
    pub mid: Option<&'a str>,
    /// Which encoding the packet belongs to (RFC 8852 §3.1); not empty.
    pub rid: Option<&'a str>,
    /// Which encoding this packet repairs (RFC 8852 §3.1); not empty.
    pub repaired_rid: Option<&'a str>,
    /// Transport-wide sequence number.
    pub transport_seq: Option<u16>,
    /// Loudness (RFC 6464).
    pub audio_level: Option<AudioLevel>,
    /// Send time in 6.18 fixed-point seconds modulo 64 s, 24 bits
    /// (draft-alvestrand-rmcat-remb-03 §2.4).
    pub abs_send_time: Option<u32>,
    /// Camera, flip and rotation bits, `0000CFRR` (3GPP TS 26.114 §7.4.5).
    pub video_orientation: Option<u8>,
    /// The dependency descriptor, undecoded; not empty (AV1 RTP specification, appendix A).
    pub dependency_descriptor: Option<&'a [u8]>,
    /// What the layers of the m-line are, undecoded (`payload::layers_allocation`).
    pub layers_allocation: Option<&'a [u8]>,
}

impl<'a> Known<'a> {
    /// Reads the elements of `packet` in one pass; `map` is its sender's numbering. Of an element
    /// that occurs twice the later one counts.
    pub fn read(packet: &'a [u8], header: &RtpHeader, map: &ExtensionMap) -> Self {
        let mut known = Self::default();
        for (id, value) in elements(packet, header) {
            let Some(kind) = map.kind(id) else {
                continue;
            };
            match kind {
                ExtensionKind::TransportCc => known.transport_seq = Reader::new(value).u16(),
                ExtensionKind::Mid => known.mid = text(value),
                ExtensionKind::Rid => known.rid = text(value),
                ExtensionKind::RepairedRid => known.repaired_rid = text(value),
                ExtensionKind::AudioLevel => known.audio_level = audio_level(value),
                ExtensionKind::AbsSendTime => known.abs_send_time = Reader::new(value).u24(),
                ExtensionKind::VideoOrientation => {
                    known.video_orientation = value.first().copied();
                }
                ExtensionKind::DependencyDescriptor => {
                    known.dependency_descriptor = Some(value).filter(|v| !v.is_empty());
                }
                ExtensionKind::VideoLayersAllocation => known.layers_allocation = Some(value),
                ExtensionKind::AbsCaptureTime
                | ExtensionKind::PlayoutDelay
                | ExtensionKind::VideoContentType
                | ExtensionKind::VideoTiming
                | ExtensionKind::ColorSpace => {}
            }
        }
        known
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|t| !t.is_empty())
}

fn audio_level(value: &[u8]) -> Option<AudioLevel> {
    value.first().map(|&byte| AudioLevel {
        level_dbov: byte & 0x7f,
        voice: byte & 0x80 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(profile: u16, block: &[u8]) -> Vec<u8> {
        assert!(block.len().is_multiple_of(4));
        let mut p = vec![0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        p.extend_from_slice(&profile.to_be_bytes());
        p.extend_from_slice(&((block.len() / 4) as u16).to_be_bytes());
        p.extend_from_slice(block);
        p.extend_from_slice(b"payload");
        p
    }

    fn read(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let p = packet(profile, block);
        let header = RtpHeader::parse(&p).unwrap();
        elements(&p, &header)
            .map(|(id, value)| (id, value.to_vec()))
            .collect()
    }

    #[test]
    fn reads_the_one_byte_example_of_rfc_8285() {
        // RFC 8285 §4.2: lengths 1, 2, two bytes of padding, length 4.
        let block = [0x10, 0xa1, 0x21, 0xb1, 0xb2, 0, 0, 0x33, 1, 2, 3, 4];
        assert_eq!(
            read(0xbede, &block),
            [
                (1, vec![0xa1]),
                (2, vec![0xb1, 0xb2]),
                (3, vec![1, 2, 3, 4])
            ]
        );
    }

    #[test]
    fn reads_the_two_byte_example_of_rfc_8285() {
        // RFC 8285 §4.3: lengths 0, 1, one byte of padding, length 4.
        let block = [1, 0, 2, 1, 0xb1, 0, 3, 4, 1, 2, 3, 4];
        for profile in [0x1000, 0x100f] {
            assert_eq!(
                read(profile, &block),
                [(1, vec![]), (2, vec![0xb1]), (3, vec![1, 2, 3, 4])]
            );
        }
    }

    #[test]
    fn id_15_ends_the_one_byte_form_only() {
        assert_eq!(read(0xbede, &[0x10, 9, 0xf0, 9, 0x20, 9, 0, 0]).len(), 1);
        assert_eq!(read(0x1000, &[15, 1, 9, 0]), [(15, vec![9])]);
    }

    #[test]
    fn an_element_past_the_end_ends_the_iteration() {
        assert_eq!(read(0xbede, &[0x10, 9, 0x2f, 9]), [(1, vec![9])]);
        assert_eq!(read(0x1000, &[1, 1, 9, 2]), [(1, vec![9])]);
        assert_eq!(read(0x1000, &[1, 1, 9, 0, 2, 3, 9, 9]), [(1, vec![9])]);
    }

    #[test]
    fn other_profiles_have_no_elements() {
        assert!(read(0x1010, &[0x10, 9, 0, 0]).is_empty());
        assert!(read(0xc0de, &[0x10, 9, 0, 0]).is_empty());
    }

    #[test]
    fn decodes_what_was_negotiated() {
        let mut map = ExtensionMap::default();
        for (id, kind) in [
            (1, ExtensionKind::AudioLevel),
            (2, ExtensionKind::Mid),
            (3, ExtensionKind::TransportCc),
            (4, ExtensionKind::Rid),
            (5, ExtensionKind::AbsSendTime),
        ] {
            map.insert(kind, id);
        }
        let block = [
            0x10,
            0x80 | 42,
            0x20,
            b'0',
            0x31,
            0xab,
            0xcd,
            0x40,
            b'h',
            0x52,
            1,
            2,
            3,
            0x60,
            1,
            0,
        ];
        let p = packet(0xbede, &block);
        let known = Known::read(&p, &RtpHeader::parse(&p).unwrap(), &map);
        let expected = Known {
            mid: Some("0"),
            rid: Some("h"),
            transport_seq: Some(0xabcd),
            audio_level: Some(AudioLevel {
                level_dbov: 42,
                voice: true,
            }),
            abs_send_time: Some(0x01_0203),
            ..Known::default()
        };
        assert_eq!(known, expected);
    }

    #[test]
    fn malformed_values_are_absent() {
        let mut map = ExtensionMap::default();
        map.insert(ExtensionKind::TransportCc, 1);
        map.insert(ExtensionKind::Mid, 2);
        map.insert(ExtensionKind::AudioLevel, 3);
        let p = packet(0x1000, &[1, 1, 9, 2, 1, 0xff, 3, 0]);
        let known = Known::read(&p, &RtpHeader::parse(&p).unwrap(), &map);
        assert_eq!(known, Known::default());
    }

    proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(
            profile in prop_oneof![Just(0xbede_u16), Just(0x1000), any::<u16>()],
            words in prop::collection::vec(any::<[u8; 4]>(), 0..40),
        ) {
            let block = words.concat();
            let p = packet(profile, &block);
            let header = RtpHeader::parse(&p).unwrap();
            let total: usize = elements(&p, &header).map(|(_, value)| value.len()).sum();
            prop_assert!(total <= block.len());
            let _ = Known::read(&p, &header, &ExtensionMap::server());
        }
    }
}
