//! Settings: flags over environment over `leafcutter.toml` over defaults, checked once at start.
//!
//! `flags.rs` is the command line, `raw.rs` the file as written, `checked.rs` what the program
//! runs on: units, defaults and cross-checks. `leafcutter.example.toml` is the manual; a test
//! holds it equal to the defaults. Called by `main.rs` only.

mod checked;
mod error;
mod flags;
mod raw;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;

pub use checked::{Config, Limits, Media, Server, Tls, TlsCertificate};
pub use error::StartError;
pub use flags::{Flags, LogFormat};
pub use raw::DEFAULT_FILE;
pub use tls::Acme;

/// What the file that `flags` name says outside of applications, as it is written:
/// `server.listen` and so on.
///
/// # Errors
/// As [`load`].
pub fn written(flags: &Flags) -> Result<BTreeMap<String, String>, StartError> {
    Ok(raw::RawFile::load(flags.config.as_deref())?.written)
}

/// Reads the file that `flags` name and puts the flags above it. Without a named file,
/// `./leafcutter.toml` is read if it exists. `cores` stands for `workers = 0`.
///
/// # Errors
/// File, line and key of the first thing that is wrong.
pub fn load(flags: &Flags, cores: usize) -> Result<Config, StartError> {
    let file = raw::RawFile::load(flags.config.as_deref())?;
    Config::check(file, flags, cores)
}

/// The same for the text of a file whose name is `path`, without flags.
///
/// # Errors
/// File, line and key of the first thing that is wrong.
pub fn read(text: &str, path: &Path, cores: usize) -> Result<Config, StartError> {
    let file = raw::RawFile::parse(text, path)?;
    Config::check(file, &Flags::default(), cores)
}
