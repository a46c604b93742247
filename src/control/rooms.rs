//! Main tracks and rooms: who belongs to which, and what each play of them is to be sent.
//!
//! State-based: whenever something about a group changes, each of its plays is told the complete
//! list of its sources, if that differs from what it was told before. A group without a publisher
//! of its own exists while it has subtracks or members.

use super::admission::Asked;
use super::broadcast::{Broadcast, Phase};
use super::directory::{App, Directory, Question};
use super::filter::Filter;
use super::slots::{Slots, Voices};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{MAX_PAGE_LEN, MAX_SOURCES_PER_PLAY};
use crate::model::definition::Definition;
use crate::model::mail::{AppName, PlayAsk, WorkerMail};
use crate::model::room::{JoinAsk, Joined, RoomAnswer, RoomMail, RoomStream};
use crate::model::track::{Lineup, Source, StreamId};
use crate::signal::reply::{self, event};

impl App {
    /// The wishes of a play of `main` that begins.
    pub(super) fn filter(&self, main: &Broadcast, ask: &PlayAsk) -> Filter {
        let on_air = |id: &&StreamId| self.broadcasts.get(*id).is_some_and(Broadcast::is_on_air);
        let own = main.is_on_air().then_some(&main.stream);
        let present: Vec<StreamId> = main
            .subtracks
            .iter()
            .filter(on_air)
            .chain(own)
            .cloned()
            .collect();
        Filter::of(ask, &present)
    }

    /// What `player` is to be sent of `main`, whose slots are brought up to date; `voices` are
    /// those of `main`.
    pub(super) fn line_up(
        &self,
        main: &Broadcast,
        player: ConnId,
        filter: &Filter,
        voices: &Voices,
        slots: &mut Slots,
    ) -> Lineup {
        let participants = self.participants(main, player, filter);
        match main.is_group() {
            true => slots.line_up(participants, voices),
            false => Lineup::of(participants),
        }
    }

    /// Whom `player` wants of `main`: its own media, then those of its subtracks.
    fn participants(&self, main: &Broadcast, player: ConnId, filter: &Filter) -> Vec<Source> {
        let source = |broadcast: &Broadcast| Source {
            stream: broadcast.stream.clone(),
            tracks: broadcast.tracks.clone(),
        };
        if !main.is_group() {
            return vec![source(main)];
        }
        let own = (main.is_on_air() && filter.wants(&main.stream)).then_some(main);
        let matrix = &self.settings.participant_visibility_matrix;
        let subtracks = main.subtracks.iter().filter_map(|id| {
            let subtrack = self.broadcasts.get(id)?;
            let is_wanted = subtrack.is_on_air() && filter.admits(player, subtrack, matrix);
            is_wanted.then_some(subtrack)
        });
        own.into_iter()
            .chain(subtracks)
            .take(MAX_SOURCES_PER_PLAY)
            .map(source)
            .collect()
    }

    /// Who is on air in `room`, without `own`, and without what `caller` publishes when it does
    /// not say which id is its own.
    ///
    /// Ids are there until they are [`MAX_PAGE_LEN`] bytes as they are written, because pages play
    /// by them; names and `metaData` until those are as many: who asks must not be taken for a slow
    /// reader.
    fn streams(&self, room: &Broadcast, caller: ConnId, own: Option<&StreamId>) -> Vec<RoomStream> {
        let mut len = 0;
        let mut fitting = |text: &Option<String>| {
            len += text.as_deref().map_or(0, reply::written_len);
            text.clone().filter(|_| len <= MAX_PAGE_LEN)
        };
        let known = room
            .subtracks
            .iter()
            .filter_map(|id| self.broadcasts.get(id));
        let is_own = |subtrack: &Broadcast| match own {
            Some(own) => subtrack.stream == *own,
            None => subtrack.publisher() == Some(caller),
        };
        let others = known.filter(|b| b.is_on_air() && !is_own(b));
        let mut ids_len = 0;
        let listed = others.take_while(|subtrack| {
            ids_len += subtrack.stream.len() + ENTRY_LEN;
            ids_len <= MAX_PAGE_LEN
        });
        let stream = |subtrack: &Broadcast| RoomStream {
            stream: subtrack.stream.clone(),
            name: fitting(&subtrack.name),
            meta_data: fitting(&subtrack.meta_data),
        };
        listed.map(stream).collect()
    }
}

