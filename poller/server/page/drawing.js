// Bars and plots: plain SVG and elements, since both are small.

import { el, local, number, svg } from "./dom.js";

// states of a message from the last to the first, then those that did not arrive; other states follow
const ORDER = ["read", "opened", "created", "delivered", "sent", "queued", "scheduled"];
const STOPPED = ["failed", "undelivered", "unaddressable", "canceled"];
const NAMED = new Set([...ORDER, ...STOPPED]);

/** Return the class that colours a state of messages. */
export function colour(name) {
  return NAMED.has(name) ? `c-${name}` : "c-other";
}

function ordered(stages) {
  const known = [...ORDER, ...STOPPED].filter((name) => stages[name] > 0);
  const others = Object.keys(stages).filter((name) => !NAMED.has(name) && stages[name] > 0);
  return [...known, ...others];
}

/** Draw the messages of an operation or group by state: one bar, each message once. */
export function bar(progress) {
  const element = el("div", { class: "bar", role: "img" });
  updateBar(element, progress);
  return element;
}

/** Update a bar; existing parts are resized, not made again, so that they move smoothly. */
export function updateBar(element, progress) {
  const names = ordered(progress.stages);
  const total = Math.max(progress.total || 0, names.reduce((sum, name) => sum + progress.stages[name], 0));
  const parts = new Map([...element.children].map((part) => [part.dataset.name, part]));
  for (const name of names) {
    let part = parts.get(name);
    parts.delete(name);
    if (!part) {
      part = el("span", { class: `part ${colour(name)}` });
      part.dataset.name = name;
    }
    part.style.flexGrow = String(progress.stages[name]);
    part.title = `${name} ${number(progress.stages[name])}`;
    element.append(part);
  }
  for (const part of parts.values()) part.remove();
  element.setAttribute("aria-label", total ? describe(progress) : "nothing counted yet");
}

/** Describe a bar as text. */
export function describe(progress) {
  return ordered(progress.stages)
    .map((name) => `${name} ${number(progress.stages[name])}`)
    .join(", ");
}

/** Make the legend of a bar, with numbers. */
export function legend(progress) {
  return el(
    "ul",
    { class: "legend" },
    ordered(progress.stages).map((name) =>
      el("li", {}, el("span", { class: `swatch ${colour(name)}` }), `${name} `, el("b", {}, number(progress.stages[name]))),
    ),
  );
}

const HEIGHT = 200;
const LEFT = 52;
const BOTTOM = 22;

/**
 * Plot counters over time as steps, `width` pixels wide, so that texts keep their size. `points` are
 * `{at: milliseconds, counters}`, the oldest first; counters that never differ from zero are left out, and so is the
 * total, which is the plot's height.
 */
export function plot(points, width) {
  const names = [...new Set(points.flatMap((point) => Object.keys(point.counters)))].filter(
    (name) => !["total", "recipients", "attempts"].includes(name) && points.some((point) => point.counters[name] > 0),
  );
  if (points.length < 2 || names.length === 0) return null;
  const start = points[0].at;
  // some room behind the last step, so that it is seen as one
  const span = Math.max(1, (points.at(-1).at - start) * 1.05);
  const most = Math.max(1, ...points.flatMap((point) => names.map((name) => point.counters[name] || 0)));
  const x = (at) => LEFT + ((at - start) / span) * (width - LEFT - 8);
  const y = (value) => 8 + (1 - value / most) * (HEIGHT - BOTTOM - 8);
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, class: "plot", role: "img", "aria-label": `Counters over time: ${names.join(", ")}. The time line below has the numbers.` },
    [0, 0.5, 1].map((share) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - 8, y1: y(most * share), y2: y(most * share) }),
      svg("text", { class: "tick", x: LEFT - 6, y: y(most * share) + 4, "text-anchor": "end" }, number(Math.round(most * share))),
    ]),
    svg("text", { class: "tick", x: LEFT, y: HEIGHT - 4 }, clock(start)),
    svg("text", { class: "tick", x: width - 8, y: HEIGHT - 4, "text-anchor": "end" }, clock(points.at(-1).at)),
    names.map((name) => svg("path", { class: `line ${colour(name)}`, d: `${steps(points, name, x, y)}H${x(start + span).toFixed(1)}` })),
  );
  const readout = el("p", { class: "readout muted" }, "Point at the plot to read its numbers.");
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = start + (((event.clientX - box.left) / box.width) * width - LEFT) * (span / (width - LEFT - 8));
    const point = points.findLast((one) => one.at <= at) || points[0];
    readout.textContent = `${local(new Date(point.at).toISOString())}: ${names.map((name) => `${name} ${number(point.counters[name] || 0)}`).join(", ")}`;
  });
  const keys = el("ul", { class: "legend" }, names.map((name) => el("li", {}, el("span", { class: `swatch ${colour(name)}` }), name)));
  return el("figure", { class: "figure" }, drawing, keys, readout);
}

function steps(points, name, x, y) {
  let path = "";
  for (const point of points) {
    const right = x(point.at).toFixed(1);
    const height = y(point.counters[name] || 0).toFixed(1);
    path += path ? `H${right}V${height}` : `M${right} ${height}`;
  }
  return path;
}

function clock(at) {
  return new Date(at).toLocaleTimeString(undefined, { timeStyle: "medium" });
}
