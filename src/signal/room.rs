//! The rooms that a connection has joined: `joinRoom`, `getRoomInfo`, `leaveFromRoom`.
//!
//! A membership is an id and its room: a later `publish` of the id belongs to the room although
//! it does not say so. It lasts until `leaveFromRoom` or the end of the socket; a `stop` in
//! between does not end it, because the JavaScript SDK stops before each attempt to publish again
//! (INTEROP(javascript)).

use std::time::Instant;

use super::action::{Action, Ask, Tell};
use super::command::RoomCommand;
use super::reply;
use super::session::{Session, complain};
use crate::model::definition::Definition;
use crate::model::mail::PublishEnding;
use crate::model::room::{JoinAsk, Joined, RoomAnswer, RoomMail, RoomStream};
use crate::model::track::StreamId;

/// What a connection has joined, counted among its entries.
#[derive(Debug, Default)]
pub(super) struct Memberships(Vec<Membership>);

#[derive(Debug)]
struct Membership {
    room: StreamId,
    /// The id it publishes under; `None` until the server has chosen one.
    stream: Option<StreamId>,
    /// The question that is not answered yet.
    request: Option<u64>,
}

impl Memberships {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The room that `stream` was joined to.
    pub(super) fn room_of(&self, stream: &StreamId) -> Option<&StreamId> {
        let joined = |m: &&Membership| m.stream.as_ref() == Some(stream);
        self.0.iter().find(joined).map(|m| &m.room)
    }

    /// Ends all of them; control is told once per room.
    pub(super) fn clear(&mut self, actions: &mut Vec<Action>) {
        while let Some(room) = self.0.first().map(|m| m.room.clone()) {
            self.leave(&room, actions);
        }
    }

    /// Ends those in `room`.
    fn leave(&mut self, room: &StreamId, actions: &mut Vec<Action>) {
        let before = self.0.len();
        self.0.retain(|m| m.room != *room);
        if self.0.len() < before {
            let room = room.clone();
            actions.push(Action::Tell(Tell::RoomLeft { room }));
        }
    }

    /// Ends that of `stream` in another room than `room`.
    fn move_to(&mut self, stream: &StreamId, room: &StreamId, actions: &mut Vec<Action>) {
        let is_old = |m: &Membership| m.stream.as_ref() == Some(stream);
        let Some(at) = self.0.iter().position(is_old) else {
            return;
        };
        let old = self.0.swap_remove(at).room;
        if old != *room {
            self.end_if_last(old, actions);
        }
    }

    /// Tells control when nothing is left in `room`.
    fn end_if_last(&self, room: StreamId, actions: &mut Vec<Action>) {
        if self.0.iter().all(|m| m.room != room) {
            actions.push(Action::Tell(Tell::RoomLeft { room }));
        }
    }

    /// The membership that `request` asked for.
    fn asked(&self, request: u64) -> Option<usize> {
        self.0.iter().position(|m| m.request == Some(request))
    }
}

impl Session {
    pub(super) fn handle_room(
        &mut self,
        now: Instant,
        command: RoomCommand,
        actions: &mut Vec<Action>,
    ) {
        match command {
            RoomCommand::Join {
                room,
                stream,
                token,
                // Nothing is mixed here: every mode is served as one play per participant or one
                // of the whole room, as the client likes.
                mode: _,
                // What a publish says of itself is what others are shown.
                stream_name: _,
                role: _,
                meta_data: _,
            } => match room {
                Some(room) => self.join(room, stream, token, actions),
                None => complain(Definition::NoRoomSpecified, stream.as_deref(), actions),
            },
            RoomCommand::Leave { room, stream } => match room {
                Some(room) => self.leave(now, &room, stream.as_deref(), actions),
                None => complain(Definition::NoRoomSpecified, stream.as_deref(), actions),
            },
            RoomCommand::Info { room, stream } => match room {
                Some(room) => {
                    let mail = RoomMail::AskInformation { room, stream };
                    actions.push(Action::Ask(Ask::Room(mail)));
                }
                None => complain(Definition::NoRoomSpecified, stream.as_deref(), actions),
            },
        }
    }

    fn join(
        &mut self,
        room: StreamId,
        stream: Option<StreamId>,
        token: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(stream) = &stream {
            self.memberships.move_to(stream, &room, actions);
        }
        if self.is_full() {
            return complain(Definition::HighResourceUsage, stream.as_deref(), actions);
        }
        self.requests += 1;
        self.memberships.0.push(Membership {
            room: room.clone(),
            stream: stream.clone(),
            request: Some(self.requests),
        });
        let ask = JoinAsk {
            room,
            stream,
            token,
        };
        let request = self.requests;
        let mail = RoomMail::AskJoin { request, ask };
        actions.push(Action::Ask(Ask::Room(mail)));
    }

    /// Ends what this connection publishes into the room and plays of it. Answered also when
    /// there was nothing.
    fn leave(
        &mut self,
        now: Instant,
        room: &StreamId,
        stream: Option<&str>,
        actions: &mut Vec<Action>,
    ) {
        let Self {
            publishes,
            plays,
            memberships,
            ended,
            ..
        } = self;
        publishes.retain(|id, publish| {
            let stays = publish.room() != Some(room);
            if !stays {
                let _ends = publish.finish(PublishEnding::Stopped, actions);
                ended.remember(id, now);
            }
            stays
        });
        plays.retain(|id, play| {
            let stays = id != room && play.room() != Some(room);
            if !stays {
                let _ends = play.finish(actions);
                ended.remember(id, now);
            }
            stays
        });
        memberships.leave(room, actions);
        let text = reply::room::leaved_from_room(room, stream);
        actions.push(Action::Reply(text));
    }

    /// Control answered a question about rooms. Decisions about withdrawn joins are ignored.
    pub fn handle_room_answer(&mut self, answer: RoomAnswer, actions: &mut Vec<Action>) {
        match answer {
            RoomAnswer::Join { request, result } => {
                self.handle_join_decision(request, result, actions);
            }
            RoomAnswer::Information {
                room,
                stream,
                result,
            } => {
                let stream = stream.as_deref();
                let text = match result {
                    Ok(streams) => reply::room::room_information(stream, &room, &listed(streams)),
                    Err(definition) => reply::room_error(definition, &room),
                };
                actions.push(Action::Reply(text));
            }
        }
    }

    fn handle_join_decision(
        &mut self,
        request: u64,
        result: Result<Joined, Definition>,
        actions: &mut Vec<Action>,
    ) {
        let Some(at) = self.memberships.asked(request) else {
            return;
        };
        match result {
            Ok(joined) => {
                let Some(membership) = self.memberships.0.get_mut(at) else {
                    return;
                };
                membership.request = None;
                membership.stream = Some(joined.stream.clone());
                let room = membership.room.clone();
                let others = listed(joined.others);
                let slots = self.settings.max_video_track_count;
                let text = reply::room::joined_the_room(&joined.stream, &room, &others, slots);
                actions.push(Action::Reply(text));
            }
            Err(definition) => {
                let membership = self.memberships.0.swap_remove(at);
                complain(definition, membership.stream.as_deref(), actions);
                // One of the same id before it, which it took the place of, ends with it.
                self.memberships.end_if_last(membership.room, actions);
            }
        }
    }
}

/// The entries of `streamList`.
fn listed(streams: Vec<RoomStream>) -> Vec<reply::room::RoomStream> {
    let entry = |stream: RoomStream| reply::room::RoomStream {
        stream_id: stream.stream.to_string(),
        stream_name: stream.name,
        meta_data: stream.meta_data,
    };
    streams.into_iter().map(entry).collect()
}
