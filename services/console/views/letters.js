// What could we not handle?

import { address, get } from "../api.js";
import { count, t, when } from "../i18n.js";
import { fill, head, link, make, once, table, write } from "../page.js";

const LOOK_MS = 3000;
const STATES = ["open", "replayed", "discarded"];

export async function show(root, [chosen = "open"], { signal, every }) {
  const view = table(t("letters"), ["letter", "time", "topic", "type", "why", "state"]);
  const said = make("p", { class: "soft", role: "status" });
  const choice = make("p", { class: "choice" }, STATES.map((state) => {
    const a = link("letters", t(`letter_${state}`), state);
    if (state === chosen) a.setAttribute("aria-current", "true");
    return a;
  }));
  root.append(head(t("letters")), make("p", { class: "soft" }, t("letters_text")), choice, said, view.el);

  every(LOOK_MS, async () => {
    const found = await get(address("/v1/dead-letters", { state: chosen }), signal);
    write(said, found.count ? t("letters_count", { n: count(found.count) }) : t("none"));
    view.el.hidden = !found.count;
    fill(view, found.dead_letters, (one) => one.id, (one, row) => [
      once(row, "link", () => link("letter", one.id, one.id)), when(one.at, true), one.topic, one.type, one.reason, t(`letter_${one.state}`),
    ]);
  });
}
