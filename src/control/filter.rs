//! Which sources of a main track a play wants: `trackList`, roles, and its own publish.

use std::collections::{BTreeMap, BTreeSet};

use super::broadcast::Broadcast;
use crate::base::ids::ConnId;
use crate::base::limits::MAX_TRACK_LIST;
use crate::model::mail::PlayAsk;
use crate::model::track::StreamId;

/// The wishes of one play.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// With `disableTracksByDefault`: these ids and no others.
    only: Option<BTreeSet<String>>,
    /// Ids that were negated.
    hidden: BTreeSet<String>,
    /// What was there when the play began and not listed; comes when it comes again.
    passed_over: BTreeSet<StreamId>,
    /// The id that the same user publishes.
    own: Option<String>,
    /// The player's role.
    role: Option<String>,
}

impl Filter {
    /// The wishes in `ask`, when `present` is on air.
    ///
    /// A list with at least one plain id narrows down what is on air; who comes later is added all
    /// the same, unless negated. Pages list the participants they know and expect further ones
    /// (INTEROP(pages)).
    pub(super) fn of(ask: &PlayAsk, present: &[StreamId]) -> Self {
        let (mut listed, mut hidden) = (BTreeSet::new(), BTreeSet::new());
        for entry in &ask.track_list {
            match entry.strip_prefix('!') {
                Some(id) => hidden.insert(id.to_owned()),
                None => listed.insert(entry.clone()),
            };
        }
        let passed_over = match listed.is_empty() {
            true => BTreeSet::new(),
            false => present
                .iter()
                .filter(|id| !listed.contains(&***id))
                .cloned()
                .collect(),
        };
        Self {
            only: ask.disable_tracks_by_default.then_some(listed),
            hidden,
            passed_over,
            own: ask.user_publish_id.clone(),
            role: ask.role.clone(),
        }
    }

    /// The id that the same user publishes, as far as it said so.
    pub(super) fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// Wants `stream` from now on, on air or not, whatever the list said. False when it did before,
    /// or when it is one too many.
    pub(super) fn show(&mut self, stream: &StreamId) -> bool {
        if self.wants(stream) {
            return false;
        }
        if let Some(only) = &mut self.only {
            if only.len() >= MAX_TRACK_LIST && !only.contains(&**stream) {
                return false;
            }
            only.insert(stream.to_string());
        }
        self.hidden.remove(&**stream);
        self.passed_over.remove(stream);
        true
    }

    /// True when `stream` is listed, or nothing speaks against it.
    pub(super) fn wants(&self, stream: &StreamId) -> bool {
        let is_shown = self
            .only
            .as_ref()
            .is_none_or(|only| only.contains(&**stream));
        is_shown && !self.hidden.contains(&**stream) && !self.passed_over.contains(stream)
    }

    /// True when `subtrack` is wanted, visible to the player's role, and not the player's own.
    pub(super) fn admits(
        &self,
        player: ConnId,
        subtrack: &Broadcast,
        matrix: &BTreeMap<String, Vec<String>>,
    ) -> bool {
        let is_own =
            subtrack.publisher() == Some(player) || self.own.as_deref() == Some(&*subtrack.stream);
        !is_own && self.wants(&subtrack.stream) && sees(matrix, &self.role, &subtrack.role)
    }

    /// `stream` is over. When it comes again it is somebody who came later.
    pub(super) fn forget(&mut self, stream: &StreamId) {
        self.passed_over.remove(stream);
    }
}

/// Whether `viewer` is shown `participant`, each a role. A role that the matrix does not name is
/// the default one.
fn sees(
    matrix: &BTreeMap<String, Vec<String>>,
    viewer: &Option<String>,
    participant: &Option<String>,
) -> bool {
    let known = |role: &Option<String>| match role {
        Some(role) if matrix.contains_key(role) => role.clone(),
        Some(_) | None => DEFAULT_ROLE.to_owned(),
    };
    let participant = known(participant);
    match matrix.get(&known(viewer)) {
        Some(row) => row.contains(&participant),
        None => participant == DEFAULT_ROLE,
    }
}

const DEFAULT_ROLE: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::AppSettings;

    fn filter(list: &[&str], disabled: bool) -> Filter {
        let ask = PlayAsk {
            track_list: list.iter().map(|&id| id.to_owned()).collect(),
            disable_tracks_by_default: disabled,
            ..PlayAsk::default()
        };
        Filter::of(&ask, &["a".into(), "b".into()])
    }

    #[test]
    fn a_track_list_narrows_down_and_lets_later_ones_in() {
        let table: [(&[&str], bool, &str); 7] = [
            (&[], false, "abc"),
            (&["a"], false, "ac"),
            (&["!a"], false, "bc"),
            (&["a", "!b", "!c"], false, "a"),
            (&[], true, ""),
            (&["a", "c"], true, "ac"),
            (&["a", "!a"], true, ""),
        ];
        for (list, disabled, want) in table {
            let filter = filter(list, disabled);
            let ids = ["a", "b", "c"];
            let got: String = ids
                .into_iter()
                .filter(|&id| filter.wants(&id.into()))
                .collect();
            assert_eq!(got, want, "{list:?} {disabled}");
        }
        let mut filter = filter(&["a"], false);
        filter.forget(&"b".into());
        assert!(filter.wants(&"b".into()), "who comes again comes later");
    }

    #[test]
    fn an_enabled_track_is_wanted_whatever_the_list_said() {
        for (list, disabled) in [(vec![], true), (vec!["!c"], false), (vec!["a"], false)] {
            let mut filter = filter(&list, disabled);
            let left_out: StreamId = if list == ["a"] { "b" } else { "c" }.into();
            assert!(!filter.wants(&left_out), "{list:?}");
            assert!(
                filter.show(&left_out) && filter.wants(&left_out),
                "{list:?}"
            );
            assert!(!filter.show(&left_out), "it is already");
        }
        let mut filter = filter(&[], true);
        for number in 0..MAX_TRACK_LIST {
            assert!(filter.show(&format!("t{number}").into()));
        }
        assert!(!filter.show(&"one-more".into()), "the list has an end");
    }

    #[test]
    fn roles_see_each_other_by_the_matrix() {
        let matrix = AppSettings::default().participant_visibility_matrix;
        let role = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let table = [
            ("", "", true),
            ("default", "", true),
            ("speaker", "speaker", true),
            ("speaker", "attendee", false),
            ("speaker", "active_attendee", true),
            ("attendee", "speaker", true),
            ("attendee", "attendee", false),
            ("", "speaker", false),
            ("unheard-of", "", true),
            ("", "unheard-of", true),
        ];
        for (viewer, participant, want) in table {
            let got = sees(&matrix, &role(viewer), &role(participant));
            assert_eq!(got, want, "{viewer} sees {participant}");
        }
    }
}
