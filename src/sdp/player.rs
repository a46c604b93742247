//! The server answers a player's offer: WHEP (draft-ietf-wish-whep §4.2), where the player begins.
//!
//! The tracks are those that the server would have offered (`offer.rs`); each goes onto the first
//! m-line of the player that takes its codec. An answer speaks the offerer's numbers (RFC 3264
//! §6.1, RFC 8285 §6), so what is sent is renumbered ([`Numbers`]). Called by
//! `engine/` for players.

use super::SdpError;
use super::accept::{Accepted, AcceptedSection, refused};
use super::answer::DataSection;
use super::choose::{is_usable, rtx_of, viewer_fmtp};
use super::description::{Description, Direction, MediaSection};
use super::format::{Format, FormatRole};
use super::offer::{OfferSection, SendSection, extensions};
use super::text::{Lines, LocalParameters, SessionVersion};
use super::transport::{self, RemoteTransport, Setup};
use crate::base::codec::Codec;
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::ids::Pt;

/// Payload types and extension ids of a player who made the offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Of the codec.
    pub pt: Pt,
    /// Of its retransmissions; `None` when the player takes none.
    pub rtx_pt: Option<Pt>,
    /// Of what both sides have; each 1..=14, so that they fit the one-byte form.
    pub extensions: ExtensionMap,
}

/// What became of a player's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// As if the player had answered the server's sections, one each.
    pub accepted: Accepted,
    /// For each m-line of the player's offer, the server's section on it.
    lanes: Vec<Option<usize>>,
}

/// Puts the server's `sections` onto the m-lines of `offer`.
///
/// # Errors
/// `NothingAccepted` when nothing fits; `Setup` when the player insists on being the DTLS server;
/// `MissingIce`, `MissingFingerprint`, `IceLite`.
pub fn negotiate(sections: &[OfferSection], offer: &Description) -> Result<Crossed, SdpError> {
    let mux = offer.media.iter().any(|s| s.bundled && s.rtcp_mux);
    let mut leader: Option<(usize, bool)> = None;
    let mut lanes: Vec<Option<usize>> = Vec::with_capacity(offer.media.len());
    let mut accepted = Accepted {
        transport: None,
        leader: None,
        sections: sections.iter().map(refused).collect(),
        data: None,
    };
    for (at, media) in offer.media.iter().enumerate() {
        let joins = leader.is_none_or(|(_, bundled)| bundled && media.bundled);
        let muxed = media.rtcp_mux || (media.bundled && mux) || media.is_data_channel();
        let free = (0..)
            .zip(sections)
            .filter(|(i, _)| !lanes.contains(&Some(*i)));
        let usable = joins && muxed && !media.rejected;
        let formats = if usable {
            formats_of(media)
        } else {
            Vec::new()
        };
        let found = free
            .filter(|_| usable)
            .find_map(|(i, section)| Some((i, take(section, media, &formats)?)));
        if let Some((i, taken)) = found {
            leader.get_or_insert((at, media.bundled));
            if let Some(place) = accepted.sections.get_mut(i) {
                *place = taken;
            }
            if media.is_data_channel() {
                accepted.data = Some(DataSection::of(media));
            }
            lanes.push(Some(i));
        } else {
            lanes.push(None);
        }
    }
    let (first, _) = leader.ok_or(SdpError::NothingAccepted)?;
    match transport::setup_of(offer, first) {
        Some(Setup::Active | Setup::ActPass) | None => {}
        Some(Setup::Passive | Setup::HoldConn) => return Err(SdpError::Setup),
    }
    accepted.transport = Some(RemoteTransport::of(offer, first)?);
    let leading = lanes.get(first).copied().flatten();
    let leading = leading.and_then(|at| sections.get(at));
    accepted.leader = leading.map(|section| section.mid().clone());
    Ok(Crossed { accepted, lanes })
}

