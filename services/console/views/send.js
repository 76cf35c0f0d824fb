// A command's story.

import { call, get } from "../api.js";
import { t, when, why, word } from "../i18n.js";
import { button, head, keep, make, say, write } from "../page.js";

const LOOK_MS = 1000;

/** What leaves: its kind, which template, and that it is the fallback where it is. */
function said(found) {
  const which = found.template ? [t("template"), found.template] : [word("kind", found.kind || "text")];
  return [...which, found.body === "fallback" ? word("body", found.body) : ""].filter(Boolean).join(" · ");
}

export async function show(root, [id], { signal, every }) {
  const path = `/v1/sends/${encodeURIComponent(id)}`;
  const state = make("dd");
  const what = make("dd");
  const attempt = make("dd");
  const message = make("dd");
  const steps = make("ol", { class: "events" });
  const cancel = button(t("cancel"), async () => { await call("DELETE", path); say(t("done_cancel")); }, { hidden: true });
  root.append(head(id), make("dl", { class: "figures small" },
    make("div", {}, make("dt", {}, t("kind")), what),
    make("div", {}, make("dt", {}, t("state")), state),
    make("div", {}, make("dt", {}, t("attempt")), attempt),
    make("div", {}, make("dt", {}, t("message_id")), message)), cancel, make("h3", {}, t("story")), steps);

  every(LOOK_MS, async () => {
    const found = await get(path, signal);
    write(what, said(found));
    write(state, word("send_state", found.state));
    write(attempt, found.attempt ?? found.story.filter((step) => step.event === "send.attempted").length);
    write(message, found.message_id || "–");
    cancel.hidden = found.state !== "queued";
    keep(steps, found.story.map((step, i) => ({ ...step, i })), {
      key: (step) => step.i,
      build: (step) => make("li", {}, make("time", {}, when(typeof step.at === "number" ? step.at * 1000 : step.at, true)), " ", make("b", {}, step.event), ` ${step.detail ? why(step.detail) : ""}`),
      draw: () => {},
    });
  });
}
