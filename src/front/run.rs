//! The control plane's thread: the loop that drives the directory, and the end of the process.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::census::Answer;
use super::http::{Door, Service};
use super::reload::Reload;
use super::seats::Seats;
use super::shared::{HTTP_PATIENCE, Shared};
use super::tls::Certificates;
use super::workers::Workers;
use super::{host, http, routes, webhooks};
use crate::base::clock::Now;
use crate::base::crowd::CrowdLimits;
use crate::control::{AppCounts, Directory, HostLoad, WorkerLoad};
use crate::model::mail::{AppName, ControlMail};
use crate::model::settings::AppSettings;
use crate::store::{Store, StoreError};
use crate::worker::Inbox;

/// What the front door is made of; everything in it is bound and running.
#[derive(Debug)]
pub struct Front {
    /// Where HTTP comes in, with TLS or without.
    pub doors: Vec<Door>,
    /// Every application.
    pub apps: BTreeMap<AppName, Arc<AppSettings>>,
    /// Every worker's inbox, worker `i` at place `i`.
    pub inboxes: Vec<Inbox>,
    /// What the workers ask and tell; every sender is a worker's.
    pub mails: Receiver<ControlMail>,
    /// The database.
    pub store: Store,
    /// The limits beyond which newcomers are refused.
    pub load: HostLoad,
    /// The settings file, for when it changes.
    pub reload: Reload,
    /// Names by which this server is asked, in lower case; its addresses and `localhost` are not
    /// among them.
    pub host_names: Vec<String>,
    /// Where captures of peers go; `None`: there are none.
    pub capture_dir: Option<PathBuf>,
    /// The same for the workers' own time.
    pub worker_load: WorkerLoad,
    /// How many may come.
    pub limits: Limits,
    /// How long sessions may go on once the end was announced.
    pub drain_timeout: Duration,
    /// Randomness from the operating system.
    pub seed: [u8; 32],
    /// What ends it.
    pub signals: Signals,
}

/// How much of what strangers can make the server hold there may be; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// WebSockets.
    pub sockets: CrowdLimits,
    /// HTTP connections of one address.
    pub http_per_address: usize,
    /// Peers on their way from a grant to the end of their handshake.
    pub handshakes: CrowdLimits,
}

/// Serves until SIGTERM or SIGINT, then tells every WebSocket, lets sessions go on for as long as
/// the settings say, and waits until the workers have closed what is left and ended. A second
/// signal ends the process at once.
pub async fn serve(front: Front) {
    let mut signals = front.signals;
    let reload = Arc::new(front.reload);
    let mut directory = Directory::new(front.apps);
    directory.limit_openings(front.limits.handshakes);
    let workers = Workers::new(front.inboxes);
    let shared = Shared::new(
        directory,
        workers,
        front.store,
        front.capture_dir,
        reload,
        front.limits,
        front.seed,
    );
    let certificates: Vec<Certificates> = front
        .doors
        .iter()
        .filter_map(|door| door.certificates.clone())
        .collect();
    let early = tokio::select! {
        loaded = timeout(LOAD_TIME, shared.overrides().load(&shared)) => {
            if loaded.is_err() {
                tracing::warn!("the store does not answer; settings are the file's until it does");
            }
            None
        }
        name = signals.next(&certificates) => Some(name),
    };
    let ticking = tokio::spawn(tick(shared.clone(), front.load, front.worker_load));
    let (all_ended, over) = oneshot::channel();
    let mut noting = tokio::spawn(note(shared.clone(), over));
    let calling = tokio::spawn(webhooks::run(shared.clone()));
    let watching = certificates.iter().cloned().map(Certificates::watch);
    let mut serving: Vec<JoinHandle<()>> = watching.map(tokio::spawn).collect();
    serving.push(tokio::spawn(look_at_settings(shared.clone())));
    serving.extend(open(&shared, front.doors, front.host_names.into()));
    let driving = tokio::spawn(drive(shared.clone(), front.mails));

    let name = match early {
        Some(name) => name,
        None => signals.next(&certificates).await,
    };
    tracing::info!(signal = name, "stopping");
    // The doors stay open: metrics are read, and resources of WHIP ended, while others leave.
    shared.announce_stop();
    tokio::select! {
        left = timeout(front.drain_timeout, everybody_left(&shared)) => {
            if left.is_err() && !front.drain_timeout.is_zero() {
                tracing::info!(peers = shared.peers(), "the time to leave is over");
            }
        }
        name = signals.next(&[]) => end_at_once(name),
    }
    serving.iter().for_each(JoinHandle::abort);
    ticking.abort();
    shared.stop_workers();
    tokio::select! {
        () = finish(&shared, driving, all_ended, &mut noting) => {}
        name = signals.next(&[]) => end_at_once(name),
    }
    noting.abort();
    calling.abort();
}

