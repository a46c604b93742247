// A page built on the SDK as its users build theirs. The tests drive it through `window.kit`.

import { WebRTCAdaptor } from "/sdk/index.js";

/** Callbacks of the adaptor in order: `{ at, name }`, or `{ at, error, message }`. */
const events = [];
let adaptor = null;

/** Makes the next publishers prefer one video codec, before the SDK sees the connection. */
function preferCodec(mimeType) {
  const addTrack = RTCPeerConnection.prototype.addTrack;
  RTCPeerConnection.prototype.addTrack = function (track, ...streams) {
    const sender = addTrack.call(this, track, ...streams);
    if (track.kind === "video") {
      const { codecs } = RTCRtpSender.getCapabilities("video");
      const wanted = codecs.filter((codec) => codec.mimeType === mimeType);
      if (wanted.length === 0) throw new Error(`this browser has no ${mimeType}`);
      const transceiver = this.getTransceivers().find((each) => each.sender === sender);
      transceiver.setCodecPreferences([...wanted, ...codecs.filter((codec) => !wanted.includes(codec))]);
    }
    return sender;
  };
}

/** Makes the next publishers send their video in these encodings, before the SDK sees the connection. */
function sendEncodings(encodings) {
  const addTrack = RTCPeerConnection.prototype.addTrack;
  RTCPeerConnection.prototype.addTrack = function (track, ...streams) {
    if (track.kind !== "video") return addTrack.call(this, track, ...streams);
    const transceiver = this.addTransceiver(track, { direction: "sendonly", streams, sendEncodings: encodings });
    return transceiver.sender;
  };
}

/** Gives the next publishers a picture of changing noise, which fills whatever bitrate it is given. */
function showNoise({ width, height, frameRate }) {
  const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wish) => {
    const stream = await getUserMedia({ ...wish, video: false });
    if (wish.video) stream.addTrack(noise(width, height, frameRate));
    return stream;
  };
}

/**
 * Frames made by hand: drawing them on a canvas costs a machine without a graphics card more than encoding. Fine
 * grain in the middle of the picture is another one in each frame: an encoder spends what it is given on it, and
 * what is too much for it, or for a smaller picture, it leaves out without leaving out frames.
 */
function noise(width, height, frameRate) {
  const track = new MediaStreamTrackGenerator({ kind: "video" });
  const writer = track.writable.getWriter();
  const pixels = new Uint8Array(width * height * 3 / 2).fill(128);
  const grain = Uint8Array.from({ length: 1 << 16 }, () => 128 + (Math.random() - 0.5) * GRAIN);
  const [left, top, right, bottom] = [width / 4, height / 4, width * 3 / 4, height * 3 / 4];
  const began = performance.now();
  let busy = false;
  setInterval(async () => {
    if (busy) return;
    busy = true;
    for (let y = top; y < bottom; y++) {
      const from = Math.floor(Math.random() * (grain.length - width));
      pixels.set(grain.subarray(from, from + right - left), y * width + left);
    }
    const timestamp = Math.round((performance.now() - began) * 1000);
    const frame = new VideoFrame(pixels, { format: "I420", codedWidth: width, codedHeight: height, timestamp });
    await writer.write(frame).catch(() => {});
    busy = false;
  }, 1000 / frameRate);
  return track;
}

/** How far the lightest and the darkest grain are apart, of 255. */
const GRAIN = 60;

/** Pauses between the pictures shown in the page's video element, in milliseconds, since it was asked last. */
let gaps = [];

function watchGaps() {
  const element = document.getElementById("remote");
  let last = null;
  const shown = (at) => {
    if (last !== null) gaps.push(at - last);
    last = at;
    element.requestVideoFrameCallback(shown);
  };
  element.requestVideoFrameCallback(shown);
}

function takeGaps() {
  const taken = gaps;
  gaps = [];
  return taken;
}

