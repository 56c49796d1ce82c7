"""Chunked SDPA: new rows behind a prefix, K and V through a page table, against plain SDPA and closed forms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensix_sim import simulate
from tensix_sim.config import RunSpec, read_spec
from tensix_sim.doctor.check import check
from tensix_sim.formats import FORMATS
from tensix_sim.sdpa.geometry import Geometry

Raw = dict[str, Any]


def spec(S: int = 512, start: int = 0, q: int = 64, k: int = 64, block: int = 64, table: str = "shuffled", **more: Any) -> Raw:
    """A small run on a Blackhole card, by the legacy kernel unless another is given."""
    return {
        "op": "chunked_sdpa",
        "board": "p100a",
        "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": S, "head_dim": 64} | more.pop("inputs", {}),
        "program_config": {"compute_with_storage_grid_size": [4, 4], "q_chunk_size": q, "k_chunk_size": k},
        "chunk_start_idx": start,
        "paged_kv": {"block_size": block, "page_table": table},
        "kernel": "legacy",
        "trace": "off",
    } | more


def plain(given: Raw, **inputs: Any) -> Raw:
    """The same run by plain SDPA."""
    return {
        key: value for key, value in given.items() if key not in ("chunk_start_idx", "paged_kv")
    } | {"op": "sdpa", "inputs": given["inputs"] | inputs}  # fmt: skip


CONFIGS = {
    "no prefix": spec(),
    "prefix": spec(256, 256, k=128),
    "batch": spec(256, 128, inputs={"batch": 2, "q_heads": 4, "kv_heads": 2}),
    "rows that fill no chunk": spec(300, 256, q=128, k=128, block=96),
    "a few rows": spec(40, 512, q=128, k=256, block=32),
    "other data type": spec(inputs={"dtype": "bfloat16", "kv_dtype": "bfloat8_b"}),
}
CONFIGS |= {f"{name}, streaming": made | {"kernel": "streaming"} for name, made in CONFIGS.items()}


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_without_a_prefix_it_is_plain_sdpa(kernel: str) -> None:
    """The bits of a dense run, whatever the order of the pages."""
    dense = simulate(plain(spec(kernel=kernel))).gathered()
    for table in ("identity", "shuffled"):
        assert np.array_equal(simulate(spec(table=table, kernel=kernel)).gathered(), dense)


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_prefix_gives_the_rows_of_a_dense_run(kernel: str) -> None:
    """New rows behind a cached prefix are the bits of the same rows in one run over all; both draw the same inputs."""
    dense = simulate(plain(spec(kernel=kernel), seq_len=768)).gathered()
    assert np.array_equal(simulate(spec(256, 512, kernel=kernel)).gathered(), dense[:, :, 512:])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_accurate(name: str) -> None:
    """Each computes causal attention over prefix and new rows."""
    result = simulate(CONFIGS[name])
    assert result.accuracy is not None
    assert result.accuracy.pcc > 0.999


@pytest.mark.parametrize("name", CONFIGS)
def test_numerics_do_not_change_a_cycle(name: str) -> None:
    """`numerics: off` gives the cycles, bytes and waits of `fast`."""
    off, fast = (simulate(CONFIGS[name] | {"numerics": numerics}).devices for numerics in ("off", "fast"))
    assert [d.model_dump(exclude={"accuracy"}) for d in off] == [d.model_dump(exclude={"accuracy"}) for d in fast]


@pytest.mark.parametrize("name", CONFIGS)
def test_bytes_equal_the_closed_form(name: str) -> None:
    """K and V up to the diagonal, as far as the pages go, for each Q chunk; a row of the table for each batch of a core."""
    given = RunSpec.model_validate(CONFIGS[name] | {"numerics": "off"})
    (device,) = simulate(given).devices
    g, inputs = Geometry.of(given), given.inputs
    tile, kv_tile = (FORMATS[dtype].tile_bytes for dtype in (inputs.dtype, inputs.kv_dtype or inputs.dtype))
    rows, start = -(-inputs.seq_len // 32), given.prefix // 32
    heads, width = inputs.batch * inputs.q_heads, inputs.head_dim // 32
    block = CONFIGS[name]["paged_kv"]["block_size"] // 32
    last = min(-(-given.kv_len // 32) + start, -(-given.kv_len // (32 * block)) * block)
    chunks = [j for row in range(0, rows, g.M) for j in range(-(-min(start + row + g.M, g.nk * g.N) // g.N))]
    kv = sum(min(g.N, last - j * g.N) for j in chunks)
    tables = sum(len({head // g.NQH for head, _ in g.deal.places(core)}) for core in range(g.cores))
    expected = heads * (rows * width * tile + 2 * kv * width * kv_tile) + tables * g.page_table_stick_bytes
    assert device.dram_read_bytes == expected
    assert device.dram_write_bytes == heads * rows * width * tile


RULES: list[tuple[str, ...]] = [
    ("paged_kv", "paged_kv=null"),
    ("chunk_start_idx", "chunk_start_idx=null"),
    ("chunk_start_idx", "chunk_start_idx=-64"),
    ("chunk_start_idx", "chunk_start_idx=96", "program_config.k_chunk_size=32"),
    ("chunk_start_idx", "chunk_start_idx=64", "program_config.k_chunk_size=128"),
    ("paged_kv.block_size", "paged_kv.block_size=48"),
    ("is_causal", "is_causal=false"),
    ("sliding_window_size", "sliding_window_size=64"),
    ("inputs.kv_len", "inputs.kv_len=1024"),
    ("mesh", "mesh=[1, 4]"),
    ("ring_id", "ring_id=2"),
]


@pytest.mark.parametrize(("key", "mistakes"), [(key, mistakes) for key, *mistakes in RULES], ids=str)
def test_every_rule_refuses_and_offers_what_is_legal(key: str, mistakes: list[str]) -> None:
    """One thing wrong is one violation, which shows the value and offers changes that make the spec legal."""
    given = read_spec(spec(), mistakes)
    (violation,) = check(given).violations
    assert violation.key == key
    assert f"{key} = {violation.found[key]!r}" in violation.message
    assert violation.nearest
    for change in violation.nearest:
        healed = read_spec(given)
        for name, value in change.items():
            part, _, leaf = name.partition(".")
            healed[part] = {**healed[part], leaf: value} if leaf else value
        assert check(healed).ok, check(healed).text()


def test_a_table_from_a_file_has_a_page_for_every_row(tmp_path: Path) -> None:
    """It may be wider than needed, not narrower."""
    for pages, ok in ((8, False), (9, True), (40, True)):
        np.save(tmp_path / "table.npy", np.arange(pages, dtype=np.int32)[None])
        report = check(spec(500, 64, table=str(tmp_path / "table.npy")))
        assert report.ok == ok, report.text()
        assert ok or report.violations[0].key == "paged_kv.page_table"
    assert np.array_equal(
        simulate(spec(500, 64, table=str(tmp_path / "table.npy"))).gathered(), simulate(spec(500, 64)).gathered()
    )
