//! Every growth point's cap, and what happens when it is reached.

/// Largest datagram handled, in bytes: an Ethernet MTU. Longer ones are dropped (`Oversized`).
pub const MAX_DATAGRAM_LEN: usize = 1500;

/// Largest RTP packet written to a subscriber before protection, in bytes: leaves room for the
/// SRTP tag and UDP/IPv6 headers within 1500.
pub const MAX_RTP_LEN: usize = 1440;

/// SRTP adds at most this many bytes to RTP (AEAD tag, RFC 7714 §13.2); SRTCP 4 more for its index.
pub const MAX_SRTP_OVERHEAD: usize = 20;

/// Packets a replay window remembers (RFC 3711 §3.3.2 asks for at least 64). Wide, because a
/// publisher's retransmission may arrive a second late.
pub const REPLAY_WINDOW: usize = 1024;

/// Packets of one video track kept for retransmission: about 2 s at 1000 packets per second.
pub const VIDEO_HISTORY_PACKETS: usize = 2048;

/// Packets of one audio track kept for retransmission: about 5 s at 50 packets per second.
pub const AUDIO_HISTORY_PACKETS: usize = 256;

/// Bytes of video history per track; when full, the oldest packets go.
pub const VIDEO_HISTORY_LEN: usize = 2 * 1024 * 1024;

/// Bytes of audio history per track.
pub const AUDIO_HISTORY_LEN: usize = 64 * 1024;

/// Missing packets remembered per received SSRC; when full, the oldest are given up.
pub const MAX_MISSING: usize = 512;

/// SSRCs per peer, authentic ones included; further ones are dropped (`UnknownSsrc`).
pub const MAX_SSRCS_PER_PEER: usize = 64;

/// SSRCs per peer that have made room for others and send nothing any more, half a kilobyte each;
/// when there are more, the next ones make no room.
pub const MAX_RETIRED_SSRCS: usize = 1024;

/// Senders of RTCP per peer whose replay windows are kept; of the one heard longest ago only the
/// highest number is. Firefox has one for each m-line, those that only receive included.
pub const MAX_RTCP_SENDERS: usize = 128;

/// Senders of RTCP per peer of which only the highest number is kept, 8 bytes each; when there are
/// more, further senders are dropped (`UnknownSsrc`).
pub const MAX_PAST_RTCP_SENDERS: usize = 1024;

/// Encodings of one track that are taken of a publisher (simulcast); the answer to its offer lists
/// no more. Browsers send at most three.
pub const MAX_ENCODINGS: usize = 4;

/// m-lines that one publisher sends at once; further ones are rejected in the answer.
pub const MAX_PUBLISHED_TRACKS: usize = 32;

/// Spatial layers told apart, and temporal layers; higher ones count as the highest.
pub const MAX_SCALABLE_LAYERS: usize = 4;

/// m-lines accepted in a remote SDP; more is `notSetRemoteDescription`.
pub const MAX_MEDIA_SECTIONS: usize = 256;

/// Bytes of SDP accepted; more is `notSetRemoteDescription`.
pub const MAX_SDP_LEN: usize = 1024 * 1024;

/// Length of one SDP line in bytes; longer is `notSetRemoteDescription`.
pub const MAX_SDP_LINE_LEN: usize = 16 * 1024;

/// Payload types per m-line in a remote SDP; further ones are ignored.
pub const MAX_FORMATS: usize = 128;

/// Bytes of one WebSocket message; more closes the connection.
pub const MAX_MESSAGE_LEN: usize = 1024 * 1024 + 64 * 1024;

/// Bytes queued towards one WebSocket; more closes it (slow reader).
pub const MAX_CONN_BACKLOG_LEN: usize = 2 * 1024 * 1024;

/// Publishes, plays and memberships per WebSocket; more is `highResourceUsage`.
pub const MAX_ENTRIES_PER_CONN: usize = 64;

