// A network namespace behind a virtual cable whose loss and rate the test sets.
//
//   this machine --[ near 10.211.n.1 ]======[ far 10.211.n.2 ]-- namespace
//
// Each end drops on arrival, so that the loss looks like loss to both sides: a drop at departure
// would come back to the sender as an error of its own system call. The rate is limited towards the
// namespace alone, by a token bucket with a queue.

import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CACHE } from "./server.mjs";

const TABLE = "leafcutter_loss";
/** Bytes that leave at once: four full packets. */
const BURST = 6000;
/** How long a full queue takes to drain. */
const QUEUE_MS = 200;

function run(program, args, input) {
  try {
    return execFileSync(program, args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}: ${error.stderr?.trim() || error.message}`);
  }
}

export class Link {
  /**
   * @returns {Link} one that loses nothing and has no limit
   * @throws {Error} where this user or machine cannot make one
   */
  static open() {
    if (process.getuid() !== 0) throw new Error("only root may make network namespaces");
    const link = new Link();
    link.namespace = `leafcutter-${process.pid}`;
    link.near = `lcn${process.pid}`;
    link.far = `lcf${process.pid}`;
    const subnet = `10.211.${process.pid % 256}`;
    /** Address of this machine on the link. */
    link.address = `${subnet}.1`;
    link.table = `${TABLE}_${process.pid}`;
    link.inside = ["ip", "netns", "exec", link.namespace];
    link.removeAtExit = () => link.close();
    process.on("exit", link.removeAtExit);
    try {
      run("ip", ["netns", "add", link.namespace]);
      run("ip", ["link", "add", link.near, "type", "veth", "peer", "name", link.far, "netns", link.namespace]);
      run("ip", ["address", "add", `${link.address}/30`, "dev", link.near]);
      run("ip", ["-n", link.namespace, "address", "add", `${subnet}.2/30`, "dev", link.far]);
      // A cable carries packets, not batches: without this a whole segmentation batch would be lost at once.
      run("ip", ["link", "set", link.near, "gso_max_segs", "1"]);
      run("ip", ["-n", link.namespace, "link", "set", link.far, "gso_max_segs", "1"]);
      // An address that comes by itself a second later is a change of network to a browser, which ends
      // what it is loading.
      run("ip", ["link", "set", link.near, "addrgenmode", "none"]);
      run("ip", ["-n", link.namespace, "link", "set", link.far, "addrgenmode", "none"]);
      run("ip", ["link", "set", link.near, "up"]);
      run("ip", ["-n", link.namespace, "link", "set", link.far, "up"]);
      run("ip", ["-n", link.namespace, "link", "set", "lo", "up"]);
      link.lose(0);
    } catch (error) {
      link.close();
      throw error;
    }
    return link;
  }

  /** Loses `percent` of the packets at random from here on, in each direction. */
  lose(percent) {
    for (const [prefix, device] of [[[], this.near], [this.inside, this.far]]) {
      const [program, ...args] = [...prefix, "nft", "-f", "-"];
      run(program, args, `table inet ${this.table} {
        counter lost { }
        counter passed { }
        chain arrival { type filter hook prerouting priority raw; policy accept; }
      }
      flush chain inet ${this.table} arrival
      add rule inet ${this.table} arrival iifname "${device}" numgen random mod 100 < ${percent} counter name lost drop
      add rule inet ${this.table} arrival iifname "${device}" counter name passed\n`);
    }
  }

  /** Lets no UDP through from here on, in either direction, as some firewalls do; `false`: again. */
  blockUdp(blocked = true) {
    for (const [prefix, device] of [[[], this.near], [this.inside, this.far]]) {
      const [program, ...args] = [...prefix, "nft", "-f", "-"];
      const rule = `add rule inet ${this.table} firewall iifname "${device}" meta l4proto udp drop\n`;
      run(program, args, `table inet ${this.table} {
        chain firewall { type filter hook prerouting priority raw; policy accept; }
      }
      flush chain inet ${this.table} firewall
      ${blocked ? rule : ""}`);
    }
  }

  /** Carries at most `kbps` kilobits per second towards the namespace from here on. */
  limit(kbps) {
    const bucket = ["rate", `${kbps}kbit`, "burst", `${BURST}`, "latency", `${QUEUE_MS}ms`];
    run("tc", ["qdisc", "replace", "dev", this.near, "root", "tbf", ...bucket]);
  }

  /** Packets lost at random and passed so far: `{ toServer: {lost, passed}, toViewer: {lost, passed} }`. */
  counters() {
    return { toServer: this.count([]), toViewer: this.count(this.inside) };
  }

  count(prefix) {
    const [program, ...args] = [...prefix, "nft", "-j", "list", "counters", "table", "inet", this.table];
    const { nftables } = JSON.parse(run(program, args));
    const packets = (name) => nftables.find(({ counter }) => counter?.name === name).counter.packets;
    return { lost: packets("lost"), passed: packets("passed") };
  }

  /** Path of a program that runs `program` inside the namespace, pipes and all. */
  wrapper(program) {
    mkdirSync(CACHE, { recursive: true });
    const file = path.join(CACHE, `in-${this.namespace}`);
    writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${this.namespace} ${program} "$@"\n`);
    chmodSync(file, 0o755);
    this.wrapperFile = file;
    return file;
  }

  close() {
    process.off("exit", this.removeAtExit);
    const attempt = (program, ...args) => {
      try {
        run(program, args);
      } catch {
        // It was not made, or is gone already.
      }
    };
    attempt("nft", "delete", "table", "inet", this.table);
    attempt("ip", "link", "delete", this.near);
    attempt("ip", "netns", "delete", this.namespace);
    if (this.wrapperFile) rmSync(this.wrapperFile, { force: true });
  }
}
