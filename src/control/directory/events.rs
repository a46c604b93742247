//! What the directory tells webhooks: called where something happens, read by the shell.

use std::time::{Duration, Instant};

use super::Directory;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::control::broadcast::Broadcast;
use crate::model::event::{Event, EventAction};
use crate::model::mail::{AppName, WorkerMail};
use crate::model::track::StreamId;

impl Directory {
    /// The next event for webhooks.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every event from here on happens at `now`.
    pub(super) fn note_time(&mut self, now: Now) {
        self.event_unix_ms = now.unix_us / 1000;
    }

    /// `stream` went live: not called when a lost publisher returns.
    pub(super) fn tell_started(&mut self, now: Now, app: &AppName, stream: &StreamId) {
        self.tell(app, stream, EventAction::LiveStreamStarted);
        self.plan_status(now, app, stream);
        self.tell_entered(app, stream);
    }

    /// `stream` is on air in its room, if it has one.
    fn tell_entered(&mut self, app: &AppName, stream: &StreamId) {
        let Some(main) = self.main_of(app, stream) else {
            return;
        };
        self.tell(app, stream, EventAction::SubtrackAdded);
        if self.is_alone_in(app, &main) {
            self.tell(app, stream, EventAction::FirstSubtrackAdded);
        }
    }

    /// Makes a running broadcast a subtrack of `main`, or of none, for an operator: the players of
    /// both rooms are told. False when it does not run.
    pub fn move_to_room(
        &mut self,
        now: Now,
        app: &AppName,
        stream: &str,
        main: Option<&str>,
    ) -> bool {
        self.note_time(now);
        let Some(broadcast) = self.broadcast(app, stream) else {
            return false;
        };
        let (stream, old) = (broadcast.stream.clone(), broadcast.main_track.clone());
        let publisher = broadcast.publisher();
        if old.as_deref() == main {
            return true;
        }
        if let Some(conn) = publisher {
            self.tell_moved(conn, stream.clone(), main.map(StreamId::from));
        }
        if let Some(old) = old {
            self.tell_left(app, &stream, &old);
            if let Some(broadcast) = self.broadcast_mut(app, &stream) {
                broadcast.main_track = None;
            }
            self.leave_group(app, &old, &stream);
        }
        if let Some(main) = main {
            self.enter_group(now, app, &main.into(), &stream);
            if self.broadcast(app, &stream).is_some_and(is_on_air) {
                self.tell_entered(app, &stream);
            }
        }
        true
    }

    /// Tells the worker of a publisher which room it is in from now on.
    pub(super) fn tell_moved(&mut self, conn: ConnId, stream: StreamId, room: Option<StreamId>) {
        let mail = WorkerMail::Moved { conn, stream, room };
        self.outbox.push_back((conn.worker, mail));
    }

    /// `stream` is about to end; nothing is told when it was not on air.
    pub(super) fn tell_ended(&mut self, app: &AppName, stream: &StreamId) {
        if !self.broadcast(app, stream).is_some_and(is_on_air) {
            return;
        }
        self.tell(app, stream, EventAction::LiveStreamEnded);
        if let Some(main) = self.main_of(app, stream) {
            self.tell_left(app, stream, &main);
        }
    }

    /// `stream` is about to leave its room `main`; nothing is told when it is not on air.
    fn tell_left(&mut self, app: &AppName, stream: &StreamId, main: &StreamId) {
        if !self.broadcast(app, stream).is_some_and(is_on_air) {
            return;
        }
        self.tell(app, stream, EventAction::SubtrackLeft);
        if self.is_alone_in(app, main) {
            self.push(Event {
                app: app.clone(),
                stream: main.clone(),
                action: EventAction::NoSubtracksLeft,
                unix_ms: self.event_unix_ms,
                name: None,
                meta_data: None,
                main_track: None,
                subscriber_id: None,
            });
        }
    }

    /// `stream` is about to be removed with its plays.
    pub(super) fn tell_plays_ended(&mut self, app: &AppName, stream: &StreamId) {
        let broadcast = self.broadcast(app, stream);
        let viewers = broadcast.map(Broadcast::connected_conns);
        for conn in viewers.unwrap_or_default() {
            self.tell_play(app, stream, conn, false);
        }
    }