/// Sources of a main track that one play is sent; those that came last are left out. Their m-lines
/// fit into [`MAX_MEDIA_SECTIONS`] even when all of them are replaced at once.
pub const MAX_SOURCES_PER_PLAY: usize = 63;

/// Ids in a play's `trackList`, negated ones included; further ones are ignored. No offer has more
/// m-lines.
pub const MAX_TRACK_LIST: usize = MAX_MEDIA_SECTIONS;

/// Commands about what a play is sent that came before its offer; further ones are ignored. Pages
/// set a quality and a few switches.
pub const MAX_COMMANDS_HELD: usize = 16;

/// Labels and kinds that a player wants something of that is not for all; further ones are for what
/// is there alone. Audio and video of each source.
pub const MAX_WISHES: usize = 2 * MAX_SOURCES_PER_PLAY;

/// Length of a stream id in bytes; longer is `invalidStreamName`.
pub const MAX_STREAM_ID_LEN: usize = 256;

/// Bytes of a text of a command that names or describes: `streamName`, `role`, `subscriberId` and
/// their like; longer is `text_too_long`.
pub const MAX_TEXT_LEN: usize = 1024;

/// Bytes of what is kept for others or handed to a check: `metaData`, `viewerInfo`, `token`; longer
/// is `text_too_long`.
pub const MAX_META_DATA_LEN: usize = 8 * 1024;

/// Bytes of broadcasts or subscribers in one answer; a page ends there, a list of ids too, and a
/// room's list leaves out names and `metaData` from there on. Twice in a message, or quoted once
/// more as JSON within JSON, it stays well below [`MAX_CONN_BACKLOG_LEN`].
pub const MAX_PAGE_LEN: usize = 256 * 1024;

/// Bytes of subtracks' ids in a broadcast that a client is shown: the rest of it fits into a page
/// with them.
pub const MAX_SUBTRACK_IDS_LEN: usize = MAX_PAGE_LEN / 2;

/// Source addresses validated per peer; the oldest is forgotten.
pub const MAX_ADDRESSES_PER_PEER: usize = 8;

/// Datagrams of DTLS handshakes that wait for their turn, per worker; further ones are dropped
/// (`QueueFull`) and sent again by the client.
pub const MAX_HANDSHAKE_RECORDS: usize = 4096;

/// The same of one peer: the longest flight of a client is a handful, and it may come twice.
pub const MAX_HANDSHAKE_RECORDS_PER_PEER: usize = 16;

/// Bytes queued towards one TCP connection that carries media; datagrams that do not fit are
/// dropped (`TcpFull`). A large key frame fits; at 2 Mbit/s it is a second.
pub const MAX_TCP_BACKLOG_LEN: usize = 256 * 1024;

/// TCP connections for media per worker; further ones are closed.
pub const MAX_TCP_CONNS: usize = 16_384;

/// Remote candidates taken per peer; further ones are ignored.
pub const MAX_REMOTE_CANDIDATES: usize = 32;

/// Newcomers of a multi-peer call that were told an id and have not joined under it; the oldest
/// is forgotten.
pub const MAX_INVITATIONS: usize = 64;

/// Length in bytes of a candidate, its mid included, that waits for its description; longer ones
/// are ignored. Real ones are under 200.
pub const MAX_CANDIDATE_LEN: usize = 1024;

/// Segments in one UDP_SEGMENT run: a burst this long at line rate stays within shallow queues,
/// and from here on longer runs save little (`docs/performance.md`).
pub const MAX_GSO_SEGMENTS: usize = 16;

/// Bytes of padding that a packet may get to be as long as its neighbours and share their run.
/// Packetisers split a frame into sizes that differ by one; a few more are for headers.
pub const MAX_EVENING_LEN: usize = 16;

/// Sent packets remembered per subscriber until feedback speaks of them, at first: half a KiB. It
/// doubles until a second's packets fit, 2 KiB at 250 packets per second.
pub const MIN_SENT_RECORDS: usize = 64;

