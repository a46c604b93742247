// Publisher and viewers on different workers.
//
// Each worker has its own UDP port, so the port a page is connected to names its worker; unless they
// share one.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
/** Sockets go to the least loaded worker, so this many viewers cannot all share the publisher's. */
const VIEWERS = 3;
/** Well inside the takeover window: a `stop` needs none. */
const AT_ONCE_MS = 4500;

describe("two workers", () => {
  /** @type {Stage} */
  let stage;
  before(async () => {
    stage = await Stage.open({ label: "two_workers", serverArgs: ["--workers", "2"] });
  }, GUARD);
  after(() => stage?.close(), GUARD);

  test("viewers on either worker see the same broadcast", GUARD, async (context) => {
    const id = freshId("across");
    const publisher = await stage.publisher(id);
    const viewers = [];
    for (let i = 0; i < VIEWERS; i += 1) viewers.push(await stage.viewer(id));
    await Promise.all(viewers.map((viewer) => viewer.waitForMedia()));

    const port = async (page) => (await page.stats()).pair.remote.port;
    const home = await port(publisher);
    const ports = await Promise.all(viewers.map(port));
    context.diagnostic(`publisher at port ${home}, viewers at ${ports}`);
    assert.ok(ports.some((each) => each !== home), "at least one viewer is on the other worker");

    await assertSteady(publisher, viewers, { during: 15_000 });
    assert.deepEqual(await publisher.told(), ["initialized", "publish_started"]);
    for (const viewer of viewers) assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);

    // The end crosses over as well.
    await publisher.call("stop", id);
    for (const viewer of viewers) await viewer.waitFor("play_finished", { within: AT_ONCE_MS });
    await Promise.all([publisher, ...viewers].map((page) => page.close()));
  });

  test("an id is taken on every worker, whichever worker has it", GUARD, async () => {
    const id = freshId("one");
    const publisher = await stage.publisher(id);
    for (let i = 0; i < 2; i += 1) {
      const intruder = await stage.page(id, { role: "publish" });
      await intruder.call("publish", id);
      await intruder.waitFor("streamIdInUse");
      await intruder.close();
    }
    assert.deepEqual(await publisher.errors(), []);
    await publisher.close();
  });
});

describe("two workers on one port", () => {
  /** @type {Stage} */
  let stage;
  before(async () => {
    const serverArgs = ["--workers", "2", "--media-single-port"];
    stage = await Stage.open({ label: "two_workers_one_port", serverArgs });
  }, GUARD);
  after(() => stage?.close(), GUARD);

  test("publishers and viewers of either worker use the same port", GUARD, async (context) => {
    const ids = [freshId("first"), freshId("second")];
    const publishers = [];
    for (const id of ids) publishers.push(await stage.publisher(id));
    const viewers = [];
    for (let i = 0; i < VIEWERS; i += 1) viewers.push(await stage.viewer(ids[0]));
    await Promise.all(viewers.map((viewer) => viewer.waitForMedia()));

    const pages = [...publishers, ...viewers];
    const ports = await Promise.all(pages.map(async (page) => (await page.stats()).pair.remote.port));
    assert.equal(new Set(ports).size, 1, `ports ${ports}`);
    await assertSteady(publishers[0], viewers, { during: 6000 });
    for (const viewer of viewers) assert.deepEqual(await viewer.told(), ["initialized", "play_started"]);

    const metrics = await stage.server.metrics();
    const passed = metrics.get("leafcutter_datagrams_passed_total");
    context.diagnostic(`port ${ports[0]}, ${passed} datagrams passed`);
    await Promise.all(pages.map((page) => page.close()));
  });
});
