// The kernels' source, with what each line cost each lane: all cores of the device together.

async function openLines(device) {
  const [lane, line, name, cycles] = await unpack(device.by_line);
  device.ofLine = new Map();
  line?.forEach((place, i) => {
    const lanes = device.ofLine.get(place) ?? data.lanes.map(() => new Map());
    lanes[lane[i]].set(name[i], cycles[i]);
    device.ofLine.set(place, lanes);
  });
}
const cyclesOf = (spent, some = () => true) => [...spent].reduce((sum, [name, n]) => sum + (some(name) ? n : 0), 0);
const isWait = (name) => data.names[name].startsWith("wait ");

function drawSource() {
  const device = devices[state.device];
  if (!device.spent) return void body("source").replaceChildren(untraced());
  const working = device.cores.filter((_, core) => worked(device, core)).length, life = device.wall * Math.max(1, working);
  const files = data.sources.map(({ file, lines }) => {
    const spent = lines.map(([, , place]) => device.ofLine.get(place));
    const lanes = data.lanes.map((_, i) => i).filter((i) => spent.some((of) => of?.[i].size));
    const shares = lanes.map((i) => spent.map((of) => (of ? cyclesOf(of[i]) / life : 0)));
    const busy = spent.reduce((sum, of) => sum + (of ? of.reduce((all, lane) => all + cyclesOf(lane, (name) => !isWait(name)), 0) : 0), 0);
    return { file, lines, spent, lanes, top: Math.max(...shares.flat(), 1e-9), sums: shares.map((of) => of.reduce((a, b) => a + b, 0)), busy };
  }).filter((of) => of.lanes.length).sort((a, b) => b.busy - a.busy);
  body("source").replaceChildren(
    el("p", { class: "note" }, `Cycles by the line that asked for them, at work or waiting, as shares of the wall: the mean of the ${fmt(working)} cores at work of device ${device.ring_id}. What a lane lacks to 100% it was done.`),
    ...files.map((of, i) => el("details", { "data-file": of.file, open: i < 2 ? "" : null }, el("summary", {}, of.file, el("span", { class: "quiet" }, ` ${of.lanes.map((l, n) => `${data.lanes[l]} ${percent(of.sums[n])}`).join(", ")}`)),
      el("div", { class: "scroll tall" }, listing(of, life)))));
  for (const room of body("source").querySelectorAll(".tall")) room.scrollTop = Math.max(0, room.querySelector(".hottest").offsetTop - 120);
}
function listing({ file, lines, spent, lanes, top, sums }, life) {
  const cost = spent.map((of) => (of ? Math.max(...of.map((lane) => cyclesOf(lane))) : 0)), hottest = cost.indexOf(Math.max(...cost));
  const rows = lines.map(([n, text, place], i) => el("tr", { id: place > 0 ? `line-${place}` : null, class: `${spent[i] ? "" : "cold"} ${i === hottest ? "hottest" : ""} ${i && n > lines[i - 1][0] + 1 ? "apart" : ""}` },
    lanes.map((lane) => costCell(`${file}:${n}`, lane, spent[i]?.[lane], top, life)), number(String(n)), el("td", {}, el("code", {}, text || " "))));
  rows.push(el("tr", { class: "sum" }, sums.map((share) => number(percent(share))), el("td"), el("td", {}, "sum")));
  return el("table", { class: "code" }, head(...lanes.map((lane) => `>${data.lanes[lane]}`), ">line", "source"), el("tbody", {}, rows));
}
/** A share of the wall, and a bar of its parts in their colours, as long as the share is of the largest of the file. */
function costCell(where, lane, spent, top, life) {
  if (!spent?.size) return el("td");
  const parts = [...spent].sort(inOrder), total = cyclesOf(spent);
  const bar = el("span", { class: "strip" }, parts.map(([name, n]) => styled(el("i"), { width: percent(n / life / top, 2), background: colour(familyOf(name)) })));
  const told = [...spent].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${data.names[name]}: ${fmt(n)} cycles, ${percent(n / life, 2)}`);
  return el("td", { class: "n", ...tipped(`${data.lanes[lane]} at ${where}`, told.join("\n")) }, percent(total / life), bar);
}
/** A button to a line's place in the listing. */
const lineLink = (line) => (line ? [" ", el("button", { type: "button", title: "show the line", onclick: () => showLine(line) }, data.lines[line]), " "] : []);
function showLine(line) {
  const row = document.getElementById(`line-${line}`);
  row?.closest("details").setAttribute("open", "");
  for (const other of document.querySelectorAll("#source tr.chosen")) other.classList.remove("chosen");
  row?.classList.add("chosen");
  row?.scrollIntoView({ block: "center" });
}
