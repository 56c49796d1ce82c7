const data = JSON.parse(document.getElementById("data").textContent);
const SVG = document.getElementById("namespace").namespaceURI;
const DONE = 1;
const devices = data.devices;
const slowest = devices.reduce((a, b) => (b.cycles > a.cycles ? b : a));
const families = Object.fromEntries(data.families.map((f, i) => [f.key, { ...f, order: i }]));
const state = { device: devices.indexOf(slowest), core: null, metric: null, from: 0, to: 1 };
let palette = {};

// -- words and numbers ---------------------------------------------------------------------------------------
const fmt = (n, digits = 0) => n.toLocaleString("en-US", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
const micro = (cycles) => (cycles / data.clock_hz) * 1e6;
const us = (cycles) => `${fmt(micro(cycles), micro(cycles) < 100 ? 2 : 1)} µs`;
const megabytes = (n) => `${fmt(n / 1e6, 1)} MB`;
const coreName = (core) => `(${core[0]},${core[1]})`;
const short = (n) => (n >= 1e6 ? `${+(n / 1e6).toPrecision(4)} M` : n >= 1e3 ? `${+(n / 1e3).toPrecision(4)} k` : `${+n.toPrecision(3)}`);
const familyOf = (name) => data.family_of[name];

// -- elements --------------------------------------------------------------------------------------------------
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const picture = (width, height, label, ...children) =>
  draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...children);
const body = (id) => document.querySelector(`#${id} .body`);
const number = (text) => el("td", { class: "n" }, text);
const head = (...titles) => el("thead", {}, el("tr", {}, titles.map((t) => el("th", t.startsWith(">") ? { class: "n" } : {}, t.replace(/^>/, "")))));
const meter = (share) => el("span", { class: "meter" }, styled(el("i"), { width: percent(Math.min(1, share), 2) }));
const swatch = (key) => styled(el("span", { class: "swatch" }), { background: colour(key) });
function styled(node, styles) {
  Object.assign(node.style, styles);
  return node;
}

