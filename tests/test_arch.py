"""The machine as data: what the published facts of chips and boards demand of it."""

import pickle

import pytest
from pydantic import ValidationError

from tensix_sim.arch import BOARDS, ChipSpec, Machine, machine
from tensix_sim.arch.model import UnknownNameError

ALL = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
CHIPS = pytest.mark.parametrize("chip", [BOARDS["galaxy"].chip, BOARDS["p150b"].chip], ids=lambda chip: chip.name)

# tt-metal soc_descriptors: every DRAM, PCIe and ARC tile, the ones that are no bank's endpoint too
NO_WORKER = {
    "wormhole_b0": {(0, y) for y in (0, 1, 5, 6, 7, 11)} | {(5, y) for y in range(12)} | {(0, 3), (0, 10)},
    "blackhole": {(x, y) for x in (0, 9) for y in range(12)} | {(2, 0), (11, 0), (8, 0)},
}


def placed(machine: Machine) -> list[tuple[int, int]]:
    """NoC positions of all workers of one chip."""
    return [machine.worker((x, y)) for y in range(machine.grid[1]) for x in range(machine.grid[0])]


# -- places -------------------------------------------------------------------------------------------------


@ALL
def test_workers_have_a_tile_each(board: Machine) -> None:
    """No two logical cores share a NoC position, and none sits on a DRAM, Ethernet, PCIe or ARC tile."""
    workers = placed(board)
    assert len(set(workers)) == board.cores
    assert not set(workers) & (NO_WORKER[board.chip.name] | set(board.chip.ethernet.endpoints))


@CHIPS
def test_endpoints_are_tiles_of_their_kind(chip: ChipSpec) -> None:
    """A DRAM bank answers from a DRAM tile, and no Ethernet tile is one of them."""
    assert set(chip.dram.endpoints) <= NO_WORKER[chip.name]
    assert not set(chip.ethernet.endpoints) & NO_WORKER[chip.name]


@pytest.mark.parametrize(
    ("board", "cores", "chips"),
    [("n150", 64, 1), ("n300", 64, 2), ("t3000", 64, 8), ("galaxy", 80, 32), ("p100a", 110, 1), ("p150b", 110, 1)],
)
def test_published_sizes(board: str, cores: int, chips: int) -> None:
    """Boards have the chips of their data sheet and the workers that tt-metal gives to programs."""
    assert (machine(board).cores, machine(board).chips) == (cores, chips)


def test_dies_have_their_workers_and_ethernet_tiles() -> None:
    """A Wormhole die has 80 Tensix and 16 Ethernet tiles, a Blackhole die 140 and 14."""
    dies = {b.chip.name: b.chip for b in BOARDS.values()}
    sizes = {n: (len(c.worker_columns) * len(c.worker_rows), len(c.ethernet.endpoints)) for n, c in dies.items()}
    assert sizes == {"wormhole_b0": (80, 16), "blackhole": (140, 14)}


# -- rates and latencies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "banks", "peak", "measured"), [("n150", 12, 288e9, 266e9), ("p100a", 7, 448e9, 437e9), ("p150b", 8, 512e9, 500e9)]
)
def test_dram_streams_as_fast_as_measured(board: str, banks: int, peak: float, measured: float) -> None:
    """All banks together reach the best published stream within 1 %, below the data sheet's peak."""
    dram, clock = machine(board).chip.dram, machine(board).chip.clock_hz
    rate = dram.banks * dram.bank_rate * clock
    assert dram.banks == banks
    assert rate == pytest.approx(measured, rel=0.01)
    assert rate < peak


@pytest.mark.parametrize(("board", "tera_ops"), [("n150", 4.096), ("p150b", 5.53)])
def test_matmul_reaches_the_product_figure(board: str, tera_ops: float) -> None:
    """A core at LoFi does 4096 multiplies and adds a cycle."""
    chip = machine(board).chip
    assert 2 * 32**3 / chip.tensix.mvmul_cycles * chip.clock_hz == pytest.approx(tera_ops * 1e12, rel=1e-3)


@pytest.mark.parametrize(("board", "read", "write", "dram_read"), [("n150", 293, 293, 423), ("p150b", 373, 358, 540)])
def test_lone_transfers_take_what_was_measured(board: str, read: int, write: int, dram_read: int) -> None:
    """One transfer across both axes: 64 B from and to L1, 1 KiB from DRAM, within 5 % of tt-metal's measurements."""
    noc, dram = machine(board).chip.noc, machine(board).chip.dram
    round_trip = noc.round_trip_base + noc.router_cycles * (noc.columns + noc.rows)
    reading = round_trip + noc.software_cycles + noc.read_issue_cycles
    flits = 2 * noc.flit_bytes / noc.link_rate
    assert reading + flits == pytest.approx(read, rel=0.05)
    assert round_trip + noc.write_ack_base + noc.write_issue_cycles + flits == pytest.approx(write, rel=0.01)
    assert reading + dram.read_cycles + 1024 / dram.bank_rate == pytest.approx(dram_read, rel=0.05)


@CHIPS
def test_sharing_never_speeds_up(chip: ChipSpec) -> None:
    """Two unpackers get no more than one each, adding to L1 is no faster than writing, a port no faster than its wire."""
    tensix, noc = chip.tensix, chip.noc
    assert tensix.unpack_rate_both <= tensix.unpack_rate_one <= 2 * tensix.unpack_rate_both
    assert tensix.l1_accumulate_factor >= 1
    assert noc.niu_rate <= noc.link_rate <= noc.flit_bytes
    assert noc.max_packet_bytes % noc.flit_bytes == 0


