//! Packets that libsrtp protected, compared bit by bit, and helpers for published vectors.
//!
//! `tests/data/srtp/libsrtp.txt` was written by `tests/interop/srtp_vectors.py`, which also
//! describes its lines. Test code only; RFC vectors are in `kdf`, `cm` and `gcm`.

use super::{MasterKey, Profile, Protect, Unprotect};

/// Bytes of hexadecimal digits.
pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "whole bytes");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A master key with no two bytes alike.
pub fn master(profile: Profile) -> MasterKey {
    let bytes: Vec<u8> = (0..46).map(|i| i * 5 + 1).collect();
    let (key, rest) = bytes.split_at(profile.key_len());
    MasterKey::new(profile, key, &rest[..profile.salt_len()]).unwrap()
}

/// The keys of one block of the file, and what they protected.
struct Block {
    profile: Profile,
    key: Vec<u8>,
    salt: Vec<u8>,
    rtp: Vec<Rtp>,
    rtcp: Vec<Rtcp>,
}

struct Rtp {
    index: u64,
    header_len: usize,
    plain: Vec<u8>,
    protected: Vec<u8>,
}

struct Rtcp {
    index: u32,
    plain: Vec<u8>,
    protected: Vec<u8>,
}

impl Block {
    fn master(&self) -> MasterKey {
        MasterKey::new(self.profile, &self.key, &self.salt).unwrap()
    }
}

fn blocks() -> Vec<Block> {
    let text = include_str!("../../tests/data/srtp/libsrtp.txt");
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["profile", name] = words[..] {
            let profile = match name {
                "AES128_CM_SHA1_80" => Profile::AesCm128HmacSha1_80,
                "AEAD_AES_128_GCM" => Profile::AeadAes128Gcm,
                "AEAD_AES_256_GCM" => Profile::AeadAes256Gcm,
                other => panic!("profile {other}"),
            };
            let (key, salt) = (Vec::new(), Vec::new());
            blocks.push(Block {
                profile,
                key,
                salt,
                rtp: Vec::new(),
                rtcp: Vec::new(),
            });
            continue;
        }
        let block = blocks.last_mut().unwrap();
        match words[..] {
            ["key", key] => block.key = hex(key),
            ["salt", salt] => block.salt = hex(salt),
            ["rtp", index, header_len, plain, protected] => block.rtp.push(Rtp {
                index: index.parse().unwrap(),
                header_len: header_len.parse().unwrap(),
                plain: hex(plain),
                protected: hex(protected),
            }),
            ["rtcp", index, plain, protected] => block.rtcp.push(Rtcp {
                index: index.parse().unwrap(),
                plain: hex(plain),
                protected: hex(protected),
            }),
            ref other => panic!("line {other:?}"),
        }
    }
    blocks
}

#[test]
fn the_file_covers_every_profile_and_a_rollover() {
    let blocks = blocks();
    for profile in Profile::ALL {
        let block = blocks
            .iter()
            .find(|block| block.profile == profile)
            .unwrap();
        assert!(block.rtp.iter().any(|packet| packet.index < 0x1_0000));
        assert!(block.rtp.iter().any(|packet| packet.index >= 0x1_0000));
        assert!(block.rtp.iter().any(|packet| packet.header_len > 12));
        assert!(block.rtcp.len() > 1);
    }
}

#[test]
fn rtp_is_bit_for_bit_that_of_libsrtp() {
    for block in blocks() {
        let protect = Protect::new(&block.master()).unwrap();
        let unprotect = Unprotect::new(&block.master()).unwrap();
        for Rtp {
            index,
            header_len,
            plain,
            protected,
        } in block.rtp
        {
            let mut buf = plain.clone();
            buf.resize(plain.len() + 20, 0);
            let len = protect
                .protect_rtp(&mut buf, header_len, plain.len(), index)
                .unwrap();
            assert_eq!(buf[..len], protected, "{:?} index {index}", block.profile);
            let len = unprotect
                .unprotect_rtp(&mut buf[..len], header_len, index)
                .unwrap();
            assert_eq!(buf[..len], plain, "{:?} index {index}", block.profile);
        }
    }
}

#[test]
fn rtcp_is_bit_for_bit_that_of_libsrtp() {
    for block in blocks() {
        let mut protect = Protect::new(&block.master()).unwrap();
        let mut unprotect = Unprotect::new(&block.master()).unwrap();
        for Rtcp {
            index,
            plain,
            mut protected,
        } in block.rtcp
        {
            let mut buf = plain.clone();
            buf.resize(plain.len() + 20, 0);
            protect.set_rtcp_index(index);
            let len = protect.protect_rtcp(&mut buf, plain.len()).unwrap();
            assert_eq!(buf[..len], protected, "{:?} index {index}", block.profile);
            let len = unprotect.unprotect_rtcp(&mut protected).unwrap();
            assert_eq!(protected[..len], plain, "{:?} index {index}", block.profile);
        }
    }
}
