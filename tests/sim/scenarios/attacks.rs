//! Addresses that change, and datagrams that are not what they seem.

use std::net::SocketAddr;
use std::time::Duration;

use leafcutter::base::bytes::Writer;
use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::Ssrc;
use leafcutter::base::seq::SeqNo;
use leafcutter::rtcp::write;
use leafcutter::rtp::RtpHeader;
use leafcutter::transport::demux::{Protocol, classify};
use str0m::format::Codec;

use crate::bare::{AUDIO_SSRC, Bare, Negotiated, RTX_SSRC, Rtp, VIDEO_SSRC, binding_request, take};
use crate::check::assert_all_arrived;
use crate::client::Client;
use crate::media::{Identity, Published};
use crate::network::{Direction, Link};
use crate::world::World;
use leafcutter::base::codec::MediaKind;

#[test]
fn media_follows_a_viewer_to_its_new_address() {
    let mut world = World::new(1, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    let other = world.play(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));

    let old = world.network.public(viewer);
    world.network.rebind(viewer);
    world.run(Duration::from_secs(4));
    let moved = world.now.instant;
    take(&mut world, old);
    world.run(Duration::from_secs(2));
    assert!(
        take(&mut world, old).is_empty(),
        "nothing goes to the old address"
    );
    let after = world.clients[viewer]
        .received
        .iter()
        .filter(|r| r.at > moved)
        .count();
    assert!(after > 200, "{after} packets in two seconds");
    assert!(
        world.dropped(DropReason::UnvalidatedSource) > 0,
        "feedback from an unknown address"
    );
    let until = world.now.instant - Duration::from_millis(100);
    assert_all_arrived(&world.clients[publisher], &world.clients[other], until);
}

#[test]
fn media_is_taken_from_a_publisher_at_its_new_address() {
    let mut world = World::new(2, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));
    world.network.rebind(publisher);
    world.run(Duration::from_secs(4));
    let moved = world.now.instant;
    world.run(Duration::from_secs(2));
    let after = world.clients[viewer]
        .received
        .iter()
        .filter(|r| r.at > moved)
        .count();
    assert!(after > 200, "{after} packets in two seconds");
    let key_frames = world.clients[publisher].key_frame_requests.len();
    let now = world.now.instant;
    world.clients[viewer].request_key_frame(now);
    world.run(Duration::from_secs(1));
    let asked = world.clients[publisher].key_frame_requests.len();
    assert_eq!(asked, key_frames + 1, "feedback finds the new address");
}

/// INTEROP(firefox), INTEROP(aiortc): their checks after the nomination nominate nothing.
#[test]
fn media_follows_a_viewer_whose_checks_nominate_nothing() {
    let mut world = World::new(8, 1);
    world.publish(0, "call");
    world.connect();
    let mut viewer = Negotiated::viewer(&mut world, 0, "call").connect(&mut world);
    let watch = |world: &mut World, viewer: &Bare| {
        let check = viewer.check();
        viewer.send(world, &check);
        world.run(Duration::from_secs(5));
        (viewer.rtp_received(world).len(), check)
    };
    assert!(watch(&mut world, &viewer).0 > 400);
    let (old, thief) = (viewer.address, world.network.fresh_address());
    viewer.address = world.network.fresh_address();
    let (received, _) = watch(&mut world, &viewer);
    assert_eq!(received, 0, "a lost check or two are no reason to move");
    let (_, check) = watch(&mut world, &viewer);
    let (received, _) = watch(&mut world, &viewer);
    assert!(received > 400, "{received} packets in five seconds");

    // A copy, as if it came from where the viewer was, while the viewer is silent.
    take(&mut world, old);
    world.run(Duration::from_secs(8));
    for from in [old, thief] {
        world.inject(0, from, &check);
        world.run(Duration::from_secs(1));
        let sent = take(&mut world, from);
        let rtp = |d: &Vec<u8>| classify(d) == Some(Protocol::Rtp);
        assert!(!sent.iter().any(rtp), "media for a copy");
    }
    assert!(viewer.rtp_received(&mut world).len() > 800);
}

