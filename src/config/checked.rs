//! What the program runs on: units, defaults, cross-checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Table;

use super::error::StartError;
use super::flags::Flags;
use super::raw::{RawFile, RawLimits, RawMedia};
use super::tls::{Acme, check_tls, is_host_name};
use crate::base::crowd::CrowdLimits;
use crate::model::mail::AppName;
use crate::model::settings::{AppSettings, BadSetting};

/// Checked settings; nothing in it can be refused later for its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[media]`.
    pub media: Media,
    /// `[limits]`.
    pub limits: Limits,
    /// Every application; the three built-in ones are always among them.
    pub apps: BTreeMap<AppName, Arc<AppSettings>>,
    /// Keys of the file that are settings of Ant Media's without a meaning here.
    pub ignored: Vec<String>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// TCP address of HTTP and WebSocket; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// HTTPS and secure WebSockets; `None` without `tls_listen`.
    pub tls: Option<Tls>,
    /// Names by which this server is asked, those of `[acme]` among them, in lower case.
    pub host_names: Vec<String>,
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// Where captures of peers go; `None`: they are refused.
    pub capture_dir: Option<PathBuf>,
    /// Worker threads, 1..=256.
    pub workers: usize,
    /// Each worker stays on one core.
    pub pin_workers: bool,
    /// Percent of all cores, 10..=100, above which newcomers are refused.
    pub cpu_limit: u8,
    /// Megabytes (2^20 bytes) of free memory below which newcomers are refused.
    pub min_free_ram: u64,
    /// How long sessions may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// `[limits]`; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// WebSockets.
    pub sockets: CrowdLimits,
    /// HTTP connections of one address.
    pub http_per_address: usize,
    /// Peers on their way from a grant to the end of their handshake.
    pub handshakes: CrowdLimits,
    /// Messages per second of one WebSocket.
    pub messages_per_s: u32,
}

/// `tls_listen` of `[server]`, and where its certificate is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// TCP address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Whose certificate is shown.
    pub certificate: TlsCertificate,
}

/// Where a certificate is from.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsCertificate {
    /// `tls_cert` and `tls_key` of `[server]`.
    Files {
        /// PEM file: the certificate first, then those that lead to its root.
        cert: PathBuf,
        /// PEM file of its private key.
        key: PathBuf,
    },
    /// An authority that is asked for it.
    Acme(Acme),
}

/// `[media]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// UDP port of worker 0, the next ones follow; 0: each worker gets a free one.
    pub port: u16,
    /// All workers receive on `port`; 0: on one free one.
    pub single_port: bool,
    /// As `port`, for TCP; `None`: media go over UDP alone.
    pub tcp_port: Option<u16>,
    /// IPv6 is served too, where the host has it.
    pub ipv6: bool,
    /// What clients are told instead of this machine's own addresses; empty: those.
    pub announce: Vec<IpAddr>,
    /// Neighbouring packets are padded to one length.
    pub even_lengths: bool,
}

impl Config {
    /// Puts flags over the file over the defaults and checks the whole.
    pub(super) fn check(file: RawFile, flags: &Flags, cores: usize) -> Result<Self, StartError> {
        let server = check_server(&file, flags, cores)?;
        let media = check_media(&file, flags, server.workers)?;
        let apps = check_apps(&file)?;
        Ok(Self {
            server,
            media,
            limits: limits_of(&file.limits),
            apps,
            ignored: file.ignored,
        })
    }
}

fn check_server(file: &RawFile, flags: &Flags, cores: usize) -> Result<Server, StartError> {
    let raw = &file.server;
    let asked = flags.workers.or(raw.workers).unwrap_or(0);
    let workers = if asked == 0 { cores.max(1) } else { asked };
    if asked > MAX_WORKERS {
        return Err(file.error(
            "server.workers",
            format!("{asked} is more than {MAX_WORKERS}"),
        ));
    }
    let asked = flags.cpu_limit.or(raw.cpu_limit);
    let cpu_limit = asked.unwrap_or(DEFAULT_CPU_LIMIT);
    if !(10..=100).contains(&cpu_limit) {
        let message = format!("{cpu_limit} is not in 10..=100 percent");
        return Err(file.error("server.cpu_limit", message));
    }
    let data_dir = flags.data_dir.clone().or_else(|| raw.data_dir.clone());
    let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    Ok(Server {
        listen: flags.listen.or(raw.listen).unwrap_or(DEFAULT_LISTEN),
        tls: check_tls(file, &data_dir)?,
        host_names: check_host_names(file)?,
        data_dir,
        capture_dir: raw.capture_dir.clone(),
        workers: workers.min(MAX_WORKERS),
        pin_workers: raw.pin_workers.unwrap_or(false),
        cpu_limit,
        min_free_ram: raw.min_free_ram.unwrap_or(DEFAULT_MIN_FREE_RAM),
        drain_timeout: Duration::from_secs(raw.drain_timeout.unwrap_or(0).min(MAX_DRAIN_S)),
    })
}

