//! A publisher with three encodings: each viewer sees one continuous picture, whichever is sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use leafcutter::base::codec::MediaKind;
use leafcutter::base::fault::DropReason;
use serde_json::json;

use crate::client::{Client, Received};
use crate::media::{Cameras, Published, is_key_frame_start};
use crate::network::{Direction, Link};
use crate::seeds;
use crate::world::World;

#[test]
fn a_viewer_is_sent_the_top_and_what_it_forces() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(seed, 1);
        let (publisher, viewer) = call(&mut world, 0);
        assert_eq!(
            heights(&world, viewer),
            [720],
            "the top at once, and nothing else"
        );
        for (height, want) in [
            (360, 360),
            (300, 180),
            (1, 180),
            (720, 720),
            (400, 360),
            (0, 720),
        ] {
            force(&mut world, viewer, height);
            world.run(Duration::from_secs(2));
            let shown = heights(&world, viewer);
            assert_eq!(shown.last(), Some(&want), "forced to {height}: {shown:?}");
        }
        assert_eq!(heights(&world, viewer), [720, 360, 180, 720, 360, 720]);
        assert_eq!(told(&world.clients[viewer]), [360, 180, 720, 360, 720]);
        let seen = assert_continuous(&world, publisher, viewer);
        assert_eq!(seen.holes, 0);
        assert!(seen.frames > 330, "{} frames in 12 s", seen.frames);
        assert!(seen.most_off <= 90, "{} ticks off the clock", seen.most_off);
    });
}

#[test]
fn each_viewer_has_its_own_and_the_publisher_is_asked_seldom() {
    let mut world = World::new(11, 1);
    let (publisher, first) = call(&mut world, 0);
    let others: Vec<_> = (0..10).map(|_| world.play(0, "call")).collect();
    world.connect();
    world.run(Duration::from_secs(2));
    let before = world.clients[publisher].key_frame_requests.len();
    for viewer in &others {
        force(&mut world, *viewer, 180);
    }
    world.run(Duration::from_secs(3));
    let asked = world.clients[publisher].key_frame_requests.len() - before;
    assert!(
        (1..=3).contains(&asked),
        "{asked} requests for ten switches"
    );
    for viewer in others {
        assert_eq!(heights(&world, viewer).last(), Some(&180));
        assert_continuous(&world, publisher, viewer);
    }
    assert_eq!(heights(&world, first), [720]);
    assert_continuous(&world, publisher, first);
    let refused = world.dropped(DropReason::NotSelected);
    assert!(refused > 0, "while one takes over: {:?}", world.drops());
}

#[test]
fn loss_on_both_sides_is_repaired_across_switches() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(100 + seed, 1);
        let (publisher, viewer) = call(&mut world, 0);
        world.set_links(publisher, Link::lossy(0.02), Link::CLEAN);
        world.set_links(viewer, Link::CLEAN, Link::lossy(0.05));
        for height in [360, 0, 180, 0, 360, 180, 0] {
            force(&mut world, viewer, height);
            world.run(Duration::from_millis(2500));
        }
        world.set_links(publisher, Link::CLEAN, Link::CLEAN);
        world.set_links(viewer, Link::CLEAN, Link::CLEAN);
        world.run(Duration::from_secs(2));
        assert_eq!(heights(&world, viewer).last(), Some(&720));
        let seen = assert_continuous(&world, publisher, viewer);
        assert!(
            seen.holes <= 2,
            "{} packets were never repaired",
            seen.holes
        );
    });
}

#[test]
fn what_the_publisher_stops_is_replaced_by_the_next() {
    let mut world = World::new(21, 1);
    let (publisher, viewer) = call(&mut world, 0);
    for (encoding, running, want) in [(0, false, 360), (1, false, 180), (0, true, 720)] {
        switch_camera(&mut world, publisher, encoding, running);
        world.run(Duration::from_secs(3));
        assert_eq!(
            heights(&world, viewer).last(),
            Some(&want),
            "{encoding} {running}"
        );
    }
    assert_eq!(told(&world.clients[viewer]), [360, 180, 720]);
    let seen = assert_continuous(&world, publisher, viewer);
    assert_eq!(seen.holes, 0);
}

