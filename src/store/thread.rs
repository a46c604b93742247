//! The store's thread: takes jobs in batches, runs each batch in one transaction, and answers
//! after the commit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::error::{Fault, StoreError};
use super::open::{self, Opened};

/// What the thread is sent.
pub(super) enum Message {
    /// Work with the database.
    Job(Job),
    /// Time has passed: look whether the file is well.
    Tick,
    /// Close the file, and end; answered when that is done.
    Close(oneshot::Sender<()>),
}

/// Work with the database, and whether it writes.
pub(super) struct Job {
    pub access: Access,
    /// Runs without a connection when there is none.
    pub run: Work,
}

/// What a job does with the database.
pub(super) type Work = Box<dyn FnOnce(Option<&Connection>) -> Ran + Send>;

/// Answers a job.
pub(super) type Settle = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Whether a job writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A job that was run and is not answered yet.
pub(super) struct Ran {
    /// What went wrong.
    pub fault: Option<Fault>,
    /// Answers it, with the fate of its transaction.
    pub settle: Settle,
}

/// Runs until the last handle has gone, or [`Message::Close`].
pub(super) fn run(path: PathBuf, mut queue: Receiver<Message>, is_up: &AtomicBool) {
    let mut keeper = Keeper {
        path,
        state: State::Fresh,
        was_opened: false,
        is_up,
    };
    keeper.open();
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while let Some(message) = queue.blocking_recv() {
        let (mut ticked, mut closed) = (false, None);
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Job(job) => batch.push(job),
                Message::Tick => ticked = true,
                Message::Close(done) => closed = Some(done),
            }
            next = if batch.len() < MAX_BATCH && closed.is_none() {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if ticked {
            keeper.look();
        }
        keeper.run(&mut batch);
        if let Some(done) = closed {
            drop(keeper);
            let _ = done.send(());
            return;
        }
    }
}

/// The file and what is known of it.
struct Keeper<'a> {
    path: PathBuf,
    state: State,
    /// It could be opened before: what is on air in it is of this process.
    was_opened: bool,
    is_up: &'a AtomicBool,
}

enum State {
    /// Not opened yet.
    Fresh,
    Up(Opened),
    /// Was told to the log.
    Down,
}

impl Keeper<'_> {
    /// Opens a file that is not open, and lets go of one that is no longer at its path.
    fn look(&mut self) {
        match &self.state {
            State::Up(opened) => {
                if !opened.is_at(&self.path) {
                    self.down("it was removed or replaced");
                    self.open();
                }
            }
            State::Fresh | State::Down => self.open(),
        }
    }

    fn open(&mut self) {
        match open::open(&self.path, !self.was_opened) {
            Ok(opened) => {
                if !matches!(self.state, State::Fresh) {
                    tracing::info!(path = %self.path.display(), "the store is available again");
                }
                self.state = State::Up(opened);
                self.was_opened = true;
                self.is_up.store(true, Ordering::Relaxed);
            }
            Err(cause) => self.down(&cause),
        }
    }

    /// Closes the file; one log line per outage.
    fn down(&mut self, cause: &str) {
        if !matches!(self.state, State::Down) {
            tracing::error!(path = %self.path.display(), cause, "the store is not available");
        }
        self.state = State::Down;
        self.is_up.store(false, Ordering::Relaxed);
    }

    /// Runs and answers everything in `batch`, and empties it.
    fn run(&mut self, batch: &mut Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let State::Up(opened) = &self.state else {
            for job in batch.drain(..) {
                ((job.run)(None).settle)(Err(StoreError::Unavailable));
            }
            return;
        };
        let (ran, fault) = transaction(&opened.db, batch);
        let fate = match &fault {
            None => Ok(()),
            Some(fault) => Err(fault.error()),
        };
        if let Some(cause) = fault.as_ref().and_then(Fault::cause) {
            self.down(cause);
        }
        for job in ran {
            (job.settle)(fate);
        }
    }
}

/// Runs all of `batch` in one transaction. A job that fails by itself leaves no trace; a fault of
/// the database undoes all of them.
fn transaction(db: &Connection, batch: &mut Vec<Job>) -> (Vec<Ran>, Option<Fault>) {
    let writes = batch.iter().any(|job| job.access == Access::Write);
    let mut fault = begin(db, writes).err();
    let mut ran = Vec::with_capacity(batch.len());
    for job in batch.drain(..) {
        if fault.is_some() {
            ran.push((job.run)(None));
            continue;
        }
        match in_savepoint(db, job) {
            Ok(done) => {
                fault = done.fault.clone().filter(|fault| fault.cause().is_some());
                ran.push(done);
            }
            Err((done, broken)) => {
                fault = Some(broken);
                ran.push(done);
            }
        }
    }
    if fault.is_none() {
        fault = db.execute_batch("COMMIT").map_err(Fault::from).err();
    }
    if fault.is_some() && !db.is_autocommit() {
        // A connection that cannot even undo is closed with the file.
        let _ = db.execute_batch("ROLLBACK");
    }
    (ran, fault)
}

fn begin(db: &Connection, writes: bool) -> Result<(), Fault> {
    let how = if writes { "BEGIN IMMEDIATE" } else { "BEGIN" };
    Ok(db.execute_batch(how)?)
}

/// Runs a job; what it wrote before it failed is undone.
fn in_savepoint(db: &Connection, job: Job) -> Result<Ran, (Ran, Fault)> {
    match job.access {
        Access::Read => Ok((job.run)(Some(db))),
        Access::Write => {
            if let Err(error) = db.execute_batch("SAVEPOINT job") {
                return Err(((job.run)(None), error.into()));
            }
            let ran = (job.run)(Some(db));
            let end = if ran.fault.is_some() {
                "ROLLBACK TO job; RELEASE job"
            } else {
                "RELEASE job"
            };
            match db.execute_batch(end) {
                Ok(()) => Ok(ran),
                Err(error) => Err((ran, error.into())),
            }
        }
    }
}

/// Jobs in one transaction: enough to share the cost of a commit, few enough that the first does
/// not wait long.
const MAX_BATCH: usize = 256;
