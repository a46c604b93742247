//! The command line and the `LEAFCUTTER_...` environment; a flag beats its variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What may be said at start; everything else is in the file.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "leafcutter", version, about)]
pub struct Flags {
    /// Settings file [default: ./leafcutter.toml if it exists]
    #[arg(long, value_name = "FILE", env = "LEAFCUTTER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address of HTTP and WebSocket, for example 0.0.0.0:5080
    #[arg(long, value_name = "ADDR", env = "LEAFCUTTER_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// First UDP port for media, one per worker; 0 lets the system choose each
    #[arg(long, value_name = "N", env = "LEAFCUTTER_MEDIA_PORT")]
    pub media_port: Option<u16>,

    /// All workers share the first UDP port for media
    #[arg(
        long,
        value_name = "BOOL",
        env = "LEAFCUTTER_MEDIA_SINGLE_PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub media_single_port: Option<bool>,

    /// First TCP port for media where UDP is blocked, one per worker; 0 lets the system choose each
    #[arg(long, value_name = "N", env = "LEAFCUTTER_MEDIA_TCP_PORT")]
    pub media_tcp_port: Option<u16>,

    /// Address that clients are told to send media to (repeatable)
    #[arg(
        long,
        value_name = "IP",
        env = "LEAFCUTTER_ANNOUNCE",
        value_delimiter = ','
    )]
    pub announce: Vec<IpAddr>,

    /// Worker threads; 0 means one per core
    #[arg(long, value_name = "N", env = "LEAFCUTTER_WORKERS")]
    pub workers: Option<usize>,

    /// Percent of all cores, 10 to 100, above which newcomers are refused; 100: never
    #[arg(long, value_name = "PERCENT", env = "LEAFCUTTER_CPU_LIMIT")]
    pub cpu_limit: Option<u8>,

    /// Directory for the database
    #[arg(long, value_name = "DIR", env = "LEAFCUTTER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// How the log is written, on standard error
    #[arg(long, value_enum, default_value_t, env = "LEAFCUTTER_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// How the log is written. What is logged is `LEAFCUTTER_LOG`'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
