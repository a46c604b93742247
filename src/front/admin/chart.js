// Lines over time, as SVG.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The last `places` values, oldest first. */
export class Series {
  constructor(places) {
    this.places = places;
    this.values = [];
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > this.places) this.values.shift();
  }

  get latest() { return this.values.at(-1) ?? 0; }

  get most() { return Math.max(...this.values, 0); }
}

function path(series, width, height, most) {
  const step = width / (series.places - 1);
  const start = width - step * (series.values.length - 1);
  return series.values.map((value, at) =>
    `${at === 0 ? "M" : "L"}${(start + at * step).toFixed(1)} ${(height - (value / most) * height).toFixed(1)}`).join("");
}

/** A line for a table's cell. */
export function spark(series) {
  const svg = element("svg", { class: "spark", viewBox: "0 0 96 24", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(element("path", { class: "line", d: path(series, 96, 22, series.most || 1) }));
  return svg;
}

/** A chart with its scale below; `say` names a value. */
export function chart(series, seconds, say) {
  const [width, height] = [600, 150];
  const most = niceMost(series.most);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  for (const share of [0, 0.5, 1]) {
    const y = 1 + share * (height - 2);
    svg.append(element("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }));
  }
  if (series.values.length > 1) {
    const line = path(series, width, height - 2, most);
    const start = line.slice(1).split(" ")[0];
    svg.append(element("path", { class: "area", d: `${line}L${width} ${height}L${start} ${height}Z` }));
    svg.append(element("path", { class: "line", d: line }));
  }
  const scale = document.createElement("p");
  scale.className = "scale";
  for (const text of [`${seconds} s ago`, `0 to ${say(most)}`, "now"]) {
    const span = document.createElement("span");
    span.textContent = text;
    scale.append(span);
  }
  return [svg, scale];
}

/** The next of 1, 2, 5, 10, 20, ... */
function niceMost(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
