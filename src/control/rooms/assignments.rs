//! The slots of room plays: what clients say about them, who is loud, and what clients are told.

use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::ConnId;
use crate::control::admission::CheckId;
use crate::control::broadcast::{Broadcast, Play};
use crate::control::directory::{App, Directory};
use crate::control::filter::Filter;
use crate::control::slots::{self, Assignment, SILENCE, Slots, Voices};
use crate::model::data::DataTarget;
use crate::model::mail::{AppName, WorkerMail};
use crate::model::slots::SlotCommand;
use crate::model::track::{Lineup, StreamId};
use crate::signal::reply::event::{self, AudioSlot, VideoSlot};
use crate::signal::reply::info;

/// A room play of a client.
struct Meant {
    main: StreamId,
    /// The question that it waits for; `None` when it was granted.
    question: Option<CheckId>,
}

impl App {
    /// How loud everybody in `main` is.
    pub(in crate::control) fn voices(&self, main: &Broadcast) -> Voices {
        self.all_of(main)
            .map(|broadcast| (broadcast.stream.clone(), broadcast.voice))
            .collect()
    }

    /// Those in `main` who speak and send this kind of media.
    fn speakers_with(&self, main: &Broadcast, kind: MediaKind, now_ms: u64) -> Vec<StreamId> {
        let speaks = |b: &&Broadcast| b.is_on_air() && b.voice.is_speaking(now_ms);
        let has = |b: &&Broadcast| b.tracks.iter().any(|track| track.kind == kind);
        let speakers = self.all_of(main).filter(speaks).filter(has);
        speakers.map(|broadcast| broadcast.stream.clone()).collect()
    }

    /// What a play of `main` that begins is sent, and who is on its slots: as the application has
    /// it, and then as the client has `said`, which holds from the first offer on.
    pub(in crate::control) fn first_line_up(
        &self,
        main: &Broadcast,
        player: ConnId,
        filter: &Filter,
        said: &[SlotCommand],
    ) -> (Slots, Lineup) {
        let voices = self.voices(main);
        let mut slots = Slots::of(&self.settings);
        let mut lineup = self.line_up(main, player, filter, &voices, &mut slots);
        for command in said.iter().filter(|_| main.is_group()) {
            carry_out(command, &mut slots, &self.wanted(main, player, filter));
            lineup = self.line_up(main, player, filter, &voices, &mut slots);
        }
        (slots, lineup)
    }

    /// Who of `group` may be on a video slot of a play.
    fn wanted(&self, group: &Broadcast, player: ConnId, filter: &Filter) -> Vec<StreamId> {
        let participants = self.participants(group, player, filter);
        slots::of_kind(&participants, MediaKind::Video)
    }

    /// The subtracks of `main`, and itself.
    fn all_of<'a>(&'a self, main: &'a Broadcast) -> impl Iterator<Item = &'a Broadcast> {
        let subtracks = main.subtracks.iter();
        let subtracks = subtracks.filter_map(|id| self.broadcasts.get(id));
        subtracks.chain([main])
    }
}

impl Directory {
    /// A player says, or asks, who is on its slots. A command for a play that is not granted yet
    /// waits for that; one that means none of its plays is passed over.
    pub(in crate::control) fn assign(&mut self, conn: ConnId, app: &AppName, command: SlotCommand) {
        let Some(Meant { main, question }) = self.meant(conn, app, command.stream()) else {
            return;
        };
        if let Some(question) = question {
            return self.hold_command(question, command);
        }
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some((group, play)) = play_of(state, &main, conn) else {
            return;
        };
        let mut slots = play.slots.clone();
        carry_out(
            &command,
            &mut slots,
            &state.wanted(group, conn, &play.filter),
        );
        let voices = state.voices(group);
        let lineup = state.line_up(group, conn, &play.filter, &voices, &mut slots);
        self.tell_lineup(app, &main, conn, slots, lineup);
        self.tell_assignments(app, &main, conn, true);
        self.tell_priorities(app, &main, conn);
        self.list_slots(app, &main, conn, &command);
    }

    /// A play was granted whose client had `said` this before: answers what it asked. What it set
    /// is told when the play is connected.
    pub(in crate::control) fn answer_slots(
        &mut self,
        app: &AppName,
        main: &StreamId,
        conn: ConnId,
        said: &[SlotCommand],
    ) {
        for command in said {
            if let SlotCommand::Get { .. } = command {
                self.tell_assignments(app, main, conn, true);
                self.list_slots(app, main, conn, command);
            }
        }
    }

