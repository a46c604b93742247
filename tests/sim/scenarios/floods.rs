//! Attacks that need numbers: floods, amplification, storms of requests. `docs/security.md` lists
//! them; `LEAFCUTTER_ALL=1` runs their full counts.

use std::collections::BTreeSet;
use std::time::Duration;

use leafcutter::base::bytes::Writer;
use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::Ssrc;
use leafcutter::base::limits::{MAX_RETIRED_SSRCS, MAX_SSRCS_PER_PEER};
use leafcutter::base::seq::SeqNo;
use leafcutter::rtcp::write;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bare::{AUDIO_SSRC, Bare, Negotiated, Rtp, VIDEO_SSRC, binding_request, take};
use crate::check::assert_all_arrived;
use crate::world::World;

/// A publisher and a viewer whose call is not to be disturbed.
struct Call {
    world: World,
    publisher: usize,
    viewer: usize,
}

impl Call {
    fn begin(seed: u64) -> Self {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.connect();
        world.run(Duration::from_secs(1));
        Self {
            world,
            publisher,
            viewer,
        }
    }

    fn assert_undisturbed(mut self) {
        self.world.run(Duration::from_secs(1));
        let until = self.world.now.instant - Duration::from_millis(100);
        let clients = &self.world.clients;
        assert_all_arrived(&clients[self.publisher], &clients[self.viewer], until);
    }
}

/// `few` in an ordinary run, `all` with `LEAFCUTTER_ALL`.
fn count(few: u32, all: u32) -> u32 {
    let is_full = std::env::var_os("LEAFCUTTER_ALL").is_some();
    if is_full { all } else { few }
}

fn compound(peer: &mut Bare, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    fill(&mut w);
    let len = w.len();
    peer.rtcp(&buf[..len])
}

/// A bare publisher of `stream` and a bare viewer of it.
fn bare_pair(world: &mut World, stream: &str) -> (Bare, Bare) {
    let publisher = Negotiated::publisher(world, 0, stream).connect(world);
    // On air once something came.
    let first = publisher.rtp(&Rtp::opus(0));
    publisher.send(world, &first);
    world.run(Duration::from_millis(50));
    let viewer = Negotiated::viewer(world, 0, stream).connect(world);
    (publisher, viewer)
}

#[test]
fn a_client_hello_before_ice_is_never_answered() {
    let mut call = Call::begin(30);
    let mut attacker = Negotiated::publisher(&mut call.world, 0, "other");
    let hello = attacker.first_flight();
    let sources = count(500, 5000);
    for _ in 0..sources {
        let from = call.world.network.fresh_address();
        for record in &hello {
            call.world.inject(0, from, record);
        }
    }
    call.world.run(Duration::from_millis(50));
    assert!(call.world.strays.is_empty(), "bytes out: none");
    assert_eq!(
        call.world.dropped(DropReason::UnvalidatedSource),
        u64::from(sources) * hello.len() as u64
    );
    call.assert_undisturbed();
}

#[test]
fn binding_requests_without_the_password_are_never_answered() {
    let mut call = Call::begin(31);
    let victim = Negotiated::publisher(&mut call.world, 0, "other");
    let wrong = binding_request(&victim.remote_sdp, Some("not-the-password-at-all"));
    let unsigned = without_integrity(&victim.binding_request());
    let sources = count(1000, 10_000);
    for _ in 0..sources {
        let from = call.world.network.fresh_address();
        call.world.inject(0, from, &wrong);
        call.world.inject(0, from, &unsigned);
    }
    call.world.run(Duration::from_millis(50));
    assert!(call.world.strays.is_empty(), "bytes out: none");
    let refused = call.world.dropped(DropReason::StunRejected)
        + call.world.dropped(DropReason::MalformedStun);
    assert_eq!(refused, 2 * u64::from(sources));
    call.assert_undisturbed();
}

/// The message up to its MESSAGE-INTEGRITY (RFC 8489 §14.5), its length put right.
fn without_integrity(message: &[u8]) -> Vec<u8> {
    let mut at = 20;
    while message[at..at + 2] != [0, 8] {
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        at += 4 + len.next_multiple_of(4);
    }
    let mut cut = message[..at].to_vec();
    let len = u16::try_from(at - 20).unwrap();
    cut[2..4].copy_from_slice(&len.to_be_bytes());
    cut
}

