// What happened with this person? First, who it is.

import { address, get } from "../api.js";
import { away, count, t } from "../i18n.js";
import { doing, head, keep, link, make, whom, write } from "../page.js";

const LOOK_MS = 3000;
const PAGE = 100;
const TYPED_MS = 200;

export async function show(root, [number = "", then = ""], { signal, every }) {
  const { numbers } = await get("/v1/numbers", signal);
  const list = new List(numbers.find((one) => one.number === number)?.number ?? numbers[0]?.number ?? "", signal);
  const choose = make("select", { id: "number", onchange: () => { location.hash = `#/conversations/${encodeURIComponent(choose.value)}`; } },
    numbers.map((one) => make("option", { value: one.number, selected: one.number === list.number }, one.business_phone ? `+${one.business_phone} (${one.number})` : one.number)));
  const search = make("input", { id: "search", type: "search", autocomplete: "off", placeholder: t("search_hint") });
  let typed;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => doing(() => list.ask(search.value.trim())), TYPED_MS);
  });
  root.append(
    head(t("conversations")),
    make("form", { class: "row", role: "search", onsubmit: (event) => { event.preventDefault(); doing(() => list.ask(search.value.trim())); } },
      make("label", { for: "number" }, t("number")), choose, make("label", { for: "search" }, t("search")), search),
    list.said, list.el, list.more,
  );
  if (then === "search") search.focus();
  list.watchEnd();
  every(LOOK_MS, () => list.refresh());
}

/** The conversations that have been read so far, the latest first; pages follow as somebody scrolls to the end. */
class List {
  constructor(number, signal) {
    this.number = number;
    this.signal = signal;
    this.asked = "";
    this.found = new Map();
    this.after = null;
    this.began = false;
    this.el = make("ul", { class: "conversations" });
    this.said = make("p", { class: "soft", role: "status" });
    this.more = make("button", { type: "button", hidden: true, onclick: () => doing(() => this.next()) }, t("more"));
  }

  async page(query) {
    if (!this.number) return { conversations: [], after: null };
    return get(address("/v1/conversations", { number: this.number, limit: PAGE, ...query }), this.signal);
  }

  async ask(asked) {
    if (asked === this.asked) return;
    this.asked = asked;
    const mine = asked;
    const { conversations } = asked ? await this.page({ q: asked }) : { conversations: [...this.found.values()] };
    if (mine !== this.asked) return;
    this.draw(conversations);
  }

  /** Reads the newest page anew; what else was read stays. */
  async refresh() {
    if (this.asked) return;
    const { conversations, after } = await this.page({});
    if (!this.began) [this.after, this.began] = [after, true];
    this.take(conversations);
  }

  async next() {
    if (this.after === null || this.reading || this.asked) return;
    this.reading = true;
    try {
      const { conversations, after } = await this.page({ after: this.after });
      this.after = after;
      this.take(conversations);
    } finally {
      this.reading = false;
    }
  }

  take(conversations) {
    for (const one of conversations) this.found.set(one.conversation_id, one);
    if (!this.asked) this.draw([...this.found.values()].sort((a, b) => latest(b).localeCompare(latest(a))));
  }

  draw(conversations) {
    keep(this.el, conversations, { key: (one) => one.conversation_id, build, draw });
    this.more.hidden = this.after === null || Boolean(this.asked);
    write(this.said, this.number ? t(this.more.hidden ? "shown_all" : "shown_some", { n: count(conversations.length) }) : t("no_numbers"));
  }

  watchEnd() {
    const eye = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) doing(() => this.next()); }, { rootMargin: "600px" });
    eye.observe(this.more);
    this.signal.addEventListener("abort", () => eye.disconnect());
  }
}

const latest = (one) => [one.last_inbound_at, one.last_outbound_at].filter(Boolean).sort().at(-1) ?? "";

function build(one) {
  const a = link("conversation", "", one.conversation_id);
  a.append(make("b"), make("span", { class: "owner" }), make("span"), make("span", { class: "soft" }), make("time", { class: "soft" }));
  return make("li", {}, a);
}

function draw(li, one) {
  const [name, owner, unread, window_, time] = li.firstElementChild.children;
  write(name, whom(one.contact));
  owner.dataset.owner = one.owner;
  write(owner, `${t(`owner_${one.owner}`)}${one.assignee ? ` · ${one.assignee}` : ""}`);
  write(unread, one.unread ? t("unread", { n: count(one.unread) }) : "");
  const open = Date.parse(one.window_expires_at ?? 0) > Date.now();
  write(window_, open ? t("window_closes", { when: away(one.window_expires_at) }) : t("window_closed"));
  write(time, away(latest(one)));
}