    /// Sends who is on the slots of a play of the group `main`, if `command` asks for that.
    fn list_slots(&mut self, app: &AppName, main: &StreamId, conn: ConnId, command: &SlotCommand) {
        if let SlotCommand::Get { .. } = command
            && let Some(state) = self.apps.get(app)
            && let Some((group, play)) = play_of(state, main, conn)
            && group.is_group()
        {
            let text = info::video_track_assignment_list(main, &play.listed);
            let mail = WorkerMail::Text { conn, text };
            self.outbox.push_back((conn.worker, mail));
        }
    }

    /// The room play that a client means by `stream`, which may be the main track, its own
    /// publish, or any participant.
    fn meant(&self, conn: ConnId, app: &AppName, stream: &StreamId) -> Option<Meant> {
        let state = self.apps.get(app)?;
        let group = |main: &StreamId| state.broadcasts.get(main).filter(|b| b.is_group());
        let granted = state
            .plays_of(conn)
            .map(|(b, play)| (&b.stream, play.filter.own(), None));
        let granted = granted.filter(|(main, ..)| group(main).is_some());
        let asked = self.asked_plays(conn, app).filter_map(|(id, ask)| {
            let main = ask.stream.as_ref()?;
            // What is not there yet may become a room by then.
            let may_be = group(main).is_some() || !state.broadcasts.contains_key(main);
            may_be.then_some((main, ask.user_publish_id.as_deref(), Some(id)))
        });
        let plays: Vec<_> = granted.chain(asked).collect();
        let named = plays.iter().find(|(main, ..)| *main == stream);
        let own = || plays.iter().find(|(_, own, _)| *own == Some(&**stream));
        let only = || plays.first().filter(|_| plays.len() == 1);
        let holds = |main: &StreamId| group(main).is_some_and(|g| g.subtracks.contains(stream));
        let holding = || plays.iter().find(|(main, ..)| holds(main));
        let &(main, _, question) = named.or_else(own).or_else(only).or_else(holding)?;
        let main = main.clone();
        Some(Meant { main, question })
    }

    /// Tells a connected play of the group `main` who is on its video slots, where that changed;
    /// with `always` in any case.
    pub(in crate::control) fn tell_assignments(
        &mut self,
        app: &AppName,
        main: &StreamId,
        conn: ConnId,
        always: bool,
    ) {
        let Some(group) = self.broadcast_mut(app, main).filter(|b| b.is_group()) else {
            return;
        };
        let Some(play) = group.players.get_mut(&conn) else {
            return;
        };
        let list = video_slots(play);
        if always || (play.is_live && list != play.listed) {
            let text = event::video_track_assignments(main, &list);
            play.listed = list;
            self.send_event(conn, main, text);
        }
    }

    /// The publisher of `stream` is so loud; when it speaks, the plays of its main track may give
    /// it a slot.
    pub(in crate::control) fn hear(
        &mut self,
        now: Now,
        app: &AppName,
        stream: &StreamId,
        level: u8,
    ) {
        let now_ms = now.unix_us / 1000;
        let Some(state) = self.apps.get_mut(app) else {
            return;
        };
        let threshold = state.settings.audio_level_threshold;
        let Some(broadcast) = state.broadcasts.get_mut(stream) else {
            return;
        };
        broadcast.voice.hear(now_ms, level, threshold);
        let is_speaking = broadcast.voice.is_speaking(now_ms);
        let main = broadcast.main_track.clone();
        if state.settings.send_audio_level_to_viewers {
            self.tell_level(app, stream, main.as_ref(), level);
        }
        let Some(main) = main.filter(|_| is_speaking) else {
            return;
        };
        self.heed_speakers(now_ms, app, &main);
        self.tell_audio_assignments(now_ms, app, &main);
    }

    /// Gives those who speak in `main` what they are due, once in [`HEEDING_PERIOD_MS`] however
    /// many report: in a large room there are as many reports as plays, and each is about all of
    /// them.
    fn heed_speakers(&mut self, now_ms: u64, app: &AppName, main: &StreamId) {
        let Some(group) = self.broadcast_mut(app, main) else {
            return;
        };
        if now_ms.abs_diff(group.heeded_ms) < HEEDING_PERIOD_MS {
            return;
        }
        group.heeded_ms = now_ms;
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let voices = state.voices(group);
        self.give_slots(now_ms, app, main, &voices);
        self.note_speakers(now_ms, app, main, &voices);
    }

    /// Tells the players of `stream`, and of the room it is in, how loud it is.
    fn tell_level(&mut self, app: &AppName, stream: &StreamId, main: Option<&StreamId>, level: u8) {
        let played = [Some(stream), main].into_iter().flatten().cloned();
        let to = played.map(DataTarget::Players).collect();
        let text = event::audio_level(stream, level);
        self.send_to_all(app.clone(), stream.clone(), to, text);
    }

