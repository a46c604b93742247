//! `leafcutter.toml` as written: every key optional, values verbatim, places remembered.
//!
//! Knows which keys exist and where in the file each one stands; what values mean and which
//! combinations are allowed is `checked.rs`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;
use toml::de::{DeTable, DeValue};

use super::error::StartError;
use crate::model::settings::{ALIASES, AppSettings, PREFIX, advice_for_check, is_foreign};

/// The file, section by section.
#[derive(Clone, Debug, Default)]
pub struct RawFile {
    /// `[server]`.
    pub server: RawServer,
    /// `[acme]`.
    pub acme: RawAcme,
    /// `[media]`.
    pub media: RawMedia,
    /// `[limits]`.
    pub limits: RawLimits,
    /// `[app.NAME]` tables, `default` among them, with aliases replaced by today's names.
    pub apps: BTreeMap<String, Table>,
    /// Keys in them that are Ant Media's and have no meaning here, with their tables.
    pub ignored: Vec<String>,
    /// All sections but the applications', key by key, values as TOML.
    pub written: BTreeMap<String, String>,
    places: Places,
}

/// `[server]` as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawServer {
    pub listen: Option<SocketAddr>,
    pub tls_listen: Option<SocketAddr>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub host_names: Vec<String>,
    pub data_dir: Option<PathBuf>,
    pub capture_dir: Option<PathBuf>,
    pub workers: Option<usize>,
    pub pin_workers: Option<bool>,
    pub cpu_limit: Option<u8>,
    pub min_free_ram: Option<u64>,
    pub drain_timeout: Option<u64>,
}

/// `[acme]` as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawAcme {
    pub domains: Vec<String>,
    pub contact: Option<String>,
    pub directory_url: Option<String>,
    pub directory_ca: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
}

/// `[limits]` as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawLimits {
    pub max_sockets: Option<usize>,
    pub max_sockets_per_address: Option<usize>,
    pub max_http_per_address: Option<usize>,
    pub max_handshakes: Option<usize>,
    pub max_handshakes_per_address: Option<usize>,
    pub max_messages_per_second: Option<u32>,
}

/// `[media]` as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawMedia {
    pub port: Option<u16>,
    pub single_port: Option<bool>,
    pub tcp_port: Option<u16>,
    pub ipv6: Option<bool>,
    pub announce: Option<Vec<IpAddr>>,
    pub even_lengths: Option<bool>,
}

/// Which file was read and on which line each key is.
#[derive(Clone, Debug, Default)]
struct Places {
    path: Option<PathBuf>,
    lines: BTreeMap<String, usize>,
}

impl RawFile {
    /// Reads `path`; without one `./leafcutter.toml`, which need not exist.
    pub fn load(path: Option<&Path>) -> Result<Self, StartError> {
        let file = path.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(e) if path.is_none() && e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(StartError::new(format!("cannot be read: {e}")).in_file(file, None)),
        }
    }

    /// Reads the text of a file; `path` is for error messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, StartError> {
        let syntax = |e: toml::de::Error| {
            let line = e.span().map(|span| line_of(text, span.start));
            StartError::new(e.message().replace('\n', " ")).in_file(path, line)
        };
        let spanned = DeTable::parse(text).map_err(syntax)?;
        let mut values: Table = toml::from_str(text).map_err(syntax)?;
        let mut file = Self::default();
        file.places.path = Some(path.to_owned());
        collect_lines(text, spanned.get_ref(), "", &mut file.places.lines);

        file.places.known("", &values, &SECTIONS)?;
        for section in ["server", "acme", "media", "limits"] {
            let table = values.get(section).and_then(toml::Value::as_table);
            for (key, value) in table.into_iter().flatten() {
                file.written.insert(join(section, key), value.to_string());
            }
        }
        let server = file.places.table("server", values.remove("server"))?;
        file.server = file.places.section("server", &server, &SERVER_KEYS)?;
        let acme = file.places.table("acme", values.remove("acme"))?;
        file.acme = file.places.section("acme", &acme, &ACME_KEYS)?;
        let media = file.places.table("media", values.remove("media"))?;
        file.media = file.places.section("media", &media, &MEDIA_KEYS)?;
        let limits = file.places.table("limits", values.remove("limits"))?;
        file.limits = file.places.section("limits", &limits, &LIMITS_KEYS)?;
        for (name, value) in file.places.table("app", values.remove("app"))? {
            let section = format!("app.{name}");
            let settings = file.places.table(&section, Some(value))?;
            let settings = file.places.without_prefix(&section, settings)?;
            let mut settings = file.places.without_aliases(&section, settings)?;
            file.places.refuse_unmade_checks(&section, &settings)?;
            settings.retain(|key, _| {
                if is_foreign(key) {
                    file.ignored.push(join(&section, key));
                }
                !is_foreign(key)
            });
            let known = setting_names();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let _: AppSettings = file.places.section(&section, &settings, &known)?;
            file.apps.insert(name, settings);
        }
        Ok(file)
    }

    /// An error about `key`, with its place if the file holds it.
    pub fn error(&self, key: &str, message: impl Into<String>) -> StartError {
        self.places.error(key, message)
    }
}

