//! Which broadcast is where: decides about publish and play, and ends what is over.
//!
//! Driven like an engine: `handle_*` bring news in, `poll_*` take mail and deadlines out. All
//! mail of one connection comes through one queue in the order it was sent, so a question that
//! was withdrawn is followed by its release: granting it in between does no harm.

mod calls;
mod events;
mod information;
mod plays;
mod question;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{Asked, reaches};
use super::broadcast::{Broadcast, Phase};
use super::calls::Calls;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{ConnId, TrackId, WorkerId};
use crate::model::access::AccessKind;
use crate::model::broadcast::BroadcastStatus;
use crate::model::data::DataRelay;
use crate::model::definition::Definition;
use crate::model::errand::Errand;
use crate::model::event::{Event, EventAction};
use crate::model::information::Information;
use crate::model::mail::{
    AppName, Client, ControlMail, PlayAsk, PublishAsk, PublishEnding, PublishMeasure, WorkerMail,
};
use crate::model::settings::AppSettings;
use crate::model::slots::SlotCommand;
use crate::model::track::{Flow, PlayGrant, StreamId, TrackInfo};
pub(super) use question::Question;
use questions::Questions;

/// Every application and its broadcasts.
#[derive(Debug, Default)]
pub struct Directory {
    pub(super) apps: BTreeMap<AppName, App>,
    deadlines: BTreeSet<(Instant, AppName, StreamId)>,
    pub(super) outbox: VecDeque<(WorkerId, WorkerMail)>,
    events: VecDeque<Event>,
    event_unix_ms: u64,
    statuses: BTreeSet<(Instant, AppName, StreamId)>,
    questions: Questions,
    /// Newcomers are refused.
    is_overloaded: bool,
    pub(super) data_messages: VecDeque<Arc<DataRelay>>,
}

/// One application.
#[derive(Debug)]
pub(super) struct App {
    pub(super) settings: Arc<AppSettings>,
    pub(super) broadcasts: BTreeMap<StreamId, Broadcast>,
    /// Who plays which of them (`directory/plays.rs`).
    plays: BTreeSet<(ConnId, StreamId)>,
    calls: Calls,
}

/// How much of an application is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCounts {
    /// The application.
    pub app: AppName,
    /// Broadcasts on air.
    pub broadcasts: usize,
    /// Connected players.
    pub viewers: usize,
}

impl Directory {
    /// A directory of `apps`, all empty.
    pub fn new(apps: BTreeMap<AppName, Arc<AppSettings>>) -> Self {
        let empty = |settings| App {
            settings,
            broadcasts: BTreeMap::new(),
            plays: BTreeSet::new(),
            calls: Calls::default(),
        };
        Self {
            apps: apps.into_iter().map(|(name, s)| (name, empty(s))).collect(),
            ..Self::default()
        }
    }

    /// A worker asks or tells something.
    pub fn handle_mail(&mut self, now: Now, mail: ControlMail) {
        self.note_time(now);
        match mail {
            ControlMail::AskPublish {
                conn,
                request,
                app,
                ask,
            } => {
                let asked = Asked::Publish(ask);
                self.ask(Question::new(conn, request, app, asked));
            }
            ControlMail::AskPlay {
                conn,
                request,
                app,
                ask,
            } => {
                let asked = Asked::Play(ask);
                self.ask(Question::new(conn, request, app, asked));
            }
            ControlMail::PublishLive {
                conn,
                app,
                stream,
                tracks,
            } => {
                self.publish_live(now, conn, &app, &stream, tracks);
                self.tell_flow(conn, &app, &stream, false);
                self.seat_connected(now, (conn, stream, AccessKind::Publish));
            }
            ControlMail::PublishReleased {
                conn,
                app,
                stream,
                ending,
            } => {
                self.publish_released(now, conn, &app, &stream, ending);
                self.withdraw(now, (conn, stream, AccessKind::Publish));
            }
            ControlMail::PlayLive { conn, app, stream } => {
                self.play_live(conn, &app, &stream);
                self.seat_connected(now, (conn, stream, AccessKind::Play));
            }
            ControlMail::PlayReleased { conn, app, stream } => {
                self.play_released(conn, &app, &stream);
                self.withdraw(now, (conn, stream, AccessKind::Play));
            }
            ControlMail::ConnClosed { conn } => self.forget(now, conn),
            // The shell asked, and the shell takes the answer.
            ControlMail::Plays { .. } | ControlMail::Peers { .. } => {}
            ControlMail::Errand {
                conn,
                app,
                client,
                errand,
            } => self.run_errand(now, (conn, client), &app, errand),
            ControlMail::PublishMeasured {
                app,
                stream,
                measure,
            } => self.publish_measured(now, &app, &stream, measure),
            ControlMail::AudioLevel { app, stream, level } => {
                self.hear(now, &app, &stream, level);
            }
            ControlMail::Room { conn, app, mail } => self.handle_room_mail(conn, &app, mail),
            ControlMail::DataMessage(relay) => self.data_message(relay),
        }
    }

