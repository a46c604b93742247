//! AES_CM_128_HMAC_SHA1_80 for SRTP and SRTCP (RFC 3711 §4.1.1, §4.2.1).
//!
//! aws-lc's AES-CTR and a pre-keyed HMAC-SHA1, whose two key blocks are hashed once per session
//! instead of once per packet. Both work on the stack. Called by `cipher` only.

use std::fmt;

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use super::cipher::{RTCP_HEADER_LEN, RtcpId, RtpId};
use super::kdf::SessionKey;
use super::profile::{Profile, SRTCP_WORD_LEN};

/// One session key with its authentication key and salt.
pub(super) struct CmHmac {
    key: EncryptingKey,
    auth: hmac::Key,
    /// 112 bits.
    salt: u128,
}

impl CmHmac {
    /// Bytes of the tag: HMAC-SHA1 cut to 80 bits (RFC 3711 §5.2).
    pub const TAG_LEN: usize = Profile::AesCm128HmacSha1_80.tag_len();

    /// `None` for a key that is not 16 bytes long.
    pub fn new(session: &SessionKey) -> Option<Self> {
        let key = UnboundCipherKey::new(&AES_128, session.key()).ok()?;
        Some(Self {
            key: EncryptingKey::ctr(key).ok()?,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, session.auth()),
            salt: session.salt_112(),
        })
    }

    /// Encrypts behind the header, then tags the whole packet and the ROC (RFC 3711 §3.1, §4.2).
    pub fn seal_rtp(&self, id: RtpId, buf: &mut [u8], header_len: usize, len: usize) -> Option<()> {
        let (packet, tail) = buf.split_at_mut_checked(len)?;
        let slot = tail.first_chunk_mut::<{ Self::TAG_LEN }>()?;
        self.apply_keystream(id.number(), packet.get_mut(header_len..)?)?;
        *slot = self.tag(packet, &id.roc())?;
        Some(())
    }

    /// The reverse of [`seal_rtp`](Self::seal_rtp); nothing is decrypted before the tag is right.
    pub fn open_rtp(&self, id: RtpId, packet: &mut [u8], header_len: usize) -> Option<()> {
        let (packet, tag) = packet.split_last_chunk_mut::<{ Self::TAG_LEN }>()?;
        self.verify(packet, &id.roc(), tag)?;
        self.apply_keystream(id.number(), packet.get_mut(header_len..)?)
    }

    /// Encrypts behind the first 8 bytes, appends E bit and index, tags it all (RFC 3711 §3.4).
    pub fn seal_rtcp(&self, id: RtcpId, buf: &mut [u8], len: usize) -> Option<()> {
        let (packet, tail) = buf.split_at_mut_checked(len)?;
        let (word_slot, tail) = tail.split_first_chunk_mut::<SRTCP_WORD_LEN>()?;
        let tag_slot = tail.first_chunk_mut::<{ Self::TAG_LEN }>()?;
        self.apply_keystream(id.number(), packet.get_mut(RTCP_HEADER_LEN..)?)?;
        *word_slot = id.word();
        *tag_slot = self.tag(packet, word_slot)?;
        Some(())
    }

    /// The reverse of [`seal_rtcp`](Self::seal_rtcp); nothing is decrypted before the tag is
    /// right.
    pub fn open_rtcp(&self, id: RtcpId, packet: &mut [u8]) -> Option<()> {
        let (covered, tag) = packet.split_last_chunk_mut::<{ Self::TAG_LEN }>()?;
        let (packet, word) = covered.split_last_chunk_mut::<SRTCP_WORD_LEN>()?;
        self.verify(packet, word, tag)?;
        self.apply_keystream(id.number(), packet.get_mut(RTCP_HEADER_LEN..)?)
    }

    /// XORs `body` with AES-CM key stream; twice gives the original. RFC 3711 §4.1.1:
    ///
    /// ```text
    /// IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16)
    /// ```
    fn apply_keystream(&self, number: u128, body: &mut [u8]) -> Option<()> {
        if body.is_empty() {
            return Some(());
        }
        let iv = ((self.salt ^ number) << 16).to_be_bytes();
        self.key
            .less_safe_encrypt(body, EncryptionContext::Iv128(iv.into()))
            .ok()?;
        Some(())
    }

    fn verify(&self, packet: &[u8], suffix: &[u8; 4], tag: &[u8; Self::TAG_LEN]) -> Option<()> {
        let expected = self.tag(packet, suffix)?;
        bool::from(expected.ct_eq(tag)).then_some(())
    }

    /// HMAC-SHA1 over `packet || suffix`; the suffix is the ROC, or the E bit with the index.
    fn tag(&self, packet: &[u8], suffix: &[u8; 4]) -> Option<[u8; Self::TAG_LEN]> {
        let mut hmac = hmac::Context::with_key(&self.auth);
        hmac.update(packet);
        hmac.update(suffix);
        hmac.sign().as_ref().first_chunk().copied()
    }
}

impl fmt::Debug for CmHmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CmHmac").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::hex;
    use super::*;

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_b_2() {
        let session = SessionKey::published(
            Profile::AesCm128HmacSha1_80,
            &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
            &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
        );
        let cm = CmHmac::new(&session).unwrap();
        let mut stream = vec![0; 16 * 0xff02];
        cm.apply_keystream(0, &mut stream).unwrap();
        for (block, expected) in [
            (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
            (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ] {
            assert_eq!(
                stream[16 * block..16 * (block + 1)],
                hex(expected),
                "block {block:#x}"
            );
        }
    }
}
