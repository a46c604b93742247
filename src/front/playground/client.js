// The Ant Media signalling protocol for one publish or one play, in one file.
//
// A Session is what the user wants ("publish this", "play that") and lives until it is stopped or
// refused. An Attempt is one try at it: one WebSocket and one RTCPeerConnection, thrown away whole
// when either is lost. Sessions of one page never share a socket, because the protocol knows a
// session only by (socket, stream id): the same id could not be published and played on one socket.
//
// It draws nothing and reads no DOM: app.js does.

/** How often the client pings, and after how much silence it gives the socket up. */
const PING_MS = 4000;
const SILENCE_MS = 15000;
/** An attempt that is not live by then is abandoned (the server's own limit is 10 s). */
const START_MS = 15000;
/** ICE may come back by itself from `disconnected`; after this long it is treated as lost. */
const DISCONNECTED_MS = 5000;
/** Pauses before the next attempt after a loss; the last one repeats. */
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
/** Pause before asking again for a broadcast that is not live. */
const NOT_LIVE_RETRY_MS = 3000;
/** How long an attempt waits for the server's ICE configuration before it does without. */
const ICE_CONFIG_MS = 1000;

/** Nothing to play yet: a play waits for its broadcast to begin. */
const NOT_LIVE = new Set(["no_stream_exist", "stream_not_exist_or_not_streaming"]);
/** Refusals that a new attempt right after a loss may meet while the server still holds the old one. */
const STILL_HELD = new Set(["streamIdInUse", "already_publishing", "already_playing"]);
/** Refusals for what the server is short of at the moment: they pass by themselves. */
const SHORT = new Set(["highResourceUsage", "data_store_not_available", "not_initialized_yet", "viewerLimitReached"]);

/**
 * One publish or one play.
 *
 * Events: `state` (read `state`, `reason`), `media` (read `streams`), `measure` (`detail` holds
 * `targetBitrate`, `videoBitrate`, `audioBitrate` in bit/s as the server measures them).
 *
 * `state` is one of
 * - `connecting`: the socket is being opened
 * - `negotiating`: the server was asked
 * - `live`: media flows
 * - `waiting`: the broadcast is not live; asked again every few seconds
 * - `reconnecting`: the connection was lost, or the server is short of something; tried again after a pause
 * - `ended`: stopped here, or finished by the server
 * - `failed`: refused; `reason` is the protocol's definition
 */
export class Session extends EventTarget {
  /**
   * @param {object} wish
   * @param {string} wish.url WebSocket address of the application
   * @param {"publish"|"play"} wish.role
   * @param {string} wish.id stream id
   * @param {MediaStream} [wish.media] what to publish
   * @param {string} [wish.codec] video codec to prefer, as in "video/VP9"; empty for the browser's choice
   * @param {number} [wish.videoBitsPerSecond] cap of the published video
   * @param {string} [wish.token]
   * @param {string} [wish.subscriberId] with wish.subscriberCode, its time-based code, to play
   * @param {string} [wish.subscriberCode]
   */
  constructor(wish) {
    super();
    this.wish = wish;
    this.state = "connecting";
    /** Why the session is in this state: a protocol definition, or one of ours, or "". */
    this.reason = "";
    /** Received media, by track label (for a plain broadcast its stream id). @type {Map<string, MediaStream>} */
    this.streams = new Map();
    this.attempt = null;
    this.losses = 0;
    this.timer = 0;
  }

  get id() { return this.wish.id; }
  get role() { return this.wish.role; }
  /** The RTCPeerConnection in use, or null. */
  get connection() { return this.attempt?.pc ?? null; }
  get over() { return this.state === "ended" || this.state === "failed"; }

  start() {
    clearTimeout(this.timer);
    this.attempt?.close();
    this.streams = new Map();
    this.attempt = new Attempt(this);
    return this;
  }

  /** Ends the session for good and tells the server. */
  stop() {
    this.finish("ended", "");
  }

