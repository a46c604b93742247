//! The story of a question: may this connection publish, or play?
//!
//! ```text
//!  asked ──> Look ──facts: judge──> Hook ──> judge_last ──> Consume ──> granted by directory.rs
//!    │            └ refused            └ refused    └ refused    └ refused
//!    └ withdrawn: its step's late result changes nothing
//! ```
//! Each step is done by the shell: [`Directory::poll_step`] and [`Directory::handle_step`]. Hook
//! and Consume are taken only where the application asks for them.

use std::collections::{BTreeMap, VecDeque};

use super::Broadcast;
use super::Directory;
use super::question::Question;
use crate::auth::token::hash_of;
use crate::base::clock::Now;
use crate::base::codec::MediaKind;
use crate::base::crowd::CrowdLimits;
use crate::base::ids::ConnId;
use crate::base::limits::{MAX_CHECKS, MAX_CHECKS_PER_CONN, MAX_NOTES, MAX_TOKENS_PER_CONN};
use crate::control::admission::{
    Asked, CheckId, Credentials, Secret, Step, StepResult, any_video_codec, check_blocks,
    check_codecs, check_dates, check_registered, check_room, reaches,
};
use crate::control::guesses::{Guesses, Whose};
use crate::control::openings::Openings;
use crate::control::seats::{Seat, SeatKey, Seats};
use crate::model::access::{
    AccessKind, BlockKind, ConnectionEvent, ConnectionEventKind, TokenGrant,
};
use crate::model::broadcast::BroadcastStatus;
use crate::model::call::CallNews;
use crate::model::definition::Definition;
use crate::model::mail::{AppName, PlayAsk, PublishAsk, WorkerMail};
use crate::model::room::{Joined, RoomAnswer};
use crate::model::settings::AppSettings;
use crate::model::slots::SlotCommand;
use crate::model::track::{PlayGrant, StreamId, TrackInfo};
use crate::signal::reply;
use crate::store::{AdmissionFacts, Note, StoreError};

/// Everything about questions that wait and about who was let in.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: BTreeMap<CheckId, Question>,
    asked: u64,
    steps: VecDeque<(CheckId, Step)>,
    /// Tokens that a WebSocket has used, by hash, the oldest first.
    used: BTreeMap<ConnId, VecDeque<([u8; 32], TokenGrant)>>,
    seats: Seats,
    /// Those who were let in and are not connected.
    openings: Openings,
    guesses: Guesses,
    /// The server is going: nobody is let in.
    is_stopping: bool,
    notes: VecDeque<Note>,
}

impl Directory {
    /// The next step that the shell has to take.
    pub fn poll_step(&mut self) -> Option<(CheckId, Step)> {
        self.questions.steps.pop_front()
    }

    /// What came of a step. The question may be withdrawn or unknown: then nothing happens.
    pub fn handle_step(&mut self, now: Now, id: CheckId, result: StepResult) {
        let Some(question) = self.questions.waiting.remove(&id) else {
            return;
        };
        match result {
            StepResult::Looked(facts) if !question.is_withdrawn => {
                self.looked(now, id, question, facts);
            }
            StepResult::Hooked(true) if !question.is_withdrawn => {
                self.finish(now, id, question);
            }
            StepResult::Hooked(false) => {
                self.answer(question, Err(Definition::UnauthorizedAccess));
            }
            StepResult::Consumed(Ok(true)) => {
                self.questions.remember(&question);
                if !question.is_withdrawn {
                    self.grant(now, question);
                }
            }
            StepResult::Consumed(Ok(false)) => self.used_up_already(now, question),
            StepResult::Consumed(Err(_)) => {
                self.answer(question, Err(Definition::DataStoreNotAvailable));
            }
            StepResult::Looked(_) | StepResult::Hooked(true) => {}
        }
    }

    /// Somebody was faster with the token. Its own socket goes on: the SDKs publish and play with
    /// one token at once.
    fn used_up_already(&mut self, now: Now, mut question: Question) {
        question.facts.token = None;
        match self.judge(now, &question) {
            Ok(_) if !question.is_withdrawn => self.grant(now, question),
            Ok(_) => {}
            Err(definition) => self.answer(question, Err(definition)),
        }
    }

    /// From here on newcomers are refused, or welcome again; whoever is served is not touched.
    pub fn set_overloaded(&mut self, is_overloaded: bool) {
        self.is_overloaded = is_overloaded;
    }

    /// Newcomers are refused.
    pub fn is_overloaded(&self) -> bool {
        self.is_overloaded
    }

