// Draws the charts of a page from the JSON beside them, and filters its long tables. Loads nothing.
"use strict";

const shown = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function number(value) {
  if (value == null) return "–";
  const rounded = Number(value.toPrecision(12));
  const size = Math.abs(rounded);
  if (size && (size < 1e-4 || size >= 1e15)) return rounded.toString();
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 12, useGrouping: size >= 1e4 });
}

// The places of values that no line leads to, such as a future of one step; they are drawn as dots.
function isolated(chart, place) {
  const values = chart.data[place];
  const missing = (index) => values[index] == null;
  return [...values.keys()].filter((index) => !missing(index) && missing(index - 1) && missing(index + 1));
}

function series(line) {
  const bars = line.kind === "bars" ? { paths: uPlot.paths.bars({ size: [0.8, 60] }), fill: colour(line.colour) } : {};
  return {
    label: line.label,
    stroke: colour(line.colour),
    width: line.kind === "dots" || line.kind === "edge" ? 0 : line.strong ? 2.4 : 1.2,
    dash: line.dashed ? [6, 4] : undefined,
    points: { show: line.kind === "dots", filter: line.kind === "line" ? isolated : undefined, size: 7, fill: colour(line.colour) },
    value: (chart, value) => number(value),
    spanGaps: false,
    ...bars,
  };
}

function labels(chart, ticks) {
  return ticks.map((value) => (value == null ? "" : number(value)));
}

function width(chart, texts) {
  return Math.max(70, 20 + 8 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
}

function axis(label, size) {
  const lines = { stroke: colour("grid"), width: 1 };
  return { label, stroke: colour("text"), grid: lines, ticks: lines, size, font: "13px system-ui", labelFont: "13px system-ui" };
}

function draw(place) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const bars = spec.lines.some((line) => line.kind === "bars");
  const margin = spec.x.length < 2 ? 0.5 : bars ? (spec.x[1] - spec.x[0]) / 2 : 0;
  const fromZero = (chart, low, high) => uPlot.rangeNum(Math.min(0, low), Math.max(0, high), 0.1, true);
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: Math.max(220, Math.min(360, place.clientWidth * 0.45)),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"), // times are those of the file
      scales: { x: { time: spec.time, range: (chart, low, high) => [low - margin, high + margin] }, y: spec.log ? { distr: 3 } : bars || spec.zero ? { range: fromZero } : {} },
      axes: [axis(spec.x_label, 46), { ...axis(spec.y_label, width), values: labels }],
      series: [{ label: spec.time ? "time" : spec.x_label }, ...spec.lines.map(series)],
      bands: spec.bands.map(([low, high, share]) => ({ series: [high + 1, low + 1], fill: `rgb(209 73 91 / ${share})` })),
      legend: { live: true },
      cursor: { drag: { x: true, y: false }, focus: { prox: 30 } },
    },
    [spec.x, ...spec.lines.map((line) => line.values)],
    place,
  );
  return { place, chart };
}

// Keys on a chart that has the focus: + and - zoom, arrows move, 0 shows everything.
function steer(event, { chart }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
  const all = chart.data[0];
  const { min, max } = chart.scales.x;
  const span = max - min;
  const moves = {
    "+": [min + span / 4, max - span / 4],
    "-": [min - span / 2, max + span / 2],
    ArrowLeft: [min - span / 5, max - span / 5],
    ArrowRight: [min + span / 5, max + span / 5],
    0: [all[0], all[all.length - 1]],
  };
  if (moves[event.key]) {
    event.preventDefault();
    chart.setScale("x", { min: moves[event.key][0], max: moves[event.key][1] });
  }
}

function drawAll() {
  for (const { chart } of shown) chart.destroy();
  shown.length = 0;
  for (const place of document.querySelectorAll("[data-chart]")) shown.push(draw(place));
}

function filter(input) {
  const rows = document.getElementById(input.dataset.filters).tBodies[0].rows;
  const wanted = input.value.toLowerCase();
  for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
}

document.addEventListener("DOMContentLoaded", () => {
  drawAll();
  for (const place of document.querySelectorAll("[data-chart]")) {
    place.addEventListener("keydown", (event) => steer(event, shown.find((one) => one.place === place)));
  }
  for (const input of document.querySelectorAll("[data-filters]")) input.addEventListener("input", () => filter(input));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) drawAll(); // a phone that hides its address bar changes the height alone
    width = innerWidth;
  });
});
