// Starts the server binary on free ports and ends it.

import { spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./poll.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const CACHE = path.join(ROOT, "tests/.cache");
const BINARY = process.env.LEAFCUTTER_BIN ?? path.join(ROOT, "target/release/leafcutter");

/** Every server still running; whatever ends this process ends them. */
const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/**
 * A running server.
 *
 * @property {string} origin `http://HOST:PORT`
 * @property {string} playground address of the playground page, as printed
 */
export class Server {
  /**
   * @param {object} wish
   * @param {string} [wish.host] address to listen on
   * @param {string[]} [wish.args] further flags
   * @param {string} [wish.label] name of the log file
   * @param {number} [wish.port] of HTTP; 0: a free one
   * @param {number} [wish.mediaPort] of the first worker; 0: a free one
   */
  static async start({ host = "127.0.0.1", args = [], label = "server", port = 0, mediaPort = 0 } = {}) {
    if (!existsSync(BINARY)) throw new Error(`no server binary at ${BINARY}: build it, or set LEAFCUTTER_BIN`);
    const server = new Server();
    mkdirSync(path.join(CACHE, "logs"), { recursive: true });
    server.dataDir = mkdtempSync(path.join(CACHE, "data-"));
    server.logFile = path.join(CACHE, "logs", `${label}.log`);
    const log = createWriteStream(server.logFile);
    server.child = spawn(
      BINARY,
      ["--listen", `${host}:${port}`, "--media-port", `${mediaPort}`, "--data-dir", server.dataDir, ...args],
      // The browsers keep the host busy; nobody is to be refused for that.
      { stdio: ["ignore", "pipe", "pipe"], env: { LEAFCUTTER_CPU_LIMIT: "100", ...process.env } },
    );
    running.add(server.child);
    server.printed = "";
    server.child.stdout.on("data", (chunk) => {
      server.printed += chunk;
      log.write(chunk);
    });
    server.child.stderr.on("data", (chunk) => log.write(chunk));
    server.ended = new Promise((resolve) => {
      server.child.on("error", (error) => resolve({ error }));
      server.child.on("exit", (code, signal) => resolve({ code, signal }));
    }).then((outcome) => {
      running.delete(server.child);
      server.outcome = outcome;
      return outcome;
    });

    server.origin = (await server.line(/^listening on (http:\/\/\S+)$/m)).replace(/\/$/, "");
    server.playground = await server.line(/^playground: (\S+)$/m);
    await until("/healthz answers 200", async () => (await fetch(`${server.origin}/healthz`)).status === 200);
    return server;
  }

  /** The first group of a line the server prints at start. */
  async line(pattern) {
    return until(`the server prints ${pattern}`, () => {
      if (this.outcome) throw new Error(`the server ended: ${JSON.stringify(this.outcome)}, see ${this.logFile}`);
      return this.printed.match(pattern)?.[1];
    }, { within: 30_000, every: 50 });
  }

  /** WebSocket address of an application. */
  socket(app) {
    return `${this.origin.replace("http", "ws")}/${app}/websocket`;
  }

  /** Prometheus samples: name with labels -> value. */
  async metrics() {
    const text = await (await fetch(`${this.origin}/metrics`)).text();
    return new Map(
      text.split("\n")
        .filter((line) => line && !line.startsWith("#"))
        .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
    );
  }

  /** Throws when the server is no longer there. */
  assertRunning() {
    if (this.outcome) throw new Error(`the server ended: ${JSON.stringify(this.outcome)}, see ${this.logFile}`);
  }

  /** Ends the server as a crash would. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  /** Ends the server as an operator would and holds it to a clean exit. */
  async stop() {
    const early = this.outcome;
    this.child.kill("SIGTERM");
    const guard = setTimeout(() => this.child.kill("SIGKILL"), 20_000);
    const outcome = await this.ended;
    clearTimeout(guard);
    rmSync(this.dataDir, { recursive: true, force: true });
    if (early || outcome.code !== 0) {
      throw new Error(`the server ended ${early ? "early" : "badly"}: ${JSON.stringify(outcome)}, see ${this.logFile}`);
    }
  }
}
