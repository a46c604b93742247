// Data channels with the unmodified SDK: texts and files between one publisher and its players.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { openFirefox } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { CACHE } from "./lib/server.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

/** Bytes of the file that is sent: several of the SDK's chunks, and an odd rest. */
const FILE_LEN = 100_003;

/** Waits for a page's data channel of `id` to be open. */
async function opened(page, id) {
  await until(`the data channel of ${id} is open`, () => page.tab.run(
    (id) => window.kit.adaptor.remotePeerConnection[id]?.dataChannel?.readyState === "open", id));
}

/** Texts that a page has received, in order. */
async function texts(page) {
  const events = await page.events();
  return events.filter(({ name, detail }) => name === "data_received" && typeof detail.data === "string")
    .map(({ detail }) => detail.data);
}

/** Files that a page has received: length and sum of each. */
const files = (page) => page.tab.run(() => window.kit.files);

const say = (page, id, text) => page.call("sendData", id, text);

/** Sends a file as the SDK cuts it up; its sum comes back. */
const sendFile = (page, id, seed) => page.tab.run(async ({ id, seed, len }) => {
  const bytes = Uint8Array.from({ length: len }, (_, at) => (at * 31 + seed) % 251);
  await window.kit.adaptor.sendData(id, bytes.buffer);
  return bytes.reduce((sum, byte) => (sum * 33 + byte) % 0x7fffffff, 7);
}, { id, seed, len: FILE_LEN });

const hears = (page, who, expected) => until(`${who} hears ${JSON.stringify(expected)}`, async () => {
  const heard = await texts(page);
  assert.ok(heard.length <= expected.length, `${who} heard ${JSON.stringify(heard)}`);
  return heard.length === expected.length && heard;
}).then((heard) => assert.deepEqual(heard.sort(), [...expected].sort()));

async function openAll(stage, id, players = 3) {
  const publisher = await stage.publisher(id);
  const viewers = [];
  for (let at = 0; at < players; at += 1) viewers.push(await stage.viewer(id));
  for (const page of [publisher, ...viewers]) await opened(page, id);
  return { publisher, viewers, close: () => Promise.all([publisher, ...viewers].map((page) => page.close())) };
}

describe("data channels in Chromium", () => {
  /** @type {Stage} */
  let stage;
  before(async () => { stage = await Stage.open({ label: "data_channel" }); }, GUARD);
  after(() => stage?.close(), GUARD);

  test("texts and files go both ways among a publisher and three players", GUARD, async () => {
    const id = freshId("pipe");
    const { publisher, viewers, close } = await openAll(stage, id);
    await say(publisher, id, "to all of you");
    await say(viewers[0], id, "häh? 🙂");
    await hears(publisher, "the publisher", ["häh? 🙂"]);
    await hears(viewers[0], "the one who spoke", ["to all of you"]);
    for (const viewer of viewers.slice(1)) await hears(viewer, "a player", ["to all of you", "häh? 🙂"]);

    const there = await sendFile(publisher, id, 1);
    for (const viewer of viewers) {
      await until("the file arrives", async () => (await files(viewer)).length === 1);
      assert.deepEqual(await files(viewer), [{ len: FILE_LEN, sum: there }]);
    }
    const back = await sendFile(viewers[2], id, 2);
    for (const page of [publisher, viewers[0], viewers[1]]) {
      await until("the file comes back", async () => (await files(page)).some(({ sum }) => sum === back));
    }
    assert.deepEqual(await files(publisher), [{ len: FILE_LEN, sum: back }]);
    assert.deepEqual(await files(viewers[2]), [{ len: FILE_LEN, sum: there }], "its own does not come back");
    for (const page of [publisher, ...viewers]) {
      assert.deepEqual(await page.errors(), []);
      assert.deepEqual(page.tab.problems, []);
    }
    await close();
  });

  test("a publisher of data alone is started, played and heard", GUARD, async () => {
    const id = freshId("alone");
    const publisher = await stage.publisher(id, { dataOnly: true, video: false, audio: false });
    const viewer = await stage.viewer(id);
    await opened(publisher, id);
    await opened(viewer, id);
    await say(publisher, id, "nothing to see");
    await hears(viewer, "the player", ["nothing to see"]);
    await say(viewer, id, "but to hear");
    await hears(publisher, "the publisher", ["but to hear"]);
    await Promise.all([publisher.close(), viewer.close()]);
  });

  test("a player that opens a channel of its own hears nothing twice", GUARD, async () => {
    const id = freshId("own");
    const publisher = await stage.publisher(id);
    const viewer = await stage.page(id, { role: "play" });
    await viewer.tab.run((id) => { window.kit.adaptor.play({ streamId: id }); }, id);
    await viewer.waitFor("play_started");
    await opened(publisher, id);
    await opened(viewer, id);
    await say(publisher, id, "one");
    await hears(viewer, "the player", ["one"]);
    await say(viewer, id, "two");
    await hears(publisher, "the publisher", ["two"]);
    await say(publisher, id, "three");
    await hears(viewer, "the player", ["one", "three"]);
    await Promise.all([publisher.close(), viewer.close()]);
  });

  test("who plays what it publishes does not hear itself", GUARD, async () => {
    const id = freshId("self");
    const other = freshId("other");
    const page = await stage.publisher(id);
    const publisher = await stage.publisher(other);
    await page.call("play", other);
    await page.waitFor("play_started");
    const viewer = await stage.viewer(id);
    for (const [each, stream] of [[page, id], [page, other], [publisher, other], [viewer, id]]) await opened(each, stream);
    await say(page, id, "mine");
    await hears(viewer, "the player", ["mine"]);
    await say(publisher, other, "yours");
    await hears(page, "the page of both", ["yours"]);
    await Promise.all([page.close(), publisher.close(), viewer.close()]);
  });
});

