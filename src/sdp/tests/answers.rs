//! Answers to publishers: what is taken of real offers and what the text says.

use std::collections::BTreeMap;

use super::*;
use crate::base::extension::ExtensionKind;
use crate::base::ids::{Pt, Rid};
use crate::base::limits::{MAX_MEDIA_SECTIONS, MAX_PUBLISHED_TRACKS};
use crate::sdp::answer::RejectReason;

#[test]
fn offers_of_real_clients_are_negotiated() {
    let all = CodecPolicy::all();
    let no_h265 = all.with(Codec::H265, false);
    let h264 = CodecPolicy::none()
        .with(Codec::Opus, true)
        .with(Codec::H264, true);
    // Offer, policy, section, codec, publisher's pt and rtx, server's pt, declared sources, rids.
    let table = [
        ("chrome", CHROME, all, 0, Codec::Opus, 111, None, 111, 1, 0),
        ("chrome", CHROME, all, 1, Codec::Vp8, 96, Some(97), 96, 1, 0),
        (
            "chrome h264",
            CHROME,
            h264,
            1,
            Codec::H264,
            108,
            Some(109),
            102,
            1,
            0,
        ),
        (
            "simulcast",
            CHROME_SIMULCAST,
            all,
            1,
            Codec::Vp8,
            96,
            Some(97),
            96,
            0,
            3,
        ),
        (
            "audio only",
            CHROME_AUDIO_ONLY,
            all,
            0,
            Codec::Opus,
            111,
            None,
            111,
            1,
            0,
        ),
        (
            "firefox",
            FIREFOX,
            all,
            0,
            Codec::Opus,
            109,
            None,
            111,
            1,
            0,
        ),
        (
            "firefox",
            FIREFOX,
            all,
            1,
            Codec::Vp8,
            120,
            Some(124),
            96,
            1,
            0,
        ),
        (
            "firefox simulcast",
            FIREFOX_SIMULCAST,
            all,
            1,
            Codec::Vp8,
            120,
            Some(124),
            96,
            3,
            3,
        ),
        ("aiortc", AIORTC, all, 0, Codec::Opus, 96, None, 111, 1, 0),
        (
            "aiortc h264",
            AIORTC,
            h264,
            1,
            Codec::H264,
            101,
            Some(102),
            102,
            1,
            0,
        ),
        (
            "android",
            ANDROID,
            all,
            0,
            Codec::H265,
            39,
            Some(40),
            49,
            1,
            0,
        ),
        (
            "android",
            ANDROID,
            no_h265,
            0,
            Codec::H264,
            104,
            Some(105),
            102,
            1,
            0,
        ),
        (
            "android",
            ANDROID,
            all,
            1,
            Codec::Opus,
            111,
            None,
            111,
            1,
            0,
        ),
    ];
    for (name, text, policy, at, codec, pt, rtx, server_pt, ssrcs, rids) in table {
        let (_, n) = negotiated(text, &policy);
        let r = receive(&n, at);
        assert_eq!(r.codec, codec, "{name} {at}");
        assert_eq!((r.pt, r.rtx_pt), (Pt(pt), rtx.map(Pt)), "{name} {at}");
        assert_eq!(r.server_pt, Pt(server_pt), "{name} {at}");
        assert_eq!((r.ssrcs.len(), r.rids.len()), (ssrcs, rids), "{name} {at}");
        assert!(r.active, "{name} {at}");
    }
}