impl Directory {
    /// A connection asks or tells something about rooms.
    pub(super) fn handle_room_mail(&mut self, conn: ConnId, app: &AppName, mail: RoomMail) {
        let answer = match mail {
            RoomMail::AskJoin { request, ask } => {
                let asked = Asked::room(ask);
                return self.ask(Question::new(conn, request, app.clone(), asked));
            }
            RoomMail::AskInformation { room, stream } => {
                let result = self.room_information(conn, app, &room, stream.as_ref());
                RoomAnswer::Information {
                    room,
                    stream,
                    result,
                }
            }
            RoomMail::Left { room } => {
                self.withdraw_room(conn, &room);
                return self.room_left(conn, app, &room);
            }
        };
        let mail = WorkerMail::Room { conn, answer };
        self.outbox.push_back((conn.worker, mail));
    }

    /// `stream`, whose publish was just granted, belongs to `main`, which is made when there is
    /// none.
    pub(super) fn enter_group(
        &mut self,
        now: Now,
        app: &AppName,
        main: &StreamId,
        stream: &StreamId,
    ) {
        let Some(state) = self.apps.get_mut(app) else {
            return;
        };
        if let Some(broadcast) = state.broadcasts.get_mut(stream) {
            broadcast.main_track = Some(main.clone());
        }
        let group = state.group(main, now);
        if !group.subtracks.contains(stream) {
            group.subtracks.push(stream.clone());
        }
        self.refresh(app, main);
    }

    /// `stream` belongs to `main` no more. A group that is over with that leaves its own main
    /// track in turn.
    pub(super) fn leave_group(&mut self, app: &AppName, main: &StreamId, stream: &StreamId) {
        let mut left = self.leave_one_group(app, main, stream);
        while let Some((main, stream)) = left {
            left = self.leave_one_group(app, &main, &stream);
        }
    }

    /// The end of the last subtrack is that of the group's plays, unless the group has media of
    /// its own. `Some`: the group is over, and was a subtrack itself, of which main track.
    fn leave_one_group(
        &mut self,
        app: &AppName,
        main: &StreamId,
        stream: &StreamId,
    ) -> Option<(StreamId, StreamId)> {
        let group = self.broadcast_mut(app, main)?;
        group.subtracks.retain(|id| id != stream);
        for play in group.players.values_mut() {
            play.filter.forget(stream);
        }
        if group.phase != Phase::Virtual || !group.subtracks.is_empty() {
            self.refresh(app, main);
        } else if group.members.is_empty() {
            let outer = group.main_track.take();
            self.remove(app, main);
            return Some((outer?, main.clone()));
        } else {
            self.end_plays(app, main);
        }
        None
    }

    /// Tells each play of `main` what it is to be sent, where that changed.
    pub(super) fn refresh(&mut self, app: &AppName, main: &StreamId) {
        let Some(state) = self.apps.get(app) else {
            return;
        };
        let Some(group) = state.broadcasts.get(main) else {
            return;
        };
        let voices = state.voices(group);
        let mut changes = Vec::new();
        for (&player, play) in &group.players {
            let mut slots = play.slots.clone();
            let lineup = state.line_up(group, player, &play.filter, &voices, &mut slots);
            if lineup != play.told || slots != play.slots {
                changes.push((player, slots, lineup));
            }
        }
        for (conn, slots, lineup) in changes {
            self.tell_lineup(app, main, conn, slots, lineup);
            self.tell_assignments(app, main, conn, false);
        }
    }

