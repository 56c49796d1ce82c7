"""Boards: how many chips of which kind, joined how, and which worker lines are left of each.

Which lines are harvested differs from die to die, and no source says more than how many. Here they are the last
rows on Wormhole; on Blackhole column 7 and the last, one on each side of the second DRAM banks. A row or column that
dispatch occupies comes before those.
Core counts are those of tt-metal's core descriptors, mesh shapes and links of its mesh_graph_descriptors.
"""

from typing import Any

from tensix_sim.arch.blackhole import BLACKHOLE
from tensix_sim.arch.model import Machine, unknown_name
from tensix_sim.arch.wormhole_b0 import WORMHOLE_B0


def _wormhole(board: str, mesh: tuple[int, int], links: int, rows: int) -> Machine:
    return Machine(
        board=board,
        chip=WORMHOLE_B0,
        chips=mesh[0] * mesh[1],
        mesh=mesh,
        links_per_neighbour=links,
        wraps=board == "galaxy",  # 6U: torus-capable
        grid=(8, rows),
        worker_columns=WORMHOLE_B0.worker_columns,
        worker_rows=WORMHOLE_B0.worker_rows[:rows],
    )


P150B = Machine(
    board="p150b",
    chip=BLACKHOLE,
    chips=1,
    mesh=(1, 1),
    links_per_neighbour=0,
    # 12 of 14 columns are enabled since firmware 19.5.0 and dispatch has one
    grid=(11, 10),
    # A harvested column on each side is the likeliest pair, 49 of 91. With both in the east, seven columns west of the second
    # banks, p100a-51's data would keep a link busy for 101.5 % of its wall
    worker_columns=(1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14),
    worker_rows=BLACKHOLE.worker_rows,
)

TWELVE_COLUMNS = (1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15)  # a Galaxy's chips have no dispatch column


def _blackholes(board: str, mesh: tuple[int, int], **more: Any) -> Machine:
    """Blackhole chips with two links to each neighbour: mesh_graph_descriptors of tt-metal."""
    return P150B.override({"board": board, "chips": mesh[0] * mesh[1], "mesh": mesh, "links_per_neighbour": 2, **more})


BOARDS: dict[str, Machine] = {
    m.board: m
    for m in (
        _wormhole("n150", mesh=(1, 1), links=0, rows=8),  # 9 rows enabled, one of them for dispatch
        _wormhole("n300", mesh=(1, 2), links=2, rows=8),  # 8 rows enabled, Ethernet dispatch; Tensix dispatch: grid 8x7
        _wormhole("t3000", mesh=(4, 2), links=2, rows=8),  # n300 chips, Ethernet dispatch: tt_transformers runs SDPA on 8x8
        _wormhole("galaxy", mesh=(8, 4), links=4, rows=10),  # 80 cores, Ethernet dispatch: room for Llama's 7x10 grid
        P150B.override({"board": "p100a", "dram.banks": 7}),  # 448 GB/s; UNVERIFIED which bank is absent: the last
        P150B,
        # firmware before 19.5.0 enabled 14 columns, dispatch had one of them
        P150B.override({"board": "p150b-13x10", "grid": (13, 10), "worker_columns": (1, 2, 3, 4, 5, 6, 7, *TWELVE_COLUMNS[6:])}),
        _blackholes("p300", (1, 2)),
        _blackholes("quietbox", (2, 2)),  # QuietBox 2: two p300
        _blackholes("bh-galaxy", (8, 4), wraps=True, grid=(12, 10), worker_columns=TWELVE_COLUMNS),
    )
}
ALIASES = {
    "t3k": "t3000", "tg": "galaxy", "glx": "galaxy", "p100": "p100a", "p150": "p150b", "p150a": "p150b", "p300c": "p300",
    "qb2": "quietbox", "blackhole-galaxy": "bh-galaxy", "bhglx": "bh-galaxy",
}  # fmt: skip


def machine(board: str) -> Machine:
    """Find the board of that name.

    Raises:
        UnknownNameError: there is none; the message has the nearest.

    """
    board = ALIASES.get(board, board)
    if board not in BOARDS:
        raise unknown_name("board", board, BOARDS)
    return BOARDS[board]