    /// A WebSocket is gone.
    fn forget(&mut self, now: Now, conn: ConnId) {
        self.questions.forget(conn);
        self.forget_calls(now, conn);
    }

    fn run_errand(
        &mut self,
        now: Now,
        (conn, client): (ConnId, Arc<Client>),
        app: &AppName,
        errand: Errand,
    ) {
        match errand {
            Errand::Call(step) => self.call(now, (conn, client), app, step),
            Errand::Question(Information::TrackList { stream, proof }) => {
                let ask = PlayAsk::showing(stream, proof, client);
                self.ask(Question::new(conn, 0, app.clone(), Asked::Tracks(ask)));
            }
            Errand::Question(question) => {
                let text = self.inform(now, app, &question);
                let mail = WorkerMail::Text { conn, text };
                self.outbox.push_back((conn.worker, mail));
            }
            Errand::Slots(command) => self.assign(conn, app, command),
            Errand::Switch {
                stream,
                kind,
                enabled,
            } => self.publish_switched(conn, app, &stream, (kind, enabled)),
            Errand::Show { main, track } => self.show(conn, app, &main, &track),
            Errand::MetaData { stream, meta_data } => {
                self.publish_described(now, conn, (app, &stream), meta_data);
            }
        }
    }

    /// Ends the broadcasts whose publisher did not come back in time.
    pub fn handle_timeout(&mut self, now: Now) {
        self.note_time(now);
        self.tell_statuses(now);
        while let Some((due, app, stream)) = self.deadlines.first().cloned() {
            if due > now.instant {
                return;
            }
            self.end(now, &app, &stream);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(due, ..)| *due);
        deadline.into_iter().chain(self.next_status()).min()
    }

    /// The next mail for a worker's engine.
    pub fn poll_mail(&mut self) -> Option<(WorkerId, WorkerMail)> {
        self.outbox.pop_front()
    }

    /// The name and settings of an application; `None` when there is none of this name.
    pub fn app(&self, name: &str) -> Option<(AppName, Arc<AppSettings>)> {
        let (name, app) = self.apps.get_key_value(name)?;
        Some((name.clone(), app.settings.clone()))
    }

    /// Puts other settings in the place of an application's; they count from the next decision on.
    /// False when there is no such application.
    pub fn set_settings(&mut self, now: Now, app: &AppName, settings: Arc<AppSettings>) -> bool {
        let Some(state) = self.apps.get_mut(app) else {
            return false;
        };
        state.settings = settings;
        self.plan_statuses(now, app);
        true
    }

    /// Ends the publish of `stream` for an operator: its publisher is told `publish_finished`.
    /// False when nobody publishes it.
    pub fn stop(&mut self, now: Now, app: &AppName, stream: &str) -> bool {
        let Some(broadcast) = self.broadcast(app, stream) else {
            return false;
        };
        let stream = broadcast.stream.clone();
        let Some(conn) = broadcast.publisher() else {
            return false;
        };
        let mail = WorkerMail::StopPublish {
            conn,
            stream: stream.clone(),
        };
        self.outbox.push_back((conn.worker, mail));
        self.note_time(now);
        self.end(now, app, &stream);
        true
    }

