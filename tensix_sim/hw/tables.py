"""What the compiled loop works on: records of banks, links and transfers, of cores' buffers and threads, their fields by name.

Times of banks and links are in ticks, those of cores in cycles. A *place* is the number of a record in its table, or where a
stretch of `lists` begins.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import jit

_I = np.int64


def _record(fields: list[tuple[Any, ...]]) -> np.dtype[Any]:
    """A row whose fields are attributes, compiled or not (`NUMBA_DISABLE_JIT=1`)."""
    return np.dtype((np.record, fields))


BANK = _record(
    [
        ("free", _I),  # when its work so far ends
        ("busy", _I),  # ticks at work so far
        ("waiting", _I),  # requests in its queue
        ("first", _I),  # request of its queue
        ("last", _I),  # request of its queue
        ("served", _I),  # requests so far
        ("open", _I),  # rows: those of as many requests that it served last
        ("row_miss", _I),  # ticks to open another row
        ("buffer", _I),  # ticks that its data may queue before it stops
    ]
)
IDLE = 2  # with 3, 4 or 12 walls move by no more than 0.3 %
SERVER = _record(  # a link, or a core's own port
    [
        ("free", _I),  # when its work so far ends
        ("busy", _I),  # ticks at work so far
        ("idle", _I, (IDLE, 2)),  # the last times before `free` when it has nothing to do: from, to
    ]
)
ROUTE = _record(  # of one tile between a core and a bank
    [
        ("bank", _I),  # its place
        ("there", _I),  # ticks from the core to the bank's queue
        ("service", _I),  # ticks in the bank's hands
        ("back", _I),  # ticks from then until the core's RISC knows
        ("port", _I),  # place of the core's own server
        ("port_ticks", _I),  # of a tile at the port
        ("links", _I),  # place of the first of its servers in `lists`
        ("links_end", _I),  # place behind the last
        ("link_ticks", _I),  # of a tile at each link
        ("apart", _I),  # its data that wait do not hold up the bank, which others reach by the other NoC
        ("nbytes", _I),  # of a tile
        ("flows", _I),  # place of the first of the flows in `lists` that count its bytes
        ("flows_end", _I),  # place behind the last
        ("served", _I),  # the last of the bank's services that was one of these, counted from 1
    ]
)
MOVE = _record(  # what a transfer moves
    [
        ("writing", _I),  # from the core to the banks
        ("routes", _I),  # place of bank 0's route; those of the other banks follow
        ("banks", _I),  # place of the first tile's bank in `lists`
        ("tiles", _I),  # in all
        ("barrier", _I),  # tiles of a burst
        ("gap", _I),  # ticks between two tiles
        ("answered", _I),  # a write's next burst waits until this one has landed, not only until it has left
        ("uses", _I),  # so far
    ]
)
REQUEST = _record(
    [
        ("transfer", _I),  # that it belongs to
        ("route", _I),  # that it takes
        ("arrived", _I),  # when, at its bank
        ("next", _I),  # request in the bank's queue, or of those not in use
    ]
)
TRANSFER = _record(
    [
        ("move", _I),  # its place
        ("issued", _I),  # tiles so far
        ("in_flight", _I),  # tiles now
        ("sent", _I),  # tiles of a write that left the core
        ("next_at", _I),  # when the RISC has issued the next tile of a write
        ("flushed", _I),  # when the last burst of a write has left
        ("landed", _I),  # when the last tile so far lands
        ("queued_bank", _I),  # ticks that this tile waited at the bank
        ("queued_link", _I),  # ticks that it waited at links
        ("sum_bank", _I),  # `queued_bank` of all bursts
        ("sum_link", _I),  # `queued_link` of all bursts
        ("owner", _I),  # RISC that waits for it, or `~number` of one that Python started
        ("burst", _I),  # cycle at which the burst under way was issued
        ("recorded", _I),  # tiles before that burst
    ]
)
BUFFER = _record(  # a circular buffer of a core
    [
        ("tiles", _I),  # that it holds
        ("shared", _I),  # between two kernels
        ("to_compute", _I),  # whose unpacker reads in the log when it can see a tile
        ("pushed", _I),  # by its producer's clock
        ("popped", _I),  # by its consumer's clock
        ("received", _I),  # pushes that the other side can see now
        ("acked", _I),  # pops that the other side can see now
        ("reserved", _I),  # by a data-movement kernel, and not pushed
        ("settled", _I),  # cycle from which all that was pushed is seen
        ("log", _I),  # place in `logs` of a ring of `tiles` parts of pushes that are not popped: end, cycle when it is seen
        ("oldest", _I),  # part of the ring
        ("parts", _I),  # in the ring
        ("producer", _I),  # RISC that waits for space
        ("consumer", _I),  # RISC that waits for tiles
        ("wait_tiles", _I),  # name of that cause
        ("wait_space", _I),  # name of that cause
        ("series", _I),  # its counter in the trace
    ]
)
SEMAPHORE = _record(
    [
        ("value", _I),
        ("first", _I),  # RISC that waits
        ("second", _I),  # RISC that waits too
        ("name", _I),  # of the cause
    ]
)
RISC = _record(  # NCRISC, BRISC, or the three TRISCs as one
    [
        ("core", _I),  # its place
        ("issued", _I),  # operations so far
        ("done", _I),  # operations so far
        ("ended", _I),  # nothing more will be issued
        ("step", _I),  # of the operation under way
        ("began", _I),  # cycle of its last transfer's start
        ("until", _I),  # cycle until which something else holds it
        ("idle_from", _I),  # cycle of its last operation's end
        ("bank", _I),  # cycles that the bursts of its last transfer waited for banks
        ("link", _I),  # and for links
        ("buffers", _I),  # place of its core's first
        ("waits", _I),  # place of its cycles by cause
        ("lane", _I),  # in the trace; of TRISCs the first of three
    ]
)
TENSIX = _record(  # the three threads of a core, and where their cycles went
    [
        ("unpack", _I),  # clock
        ("math", _I),  # clock
        ("pack", _I),  # clock
        ("half", _I),  # when the DST half that is filled next was drained
        ("other", _I),  # when the other one was
        ("popping", _I),
        ("unpack_busy", _I),
        ("unpack_tiles", _I),
        ("unpack_src", _I),
        ("unpack_pack", _I),
        ("math_busy", _I),
        ("math_dst", _I),
        ("pack_busy", _I),
        ("pack_space", _I),
        ("fpu", _I),
        ("sfpu", _I),
        ("overlap", _I),
    ]
)
STAGE = _record(  # windows behind one wait for tiles, as `tensix.Stage` and `tensix.Window` have them
    [
        (field, _I)
        for field in (
            "unpack", "first", "fpu", "sfpu", "math", "last", "pack", "vector",
            "windows", "unpack_setup", "math_setup", "pack_setup", "seen", "after_pack",
        )
    ]
)  # fmt: skip
BLOCK = _record(
    [
        ("stages", _I),  # place of the first
        ("stages_end", _I),  # place behind the last
        ("halves", _I),  # of DST that its windows take turns with
        ("name", _I),
    ]
)
OPERATION = _record(  # what a kernel asks of its RISC; of each kind some fields count
    [
        ("kind", _I),
        ("buffer", _I),  # of the core
        ("tiles", _I),
        ("name", _I),  # of what it spends its time on
        ("move", _I),  # its place
        ("issue", _I),  # cycles of the RISC in it
        ("forward", _I),  # to a buffer of other cores: all its time has the name, none of it is a wait
        ("targets", _I),  # place of those buffers, of all cores, in `lists`
        ("targets_end", _I),
        ("semaphore", _I),  # of all cores
        ("raises", _I),  # place of (semaphore, cycles until it is raised) in `lists`
        ("raises_end", _I),
        ("value", _I),
        ("cycles", _I),
        ("vector", _I),  # of these cycles those of the vector unit
        ("block", _I),  # its place
        ("inputs", _I),  # place of (buffer, tiles) in `lists`
        ("inputs_end", _I),
        ("source", _I),  # buffer that is awaited before each stage
        ("needs", _I),  # place of its tiles, stage by stage, in `lists`
        ("needs_end", _I),
        ("out", _I),  # buffer, or `NOBODY`
        ("out_tiles", _I),
        ("out_first", _I),  # stage after which a part is pushed
        ("out_parts", _I),
        ("out_step", _I),  # stages between two parts
        ("early_stage", _I),  # with `early`, all is pushed `early` cycles sooner, but not before this stage
        ("early", _I),
        ("changed", _I),  # buffer, or `NOBODY`
        ("changed_tiles", _I),
        ("changed_first", _I),
        ("changed_parts", _I),
        ("changed_step", _I),
        ("older", _I),  # tiles
    ]
)
EVENT = _record(  # of the kernels' own
    [
        ("kind", _I),
        ("place", _I),  # of a RISC, buffer or semaphore
        ("number", _I),
        ("next", _I),  # of those not in use
    ]
)
SPAN = _record([("lane", _I), ("name", _I), ("start", _I), ("end", _I), ("line", _I)])
COUNT = _record([("series", _I), ("time", _I), ("value", _I)])
STATE = _record(
    [
        ("events", _I),  # of the network, in the heap
        ("unused", _I),  # first request of those not in use
        ("watch", _I),  # whether to tell of each burst
        ("transfers", _I),  # places of transfers that were ever used
        ("idle", _I),  # of them those that nobody uses now
        ("bin_shift", _I),  # a bin has 2^this cycles
        ("now", _I),  # cycle that the kernels have come to
        ("planned", _I),  # events of the kernels, in the agenda
        ("sequence", _I),  # number of the next one
        ("free", _I),  # first event of those not in use
        ("depth", _I),  # RISCs at work, in the stack
        ("landed", _I),  # a transfer since the last event of the kernels
        ("why", _I),  # what there is to tell
        ("windows", _I),  # of the block under way, so far
        ("vectors", _I),  # of them those with work on the vector unit
        ("zones", _I),  # whether to record spans and counts
        ("line", _I),  # of the kernel, that asked for the operation under way
        ("spans", _I),  # recorded
        ("counts", _I),  # recorded
        ("margin", _I),  # most spans, counts or events of one operation
        ("causes", _I),  # names that are causes come first
        ("visible", _I),  # cycles from a push until it is seen
        ("cb_wait", _I),  # cycles
        ("cb_update", _I),  # cycles
        ("handshake", _I),  # cycles
    ]
)
NOBODY = -1
QUEUE = 512  # operations of a RISC
LINE_SHIFT = 32  # of an entry of its queue: the operation, and above it the line of the kernel that asked for it
BINS = 512  # of bytes over time; they get twice as wide when time goes beyond the last
BIN_SHIFT = 8


def rows(record: np.dtype[Any], count: int, **fields: Any) -> NDArray[Any]:
    """Records with some fields filled, each with one number for all or one for each; what is not named is 0."""
    table = np.zeros(count, record)
    for name, values in fields.items():
        table[name] = values
    return table


class Net(NamedTuple):
    """What banks and links work on."""

    banks: NDArray[Any]
    servers: NDArray[Any]
    routes: NDArray[Any]
    moves: NDArray[Any]
    requests: NDArray[Any]  # those not in use are a chain from `unused`
    transfers: NDArray[Any]
    order: NDArray[Any]  # of the burst that is issued: time and place of each request
    heap: NDArray[Any]  # time, kind and place of each event in one number
    flows: NDArray[Any]  # `BINS` a flow: bytes served over time
    idle: NDArray[Any]  # places of transfers that nobody uses
    lists: NDArray[Any]  # servers and flows of routes, banks of moves' tiles, what operations wait for
    state: NDArray[Any]


class Cores(NamedTuple):
    """What cores work on."""

    lists: NDArray[Any]
    state: NDArray[Any]
    buffers: NDArray[Any]
    logs: NDArray[Any]
    semaphores: NDArray[Any]
    riscs: NDArray[Any]
    queues: NDArray[Any]  # rings of operations and their lines, one of `QUEUE` for each RISC
    tensixes: NDArray[Any]
    waits: NDArray[Any]  # cycles by RISC and cause
    stages: NDArray[Any]
    blocks: NDArray[Any]
    operations: NDArray[Any]
    agenda: NDArray[Any]  # cycle and number of each event, and its place in `events`
    events: NDArray[Any]
    stack: NDArray[Any]  # RISCs at work
    packed: NDArray[Any]  # cycles at which the stages of the block under way are packed
    products: NDArray[Any]  # begin, end and FPU cycles of its windows
    vectors: NDArray[Any]  # begin and end of its work on the vector unit
    spans: NDArray[Any]
    counts: NDArray[Any]


Opened = TypeVar("Opened", Net, Cores)

RECORDS: dict[str, np.dtype[Any]] = {
    "banks": BANK, "servers": SERVER, "routes": ROUTE, "moves": MOVE, "requests": REQUEST, "transfers": TRANSFER, "state": STATE,
    "buffers": BUFFER, "semaphores": SEMAPHORE, "riscs": RISC, "tensixes": TENSIX, "stages": STAGE, "blocks": BLOCK,
    "operations": OPERATION, "events": EVENT, "spans": SPAN, "counts": COUNT,
}  # fmt: skip
KINDS = {name: RECORDS.get(name, np.dtype(_I)) for name in (*Net._fields, *Cores._fields[2:])}  # what a table has, in order


def lay_out(tables: Mapping[str, NDArray[Any]]) -> NDArray[_I]:
    """All tables in one memory, behind the places where each begins and the last ends; what is not named is empty."""
    words = [tables[name].view(_I) if name in tables else np.zeros(0, _I) for name in KINDS]
    return np.concatenate([len(KINDS) + 1 + np.cumsum([0, *map(len, words)]), *words])


def net_of(memory: NDArray[_I]) -> Net:
    """The tables of banks and links in the memory that `lay_out` made."""
    return Net(**{name: _table(memory, name) for name in Net._fields})


def cores_of(memory: NDArray[_I]) -> Cores:
    """The tables of cores in that memory."""
    return Cores(**{name: _table(memory, name) for name in Cores._fields})


def _table(memory: NDArray[_I], name: str) -> NDArray[Any]:
    place = list(KINDS).index(name)
    return memory[memory[place] : memory[place + 1]].view(KINDS[name])


def plain(tables: Opened) -> Opened:
    """The same tables of records without attributes, whose fields Python reads several times as fast."""
    return type(tables)(*(table.view(np.dtype(table.dtype.descr)) if table.dtype.names else table for table in tables))


opened_net, opened_cores = jit.opener(net_of, KINDS), jit.opener(cores_of, KINDS)
