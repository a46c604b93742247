//! Subscribers of broadcasts, and who of them is blocked.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use super::broadcasts::whole;
use super::error::{Fault, StoreError};
use crate::base::limits::MAX_SUBSCRIBERS_PER_STREAM;
use crate::model::access::{AccessKind, Block, BlockKind, Subscriber};
use crate::model::mail::AppName;

impl Store {
    /// Registers a subscriber of its `stream_id`, or replaces the one of this id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the broadcast has `limits::MAX_SUBSCRIBERS_PER_STREAM`.
    pub async fn put_subscriber(
        &self,
        app: &AppName,
        subscriber: Subscriber,
    ) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |db| {
            let others: i64 = db
                .prepare_cached(
                    "SELECT count(*) FROM subscribers WHERE app = ?1 AND stream = ?2 AND id <> ?3",
                )?
                .query_row(
                    params![app, subscriber.stream_id, subscriber.subscriber_id],
                    |row| row.get(0),
                )?;
            if usize::try_from(others).unwrap_or(usize::MAX) >= MAX_SUBSCRIBERS_PER_STREAM {
                return Err(StoreError::Full.into());
            }
            let period = subscriber
                .totp_expiry_period_seconds
                .map(|period| i64::try_from(period).unwrap_or(i64::MAX));
            db.prepare_cached(
                "INSERT OR REPLACE INTO subscribers
                 (app, stream, id, name, b32_secret, kind, connections_limit, period_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                app,
                subscriber.stream_id,
                subscriber.subscriber_id,
                subscriber.subscriber_name,
                subscriber.b32_secret,
                subscriber.kind.text(),
                subscriber.concurrent_connections_limit,
                period
            ])?;
            Ok(())
        })
        .await
    }

    /// One subscriber, its secret included; `None` when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn subscriber(
        &self,
        app: &AppName,
        stream: &str,
        id: &str,
    ) -> Result<Option<Subscriber>, StoreError> {
        let (app, stream, id) = (app.clone(), stream.to_owned(), id.to_owned());
        self.read(move |db| find(db, &app, &stream, &id)).await
    }

    /// Forgets a subscriber and its block. False when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_subscriber(
        &self,
        app: &AppName,
        stream: &str,
        id: &str,
    ) -> Result<bool, StoreError> {
        let (app, stream, id) = (app.clone(), stream.to_owned(), id.to_owned());
        self.write(move |db| {
            let gone = db
                .prepare_cached(
                    "DELETE FROM subscribers WHERE app = ?1 AND stream = ?2 AND id = ?3",
                )?
                .execute(params![app, stream, id])?;
            unblock(db, &app, &stream, &id)?;
            Ok(gone > 0)
        })
        .await
    }

    /// Forgets every subscriber of a broadcast and their blocks; how many there were.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_subscribers(
        &self,
        app: &AppName,
        stream: &str,
    ) -> Result<usize, StoreError> {
        let (app, stream) = (app.clone(), stream.to_owned());
        self.write(move |db| {
            db.prepare_cached("DELETE FROM blocks WHERE app = ?1 AND stream = ?2")?
                .execute(params![app, stream])?;
            let gone = db
                .prepare_cached("DELETE FROM subscribers WHERE app = ?1 AND stream = ?2")?
                .execute(params![app, stream])?;
            Ok(gone)
        })
        .await
    }

    /// At most `size` subscribers of a broadcast, the first `offset` left out, by id, without
    /// their secrets; each with its block.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_subscribers(
        &self,
        app: &AppName,
        stream: &str,
        offset: usize,
        size: usize,
    ) -> Result<Vec<(Subscriber, Option<Block>)>, StoreError> {
        let (app, stream) = (app.clone(), stream.to_owned());
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT s.stream, s.id, s.name, NULL, s.kind, s.connections_limit, s.period_s,
                        b.kind, b.until_ms
                 FROM subscribers s LEFT JOIN blocks b
                   ON b.app = s.app AND b.stream = s.stream AND b.subscriber = s.id
                 WHERE s.app = ?1 AND s.stream = ?2 ORDER BY s.id LIMIT ?3 OFFSET ?4",
            )?;
            let values = params![app, stream, whole(size), whole(offset)];
            let rows =
                statement.query_map(values, |row| Ok((subscriber_of(row)?, block_of(row, 7)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Blocks a subscriber, registered or not, until `block.until_unix_ms`; a block that is there
    /// is replaced, and one that has ended at `now_ms` (milliseconds since 1970) is removed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn block_subscriber(
        &self,
        app: &AppName,
        stream: &str,
        id: &str,
        block: Block,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let (app, stream, id) = (app.clone(), stream.to_owned(), id.to_owned());
        self.write(move |db| {
            db.prepare_cached("DELETE FROM blocks WHERE until_ms <= ?1")?
                .execute([now_ms])?;
            if block.until_unix_ms <= now_ms {
                return unblock(db, &app, &stream, &id);
            }
            db.prepare_cached(
                "INSERT OR REPLACE INTO blocks (app, stream, subscriber, kind, until_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                app,
                stream,
                id,
                block.kind.text(),
                block.until_unix_ms
            ])?;
            Ok(())
        })
        .await
    }

    /// The block of a subscriber, which may have ended; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn block(
        &self,
        app: &AppName,
        stream: &str,
        id: &str,
    ) -> Result<Option<Block>, StoreError> {
        let (app, stream, id) = (app.clone(), stream.to_owned(), id.to_owned());
        self.read(move |db| find_block(db, &app, &stream, &id))
            .await
    }
}

