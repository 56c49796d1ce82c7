"""Compiled code on disk: found again by the next process, and compiled anew when anything that went into it has changed."""

import importlib
import sys

import pytest

from tensix_sim.hw import jit

numba = pytest.importorskip("numba")

INNER = """
from tensix_sim.hw import jit

@jit.compiler()
def added(x):
    return x + 1
"""
OUTER = """
import inner
from inner import added
from tensix_sim.hw import jit

@jit.compiler(inner)
def doubled(x):
    return added(x) * 2
"""


@pytest.fixture
def outer(tmp_path, monkeypatch):
    """Write a function that is compiled into another module's, import both anew: what comes of 3, and how often it was found."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "outer.py").write_text(OUTER)

    def run(inner: str):
        (tmp_path / "inner.py").write_text(inner)
        for name in ("inner", "outer"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        function = importlib.import_module("outer").doubled
        return function(3), sum(function.stats.cache_hits.values())

    yield run
    for name in ("inner", "outer"):
        sys.modules.pop(name, None)


def test_what_was_compiled_is_found_again_until_what_it_uses_changes(outer) -> None:
    """An edit of the other module alone shows at once, and with it undone the first result is there once more."""
    assert outer(INNER) == (8, 0)
    assert outer(INNER) == (8, 1)
    assert outer(INNER.replace("+ 1", "+ 10")) == (26, 0)
    assert outer(INNER) == (8, 1)


def test_the_first_run_says_why_it_takes_long(caplog) -> None:
    """Compiling one of the simulator's loops is told once in a process, whoever compiles, and compiling others' is not."""
    jit._say_why.cache_clear()
    for module in ("elsewhere", "tensix_sim.hw.first", "tensix_sim.hw.second"):

        def loop(x):
            return x

        loop.__module__ = module
        numba.njit(loop)(1)
        assert len(caplog.records) == (module != "elsewhere")
    assert "compiling" in caplog.text
