//! Data channels: who hears what, over which worker, and what a slow receiver costs.

use std::time::Duration;

use leafcutter::base::limits::MAX_DATA_BACKLOG_LEN;
use leafcutter::model::settings::{AppSettings, DataDistribution};
use serde_json::json;

use crate::client::Message;
use crate::control::Control;
use crate::network::Link;
use crate::seeds;
use crate::world::World;

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

/// Runs until everybody in `clients` has a channel.
fn open(world: &mut World, clients: &[usize]) {
    world.connect();
    let opened = world.run_until(Duration::from_secs(10), |world| {
        clients
            .iter()
            .all(|c| !world.clients[*c].channels.is_empty())
    });
    assert!(opened, "every client has a channel");
}

/// A publisher and `viewers` viewers, viewer `n` on worker `n % workers`.
fn stage(world: &mut World, workers: u16, viewers: u16) -> (usize, Vec<usize>) {
    let publisher = world.publish_data(0, "call", json!({}));
    world.connect();
    let viewers: Vec<usize> = (0..viewers)
        .map(|n| world.play(n % workers, "call"))
        .collect();
    let mut all = viewers.clone();
    all.push(publisher);
    open(world, &all);
    (publisher, viewers)
}

#[test]
fn everybody_hears_the_publisher_and_each_other_but_not_themselves() {
    for workers in [1, 2] {
        seeds::for_each(3, |seed| {
            let mut world = World::new(seed, workers);
            let (publisher, viewers) = stage(&mut world, workers, 3);
            let lossy = Link::lossy(0.05);
            for client in 0..world.clients.len() {
                world.set_links(client, lossy, lossy);
            }
            let long = Message::Binary((0..100_000u32).map(|n| n as u8).collect());
            world.send_data(publisher, &text("from the publisher"));
            world.send_data(publisher, &long);
            world.send_data(publisher, &text("last"));
            world.send_data(viewers[0], &text("from a viewer"));
            world.run(Duration::from_secs(60));

            assert_eq!(world.clients[publisher].messages, [text("from a viewer")]);
            assert_eq!(
                world.clients[viewers[0]].messages,
                [text("from the publisher"), long.clone(), text("last")]
            );
            for viewer in &viewers[1..] {
                let mut heard = world.clients[*viewer].messages.clone();
                let at = heard.iter().position(|m| *m == text("from a viewer"));
                heard.remove(at.expect("viewers hear each other"));
                assert_eq!(
                    heard,
                    [text("from the publisher"), long.clone(), text("last")]
                );
            }
        });
    }
}

#[test]
fn what_a_player_says_goes_to_whom_the_application_wants() {
    for (distribution, publisher_hears, others_hear) in [
        (DataDistribution::All, true, true),
        (DataDistribution::Publisher, true, false),
        (DataDistribution::None, false, false),
    ] {
        let mut world = World::new(7, 2);
        world.control = Control::new(AppSettings {
            data_channel_player_distribution: distribution,
            ..AppSettings::default()
        });
        let (publisher, viewers) = stage(&mut world, 2, 3);
        world.send_data(viewers[0], &text("hello"));
        world.run(Duration::from_secs(5));
        let hears = |client: usize| !world.clients[client].messages.is_empty();
        assert_eq!(hears(publisher), publisher_hears, "{distribution:?}");
        assert!(!hears(viewers[0]));
        for viewer in &viewers[1..] {
            assert_eq!(hears(*viewer), others_hear, "{distribution:?}");
        }
        assert_eq!(world.counters(0).data_received, 1);
    }
}

#[test]
fn a_subtrack_is_heard_in_its_room_and_hears_the_room() {
    let mut world = World::new(8, 2);
    let room = world.publish_data(0, "room", json!({}));
    let subtrack = world.publish_data(1, "alice", json!({ "mainTrack": "room" }));
    let stranger = world.publish_data(0, "bob", json!({}));
    world.connect();
    let in_room = [world.play(0, "room"), world.play(1, "room")];
    let plain = world.play(0, "alice");
    let elsewhere = world.play(0, "bob");
    open(
        &mut world,
        &[
            room, subtrack, stranger, in_room[0], in_room[1], plain, elsewhere,
        ],
    );
    world.run(Duration::from_secs(1));
    world.forget_messages();
    world.send_data(subtrack, &text("alice"));
    world.run(Duration::from_secs(2));
    world.send_data(in_room[0], &text("listener"));
    world.run(Duration::from_secs(2));
    let heard = |client: usize| world.clients[client].messages.clone();
    assert_eq!(heard(in_room[0]), [text("alice")]);
    assert_eq!(heard(in_room[1]), [text("alice"), text("listener")]);
    assert_eq!(heard(plain), [text("alice")]);
    assert_eq!(heard(subtrack), [text("listener")]);
    assert_eq!(heard(room), [text("listener")]);
    assert_eq!(heard(stranger), []);
    assert_eq!(heard(elsewhere), []);
}

