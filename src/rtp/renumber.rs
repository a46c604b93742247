//! Extension ids of a peer who numbers them itself (RFC 8285 §6): put into a canonical packet in
//! place of the server's, once it is stamped.

use super::extension::Form;
use crate::base::extension::{ExtensionKind, ExtensionMap};

/// Server id to the peer's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renumbering {
    /// By server id; 0: the peer does not take it.
    ids: [u8; IDS],
}

impl Renumbering {
    /// To the ids of `peer`, each 1..=14; what it does not have is taken out of packets.
    pub fn new(peer: &ExtensionMap) -> Self {
        let mut ids = [0; IDS];
        for kind in ExtensionKind::ALL {
            if let Some(id) = peer.id(kind).filter(|id| (1..=14).contains(id))
                && let Some(place) = ids.get_mut(usize::from(kind.server_id()))
            {
                *place = id;
            }
        }
        Self { ids }
    }

    /// Renumbers the elements of a canonical packet whose header, extension block included, has
    /// `header_len` bytes. Elements that the peer does not take become padding (RFC 8285 §4.1.1),
    /// so that no length changes. A packet without a block stays as it is.
    pub fn apply(&self, packet: &mut [u8], header_len: usize) {
        let Some(header) = packet.get_mut(..header_len) else {
            return;
        };
        let Some((_, [high, low, _, _, block @ ..])) = header.split_at_mut_checked(BLOCK_AT) else {
            return;
        };
        let Some(form) = Form::of_profile(u16::from_be_bytes([*high, *low])) else {
            return;
        };
        let mut at = 0;
        while let Some(&first) = block.get(at) {
            if first == 0 {
                at += 1;
                continue;
            }
            let (id, len) = match (form, block.get(at + 1)) {
                (Form::OneByte, _) => (first >> 4, 2 + usize::from(first & 0x0f)),
                (Form::TwoByte, Some(len)) => (first, 2 + usize::from(*len)),
                (Form::TwoByte, None) => return,
            };
            let fresh = self.ids.get(usize::from(id)).copied().unwrap_or(0);
            let Some(element) = block.get_mut(at..at + len) else {
                return;
            };
            match (element, form) {
                (element, _) if fresh == 0 => element.fill(0),
                ([first, ..], Form::OneByte) => *first = fresh << 4 | *first & 0x0f,
                ([first, ..], Form::TwoByte) => *first = fresh,
                ([], _) => return,
            }
            at += len;
        }
    }
}

/// Server ids are below it.
const IDS: usize = 16;

/// Bytes before the extension block of a packet without CSRCs.
const BLOCK_AT: usize = 12;

const _: () = assert!(ExtensionKind::ALL.len() < IDS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Pt, Ssrc};
    use crate::base::seq::{RtpTime, SeqNo};
    use crate::rtp::{canonical, padding};

    /// A packet with `block` as its extension block of `profile`.
    fn packet(profile: u16, block: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(profile.to_be_bytes());
        packet.extend(((block.len() / 4) as u16).to_be_bytes());
        packet.extend(block);
        packet.push(0xaa);
        packet
    }

    fn renumbering() -> Renumbering {
        let mut map = ExtensionMap::default();
        map.insert(ExtensionKind::TransportCc, 9);
        map.insert(ExtensionKind::PlayoutDelay, 14);
        Renumbering::new(&map)
    }

    #[test]
    fn elements_get_the_ids_of_the_peer_and_the_others_become_padding() {
        let (cc, delay, level) = (
            ExtensionKind::TransportCc.server_id(),
            ExtensionKind::PlayoutDelay.server_id(),
            ExtensionKind::AudioLevel.server_id(),
        );
        let one = [
            cc << 4 | 1,
            7,
            8,
            level << 4,
            5,
            delay << 4 | 2,
            1,
            2,
            3,
            0,
            0,
            0,
        ];
        let mut bytes = packet(0xbede, &one);
        let header_len = bytes.len() - 1;
        renumbering().apply(&mut bytes, header_len);
        let expected = [0x91, 7, 8, 0, 0, 0xe2, 1, 2, 3, 0, 0, 0];
        assert_eq!(bytes, packet(0xbede, &expected));
        let two = [cc, 2, 7, 8, level, 1, 5, 0, delay, 3, 1, 2, 3, 0, 0, 0];
        let mut bytes = packet(0x1000, &two);
        let header_len = bytes.len() - 1;
        renumbering().apply(&mut bytes, header_len);
        let expected = [9, 2, 7, 8, 0, 0, 0, 0, 14, 3, 1, 2, 3, 0, 0, 0];
        assert_eq!(bytes, packet(0x1000, &expected));
    }

    #[test]
    fn padding_packets_are_renumbered_as_media_is() {
        let header = padding::PaddingHeader {
            pt: Pt(97),
            seq: SeqNo(1),
            timestamp: RtpTime(0),
            ssrc: Ssrc(7),
        };
        let mut bytes = [0; 300];
        let layout = padding::write(&mut bytes, header, u8::MAX).unwrap();
        canonical::set_transport_seq(&mut bytes, layout.transport_seq_at, Some(0x1234));
        renumbering().apply(&mut bytes, layout.header_len);
        let element = layout.transport_seq_at - 1;
        assert_eq!(bytes[element..element + 3], [9 << 4 | 1, 0x12, 0x34]);
        assert_eq!(bytes[layout.len - 1], u8::MAX, "the padding is untouched");
    }

    #[test]
    fn what_is_cut_or_has_no_block_stays_as_it_is() {
        let cc = ExtensionKind::TransportCc.server_id();
        let cut = packet(0xbede, &[cc << 4 | 15, 1, 2, 3]);
        let plain = vec![0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
        for packet in [cut, plain] {
            let mut bytes = packet.clone();
            let header_len = bytes.len() - 1;
            renumbering().apply(&mut bytes, header_len);
            assert_eq!(bytes, packet);
        }
    }
}
