//! What is measured: the media of a broadcast, and what its players are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::time::sleep;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Refusals;
use super::input::{InPath, OfBroadcast, PageOfBroadcast};
use crate::base::codec::MediaKind;
use crate::base::ids::ConnId;
use crate::control::Broadcast;
use crate::front::app::KnownApp;
use crate::front::census;
use crate::front::shared::Shared;
use crate::model::plays::{PlayFigures, SentFigures};
use crate::model::track::StreamId;

/// Every operation on measurements.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(stream_info))
        .routes(routes!(client_stats))
        .routes(routes!(send_stats))
        .routes(routes!(receive_stats))
}

/// The media of a broadcast, as its key frames say.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamInfo {
    /// Pixels; 0 before the first key frame.
    video_width: u16,
    /// Pixels; 0 before the first key frame.
    video_height: u16,
    /// Bits per second.
    video_bitrate: u64,
    /// Bits per second.
    audio_bitrate: u64,
    /// `H264`, `VP8` and so on; `NoCodec` without video.
    video_codec: String,
}

/// The media of a broadcast; none when it is not on air.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/stream-info",
    operation_id = "getStreamInfo",
    tag = "statistics",
    params(OfBroadcast),
    responses((status = 200, description = "As asked", body = Vec<StreamInfo>), Refusals)
)]
async fn stream_info(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfBroadcast { id }): InPath<OfBroadcast>,
) -> Json<Vec<StreamInfo>> {
    let info = |broadcast: &Broadcast| {
        let video = |track: &&crate::model::track::TrackInfo| track.kind == MediaKind::Video;
        let codec = broadcast.tracks.iter().find(video).map(|track| track.codec);
        StreamInfo {
            video_width: broadcast.measure.width,
            video_height: broadcast.measure.height,
            video_bitrate: broadcast.measure.video_bps,
            audio_bitrate: broadcast.measure.audio_bps,
            video_codec: codec.map_or("NoCodec".to_owned(), |codec| codec.name().to_owned()),
        }
    };
    let on_air = shared.read(|directory, _| {
        let live = directory.broadcast(&app.name, &id.0);
        live.filter(|live| live.is_on_air()).map(info)
    });
    Json(on_air.into_iter().collect())
}

/// What one player is sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClientStats {
    /// Bits per second that reach it, as far as is known: what it is sent.
    measured_bitrate: u64,
    /// Bits per second that it is sent.
    send_bitrate: u64,
    /// Milliseconds between video frames; 0: not measured.
    video_frame_send_period: u64,
    /// Milliseconds between audio frames; 0: not measured.
    audio_frame_send_period: u64,
    /// Worker and number of its WebSocket.
    client_id: String,
    /// Since its play began, retransmissions left out.
    video_packet_count: u64,
    /// Since its play began, retransmissions left out.
    audio_packet_count: u64,
    video_sent_stats: SentStats,
    audio_sent_stats: SentStats,
    /// Free text of the client; null: it said nothing.
    client_info: Option<String>,
    /// Where its media goes; null before it is connected.
    client_ip: Option<String>,
}

/// Packets of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SentStats {
    packets_sent: u64,
    bytes_sent: u64,
    packets_sent_per_second: u64,
    bytes_sent_per_second: u64,
}

impl SentStats {
    /// Of two samples that are `us` microseconds apart.
    fn of(before: SentFigures, after: SentFigures, us: u64) -> Self {
        let per_s = |before: u64, after: u64| {
            let more = u128::from(after.saturating_sub(before)) * 1_000_000;
            u64::try_from(more / u128::from(us.max(1))).unwrap_or(u64::MAX)
        };
        Self {
            packets_sent: after.packets,
            bytes_sent: after.len,
            packets_sent_per_second: per_s(before.packets, after.packets),
            bytes_sent_per_second: per_s(before.len, after.len),
        }
    }
}

impl ClientStats {
    fn of(before: &PlayFigures, after: &PlayFigures) -> Self {
        let us = elapsed_us(before, after);
        let video = SentStats::of(before.video, after.video, us);
        let audio = SentStats::of(before.audio, after.audio, us);
        let bps = (video.bytes_sent_per_second + audio.bytes_sent_per_second) * 8;
        let ConnId { worker, serial } = after.conn;
        Self {
            measured_bitrate: bps,
            send_bitrate: bps,
            video_frame_send_period: 0,
            audio_frame_send_period: 0,
            client_id: format!("{}-{serial}", worker.0),
            video_packet_count: after.video.packets,
            audio_packet_count: after.audio.packets,
            video_sent_stats: video,
            audio_sent_stats: audio,
            client_info: None,
            client_ip: after.remote.map(|remote| remote.ip().to_string()),
        }
    }
}