/// A list in which a name is mistyped would refuse whoever asks for the right one.
fn check_host_names(file: &RawFile) -> Result<Vec<String>, StartError> {
    let own = &file.server.host_names;
    if let Some(wrong) = own.iter().find(|name| !is_host_name(name)) {
        let message = format!("{wrong:?} is not the DNS name of one host, without a port");
        return Err(file.error("server.host_names", message));
    }
    let names = own.iter().chain(&file.acme.domains);
    Ok(names.map(|name| name.to_ascii_lowercase()).collect())
}

fn limits_of(raw: &RawLimits) -> Limits {
    Limits {
        sockets: CrowdLimits {
            all: raw.max_sockets.unwrap_or(DEFAULT_MAX_SOCKETS),
            per_address: raw
                .max_sockets_per_address
                .unwrap_or(DEFAULT_MAX_SOCKETS_PER_ADDRESS),
        },
        http_per_address: raw
            .max_http_per_address
            .unwrap_or(DEFAULT_MAX_HTTP_PER_ADDRESS),
        handshakes: CrowdLimits {
            all: raw.max_handshakes.unwrap_or(DEFAULT_MAX_HANDSHAKES),
            per_address: raw
                .max_handshakes_per_address
                .unwrap_or(DEFAULT_MAX_HANDSHAKES_PER_ADDRESS),
        },
        messages_per_s: raw
            .max_messages_per_second
            .unwrap_or(DEFAULT_MAX_MESSAGES_PER_S),
    }
}

fn check_media(file: &RawFile, flags: &Flags, workers: usize) -> Result<Media, StartError> {
    let RawMedia {
        port,
        single_port,
        tcp_port,
        ipv6,
        announce,
        even_lengths,
    } = &file.media;
    let port = flags.media_port.or(*port).unwrap_or(DEFAULT_MEDIA_PORT);
    let tcp_port = flags.media_tcp_port.or(*tcp_port);
    let single_port = flags.media_single_port.or(*single_port).unwrap_or(false);
    let first_ports = [
        ("media.port", port, if single_port { 1 } else { workers }),
        ("media.tcp_port", tcp_port.unwrap_or(0), workers),
    ];
    for (key, first, ports) in first_ports {
        let last = usize::from(first) + ports - 1;
        if first != 0 && last > usize::from(u16::MAX) {
            let message = format!("{workers} workers from port {first} on would pass port 65535");
            return Err(file.error(key, message));
        }
    }
    let announce = if flags.announce.is_empty() {
        announce.clone().unwrap_or_default()
    } else {
        flags.announce.clone()
    };
    if let Some(ip) = announce
        .iter()
        .find(|ip| ip.is_unspecified() || ip.is_multicast())
    {
        let message = format!("{ip} is not an address that a client can send to");
        return Err(file.error("media.announce", message));
    }
    Ok(Media {
        port,
        single_port,
        tcp_port,
        ipv6: ipv6.unwrap_or(true),
        announce,
        even_lengths: even_lengths.unwrap_or(true),
    })
}

fn check_apps(file: &RawFile) -> Result<BTreeMap<AppName, Arc<AppSettings>>, StartError> {
    let nothing = Table::new();
    let below = file.apps.get(DEFAULT_APP).unwrap_or(&nothing);
    let written = file.apps.keys().map(String::as_str);
    let mut apps = BTreeMap::new();
    for name in written
        .chain(BUILT_IN_APPS)
        .filter(|name| *name != DEFAULT_APP)
    {
        check_app_name(file, name)?;
        let mut merged = below.clone();
        merged.extend(file.apps.get(name).unwrap_or(&nothing).clone());
        let section = format!("app.{name}");
        let settings: AppSettings = merged
            .try_into()
            .map_err(|e: toml::de::Error| file.error(&section, e.message()))?;
        check_settings(file, name, &settings)?;
        apps.insert(AppName::from(name), Arc::new(settings));
    }
    Ok(apps)
}

