//! One publish of a connection: from `publish` to its end.
//!
//! ```text
//!  publish ──> Asking ──granted──> AwaitingOffer ──answered──> Connecting ──connected──> Live
//!                │                    │  ^ refused offer           │                      │
//!                └ denied: error      └──┴──── publishTimeoutError ┘      publish_finished ┘
//! ```
//! Says what to do and whether it is over; `session.rs` owns the table it lives in.

use std::time::{Duration, Instant};

use super::action::{Action, Ask, Fate, PeerEvent, REPLACEABLE_AFTER, Role, Tell};
use super::command::{Candidate, SdpKind};
use super::held::HeldCandidates;
use super::reply;
use crate::base::limits::MAX_STREAM_ID_LEN;
use crate::model::definition::Definition;
use crate::model::mail::{PublishAsk, PublishEnding};
use crate::model::track::StreamId;

/// One publish. Exists exactly while its id is taken on this connection.
#[derive(Debug)]
pub(super) struct Publish {
    stream: StreamId,
    /// Repeated in notifications; `None` when absent or longer than an id may be.
    subscriber_id: Option<String>,
    /// The room it publishes into.
    room: Option<StreamId>,
    /// When `publish` came.
    since: Instant,
    /// When it ends because no packet has come; `None` where that is not asked for.
    awaits_packet: Option<Instant>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Control has been asked.
    Asking { request: u64, held: HeldCandidates },
    /// `start` was sent. No peer exists, or the last offer was refused.
    AwaitingOffer {
        deadline: Instant,
        held: HeldCandidates,
    },
    /// An offer was answered: a peer exists.
    Connecting { deadline: Instant },
    /// The peer is connected.
    Live,
}

impl Publish {
    /// Asks control.
    pub(super) fn ask(
        now: Instant,
        request: u64,
        stream: StreamId,
        ask: PublishAsk,
        actions: &mut Vec<Action>,
    ) -> Self {
        let id = ask.subscriber_id.as_ref();
        let publish = Self {
            subscriber_id: id.filter(|id| id.len() <= MAX_STREAM_ID_LEN).cloned(),
            room: ask.main_track.clone(),
            since: now,
            awaits_packet: None,
            state: State::Asking {
                request,
                held: HeldCandidates::default(),
            },
            stream,
        };
        actions.push(Action::Ask(Ask::Publish { request, ask }));
        publish
    }

    /// The room it publishes into.
    pub(super) fn room(&self) -> Option<&StreamId> {
        self.room.as_ref()
    }

    /// It belongs to `room` from now on. While control has not answered, that is about a publish
    /// of the id before this one.
    pub(super) fn move_to(&mut self, room: Option<StreamId>) {
        if !matches!(self.state, State::Asking { .. }) {
            self.room = room;
        }
    }

    /// True when another `publish` of the id takes its place instead of being an error.
    pub(super) fn is_replaceable(&self, now: Instant) -> bool {
        match self.state {
            State::Asking { .. } | State::AwaitingOffer { .. } | State::Connecting { .. } => {
                now.saturating_duration_since(self.since) >= REPLACEABLE_AFTER
            }
            State::Live => false,
        }
    }

