// One operation or message: its progress, counters over time, failures, events and their deliveries.

import { get, post } from "./api.js";
import { legend, bar, plot } from "./drawing.js";
import { count, el, local, moment, number, problem, show, toast } from "./dom.js";
import { headline, labelChips, paceOf, state } from "./operations.js";

const EVENTS = 500;

/** Show one operation; returns what the page calls while this view is open. */
export function operationView(main, id) {
  const alive = new AbortController();
  let stale = false;
  let found = null;
  let pace = null;
  show(main, el("p", { class: "muted" }, "Loading…"));

  async function load() {
    stale = false;
    try {
      found = await get(`v1/operations/${encodeURIComponent(id)}`, { events: EVENTS }, alive.signal);
    } catch (error) {
      if (alive.signal.aborted) return;
      if (error.status !== 404 && found) return;
      show(main, back(), el("h1", {}, "Not known here"), problem(error));
      return;
    }
    const focused = document.activeElement?.id;
    const isOpen = new Set([...main.querySelectorAll("details[open]")].map((one) => one.id));
    pace = el("p", { class: "muted" }, paceOf(found));
    show(main, back(), heading(found), bar(found.progress), legend(found.progress), el("p", {}, headline(found)), pace, failures(found), history(found, found.registeredAt, load), facts(found));
    for (const one of isOpen) document.getElementById(one)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus();
  }

  load();
  return {
    onEvent(subject) {
      if (subject === id) stale = true;
    },
    onGap: load,
    turn(tick) {
      if (found && pace) pace.textContent = paceOf(found);
      const waits = found && found.events.some((event) => event.deliveries.some((delivery) => delivery.doneAt === null));
      if (stale || (tick % 5 === 0 && found && (!found.endedAt || waits))) load();
    },
    close: () => alive.abort(),
  };
}

function back() {
  return el("p", {}, el("a", { href: "#/operations" }, "← Operations"));
}

/** Show the parts that an operation and a group have in common: counters over time and the time line. */
export function history(found, startedAt, reload) {
  return [plotOf(found, startedAt), timeline(found, reload)];
}

function heading(found) {
  const [text, tone] = state(found);
  return el("header", { class: "heading" }, el("h1", { class: "id" }, found.id), el("span", { class: `badge ${tone}` }, text), labelChips(found));
}

function facts(found) {
  const row = (name, value) => value !== null && el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el(
    "dl",
    { class: "facts" },
    row("Kind", found.kind),
    row("Status", found.status || "not seen yet"),
    row("Phase", found.phase),
    row("Trace", found.traceparent),
    row("Account", found.account),
    row("Registered", moment(found.registeredAt)),
    row("Last polled", found.observedAt ? moment(found.observedAt) : "never"),
    row("Next poll", found.nextLookAt ? el("time", { datetime: found.nextLookAt }, local(found.nextLookAt)) : null),
    row("Ended", found.endedAt ? moment(found.endedAt) : null),
    row("URL at the API", found.source),
  );
}

function plotOf(found, startedAt) {
  const events = found.events.filter((event) => Object.keys(event.delta).length > 0);
  // computed backwards from the present counters, so that events which are no longer stored are included
  const counters = {};
  for (const [name, value] of Object.entries(found.counters)) counters[name] = value;
  const points = [];
  for (const event of events.toReversed()) {
    points.unshift({ at: Date.parse(event.time), counters: { ...counters } });
    for (const [name, change] of Object.entries(event.delta)) counters[name] = (counters[name] || 0) - change;
  }
  if (points.length) points.unshift({ at: Math.min(Date.parse(startedAt), points[0].at), counters: { ...counters } });
  const drawing = plot(points, document.getElementById("main").firstElementChild.clientWidth);
  return drawing && el("section", {}, el("h2", {}, "Counters over time"), drawing);
}