/// A link gets narrow: packets of the top are lost, a viewer asks for a key frame of it, and the
/// publisher stops it instead. Each request would be a key frame of all that is left.
#[test]
fn what_has_stopped_is_not_asked_for_until_it_is_back() {
    let mut world = World::new(22, 2);
    let (publisher, viewer) = call(&mut world, 0);
    let relayed = world.play(1, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    switch_camera(&mut world, publisher, 0, false);
    let now = world.now.instant;
    for viewer in [viewer, relayed] {
        world.clients[viewer].request_key_frame(now);
    }
    world.run(Duration::from_secs(3));
    let before = world.clients[publisher].key_frame_requests.len();
    world.run(Duration::from_secs(10));
    let asked = world.clients[publisher].key_frame_requests.len() - before;
    assert_eq!(asked, 0, "in ten seconds");
    switch_camera(&mut world, publisher, 0, true);
    world.run(Duration::from_secs(3));
    for viewer in [viewer, relayed] {
        assert_eq!(heights(&world, viewer).last(), Some(&720));
    }
}

#[test]
fn a_viewer_on_another_worker_is_sent_one_encoding_at_a_time() {
    let mut world = World::new(31, 2);
    let (publisher, viewer) = call(&mut world, 1);
    assert_eq!(heights(&world, viewer).last(), Some(&720));
    for (height, want) in [(180, 180), (0, 720), (360, 360)] {
        force(&mut world, viewer, height);
        world.run(Duration::from_secs(3));
        assert_eq!(heights(&world, viewer).last(), Some(&want));
    }
    let relayed = &world.servers[0].relayed;
    let late = world.now.instant - Duration::from_secs(1);
    let mut tracks: Vec<_> = relayed.iter().filter(|r| r.0 > late).map(|r| r.1).collect();
    tracks.sort_unstable();
    tracks.dedup();
    assert_eq!(tracks.len(), 2, "audio and one encoding of the video");
    let seen = assert_continuous(&world, publisher, viewer);
    assert_eq!(seen.holes, 0);
}

#[test]
fn stream_information_lists_every_encoding() {
    let mut world = World::new(41, 1);
    let (_, viewer) = call(&mut world, 0);
    world.say(viewer, json!({ "command": "getStreamInfo" }));
    world.run(Duration::from_millis(100));
    let heard = &world.clients[viewer].heard;
    let answer = heard.iter().rfind(|m| m["command"] == "streamInformation");
    let entries = answer.expect("an answer")["streamInfo"]
        .as_array()
        .expect("a list");
    let of = |key: &str| {
        entries
            .iter()
            .map(|e| e[key].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("streamHeight"), [720, 360, 180]);
    let bps = of("videoBitrate");
    assert!(
        bps[0] > bps[1] && bps[1] > bps[2] && bps[2] > 50_000,
        "{bps:?}"
    );
}

#[test]
fn a_height_for_all_is_for_those_who_come_later_too() {
    let mut world = World::new(7, 2);
    let (_, viewer) = world.participate_simulcast(0, "a", "room");
    let (_, other) = world.participate_simulcast(1, "b", "room");
    // Before there is an offer.
    force(&mut world, viewer, 180);
    world.connect();
    world.run(Duration::from_secs(4));
    let late = world.participate_simulcast(1, "c", "room");
    world.connect_late(&[late.0, late.1]);
    world.run(Duration::from_secs(3));
    let from = [viewer, other].map(|viewer| world.clients[viewer].received.len());
    world.run(Duration::from_secs(2));
    let seen = by_label(&world, viewer, from[0]);
    assert_eq!((seen["b"].height, seen["c"].height), (180, 180));
    let seen = by_label(&world, other, from[1]);
    assert_eq!((seen["a"].height, seen["c"].height), (720, 720));
}

/// Six in a room, one of them behind a link that carries 1.5 Mbit/s: a layer of everybody, and
/// little more.
#[test]
fn the_speaker_is_ahead_of_the_others_on_a_narrow_link() {
    let mut world = World::new(5, 2);
    let mut members = Vec::new();
    for (at, id) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        members.push(world.participate_simulcast(at as u16 % 2, id, "room"));
        world.connect();
    }
    for (at, (publisher, _)) in members.iter().enumerate() {
        world.clients[*publisher].level = Some(if at == 2 { 30 } else { 127 });
    }
    let viewers: Vec<_> = members.iter().map(|(_, viewer)| *viewer).collect();
    world.network.narrow(viewers[5], Direction::Down, 1_500_000);
    world.run(Duration::from_secs(12));
    let from = |world: &World| -> Vec<usize> {
        let all = viewers.iter();
        all.map(|viewer| world.clients[*viewer].received.len())
            .collect()
    };
    let from = from(&world);
    world.run(Duration::from_secs(4));

    for (at, viewer) in viewers.iter().enumerate() {
        let seen = by_label(&world, *viewer, from[at]);
        println!("{at}: {seen:?}");
        assert_eq!(seen.len(), 5, "everybody else");
        let speaker = seen.get("c").map_or(0, |share| share.height);
        for (label, seen) in &seen {
            assert!(
                seen.audio >= 195,
                "{label}: {} packets of audio in 4 s",
                seen.audio
            );
            match at {
                5 if *label == "c" => assert!(speaker >= 360, "{speaker}"),
                5 => assert!(
                    (180..speaker).contains(&seen.height),
                    "{label}: {} of {speaker}",
                    seen.height
                ),
                _ => assert_eq!(seen.height, 720, "{label} for {at}"),
            }
        }
    }
}

/// Where the link becomes a third of what is sent, the picture goes on with what fits, and comes
/// back with the link.
#[test]
fn the_layer_follows_the_link_without_a_long_pause() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(60 + seed, 1);
        let (publisher, viewer) = call(&mut world, 0);
        world.run(Duration::from_secs(10));
        let fell = world.now.instant;
        world.network.narrow(viewer, Direction::Down, 250_000);
        world.run(Duration::from_secs(5));
        assert_eq!(heights(&world, viewer).last(), Some(&180));
        let pause = longest_pause(&world, viewer, fell);
        println!("{seed}: {pause:?}");
        assert!(pause < Duration::from_millis(800), "{pause:?}");
        world.network.narrow(viewer, Direction::Down, 20_000_000);
        world.run(Duration::from_secs(10));
        assert_eq!(heights(&world, viewer).last(), Some(&720));
        assert_continuous(&world, publisher, viewer);
    });
}

