//! A publisher that offers again: what stays as it was, and what begins.

use std::time::Duration;

use leafcutter::rtcp::{Compound, Packet};
use leafcutter::transport::demux::{Protocol, classify};

use crate::bare::{Bare, Negotiated, RTX_SSRC, Rtp, VIDEO_SSRC, hear, take};
use crate::world::World;

/// Session id and version of an answer (RFC 8866 §5.2).
fn origin(sdp: &str) -> (u64, u64) {
    let line = sdp.lines().find_map(|line| line.strip_prefix("o=- "));
    let mut numbers = line.expect("an origin").split(' ');
    let mut number = || numbers.next().and_then(|n| n.parse().ok());
    (number().expect("an id"), number().expect("a version"))
}

#[test]
fn later_answers_are_versions_of_the_first() {
    let mut world = World::new(1, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    let (id, version) = origin(&publisher.remote_sdp);
    for later in 1..=3 {
        let answer = publisher.offer(&mut world, "s", &[]);
        assert_eq!(origin(&answer), (id, version + later));
    }
}

/// H.264 before VP8.
const PREFERS_H264: (&str, &str) = (
    "SAVPF 96 97\r\n",
    "SAVPF 102 96 97\r\na=rtpmap:102 H264/90000\r\n\
     a=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n",
);

#[test]
fn an_m_line_keeps_its_codec() {
    let mut world = World::new(2, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    let answer = publisher.offer(&mut world, "s", &[PREFERS_H264]);
    assert!(
        answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n"),
        "{answer}"
    );
    // Elsewhere the same offer is answered with what it prefers.
    let other = Negotiated::publisher_that_offers(&mut world, 0, "t", &[PREFERS_H264]);
    assert!(
        other
            .remote_sdp
            .contains("m=video 9 UDP/TLS/RTP/SAVPF 102\r\n")
    );
}

#[test]
fn candidates_for_who_has_no_mids_are_of_the_first_m_line() {
    let mut world = World::new(4, 1);
    let without = ["a=group:BUNDLE 0 1\r\n", "a=mid:0\r\n", "a=mid:1\r\n"].map(|line| (line, ""));
    let publisher = Negotiated::publisher_that_offers(&mut world, 0, "s", &without);
    let candidate = hear(&mut world, publisher.conn, "takeCandidate");
    assert_eq!(
        (&candidate["id"], &candidate["label"]),
        (&"0".into(), &0.into())
    );
}

/// How often transport-wide feedback comes for a second of audio from packet `first` on.
fn feedback(world: &mut World, publisher: &mut Bare, first: u16) -> usize {
    for seq in first..first + 50 {
        let packet = publisher.rtp(&Rtp::opus(seq));
        publisher.send(world, &packet);
        world.run(Duration::from_millis(20));
    }
    let mut found = 0;
    for mut datagram in take(world, publisher.address) {
        if classify(&datagram) == Some(Protocol::Rtcp) {
            let opened = publisher.unprotect.unprotect_rtcp(&mut datagram);
            let compound = Compound::new(&datagram[..opened.expect("genuine")]);
            let packets = compound.flatten();
            let is_it = |packet: &Packet<'_>| matches!(packet, Packet::TransportFeedback(_));
            found += packets.filter(is_it).count();
        }
    }
    found
}

#[test]
fn transport_wide_feedback_begins_with_the_offer_that_has_it() {
    let mut world = World::new(3, 1);
    let without = [
        ("a=rtcp-fb:111 transport-cc\r\n", ""),
        ("a=rtcp-fb:96 transport-cc\r\n", ""),
    ];
    let publisher = Negotiated::publisher_that_offers(&mut world, 0, "s", &without);
    let mut publisher = publisher.connect(&mut world);
    assert_eq!(feedback(&mut world, &mut publisher, 0), 0);
    publisher.offer(&mut world, "s", &[]);
    let times = feedback(&mut world, &mut publisher, 50);
    assert!(times >= 5, "{times} in a second");
}

/// A camera's m-line is stopped and a screen gets one of its own, as `removeTrack` and `addTrack`
/// do: who plays goes on with the screen, by the m-line that there is.
#[test]
fn of_two_m_lines_of_a_kind_the_one_in_use_is_played() {
    let screen = 3001;
    let mid_2 = format!(
        "a=ssrc:{RTX_SSRC} cname:bare\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=sendonly\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=ssrc:{screen} cname:bare\r\n"
    );
    let rtx = format!("a=ssrc:{RTX_SSRC} cname:bare\r\n");
    let bundle = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1 2\r\n");
    let stopped = [
        ("a=mid:1\r\na=sendonly\r\n", "a=mid:1\r\na=inactive\r\n"),
        (
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96 97\r\n",
        ),
    ];
    for stop in stopped {
        let mut world = World::new(5, 1);
        let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
        let viewer = Negotiated::viewer(&mut world, 0, "s").connect(&mut world);
        let key_frame: &[u8] = &[0x90, 0x80, 0x80, 1, 0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 64, 0];
        let packet = |ssrc, seq, last| Rtp {
            pt: 96,
            ssrc,
            seq,
            timestamp: u32::from(seq) * 3000,
            marker: true,
            transport_seq: 0,
            payload: if last { key_frame } else { &key_frame[..13] },
        };
        publisher.send(&mut world, &publisher.rtp(&packet(VIDEO_SSRC, 7, true)));
        world.run(Duration::from_millis(50));
        assert_eq!(viewer.payloads_received(&mut world).len(), 1);

        let answer = publisher.offer(&mut world, "s", &[bundle, stop, (&rtx, &mid_2)]);
        assert!(answer.contains("a=mid:2\r\n"), "{answer}");
        world.run(Duration::from_millis(300));
        publisher.send(&mut world, &publisher.rtp(&packet(screen, 9, false)));
        world.run(Duration::from_millis(50));
        let received = viewer.payloads_received(&mut world);
        assert_eq!(received.len(), 1, "{received:?}");
        assert_eq!(received[0].1.len(), 13, "of the screen");
    }
}

/// A page that changes its camera by `removeTrack` and `addTrack` has another m-line with other
/// sources each time, for hours.
#[test]
fn sources_of_stopped_m_lines_make_room_for_others() {
    let mut world = World::new(6, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    let viewer = Negotiated::viewer(&mut world, 0, "s").connect(&mut world);
    let key_frame: &[u8] = &[0x90, 0x80, 0x80, 1, 0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 64, 0];
    let rtx = format!("a=ssrc:{RTX_SSRC} cname:bare\r\n");
    let stop = ("a=mid:1\r\na=sendonly\r\n", "a=mid:1\r\na=inactive\r\n");
    let mut lines = rtx.clone();
    let mut names = String::new();
    for change in 0..100 {
        let (mid, ssrc) = (change + 2, 3001 + change);
        names.push_str(&format!(" {mid}"));
        let bundle = format!("a=group:BUNDLE 0 1{names}\r\n");
        let line = |direction: &str| {
            format!(
                "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na={direction}\r\n\
                 a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=ssrc:{ssrc} cname:bare\r\n"
            )
        };
        let offered = format!("{lines}{}", line("sendonly"));
        let changes = [
            ("a=group:BUNDLE 0 1\r\n", &*bundle),
            stop,
            (&*rtx, &*offered),
        ];
        publisher.offer(&mut world, "s", &changes);
        lines.push_str(&line("inactive"));
        for (conn, check) in [(&publisher, publisher.check()), (&viewer, viewer.check())] {
            conn.send(&mut world, &check);
        }
        // What was asked for before a change is asked for again.
        world.run(Duration::from_millis(600));
        for seq in 1..3 {
            let packet = Rtp {
                pt: 96,
                ssrc,
                seq,
                timestamp: ssrc * 90_000 + u32::from(seq) * 3000,
                marker: true,
                transport_seq: 0,
                payload: key_frame,
            };
            publisher.send(&mut world, &publisher.rtp(&packet));
            world.run(Duration::from_millis(20));
        }
        assert_eq!(
            viewer.payloads_received(&mut world).len(),
            2,
            "camera {change}"
        );
    }
}
