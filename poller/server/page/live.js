// The event stream, read with fetch so that the token can be sent. It resumes after the last event that it
// has; a tab in the background holds no connection.

import { openStream, Problem } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
// the poller sends at least a comment every 15 s
const SILENCE = 45_000;

/**
 * Follow all events. Calls `onEvent(type, event)` for each, `onState(text, isLive)` when the connection
 * changes, and `onGap()` when events may be missing and the view must load its data again.
 */
export function follow({ onEvent, onState, onGap }) {
  let lastId = null;
  let running = null;

  async function run(signal) {
    let wait = FIRST_WAIT;
    while (!signal.aborted) {
      try {
        await read(signal, () => (wait = FIRST_WAIT));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status === 410) {
          lastId = null;
          continue;
        }
      }
      if (signal.aborted) return;
      onState("Reconnecting…", false);
      await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
      wait = Math.min(LONGEST_WAIT, wait * 2);
    }
  }

  async function read(signal, opened) {
    const broken = new AbortController();
    const both = AbortSignal.any([signal, broken.signal]);
    const answer = await openStream(lastId, both);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    if (lastId === null) {
      lastId = answer.headers.get("Last-Event-ID");
      onGap();
    }
    opened();
    onState("Live", true);
    let rest = "";
    let block = {};
    for (;;) {
      const silent = setTimeout(() => broken.abort(), SILENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silent));
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) block = take(line, block);
    }
  }

  function take(line, block) {
    if (line === "") {
      if (block.id) lastId = block.id;
      if (block.event === "error") return {};
      if (block.data) onEvent(block.event, JSON.parse(block.data));
      return {};
    }
    const seen = /^: last-event-id (\S+)/.exec(line);
    if (seen) lastId = seen[1];
    if (line.startsWith(":")) return block;
    const at = line.indexOf(":");
    return { ...block, [line.slice(0, at)]: line.slice(at + 1).trimStart() };
  }

  function visit() {
    if (document.hidden) {
      running?.abort();
      running = null;
    } else if (running === null) {
      running = new AbortController();
      run(running.signal);
    }
  }

  document.addEventListener("visibilitychange", visit);
  visit();
}