  /** @private */
  become(state, reason = "") {
    if (this.state === state && this.reason === reason) return;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event("state"));
  }

  /** @private */
  finish(state, reason) {
    if (this.over) return;
    clearTimeout(this.timer);
    this.attempt?.close();
    this.attempt = null;
    this.become(state, reason);
  }

  /** @private The attempt is live. */
  succeeded() {
    this.losses = 0;
    this.become("live");
  }

  /** @private The attempt is over, the wish is not. */
  lost(reason) {
    const pause = RETRY_MS[Math.min(this.losses, RETRY_MS.length - 1)];
    this.losses += 1;
    this.retry("reconnecting", reason, pause * (0.75 + Math.random() / 2));
  }

  /** @private */
  refused(definition) {
    const afterLoss = this.losses > 0;
    const soonAfterLoss = afterLoss && this.losses <= RETRY_MS.length;
    // Who begins to publish is there to be told; a frame with a player, or what was live, is alone.
    const passes = SHORT.has(definition) && (this.role === "play" || afterLoss);
    if (this.role === "play" && NOT_LIVE.has(definition)) {
      this.retry("waiting", definition, NOT_LIVE_RETRY_MS);
    } else if (passes || (soonAfterLoss && STILL_HELD.has(definition))) {
      this.lost(definition);
    } else {
      this.finish("failed", definition);
    }
  }

  /** @private */
  retry(state, reason, pause) {
    this.attempt?.close();
    this.attempt = null;
    this.become(state, reason);
    this.timer = setTimeout(() => this.start(), pause);
  }
}

/** One socket, one peer connection. Reports to its session only while it is the session's attempt. */
class Attempt {
  constructor(session) {
    this.session = session;
    this.pc = null;
    this.iceServers = [];
    this.asked = false;
    /** Remote candidates that came before the description they belong to. */
    this.early = [];
    /** mid -> track id, of the latest offer. */
    this.idMapping = {};
    /** Signalling steps run one after another, in the order of the messages. */
    this.queue = Promise.resolve();
    this.timers = [];
    this.heardAt = performance.now();

    this.socket = new WebSocket(session.wish.url);
    this.socket.onopen = () => this.opened();
    this.socket.onmessage = (event) => this.heard(event.data);
    this.socket.onclose = () => this.fail("socket_closed");
    this.after(START_MS, () => session.state !== "live" && this.fail("no_answer"));
  }

  get current() { return this.session.attempt === this; }

  after(ms, action) {
    this.timers.push(setTimeout(() => this.current && action(), ms));
  }

