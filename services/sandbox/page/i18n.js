// Texts in three languages. Elements name theirs by data-text, data-label (aria-label) or data-placeholder.

const LANGUAGES = ["en", "es", "ca"];
let texts = {};
let wanted = "";

/** Returns the text of a key, with {names} filled in; the key itself if there is none. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Returns the language to begin with: chosen before, else the browser's, else English. */
export function firstLanguage() {
  const asked = [remembered(), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return asked.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** Loads a language and puts it onto the page. */
export async function speak(language) {
  wanted = language;
  const loaded = await (await fetch(`/sandbox/static/i18n/${language}.json`)).json();
  if (wanted !== language) return; // another one was chosen since
  texts = loaded;
  document.documentElement.lang = language;
  document.title = t("title");
  for (const el of document.querySelectorAll("[data-text]")) el.textContent = t(el.dataset.text);
  for (const el of document.querySelectorAll("[data-label]")) el.setAttribute("aria-label", t(el.dataset.label));
  for (const el of document.querySelectorAll("[data-placeholder]")) el.placeholder = t(el.dataset.placeholder);
  try { localStorage.setItem("language", language); } catch { /* private windows may forbid storage */ }
}

function remembered() {
  try { return localStorage.getItem("language"); } catch { return null; }
}