#[test]
fn a_copied_binding_request_moves_nothing() {
    let mut world = World::new(3, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.clients[viewer].tape = Some(Vec::new());
    world.connect();
    world.run(Duration::from_secs(6));
    let tape = world.clients[viewer].tape.take().unwrap();
    let requests: Vec<_> = tape
        .iter()
        .filter(|d| classify(d) == Some(Protocol::Stun))
        .collect();
    assert!(requests.len() > 3);

    let thief = world.network.fresh_address();
    for request in requests {
        world.inject(0, thief, request);
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(1));
    assert!(
        take(&mut world, thief).is_empty(),
        "nothing goes to the thief"
    );
    assert!(world.dropped(DropReason::StunRejected) > 0);
    let until = world.now.instant - Duration::from_millis(100);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
}

/// An admitted viewer that can send from another one's address takes over what comes from there,
/// but only until the other one's next check; on one port, even if it is another worker's.
#[test]
fn an_address_that_a_rival_takes_is_won_back_by_the_next_check() {
    for (mut world, rivals) in [(World::new(9, 1), 0), (World::on_one_port(9, 2), 1)] {
        let publisher = world.publish(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.connect();
        let rival = Negotiated::viewer(&mut world, rivals, "call").connect(&mut world);
        world.run(Duration::from_secs(1));
        let address = world.network.public(viewer);
        let refused = world.dropped(DropReason::AuthFailed);
        world.inject(rivals.into(), address, &rival.binding_request(None));
        world.run(Duration::from_secs(4));
        let taken = world.dropped(DropReason::AuthFailed);
        assert!(taken > refused, "feedback was taken for the rival's");
        world.run(Duration::from_secs(4));
        let kept = world.dropped(DropReason::AuthFailed);
        assert_eq!(kept, taken, "for no longer than between two checks");
        let key_frames = world.clients[publisher].key_frame_requests.len();
        let now = world.now.instant;
        world.clients[viewer].request_key_frame(now);
        world.run(Duration::from_secs(1));
        let asked = world.clients[publisher].key_frame_requests.len();
        assert_eq!(asked, key_frames + 1, "feedback finds its way");
        let until = world.now.instant - Duration::from_millis(100);
        assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    }
}

/// A call with a stranger watching: everything it can send, and what becomes of it.
#[test]
fn forged_datagrams_are_dropped_for_the_right_reason() {
    let mut world = World::new(4, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.clients[publisher].tape = Some(Vec::new());
    world.clients[viewer].tape = Some(Vec::new());
    world.connect();
    world.run(Duration::from_secs(3));
    let before = world.drops();

    let forged = forged(&mut world, publisher, viewer);
    for (what, from, datagram, reason) in &forged {
        let count = world.dropped(*reason);
        let all: u64 = world.drops().iter().map(|(_, n)| n).sum();
        world.inject(0, *from, datagram);
        // In this very turn; other datagrams of it are genuine and not dropped.
        world.run(Duration::ZERO);
        world.run(Duration::from_micros(500));
        assert_eq!(
            world.dropped(*reason),
            count + 1,
            "{what}: {:?}",
            world.drops()
        );
        let now: u64 = world.drops().iter().map(|(_, n)| n).sum();
        assert_eq!(now, all + 1, "{what}: counted once, {before:?}");
    }

    world.run(Duration::from_secs(2));
    let until = world.now.instant - Duration::from_millis(100);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    assert!(world.clients[publisher].is_connected() && world.clients[viewer].is_connected());
}

type Forged = (&'static str, SocketAddr, Vec<u8>, DropReason);

fn forged(world: &mut World, publisher: usize, viewer: usize) -> Vec<Forged> {
    let stranger = world.network.fresh_address();
    let of_publisher = world.network.public(publisher);
    let of_viewer = world.network.public(viewer);
    let take = |client: &mut Client| client.tape.take().expect("a tape");
    let sent = take(&mut world.clients[publisher]);
    let feedback = take(&mut world.clients[viewer]);
    // Not the very last: it is still under way.
    let pick = |tape: &[Vec<u8>], protocol| {
        let mut found = tape
            .iter()
            .rev()
            .skip(10)
            .filter(|d| classify(d) == Some(protocol));
        found.next().expect("one of them").clone()
    };
    let rtp = pick(&sent, Protocol::Rtp);
    let rtcp = pick(&sent, Protocol::Rtcp);
    let dtls = pick(&feedback, Protocol::Dtls);
    let viewer_rtcp = pick(&feedback, Protocol::Rtcp);
    let stun = pick(&feedback, Protocol::Stun);
    let changed = |datagram: &[u8], at: usize, by: u8| {
        let mut datagram = datagram.to_vec();
        datagram[at] = datagram[at].wrapping_add(by);
        datagram
    };
    let stranger_sdp = "a=ice-ufrag:nobody\na=ice-pwd:does-not-matter-at-all-0\n";
    let nowhere = [vec![0x80, 50, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9], vec![0x55; 40]].concat();
    let of_nobody = binding_request(stranger_sdp, None);
    use DropReason::*;
    vec![
        (
            "an empty datagram",
            of_publisher,
            Vec::new(),
            UnknownProtocol,
        ),
        ("one byte", stranger, vec![0x80], UnknownProtocol),
        ("ZRTP", stranger, vec![0x10; 40], UnknownProtocol),
        ("1501 bytes", of_publisher, vec![0x80; 1501], Oversized),
        (
            "media from a stranger",
            stranger,
            rtp.clone(),
            UnvalidatedSource,
        ),
        (
            "feedback from a stranger",
            stranger,
            rtcp.clone(),
            UnvalidatedSource,
        ),
        (
            "a handshake from a stranger",
            stranger,
            dtls.clone(),
            UnvalidatedSource,
        ),
        (
            "media from the viewer's address",
            of_viewer,
            rtp.clone(),
            NotAPublisher,
        ),
        ("copied media", of_publisher, rtp.clone(), Replayed),
        ("copied feedback", of_publisher, rtcp.clone(), Replayed),
        (
            "copied feedback of the viewer",
            of_viewer,
            viewer_rtcp.clone(),
            Replayed,
        ),
        (
            "feedback of the viewer from the publisher",
            of_publisher,
            viewer_rtcp,
            AuthFailed,
        ),
        (
            "media with another number",
            of_publisher,
            changed(&rtp, 2, 0x40),
            AuthFailed,
        ),
        (
            "a header cut short",
            of_publisher,
            rtp[..11].to_vec(),
            MalformedRtp,
        ),
        (
            "media of a new source",
            of_publisher,
            changed(&rtp, 8, 1),
            AuthFailed,
        ),
        (
            "media that belongs nowhere",
            of_publisher,
            nowhere,
            UnknownSsrc,
        ),
        (
            "feedback with a changed tag",
            of_publisher,
            flip_rtcp(&rtcp),
            AuthFailed,
        ),
        (
            "feedback cut short",
            of_publisher,
            rtcp[..15].to_vec(),
            MalformedRtcp,
        ),
        ("STUN of noise", stranger, vec![0; 40], MalformedStun),
        (
            "STUN cut short",
            of_viewer,
            stun[..30].to_vec(),
            MalformedStun,
        ),
        ("STUN for nobody", stranger, of_nobody, UnknownUfrag),
        (
            "STUN with a changed user name",
            stranger,
            changed(&stun, 36, 1),
            StunRejected,
        ),
        ("copied STUN", stranger, stun, StunRejected),
    ]
}

/// A later SRTCP index under the old tag.
fn flip_rtcp(rtcp: &[u8]) -> Vec<u8> {
    let mut forged = rtcp.to_vec();
    let at = forged.len() - 2;
    forged[at] = forged[at].wrapping_add(1);
    forged
}

#[test]
fn nobody_else_can_shake_hands() {
    let mut world = World::new(5, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "call");
    let mut attacker = Negotiated::publisher(&mut world, 0, "other");
    let stranger = world.network.fresh_address();
    let hello = attacker.first_flight();
    assert!(!hello.is_empty());

    // Before and after ICE, from elsewhere: dropped, and nothing is sent.
    for _ in 0..100 {
        for record in &hello {
            world.inject(0, stranger, record);
        }
    }
    world.run(Duration::from_millis(2));
    publisher.bind(&mut world);
    for _ in 0..100 {
        for record in &hello {
            world.inject(0, stranger, record);
        }
    }
    world.run(Duration::from_millis(2));
    assert_eq!(
        world.dropped(DropReason::UnvalidatedSource),
        200 * hello.len() as u64
    );
    assert!(take(&mut world, stranger).is_empty());

    // With the wrong password: neither let in nor answered.
    let wrong = binding_request(&publisher.remote_sdp, Some("not-the-password-at-all"));
    world.inject(0, stranger, &wrong);
    world.run(Duration::from_millis(2));
    assert_eq!(world.dropped(DropReason::StunRejected), 1);
    assert!(take(&mut world, stranger).is_empty());

    publisher.connect(&mut world);
    assert_eq!(world.counters(0).peers_connected, 1);
}

#[test]
fn another_certificate_than_promised_gets_no_media() {
    let mut world = World::new(6, 1);
    let mut publisher = Negotiated::publisher(&mut world, 0, "call");
    let other = Negotiated::publisher(&mut world, 0, "other");
    publisher.take_certificate_of(other);
    publisher.bind(&mut world);
    publisher.shake_hands(&mut world);
    assert_eq!(world.counters(0).peers_connected, 0);
    assert!(world.dropped(DropReason::DtlsRejected) > 0);
    world.run(Duration::from_millis(10));
    let mut told = world
        .unheard
        .iter()
        .filter(|(conn, _)| *conn == publisher.conn);
    assert!(
        told.next_back()
            .is_some_and(|(_, text)| text.contains("publishTimeoutError"))
    );
}

/// From the right address, but written by somebody else: alerts without encryption, the first
/// flight again, noise.
#[test]
fn handshake_records_after_the_handshake_do_no_harm() {
    let mut world = World::new(9, 1);
    let publisher = world.publish(0, "call");
    world.clients[publisher].tape = Some(Vec::new());
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    let tape = world.clients[publisher].tape.take().unwrap();
    let mut records: Vec<_> = tape
        .into_iter()
        .filter(|d| classify(d) == Some(Protocol::Dtls))
        .collect();
    assert!(records.len() > 1);
    let alert = |level, text| vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, level, text];
    records.extend([
        alert(1, 0),
        alert(2, 40),
        vec![20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1],
    ]);
    records.extend((20..64).map(|first| vec![first; 60]));
    let from = world.network.public(publisher);
    for _ in 0..20 {
        for record in &records {
            world.inject(0, from, record);
        }
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(1));
    let until = world.now.instant - Duration::from_millis(100);
    assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
}

/// What genuine peers do wrong, and what the network does to them.
#[test]
fn every_reason_to_drop_is_given_by_somebody() {
    let mut world = World::new(7, 1);
    awkward_peers(&mut world);
    lossy_call(&mut world);
    stun_storm(&mut world);
    world.servers[0]
        .engine
        .count_dropped(DropReason::SendFailed, 1);
    let publisher = world.publish(0, "forged");
    world.connect();
    let viewer = world.play(0, "forged");
    world.clients[publisher].tape = Some(Vec::new());
    world.clients[viewer].tape = Some(Vec::new());
    world.connect();
    world.run(Duration::from_secs(3));
    for (_, from, datagram, _) in forged(&mut world, publisher, viewer) {
        world.inject(0, from, &datagram);
    }
    world.run(Duration::from_millis(10));

    let missing: Vec<_> = DropReason::ALL
        .into_iter()
        .filter(|reason| world.dropped(*reason) == 0)
        .collect();
    assert_eq!(missing, NEVER_HERE, "{:?}", world.drops());
}

/// Reasons that are not produced here: `NotConnected` guards timers of peers that lost their route,
/// which are not asked first; `layers.rs` produces `NotSelected`, a worker with a socket `TcpFull`.
const NEVER_HERE: [DropReason; 3] = [
    DropReason::NotConnected,
    DropReason::NotSelected,
    DropReason::TcpFull,
];

fn awkward_peers(world: &mut World) {
    let mut other = Negotiated::publisher(world, 0, "other");
    other.take_certificate_of(Negotiated::publisher(world, 0, "another"));
    other.bind(world);
    other.shake_hands(world);
    let negotiated = Negotiated::publisher(world, 0, "awkward");
    negotiated.bind(world);
    // Media before the handshake.
    world.inject(
        0,
        negotiated.address,
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 7, 209],
    );
    let mut publisher = negotiated.connect(world);
    let viewer = Negotiated::viewer(world, 0, "awkward").connect(world);
    let packet = Rtp {
        pt: 96,
        ssrc: VIDEO_SSRC,
        seq: 100,
        timestamp: 1000,
        marker: true,
        transport_seq: 0,
        payload: &[0x90, 0x80, 0x80, 1, 0x11, 2, 0, 9, 9, 9],
    };
    // A delta frame that nobody can start at, then one under a payload type of the other m-line,
    // one without payload, and padding as a retransmission.
    let rtx = Rtp {
        pt: 97,
        ssrc: RTX_SSRC,
        payload: &[],
        ..packet
    };
    for packet in [
        packet,
        Rtp {
            seq: 101,
            pt: 111,
            ..packet
        },
        Rtp {
            seq: 102,
            payload: &[],
            ..packet
        },
        rtx,
        // A retransmission of what is there already.
        Rtp {
            seq: 101,
            payload: &[0, 100, 0x90, 0x80, 0x80, 1, 0x11, 2, 0, 9, 9, 9],
            ..rtx
        },
        Rtp {
            pt: 111,
            ssrc: AUDIO_SSRC,
            ..packet
        },
    ] {
        let datagram = publisher.rtp(&packet);
        publisher.send(world, &datagram);
    }
    // Authentic, and not RTCP.
    let compound = publisher.rtcp(&[0x80, 200, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0]);
    publisher.send(world, &compound);
    let binding = viewer.binding_request(Some("another-password-of-the-right-length"));
    viewer.send(world, &binding);
    world.run(Duration::from_millis(20));
}

/// A publisher repairs a number that was never sent, and sends it as something else when that is
/// forgotten: one index must not be given two plaintexts (RFC 7714 §8.4).
#[test]
fn a_number_that_was_repaired_is_never_sent_as_something_else() {
    let mut world = World::new(3, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "twice").connect(&mut world);
    let viewer = Negotiated::viewer(&mut world, 0, "twice").connect(&mut world);
    let key_frame: &[u8] = &[0x90, 0x80, 0x80, 1, 0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 64, 0];
    let packet = Rtp {
        pt: 96,
        ssrc: VIDEO_SSRC,
        seq: 100,
        timestamp: 1000,
        marker: true,
        transport_seq: 0,
        payload: key_frame,
    };
    let repaired = [&[0, 101], &[0x90, 0x80, 0x80, 1, 0x11, 2, 0, 7][..]].concat();
    let rtx = Rtp {
        pt: 97,
        ssrc: RTX_SSRC,
        seq: 5,
        payload: &repaired,
        ..packet
    };
    let other: &[u8] = &[0x90, 0x80, 0x80, 1, 0x11, 2, 0, 8];
    let delta = |seq| Rtp {
        seq,
        payload: other,
        ..packet
    };
    for packet in [packet, delta(102), rtx] {
        publisher.send(&mut world, &publisher.rtp(&packet));
    }
    // Longer than anything is kept for retransmissions.
    for seq in 103..140 {
        world.run(Duration::from_millis(200));
        publisher.send(&mut world, &publisher.rtp(&delta(seq)));
    }
    world.run(Duration::from_millis(50));
    let before = viewer.payloads_received(&mut world);
    assert!(
        before.iter().any(|(_, payload)| payload.ends_with(&[7])),
        "{before:?}"
    );
    let duplicates = world.dropped(DropReason::Duplicate);
    publisher.send(&mut world, &publisher.rtp(&delta(101)));
    world.run(Duration::from_millis(50));
    assert_eq!(world.dropped(DropReason::Duplicate), duplicates + 1);
    assert!(viewer.payloads_received(&mut world).is_empty());
}

/// A viewer that asks again and again for everything, and for what is gone.
fn lossy_call(world: &mut World) {
    let publisher = world.publish(0, "lossy");
    world.connect();
    // As browsers do: no repair of audio.
    let takes = |kind: &str, line: &str| kind == "video" || !line.ends_with(" nack");
    let viewer = Negotiated::viewer_that_takes(world, 0, "lossy", takes);
    let mut viewer = viewer.connect(world);
    world
        .network
        .set(publisher, Direction::Up, Link::lossy(0.05));
    world.run(Duration::from_secs(3));
    let (video, audio): (Vec<_>, Vec<_>) = viewer
        .rtp_received(world)
        .into_iter()
        .partition(|h| h.pt.0 == 96);
    let last = audio.last().expect("audio");
    let nack = compound(&mut viewer, last.ssrc, &[last.seq]);
    viewer.send(world, &nack);
    let media = video.first().expect("video").ssrc;
    for _ in 0..100 {
        let seqs: Vec<SeqNo> = video.iter().map(|h| h.seq).rev().take(200).collect();
        let nack = compound(&mut viewer, media, &seqs);
        viewer.send(world, &nack);
        world.run(Duration::from_millis(1));
    }
    let too_old: Vec<SeqNo> = (1..50)
        .map(|back| SeqNo(video[0].seq.0.wrapping_sub(back)))
        .collect();
    let nack = compound(&mut viewer, media, &too_old);
    viewer.send(world, &nack);
    world.run(Duration::from_millis(1));
}

/// Another plaintext, or another header, under the same index would give the key of the tags away
/// (RFC 7714 §8.4).
#[test]
fn what_is_sent_twice_under_one_number_is_the_same_bytes() {
    let mut world = World::new(10, 1);
    world.publish(0, "call");
    world.connect();
    let takes = |_: &str, line: &str| !line.contains("rtx") && !line.contains("apt=");
    let viewer = Negotiated::viewer_that_takes(&mut world, 0, "call", takes);
    let mut viewer = viewer.connect(&mut world);
    world.run(Duration::from_secs(2));
    let first = viewer.packets_received(&mut world);
    for packet in first.iter().rev().take(50) {
        let header = RtpHeader::parse(packet).unwrap();
        let nack = compound(&mut viewer, header.ssrc, &[header.seq]);
        viewer.send(&mut world, &nack);
    }
    world.run(Duration::from_millis(100));
    let number = |packet: &[u8]| RtpHeader::parse(packet).map(|h| (h.ssrc, h.seq));
    let mut again = 0;
    for packet in viewer.packets_received(&mut world) {
        if let Some(same) = first.iter().find(|p| number(p) == number(&packet)) {
            assert_eq!(*same, packet);
            again += 1;
        }
    }
    assert!(
        again >= 20,
        "{again} of {} {:?} {:?}",
        first.len(),
        world.drops(),
        world.counters(0)
    );
}

fn compound(viewer: &mut crate::bare::Bare, media: Ssrc, seqs: &[SeqNo]) -> Vec<u8> {
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    write::nack(&mut w, Ssrc(1), media, seqs);
    let len = w.len();
    viewer.rtcp(&buf[..len])
}

/// More genuine binding requests in one turn than answers fit in the buffer.
fn stun_storm(world: &mut World) {
    let peer = Negotiated::publisher(world, 0, "storm");
    let request = peer.binding_request();
    for _ in 0..10_000 {
        world.inject(0, peer.address, &request);
    }
    world.run(Duration::from_millis(1));
}

/// A payload type of the same publisher that was not chosen.
#[test]
fn media_under_a_payload_type_that_was_not_agreed_is_dropped() {
    let mut world = World::new(8, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));
    let now = world.now.instant;
    let last = world.clients[publisher]
        .published
        .iter()
        .rfind(|p| p.kind == MediaKind::Video);
    let packet = Published {
        seq: last.unwrap().seq + 1000,
        identity: Identity {
            frame: 0,
            index: 0,
            packets: 0,
        },
        ..last.unwrap().clone()
    };
    world.clients[publisher].write(now, &packet, Codec::Vp9);
    world.say(publisher, serde_json::json!({ "command": "ping" }));
    world.run(Duration::from_millis(100));
    assert_eq!(world.dropped(DropReason::UnknownPt), 1);
}