/// Where the link's rate is near the cost of a picture the estimate is above it now and below it
/// then; and an encoding at half its frame rate costs as much as the one below at all of it, so
/// that which of them is more changes every second.
#[test]
fn a_viewer_between_two_pictures_does_not_change_them_all_the_time() {
    for kbps in [320, 420, 520, 600] {
        seeds::for_each(3, |seed| {
            let mut world = World::new(70 + seed, 1);
            let (_, viewer) = call(&mut world, 0);
            world.run(Duration::from_secs(5));
            world.network.narrow(viewer, Direction::Down, kbps * 1000);
            world.run(Duration::from_secs(15));
            let before = heights(&world, viewer).len();
            world.run(Duration::from_secs(60));
            let changes = heights(&world, viewer).len() - before;
            println!("{kbps} {seed}: {changes}");
            assert!(
                changes <= 12,
                "{kbps} {seed}: {changes} changes in a minute"
            );
        });
    }
}

/// The same among four: what one gives up is not another's next.
#[test]
fn a_room_behind_a_narrow_link_does_not_change_all_the_time() {
    let labels = ["a", "b", "c", "d"];
    for kbps in [1400, 2200] {
        let mut world = World::new(90, 1);
        for label in labels {
            world.participate_simulcast(0, label, "room");
            world.connect();
        }
        let viewer = world.play(0, "room");
        world.connect();
        world.run(Duration::from_secs(5));
        world.network.narrow(viewer, Direction::Down, kbps * 1000);
        world.run(Duration::from_secs(15));
        let from = world.clients[viewer].received.len();
        world.run(Duration::from_secs(60));
        let received = &world.clients[viewer].received[from..];
        let shown = labels.map(|label| {
            let of = received.iter().filter(|r| *r.label == *label);
            heights_in(of)
        });
        let changes: usize = shown.iter().map(|heights| heights.len() - 1).sum();
        let len: usize = received.iter().map(|r| r.payload.len() + 40).sum();
        let percent = len as u64 * 8 * 100 / (kbps * 1000 * 60);
        println!("{kbps}: {changes} changes, {percent} % of the link");
        assert!(changes <= 60, "{kbps}: {changes} changes in a minute");
        assert!(percent >= 60, "{kbps}: {percent} % of the link");
    }
}