    /// The play that `conn` has of `main` wants `track` too.
    pub(super) fn show(&mut self, conn: ConnId, app: &AppName, main: &StreamId, track: &StreamId) {
        let play = self
            .broadcast_mut(app, main)
            .filter(|broadcast| broadcast.is_group())
            .and_then(|group| group.players.get_mut(&conn));
        if play.is_some_and(|play| play.filter.show(track)) {
            self.refresh(app, main);
        }
    }

    /// Tells one play of `main` what it is to be sent, where that changed.
    fn tell_lineup(
        &mut self,
        app: &AppName,
        main: &StreamId,
        conn: ConnId,
        slots: Slots,
        lineup: Lineup,
    ) {
        let Some(group) = self.broadcast_mut(app, main) else {
            return;
        };
        let is_group = group.is_group();
        let Some(play) = group.players.get_mut(&conn) else {
            return;
        };
        play.slots = slots;
        if lineup == play.told {
            return;
        }
        let others = lineup.participants != play.told.participants;
        let is_list_new = is_group && (others || !play.slots.is_limited());
        play.told.clone_from(&lineup);
        let stream = main.clone();
        let mail = WorkerMail::PlaySources {
            conn,
            stream,
            lineup,
        };
        self.outbox.push_back((conn.worker, mail));
        if is_list_new {
            self.send_event(conn, main, event::track_list_updated(main));
        }
        self.tell_priorities(app, main, conn);
    }

    /// The room is entered; everything else was checked in `directory/questions.rs`.
    pub(super) fn enter_room(
        &mut self,
        now: Now,
        conn: ConnId,
        app: &AppName,
        ask: JoinAsk,
    ) -> Result<Joined, Definition> {
        let state = self
            .apps
            .get_mut(app)
            .ok_or(Definition::NotInitializedYet)?;
        let stream = ask.stream.ok_or(Definition::NoStreamNameSpecified)?;
        let holder = state.broadcasts.get(&stream);
        if holder.is_some_and(|broadcast| broadcast.is_held_against(conn)) {
            return Err(Definition::StreamIdInUse);
        }
        let group = state.group(&ask.room, now);
        group.members.insert((conn, stream.clone()));
        let others = match state.broadcasts.get(&ask.room) {
            Some(room) => state.streams(room, conn, Some(&stream)),
            None => Vec::new(),
        };
        Ok(Joined { stream, others })
    }

    /// Every membership of `conn` in `room` is over.
    fn room_left(&mut self, conn: ConnId, app: &AppName, room: &StreamId) {
        let Some(group) = self.broadcast_mut(app, room) else {
            return;
        };
        group.members.retain(|(member, _)| *member != conn);
        if !group.is_playable() && group.phase == Phase::Virtual && group.members.is_empty() {
            let outer = group.main_track.take();
            self.remove(app, room);
            if let Some(outer) = outer {
                self.leave_group(app, &outer, room);
            }
        }
    }

    /// Who is on air in `room`.
    fn room_information(
        &self,
        conn: ConnId,
        app: &AppName,
        room: &StreamId,
        own: Option<&StreamId>,
    ) -> Result<Vec<RoomStream>, Definition> {
        let state = self.apps.get(app).ok_or(Definition::NotInitializedYet)?;
        match state.broadcasts.get(room).filter(|b| b.is_group()) {
            Some(group) => Ok(state.streams(group, conn, own)),
            None => Err(Definition::NoActiveStreamsInRoom),
        }
    }
}

impl App {
    /// The broadcast `main`, made when there is none.
    fn group(&mut self, main: &StreamId, now: Now) -> &mut Broadcast {
        self.broadcasts
            .entry(main.clone())
            .or_insert_with(|| Broadcast::grouping(main.clone(), now))
    }
}

/// Bytes of an entry without texts, by each of the two times that its id is in a message.
const ENTRY_LEN: usize = 28;

mod assignments;
mod priorities;

#[cfg(test)]
mod tests;
