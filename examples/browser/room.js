// A conference: publishes into a room and plays everybody else in it.

import { connect, id as room, say } from "./common.js";

const me = `${room}-${Math.random().toString(36).slice(2, 8)}`;
const others = document.getElementById("others");
/** A video element for each participant, by the stream that its tracks come in. */
const shown = new Map();

function show({ track, stream, trackId }) {
  // Tracks of one participant have names that end alike: ARDAMSv<id> and ARDAMSa<id>.
  const who = trackId.replace(/^ARDAMS[avx]/, "");
  if (!shown.has(who)) {
    const video = document.createElement("video");
    video.autoplay = true;
    video.playsInline = true;
    video.width = 240;
    video.dataset.who = who;
    video.srcObject = new MediaStream();
    others.append(video);
    shown.set(who, video);
  }
  shown.get(who).srcObject.addTrack(track);
  stream.onremovetrack = () => {
    shown.get(who)?.remove();
    shown.delete(who);
  };
}

const adaptor = connect({
  localVideoElement: document.getElementById("preview"),
  mediaConstraints: { video: true, audio: true },
}, (info, object) => {
  if (info === "initialized") {
    adaptor.publish(me, null, null, null, me, room);
    adaptor.play(room, null, room);
  }
  if (info === "publish_started") say(`in ${room} as ${me}`);
  if (info === "newTrackAvailable") show(object);
});
