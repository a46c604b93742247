//! What happens to broadcasts, as webhooks tell it.

use super::mail::AppName;
use super::track::StreamId;

/// Something happened to a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of which application.
    pub app: AppName,
    /// To which broadcast.
    pub stream: StreamId,
    /// What.
    pub action: EventAction,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// Display name of the broadcast.
    pub name: Option<String>,
    /// Its `metaData`, verbatim.
    pub meta_data: Option<String>,
    /// The room it belongs to.
    pub main_track: Option<StreamId>,
    /// Who publishes or plays, where the client said so.
    pub subscriber_id: Option<String>,
}

/// What happened, in Ant Media's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventAction {
    /// Media flows.
    LiveStreamStarted,
    /// It is over.
    LiveStreamEnded,
    /// It is still on air; told from time to time.
    LiveStreamStatus,
    /// A granted publish was not connected in time.
    PublishTimeoutError,
    /// A player is connected.
    PlayStarted,
    /// A player has gone.
    PlayStopped,
    /// The broadcast went live in its room.
    SubtrackAdded,
    /// The broadcast left its room.
    SubtrackLeft,
    /// The broadcast is the first on air in its room.
    FirstSubtrackAdded,
    /// The last broadcast on air in the room `stream` has left it.
    NoSubtracksLeft,
}

impl EventAction {
    /// The word in webhooks.
    pub const fn text(self) -> &'static str {
        match self {
            Self::LiveStreamStarted => "liveStreamStarted",
            Self::LiveStreamEnded => "liveStreamEnded",
            Self::LiveStreamStatus => "liveStreamStatus",
            Self::PublishTimeoutError => "publishTimeoutError",
            Self::PlayStarted => "playStarted",
            Self::PlayStopped => "playStopped",
            Self::SubtrackAdded => "subtrackAddedInTheMainTrack",
            Self::SubtrackLeft => "subtrackLeftTheMainTrack",
            Self::FirstSubtrackAdded => "firstActiveTrackAddedInMainTrack",
            Self::NoSubtracksLeft => "noActiveSubtracksLeftInMainTrack",
        }
    }
}