#[test]
fn details_of_chromes_offer_are_kept() {
    let (offer, n) = negotiated(CHROME, &CodecPolicy::all());
    assert_eq!(offer.session_version, 2);
    assert_eq!(n.transport.ice.ufrag, "93JT");
    assert_eq!(n.transport.fingerprints.len(), 1);
    let video = receive(&n, 1);
    assert!(video.nack && video.pli && video.fir && video.transport_cc && video.remb);
    assert_eq!(video.ssrcs, [(Ssrc(204_874_467), Some(Ssrc(544_703_465)))]);
    assert_eq!(video.extensions.id(ExtensionKind::Mid), Some(4));
    assert_eq!(video.extensions.id(ExtensionKind::VideoTiming), None);
    assert_eq!(
        video.extensions.id(ExtensionKind::VideoOrientation),
        Some(13)
    );
    let Section::Data(data) = &n.sections[2] else {
        panic!("no data channel")
    };
    assert_eq!((data.sctp_port, data.max_message_size), (5000, 262_144));
    let roles: Vec<_> = offer.media[1].formats.iter().map(Format::role).collect();
    assert!(roles.contains(&FormatRole::Red) && roles.contains(&FormatRole::Fec));
    assert_eq!(roles[1], FormatRole::Rtx(Some(Pt(96))));
    assert_eq!(offer.media[0].msid.as_deref().map(str::len), Some(73));
    assert!(
        !format!("{offer:?}").contains("5hAf26roxf5m"),
        "passwords stay out of logs"
    );
}

#[test]
fn an_extension_that_the_publisher_only_receives_is_left_out() {
    let (_, n) = negotiated(FIREFOX, &CodecPolicy::all());
    assert_eq!(
        receive(&n, 1).extensions.id(ExtensionKind::PlayoutDelay),
        None
    );
    assert_eq!(n.transport.fingerprints.len(), 1, "from the session level");
}

#[test]
fn the_answer_receives_and_sends_nothing() {
    for text in [
        CHROME,
        CHROME_SIMULCAST,
        FIREFOX,
        FIREFOX_SIMULCAST,
        AIORTC,
        ANDROID,
    ] {
        let (offer, n) = negotiated(text, &CodecPolicy::all());
        let written = answer::write(&offer, &n, &local(), SESSION);
        let answer = parse(&written).unwrap();
        assert!(answer.ice_lite);
        assert_eq!(answer.bundle, offer.bundle);
        assert_eq!(answer.extmap_allow_mixed, offer.extmap_allow_mixed);
        assert_eq!(answer.media.len(), offer.media.len());
        for (theirs, ours) in offer.media.iter().zip(&answer.media) {
            assert_eq!((&theirs.mid, theirs.kind), (&ours.mid, ours.kind));
            assert_eq!(ours.setup, Some(Setup::Passive));
            assert_eq!(ours.ice.as_ref(), Some(&local().ice));
            assert_eq!(ours.fingerprints, [local().fingerprint]);
            assert!(ours.msid.is_none() && ours.ssrcs.is_empty());
            assert_eq!(ours.simulcast.recv, theirs.simulcast.send);
            assert_eq!(ours.rids.len(), theirs.rids.len());
            assert_eq!(ours.rtcp_rsize, theirs.rtcp_rsize);
            if ours.media_kind().is_some() {
                assert_eq!(ours.direction, Direction::RecvOnly);
                assert!(ours.rtcp_mux);
            } else {
                assert_eq!(ours.sctp_port, Some(5000));
                assert_eq!(ours.max_message_size, Some(262_144));
            }
        }
        assert_eq!(answer.media[0].candidates, local().candidates);
        assert!(answer.media[0].end_of_candidates);
        assert!(answer.media[1..].iter().all(|s| s.candidates.is_empty()));
    }
}

