// Takes the pictures of docs/images, each at a desk's and at a phone's width:
//
//   LEAFCUTTER_BIN=target/release/leafcutter node tests/browser/pictures.mjs [REPORT.html]
//
// REPORT.html is what `leafcutter bench fanout --html` wrote; without it the pictures of the report
// stay as they are. Takes two minutes, because charts need something to show. Look at each picture
// before it is committed.

import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openChromium } from "./lib/browsers.mjs";
import { until } from "./lib/poll.mjs";
import { Server } from "./lib/server.mjs";

const IMAGES = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const WIDTHS = { "": { width: 1280, height: 900 }, "-phone": { width: 390, height: 844 } };
/** What is broadcast. */
const ID = "morning-show";
/** Points of a chart that are worth a picture. */
const ENOUGH_POINTS = 40;

/** Takes a page at both widths, down to `end(page)` or as a whole. */
async function take(tab, name, end) {
  for (const [suffix, viewport] of Object.entries(WIDTHS)) {
    await tab.page.setViewportSize(viewport);
    await tab.run(() => { document.activeElement?.blur(); scrollTo(0, 0); });
    const { wide, high } = await tab.run(() => ({ wide: document.documentElement.scrollWidth, high: document.documentElement.scrollHeight }));
    if (wide > viewport.width) throw new Error(`${name} is ${wide} pixels wide, wider than ${viewport.width}`);
    const clip = { x: 0, y: 0, width: viewport.width, height: end ? await end(tab) : high };
    await tab.page.screenshot({ path: path.join(IMAGES, `${name}${suffix}.png`), fullPage: true, clip });
    console.log(`${name}${suffix}.png: ${clip.width} x ${clip.height}`);
  }
}

const isLive = (tab, role) => until(`the ${role} is live`, () => tab.run((role) =>
  document.querySelector(`article[data-role=${role}]`)?.dataset.state === "live", role), { within: 60_000 });
const points = (tab, selector) => tab.run((selector) =>
  document.querySelector(selector)?.getAttribute("d")?.split("L").length ?? 0, selector);

const server = await Server.start({ label: "pictures", args: ["--workers", "2"] });
const chromium = await openChromium();
try {
  const options = { viewport: WIDTHS[""], colorScheme: "light" };
  const publisher = await chromium.open(`${server.playground}#publish=pattern&id=${ID}&height=360`, options);
  await isLive(publisher, "publish");
  const viewer = await chromium.open(`${server.playground}#play=${ID}`, options);
  await isLive(viewer, "play");
  const admin = await chromium.open(`${server.playground}admin/`, options);
  await until("the charts are worth a picture", async () =>
    (await points(admin, "#sent-chart .line")) >= ENOUGH_POINTS && (await points(viewer, "article .spark .line")) >= ENOUGH_POINTS,
    { within: 300_000, every: 1000 });
  await take(viewer, "playground");
  // The settings are long: the picture ends above them.
  await take(admin, "admin", () => admin.run(() => Math.floor(document.getElementById("access-title").closest("section")
    .getBoundingClientRect().top + scrollY - 8)));

  const [file] = process.argv.slice(2);
  if (file) {
    const report = await chromium.open("about:blank", options);
    await report.page.setContent(readFileSync(file, "utf8"));
    await take(report, "report");
  }
} finally {
  await chromium.close();
  await server.stop();
}
