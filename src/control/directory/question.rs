//! One question: may this connection publish, or play? Its story is in `questions.rs`.

use crate::base::ids::ConnId;
use crate::base::limits::MAX_COMMANDS_HELD;
use crate::control::admission::Asked;
use crate::control::seats::SeatKey;
use crate::model::mail::{AppName, PlayAsk};
use crate::model::slots::SlotCommand;
use crate::model::track::StreamId;
use crate::store::{AdmissionFacts, AdmissionQuery};

/// One question on its way.
#[derive(Debug)]
pub(in crate::control) struct Question {
    pub(super) conn: ConnId,
    pub(super) request: u64,
    pub(super) app: AppName,
    pub(super) asked: Asked,
    /// Nobody waits for the answer any more.
    pub(super) is_withdrawn: bool,
    /// The room that the broadcast is in, or will be.
    pub(super) main_track: Option<String>,
    /// What is stored about it; empty before that is known.
    pub(super) facts: Box<AdmissionFacts>,
    /// The token is to be used up as the last step.
    pub(super) uses_up: bool,
    /// It has a place among the openings, which a refusal gives back.
    pub(super) is_opening: bool,
    /// What its client has said since of the slots of the play that it asks for.
    pub(super) said: Vec<SlotCommand>,
}

impl Question {
    /// A question that no step was taken for.
    pub fn new(conn: ConnId, request: u64, app: AppName, asked: Asked) -> Self {
        Self {
            conn,
            request,
            app,
            asked,
            is_withdrawn: false,
            main_track: None,
            facts: Box::default(),
            uses_up: false,
            is_opening: false,
            said: Vec::new(),
        }
    }

    /// The play that `conn` waits for; `None` when this is about something else.
    pub(super) fn play_of(&self, conn: ConnId, app: &AppName) -> Option<&PlayAsk> {
        match &self.asked {
            Asked::Play(ask) if self.conn == conn && self.app == *app => {
                Some(ask).filter(|_| !self.is_withdrawn)
            }
            Asked::Play(_)
            | Asked::Publish(_)
            | Asked::Tracks(_)
            | Asked::Join(..)
            | Asked::Room(..) => None,
        }
    }

    /// Keeps a command until the play is granted. Beyond [`MAX_COMMANDS_HELD`] they are ignored.
    pub(super) fn hold(&mut self, command: SlotCommand) {
        if self.said.len() < MAX_COMMANDS_HELD {
            self.said.push(command);
        }
    }

    /// What a grant of it opens; `None` when that is no peer.
    pub(super) fn opening(&self) -> Option<SeatKey> {
        match &self.asked {
            Asked::Publish(_) | Asked::Play(_) => {
                let stream = StreamId::from(self.asked.stream()?);
                Some((self.conn, stream, self.asked.kind()))
            }
            Asked::Tracks(_) | Asked::Join(..) | Asked::Room(..) => None,
        }
    }

    /// True when it asks for this publish or play.
    pub(super) fn is(&self, (conn, stream, kind): &SeatKey) -> bool {
        let is_kind = match self.asked {
            Asked::Publish(_) | Asked::Play(_) => self.asked.kind() == *kind,
            Asked::Tracks(_) | Asked::Join(..) | Asked::Room(..) => false,
        };
        is_kind && self.conn == *conn && self.asked.stream() == Some(stream)
    }

    /// What is to be looked up for it.
    pub(super) fn query(&self) -> AdmissionQuery {
        AdmissionQuery {
            app: self.app.clone(),
            stream: self.asked.stream().unwrap_or_default().to_owned(),
            main_track: self.main_track.clone(),
            subscriber_id: self.asked.subscriber_id().map(str::to_owned),
            token: self.asked.token().map(str::to_owned),
        }
    }
}