/// The same at most: 2 s at 4000 packets per second; further ones go unreported. A compound that
/// reports on more is malformed.
pub const MAX_SENT_RECORDS: usize = 8192;

/// Lowest bandwidth estimate, bits per second: an audio stream.
pub const MIN_ESTIMATE_BPS: u64 = 30_000;

/// Highest bandwidth estimate, bits per second: more than any one subscriber is sent.
pub const MAX_ESTIMATE_BPS: u64 = 200_000_000;

/// Bytes of egress buffer per worker: stays in a core's L2 cache; when full it is flushed and
/// filled again within the same turn.
pub const EGRESS_LEN: usize = 512 * 1024;

/// Mails waiting for one worker; a full queue drops media (`QueueFull`) and delays the rest.
pub const MAX_WORKER_MAILS: usize = 4096;

/// Bytes of received datagrams on their way from one worker to another, where workers share a
/// port; further ones are dropped (`QueueFull`). 80 ms of 100 Mbit/s, which no turn takes.
pub const MAX_PASSED_LEN: usize = 1024 * 1024;

/// STUN from addresses that nobody has validated, passed to one worker in one turn; further ones
/// are dropped (`QueueFull`): who writes user fragments at random must not keep other workers busy.
/// A browser that connects sends about 20 a second, so a thousand that do at once fit.
pub const MAX_STRANGERS_PASSED: usize = 64;

/// Copies of packets that wait to be written to a capture's file; when full, further ones are lost
/// and counted.
pub const MAX_CAPTURE_QUEUE: usize = 4096;

/// REST requests that are worked on at once; further ones are answered 503. Half of the HTTP
/// connections: where all of them wait for a disk, WebSockets are let in still.
pub const MAX_REST_UNDER_WAY: usize = 512;

/// Bytes of a REST request's body; more is answered 413.
pub const MAX_REST_BODY_LEN: usize = 64 * 1024;

/// Most entries of one REST list, as Ant Media has it; a longer page is cut.
pub const MAX_REST_PAGE: usize = 50;

/// Webhooks that wait for delivery; when full, the oldest of the application that has most is
/// dropped, counted and logged.
pub const MAX_WEBHOOKS_WAITING: usize = 4096;

/// Webhook requests of an application under way at once; further ones wait.
pub const MAX_WEBHOOKS_UNDER_WAY: usize = 32;

/// Broadcasts of an application whose webhook is being delivered or waits to be repeated; those of
/// further ones wait.
pub const MAX_WEBHOOKS_BEGUN: usize = 1024;

/// Broadcasts that were deleted and whose last webhooks find their way all the same.
pub const MAX_DELETED_HOOKS: usize = 1024;

/// Bytes of a body that WHIP and WHEP take: [`MAX_MEDIA_SECTIONS`] m-lines as browsers write them.
pub const MAX_WHIP_BODY_LEN: usize = 256 * 1024;

/// Questions to publish or play that are being checked at once; further ones are
/// `highResourceUsage`.
pub const MAX_CHECKS: usize = 1024;

/// The same for one WebSocket.
pub const MAX_CHECKS_PER_CONN: usize = 64;

/// Used tokens remembered per WebSocket for its reconnects; the oldest is forgotten.
pub const MAX_TOKENS_PER_CONN: usize = 64;

/// Notes that wait for the store; when full, the oldest is lost.
pub const MAX_NOTES: usize = 16_384;

/// Jobs waiting for the store; when full, whoever asks waits for a place.
pub const MAX_STORE_JOBS: usize = 1024;

/// One-time tokens stored per application; further ones are refused until some have ended.
pub const MAX_TOKENS_PER_APP: usize = 1_000_000;

/// Subscribers registered per broadcast; further ones are refused.
pub const MAX_SUBSCRIBERS_PER_STREAM: usize = 100_000;

/// Connection events kept per broadcast; the oldest go.
pub const MAX_EVENTS_PER_STREAM: usize = 1000;