/// To whom nothing can be sent again there are no probes: what has not been proved is tried, less
/// often each time that it does not hold, and the link's return is noticed all the same.
#[test]
fn a_viewer_without_repair_comes_back_up_with_the_link() {
    seeds::for_each(4, |seed| {
        let mut world = World::new(80 + seed, 1);
        world.publish_simulcast(0, "call");
        world.connect();
        let viewer = world.play(0, "call");
        world.clients[viewer].refuses_repair = true;
        world.connect();
        world.run(Duration::from_secs(10));
        assert_eq!(heights(&world, viewer).last(), Some(&720));
        world.network.narrow(viewer, Direction::Down, 250_000);
        world.run(Duration::from_secs(5));
        assert_eq!(heights(&world, viewer).last(), Some(&180));
        // Not enough for the next one.
        world.network.narrow(viewer, Direction::Down, 420_000);
        world.run(Duration::from_secs(60));
        let changes = heights(&world, viewer).len();
        assert!(changes <= 12, "{seed}: {changes}");
        world.network.narrow(viewer, Direction::Down, 20_000_000);
        world.run(Duration::from_secs(60));
        assert_eq!(heights(&world, viewer).last(), Some(&720));
    });
}

/// Behind a link that carries one picture and a half, what one participant stops is another's.
/// Now and then more is tried than fits, so that only many seconds of several courses tell.
#[test]
fn what_is_not_sent_any_more_makes_room_for_others() {
    for (worker, toggles) in [(0, true), (1, true), (1, false)] {
        let heights = (1..=4).map(|seed| heights_around_a_stop(seed, worker, toggles));
        let sum = |(a, b): (u32, u32), (before, after)| (a + before, b + after);
        let (before, after) = heights.fold((0, 0), sum);
        let (before, after) = (before / 4, after / 4);
        assert!(before < 560, "{worker}, {toggles}: {before}");
        assert!(after > 660, "{worker}, {toggles}: {after}");
    }
}

/// Rows of b's picture before and after a stops its own, by a command or without a word.
fn heights_around_a_stop(seed: u64, worker: u16, toggles: bool) -> (u32, u32) {
    let mut world = World::new(seed, 2);
    let (a, _) = world.participate(0, "a", "room");
    world.connect();
    world.participate_simulcast(0, "b", "room");
    world.connect();
    let viewer = world.play(worker, "room");
    world.connect();
    world.network.narrow(viewer, Direction::Down, 1_150_000);
    let height = |world: &mut World| {
        world.run(Duration::from_secs(15));
        let from = world.clients[viewer].received.len();
        world.run(Duration::from_secs(10));
        by_label(world, viewer, from)["b"].height
    };
    let before = height(&mut world);
    if toggles {
        let off = json!({ "command": "toggleVideo", "trackId": "a", "enabled": false });
        world.say(a, off);
    } else {
        let studio = world.clients[a].studio.as_mut().expect("a studio");
        studio.running = false;
    }
    (before, height(&mut world))
}

/// The longest time since `from` without a frame that came whole.
fn longest_pause(world: &World, viewer: usize, from: Instant) -> Duration {
    let client = &world.clients[viewer];
    let video = client
        .received
        .iter()
        .filter(|r| r.kind == MediaKind::Video);
    let mut got: BTreeMap<u32, u16> = BTreeMap::new();
    let mut last = from;
    let mut longest = Duration::ZERO;
    for received in video.filter(|r| r.at >= from && !r.payload.is_empty()) {
        let identity = received.identity();
        let packets = got.entry(identity.frame).or_default();
        *packets += 1;
        if *packets == identity.packets {
            longest = longest.max(received.at - last);
            last = received.at;
        }
    }
    longest.max(world.now.instant - last)
}

