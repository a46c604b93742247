// The playground page: forms, live list, one card per publish or play.
//
// `#play=ID` plays at once. `#publish=pattern&id=ID` (also camera, screen; `codec=VP9`,
// `height=360`) publishes at once. Several of a kind may stand in one address, as in
// `#publish=pattern&id=a&play=a`.

import { Session } from "./client.js";
import { inWords } from "./errors.js";
import { Meter, sparkline } from "./meter.js";
import { openSource, sourceProblem } from "./sources.js";

const LIST_EVERY_MS = 3000;
/** Broadcasts in the list of live ones: as many as the server tells at once. */
const LISTED = 50;
const SAMPLE_EVERY_MS = 1000;
/** Cap of the published video in bit/s, by picture height. */
const CAPS = { 360: 1_000_000, 720: 2_500_000, 1080: 5_000_000 };

const STATE_WORDS = {
  connecting: "Connecting",
  negotiating: "Negotiating",
  live: "Live",
  waiting: "Waiting",
  reconnecting: "Reconnecting",
  ended: "Ended",
  failed: "Failed",
};

const byId = (id) => document.getElementById(id);
const appName = location.pathname.split("/").filter(Boolean)[0] ?? "";
const socketUrl = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/${appName}/websocket`;
const cards = new Set();

// ---- one card ---------------------------------------------------------------------------------

class Card {
  constructor(session, preview) {
    this.session = session;
    this.preview = preview;
    this.meter = new Meter();
    this.element = byId("card-template").content.firstElementChild.cloneNode(true);
    this.element.dataset.role = session.role;
    this.element.dataset.id = session.id;
    this.find("h3").textContent = session.id;
    this.find("h3").title = session.id;
    this.find(".role").textContent = session.role === "publish" ? "Publishing" : "Watching";
    this.element.setAttribute("aria-label", `${this.find(".role").textContent} ${session.id}`);

    session.addEventListener("state", () => this.showState());
    session.addEventListener("media", () => this.showMedia());
    this.showState();
    this.showMedia();
    this.timer = setInterval(() => this.sample(), SAMPLE_EVERY_MS);
    byId("cards").prepend(this.element);
    this.element.scrollIntoView({ block: "nearest" });
    cards.add(this);
  }

  find(selector) { return this.element.querySelector(selector); }

  get streams() {
    return this.preview ? new Map([[this.session.id, this.preview.stream]]) : this.session.streams;
  }

  showState() {
    const { state, reason, over, role } = this.session;
    this.element.dataset.state = state;
    this.element.dataset.reason = reason;
    setText(this.find(".state"), STATE_WORDS[state]);
    const words = this.find(".reason");
    words.hidden = !reason;
    setText(words, reasonText(state, reason));
    if (over) {
      this.preview?.close();
      if (role === "play") this.find(".stage").replaceChildren(blank(STATE_WORDS[state]));
      clearInterval(this.timer);
    }
    this.showActions();
  }

  showActions() {
    const { over, role, id, wish } = this.session;
    const actions = [];
    if (over) {
      if (role === "play") actions.push(button("Play again", () => (this.remove(), play(id, wish.token))));
      actions.push(button("Remove", () => this.remove()));
    } else {
      actions.push(button("Stop", () => this.session.stop()));
      const switchable = this.preview?.stream.getAudioTracks()[0];
      if (switchable) actions.push(toggle("Mute", "Unmute", !switchable.enabled, (off) => { switchable.enabled = !off; }));
      if (role === "publish") actions.push(button("Copy link to watch", (event) => copyLink(event.currentTarget, id)));
      if (role === "play") {
        actions.push(toggle("Mute", "Unmute", this.videos.some((video) => video.muted), (off) => {
          this.muted = off;
          for (const video of this.videos) video.muted = off;
        }));
        actions.push(button("Full screen", () => this.find(".stage").requestFullscreen?.()));
      }
    }
    this.find(".actions").replaceChildren(...actions);
  }

  get videos() { return [...this.element.querySelectorAll("video")]; }

  /** One tile per label; tiles that stay keep their element, so that playing does not stutter. */
  showMedia() {
    const stage = this.find(".stage");
    const { streams } = this;
    for (const tile of stage.querySelectorAll(".tile")) {
      if (streams.get(tile.dataset.label) !== tile.stream) tile.remove();
    }
    stage.querySelector(".blank")?.remove();
    if (streams.size === 0) stage.append(blank("No picture yet"));
    for (const [label, stream] of streams) {
      let tile = [...stage.querySelectorAll(".tile")].find((each) => each.dataset.label === label);
      tile ??= stage.appendChild(this.newTile(label, stream));
      const audioOnly = stream.getVideoTracks().length === 0;
      const caption = audioOnly ? "Audio only" : streams.size > 1 ? label : "";
      setText(tile.querySelector(".caption"), caption);
    }
    this.showActions();
  }

  newTile(label, stream) {
    const tile = document.createElement("div");
    tile.className = "tile";
    tile.dataset.label = label;
    tile.stream = stream;
    const video = document.createElement("video");
    video.playsInline = true;
    video.autoplay = true;
    video.muted = Boolean(this.preview) || Boolean(this.muted);
    video.setAttribute("aria-label", `Picture of ${label}`);
    video.srcObject = stream;
    const caption = document.createElement("span");
    caption.className = "caption";
    tile.append(video, caption);
    video.play().catch((error) => {
      // Sound needs a click on the page first: begin without it.
      if (error.name !== "NotAllowedError") return;
      video.muted = true;
      video.play().catch(() => {});
      this.showActions();
    });
    return tile;
  }

  async sample() {
    const connection = this.session.connection;
    if (!connection || this.session.over) return;
    const figures = await this.meter.sample(connection);
    const show = (name, text) => setText(this.find(`[data-figure="${name}"]`), text);
    show("bitrate", figures.bitrate === null ? "–" : bits(figures.bitrate));
    show("resolution", figures.width ? `${figures.width}×${figures.height}` : "–");
    show("fps", figures.fps === null ? "–" : `${Math.round(figures.fps)} /s`);
    show("loss", figures.loss === null ? "–" : `${(figures.loss * 100).toFixed(1)} %`);
    show("rtt", figures.rtt === null ? "–" : `${figures.rtt < 10 ? figures.rtt.toFixed(1) : Math.round(figures.rtt)} ms`);
    show("codec", figures.codec || "–");
    this.element.dataset.frames = figures.frames;
    const { line, area } = sparkline(this.meter.history, 240, 36);
    this.find(".spark .line").setAttribute("d", line);
    this.find(".spark .area").setAttribute("d", area);
  }

  remove() {
    this.session.stop();
    clearInterval(this.timer);
    this.element.remove();
    cards.delete(this);
  }
}

function reasonText(state, reason) {
  const words = inWords(reason);
  if (state === "waiting") return `${words} Playing begins when somebody does.`;
  if (state === "reconnecting") return `${words} Trying again …`;
  return words;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function blank(text) {
  const element = document.createElement("p");
  element.className = "blank";
  element.textContent = text;
  return element;
}

function button(text, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", action);
  return element;
}

/** A button with two names; `change(on)` is called with its new position. */
function toggle(offText, onText, on, change) {
  const element = button(on ? onText : offText, () => {
    on = !on;
    element.textContent = on ? onText : offText;
    change(on);
  });
  return element;
}

async function copyLink(element, id) {
  const link = `${location.origin}${location.pathname}#play=${encodeURIComponent(id)}`;
  const before = element.textContent;
  try {
    await navigator.clipboard.writeText(link);
    element.textContent = "Copied";
  } catch {
    prompt("Link to watch:", link);
  }
  setTimeout(() => { element.textContent = before; }, 1500);
}

