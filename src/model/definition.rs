//! The `definition` of an error message: one closed list, one meaning each.
//!
//! Triggers are in `docs/signalling.md`; the texts are Ant Media's and fixed.

/// An error of the signalling protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Definition {
    /// A command that needs a `streamId` came without one.
    NoStreamNameSpecified,
    /// A stream id holds a character outside `A-Z a-z 0-9 - _ .`, or is too long.
    InvalidStreamName,
    /// A name, a description or a token is longer than is kept. Not one of Ant Media's.
    TextTooLong,
    /// The application is still starting.
    NotInitializedYet,
    /// The store is closed, locked or damaged.
    DataStoreNotAvailable,
    /// An operator suspended the application.
    LicenseSuspended,
    /// Processor, memory or a limit of this server is used up.
    HighResourceUsage,
    /// The application's settings allow no video codec.
    NoCodecEnabled,
    /// The application demands renditions and has none configured.
    NoEncoderSettings,
    /// Publishing under an id that is not registered, where that is demanded.
    NotAllowedUnregisteredStreams,
    /// Outside the broadcast's planned dates.
    StreamNotActiveOrExpired,
    /// Outside the room's planned dates.
    RoomNotActiveOrExpired,
    /// A room command came without a room.
    NoRoomSpecified,
    /// The room is not known.
    NoActiveStreamsInRoom,
    /// Token, JWT, hash, code or webhook said no.
    UnauthorizedAccess,
    /// The subscriber is blocked.
    UserBlocked,
    /// Somebody else publishes under this id.
    StreamIdInUse,
    /// This connection publishes this id already.
    AlreadyPublishing,
    /// This connection plays this id already.
    AlreadyPlaying,
    /// Nothing is live under this id.
    NoStreamExist,
    /// The application does not allow WebRTC playing.
    WebrtcNotEnabled,
    /// The viewer limit of application or broadcast is reached.
    ViewerLimitReached,
    /// A publish did not start in time.
    PublishTimeoutError,
    /// A publisher is connected and sends nothing.
    NoPacketReceivedForTimeoutDuration,
    /// This server could not make its own description.
    NotSetLocalDescription,
    /// The description that the client sent cannot be used.
    NotSetRemoteDescription,
    /// Description, candidate or message for an id that has no counterpart.
    NoPeerAssociatedBefore,
    /// The main track holds as many subtracks as it may.
    SubtrackLimitReached,
}

impl Definition {
    /// Every definition, in declaration order.
    pub const ALL: [Definition; 28] = [
        Self::NoStreamNameSpecified,
        Self::InvalidStreamName,
        Self::TextTooLong,
        Self::NotInitializedYet,
        Self::DataStoreNotAvailable,
        Self::LicenseSuspended,
        Self::HighResourceUsage,
        Self::NoCodecEnabled,
        Self::NoEncoderSettings,
        Self::NotAllowedUnregisteredStreams,
        Self::StreamNotActiveOrExpired,
        Self::RoomNotActiveOrExpired,
        Self::NoRoomSpecified,
        Self::NoActiveStreamsInRoom,
        Self::UnauthorizedAccess,
        Self::UserBlocked,
        Self::StreamIdInUse,
        Self::AlreadyPublishing,
        Self::AlreadyPlaying,
        Self::NoStreamExist,
        Self::WebrtcNotEnabled,
        Self::ViewerLimitReached,
        Self::PublishTimeoutError,
        Self::NoPacketReceivedForTimeoutDuration,
        Self::NotSetLocalDescription,
        Self::NotSetRemoteDescription,
        Self::NoPeerAssociatedBefore,
        Self::SubtrackLimitReached,
    ];

    /// The text on the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoStreamNameSpecified => "noStreamNameSpecified",
            Self::InvalidStreamName => "invalidStreamName",
            Self::TextTooLong => "text_too_long",
            Self::NotInitializedYet => "not_initialized_yet",
            Self::DataStoreNotAvailable => "data_store_not_available",
            Self::LicenseSuspended => "license_suspended_please_renew_license",
            Self::HighResourceUsage => "highResourceUsage",
            Self::NoCodecEnabled => "no_codec_enabled_in_the_server",
            Self::NoEncoderSettings => "no_encoder_settings",
            Self::NotAllowedUnregisteredStreams => "not_allowed_unregistered_streams",
            Self::StreamNotActiveOrExpired => "stream_not_active_or_expired",
            Self::RoomNotActiveOrExpired => "room_not_active_or_expired",
            Self::NoRoomSpecified => "no_room_specified",
            Self::NoActiveStreamsInRoom => "no_active_streams_in_room",
            Self::UnauthorizedAccess => "unauthorized_access",
            Self::UserBlocked => "user_blocked",
            Self::StreamIdInUse => "streamIdInUse",
            Self::AlreadyPublishing => "already_publishing",
            Self::AlreadyPlaying => "already_playing",
            Self::NoStreamExist => "no_stream_exist",
            Self::WebrtcNotEnabled => "webrtc_not_enabled",
            Self::ViewerLimitReached => "viewerLimitReached",
            Self::PublishTimeoutError => "publishTimeoutError",
            Self::NoPacketReceivedForTimeoutDuration => "noPacketReceivedForTimeoutDuration",
            Self::NotSetLocalDescription => "notSetLocalDescription",
            Self::NotSetRemoteDescription => "notSetRemoteDescription",
            Self::NoPeerAssociatedBefore => "no_peer_associated_before",
            Self::SubtrackLimitReached => {
                "main_track_has_max_subtrack_count__not_allowed_to_add_more_subtracks"
            }
        }
    }
}
