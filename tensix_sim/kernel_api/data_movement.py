"""Verbs of the data-movement RISCs: NCRISC (reader, NoC 0) and BRISC (writer, NoC 1).

They live at the engine's clock. A verb that takes time is awaited; `push` and `pop` are done at once.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tensix_sim.formats import TILE, Values
from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError, Task, happened
from tensix_sim.hw.ethernet import Packets, Port, Signal
from tensix_sim.hw.memory import Transfer
from tensix_sim.hw.routes import Direction
from tensix_sim.program import RISC_OF, Role, Tensor
from tensix_sim.trace.causes import BANK, ETHERNET, LATENCY, LINK, Cause, What


class DataMovement:
    """What a reader or writer kernel can do on its core."""

    def __init__(self, core: Core, role: Role) -> None:
        chip = core.chip
        self.core = core
        self._memory = chip.memory
        self.role = role
        self.noc = 0 if role == "reader" else 1
        self.engine = chip.engine
        self.values = chip.values
        self.task: Task | None = None
        self.idle_from = chip.engine.now
        self._peers = {role: f"{core.label} {risc}" for role, risc in RISC_OF.items()}
        self.waits: Counter[Cause] = Counter()
        self.trace = chip.trace
        self._zones = chip.trace.zones
        self._lane = chip.trace.lane(core.logical, RISC_OF[role]) if chip.trace.zones else 0
        self._cb_visible = chip.machine.chip.tensix.cb_visible_cycles

    @property
    def end(self) -> int:
        """Cycle at which the kernel's last verb ended."""
        return self.idle_from

    def cbs(self, *names: str) -> tuple[CircularBuffer, ...]:
        """Circular buffers of this core by name."""
        return self.core.cbs(names)

    # -- circular buffers -------------------------------------------------------------------------------

    async def reserve(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are free, then take them for writing."""
        self._check_end(cb, cb.spec.producer, "reserve")
        cb.check_request(tiles, "reserve of")
        if cb.space < tiles:
            self._block(
                lambda: f"space for {tiles} tiles in {cb.spec.name}, which has {cb.space} of {cb.spec.tiles} free",
                cb.spec.consumer,
            )
            while cb.space < tiles:
                await happened(cb.pops.next())
            self._spent_on(cb.wait_space)
        cb.reserve(tiles)

    def push(self, cb: CircularBuffer, tiles: int) -> None:
        """Hand `tiles` written tiles to the consumer."""
        self._check_end(cb, cb.spec.producer, "push")
        cb.push_written(tiles, self.engine.now, self._cb_visible)

    async def wait(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are there."""
        self._check_end(cb, cb.spec.consumer, "wait")
        cb.check_request(tiles, "wait for")
        if cb.front < tiles:
            self._block(lambda: f"{tiles} tiles in {cb.spec.name}, which has {cb.front}", cb.spec.producer)
            while cb.front < tiles:
                await happened(cb.pushes.next())
            self._spent_on(cb.wait_tiles)

    def pop(self, cb: CircularBuffer, tiles: int) -> None:
        """Give `tiles` tiles back to the producer."""
        self._check_end(cb, cb.spec.consumer, "pop")
        cb.pop(tiles, self.engine.now)

    # -- memory -----------------------------------------------------------------------------------------

    async def read(
        self,
        tensor: Tensor,
        pages: Sequence[int],
        into: CircularBuffer,
        shape: tuple[int, int],
        barrier: int = 0,
        transpose: bool = False,
    ) -> None:
        """Read `pages` of `tensor` into the reserved tiles of `into`, row by row of a grid of `shape` tiles.

        At most `barrier` reads are in flight (0: all of them). With `transpose` the grid lies in L1 by columns,
        while each tile stays as it is. Fewer pages than tiles: the last rows are zero-filled. Pages beyond the
        tensor's end read as zeros, in the time of a real read.
        """
        rows, cols = shape
        if not pages or len(pages) % cols or len(pages) > rows * cols:
            raise SimulationError(
                f"read of {len(pages)} pages of {tensor.name} into {rows}x{cols} tiles; whole rows, at most {rows}, fit"
            )
        if into.spec.format is not tensor.format:
            raise SimulationError(
                f"{into.label}: read of {tensor.format.name} tiles of {tensor.name} into a buffer of {into.spec.format.name}"
            )
        if (not isinstance(pages, range) and min(pages) < 0) or pages[0] < 0:
            raise SimulationError(f"read of page {min(pages)} of {tensor.name}; pages count from 0")
        if tensor.output:
            self._check_written(tensor, pages)
        transfer = self._start("read", tensor, pages, barrier)
        await happened(transfer.event)
        self._end_move(transfer, f"read {tensor.name}")
        block = self._gather(tensor, pages, rows, cols) if tensor.values is not None else None
        into.write(rows * cols, block.transpose(2, 1, 0, 3) if transpose and block is not None else block)

    async def write(
        self,
        cb: CircularBuffer,
        tensor: Tensor,
        pages: Sequence[int],
        shape: tuple[int, int],
        barrier: int = 0,
        answered: bool = False,
    ) -> None:
        """Write the front tiles of `cb`, a grid of `shape` tiles, to `pages` of `tensor`, and wait for the acknowledgements.

        After each `barrier` writes (0: none) they are flushed, or with `answered` their acknowledgements waited for.
        """
        rows, cols = shape
        cb.check_front(rows * cols)
        if rows * cols != len(pages):
            raise SimulationError(f"write of {rows}x{cols} tiles to {len(pages)} pages of {tensor.name}; the numbers must agree")
        if not tensor.output:
            raise SimulationError(f"write to {tensor.name}, which is no output; build it with output=True")
        outside = [p for p in (min(pages), max(pages)) if not 0 <= p < tensor.pages]
        if outside:
            raise SimulationError(f"write to page {outside[0]} of {tensor.name}, which has {tensor.pages}")
        transfer = self._start("write", tensor, pages, barrier, answered)
        await happened(transfer.event)
        self._end_move(transfer, f"write {tensor.name}")
        block = cb.block(rows, cols) if tensor.tiles is not None else None
        if block is not None and block.shape[3] < TILE:
            raise SimulationError(f"{cb.label}: write of a column, of whose tiles only column 0 is known; write whole tiles")
        self.core.chip.store(tensor, pages, block)
        self.core.chip.on_write(len(pages))

    async def forward(self, cb: CircularBuffer, tiles: int, target: tuple[int, int]) -> None:
        """Copy the `tiles` tiles written to `cb` last, before their push, to the same buffer of core `target`.

        That core must have reserved them; there they count as written. Waits until they have left this core (a flush),
        which is taken to be when the last has arrived: what follows, such as a semaphore's increase, gets there after them.
        """
        there = self._other(target)
        (cb_there,) = there.cbs((cb.spec.name,))
        if cb.written < tiles:
            raise SimulationError(f"{cb.label}: forward of {tiles} tiles; {cb.written} are written and not pushed")
        plan = self._memory.routes.copy_plan(self.noc, self.core.node, there.node, tiles * cb.spec.format.tile_bytes)
        self._block(lambda: f"the NoC, to forward {cb.spec.name}", None)
        transfer = self._memory.start(plan, self._lane)
        await happened(transfer.event)
        cb_there.write(tiles, cb.values.blocks[-1] if self.values else None)
        self._spent_on(f"forward {cb.spec.name}")

    # -- other chips --------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open, or close, the connections to the Ethernet routers."""
        await self._spend("connect", self.core.chip.machine.chip.ethernet.connect_cycles)

    async def send(
        self, cb: CircularBuffer, tensor: Tensor, pages: Sequence[int], step: int, link: int, hops: int, packet_tiles: int = 1
    ) -> None:
        """Send the front tiles of `cb`, one for each of `pages`, to the next `hops` chips in direction `step` (1 or -1).

        They go in packets of `packet_tiles`. Each chip writes the tiles to the same pages of its own tensor in the place of
        `tensor` in its program. Waits until all are with the router of this chip's link number `link`.
        """
        port = self._port
        cb.check_front(len(pages))
        nbytes, packets = len(pages) * cb.spec.format.tile_bytes, -(-len(pages) // packet_tiles)
        out = port.link_of(step, link)
        began = self.engine.now
        router = port.endpoint(step, link)
        plan = self._memory.routes.copy_plan(self.noc, self.core.node, router, nbytes, packets)
        self._block(lambda: "the NoC, to reach an Ethernet tile", None)
        transfer = self._memory.start(plan, self._lane)
        await happened(transfer.event)
        self._end_move(transfer, f"send {tensor.name}")
        block = cb.block(len(pages), 1) if tensor.values is not None else None
        number = next(i for i, known in enumerate(self.core.chip.program.tensors) if known is tensor)
        since = began + (self.engine.now - began) // packets  # the first packet is with the router
        run = Packets(port.place, step, link, hops, packets, nbytes, number, tuple(pages), block, self.core.logical)
        room = out.room_from(port.send(run, since), nbytes, packets)
        if room > self.engine.now:
            await self._sleep(room, "the Ethernet link")
            self._spent_on(ETHERNET)

    def signal(self, name: str, step: int, link: int, hops: int, core: tuple[int, int]) -> None:
        """Raise semaphore `name` of `core` on the next `hops` chips, after all that this link has sent; does not wait."""
        self._port.signal(Signal(self._port.place, step, link, hops, name, core))

    @property
    def _port(self) -> Port:
        port = self.core.chip.port
        if port is None:
            raise SimulationError(f"{self.core.label}: this chip has no neighbours; give a Fabric of several chips")
        return port

    async def _sleep(self, until: int, what: str) -> None:
        event = self.engine.event()
        self.engine.happen(event, until)
        self._block(lambda: what, None)
        await happened(event)

    async def _spend(self, name: str, cycles: int) -> None:
        """Be busy for a while."""
        if cycles:
            await self._sleep(self.engine.now + cycles, "its own work")
            self._spent_on(name)

    # -- tiles made here ------------------------------------------------------------------------------------

    def fill(self, cb: CircularBuffer, tiles: int, block: Values | None) -> None:
        """Write `tiles` generated tiles, [rows, 32, cols, 32], into reserved space; their cycles are not modelled."""
        cb.write(tiles, block if self.values else None)

    # -- semaphores ---------------------------------------------------------------------------------------

    async def semaphore_wait(self, name: str, value: int) -> None:
        """Wait until this core's semaphore `name` is at least `value`."""
        semaphore = self.core.semaphores[name]
        while semaphore.value < value:
            self._block(lambda: f"semaphore {name} to reach {value}; it is {semaphore.value}", None)
            await happened(semaphore.next_change())
        self._spent_on(Cause("semaphore", name))

    def semaphore_set(self, name: str, value: int) -> None:
        """Give this core's semaphore `name` a value."""
        self.core.semaphores[name].set(value)

    def semaphore_increase(self, target: tuple[int, int], name: str, by: int = 1) -> None:
        """Raise semaphore `name` of core `target` over the NoC; does not wait."""
        chip, there = self.core.chip, self._other(target)
        travel = chip.memory.routes.nocs[self.noc].one_way(self.core.node, there.node) + chip.machine.chip.noc.semaphore_cycles
        self.engine.at(self.engine.now + travel, there.semaphores[name].increase, by)

    # -- inside -------------------------------------------------------------------------------------------

    def _start(self, verb: Direction, tensor: Tensor, pages: Sequence[int], barrier: int, answered: bool = False) -> Transfer:
        plan = self._memory.routes.plan(verb, self.noc, self.core.node, tensor, pages, barrier, answered)
        self._block(lambda: f"the NoC, to {verb} {tensor.name}", None)
        return self._memory.start(plan, self._lane)

    def _end_move(self, transfer: Transfer, what: str) -> None:
        """Say where the cycles of a transfer went: its issue, then the waits of its bursts."""
        left = self.engine.now - self.idle_from
        issue = transfer.plan.issue
        bank, link = transfer.queued_bank, transfer.queued_link
        if issue + bank + link > left:  # the last tile's waits, of which other tiles' issue may be part
            issue = min(issue, left)
            bank = min(bank, left - issue)
            link = min(link, left - issue - bank)
        self._spent((what, issue), (BANK, bank), (LINK, link), (LATENCY, left - issue - bank - link))

    def _spent_on(self, what: What) -> None:
        """Say what all cycles since the last verb's end went to."""
        self._spent((what, self.engine.now - self.idle_from))

    def _spent(self, *parts: tuple[What, int]) -> None:
        """Say where the cycles since the last verb's end went, one thing after the other."""
        start, self.idle_from = self.idle_from, self.engine.now
        for what, cycles in parts:
            if cycles and type(what) is Cause:
                self.waits[what] += cycles
        if self._zones:
            self.trace.tile(self._lane, start, *parts)

    def _other(self, target: tuple[int, int]) -> Core:
        chip = self.core.chip
        if target not in chip.cores:
            raise SimulationError(f"{self.core.label}: there is no core {target}; the program's grid is {chip.program.grid}")
        return chip.cores[target]

    def _check_end(self, cb: CircularBuffer, owner: Role, verb: str) -> None:
        if owner != self.role:
            raise SimulationError(f"{cb.label}: {verb} by the {self.role}; this end belongs to the {owner}")

    def _check_written(self, tensor: Tensor, pages: Sequence[int]) -> None:
        written = self.core.chip.written(tensor)
        here = [p for p in pages if p < tensor.pages and not written[p]]
        if here:
            raise SimulationError(f"read of page {here[0]} of {tensor.name}, which nothing has written yet")

    def _gather(self, tensor: Tensor, pages: Sequence[int], rows: int, cols: int) -> Values:
        tiles = tensor.tiles
        assert tiles is not None
        first = pages[0] // tensor.tile_cols
        full = len(pages) // cols
        if (
            isinstance(pages, range)
            and cols == tensor.tile_cols
            and pages[0] % cols == 0
            and pages[-1] < tensor.pages
            and full == rows
        ):
            view = tiles[first : first + rows]
            return view.copy() if tensor.output else view  # nobody writes to what is no output
        block = np.zeros((rows, TILE, cols, TILE), np.float32)
        page = np.asarray(pages).reshape(full, cols)
        inside = page < tensor.pages
        r, c = np.nonzero(inside)
        block[r, :, c, :] = tiles[page[inside] // tensor.tile_cols, :, page[inside] % tensor.tile_cols, :]
        return block

    def _block(self, what: Callable[[], str], owner: Role | None) -> None:
        if self.task is not None:
            self.task.blocked = what
            self.task.waits_for = self._peers[owner] if owner else ""