/// Lets HTTP in.
fn open(
    shared: &Shared,
    doors: Vec<Door>,
    host_names: Arc<[String]>,
) -> impl Iterator<Item = JoinHandle<()>> {
    let all = Service {
        router: routes::router(shared.clone(), host_names),
        seats: shared.http_seats().clone(),
        is_kept: true,
    };
    // One request each: what waits for nothing is done at once, and makes room.
    let reserve = Service {
        router: routes::reserve(shared.clone()),
        seats: Seats::new(RESERVE, 0, HTTP_PATIENCE),
        is_kept: false,
    };
    doors.into_iter().map(move |door| {
        let (all, reserve) = (all.clone(), reserve.clone());
        tokio::spawn(http::accept(door, all, reserve))
    })
}

/// Waits for the workers, which were told to stop. The ends of the broadcasts are noted and told
/// too, as far as that is quick.
async fn finish(
    shared: &Shared,
    driving: JoinHandle<()>,
    all_ended: oneshot::Sender<()>,
    noting: &mut JoinHandle<()>,
) {
    if timeout(END_TIME, driving).await.is_err() {
        tracing::warn!("a worker did not end in time");
    }
    end_broadcasts(shared);
    drop(all_ended);
    let (noted, told) = tokio::join!(
        timeout(LAST_NOTES, noting),
        timeout(LAST_WEBHOOKS, shared.webhooks().drained()),
    );
    if noted.is_err() {
        tracing::warn!("the last notes were not written in time");
    }
    if told.is_err() {
        tracing::warn!("the last webhooks were not delivered in time");
    }
    if timeout(LAST_NOTES, shared.store().close()).await.is_err() {
        tracing::warn!("the store was not closed in time; leafcutter.db-wal holds a part of it");
    }
}

fn end_at_once(signal: &str) {
    tracing::warn!(signal, "stopping at once");
    std::process::exit(1);
}

/// Ends what is on air still: its publishers were lost with their sockets, and cannot come back to
/// this process.
fn end_broadcasts(shared: &Shared) {
    shared.update(|directory, now| {
        for AppCounts { app, .. } in directory.counts() {
            let on_air = directory.broadcasts(&app).filter(|b| b.is_on_air());
            let on_air: Vec<_> = on_air.map(|b| b.stream.clone()).collect();
            for stream in on_air {
                directory.stop(now, &app, &stream);
            }
        }
    });
}

/// Returns when no peer is left.
async fn everybody_left(shared: &Shared) {
    let mut ticks = interval(DRAIN_LOOK);
    while shared.peers() > 0 {
        ticks.tick().await;
    }
}

/// Hears the workers and keeps the directory's deadlines; returns when every worker has ended.
async fn drive(shared: Shared, mut mails: Receiver<ControlMail>) {
    loop {
        let due = shared.wake_at();
        let deadline = async {
            match due {
                Some(instant) => sleep_until(Instant::from_std(instant)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            mail = mails.recv() => match mail {
                Some(mail) => shared.update(|directory, now| {
                    hear(&shared, directory, now, mail);
                    for _ in 1..MAILS_AT_ONCE {
                        let Ok(mail) = mails.try_recv() else { break };
                        hear(&shared, directory, now, mail);
                    }
                }),
                None => return,
            },
            () = deadline => shared.update(|directory, now| directory.handle_timeout(now)),
            () = shared.changed() => {}
        }
    }
}

/// Most mails are the directory's; answers to the shell's own questions are the shell's.
fn hear(shared: &Shared, directory: &mut Directory, now: Now, mail: ControlMail) {
    if let ControlMail::Plays { request, plays } = mail {
        shared.with_census(|census| census.answer(request, Answer::Plays(plays)));
    } else if let ControlMail::Peers { request, peers } = mail {
        shared.with_census(|census| census.answer(request, Answer::Peers(peers)));
    } else {
        shared.with_life(|life| life.hear(now.instant, &mail));
        directory.handle_mail(now, mail);
    }
}

/// Looks after what must be looked at again and again: the store's file, and how busy the workers
/// and the host are. Nothing in it waits for a disk.
async fn tick(shared: Shared, mut load: HostLoad, mut worker_load: WorkerLoad) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.look_at_workers();
        shared.store().tick();
        let is_busy = worker_load.handle_busy(shared.least_busy());
        let is_host_over = host::sample().is_some_and(|sample| {
            let is_over = load.handle_sample(sample);
            shared.set_stress(load.stress());
            is_over
        });
        shared.update(|directory, _| directory.set_overloaded(is_busy || is_host_over));
    }
}

