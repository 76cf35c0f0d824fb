// What is not delivered?

import { get } from "../api.js";
import { count, t, when, word } from "../i18n.js";
import { fill, head, link, looking, make, once, table } from "../page.js";
import { sendCells } from "./conversation.js";

const LOOK_MS = 2000;

export async function show(root, parts, { signal, every }) {
  const open = table(t("open_sends"), ["send", "kind", "state", "waits_for", "conversation", ""]);
  const unresolved = table(t("unresolved"), ["send", "number", "since", "why"]);
  const codes = table(t("rejected_by_code"), ["code", "meaning", "times", "newest"]);
  const rejected = table(t("rejected_sends"), ["send", "number", "time", "why"]);
  const field = make("input", { id: "command", autocomplete: "off" });
  const find = make("form", { class: "row", onsubmit: (event) => {
    event.preventDefault();
    if (field.value.trim()) location.hash = `#/send/${encodeURIComponent(field.value.trim())}`;
  } }, make("label", { for: "command" }, t("command_id")), field, make("button", {}, t("look")));
  const parts_ = [part("open_sends", open), part("unresolved", unresolved), part("rejected_by_code", codes), part("rejected_sends", rejected)];
  root.append(head(t("sends")), find, ...parts_.map((one) => one.el));

  const read = () => Promise.all([
    get("/v1/sends?state=open", signal), get("/v1/sends?state=unresolved", signal), get("/v1/sends?state=rejected", signal),
  ]);
  const look = looking(read, ([{ sends }, doubtful, bad]) => {
    const [first, second, third, fourth] = parts_;
    first.show(sends, (one) => one.command_id, (one, row) => withPerson(one, sendCells(one, row, look), row));
    second.show(doubtful.sends, (one) => one.command_id, (one, row) => [story(one, row), one.number, when(one.at, true), word("reason", one.reason)]);
    third.show(bad.by_code, (one) => `${one.code} ${one.reason}`, (one, row) => [one.code ? String(one.code) : "–", meaning(one.newest), count(one.count), once(row, one.newest.command_id, () => link("send", when(one.newest.at, true), one.newest.command_id))]);
    fourth.show(bad.sends.slice(0, 50), (one) => `${one.command_id} ${one.at}`, (one, row) => [story(one, row), one.number, when(one.at, true), meaning(one)]);
  });

  every(LOOK_MS, look);
}

const story = (one, row) => once(row, "link", () => link("send", one.command_id, one.command_id));

/** What a refusal means: what we do about it, then Meta's own words. */
function meaning(one) {
  const ours = one.action ? word("action", one.action) : word("reason", one.reason);
  return [ours, one.message].filter(Boolean).join(" · ");
}

function withPerson(one, cells, row) {
  const person = one.conversation_id ? once(row, "person", () => link("conversation", one.name || one.to, one.conversation_id)) : one.to;
  return [...cells.slice(0, 4), person, cells[4]];
}

function part(name, view) {
  const none = make("p", { class: "soft" }, t("none"));
  const el = make("section", {}, make("h3", {}, t(name)), none, view.el);
  return {
    el,
    show(items, key, cells) {
      none.hidden = items.length > 0;
      view.el.hidden = !items.length;
      fill(view, items, key, cells);
    },
  };
}
