//! The story of a message: text comes in, the session's state machine answers with actions, each
//! action is carried out here, and what it led to goes back into the machine.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use rand::distr::Alphanumeric;
use tracing::info;

use super::negotiation::Description;
use super::renegotiation::Renegotiated;
use super::{ConnOpened, ConnOutput, Engine};
use crate::base::clock::Now;
use crate::base::fault::PeerFault;
use crate::base::ids::{ConnId, PeerId, TrackId};
use crate::model::definition::Definition;
use crate::model::mail::{AppName, Client, ControlMail, Outgoing, PlayAsk, PublishAsk, WorkerMail};
use crate::model::room::RoomMail;
use crate::model::settings::AppSettings;
use crate::model::track::{PlayGrant, Source, StreamId};
use crate::peer::Side;
use crate::peer::journal::Note;
use crate::sdp::SdpError;
use crate::signal::action::{Action, Ask, PeerEvent, Role, Tell};
use crate::signal::command::Candidate;
use crate::signal::reply;
use crate::signal::session::Session;

/// One WebSocket: its conversation and its peers.
#[derive(Debug)]
pub(super) struct Conn {
    app: AppName,
    settings: Arc<AppSettings>,
    session: Session,
    client: Arc<Client>,
    peers: Vec<Held>,
    /// When its earliest entry in the engine's timers is.
    armed: Option<Instant>,
}

/// A peer of a connection.
#[derive(Debug)]
struct Held {
    role: Role,
    stream: StreamId,
    peer: PeerId,
}

impl Conn {
    /// The application of its path.
    pub(super) fn app(&self) -> &AppName {
        &self.app
    }

    /// That application's settings.
    pub(super) fn settings(&self) -> &Arc<AppSettings> {
        &self.settings
    }

    /// The room that its publish of `stream` belongs to.
    pub(super) fn room_of(&self, stream: &StreamId) -> Option<&StreamId> {
        self.session.room_of(stream)
    }

    fn peer(&self, role: Role, stream: &str) -> Option<PeerId> {
        let held = self
            .peers
            .iter()
            .find(|h| h.role == role && &*h.stream == stream);
        held.map(|h| h.peer)
    }
}

impl Engine {
    pub(super) fn open_conn(&mut self, _now: Now, opened: ConnOpened) {
        let session = Session::new(opened.app.clone(), opened.settings.clone());
        let ConnOpened {
            conn,
            app,
            settings,
            client,
        } = opened;
        self.conns.insert(
            conn,
            Conn {
                app,
                settings,
                session,
                client,
                peers: Vec::new(),
                armed: None,
            },
        );
    }

    pub(super) fn close_conn(&mut self, now: Now, id: ConnId) {
        self.with_session(now, id, |session, actions| session.handle_closed(actions));
        if let Some(conn) = self.conns.remove(&id) {
            for held in conn.peers {
                self.close_peer(held.peer);
            }
            self.mail_control(ControlMail::ConnClosed { conn: id });
        }
    }

    /// One message of a client.
    pub(super) fn converse(&mut self, now: Now, conn: ConnId, text: &str) {
        self.with_session(now, conn, |session, actions| {
            session.handle_message(now, text, actions);
        });
    }

