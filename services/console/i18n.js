// Texts in three languages. Elements name theirs by data-text, data-label (aria-label) or data-placeholder.

const LANGUAGES = ["en", "es", "ca"];
let texts = {};
let wanted = "";

/** Returns the text of a key with {names} filled in; the key itself if there is none. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Returns the text of `prefix_word`, or the word itself in words where nobody has put it into the language. */
export function word(prefix, name) {
  return texts[`${prefix}_${name}`] ?? String(name ?? "").replaceAll("_", " ");
}

/** Returns what a reason means and, where there is something to do about it, what. */
export function why(reason) {
  const fix = t(`fix_${reason}`);
  return fix.startsWith("fix_") ? word("reason", reason) : `${word("reason", reason)}. ${fix}`;
}

export function firstLanguage() {
  const asked = [remembered(), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return asked.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** Loads a language and puts it onto the page. */
export async function speak(language) {
  wanted = language;
  const loaded = await (await fetch(`/console/static/i18n/${language}.json`)).json();
  if (wanted !== language) return; // another one was chosen since
  texts = loaded;
  document.documentElement.lang = language;
  dress(document);
  try { localStorage.setItem("language", language); } catch { /* private windows may forbid storage */ }
}

/** Puts the texts onto the elements below `root` that name theirs. */
export function dress(root) {
  for (const el of root.querySelectorAll("[data-text]")) el.textContent = t(el.dataset.text);
  for (const el of root.querySelectorAll("[data-label]")) el.setAttribute("aria-label", t(el.dataset.label));
  for (const el of root.querySelectorAll("[data-placeholder]")) el.placeholder = t(el.dataset.placeholder);
}

function remembered() {
  try { return localStorage.getItem("language"); } catch { return null; }
}

const locale = () => document.documentElement.lang;

export function count(value, digits = 0) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
}

export function bytes(value) {
  const unit = value >= 1e9 ? ["gigabyte", 1e9] : value >= 1e6 ? ["megabyte", 1e6] : ["kilobyte", 1e3];
  return new Intl.NumberFormat(locale(), { style: "unit", unit: unit[0], maximumFractionDigits: 1 }).format(value / unit[1]);
}

export function ms(value) {
  return value >= 10_000 ? `${count(value / 1000, 1)} s` : `${count(value, value < 10 ? 1 : 0)} ms`;
}

/** Returns how long something takes, in words of the language, from seconds. */
export function span(seconds) {
  const [unit, size] = seconds >= 172_800 ? ["day", 86_400] : seconds >= 7200 ? ["hour", 3600] : seconds >= 120 ? ["minute", 60] : ["second", 1];
  const digits = seconds < 10 ? 1 : 0;
  return new Intl.NumberFormat(locale(), { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(seconds / size);
}

/** Returns a time of today as hours and minutes, another one with its date; "" for none. */
export function when(instant, seconds = false) {
  if (!instant) return "";
  const at = new Date(instant);
  const style = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds && { second: "2-digit" }) };
  if (at.toDateString() !== new Date().toDateString()) Object.assign(style, { day: "numeric", month: "short" });
  return new Intl.DateTimeFormat(locale(), style).format(at);
}

/** Returns how far an instant is away: "in 5 min", "3 h ago". */
export function away(instant) {
  if (!instant) return "";
  const seconds = (Date.parse(instant) - Date.now()) / 1000;
  const size = Math.abs(seconds);
  const [unit, per] = size >= 172_800 ? ["day", 86_400] : size >= 7200 ? ["hour", 3600] : size >= 120 ? ["minute", 60] : ["second", 1];
  return new Intl.RelativeTimeFormat(locale(), { style: "short" }).format(Math.round(seconds / per), unit);
}
