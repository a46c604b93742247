// GStreamer's webrtcbin on one side, the SDK's page in Chromium on the other: WHIP into the page, WHEP out of it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "./lib/poll.mjs";
import { CACHE } from "./lib/server.mjs";
import { Stage, assertSteady, freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };
const CLIENT = fileURLToPath(new URL("../interop/gstreamer_whip.py", import.meta.url));
/** Bytes of a picture of the SDK's page: 640 x 360 RGB. */
const PICTURE_LEN = 640 * 360 * 3;

/** Of the client: a certificate on P-256, and its digest. */
function certify(folder) {
  const file = path.join(folder, "certificate.pem");
  const openssl = (...args) => execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  // Both on standard output; the key first or last is all the same.
  writeFileSync(file, openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    "-subj", "/CN=webrtc", "-days", "2", "-keyout", "-"));
  const digest = openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256").split("=").at(-1).trim();
  return { file, digest };
}

describe("GStreamer and the SDK's page", () => {
  /** @type {Stage} */
  let stage;
  let folder;
  before(async () => {
    folder = mkdtempSync(path.join(CACHE, "gstreamer-"));
    stage = await Stage.open({ label: "gstreamer" });
  }, GUARD);
  after(async () => {
    await stage?.close();
    rmSync(folder, { recursive: true, force: true });
  }, GUARD);

  /** Starts the client; resolves once the server has answered its offer, to what ends it. */
  const client = async (role, endpoint, ...rest) => {
    const { file, digest } = certify(folder);
    const child = spawn("/usr/bin/python3", [CLIENT, role, `${stage.server.origin}/LiveApp/${endpoint}`, file, digest, ...rest],
      { stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk) => { said += chunk; });
    const ended = new Promise((resolve) => child.on("exit", resolve));
    stage.closers.push(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    await until("the client is answered", () => said.includes("answered\n"));
    return async () => {
      child.stdin.end();
      assert.equal(await ended, 0);
    };
  };

  test("what GStreamer publishes over WHIP plays in the SDK's page", GUARD, async () => {
    const id = freshId("bars");
    const end = await client("publish", `whip/${id}`);
    await until("the broadcast is live", async () =>
      (await fetch(`${stage.server.origin}/LiveApp/rest/v2/broadcasts/${id}`)).status === 200);
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    const { width, height } = await until("the picture is known", async () => {
      const picture = await viewer.picture();
      return picture.width > 0 && picture;
    });
    assert.deepEqual({ width, height }, { width: 320, height: 240 });
    await end();
    await viewer.waitFor("play_finished");
    assert.deepEqual(await viewer.errors(), []);
    await viewer.close();
  });

  test("what the SDK's page publishes plays in GStreamer over WHEP", GUARD, async () => {
    const id = freshId("page");
    const publisher = await stage.publisher(id, { codec: "video/VP8" });
    const viewer = await stage.viewer(id);
    await viewer.waitForMedia();
    const pictures = path.join(folder, "pictures.rgb");
    const end = await client("play", `whep/${id}`, pictures);
    await until("twenty pictures are decoded", () => statSync(pictures).size >= 20 * PICTURE_LEN, { within: 60_000 });
    await assertSteady(publisher, [viewer], { during: 3000 });
    await end();
    await Promise.all([publisher.close(), viewer.close()]);
  });
});
