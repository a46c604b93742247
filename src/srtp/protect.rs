//! The sending half: turns RTP into SRTP and RTCP into SRTCP, in place (RFC 3711 §3.3, §3.4).
//!
//! Keeps no state per SSRC; the SRTCP index is its only counter. One per peer and direction,
//! owned by `peer/`.

use super::cipher::{Cipher, MAX_RTCP_INDEX, RTCP_HEADER_LEN, RtcpId, RtpId};
use super::kdf::{Protects, SessionKey};
use super::keys::MasterKey;

/// Session keys of one direction, ready to protect.
#[derive(Debug)]
pub struct Protect {
    rtp: Cipher,
    rtcp: Cipher,
    /// Of the next SRTCP packet.
    rtcp_index: u32,
}

impl Protect {
    /// Derives the session keys. `None` when the crypto library refuses a key, which it does not
    /// for a [`MasterKey`].
    pub fn new(master: &MasterKey) -> Option<Self> {
        Some(Self {
            rtp: Cipher::new(&SessionKey::derive(master, Protects::Rtp)?)?,
            rtcp: Cipher::new(&SessionKey::derive(master, Protects::Rtcp)?)?,
            rtcp_index: 0,
        })
    }

    /// Protects the RTP packet `buf[..len]` whose header, CSRCs and extensions included, is
    /// `header_len` bytes long. Returns the length with the tag.
    ///
    /// `index` is ROC << 16 | sequence number; receivers expect the ROC of an SSRC to start at 0.
    /// `None` when `buf` has no room for [`Profile::tag_len`](super::Profile::tag_len) bytes
    /// behind `len`, when `header_len` is not within 12..=`len`, or when `index` exceeds 48 bits
    /// or disagrees with the header's sequence number; nothing is encrypted then.
    ///
    /// INVARIANT: the caller never protects two different packets with the same SSRC and `index`:
    /// with AES-GCM that gives the authentication key away (RFC 7714 §8.4).
    pub fn protect_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        index: u64,
    ) -> Option<usize> {
        if header_len > len {
            return None;
        }
        let id = RtpId::read(buf.get(..header_len)?, index)?;
        self.rtp.seal_rtp(id, buf, header_len, len)?;
        len.checked_add(self.rtp.tag_len())
    }

    /// Protects the RTCP compound `buf[..len]`. Returns the length with tag, E bit and index.
    ///
    /// All sender SSRCs share one index, which starts at 0 and rises by 1 (RFC 3711 §3.2.1).
    /// INTEROP(libsrtp): it starts its own at 1, keeps a window per SSRC and takes both. `None`
    /// when `buf` has no room for
    /// [`Profile::rtcp_overhead_len`](super::Profile::rtcp_overhead_len) bytes behind `len`, when
    /// `len` is under 8, or when all 2^31 indices are used up: the keys are then
    /// spent (RFC 3711 §9.2).
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Option<usize> {
        let index = self.rtcp_index;
        if len < RTCP_HEADER_LEN || index > MAX_RTCP_INDEX {
            return None;
        }
        let id = RtcpId::read(buf.get(..len)?, index)?;
        self.rtcp.seal_rtcp(id, buf, len)?;
        self.rtcp_index = index + 1;
        len.checked_add(self.rtcp.tag_len() + id.word().len())
    }
}

#[cfg(test)]
impl Protect {
    /// Continues at a later SRTCP index.
    pub(super) fn set_rtcp_index(&mut self, index: u32) {
        self.rtcp_index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::master;
    use super::super::{Profile, Unprotect};
    use super::*;

    const HEADER: [u8; 12] = [0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];

    #[test]
    fn refuses_rtp_that_does_not_fit_or_does_not_agree() {
        for profile in Profile::ALL {
            let protect = Protect::new(&master(profile)).unwrap();
            let tag_len = profile.tag_len();
            let mut buf = [0; 64];
            buf[..12].copy_from_slice(&HEADER);
            let plain = buf;
            assert_eq!(
                protect.protect_rtp(&mut buf[..20 + tag_len - 1], 12, 20, 7),
                None
            );
            assert_eq!(
                protect.protect_rtp(&mut buf, 12, 65, 7),
                None,
                "len beyond buf"
            );
            assert_eq!(protect.protect_rtp(&mut buf, 12, usize::MAX, 7), None);
            assert_eq!(
                protect.protect_rtp(&mut buf, 11, 20, 7),
                None,
                "header too short"
            );
            assert_eq!(
                protect.protect_rtp(&mut buf, 21, 20, 7),
                None,
                "header beyond len"
            );
            assert_eq!(
                protect.protect_rtp(&mut buf, 12, 20, 8),
                None,
                "another sequence number"
            );
            assert_eq!(
                protect.protect_rtp(&mut buf, 12, 20, (1 << 48) | 7),
                None,
                "49 bits"
            );
            assert_eq!(buf, plain, "a refused packet stays as it was");
            assert_eq!(protect.protect_rtp(&mut buf, 12, 20, 7), Some(20 + tag_len));
        }
    }

    #[test]
    fn refuses_rtcp_that_does_not_fit_and_uses_no_index_for_it() {
        for profile in Profile::ALL {
            let mut protect = Protect::new(&master(profile)).unwrap();
            let overhead_len = profile.rtcp_overhead_len();
            let plain = [0x80, 201, 0, 1, 0, 0, 0, 9];
            let mut buf = [0; 32];
            buf[..8].copy_from_slice(&plain);
            assert_eq!(
                protect.protect_rtcp(&mut buf[..8 + overhead_len - 1], 8),
                None
            );
            assert_eq!(protect.protect_rtcp(&mut buf, 7), None);
            assert_eq!(protect.protect_rtcp(&mut buf, 33), None);
            assert_eq!(protect.rtcp_index, 0);
            assert_eq!(protect.protect_rtcp(&mut buf, 8), Some(8 + overhead_len));
            assert_eq!(protect.rtcp_index, 1);
        }
    }

    #[test]
    fn the_last_srtcp_index_is_used_once() {
        for profile in Profile::ALL {
            let mut protect = Protect::new(&master(profile)).unwrap();
            let mut unprotect = Unprotect::new(&master(profile)).unwrap();
            protect.set_rtcp_index(MAX_RTCP_INDEX);
            let mut buf = [0; 64];
            let len = protect.protect_rtcp(&mut buf, 28).unwrap();
            assert_eq!(unprotect.unprotect_rtcp(&mut buf[..len]), Ok(28));
            assert_eq!(
                protect.protect_rtcp(&mut buf, 28),
                None,
                "the keys are spent"
            );
        }
    }
}
