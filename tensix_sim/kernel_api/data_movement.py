"""Verbs of the data-movement RISCs: NCRISC (reader) and BRISC (writer), on NoC 0 and NoC 1 if a program has no other wish.

A kernel asks in program order, and its RISC does it at the clock of the chip. A verb that may have to wait is awaited.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from tensix_sim.formats import TILE, Values
from tensix_sim.hw.authors import Author
from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.ethernet import Packets, Port, Signal, check_target
from tensix_sim.hw.hardware import BATCH
from tensix_sim.hw.riscs import (
    MOVE,
    NOTE,
    POP,
    PUSH,
    RESERVE,
    SEMAPHORE_INCREASE,
    SEMAPHORE_SET,
    SEMAPHORE_WAIT,
    SEND,
    SIGNAL,
    SPEND,
    WAIT,
)
from tensix_sim.hw.routes import Direction, Plan
from tensix_sim.hw.semaphore import Semaphore
from tensix_sim.hw.tasks import caller
from tensix_sim.kernel_api.context import Context
from tensix_sim.program import RISC_OF, Role, Tensor
from tensix_sim.trace.causes import Cause


class DataMovement(Context):
    """What a reader or writer kernel can do on its core."""

    def __init__(self, core: Core, role: Role, noc: int, ethernet: bool = False) -> None:
        chip = core.chip
        super().__init__(core, role, chip.trace.lanes_of(core.logical, RISC_OF[role]))
        self.noc = noc
        self.ethernet = ethernet
        self._hardware = chip.hardware
        self._hardware.senders += ethernet
        self._mux: tuple[Core, int] | None = None  # to which it is connected, and the slots that it has there
        self._senders: set[str] = set()  # memories on the way to or from which this kernel has sent data
        self._moves: dict[object, int] = {}
        self._semaphore = cache(self._learn_semaphore)
        self._words: dict[int, list[Sequence[int]]] = {}  # of tiles that it read and has not popped, by buffer
        self._raise = cache(self._learn_raise)

    @property
    def clocks(self) -> tuple[int, ...]:
        """Where its RISC is in time."""
        return (self._hardware.now,)

    @property
    def end(self) -> int:
        """Cycle at which the kernel's last verb ended."""
        return int(self.queue.risc["idle_from"])

    @property
    def waits(self) -> Counter[Cause]:
        """Cycles for which the RISC waited, by cause."""
        return self._hardware.waits(self.queue.place)

    def cbs(self, *names: str) -> tuple[CircularBuffer, ...]:
        """Circular buffers of this core by name."""
        return self.core.cbs(names)

    async def finish(self) -> None:
        """Suspend the kernel, which has given all that it has, until all is done."""
        await super().finish()
        self._hardware.senders -= self.ethernet

    # -- circular buffers -------------------------------------------------------------------------------

    async def reserve(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are free, then take them for writing."""
        self._given.append(self._handshake(RESERVE, cb, tiles))
        if self.watched:
            await self._until_space(cb, tiles)
            cb.reserved, cb.reserved_by = tiles, (self.history, self.history.acts)
        if len(self._given) >= BATCH:
            await self._until_room()

    def push(self, cb: CircularBuffer, tiles: int) -> None:
        """Hand `tiles` written tiles to the consumer."""
        self._given.append(self._handshake(PUSH, cb, tiles))
        if self.watched:
            cb.push_written(tiles)
            cb.pushes.tell(self.history, caller())

    async def wait(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are there."""
        self._given.append(self._handshake(WAIT, cb, tiles))
        if self.watched:
            await self._until_front(cb, tiles)
        if len(self._given) >= BATCH:
            await self._until_room()

    def pop(self, cb: CircularBuffer, tiles: int) -> None:
        """Give `tiles` tiles back to the producer."""
        self._given.append(self._handshake(POP, cb, tiles))
        if cb.index in self._words:
            del self._words[cb.index][:tiles]
        if self.watched:
            cb.pop(tiles)
            cb.pops.tell(self.history, caller())

    # -- memory -----------------------------------------------------------------------------------------

    async def read(
        self,
        tensor: Tensor,
        pages: Sequence[int],
        into: CircularBuffer,
        shape: tuple[int, int],
        barrier: int = 0,
        transpose: bool = False,
        columns: int = 0,
        looked_up: bool = False,
    ) -> None:
        """Read `pages` of `tensor` into the reserved tiles of `into`, row by row of a grid of `shape` tiles.

        At most `barrier` reads are in flight (0: all of them). With `transpose` the grid lies in L1 by columns,
        while each tile stays as it is. Fewer pages than tiles: the last rows are zero-filled, and columns beyond the
        first `columns` (0: all), of which `pages` are then. Pages beyond the tensor's end read as zeros, in the time of a real
        read. With `looked_up` the RISC looks at each page by itself, which takes `page_cycles` more.
        """
        key = tensor, self._hardware.routes.banks(tensor, pages), into, shape, barrier, looked_up
        number = self._moves.get(key)
        if number is None or (pages[0] if type(pages) is range else min(pages)) < 0:
            number = self._learn_read(key, tensor, pages, into, (shape[0], columns or shape[1]), barrier, looked_up)
        if tensor.output and (self.watched or not tensor.scratch):
            self._check_written(tensor, pages, Author(self.history, caller()))
        self._given.append(number)
        if tensor.words:
            self._words.setdefault(into.index, []).extend(tensor.words[page] for page in pages)
        if self.watched:
            rows, cols = shape
            block = self._gather(tensor, pages, rows, columns or cols) if tensor.values is not None else None
            if block is not None and 0 < columns < cols:
                block = np.pad(block, ((0, 0), (0, 0), (0, cols - columns), (0, 0)))
            into.write(rows * cols, block.transpose(2, 1, 0, 3) if transpose and block is not None else block)
        if len(self._given) >= BATCH:
            await self._until_room()

    def _learn_read(
        self,
        key: object,
        tensor: Tensor,
        pages: Sequence[int],
        into: CircularBuffer,
        shape: tuple[int, int],
        barrier: int,
        looked_up: bool,
    ) -> int:
        rows, cols = shape
        if not pages or len(pages) % cols or len(pages) > rows * cols:
            raise SimulationError(
                f"read of {len(pages)} pages of {tensor.name} into {rows}x{cols} tiles; whole rows, at most {rows}, fit"
            )
        if into.spec.format is not tensor.format:
            raise SimulationError(
                f"{into.label}: read of {tensor.format.name} tiles of {tensor.name} into a buffer of {into.spec.format.name}"
            )
        if min(pages) < 0:
            raise SimulationError(f"read of page {min(pages)} of {tensor.name}; pages count from 0")
        find, in_flight = self._plan("read", tensor, pages, barrier, looked_up=looked_up), min(barrier or len(pages), len(pages))
        return self._learn_move(key, MOVE, f"read {tensor.name}", tensor.memory, find, in_flight)

    def words(self, cb: CircularBuffer) -> Sequence[int]:
        """The integers in the front tile of a buffer that this kernel fills from a tensor of `words` and pops itself.

        Raises:
            SimulationError: it has read none.
        """
        self._check_end(cb, cb.spec.consumer, "look")
        if not self._words.get(cb.index) or (self.watched and not cb.front):
            raise SimulationError(f"{cb.label}: a look at the front tile; none with words has been read and pushed")
        return self._words[cb.index][0]

    async def write(
        self,
        cb: CircularBuffer,
        tensor: Tensor,
        pages: Sequence[int],
        shape: tuple[int, int],
        barrier: int = 0,
        answered: bool = False,
        part: tuple[int, int] | None = None,
    ) -> None:
        """Write the front tiles of `cb`, a grid of `shape` tiles, to `pages` of `tensor`, and wait for the acknowledgements.

        After each `barrier` writes (0: none) they are flushed, or with `answered` their acknowledgements waited for. With
        `part` only the first so many rows and columns are written, of which `pages` are then.
        """
        rows, cols = part or shape
        if self.watched:
            cb.check_front(shape[0] * shape[1])
        if rows * cols != len(pages) or not len(pages) or rows > shape[0] or cols > shape[1]:
            raise SimulationError(
                f"{cb.label}: write of {rows}x{cols} tiles to {len(pages)} pages of {tensor.name}; "
                "the numbers must agree, and be at least 1"
            )
        check_target(tensor, pages)
        key = tensor, self._hardware.routes.banks(tensor, pages), barrier, answered
        number = self._moves.get(key)
        if number is None:
            find, in_flight = self._plan("write", tensor, pages, barrier, answered=answered), len(pages)
            number = self._learn_move(key, MOVE, f"write {tensor.name}", "l1", find, in_flight)
        self._given.append(number)
        block = cb.block(*shape) if tensor.tiles is not None else None
        if block is not None and block.shape[3] < TILE:
            raise SimulationError(f"{cb.label}: write of a column, of whose tiles only column 0 is known; write whole tiles")
        held = block if block is None else block[:rows, :, :cols]
        author = Author(self.history, caller()) if self.watched else None
        self.core.chip.store(tensor, pages, held, author, self.queue)
        self.core.chip.on_write(len(pages))
        if len(self._given) >= BATCH:
            await self._until_room()

    async def forward(self, cb: CircularBuffer, tiles: int, target: tuple[int, int]) -> None:
        """Copy the `tiles` tiles written to `cb` last, before their push, to the same buffer of core `target`.

        That core must have reserved them; there they count as written. Waits until they have left this core (a flush),
        which is taken to be when the last has arrived: what follows, such as a semaphore's increase, gets there after them.
        """
        key = cb, target, tiles
        number = self._moves.get(key)
        if number is None:
            there, nbytes = self._other(target), tiles * cb.spec.format.tile_bytes
            forward = self._into((there,), cb, tiles)
            number = self._moves[key] = self._copy(MOVE, f"forward {cb.spec.name}", there.node, nbytes, **forward)
        await self._forward(number, cb, tiles, (target,))

    async def multicast(self, cb: CircularBuffer, tiles: int, targets: tuple[tuple[int, int], ...]) -> None:
        """The same to several cores at once: every link on the way to some of them carries the tiles once."""
        key = cb, targets, tiles
        number = self._moves.get(key)
        if number is None:
            others = [self._other(target) for target in targets]
            nodes, nbytes = tuple(other.node for other in others), tiles * cb.spec.format.tile_bytes
            find = partial(self._hardware.routes.multicast_plan, self.noc, self.core.node, nodes, nbytes)
            in_flight, into = self._hardware.routes.pieces(nbytes, 1), self._into(others, cb, tiles)
            number = self._learn_move(key, MOVE, f"multicast {cb.spec.name}", "l1", find, in_flight, **into)
        await self._forward(number, cb, tiles, targets)

    def _into(self, others: Sequence[Core], cb: CircularBuffer, tiles: int) -> dict[str, int]:
        """Fields of a copy into the same buffer of other cores."""
        first, end = self._hardware.numbers(*(other.buffers + cb.index for other in others))
        return {"forward": 1, "targets": first, "targets_end": end, "tiles": tiles}

    async def _forward(self, number: int, cb: CircularBuffer, tiles: int, targets: tuple[tuple[int, int], ...]) -> None:
        self._given.append(number)
        if self.watched:
            cb.check_written(tiles)
            for target in targets:
                (there,) = self._other(target).cbs((cb.spec.name,))
                there.check_reserved(self.history)
                there.write(tiles, cb.values.blocks[-1] if self.values else None)
            self.queue.places[number] = f"{self._label} at {self._here()}"
        if len(self._given) >= BATCH:
            await self._until_room()

    # -- other chips --------------------------------------------------------------------------------------

    async def connect(self, mux: tuple[int, int] | None = None, slots: int = 1) -> None:
        """Open, or close, the connections to the Ethernet routers, or to a core `mux` that hands on what its workers send.

        There this kernel has so many slots of a packet each; one is free again when its packet has left for the router.
        """
        self._mux = None if mux is None else (self._other(mux), slots)
        self._give(SPEND, name=self._named("connect"), cycles=self.core.chip.machine.chip.ethernet.connect_cycles)
        if len(self._given) >= BATCH:
            await self._until_room()

    async def send(
        self, cb: CircularBuffer, tensor: Tensor, pages: Sequence[int], step: int, link: int, hops: int, packet_tiles: int = 1
    ) -> None:
        """Send the front tiles of `cb`, one for each of `pages`, to the next `hops` chips in direction `step` (1 or -1).

        They go in packets of `packet_tiles`. Each chip writes the tiles to the same pages of its own tensor in the place of
        `tensor` in its program. Waits until all are with the router of this chip's link number `link`, or in the mux.
        """
        port = self._port
        if self.watched:
            cb.check_front(len(pages))
        nbytes, packets = len(pages) * cb.spec.format.tile_bytes, -(-len(pages) // packet_tiles)
        port.link_of(step, link)
        if not len(pages):
            raise SimulationError(f"{cb.label}: send of 0 tiles to {tensor.name}; at least 1")
        self.core.chip.written(tensor)
        block = cb.block(len(pages), 1) if tensor.values is not None else None
        number, author = self.core.chip.program.tensors.index(tensor), Author(self.history, caller()) if self.watched else None
        for there in port.ahead(step, hops, f"{len(pages)} tiles of {cb.spec.name}"):
            there.store(number, pages, block, author)
        held = pages if isinstance(pages, range) else tuple(pages)
        run = Packets(port.place, step, link, hops, packets, nbytes, number, held, self.core.logical)
        mux, node = self._mux, port.endpoint(step, link) if self._mux is None else self._mux[0].node
        self._given.append(self._copy(SEND, f"send {tensor.name}", node, nbytes, packets))
        self.queue.told.append(lambda: self._sent(run, mux))
        if len(self._given) >= BATCH:
            await self._until_room()

    def _sent(self, run: Packets, mux: tuple[Core, int] | None) -> None:
        """The packets are with the router, or in a mux: let it send them, and hold the RISC until there is room for all."""
        risc, now, through = self.queue.risc, self._hardware.now, self._in_mux(mux)
        since = int(risc["began"]) + (now - int(risc["began"])) // run.number + through  # the first packet is with the router
        slots = 1 if mux is None else mux[1]
        now += through * -(-run.number // slots)
        last = self._port.send(run, since, now)
        room = self._port.link_of(run.step, run.link).room_from(last, run.nbytes, run.number)
        risc["until"] = room if mux is None else max(room, now - through * (slots - 1) // slots)

    def _in_mux(self, mux: tuple[Core, int] | None) -> int:
        """Cycles until a packet has left a mux."""
        return 0 if mux is None else self._port.spec.mux_cycles

    def signal(self, name: str, step: int, link: int, hops: int, core: tuple[int, int]) -> None:
        """Raise semaphore `name` of `core` on the next `hops` chips, after all that this link has sent; does not wait."""
        port = self._port
        port.link_of(step, link)
        raised = [there.semaphore(name, core) for there in port.ahead(step, hops, f"semaphore {name}")]
        signal, mux = Signal(port.place, step, link, hops, name, core, self.core.logical), self._mux
        self._tell(SIGNAL, lambda: port.signal(signal, self._hardware.now + self._in_mux(mux)))
        for semaphore in raised if self.watched else ():
            semaphore.increase(1, self.history, self._here())

    @property
    def _port(self) -> Port:
        port = self.core.chip.port
        if port is None:
            raise SimulationError(f"{self.core.label}: this chip has no neighbours; give a Fabric of several chips")
        if not self.ethernet:
            raise SimulationError(
                f"{self._label} is not connected to the Ethernet routers: its program needs Kernel(..., ethernet=True)"
            )
        return port

    # -- tiles made here ------------------------------------------------------------------------------------

    def fill(self, cb: CircularBuffer, tiles: int, block: Values | None) -> None:
        """Write `tiles` generated tiles, [rows, 32, cols, 32], into reserved space; their cycles are not modelled.

        Of tiles of which only column 0 is known the last two sides are 1.

        Raises:
            SimulationError: the block has another shape.
        """
        if block is not None and (block.ndim != 4 or (block.shape[1::2] != (TILE, TILE) and block.shape[1:] != (TILE, 1, 1))):
            raise SimulationError(
                f"{cb.label}: filled with an array of shape {block.shape}; tiles are [rows, 32, columns, 32], so that "
                f"{tiles} in a row are {(1, TILE, tiles, TILE)}: array.reshape(rows, 32, columns, 32)"
            )
        if self.watched:
            cb.write(tiles, block if self.values else None)

    # -- semaphores ---------------------------------------------------------------------------------------

    async def semaphore_wait(self, name: str, value: int) -> None:
        """Wait until this core's semaphore `name` is at least `value`."""
        number, semaphore = self._semaphore(SEMAPHORE_WAIT, self.core, name, value)
        self._given.append(number)
        if self.watched:
            await self._until_value(semaphore, name, value)
        if len(self._given) >= BATCH:
            await self._until_room()

    def semaphore_set(self, name: str, value: int) -> None:
        """Give this core's semaphore `name` a value."""
        number, semaphore = self._semaphore(SEMAPHORE_SET, self.core, name, value)
        self._given.append(number)
        if self.watched:
            semaphore.set(value, self.history, self._here())

    def semaphore_increase(self, target: tuple[int, int], name: str, by: int = 1) -> None:
        """Raise semaphore `name` of core `target` over the NoC; does not wait."""
        self.semaphore_multicast((target,), name, by)

    def semaphore_multicast(self, targets: tuple[tuple[int, int], ...], name: str, by: int = 1) -> None:
        """Raise semaphore `name` of several cores at once; does not wait."""
        if by < 1:
            raise SimulationError(f"{self.core.label}: semaphore {name} raised by {by}; by at least 1")
        number, semaphores = self._raise(targets, name, by)
        self._given.append(number)
        for semaphore in semaphores if self.watched else ():
            semaphore.increase(by, self.history, self._here())

    def _learn_semaphore(self, kind: int, core: Core, name: str, value: int) -> tuple[int, Semaphore]:
        """The number of an operation on a semaphore of a core, and the semaphore."""
        semaphore = core.semaphore(name)
        return self._operation(kind, semaphore=semaphore.place, value=value), semaphore

    def _learn_raise(self, targets: tuple[tuple[int, int], ...], name: str, by: int) -> tuple[int, list[Semaphore]]:
        """The number of an operation that raises a semaphore of some cores, and those semaphores."""
        routes, others = self._hardware.routes, [self._other(target) for target in targets]
        noc, poll = routes.nocs[self.noc], routes.spec.semaphore_cycles
        semaphores = [other.semaphore(name) for other in others]
        travel = [noc.one_way(self.core.node, other.node) + poll for other in others]
        pairs = (number for pair in zip((one.place for one in semaphores), travel, strict=True) for number in pair)
        first, end = self._hardware.numbers(*pairs)
        return self._operation(SEMAPHORE_INCREASE, value=by, raises=first, raises_end=end), semaphores

    # -- inside -------------------------------------------------------------------------------------------

    def _plan(self, direction: Direction, tensor: Tensor, pages: Sequence[int], barrier: int, **more: bool) -> Callable[[], Plan]:
        """What plans a read or write."""
        return partial(self._hardware.routes.plan, direction, self.noc, self.core.node, tensor, pages, barrier, **more)

    def _copy(self, kind: int, what: str, node: tuple[int, int], nbytes: int, parts: int = 1, **more: int) -> int:
        """The number of an operation that copies what the RISC has to another L1, or to an Ethernet tile."""
        key = kind, what, node, nbytes, parts
        number = self._moves.get(key)
        if number is None:
            find = partial(self._hardware.routes.copy_plan, self.noc, self.core.node, node, nbytes, parts)
            number = self._learn_move(key, kind, what, "l1", find, self._hardware.routes.pieces(nbytes, parts), **more)
        return number

    def _learn_move(
        self, key: object, kind: int, what: str, senders: str, find: Callable[[], Plan], in_flight: int, **more: int
    ) -> int:
        """The number of a move that this kernel has not done before; of whose senders the routes learn when it begins."""
        if senders not in self._senders:
            self._senders.add(senders)
            self._tell(NOTE, lambda: self._hardware.learn(self.noc, senders))
        known = self._hardware.routes.knows(self.noc, senders)
        number = self._moves[key] = self._hardware.move(kind, find, known, name=self._named(what), **more)
        self.queue.expect(in_flight)
        return number

    def _other(self, target: tuple[int, int]) -> Core:
        chip = self.core.chip
        if target not in chip.cores:
            raise SimulationError(f"{self.core.label}: there is no core {target}; the program's grid is {chip.program.grid}")
        return chip.cores[target]

    def _check_written(self, tensor: Tensor, pages: Sequence[int], by: Author) -> None:
        chip, page = self.core.chip, np.asarray(pages)
        page = page[page < tensor.pages]
        blank = ~chip.written(tensor)[page]
        if blank.any():
            raise SimulationError(f"{by}: read of page {page[blank.argmax()]} of {tensor.name}, which nothing has written yet")
        if self.watched:
            chip.check_heard(tensor, page, by)
        self._tell(NOTE, chip.landing(tensor, page, by))

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
