// The frame: which view is shown, in which language, and the keys that lead there.

import { every, get, onTokenWanted } from "./api.js";
import { firstLanguage, speak, t } from "./i18n.js";
import { doing, say } from "./page.js";

const $ = (id) => document.getElementById(id);
const VIEWS = ["overview", "numbers", "conversations", "sends", "letters", "requests", "topics", "health"];
const UNDER = { conversation: "conversations", send: "sends", letter: "letters" };
let open = null;
let failing = false;

/** Opens the view that the address names, and ends the one before. */
async function show() {
  const [name = "", ...parts] = location.hash.slice(2).split("/").map(decodeURIComponent);
  const view = VIEWS.includes(name) || name in UNDER ? name : "overview";
  open?.abort();
  const mine = open = new AbortController();
  const at = UNDER[view] ?? view;
  for (const a of document.querySelectorAll("[data-view]")) {
    if (a.dataset.view === at) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const module = await import(`./views/${view}.js`);
  if (mine.signal.aborted) return;
  const root = document.createElement("div");
  root.className = `view ${view}`;
  $("main").replaceChildren(root);
  document.title = `${t(at)} · Coexist`;
  say("");
  await doing(() => module.show(root, parts, {
    signal: mine.signal,
    every: (ms, look) => { every(ms, look, mine.signal, reached); },
  }));
}

/** Says when the service cannot be reached, and when it can again. */
function reached(error) {
  if (error) say(error instanceof TypeError ? t("not_reached") : error.message, true);
  else if (failing) say("");
  failing = Boolean(error);
}

async function go() {
  await show();
  if (!$("main").contains(document.activeElement) || document.activeElement === $("main")) document.querySelector("main h2")?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function askForToken(wrong) {
  return new Promise((resolve) => {
    $("token-wrong").textContent = wrong ? t("token_wrong") : "";
    $("token-field").value = "";
    if (!$("token").open) $("token").showModal();
    $("token").oncancel = (event) => event.preventDefault();
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      $("token").close();
      resolve($("token-field").value.trim());
    };
  });
}

function onKey(event) {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (/^[1-8]$/.test(event.key)) location.hash = `#/${VIEWS[event.key - 1]}`;
  if (event.key === "?") $("help").showModal();
  if (event.key === "/") {
    event.preventDefault();
    if ($("search")) $("search").focus();
    else location.hash = "#/conversations//search";
  }
}

async function begin() {
  $("language").value = firstLanguage();
  do await speak($("language").value); while (document.documentElement.lang !== $("language").value); // chosen meanwhile
  onTokenWanted(askForToken);
  addEventListener("hashchange", go);
  document.addEventListener("keydown", onKey);
  document.querySelector(".skip").onclick = (event) => { event.preventDefault(); $("main").focus(); };
  $("help-open").onclick = () => $("help").showModal();
  $("language").onchange = () => doing(async () => { await speak($("language").value); await show(); });
  await show();
  await doing(async () => { $("sandbox").hidden = !(await get("/v1/health")).sandbox; });
}

begin();