/// From the validated address itself, as somebody on the path can: before, between and behind the
/// flights of the handshake.
#[test]
fn forged_records_within_a_handshake_do_not_stop_it() {
    let mut call = Call::begin(32);
    let world = &mut call.world;
    let publisher = Negotiated::publisher(world, 0, "other");
    let alert = |level, text| vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, level, text];
    let mut forged = vec![
        alert(2, 40),
        alert(1, 0),
        alert(2, 80),
        // An epoch that does not exist, and a ChangeCipherSpec out of the blue.
        vec![22, 254, 253, 0, 9, 0, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4],
        vec![20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1],
    ];
    forged.extend((20..64).map(|first| vec![first; 60]));
    let peer = publisher.connect_among(world, &forged);
    assert_eq!(world.counters(0).peers_connected, 3);
    let first = peer.rtp(&Rtp::opus(0));
    let before = world.counters(0).rtp_received;
    peer.send(world, &first);
    world.run(Duration::from_micros(500));
    assert!(world.counters(0).rtp_received > before);
    call.assert_undisturbed();
}

/// A failed handshake ends the one peer and nobody else.
#[test]
fn broken_certificates_end_their_own_handshake_only() {
    let mut call = Call::begin(33);
    let mut rng = StdRng::seed_from_u64(33);
    let mut failed = 0;
    let tries = count(40, 400);
    for number in 0..tries {
        let spoil = |der: &mut Vec<u8>| match number {
            // Explicit curve parameters (RFC 3279 §2.3.5), cut short, in the place of the name of
            // P-256: what CVE-2022-0778 looped over.
            0 => spoil_curve(der),
            1 => der.truncate(der.len() / 2),
            _ => {
                for _ in 0..3 {
                    let at = rng.random_range(0..der.len());
                    der[at] = rng.random();
                }
            }
        };
        let stream = format!("broken{number}");
        let mut peer = Negotiated::publisher_certified(&mut call.world, 0, &stream, spoil);
        peer.bind(&mut call.world);
        failed += u32::from(peer.shake_hands(&mut call.world).is_none());
    }
    assert!(failed >= tries / 8, "{failed} of {tries}");
    call.assert_undisturbed();
}

fn spoil_curve(der: &mut [u8]) {
    const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const EXPLICIT: [u8; 10] = [0x30, 8, 2, 1, 1, 0x30, 3, 6, 1, 0x2a];
    let at = der.windows(10).position(|w| w == P256).expect("a curve");
    der[at..at + 10].copy_from_slice(&EXPLICIT);
}

#[test]
fn without_consent_nothing_is_sent_whatever_else_comes() {
    let mut world = World::new(34, 1);
    world.publish(0, "call");
    world.connect();
    let mut viewer = Negotiated::viewer(&mut world, 0, "call").connect(&mut world);
    let mut last = 0;
    for tenth in 1..=400 {
        let report = compound(&mut viewer, |w| {
            write::receiver_report(w, Ssrc(1), &[]);
        });
        viewer.send(&mut world, &report);
        world.run(Duration::from_millis(100));
        if !viewer.rtp_received(&mut world).is_empty() {
            last = tenth;
        }
    }
    assert!((290..=311).contains(&last), "RFC 7675: {last} tenths");
}

#[test]
fn replays_and_late_packets_are_dropped_once_each_and_wraps_change_nothing() {
    let mut world = World::new(35, 1);
    let (publisher, viewer) = bare_pair(&mut world, "s");
    viewer.rtp_received(&mut world);
    // From so far back that the roll-over counter is guessed wrong, a copy has a wrong tag.
    let refused = |world: &World| {
        let reasons = [DropReason::Replayed, DropReason::AuthFailed];
        reasons
            .map(|reason| world.dropped(reason))
            .iter()
            .sum::<u64>()
    };
    let before = refused(&world);
    let mut rng = StdRng::seed_from_u64(35);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut numbers = BTreeSet::new();
    let mut replays = 0;
    // From number 1 over the wrap at 65536, in steps that a receiver takes for loss, not for age.
    let mut index = 0u32;
    while index < 70_000 {
        index += if rng.random_bool(0.1) { 2 } else { 1 };
        // Most of the way in leaps; slowly before and behind the wrap.
        if (1000..65_000).contains(&index) {
            index += 500;
        }
        let packet = Rtp {
            timestamp: index * 960,
            ..Rtp::opus(index as u16)
        };
        let packet = publisher.rtp_late(&packet, index >> 16);
        publisher.send(&mut world, &packet);
        sent.push(packet);
        numbers.insert(index as u16);
        for back in [1, 63, 64, 65, 1023, 1024, 1025] {
            if sent.len() > back && rng.random_bool(0.02) {
                let copy = sent[sent.len() - 1 - back].clone();
                publisher.send(&mut world, &copy);
                replays += 1;
            }
        }
        if sent.len().is_multiple_of(20) {
            world.run(Duration::from_millis(10));
        }
    }
    world.run(Duration::from_millis(100));
    let dropped = refused(&world) - before;
    assert!(replays > 100);
    assert_eq!(dropped, replays, "{:?}", world.drops());
    let got = viewer.rtp_received(&mut world);
    let distinct: BTreeSet<u16> = got.iter().map(|h| h.seq.0).collect();
    assert_eq!((distinct.len(), got.len()), (numbers.len(), sent.len()));
}

