// One dead letter: the record as it stood, and what to do with it.

import { call, get } from "../api.js";
import { t, when } from "../i18n.js";
import { button, head, make, say } from "../page.js";

const FACTS = ["state", "reason", "topic", "partition", "offset", "type", "event_id", "number", "version"];

export async function show(root, [id], { signal }) {
  const path = `/v1/dead-letters/${encodeURIComponent(id)}`;
  const body = make("div");
  root.append(head(t("letter_head", { id })), body);

  async function act(action) {
    await call("POST", `${path}/${action}`);
    await read();
    say(t(`done_${action}`));
    root.querySelector("h2").focus();
  }

  async function read() {
    const found = await get(path, signal);
    const open = found.state === "open";
    const facts = FACTS.map((name) => make("div", {}, make("dt", {}, t(name)), make("dd", {}, name === "state" ? t(`letter_${found.state}`) : String(found[name] ?? "–"))));
    const times = make("div", {}, make("dt", {}, t("time")), make("dd", {}, when(found.settled_at ?? found.at, true)));
    body.replaceChildren(
      make("dl", { class: "figures small" }, ...facts, times),
      make("div", { class: "row", hidden: !open }, button(t("replay"), () => act("replay")), button(t("discard"), () => act("discard"))),
      make("h3", {}, t("raw")), make("pre", { tabindex: 0 }, pretty(found.raw)),
    );
  }

  await read();
}

function pretty(raw) {
  try { return JSON.stringify(JSON.parse(raw), null, 2); } catch { return raw; }
}
