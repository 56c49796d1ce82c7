"""The sweep: which configs there are, that none that could win is passed over, and that nothing measured is lost."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from processes import HANGS, await_event
from pydantic import ValidationError
from specs import PLAIN, RING, Raw, raw

import tensix_sim
from tensix_sim.cli import main
from tensix_sim.config import RunSpec
from tensix_sim.device import run_device
from tensix_sim.doctor.check import check
from tensix_sim.job import Job
from tensix_sim.measure import cycles_alone, shortened
from tensix_sim.screen import tune_screen
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.op import positions
from tensix_sim.simulation import simulate
from tensix_sim.tuning import (
    EmptySpaceError,
    Interrupted,
    Space,
    Store,
    StoreError,
    Tuning,
    read_lengths,
    read_space,
    search,
    tune,
)
from tensix_sim.tuning.search import _Candidate
from tensix_sim.tuning.space import Config, legal_configs
from tensix_sim.workers import Workers


def quick(op: str = RING, **changes: Any) -> Raw:
    """Write a spec that runs in a blink."""
    return raw(op, **{"board": "n150", "numerics": "off", "trace": "off"} | changes)


def spec(**changes: Any) -> RunSpec:
    """The same, validated."""
    return RunSpec.model_validate(quick(**changes))


SDPA = {"op": PLAIN, "S": 192}
WORKLOADS = {
    "ring": quick(),
    "cross": quick(**SDPA, is_causal=False),
    "fp32": quick(S=256, fidelity="HiFi4", fp32=True),
}


def every_pair(given: Raw) -> dict[tuple[int, int], Raw]:
    """All legal specs that differ from one in their chunks, found by asking `check`."""
    rows = range(32, given["inputs"]["seq_len"] + 1, 32)
    made = {
        (q, k): given | {"program_config": given["program_config"] | {"q_chunk_size": q, "k_chunk_size": k}}
        for q, k in product(rows, rows)
    }
    return {chunks: one for chunks, one in made.items() if check(one).ok}


def wall(given: Raw) -> int:
    """The slowest device's cycles."""
    return max(device.cycles for device in simulate(given).devices)


# -- which configs there are --------------------------------------------------------------------------------


@pytest.mark.parametrize("given", WORKLOADS.values(), ids=WORKLOADS)
def test_free_chunks_are_all_legal_pairs(given: Raw) -> None:
    """The space has exactly the pairs of whole tiles that `check` calls legal."""
    found = [c.settings for c in legal_configs(Space.model_validate({"spec": given}))]
    assert sorted((c["q_chunk"], c["k_chunk"]) for c in found) == sorted(every_pair(given))


def test_every_config_of_a_space_is_legal() -> None:
    """With everything free, no config breaks a rule, none is there twice, and each has what it says."""
    space = Space(spec=spec(S=256), grid=((1, 1), (2, 1)), fidelity="free", fp32_dest="free", dtype="free", kernel="free")
    configs = legal_configs(space)
    assert len({json.dumps(c.settings) for c in configs}) == len(configs) > 500
    for c in random.Random(1).sample(configs, 60):
        assert check(c.spec).ok
        assert c.spec.program_config is not None
        assert c.settings["grid"] == c.spec.program_config.compute_with_storage_grid_size
        assert c.settings["kernel"] == c.spec.kernel
        assert c.l1_bytes == sum(buffer.bytes for buffer in Geometry.of(c.spec).buffers)
    wide_streaming = [c for c in configs if c.settings["kernel"] == "streaming" and c.settings["fp32_dest"]]
    assert not wide_streaming


def test_a_free_grid_is_every_rectangle_on_the_board() -> None:
    """As many as the board has columns times rows."""
    space = Space(spec=spec(), q_chunk="fixed", k_chunk="fixed", grid="free")
    assert {c.settings["grid"] for c in legal_configs(space)} == set(product(range(1, 9), range(1, 9)))


