// Groups: many operations that are counted as one.

import { get } from "./api.js";
import { bar, legend } from "./drawing.js";
import { ago, count, el, number, problem, show } from "./dom.js";
import { causes, history, memberTexts } from "./operation.js";
import { headline, labelChips, speed } from "./operations.js";

const PAGE = 100;
const EVENTS = 500;
const TONES = { open: "busy", sealed: "busy", ended: "good" };

/** Show all groups; returns what the page calls while this view is open. */
export function groupsView(main, filters, go) {
  const alive = new AbortController();
  let shown = PAGE;
  let moved = false;
  const list = el("div", {});
  show(
    main,
    el(
      "form",
      { class: "filters", role: "search", submit: (event) => event.preventDefault() },
      el("input", { type: "search", "aria-label": "Search by name or label", placeholder: "Search by name or label", value: filters.search || "", change: (event) => go({ ...filters, search: event.target.value }) }),
      el(
        "select",
        { "aria-label": "State", change: (event) => go({ ...filters, state: event.target.value }) },
        [["", "Any state"], ["open", "Open"], ["sealed", "Sealed"], ["ended", "Ended"]].map(([value, text]) => el("option", { value, selected: (filters.state || "") === value }, text)),
      ),
      Object.values(filters).some(Boolean) && el("button", { type: "button", click: () => go({}) }, "Clear"),
    ),
    list,
  );

  async function load() {
    moved = false;
    let page;
    try {
      page = await get("v1/groups", { state: filters.state, search: filters.search, limit: shown }, alive.signal);
    } catch (error) {
      if (!alive.signal.aborted) show(list, problem(error));
      return;
    }
    const more = () => {
      shown = Math.min(1000, shown * 2);
      load();
    };
    if (page.groups.length === 0) show(list, nothing(filters));
    else show(list, el("ul", { class: "cards" }, page.groups.map(card)), page.next && el("button", { click: more }, "Show more"));
  }

  load();
  return {
    onEvent: () => (moved = true),
    onGap: load,
    turn: (tick) => (moved || tick % 10 === 0) && tick % 2 === 0 && load(),
    close: () => alive.abort(),
  };
}

function card(group) {
  return el(
    "li",
    { class: "card" },
    el("header", { class: "heading" }, el("h2", {}, el("a", { href: `#/groups/${encodeURIComponent(group.name)}` }, group.name)), el("span", { class: `badge ${TONES[group.state]}` }, group.state), labelChips(group)),
    bar(group.progress),
    el("p", {}, headline(group)),
    el("p", { class: "muted" }, members(group)),
  );
}

/** Describe how many of its operations have ended, and its rate. */
function members(group) {
  const parts = memberTexts(group.operations);
  if (group.state === "open") parts.push(group.expected ? `is sealed at ${number(group.expected)} members` : "not sealed");
  parts.push(...(group.endedAt ? [`ended ${ago(group.endedAt)}`] : speed(group.progress)));
  return parts.join(" · ");
}

/** Show one group; returns what the page calls while this view is open. */
export function groupView(main, name) {
  const alive = new AbortController();
  let stale = false;
  let found = null;
  const back = el("p", {}, el("a", { href: "#/groups" }, "← Groups"));
  show(main, el("p", { class: "muted" }, "Loading…"));

  async function load() {
    stale = false;
    try {
      found = await get(`v1/groups/${encodeURIComponent(name)}`, { events: EVENTS }, alive.signal);
    } catch (error) {
      if (alive.signal.aborted || (error.status !== 404 && found)) return;
      show(main, back, el("h1", {}, "Not known here"), problem(error));
      return;
    }
    const unsealed = found.state === "open" && found.operations.total > 0 && found.operations.watching === 0 && !found.expected;
    show(
      main,
      back,
      el("header", { class: "heading" }, el("h1", {}, found.name), el("span", { class: `badge ${TONES[found.state]}` }, found.state), labelChips(found)),
      bar(found.progress),
      legend(found.progress),
      el("p", {}, headline(found)),
      el("p", { class: "muted" }, members(found)),
      unsealed && el("p", {}, "All its operations have ended. It ends when it is sealed: ", el("code", {}, `poller group seal ${found.name}`)),
      el("p", {}, el("a", { href: `#/operations?group=${encodeURIComponent(found.name)}` }, `Show its ${count(found.operations.total, "operation")}`)),
      found.breakdown && causes(found.breakdown),
      history(found, found.createdAt, load),
    );
  }

  load();
  return {
    onEvent: (subject) => (stale ||= subject === name),
    onGap: load,
    turn: (tick) => (stale || (tick % 5 === 0 && found && !found.endedAt)) && load(),
    close: () => alive.abort(),
  };
}

function nothing(filters) {
  if (Object.values(filters).some(Boolean)) return el("p", {}, "Nothing matches these filters.");
  return el(
    "div",
    { class: "empty" },
    el("h2", {}, "No groups yet"),
    el("p", {}, "A group counts the operations of a campaign as one. Name it when you register them, and seal it when all are registered:"),
    el("pre", {}, "poller add comms_operation_… --group autumn\npoller group seal autumn"),
  );
}
