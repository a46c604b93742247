//! Writing SDP: the lines that offers and answers have in common.
//!
//! RFC 8829 §5.2.1 fixes the session part. Values come from this server's own state or from a
//! parsed description, whose lines hold no control characters; nothing is escaped here.

use std::fmt;

use super::transport::{Fingerprint, IceParameters};
use crate::base::codec::Codec;
use crate::base::ids::{Mid, Pt};
use crate::base::limits::MAX_DATA_MESSAGE_LEN;

/// What every description of one peer says about this server's end of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalParameters {
    /// ICE credentials of this peer's agent.
    pub ice: IceParameters,
    /// Digest of the certificate used in DTLS.
    pub fingerprint: Fingerprint,
    /// `candidate:...` texts; written once, into the first accepted section.
    pub candidates: Vec<String>,
}

/// `sess-id` and `sess-version` of the o-line (RFC 8866 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionVersion {
    /// The same in all descriptions of one peer; below 2^63.
    pub id: u64,
    /// One more in each description that differs from the one before.
    pub version: u64,
}

/// Text under construction; every line ends with CRLF.
pub(super) struct Lines(String);

impl Lines {
    /// The session part: origin, ICE-lite, the BUNDLE group of `mids` (left out when empty).
    pub(super) fn new<'a>(
        session: SessionVersion,
        mids: impl Iterator<Item = &'a Mid>,
        allow_mixed: bool,
    ) -> Self {
        let mut lines = Self(String::with_capacity(4096));
        lines.put(format_args!("v=0"));
        let SessionVersion { id, version } = session;
        lines.put(format_args!("o=- {id} {version} IN IP4 127.0.0.1"));
        lines.put(format_args!("s=-"));
        lines.put(format_args!("t=0 0"));
        lines.put(format_args!("a=ice-lite"));
        let mut group = String::new();
        for mid in mids {
            group.push(' ');
            group.push_str(mid.as_str());
        }
        if !group.is_empty() {
            lines.put(format_args!("a=group:BUNDLE{group}"));
        }
        if allow_mixed {
            lines.put(format_args!("a=extmap-allow-mixed"));
        }
        lines.put(format_args!("a=msid-semantic: WMS *"));
        lines
    }

    /// One line.
    pub(super) fn put(&mut self, line: fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.0, line);
        self.0.push_str("\r\n");
    }

    /// The lines that tie an accepted section to the transport, with or without candidates: the
    /// first accepted section has them.
    pub(super) fn transport(&mut self, local: &LocalParameters, setup: &str, candidates: bool) {
        self.put(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
        self.put(format_args!("a=ice-pwd:{}", local.ice.pwd));
        self.put(format_args!("a=fingerprint:{}", local.fingerprint));
        self.put(format_args!("a=setup:{setup}"));
        if candidates && !local.candidates.is_empty() {
            for candidate in &local.candidates {
                self.put(format_args!("a={candidate}"));
            }
            self.put(format_args!("a=end-of-candidates"));
        }
    }

    /// `c=` and the placeholder of a port that BUNDLE and rtcp-mux make meaningless.
    pub(super) fn connection(&mut self, rtp: bool) {
        self.put(format_args!("c=IN IP4 0.0.0.0"));
        if rtp {
            self.put(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        }
    }

    /// `a=rtpmap` of a codec and, when `fmtp` has text, its `a=fmtp`.
    pub(super) fn codec(&mut self, codec: Codec, pt: Pt, fmtp: &str) {
        let (name, hz, pt) = (codec.name(), codec.clock_hz(), pt.0);
        let channels = if codec == Codec::Opus { "/2" } else { "" };
        self.put(format_args!("a=rtpmap:{pt} {name}/{hz}{channels}"));
        if !fmtp.is_empty() {
            self.put(format_args!("a=fmtp:{pt} {fmtp}"));
        }
    }

    /// The mapping of Opus, payload type `media`, with one earlier packet behind it (RFC 2198 §5).
    pub(super) fn red(&mut self, red: Pt, media: Pt) {
        let hz = Codec::Opus.clock_hz();
        self.put(format_args!("a=rtpmap:{} red/{hz}/2", red.0));
        self.put(format_args!(
            "a=fmtp:{} {media}/{media}",
            red.0,
            media = media.0
        ));
    }

    /// The mapping of a retransmission payload type (RFC 4588 §8.1).
    pub(super) fn rtx(&mut self, rtx: Pt, media: Pt, clock_hz: u32) {
        self.put(format_args!("a=rtpmap:{} rtx/{clock_hz}", rtx.0));
        self.put(format_args!("a=fmtp:{} apt={}", rtx.0, media.0));
    }

    /// The data channel's own lines (RFC 8841).
    pub(super) fn data_channel(&mut self) {
        self.put(format_args!("a=sctp-port:{SCTP_PORT}"));
        self.put(format_args!("a=max-message-size:{MAX_DATA_MESSAGE_LEN}"));
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The port that every WebRTC endpoint uses inside DTLS (RFC 8841 §5).
pub(super) const SCTP_PORT: u16 = 5000;