#[test]
fn new_sources_cost_nothing_before_they_are_authentic_and_little_behind() {
    let mut call = Call::begin(36);
    let world = &mut call.world;
    let publisher = Negotiated::publisher(world, 0, "other").connect(world);
    let tracks = world.counters(0).tracks;
    let forged = count(10_000, 100_000);
    for number in 0..forged {
        let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        packet.extend_from_slice(&(5000 + number).to_be_bytes());
        packet.extend_from_slice(&[0x55; 40]);
        publisher.send(world, &packet);
        if number.is_multiple_of(1000) {
            world.run(Duration::from_millis(1));
        }
    }
    world.run(Duration::from_millis(1));
    let refused = world.dropped(DropReason::AuthFailed) + world.dropped(DropReason::UnknownSsrc);
    assert_eq!(refused, u64::from(forged));

    let before = world.drops();
    let genuine = count(10_000, 100_000);
    let received = world.counters(0).rtp_received;
    for number in 0..genuine {
        let packet = Rtp {
            ssrc: 5000 + number,
            ..Rtp::opus(1)
        };
        let packet = publisher.rtp(&packet);
        publisher.send(world, &packet);
        if number.is_multiple_of(1000) {
            world.run(Duration::from_millis(1));
        }
    }
    world.run(Duration::from_millis(1));
    let sum = |drops: Vec<(DropReason, u64)>| drops.iter().map(|(_, n)| n).sum::<u64>();
    let (now, before) = (sum(world.drops()), sum(before));
    let borne = (MAX_SSRCS_PER_PEER + MAX_RETIRED_SSRCS) as u64;
    let refused = now - before;
    assert!(refused >= u64::from(genuine) - borne, "{refused}");
    // The call's own packets are among them.
    let taken = world.counters(0).rtp_received - received;
    assert!(taken < borne + u64::from(genuine) / 10, "{taken}");
    assert_eq!(world.counters(0).tracks, tracks);
    call.assert_undisturbed();
}

#[test]
fn asking_for_everything_again_yields_twice_the_media_at_most() {
    let mut call = Call::begin(37);
    let world = &mut call.world;
    let modest = Negotiated::viewer(world, 0, "call").connect(world);
    let mut greedy = Negotiated::viewer(world, 0, "call").connect(world);
    world.run(Duration::from_secs(1));
    modest.packets_received(world);
    greedy.packets_received(world);
    let bytes = |packets: &[Vec<u8>]| packets.iter().map(Vec::len).sum::<usize>();
    let (mut out, mut usual) = (0, 0);
    let mut seen: Vec<(Ssrc, SeqNo)> = Vec::new();
    for _ in 0..400 {
        world.run(Duration::from_millis(20));
        let packets = greedy.packets_received(world);
        out += bytes(&packets);
        usual += bytes(&modest.packets_received(world));
        for packet in &packets {
            let header = leafcutter::rtp::RtpHeader::parse(packet).unwrap();
            if header.pt.0 == 96 {
                seen.push((header.ssrc, header.seq));
            }
        }
        let Some(&(media, _)) = seen.last() else {
            continue;
        };
        let wanted: Vec<SeqNo> = seen.iter().rev().take(280).map(|(_, seq)| *seq).collect();
        for _ in 0..5 {
            let nack = compound(&mut greedy, |w| {
                write::nack(w, Ssrc(1), media, &wanted);
            });
            greedy.send(world, &nack);
        }
    }
    assert!(seen.len() > 100 && out > usual, "{out} {usual}");
    let factor = out as f64 / usual as f64;
    println!("NACK: {factor:.2} times the media");
    assert!(factor <= 2.0, "{factor}");
    call.assert_undisturbed();
}

