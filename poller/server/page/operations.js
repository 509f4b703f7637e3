// The list of operations and messages: documents page by page, with elements for the visible rows only.

import { get } from "./api.js";
import { bar, describe, updateBar } from "./drawing.js";
import { ago, duration, el, number, shortId, show, until } from "./dom.js";

const PAGE = 200;
const IDS_PER_REQUEST = 100;
const EXTRA_ROWS = 6;

export const CHOICES = {
  phase: [["", "Running and ended"], ["running", "Running"], ["ended", "Ended"]],
  outcome: [["", "Any outcome"], ["completed", "Completed"], ["failed", "Failed"], ["canceled", "Canceled"], ["lost", "Lost"]],
  kind: [["", "Any kind"], ["messages", "Messages"], ["emails", "Emails"], ["push-notifications", "Push notifications"], ["sender-pools", "Sender pools"]],
};
const PHASES = { running: ["active", "settling", "explaining"], ended: ["ended"] };

/** Translate the filters of an address into the parameters of the control API. */
function parameters(filters) {
  return {
    phase: PHASES[filters.phase] || [],
    outcome: filters.outcome,
    kind: filters.kind,
    label: filters.label,
    group: filters.group,
    search: filters.search,
  };
}

/** Return the state of an operation in one or two words, and the class that colours it. */
export function state(operation) {
  if (operation.phase === "forgotten") return ["forgotten", "quiet"];
  if (operation.outcome === "failed") return ["failed", "bad"];
  if (operation.outcome === "lost") return ["lost", "bad"];
  if (operation.outcome === "canceled") return ["canceled", "quiet"];
  if (operation.outcome === "completed") return [operation.phase === "settling" ? "settling" : "completed", "good"];
  if (operation.status === null) return ["not seen yet", "quiet"];
  return [operation.status.toLowerCase(), "busy"];
}

/** Show the filters and the list; returns what the page calls while this view is open. */
export function operationsView(main, filters, go) {
  const rows = [];
  const known = new Map();
  const dirty = new Set();
  const alive = new AbortController();
  let next = null;
  let loading = false;
  let failed = "";

  const summary = el("p", { class: "summary muted" });
  const list = el("ul", { class: "rows" });
  const after = el("div", { class: "after muted" });
  const group = filters.group && el("p", {}, "Members of the group ", el("a", { href: `#/groups/${encodeURIComponent(filters.group)}` }, filters.group));
  show(main, filterBar(filters, go), group, summary, list, after);
  const height = rowHeight(list);

  async function load(more = false) {
    if (loading) return;
    loading = true;
    try {
      const page = await get("v1/operations", { ...parameters(filters), limit: PAGE, cursor: more ? next : null }, alive.signal);
      if (!more) merge(page.operations);
      else for (const operation of page.operations) append(operation);
      if (more || rows.length <= page.operations.length) next = page.next;
      failed = "";
    } catch (error) {
      if (alive.signal.aborted) return;
      failed = `${error.message} ${error.hint || ""}`;
    } finally {
      loading = false;
    }
    draw();
  }

  function append(operation) {
    if (!known.has(operation.id)) rows.push(operation.id);
    known.set(operation.id, operation);
  }

  // merge the newest page: new operations come first, known ones are updated in place
  function merge(operations) {
    const fresh = operations.filter((operation) => !known.has(operation.id)).map((operation) => operation.id);
    for (const operation of operations) known.set(operation.id, operation);
    rows.unshift(...fresh);
  }

  async function refresh(ids) {
    if (ids.length === 0) return;
    try {
      const page = await get("v1/operations", { id: ids.slice(0, IDS_PER_REQUEST), limit: IDS_PER_REQUEST }, alive.signal);
      for (const operation of page.operations) known.set(operation.id, operation);
    } catch {
      // the page shows the state of the connection; the next turn tries again
    }
    draw();
  }

  function visible() {
    const top = Math.max(0, window.scrollY - list.offsetTop);
    const first = Math.max(0, Math.floor(top / height()) - EXTRA_ROWS);
    const last = Math.min(rows.length, Math.ceil((top + window.innerHeight) / height()) + EXTRA_ROWS);
    return rows.slice(first, last).map((id, place) => [id, first + place]);
  }

  const shown = new Map();

  function draw() {
    list.style.height = `${rows.length * height()}px`;
    const wanted = visible();
    const gone = new Map(shown);
    for (const [id, place] of wanted) {
      const row = shown.get(id) || addRow(id);
      gone.delete(id);
      row.update(known.get(id), place, height());
    }
    for (const [id, row] of gone) {
      row.element.remove();
      shown.delete(id);
    }
    if (next && wanted.length && wanted.at(-1)[1] > rows.length - PAGE / 4) load(true);
    after.textContent = loading ? "Loading…" : "";
    if (failed) after.textContent = failed;
    else if (!loading && rows.length === 0) show(after, emptyState(filters));
  }

  function addRow(id) {
    const row = makeRow(id);
    shown.set(id, row);
    list.append(row.element);
    return row;
  }

  let frame = 0;
  const onScroll = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(draw);
  };
  window.addEventListener("scroll", onScroll, { passive: true });
  window.addEventListener("resize", onScroll);
  load();

  let newcomers = false;
  return {
    onEvent(id) {
      if (known.has(id)) dirty.add(id);
      else newcomers = true;
    },
    onGap: () => load(),
    turn(tick) {
      const on = visible().map(([id]) => id);
      const moved = on.filter((id) => dirty.has(id));
      for (const id of on) dirty.delete(id);
      if (newcomers && tick % 2 === 0) {
        newcomers = false;
        load();
      }
      // no event contains the time of the next poll
      const due = on.filter((id) => Date.parse(known.get(id).nextLookAt || "9999") < Date.now() - 1000);
      if (moved.length || (due.length && tick % 3 === 0)) refresh([...new Set([...moved, ...due])]);
      for (const row of shown.values()) row.tick();
    },
    onSummary(found) {
      const parts = [`${number(found.running)} running`, `${number(found.ended)} ended`];
      if (found.failed) parts.push(`${number(found.failed)} failed`);
      if (found.lost) parts.push(`${number(found.lost)} lost`);
      summary.textContent = parts.join(" · ");
    },
    close() {
      alive.abort();
      window.removeEventListener("scroll", onScroll);
      window.removeEventListener("resize", onScroll);
    },
  };
}

