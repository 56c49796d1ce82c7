// Slices of K and V of a joint ring: which came when, over which link, and who waited.

const wholeAt = (one) => Math.max(...one.landed);
const meanWait = (one) => one.waits.reduce((a, b) => a + b, 0) / (one.waits.length || 1);

function drawSlices() {
  const device = devices[state.device], came = data.slices[device.ring_id] ?? [];
  document.getElementById("slices").hidden = !came.length;
  if (!came.length) return;
  const alike = data.slices_alike.find((group) => group.includes(device.ring_id)), links = came[0].landed.map((_, i) => `>link ${i}`);
  const rows = came.map((one) => el("tr", {},
    number(String(one.slice)), el("td", {}, `the chips ${one.side}`), number(String(one.hops)), one.landed.map((cycle) => number(fmt(cycle))),
    number(fmt(wholeAt(one))), el("td", { class: "n" }, percent(wholeAt(one) / device.wall), meter(wholeAt(one) / device.wall)),
    number(String(one.waits.length)), number(one.waits.length ? fmt(meanWait(one)) : ""), number(one.waits.length ? fmt(Math.max(...one.waits)) : "")));
  body("slices").replaceChildren(
    el("p", { class: "note" }, `Slices of K and V that came to device ${device.ring_id}, in the order in which it uses them: the chip that each is of, the cycle at which each link had brought its part, and the cores that waited for it.${alike.length > 1 ? ` Devices ${alike.join(", ")} are alike but for the numbers of the slices, within 2% of the wall.` : ""}`),
    el("div", { class: "scroll" }, el("table", { class: "wide" }, head(">slice", "from", ">hops", ...links, ">whole at", ">of the wall", ">cores that waited", ">mean wait", ">longest"), el("tbody", {}, rows))));
}
/** From the first link's part to the last's a bar, with the slice's number where it is whole. */
function paintSlices(ctx, row, y) {
  for (const one of row.slices) {
    const first = toX(Math.min(...one.landed)), last = toX(wholeAt(one)), waited = toX(wholeAt(one) - Math.max(0, ...one.waits));
    ctx.fillStyle = colour("wait");
    ctx.fillRect(waited, y + 6, last - waited, row.height - 12);
    ctx.fillStyle = colour("move");
    ctx.fillRect(first, y, Math.max(2, last - first), row.height);
    write(ctx, `slice ${one.slice}`, last + 5, y + row.height / 2 + 4, { size: 10.5, ink: palette.ink });
  }
}
function sliceTip(event, slices, time, at) {
  const near = [...slices].sort((a, b) => Math.abs(wholeAt(a) - time) - Math.abs(wholeAt(b) - time))[0];
  const waited = near.waits.length ? `${near.waits.length} cores waited for it, ${fmt(meanWait(near))} cycles in the mean` : "no core waited for it";
  showTip(event, `slice ${near.slice}, from the chips ${near.side}, ${near.hops} ${near.hops > 1 ? "hops" : "hop"}`, `${near.landed.map((cycle, i) => `link ${i}: ${fmt(cycle)}`).join("\n")}\n${waited}\n${at}`);
}
