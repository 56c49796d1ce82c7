"""Semaphores: counters in a core's L1, by which kernels of other cores and chips say how far they are."""

from typing import cast

import simpy

from tensix_sim.hw.engine import Engine


class Semaphore:
    """A counter in one core's L1 that other cores may raise over the NoC."""

    def __init__(self, label: str, engine: Engine) -> None:
        self.label = label
        self.engine = engine
        self.value = 0
        self.changed: simpy.Event | None = None

    def set(self, value: int) -> None:
        """Give it `value` and wake who waits."""
        self.value = value
        if self.changed is not None:
            event, self.changed = self.changed, None
            event.succeed()

    def increase(self, event: simpy.Event) -> None:
        """Engine callback: add the event's value."""
        self.set(self.value + cast(int, event.value))

    def next_change(self) -> simpy.Event:
        """Event of the next change."""
        if self.changed is None:
            self.changed = self.engine.event()
        return self.changed
