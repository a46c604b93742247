// The admin page, as an operator uses it: looks, stops, blocks, sets; at a desk and on a phone.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { openChromium } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { CACHE, Server } from "./lib/server.mjs";
import { freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
const SHOTS = path.join(CACHE, "shots");
const PHONE = { viewport: { width: 390, height: 844 } };
const DESK = { viewport: { width: 1280, height: 900 } };

describe("admin page", () => {
  let server;
  let chromium;
  let publisher;
  let viewer;
  let admin;
  const id = freshId("watched");
  const captures = path.join(CACHE, `captures-${process.pid}`);

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    mkdirSync(captures, { recursive: true });
    const settings = path.join(captures, "leafcutter.toml");
    writeFileSync(settings, `[server]\ncapture_dir = "${captures}"\n`);
    server = await Server.start({ label: "admin", args: ["--config", settings, "--workers", "1"] });
    chromium = await openChromium();
    publisher = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360`, DESK);
    await live(publisher, "publish");
    viewer = await chromium.open(`${server.playground}#play=${id}`, DESK);
    await live(viewer, "play");
    admin = await chromium.open(`${server.playground}admin/`, DESK);
  }, GUARD);
  after(async () => {
    await chromium?.close();
    await server?.stop();
    rmSync(captures, { recursive: true, force: true });
  }, GUARD);

  const live = (tab, role) => until(`the ${role} is live`, () => tab.run((role) =>
    document.querySelector(`article[data-role=${role}]`)?.dataset.state === "live", role), { within: 30_000 });
  const text = (selector) => admin.run((selector) => document.querySelector(selector)?.innerText ?? "", selector);
  const row = (role) => `#peers .row[data-role=${role}]`;
  const press = (selector, name) => admin.run(([selector, name]) => {
    const found = [...document.querySelectorAll(`${selector} button`)].find((each) => each.textContent === name);
    if (!found) throw new Error(`no button ${name} in ${selector}`);
    found.click();
  }, [selector, name]);
  const rest = async (method, where) => (await fetch(`${server.playground}rest/v2${where}`, { method })).json();

  test("shows broadcasts, peers and load", GUARD, async () => {
    // On a slow machine Chromium encodes a smaller picture than it captures.
    await until("the broadcast is listed with its bitrate", async () =>
      /broadcasting[\s\S]*[1-9].*bit\/s[\s\S]*\d{3}×\d{3}/.test(await text(`#broadcasts .row[data-id="${id}"]`)));
    await until("the player's path is known", async () => /%[\s\S]*[1-9].*bit\/s[\s\S]*\d{3} rows/.test(await text(row("play"))));
    await press(row("play"), "More");
    await until("the details are shown", async () => {
      const details = await text(`${row("play")} .more`);
      return /pair: (\[[\da-f:]+\]|[\d.]+):\d+ ↔ (\[[\da-f:]+\]|[\d.]+):\d+ .*udp/.test(details) && /video: .*packets/.test(details)
        && /created, .*address validated, .*connected/.test(details);
    });
    await until("the chart has a line", () => admin.run(() =>
      document.querySelector("#sent-chart .line")?.getAttribute("d").split("L").length > 3));
    assert.match(await text("#tiles"), /Viewers\s+1\s+Broadcasts\s+1/);
    assert.match(await text("#workers"), /worker 0: \d+ % busy/);
  });

  test("settings carry their documentation and change at once", GUARD, async () => {
    assert.match(await text("#settings"), /webRTCViewerLimit\s+\S.+/);
    await admin.run(() => {
      const field = document.getElementById("setting-webRTCViewerLimit");
      field.value = "7";
      field.dispatchEvent(new Event("change"));
    });
    await until("it is saved", async () => (await rest("GET", "/settings")).webRTCViewerLimit === 7);
    await admin.run(() => {
      const field = document.getElementById("setting-stunServerURI");
      field.value = "http://x";
      field.dispatchEvent(new Event("change"));
    });
    await until("what cannot be used is refused in words", async () => /^stunServerURI: /.test(await text("#toast")));
  });

  test("an emptied number is not saved as zero", GUARD, async () => {
    const set = (value) => admin.run((value) => {
      const field = document.getElementById("setting-ingestingStreamLimit");
      field.value = value;
      field.dispatchEvent(new Event("change"));
    }, value);
    await set("9");
    await until("it is saved", async () => /^ingestingStreamLimit: saved/.test(await text("#settings-state")));
    assert.equal((await rest("GET", "/settings")).ingestingStreamLimit, 9);
    await set("");
    await until("it says so", async () => /^ingestingStreamLimit: a number is needed/.test(await text("#toast")));
    assert.equal(await admin.run(() => document.getElementById("setting-ingestingStreamLimit").value), "9");
    await set("8");
    await until("the next number is", async () => (await rest("GET", "/settings")).ingestingStreamLimit === 8);
  });

  test("what is on air is found among many that are registered", GUARD, async () => {
    for (let at = 0; at < 60; at += 1) {
      const body = JSON.stringify({ streamId: `a${at}`, name: `Number ${at}` });
      assert.equal((await fetch(`${server.playground}rest/v2/broadcasts/create`, { method: "POST", body })).status, 200);
    }
    const rows = () => admin.run(() => [...document.querySelectorAll("#broadcasts .row[data-id]")].map((row) => row.dataset.id));
    await until("only the live one is shown", async () => (await rows()).join() === id);
    const tick = () => admin.run(() => document.getElementById("broadcast-registered").click());
    await tick();
    await until("the first of all are shown", async () => (await rows()).length === 49 && await text("#broadcast-count") === "1–49");
    await press("#broadcasts-pager", "Next");
    await until("then the others", async () => (await rows()).length === 12 && (await rows()).includes(id) && await text("#broadcast-count") === "50–61");
    const search = (words) => admin.run((words) => {
      const field = document.getElementById("broadcast-search");
      field.value = words;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }, words);
    await search("number 59");
    await until("a search finds one", async () => (await rows()).join() === "a59");
    assert.ok(await admin.run(() => document.getElementById("broadcasts-pager").hidden));
    await search("");
    await tick();
    await until("the live one is back", async () => (await rows()).join() === id);
  });

  test("makes tokens and shows them once", GUARD, async () => {
    await press(`#broadcasts .row[data-id="${id}"]`, "Access");
    await until("tokens are shown", async () => /none/.test(await text("#tokens")));
    await admin.run(() => document.querySelector("#token-form button").click());
    await until("one is made", async () => /Shown this once: \S{20}/.test(await text("#token-made")));
    await until("and listed", async () => /to play/.test(await text("#tokens")));
  });

  test("fits a phone", GUARD, async () => {
    await admin.run(() => document.activeElement.blur());
    await until("the last refusal has gone", async () => admin.run(() => document.getElementById("toast").hidden));
    for (const [name, { viewport }, colorScheme] of [["desk", DESK, "light"], ["phone", PHONE, "light"], ["phone-dark", PHONE, "dark"]]) {
      await admin.page.setViewportSize(viewport);
      await admin.page.emulateMedia({ colorScheme });
      assert.ok(await admin.run(() => document.documentElement.scrollWidth <= innerWidth), `nothing is wider than ${name}`);
      await admin.screenshot(path.join(SHOTS, `admin-${name}.png`));
      // The settings are long; the picture for the documentation ends above them.
      const height = await admin.run(() => document.getElementById("access-title").getBoundingClientRect().top + scrollY - 24);
      await admin.page.screenshot({ path: path.join(SHOTS, `admin-${name}-top.png`), fullPage: true, clip: { x: 0, y: 0, width: viewport.width, height } });
    }
    await admin.page.setViewportSize(DESK.viewport);
  });

  test("a capture of the player opens in tshark, every packet is RTP, and no number is missing", GUARD, async () => {
    const peer = (await rest("GET", `/peers/0/50?streamId=${id}`)).find(({ role }) => role === "play");
    const { success, dataId: file } = await rest("POST", `/peers/${peer.peerId}/capture?content=packets`);
    assert.ok(success, JSON.stringify(file));
    assert.equal((await rest("POST", `/peers/${peer.peerId}/capture`)).success, false, "one at a time");
    const download = async () => Buffer.from(await (await fetch(`${server.playground}rest/v2/captures/${file}`)).arrayBuffer());
    await until("enough is captured", async () => (await download()).length > 150_000, { within: 60_000, every: 500 });
    assert.ok((await rest("DELETE", `/peers/${peer.peerId}/capture`)).success);
    let before = 0;
    const bytes = await until("the file is complete", async () => {
      const now = await download();
      const grew = now.length > before;
      before = now.length;
      return !grew && now;
    }, { every: 500 });
    const saved = path.join(captures, "saved.pcapng");
    writeFileSync(saved, bytes);
    const port = peer.localAddress.split(":").at(-1);
    const tshark = (...args) => execFileSync("tshark", ["-r", saved, "-d", `udp.port==${port},rtp`, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    const all = tshark("-T", "fields", "-e", "frame.number").trim().split("\n").length;
    const rtp = tshark("-Y", "rtp && !_ws.malformed", "-T", "fields", "-e", "rtp.ssrc", "-e", "rtp.seq").trim().split("\n");
    assert.ok(all > 50, `only ${all} packets`);
    assert.equal(rtp.length, all, "every packet is RTP");
    const streams = tshark("-q", "-z", "rtp,streams").split("\n").filter((line) => line.includes("0x"));
    assert.ok(streams.length >= 2, streams.join("\n"));
    for (const line of streams) {
      const lost = line.match(/(-?\d+) \((-?[\d.]+)%\)/);
      assert.ok(lost, line);
      assert.equal(Number(lost[1]), 0, line);
    }
    // By our own count too: each stream's numbers follow each other.
    const last = new Map();
    for (const [ssrc, seq] of rtp.map((line) => line.split("\t"))) {
      if (last.has(ssrc)) assert.equal(Number(seq), (last.get(ssrc) + 1) % 65536, `${ssrc} after ${last.get(ssrc)}`);
      last.set(ssrc, Number(seq));
    }
  });

  test("ends a play and stops a broadcast, each after a second click", GUARD, async () => {
    await press(row("play"), "End");
    await press(row("play"), "End: sure?");
    await until("the play is over", () => viewer.run(() => document.querySelector("article[data-role=play]").dataset.state !== "live"));
    await press(`#broadcasts .row[data-id="${id}"]`, "Stop");
    await press(`#broadcasts .row[data-id="${id}"]`, "Stop: sure?");
    await until("the publish is over", () => publisher.run(() => document.querySelector("article[data-role=publish]").dataset.state !== "live"));
    await until("nobody is listed", async () => /Nobody publishes/.test(await text("main")));
    const known = admin.problems.filter((problem) => !/status of 400/.test(problem));
    assert.deepEqual(known, []);
  });

  test("asks for the JWT that the application asks for, and keeps out whom the filter keeps out", GUARD, async () => {
    const secret = "a secret of thirty-two or more bytes";
    const put = (settings) => fetch(`${server.origin}/live/rest/v2/settings`, { method: "PUT", body: JSON.stringify(settings) });
    assert.equal((await put({ jwtSecretKey: secret, jwtControlEnabled: true })).status, 200);
    const tab = await chromium.open(`${server.origin}/live/admin/`, DESK);
    await until("it asks", () => tab.run(() => !document.getElementById("entry").hidden));
    const token = execFileSync("python3", ["-c", `
import base64, hashlib, hmac, sys
b = lambda x: base64.urlsafe_b64encode(x).rstrip(b"=")
head = b(b'{"alg":"HS256","typ":"JWT"}') + b"." + b(b"{}")
print((head + b"." + b(hmac.new(sys.argv[1].encode(), head, hashlib.sha256).digest())).decode())`, secret], { encoding: "utf8" }).trim();
    await tab.run((token) => {
      document.getElementById("jwt").value = token;
      document.querySelector("#entry button").click();
    }, token);
    await until("it is let in", () => tab.run(() => document.getElementById("entry").hidden && document.querySelectorAll(".tile").length > 3));
    await tab.close();
    const LiveApp = (settings) => fetch(`${server.playground}rest/v2/settings`, { method: "PUT", body: JSON.stringify(settings) });
    assert.equal((await LiveApp({ remoteAllowedCIDR: "192.0.2.0/24" })).status, 200);
    assert.equal((await fetch(`${server.playground}admin/`)).status, 403);
  });
});

test("the admin page goes on while the database is down", GUARD, async () => {
  const id = freshId("storeless");
  const server = await Server.start({ label: "admin-storeless", args: ["--workers", "1"] });
  const chromium = await openChromium();
  try {
    const publisher = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360`, DESK);
    await until("the publish is live", () => publisher.run(() =>
      document.querySelector("article[data-role=publish]")?.dataset.state === "live"), { within: 30_000 });
    const admin = await chromium.open(`${server.playground}admin/`, DESK);
    const text = (selector) => admin.run((selector) => document.querySelector(selector)?.innerText ?? "", selector);
    await until("all is shown", async () => /Database\s+up/.test(await text("#tiles"))
      && (await text("#broadcasts")).includes(id) && (await text("#peers")).includes(id));

    const file = path.join(server.dataDir, "leafcutter.db");
    for (const end of ["", "-wal", "-shm"]) rmSync(file + end, { force: true });
    writeFileSync(file, "no database, and long enough to be read as one ".repeat(100));
    await until("the database is down", async () => /Database\s+down/.test(await text("#tiles")), { within: 30_000 });
    for (const table of ["#broadcasts", "#peers"]) assert.ok((await text(table)).includes(id), `${table} goes on`);
    await admin.run(() => document.getElementById("broadcast-registered").click());
    await until("what is missing is said", async () => /are in the database/.test(await text("#broadcasts-empty")));
    await admin.goto(`${server.playground}admin/`);
    await until("a page that is opened shows as much", async () => /Database\s+down/.test(await text("#tiles"))
      && (await text("#peers")).includes(id));

    rmSync(file);
    await until("the list is back", async () => /Database\s+up/.test(await text("#tiles"))
      && (await text("#broadcasts")).includes(id), { within: 30_000 });
  } finally {
    await chromium.close();
    await server.stop();
  }
});
