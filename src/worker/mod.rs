//! F5: the media threads. Each is one poll loop with its own UDP socket, WebSockets and engine.
//!
//! Started in two phases, because each worker is given the inboxes of all: [`Bound::bind`] takes
//! the sockets, [`Bound::run`] starts the thread. `run.rs` is the loop, `conn.rs` one WebSocket,
//! `tcp.rs` media over TCP, `clock.rs` the only clock. Knows no protocol: that is `engine/`.
//! Called by `main.rs`; mailed to by `front/`, `control/` and other workers.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod clock;
mod conn;
mod conns;
mod inbox;
mod load;
mod outbox;
pub mod panic;
mod resources;
mod run;
mod stream;
mod tcp;
mod tcp_conn;

#[cfg(test)]
mod tcp_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Waker};
use tokio::sync::mpsc::Sender;

pub use inbox::{Inbox, Mail, NewConn, NewResource, Told};
pub use load::{Load, ShellCounters};

use crate::base::crowd::CrowdLimits;
use crate::base::egress::Egress;
use crate::base::ids::WorkerId;
use crate::engine::{self, Engine};
use crate::model::mail::ControlMail;
use crate::net::{self, UdpSocket};
use crate::transport::certificate::Certificate;

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which worker it is, 0-based; its place in the list of inboxes.
    pub worker: WorkerId,
    /// Where its media socket is bound; port 0 takes any free one.
    pub media_bind: SocketAddr,
    /// How many workers, this one included, are bound to `media_bind`, see
    /// [`engine::Config::port_shared_by`].
    pub port_shared_by: u16,
    /// Where media over TCP is listened for; port 0 takes any free one; `None`: it is not served.
    pub tcp_bind: Option<SocketAddr>,
    /// How many TCP connections for media this worker holds at once, at most
    /// `limits::MAX_TCP_CONNS`.
    pub tcp_limits: CrowdLimits,
    /// Addresses that clients are told, most wanted first; empty: found out, see [`Bound::bind`].
    pub announce: Vec<IpAddr>,
    /// Neighbouring packets are padded to one length, see [`engine::Config::even_lengths`].
    pub even_lengths: bool,
    /// The CPU it stays on, 0-based; `None`: the scheduler decides.
    pub pin_cpu: Option<usize>,
    /// Seeds its SSRCs and ICE credentials; from the operating system.
    pub seed: [u8; 32],
    /// The DTLS certificate of the process.
    pub certificate: Arc<Certificate>,
    /// Messages per second of one WebSocket, ten seconds' worth at once; more closes it with 1008.
    /// 0: no limit.
    pub messages_per_s: u32,
}

/// Why a worker did not start.
#[derive(Debug)]
pub enum StartError {
    /// The media socket could not be bound.
    Bind(SocketAddr, io::Error),
    /// The same for TCP.
    BindTcp(SocketAddr, io::Error),
    /// The addresses of this host could not be listed; `announce` would say them.
    Addresses(io::Error),
    /// The poll or its waker could not be made.
    Poll(io::Error),
    /// The thread could not be started.
    Thread(io::Error),
}

/// A worker with its sockets, before it runs.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    candidates: Vec<SocketAddr>,
    socket: UdpSocket,
    tcp_candidates: Vec<SocketAddr>,
    listener: Option<TcpListener>,
    poll: Poll,
    inbox: Inbox,
}

/// A worker that runs.
#[derive(Debug)]
pub struct Started {
    inbox: Inbox,
    media_addr: SocketAddr,
    thread: JoinHandle<()>,
}

