//! The receiving half: authenticates and decrypts SRTP and SRTCP, in place (RFC 3711 §3.3, §3.4).
//!
//! For RTP it keeps no state: the caller extends sequence numbers and keeps a
//! [`ReplayWindow`] per SSRC. For RTCP the index travels in the packet, so the windows are here.
//! One per peer and direction, owned by `peer/`.

use crate::base::fault::DropReason;
use crate::base::ids::Ssrc;
use crate::base::limits::{MAX_PAST_RTCP_SENDERS, MAX_RTCP_SENDERS};

use super::cipher::{Cipher, MAX_RTCP_INDEX, RTCP_HEADER_LEN, RtcpId, RtpId, SRTCP_E_BIT};
use super::kdf::{Protects, SessionKey};
use super::keys::MasterKey;
use super::profile::SRTCP_WORD_LEN;
use super::replay::ReplayWindow;

/// Session keys of one direction, ready to open.
#[derive(Debug)]
pub struct Unprotect {
    rtp: Cipher,
    rtcp: Cipher,
    /// At most `limits::MAX_RTCP_SENDERS`, each made by an authentic packet.
    rtcp_senders: Vec<RtcpSender>,
    /// Those that had to make room, at most `limits::MAX_PAST_RTCP_SENDERS`.
    past: Vec<PastSender>,
    /// Authentic SRTCP packets.
    rtcp_opened: u64,
}

#[derive(Debug)]
struct RtcpSender {
    ssrc: Ssrc,
    window: ReplayWindow,
    /// `rtcp_opened` at its latest packet.
    heard: u64,
}

/// What is kept of a sender's window: nothing at or below its highest index is taken again.
#[derive(Debug)]
struct PastSender {
    ssrc: Ssrc,
    highest: u32,
}

impl Unprotect {
    /// Derives the session keys. `None` when the crypto library refuses a key, which it does not
    /// for a [`MasterKey`].
    pub fn new(master: &MasterKey) -> Option<Self> {
        Some(Self {
            rtp: Cipher::new(&SessionKey::derive(master, Protects::Rtp)?)?,
            rtcp: Cipher::new(&SessionKey::derive(master, Protects::Rtcp)?)?,
            rtcp_senders: Vec::new(),
            past: Vec::new(),
            rtcp_opened: 0,
        })
    }

    /// Opens the SRTP packet whose header, CSRCs and extensions included, is `header_len` bytes
    /// long. Returns the length of the RTP packet, which is `packet` without the tag.
    ///
    /// `index` is ROC << 16 | sequence number, as [`packet_index`](super::packet_index) makes it.
    /// Asks no replay window: the caller checks before and records after.
    ///
    /// # Errors
    /// `MalformedRtp` when `header_len` is under 12 or header and tag do not fit in `packet`.
    /// `AuthFailed` when the tag is wrong, or `index` exceeds 48 bits or disagrees with the
    /// header's sequence number; the bytes behind the header are then unspecified, so a packet
    /// cannot be tried again with another index.
    pub fn unprotect_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Result<usize, DropReason> {
        let len = packet
            .len()
            .checked_sub(self.rtp.tag_len())
            .ok_or(DropReason::MalformedRtp)?;
        if header_len < RTP_HEADER_LEN || header_len > len {
            return Err(DropReason::MalformedRtp);
        }
        let id = packet
            .get(..header_len)
            .and_then(|header| RtpId::read(header, index));
        id.and_then(|id| self.rtp.open_rtp(id, packet, header_len))
            .ok_or(DropReason::AuthFailed)?;
        Ok(len)
    }

