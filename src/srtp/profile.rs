//! The protection profiles and their lengths (RFC 5764 §4.1.2, RFC 7714 §14.2).
//!
//! Which of them is offered and chosen is `transport/`'s business.

use crate::base::limits::MAX_SRTP_OVERHEAD;

/// What a DTLS handshake chose with `use_srtp`. AES-GCM is the cheaper one by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`, {0x00, 0x07} (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`, {0x00, 0x08} (RFC 7714 §14.2).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, {0x00, 0x01} (RFC 5764 §4.1.2); all that old clients know.
    AesCm128HmacSha1_80,
}

impl Profile {
    /// Every profile, in the order of preference.
    pub const ALL: [Profile; 3] = [
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
        Profile::AesCm128HmacSha1_80,
    ];

    /// Bytes of a master key, and of a session encryption key.
    pub const fn key_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AesCm128HmacSha1_80 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt, and of a session salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            Profile::AesCm128HmacSha1_80 => 14,
        }
    }

    /// Bytes that protection adds behind an RTP packet: the authentication tag.
    pub const fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::AesCm128HmacSha1_80 => 10,
        }
    }

    /// Bytes that protection adds behind an RTCP compound: the tag and the E bit with the index.
    pub const fn rtcp_overhead_len(self) -> usize {
        self.tag_len() + SRTCP_WORD_LEN
    }

    /// Bytes to export from DTLS (RFC 5764 §4.2): two keys and two salts.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// Largest [`Profile::key_len`].
pub(super) const MAX_KEY_LEN: usize = 32;

/// Largest [`Profile::salt_len`].
pub(super) const MAX_SALT_LEN: usize = 14;

/// The E bit and the 31-bit SRTCP index (RFC 3711 §3.4).
pub(super) const SRTCP_WORD_LEN: usize = 4;

const fn fits(profile: Profile) -> bool {
    profile.key_len() <= MAX_KEY_LEN
        && profile.salt_len() <= MAX_SALT_LEN
        && profile.rtcp_overhead_len() <= MAX_SRTP_OVERHEAD
}

const _: () = assert!(fits(Profile::AeadAes128Gcm));
const _: () = assert!(fits(Profile::AeadAes256Gcm));
const _: () = assert!(fits(Profile::AesCm128HmacSha1_80));
