//! Messages between the planes and between workers.
//!
//! Workers ask and tell control ([`ControlMail`]); control and other workers write to a worker's
//! engine ([`WorkerMail`]). Both are values in bounded queues; nobody waits for an answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::access::Proof;
use super::call::{CallNews, CallStep};
use super::capture::Tap;
use super::data::{DataMessage, DataRelay};
use super::definition::Definition;
use super::errand::Errand;
use super::layers::{Layers, Marks, Priority};
use super::peers::{PeerFigures, PeersAsk};
use super::plays::{PlayFigures, PlaysAsk};
use super::room::{RoomAnswer, RoomMail};
use super::settings::AppSettings;
use super::track::{Flow, Lineup, PlayGrant, StreamId, TrackInfo};
use crate::base::egress::Route;
use crate::base::ids::{ConnId, PeerId, TrackId, WorkerId};

/// An application's name, the first segment of every path.
pub type AppName = Arc<str>;

/// Where a mail of an engine goes.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// To the control plane; boxed, because such mails are large and rare.
    Control(Box<ControlMail>),
    /// To the engine of another worker.
    Worker(WorkerId, WorkerMail),
    /// To the engine of every other worker.
    Others(WorkerMail),
}

/// What a worker asks of, or tells to, the control plane.
#[derive(Clone, Debug)]
pub enum ControlMail {
    /// May this connection publish? Answered by [`WorkerMail::PublishDecision`].
    AskPublish {
        /// Who asks.
        conn: ConnId,
        /// Echoed in the answer, so that an answer to a withdrawn question is recognised.
        request: u64,
        /// Of which application.
        app: AppName,
        /// What it said.
        ask: PublishAsk,
    },
    /// May this connection play? Answered by [`WorkerMail::PlayDecision`].
    AskPlay {
        /// Who asks.
        conn: ConnId,
        /// Echoed in the answer.
        request: u64,
        /// Of which application.
        app: AppName,
        /// What it said.
        ask: PlayAsk,
    },
    /// A granted publish is connected and these are its tracks.
    PublishLive {
        /// Who publishes.
        conn: ConnId,
        /// Of which application.
        app: AppName,
        /// Under which id.
        stream: StreamId,
        /// Every accepted track.
        tracks: Vec<TrackInfo>,
    },
    /// A granted (or still asked for) publish is over.
    PublishReleased {
        /// Who published.
        conn: ConnId,
        /// Of which application.
        app: AppName,
        /// Under which id.
        stream: StreamId,
        /// Decides whether viewers wait for a return.
        ending: PublishEnding,
    },
    /// A granted play is connected.
    PlayLive {
        /// Who plays.
        conn: ConnId,
        /// Of which application.
        app: AppName,
        /// Which id.
        stream: StreamId,
    },
    /// A WebSocket is gone; everything on it was released before.
    ConnClosed {
        /// Which.
        conn: ConnId,
    },
    /// A granted (or still asked for) play is over.
    PlayReleased {
        /// Who played.
        conn: ConnId,
        /// Of which application.
        app: AppName,
        /// Which id.
        stream: StreamId,
    },
    /// A client wants something that needs no publish or play of its own.
    Errand {
        /// Who sends it.
        conn: ConnId,
        /// In which application.
        app: AppName,
        /// From where.
        client: Arc<Client>,
        /// What it is.
        errand: Errand,
    },
    /// Answer to [`WorkerMail::AskPlays`].
    Plays {
        /// Echo of the question.
        request: u64,
        /// The figures, by connection.
        plays: Vec<PlayFigures>,
    },
    /// Answer to [`WorkerMail::AskPeers`].
    Peers {
        /// Echo of the question.
        request: u64,
        /// The figures, by connection.
        peers: Vec<PeerFigures>,
    },
    /// What a publisher's media is, measured by its worker about once a second.
    PublishMeasured {
        /// Of which application.
        app: AppName,
        /// Under which id.
        stream: StreamId,
        /// The figures.
        measure: PublishMeasure,
    },
    /// How loud a publisher is, if it has a main track or viewers are told: five times a second
    /// while its packets say so (RFC 6464).
    AudioLevel {
        /// Of which application.
        app: AppName,
        /// Under which id.
        stream: StreamId,
        /// The loudest since the last report: 0 (loudest) to 127.
        level: u8,
    },
    /// Something about rooms.
    Room {
        /// Whose.
        conn: ConnId,
        /// Of which application.
        app: AppName,
        /// What it is.
        mail: RoomMail,
    },
    /// A client sent this over its data channel, and the application has a
    /// `dataChannelWebHookURL`.
    DataMessage(Arc<DataRelay>),
}

