"""One direction of a chip-to-chip Ethernet link: a FIFO with a rate and a hop latency.

No transfer of ring-distributed SDPA uses it: K and V are replicated and no data moves between the chips.
It is here for the collectives around the op.
"""

from tensix_sim.arch import model
from tensix_sim.hw.engine import to_ticks, whole_cycles


class EthernetLink:
    """Carries messages one after another; the headers of their packets are in the link's efficiency."""

    def __init__(self, spec: model.Ethernet) -> None:
        self.spec = spec
        self.free = 0

    def send(self, now: int, nbytes: int) -> tuple[int, int]:
        """Queue a message at cycle `now`: cycle at which the last byte has left, and at which it has arrived."""
        if nbytes <= 0:
            raise ValueError(f"an Ethernet message of {nbytes} bytes; it needs at least 1")
        work = to_ticks(nbytes / (self.spec.rate * self.spec.efficiency))
        self.free = max(self.free, to_ticks(now)) + work
        left = whole_cycles(self.free)
        return left, left + self.spec.hop_cycles
