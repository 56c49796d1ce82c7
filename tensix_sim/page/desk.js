"use strict";
// What a person does with the page: search, pin, sum what is in view, sort and copy tables, walk by keyboard, pass a place on.

// -- keyboard --------------------------------------------------------------------------------------------------
/** Attributes of what can be chosen by mouse, Enter or Space; `key` finds it again after it was drawn anew, `first` is where Tab arrives. */
const choice = (key, first, act) => ({
  tabindex: first ? 0 : -1, role: "button", "data-key": key, onclick: act,
  onkeydown: (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act(event);
  },
});
/** Arrow keys go from one choice to the next, in a grid of so many columns also up and down; Home and End to the ends. */
const walking = (columns = 1) => ({
  onkeydown: (event) => {
    const all = [...event.currentTarget.querySelectorAll("[data-key]")], at = all.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, to))].focus();
  },
});
/** Draw, and give the focus back to what had it. */
async function keepingFocus(drawn) {
  const key = document.activeElement?.dataset?.key;
  await drawn();
  if (key) document.querySelector(`[data-key="${key}"]`)?.focus({ preventScroll: true });
}

// -- tables ----------------------------------------------------------------------------------------------------
function dressTables(root) {
  for (const table of root.querySelectorAll("table:not([data-dressed])")) {
    if (!table.tHead) continue;
    table.dataset.dressed = "";
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (!cell.textContent) return;
      fill(cell, { tabindex: 0, title: "sort", class: `${cell.className} sorts`, onclick: () => sortBy(table, column), onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sortBy(table, column); }
      } }, []);
    });
    const copy = el("button", { type: "button", class: "copy", title: "copy the table as CSV", onclick: () => copyText(asCsv(table), copy) }, "CSV");
    (table.closest(".scroll") ?? table).before(el("div", { class: "copies" }, copy));
  }
}
/** A cell's number, without its unit; text where it has none. */
function valueOf(row, column) {
  const text = row.cells[column]?.textContent.trim() ?? "", found = Number.parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(found) ? text : found;
}
function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column], down = header.getAttribute("aria-sort") !== "descending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows], sums = rows.filter((row) => row.classList.contains("sum"));
  const compared = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sorted = rows.filter((row) => !sums.includes(row)).sort((a, b) => (down ? -1 : 1) * compared(valueOf(a, column), valueOf(b, column)));
  table.tBodies[0].replaceChildren(...sorted, ...sums);
}
function asCsv(table) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const plain = (text) => (/^-?[\d,]+(\.\d+)?$/.test(text) ? text.replace(/,/g, "") : text);
  return [...table.rows].map((row) => [...row.cells].map((cell) => quoted(plain(cell.textContent.trim()))).join(",")).join("\n") + "\n";
}
async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(el("textarea", {}, text));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  document.documentElement.dataset.copied = text;
  button.textContent = "copied";
  setTimeout(() => (button.textContent = "CSV"), 1200);
}

// -- pinned span -----------------------------------------------------------------------------------------------
const desk = { pin: null, query: "", found: [], at: -1 };
function spanAt(row, time) {
  const { name, line, end, risc } = row.lane, i = firstAfter(end, time);
  if (i === end.length || !name[i]) return null;
  return { label: row.label, lane: risc ? data.lanes[risc[i]] : row.label, name: name[i], line: line?.[i] ?? 0, start: i ? end[i - 1] : 0, end: end[i] };
}
function pin(span) {
  desk.pin = span;
  const room = document.getElementById("pinned");
  if (!room) return;
  room.replaceChildren(...(span ? [
    swatch(familyOf(span.name)), el("b", {}, `${span.lane}: ${data.names[span.name]}`),
    ` ${fmt(span.end - span.start)} cycles, ${us(span.end - span.start)}, from ${fmt(span.start)} to ${fmt(span.end)} `, ...lineLink(span.line),
    el("button", { type: "button", onclick: () => look(span.start - 2 * (span.end - span.start), span.end + 2 * (span.end - span.start)) }, "go to"), " ",
    el("button", { type: "button", onclick: () => pin(null) }, "unpin")] : ["Click a span to pin it."]));
  requestAnimationFrame(paint);
}
function paintPin(ctx) {
  const span = desk.pin, row = span && plot.rows.find((r) => r.lane && r.label === span.label);
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER.left, 0, plot.width, plot.height);
  ctx.clip();
  ctx.strokeStyle = palette.ink;
  ctx.fillStyle = palette.ink;
  for (const { label, start, end } of desk.found) {
    const of = plot.rows.find((r) => r.lane && r.label === label);
    if (of && end > state.from && start < state.to) ctx.fillRect(toX(start), of.y + of.height, Math.max(1, toX(end) - toX(start)), 2);
  }
  ctx.lineWidth = 2;
  if (row) ctx.strokeRect(toX(span.start), row.y, Math.max(2, toX(span.end) - toX(span.start)), row.height);
  ctx.restore();
}

