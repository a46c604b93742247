//! Session keys from a master key: the AES-CM pseudo-random function (RFC 3711 §4.3).
//!
//! With AES-256 for 256-bit keys (RFC 6188 §3), the same for AES-GCM (RFC 7714 §11). The key
//! derivation rate is 0: one set of session keys per master key. Runs once per handshake; called
//! by `protect` and `unprotect`.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use zeroize::Zeroize;

use super::keys::{MasterKey, salt_number};
use super::profile::{MAX_KEY_LEN, MAX_SALT_LEN, Profile};

/// What a session key protects; selects the derivation labels (RFC 3711 §4.3.1, §4.3.2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Protects {
    /// SRTP, labels 0, 1, 2.
    Rtp,
    /// SRTCP, labels 3, 4, 5.
    Rtcp,
}

/// The key, authentication key and salt that protect RTP or RTCP in one direction. Wiped on drop.
pub(super) struct SessionKey {
    pub profile: Profile,
    key: [u8; MAX_KEY_LEN],
    /// All zeros for AES-GCM, which authenticates with `key`.
    auth: [u8; AUTH_KEY_LEN],
    salt: [u8; MAX_SALT_LEN],
}

impl SessionKey {
    /// Derives the three; `None` when the crypto library refuses, which a key of the right
    /// length never meets.
    pub fn derive(master: &MasterKey, protects: Protects) -> Option<Self> {
        let profile = master.profile();
        let (encryption, authentication, salting) = match protects {
            Protects::Rtp => (0, 1, 2),
            Protects::Rtcp => (3, 4, 5),
        };
        let mut session = Self {
            profile,
            key: [0; MAX_KEY_LEN],
            auth: [0; AUTH_KEY_LEN],
            salt: [0; MAX_SALT_LEN],
        };
        prf(
            master,
            encryption,
            session.key.get_mut(..profile.key_len())?,
        )?;
        prf(master, salting, session.salt.get_mut(..profile.salt_len())?)?;
        match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {}
            Profile::AesCm128HmacSha1_80 => prf(master, authentication, &mut session.auth)?,
        }
        Some(session)
    }

    /// The encryption key, [`Profile::key_len`] bytes.
    pub fn key(&self) -> &[u8] {
        self.key.get(..self.profile.key_len()).unwrap_or_default()
    }

    /// The HMAC-SHA1 key.
    pub const fn auth(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.auth
    }

    /// The salt as a 112-bit number; of AES-GCM only the upper 96 bits are in use.
    pub fn salt_112(&self) -> u128 {
        salt_number(&self.salt)
    }
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.auth.zeroize();
        self.salt.zeroize();
    }
}

/// Fills `out` with AES-CM key stream for `label` (RFC 3711 §4.3.3):
///
/// ```text
/// key_id = label || r, with r = 0      x = key_id XOR master_salt      IV = x * 2^16
/// ```
fn prf(master: &MasterKey, label: u8, out: &mut [u8]) -> Option<()> {
    let algorithm = match master.profile() {
        Profile::AeadAes128Gcm | Profile::AesCm128HmacSha1_80 => &AES_128,
        Profile::AeadAes256Gcm => &AES_256,
    };
    let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, master.key()).ok()?).ok()?;
    let x = master.salt_112() ^ (u128::from(label) << INDEX_BITS);
    let iv = EncryptionContext::Iv128((x << 16).to_be_bytes().into());
    out.fill(0);
    key.less_safe_encrypt(out, iv).ok()?;
    Some(())
}

/// Bytes of an HMAC-SHA1 session key (RFC 3711 §5.2).
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Bits of `r` behind the label (RFC 3711 §4.3.1).
const INDEX_BITS: u32 = 48;

#[cfg(test)]
impl SessionKey {
    /// A session key that was published, not derived.
    pub fn published(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        let mut session = Self {
            profile,
            key: [0; MAX_KEY_LEN],
            auth: [0; AUTH_KEY_LEN],
            salt: [0; MAX_SALT_LEN],
        };
        session.key[..profile.key_len()].copy_from_slice(key);
        session.salt[..profile.salt_len()].copy_from_slice(salt);
        session
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::hex;
    use super::*;

    #[test]
    fn derives_the_keys_of_rfc_3711_b_3() {
        let master = MasterKey::new(
            Profile::AesCm128HmacSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let session = SessionKey::derive(&master, Protects::Rtp).unwrap();
        assert_eq!(session.key(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(session.salt.as_slice(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let auth = hex(
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
             E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
             6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2",
        );
        assert_eq!(session.auth.as_slice(), &auth[..AUTH_KEY_LEN]);
        let mut long = [0; 94];
        prf(&master, 1, &mut long).unwrap();
        assert_eq!(long.as_slice(), auth, "all 94 bytes that B.3 prints");
    }

    /// B.3 stops at SRTP; the SRTCP labels were computed with Python's `cryptography`.
    #[test]
    fn derives_srtcp_keys_with_their_own_labels() {
        let master = MasterKey::new(
            Profile::AesCm128HmacSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let session = SessionKey::derive(&master, Protects::Rtcp).unwrap();
        assert_eq!(session.key(), hex("4c1aa45a81f73d61c800bbb00fbb1eaa"));
        assert_eq!(
            session.auth.as_slice(),
            hex("8d54534feb49ae8e7993a6bd0b844fc323a93dfd")
        );
        assert_eq!(session.salt.as_slice(), hex("9581c7ad87b3e530bf3e4454a8b3"));
    }

    /// RFC 6188 §7.2 has a 112-bit master salt, which AES-GCM has not: the first 12 bytes are a
    /// master salt, the last two enter by hand.
    #[test]
    fn aes_256_key_stream_is_that_of_rfc_6188() {
        let mut master = MasterKey::new(
            Profile::AeadAes256Gcm,
            &hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
            &hex("3b04803de51ee7c96423ab5b"),
        )
        .unwrap();
        master.pad_salt([0x78, 0xd2]);
        for (label, expected) in [
            (
                0,
                "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            ),
            (1, "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"),
            (2, "fa31791685ca444a9e07c6c64e93"),
        ] {
            let expected = hex(expected);
            let mut out = vec![0; expected.len()];
            prf(&master, label, &mut out).unwrap();
            assert_eq!(out, expected, "label {label}");
        }
    }
}