impl Places {
    fn error(&self, key: &str, message: impl Into<String>) -> StartError {
        let error = StartError::new(message).at_key(key);
        match (&self.path, self.lines.get(key)) {
            (Some(path), Some(&line)) => error.in_file(path, Some(line)),
            (Some(_) | None, _) => error,
        }
    }

    /// `value` as a table; a missing one is empty.
    fn table(&self, name: &str, value: Option<toml::Value>) -> Result<Table, StartError> {
        match value {
            None => Ok(Table::new()),
            Some(toml::Value::Table(table)) => Ok(table),
            Some(other) => {
                let is = other.type_str();
                Err(self.error(name, format!("must be a table [{name}], is {is}")))
            }
        }
    }

    /// Refuses keys that do not exist, naming the nearest that does.
    fn known(&self, section: &str, table: &Table, known: &[&str]) -> Result<(), StartError> {
        let Some(wrong) = table.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let hint = nearest(wrong, known)
            .map(|near| format!(", did you mean \"{near}\"?"))
            .unwrap_or_default();
        Err(self.error(&join(section, wrong), format!("unknown key{hint}")))
    }

    /// Reads one section; an error names the key it is about.
    fn section<T: DeserializeOwned>(
        &self,
        section: &str,
        table: &Table,
        known: &[&str],
    ) -> Result<T, StartError> {
        self.known(section, table, known)?;
        for (key, value) in table {
            let alone: Table = [(key.clone(), value.clone())].into_iter().collect();
            if let Err(e) = alone.try_into::<T>() {
                let reason = e.message().replace('\n', " ");
                return Err(self.error(&join(section, key), reason));
            }
        }
        table
            .clone()
            .try_into()
            .map_err(|e| self.error(section, e.message()))
    }

    /// Takes `settings.` off the names that have it, as Ant Media's own files do.
    fn without_prefix(&mut self, section: &str, table: Table) -> Result<Table, StartError> {
        let known = setting_names();
        let (mut short, mut long) = (Table::new(), Table::new());
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) if PREFIX.strip_suffix('.') == Some(&*key) => {
                    flatten(PREFIX, inner, &known, &mut long);
                }
                value => {
                    let of = if key.starts_with(PREFIX) {
                        &mut long
                    } else {
                        &mut short
                    };
                    of.insert(key, value);
                }
            }
        }
        for (long, value) in long {
            let name = long.strip_prefix(PREFIX).unwrap_or(&long);
            if let Some(&line) = self.lines.get(&join(section, &long)) {
                self.lines.entry(join(section, name)).or_insert(line);
            }
            if short.insert(name.to_owned(), value).is_some() {
                let message = format!("is {name}, which is set too");
                return Err(self.error(&join(section, &long), message));
            }
        }
        Ok(short)
    }

    /// Refuses checks that are switched on and not made here.
    fn refuse_unmade_checks(&self, section: &str, table: &Table) -> Result<(), StartError> {
        for (name, value) in table {
            let is_off = value.as_bool() == Some(false) || value.as_str() == Some("");
            if let Some(advice) = advice_for_check(name).filter(|_| !is_off) {
                let message = format!("is not checked here: {advice}");
                return Err(self.error(&join(section, name), message));
            }
        }
        Ok(())
    }

    /// Puts the names used here for others that are accepted; both at once is an error.
    fn without_aliases(&self, section: &str, mut table: Table) -> Result<Table, StartError> {
        for (alias, name) in ALIASES {
            let Some(value) = table.remove(alias) else {
                continue;
            };
            if table.insert(name.to_owned(), value).is_some() {
                let message = format!("is another name of {name}, which is set too");
                return Err(self.error(&join(section, alias), message));
            }
        }
        Ok(table)
    }
}

