// The page: two phones, the timeline between them, and a bar of trouble.

import { AGAIN_MS, call, listen, make } from "./api.js";
import { Phones } from "./chat.js";
import { firstLanguage, speak, t } from "./i18n.js";
import { Timeline } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const FIRST_PERSON = "34600111222";
const OFFLINE_S = 30;
const ONCE = { duplicate: { duplicate: true }, drop200: { drop200: true }, late: { late_ms: 5000 }, reorder: { late_ms: 1500 } };
const OPTIONS_MAX = 200;

const phones = new Phones();
const people = new Map();
const timeline = new Timeline((number, contact) => doing(() => open(number, contact)), tellOutcome);
let number = "";
let contact = "";
let lastSide = "customer";
let editing = null;
let newcomers = 0;
let streams = false;
let spoken = { about: "" };

/** Says a sentence. `about` names what may take it back: an `act` that failed, a `look` that did, chats there are not. */
function say(text, alarm = false, about = "") {
  spoken = { about };
  $("said").textContent = text;
  $("said").dataset.alarm = alarm;
}

function unsay(about) {
  if (spoken.about === about) say("");
}

function sayFailed(error, about) {
  say(error instanceof TypeError ? t("not_reached") : error.message, true, about);
}

/** Runs an action of a person; what goes wrong is said on the page, until the next one goes well. */
async function doing(action) {
  const before = spoken;
  try {
    await action();
    if (spoken === before) unsay("act");
  } catch (error) {
    sayFailed(error, "act");
  }
}

/** Runs what nobody asked for; what goes wrong is said until `count` is answered again. */
async function looking(action) {
  try {
    await action();
  } catch (error) {
    sayFailed(error, "look");
  }
}

function meet(person) {
  const key = `${person.number}:${person.contact}`;
  const known = people.get(key);
  if (known && (known.name || !person.name)) return;
  people.set(key, person);
  if (known) {
    rename(person);
    return;
  }
  if (person.number !== number || $("person").options.length >= OPTIONS_MAX) return;
  $("person").append(option(person));
}

function rename(person) {
  const shown = [...$("person").options].find((o) => o.value === person.contact && person.number === number);
  if (!shown) return;
  shown.textContent = option(person).textContent;
  if (person.contact === contact) $("app-who").textContent = shown.textContent;
}

function option(person) {
  return make("option", { value: person.contact }, `${person.name ?? ""} +${person.contact}`.trim());
}

function listPeople() {
  const here = [...people.values()].filter((person) => person.number === number);
  $("person").replaceChildren(...here.slice(0, OPTIONS_MAX).map(option));
}

async function open(toNumber, toContact) {
  stopEditing();
  await turnTo(toNumber, toContact);
}

/** Shows a chat on both phones; what is being written or edited stays. */
async function turnTo(toNumber, toContact) {
  if (toNumber !== number) {
    number = toNumber;
    $("number").value = number;
    listPeople();
  }
  contact = toContact;
  meet({ number, contact });
  $("person").value = contact;
  $("app-who").textContent = $("person").selectedOptions[0]?.textContent ?? `+${contact}`;
  timeline.select(number, contact);
  await phones.open(number, contact);
  if (phones.messages.size) unsay("empty");
}

function onEvent(event) {
  const { message } = event;
  if (!message) return;
  if (event.type === "chat.message") {
    timeline.note(message.wamid);
    meet({ number: message.number, contact: message.contact, name: event.name });
  }
  phones.take(message);
  if (phones.messages.size) unsay("empty");
}

// Writing

/** Sends what a field says. The field is free for the next words at once, and has its own again where it failed. */
async function sending(field, send) {
  const text = field.value.trim();
  if (!contact) throw new Error(t("not_live"));
  field.value = "";
  try {
    await send(text);
  } catch (error) {
    field.value ||= text;
    throw error;
  }
}

async function write(side, field) {
  const text = field.value.trim();
  if (!text) return stopEditing();
  if (editing?.side === side) {
    const { wamid } = editing;
    stopEditing();
    return call("POST", "/edit", { wamid, text, side });
  }
  return sending(field, () => call("POST", `/${side}/messages`, { number, contact, text, trouble: ordered() }));
}

