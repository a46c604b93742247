//! What the control loop and the HTTP handlers share: the directory and the workers.
//!
//! All of them run on one thread and hold the lock only between two awaits, so nobody ever waits
//! for it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use super::captures::Captures;
use super::census::Census;
use super::checks::{self, Hooks};
use super::life::Life;
use super::overrides::Overrides;
use super::reload::Reload;
use super::run::Limits;
use super::seats::Seats;
use super::webhooks::Webhooks;
use super::whip;
use super::workers::Workers;
use crate::base::clock::Now;
use crate::base::crowd::{Crowd, Place};
use crate::base::ids::WorkerId;
use crate::control::Directory;
use crate::metrics::Snapshot;
use crate::model::mail::{AppName, WorkerMail};
use crate::model::settings::AppSettings;
use crate::store::Store;
use crate::worker::clock::Clock;
use crate::worker::{Mail, NewConn, NewResource};

/// A handle to the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    stopping: AtomicBool,
    http_seats: Seats,
    sockets: Mutex<Crowd>,
    store: Store,
    hooks: Hooks,
    overrides: Overrides,
    webhooks: Webhooks,
    census: Mutex<Census>,
    life: Mutex<Life>,
    captures: Captures,
    reload: Arc<Reload>,
    /// The host's stress, as the bits of an `f64`.
    stress: AtomicU64,
    resources: whip::Table,
}

#[derive(Debug)]
struct State {
    directory: Directory,
    workers: Workers,
    clock: Clock,
    random: StdRng,
}