fn check_app_name(file: &RawFile, name: &str) -> Result<(), StartError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let key = format!("app.{name}");
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
        let message = "an application's name is made of A-Z a-z 0-9 - _ . and begins with no dot";
        return Err(file.error(&key, message));
    }
    if RESERVED_PATHS.contains(&name) {
        return Err(file.error(&key, format!("/{name} is a path of the server itself")));
    }
    Ok(())
}

fn check_settings(file: &RawFile, app: &str, settings: &AppSettings) -> Result<(), StartError> {
    settings.check().map_err(|BadSetting { name, message }| {
        let own = format!("app.{app}.{name}");
        let is_own = file.apps.get(app).is_some_and(|t| t.contains_key(name));
        let shared = format!("app.{DEFAULT_APP}.{name}");
        file.error(if is_own { &own } else { &shared }, message)
    })
}

/// The application whose table lies below all others; no application itself.
const DEFAULT_APP: &str = "default";

/// Exist without being written: the names that Ant Media's SDKs, samples and documents use.
const BUILT_IN_APPS: [&str; 3] = ["WebRTCAppEE", "LiveApp", "live"];

/// First path segments that are not applications.
const RESERVED_PATHS: [&str; 3] = ["healthz", "readyz", "metrics"];

/// Ant Media's own HTTP port.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5080);
const DEFAULT_DATA_DIR: &str = "./leafcutter-data";
const DEFAULT_CPU_LIMIT: u8 = 85;
const DEFAULT_MIN_FREE_RAM: u64 = 10;

/// A day: whoever waits longer for sessions to end means to wait for ever.
const MAX_DRAIN_S: u64 = 86_400;

/// What the file descriptors of a process allow at most, mostly; a WebSocket costs 5 KiB.
const DEFAULT_MAX_SOCKETS: usize = 50_000;

/// A large office behind one address, and little memory when it is an attacker.
const DEFAULT_MAX_SOCKETS_PER_ADDRESS: usize = 4096;

/// A quarter of all: what one address holds leaves room for others.
const DEFAULT_MAX_HTTP_PER_ADDRESS: usize = 256;

/// A stampede's worth; an association takes some 40 KiB until its handshake is over.
const DEFAULT_MAX_HANDSHAKES: usize = 5000;

const DEFAULT_MAX_HANDSHAKES_PER_ADDRESS: usize = 1000;

/// Ten times what the busiest page says.
const DEFAULT_MAX_MESSAGES_PER_S: u32 = 200;
const DEFAULT_MEDIA_PORT: u16 = 50_000;

