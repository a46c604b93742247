//! What a resource and its worker say to each other: the messages that a WebSocket would carry,
//! as mail.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, channel};

use super::problem::Problem;
use crate::base::crowd::Place;
use crate::base::ids::ConnId;
use crate::front::app::KnownApp;
use crate::front::shared::Shared;
use crate::model::mail::Client;
use crate::sdp::{IceParameters, LocalParameters};
use crate::worker::{Mail, NewResource, Told};

/// One end of it; dropping it ends what the worker holds for it.
#[derive(Debug)]
pub struct Dialogue {
    shared: Shared,
    conn: ConnId,
    told: Receiver<Told>,
    /// The WebSocket's place that a resource takes instead.
    _place: Place,
}

/// What the worker said, as far as it concerns a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The publish is granted.
    Start,
    /// The play is granted and the server's own offer is made.
    Offer,
    /// The server's answer.
    Answer(String),
    /// An error, by its `definition`.
    Refused(String),
    /// The publish or play is over.
    Over,
    /// The outcome of an ICE restart; `None` when there is no peer.
    Restarted(Option<LocalParameters>),
    /// Anything else.
    Other,
}

/// The fields of a message that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    command: String,
    definition: Option<String>,
    r#type: Option<String>,
    sdp: Option<String>,
}

impl Dialogue {
    /// Opens one on the least loaded worker; it holds `place` as long as it lives.
    ///
    /// # Errors
    /// No worker takes it.
    pub async fn open(
        shared: &Shared,
        app: &KnownApp,
        (client, place): (Arc<Client>, Place),
    ) -> Result<Self, Problem> {
        let worker = shared.pick_worker().ok_or(super::BUSY)?;
        let (listener, mut told) = channel(MAX_TOLD);
        let new = NewResource {
            app: app.name.clone(),
            settings: app.settings.clone(),
            client,
            listener,
        };
        shared.open_resource(worker, new);
        match told.recv().await {
            Some(Told::Opened(conn)) => Ok(Self {
                shared: shared.clone(),
                conn,
                told,
                _place: place,
            }),
            Some(Told::Text(_) | Told::Restarted(_)) | None => Err(super::BUSY),
        }
    }

    /// Sends one message.
    pub fn say(&self, message: &Value) {
        let (conn, text) = (self.conn, message.to_string());
        self.mail(Mail::Said { conn, text });
    }

    /// Asks for an ICE restart towards `remote`; the answer is heard later.
    pub fn restart_ice(&self, remote: IceParameters) {
        let conn = self.conn;
        self.mail(Mail::RestartIce { conn, remote });
    }

    /// The next that the worker says; `None` when it has ended the dialogue.
    pub async fn hear(&mut self) -> Option<Heard> {
        Some(match self.told.recv().await? {
            Told::Opened(_) => Heard::Other,
            Told::Restarted(local) => Heard::Restarted(local),
            Told::Text(text) => read(&text),
        })
    }

    fn mail(&self, mail: Mail) {
        self.shared.mail_worker(self.conn.worker, mail);
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.mail(Mail::ResourceGone(self.conn));
    }
}

fn read(text: &str) -> Heard {
    let message: Message = serde_json::from_str(text).unwrap_or_default();
    let definition = message.definition.as_deref();
    match (message.command.as_str(), message.r#type.as_deref()) {
        ("start", _) => Heard::Start,
        ("takeConfiguration", Some("offer")) => Heard::Offer,
        ("takeConfiguration", _) => message.sdp.map_or(Heard::Other, Heard::Answer),
        ("error", _) => Heard::Refused(definition.unwrap_or_default().to_owned()),
        ("notification", _) => match definition {
            Some("publish_finished" | "play_finished") => Heard::Over,
            Some(_) | None => Heard::Other,
        },
        (_, _) => Heard::Other,
    }
}

/// Messages on their way to a resource. A negotiation has a few and a candidate for each address
/// of the host; who is this far behind is closed.
const MAX_TOLD: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let cases = [
            (r#"{"command":"start","streamId":"s"}"#, Heard::Start),
            (
                r#"{"command":"takeConfiguration","type":"offer","sdp":"v=0"}"#,
                Heard::Offer,
            ),
            (
                r#"{"command":"takeConfiguration","type":"answer","sdp":"v=0"}"#,
                Heard::Answer("v=0".to_owned()),
            ),
            (
                r#"{"command":"error","definition":"streamIdInUse"}"#,
                Heard::Refused("streamIdInUse".to_owned()),
            ),
            (
                r#"{"command":"notification","definition":"play_finished"}"#,
                Heard::Over,
            ),
            (
                r#"{"command":"notification","definition":"play_started"}"#,
                Heard::Other,
            ),
            ("no JSON", Heard::Other),
        ];
        for (text, heard) in cases {
            assert_eq!(read(text), heard, "{text}");
        }
    }
}
