//! The values of single attribute lines, one function per attribute.
//!
//! Each takes the text behind the first colon and gives `None` when it does not parse; `parse.rs`
//! then ignores the line. Nothing here knows which section a line stands in.

use super::description::{
    Direction, RidDirection, RidLine, Simulcast, SimulcastRid, SsrcGroup, SsrcGroupKind,
};
use crate::base::ids::{Pt, Rid, Ssrc};
use crate::base::limits::MAX_SSRCS_PER_PEER;

/// `<payload type> <rest>` of `a=fmtp` and `a=rtpmap`.
pub(super) fn pt_and_rest(value: &str) -> Option<(Pt, &str)> {
    let (pt, rest) = value.trim().split_once(' ')?;
    Some((payload_type(pt)?, rest.trim()))
}

/// A payload type, 0..=127.
pub(super) fn payload_type(text: &str) -> Option<Pt> {
    let pt: u8 = text.parse().ok()?;
    (pt < 128).then_some(Pt(pt))
}

/// An encoding: `<name>/<clock rate>[/<channels>]` (RFC 8866 §6.6). Channels are 1 when missing.
pub(super) fn encoding(text: &str) -> Option<(&str, u32, u8)> {
    let mut parts = text.split('/');
    let name = parts.next().filter(|n| !n.is_empty())?;
    let clock_hz = parts.next()?.trim().parse().ok()?;
    let channels = match parts.next() {
        Some(text) => text.trim().parse().ok()?,
        None => 1,
    };
    Some((name, clock_hz, channels))
}

/// `<id>["/"<direction>] <URI> [<attributes>]` (RFC 8285 §5); ids outside 1..=255 and the reserved
/// 15 are `None`.
pub(super) fn extmap(value: &str) -> Option<(u8, Option<Direction>, &str)> {
    let mut words = value.split_ascii_whitespace();
    let first = words.next()?;
    let uri = words.next()?;
    let (id, direction) = match first.split_once('/') {
        Some((id, name)) => (id, Some(Direction::from_name(name)?)),
        None => (first, None),
    };
    let id: u8 = id.parse().ok()?;
    (id != 0 && id != 15).then_some((id, direction, uri))
}

/// `<ssrc> <attribute>[:<value>]` (RFC 5576 §4.1).
pub(super) fn ssrc(value: &str) -> Option<(Ssrc, &str, &str)> {
    let (ssrc, rest) = value.trim().split_once(' ')?;
    let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
    Some((Ssrc(ssrc.parse().ok()?), name.trim(), value.trim()))
}

/// `<semantics> <ssrc> <ssrc> ...` (RFC 5576 §4.2); unknown semantics are `None`.
pub(super) fn ssrc_group(value: &str) -> Option<SsrcGroup> {
    let mut words = value.split_ascii_whitespace();
    let kind = match words.next()? {
        "FID" => SsrcGroupKind::Fid,
        "SIM" => SsrcGroupKind::Sim,
        "FEC" | "FEC-FR" => SsrcGroupKind::Fec,
        _ => return None,
    };
    let ssrcs: Vec<Ssrc> = words
        .take(MAX_SSRCS_PER_PEER)
        .map(|word| word.parse().ok().map(Ssrc))
        .collect::<Option<_>>()?;
    (ssrcs.len() >= 2).then_some(SsrcGroup { kind, ssrcs })
}

/// `<rid> send|recv [pt=..;max-width=..;...]` (RFC 8851 §10).
pub(super) fn rid(value: &str) -> Option<RidLine> {
    let mut words = value.trim().splitn(3, ' ');
    let rid = Rid::new(words.next()?)?;
    let direction = match words.next()?.trim() {
        "send" => RidDirection::Send,
        "recv" => RidDirection::Recv,
        _ => return None,
    };
    let mut line = RidLine {
        rid,
        direction,
        pts: Vec::new(),
        max_width: None,
        max_height: None,
        max_fps: None,
        max_rate_bps: None,
    };
    for restriction in words.next().unwrap_or("").split(';') {
        let (key, value) = restriction.split_once('=').unwrap_or((restriction, ""));
        let number = || value.trim().parse().ok();
        match key.trim() {
            "pt" => {
                line.pts = value
                    .split(',')
                    .filter_map(payload_type)
                    .take(128)
                    .collect()
            }
            "max-width" => line.max_width = number(),
            "max-height" => line.max_height = number(),
            "max-fps" => line.max_fps = number(),
            "max-br" => line.max_rate_bps = number(),
            _ => {}
        }
    }
    Some(line)
}