/// Looks at settings: those that the store keeps, if it could not be asked at the start, and the
/// file's. A disk that stands still holds up this alone.
async fn look_at_settings(shared: Shared) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.overrides().load(&shared).await;
        shared.reload().look(&shared).await;
    }
}

/// Writes what the directory notes. What the store cannot take waits until it can, as far as
/// `limits::MAX_NOTES` allows. Once `over` is closed, returns when nothing is left.
async fn note(shared: Shared, mut over: oneshot::Receiver<()>) {
    let mut ticks = interval(NOTE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut over => is_over = true,
        }
        loop {
            let notes = shared.update(|directory, _| directory.take_notes(NOTES_AT_ONCE));
            if notes.is_empty() {
                break;
            }
            while shared.store().record(notes.clone()).await == Err(StoreError::Unavailable) {
                ticks.tick().await;
            }
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them; needs a tokio runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends the process; SIGHUP reads the certificates again.
    async fn next(&mut self, certificates: &[Certificates]) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => {
                    // Not waited for: a file may not answer, and other signals come.
                    for each in certificates {
                        let each = each.clone();
                        tokio::spawn(async move { each.refresh(true).await });
                    }
                }
            }
        }
    }
}

/// HTTP connections at once while everybody else is worked for: probes come every few seconds.
const RESERVE: usize = 64;

/// Mails handled before HTTP gets its turn again.
const MAILS_AT_ONCE: usize = 256;

/// How often the directory is asked for notes: they share a write.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// Notes in one write.
const NOTES_AT_ONCE: usize = 1024;

/// How often the store's file, the settings and the host are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long the start waits for what the store keeps of settings: the check of a large file takes
/// seconds, and a supervisor gives up some time.
const LOAD_TIME: Duration = Duration::from_secs(10);

/// How often it is looked whether everybody has left.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// How long the last notes may take to be on disk, and closing the file.
const LAST_NOTES: Duration = Duration::from_secs(2);

/// How long the last webhooks may take.
const LAST_WEBHOOKS: Duration = Duration::from_millis(500);

/// How long the workers may take to end: the second they give their WebSockets, and some.
const END_TIME: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Flags;

    /// A server without workers whose disk does not answer, and where it listens.
    async fn front() -> (Front, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            listener,
            certificates: None,
        };
        let front = Front {
            doors: vec![door],
            apps: BTreeMap::new(),
            inboxes: Vec::new(),
            mails: mpsc::channel(1).1,
            store: Store::standing_still(crate::worker::clock::instant),
            load: HostLoad::new(100, 0),
            reload: Reload::new(Flags::default(), 1, BTreeMap::new()),
            host_names: Vec::new(),
            capture_dir: None,
            worker_load: WorkerLoad::new(100),
            limits: Limits::default(),
            drain_timeout: Duration::ZERO,
            seed: [7; 32],
            signals: Signals::install().unwrap(),
        };
        (front, address)
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_delays_the_start_and_does_not_prevent_it() {
        let (front, address) = front().await;
        tokio::spawn(serve(front));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.0\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let read = timeout(3 * LOAD_TIME, stream.read_to_string(&mut answer));
        read.await.expect("nobody answers").unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_signal_ends_a_start_that_waits_for_the_disk() {
        let (front, _) = front().await;
        let serving = tokio::spawn(serve(front));
        let kill = Command::new("kill").arg(id().to_string()).status();
        assert!(kill.unwrap().success());
        let ended = timeout(LOAD_TIME / 2, serving).await;
        ended.expect("it waits").unwrap();
    }
}