#[test]
fn a_data_only_offer_is_answered() {
    let (offer, n) = negotiated(CHROME_DATA_ONLY, &CodecPolicy::all());
    assert!(matches!(n.sections[..], [Section::Data(_)]));
    let written = answer::write(&offer, &n, &local(), SESSION);
    assert!(written.contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(written.contains("a=group:BUNDLE 0\r\n"));
}

#[test]
fn the_publishers_order_decides_except_among_variants_of_a_codec() {
    let h264 = |mode, profile| format!("packetization-mode={mode};profile-level-id={profile}");
    let (cb1, cb0) = (h264(1, "42e01f"), h264(0, "42e01f"));
    let (base1, high1) = (h264(1, "42001f"), h264(1, "64001f"));
    let av1 = "AV1/90000";
    // Formats offered, then payload type chosen and the server's.
    type Offered<'a> = &'a [(u8, &'a str, &'a str)];
    let table: [(Offered<'_>, u8, u8); 9] = [
        (&[(98, "VP9/90000", ""), (96, "VP8/90000", "")], 98, 98),
        (
            &[
                (98, "VP9/90000", "profile-id=2"),
                (99, "vp9/90000", "profile-id=0"),
            ],
            99,
            98,
        ),
        (&[(98, "VP9/90000", "profile-id=2")], 98, 100),
        (
            &[(100, "H264/90000", &cb0), (101, "H264/90000", &high1)],
            101,
            112,
        ),
        (
            &[(101, "H264/90000", &base1), (102, "H264/90000", &cb1)],
            102,
            102,
        ),
        (
            &[(100, "H264/90000", &cb0), (96, "VP8/90000", "")],
            100,
            104,
        ),
        (&[(40, av1, "profile=1"), (41, av1, "")], 41, 45),
        (
            &[
                (118, "red/90000", ""),
                (119, "ulpfec/90000", ""),
                (96, "VP8/90000", ""),
            ],
            96,
            96,
        ),
        (&[(70, "VP8/90000", ""), (97, "VP8/90000", "")], 97, 96),
    ];
    for (formats, pt, server_pt) in table {
        let (_, n) = negotiated(&video_offer(formats), &CodecPolicy::all());
        let r = receive(&n, 0);
        assert_eq!((r.pt, r.server_pt), (Pt(pt), Pt(server_pt)), "{formats:?}");
    }
}

#[test]
fn fmtp_is_canonical_for_viewers_and_unlimited_for_publishers() {
    let fmtp = "profile-level-id=42E034; packetization-mode=1; max-fs=3600; sprop-parameter-sets=A";
    let text = video_offer(&[(100, "H264/90000", fmtp)]);
    let (_, n) = negotiated(&text, &CodecPolicy::all());
    let r = receive(&n, 0);
    let canonical = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    assert_eq!(r.fmtp, canonical);
    assert_eq!(
        r.answer_fmtp,
        "profile-level-id=42E034;packetization-mode=1"
    );
    let stereo = CHROME_AUDIO_ONLY.replace("useinbandfec=1", "useinbandfec=1; sprop-stereo=1");
    let (_, n) = negotiated(&stereo, &CodecPolicy::all());
    let r = receive(&n, 0);
    assert_eq!(
        r.answer_fmtp,
        "minptime=10;useinbandfec=1;sprop-stereo=1;stereo=1"
    );
    assert_eq!(r.fmtp, "minptime=10;useinbandfec=1");
}

#[test]
fn refused_sections_keep_the_rest() {
    let no_video = CodecPolicy::none().with(Codec::Opus, true);
    let (offer, n) = negotiated(CHROME, &no_video);
    let Section::Rejected { reason, .. } = &n.sections[1] else {
        panic!("video was taken")
    };
    assert_eq!(*reason, RejectReason::NoCodec);
    let answer = parse(&answer::write(&offer, &n, &local(), SESSION)).unwrap();
    assert!(answer.media[1].rejected && !answer.media[0].rejected);
    assert_eq!(answer.bundle.len(), 2);

    for (from, to, at, expected) in [
        ("m=video 9", "m=video 0", 1, RejectReason::Stopped),
        ("m=video 9", "m=text 9", 1, RejectReason::Unknown),
        ("webrtc-datachannel", "bfcp", 2, RejectReason::Unknown),
        ("BUNDLE 0 1 2", "BUNDLE 0 2", 1, RejectReason::NotBundled),
        ("BUNDLE 0 1 2", "LS 0 1 2", 2, RejectReason::NotBundled),
    ] {
        let (_, n) = negotiated(&CHROME.replace(from, to), &CodecPolicy::all());
        let Section::Rejected { reason, .. } = n.sections[at] else {
            panic!("{to}: taken")
        };
        assert_eq!(reason, expected, "{to}");
        assert!(matches!(n.sections[0], Section::Receive(_)), "{to}");
    }
    let demuxed = CHROME.replace("a=rtcp-mux\n", "");
    let (_, n) = negotiated(&demuxed, &CodecPolicy::all());
    assert!(matches!(
        n.sections[0],
        Section::Rejected {
            reason: RejectReason::NoRtcpMux,
            ..
        }
    ));
    let second = format!("{CHROME}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:3\n")
        .replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 3");
    let (_, n) = negotiated(&second, &CodecPolicy::all());
    assert!(matches!(
        n.sections[3],
        Section::Rejected {
            reason: RejectReason::SecondData,
            ..
        }
    ));
}

#[test]
fn directions_of_the_answer_follow_the_offer() {
    for (offered, answered) in [
        ("sendrecv", Direction::RecvOnly),
        ("sendonly", Direction::RecvOnly),
        ("recvonly", Direction::Inactive),
        ("inactive", Direction::Inactive),
    ] {
        let text = CHROME_AUDIO_ONLY.replace("a=sendrecv", &format!("a={offered}"));
        let (offer, n) = negotiated(&text, &CodecPolicy::all());
        let answer = parse(&answer::write(&offer, &n, &local(), SESSION)).unwrap();
        assert_eq!(answer.media[0].direction, answered, "{offered}");
        assert_eq!(receive(&n, 0).active, offered.starts_with("send"));
    }
}

#[test]
fn simulcast_from_before_rids_and_restricted_rids() {
    let text = CHROME.replace(
        "a=ssrc-group:FID 204874467 544703465\n",
        "a=ssrc-group:FID 204874467 544703465\na=ssrc-group:FID 11 12\n\
         a=ssrc-group:FEC-FR 11 13\na=ssrc-group:SIM 11 204874467\n\
         a=ssrc:13 cname:x\na=ssrc:12 cname:x\na=ssrc:11 cname:x\n",
    );
    let (_, n) = negotiated(&text, &CodecPolicy::all());
    assert_eq!(
        receive(&n, 1).ssrcs,
        [
            (Ssrc(11), Some(Ssrc(12))),
            (Ssrc(204_874_467), Some(Ssrc(544_703_465)))
        ]
    );
    let text = CHROME_SIMULCAST
        .replace("a=rid:m send", "a=rid:m send pt=98")
        .replace("send h;m;l", "send h;m,~l;l");
    let (_, n) = negotiated(&text, &CodecPolicy::all());
    let rids: Vec<_> = receive(&n, 1).rids.iter().map(|r| r.to_string()).collect();
    assert_eq!(rids, ["h", "l"], "m is for VP9 only, so l stands in; once");
    let text = CHROME_SIMULCAST.replace("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", "urn:x");
    let (_, n) = negotiated(&text, &CodecPolicy::all());
    assert!(
        receive(&n, 1).rids.is_empty(),
        "rids could not be told apart"
    );
}

#[test]
fn redundancy_is_taken_from_who_prefers_it() {
    let (offer, n) = negotiated(CHROME, &CodecPolicy::all());
    assert_eq!(offer.media[0].formats[1].role(), FormatRole::Red);
    assert_eq!(receive(&n, 0).red_pt, None, "Opus alone comes first");

    let preferred = CHROME.replace("SAVPF 111 63 ", "SAVPF 63 111 ");
    assert_ne!(preferred, CHROME);
    let (offer, n) = negotiated(&preferred, &CodecPolicy::all());
    let audio = receive(&n, 0);
    assert_eq!((audio.red_pt, audio.pt), (Some(Pt(63)), Pt(111)));
    let text = answer::write(&offer, &n, &local(), SESSION);
    let answered = parse(&text).unwrap();
    let pts: Vec<_> = answered.media[0].formats.iter().map(|f| f.pt.0).collect();
    assert_eq!(pts, [63, 111], "in the publisher's order");
    assert_eq!(answered.media[0].formats[0].fmtp, "111/111");

    for other in ["111/9", "", "111/111/x"] {
        let spoilt = preferred.replace("a=fmtp:63 111/111", &format!("a=fmtp:63 {other}"));
        let (_, n) = negotiated(&spoilt, &CodecPolicy::all());
        assert_eq!(receive(&n, 0).red_pt, None, "{other}");
    }
}

#[test]
fn retransmission_and_silence_of_audio_are_kept_where_they_are_offered() {
    let offered = CHROME
        .replace("SAVPF 111 63 ", "SAVPF 111 50 63 ")
        .replace("a=rtcp-fb:111 transport-cc", "a=rtcp-fb:111 nack")
        .replace(
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n\
             a=rtpmap:50 rtx/48000/2\r\na=fmtp:50 apt=111",
        );
    let (offer, n) = negotiated(&offered, &CodecPolicy::all());
    let audio = receive(&n, 0);
    assert_eq!((audio.rtx_pt, audio.nack), (Some(Pt(50)), true));
    let text = answer::write(&offer, &n, &local(), SESSION);
    let answered = parse(&text).unwrap();
    let formats = &answered.media[0].formats;
    assert_eq!(formats[0].parameter("usedtx"), Some("1"));
    assert_eq!(formats[1].role(), FormatRole::Rtx(Some(Pt(111))));
    assert!(formats[0].feedback.nack);
}

#[test]
fn a_later_offer_changes_no_codec() {
    const BASELINE: &str = "packetization-mode=1;profile-level-id=42e01f";
    const HIGH: &str = "packetization-mode=1;profile-level-id=640c1f";
    let all = CodecPolicy::all();
    let vp8 = (96, "VP8/90000", "");
    let h264 = |pt, fmtp| (pt, "H264/90000", fmtp);
    // First offer, later offer, payload type that is taken then.
    let table = [
        (
            vec![vp8, h264(102, BASELINE)],
            vec![h264(102, BASELINE), vp8],
            Some(96),
        ),
        (vec![vp8], vec![(120, "VP8/90000", ""), vp8], Some(96)),
        (vec![vp8], vec![(120, "VP8/90000", "")], Some(120)),
        (vec![vp8], vec![h264(102, BASELINE)], None),
        (
            vec![h264(102, HIGH)],
            vec![h264(103, BASELINE), h264(102, HIGH)],
            Some(102),
        ),
        (vec![h264(102, HIGH)], vec![h264(102, BASELINE)], None),
    ];
    for (first, later, pt) in table {
        let (_, first) = negotiated(&video_offer(&first), &all);
        let known = [receive(&first, 0).clone()];
        let later = parse(&video_offer(&later)).unwrap();
        // What is switched off meanwhile is so for others.
        let negotiated = answer::renegotiate(&later, &CodecPolicy::none(), &known);
        match pt {
            Some(pt) => {
                let negotiated = negotiated.unwrap();
                let section = receive(&negotiated, 0);
                assert_eq!((section.pt, section.codec), (Pt(pt), known[0].codec));
                assert_eq!(section.server_pt, known[0].server_pt);
            }
            None => assert_eq!(negotiated, Err(SdpError::NothingAccepted), "{known:?}"),
        }
    }
}

#[test]
fn m_lines_are_counted_over_all_offers() {
    let (offer, first) = negotiated(CHROME_AUDIO_ONLY, &CodecPolicy::all());
    let named = |number: usize| ReceiveSection {
        mid: Mid::new(&format!("n{number}")).unwrap(),
        ..receive(&first, 0).clone()
    };
    let mut known: Vec<_> = (1..MAX_MEDIA_SECTIONS).map(named).collect();
    let taken = answer::renegotiate(&offer, &CodecPolicy::all(), &known);
    assert!(taken.is_ok());
    known.push(named(0));
    let refused = answer::renegotiate(&offer, &CodecPolicy::all(), &known);
    assert_eq!(refused, Err(SdpError::TooManySections));
    known.push(receive(&first, 0).clone());
    known.swap_remove(0);
    let taken = answer::renegotiate(&offer, &CodecPolicy::all(), &known);
    assert!(taken.is_ok(), "known already");
}

#[test]
fn one_publisher_sends_so_many_tracks() {
    let more = |at: usize, direction: &str| {
        format!(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:n{at}\na={direction}\n\
             a=rtpmap:111 opus/48000/2\na=rtcp-mux\n"
        )
    };
    let with = |count: usize, direction: &str| {
        let names: Vec<String> = (0..count).map(|at| format!("n{at}")).collect();
        let text = CHROME_AUDIO_ONLY.replace("BUNDLE 0", &format!("BUNDLE 0 {}", names.join(" ")));
        let lines: String = (0..count).map(|at| more(at, direction)).collect();
        negotiated(&(text + &lines), &CodecPolicy::all()).1
    };
    let taken = |negotiated: &Negotiated| {
        let sections = negotiated.sections.iter();
        sections
            .filter(|s| matches!(s, Section::Receive(_)))
            .count()
    };
    let sent = with(40, "sendonly");
    assert_eq!(taken(&sent), MAX_PUBLISHED_TRACKS);
    let last = sent.sections.last().unwrap();
    assert!(matches!(
        last,
        Section::Rejected {
            reason: RejectReason::TooMany,
            ..
        }
    ));
    assert_eq!(
        taken(&with(40, "inactive")),
        41,
        "those that were sent once"
    );
}

#[test]
fn a_known_m_line_keeps_its_layers() {
    let layers = "a=rid:h send\na=rid:m send\na=simulcast:send h;m\n";
    let more = "a=rid:h send\na=rid:x send\na=simulcast:send x;h\n";
    let offer = |lines: &str| {
        let id = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n";
        format!("{}{id}{lines}", video_offer(&[(96, "VP8/90000", "")]))
    };
    let rids = |known: &str, later: &str| {
        let (_, first) = negotiated(&offer(known), &CodecPolicy::all());
        let known = [receive(&first, 0).clone()];
        let later = parse(&offer(later)).unwrap();
        let later = answer::renegotiate(&later, &CodecPolicy::all(), &known).unwrap();
        let rids = receive(&later, 0).rids.iter();
        rids.map(Rid::to_string).collect::<Vec<_>>()
    };
    assert_eq!(rids(layers, layers), ["h", "m"]);
    assert_eq!(rids(layers, more), ["h"], "the other one has no track");
    assert_eq!(rids("", layers), [""; 0], "it has one track");
    assert_eq!(rids(layers, ""), [""; 0]);
}

/// RFC 8843 §10.1.1, and what browsers check: within a BUNDLE group a payload type has one
/// configuration, whoever publishes.
#[test]
fn equal_payload_types_towards_viewers_are_configured_alike() {
    let mut known: BTreeMap<Pt, String> = BTreeMap::new();
    let profiles = [
        "42e01f", "42001f", "4d001f", "4d4028", "64001f", "640c1f", "640834",
    ];
    let odd = ["f4001f", "f40028", "58001f", "6e0028", "junk"];
    let mut taken = 0;
    for profile in profiles.into_iter().chain(odd) {
        for mode in 0..=1 {
            let fmtp = format!("packetization-mode={mode};profile-level-id={profile};x={mode}");
            let offer = parse(&video_offer(&[(102, "H264/90000", &fmtp)])).unwrap();
            let Ok(negotiated) = answer::negotiate(&offer, &CodecPolicy::all()) else {
                continue;
            };
            let section = receive(&negotiated, 0);
            let fmtp = known
                .entry(section.server_pt)
                .or_insert_with(|| section.fmtp.clone());
            assert_eq!(*fmtp, section.fmtp, "{profile} {mode}");
            taken += 1;
        }
    }
    assert_eq!(taken, 18, "all but those of no profile that viewers know");
}
