// Plays a broadcast. The adaptor comes back by itself when the network or the server was away.

import { connect, id, say } from "./common.js";

const adaptor = connect({
  remoteVideoElement: document.getElementById("picture"),
  isPlayMode: true,
}, (info) => {
  if (info === "initialized") adaptor.play(id);
  if (info === "play_started") say(`playing ${id}`);
  if (info === "play_finished") say("over");
});
