//! Registered broadcasts and rooms.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::Store;
use super::error::{Fault, StoreError};
use crate::model::broadcast::{BroadcastPatch, BroadcastRecord, BroadcastStatus};
use crate::model::mail::AppName;

/// Which broadcasts of an application, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BroadcastQuery {
    /// Id or name holds this text, compared without the case of ASCII letters; empty: all.
    pub search: String,
    /// Only this `type`.
    pub kind: Option<String>,
    /// Only this status.
    pub status: Option<BroadcastStatus>,
    /// Only subtracks of this room.
    pub main_track: Option<String>,
    /// Only this role.
    pub role: Option<String>,
    /// What they are sorted by.
    pub sort_by: SortBy,
    /// The last first.
    pub descending: bool,
}

/// What broadcasts are sorted by; among equals by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Id.
    #[default]
    Id,
    /// Display name.
    Name,
    /// When it was registered.
    Date,
    /// The word of its status.
    Status,
}

impl Store {
    /// Registers a broadcast; its `stream_id` must be set.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is registered.
    pub async fn create_broadcast(
        &self,
        app: &AppName,
        record: BroadcastRecord,
    ) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |db| {
            let json = serde_json::to_string(&record)?;
            db.prepare_cached("INSERT INTO broadcasts (app, id, record) VALUES (?1, ?2, ?3)")?
                .execute(params![app, record.stream_id, json])?;
            Ok(())
        })
        .await
    }

    /// One broadcast; `None` when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn broadcast(
        &self,
        app: &AppName,
        id: &str,
    ) -> Result<Option<BroadcastRecord>, StoreError> {
        let (app, id) = (app.clone(), id.to_owned());
        self.read(move |db| find(db, &app, &id)).await
    }

    /// Lays `patch` over a broadcast. False when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn update_broadcast(
        &self,
        app: &AppName,
        id: &str,
        patch: BroadcastPatch,
    ) -> Result<bool, StoreError> {
        let (app, id) = (app.clone(), id.to_owned());
        self.write(move |db| {
            let Some(record) = find(db, &app, &id)? else {
                return Ok(false);
            };
            save(db, &app, &patch.apply(&record))?;
            Ok(true)
        })
        .await
    }

    /// Notes how far a broadcast is at `unix_ms`, milliseconds since 1970, with the start of its
    /// time on air or the length of it. False, and nothing is written, when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn set_broadcast_status(
        &self,
        app: &AppName,
        id: &str,
        status: BroadcastStatus,
        unix_ms: i64,
    ) -> Result<bool, StoreError> {
        let (app, id) = (app.clone(), id.to_owned());
        self.write(move |db| set_status(db, &app, &id, status, unix_ms))
            .await
    }

    /// Adds `subtrack` to the registered subtracks of `main`, or takes it out with `is_in` false,
    /// on both records. False when either is not registered.
    ///
    /// # Errors
    /// [`StoreError::Full`] when `main` holds as many as its `subtracksLimit`.
    pub async fn set_subtrack(
        &self,
        app: &AppName,
        main: &str,
        subtrack: &str,
        is_in: bool,
    ) -> Result<bool, StoreError> {
        let (app, main, subtrack) = (app.clone(), main.to_owned(), subtrack.to_owned());
        self.write(move |db| set_subtrack(db, &app, &main, &subtrack, is_in))
            .await
    }

    /// Forgets a broadcast, also as a subtrack of its main track. False when it is not registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_broadcast(&self, app: &AppName, id: &str) -> Result<bool, StoreError> {
        let (app, id) = (app.clone(), id.to_owned());
        self.write(move |db| {
            let main = find(db, &app, &id)?.and_then(|record| record.main_track_stream_id);
            if let Some(main) = main {
                set_subtrack(db, &app, &main, &id, false)?;
            }
            let gone = db
                .prepare_cached("DELETE FROM broadcasts WHERE app = ?1 AND id = ?2")?
                .execute(params![app, id])?;
            Ok(gone > 0)
        })
        .await
    }

    /// At most `size` of the broadcasts that `query` describes, the first `offset` left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_broadcasts(
        &self,
        app: &AppName,
        query: BroadcastQuery,
        offset: usize,
        size: usize,
    ) -> Result<Vec<BroadcastRecord>, StoreError> {
        let app = app.clone();
        self.read(move |db| {
            let (filter, mut values) = query.filter(&app);
            let order = query.order();
            values.extend([whole(size), whole(offset)]);
            let sql =
                format!("SELECT record FROM broadcasts WHERE {filter} {order} LIMIT ? OFFSET ?");
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
            rows.map(|json: rusqlite::Result<String>| Ok(serde_json::from_str(&json?)?))
                .collect()
        })
        .await
    }

    /// The records of those of `ids` that are registered, in no order.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn broadcasts(
        &self,
        app: &AppName,
        ids: &[String],
    ) -> Result<Vec<BroadcastRecord>, StoreError> {
        let (app, ids) = (app.clone(), ids.to_vec());
        self.read(move |db| {
            let ids = serde_json::to_string(&ids)?;
            let mut statement = db.prepare_cached(
                "SELECT record FROM broadcasts
                 WHERE app = ?1 AND id IN (SELECT value FROM json_each(?2))",
            )?;
            let rows = statement.query_map(params![app, ids], |row| row.get(0))?;
            rows.map(|json: rusqlite::Result<String>| Ok(serde_json::from_str(&json?)?))
                .collect()
        })
        .await
    }

    /// Those of `ids` that are registered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn registered(
        &self,
        app: &AppName,
        ids: Vec<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let app = app.clone();
        self.read(move |db| {
            let ids = serde_json::to_string(&ids)?;
            let mut statement = db.prepare_cached(
                "SELECT id FROM broadcasts
                 WHERE app = ?1 AND id IN (SELECT value FROM json_each(?2))",
            )?;
            let rows = statement.query_map(params![app, ids], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many broadcasts `query` describes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_broadcasts(
        &self,
        app: &AppName,
        query: BroadcastQuery,
    ) -> Result<u64, StoreError> {
        let app = app.clone();
        self.read(move |db| {
            let (filter, values) = query.filter(&app);
            let sql = format!("SELECT count(*) FROM broadcasts WHERE {filter}");
            let count: i64 = db
                .prepare_cached(&sql)?
                .query_row(params_from_iter(values), |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
        .await
    }
}

impl BroadcastQuery {
    /// The condition and its values.
    fn filter(&self, app: &AppName) -> (String, Vec<Value>) {
        let mut filter = "app = ?".to_owned();
        let mut values = vec![Value::Text(app.to_string())];
        let equal = [
            ("kind", self.kind.clone()),
            ("status", self.status.map(|status| status.text().to_owned())),
            ("main_track", self.main_track.clone()),
            ("role", self.role.clone()),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                filter.push_str(&format!(" AND {column} = ?"));
                values.push(Value::Text(value));
            }
        }
        if !self.search.is_empty() {
            filter.push_str(" AND (instr(lower(id), ?) OR instr(lower(name), ?))");
            // As SQLite's lower(): only these letters.
            let text = Value::Text(self.search.to_ascii_lowercase());
            values.extend([text.clone(), text]);
        }
        (filter, values)
    }

    fn order(&self) -> String {
        let way = if self.descending { "DESC" } else { "ASC" };
        let column = match self.sort_by {
            SortBy::Id => return format!("ORDER BY id {way}"),
            SortBy::Name => "name",
            SortBy::Date => "date",
            SortBy::Status => "status",
        };
        format!("ORDER BY {column} {way}, id {way}")
    }
}

/// The record of `id`; `None` when it is not registered.
pub(super) fn find(
    db: &Connection,
    app: &AppName,
    id: &str,
) -> Result<Option<BroadcastRecord>, Fault> {
    let json: Option<String> = db
        .prepare_cached("SELECT record FROM broadcasts WHERE app = ?1 AND id = ?2")?
        .query_row(params![app, id], |row| row.get(0))
        .optional()?;
    Ok(json.map(|json| serde_json::from_str(&json)).transpose()?)
}

/// Whatever was on air when the process ended is so no longer.
pub(super) fn mark_interrupted(db: &Connection) -> Result<(), Fault> {
    db.execute(
        "UPDATE broadcasts SET record = json_set(record, '$.status', ?1)
         WHERE status IN ('preparing', 'broadcasting')",
        [BroadcastStatus::TerminatedUnexpectedly.text()],
    )?;
    Ok(())
}

/// Notes how far a broadcast is; false when it is not registered.
pub(super) fn set_status(
    db: &Connection,
    app: &AppName,
    id: &str,
    status: BroadcastStatus,
    unix_ms: i64,
) -> Result<bool, Fault> {
    let Some(mut record) = find(db, app, id)? else {
        return Ok(false);
    };
    if status == BroadcastStatus::Broadcasting {
        record.start_time = unix_ms;
        record.absolute_start_time_ms = unix_ms;
        record.publish_type = Some("WebRTC".to_owned());
    } else if record.status == BroadcastStatus::Broadcasting {
        record.duration = (unix_ms - record.start_time).max(0);
    }
    record.status = status;
    record.update_time = unix_ms;
    save(db, app, &record)?;
    Ok(true)
}

fn save(db: &Connection, app: &AppName, record: &BroadcastRecord) -> Result<(), Fault> {
    let json = serde_json::to_string(record)?;
    db.prepare_cached("UPDATE broadcasts SET record = ?3 WHERE app = ?1 AND id = ?2")?
        .execute(params![app, record.stream_id, json])?;
    Ok(())
}

fn set_subtrack(
    db: &Connection,
    app: &AppName,
    main: &str,
    subtrack: &str,
    is_in: bool,
) -> Result<bool, Fault> {
    let (Some(mut main), Some(mut sub)) = (find(db, app, main)?, find(db, app, subtrack)?) else {
        return Ok(false);
    };
    let ids = &mut main.sub_track_stream_ids;
    ids.retain(|id| id != subtrack);
    if is_in {
        let is_full = usize::try_from(main.subtracks_limit).is_ok_and(|limit| ids.len() >= limit);
        if is_full {
            return Err(StoreError::Full.into());
        }
        ids.push(subtrack.to_owned());
        main.is_virtual = true;
        let former = sub.main_track_stream_id.replace(main.stream_id.clone());
        if let Some(former) = former.filter(|id| *id != main.stream_id) {
            set_subtrack(db, app, &former, subtrack, false)?;
        }
    } else if sub.main_track_stream_id.as_deref() == Some(&main.stream_id) {
        sub.main_track_stream_id = None;
    }
    save(db, app, &main)?;
    save(db, app, &sub)?;
    Ok(true)
}

/// A count as SQLite wants it.
pub(super) fn whole(count: usize) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}
