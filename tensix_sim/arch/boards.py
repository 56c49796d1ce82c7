"""Boards: how many chips of which kind, joined how, and which worker lines are left of each.

Which lines are harvested differs from die to die, and no source says more than how many. Here they are the last
rows on Wormhole; on Blackhole column 7 and the last, one on each side of the second DRAM banks. A row or column that
dispatch occupies comes before those.
Core counts are those of tt-metal's core descriptors, mesh shapes and links of its mesh_graph_descriptors.
"""

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
    # 12 of 14 columns are enabled since firmware 19.5.0 and dispatch has one. Before it a program had 13x10:
    # override({"grid": [13, 10], "worker_columns": [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]})
    grid=(11, 10),
    # A harvested column on each side is the likeliest pair, 49 of 91. With both in the east, seven columns west of the second
    # banks, p100a-51's data would keep a link busy for 101.5 % of its wall
    worker_columns=(1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14),
    worker_rows=BLACKHOLE.worker_rows,
)

BOARDS: dict[str, Machine] = {
    m.board: m
    for m in (
        _wormhole("n150", mesh=(1, 1), links=0, rows=8),  # 9 rows enabled, one of them for dispatch
        _wormhole("n300", mesh=(1, 2), links=2, rows=8),  # 8 rows enabled, Ethernet dispatch; Tensix dispatch: grid 8x7
        _wormhole("t3000", mesh=(4, 2), links=2, rows=8),  # n300 chips, Ethernet dispatch: tt_transformers runs SDPA on 8x8
        _wormhole("galaxy", mesh=(8, 4), links=4, rows=10),  # 80 cores, Ethernet dispatch: room for Llama's 7x10 grid
        P150B.override({"board": "p100a", "dram.banks": 7}),  # 448 GB/s; UNVERIFIED which bank is absent: the last
        P150B,
    )
}


def machine(board: str) -> Machine:
    """Find the board of that name.

    Raises:
        UnknownNameError: there is none; the message has the nearest.

    """
    if board not in BOARDS:
        raise unknown_name("board", board, BOARDS)
    return BOARDS[board]
