"""A small clockwork, row by row: buffers, RISCs, blocks and operations, for tests of what the compiled loop does with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensix_sim.hw.agenda import RESUME
from tensix_sim.hw.silicon import CAUSES, Silicon
from tensix_sim.hw.tables import (
    BANK,
    BLOCK,
    BUFFER,
    LINE_SHIFT,
    NOBODY,
    OPERATION,
    QUEUE,
    RISC,
    SEMAPHORE,
    STAGE,
    TENSIX,
    cores_of,
    rows,
)
from tensix_sim.hw.tensix import Stage
from tensix_sim.program import Role

TILES, SPACE, SEMAPHORES, WORK = range(len(CAUSES), len(CAUSES) + 4)  # names: of causes, but for the last
VERB = WORK + 1  # name of all blocks


class Clockwork(Silicon):
    """A clockwork without banks or links, of which everything is added by hand; `state` are fields of its state."""

    def __init__(self, **state: int) -> None:
        super().__init__(rows(BANK, 0))
        for field, value in ({"causes": WORK} | state).items():
            self.state[field] = value

    def add_buffer(self, tiles: int, producer: Role = "reader", consumer: Role = "compute") -> int:
        """An empty circular buffer."""
        record = rows(
            BUFFER, 1, tiles=tiles, shared=producer != consumer, to_compute=consumer == "compute", series=NOBODY,
            producer=NOBODY, consumer=NOBODY, wait_tiles=TILES, wait_space=SPACE,
            log=self.add("logs", np.zeros(2 * tiles, np.int64)),
        )  # fmt: skip
        return self.add("buffers", record)

    def add_semaphore(self) -> int:
        """A semaphore that is 0."""
        return self.add("semaphores", rows(SEMAPHORE, 1, first=NOBODY, second=NOBODY, name=SEMAPHORES))

    def add_risc(self, **clocks: int) -> int:
        """A RISC that starts at cycle 0, and three threads with these clocks, if it is to be the TRISCs."""
        core = self.add("tensixes", rows(TENSIX, 1, **clocks))
        self.add("queues", np.zeros(QUEUE, np.int64))
        waits = self.add("waits", np.zeros(WORK, np.int64))
        risc = self.add("riscs", rows(RISC, 1, core=core, waits=waits))
        self.make_room(stack=risc + 1)
        self.plan(0, RESUME, risc)
        return risc

    def add_operation(self, kind: int, **fields: int) -> int:
        """An operation that hands over and changes nothing unless it is said."""
        nothing = {"out": NOBODY, "changed": NOBODY, "early_stage": NOBODY}
        return self.add("operations", rows(OPERATION, 1, **(nothing | fields | {"kind": kind})))

    def add_numbers(self, *numbers: int) -> tuple[int, int]:
        """Where they begin and end in `lists`."""
        first = self.add("lists", numbers)
        return first, first + len(numbers)

    def add_block(self, stages: Sequence[Stage], halves: int = 2) -> int:
        """The windows of a verb."""
        records = rows(STAGE, len(stages))
        for i, (window, *more) in enumerate(stages):
            records[i] = (*window, *more)
        first = self.add("stages", records)
        windows = sum(stage.repeat for stage in stages)
        self.make_room(packed=len(stages), products=3 * windows, vectors=2 * windows)
        return self.add("blocks", rows(BLOCK, 1, stages=first, stages_end=first + len(stages), halves=halves, name=VERB))

    def give(self, risc: int, kind: int, line: int = 0, **fields: int) -> None:
        """Have a RISC do an operation, which a line of its kernel asks for, after those that it has; more may not come."""
        operation = self.add_operation(kind, **fields)
        record = self.cores.riscs[risc]
        self.cores.queues[risc * QUEUE + record["issued"]] = line << LINE_SHIFT | operation
        record["issued"] += 1
        record["ended"] = True

    def buffer(self, b: int) -> Any:
        """A buffer's record as it is now."""
        return cores_of(self._memory).buffers[b]

    def threads(self, risc: int) -> Any:
        """The record of a RISC's three threads as it is now."""
        return cores_of(self._memory).tensixes[self.cores.riscs[risc]["core"]]

    def done(self, risc: int) -> int:
        """Operations that a RISC has done."""
        return int(self.cores.riscs[risc]["done"])

    def waited(self, risc: int, cause: int) -> int:
        """Cycles that a RISC has waited."""
        return int(self.cores.waits[self.cores.riscs[risc]["waits"] + cause])
