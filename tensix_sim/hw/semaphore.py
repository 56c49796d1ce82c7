"""Semaphores: counters in a core's L1, by which kernels of other cores and chips say how far they are; and what that orders.

A semaphore that is lowered while another kernel may raise it loses the raise, or not, as timing has it. So kernels keep a
`History`, and whatever is not ordered by waits is an error, however it went this time.
"""

from collections.abc import Mapping
from typing import NamedTuple

import simpy

from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.tasks import CodePlace, line_at


class Known(dict["History", int]):
    """Of each kernel, how many operations on semaphores: the `turn`-th such thing that one kernel put together."""

    __slots__ = ("by", "turn")

    def __init__(self, by: "History", turn: int, known: Mapping["History", int], news: Mapping["History", int]) -> None:
        super().__init__(known)
        self.update(news)
        self.by = by
        self.turn = turn


class History:
    """What a kernel knows to have happened before, its own operations included."""

    __slots__ = ("_turn", "known", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.known = Known(self, 0, {}, {})
        self._turn = 0

    @property
    def acts(self) -> int:
        """Its own operations so far."""
        return self.known.get(self, 0)

    def act(self) -> None:
        """Count an operation of its own."""
        self._know({self: self.acts + 1})

    def learn(self, known: Known) -> None:
        """Know what another knew when it told."""
        mine = self.known
        if known.by is mine.by or not mine:  # a kernel never knows less than before
            self.known = known if known.turn > mine.turn else mine
            return
        news = {who: acts for who, acts in known.items() if acts > mine.get(who, 0)}
        if news:
            self._know(news)

    def _know(self, news: Mapping["History", int]) -> None:
        self._turn += 1
        self.known = Known(self, self._turn, self.known, news)

    def knows(self, act: "Act") -> bool:
        """Whether an operation has happened before, whatever the timing."""
        return self.known.get(act.who, 0) >= act.number


class Act(NamedTuple):
    """An operation of a kernel: the semaphore's value after it, the number of it, what the kernel knew, and where it stands."""

    value: int
    who: History
    number: int
    known: Known
    place: str

    def __str__(self) -> str:
        return f"by {self.who.label} at {self.place}"


class Changes:
    """Changes of a counter: events only for who must really wait for the next one, and what the kernel that changes it knows."""

    __slots__ = ("_heard", "_told", "engine", "event", "place")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.event: simpy.Event | None = None
        self.place: CodePlace | None = None  # of the kernel that made the last one
        self._told: Known | None = None
        self._heard: Known | None = None

    def tell(self, history: History, place: CodePlace) -> None:
        """Let who sees the change know what the kernel knows that makes it, from a place in its code."""
        self._told = history.known
        self.place = place

    def last(self, did: str) -> str:
        """Where a kernel did last what changes the counter, as a sentence's end."""
        return f"has {did} none" if self.place is None else f"{did} last at {line_at(self.place)}"

    def hear(self, history: History) -> None:
        """See the change."""
        told = self._told
        if told is not self._heard:
            assert told is not None
            history.learn(told)
            self._heard = told

    def next(self) -> simpy.Event:
        """Event of the next change."""
        self.event = self.event or self.engine.event()
        return self.event

    def happen(self) -> None:
        """Wake who waits, when this kernel waits itself: someone does."""
        event, self.event = self.event, None
        assert event is not None
        self.engine.happen(event, self.engine.now)


class Semaphore:
    """A counter in one core's L1 that other cores may raise over the NoC, as kernels see it in program order.

    `place` is its own in the clockwork, which knows when it changes.
    """

    def __init__(self, label: str, place: int, engine: Engine) -> None:
        self.label = label
        self.place = place
        self.value = 0
        self.changes = Changes(engine)
        self._set: Act | None = None  # the last time
        self._raised: list[Act] = []  # since then
        self._awaited = 0  # the highest value since then
        self._raisers: dict[str, str] = {}  # who has ever raised it, the last one last, and where

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
        self._raisers.pop(who.label, None)
        self._raisers[who.label] = place
        self._change(act.value)

    def see(self, value: int, who: History) -> None:
        """A kernel has waited for `value`: it knows what those knew who raised it so far."""
        self._awaited = max(self._awaited, value)
        for raised in self._raised:
            who.learn(raised.known)
            if raised.value >= value:
                break

    @property
    def raised_by(self) -> tuple[tuple[str, ...], str]:
        """Who has ever raised it, and where that was done last, as a sentence's end."""
        places = list(self._raisers.values())
        return tuple(self._raisers), f", raised last at {places[-1]}" if places else ": nobody has raised it"

    def unseen(self) -> str | None:
        """What was raised and nobody waited for, as a sentence."""
        if not self._raised or self._awaited >= self.value:
            return None
        return f"{self.label}: raised to {self.value} {self._raised[-1]}; nobody waited for more than {self._awaited}"

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
        if self.changes.event is not None:
            self.changes.happen()
