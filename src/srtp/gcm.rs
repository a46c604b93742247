//! AEAD_AES_128_GCM and AEAD_AES_256_GCM for SRTP and SRTCP (RFC 7714 §8, §9).
//!
//! A keyed `ring` AEAD and a 96-bit salt. Called by `cipher` only.

use std::fmt;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::cipher::{RTCP_HEADER_LEN, RtcpId, RtpId};
use super::kdf::SessionKey;
use super::profile::{Profile, SRTCP_WORD_LEN};

/// One session key with its salt.
pub(super) struct Gcm {
    key: LessSafeKey,
    /// 96 bits.
    salt: u128,
}

impl Gcm {
    /// Bytes of the tag (RFC 7714 §13.2: 128 bits only).
    pub const TAG_LEN: usize = Profile::AeadAes128Gcm.tag_len();

    /// `None` for a profile that is not AES-GCM.
    pub fn new(session: &SessionKey) -> Option<Self> {
        let algorithm = match session.profile {
            Profile::AeadAes128Gcm => &AES_128_GCM,
            Profile::AeadAes256Gcm => &AES_256_GCM,
            Profile::AesCm128HmacSha1_80 => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, session.key()).ok()?);
        Some(Self {
            key,
            salt: session.salt_112() >> 16,
        })
    }

    /// The header is authenticated, the rest encrypted (RFC 7714 §8.2).
    pub fn seal_rtp(&self, id: RtpId, buf: &mut [u8], header_len: usize, len: usize) -> Option<()> {
        let (header, rest) = buf.split_at_mut_checked(header_len)?;
        let (body, tail) = rest.split_at_mut_checked(len.checked_sub(header_len)?)?;
        let slot = tail.first_chunk_mut::<{ Self::TAG_LEN }>()?;
        let nonce = self.nonce(id.number());
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), body)
            .ok()?;
        *slot = *tag.as_ref().first_chunk()?;
        Some(())
    }

    /// The reverse of [`seal_rtp`](Self::seal_rtp).
    pub fn open_rtp(&self, id: RtpId, packet: &mut [u8], header_len: usize) -> Option<()> {
        let (header, body) = packet.split_at_mut_checked(header_len)?;
        let nonce = self.nonce(id.number());
        self.key
            .open_in_place(nonce, Aad::from(&*header), body)
            .ok()?;
        Some(())
    }

    /// The first 8 bytes and the E bit with the index are authenticated, the rest encrypted
    /// (RFC 7714 §9.2); the packet ends with tag, then E bit and index.
    pub fn seal_rtcp(&self, id: RtcpId, buf: &mut [u8], len: usize) -> Option<()> {
        let (packet, tail) = buf.split_at_mut_checked(len)?;
        let (tag_slot, tail) = tail.split_first_chunk_mut::<{ Self::TAG_LEN }>()?;
        let word_slot = tail.first_chunk_mut::<SRTCP_WORD_LEN>()?;
        let (header, body) = packet.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
        let aad = Aad::from(rtcp_aad(*header, id.word()));
        let nonce = self.nonce(id.number());
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, body).ok()?;
        *tag_slot = *tag.as_ref().first_chunk()?;
        *word_slot = id.word();
        Some(())
    }

    /// The reverse of [`seal_rtcp`](Self::seal_rtcp).
    pub fn open_rtcp(&self, id: RtcpId, packet: &mut [u8]) -> Option<()> {
        let (packet, word) = packet.split_last_chunk_mut::<SRTCP_WORD_LEN>()?;
        let (header, body) = packet.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
        let aad = Aad::from(rtcp_aad(*header, *word));
        self.key
            .open_in_place(self.nonce(id.number()), aad, body)
            .ok()?;
        Some(())
    }

    /// `00 00 || SSRC || ROC || SEQ`, or `00 00 || SSRC || 00 00 || SRTCP index`, each XOR salt
    /// (RFC 7714 §8.1, §9.1).
    fn nonce(&self, number: u128) -> Nonce {
        let [_, _, _, _, nonce @ ..] = (self.salt ^ number).to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

fn rtcp_aad(
    [a, b, c, d, e, f, g, h]: [u8; RTCP_HEADER_LEN],
    [i, j, k, l]: [u8; SRTCP_WORD_LEN],
) -> [u8; RTCP_HEADER_LEN + SRTCP_WORD_LEN] {
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcm").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::hex;
    use super::*;

    const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SALT: &str = "517569642070726f2071756f";
    const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e6973206469766973\
                       6120696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

    fn gcm(profile: Profile) -> Gcm {
        let key = hex(KEY_256);
        Gcm::new(&SessionKey::published(
            profile,
            &key[..profile.key_len()],
            &hex(SALT),
        ))
        .unwrap()
    }

    #[test]
    fn rtp_is_that_of_rfc_7714_16() {
        for (profile, expected) in [
            (
                Profile::AeadAes128Gcm,
                "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f\
                 42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Profile::AeadAes256Gcm,
                "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3\
                 b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ] {
            let (plain, expected) = (hex(RTP), hex(expected));
            let id = RtpId::read(&plain, 0xf17b).unwrap();
            let mut buf = plain.clone();
            buf.resize(plain.len() + Gcm::TAG_LEN, 0);
            gcm(profile)
                .seal_rtp(id, &mut buf, 12, plain.len())
                .unwrap();
            assert_eq!(buf, expected, "{profile:?}");
            gcm(profile).open_rtp(id, &mut buf, 12).unwrap();
            assert_eq!(buf[..plain.len()], plain, "{profile:?}");
        }
    }

    #[test]
    fn rtcp_is_that_of_rfc_7714_17() {
        for (profile, expected) in [
            (
                Profile::AeadAes128Gcm,
                "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1\
                 730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                Profile::AeadAes256Gcm,
                "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1\
                 110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
            ),
        ] {
            let (plain, expected) = (hex(RTCP), hex(expected));
            let id = RtcpId::read(&plain, 0x5d4).unwrap();
            let mut buf = plain.clone();
            buf.resize(expected.len(), 0);
            gcm(profile).seal_rtcp(id, &mut buf, plain.len()).unwrap();
            assert_eq!(buf, expected, "{profile:?}");
            gcm(profile).open_rtcp(id, &mut buf).unwrap();
            assert_eq!(buf[..plain.len()], plain, "{profile:?}");
        }
    }
}
