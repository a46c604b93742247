//! The signalling of one WebSocket: a pure state machine (Ant Media's protocol,
//! `docs/signalling.md`).
//!
//! `engine/signalling.rs` brings texts, decisions of control, news of peers and the time in, and
//! carries out the [`Action`]s in the order they were pushed. A peer is named by stream id and
//! [`Role`] within its session, because a client may play the id that it publishes. One publish
//! lives in `publish.rs`, one play in `play.rs`; this file owns the tables and the rules between
//! them: what an id may do, who gets a candidate, what is silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Fate, PeerEvent, Role, Tell};
use super::ask;
use super::call::Calls;
use super::command::{Candidate, Command, PeerToPeer, SdpKind, Switch, SwitchMedia};
use super::held::EndedIds;
use super::message::{self, Parsed};
use super::play::Play;
use super::publish::Publish;
use super::reply::{self, room};
use super::room::Memberships;
use crate::base::clock::Now;
use crate::base::limits::MAX_ENTRIES_PER_CONN;
use crate::model::call::{CallNews, JoinAsk};
use crate::model::definition::Definition;
use crate::model::errand::Errand;
use crate::model::ice_server::IceServer;
use crate::model::mail::{AppName, PlayAsk, PublishAsk, PublishEnding};
use crate::model::settings::AppSettings;
use crate::model::track::{Lineup, PlayGrant, StreamId};

/// One WebSocket's publishes, plays and calls.
#[derive(Debug)]
pub struct Session {
    app: AppName,
    pub(super) settings: Arc<AppSettings>,
    // Boxed because a node of the map has room for eleven.
    pub(super) publishes: BTreeMap<StreamId, Box<Publish>>,
    pub(super) plays: BTreeMap<StreamId, Box<Play>>,
    calls: Calls,
    pub(super) memberships: Memberships,
    pub(super) ended: EndedIds,
    /// Questions asked so far; the last one's number.
    pub(super) requests: u64,
}

impl Session {
    /// A session of `app` that nothing was said in.
    pub fn new(app: AppName, settings: Arc<AppSettings>) -> Self {
        Self {
            app,
            settings,
            publishes: BTreeMap::new(),
            plays: BTreeMap::new(),
            calls: Calls::default(),
            memberships: Memberships::default(),
            ended: EndedIds::default(),
            requests: 0,
        }
    }

    /// The application it belongs to.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Replaces the settings; what runs keeps the deadlines it has.
    pub fn set_settings(&mut self, settings: Arc<AppSettings>) {
        self.settings = settings;
    }

    /// One text message came.
    pub fn handle_message(&mut self, now: Now, text: &str, actions: &mut Vec<Action>) {
        match message::parse(text) {
            Parsed::Command(command) => self.handle_command(now, command, actions),
            Parsed::Refused(refusal) => {
                complain(refusal.definition, refusal.stream.as_deref(), actions);
            }
            Parsed::Ignored(_) => {}
        }
    }

    fn handle_command(&mut self, at: Now, command: Command, actions: &mut Vec<Action>) {
        let now = at.instant;
        match command {
            Command::Ping => actions.push(Action::Reply(reply::pong())),
            Command::GetIceServerConfig => self.reply_ice_server_config(at, actions),
            Command::Publish { stream, ask } => self.publish(now, stream, ask, actions),
            Command::Play { stream, ask } => self.play(now, stream, ask, actions),
            Command::TakeConfiguration { stream, kind, sdp } => match kind {
                SdpKind::Offer => self.take_offer(now, &stream, sdp, actions),
                SdpKind::Answer => self.take_answer(now, &stream, sdp, actions),
            },
            Command::TakeCandidate { stream, candidate } => {
                self.take_candidate(now, &stream, candidate, actions);
            }
            Command::Stop { stream } => self.stop(now, &stream, actions),
            Command::UpdateMetaData { stream, meta_data } => {
                if self.publishes.contains_key(&stream) {
                    let errand = Errand::MetaData { stream, meta_data };
                    actions.push(Action::Tell(Tell::Errand(errand)));
                }
            }
            Command::Information(question) => ask::question(question, actions),
            Command::Push(command) => ask::push(&command, actions),
            Command::Switch(switch) => self.switch(switch, actions),
            Command::PeerToPeer(command) => self.handle_call(now, command, actions),
            Command::Room(command) => self.handle_room(now, command, actions),
            Command::Slots(command) => {
                actions.push(Action::Tell(Tell::Errand(Errand::Slots(command))));
            }
            Command::ForceQuality {
                stream,
                height,
                track,
            } => {
                if let Some(play) = self.plays.get_mut(&stream) {
                    let command = Action::ForceQuality {
                        stream,
                        height,
                        track,
                    };
                    play.handle_command(command, actions);
                }
            }
        }
    }