    /// Changes what a running broadcast says of itself; `None` leaves a text as it is. False when
    /// it does not run.
    pub fn describe(
        &mut self,
        now: Now,
        app: &str,
        stream: &str,
        name: Option<String>,
        meta_data: Option<String>,
        role: Option<String>,
    ) -> bool {
        let broadcasts = self.apps.get_mut(app).map(|app| &mut app.broadcasts);
        let Some(broadcast) = broadcasts.and_then(|all| all.get_mut(stream)) else {
            return false;
        };
        broadcast.name = name.or(broadcast.name.take());
        broadcast.meta_data = meta_data.or(broadcast.meta_data.take());
        broadcast.role = role.or(broadcast.role.take());
        broadcast.updated_unix_us = now.unix_us;
        // Roles decide who sees whom.
        let main = broadcast.main_track.clone();
        if let Some((main, (app, _))) = main.zip(self.app(app)) {
            self.refresh(&app, &main);
        }
        true
    }

    /// One broadcast.
    pub fn broadcast(&self, app: &str, stream: &str) -> Option<&Broadcast> {
        self.apps.get(app)?.broadcasts.get(stream)
    }

    /// Every broadcast of an application, by id; none when there is no such application.
    pub fn broadcasts(&self, app: &str) -> impl Iterator<Item = &Broadcast> {
        self.apps
            .get(app)
            .into_iter()
            .flat_map(|app| app.broadcasts.values())
    }

    /// What each application has in use, by name.
    pub fn counts(&self) -> Vec<AppCounts> {
        let count = |(name, app): (&AppName, &App)| AppCounts {
            app: name.clone(),
            broadcasts: app.broadcasts.values().filter(|b| b.is_on_air()).count(),
            viewers: app.broadcasts.values().map(Broadcast::viewers).sum(),
        };
        self.apps.iter().map(count).collect()
    }

    /// Nobody else publishes under the id, and the application may have one more publisher.
    fn check_free(&self, conn: ConnId, app: &AppName, stream: &str) -> Result<(), Definition> {
        let app = self.apps.get(app).ok_or(Definition::NotInitializedYet)?;
        let known = app.broadcasts.get(stream);
        if known.is_some_and(|broadcast| broadcast.is_held_against(conn)) {
            return Err(Definition::StreamIdInUse);
        }
        let limit = app.settings.ingesting_stream_limit;
        let is_other = |b: &&Broadcast| *b.stream != *stream && b.publisher().is_some();
        // Counted only where there may be as many.
        if reaches(app.broadcasts.len(), limit)
            && reaches(app.broadcasts.values().filter(is_other).count(), limit)
        {
            return Err(Definition::HighResourceUsage);
        }
        Ok(())
    }

    /// Something can be played under the id.
    fn check_playable(&self, app: &AppName, stream: &str) -> Result<(), Definition> {
        let app = self.apps.get(app).ok_or(Definition::NotInitializedYet)?;
        let broadcast = app.broadcasts.get(stream);
        broadcast
            .filter(|broadcast| broadcast.is_playable())
            .map(drop)
            .ok_or(Definition::NoStreamExist)
    }

    /// The id is taken; everything else was checked in `questions.rs`.
    fn decide_publish(
        &mut self,
        now: Now,
        conn: ConnId,
        app_name: &AppName,
        ask: PublishAsk,
    ) -> Result<(), Definition> {
        let stream = ask
            .stream
            .clone()
            .ok_or(Definition::NoStreamNameSpecified)?;
        self.check_free(conn, app_name, &stream)?;
        self.begin_publish(now, conn, app_name, &stream, ask);
        Ok(())
    }