    /// A subscriber of `stream` was blocked: what it has there, and in the room `stream`, ends at
    /// once, and its open questions are refused.
    pub fn block_subscriber(
        &mut self,
        app: &AppName,
        stream: &str,
        subscriber_id: &str,
        kind: BlockKind,
    ) {
        let ended = self
            .questions
            .seats
            .blocked(app, stream, subscriber_id, kind);
        for (conn, stream, access) in ended {
            let mail = match access {
                AccessKind::Publish => WorkerMail::StopPublish { conn, stream },
                AccessKind::Play => WorkerMail::StopPlay { conn, stream },
            };
            self.outbox.push_back((conn.worker, mail));
        }
        let refused: Vec<CheckId> = self
            .questions
            .waiting
            .iter()
            .filter(|(_, question)| {
                let is_of = question.asked.stream() == Some(stream)
                    || question.main_track.as_deref() == Some(stream);
                question.app == *app
                    && is_of
                    && question.asked.subscriber_id() == Some(subscriber_id)
                    && kind.covers(question.asked.kind())
            })
            .map(|(id, _)| *id)
            .collect();
        for id in refused {
            if let Some(question) = self.questions.waiting.remove(&id) {
                self.answer(question, Err(Definition::UserBlocked));
            }
        }
    }

    /// How many connections a subscriber has to what it is registered for.
    pub fn connections_of(&self, app: &AppName, stream: &str, subscriber_id: &str) -> usize {
        self.questions.seats.connections(app, stream, subscriber_id)
    }

    /// What is to be written to the store, at most `max` of it, the oldest first.
    pub fn take_notes(&mut self, max: usize) -> Vec<Note> {
        let count = self.questions.notes.len().min(max);
        self.questions.notes.drain(..count).collect()
    }

    /// A question came.
    pub(in crate::control) fn ask(&mut self, mut question: Question) {
        if question.asked.stream().is_none() {
            return self.answer(question, Err(Definition::NoStreamNameSpecified));
        }
        if !self.apps.contains_key(&question.app) {
            return self.answer(question, Err(Definition::NotInitializedYet));
        }
        if self.questions.is_full(question.conn) {
            return self.answer(question, Err(Definition::HighResourceUsage));
        }
        question.main_track = self.main_track_of(&question);
        self.questions.asked += 1;
        let id = CheckId(self.questions.asked);
        let step = Step::Look(Box::new(question.query()));
        self.questions.wait(id, question, step);
    }

    /// The plays that `conn` has asked for and waits for.
    pub(in crate::control) fn asked_plays(
        &self,
        conn: ConnId,
        app: &AppName,
    ) -> impl Iterator<Item = (CheckId, &PlayAsk)> {
        let waiting = self.questions.waiting.iter();
        waiting.filter_map(move |(id, question)| Some((*id, question.play_of(conn, app)?)))
    }

    /// Keeps a command until the play that question `id` is about is granted.
    pub(in crate::control) fn hold_command(&mut self, id: CheckId, command: SlotCommand) {
        if let Some(question) = self.questions.waiting.get_mut(&id) {
            question.hold(command);
        }
    }

    /// Limits of handshakes in progress, in all and per address.
    pub fn limit_openings(&mut self, limits: CrowdLimits) {
        self.questions.openings.set_limits(limits);
    }

    /// Refuses everybody from here on.
    pub fn stop_admitting(&mut self) {
        self.questions.is_stopping = true;
    }

    /// A publish or play is over, or its question is withdrawn.
    pub(super) fn withdraw(&mut self, now: Now, key: SeatKey) {
        self.questions.openings.end(&key);
        for question in self.questions.waiting.values_mut() {
            question.is_withdrawn |= question.is(&key);
        }
        if let Some(seat) = self.questions.seats.free(&key)
            && seat.is_live
        {
            let event = ConnectionEventKind::Disconnected;
            self.questions.note_event(now, &key, &seat, event);
        }
    }

    /// The question to join a call is withdrawn.
    pub(super) fn withdraw_call(&mut self, conn: ConnId, stream: &str) {
        self.withdraw_where(conn, stream, |asked| matches!(asked, Asked::Join(..)));
    }

    /// The question to join a room is withdrawn.
    pub(in crate::control) fn withdraw_room(&mut self, conn: ConnId, room: &str) {
        self.withdraw_where(conn, room, |asked| matches!(asked, Asked::Room(..)));
    }