/// The subscriber of this id, its secret included.
pub(super) fn find(
    db: &Connection,
    app: &AppName,
    stream: &str,
    id: &str,
) -> Result<Option<Subscriber>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT stream, id, name, b32_secret, kind, connections_limit, period_s
             FROM subscribers WHERE app = ?1 AND stream = ?2 AND id = ?3",
        )?
        .query_row(params![app, stream, id], subscriber_of)
        .optional()?;
    Ok(found)
}

/// The block of a subscriber, which may have ended.
pub(super) fn find_block(
    db: &Connection,
    app: &AppName,
    stream: &str,
    id: &str,
) -> Result<Option<Block>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT kind, until_ms FROM blocks
             WHERE app = ?1 AND stream = ?2 AND subscriber = ?3",
        )?
        .query_row(params![app, stream, id], |row| block_of(row, 0))
        .optional()?;
    Ok(found.flatten())
}

fn unblock(db: &Connection, app: &AppName, stream: &str, id: &str) -> Result<(), Fault> {
    db.prepare_cached("DELETE FROM blocks WHERE app = ?1 AND stream = ?2 AND subscriber = ?3")?
        .execute(params![app, stream, id])?;
    Ok(())
}

fn subscriber_of(row: &Row<'_>) -> rusqlite::Result<Subscriber> {
    let kind: String = row.get(4)?;
    let period: Option<i64> = row.get(6)?;
    Ok(Subscriber {
        stream_id: row.get(0)?,
        subscriber_id: row.get(1)?,
        subscriber_name: row.get(2)?,
        b32_secret: row.get(3)?,
        kind: AccessKind::parse(&kind).unwrap_or(AccessKind::Play),
        concurrent_connections_limit: row.get(5)?,
        totp_expiry_period_seconds: period.and_then(|period| u64::try_from(period).ok()),
    })
}

/// The block in the columns from `at` on; `None` when they are null.
fn block_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Block>> {
    let kind: Option<String> = row.get(at)?;
    let until: Option<i64> = row.get(at + 1)?;
    Ok(kind
        .and_then(|kind| BlockKind::parse(&kind))
        .zip(until)
        .map(|(kind, until_unix_ms)| Block {
            kind,
            until_unix_ms,
        }))
}