// -- tooltip ---------------------------------------------------------------------------------------------------
const tip = document.getElementById("tip");
function showTip(event, title, text = "") {
  tip.replaceChildren(el("b", {}, title), text ? `\n${text}` : "");
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 6))}px`;
}
const hideTip = () => (tip.hidden = true);
const tipped = (title, text) => ({ onpointermove: (event) => showTip(event, title, text), onpointerleave: hideTip });

// -- colours ---------------------------------------------------------------------------------------------------
const dark = () => document.documentElement.dataset.theme === "dark";
const colour = (key) => families[key][dark() ? "dark" : "light"];
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const css = (channels) => `rgb(${channels.map(Math.round).join(",")})`;
const luminance = (channels) => channels.reduce((sum, c, i) => sum + [0.2126, 0.7152, 0.0722][i] * (c / 255) ** 2.2, 0);
const inkOn = (channels) => (luminance(channels) > 0.22 ? "#0b0b0b" : "#ffffff");
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["surface", "ink", "ink-2", "ink-3", "line", "axis", "accent", "low", "high", "node"])
    palette[name] = style.getPropertyValue(`--${name}`).trim();
}
const mixed = (a, b, share) => rgb(a).map((channel, i) => channel + (rgb(b)[i] - channel) * share);
const ramp = (share) => mixed(palette.low, palette.high, Math.max(0, Math.min(1, share)));
const rampLegend = (top, what) => el("span", {}, "0", el("i", { class: "ramp" }), top, ` ${what}`);
const niceShare = (share) => [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1].find((top) => share <= top) ?? 1;
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value) * power;
}
function ticks(from, to, count) {
  const step = nice((to - from) / Math.max(1, count));
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.max(0, Math.floor(to / step) - first + 1) }, (_, i) => (first + i) * step);
}

// -- packed numbers: as `packing.unpack` -----------------------------------------------------------------------
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let at = 0;
  const next = () => {
    let value = 0, place = 1, byte;
    do {
      byte = packed[at++];
      value += (byte & 127) * place;
      place *= 128;
    } while (byte & 128);
    return value % 2 ? -(value + 1) / 2 : value / 2;
  };
  const lists = [];
  while (at < packed.length) {
    const list = new Float64Array(next());
    for (let i = 0; i < list.length; i++) list[i] = next();
    lists.push(list);
  }
  return lists;
}
const summed = (list) => {
  let total = 0;
  return list.map((value) => (total += value));
};

async function open(device) {
  if (!device.cores.length) return;
  const [core, lane, name, cycles] = await unpack(device.totals);
  device.spent = device.cores.map(() => data.lanes.map(() => new Map()));
  core.forEach((c, i) => device.spent[c][lane[i]].set(name[i], cycles[i]));
  device.ends = device.spent.map((lanes) => device.wall - Math.min(...lanes.filter((l) => l.size).map((l) => l.get(DONE) ?? 0)));
  const [risc, what, lasts] = await unpack(device.path);
  device.segments = { risc, name: what, end: summed(lasts) };
  for (const flow of device.flows) flow.values = (await unpack(flow.bytes))[0];
  await openLines(device);
}

async function openCore(device, core) {
  const detail = device.detail?.[core];
  if (!detail || detail.lanes) return detail;
  const lists = await unpack(detail.packed);
  detail.lanes = data.lanes.map((_, i) => ({ name: lists[2 * i].map((act) => data.acts[2 * act]), line: lists[2 * i].map((act) => data.acts[2 * act + 1]), end: summed(lists[2 * i + 1]) }));
  detail.tiles = detail.buffers.map((name, i) => {
    const at = 2 * data.lanes.length + 2 * i;
    return { name, time: summed(lists[at]), value: lists[at + 1] };
  });
  return detail;
}

// -- head and verdict ------------------------------------------------------------------------------------------
function drawHead() {
  document.getElementById("bar-title").textContent = data.title;
  const first = data.verdicts.find((v) => v.ring_id === slowest.ring_id);
  const figure = (value, what) => el("div", {}, el("b", {}, value), el("span", {}, what));
  document.getElementById("head").replaceChildren(
    el("h1", {}, data.title),
    el("div", { class: "quiet" }, data.shape),
    el("div", { class: "quiet" }, data.trust),
    data.suspicion ? el("div", { class: "suspect" }, data.suspicion) : "",
    el("div", { class: "figures" },
      figure(fmt(slowest.cycles), devices.length > 1 ? `cycles, device ${slowest.ring_id}, the slowest` : "cycles"),
      figure(us(slowest.cycles), `at ${fmt(data.clock_hz / 1e6)} MHz`),
      slowest.math_utilization === undefined ? null : figure(percent(slowest.math_utilization), "of the peak of the grid's FPUs"),
      slowest.dram_utilization === undefined ? null : figure(percent(slowest.dram_utilization), "of the DRAM rate"),
      (data.figures ?? []).map(([value, what]) => figure(value, what)),
      first ? figure(first.binds, "binds it") : null));
}

function drawFoot() {
  const { made_by, again, machine } = data.foot;
  document.getElementById("foot").replaceChildren(
    el("p", { class: "note" }, made_by),
    again ? el("details", {}, el("summary", {}, "the same run again"), el("pre", {}, again)) : "",
    el("details", {}, el("summary", {}, "numbers of the machine"), halves(machine)));
}

function drawVerdict() {
  if (!data.verdicts.length) {
    body("verdict").replaceChildren(el("p", { class: "quiet" }, "This page was made without what-ifs, hence without a verdict."));
    return;
  }
  const here = devices[state.device].ring_id, chosen = (v) => v.alike.includes(here);
  const told = data.verdicts.filter((v) => v.alike[0] === v.ring_id);
  const order = told.length > 4 ? [...told].sort((a, b) => chosen(b) - chosen(a) || b.cycles - a.cycles) : told;
  const cards = order.map((v) => el("div", { class: `card${chosen(v) ? " chosen" : ""}` },
    el("h3", {}, v.alike.length > 1 ? `Devices ${[...v.alike].sort((a, b) => a - b).join(", ")}, alike · ${fmt(v.cycles)} cycles on device ${v.ring_id}, the slowest` : `Device ${v.ring_id} · ${fmt(v.cycles)} cycles`),
    el("div", { class: "binds" }, v.binds, " ", el("span", { class: "badge" }, v.sure)),
    el("p", {}, v.text),
    ...whatIfs(v), ...changes(v)));
  const shown = cards.slice(0, 4), rest = cards.slice(4);
  body("verdict").replaceChildren(
    el("p", { class: "note" }, `Each row is the run again, whole, with one thing changed, or a bound that says so.${data.verdicts.some((v) => v.tried.length) ? " Below: changes of the spec that were tried, legal all of them." : ""}`),
    el("div", { class: "cards" }, shown),
    rest.length ? el("details", {}, el("summary", {}, `${rest.length} more devices`), el("div", { class: "cards" }, rest)) : "");
}
function whatIfs(verdict) {
  const most = Math.max(0.01, ...verdict.what_ifs.map((w) => w.gain));
  const rows = verdict.what_ifs.map((w) => el("tr", {},
    el("td", {}, w.cause), el("td", { class: "quiet" }, w.change), number(fmt(w.cycles)), gain(w, most), drawnFrom(w)));
  const list = (some) => el("div", { class: "scroll" }, el("table", { class: "wide" }, head("cause", "what if", ">cycles", ">the device takes", "from"), el("tbody", {}, some)));
  if (rows.length <= 8) return [list(rows)];
  return [list(rows.slice(0, 6)), el("details", {}, el("summary", {}, `${rows.length - 6} more`), list(rows.slice(6)))];
}
function changes(verdict) {
  if (!verdict.tried.length) return [];
  const most = Math.max(0.01, ...verdict.tried.map((t) => t.gain));
  const rows = verdict.tried.map((t) => el("tr", {},
    el("td", {}, t.text), el("td", { class: "quiet" }, t.note), number(fmt(t.cycles)), gain(t, most), drawnFrom(t)));
  return [el("div", { class: "scroll" }, el("table", { class: "wide" }, head("change", "", ">cycles", ">the device takes", "from"), el("tbody", {}, rows)))];
}
const gain = (one, most) => el("td", { class: "n" }, one.saved, meter(Math.max(0, one.gain) / most));
const drawnFrom = (one) => el("td", { class: "quiet" }, one.drawn_from);

// -- devices ---------------------------------------------------------------------------------------------------
function drawRing() {
  const top = slowest.cycles;
  const share = (value) => el("td", { class: "n" }, percent(value), meter(value));
  const rows = devices.map((d, i) => el("tr", { class: `pick${i === state.device ? " chosen" : ""}`, ...choice(`device-${i}`, i === state.device, () => chooseDevice(i)), role: null, "aria-current": i === state.device ? "true" : null },
    number(String(d.ring_id)),
    el("td", { class: "n" }, fmt(d.cycles), meter(d.cycles / top)), number(fmt(d.duration_us, 1)), number(String(d.active_cores)),
    share(d.math_utilization), share(d.dram_utilization), share(d.noc_utilization),
    ...["fpu", "sfpu", "unpack", "pack"].map((unit) => number(percent(d[`${unit}_cycles`] / d.cycles))),
    number(megabytes(d.dram_read_bytes)), number(megabytes(d.dram_write_bytes))));
  const titles = ["device", "cycles", "µs", "cores", "math util", "DRAM util", "NoC util", "FPU", "SFPU", "unpack", "pack", "DRAM read", "written"];
  const d = devices[state.device];
  body("ring").replaceChildren(
    el("p", { class: "note" }, "Math util: ideal cycles of all cores of the grid by those taken. FPU, SFPU, unpack, pack: busy share of the wall, mean of the cores at work."),
    el("div", { class: "scroll" }, el("table", { class: "wide" }, head(...titles.map((t) => `>${t}`)), el("tbody", walking(), rows))),
    el("p", { class: "note" }, d.busiest_server ? `Device ${d.ring_id}: the busiest server is ${d.busiest_server}, at work ${percent(d.busiest_server_utilization)} of the time.` : ""));
}

// -- cores as heat maps ----------------------------------------------------------------------------------------
const SHARE = { show: (v) => percent(v), cell: (v) => (100 * v).toFixed(v < 0.0995 ? 1 : 0), unit: "% of the wall", top: niceShare };
const CYCLES = { show: (v) => `${fmt(v)} cycles`, cell: short, unit: "cycles", top: (v) => v };
const BYTES = { show: megabytes, cell: (v) => fmt(v / 1e6, 1), unit: "MB", top: nice };

function coreMetrics() {
  const traced = devices.filter((d) => d.spent);
  const works = (lane) => (d, c) => {
    let total = 0;
    for (const [name, n] of d.spent[c][lane]) if (name !== DONE && !data.names[name].startsWith("wait ")) total += n;
    return total / d.wall;
  };
  const found = [{ group: "time", label: "end of the core's last kernel", of: (d, c) => d.ends[c], ...CYCLES }];
  data.lanes.forEach((lane, i) => found.push({ group: "busy", label: `${lane} busy`, of: works(i), ...SHARE }));
  const waits = new Map();
  for (const d of traced) for (const lanes of d.spent) lanes.forEach((lane, i) => lane.forEach((n, name) => {
    if (data.names[name].startsWith("wait ")) waits.set(`${i} ${name}`, (waits.get(`${i} ${name}`) ?? 0) + n);
  }));
  for (const [key] of [...waits].sort((a, b) => b[1] - a[1])) {
    const [lane, name] = key.split(" ").map(Number);
    found.push({ group: "waits", label: `${data.lanes[lane]}: ${data.names[name]}`, of: (d, c) => (d.spent[c][lane].get(name) ?? 0) / d.wall, ...SHARE });
  }
  if (traced.some((d) => d.bytes_of.length)) found.push({ group: "bytes", label: "bytes over the NoCs", of: (d, c) => d.bytes_of[c] ?? 0, ...BYTES });
  for (const port of ["noc0 into", "noc1 out of"])
    found.push({ group: "ports", label: `${port} the core, busy`, of: (d, c) => d.servers[`${port} ${node(d.cores[c]).join("-")}`] ?? 0, ...SHARE });
  return found;
}
const node = (core) => [data.chip.worker_columns[core[0]], data.chip.worker_rows[core[1]]];

function drawCores() {
  const traced = devices.filter((d) => d.spent);
  if (!traced.length) return void body("cores").replaceChildren(untraced());
  const metrics = (drawCores.metrics ??= coreMetrics());
  state.metric ??= metrics.findIndex((m) => m.label === "math busy");
  const metric = metrics[state.metric];
  const values = traced.map((d) => d.cores.map((_, c) => metric.of(d, c)));
  const top = metric.top(Math.max(...values.flat())) || 1;
  const groups = [...new Set(metrics.map((m) => m.group))];
  const select = el("select", { "aria-label": "what to show", onchange: (e) => { state.metric = +e.target.value; drawCores(); } },
    groups.map((group) => el("optgroup", { label: group }, metrics.map((m, i) =>
      m.group === group ? el("option", { value: i, ...(i === state.metric ? { selected: "" } : {}) }, m.label) : null))));
  body("cores").replaceChildren(
    el("div", { class: "controls" }, el("label", {}, "show", select),
      el("span", { class: "legend" }, rampLegend(metric.show(top), "")),
      el("span", { class: "note" }, `Cells: ${metric.unit}. Columns and rows are logical cores; click one for its time line and budget.`)),
    el("div", { class: `plots${traced.length > 6 ? " many" : traced.length < 3 ? " two" : ""}` }, traced.map((d, i) => heatMap(d, values[i], metric, top, traced.length > 6, traced.length > 2 ? 225 : Math.min(440, body("cores").clientWidth - 24)))));
}
function heatMap(device, values, metric, top, small, room) {
  const columns = Math.max(...device.cores.map((c) => c[0])) + 1, rows = Math.max(...device.cores.map((c) => c[1])) + 1;
  const w = small ? 15 : Math.min(36, Math.floor(room / columns)), h = small ? 12 : 22, left = small ? 2 : 18, above = small ? 2 : 16;
  const here = devices.indexOf(device) === state.device;
  const cells = device.cores.flatMap(([x, y], c) => {
    const shade = values[c] ? ramp(values[c] / top) : rgb(palette.node);
    const square = draw("rect", { x: left + x * w + 0.5, y: above + y * h + 0.5, width: w - 2, height: h - 2, rx: 2, fill: css(shade), stroke: values[c] ? "none" : palette.line,
      class: `pick${here && c === state.core ? " chosen" : ""}`, ...choice(`core-${device.ring_id}-${c}`, here ? c === state.core : !c, () => { chooseDevice(devices.indexOf(device), c); }),
      "aria-label": `core ${coreName(device.cores[c])}: ${metric.show(values[c])}`,
      ...tipped(`Device ${device.ring_id}, core ${coreName(device.cores[c])}`, `${metric.label}: ${metric.show(values[c])}\nends at ${fmt(device.ends[c])}`) });
    const text = small || w < 28 || !values[c] ? null : draw("text", { x: left + x * w + w / 2 - 0.5, y: above + y * h + 15, "text-anchor": "middle",
      style: `fill:${inkOn(shade)};pointer-events:none;font-size:10.5px` }, metric.cell(values[c]));
    return [square, text];
  });
  const edges = small ? [] : [
    ...Array.from({ length: columns }, (_, x) => draw("text", { x: left + x * w + w / 2, y: 11, "text-anchor": "middle" }, x)),
    ...Array.from({ length: rows }, (_, y) => draw("text", { x: left - 6, y: above + y * h + 15, "text-anchor": "end" }, y))];
  return el("figure", {}, el("figcaption", {}, el("b", {}, `Device ${device.ring_id}`)),
    picture(left + columns * w + 2, above + rows * h + 2, `cores of device ${device.ring_id}: ${metric.label}`, edges, draw("g", walking(columns), cells)));
}
const untraced = () => el("p", { class: "quiet" }, data.trace === "off" ? "The run had trace: off. Run it with trace: zones to see this." : "The trace is empty.");

// -- floor plan ------------------------------------------------------------------------------------------------
const LINKS = [["east", 1, 0], ["south", 0, 1], ["west", -1, 0], ["north", 0, -1]];
function drawFloor() {
  const device = devices[state.device];
  const shares = Object.entries(device.servers);
  if (!shares.length) return void body("floor").replaceChildren(untraced());
  const top = state.relative ? niceShare(Math.max(...shares.map(([, share]) => share))) : 1;
  const scale = el("select", { "aria-label": "scale", "data-key": "floor-scale", onchange: (event) => { state.relative = event.target.value === "busiest"; keepingFocus(drawFloor); } },
    el("option", { value: "whole" }, "0 to 100 %"), el("option", { value: "busiest", ...(state.relative ? { selected: "" } : {}) }, "0 to the busiest"));
  const width = Math.min(640, (body("floor").clientWidth - 28) / (body("floor").clientWidth > 990 ? 2 : 1));
  body("floor").replaceChildren(
    el("p", { class: "note" }, `Device ${device.ring_id}: share of the wall for which DRAM banks (D and number) and NoC links moved data. Links at the edges go on at the other side. NoC 0 runs east and south, NoC 1 west and north.`),
    el("div", { class: "controls" }, el("label", {}, "scale", scale)),
    el("div", { class: "legend" }, rampLegend(percent(top, 0), "of the time"), legendNode("worker", "core at work"), legendNode("idle", "core of the board, idle"), legendNode("off", "not for programs"), el("span", {}, "E  Ethernet")),
    el("div", { class: "plots two" }, [0, 1].map((noc) => floorPlan(device, noc, top, Math.max(300, width)))));
}
const NODE = {
  worker: () => ({ fill: mixed(palette.surface, palette["ink-2"], 0.42).map(Math.round), stroke: "none" }),
  idle: () => ({ fill: rgb(palette.node), stroke: palette.axis }),
  off: () => ({ fill: rgb(palette.surface), stroke: palette.line }),
};
const nodeStyle = (kind) => ({ fill: css(NODE[kind]().fill), stroke: NODE[kind]().stroke });
const legendNode = (kind, label) => el("span", {}, picture(16, 12, label, draw("rect", { x: 1, y: 1, width: 10, height: 10, rx: 2, ...nodeStyle(kind) })), label);

function floorPlan(device, noc, top, width) {
  const { columns, rows } = data.chip;
  const pitch = Math.min(56, (width - 40) / columns), high = Math.min(pitch, 40), size = Math.min(pitch, high) * 0.5, left = 28, above = 24;
  const x = (column) => left + column * pitch + pitch / 2, y = (row) => above + row * high + high / 2;
  const links = [];
  let busiest = [0, ""];
  for (const [direction, dx, dy] of LINKS.slice(2 * noc, 2 * noc + 2))
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const name = `noc${noc} link ${column}-${row} ${direction}`, share = device.servers[name] ?? 0;
        if (share > busiest[0]) busiest = [share, `${column}-${row} ${direction}`];
        links.push(...link(x(column), y(row), dx * pitch, dy * high, size / 2, share, top, name, x(0) - pitch / 2, x(columns - 1) + pitch / 2, y(0) - high / 2, y(rows - 1) + high / 2));
      }
  const nodes = Array.from({ length: columns * rows }, (_, i) => floorNode(device, [i % columns, Math.floor(i / columns)], x, y, size, top));
  const edges = [
    ...Array.from({ length: columns }, (_, c) => draw("text", { x: x(c), y: 14, "text-anchor": "middle" }, c)),
    ...Array.from({ length: rows }, (_, r) => draw("text", { x: 12, y: y(r) + 4, "text-anchor": "end" }, r))];
  return el("figure", {},
    el("figcaption", {}, el("b", {}, `NoC ${noc}`), ` busiest link: ${busiest[1] ? `${busiest[1]}, ${percent(busiest[0])}` : "none moved data"}`),
    picture(left + columns * pitch + 8, above + rows * high + 8, `floor plan, NoC ${noc}`, edges, links, nodes));
}
/** A link as a line from node to node with a small arrow head; one that leaves the chip is cut there and comes in on the other side. */
function link(x, y, dx, dy, half, share, top, name, x0, x1, y0, y1) {
  const sx = Math.sign(dx), sy = Math.sign(dy);
  const from = [x + sx * half, y + sy * half], to = [x + dx - sx * half, y + dy - sy * half];
  const style = { stroke: share ? css(ramp(share / top)) : palette.line, "stroke-width": share ? 3.5 : 1.2, ...tipped(name, share ? `${percent(share)} of the time` : "idle") };
  const line = (a, b) => draw("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], ...style });
  const arrow = ([tx, ty]) => draw("path", { d: `M${tx} ${ty}L${tx - sx * 6 + sy * 4} ${ty - sy * 6 + sx * 4}L${tx - sx * 6 - sy * 4} ${ty - sy * 6 - sx * 4}Z`, fill: style.stroke, style: "pointer-events:none" });
  const wraps = to[0] < x0 || to[0] > x1 || to[1] < y0 || to[1] > y1;
  if (!wraps) return share ? [line(from, to), arrow(to)] : [line(from, to)];
  const out = [sx ? (sx > 0 ? x1 : x0) : x, sy ? (sy > 0 ? y1 : y0) : y], back = [sx ? (sx > 0 ? x0 : x1) : x, sy ? (sy > 0 ? y0 : y1) : y];
  const into = [sx ? back[0] + sx * (Math.abs(dx) / 2 - half) : x, sy ? back[1] + sy * (Math.abs(dy) / 2 - half) : y];
  return share ? [line(from, out), line(back, into), arrow(into)] : [line(from, out), line(back, into)];
}
function floorNode(device, at, x, y, size, top) {
  const { dram, ethernet, worker_columns, worker_rows, all_worker_columns, all_worker_rows } = data.chip;
  const same = (other) => other[0] === at[0] && other[1] === at[1];
  const box = { x: x(at[0]) - size / 2, y: y(at[1]) - size / 2, width: size, height: size, rx: 2 };
  const label = (text, style) => draw("text", { x: x(at[0]), y: y(at[1]) + 3.5, "text-anchor": "middle", style: `${style};pointer-events:none;font-size:${Math.min(10.5, size * 0.5)}px` }, text);
  const bank = dram.findIndex(same);
  if (bank >= 0) {
    const share = device.servers[`dram bank ${bank}`] ?? 0, shade = ramp(share / top);
    const wide = { ...box, x: box.x - 3, width: size + 6 };
    return draw("g", tipped(`DRAM bank ${bank}`, `at NoC ${at.join("-")}\n${percent(share)} of the time`), draw("rect", { ...wide, fill: css(shade), stroke: palette.ink, "stroke-width": 1 }), label(`D${bank}`, `fill:${inkOn(shade)}`));
  }
  if (ethernet.some(same)) return label("E", `fill:${palette["ink-3"]}`);
  const core = [worker_columns.indexOf(at[0]), worker_rows.indexOf(at[1])];
  if (core[0] < 0 || core[1] < 0) {
    const worker = all_worker_columns.includes(at[0]) && all_worker_rows.includes(at[1]);
    return worker ? draw("rect", { ...box, ...nodeStyle("off"), ...tipped("no core for programs", `at NoC ${at.join("-")}`) })
      : draw("circle", { cx: x(at[0]), cy: y(at[1]), r: 2, fill: palette.axis, ...tipped("router", `at NoC ${at.join("-")}`) });
  }
  const place = device.cores.findIndex((c) => c[0] === core[0] && c[1] === core[1]);
  const works = place >= 0 && worked(device, place);
  const ports = ["noc0 into", "noc1 out of"].map((p) => [p, device.servers[`${p} ${at.join("-")}`]]).filter(([, s]) => s);
  const text = [`at NoC ${at.join("-")}`, works ? `ends at ${fmt(device.ends[place])}` : "idle", ...ports.map(([p, s]) => `${p} it: ${percent(s)} of the time`)].join("\n");
  return draw("rect", { ...box, ...nodeStyle(works ? "worker" : "idle"), class: "pick", onclick: () => place >= 0 && chooseDevice(state.device, place), ...tipped(`core ${coreName(core)}`, text) });
}
const worked = (device, core) => device.spent[core].some((lane) => [...lane.keys()].some((name) => name !== DONE && !data.names[name].startsWith("wait ")));

// -- time ------------------------------------------------------------------------------------------------------
const GUTTER = { left: 104, right: 58 };
const plot = { rows: [], height: 0, canvas: null, drag: null, pointer: null };

function drawTimeFrame() {
  const device = devices[state.device];
  if (!device.spent) return void body("time").replaceChildren(untraced());
  const kept = Object.keys(device.detail).map(Number);
  const cores = el("select", { "aria-label": "core", onchange: (e) => chooseDevice(state.device, +e.target.value) }, kept.map((c) =>
    el("option", { value: c, ...(c === state.core ? { selected: "" } : {}) }, `${coreName(device.cores[c])}${device.detail[c].why ? `  ${device.detail[c].why}` : ""}`)));
  const button = (text, label, act) => el("button", { type: "button", title: label, "aria-label": label, onclick: act }, text);
  plot.canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "lanes, circular buffers and bandwidth over time; arrow keys, + and - move and zoom" });
  body("time").replaceChildren(
    el("div", { class: "controls" }, data.ops ? null : el("label", {}, "core", cores),
      el("span", {}, button("+", "zoom in", () => zoom(0.5)), " ", button("−", "zoom out", () => zoom(2)), " ", button("◀", "earlier", () => pan(-0.4)), " ", button("▶", "later", () => pan(0.4)), " ", button("all", "show all", () => look(0, device.wall))),
      ...searchField(),
      el("span", { id: "window" })),
    el("div", { class: "legend" }, data.families.filter((f) => used(device).has(f.key)).map((f) => el("span", {}, swatch(f.key), f.label))),
    plot.canvas,
    el("div", { class: "controls", id: "pinned", role: "status" }, "Click a span to pin it."),
    sumsFrame(),
    el("p", { class: "note" }, `Drag to zoom, Shift and drag to pan, a click pins a span; W, S, A and D or the arrow keys zoom and pan, Ctrl and wheel (or the wheel after a click) zooms, double-click shows all. Where steps are narrower than a pixel, a column is filled by their shares. ${data.ops ? "" : `Buffers: dark is the mean of a pixel, light the most. ${omitted(device)}`}`));
  wire(plot.canvas);
}
const used = (device) => (device.used ??= new Set(device.spent.flat().flatMap((lane) => [...lane.keys()].map(familyOf))));
function omitted(device) {
  const cores = Object.keys(device.detail).length, all = device.cores.length;
  const some = cores < all ? `Not shown: the lanes of ${all - cores} of the ${all} cores; their totals are in the maps and budgets.` : "All cores are here.";
  return device.merged_below ? `${some} Not shown: neighbouring steps shorter than ${device.merged_below} cycles, which are merged into “several short steps”.` : some;
}

async function drawTime() {
  const device = devices[state.device];
  if (!device.spent) return;
  const detail = await openCore(device, state.core);
  if (device !== devices[state.device]) return;
  const rows = [];
  const add = (height, row, gap = 4) => rows.push({ height, gap, ...row });
  const heading = (text) => add(22, { heading: text }, 0);
  if (device.path_core) {
    heading(`Critical path, through core ${coreName(device.path_core)}`);
    add(16, { label: "path", lane: device.segments, riscs: true });
  }
  heading(data.ops ? "Ops on each device" : `Lanes of core ${coreName(device.cores[state.core])}${detail ? "" : ": not in this page"}`);
  detail?.lanes.forEach((lane, i) => add(26, { label: data.lanes[i], sub: data.riscs[i], lane }));
  if (detail?.tiles.some((t) => t.value.length)) {
    heading("Tiles in its circular buffers");
    const sizes = Object.fromEntries(data.l1.buffers.map((b) => [b.name, b.tiles]));
    for (const tiles of detail.tiles.filter((t) => t.value.length)) add(24, { label: tiles.name, tiles, top: sizes[tiles.name] ?? Math.max(1, ...tiles.value) });
  }
  const came = data.slices[device.ring_id] ?? [];
  if (came.length) heading("Slices of K and V over the links");
  for (const side of ["after", "before"].filter((way) => came.some((one) => one.side === way))) add(20, { label: `chips ${side}`, slices: came.filter((one) => one.side === side) });
  if (device.flows.length) addFlows(device, heading, add);
  plot.rows = rows;
  plot.height = 22 + rows.reduce((sum, row) => sum + row.height + row.gap, 0) + 34;
  search(desk.query);
  paint();
}

function addFlows(device, heading, add) {
  heading("Bytes per cycle, whole device");
  const flows = device.flows.filter((f) => !f.name.startsWith("dram bank")), banks = device.flows.filter((f) => f.name.startsWith("dram bank"));
  const rate = (list) => nice(Math.max(0.1, ...list.flatMap((f) => Math.max(0, ...f.values) / f.width)));
  for (const pair of [["read", "write"], ["noc0", "noc1"]]) {
    const some = flows.filter((f) => pair.includes(f.name));
    const top = rate(some.length ? some : flows);
    some.forEach((flow) => add(34, { label: flow.name, flow, top }));
  }
  const links = flows.filter((f) => f.name.startsWith("ethernet"));
  links.forEach((flow) => add(14, { label: flow.name.replace("ethernet ", ""), flow, top: rate(links) }, 2));
  const top = Math.min(rate(banks), Math.max(...data.chip.bank_rates));
  banks.forEach((flow) => add(11, { label: flow.name.replace("dram bank", "bank"), bank: flow, top, peak: data.chip.bank_rates[+flow.name.split(" ")[2]] }, 1));
  if (banks.length) add(16, { legend: top, peak: Math.max(...data.chip.bank_rates) });
}

function paint() {
  const canvas = plot.canvas, device = devices[state.device];
  if (!canvas?.isConnected || !device.spent) return;
  const width = canvas.clientWidth, scale = devicePixelRatio || 1;
  canvas.style.height = `${plot.height}px`;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(plot.height * scale)) canvas.height = Math.round(plot.height * scale);
  const ctx = canvas.getContext("2d");
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, width, plot.height);
  plot.width = Math.floor(width - GUTTER.left - GUTTER.right);
  let y = 22;
  for (const row of plot.rows) {
    row.y = y;
    paintRow(ctx, row, y);
    y += row.height + row.gap;
  }
  paintAxes(ctx, y);
  paintPin(ctx);
  paintPointer(ctx, y);
  drawSums();
  document.getElementById("window").textContent = `${fmt(Math.round(state.from))} – ${fmt(Math.round(state.to))} cycles, ${us(state.to - state.from)}`;
}
const font = (ctx, size, weight = "") => (ctx.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`);
const toX = (time) => GUTTER.left + ((time - state.from) / (state.to - state.from)) * plot.width;
const toTime = (x) => state.from + ((x - GUTTER.left) / plot.width) * (state.to - state.from);
function write(ctx, text, x, y, { size = 11, ink = palette["ink-2"], align = "left", weight = "" } = {}) {
  font(ctx, size, weight);
  ctx.fillStyle = ink;
  ctx.textAlign = align;
  ctx.fillText(text, x, y);
}
function paintRow(ctx, row, y) {
  if (row.heading) return write(ctx, row.heading, 0, y + 15, { size: 12, weight: 600, ink: palette.ink });
  if (row.legend) return paintBankLegend(ctx, row, y);
  const middle = y + row.height / 2 + 4;
  write(ctx, row.label, GUTTER.left - 8, row.sub ? y + 12 : middle, { align: "right", ink: row.sub ? palette.ink : palette["ink-2"], size: row.height < 14 ? 10 : 11.5 });
  if (row.sub) write(ctx, row.sub, GUTTER.left - 8, y + 23, { align: "right", size: 9.5, ink: palette["ink-3"] });
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER.left, y, plot.width, row.height);
  ctx.clip();
  if (row.lane) paintLane(ctx, row, y);
  else if (row.slices) paintSlices(ctx, row, y);
  else if (row.tiles) paintTiles(ctx, row, y);
  else paintFlow(ctx, row, y);
  ctx.restore();
  if (row.tiles || row.flow) write(ctx, `${fmt(row.top, row.top < 10 && row.top % 1 ? 1 : 0)}${row.flow ? " B/c" : ""}`, GUTTER.left + plot.width + 6, y + 9, { size: 10, ink: palette["ink-3"] });
}
function firstAfter(ends, time) {
  let low = 0, high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > time) high = middle;
    else low = middle + 1;
  }
  return low;
}
/** Share of each family in each pixel: [pixels x families]. */
function shares(lane) {
  const count = data.families.length, pixels = plot.width, found = new Float32Array(pixels * count);
  const perPixel = (state.to - state.from) / pixels;
  for (let i = firstAfter(lane.end, state.from); i < lane.end.length; i++) {
    const start = i ? lane.end[i - 1] : 0;
    if (start >= state.to) break;
    if (!lane.name[i]) continue;
    const order = families[familyOf(lane.name[i])].order;
    const a = Math.max(0, (start - state.from) / perPixel), b = Math.min(pixels, (lane.end[i] - state.from) / perPixel);
    for (let p = Math.floor(a); p < b; p++) found[p * count + order] += Math.min(b, p + 1) - Math.max(a, p);
  }
  return found;
}
function paintLane(ctx, row, y) {
  const found = shares(row.lane), count = data.families.length, colours = data.families.map((f) => colour(f.key));
  ctx.fillStyle = palette.node;
  ctx.globalAlpha = 0.5;
  ctx.fillRect(GUTTER.left, y, plot.width, row.height);
  ctx.globalAlpha = 1;
  for (let p = 0; p < plot.width; ) {
    const only = colours.findIndex((_, f) => found[p * count + f] > 0.995);
    let end = p + 1;
    if (only >= 0) {
      while (end < plot.width && found[end * count + only] > 0.995) end++;
      ctx.fillStyle = colours[only];
      ctx.fillRect(GUTTER.left + p, y, end - p, row.height);
    } else {
      let bottom = y + row.height;
      for (let f = 0; f < count; f++) {
        const height = found[p * count + f] * row.height;
        if (!height) continue;
        ctx.fillStyle = colours[f];
        ctx.fillRect(GUTTER.left + p, bottom - height, 1, height);
        bottom -= height;
      }
    }
    p = end;
  }
  paintNames(ctx, row, y);
}
function paintNames(ctx, row, y) {
  const { name, end } = row.lane, wide = ((state.to - state.from) / plot.width) * 5;
  font(ctx, row.height < 20 ? 10 : 11);
  ctx.textAlign = "center";
  for (let i = firstAfter(end, state.from); i < end.length; i++) {
    const start = i ? end[i - 1] : 0;
    if (start >= state.to) break;
    if (!name[i] || end[i] - start < wide) continue;
    const a = Math.max(toX(start), GUTTER.left), b = Math.min(toX(end[i]), GUTTER.left + plot.width);
    ctx.fillStyle = palette.surface;
    ctx.fillRect(toX(start), y, 1, row.height);
    const text = row.riscs ? `${data.lanes[row.lane.risc[i]]}: ${data.names[name[i]]}` : data.names[name[i]];
    if (b - a < 24 || ctx.measureText(text).width > b - a - 8) continue;
    ctx.fillStyle = inkOn(rgb(colour(familyOf(name[i]))));
    ctx.fillText(text, (a + b) / 2, y + row.height / 2 + 4);
  }
}
function paintTiles(ctx, row, y) {
  const { time, value } = row.tiles, pixels = plot.width, perPixel = (state.to - state.from) / pixels;
  const most = new Float32Array(pixels), mean = new Float32Array(pixels);
  let i = Math.max(0, firstAfter(time, state.from) - 1);
  for (; i < time.length && time[i] < state.to; i++) {
    const a = Math.max(0, (time[i] - state.from) / perPixel), b = Math.min(pixels, ((time[i + 1] ?? devices[state.device].wall) - state.from) / perPixel);
    for (let p = Math.floor(a); p < b; p++) {
      most[p] = Math.max(most[p], value[i]);
      mean[p] += value[i] * (Math.min(b, p + 1) - Math.max(a, p));
    }
  }
  ctx.strokeStyle = palette.line;
  ctx.strokeRect(GUTTER.left + 0.5, y + 0.5, plot.width - 1, row.height - 1);
  [[most, css(mixed(palette.surface, palette.accent, 0.3))], [mean, css(mixed(palette.surface, palette.accent, 0.75))]].forEach(([list, shade]) => area(ctx, list, row, y, shade));
}
function area(ctx, list, row, y, shade) {
  ctx.fillStyle = shade;
  for (let p = 0; p < list.length; ) {
    let end = p + 1;
    while (end < list.length && list[end] === list[p]) end++;
    const height = (Math.min(list[p], row.top) / row.top) * row.height;
    if (height) ctx.fillRect(GUTTER.left + p, y + row.height - height, end - p, height);
    p = end;
  }
}
function paintFlow(ctx, row, y) {
  const flow = row.flow ?? row.bank, { values, width } = flow;
  const list = new Float32Array(plot.width), perPixel = (state.to - state.from) / plot.width;
  for (let p = 0; p < plot.width; p++) {
    const a = (state.from + p * perPixel) / width, b = Math.max(a + 1e-9, (state.from + (p + 1) * perPixel) / width);
    let total = 0;
    for (let i = Math.floor(a); i < b && i < values.length; i++) total += (values[i] / binWidth(flow, i)) * (Math.min(b, i + 1) - Math.max(a, i));
    list[p] = total / (b - a);
  }
  if (row.flow) {
    ctx.strokeStyle = palette.line;
    ctx.strokeRect(GUTTER.left + 0.5, y + 0.5, plot.width - 1, row.height - 1);
    return area(ctx, list, row, y, css(mixed(palette.surface, palette.accent, 0.75)));
  }
  for (let p = 0; p < plot.width; p++) {
    ctx.fillStyle = css(ramp(list[p] / row.top));
    ctx.fillRect(GUTTER.left + p, y, 1, row.height);
  }
}
/** The last bin ends with the run. */
const binWidth = (flow, i) => Math.max(1, Math.min(flow.width, devices[state.device].wall - i * flow.width));
function paintBankLegend(ctx, row, y) {
  for (let p = 0; p < 100; p++) {
    ctx.fillStyle = css(ramp(p / 100));
    ctx.fillRect(GUTTER.left + 18 + p, y + 6, 1, 8);
  }
  write(ctx, "0", GUTTER.left + 12, y + 14, { align: "right", size: 10.5 });
  write(ctx, `${fmt(row.legend, row.legend % 1 ? 1 : 0)} bytes per cycle; a bank gives ${fmt(row.peak, 1)} at most`, GUTTER.left + 124, y + 14, { size: 10.5 });
}
function paintAxes(ctx, bottom) {
  const marks = Math.max(2, Math.floor(plot.width / 110));
  ctx.strokeStyle = palette.axis;
  ctx.lineWidth = 1;
  const line = (y, list, x, label, tick) => {
    ctx.beginPath();
    ctx.moveTo(GUTTER.left, y + 0.5);
    ctx.lineTo(GUTTER.left + plot.width, y + 0.5);
    for (const value of list) {
      ctx.moveTo(Math.round(x(value)) + 0.5, y);
      ctx.lineTo(Math.round(x(value)) + 0.5, y + tick);
    }
    ctx.stroke();
    list.forEach((value) => write(ctx, label(value), x(value), tick > 0 ? y + 17 : y - 6, { align: x(value) < GUTTER.left + 14 ? "left" : "center" }));
  };
  const inMicro = ticks(micro(state.from), micro(state.to), marks);
  line(20, ticks(state.from, state.to, marks), toX, axisCycles, -4);
  line(bottom + 8, inMicro, (value) => toX((value / 1e6) * data.clock_hz), (value) => fmt(value, inMicro[1] - inMicro[0] < 1 ? 2 : 0), 4);
  write(ctx, "cycles", GUTTER.left - 8, 15, { align: "right", ink: palette["ink-3"] });
  write(ctx, "µs", GUTTER.left - 8, bottom + 25, { align: "right", ink: palette["ink-3"] });
}
function axisCycles(value) {
  const step = (state.to - state.from) / 10;
  return !value ? "0" : step >= 1e5 ? `${+(value / 1e6).toFixed(2)} M` : step >= 100 ? `${+(value / 1e3).toFixed(2)} k` : fmt(value);
}
function paintPointer(ctx, bottom) {
  if (plot.drag?.select) {
    const [a, b] = [plot.drag.x, plot.drag.now].sort((p, q) => p - q);
    ctx.fillStyle = palette.accent;
    ctx.globalAlpha = 0.15;
    ctx.fillRect(a, 20, b - a, bottom - 12);
    ctx.globalAlpha = 1;
  } else if (plot.pointer !== null) {
    ctx.fillStyle = palette["ink-3"];
    ctx.fillRect(Math.round(plot.pointer), 20, 1, bottom - 12);
  }
}