    fn reply_ice_server_config(&self, now: Now, actions: &mut Vec<Action>) {
        let server = IceServer::of(&self.settings, now.unix_us / 1_000_000).unwrap_or_default();
        let text = reply::ice_server_config(&server.uri, &server.username, &server.credential);
        actions.push(Action::Reply(text));
    }

    fn publish(
        &mut self,
        now: Instant,
        stream: StreamId,
        mut ask: PublishAsk,
        actions: &mut Vec<Action>,
    ) {
        if ask.main_track.is_none() {
            ask.main_track = self.memberships.room_of(&stream).cloned();
        }
        let full = self.is_full();
        match self.publishes.get_mut(&stream) {
            Some(old) if old.is_replaceable(now) => old.release(PublishEnding::Stopped, actions),
            Some(_) => return complain(Definition::AlreadyPublishing, Some(&stream), actions),
            None if full => {
                return complain(Definition::HighResourceUsage, Some(&stream), actions);
            }
            None => {}
        }
        self.requests += 1;
        let publish = Publish::ask(now, self.requests, stream.clone(), ask, actions);
        self.publishes.insert(stream, Box::new(publish));
    }

    /// The room that the publish of `stream` belongs to.
    pub fn room_of(&self, stream: &StreamId) -> Option<&StreamId> {
        self.publishes.get(stream)?.room()
    }

    /// A publish belongs to another room than it named.
    pub fn handle_publish_moved(&mut self, stream: &StreamId, room: Option<StreamId>) {
        if let Some(publish) = self.publishes.get_mut(stream) {
            publish.move_to(room);
        }
    }

    fn play(&mut self, now: Instant, stream: StreamId, ask: PlayAsk, actions: &mut Vec<Action>) {
        let once = self.settings.play_webrtc_stream_once_for_each_session;
        let full = self.is_full();
        match self.plays.get_mut(&stream) {
            Some(old) if !once || old.is_replaceable(now) => old.release(actions),
            Some(_) => return complain(Definition::AlreadyPlaying, Some(&stream), actions),
            None if full => {
                return complain(Definition::HighResourceUsage, Some(&stream), actions);
            }
            None => {}
        }
        self.requests += 1;
        let play = Play::ask(now, self.requests, stream.clone(), ask, actions);
        self.plays.insert(stream, Box::new(play));
    }

    pub(super) fn is_full(&self) -> bool {
        let peers = self.publishes.len() + self.plays.len();
        peers + self.calls.len() + self.memberships.len() >= MAX_ENTRIES_PER_CONN
    }

    fn take_offer(
        &mut self,
        now: Instant,
        stream: &StreamId,
        sdp: String,
        actions: &mut Vec<Action>,
    ) {
        match self.publishes.get_mut(stream) {
            Some(publish) => publish.handle_offer(sdp, actions),
            None if self.calls.contains(stream) => {
                let kind = SdpKind::Offer;
                self.calls.relay_description(stream, kind, &sdp, actions);
            }
            None => match self.plays.get_mut(stream) {
                Some(play) => play.handle_offer(sdp, actions),
                None => self.miss(now, stream, actions),
            },
        }
    }