impl Bound {
    /// Binds the media socket and makes the inbox.
    ///
    /// Clients are told the announced addresses; without any, the one that the socket is bound
    /// to; for a wildcard, every address of this host's interfaces, loopback behind the others of
    /// its family, IPv6 only on a socket of IPv6; each with the socket's real port.
    ///
    /// # Errors
    /// What the operating system refused.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::Poll)?;
        let mut socket =
            bind_media(&config).map_err(|error| StartError::Bind(config.media_bind, error))?;
        poll.registry()
            .register(&mut socket, run::MEDIA, Interest::READABLE)
            .map_err(StartError::Poll)?;
        let waker = Waker::new(poll.registry(), run::WAKER).map_err(StartError::Poll)?;
        let listener = listen(config.tcp_bind, poll.registry())?;
        let tcp_candidates = match &listener {
            Some(listener) => {
                let bound = listener.local_addr().map_err(StartError::Poll)?;
                candidates(&config.announce, bound)?
            }
            None => Vec::new(),
        };
        let candidates = candidates(&config.announce, socket.local_addr())?;
        tracing::info!(
            worker = config.worker.0,
            addr = %socket.local_addr(),
            granted = ?socket.granted(),
            tcp = tcp_candidates.first().map(SocketAddr::port),
            "media socket"
        );
        Ok(Self {
            config,
            candidates,
            socket,
            tcp_candidates,
            listener,
            poll,
            inbox: Inbox::new(waker),
        })
    }

    /// The way into this worker; mail waits there until it runs.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The media socket's address with its real port.
    pub fn media_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// What clients are told.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// The same for TCP; empty when it is not served.
    pub fn tcp_candidates(&self) -> &[SocketAddr] {
        &self.tcp_candidates
    }

    /// Starts the thread `worker-N`. `workers` are the inboxes of all workers, this one's too, in
    /// the order of their [`WorkerId`]s; `control` takes its questions.
    ///
    /// # Errors
    /// [`StartError::Poll`], [`StartError::Thread`].
    pub fn run(
        self,
        workers: Vec<Inbox>,
        control: Sender<ControlMail>,
    ) -> Result<Started, StartError> {
        let inbox = self.inbox();
        let media_addr = self.media_addr();
        let registry = || self.poll.registry().try_clone().map_err(StartError::Poll);
        let registries = [registry()?, registry()?];
        let thread = std::thread::Builder::new()
            .name(format!("worker-{}", self.config.worker.0))
            .spawn(move || self.into_worker(registries, workers, control).run())
            .map_err(StartError::Thread)?;
        Ok(Started {
            inbox,
            media_addr,
            thread,
        })
    }

    /// Runs on the worker's own thread, so that what is allocated is near its CPU.
    fn into_worker(
        self,
        [registry, tcp_registry]: [mio::Registry; 2],
        workers: Vec<Inbox>,
        control: Sender<ControlMail>,
    ) -> run::Worker {
        let Config {
            worker,
            even_lengths,
            pin_cpu,
            seed,
            certificate,
            messages_per_s,
            tcp_limits,
            port_shared_by,
            ..
        } = self.config;
        if let Some(cpu) = pin_cpu
            && let Err(error) = net::pin_current_thread(cpu)
        {
            tracing::warn!(worker = worker.0, cpu, %error, "not pinned");
        }
        let mut clock = clock::Clock::start();
        let now = clock.now();
        let engine = Engine::new(engine::Config {
            worker,
            candidates: self.candidates,
            tcp_candidates: self.tcp_candidates,
            port_shared_by,
            seed,
            even_lengths,
            certificate,
        });
        run::Worker {
            clock,
            poll: self.poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            inbox: self.inbox,
            outbox: outbox::Outbox::new(worker, control, workers),
            engine,
            batch: self.socket.batch(),
            socket: self.socket,
            egress: Egress::default(),
            conns: conns::Conns::new(worker, registry, now.instant, messages_per_s),
            tcp: tcp::TcpConns::new(self.listener, tcp_registry, tcp_limits, now.instant),
            resources: resources::Resources::new(worker),
            turn: run::Turn {
                now,
                media_ready: true,
                more: false,
                delayed: false,
                ending: run::Ending::Running,
            },
            counters: ShellCounters::default(),
            lag: load::Lag::new(now.instant),
        }
    }
}

impl Started {
    /// The way into this worker.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The media socket's address with its real port.
    pub fn media_addr(&self) -> SocketAddr {
        self.media_addr
    }

    /// Waits for the thread to end; it does about a second after [`Mail::Stop`] at the latest.
    ///
    /// # Panics
    /// With the worker's own panic, where the profile lets panics unwind.
    pub fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(addr, error) => write!(f, "cannot bind UDP {addr}: {error}"),
            StartError::BindTcp(addr, error) => write!(f, "cannot listen on TCP {addr}: {error}"),
            StartError::Addresses(error) => {
                write!(
                    f,
                    "cannot list this host's addresses: {error}; set media.announce"
                )
            }
            StartError::Poll(error) => write!(f, "cannot poll sockets: {error}"),
            StartError::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The media socket. A shared port must be free before the first worker takes it: another server of
/// the same user would otherwise be given half of this one's datagrams.
fn bind_media(config: &Config) -> io::Result<UdpSocket> {
    if config.port_shared_by <= 1 {
        return UdpSocket::bind(config.media_bind);
    }
    if config.worker == WorkerId(0) {
        UdpSocket::bind(config.media_bind)?;
    }
    UdpSocket::bind_shared(config.media_bind)
}

fn listen(at: Option<SocketAddr>, registry: &Registry) -> Result<Option<TcpListener>, StartError> {
    let Some(at) = at else { return Ok(None) };
    let listener = TcpListener::bind(at).map_err(|error| StartError::BindTcp(at, error));
    let mut listener = listener?;
    registry
        .register(&mut listener, tcp::LISTENER, Interest::READABLE)
        .map_err(StartError::Poll)?;
    Ok(Some(listener))
}

/// The addresses that clients are told; at least one. See [`Bound::bind`].
fn candidates(announce: &[IpAddr], bound: SocketAddr) -> Result<Vec<SocketAddr>, StartError> {
    let mut ips = announce.to_vec();
    if ips.is_empty() && bound.ip().is_unspecified() {
        let mut found = net::local_addresses().map_err(StartError::Addresses)?;
        found.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
        // IPv4 first: what is behind it is more often reachable. A socket of IPv6 takes both.
        ips.extend(found.iter().filter(|ip| ip.is_ipv4()));
        if bound.is_ipv6() {
            ips.extend(found.iter().filter(|ip| ip.is_ipv6()));
        }
    } else if ips.is_empty() {
        ips.push(bound.ip());
    }
    let with_port = ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port()));
    Ok(with_port.collect())
}

/// Events taken per poll; more than these stay in the kernel until the next one.
const EVENTS_PER_POLL: usize = 256;
