// What is this process?

import { get } from "../api.js";
import { bytes, count, t, when } from "../i18n.js";
import { fill, head, keep, link, make, table, write } from "../page.js";

const LOOK_MS = 5000;

export async function show(root, parts, { signal, every }) {
  const facts = make("dl", { class: "figures small" });
  const disk = make("dl", { class: "figures small" });
  const settings = table(t("settings"), ["setting", "value"]);
  const links = ["/metrics", "/openapi.json", "/asyncapi.json"].map((href) => make("li", {}, make("code", {}, href)));
  root.append(head(t("health")), facts, make("h3", {}, t("file")), disk, make("h3", {}, t("settings")), settings.el, make("h3", {}, t("for_programs")), make("ul", {}, ...links), make("p", {}, link("overview", t("overview"))));

  every(LOOK_MS, async () => {
    const found = await get("/v1/health", signal);
    pairs(facts, [
      ["state", found.ready ? `✓ ${t("ready")}` : `⚠ ${t("problem_not_ready")}`], ["version", found.version], ["edition", found.edition],
      ["roles", found.roles.join(", ")], ["since", when(found.started_at, true)], ["python", found.python],
      ["webhook", found.public_port ? `:${found.public_port}/webhooks/meta` : "–"],
      ["shards", Object.entries(found.shards_held).map(([name, n]) => `${name} ${count(n)}/${count(found.partitions)}`).join(", ") || "–"],
    ]);
    const { sqlite } = found;
    disk.hidden = !sqlite;
    if (sqlite) pairs(disk, [["sqlite", `${sqlite.sqlite_version} ${sqlite.journal_mode}`], ["file_size", bytes(sqlite.file_bytes)], ["file_free", bytes(sqlite.free_bytes)], ["wal_size", bytes(sqlite.wal_bytes)]]);
    fill(settings, Object.entries(found.settings), ([name]) => name, ([name, value]) => [name, value]);
  });
}

function pairs(list, items) {
  keep(list, items, {
    key: ([name]) => name,
    build: ([name]) => make("div", {}, make("dt", {}, t(name)), make("dd")),
    draw: (div, [, value]) => write(div.lastElementChild, value),
  });
}
