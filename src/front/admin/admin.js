// The admin page: asks REST every two seconds and shows what it says.

import { Refused, app, call, get, setJwt } from "./api.js";
import { Series, chart, spark } from "./chart.js";
import { showSettings } from "./settings.js";
import { showAccess } from "./access.js";

const PERIOD_MS = 2000;
const PLACES = 60;
/** Rows of a table; one more is asked for, which says that there is a next page. */
const PAGE = 49;

const $ = (id) => document.getElementById(id);
const sent = new Series(PLACES);
const bitrates = new Map();
const opened = new Set();
/** The latest counters of each peer: `{ at, bytes }`. */
const counted = new Map();
let lastServer;
/** The broadcast whose peers are shown; all of them without one. */
let onlyStream;

/** An element with a class and content; strings become text, never markup. */
export function make(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content.filter((each) => each !== undefined && each !== null));
  return made;
}

export function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { $("toast").hidden = true; }, 6000);
}

/** A button that runs `action`; with `sure` it asks for a second click. */
export function button(text, action, { sure = false } = {}) {
  const made = make("button", `small${sure ? " danger" : ""}`, text);
  made.type = "button";
  made.addEventListener("click", async () => {
    if (sure && !made.classList.contains("sure")) {
      made.classList.add("sure");
      made.textContent = `${text}: sure?`;
      setTimeout(() => {
        made.classList.remove("sure");
        made.textContent = text;
      }, 4000);
      return;
    }
    made.classList.remove("sure");
    made.textContent = text;
    made.disabled = true;
    try {
      await action();
      await refresh();
    } catch (error) {
      toast(error.message);
    }
    made.disabled = false;
  });
  return made;
}

export function bits(perSecond) {
  for (const [unit, size] of [["Gbit/s", 1e9], ["Mbit/s", 1e6], ["kbit/s", 1e3]]) {
    if (perSecond >= size) return `${(perSecond / size).toPrecision(3)} ${unit}`;
  }
  return `${Math.round(perSecond)} bit/s`;
}

const cell = (label, className, ...content) => {
  const made = make("div", className, ...content);
  made.dataset.label = label;
  return made;
};

const head = (...names) => make("div", "row head", ...names.map((name) => make("div", "", name)));

/** Which rows of a long table are shown, and the buttons that go on and back. */
class Pager {
  constructor(id) {
    this.offset = 0;
    this.element = $(id);
    this.previous = button("Previous", async () => { this.offset = Math.max(0, this.offset - PAGE); });
    this.next = button("Next", async () => { this.offset += PAGE; });
    this.element.append(this.previous, this.next);
  }

  /** The end of the path of a list: place and number. */
  get path() { return `${this.offset}/${PAGE + 1}`; }

  /** The rows to show of those that came. */
  take(rows) {
    this.previous.hidden = this.offset === 0;
    this.next.hidden = rows.length <= PAGE;
    this.element.hidden = this.previous.hidden && this.next.hidden;
    return rows.slice(0, PAGE);
  }

  /** Which rows these are, in words; of a table that fits, how many. */
  words(rows) {
    return this.element.hidden || !rows.length ? `${rows.length}` : `${this.offset + 1}–${this.offset + rows.length}`;
  }
}

const broadcastPages = new Pager("broadcasts-pager");
const peerPages = new Pager("peers-pager");

/** Does not redraw what somebody is about to confirm. */
const isBusy = (table) => Boolean(table.querySelector(".sure"));

function tile(name, value, state = "") {
  return make("dl", `tile ${state}`, make("dt", "", name), make("dd", "", value));
}

function showServer(server) {
  const at = performance.now();
  const bytes = server.workers.reduce((sum, worker) => sum + worker.bytesOut, 0);
  if (lastServer && at > lastServer.at) sent.push(Math.max(0, (bytes - lastServer.bytes) * 8000 / (at - lastServer.at)));
  lastServer = { at, bytes };
  const sum = (field) => server.apps.reduce((total, each) => total + each[field], 0);
  const stress = server.overloaded ? "bad" : server.stress > 0.8 ? "busy" : "";
  const state = server.draining ? "stopping" : server.overloaded ? "full" : "open";
  $("tiles").replaceChildren(
    tile("Viewers", sum("viewers")),
    tile("Broadcasts", sum("broadcasts")),
    tile("Sent", bits(sent.latest)),
    tile("Stress", `${Math.round(server.stress * 100)} %`, stress),
    tile("Newcomers", state, state === "open" ? "" : "bad"),
    tile("Database", server.storeUp ? "up" : "down", server.storeUp ? "" : "bad"),
  );
  $("sent-latest").textContent = bits(sent.latest);
  $("sent-chart").replaceChildren(...chart(sent, (PLACES * PERIOD_MS) / 1000, bits));
  $("workers").replaceChildren(...server.workers.map((worker) => {
    const fill = make("i", worker.busy > 0.8 ? "busy" : "");
    fill.style.width = `${Math.round(worker.busy * 100)}%`;
    return make("li", "",
      make("div", "name", `worker ${worker.worker}: ${Math.round(worker.busy * 100)} % busy`,
        make("span", "muted", `${worker.peers} ${worker.peers === 1 ? "peer" : "peers"}, lag ${worker.lagMs.toFixed(1)} ms`)),
      make("div", "bar", fill));
  }));
  if ($("app").options.length !== server.apps.length) {
    $("app").replaceChildren(...server.apps.map(({ name }) => new Option(name, name, name === app, name === app)));
  }
}

