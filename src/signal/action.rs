//! The border of a session: what its driver does for it, and what its driver tells it.
//!
//! `session.rs` pushes [`Action`]s; `engine/signalling.rs` carries them out in order and answers
//! those about peers with [`PeerEvent`]s.

use std::time::Duration;

use super::command::{Candidate, Switch};
use crate::base::ids::Mid;
use crate::model::definition::Definition;
use crate::model::errand::Errand;
use crate::model::mail::{PlayAsk, PublishAsk, PublishEnding};
use crate::model::room::RoomMail;
use crate::model::track::{PlayGrant, Source, StreamId};

/// Which of the two peers that a stream id can have on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The client offers and sends.
    Publish,
    /// The server offers and sends.
    Play,
}

/// What the driver does, in the order pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this JSON text to the WebSocket.
    Reply(String),
    /// Ask control; its decision comes back with the request's number.
    Ask(Ask),
    /// Tell control.
    Tell(Tell),
    /// Apply the client's offer: make the publisher peer when there is none, renegotiate when
    /// there is one. Answer at once with [`PeerEvent::Answered`], or with
    /// [`PeerEvent::OfferRefused`] and the peer as it was before (none, when there was none).
    AcceptOffer {
        /// Of which publish.
        stream: StreamId,
        /// The client's description, unchecked.
        sdp: String,
    },
    /// Make the player peer and its offer. Answer at once with [`PeerEvent::Offered`], or with
    /// [`PeerEvent::OfferFailed`] and no peer.
    MakeOffer {
        /// Of which play.
        stream: StreamId,
        /// What it may play.
        grant: PlayGrant,
    },
    /// Make the player peer's next offer. Answer at once with [`PeerEvent::Offered`], with
    /// [`PeerEvent::OfferUnchanged`] when there is nothing to negotiate, or with
    /// [`PeerEvent::OfferFailed`].
    Renegotiate {
        /// Of which play.
        stream: StreamId,
        /// Everything that it is to be sent.
        sources: Vec<Source>,
    },
    /// Apply the client's answer to the player peer. Answer at once with
    /// [`PeerEvent::AnswerAccepted`], [`PeerEvent::AnswerStale`] or [`PeerEvent::AnswerRefused`].
    AcceptAnswer {
        /// Of which play.
        stream: StreamId,
        /// The client's description, unchecked.
        sdp: String,
    },
    /// Answer the offer of a player that begins itself (WHEP): what was offered to it goes onto its
    /// own m-lines. Answer at once with [`PeerEvent::Answered`] or [`PeerEvent::OfferRefused`].
    AnswerPlayer {
        /// Of which play.
        stream: StreamId,
        /// The client's description, unchecked.
        sdp: String,
    },
    /// Give the peer a candidate of the client, unchecked: empty (end of candidates), `.local`
    /// and unreadable ones are skipped without a word. Only for peers that have a description.
    AddCandidate {
        /// Of which publish or play.
        stream: StreamId,
        /// Which of its peers.
        role: Role,
        /// The candidate.
        candidate: Candidate,
    },
    /// Switch tracks of a player peer.
    Switch(Switch),
    /// Limit the height of a player's pictures.
    ForceQuality {
        /// Of which play.
        stream: StreamId,
        /// Rows at most; 0: any.
        height: u32,
        /// The label of the track; `None`: all.
        track: Option<String>,
    },
    /// Send `debugInfo` about the connection's peers.
    Debug {
        /// The id that was asked about.
        stream: StreamId,
    },
    /// Forget the peer. Peers end in no other way, so one that failed is kept until this.
    ClosePeer {
        /// Of which publish or play.
        stream: StreamId,
        /// Which of its peers.
        role: Role,
    },
}

/// A question for control; the driver adds connection and application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `Session::handle_publish_decision` takes the answer.
    Publish {
        /// Unique within the session.
        request: u64,
        /// What the client said.
        ask: PublishAsk,
    },
    /// `Session::handle_play_decision` takes the answer.
    Play {
        /// Unique within the session.
        request: u64,
        /// What the client said.
        ask: PlayAsk,
    },
    /// About rooms: `Session::handle_room_answer` takes the answer. The driver makes an id where
    /// a join names none.
    Room(RoomMail),
}

/// News for control; the driver adds connection and application.
///
/// Every question to publish, play or join, a call too, is followed by exactly one of: a denial,
/// or a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// The publisher is connected; the driver adds its tracks.
    PublishLive {
        /// Which id.
        stream: StreamId,
    },
    /// A granted, or still asked for, publish is over.
    PublishReleased {
        /// Which id.
        stream: StreamId,
        /// Whether viewers wait.
        ending: PublishEnding,
    },
    /// The player is connected.
    PlayLive {
        /// Which id.
        stream: StreamId,
    },
    /// A granted, or still asked for, play is over.
    PlayReleased {
        /// Which id.
        stream: StreamId,
    },
    /// Every membership in a room, granted or still asked for, is over.
    RoomLeft {
        /// Which room.
        room: StreamId,
    },
    /// Everything else: control carries it out, and knows by itself whether it may.
    Errand(Errand),
}

/// News of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The client's offer was applied (publish, or a play that the client began).
    Answered {
        /// The server's answer.
        sdp: String,
        /// The server's candidates, sent after the answer; for the first m-line in use.
        candidates: Vec<Candidate>,
    },
    /// The client's offer was not applied: `NotSetRemoteDescription` when it is at
    /// fault, `NotSetLocalDescription` when no answer could be made, and so on.
    OfferRefused(Definition),
    /// The server's offer (play).
    Offered {
        /// The offer.
        sdp: String,
        /// Track id by mid, for every media section.
        id_mapping: Vec<(Mid, String)>,
        /// The server's candidates, sent after the offer; for the first m-line. None behind a
        /// later offer.
        candidates: Vec<Candidate>,
    },
    /// What is wanted is offered already (play).
    OfferUnchanged,
    /// No offer could be made (play): `NotSetLocalDescription` and so on.
    OfferFailed(Definition),
    /// The client's answer was applied (play).
    AnswerAccepted,
    /// The client's answer belongs to an earlier offer (play): ignored.
    AnswerStale,
    /// The client's answer was not applied (play): `NotSetRemoteDescription`.
    AnswerRefused(Definition),
    /// ICE and DTLS are up.
    Connected,
    /// The first packet came, or none will: a publisher of data only.
    Receiving,
    /// Consent, handshake or the peer itself failed. The peer stays until [`Action::ClosePeer`].
    Failed,
}

/// Whether a publish or play goes on after a step.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Everything about its end was pushed; its id is free.
    Ends,
}

/// A negotiation older than this is replaced by a new request for its id instead of refusing it:
/// the SDKs ask again after 3 s when ICE has not begun, some without `stop` (INTEROP(android,
/// ios)).
pub(super) const REPLACEABLE_AFTER: Duration = Duration::from_secs(3);
