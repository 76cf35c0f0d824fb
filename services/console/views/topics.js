// What do subscribers see?

import { follow, get } from "../api.js";
import { count, span, t, when } from "../i18n.js";
import { doing, fill, head, link, make, once, table, write } from "../page.js";

const LOOK_MS = 2000;
const ROWS_MAX = 100;
const DRAW_MS = 100;

export async function show(root, [topic = ""], context) {
  await (topic ? one(root, topic, context) : all(root, context));
}

async function all(root, { signal, every }) {
  const view = table(t("topics"), ["topic", "writer", "records", "kept", "once_each"]);
  const lag = table(t("lag"), ["reader", "topic", "unread_head", "oldest"]);
  root.append(head(t("topics")), view.el, make("h3", {}, t("lag")), lag.el);
  every(LOOK_MS, async () => {
    const [{ topics }, overview] = await Promise.all([get("/v1/topics", signal), get("/v1/overview", signal)]);
    fill(view, topics, (one_) => one_.topic, (one_, row) => [
      once(row, "link", () => link("topics", one_.name, one_.topic)), one_.writer, count(one_.records),
      one_.retention_s ? span(one_.retention_s) : t("compacted"), one_.sequenced ? t("yes") : t("no"),
    ]);
    fill(lag, overview.lag, (one_) => `${one_.processor} ${one_.topic}`, (one_) => [one_.processor, one_.topic, count(one_.records), one_.records ? span(one_.seconds) : "–"]);
  });
}

async function one(root, topic, { signal }) {
  const live = make("span", { class: "live", role: "status" }, t("not_live"));
  const list = make("ol", { class: "events records" });
  const hold = make("button", { type: "button", "aria-pressed": "false" }, t("hold"));
  root.append(head(topic, live), make("div", { class: "row" }, link("topics", t("all_topics")), hold), list);
  let waiting = [];
  let timer = 0;
  hold.onclick = () => { hold.setAttribute("aria-pressed", hold.getAttribute("aria-pressed") !== "true"); draw(); };

  /** Shows the newest there is; resolves to the id with which its stream goes on. */
  async function read() {
    const { events, last_event_id } = await get(`/v1/topics/${encodeURIComponent(topic)}/newest?limit=50`, signal);
    waiting = [];
    list.replaceChildren(...events.map(item));
    return last_event_id;
  }

  /** Shows what came, at most ten times a second, however fast it comes. */
  function draw() {
    timer = 0;
    if (hold.getAttribute("aria-pressed") === "true") return;
    list.prepend(...waiting.reverse().map(item));
    waiting = [];
    while (list.childElementCount > ROWS_MAX) list.lastElementChild.remove();
  }

  const lastId = await read();
  doing(() => follow(`/v1/topics/${encodeURIComponent(topic)}/events`, {
    signal,
    lastId,
    anew: read,
    on: (event) => {
      waiting = [...waiting.slice(1 - ROWS_MAX), event];
      timer ||= setTimeout(draw, DRAW_MS);
    },
    live: (on) => { live.dataset.live = on; write(live, t(on ? "live" : "not_live")); },
  }));
}

/** An event: one line, and behind it its headers and its data. */
function item(event) {
  const { data, ...headers } = event;
  const details = make("details", {}, make("summary", {},
    make("time", { datetime: event.time }, when(event.time, true)), " ", make("b", {}, event.type), ` ${event.number} `,
    make("span", { class: "soft" }, `${event.partition}/${event.offset}${event.seq ? ` #${event.seq}` : ""}`)));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const rows = Object.entries(headers).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));
    details.append(make("dl", { class: "headers" }, ...rows), make("pre", { tabindex: 0 }, JSON.stringify(data, null, 2)));
  });
  return make("li", {}, details);
}
