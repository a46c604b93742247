//! Captures of peers' decrypted RTP into pcapng files: refused unless `server.capture_dir` is set,
//! bounded in number, size and time.
//!
//! A worker copies packets into the queue of a [`Tap`]; a task here takes them out and hands them
//! to a thread that may wait for the disk.

mod pcapng;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::shared::Shared;
use crate::base::ids::{PeerId, WorkerId};
use crate::model::capture::{CaptureContent, Tap};
use crate::model::mail::{AppName, WorkerMail};
use crate::model::peers::PeerFigures;
use crate::worker::Mail;

/// Which captures run, and where their files are.
#[derive(Debug, Default)]
pub struct Captures {
    directory: Option<PathBuf>,
    running: Mutex<BTreeMap<Key, Running>>,
}

/// One peer.
type Key = (WorkerId, PeerId);

/// One capture.
#[derive(Debug)]
struct Running {
    /// The peer's application.
    app: AppName,
    tap: Arc<Tap>,
}

/// What is to be captured, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Headers or all.
    pub content: CaptureContent,
    /// Seconds, 1..=[`MAX_SECONDS`].
    pub seconds: u64,
    /// Bytes of the file, about.
    pub max_len: u64,
}

/// Why there is no capture.
#[derive(Debug)]
pub enum NotCaptured {
    /// The operator has not allowed any.
    Off,
    /// The peer is not connected.
    NotConnected,
    /// One of this peer runs already.
    Running,
    /// As many run as may.
    Full,
    /// The file cannot be made.
    File(io::Error),
}

impl Captures {
    /// Captures into `directory`; `None`: none are allowed.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            running: Mutex::default(),
        }
    }

    /// The file `name` of an application's captures; `None` when there is none.
    pub fn path(&self, app: &AppName, name: &str) -> Option<PathBuf> {
        let is_ours = name.ends_with(SUFFIX)
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        let path = self.directory.as_ref()?.join(&**app).join(name);
        (is_ours && path.is_file()).then_some(path)
    }

    /// Ends the capture of a peer of `app`; false when there is none.
    pub fn stop(&self, app: &AppName, worker: WorkerId, peer: PeerId) -> bool {
        let mut running = self.running();
        let key = (worker, peer);
        let is_there = running.get(&key).is_some_and(|held| held.app == *app);
        is_there && running.remove(&key).is_some()
    }

    /// A capture is over. True when no other of this peer runs, so that its worker is to be told;
    /// otherwise it is told, or was, of that one.
    fn ended(&self, key: Key, tap: &Arc<Tap>) -> bool {
        let mut running = self.running();
        if running.get(&key).is_some_and(|held| held.is_of(tap)) {
            running.remove(&key);
        }
        !running.contains_key(&key)
    }

    fn holds(&self, key: Key, tap: &Arc<Tap>) -> bool {
        self.running().get(&key).is_some_and(|held| held.is_of(tap))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Key, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn is_of(&self, tap: &Arc<Tap>) -> bool {
        Arc::ptr_eq(&self.tap, tap)
    }
}

/// Begins to capture a peer; the name of the file.
///
/// # Errors
/// See [`NotCaptured`].
pub async fn start(
    shared: &Shared,
    app: &AppName,
    peer: &PeerFigures,
    wish: Wish,
) -> Result<String, NotCaptured> {
    let captures = shared.captures();
    let directory = captures.directory.as_ref().ok_or(NotCaptured::Off)?;
    let pair = peer.pair.ok_or(NotCaptured::NotConnected)?;
    let key = (peer.conn.worker, peer.peer);
    let now = shared.read(|_, now| now);
    let (index, generation) = peer.peer.parts();
    // Two captures of a peer may begin in one second.
    let unix_ms = now.unix_us / 1000;
    let name = format!("{}-{index}-{generation}-{unix_ms}{SUFFIX}", key.0.0);
    let tap = Tap::new(
        wish.content,
        (pair.local, pair.remote),
        peer.is_publisher,
        (now.instant, now.unix_us),
    );
    let tap = Arc::new(tap);
    {
        let mut running = captures.running();
        if running.contains_key(&key) {
            return Err(NotCaptured::Running);
        }
        if running.len() >= MAX_CAPTURES {
            return Err(NotCaptured::Full);
        }
        let (app, tap) = (app.clone(), tap.clone());
        running.insert(key, Running { app, tap });
    }
    let path = directory.join(&**app).join(&name);
    let made = spawn_blocking(move || create(&path)).await;
    let file = match made.unwrap_or_else(|gone| Err(io::Error::other(gone))) {
        Ok(file) => file,
        Err(error) => {
            end(shared, key, &tap);
            return Err(NotCaptured::File(error));
        }
    };
    let mail = WorkerMail::Capture {
        peer: key.1,
        tap: Some(tap.clone()),
    };
    shared.mail_worker(key.0, Mail::Engine(mail));
    tracing::info!(%app, stream = %peer.stream, file = name, "capture started");
    tokio::spawn(write(shared.clone(), key, tap, file, wish));
    Ok(name)
}