/// What `media` takes of `section`; `None` when they do not fit.
fn take(
    section: &OfferSection,
    media: &MediaSection,
    formats: &[Usable<'_>],
) -> Option<AcceptedSection> {
    match section {
        OfferSection::Data { .. } if media.is_data_channel() => Some(AcceptedSection {
            accepted: true,
            ..refused(section)
        }),
        OfferSection::Send(send) if !send.disabled => take_track(send, media, formats),
        OfferSection::Send(_) | OfferSection::Data { .. } | OfferSection::Stopped { .. } => None,
    }
}

/// A format that the player takes.
#[derive(Clone, Copy)]
struct Usable<'a> {
    codec: Codec,
    /// The server's payload type for the same.
    server_pt: Pt,
    format: &'a Format,
}

/// What `media` takes. Looked up once, because a player may be offered dozens of tracks.
fn formats_of(media: &MediaSection) -> Vec<Usable<'_>> {
    let usable = |format| {
        let FormatRole::Media(codec) = Format::role(format) else {
            return None;
        };
        is_usable(codec, format).then(|| Usable {
            codec,
            server_pt: codec.server_pts(&viewer_fmtp(codec, format)).0,
            format,
        })
    };
    media.formats.iter().filter_map(usable).collect()
}

fn take_track(
    send: &SendSection,
    media: &MediaSection,
    formats: &[Usable<'_>],
) -> Option<AcceptedSection> {
    let fits = media.is_rtp() && media.direction.receives();
    if !fits || media.media_kind() != Some(send.kind) {
        return None;
    }
    let of_codec = || formats.iter().filter(|f| f.codec == send.codec);
    // The publisher's own profile; another one of its codec is better than nothing.
    let mut same = of_codec().filter(|f| f.server_pt == send.server_pt);
    let format = same.next().or_else(|| of_codec().next())?.format;
    let mut map = ExtensionMap::default();
    for kind in extensions(send.kind, send.codec) {
        if let Some(extmap) = media.extmap(kind)
            && extmap.receives()
            && (1..=14).contains(&extmap.id)
        {
            map.insert(kind, extmap.id);
        }
    }
    let rtx_pt = rtx_of(media, format).filter(|_| send.rtx_ssrc.is_some());
    Some(AcceptedSection {
        mid: send.mid.clone(),
        accepted: true,
        nack: format.feedback.nack,
        rtx: rtx_pt.is_some(),
        // Its blocks would have to be numbered anew for this player alone.
        red: false,
        transport_cc: format.feedback.transport_cc && map.id(ExtensionKind::TransportCc).is_some(),
        extensions: map.clone(),
        numbers: Some(Numbers {
            pt: format.pt,
            rtx_pt,
            extensions: map,
        }),
    })
}

/// The answer's text. `crossed` is what [`negotiate`] made of the same `sections` and `offer`.
pub fn write(
    sections: &[OfferSection],
    offer: &Description,
    crossed: &Crossed,
    local: &LocalParameters,
    session: SessionVersion,
) -> String {
    let lane = |at: &Option<usize>| {
        let at = (*at)?;
        Some((sections.get(at)?, crossed.accepted.sections.get(at)?))
    };
    let pairs = || offer.media.iter().zip(crossed.lanes.iter().map(lane));
    let bundle = pairs().filter(|(media, lane)| media.bundled && lane.is_some());
    let bundle = bundle.map(|(media, _)| &media.mid);
    let mut lines = Lines::new(session, bundle, offer.extmap_allow_mixed);
    let mut first = true;
    for (media, lane) in pairs() {
        let (name, protocol) = (&media.media_name, &media.protocol);
        let numbers = lane.and_then(|(_, taken)| taken.numbers.as_ref());
        let (port, formats) = match (lane, numbers) {
            (Some(_), Some(numbers)) => (9, payload_types(numbers)),
            (Some(_), None) => (9, media.first_format.clone()),
            (None, _) => (0, media.first_format.clone()),
        };
        lines.put(format_args!("m={name} {port} {protocol} {formats}"));
        lines.connection(numbers.is_some());
        if media.has_mid {
            lines.put(format_args!("a=mid:{}", media.mid));
        }
        let Some((section, taken)) = lane else {
            lines.put(format_args!("a=inactive"));
            continue;
        };
        lines.transport(local, "passive", first);
        first = false;
        match (section, numbers) {
            (OfferSection::Send(send), Some(numbers)) => {
                write_track(&mut lines, send, (media, taken, numbers));
            }
            (OfferSection::Send(_) | OfferSection::Data { .. }, _)
            | (OfferSection::Stopped { .. }, _) => lines.data_channel(),
        }
    }
    lines.finish()
}

fn payload_types(numbers: &Numbers) -> String {
    match numbers.rtx_pt {
        Some(rtx) => format!("{} {}", numbers.pt.0, rtx.0),
        None => numbers.pt.0.to_string(),
    }
}

fn write_track(
    lines: &mut Lines,
    send: &SendSection,
    (media, taken, numbers): (&MediaSection, &AcceptedSection, &Numbers),
) {
    for kind in extensions(send.kind, send.codec) {
        if let Some(id) = numbers.extensions.id(kind) {
            let offered = media.extmap(kind).and_then(|extmap| extmap.direction);
            let direction = match offered == Some(Direction::RecvOnly) {
                true => "/sendonly",
                false => "",
            };
            lines.put(format_args!("a=extmap:{id}{direction} {}", kind.uri()));
        }
    }
    lines.put(format_args!("a=sendonly"));
    let (stream, track) = (&send.stream_id, &send.track_id);
    lines.put(format_args!("a=msid:{stream} {track}"));
    lines.put(format_args!("a=rtcp-mux"));
    if media.rtcp_rsize {
        lines.put(format_args!("a=rtcp-rsize"));
    }
    let format = media.formats.iter().find(|f| f.pt == numbers.pt);
    let fmtp = format.map(|f| f.fmtp.as_str()).unwrap_or_default();
    lines.codec(send.codec, numbers.pt, fmtp);
    let feedback = format.map(|f| f.feedback).unwrap_or_default();
    for (taken, text) in [
        (taken.transport_cc, "transport-cc"),
        (feedback.fir, "ccm fir"),
        (taken.nack, "nack"),
        (feedback.pli, "nack pli"),
    ] {
        if taken {
            lines.put(format_args!("a=rtcp-fb:{} {text}", numbers.pt.0));
        }
    }
    let rtx_ssrc = numbers.rtx_pt.and(send.rtx_ssrc);
    if let Some(rtx) = numbers.rtx_pt {
        lines.rtx(rtx, numbers.pt, send.codec.clock_hz());
    }
    if let Some(rtx) = rtx_ssrc {
        lines.put(format_args!("a=ssrc-group:FID {} {}", send.ssrc.0, rtx.0));
    }
    for ssrc in std::iter::once(send.ssrc).chain(rtx_ssrc) {
        lines.put(format_args!("a=ssrc:{} cname:{}", ssrc.0, send.cname));
        lines.put(format_args!("a=ssrc:{} msid:{stream} {track}", ssrc.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codec::{Codec, MediaKind};
    use crate::base::ids::{Mid, Ssrc};
    use crate::sdp::{Fingerprint, HashFunction, IceParameters, parse};

    fn section(mid: &str, codec: Codec) -> OfferSection {
        let fmtp = match codec {
            Codec::Opus => "minptime=10;useinbandfec=1",
            _ => "",
        };
        let (server_pt, server_rtx_pt) = codec.server_pts(fmtp);
        OfferSection::Send(SendSection {
            mid: Mid::new(mid).unwrap(),
            kind: codec.kind(),
            codec,
            fmtp: fmtp.to_owned(),
            server_pt,
            server_rtx_pt,
            red: false,
            track_id: format!("track-{mid}"),
            stream_id: "s".to_owned(),
            ssrc: Ssrc(1000),
            rtx_ssrc: server_rtx_pt.map(|_| Ssrc(1001)),
            cname: "s".to_owned(),
            disabled: false,
        })
    }

    /// What Firefox offers, as a player.
    fn offer() -> Description {
        let text = include_str!("../../tests/data/sdp/firefox.sdp");
        let text = text.replace("a=sendrecv", "a=recvonly");
        parse(&text.replace("a=sendonly", "a=recvonly")).unwrap()
    }

    fn answer(sections: &[OfferSection], offer: &Description) -> (Crossed, Description) {
        let crossed = negotiate(sections, offer).unwrap();
        let local = LocalParameters {
            ice: IceParameters {
                ufrag: "abcd".to_owned(),
                pwd: "0123456789abcdef012345".to_owned(),
            },
            fingerprint: Fingerprint {
                hash: HashFunction::Sha256,
                bytes: vec![7; 32],
            },
            candidates: vec!["candidate:1 1 udp 1 192.0.2.1 5 typ host".to_owned()],
        };
        let session = SessionVersion { id: 1, version: 1 };
        // Our own reader refuses ICE-lite only where it is asked for a transport.
        let text = write(sections, offer, &crossed, &local, session);
        (crossed, parse(&text).unwrap())
    }

    #[test]
    fn tracks_go_onto_the_lines_of_their_kind_in_the_players_numbers() {
        // The player's lines are in the other order: audio first.
        let sections = [section("v", Codec::Vp8), section("a", Codec::Opus)];
        let offer = offer();
        let (crossed, answer) = answer(&sections, &offer);
        assert_eq!(answer.media.len(), offer.media.len());
        for (kind, at, codec) in [
            (MediaKind::Video, 0, Codec::Vp8),
            (MediaKind::Audio, 1, Codec::Opus),
        ] {
            let of_kind = |s: &&MediaSection| s.media_kind() == Some(kind);
            let offered = offer.media.iter().find(of_kind).unwrap();
            let answered = answer.media.iter().find(of_kind).unwrap();
            let taken = &crossed.accepted.sections[at];
            let numbers = taken.numbers.as_ref().unwrap();
            assert!(taken.accepted && !answered.rejected);
            assert_eq!(answered.mid, offered.mid);
            assert_eq!(answered.formats[0].pt, numbers.pt);
            let format = offered.formats.iter().find(|f| f.pt == numbers.pt);
            assert_eq!(format.unwrap().role(), FormatRole::Media(codec));
            assert!(answered.direction.sends() && !answered.direction.receives());
            for extmap in &answered.extmaps {
                assert_eq!(offered.extmap(extmap.kind).unwrap().id, extmap.id);
            }
        }
        let video = crossed.accepted.sections[0].numbers.as_ref().unwrap();
        assert_eq!(video.pt, Pt(120), "Firefox's number for VP8");
        assert!(video.rtx_pt.is_some());
    }

    #[test]
    fn a_player_that_repairs_audio_is_sent_it_again() {
        let text = include_str!("../../tests/data/sdp/chrome.sdp")
            .replace("a=sendonly", "a=recvonly")
            .replace("a=sendrecv", "a=recvonly")
            .replace("SAVPF 111 63 ", "SAVPF 111 50 63 ")
            .replace(
                "a=rtpmap:111 opus/48000/2",
                "a=rtpmap:111 opus/48000/2\r\na=rtpmap:50 rtx/48000/2\r\na=fmtp:50 apt=111",
            );
        let offer = parse(&text).unwrap();
        let (crossed, answer) = answer(&[section("a", Codec::Opus)], &offer);
        let taken = &crossed.accepted.sections[0];
        assert_eq!(taken.numbers.as_ref().unwrap().rtx_pt, Some(Pt(50)));
        assert!(taken.rtx);
        assert_eq!(answer.media[0].ssrc_groups[0].ssrcs.len(), 2);
    }

    #[test]
    fn what_has_no_line_or_no_codec_is_not_sent() {
        let sections = [
            section("v", Codec::Vp8),
            section("w", Codec::Vp8),
            section("x", Codec::H265),
        ];
        let (crossed, answer) = answer(&sections, &offer());
        let accepted: Vec<bool> = crossed
            .accepted
            .sections
            .iter()
            .map(|s| s.accepted)
            .collect();
        assert_eq!(accepted, [true, false, false]);
        assert_eq!(answer.media.iter().filter(|s| !s.rejected).count(), 1);
        let nothing = negotiate(&sections[2..], &offer());
        assert_eq!(nothing, Err(SdpError::NothingAccepted));
    }
}