#[test]
fn a_storm_of_key_frame_requests_reaches_the_publisher_as_a_few() {
    let mut call = Call::begin(38);
    let world = &mut call.world;
    let mut viewers: Vec<_> = (0..20)
        .map(|_| Negotiated::viewer(world, 0, "call").connect(world))
        .collect();
    world.run(Duration::from_secs(1));
    let medias: Vec<Ssrc> = viewers
        .iter()
        .map(|viewer| {
            let headers = viewer.rtp_received(world);
            let video = headers.iter().find(|h| h.pt.0 == 96);
            video.expect("video").ssrc
        })
        .collect();
    let before = world.clients[call.publisher].key_frame_requests.len();
    // As 1000 viewers with ten a second each.
    for _ in 0..count(100, 300) {
        for (viewer, media) in viewers.iter_mut().zip(&medias) {
            for _ in 0..5 {
                let pli = compound(viewer, |w| {
                    write::pli(w, Ssrc(1), *media);
                });
                viewer.send(world, &pli);
            }
        }
        world.run(Duration::from_millis(10));
    }
    let requests = world.clients[call.publisher].key_frame_requests.len() - before;
    let seconds = count(1, 3) as usize;
    println!("PLI: {requests} requests in {seconds} s");
    assert!((1..=2 * seconds + 1).contains(&requests), "{requests}");
    call.assert_undisturbed();
}

/// What is no RTCP behind a good tag, and RTCP that tells of what was never sent.
#[test]
fn lies_and_malformations_behind_a_good_tag_do_no_harm() {
    let mut call = Call::begin(39);
    let world = &mut call.world;
    let (mut publisher, _) = bare_pair(world, "s");
    let mut liar = Negotiated::viewer(world, 0, "call").connect(world);
    world.run(Duration::from_millis(200));
    let media = liar.rtp_received(world).last().expect("media").ssrc;
    let mut rng = StdRng::seed_from_u64(39);
    let (mut malformed, mut lengthy) = (0, 0);
    for round in 0..count(500, 20_000) {
        let len = 4 * rng.random_range(2..60);
        let mut noise: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        noise[0] = 0x80 | rng.random_range(0..64);
        noise[1] = rng.random_range(192..224);
        if rng.random_bool(0.7) {
            // Often a length that fits, so that the reader of the type is reached.
            let words = u16::try_from(len / 4 - 1).unwrap();
            noise[2..4].copy_from_slice(&words.to_be_bytes());
            noise[0] &= 0xdf;
        }
        let for_both = [liar.rtcp(&noise), publisher.rtcp(&noise)];
        liar.send(world, &for_both[0]);
        publisher.send(world, &for_both[1]);
        let estimate = [0, 1, u64::from(u32::MAX), 1 << 62][round as usize % 4];
        let remb = compound(&mut liar, |w| {
            write::remb(w, Ssrc(1), estimate, &[media]);
        });
        liar.send(world, &remb);
        // Feedback of packets that were never sent (draft-holmer §3.1): as many as are taken, and
        // 65535 of them as often as fits into a datagram.
        let mut feedback = |count: u16, chunks: u8| {
            let mut packet = vec![0x8f, 205, 0, 4 + chunks.div_ceil(2), 0, 0, 0, 1];
            packet.extend_from_slice(&media.0.to_be_bytes());
            packet.extend_from_slice(&rng.random::<u16>().to_be_bytes());
            packet.extend_from_slice(&count.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, round as u8]);
            packet.extend_from_slice(&[0x1f, 0xff].repeat(usize::from(chunks)));
            packet.resize(20 + 4 * usize::from(chunks.div_ceil(2)), 0);
            packet
        };
        let long: Vec<u8> = (0..36).flat_map(|_| feedback(u16::MAX, 9)).collect();
        let compounds = [liar.rtcp(&feedback(8191, 1)), liar.rtcp(&long)];
        compounds.iter().for_each(|sealed| liar.send(world, sealed));
        lengthy += 1;
        world.run(Duration::from_millis(2));
        malformed = world.dropped(DropReason::MalformedRtcp);
    }
    assert!(malformed > lengthy + 20, "{malformed}: {:?}", world.drops());
    call.assert_undisturbed();
}

