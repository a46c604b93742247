// Chromium (over its debugging pipe) and Firefox (over WebDriver BiDi) behind one small surface.

import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr";

const CHROMIUM_FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  // The SDK names a public STUN server by itself. Tests stay on this machine.
  "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost , EXCLUDE 10.*",
];

/** Fake camera and microphone, no questions, sound without a click. Network settings stay as users have them. */
const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  "app.update.enabled": false,
  "browser.safebrowsing.update.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
};

/**
 * One page. `problems` collects uncaught exceptions and messages of level error, in order.
 */
export class Tab {
  constructor(page) {
    this.page = page;
    this.problems = [];
    this.console = [];
    page.on("console", (message) => {
      const line = `${message.type()}: ${message.text()}`;
      this.console.push(line);
      if (message.type() === "error") this.problems.push(line);
    });
    page.on("pageerror", (error) => this.problems.push(`exception: ${error.stack ?? error}`));
  }

  goto(url) { return this.page.goto(url); }

  /** Runs `action(argument)` in the page and returns its (awaited, JSON-like) result. */
  run(action, argument) { return this.page.evaluate(action, argument); }

  screenshot(file) { return this.page.screenshot({ path: file, fullPage: true }); }

  close() { return this.page.close(); }
}

/** A browser process. */
class Browser {
  constructor(name, browser, newPage, kill) {
    this.name = name;
    this.browser = browser;
    this.newPage = newPage;
    /** Ends the process at once, as a crash would. */
    this.kill = kill;
  }

  async open(url, options) {
    const tab = new Tab(await this.newPage(options));
    await tab.goto(url);
    return tab;
  }

  version() { return this.browser.version(); }

  close() { return this.browser.close(); }
}

/**
 * @param {object} wish
 * @param {string} [wish.executablePath] a wrapper to start the browser through
 * @param {string[]} [wish.args] further flags
 */
export async function openChromium({ executablePath = CHROMIUM, args = [] } = {}) {
  const host = await chromium.launchServer({ executablePath, headless: true, args: [...CHROMIUM_FLAGS, ...args] });
  const browser = await chromium.connect(host.wsEndpoint());
  const opened = new Browser("chromium", browser, async (options) => {
    const context = await browser.newContext(options);
    return context.newPage();
  }, () => host.kill());
  opened.close = async () => {
    await browser.close().catch(() => {});
    await host.close();
  };
  return opened;
}

/**
 * @param {object} wish
 * @param {boolean} [wish.acceptInsecureCerts] certificates of unknown authorities are good enough
 */
export async function openFirefox({ acceptInsecureCerts = false } = {}) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    acceptInsecureCerts,
    extraPrefsFirefox: FIREFOX_PREFERENCES,
  });
  return new Browser("firefox", browser, async ({ viewport, colorScheme } = {}) => {
    const page = await browser.newPage();
    if (viewport) await page.setViewport(viewport);
    if (colorScheme) await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: colorScheme }]).catch(() => {});
    return page;
  }, () => browser.process().kill("SIGKILL"));
}