/// One page of a broadcast's players with what they are sent. Measured over half a second, which
/// is how long the answer takes.
#[utoipa::path(
    get,
    path = "/broadcasts/{id}/webrtc-client-stats/{offset}/{size}",
    operation_id = "listClientStats",
    tag = "statistics",
    params(PageOfBroadcast),
    responses((status = 200, description = "As asked", body = Vec<ClientStats>), Refusals)
)]
async fn client_stats(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<PageOfBroadcast>,
) -> Json<Vec<ClientStats>> {
    let (offset, size) = page.bounds();
    let live = shared.read(|directory, _| {
        let live = directory.broadcast(&app.name, &page.id.0)?;
        (live.viewers() > 0).then(|| live.stream.clone())
    });
    let Some(stream) = live else {
        return Json(Vec::new());
    };
    let max = offset.saturating_add(size);
    let samples = two_samples(&shared, &app, Some(stream), max).await;
    let page = samples.iter().skip(offset).take(size);
    Json(
        page.map(|(before, after)| ClientStats::of(before, after))
            .collect(),
    )
}

/// What all players of the application are sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SendStats {
    audio_send_stats: SentStats,
    video_send_stats: SentStats,
}

/// What the players of the application are sent, together. Measured over half a second, which is
/// how long the answer takes; players that have gone are not in it.
#[utoipa::path(
    get,
    path = "/broadcasts/webrtc-send-low-level-stats",
    operation_id = "getSendStats",
    tag = "statistics",
    responses((status = 200, description = "As asked", body = SendStats), Refusals)
)]
async fn send_stats(State(shared): State<Shared>, app: KnownApp) -> Json<SendStats> {
    let viewers = shared.read(|directory, _| {
        directory
            .broadcasts(&app.name)
            .map(Broadcast::viewers)
            .sum::<usize>()
    });
    let samples = match viewers {
        0 => Vec::new(),
        _ => two_samples(&shared, &app, None, usize::MAX).await,
    };
    // A busy worker answers late, so what counts is when it answered.
    let apart = |(before, after): &(PlayFigures, PlayFigures)| elapsed_us(before, after);
    let us = samples.iter().map(apart).sum::<u64>() / samples.len().max(1) as u64;
    let sum = |kind: fn(&PlayFigures) -> SentFigures| {
        let zero = (SentFigures::default(), SentFigures::default());
        let (before, after) = samples.iter().fold(zero, |(before, after), (b, a)| {
            (plus(before, kind(b)), plus(after, kind(a)))
        });
        SentStats::of(before, after, us)
    };
    Json(SendStats {
        audio_send_stats: sum(|play| play.audio),
        video_send_stats: sum(|play| play.video),
    })
}

/// What all publishers of the application send.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiveStats {
    audio_receive_stats: ReceivedStats,
    video_receive_stats: ReceivedStats,
    /// Since each began, audio and video.
    bytes_received: u64,
    /// Since each began, audio and video; not repaired.
    packets_lost: u64,
}

/// Media of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReceivedStats {
    bytes_received_per_second: u64,
}

/// What the publishers of the application send, together, over the last second.
#[utoipa::path(
    get,
    path = "/broadcasts/webrtc-receive-low-level-stats",
    operation_id = "getReceiveStats",
    tag = "statistics",
    responses((status = 200, description = "As asked", body = ReceiveStats), Refusals)
)]
async fn receive_stats(State(shared): State<Shared>, app: KnownApp) -> Json<ReceiveStats> {
    let measures: Vec<_> = shared.read(|directory, _| {
        directory
            .broadcasts(&app.name)
            .map(|live| live.measure.clone())
            .collect()
    });
    let per_s = |bps: u64| ReceivedStats {
        bytes_received_per_second: bps / 8,
    };
    Json(ReceiveStats {
        audio_receive_stats: per_s(measures.iter().map(|m| m.audio_bps).sum()),
        video_receive_stats: per_s(measures.iter().map(|m| m.video_bps).sum()),
        bytes_received: measures.iter().map(|m| m.received_len).sum(),
        packets_lost: measures.iter().map(|m| m.packets_lost).sum(),
    })
}

/// Each play's figures twice, [`SAMPLE_APART`]; those that came or went in between are left out.
async fn two_samples(
    shared: &Shared,
    app: &KnownApp,
    stream: Option<StreamId>,
    max: usize,
) -> Vec<(PlayFigures, PlayFigures)> {
    let first = census::ask(shared, &app.name, stream.clone(), max).await;
    sleep(SAMPLE_APART).await;
    let second = census::ask(shared, &app.name, stream, max).await;
    let key = |play: &PlayFigures| (play.conn, play.stream.clone());
    let mut before: BTreeMap<_, _> = first.into_iter().map(|p| (key(&p), p)).collect();
    second
        .into_iter()
        .filter_map(|after| Some((before.remove(&key(&after))?, after)))
        .collect()
}

fn elapsed_us(before: &PlayFigures, after: &PlayFigures) -> u64 {
    after.unix_us.saturating_sub(before.unix_us)
}

fn plus(a: SentFigures, b: SentFigures) -> SentFigures {
    SentFigures {
        packets: a.packets + b.packets,
        len: a.len + b.len,
    }
}

/// Long enough for a rate of a few percent's exactness.
const SAMPLE_APART: Duration = Duration::from_millis(500);
