// Browsers behind a firewall that lets no UDP through publish and play over TCP (RFC 6544).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Link } from "./lib/link.mjs";
import { until } from "./lib/poll.mjs";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
const WATCH_MS = 10_000;

/** Runs in the page: protocol and far end of the pair that media of `id` takes. */
async function pairOf(id) {
  const report = await window.kit.adaptor.remotePeerConnection[id].getStats();
  const all = [...report.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = report.get(transport?.selectedCandidatePairId);
  const [local, remote] = [report.get(pair?.localCandidateId), report.get(pair?.remoteCandidateId)];
  return { local: local?.protocol, remote: remote?.protocol, port: remote?.port };
}

describe("a firewall that lets no UDP through", () => {
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
    ({ stage, far } = await Stage.openBehind(link, { label: "ice_tcp", serverArgs: ["--media-tcp-port", "0"] }));
  }, GUARD);

  after(() => stage?.close(), GUARD);

  const protocol = async (page) => (await page.tab.run(pairOf, page.id)).remote;

  test("a viewer and a publisher behind it are served over TCP", GUARD, async (context) => {
    if (impossible) return context.skip(impossible);
    link.blockUdp();
    const [near, behind] = [freshId("tcp-viewer"), freshId("tcp-publisher")];
    const publisher = await stage.publisher(near);
    const viewer = await stage.viewer(near, {}, far);
    await viewer.waitForMedia();
    assert.deepEqual(await protocol(publisher), "udp");
    const pair = await viewer.tab.run(pairOf, near);
    assert.deepEqual([pair.local, pair.remote], ["tcp", "tcp"]);
    await assertSteady(publisher, [viewer], { during: WATCH_MS });

    const farPublisher = await stage.publisher(behind, {}, far);
    const nearViewer = await stage.viewer(behind);
    await nearViewer.waitForMedia();
    assert.equal(await protocol(farPublisher), "tcp");
    await assertSteady(farPublisher, [nearViewer], { during: WATCH_MS });

    const metrics = await stage.server.metrics();
    assert.equal(metrics.get("leafcutter_tcp_conns"), 2);
    assert.equal(metrics.get('leafcutter_packets_dropped_total{reason="tcp_full"}'), 0);
    await Promise.all([publisher, viewer, farPublisher, nearViewer].map((page) => page.close()));
    await until("the connections are closed", async () =>
      (await stage.server.metrics()).get("leafcutter_tcp_conns") === 0);
  });

  test("where UDP comes through it is used, and TCP when that ends", GUARD, async (context) => {
    if (impossible) return context.skip(impossible);
    link.blockUdp(false);
    const id = freshId("tcp-later");
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id, {}, far);
    await viewer.waitForMedia();
    assert.equal(await protocol(viewer), "udp");
    const open = async () => (await stage.server.metrics()).get("leafcutter_tcp_conns");
    await until("the connections that were tried are given up", async () => await open() === 0);
    link.blockUdp();
    await until("media take the other way", async () => await protocol(viewer) === "tcp", { within: 30_000 });
    await viewer.waitForMedia();
    const decoded = async () => (await viewer.stats()).received.video.framesDecoded;
    const before = await decoded();
    await until("pictures go on", async () => await decoded() > before + 30);
    await Promise.all([publisher, viewer].map((page) => page.close()));
  });
});
