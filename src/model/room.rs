//! What is asked about rooms and what is answered.

use super::definition::Definition;
use super::track::StreamId;

/// What a connection asks of, or tells to, control about rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomMail {
    /// May it join? Answered by [`RoomAnswer::Join`].
    AskJoin {
        /// Echoed in the answer.
        request: u64,
        /// What it said.
        ask: JoinAsk,
    },
    /// Who is on air? Answered by [`RoomAnswer::Information`].
    AskInformation {
        /// Which room.
        room: StreamId,
        /// The caller's own id, left out of the answer.
        stream: Option<StreamId>,
    },
    /// Every membership of the connection in a room, granted or still asked for, is over.
    Left {
        /// Which room.
        room: StreamId,
    },
}

/// What control answers a connection about rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomAnswer {
    /// To [`RoomMail::AskJoin`].
    Join {
        /// Echo of the question.
        request: u64,
        /// Joined, or why not.
        result: Result<Joined, Definition>,
    },
    /// To [`RoomMail::AskInformation`].
    Information {
        /// Which room.
        room: StreamId,
        /// The caller's own id, as it gave it.
        stream: Option<StreamId>,
        /// Who is on air, or why that cannot be said.
        result: Result<Vec<RoomStream>, Definition>,
    },
}

/// The fields of a `joinRoom` command that decide about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAsk {
    /// Which room.
    pub room: StreamId,
    /// The id that the client will publish under; `None` until one is made for it.
    pub stream: Option<StreamId>,
    /// Token, JWT or hash.
    pub token: Option<String>,
}

/// A connection is a member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The id to publish under.
    pub stream: StreamId,
    /// Who is on air, the member's own id left out.
    pub others: Vec<RoomStream>,
}

/// One stream of a room that is on air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStream {
    /// Its id.
    pub stream: StreamId,
    /// Its display name.
    pub name: Option<String>,
    /// As its publisher gave it.
    pub meta_data: Option<String>,
}
