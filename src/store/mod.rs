//! F3: the database, `leafcutter.db` in the data directory: what outlives the process.
//!
//! SQLite in WAL mode with `synchronous = FULL` on a thread of its own (`thread.rs`). [`Store`] is
//! the handle: each method sends one job and waits for its answer. What was written is answered
//! after it is on disk, so nothing acknowledged is lost to `kill -9` or a power cut; jobs that
//! wait together share one transaction, so that many writers are fast.
//!
//! A file that cannot be used (damaged, locked, unwritable, full disk) ends nothing: every method
//! answers [`StoreError::Unavailable`] until [`Store::tick`] has opened it again.
//!
//! Asked by the control plane only; a worker never touches it.

mod admission;
mod broadcasts;
mod error;
mod events;
mod notes;
mod open;
mod schema;
mod settings;
mod subscribers;
mod thread;
mod tokens;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use admission::{AdmissionFacts, AdmissionQuery};
pub use broadcasts::{BroadcastQuery, SortBy};
pub use error::StoreError;
pub use notes::Note;

use crate::base::histogram::Durations;
use crate::base::limits::MAX_STORE_JOBS;
use thread::{Access, Job, Message, Ran};

/// A handle to the database. Cheap to clone; the thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Message>,
    is_up: Arc<AtomicBool>,
    clock: fn() -> Instant,
    latency: Arc<Mutex<Durations>>,
}

impl Store {
    /// Starts the thread, which opens `leafcutter.db` in `data_dir` and makes both when they are
    /// missing. A file that cannot be used is no error here: see the head of the module. `clock`
    /// times the answers.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread.
    pub fn start(data_dir: &Path, clock: fn() -> Instant) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(MAX_STORE_JOBS);
        let is_up = Arc::new(AtomicBool::new(false));
        let path = data_dir.join(FILE_NAME);
        let seen = is_up.clone();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || thread::run(path, queue, &seen))?;
        Ok(Self {
            jobs,
            is_up,
            clock,
            latency: Arc::default(),
        })
    }

    /// One whose disk never answers.
    #[cfg(test)]
    pub fn standing_still(clock: fn() -> Instant) -> Self {
        let (jobs, queue) = mpsc::channel(MAX_STORE_JOBS);
        // Kept: that it is gone would be an answer.
        std::mem::forget(queue);
        Self {
            jobs,
            is_up: Arc::default(),
            clock,
            latency: Arc::default(),
        }
    }

    /// Opens a file that could not be used again, when it can be. To be called about once a
    /// second: the thread reads no clock.
    pub fn tick(&self) {
        // A full queue means that the thread is busy, and so that the file is open.
        let _ = self.jobs.try_send(Message::Tick);
    }

    /// Closes the file, by which all of it is in `leafcutter.db` itself: whoever copies that alone
    /// has everything. Returns when it is done; from then on everything is
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Whether the file could be used when it was last tried.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How long answers took, since the start: waiting, work and the commit.
    pub fn latency(&self) -> Durations {
        *self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up.
    async fn read<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, error::Fault> + Send + 'static,
    {
        self.ask(Access::Read, work).await
    }

    /// Changes something, all of it or nothing; answered when it is on disk.
    async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, error::Fault> + Send + 'static,
    {
        self.ask(Access::Write, work).await
    }

    async fn ask<T, W>(&self, access: Access, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, error::Fault> + Send + 'static,
    {
        let began = (self.clock)();
        let (reply, answer) = oneshot::channel();
        let run = move |db: Option<&Connection>| {
            let result = db.map_or(Err(error::Fault::closed()), work);
            let fault = result.as_ref().err().cloned();
            let result = result.map_err(|fault| fault.error());
            // Whoever asked may have gone; the work is done all the same.
            let settle = move |committed: Result<(), StoreError>| {
                let _ = reply.send(committed.and(result));
            };
            Ran {
                fault,
                settle: Box::new(settle),
            }
        };
        let job = Job {
            access,
            run: Box::new(run),
        };
        self.jobs
            .send(Message::Job(job))
            .await
            .map_err(|_| StoreError::Unavailable)?;
        let answer = answer.await.unwrap_or(Err(StoreError::Unavailable));
        let took = (self.clock)().saturating_duration_since(began);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.add(took, 1);
        answer
    }
}

/// The database's name within the data directory.
pub const FILE_NAME: &str = "leafcutter.db";

#[cfg(test)]
mod tests;
