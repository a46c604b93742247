// The same SDK page in Firefox, against Chromium at the other end.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openFirefox } from "./lib/browsers.mjs";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

describe("publish and play in Firefox", () => {
  /** @type {Stage} */
  let stage;
  let firefox;
  before(async () => {
    stage = await Stage.open({ label: "firefox" });
    firefox = await openFirefox();
    stage.closers.push(() => firefox.close());
  }, GUARD);
  after(() => stage?.close(), GUARD);

  test("Firefox watches what Chromium publishes", GUARD, async () => {
    const id = freshId("watch");
    const publisher = await stage.publisher(id);
    const viewers = [await stage.viewer(id, {}, firefox), await stage.viewer(id, { element: false }, firefox)];
    await Promise.all(viewers.map((viewer) => viewer.waitForMedia()));
    await assertSteady(publisher, viewers, { during: 15_000 });

    assert.deepEqual(await viewers[0].told(), ["initialized", "play_started"]);
    const { tracks, width, height } = await viewers[0].picture();
    assert.deepEqual(tracks.map(({ kind }) => kind).sort(), ["audio", "video"], "one MediaStream holds both");
    assert.deepEqual({ width, height }, { width: 640, height: 360 });

    assert.deepEqual(await viewers[1].told(), ["initialized", "newTrackAvailable", "newTrackAvailable", "play_started"]);
    const given = (await viewers[1].events()).filter(({ name }) => name === "newTrackAvailable");
    assert.deepEqual(given.map(({ trackId }) => trackId).sort(), [`ARDAMSa${id}`, `ARDAMSv${id}`]);
    assert.equal(new Set(given.map(({ stream }) => stream)).size, 1, "both tracks come in one MediaStream");
    await closeAll(publisher, ...viewers);
  });

  test("Chromium watches what Firefox publishes", GUARD, async () => {
    const id = freshId("publish");
    const publisher = await stage.publisher(id, {}, firefox);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    await assertSteady(publisher, [viewer], { during: 3000 });
    assert.deepEqual(await publisher.told(), ["initialized", "publish_started"]);
    await closeAll(publisher, viewer);
  });

  // Debian's Firefox has H.264 only where a codec library or plugin is installed.
  test("Firefox without a broadcast's video codec still gets its sound", GUARD, async (context) => {
    const id = freshId("h264");
    const publisher = await stage.publisher(id, { codec: "video/H264" });
    const viewer = await stage.viewer(id, {}, firefox);
    const knows = await viewer.tab.run(() => RTCRtpReceiver.getCapabilities("video").codecs
      .some(({ mimeType }) => mimeType === "video/H264"));
    context.diagnostic(`this Firefox ${knows ? "has" : "has no"} H.264`);
    await viewer.waitForMedia({ video: knows });
    await assertSteady(publisher, [viewer], { during: 3000, video: knows });
    await closeAll(publisher, viewer);
  });
});

function closeAll(...pages) {
  return Promise.all(pages.map((page) => page.close()));
}
