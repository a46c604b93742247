// Waiting for conditions. Nothing in these tests sleeps for luck.

import { setTimeout as pause } from "node:timers/promises";

/**
 * Polls `check` until it returns something truthy and returns that.
 *
 * A `check` that throws counts as not yet true; when the time is up the error names `what`, the
 * last value and the last exception.
 */
export async function until(what, check, { within = 60_000, every = 100 } = {}) {
  const deadline = Date.now() + within;
  let last;
  let thrown;
  do {
    try {
      thrown = undefined;
      last = await check();
      if (last) return last;
    } catch (error) {
      thrown = error;
    }
    await pause(every);
  } while (Date.now() < deadline);
  const seen = thrown ? `last exception: ${thrown.stack ?? thrown}` : `last value: ${JSON.stringify(last)}`;
  throw new Error(`not within ${within} ms: ${what}; ${seen}`);
}

/** Calls `check` every `every` ms for `during` ms; what it throws ends the wait. */
export async function throughout(check, { during, every = 1000 }) {
  const end = Date.now() + during;
  while (Date.now() < end) {
    await pause(Math.min(every, Math.max(1, end - Date.now())));
    await check();
  }
}