impl Shared {
    /// Of an empty directory, its workers, the database and the settings file. `capture_dir` is
    /// where captures of peers go; `None` refuses them. `seed` comes from the operating system:
    /// tokens are made with it.
    pub fn new(
        directory: Directory,
        workers: Workers,
        store: Store,
        capture_dir: Option<PathBuf>,
        reload: Arc<Reload>,
        limits: Limits,
        seed: [u8; 32],
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                directory,
                workers,
                clock: Clock::start(),
                random: StdRng::from_seed(seed),
            }),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
            http_seats: Seats::new(MAX_HTTP_CONNS, limits.http_per_address, HTTP_PATIENCE),
            sockets: Mutex::new(Crowd::new(limits.sockets)),
            store,
            hooks: Hooks::default(),
            overrides: Overrides::default(),
            webhooks: Webhooks::default(),
            census: Mutex::default(),
            life: Mutex::default(),
            captures: Captures::new(capture_dir),
            reload,
            stress: AtomicU64::default(),
            resources: whip::Table::default(),
        }))
    }

    /// Without workers, and with a disk that does not answer.
    #[cfg(test)]
    pub fn alone(apps: std::collections::BTreeMap<AppName, Arc<AppSettings>>) -> Self {
        let flags = crate::config::Flags::default();
        Self::new(
            Directory::new(apps.clone()),
            Workers::new(Vec::new()),
            Store::standing_still(crate::worker::clock::instant),
            None,
            Arc::new(Reload::new(flags, 1, apps)),
            Limits::default(),
            [7; 32],
        )
    }

    /// The client of authentication webhooks.
    pub fn hooks(&self) -> &Hooks {
        &self.0.hooks
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What REST changed of settings.
    pub fn overrides(&self) -> &Overrides {
        &self.0.overrides
    }

    /// Events and messages on their way out.
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    /// Questions about players that wait for answers.
    pub fn with_census<R>(&self, act: impl FnOnce(&mut Census) -> R) -> R {
        let census = &self.0.census;
        act(&mut census.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The settings file.
    pub fn reload(&self) -> &Reload {
        &self.0.reload
    }

    /// Captures of peers.
    pub fn captures(&self) -> &Captures {
        &self.0.captures
    }

    /// What becomes of publishes and plays.
    pub fn with_life<R>(&self, act: impl FnOnce(&mut Life) -> R) -> R {
        let life = &self.0.life;
        act(&mut life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How close processor and memory are to their limits; 1 is at one of them.
    pub fn set_stress(&self, stress: f64) {
        self.0.stress.store(stress.to_bits(), Ordering::Relaxed);
    }

    /// Newcomers are refused because the host is too busy.
    pub fn is_overloaded(&self) -> bool {
        self.lock().directory.is_overloaded()
    }

    /// Mails one worker; what finds its inbox full waits.
    pub fn mail_worker(&self, to: WorkerId, mail: Mail) {
        self.lock().workers.mail(to, mail);
        self.0.changed.notify_one();
    }

    /// Asks every worker; how many there are.
    pub fn ask_workers(&self, question: &WorkerMail) -> usize {
        let workers = &mut self.lock().workers;
        workers.post_all(question);
        workers.count()
    }

    /// Looks something up.
    pub fn read<R>(&self, look: impl FnOnce(&Directory, Now) -> R) -> R {
        let state = &mut *self.lock();
        look(&state.directory, state.clock.now())
    }

    /// Changes the directory, posts the mail and takes the steps that follow from it, hands its
    /// events and messages to the webhooks, and lets the control loop look at its deadlines again.
    pub fn update<R>(&self, change: impl FnOnce(&mut Directory, Now) -> R) -> R {
        let state = &mut *self.lock();
        let before = state.wake_at();
        let result = change(&mut state.directory, state.clock.now());
        state.workers.retry();
        while let Some((to, mail)) = state.directory.poll_mail() {
            self.with_life(|life| life.tell(&mail));
            state.workers.post(to, mail);
        }
        while let Some(event) = state.directory.poll_event() {
            self.0.webhooks.push(event);
        }
        while let Some(relay) = state.directory.poll_data_message() {
            self.0.webhooks.push_data(relay);
        }
        while let Some((id, step)) = state.directory.poll_step() {
            tokio::spawn(checks::take(self.clone(), id, step));
        }
        if state.wake_at() != before {
            self.0.changed.notify_one();
        }
        result
    }

    /// Seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        let s = self.lock().clock.now().unix_us / 1_000_000;
        i64::try_from(s).unwrap_or(i64::MAX)
    }

    /// The time in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.lock().clock.now().unix_us / 1000
    }

    /// A new id for a broadcast: 24 of a-z and 0-9, unguessable.
    pub fn random_id(&self) -> String {
        let random = &mut self.lock().random;
        let mut place = || random.random_range(0..ID_LETTERS.len());
        let letters = (0..ID_LEN).filter_map(|_| ID_LETTERS.get(place()).copied());
        letters.map(char::from).collect()
    }

    /// Puts other settings in the place of an application's, here and in every worker.
    pub fn change_settings(&self, app: &AppName, settings: Arc<AppSettings>) {
        let state = &mut *self.lock();
        let now = state.clock.now();
        if state.directory.set_settings(now, app, settings.clone()) {
            let app = app.clone();
            state
                .workers
                .post_all(&WorkerMail::Settings { app, settings });
            self.0.changed.notify_one();
        }
    }

    /// When the control loop has something to do; `None` when it has nothing.
    pub fn wake_at(&self) -> Option<Instant> {
        self.lock().wake_at()
    }

    /// Returns when the answer of [`wake_at`](Self::wake_at) may be another one.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The worker for the next socket; `None` when none can take one.
    pub fn pick_worker(&self) -> Option<WorkerId> {
        self.lock().workers.pick()
    }

    /// Looks at how loaded the workers are; about once a second.
    pub fn look_at_workers(&self) {
        let state = &mut *self.lock();
        let now = state.clock.now().instant;
        state.workers.look(now);
    }

    /// Gives a socket to a worker, with the settings of this moment: they may have changed since
    /// its request came.
    ///
    /// # Errors
    /// The socket itself when the worker's inbox is full.
    pub fn hand_over(&self, to: WorkerId, mut conn: NewConn) -> Result<(), Box<NewConn>> {
        let state = self.lock();
        if let Some((_, settings)) = state.directory.app(&conn.app) {
            conn.settings = settings;
        }
        state.workers.hand_over(to, conn)
    }

    /// The same for a resource; an inbox that is full takes it later.
    pub fn open_resource(&self, to: WorkerId, mut resource: NewResource) {
        let mut state = self.lock();
        if let Some((_, settings)) = state.directory.app(&resource.app) {
            resource.settings = settings;
        }
        state.workers.mail(to, Mail::Resource(resource));
        self.0.changed.notify_one();
    }

    /// WHIP's and WHEP's.
    pub fn resources(&self) -> &whip::Table {
        &self.0.resources
    }

    /// Everything that `/metrics` shows.
    pub fn snapshot(&self) -> Snapshot {
        let (publishes, plays) = self.with_life(|life| life.figures());
        let state = self.lock();
        Snapshot {
            workers: state.workers.figures(),
            apps: state.directory.counts(),
            http_conns: self.0.http_seats.taken(),
            webhooks: self.0.webhooks.figures(),
            publishes,
            plays,
            store: self.0.store.latency(),
            store_is_up: self.0.store.is_up(),
            stress: f64::from_bits(self.0.stress.load(Ordering::Relaxed)),
            is_draining: self.is_stopping(),
            is_overloaded: state.directory.is_overloaded(),
        }
    }

    /// Those of HTTP connections.
    pub fn http_seats(&self) -> &Seats {
        &self.0.http_seats
    }

    /// A place for a WebSocket, or a WHIP or WHEP resource, of a client at `from`; `None` when
    /// there are too many.
    pub fn socket_place(&self, from: IpAddr) -> Option<Place> {
        let sockets = &self.0.sockets;
        let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.enter(from)
    }

    /// How busy the least busy worker is, 0..=1, smoothed.
    pub fn least_busy(&self) -> f64 {
        self.lock().workers.least_busy()
    }

    /// Peers of all workers.
    pub fn peers(&self) -> u64 {
        self.lock().workers.peers()
    }

    /// Refuses newcomers from here on and tells every WebSocket.
    pub fn announce_stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        self.update(|directory, _| directory.stop_admitting());
        self.lock().workers.post_all(&WorkerMail::ServerWillStop);
        self.0.changed.notify_one();
    }

    /// Lets the workers close every WebSocket and end.
    pub fn stop_workers(&self) {
        self.lock().workers.stop_all();
        self.0.changed.notify_one();
    }

    /// True from [`announce_stop`](Self::announce_stop) on.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_at(&mut self) -> Option<Instant> {
        let retry = self
            .workers
            .is_behind()
            .then(|| self.clock.now().instant + RETRY_AFTER);
        let deadline = self.directory.poll_timeout();
        retry.into_iter().chain(deadline).min()
    }
}

const ID_LEN: usize = 24;
const ID_LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// HTTP connections that are open at once, WebSockets not counted. When full, one that waits for
/// its client makes room; where none does, further ones find the reserve (`run.rs`). Each holds at
/// most about 64 KiB.
const MAX_HTTP_CONNS: usize = 1024;

/// How long the first of those waits before: for a burst of requests, not for a disk or a hook.
pub const HTTP_PATIENCE: Duration = Duration::from_secs(1);

/// How soon mail for a full inbox is tried again: a few turns.
const RETRY_AFTER: Duration = Duration::from_millis(5);