impl ControlMail {
    /// True for what says that something has begun or is over: without it control would believe
    /// for ever what was before. There are as many of these as there are publishes, plays, calls
    /// and rooms; of all others there may be any number.
    pub fn must_arrive(&self) -> bool {
        match self {
            Self::PublishLive { .. }
            | Self::PublishReleased { .. }
            | Self::PlayLive { .. }
            | Self::PlayReleased { .. }
            | Self::ConnClosed { .. }
            | Self::Errand {
                errand: Errand::Call(CallStep::Leave { .. }),
                ..
            }
            | Self::Room {
                mail: RoomMail::Left { .. },
                ..
            } => true,
            Self::AskPublish { .. }
            | Self::AskPlay { .. }
            | Self::Errand { .. }
            | Self::Plays { .. }
            | Self::Peers { .. }
            | Self::PublishMeasured { .. }
            | Self::AudioLevel { .. }
            | Self::Room { .. }
            | Self::DataMessage(_) => false,
        }
    }
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishEnding {
    /// By `stop`, or before it was live: the broadcast ends at once.
    Stopped,
    /// It was granted and not connected in time: as `Stopped`, and webhooks are told.
    TimedOut,
    /// Socket or media lost without `stop`: viewers are kept through the takeover window.
    Lost,
}

/// What is known of the client behind a WebSocket, from its upgrade request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its address, or what a proxy on this host said; `None` only in tests.
    pub remote: Option<IpAddr>,
    /// The `Origin` header.
    pub origin: Option<Arc<str>>,
    /// The query of the address that it connected to, without `?`; may hold credentials.
    pub query: Option<Arc<str>>,
}

/// The fields of a `publish` command that decide about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishAsk {
    /// The id to publish under.
    pub stream: Option<StreamId>,
    /// One-time token, JWT or hash.
    pub token: Option<String>,
    /// For codes and blocking.
    pub subscriber_id: Option<String>,
    /// Time-based code.
    pub subscriber_code: Option<String>,
    /// Display name of the broadcast.
    pub stream_name: Option<String>,
    /// The room this stream joins.
    pub main_track: Option<StreamId>,
    /// Stored verbatim.
    pub meta_data: Option<String>,
    /// Conference role.
    pub role: Option<String>,
    /// False: no video section is wanted.
    pub video: bool,
    /// False: no audio section is wanted.
    pub audio: bool,
    /// Who sent it; filled in by the engine.
    pub client: Arc<Client>,
}

/// The fields of a `play` command that decide about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayAsk {
    /// The broadcast or room to play.
    pub stream: Option<StreamId>,
    /// One-time token, JWT or hash.
    pub token: Option<String>,
    /// Legacy: the room for room-scoped tokens.
    pub room: Option<String>,
    /// Subtracks wanted; `!id` means not that one.
    pub track_list: Vec<String>,
    /// For codes, limits and blocking.
    pub subscriber_id: Option<String>,
    /// Shown in statistics.
    pub subscriber_name: Option<String>,
    /// Time-based code.
    pub subscriber_code: Option<String>,
    /// Free text shown in statistics.
    pub viewer_info: Option<String>,
    /// Conference role.
    pub role: Option<String>,
    /// The id that the same user publishes; never sent back to it.
    pub user_publish_id: Option<String>,
    /// True: only tracks named in `track_list` flow.
    pub disable_tracks_by_default: bool,
    /// Who sent it; filled in by the engine.
    pub client: Arc<Client>,
}

