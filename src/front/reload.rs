//! The settings file while the server runs: what is in `[app.NAME]` tables is applied when the file
//! changes; for the rest it is said that it waits for a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::overrides::FileChange;
use super::shared::Shared;
use crate::config::{self, Flags};
use crate::model::mail::AppName;
use crate::model::settings::{AppSettings, BadSetting, Unusable};

/// The file as it was read last.
#[derive(Debug)]
pub struct Reload {
    flags: Flags,
    cores: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The file that was read, or found missing, last.
    looked_at: Option<Stamp>,
    /// The file at the last look.
    seen: Option<Stamp>,
    /// What is in force comes from a file that had something in it.
    from_file: bool,
    /// What is outside of applications, as it was at the start.
    started_with: BTreeMap<String, String>,
    apps: BTreeMap<AppName, Arc<AppSettings>>,
    /// What was applied without being asked for, since somebody asked last.
    untold: BTreeSet<String>,
}

/// What tells one version of a file from another without reading it.
type Stamp = (SystemTime, u64);

/// What came of reading the file again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Applications whose settings were changed.
    pub applied: Vec<String>,
    /// Keys that wait for a restart.
    pub waiting: Vec<String>,
}

impl Reload {
    /// Of the file that `flags` name, with what the server was started with. `cores` stands for
    /// `workers = 0`.
    pub fn new(flags: Flags, cores: usize, apps: BTreeMap<AppName, Arc<AppSettings>>) -> Self {
        let at_start = stamp(&flags);
        let state = State {
            looked_at: at_start,
            seen: at_start,
            from_file: has_text(at_start),
            // It could be read a moment ago.
            started_with: config::written(&flags).unwrap_or_default(),
            apps,
            untold: BTreeSet::new(),
        };
        Self {
            flags,
            cores,
            state: Mutex::new(state),
        }
    }

    /// Reads the file if it was changed since the last time and was the same at two looks, for an
    /// editor may be in the midst of it; tells the log what came of it. Waits as long as the disk
    /// takes.
    pub async fn look(&self, shared: &Shared) {
        let mut state = self.state.lock().await;
        let now = self.stamp().await;
        if now == state.looked_at || now != std::mem::replace(&mut state.seen, now) {
            return;
        }
        let read = self.read(shared, &mut state, now).await;
        state.looked_at = now;
        match read {
            Ok(Reloaded { applied, waiting }) => {
                state.untold.extend(applied.iter().cloned());
                let (applied, waiting) = (applied.join(", "), waiting.join(", "));
                tracing::info!(
                    applied,
                    needs_restart = waiting,
                    "the settings file was read again"
                );
            }
            Err(error) => tracing::error!("the settings file was changed and is not used: {error}"),
        }
    }

    /// Reads the file now; what was applied since the last such call is told too, for the file may
    /// have been looked at between the writing and the asking.
    ///
    /// # Errors
    /// What is wrong with the file, in words, or that it cannot be read within ten seconds;
    /// nothing was changed then.
    pub async fn now(&self, shared: &Shared) -> Result<Reloaded, String> {
        let reloaded = timeout(DISK_TIME, self.read_now(shared)).await;
        reloaded.unwrap_or_else(|_| Err(TOO_SLOW.to_owned()))
    }

    async fn read_now(&self, shared: &Shared) -> Result<Reloaded, String> {
        let mut state = self.state.lock().await;
        let stamp = self.stamp().await;
        let read = self.read(shared, &mut state, stamp).await;
        // Not before: what was given up is looked at again.
        state.looked_at = stamp;
        let mut reloaded = read?;
        let mut applied = std::mem::take(&mut state.untold);
        applied.extend(reloaded.applied);
        reloaded.applied = applied.into_iter().collect();
        Ok(reloaded)
    }

    /// A look at the disk, which others do not wait for.
    async fn stamp(&self) -> Option<Stamp> {
        let flags = self.flags.clone();
        spawn_blocking(move || stamp(&flags)).await.ok().flatten()
    }