/// More cores than one machine has sockets for; each worker costs a UDP port and buffers.
const MAX_WORKERS: usize = 256;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::raw::{ACME_KEYS, LIMITS_KEYS, MEDIA_KEYS, SERVER_KEYS, setting_names};

    fn check(text: &str) -> Result<Config, String> {
        check_with(text, &Flags::default())
    }

    fn check_with(text: &str, flags: &Flags) -> Result<Config, String> {
        RawFile::parse(text, Path::new("x.toml"))
            .and_then(|file| Config::check(file, flags, 2))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_file_equals_the_defaults_and_names_every_key() {
        let text = include_str!("../../leafcutter.example.toml");
        assert_eq!(check(text), check(""));
        let lines: Vec<&str> = text.lines().map(|l| l.trim_start_matches("# ")).collect();
        let keys = SERVER_KEYS
            .iter()
            .chain(&ACME_KEYS)
            .chain(&MEDIA_KEYS)
            .chain(&LIMITS_KEYS)
            .map(ToString::to_string);
        for key in keys.chain(setting_names()) {
            let assignment = format!("{key} = ");
            let is_named = lines.iter().any(|line| line.starts_with(&assignment));
            assert!(is_named, "{key} is missing in leafcutter.example.toml");
        }
    }

    #[test]
    fn the_packaged_settings_name_the_directory_that_the_unit_gives() {
        let config = check(include_str!("../../packaging/leafcutter.toml")).unwrap();
        let unit = include_str!("../../packaging/leafcutter.service");
        let data_dir = config.server.data_dir.display();
        assert!(
            unit.contains(&format!("--data-dir {data_dir}\n")),
            "{data_dir}"
        );
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = check("").unwrap();
        assert_eq!(config.server.listen.to_string(), "0.0.0.0:5080");
        assert_eq!(config.server.data_dir, Path::new("./leafcutter-data"));
        assert_eq!((config.server.workers, config.media.port), (2, 50_000));
        assert_eq!(
            (config.server.cpu_limit, config.server.min_free_ram),
            (85, 10)
        );
        let names: Vec<&str> = config.apps.keys().map(|name| &**name).collect();
        assert_eq!(names, ["LiveApp", "WebRTCAppEE", "live"]);
    }

    #[test]
    fn names_of_the_certificate_are_names_of_the_server() {
        assert!(check("").unwrap().server.host_names.is_empty());
        let text = "[server]\ntls_listen = \"0.0.0.0:443\"\nhost_names = [\"SFU.internal\"]\n\
                    [acme]\ndomains = [\"sfu.Example.org\"]";
        let names = check(text).unwrap().server.host_names;
        assert_eq!(names, ["sfu.internal", "sfu.example.org"]);
    }

    #[test]
    fn flags_beat_the_file() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n\
                    [media]\nport = 7\ntcp_port = 8\nannounce = [\"192.0.2.1\"]";
        let file_only = check(text).unwrap();
        assert_eq!((file_only.server.workers, file_only.media.port), (3, 7));
        assert_eq!(file_only.media.tcp_port, Some(8));
        let flags = Flags {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            workers: Some(5),
            media_port: Some(0),
            media_tcp_port: Some(9),
            announce: vec!["192.0.2.2".parse().unwrap()],
            ..Flags::default()
        };
        let config = check_with(text, &flags).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!((config.server.workers, config.media.port), (5, 0));
        assert_eq!(config.media.tcp_port, Some(9));
        assert_eq!(config.media.announce, flags.announce);
    }

    #[test]
    fn a_single_port_is_asked_for_and_may_be_the_last_one() {
        assert!(!check("").unwrap().media.single_port);
        let text = "[media]\nport = 65535\nsingle_port = true";
        assert!(check(text).unwrap().media.single_port);
        let flags = Flags {
            media_single_port: Some(false),
            ..Flags::default()
        };
        let error = check_with(text, &flags).unwrap_err();
        assert!(error.contains("would pass port 65535"), "{error}");
        let tcp = format!("{text}\ntcp_port = 65535");
        assert!(check(&tcp).unwrap_err().contains("media.tcp_port"));
    }

    #[test]
    fn settings_without_a_meaning_here_are_named_and_not_refused() {
        let text = "[app.live]\nhlsMuxingEnabled = true\nvp8Enabled = false\ngopSize = 60";
        let config = check(text).unwrap();
        assert_eq!(
            config.ignored,
            ["app.live.gopSize", "app.live.hlsMuxingEnabled"]
        );
        assert!(!config.apps.get("live").unwrap().vp8_enabled);
        let typo = check("[app.live]\nhlsmuxingenabled = true").unwrap_err();
        assert!(typo.contains("unknown key"), "{typo}");
    }

    #[test]
    fn an_application_lies_above_the_default_table() {
        let text = "[app.default]\nwebRTCViewerLimit = 7\nvp8Enabled = false\n\
                    [app.mine]\nwebRTCViewerLimit = 9";
        let config = check(text).unwrap();
        let limits = |name: &str| {
            let app = config.apps.get(name).unwrap();
            (app.webrtc_viewer_limit, app.vp8_enabled, app.vp9_enabled)
        };
        assert_eq!(limits("mine"), (9, false, true));
        assert_eq!(limits("live"), (7, false, true));
        assert!(!config.apps.contains_key("default"));
    }

    #[test]
    fn refuses_what_cannot_work() {
        let cases = [
            ("[server]\ncpu_limit = 5", "server.cpu_limit: 5 is not in"),
            (
                "[server]\nhost_names = [\"sfu.example:5080\"]",
                "server.host_names: \"sfu.example:5080\" is not",
            ),
            (
                "[server]\nworkers = 257",
                "server.workers: 257 is more than 256",
            ),
            (
                "[media]\nport = 65535",
                "media.port: 2 workers from port 65535",
            ),
            (
                "[media]\nannounce = [\"0.0.0.0\"]",
                "media.announce: 0.0.0.0 is not",
            ),
            ("[app.\"a b\"]", "x.toml:1: app.a b: an application's name"),
            (
                "[app.metrics]",
                "app.metrics: /metrics is a path of the server",
            ),
            (
                "[app.live]\nstunServerURI = \"http://x\"",
                "x.toml:2: app.live.stunServerURI: ",
            ),
            (
                "[app.default]\nwebRTCClientStartTimeoutMs = 0",
                "x.toml:2: app.default.webRTCClientStartTimeoutMs: ",
            ),
            (
                "[app.live]\nwebRTCViewerLimit = -2",
                "app.live.webRTCViewerLimit: must be",
            ),
        ];
        for (text, expected) in cases {
            let error = check(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