# -- changing a number --------------------------------------------------------------------------------------


def test_override_changes_what_it_names_and_nothing_else() -> None:
    """ChipSpec numbers go by dotted name, board fields by their own; the machine that was asked stays as it was."""
    before = machine("n150").model_dump()
    changed = machine("n150").override({"dram.bank_rate": 30, "tensix.mvmul_cycles": 8, "clock_hz": 900_000_000, "grid": [4, 4]})
    expected = machine("n150").model_dump()
    expected["grid"] = (4, 4)
    expected["chip"]["clock_hz"] = 900_000_000
    expected["chip"]["dram"]["bank_rate"] = 30
    expected["chip"]["tensix"]["mvmul_cycles"] = 8
    assert changed.model_dump() == expected
    assert machine("n150").model_dump() == before


@ALL
def test_override_of_nothing_is_the_same_machine(board: Machine) -> None:
    """A machine made anew from its own numbers is equal to it."""
    assert board.override({}) == board


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("dram.bankrate", "dram.bank_rate"), ("bank_rate", "dram.bank_rate"), ("gird", "grid"), ("clock", "clock_hz")],
)
def test_typo_is_refused_and_the_near_name_given(typo: str, meant: str) -> None:
    """A name that does not exist changes nothing in silence: the error shows it and the name that was meant."""
    with pytest.raises(UnknownNameError) as error:
        machine("n150").override({typo: 1})
    assert repr(typo) in str(error.value)
    assert meant in str(error.value)


@pytest.mark.parametrize("part", ["dram", "chip", "chip.dram.bank_rate", ""])
def test_only_numbers_can_be_overridden(part: str) -> None:
    """A whole part, or a path spelled from another root, is not a number's name."""
    with pytest.raises(UnknownNameError):
        machine("n150").override({part: {}})


@pytest.mark.parametrize(
    "changes",
    [
        {"dram.bank_rate": -1},
        {"dram.bank_rate": 0},
        {"dram.bank_rate": float("inf")},
        {"dram.bank_rate": float("nan")},
        {"dram.bank_rate": "fast"},
        {"tensix.mvmul_cycles": -16},
        {"tensix.mvmul_cycles": 16.5},
        {"ethernet.efficiency": 1.1},
        {"l1.base": 2_000_000},
        {"chips": 3},
        {"grid": [9, 8]},
        {"grid": [8]},
        {"grid": [0, 8]},
        {"worker_rows": [1, 1, 2, 3, 4, 5, 7, 8]},
        {"worker_rows": [1, 2, 3, 4, 5, 6, 7, 8]},
        {"noc.columns": 9},
        {"dram.banks": 13},
        {"dram.banks": 0},
        {"dram.banks": -1},
        {"dram.banks": None},
        {"dram.endpoints": [(0, 11)]},
        {"dram.banks": 2, "dram.endpoints": [(0, 11), (0, 11)]},
        {"dram.banks": 1, "dram.endpoints": [(1, 1)]},
        {"dram.banks": 1, "dram.endpoints": [(-1, 1)]},
        {"ethernet.endpoints": [(1, 1)]},
    ],
    ids=str,
)
def test_override_is_validated(changes: dict[str, object]) -> None:
    """A number that is no such number, or that contradicts another one, makes no machine."""
    with pytest.raises(ValidationError):
        machine("n150").override(changes)


def test_fewer_banks_drop_the_last_endpoints() -> None:
    """The banks that remain stay where they are."""
    chip = machine("p150b").chip
    assert machine("p150b").override({"dram.banks": 5}).chip.dram.endpoints == chip.dram.endpoints[:5]
    assert machine("p100a").chip.dram.endpoints == chip.dram.endpoints[:7]


def test_old_firmware_is_an_override() -> None:
    """A p150b before firmware 19.5.0 gave programs 13x10 cores."""
    columns = machine("p150b").chip.worker_columns[:13]
    assert machine("p150b").override({"grid": (13, 10), "worker_columns": columns}).cores == 130


# -- records ------------------------------------------------------------------------------------------------


@ALL
def test_a_machine_cannot_change(board: Machine) -> None:
    """Every record is frozen, so that two simulations can share a machine."""
    with pytest.raises(ValidationError, match="frozen"):
        board.grid = (1, 1)
    with pytest.raises(ValidationError, match="frozen"):
        board.chip.dram.bank_rate = 1.0
    assert hash(board) == hash(board.override({}))


def test_unknown_board_is_refused_with_near_ones() -> None:
    """The error lists three boards, the nearest first."""
    with pytest.raises(UnknownNameError, match="unknown board 'n151'; nearest: n150, ") as error:
        machine("n151")
    assert sum(name in str(error.value) for name in BOARDS) == 3


def test_machines_and_errors_cross_processes() -> None:
    """Both survive pickling, message included: devices may run in processes of their own."""
    assert pickle.loads(pickle.dumps(machine("galaxy"))) == machine("galaxy")
    error = UnknownNameError("unknown board 'x'")
    assert str(pickle.loads(pickle.dumps(error))) == "unknown board 'x'"
