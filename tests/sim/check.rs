//! What a viewer received, held against what was published.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use leafcutter::base::codec::MediaKind;

use super::client::{Client, Received};
use super::media::{Identity, Published, is_key_frame_start};

/// What [`compare`] found besides agreement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Packets that were compared.
    pub packets: usize,
    /// Frames among them that arrived whole.
    pub frames: usize,
    /// Published packets that were due and never came.
    pub missing: Vec<Identity>,
    /// How many of them the viewer's RTP stack stopped asking for.
    pub given_up: usize,
}

/// Compares packet by packet: each packet received is one that was published, byte for byte, with
/// its timestamp and marker; numbers are the publisher's plus a constant; none comes twice.
///
/// Packets count as missing from the first key frame (video) or packet (audio) received up to
/// those captured at `until`.
///
/// # Panics
/// When any of that does not hold.
pub fn compare(publisher: &Client, viewer: &Client, kind: MediaKind, until: Instant) -> Findings {
    let published: HashMap<Identity, &Published> = publisher
        .published
        .iter()
        .filter(|packet| packet.kind == kind)
        .map(|packet| (packet.identity, packet))
        .collect();
    let mut by_seq: BTreeMap<u64, &Received> = BTreeMap::new();
    let mut offset = None;
    for received in viewer
        .received
        .iter()
        .filter(|received| received.kind == kind && *received.label == *publisher.stream)
        .filter(|received| {
            publisher
                .published
                .first()
                .is_some_and(|p| p.at <= received.at)
        })
    {
        let identity = received.identity();
        let packet = published
            .get(&identity)
            .expect("only what was published arrives");
        assert_eq!(*received.payload, *packet.payload, "{identity:?}: payload");
        assert_eq!(
            received.timestamp, packet.timestamp,
            "{identity:?}: timestamp"
        );
        assert_eq!(received.marker, packet.marker, "{identity:?}: marker");
        let distance = received.seq.wrapping_sub(packet.seq);
        assert_eq!(
            *offset.get_or_insert(distance),
            distance,
            "{identity:?}: number"
        );
        assert!(
            by_seq.insert(received.seq, received).is_none(),
            "{identity:?}: twice"
        );
    }
    let start = match kind {
        MediaKind::Audio => by_seq.keys().next(),
        MediaKind::Video => by_seq
            .iter()
            .find(|(_, r)| is_key_frame_start(&r.payload))
            .map(|(seq, _)| seq),
    };
    let (Some(&start), Some(offset)) = (start, offset) else {
        return Findings::default();
    };
    assert_timestamps_rise(&by_seq);

    let mut findings = Findings::default();
    let mut frames: BTreeMap<u32, bool> = BTreeMap::new();
    for packet in publisher
        .published
        .iter()
        .filter(|packet| packet.kind == kind)
    {
        let seq = packet.seq.wrapping_add(offset);
        // Packets from before the viewer came would have numbers below zero.
        let is_before = seq.wrapping_sub(start) > u64::MAX / 2;
        if is_before || packet.at > until {
            continue;
        }
        let came = by_seq.contains_key(&seq);
        *frames.entry(packet.identity.frame).or_insert(true) &= came;
        if came {
            findings.packets += 1;
        } else {
            findings.missing.push(packet.identity);
            let asked = viewer.asked.get(&(seq as u16)).copied().unwrap_or(0);
            findings.given_up += usize::from(asked >= MOST_ASKED);
        }
    }
    findings.frames = frames.values().filter(|whole| **whole).count();
    findings
}

/// Whatever the order of arrival: a later number never has an earlier timestamp.
fn assert_timestamps_rise(by_seq: &BTreeMap<u64, &Received>) {
    for (a, b) in by_seq.values().zip(by_seq.values().skip(1)) {
        let step = b.timestamp.wrapping_sub(a.timestamp);
        assert!(
            step < u32::MAX / 2,
            "{:?} to {:?}",
            a.identity(),
            b.identity()
        );
    }
}

/// Compares audio and video of a viewer that nothing was lost for.
///
/// # Panics
/// When anything differs or is missing.
pub fn assert_all_arrived(publisher: &Client, viewer: &Client, until: Instant) {
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let findings = compare(publisher, viewer, kind, until);
        assert!(findings.packets > 0, "{kind:?}: nothing came");
        assert_eq!(findings.missing, [], "{kind:?}");
    }
    let is_video = |r: &&Received| r.kind == MediaKind::Video && *r.label == *publisher.stream;
    let first = viewer.received.iter().find(is_video);
    assert!(
        first.is_some_and(|r| is_key_frame_start(&r.payload)),
        "video begins with a key frame"
    );
}

/// Compares the video of a viewer behind a lossy network; audio is not repaired (the viewer's
/// stack does not ask for it again) but must be right as far as it came.
///
/// Packets that the viewer asked for as often as its stack does, each time in vain, are the
/// network's doing; there must be next to none.
///
/// # Panics
/// When anything differs, or is missing for another reason.
pub fn assert_repaired(publisher: &Client, viewer: &Client, until: Instant) -> Findings {
    let findings = compare(publisher, viewer, MediaKind::Video, until);
    assert!(findings.frames > 0, "no frame came");
    assert_eq!(
        findings.missing.len(),
        findings.given_up,
        "missing: {:?}",
        findings.missing
    );
    assert!(
        findings.given_up <= 1,
        "too many in vain: {:?}",
        findings.missing
    );
    let audio = compare(publisher, viewer, MediaKind::Audio, until);
    assert!(audio.packets > 0, "no audio came");
    findings
}

/// str0m asks for a packet this often (`MAX_NACKS` in its `register_nack.rs`).
const MOST_ASKED: u32 = 5;