    /// One mail of the control plane or of another worker.
    pub(super) fn open_mail(&mut self, now: Now, mail: WorkerMail) {
        match mail {
            WorkerMail::PublishDecision {
                conn,
                request,
                result,
            } => self.tell_publish_decision(now, conn, request, result),
            WorkerMail::PlayDecision {
                conn,
                request,
                result,
            } => self.tell_play_decision(now, conn, request, result),
            WorkerMail::Text { conn, text } => self.send_text(conn, text),
            WorkerMail::PublishFlow { app, stream, flow } => {
                self.switch_published(now, &(app, stream), flow);
            }
            WorkerMail::Moved { conn, stream, room } => self.move_publish(now, conn, &stream, room),
            WorkerMail::Call { conn, news } => {
                self.with_session(now, conn, |s, a| s.handle_call_news(news, a));
            }
            WorkerMail::PlaySources {
                conn,
                stream,
                lineup,
            } => {
                self.with_session(now, conn, |s, a| s.handle_play_lineup(&stream, lineup, a));
            }
            WorkerMail::Priorities {
                conn,
                stream,
                videos,
            } => self.set_priorities(now, conn, &stream, &videos),
            WorkerMail::Room { conn, answer } => {
                self.with_session(now, conn, |s, a| s.handle_room_answer(answer, a));
            }
            WorkerMail::BroadcastEnded { app, stream } => self.end_broadcast(now, &app, &stream),
            WorkerMail::PlaysEnded { app, stream } => self.end_plays(now, &app, &stream),
            WorkerMail::TracksReplaced { app, stream, moves } => {
                self.replace_tracks(now, (app, stream), &moves);
            }
            WorkerMail::SessionRestored { conn, stream } => {
                self.with_session(now, conn, |s, a| s.handle_session_restored(&stream, a));
            }
            WorkerMail::StopPublish { conn, stream } => {
                self.with_session(now, conn, |s, a| s.handle_stop_publish(now, &stream, a));
            }
            WorkerMail::StopPlay { conn, stream } => {
                self.with_session(now, conn, |s, a| s.handle_broadcast_ended(now, &stream, a));
            }
            WorkerMail::AskPlays(ask) => self.answer_plays(now, &ask),
            WorkerMail::Capture { peer, tap } => self.capture(now, peer, tap),
            WorkerMail::AskPeers(ask) => self.mail_control(self.answer_peers(now, &ask)),
            WorkerMail::Settings { app, settings } => self.change_settings(&app, &settings),
            WorkerMail::ServerWillStop => self.announce_stop(now),
            WorkerMail::RelayStart { track, by } => self.start_relay(now, track, by),
            WorkerMail::RelayStop { track, by } => self.stop_relay(track, by),
            WorkerMail::RelayKeyFrame { track } => self.want_key_frame(now, track),
            WorkerMail::RelayPackets(batch) => self.take_batch(now, &batch),
            WorkerMail::Sources { by, news } => self.take_source_news(by, &news),
            WorkerMail::Passed(parcel) => self.take_parcel(now, &parcel),
            WorkerMail::Layers { track, layers } => self.tracks.tell_layers(track, *layers),
            WorkerMail::Data(relay) => self.deliver_data(now, &relay),
            WorkerMail::DataEvent {
                conn,
                stream,
                message,
            } => self.send_data_event(now, conn, &stream, &message),
        }
    }

    fn move_publish(&mut self, now: Now, conn: ConnId, stream: &StreamId, room: Option<StreamId>) {
        self.with_session(now, conn, |s, _| s.handle_publish_moved(stream, room));
        self.move_data(conn, stream);
    }

    fn tell_play_decision(
        &mut self,
        now: Now,
        conn: ConnId,
        request: u64,
        result: Result<PlayGrant, Definition>,
    ) {
        self.with_session(now, conn, |session, actions| {
            session.handle_play_decision(now, request, result, actions);
        });
    }

    fn tell_publish_decision(
        &mut self,
        now: Now,
        conn: ConnId,
        request: u64,
        result: Result<(), Definition>,
    ) {
        self.with_session(now, conn, |session, actions| {
            session.handle_publish_decision(now, request, result, actions);
        });
    }

    fn end_broadcast(&mut self, now: Now, app: &AppName, stream: &StreamId) {
        self.drop_published(app, stream);
        self.end_plays(now, app, stream);
    }

    fn announce_stop(&mut self, now: Now) {
        for conn in self.conn_ids(|_| true) {
            self.with_session(now, conn, |s, actions| s.handle_server_will_stop(actions));
        }
    }

    fn want_key_frame(&mut self, now: Now, track: TrackId) {
        if let Some(key) = self.tracks.key(track) {
            self.tracks.want_key_frame(now.instant, key);
        }
    }

    /// Runs the timers of the sessions that are due.
    pub(super) fn run_session_timers(&mut self, now: Now) {
        while let Some(&Reverse((at, id))) = self.session_timers.peek() {
            if at > now.instant {
                return;
            }
            self.session_timers.pop();
            // An entry that an earlier one has overtaken.
            let Some(conn) = self.conns.get_mut(&id).filter(|c| c.armed == Some(at)) else {
                continue;
            };
            conn.armed = None;
            self.with_session(now, id, |session, actions| {
                session.handle_timeout(now, actions)
            });
        }
    }

    /// Sees to it that the session's timers run when they are due.
    fn arm_session(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let Some(due) = conn.session.poll_timeout()
            && conn.armed.is_none_or(|armed| due < armed)
        {
            conn.armed = Some(due);
            self.session_timers.push(Reverse((due, id)));
        }
    }

    /// ICE and DTLS of a peer are up.
    pub(super) fn peer_connected(&mut self, now: Now, id: PeerId) {
        self.counters.peers_connected += 1;
        if let Some(peer) = self.peers.get_mut(id) {
            peer.journal.note(now.instant, Note::Connected);
        }
        self.start_subscriptions(now, id);
        self.start_data(now, id);
        self.tell_session(now, id, PeerEvent::Connected);
        if let Some(peer) = self.peers.get(id)
            && let Side::Publisher(publisher) = &peer.side
            && publisher.sections.is_empty()
        {
            self.tell_session(now, id, PeerEvent::Receiving);
        }
    }

