//! The calls of one connection: it asks control to join, then carries messages to and from it.
//!
//! ```text
//!  join ──> Asking ──granted──> Joined: start, relayed messages, stop
//!              │ denied: error     └ leave, stop, the socket's end: released
//! ```
//! Who else is in a call, and what waits for what, is control's to know. Called by `session.rs`.

use std::collections::BTreeMap;

use super::action::{Action, Ask, Tell};
use super::command::{Candidate, SdpKind};
use super::reply::{self, room};
use crate::base::codec::MediaKind;
use crate::base::ids::Mid;
use crate::model::call::{CallEvent, JoinAsk, JoinGrant, RelayKind};
use crate::model::definition::Definition;
use crate::model::track::StreamId;
use crate::sdp;

/// The calls that a connection is in or asks to join.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<StreamId, Call>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Control has been asked.
    Asking { request: u64 },
    /// It is a member.
    Joined,
}

impl Calls {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// True when `stream` is joined, or asked for.
    pub(super) fn contains(&self, stream: &str) -> bool {
        self.0.contains_key(stream)
    }

    /// The client joins. One that is in already is told so again; one that is being decided about
    /// will be told.
    pub(super) fn join(&mut self, request: u64, ask: JoinAsk, actions: &mut Vec<Action>) {
        match self.0.get(&ask.stream) {
            Some(Call::Joined) => actions.push(Action::Reply(room::joined(&ask.stream))),
            Some(Call::Asking { .. }) => {}
            None => {
                self.0.insert(ask.stream.clone(), Call::Asking { request });
                actions.push(Action::Ask(Ask::Join { request, ask }));
            }
        }
    }

    /// Control decided; answers to withdrawn questions are ignored.
    pub(super) fn handle_decision(
        &mut self,
        question: u64,
        result: Result<JoinGrant, Definition>,
        actions: &mut Vec<Action>,
    ) {
        let asked = |call: &Call| matches!(call, Call::Asking { request } if *request == question);
        let Some(stream) = self.0.iter().find(|(_, call)| asked(call)) else {
            return;
        };
        let stream = stream.0.clone();
        let text = match result {
            Ok(JoinGrant::Joined) => {
                let text = room::joined(&stream);
                self.0.insert(stream, Call::Joined);
                text
            }
            Ok(JoinGrant::Redirected(other)) => {
                self.0.remove(&stream);
                room::connect_with_new_id(&other)
            }
            Err(definition) => {
                self.0.remove(&stream);
                reply::error(definition, Some(&stream))
            }
        };
        actions.push(Action::Reply(text));
    }

    /// The client leaves; false when it was in no such call.
    pub(super) fn leave(&mut self, stream: &StreamId, actions: &mut Vec<Action>) -> bool {
        let was_in = self.0.remove(stream).is_some();
        if was_in {
            let stream = stream.clone();
            actions.push(Action::Tell(Tell::CallLeft { stream }));
        }
        was_in
    }

    /// The socket is gone: every call is left.
    pub(super) fn close(&mut self, actions: &mut Vec<Action>) {
        for stream in std::mem::take(&mut self.0).into_keys() {
            actions.push(Action::Tell(Tell::CallLeft { stream }));
        }
    }

    /// The client's description for the other one.
    pub(super) fn relay_description(
        &self,
        stream: &StreamId,
        kind: SdpKind,
        sdp: &str,
        actions: &mut Vec<Action>,
    ) {
        self.relay(stream, RelayKind::Description, actions, || {
            let mapping = id_mapping(stream, sdp);
            reply::take_configuration(stream, kind, sdp, mapping.as_deref())
        });
    }

    /// The client's candidate for the other one.
    pub(super) fn relay_candidate(
        &self,
        stream: &StreamId,
        candidate: &Candidate,
        actions: &mut Vec<Action>,
    ) {
        self.relay(stream, RelayKind::Candidate, actions, || {
            reply::take_candidate(stream, candidate)
        });
    }