/// Takes packets out until the time is over, the file is full, the peer has gone or somebody
/// stops it; then tells the worker.
async fn write(shared: Shared, key: Key, tap: Arc<Tap>, mut file: File, wish: Wish) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = wish.seconds * 1000 / EVERY.as_millis() as u64;
    let mut written: u64 = 0;
    let mut packets: u64 = 0;
    let mut is_well = true;
    while left > 0 && is_well && written < wish.max_len {
        ticks.tick().await;
        left -= 1;
        let is_last = !shared.captures().holds(key, &tap) || is_given_up(&tap, left, wish);
        let mut blocks = Vec::new();
        while let Some(captured) = tap.take() {
            let (local, remote) = tap.pair;
            let way = if tap.is_incoming {
                (remote, local)
            } else {
                (local, remote)
            };
            pcapng::packet(&mut blocks, &captured, way, tap.is_incoming);
            packets += 1;
            if written + blocks.len() as u64 >= wish.max_len {
                break;
            }
        }
        written += blocks.len() as u64;
        let wrote = spawn_blocking(move || (file.write_all(&blocks), file)).await;
        let Ok((result, same)) = wrote else {
            break;
        };
        file = same;
        if let Err(error) = result {
            tracing::error!(%error, "a capture cannot be written");
            is_well = false;
        }
        if is_last {
            break;
        }
    }
    end(&shared, key, &tap);
    tracing::info!(packets, lost = tap.lost(), bytes = written, "capture ended");
}

/// Forgets a capture; its worker lets go of it, unless it was given the next one already.
fn end(shared: &Shared, key: Key, tap: &Arc<Tap>) {
    if shared.captures().ended(key, tap) {
        let (peer, tap) = (key.1, None);
        let mail = WorkerMail::Capture { peer, tap };
        shared.mail_worker(key.0, Mail::Engine(mail));
    }
}

/// True when the worker has let go of it: the peer is over. Not in the first second, in which the
/// worker may not have taken it yet.
fn is_given_up(tap: &Arc<Tap>, left: u64, wish: Wish) -> bool {
    let passed_ms = wish.seconds * 1000 - left * EVERY.as_millis() as u64;
    // Held by the list of those that run and by the task that asks.
    passed_ms > 1000 && Arc::strong_count(tap) <= 2
}

/// Makes the file, which must not be there, for the server's user alone.
fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut blocks = Vec::new();
    pcapng::begin(&mut blocks);
    file.write_all(&blocks)?;
    Ok(file)
}

/// Of all files.
const SUFFIX: &str = ".pcapng";

/// Captures at once: each costs its worker a copy per packet.
const MAX_CAPTURES: usize = 8;

/// The longest capture.
pub const MAX_SECONDS: u64 = 600;

/// The largest file, in megabytes (10^6 bytes).
pub const MAX_MEGABYTES: u64 = 1000;

/// How often packets are taken out: at 10,000 a second, a quarter of the queue.
const EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::worker::clock;

    fn tap() -> Arc<Tap> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let content = CaptureContent::Headers;
        Arc::new(Tap::new(content, (addr, addr), true, (clock::instant(), 0)))
    }

    fn run(captures: &Captures, key: Key, tap: &Arc<Tap>) {
        let (app, tap) = (AppName::from("live"), tap.clone());
        captures.running().insert(key, Running { app, tap });
    }

    #[test]
    fn the_end_of_a_capture_does_not_end_the_next_one_of_the_peer() {
        let captures = Captures::new(None);
        let key = (WorkerId(0), PeerId::of_parts((1, 2)));
        let (first, second) = (tap(), tap());
        run(&captures, key, &first);
        assert!(captures.stop(&"live".into(), key.0, key.1));
        run(&captures, key, &second);
        assert!(!captures.ended(key, &first), "the worker has the second");
        assert!(captures.holds(key, &second));
        assert!(captures.ended(key, &second));
        assert!(!captures.holds(key, &second));
    }

    #[test]
    fn another_application_cannot_stop_it() {
        let captures = Captures::new(None);
        let key = (WorkerId(0), PeerId::of_parts((1, 2)));
        let tap = tap();
        run(&captures, key, &tap);
        assert!(!captures.stop(&"other".into(), key.0, key.1));
        assert!(captures.holds(key, &tap));
        assert!(captures.stop(&"live".into(), key.0, key.1));
        assert!(!captures.stop(&"live".into(), key.0, key.1), "it has ended");
    }
}
