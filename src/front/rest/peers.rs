//! PeerConnections one by one: who, over which addresses, how well; and their end.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio_util::io::{InspectReader, ReaderStream};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Missing, Outcome, Refusals, RestError};
use super::input::{Id, InPath, InQuery, Page};
use crate::base::codec::MediaKind;
use crate::base::fault::DropReason;
use crate::base::ids::{PeerId, WorkerId};
use crate::control::{Broadcast, Play};
use crate::front::app::KnownApp;
use crate::front::captures::{self, NotCaptured, Wish};
use crate::front::census;
use crate::front::http::Progress;
use crate::front::life;
use crate::front::shared::Shared;
use crate::model::capture::CaptureContent;
use crate::model::layers::Layer;
use crate::model::mail::WorkerMail;
use crate::model::peers::{PeerFigures, PeerTrack};
use crate::worker::Mail;

/// Every operation on peers.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(end))
        .routes(routes!(capture))
        .routes(routes!(end_capture))
        .routes(routes!(file))
}

/// One PeerConnection. Counters run since it was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PeerView {
    /// Names it as long as it is there.
    peer_id: String,
    /// Worker and number of its WebSocket, as in the log.
    client_id: String,
    /// What it publishes or plays.
    stream_id: String,
    /// `publish` or `play`.
    role: &'static str,
    /// `connected` once ICE and DTLS are done, `connecting` before.
    state: &'static str,
    /// The worker thread that serves it.
    worker: u16,
    /// Milliseconds since it was made.
    age_ms: u64,
    /// What the client called itself.
    subscriber_id: Option<String>,
    /// What the client called itself.
    subscriber_name: Option<String>,
    /// This end of the candidate pair in use; null before there is one.
    local_address: Option<String>,
    /// The other end of it.
    remote_address: Option<String>,
    /// `udp` or `tcp`; null before there is a pair.
    protocol: Option<&'static str>,
    /// Milliseconds; null while not measured.
    rtt_ms: Option<f64>,
    /// Of a publisher: packets lost and not repaired.
    packets_lost: u64,
    /// Of a player: share of packets lost on the way, 0 to 1; null while not known.
    loss: Option<f64>,
    /// Of a player: what its path takes, bits per second; null while not known.
    estimate: Option<u64>,
    tracks: Vec<TrackView>,
    /// Packets that went no further, by reason; those without any are left out.
    drops: BTreeMap<&'static str, u64>,
    /// The last events, oldest first.
    events: Vec<EventView>,
}

/// One track of a peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrackView {
    /// The broadcast it is of.
    stream_id: String,
    /// `audio` or `video`.
    kind: &'static str,
    codec: &'static str,
    /// Received of a publisher, sent to a player; retransmissions left out.
    packets: u64,
    /// Payload of them.
    bytes: u64,
    /// False while it is switched off or paused.
    enabled: bool,
    /// Pixels; 0 where not known.
    width: u16,
    /// Pixels; 0 where not known.
    height: u16,
    /// The layer that a player is sent; null where all there is is sent.
    layer: Option<LayerView>,
}

/// A layer.
#[derive(Debug, Serialize, ToSchema)]
struct LayerView {
    /// Which of the publisher's encodings, in its order.
    encoding: u8,
    spatial: u8,
    temporal: u8,
}

/// Something that happened to a peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventView {
    /// Milliseconds since the peer was made.
    ms: u32,
    what: String,
}

impl PeerView {
    fn of(figures: PeerFigures, broadcast: Option<&Broadcast>) -> Self {
        let play = broadcast.and_then(|b| b.play_of(figures.conn));
        let subscriber_id = if figures.is_publisher {
            broadcast.and_then(|b| b.subscriber_id.clone())
        } else {
            play.and_then(|play: &Play| play.subscriber_id.clone())
        };
        let drops = DropReason::ALL.map(|reason| (reason.label(), figures.drops.get(reason)));
        let pair = figures.pair;
        Self {
            peer_id: PeerName(figures.conn.worker.0, figures.peer).to_string(),
            client_id: life::name(figures.conn),
            stream_id: figures.stream.to_string(),
            role: if figures.is_publisher {
                "publish"
            } else {
                "play"
            },
            state: match figures.is_connected {
                true => "connected",
                false => "connecting",
            },
            worker: figures.conn.worker.0,
            age_ms: figures.age_ms,
            subscriber_id,
            subscriber_name: play.and_then(|play| play.subscriber_name.clone()),
            local_address: pair.map(|pair| pair.local.to_string()),
            remote_address: pair.map(|pair| pair.remote.to_string()),
            protocol: pair.map(|pair| if pair.is_tcp { "tcp" } else { "udp" }),
            rtt_ms: (figures.rtt_us > 0).then_some(f64::from(figures.rtt_us) / 1e3),
            packets_lost: figures.packets_lost,
            loss: figures.loss,
            estimate: figures.estimate_bps,
            tracks: figures.tracks.iter().map(TrackView::of).collect(),
            drops: drops.into_iter().filter(|(_, count)| *count > 0).collect(),
            events: figures
                .events
                .into_iter()
                .map(|(ms, what)| EventView { ms, what })
                .collect(),
        }
    }
}