describe("data channels between Firefox and Chromium", () => {
  let stage;
  let firefox;
  before(async () => {
    stage = await Stage.open({ label: "data_channel_firefox" });
    firefox = await openFirefox();
    stage.closers.push(() => firefox.close());
  }, GUARD);
  after(() => stage?.close(), GUARD);

  for (const [role, from, to] of [["publishes", "firefox", "chromium"], ["plays", "chromium", "firefox"]]) {
    test(`Firefox ${role}`, GUARD, async () => {
      const id = freshId(role);
      const browser = (name) => (name === "firefox" ? firefox : undefined);
      const publisher = await stage.publisher(id, {}, browser(from));
      const viewer = await stage.viewer(id, {}, browser(to));
      const third = await stage.viewer(id);
      for (const page of [publisher, viewer, third]) await opened(page, id);
      await say(publisher, id, "there");
      await hears(viewer, "the player", ["there"]);
      await say(viewer, id, "back");
      await hears(publisher, "the publisher", ["back"]);
      await hears(third, "the other player", ["there", "back"]);
      const sum = await sendFile(publisher, id, 3);
      for (const page of [viewer, third]) {
        await until("the file arrives", async () => (await files(page)).length === 1);
        assert.deepEqual(await files(page), [{ len: FILE_LEN, sum }]);
      }
      await Promise.all([publisher, viewer, third].map((page) => page.close()));
    });
  }
});

for (const [distribution, publisherHears] of [["publisher", true], ["none", false]]) {
  describe(`dataChannelPlayerDistribution = ${distribution}`, () => {
    let stage;
    let folder;
    before(async () => {
      folder = mkdtempSync(path.join(CACHE, "config-"));
      const file = path.join(folder, "leafcutter.toml");
      writeFileSync(file, `[app.default]\ndataChannelPlayerDistribution = "${distribution}"\n`);
      stage = await Stage.open({ label: `data_channel_${distribution}`, serverArgs: ["--config", file] });
    }, GUARD);
    after(async () => {
      await stage?.close();
      rmSync(folder, { recursive: true, force: true });
    }, GUARD);

    test(`a player is heard by ${publisherHears ? "the publisher alone" : "nobody"}`, GUARD, async () => {
      const id = freshId(distribution);
      const { publisher, viewers, close } = await openAll(stage, id, 2);
      await say(viewers[0], id, "hello");
      // What the publisher says afterwards, and after the server has read the player's message,
      // shows that all of it has been passed on.
      await until("the server has read it", async () =>
        (await stage.server.metrics()).get('leafcutter_data_messages_total{direction="in"}') === 1);
      await say(publisher, id, "end");
      for (const viewer of viewers) await hears(viewer, "a player", ["end"]);
      if (publisherHears) await hears(publisher, "the publisher", ["hello"]);
      else assert.deepEqual(await texts(publisher), []);
      await close();
    });
  });
}

describe("dataChannelWebHookURL", () => {
  let stage;
  let folder;
  let hook;
  const posted = [];
  before(async () => {
    hook = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const { headers } = request;
      posted.push(await new Response(Buffer.concat(chunks), { headers }).formData());
      response.end();
    });
    await new Promise((resolve) => hook.listen(0, "127.0.0.1", resolve));
    folder = mkdtempSync(path.join(CACHE, "config-"));
    const file = path.join(folder, "leafcutter.toml");
    const url = `http://127.0.0.1:${hook.address().port}/data`;
    writeFileSync(file, `[app.default]\ndataChannelWebHookURL = "${url}"\n`);
    stage = await Stage.open({ label: "data_channel_hook", serverArgs: ["--config", file] });
  }, GUARD);
  after(async () => {
    await stage?.close();
    hook?.close();
    rmSync(folder, { recursive: true, force: true });
  }, GUARD);

  test("every message is posted as it was said, in order", GUARD, async () => {
    const id = freshId("hook");
    const { publisher, viewers, close } = await openAll(stage, id, 1);
    await say(publisher, id, "from the publisher");
    await hears(viewers[0], "the player", ["from the publisher"]);
    await say(viewers[0], id, "from the player");
    await until("both are posted", () => posted.length >= 2);
    const said = posted.map((form) => form.get("data"));
    assert.deepEqual(said, ["from the publisher", "from the player"]);
    await close();
  });
});