def test_listed_values_that_are_illegal_are_passed_over() -> None:
    """Of a list only the legal values are tried; a list of illegal ones is an error that says why."""
    listed = legal_configs(Space(spec=spec(), q_chunk=(32, 48, 128), k_chunk="fixed"))
    assert [c.settings for c in listed] == [{"q_chunk": 32}, {"q_chunk": 128}]
    with pytest.raises(EmptySpaceError, match="no config of the space is legal"):
        legal_configs(Space(spec=spec(q=48), q_chunk=(48,), k_chunk="fixed"))
    with pytest.raises(EmptySpaceError, match="even number of devices"):
        legal_configs(Space(spec=spec(ring_size=3)))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], {"q_chunk": "free", "k_chunk": "free"}),
        (["k_chunk"], {"q_chunk": "fixed", "k_chunk": "free"}),
        (["q_chunk=64,128", "grid=8x8,7x10"], {"q_chunk": (64, 128), "k_chunk": "fixed", "grid": ((8, 8), (7, 10))}),
        (["fp32_dest=true,false", "fidelity=LoFi"], {"fp32_dest": (True, False), "fidelity": ("LoFi",)}),
        (["dtype", "kernel=legacy"], {"dtype": "free", "kernel": ("legacy",)}),
    ],
)
def test_words_make_a_space(words: list[str], wanted: Raw) -> None:
    """What the command line says is what varies, and nothing else."""
    space = read_space(spec(), words, 1.5)
    assert {name: getattr(space, name) for name in wanted} == wanted
    assert space.within == 1.5


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("q_chnk", "there is no setting 'q_chnk' to vary; there are q_chunk"),
        ("q_chunk=big", "q_chunk=big"),
        ("grid=8", "grid=8"),
        ("fidelity=HiFi5", "fidelity=HiFi5"),
        ("q_chunk=", "q_chunk="),
    ],
)
def test_words_that_make_none(word: str, says: str) -> None:
    """The error shows the word."""
    with pytest.raises(ValueError, match=says):
        read_space(spec(), [word], 1.25)


def test_lengths() -> None:
    """A doubling range up to its end, or a list."""
    assert read_lengths("2048..16384") == [2048, 4096, 8192, 16384]
    assert read_lengths("3000..10000") == [3000, 6000]
    assert read_lengths("2048,6144") == [2048, 6144]
    for wrong in ("4096..2048", "a..b", "", "0..8", "1,,2"):
        with pytest.raises(ValueError, match="--seq-lens"):
            read_lengths(wrong)


# -- bounds -------------------------------------------------------------------------------------------------


def some_specs() -> list[RunSpec]:
    """Small legal specs of every op, kernel and kind of mask, on few and on many cores."""
    rng = random.Random(5)
    made: list[RunSpec] = []
    while len(made) < 30:
        more: Raw = rng.choice(
            [{}, SDPA, SDPA | {"is_causal": False}, SDPA | {"sliding_window_size": 96}, {"kernel": "streaming"}]
        )
        given = quick(**{"q": 32 * rng.randint(1, 4), "k": 32 * rng.randint(1, 6)} | more)
        given["inputs"] = given["inputs"] | {"dtype": rng.choice(["bfloat16", "bfloat8_b"])}
        given["program_config"]["compute_with_storage_grid_size"] = rng.choice([[1, 1], [2, 2], [8, 8]])
        given["machine"] = rng.choice([{}, {"dram.bank_rate": 2.0}])
        if check(given).ok:
            made.append(RunSpec.model_validate(given))
    return made


@pytest.mark.parametrize(
    "one", some_specs(), ids=lambda s: f"{s.op}-{s.program_config.q_chunk_size}-{s.program_config.k_chunk_size}"
)
def test_no_run_beats_its_bounds(one: RunSpec) -> None:
    """Products and bytes bound a run, and so does its busiest core alone, on each device."""
    bound = _Candidate.of(Config({}, one, 0, ()), 0, wanted=False, in_space=True).least
    for ring_id in positions(one):
        cycles = run_device(Job.of(one), ring_id).device.cycles
        assert bound <= cycles
        assert cycles_alone(one, ring_id) * search.SURE <= cycles


# -- the search ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", WORKLOADS.values(), ids=WORKLOADS)
def test_the_front_is_what_brute_force_finds(given: Raw) -> None:
    """The fastest is the fastest of all; every config off the front is slower than one as small on it, or too slow."""
    walls = {chunks: wall(one) for chunks, one in every_pair(given).items()}
    found = tune(given, accuracy=False)
    front = {tuple(m.settings.values()): m for m in found.front}
    assert found.winner.cycles == found.front[0].cycles == min(walls.values())
    assert found.legal == len(walls) >= 3 * found.run or found.run < len(walls)
    for chunks, m in front.items():
        assert walls[chunks] == m.cycles
        assert m.cycles <= found.space.within * min(walls.values())
    sizes = {tuple(c.settings.values()): c.l1_bytes for c in legal_configs(found.space)}
    for chunks in walls.keys() - front.keys():
        beaten = any(m.cycles <= walls[chunks] and m.l1_bytes <= sizes[chunks] for m in front.values())
        assert beaten or walls[chunks] > found.space.within * min(walls.values())


