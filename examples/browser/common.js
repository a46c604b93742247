// What the pages share: where the server is, and a line of text that says how things are.

import { WebRTCAdaptor } from "../node_modules/@antmedia/webrtc_adaptor/dist/es/index.js";

const query = new URLSearchParams(location.search);

/** The broadcast or room. */
export const id = query.get("id") ?? "example";

/** Shows one line, and keeps it for scripts that look at the page. */
export function say(text) {
  document.getElementById("state").textContent = text;
  document.body.dataset.state = text;
}

/** An adaptor that tells `told(info, object)` everything and shows errors. */
export function connect(wish, told) {
  return new WebRTCAdaptor({
    websocketURL: query.get("server") ?? "ws://localhost:5080/LiveApp/websocket",
    ...wish,
    callback: told,
    callbackError: (error, message) => say(`error: ${error} ${message ?? ""}`.trim()),
  });
}
