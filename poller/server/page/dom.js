// Elements, texts and instants. Data is inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. Attributes whose value is null or false are left out; functions listen to events. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of an SVG drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make the children for a text: parts in `backticks` become code elements. */
export function prose(text) {
  return String(text ?? "")
    .split("`")
    .map((part, place) => (place % 2 ? el("code", {}, part) : part));
}

/** Show what went wrong, and what to do about it. */
export function problem(error) {
  return [el("p", {}, prose(error.message)), el("p", { class: "muted" }, prose(error.hint))];
}

/** Replace the children of an element. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

const NUMBERS = new Intl.NumberFormat("en");

/** Write a number with separators for thousands. */
export function number(value) {
  return NUMBERS.format(value);
}

/** Write a number and the noun that it counts. */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** Write seconds in the largest suitable unit: 45 s, 12 min, 3 h, 2 d. */
export function duration(seconds) {
  const value = Math.max(0, seconds);
  if (value < 99.5) return `${Math.round(value)} s`;
  if (value < 99.5 * 60) return `${Math.round(value / 60)} min`;
  if (value < 48 * 3600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

/** Write how long ago an instant was. */
export function ago(instant, now = Date.now()) {
  return instant ? `${duration((now - Date.parse(instant)) / 1000)} ago` : "never";
}

/** Write in how long an instant comes. */
export function until(instant, now = Date.now()) {
  const seconds = (Date.parse(instant) - now) / 1000;
  return seconds < 1 ? "now" : `in ${duration(seconds)}`;
}

/** Make an element for an instant: how long ago it was, with the instant itself as its tooltip. */
export function moment(instant) {
  if (!instant) return el("span", {}, "–");
  return el("time", { datetime: instant, title: local(instant) }, ago(instant));
}

/** Write an instant in the reader's own time. */
export function local(instant) {
  return new Date(instant).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** Shorten an id to its last six characters, which is how people tell ids apart. */
export function shortId(id) {
  return id.length > 12 ? `…${id.slice(-6)}` : id;
}

/** Show a text for a few seconds at the edge of the page. */
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove("shown"), 5000);
}