    /// A publish was allowed: its broadcast is made, or the one that waits for it goes on.
    fn begin_publish(
        &mut self,
        now: Now,
        conn: ConnId,
        app: &AppName,
        stream: &StreamId,
        ask: PublishAsk,
    ) {
        let main_track = ask.main_track.clone().filter(|main| main != stream);
        match self.broadcast(app, stream).map(|b| b.phase) {
            Some(Phase::Lost { until, .. }) => {
                self.deadlines.remove(&(until, app.clone(), stream.clone()));
            }
            // Its own: what it negotiated before is replaced.
            Some(Phase::Preparing { .. } | Phase::Live { .. } | Phase::Returning { .. }) => {
                self.end(now, app, stream);
            }
            Some(Phase::Virtual) | None => {}
        }
        let left = match self.broadcast_mut(app, stream) {
            Some(broadcast) => {
                broadcast.taken(conn, ask, now);
                let left = broadcast
                    .main_track
                    .take_if(|old| Some(&*old) != main_track.as_ref());
                self.refresh(app, stream);
                left
            }
            None => {
                if let Some(app) = self.apps.get_mut(app) {
                    let broadcast = Broadcast::granted(stream.clone(), conn, ask, now);
                    app.broadcasts.insert(stream.clone(), broadcast);
                }
                None
            }
        };
        if let Some(left) = left {
            self.leave_group(app, &left, stream);
        }
        if let Some(main) = main_track {
            self.enter_group(now, app, &main, stream);
        }
    }

    /// The place is given; everything else was checked in `questions.rs`. `said` is what the client
    /// has said of its slots since it asked.
    fn decide_play(
        &mut self,
        conn: ConnId,
        app: &AppName,
        ask: &PlayAsk,
        said: &[SlotCommand],
    ) -> Result<PlayGrant, Definition> {
        let stream = ask
            .stream
            .as_ref()
            .ok_or(Definition::NoStreamNameSpecified)?;
        self.check_playable(app, stream)?;
        let state = self.apps.get(app).ok_or(Definition::NotInitializedYet)?;
        let broadcast = state
            .broadcasts
            .get(stream)
            .ok_or(Definition::NoStreamExist)?;
        let filter = state.filter(broadcast, ask);
        let (slots, lineup) = state.first_line_up(broadcast, conn, &filter, said);
        let grant = PlayGrant {
            lineup: lineup.clone(),
            data_channel: state.settings.data_channel_enabled,
            room: match broadcast.is_group() {
                true => Some(stream.clone()),
                false => broadcast.main_track.clone(),
            },
        };
        if let Some(state) = self.apps.get_mut(app) {
            state.admit(conn, stream, ask, (filter, slots, lineup));
        }
        Ok(grant)
    }

    fn play_live(&mut self, conn: ConnId, app: &AppName, stream: &StreamId) {
        let broadcast = self.broadcast_mut(app, stream);
        if broadcast.is_some_and(|broadcast| broadcast.connected(conn)) {
            self.tell_play(app, stream, conn, true);
            self.tell_assignments(app, stream, conn, true);
            self.tell_priorities(app, stream, conn);
        }
    }

    fn publish_live(
        &mut self,
        now: Now,
        conn: ConnId,
        app: &AppName,
        stream: &StreamId,
        tracks: Vec<TrackInfo>,
    ) {
        let Some(broadcast) = self.broadcast_mut(app, stream) else {
            return;
        };
        let returned = match broadcast.phase {
            Phase::Preparing { publisher } if publisher == conn => {
                broadcast.started_unix_us = now.unix_us;
                false
            }
            Phase::Live { publisher } if publisher == conn => false,
            Phase::Returning { publisher } if publisher == conn => true,
            Phase::Virtual
            | Phase::Preparing { .. }
            | Phase::Live { .. }
            | Phase::Lost { .. }
            | Phase::Returning { .. } => return,
        };
        // Before and after: the old origin has to let go, the new one may have players too.
        let mut workers = broadcast.workers();
        let old = std::mem::replace(&mut broadcast.tracks, tracks);
        let is_new = !broadcast.is_on_air();
        broadcast.phase = Phase::Live { publisher: conn };
        broadcast.updated_unix_us = now.unix_us;
        workers.extend(broadcast.workers());
        let (moves, same) = successors(&old, &broadcast.tracks);
        let (is_group, main) = (broadcast.is_group(), broadcast.main_track.clone());
        if is_new {
            let status = BroadcastStatus::Broadcasting;
            self.questions.note_status(now, app, stream, status);
        }
        if returned {
            workers.extend(main.iter().flat_map(|main| self.workers(app, main)));
            self.replace_tracks(app, stream, workers, &moves);
            self.restored(conn, app, stream, same || is_group);
        }
        // Players of a plain broadcast have followed a return already. A new one may have
        // players of the group that it was until a moment ago.
        if is_group || !returned {
            self.refresh(app, stream);
        }
        if let Some(main) = main {
            self.refresh(app, &main);
        }
        if is_new {
            self.tell_started(now, app, stream);
        }
    }

