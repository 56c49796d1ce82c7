"""What `report` prints: what is suspect, the verdict, slices that came over links, kernels by line."""

from collections.abc import Sequence

from tensix_sim.analysis import Verdict, in_groups
from tensix_sim.analysis.listing import Listing
from tensix_sim.analysis.slices import alike, slices_of
from tensix_sim.job import Job
from tensix_sim.summary import suspicion
from tensix_sim.text import columns, few, screen_width, table, wrapped
from tensix_sim.trace import Run


def report_screen(run: Run, verdicts: Sequence[Verdict], listed: Sequence[Listing]) -> str:
    """All of it, as far as there is any."""
    suspect = wrapped(suspicion(run) or "")
    parts = [suspect, verdict_screen(verdicts), slices_screen(run), *map(listing_screen, listed)]
    return "\n\n".join(filter(None, parts))


def verdict_screen(found: Sequence[Verdict]) -> str:
    """What binds each device and what helps, in words, with the what-ifs that change anything and all changes that were tried."""
    parts = []
    for v, *others in in_groups(found):
        shown = [w for w in v.what_ifs if abs(w.gain) >= 0.0005]
        rows = [(w.cause, w.change, f"{w.cycles:,}", w.saved, w.drawn_from.partition(":")[0]) for w in shown]
        alike = f" and alike {few(sorted(o.ring_id for o in others))}" if others else ""
        parts.append(wrapped(f"device {v.ring_id}{alike}: {v.text}"))
        parts.append(table(("what if", "", "cycles", "the device takes", "from"), rows))
        tried = [(t.text, t.note, f"{t.cycles:,}", t.saved, t.drawn_from.partition(":")[0]) for t in v.tried]
        if tried:
            parts.append(table(("change", "", "cycles", "the device takes", "from"), tried))
    return "\n\n".join([*parts, *map(wrapped, dict.fromkeys(v.trust for v in found))])


def slices_screen(run: Run) -> str:
    """Of a joint ring the slices of K and V as they came, devices that are alike told once."""
    slices = slices_of(Job.of(run.spec, ran=True).geometry, run.traces)
    walls = {device["ring_id"]: device["cycles"] for device in run.summary["devices"]}
    parts = []
    for group in alike(slices, max(walls.values())):
        found = slices[group[0]]
        others = f" and alike {few(group[1:])}" if len(group) > 1 else ""
        links = [f"link {i}" for i in range(len(found[0].landed))]
        header = ("slice", "from the chips", "hops", *links, "of the wall", "waited", "longest")
        rows = [
            (str(s.slice), s.side, str(s.hops), *(f"{cycle:,}" for cycle in s.landed), f"{s.whole / walls[group[0]]:.1%}",
             str(len(s.waits)), f"{max(s.waits):,}" if s.waits else "")
            for s in found
        ]  # fmt: skip
        title = f"device {group[0]}{others}: slices as they are used, when each link had brought its part, cores that waited"
        parts += [wrapped(title), table(header, rows, least=links[1:])]
    return "\n\n".join(parts)


def listing_screen(listing: Listing) -> str:
    """A file of kernels line by line, at work and waiting on each lane, in shares of the wall."""
    lanes = listing.lanes
    layout = " ".join([">6"] * 2 * len(lanes) + [">6", "<"])
    lines = ["".join(f"{lane:>12}" for lane in lanes), columns(layout, *["busy", "wait"] * len(lanes), "line", "")]
    for line in listing.lines:
        spent = [n for lane in lanes for n in (line.busy.get(lane, 0), sum(line.waits.get(lane, {}).values()))]
        shares = (f"{n / listing.life:.1%}" if n else "" for n in spent)
        lines.append(columns(layout, *shares, line.number, f"  {line.text}")[: screen_width.get()])
    return "\n".join([wrapped(f"{listing.file}: shares of the wall, mean of the cores at work"), *lines])
