// The middle pane: the service's own timeline and who owns the open conversation.

import { AGAIN_MS, call, make } from "./api.js";
import { clock, said } from "./chat.js";
import { t } from "./i18n.js";

const ROWS_MAX = 300;
const TIMED_MAX = 500;
const EXPECTED_MAX = 200;
const LEARNT_MAX = 100;
const UNSENT = ["send.rejected", "send.withdrawn", "send.expired", "send.cancelled", "send.unresolved"];
const ARROWS = { inbound: "◀", outbound: "▶" };
const TICKS = { sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓", failed: "✗" };

/**
 * Shows facts as they come. `note(wamid)` says that a message was just written, to time it; `expect(id, about)` that a
 * command was, whose outcome goes to `tell(type, why)`; `about.told` says that it has.
 */
export class Timeline {
  constructor(choose, tell) {
    this.list = document.getElementById("timeline-rows");
    this.choose = choose;
    this.tell = tell;
    this.expected = new Map();
    this.contacts = new Map();
    this.rows = new Map();
    this.states = new Map();
    this.written = new Map();
    this.open = { number: "", contact: "" };
    this.lost = false;
    this.run = "";
  }

  /** Begins to listen; `present(true|false)` says whether there is a service at this address. */
  start(present, path = "/v1/events") {
    const source = new EventSource(path);
    source.onopen = () => {
      if (this.lost) this.clear();
      this.lost = false;
      this.list.dataset.live = true;
      present(true);
      this.isAnother().then((another) => {
        if (!another) return;
        source.close();
        this.refused(present);
      }, () => {}); // whoever cannot say so now is asked when it comes back
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.refused(present);
    };
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.topic === "timeline") this.take(event);
      if (event.topic === "conversations") this.state(event);
      if (event.topic === "sends") this.outcome(event);
    };
  }

  /** Nobody listens any more: there is no service, or it has begun anew, and then this does too, from its start. */
  refused(present) {
    if (!this.list.dataset.live) return present(false);
    this.lost = true;
    this.list.dataset.live = false;
    return setTimeout(() => this.start(present, "/v1/events?from_start=1"), AGAIN_MS);
  }

  /** Whether the service was started anew since the last time: its log may have outgrown the place of this page. */
  async isAnother() {
    const { started_at } = await (await fetch("/v1/health")).json();
    const before = this.run || started_at;
    this.run = started_at;
    return before !== started_at;
  }

  clear() {
    this.run = "";
    for (const kept of [this.rows, this.states, this.contacts, this.expected]) kept.clear();
    this.list.replaceChildren();
    this.tick();
  }

  expect(id, about) {
    this.expected.set(id, about);
    if (this.expected.size > EXPECTED_MAX) this.expected.delete(this.expected.keys().next().value);
  }

  /** What became of a command: one that did not go out has no message, so it gets a row that says why. */
  outcome(event) {
    const { type, data } = event;
    const about = this.expected.get(data.command_id);
    const reason = data.reason?.replaceAll("_", " ") ?? "";
    const why = [reason, data.error?.message].filter(Boolean).join(": ");
    if (about && (type === "send.accepted" || type === "send.deferred" || UNSENT.includes(type))) {
      about.told = true;
      this.tell(type, why);
    }
    if (!UNSENT.includes(type)) return;
    this.expected.delete(data.command_id);
    const contact = about ? { wa_id: about.contact } : this.contacts.get(data.conversation_id);
    const unsent = t(type.replace(".", "_"), { why: reason });
    const content = { body: about?.text ?? "" };
    const facts = { kind: "text", origin: "api", direction: "outbound", content, contact, unsent, sent_at: data.at };
    this.add({ ...event, data: { ...facts, message_id: data.command_id, number: data.number } });
    const row = this.rows.get(data.command_id);
    if (!row) return;
    row.events.push(event);
    this.draw(row);
    if (!about) this.learn(row).catch(() => {}); // it stays a bot's message
  }

  /** Asks to whom a command went that was not written on this page, and what it said: its outcome does not tell. */
  async learn({ message }) {
    const { number, message_id } = message;
    const query = new URLSearchParams({ number, limit: LEARNT_MAX });
    const answer = await fetch(`/v1/topics/outbound/newest?${query}`);
    const { events = [] } = await answer.json();
    const written = events.find(({ type, data }) => type === "send.requested" && data?.command_id === message_id)?.data;
    if (!written?.to) return;
    const id = written.to.replace(/^\+|[\s().-]/g, "");
    const known = this.states.get(`${number}:${id}`)?.contact;
    const { type: kind = "text", [kind]: content } = written.message;
    Object.assign(message, { kind, content, contact: known ?? { [/\D/.test(id) ? "user_id" : "wa_id"]: id } });
    const row = this.rows.get(message_id);
    if (row) this.draw(row);
  }

  note(wamid) {
    this.written.set(wamid, performance.now());
    if (this.written.size > TIMED_MAX) this.written.delete(this.written.keys().next().value);
  }

  take(event) {
    const { type, data } = event;
    if (type === "message.added") this.add(event);
    const row = this.rows.get(data?.message_id);
    if (!row) return;
    row.events.push(event);
    if (type === "message.edited") Object.assign(row.message, { content: data.content, edited: true });
    if (type === "message.revoked") row.message.revoked = true;
    if (type === "message.completed") Object.assign(row.message, data);
    if (type === "status.changed") row.message.status = data.current ?? data.status;
    this.draw(row);
  }

  add(event) {
    const { data } = event;
    if (this.rows.has(data.message_id)) return;
    const begun = this.written.get(data.message_id);
    const ms = begun === undefined ? null : Math.max(0, Math.round(performance.now() - begun));
    const row = { message: { ...data, number: data.number ?? event.number }, ms, events: [], ...parts() };
    row.details.addEventListener("toggle", () => { if (row.details.open) this.unfold(row); });
    this.rows.set(data.message_id, row);
    const scroll = this.list.parentElement;
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    this.list.append(row.li);
    while (this.rows.size > ROWS_MAX) {
      const [oldest, gone] = this.rows.entries().next().value;
      gone.li.remove();
      this.rows.delete(oldest);
    }
    if (atEnd) requestAnimationFrame(() => { scroll.scrollTop = scroll.scrollHeight; });
  }

  draw(row) {
    const { message } = row;
    row.li.classList.toggle("revoked", Boolean(message.revoked || message.unsent));
    row.li.classList.toggle("other", !this.isOpen(message));
    row.time.textContent = clock(Date.parse(message.sent_at) || Date.now());
    row.origin.dataset.origin = message.origin;
    row.origin.textContent = `${ARROWS[message.direction] ?? ""} ${t(`origin_${message.origin}`)}`;
    const name = message.contact?.name ?? message.contact?.wa_id ?? message.contact?.user_id ?? "";
    const words = said(message.kind, message.content) || (message.unsent ? t("bots_message") : "");
    row.words.textContent = name ? `${name}: ${words}` : words;
    const tail = [message.unsent, message.edited && t("edited"), message.revoked && t("deleted"), TICKS[message.status]];
    if (row.ms !== null) tail.push(t("in_ms", { ms: row.ms }));
    row.tail.textContent = tail.filter(Boolean).join(" · ");
  }

  /** Shows which conversation is open on the phones. */
  select(number, contact) {
    this.open = { number, contact };
    for (const row of this.rows.values()) this.draw(row);
    this.tick();
  }

  state(event) {
    const { data } = event;
    this.states.set(`${data.number ?? event.number}:${data.contact?.wa_id ?? ""}`, data);
    this.contacts.set(data.conversation_id, data.contact);
    this.tick();
  }

  /** Shows the owner of the open conversation and what time is left; called every second. */
  tick() {
    const state = this.states.get(`${this.open.number}:${this.open.contact}`);
    const parts_ = [];
    if (state) {
      const owner = { bot: "owner_bot", person_app: "owner_person", agent: "owner_agent" }[state.owner];
      parts_.push(t(owner ?? "owner_unknown"));
      const paused = left(state.automation_paused_until);
      if (paused) parts_.push(t("paused_for", { time: paused }));
      const open = left(state.window_expires_at);
      parts_.push(open ? t("window_for", { time: open }) : t("window_closed"));
    }
    const text = parts_.join(" ");
    const line = document.getElementById("owner");
    if (line.textContent !== text) line.textContent = text;
  }

  isOpen(message) {
    return message.number === this.open.number && (message.contact?.wa_id ?? "") === this.open.contact;
  }

  async unfold(row) {
    const { message } = row;
    if (!this.isOpen(message) && message.contact?.wa_id) this.choose(message.number, message.contact.wa_id);
    row.more.replaceChildren(...row.events.map((event) => make("pre", { tabindex: 0 }, JSON.stringify(event, null, 2))));
    if (message.unsent) return;
    const kind = message.origin === "customer" ? "message" : "echo";
    const posts = await call("GET", `/webhooks?item=${encodeURIComponent(`${kind}:${message.message_id}`)}`).catch(() => []);
    if (!posts.length) {
      row.more.append(make("p", {}, t("no_webhook_kept")));
      return;
    }
    const button = make("button", { type: "button" }, t("copy_curl"));
    button.onclick = () => copyCurl(posts[0], button);
    row.more.append(make("pre", { tabindex: 0 }, posts[0].body), button);
  }
}

function parts() {
  const [time, origin] = [make("time"), make("span", { class: "origin" })];
  const [words, tail] = [make("span", { class: "words" }), make("span", { class: "tail" })];
  const more = make("div");
  const details = make("details", {}, make("summary", {}, time, origin, words, tail), more);
  return { time, origin, words, tail, more, details, li: make("li", { class: "new" }, details) };
}

async function copyCurl(post, button) {
  const { url } = await call("GET", "/webhook");
  const body = post.body.replaceAll("'", "'\\''");
  const head = `-H 'Content-Type: application/json' -H 'X-Hub-Signature-256: ${post.signature}'`;
  await navigator.clipboard.writeText(`curl -X POST '${url}' ${head} --data-binary '${body}'`);
  button.textContent = t("copied");
}

function left(until) {
  const seconds = Math.floor((Date.parse(until) - Date.now()) / 1000);
  if (!(seconds > 0)) return "";
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}` + " h" : `${m}:${two(s)}`;
}
