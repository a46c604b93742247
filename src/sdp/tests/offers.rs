//! Offers to players and their answers.

use super::*;
use crate::base::extension::ExtensionKind;
use crate::base::ids::Pt;
use crate::sdp::offer;

#[test]
fn an_offer_reads_back_as_it_was_meant() {
    let text = offer::write(&room(), &local(), SESSION);
    let d = parse(&text).unwrap();
    assert_eq!(
        (d.session_version, d.ice_lite, d.extmap_allow_mixed),
        (1, true, true)
    );
    assert_eq!(d.bundle.len(), 4);
    let [audio, video, data, removed, stopped] = &d.media[..] else {
        panic!("{text}")
    };
    assert_eq!(audio.msid.as_deref(), Some("stream1 ARDAMSastream1"));
    assert_eq!(audio.direction, Direction::SendOnly);
    assert_eq!(audio.formats[0].channels, 2);
    assert!(audio.extmap(ExtensionKind::AudioLevel).is_some());
    assert!(audio.extmap(ExtensionKind::VideoOrientation).is_none());
    assert_eq!(video.ssrc_groups[0].ssrcs, [Ssrc(20), Ssrc(21)]);
    assert_eq!(video.ssrcs.len(), 2);
    assert!(video.extmap(ExtensionKind::DependencyDescriptor).is_some());
    assert_eq!(video.formats[1].role(), FormatRole::Rtx(Some(Pt(102))));
    assert!(data.is_data_channel());
    assert!(removed.msid.is_none() && removed.ssrcs.is_empty());
    assert_eq!(removed.direction, Direction::Inactive);
    assert!(stopped.rejected);
    assert!(d.media[..4].iter().all(|s| s.setup == Some(Setup::ActPass)));
}

#[test]
fn an_answer_is_applied() {
    let text = answer_to(&offer::write(&room(), &local(), SESSION));
    let accepted = offer::apply_answer(&room(), &parse(&text).unwrap()).unwrap();
    let flags: Vec<_> = accepted
        .sections
        .iter()
        .map(|s| (s.accepted, s.nack, s.rtx))
        .collect();
    let video = (true, true, true);
    let nothing = (false, false, false);
    assert_eq!(
        flags,
        [
            (true, true, false),
            video,
            (true, false, false),
            video,
            nothing
        ]
    );
    assert!(accepted.sections[1].transport_cc);
    let mid = accepted.sections[1].extensions.id(ExtensionKind::Mid);
    assert_eq!(mid, Some(ExtensionKind::Mid.server_id()));
    let transport = accepted.transport.unwrap();
    assert_eq!(
        (transport.candidates.len(), transport.end_of_candidates),
        (1, true)
    );
    assert!(accepted.data.is_some());

    let refused = text.replace("m=video 9", "m=video 0");
    let accepted = offer::apply_answer(&room(), &parse(&refused).unwrap()).unwrap();
    assert!(accepted.sections[0].accepted && !accepted.sections[1].accepted);

    let none = text.replace(" 9 UDP", " 0 UDP");
    let accepted = offer::apply_answer(&room(), &parse(&none).unwrap()).unwrap();
    assert_eq!(accepted.transport, None);

    let muted = text.replace("a=recvonly", "a=inactive");
    let accepted = offer::apply_answer(&room(), &parse(&muted).unwrap()).unwrap();
    assert!(!accepted.sections[1].accepted && accepted.sections[3].accepted);
}

#[test]
fn an_answer_that_does_not_fit_is_refused() {
    let text = answer_to(&offer::write(&room(), &local(), SESSION));
    let swapped = text
        .replace("a=mid:0", "a=mid:9")
        .replace("BUNDLE 0", "BUNDLE 9");
    for (wrong, expected) in [
        (swapped, SdpError::Mismatch),
        (text.replace("m=audio", "m=video"), SdpError::Mismatch),
        (format!("{text}m=video 0 RTP/AVP 0\n"), SdpError::Mismatch),
        (
            text.replace("setup:active", "setup:passive"),
            SdpError::Setup,
        ),
        (
            text.replace("setup:active", "setup:actpass"),
            SdpError::Setup,
        ),
        (
            text.replace("a=fingerprint", "a=x"),
            SdpError::MissingFingerprint,
        ),
        (text.replace("a=ice-", "a=x-"), SdpError::MissingIce),
    ] {
        let result = parse(&wrong).and_then(|a| offer::apply_answer(&room(), &a));
        assert_eq!(result.err(), Some(expected));
    }
}

