//! The directory's part in data channels: messages of the server itself, and messages of clients
//! on their way to a web hook.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::broadcast::Broadcast;
use super::directory::Directory;
use crate::base::ids::{ConnId, WorkerId};
use crate::base::limits::{MAX_DATA_HOOKS, MAX_DATA_MESSAGE_LEN};
use crate::model::data::{DataMessage, DataRelay, DataTarget, DataTargets};
use crate::model::mail::{AppName, WorkerMail};
use crate::model::track::StreamId;

/// Why a message was not sent to the clients of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRefused {
    /// There is no application of this name.
    NoApp,
    /// Nobody publishes under this id.
    NoStream,
    /// The application has data channels switched off.
    Disabled,
    /// Longer than `limits::MAX_DATA_MESSAGE_LEN`.
    TooLong,
}

impl Directory {
    /// Sends a text to the publisher and to every player of a broadcast, wherever they are.
    ///
    /// # Errors
    /// Nothing was sent.
    pub fn send_data(&mut self, app: &str, stream: &str, text: &str) -> Result<(), DataRefused> {
        let (app, settings) = self.app(app).ok_or(DataRefused::NoApp)?;
        let playable = self
            .broadcast(&app, stream)
            .filter(|broadcast| broadcast.is_playable());
        let stream = playable.ok_or(DataRefused::NoStream)?.stream.clone();
        if !settings.data_channel_enabled {
            return Err(DataRefused::Disabled);
        }
        if text.len() > MAX_DATA_MESSAGE_LEN {
            return Err(DataRefused::TooLong);
        }
        let to = [
            DataTarget::Publishers(stream.clone()),
            DataTarget::Players(stream.clone()),
        ];
        self.send_to_all(app, stream, DataTargets::from_iter(to), text);
        Ok(())
    }

    /// Sends a text to groups of clients, wherever they are: one mail per worker.
    pub(super) fn send_to_all(
        &mut self,
        app: AppName,
        stream: StreamId,
        to: DataTargets,
        text: impl Into<String>,
    ) {
        let workers = to.iter().flat_map(|target| self.workers_with(&app, target));
        let workers: BTreeSet<WorkerId> = workers.collect();
        let relay = Arc::new(DataRelay {
            app,
            stream,
            from: None,
            to,
            message: DataMessage::text(text),
        });
        for worker in workers {
            self.mail(worker, WorkerMail::Data(relay.clone()));
        }
    }

    /// Every worker that may have peers of `target`.
    fn workers_with(&self, app: &AppName, target: &DataTarget) -> BTreeSet<WorkerId> {
        let (DataTarget::Publishers(stream) | DataTarget::Players(stream)) = target;
        let Some(broadcast) = self.broadcast(app, stream) else {
            return BTreeSet::new();
        };
        let mut workers = broadcast.workers();
        if let DataTarget::Publishers(_) = target {
            let subtracks = broadcast.subtracks.iter();
            let subtracks = subtracks.filter_map(|id| self.broadcast(app, id));
            workers.extend(
                subtracks
                    .filter_map(Broadcast::publisher)
                    .map(|conn| conn.worker),
            );
        }
        workers
    }

    /// Sends one client a message of the server itself over the data channel of its play of
    /// `stream`, or of its publish when it does not play it. `signal/reply/event.rs` writes them.
    pub fn send_event(&mut self, conn: ConnId, stream: &StreamId, event: String) {
        let mail = WorkerMail::DataEvent {
            conn,
            stream: stream.clone(),
            message: DataMessage::text(event),
        };
        self.mail(conn.worker, mail);
    }

    /// The next message of a client for the application's `dataChannelWebHookURL`.
    pub fn poll_data_message(&mut self) -> Option<Arc<DataRelay>> {
        self.data_messages.pop_front()
    }

    /// A client of an application with a web hook sent a message. Bounded, although the shell reads
    /// after every few mails; their bytes are by `limits::MAX_DATA_RELAYED_LEN` of their workers.
    pub(super) fn data_message(&mut self, relay: Arc<DataRelay>) {
        if self.data_messages.len() < MAX_DATA_HOOKS {
            self.data_messages.push_back(relay);
        }
    }
}
