//! The players of an application's broadcasts, found by broadcast and by connection.
//!
//! INVARIANT: `App::plays` has exactly the pairs that are in the `players` of `App::broadcasts`,
//! and [`Broadcast::viewers`] counts those of them that are connected. Players come and go here
//! alone.

use super::App;
use crate::base::ids::ConnId;
use crate::control::broadcast::{Broadcast, Play};
use crate::control::filter::Filter;
use crate::control::slots::Slots;
use crate::model::mail::PlayAsk;
use crate::model::track::{Lineup, StreamId};

impl App {
    /// Gives `player` a place in `stream`; nothing happens when there is no such broadcast.
    pub(super) fn admit(
        &mut self,
        player: ConnId,
        stream: &StreamId,
        ask: &PlayAsk,
        (filter, slots, told): (Filter, Slots, Lineup),
    ) {
        if let Some(broadcast) = self.broadcasts.get_mut(stream) {
            broadcast.admit(player, ask, filter, slots, told);
            self.plays.insert((player, stream.clone()));
        }
    }

    /// The place of `player` is free. True when its play was connected.
    pub(super) fn release(&mut self, player: ConnId, stream: &StreamId) -> bool {
        self.plays.remove(&(player, stream.clone()));
        let broadcast = self.broadcasts.get_mut(stream);
        broadcast.is_some_and(|broadcast| broadcast.released(player))
    }

    /// Takes a broadcast out, with its players.
    pub(super) fn remove(&mut self, stream: &StreamId) -> Option<Broadcast> {
        let broadcast = self.broadcasts.remove(stream)?;
        for &player in broadcast.players.keys() {
            self.plays.remove(&(player, stream.clone()));
        }
        Some(broadcast)
    }

    /// What `player` plays, by id: a handful, as `limits::MAX_ENTRIES_PER_CONN` has it.
    pub(in crate::control) fn plays_of(
        &self,
        player: ConnId,
    ) -> impl Iterator<Item = (&Broadcast, &Play)> {
        let from = (player, StreamId::from(""));
        let own = self.plays.range(from..);
        let own = own.take_while(move |(conn, _)| *conn == player);
        own.filter_map(move |(_, stream)| {
            let broadcast = self.broadcasts.get(stream)?;
            Some((broadcast, broadcast.players.get(&player)?))
        })
    }

    /// Looks at everything that is kept twice.
    ///
    /// # Panics
    /// When two places disagree.
    #[cfg(test)]
    pub(in crate::control) fn assert_consistent(&self) {
        use std::collections::{BTreeMap, BTreeSet};
        let mut plays = BTreeSet::new();
        let mut members: BTreeMap<&StreamId, Vec<&StreamId>> = BTreeMap::new();
        for broadcast in self.broadcasts.values() {
            if let Some(main) = &broadcast.main_track {
                members.entry(main).or_default().push(&broadcast.stream);
            }
        }
        for (stream, broadcast) in &self.broadcasts {
            let players = broadcast.players.keys();
            plays.extend(players.map(|player| (*player, stream.clone())));
            let connected = broadcast.connected_players().count();
            assert_eq!(broadcast.viewers(), connected, "{stream}");
            let mut subtracks: Vec<&StreamId> = broadcast.subtracks.iter().collect();
            subtracks.sort();
            let named = members.remove(stream).unwrap_or_default();
            assert_eq!(subtracks, named, "{stream}");
        }
        assert_eq!(self.plays, plays);
        assert!(members.is_empty(), "{members:?}");
    }
}
