//! Text to [`Description`], lenient in form and strict in what must not be ambiguous.
//!
//! RFC 8866 §5 with RFC 8829 §5.8. Lines end with CRLF or LF; unknown and malformed attribute
//! lines are ignored, and so are lines with control characters. One pass, no backtracking: time is
//! linear in the length, memory bounded by `base/limits.rs`. Chooses nothing. Called by `peer/` for
//! every remote description.

use std::collections::BTreeSet;

use super::SdpError;
use super::description::{Description, MediaSection};
use super::format::Format;
use super::section::{Section, Shared};
use crate::base::ids::Mid;
use crate::base::limits::{MAX_MEDIA_SECTIONS, MAX_SDP_LEN, MAX_SDP_LINE_LEN};

/// Parses an offer or an answer.
///
/// # Errors
/// Every variant of [`SdpError`] that names a fault of the text; those that depend on what this
/// server wants come from `answer` and `offer`.
pub fn parse(text: &str) -> Result<Description, SdpError> {
    if text.len() > MAX_SDP_LEN {
        return Err(SdpError::TooLong);
    }
    let mut parser = Parser::default();
    for line in text.split('\n') {
        if line.len() > MAX_SDP_LINE_LEN {
            return Err(SdpError::LineTooLong);
        }
        let line = line.trim_ascii();
        if !line.is_empty() && !line.bytes().any(|b| b.is_ascii_control()) {
            parser.line(line)?;
        }
    }
    parser.finish()
}

#[derive(Default)]
struct Parser<'a> {
    begun: bool,
    session_version: u64,
    bundle: Vec<Mid>,
    ice_lite: bool,
    shared: Shared<'a>,
    sections: Vec<Section<'a>>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: &'a str) -> Result<(), SdpError> {
        let Some((key, value)) = line.split_once('=') else {
            return self.begun.then_some(()).ok_or(SdpError::NotSdp);
        };
        if !self.begun && (key, value) != ("v", "0") {
            return Err(SdpError::NotSdp);
        }
        self.begun = true;
        match key {
            "o" => {
                let version = value.split_ascii_whitespace().nth(2);
                self.session_version = version.and_then(|v| v.parse().ok()).unwrap_or(0);
            }
            "m" => {
                if self.sections.len() >= MAX_MEDIA_SECTIONS {
                    return Err(SdpError::TooManySections);
                }
                let section = Section::begin(value, self.sections.len())?;
                self.sections.push(section);
            }
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                match self.sections.last_mut() {
                    Some(section) => section.attribute(name, value)?,
                    None => self.session_attribute(name, value)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn session_attribute(&mut self, name: &'a str, value: &'a str) -> Result<(), SdpError> {
        match name {
            "ice-lite" => self.ice_lite = true,
            "group" if self.bundle.is_empty() => {
                let mut words = value.split_ascii_whitespace();
                if words.next() == Some("BUNDLE") {
                    let mids = words.filter_map(Mid::new);
                    self.bundle = mids.take(MAX_MEDIA_SECTIONS).collect();
                }
            }
            _ => self.shared.attribute(name, value)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Description, SdpError> {
        if !self.begun {
            return Err(SdpError::NotSdp);
        }
        let bundled: BTreeSet<&Mid> = self.bundle.iter().collect();
        let mut mixed = self.shared.allow_mixed || !self.sections.is_empty();
        let mut media = Vec::with_capacity(self.sections.len());
        for section in self.sections {
            mixed &= self.shared.allow_mixed || section.allows_mixed();
            let mut section = section.finish(&self.shared)?;
            section.bundled = section.has_mid && bundled.contains(&section.mid);
            media.push(section);
        }
        check_mids(&media)?;
        check_bundle(&media)?;
        Ok(Description {
            session_version: self.session_version,
            bundle: self.bundle,
            ice_lite: self.ice_lite,
            extmap_allow_mixed: mixed,
            media,
        })
    }
}

/// Either no m-line has a mid or all that are in use have distinct ones.
fn check_mids(media: &[MediaSection]) -> Result<(), SdpError> {
    let named = media.iter().any(|s| s.has_mid);
    let mut seen = BTreeSet::new();
    for section in media {
        if named && !section.has_mid && !section.rejected {
            return Err(SdpError::MissingMid);
        }
        if !seen.insert(&section.mid) {
            return Err(SdpError::DuplicateMid);
        }
    }
    Ok(())
}

/// In a BUNDLE group a payload type means one encoding (RFC 8843 §10.1.1) and the one transport
/// has one DTLS role.
fn check_bundle(media: &[MediaSection]) -> Result<(), SdpError> {
    let mut known: [Option<&Format>; 128] = [None; 128];
    let mut setup = None;
    for section in media.iter().filter(|s| s.bundled && !s.rejected) {
        if let Some(own) = section.setup
            && *setup.get_or_insert(own) != own
        {
            return Err(SdpError::Setup);
        }
        for format in &section.formats {
            let Some(slot) = known.get_mut(usize::from(format.pt.0)) else {
                continue;
            };
            if !slot.get_or_insert(format).maps_like(format) {
                return Err(SdpError::FormatConflict);
            }
        }
    }
    Ok(())
}
