// The main job with the unmodified SDK: one page publishes, others play.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "./lib/poll.mjs";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

describe("publish and play in Chromium", () => {
  /** @type {Stage} */
  let stage;
  before(async () => { stage = await Stage.open({ label: "publish_play" }); }, GUARD);
  after(() => stage?.close(), GUARD);

  test("one publisher and three viewers run for 15 s without a hitch", GUARD, async () => {
    const id = freshId("basic");
    const publisher = await stage.publisher(id);
    const viewers = [
      await stage.viewer(id),
      await stage.viewer(id),
      await stage.viewer(id, { element: false }),
    ];
    await Promise.all(viewers.map((viewer) => viewer.waitForMedia()));
    await assertSteady(publisher, viewers, { during: 15_000 });

    assert.deepEqual(await publisher.told(), ["initialized", "publish_started"]);
    for (const viewer of viewers.slice(0, 2)) {
      assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);
      await assertOneStream(viewer, id);
      const { width, height, time, paused } = await viewer.picture();
      assert.deepEqual({ width, height, paused }, { width: 640, height: 360, paused: false });
      assert.ok(time > 5, `the element has played ${time} s`);
    }

    const byCallback = viewers[2];
    assert.deepEqual(await byCallback.told(), ["initialized", "newTrackAvailable", "newTrackAvailable", "play_started"]);
    const tracks = (await byCallback.events()).filter(({ name }) => name === "newTrackAvailable");
    assert.deepEqual(tracks.map(({ trackId }) => trackId).sort(), [`ARDAMSa${id}`, `ARDAMSv${id}`]);
    assert.deepEqual(tracks.map(({ realId }) => realId).sort(), [`ARDAMSa${id}`, `ARDAMSv${id}`]);
    assert.equal(new Set(tracks.map(({ stream }) => stream)).size, 1, "both tracks come in one MediaStream");
    assert.deepEqual(tracks.map(({ streamId }) => streamId), [id, id]);
    await closeAll(publisher, ...viewers);
  });

  for (const codec of ["video/H264", "video/VP9", "video/AV1"]) {
    test(`${codec} preferred by the publisher reaches the viewers as it is`, GUARD, async () => {
      const id = freshId("codec");
      const publisher = await stage.publisher(id, { codec });
      const viewers = [await stage.viewer(id), await stage.viewer(id, { element: false })];
      for (const viewer of viewers) {
        const { video } = await viewer.waitForMedia();
        assert.equal(video.codec, codec);
      }
      await assertSteady(publisher, viewers, { during: 3000 });
      assert.deepEqual(await viewers[0].told(), ["initialized", "play_started"]);
      await assertOneStream(viewers[0], id);
      await closeAll(publisher, ...viewers);
    });
  }

  test("audio only", GUARD, async () => {
    const id = freshId("audio");
    const publisher = await stage.publisher(id, { video: false });
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia({ video: false });
    await assertSteady(publisher, [viewer], { during: 3000, video: false });
    assert.deepEqual((await viewer.picture()).tracks.map(({ kind, id }) => [kind, id]), [["audio", `ARDAMSa${id}`]]);
    await closeAll(publisher, viewer);
  });

  test("video only", GUARD, async () => {
    const id = freshId("video");
    const publisher = await stage.publisher(id, { audio: false });
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia({ audio: false });
    await assertSteady(publisher, [viewer], { during: 3000, audio: false });
    assert.deepEqual((await viewer.picture()).tracks.map(({ kind, id }) => [kind, id]), [["video", `ARDAMSv${id}`]]);
    await closeAll(publisher, viewer);
  });

  test("a publisher with a data channel only reaches publish_started", GUARD, async () => {
    const id = freshId("data");
    const publisher = await stage.publisher(id, { dataOnly: true });
    assert.deepEqual(await publisher.errors(), []);
    await until("ICE is connected", async () => (await publisher.stats()).iceState === "connected");
    await closeAll(publisher);
  });

  test("a main track's picture and a subtrack's sound come together in one element", GUARD, async () => {
    const main = freshId("main");
    const sound = freshId("sound");
    const picture = await stage.publisher(main, { audio: false });
    const speaker = await stage.page(sound, { role: "publish", video: false });
    await speaker.call("publish", sound, "", "", "", "", main);
    await speaker.waitFor("publish_started");
    const viewer = await stage.viewer(main);
    await viewer.waitForMedia();
    const { tracks, width, time } = await viewer.picture();
    assert.deepEqual(
      tracks.map(({ kind, id }) => [kind, id]).sort(),
      [["audio", `ARDAMSa${sound}`], ["video", `ARDAMSv${main}`]],
    );
    assert.equal(width, 640);
    await until("the element goes on", async () => (await viewer.picture()).time > time + 2);

    await speaker.call("stop", sound);
    await until("the sound has left the element", async () =>
      (await viewer.picture()).tracks.every(({ kind }) => kind === "video"));
    await speaker.watchIsOver();
    await speaker.call("publish", sound, "", "", "", "", main);
    await until("and is back", async () => (await viewer.picture()).tracks.length === 2);
    await viewer.waitForMedia();
    assert.deepEqual(await viewer.errors(), []);
    await closeAll(picture, speaker, viewer);
  });

  test("play in object style works as the positional form does", GUARD, async () => {
    const id = freshId("object");
    const publisher = await stage.publisher(id);
    const viewer = await stage.page(id, { role: "play" });
    await viewer.call("play", { streamId: id });
    await viewer.waitFor("play_started");
    await viewer.waitForMedia();
    await assertSteady(publisher, [viewer], { during: 3000 });
    await closeAll(publisher, viewer);
  });

  test("each of the three applications serves, and they do not share streams", GUARD, async () => {
    const id = freshId("apps");
    const publisher = await stage.publisher(id, { url: stage.server.socket("WebRTCAppEE") });
    const stranger = await stage.page(id, { role: "play", url: stage.server.socket("live") });
    await stranger.call("play", id);
    await stranger.waitFor("no_stream_exist");
    const viewer = await stage.viewer(id, { url: stage.server.socket("WebRTCAppEE") });
    await viewer.waitForMedia();
    await closeAll(publisher, stranger, viewer);
  });
});

/** Picture and sound came in one MediaStream, under the promised track ids. */
async function assertOneStream(viewer, id) {
  const { tracks } = await viewer.picture();
  assert.deepEqual(
    tracks.map(({ kind, id }) => [kind, id]).sort(),
    [["audio", `ARDAMSa${id}`], ["video", `ARDAMSv${id}`]],
  );
}

function closeAll(...pages) {
  return Promise.all(pages.map((page) => page.close()));
}
