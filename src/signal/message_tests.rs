//! Tests of `message.rs`: what real clients send, and what nobody should.

use proptest::prelude::*;

use super::*;

fn command(text: &str) -> Command {
    match parse(text) {
        Parsed::Command(command) => command,
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> (Definition, Option<String>) {
    match parse(text) {
        Parsed::Refused(refusal) => (refusal.definition, refusal.stream),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn garbage_is_ignored_with_its_reason() {
    let deep = "[".repeat(100_000);
    let nested = format!(
        r#"{{"command":"ping","x":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (text, why) in [
        ("", Ignored::NotAnObject),
        ("{", Ignored::NotAnObject),
        ("[]", Ignored::NotAnObject),
        ("null", Ignored::NotAnObject),
        (deep.as_str(), Ignored::NotAnObject),
        (nested.as_str(), Ignored::NotAnObject),
        ("{}", Ignored::NoCommand),
        (r#"{"command":null}"#, Ignored::NoCommand),
        (r#"{"command":{}}"#, Ignored::NoCommand),
        (r#"{"command":"dance"}"#, Ignored::UnknownCommand),
        (
            r#"{"command":"dance","streamId":"%"}"#,
            Ignored::UnknownCommand,
        ),
    ] {
        assert_eq!(parse(text), Parsed::Ignored(why), "{text:.60}");
    }
}

#[test]
fn every_command_that_needs_a_stream_id_says_so() {
    for name in [
        "publish",
        "play",
        "takeConfiguration",
        "takeCandidate",
        "stop",
        "toggleVideo",
        "toggleAudio",
        "enableTrack",
        "forceStreamQuality",
        "updateStreamMetaData",
        "join",
        "leave",
        "peerMessageCommand",
        "getStreamInfo",
        "getTrackList",
        "getBroadcastObject",
        "getSubtracks",
        "getSubtracksCount",
        "getSubscriberCount",
        "getSubscribers",
        "getDebugInfo",
        "getVideoTrackAssignmentsCommand",
        "getVideoTrackAssignments",
        "assignVideoTrackCommand",
        "updateVideoTrackAssignmentsCommand",
        "setMaxVideoTrackCountCommand",
    ] {
        for id in ["", r#","streamId":"""#, r#","streamId":null"#] {
            let text = format!(r#"{{"command":"{name}"{id}}}"#);
            assert_eq!(refused(&text), (Definition::NoStreamNameSpecified, None));
        }
        let text = format!(r#"{{"command":"{name}","streamId":"a/b"}}"#);
        let want = (Definition::InvalidStreamName, Some("a/b".to_owned()));
        assert_eq!(refused(&text), want);
        command(&format!(r#"{{"command":"{name}","streamId":"A-z_0.9"}}"#));
    }
}

#[test]
fn exempt_commands_need_no_stream_id() {
    for name in [
        "ping",
        "getIceServerConfig",
        "registerPushNotificationToken",
        "sendPushNotification",
        "joinRoom",
        "leaveFromRoom",
        "getRoomInfo",
    ] {
        for id in ["", r#","streamId":"""#, r#","streamId":null"#] {
            command(&format!(r#"{{"command":"{name}"{id}}}"#));
        }
    }
}

#[test]
fn ids_of_rooms_are_checked_too() {
    for (key, name) in [
        ("streamId", "joinRoom"),
        ("room", "joinRoom"),
        ("mainTrack", "getRoomInfo"),
        ("room", "leaveFromRoom"),
    ] {
        let text = format!(r#"{{"command":"{name}","{key}":"no spaces"}}"#);
        assert_eq!(refused(&text).0, Definition::InvalidStreamName);
    }
    let text = r#"{"command":"publish","streamId":"a","mainTrack":"no/slash"}"#;
    assert_eq!(refused(text).0, Definition::InvalidStreamName);
}

#[test]
fn an_overlong_id_is_refused_and_echoed_in_part() {
    let fits = "a".repeat(MAX_STREAM_ID_LEN);
    command(&format!(r#"{{"command":"stop","streamId":"{fits}"}}"#));
    let (definition, echo) = refused(&format!(r#"{{"command":"stop","streamId":"{fits}a"}}"#));
    assert_eq!(definition, Definition::InvalidStreamName);
    assert_eq!(echo, Some(fits));
    let wide = "ü".repeat(MAX_STREAM_ID_LEN);
    let (_, echo) = refused(&format!(r#"{{"command":"stop","streamId":"{wide}"}}"#));
    assert_eq!(echo.unwrap().len(), MAX_STREAM_ID_LEN);
}

#[test]
fn reads_publish_as_the_javascript_sdk_sends_it() {
    let text = r#"{"command":"publish","streamId":"s","token":"","subscriberId":"u",
        "subscriberCode":"","streamName":"n","mainTrack":null,"video":true,"audio":false,
        "metaData":{"isScreenShared":false},"role":"speaker","somethingNew":[1]}"#;
    let stream = StreamId::from("s");
    let ask = PublishAsk {
        client: Default::default(),
        stream: Some(stream.clone()),
        token: None,
        subscriber_id: Some("u".to_owned()),
        subscriber_code: None,
        stream_name: Some("n".to_owned()),
        main_track: None,
        meta_data: Some(r#"{"isScreenShared":false}"#.to_owned()),
        role: Some("speaker".to_owned()),
        video: true,
        audio: false,
    };
    assert_eq!(command(text), Command::Publish { stream, ask });
}

#[test]
fn publish_defaults_to_audio_and_video_and_knows_the_aliases() {
    for (members, want) in [
        ("", (true, true)),
        (r#","video":"false","audio":"TRUE""#, (false, true)),
        (
            r#","enablevideo":false,"enableaudio":"false""#,
            (false, false),
        ),
        (r#","video":true,"enablevideo":false"#, (true, true)),
        (r#","video":null"#, (true, true)),
    ] {
        let text = format!(r#"{{"command":"publish","streamId":"s"{members}}}"#);
        let Command::Publish { ask, .. } = command(&text) else {
            panic!("{text}");
        };
        assert_eq!((ask.video, ask.audio), want, "{text}");
    }
}

#[test]
fn reads_play_with_lists_numbers_and_objects() {
    let text = r#"{"command":"play","streamId":"r","token":"t","room":"r","trackList":["a","!b"],
        "subscriberId":7,"subscriberName":"N","subscriberCode":12345,"viewerInfo":{"os":"x"},
        "role":"attendee","userPublishId":"me","disableTracksByDefault":"true"}"#;
    let Command::Play { stream, ask } = command(text) else {
        panic!();
    };
    assert_eq!(&*stream, "r");
    assert_eq!(ask.stream, Some(stream));
    assert_eq!(ask.track_list, ["a", "!b"]);
    assert_eq!(ask.subscriber_id.as_deref(), Some("7"));
    assert_eq!(ask.subscriber_code.as_deref(), Some("012345"));
    assert_eq!(ask.viewer_info.as_deref(), Some(r#"{"os":"x"}"#));
    assert_eq!(ask.user_publish_id.as_deref(), Some("me"));
    assert!(ask.disable_tracks_by_default);

    let text = r#"{"command":"play","streamId":"r","trackList":null,"viewerInfo":""}"#;
    let Command::Play { ask, .. } = command(text) else {
        panic!();
    };
    assert!(ask.track_list.is_empty() && !ask.disable_tracks_by_default);
    assert_eq!(ask.viewer_info, None);

    let text = r#"{"command":"play","streamId":"r","enableTracks":["a"]}"#;
    let Command::Play { ask, .. } = command(text) else {
        panic!();
    };
    assert_eq!(ask.track_list, ["a"]);
}

#[test]
fn a_list_of_tracks_keeps_what_may_be_an_id_once() {
    let list = |entries: &[String]| {
        let text = serde_json::json!({"command": "play", "streamId": "r", "trackList": entries});
        match command(&text.to_string()) {
            Command::Play { ask, .. } => ask.track_list,
            other => panic!("{other:?}"),
        }
    };
    let said = [
        "a",
        "ARDAMSva",
        "!ARDAMSab",
        "!b",
        "!",
        "x y",
        "!ü",
        "!!c",
        "d",
    ];
    let said = said.map(str::to_owned);
    assert_eq!(list(&said), ["a", "!b", "d"]);
    let longest = "a".repeat(MAX_STREAM_ID_LEN);
    let long = [format!("!{longest}"), format!("!{longest}a")];
    assert_eq!(list(&long), long[..1]);
    let many: Vec<String> = (0..2 * MAX_TRACK_LIST).map(|n| format!("!t{n}")).collect();
    assert_eq!(list(&many), many[..MAX_TRACK_LIST]);
}

#[test]
fn candidates_come_with_labels_of_any_kind() {
    for (members, label, mid, candidate) in [
        (
            r#","label":1,"id":"audio","candidate":"candidate:1""#,
            1,
            "audio",
            "candidate:1",
        ),
        (r#","label":"2","id":3,"candidate":"""#, 2, "3", ""),
        (r#","label":null,"id":null,"candidate":null"#, 0, "0", ""),
        (r#","label":-1"#, 0, "0", ""),
    ] {
        let text = format!(r#"{{"command":"takeCandidate","streamId":"s"{members}}}"#);
        let want = Candidate {
            label,
            mid: mid.to_owned(),
            candidate: candidate.to_owned(),
        };
        let Command::TakeCandidate { candidate, .. } = command(&text) else {
            panic!("{text}");
        };
        assert_eq!(candidate, want, "{text}");
    }
}

#[test]
fn every_description_that_is_no_offer_is_an_answer() {
    for (kind, want) in [
        (r#""offer""#, SdpKind::Offer),
        (r#""OFFER""#, SdpKind::Offer),
        (r#""answer""#, SdpKind::Answer),
        (r#""pranswer""#, SdpKind::Answer),
        ("null", SdpKind::Answer),
    ] {
        let text = format!(
            r#"{{"command":"takeConfiguration","streamId":"s","type":{kind},"sdp":"v=0"}}"#
        );
        let Command::TakeConfiguration { kind, sdp, .. } = command(&text) else {
            panic!("{text}");
        };
        assert_eq!((kind, sdp.as_str()), (want, "v=0"));
    }
}

#[test]
fn track_ids_lose_their_prefix_and_default_to_the_stream() {
    for (members, track, enabled) in [
        ("", "s", true),
        (r#","trackId":"ARDAMSvcam","enabled":false"#, "cam", false),
        (r#","trackId":"ARDAMSacam","enabled":"false""#, "cam", false),
        (r#","trackId":"ARDAMSv""#, "ARDAMSv", true),
        (r#","trackId":"ARDAMSx1""#, "ARDAMSx1", true),
    ] {
        let text = format!(r#"{{"command":"enableTrack","streamId":"s"{members}}}"#);
        let want = Command::Switch(Switch {
            stream: "s".into(),
            track: track.to_owned(),
            media: SwitchMedia::Both,
            enabled,
        });
        assert_eq!(command(&text), want);
    }
}

#[test]
fn quality_is_a_height_or_automatic() {
    for (height, want) in [
        ("720", 720),
        (r#""360""#, 360),
        (r#""auto""#, 0),
        ("null", 0),
    ] {
        let text =
            format!(r#"{{"command":"forceStreamQuality","streamId":"s","streamHeight":{height}}}"#);
        let want = Command::ForceQuality {
            stream: "s".into(),
            height: want,
            track: None,
        };
        assert_eq!(command(&text), want);
    }
}

#[test]
fn a_room_is_named_by_room_or_main_track() {
    for members in [
        r#""room":"r""#,
        r#""mainTrack":"r""#,
        r#""room":"","mainTrack":"r""#,
    ] {
        let text = format!(r#"{{"command":"joinRoom",{members},"metadata":"m","mode":"mcu"}}"#);
        let want = Command::Room(RoomCommand::Join {
            room: Some("r".into()),
            stream: None,
            mode: RoomMode::Mcu,
            stream_name: None,
            role: None,
            meta_data: Some("m".to_owned()),
            token: None,
        });
        assert_eq!(command(&text), want);
    }
    let text = r#"{"command":"leaveFromRoom"}"#;
    let want = Command::Room(RoomCommand::Leave {
        room: None,
        stream: None,
    });
    assert_eq!(command(text), want);
}

#[test]
fn peer_to_peer_modes_other_than_play_are_both() {
    for (mode, want) in [("play", true), ("both", false), ("play or both", false)] {
        let proof = r#""token":"t","subscriberId":"anna""#;
        let text = format!(r#"{{"command":"join","streamId":"s","mode":"{mode}",{proof}}}"#);
        let want = Command::PeerToPeer(PeerToPeer::Join {
            stream: "s".into(),
            multi_peer: false,
            play_only: want,
            proof: Proof {
                token: Some("t".to_owned()),
                subscriber_id: Some("anna".to_owned()),
                subscriber_code: None,
            },
        });
        assert_eq!(command(&text), want);
    }
    let text = r#"{"command":"peerMessageCommand","streamId":"s","definition":"d","data":{"a":1}}"#;
    let want = Command::PeerToPeer(PeerToPeer::Message {
        stream: "s".into(),
        definition: Some("d".to_owned()),
        data: r#"{"a":1}"#.to_owned(),
    });
    assert_eq!(command(text), want);
}

#[test]
fn lists_and_slots_take_numbers_in_any_form() {
    let text = r#"{"command":"getSubtracks","streamId":"r","role":null,"offset":"10","size":5}"#;
    let Command::Information(Information::Subtracks { page, role, .. }) = command(text) else {
        panic!();
    };
    assert_eq!((page.offset, page.size, role), (10, Some(5), None));
    let text = r#"{"command":"setMaxVideoTrackCountCommand","streamId":"r","maxTrackCount":"9"}"#;
    let want = Command::Slots(SlotCommand::SetMax {
        stream: "r".into(),
        count: 9,
    });
    assert_eq!(command(text), want);
    let text = r#"{"command":"sendPushNotification","topic":"t","subscriberIdsToNotify":["a"],
        "pushNotificationContent":{"title":"x"}}"#;
    let want = Command::Push(Push::Send {
        subscriber_id: None,
        token: None,
        content: Some(r#"{"title":"x"}"#.to_owned()),
        subscriber_ids: vec!["a".to_owned()],
        topic: Some("t".to_owned()),
    });
    assert_eq!(command(text), want);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_members_never_panic(
        name in "ping|publish|play|takeConfiguration|takeCandidate|stop|toggleVideo|join|joinRoom",
        key in "streamId|type|sdp|label|id|candidate|trackList|enabled|mode|room|metaData|video",
        value in prop::sample::select(vec![
            "null", "true", "-1", "1e999", "1e308", "18446744073709551615", "\"\"", "\"x\"",
            "\"\u{fc}\"", "[]", "[1,[]]", "{}",
        ]),
    ) {
        let text = format!(r#"{{"command":"{name}","streamId":"s","{key}":{value}}}"#);
        let _ = parse(&text);
    }

    #[test]
    fn an_id_passes_the_gate_exactly_when_its_characters_are_allowed(id in "\\PC{0,20}") {
        let text = serde_json::json!({"command": "stop", "streamId": id}).to_string();
        let allowed = id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        match parse(&text) {
            Parsed::Command(Command::Stop { stream }) => {
                prop_assert!(allowed);
                prop_assert_eq!(&*stream, id.as_str());
            }
            Parsed::Refused(refusal) if id.is_empty() => {
                prop_assert_eq!(refusal.definition, Definition::NoStreamNameSpecified);
            }
            Parsed::Refused(refusal) => {
                prop_assert!(!allowed);
                prop_assert_eq!(refusal.stream, Some(id));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
