//! The `leafcutter` binary: reads its settings, starts the planes, waits for the end.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use leafcutter::base::ids::WorkerId;
use leafcutter::config::{self, Config, Flags, LogFormat, StartError};
use leafcutter::control::{HostLoad, WorkerLoad};
use leafcutter::doctor::{self, Verdict};
use leafcutter::front::{self, Certificates, Door, Front, Reload, Signals};
use leafcutter::store::Store;
use leafcutter::transport::certificate::Certificate;
use leafcutter::worker::{self, Bound};
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// PERF(fanout): handshakes leave holes that glibc's allocator does not give back. This one's
/// background thread gives back what a server freed that nobody is left on, which allocates nothing
/// more by itself (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The whole command line: without a command it serves.
#[derive(Debug, Parser)]
#[command(
    name = "leafcutter",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM; what happens without a command too
    Serve(Flags),
    /// Read the settings as a start would, and say what is wrong with them
    CheckConfig(Flags),
    /// Look at this machine: ports, buffers, clock, addresses; say what to change
    Doctor(Flags),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
    /// Load tests: what this machine can do, and what a server does
    #[cfg(feature = "bench")]
    #[command(subcommand)]
    Bench(leafcutter::bench::args::BenchCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        #[cfg(feature = "bench")]
        Some(Command::Bench(command)) => return bench(&command),
        Some(Command::Serve(flags)) => start(&flags),
        Some(Command::CheckConfig(flags)) => check_config(&flags),
        Some(Command::Doctor(flags)) => match examine(&flags) {
            Ok(Verdict::Bad) => return ExitCode::FAILURE,
            Ok(Verdict::Good | Verdict::Warning) => Ok(()),
            Err(error) => Err(error),
        },
        Some(Command::Completions { shell }) => {
            let mut out = std::io::stdout();
            clap_complete::generate(shell, &mut Cli::command(), "leafcutter", &mut out);
            Ok(())
        }
        Some(Command::Man) => clap_mangen::Man::new(Cli::command())
            .render(&mut std::io::stdout())
            .map_err(|e| StartError::new(format!("the manual page cannot be written: {e}"))),
        None => start(&cli.flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leafcutter: {error}");
            ExitCode::from(2)
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn load(flags: &Flags) -> Result<Config, StartError> {
    config::load(flags, cores())
}

fn check_config(flags: &Flags) -> Result<(), StartError> {
    let config = load(flags)?;
    let apps: Vec<&str> = config.apps.keys().map(|name| &**name).collect();
    let https = config.server.tls.as_ref().map(describe_https).transpose()?;
    println!("the settings are in order");
    println!("listen: {}", config.server.listen);
    if let Some(https) = https {
        println!("https: {https}");
    }
    let from = if config.media.single_port {
        "on"
    } else {
        "from"
    };
    println!(
        "media: {} workers {from} UDP port {}",
        config.server.workers, config.media.port
    );
    println!("data: {}", config.server.data_dir.display());
    println!("applications: {}", apps.join(", "));
    if !config.ignored.is_empty() {
        println!(
            "ignored, without a meaning here: {}",
            config.ignored.join(", ")
        );
    }
    Ok(())
}

/// Where HTTPS listens, and for which hosts until when.
fn describe_https(tls: &config::Tls) -> Result<String, StartError> {
    let about = Certificates::examine(&tls.certificate)
        .map_err(|e| StartError::new(e).at_key("server.tls_listen"))?;
    let listen = tls.listen;
    Ok(match (&tls.certificate, about) {
        (_, Some(about)) => {
            let (names, end) = (about.names.join(", "), about.end());
            format!("{listen}, certificate for {names} until {end}")
        }
        (config::TlsCertificate::Acme(acme), None) => {
            let (names, authority) = (acme.domains.join(", "), &acme.directory_url);
            format!("{listen}, certificate for {names} to be ordered from {authority}")
        }
        (config::TlsCertificate::Files { .. }, None) => format!("{listen}, no certificate"),
    })
}

/// Prints what the doctor finds; the worst of it.
fn examine(flags: &Flags) -> Result<Verdict, StartError> {
    let is_colourful = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut worst = Verdict::Good;
    let now_s = worker::clock::Clock::start().now().unix_us / 1_000_000;
    for finding in doctor::examine(&load(flags)?, now_s) {
        let colour = match finding.verdict {
            Verdict::Good => "32",
            Verdict::Warning => "33",
            Verdict::Bad => "31",
        };
        let (begin, end) = match is_colourful {
            true => (format!("\x1b[{colour}m"), "\x1b[0m"),
            false => (String::new(), ""),
        };
        let (verdict, subject) = (finding.verdict, finding.subject);
        println!("{begin}{verdict:<8}{end} {subject}: {}", finding.text);
        worst = worst.max(verdict);
    }
    Ok(worst)
}

#[cfg(feature = "bench")]
fn bench(command: &leafcutter::bench::args::BenchCommand) -> ExitCode {
    match leafcutter::bench::run(command) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("leafcutter bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn start(flags: &Flags) -> Result<(), StartError> {
    let config = load(flags)?;
    let _log = start_log(flags.log_format)?;
    if !config.ignored.is_empty() {
        let keys = config.ignored.join(", ");
        tracing::warn!("settings of Ant Media's without a meaning here are ignored: {keys}");
    }
    worker::panic::end_process();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| StartError::new(format!("the control plane cannot start: {e}")))?;
    let result = runtime.block_on(serve(config, flags));
    // A thread that waits for a name or a disk ends with the process.
    runtime.shutdown_timeout(LAST_BLOCKING);
    result
}

async fn serve(config: Config, flags: &Flags) -> Result<(), StartError> {
    let doors = open_doors(&config.server).await?;

    let bound = bind_workers(&config)?;
    let inboxes: Vec<_> = bound.iter().map(Bound::inbox).collect();
    let (to_control, mails) = mpsc::channel(MAX_CONTROL_MAILS);
    for worker in bound {
        worker
            .run(inboxes.clone(), to_control.clone())
            .map_err(|e| StartError::new(e.to_string()))?;
    }
    drop(to_control);

    let store = Store::start(&config.server.data_dir, worker::clock::instant)
        .map_err(|e| StartError::new(format!("the store's thread cannot start: {e}")))?;
    let signals = Signals::install()
        .map_err(|e| StartError::new(format!("signals cannot be caught: {e}")))?;

    announce(&doors);
    let reload = Reload::new(flags.clone(), cores(), config.apps.clone());
    front::serve(Front {
        doors,
        apps: config.apps,
        inboxes,
        mails,
        store,
        load: HostLoad::new(config.server.cpu_limit, config.server.min_free_ram),
        reload,
        host_names: config.server.host_names,
        capture_dir: config.server.capture_dir,
        worker_load: WorkerLoad::new(config.server.cpu_limit),
        limits: front::Limits {
            sockets: config.limits.sockets,
            http_per_address: config.limits.http_per_address,
            handshakes: config.limits.handshakes,
        },
        drain_timeout: config.server.drain_timeout,
        seed: os_random()?,
        signals,
    })
    .await;
    Ok(())
}

/// Listens for plain HTTP, and for TLS when that is configured.
async fn open_doors(server: &config::Server) -> Result<Vec<Door>, StartError> {
    let mut doors = vec![Door {
        listener: listen(server.listen, "server.listen").await?,
        certificates: None,
    }];
    if let Some(tls) = &server.tls {
        let certificates = Certificates::load(tls.certificate.clone())
            .map_err(|e| StartError::new(e).at_key("server.tls_listen"))?;
        doors.push(Door {
            listener: listen(tls.listen, "server.tls_listen").await?,
            certificates: Some(certificates),
        });
    }
    Ok(doors)
}

async fn listen(addr: SocketAddr, key: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr)
        .await
        .map_err(|e| StartError::new(format!("cannot listen on {addr}: {e}")).at_key(key))
}

/// Prints where it listens, and the playground's address for a browser on this machine.
fn announce(doors: &[Door]) {
    let mut playground = None;
    for door in doors {
        let Ok(addr) = door.listener.local_addr() else {
            continue;
        };
        let scheme = match door.certificates {
            None => "http",
            Some(_) => "https",
        };
        println!("listening on {scheme}://{addr}");
        playground.get_or_insert((scheme, reachable(addr)));
    }
    if let Some((scheme, addr)) = playground {
        println!("playground: {scheme}://{addr}/LiveApp/");
    }
}

fn bind_workers(config: &Config) -> Result<Vec<Bound>, StartError> {
    let certificate = Certificate::generate()
        .map(Arc::new)
        .ok_or_else(|| StartError::new("a DTLS certificate cannot be made"))?;
    let wildcard = media_wildcard(config.media.ipv6);
    let workers = config.server.workers as u16;
    let bind = |worker: u16, shared_port: u16| {
        let bind = |first: u16| {
            let port = if first == 0 { 0 } else { first + worker };
            SocketAddr::new(wildcard, port)
        };
        Bound::bind(worker::Config {
            worker: WorkerId(worker),
            media_bind: match config.media.single_port {
                true => SocketAddr::new(wildcard, shared_port),
                false => bind(config.media.port),
            },
            port_shared_by: if config.media.single_port { workers } else { 1 },
            tcp_bind: config.media.tcp_port.map(bind),
            tcp_limits: config.limits.sockets,
            announce: config.media.announce.clone(),
            even_lengths: config.media.even_lengths,
            pin_cpu: config.server.pin_workers.then_some(usize::from(worker)),
            seed: os_random()?,
            certificate: certificate.clone(),
            messages_per_s: config.limits.messages_per_s,
        })
        .map_err(|e| StartError::new(e.to_string()).at_key("media"))
    };
    let first = bind(0, config.media.port)?;
    // Where the system chose the port, the others share what it chose.
    let shared_port = first.media_addr().port();
    let others = (1..workers).map(|worker| bind(worker, shared_port));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// The wildcard of both families, unless that is not wanted or the host has no IPv6.
fn media_wildcard(ipv6: bool) -> IpAddr {
    let both = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match ipv6 && std::net::UdpSocket::bind((both, 0)).is_ok() {
        true => both,
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

fn os_random() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| StartError::new(format!("the system gives no randomness: {e}")))?;
    Ok(seed)
}

/// Writes the log on a thread of its own, so that nobody who logs ever waits for a terminal or a
/// disk; what does not fit its queue is lost. The guard writes the rest when it is dropped.
fn start_log(format: LogFormat) -> Result<WorkerGuard, StartError> {
    let text = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(text)
        .map_err(|e| StartError::new(e.to_string()).at_key(LOG_VARIABLE))?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_LOG_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(guard)
}

/// An address for a browser on this machine.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        let ip = match listening {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(ip, listening.port())
    } else {
        listening
    }
}

/// How long what waits for a name or a disk may take once everything else has ended.
const LAST_BLOCKING: Duration = Duration::from_millis(100);

const LOG_VARIABLE: &str = "LEAFCUTTER_LOG";

/// Lines of the log that wait to be written: a burst of joins.
const MAX_LOG_LINES: usize = 16_384;

/// Mails that wait for control; when full, workers keep theirs and try again.
const MAX_CONTROL_MAILS: usize = 4096;
