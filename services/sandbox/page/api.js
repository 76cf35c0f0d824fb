// The sandbox's control API and its event stream.

const API = "/sandbox/api";
export const AGAIN_MS = 1000;

/** Calls the control API; throws an Error whose message is fit for people. */
export async function call(method, path, body) {
  const init = { method, headers: { "Content-Type": "application/json" } };
  if (body !== undefined) init.body = JSON.stringify(body);
  const answer = await fetch(API + path, init);
  const content = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(content?.detail ?? String(answer.status));
  return content;
}

/** Listens to the world: `on(event)` for everything, `live(true|false)` as the stream comes and goes. */
export function listen(on, live) {
  const source = new EventSource(`${API}/events`);
  source.onopen = () => live(true);
  source.onerror = () => {
    live(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(on, live), AGAIN_MS);
  };
  source.onmessage = (event) => on(JSON.parse(event.data));
}

/** Makes an element: attributes in `set`, children as elements or as text that is never read as markup. */
export function make(tag, set = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(set)) {
    if (value !== undefined && value !== null && value !== false) el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

/** Returns what a message says, in words: its text, or its caption, or "". */
export function words(kind, content) {
  if (!content || typeof content !== "object") return "";
  if (kind === "template") return content.name ?? "";
  if (kind === "location") return content.name ?? "";
  if (kind === "reaction") return content.emoji ?? "";
  if (kind === "interactive") return content.body?.text ?? content.button_reply?.title ?? content.list_reply?.title ?? "";
  const inner = content[kind] && typeof content[kind] === "object" ? content[kind] : content;
  return inner.body ?? inner.caption ?? inner.text ?? inner.filename ?? "";
}
