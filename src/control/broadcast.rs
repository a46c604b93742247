//! One broadcast as the process knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::base::clock::Now;
use crate::base::ids::{ConnId, WorkerId};
use crate::model::mail::{PublishAsk, PublishMeasure};
use crate::model::track::{Flow, StreamId, TrackInfo};

/// Somebody publishes, or did until a moment ago, under an id.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The id on the wire.
    pub stream: StreamId,
    /// How far it is.
    pub phase: Phase,
    /// `streamName` of the publish.
    pub name: Option<String>,
    /// `metaData` of the publish, verbatim.
    pub meta_data: Option<String>,
    /// `role` of the publish.
    pub role: Option<String>,
    /// What its publisher lets flow; kept for one that returns.
    pub flow: Flow,
    /// Every accepted track; empty before it is live.
    pub tracks: Vec<TrackInfo>,
    /// When publishing was granted, microseconds since 1970.
    pub created_unix_us: u64,
    /// When it went live, microseconds since 1970; 0 before.
    pub started_unix_us: u64,
    /// When anything was heard of it last, microseconds since 1970.
    pub updated_unix_us: u64,
    /// Latest figures of its media; zeros before the first.
    pub measure: PublishMeasure,
    /// Who was granted to play it, and whether the play is connected.
    players: BTreeMap<ConnId, Play>,
}

/// How far a broadcast is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Publishing was granted; no media yet.
    Preparing {
        /// Who may publish.
        publisher: ConnId,
    },
    /// Media flows.
    Live {
        /// Who publishes.
        publisher: ConnId,
    },
    /// The publisher vanished without `stop`; viewers wait for its return.
    Lost {
        /// Who published.
        publisher: ConnId,
        /// When waiting ends.
        until: Instant,
    },
    /// Publishing was granted again within the window; viewers wait until it is live.
    Returning {
        /// Who may publish.
        publisher: ConnId,
    },
}

/// How far a play is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    Granted,
    Live,
}

impl Broadcast {
    /// A publish was granted to `publisher`.
    pub(super) fn granted(stream: StreamId, publisher: ConnId, ask: PublishAsk, now: Now) -> Self {
        Self {
            stream,
            phase: Phase::Preparing { publisher },
            name: ask.stream_name,
            meta_data: ask.meta_data,
            role: ask.role,
            flow: Flow::ALL,
            tracks: Vec::new(),
            created_unix_us: now.unix_us,
            started_unix_us: 0,
            updated_unix_us: now.unix_us,
            measure: PublishMeasure::default(),
            players: BTreeMap::new(),
        }
    }

    /// Publishing was granted to `publisher` while the viewers of a lost one wait.
    pub(super) fn returns(&mut self, publisher: ConnId, ask: PublishAsk, now: Now) {
        self.phase = Phase::Returning { publisher };
        self.name = ask.stream_name;
        self.meta_data = ask.meta_data;
        self.role = ask.role;
        self.updated_unix_us = now.unix_us;
    }

    /// The connection that publishes, or did.
    pub fn publisher(&self) -> ConnId {
        match self.phase {
            Phase::Preparing { publisher }
            | Phase::Live { publisher }
            | Phase::Returning { publisher }
            | Phase::Lost { publisher, .. } => publisher,
        }
    }

    /// Ant Media's word for the phase. A lost publisher is not told: its viewers still watch.
    pub fn status(&self) -> &'static str {
        match self.phase {
            Phase::Preparing { .. } => "preparing",
            Phase::Live { .. } | Phase::Lost { .. } | Phase::Returning { .. } => "broadcasting",
        }
    }

    /// True when it can be played, which includes the window after a loss.
    pub fn is_playable(&self) -> bool {
        match self.phase {
            Phase::Preparing { .. } => false,
            Phase::Live { .. } | Phase::Lost { .. } | Phase::Returning { .. } => true,
        }
    }

    /// Connected players.
    pub fn viewers(&self) -> usize {
        let is_live = |play: &&Play| **play == Play::Live;
        self.players.values().filter(is_live).count()
    }

    /// Players that hold a place, connected or not, `conn` left out.
    pub(super) fn places_besides(&self, conn: ConnId) -> usize {
        self.players
            .keys()
            .filter(|&&player| player != conn)
            .count()
    }

    /// Gives `player` a place. A play of the same connection that is there already is replaced.
    pub(super) fn admit(&mut self, player: ConnId) {
        self.players.insert(player, Play::Granted);
    }

    /// The play of `player` is connected; ignored when it holds no place.
    pub(super) fn connected(&mut self, player: ConnId) {
        if let Some(play) = self.players.get_mut(&player) {
            *play = Play::Live;
        }
    }

    /// The place of `player` is free.
    pub(super) fn released(&mut self, player: ConnId) {
        self.players.remove(&player);
    }

    /// Every worker that has its tracks or players.
    pub(super) fn workers(&self) -> BTreeSet<WorkerId> {
        let players = self.players.keys().map(|player| player.worker);
        let origins = self.tracks.iter().map(|track| track.id.origin);
        players
            .chain(origins)
            .chain([self.publisher().worker])
            .collect()
    }
}
