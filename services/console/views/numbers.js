// Which number is ill?

import { call, get } from "../api.js";
import { away, count, t, when, word } from "../i18n.js";
import { button, fill, head, keep, link, looking, make, once, say, table } from "../page.js";

const LOOK_MS = 2000;
const EVENTS_MAX = 20;

export async function show(root, parts, { signal, every }) {
  const view = table(t("numbers"), ["number", "phone", "life", "sending", "rate", "headroom", "under_way", ""]);
  const empty = make("p", { hidden: true }, t("no_numbers"));
  const events = make("ol", { class: "events" });
  const none = make("p", { class: "soft", hidden: true }, t("no_events"));
  root.append(head(t("numbers")), view.el, empty, make("h3", {}, t("account_events")), events, none);

  const read = () => Promise.all([
    get("/v1/numbers", signal), get("/v1/limits", signal), get(`/v1/topics/account/newest?limit=${EVENTS_MAX}`, signal),
  ]);
  const look = looking(read, ([{ numbers }, { limits }, account]) => {
    const limitOf = new Map(limits.map((one) => [one.number, one]));
    empty.hidden = numbers.length > 0;
    view.el.hidden = !numbers.length;
    fill(view, numbers, (one) => one.number, (one, row) => cells(one, limitOf.get(one.number) ?? {}, row, look));
    none.hidden = account.events.length > 0;
    keep(events, account.events, { key: (event) => event.id, build: eventItem, draw: () => {} });
  });

  every(LOOK_MS, look);
}

function cells(one, limit, row, look) {
  const because = one.because || limit.because;
  const sending = because ? `⏸ ${t("sending_paused")}: ${word("because", because)}${limit.until ? ` (${away(limit.until)})` : ""}` : `▶ ${t("sending_on")}`;
  row.dataset.state = because ? "alarm" : "fine";
  const headroom = limit.headroom === undefined ? "–" : `${count(100 * limit.headroom)} %${limit.slowed_until ? ` · ${t("slowed")}` : ""}`;
  return [
    once(row, "number", () => link("conversations", one.number, one.number)),
    one.business_phone ? `+${one.business_phone}` : "–", word("life", one.life), sending, rate(one), headroom,
    t("open_waiting", { open: count(limit.open ?? 0), waiting: count(limit.lanes_waiting ?? 0) }),
    actions(one, row, look),
  ];
}

/** Messages a second and, where Meta has told it, how many people a day the number may write to first. */
function rate(one) {
  const tier = one.people_per_day === "unlimited" ? t("people_unlimited") : t("people_a_day", { n: count(one.people_per_day ?? 0) });
  return t("per_s", { n: count(one.rate_per_s) }) + (one.people_per_day ? ` · ${tier}` : "");
}

/** One button that pauses or resumes; it keeps the focus while its word changes. */
function actions(one, row, look) {
  const el = once(row, "switch", () => button("", async (self) => {
    await call("POST", `/v1/numbers/${encodeURIComponent(one.number)}/${self.dataset.action}`);
    say(t(`done_${self.dataset.action}`, one));
    await look();
  }));
  el.dataset.action = one.sending === "paused" ? "resume" : "pause";
  const label = t(el.dataset.action);
  if (el.textContent !== label) el.textContent = label;
  el.setAttribute("aria-label", `${label} ${one.number}`);
  return el;
}

function eventItem(event) {
  const said = [event.data?.event, event.data?.sending, event.data?.because, event.data?.progress !== undefined && `${event.data.progress} %`];
  return make("li", {}, make("time", { datetime: event.time }, when(event.time, true)), ` ${event.number} `, make("b", {}, event.type), ` ${said.filter(Boolean).join(" · ")}`);
}