// -- search ----------------------------------------------------------------------------------------------------
/** All spans of the core's lanes whose lane and name have these words. */
function search(text) {
  desk.query = text.trim().toLowerCase();
  desk.at = -1;
  const words = desk.query.split(/\s+/).filter(Boolean);
  desk.found = !words.length ? [] : plot.rows.filter((row) => row.lane && !row.riscs).flatMap((row) => {
    const named = data.names.map((name) => words.every((word) => `${row.label}: ${name}`.toLowerCase().includes(word)));
    return [...row.lane.name].flatMap((name, i) => (name && name !== DONE && named[name] ? [{ label: row.label, lane: row.label, name, line: row.lane.line[i], start: i ? row.lane.end[i - 1] : 0, end: row.lane.end[i] }] : []));
  }).sort((a, b) => a.start - b.start);
  const cycles = desk.found.reduce((sum, span) => sum + span.end - span.start, 0);
  const said = document.getElementById("found");
  if (said) said.textContent = !words.length ? "" : desk.found.length ? `${fmt(desk.found.length)} spans, ${fmt(cycles)} cycles` : "nothing of that name";
  requestAnimationFrame(paint);
}
function step(by) {
  if (!desk.found.length) return;
  desk.at = (desk.at + by + desk.found.length) % desk.found.length;
  const span = desk.found[desk.at], room = Math.max(2 * (span.end - span.start), (state.to - state.from) / 2);
  if (span.start < state.from || span.end > state.to) look(span.start - room / 2, span.end + room / 2);
  pin(span);
}
/** What can be looked for: on the page of a script its first op. */
const hint = () => data.ops?.rows[0]?.[data.ops.header.indexOf("op")] ?? "math wait";
const searchField = () => [
  el("label", {}, "find", el("input", { type: "search", id: "find", placeholder: `${hint()} …`, value: desk.query, "aria-label": "find spans by lane and name; Enter goes to the next",
    oninput: (event) => search(event.target.value),
    onkeydown: (event) => {
      if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") { event.target.value = ""; search(""); }
    } })),
  el("span", { id: "found", role: "status" })];

// -- sums of what is in view -----------------------------------------------------------------------------------
/** Cycles of each name on each lane from one cycle up to another: they add up to the range, as far as the lanes reach. */
function sumsInView(from, to) {
  const lanes = plot.rows.filter((row) => row.lane && !row.riscs), sums = new Map();
  lanes.forEach((row, l) => {
    const { name, end } = row.lane;
    for (let i = firstAfter(end, from); i < end.length; i++) {
      const start = i ? end[i - 1] : 0;
      if (start >= to) break;
      const spent = sums.get(name[i]) ?? lanes.map(() => 0);
      spent[l] += Math.min(to, end[i]) - Math.max(from, start);
      sums.set(name[i], spent);
    }
    const last = end.length ? end[end.length - 1] : 0;
    if (to > last) {
      const spent = sums.get(DONE) ?? lanes.map(() => 0);
      spent[l] += to - Math.max(from, last);
      sums.set(DONE, spent);
    }
  });
  return { lanes: lanes.map((row) => row.label), sums };
}
function drawSums() {
  const room = document.getElementById("sums"), from = Math.round(state.from), to = Math.round(state.to);
  if (!room?.open || !plot.rows.length) return;
  const { lanes, sums } = sumsInView(from, to), total = (spent) => spent.reduce((a, b) => a + b, 0);
  const rows = [...sums].sort((a, b) => total(b[1]) - total(a[1])).map(([name, spent]) => el("tr", {},
    el("td", {}, swatch(familyOf(name)), data.names[name] || "nothing"), spent.map((n) => el("td", { class: "n" }, n ? fmt(n) : "")), spent.map((n) => el("td", { class: "n" }, n ? percent(n / (to - from)) : ""))));
  const all = lanes.map((_, l) => [...sums.values()].reduce((sum, spent) => sum + spent[l], 0));
  rows.push(el("tr", { class: "sum" }, el("td", {}, "sum"), all.map((n) => number(fmt(n))), all.map((n) => number(percent(n / (to - from))))));
  document.getElementById("sums-body").replaceChildren(
    el("p", { class: "note" }, `From cycle ${fmt(from)} to ${fmt(to)}, ${fmt(to - from)} cycles: what each lane of the core did.`),
    el("div", { class: "scroll" }, el("table", {}, head("cycles", ...lanes.map((l) => `>${l}`), ...lanes.map((l) => `>${l} %`)), el("tbody", {}, rows))));
  dressTables(document.getElementById("sums-body"));
}
const sumsFrame = () => el("details", { id: "sums", ontoggle: drawSums }, el("summary", {}, "sums of what is in view"), el("div", { id: "sums-body" }));

// -- links to a place ------------------------------------------------------------------------------------------
let told = null;
/** The address says device, core and range, so that it can be passed on. */
function tellPlace() {
  clearTimeout(told);
  told = setTimeout(() => {
    const device = devices[state.device];
    if (!device?.spent) return;
    const place = [`device=${device.ring_id}`, `core=${device.cores[state.core].join(",")}`];
    if (state.from > 0 || state.to < device.wall) place.push(`range=${Math.round(state.from)}-${Math.round(state.to)}`);
    try { history.replaceState(null, "", `#${place.join("&")}`); } catch { /* where addresses may not change, they stay */ }
  }, 250);
}
/** Go to the place that the address names, if it names one. */
async function goToPlace() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const i = asked.has("device") ? devices.findIndex((d) => String(d.ring_id) === asked.get("device")) : -1;
  if (i < 0) return;
  const core = devices[i].spent ? devices[i].cores.findIndex((c) => c.join(",") === asked.get("core")) : -1;
  await chooseDevice(i, core < 0 ? null : core);
  const range = (asked.get("range") ?? "").split("-").map(Number);
  if (range.length === 2 && range[1] > range[0]) {
    look(...range);
    document.getElementById("time").scrollIntoView();
  }
}