impl TrackView {
    fn of(track: &PeerTrack) -> Self {
        let (width, height) = track.size;
        Self {
            stream_id: track.label.to_string(),
            kind: match track.kind {
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
            },
            codec: track.codec.name(),
            packets: track.packets,
            bytes: track.len,
            enabled: track.enabled,
            width,
            height,
            layer: track.layer.map(|layer| {
                let Layer {
                    encoding,
                    spatial,
                    temporal,
                } = layer;
                LayerView {
                    encoding,
                    spatial,
                    temporal,
                }
            }),
        }
    }
}

/// Which peers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    /// Only those that publish or play this broadcast.
    #[param(value_type = String, pattern = "^[A-Za-z0-9_.-]+$", min_length = 1, max_length = 256)]
    stream_id: Option<Id>,
}

/// One page of the application's PeerConnections, the oldest WebSocket of each worker first.
#[utoipa::path(
    get,
    path = "/peers/{offset}/{size}",
    operation_id = "listPeers",
    tag = "peers",
    params(Page, Wanted),
    responses((status = 200, description = "As asked", body = Vec<PeerView>), Refusals)
)]
async fn list(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(page): InPath<Page>,
    InQuery(wanted): InQuery<Wanted>,
) -> Json<Vec<PeerView>> {
    let (offset, size) = page.bounds();
    let stream = wanted.stream_id.map(|id| id.0.into());
    let max = offset.saturating_add(size);
    let peers = census::ask_peers(&shared, &app.name, stream, None, max).await;
    let page = peers.into_iter().skip(offset).take(size);
    let views = shared.read(|directory, _| {
        let view = |figures: PeerFigures| {
            let broadcast = directory.broadcast(&app.name, &figures.stream);
            PeerView::of(figures, broadcast)
        };
        page.map(view).collect()
    });
    Json(views)
}

/// The peer of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfPeer {
    /// The peer's `peerId`.
    #[param(value_type = String, pattern = "^[0-9]{1,3}-[0-9]{1,9}-[0-9]{1,9}$")]
    pub peer: PeerName,
}

/// Ends a publish or a play; its client is told `publish_finished` or `play_finished`. It may come
/// again: see the blocking of subscribers.
#[utoipa::path(
    delete,
    path = "/peers/{peer}",
    operation_id = "endPeer",
    tag = "peers",
    params(OfPeer),
    responses((status = 200, description = "As asked", body = Outcome), Refusals)
)]
async fn end(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfPeer { peer }): InPath<OfPeer>,
) -> Result<Json<Outcome>, RestError> {
    let PeerName(worker, id) = peer;
    let found = census::ask_peers(&shared, &app.name, None, Some((worker, id)), 1).await;
    let Some(figures) = found.into_iter().next() else {
        return Ok(Json(Outcome::failed(NO_SUCH_PEER)));
    };
    let (conn, stream) = (figures.conn, figures.stream);
    let mail = match figures.is_publisher {
        true => WorkerMail::StopPublish { conn, stream },
        false => WorkerMail::StopPlay { conn, stream },
    };
    shared.mail_worker(conn.worker, Mail::Engine(mail));
    Ok(Json(Outcome::done()))
}

/// How much is captured.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Capture {
    /// `headers` (the default) or `packets`: RTP headers alone, or with what they carry.
    #[param(inline)]
    content: Option<Content>,
    /// 1 to 600; 60 without it.
    #[param(minimum = 1, maximum = 600)]
    seconds: Option<u64>,
    /// Size of the file, 1 to 1000; 10 without it.
    #[param(minimum = 1, maximum = 1000)]
    megabytes: Option<u64>,
}

/// What is kept of each packet.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Content {
    Headers,
    Packets,
}