async function writeAsBot(text) {
  const id = `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const body = { command_id: id, number, to: contact, type: "text", text: { body: text }, origin: "bot" };
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const about = { number, contact, text, told: false };
  timeline.expect(id, about);
  const answer = await fetch("/v1/messages", init);
  if (!answer.ok) {
    const { title, fix } = await answer.json();
    throw new Error([title, fix].filter(Boolean).join(". "));
  }
  if (!about.told) say(t("bot_sent"));
}

/** What became of a command that was written on this page. */
function tellOutcome(type, why) {
  if (type === "send.accepted") say(t("bot_accepted"));
  else if (type === "send.deferred") say(t("bot_waits", { why }));
  else say(t("bot_not_sent", { why }), true);
}

function stopEditing() {
  if (!editing) return;
  $(`${editing.side}-text`).value = "";
  editing = null;
  say("");
}

// Trouble

function press(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  say(on ? t("next_trouble") : "");
}

/** Returns the trouble ordered for this message and lets the buttons go. */
function ordered() {
  const pressed = [...document.querySelectorAll("[data-once][aria-pressed=true]")];
  for (const button of pressed) button.setAttribute("aria-pressed", "false");
  if (pressed.length) say("");
  return Object.assign({}, ...pressed.map((button) => ONCE[button.dataset.once]));
}

const ACTS = {
  async offline(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    await call("POST", "/offline", { seconds: on ? OFFLINE_S : 0 });
    await count();
  },
  async edit() {
    const message = phones.last(lastSide);
    if (!message || message.kind !== "text") return say(t("nothing_to_change"));
    editing = { wamid: message.wamid, side: lastSide };
    const field = $(`${lastSide}-text`);
    field.value = message.content.body;
    field.focus();
    field.select();
    return say(t("editing"));
  },
  async revoke() {
    const message = phones.last(lastSide);
    if (!message) return say(t("nothing_to_change"));
    await call("POST", "/revoke", { wamid: message.wamid, side: lastSide });
    return say(t("done"));
  },
  async offboard() {
    await call("POST", "/trigger", { name: "offboard", number });
    say(t("done"));
  },
  async reconnect() {
    await call("POST", "/trigger", { name: "reconnect", number });
    say(t("done"));
  },
  async talk(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    await (on ? call("POST", "/traffic", { messages_per_s: 1, customers: 4 }) : call("DELETE", "/traffic"));
    button.setAttribute("aria-pressed", on);
  },
};

// Panes and keys

function show(pane) {
  document.querySelector("main").dataset.shown = pane;
  for (const tab of $("tabs").children) {
    if (tab.dataset.pane === pane) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
  }
}

function goTo(pane) {
  show(pane);
  (pane === "timeline" ? document.querySelector("#timeline .scroll") : $(`${pane}-text`)).focus();
}

function onKey(event) {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && typing) {
    stopEditing();
    event.target.blur();
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const pane = { 1: "customer", 2: "timeline", 3: "app" }[event.key];
  if (pane) {
    event.preventDefault();
    goTo(pane);
  }
  if (event.key === "?") $("help").showModal();
}

// Beginning

async function count() {
  if (document.hidden) return;
  const ledger = await call("GET", "/ledger");
  showOffline(ledger.offline_s);
  $("count-items").textContent = ledger.items;
  $("count-deliveries").textContent = ledger.deliveries;
  $("count-waiting").textContent = ledger.unacknowledged;
  $("count-sends").textContent = ledger.sends.accepted;
  $("seed").textContent = ledger.seed;
  if ($("absent").hidden) await countService();
  unsay("look");
}

/** What the service has counted; nothing here begins with the page. */
async function countService() {
  const answer = await fetch("/v1/totals");
  if (!answer.ok) return;
  const { totals, echo } = await answer.json();
  $("count-timeline").textContent = Object.values(totals.messages).reduce((sum, count) => sum + count, 0);
  const { total } = echo;
  $("latency").textContent = total ? `${Math.round(total.p50_ms)} / ${Math.round(total.p99_ms)} ms` : "–";
}

function showOffline(seconds) {
  const button = document.querySelector("[data-act=offline]");
  const was = button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", seconds > 0);
  if (seconds > 0) say(t("is_offline", { seconds: Math.ceil(seconds) }));
  else if (was) say(t("is_online"));
}

/** Reads the world; the chat that was open stays so unless this is another world, which has never heard of it. */
async function load() {
  const numbers = await call("GET", "/numbers");
  const chats = await call("GET", "/chats");
  people.clear();
  for (const chat of chats) meet(chat);
  $("number").replaceChildren(...numbers.map((n) => make("option", { value: n.number }, `${n.name} +${n.display}`)));
  const first = chats.find((chat) => chat.number === numbers[0].number);
  const known = people.has(`${number}:${contact}`) || !phones.messages.size;
  const stays = contact && known && numbers.some((n) => n.number === number);
  const chat = stays ? { number, contact } : { number: numbers[0].number, contact: first?.contact ?? FIRST_PERSON };
  if (!stays && !first) say(t("none_yet"), false, "empty");
  number = "";
  await (stays ? turnTo : open)(chat.number, chat.contact);
  const plan = await call("GET", "/traffic");
  document.querySelector("[data-act=talk]").setAttribute("aria-pressed", Boolean(plan));
}

/** The stream came or went. The page is live once it also shows a chat: until then nobody could write to it. */
async function setLive(on) {
  streams = on;
  try {
    if (on) await load();
  } catch (error) {
    setTimeout(() => looking(() => setLive(streams)), AGAIN_MS);
    throw error;
  }
  $("live").dataset.live = streams;
  showLive();
}

function showLive() {
  $("live").textContent = t($("live").dataset.live === "true" ? "live" : "not_live");
}

function present(on) {
  $("absent").hidden = on;
  $("absent").textContent = on ? "" : t("absent");
  $("api-form").hidden = !on;
}

function wire() {
  for (const side of ["customer", "app"]) {
    const field = $(`${side}-text`);
    field.addEventListener("focus", () => { if (side !== lastSide) stopEditing(); lastSide = side; });
    $(`${side}-form`).addEventListener("submit", (event) => { event.preventDefault(); doing(() => write(side, field)); });
  }
  $("api-form").addEventListener("submit", (event) => { event.preventDefault(); doing(async () => $("api-text").value.trim() && sending($("api-text"), writeAsBot)); });
  $("number").addEventListener("change", () => doing(async () => {
    number = $("number").value;
    listPeople();
    await open(number, $("person").value || FIRST_PERSON);
  }));
  $("person").addEventListener("change", () => doing(() => open(number, $("person").value)));
  $("person-new").addEventListener("click", () => doing(async () => {
    newcomers += 1;
    if (!contact) throw new Error(t("not_live"));
    await open(number, String(34600200000 + Math.floor(Math.random() * 90000) + newcomers));
    $("customer-text").focus();
  }));
  for (const button of document.querySelectorAll("[data-once]")) button.onclick = () => press(button);
  for (const button of document.querySelectorAll("[data-act]")) button.onclick = () => doing(() => ACTS[button.dataset.act](button));
  for (const tab of $("tabs").children) tab.onclick = () => show(tab.dataset.pane);
  $("help-open").onclick = () => $("help").showModal();
  $("language").onchange = () => doing(async () => {
    await speak($("language").value);
    phones.redraw();
    timeline.select(number, contact);
    showLive();
  });
  document.addEventListener("keydown", onKey);
}

async function begin() {
  $("language").value = firstLanguage();
  do await speak($("language").value); while (document.documentElement.lang !== $("language").value); // chosen meanwhile
  wire();
  listen(onEvent, (on) => looking(() => setLive(on)));
  timeline.start(present);
  setInterval(() => timeline.tick(), 1000);
  setInterval(() => looking(count), 1000);
}

begin();