    /// INVARIANT: given up while it waits, it has changed nothing.
    async fn read(
        &self,
        shared: &Shared,
        state: &mut State,
        stamp: Option<Stamp>,
    ) -> Result<Reloaded, String> {
        let has_text = has_text(stamp);
        if state.from_file && !has_text {
            // By default every check is off: nobody means that by moving a file, or by a full disk.
            return Err("it is gone or empty; what it said stays until a restart".to_owned());
        }
        let (flags, cores) = (self.flags.clone(), self.cores);
        let read = move || Ok((config::load(&flags, cores)?, config::written(&flags)?));
        let (config, written) = match spawn_blocking(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Err(config::StartError::to_string(&error)),
            Err(gone) => return Err(gone.to_string()),
        };
        let mut reloaded = Reloaded {
            waiting: differences(&state.started_with, &written),
            ..Reloaded::default()
        };
        let names: BTreeSet<_> = config
            .apps
            .keys()
            .chain(state.apps.keys())
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for name in &names {
            match (state.apps.get(name), config.apps.get(name)) {
                (Some(old), Some(new)) if old != new => {
                    reloaded.applied.push(name.to_string());
                    changes.push(FileChange {
                        app: name,
                        old,
                        new,
                    });
                }
                (Some(_), Some(_)) => {}
                // It comes, or goes, with the next start.
                (None, _) | (_, None) => reloaded.waiting.push(format!("app.{name}")),
            }
        }
        let rebased = shared.overrides().rebase(shared, &changes).await;
        rebased.map_err(|(app, Unusable { name, fault })| {
            let BadSetting { name: of, message } = fault;
            format!("app.{app}: {name} was set by REST, and then {of} {message}")
        })?;
        for name in names {
            if let (Some(settings), Some(new)) = (state.apps.get_mut(&name), config.apps.get(&name))
            {
                settings.clone_from(new);
            }
        }
        state.from_file = has_text;
        Ok(reloaded)
    }
}

/// Keys whose values differ, or that only one of the two has.
fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key));
    differ.cloned().collect()
}

fn stamp(flags: &Flags) -> Option<Stamp> {
    let path = flags
        .config
        .as_deref()
        .unwrap_or(Path::new(config::DEFAULT_FILE));
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

fn has_text(stamp: Option<Stamp>) -> bool {
    stamp.is_some_and(|(_, len)| len > 0)
}

/// How long somebody who asks waits for the disk.
const DISK_TIME: Duration = Duration::from_secs(10);

const TOO_SLOW: &str = "the disk does not answer; what the file says is applied when it does";

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::process::Command;

    use tokio::time::advance;

    use super::*;

    /// Once somebody reads it; who reads it waits until this is dropped.
    async fn write_to(pipe: &Path) -> File {
        let pipe = pipe.to_owned();
        let open = spawn_blocking(move || OpenOptions::new().write(true).open(pipe));
        open.await.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_is_waited_for_no_longer_than_that() {
        let name = format!("leafcutter-reload-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let flags = Flags {
            config: Some(path.clone()),
            ..Flags::default()
        };
        let reload = Reload::new(flags, 1, BTreeMap::new());
        let shared = Shared::alone(BTreeMap::new());
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let wait = async {
            let read = write_to(&path).await;
            advance(DISK_TIME).await;
            read
        };
        let (first, second, read) = tokio::join!(reload.now(&shared), reload.now(&shared), wait);
        assert_eq!(first, Err(TOO_SLOW.to_owned()));
        assert_eq!(second, first);
        assert_eq!(
            reload.state.lock().await.looked_at,
            None,
            "it is looked at again"
        );
        drop(read);
        // It is read twice: what it means, and what is written in it.
        drop(write_to(&path).await);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "[limits]\nmax_sockets = 7\n").unwrap();
        let reloaded = reload.now(&shared).await.unwrap();
        assert!(reloaded.waiting.contains(&"limits.max_sockets".to_owned()));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn keys_that_differ_are_named() {
        let of = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect::<BTreeMap<_, _>>()
        };
        let old = of(&[
            ("media.port", "1"),
            ("server.listen", "a"),
            ("server.workers", "2"),
        ]);
        let new = of(&[
            ("media.port", "1"),
            ("server.listen", "b"),
            ("server.data_dir", "d"),
        ]);
        let expected = ["server.data_dir", "server.listen", "server.workers"];
        assert_eq!(differences(&old, &new), expected);
    }
}
