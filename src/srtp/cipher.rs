//! One session key in use: AES-GCM or AES-CM with HMAC-SHA1, for RTP or for RTCP.
//!
//! Knows where the pieces of a protected packet lie; knows no replay and no rollover. Called by
//! `protect` and `unprotect`.

use crate::base::bytes::Reader;
use crate::base::ids::Ssrc;
use crate::base::seq::SeqNo;

use super::cm::CmHmac;
use super::gcm::Gcm;
use super::kdf::SessionKey;
use super::profile::{Profile, SRTCP_WORD_LEN};

/// A keyed cipher with its salt.
#[expect(
    clippy::large_enum_variant,
    reason = "AES-GCM, the common case, sits in its owner without a pointer to follow; AES-CM \
              with HMAC is 1.7 KB and rare"
)]
#[derive(Debug)]
pub(super) enum Cipher {
    Gcm(Gcm),
    CmHmac(Box<CmHmac>),
}

impl Cipher {
    /// Keys the cipher; `None` when the crypto library refuses, which a key of the right length
    /// never meets.
    pub fn new(session: &SessionKey) -> Option<Self> {
        match session.profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Gcm::new(session).map(Cipher::Gcm),
            Profile::AesCm128HmacSha1_80 => {
                CmHmac::new(session).map(|cm| Cipher::CmHmac(Box::new(cm)))
            }
        }
    }

    /// Bytes of the authentication tag.
    pub const fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm(_) => Gcm::TAG_LEN,
            Cipher::CmHmac(_) => CmHmac::TAG_LEN,
        }
    }

    /// Encrypts `buf[header_len..len]` and writes the tag behind it. `None`, and `buf` unchanged,
    /// when the tag does not fit.
    pub fn seal_rtp(&self, id: RtpId, buf: &mut [u8], header_len: usize, len: usize) -> Option<()> {
        match self {
            Cipher::Gcm(gcm) => gcm.seal_rtp(id, buf, header_len, len),
            Cipher::CmHmac(cm) => cm.seal_rtp(id, buf, header_len, len),
        }
    }

    /// Verifies a packet and decrypts what lies between header and tag. `None`: not authentic,
    /// and the bytes behind the header are unspecified.
    pub fn open_rtp(&self, id: RtpId, packet: &mut [u8], header_len: usize) -> Option<()> {
        match self {
            Cipher::Gcm(gcm) => gcm.open_rtp(id, packet, header_len),
            Cipher::CmHmac(cm) => cm.open_rtp(id, packet, header_len),
        }
    }

    /// Encrypts `buf[8..len]` and writes tag, E bit and index behind it. `None`, and `buf`
    /// unchanged, when they do not fit.
    pub fn seal_rtcp(&self, id: RtcpId, buf: &mut [u8], len: usize) -> Option<()> {
        match self {
            Cipher::Gcm(gcm) => gcm.seal_rtcp(id, buf, len),
            Cipher::CmHmac(cm) => cm.seal_rtcp(id, buf, len),
        }
    }

    /// Verifies and decrypts an SRTCP packet whose E bit is set. `None`: not authentic, and the
    /// bytes behind the first 8 are unspecified.
    pub fn open_rtcp(&self, id: RtcpId, packet: &mut [u8]) -> Option<()> {
        match self {
            Cipher::Gcm(gcm) => gcm.open_rtcp(id, packet),
            Cipher::CmHmac(cm) => cm.open_rtcp(id, packet),
        }
    }

    /// The E bit with the SRTCP index; `None` when `packet` is too short to have them. AES-GCM
    /// writes them last (RFC 7714 §9.2), AES-CM before the tag (RFC 3711 §3.4).
    pub fn rtcp_word(&self, packet: &[u8]) -> Option<u32> {
        let behind = match self {
            Cipher::Gcm(_) => 0,
            Cipher::CmHmac(_) => CmHmac::TAG_LEN,
        };
        let end = packet.len().checked_sub(behind)?;
        let (_, word) = packet.get(..end)?.split_last_chunk::<SRTCP_WORD_LEN>()?;
        Some(u32::from_be_bytes(*word))
    }
}

/// What makes an SRTP packet's nonce: SSRC and 48-bit packet index.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtpId {
    pub ssrc: Ssrc,
    pub index: u64,
}

impl RtpId {
    /// Reads SSRC and sequence number from an RTP header (RFC 3550 §5.1). `None` when it is
    /// shorter than 12 bytes, when `index` has more than 48 bits, or when its low 16 bits are
    /// not the header's sequence number.
    ///
    /// ```text
    ///  0                   1                   2                   3
    ///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    /// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    /// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
    /// |                           timestamp                           |
    /// |                             SSRC                              |
    /// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    /// ```
    pub fn read(header: &[u8], index: u64) -> Option<Self> {
        let mut reader = Reader::new(header);
        reader.skip(2)?;
        let seq = SeqNo(reader.u16()?);
        reader.skip(4)?;
        let ssrc = Ssrc(reader.u32()?);
        (index <= MAX_RTP_INDEX && seq == SeqNo(index as u16)).then_some(Self { ssrc, index })
    }

    /// SSRC and index as one number, `SSRC || ROC || SEQ`: the low 80 bits of every IV.
    pub const fn number(self) -> u128 {
        ((self.ssrc.0 as u128) << 48) | self.index as u128
    }

    /// The rollover counter, as it is authenticated (RFC 3711 §4.2).
    pub const fn roc(self) -> [u8; 4] {
        ((self.index >> 16) as u32).to_be_bytes()
    }
}

/// What makes an SRTCP packet's nonce: sender SSRC and 31-bit SRTCP index.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtcpId {
    pub ssrc: Ssrc,
    pub index: u32,
}

impl RtcpId {
    /// Reads the sender SSRC, bytes 4 to 7 of every RTCP packet (RFC 3550 §6.4). `None` when
    /// `packet` is shorter than 8 bytes.
    pub fn read(packet: &[u8], index: u32) -> Option<Self> {
        let mut reader = Reader::new(packet);
        reader.skip(4)?;
        Some(Self {
            ssrc: Ssrc(reader.u32()?),
            index,
        })
    }

    /// SSRC and index as one number, `SSRC || 0 || index`: the low 80 bits of every IV.
    pub const fn number(self) -> u128 {
        ((self.ssrc.0 as u128) << 48) | self.index as u128
    }

    /// The E bit, set, with the index.
    pub const fn word(self) -> [u8; SRTCP_WORD_LEN] {
        (SRTCP_E_BIT | self.index).to_be_bytes()
    }
}

/// Bytes of RTCP that stay in the clear: first word and sender SSRC (RFC 3711 §3.4).
pub(super) const RTCP_HEADER_LEN: usize = 8;

/// Set when an SRTCP packet is encrypted (RFC 3711 §3.4).
pub(super) const SRTCP_E_BIT: u32 = 1 << 31;

/// Largest SRTCP index (RFC 3711 §3.4: 31 bits).
pub(super) const MAX_RTCP_INDEX: u32 = SRTCP_E_BIT - 1;

/// Largest SRTP packet index (RFC 3711 §3.3.1: 48 bits).
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
