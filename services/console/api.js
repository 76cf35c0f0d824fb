// The admin listener: its JSON, its streams, and the token where it wants one.

const KEY = "coexist-token";
const AGAIN_MS = 1000;
const AGAIN_MS_MAX = 15_000;
let asking = null;
let askForToken = async () => "";

/** Says how a person is asked for the token: `ask(wrong)` resolves to what was typed. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** Asks once, however many calls were refused at the same time. */
async function renew(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return;
  asking ??= askForToken(refused !== null).then((token) => sessionStorage.setItem(KEY, token)).finally(() => { asking = null; });
  await asking;
}

async function request(path, init = {}) {
  for (;;) {
    const used = sessionStorage.getItem(KEY);
    const answer = await fetch(path, { ...init, headers: headers(init.headers) });
    if (answer.status !== 401) return answer;
    await renew(used);
  }
}

/** Returns the JSON of an answer; throws an Error whose message is the problem and its fix. */
export async function call(method, path, { body, signal } = {}) {
  const init = { method, signal, headers: body === undefined ? {} : { "Content-Type": "application/json" } };
  if (body !== undefined) init.body = JSON.stringify(body);
  const answer = await request(path, init);
  const content = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error([content?.title ?? answer.status, content?.fix].filter(Boolean).join(". "));
  return content;
}

export const get = (path, signal) => call("GET", path, { signal });

/** Returns a path with a query; parts that say nothing are left out. */
export function address(path, query = {}) {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/**
 * Follows server-sent events until `signal` aborts, over fetch so that the token travels as a header, and goes on
 * after the last event it saw. `on(event)` gets each, `live(true|false)` hears as the stream comes and goes. Where the
 * log no longer reaches that event, `anew()` reads what there is and resolves to the id to go on from.
 */
export async function follow(path, { on, live = () => {}, lastId = "", anew = async () => "", signal }) {
  let wait = AGAIN_MS;
  while (!signal.aborted) {
    try {
      const answer = await request(path, { signal, headers: lastId ? { "Last-Event-ID": lastId } : {} });
      if (answer.status === 410) {
        lastId = await anew();
        wait = AGAIN_MS;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      live(true);
      wait = AGAIN_MS;
      for await (const { id, data } of events(answer.body)) {
        lastId = id || lastId;
        if (data) on(JSON.parse(data));
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    live(false);
    await pause(wait, signal);
    wait = Math.min(2 * wait, AGAIN_MS_MAX);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) yield parsed(block);
  }
}

function parsed(block) {
  const found = { id: "", data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) found.id = line.slice(4);
    if (line.startsWith("data: ")) found.data += line.slice(6);
  }
  return found;
}

/** Waits; ends at once when `signal` aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** Runs `look` now and then every `ms` while the page is seen, until `signal` aborts. `failed(error|null)` hears. */
export async function every(ms, look, signal, failed) {
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        await look();
        failed(null);
      } catch (error) {
        if (signal.aborted) return;
        failed(error);
      }
    }
    await pause(ms, signal);
  }
}