    fn play_released(&mut self, conn: ConnId, app: &AppName, stream: &StreamId) {
        let state = self.apps.get_mut(app);
        if state.is_some_and(|state| state.release(conn, stream)) {
            self.tell_play(app, stream, conn, false);
        }
    }

    /// A publisher switches its media for everybody; only its own.
    fn publish_switched(
        &mut self,
        conn: ConnId,
        app: &AppName,
        stream: &StreamId,
        (kind, enabled): (Option<MediaKind>, bool),
    ) {
        let Some(broadcast) = self.broadcast_mut(app, stream) else {
            return;
        };
        if broadcast.publisher() == Some(conn) {
            broadcast.flow.switch(kind, enabled);
            self.tell_flow(conn, app, stream, true);
        }
    }

    /// Tells the worker of a publisher what flows; a new one only what is unusual.
    fn tell_flow(&mut self, conn: ConnId, app: &AppName, stream: &StreamId, always: bool) {
        let broadcast = self.broadcast(app, stream);
        let flow = broadcast
            .filter(|b| b.publisher() == Some(conn))
            .map(|b| b.flow);
        if let Some(flow) = flow.filter(|flow| always || *flow != Flow::ALL) {
            let (app, stream) = (app.clone(), stream.clone());
            let mail = WorkerMail::PublishFlow { app, stream, flow };
            self.outbox.push_back((conn.worker, mail));
        }
    }

    /// A publisher came back. Its players go on with its tracks, or end when those are others
    /// than they were offered.
    fn restored(&mut self, conn: ConnId, app: &AppName, stream: &StreamId, goes_on: bool) {
        if !goes_on {
            return self.end_plays(app, stream);
        }
        let stream = stream.clone();
        let mail = WorkerMail::SessionRestored { conn, stream };
        self.outbox.push_back((conn.worker, mail));
    }

    /// Tells `workers` what takes the place of each old track.
    fn replace_tracks(
        &mut self,
        app: &AppName,
        stream: &StreamId,
        workers: BTreeSet<WorkerId>,
        moves: &[(TrackId, Option<TrackInfo>)],
    ) {
        for worker in workers {
            let (app, stream) = (app.clone(), stream.clone());
            let moves = moves.to_vec();
            let mail = WorkerMail::TracksReplaced { app, stream, moves };
            self.outbox.push_back((worker, mail));
        }
    }

    fn workers(&self, app: &AppName, stream: &StreamId) -> BTreeSet<WorkerId> {
        self.broadcast(app, stream)
            .map(Broadcast::workers)
            .unwrap_or_default()
    }

    /// The players of a broadcast end, and the broadcast goes on.
    pub(super) fn end_plays(&mut self, app: &AppName, stream: &StreamId) {
        let Some(broadcast) = self.broadcast_mut(app, stream) else {
            return;
        };
        for worker in broadcast.workers() {
            let (app, stream) = (app.clone(), stream.clone());
            let mail = WorkerMail::PlaysEnded { app, stream };
            self.outbox.push_back((worker, mail));
        }
    }

    fn publish_released(
        &mut self,
        now: Now,
        conn: ConnId,
        app: &AppName,
        stream: &StreamId,
        ending: PublishEnding,
    ) {
        let Some(state) = self.apps.get_mut(app) else {
            return;
        };
        let timeout_ms = state.settings.webrtc_client_start_timeout_ms;
        let Some(broadcast) = state.broadcasts.get_mut(stream) else {
            return;
        };
        if broadcast.publisher() != Some(conn) {
            return;
        }
        match (broadcast.phase, ending) {
            (Phase::Live { .. }, PublishEnding::Lost) => {
                let until = now.instant + Duration::from_millis(timeout_ms);
                broadcast.phase = Phase::Lost {
                    publisher: conn,
                    until,
                };
                broadcast.measure.video_bps = 0;
                broadcast.measure.audio_bps = 0;
                self.deadlines.insert((until, app.clone(), stream.clone()));
            }
            (Phase::Virtual, _) | (Phase::Lost { .. }, PublishEnding::Lost) => {}
            (Phase::Preparing { .. } | Phase::Returning { .. }, PublishEnding::Lost)
            | (_, PublishEnding::Stopped) => {
                self.end(now, app, stream);
            }
            (_, PublishEnding::TimedOut) => {
                self.tell(app, stream, EventAction::PublishTimeoutError);
                self.end(now, app, stream);
            }
        }
    }