function look(from, to) {
  const wall = devices[state.device].wall, length = Math.min(wall, Math.max(20, to - from));
  state.from = Math.max(0, Math.min(from, wall - length));
  state.to = state.from + length;
  hideTip();
  tellPlace();
  requestAnimationFrame(paint);
}
const pan = (share) => look(state.from + share * (state.to - state.from), state.to + share * (state.to - state.from));
function zoom(factor, around = (state.from + state.to) / 2) {
  look(around - (around - state.from) * factor, around + (state.to - around) * factor);
}
function wire(canvas) {
  const inside = (x) => Math.max(GUTTER.left, Math.min(GUTTER.left + plot.width, x));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / plot.width);
    else zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) / 300), toTime(inside(event.offsetX)));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    canvas.setPointerCapture(event.pointerId);
    plot.drag = { x: inside(event.offsetX), now: inside(event.offsetX), select: !event.shiftKey && !event.button, from: state.from, to: state.to };
  });
  canvas.addEventListener("pointermove", (event) => {
    plot.pointer = inside(event.offsetX) === event.offsetX ? event.offsetX : null;
    if (plot.drag?.select) plot.drag.now = inside(event.offsetX);
    else if (plot.drag) {
      const shift = ((plot.drag.x - event.offsetX) / plot.width) * (plot.drag.to - plot.drag.from);
      look(plot.drag.from + shift, plot.drag.to + shift);
    }
    hover(event);
    requestAnimationFrame(paint);
  });
  canvas.addEventListener("pointerup", (event) => {
    const drag = plot.drag;
    plot.drag = null;
    if (drag?.select && Math.abs(drag.now - drag.x) > 3) {
      const [a, b] = [toTime(drag.x), toTime(drag.now)].sort((p, q) => p - q);
      look(a, b);
    } else if (drag?.select) {
      const row = plot.rows.find((r) => r.lane && event.offsetY >= r.y && event.offsetY < r.y + r.height);
      if (row) pin(spanAt(row, toTime(event.offsetX)));
    }
    requestAnimationFrame(paint);
  });
  canvas.addEventListener("pointerleave", () => {
    plot.pointer = null;
    hideTip();
    requestAnimationFrame(paint);
  });
  canvas.addEventListener("dblclick", () => look(0, devices[state.device].wall));
  canvas.addEventListener("keydown", (event) => {
    const act = { ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), w: () => zoom(0.5), s: () => zoom(2), a: () => pan(-0.2), d: () => pan(0.2),
      Escape: () => pin(null), Home: () => look(0, devices[state.device].wall) }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
}
function hover(event) {
  const row = plot.rows.find((r) => event.offsetY >= r.y && event.offsetY < r.y + r.height);
  if (!row || row.heading || row.legend || plot.pointer === null) return hideTip();
  const time = toTime(event.offsetX), at = `at cycle ${fmt(Math.floor(time))}, ${us(time)}`;
  if (row.lane) {
    const { name, line, end, risc } = row.lane, i = firstAfter(end, time), start = i ? end[i - 1] : 0;
    const lane = risc ? data.lanes[risc[i]] : row.label;
    if (i === end.length || !name[i]) return showTip(event, `${row.label}: ${i === end.length ? "done" : "nothing"}`, at);
    return showTip(event, `${lane}: ${data.names[name[i]]}`, `${fmt(end[i] - start)} cycles, ${us(end[i] - start)}\nfrom ${fmt(start)} to ${fmt(end[i])}${line?.[i] ? `\n${data.lines[line[i]]}` : ""}`);
  }
  if (row.slices) return sliceTip(event, row.slices, time, at);
  if (row.tiles) {
    const value = row.tiles.value[firstAfter(row.tiles.time, time) - 1] ?? 0;
    return showTip(event, `${row.label}: ${fmt(value)} of ${fmt(row.top)} tiles`, at);
  }
  const flow = row.flow ?? row.bank, i = Math.floor(time / flow.width), rate = (flow.values[i] ?? 0) / binWidth(flow, i);
  const peak = row.peak ? `, ${percent(rate / row.peak)} of its peak` : "";
  showTip(event, `${flow.name}: ${fmt(rate, 2)} bytes per cycle${peak}`, `${fmt((rate * data.clock_hz) / 1e9, 1)} GB/s, mean of ${fmt(flow.width)} cycles\n${at}`);
}