/// Begins to capture a peer's decrypted RTP packets into a pcapng file, whose name is in `dataId`.
/// Refused unless `capture_dir` is set in the server's settings.
#[utoipa::path(
    post,
    path = "/peers/{peer}/capture",
    operation_id = "startCapture",
    tag = "peers",
    params(OfPeer, Capture),
    responses((status = 200, description = "As asked", body = Outcome), Refusals)
)]
async fn capture(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfPeer { peer }): InPath<OfPeer>,
    InQuery(capture): InQuery<Capture>,
) -> Result<Json<Outcome>, RestError> {
    let wish = Wish {
        content: match capture.content {
            None | Some(Content::Headers) => CaptureContent::Headers,
            Some(Content::Packets) => CaptureContent::Packets,
        },
        seconds: capture.seconds.unwrap_or(60),
        max_len: capture.megabytes.unwrap_or(10).saturating_mul(1_000_000),
    };
    if !(1..=captures::MAX_SECONDS).contains(&wish.seconds) {
        return Err(RestError::Refused("seconds must be 1 to 600".into()));
    }
    if !(1..=captures::MAX_MEGABYTES * 1_000_000).contains(&wish.max_len) {
        return Err(RestError::Refused("megabytes must be 1 to 1000".into()));
    }
    let PeerName(worker, id) = peer;
    let found = census::ask_peers(&shared, &app.name, None, Some((worker, id)), 1).await;
    let Some(figures) = found.into_iter().next() else {
        return Ok(Json(Outcome::failed(NO_SUCH_PEER)));
    };
    let started = captures::start(&shared, &app.name, &figures, wish).await;
    Ok(Json(match started {
        Ok(name) => Outcome::made(name),
        Err(NotCaptured::Off) => {
            Outcome::failed("Captures are off: set capture_dir in the server's settings")
        }
        Err(NotCaptured::NotConnected) => Outcome::failed("The peer is not connected"),
        Err(NotCaptured::Running) => Outcome::failed("The peer is being captured already"),
        Err(NotCaptured::Full) => Outcome::failed("As many captures run as may"),
        Err(NotCaptured::File(error)) => {
            Outcome::failed(format!("The file cannot be made: {error}"))
        }
    }))
}

/// Ends the capture of a peer; its file is complete within a second.
#[utoipa::path(
    delete,
    path = "/peers/{peer}/capture",
    operation_id = "stopCapture",
    tag = "peers",
    params(OfPeer),
    responses((status = 200, description = "As asked", body = Outcome), Refusals)
)]
async fn end_capture(
    State(shared): State<Shared>,
    app: KnownApp,
    InPath(OfPeer { peer }): InPath<OfPeer>,
) -> Json<Outcome> {
    let PeerName(worker, id) = peer;
    let stopped = shared.captures().stop(&app.name, WorkerId(worker), id);
    Json(match stopped {
        true => Outcome::done(),
        false => Outcome::failed("No capture of this peer runs"),
    })
}

/// The file of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct OfFile {
    /// Its name, as `startCapture` said.
    #[param(pattern = "^[A-Za-z0-9-]+\\.pcapng$", max_length = 100)]
    file: String,
}

/// A captured file, which may still grow.
#[utoipa::path(
    get,
    path = "/captures/{file}",
    operation_id = "getCapture",
    tag = "peers",
    params(OfFile),
    responses(
        (status = 200, description = "As asked", content_type = "application/octet-stream"),
        Refusals, Missing
    )
)]
async fn file(
    State(shared): State<Shared>,
    app: KnownApp,
    Extension(progress): Extension<Progress>,
    InPath(OfFile { file }): InPath<OfFile>,
) -> Result<Response, RestError> {
    let path = shared.captures().path(&app.name, &file);
    let path = path.ok_or(RestError::UnknownPath)?;
    let gone = |_| RestError::UnknownPath;
    let file = File::open(path).await.map_err(gone)?;
    let len = file.metadata().await.map_err(gone)?.len();
    let counted = InspectReader::new(file.take(len), move |bytes| progress.add(bytes.len()));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, len.to_string()),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(counted, CHUNK_LEN));
    Ok((headers, body).into_response())
}

/// Bytes of a captured file in memory at once, for each client that fetches one.
const CHUNK_LEN: usize = 64 * 1024;

/// A worker's number and a peer's place there: `WORKER-INDEX-GENERATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PeerName(pub u16, pub PeerId);

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (index, generation) = self.1.parts();
        write!(f, "{}-{index}-{generation}", self.0)
    }
}

impl TryFrom<String> for PeerName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut numbers = text.splitn(3, '-').map(str::parse::<u32>);
        let mut next = || {
            numbers
                .next()
                .and_then(Result::ok)
                .ok_or("a peerId is three numbers")
        };
        let worker = u16::try_from(next()?).map_err(|_| "there is no such worker")?;
        Ok(Self(worker, PeerId::of_parts((next()?, next()?))))
    }
}

/// Said where a peer has gone.
pub const NO_SUCH_PEER: &str = "There is no such peer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_leads_back_to_it() {
        let name = PeerName(3, PeerId::of_parts((17, 4)));
        assert_eq!(name.to_string(), "3-17-4");
        assert_eq!(PeerName::try_from(name.to_string()), Ok(name));
        for bad in ["", "1-2", "a-1-1", "1--1", "70000-1-1", "1-2-3-4"] {
            assert!(PeerName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