/// Puts the values of `table` into `flat`, and those of the tables in it that are no setting by
/// themselves, under dotted names behind `prefix`.
fn flatten(prefix: &str, table: Table, known: &[String], flat: &mut Table) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) if !known.contains(&key) => {
                flatten(&format!("{name}."), inner, known, flat);
            }
            value => {
                flat.insert(name, value);
            }
        }
    }
}

/// Names of all application settings, as they are written.
pub fn setting_names() -> Vec<String> {
    Table::try_from(AppSettings::default())
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

fn collect_lines(
    text: &str,
    table: &DeTable<'_>,
    prefix: &str,
    into: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        into.insert(path.clone(), line_of(text, key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            collect_lines(text, inner, &path, into);
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .iter()
        .map(|key| (strsim::jaro_winkler(&wrong, &key.to_lowercase()), *key))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

/// Read from the working directory when no file is named.
pub const DEFAULT_FILE: &str = "leafcutter.toml";

/// Jaro-Winkler likeness (0 to 1) from which a suggestion helps; below it is a guess.
const MIN_LIKENESS: f64 = 0.7;

const SECTIONS: [&str; 5] = ["server", "acme", "media", "limits", "app"];

pub const SERVER_KEYS: [&str; 12] = [
    "listen",
    "tls_listen",
    "tls_cert",
    "tls_key",
    "host_names",
    "data_dir",
    "capture_dir",
    "workers",
    "pin_workers",
    "cpu_limit",
    "min_free_ram",
    "drain_timeout",
];

pub const ACME_KEYS: [&str; 5] = [
    "domains",
    "contact",
    "directory_url",
    "directory_ca",
    "cache_dir",
];

pub const LIMITS_KEYS: [&str; 6] = [
    "max_sockets",
    "max_sockets_per_address",
    "max_http_per_address",
    "max_handshakes",
    "max_handshakes_per_address",
    "max_messages_per_second",
];

pub const MEDIA_KEYS: [&str; 6] = [
    "port",
    "single_port",
    "tcp_port",
    "ipv6",
    "announce",
    "even_lengths",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        RawFile::parse(text, Path::new("x.toml"))
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn names_file_line_key_and_the_nearest_key() {
        let cases = [
            (
                "[server]\nlisen = \"0.0.0.0:1\"\n",
                "x.toml:2: server.lisen: unknown key, did you mean \"listen\"?",
            ),
            (
                "\n[sever]\n",
                "x.toml:2: sever: unknown key, did you mean \"server\"?",
            ),
            (
                "[media]\nport = 1\nanounce = []",
                "x.toml:3: media.anounce: unknown key, did you mean \"announce\"?",
            ),
            (
                "[app.live]\n\nwebrtcviewerlimits = 3",
                "x.toml:3: app.live.webrtcviewerlimits: unknown key, \
                 did you mean \"webRTCViewerLimit\"?",
            ),
            (
                "[app.default]\nzzzzqqqq = 1",
                "x.toml:2: app.default.zzzzqqqq: unknown key",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
    }

    #[test]
    fn names_the_key_whose_value_has_the_wrong_type() {
        let text = "[app.live]\nvp8Enabled = true\nwebRTCViewerLimit = \"ten\"\n";
        let error = refusal(text);
        assert!(
            error.starts_with("x.toml:3: app.live.webRTCViewerLimit: invalid type: string"),
            "{error}"
        );
        let error = refusal("[server]\ncpu_limit = 300\n");
        assert!(error.starts_with("x.toml:2: server.cpu_limit: "), "{error}");
        assert!(refusal("[media]\nport = 70000").contains("media.port"));
        assert!(refusal("app = 3").starts_with("x.toml:1: app: must be a table [app], is integer"));
        assert!(refusal("[server]\nlisten = \"here\"").contains("server.listen"));
        assert!(refusal("[server\n").starts_with("x.toml:1: "));
    }

    #[test]
    fn takes_the_other_name_of_a_setting_but_not_both() {
        let older = "\"settings.webrtc.client.start.timeoutMs\" = 7000";
        let file = RawFile::parse(&format!("[app.live]\n{older}"), Path::new("x")).unwrap();
        let live = file.apps.get("live").unwrap();
        assert_eq!(
            live.get("webRTCClientStartTimeoutMs"),
            Some(&toml::Value::Integer(7000))
        );
        let spaced = "[app.live]\nsettings.webrtc.stunServerURI = \"stun:a\"";
        let file = RawFile::parse(spaced, Path::new("x")).unwrap();
        assert!(file.apps["live"].contains_key("stunServerURI"));
        let both = format!("[app.live]\n{older}\nwebRTCClientStartTimeoutMs = 1");
        assert!(
            refusal(&both).contains("another name"),
            "{}",
            refusal(&both)
        );
    }

    #[test]
    fn takes_names_with_the_prefix_that_they_have_in_ant_media_s_files() {
        let text = "[app.live]\nsettings.vp8Enabled = false\nsettings.hlsTime = 2\n\
                    settings.participantVisibilityMatrix = { a = [\"b\"] }\n\
                    settings.webrtc.client.start.timeoutMs = 7000\nsettings.gopSize = 1";
        let file = RawFile::parse(text, Path::new("x")).unwrap();
        let live = file.apps.get("live").unwrap();
        let timeout = live.get("webRTCClientStartTimeoutMs");
        assert_eq!(timeout, Some(&toml::Value::Integer(7000)));
        assert_eq!(live.get("vp8Enabled"), Some(&toml::Value::Boolean(false)));
        assert!(live["participantVisibilityMatrix"].is_table());
        assert_eq!(live.len(), 3);
        assert_eq!(file.ignored, ["app.live.gopSize", "app.live.hlsTime"]);
        let cases = [
            (
                "[app.live]\nvp8Enabled = true\nsettings.vp8Enabled = true",
                "x.toml:3: app.live.settings.vp8Enabled: is vp8Enabled, which is set too",
            ),
            (
                "[app.live]\n\nsettings.vp8Enabld = true",
                "x.toml:3: app.live.vp8Enabld: unknown key, did you mean \"vp8Enabled\"?",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
        let error = refusal("[app.live]\nsettings = 3");
        assert!(error.contains("app.live.settings: unknown key"), "{error}");
    }

    #[test]
    fn a_check_that_is_not_made_here_is_refused_where_it_is_on() {
        let text = "[app.live]\ntokenControlEnabled = false\njwksURL = \"\"";
        assert!(RawFile::parse(text, Path::new("x")).is_ok());
        for (line, advice) in [
            ("tokenControlEnabled = true", "playTokenControlEnabled"),
            ("settings.jwtBlacklistEnabled = true", "short time"),
            ("jwksURL = \"https://a/keys\"", "own key"),
            ("timeTokenSubscriberOnly = 1", "enableTimeTokenForPlay"),
        ] {
            let error = refusal(&format!("[app.live]\n{line}"));
            assert!(error.starts_with("x.toml:2: app.live."), "{error}");
            assert!(error.contains(advice), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = RawFile::load(Some(Path::new("/nonexistent/x.toml"))).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/x.toml: cannot be read")
        );
    }
}
