//! One broadcast as the process knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::filter::Filter;
use super::slots::{Slots, Voice};
use crate::base::clock::Now;
use crate::base::ids::{ConnId, TrackId, WorkerId};
use crate::model::layers::Priority;
use crate::model::mail::{PlayAsk, PublishAsk, PublishMeasure};
use crate::model::track::{Flow, Lineup, StreamId, TrackInfo};
use crate::signal::reply::event::VideoSlot;

/// Somebody publishes, or did until a moment ago, under an id; or the id groups others.
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
    /// The main track it belongs to.
    pub main_track: Option<StreamId>,
    /// `subscriberId` of the publish.
    pub subscriber_id: Option<String>,
    /// When its next status is told to webhooks; `None` when it is not.
    pub(super) status_due: Option<Instant>,
    /// The broadcasts whose main track it is, in order of arrival; also those not on air yet.
    pub subtracks: Vec<StreamId>,
    /// Connections that joined it as a room, with the id each joined under.
    pub(super) members: BTreeSet<(ConnId, StreamId)>,
    /// How loud its publisher is.
    pub(super) voice: Voice,
    /// Of its subtracks, those who speak, or spoke last; sorted.
    pub(super) speakers: Vec<StreamId>,
    /// When its speakers were given what they are due last, milliseconds since 1970; 0: never.
    pub(super) heeded_ms: u64,
    /// When its plays were told their audio slots last, milliseconds since 1970; 0: never.
    pub(super) audio_told_ms: u64,
    /// Who was granted to play it.
    pub(super) players: BTreeMap<ConnId, Play>,
    /// How many of them are connected.
    viewers: usize,
}

/// The first of `ids` that take `max_len` bytes at most in a list, at `each` bytes and their own.
pub(super) fn fitting<'a>(
    ids: impl Iterator<Item = &'a StreamId>,
    each: usize,
    max_len: usize,
) -> impl Iterator<Item = &'a StreamId> {
    let mut len = 0;
    ids.take_while(move |id| {
        len += id.len() + each;
        len <= max_len
    })
}

/// How far a broadcast is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody publishes under the id: it groups subtracks, or is a room that was joined.
    Virtual,
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

/// One connection's play.
#[derive(Clone, Debug)]
pub struct Play {
    /// `subscriberId`, as the client said it.
    pub subscriber_id: Option<String>,
    /// `subscriberName`, as the client said it.
    pub subscriber_name: Option<String>,
    /// It is connected.
    pub(super) is_live: bool,
    /// Which sources it wants.
    pub(super) filter: Filter,
    /// Who is on its slots.
    pub(super) slots: Slots,
    /// What its worker was told last.
    pub(super) told: Lineup,
    /// The videos that matter more than others, as its worker was told last.
    pub(super) important: Vec<(TrackId, Priority)>,
    /// The video slots that it was told last.
    pub(super) listed: Vec<VideoSlot>,
}

impl Broadcast {
    /// A publish was granted to `publisher`.
    pub(super) fn granted(stream: StreamId, publisher: ConnId, ask: PublishAsk, now: Now) -> Self {
        let mut broadcast = Self::grouping(stream, now);
        broadcast.taken(publisher, ask, now);
        broadcast
    }

    /// An id that others belong to.
    pub(super) fn grouping(stream: StreamId, now: Now) -> Self {
        Self {
            stream,
            phase: Phase::Virtual,
            name: None,
            meta_data: None,
            role: None,
            subscriber_id: None,
            status_due: None,
            flow: Flow::ALL,
            tracks: Vec::new(),
            created_unix_us: now.unix_us,
            started_unix_us: 0,
            updated_unix_us: now.unix_us,
            measure: PublishMeasure::default(),
            main_track: None,
            subtracks: Vec::new(),
            members: BTreeSet::new(),
            voice: Voice::default(),
            speakers: Vec::new(),
            heeded_ms: 0,
            audio_told_ms: 0,
            players: BTreeMap::new(),
            viewers: 0,
        }
    }

    /// Publishing was granted to `publisher`. The viewers of a lost one wait on, and so do those
    /// of subtracks.
    pub(super) fn taken(&mut self, publisher: ConnId, ask: PublishAsk, now: Now) {
        self.phase = match self.phase {
            Phase::Lost { .. } => Phase::Returning { publisher },
            Phase::Virtual
            | Phase::Preparing { .. }
            | Phase::Live { .. }
            | Phase::Returning { .. } => Phase::Preparing { publisher },
        };
        self.name = ask.stream_name;
        self.meta_data = ask.meta_data;
        self.role = ask.role;
        self.subscriber_id = ask.subscriber_id;
        self.updated_unix_us = now.unix_us;
    }