/// What a viewer got of one participant: rows of the picture on the average of its packets, and
/// packets of audio.
#[derive(Debug, Default)]
struct Share {
    height: u32,
    audio: u32,
}

fn by_label(world: &World, viewer: usize, from: usize) -> BTreeMap<&str, Share> {
    let mut sums: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    for received in &world.clients[viewer].received[from..] {
        let (rows, packets, audio) = sums.entry(&received.label).or_default();
        match received.kind {
            MediaKind::Audio => *audio += 1,
            MediaKind::Video if received.payload.is_empty() => {}
            MediaKind::Video => {
                let encoding = received.identity().frame as usize >> 24;
                *rows += u32::from(Cameras::RIDS[encoding].1);
                *packets += 1;
            }
        }
    }
    let share = |(rows, packets, audio): (u32, u32, u32)| Share {
        height: rows / packets.max(1),
        audio,
    };
    sums.into_iter()
        .map(|(label, sum)| (label, share(sum)))
        .collect()
}

/// A publisher with three encodings on worker 0 and a viewer, connected for two seconds.
fn call(world: &mut World, worker: u16) -> (usize, usize) {
    let publisher = world.publish_simulcast(0, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    let viewer = world.play(worker, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    (publisher, viewer)
}

fn force(world: &mut World, viewer: usize, height: u32) {
    let command = json!({ "command": "forceStreamQuality", "streamHeight": height });
    world.say(viewer, command);
}

fn switch_camera(world: &mut World, publisher: usize, encoding: usize, running: bool) {
    let cameras = world.clients[publisher].cameras.as_mut().expect("cameras");
    cameras.switch(encoding, running);
}

/// The heights that a viewer has seen, one entry per change.
fn heights(world: &World, viewer: usize) -> Vec<u16> {
    heights_in(world.clients[viewer].received.iter())
}

/// The same of one video.
fn heights_in<'a>(received: impl Iterator<Item = &'a Received>) -> Vec<u16> {
    let of = |r: &&Received| r.kind == MediaKind::Video && !r.payload.is_empty();
    let received = received.filter(of);
    let by_seq: BTreeMap<u64, u16> = received
        .map(|r| (r.seq, Cameras::RIDS[r.identity().frame as usize >> 24].1))
        .collect();
    let mut heights: Vec<u16> = by_seq.into_values().collect();
    heights.dedup();
    heights
}

/// The heights that a viewer was told of.
fn told(client: &Client) -> Vec<u64> {
    let news = client.heard.iter();
    let news = news.filter(|m| m["definition"] == "resolutionChangeInfo");
    news.map(|m| m["streamHeight"].as_u64().expect("a height"))
        .collect()
}

#[derive(Debug, Default)]
struct Seen {
    /// Numbers that never came.
    holes: usize,
    /// Whole frames.
    frames: usize,
    /// Ticks between a frame's timestamp and that of its capture, beyond a constant.
    most_off: u32,
}

/// Holds what a viewer received against what a decoder needs.
///
/// # Panics
/// When a frame is not what was published, when ids or timestamps do not go on, when an encoding
/// does not begin with a key frame, or when a frame comes without those that it refers to.
fn assert_continuous(world: &World, publisher: usize, viewer: usize) -> Seen {
    let published: BTreeMap<_, &Published> = world.clients[publisher]
        .published
        .iter()
        .filter(|p| p.kind == MediaKind::Video)
        .map(|p| ((p.identity.frame, p.identity.index), p))
        .collect();
    let video = world.clients[viewer].received.iter();
    let video = video.filter(|r| r.kind == MediaKind::Video);
    let mut by_seq: BTreeMap<u64, &Received> = BTreeMap::new();
    for received in video {
        assert!(by_seq.insert(received.seq, received).is_none(), "twice");
    }
    let (first, last) = (
        *by_seq.keys().next().unwrap(),
        *by_seq.keys().last().unwrap(),
    );
    let mut seen = Seen {
        holes: (last - first + 1) as usize - by_seq.len(),
        ..Seen::default()
    };
    let mut frames: Vec<Vec<&Received>> = Vec::new();
    for received in by_seq.into_values().filter(|r| !r.payload.is_empty()) {
        let identity = received.identity();
        let packet = published[&(identity.frame, identity.index)];
        assert_eq!(received.payload[6..], packet.payload[6..], "{identity:?}");
        assert_eq!(received.marker, packet.marker, "{identity:?}");
        match frames.last_mut() {
            Some(frame) if frame[0].timestamp == received.timestamp => frame.push(received),
            _ => frames.push(vec![received]),
        }
    }
    let started = published.values().map(|p| p.at).min().unwrap();
    let mut before: Option<Frame> = None;
    let mut first_off = None;
    for (at, packets) in frames.iter().enumerate() {
        let frame = Frame::of(packets);
        if packets.len() == usize::from(packets[0].identity().packets) {
            seen.frames += 1;
        } else {
            let next = frames.get(at + 1).map(|next| Frame::of(next));
            let cut = frame.is_cut_short(packets, next);
            assert!(seen.holes > 0 || cut, "{frame:?} is not whole");
        }
        let identity = packets[0].identity();
        let at = published[&(identity.frame, identity.index)].at;
        let ticks = ((at - started).as_micros() as u64 * 90 / 1000) as u32;
        let off = packets[0].timestamp.wrapping_sub(ticks);
        let off = off.wrapping_sub(*first_off.get_or_insert(off)) as i32;
        seen.most_off = seen.most_off.max(off.unsigned_abs());
        if let Some(before) = before.filter(|_| seen.holes == 0) {
            frame.assert_follows(before);
        }
        before = Some(frame);
    }
    seen
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    encoding: u32,
    number: u32,
    key_frame: bool,
    timestamp: u32,
    picture_id: u16,
    tl0_pic_idx: u8,
    temporal: u8,
}

impl Frame {
    fn of(packets: &[&Received]) -> Self {
        let first = packets[0];
        let ids = |r: &Received| [r.payload[2], r.payload[3], r.payload[4], r.payload[5]];
        for packet in packets {
            assert_eq!(packet.identity().frame, first.identity().frame, "one frame");
            assert_eq!(ids(packet), ids(first), "the same ids in all of a frame");
        }
        let [high, low, tl0_pic_idx, layer] = ids(first);
        Self {
            encoding: first.identity().frame >> 24,
            number: first.identity().frame & 0xff_ffff,
            key_frame: is_key_frame_start(&first.payload),
            timestamp: first.timestamp,
            picture_id: u16::from_be_bytes([high & 0x7f, low]),
            tl0_pic_idx,
            temporal: layer >> 6,
        }
    }

    /// True when the end alone is missing, and another encoding comes next: the publisher's packet
    /// was lost, and repaired after the change, so nothing told that there was more.
    fn is_cut_short(self, packets: &[&Received], next: Option<Frame>) -> bool {
        let mut indices = packets.iter().map(|r| r.identity().index).enumerate();
        let from_start = indices.all(|(at, index)| at == usize::from(index));
        from_start && next.is_some_and(|next| next.key_frame && next.encoding != self.encoding)
    }

    /// Everything of an encoding is sent, so each frame follows the one before it.
    fn assert_follows(self, before: Frame) {
        let step = self.timestamp.wrapping_sub(before.timestamp) as i32;
        assert!(step > 0, "{before:?} {self:?}");
        let pictures = self.picture_id.wrapping_sub(before.picture_id) & 0x7fff;
        assert_eq!(pictures, 1, "{before:?} {self:?}");
        let bases = self.tl0_pic_idx.wrapping_sub(before.tl0_pic_idx);
        assert_eq!(bases, u8::from(self.temporal == 0), "{before:?} {self:?}");
        if self.encoding == before.encoding {
            assert_eq!(self.number, before.number + 1, "{before:?} {self:?}");
        } else {
            assert!(self.key_frame, "{before:?} {self:?}");
        }
    }
}
