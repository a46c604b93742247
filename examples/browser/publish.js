// Publishes camera and microphone.

import { connect, id, say } from "./common.js";

const adaptor = connect({
  localVideoElement: document.getElementById("preview"),
  mediaConstraints: { video: true, audio: true },
}, (info) => {
  if (info === "initialized") adaptor.publish(id);
  if (info === "publish_started") say(`publishing ${id}`);
  if (info === "publish_finished") say("over");
});
