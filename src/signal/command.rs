//! What a client can ask: one variant per command, grouped by the part that serves it.
//!
//! Every id in here has passed the stream id gate of [`super::message::parse`]. Texts are `None`
//! when the client left them out, sent null or sent `""`.

use crate::base::codec::MediaKind;
use crate::model::access::Proof;
pub use crate::model::information::{Information, Page};
use crate::model::mail::{PlayAsk, PublishAsk};
pub use crate::model::slots::SlotCommand;
use crate::model::track::StreamId;

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ping`: answered with `pong` at once.
    Ping,
    /// `getIceServerConfig`: needs no stream id.
    GetIceServerConfig,
    /// `publish`.
    Publish {
        /// The id to publish under; `ask.stream` holds it too.
        stream: StreamId,
        /// Everything that decides about it.
        ask: PublishAsk,
    },
    /// `play`.
    Play {
        /// The broadcast or room; `ask.stream` holds it too.
        stream: StreamId,
        /// Everything that decides about it.
        ask: PlayAsk,
    },
    /// `takeConfiguration`.
    TakeConfiguration {
        /// Which publish, play or peer-to-peer call it belongs to.
        stream: StreamId,
        /// Offer or answer.
        kind: SdpKind,
        /// The description, unchecked; empty when the client sent none.
        sdp: String,
    },
    /// `takeCandidate`.
    TakeCandidate {
        /// Which publish, play or peer-to-peer call it belongs to.
        stream: StreamId,
        /// The candidate, unchecked.
        candidate: Candidate,
    },
    /// `stop`: ends publish and play of the id on this connection.
    Stop {
        /// Which id.
        stream: StreamId,
    },
    /// `toggleVideo`, `toggleAudio`, `enableTrack`.
    Switch(Switch),
    /// `forceStreamQuality`.
    ForceQuality {
        /// The broadcast or room played.
        stream: StreamId,
        /// Pixels, or 0 for automatic choice (`0`, `"auto"` or nothing on the wire).
        height: u32,
        /// The subtrack it applies to; `None`: all.
        track: Option<String>,
    },
    /// `updateStreamMetaData`.
    UpdateMetaData {
        /// The id that this connection publishes.
        stream: StreamId,
        /// Stored verbatim; `None` clears it.
        meta_data: Option<String>,
    },
    /// Calls between two clients; their media never comes here.
    PeerToPeer(PeerToPeer),
    /// Rooms.
    Room(RoomCommand),
    /// Questions about broadcasts.
    Information(Information),
    /// Limited video slots of a room play.
    Slots(SlotCommand),
    /// Push notifications.
    Push(Push),
}

/// `type` of `takeConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdpKind {
    /// `"offer"`.
    Offer,
    /// Everything else, as the reference server reads it.
    Answer,
}

impl SdpKind {
    /// The text on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
        }
    }
}

/// One ICE candidate as it travels in `takeCandidate`, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index of the m-line, `label` on the wire.
    pub label: u32,
    /// `a=mid` of that m-line, `id` on the wire; `"0"` when the client sent null.
    pub mid: String,
    /// `candidate:...` (RFC 8839 §5.1); empty means end of candidates.
    pub candidate: String,
}

/// Turns forwarding of a track on or off without renegotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The broadcast or room.
    pub stream: StreamId,
    /// The subtrack, without an `ARDAMSv`/`ARDAMSa` prefix; the stream itself when left out.
    pub track: String,
    /// Which of its media.
    pub media: SwitchMedia,
    /// On or off; on when left out.
    pub enabled: bool,
}

/// What a [`Switch`] applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchMedia {
    /// `toggleVideo`.
    Video,
    /// `toggleAudio`.
    Audio,
    /// `enableTrack`.
    Both,
}

impl SwitchMedia {
    /// The kind that it is about; `None`: both.
    pub const fn kind(self) -> Option<MediaKind> {
        match self {
            Self::Video => Some(MediaKind::Video),
            Self::Audio => Some(MediaKind::Audio),
            Self::Both => None,
        }
    }
}

/// Commands of a call between two clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerToPeer {
    /// `join`.
    Join {
        /// The id both join.
        stream: StreamId,
        /// More than two clients, for the embedded SDK.
        multi_peer: bool,
        /// `mode` is `"play"`: receives only. Any other mode is both directions.
        play_only: bool,
        /// Checked as for play.
        proof: Proof,
    },
    /// `leave`.
    Leave {
        /// The id that was joined.
        stream: StreamId,
    },
    /// `peerMessageCommand`: relayed as it is.
    Message {
        /// The id that was joined.
        stream: StreamId,
        /// What the message is, in the application's words.
        definition: Option<String>,
        /// JSON text of `data`; `"null"` when left out.
        data: String,
    },
}

/// Commands of a room; `room` is `None` when neither `room` nor `mainTrack` was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomCommand {
    /// `joinRoom`.
    Join {
        /// Which room.
        room: Option<StreamId>,
        /// The id that the client wishes to publish under; `None`: the server chooses.
        stream: Option<StreamId>,
        /// How the room is mixed.
        mode: RoomMode,
        /// Display name.
        stream_name: Option<String>,
        /// Conference role.
        role: Option<String>,
        /// Stored verbatim.
        meta_data: Option<String>,
        /// Token, JWT or hash.
        token: Option<String>,
    },
    /// `leaveFromRoom`.
    Leave {
        /// Which room.
        room: Option<StreamId>,
        /// The client's own id.
        stream: Option<StreamId>,
    },
    /// `getRoomInfo`.
    Info {
        /// Which room.
        room: Option<StreamId>,
        /// The client's own id, left out of the answer.
        stream: Option<StreamId>,
    },
}

/// `mode` of `joinRoom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomMode {
    /// One play per participant; also every unknown mode.
    Legacy,
    /// One play of the room.
    Multitrack,
    /// Mixed by the server.
    Mcu,
    /// Audio mixed by the server.
    Amcu,
}

/// Commands about push notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// `registerPushNotificationToken`.
    Register {
        /// Whose device.
        subscriber_id: Option<String>,
        /// JWT.
        token: Option<String>,
        /// The device at its push service.
        registration_token: Option<String>,
        /// `fcm` or `apn`.
        kind: Option<String>,
    },
    /// `sendPushNotification`.
    Send {
        /// Who sends.
        subscriber_id: Option<String>,
        /// JWT.
        token: Option<String>,
        /// JSON text of what is pushed.
        content: Option<String>,
        /// To whom.
        subscriber_ids: Vec<String>,
        /// Or to which topic.
        topic: Option<String>,
    },
}