/// `send <layers> [recv <layers>]` in either order (RFC 8853 §5.1). Layers are separated by `;`,
/// alternatives by `,`, and `~` marks a paused one.
///
/// INTEROP(firefox < 63): the drafts wrote ` send rid=h;m`.
pub(super) fn simulcast(value: &str) -> Option<Simulcast> {
    let mut words = value.split_ascii_whitespace();
    let mut simulcast = Simulcast::default();
    while let Some(direction) = words.next() {
        let layers = layers(words.next()?)?;
        match direction {
            "send" => simulcast.send = layers,
            "recv" => simulcast.recv = layers,
            _ => return None,
        }
    }
    Some(simulcast)
}

fn layers(text: &str) -> Option<Vec<Vec<SimulcastRid>>> {
    let text = text.strip_prefix("rid=").unwrap_or(text);
    text.split(';')
        .take(MAX_SSRCS_PER_PEER)
        .map(|layer| {
            layer
                .split(',')
                .take(MAX_ALTERNATIVES)
                .map(alternative)
                .collect()
        })
        .collect()
}

fn alternative(text: &str) -> Option<SimulcastRid> {
    let (paused, name) = match text.strip_prefix('~') {
        Some(name) => (true, name),
        None => (false, text),
    };
    Some(SimulcastRid {
        rid: Rid::new(name)?,
        paused,
    })
}

/// Alternatives kept per simulcast layer; further ones are ignored. Nobody offers more than one
/// per codec.
const MAX_ALTERNATIVES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_simulcast_with_alternatives_and_paused_layers() {
        let s = simulcast("send h,~h2;~m;l recv a").unwrap();
        let names: Vec<Vec<_>> = s
            .send
            .iter()
            .map(|layer| layer.iter().map(|r| (r.rid.as_str(), r.paused)).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec![("h", false), ("h2", true)],
                vec![("m", true)],
                vec![("l", false)]
            ]
        );
        assert_eq!(s.recv.len(), 1);
        assert_eq!(simulcast(" send rid=h;m").unwrap().send.len(), 2);
        assert_eq!(simulcast("send"), None);
        assert_eq!(simulcast("sideways h"), None);
        assert_eq!(simulcast("send h;;l"), None);
    }

    #[test]
    fn reads_rid_restrictions() {
        let line = rid("h send pt=96,102;max-width=1280;max-height=720;max-fps=30;max-br=1200000");
        let line = line.unwrap();
        assert_eq!(line.direction, RidDirection::Send);
        assert_eq!(line.pts, [Pt(96), Pt(102)]);
        assert_eq!((line.max_width, line.max_height), (Some(1280), Some(720)));
        assert_eq!(
            (line.max_fps, line.max_rate_bps),
            (Some(30), Some(1_200_000))
        );
        assert!(rid("l recv").unwrap().pts.is_empty());
        assert_eq!(rid("l both"), None);
        assert_eq!(rid("l"), None);
    }

    #[test]
    fn reads_short_values_and_refuses_malformed_ones() {
        assert_eq!(encoding("opus/48000/2"), Some(("opus", 48_000, 2)));
        assert_eq!(encoding("VP8/90000"), Some(("VP8", 90_000, 1)));
        assert_eq!(encoding("VP8"), None);
        assert_eq!(payload_type("128"), None);
        assert_eq!(extmap("15 urn:x"), None);
        assert_eq!(extmap("0 urn:x"), None);
        assert_eq!(extmap("4096 urn:x"), None);
        assert_eq!(
            extmap("2/recvonly urn:x"),
            Some((2, Some(Direction::RecvOnly), "urn:x"))
        );
        assert_eq!(ssrc("7 cname:a b"), Some((Ssrc(7), "cname", "a b")));
        assert_eq!(ssrc("4294967296 cname:a"), None);
        assert_eq!(ssrc_group("FID 1"), None);
        assert_eq!(ssrc_group("LS 1 2"), None);
        assert_eq!(ssrc_group("FID 1 2").unwrap().ssrcs, [Ssrc(1), Ssrc(2)]);
    }
}
