// WHIP and WHEP to and from the SDK's pages: with what every browser has, fetch and RTCPeerConnection, and
// with a client from npm, which trickles.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "./lib/poll.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

/** Runs in the page: makes `window.resource`, a publish or a play at `endpoint`. */
async function makeResource({ endpoint, role }) {
  const pc = new RTCPeerConnection();
  const played = new MediaStream();
  if (role === "whip") {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
    for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
  } else {
    // The other way round than the server has its tracks.
    for (const kind of ["video", "audio"]) pc.addTransceiver(kind, { direction: "recvonly" });
    pc.ontrack = ({ track }) => played.addTrack(track);
    const element = document.body.appendChild(document.createElement("video"));
    Object.assign(element, { muted: true, autoplay: true, srcObject: played });
  }
  await pc.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const response = await fetch(endpoint, { method: "POST", headers, body: pc.localDescription.sdp });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${answer}`);
  await pc.setRemoteDescription({ type: "answer", sdp: answer });
  const [location, etag, link] = ["location", "etag", "link"].map((name) => response.headers.get(name));
  window.resource = { pc, answer, url: new URL(location, endpoint).href, etag };
  return { location, etag, link };
}

/** Runs in the page: restarts ICE by PATCH. */
async function restartIce() {
  const { resource } = window;
  const { pc } = resource;
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  const line = (text, name) => text.match(new RegExp(`^a=${name}:(.*?)\r?$`, "m"))[1];
  const local = pc.localDescription.sdp;
  const ufrag = line(local, "ice-ufrag");
  const response = await fetch(resource.url, {
    method: "PATCH",
    headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": "*" },
    body: `a=ice-ufrag:${ufrag}\r\na=ice-pwd:${line(local, "ice-pwd")}\r\n`,
  });
  const fragment = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${fragment}`);
  const answer = resource.answer
    .replace(/a=ice-ufrag:.*?\r/g, `a=ice-ufrag:${line(fragment, "ice-ufrag")}\r`)
    .replace(/a=ice-pwd:.*?\r/g, `a=ice-pwd:${line(fragment, "ice-pwd")}\r`);
  await pc.setRemoteDescription({ type: "answer", sdp: answer });
  return { ufrag, etag: response.headers.get("etag"), status: response.status };
}

/** Runs in the page: the same as `makeResource` by the client from npm. */
async function makeByClient({ endpoint, role }) {
  const pc = new RTCPeerConnection();
  // The client throws where nobody can catch it when a PATCH is refused.
  window.rejections = [];
  window.addEventListener("unhandledrejection", ({ reason }) => window.rejections.push(String(reason)));
  const { WHIPClient, WHEPClient } = await import(`/node_modules/whip-whep/${role}.js`);
  const client = role === "whip" ? new WHIPClient() : new WHEPClient();
  if (role === "whip") {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
    for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
    await client.publish(pc, endpoint);
  } else {
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
    await client.view(pc, endpoint);
  }
  window.resource = { pc, client, url: client.resourceURL.href };
}

/** Runs in the page: restarts ICE with the client's own method. */
async function restartByClient() {
  const { client } = window.resource;
  await client.restart();
  return { ufrag: client.iceUsername, etag: client.etag };
}

/** Runs in the page: what came or went, and over which ICE session. */
async function figures() {
  const all = [...(await window.resource.pc.getStats()).values()];
  const video = (type) => all.find((each) => each.type === type && each.kind === "video");
  const transport = all.find((each) => each.type === "transport");
  return {
    decoded: video("inbound-rtp")?.framesDecoded ?? 0,
    encoded: video("outbound-rtp")?.framesEncoded ?? 0,
    heard: all.find((each) => each.type === "inbound-rtp" && each.kind === "audio")?.packetsReceived ?? 0,
    ufrag: transport?.iceLocalUsernameFragment,
    state: transport?.iceState,
    dtls: transport?.dtlsState,
  };
}

