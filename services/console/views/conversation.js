// One timeline, live: who wrote what, who owns it now, and which sends wait for what.

import { address, call, follow, get } from "../api.js";
import { away, t, when, word } from "../i18n.js";
import { button, doing, fill, head, keep, link, looking, make, once, say, table, whom, words, write } from "../page.js";

const LOOK_MS = 2000;
const FIRST = 200;
const ALL = 1000;
const ARROWS = { inbound: "◀", outbound: "▶" };
const TICKS = { sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓", failed: "✗" };
const QUEUE_TYPES = /^send\./;

export async function show(root, [id], { signal, every }) {
  const view = new View(id, signal);
  root.append(view.title, view.state, view.actions(), view.older, view.log, make("h3", {}, t("queued")), view.queue.el, view.nothing);
  await view.read();
  follow(`/v1/conversations/${encodeURIComponent(id)}/events`, {
    signal,
    on: (event) => view.take(event),
    live: (on) => {
      view.setLive(on);
      if (on) doing(() => view.read());
      else view.seen = null; // the service may come back with an older state, put back from a backup
    },
  });
  every(LOOK_MS, () => view.look());
}

class View {
  constructor(id, signal) {
    this.id = id;
    this.signal = signal;
    this.rows = new Map();
    this.reading = new Set();
    this.limit = FIRST;
    this.seen = null;
    this.look = looking(() => Promise.all([get(this.path(), signal), get(this.path("/sends"), signal)]), (found) => this.showAll(found));
    this.live = make("span", { class: "live", role: "status" }, t("not_live"));
    this.title = head(t("conversation"), this.live);
    this.state = make("dl", { class: "figures small" });
    this.list = make("ol", { class: "timeline" });
    this.log = make("div", { class: "log", role: "log", tabindex: 0, "aria-label": t("timeline") }, this.list);
    this.older = button(t("older"), async () => { this.limit = ALL; await this.read(); }, { hidden: true });
    this.queue = table(t("queued"), ["send", "kind", "state", "waits_for", ""]);
    this.nothing = make("p", { class: "soft" }, t("nothing_queued"));
  }

  path(more = "") {
    return `/v1/conversations/${encodeURIComponent(this.id)}${more}`;
  }

  /** Reads everything; what came by the stream meanwhile may be newer than the answer, so it is taken again. */
  async read() {
    const meanwhile = [];
    this.reading.add(meanwhile);
    const [{ messages }, { owners }] = await Promise.all([
      get(address(this.path("/timeline"), { limit: this.limit }), this.signal), get(this.path("/owners"), this.signal),
    ]).finally(() => this.reading.delete(meanwhile));
    this.older.hidden = messages.length < this.limit || this.limit === ALL;
    this.rows = new Map(messages.map((message) => [message.message_id, { message }]));
    for (const change of owners) this.rows.set(`owner ${change.version}`, change);
    this.last = owners.at(-1);
    for (const event of meanwhile) this.take(event);
    this.draw();
    await this.look();
  }

  showAll([state, { sends }]) {
    this.show(state);
    this.nothing.hidden = sends.length > 0;
    this.queue.el.hidden = !sends.length;
    fill(this.queue, sends, (one) => one.command_id, (one, row) => sendCells(one, row, () => this.look()));
  }

  /** Shows a state unless a newer one stands there: a look may be slower than the stream. */
  show(state) {
    if (this.seen?.conversation_id === state.conversation_id && state.version < this.seen.version) return;
    this.seen = state;
    write(this.title.firstElementChild, whom(state.contact));
    const paused = Date.parse(state.automation_paused_until ?? 0) > Date.now();
    const open = Date.parse(state.window_expires_at ?? 0) > Date.now();
    const facts = [
      ["owner", t(`owner_${state.owner}`)],
      ["bots", paused ? t("paused_until", { when: when(state.automation_paused_until, true) }) : t("free")],
      ["window", open ? t("window_closes", { when: away(state.window_expires_at) }) : t("window_closed")],
      ["unread_head", String(state.unread)], ["assignee", state.assignee || "–"], ["number", state.number],
    ];
    keep(this.state, facts, {
      key: ([name]) => name,
      build: ([name]) => make("div", {}, make("dt", {}, t(name)), make("dd")),
      draw: (div, [name, value]) => { div.dataset.fact = name; write(div.lastElementChild, value); },
    });
  }

  /** A row of its own between the messages, when the owner has changed. */
  changed({ owner, assignee = null, version }, at) {
    if (this.last?.owner === owner && this.last.assignee === assignee) return;
    this.last = { owner, assignee, version, at };
    this.rows.set(`owner ${version}`, this.last);
  }

  take(event) {
    const { type, data } = event;
    for (const meanwhile of this.reading) meanwhile.push(event);
    if (type === "message.added") this.rows.set(data.message_id, { message: data });
    const row = this.rows.get(data?.message_id);
    if (row && type === "message.edited") Object.assign(row.message, { content: data.content, edited_at: data.edited_at });
    if (row && type === "message.revoked") Object.assign(row.message, { content: {}, revoked_at: data.revoked_at });
    if (row && type === "message.completed") Object.assign(row.message, data);
    if (row && type === "status.changed") row.message.status = data.current;
    if (type === "conversation.state" && data) {
      this.show(data);
      this.changed(data, event.time);
    }
    if (QUEUE_TYPES.test(type)) doing(() => this.look());
    if (!this.drawing) this.drawing = requestAnimationFrame(() => { this.drawing = 0; this.draw(); });
  }

  draw() {
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    const rows = [...this.rows.entries()].sort(([, a], [, b]) => Date.parse(atOf(a)) - Date.parse(atOf(b)));
    keep(this.list, rows, { key: ([key]) => key, build: () => make("li", {}, make("time"), make("span", { class: "origin" }), make("span", { class: "words" }), make("span", { class: "soft" })), draw: (li, [, row]) => drawRow(li, row) });
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  setLive(on) {
    this.live.dataset.live = on;
    write(this.live, t(on ? "live" : "not_live"));
  }

  actions() {
    const act = async (action, body) => {
      await call("POST", this.path(`/${action}`), { body });
      say(t(`done_${action}`));
      await this.look();
    };
    const who = make("input", { id: "assignee", autocomplete: "off", maxlength: 128 });
    const assign = make("form", { class: "row", onsubmit: (event) => {
      event.preventDefault();
      doing(() => act("assign", { assignee: who.value.trim() || null }));
    } }, make("label", { for: "assignee" }, t("assign_to")), who, make("button", {}, t("assign")));
    return make("div", { class: "row" }, button(t("takeover"), () => act("takeover", {})), button(t("release"), () => act("release", {})), assign);
  }
}

const atOf = (row) => row.message?.sent_at ?? row.at;

function drawRow(li, { message, owner, assignee, at }) {
  const [time, origin, said, tail] = li.children;
  write(time, when(message?.sent_at ?? at, true));
  if (!message) {
    li.className = "change";
    write(said, t("owner_is", { owner: t(`owner_${owner}`) }) + (assignee ? ` · ${assignee}` : ""));
    return;
  }
  li.className = message.revoked_at ? "gone" : "";
  origin.dataset.origin = message.origin;
  write(origin, `${ARROWS[message.direction] ?? ""} ${t(`origin_${message.origin}`)}`);
  write(said, message.revoked_at ? t("deleted") : words(message.kind, message.content));
  const marks = [message.edited_at && t("edited"), message.historical && t("historical"), message.status && `${TICKS[message.status] ?? ""} ${word("status", message.status)}`];
  write(tail, marks.filter(Boolean).join(" · "));
}

/** The cells of a queued send: which, what, how it stands, why it waits, and a way to cancel it. */
export function sendCells(one, row, look) {
  const place = one.place ? ` (${t("place", { n: one.place })})` : "";
  const until = one.until ? `, ${away(one.until)}` : "";
  return [
    once(row, "link", () => link("send", one.command_id, one.command_id)),
    `${one.kind} · ${word("author", one.origin)}`, word("send_state", one.state), `${waits(one.waits_for)}${place}${until}`,
    cancelButton(one, row, look),
  ];
}

function waits(reason) {
  return reason.startsWith("paused_") ? t("waits_paused", { because: word("because", reason.slice(7)) }) : word("waits", reason);
}

function cancelButton(one, row, look) {
  const el = once(row, "cancel", () => button(t("cancel"), async () => {
    await call("DELETE", `/v1/sends/${encodeURIComponent(one.command_id)}`);
    say(t("done_cancel"));
    await look();
  }, { "aria-label": `${t("cancel")} ${one.command_id}` }));
  el.hidden = one.state !== "queued";
  return el;
}
