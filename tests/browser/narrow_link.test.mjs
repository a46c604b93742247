// A viewer behind a link whose rate changes: the layer that it is sent follows, the picture keeps moving.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { openChromium } from "./lib/browsers.mjs";
import { LossyLink } from "./lib/lossy_link.mjs";
import { until } from "./lib/poll.mjs";
import { Server } from "./lib/server.mjs";
import { openSite } from "./lib/site.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 300_000 };
const SIZE = { width: 1280, height: 720, frameRate: 15 };
const SIMULCAST = [
  { rid: "h", scaleResolutionDownBy: 1 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
];

describe("a link whose rate changes", () => {
  let stage;
  let link;
  let far;
  let impossible;

  before(async () => {
    try {
      link = LossyLink.open(0);
      limit(link, "5mbit");
    } catch (error) {
      impossible = error.message;
      console.error(`\n!!! NOT TESTED: ${error.message}. Run as root, with ip, tc and nft installed.\n`);
      return;
    }
    stage = new Stage();
    stage.app = "LiveApp";
    stage.closers = [() => link.close()];
    stage.server = await Server.start({ label: "narrow_link", host: link.address, args: ["--announce", link.address] });
    stage.closers.push(() => stage.server.stop());
    stage.site = await openSite(link.address);
    stage.closers.push(() => stage.site.close());
    const args = [`--unsafely-treat-insecure-origin-as-secure=${stage.site.origin}`];
    stage.browser = await openChromium({ args });
    stage.closers.push(() => stage.browser.close());
    far = await openChromium({ args, executablePath: link.wrapper("/usr/bin/chromium") });
    stage.closers.push(() => far.close());
  }, GUARD);

  after(() => stage?.close(), GUARD);

  test("the layer falls and returns", GUARD, async (context) => {
    if (impossible) return context.skip(impossible);
    const id = freshId("narrow");
    const publisher = await stage.publisher(id, { codec: "video/VP8", encodings: SIMULCAST, size: SIZE });
    const viewer = await stage.viewer(id, {}, far);
    await viewer.waitForMedia();
    for (const [rate, reaches] of [["5mbit", (h) => h === 720], ["700kbit", (h) => h < 720], ["5mbit", (h) => h === 720]]) {
      const before = (await viewer.stats()).received.video;
      limit(link, rate);
      const began = performance.now();
      const now = await until(`the height at ${rate}`, async () => {
        const { video } = (await viewer.stats()).received;
        return reaches(video.frameHeight) && video;
      });
      const took = performance.now() - began;
      await new Promise((resolve) => setTimeout(resolve, 8000));
      const later = (await viewer.stats()).received.video;
      const frozen = later.totalFreezesDuration - before.totalFreezesDuration;
      const events = (await viewer.events()).filter(({ name }) => name === "bitrateMeasurement");
      context.diagnostic(
        `${rate}: ${now.frameHeight} after ${took.toFixed(0)} ms, later ${later.frameHeight}, ` +
        `${frozen.toFixed(2)} s frozen, told ${JSON.stringify(events.at(-1)?.detail)}`);
      assert.ok(later.framesDecoded > now.framesDecoded, "the picture moves");
    }
    await Promise.all([publisher.close(), viewer.close()]);
  });
});

/** What goes to the viewer passes a token bucket of this rate with a queue of 300 ms. */
function limit(link, rate) {
  execFileSync("tc", ["qdisc", "replace", "dev", link.near, "root", "tbf", "rate", rate, "burst", "10kb", "latency", "300ms"]);
}