@contextmanager
def hasty_workers() -> Iterator[Workers]:
    """Three threads whose results come in no order."""
    rng = random.Random(3)

    def later(function: Callable[..., Any], *args: Any) -> Any:
        time.sleep(rng.random() / 100)
        return function(*args)

    with ThreadPoolExecutor(3) as pool:
        yield Workers(lambda function, *args: pool.submit(later, function, *args), lambda: 3)


@pytest.mark.slow
def test_the_answer_does_not_depend_on_who_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that finish in any order, and other processes, find the same to the byte."""
    alone = tune(quick())
    beside = tune(quick(), jobs=2)
    monkeypatch.setattr(search, "workers", lambda jobs: hasty_workers())
    assert alone.model_dump_json() == beside.model_dump_json() == tune(quick()).model_dump_json()


def test_a_config_that_is_slower_but_more_accurate_stays() -> None:
    """Over fidelities, the front has one for each accuracy that is worth its time; the winner is as good as the given."""
    given = quick(compute_kernel_config={"math_fidelity": "HiFi2"})
    given["inputs"] = given["inputs"] | {"dtype": "bfloat16"}
    found = tune(Space.model_validate({"spec": given, "q_chunk": "fixed", "k_chunk": "fixed", "fidelity": "free"}))
    errors = [m.rel_l2 for m in found.front]
    assert found.front[0].settings["fidelity"] == "LoFi"
    assert all(error is not None for error in errors)
    assert errors == sorted(errors, reverse=True)
    assert len(errors) > 1
    assert found.winner.rel_l2 is not None
    assert found.given is not None
    assert found.given.rel_l2 is not None
    assert found.winner.rel_l2 <= found.given.rel_l2 * 1.1
    assert found.winner.settings["fidelity"] != "LoFi"


def test_every_config_of_the_front_has_its_numbers() -> None:
    """Also where numbers show that a better setting is no more accurate, and what it beat has none."""
    given = quick(S=256, op=PLAIN, board="p150b")
    found = tune(read_space(RunSpec.model_validate(given), ["k_chunk", "fidelity=LoFi,HiFi2", "dtype=bfloat16,bfloat8_b"], 1.25))
    assert len(found.front) > 2
    assert all(one.rel_l2 for one in found.front)


def test_an_illegal_spec_is_tuned_too() -> None:
    """What is given need not be legal, as long as something in the space is."""
    found = tune(quick(q=96), accuracy=False)
    assert found.given is None
    assert found.gain is None
    assert found.winner.cycles == tune(quick(), accuracy=False).winner.cycles


def test_the_given_config_is_run_even_outside_the_space() -> None:
    """A list without the given value still says how much faster its best is."""
    found = tune(Space(spec=spec(q=128), q_chunk=(32, 64), k_chunk="fixed"), accuracy=False)
    assert found.given is not None
    assert found.given.settings == {"q_chunk": 128}
    assert found.given.cycles == wall(quick(q=128))
    assert {m.settings["q_chunk"] for m in found.front} <= {32, 64}
    assert found.gain == found.given.cycles / found.winner.cycles


def test_numbers_are_those_of_a_shorter_run() -> None:
    """A long drawn sequence is cut to a legal one of at most 4096 rows and one head; a short one keeps its rows."""
    long, short = shortened(spec(S=2**17, q=96 * 2**5 // 3)), shortened(spec())
    for one in (long, short):
        assert check(one).ok
        assert (one.inputs.q_heads, one.numerics) == (1, "fast")
    assert (long.inputs.seq_len, short.inputs.seq_len) == (4096, 512)


def test_numbers_of_a_mask_and_of_sinks_are_of_drawn_ones() -> None:
    """Whatever heads theirs were of, and whether they came from files: one head has one mask and one sink."""
    given = raw(PLAIN, is_causal=False, batch=2, inputs__attn_mask="random", inputs__attn_mask_batch=2, inputs__attn_mask_heads=2)
    given["inputs"]["attention_sink"] = "nowhere.npy"
    short = shortened(RunSpec.model_validate(given))
    assert check(short).ok
    assert (short.inputs.attn_mask, short.inputs.attention_sink) == ("random", "random")


def test_the_winner_is_code() -> None:
    """The line can be pasted: it says all that is not ttnn's default."""
    config = tune(quick(), accuracy=False).winner.spec.program_config
    assert config is not None
    q, k = config.q_chunk_size, config.k_chunk_size
    wanted = f"ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(2, 2), q_chunk_size={q}, k_chunk_size={k})"
    assert config.as_ttnn == wanted