#[test]
fn in_a_room_nobody_hears_their_own_socket_and_all_hear_of_new_tracks() {
    let mut world = World::new(16, 2);
    let (alice, alice_hears) = world.participate(0, "alice", "room");
    world.clients[alice].opens_channel = true;
    world.run(Duration::from_secs(3));
    let (bob, bob_hears) = world.participate(1, "bob", "room");
    world.clients[bob].opens_channel = true;
    open(&mut world, &[alice, alice_hears, bob, bob_hears]);
    world.run(Duration::from_secs(3));
    let event = r#"{"streamId":"room","eventType":"TRACK_LIST_UPDATED","command":"event"}"#;
    let slots = |payload: &str| {
        let head = r#"{"streamId":"room","eventType":"VIDEO_TRACK_ASSIGNMENT_LIST""#;
        text(&format!(
            r#"{head},"command":"event","payload":[{payload}]}}"#
        ))
    };
    let bob_on = r#"{"videoLabel":"videoTrack0","trackId":"bob","reserved":false}"#;
    let told = [slots(""), text(event), slots(bob_on)];
    assert_eq!(world.clients[alice_hears].messages, told);
    world.forget_messages();
    world.send_data(alice, &text("from alice"));
    world.run(Duration::from_secs(1));
    world.send_data(bob_hears, &text("from bob"));
    world.run(Duration::from_secs(1));
    let heard = |client: usize| world.clients[client].messages.clone();
    assert_eq!(heard(bob_hears), [text("from alice")]);
    assert_eq!(heard(alice_hears), [text("from bob")]);
    assert_eq!(heard(alice), [text("from bob")]);
    assert_eq!(heard(bob), []);
}

#[test]
fn a_player_may_open_a_channel_of_its_own_and_hears_nothing_twice() {
    let mut world = World::new(9, 1);
    let publisher = world.publish_data(0, "call", json!({}));
    world.connect();
    let viewer = world.play(0, "call");
    world.clients[viewer].opens_channel = true;
    open(&mut world, &[publisher, viewer]);
    world.run(Duration::from_secs(2));
    let mut labels = world.clients[viewer].channels.clone();
    labels.sort_unstable();
    assert_eq!(labels, ["call", "fileTransfer"]);
    world.send_data(publisher, &text("once"));
    world.send_data(viewer, &text("back"));
    world.run(Duration::from_secs(2));
    assert_eq!(world.clients[viewer].messages, [text("once")]);
    assert_eq!(world.clients[publisher].messages, [text("back")]);
}

#[test]
fn a_publisher_of_data_alone_is_offered_with_data_alone() {
    let mut world = World::new(10, 1);
    let (publisher, viewers) = stage(&mut world, 1, 1);
    assert!(world.clients[publisher].has_heard("publish_started"));
    let heard = &world.clients[viewers[0]].heard;
    let offer = heard.iter().find(|m| m["type"] == "offer").unwrap();
    let sdp = offer["sdp"].as_str().unwrap();
    assert_eq!(sdp.matches("\nm=").count(), 1);
    assert!(sdp.contains("\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel"));
    assert!(sdp.contains("a=max-message-size:262144"));
    assert_eq!(world.clients[viewers[0]].channels, ["call"]);
}

#[test]
fn an_application_without_data_channels_offers_and_takes_none() {
    let mut world = World::new(11, 1);
    world.control = Control::new(AppSettings {
        data_channel_enabled: false,
        ..AppSettings::default()
    });
    let publisher = world.publish(0, "call");
    world.clients[publisher].opens_channel = true;
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    world.run(Duration::from_secs(3));
    for (client, kind) in [(publisher, "answer"), (viewer, "offer")] {
        let heard = &world.clients[client].heard;
        let said = heard.iter().find(|m| m["type"] == kind).unwrap();
        let sdp = said["sdp"].as_str().unwrap();
        assert!(!sdp.contains("m=application 9"), "{sdp}");
        assert!(world.clients[client].channels.is_empty());
    }
    let alone = world.publish_data(0, "alone", json!({}));
    world.run(Duration::from_secs(1));
    assert!(world.clients[alone].has_heard("notSetRemoteDescription"));
}

