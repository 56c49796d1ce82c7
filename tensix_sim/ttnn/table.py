"""What ops cost on each device, as lines of text: devices that agree share a line."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tensix_sim.ttnn.session import Call

HEAD = f"{'op':<50} {'shape of q or input':<22} {'devices':<14} {'ring':>4} {'cycles':>13} {'us':>12} {'PCC':>9} {'rel L2':>8}"


def lines(calls: Iterable[Call]) -> Iterator[str]:
    """A line for each op and the devices on which it did the same; equal calls are counted."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for call in calls:
        key = call.number, call.op, call.shape, call.ring_id, call.cycles, call.microseconds, call.pcc, call.rel_l2
        alike.setdefault(key, []).append(call.device)
    times = Counter((*key[1:], _spans(devices)) for key, devices in alike.items())
    for (op, shape, ring_id, cycles, us, pcc, rel_l2, devices), count in times.items():
        name = f"{op} x{count}" if count > 1 else f"{op}"
        ring = "" if ring_id is None else ring_id
        took = f"{'not modelled':>13} {'':>12}" if cycles is None else f"{cycles:>13,} {us:>12,.1f}"
        accuracy = "" if pcc is None else f" {pcc:>9.6f} {rel_l2:>8.3%}"
        yield f"{name:<50} {shape:<22} {devices:<14} {ring:>4} {took}{accuracy}".rstrip()


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
