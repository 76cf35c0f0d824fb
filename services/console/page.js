// What the views are built from: elements, lists that keep their place, sentences that are said once.

import { t } from "./i18n.js";

/** Makes an element: attributes in `set`, children as elements or as text that is never read as markup. */
export function make(tag, set = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(set)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

/** Sets a text only where it changes, so that nothing is read aloud twice and no selection is lost. */
export function write(el, text) {
  const said = String(text ?? "");
  if (el.textContent !== said) el.textContent = said;
}

/**
 * Keeps the children of `parent` in step with `items`: one element per `key(item)`, made once by `build(item)`, drawn
 * by `draw(el, item)` each time. Elements stay where they are, so focus and scrolling do.
 */
export function keep(parent, items, { key, build, draw }) {
  const known = new Map([...parent.children].map((el) => [el.dataset.key, el]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const el = known.get(name) ?? build(item);
    known.delete(name);
    el.dataset.key = name;
    draw(el, item);
    if (el === place) place = place.nextElementSibling;
    else parent.insertBefore(el, place);
  }
  for (const el of known.values()) el.remove();
}

/** Makes a table with a caption and heads; its body is `tbody`. Each head is a text key, or "" for none. */
export function table(caption, heads) {
  const tbody = make("tbody");
  const row = make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head ? t(head) : make("span", { class: "unseen" }, t("actions")))));
  const el = make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, row), tbody);
  return { el: make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption }, el), tbody, heads };
}

/** Fills a table's body: `cells(item)` gives texts or elements, one per head; on a phone each is led by its head. */
export function fill(view, items, key, cells) {
  keep(view.tbody, items, {
    key,
    build: () => make("tr", {}, view.heads.map((head) => make("td", { "data-head": head ? t(head) : undefined }))),
    draw: (row, item) => cells(item, row).forEach((cell, i) => place(row.children[i], cell)),
  });
}

function place(td, cell) {
  if (!(cell instanceof Element)) write(td, cell);
  else if (td.firstElementChild !== cell) td.replaceChildren(cell);
}

/** Returns the element of a row under a name, made at the first time: buttons that must outlive a refresh. */
export function once(row, name, build) {
  row.kept ??= {};
  row.kept[name] ??= build();
  return row.kept[name];
}

export function say(text, alarm = false) {
  const line = document.getElementById("said");
  line.dataset.alarm = alarm;
  write(line, text);
}

/** Runs what a person asked for; says what goes wrong. */
export async function doing(action) {
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") say(error instanceof TypeError ? t("not_reached") : error.message, true);
  }
}

/** Returns a look: it reads and shows. Of looks that run beside each other an older answer never hides a newer one. */
export function looking(read, show) {
  let begun = 0;
  let shown = 0;
  return async () => {
    begun += 1;
    const mine = begun;
    const found = await read();
    if (mine < shown) return;
    shown = mine;
    show(found);
  };
}

/** Makes a button that runs an action, and cannot be pressed again while it runs. */
export function button(label, action, set = {}) {
  const el = make("button", { type: "button", ...set }, label);
  el.addEventListener("click", () => doing(async () => {
    if (el.hasAttribute("aria-disabled")) return;
    el.setAttribute("aria-disabled", "true");
    try { await action(el); } finally { el.removeAttribute("aria-disabled"); }
  }));
  return el;
}

/** Makes the head of a view. It gets the focus when the view opens. */
export function head(title, ...more) {
  return make("div", { class: "head" }, make("h2", { tabindex: -1 }, title), ...more);
}

export const link = (view, text, ...parts) => make("a", { href: `#/${[view, ...parts.map(encodeURIComponent)].join("/")}` }, text);

/** Returns what a message says, in words. */
export function words(kind, content) {
  if (!content || typeof content !== "object") return "";
  const inner = content[kind] && typeof content[kind] === "object" ? content[kind] : content;
  const said = inner.body ?? inner.caption ?? inner.text ?? inner.emoji ?? inner.name ?? inner.filename ?? "";
  const text = typeof said === "object" ? said?.text ?? "" : String(said);
  return kind === "text" ? text : `[${t(`kind_${kind}`)}] ${text}`.trim();
}

/** Returns who a conversation is with. */
export function whom(contact = {}) {
  const id = contact.wa_id ? `+${contact.wa_id}` : contact.user_id ?? "";
  const name = contact.name ?? contact.username ?? "";
  return name ? `${name} ${id}`.trim() : id || "–";
}
