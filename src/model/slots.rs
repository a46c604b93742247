//! Commands for the limited slots of a room play: carried to control as they are.

use super::information::Page;
use super::track::StreamId;

/// Commands for the limited video slots of a room play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotCommand {
    /// `getVideoTrackAssignmentsCommand`, or its older name without `Command`.
    Get {
        /// The room.
        stream: StreamId,
    },
    /// `assignVideoTrackCommand`.
    Assign {
        /// The stream to pin, not the room.
        stream: StreamId,
        /// Label of the slot, `videoTrack0` and so on.
        slot: Option<String>,
        /// Pin, or let go.
        enabled: bool,
    },
    /// `updateVideoTrackAssignmentsCommand`.
    Update {
        /// The room.
        stream: StreamId,
        /// The participants to put on slots.
        page: Page,
    },
    /// `setMaxVideoTrackCountCommand`.
    SetMax {
        /// The room, or the client's own publish id.
        stream: StreamId,
        /// Slots wanted; -1 one per track.
        count: i64,
    },
}

impl SlotCommand {
    /// The id that it names, whatever that is.
    pub fn stream(&self) -> &StreamId {
        match self {
            Self::Get { stream }
            | Self::Assign { stream, .. }
            | Self::Update { stream, .. }
            | Self::SetMax { stream, .. } => stream,
        }
    }
}
