// A participant of a room, built on the SDK as conference pages are. The tests drive it through
// `window.kit`.

import { WebRTCAdaptor } from "/sdk/index.js";

/** Callbacks of the adaptor in order: `{ name, detail }`, or `{ error }`. */
const events = [];
/** Participant -> `{ element, tracks }`: what a page would show. */
const tiles = new Map();
let adaptor = null;
/** The legacy flow: `{ room, own, playing, timer, leaving }`. */
let legacy = null;

/** Small pictures: every participant encodes one and decodes all others. */
function open({ url }) {
  adaptor = new WebRTCAdaptor({
    websocketURL: url,
    mediaConstraints: { video: { width: 320, height: 180, frameRate: 10 }, audio: true },
    callback: (name, detail) => {
      events.push({ name, detail: describe(detail) });
      if (name === "newTrackAvailable") add(detail);
      if (legacy) goOn(name, detail);
    },
    callbackError: (error) => events.push({ error }),
  });
  kit.adaptor = adaptor;
}

function describe(value) {
  try {
    return JSON.parse(JSON.stringify(value ?? null));
  } catch {
    return String(value);
  }
}

function add({ track, stream, trackId }) {
  const participant = trackId.substring("ARDAMSx".length);
  if (!tiles.has(participant)) {
    const element = document.createElement("video");
    Object.assign(element, { autoplay: true, muted: true, playsInline: true });
    document.getElementById("tiles").append(element);
    tiles.set(participant, { element, tracks: new Set() });
  }
  const tile = tiles.get(participant);
  tile.tracks.add(track.id);
  tile.element.srcObject = stream;
  stream.onremovetrack = ({ track }) => {
    events.push({ name: "removetrack", detail: track.id });
    tile.tracks.delete(track.id);
    if (tile.tracks.size === 0) remove(participant);
  };
}

function remove(participant) {
  tiles.get(participant)?.element.remove();
  tiles.delete(participant);
}

/** Enters by `joinRoom` and then plays each participant by itself. */
function joinLegacy(room, own) {
  legacy = { room, own, playing: new Set(), timer: null, leaving: false };
  adaptor.joinRoom(room, own, "legacy");
}

function leaveLegacy() {
  clearInterval(legacy.timer);
  legacy.leaving = true;
  adaptor.leaveFromRoom(legacy.room);
}

function goOn(name, detail) {
  switch (name) {
    case "joinedTheRoom":
      legacy.own = detail.streamId;
      adaptor.publish(legacy.own, "");
      synchronise(detail.streams);
      legacy.timer = setInterval(() => adaptor.getRoomInfo(legacy.room, legacy.own), 1000);
      break;
    case "roomInformation":
      synchronise(detail.streams);
      break;
    case "leavedFromRoom":
      // Also the answer to a `stop` of the SDK's own, before it publishes again.
      if (!legacy.leaving) break;
      for (const participant of [...tiles.keys()]) remove(participant);
      legacy = null;
      break;
  }
}

function synchronise(streams) {
  for (const stream of streams) {
    if (legacy.playing.has(stream)) continue;
    legacy.playing.add(stream);
    adaptor.play(stream, "", legacy.room);
  }
  for (const gone of [...legacy.playing].filter((each) => !streams.includes(each))) {
    legacy.playing.delete(gone);
    adaptor.stop(gone);
    adaptor.closePeerConnection(gone);
    remove(gone);
  }
}

/** Participants shown and how far their media have come: id -> `{ frames, packets }`. */
async function figures() {
  const found = {};
  for (const connection of Object.values(adaptor.remotePeerConnection)) {
    if (connection.connectionState === "closed") continue;
    for (const entry of (await connection.getStats()).values()) {
      if (entry.type !== "inbound-rtp") continue;
      const participant = entry.trackIdentifier.substring("ARDAMSx".length);
      if (!tiles.get(participant)?.tracks.has(entry.trackIdentifier)) continue;
      const figure = (found[participant] ??= { frames: 0, packets: 0 });
      if (entry.kind === "video") figure.frames += entry.framesDecoded;
      else figure.packets += entry.packetsReceived;
    }
  }
  return found;
}

const kit = { events, open, figures, joinLegacy, leaveLegacy, shown: () => [...tiles.keys()].sort(), adaptor };
window.kit = kit;
