// The page a newcomer opens: publishes the drawn pattern and plays it, as a user would.

import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { openChromium, openFirefox } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { CACHE, Server } from "./lib/server.mjs";
import { openSite } from "./lib/site.mjs";
import { freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
const SHOTS = path.join(CACHE, "shots");
const PHONE = { viewport: { width: 390, height: 844 } };
const DESK = { viewport: { width: 1280, height: 900 } };

describe("playground", () => {
  let server;
  let chromium;
  let firefox;
  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    server = await Server.start({ label: "playground" });
    chromium = await openChromium();
    firefox = await openFirefox();
  }, GUARD);
  after(async () => {
    await firefox?.close();
    await chromium?.close();
    await server?.stop();
  }, GUARD);

  test("the printed address leads to the page, for each application", GUARD, async () => {
    assert.match(server.playground, /\/LiveApp\/$/);
    for (const app of ["WebRTCAppEE", "LiveApp", "live"]) {
      const answer = await fetch(`${server.origin}/${app}/`);
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get("content-type"), /^text\/html/);
    }
    // Without the slash the page's own files would not be found: it must lead on to the slash.
    const bare = await fetch(`${server.origin}/LiveApp`);
    assert.equal(bare.status, 200);
    assert.equal(new URL(bare.url).pathname, "/LiveApp/");
  });

  for (const [name, watcher] of [["Chromium", () => chromium], ["Firefox", () => firefox]]) {
    test(`the pattern is published by form and watched in ${name}`, GUARD, async () => {
      const id = freshId("pattern");
      const publisher = await chromium.open(server.playground, DESK);
      await publisher.run((id) => {
        document.querySelector("[value=pattern]").click();
        document.getElementById("publish-id").value = id;
        document.getElementById("height").value = "360";
        document.querySelector("#publish-form [type=submit]").click();
      }, id);
      await untilLive(publisher, "publish", id);

      const viewer = await watcher().open(`${server.playground}#play=${id}`, DESK);
      await untilLive(viewer, "play", id);
      await until("pictures are shown", () => viewer.run(() => {
        const video = document.querySelector("article[data-role=play] video");
        return video?.videoWidth > 0 && video.currentTime > 2;
      }));
      await until("the figures are shown", async () => {
        const figures = await readFigures(viewer);
        return /[1-9].*bit\/s/.test(figures.bitrate) && /^\d+×\d+$/.test(figures.resolution)
          && /^[1-9]/.test(figures.fps) && /%$/.test(figures.loss) && figures;
      });
      await until("the sparkline has a line", () => viewer.run(() =>
        document.querySelector("article[data-role=play] .spark .line").getAttribute("d")?.includes("L")));
      await until("sound arrives", () => viewer.run(() =>
        document.querySelector("article[data-role=play] video").srcObject.getAudioTracks().some((track) => !track.muted)));
      await publisher.screenshot(path.join(SHOTS, `publish-for-${name}.png`));
      await viewer.screenshot(path.join(SHOTS, `play-${name}.png`));

      await publisher.run(() => [...document.querySelectorAll("article[data-role=publish] .actions button")]
        .find((button) => button.textContent === "Stop").click());
      await untilState(viewer, "play", id, "ended");
      assert.deepEqual(publisher.problems, []);
      assert.deepEqual(viewer.problems, []);
      await Promise.all([publisher.close(), viewer.close()]);
    });
  }

  test("the bare player waits, plays and waits again in a frame of another site's page", GUARD, async () => {
    const id = freshId("frame");
    const site = await openSite();
    const page = await chromium.newPage(DESK);
    await page.goto(`${site.origin}/pages/sdk.html`);
    await page.evaluate((src) => {
      const frame = document.createElement("iframe");
      Object.assign(frame, { src, width: 640, height: 360, allow: "autoplay" });
      document.body.append(frame);
    }, `${server.playground}play.html?id=${id}&playOrder=webrtc`);
    const frame = await until("the frame is there", () => page.frames().find((each) => each.url().includes("play.html")));
    const state = () => frame.evaluate(() => ({
      state: document.documentElement.dataset.state,
      notice: document.getElementById("notice").textContent,
      width: document.getElementById("video").videoWidth,
      time: document.getElementById("video").currentTime,
      kinds: document.getElementById("video").srcObject?.getTracks().map(({ kind }) => kind).sort(),
    }));
    const waits = async () => {
      const { state: name, notice } = await state();
      return name === "waiting" && notice !== "";
    };
    await until("it waits for the broadcast", waits);
    for (let round = 0; round < 2; round += 1) {
      const publisher = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360`, DESK);
      await untilLive(publisher, "publish", id);
      await until("it plays", async () => {
        const { state: name, notice, width, time } = await state();
        return name === "live" && notice === "" && width > 0 && time > 1;
      });
      assert.deepEqual((await state()).kinds, ["audio", "video"]);
      await publisher.run(() => [...document.querySelectorAll("article[data-role=publish] .actions button")]
        .find((button) => button.textContent === "Stop").click());
      await until("it waits for it to come back", waits);
      await publisher.close();
    }
    await page.goto(`${server.playground}play.html`);
    await until("it says that an id is missing", () =>
      page.evaluate(() => document.getElementById("notice").textContent.includes("id is needed")));
    await Promise.all([page.close(), site.close()]);
  });

  test("the list of live broadcasts plays at a click", GUARD, async () => {
    const id = freshId("listed");
    // As many as one page of the list holds, and in front of it.
    for (let at = 0; at < 50; at += 1) {
      const body = JSON.stringify({ streamId: `a${at}` });
      assert.equal((await fetch(`${server.playground}rest/v2/broadcasts/create`, { method: "POST", body })).status, 200);
    }
    const page = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360`, PHONE);
    await untilLive(page, "publish", id);
    await until("the broadcast is listed", () => page.run((id) =>
      Boolean(document.querySelector(`#live li[data-id="${id}"]`)), id));
    await page.run((id) => document.querySelector(`#live li[data-id="${id}"] button`).click(), id);
    await untilLive(page, "play", id);
    await until("frames are counted", () => page.run(() =>
      Number(document.querySelector("article[data-role=play]").dataset.frames) > 30));
    for (const [name, colorScheme] of [["light", "light"], ["dark", "dark"]]) {
      await page.page.emulateMedia({ colorScheme });
      await page.page.setViewportSize(PHONE.viewport);
      assert.ok(await page.run(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than a phone");
      await page.screenshot(path.join(SHOTS, `phone-${name}.png`));
      await page.page.setViewportSize(DESK.viewport);
      await page.screenshot(path.join(SHOTS, `desk-${name}.png`));
    }
    assert.deepEqual(page.problems, []);
    await page.close();
  });

  test("a server that does not list its broadcasts leaves a notice and a page that works", GUARD, async () => {
    const page = await chromium.newPage(DESK);
    await page.route("**/rest/**", (route) => route.fulfill({ status: 404 }));
    await page.goto(server.playground);
    await until("the notice is shown", () => page.evaluate(() =>
      document.getElementById("live-notice").textContent.includes("404") && document.getElementById("live").hidden));
    await page.close();
  });

  test("a hidden tab goes on publishing the pattern", GUARD, async () => {
    const id = freshId("hidden");
    const page = await firefox.open(`${server.playground}#publish=pattern&id=${id}&height=360`, DESK);
    await untilLive(page, "publish", id);
    // The next tab of the same window covers it.
    const watcher = await firefox.open(`${server.playground}#play=${id}`, DESK);
    await untilLive(watcher, "play", id);
    assert.equal(await page.run(() => document.visibilityState), "hidden");
    const frames = () => watcher.run(() => Number(document.querySelector("article[data-role=play]").dataset.frames));
    const start = await until("frames are counted", frames);
    await until("frames go on", async () => (await frames()) > start + 60);
    for (const tab of [page, watcher]) assert.deepEqual(tab.problems, []);
    await Promise.all([page.close(), watcher.close()]);
  });

  test("problems are told in words, and a play waits for its broadcast", GUARD, async () => {
    const id = freshId("words");
    const viewer = await chromium.open(`${server.playground}#play=${id}`, DESK);
    await untilState(viewer, "play", id, "waiting");
    assert.match(await reason(viewer, "play"), /^Nobody is publishing/);
    const publisher = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360&codec=VP9`, DESK);
    await untilLive(publisher, "publish", id);
    await untilLive(viewer, "play", id);
    await until("the preferred codec is used", async () => (await readFigures(viewer)).codec === "VP9");

    const intruder = await chromium.open(`${server.playground}#publish=pattern&id=${id}&height=360`, DESK);
    await untilState(intruder, "publish", id, "failed");
    assert.match(await reason(intruder, "publish"), /^Somebody is publishing under this stream id/);
    await intruder.screenshot(path.join(SHOTS, "refused.png"));

    await intruder.run(() => {
      document.getElementById("play-id").value = "not allowed!";
      document.querySelector("#play-form [type=submit]").click();
    });
    assert.match(await intruder.run(() => document.getElementById("play-problem").textContent), /letters, digits/);
    for (const tab of [viewer, publisher, intruder]) assert.deepEqual(tab.problems, []);
    await Promise.all([viewer.close(), publisher.close(), intruder.close()]);
  });

  test("a lost socket is made again and publishing goes on", GUARD, async () => {
    const id = freshId("again");
    const page = await chromium.newPage(DESK);
    await holdSockets(page);
    await page.goto(`${server.playground}#publish=pattern&id=${id}&height=360`);
    const tab = { run: (action, argument) => page.evaluate(action, argument) };
    await untilLive(tab, "publish", id);
    // The state lasts half a second: a look from here may miss it.
    await page.evaluate((id) => {
      window.states = [];
      const card = document.querySelector(`article[data-role="publish"][data-id="${id}"]`);
      new MutationObserver(() => window.states.push(card.dataset.state))
        .observe(card, { attributes: true, attributeFilter: ["data-state"] });
      window.sockets.at(-1).close();
    }, id);
    await until("it is made again, and live", async () => {
      const states = await page.evaluate(() => window.states);
      return states.includes("reconnecting") && states.at(-1) === "live";
    });
    await untilLive(tab, "publish", id);
    await page.close();
  });

  test("what the server is short of for a while ends no play, and no publish that was live", GUARD, async () => {
    const id = freshId("short");
    const page = await chromium.newPage(DESK);
    await holdSockets(page);
    await page.goto(`${server.playground}#publish=pattern&id=${id}&height=360`);
    const publisher = { run: (action, argument) => page.evaluate(action, argument) };
    await untilLive(publisher, "publish", id);
    const viewer = await chromium.newPage(DESK);
    const untilViewer = (state, notice) => until(`the player is ${state}`, async () => {
      const seen = await viewer.evaluate(() => [document.documentElement.dataset.state, document.getElementById("notice").textContent]);
      return seen[0] === state && notice.test(seen[1]) || Promise.reject(new Error(seen.join()));
    }, { within: 30_000 });
    const limit = (webRTCViewerLimit) => fetch(`${server.playground}rest/v2/settings`, { method: "PUT", body: JSON.stringify({ webRTCViewerLimit }) });

    assert.equal((await limit(0)).status, 200);
    await viewer.goto(`${server.playground}play.html?id=${id}`);
    await untilViewer("reconnecting", /viewer limit/);
    assert.equal((await limit(-1)).status, 200);
    await untilViewer("live", /^$/);

    const file = path.join(server.dataDir, "leafcutter.db");
    for (const end of ["", "-wal", "-shm"]) rmSync(file + end, { force: true });
    writeFileSync(file, "no database, and long enough to be read as one ".repeat(100));
    await until("the database is down", async () => (await fetch(`${server.origin}/readyz`)).status === 503, { within: 30_000 });
    await viewer.goto(`${server.playground}play.html?id=${id}&again`);
    await untilViewer("reconnecting", /database/);
    const newcomer = await chromium.open(`${server.playground}#publish=pattern&id=${id}-2&height=360`, DESK);
    await untilState(newcomer, "publish", `${id}-2`, "failed");
    await page.evaluate(() => window.sockets.at(-1).close());
    await until("the publisher is refused", () => publisher.run(() => {
      const { state, reason } = document.querySelector("article[data-role=publish]").dataset;
      return state === "reconnecting" && reason === "data_store_not_available";
    }), { within: 30_000 });

    rmSync(file);
    await untilLive(publisher, "publish", id);
    await untilViewer("live", /^$/);
    await Promise.all([page.close(), viewer.close(), newcomer.close()]);
  });
});

/** Keeps hold of the page's sockets, to cut them. */
function holdSockets(page) {
  return page.addInitScript(() => {
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
      constructor(...args) {
        super(...args);
        window.sockets.push(this);
      }
    };
  });
}

function untilLive(tab, role, id) { return untilState(tab, role, id, "live"); }

function untilState(tab, role, id, state) {
  return until(`the ${role} of ${id} is ${state}`, async () => {
    const seen = await tab.run(([role, id]) => {
      const card = document.querySelector(`article[data-role="${role}"][data-id="${id}"]`);
      return card && { state: card.dataset.state, reason: card.dataset.reason };
    }, [role, id]);
    if (seen?.state === state) return true;
    throw new Error(JSON.stringify(seen));
  }, { within: 30_000 });
}

function readFigures(tab) {
  return tab.run(() => Object.fromEntries(
    [...document.querySelectorAll("article[data-role=play] [data-figure]")].map((each) => [each.dataset.figure, each.textContent]),
  ));
}

function reason(tab, role) {
  return tab.run((role) => document.querySelector(`article[data-role=${role}] .reason`).textContent, role);
}