describe("WHIP and WHEP in Chromium", () => {
  /** @type {Stage} */
  let stage;
  // One address: the client from npm joins several candidates with commas when it restarts ICE.
  before(async () => { stage = await Stage.open({ label: "whip", serverArgs: ["--announce", "127.0.0.1"] }); }, GUARD);
  after(() => stage?.close(), GUARD);

  const open = async (role, id) => {
    const tab = await stage.browser.open(`${stage.site.origin}/pages/sdk.html`);
    const made = await tab.run(makeResource, { endpoint: `${stage.server.origin}/LiveApp/${role}/${id}`, role });
    return { tab, made };
  };
  const end = (tab) => tab.run(async () => {
    const { status } = await fetch(window.resource.url, { method: "DELETE" });
    return status;
  });
  /** 412 as long as the resource is there. */
  const probe = (tab) => tab.run(async () => {
    const headers = { "content-type": "application/trickle-ice-sdpfrag", "if-match": '"another"' };
    return (await fetch(window.resource.url, { method: "PATCH", headers })).status;
  });
  const restart = async (tab, by = restartIce) => {
    const before = await tab.run(figures);
    const { ufrag, etag } = await tab.run(by);
    assert.ok(etag, "another entity tag");
    return until("ICE runs over the new session", async () => {
      const now = await tab.run(figures);
      return now.ufrag === ufrag && ["connected", "completed"].includes(now.state) && now.dtls === "connected" &&
        now.decoded + now.encoded > before.decoded + before.encoded + 20;
    });
  };

  test("a WHIP publish plays in the SDK's page, also behind an ICE restart", GUARD, async () => {
    const id = freshId("whip");
    const { tab, made } = await open("whip", id);
    assert.match(made.location, new RegExp(`^/LiveApp/whip/${id}/[a-z0-9]+$`));
    assert.match(made.link, /rel="ice-server"/, "scripts of other origins may read it");
    await until("the publish is connected", async () => (await tab.run(figures)).dtls === "connected");
    const viewer = await until("the broadcast is live", () => stage.viewer(id));
    await viewer.waitForMedia();
    await restart(tab);
    const { video: { framesDecoded } } = (await viewer.stats()).received;
    await until("the viewer goes on", async () => (await viewer.stats()).received.video.framesDecoded > framesDecoded + 20);
    assert.equal(await end(tab), 200);
    await viewer.waitFor("play_finished");
    await Promise.all([tab.close(), viewer.close()]);
  });

  test("an SDK page's publish plays over WHEP, also behind an ICE restart", GUARD, async () => {
    const id = freshId("whep");
    const publisher = await stage.publisher(id);
    const { tab } = await open("whep", id);
    await until("pictures and sound come", async () => {
      const { decoded, heard } = await tab.run(figures);
      return decoded > 20 && heard > 20;
    });
    await restart(tab);
    assert.equal(await probe(tab), 412);
    await publisher.call("stop", id);
    await until("the resource ends with the broadcast", async () => (await probe(tab)) === 404);
    await Promise.all([tab.close(), publisher.close()]);
  });

  test("the client from npm publishes, trickles, restarts ICE and stops; another of it watches", GUARD, async () => {
    const id = freshId("client");
    const byClient = async (role) => {
      const tab = await stage.browser.open(`${stage.site.origin}/pages/sdk.html`);
      await tab.run(makeByClient, { endpoint: `${stage.server.origin}/LiveApp/${role}/${id}`, role });
      return tab;
    };
    const publisher = await byClient("whip");
    await until("the publish is connected", async () => (await publisher.run(figures)).dtls === "connected");
    const page = await until("the broadcast is live", () => stage.viewer(id));
    const viewer = await byClient("whep");
    const watches = async () => {
      const { decoded, heard } = await viewer.run(figures);
      return decoded > 20 && heard > 20;
    };
    await Promise.all([page.waitForMedia(), until("pictures and sound come", watches)]);
    await restart(publisher, restartByClient);
    await restart(viewer, restartByClient);
    for (const tab of [publisher, viewer]) assert.deepEqual(await tab.run(() => window.rejections), []);
    await publisher.run(() => window.resource.client.stop());
    await page.waitFor("play_finished");
    await until("the resource ends with the broadcast", async () => (await probe(viewer)) === 404);
    await Promise.all([publisher.close(), viewer.close(), page.close()]);
  });
});
