//! Whose video matters more than others' to a player: of those it pinned, and of those who speak.
//!
//! The worker is told when that changes; `bwe/allocate.rs` gives them their layers first.

use crate::base::codec::MediaKind;
use crate::base::ids::{ConnId, TrackId};
use crate::control::broadcast::{Broadcast, Play};
use crate::control::directory::{App, Directory};
use crate::control::slots::Voices;
use crate::model::layers::Priority;
use crate::model::mail::{AppName, WorkerMail};
use crate::model::track::StreamId;

impl App {
    /// The videos of `main` that matter more than others to `play`.
    fn important(&self, main: &Broadcast, play: &Play) -> Vec<(TrackId, Priority)> {
        let slots = play.slots.video.iter().flat_map(|video| video.slots());
        let pinned = slots.filter(|slot| slot.is_pinned);
        let pinned: Vec<&StreamId> = pinned.filter_map(|s| s.participant.as_ref()).collect();
        // Who is pinned and speaks is pinned.
        let speaking = main.speakers.iter().filter(|id| !pinned.contains(id));
        let speaking = speaking.map(|id| (id, Priority::Speaking));
        let pinned = pinned.iter().map(|&id| (id, Priority::Pinned));
        let mut important = Vec::new();
        for (id, priority) in pinned.chain(speaking) {
            let tracks = self.broadcasts.get(id).into_iter().flat_map(|b| &b.tracks);
            let videos = tracks.filter(|track| track.kind == MediaKind::Video);
            important.extend(videos.map(|video| (video.id, priority)));
        }
        important
    }
}

impl Directory {
    /// Somebody speaks in `main`: whoever does by now is ahead of those who spoke before.
    pub(super) fn note_speakers(
        &mut self,
        now_ms: u64,
        app: &AppName,
        main: &StreamId,
        voices: &Voices,
    ) {
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let speaking = voices.iter().filter(|(_, voice)| voice.is_speaking(now_ms));
        let speakers: Vec<StreamId> = speaking.map(|(id, _)| id.clone()).collect();
        if speakers == group.speakers {
            return;
        }
        let players: Vec<ConnId> = group.players.keys().copied().collect();
        if let Some(group) = self.broadcast_mut(app, main) {
            group.speakers = speakers;
        }
        for player in players {
            self.tell_priorities(app, main, player);
        }
    }

    /// Tells the worker of a connected play of `main` which videos matter more, where that
    /// changed.
    pub(in crate::control) fn tell_priorities(
        &mut self,
        app: &AppName,
        main: &StreamId,
        conn: ConnId,
    ) {
        let Some(state) = self.apps.get_mut(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let Some(play) = group.players.get(&conn).filter(|play| play.is_live) else {
            return;
        };
        let videos = state.important(group, play);
        if videos == play.important {
            return;
        }
        let play = state.broadcasts.get_mut(main);
        if let Some(play) = play.and_then(|group| group.players.get_mut(&conn)) {
            play.important.clone_from(&videos);
        }
        let stream = main.clone();
        let mail = WorkerMail::Priorities {
            conn,
            stream,
            videos,
        };
        self.outbox.push_back((conn.worker, mail));
    }
}
