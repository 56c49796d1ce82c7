"""The mask against its definition, key by key: chunks visited, columns computed, tiles stamped."""

import random

import numpy as np
import pytest

from tensix_sim.kernels.sdpa.mask import Mask


def some_mask(seed: int) -> tuple[Mask, int]:
    """Make a mask of any kind, and the rows of Q."""
    rng = random.Random(seed)
    M, N, causal = rng.randint(1, 6), rng.randint(1, 6), rng.random() < 0.5
    rows = rng.randint(1, 900)
    keys = rows if causal else rng.randint(1, 900)
    window = rng.choice([None, rng.randint(1, 40), rng.randint(1, 1000)])
    if window is not None and not causal:
        rows = min(rows, keys + window // 2)
    return Mask(M, N, keys, causal, window, narrow=rng.random() < 0.5, padded=bool(keys % (32 * N))), rows


def seen(mask: Mask, q: int, k: int) -> bool:
    """Tell whether query `q` sees key `k`, by the op's definition."""
    if mask.causal:
        return k <= q and (mask.window is None or k > q - mask.window)
    return mask.window is None or abs(k - q) <= mask.window // 2


@pytest.mark.parametrize("seed", range(150))
def test_a_query_sees_what_the_definition_says(seed: int) -> None:
    """What is visited, computed and not stamped is what is seen; no chunk is visited for nothing, no column computed so."""
    mask, rows = some_mask(seed)
    palette = mask.tiles()[0] if mask.palette else None
    for row in range(0, -(-rows // 32), mask.M):
        queries = np.arange(32 * row, min(32 * (row + mask.M), rows))
        expected = np.array([[seen(mask, q, k) for k in range(mask.keys)] for q in queries])
        found = np.zeros((32 * mask.M, 32 * (mask.N + -(-mask.keys // 32))), bool)
        visited = mask.k_range(row)
        assert len(visited)
        for j in visited:
            active = mask.active(row, j)
            assert 1 <= active <= mask.N
            assert active == mask.N or mask.narrow
            scores = np.zeros((mask.M, 32, active, 32), np.float32)
            for tile, i, columns in mask.marks(row, j):
                assert palette is not None
                assert 0 <= columns.start < columns.stop <= active
                scores[i, :, columns.start : columns.stop] += palette[:, tile : tile + 1]
            found[:, 32 * j * mask.N : 32 * (j * mask.N + active)] = scores.reshape(32 * mask.M, -1) > -np.inf
        assert np.array_equal(found[: len(queries), : mask.keys], expected)
        assert mask.causal or not found[: len(queries), mask.keys :].any()


@pytest.mark.parametrize("seed", range(30))
def test_windows_hide_each_other(seed: int) -> None:
    """The blocks of the K chunks that are visited leave to a query its window, key by key; no chunk is visited for nothing."""
    rng = random.Random(seed)
    M, N, rows = rng.randint(1, 4), rng.randint(1, 4), rng.randint(1, 700)
    windows = (0, *sorted(rng.randint(0, rows) for _ in range(rng.randint(0, 9))), rows)
    mask = Mask(M, N, rows, causal=False, given=True, windows=windows)
    of = [sum(begin <= token for begin in windows) for token in range(rows)]
    for row in range(0, -(-rows // 32), M):
        queries = range(32 * row, min(32 * (row + M), rows))
        found = np.zeros((len(queries), rows + 32 * N), bool)
        visited = mask.k_range(row)
        for j in visited:
            seen = (mask.block(row, j).reshape(32 * M, 32 * N) == 0)[: len(queries)]
            found[:, 32 * N * j : 32 * N * (j + 1)] = seen
            assert seen.any() or visited[0] < j < visited[-1]
        assert np.array_equal(found[:, :rows], [[of[q] == of[k] for k in range(rows)] for q in queries])


def test_stamps_of_an_aligned_causal_chunk() -> None:
    """M on the diagonal and M (M - 1) / 2 beyond it, once a Q chunk."""
    mask = Mask(4, 4, 4096)
    for row in range(0, 128, 4):
        *before, last = mask.k_range(row)
        assert not any(mask.marks(row, j) for j in before)
        sizes = [len(columns) for _, _, columns in mask.marks(row, last)]
        assert (len(sizes), sum(sizes)) == (4 + 3, 4 + 6)


@pytest.mark.parametrize(
    ("mask", "tiles"),
    [
        (Mask(4, 4, 4096), 2),
        (Mask(4, 4, 4095), 2),
        (Mask(4, 4, 4096, causal=False), 0),
        (Mask(4, 4, 4064, causal=False, padded=True), 1),
        (Mask(4, 4, 4090, causal=False, padded=True), 2),
        (Mask(4, 4, 4096, window=100), 5),
        (Mask(4, 4, 4096, causal=False, window=100), 5),
        (Mask(4, 4, 4090, causal=False, window=100), 6),
    ],
)
def test_palette(mask: Mask, tiles: int) -> None:
    """Tiles of each kind of mask."""
    assert mask.palette == tiles


def test_a_window_bounds_the_chunks() -> None:
    """1024 keys of 8192 in chunks of 128: nine chunks at most, and no more than the window touches."""
    mask = Mask(4, 4, 8192, window=1024)
    visited = [len(mask.k_range(row)) for row in range(0, 256, 4)]
    assert visited == [min(i + 1, 9) for i in range(64)]


def test_marks_are_made_once() -> None:
    """The same place along the diagonal gives the same list."""
    mask = Mask(4, 8, 65536)
    assert mask.marks(8, 1) is mask.marks(1608, 201)