// -- cycle budget ----------------------------------------------------------------------------------------------
const inOrder = (a, b) => families[familyOf(a[0])].order - families[familyOf(b[0])].order || b[1] - a[1] || a[0] - b[0];
function drawBudget() {
  const device = devices[state.device];
  if (!device.spent) return void body("budget").replaceChildren(untraced());
  const lanes = device.spent[state.core], full = body("budget").clientWidth;
  const left = 64, width = full - left - 6, bar = 30, gap = 12;
  const marks = lanes.flatMap((lane, i) => {
    let x = left;
    const y = 4 + i * (bar + gap);
    const title = draw("text", { x: left - 8, y: y + 19, "text-anchor": "end", class: "strong" }, data.lanes[i]);
    return [title, ...[...lane].sort(inOrder).flatMap(([name, n]) => {
      const w = (n / device.wall) * width, shade = colour(familyOf(name));
      const text = `${data.names[name]} ${percent(n / device.wall, 0)}`;
      const parts = [draw("rect", { x, y, width: Math.max(0, w - (w > 3 ? 1 : 0)), height: bar, fill: shade, stroke: name === DONE ? palette.line : "none", ...tipped(`${data.lanes[i]}: ${data.names[name]}`, `${fmt(n)} cycles, ${us(n)}\n${percent(n / device.wall, 2)} of the wall`) })];
      if (text.length * 6.1 + 8 < w) parts.push(draw("text", { x: x + w / 2, y: y + 19, "text-anchor": "middle", style: `fill:${inkOn(rgb(shade))};pointer-events:none` }, text));
      x += w;
      return parts;
    })];
  });
  const base = 4 + lanes.length * (bar + gap);
  const list = ticks(0, device.wall, Math.max(2, width / 130));
  const axis = [draw("line", { x1: left, x2: left + width, y1: base, y2: base, class: "axis" }), ...list.flatMap((t) => {
    const x = left + (t / device.wall) * width;
    return [draw("line", { x1: x, x2: x, y1: base, y2: base + 4, class: "axis" }), draw("text", { x, y: base + 17, "text-anchor": t ? "middle" : "start" }, t ? short(t) : "0 cycles")];
  })];
  const names = [...new Set(lanes.flatMap((lane) => [...lane.keys()]))].sort((a, b) => inOrder([a, most(a)], [b, most(b)]));
  function most(name) {
    return Math.max(...lanes.map((lane) => lane.get(name) ?? 0));
  }
  const sums = lanes.map((lane) => [...lane.values()].reduce((a, b) => a + b, 0));
  const rows = names.map((name) => el("tr", {}, el("td", {}, swatch(familyOf(name)), data.names[name]), lanes.map((lane) => number(lane.has(name) ? fmt(lane.get(name)) : "")), lanes.map((lane) => number(lane.has(name) ? percent(lane.get(name) / device.wall) : ""))));
  rows.push(el("tr", { class: "sum" }, el("td", {}, "sum"), sums.map((n) => number(fmt(n))), sums.map((n) => number(percent(n / device.wall)))));
  body("budget").replaceChildren(
    el("p", { class: "note" }, `${data.ops ? "Ops on each device" : `Core ${coreName(device.cores[state.core])} of device ${device.ring_id}${state.core === lastCore(device) ? ", the one that ends last" : ""}`}. ${sums.every((n) => n === device.wall) ? `Every lane adds up to the wall, ${fmt(device.wall)} cycles; nothing is unexplained.` : "The lanes do not add up to the wall."}`),
    el("div", { class: "legend" }, data.families.filter((f) => names.some((n) => familyOf(n) === f.key)).map((f) => el("span", {}, swatch(f.key), f.label))),
    picture(full, base + 24, "cycle budget of the core's lanes", marks, axis),
    el("details", {}, el("summary", {}, "as a table"), el("div", { class: "scroll" }, el("table", {}, head("cycles", ...data.lanes.map((l) => `>${l}`), ...data.lanes.map((l) => `>${l} %`)), el("tbody", {}, rows)))));
}
const lastCore = (device) => device.ends.indexOf(Math.max(...device.ends));

