//! One play of a connection: from `play` to its end.
//!
//! ```text
//!  play ──> Asking ──granted──> Offering ──offered──> Offered ──answered──> Connecting ──> Live
//!             │                    │                     │ refused answer: stays     │       │
//!             └ denied: error      └ failed: error       └ no answer: dropped   play_finished
//! ```
//! Says what to do and whether it is over; `session.rs` owns the table it lives in.

use std::time::{Duration, Instant};

use super::action::{Action, Ask, Fate, PeerEvent, REPLACEABLE_AFTER, Role, Tell};
use super::command::{Candidate, SdpKind};
use super::held::HeldCandidates;
use super::reply;
use crate::model::definition::Definition;
use crate::model::mail::PlayAsk;
use crate::model::track::{PlayGrant, StreamId};

/// One play. Exists exactly while its id is played, or about to be, on this connection.
#[derive(Debug)]
pub(super) struct Play {
    stream: StreamId,
    /// When `play` came.
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Control has been asked.
    Asking { request: u64, held: HeldCandidates },
    /// The engine makes the offer.
    Offering { held: HeldCandidates },
    /// The offer was sent; a peer exists and waits for the answer.
    Offered {
        deadline: Instant,
        held: HeldCandidates,
    },
    /// The answer was accepted.
    Connecting { deadline: Instant },
    /// The peer is connected.
    Live,
}

impl Play {
    /// Asks control.
    pub(super) fn ask(
        now: Instant,
        request: u64,
        stream: StreamId,
        ask: PlayAsk,
        actions: &mut Vec<Action>,
    ) -> Self {
        actions.push(Action::Ask(Ask::Play { request, ask }));
        Self {
            stream,
            since: now,
            state: State::Asking {
                request,
                held: HeldCandidates::default(),
            },
        }
    }

    /// True when another `play` of the id takes its place instead of being an error.
    pub(super) fn is_replaceable(&self, now: Instant) -> bool {
        self.is_negotiating() && now.saturating_duration_since(self.since) >= REPLACEABLE_AFTER
    }

