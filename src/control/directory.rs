//! Which broadcast is where: decides about publish and play, and ends what is over.
//!
//! Driven like an engine: `handle_*` bring news in, `poll_*` take mail and deadlines out. All
//! mail of one connection comes through one queue in the order it was sent, so a question that
//! was withdrawn is followed by its release: granting it in between does no harm.

mod calls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broadcast::{Broadcast, Phase};
use super::calls::Calls;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::ids::{ConnId, TrackId, WorkerId};
use crate::model::data::DataRelay;
use crate::model::definition::Definition;
use crate::model::mail::{
    AppName, ControlMail, PlayAsk, PublishAsk, PublishEnding, PublishMeasure, WorkerMail,
};
use crate::model::settings::AppSettings;
use crate::model::track::{Flow, PlayGrant, Source, StreamId, TrackInfo};

/// Every application and its broadcasts.
#[derive(Debug, Default)]
pub struct Directory {
    apps: BTreeMap<AppName, App>,
    deadlines: BTreeSet<(Instant, AppName, StreamId)>,
    outbox: VecDeque<(WorkerId, WorkerMail)>,
    pub(super) data_messages: VecDeque<Arc<DataRelay>>,
    pub(super) data_messages_len: usize,
}

#[derive(Debug)]
struct App {
    settings: Arc<AppSettings>,
    broadcasts: BTreeMap<StreamId, Broadcast>,
    calls: Calls,
}