    fn take_answer(
        &mut self,
        now: Instant,
        stream: &StreamId,
        sdp: String,
        actions: &mut Vec<Action>,
    ) {
        match self.plays.get_mut(stream) {
            Some(play) => play.handle_answer(sdp, actions),
            None if self.calls.contains(stream) => {
                let kind = SdpKind::Answer;
                self.calls.relay_description(stream, kind, &sdp, actions);
            }
            None => self.miss(now, stream, actions),
        }
    }

    /// A candidate does not say whose it is. When the id is both published and played, it belongs
    /// to the one that negotiates; when that does not tell them apart, both get it, and the peer
    /// that it is not meant for merely has one more address that never answers.
    fn take_candidate(
        &mut self,
        now: Instant,
        stream: &StreamId,
        candidate: Candidate,
        actions: &mut Vec<Action>,
    ) {
        match (self.publishes.get_mut(stream), self.plays.get_mut(stream)) {
            (Some(publish), Some(play)) => {
                let (publishing, playing) = (publish.is_negotiating(), play.is_negotiating());
                if publishing || !playing {
                    publish.handle_candidate(candidate.clone(), actions);
                }
                if playing || !publishing {
                    play.handle_candidate(candidate, actions);
                }
            }
            (Some(publish), None) => publish.handle_candidate(candidate, actions),
            (None, Some(play)) => play.handle_candidate(candidate, actions),
            (None, None) if self.calls.contains(stream) => {
                self.calls.relay_candidate(stream, &candidate, actions);
            }
            (None, None) => self.miss(now, stream, actions),
        }
    }

    /// A description or candidate that nobody waits for: an error, unless the id is in use the
    /// other way round or ended a moment ago.
    fn miss(&self, now: Instant, stream: &StreamId, actions: &mut Vec<Action>) {
        let in_use = self.publishes.contains_key(stream) || self.plays.contains_key(stream);
        if !in_use && !self.ended.contains(stream, now) {
            complain(Definition::NoPeerAssociatedBefore, Some(stream), actions);
        }
    }

    /// The id is free when this returns: the Android SDK's next frame is `publish` again. Also a
    /// stop of nothing is remembered: after a reconnect the SDKs stop what ended with the old
    /// socket, and what they say late about it is as harmless.
    fn stop(&mut self, now: Instant, stream: &StreamId, actions: &mut Vec<Action>) {
        let publish = self.publishes.remove(stream);
        let was_published = publish.is_some();
        if let Some(mut publish) = publish {
            let _ends = publish.finish(PublishEnding::Stopped, actions);
        }
        if let Some(mut play) = self.plays.remove(stream) {
            let _ends = play.finish(actions);
        }
        if self.calls.leave(stream, actions) {
            actions.push(Action::Reply(room::leaved(stream)));
        }
        if was_published && let Some(room) = self.memberships.room_of(stream) {
            let text = room::leaved_from_room(room, Some(stream));
            actions.push(Action::Reply(text));
        }
        self.ended.remember(stream, now);
    }

    /// A player's switch is for its own play; a publisher's for everybody. An id of which this
    /// connection has neither is ignored.
    fn switch(&mut self, switch: Switch, actions: &mut Vec<Action>) {
        if let Some(play) = self.plays.get_mut(&switch.stream) {
            if switch.enabled
                && switch.media == SwitchMedia::Both
                && *switch.stream != *switch.track
            {
                let show = Action::Tell(Tell::Errand(Errand::Show {
                    main: switch.stream.clone(),
                    track: StreamId::from(&*switch.track),
                }));
                play.handle_command(show, actions);
            }
            play.handle_command(Action::Switch(switch), actions);
        } else if self.publishes.contains_key(&switch.stream) && *switch.stream == *switch.track {
            actions.push(Action::Tell(Tell::Errand(Errand::Switch {
                stream: switch.stream,
                kind: switch.media.kind(),
                enabled: switch.enabled,
            })));
        }
    }

