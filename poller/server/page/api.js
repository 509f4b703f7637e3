// The control API: requests with the token if one is required, and problems as errors.

const KEY = "comms-poller-token";
const DEADLINE = 15_000;

/** An answer that is not a success, or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The poller answered ${status}.`);
    this.status = status;
    this.hint = document.hint || "";
  }
}

/** Read a document; parameters that are lists are repeated, empty ones are left out. */
export function get(path, parameters = {}, signal = undefined) {
  return request("GET", address(path, parameters), undefined, signal);
}

/** Send a document. */
export function post(path, body) {
  return request("POST", address(path), body);
}

/** Open the stream of events; the answer's body is read by the caller. */
export async function openStream(lastEventId, signal) {
  const headers = lastEventId ? { "Last-Event-ID": lastEventId } : {};
  return send("GET", address("v1/events"), { headers, signal });
}

async function request(method, url, body, signal) {
  const deadline = AbortSignal.timeout(DEADLINE);
  const options = { signal: signal ? AbortSignal.any([deadline, signal]) : deadline, headers: {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await send(method, url, options);
  return answer.status === 204 ? null : answer.json();
}

async function send(method, url, options) {
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const headers = used ? { ...options.headers, Authorization: `Bearer ${used}` } : options.headers;
    let answer;
    try {
      answer = await fetch(url, { ...options, method, headers, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (options.signal?.aborted && error.name === "AbortError") throw error;
      throw new Problem(0, { title: "The poller does not answer." });
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw new Problem(answer.status, await problem(answer));
    // another request may have asked for the token meanwhile
    if (sessionStorage.getItem(KEY) === used) await askForToken(used !== null);
    if (options.signal?.aborted) options = { ...options, signal: AbortSignal.timeout(DEADLINE) };
  }
}

async function problem(answer) {
  try {
    return await answer.json();
  } catch {
    return { title: `${answer.status} ${answer.statusText}` };
  }
}

function address(path, parameters = {}) {
  // relative to the page, so that it works below the path of an ingress as well
  const url = new URL(path, document.baseURI.split("#")[0]);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

let asking = null;

function askForToken(wasRefused) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog");
    const input = document.getElementById("token-value");
    const reason = document.getElementById("token-reason");
    if (wasRefused) reason.textContent = "The poller refuses this token. It must equal server.token.";
    dialog.classList.toggle("refused", wasRefused);
    input.value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.getElementById("token-form").onsubmit = () => {
      sessionStorage.setItem(KEY, input.value.trim());
      asking = null;
      resolve();
    };
    dialog.showModal();
    input.focus();
  });
  return asking;
}
