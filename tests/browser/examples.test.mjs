// The pages of examples/, each once, as they are.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openChromium } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { Server } from "./lib/server.mjs";
import { openSite } from "./lib/site.mjs";
import { freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

describe("examples", () => {
  let server;
  let site;
  let chromium;
  before(async () => {
    [server, site, chromium] = await Promise.all([Server.start({ label: "examples" }), openSite(), openChromium()]);
  }, GUARD);
  after(async () => {
    await chromium?.close();
    await site?.close();
    await server?.stop();
  }, GUARD);

  const open = (page, id, more = "") => chromium.open(
    `${site.origin}/browser/${page}.html?server=${encodeURIComponent(server.socket("LiveApp"))}&id=${id}${more}`);
  const says = (tab, pattern) => until(`the page says ${pattern}`, async () => {
    const state = await tab.run(() => document.body.dataset.state);
    if (pattern.test(state)) return true;
    throw new Error(state);
  }, { within: 30_000 });
  const moves = (tab, selector) => until(`pictures move in ${selector}`, () => tab.run((selector) =>
    document.querySelector(selector)?.videoWidth > 0 && document.querySelector(selector).currentTime > 1, selector), { within: 30_000 });

  test("publish and play", GUARD, async () => {
    const id = freshId("example");
    const publisher = await open("publish", id);
    await says(publisher, /^publishing/);
    const player = await open("play", id);
    await says(player, /^playing/);
    await moves(player, "#picture");
    for (const tab of [publisher, player]) assert.deepEqual(tab.problems, []);
    await Promise.all([publisher.close(), player.close()]);
  });

  test("a room of two", GUARD, async () => {
    const id = freshId("room");
    const tabs = [await open("room", id), await open("room", id)];
    for (const tab of tabs) await says(tab, /^in /);
    for (const tab of tabs) await moves(tab, "#others video");
    for (const tab of tabs) assert.equal(await tab.run(() => document.querySelectorAll("#others video").length), 1);
    for (const tab of tabs) assert.deepEqual(tab.problems, []);
    await Promise.all(tabs.map((tab) => tab.close()));
  });

  test("a message over the data channel", GUARD, async () => {
    const id = freshId("data");
    const publisher = await open("data-channel", id);
    await says(publisher, /^open/);
    const player = await open("data-channel", id, "&play");
    await says(player, /^open/);
    await player.run(() => {
      document.getElementById("message").value = "hello";
      document.querySelector("#form button").click();
    });
    await until("it arrives", () => publisher.run(() => document.getElementById("messages").innerText === "they: hello"));
    for (const tab of [publisher, player]) assert.deepEqual(tab.problems, []);
    await Promise.all([publisher.close(), player.close()]);
  });
});
