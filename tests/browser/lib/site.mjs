// A web site for the test pages: the SDK's own ES build, untouched, and the pages beside it.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const BROWSER_TESTS = fileURLToPath(new URL("../", import.meta.url));
/** URL prefix -> folder. */
const FOLDERS = {
  "/sdk/": path.join(BROWSER_TESTS, "node_modules/@antmedia/webrtc_adaptor/dist/es/"),
  "/pages/": path.join(BROWSER_TESTS, "pages/"),
  "/browser/": path.join(BROWSER_TESTS, "../../examples/browser/"),
  "/node_modules/": path.join(BROWSER_TESTS, "node_modules/"),
};
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };

/** Serves on a free port of `host`; resolves to `{ origin, close }`. */
export async function openSite(host = "127.0.0.1") {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://site");
    const prefix = Object.keys(FOLDERS).find((each) => pathname.startsWith(each));
    const file = prefix && path.join(FOLDERS[prefix], pathname.slice(prefix.length));
    const type = file && TYPES[path.extname(file)];
    if (!type || !file.startsWith(FOLDERS[prefix])) {
      response.writeHead(pathname === "/favicon.ico" ? 204 : 404).end();
      return;
    }
    try {
      response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(await readFile(file));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, host, resolve));
  return {
    origin: `http://${host}:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }),
  };
}
