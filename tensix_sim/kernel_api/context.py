"""What the contexts of all kernels have: a core, a RISC that is given operations, and waits in program order."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import DeadlockError, SimulationError, happened
from tensix_sim.hw.riscs import NOTE, POP, POP_FRONT, PUSH, PUSH_BACK, RESERVE, RESERVE_BACK, WAIT, WAIT_FRONT
from tensix_sim.hw.semaphore import Changes, History, Semaphore
from tensix_sim.hw.tasks import Task, Wait, line_of, of_kernel, standing
from tensix_sim.program import RISC_OF, Role

HANDSHAKES = {
    RESERVE: "reserve", RESERVE_BACK: "reserve", PUSH: "push", PUSH_BACK: "push",
    WAIT: "wait", WAIT_FRONT: "wait", POP: "pop", POP_FRONT: "pop",
}  # fmt: skip

LULL = 1 << 18  # operations that a kernel may ask for while nothing comes forward


class Context:
    """A kernel's core and RISC. It gives the RISC its operations in program order, ahead of time.

    In a run that is watched, where an operation waits for tiles, space or a semaphore, so does the kernel, until the other
    kernel has asked for what it waits for: values flow in program order, and a kernel that waits for ever stands where its RISC
    does. In one that is not, it goes ahead as far as there is room.
    """

    def __init__(self, core: Core, role: Role, lane: int) -> None:
        self.core = core
        self.role = role
        self.engine = core.chip.engine
        self.values = core.chip.values
        self.watched = core.chip.watched
        self.task: Task | None = None  # which deadlock reports show
        self.queue = core.chip.hardware.add_risc(core.place, core.buffers, lane)
        self.notes: dict[str, tuple[int, ...]] = {}
        self._given = self.queue.given
        self._operation = core.chip.hardware.operation
        self._handshake = cache(self._learn_handshake)
        self._label = f"{core.label} {RISC_OF[role]}"
        self.history = History(self._label)
        self._judged, self._progress = 0, (-1, -1)  # operations and progress when it was last judged to come forward
        self._peers: dict[Role, str] = {role: f"{core.label} {risc}" for role, risc in RISC_OF.items()}

    def note(self, name: str) -> None:
        """Note under a name, in `notes`, when all before it is done: cycles of the RISC, or of unpack, math and pack."""
        self._tell(NOTE, lambda: self.notes.update({name: self.clocks}))

    @property
    def clocks(self) -> tuple[int, ...]:
        """Where its RISC is in time."""
        raise NotImplementedError

    # -- operations -----------------------------------------------------------------------------------------

    def _give(self, kind: int, **fields: int) -> None:
        """Let the RISC do something after all that it was given before."""
        self._given.append(self._operation(kind, **fields))

    def _tell(self, kind: int, told: Callable[[], None], **fields: int) -> None:
        """The same of something of which the clockwork tells when it comes to it."""
        self.queue.told.append(told)
        self._give(kind, **fields)

    def _learn_handshake(self, kind: int, cb: CircularBuffer, tiles: int) -> int:
        """The number of a hand-shake of a circular buffer, of which the kernel must own that end."""
        verb = HANDSHAKES[kind]
        if not isinstance(tiles, int | np.integer) or tiles < 1:
            raise SimulationError(f"{cb.label}: {verb} of {tiles} tiles; ask for a whole number of them, at least 1")
        self._check_end(cb, cb.spec.producer if verb in ("reserve", "push") else cb.spec.consumer, verb)
        return self._operation(kind, buffer=cb.index, tiles=tiles, name=self._named(verb))

    def _named(self, step: str) -> int:
        return self.core.chip.hardware.name(step)

    def _check_end(self, cb: CircularBuffer, owner: Role, verb: str) -> None:
        if owner != self.role:
            who = "compute kernel" if self.role == "compute" else self.role
            raise SimulationError(f"{cb.label}: {verb} by the {who}; this end belongs to the {owner}")

    # -- waits ----------------------------------------------------------------------------------------------

    async def _until_front(self, cb: CircularBuffer, tiles: int) -> None:
        """Suspend the kernel until `tiles` tiles have been pushed, which it may use then."""
        if self._sees(cb, tiles):
            return
        self._block_on(cb, lambda: f"{tiles} tiles in {cb.spec.name}, which has {cb.front}", cb.spec.producer, cb.pushes)
        while not self._sees(cb, tiles):
            await happened(cb.pushes.next())

    def _sees(self, cb: CircularBuffer, tiles: int) -> bool:
        """Whether `tiles` tiles have been pushed, which the kernel may use then."""
        if not 0 < tiles <= cb.pushed - cb.popped:
            cb.check_request(tiles, "wait for")
            return False
        cb.see(tiles)
        cb.pushes.hear(self.history)
        return True

    async def _until_space(self, cb: CircularBuffer, tiles: int) -> None:
        """Suspend the kernel until `tiles` tiles are free."""
        if self._may_fill(cb, tiles):
            return
        what = f"space for {tiles} tiles in {cb.spec.name}, which has"
        self._block_on(cb, lambda: f"{what} {cb.space} of {cb.spec.tiles} free", cb.spec.consumer, cb.pops)
        while not self._may_fill(cb, tiles):
            await happened(cb.pops.next())

    def _may_fill(self, cb: CircularBuffer, tiles: int) -> bool:
        """Whether `tiles` tiles are free."""
        if not 0 < tiles <= cb.tiles - cb.pushed + cb.popped:
            cb.check_request(tiles, "reserve of")
            return False
        cb.pops.hear(self.history)
        return True

    async def _until_value(self, semaphore: Semaphore, name: str, value: int) -> None:
        """Suspend the kernel until a semaphore is at least `value`."""
        while semaphore.value < value:
            self._block(lambda: Wait(f"semaphore {name} to reach {value}; it is {semaphore.value}", *semaphore.raised_by))
            await happened(semaphore.changes.next())
        semaphore.see(value, self.history)

    async def _until_room(self) -> None:
        """Suspend the kernel while it is too far ahead of its RISC.

        Raises:
            SimulationError: it has asked for very many operations since anything last came forward on its chip.
        """
        self._block(self.queue.waits_for)
        await self.queue.until_room()
        if self.queue.issued - self._judged < LULL:
            return
        self._judged, before, self._progress = self.queue.issued, self._progress, self.core.chip.progress
        if before == self._progress:
            others = [task for task in self.engine.tasks if task is not self.task and not task.done]
            said = f"{self._label} polls: {LULL:,} operations, and on its chip no tile pushed or popped, no new page written"
            raise SimulationError("\n".join([said, *standing([], others, "the others:")]))

    async def finish(self) -> None:
        """Suspend the kernel, which has given all that it has, until all is done."""
        self._block(self.queue.waits_for)
        await self.queue.end()

    def _here(self) -> str:
        """File and line of the kernel's own code that is running."""
        frame: Any = sys._getframe(1)
        while not of_kernel(frame):
            frame = frame.f_back
        return line_of(frame)

    def _block_on(self, cb: CircularBuffer, what: Callable[[], str], owner: Role, changes: Changes) -> None:
        """The same of a circular buffer, which a compute kernel's three threads do not share with another kernel's."""
        did = "pushed" if changes is cb.pushes else "popped"
        if self.role == "compute" and not cb.shared:
            raise DeadlockError(
                f"{self._label} waits for itself: {what()}, and only the compute kernel can change that: "
                f"it {cb.pushes.last('pushed')} and {cb.pops.last('popped')}"
            )
        self._block(lambda: Wait(what(), (self._peers[owner],), f", which {changes.last(did)}"))

    def _block(self, what: Callable[[], Wait]) -> None:
        """Tell the engine what this kernel waits for, and from whom."""
        self.queue.stands()
        if self.task is not None:
            self.task.blocked = what