/// Headers with everything that RFC 3550 and RFC 8285 let one get wrong, behind a good tag.
#[test]
fn odd_headers_behind_a_good_tag_do_no_harm() {
    let mut call = Call::begin(40);
    let world = &mut call.world;
    let (publisher, viewer) = bare_pair(world, "s");
    viewer.rtp_received(world);
    let fixed = |first: u8, seq: u16| {
        let mut header = vec![first, 111];
        header.extend_from_slice(&seq.to_be_bytes());
        header.extend_from_slice(&[0, 0, 0, 9]);
        header.extend_from_slice(&AUDIO_SSRC.to_be_bytes());
        header
    };
    let with = |first: u8, seq: u16, rest: &[u8]| [fixed(first, seq), rest.to_vec()].concat();
    // Header, payload, whether it is to be forwarded.
    let cases: [(Vec<u8>, &[u8], bool); 8] = [
        // One-byte elements 0 (padding) and 15 (stop), then a length past the end.
        (
            with(0x90, 101, &[0xbe, 0xde, 0, 1, 0, 0xf0, 0x1f, 1]),
            &[1; 8],
            true,
        ),
        (
            with(0x90, 102, &[0xbe, 0xde, 0, 1, 0x1f, 1, 2, 3]),
            &[1; 8],
            true,
        ),
        // Two-byte elements, one with a length past the end.
        (
            with(0x90, 103, &[0x10, 0, 0, 1, 3, 200, 1, 2]),
            &[1; 8],
            true,
        ),
        (with(0x90, 104, &[0x10, 0, 0, 0]), &[1; 8], true),
        // 15 CSRCs.
        (with(0x8f, 105, &[7; 60]), &[1; 8], true),
        // Padding longer than the payload, padding of 0, nothing but padding.
        (fixed(0xa0, 106), &[1, 1, 1, 200], false),
        (fixed(0xa0, 107), &[1, 1, 1, 0], false),
        (fixed(0xa0, 108), &[0, 0, 0, 4], false),
    ];
    for (header, payload, is_forwarded) in cases {
        let packet = publisher.sealed(&header, payload);
        publisher.send(world, &packet);
        world.run(Duration::from_millis(5));
        let came = viewer.rtp_received(world).len();
        assert_eq!(came, usize::from(is_forwarded), "{header:02x?}");
    }
    // A header that claims more than there is; no tag can be good.
    let mut rng = StdRng::seed_from_u64(40);
    for seq in 200..200 + count(500, 20_000) as u16 {
        let mut rest: Vec<u8> = (0..rng.random_range(0..80)).map(|_| rng.random()).collect();
        rest.insert(0, rng.random());
        let header = with(0x80 | rng.random_range(0..64), seq, &rest);
        let sealed = match leafcutter::rtp::RtpHeader::parse(&header) {
            Some(parsed) => {
                let (header, payload) = header.split_at(parsed.header_len);
                publisher.sealed(header, payload)
            }
            None => header,
        };
        publisher.send(world, &sealed);
        world.run(Duration::from_micros(200));
    }
    call.assert_undisturbed();
}

/// Others do not wait for a viewer whose datagrams go nowhere.
#[test]
fn a_blackholed_viewer_costs_the_others_nothing() {
    let mut call = Call::begin(41);
    let gone = call.world.play(0, "call");
    let others: Vec<usize> = (0..5).map(|_| call.world.play(0, "call")).collect();
    call.world.connect();
    call.world.run(Duration::from_secs(1));
    call.world.clients[gone].vanish();
    call.world.run(Duration::from_secs(5));
    let until = call.world.now.instant - Duration::from_millis(100);
    for other in others {
        let clients = &call.world.clients;
        assert_all_arrived(&clients[call.publisher], &clients[other], until);
    }
    call.assert_undisturbed();
}

