// One broadcast and nothing else, for frames in other pages: `play.html?id=ID`, as Ant Media's page
// of that name. Also `name` for `id`, `token`, `subscriberId`, `subscriberCode`, `mute` and `autoplay`
// (both true); what else stands behind the question mark is of players for files and is ignored.

import { Session } from "./client.js";
import { inWords } from "./errors.js";

/** Pause before asking for a broadcast again that has ended. */
const AGAIN_MS = 1000;

const query = new URLSearchParams(location.search);
const text = (name) => query.get(name) ?? "";
const isOn = (name) => query.get(name) !== "false";
const video = document.getElementById("video");
const notice = document.getElementById("notice");

const url = new URL("websocket", location.href.replace(/^http/, "ws"));
url.search = url.hash = "";
const wish = {
  url: url.href,
  role: "play",
  id: text("id") || text("name"),
  token: text("token"),
  subscriberId: text("subscriberId"),
  subscriberCode: text("subscriberCode"),
};

function play() {
  const session = new Session(wish);
  session.addEventListener("media", () => show(session));
  session.addEventListener("state", () => {
    notice.textContent = session.state === "live" ? "" : inWords(session.reason);
    document.documentElement.dataset.state = session.state;
    // Whoever published may come back.
    if (session.state === "ended") setTimeout(play, AGAIN_MS);
  });
  session.start();
}

/** One picture, and everybody's sound: a main track may have its sound on another broadcast. */
function show(session) {
  const tracks = [...session.streams.values()].flatMap((stream) => stream.getTracks());
  const picture = tracks.find(({ kind }) => kind === "video");
  const sound = tracks.filter(({ kind }) => kind === "audio");
  const wanted = picture ? [picture, ...sound] : sound;
  const shown = video.srcObject?.getTracks() ?? [];
  if (shown.length === wanted.length && wanted.every((track) => shown.includes(track))) return;
  video.srcObject = new MediaStream(wanted);
  if (isOn("autoplay")) begin();
}

function begin() {
  video.play().catch(() => {
    // Browsers let nobody make noise unasked; without it they do not mind.
    video.muted = true;
    video.play().catch(() => {});
  });
}

video.muted = isOn("mute");
if (wish.id) play();
else notice.textContent = inWords("noStreamNameSpecified");