    /// True until the peer is connected.
    pub(super) fn is_negotiating(&self) -> bool {
        match self.state {
            State::Asking { .. }
            | State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. } => true,
            State::Live => false,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Offered { deadline, .. } | State::Connecting { deadline } => Some(deadline),
            State::Asking { .. } | State::Offering { .. } | State::Live => None,
        }
    }

    /// True while it waits for the decision about `question`.
    pub(super) fn has_asked(&self, question: u64) -> bool {
        matches!(self.state, State::Asking { request, .. } if request == question)
    }

    /// Control decided about the question that it waits for.
    pub(super) fn handle_decision(
        &mut self,
        result: Result<PlayGrant, Definition>,
        actions: &mut Vec<Action>,
    ) -> Fate {
        let State::Asking { held, .. } = &mut self.state else {
            return Fate::Stays;
        };
        match result {
            Ok(grant) => {
                self.state = State::Offering {
                    held: std::mem::take(held),
                };
                actions.push(Action::MakeOffer {
                    stream: self.stream.clone(),
                    grant,
                });
                Fate::Stays
            }
            Err(definition) => {
                self.complain(definition, actions);
                Fate::Ends
            }
        }
    }

    /// The client's answer; ignored when no offer waits for one.
    pub(super) fn handle_answer(&mut self, sdp: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Offered { .. } => actions.push(Action::AcceptAnswer {
                stream: self.stream.clone(),
                sdp,
            }),
            State::Asking { .. }
            | State::Offering { .. }
            | State::Connecting { .. }
            | State::Live => {}
        }
    }

    /// The client's candidate: held until its answer was accepted.
    pub(super) fn handle_candidate(&mut self, candidate: Candidate, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Asking { held, .. } | State::Offering { held } | State::Offered { held, .. } => {
                held.push(candidate)
            }
            State::Connecting { .. } | State::Live => actions.push(Action::AddCandidate {
                stream: self.stream.clone(),
                role: Role::Play,
                candidate,
            }),
        }
    }

    /// News of the peer. What does not fit the state is ignored.
    pub(super) fn handle_peer(
        &mut self,
        now: Instant,
        event: PeerEvent,
        actions: &mut Vec<Action>,
    ) -> Fate {
        match event {
            PeerEvent::Offered {
                sdp,
                id_mapping,
                candidates,
            } => {
                if let State::Offering { held } = &mut self.state {
                    self.state = State::Offered {
                        deadline: now + ANSWER_TIMEOUT,
                        held: std::mem::take(held),
                    };
                    let kind = SdpKind::Offer;
                    let text =
                        reply::take_configuration(&self.stream, kind, &sdp, Some(&id_mapping));
                    actions.push(Action::Reply(text));
                    for candidate in &candidates {
                        let text = reply::take_candidate(&self.stream, candidate);
                        actions.push(Action::Reply(text));
                    }
                }
                Fate::Stays
            }
            PeerEvent::OfferFailed(definition) => self.handle_offer_failed(definition, actions),
            PeerEvent::AnswerAccepted => {
                if let State::Offered { held, .. } = &mut self.state {
                    held.flush(&self.stream, Role::Play, actions);
                    let deadline = now + CONNECT_TIMEOUT;
                    self.state = State::Connecting { deadline };
                }
                Fate::Stays
            }
            PeerEvent::AnswerRefused(definition) => {
                if matches!(self.state, State::Offered { .. }) {
                    self.complain(definition, actions);
                }
                Fate::Stays
            }
            PeerEvent::Connected => {
                if matches!(self.state, State::Connecting { .. }) {
                    self.state = State::Live;
                    actions.push(Action::Tell(Tell::PlayLive {
                        stream: self.stream.clone(),
                    }));
                    actions.push(Action::Reply(reply::play_started(&self.stream)));
                }
                Fate::Stays
            }
            PeerEvent::Failed => match self.state {
                State::Asking { .. } | State::Offering { .. } => Fate::Stays,
                State::Offered { .. } | State::Connecting { .. } | State::Live => {
                    self.finish(actions)
                }
            },
            PeerEvent::AnswerStale | PeerEvent::Answered { .. } | PeerEvent::OfferRefused(_) => {
                Fate::Stays
            }
        }
    }

    fn handle_offer_failed(&mut self, definition: Definition, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Offering { .. } => {
                self.release(actions);
                self.complain(definition, actions);
                Fate::Ends
            }
            State::Asking { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live => Fate::Stays,
        }
    }

    /// The broadcast is over. A question that control has not answered yet is not meant: it will
    /// be answered knowing of the end.
    pub(super) fn handle_broadcast_ended(&mut self, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Asking { .. } => Fate::Stays,
            State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live => self.finish(actions),
        }
    }

    /// Drops a play without an answer silently; ends one that does not connect.
    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Offered { deadline, .. } if deadline <= now => {
                self.release(actions);
                Fate::Ends
            }
            State::Connecting { deadline } if deadline <= now => self.finish(actions),
            State::Asking { .. }
            | State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live => Fate::Stays,
        }
    }

    /// Ends it and tells the client that it is finished.
    pub(super) fn finish(&mut self, actions: &mut Vec<Action>) -> Fate {
        self.release(actions);
        actions.push(Action::Reply(reply::play_finished(&self.stream)));
        Fate::Ends
    }

    /// Ends it without a word to the client.
    pub(super) fn release(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::Asking { .. } | State::Offering { .. } => {}
            State::Offered { .. } | State::Connecting { .. } | State::Live => {
                actions.push(Action::ClosePeer {
                    stream: self.stream.clone(),
                    role: Role::Play,
                });
            }
        }
        actions.push(Action::Tell(Tell::PlayReleased {
            stream: self.stream.clone(),
        }));
    }

    fn complain(&self, definition: Definition, actions: &mut Vec<Action>) {
        let text = reply::error(definition, Some(&self.stream));
        actions.push(Action::Reply(text));
    }
}

/// How long an offer waits for its answer. The JavaScript SDK asks again after 3 s; slow phones
/// need a few seconds to start their decoders.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answered play may take to connect: several rounds of lost handshake flights.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
