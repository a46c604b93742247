//! Sender reports: what was captured together is played together.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::bare::{AUDIO_SSRC, Negotiated, Rtp};
use crate::client::{Client, Report};
use crate::network::{Direction, Link};
use crate::seeds;
use crate::world::World;
use leafcutter::base::codec::MediaKind;

/// Where on the server's clock a viewer puts an RTP timestamp, in seconds since 1970.
fn place(report: &Report, timestamp: u32, clock_hz: f64) -> f64 {
    let since = report
        .ntp
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let ticks = timestamp.wrapping_sub(report.rtp).cast_signed();
    since + f64::from(ticks) / clock_hz
}

/// The latest report about each kind.
fn latest(viewer: &Client) -> (Report, Report) {
    let mut by_ssrc = HashMap::new();
    for report in &viewer.reports {
        by_ssrc.insert(report.ssrc, *report);
    }
    let of = |audio: bool| {
        let packet = viewer
            .wire
            .iter()
            .find(|p| (p.pt == 111) == audio && p.pt != 97)
            .unwrap();
        by_ssrc[&packet.ssrc]
    };
    (of(true), of(false))
}

/// Audio and video packets whose frames were captured within a millisecond, and how far apart a
/// viewer would play them, in seconds.
fn skews(publisher: &Client, viewer: &Client) -> Vec<f64> {
    let (audio_report, video_report) = latest(viewer);
    let of = |kind| publisher.published.iter().filter(move |p| p.kind == kind);
    let mut skews = Vec::new();
    for video in of(MediaKind::Video) {
        for audio in of(MediaKind::Audio) {
            let (earlier, later) = (audio.at.min(video.at), audio.at.max(video.at));
            if later - earlier > Duration::from_millis(1) {
                continue;
            }
            let captured = (later - earlier).as_secs_f64();
            let captured = if audio.at > video.at {
                captured
            } else {
                -captured
            };
            let played = place(&audio_report, audio.timestamp, 48_000.0)
                - place(&video_report, video.timestamp, 90_000.0);
            skews.push(played - captured);
        }
    }
    skews
}

#[test]
fn audio_and_video_stay_together() {
    let link = Link {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(60),
        loss: 0.02,
        duplicate: 0.0,
    };
    seeds::for_each(5, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, "call");
        world.connect();
        let viewers = [world.play(0, "call"), world.play(1, "call")];
        world.connect();
        world.set_links(publisher, link, link);
        for viewer in viewers {
            world.set_links(viewer, link, link);
        }
        world.run(Duration::from_secs(10));
        for viewer in viewers {
            let skews = skews(&world.clients[publisher], &world.clients[viewer]);
            assert!(skews.len() > 10);
            for skew in skews {
                assert!(skew.abs() < 0.002, "{} ms apart", skew * 1000.0);
            }
        }
    });
}

#[test]
fn reports_are_on_the_clock_of_the_server() {
    let mut world = World::new(1, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    world.network.set(viewer, Direction::Down, Link::CLEAN);
    world.run(Duration::from_secs(4));
    let now = world.now.unix_us as f64 / 1e6;
    let (audio, video) = latest(&world.clients[viewer]);
    let published = &world.clients[publisher].published;
    for (report, kind, hz) in [
        (audio, MediaKind::Audio, 48_000.0),
        (video, MediaKind::Video, 90_000.0),
    ] {
        let newest = published.iter().rfind(|p| p.kind == kind).unwrap();
        let age = now - place(&report, newest.timestamp, hz);
        // Captured within the last frame; the server takes 10 ms of travel for clock distance.
        assert!((-0.015..0.05).contains(&age), "{kind:?}: {age} s");
    }
}

/// RFC 3550 §6.4.1: who has no wall clock writes 0, which is no time to reckon with.
#[test]
fn reports_without_a_time_leave_the_clock_alone() {
    let mut world = World::new(2, 1);
    let mut publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    publisher.send(&mut world, &publisher.rtp(&Rtp::opus(0)));
    let viewer = world.play(0, "s");
    world.connect();
    for seq in 1..300 {
        let packet = Rtp::opus(seq);
        publisher.send(&mut world, &publisher.rtp(&packet));
        if seq % 50 == 0 {
            // The first tells the time, and none of those that follow.
            let ntp = if seq == 50 { world.now.ntp().0 } else { 0 };
            let mut report = vec![0x80, 200, 0, 6];
            report.extend_from_slice(&AUDIO_SSRC.to_be_bytes());
            report.extend_from_slice(&ntp.to_be_bytes());
            report.extend_from_slice(&packet.timestamp.to_be_bytes());
            report.extend_from_slice(&[0; 8]);
            let report = publisher.rtcp(&report);
            publisher.send(&mut world, &report);
        }
        world.run(Duration::from_millis(20));
    }
    let now = world.now.unix_us as f64 / 1e6;
    let report = world.clients[viewer].reports.last().expect("a report");
    let age = now - place(report, Rtp::opus(299).timestamp, 48_000.0);
    assert!((0.0..0.05).contains(&age), "{age} s");
}
