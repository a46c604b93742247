//! What a client wants of control besides publishing and playing: carried there as it is.

use super::call::CallStep;
use super::information::Information;
use super::slots::SlotCommand;
use super::track::StreamId;
use crate::base::codec::MediaKind;

/// One errand; control knows which connection sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A step of a call between two clients.
    Call(CallStep),
    /// It wants to know something; answered by `WorkerMail::Text`.
    Question(Information),
    /// A publisher switches its media on or off for everybody.
    Switch {
        /// Which id it publishes.
        stream: StreamId,
        /// Audio or video; `None`: both.
        kind: Option<MediaKind>,
        /// On or off.
        enabled: bool,
    },
    /// A player wants a track that its play may have left out.
    Show {
        /// The main track that it plays.
        main: StreamId,
        /// The track.
        track: StreamId,
    },
    /// A player says, or asks, who is on the slots of its play.
    Slots(SlotCommand),
    /// A publisher describes its broadcast anew.
    MetaData {
        /// Which id it publishes.
        stream: StreamId,
        /// Stored verbatim; `None` clears it.
        meta_data: Option<String>,
    },
}