    /// A peer is over by itself: fault, silence, or the other side's goodbye.
    pub(super) fn peer_failed(&mut self, now: Now, id: PeerId, fault: Option<PeerFault>) {
        if let Some(peer) = self.peers.get_mut(id) {
            let note = fault.map_or(Note::Closed, Note::Fault);
            peer.journal.note(now.instant, note);
            let remote = peer.transport.route().map(|route| route.remote);
            info!(
                stream = %peer.stream,
                conn = %format_args!("{}-{}", peer.conn.worker.0, peer.conn.serial),
                ?remote,
                ?fault,
                events = %peer.journal,
                "peer ended"
            );
        }
        self.tell_session(now, id, PeerEvent::Failed);
        self.close_peer(id);
    }

    pub(super) fn tell_session(&mut self, now: Now, id: PeerId, event: PeerEvent) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        let role = match peer.side {
            Side::Publisher(_) => Role::Publish,
            Side::Subscriber(_) => Role::Play,
        };
        let (conn, stream) = (peer.conn, peer.stream.clone());
        self.with_session(now, conn, |session, actions| {
            session.handle_peer(now, &stream, role, event, actions);
        });
    }

    /// Lets the machine act, then carries out its actions until none are left.
    fn with_session(
        &mut self,
        now: Now,
        id: ConnId,
        act: impl FnOnce(&mut Session, &mut Vec<Action>),
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let mut actions = Vec::new();
        act(&mut conn.session, &mut actions);
        // An action's result may ask for more; each round is one step of a short negotiation.
        for _ in 0..MAX_ROUNDS {
            if actions.is_empty() {
                break;
            }
            let mut more = Vec::new();
            for action in actions {
                self.carry_out(now, id, action, &mut more);
            }
            actions = more;
        }
        self.arm_session(id);
    }

    fn carry_out(&mut self, now: Now, id: ConnId, action: Action, more: &mut Vec<Action>) {
        match action {
            Action::Reply(text) => self.send_text(id, text),
            Action::Debug { stream } => {
                let text = self.debug_info(id);
                self.send_text(id, reply::info::debug_info(&stream, &text));
            }
            Action::Ask(ask) => self.ask_control(id, ask),
            Action::Tell(tell) => self.tell_control(id, tell),
            Action::AcceptOffer { stream, sdp } => {
                let event = self.answer_publisher(now, id, &stream, &sdp);
                self.feed(now, id, Role::Publish, &stream, event, more);
            }
            Action::MakeOffer { stream, grant } => {
                let event = match self.make_offer(now, id, &stream, &grant) {
                    Some((peer, description)) => {
                        self.hold(id, Role::Play, &stream, peer);
                        let candidates = candidates(&description);
                        let Description {
                            sdp, id_mapping, ..
                        } = description;
                        PeerEvent::Offered {
                            sdp,
                            id_mapping,
                            candidates,
                        }
                    }
                    None => PeerEvent::OfferFailed(Definition::NotSetLocalDescription),
                };
                self.feed(now, id, Role::Play, &stream, event, more);
            }
            Action::Renegotiate { stream, sources } => {
                let event = self.next_offer(now, id, &stream, &sources);
                self.feed(now, id, Role::Play, &stream, event, more);
            }
            Action::AcceptAnswer { stream, sdp } => {
                let event = self.take_answer(now, id, &stream, &sdp);
                self.feed(now, id, Role::Play, &stream, event, more);
            }
            Action::AnswerPlayer { stream, sdp } => {
                let event = self.answer_player(now, id, &stream, &sdp);
                self.feed(now, id, Role::Play, &stream, event, more);
            }
            // A lite agent learns addresses from binding requests alone.
            Action::AddCandidate { .. } => {}
            Action::Switch(switch) => {
                if let Some(peer) = self.held(id, Role::Play, &switch.stream) {
                    self.switch_sendings(now, peer, &switch);
                }
            }
            Action::ForceQuality {
                stream,
                height,
                track,
            } => {
                if let Some(peer) = self.held(id, Role::Play, &stream) {
                    self.force_quality(now, peer, track.as_deref(), height);
                }
            }
            Action::ClosePeer { stream, role } => {
                if let Some(peer) = self.let_go(id, role, &stream) {
                    self.close_peer(peer);
                }
            }
        }
    }

    fn ask_control(&mut self, conn: ConnId, ask: Ask) {
        let Some(asking) = self.conns.get(&conn) else {
            return;
        };
        let (app, client) = (asking.app.clone(), asking.client.clone());
        let mail = match ask {
            Ask::Publish { request, ask } => ControlMail::AskPublish {
                conn,
                request,
                app,
                ask: PublishAsk { client, ..ask },
            },
            Ask::Play { request, ask } => ControlMail::AskPlay {
                conn,
                request,
                app,
                ask: PlayAsk { client, ..ask },
            },
            Ask::Room(mut mail) => {
                if let RoomMail::AskJoin { ask, .. } = &mut mail {
                    ask.stream.get_or_insert_with(|| self.random_stream_id());
                }
                ControlMail::Room { conn, app, mail }
            }
        };
        self.mail_control(mail);
    }

    /// An id for somebody who named none: unguessable, and valid everywhere.
    fn random_stream_id(&mut self) -> StreamId {
        let letters = (&mut self.rng)
            .sample_iter(Alphanumeric)
            .take(RANDOM_ID_LEN);
        letters.map(char::from).collect::<String>().into()
    }

    fn next_offer(
        &mut self,
        now: Now,
        id: ConnId,
        stream: &StreamId,
        sources: &[Source],
    ) -> PeerEvent {
        let peer = self.held(id, Role::Play, stream);
        match peer.and_then(|peer| self.renegotiate_play(now, peer, sources)) {
            Some(Renegotiated::Offer(description)) => PeerEvent::Offered {
                sdp: description.sdp,
                id_mapping: description.id_mapping,
                candidates: Vec::new(),
            },
            Some(Renegotiated::Unchanged) => PeerEvent::OfferUnchanged,
            None => PeerEvent::OfferFailed(Definition::NotSetLocalDescription),
        }
    }

    fn tell_control(&mut self, conn: ConnId, tell: Tell) {
        let Some(telling) = self.conns.get(&conn) else {
            return;
        };
        let (app, client) = (telling.app.clone(), telling.client.clone());
        self.mail_control(match tell {
            Tell::PublishLive { stream } => {
                let peer = self.held(conn, Role::Publish, &stream);
                let tracks = peer.map(|peer| self.track_infos(peer)).unwrap_or_default();
                ControlMail::PublishLive {
                    conn,
                    app,
                    stream,
                    tracks,
                }
            }
            Tell::PublishReleased { stream, ending } => ControlMail::PublishReleased {
                conn,
                app,
                stream,
                ending,
            },
            Tell::PlayLive { stream } => ControlMail::PlayLive { conn, app, stream },
            Tell::PlayReleased { stream } => ControlMail::PlayReleased { conn, app, stream },
            Tell::RoomLeft { room } => ControlMail::Room {
                conn,
                app,
                mail: RoomMail::Left { room },
            },
            Tell::Errand(errand) => ControlMail::Errand {
                conn,
                app,
                client,
                errand,
            },
        });
    }

    fn answer_publisher(
        &mut self,
        now: Now,
        id: ConnId,
        stream: &StreamId,
        sdp: &str,
    ) -> PeerEvent {
        let Some(conn) = self.conns.get(&id) else {
            return PeerEvent::OfferRefused(Definition::NotSetRemoteDescription);
        };
        let existing = conn.peer(Role::Publish, stream);
        let (app, settings) = (conn.app.clone(), conn.settings.clone());
        match self.accept_offer(now, (id, &app, stream), existing, &settings, sdp) {
            Ok((peer, description)) => {
                self.hold(id, Role::Publish, stream, peer);
                let candidates = candidates(&description);
                PeerEvent::Answered {
                    sdp: description.sdp,
                    candidates,
                }
            }
            Err(error) => {
                info!(%stream, %error, "offer refused");
                PeerEvent::OfferRefused(definition_of(error))
            }
        }
    }

    fn take_answer(&mut self, now: Now, id: ConnId, stream: &StreamId, sdp: &str) -> PeerEvent {
        let Some(peer) = self.held(id, Role::Play, stream) else {
            return PeerEvent::AnswerStale;
        };
        match self.accept_answer(now, peer, sdp) {
            Ok(()) => PeerEvent::AnswerAccepted,
            Err(SdpError::Mismatch) => PeerEvent::AnswerStale,
            Err(error) => {
                info!(%stream, %error, "answer refused");
                PeerEvent::AnswerRefused(definition_of(error))
            }
        }
    }

    fn answer_player(&mut self, now: Now, id: ConnId, stream: &StreamId, sdp: &str) -> PeerEvent {
        let peer = self.held(id, Role::Play, stream);
        let answered = peer.map(|peer| self.accept_player_offer(now, peer, sdp));
        match answered.unwrap_or(Err(SdpError::Mismatch)) {
            Ok(sdp) => PeerEvent::Answered {
                sdp,
                candidates: Vec::new(),
            },
            Err(error) => {
                info!(%stream, %error, "a player's offer refused");
                PeerEvent::OfferRefused(definition_of(error))
            }
        }
    }

    fn feed(
        &mut self,
        now: Now,
        id: ConnId,
        role: Role,
        stream: &StreamId,
        event: PeerEvent,
        actions: &mut Vec<Action>,
    ) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.session.handle_peer(now, stream, role, event, actions);
        }
    }

    /// A broadcast of `app` is over: its players here are told.
    fn end_plays(&mut self, now: Now, app: &AppName, stream: &StreamId) {
        for conn in self.conn_ids(|conn| conn.app == *app && conn.session.plays(stream)) {
            self.with_session(now, conn, |session, actions| {
                session.handle_broadcast_ended(now, stream, actions);
            });
        }
    }

    fn change_settings(&mut self, app: &AppName, settings: &Arc<AppSettings>) {
        for conn in self.conns.values_mut().filter(|conn| conn.app == *app) {
            conn.settings = settings.clone();
            conn.session.set_settings(settings.clone());
        }
    }

    fn send_text(&mut self, conn: ConnId, text: String) {
        if self.conns.contains_key(&conn) {
            self.conn_outputs.push_back((conn, ConnOutput::Text(text)));
        }
    }

    /// The peers of a connection, each with its role.
    pub(super) fn peers_of(&self, id: ConnId) -> impl Iterator<Item = (Role, PeerId)> {
        let peers = self.conns.get(&id).into_iter().flat_map(|conn| &conn.peers);
        peers.map(|held| (held.role, held.peer))
    }

    pub(super) fn app_of(&self, conn: ConnId) -> Option<AppName> {
        Some(self.conns.get(&conn)?.app.clone())
    }

    pub(super) fn mail_control(&mut self, mail: ControlMail) {
        self.mails.push_back(Outgoing::Control(Box::new(mail)));
    }

    fn conn_ids(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        self.conns
            .iter()
            .filter(|(_, conn)| wanted(conn))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn held(&self, id: ConnId, role: Role, stream: &str) -> Option<PeerId> {
        self.conns.get(&id)?.peer(role, stream)
    }

    fn hold(&mut self, id: ConnId, role: Role, stream: &StreamId, peer: PeerId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.peer(role, stream) != Some(peer) {
            conn.peers.retain(|h| h.role != role || h.stream != *stream);
            conn.peers.push(Held {
                role,
                stream: stream.clone(),
                peer,
            });
        }
    }

    fn let_go(&mut self, id: ConnId, role: Role, stream: &str) -> Option<PeerId> {
        let conn = self.conns.get_mut(&id)?;
        let at = conn
            .peers
            .iter()
            .position(|h| h.role == role && &*h.stream == stream)?;
        Some(conn.peers.swap_remove(at).peer)
    }
}

