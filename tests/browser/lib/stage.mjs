// One server, one web site, one browser, and SDK pages on them: what most tests need.

import assert from "node:assert/strict";
import { openChromium } from "./browsers.mjs";
import { throughout, until } from "./poll.mjs";
import { Server } from "./server.mjs";
import { openSite } from "./site.mjs";

/** Callbacks whose order and number are promised; statistics, pongs, ICE states and the like are not. */
const TOLD = new Set([
  "initialized", "newTrackAvailable", "publish_started", "publish_finished", "play_started", "play_finished",
  "session_restored", "reconnection_attempt_for_publisher", "reconnection_attempt_for_player", "closed",
]);

let counter = 0;

/** A stream id that no other test uses. */
export function freshId(word) {
  counter += 1;
  return `${word}-${process.pid}-${counter}`;
}

/** A page with the SDK's adaptor on it. */
export class SdkPage {
  constructor(tab, id) {
    this.tab = tab;
    this.id = id;
  }

  events() { return this.tab.run(() => window.kit.events); }

  /** Names of the promised callbacks so far. */
  async told() {
    return (await this.events()).filter(({ name }) => TOLD.has(name)).map(({ name }) => name);
  }

  /** Definitions given to the error callback so far. */
  async errors() {
    return (await this.events()).filter(({ error }) => error !== undefined).map(({ error }) => error);
  }

  /** Calls a method of the adaptor. */
  call(method, ...args) {
    return this.tab.run(({ method, args }) => { window.kit.adaptor[method](...args); }, { method, args });
  }

  /**
   * INTEROP(antmedia-js): 3 s behind a publish or a play the SDK begins again what is not connected
   * then, also what began in the meantime. The answer that is on its way to what it dropped finds
   * a connection without an offer: `notSetRemoteDescription`. A test that stops and begins again
   * waits for this before it stops.
   */
  watchIsOver() {
    return until(`the SDK's watch of ${this.id} is over`, () =>
      this.tab.run(() => window.kit.adaptor.pendingTryAgainTimerId === -1));
  }

  stats() { return this.tab.run((id) => window.kit.stats(id), this.id); }

  picture() { return this.tab.run(() => window.kit.picture()); }

  waitFor(name, options) {
    return until(`callback ${name} on the page of ${this.id}`, async () => {
      const events = await this.events();
      return events.find((event) => event.name === name || event.error === name);
    }, options);
  }

  /** Waits until pictures (and sound, where there is any) come in. */
  async waitForMedia({ video = true, audio = true } = {}) {
    return until(`media arrive at the viewer of ${this.id}`, async () => {
      const { received } = (await this.stats()) ?? { received: {} };
      const enough = (!video || received.video?.framesDecoded > 5) && (!audio || received.audio?.packetsReceived > 20);
      return enough && received;
    }, { within: 30_000 });
  }

  close() { return this.tab.close(); }
}

export class Stage {
  /**
   * @param {object} [wish]
   * @param {string} [wish.label] name of the server's log
   * @param {string[]} [wish.serverArgs]
   * @param {string} [wish.app]
   */
  static async open({ label, serverArgs, app = "LiveApp" } = {}) {
    const stage = new Stage();
    stage.app = app;
    stage.closers = [];
    try {
      stage.server = await Server.start({ label, args: serverArgs });
      stage.closers.push(() => stage.server.stop());
      stage.site = await openSite();
      stage.closers.push(() => stage.site.close());
      stage.browser = await openChromium();
      stage.closers.push(() => stage.browser.close());
    } catch (error) {
      await stage.close().catch(() => {});
      throw error;
    }
    return stage;
  }

