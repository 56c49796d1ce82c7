"""One chip's clockwork as the engine sees it: kernels give their RISCs operations, transfers that Python starts are told of.

A kernel runs ahead of its RISC, in program order, as far as its queue has room. What it learns of time it learns afterwards.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import Any, cast

import numpy as np
import simpy

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.hw.agenda import CALL, CALLED, FULL, LANDED, MISSING, RAISE, RESUME, START, STARVED, UNRESERVED
from tensix_sim.hw.engine import TICKS, Engine, SimulationError, happened
from tensix_sim.hw.lines import LinedOperations, SourceLines
from tensix_sim.hw.riscs import OPERATION_BITS, RESERVE, RESERVE_BACK, RUN, SEMAPHORE_WAIT, WAIT, WAIT_FRONT
from tensix_sim.hw.routes import Direction, Plan, Routes
from tensix_sim.hw.semaphore import Semaphore
from tensix_sim.hw.silicon import CAUSES, LONGEST, check_time
from tensix_sim.hw.tables import BLOCK, BUFFER, NOBODY, OPERATION, QUEUE, RISC, SEMAPHORE, STAGE, TENSIX, rows
from tensix_sim.hw.tasks import Wait
from tensix_sim.hw.tensix import Stage
from tensix_sim.program import Program, Tensor
from tensix_sim.trace import Trace
from tensix_sim.trace.causes import Cause, What
from tensix_sim.trace.trace import COUNT, SPAN

BATCH = QUEUE // 2  # operations that a kernel may be ahead of its RISC's queue
NEVER_ROOM = QUEUE + 1
RECORDS = 1 << 14  # spans and counts that the clockwork keeps before they go to the trace


class Queue:
    """Operations that a kernel has given its RISC: `given` are not in the clockwork yet. `told` are calls of what it tells."""

    __slots__ = ("_in_flight", "ended", "engine", "given", "hardware", "place", "places", "room", "told")

    def __init__(self, hardware: "Hardware", place: int) -> None:
        self.hardware = hardware
        self.engine = hardware.engine
        self.place = place
        self.given = self.empty()
        self.told: deque[Callable[[], None]] = deque()
        self.places: dict[int, str] = {}  # of operations that may fail in time: who asked for it, and where
        self.room: simpy.Event | None = None  # that its kernel waits for
        self.ended = False
        self._in_flight = 0

    def empty(self) -> list[int]:
        """A list for operations, which notes lines where there is a trace to have them."""
        return LinedOperations(self.hardware.lines) if self.hardware.trace.zones else []

    async def until_room(self) -> None:
        """Suspend the kernel until there is room for more."""
        while len(self.given) >= BATCH:
            self.room = self.engine.event()
            self.stands()
            await happened(self.room)

    async def end(self) -> None:
        """Suspend the kernel, which has given all that it has, until all is done."""
        self.ended = True
        self.room = self.engine.event()
        self.stands()
        await happened(self.room)

    def stands(self) -> None:
        """Its kernel does not go on: note how much room there must be before the clockwork is given more, or before it wakes."""
        left, waits = len(self.given), self.room is not None
        self.hardware.awaited[self.place] = min(left, BATCH) if left else QUEUE * self.ended if waits else NEVER_ROOM

    def expect(self, in_flight: int) -> None:
        """Have room for as many tiles in flight as its transfers may have at once."""
        if in_flight > self._in_flight:
            self.hardware.silicon.reserve(in_flight - self._in_flight)
            self._in_flight = in_flight

    @property
    def risc(self) -> Any:
        """Its record in the clockwork."""
        return self.hardware.silicon.cores.riscs[self.place]

    @property
    def issued(self) -> int:
        """Operations that its kernel has given so far."""
        return int(self.risc["issued"]) + len(self.given)

    @property
    def number(self) -> int:
        """The number of the operation under way."""
        return int(self.hardware.silicon.cores.queues[self.place * QUEUE + int(self.risc["done"]) % QUEUE]) & OPERATION_BITS

    @property
    def doing(self) -> Any:
        """The operation under way."""
        return self.hardware.silicon.cores.operations[self.number]

    def waits_for(self) -> Wait:
        """What its RISC waits for, in words; for a kernel that has gone ahead."""
        hardware, operation = self.hardware, self.doing
        buffer = hardware.buffers[int(operation["buffer"])] if hardware.buffers else ""
        kind, tiles = int(operation["kind"]), int(operation["tiles"])
        if kind in (WAIT, WAIT_FRONT):
            return Wait(f"{tiles} tiles in {buffer}")
        if kind in (RESERVE, RESERVE_BACK):
            return Wait(f"space for {tiles} tiles in {buffer}")
        if kind == SEMAPHORE_WAIT:
            semaphore = hardware.silicon.cores.semaphores[int(operation["semaphore"])]
            name = cast(Cause, hardware.names[int(semaphore["name"])]).name
            return Wait(f"semaphore {name} to reach {int(operation['value'])}; it is {int(semaphore['value'])}")
        does = "runs a verb" if kind == RUN else f"does {hardware.names[int(operation['name'])]!s}"
        return Wait(f"its RISC, which {does}")


class Hardware:
    """One chip's cores, DRAM banks and L1 banks, reached over two NoCs; `routes` says how."""

    def __init__(self, machine: Machine, engine: Engine, trace: Trace) -> None:
        self.engine = engine
        self.trace = trace
        self.spec = machine.chip.tensix
        self.routes = Routes(machine, watch=trace.transfers, count=trace.zones)
        self.silicon = self.routes.silicon
        self.lines = SourceLines(trace)
        self.queues: list[Queue] = []
        self.awaited = np.zeros(0, np.int64)  # room that each waits for, in operations
        self.buffers: list[str] = []  # of each core, by name
        self._labels: list[str] = []  # of all cores' buffers
        self._names: dict[What, int] = {cause: i for i, cause in enumerate(CAUSES)}
        self._in_trace = np.zeros(0, np.int64)  # numbers of names
        self._operations: dict[tuple[tuple[str, int], ...], int] = {}
        self._blocks: dict[tuple[object, ...], int] = {}
        self._lists: dict[tuple[int, ...], int] = {}
        self._under_way: dict[int, tuple[Plan, Callable[[], None]]] = {}
        self._calls: dict[int, Callable[[], object]] = {}
        self._numbers = count()
        self._places = 0  # of transfers that Python started
        self._plans: dict[int, Plan] = {}  # by move
        self._moves: dict[int, Callable[[], Plan]] = {}  # what plans them, by operation
        self.senders = 0  # kernels that may still send over Ethernet
        self.hop: float = inf  # cycles of a packet to the next chip
        self._horizon: float = inf  # cycle before which no other chip acts on this one
        engine.beside.append(self)

    # -- cores ----------------------------------------------------------------------------------------------

    def prepare(self, program: Program) -> None:
        """Name what RISCs may wait for, and have room for what they record."""
        self.buffers = [buffer.name for buffer in program.buffers]
        for buffer in program.buffers:
            self.name(Cause("tiles", buffer.name))
            self.name(Cause("space", buffer.name))
        for semaphore in program.semaphores:
            self.name(Cause("semaphore", semaphore))
        silicon, spec = self.silicon, self.spec
        margin = max([32, len(program.cores), *(buffer.tiles + 1 for buffer in program.buffers)])
        for field, value in {
            "causes": len(self._names), "zones": self.trace.zones, "margin": margin, "visible": spec.cb_visible_cycles,
            "cb_wait": spec.cb_wait_cycles, "cb_update": spec.cb_update_cycles, "handshake": spec.dst_handshake_cycles,
        }.items():  # fmt: skip
            silicon.state[field] = value
        cores, kernels, buffers = len(program.cores), len(program.kernels), len(program.buffers)
        records, riscs = margin + RECORDS * self.trace.zones, cores * kernels
        silicon.make_room(
            buffers=cores * buffers, logs=2 * cores * sum(buffer.tiles for buffer in program.buffers), tensixes=cores,
            semaphores=cores * len(program.semaphores), riscs=riscs, queues=riscs * QUEUE, waits=riscs * len(self._names),
            stack=riscs, transfers=2 * riscs, idle=2 * riscs, requests=8 * riscs, order=8 * riscs, heap=16 * riscs,
            operations=8 * cores, lists=256 * cores, moves=16 * cores, routes=64 * cores, spans=records, counts=records,
        )  # fmt: skip
        silicon.add_events(margin + riscs)

    def add_core(self, program: Program, logical: Coord, label: str) -> tuple[int, dict[str, Semaphore]]:
        """A core's place of buffers, and its semaphores."""
        silicon, trace = self.silicon, self.trace
        buffers = rows(BUFFER, len(program.buffers), producer=NOBODY, consumer=NOBODY, series=NOBODY)
        for buffer, record in zip(program.buffers, buffers, strict=True):
            record["tiles"] = buffer.tiles
            record["shared"] = buffer.producer != buffer.consumer
            record["to_compute"] = buffer.consumer == "compute"
            record["log"] = silicon.add("logs", np.zeros(2 * buffer.tiles, np.int64))
            record["wait_tiles"], record["wait_space"] = (self.name(Cause(kind, buffer.name)) for kind in ("tiles", "space"))
            self._labels.append(f"{label} {buffer.name}")
            if trace.zones and record["shared"] and buffer.on(logical):
                record["series"] = trace.series(buffer.name, "tiles", logical)
        silicon.add("tensixes", rows(TENSIX, 1))
        semaphores = {}
        for name in program.semaphores:
            record = rows(SEMAPHORE, 1, first=NOBODY, second=NOBODY, name=self.name(Cause("semaphore", name)))
            place = silicon.add("semaphores", record)
            semaphores[name] = Semaphore(f"{label} semaphore {name}", place, self.engine)
        return silicon.add("buffers", buffers), semaphores

    def add_risc(self, core: int, buffers: int, lane: int) -> Queue:
        """A RISC, or the three TRISCs, of a core, which starts now; its lane in the trace, or its first of three."""
        silicon, now = self.silicon, self.engine.now
        silicon.add("queues", np.zeros(QUEUE, np.int64))
        waits = silicon.add("waits", np.zeros(int(silicon.state["causes"]), np.int64))
        risc = rows(RISC, 1, core=core, buffers=buffers, waits=waits, lane=lane, idle_from=now)
        place = silicon.add("riscs", risc)
        for clock in ("unpack", "math", "pack", "half", "other"):
            silicon.cores.tensixes[core][clock] = now
        silicon.reserve(0, transfers=1)
        silicon.plan(now, RESUME, place)
        self.queues.append(Queue(self, place))
        self.awaited = np.append(self.awaited, NEVER_ROOM)
        return self.queues[-1]

    def waits(self, place: int) -> "Counter[Cause]":
        """Cycles for which a RISC waited, by cause."""
        first = int(self.silicon.cores.riscs[place]["waits"])
        causes = cast(list[Cause], self.names[: self.silicon.state["causes"]])
        cycles = self.silicon.cores.waits[first : first + len(causes)].tolist()
        return Counter({cause: n for cause, n in zip(causes, cycles, strict=True) if n})

    def moved(self, buffers: int, count: int) -> list[tuple[int, int]]:
        """Tiles that were pushed to and popped from each of so many buffers of a core."""
        return cast(list[tuple[int, int]], self.silicon.cores.buffers[["pushed", "popped"]][buffers : buffers + count].tolist())

    # -- what kernels ask for -------------------------------------------------------------------------------

    @property
    def names(self) -> list[What]:
        """Steps and causes by their numbers."""
        return list(self._names)

    def name(self, what: What) -> int:
        """The number of a step or a cause."""
        return self._names.setdefault(what, len(self._names))

    def operation(self, kind: int, **fields: int) -> int:
        """The number of an operation, one for all that are alike."""
        key = ("kind", kind), *fields.items()
        if key not in self._operations:
            self._operations[key] = self.silicon.add("operations", rows(OPERATION, 1, **dict(key)))
        return self._operations[key]

    def block(self, name: str, stages: Sequence[Stage], halves: int) -> int:
        """The place of a verb's windows, one for all that are alike."""
        key = (name, halves, *stages)
        if key not in self._blocks:
            silicon = self.silicon
            records = rows(STAGE, len(stages))
            for i, (window, *more) in enumerate(stages):
                records[i] = (*window, *more)
            first = silicon.add("stages", records)
            record = rows(BLOCK, 1, stages=first, stages_end=first + len(stages), halves=halves, name=self.name(name))
            self._blocks[key] = silicon.add("blocks", record)
            windows = sum(stage.repeat for stage in stages)
            silicon.make_room(packed=len(stages), products=3 * windows, vectors=2 * windows)
        return self._blocks[key]

    def numbers(self, *numbers: int) -> tuple[int, int]:
        """Where they begin and end in the clockwork's `lists`, in one place for all that are alike."""
        if numbers not in self._lists:
            self._lists[numbers] = self.silicon.add("lists", numbers)
        return self._lists[numbers], self._lists[numbers] + len(numbers)

    def move(self, kind: int, find: Callable[[], Plan], now: bool, **fields: int) -> int:
        """The number of an operation that moves what `find` plans, now or when its senders are known, and again when more are."""
        number = self.silicon.add("operations", rows(OPERATION, 1, kind=kind, **fields))
        self._moves[number] = find
        if now:
            self._plan(number)
        return number

    def learn(self, noc: int, senders: str) -> None:
        """Note that the nodes of a memory send data on a NoC from now on; what was planned without them is planned again."""
        if self.routes.learn(noc, senders):
            for number in self._moves:
                self._plan(number)

    def _plan(self, number: int) -> None:
        plan, operations = self._moves[number](), self.silicon.cores.operations
        operations["move"][number], operations["issue"][number] = self._known(plan), plan.issue

    def _known(self, plan: Plan) -> int:
        self._plans[plan.move] = plan
        return plan.move

    def plan(self, direction: Direction, noc: int, core: Coord, tensor: Tensor, pages: Sequence[int], barrier: int) -> Plan:
        """How to move pages, as `Routes.plan` has it, from now on."""
        senders = "ethernet" if core in self.routes.nodes["ethernet"] else tensor.memory if direction == "read" else "l1"
        self.learn(noc, senders)
        return self.routes.plan(direction, noc, core, tensor, pages, barrier)

    # -- what Python does in time -----------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Cycle that its cores and the engine have come to."""
        return max(self.engine.now, int(self.silicon.state["now"]))

    def call(self, time: int, what: Callable[[], object]) -> None:
        """Do something at a cycle, after what is planned for it so far."""
        number = next(self._numbers)
        self._calls[number] = what
        self.silicon.plan(time, CALL, number)

    def pass_on(self, there: "Hardware", time: int, what: Callable[[], object]) -> None:
        """Have another chip do something at a cycle; its answer, which this one must not miss, comes a hop later."""
        there.call(time, what)
        self._horizon = min(self._horizon, time + there.hop)

    def increase(self, semaphore: int) -> None:
        """Raise a semaphore by one, now."""
        self.silicon.plan(self.now, RAISE, semaphore, 1)

    def start(self, plan: Plan, time: int, then: Callable[[], None]) -> None:
        """Issue a read or write at a cycle; `then` is done when all has landed."""
        self._known(plan)
        more = len(self._under_way) >= self._places
        self._places += more
        self.silicon.reserve(plan.in_flight, int(more))
        number = next(self._numbers)
        self._under_way[number] = plan, then
        self.silicon.plan(time, START, plan.move, number)

    # -- time -----------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """Cycle before which nothing happens."""
        due = self.silicon.due
        return inf if due > LONGEST else due

    @property
    def reach(self) -> float:
        """Cycles after `due` before which it matters to no other chip: a hop, while anything may be sent or passed on."""
        return self.hop if self.senders or self._calls else inf

    def run_to(self, horizon: float) -> None:
        """Go on to cycle `horizon`, before which no other chip acts, or until Python has something to do."""
        silicon, self._horizon = self.silicon, min(horizon, LONGEST)
        going = not self._hand_over()
        while going:
            place, why = silicon.run(int(self._horizon)), silicon.state["why"]
            if place == NOBODY:
                going = False
            elif why == LANDED:
                self._landed(place)
            elif why == CALLED:
                self._calls.pop(place)()
            elif why == FULL:
                self._empty()
            elif why == STARVED:
                queue = self.queues[place]
                going = not self._hand_over() and queue.risc["issued"] > queue.risc["done"]
            elif why == UNRESERVED:
                raise SimulationError(self._unreserved(self.queues[place]))
            elif why == MISSING:
                raise SimulationError(
                    f"a kernel popped tiles of {self.buffers[int(self.queues[place].doing['buffer'])]} that are not there"
                )
            else:
                self.queues[place].told.popleft()()
        check_time(self.now)
        self._empty()

    def _unreserved(self, queue: Queue) -> str:
        operation, by, tables = queue.doing, queue.places.get(queue.number, "another core"), self.silicon.cores
        targets = tables.lists[int(operation["targets"]) : int(operation["targets_end"])]
        target = min(targets, key=lambda target: int(tables.buffers[target]["reserved"]))
        label, left = self._labels[target], tables.buffers[target]["reserved"]
        return (
            f"{label}: write of {int(operation['tiles'])} tiles, forwarded by {by}; {left} are reserved as they come: "
            "a semaphore must tell that core when there is space"
        )

    def _hand_over(self) -> bool:
        """Give the clockwork what kernels gave; whether some of them have room again, or have come to their ends."""
        tables, waking = self.silicon.cores, False
        issued, done = (tables.riscs[field][: len(self.awaited)] for field in ("issued", "done"))
        for place in np.flatnonzero(QUEUE - issued + done >= self.awaited).tolist():
            queue = self.queues[place]
            given, before = queue.given, int(issued[place])
            more = min(len(given), QUEUE - before + int(done[place]))
            if more:
                tables.queues[place * QUEUE + (before + np.arange(more)) % QUEUE] = given[:more]
                del given[:more]
                issued[place] += more
            if queue.room is not None and not given and (not queue.ended or done[place] == issued[place]):
                tables.riscs["ended"][place] = queue.ended
                event, queue.room = queue.room, None
                self.engine.happen(event, self.engine.now)
                waking = True
            queue.stands()
        return waking

    def _landed(self, place: int) -> None:
        """Record a burst, or let Python know of a transfer that it started."""
        record = self.silicon.net.transfers[place]
        if self.trace.transfers and not self._record_burst(record, int(record["landed"]) // TICKS):
            self.silicon.resume(place)
            return
        end, owner = int(record["landed"]) // TICKS, int(record["owner"])
        self.silicon.end(place)
        if owner < 0:
            plan, then = self._under_way.pop(~owner)
            self.silicon.reserve(-plan.in_flight)
            self.silicon.state["now"] = max(self.silicon.state["now"], end)
            then()

    # -- the trace ------------------------------------------------------------------------------------------

    def _empty(self) -> None:
        """Move what was recorded to the trace, and have room for what comes."""
        state, tables, trace = self.silicon.state, self.silicon.cores, self.trace
        if state["spans"]:
            spans = tables.spans[: state["spans"]].astype(SPAN)
            spans["name"] = self._numbers_in_trace(spans["name"])
            trace.extend("spans", spans)
        if state["counts"]:
            trace.extend("counts", tables.counts[: state["counts"]].astype(COUNT))
        state["spans"] = state["counts"] = 0
        if state["planned"] + state["margin"] > len(tables.events):
            self.silicon.add_events(len(tables.events))

    def _numbers_in_trace(self, names: Any) -> Any:
        """The trace's numbers of names, which it gives in the order of their first use."""
        missing = len(self._names) - len(self._in_trace)
        self._in_trace = np.append(self._in_trace, np.full(missing, -1))
        whats = self.names
        used, first = np.unique(names, return_index=True)
        for name in used[np.argsort(first)]:
            if self._in_trace[name] < 0:
                self._in_trace[name] = self.trace.name(whats[name])
        return self._in_trace[names]

    def _record_burst(self, record: Any, end: int) -> bool:
        """Record what a burst moved between the core and each bank; whether it was the transfer's last."""
        plan, trace = self._plans[int(record["move"])], self.trace
        path, issued, owner = plan.path, int(record["issued"]), int(record["owner"])
        lane = 0 if owner < 0 else int(self.silicon.cores.riscs[owner]["lane"])
        kind, start = trace.name(path.direction.upper()), int(record["burst"])
        for bank, tiles in Counter(self.routes.banks_of(plan, int(record["recorded"]), issued)).items():
            ends, nbytes = self.routes.ends(path, bank), tiles * path.tile_bytes
            trace.transfer(start, end, path.noc, *ends, nbytes, lane=lane, kind=kind, requests=tiles)
        record["burst"], record["recorded"] = end, issued
        return issued == plan.tiles
