// The page: its views by address, the state of the connection, and current trouble.

import { get } from "./api.js";
import { ago, el, number, prose, show } from "./dom.js";
import { follow } from "./live.js";
import { groupsView, groupView } from "./groups.js";
import { operationView } from "./operation.js";
import { operationsView } from "./operations.js";
import { deadLettersView, sinksView } from "./sinks.js";

const TABS = [
  ["operations", "Operations"],
  ["groups", "Groups"],
  ["sinks", "Sinks"],
  ["dead-letters", "Dead letters"],
];
const STATUS_EVERY = 5;

const main = document.getElementById("main");
let view = null;
let counts = {};

/** Read the address: the view, its subject, and its filters. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", id = ""] = path.split("/").map(decodeURIComponent);
  return { name: name || "operations", id, filters: Object.fromEntries(new URLSearchParams(query)) };
}

function open() {
  const { name, id, filters } = route();
  view?.close();
  window.scrollTo(0, 0);
  const go = (changed) => {
    const query = new URLSearchParams(Object.entries(changed).filter(([, value]) => value)).toString();
    location.hash = query ? `#/${name}?${query}` : `#/${name}`;
  };
  if (name === "groups") view = id ? groupView(main, id) : groupsView(main, filters, go);
  else if (name === "sinks") view = sinksView(main);
  else if (name === "dead-letters") view = deadLettersView(main, filters);
  else if (id) view = operationView(main, id);
  else view = operationsView(main, filters, go);
  drawTabs();
  document.title = `${TABS.find(([tab]) => tab === name)?.[1] || "Operations"} – comms-poller`;
}

function drawTabs() {
  const { name } = route();
  show(
    document.getElementById("tabs"),
    TABS.map(([tab, text]) =>
      el("a", { href: `#/${tab}`, "aria-current": tab === name ? "page" : null }, text, counts[tab] ? el("span", { class: "count" }, number(counts[tab])) : null),
    ),
  );
}

async function status() {
  try {
    const [ready, { sinks }, summary] = await Promise.all([readiness(), get("v1/sinks"), get("v1/summary")]);
    drawDegraded(ready);
    counts = {
      sinks: sinks.filter((sink) => !sink.configured || sink.state !== "ok").length,
      "dead-letters": sinks.reduce((sum, sink) => sum + sink.dead, 0),
    };
    view?.onSummary?.(summary);
    drawTabs();
  } catch {
    // the page shows the state of the connection
  }
}

async function readiness() {
  try {
    return await get("readyz");
  } catch (error) {
    return { reason: error.status === 503 ? error.message : null, degraded: [] };
  }
}

function drawDegraded({ reason, degraded }) {
  const place = document.getElementById("degraded");
  const items = degraded.map((one) => el("li", {}, el("b", {}, one.what), ` since ${ago(one.since)}: `, prose(one.hint)));
  if (reason) items.unshift(el("li", {}, el("b", {}, "not ready"), ": ", prose(reason)));
  place.hidden = items.length === 0;
  // redrawn only if it differs: a screen reader would repeat it
  const text = items.map((item) => item.textContent).join("\n");
  if (text !== drawDegraded.text) show(place, el("ul", {}, items));
  drawDegraded.text = text;
}

function connection(text, isLive) {
  const place = document.getElementById("connection");
  place.textContent = text;
  place.classList.toggle("live", isLive);
}

let tick = 0;
setInterval(() => {
  if (document.hidden) return;
  tick += 1;
  view?.turn(tick);
  if (tick % STATUS_EVERY === 0) status();
}, 1000);

window.addEventListener("hashchange", open);
connection("Connecting…", false);
open();
status();
follow({
  onEvent: (type, event) => view?.onEvent(event.subject, type),
  onState: connection,
  onGap: () => {
    view?.onGap();
    status();
  },
});