/// The candidates of a description, as signalling carries them.
fn candidates(description: &Description) -> Vec<Candidate> {
    let texts = description.candidates.iter();
    let (label, mid) = (description.first_label, &description.first_mid);
    texts
        .map(|text| Candidate {
            label,
            mid: mid.clone(),
            candidate: text.clone(),
        })
        .collect()
}

/// What the client is told of a description that cannot be used.
fn definition_of(error: SdpError) -> Definition {
    match error {
        SdpError::NothingAccepted
        | SdpError::Setup
        | SdpError::IceLite
        | SdpError::TooLong
        | SdpError::LineTooLong
        | SdpError::TooManySections
        | SdpError::Mismatch
        | SdpError::NotSdp
        | SdpError::MalformedMedia
        | SdpError::MalformedMid
        | SdpError::MissingMid
        | SdpError::DuplicateMid
        | SdpError::MissingRtpmap
        | SdpError::FormatConflict
        | SdpError::ExtmapConflict
        | SdpError::OpusParameters
        | SdpError::MissingIce
        | SdpError::MalformedIce
        | SdpError::MissingFingerprint => Definition::NotSetRemoteDescription,
    }
}

/// Offer refused, peer closed, told: nothing takes more steps than this.
const MAX_ROUNDS: usize = 8;

/// Letters of an id made here: 119 bits.
const RANDOM_ID_LEN: usize = 20;