    fn withdraw_where(&mut self, conn: ConnId, id: &str, is_meant: impl Fn(&Asked) -> bool) {
        for question in self.questions.waiting.values_mut() {
            let is_it = question.conn == conn && question.asked.stream() == Some(id);
            question.is_withdrawn |= is_it && is_meant(&question.asked);
        }
    }

    /// A publish or play is connected.
    pub(super) fn seat_connected(&mut self, now: Now, key: SeatKey) {
        self.questions.openings.end(&key);
        if let Some(seat) = self.questions.seats.connect(&key).cloned() {
            let event = ConnectionEventKind::Connected;
            self.questions.note_event(now, &key, &seat, event);
        }
    }

    /// The room: where a publish wants to go; where a played broadcast is.
    fn main_track_of(&self, question: &Question) -> Option<String> {
        let main_track = match &question.asked {
            Asked::Publish(ask) => ask.main_track.clone(),
            Asked::Play(ask) | Asked::Tracks(ask) | Asked::Join(_, ask) | Asked::Room(_, ask) => {
                let broadcast = self.broadcast(&question.app, ask.stream.as_deref()?)?;
                broadcast.main_track.clone()
            }
        };
        main_track.map(|id| id.to_string())
    }

    fn looked(
        &mut self,
        now: Now,
        id: CheckId,
        mut question: Question,
        facts: Result<Box<AdmissionFacts>, StoreError>,
    ) {
        let judged = match facts {
            Ok(facts) => {
                question.facts = facts;
                if question.main_track.is_none() {
                    let record = question.facts.broadcast.as_ref();
                    question.main_track = record.and_then(|r| r.main_track_stream_id.clone());
                }
                self.judge_code(now, &question)
            }
            Err(_) => Err(Definition::DataStoreNotAvailable),
        };
        match judged {
            Ok(uses_up) => question.uses_up = uses_up,
            Err(definition) => return self.answer(question, Err(definition)),
        }
        let hook = self
            .apps
            .get(&question.app)
            .filter(|_| !matches!(question.asked, Asked::Room(..)) && !self.is_let_in(&question))
            .and_then(|app| question.asked.hook(&question.app, &app.settings));
        match hook {
            Some(hook) => {
                let step = Step::Hook(Box::new(hook));
                self.questions.wait(id, question, step);
            }
            None => self.finish(now, id, question),
        }
    }

    /// Everything up to the webhook. True: the token is to be used up.
    fn judge(&self, now: Now, question: &Question) -> Result<bool, Definition> {
        let app = self
            .apps
            .get(&question.app)
            .ok_or(Definition::NotInitializedYet)?;
        let settings = &app.settings;
        let facts = &question.facts;
        let kind = question.asked.kind();
        let unix_ms = unix_ms(now);
        if settings.application_suspended {
            return Err(Definition::LicenseSuspended);
        }
        if self.is_overloaded || self.questions.is_stopping {
            return Err(Definition::HighResourceUsage);
        }
        match &question.asked {
            Asked::Publish(ask) => {
                check_codecs(settings, ask)?;
                self.check_id(question)?;
                check_registered(settings, facts, question.main_track.as_deref())?;
            }
            Asked::Play(_) | Asked::Tracks(_) | Asked::Join(..) => self.check_id(question)?,
            // The streams in it are checked each by itself.
            Asked::Room(..) => return check_room(settings, facts, unix_ms).map(|()| false),
        }
        if let Some(record) = &facts.broadcast {
            check_dates(record, kind, unix_ms)?;
        }
        check_blocks(facts, kind, unix_ms)?;
        match self.is_let_in(question) {
            true => Ok(false),
            false => self.credentials(settings, question, unix_ms).check(),
        }
    }

    /// As [`judge`](Self::judge), and slows down who guesses codes.
    fn judge_code(&mut self, now: Now, question: &Question) -> Result<bool, Definition> {
        let judged = self.judge(now, question);
        let Some(app) = self.apps.get(&question.app) else {
            return judged;
        };
        let credentials = self.credentials(&app.settings, question, unix_ms(now));
        let asked = &question.asked;
        let shown = asked.subscriber_id().zip(asked.subscriber_code());
        let Some((id, code)) = shown.filter(|_| credentials.asks_for_code()) else {
            return judged;
        };
        let is_wrong = credentials.has_wrong_code();
        let whose = match credentials.secret(id) {
            // None is good.
            None => return judged,
            Some(Secret::Own(_)) => Whose::Subscriber {
                app: question.app.clone(),
                stream: registered_for(question).to_owned(),
                id: id.to_owned(),
            },
            Some(Secret::Derived(_)) => Whose::App(question.app.clone()),
        };
        let from = asked.remote();
        let guesses = &mut self.questions.guesses;
        if guesses.are_too_many(now.instant, &whose, from) {
            return Err(Definition::UnauthorizedAccess);
        }
        if is_wrong {
            guesses.note(now.instant, &whose, from, (id, code));
        }
        judged
    }

