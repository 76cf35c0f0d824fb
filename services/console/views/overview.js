// Is it fine right now?

import { get } from "../api.js";
import { count, ms, span, t, word } from "../i18n.js";
import { fill, head, keep, link, make, table, write } from "../page.js";
import { Chart } from "./chart.js";

const LOOK_MS = 2000;
const STAGES = ["meta", "append", "resolve", "total"];
const LEADS_TO = {
  not_ready: "health", no_webhook: "health", bad_signature: "health", not_durable: "health", not_understood: "topics", lag: "topics",
  not_sending: "numbers", ambiguous: "sends", unresolved: "sends", dead_letters: "letters",
};
const FIGURES = ["items_in", "messages", "sends_out"];
const TOTALS = [["items", "total_items"], ["messages", "total_messages"], ["duplicates", "total_known"]];

export async function show(root, parts, { signal, every }) {
  const problems = make("ul", { class: "problems" });
  const figures = make("dl", { class: "figures" });
  const totals = make("dl", { class: "figures small" });
  const echo = table(t("echo_latency"), ["stage", "echoes", "p50", "p99"]);
  const chart = new Chart(t("echo_hour"));
  const lag = table(t("lag"), ["reader", "topic", "unread_head", "oldest"]);
  const limits = table(t("headroom"), ["number", "rate", "headroom", "under_way"]);
  const share = shareChoice(() => draw());
  let seen = null;

  function draw() {
    if (!seen) return;
    const series = Object.fromEntries(STAGES.map((stage) => [stage, seen.minutes.map((minute) => minute.echo[stage]?.[share.value()] ?? null)]));
    chart.show(seen.minutes.map((minute) => minute.at), series);
  }

  root.append(
    head(t("overview")),
    section("problems", problems),
    section("now", figures, totals),
    section("echo_latency", make("p", { class: "soft" }, t("echo_text")), echo.el, share.el, chart.el),
    section("lag", lag.el),
    section("headroom", limits.el),
  );

  every(LOOK_MS, async () => {
    seen = await get("/v1/overview", signal);
    showProblems(problems, seen.problems);
    keep(figures, FIGURES, figure((name) => t(name), (name) => t("per_s", { n: count(seen.rates[name], 1) })));
    keep(totals, [...TOTALS, ["accepted", "total_sends"]], { ...figure(([, text]) => t(text), ([name]) => count(total(seen.totals, name))), key: ([name]) => name });
    fill(echo, STAGES, (stage) => stage, (stage) => {
      const found = seen.echo[stage];
      return [t(`stage_${stage}`), found ? count(found.count) : "0", found ? ms(found.p50_ms) : "–", found ? ms(found.p99_ms) : "–"];
    });
    draw();
    fill(lag, seen.lag, (one) => `${one.processor} ${one.topic}`, (one) => [one.processor, one.topic, count(one.records), one.records ? span(one.seconds) : "–"]);
    fill(limits, seen.limits, (one) => one.number, (one) => [one.number, t("per_s", { n: count(one.rate_per_s) }), `${count(100 * one.headroom)} %`, count(one.open)]);
  });
}

function total(totals, name) {
  if (name === "accepted") return totals.sends.accepted ?? 0;
  return Object.values(totals[name]).reduce((sum, value) => sum + value, 0);
}

function showProblems(list, found) {
  const items = found.length ? found : [{ code: "none" }];
  keep(list, items, {
    key: (one) => [one.code, one.processor, one.number].join(),
    build: (one) => one.code === "none" ? make("li", { class: "fine" }, make("span", { "aria-hidden": "true" }, "✓ "), make("span"))
      : make("li", { class: "alarm" }, make("span", { "aria-hidden": "true" }, "⚠ "), make("span"), " ", link(LEADS_TO[one.code] ?? "health", t("look"))),
    draw: (li, one) => write(li.children[1], sentence(one)),
  });
}

function sentence(one) {
  const because = one.because ? word("because", one.because) : "";
  return t(`problem_${one.code}`, { ...one, because, count: count(one.count ?? 0), records: count(one.records ?? 0), span: span(one.seconds ?? 0) });
}

function figure(label, value) {
  return {
    key: (name) => name,
    build: (name) => make("div", {}, make("dt", {}, label(name)), make("dd")),
    draw: (div, name) => write(div.lastElementChild, value(name)),
  };
}

function section(name, ...children) {
  return make("section", {}, make("h3", {}, t(name)), ...children);
}

function shareChoice(changed) {
  let chosen = "p99_ms";
  const buttons = ["p50_ms", "p99_ms"].map((share) => make("button", { type: "button", "aria-pressed": share === chosen, onclick: () => {
    chosen = share;
    for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.share === chosen);
    changed();
  }, "data-share": share }, t(share.slice(0, 3))));
  for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.share === chosen);
  return { el: make("div", { class: "choice", role: "group", "aria-label": t("share") }, ...buttons), value: () => chosen };
}
