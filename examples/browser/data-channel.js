// Text between a publisher and its players. With ?play it is a player, else the publisher.

import { connect, id, say } from "./common.js";

const plays = new URLSearchParams(location.search).has("play");
const preview = document.getElementById("preview");

function note(who, text) {
  const item = document.createElement("li");
  item.textContent = `${who}: ${text}`;
  document.getElementById("messages").append(item);
}

const wish = plays
  ? { remoteVideoElement: preview, isPlayMode: true }
  : { localVideoElement: preview, mediaConstraints: { video: true, audio: true } };

const adaptor = connect(wish, (info, object) => {
  if (info === "initialized") {
    if (plays) adaptor.play(id);
    else adaptor.publish(id);
  }
  if (info === "data_channel_opened") say("open");
  // The server's own messages are JSON objects with an eventType.
  if (info === "data_received" && !object.data.includes("eventType")) note("they", object.data);
});

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("message");
  adaptor.sendData(id, field.value);
  note("I", field.value);
  field.value = "";
});
