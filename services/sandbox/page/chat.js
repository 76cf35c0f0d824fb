// The two phones: one chat, seen by the customer and by the owner.

import { call, make, words } from "./api.js";
import { t } from "./i18n.js";

const TICKS = { accepted: "", sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓" };
const SHOWN_MAX = 200;

/** One open chat. `open(number, contact)` loads it, `take(message)` shows a message that came or changed. */
export class Phones {
  constructor() {
    this.lists = { customer: document.getElementById("customer-chat"), app: document.getElementById("app-chat") };
    this.messages = new Map();
    this.number = "";
    this.contact = "";
    this.reading = new Set();
  }

  /** Shows a chat as it is: what came while it was asked for may be newer than the answer. */
  async open(number, contact) {
    this.number = number;
    this.contact = contact;
    const meanwhile = [];
    this.reading.add(meanwhile);
    try {
      const { messages } = await call("GET", `/chats/${number}/${contact}`);
      if (this.number !== number || this.contact !== contact) return;
      this.messages.clear();
      for (const list of Object.values(this.lists)) list.replaceChildren();
      for (const message of [...messages.slice(-SHOWN_MAX), ...meanwhile]) this.put(message);
    } finally {
      this.reading.delete(meanwhile);
    }
  }

  take(message) {
    for (const meanwhile of this.reading) meanwhile.push(message);
    this.put(message);
  }

  put(message) {
    if (message.number !== this.number || message.contact !== this.contact) return;
    const known = this.messages.has(message.wamid);
    this.messages.set(message.wamid, message);
    for (const [side, list] of Object.entries(this.lists)) {
      const bubble = this.bubble(message, side);
      if (known) list.querySelector(`[data-wamid="${CSS.escape(message.wamid)}"]`)?.replaceWith(bubble);
      else this.append(list, bubble);
    }
  }

  /** Returns the newest message of a side that can still be changed. */
  last(side) {
    const own = (message) => (side === "customer") === (message.side === "customer");
    return [...this.messages.values()].reverse().find((message) => own(message) && !message.revoked);
  }

  redraw() {
    for (const message of this.messages.values()) this.put(message);
  }

  append(list, bubble) {
    const scroll = list.parentElement;
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    list.append(bubble);
    while (list.childElementCount > SHOWN_MAX) list.firstElementChild.remove();
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  bubble(message, side) {
    const own = (side === "customer") === (message.side === "customer");
    const bubble = make("li", { class: `bubble${own ? " own" : ""}${message.revoked ? " gone" : ""}` });
    bubble.dataset.wamid = message.wamid;
    bubble.dataset.side = message.side;
    const quoted = message.reply_to && this.messages.get(message.reply_to);
    if (quoted) bubble.append(make("blockquote", {}, words(quoted.kind, quoted.content) || "…"));
    bubble.append(make("p", {}, message.revoked ? t("deleted_message") : said(message.kind, message.content)));
    const foot = [clock(message.at_s * 1000)];
    if (message.edits) foot.push(t("edited"));
    if (side === "app" && message.side === "api") foot.push(t("origin_api"));
    foot.push(...Object.values(message.reactions));
    if (own && message.side !== "customer") foot.push(TICKS[message.status] ?? message.status);
    bubble.append(make("small", {}, foot.filter(Boolean).join(" · ")));
    return bubble;
  }
}

/** Returns a message in words, with its kind in front unless it is a text. */
export function said(kind, content) {
  const text = words(kind, content);
  return kind === "text" ? text : [`[${t(`kind_${kind}`)}]`, text].filter(Boolean).join(" ");
}

/** Returns hours, minutes and seconds of a time in milliseconds. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString(document.documentElement.lang, { hour12: false });
}