function failures(found) {
  if (found.breakdown) return causes(found.breakdown);
  if (!found.progress.failed) return null;
  return el(
    "section",
    {},
    el("h2", {}, "Failures"),
    el("p", {}, `${count(found.progress.failed, "message")} failed. For the reasons run `, el("code", {}, `poller show --failed ${found.id}`), ", or register with a breakdown."),
  );
}

/** Show what failed, by the vendor's code. */
export function causes(breakdown) {
  const rows = breakdown.errors.map((cause) =>
    el(
      "tr",
      {},
      el("td", { class: "number" }, number(cause.count)),
      el("td", {}, cause.code === null ? "no code" : String(cause.code)),
      el("td", {}, cause.message || ""),
      el("td", { class: "samples" }, cause.samples.map((one) => el("code", { class: "id" }, one.id))),
    ),
  );
  const heads = ["Messages", "Code", "Reason", "Examples"].map((text) => el("th", { scope: "col" }, text));
  return el(
    "section",
    {},
    el("h2", {}, "Failures by code"),
    !breakdown.complete && el("p", { class: "muted" }, "Not all of them could be read."),
    rows.length === 0 ? el("p", {}, "None.") : el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))),
  );
}

function timeline(found, reload) {
  const earlier = found.earlierEvents > 0 && el("p", { class: "muted" }, `${count(found.earlierEvents, "earlier event")} not shown.`);
  const items = found.events.toReversed().map((event) => timelineItem(event, reload));
  return el("section", {}, el("h2", {}, "Time line"), items.length ? el("ol", { class: "timeline", reversed: true }, items) : el("p", { class: "muted" }, found.pruned ? "Its events are no longer kept." : "No event yet: the first one follows the first answer of the API."), earlier);
}

/** Describe how many operations of a group have ended, and how. */
export function memberTexts({ total, watching, canceled, lost }) {
  const parts = [`${number(total - watching)} of ${count(total, "operation")} ended`];
  if (canceled) parts.push(`${number(canceled)} canceled`);
  if (lost) parts.push(`${number(lost)} lost`);
  return parts;
}

function timelineItem(event, reload) {
  const changes = Object.entries(event.delta).map(([name, change]) => `${name} ${change > 0 ? "+" : "−"}${number(Math.abs(change))}`);
  const details = [event.reason, ...(event.operations ? memberTexts(event.operations) : []), ...changes].filter(Boolean).join(", ");
  return el(
    "li",
    { value: event.sequence },
    el("div", { class: "what" }, el("b", {}, event.type), event.final && el("span", { class: "badge quiet" }, "final"), moment(event.time), el("button", { id: `replay-${event.id}`, click: () => replay(event, reload) }, "Replay")),
    details && el("div", { class: "muted" }, details),
    el("ul", { class: "deliveries" }, event.deliveries.map(delivery)),
  );
}

function delivery(one) {
  const tone = { delivered: "good", dead: "bad", waiting: "busy", blocked: "quiet" }[one.state];
  const why = [];
  if (one.state === "blocked") why.push("behind an earlier event");
  if (one.state === "waiting" && one.sinkState && one.sinkState !== "ok") why.push(`the sink is ${one.sinkState}`);
  if (one.state === "waiting" && one.sinkState === null) why.push("this sink is not configured");
  if (one.state !== "delivered") {
    if (one.attempts) why.push(count(one.attempts, "attempt"));
    const error = one.lastError || (one.state === "dead" ? null : one.sinkError);
    if (error) why.push(error);
    if (one.nextAttemptAt) why.push(`next attempt ${local(one.nextAttemptAt)}`);
  }
  return el("li", {}, el("span", { class: `badge ${tone}` }, one.state), ` ${one.sink}`, why.length > 0 && el("span", { class: "muted" }, ` ${why.join("; ")}`));
}

async function replay(event, reload) {
  try {
    const answer = await post(`v1/events/${encodeURIComponent(event.id)}/replay`, {});
    toast(`Sent again to ${answer.sinks.join(", ") || "no sink"}.`);
  } catch (error) {
    toast(`${error.message} ${error.hint || ""}`);
  }
  reload();
}
