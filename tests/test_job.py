"""A spec is resolved once: who runs, writes a page or emits asks neither `check` nor for the shapes a second time."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tensix_sim import IllegalConfigError, simulate
from tensix_sim.config import BUILT_IN, RunSpec
from tensix_sim.doctor.check import check
from tensix_sim.emit import emit
from tensix_sim.job import Job
from tensix_sim.page import write_report
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.op import OPS, Op
from tensix_sim.trace import Run, open_run

CONFIG = {"compute_with_storage_grid_size": (2, 2), "q_chunk_size": 64, "k_chunk_size": 64}


def spec(op: Op) -> RunSpec:
    """An op's example with all that `check` would fill in, so that any two askers ask for the same spec."""
    configs = {"program_config": CONFIG, "compute_kernel_config": {"math_fidelity": "HiFi2"}}
    return RunSpec.model_validate({"op": op.name, "board": "n300", **op.example, **configs})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often `check` ran, and how often the geometry of each spec was worked out, by the spec's JSON."""
    counts: Counter[str] = Counter()
    examine, of = check.__globals__["examine"], Geometry.__dict__["of"].__func__

    def count_examine(*args: Any) -> Any:
        counts["check"] += 1
        return examine(*args)

    def count_of(kind: type[Geometry], given: RunSpec, *on: Any) -> Geometry:
        counts[given.model_dump_json()] += 1
        made: Geometry = of(kind, given, *on)
        return made

    for module in ("tensix_sim.doctor.check", "tensix_sim.job"):
        monkeypatch.setattr(f"{module}.examine", count_examine)
    monkeypatch.setattr(Geometry, "of", classmethod(count_of))
    return counts


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_a_run_is_resolved_once(asked: Counter[str], op: Op) -> None:
    """One check, one geometry, for all devices of a ring and for what the result says; advice asks for other specs."""
    given = spec(op)
    result = simulate(given)
    result.summary()
    result.gathered()
    assert asked["check"] == 1
    assert asked[given.model_dump_json()] == 1


def test_a_ring_with_its_tail_is_resolved_once(asked: Counter[str]) -> None:
    """The gathers behind it have their shapes from the same job."""
    given = spec(OPS["ring_distributed_sdpa"])
    simulate(given, gather=True)
    assert (asked["check"], asked[given.model_dump_json()]) == (1, 1)


def test_a_page_and_files_of_other_tools_are_resolved_once_each(asked: Counter[str], tmp_path: Path) -> None:
    """From a folder: the page checks for its advice, what is emitted does not; each works the shapes out once."""
    given = spec(OPS["ring_distributed_sdpa"])
    simulate(given).write(tmp_path / "run")
    run: Run = open_run(tmp_path / "run")
    for write, checks in (
        (lambda: write_report(run, [], tmp_path / "page.html"), 1),
        (lambda: emit(run, ("device-log", "perf-csv", "visualizer"), tmp_path / "emitted"), 0),
    ):
        asked.clear()
        write()
        assert asked["check"] == checks
        assert asked[run.spec.model_dump_json()] == 1


def test_a_job_is_what_its_spec_says() -> None:
    """The same shapes and report, resolved with a check or without; an illegal spec has no job."""
    job, unasked = Job.of(BUILT_IN), Job.legal(BUILT_IN)
    assert job.geometry == unasked.geometry == Geometry.of(BUILT_IN)
    assert job.report == unasked.report == check(BUILT_IN)
    assert job.ring_ids == (0, 1, 2, 3)
    assert job.op.ring
    with pytest.raises(IllegalConfigError, match="ring_size"):
        Job.of(BUILT_IN.model_copy(update={"ring_size": 3}))
