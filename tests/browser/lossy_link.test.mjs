// A viewer behind a link that loses 3 % of the packets in each direction sees every frame.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Link } from "./lib/link.mjs";
import { throughout } from "./lib/poll.mjs";
import { Stage, freshId, perSecond } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
const LOSS_PERCENT = 3;
const WATCH_MS = 20_000;
/** Share of the frames sent that must be decoded, by their rates. */
const FULL_RATE = 0.97;

describe(`a link that loses ${LOSS_PERCENT} % each way`, () => {
  let stage;
  let link;
  let far;
  let impossible;

  before(async () => {
    try {
      link = Link.open();
    } catch (error) {
      impossible = error.message;
      console.error(`\n!!! NOT TESTED: ${error.message}. Run as root, with ip and nft installed.\n`);
      return;
    }
    link.lose(LOSS_PERCENT);
    ({ stage, far } = await Stage.openBehind(link, { label: "lossy_link" }));
  }, GUARD);

  after(() => stage?.close(), GUARD);

  test("the viewer decodes at full rate", GUARD, async (context) => {
    if (impossible) return context.skip(impossible);
    const id = freshId("lossy");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id, {}, far);
    await viewer.waitForMedia();

    const sample = async () => {
      const [{ sent }, { received }] = await Promise.all([publisher.stats(), viewer.stats()]);
      return { sent: sent.video, received: received.video, link: link.counters() };
    };
    const watch = async () => {
      const first = await sample();
      await throughout(async () => assert.deepEqual(await viewer.errors(), []), { during: WATCH_MS, every: 2000 });
      const last = await sample();
      const sent = perSecond(first.sent, last.sent, "framesSent");
      const decoded = perSecond(first.received, last.received, "framesDecoded");
      return { first, last, sent, decoded, isFull: sent > 0 && decoded >= FULL_RATE * sent };
    };
    // A machine that stands still for a moment at the border of the time is given a second one.
    let watched = await watch();
    if (!watched.isFull) {
      context.diagnostic(`decoded ${watched.decoded} of ${watched.sent} frames/s: once more`);
      watched = await watch();
    }
    const { first, last, sent, decoded, isFull } = watched;

    const lost = {
      toServer: last.link.toServer.lost - first.link.toServer.lost,
      toViewer: last.link.toViewer.lost - first.link.toViewer.lost,
    };
    const passed = last.link.toViewer.passed - first.link.toViewer.passed;
    const { nackCount, pliCount, freezeCount, retransmittedPacketsReceived } = last.received;
    context.diagnostic(`decoded ${decoded.toFixed(2)} of ${sent.toFixed(2)} frames/s; packets to the viewer: ${lost.toViewer} lost, ${passed} passed;`
      + ` to the server: ${lost.toServer} lost`);
    context.diagnostic(JSON.stringify({ nackCount, pliCount, freezeCount, retransmittedPacketsReceived }));

    const expected = ((lost.toViewer + passed) * LOSS_PERCENT) / 100;
    assert.ok(lost.toViewer > expected / 2, `the link lost ${lost.toViewer} packets towards the viewer, about ${expected} were due`);
    assert.ok(lost.toServer > 0, "the link lost packets towards the server");
    assert.ok(isFull, `decoded ${decoded} of ${sent} frames/s`);
    assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);
    await Promise.all([publisher.close(), viewer.close()]);
  });
});
