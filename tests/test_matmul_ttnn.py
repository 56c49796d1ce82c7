"""ttnn.linear and ttnn.matmul: cycles of the program that the config says, its rules, and the chip's bits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensix_sim.ttnn as ttnn
from tensix_sim.matmul import MatmulSpec, simulate
from tensix_sim.ttnn.session import SESSION

GRID = {"compute_with_storage_grid_size": (2, 2)}


@pytest.fixture(autouse=True)
def _board() -> Iterator[None]:
    """An n150, and nothing remembered."""
    before = (SESSION.settings.board, SESSION.settings.numerics, SESSION.settings.mesh)
    ttnn.configure(board="n150", numerics="fast", mesh=None)
    SESSION.calls.clear()
    yield
    ttnn.configure(board=before[0], numerics=before[1], mesh=before[2])


def put(x: Any, device: Any, dtype: Any = ttnn.bfloat16) -> Any:
    """An array in tiles on a device."""
    return ttnn.from_numpy(x, dtype, layout=ttnn.TILE_LAYOUT, device=device)


def draw(*shape: int) -> Any:
    """Numbers of N(0, 1)."""
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def config(**changes: Any) -> Any:
    """A 2-D config for 4 x 4 by 4 x 4 tiles on 2x2 cores."""
    fields = {"in0_block_w": 2, "out_subblock_h": 1, "out_subblock_w": 2, "per_core_M": 2, "per_core_N": 2}
    more = {"transpose_mcast": False, "fused_activation": None, "fuse_batch": True}
    return ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(**GRID | fields | more | changes)


def test_a_products_cycles_are_those_of_its_program(device: Any) -> None:
    """As `simulate` has them for the same spec; the larger subblock of a second config is another program."""
    a, b = put(draw(1, 1, 128, 128), device), put(draw(1, 1, 128, 128), device)
    ttnn.linear(a, b, program_config=config())
    ttnn.matmul(a, b, program_config=config(in0_block_w=4))
    spec = MatmulSpec.model_validate(
        {
            "m": 128, "k": 128, "n": 128,
            "program_config": {
                "kind": "2d", **GRID, "in0_block_w": 2, "out_subblock_h": 1, "out_subblock_w": 2,
                "per_core_M": 2, "per_core_N": 2, "fuse_batch": True,
            },
        }
    )  # fmt: skip
    assert [call.op for call in SESSION.calls] == ["linear", "matmul"]
    assert SESSION.calls[0].cycles == simulate(spec).cycles
    assert SESSION.calls[1].cycles not in (None, SESSION.calls[0].cycles)


def test_a_broken_rule_is_a_runtime_error_with_what_would_be_legal(device: Any) -> None:
    """All of them in one message."""
    a, b = put(draw(1, 1, 128, 128), device), put(draw(1, 1, 128, 128), device)
    with pytest.raises(RuntimeError, match=r"in0_block_w = 3, .* 1 left over; nearest legal: .*in0_block_w = 2 .*; .*DST"):
        ttnn.linear(a, b, program_config=config(in0_block_w=3, out_subblock_h=2, out_subblock_w=16, per_core_N=16))
    with pytest.raises(RuntimeError, match="a grid of 9x8; n150 has 8x8"):
        ttnn.linear(a, b, core_grid=ttnn.CoreGrid(y=8, x=9))
    with pytest.raises(RuntimeError, match="with a program config leave it out"):
        ttnn.linear(a, b, core_grid=ttnn.CoreGrid(y=2, x=2), program_config=config())
    assert SESSION.calls == []


def test_numbers_are_float64s_rounded_once(device: Any) -> None:
    """bfloat16: half a unit in the last place, of products in float32."""
    x, w = (ttnn.to_numpy(put(draw(*shape), device)) for shape in ((2, 1, 64, 96), (1, 1, 96, 64)))
    made = ttnn.matmul(put(x, device), put(w, device)).to_numpy()
    wanted = x.astype(np.float64) @ w
    assert np.abs(made - wanted).max() <= np.abs(wanted).max() * 2**-8


def test_exact_gives_the_kernels_bits(device: Any) -> None:
    """LoFi of a config given without a compute config: what `simulate` makes of the same values, far from float64."""
    ttnn.configure(numerics="exact")
    a, b = put(draw(1, 1, 128, 128), device), put(draw(1, 1, 128, 128), device)
    made = ttnn.matmul(a, b, program_config=config()).to_numpy()
    spec = {"m": 128, "k": 128, "n": 128, "numerics": "exact"}
    fields = {"in0_block_w": 2, "out_subblock_h": 1, "out_subblock_w": 2, "per_core_M": 2, "per_core_N": 2, "fuse_batch": True}
    run = simulate(
        MatmulSpec.model_validate(spec | {"program_config": {"kind": "2d", **GRID, **fields}}),
        draw(1, 128, 128),
        draw(1, 128, 128),
    )
    assert run.output is not None
    assert np.array_equal(made[0], run.output)
    assert not np.allclose(made[0, 0], draw(128, 128) @ draw(128, 128), rtol=2**-8)


def test_what_has_no_cycles_says_so(device: Any) -> None:
    """Functions but relu, and programs that are not here; their numbers are there all the same."""
    a, b = put(draw(1, 1, 64, 64), device), put(draw(1, 1, 64, 64), device)
    ttnn.linear(a, b, activation="relu")
    ttnn.linear(a, b, activation="gelu")
    ttnn.linear(a, b, program_config=ttnn.MinimalMatmulConfig())
    assert [call.cycles is None for call in SESSION.calls] == [False, True, True]
    assert any("linear: its cycles are not modelled" in note for note in SESSION.notes)


def test_numerics_off_takes_the_same_cycles(device: Any) -> None:
    """And gives no numbers."""
    for numerics in ("fast", "off"):
        ttnn.configure(numerics=numerics)
        ttnn.linear(put(draw(1, 1, 64, 128), device), put(draw(1, 1, 128, 96), device), bias=put(draw(1, 1, 1, 96), device))
    first, second = SESSION.calls
    assert first.cycles == second.cycles is not None


def test_all_devices_of_a_mesh_take_as_long() -> None:
    """Of one simulation."""
    ttnn.configure(board="t3000")
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    a, b = put(draw(1, 1, 64, 64), mesh), put(draw(1, 1, 64, 64), mesh)
    ttnn.linear(a, b)
    ttnn.close_mesh_device(mesh)
    assert len(SESSION.calls) == 4
    assert len({call.cycles for call in SESSION.calls}) == 1