    /// Whoever speaks in `main` looks for a slot in every play.
    fn give_slots(&mut self, now_ms: u64, app: &AppName, main: &StreamId, voices: &Voices) {
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let audio = state.speakers_with(group, MediaKind::Audio, now_ms);
        let video = state.speakers_with(group, MediaKind::Video, now_ms);
        let may_yield = |play: &Play| play.slots.may_yield(now_ms, (&audio, &video), voices);
        let mut changes = Vec::new();
        for (&player, play) in group.players.iter().filter(|(_, play)| may_yield(play)) {
            let participants = state.participants(group, player, &play.filter);
            let mut slots = play.slots.clone();
            if slots.hear(now_ms, &participants, voices) {
                let lineup = state.line_up(group, player, &play.filter, voices, &mut slots);
                changes.push((player, slots, lineup));
            }
        }
        for (conn, slots, lineup) in changes {
            self.tell_lineup(app, main, conn, slots, lineup);
            self.tell_assignments(app, main, conn, false);
        }
    }

    /// Tells the plays of `main` whose audio is limited who is heard, five times a second.
    fn tell_audio_assignments(&mut self, now_ms: u64, app: &AppName, main: &StreamId) {
        let Some(group) = self.broadcast_mut(app, main) else {
            return;
        };
        if now_ms.abs_diff(group.audio_told_ms) < AUDIO_PERIOD_MS {
            return;
        }
        group.audio_told_ms = now_ms;
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let live = group.players.iter().filter(|(_, play)| play.is_live);
        let limited = live.filter_map(|(conn, play)| Some((*conn, play.slots.audio.as_ref()?)));
        let limited: Vec<(ConnId, &Assignment)> = limited.collect();
        if limited.is_empty() {
            return;
        }
        let voices = state.voices(group);
        let text = |slots| event::audio_track_assignments(main, &audio_slots(slots, &voices));
        let texts = limited.into_iter().map(|(conn, slots)| (conn, text(slots)));
        let texts: Vec<(ConnId, String)> = texts.collect();
        for (conn, text) in texts {
            self.send_event(conn, main, text);
        }
    }
}

fn play_of<'a>(state: &'a App, main: &StreamId, conn: ConnId) -> Option<(&'a Broadcast, &'a Play)> {
    let group = state.broadcasts.get(main)?;
    Some((group, group.players.get(&conn)?))
}

fn carry_out(command: &SlotCommand, slots: &mut Slots, wanted: &[StreamId]) {
    match command {
        SlotCommand::Get { .. } => {}
        SlotCommand::SetMax { count, .. } => {
            slots.video = match slots.video.take() {
                Some(video) => video.resized(*count),
                None => Assignment::of(*count),
            };
        }
        SlotCommand::Update { page, .. } => {
            if let Some(video) = &mut slots.video {
                video.show(wanted, *page);
            }
        }
        SlotCommand::Assign {
            stream,
            slot,
            enabled,
        } => {
            let at = slot.as_deref().map(slots::video_slot);
            match (&mut slots.video, at) {
                (Some(video), _) if !enabled => video.unpin(stream),
                (Some(video), Some(Some(at))) if wanted.contains(stream) => {
                    video.pin(stream, Some(at));
                }
                (Some(video), None) if wanted.contains(stream) => video.pin(stream, None),
                (Some(_) | None, _) => {}
            }
        }
    }
}

/// The video slots of a play; without a limit there is one per participant.
fn video_slots(play: &Play) -> Vec<VideoSlot> {
    let slot = |at, id: Option<&StreamId>, reserved| VideoSlot {
        video_label: slots::label(MediaKind::Video, at),
        track_id: id.map(ToString::to_string).unwrap_or_default(),
        reserved,
    };
    match &play.slots.video {
        Some(video) => (0..)
            .zip(video.slots())
            .map(|(at, s)| slot(at, s.participant.as_ref(), s.is_pinned))
            .collect(),
        None => (0..)
            .zip(&play.told.participants)
            .map(|(at, id)| slot(at, Some(id), false))
            .collect(),
    }
}

fn audio_slots(audio: &Assignment, voices: &Voices) -> Vec<AudioSlot> {
    let slot = |(at, slot): (usize, &slots::Slot)| {
        let id = slot.participant.as_ref();
        let voice = id.and_then(|id| voices.get(id));
        AudioSlot {
            audio_label: slots::label(MediaKind::Audio, at),
            track_id: id.map(ToString::to_string).unwrap_or_default(),
            audio_level: voice.map_or(SILENCE, |voice| voice.level),
        }
    };
    audio.slots().iter().enumerate().map(slot).collect()
}

/// Least time between two looks at who speaks in a room: the period of reports.
const HEEDING_PERIOD_MS: u64 = 200;

/// Least time between two messages about the audio slots of a room; less than the period of
/// reports, so that each report of a lone speaker is told.
const AUDIO_PERIOD_MS: u64 = 150;