function bits(rate) {
  if (rate >= 1e6) return `${(rate / 1e6).toFixed(2)} Mbit/s`;
  return `${Math.round(rate / 1e3)} kbit/s`;
}

// ---- publish and play -------------------------------------------------------------------------

function running(role, id) {
  return [...cards].some(({ session }) => session.role === role && session.id === id && !session.over);
}

/** @returns {Promise<string>} "" or what went wrong, in words */
async function publish({ source, id, codec = "", height = 720, token = "" }) {
  const problem = idProblem(id) || (running("publish", id) ? inWords("already_publishing") : "");
  if (problem) return problem;
  let media;
  try {
    media = await openSource(source, { height, label: id });
  } catch (error) {
    return sourceProblem(error);
  }
  const session = new Session({
    url: socketUrl, role: "publish", id, media: media.stream, codec, videoBitsPerSecond: CAPS[height], token,
  });
  // Somebody may end a screen capture with the browser's own button.
  for (const track of media.stream.getVideoTracks()) track.addEventListener("ended", () => session.stop());
  new Card(session, media);
  session.start();
  return "";
}

/** @returns {string} "" or what went wrong, in words */
function play(id, token = "") {
  const problem = idProblem(id) || (running("play", id) ? inWords("already_playing") : "");
  if (problem) return problem;
  const session = new Session({ url: socketUrl, role: "play", id, token });
  new Card(session, null);
  session.start();
  return "";
}

function idProblem(id) {
  if (!id) return inWords("noStreamNameSpecified");
  return /^[A-Za-z0-9_.-]+$/.test(id) ? "" : inWords("invalidStreamName");
}

