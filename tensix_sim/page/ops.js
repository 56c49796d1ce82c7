// The ops of a script, in the order of their first calls: what each costs; a click finds its calls in the time lines.

function drawOps() {
  document.getElementById("ops").hidden = !data.ops;
  if (!data.ops) return;
  const { header, rows, notes } = data.ops, op = header.indexOf("op"), shape = header.indexOf("shape of input");
  const numeric = header.map((name) => ["calls", "us", "of all", "error (worst)", "PCC"].includes(name));
  const find = (row) => {
    const field = document.getElementById("find");
    field.value = [row[op], row[shape]].join(" ").trim();
    search(field.value);
    step(1);
    document.getElementById("time").scrollIntoView({ behavior: "smooth" });
  };
  const cell = (text, i) => el("td", numeric[i] ? { class: "n" } : {}, text, header[i] === "of all" ? meter(Number.parseFloat(text) / 100 || 0) : null);
  const lines = rows.map((row, i) => el("tr", { class: "pick", ...choice(`op-${i}`, !i, () => find(row)), role: null }, row.map(cell)));
  body("ops").replaceChildren(
    el("p", { class: "note" }, "Microseconds of a call on its slowest device, or from the fastest to the slowest; of all: of the time from the first op to the last. Error: how far such times were from published ones, the mean and the worst. Click an op to find its calls below."),
    el("div", { class: "scroll" }, el("table", { class: "wide" }, head(...header.map((name, i) => (numeric[i] ? `>${name}` : name))), el("tbody", walking(), lines))),
    whatIfsOfOps(data.what_ifs),
    notes.length ? el("ul", { class: "notes" }, notes.map((note) => el("li", {}, note))) : "");
}
function whatIfsOfOps({ header, rows }) {
  if (!rows.length) return el("p", { class: "note" }, "The script was run without --what-ifs.");
  const lines = rows.map(([cause, ...figures]) => el("tr", {}, el("td", {}, cause), figures.map(number)));
  return el("div", {}, el("p"), el("h3", {}, "What if"),
    el("p", { class: "note" }, "Each row is the script again, whole, on a machine of which one thing is twice as fast; of each kind of op the change of its microseconds on the slowest device."),
    el("div", { class: "scroll" }, el("table", {}, head(...header.map((name, i) => (i ? `>${name}` : name))), el("tbody", {}, lines))));
}