    /// Nobody publishes under the id any more; it goes on as a group.
    pub(super) fn given_up(&mut self) {
        self.phase = Phase::Virtual;
        self.tracks.clear();
        self.voice = Voice::default();
        self.measure = PublishMeasure::default();
        self.flow = Flow::ALL;
        self.status_due = None;
        self.started_unix_us = 0;
    }

    /// The connection that publishes, or did; `None` for a group.
    pub fn publisher(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Virtual => None,
            Phase::Preparing { publisher }
            | Phase::Live { publisher }
            | Phase::Returning { publisher }
            | Phase::Lost { publisher, .. } => Some(publisher),
        }
    }

    /// True while another connection than `conn` publishes, or is about to.
    pub(super) fn is_held_against(&self, conn: ConnId) -> bool {
        match self.phase {
            Phase::Virtual | Phase::Lost { .. } => false,
            Phase::Preparing { publisher }
            | Phase::Live { publisher }
            | Phase::Returning { publisher } => publisher != conn,
        }
    }

    /// Ant Media's word for the phase. A lost publisher is not told: its viewers still watch.
    pub fn status(&self) -> &'static str {
        match self.phase {
            Phase::Virtual if self.subtracks.is_empty() => "created",
            Phase::Preparing { .. } => "preparing",
            Phase::Virtual | Phase::Live { .. } | Phase::Lost { .. } | Phase::Returning { .. } => {
                "broadcasting"
            }
        }
    }

    /// True while it has media of its own, which includes the window after a loss.
    pub fn is_on_air(&self) -> bool {
        match self.phase {
            Phase::Virtual | Phase::Preparing { .. } => false,
            Phase::Live { .. } | Phase::Lost { .. } | Phase::Returning { .. } => true,
        }
    }

    /// True when it can be played: it is on air, or somebody was granted to publish into it. The
    /// first participant of a room plays it before there is media.
    pub fn is_playable(&self) -> bool {
        self.is_on_air() || !self.subtracks.is_empty()
    }

    /// True for a main track or room.
    pub fn is_group(&self) -> bool {
        self.phase == Phase::Virtual || !self.subtracks.is_empty() || !self.members.is_empty()
    }

    /// Connected players.
    pub fn viewers(&self) -> usize {
        self.viewers
    }

    /// Who they are, in the order of their connections' numbers.
    pub fn connected_players(&self) -> impl Iterator<Item = &Play> {
        self.players.values().filter(|play| play.is_live)
    }

    /// The play of `conn`, connected or not.
    pub fn play_of(&self, conn: ConnId) -> Option<&Play> {
        self.players.get(&conn)
    }

    /// Their connections.
    pub(super) fn connected_conns(&self) -> Vec<ConnId> {
        let live = self.players.iter().filter(|(_, play)| play.is_live);
        live.map(|(conn, _)| *conn).collect()
    }

    /// Players that hold a place, connected or not, `conn` left out.
    pub(super) fn places_besides(&self, conn: ConnId) -> usize {
        self.players.len() - usize::from(self.players.contains_key(&conn))
    }

    /// Gives `player` a place. A play of the same connection that is there already is replaced.
    pub(super) fn admit(
        &mut self,
        player: ConnId,
        ask: &PlayAsk,
        filter: Filter,
        slots: Slots,
        told: Lineup,
    ) {
        let play = Play {
            subscriber_id: ask.subscriber_id.clone(),
            subscriber_name: ask.subscriber_name.clone(),
            is_live: false,
            filter,
            slots,
            told,
            important: Vec::new(),
            listed: Vec::new(),
        };
        self.released(player);
        self.players.insert(player, play);
    }

    /// The play of `player` is connected; ignored when it holds no place.
    /// True when it was not connected before.
    pub(super) fn connected(&mut self, player: ConnId) -> bool {
        let play = self.players.get_mut(&player);
        let is_new = play.is_some_and(|play| !std::mem::replace(&mut play.is_live, true));
        self.viewers += usize::from(is_new);
        is_new
    }

    /// The place of `player` is free. True when its play was connected.
    pub(super) fn released(&mut self, player: ConnId) -> bool {
        let play = self.players.remove(&player);
        let was_live = play.is_some_and(|play| play.is_live);
        self.viewers -= usize::from(was_live);
        was_live
    }

    /// Every worker that has its tracks or players.
    pub(super) fn workers(&self) -> BTreeSet<WorkerId> {
        let players = self.players.keys().map(|player| player.worker);
        let origins = self.tracks.iter().map(|track| track.id.origin);
        players
            .chain(origins)
            .chain(self.publisher().map(|publisher| publisher.worker))
            .collect()
    }
}
