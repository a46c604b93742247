//! One play of a connection: from `play` to its end.
//!
//! ```text
//!  play ──> Asking ──granted──> Offering ──offered──> Offered ──answered──> Connecting ──> Live
//!             │          │         ^ │ failed: error     │ refused answer: stays  │         │
//!             └ denied:  └ nothing │ v                   └ no answer: dropped     play_finished
//!               error    to offer: Waiting
//! ```
//! Behind the first answer the sources of a main track may change at any time: one later offer at
//! a time ([`Exchange`]), with everything that changed meanwhile, and the play goes on as it is
//! until its answer. Says what to do and whether it is over; `session.rs` owns the table it lives
//! in.

use std::time::{Duration, Instant};

use super::action::{Action, Ask, Fate, PeerEvent, REPLACEABLE_AFTER, Role, Tell};
use super::command::{Candidate, SdpKind};
use super::held::{HeldCandidates, HeldCommands};
use super::reply;
use crate::base::ids::Mid;
use crate::model::definition::Definition;
use crate::model::mail::PlayAsk;
use crate::model::track::{Lineup, PlayGrant, StreamId};

/// One play. Exists exactly while its id is played, or about to be, on this connection.
#[derive(Debug)]
pub(super) struct Play {
    stream: StreamId,
    /// The room it belongs to, as the client says or control knows.
    room: Option<StreamId>,
    /// When `play` came.
    since: Instant,
    /// What it is to be sent.
    wanted: Lineup,
    /// What the latest offer was made of.
    offered: Lineup,
    /// The player made the offer: its m-lines are its own, and it is not made another offer.
    is_fixed: bool,
    /// What the client said of it before there was a peer.
    commands: HeldCommands,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Control has been asked.
    Asking { request: u64, held: HeldCandidates },
    /// Granted, and there is nothing to offer yet.
    Waiting { held: HeldCandidates },
    /// The engine makes the offer.
    Offering { held: HeldCandidates },
    /// The offer was sent; a peer exists and waits for the answer.
    Offered {
        deadline: Instant,
        held: HeldCandidates,
    },
    /// The answer was accepted.
    Connecting {
        deadline: Instant,
        exchange: Exchange,
    },
    /// The peer is connected.
    Live { exchange: Exchange },
}

/// How far a later offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// The latest offer was answered.
    Settled,
    /// The engine makes the offer.
    Offering,
    /// The offer waits for its answer.
    Offered { deadline: Instant },
}

