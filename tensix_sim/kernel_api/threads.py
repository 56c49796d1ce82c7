"""The three threads of a compute kernel at work: operations, the tiles and the space they wait for, what they hand over."""

from collections.abc import Callable

from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import DeadlockError, SimulationError, Task, happened
from tensix_sim.hw.tensix import Outcome
from tensix_sim.kernel_api.verb import Operation
from tensix_sim.program import RISC_OF, Role
from tensix_sim.trace.causes import DST, MATH, PACK, UNPACK, What


class Threads:
    """Unpack, math and pack of one core, ahead of the engine's clock; they meet it where a reader or writer can see."""

    def __init__(self, core: Core) -> None:
        chip = core.chip
        self.core = core
        self.engine = chip.engine
        self.tensix = core.tensix
        self.task: Task | None = None
        self._spec = chip.costs.spec
        self._visible = self._spec.cb_visible_cycles
        self._trace = chip.trace
        self._zones = chip.trace.zones
        self._lanes = [chip.trace.lane(core.logical, f"TRISC_{i}") for i in range(3)] if self._zones else []

    async def run(self, op: Operation) -> None:
        """Wait for the tiles and the space of `op`, run its windows, and hand over what they make."""
        tensix = self.tensix
        block, source, inputs, needs, out, count, pushed, early, changed, changed_tiles, renewed, older = op
        setup = block.setup
        for cb, tiles in inputs:
            if cb.received - cb.popped < tiles:
                await self._pushed(cb, tiles)
            if cb.settled > tensix.unpack + setup:
                self._see(cb, tiles, setup)
        ready, space = block.no_wait, 0
        if needs:
            if source.received - source.popped < needs[-1]:
                await self._pushed(source, needs[-1])
            if source.settled > tensix.unpack:
                ready = source.arrivals(needs, tensix.unpack)
        if out is not None and out.tiles - out.pushed + out.acked < count:
            space = max(0, await self._freed(out, count) - tensix.unpack)
        start = tensix.unpack
        before = (start, tensix.math, tensix.pack) if self._zones else (0, 0, 0)
        outcome = tensix.run(block, ready, space)
        packed = outcome.packed
        if changed is not None:
            changed.rewrite(changed_tiles, start, packed[renewed], self._visible, older)
        if out is not None:
            times = packed[pushed] if early is None else (max(packed[early[0]], packed[-1] - early[1]),)
            out.push(count, start, times, self._visible)
        if outcome.unpack_tiles:
            tensix.waits[source.wait_tiles] += outcome.unpack_tiles
        if outcome.pack_space and out is not None:
            tensix.waits[out.wait_space] += outcome.pack_space
        if self._zones:
            self._trace_block(block.name, outcome, before, source, out or source)

    # -- circular buffers -----------------------------------------------------------------------------------

    async def wait(self, cb: CircularBuffer, tiles: int) -> None:
        """Hold the unpacker until it can see `tiles` tiles."""
        check_consumer(cb, "wait")
        if cb.front < tiles:
            await self._pushed(cb, tiles)
        self._see(cb, tiles)

    async def reserve(self, cb: CircularBuffer, tiles: int) -> None:
        """Hold the packer until `tiles` tiles are free."""
        check_producer(cb)
        tensix = self.tensix
        if cb.tiles - cb.pushed + cb.acked < tiles:
            since = await self._freed(cb, tiles)
            if since > tensix.pack:
                tensix.waits[cb.wait_space] += since - tensix.pack
                if self._zones:
                    self._span(2, cb.wait_space, tensix.pack, since)
                tensix.pack = since
        self.spend_on_pack("reserve", self._spec.cb_wait_cycles)

    def push(self, cb: CircularBuffer, tiles: int) -> None:
        """Hand `tiles` tiles over when the packer has packed what was issued so far."""
        check_producer(cb)
        if cb.space < tiles:
            raise SimulationError(f"{cb.label}: push of {tiles} tiles; {cb.space} are free")
        self.spend_on_pack("push", self._spec.cb_update_cycles)
        cb.push(tiles, self.tensix.pack, (0,), self._visible)

    def pop(self, cb: CircularBuffer, tiles: int) -> None:
        """Give `tiles` tiles back when the unpacker has read what was issued so far."""
        check_consumer(cb, "pop")
        tensix, cycles = self.tensix, self._spec.cb_update_cycles
        tensix.unpack += cycles
        tensix.popping += cycles
        cb.pop(tiles, tensix.unpack)
        if self._zones:
            self._trace.tile(self._lanes[0], tensix.unpack - cycles, ("pop", cycles))

    # -- threads ----------------------------------------------------------------------------------------------

    def spend_on_pack(self, name: str, cycles: int, sfpu: int = 0) -> None:
        """Work of the pack thread outside windows; `sfpu` of its cycles are the vector unit's."""
        tensix = self.tensix
        tensix.pack += cycles
        tensix.extra["pack_busy"] += cycles
        if sfpu:
            tensix.extra["sfpu"] += sfpu
        if self._zones:
            self._span(2, name, tensix.pack - cycles, tensix.pack)

    def hand_over(self) -> None:
        """Hold the unpacker until all that was issued so far is packed, by a semaphore from pack to unpack."""
        tensix = self.tensix
        packed = tensix.pack + self._spec.dst_handshake_cycles
        if packed > tensix.unpack:
            tensix.extra["unpack_pack"] += packed - tensix.unpack
            if self._zones:
                self._span(0, PACK, tensix.unpack, packed)
            tensix.unpack = packed

    # -- inside ---------------------------------------------------------------------------------------------

    def _see(self, cb: CircularBuffer, tiles: int, setup: int = 0) -> None:
        """Hold the unpacker until it can see the first `tiles` tiles of `cb`, which have been pushed, `setup` cycles later."""
        tensix = self.tensix
        arrival = cb.visible_at(tiles) - setup
        if arrival > tensix.unpack:
            tensix.waits[cb.wait_tiles] += arrival - tensix.unpack
            if self._zones:
                self._span(0, cb.wait_tiles, tensix.unpack, arrival)
            tensix.unpack = arrival

    async def _pushed(self, cb: CircularBuffer, tiles: int) -> None:
        """Suspend the kernel until `tiles` tiles have been pushed."""
        cb.check_request(tiles, "wait for")
        self._block_on(cb, lambda: f"{tiles} tiles in {cb.spec.name}, which has {cb.front}", cb.spec.producer)
        while cb.front < tiles:
            await happened(cb.pushes.next())

    async def _freed(self, cb: CircularBuffer, tiles: int) -> int:
        """Suspend the kernel until `tiles` tiles are free; the cycle from which they are."""
        cb.check_request(tiles, "reserve of")
        why = f"space for {tiles} tiles in {cb.spec.name}, which has {cb.space} of {cb.spec.tiles} free"
        self._block_on(cb, lambda: why, cb.spec.consumer)
        while cb.space < tiles:
            await happened(cb.pops.next())
        return self.engine.now

    def _block_on(self, cb: CircularBuffer, what: Callable[[], str], other: Role) -> None:
        """Tell the engine what this kernel waits for, and from whom."""
        if not cb.shared:
            raise DeadlockError(
                f"{self.core.label} TRISC waits for itself: {what()}, and only the compute kernel can change that"
            )
        if self.task is not None:
            self.task.blocked = what
            self.task.waits_for = f"{self.core.label} {RISC_OF[other]}"

    def _trace_block(
        self, name: str, outcome: Outcome, before: tuple[int, int, int], source: CircularBuffer, out: CircularBuffer
    ) -> None:
        tensix, tile, (t0, t1, t2) = self.tensix, self._trace.tile, self._lanes
        unpack, math, pack = before
        tile(
            t0, unpack, (source.wait_tiles, outcome.unpack_tiles), (PACK, outcome.unpack_pack),
            (MATH, outcome.unpack_src), (name, outcome.unpack_busy),
        )  # fmt: skip
        waited = tensix.math - math - outcome.math_dst - outcome.math_busy
        tile(t1, math, (UNPACK, waited), (DST, outcome.math_dst), (name, outcome.math_busy))
        waited = tensix.pack - pack - outcome.pack_space - outcome.pack_busy
        tile(t2, pack, (MATH, waited), (out.wait_space, outcome.pack_space), (name, outcome.pack_busy))

    def _span(self, lane: int, what: What, start: int, end: int) -> None:
        if end > start:
            self._trace.span(self._lanes[lane], self._trace.name(what), start, end)


def check_consumer(cb: CircularBuffer, verb: str) -> None:
    """Only the consumer may wait and pop."""
    if cb.spec.consumer != "compute":
        raise SimulationError(f"{cb.label}: {verb} by the compute kernel; this end belongs to the {cb.spec.consumer}")


def check_producer(cb: CircularBuffer) -> None:
    """Only the producer may reserve and push."""
    if cb.spec.producer != "compute":
        raise SimulationError(f"{cb.label}: reserve by the compute kernel; this end belongs to the {cb.spec.producer}")
