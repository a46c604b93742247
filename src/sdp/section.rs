//! What the lines of one m-line add up to while a description is parsed.
//!
//! RFC 8866 §5.13 and §5.14. A section's own attributes win over those of the session level; checks
//! that need more than one section are in `parse.rs`, the only caller.

use std::collections::BTreeMap;

use super::SdpError;
use super::attribute;
use super::description::{Direction, Extmap, MediaSection, SectionKind, Simulcast, SsrcLine};
use super::format::{Feedback, Format};
use super::transport::{Fingerprint, IceParameters, Setup};
use crate::base::extension::ExtensionKind;
use crate::base::ids::{Mid, Pt};
use crate::base::limits::{MAX_FORMATS, MAX_REMOTE_CANDIDATES, MAX_SSRCS_PER_PEER};

/// Attributes that may stand at session level and then hold for every section without its own.
#[derive(Default)]
pub(super) struct Shared<'a> {
    ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
    direction: Option<Direction>,
    pub(super) allow_mixed: bool,
    extmaps: Vec<Extmap>,
    /// Id to URI of every extmap line, unknown ones included: at most 255.
    uris: BTreeMap<u8, &'a str>,
}

impl<'a> Shared<'a> {
    pub(super) fn attribute(&mut self, name: &'a str, value: &'a str) -> Result<(), SdpError> {
        match name {
            "ice-ufrag" => self.ufrag = Some(value.trim()),
            "ice-pwd" => self.pwd = Some(value.trim()),
            "fingerprint" if self.fingerprints.len() < MAX_FINGERPRINTS => {
                self.fingerprints.extend(Fingerprint::read(value));
            }
            "setup" => {
                if let Some(setup) = Setup::from_name(value.trim())
                    && *self.setup.get_or_insert(setup) != setup
                {
                    return Err(SdpError::Setup);
                }
            }
            "extmap-allow-mixed" => self.allow_mixed = true,
            "extmap" => self.extmap(value)?,
            _ => {
                if let Some(direction) = Direction::from_name(name) {
                    self.direction = Some(direction);
                }
            }
        }
        Ok(())
    }

    fn extmap(&mut self, value: &'a str) -> Result<(), SdpError> {
        let Some((id, direction, uri)) = attribute::extmap(value) else {
            return Ok(());
        };
        if *self.uris.entry(id).or_insert(uri) != uri {
            return Err(SdpError::ExtmapConflict);
        }
        if let Some(kind) = ExtensionKind::from_uri(uri) {
            self.add_extmap(Extmap {
                id,
                kind,
                direction,
            });
        }
        Ok(())
    }

    /// Keeps the first id of each kind.
    fn add_extmap(&mut self, extmap: Extmap) {
        if !self.extmaps.iter().any(|e| e.kind == extmap.kind) {
            self.extmaps.push(extmap);
        }
    }
}

/// What one m-line has collected so far.
pub(super) struct Section<'a> {
    out: MediaSection,
    shared: Shared<'a>,
    port_is_zero: bool,
    bundle_only: bool,
    /// Position in `out.formats` of each payload type.
    index: [Option<u8>; 128],
    /// One bit per payload type whose `a=rtpmap` was seen.
    mapped: u128,
    /// `a=rtcp-fb:*`.
    wildcard: Feedback,
}

impl<'a> Section<'a> {
    /// `<media> <port>["/"<count>] <protocol> <format> ...` (RFC 8866 §5.14).
    pub(super) fn begin(value: &str, position: usize) -> Result<Self, SdpError> {
        let mut words = value.split_ascii_whitespace();
        let mut word = || words.next().ok_or(SdpError::MalformedMedia);
        let (media_name, port, protocol) = (word()?, word()?, word()?);
        let port = port.split('/').next().unwrap_or_default();
        let port: u16 = port.parse().map_err(|_| SdpError::MalformedMedia)?;
        let mut rest = words.clone();
        let first_format = match rest.next() {
            Some(format) => format,
            None if port == 0 => "0",
            None => return Err(SdpError::MalformedMedia),
        };
        // Short enough to be unique among the at most 256 sections and to fit a mid.
        let mid = Mid::new(&format!("~{position}")).ok_or(SdpError::MalformedMid)?;
        let mut section = Self {
            out: empty_section(media_name, protocol, first_format, mid),
            shared: Shared::default(),
            port_is_zero: port == 0,
            bundle_only: false,
            index: [None; 128],
            mapped: 0,
            wildcard: Feedback::default(),
        };
        if section.out.media_kind().is_some() && section.out.is_rtp() {
            for word in words {
                let pt = attribute::payload_type(word).ok_or(SdpError::MalformedMedia)?;
                section.add_format(pt);
            }
        }
        Ok(section)
    }