impl Exchange {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Offered { deadline } => Some(deadline),
            Self::Settled | Self::Offering => None,
        }
    }
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
        let room = ask.room.as_deref().map(StreamId::from);
        actions.push(Action::Ask(Ask::Play { request, ask }));
        Self {
            stream,
            room,
            since: now,
            wanted: Lineup::default(),
            offered: Lineup::default(),
            is_fixed: false,
            commands: HeldCommands::default(),
            state: State::Asking {
                request,
                held: HeldCandidates::default(),
            },
        }
    }

    /// The room it belongs to.
    pub(super) fn room(&self) -> Option<&StreamId> {
        self.room.as_ref()
    }

    /// True when another `play` of the id takes its place instead of being an error.
    pub(super) fn is_replaceable(&self, now: Instant) -> bool {
        self.is_negotiating() && now.saturating_duration_since(self.since) >= REPLACEABLE_AFTER
    }

    /// True until the peer is connected.
    pub(super) fn is_negotiating(&self) -> bool {
        match self.state {
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. } => true,
            State::Live { .. } => false,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Offered { deadline, .. } => Some(*deadline),
            State::Connecting { deadline, exchange } => {
                Some(exchange.deadline().unwrap_or(*deadline).min(*deadline))
            }
            State::Live { exchange } => exchange.deadline(),
            State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => None,
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
                let held = std::mem::take(held);
                self.room = grant.room.clone().or(self.room.take());
                self.wanted.clone_from(&grant.lineup);
                self.commands.flush_errands(actions);
                if grant.data_channel || has_media(&grant.lineup) {
                    self.make_offer(held, grant, actions);
                } else {
                    self.state = State::Waiting { held };
                }
                Fate::Stays
            }
            Err(definition) => {
                self.complain(definition, actions);
                Fate::Ends
            }
        }
    }

    fn make_offer(&mut self, held: HeldCandidates, grant: PlayGrant, actions: &mut Vec<Action>) {
        self.offered.clone_from(&grant.lineup);
        self.state = State::Offering { held };
        let stream = self.stream.clone();
        actions.push(Action::MakeOffer { stream, grant });
    }

    /// What it is to be sent has changed. A question that control has not answered yet is not
    /// meant: the answer will know more.
    pub(super) fn handle_lineup(&mut self, lineup: Lineup, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Asking { .. } => return,
            State::Waiting { held } if has_media(&lineup) => {
                let held = std::mem::take(held);
                let grant = PlayGrant {
                    lineup: lineup.clone(),
                    data_channel: false,
                    room: self.room.clone(),
                };
                self.make_offer(held, grant, actions);
            }
            State::Waiting { .. }
            | State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live { .. } => {}
        }
        self.wanted = lineup;
        self.catch_up(actions);
    }

    /// Offers what is wanted, unless that was offered already or an offer is outstanding.
    fn catch_up(&mut self, actions: &mut Vec<Action>) {
        let (State::Connecting { exchange, .. } | State::Live { exchange }) = &mut self.state
        else {
            return;
        };
        if self.is_fixed || *exchange != Exchange::Settled || self.wanted == self.offered {
            return;
        }
        let (before, after) = (&self.offered.participants, &self.wanted.participants);
        for gone in before.iter().filter(|id| !after.contains(id)) {
            let text = reply::room::subtrack_removed(&self.stream, gone);
            actions.push(Action::Reply(text));
        }
        for come in after.iter().filter(|id| !before.contains(id)) {
            let text = reply::room::subtrack_added(&self.stream, come);
            actions.push(Action::Reply(text));
        }
        let is_sent = self.wanted.sources == self.offered.sources;
        self.offered.clone_from(&self.wanted);
        if !is_sent {
            *exchange = Exchange::Offering;
            actions.push(Action::Renegotiate {
                stream: self.stream.clone(),
                sources: self.wanted.sources.clone(),
            });
        }
    }

    /// The client's answer; ignored when no offer waits for one.
    pub(super) fn handle_answer(&mut self, sdp: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Offered { .. }
            | State::Connecting {
                exchange: Exchange::Offered { .. },
                ..
            }
            | State::Live {
                exchange: Exchange::Offered { .. },
            } => actions.push(Action::AcceptAnswer {
                stream: self.stream.clone(),
                sdp,
            }),
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offering { .. }
            | State::Connecting { .. }
            | State::Live { .. } => {}
        }
    }

    /// The client's own offer: instead of an answer to the server's first one.
    pub(super) fn handle_offer(&mut self, sdp: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Offered { .. } => actions.push(Action::AnswerPlayer {
                stream: self.stream.clone(),
                sdp,
            }),
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offering { .. }
            | State::Connecting { .. }
            | State::Live { .. } => {}
        }
    }

    /// The client's candidate: held until its answer was accepted.
    pub(super) fn handle_candidate(&mut self, candidate: Candidate, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Asking { held, .. }
            | State::Waiting { held }
            | State::Offering { held }
            | State::Offered { held, .. } => held.push(candidate),
            State::Connecting { .. } | State::Live { .. } => actions.push(Action::AddCandidate {
                stream: self.stream.clone(),
                role: Role::Play,
                candidate,
            }),
        }
    }

    /// The client's switch or wish about what it is sent: held until a peer is there, and what is
    /// for control until that has granted the play.
    pub(super) fn handle_command(&mut self, command: Action, actions: &mut Vec<Action>) {
        let is_errand = matches!(command, Action::Tell(_));
        match self.state {
            State::Waiting { .. } | State::Offering { .. } if is_errand => actions.push(command),
            State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => {
                self.commands.push(command);
            }
            State::Offered { .. } | State::Connecting { .. } | State::Live { .. } => {
                actions.push(command);
            }
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
                self.handle_offered(now, (&sdp, &id_mapping), &candidates, actions);
                Fate::Stays
            }
            PeerEvent::OfferUnchanged => {
                self.settle(Exchange::Offering, actions);
                Fate::Stays
            }
            PeerEvent::OfferFailed(definition) => self.handle_offer_failed(definition, actions),
            PeerEvent::AnswerAccepted => {
                self.handle_answer_accepted(now, actions);
                Fate::Stays
            }
            PeerEvent::Answered { .. } if !matches!(self.state, State::Offered { .. }) => {
                Fate::Stays
            }
            PeerEvent::Answered { sdp, .. } => {
                self.is_fixed = true;
                let kind = SdpKind::Answer;
                let text = reply::take_configuration(&self.stream, kind, &sdp, None);
                actions.push(Action::Reply(text));
                self.handle_answer_accepted(now, actions);
                Fate::Stays
            }
            PeerEvent::AnswerRefused(definition) | PeerEvent::OfferRefused(definition) => {
                if self.awaits_answer() {
                    self.complain(definition, actions);
                }
                Fate::Stays
            }
            PeerEvent::Connected => {
                if let State::Connecting { exchange, .. } = self.state {
                    self.state = State::Live { exchange };
                    actions.push(Action::Tell(Tell::PlayLive {
                        stream: self.stream.clone(),
                    }));
                    actions.push(Action::Reply(reply::play_started(&self.stream)));
                }
                Fate::Stays
            }
            PeerEvent::Failed => match self.state {
                State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => {
                    Fate::Stays
                }
                State::Offered { .. } | State::Connecting { .. } | State::Live { .. } => {
                    self.finish(actions)
                }
            },
            PeerEvent::Receiving | PeerEvent::AnswerStale => Fate::Stays,
        }
    }

    /// Candidates belong to the first offer.
    fn handle_offered(
        &mut self,
        now: Instant,
        (sdp, id_mapping): (&str, &[(Mid, String)]),
        candidates: &[Candidate],
        actions: &mut Vec<Action>,
    ) {
        let deadline = now + ANSWER_TIMEOUT;
        match &mut self.state {
            State::Offering { held } => {
                let held = std::mem::take(held);
                self.state = State::Offered { deadline, held };
                self.commands.flush(actions);
            }
            State::Connecting { exchange, .. } | State::Live { exchange }
                if *exchange == Exchange::Offering =>
            {
                *exchange = Exchange::Offered { deadline };
            }
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live { .. } => return,
        }
        let text = reply::take_configuration(&self.stream, SdpKind::Offer, sdp, Some(id_mapping));
        actions.push(Action::Reply(text));
        for candidate in candidates {
            let text = reply::take_candidate(&self.stream, candidate);
            actions.push(Action::Reply(text));
        }
    }

    fn handle_answer_accepted(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Offered { held, .. } => {
                held.flush(&self.stream, Role::Play, actions);
                self.state = State::Connecting {
                    deadline: now + CONNECT_TIMEOUT,
                    exchange: Exchange::Settled,
                };
            }
            State::Connecting { exchange, .. } | State::Live { exchange } => {
                if matches!(exchange, Exchange::Offered { .. }) {
                    *exchange = Exchange::Settled;
                }
            }
            State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => return,
        }
        self.catch_up(actions);
    }

    /// A later offer turned out not to be needed.
    fn settle(&mut self, from: Exchange, actions: &mut Vec<Action>) {
        if let State::Connecting { exchange, .. } | State::Live { exchange } = &mut self.state
            && *exchange == from
        {
            *exchange = Exchange::Settled;
            self.catch_up(actions);
        }
    }

    fn awaits_answer(&self) -> bool {
        match self.state {
            State::Offered { .. } => true,
            State::Connecting { exchange, .. } | State::Live { exchange } => {
                matches!(exchange, Exchange::Offered { .. })
            }
            State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => false,
        }
    }

    fn handle_offer_failed(&mut self, definition: Definition, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Offering { .. } => {
                self.release(actions);
                self.complain(definition, actions);
                Fate::Ends
            }
            State::Connecting {
                exchange: Exchange::Offering,
                ..
            }
            | State::Live {
                exchange: Exchange::Offering,
            } => self.finish(actions),
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live { .. } => Fate::Stays,
        }
    }

    /// The broadcast is over. A question that control has not answered yet is not meant: it will
    /// be answered knowing of the end.
    pub(super) fn handle_broadcast_ended(&mut self, actions: &mut Vec<Action>) -> Fate {
        match self.state {
            State::Asking { .. } => Fate::Stays,
            State::Waiting { .. }
            | State::Offering { .. }
            | State::Offered { .. }
            | State::Connecting { .. }
            | State::Live { .. } => self.finish(actions),
        }
    }

    /// Drops a play without a first answer silently; ends one that does not connect, or does not
    /// answer a later offer.
    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) -> Fate {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Fate::Stays;
        }
        match self.state {
            State::Offered { .. } => {
                self.release(actions);
                Fate::Ends
            }
            State::Asking { .. }
            | State::Waiting { .. }
            | State::Offering { .. }
            | State::Connecting { .. }
            | State::Live { .. } => self.finish(actions),
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
            State::Asking { .. } | State::Waiting { .. } | State::Offering { .. } => {}
            State::Offered { .. } | State::Connecting { .. } | State::Live { .. } => {
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

fn has_media(lineup: &Lineup) -> bool {
    lineup
        .sources
        .iter()
        .any(|source| !source.tracks.is_empty())
}

/// How long an offer waits for its answer. The JavaScript SDK asks again after 3 s; slow phones
/// need a few seconds to start their decoders.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answered play may take to connect: several rounds of lost handshake flights.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