#[test]
fn an_answer_to_an_earlier_offer_is_told_by_what_it_still_has() {
    let earlier = answer_to(&offer::write(&room(), &local(), SESSION));
    let earlier = parse(&earlier).unwrap();
    assert!(offer::apply_answer(&room(), &earlier).is_ok());
    // Number, kinds and mids stay when a track goes; that its m-line was taken tells.
    let mut stopped = room();
    stopped[1] = OfferSection::Stopped {
        mid: stopped[1].mid().clone(),
        kind: MediaKind::Video,
    };
    let mut inactive = room();
    if let OfferSection::Send(send) = &mut inactive[0] {
        send.disabled = true;
    }
    let mut recycled = room();
    recycled[4] = OfferSection::Send(track("9", Codec::Vp8, "", 90));
    for (at, later) in [stopped, inactive, recycled].into_iter().enumerate() {
        let result = offer::apply_answer(&later, &earlier);
        assert_eq!(result.err(), Some(SdpError::Mismatch), "{at}");
        let fresh = answer_to(&offer::write(&later, &local(), SESSION));
        assert!(
            offer::apply_answer(&later, &parse(&fresh).unwrap()).is_ok(),
            "{at}"
        );
    }
}

#[test]
fn redundancy_is_offered_and_may_be_left_out() {
    let mut sections = room();
    if let OfferSection::Send(send) = &mut sections[0] {
        send.red = true;
    }
    let text = offer::write(&sections, &local(), SESSION);
    let offered = parse(&text).unwrap();
    let formats = &offered.media[0].formats;
    let roles: Vec<_> = formats.iter().map(|f| (f.pt.0, f.role())).collect();
    assert_eq!(
        roles,
        [(111, FormatRole::Media(Codec::Opus)), (63, FormatRole::Red)]
    );
    let taken = |text: &str| {
        let accepted = offer::apply_answer(&sections, &parse(text).unwrap()).unwrap();
        (accepted.sections[0].accepted, accepted.sections[0].red)
    };
    let answer = answer_to(&text);
    assert_eq!(taken(&answer), (true, true));
    assert_eq!(taken(&answer.replace(" 111 63", " 111")), (true, false));
}

/// Chromium refuses an audio m-line with two sources.
#[test]
fn no_retransmission_of_audio_is_offered() {
    let text = offer::write(&room(), &local(), SESSION);
    let audio = &parse(&text).unwrap().media[0];
    assert_eq!((audio.formats.len(), audio.ssrcs.len()), (1, 1));
    assert!(audio.ssrc_groups.is_empty());
}

#[test]
fn the_first_offer_has_candidates_wherever_the_transport_may_be() {
    let count = |version| {
        let session = SessionVersion { version, ..SESSION };
        let offer = parse(&offer::write(&room(), &local(), session)).unwrap();
        let has = |m: &&MediaSection| !m.candidates.is_empty();
        let in_use = offer.media.iter().filter(|m| !m.rejected);
        (offer.media.iter().filter(has).count(), in_use.count())
    };
    let (first, all) = count(1);
    assert_eq!(first, all);
    assert_eq!(count(2).0, 1);
}

#[test]
fn the_m_line_that_carries_the_transport_is_the_first_that_is_taken() {
    let sections = room();
    let text = offer::write(&sections, &local(), SESSION);
    let answer = parse(&answer_to(&text)).unwrap();
    let leader = |answer: &Description| offer::apply_answer(&sections, answer).unwrap().leader;
    assert_eq!(leader(&answer).as_ref(), Some(sections[0].mid()));
    let mut without = answer;
    without.media[0].rejected = true;
    assert_eq!(leader(&without).as_ref(), Some(sections[1].mid()));
}