function showBroadcasts(found) {
  const table = $("broadcasts");
  if (isBusy(table)) return;
  const broadcasts = broadcastPages.take(found);
  const names = new Set(broadcasts.map((each) => each.streamId));
  for (const id of bitrates.keys()) if (!names.has(id)) bitrates.delete(id);
  $("broadcast-count").textContent = broadcastPages.words(broadcasts);
  $("broadcasts-empty").hidden = broadcasts.length > 0;
  $("broadcasts-empty").textContent = $("broadcast-search").value ? "None is found." : "Nobody publishes.";
  const rows = broadcasts.map((each) => {
    const id = each.streamId;
    if (!bitrates.has(id)) bitrates.set(id, new Series(PLACES));
    const series = bitrates.get(id);
    series.push(each.bitrate);
    const isRoom = each.virtual || each.subTrackStreamIds.length > 0;
    const watch = make("a", "", "watch");
    watch.href = `../#play=${encodeURIComponent(id)}`;
    const row = make("div", "row",
      make("div", "wide", make("code", "", id), " ", isRoom ? make("span", "tag", `room of ${each.subTrackStreamIds.length}`) : "",
        each.mainTrackStreamId ? make("span", "tag", `in ${each.mainTrackStreamId}`) : ""),
      cell("state", "", each.status),
      cell("viewers", "figure", `${each.webRTCViewerCount}`),
      cell("bitrate", "figure with-spark", bits(each.bitrate), spark(series)),
      cell("picture", "figure", each.height ? `${each.width}×${each.height}` : "–"),
      cell("lost", "figure", `${each.packetsLost}, ${each.rttMs} ms`),
      make("div", "actions", watch,
        button("Peers", async () => {
          onlyStream = onlyStream === id ? undefined : id;
          peerPages.offset = 0;
        }),
        button("Access", () => showAccess(id)),
        each.status === "broadcasting" && !each.virtual
          ? button("Stop", () => call("POST", `/broadcasts/${encodeURIComponent(id)}/stop`), { sure: true }) : ""));
    row.dataset.id = id;
    return row;
  });
  table.replaceChildren(...(rows.length ? [head("id", "state", "viewers", "bitrate", "picture", "lost, round trip", ""), ...rows] : []));
}

function showNoBroadcasts() {
  broadcastPages.take([]);
  $("broadcasts").replaceChildren();
  $("broadcast-count").textContent = "";
  $("broadcasts-empty").hidden = false;
  $("broadcasts-empty").textContent = "Those off air are in the database, which does not answer.";
}

function peerRate(peer) {
  const at = performance.now();
  const bytes = peer.tracks.reduce((sum, track) => sum + track.bytes, 0);
  const before = counted.get(peer.peerId);
  counted.set(peer.peerId, { at, bytes });
  return before && at > before.at ? Math.max(0, (bytes - before.bytes) * 8000 / (at - before.at)) : 0;
}

function trackText(track) {
  const parts = [track.streamId, track.codec];
  if (track.height) parts.push(`${track.width}×${track.height}`);
  if (track.layer) parts.push(`layer ${track.layer.encoding}/${track.layer.spatial}/${track.layer.temporal}`);
  parts.push(`${track.packets} packets`);
  if (!track.enabled) parts.push("off");
  return parts.join(" · ");
}

function details(peer) {
  const drops = Object.entries(peer.drops).map(([reason, number]) => `${reason} ${number}`).join(", ");
  const line = (name, text) => make("p", "", make("span", "muted", `${name}: `), text);
  return make("div", "more",
    line("pair", `${peer.localAddress ?? "–"} ↔ ${peer.remoteAddress ?? "–"} ${peer.protocol ?? ""}, worker ${peer.worker}, socket ${peer.clientId}`),
    ...peer.tracks.map((track) => line(track.kind, trackText(track))),
    line("dropped", drops || "nothing"),
    line("events", peer.events.map((event) => `${(event.ms / 1000).toFixed(3)} s ${event.what}`).join(", ")));
}

