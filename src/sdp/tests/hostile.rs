//! Faulty and hostile text: errors, limits, no panics.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::base::extension::ExtensionKind;
use crate::base::limits::{MAX_MEDIA_SECTIONS, MAX_SDP_LEN, MAX_SDP_LINE_LEN};
use crate::sdp::offer;

#[test]
fn faults_of_an_offer_have_their_own_errors() {
    let line = |l: &str| (l.to_owned(), String::new());
    let swap = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let ufrag = "a=ice-ufrag:93JT\n";
    let fingerprint = CHROME.lines().find(|l| l.contains("sha-256")).unwrap();
    for ((from, to), expected) in [
        (swap("v=0", "hello"), SdpError::NotSdp),
        (swap("m=video 9", "m=video nine"), SdpError::MalformedMedia),
        (
            swap("m=video 9", "m=video 9 UDP/TLS/RTP/SAVPF 300\nm=video 9"),
            SdpError::MalformedMedia,
        ),
        (
            swap("a=mid:1", "a=mid:12345678901234567"),
            SdpError::MalformedMid,
        ),
        (line("a=mid:1\n"), SdpError::MissingMid),
        (swap("a=mid:1", "a=mid:0"), SdpError::DuplicateMid),
        (line("a=rtpmap:96 VP8/90000\n"), SdpError::MissingRtpmap),
        (
            swap("a=fmtp:97", "a=rtpmap:97 VP9/90000\na=fmtp:97"),
            SdpError::FormatConflict,
        ),
        (swap("SAVPF 96", "SAVPF 111 96"), SdpError::MissingRtpmap),
        (
            swap("a=extmap:13 urn:3", "a=extmap:2 urn:3"),
            SdpError::ExtmapConflict,
        ),
        (swap("opus/48000/2", "opus/48000"), SdpError::OpusParameters),
        (line(ufrag), SdpError::MissingIce),
        (
            swap("a=ice-ufrag:93JT", "a=ice-ufrag:9"),
            SdpError::MalformedIce,
        ),
        (swap("t=0 0", "t=0 0\na=ice-lite"), SdpError::IceLite),
        (
            swap(fingerprint, "a=fingerprint:sha-1 00:11"),
            SdpError::MissingFingerprint,
        ),
        (
            swap("a=setup:actpass\na=mid:1", "a=setup:active\na=mid:1"),
            SdpError::Setup,
        ),
        (swap("a=setup:actpass", "a=setup:passive"), SdpError::Setup),
        (
            swap("a=setup:actpass", "a=setup:active\na=setup:passive"),
            SdpError::Setup,
        ),
        (swap("m=", "m=x-"), SdpError::NothingAccepted),
    ] {
        let text = CHROME.replace(&from, &to);
        let result = parse(&text).and_then(|o| answer::negotiate(&o, &CodecPolicy::all()));
        assert_eq!(result.err(), Some(expected), "{from} -> {to}");
    }
    let clash = ANDROID.replace("102", "96");
    assert_eq!(
        parse(&clash),
        Err(SdpError::FormatConflict),
        "across the BUNDLE group"
    );
}

#[test]
fn mids_are_made_up_only_when_absent_everywhere() {
    let text = CHROME_AUDIO_ONLY.replace("a=mid:0\n", "");
    let (offer, n) = negotiated(&text, &CodecPolicy::all());
    assert!(!offer.media[0].has_mid);
    assert!(!answer::write(&offer, &n, &local(), SESSION).contains("a=mid"));
    assert_eq!(receive(&n, 0).mid.as_str(), "~0");
}

#[test]
fn attributes_are_read_from_either_level_and_sloppy_lines() {
    let text = "v=0\r\no=x\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\n\
        a=extmap:5 urn:3gpp:video-orientation\r\na=recvonly\r\nz\r\nq=?\r\n\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96 96 97\r\na=bundle-only\r\na=mid:v\r\n\
        a=rtpmap:96 h264/90000\r\na=fmtp:96 packetization-mode=1; profile-level-id=42e01f\r\n\
        a=rtpmap:97 x/1\r\na=rtcp-fb:* nack pli\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n\
        a=max-message-size:99999999999\r\na=rtpmap:12\r\na=bad\u{7}line\r\n";
    let d = parse(text).unwrap();
    let s = &d.media[0];
    assert!(!s.rejected && s.direction == Direction::RecvOnly && s.ice.is_some());
    assert_eq!(s.formats.len(), 2);
    assert_eq!(s.formats[0].parameter("profile-level-id"), Some("42e01f"));
    assert!(s.formats[0].feedback.pli && s.formats[1].feedback.pli && !s.formats[0].feedback.nack);
    assert_eq!(s.extmap(ExtensionKind::VideoOrientation).unwrap().id, 5);
    assert_eq!(s.candidates, ["candidate:1 1 udp 1 x.local 9 typ host"]);
    assert_eq!(s.max_message_size, Some(u32::MAX));
}

