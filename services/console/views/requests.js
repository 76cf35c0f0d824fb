// Who may have asked for their data, or for its end, and by when must they be answered?

import { address, call, get } from "../api.js";
import { away, count, t, when } from "../i18n.js";
import { button, fill, head, link, make, once, say, table, write } from "../page.js";

const LOOK_MS = 5000;
const STATES = ["open", "closed"];

export async function show(root, [chosen = "open"], { signal, every }) {
  const view = table(t("requests"), ["right", "number", "conversation", "asked", "due", ""]);
  const said = make("p", { class: "soft", role: "status" });
  const choice = make("p", { class: "choice" }, STATES.map((state) => {
    const a = link("requests", t(`request_${state}`), state);
    if (state === chosen) a.setAttribute("aria-current", "true");
    return a;
  }));
  root.append(head(t("requests")), make("p", { class: "soft" }, t("requests_text")), choice, said, view.el);

  async function look() {
    const { requests } = await get(address("/v1/privacy/requests", { state: chosen }), signal);
    write(said, requests.length ? t("requests_count", { n: count(requests.length) }) : t("none"));
    view.el.hidden = !requests.length;
    fill(view, requests, (one) => `${one.number} ${one.message_id}`, (one, row) => [
      t(`right_${one.right}`), one.number,
      one.conversation_id ? once(row, "link", () => link("conversation", t("conversation"), one.conversation_id)) : "–",
      when(one.asked_at), due(one), one.closed_at ? one.closed_by : once(row, "close", () => answered(one)),
    ]);
  }

  function answered(one) {
    return button(t("request_close"), async () => {
      await call("POST", `/v1/privacy/requests/${one.number}/${encodeURIComponent(one.message_id)}/close`, { body: {} });
      say(t("done_request"));
    });
  }

  every(LOOK_MS, look);
}

function due(one) {
  if (one.closed_at) return when(one.closed_at);
  return `${one.overdue ? "⚠ " : ""}${away(one.due_at)}`;
}
