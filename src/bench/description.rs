//! The client's half of the negotiation: reads the server's descriptions, writes its own.
//!
//! RFC 8829, as little of it as a load tester needs. Offers one audio and one video track; takes
//! everything the server offers.

use std::fmt::Write;
use std::net::SocketAddr;

use super::link::{Identity, Remote};
use crate::base::codec::MediaKind;
use crate::base::extension::ExtensionKind;
use crate::base::ids::{Pt, Ssrc};
use crate::sdp::{self, Description, MediaSection};
use crate::transport::ice::Credentials;

/// One track in use, after both descriptions are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Audio or video.
    pub kind: MediaKind,
    /// Who sends it.
    pub ssrc: Ssrc,
    /// Payload type of the media.
    pub pt: Pt,
    /// Payload type of its retransmissions; `None` without RTX.
    pub rtx_pt: Option<Pt>,
    /// Id of the transport-wide sequence number; `None` when it was not negotiated.
    pub transport_cc: Option<u8>,
}

/// What a publisher offers.
#[derive(Clone, Copy, Debug)]
pub struct Tracks {
    /// SSRC of the video track; `None` offers none.
    pub video: Option<Ssrc>,
    /// SSRC of the audio track; `None` offers none.
    pub audio: Option<Ssrc>,
}

/// A publisher's offer: Opus and VP8, BUNDLE, transport-wide feedback. `setup` is its DTLS role.
pub fn offer(
    tracks: Tracks,
    credentials: &Credentials,
    identity: &Identity,
    setup: &str,
) -> String {
    let mut sections = Vec::new();
    if let Some(ssrc) = tracks.audio {
        sections.push(("audio", AUDIO_LINES, AUDIO_PT, ssrc));
    }
    if let Some(ssrc) = tracks.video {
        sections.push(("video", VIDEO_LINES, VIDEO_PT, ssrc));
    }
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    let mut out = head(&mids);
    for ((media, lines, pt, ssrc), mid) in sections.into_iter().zip(&mids) {
        let _ = write!(out, "m={media} 9 UDP/TLS/RTP/SAVPF {}\r\n", pt.0);
        transport(&mut out, credentials, identity, setup);
        let id = ExtensionKind::TransportCc.server_id();
        let uri = ExtensionKind::TransportCc.uri();
        let _ = write!(
            out,
            "a=mid:{mid}\r\na=extmap:{id} {uri}\r\na=sendonly\r\na=msid:bench {media}\r\n{lines}\
             a=ssrc:{} cname:bench\r\n",
            ssrc.0
        );
    }
    out
}

/// An answer that takes everything of the server's offer but its data channel, and transport-wide
/// feedback only with `transport_cc`: these clients speak no SCTP, and a server would go on trying.
/// A data channel that leads the bundle is taken, because it carries the transport.
pub fn answer(
    offer: &Description,
    credentials: &Credentials,
    identity: &Identity,
    transport_cc: bool,
) -> String {
    let in_use = |s: &&MediaSection| !s.rejected && s.media_kind().is_some();
    let leads = offer.media.first().filter(|s| s.media_kind().is_none());
    let mids: Vec<String> = leads
        .into_iter()
        .chain(offer.media.iter().filter(in_use))
        .map(|s| s.mid.as_str().to_owned())
        .collect();
    let mut out = head(&mids);
    for (at, section) in offer.media.iter().enumerate() {
        if at > 0 && section.media_kind().is_none() {
            let mid = section.mid.as_str();
            let _ = write!(
                out,
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
                 a=mid:{mid}\r\n"
            );
            continue;
        }
        answer_section(&mut out, section, credentials, identity, transport_cc);
    }
    out
}

fn answer_section(
    out: &mut String,
    section: &MediaSection,
    credentials: &Credentials,
    identity: &Identity,
    transport_cc: bool,
) {
    let mid = section.mid.as_str();
    let Some(kind) = section.media_kind() else {
        let port = if section.rejected { 0 } else { 9 };
        let _ = write!(
            out,
            "m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\n"
        );
        transport(out, credentials, identity, "active");
        let _ = write!(out, "a=mid:{mid}\r\na=sctp-port:5000\r\n");
        return;
    };
    let media = match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    if section.rejected {
        let _ = write!(
            out,
            "m={media} 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=inactive\r\n"
        );
        return;
    }
    let pts: Vec<String> = section.formats.iter().map(|f| f.pt.0.to_string()).collect();
    let _ = write!(out, "m={media} 9 UDP/TLS/RTP/SAVPF {}\r\n", pts.join(" "));
    transport(out, credentials, identity, "active");
    let _ = write!(out, "a=mid:{mid}\r\na=recvonly\r\na=rtcp-mux\r\n");
    let extmaps = section.extmaps.iter();
    for extmap in extmaps.filter(|e| transport_cc || e.kind != ExtensionKind::TransportCc) {
        let _ = write!(out, "a=extmap:{} {}\r\n", extmap.id, extmap.kind.uri());
    }
    for format in &section.formats {
        let pt = format.pt.0;
        let _ = write!(out, "a=rtpmap:{pt} {}/{}", format.name, format.clock_hz);
        if format.channels > 1 {
            let _ = write!(out, "/{}", format.channels);
        }
        out.push_str("\r\n");
        if !format.fmtp.is_empty() {
            let _ = write!(out, "a=fmtp:{pt} {}\r\n", format.fmtp);
        }
        let bandwidth = if transport_cc {
            "transport-cc"
        } else {
            "goog-remb"
        };
        let _ = write!(
            out,
            "a=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\na=rtcp-fb:{pt} {bandwidth}\r\n"
        );
    }
}