// -- roofline --------------------------------------------------------------------------------------------------
function drawRoofline() {
  const device = devices[state.device], roof = device.roofline, room = body("roofline").clientWidth;
  const width = Math.floor(room > 900 ? (room - 44) / 2 : room);
  body("roofline").replaceChildren(el("div", { class: "columns" },
    el("figure", {}, el("figcaption", {}, el("b", {}, "Device against the peaks of its chip"), ", both axes logarithmic"), roofChart(device, roof, width)),
    el("figure", {}, el("figcaption", {}, el("b", {}, "Least cycles, if only one resource counted"), `, device ${device.ring_id}`), boundsChart(device, roof, width))));
}
function roofChart(device, roof, width) {
  const height = 320, left = 62, right = 14, above = 14, below = 44;
  const ridge = roof.peak_flops_per_cycle / roof.bytes_per_cycle;
  const xs = [ridge, ...devices.map((d) => d.roofline.flops_per_byte)].filter((v) => v > 0), ys = [roof.peak_flops_per_cycle, ...devices.map((d) => d.roofline.flops_per_cycle)].filter((v) => v > 0);
  const x0 = Math.floor(Math.log10(Math.min(...xs)) - 0.3), x1 = Math.ceil(Math.log10(Math.max(...xs)) + 0.2), y0 = Math.floor(Math.log10(Math.min(...ys)) - 0.3), y1 = Math.ceil(Math.log10(Math.max(...ys)) + 0.05);
  const x = (v) => left + ((Math.log10(v) - x0) / (x1 - x0)) * (width - left - right), y = (v) => above + ((y1 - Math.log10(v)) / (y1 - y0)) * (height - above - below);
  const decades = (a, b) => Array.from({ length: b - a + 1 }, (_, i) => [1, 2, 5].map((step) => step * 10 ** (a + i))).flat().filter((v) => v <= 10 ** b && (b - a < 4 || Number.isInteger(Math.log10(v))));
  const grid = [
    ...decades(x0, x1).flatMap((v) => [draw("line", { x1: x(v), x2: x(v), y1: above, y2: height - below, class: "grid" }), draw("text", { x: x(v), y: height - below + 16, "text-anchor": "middle" }, short(v))]),
    ...decades(y0, y1).flatMap((v) => [draw("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: "grid" }), draw("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, short(v))])];
  const start = Math.max(10 ** x0, 10 ** y0 / roof.bytes_per_cycle);
  const line = draw("polyline", { points: [[x(start), y(start * roof.bytes_per_cycle)], [x(ridge), y(roof.peak_flops_per_cycle)], [x(10 ** x1), y(roof.peak_flops_per_cycle)]].map((p) => p.join(",")).join(" "), fill: "none", stroke: palette["ink-2"], "stroke-width": 1.8 });
  const dots = devices.map((d, i) => [d, i]).sort((a, b) => (a[1] === state.device) - (b[1] === state.device)).filter(([d]) => d.roofline.flops_per_byte > 0).map(([d, i]) => {
    const chosen = i === state.device, r = d.roofline;
    return draw("circle", { cx: x(r.flops_per_byte), cy: y(r.flops_per_cycle), r: chosen ? 6 : 4.5, fill: chosen ? palette.accent : palette.surface, stroke: chosen ? palette.surface : palette.accent, "stroke-width": 1.5,
      ...tipped(`Device ${d.ring_id}`, `${fmt(r.flops_per_byte, 1)} flops per byte\n${fmt(r.flops_per_cycle)} flops per cycle, ${percent(r.flops_per_cycle / r.peak_flops_per_cycle)} of the peak`) });
  });
  const at = roof.flops_per_byte, roomRight = x(at) < width - right - 130;
  const share = roof.flops_per_cycle / Math.min(roof.peak_flops_per_cycle, at * roof.bytes_per_cycle);
  const label = at > 0 ? draw("text", { x: x(at) + (roomRight ? 11 : -11), y: y(roof.flops_per_cycle) + 4, "text-anchor": roomRight ? "start" : "end", class: "strong" }, `device ${device.ring_id}: ${percent(share)} of its roof`) : null;
  const slope = Math.min(ridge, Math.sqrt(start * ridge));
  const angle = (Math.atan2(y(slope * roof.bytes_per_cycle) - y(ridge * roof.bytes_per_cycle), x(slope) - x(ridge)) * 180) / Math.PI - 180;
  const texts = [
    draw("text", { x: width - right - 2, y: y(roof.peak_flops_per_cycle) - 6, "text-anchor": "end" }, `FPUs: ${short(roof.peak_flops_per_cycle)} flops per cycle`),
    draw("text", { transform: `translate(${x(slope)} ${y(slope * roof.bytes_per_cycle) - 7}) rotate(${angle})`, "text-anchor": "middle" }, `DRAM: ${fmt(roof.bytes_per_cycle)} B per cycle`),
    draw("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, `${data.flops || "useful flops"} per byte of DRAM traffic`),
    draw("text", { transform: `translate(13 ${(height - below) / 2}) rotate(-90)`, "text-anchor": "middle" }, `${data.flops || "useful flops"} per cycle`)];
  return picture(width, height, "roofline", grid, line, dots, label, texts);
}
function boundsChart(device, roof, width) {
  const bounds = roof.bounds, left = Math.min(190, width * 0.4), right = 96, row = 28, above = 20;
  const top = Math.max(device.cycles, ...bounds.map((b) => b.cycles)), x = (n) => left + (n / top) * (width - left - right);
  const bars = bounds.flatMap((b, i) => [
    draw("text", { x: left - 8, y: above + i * row + 17, "text-anchor": "end" }, b.resource),
    draw("rect", { x: left, y: above + i * row + 6, width: Math.max(1, x(b.cycles) - left), height: 15, rx: 1, fill: palette.accent, "fill-opacity": i ? 0.55 : 1, ...tipped(b.resource, `at least ${fmt(b.cycles)} cycles\n${percent(b.cycles / device.cycles)} of the wall\n${b.note}`) }),
    draw("text", { x: x(b.cycles) + 6, y: above + i * row + 17 }, `${fmt(b.cycles)} · ${percent(b.cycles / device.cycles, 0)}`)]);
  const end = above + bounds.length * row;
  return picture(width, end + 26, "least cycles by resource", bars,
    draw("line", { x1: left, x2: left, y1: above, y2: end, class: "axis" }),
    draw("line", { x1: x(device.cycles), x2: x(device.cycles), y1: above - 4, y2: end, stroke: palette.ink, "stroke-width": 1.2, "stroke-dasharray": "3 3" }),
    draw("text", { x: x(device.cycles), y: 11, "text-anchor": "middle", class: "strong" }, `wall ${fmt(device.cycles)}`),
    draw("text", { x: left, y: end + 17 }, "cycles, and share of the wall"));
}

// -- critical path ---------------------------------------------------------------------------------------------
function drawPath(all = false) {
  const device = devices[state.device];
  if (!device.spent || !device.path_core) return void body("path").replaceChildren(untraced());
  const { risc, name, end } = device.segments, sums = new Map();
  name.forEach((n, i) => {
    const key = `${risc[i]} ${n}`, [total, count] = sums.get(key) ?? [0, 0];
    sums.set(key, [total + end[i] - (i ? end[i - 1] : 0), count + 1]);
  });
  const what = (lane, n) => el("td", {}, swatch(familyOf(n)), `${data.lanes[lane]}: ${data.names[n]}`);
  const most = Math.max(...[...sums.values()].map(([total]) => total));
  const totals = [...sums].sort((a, b) => b[1][0] - a[1][0]).map(([key, [total, count]]) => {
    const [lane, n] = key.split(" ").map(Number);
    return el("tr", {}, what(lane, n), number(fmt(count)), number(fmt(total)), el("td", { class: "n" }, percent(total / device.wall), meter(total / most)));
  });
  totals.push(el("tr", { class: "sum" }, el("td", {}, "sum"), number(fmt(name.length)), number(fmt(end[end.length - 1])), number(percent(end[end.length - 1] / device.wall))));
  const count = all ? name.length : Math.min(name.length, 200);
  const steps = Array.from({ length: count }, (_, i) => {
    const start = i ? end[i - 1] : 0;
    return el("tr", { class: "pick", title: "show it in the time line", ...choice(`step-${i}`, !i, () => showStep(device, start, end[i])), role: null }, number(fmt(start)), what(risc[i], name[i]), number(fmt(end[i] - start)), number(fmt(micro(end[i] - start), 2)));
  });
  body("path").replaceChildren(
    el("p", { class: "note" }, `From cycle 0 to the end of the last kernel, through core ${coreName(device.path_core)} of device ${device.ring_id}: shorten these, and the device is done earlier.`),
    el("div", { class: "columns" },
      el("div", {}, el("h3", {}, "By step"), el("div", { class: "scroll tall" }, el("table", { class: "wide" }, head("step", ">times", ">cycles", ">of the wall"), el("tbody", {}, totals)))),
      el("div", {}, el("h3", {}, "In order"), el("div", { class: "scroll tall" }, el("table", { class: "wide" }, head(">from cycle", "step", ">cycles", ">µs"), el("tbody", walking(), steps))),
        count < name.length ? el("p", { class: "note" }, `The first ${count} of ${fmt(name.length)} steps. `, el("button", { type: "button", onclick: () => drawPath(true) }, "show all")) : null)));
}
async function showStep(device, start, end) {
  await chooseDevice(state.device, device.cores.findIndex((c) => c.join() === device.path_core.join()));
  look(start - 2 * (end - start), end + 2 * (end - start));
  document.getElementById("time").scrollIntoView({ behavior: "smooth" });
}

// -- configuration, L1, accuracy -------------------------------------------------------------------------------
const pairs = (rows) => el("table", { class: "wide" }, el("tbody", {}, rows.map(([key, value]) => el("tr", {}, el("td", { class: "key" }, key), el("td", { class: "value" }, value)))));
const halves = (rows) => el("div", { class: "columns" }, pairs(rows.slice(0, Math.ceil(rows.length / 2))), pairs(rows.slice(Math.ceil(rows.length / 2))));
function drawConfig() {
  body("config").replaceChildren(
    el("p", { class: "note" }, "What the kernels really used."),
    halves(data.effective),
    data.notes.length ? el("ul", { class: "notes" }, data.notes.map((note) => el("li", {}, note))) : "",
    el("details", {}, el("summary", {}, "the spec, as resolved"), halves(data.spec)));
}
function drawL1() {
  const { size, base, buffers } = data.l1, full = body("l1").clientWidth, x = (address) => (address / size) * (full - 2) + 1;
  if (!buffers.length) return void body("l1").replaceChildren(el("p", { class: "quiet" }, "No circular buffers."));
  const end = Math.max(...buffers.map((b) => b.address + b.bytes));
  const block = (label, from, to, shade, text) => {
    const w = x(to) - x(from);
    return [draw("rect", { x: x(from), y: 2, width: Math.max(1, w - 1), height: 34, fill: css(shade), ...tipped(label, text) }),
      label.length * 6.3 + 8 < w ? draw("text", { x: x(from) + w / 2, y: 23, "text-anchor": "middle", style: `fill:${inkOn(shade)};pointer-events:none` }, label) : null];
  };
  const kib = (n) => `${fmt(n / 1024, 1)} KiB`;
  const marks = [
    block("system", 0, base, mixed(palette.surface, palette["ink-2"], 0.3), `${kib(base)}, not for programs`),
    buffers.flatMap((b, i) => block(b.name, b.address, b.address + b.bytes, mixed(palette.surface, palette.accent, i % 2 ? 0.5 : 0.75), `${fmt(b.tiles)} tiles of ${b.format}\n${fmt(b.bytes)} bytes at ${fmt(b.address)}`)),
    block("free", end, size, rgb(palette.node), kib(size - end))].flat();
  const axis = ticks(0, size / 1024, Math.max(2, full / 120)).flatMap((k) => [
    draw("line", { x1: x(k * 1024), x2: x(k * 1024), y1: 37, y2: 41, class: "axis" }),
    draw("text", { x: x(k * 1024), y: 54, "text-anchor": k ? (x(k * 1024) > full - 30 ? "end" : "middle") : "start" }, k ? fmt(k) : "0 KiB")]);
  const rows = buffers.map((b) => el("tr", {}, number(String(b.index)), el("td", {}, b.name), number(fmt(b.tiles)), el("td", {}, b.format), number(fmt(b.bytes)), number(fmt(b.address)), el("td", { class: "n" }, percent(b.bytes / (size - base)), meter(b.bytes / (size - base)))));
  const total = buffers.reduce((sum, b) => sum + b.bytes, 0);
  rows.push(el("tr", { class: "sum" }, number(""), el("td", {}, "sum"), number(""), el("td"), number(fmt(total)), number(`up to ${fmt(end)}`), number(percent(total / (size - base)))));
  body("l1").replaceChildren(
    el("p", { class: "note" }, `Circular buffers of every core: ${kib(total)} of the ${kib(size - base)} that programs may use.`),
    picture(full, 60, "L1 by address", marks, axis),
    el("div", { class: "scroll" }, el("table", { class: "wide" }, head(">", "buffer", ">tiles", "format", ">bytes", ">address", ">of L1"), el("tbody", {}, rows))));
}
function drawAccuracy() {
  if (!data.accuracy) return void body("accuracy").replaceChildren(el("p", { class: "quiet" }, "The run had numerics: off; it computed cycles, not numbers."));
  const exact = (v) => (v === null || v === undefined ? "–" : v.toExponential(3));
  const row = (label, a) => el("tr", { class: label === "all" ? "sum" : null }, el("td", {}, label), number(a.pcc?.toFixed(6) ?? "–"), number(a.rel_l2 === null ? "–" : percent(a.rel_l2, 3)), number(exact(a.rmse)), number(exact(a.max_abs)), number(a.worst_row === null ? "–" : percent(a.worst_row)));
  body("accuracy").replaceChildren(
    el("p", { class: "note" }, "Against float64 attention on the same inputs."),
    el("div", { class: "scroll" }, el("table", {}, head("device", ">PCC", ">relative L2", ">RMSE", ">largest error", ">worst row, relative L2"),
      el("tbody", {}, devices.filter((d) => d.accuracy).map((d) => row(String(d.ring_id), d.accuracy)), row("all", data.accuracy)))),
    data.accuracy.sampled ? el("p", { class: "note" }, `All figures, the worst row too, are of ${fmt(data.accuracy.sampled.rows)} of ${fmt(data.accuracy.sampled.of)} rows, 32 of each Q chunk; relative L2 ± ${percent(data.accuracy.sampled.standard_error ?? NaN, 3)}.`) : "",
    data.suspicion ? el("p", { class: "suspect" }, data.suspicion) : "",
    data.error ? errorByStage(data.error) : "");
}
function drawTail() {
  const t = data.tail;
  document.getElementById("tail").hidden = !t;
  if (!t) return;
  const all = t.wall + t.cycles;
  const row = (r, kind) => el("tr", { class: kind }, el("td", {}, r.op), number(fmt(r.cycles)), number((r.cycles / data.clock_hz * 1e6).toFixed(1)), el("td", { class: "n" }, percent(r.cycles / all), meter(r.cycles / all)), number(r.dram_read_bytes === undefined ? "" : fmt(r.dram_read_bytes)), number(r.dram_write_bytes === undefined ? "" : fmt(r.dram_write_bytes)), number(r.link_bytes ? fmt(r.link_bytes) : ""));
  body("tail").replaceChildren(
    el("p", { class: "note" }, `The whole sequence is on every device after ${fmt(all)} cycles, ${percent(t.cycles / t.wall)} on top of the op; over a ${t.topology} with ${t.links} link${t.links > 1 ? "s" : ""} between neighbours. Each row counts from the end of the one before on its last device.`),
    el("div", { class: "scroll" }, el("table", {}, head("op", ">cycles", ">us", ">of all", ">DRAM read, bytes", ">written", ">busiest link, bytes"), el("tbody", {}, row({ op: "ring-distributed SDPA", cycles: t.wall }), t.rows.map((r) => row(r)), row({ op: "all", cycles: all }, "sum")))));
}
function errorByStage(e) {
  const rows = e.stages.map((s) => el("tr", {}, el("td", {}, s.name), number(percent(s.alone, 3)), el("td", { class: "n" }, percent(s.share, 1), meter(Math.max(0, s.share))), number(percent(s.cumulative, 3))));
  const place = (p) => el("tr", {}, number(fmt(p.batch)), number(fmt(p.head)), number(p.row === null ? "all" : fmt(p.row)), number(percent(p.rel_l2, 2)));
  return el("div", { class: "columns" },
    el("div", {}, el("h3", {}, "Error by stage"),
      el("p", { class: "note" }, `Relative L2 error ${percent(e.rel_l2, 3)}; first cause: ${e.first_cause}. Float64 attention on the inputs in their format has ${percent(e.quantised_inputs, 3)}.`),
      el("div", { class: "scroll" }, el("table", {}, head("stage", ">this one ideal", ">share of the squared error", ">and all before it"), el("tbody", {}, rows)))),
    el("div", {}, el("h3", {}, "Worst rows and heads"),
      el("div", { class: "scroll" }, el("table", {}, head(">batch", ">head", ">row", ">relative L2"), el("tbody", {}, e.worst_rows.map(place), e.worst_heads.map(place))))));
}

// -- choice of device and core, theme, start -------------------------------------------------------------------
function drawTabs() {
  const tabs = devices.map((d, i) => el("button", { type: "button", ...choice(`tab-${i}`, i === state.device, () => chooseDevice(i)), role: "tab", "aria-selected": i === state.device, onfocus: () => i === state.device || chooseDevice(i) }, String(d.ring_id)));
  document.getElementById("devices").replaceChildren(...(devices.length > 1 ? [el("span", { class: "tabs", ...walking() }, "device ", ...tabs)] : []));
}
function drawContents() {
  const links = [...document.querySelectorAll("main section[id]")].filter((s) => s.id !== "head" && !s.hidden && !data.without?.includes(s.id)).map((s) => el("a", { href: `#${s.id}` }, s.querySelector("h2").textContent));
  document.getElementById("contents").replaceChildren(...links);
}
async function chooseDevice(i, core = null) {
  const moved = i !== state.device || state.to > (devices[i].wall ?? 0);
  state.device = i;
  const device = devices[i];
  const kept = core ?? (state.core !== null && device.detail?.[state.core] && !moved ? state.core : null);
  state.core = kept ?? (device.spent ? lastCore(device) : null);
  if (moved) [state.from, state.to] = [0, device.wall ?? 1];
  hideTip();
  desk.pin = null;
  tellPlace();
  await keepingFocus(drawDevice);
}
function drawParts(parts) {
  for (const [id, part] of Object.entries(parts)) {
    const without = data.without?.includes(id);
    document.getElementById(id).hidden ||= without;
    if (!without) part();
  }
}
async function drawDevice() {
  drawTabs();
  drawParts({ verdict: drawVerdict, ring: drawRing, slices: drawSlices, cores: drawCores, floor: drawFloor, time: drawTimeFrame, budget: drawBudget, source: drawSource, roofline: drawRoofline, path: drawPath });
  drawContents();
  await drawTime();
}
async function drawAll() {
  readPalette();
  drawFoot();
  drawParts({ head: drawHead, ops: drawOps, tail: drawTail, config: drawConfig, l1: drawL1, accuracy: drawAccuracy });
  await drawDevice();
}
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}
function firstTheme() {
  const asked = location.hash.slice(1);
  return ["light", "dark"].includes(asked) ? asked : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
async function start() {
  setTheme(firstTheme());
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(dark() ? "light" : "dark");
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    setTheme(firstTheme());
    drawAll();
  });
  for (const device of devices) await open(device);
  const device = devices[state.device];
  state.core = device.spent ? lastCore(device) : null;
  state.to = device.wall ?? 1;
  new MutationObserver(() => dressTables(document.querySelector("main"))).observe(document.querySelector("main"), { childList: true, subtree: true });
  await drawAll();
  await goToPlace();
  addEventListener("hashchange", goToPlace);
  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });
  document.documentElement.dataset.ready = Math.round(performance.now());
}
start();
