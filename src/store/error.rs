//! Why a job was not done: what its caller is told, and what the thread makes of it.

use rusqlite::ErrorCode;

/// Why the store did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The file cannot be used at the moment.
    Unavailable,
    /// Something of this id is there already.
    Exists,
    /// The application holds as many as it may.
    Full,
}

/// What went wrong inside a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The job's own: the database is well.
    Job(StoreError),
    /// The database's; the text says what it reported.
    Database(String),
    /// Another process holds the file.
    Locked(String),
    /// There is no database.
    Closed,
}

impl Fault {
    pub(super) const fn closed() -> Self {
        Self::Closed
    }

    /// What the caller is told.
    pub(super) const fn error(&self) -> StoreError {
        match self {
            Self::Job(error) => *error,
            Self::Database(_) | Self::Locked(_) | Self::Closed => StoreError::Unavailable,
        }
    }

    /// What the operator is told; `None` when the database is well.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            Self::Database(cause) | Self::Locked(cause) => Some(cause),
            Self::Closed => Some("it is closed"),
            Self::Job(_) => None,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Job(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Job(StoreError::Exists),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Locked("another process holds it locked".to_owned())
            }
            Some(_) | None => Self::Database(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Database(format!("it holds a record that cannot be read: {error}"))
    }
}