    fn handle_call(&mut self, now: Instant, command: PeerToPeer, actions: &mut Vec<Action>) {
        match command {
            PeerToPeer::Join {
                stream,
                multi_peer,
                play_only,
                proof,
            } => {
                if !self.calls.contains(&stream) && self.is_full() {
                    return complain(Definition::HighResourceUsage, Some(&stream), actions);
                }
                self.requests += 1;
                let ask = JoinAsk {
                    stream,
                    multi_peer,
                    play_only,
                    proof,
                };
                self.calls.join(self.requests, ask, actions);
            }
            // A client that says it twice, or on a new socket, is answered all the same.
            PeerToPeer::Leave { stream } => {
                self.calls.leave(&stream, actions);
                actions.push(Action::Reply(room::leaved(&stream)));
                self.ended.remember(&stream, now);
            }
            PeerToPeer::Message {
                stream,
                definition,
                data,
            } => {
                let definition = definition.as_deref();
                self.calls
                    .relay_message(&stream, definition, &data, actions);
            }
        }
    }

    /// Control decided about a join, or something happened in a call. What concerns a withdrawn
    /// question or a call that was left is ignored.
    pub fn handle_call_news(&mut self, news: CallNews, actions: &mut Vec<Action>) {
        let has_room = !self.is_full();
        match news {
            CallNews::Decision { request, result } => {
                self.calls.handle_decision(request, result, actions);
            }
            CallNews::Event { stream, event } => {
                self.calls.handle_event(&stream, event, has_room, actions);
            }
        }
    }

    /// Control decided about a publish. Decisions about withdrawn questions are ignored.
    pub fn handle_publish_decision(
        &mut self,
        now: Now,
        request: u64,
        result: Result<(), Definition>,
        actions: &mut Vec<Action>,
    ) {
        let timeout = self.start_timeout();
        let mut publishes = self.publishes.iter_mut();
        let asked = publishes.find(|(_, publish)| publish.has_asked(request));
        if let Some((stream, publish)) = asked {
            let stream = stream.clone();
            let fate = publish.handle_decision(now.instant, result, timeout, actions);
            self.settle_publish(now.instant, &stream, fate);
        }
    }

    /// Control decided about a play. Decisions about withdrawn questions are ignored.
    pub fn handle_play_decision(
        &mut self,
        now: Now,
        request: u64,
        result: Result<PlayGrant, Definition>,
        actions: &mut Vec<Action>,
    ) {
        let mut plays = self.plays.iter_mut();
        let asked = plays.find(|(_, play)| play.has_asked(request));
        if let Some((stream, play)) = asked {
            let stream = stream.clone();
            let fate = play.handle_decision(result, actions);
            self.settle_play(now.instant, &stream, fate);
        }
    }

    /// What a play is to be sent has changed. A play that ended meanwhile is not meant.
    pub fn handle_play_lineup(
        &mut self,
        stream: &StreamId,
        lineup: Lineup,
        actions: &mut Vec<Action>,
    ) {
        if let Some(play) = self.plays.get_mut(stream) {
            play.handle_lineup(lineup, actions);
        }
    }

    /// A peer of this session has news. News of a peer that was closed is ignored.
    pub fn handle_peer(
        &mut self,
        now: Now,
        stream: &StreamId,
        role: Role,
        event: PeerEvent,
        actions: &mut Vec<Action>,
    ) {
        match role {
            Role::Publish => {
                let drops_silent = self.settings.drop_webrtc_ingest_if_no_packet_received;
                let packet_due = drops_silent.then(|| now.instant + self.start_timeout());
                if let Some(publish) = self.publishes.get_mut(stream) {
                    let fate = publish.handle_peer(event, packet_due, actions);
                    self.settle_publish(now.instant, stream, fate);
                }
            }
            Role::Play => {
                if let Some(play) = self.plays.get_mut(stream) {
                    let fate = play.handle_peer(now.instant, event, actions);
                    self.settle_play(now.instant, stream, fate);
                }
            }
        }
    }

