"""What the compiled loop works on: records of banks, servers, routes, moves, requests and transfers, their fields by name.

Times are in ticks. A *place* is the number of a record in its table, or where a stretch of `lists` begins.
"""

from typing import Any, NamedTuple

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
        ("end", _I),  # when the burst to tell of has landed; 0: not known yet
        ("earliest", _I),  # a time before which it has not
    ]
)
STATE = _record(
    [
        ("events", _I),  # in the heap
        ("unused", _I),  # first request of those not in use
        ("watch", _I),  # whether to tell of each burst
        ("transfers", _I),  # that there is room for
        ("trip", _I),  # least ticks of a tile's way to a bank, in its hands, and back
        ("back", _I),  # the same without the way there
        ("bin_shift", _I),  # a bin has 2^this cycles
    ]
)
NOBODY = -1
BINS = 512  # of bytes over time; they get twice as wide when time goes beyond the last
BIN_SHIFT = 8


def rows(record: np.dtype[Any], count: int, **fields: Any) -> NDArray[Any]:
    """Records with some fields filled, each with one number for all or one for each; what is not named is 0."""
    table = np.zeros(count, record)
    for name, values in fields.items():
        table[name] = values
    return table


class Net(NamedTuple):
    """All that the compiled loop works on."""

    banks: NDArray[Any]
    servers: NDArray[Any]
    routes: NDArray[Any]
    moves: NDArray[Any]
    requests: NDArray[Any]  # those not in use are a chain from `unused`
    transfers: NDArray[Any]
    lists: NDArray[Any]  # servers and flows of routes, banks of moves' tiles
    heap: NDArray[Any]  # time, kind and place of each event in one number
    state: NDArray[Any]
    flows: NDArray[Any]  # `BINS` a flow: bytes served over time


def lay_out(net: Net) -> NDArray[_I]:
    """The tables in one memory, behind the places where each begins and the last ends.

    Numba unpacks each array that it is given at every call, which for ten of them costs as much as some events.
    """
    bounds = len(net) + 1 + np.cumsum([0, *(table.nbytes // _I().itemsize for table in net)])
    return np.concatenate([bounds, *(table.view(_I) for table in net)])


def view(memory: NDArray[_I]) -> Net:
    """The tables that `lay_out` put into one memory."""
    m = memory
    return Net(
        banks=m[m[0] : m[1]].view(BANK), servers=m[m[1] : m[2]].view(SERVER), routes=m[m[2] : m[3]].view(ROUTE),
        moves=m[m[3] : m[4]].view(MOVE), requests=m[m[4] : m[5]].view(REQUEST), transfers=m[m[5] : m[6]].view(TRANSFER),
        lists=m[m[6] : m[7]], heap=m[m[7] : m[8]], state=m[m[8] : m[9]].view(STATE), flows=m[m[9] : m[10]],
    )  # fmt: skip


opened = jit.compiler()(view)
