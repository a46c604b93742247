// The playground over https and wss, with a certificate as a first try has it: signed by itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Tab, openChromium, openFirefox } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { CACHE, Server } from "./lib/server.mjs";
import { freshId } from "./lib/stage.mjs";

const GUARD = { timeout: 120_000 };

describe("the playground over https", () => {
  let folder;
  let server;
  let address;
  before(async () => {
    folder = mkdtempSync(path.join(CACHE, "https-"));
    const [cert, key, config] = ["cert.pem", "key.pem", "leafcutter.toml"].map((name) => path.join(folder, name));
    execFileSync("openssl", [
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert,
    ], { stdio: "ignore" });
    writeFileSync(config, `[server]\ntls_listen = "127.0.0.1:0"\ntls_cert = "${cert}"\ntls_key = "${key}"\n`);
    server = await Server.start({ label: "https", args: ["--config", config, "--workers", "1"] });
    address = `${await server.line(/^listening on (https:\/\/\S+)$/m)}/LiveApp/`;
  }, GUARD);
  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, GUARD);

  const browsers = {
    Chromium: { launch: () => openChromium(), options: { ignoreHTTPSErrors: true } },
    Firefox: { launch: () => openFirefox({ acceptInsecureCerts: true }), options: {} },
  };
  for (const [name, { launch, options }] of Object.entries(browsers)) {
    test(`the pattern is published and watched in ${name}`, GUARD, async () => {
      const browser = await launch();
      try {
        const id = freshId("https");
        const publisher = new Tab(await browser.newPage(options));
        const sockets = [];
        // Only Playwright tells of sockets. Firefox lets no https page open a plain one.
        if (name === "Chromium") publisher.page.on("websocket", (socket) => sockets.push(socket.url()));
        await publisher.goto(`${address}#publish=pattern&id=${id}&height=360`);
        const live = (tab, role) => until(`the ${role} is live`, () => tab.run((role) =>
          document.querySelector(`article[data-role=${role}]`)?.dataset.state === "live", role), { within: 30_000 });
        await live(publisher, "publish");
        for (const socket of sockets) assert.match(socket, /^wss:/);
        assert.equal(sockets.length > 0, name === "Chromium");
        // What an insecure page may not have: the camera.
        assert.ok(await publisher.run(() => isSecureContext && Boolean(navigator.mediaDevices)));

        const viewer = await browser.open(`${address}#play=${id}`, options);
        await live(viewer, "play");
        await until("pictures and sound come", () => viewer.run(() => {
          const video = document.querySelector("article[data-role=play] video");
          return video.videoWidth > 0 && video.currentTime > 1
            && video.srcObject.getAudioTracks().some((track) => !track.muted);
        }));
        for (const tab of [publisher, viewer]) assert.deepEqual(tab.problems, []);
      } finally {
        await browser.close();
      }
    });
  }
});