/// The server's end in its description, over TCP or UDP as `over_tcp` says; `candidates` are those
/// that came by themselves.
///
/// Of several candidates the one with the address of `host` is taken, where the WebSocket goes;
/// else the first.
pub fn remote(
    description: &Description,
    candidates: &[String],
    host: SocketAddr,
    over_tcp: bool,
) -> Option<Remote> {
    let section = description.media.iter().find(|s| s.ice.is_some())?;
    let ice = section.ice.as_ref()?;
    let texts = candidates.iter().chain(&section.candidates);
    let addresses: Vec<SocketAddr> = texts.filter_map(|text| address(text, over_tcp)).collect();
    let same_host = addresses.iter().find(|a| a.ip() == host.ip());
    let address = *same_host.or(addresses.first())?;
    Some(Remote {
        credentials: Credentials {
            ufrag: ice.ufrag.clone(),
            password: ice.pwd.clone(),
        },
        address,
    })
}

/// The tracks of the server's offer, as a viewer gets them.
pub fn offered_flows(offer: &Description) -> Vec<Flow> {
    offer
        .media
        .iter()
        .filter(|section| !section.rejected)
        .filter_map(|section| {
            let kind = section.media_kind()?;
            let rtx = section
                .formats
                .iter()
                .find(|f| f.name.eq_ignore_ascii_case("rtx"));
            Some(Flow {
                kind,
                ssrc: section.ssrcs.first()?.ssrc,
                pt: section.formats.first()?.pt,
                rtx_pt: rtx.map(|f| f.pt),
                transport_cc: section.extmap(ExtensionKind::TransportCc).map(|e| e.id),
            })
        })
        .collect()
}

/// The tracks that the server's answer takes of an [`offer`] of `tracks`.
pub fn answered_flows(answer: &Description, tracks: Tracks) -> Vec<Flow> {
    answer
        .media
        .iter()
        .filter(|section| !section.rejected)
        .filter_map(|section| {
            let kind = section.media_kind()?;
            let ssrc = match kind {
                MediaKind::Audio => tracks.audio?,
                MediaKind::Video => tracks.video?,
            };
            Some(Flow {
                kind,
                ssrc,
                pt: section.formats.first()?.pt,
                rtx_pt: None,
                transport_cc: section.extmap(ExtensionKind::TransportCc).map(|e| e.id),
            })
        })
        .collect()
}

/// Parses what the server sent; `None` when it is no description.
pub fn read(text: &str) -> Option<Description> {
    sdp::parse(text).ok()
}

fn head(mids: &[String]) -> String {
    let mids = mids.join(" ");
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n\
         a=extmap-allow-mixed\r\n"
    )
}

fn transport(out: &mut String, credentials: &Credentials, identity: &Identity, setup: &str) {
    let Credentials { ufrag, password } = credentials;
    let _ = write!(
        out,
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        identity.fingerprint()
    );
}

/// Address and port of `candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host`.
fn address(candidate: &str, over_tcp: bool) -> Option<SocketAddr> {
    let mut words = candidate.split_ascii_whitespace().skip(2);
    let wanted = if over_tcp { "tcp" } else { "udp" };
    if !words.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let ip = words.nth(1)?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

const AUDIO_PT: Pt = Pt(111);
const VIDEO_PT: Pt = Pt(96);

const AUDIO_LINES: &str = "a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
                           a=fmtp:111 minptime=10;useinbandfec=1\r\n\
                           a=rtcp-fb:111 transport-cc\r\n";
const VIDEO_LINES: &str = "a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
                           a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_candidates() {
        let text = "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host";
        let of = |text, over_tcp| address(text, over_tcp).map(|a| a.to_string());
        assert_eq!(of(text, false).as_deref(), Some("192.0.2.1:50000"));
        assert_eq!(of(text, true), None);
        let text = "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype passive";
        assert_eq!(of(text, true).as_deref(), Some("192.0.2.1:9"));
        assert_eq!(of(text, false), None);
        let text = "candidate:1 1 udp 1 x.local 50000 typ host";
        assert_eq!(of(text, false), None);
    }
}