    /// The play of `conn` is connected, or over, as `is_started` says.
    pub(super) fn tell_play(
        &mut self,
        app: &AppName,
        stream: &StreamId,
        conn: ConnId,
        is_started: bool,
    ) {
        let action = match is_started {
            true => EventAction::PlayStarted,
            false => EventAction::PlayStopped,
        };
        let subscriber_id = self.questions.subscriber_of(conn, stream);
        self.tell_of(app, stream, action, subscriber_id);
    }

    /// What happens to the publish of a broadcast that is there.
    pub(super) fn tell(&mut self, app: &AppName, stream: &StreamId, action: EventAction) {
        let broadcast = self.broadcast(app, stream);
        let subscriber_id = broadcast.and_then(|b| b.subscriber_id.clone());
        self.tell_of(app, stream, action, subscriber_id);
    }

    fn tell_of(
        &mut self,
        app: &AppName,
        stream: &StreamId,
        action: EventAction,
        subscriber_id: Option<String>,
    ) {
        let Some(broadcast) = self.broadcast(app, stream) else {
            return;
        };
        let event = Event {
            app: app.clone(),
            stream: stream.clone(),
            action,
            unix_ms: self.event_unix_ms,
            name: broadcast.name.clone(),
            meta_data: broadcast.meta_data.clone(),
            main_track: broadcast.main_track.clone(),
            subscriber_id,
        };
        self.push(event);
    }

    /// When [`tell_statuses`](Self::tell_statuses) is due.
    pub(super) fn next_status(&self) -> Option<Instant> {
        self.statuses.first().map(|(due, ..)| *due)
    }

    /// Tells the statuses that are due. An entry of a broadcast that has ended, or that is planned
    /// for another time, is stale.
    pub(super) fn tell_statuses(&mut self, now: Now) {
        while let Some((due, app, stream)) = self.statuses.first().cloned() {
            if due > now.instant {
                return;
            }
            self.statuses.pop_first();
            let planned = self.broadcast(&app, &stream).and_then(|b| b.status_due);
            if planned == Some(due) {
                self.tell(&app, &stream, EventAction::LiveStreamStatus);
                self.plan_status(now, &app, &stream);
            }
        }
    }

    /// The application's period may be another one from here on.
    pub(super) fn plan_statuses(&mut self, now: Now, app: &AppName) {
        let on_air = self.broadcasts(app).filter(|b| is_on_air(b));
        let streams: Vec<StreamId> = on_air.map(|b| b.stream.clone()).collect();
        for stream in streams {
            self.plan_status(now, app, &stream);
        }
    }

    /// Plans the next status of `stream`, or none when the application wants none.
    fn plan_status(&mut self, now: Now, app: &AppName, stream: &StreamId) {
        let Some(state) = self.apps.get_mut(app) else {
            return;
        };
        let period_ms = state.settings.webhook_stream_status_update_period_ms;
        let period = u64::try_from(period_ms).ok().filter(|ms| *ms > 0);
        let due = period.map(|ms| now.instant + Duration::from_millis(ms));
        if let Some(broadcast) = state.broadcasts.get_mut(stream) {
            broadcast.status_due = due;
        }
        if let Some(due) = due {
            self.statuses.insert((due, app.clone(), stream.clone()));
        }
    }

    /// Bounded, although the shell reads after every mail.
    fn push(&mut self, event: Event) {
        if self.events.len() < crate::base::limits::MAX_WEBHOOKS_WAITING {
            self.events.push_back(event);
        }
    }

    fn main_of(&self, app: &AppName, stream: &StreamId) -> Option<StreamId> {
        self.broadcast(app, stream)?.main_track.clone()
    }

    /// True when one subtrack of `main` is on air.
    fn is_alone_in(&self, app: &AppName, main: &StreamId) -> bool {
        let group = self.broadcast(app, main);
        let subtracks = group.into_iter().flat_map(|group| &group.subtracks);
        let known = subtracks.filter_map(|id| self.broadcast(app, id));
        known.filter(|b| is_on_air(b)).take(2).count() == 1
    }
}

/// True from the first moment of media to the end, the window after a loss included.
fn is_on_air(broadcast: &Broadcast) -> bool {
    broadcast.started_unix_us > 0
}
