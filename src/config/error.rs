//! Why the program does not start: one line for the operator.

use std::fmt;
use std::path::{Path, PathBuf};

/// What keeps the server from starting. `main.rs` prints it and exits with code 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartError {
    /// The file at fault; `None` when it is a flag, the environment or the machine.
    pub path: Option<PathBuf>,
    /// 1-based line in that file; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// The key as written, with its table: `app.live.webRTCViewerLimit`.
    pub key: Option<String>,
    /// What is wrong, without a full stop.
    pub message: String,
}

impl StartError {
    /// An error that belongs to no file.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// The same error at a key.
    #[must_use]
    pub fn at_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same error in a file.
    #[must_use]
    pub fn in_file(mut self, path: &Path, line: Option<usize>) -> Self {
        self.path = Some(path.to_owned());
        self.line = line;
        self
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}", path.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}