  /**
   * The same with one more browser, `far`, at the other end of a link; all of it ends with the stage,
   * the link too.
   *
   * @param {import("./link.mjs").Link} link
   */
  static async openBehind(link, { label, serverArgs = [], app = "LiveApp" }) {
    const stage = new Stage();
    stage.app = app;
    stage.closers = [() => link.close()];
    try {
      stage.server = await Server.start({ label, host: link.address, args: ["--announce", link.address, ...serverArgs] });
      stage.closers.push(() => stage.server.stop());
      stage.site = await openSite(link.address);
      stage.closers.push(() => stage.site.close());
      // The SDK wants a secure page; over a bare address that must be allowed by name.
      const args = [`--unsafely-treat-insecure-origin-as-secure=${stage.site.origin}`];
      stage.browser = await openChromium({ args });
      stage.closers.push(() => stage.browser.close());
      const far = await openChromium({ args, executablePath: link.wrapper("/usr/bin/chromium") });
      stage.closers.push(() => far.close());
      return { stage, far };
    } catch (error) {
      await stage.close().catch(() => {});
      throw error;
    }
  }

  /** Ends what was opened, last first; the first error is thrown after all has been tried. */
  async close() {
    const errors = [];
    for (const close of this.closers.reverse()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Opens a page and its adaptor and waits for `initialized`. */
  async page(id, options, browser = this.browser) {
    const url = `${this.site.origin}/pages/sdk.html`;
    const tab = await browser.open(url);
    const isLoaded = () => tab.run(() => Boolean(window.kit));
    // A script that got lost on a bad link is not asked for again by the browser.
    await until("the SDK is loaded", isLoaded, { within: 20_000 }).catch(() => tab.goto(url));
    await until("the SDK is loaded", isLoaded);
    await tab.run((wish) => window.kit.open(wish), { url: this.server.socket(this.app), ...options });
    const page = new SdkPage(tab, id);
    await page.waitFor("initialized");
    return page;
  }

  /** A page that publishes `id`. */
  async publisher(id, options = {}, browser) {
    const page = await this.page(id, { role: "publish", ...options }, browser);
    await page.call("publish", id);
    await page.waitFor("publish_started");
    return page;
  }

  /** A page that plays `id`. */
  async viewer(id, options = {}, browser) {
    const page = await this.page(id, { role: "play", ...options }, browser);
    await page.call("play", id);
    await page.waitFor("play_started");
    return page;
  }
}

/** How fast a figure of two reports grew, per second by their own clocks. */
export function perSecond(before, now, figure) {
  return (1000 * (now[figure] - before[figure])) / (now.timestamp - before.timestamp);
}

/**
 * Watches running viewers: pictures and sound grow all the time, nobody reconnects, no error is
 * called back, and nearly every frame that was sent is decoded. A machine that stands still for a
 * moment at the border of the time is given a second one; who leaves frames out fails both.
 */
export async function assertSteady(publisher, viewers, { during, video = true, audio = true, share = 0.9 }) {
  const sample = async () => ({
    sent: (await publisher.stats()).sent,
    received: await Promise.all(viewers.map(async (viewer) => (await viewer.stats()).received)),
  });
  const watch = async () => {
    const first = await sample();
    let before = first;
    await throughout(async () => {
      const now = await sample();
      viewers.forEach((_, i) => {
        if (video) assertMore(before, now, i, "video", "framesDecoded");
        if (audio) assertMore(before, now, i, "audio", "packetsReceived");
      });
      before = now;
    }, { during, every: 3000 });
    if (!video) return [];
    const sent = perSecond(first.sent.video, before.sent.video, "framesSent");
    const decoded = viewers.map((_, i) =>
      perSecond(first.received[i].video, before.received[i].video, "framesDecoded"));
    return decoded.flatMap((rate, i) => (rate >= share * sent ? [] : [`viewer ${i} decoded ${rate} of ${sent} frames/s`]));
  };
  const once = await watch();
  if (once.length > 0) assert.deepEqual(await watch(), [], `twice in a row, and before: ${once}`);
  for (const page of [publisher, ...viewers]) {
    assert.deepEqual(await page.errors(), [], "no error callback");
    const attempts = (await page.told()).filter((name) => name.startsWith("reconnection_attempt"));
    assert.deepEqual(attempts, [], "no reconnection attempt");
  }
}

function assertMore(before, now, i, kind, figure) {
  const [was, is] = [before.received[i][kind][figure], now.received[i][kind][figure]];
  assert.ok(is > was, `viewer ${i}: ${kind} ${figure} must grow, was ${was}, is ${is}`);
}