    /// Who asks has been let in already: who plays it asks for its tracks, who was sent to
    /// another id of a multi-peer call joins under that.
    fn is_let_in(&self, question: &Question) -> bool {
        let conn = question.conn;
        let stream = question.asked.stream().unwrap_or_default();
        match question.asked {
            Asked::Tracks(_) => self
                .broadcast(&question.app, stream)
                .is_some_and(|broadcast| broadcast.players.contains_key(&conn)),
            Asked::Join(..) => self
                .apps
                .get(&question.app)
                .is_some_and(|app| app.calls.has_invited(conn, stream)),
            Asked::Publish(_) | Asked::Play(_) | Asked::Room(..) => false,
        }
    }

    /// The id is free for who publishes, and something for who plays.
    fn check_id(&self, question: &Question) -> Result<(), Definition> {
        let stream = question.asked.stream().unwrap_or_default();
        match &question.asked {
            Asked::Publish(_) => self.check_free(question.conn, &question.app, stream),
            Asked::Play(_) | Asked::Tracks(_) => self.check_playable(&question.app, stream),
            Asked::Join(..) | Asked::Room(..) => Ok(()),
        }
    }

    fn credentials<'a>(
        &'a self,
        settings: &'a AppSettings,
        question: &'a Question,
        unix_ms: i64,
    ) -> Credentials<'a> {
        Credentials {
            settings,
            asked: &question.asked,
            facts: &question.facts,
            main_track: question.main_track.as_deref(),
            remembered: self.questions.remembered(question),
            connections: self.connections(question),
            unix_ms,
        }
    }

    /// The checks behind the credentials, then the token, then the grant. Nothing is refused behind
    /// the token that could be before it: a token is used up once.
    fn finish(&mut self, now: Now, id: CheckId, mut question: Question) {
        let judged = self
            .judge_last(now, &question)
            .and_then(|()| self.check_id(&question))
            .and_then(|()| self.begin_opening(now, &mut question));
        if let Err(definition) = judged {
            return self.answer(question, Err(definition));
        }
        match question.asked.token() {
            Some(token) if question.uses_up => {
                let step = Step::Consume {
                    app: question.app.clone(),
                    token: token.to_owned(),
                };
                self.questions.wait(id, question, step);
            }
            Some(_) | None => self.grant(now, question),
        }
    }

    /// Limits and switches of the application that are looked at last; others may have got in
    /// while the steps before were taken.
    fn judge_last(&self, now: Now, question: &Question) -> Result<(), Definition> {
        let app = self
            .apps
            .get(&question.app)
            .ok_or(Definition::NotInitializedYet)?;
        let credentials = self.credentials(&app.settings, question, unix_ms(now));
        if !credentials.has_place() {
            return Err(Definition::UnauthorizedAccess);
        }
        let stream = question.asked.stream().unwrap_or_default();
        match &question.asked {
            Asked::Publish(_) => {
                let limit = question
                    .facts
                    .main
                    .as_ref()
                    .map(|main| main.subtracks_limit);
                let main = question.main_track.as_deref();
                let group = main.and_then(|main| app.broadcasts.get(main));
                let subtracks = group.into_iter().flat_map(|group| &group.subtracks);
                let others = subtracks.filter(|other| ***other != *stream);
                if limit.is_some_and(|limit| reaches(others.count(), limit)) {
                    return Err(Definition::SubtrackLimitReached);
                }
            }
            Asked::Play(_) => {
                let record = question.facts.broadcast.as_ref();
                let limits = [
                    Some(app.settings.webrtc_viewer_limit),
                    record.map(|record| record.webrtc_viewer_limit),
                ];
                let places = app
                    .broadcasts
                    .get(stream)
                    .map_or(0, |broadcast| broadcast.places_besides(question.conn));
                if limits.iter().flatten().any(|limit| reaches(places, *limit)) {
                    return Err(Definition::ViewerLimitReached);
                }
                if !app.settings.webrtc_enabled {
                    return Err(Definition::WebrtcNotEnabled);
                }
                if !any_video_codec(&app.settings) && has_video(app.broadcasts.get(stream)) {
                    return Err(Definition::NoCodecEnabled);
                }
            }
            Asked::Tracks(_) | Asked::Join(..) | Asked::Room(..) => {}
        }
        Ok(())
    }

    /// The id is taken, or the place given, unless somebody was faster meanwhile.
    fn grant(&mut self, now: Now, mut question: Question) {
        let (conn, app) = (question.conn, question.app.clone());
        if let Err(definition) = self.begin_opening(now, &mut question) {
            return self.answer(question, Err(definition));
        }
        let granted = match &question.asked {
            Asked::Publish(ask) => self
                .judge_last(now, &question)
                .and_then(|()| {
                    let ask = PublishAsk {
                        main_track: question.main_track.as_deref().map(StreamId::from),
                        ..ask.clone()
                    };
                    self.decide_publish(now, conn, &app, ask)
                })
                .map(Granted::Publish),
            Asked::Play(ask) => self
                .judge_last(now, &question)
                .and_then(|()| self.decide_play(conn, &app, ask, &question.said))
                .map(Granted::Play),
            Asked::Tracks(ask) => return self.tell_tracks(conn, &app, ask),
            Asked::Join(ask, _) => return self.join(conn, &app, question.request, ask),
            Asked::Room(ask, _) => self
                .enter_room(now, conn, &app, ask.clone())
                .map(Granted::Room),
        };
        if granted.is_ok() {
            self.take_seat(&question);
        }
        let registered = registered_room(&question).filter(|_| granted.is_ok());
        let played = question.asked.stream().map(StreamId::from);
        let said = std::mem::take(&mut question.said);
        self.answer(question, granted);
        if let Some(main) = played.filter(|_| !said.is_empty()) {
            self.answer_slots(&app, &main, conn, &said);
        }
        // Behind the decision, so that it cannot be taken for one about an earlier publish.
        if let Some((stream, room)) = registered {
            self.tell_moved(conn, stream, Some(room));
        }
    }

    /// False when too many are on their way to a connected peer already.
    /// Takes a place among the openings, if the question has none.
    fn begin_opening(&mut self, now: Now, question: &mut Question) -> Result<(), Definition> {
        // One that is on its way already is not ended by a repetition that is refused.
        let fresh = question
            .opening()
            .filter(|key| !self.questions.openings.contains(key));
        let Some(key) = fresh else { return Ok(()) };
        let from = question.asked.remote();
        question.is_opening = self.questions.openings.begin(now.instant, key, from);
        match question.is_opening {
            true => Ok(()),
            false => Err(Definition::HighResourceUsage),
        }
    }

    fn take_seat(&mut self, question: &Question) {
        let (Some(stream), Some(subscriber_id)) =
            (question.asked.stream(), question.asked.subscriber_id())
        else {
            return;
        };
        let key = (question.conn, StreamId::from(stream), question.asked.kind());
        let seat = Seat {
            app: question.app.clone(),
            subscriber_id: subscriber_id.to_owned(),
            registered_for: registered_for(question).to_owned(),
            main_track: question.main_track.clone(),
            is_live: false,
        };
        self.questions.seats.take(key, seat);
    }

    fn connections(&self, question: &Question) -> usize {
        let Some(id) = question.asked.subscriber_id() else {
            return 0;
        };
        let (conn, app) = (question.conn, &question.app);
        self.questions
            .seats
            .connections_besides(conn, app, registered_for(question), id)
    }

    fn answer(&mut self, question: Question, granted: Result<Granted, Definition>) {
        if question.is_withdrawn {
            return;
        }
        if let (Err(_), true, Some(key)) = (&granted, question.is_opening, question.opening()) {
            self.questions.openings.end(&key);
        }
        let Question { conn, request, .. } = question;
        let answer = match (granted, question.asked) {
            (Ok(Granted::Publish(())), _) => WorkerMail::PublishDecision {
                conn,
                request,
                result: Ok(()),
            },
            (Ok(Granted::Play(grant)), _) => WorkerMail::PlayDecision {
                conn,
                request,
                result: Ok(grant),
            },
            (Err(definition), Asked::Publish(_)) => WorkerMail::PublishDecision {
                conn,
                request,
                result: Err(definition),
            },
            (Err(definition), Asked::Play(_)) => WorkerMail::PlayDecision {
                conn,
                request,
                result: Err(definition),
            },
            (Ok(Granted::Room(joined)), _) => WorkerMail::Room {
                conn,
                answer: RoomAnswer::Join {
                    request,
                    result: Ok(joined),
                },
            },
            (Err(definition), Asked::Room(..)) => WorkerMail::Room {
                conn,
                answer: RoomAnswer::Join {
                    request,
                    result: Err(definition),
                },
            },
            (Err(definition), Asked::Tracks(ask)) => WorkerMail::Text {
                conn,
                text: reply::error(definition, ask.stream.as_deref()),
            },
            (Err(definition), Asked::Join(..)) => WorkerMail::Call {
                conn,
                news: CallNews::Decision {
                    request,
                    result: Err(definition),
                },
            },
        };
        self.outbox.push_back((conn.worker, answer));
    }
}

