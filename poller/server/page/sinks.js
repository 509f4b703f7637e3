// Where events go: each sink with its state, and what could not be delivered.

import { get, post } from "./api.js";
import { count, el, moment, number, problem, shortId, show, toast, until } from "./dom.js";

const TONES = { ok: "good", rejecting: "bad", failing: "bad", down: "bad", disabled: "bad" };
const PAGE = 100;

/** Show all sinks; returns what the page calls while this view is open. */
export function sinksView(main) {
  const alive = new AbortController();
  show(main, el("p", { class: "muted" }, "Loading…"));

  async function load() {
    let sinks;
    try {
      ({ sinks } = await get("v1/sinks", {}, alive.signal));
    } catch (error) {
      if (!alive.signal.aborted) show(main, failure(error));
      return;
    }
    show(
      main,
      el("h1", {}, "Sinks"),
      sinks.length === 0 ? el("p", {}, "No sink is configured.") : el("ul", { class: "cards" }, sinks.map((sink) => card(sink, load))),
    );
  }

  load();
  return { onEvent() {}, onGap: load, turn: (tick) => tick % 3 === 0 && load(), close: () => alive.abort() };
}

function card(sink, reload) {
  const fact = (name, value) => value !== null && el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el(
    "li",
    { class: "card" },
    el("header", { class: "heading" }, el("h2", {}, sink.name), el("span", { class: `badge ${sink.configured ? TONES[sink.state] : "bad"}` }, sink.configured ? sink.state : "not configured")),
    el(
      "dl",
      { class: "facts" },
      fact("Since", moment(sink.since)),
      fact("Waiting", number(sink.waiting)),
      fact("Oldest waiting since", sink.oldest ? moment(sink.oldest) : null),
      fact("Last error", sink.lastError),
      fact("Next attempt", sink.nextAttempt ? until(sink.nextAttempt) : null),
      fact("Refused", sink.refused ? `${number(sink.refused)} of ${number(sink.answered)}` : null),
      fact("Dead letters", sink.dead ? el("a", { href: `#/dead-letters?sink=${encodeURIComponent(sink.name)}` }, number(sink.dead)) : "0"),
    ),
    sink.dead > 0 && el("button", { click: () => replayAll({ sink: sink.name }, reload) }, `Replay ${count(sink.dead, "dead letter")}`),
  );
}

/** Show the dead letters, of one sink or of all. */
export function deadLettersView(main, filters) {
  const alive = new AbortController();
  let shown = PAGE;
  show(main, el("p", { class: "muted" }, "Loading…"));

  async function load() {
    let page;
    try {
      page = await get("v1/dead-letters", { sink: filters.sink, limit: shown }, alive.signal);
    } catch (error) {
      if (!alive.signal.aborted) show(main, failure(error));
      return;
    }
    const letters = page.deadLetters;
    const more = () => {
      shown = Math.min(1000, shown * 2);
      load();
    };
    show(
      main,
      el("h1", {}, filters.sink ? `Dead letters of ${filters.sink}` : "Dead letters"),
      filters.sink && el("p", {}, el("a", { href: "#/dead-letters" }, "Show those of all sinks")),
      letters.length === 0
        ? el("p", {}, "None: every event was delivered, or is still tried.")
        : [
            el("p", {}, el("button", { click: () => replayAll(filters.sink ? { sink: filters.sink } : { all: true }, load) }, "Replay all")),
            el("ul", { class: "cards" }, letters.map((letter) => letterCard(letter, load))),
            page.next && el("button", { click: more }, "Show more"),
          ],
    );
  }

  load();
  return { onEvent() {}, onGap: load, turn: (tick) => tick % 5 === 0 && load(), close: () => alive.abort() };
}

function letterCard(letter, reload) {
  const place = letter.type.startsWith("group.") ? "groups" : "operations";
  const status = letter.lastStatus ? `${letter.lastStatus}: ` : "";
  return el(
    "li",
    { class: "card" },
    el("header", { class: "heading" }, el("b", {}, letter.type), el("a", { class: "id", href: `#/${place}/${encodeURIComponent(letter.operationId)}`, title: letter.operationId }, shortId(letter.operationId)), el("span", { class: "chip" }, letter.sink)),
    el("p", {}, `${status}${letter.lastError || "no reason is known"}`),
    el("p", { class: "muted" }, "Recorded ", moment(letter.recordedAt), `, given up after ${count(letter.attempts, "attempt")} `, moment(letter.diedAt)),
    el("button", { click: () => replayOne(letter, reload) }, "Replay"),
  );
}

async function replayOne(letter, reload) {
  await act(() => post(`v1/events/${encodeURIComponent(letter.eventId)}/replay`, { sinks: [letter.sink] }), `Sent again to ${letter.sink}.`);
  reload();
}

async function replayAll(chosen, reload) {
  await act(() => post("v1/dead-letters/replay", chosen), "The dead letters are being sent again.");
  reload();
}

async function act(request, done) {
  try {
    await request();
    toast(done);
  } catch (error) {
    toast(`${error.message} ${error.hint || ""}`);
  }
}

function failure(error) {
  return el("div", { class: "empty" }, problem(error));
}
