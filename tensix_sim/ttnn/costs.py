"""What ops cost on each device, as lines of text: devices that agree share a line."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tensix_sim.text import columns, grouped, spans
from tensix_sim.ttnn.session import Call

LAYOUT = "<51 <22 <14 >5 >14 >13 >10 >9"
HEAD = columns(LAYOUT, "op", "shape of input", "devices", "ring", "cycles", "us", "PCC", "rel L2")


def lines(calls: Iterable[Call]) -> Iterator[str]:
    """A line for each op and the devices on which it took the same, with the worst of their accuracies; equal ones count."""
    alike = grouped(calls, lambda call: (call.number, call.op, call.shape, call.ring_id, call.cycles))
    for line, count in Counter(_line(group) for group in alike.values()).items():
        yield line if count == 1 else f"{line}   x{count}"


def _line(group: list[Call]) -> str:
    one = group[0]
    ring = "" if one.ring_id is None else one.ring_id
    took = ("not modelled", "") if one.microseconds is None else (f"{one.cycles:,}", f"{one.microseconds:,.1f}")
    pcc, rel_l2 = min(c.pcc or 0 for c in group), max(c.rel_l2 or 0 for c in group)
    worst = ("", "") if one.pcc is None else (f"{pcc:.6f}", f"{rel_l2:.3%}")
    devices = spans(call.device for call in group)
    suspect = "  suspect" if any(c.suspect for c in group) else ""
    return columns(LAYOUT, one.op, one.shape, devices, ring, *took, *worst) + suspect
