//! A client's text message becomes a typed command, or the reason why not.
//!
//! Lenient as the SDKs need it (`fields.rs`), strict in one place: every stream id passes the
//! gate here, so nothing behind this file sees an unchecked one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::command::{
    Candidate, Command, Information, Page, PeerToPeer, Push, RoomCommand, RoomMode, SdpKind,
    SlotCommand, Switch, SwitchMedia,
};
use super::fields::Fields;
use crate::base::limits::{MAX_STREAM_ID_LEN, MAX_TRACK_LIST};
use crate::model::access::Proof;
use crate::model::definition::Definition;
use crate::model::mail::{PlayAsk, PublishAsk};
use crate::model::track::StreamId;

/// What became of a message.
#[allow(
    clippy::large_enum_variant,
    reason = "lives from parsing to the match that takes it apart, never stored"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To be carried out.
    Command(Command),
    /// Dropped without an answer; the connection stays open.
    Ignored(Ignored),
    /// To be answered with an error.
    Refused(Refusal),
}

/// Why a message is dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Not JSON, nested too deep, or not an object.
    NotAnObject,
    /// No `command`.
    NoCommand,
    /// A `command` that nobody knows.
    UnknownCommand,
}

/// What the gate answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `noStreamNameSpecified`, `invalidStreamName` or `text_too_long`.
    pub definition: Definition,
    /// The id that was refused, at most [`MAX_STREAM_ID_LEN`] bytes of it; `None` when missing.
    pub stream: Option<String>,
}