/// Connection events kept in all; the oldest go.
pub const MAX_EVENTS: usize = 100_000;

/// Bytes of one data channel message, announced as `a=max-message-size`: what Chrome announces. A
/// longer one ends the association that it came over, as RFC 8841 §6.1 allows.
pub const MAX_DATA_MESSAGE_LEN: usize = 256 * 1024;

/// Bytes received over a peer's data channels that wait to be complete or to be passed on: the
/// SCTP receive window. When it is full the sender waits.
pub const DATA_RECEIVE_WINDOW_LEN: usize = 512 * 1024;

/// DATA chunks in them before those are treated as lost that leave a gap; twice as many before all
/// are. A window full of chunks of an ordinary path has 500, and each that is held makes the next
/// one cost more.
pub const MAX_DATA_CHUNKS: usize = 1024;

/// Bytes that wait to be sent over a peer's data channels, or to be acknowledged; when a message
/// does not fit, that peer does not get it, and it is counted.
pub const MAX_DATA_BACKLOG_LEN: usize = 1024 * 1024;

/// Messages for a peer whose data channel is not open yet; the same happens when there are more.
pub const MAX_DATA_HELD: usize = 64;

/// Bytes in them.
pub const MAX_DATA_HELD_LEN: usize = MAX_DATA_MESSAGE_LEN;

/// Data channels of a peer; one more ends the association.
pub const MAX_DATA_CHANNELS: usize = 16;

/// Closed data channels whose stream ids the peer has not confirmed to be free; one more ends the
/// association.
pub const MAX_DATA_RESETS: usize = 64;

/// Bytes of data channel messages on their way from one worker to others and to control; while
/// there are more, that worker's senders wait.
pub const MAX_DATA_RELAYED_LEN: usize = 16 * 1024 * 1024;

/// Messages in them.
pub const MAX_DATA_RELAYED: usize = MAX_WORKER_MAILS / 2;

/// Bytes of data channel messages that wait to be posted to web hooks; when there are more, the
/// oldest of the application that has most are dropped and logged.
pub const MAX_DATA_HOOKS_LEN: usize = 4 * 1024 * 1024;

/// Messages in them.
pub const MAX_DATA_HOOKS: usize = 1024;

/// Broadcasts of an application that have a message under way to its web hook; those of further
/// ones wait. At most 2 MiB of each application.
pub const MAX_DATA_HOOKS_UNDER_WAY: usize = 8;

// What waits for a web hook must not hold up the workers' senders.
const _: () = assert!(MAX_DATA_HOOKS_LEN < MAX_DATA_RELAYED_LEN);
const _: () = assert!(MAX_DATA_HOOKS < MAX_DATA_RELAYED);
const _: () = assert!(MAX_DATA_HOOKS_UNDER_WAY <= MAX_WEBHOOKS_UNDER_WAY);

const _: () = assert!(DATA_RECEIVE_WINDOW_LEN >= 2 * MAX_DATA_MESSAGE_LEN);
const _: () = assert!(MAX_DATA_BACKLOG_LEN >= 2 * MAX_DATA_MESSAGE_LEN);
const _: () = assert!(MAX_RTP_LEN + MAX_SRTP_OVERHEAD <= MAX_DATAGRAM_LEN);
const _: () = assert!(VIDEO_HISTORY_PACKETS.is_power_of_two());
const _: () = assert!(AUDIO_HISTORY_PACKETS.is_power_of_two());
const _: () = assert!(4 * MAX_SOURCES_PER_PLAY < MAX_MEDIA_SECTIONS);
const _: () = assert!(MAX_RTCP_SENDERS >= 2 * MAX_SOURCES_PER_PLAY);
const _: () = assert!(REPLAY_WINDOW.is_multiple_of(64));
const _: () = assert!(MAX_MESSAGE_LEN > MAX_SDP_LEN);
const _: () = assert!(EGRESS_LEN >= 64 * MAX_DATAGRAM_LEN);
