//! The tables, version by version. A file of an older version is brought to today's in one
//! transaction; one of a newer version is left alone.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::error::Fault;

/// What leads from one version to the next; version 0 is an empty file.
const STEPS: [&str; 2] = [STEP_1, STEP_2];

/// Broadcasts are kept as JSON; what is searched for is a generated column of it, so that there is
/// one truth.
const STEP_1: &str = "
CREATE TABLE broadcasts (
    app TEXT NOT NULL,
    id TEXT NOT NULL,
    record TEXT NOT NULL,
    name TEXT AS (json_extract(record, '$.name')),
    status TEXT AS (json_extract(record, '$.status')),
    date INTEGER AS (json_extract(record, '$.date')),
    kind TEXT AS (json_extract(record, '$.type')),
    role TEXT AS (json_extract(record, '$.role')),
    main_track TEXT AS (json_extract(record, '$.mainTrackStreamId')),
    PRIMARY KEY (app, id)
) WITHOUT ROWID;
CREATE INDEX broadcasts_by_main_track ON broadcasts (app, main_track);
CREATE INDEX broadcasts_by_status ON broadcasts (app, status);

CREATE TABLE tokens (
    app TEXT NOT NULL,
    hash BLOB NOT NULL,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    expire_s INTEGER NOT NULL,
    room TEXT,
    PRIMARY KEY (app, hash)
) WITHOUT ROWID;
CREATE INDEX tokens_by_stream ON tokens (app, stream);
CREATE INDEX tokens_by_expiry ON tokens (expire_s);

CREATE TABLE subscribers (
    app TEXT NOT NULL,
    stream TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    b32_secret TEXT,
    kind TEXT NOT NULL,
    connections_limit INTEGER NOT NULL,
    period_s INTEGER,
    PRIMARY KEY (app, stream, id)
) WITHOUT ROWID;

CREATE TABLE settings (
    app TEXT NOT NULL PRIMARY KEY,
    overrides TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    serial INTEGER PRIMARY KEY,
    app TEXT NOT NULL,
    stream TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    unix_ms INTEGER NOT NULL
);
CREATE INDEX events_by_stream ON events (app, stream, serial);
";

/// Blocks stand apart from subscribers: somebody who was never registered can be blocked too.
const STEP_2: &str = "
CREATE TABLE blocks (
    app TEXT NOT NULL,
    stream TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    kind TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (app, stream, subscriber)
) WITHOUT ROWID;
";

/// Brings the database to today's version.
///
/// # Errors
/// The database's, or that it is of a newer version.
pub(super) fn migrate(db: &mut Connection) -> Result<(), Fault> {
    // Immediate: shows at once that the file can be written.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema (one INTEGER PRIMARY KEY CHECK (one = 1),
         version INTEGER NOT NULL)",
    )?;
    let found: Option<i64> = transaction
        .query_row("SELECT version FROM schema", (), |row| row.get(0))
        .optional()?;
    let found = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
    if found > STEPS.len() {
        let message = format!(
            "it has version {found}, this server knows up to {}",
            STEPS.len()
        );
        return Err(Fault::Database(message));
    }
    for step in STEPS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    if found < STEPS.len() {
        transaction.execute(
            "INSERT OR REPLACE INTO schema (one, version) VALUES (1, ?1)",
            [STEPS.len() as i64],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file as the first version made it.
    pub(in crate::store) fn make_version_1(db: &Connection) {
        db.execute_batch(
            "CREATE TABLE schema (one INTEGER PRIMARY KEY CHECK (one = 1),
             version INTEGER NOT NULL); INSERT INTO schema VALUES (1, 1);",
        )
        .unwrap();
        db.execute_batch(STEP_1).unwrap();
    }

    fn version(db: &Connection) -> i64 {
        db.query_row("SELECT version FROM schema", (), |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn an_empty_file_gets_todays_version_and_migrating_again_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        migrate(&mut db).unwrap();
        assert_eq!(version(&db), STEPS.len() as i64);
    }

    #[test]
    fn a_file_of_version_1_is_migrated_with_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        make_version_1(&db);
        db.execute_batch("INSERT INTO settings VALUES ('live', '{}')")
            .unwrap();
        migrate(&mut db).unwrap();
        assert_eq!(version(&db), 2);
        let rows: i64 = db
            .query_row(
                "SELECT (SELECT count(*) FROM settings) + (SELECT count(*) FROM blocks)",
                (),
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db.execute_batch("UPDATE schema SET version = 99").unwrap();
        let fault = migrate(&mut db).unwrap_err();
        let cause = fault.cause().unwrap();
        assert_eq!(cause, "it has version 99, this server knows up to 2");
    }
}
