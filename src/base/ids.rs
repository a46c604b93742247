//! Typed identifiers: what is an integer or a short text on the wire is a type here.

use std::fmt;

use smallvec::SmallVec;

use super::limits::MAX_ENCODINGS;

/// RTP synchronisation source (RFC 3550 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0..=127 (RFC 3551 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pt(pub u8);

/// Index of a worker thread, 0-based; also the offset of its UDP port from `media.port`, unless
/// workers share that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// One WebSocket connection. Unique in the process for its lifetime: `worker` serves it, `serial`
/// is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The worker whose loop owns the socket.
    pub worker: WorkerId,
    /// Counts connections of that worker from 0.
    pub serial: u64,
}

/// One published track (m-line) in the process: the worker of its publisher and a serial that is
/// never used again on that worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId {
    /// The worker that receives the publisher's packets.
    pub origin: WorkerId,
    /// Unique among the tracks of that worker: a multiple of `limits::MAX_ENCODINGS` for a track,
    /// and that plus its index for each of the encodings of a track.
    pub serial: u64,
}

impl TrackId {
    /// The id of encoding `index` of this track; the first one has the track's own.
    pub const fn encoding(self, index: u8) -> Self {
        Self {
            origin: self.origin,
            serial: self.serial + index as u64,
        }
    }

    /// The id of the track that this encoding belongs to.
    pub const fn track(self) -> Self {
        Self {
            origin: self.origin,
            serial: self.serial - self.serial % MAX_ENCODINGS as u64,
        }
    }

    /// Which of its track's encodings it is.
    pub const fn encoding_index(self) -> u8 {
        (self.serial % MAX_ENCODINGS as u64) as u8
    }
}

/// A peer's place in its worker's table.
pub type PeerId = super::table::Key;

/// `a=mid` (RFC 9143, RFC 8843 §15): 1 to 16 bytes of ASCII token.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mid(SmallVec<[u8; 16]>);

/// `a=rid` (RFC 8851): 1 to 16 bytes of ASCII letters, digits, `-` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rid(SmallVec<[u8; 16]>);

impl Mid {
    /// Checks length and charset; `None` when either is off.
    pub fn new(text: &str) -> Option<Self> {
        short_token(text, |b| b.is_ascii_graphic()).map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Rid {
    /// Checks length and charset; `None` when either is off.
    pub fn new(text: &str) -> Option<Self> {
        short_token(text, |b| {
            b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
        })
        .map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn short_token(text: &str, allowed: impl Fn(u8) -> bool) -> Option<SmallVec<[u8; 16]>> {
    let fits = (1..=MAX_TOKEN_LEN).contains(&text.len()) && text.bytes().all(allowed);
    fits.then(|| SmallVec::from_slice(text.as_bytes()))
}

/// One-byte RTP header extensions carry at most 16 bytes (RFC 8285 §4.2), and both travel in one.
const MAX_TOKEN_LEN: usize = 16;

impl fmt::Debug for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mid({})", self.as_str())
    }
}

impl fmt::Debug for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rid({})", self.as_str())
    }
}

impl fmt::Display for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mids_and_rids_are_checked() {
        assert_eq!(Mid::new("0").unwrap().as_str(), "0");
        assert!(Mid::new("").is_none());
        assert!(Mid::new("has space").is_none());
        assert!(Mid::new("12345678901234567").is_none());
        assert!(Rid::new("h_1-x").is_some());
        assert!(Rid::new("a.b").is_none());
    }
}
