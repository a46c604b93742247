//! Tests of whole descriptions: what they share. The offers are those of real clients.

use std::fmt::Write as _;

mod answers;
mod hostile;
mod offers;

use super::answer::{self, Negotiated, ReceiveSection, Section};
use super::offer::{OfferSection, SendSection};
use super::*;
use crate::base::codec::{Codec, MediaKind};
use crate::base::ids::{Mid, Ssrc};

const CHROME: &str = include_str!("../../../tests/data/sdp/chrome.sdp");
const CHROME_SIMULCAST: &str = include_str!("../../../tests/data/sdp/chrome_simulcast.sdp");
const CHROME_AUDIO_ONLY: &str = include_str!("../../../tests/data/sdp/chrome_audio_only.sdp");
const CHROME_DATA_ONLY: &str = include_str!("../../../tests/data/sdp/chrome_data_only.sdp");
const FIREFOX: &str = include_str!("../../../tests/data/sdp/firefox.sdp");
const FIREFOX_SIMULCAST: &str = include_str!("../../../tests/data/sdp/firefox_simulcast.sdp");
const AIORTC: &str = include_str!("../../../tests/data/sdp/aiortc.sdp");
const ANDROID: &str = include_str!("../../../tests/data/sdp/android.sdp");

const SESSION: SessionVersion = SessionVersion { id: 7, version: 1 };

fn local() -> LocalParameters {
    LocalParameters {
        ice: IceParameters {
            ufrag: "srvr".into(),
            pwd: "0123456789abcdef01234567".into(),
        },
        fingerprint: Fingerprint {
            hash: HashFunction::Sha256,
            bytes: (0..32).collect(),
        },
        candidates: vec!["candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host".into()],
    }
}

fn negotiated(text: &str, policy: &CodecPolicy) -> (Description, Negotiated) {
    let offer = parse(text).unwrap();
    let negotiated = answer::negotiate(&offer, policy).unwrap();
    (offer, negotiated)
}

fn receive(negotiated: &Negotiated, at: usize) -> &ReceiveSection {
    match &negotiated.sections[at] {
        Section::Receive(receive) => receive,
        other => panic!("section {at} is {other:?}"),
    }
}

/// A one-section offer whose video formats are `formats` (payload type, encoding, fmtp).
fn video_offer(formats: &[(u8, &str, &str)]) -> String {
    let mut text = CHROME_AUDIO_ONLY
        .split("m=audio")
        .next()
        .unwrap()
        .to_owned();
    text.push_str("m=video 9 UDP/TLS/RTP/SAVPF");
    for (pt, _, _) in formats {
        write!(text, " {pt}").unwrap();
    }
    text.push_str("\na=mid:0\na=rtcp-mux\na=setup:actpass\na=ice-ufrag:abcd\n");
    text.push_str("a=ice-pwd:0123456789abcdef012345\na=fingerprint:sha-256 00");
    text.push_str(&":00".repeat(31));
    text.push('\n');
    for (pt, encoding, fmtp) in formats {
        writeln!(text, "a=rtpmap:{pt} {encoding}").unwrap();
        if !fmtp.is_empty() {
            writeln!(text, "a=fmtp:{pt} {fmtp}").unwrap();
        }
    }
    text
}

fn track(mid: &str, codec: Codec, fmtp: &str, ssrc: u32) -> SendSection {
    let (server_pt, server_rtx_pt) = codec.server_pts(fmtp);
    let letter = if codec.kind() == MediaKind::Audio {
        'a'
    } else {
        'v'
    };
    SendSection {
        mid: Mid::new(mid).unwrap(),
        kind: codec.kind(),
        codec,
        fmtp: fmtp.into(),
        server_pt,
        server_rtx_pt,
        red: false,
        track_id: format!("ARDAMS{letter}stream1"),
        stream_id: "stream1".into(),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: server_rtx_pt.map(|_| Ssrc(ssrc + 1)),
        cname: "leaf".into(),
        disabled: false,
    }
}

fn room() -> Vec<OfferSection> {
    let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    let mut removed = track("3", Codec::Vp8, "", 30);
    removed.disabled = true;
    vec![
        OfferSection::Send(track("0", Codec::Opus, "minptime=10;useinbandfec=1", 10)),
        OfferSection::Send(track("1", Codec::H264, fmtp, 20)),
        OfferSection::Data {
            mid: Mid::new("2").unwrap(),
        },
        OfferSection::Send(removed),
        OfferSection::Stopped {
            mid: Mid::new("4").unwrap(),
            kind: MediaKind::Video,
        },
    ]
}

/// What a browser answers to `offer`, by changing the text.
fn answer_to(offer: &str) -> String {
    let mut ours = String::new();
    for line in offer.lines() {
        match line {
            "a=sendonly" => ours.push_str("a=recvonly"),
            "a=setup:actpass" => ours.push_str("a=setup:active"),
            "a=ice-lite" => continue,
            l if l.starts_with("a=ssrc") || l.starts_with("a=msid:") => continue,
            l => ours.push_str(l),
        }
        ours.push('\n');
    }
    ours.replace("useinbandfec=1", "useinbandfec=1; stereo=1")
}