  every(ms, action) {
    this.timers.push(setInterval(() => this.current && action(), ms));
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ streamId: this.session.id, ...message }));
    }
  }

  opened() {
    this.every(PING_MS, () => {
      if (performance.now() - this.heardAt > SILENCE_MS) return this.fail("socket_silent");
      this.send({ command: "ping" });
    });
    this.send({ command: "getIceServerConfig" });
    this.after(ICE_CONFIG_MS, () => this.ask());
  }

  /** Sends the publish or play command, once. */
  ask() {
    if (this.asked) return;
    this.asked = true;
    const { role, media, token = "", subscriberId, subscriberCode } = this.session.wish;
    if (role === "publish") {
      const has = (kind) => media.getTracks().some((track) => track.kind === kind);
      this.send({ command: "publish", token, video: has("video"), audio: has("audio") });
    } else {
      this.send({ command: "play", token, subscriberId, subscriberCode, trackList: [] });
    }
    if (this.session.state === "connecting") this.session.become("negotiating");
  }

  heard(text) {
    if (!this.current) return;
    this.heardAt = performance.now();
    const message = JSON.parse(text);
    if (message.streamId && message.streamId !== this.session.id) return;
    switch (message.command) {
      case "iceServerConfig":
        this.iceServers = relays(message);
        return this.ask();
      case "start":
        return this.step(() => this.offer());
      case "takeConfiguration":
        return this.step(() => this.describe(message));
      case "takeCandidate":
        return this.step(() => this.candidate(message));
      case "notification":
        return this.notified(message);
      case "error":
        return this.session.refused(message.definition);
    }
  }

  notified(message) {
    const { session } = this;
    switch (message.definition) {
      case "publish_started":
      case "play_started":
      case "session_restored":
        return session.succeeded();
      case "publish_finished":
      case "play_finished":
        return session.finish("ended", message.definition);
      case "server_will_stop":
        return this.fail("server_will_stop");
      case "bitrateMeasurement":
        return session.dispatchEvent(new CustomEvent("measure", { detail: message }));
    }
  }

  /** Queues one signalling step. One that throws ends the session: the next attempt would meet the same. */
  step(action) {
    this.queue = this.queue.then(() => this.current && action()).catch((error) => {
      if (!this.current) return;
      console.warn("signalling step failed", error);
      this.session.finish("failed", "bad_description");
    });
  }

  connect() {
    this.pc = new RTCPeerConnection({ iceServers: this.iceServers });
    this.pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      this.send({
        command: "takeCandidate",
        label: candidate.sdpMLineIndex,
        id: candidate.sdpMid,
        candidate: candidate.candidate,
      });
    };
    this.pc.onconnectionstatechange = () => {
      const state = this.pc?.connectionState;
      if (state === "failed") this.fail("ice_failed");
      if (state === "disconnected") {
        this.after(DISCONNECTED_MS, () => {
          if (this.pc?.connectionState === "disconnected") this.fail("ice_failed");
        });
      }
    };
    return this.pc;
  }

  /** Publisher: the server said `start`. */
  async offer() {
    const { media, codec, videoBitsPerSecond } = this.session.wish;
    const pc = this.connect();
    for (const track of media.getTracks()) {
      const video = track.kind === "video";
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [media],
        ...(video && videoBitsPerSecond ? { sendEncodings: [{ maxBitrate: videoBitsPerSecond }] } : {}),
      });
      if (video && codec) prefer(transceiver, codec);
    }
    await pc.setLocalDescription();
    this.sendDescription(pc.localDescription);
  }

  /** The server's answer (publish) or offer (play, also later ones). */
  async describe({ type, sdp, idMapping }) {
    if (type !== "offer") {
      if (this.pc?.signalingState !== "have-local-offer") return;
      await this.pc.setRemoteDescription({ type: "answer", sdp });
    } else {
      this.idMapping = idMapping ?? {};
      const pc = this.pc ?? this.connect();
      await pc.setRemoteDescription({ type: "offer", sdp });
      const answer = await pc.createAnswer();
      // Browsers decode Opus to mono unless their own description asks for stereo.
      answer.sdp = answer.sdp.replaceAll("useinbandfec=1", "useinbandfec=1;stereo=1");
      await pc.setLocalDescription(answer);
      this.sendDescription(pc.localDescription);
      this.regroup();
    }
    for (const candidate of this.early.splice(0)) await this.addCandidate(candidate);
  }

  sendDescription({ type, sdp }) {
    this.send({ command: "takeConfiguration", type, sdp });
  }

  async candidate(message) {
    if (this.pc?.remoteDescription) await this.addCandidate(message);
    else this.early.push(message);
  }

  async addCandidate({ candidate, id, label }) {
    try {
      await this.pc.addIceCandidate({ candidate, sdpMid: id, sdpMLineIndex: label });
    } catch (error) {
      // One address that this browser cannot use must not disturb the others.
      console.info("candidate not used:", candidate, String(error));
    }
  }

  /** Groups the tracks that are received by their label: a room play carries several broadcasts. */
  regroup() {
    const { streams } = this.session;
    const wanted = new Map();
    for (const { mid, currentDirection, receiver } of this.pc.getTransceivers()) {
      if (currentDirection !== "recvonly" && currentDirection !== "sendrecv") continue;
      const label = (this.idMapping[mid] ?? "").slice(TRACK_PREFIX_LENGTH) || this.session.id;
      wanted.set(label, [...(wanted.get(label) ?? []), receiver.track]);
    }
    for (const label of [...streams.keys()]) if (!wanted.has(label)) streams.delete(label);
    for (const [label, tracks] of wanted) {
      if (!streams.has(label)) streams.set(label, new MediaStream());
      const stream = streams.get(label);
      for (const track of stream.getTracks()) if (!tracks.includes(track)) stream.removeTrack(track);
      for (const track of tracks) stream.addTrack(track);
    }
    this.session.dispatchEvent(new Event("media"));
  }

  fail(reason) {
    if (this.current) this.session.lost(reason);
  }

  close() {
    this.timers.forEach(clearTimeout);
    this.pc?.close();
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (this.asked) this.send({ command: "stop" });
    socket.close();
  }
}

/** Track ids are `ARDAMSv` or `ARDAMSa` and the label. */
const TRACK_PREFIX_LENGTH = 7;

/**
 * The relay of the server's ICE configuration, if it has one.
 *
 * The server is the one to be reached and learns this side's address from the connectivity checks,
 * so a STUN server could tell nothing that is of use here, and a third party need not be told.
 */
function relays({ stunServerUri = "", turnServerUsername, turnServerCredential }) {
  if (!/^turns?:/.test(stunServerUri)) return [];
  return [{ urls: stunServerUri, username: turnServerUsername ?? "", credential: turnServerCredential ?? "" }];
}

/** Puts one codec first and leaves the others behind it, so that a server without it can still answer. */
function prefer(transceiver, mimeType) {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const wanted = codecs.filter((codec) => codec.mimeType.toLowerCase() === mimeType.toLowerCase());
  if (wanted.length === 0 || !transceiver.setCodecPreferences) return;
  transceiver.setCodecPreferences([...wanted, ...codecs.filter((codec) => !wanted.includes(codec))]);
}