    /// True when it plays the broadcast, or has asked to.
    pub fn plays(&self, stream: &StreamId) -> bool {
        self.plays.contains_key(stream)
    }

    /// A broadcast is over: its play on this connection ends, if there is one.
    pub fn handle_broadcast_ended(
        &mut self,
        now: Now,
        stream: &StreamId,
        actions: &mut Vec<Action>,
    ) {
        if let Some(play) = self.plays.get_mut(stream) {
            let fate = play.handle_broadcast_ended(actions);
            self.settle_play(now.instant, stream, fate);
        }
    }

    /// Control ends this connection's publish of an id (REST stop or delete, blocking).
    pub fn handle_stop_publish(&mut self, now: Now, stream: &StreamId, actions: &mut Vec<Action>) {
        if let Some(publish) = self.publishes.get_mut(stream) {
            let fate = publish.handle_stop_by_server(actions);
            self.settle_publish(now.instant, stream, fate);
        }
    }

    /// A live publish took the place of a lost one whose viewers were kept.
    pub fn handle_session_restored(&mut self, stream: &StreamId, actions: &mut Vec<Action>) {
        if self.publishes.contains_key(stream) {
            actions.push(Action::Reply(reply::session_restored(stream)));
        }
    }

    /// The process is about to end. What runs goes on until the socket closes.
    pub fn handle_server_will_stop(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::Reply(reply::server_will_stop()));
    }

    /// The WebSocket is gone: everything ends, without replies. The session is empty afterwards.
    pub fn handle_closed(&mut self, actions: &mut Vec<Action>) {
        for publish in self.publishes.values_mut() {
            publish.handle_closed(actions);
        }
        for play in self.plays.values_mut() {
            play.release(actions);
        }
        self.calls.close(actions);
        self.publishes.clear();
        self.plays.clear();
        self.memberships.clear(actions);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when nothing is pending.
    /// Walks the at most `MAX_ENTRIES_PER_CONN` entries: ask after a change, not every turn.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let publishes = self
            .publishes
            .values()
            .filter_map(|publish| publish.deadline());
        let plays = self.plays.values().filter_map(|play| play.deadline());
        publishes.chain(plays).min()
    }

    /// Ends every publish and play whose time is up.
    pub fn handle_timeout(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Self {
            publishes,
            plays,
            ended,
            ..
        } = self;
        let now = now.instant;
        publishes.retain(|stream, publish| {
            let fate = publish.handle_timeout(now, actions);
            keep(fate, ended, stream, now)
        });
        plays.retain(|stream, play| {
            let fate = play.handle_timeout(now, actions);
            keep(fate, ended, stream, now)
        });
    }

    fn start_timeout(&self) -> Duration {
        let millis = Duration::from_millis(self.settings.webrtc_client_start_timeout_ms);
        millis.min(MAX_START_TIMEOUT)
    }

    fn settle_publish(&mut self, now: Instant, stream: &StreamId, fate: Fate) {
        if !keep(fate, &mut self.ended, stream, now) {
            self.publishes.remove(stream);
        }
    }

    fn settle_play(&mut self, now: Instant, stream: &StreamId, fate: Fate) {
        if !keep(fate, &mut self.ended, stream, now) {
            self.plays.remove(stream);
        }
    }
}

/// Whether an entry stays in its table; remembers the id of one that does not.
fn keep(fate: Fate, ended: &mut EndedIds, stream: &StreamId, now: Instant) -> bool {
    match fate {
        Fate::Stays => true,
        Fate::Ends => {
            ended.remember(stream, now);
            false
        }
    }
}

pub(super) fn complain(definition: Definition, stream: Option<&str>, actions: &mut Vec<Action>) {
    actions.push(Action::Reply(reply::error(definition, stream)));
}

/// Longest `webRTCClientStartTimeoutMs` that is taken at its word.
const MAX_START_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
