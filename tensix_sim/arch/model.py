"""The machine as data: frozen, validated models with one field for each number.

Coordinates are NoC 0 ``(x, y)``; both networks use them. A cycle is one of the chip's clock (AICLK).
The numbers themselves, each beside its source, are in `wormhole_b0`, `blackhole` and `boards`.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StrictBool,
    model_validator,
)

from tensix_sim.text import near

Coord = tuple[int, int]
Lines = tuple[NonNegativeInt, ...]  # columns or rows of the NoC grid
Count = PositiveInt
Bytes = PositiveInt
Rate = PositiveFloat  # bytes per cycle
Portion = Annotated[float, Field(gt=0, le=1)]
CycleCount = NonNegativeInt
Seed = Annotated[int, Field(ge=0, lt=128)]  # 7 bits of a fraction
MeanCycles = NonNegativeFloat  # an average over many, hence not whole


class UnknownNameError(KeyError):
    """A name that does not exist; the message has the nearest ones that do."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message quoted


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Make the error to raise where `name` is none of `known`; it shows the nearest of them."""
    return UnknownNameError(f"unknown {what} {name!r}; nearest: {near(name, known)}")


class Frozen(BaseModel):
    """A validated record that cannot change; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class L1(Frozen):
    """Worker SRAM. Circular buffers grow up from `base`, L1 tensors down from `limit`."""

    size: Bytes
    base: Bytes  # first address that a program may use
    reserved: NonNegativeInt  # bytes at the top that others hold: tensors of the model, a prefetcher's buffer
    circular_buffers: Count  # most that one core can have

    @property
    def limit(self) -> int:
        """Address at which what a program may use ends."""
        return self.size - self.reserved

    @model_validator(mode="after")
    def _base_is_inside(self) -> Self:
        if self.base >= self.limit:
            reserved = f", {self.reserved} of them reserved" if self.reserved else ""
            raise ValueError(f"base {self.base} leaves nothing of {self.size} bytes{reserved}")
        return self


class NocSpec(Frozen):
    """Both networks on chip: two unidirectional tori of `columns` x `rows` routers."""

    columns: Count
    rows: Count
    flit_bytes: Bytes
    max_packet_bytes: Bytes  # data, without the header flit
    link_rate: Rate  # router to router
    niu_rate: Rate  # node to router, either way
    router_cycles: CycleCount  # one hop of a header
    round_trip_base: CycleCount  # a request and its response at distance 0
    software_cycles: CycleCount  # of a read, beyond its issue and its round trip: the call and the barrier's poll
    read_issue_cycles: CycleCount  # between two reads of one RISC
    page_cycles: CycleCount  # of a RISC that looks up each page of a block and whether it is there, beyond the issue
    write_issue_cycles: CycleCount  # between two writes of one RISC
    column_read_share: Portion  # of links' rate, for reads whose data go along the banks' columns: on NoC 1
    column_write_share: Portion  # of links' rate, for writes whose data go along the banks' columns: on NoC 0
    multicast_cycles: CycleCount  # to reserve the ways of a multicast, before its first packet leaves
    write_ack_base: CycleCount  # of a write, beyond its issue and its round trip, until the barrier sees the acknowledgement
    buffer_bytes: Bytes  # of a bank's data before a busy link, until the bank must stop
    semaphore_cycles: CycleCount  # of a remote semaphore increase, beyond its way there, until the other RISC sees it


class Dram(Frozen):
    """Interleaved GDDR6: page i of a tensor lies in bank i mod `banks`."""

    banks: Count
    endpoints: tuple[Coord, ...]  # where each bank meets the NoC
    bank_rate: Rate  # of one bank, sustained
    bank_shares: tuple[PositiveFloat, ...] = ()  # of that rate that each bank gives; none named: all of it
    request_cycles: MeanCycles  # a bank accepts one request in this time
    open_rows: Count  # of a bank: as many requests back it remembers where a core reads
    row_miss_cycles: MeanCycles  # lost to open a row for another core
    read_cycles: CycleCount  # a read's latency beyond that of L1
    write_cycles: CycleCount  # a write's, until it is acknowledged
    page_alignment: Bytes
    bank_bytes: Bytes

    @model_validator(mode="after")
    def _one_endpoint_for_each_bank(self) -> Self:
        if len(set(self.endpoints)) != self.banks or len(self.endpoints) != self.banks:
            raise ValueError(f"{self.banks} banks need {self.banks} endpoints, each its own; given {self.endpoints}")
        if self.bank_shares and len(self.bank_shares) != self.banks:
            raise ValueError(f"{self.banks} banks need {self.banks} shares of the rate; given {self.bank_shares}")
        return self

    @property
    def rate(self) -> float:
        """Bytes a cycle that all banks give."""
        return sum(map(self.rate_of, range(self.banks)))

    def rate_of(self, bank: int) -> float:
        """Bytes a cycle that a bank gives."""
        return self.bank_rate * (self.bank_shares[bank] if self.bank_shares else 1.0)


