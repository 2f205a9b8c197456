// Draws the charts of a page from the JSON beside them, and makes its tables searchable and sortable. Loads nothing.
"use strict";

const DAY = 86400;
const MONTH = 30 * DAY;
const YEAR = 365 * DAY;
const LONG_STEPS = [MONTH, 2 * MONTH, 3 * MONTH, 4 * MONTH, 6 * MONTH, ...[1, 2, 5, 10, 25, 50, 100].map((years) => years * YEAR)];
const STEPS = { year: LONG_STEPS.slice(5), month: LONG_STEPS, day: [1, 2, 3, 5, 7, 10, 15].map((days) => days * DAY).concat(LONG_STEPS) };
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
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

function short(value) {
  return value == null ? "–" : number(Number(value.toPrecision(5)));
}

function moment(seconds, unit) {
  const date = new Date(seconds * 1e3); // Times are those of the file, which the page stores as UTC.
  if (unit === "year") return String(date.getUTCFullYear());
  if (unit === "month") return `${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  return date.toISOString().slice(0, { day: 10, minute: 16, second: 19 }[unit]).replace("T", " ");
}

function position(spec, x) {
  return spec.unit ? moment(x, spec.unit) : `${spec.x_label} ${number(x)}`;
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
    spanGaps: false,
    ...bars,
  };
}

function labels(chart, ticks) {
  return ticks.map((value) => (value == null ? "" : number(value)));
}

// Texts of the ticks of a time axis: the smaller units, and below the first and each change the larger ones.
function times(unit) {
  return (chart, ticks) => {
    const hasTime = ticks.some((tick) => tick % DAY);
    const isMonthly = ticks.every((tick) => new Date(tick * 1e3).getUTCDate() === 1);
    let last;
    return ticks.map((tick) => {
      const date = new Date(tick * 1e3);
      const [year, month] = [String(date.getUTCFullYear()), MONTHS[date.getUTCMonth()]];
      const day = `${month} ${date.getUTCDate()}`;
      const isYearly = unit === "year" || ticks.every((tick) => new Date(tick * 1e3).getUTCMonth() === 0 && isMonthly);
      if (isYearly) return year;
      const [minor, major] = hasTime ? [date.toISOString().slice(11, 16), `${day}, ${year}`] : [isMonthly ? month : day, year];
      const text = major === last ? minor : `${minor}\n${major}`;
      last = major;
      return text;
    });
  };
}

function width(chart, texts) {
  return Math.max(70, 20 + 8 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
}

function axis(label, size) {
  const lines = { stroke: colour("grid"), width: 1 };
  return { label, stroke: colour("text"), grid: lines, ticks: lines, size, font: "13px system-ui", labelFont: "13px system-ui" };
}

function xAxis({ unit, x }) {
  if (unit) return { values: times(unit), space: 70, ...(STEPS[unit] ? { incrs: STEPS[unit] } : {}) };
  return x.every(Number.isInteger) ? { incrs: [...Array(9).keys()].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power)) } : {};
}

// Names the stretches of x, such as training set and test set, above the chart, and draws a line where each begins.
function drawSpans(chart, spec) {
  const { ctx, bbox } = chart;
  const { min, max } = chart.scales.x;
  ctx.save();
  ctx.fillStyle = colour("quiet");
  ctx.strokeStyle = colour("quiet");
  ctx.font = `${12 * devicePixelRatio}px system-ui`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  let free = bbox.left;
  spec.spans.forEach(([label, begin], place) => {
    const end = spec.spans[place + 1]?.[1] ?? Infinity;
    if (begin > max || end <= min) return;
    const left = Math.max(bbox.left, chart.valToPos(begin, "x", true));
    const right = Math.min(bbox.left + bbox.width, end === Infinity ? Infinity : chart.valToPos(end, "x", true));
    if (begin > min) {
      ctx.globalAlpha = 0.5;
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
    const size = ctx.measureText(label).width;
    if (left >= free && left + size + 8 <= right) {
      ctx.fillText(label, left + 4, bbox.top + 2);
      free = left + size + 8;
    }
  });
  ctx.restore();
}

// Shows the values at the cursor.
function tooltip(spec) {
  const box = document.createElement("div");
  box.className = "tooltip";
  box.hidden = true;
  const edges = new Set(spec.bands.flatMap((band) => [band.low, band.high]));
  return {
    hooks: {
      init: (chart) => chart.over.append(box),
      setCursor: (chart) => {
        const { left, top, idx } = chart.cursor;
        box.hidden = idx == null || left < 0;
        if (box.hidden) return;
        const rows = spec.lines.flatMap((line, place) => {
          const value = chart.data[place + 1][idx];
          return edges.has(place) || value == null || !chart.series[place + 1].show ? [] : [`${line.label}: ${short(value)}`];
        });
        for (const band of spec.bands) {
          const [low, high] = [chart.data[band.low + 1][idx], chart.data[band.high + 1][idx]];
          if (low != null && chart.series[band.low + 1].show) rows.push(`${band.label}: ${short(low)} to ${short(high)}`);
        }
        box.textContent = [position(spec, chart.data[0][idx]), ...rows].join("\n");
        const isRight = left > chart.over.clientWidth / 2;
        box.style.left = isRight ? "" : `${left + 12}px`;
        box.style.right = isRight ? `${chart.over.clientWidth - left + 12}px` : "";
        box.style.top = `${Math.min(top, Math.max(0, chart.over.clientHeight - box.offsetHeight))}px`;
      },
    },
  };
}

function data(spec, frame) {
  const lines = spec.lines.map((line) => line.values);
  const future = spec.spans.find(([label]) => label === "future")?.[1] ?? Infinity; // It has the newest cutoff.
  for (const [place, values] of Object.entries(frame?.lines ?? {})) {
    lines[place] = spec.x.map((x, index) => (x >= future ? spec.lines[place].values[index] : values[index - frame.start]) ?? null);
  }
  return [spec.x, ...lines];
}

function draw(place) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const bars = spec.lines.some((line) => line.kind === "bars");
  const margin = spec.x.length < 2 ? 0.5 : bars ? (spec.x[1] - spec.x[0]) / 2 : 0;
  const fromZero = (chart, low, high) => uPlot.rangeNum(Math.min(0, low), Math.max(0, Math.min(high, spec.limit ?? high)), 0.1, true);
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: Math.max(220, Math.min(360, place.clientWidth * 0.45)),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"), // Times are those of the file.
      scales: {
        x: { time: spec.unit !== "", range: (chart, low, high) => [low - margin, high + margin] },
        y: spec.log ? { distr: 3 } : bars || spec.zero ? { range: fromZero } : {},
      },
      axes: [{ ...axis(spec.x_label, 46), ...xAxis(spec) }, { ...axis(spec.y_label, width), values: labels }],
      series: [{}, ...spec.lines.map(series)],
      bands: spec.bands.map((band) => ({ series: [band.high + 1, band.low + 1], fill: shade(spec.lines[band.low].colour, band.shade) })),
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, focus: { prox: 30 }, points: { size: (chart, index) => (spec.lines[index - 1].kind === "edge" ? 0 : 7) } },
      plugins: [tooltip(spec)],
      hooks: { draw: [(chart) => drawSpans(chart, spec)] },
    },
    data(spec),
    place,
  );
  const item = { place, chart, spec, charts: [chart] };
  drawLegend(item);
  if (spec.view != null) item.charts.push(drawOverview(item));
  return item;
}

function shade(name, share) {
  return `color-mix(in srgb, ${colour(name)} ${100 * share}%, transparent)`;
}

// One entry for each line and each interval. A click hides or shows it.
function drawLegend({ chart, spec }) {
  const legend = document.querySelector(`[data-legend="${spec.name}"]`);
  const edges = new Set(spec.bands.flatMap((band) => [band.low, band.high]));
  const lines = spec.lines.flatMap((line, place) => (edges.has(place) ? [] : [{ ...line, places: [place] }]));
  const bands = spec.bands.map((band, index) => {
    const share = Math.min(1, 2 * (1 - (1 - band.shade) ** (index + 1))); // Inner intervals lie upon the outer ones.
    return { label: band.label, places: [band.low, band.high], colour: spec.lines[band.low].colour, share };
  });
  legend.replaceChildren(
    ...[...lines, ...bands].map((entry) => {
      const button = document.createElement("button");
      const key = document.createElement("span");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      key.className = `key${entry.share ? " area" : entry.dashed ? " dashed" : ""}`;
      key.style.color = entry.share ? shade(entry.colour, entry.share) : colour(entry.colour);
      button.append(key, entry.label);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        for (const place of entry.places) chart.setSeries(place + 1, { show });
      });
      return button;
    }),
  );
}

// The whole of x in small. Dragging in it selects what the chart shows.
function drawOverview({ place, chart, spec }) {
  const limits = () => [overview.posToVal(overview.select.left, "x"), overview.posToVal(overview.select.left + overview.select.width, "x")];
  const overview = new uPlot(
    {
      width: place.clientWidth,
      height: 64,
      class: "overview",
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"),
      scales: { x: { time: spec.unit !== "" }, y: { range: (chart, low, high) => [low, high] } },
      axes: [{ show: false }, { ...axis("", width(chart, [])), values: (chart, ticks) => ticks.map(() => ""), grid: { show: false }, ticks: { show: false } }],
      series: [{}, ...spec.lines.map((line) => ({ ...series(line), width: line.kind === "line" ? 1 : 0 }))],
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false } },
      hooks: {
        setSelect: [
          () => {
            if (overview.select.width > 2) chart.setScale("x", { min: limits()[0], max: limits()[1] });
          },
        ],
        ready: [() => chart.setScale("x", { min: spec.view, max: spec.x[spec.x.length - 1] }), () => mark()],
      },
    },
    data(spec),
    place,
  );
  const mark = () => {
    const inside = (position) => Math.max(0, Math.min(overview.over.clientWidth, position));
    const [left, right] = [chart.scales.x.min, chart.scales.x.max].map((value) => inside(overview.valToPos(value, "x")));
    overview.setSelect({ left, width: right - left, top: 0, height: overview.over.clientHeight }, false);
  };
  chart.hooks.setScale = [(chart, key) => key === "x" && mark()];
  overview.over.addEventListener("dblclick", () => chart.setScale("x", { min: spec.x[0], max: spec.x[spec.x.length - 1] }));
  return overview;
}

// Keys on a chart that has the focus: + and - zoom, arrows move, 0 shows everything.
function steer(event, { chart }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // The browser uses them.
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
    const [low, high] = moves[event.key];
    chart.setScale("x", { min: Math.max(low, all[0]), max: Math.min(high, all[all.length - 1]) });
  }
}

// Draws the charts that are visible and not drawn yet.
function drawVisible() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    if (place.clientWidth && !find(place.dataset.chart)) shown.push(draw(place));
  }
}

function fitWidth() {
  for (const { place, charts } of shown) for (const chart of charts) chart.setSize({ width: place.clientWidth, height: chart.height });
}

// Draws all charts in the colours of the new scheme, and shows the same part and lines as before.
function recolour() {
  const before = shown.map(({ chart, spec }) => ({ name: spec.name, x: { ...chart.scales.x }, lines: chart.series.map((line) => line.show) }));
  for (const { place, charts } of shown) {
    for (const chart of charts) chart.destroy();
    place.replaceChildren();
  }
  shown.length = 0;
  drawVisible();
  for (const { name, x, lines } of before) {
    const { chart } = find(name);
    chart.setScale("x", { min: x.min, max: x.max });
    lines.forEach((show, index) => index && !show && chart.setSeries(index, { show }));
  }
  for (const input of document.querySelectorAll("[data-frames]")) selectFrame(input);
}

function find(name) {
  return shown.find(({ spec }) => spec.name === name);
}

function selectedFrame(spec) {
  const input = document.querySelector(`[data-frames="${spec.name}"]`);
  return input ? spec.frames[Number(input.value)] : undefined;
}

// Shows the forecast from one cutoff, or from all of them.
function selectFrame(input) {
  const { chart, spec } = find(input.dataset.frames);
  const frame = selectedFrame(spec);
  const label = frame ? frame.label : "all cutoffs";
  document.querySelector(`[data-frame="${spec.name}"]`).textContent = label;
  input.setAttribute("aria-valuetext", label);
  chart.setData(data(spec, frame), false);
  const [left, right] = frame ? [-2, 3].map((lengths) => frame.start + lengths * Object.values(frame.lines)[0].length) : [];
  const [first, last] = [spec.x[Math.max(0, left)], spec.x[Math.min(spec.x.length - 1, right)]];
  if (frame && (spec.x[frame.start] < chart.scales.x.min || last > chart.scales.x.max)) chart.setScale("x", { min: first, max: last });
  else chart.redraw();
}

function save(button) {
  const item = find(button.dataset.of);
  const { spec } = item;
  const link = document.createElement("a");
  link.download = `${document.title.split(":")[0]}-${spec.name}.${button.dataset.save}`;
  link.href = button.dataset.save === "csv" ? URL.createObjectURL(new Blob([csv(spec)], { type: "text/csv" })) : png(item);
  link.click();
}

function csv(spec) {
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const unit = ["minute", "second"].includes(spec.unit) ? "second" : "day";
  const head = [spec.unit ? "timestamp" : spec.x_label, ...spec.lines.map((line) => line.label)].map(quote).join(",");
  const columns = data(spec, selectedFrame(spec)).slice(1);
  const rows = spec.x.map((x, index) => [spec.unit ? moment(x, unit) : x, ...columns.map((values) => values[index] ?? "")].join(","));
  return [head, ...rows, ""].join("\n");
}

// The chart with its title, and the entries of its legend that are shown.
function png({ chart, spec }) {
  const source = chart.ctx.canvas;
  const size = (pixels) => pixels * devicePixelRatio;
  const font = `${size(13)}px system-ui`;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  context.font = font;
  let [left, top] = [size(8), size(44)];
  const entries = [...document.querySelectorAll(`[data-legend="${spec.name}"] [aria-pressed="true"]`)].map((button) => {
    const width = context.measureText(button.textContent).width + size(36);
    if (left + width > source.width) [left, top] = [size(8), top + size(20)];
    left += width;
    return { text: button.textContent, colour: getComputedStyle(button.firstChild).color, left: left - width, top };
  });
  [canvas.width, canvas.height] = [source.width, source.height + top + size(12)];
  context.fillStyle = colour("paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, top + size(12));
  context.fillStyle = colour("text");
  context.font = `bold ${font}`;
  context.fillText(spec.title, size(8), size(20));
  context.font = font;
  for (const entry of entries) {
    context.fillStyle = entry.colour;
    context.fillRect(entry.left, entry.top - size(7), size(16), size(4));
    context.fillStyle = colour("text");
    context.fillText(entry.text, entry.left + size(22), entry.top);
  }
  return canvas.toDataURL();
}

function filter(input) {
  const rows = document.getElementById(input.dataset.filters).tBodies[0].rows;
  const wanted = input.value.toLowerCase();
  for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
}

// Makes each heading a button that sorts the rows by its column, numbers by size and empty cells last.
function makeSortable(table) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) return;
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = cell.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const value = (row) => Number(text(row).replace(/[,%]/g, ""));
      const compare = (a, b) => {
        if (!text(a) || !text(b)) return !text(a) - !text(b);
        const difference = value(a) - value(b);
        return sign * (Number.isNaN(difference) ? text(a).localeCompare(text(b)) : difference);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

document.addEventListener("DOMContentLoaded", () => {
  drawVisible();
  for (const place of document.querySelectorAll("[data-chart]")) {
    place.addEventListener("keydown", (event) => steer(event, find(place.dataset.chart)));
  }
  for (const input of document.querySelectorAll("[data-filters]")) input.addEventListener("input", () => filter(input));
  for (const input of document.querySelectorAll("[data-frames]")) input.addEventListener("input", () => selectFrame(input));
  for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => save(button));
  for (const table of document.querySelectorAll("table")) makeSortable(table);
  for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawVisible);
  openTarget();
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => (details.open = true));
    drawVisible();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) fitWidth(); // A phone that hides its address bar changes only the height.
    width = innerWidth;
  });
});
