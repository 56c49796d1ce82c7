"""What ops cost on each device, as lines of text: devices that agree share a line."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tensix_sim.ttnn.session import Call

HEAD = f"{'op':<50} {'shape of input':<21} {'devices':<14} {'ring':>4} {'cycles':>13} {'us':>12} {'PCC':>9} {'rel L2':>8}"


def lines(calls: Iterable[Call]) -> Iterator[str]:
    """A line for each op and the devices on which it took the same, with the worst of their accuracies; equal ones count."""
    alike: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        alike.setdefault((call.number, call.op, call.shape, call.ring_id, call.cycles), []).append(call)
    for line, count in Counter(_line(group) for group in alike.values()).items():
        yield line if count == 1 else f"{line}   x{count}"


def _line(group: list[Call]) -> str:
    one = group[0]
    ring = "" if one.ring_id is None else one.ring_id
    took = f"{'not modelled':>13} {'':>12}" if one.microseconds is None else f"{one.cycles:>13,} {one.microseconds:>12,.1f}"
    worst = "" if one.pcc is None else f" {min(c.pcc or 0 for c in group):>9.6f} {max(c.rel_l2 or 0 for c in group):>8.3%}"
    worst += "  suspect" if any(c.suspect for c in group) else ""
    devices = _spans(call.device for call in group)
    return f"{one.op:<50} {one.shape:<21} {devices:<14} {ring:>4} {took}{worst}".rstrip()


def _spans(numbers: Iterable[int]) -> str:
    """Numbers in order, with `a-b` for runs of them, and `a-b/step` for runs with gaps."""
    left, parts = sorted(numbers), []
    while left:
        step = left[1] - left[0] if len(left) > 1 else 1
        count = 1
        while count < len(left) and left[count] - left[count - 1] == step:
            count += 1
        if count < 3:
            count = 2 if count == 2 and step == 1 else 1
        run, left = left[:count], left[count:]
        parts.append(f"{run[0]}" if count == 1 else f"{run[0]}-{run[-1]}" + (f"/{step}" if step > 1 else ""))
    return ",".join(parts)