/// How much of an application is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCounts {
    /// The application.
    pub app: AppName,
    /// Broadcasts that can be played.
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
            calls: Calls::default(),
        };
        Self {
            apps: apps.into_iter().map(|(name, s)| (name, empty(s))).collect(),
            ..Self::default()
        }
    }

    /// A worker asks or tells something.
    pub fn handle_mail(&mut self, now: Now, mail: ControlMail) {
        match mail {
            ControlMail::AskPublish {
                conn,
                request,
                app,
                ask,
            } => {
                let result = self.decide_publish(now, conn, &app, ask);
                let answer = WorkerMail::PublishDecision {
                    conn,
                    request,
                    result,
                };
                self.outbox.push_back((conn.worker, answer));
            }
            ControlMail::AskPlay {
                conn,
                request,
                app,
                ask,
            } => {
                let result = self.decide_play(conn, &app, &ask);
                let answer = WorkerMail::PlayDecision {
                    conn,
                    request,
                    result,
                };
                self.outbox.push_back((conn.worker, answer));
            }
            ControlMail::PublishLive {
                conn,
                app,
                stream,
                tracks,
            } => {
                self.publish_live(now, conn, &app, &stream, tracks);
                self.tell_flow(conn, &app, &stream, false);
            }
            ControlMail::PublishReleased {
                conn,
                app,
                stream,
                ending,
            } => self.publish_released(now, conn, &app, &stream, ending),
            ControlMail::PlayLive { conn, app, stream } => {
                if let Some(broadcast) = self.broadcast_mut(&app, &stream) {
                    broadcast.connected(conn);
                }
            }
            ControlMail::PlayReleased { conn, app, stream } => {
                self.play_released(conn, &app, &stream);
            }
            ControlMail::PublishSwitched {
                conn,
                app,
                stream,
                kind,
                enabled,
            } => self.publish_switched(conn, &app, &stream, (kind, enabled)),
            ControlMail::Call { conn, app, step } => self.call(now, conn, &app, step),
            ControlMail::PublishMeasured {
                app,
                stream,
                measure,
            } => self.publish_measured(now, &app, &stream, measure),
            ControlMail::DataMessage(relay) => self.data_message(relay),
        }
    }

    /// Ends the broadcasts whose publisher did not come back in time.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((due, app, stream)) = self.deadlines.first().cloned() {
            if due > now.instant {
                return;
            }
            self.end(&app, &stream);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, ..)| *due)
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
    pub fn set_settings(&mut self, app: &str, settings: Arc<AppSettings>) -> bool {
        let Some(app) = self.apps.get_mut(app) else {
            return false;
        };
        app.settings = settings;
        true
    }

    /// Ends the publish of `stream` for an operator: its publisher is told `publish_finished`.
    /// False when nobody publishes it.
    pub fn stop(&mut self, _now: Now, app: &AppName, stream: &str) -> bool {
        let Some(broadcast) = self.broadcast(app, stream) else {
            return false;
        };
        let (conn, stream) = (broadcast.publisher(), broadcast.stream.clone());
        let mail = WorkerMail::StopPublish {
            conn,
            stream: stream.clone(),
        };
        self.outbox.push_back((conn.worker, mail));
        self.end(app, &stream);
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
            broadcasts: app.broadcasts.values().filter(|b| b.is_playable()).count(),
            viewers: app.broadcasts.values().map(Broadcast::viewers).sum(),
        };
        self.apps.iter().map(count).collect()
    }

    /// Checks in the order that `docs/signalling.md` gives for `publish`.
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
        let app = self
            .apps
            .get(app_name)
            .ok_or(Definition::NotInitializedYet)?;
        if ask.video && !any_video_codec(&app.settings) {
            return Err(Definition::NoCodecEnabled);
        }
        let phase = app.broadcasts.get(&stream).map(|b| b.phase);
        if let Some(
            Phase::Preparing { publisher }
            | Phase::Live { publisher }
            | Phase::Returning { publisher },
        ) = phase
            && publisher != conn
        {
            return Err(Definition::StreamIdInUse);
        }
        let others = app.broadcasts.keys().filter(|id| **id != stream).count();
        if reaches(others, app.settings.ingesting_stream_limit) {
            return Err(Definition::HighResourceUsage);
        }

        if let Some(Phase::Lost { until, .. }) = phase {
            self.deadlines
                .remove(&(until, app_name.clone(), stream.clone()));
            if let Some(broadcast) = self.broadcast_mut(app_name, &stream) {
                broadcast.returns(conn, ask, now);
            }
            return Ok(());
        }
        self.end(app_name, &stream);
        if let Some(app) = self.apps.get_mut(app_name) {
            let broadcast = Broadcast::granted(stream.clone(), conn, ask, now);
            app.broadcasts.insert(stream, broadcast);
        }
        Ok(())
    }

    /// Checks in the order that `docs/signalling.md` gives for `play`.
    fn decide_play(
        &mut self,
        conn: ConnId,
        app: &AppName,
        ask: &PlayAsk,
    ) -> Result<PlayGrant, Definition> {
        let stream = ask
            .stream
            .as_ref()
            .ok_or(Definition::NoStreamNameSpecified)?;
        let app = self
            .apps
            .get_mut(app)
            .ok_or(Definition::NotInitializedYet)?;
        if !app.settings.webrtc_enabled {
            return Err(Definition::WebrtcNotEnabled);
        }
        let broadcast = app
            .broadcasts
            .get_mut(stream)
            .filter(|broadcast| broadcast.is_playable())
            .ok_or(Definition::NoStreamExist)?;
        if reaches(
            broadcast.places_besides(conn),
            app.settings.webrtc_viewer_limit,
        ) {
            return Err(Definition::ViewerLimitReached);
        }
        broadcast.admit(conn);
        Ok(PlayGrant {
            sources: vec![Source {
                stream: stream.clone(),
                tracks: broadcast.tracks.clone(),
            }],
            data_channel: app.settings.data_channel_enabled,
        })
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
            Phase::Preparing { .. }
            | Phase::Live { .. }
            | Phase::Lost { .. }
            | Phase::Returning { .. } => return,
        };
        // Before and after: the old origin has to let go, the new one may have players too.
        let mut workers = broadcast.workers();
        let old = std::mem::replace(&mut broadcast.tracks, tracks);
        broadcast.phase = Phase::Live { publisher: conn };
        broadcast.updated_unix_us = now.unix_us;
        if !returned {
            return;
        }
        workers.extend(broadcast.workers());
        let (moves, same) = successors(&old, &broadcast.tracks);
        for worker in workers {
            let (app, stream) = (app.clone(), stream.clone());
            let moves = moves.clone();
            let mail = WorkerMail::TracksReplaced { app, stream, moves };
            self.outbox.push_back((worker, mail));
        }
        if same {
            let stream = stream.clone();
            let mail = WorkerMail::SessionRestored { conn, stream };
            self.outbox.push_back((conn.worker, mail));
        } else {
            self.end_plays(app, stream);
        }
    }

    fn play_released(&mut self, conn: ConnId, app: &AppName, stream: &StreamId) {
        if let Some(broadcast) = self.broadcast_mut(app, stream) {
            broadcast.released(conn);
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
        if broadcast.publisher() == conn {
            broadcast.flow.switch(kind, enabled);
            self.tell_flow(conn, app, stream, true);
        }
    }

    /// Tells the worker of a publisher what flows; a new one only what is unusual.
    fn tell_flow(&mut self, conn: ConnId, app: &AppName, stream: &StreamId, always: bool) {
        let broadcast = self.broadcast(app, stream);
        let flow = broadcast.filter(|b| b.publisher() == conn).map(|b| b.flow);
        if let Some(flow) = flow.filter(|flow| always || *flow != Flow::ALL) {
            let (app, stream) = (app.clone(), stream.clone());
            let mail = WorkerMail::PublishFlow { app, stream, flow };
            self.outbox.push_back((conn.worker, mail));
        }
    }

    /// The players of a broadcast end, and the broadcast goes on.
    fn end_plays(&mut self, app: &AppName, stream: &StreamId) {
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
        if broadcast.publisher() != conn {
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
            (Phase::Lost { .. }, PublishEnding::Lost) => {}
            (Phase::Preparing { .. } | Phase::Returning { .. }, PublishEnding::Lost)
            | (_, PublishEnding::Stopped) => {
                self.end(app, stream);
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

    /// Removes a broadcast and tells every worker that has a part in it; the origin always, so
    /// that it frees its tracks. Nothing happens when there is none.
    fn end(&mut self, app: &AppName, stream: &StreamId) {
        let Some(broadcast) = self
            .apps
            .get_mut(app)
            .and_then(|app| app.broadcasts.remove(stream))
        else {
            return;
        };
        if let Phase::Lost { until, .. } = broadcast.phase {
            self.deadlines.remove(&(until, app.clone(), stream.clone()));
        }
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

    fn broadcast_mut(&mut self, app: &AppName, stream: &StreamId) -> Option<&mut Broadcast> {
        self.apps.get_mut(app)?.broadcasts.get_mut(stream)
    }
}

/// Whether `count` fills a limit; negative limits are none.
fn reaches(count: usize, limit: i64) -> bool {
    usize::try_from(limit).is_ok_and(|limit| count >= limit)
}

/// For each old track the new one that players can be sent without another offer: same kind, codec
/// and payload types. True when every track of either has its counterpart.
fn successors(old: &[TrackInfo], new: &[TrackInfo]) -> (Vec<(TrackId, Option<TrackInfo>)>, bool) {
    let mut left: Vec<&TrackInfo> = new.iter().collect();
    let mut moves = Vec::with_capacity(old.len());
    for track in old {
        let fits = |n: &&TrackInfo| {
            (n.kind, n.codec, n.pt, n.rtx_pt) == (track.kind, track.codec, track.pt, track.rtx_pt)
        };
        let at = left.iter().position(fits);
        moves.push((track.id, at.map(|at| left.remove(at).clone())));
    }
    let same = left.is_empty() && moves.iter().all(|(_, new)| new.is_some());
    (moves, same)
}

fn any_video_codec(settings: &AppSettings) -> bool {
    settings.h264_enabled
        || settings.vp8_enabled
        || settings.vp9_enabled
        || settings.h265_enabled
        || settings.av1_enabled
}

#[cfg(test)]
mod tests;
