//! The command line of `leafcutter bench`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::Front;
use super::viewer::Feedback;

/// What is measured.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// What this machine's kernel and cipher cost by themselves
    Floor(FloorArgs),
    /// Publishers and viewers against a server that speaks the Ant Media protocol
    Fanout(FanoutArgs),
    /// People come and go for a long time; what the server keeps
    Soak(SoakArgs),
}

/// `bench floor`.
#[derive(Clone, Debug, Args)]
pub struct FloorArgs {
    /// Milliseconds per figure
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub millis: u64,
    /// Receivers of the composed figures, each with a key and a socket of its own
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub receivers: u32,
    /// Bytes of video payload per packet in the composed figures
    #[arg(long, default_value_t = 1150, value_parser = clap::value_parser!(u32).range(40..=1400))]
    pub size: u32,
    /// Bursts per second in the composed figures called paced
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fps: u32,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `bench fanout`.
#[derive(Clone, Debug, Args)]
pub struct FanoutArgs {
    /// WebSocket of the server
    #[arg(long, default_value = "ws://127.0.0.1:5080/LiveApp/websocket")]
    pub url: String,
    /// Broadcasts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub broadcasts: u32,
    /// Viewers, over all broadcasts; with --ramp the first load
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub viewers: u32,
    /// Video packets per second of each broadcast
    #[arg(long, default_value_t = 250.0)]
    pub pps: f64,
    /// Bytes of video payload per packet
    #[arg(long, default_value_t = 1150, value_parser = clap::value_parser!(u32).range(40..=1180))]
    pub size: u32,
    /// Video frames per second
    #[arg(long, default_value_t = 30.0)]
    pub fps: f64,
    /// Audio too: 50 packets of 120 bytes per second
    #[arg(long)]
    pub audio: bool,
    /// Seconds between everybody playing and the measurement, in which estimates settle
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub settle: u64,
    /// Seconds that are measured after that
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// Find the highest load with loss below 0.1 % and p99 latency below --p99-max-ms
    #[arg(long)]
    pub ramp: bool,
    /// What the p99 latency of a load that holds may be
    #[arg(long, default_value_t = 10.0, value_name = "MS")]
    pub p99_max_ms: f64,
    /// Viewers that ask to play per second; 0 lets all ask at once
    #[arg(long, default_value_t = 0.0, value_name = "N")]
    pub joins_per_second: f64,
    /// What viewers report beside reception and missing packets
    #[arg(long, value_enum, default_value_t)]
    pub feedback: Feedback,
    /// The server's signalling
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Front,
    /// Measure the floor too, for what the server was seen to send
    #[arg(long)]
    pub floor: bool,
    /// One viewer in this many decrypts and checks every packet
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub verify_every: u32,
    /// The server's process, for its processor time and memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// Threads of the tester
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report with charts, one HTML file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `bench soak`.
#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// WebSocket of the server
    #[arg(long, default_value = "ws://127.0.0.1:5080/LiveApp/websocket")]
    pub url: String,
    /// The server's process, on this machine
    #[arg(long)]
    pub pid: u32,
    /// Clients that come each second, one of them a publisher
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub joins_per_second: u32,
    /// Seconds of coming and going
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Seconds of it before the first level of memory is taken
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub warm_up: u64,
    /// Seconds without anybody before a level is taken
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub rest: u64,
    /// Fail when memory at the end is above the first level by more than this many percent
    #[arg(long, default_value_t = 5.0)]
    pub growth_max: f64,
    /// Write a row per second
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a chart
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// A server's WebSocket, out of its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address of its HTTP port.
    pub server: SocketAddr,
    /// `/{app}/websocket`.
    pub path: String,
}

impl Target {
    /// Reads `ws://host:port/path`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| format!("{url}: only ws:// is spoken"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if host
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
        {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let found = with_port
            .to_socket_addrs()
            .map_err(|e| format!("{host}: {e}"))?;
        // IPv4 first: media goes where the WebSocket goes.
        let mut found: Vec<SocketAddr> = found.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let server = found
            .first()
            .copied()
            .ok_or_else(|| format!("{host}: no address"))?;
        Ok(Self {
            server,
            path: format!("/{path}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let target = Target::parse("ws://127.0.0.1:5080/live/websocket").unwrap();
        assert_eq!(target.server, "127.0.0.1:5080".parse().unwrap());
        assert_eq!(target.path, "/live/websocket");
        assert!(Target::parse("http://127.0.0.1/").is_err());
        assert_eq!(Target::parse("ws://127.0.0.1/x").unwrap().server.port(), 80);
    }
}
