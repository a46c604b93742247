// Layers: Chromium publishes several at once, a viewer is switched between them by `forceStreamQuality`.
//
// `bash tests/run.sh --all` tries every codec and Firefox too, and holds freezes to a second; else two codecs are
// tried, and the bound is one that a busy machine keeps.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openFirefox } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 300_000 };
/** Chromium's own estimate decides when it sends the top layer, and begins anew after a hiccup. */
const CLIMB = { within: 90_000 };
const SIZE = { width: 1280, height: 720, frameRate: 15 };
const SIMULCAST = [
  { rid: "h", scaleResolutionDownBy: 1 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
];
const ALL = process.env.LEAFCUTTER_ALL === "1";
const FROZEN_MAX = ALL ? 1 : 5;
const SWITCHES = [180, 360, 720, 180, 720, 360, 720, 360, 180, 720];

const EVERY_CASE = [
  { name: "VP8 simulcast", always: true, codec: "video/VP8", encodings: SIMULCAST },
  { name: "H.264 simulcast", codec: "video/H264", encodings: SIMULCAST },
  { name: "VP9 simulcast", codec: "video/VP9", encodings: SIMULCAST.map((each) => ({ ...each, scalabilityMode: "L1T3" })) },
  { name: "VP9 SVC by L3T3_KEY", always: true, codec: "video/VP9", encodings: [{ scalabilityMode: "L3T3_KEY" }] },
  { name: "VP9 SVC by L3T3", codec: "video/VP9", encodings: [{ scalabilityMode: "L3T3" }] },
  { name: "AV1 SVC by L3T3", codec: "video/AV1", encodings: [{ scalabilityMode: "L3T3" }] },
  { name: "AV1 SVC by L3T3_KEY", codec: "video/AV1", encodings: [{ scalabilityMode: "L3T3_KEY" }] },
];
const CASES = EVERY_CASE.filter(({ always }) => ALL || always);

describe("layers in Chromium", () => {
  /** @type {Stage} */
  let stage;
  before(async () => { stage = await Stage.open({ label: "layers" }); }, GUARD);
  after(() => stage?.close(), GUARD);

  for (const { name, codec, encodings } of CASES) {
    test(`${name}: ten forced switches keep the picture moving`, GUARD, (context) =>
      tenSwitches(context, { stage, codec, encodings }));
  }

  test("stream information lists the layers with what they carry", GUARD, async () => {
    const id = freshId("listed");
    const publisher = await stage.publisher(id, { codec: "video/VP8", encodings: SIMULCAST, size: SIZE });
    const viewer = await stage.viewer(id);
    await reaches(viewer, 720, CLIMB);
    const listed = await until("three layers are listed", async () => {
      await viewer.call("getStreamInfo", id);
      const events = (await viewer.events()).filter(({ name }) => name === "streamInformation");
      const { streamInfo } = events.at(-1)?.detail ?? {};
      return streamInfo?.length === 3 && streamInfo.every(({ videoBitrate }) => videoBitrate > 0) && streamInfo;
    });
    assert.deepEqual(listed.map(({ streamHeight }) => streamHeight), [720, 360, 180]);
    assert.deepEqual(listed.map(({ streamWidth }) => streamWidth), [1280, 640, 320]);
    assert.deepEqual([...new Set(listed.map(({ videoCodec }) => videoCodec))], ["VP8"]);
    await Promise.all([publisher.close(), viewer.close()]);
  });

  test("a layer that the publisher stops in the middle of a call is replaced, and comes back", GUARD, async () => {
    const id = freshId("stopped");
    const publisher = await stage.publisher(id, { codec: "video/VP8", encodings: SIMULCAST, size: SIZE });
    const viewer = await stage.viewer(id);
    await reaches(viewer, 720, CLIMB);
    await activate(publisher, id, { h: false });
    await reaches(viewer, 360);
    await activate(publisher, id, { m: false });
    await reaches(viewer, 180);
    await activate(publisher, id, { h: true, m: true });
    await reaches(viewer, 720, CLIMB);
    await moves(viewer, 720);
    await Promise.all([publisher.close(), viewer.close()]);
  });
});

if (ALL) describe("layers in Firefox", () => {
  /** @type {Stage} */
  let stage;
  let firefox;
  before(async () => {
    stage = await Stage.open({ label: "layers_firefox" });
    firefox = await openFirefox();
    stage.closers.push(() => firefox.close());
  }, GUARD);
  after(() => stage?.close(), GUARD);

  // Debian's Firefox has H.264 only where a codec library or plugin is installed.
  for (const { name, codec, encodings } of CASES.filter((each) => each.codec !== "video/H264")) {
    test(`${name}: ten forced switches keep the picture moving`, GUARD, (context) =>
      tenSwitches(context, { stage, codec, encodings, browser: firefox }));
  }
});

/** Chromium publishes layers, a viewer in `browser` is switched between them. */
async function tenSwitches(context, { stage, codec, encodings, browser }) {
  const id = freshId("layers");
  const publisher = await stage.publisher(id, { codec, encodings, size: SIZE });
  const viewer = await stage.viewer(id, {}, browser);
  const { video } = await viewer.waitForMedia();
  assert.equal(video.codec, codec);
  await reaches(viewer, 720, CLIMB);

  const heights = [];
  for (const height of SWITCHES) {
    const before = (await viewer.stats()).received.video;
    const asked = performance.now();
    await viewer.call("forceStreamQuality", id, height);
    const now = await reaches(viewer, height);
    const took = performance.now() - asked;
    const frozen = now.totalFreezesDuration - before.totalFreezesDuration;
    context.diagnostic(`${height}: after ${took.toFixed(0)} ms, ${frozen.toFixed(2)} s frozen`);
    assert.ok(frozen < FROZEN_MAX, `frozen for ${frozen} s on the way to ${height}`);
    await moves(viewer, height);
    heights.push(height);
  }
  // A publisher may begin with fewer layers, so there may have been changes before.
  const all = await until("the last change is told", async () => {
    const all = await told(viewer);
    return all.length >= heights.length && all.at(-1) === heights.at(-1) && all;
  });
  assert.deepEqual(all.slice(-heights.length), heights, "each change is told once");
  assert.deepEqual(await viewer.errors(), [], "no error callback");
  assert.deepEqual((await publisher.errors()), [], "no error callback");
  await Promise.all([publisher.close(), viewer.close()]);
}

/** The heights that the viewer was told of. */
async function told(viewer) {
  const events = (await viewer.events()).filter(({ name }) => name === "resolutionChangeInfo");
  return events.map(({ detail }) => detail.streamHeight);
}

/** Waits until the viewer decodes pictures of this height. */
function reaches(viewer, height, { within = 30_000 } = {}) {
  return until(`pictures are ${height} high`, async () => {
    const { video } = (await viewer.stats()).received;
    return video?.frameHeight === height && video;
  }, { within, every: 50 });
}

/** Waits until more pictures of this height are decoded. */
async function moves(viewer, height) {
  const before = (await viewer.stats()).received.video.framesDecoded;
  return until("pictures go on", async () => {
    const { video } = (await viewer.stats()).received;
    assert.equal(video.frameHeight, height);
    return video.framesDecoded > before + 10;
  });
}

/** Switches encodings of a publisher on and off, by RID. */
function activate(publisher, id, wish) {
  return publisher.tab.run(async ({ id, wish }) => {
    const connection = window.kit.adaptor.remotePeerConnection[id];
    const sender = connection.getSenders().find((each) => each.track?.kind === "video");
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) {
      encoding.active = wish[encoding.rid] ?? encoding.active;
    }
    await sender.setParameters(parameters);
  }, { id, wish });
}
