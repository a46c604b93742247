//! One-time tokens: what the store keeps in place of them, and what one allows.

use ring::digest::{SHA256, digest};

/// What is stored in place of a token: its SHA-256. Tokens are random and long, so their hash
/// needs neither salt nor many rounds.
pub fn hash_of(token_id: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token_id.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2 appendix B.1.
        let hex = data_encoding::HEXLOWER.encode(&hash_of("abc"));
        assert!(hex.starts_with("ba7816bf8f01cfea414140de5dae2223"), "{hex}");
    }
}