/**
 * Creates the adaptor; it opens its socket by itself.
 *
 * `role` is "publish", "play" or "call"; `element` lets the SDK feed the page's video element, otherwise
 * the page feeds it from `newTrackAvailable`; `noise` puts a picture that is hard to encode in the
 * place of the camera's.
 */
function open({ url, role, element = true, video = true, audio = true, dataOnly = false, codec = null,
  encodings = null, size = { width: 640, height: 360 }, noise = false }) {
  if (encodings) sendEncodings(encodings);
  if (codec) preferCodec(codec);
  if (noise) showNoise(size);
  const picture = video && size;
  adaptor = new WebRTCAdaptor({
    websocketURL: url,
    isPlayMode: role === "play",
    onlyDataChannel: dataOnly,
    mediaConstraints: { video: picture, audio },
    ...(role !== "publish" && element ? { remoteVideoId: "remote" } : {}),
    callback: (name, detail) => {
      events.push({ at: performance.now(), name, ...summary(name, detail) });
      if (name === "newTrackAvailable") show(detail.track);
      if (name === "data_received" && typeof detail.data !== "string") void keep(detail.data);
    },
    callbackError: (error, message) => {
      events.push({ at: performance.now(), error, message: describe(message) });
    },
  });
  kit.adaptor = adaptor;
}

/** Length and sum of each file received over a data channel. */
const files = [];

async function keep(data) {
  const bytes = new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
  const sum = bytes.reduce((sum, byte) => (sum * 33 + byte) % 0x7fffffff, 7);
  files.push({ len: bytes.length, sum });
}

function summary(name, detail) {
  switch (name) {
    case "newTrackAvailable":
      return {
        trackId: detail.trackId, realId: detail.track.id, kind: detail.track.kind,
        stream: detail.stream?.id, streamId: detail.streamId,
      };
    case "ice_connection_state_changed":
      return { state: detail.state, streamId: detail.streamId };
    default:
      return { detail: describe(detail) };
  }
}

/** What of `value` survives on the way to the test. */
function describe(value) {
  try {
    return JSON.parse(JSON.stringify(value ?? null));
  } catch {
    return String(value);
  }
}

function show(track) {
  const element = document.getElementById("remote");
  element.srcObject ??= new MediaStream();
  element.srcObject.addTrack(track);
}

/** What the video element holds and how far it has come. */
function picture() {
  const element = document.getElementById("remote");
  return {
    tracks: element.srcObject?.getTracks().map(({ kind, id, readyState }) => ({ kind, id, readyState })) ?? [],
    width: element.videoWidth,
    height: element.videoHeight,
    time: element.currentTime,
    paused: element.paused,
  };
}

/** The figures of one peer connection that tests ask about. */
async function stats(streamId) {
  const connection = adaptor.remotePeerConnection[streamId];
  if (!connection) return null;
  const report = [...(await connection.getStats()).values()];
  const byId = new Map(report.map((entry) => [entry.id, entry]));
  const figures = { iceState: connection.iceConnectionState, received: {}, sent: {}, outbound: [], pair: null };
  for (const entry of report) {
    const codec = byId.get(entry.codecId)?.mimeType ?? null;
    if (entry.type === "inbound-rtp") figures.received[entry.kind] = { ...describe(entry), codec };
    if (entry.type === "outbound-rtp") {
      figures.sent[entry.kind] = { ...describe(entry), codec };
      figures.outbound.push({ ...describe(entry), codec });
    }
  }
  const transport = report.find((entry) => entry.type === "transport" && entry.selectedCandidatePairId);
  const pair = byId.get(transport?.selectedCandidatePairId)
    ?? report.find((entry) => entry.type === "candidate-pair" && entry.selected);
  if (pair) {
    const end = ({ address, port, candidateType, protocol } = {}) => ({ address, port, candidateType, protocol });
    figures.pair = { local: end(byId.get(pair.localCandidateId)), remote: end(byId.get(pair.remoteCandidateId)) };
  }
  return figures;
}

const kit = { events, files, open, picture, stats, watchGaps, takeGaps, adaptor };
window.kit = kit;