#[test]
fn bombs_are_refused() {
    let lines = format!(
        "v=0\n{}",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\n".repeat(10_000)
    );
    assert_eq!(parse(&lines), Err(SdpError::TooManySections));
    let line = format!("v=0\na={}", "x".repeat(MAX_SDP_LEN - 10));
    assert_eq!(parse(&line), Err(SdpError::LineTooLong));
    assert_eq!(parse(&"x".repeat(MAX_SDP_LEN + 1)), Err(SdpError::TooLong));
    assert_eq!(parse(""), Err(SdpError::NotSdp));
    let most = "m=audio 0 RTP/AVP 0\n".repeat(MAX_MEDIA_SECTIONS);
    assert_eq!(
        parse(&format!("v=0\n{most}")).map(|d| d.media.len()),
        Ok(MAX_MEDIA_SECTIONS)
    );
    let long = format!("v=0\na={}", "x".repeat(MAX_SDP_LINE_LEN - 2));
    assert!(parse(&long).is_ok());
}

/// Each format is looked at once, not once for each other one.
#[test]
fn many_useless_formats_cost_no_more_than_their_text() {
    let fmtp = format!("{}tx-mode=MRST", "a;".repeat(5000));
    let formats: Vec<_> = (35..=63).chain(96..=127).collect();
    let formats: Vec<_> = formats
        .iter()
        .map(|pt| (*pt, "H265/90000", &*fmtp))
        .collect();
    let offer = parse(&video_offer(&formats)).unwrap();
    assert_eq!(offer.media[0].formats.len(), formats.len());
    let taken = answer::negotiate(&offer, &CodecPolicy::all());
    assert_eq!(
        taken.map(|n| n.sections.len()),
        Err(SdpError::NothingAccepted)
    );
}

#[test]
fn every_list_has_an_end() {
    let mut text = CHROME_AUDIO_ONLY.to_owned();
    for i in 0..10_000 {
        writeln!(text, "a=ssrc:{i} cname:x\na=rid:r{i} send\na=candidate:{i}").unwrap();
        writeln!(text, "a=ssrc-group:FID {i} 1").unwrap();
    }
    let d = parse(&text).unwrap();
    let s = &d.media[0];
    assert_eq!(
        (s.ssrcs.len(), s.ssrc_groups.len(), s.rids.len()),
        (64, 64, 64)
    );
    assert_eq!(s.candidates.len(), 32);
}

/// Drives everything that takes a description from outside.
fn exercise(text: &str) {
    let Ok(description) = parse(text) else {
        return;
    };
    let _ = offer::apply_answer(&room(), &description);
    if let Ok(n) = answer::negotiate(&description, &CodecPolicy::all()) {
        let written = answer::write(&description, &n, &local(), SESSION);
        let answer = parse(&written).unwrap();
        assert_eq!(answer.media.len(), description.media.len());
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(v=0\n)?(\\PC|\n|\r){0,300}") {
        exercise(&text);
    }

    #[test]
    fn shuffled_and_cut_lines_never_panic(
        picks in proptest::collection::vec((0usize..400, 0usize..100, any::<bool>()), 0..120),
    ) {
        let pool: Vec<&str> =
            [CHROME_SIMULCAST, FIREFOX, ANDROID].iter().flat_map(|t| t.lines()).collect();
        let mut text = String::from("v=0\n");
        for (at, len, cut) in picks {
            let line = pool[at % pool.len()];
            text.push_str(if cut { &line[..len.min(line.len())] } else { line });
            text.push('\n');
        }
        exercise(&text);
    }

    #[test]
    fn real_offers_with_lines_missing_never_panic(
        which in 0usize..4,
        drop in proptest::collection::btree_set(0usize..200, 0..12),
    ) {
        let offer = [CHROME, CHROME_SIMULCAST, FIREFOX, AIORTC][which];
        let kept = offer.lines().enumerate().filter(|(i, _)| !drop.contains(i));
        exercise(&kept.map(|(_, l)| format!("{l}\r\n")).collect::<String>());
    }

    #[test]
    fn parse_reads_what_write_wrote(
        tracks in proptest::collection::vec((0usize..8, any::<bool>(), any::<bool>()), 0..20),
    ) {
        let mut sections = Vec::new();
        for (at, (codec, disabled, stopped)) in tracks.into_iter().enumerate() {
            let mut send = track(&at.to_string(), Codec::ALL[codec], "", at as u32 * 2);
            send.disabled = disabled;
            sections.push(if stopped {
                OfferSection::Stopped { mid: send.mid, kind: send.kind }
            } else {
                OfferSection::Send(send)
            });
        }
        let written = offer::write(&sections, &local(), SESSION);
        let read = parse(&written).unwrap();
        prop_assert_eq!(read.media.len(), sections.len());
        let answer = parse(&answer_to(&written)).unwrap();
        let accepted = offer::apply_answer(&sections, &answer).unwrap();
        for (section, taken) in sections.iter().zip(&accepted.sections) {
            prop_assert_eq!(taken.accepted, matches!(section, OfferSection::Send(_)));
        }
    }
}
