//! Master keys, and how the DTLS exporter's bytes are cut into them (RFC 5764 §4.2).
//!
//! Derives nothing: that is `kdf`. Called by `peer/` when a handshake completes.

use std::fmt;

use zeroize::Zeroize;

use super::profile::{MAX_KEY_LEN, MAX_SALT_LEN, Profile};

/// The master key and salt of one direction (RFC 3711 §3.2.1). Wiped on drop, never printed.
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY_LEN],
    salt: [u8; MAX_SALT_LEN],
}

/// The two directions of one DTLS association. The DTLS client sends with `client`, the DTLS
/// server with `server`, whatever their roles in signalling.
#[derive(Debug)]
pub struct Keys {
    /// Protects what the DTLS client sends.
    pub client: MasterKey,
    /// Protects what the DTLS server sends.
    pub server: MasterKey,
}

impl Keys {
    /// Cuts exported keying material (RFC 5764 §4.2), which is laid out as
    ///
    /// ```text
    /// client key | server key | client salt | server salt
    /// ```
    ///
    /// `None` when its length is not exactly [`Profile::keying_material_len`].
    pub fn from_dtls(profile: Profile, material: &[u8]) -> Option<Self> {
        if material.len() != profile.keying_material_len() {
            return None;
        }
        let (client_key, rest) = material.split_at_checked(profile.key_len())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_len())?;
        let (client_salt, server_salt) = rest.split_at_checked(profile.salt_len())?;
        Some(Self {
            client: MasterKey::new(profile, client_key, client_salt)?,
            server: MasterKey::new(profile, server_key, server_salt)?,
        })
    }
}

impl MasterKey {
    /// Copies a key and a salt; `None` when a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        let mut master = Self {
            profile,
            key: [0; MAX_KEY_LEN],
            salt: [0; MAX_SALT_LEN],
        };
        master.key.get_mut(..key.len())?.copy_from_slice(key);
        master.salt.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(master)
    }

    /// The profile that this key belongs to.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The key, [`Profile::key_len`] bytes.
    pub(super) fn key(&self) -> &[u8] {
        self.key.get(..self.profile.key_len()).unwrap_or_default()
    }

    /// The salt as a 112-bit number; a 96-bit salt is padded with zeros on the right, as RFC 7714
    /// §11 asks for key derivation.
    pub(super) fn salt_112(&self) -> u128 {
        salt_number(&self.salt)
    }
}

/// 14 bytes in network order as a 112-bit number.
pub(super) fn salt_number(salt: &[u8; MAX_SALT_LEN]) -> u128 {
    salt.iter()
        .fold(0, |number, &byte| (number << 8) | u128::from(byte))
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({:?})", self.profile)
    }
}

#[cfg(test)]
impl MasterKey {
    /// Sets the two bytes behind a 96-bit salt, for vectors with 112-bit salts.
    pub(super) fn pad_salt(&mut self, [a, b]: [u8; 2]) {
        self.salt[12] = a;
        self.salt[13] = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keying_material_is_cut_keys_first_then_salts() {
        for profile in Profile::ALL {
            let (k, s) = (profile.key_len(), profile.salt_len());
            let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
            let keys = Keys::from_dtls(profile, &material).unwrap();
            assert_eq!(keys.client.key(), &material[..k]);
            assert_eq!(keys.server.key(), &material[k..2 * k]);
            assert_eq!(&keys.client.salt[..s], &material[2 * k..2 * k + s]);
            assert_eq!(&keys.server.salt[..s], &material[2 * k + s..]);
        }
    }

    #[test]
    fn keying_material_of_another_length_is_refused() {
        for profile in Profile::ALL {
            let len = profile.keying_material_len();
            for wrong in [0, len - 1, len + 1] {
                assert!(Keys::from_dtls(profile, &vec![0; wrong]).is_none());
            }
        }
    }

    #[test]
    fn a_key_does_not_print_its_bytes() {
        let key = MasterKey::new(Profile::AeadAes128Gcm, &[0xab; 16], &[0xcd; 12]).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(AeadAes128Gcm)");
    }
}