impl PlayAsk {
    /// What other commands about `stream` are checked as.
    pub fn showing(stream: StreamId, proof: Proof, client: Arc<Client>) -> Self {
        let Proof {
            token,
            subscriber_id,
            subscriber_code,
        } = proof;
        Self {
            stream: Some(stream),
            token,
            subscriber_id,
            subscriber_code,
            client,
            ..Self::default()
        }
    }
}

/// Live figures of one publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishMeasure {
    /// Received video payload, bits per second over the last second.
    pub video_bps: u64,
    /// Received audio payload, bits per second over the last second.
    pub audio_bps: u64,
    /// Width of the last key frame in pixels, of the largest encoding; 0 before the first.
    pub width: u16,
    /// Height of the last key frame in pixels; 0 before the first.
    pub height: u16,
    /// Its video layers, worst first.
    pub layers: Layers,
    /// Packets lost on the way from the publisher and not repaired, since the start.
    pub packets_lost: u64,
    /// Bytes received since the start.
    pub received_len: u64,
    /// Round trip to the publisher in microseconds; 0 when not measured.
    pub rtt_us: u32,
}

/// What control or another worker tells a worker's engine.
#[derive(Clone, Debug)]
pub enum WorkerMail {
    /// Answer to [`ControlMail::AskPublish`].
    PublishDecision {
        /// Who asked.
        conn: ConnId,
        /// Echo of the question.
        request: u64,
        /// Granted, or why not.
        result: Result<(), Definition>,
    },
    /// Answer to [`ControlMail::AskPlay`].
    PlayDecision {
        /// Who asked.
        conn: ConnId,
        /// Echo of the question.
        request: u64,
        /// What to play, or why not.
        result: Result<PlayGrant, Definition>,
    },
    /// The publisher of a broadcast of this worker lets these media flow.
    PublishFlow {
        /// Of which application.
        app: AppName,
        /// Which broadcast.
        stream: StreamId,
        /// What flows.
        flow: Flow,
    },
    /// A publish belongs to another room than it named.
    Moved {
        /// Who publishes.
        conn: ConnId,
        /// Which broadcast.
        stream: StreamId,
        /// The room; `None`: none any more.
        room: Option<StreamId>,
    },
    /// A message for a client, ready to be sent.
    Text {
        /// To whom.
        conn: ConnId,
        /// JSON text.
        text: String,
    },
    /// News of a call between two clients.
    Call {
        /// To whom.
        conn: ConnId,
        /// What it is told.
        news: CallNews,
    },
    /// What a granted play is to be sent has changed: the whole list, in the order of the offer.
    PlaySources {
        /// Who plays.
        conn: ConnId,
        /// Which main track.
        stream: StreamId,
        /// Everything it is to be sent.
        lineup: Lineup,
    },
    /// Which videos matter more than others to a play: all that do.
    Priorities {
        /// Who plays.
        conn: ConnId,
        /// Which main track.
        stream: StreamId,
        /// The videos.
        videos: Vec<(TrackId, Priority)>,
    },
    /// Answer to a question about rooms.
    Room {
        /// Who asked.
        conn: ConnId,
        /// The answer.
        answer: RoomAnswer,
    },
    /// A broadcast is over: its players end, its tracks go.
    BroadcastEnded {
        /// Of which application.
        app: AppName,
        /// Which broadcast.
        stream: StreamId,
    },
    /// The plays of a broadcast end although it goes on: its publisher came back with other
    /// codecs or tracks than its players were offered.
    PlaysEnded {
        /// Of which application.
        app: AppName,
        /// Which broadcast.
        stream: StreamId,
    },
    /// A publisher came back within the takeover window: its old tracks, each with the one that
    /// takes its place.
    TracksReplaced {
        /// Of which application.
        app: AppName,
        /// Which broadcast.
        stream: StreamId,
        /// Old track and its successor; `None` when it has none.
        moves: Vec<(TrackId, Option<TrackInfo>)>,
    },
    /// A publish took the place of one that was lost, and its viewers were kept.
    SessionRestored {
        /// Who publishes.
        conn: ConnId,
        /// Under which id.
        stream: StreamId,
    },
    /// End this connection's publish of an id (REST stop or delete, blocking).
    StopPublish {
        /// Whose.
        conn: ConnId,
        /// Under which id.
        stream: StreamId,
    },
    /// End this connection's play of an id (blocking).
    StopPlay {
        /// Whose.
        conn: ConnId,
        /// Which id.
        stream: StreamId,
    },
    /// What is sent to players? Answered by [`ControlMail::Plays`].
    AskPlays(PlaysAsk),
    /// What is known of peers? Answered by [`ControlMail::Peers`].
    AskPeers(PeersAsk),
    /// Copy every RTP packet of a peer into `tap`, or do not any more.
    Capture {
        /// Of this worker; ignored when it has gone.
        peer: PeerId,
        /// Where copies go.
        tap: Option<Arc<Tap>>,
    },
    /// An application's settings changed.
    Settings {
        /// Which application.
        app: AppName,
        /// All of them.
        settings: Arc<AppSettings>,
    },
    /// The process is about to end: tell every connection.
    ServerWillStop,
    /// Worker `by` has subscribers for this worker's track and wants its packets.
    RelayStart {
        /// A track of the receiving worker.
        track: TrackId,
        /// Who wants it.
        by: WorkerId,
    },
    /// Worker `by` has no subscribers left for this track.
    RelayStop {
        /// A track of the receiving worker.
        track: TrackId,
        /// Who wanted it.
        by: WorkerId,
    },
    /// A subscriber elsewhere needs a key frame of this worker's track.
    RelayKeyFrame {
        /// A track of the receiving worker.
        track: TrackId,
    },
    /// A message for data channels of this worker's peers.
    Data(Arc<DataRelay>),
    /// A message of the server itself for one client's data channel: that of its play of `stream`,
    /// or of its publish when it does not play it. It is held until the channel is open.
    DataEvent {
        /// Whose.
        conn: ConnId,
        /// Under which id.
        stream: StreamId,
        /// The message.
        message: DataMessage,
    },
    /// The layers of a track of another worker, about once a second.
    Layers {
        /// The track.
        track: TrackId,
        /// What is being published, worst first; boxed, because it is large and rare.
        layers: Box<Layers>,
    },
    /// One turn's fresh packets of a track of another worker.
    RelayPackets(Arc<RelayBatch>),
    /// Whose UDP addresses worker `by` has validated or let go, where workers share a port; in this
    /// order.
    Sources {
        /// Who says so.
        by: WorkerId,
        /// The addresses.
        news: Arc<[SourceNews]>,
    },
    /// Datagrams of one turn that another worker received and that are this one's.
    Passed(Arc<Parcel>),
}

