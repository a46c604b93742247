//! The `leafcutter` binary: reads its settings, starts the planes, waits for the end.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use leafcutter::base::ids::WorkerId;
use leafcutter::config::{self, Config, Flags, StartError};
use leafcutter::control::HostLoad;
use leafcutter::front::{self, Front, Signals};
use leafcutter::store::Store;
use leafcutter::transport::certificate::Certificate;
use leafcutter::worker::{self, Bound};
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

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
    /// Load tests: what this machine can do, and what a server does
    #[cfg(feature = "bench")]
    #[command(subcommand)]
    Bench(leafcutter::bench::args::BenchCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        #[cfg(feature = "bench")]
        Some(Command::Bench(command)) => return bench(&command),
        None => {}
    }
    match start(&cli.flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leafcutter: {error}");
            ExitCode::from(2)
        }
    }
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let config = config::load(flags, cores)?;
    start_log()?;
    if !config.ignored.is_empty() {
        let keys = config.ignored.join(", ");
        tracing::warn!("settings of Ant Media's without a meaning here are ignored: {keys}");
    }
    end_on_panic();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| StartError::new(format!("the control plane cannot start: {e}")))?
        .block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), StartError> {
    let cannot_listen = |e| {
        let listen = config.server.listen;
        StartError::new(format!("cannot listen on {listen}: {e}")).at_key("server.listen")
    };
    let listener = TcpListener::bind(config.server.listen)
        .await
        .map_err(cannot_listen)?;
    let listening = listener.local_addr().map_err(cannot_listen)?;

    let bound = bind_workers(&config)?;
    let inboxes: Vec<_> = bound.iter().map(Bound::inbox).collect();
    let (to_control, mails) = mpsc::channel(MAX_CONTROL_MAILS);
    for worker in bound {
        worker
            .run(inboxes.clone(), to_control.clone())
            .map_err(|e| StartError::new(e.to_string()))?;
    }
    drop(to_control);

    let store = Store::start(&config.server.data_dir)
        .map_err(|e| StartError::new(format!("the store's thread cannot start: {e}")))?;
    let signals = Signals::install()
        .map_err(|e| StartError::new(format!("signals cannot be caught: {e}")))?;

    println!("listening on http://{listening}");
    println!("playground: http://{}/LiveApp/", reachable(listening));
    front::serve(Front {
        listener,
        apps: config.apps,
        inboxes,
        mails,
        store,
        load: HostLoad::new(config.server.cpu_limit, config.server.min_free_ram),
        seed: os_random()?,
        signals,
    })
    .await;
    Ok(())
}

fn bind_workers(config: &Config) -> Result<Vec<Bound>, StartError> {
    let certificate = Certificate::generate()
        .map(Arc::new)
        .ok_or_else(|| StartError::new("a DTLS certificate cannot be made"))?;
    let bind = |worker: u16| {
        let port = match config.media.port {
            0 => 0,
            first => first + worker,
        };
        let media_bind = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Bound::bind(worker::Config {
            worker: WorkerId(worker),
            media_bind,
            announce: config.media.announce.clone(),
            even_lengths: config.media.even_lengths,
            pin_cpu: config.server.pin_workers.then_some(usize::from(worker)),
            seed: os_random()?,
            certificate: certificate.clone(),
        })
        .map_err(|e| StartError::new(e.to_string()).at_key("media"))
    };
    (0..config.server.workers as u16).map(bind).collect()
}

fn os_random() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|e| StartError::new(format!("the system gives no randomness: {e}")))?;
    Ok(seed)
}

fn start_log() -> Result<(), StartError> {
    let text = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(text)
        .map_err(|e| StartError::new(e.to_string()).at_key(LOG_VARIABLE))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// A panic is a bug, and half a server is worse than none: whoever watches the process starts it
/// again. The message names the thread.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// An address for a browser on this machine.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listening.port())
    } else {
        listening
    }
}

const LOG_VARIABLE: &str = "LEAFCUTTER_LOG";

/// Mails that wait for control; when full, workers keep theirs and try again.
const MAX_CONTROL_MAILS: usize = 4096;