function showPeers(found) {
  const table = $("peers");
  if (isBusy(table)) return;
  const peers = peerPages.take(found);
  const ids = new Set(peers.map((peer) => peer.peerId));
  for (const id of counted.keys()) if (!ids.has(id)) counted.delete(id);
  $("peer-filter").textContent = `${peerPages.words(peers)}${onlyStream ? ` of ${onlyStream}` : ""}`;
  $("peers-empty").hidden = peers.length > 0;
  const rows = peers.map((peer) => {
    const rate = peerRate(peer);
    const video = peer.tracks.find((track) => track.kind === "video" && track.enabled);
    const who = peer.subscriberName ?? peer.subscriberId;
    const base = `/broadcasts/${encodeURIComponent(peer.streamId)}/subscribers/${encodeURIComponent(peer.subscriberId ?? "")}`;
    const row = make("div", "row",
      make("div", "wide", make("span", "tag", peer.role === "publish" ? "publishes" : "plays"), " ", make("code", "", peer.streamId), who ? ` ${who}` : ""),
      cell("address", "wide", peer.remoteAddress ?? peer.state),
      cell("round trip", "figure", peer.rttMs === null ? "–" : `${peer.rttMs.toFixed(1)} ms`),
      cell("loss", "figure", peer.loss === null ? (peer.role === "publish" ? `${peer.packetsLost}` : "–") : `${(peer.loss * 100).toFixed(1)} %`),
      cell("rate", "figure", bits(rate)),
      cell("path takes", "figure", peer.estimate === null ? "–" : bits(peer.estimate)),
      cell("picture", "figure", video?.height ? `${video.height} rows` : "–"),
      make("div", "actions",
        button(opened.has(peer.peerId) ? "Less" : "More", async () => {
          if (!opened.delete(peer.peerId)) opened.add(peer.peerId);
        }),
        peer.subscriberId ? button("Block", () => call("PUT", `${base}/block/3600/publish_play`), { sure: true }) : "",
        button("End", () => call("DELETE", `/peers/${peer.peerId}`), { sure: true })),
      opened.has(peer.peerId) ? details(peer) : "");
    row.dataset.peer = peer.peerId;
    row.dataset.role = peer.role;
    return row;
  });
  table.replaceChildren(...(rows.length ? [head("who", "address", "round trip", "loss", "rate", "path takes", "picture", ""), ...rows] : []));
}

/** The broadcasts; null while the database is down and those off air are wanted too. */
async function listBroadcasts() {
  const query = new URLSearchParams({ search: $("broadcast-search").value.trim() });
  if (!$("broadcast-registered").checked) query.set("live", "true");
  try {
    return await get(`/broadcasts/list/${broadcastPages.path}?${query}`);
  } catch (error) {
    if (error instanceof Refused) throw error;
    return null;
  }
}

async function refresh() {
  const filter = onlyStream ? `?streamId=${encodeURIComponent(onlyStream)}` : "";
  try {
    const [server, peers, broadcasts] = await Promise.all([
      get("/server"), get(`/peers/${peerPages.path}${filter}`), listBroadcasts(),
    ]);
    $("entry").hidden = true;
    showServer(server);
    showPeers(peers);
    if (broadcasts) showBroadcasts(broadcasts);
    else showNoBroadcasts();
    document.body.dataset.ready = "true";
  } catch (error) {
    if (error instanceof Refused) askForEntry(error.message);
    else toast(`The server does not answer: ${error.message}`);
  }
}

function askForEntry(message) {
  $("entry").hidden = false;
  $("entry-text").textContent = message === "Not allowed IP"
    ? "This address is not in remoteAllowedCIDR of the application's settings."
    : "The application asks for a JWT (jwtControlEnabled).";
}

$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  setJwt($("jwt").value.trim());
  start();
});
$("app").addEventListener("change", () => { location.pathname = `/${encodeURIComponent($("app").value)}/admin/`; });
for (const event of ["input", "submit"]) {
  $("broadcast-filter").addEventListener(event, (happened) => {
    if (event === "submit") happened.preventDefault();
    broadcastPages.offset = 0;
    refresh();
  });
}
$("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showAccess($("access-id").value.trim()).catch((error) => toast(error.message));
});

async function start() {
  await refresh();
  await showSettings().catch((error) => { if (!(error instanceof Refused)) toast(error.message); });
}

await start();
setInterval(() => { if (document.visibilityState === "visible") refresh(); }, PERIOD_MS);