function rowHeight(list) {
  return () => parseFloat(getComputedStyle(list).getPropertyValue("--row")) || 64;
}

function makeRow(id) {
  const badge = el("span", { class: "badge" });
  const name = el("span", { class: "id", title: id }, shortId(id));
  const labels = el("span", { class: "labels" });
  const drawing = bar({ total: 0, stages: {} });
  const numbers = el("span", { class: "numbers" });
  const pace = el("span", { class: "pace muted" });
  const element = el(
    "li",
    { class: "row" },
    el("a", { href: `#/operations/${encodeURIComponent(id)}` }, el("span", { class: "who" }, badge, name, labels), el("span", { class: "how" }, drawing, numbers), pace),
  );
  let operation = null;
  return {
    element,
    update(found, place, height) {
      element.style.transform = `translateY(${place * height}px)`;
      if (found === operation) return;
      operation = found;
      const [text, tone] = state(found);
      badge.textContent = text;
      badge.className = `badge ${tone}`;
      show(labels, labelChips(found));
      updateBar(drawing, found.progress);
      show(numbers, headline(found));
      numbers.title = describe(found.progress);
      this.tick();
    },
    tick() {
      pace.textContent = operation ? paceOf(operation) : "";
    },
  };
}

/** Show the labels of an operation or group, and its group. */
export function labelChips(found) {
  const labels = Object.entries(found.labels).map(([name, value]) => `${name}=${value}`);
  if (found.group) labels.unshift(`group ${found.group}`);
  return labels.map((text) => el("span", { class: "chip", title: text }, text));
}

/** Describe the progress in numbers. */
export function headline(found) {
  const { total, done, failed } = found.progress;
  if (total === null) return found.status === null ? "nothing seen yet" : "";
  return [`${number(done)} of ${number(total)}`, failed > 0 && [", ", el("b", { class: "failed" }, `${number(failed)} failed`)]];
}

/** Describe the rate and the time left, as far as they are known. */
export function speed({ perSecond, secondsLeft }) {
  const parts = [];
  if (perSecond) parts.push(`${perSecond >= 10 ? number(Math.round(perSecond)) : perSecond.toFixed(1)}/s`);
  if (secondsLeft) parts.push(`${duration(secondsLeft)} left`);
  return parts;
}

/** Describe the rate, the time left, and the last and the next poll. */
export function paceOf(operation) {
  if (operation.endedAt) return `ended ${ago(operation.endedAt)}`;
  const parts = speed(operation.progress);
  if (operation.observedAt) parts.push(`polled ${ago(operation.observedAt)}`);
  if (operation.nextLookAt) parts.push(`next ${until(operation.nextLookAt)}`);
  return parts.join(" · ");
}

/** Make the bar of filters; the choice is in the address, so that a view can be shared. */
export function filterBar(filters, go) {
  const change = (name) => (event) => go({ ...filters, [name]: event.target.value });
  const choice = (name, label) =>
    el(
      "select",
      { "aria-label": label, change: change(name) },
      CHOICES[name].map(([value, text]) => el("option", { value, selected: (filters[name] || "") === value }, text)),
    );
  const typed = (name, label, placeholder) =>
    el("input", { type: "search", "aria-label": label, placeholder, value: filters[name] || "", change: change(name) });
  return el(
    "form",
    { class: "filters", role: "search", submit: (event) => event.preventDefault() },
    typed("search", "Search by id or label", "Search by id or label"),
    choice("phase", "Phase"),
    choice("outcome", "Outcome"),
    choice("kind", "Kind"),
    typed("label", "Label, written as name=value", "label=value"),
    Object.values(filters).some(Boolean) && el("button", { type: "button", click: () => go({}) }, "Clear"),
  );
}

function emptyState(filters) {
  if (Object.values(filters).some(Boolean)) return el("p", {}, "Nothing matches these filters.");
  const command = "poller add comms_operation_…";
  return el(
    "div",
    { class: "empty" },
    el("h2", {}, "Nothing is watched yet"),
    el("p", {}, "Register the operation id that the Communications API returned for a send, from a terminal:"),
    el("pre", {}, command),
    el("p", {}, "or from your program, with a POST to ", el("code", {}, "/v1/operations"), ". It appears here at once."),
  );
}
