//! Questions about broadcasts: asked by a client, carried to control as they are, answered there.

use super::access::Proof;
use super::track::StreamId;

/// Questions about broadcasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Information {
    /// `getStreamInfo`.
    StreamInfo {
        /// About which broadcast.
        stream: StreamId,
    },
    /// `getTrackList`.
    TrackList {
        /// About which room.
        stream: StreamId,
        /// Checked as for play.
        proof: Proof,
    },
    /// `getBroadcastObject`.
    BroadcastObject {
        /// About which broadcast.
        stream: StreamId,
    },
    /// `getSubtracks`.
    Subtracks {
        /// The main track.
        stream: StreamId,
        /// Only subtracks of this role.
        role: Option<String>,
        /// Only subtracks of this status.
        status: Option<String>,
        /// Only subtracks whose names hold this text.
        search: Option<String>,
        /// Field to sort by.
        sort_by: Option<String>,
        /// `asc` or `desc`.
        order_by: Option<String>,
        /// Which part of the list.
        page: Page,
    },
    /// `getSubtracksCount`.
    SubtracksCount {
        /// The main track.
        stream: StreamId,
        /// Only subtracks of this role.
        role: Option<String>,
        /// Only subtracks of this status.
        status: Option<String>,
    },
    /// `getSubscriberCount`.
    SubscriberCount {
        /// Of which broadcast.
        stream: StreamId,
    },
    /// `getSubscribers`.
    Subscribers {
        /// Of which broadcast.
        stream: StreamId,
        /// Which part of the list.
        page: Page,
    },
    /// `getDebugInfo`.
    DebugInfo {
        /// Of which play or publish.
        stream: StreamId,
    },
}

/// Part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries passed over.
    pub offset: u32,
    /// Most entries wanted; `None` when the client did not say.
    pub size: Option<u32>,
}
