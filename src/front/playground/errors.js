// What the protocol's definitions mean, in words for people. The keys are Ant Media's own.

const WORDS = {
  // Refusals by the server.
  noStreamNameSpecified: "A stream id is needed.",
  invalidStreamName: "The stream id may only hold letters, digits, and the characters - _ . (dot).",
  not_initialized_yet: "The server is still starting. Try again in a moment.",
  data_store_not_available: "The server cannot reach its database, so it admits nobody new.",
  license_suspended_please_renew_license: "The server's licence is suspended.",
  highResourceUsage: "The server is too busy to take this on. What runs already goes on.",
  no_codec_enabled_in_the_server: "This application has every video codec switched off.",
  no_encoder_settings: "This application has no encoder settings.",
  not_allowed_unregistered_streams: "This application only takes stream ids that were registered before.",
  stream_not_active_or_expired: "This broadcast is planned for another time, or is over.",
  room_not_active_or_expired: "This room is planned for another time, or is over.",
  unauthorized_access: "The server refused access: the token is missing or not valid.",
  user_blocked: "This user is blocked for now.",
  streamIdInUse: "Somebody is publishing under this stream id already. Choose another one.",
  already_publishing: "This page is publishing under this stream id already.",
  already_playing: "This stream is being played already.",
  no_stream_exist: "Nobody is publishing under this stream id yet.",
  stream_not_exist_or_not_streaming: "Nobody is publishing under this stream id yet.",
  webrtc_not_enabled: "WebRTC playback is switched off in this application.",
  viewerLimitReached: "The viewer limit is reached.",
  publishTimeoutError: "The server took the broadcast, but no media reached it in time. Is UDP blocked on the way?",
  noPacketReceivedForTimeoutDuration: "The server received no media for too long and ended the broadcast.",
  notSetLocalDescription: "The server could not build its session description.",
  notSetRemoteDescription: "The server could not use this browser's session description.",
  no_peer_associated_before: "The server no longer knows this connection.",
  encoderNotOpened: "The server could not open its encoder.",
  encoderBlocked: "The server's encoder is blocked.",
  server_error_check_logs: "The server met an error of its own. Its log says more.",
  main_track_has_max_subtrack_count__not_allowed_to_add_more_subtracks: "The room is full.",
  // What the client itself found.
  socket_closed: "The connection to the server was lost.",
  socket_silent: "The server has stopped answering.",
  server_will_stop: "The server is shutting down.",
  ice_failed: "The media connection was lost.",
  no_answer: "The connection could not be made in time. Is UDP blocked on the way?",
  bad_description: "This browser could not use the server's session description.",
  // Why it ended.
  publish_finished: "The server ended the broadcast.",
  play_finished: "The broadcast has ended.",
};

/** A sentence for a definition; an unknown one is shown as it came. */
export function inWords(definition) {
  if (!definition) return "";
  return WORDS[definition] ?? `The server says: ${definition}`;
}