/// A UDP address that a worker has taken or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceNews {
    /// An authenticated binding request of one of its peers came from there, at that time; the
    /// latest such claim of all workers counts.
    Claimed(SocketAddr, Instant),
    /// The peer that it belonged to is gone, or uses it no longer.
    Released(SocketAddr),
}

/// Datagrams that one worker received and another one owns, back to back.
#[derive(Debug, Default)]
pub struct Parcel {
    /// When they were received; `None` only while the parcel is empty.
    pub received: Option<Instant>,
    /// The way of each, and its bytes in `bytes`; all of them UDP.
    pub datagrams: Vec<(Route, u16)>,
    /// The datagrams.
    pub bytes: Vec<u8>,
}

/// The fresh packets of one track and turn, in canonical form, back to back.
#[derive(Debug, Default)]
pub struct RelayBatch {
    /// Whose packets; `None` only while the batch waits in its pool.
    pub track: Option<TrackId>,
    /// Where each packet is in `bytes`.
    pub packets: Vec<RelayPacket>,
    /// The canonical packets.
    pub bytes: Vec<u8>,
    /// Counts the publisher's sources, as `Track::source` does.
    pub source: u32,
    /// The sender-report mapping of the track, once known.
    pub clock: Option<crate::base::clock::SenderClock>,
}

/// One packet of a [`RelayBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayPacket {
    /// Extended sequence number at its publisher.
    pub seq: u64,
    /// Bytes of the canonical packet.
    pub len: u16,
    /// Bytes of its header.
    pub header_len: u16,
    /// Offset of the transport-wide sequence number in it.
    pub transport_seq_at: u16,
    /// Key frame, layers.
    pub marks: Marks,
}