    /// The client's own message for the other one.
    pub(super) fn relay_message(
        &self,
        stream: &StreamId,
        definition: Option<&str>,
        data: &str,
        actions: &mut Vec<Action>,
    ) {
        self.relay(stream, RelayKind::Message, actions, || {
            room::peer_message(stream, definition, data)
        });
    }

    fn relay(
        &self,
        stream: &StreamId,
        kind: RelayKind,
        actions: &mut Vec<Action>,
        text: impl FnOnce() -> String,
    ) {
        match self.0.get(stream) {
            Some(Call::Joined) => actions.push(Action::Tell(Tell::CallRelay {
                stream: stream.clone(),
                kind,
                text: text(),
            })),
            Some(Call::Asking { .. }) | None => {
                let definition = Definition::NoPeerAssociatedBefore;
                actions.push(Action::Reply(reply::error(definition, Some(stream))));
            }
        }
    }

    /// News of a call; ignored when it is no longer, or not yet, joined. `has_room` is whether
    /// the connection may have one entry more.
    pub(super) fn handle_event(
        &mut self,
        stream: &StreamId,
        event: CallEvent,
        has_room: bool,
        actions: &mut Vec<Action>,
    ) {
        if let CallEvent::StartAnother(stream) = event {
            return self.start_another(stream, has_room, actions);
        }
        if self.0.get(stream) != Some(&Call::Joined) {
            return;
        }
        let text = match event {
            CallEvent::Start => reply::start(stream),
            CallEvent::Relayed(text) => text,
            CallEvent::Left => reply::stop(stream),
            CallEvent::Over => {
                self.0.remove(stream);
                reply::stop(stream)
            }
            CallEvent::NoPeer => reply::error(Definition::NoPeerAssociatedBefore, Some(stream)),
            CallEvent::StartAnother(_) => return,
        };
        actions.push(Action::Reply(text));
    }

    /// The owner of a multi-peer call is in one more, which it did not ask for.
    fn start_another(&mut self, stream: StreamId, has_room: bool, actions: &mut Vec<Action>) {
        if has_room {
            actions.push(Action::Reply(room::start_new_p2p_connection(&stream)));
            self.0.insert(stream, Call::Joined);
        } else {
            actions.push(Action::Tell(Tell::CallLeft { stream }));
        }
    }
}

/// Track id by mid for a description that one client makes for another; `None` when it cannot be
/// read, and is relayed as it is.
///
/// INTEROP(js): a page without a video element looks every track up here, in answers too, and
/// fails where there is no map.
fn id_mapping(stream: &str, sdp: &str) -> Option<Vec<(Mid, String)>> {
    let description = sdp::parse(sdp).ok()?;
    let media = description.media.iter();
    let tracks = media.filter_map(|section| {
        let letter = match section.media_kind()? {
            MediaKind::Audio => 'a',
            MediaKind::Video => 'v',
        };
        section
            .has_mid
            .then(|| (section.mid.clone(), format!("ARDAMS{letter}{stream}")))
    });
    Some(tracks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_the_mids_of_media_and_nothing_else() {
        let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:x\r\na=rtpmap:111 opus/48000/2\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
        let mapping = id_mapping("r", sdp).unwrap();
        let mapping: Vec<_> = mapping.iter().map(|(m, t)| (m.as_str(), &**t)).collect();
        assert_eq!(mapping, [("x", "ARDAMSar"), ("1", "ARDAMSvr")]);
        assert_eq!(id_mapping("r", "no description"), None);
    }

    #[test]
    fn an_owner_without_room_leaves_the_call_it_was_put_in() {
        let mut calls = Calls::default();
        let mut actions = Vec::new();
        let event = CallEvent::StartAnother("r-1".into());
        calls.handle_event(&"r-1".into(), event, false, &mut actions);
        let stream = "r-1".into();
        assert_eq!(actions, [Action::Tell(Tell::CallLeft { stream })]);
        assert_eq!(calls.len(), 0);
    }
}