/// What a question led to.
enum Granted {
    Publish(()),
    Play(PlayGrant),
    Room(Joined),
}

impl Questions {
    /// The subscriber that a play of `conn` came with.
    pub fn subscriber_of(&self, conn: ConnId, stream: &StreamId) -> Option<String> {
        let seat = self.seats.get(&(conn, stream.clone(), AccessKind::Play))?;
        Some(seat.subscriber_id.clone())
    }

    /// The WebSocket is gone: nothing is remembered for it, also not what its questions come to.
    pub fn forget(&mut self, conn: ConnId) {
        self.used.remove(&conn);
        self.waiting.retain(|_, question| question.conn != conn);
    }

    /// A broadcast of the directory got so far.
    pub fn note_status(
        &mut self,
        now: Now,
        app: &AppName,
        stream: &StreamId,
        status: BroadcastStatus,
    ) {
        self.note(Note::Status {
            app: app.clone(),
            stream: stream.to_string(),
            status,
            unix_ms: unix_ms(now),
        });
    }

    fn note_event(&mut self, now: Now, key: &SeatKey, seat: &Seat, kind: ConnectionEventKind) {
        self.note(Note::Event {
            app: seat.app.clone(),
            event: ConnectionEvent {
                stream_id: key.1.to_string(),
                subscriber_id: seat.subscriber_id.clone(),
                event_type: kind,
                timestamp: unix_ms(now),
                kind: key.2,
                event_protocol: "webrtc".to_owned(),
            },
        });
    }

