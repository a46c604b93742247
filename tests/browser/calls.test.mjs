// Calls between two pages, switches, information, and a server that dies and comes back: what the
// unmodified SDK makes of them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { throughout, until } from "./lib/poll.mjs";
import { Server } from "./lib/server.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 180_000 };
/** Nobody waits longer for the first frame behind a switch. */
const BACK_MAX_MS = 5000;

describe("calls between two pages", () => {
  /** @type {Stage} */
  let stage;
  before(async () => {
    stage = await Stage.open({ label: "calls", serverArgs: ["--workers", "2"] });
  }, GUARD);
  after(() => stage?.close(), GUARD);

  /** A page with camera, microphone and a place for the other one's picture. */
  const caller = (id, options) => stage.page(id, { role: "call", ...options });

  test("three comings and goings, and media flow both ways each time", GUARD, async () => {
    const id = freshId("call");
    const host = await caller(id);
    await host.call("join", id);
    await host.waitFor("joined");
    let before = { sent: 0 };
    for (let round = 1; round <= 3; round += 1) {
      const guest = await caller(id);
      await guest.call("join", id);
      await guest.waitFor("joined");
      await Promise.all([host.waitForMedia(), guest.waitForMedia()]);
      const { pair, received } = await host.stats();
      const ports = [...(await mediaPorts())];
      assert.ok(!ports.includes(pair.remote.port), `media do not pass the server: ${JSON.stringify(pair)}`);
      assert.equal(received.video.frameWidth, 640);

      // They leave in turn by the command, by `stop`, and by closing the page.
      if (round === 1) await guest.call("leave", id);
      if (round === 2) await guest.call("stop", id);
      if (round < 3) await guest.waitFor("leaved");
      await guest.close();
      await until("the host's connection is closed", async () => (await host.stats()) === null);
      before = round;
    }
    assert.equal(before, 3);
    assert.deepEqual(await host.errors(), []);
    assert.deepEqual(host.tab.problems.filter((line) => line.startsWith("exception")), []);
    await host.close();
  });

  test("who stayed first takes the next one, and a third is refused", GUARD, async () => {
    const id = freshId("third");
    const [a, b, c] = [await caller(id), await caller(id), await caller(id, { element: false })];
    for (const page of [a, b]) {
      await page.call("join", id);
      await page.waitFor("joined");
    }
    await Promise.all([a.waitForMedia(), b.waitForMedia()]);
    await c.call("join", id);
    const refusal = await c.waitFor("streamIdInUse");
    assert.equal(refusal.message.streamId, id);
    await a.call("leave", id);
    await until("b is alone", async () => (await b.stats()) === null);
    // A page without an element needs the idMapping of the offer.
    await c.call("join", id);
    await c.waitFor("joined");
    await Promise.all([b.waitForMedia(), c.waitForMedia()]);
    const tracks = (await c.events()).filter(({ name }) => name === "newTrackAvailable");
    assert.deepEqual(tracks.map(({ trackId }) => trackId).sort(), [`ARDAMSa${id}`, `ARDAMSv${id}`]);
    assert.deepEqual(c.tab.problems.filter((line) => line.startsWith("exception")), []);

    await c.call("peerMessage", id, "greeting", { text: "hello" });
    const { detail } = await b.waitFor("peerMessageCommand");
    assert.deepEqual(
      { definition: detail.definition, data: detail.data, streamId: detail.streamId },
      { definition: "greeting", data: { text: "hello" }, streamId: id },
    );
    await Promise.all([a, b, c].map((page) => page.close()));
  });

  test("a page without an element may be the one that offers", GUARD, async () => {
    const id = freshId("bare");
    const [a, b] = [await caller(id, { element: false }), await caller(id)];
    await a.call("join", id);
    await a.waitFor("joined");
    await b.call("join", id);
    await Promise.all([a.waitForMedia(), b.waitForMedia()]);
    const tracks = (await a.events()).filter(({ name }) => name === "newTrackAvailable");
    assert.deepEqual(tracks.map(({ trackId }) => trackId).sort(), [`ARDAMSa${id}`, `ARDAMSv${id}`]);
    assert.deepEqual(a.tab.problems.filter((line) => line.startsWith("exception")), []);
    await Promise.all([a, b].map((page) => page.close()));
  });

  test("a player's and a publisher's switches stop bytes, and a frame is back within 1 s", GUARD, async () => {
    const id = freshId("toggle");
    const publisher = await stage.publisher(id);
    const [viewer, other] = [await stage.viewer(id), await stage.viewer(id)];
    await Promise.all([viewer.waitForMedia(), other.waitForMedia()]);
    const waits = [];
    for (let round = 0; round < 3; round += 1) {
      await viewer.call("toggleVideo", id, id, false);
      await settled(viewer, "video");
      await assertSilent(viewer, "video", { others: [other] });
      waits.push(await backWithin(viewer, "toggleVideo", id));
    }
    // The middle one: one of them may meet a moment in which the machine stands still.
    const [, middle, longest] = waits.sort((a, b) => a - b);
    assert.ok(middle < 1000 && longest < BACK_MAX_MS, `back after ${waits} ms`);
    await viewer.call("toggleAudio", id, id, false);
    await settled(viewer, "audio");
    await assertSilent(viewer, "audio", { others: [other] });
    await viewer.call("toggleAudio", id, id, true);
    await until("sound is back", async () => grows(viewer, "audio", "packetsReceived"));

    await publisher.call("enableTrack", id, id, false);
    await Promise.all([viewer, other].map((page) => settled(page, "video")));
    await assertSilent(viewer, "video", { others: [] });
    await assertSilent(other, "audio", { others: [] });
    await publisher.call("enableTrack", id, id, true);
    await until("both are back", async () =>
      (await grows(viewer, "video", "framesDecoded")) && (await grows(other, "video", "framesDecoded")));
    const { packetsLost } = (await viewer.stats()).received.video;
    assert.equal(packetsLost, 0, "a pause is no loss");
    for (const page of [publisher, viewer, other]) assert.deepEqual(await page.errors(), []);
    await Promise.all([publisher, viewer, other].map((page) => page.close()));
  });

  for (const codec of ["video/VP8", "video/H264", "video/VP9", "video/AV1"]) {
    test(`getStreamInfo shows the true size of ${codec}`, GUARD, async () => {
      const id = freshId("info");
      const publisher = await stage.publisher(id, { codec });
      const viewer = await stage.viewer(id);
      await viewer.waitForMedia();
      const entry = await until("figures are measured", async () => {
        await viewer.call("getStreamInfo", id);
        const found = (await viewer.events()).filter(({ name }) => name === "streamInformation");
        const latest = found.at(-1)?.detail.streamInfo?.[0];
        return latest?.videoBitrate > 0 && latest.audioBitrate > 0 && latest.streamWidth > 0 && latest;
      }, { every: 500 });
      const { received } = await viewer.stats();
      assert.deepEqual(
        [entry.streamWidth, entry.streamHeight, `video/${entry.videoCodec}`],
        [received.video.frameWidth, received.video.frameHeight, codec],
      );
      await Promise.all([publisher, viewer].map((page) => page.close()));
    });
  }

  /** Ports that the server's workers receive media on: those of a page that publishes. */
  async function mediaPorts() {
    const id = freshId("port");
    const publisher = await stage.publisher(id);
    const { pair } = await publisher.stats();
    await publisher.close();
    return [pair.remote.port, pair.remote.port + 1, pair.remote.port - 1];
  }
});

