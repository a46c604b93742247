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

/// One broadcast's tracks as a player gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The broadcast that publishes them: the label of `ARDAMSv<label>`.
    pub stream: StreamId,
    /// Its tracks; empty for a publisher that sends data only.
    pub tracks: Vec<TrackInfo>,
}

/// A granted play: what the offer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayGrant {
    /// One source for a plain broadcast, one per subtrack for a room.
    pub sources: Vec<Source>,
    /// Whether the offer holds a data channel section.
    pub data_channel: bool,
    /// The room it belongs to: the id itself when it is a main track, whose sources come and go;
    /// `None` for a broadcast outside of any room.
    pub room: Option<StreamId>,
}