    /// Opens an SRTCP packet. Returns the length of the RTCP compound, which is `packet` without
    /// tag, E bit and index.
    ///
    /// Replays are found per sender SSRC (RFC 3711 §3.4). A sender is remembered from its first
    /// authentic packet on. Beyond `limits::MAX_RTCP_SENDERS`, the one heard longest ago makes
    /// room; to forget it would admit replays, so its highest index stays and it goes on behind
    /// that: all that it can lose is what was overtaken on the way. Who recorded its packets gains
    /// nothing. Once `limits::MAX_PAST_RTCP_SENDERS` have made room, further senders are dropped.
    ///
    /// # Errors
    /// `MalformedRtcp` when too short for header, tag and index; `Replayed`; `AuthFailed` when the
    /// tag is wrong or the packet is not encrypted (E bit clear), which no DTLS-SRTP profile
    /// allows; `UnknownSsrc` for an authentic packet of one sender too many. After an error the
    /// bytes behind the first 8 are unspecified.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let overhead_len = self.rtcp.tag_len() + SRTCP_WORD_LEN;
        let len = packet
            .len()
            .checked_sub(overhead_len)
            .ok_or(DropReason::MalformedRtcp)?;
        if len < RTCP_HEADER_LEN {
            return Err(DropReason::MalformedRtcp);
        }
        let word = self
            .rtcp
            .rtcp_word(packet)
            .ok_or(DropReason::MalformedRtcp)?;
        let id = RtcpId::read(packet, word & MAX_RTCP_INDEX).ok_or(DropReason::MalformedRtcp)?;
        if word & SRTCP_E_BIT == 0 {
            return Err(DropReason::AuthFailed);
        }
        let index = u64::from(id.index);
        let at = self
            .rtcp_senders
            .iter()
            .position(|sender| sender.ssrc == id.ssrc);
        match at.and_then(|at| self.rtcp_senders.get(at)) {
            Some(sender) => sender.window.check(index)?,
            None => self.past_window(id.ssrc).check(index)?,
        }
        self.rtcp
            .open_rtcp(id, packet)
            .ok_or(DropReason::AuthFailed)?;
        self.rtcp_opened += 1;
        let heard = self.rtcp_opened;
        let sender = self.rtcp_sender(at, id.ssrc)?;
        sender.heard = heard;
        sender.window.record(index);
        Ok(len)
    }

    /// True once an authentic SRTCP packet has come.
    pub fn has_opened_rtcp(&self) -> bool {
        !self.rtcp_senders.is_empty()
    }

    /// What a sender begins with that has no window: empty, unless it had one.
    fn past_window(&self, ssrc: Ssrc) -> ReplayWindow {
        let past = self.past.iter().find(|past| past.ssrc == ssrc);
        past.map_or_else(ReplayWindow::default, |past| {
            ReplayWindow::from_end(u64::from(past.highest) + 1)
        })
    }

    /// The sender at `at`, or else one that is made for `ssrc`.
    fn rtcp_sender(
        &mut self,
        at: Option<usize>,
        ssrc: Ssrc,
    ) -> Result<&mut RtcpSender, DropReason> {
        let at = match at {
            Some(at) => at,
            None => {
                let window = self.past_window(ssrc);
                self.past.retain(|past| past.ssrc != ssrc);
                if self.rtcp_senders.len() >= MAX_RTCP_SENDERS {
                    self.make_room()?;
                }
                self.rtcp_senders.push(RtcpSender {
                    ssrc,
                    window,
                    heard: 0,
                });
                self.rtcp_senders.len() - 1
            }
        };
        self.rtcp_senders.get_mut(at).ok_or(DropReason::UnknownSsrc)
    }

    /// Takes the window of the sender heard longest ago.
    fn make_room(&mut self) -> Result<(), DropReason> {
        if self.past.len() >= MAX_PAST_RTCP_SENDERS {
            return Err(DropReason::UnknownSsrc);
        }
        let senders = self.rtcp_senders.iter().enumerate();
        let oldest = senders.min_by_key(|(_, sender)| sender.heard);
        let (at, _) = oldest.ok_or(DropReason::UnknownSsrc)?;
        let RtcpSender { ssrc, window, .. } = self.rtcp_senders.swap_remove(at);
        // An index has 31 bits.
        let highest = u32::try_from(window.end().saturating_sub(1)).unwrap_or(u32::MAX);
        self.past.push(PastSender { ssrc, highest });
        Ok(())
    }
}