class Ethernet(Frozen):
    """One chip-to-chip link, per direction."""

    endpoints: tuple[Coord, ...]  # NoC positions of the Ethernet tiles
    rate: Rate  # on the wire
    efficiency: PositiveFloat  # share of the wire that is payload
    duplex_rate: Rate  # payload of both directions together
    hop_cycles: CycleCount  # from chip to chip, fabric router included
    packet_bytes: Bytes  # payload of a packet, where nobody says otherwise
    max_packet_bytes: Bytes
    router_slots: Count  # packets that a router holds for a link
    connect_cycles: CycleCount  # of a worker, before its first packet and after its last: connections to the routers
    mux_cycles: CycleCount  # of a packet in a core that hands on what several workers send

    @model_validator(mode="after")
    def _efficiency_is_a_share(self) -> Self:
        if self.efficiency > 1:
            raise ValueError(f"efficiency {self.efficiency} is above 1")
        return self


class TensixSpec(Frozen):
    """Costs of one Tensix core: unpack (T0), math (T1: FPU and SFPU), pack (T2) and the RISCs' hand-shakes.

    A cost is per 32x32 tile where nothing else is said; a *column* is column 0 of a tile, as statistics have it.
    """

    unpack_rate_one: Rate  # one unpacker, the other at rest
    unpack_rate_both: Rate  # each, when both are busy
    unpack_share: Portion  # of these rates that formats of up to 16 bits reach
    unpack_tile_overhead: CycleCount  # instructions of T0: no tile takes less
    source_handshake_cycles: CycleCount  # of a product: from a bank's release to the use of what comes next, its data apart
    mvmul_cycles: CycleCount  # 32x32x32 product, per fidelity phase
    matmul_issue_cycles: CycleCount  # math thread, FPU idle, per 32x32x32 product
    eltwise_cycles: CycleCount  # FPU add or subtract; a multiply takes it in each phase
    eltwise_overhead: CycleCount  # counter instructions around it
    copy_cycles: CycleCount  # tile to DST through SrcA
    copy_fp32_cycles: CycleCount  # tile of float32 to a 32-bit DST
    max_pool_fpu_cycles: CycleCount  # row maximum, FPU busy
    max_pool_cycles: CycleCount  # row maximum, math thread
    max_row_cycles: CycleCount  # row maximum's transpose and store, once per row of tiles, math thread
    max_row_fpu_cycles: CycleCount  # the same, FPU busy
    max_row_fp32_cycles: CycleCount  # `max_row_cycles` with a 32-bit DST
    max_row_fp32_fpu_cycles: CycleCount  # `max_row_fpu_cycles` with a 32-bit DST
    exp_approx_cycles: MeanCycles  # SFPU, fast approximation
    exp_column_cycles: CycleCount  # SFPU, accurate exponential of a column, with a 16-bit DST and exp_approx_mode
    exp_column_exact_cycles: CycleCount  # the same with exp_approx_mode off
    exp_column_fp32_cycles: CycleCount  # the same with a 32-bit DST
    exp_init_cycles: CycleCount  # SFPU, constants of an exponential
    reciprocal_column_cycles: CycleCount  # SFPU, reciprocal of a column
    sfpu_start_cycles: CycleCount  # stall until the FPU is done, then set the DST base
    pack_rate: Rate
    pack_min_cycles: CycleCount  # one row of 16 datums per cycle and packer: no tile takes less
    pack_call_cycles: MeanCycles  # each call of the packer
    pack_hold_share: MeanCycles  # of the packer's time, for which it holds a product's unpackers up at L1
    l1_accumulate_factor: PositiveFloat  # of pack time, when the packer adds to what L1 holds
    accumulate_switch_cycles: CycleCount  # packer's accumulation on and off
    reconfigure_cycles: CycleCount  # new formats for unpackers or packer
    math_init_cycles: CycleCount  # a new operation for the FPU
    dst_handshake_cycles: CycleCount  # math to pack and back, per DST half
    eltwise_halves: Count  # DST halves that element-wise verbs take turns with; products and maxima have both
    cb_wait_cycles: CycleCount  # check a circular buffer's counter, tiles or space being there
    cb_update_cycles: CycleCount  # push or pop: change the counter and the pointer
    cb_visible_cycles: CycleCount  # from a push until another RISC's poll sees it


