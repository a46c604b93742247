// A viewer whose only way is a TURN relay: Debian's coturn, with the credentials that the server hands out.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { until } from "./lib/poll.mjs";
import { CACHE } from "./lib/server.mjs";
import { Stage, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

/** A port of 127.0.0.1 that was free a moment ago. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs in the page: plays over WHEP by way of the TURN server that `Link` names. */
async function playRelayed(endpoint) {
  const link = (await fetch(endpoint, { method: "OPTIONS" })).headers.get("link");
  const [, urls, username, credential] = link.match(/^<(.*?)>.*?username="(.*?)"; credential="(.*?)"/);
  const pc = new RTCPeerConnection({ iceServers: [{ urls, username, credential }], iceTransportPolicy: "relay" });
  window.pc = pc;
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  await pc.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const response = await fetch(endpoint, { method: "POST", headers, body: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  return { urls, username, status: response.status };
}

/** Runs in the page. */
async function figures() {
  const all = [...(await window.pc.getStats()).values()];
  const byId = (id) => all.find((each) => each.id === id);
  const pair = byId(all.find((each) => each.type === "transport")?.selectedCandidatePairId);
  const video = all.find((each) => each.type === "inbound-rtp" && each.kind === "video");
  return { way: byId(pair?.localCandidateId)?.candidateType, received: video?.packetsReceived ?? 0 };
}

test("a relayed viewer plays", GUARD, async () => {
  const port = await freePort();
  const folder = mkdtempSync(path.join(CACHE, "turn-"));
  const config = path.join(folder, "leafcutter.toml");
  writeFileSync(config, `[app.LiveApp]\nstunServerURI = "turn:127.0.0.1:${port}"\nturnServerSecret = "north star"\n`);
  const relay = spawn("turnserver", [
    "-n", "--log-file", "stdout", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", `${port}`,
    "--use-auth-secret", "--static-auth-secret", "north star", "--realm", "test", "--no-tls", "--no-dtls", "--no-cli",
    "--allow-loopback-peers", "--pidfile", path.join(folder, "pid"), "--userdb", path.join(folder, "db"),
  ], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  relay.stdout.on("data", (chunk) => { said += chunk; });
  const stage = await Stage.open({ label: "turn", serverArgs: ["--config", config] });
  try {
    await until("the relay listens", () => said.includes("Total General servers"));
    const id = freshId("relayed");
    const publisher = await stage.publisher(id);
    const viewer = await stage.browser.open(`${stage.site.origin}/pages/sdk.html`);
    const played = await viewer.run(playRelayed, `${stage.server.origin}/LiveApp/whep/${id}`);
    assert.equal(played.status, 201);
    assert.equal(played.urls, `turn:127.0.0.1:${port}`);
    const [expiry] = played.username.split(":");
    assert.ok(Math.abs(Number(expiry) - Date.now() / 1000 - 24 * 3600) < 3600, `good for a day: ${played.username}`);
    await until("media come by way of the relay", async () => {
      const { way, received } = await viewer.run(figures);
      return way === "relay" && received > 100;
    }).catch((error) => { throw new Error(`${error.message}\n${said.slice(-3000)}`); });
    await Promise.all([viewer.close(), publisher.close()]);
  } finally {
    relay.kill();
    await stage.close();
    rmSync(folder, { recursive: true });
  }
});