/// Ids that are paths, control characters or novels, in every command that takes one.
#[test]
fn odd_stream_ids_are_refused_or_taken_as_they_are() {
    let mut call = Call::begin(42);
    let world = &mut call.world;
    let conn = world.open_conn(0);
    let long = "x".repeat(10_000);
    let ids = [
        "",
        "/",
        "../../etc/passwd",
        "a/b",
        "\0",
        "a\0b",
        "\u{202e}",
        long.as_str(),
    ];
    let commands = [
        "publish",
        "play",
        "stop",
        "join",
        "leave",
        "joinRoom",
        "leaveFromRoom",
        "getRoomInfo",
        "getTrackList",
        "getStreamInfo",
        "getBroadcastObject",
        "takeConfiguration",
        "takeCandidate",
        "forceStreamQuality",
        "toggleVideo",
        "nonsense",
    ];
    for id in ids {
        for command in commands {
            let message = serde_json::json!({
                "command": command, "streamId": id, "room": id, "mainTrack": id, "trackId": id,
            });
            world.tell(conn, message.to_string());
            world.run(Duration::from_millis(20));
        }
        world.tell(conn, serde_json::json!({"command": "ping"}).to_string());
        world.run(Duration::from_millis(20));
    }
    let answers: Vec<&str> = world
        .unheard
        .iter()
        .filter(|(to, _)| *to == conn)
        .map(|(_, text)| text.as_str())
        .collect();
    let of = |what: &str| answers.iter().filter(|text| text.contains(what)).count();
    assert_eq!(of("\"pong\""), ids.len(), "the socket lives on");
    assert!(of("\"error\"") >= ids.len(), "{answers:?}");
    call.assert_undisturbed();
}

#[test]
fn bombs_in_descriptions_are_answered_and_end_there() {
    let mut call = Call::begin(43);
    let world = &mut call.world;
    let genuine = Negotiated::offer_text(world);
    let section = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:x\r\na=rtpmap:111 opus/48000/2\r\n";
    let bombs = [
        section.repeat(10_000),
        format!("{genuine}a={}\r\n", "y".repeat(1_000_000)),
        genuine.replace("a=mid:1", "a=mid:0"),
        genuine.replace("a=fingerprint:sha-256", "a=nothing:"),
        genuine.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1"),
        genuine.replace("a=setup:actpass", "a=setup:passive"),
        "v=0\r\n".repeat(50_000),
        String::new(),
    ];
    for (number, bomb) in bombs.iter().enumerate() {
        let conn = world.open_conn(0);
        let stream = format!("bomb{number}");
        for message in [
            serde_json::json!({"command": "publish", "streamId": stream}),
            serde_json::json!({"command": "takeConfiguration", "streamId": stream,
                "type": "offer", "sdp": bomb}),
            serde_json::json!({"command": "ping"}),
        ] {
            world.tell(conn, message.to_string());
            world.run(Duration::from_millis(30));
        }
        let heard = |what: &str| {
            let mut all = world.unheard.iter();
            all.any(|(to, text)| *to == conn && text.contains(what))
        };
        assert!(heard("\"error\""), "bomb {number}");
        assert!(heard("\"pong\""), "bomb {number}");
    }
    call.assert_undisturbed();
}

/// A key frame that only a payload of that source starts: its size is no lever.
#[test]
fn media_injected_by_others_is_never_forwarded_and_moves_nothing() {
    let mut call = Call::begin(44);
    let world = &mut call.world;
    let (publisher, viewer) = bare_pair(world, "s");
    viewer.rtp_received(world);
    let received = world.counters(0).rtp_received;
    let outsider = world.network.fresh_address();
    let mut guessed = publisher.rtp(&Rtp::opus(300));
    for number in 0..count(1000, 100_000) {
        let from = if number.is_multiple_of(2) {
            outsider
        } else {
            publisher.address
        };
        guessed[2..4].copy_from_slice(&400u16.wrapping_add(number as u16).to_be_bytes());
        let source = if number.is_multiple_of(3) {
            VIDEO_SSRC
        } else {
            AUDIO_SSRC
        };
        guessed[8..12].copy_from_slice(&source.to_be_bytes());
        world.inject(0, from, &guessed);
        if number % 500 == 499 {
            world.run(Duration::from_micros(100));
        }
    }
    world.run(Duration::from_micros(100));
    let got = viewer.rtp_received(world);
    assert!(got.is_empty(), "{got:?}");
    assert!(take(world, outsider).is_empty());
    let genuine = publisher.rtp(&Rtp::opus(1));
    publisher.send(world, &genuine);
    world.run(Duration::from_millis(10));
    assert_eq!(viewer.rtp_received(world).len(), 1, "the stream goes on");
    assert!(world.counters(0).rtp_received > received);
    call.assert_undisturbed();
}