class NumbersSpec(Frozen):
    """How the arithmetic of a Tensix core differs from chip to chip."""

    ieee_vector_unit: StrictBool  # SFPU: zeros keep their sign and NaN is canonical; without it zeros are +0, NaN leaks
    fp32_dest_fault: StrictBool  # FPU, 32-bit DST: a sum of minus one last bit comes out 2^27 times as large
    reciprocal_seeds: tuple[Seed, ...]  # SFPARECIP: fractions of 1 / x by the upper 7 bits of x's; none: no such instruction

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.reciprocal_seeds) not in (0, 128):
            raise ValueError(f"numbers.reciprocal_seeds: {len(self.reciprocal_seeds)} entries; 128 or none are possible")
        return self


class ChipSpec(Frozen):
    """One architecture."""

    name: str
    clock_hz: Count
    l1: L1
    noc: NocSpec
    dram: Dram
    ethernet: Ethernet
    tensix: TensixSpec
    numbers: NumbersSpec
    worker_columns: Lines
    worker_rows: Lines
    launch_cycles: CycleCount  # from the first core's start of a program to the last one's

    @model_validator(mode="after")
    def _every_node_has_its_place(self) -> Self:
        workers = {(x, y) for x in self.worker_columns for y in self.worker_rows}
        if len(workers) != len(self.worker_columns) * len(self.worker_rows):
            raise ValueError("a worker column or row is listed twice")
        others = {*self.dram.endpoints, *self.ethernet.endpoints}
        if taken := workers & others:
            raise ValueError(f"workers at {sorted(taken)} sit on DRAM or Ethernet endpoints")
        size = self.noc.columns, self.noc.rows
        if outside := {node for node in workers | others if not (0 <= node[0] < size[0] and 0 <= node[1] < size[1])}:
            raise ValueError(f"{sorted(outside)} lie outside the {size[0]}x{size[1]} NoC")
        return self


class Machine(Frozen):
    """One board: its chip, how many of them, and the worker grid that a program may use.

    `grid` is (columns, rows) of logical cores; logical core (x, y) sits on NoC 0 at
    ``(worker_columns[x], worker_rows[y])`` of this board, harvested lines left out.
    """

    board: str
    chip: ChipSpec
    chips: Count
    mesh: tuple[Count, Count]  # rows and columns of chips
    links_per_neighbour: NonNegativeInt  # Ethernet links between two chips side by side
    wraps: bool = False  # whether the last chip of a row or column of the mesh is joined to the first
    grid: tuple[Count, Count]
    worker_columns: Lines
    worker_rows: Lines

    @model_validator(mode="after")
    def _board_fits_its_chip(self) -> Self:
        if self.chips != self.mesh[0] * self.mesh[1]:
            raise ValueError(f"{self.chips} chips do not fill a {self.mesh[0]}x{self.mesh[1]} mesh")
        lines = (
            ("column", self.grid[0], self.worker_columns, self.chip.worker_columns),
            ("row", self.grid[1], self.worker_rows, self.chip.worker_rows),
        )
        for kind, used, here, on_chip in lines:
            if used > len(here):
                raise ValueError(f"a grid of {used} {kind}s; {self.board} has {len(here)} worker {kind}s")
            if len(set(here)) != len(here) or not set(here) <= set(on_chip):
                raise ValueError(f"worker {kind}s {here} are not distinct {kind}s of {self.chip.name}, which has {on_chip}")
        return self

    @property
    def cores(self) -> int:
        """Number of worker cores on one chip."""
        return self.grid[0] * self.grid[1]

    def worker(self, core: Coord) -> Coord:
        """NoC 0 coordinate of logical core (x, y)."""
        return self.worker_columns[core[0]], self.worker_rows[core[1]]

    def override(self, changes: dict[str, Any]) -> "Machine":
        """Make this machine anew with named numbers replaced; a typo is an error.

        A name is a field of the board, or one of the chip with its part before it:
        ``{"grid": [4, 4], "clock_hz": 900_000_000, "dram.bank_rate": 30}``. Fewer ``dram.banks`` drop the last endpoints.

        Raises:
            UnknownNameError: a name that is not a number of the chip or of the board; it is a KeyError.
            ValidationError: a value of the wrong type, or one that does not fit the rest of the machine.

        """
        board = self.model_dump()
        chip = board["chip"]
        holder = {name: chip for name, value in chip.items() if not isinstance(value, dict)}
        holder |= {f"{part}.{name}": fields for part, fields in chip.items() if isinstance(fields, dict) for name in fields}
        holder |= {name: board for name in board if name != "chip"}
        for name, value in changes.items():
            if name not in holder:
                raise unknown_name("number of the machine", name, holder)
            holder[name][name.rpartition(".")[2]] = value
        banks = chip["dram"]["banks"]
        if "dram.endpoints" not in changes and isinstance(banks, int):
            chip["dram"]["endpoints"] = chip["dram"]["endpoints"][: max(banks, 0)]
        return Machine.model_validate(board)