    fn publish_measured(
        &mut self,
        now: Now,
        app: &AppName,
        stream: &StreamId,
        measure: PublishMeasure,
    ) {
        if let Some(broadcast) = self.broadcast_mut(app, stream)
            && matches!(broadcast.phase, Phase::Live { .. })
        {
            broadcast.measure = measure;
            broadcast.updated_unix_us = now.unix_us;
        }
    }

    /// The publish of a broadcast is over: the broadcast is removed, or goes on as a group.
    /// Nothing happens when there is none.
    fn end(&mut self, now: Now, app: &AppName, stream: &StreamId) {
        self.tell_ended(app, stream);
        let Some(broadcast) = self.broadcast_mut(app, stream) else {
            return;
        };
        let main = broadcast.main_track.take();
        let phase = broadcast.phase;
        let was_on_air = broadcast.is_on_air();
        if broadcast.is_group() {
            let workers = broadcast.workers();
            let moves: Vec<_> = broadcast.tracks.iter().map(|t| (t.id, None)).collect();
            broadcast.given_up();
            let is_playable = broadcast.is_playable();
            self.replace_tracks(app, stream, workers, &moves);
            match is_playable {
                true => self.refresh(app, stream),
                false => self.end_plays(app, stream),
            }
        } else {
            self.remove(app, stream);
        }
        if was_on_air {
            let status = BroadcastStatus::Finished;
            self.questions.note_status(now, app, stream, status);
        }
        if let Phase::Lost { until, .. } = phase {
            self.deadlines.remove(&(until, app.clone(), stream.clone()));
        }
        if let Some(main) = main {
            self.leave_group(app, &main, stream);
        }
    }

    /// Removes a broadcast and tells every worker that has a part in it; the origin always, so
    /// that it frees its tracks.
    pub(super) fn remove(&mut self, app: &AppName, stream: &StreamId) {
        self.tell_plays_ended(app, stream);
        let state = self.apps.get_mut(app);
        let Some(broadcast) = state.and_then(|app| app.remove(stream)) else {
            return;
        };
        for worker in broadcast.workers() {
            let mail = WorkerMail::BroadcastEnded {
                app: app.clone(),
                stream: stream.clone(),
            };
            self.outbox.push_back((worker, mail));
        }
    }

    /// Queues a mail for a worker's engine.
    pub(super) fn mail(&mut self, worker: WorkerId, mail: WorkerMail) {
        self.outbox.push_back((worker, mail));
    }

    pub(super) fn broadcast_mut(
        &mut self,
        app: &AppName,
        stream: &StreamId,
    ) -> Option<&mut Broadcast> {
        self.apps.get_mut(app)?.broadcasts.get_mut(stream)
    }
}

/// For each old track the new one that players can be sent without another offer: same kind, codec
/// and payload types. True when what is played of the old, the first of each kind, goes on with
/// what is played of the new: a publisher may have left m-lines behind that send nothing.
fn successors(old: &[TrackInfo], new: &[TrackInfo]) -> (Vec<(TrackId, Option<TrackInfo>)>, bool) {
    let mut left: Vec<&TrackInfo> = new.iter().collect();
    let mut moves = Vec::with_capacity(old.len());
    for track in old {
        let at = left.iter().position(|new| new.takes_same_section(track));
        moves.push((track.id, at.map(|at| left.remove(at).clone())));
    }
    let same = [MediaKind::Audio, MediaKind::Video].iter().all(|&kind| {
        let old = old.iter().find(|track| track.kind == kind);
        let new = new.iter().find(|track| track.kind == kind);
        match (old, new) {
            (Some(old), Some(new)) => new.takes_same_section(old),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    });
    (moves, same)
}

mod questions;

#[cfg(test)]
mod tests;
