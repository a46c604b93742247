//! The transport half of a description: ICE credentials, certificate fingerprints, DTLS roles.
//!
//! RFC 8839 §5.4, RFC 8122 §5, RFC 4145 §4 and RFC 8842. All bundled sections share one transport;
//! [`RemoteTransport::of`] finds the section that speaks for it. Runs neither ICE nor DTLS. Called
//! by `parse.rs`, `answer.rs` and `accept.rs`.

use std::fmt;

use super::SdpError;
use super::description::{Description, MediaSection};
use crate::base::redact::Secret;

/// ICE user fragment and password of one side.
#[derive(Clone, PartialEq, Eq)]
pub struct IceParameters {
    /// 4..=256 printable ASCII characters without `:`.
    pub ufrag: String,
    /// 22..=256 printable ASCII characters.
    pub pwd: String,
}

impl IceParameters {
    /// Checks lengths and characters (RFC 8839 §5.4). More characters pass than RFC 8839 lists,
    /// because some clients use base64url; `:` does not, as it separates the two fragments in STUN.
    pub(super) fn new(ufrag: &str, pwd: &str) -> Result<Self, SdpError> {
        let clean = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        let fits = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len());
        if !fits || !clean(ufrag) || !clean(pwd) {
            return Err(SdpError::MalformedIce);
        }
        Ok(Self {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        })
    }
}

impl fmt::Debug for IceParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceParameters")
            .field("ufrag", &self.ufrag)
            .field("pwd", &Secret(&self.pwd))
            .finish()
    }
}

/// Hash functions taken for fingerprints (RFC 8122 §5); SHA-1 and older are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl HashFunction {
    /// The name in `a=fingerprint`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of its digest.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// `a=fingerprint`: the digest of a certificate. Displays as the attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// How it was made.
    pub hash: HashFunction,
    /// The digest, as long as `hash` makes it.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:...`; `None` for other hashes and malformed digests.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (name, digest) = text.trim().split_once(' ')?;
        let hash = [
            HashFunction::Sha256,
            HashFunction::Sha384,
            HashFunction::Sha512,
        ]
        .into_iter()
        .find(|h| h.name().eq_ignore_ascii_case(name))?;
        let digest = digest.trim();
        if digest.len() != hash.digest_len() * 3 - 1 {
            return None;
        }
        let bytes: Option<Vec<u8>> = digest.split(':').map(hex_byte).collect();
        bytes
            .filter(|b| b.len() == hash.digest_len())
            .map(|bytes| Self { hash, bytes })
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (i, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// `a=setup` (RFC 4145 §4): who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// The writer starts the handshake.
    Active,
    /// The writer waits for it.
    Passive,
    /// The writer leaves the choice to the answerer.
    ActPass,
    /// Nobody for the time being.
    HoldConn,
}

impl Setup {
    /// The role of that name; `None` for others.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            "actpass" => Some(Self::ActPass),
            "holdconn" => Some(Self::HoldConn),
            _ => None,
        }
    }
}

/// The remote end of the one transport of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    /// Its ICE credentials; a change of them is an ICE restart.
    pub ice: IceParameters,
    /// Its certificate matches one of these; never empty.
    pub fingerprints: Vec<Fingerprint>,
    /// `candidate:...` texts, to be parsed by the caller; often empty (trickle).
    pub candidates: Vec<String>,
    /// No further candidates will come.
    pub end_of_candidates: bool,
}

impl RemoteTransport {
    /// The transport of the section at `first`, the first one accepted. When that is bundled and
    /// leaves an attribute out, the first bundled section that has it stands in (RFC 8843 §7.1.3:
    /// attributes of the transport may stand in one section only).
    ///
    /// # Errors
    /// `IceLite`, `MissingIce`, `MissingFingerprint`.
    pub(super) fn of(description: &Description, first: usize) -> Result<Self, SdpError> {
        if description.ice_lite {
            return Err(SdpError::IceLite);
        }
        let own = description.media.get(first).ok_or(SdpError::MissingIce)?;
        let shared = description
            .media
            .iter()
            .filter(|s| own.bundled && s.bundled && !s.rejected);
        let family = || std::iter::once(own).chain(shared.clone());
        let ice = family()
            .find_map(|s| s.ice.clone())
            .ok_or(SdpError::MissingIce)?;
        let fingerprints = family()
            .map(|s| &s.fingerprints)
            .find(|f| !f.is_empty())
            .ok_or(SdpError::MissingFingerprint)?;
        Ok(Self {
            ice,
            fingerprints: fingerprints.clone(),
            candidates: own.candidates.clone(),
            end_of_candidates: own.end_of_candidates,
        })
    }
}

/// The DTLS role that the transport's sections agree on; `None` when none of them names one.
/// Conflicts were refused while parsing.
pub(super) fn setup_of(description: &Description, first: usize) -> Option<Setup> {
    let own = description.media.get(first)?;
    let shared = |s: &&MediaSection| own.bundled && s.bundled && !s.rejected;
    own.setup.or_else(|| {
        description
            .media
            .iter()
            .filter(shared)
            .find_map(|s| s.setup)
    })
}
