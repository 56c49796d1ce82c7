"""How far `numerics: fast` is from `exact`: whole runs, then verb by verb. The tables of docs/numerics.md; takes a minute."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensix_sim import simulate
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, TILE, Values, to_format
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.exact import Exact
from tensix_sim.program import ComputeConfig

RUN: dict[str, Any] = {
    "board": "p150b",
    "ring_size": 4,
    "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 4096, "head_dim": 128, "dtype": "bfloat16"},
    "program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 128, "k_chunk_size": 256},
    "trace": "off",
}
RUNS: dict[str, dict[str, Any]] = {
    "bfloat16, HiFi2, 16-bit DST": {"math_fidelity": "HiFi2"},
    "bfloat16, LoFi, 16-bit DST": {"math_fidelity": "LoFi"},
    "bfloat16, HiFi4, 16-bit DST": {"math_fidelity": "HiFi4"},
    "bfloat16, HiFi4, 32-bit DST": {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True},
    "bfloat8_b, HiFi2, 16-bit DST": {"math_fidelity": "HiFi2"},
    "bfloat8_b, HiFi4, 32-bit DST": {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True},
}
CONFIGS = {"HiFi2, 16-bit": ComputeConfig("HiFi2", False), "HiFi4, 32-bit": ComputeConfig("HiFi4", True)}
SCALE = 128**-0.5


def apart(x: Values, y: Values) -> float:
    """Relative L2 distance from y."""
    return float(np.linalg.norm(x.astype(np.float64) - y) / np.linalg.norm(y))


def runs() -> Iterator[str]:
    """Lines of the table of whole runs: distances from float64, and between the two arithmetics."""
    yield "| run, S=4096, ring of 4, chunks of 128 and 256 | `exact` from float64 | `fast` from float64 | `fast` from `exact` |"
    yield "|---|---|---|---|"
    for name, compute in RUNS.items():
        spec = RUN | {"compute_kernel_config": compute}
        spec["inputs"] = RUN["inputs"] | {"dtype": name.split(",")[0]}
        exact, fast = (simulate(spec | {"numerics": numerics}) for numerics in ("exact", "fast"))
        assert exact.accuracy is not None
        assert fast.accuracy is not None
        between = apart(fast.gathered(), exact.gathered())
        yield f"| {name} | {exact.accuracy.rel_l2:.3%} | {fast.accuracy.rel_l2:.3%} | {between:.3%} |"


def results(config: ComputeConfig, is_exact: bool) -> dict[str, Values]:
    """What each verb makes of the same operands, which are as the kernels have them."""
    math: Any = (Exact if is_exact else Arithmetic)(config, machine("p150b").chip.numbers)
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> Values:
        return to_format(rng.standard_normal(shape).astype(np.float32), BFLOAT16)

    def sizes(*shape: int) -> Values:
        return to_format((1 + 3 * rng.random(shape)).astype(np.float32), BFLOAT16)

    q, k, v = normal(4, TILE, 4, TILE), normal(4, TILE, 8, TILE), normal(8, TILE, 4, TILE)
    o, total, factor = normal(4, TILE, 4, TILE), sizes(4, TILE, 8, TILE), sizes(4, TILE, 1, 1)
    scores = to_format((11 * rng.standard_normal((4, TILE, 8, TILE))).astype(np.float32), BFLOAT16)
    most = scores.max(axis=(2, 3), keepdims=True)
    p = to_format(np.exp((scores - most) * SCALE), BFLOAT16)
    probabilities, onto = scores.copy(), o.copy()
    math.subtract(probabilities, BFLOAT16, most, BFLOAT16)
    math.exp_fast(probabilities, SCALE, BFLOAT16)
    math.accumulate(onto, v[:4].copy(), BFLOAT16)
    difference = most - np.float32(1.5)
    math.subtract(difference, BFLOAT16, most, BFLOAT16)
    return {
        "`Matmul`, Q Kᵀ, 128 products a sum": math.matmul(q, BFLOAT16, k, BFLOAT16, BFLOAT16, True),
        "`Matmul`, P V, 256 products a sum": math.matmul(p, BFLOAT16, v, BFLOAT16, BFLOAT16, False),
        "`RowMax`": math.max_rows(scores, BFLOAT16, None),
        "`SubExp`": probabilities,
        "its row sums": math.add_up(p, BFLOAT16, BFLOAT16),
        "`ExpDifference`": math.exp(difference, SCALE, BFLOAT16),
        "`MulColumn`": math.pack(math.multiply(o, BFLOAT16, factor, BFLOAT16), BFLOAT16),
        "the same, packed to bfloat8_b": math.pack(math.multiply(o, BFLOAT16, factor, BFLOAT16), BFLOAT8_B),
        "accumulating pack": onto,
        "`Add`": math.pack(math.add(o, BFLOAT16, v[:4], BFLOAT16), BFLOAT16),
        "`RowSum`": math.pack(math.sum_columns(total[:, :, :1], BFLOAT16), BFLOAT16),
        "`Reciprocal`": math.reciprocal(factor, BFLOAT16),
        "`SumReciprocal`, the streaming kernel's": math.reciprocal(factor, BFLOAT16, newer=True),
    }


def verbs() -> Iterator[str]:
    """Lines of the table of verbs: how far `fast` is from `exact` on the same operands."""
    yield "| verb, bfloat16 in and out | " + " | ".join(f"{name}: apart" for name in CONFIGS) + " |"
    yield "|---|" + "---|" * len(CONFIGS)
    pairs = [(results(config, False), results(config, True)) for config in CONFIGS.values()]
    for verb in pairs[0][0]:
        distances = [apart(fast[verb], exact[verb]) for fast, exact in pairs]
        yield f"| {verb} | " + " | ".join(f"{d:.3%}" if d else "equal" for d in distances) + " |"


if __name__ == "__main__":
    for line in [*runs(), "", *verbs()]:
        print(line)
