//! The coming and going of subscribers, the latest of each broadcast.

use rusqlite::{Connection, params};

use super::Store;
use super::broadcasts::whole;
use super::error::{Fault, StoreError};
use crate::base::limits::{MAX_EVENTS, MAX_EVENTS_PER_STREAM};
use crate::model::access::{AccessKind, ConnectionEvent, ConnectionEventKind};
use crate::model::mail::AppName;

impl Store {
    /// Adds an event; beyond `limits::MAX_EVENTS_PER_STREAM` the oldest of its broadcast goes,
    /// beyond `limits::MAX_EVENTS` the oldest of all.
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
    // Most broadcasts are never heard of again. The newest serial is the highest.
    db.prepare_cached("DELETE FROM events WHERE serial <= (SELECT max(serial) FROM events) - ?1")?
        .execute([whole(MAX_EVENTS)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::migrate;

    #[test]
    fn of_too_many_events_in_all_the_oldest_go() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        let event = |stream: &str| ConnectionEvent {
            stream_id: stream.to_owned(),
            subscriber_id: "anna".to_owned(),
            event_type: ConnectionEventKind::Connected,
            timestamp: 1,
            kind: AccessKind::Play,
            event_protocol: "webrtc".to_owned(),
        };
        let app = AppName::from("live");
        add(&db, &app, &event("oldest")).unwrap();
        add(&db, &app, &event("old")).unwrap();
        // As if the others had been there.
        db.execute(
            "UPDATE events SET serial = ?1 WHERE stream = 'old'",
            [whole(MAX_EVENTS)],
        )
        .unwrap();
        add(&db, &app, &event("new")).unwrap();
        let left: Vec<String> = db
            .prepare("SELECT stream FROM events ORDER BY serial")
            .unwrap()
            .query_map((), |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(left, ["old", "new"]);
    }
}
