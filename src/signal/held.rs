//! Small bounded memories of a session: what came before there was a peer for it, and ids that
//! ended a moment ago.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::action::{Action, Role};
use super::command::Candidate;
use crate::base::limits::{
    MAX_CANDIDATE_LEN, MAX_COMMANDS_HELD, MAX_ENTRIES_PER_CONN, MAX_REMOTE_CANDIDATES,
};
use crate::model::track::StreamId;

/// Candidates of a client that wait for the description they belong to. Beyond
/// [`MAX_REMOTE_CANDIDATES`], or longer than [`MAX_CANDIDATE_LEN`], they are ignored.
#[derive(Debug, Default)]
pub(super) struct HeldCandidates(Vec<Candidate>);

impl HeldCandidates {
    /// Keeps one.
    pub(super) fn push(&mut self, candidate: Candidate) {
        let len = candidate.candidate.len() + candidate.mid.len();
        if len <= MAX_CANDIDATE_LEN && self.0.len() < MAX_REMOTE_CANDIDATES {
            self.0.push(candidate);
        }
    }

    /// Hands all of them to the peer, in the order they came.
    pub(super) fn flush(&mut self, stream: &StreamId, role: Role, actions: &mut Vec<Action>) {
        actions.extend(self.0.drain(..).map(|candidate| Action::AddCandidate {
            stream: stream.clone(),
            role,
            candidate,
        }));
    }
}

/// Switches and the like of a client that wait for its play to begin. Beyond
/// [`MAX_COMMANDS_HELD`] they are ignored.
#[derive(Debug, Default)]
pub(super) struct HeldCommands(Vec<Action>);

impl HeldCommands {
    /// Keeps one.
    pub(super) fn push(&mut self, command: Action) {
        if self.0.len() < MAX_COMMANDS_HELD {
            self.0.push(command);
        }
    }

    /// Hands out those that are for control, in the order they came.
    pub(super) fn flush_errands(&mut self, actions: &mut Vec<Action>) {
        let is_errand = |action: &mut Action| matches!(action, Action::Tell(_));
        actions.extend(self.0.extract_if(.., is_errand));
    }

    /// Hands out all, in the order they came.
    pub(super) fn flush(&mut self, actions: &mut Vec<Action>) {
        actions.append(&mut self.0);
    }
}

/// Ids whose publish or play ended a moment ago: what comes late for them is nobody's mistake.
/// Holds [`MAX_ENTRIES_PER_CONN`] ids; the oldest is forgotten first.
#[derive(Debug, Default)]
pub(super) struct EndedIds(VecDeque<(StreamId, Instant)>);

impl EndedIds {
    /// Remembers that `stream` ended.
    pub(super) fn remember(&mut self, stream: &StreamId, now: Instant) {
        self.0.retain(|(id, _)| id != stream);
        if self.0.len() >= MAX_ENTRIES_PER_CONN {
            self.0.pop_front();
        }
        self.0.push_back((stream.clone(), now));
    }

    /// True when `stream` ended within the last [`ENDED_FOR`].
    pub(super) fn contains(&self, stream: &str, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < ENDED_FOR;
        self.0
            .iter()
            .any(|(id, at)| &**id == stream && is_recent(at))
    }
}

/// How long late messages for an ended id stay unanswered: longer than a client takes to close
/// its peer connection, candidate gathering included.
const ENDED_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(text: &str) -> Candidate {
        Candidate {
            label: 0,
            mid: "0".to_owned(),
            candidate: text.to_owned(),
        }
    }

    #[test]
    fn holds_a_bounded_number_of_bounded_candidates_in_order() {
        let mut held = HeldCandidates::default();
        held.push(candidate(&"x".repeat(MAX_CANDIDATE_LEN)));
        for i in 0..2 * MAX_REMOTE_CANDIDATES {
            held.push(candidate(&i.to_string()));
        }
        let mut actions = Vec::new();
        held.flush(&"s".into(), Role::Play, &mut actions);
        assert_eq!(actions.len(), MAX_REMOTE_CANDIDATES);
        let first = Action::AddCandidate {
            stream: "s".into(),
            role: Role::Play,
            candidate: candidate("0"),
        };
        assert_eq!(actions.first(), Some(&first));
        held.flush(&"s".into(), Role::Play, &mut actions);
        assert_eq!(actions.len(), MAX_REMOTE_CANDIDATES, "handed out once");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the virtual clock's zero")]
    fn remembers_a_bounded_number_of_ids_for_a_while() {
        let zero = Instant::now();
        let mut ended = EndedIds::default();
        ended.remember(&"a".into(), zero);
        assert!(ended.contains("a", zero) && !ended.contains("b", zero));
        assert!(!ended.contains("a", zero + ENDED_FOR));
        ended.remember(&"a".into(), zero + ENDED_FOR);
        assert!(
            ended.contains("a", zero + ENDED_FOR),
            "the later end counts"
        );
        for i in 0..MAX_ENTRIES_PER_CONN {
            ended.remember(&i.to_string().into(), zero);
        }
        assert_eq!(ended.0.len(), MAX_ENTRIES_PER_CONN);
        assert!(!ended.contains("a", zero), "the oldest is forgotten");
    }
}