function showProblem(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

function randomId() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const draw = crypto.getRandomValues(new Uint8Array(6));
  return `leaf-${[...draw].map((byte) => letters[byte % letters.length]).join("")}`;
}

const publishForm = byId("publish-form");
const publishId = byId("publish-id");
let randomlyNamed = true;

function newRandomId() {
  publishId.value = randomId();
  randomlyNamed = true;
}

publishId.addEventListener("input", () => { randomlyNamed = false; });
byId("new-id").addEventListener("click", newRandomId);

publishForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new FormData(publishForm);
  const submit = publishForm.querySelector("[type=submit]");
  submit.disabled = true;
  const problem = await publish({
    source: fields.get("source"),
    id: fields.get("id").trim(),
    codec: fields.get("codec"),
    height: Number(fields.get("height")),
  });
  submit.disabled = false;
  showProblem(byId("publish-problem"), problem);
  if (!problem && randomlyNamed) newRandomId();
});

byId("play-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showProblem(byId("play-problem"), play(byId("play-id").value.trim()));
});

/** Takes codecs that this browser cannot send out of the list. */
function limitCodecs() {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
  if (!codecs) return;
  const known = new Set(codecs.map(({ mimeType }) => mimeType.toLowerCase()));
  for (const option of byId("codec").options) {
    if (option.value && !known.has(option.value.toLowerCase())) {
      option.disabled = true;
      option.textContent += " (not in this browser)";
    }
  }
}

// ---- live list --------------------------------------------------------------------------------

async function refreshLive() {
  if (document.hidden) return;
  const notice = byId("live-notice");
  try {
    const response = await fetch(`rest/v2/broadcasts/list/0/${LISTED}?live=true`, { headers: { accept: "application/json" } });
    if (!response.ok) return showLive(null, `The server does not list its broadcasts to this page (${response.status}). Enter a stream id above.`);
    const live = await response.json();
    showLive(live, live.length ? "" : "Nobody is publishing at the moment.");
  } catch {
    showLive(null, "The server does not answer at the moment.");
  }
  function showLive(live, text) {
    showProblem(notice, text);
    setText(byId("live-count"), live?.length ? `${live.length}${live.length < LISTED ? "" : " or more"}` : "");
    byId("live").hidden = !live?.length;
    showRows(live ?? []);
  }
}

/** Rows are kept by id, so that focus and pointer stay on the row they were on. */
function showRows(live) {
  const list = byId("live");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  for (const broadcast of live) {
    const row = rows.get(broadcast.streamId) ?? list.appendChild(newRow(broadcast.streamId));
    rows.delete(broadcast.streamId);
    setText(row.querySelector(".about"), about(broadcast));
  }
  for (const row of rows.values()) row.remove();
}

function newRow(id) {
  const row = document.createElement("li");
  row.dataset.id = id;
  const element = button("", () => showProblem(byId("play-problem"), play(id)));
  element.setAttribute("aria-label", `Play ${id}`);
  for (const [className, text] of [["dot", ""], ["id", id], ["about", ""]]) {
    const part = document.createElement("span");
    part.className = className;
    part.textContent = text;
    element.append(part);
  }
  row.append(element);
  return row;
}

function about({ name, streamId, width, height, bitrate, webRTCViewerCount: viewers }) {
  const parts = [];
  if (name && name !== streamId) parts.push(name);
  if (width > 0 && height > 0) parts.push(`${width}×${height}`);
  if (bitrate > 0) parts.push(bits(bitrate));
  if (viewers >= 0) parts.push(`${viewers} ${viewers === 1 ? "viewer" : "viewers"}`);
  return parts.join(" · ");
}

// ---- start ------------------------------------------------------------------------------------

async function followAddress() {
  const wishes = new URLSearchParams(location.hash.slice(1));
  const token = wishes.get("token") ?? "";
  for (const source of wishes.getAll("publish")) {
    const codec = wishes.get("codec");
    const problem = await publish({
      source,
      id: wishes.get("id") || randomId(),
      codec: codec ? `video/${codec}` : "",
      height: Number(wishes.get("height")) || 720,
      token,
    });
    showProblem(byId("publish-problem"), problem);
  }
  for (const id of wishes.getAll("play")) showProblem(byId("play-problem"), play(id, token));
}

byId("app-name").textContent = appName;
newRandomId();
limitCodecs();
refreshLive();
setInterval(refreshLive, LIST_EVERY_MS);
document.addEventListener("visibilitychange", refreshLive);
addEventListener("hashchange", followAddress);
addEventListener("pagehide", () => { for (const { session } of cards) session.stop(); });
followAddress();
