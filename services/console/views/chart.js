// A line chart of the last hour: own SVG, with the same figures as a table behind it.

import { ms, t, when } from "../i18n.js";
import { make } from "../page.js";

const NS = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 190, 64, 20];
const DECADES = [1, 10, 100, 1000, 10_000, 100_000];

function draw(tag, set, text) {
  const el = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(set)) el.setAttribute(name, value);
  if (text !== undefined) el.textContent = text;
  return el;
}

/** Draws latencies on a logarithmic scale. `series`: name → one value in ms or null per instant. */
export class Chart {
  constructor(label) {
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart" });
    this.legend = make("ul", { class: "legend" });
    this.body = make("tbody");
    this.heads = make("tr");
    const table = make("table", {}, make("caption", {}, label), make("thead", {}, this.heads), this.body);
    this.more = make("details", {}, make("summary", {}, t("as_table")), make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": label }, table));
    this.el = make("figure", {}, this.svg, this.legend, this.more);
    this.more.addEventListener("toggle", () => this.write());
  }

  show(instants, series) {
    this.shown = [instants, series];
    const names = Object.keys(series);
    const values = names.flatMap((name) => series[name]).filter((value) => value !== null);
    const top = DECADES.find((decade) => decade >= Math.max(10, ...values)) ?? DECADES.at(-1);
    const width = this.svg.clientWidth || WIDTH;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const x = (i) => LEFT + ((width - LEFT - 8) * i) / Math.max(1, instants.length - 1);
    const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - Math.log10(Math.max(1, value)) / Math.log10(top));
    const grid = DECADES.filter((decade) => decade <= top).flatMap((decade) => [
      draw("line", { x1: LEFT, x2: width - 8, y1: y(decade), y2: y(decade), class: "grid" }),
      draw("text", { x: LEFT - 6, y: y(decade) + 4, "text-anchor": "end" }, ms(decade)),
    ]);
    const times = [0, instants.length - 1].filter((i, n, all) => all.indexOf(i) === n && instants[i]).map((i) =>
      draw("text", { x: x(i), y: HEIGHT - 4, "text-anchor": i ? "end" : "start" }, when(instants[i])));
    const lines = names.flatMap((name, n) => this.line(series[name], n, x, y));
    this.svg.replaceChildren(...grid, ...times, ...lines);
    const keys = names.map((name, n) => make("li", {}, this.key(n), ` ${t(`stage_${name}`)}`));
    if (this.legend.textContent !== keys.map((key) => key.textContent).join("")) this.legend.replaceChildren(...keys);
    this.write();
  }

  line(values, n, x, y) {
    const runs = [[]];
    values.forEach((value, i) => (value === null ? runs.push([]) : runs.at(-1).push([x(i), y(value)])));
    return runs.filter((run) => run.length).map((run) => run.length > 1
      ? draw("polyline", { points: run.map((point) => point.join(",")).join(" "), class: `line line-${n}` })
      : draw("circle", { cx: run[0][0], cy: run[0][1], r: 3, class: `dot line-${n}` }));
  }

  key(n) {
    const svg = draw("svg", { viewBox: "0 0 24 8", class: "key", "aria-hidden": "true" });
    svg.append(draw("line", { x1: 0, x2: 24, y1: 4, y2: 4, class: `line line-${n}` }));
    return svg;
  }

  write() {
    if (!this.more.open || !this.shown) return;
    const [instants, series] = this.shown;
    const names = Object.keys(series);
    this.heads.replaceChildren(make("th", { scope: "col" }, t("time")), ...names.map((name) => make("th", { scope: "col" }, t(`stage_${name}`))));
    this.body.replaceChildren(...instants.map((instant, i) => make("tr", {},
      make("th", { scope: "row" }, when(instant)),
      ...names.map((name) => make("td", {}, series[name][i] === null ? "–" : ms(series[name][i]))))).reverse());
  }
}