    /// Mixed one-byte and two-byte extensions do not concern it, or it allows them.
    pub(super) fn allows_mixed(&self) -> bool {
        self.shared.allow_mixed || self.out.media_kind().is_none()
    }

    fn add_format(&mut self, pt: Pt) {
        let at = self.out.formats.len();
        let Some(slot) = self.index.get_mut(usize::from(pt.0)) else {
            return;
        };
        if slot.is_none() && at < MAX_FORMATS {
            *slot = u8::try_from(at).ok();
            self.out.formats.push(Format::from_pt(pt));
        }
    }

    fn format(&mut self, pt: Pt) -> Option<&mut Format> {
        let at = (*self.index.get(usize::from(pt.0))?)?;
        self.out.formats.get_mut(usize::from(at))
    }

    pub(super) fn attribute(&mut self, name: &'a str, value: &'a str) -> Result<(), SdpError> {
        let out = &mut self.out;
        match name {
            "mid" => return self.mid(value),
            "rtpmap" => return self.rtpmap(value),
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => out.rtcp_mux = true,
            "rtcp-rsize" => out.rtcp_rsize = true,
            "end-of-candidates" => out.end_of_candidates = true,
            "fmtp" => self.fmtp(value),
            "rtcp-fb" => self.rtcp_fb(value),
            "msid" if out.msid.is_none() => out.msid = Some(value.trim().to_owned()),
            "candidate" if out.candidates.len() < MAX_REMOTE_CANDIDATES => {
                out.candidates.push(format!("candidate:{value}"));
            }
            "sctp-port" => out.sctp_port = value.trim().parse().ok(),
            "max-message-size" => {
                let size: Option<u64> = value.trim().parse().ok();
                out.max_message_size = size.map(|s| u32::try_from(s).unwrap_or(u32::MAX));
            }
            "ssrc" => self.ssrc(value),
            "ssrc-group" if out.ssrc_groups.len() < MAX_SSRCS_PER_PEER => {
                out.ssrc_groups.extend(attribute::ssrc_group(value));
            }
            "rid" if out.rids.len() < MAX_SSRCS_PER_PEER => {
                let line = attribute::rid(value);
                let line = line.filter(|new| out.rids.iter().all(|r| r.rid != new.rid));
                out.rids.extend(line);
            }
            "simulcast" if out.simulcast == Simulcast::default() => {
                out.simulcast = attribute::simulcast(value).unwrap_or_default();
            }
            _ => return self.shared.attribute(name, value),
        }
        Ok(())
    }

    fn mid(&mut self, value: &str) -> Result<(), SdpError> {
        let mid = Mid::new(value.trim()).ok_or(SdpError::MalformedMid)?;
        if self.out.has_mid && self.out.mid != mid {
            return Err(SdpError::MalformedMid);
        }
        self.out.mid = mid;
        self.out.has_mid = true;
        Ok(())
    }

    fn rtpmap(&mut self, value: &str) -> Result<(), SdpError> {
        let Some((pt, rest)) = attribute::pt_and_rest(value) else {
            return Ok(());
        };
        let Some((name, clock_hz, channels)) = attribute::encoding(rest) else {
            return Ok(());
        };
        let bit = 1u128 << (pt.0 & 127);
        let again = self.mapped & bit != 0;
        let Some(format) = self.format(pt) else {
            return Ok(());
        };
        let mapped = Format {
            name: name.to_owned(),
            clock_hz,
            channels,
            ..Format::from_pt(pt)
        };
        if again && !format.maps_like(&mapped) {
            return Err(SdpError::FormatConflict);
        }
        format.name = mapped.name;
        format.clock_hz = clock_hz;
        format.channels = channels;
        self.mapped |= bit;
        Ok(())
    }