    /// True until the peer is connected.
    pub(super) fn is_negotiating(&self) -> bool {
        !matches!(self.state, State::Live)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::AwaitingOffer { deadline, .. } | State::Connecting { deadline } => {
                Some(deadline)
            }
            State::Live => self.awaits_packet,
            State::Asking { .. } => None,
        }
    }

    /// True while it waits for the decision about `question`.
    pub(super) fn has_asked(&self, question: u64) -> bool {
        matches!(self.state, State::Asking { request, .. } if request == question)
    }

    /// Control decided about the question that it waits for.
    pub(super) fn handle_decision(
        &mut self,
        now: Instant,
        result: Result<(), Definition>,
        start_timeout: Duration,
        actions: &mut Vec<Action>,
    ) -> Fate {
        let State::Asking { held, .. } = &mut self.state else {
            return Fate::Stays;
        };
        match result {
            Ok(()) => {
                self.state = State::AwaitingOffer {
                    deadline: now + start_timeout,
                    held: std::mem::take(held),
                };
                actions.push(Action::Reply(reply::start(&self.stream)));
                Fate::Stays
            }
            Err(definition) => {
                self.complain(definition, actions);
                Fate::Ends
            }
        }
    }

    /// The client's offer, the first or a later one. One before `start` has nothing to apply to.
    pub(super) fn handle_offer(&mut self, sdp: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Asking { .. } => {}
            State::AwaitingOffer { .. } | State::Connecting { .. } | State::Live => {
                actions.push(Action::AcceptOffer {
                    stream: self.stream.clone(),
                    sdp,
                });
            }
        }
    }

    /// The client's candidate: held until there is a peer.
    pub(super) fn handle_candidate(&mut self, candidate: Candidate, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Asking { held, .. } | State::AwaitingOffer { held, .. } => held.push(candidate),
            State::Connecting { .. } | State::Live => actions.push(Action::AddCandidate {
                stream: self.stream.clone(),
                role: Role::Publish,
                candidate,
            }),
        }
    }

    /// News of the peer. What does not fit the state is ignored. `packet_due`: when its first
    /// packet must have come, should this connect it; `None`: whenever.
    pub(super) fn handle_peer(
        &mut self,
        event: PeerEvent,
        packet_due: Option<Instant>,
        actions: &mut Vec<Action>,
    ) -> Fate {
        match event {
            PeerEvent::Answered { sdp, candidates } => {
                self.handle_answered(&sdp, &candidates, actions);
                Fate::Stays
            }
            PeerEvent::OfferRefused(definition) => {
                if !matches!(self.state, State::Asking { .. }) {
                    self.complain(definition, actions);
                }
                Fate::Stays
            }
            PeerEvent::Connected => {
                if matches!(self.state, State::Connecting { .. }) {
                    self.state = State::Live;
                    self.awaits_packet = packet_due;
                    actions.push(Action::Tell(Tell::PublishLive {
                        stream: self.stream.clone(),
                    }));
                    let subscriber_id = self.subscriber_id.as_deref();
                    let room = self.room.as_deref();
                    let text = reply::publish_started(&self.stream, subscriber_id, room);
                    actions.push(Action::Reply(text));
                }
                Fate::Stays
            }
            PeerEvent::Receiving => {
                self.awaits_packet = None;
                Fate::Stays
            }
            PeerEvent::Failed => match self.state {
                State::Asking { .. } | State::AwaitingOffer { .. } => Fate::Stays,
                State::Connecting { .. } => self.time_out(actions),
                State::Live => self.finish(PublishEnding::Lost, actions),
            },
            PeerEvent::Offered { .. }
            | PeerEvent::OfferUnchanged
            | PeerEvent::OfferFailed(_)
            | PeerEvent::AnswerAccepted
            | PeerEvent::AnswerStale
            | PeerEvent::AnswerRefused(_) => Fate::Stays,
        }
    }

    fn handle_answered(&mut self, sdp: &str, candidates: &[Candidate], actions: &mut Vec<Action>) {
        if matches!(self.state, State::Asking { .. }) {
            return;
        }
        let text = reply::take_configuration(&self.stream, SdpKind::Answer, sdp, None);
        actions.push(Action::Reply(text));
        for candidate in candidates {
            let text = reply::take_candidate(&self.stream, candidate);
            actions.push(Action::Reply(text));
        }
        match &mut self.state {
            State::AwaitingOffer { deadline, held } => {
                held.flush(&self.stream, Role::Publish, actions);
                self.state = State::Connecting {
                    deadline: *deadline,
                };
            }
            // It may have brought new tracks.
            State::Live => actions.push(Action::Tell(Tell::PublishLive {
                stream: self.stream.clone(),
            })),
            State::Asking { .. } | State::Connecting { .. } => {}
        }
    }

    /// The server ends it (REST). A question that control has not answered yet is not meant: the
    /// mail was on its way before it was asked.
    pub(super) fn handle_stop_by_server(&mut self, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Asking { .. } => Fate::Stays,
            State::AwaitingOffer { .. } | State::Connecting { .. } | State::Live => {
                self.finish(PublishEnding::Stopped, actions)
            }
        }
    }

    /// Ends a publish that was not connected in time, or that is and sends nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) -> Fate {
        match self.deadline() {
            Some(deadline) if deadline <= now => match self.state {
                State::Live => self.fall_silent(actions),
                State::Asking { .. } | State::AwaitingOffer { .. } | State::Connecting { .. } => {
                    self.time_out(actions)
                }
            },
            Some(_) | None => Fate::Stays,
        }
    }

    /// Ends it and tells the client that it is finished.
    pub(super) fn finish(&mut self, ending: PublishEnding, actions: &mut Vec<Action>) -> Fate {
        self.release(ending, actions);
        let text = reply::publish_finished(&self.stream, self.subscriber_id.as_deref());
        actions.push(Action::Reply(text));
        Fate::Ends
    }

    /// Ends it because its connection is gone.
    pub(super) fn handle_closed(&mut self, actions: &mut Vec<Action>) {
        let ending = match self.state {
            State::Live => PublishEnding::Lost,
            State::Asking { .. } | State::AwaitingOffer { .. } | State::Connecting { .. } => {
                PublishEnding::Stopped
            }
        };
        self.release(ending, actions);
    }

    /// Ends it without a word to the client.
    pub(super) fn release(&mut self, ending: PublishEnding, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Connecting { .. } | State::Live) {
            actions.push(Action::ClosePeer {
                stream: self.stream.clone(),
                role: Role::Publish,
            });
        }
        actions.push(Action::Tell(Tell::PublishReleased {
            stream: self.stream.clone(),
            ending,
        }));
    }

    fn fall_silent(&mut self, actions: &mut Vec<Action>) -> Fate {
        self.complain(Definition::NoPacketReceivedForTimeoutDuration, actions);
        self.finish(PublishEnding::Stopped, actions)
    }

    fn time_out(&mut self, actions: &mut Vec<Action>) -> Fate {
        self.release(PublishEnding::TimedOut, actions);
        self.complain(Definition::PublishTimeoutError, actions);
        Fate::Ends
    }

    fn complain(&self, definition: Definition, actions: &mut Vec<Action>) {
        let text = reply::error(definition, Some(&self.stream));
        actions.push(Action::Reply(text));
    }
}
