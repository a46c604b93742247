//! Calls between two clients (peer to peer): what sessions ask of control and are told by it.
//!
//! No media of a call comes to this server: it brings two clients together and carries their
//! messages. The two may be served by different workers, so control is where they meet.

use std::sync::Arc;

use super::access::Proof;
use super::definition::Definition;
use super::mail::{Client, PlayAsk};
use super::track::StreamId;

/// The fields of a `join` command that decide about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAsk {
    /// The id of the call.
    pub stream: StreamId,
    /// More than two clients are wanted: newcomers get calls of their own with this one.
    pub multi_peer: bool,
    /// The client only receives.
    pub play_only: bool,
    /// Checked as for play.
    pub proof: Proof,
}

impl JoinAsk {
    /// The play that a join is checked as: the same credentials open both.
    pub fn as_play(&self, client: Arc<Client>) -> PlayAsk {
        PlayAsk::showing(self.stream.clone(), self.proof.clone(), client)
    }
}

/// What a connection asks of control about calls, or tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallStep {
    /// May it join? Answered by [`CallNews::Decision`].
    Join {
        /// Echoed in the answer.
        request: u64,
        /// What it said.
        ask: JoinAsk,
    },
    /// A granted (or still asked for) membership is over.
    Leave {
        /// Of which call.
        stream: StreamId,
    },
    /// A member has something for the other one.
    Relay {
        /// In which call.
        stream: StreamId,
        /// What it is.
        kind: RelayKind,
        /// The message as the other client gets it.
        text: String,
    },
}

/// What control tells a connection about calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallNews {
    /// Answer to [`CallStep::Join`].
    Decision {
        /// Echo of the question.
        request: u64,
        /// What it is in the call, or why not.
        result: Result<JoinGrant, Definition>,
    },
    /// Something happened in a call that it is in.
    Event {
        /// Which call.
        stream: StreamId,
        /// What happened.
        event: CallEvent,
    },
}

/// What a client that asked to join is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinGrant {
    /// A member of the call.
    Joined,
    /// No member: it may join under this id, where a call with the owner waits for it.
    Redirected(StreamId),
}

/// What a member has carried to the other one; decides the order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayKind {
    /// `takeConfiguration`.
    Description,
    /// `takeCandidate`: waits for the sender's description.
    Candidate,
    /// `peerMessageCommand`.
    Message,
}

/// What control tells a member of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// Another client is there: make an offer.
    Start,
    /// The other client's message, ready to be sent.
    Relayed(String),
    /// The other client left; the member stays and waits.
    Left,
    /// The other client left and the call ends with it.
    Over,
    /// What the member sent has nobody to go to.
    NoPeer,
    /// A newcomer of a multi-peer call waits in a call of this id: the member is in it too, and
    /// makes the offer.
    StartAnother(StreamId),
}
