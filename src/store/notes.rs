//! What the control plane notes by the way: nobody waits for it.

use rusqlite::Connection;

use super::error::{Fault, StoreError};
use super::{Store, broadcasts, events};
use crate::model::access::ConnectionEvent;
use crate::model::broadcast::BroadcastStatus;
use crate::model::mail::AppName;

/// Something to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A broadcast got so far; nothing is noted when it is not registered.
    Status {
        /// The application.
        app: AppName,
        /// The broadcast.
        stream: String,
        /// How far.
        status: BroadcastStatus,
        /// When, milliseconds since 1970.
        unix_ms: i64,
    },
    /// A subscriber came or went.
    Event {
        /// The application.
        app: AppName,
        /// Who, where and when.
        event: ConnectionEvent,
    },
}

impl Store {
    /// Writes all of `notes` in their order, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing of it was written.
    pub async fn record(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        self.write(move |db| notes.into_iter().try_for_each(|note| write(db, note)))
            .await
    }
}

fn write(db: &Connection, note: Note) -> Result<(), Fault> {
    match note {
        Note::Status {
            app,
            stream,
            status,
            unix_ms,
        } => broadcasts::set_status(db, &app, &stream, status, unix_ms).map(drop),
        Note::Event { app, event } => events::add(db, &app, &event),
    }
}