/// Reads one text message. Never panics, whatever `text` is.
pub fn parse(text: &str) -> Parsed {
    let Some(mut fields) = Fields::parse(text) else {
        return Parsed::Ignored(Ignored::NotAnObject);
    };
    let Some(name) = fields.text("command") else {
        return Parsed::Ignored(Ignored::NoCommand);
    };
    let stream = fields.peek("streamId");
    match read(&name, &mut fields) {
        Ok(Some(_)) if fields.is_too_long() => Parsed::Refused(Refusal {
            definition: Definition::TextTooLong,
            stream: stream.filter(|id| is_valid_stream_id(id)),
        }),
        Ok(Some(command)) => Parsed::Command(command),
        Ok(None) => Parsed::Ignored(Ignored::UnknownCommand),
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// The commands of publishing, playing, calls and rooms; `Ok(None)` for an unknown name.
fn read(name: &str, fields: &mut Fields) -> Result<Option<Command>, Refusal> {
    Ok(Some(match name {
        "ping" => Command::Ping,
        "getIceServerConfig" => Command::GetIceServerConfig,
        "publish" => publish(fields)?,
        "play" => play(fields)?,
        "takeConfiguration" => Command::TakeConfiguration {
            stream: stream(fields)?,
            kind: sdp_kind(fields),
            sdp: fields.text("sdp").unwrap_or_default(),
        },
        "takeCandidate" => Command::TakeCandidate {
            stream: stream(fields)?,
            candidate: Candidate {
                label: fields.count("label"),
                mid: fields.short("id").unwrap_or_else(|| "0".to_owned()),
                candidate: fields.text("candidate").unwrap_or_default(),
            },
        },
        "stop" => Command::Stop {
            stream: stream(fields)?,
        },
        "toggleVideo" => switch(fields, SwitchMedia::Video)?,
        "toggleAudio" => switch(fields, SwitchMedia::Audio)?,
        "enableTrack" => switch(fields, SwitchMedia::Both)?,
        "forceStreamQuality" => Command::ForceQuality {
            stream: stream(fields)?,
            height: fields.count("streamHeight"),
            track: fields.short("trackId").map(without_prefix),
        },
        "updateStreamMetaData" => Command::UpdateMetaData {
            stream: stream(fields)?,
            meta_data: meta_data(fields),
        },
        "join" => Command::PeerToPeer(PeerToPeer::Join {
            stream: stream(fields)?,
            multi_peer: fields.flag("multiPeer").unwrap_or(false),
            play_only: fields.short("mode").is_some_and(|mode| mode == "play"),
            proof: proof(fields),
        }),
        "leave" => Command::PeerToPeer(PeerToPeer::Leave {
            stream: stream(fields)?,
        }),
        "peerMessageCommand" => Command::PeerToPeer(PeerToPeer::Message {
            stream: stream(fields)?,
            definition: fields.short("definition"),
            data: fields.json("data"),
        }),
        "joinRoom" => join_room(fields)?,
        "leaveFromRoom" => Command::Room(RoomCommand::Leave {
            room: room(fields)?,
            stream: optional_stream(fields, "streamId")?,
        }),
        "getRoomInfo" => Command::Room(RoomCommand::Info {
            room: room(fields)?,
            stream: optional_stream(fields, "streamId")?,
        }),
        other => return read_others(other, fields),
    }))
}

/// The commands of information, slots and push notifications.
fn read_others(name: &str, fields: &mut Fields) -> Result<Option<Command>, Refusal> {
    let information = match name {
        "getStreamInfo" => Information::StreamInfo {
            stream: stream(fields)?,
        },
        "getTrackList" => Information::TrackList {
            stream: stream(fields)?,
            proof: proof(fields),
        },
        "getBroadcastObject" => Information::BroadcastObject {
            stream: stream(fields)?,
        },
        "getSubtracks" => Information::Subtracks {
            stream: stream(fields)?,
            role: fields.short("role"),
            status: fields.short("status"),
            search: fields.short("search"),
            sort_by: fields.short("sortBy"),
            order_by: fields.short("orderBy"),
            page: page(fields),
        },
        "getSubtracksCount" => Information::SubtracksCount {
            stream: stream(fields)?,
            role: fields.short("role"),
            status: fields.short("status"),
        },
        "getSubscriberCount" => Information::SubscriberCount {
            stream: stream(fields)?,
        },
        "getSubscribers" => Information::Subscribers {
            stream: stream(fields)?,
            page: page(fields),
        },
        "getDebugInfo" => Information::DebugInfo {
            stream: stream(fields)?,
        },
        other => return read_slots_and_push(other, fields),
    };
    Ok(Some(Command::Information(information)))
}

fn read_slots_and_push(name: &str, fields: &mut Fields) -> Result<Option<Command>, Refusal> {
    Ok(Some(match name {
        "getVideoTrackAssignmentsCommand" | "getVideoTrackAssignments" => {
            Command::Slots(SlotCommand::Get {
                stream: stream(fields)?,
            })
        }
        "assignVideoTrackCommand" => Command::Slots(SlotCommand::Assign {
            stream: stream(fields)?,
            slot: fields.short("videoTrackId"),
            enabled: fields.flag("enabled").unwrap_or(true),
        }),
        "updateVideoTrackAssignmentsCommand" => Command::Slots(SlotCommand::Update {
            stream: stream(fields)?,
            page: page(fields),
        }),
        "setMaxVideoTrackCountCommand" => Command::Slots(SlotCommand::SetMax {
            stream: stream(fields)?,
            count: fields.number("maxTrackCount").unwrap_or(-1).max(-1),
        }),
        "registerPushNotificationToken" => Command::Push(Push::Register {
            subscriber_id: fields.short("subscriberId"),
            token: fields.token("token"),
            registration_token: fields.token("pnsRegistrationToken"),
            kind: fields.short("pnsType"),
        }),
        "sendPushNotification" => Command::Push(Push::Send {
            subscriber_id: fields.short("subscriberId"),
            token: fields.token("token"),
            content: fields.any("pushNotificationContent"),
            subscriber_ids: fields.list("subscriberIdsToNotify"),
            topic: fields
                .short("pushNotificationTopic")
                .or_else(|| fields.short("topic")),
        }),
        _ => return Ok(None),
    }))
}

fn publish(fields: &mut Fields) -> Result<Command, Refusal> {
    let stream = stream(fields)?;
    let on = |key: &str, alias: &str| fields.flag(key).or_else(|| fields.flag(alias));
    let video = on("video", "enablevideo").unwrap_or(true);
    let audio = on("audio", "enableaudio").unwrap_or(true);
    let ask = PublishAsk {
        stream: Some(stream.clone()),
        token: fields.token("token"),
        subscriber_id: fields.short("subscriberId"),
        subscriber_code: subscriber_code(fields),
        stream_name: fields.short("streamName"),
        main_track: optional_stream(fields, "mainTrack")?,
        meta_data: meta_data(fields),
        role: fields.short("role"),
        video,
        audio,
        client: Arc::default(),
    };
    Ok(Command::Publish { stream, ask })
}

fn proof(fields: &mut Fields) -> Proof {
    Proof {
        token: fields.token("token"),
        subscriber_id: fields.short("subscriberId"),
        subscriber_code: subscriber_code(fields),
    }
}

fn play(fields: &mut Fields) -> Result<Command, Refusal> {
    let stream = stream(fields)?;
    let ask = PlayAsk {
        stream: Some(stream.clone()),
        token: fields.token("token"),
        room: fields.short("room"),
        track_list: track_list(fields),
        subscriber_id: fields.short("subscriberId"),
        subscriber_name: fields.short("subscriberName"),
        subscriber_code: subscriber_code(fields),
        viewer_info: fields.any("viewerInfo"),
        role: fields.short("role"),
        user_publish_id: fields.short("userPublishId"),
        disable_tracks_by_default: fields.flag("disableTracksByDefault").unwrap_or(false),
        client: Arc::default(),
    };
    Ok(Command::Play { stream, ask })
}

/// INTEROP(antmedia-react-native) has another name for it.
///
/// A play holds its list as long as it lives: what can name nobody is left out, and what was said
/// before.
fn track_list(fields: &mut Fields) -> Vec<String> {
    let said = match fields.list("trackList") {
        none if none.is_empty() => fields.list("enableTracks"),
        list => list,
    };
    let mut seen = BTreeSet::new();
    let mut list: Vec<String> = said.into_iter().filter_map(listed).collect();
    list.retain(|entry| seen.insert(entry.clone()));
    list.truncate(MAX_TRACK_LIST);
    list
}

/// An entry of a list of tracks: an id, with `!` before it when it is negated.
fn listed(entry: String) -> Option<String> {
    let (negation, track) = match entry.strip_prefix('!') {
        Some(track) => ("!", track.to_owned()),
        None => ("", entry),
    };
    let id = without_prefix(track);
    is_valid_stream_id(&id).then(|| format!("{negation}{id}"))
}

fn join_room(fields: &mut Fields) -> Result<Command, Refusal> {
    let mode = match fields.short("mode").as_deref() {
        Some("multitrack") => RoomMode::Multitrack,
        Some("mcu") => RoomMode::Mcu,
        Some("amcu") => RoomMode::Amcu,
        _ => RoomMode::Legacy,
    };
    Ok(Command::Room(RoomCommand::Join {
        room: room(fields)?,
        stream: optional_stream(fields, "streamId")?,
        mode,
        stream_name: fields.short("streamName"),
        role: fields.short("role"),
        meta_data: meta_data(fields),
        token: fields.token("token"),
    }))
}

fn switch(fields: &mut Fields, media: SwitchMedia) -> Result<Command, Refusal> {
    let stream = stream(fields)?;
    let track = fields.short("trackId").map(without_prefix);
    Ok(Command::Switch(Switch {
        track: track.unwrap_or_else(|| stream.to_string()),
        media,
        enabled: fields.flag("enabled").unwrap_or(true),
        stream,
    }))
}

fn page(fields: &Fields) -> Page {
    let size = fields.number("size").filter(|&size| size >= 0);
    Page {
        offset: fields.count("offset"),
        size: size.map(|size| u32::try_from(size).unwrap_or(u32::MAX)),
    }
}

fn sdp_kind(fields: &mut Fields) -> SdpKind {
    match fields.text("type") {
        Some(kind) if kind.eq_ignore_ascii_case("offer") => SdpKind::Offer,
        Some(_) | None => SdpKind::Answer,
    }
}

/// `metaData`, which `joinRoom` spells `metadata`.
fn meta_data(fields: &mut Fields) -> Option<String> {
    fields.any("metaData").or_else(|| fields.any("metadata"))
}

/// A code that came as a JSON number has lost its leading zeros; codes have six digits.
fn subscriber_code(fields: &mut Fields) -> Option<String> {
    fields
        .short("subscriberCode")
        .map(|code| format!("{code:0>6}"))
}

/// Track ids may come as the client's WebRTC stack names them: `ARDAMSv<id>`, `ARDAMSa<id>`.
fn without_prefix(track: String) -> String {
    let bare = track
        .strip_prefix("ARDAMSv")
        .or_else(|| track.strip_prefix("ARDAMSa"));
    match bare {
        Some(bare) if !bare.is_empty() => bare.to_owned(),
        Some(_) | None => track,
    }
}

/// The gate: `streamId` must be there and valid.
fn stream(fields: &mut Fields) -> Result<StreamId, Refusal> {
    optional_stream(fields, "streamId")?.ok_or(Refusal {
        definition: Definition::NoStreamNameSpecified,
        stream: None,
    })
}

/// `room`, or its other name `mainTrack`.
fn room(fields: &mut Fields) -> Result<Option<StreamId>, Refusal> {
    match optional_stream(fields, "room")? {
        Some(room) => Ok(Some(room)),
        None => optional_stream(fields, "mainTrack"),
    }
}

/// An id that may be missing, but must be valid when it is there.
fn optional_stream(fields: &mut Fields, key: &str) -> Result<Option<StreamId>, Refusal> {
    match fields.text(key) {
        None => Ok(None),
        Some(id) if is_valid_stream_id(&id) => Ok(Some(StreamId::from(id))),
        Some(mut id) => {
            let mut cuts = (0..=MAX_STREAM_ID_LEN.min(id.len())).rev();
            id.truncate(cuts.find(|&at| id.is_char_boundary(at)).unwrap_or(0));
            Err(Refusal {
                definition: Definition::InvalidStreamName,
                stream: Some(id),
            })
        }
    }
}

/// 1 to [`MAX_STREAM_ID_LEN`] bytes of `A-Z a-z 0-9 - _ .`.
pub fn is_valid_stream_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_STREAM_ID_LEN).contains(&id.len()) && id.bytes().all(allowed)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