    fn fmtp(&mut self, value: &str) {
        let Some((pt, parameters)) = attribute::pt_and_rest(value) else {
            return;
        };
        if let Some(format) = self.format(pt) {
            if !format.fmtp.is_empty() {
                format.fmtp.push(';');
            }
            format.fmtp.push_str(parameters);
        }
    }

    fn rtcp_fb(&mut self, value: &str) {
        let Some((pt, feedback)) = value.trim().split_once(' ') else {
            return;
        };
        if pt == "*" {
            self.wildcard.add(feedback);
        } else if let Some(format) = attribute::payload_type(pt).and_then(|pt| self.format(pt)) {
            format.feedback.add(feedback);
        }
    }

    fn ssrc(&mut self, value: &str) {
        let Some((ssrc, name, value)) = attribute::ssrc(value) else {
            return;
        };
        let lines = &mut self.out.ssrcs;
        let at = match lines.iter().rposition(|line| line.ssrc == ssrc) {
            Some(at) => at,
            None if lines.len() < MAX_SSRCS_PER_PEER => {
                lines.push(SsrcLine {
                    ssrc,
                    cname: None,
                    msid: None,
                });
                lines.len() - 1
            }
            None => return,
        };
        let Some(line) = lines.get_mut(at) else {
            return;
        };
        match name {
            "cname" => line.cname = Some(value.to_owned()),
            "msid" => line.msid = Some(value.to_owned()),
            _ => {}
        }
    }

    /// Fills in what the session level says and checks what a section in use must have.
    pub(super) fn finish(self, session: &Shared<'_>) -> Result<MediaSection, SdpError> {
        let (mut out, mut own) = (self.out, self.shared);
        out.rejected = self.port_is_zero && !self.bundle_only;
        for extmap in &session.extmaps {
            if !own.uris.contains_key(&extmap.id) {
                own.add_extmap(*extmap);
            }
        }
        out.extmaps = own.extmaps;
        let direction = own.direction.or(session.direction);
        out.direction = direction.unwrap_or(Direction::SendRecv);
        out.setup = own.setup.or(session.setup);
        out.fingerprints = own.fingerprints;
        if out.fingerprints.is_empty() {
            out.fingerprints.clone_from(&session.fingerprints);
        }
        for format in &mut out.formats {
            format.feedback = format.feedback.or(self.wildcard);
        }
        if out.rejected {
            return Ok(out);
        }
        let ufrag = own.ufrag.or(session.ufrag);
        let pwd = own.pwd.or(session.pwd);
        out.ice = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) => Some(IceParameters::new(ufrag, pwd)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SdpError::MissingIce),
        };
        let unmapped = |f: &Format| f.name.is_empty() && f.pt.0 >= FIRST_DYNAMIC_PT;
        if out.formats.iter().any(unmapped) {
            return Err(SdpError::MissingRtpmap);
        }
        Ok(out)
    }
}

fn empty_section(media: &str, protocol: &str, first_format: &str, mid: Mid) -> MediaSection {
    MediaSection {
        kind: match media {
            "audio" => SectionKind::Audio,
            "video" => SectionKind::Video,
            "application" => SectionKind::Application,
            _ => SectionKind::Other,
        },
        rejected: false,
        mid,
        has_mid: false,
        bundled: false,
        direction: Direction::SendRecv,
        ice: None,
        fingerprints: Vec::new(),
        setup: None,
        rtcp_mux: false,
        rtcp_rsize: false,
        formats: Vec::new(),
        extmaps: Vec::new(),
        ssrcs: Vec::new(),
        ssrc_groups: Vec::new(),
        rids: Vec::new(),
        simulcast: Simulcast::default(),
        msid: None,
        candidates: Vec::new(),
        end_of_candidates: false,
        sctp_port: None,
        max_message_size: None,
        media_name: media.to_owned(),
        protocol: protocol.to_owned(),
        first_format: first_format.to_owned(),
    }
}

/// Fingerprints kept per section; further ones are ignored. One per hash is usual.
const MAX_FINGERPRINTS: usize = 8;

/// Payload types below it were assigned by RFC 3551 §6 and need no `a=rtpmap`.
const FIRST_DYNAMIC_PT: u8 = 35;
