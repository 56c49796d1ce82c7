"""Semaphores: counters in a core's L1, by which kernels of other cores and chips say how far they are."""

import simpy

from tensix_sim.hw.engine import Engine


class Semaphore:
    """A counter in one core's L1 that other cores may raise over the NoC, as kernels see it in program order.

    `place` is its own in the clockwork, which knows when it changes.
    """

    def __init__(self, place: int, engine: Engine) -> None:
        self.place = place
        self.engine = engine
        self.value = 0
        self._changed: simpy.Event | None = None

    def set(self, value: int) -> None:
        """Give it `value` and wake who waits."""
        self.value = value
        if self._changed is not None:
            event, self._changed = self._changed, None
            self.engine.happen(event, self.engine.now)

    def next_change(self) -> simpy.Event:
        """Event of the next change."""
        if self._changed is None:
            self._changed = self.engine.event()
        return self._changed