test("publisher and viewer come back by themselves when the server was killed and started again", GUARD, async () => {
  const id = freshId("crash");
  const stage = await Stage.open({ label: "crash" });
  try {
    const publisher = await stage.publisher(id);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    const { pair } = await publisher.stats();
    const port = Number(new URL(stage.server.origin).port);
    await stage.server.kill();
    const server = await Server.start({ label: "crash_again", port, mediaPort: pair.remote.port });
    // The stage ends this one instead of the one that was killed.
    stage.server = server;
    stage.closers[0] = () => server.stop();
    await until("the publisher is back", async () =>
      (await publisher.told()).filter((name) => name === "publish_started").length >= 2, { within: 60_000 });
    await until("the viewer is back", async () =>
      (await viewer.told()).filter((name) => name === "play_started").length >= 2, { within: 60_000 });
    await until("pictures move", async () => grows(viewer, "video", "framesDecoded"), { within: 30_000 });
    await Promise.all([publisher, viewer].map((page) => page.close()));
  } finally {
    await stage.close();
  }
});

async function figure(page, kind, name) {
  return (await page.stats())?.received[kind]?.[name] ?? 0;
}

/** Whether a figure is more after a moment. */
async function grows(page, kind, name) {
  const was = await figure(page, kind, name);
  await until(`${kind} ${name} grows`, async () => (await figure(page, kind, name)) > was, { within: 3000 });
  return true;
}

/** What was under way has arrived: three looks in a row see the same. */
async function settled(page, kind) {
  const seen = [];
  await until(`${kind} stops`, async () => {
    seen.push(await figure(page, kind, "bytesReceived"));
    return seen.length >= 3 && new Set(seen.slice(-3)).size === 1;
  }, { within: 15_000, every: 700 });
}

/** For two seconds no byte of `kind` comes, retransmissions and padding included; others go on. */
async function assertSilent(page, kind, { others }) {
  const names = ["bytesReceived", "packetsReceived", "retransmittedBytesReceived"];
  const look = () => Promise.all(names.map((name) => figure(page, kind, name)));
  const before = await look();
  const theirs = await Promise.all(others.map((other) => figure(other, kind, "bytesReceived")));
  await throughout(async () => assert.deepEqual(await look(), before), { during: 2000, every: 500 });
  for (const [at, other] of others.entries()) {
    assert.ok(await figure(other, kind, "bytesReceived") > theirs[at], "the others go on");
  }
}

/** Milliseconds in the page from switching video on to the next decoded frame. */
function backWithin(page, method, id) {
  return page.tab.run(async ({ method, id, max }) => {
    const frames = async () => (await window.kit.stats(id)).received.video.framesDecoded;
    const before = await frames();
    const start = performance.now();
    window.kit.adaptor[method](id, id, true);
    while (await frames() === before && performance.now() - start < max) {
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    return performance.now() - start;
  }, { method, id, max: BACK_MAX_MS });
}
