"""Chunked SDPA: new rows behind a prefix, K and V through a page table, against plain SDPA; and its rules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs import CHUNKED, PLAIN, Raw, put, raw

from tensix_sim import simulate
from tensix_sim.config import read_spec
from tensix_sim.doctor.check import check


def spec(**changes: Any) -> Raw:
    """A small run on a Blackhole card, by the legacy kernel unless another is given."""
    return raw(CHUNKED, **{"grid": [4, 4], "kernel": "legacy", "trace": "off"} | changes)


def plain(**changes: Any) -> Raw:
    """The same by plain SDPA."""
    return raw(PLAIN, **{"grid": [4, 4], "trace": "off"} | changes)


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_without_a_prefix_it_is_plain_sdpa(kernel: str) -> None:
    """The bits of a dense run, whatever the order of the pages."""
    dense = simulate(plain(kernel=kernel)).gathered()
    for table in ("identity", "shuffled"):
        assert np.array_equal(simulate(spec(paged_kv__page_table=table, kernel=kernel)).gathered(), dense)


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_prefix_gives_the_rows_of_a_dense_run(kernel: str) -> None:
    """New rows behind a cached prefix are the bits of the same rows in one run over all; both draw the same inputs."""
    dense = simulate(plain(S=768, kernel=kernel)).gathered()
    assert np.array_equal(simulate(spec(S=256, chunk_start_idx=512, kernel=kernel)).gathered(), dense[:, :, 512:])


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_a_start_in_a_tensor_gives_the_bits_of_a_number(kernel: str) -> None:
    """It costs two dependent reads before anything else; where K chunks are whole, nothing more."""
    by_number, by_tensor = (
        simulate(spec(S=256, chunk_start_idx=512, kernel=kernel, chunk_start_idx_tensor=tensor)) for tensor in (False, True)
    )
    assert np.array_equal(by_number.gathered(), by_tensor.gathered())
    later = by_tensor.devices[0].cycles - by_number.devices[0].cycles
    one_read = 540  # cycles on Blackhole, at the least distance (tt-metal's NoC estimator)
    assert one_read < later < 4 * one_read


def test_a_start_in_a_tensor_counts_whole_q_chunks() -> None:
    """What is left over is cut off, as on the chip, which cannot check; it is said beforehand, and the output is suspect."""
    given = spec(S=128, q=128, k=128, chunk_start_idx=192, chunk_start_idx_tensor=True, dtype="bfloat16")
    report = check(given)
    assert report.ok
    (advice,) = (advice for advice in report.warnings if advice.key == "chunk_start_idx")
    assert "begin at 128, not at 192" in advice.message
    accuracy = simulate(given).accuracy
    assert accuracy is not None
    assert accuracy.suspect
    assert check(put(given, advice.change)).ok


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
        healed = check(put(given, change))
        assert healed.ok, healed.text()


def test_a_table_from_a_file_has_a_page_for_every_row(tmp_path: Path) -> None:
    """It may be wider than needed, not narrower."""
    given = spec(S=500, chunk_start_idx=64)
    from_file = put(given, {"paged_kv.page_table": str(tmp_path / "table.npy")})
    for pages, ok in ((8, False), (9, True), (40, True)):
        np.save(tmp_path / "table.npy", np.arange(pages, dtype=np.int32)[None])
        report = check(from_file)
        assert report.ok == ok, report.text()
        assert ok or report.violations[0].key == "paged_kv.page_table"
    assert np.array_equal(simulate(from_file).gathered(), simulate(given).gathered())


def test_what_the_cache_holds_is_given() -> None:
    """A prefix of 128 rows under chunks of 256 is offered chunks that divide it, and no other prefix; field.md's f12."""
    given = read_spec(spec(), ["chunk_start_idx=128", "program_config.q_chunk_size=256", "program_config.k_chunk_size=256"])
    offered = [change for violation in check(given).violations for change in violation.nearest]
    assert {key for change in offered for key in change} == {"program_config.q_chunk_size", "program_config.k_chunk_size"}
    assert all(128 % size == 0 for change in offered for size in change.values())
    assert check(put(given, {"program_config.q_chunk_size": 128, "program_config.k_chunk_size": 128})).ok
