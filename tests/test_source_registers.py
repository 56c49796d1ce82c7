"""What a product's math thread waits for SrcA and SrcB, worked out by hand for subblocks that are small enough."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, FLOAT32
from tensix_sim.hw.source_registers import order, product_cycles
from tensix_sim.hw.tensix import Costs
from tensix_sim.kernel_api import product
from tensix_sim.program import ComputeConfig

DATA, HANDSHAKE = 48, 12
LOAD = DATA + HANDSHAKE


def cycles(h: int, w: int, each: int, k: int = 4, data: int = DATA) -> int:
    """Of a subblock, with operands of one format."""
    return product_cycles(h, w, k, each, (data, data), HANDSHAKE)


@pytest.mark.parametrize(("h", "w"), [(2, 4), (4, 2), (2, 2)])
@pytest.mark.parametrize("late", [-1, 0, 1, 5])
def test_a_step_waits_once_if_a_load_is_longer_than_a_product(h: int, w: int, late: int) -> None:
    """Between a held tile's last use and its successor's first one lies one product. The second tile's wait is over by then."""
    data = 8  # no unpacker is busy for long
    each = data + HANDSHAKE - late
    assert cycles(h, w, each, data=data) == 4 * (h * w * each + max(0, late))


@pytest.mark.parametrize("each", [DATA - 1, DATA, DATA + HANDSHAKE])
def test_tiles_past_one_that_is_held_come_one_a_product(each: int) -> None:
    """The unpacker of what streams is never still: a tile takes its data, or the product, or half of both and the hand-shake."""
    steps = 64
    took = cycles(1, 8, each, k=steps) / (8 * steps)
    assert took == pytest.approx(max(DATA, each, (each + LOAD) / 2), rel=0.01)


def test_short_products_take_what_the_loads_take() -> None:
    """Two tiles held: the unpackers take turns, so all four loads of a step count; one held: it comes beside the others."""
    steps = 64
    assert cycles(2, 2, 1, k=steps) == pytest.approx(4 * DATA * steps, rel=0.01)
    assert cycles(1, 8, 1, k=steps) == pytest.approx(8 * DATA * steps, rel=0.01)


@given(h=st.integers(1, 4), w=st.integers(1, 4), k=st.integers(1, 3), each=st.integers(1, 100), data=st.integers(1, 100))
def test_no_product_is_shorter_than_its_multiplications_or_longer_than_all_in_a_row(
    h: int, w: int, k: int, each: int, data: int
) -> None:
    """Bounds of any subblock; a tile is loaded once, and given back once."""
    loads, products = order(h, w, k)
    assert sorted(tile for *_, used in products for tile in used) == sorted(loads)
    took = cycles(h, w, each, k, data)
    assert h * w * k * each <= took <= h * w * k * each + len(loads) * (data + HANDSHAKE)


def test_unpack_of_up_to_sixteen_bits_is_slower_than_its_port_on_wormhole() -> None:
    """Four bfloat16 tiles took 185 to 193 cycles; half the bytes take half; Float32 was not measured and has the whole port."""
    costs = Costs(machine("n150").chip.tensix, ComputeConfig())
    assert costs.unpack(BFLOAT16, 4) == pytest.approx(189, rel=0.03)
    assert costs.unpack(BFLOAT8_B, 4) == costs.unpack(BFLOAT16, 2)
    assert costs.unpack(FLOAT32, 1) == 4096 / 64


def test_products_on_blackhole_wait_for_nothing() -> None:
    """Nobody measured a hand-shake there: their cycles are multiplications and issue."""
    costs = Costs(machine("p100a").chip.tensix, ComputeConfig(math_fidelity="LoFi"))
    assert costs.product(BFLOAT16, BFLOAT16, 2, 4, 4)[1:] == costs.matmul(32)


@pytest.mark.parametrize(("board", "share"), [("n150", 0.143), ("p100a", 0)])
def test_packs_hold_up_the_unpackers_of_a_product_on_wormhole_alone(board: str, share: float) -> None:
    """By a share of the packer's time: four Float32 tiles a subblock, packed plainly or onto others."""
    costs = Costs(machine(board).chip.tensix, ComputeConfig(math_fidelity="HiFi2", fp32_dest_acc_en=True))
    x, out = SimpleNamespace(format=BFLOAT16), SimpleNamespace(format=FLOAT32)
    operands: Any = (x, x, out)
    for adding in (False, True):
        made = product(costs, *operands, 2, 2, 7, adding)
        assert made.unpack - costs.unpack(BFLOAT16, 14, BFLOAT16, 14) == round(share * costs.pack(FLOAT32, 4, adding))
