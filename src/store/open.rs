//! Opens the file, checks it, and brings it to today's schema.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::Fault;
use super::{broadcasts, schema};

/// An open database.
pub(super) struct Opened {
    pub db: Connection,
    /// Device and inode of the file that was opened.
    identity: Option<(u64, u64)>,
}

impl Opened {
    /// Whether `path` still names the file that was opened.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        identity_of(path) == self.identity
    }
}

/// Opens or makes the file at `path`. With `is_first`, for the first time in this process:
/// whatever was on air when the last one ended is marked so.
///
/// # Errors
/// Why not, for the operator.
pub(super) fn open(path: &Path, is_first: bool) -> Result<Opened, String> {
    make_file(path)?;
    prepare(path, is_first).map_err(|fault| {
        let cause = fault.cause().unwrap_or("it holds what cannot be");
        cause.to_owned()
    })
}

/// Makes an empty file that only the server's user can read: it holds the subscribers' secrets.
/// SQLite gives its own files beside it the same mode.
fn make_file(path: &Path) -> Result<(), String> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|e| format!("the directory cannot be made: {e}"))?;
    }
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|e| format!("it cannot be opened: {e}"))
}

fn prepare(path: &Path, is_first: bool) -> Result<Opened, Fault> {
    let identity = identity_of(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIME)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let check: String = db.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if check != "ok" {
        return Err(Fault::Database(format!("it is damaged: {check}")));
    }
    schema::migrate(&mut db)?;
    if is_first {
        broadcasts::mark_interrupted(&db)?;
    }
    Ok(Opened { db, identity })
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

/// How long another process may hold the file before that counts as an outage.
const BUSY_TIME: Duration = Duration::from_secs(1);

/// More than there are different statements.
const STATEMENTS: usize = 64;
