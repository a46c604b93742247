//! The coming and going of subscribers, the latest of each broadcast.

use rusqlite::{Connection, params};

use super::Store;
use super::broadcasts::whole;
use super::error::{Fault, StoreError};
use crate::base::limits::MAX_EVENTS_PER_STREAM;
use crate::model::access::{AccessKind, ConnectionEvent, ConnectionEventKind};
use crate::model::mail::AppName;

impl Store {
    /// Adds an event; beyond `limits::MAX_EVENTS_PER_STREAM` the oldest of its broadcast goes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_event(&self, app: &AppName, event: ConnectionEvent) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |db| add(db, &app, &event)).await
    }

    /// At most `size` events of a broadcast, of one subscriber or of all, in the order they
    /// happened, the first `offset` left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_events(
        &self,
        app: &AppName,
        stream: &str,
        subscriber: Option<&str>,
        offset: usize,
        size: usize,
    ) -> Result<Vec<ConnectionEvent>, StoreError> {
        let (app, stream) = (app.clone(), stream.to_owned());
        let subscriber = subscriber.map(str::to_owned);
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT subscriber, event, kind, unix_ms FROM events
                 WHERE app = ?1 AND stream = ?2 AND (?3 IS NULL OR subscriber = ?3)
                 ORDER BY serial LIMIT ?4 OFFSET ?5",
            )?;
            let values = params![app, stream, subscriber, whole(size), whole(offset)];
            let rows = statement.query_map(values, |row| {
                let (event, kind): (String, String) = (row.get(1)?, row.get(2)?);
                let is_end = event == ConnectionEventKind::Disconnected.text();
                Ok(ConnectionEvent {
                    stream_id: stream.clone(),
                    subscriber_id: row.get(0)?,
                    event_type: if is_end {
                        ConnectionEventKind::Disconnected
                    } else {
                        ConnectionEventKind::Connected
                    },
                    timestamp: row.get(3)?,
                    kind: AccessKind::parse(&kind).unwrap_or(AccessKind::Play),
                    event_protocol: "webrtc".to_owned(),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Adds an event and forgets those that are too many.
pub(super) fn add(db: &Connection, app: &AppName, event: &ConnectionEvent) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO events (app, stream, subscriber, event, kind, unix_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        app,
        event.stream_id,
        event.subscriber_id,
        event.event_type.text(),
        event.kind.text(),
        event.timestamp
    ])?;
    db.prepare_cached(
        "DELETE FROM events WHERE app = ?1 AND stream = ?2 AND serial <=
           (SELECT serial FROM events WHERE app = ?1 AND stream = ?2
            ORDER BY serial DESC LIMIT 1 OFFSET ?3)",
    )?
    .execute(params![app, event.stream_id, whole(MAX_EVENTS_PER_STREAM)])?;
    Ok(())
}