def test_a_space_refuses_what_it_does_not_know() -> None:
    """Unknown settings and empty lists are errors."""
    for wrong in ({"subblock": "free"}, {"q_chunk": ()}, {"q_chunk": "all"}, {"within": 0.5}):
        with pytest.raises(ValidationError):
            Space.model_validate({"spec": quick(), **wrong})


def test_the_package_offers_it() -> None:
    """`tensix_sim.tune` takes a spec as it is written."""
    assert isinstance(tensix_sim.tune(quick(S=256), accuracy=False), Tuning)


# -- the store ----------------------------------------------------------------------------------------------


class Counting:
    """Workers of this process that note what they are asked, and stop at the `last`."""

    def __init__(self, last: int | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.last = last

    @contextmanager
    def __call__(self, jobs: int) -> Iterator[Workers]:
        """Stand in for `workers`."""
        yield Workers(self.submit, lambda: 1)

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Do it at once, unless it is one too many."""
        if len(self.asked) == self.last:
            raise KeyboardInterrupt
        what, given, ring_id = args
        self.asked.append((what, given.model_dump_json(), ring_id))
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future


def test_what_is_stored_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sweep runs nothing; one interrupted anywhere goes on, asks for nothing twice, and finds the same."""
    whole, again = Counting(), Counting()
    monkeypatch.setattr(search, "workers", whole)
    wanted = tune(quick(S=256), store=tmp_path / "a.sqlite")
    monkeypatch.setattr(search, "workers", again)
    assert tune(quick(S=256), store=tmp_path / "a.sqlite") == wanted
    assert not again.asked
    for last in range(0, len(whole.asked), 5):
        store = tmp_path / f"{last}.sqlite"
        first, second = Counting(last), Counting()
        monkeypatch.setattr(search, "workers", first)
        with pytest.raises(Interrupted) as stopped:
            tune(quick(S=256), store=store)
        assert (stopped.value.so_far is None) == all(what != "device" for what, _, _ in first.asked[:-1])
        monkeypatch.setattr(search, "workers", second)
        assert tune(quick(S=256), store=store) == wanted
        assert first.asked + second.asked == whole.asked


def test_another_version_of_the_simulator_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other source code measured is not used."""
    counting = Counting()
    tune(quick(S=256), store=tmp_path / "runs.sqlite", accuracy=False)
    monkeypatch.setattr("tensix_sim.store.model_version", lambda: "another")
    monkeypatch.setattr(search, "workers", counting)
    tune(quick(S=256), store=tmp_path / "runs.sqlite", accuracy=False)
    assert counting.asked


def test_one_store_serves_many_specs(tmp_path: Path) -> None:
    """Keys tell specs, devices and kinds of number apart, and ignore what changes nothing."""
    with closing(Store(tmp_path / "runs.sqlite")) as store:
        store.put("device", 0, spec(), 5)
        assert store.get("device", 0, spec()) == 5
        assert store.get("device", 0, spec(trace="zones", numerics="fast", queue_id=1)) == 5
        for other in (("device", 1, spec()), ("alone", 0, spec()), ("device", 0, spec(q=32)), ("error", 0, spec())):
            assert store.get(*other) is None


def test_what_a_file_holds_counts(tmp_path: Path) -> None:
    """Another page table is another run, and so are other values for an error; for a time, values are not looked at."""
    table, q = tmp_path / "table.npy", tmp_path / "q.npy"
    paged = {"op": "chunked_sdpa", "chunk_start_idx": 0, "paged_kv": {"block_size": 64, "page_table": str(table)}}
    one = RunSpec.model_validate(quick(S=256) | paged)
    two = one.model_copy(update={"paged_kv": None, "inputs": one.inputs.model_copy(update={"q": str(q)})})
    np.save(table, np.arange(4, dtype=np.int32)[None])
    np.save(q, np.zeros((1, 1, 256, 64), np.float32))
    with closing(Store()) as store:
        for given in (one, two):
            store.put("device", 0, given, 5)
            store.put("error", 0, given, 0.5)
        np.save(table, np.arange(4, dtype=np.int32)[None, ::-1])
        np.save(q, np.ones((1, 1, 256, 64), np.float32))
        assert [store.get("device", 0, given) for given in (one, two)] == [None, 5]
        assert [store.get("error", 0, given) for given in (one, two)] == [None, None]


@pytest.mark.parametrize("kind", ["text", "folder", "other"])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, kind: str) -> None:
    """The message names the file; the file is left as it was."""
    path = tmp_path / "runs.sqlite"
    if kind == "text":
        path.write_text("not a database, but long enough to look at" * 50)
    elif kind == "folder":
        path.mkdir()
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("create table runs (a)")
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=r"runs.sqlite: .*; give another --store"):
        Store(path)
    assert before is None or path.read_bytes() == before


# -- the command --------------------------------------------------------------------------------------------


def write(path: Path, given: Raw) -> str:
    """Write a spec as YAML, of which JSON is a part."""
    path.write_text(json.dumps(given))
    return str(path)


def run_cli(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.stdout, done.stderr


def test_the_screen(tmp_path: Path) -> None:
    """The table has winner and given, the gain, and the line to paste; stderr has what was run."""
    given, store = write(tmp_path / "spec.yaml", quick()), str(tmp_path / "runs.sqlite")
    code, out, err = run_cli("tune", given, "--store", store, "--jobs", "1", "--json", str(tmp_path / "t.json"))
    assert code == 0
    assert "winner" in out
    assert "given" in out
    assert "ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(2, 2)" in out
    assert "times as fast as the given config" in out
    assert f"the given one too; kept in {store}" in err
    written = json.loads((tmp_path / "t.json").read_text())
    assert Tuning.model_validate(written).winner.cycles == written["winner"]["cycles"]
    assert "run" not in written


@pytest.mark.parametrize("clear", [True, False])
def test_a_gain_that_is_too_small_to_tell_is_no_advice(monkeypatch: pytest.MonkeyPatch, clear: bool) -> None:
    """Then the given config is what to paste, and the screen says why; the winner is still shown."""
    monkeypatch.setattr(search, "tells", lambda before, after: clear)
    found = tune(quick(), accuracy=False)
    assert found.given is not None
    assert found.winner.spec != found.given.spec
    assert found.recommended == (found.winner if clear else found.given)
    screen = tune_screen(found)
    assert ("too small to tell: keep the given config" in screen) is not clear
    assert found.recommended.spec.program_config is not None
    assert found.recommended.spec.program_config.as_ttnn in screen


def test_a_sweep_of_some_positions_says_so() -> None:
    """The slowest of those that ran counts, which the slowest of all need not be among; nothing is said where all ran."""
    some, every = (tune_screen(tune(quick(ring_ids=ids), accuracy=False)) for ids in ([1], "all"))
    assert "only position 1 of 2 ran: others may take longer" in " ".join(some.split())
    assert "others may take longer" not in every


@pytest.mark.slow
def test_the_next_lower_fidelity_is_tried() -> None:
    """Of the winner, outside the space and after it: as a plain run takes, with its error; not where fidelity varies."""
    found = tune(quick(compute_kernel_config={"math_fidelity": "HiFi4"}))
    lower = found.less_faithful
    assert lower is not None
    assert lower.spec.effective_compute_config.math_fidelity == "HiFi3"
    assert lower.spec.program_config == found.winner.spec.program_config
    assert lower.cycles == wall(lower.spec)
    assert lower.rel_l2 is not None
    assert tune(Space.model_validate({"spec": quick(), "fidelity": "free"}), accuracy=False).less_faithful is None
    assert tune(quick(compute_kernel_config={"math_fidelity": "LoFi"}), accuracy=False).less_faithful is None


@pytest.mark.slow
def test_lengths_are_a_table_and_a_plot(tmp_path: Path) -> None:
    """A line for each length with the given config, the best and the gain; the picture is the same bytes each time."""
    given, store = write(tmp_path / "spec.yaml", quick()), str(tmp_path / "runs.sqlite")
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        words = ("--seq-lens", "256..512", "--plot", str(picture), "--store", store, "--jobs", "1")
        code, out, _ = run_cli("tune", given, *words)
        assert code == 0
    lines = out.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["tokens", "256", "512"]
    assert all("64/64" in line for line in lines[1:])
    assert "such times against silicon" in out
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert b"<svg" in pictures[0].read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--vary", "chunks"], 2, "there is no setting 'chunks'"),
        (["--seq-lens", "8..4"], 2, "begins after its end"),
        (["--plot", "a.svg"], 2, "give --seq-lens too"),
        (["--set", "ring_size=3"], 1, "even number of devices"),
        (["--set", "inputs.seq_len=many"], 1, "inputs.seq_len"),
        (["--preset", "llama"], 1, "there is no such preset"),
        (["--dask", "nowhere"], 2, "nowhere"),
        (["--vary", "q_chunk=33"], 1, "program_config.q_chunk_size = 33"),
        (["--set", "machine.l1.reserved=1400000"], 1, "machine.l1.reserved = 1400000"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    """One line on stderr that says what is wrong, and the exit code."""
    given = [] if "--preset" in words else [write(tmp_path / "spec.yaml", quick())]
    found, out, err = run_cli("tune", *given, "--store", str(tmp_path / "runs.sqlite"), "--jobs", "1", *words)
    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err


def sweep(folder: Path, *words: str, rows: int = 1024) -> list[str]:
    """The command of a sweep that takes some seconds."""
    given = write(folder / "spec.yaml", quick(S=rows))
    return [sys.executable, "-m", "tensix_sim.cli", "tune", given, "--store", str(folder / "runs.sqlite"), *words]


def rows_of(store: Path) -> list[tuple[Any, ...]]:
    """What a store holds, which must be whole; nothing before it is made."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(store, timeout=HANGS)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        if not connection.execute("select name from sqlite_master where name = 'runs'").fetchone():
            return []
        return connection.execute("select what, ring_id, spec, found from runs").fetchall()


def holds(store: Path, rows: int) -> bool:
    """Whether a store has come to so many rows."""
    return len(rows_of(store)) >= rows


@pytest.mark.slow
def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    """Killed at five moments and begun again: nothing measured is lost or measured anew, and the answer is the same."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    wanted = subprocess.run(sweep(whole, "--jobs", "1"), capture_output=True, text=True, check=True).stdout
    before: list[tuple[Any, ...]] = []
    for more in (1, 2, 1, 3, 2):
        process = subprocess.Popen(sweep(killed, "--jobs", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_event(partial(holds, killed / "runs.sqlite", len(before) + more), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = rows_of(killed / "runs.sqlite")
        assert set(before) <= set(after)
        before = after
    done = subprocess.run(sweep(killed, "--jobs", "1"), capture_output=True, text=True, check=True)
    assert done.stdout == wanted
    assert sorted(rows_of(killed / "runs.sqlite")) == sorted(rows_of(whole / "runs.sqlite"))


@pytest.mark.slow
@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    """Exit code 130, what was found so far on stdout, and a store from which the next sweep goes on."""
    process = subprocess.Popen(
        sweep(tmp_path, "--jobs", "2", rows=4096), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    await_event(lambda: any(what == "device" for what, *_ in rows_of(tmp_path / "runs.sqlite")), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert not out or out.startswith("so far:")


@pytest.mark.slow
def test_a_dask_cluster_finds_the_same_with_a_worker_lost(tmp_path: Path) -> None:
    """A scheduler and two workers on loopback, one of them killed mid-sweep: the answer of one process, nothing run twice."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> Path:
        log = tmp_path / f"{len(started)}.log"
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        with log.open("wb") as file:
            started.append(subprocess.Popen(command, stderr=file, stdout=file, env=environment))
        return log

    def wait_for(log: Path, sign: str) -> str:
        return await_event(lambda: [line for line in log.read_text().splitlines() if sign in line], started[-1])[0]

    try:
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        address = wait_for(scheduler, "Scheduler at:").split()[-1]
        workers = [start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2)]
        for worker in workers:
            wait_for(worker, "Registered to:")
        local, remote = tmp_path / "local", tmp_path / "remote"
        local.mkdir()
        remote.mkdir()
        wanted = subprocess.run(sweep(local, "--jobs", "1", rows=2048), capture_output=True, text=True, check=True).stdout
        command = sweep(remote, "--dask", address, rows=2048)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        await_event(partial(holds, remote / "runs.sqlite", 5), process)
        started[1].kill()
        lost_after = len(rows_of(remote / "runs.sqlite"))
        out, err = process.communicate(timeout=HANGS)
        assert process.returncode == 0, err
        assert out == wanted
        assert len(rows_of(remote / "runs.sqlite")) > lost_after
        row = [sys.executable, "-m", "tensix_sim.cli", "validate", "--only", "wh-vision-t3k", "--dask", address]
        assert "1 " in subprocess.run(row, capture_output=True, text=True, check=True, env=environment).stdout
    finally:
        for process in started:
            process.kill()
            process.wait()
