//! `leafcutter doctor`: what of this machine and these settings would trouble a server, and what
//! to change.
//!
//! Looks at one thing after the other and changes nothing. The only packets it sends are one to
//! each announced address, one to itself, and questions for the names of `[acme]`. Called by
//! `main.rs`.

mod certificate;
mod host;
mod network;

use std::fmt;

use crate::config::Config;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was seen, and what to change.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The server works, with less than it could have.
    Warning,
    /// The server does not start, or nobody reaches it.
    Bad,
}

impl Finding {
    fn new(subject: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            subject,
            verdict,
            text: text.into(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        })
    }
}

/// Every finding, in the order in which they are worth reading; `now_s` is in seconds since 1970.
pub fn examine(config: &Config, now_s: u64) -> Vec<Finding> {
    let mut findings = vec![
        host::data_dir(&config.server.data_dir),
        host::files(),
        host::clock(),
        host::time_source(),
    ];
    findings.extend(host::governor());
    let listen = config.server.listen;
    findings.push(network::tcp_port("HTTP port", listen, "--listen"));
    if let Some(tls) = &config.server.tls {
        findings.extend(certificate::https(config, tls, now_s));
    }
    findings.extend(network::media(config));
    let workers = config.server.workers as u16;
    findings.extend(
        config
            .media
            .tcp_port
            .map(|first| network::media_tcp(first, workers)),
    );
    findings.extend(network::addresses(config));
    findings
}
