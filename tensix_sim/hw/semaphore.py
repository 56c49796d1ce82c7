"""Semaphores: counters in a core's L1, by which kernels of other cores and chips say how far they are; and what that orders.

A semaphore that is lowered while another kernel may raise it loses the raise, or not, as timing has it. So kernels keep a
`History`, and whatever is not ordered by waits is an error, however it went this time.
"""

from collections.abc import Mapping
from typing import NamedTuple

import simpy

from tensix_sim.hw.engine import Engine, SimulationError


class History:
    """What a kernel knows to have happened before: of each kernel, itself included, how many operations on semaphores."""

    __slots__ = ("known", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.known: Mapping[History, int] = {self: 0}

    @property
    def acts(self) -> int:
        """Its own operations so far."""
        return self.known[self]

    def act(self) -> None:
        """Count an operation of its own."""
        self.known = {**self.known, self: self.acts + 1}

    def learn(self, known: Mapping["History", int]) -> None:
        """Know what another knew when it told."""
        self.known = {who: max(known.get(who, 0), self.known.get(who, 0)) for who in (*known, *self.known)}

    def knows(self, act: "Act") -> bool:
        """Whether an operation has happened before, whatever the timing."""
        return self.known.get(act.who, 0) >= act.number


class Act(NamedTuple):
    """An operation of a kernel: the semaphore's value after it, the number of it, what the kernel knew, and where it stands."""

    value: int
    who: History
    number: int
    known: Mapping[History, int]
    place: str

    def __str__(self) -> str:
        return f"by {self.who.label} at {self.place}"


class Semaphore:
    """A counter in one core's L1 that other cores may raise over the NoC, as kernels see it in program order.

    `place` is its own in the clockwork, which knows when it changes.
    """

    def __init__(self, label: str, place: int, engine: Engine) -> None:
        self.label = label
        self.place = place
        self.engine = engine
        self.value = 0
        self._changed: simpy.Event | None = None
        self._set: Act | None = None  # the last time
        self._raised: list[Act] = []  # since then
        self._awaited = 0  # the highest value since then

    def set(self, value: int, who: History, place: str) -> None:
        """Give it `value` and wake who waits.

        Raises:
            SimulationError: a raise may come before or after it.
        """
        act = self._act(value, who, place)
        for raised in self._raised:
            if not who.knows(raised):
                raise SimulationError(self._unordered(act, raised))
        self._set, self._raised, self._awaited = act, [], 0
        self._change(value)

    def increase(self, by: int, who: History, place: str) -> None:
        """Raise it and wake who waits.

        Raises:
            SimulationError: it may be set before or after that.
        """
        act = self._act(self.value + by, who, place)
        if self._set is not None and not who.knows(self._set):
            raise SimulationError(self._unordered(self._set, act))
        self._raised.append(act)
        self._change(act.value)

    def see(self, value: int, who: History) -> None:
        """A kernel has waited for `value`: it knows what those knew who raised it so far."""
        self._awaited = max(self._awaited, value)
        for raised in self._raised:
            who.learn(raised.known)
            if raised.value >= value:
                break

    def unseen(self) -> str | None:
        """What was raised and nobody waited for, as a sentence."""
        if not self._raised or self._awaited >= self.value:
            return None
        return f"{self.label}: raised to {self.value} {self._raised[-1]}; nobody waited for more than {self._awaited}"

    def next_change(self) -> simpy.Event:
        """Event of the next change."""
        if self._changed is None:
            self._changed = self.engine.event()
        return self._changed

    def _act(self, value: int, who: History, place: str) -> Act:
        who.act()
        return Act(value, who, who.acts, who.known, place)

    def _unordered(self, lowered: Act, raised: Act) -> str:
        return (
            f"{self.label}: set to {lowered.value} {lowered}, and raised {raised}; either may come first, and a raise be lost: "
            "who sets it must have waited for the raise, or tell who raises it"
        )

    def _change(self, value: int) -> None:
        self.value = value
        if self._changed is not None:
            event, self._changed = self._changed, None
            self.engine.happen(event, self.engine.now)