/// Bytes of an RTP header without CSRCs and extensions (RFC 3550 §5.1).
const RTP_HEADER_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors::master;
    use super::super::{Profile, Protect};
    use super::*;

    /// Header with `csrcs` CSRCs and an extension of `words` words, if any.
    fn header(seq: u16, csrcs: u8, words: Option<u8>) -> Vec<u8> {
        let extended = if words.is_some() { 0x10 } else { 0 };
        let mut packet = vec![0x80 | extended | csrcs, 0xe0];
        packet.extend(seq.to_be_bytes());
        packet.extend([1, 2, 3, 4, 0xca, 0xfe, 0xba, 0xbe]);
        packet.extend((0..4 * csrcs).map(|i| i ^ 0x5a));
        if let Some(words) = words {
            packet.extend([0xbe, 0xde, 0, words]);
            packet.extend(0..4 * words);
        }
        packet
    }

    fn pair(profile: Profile) -> (Protect, Unprotect) {
        let master = master(profile);
        (
            Protect::new(&master).unwrap(),
            Unprotect::new(&master).unwrap(),
        )
    }

    fn protected_rtcp(protect: &mut Protect, plain: &[u8]) -> Vec<u8> {
        let mut buf = plain.to_vec();
        buf.resize(plain.len() + 20, 0);
        let len = protect.protect_rtcp(&mut buf, plain.len()).unwrap();
        buf.truncate(len);
        buf
    }

    fn report(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(0..20);
        packet
    }

    #[test]
    fn any_byte_changed_fails_authentication() {
        for profile in Profile::ALL {
            let (protect, unprotect) = pair(profile);
            let head = header(300, 2, Some(2));
            let mut packet = head.clone();
            packet.extend(0..50);
            let len = packet.len();
            packet.resize(len + profile.tag_len(), 0);
            protect
                .protect_rtp(&mut packet, head.len(), len, 300)
                .unwrap();
            for at in 0..packet.len() {
                for bit in [0x01, 0x80] {
                    let mut forged = packet.clone();
                    forged[at] ^= bit;
                    let seq = u16::from_be_bytes([forged[2], forged[3]]);
                    let opened = unprotect.unprotect_rtp(&mut forged, head.len(), seq.into());
                    assert_eq!(opened, Err(DropReason::AuthFailed), "{profile:?} byte {at}");
                }
            }
            assert_eq!(
                unprotect.unprotect_rtp(&mut packet, head.len(), 300),
                Ok(len)
            );
        }
    }

    #[test]
    fn any_byte_of_rtcp_changed_fails_authentication() {
        for profile in Profile::ALL {
            let (mut protect, mut unprotect) = pair(profile);
            let packet = protected_rtcp(&mut protect, &report(77));
            for at in 0..packet.len() {
                for bit in [0x01, 0x80] {
                    let mut forged = packet.clone();
                    forged[at] ^= bit;
                    let opened = unprotect.unprotect_rtcp(&mut forged);
                    assert_eq!(opened, Err(DropReason::AuthFailed), "{profile:?} byte {at}");
                }
            }
            assert!(
                unprotect.rtcp_senders.is_empty(),
                "forgeries leave no state"
            );
        }
    }

    #[test]
    fn another_rollover_counter_fails_authentication() {
        for profile in Profile::ALL {
            let (protect, unprotect) = pair(profile);
            let mut packet = header(9, 0, None);
            packet.resize(12 + 30 + profile.tag_len(), 0);
            protect.protect_rtp(&mut packet, 12, 42, 0x1_0009).unwrap();
            for index in [9, 0x2_0009, 0x1_000a, 0x1_0000_0001_0009] {
                let opened = unprotect.unprotect_rtp(&mut packet.clone(), 12, index);
                assert_eq!(
                    opened,
                    Err(DropReason::AuthFailed),
                    "{profile:?} {index:#x}"
                );
            }
            assert_eq!(unprotect.unprotect_rtp(&mut packet, 12, 0x1_0009), Ok(42));
        }
    }

    #[test]
    fn short_packets_are_malformed() {
        for profile in Profile::ALL {
            let (_, mut unprotect) = pair(profile);
            for len in 0..12 + profile.tag_len() {
                let opened = unprotect.unprotect_rtp(&mut vec![0; len], 12, 0);
                assert_eq!(opened, Err(DropReason::MalformedRtp), "{profile:?} {len}");
            }
            let opened = unprotect.unprotect_rtp(&mut [0; 100], 11, 0);
            assert_eq!(opened, Err(DropReason::MalformedRtp));
            for len in 0..8 + profile.rtcp_overhead_len() {
                let opened = unprotect.unprotect_rtcp(&mut vec![0xff; len]);
                assert_eq!(opened, Err(DropReason::MalformedRtcp), "{profile:?} {len}");
            }
        }
    }

    #[test]
    fn rtcp_is_replayed_per_sender() {
        for profile in Profile::ALL {
            let (mut protect, mut unprotect) = pair(profile);
            let packets: Vec<_> = [1, 1, 2, 1]
                .map(|ssrc| protected_rtcp(&mut protect, &report(ssrc)))
                .into();
            for at in [1, 0, 3, 2] {
                let mut packet = packets[at].clone();
                assert_eq!(unprotect.unprotect_rtcp(&mut packet), Ok(28), "{profile:?}");
                assert_eq!(packet[..28], report(if at == 2 { 2 } else { 1 }));
                let again = unprotect.unprotect_rtcp(&mut packets[at].clone());
                assert_eq!(again, Err(DropReason::Replayed), "{profile:?}");
            }
            assert_eq!(unprotect.rtcp_senders.len(), 2);
        }
    }

    #[test]
    fn the_sender_heard_longest_ago_makes_room_and_is_not_replayed() {
        let (mut protect, mut unprotect) = pair(Profile::AeadAes128Gcm);
        let mut packet = |ssrc| protected_rtcp(&mut protect, &report(ssrc));
        let late = packet(1);
        let all = MAX_RTCP_SENDERS as u32;
        let packets: Vec<_> = (0..all).map(&mut packet).collect();
        let more = [packet(0), packet(all), packet(1)];
        let mut open = |packet: &Vec<u8>| unprotect.unprotect_rtcp(&mut packet.clone());
        for packet in packets.iter().chain(&more[..2]) {
            assert_eq!(open(packet), Ok(28));
        }
        // Sender 0 was heard again, so it was sender 1 that made room.
        for packet in [&packets[0], &more[0], &packets[1], &late, &packets[2]] {
            assert_eq!(open(packet), Err(DropReason::Replayed));
        }
        assert_eq!(open(&more[2]), Ok(28), "it goes on");
        for packet in [&more[2], &packets[1], &packets[2]] {
            assert_eq!(open(packet), Err(DropReason::Replayed));
        }
        assert_eq!(unprotect.rtcp_senders.len(), MAX_RTCP_SENDERS);
        assert_eq!(unprotect.past.len(), 1, "sender 2");
    }

    #[test]
    fn rtcp_senders_are_bounded_and_none_is_forgotten() {
        let (mut protect, mut unprotect) = pair(Profile::AeadAes128Gcm);
        let first = protected_rtcp(&mut protect, &report(0));
        assert_eq!(unprotect.unprotect_rtcp(&mut first.clone()), Ok(28));
        for ssrc in 1..(MAX_RTCP_SENDERS + MAX_PAST_RTCP_SENDERS) as u32 {
            let mut packet = protected_rtcp(&mut protect, &report(ssrc));
            assert_eq!(unprotect.unprotect_rtcp(&mut packet), Ok(28));
        }
        let mut packet = protected_rtcp(&mut protect, &report(u32::MAX));
        assert_eq!(
            unprotect.unprotect_rtcp(&mut packet),
            Err(DropReason::UnknownSsrc)
        );
        assert_eq!(unprotect.rtcp_senders.len(), MAX_RTCP_SENDERS);
        assert_eq!(unprotect.past.len(), MAX_PAST_RTCP_SENDERS);
        assert_eq!(
            unprotect.unprotect_rtcp(&mut first.clone()),
            Err(DropReason::Replayed)
        );
        let mut again = protected_rtcp(&mut protect, &report(0));
        assert_eq!(unprotect.unprotect_rtcp(&mut again), Ok(28), "a known one");
    }

    #[test]
    fn another_key_opens_nothing() {
        let (protect, _) = pair(Profile::AeadAes128Gcm);
        let other = MasterKey::new(Profile::AeadAes128Gcm, &[9; 16], &[9; 12]).unwrap();
        let unprotect = Unprotect::new(&other).unwrap();
        let mut packet = header(1, 0, None);
        packet.resize(12 + 8 + 16, 0);
        protect.protect_rtp(&mut packet, 12, 20, 1).unwrap();
        assert_eq!(
            unprotect.unprotect_rtp(&mut packet, 12, 1),
            Err(DropReason::AuthFailed)
        );
    }

    fn any_profile() -> impl Strategy<Value = Profile> {
        proptest::sample::select(Profile::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn rtp_comes_back_whatever_its_header(
            profile in any_profile(),
            index in 0..1_u64 << 48,
            csrcs in 0..16_u8,
            words in proptest::option::of(0..20_u8),
            payload in proptest::collection::vec(any::<u8>(), 0..1300),
        ) {
            let (protect, unprotect) = pair(profile);
            let head = header(index as u16, csrcs, words);
            let plain = [head.as_slice(), &payload].concat();
            let mut packet = plain.clone();
            packet.resize(plain.len() + 20, 0xee);
            let len = protect.protect_rtp(&mut packet, head.len(), plain.len(), index);
            prop_assert_eq!(len, Some(plain.len() + profile.tag_len()));
            packet.truncate(len.unwrap());
            prop_assert_eq!(&packet[..head.len()], head.as_slice(), "the header stays in clear");
            let opened = unprotect.unprotect_rtp(&mut packet, head.len(), index);
            prop_assert_eq!(opened, Ok(plain.len()));
            prop_assert_eq!(&packet[..plain.len()], plain.as_slice());
        }

        #[test]
        fn rtcp_comes_back(
            profile in any_profile(),
            index in 0..=MAX_RTCP_INDEX,
            plain in proptest::collection::vec(any::<u8>(), 8..1300),
        ) {
            let (mut protect, mut unprotect) = pair(profile);
            protect.set_rtcp_index(index);
            let mut packet = protected_rtcp(&mut protect, &plain);
            prop_assert_eq!(packet.len(), plain.len() + profile.rtcp_overhead_len());
            prop_assert_eq!(unprotect.unprotect_rtcp(&mut packet), Ok(plain.len()));
            prop_assert_eq!(&packet[..plain.len()], plain.as_slice());
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_authenticate(
            profile in any_profile(),
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            header_len in prop_oneof![0..220_usize, Just(usize::MAX)],
            index in any::<u64>(),
        ) {
            let (mut protect, mut unprotect) = pair(profile);
            prop_assert!(unprotect.unprotect_rtcp(&mut bytes.clone()).is_err());
            prop_assert!(unprotect.unprotect_rtp(&mut bytes.clone(), header_len, index).is_err());
            let seq = bytes.get(2..4).map_or(0, |seq| u64::from(seq[0]) << 8 | u64::from(seq[1]));
            prop_assert!(unprotect.unprotect_rtp(&mut bytes.clone(), header_len, seq).is_err());
            let len = index as usize % 256;
            let _ = protect.protect_rtp(&mut bytes.clone(), header_len, len, seq);
            let _ = protect.protect_rtcp(&mut bytes, len);
        }

        #[test]
        fn truncated_packets_never_panic_and_never_authenticate(
            profile in any_profile(),
            cut in 1..80_usize,
        ) {
            let (mut protect, mut unprotect) = pair(profile);
            let mut packet = header(5, 1, Some(1));
            let head_len = packet.len();
            packet.resize(head_len + 40 + profile.tag_len(), 3);
            protect.protect_rtp(&mut packet, head_len, head_len + 40, 5).unwrap();
            packet.truncate(packet.len().saturating_sub(cut));
            prop_assert!(unprotect.unprotect_rtp(&mut packet, head_len, 5).is_err());
            let mut packet = protected_rtcp(&mut protect, &report(3));
            packet.truncate(packet.len().saturating_sub(cut));
            prop_assert!(unprotect.unprotect_rtcp(&mut packet).is_err());
        }
    }
}