    fn note(&mut self, note: Note) {
        if self.notes.len() >= MAX_NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    fn wait(&mut self, id: CheckId, question: Question, step: Step) {
        self.waiting.insert(id, question);
        self.steps.push_back((id, step));
    }

    fn is_full(&self, conn: ConnId) -> bool {
        let own = self.waiting.values().filter(|q| q.conn == conn);
        self.waiting.len() >= MAX_CHECKS || own.count() >= MAX_CHECKS_PER_CONN
    }

    /// The SDKs come back with the token that they have used up, on the same WebSocket.
    fn remember(&mut self, question: &Question) {
        let (Some(token), Some(grant)) = (question.asked.token(), &question.facts.token) else {
            return;
        };
        let used = self.used.entry(question.conn).or_default();
        if used.len() >= MAX_TOKENS_PER_CONN {
            used.pop_front();
        }
        used.push_back((hash_of(token), grant.clone()));
    }

    fn remembered(&self, question: &Question) -> Option<&TokenGrant> {
        let hash = hash_of(question.asked.token()?);
        let used = self.used.get(&question.conn)?;
        used.iter()
            .find(|(used, _)| *used == hash)
            .map(|(_, grant)| grant)
    }
}

/// A publish that named no room goes into the one that it is registered in: which, and where.
fn registered_room(question: &Question) -> Option<(StreamId, StreamId)> {
    let Asked::Publish(ask) = &question.asked else {
        return None;
    };
    let room = question
        .main_track
        .as_deref()
        .filter(|_| ask.main_track.is_none())?;
    Some((ask.stream.clone()?, room.into()))
}

/// What the subscriber of a question is registered for: the broadcast itself when it is not.
fn registered_for(question: &Question) -> &str {
    match &question.facts.subscriber {
        Some(subscriber) => &subscriber.stream_id,
        None => question.asked.stream().unwrap_or_default(),
    }
}

fn has_video(broadcast: Option<&Broadcast>) -> bool {
    let is_video = |track: &TrackInfo| track.kind == MediaKind::Video;
    broadcast.is_some_and(|broadcast| broadcast.tracks.iter().any(is_video))
}

fn unix_ms(now: Now) -> i64 {
    i64::try_from(now.unix_us / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
