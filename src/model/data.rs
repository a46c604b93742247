//! What travels over data channels, and to whom.
//!
//! Ant Media's channel is a pipe: the server passes messages on as they are and reads none of
//! them. `datachannel/` carries a message to one peer, `engine/data.rs` decides to which.

use bytes::Bytes;
use smallvec::SmallVec;

use super::mail::AppName;
use super::track::StreamId;
use crate::base::ids::ConnId;

/// One message of a data channel; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// How the receiver's application is handed it.
    pub kind: DataKind,
    /// The message, at most `limits::MAX_DATA_MESSAGE_LEN` bytes; may be empty. UTF-8 when it is
    /// text.
    pub bytes: Bytes,
}

/// Text or not: the two kinds that an RTCDataChannel tells apart (RFC 8831 §6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// A string.
    Text,
    /// Bytes.
    Binary,
}

impl DataMessage {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            kind: DataKind::Text,
            bytes: Bytes::from(text.into()),
        }
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: DataKind::Binary,
            bytes: bytes.into(),
        }
    }
}

/// A message on its way to every peer that is to have it, on whatever worker that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRelay {
    /// Of which application.
    pub app: AppName,
    /// The broadcast or room in which it was sent.
    pub stream: StreamId,
    /// The connection that sent it, none of whose peers receives it; `None` when it is from REST.
    pub from: Option<ConnId>,
    /// Who receives it. A peer that is named twice receives it once.
    pub to: DataTargets,
    /// The message.
    pub message: DataMessage,
}

/// A handful of groups of peers.
pub type DataTargets = SmallVec<[DataTarget; 3]>;

/// A group of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataTarget {
    /// Everybody who publishes this broadcast or, when it is a room, a subtrack of it.
    Publishers(StreamId),
    /// Everybody who plays it.
    Players(StreamId),
}
