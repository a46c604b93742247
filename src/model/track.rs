//! What everybody needs to know of a published track, and what a player is given.

use std::sync::Arc;

use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Pt, TrackId};

/// The id of a broadcast, `streamId` on the wire; shared text, cheap to clone.
pub type StreamId = Arc<str>;

/// One published track in the server's canonical form: the same payload types towards everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Which worker receives it, and its number there.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// The one codec that was negotiated with the publisher.
    pub codec: Codec,
    /// `a=fmtp` parameters to repeat towards players; may be empty.
    pub fmtp: Arc<str>,
    /// The server's own payload type for this codec variant.
    pub pt: Pt,
    /// The server's own RTX payload type; `None` for codecs without RTX.
    pub rtx_pt: Option<Pt>,
    /// Its packets may have redundancy (RFC 2198), under `base::codec::RED_PT`.
    pub red: bool,
    /// Encodings of it that are published at once (simulcast), 1..=`limits::MAX_ENCODINGS`. Each
    /// has an id of its own.
    pub encodings: u8,
}

impl TrackInfo {
    /// The same for its encoding `index` alone.
    pub fn of_encoding(&self, index: u8) -> Self {
        Self {
            id: self.id.encoding(index),
            encodings: 1,
            ..self.clone()
        }
    }

    /// True when an m-line that was offered for this track can carry `other`: same kind, codec and
    /// payload types.
    pub fn takes_same_section(&self, other: &Self) -> bool {
        let is_like = (self.kind, self.codec, self.pt, self.rtx_pt)
            == (other.kind, other.codec, other.pt, other.rtx_pt);
        is_like && self.red == other.red
    }
}

/// Which media of a broadcast its publisher lets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its audio.
    pub audio: bool,
    /// Its video.
    pub video: bool,
}

impl Flow {
    /// Everything flows.
    pub const ALL: Self = Self {
        audio: true,
        video: true,
    };

    /// Switches one kind, or both when `kind` is `None`.
    pub fn switch(&mut self, kind: Option<MediaKind>, enabled: bool) {
        match kind {
            Some(MediaKind::Audio) => self.audio = enabled,
            Some(MediaKind::Video) => self.video = enabled,
            None => (self.audio, self.video) = (enabled, enabled),
        }
    }
}

/// One broadcast's tracks as a player gets them, or those of whoever is on a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The label of `ARDAMSv<label>`: the broadcast that publishes them, or the slot.
    pub stream: StreamId,
    /// Its tracks; empty for a publisher that sends data only.
    pub tracks: Vec<TrackInfo>,
}

/// What a play is to be sent, and of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineup {
    /// The broadcasts it is about, also those that are on no slot: what notifications name.
    pub participants: Vec<StreamId>,
    /// What is sent, in the order of the offer.
    pub sources: Vec<Source>,
}

impl Lineup {
    /// Everything of everybody: each source under the id of its broadcast.
    pub fn of(sources: Vec<Source>) -> Self {
        Self {
            participants: sources.iter().map(|s| s.stream.clone()).collect(),
            sources,
        }
    }
}

/// A granted play: what the offer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayGrant {
    /// One source for a plain broadcast; for a room one per subtrack, or per slot.
    pub lineup: Lineup,
    /// Whether the offer holds a data channel section.
    pub data_channel: bool,
    /// The room it belongs to: the id itself when it is a main track, whose sources come and go;
    /// `None` for a broadcast outside of any room.
    pub room: Option<StreamId>,
}
