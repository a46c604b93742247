// Turns RTCPeerConnection.getStats() into the handful of figures that the page shows.

/** How many samples a sparkline shows, one per second. */
const HISTORY = 60;

/**
 * @typedef {object} Figures
 * @property {number|null} bitrate bit/s, audio and video, over the last interval; null at first
 * @property {number|null} width of the video in pixels
 * @property {number|null} height
 * @property {number|null} fps frames per second
 * @property {number|null} loss share of packets lost over the last interval, 0 to 1
 * @property {number|null} rtt round trip in milliseconds
 * @property {string} codec video codec, or audio codec where there is no video
 * @property {number} frames decoded or encoded since the start
 */

/** Samples one peer connection; keeps the previous sample, because most figures are differences. */
export class Meter {
  #before = null;
  #connection = null;
  /** Bitrates in bit/s, oldest first. */
  history = [];

  /** @returns {Promise<Figures>} */
  async sample(connection) {
    if (connection !== this.#connection) {
      this.#connection = connection;
      this.#before = null;
    }
    const report = [...(await connection.getStats()).values()];
    const totals = total(report);
    const before = this.#before ?? totals;
    this.#before = totals;
    const seconds = (totals.at - before.at) / 1000;
    const per = (key) => (seconds > 0 ? Math.max(0, totals[key] - before[key]) / seconds : null);

    const bytesPerSecond = per("bytes");
    const figures = {
      bitrate: bytesPerSecond === null ? null : bytesPerSecond * 8,
      width: totals.width,
      height: totals.height,
      fps: totals.fps ?? (totals.width ? per("frames") : null),
      loss: lossBetween(before, totals),
      rtt: totals.rtt,
      codec: totals.codec,
      frames: totals.frames,
    };
    if (figures.bitrate !== null) this.history.push(figures.bitrate);
    if (this.history.length > HISTORY) this.history.shift();
    return figures;
  }
}

/** Adds up all streams of one connection, received or sent. */
function total(report) {
  const byId = new Map(report.map((entry) => [entry.id, entry]));
  const totals = {
    at: 0, bytes: 0, frames: 0, packets: 0, lost: 0, knowsLoss: false,
    width: null, height: null, fps: null, rtt: null, codec: "",
  };
  let audioCodec = "";
  for (const entry of report) {
    const sent = entry.type === "outbound-rtp";
    const received = entry.type === "inbound-rtp";
    if (sent || received) {
      totals.at = Math.max(totals.at, entry.timestamp);
      totals.bytes += (sent ? entry.bytesSent : entry.bytesReceived) ?? 0;
      totals.packets += (sent ? entry.packetsSent : entry.packetsReceived) ?? 0;
      const codec = byId.get(entry.codecId)?.mimeType?.split("/")[1] ?? "";
      if (entry.kind === "video") {
        totals.frames += (sent ? entry.framesEncoded : entry.framesDecoded) ?? 0;
        if (codec) totals.codec = codec;
        if ((entry.frameHeight ?? 0) > (totals.height ?? 0)) {
          totals.width = entry.frameWidth;
          totals.height = entry.frameHeight;
          totals.fps = entry.framesPerSecond ?? null;
        }
      } else if (codec) {
        audioCodec = codec;
      }
    }
    // Losses of what is received stand in the stream itself, of what is sent in the receiver's reports.
    if (received || entry.type === "remote-inbound-rtp") {
      totals.lost += entry.packetsLost ?? 0;
      totals.knowsLoss = true;
    }
    if (entry.type === "remote-inbound-rtp" && entry.roundTripTime > 0) totals.rtt = entry.roundTripTime * 1000;
  }
  const transport = report.find((entry) => entry.type === "transport");
  const pair = byId.get(transport?.selectedCandidatePairId)
    ?? report.find((entry) => entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded");
  if (pair?.currentRoundTripTime !== undefined) totals.rtt = pair.currentRoundTripTime * 1000;
  totals.codec ||= audioCodec;
  return totals;
}

function lossBetween(before, now) {
  if (!now.knowsLoss) return null;
  const lost = Math.max(0, now.lost - before.lost);
  const packets = Math.max(0, now.packets - before.packets);
  return lost === 0 ? 0 : lost / Math.max(lost + packets, 1);
}

/** SVG path of the history, as an area below the line, in a box of `width` by `height`. */
export function sparkline(history, width, height) {
  if (history.length < 2) return { line: "", area: "" };
  const top = Math.max(...history, 1);
  const step = width / (HISTORY - 1);
  const start = width - step * (history.length - 1);
  const points = history.map((value, i) => {
    const x = start + i * step;
    const y = height - 1 - (value / top) * (height - 3);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  return { line, area: `${line}L${width} ${height}L${start.toFixed(1)} ${height}Z` };
}