#[test]
fn the_server_speaks_to_a_broadcast_and_to_one_client() {
    let mut world = World::new(12, 2);
    let (publisher, viewers) = stage(&mut world, 2, 2);
    let directory = world.control.directory();
    directory.send_data("live", "call", "to all").unwrap();
    assert!(directory.send_data("live", "other", "to nobody").is_err());
    let conn = world.clients[viewers[1]].conn;
    let stream = "call".into();
    world
        .control
        .directory()
        .send_event(conn, &stream, "to one".to_owned());
    world.tell_control();
    world.run(Duration::from_secs(2));
    assert_eq!(world.clients[publisher].messages, [text("to all")]);
    assert_eq!(world.clients[viewers[0]].messages, [text("to all")]);
    assert_eq!(
        world.clients[viewers[1]].messages,
        [text("to all"), text("to one")]
    );
}

#[test]
fn messages_go_to_the_web_hook_whomever_else_they_go_to() {
    let mut world = World::new(13, 1);
    world.control = Control::new(AppSettings {
        data_channel_player_distribution: DataDistribution::None,
        data_channel_web_hook_url: "http://127.0.0.1:9/hook".to_owned(),
        ..AppSettings::default()
    });
    let (publisher, viewers) = stage(&mut world, 1, 1);
    world.send_data(publisher, &text("one"));
    world.run(Duration::from_secs(1));
    world.send_data(viewers[0], &text("two"));
    world.run(Duration::from_secs(1));
    let directory = world.control.directory();
    let posted: Vec<_> = std::iter::from_fn(|| directory.poll_data_message())
        .map(|relay| (relay.stream.to_string(), relay.message.bytes.to_vec()))
        .collect();
    assert_eq!(
        posted,
        [
            ("call".to_owned(), b"one".to_vec()),
            ("call".to_owned(), b"two".to_vec())
        ]
    );
}

#[test]
fn a_sender_waits_for_receivers_that_are_slow() {
    let mut world = World::new(14, 1);
    let (publisher, viewers) = stage(&mut world, 1, 2);
    world.set_links(
        viewers[0],
        Link::CLEAN,
        Link {
            delay: Duration::from_millis(100),
            loss: 0.01,
            ..Link::CLEAN
        },
    );
    let message = Message::Binary(vec![5; 50_000]);
    let mut sent = 0;
    for _ in 0..2000 {
        if sent < 60 && world.send_data(publisher, &message) {
            sent += 1;
        }
        world.run(Duration::from_millis(50));
    }
    assert_eq!(sent, 60, "three megabytes were taken");
    for viewer in viewers {
        assert_eq!(world.clients[viewer].messages.len(), 60);
    }
    assert_eq!(world.counters(0).data_dropped, 0);
}

#[test]
fn a_receiver_that_takes_nothing_holds_nobody_up_and_costs_a_bounded_backlog() {
    let mut world = World::new(15, 1);
    let (publisher, viewers) = stage(&mut world, 1, 2);
    let deaf = Link::lossy(1.0);
    world.set_links(viewers[0], Link::CLEAN, deaf);
    let message = Message::Binary(vec![5; 50_000]);
    let mut sent = 0;
    // Consent goes on: it is the viewer that asks for it.
    for _ in 0..600 {
        if sent < 100 && world.send_data(publisher, &message) {
            sent += 1;
        }
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(10));
    assert_eq!(sent, 100);
    assert_eq!(world.clients[viewers[1]].messages.len(), 100);
    assert_eq!(world.clients[viewers[0]].messages.len(), 0);
    let taken = MAX_DATA_BACKLOG_LEN / 50_000;
    assert_eq!(world.counters(0).data_dropped, 100 - taken as u64);
}

#[test]
fn a_large_transfer_to_a_slow_viewer_goes_on_whenever_there_is_room() {
    let mut world = World::new(17, 1);
    let (publisher, viewers) = stage(&mut world, 1, 1);
    let far = Link {
        delay: Duration::from_millis(200),
        ..Link::CLEAN
    };
    world.set_links(viewers[0], Link::CLEAN, far);
    let message = Message::Binary(vec![5; 16 * 1024]);
    let (mut sent, mut took) = (0, Duration::ZERO);
    while world.clients[viewers[0]].messages.len() < 512 {
        while sent < 512 && world.send_data(publisher, &message) {
            sent += 1;
        }
        let step = Duration::from_millis(10);
        world.run(step);
        took += step;
        // Over 8 s when the publisher finds out by its own timer that it may go on.
        assert!(took < Duration::from_secs(6));
    }
}
