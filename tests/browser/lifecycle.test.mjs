// How sessions end, are refused, and come back, as the SDK's users see it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openChromium } from "./lib/browsers.mjs";
import { throughout, until } from "./lib/poll.mjs";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
/** `webRTCClientStartTimeoutMs`, its default: how long a broadcast outlives a publisher that left without `stop`. */
const TAKEOVER_MS = 5000;
/** A killed process is noticed by its socket, after its own last packets. */
const NOTICE_MS = 1000;
/** Well inside the takeover window: a `stop` needs none. */
const AT_ONCE_MS = 4500;

describe("the life of a session", () => {
  /** @type {Stage} */
  let stage;
  before(async () => { stage = await Stage.open({ label: "lifecycle" }); }, GUARD);
  after(() => stage?.close(), GUARD);

  test("a viewer stops: it alone is told, the others go on", GUARD, async () => {
    const id = freshId("leave");
    const publisher = await stage.publisher(id);
    const leaver = await stage.viewer(id);
    const stayer = await stage.viewer(id);
    await Promise.all([leaver.waitForMedia(), stayer.waitForMedia()]);
    await leaver.watchIsOver();
    await leaver.call("stop", id);
    await leaver.waitFor("play_finished");
    await assertSteady(publisher, [stayer], { during: 3000 });
    assert.deepEqual(await leaver.told(), ["initialized", "play_started", "play_finished"]);
    assert.deepEqual(await leaver.errors(), []);
    assert.deepEqual(await stayer.told(), ["initialized", "play_started"]);

    await leaver.call("play", id);
    await until("the page that left plays again", async () => {
      const played = (await leaver.told()).filter((name) => name === "play_started").length;
      return played === 2 && (await leaver.stats())?.received.video?.framesDecoded > 5;
    });
    assert.deepEqual(await leaver.errors(), []);
    await closeAll(publisher, leaver, stayer);
  });

  test("the publisher stops: it and its viewers are told", GUARD, async () => {
    const id = freshId("finish");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    await publisher.watchIsOver();
    await publisher.call("stop", id);
    await publisher.waitFor("publish_finished");
    await viewer.waitFor("play_finished", { within: AT_ONCE_MS });
    assert.deepEqual(await publisher.told(), ["initialized", "publish_started", "publish_finished"]);
    assert.deepEqual((await viewer.told()).slice(0, 3), ["initialized", "play_started", "play_finished"]);
    assert.deepEqual(await publisher.errors(), []);

    // The id is free at once.
    await publisher.call("publish", id);
    await until("published again", async () =>
      (await publisher.told()).filter((name) => name === "publish_started").length === 2);
    assert.deepEqual(await publisher.errors(), []);
    await closeAll(publisher, viewer);
  });

  test("a viewer that came first is told no_stream_exist and gets in when the broadcast begins", GUARD, async () => {
    const id = freshId("early");
    const viewer = await stage.page(id, { role: "play" });
    await viewer.call("play", id);
    const refusal = await viewer.waitFor("no_stream_exist");
    assert.equal(refusal.message.streamId, id);
    assert.equal(refusal.message.error_code, "404");
    const publisher = await stage.publisher(id);
    // The SDK asks again by itself every few seconds.
    await viewer.waitFor("play_started", { within: 15_000 });
    await viewer.waitForMedia();
    assert.deepEqual([...new Set(await viewer.errors())], ["no_stream_exist"]);
    assert.deepEqual(await publisher.errors(), []);
    await closeAll(publisher, viewer);
  });

  test("publishing twice on a page is refused and the first goes on", GUARD, async () => {
    const id = freshId("twice");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    await publisher.call("publish", id);
    const refusal = await publisher.waitFor("already_publishing");
    assert.equal(refusal.message.streamId, id);
    await assertGrowing(viewer, 4000);
    assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);
    await closeAll(publisher, viewer);
  });

  test("playing twice on a page is refused and the first goes on", GUARD, async () => {
    const id = freshId("again");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    await viewer.call("play", id);
    await viewer.waitFor("already_playing");
    await assertGrowing(viewer, 4000);
    assert.deepEqual((await viewer.told()), ["initialized", "play_started"]);
    await closeAll(publisher, viewer);
  });

  test("publishing an id of another page is refused and the first goes on", GUARD, async () => {
    const id = freshId("taken");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    const intruder = await stage.page(id, { role: "publish" });
    await intruder.call("publish", id);
    const refusal = await intruder.waitFor("streamIdInUse");
    assert.equal(refusal.message.streamId, id);
    // The intruder's SDK goes on trying, with a stop before each try: neither may disturb the owner.
    await until("the intruder has tried again", async () =>
      (await intruder.errors()).filter((error) => error === "streamIdInUse").length >= 2);
    await assertSteady(publisher, [viewer], { during: 3000 });
    await closeAll(publisher, viewer, intruder);
  });

  test("an id with forbidden characters is refused", GUARD, async () => {
    const page = await stage.page("bad", { role: "play" });
    await page.call("play", "no spaces/please");
    await page.waitFor("invalidStreamName");
    await page.call("play", "");
    await page.waitFor("noStreamNameSpecified");
    await page.close();
  });

  test("a publisher that is killed leaves its viewers for the takeover window, then they are told", GUARD, async () => {
    const id = freshId("killed");
    const victim = await openChromium();
    stage.closers.push(() => victim.close().catch(() => {}));
    await stage.publisher(id, {}, victim);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    const begun = await viewer.tab.run(() => performance.now());
    await victim.kill();
    const finished = await viewer.waitFor("play_finished", { within: TAKEOVER_MS * 3 });
    const waited = finished.at - begun;
    assert.ok(waited > TAKEOVER_MS - NOTICE_MS, `play_finished came after ${waited} ms, inside the takeover window`);
    assert.deepEqual((await viewer.told()).slice(0, 3), ["initialized", "play_started", "play_finished"]);

    // The id is free again.
    const heir = await stage.publisher(id);
    assert.deepEqual(await heir.errors(), []);
    await closeAll(viewer, heir);
  });

  test("a publisher whose page is reloaded takes its broadcast over and the viewers go on", GUARD, async () => {
    const id = freshId("reload");
    const first = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    await first.close();
    const second = await stage.publisher(id);
    const { framesDecoded } = (await viewer.stats()).received.video;
    await until("the viewer decodes the new publisher's frames", async () =>
      (await viewer.stats()).received.video.framesDecoded > framesDecoded + 40);
    assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);
    assert.deepEqual(await viewer.errors(), []);
    assert.deepEqual(await second.errors(), []);
    await closeAll(second, viewer);
  });
});

/** Frames are decoded all the time; what the error callback says is the test's own matter. */
async function assertGrowing(viewer, during) {
  let before = (await viewer.stats()).received.video.framesDecoded;
  await throughout(async () => {
    const now = (await viewer.stats()).received.video.framesDecoded;
    assert.ok(now > before, `frames decoded must grow, was ${before}, is ${now}`);
    before = now;
  }, { during, every: 2000 });
}

function closeAll(...pages) {
  return Promise.all(pages.map((page) => page.close()));
}
