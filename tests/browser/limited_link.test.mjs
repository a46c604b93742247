// A viewer behind a link whose rate changes: the layer that it is sent follows, the picture goes on, and the
// sound never stops.
//
// `bash tests/run.sh --all` holds pauses to what a viewer would notice, and stays long on the worst link; else
// the bound is one that a busy machine keeps.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Link } from "./lib/link.mjs";
import { throughout, until } from "./lib/poll.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 240_000 };
const ALL = process.env.LEAFCUTTER_ALL === "1";
const SIZE = { width: 1280, height: 720, frameRate: 15 };
const ENCODINGS = [
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: 2_000_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 450_000 },
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
];
/** Of the bitrates above, the publisher must really send this share. */
const FILLED = 0.6;
const WIDE_KBPS = 5000;
const NARROW_KBPS = 700;
/** A layer that has stayed for so long has settled; that begins within. */
const SETTLED_MS = 4000;
const SETTLE_MS = 15_000;
const FALL_MS = 3000;
const RETURN_MS = 10_000;
const PAUSE_MS_MAX = ALL ? 800 : 2500;
const WORST = { kbps: 400, lossPercent: 2, forMs: ALL ? 60_000 : 20_000, concealedPercentMax: 3 };

describe("a link whose rate changes", () => {
  let stage;
  let link;
  let far;
  let impossible;

  before(async () => {
    try {
      link = Link.open();
      link.limit(WIDE_KBPS);
    } catch (error) {
      link?.close();
      impossible = error.message;
      console.error(`\n!!! NOT TESTED: ${error.message}. Run as root, with ip, tc and nft installed.\n`);
      return;
    }
    ({ stage, far } = await Stage.openBehind(link, { label: "limited_link" }));
  }, GUARD);

  after(() => stage?.close(), GUARD);

  test("the layer follows, pictures and sound go on", GUARD, async (context) => {
    if (impossible) return context.skip(impossible);
    const id = freshId("limited");
    const publisher = await stage.publisher(id, { codec: "video/VP8", encodings: ENCODINGS, size: SIZE, noise: true });
    await fills(publisher, context);
    const viewer = await stage.viewer(id, {}, far);
    await viewer.waitForMedia();
    await viewer.tab.run(() => window.kit.watchGaps());
    const settled = await settles(viewer, 720, context);
    context.diagnostic(`settled on the top layer after ${settled} ms`);
    await report(viewer, context, "wide");

    link.limit(NARROW_KBPS);
    const fell = await reaches(viewer, (height) => height < 720, FALL_MS);
    context.diagnostic(`lower layer after ${fell} ms`);
    await throughout(async () => assert.ok(await height(viewer) < 720), { during: 4000 });
    const pause = await report(viewer, context, "narrow");
    assert.ok(pause <= PAUSE_MS_MAX, `no picture for ${pause} ms when the link became narrow`);

    link.limit(WIDE_KBPS);
    const returned = await reaches(viewer, (height) => height === 720, RETURN_MS);
    context.diagnostic(`top layer again after ${returned} ms`);
    await report(viewer, context, "wide again");

    link.limit(WORST.kbps);
    link.lose(WORST.lossPercent);
    const before = (await viewer.stats()).received;
    await throughout(async () => context.diagnostic(await state(viewer)), { during: WORST.forMs, every: 5000 });
    const now = (await viewer.stats()).received;
    await report(viewer, context, "worst");
    const samples = now.audio.totalSamplesReceived - before.audio.totalSamplesReceived;
    const concealed = 100 * (now.audio.concealedSamples - before.audio.concealedSamples) / samples;
    const packets = now.audio.packetsReceived - before.audio.packetsReceived;
    context.diagnostic(`${concealed.toFixed(2)} % of ${samples} samples concealed, ${packets} packets of audio`);
    assert.ok(packets > WORST.forMs / 20 * 0.9, `${packets} packets of audio came`);
    assert.ok(concealed < WORST.concealedPercentMax, `${concealed} % of the samples were concealed`);
    assert.ok(now.video.framesDecoded > before.video.framesDecoded, "pictures come too");
    assert.deepEqual(await viewer.errors(), []);
    await Promise.all([publisher.close(), viewer.close()]);
  });
});

/** Waits until the publisher fills what it may send in each layer. */
async function fills(publisher, context) {
  const rates = new Map();
  let last = new Map();
  await until("every layer is filled", async () => {
    const { outbound } = await publisher.stats();
    const video = outbound.filter(({ kind }) => kind === "video");
    for (const { rid, bytesSent, timestamp } of video) {
      const was = last.get(rid);
      if (was) rates.set(rid, (bytesSent - was.bytesSent) * 8000 / (timestamp - was.timestamp));
    }
    last = new Map(video.map((each) => [each.rid, each]));
    return ENCODINGS.every(({ rid, maxBitrate }) => rates.get(rid) > maxBitrate * FILLED);
  }, { within: 30_000, every: 1000 });
  context.diagnostic([...rates].map(([rid, bps]) => `${rid}: ${(bps / 1000).toFixed(0)} kbit/s`).join(", "));
}

async function height(viewer) {
  return (await viewer.stats()).received.video?.frameHeight;
}

/** Waits until `holds` of the height of the pictures; returns how long that took, in ms. */
async function reaches(viewer, holds, within) {
  const began = performance.now();
  await until("the layer changes", async () => holds(await height(viewer)), { within, every: 50 });
  return Math.round(performance.now() - began);
}

/** Waits until pictures have been `rows` high for `SETTLED_MS`; returns how long that took to begin, in ms. */
async function settles(viewer, rows, context) {
  const began = performance.now();
  let since = began;
  let before;
  await until("the layer settles", async () => {
    const now = await height(viewer);
    if (now !== rows) since = performance.now();
    if (now !== before) context.diagnostic(`${Math.round(performance.now() - began)} ms: ${now} rows; ${await state(viewer)}`);
    before = now;
    return performance.now() - since > SETTLED_MS;
  }, { within: SETTLE_MS + SETTLED_MS, every: 50 });
  return Math.round(since - began);
}

async function state(viewer) {
  const { video, audio } = (await viewer.stats()).received;
  const told = (await viewer.events()).findLast(({ name }) => name === "bitrateMeasurement")?.detail;
  const { targetBitrate, videoBitrate, audioBitrate } = told ?? {};
  return JSON.stringify({
    height: video.frameHeight, frames: video.framesDecoded, freezes: video.freezeCount,
    frozen: video.totalFreezesDuration, lost: video.packetsLost, nack: video.nackCount, pli: video.pliCount,
    concealed: audio.concealedSamples, targetBitrate, videoBitrate, audioBitrate,
  });
}

/** Reports what the viewer shows; returns its longest pause between two pictures since the last time, in ms. */
async function report(viewer, context, word) {
  const gaps = await viewer.tab.run(() => window.kit.takeGaps());
  const longest = Math.max(0, ...gaps);
  context.diagnostic(`${word}: ${gaps.length} pictures, longest pause ${longest.toFixed(0)} ms; ${await state(viewer)}`);
  return longest;
}
