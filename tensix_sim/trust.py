"""How far to trust a time, and a difference of two: by what the model says of published walls of the same kind."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import BaseModel, ConfigDict

from tensix_sim.arch import machine
from tensix_sim.config import RunSpec, WhatIf
from tensix_sim.sdpa.op import compute_kernel
from tensix_sim.walls import Prediction, binds, changes, mask_kind, shipped

BOUND_BY = {"compute": "compute-bound", "dram": "memory-bound", "straggler": "cores idle at the end"}
OP_ERRORS = Path(__file__).parent / "data" / "op_errors.csv"
MOST = 0.9  # of the pairs


class Trust(BaseModel):
    """Errors of the predictions of `walls` published walls of a kind; None where there is no such wall."""

    model_config = ConfigDict(frozen=True)

    kind: str
    walls: int
    mean_error: float | None = None
    worst_error: float | None = None

    @property
    def text(self) -> str:
        """A sentence for people."""
        if self.mean_error is None or self.worst_error is None:
            return f"such times against silicon: no published wall of this kind, {self.kind}"
        walls = f"{self.walls} published walls" if self.walls > 1 else "the one published wall"
        return (
            f"such times against silicon, {self.kind}: mean error {self.mean_error:.1%}, worst {self.worst_error:.1%} of {walls}"
        )


def trust(spec: RunSpec, device: Mapping[str, Any] | None = None) -> Trust:
    """How far such times were from silicon: walls of the same chip, kernel and mask that are bound by the same.

    `device` is an entry of a summary's `devices`. Without one, or where there is no more than one wall of the very kind, which
    says little, what binds is left out, and then the mask; what is left out is said. A machine whose numbers were changed is no
    chip.
    """
    if spec.machine.keys() - {"l1.reserved"} or spec.what_if != WhatIf():
        return Trust(kind="a machine or a program with what-ifs", walls=0)
    chip, kernel = machine(spec.board).chip.name, compute_kernel(spec).name
    given = spec.inputs.attn_mask is not None or spec.cu_window_seqlens is not None
    mask = mask_kind(spec.is_causal, spec.sliding_window_size, given)
    kinds: list[tuple[str, Callable[[Prediction], bool]]] = [
        (f"{mask}, whatever binds", lambda p: p.kind[2] == mask),
        ("whatever mask", lambda p: True),
    ]
    if device is not None:
        bound = binds(device)
        kinds.insert(0, (f"{mask}, {BOUND_BY[bound]}", lambda p: p.kind[2] == mask and p.bound == bound))
    alike = [p for p in shipped() if p.kind[:2] == (chip, kernel)]
    of_kinds = ((kind, [abs(p.error) for p in alike if p.error is not None and same(p)]) for kind, same in kinds)
    found = [(kind, errors) for kind, errors in of_kinds if errors]
    if not found:
        return Trust(kind=f"{chip}, {kernel}", walls=0)
    kind, errors = next((one for one in found if len(one[1]) > 1), found[-1])
    return Trust(kind=f"{chip}, {kernel}, {kind}", walls=len(errors), mean_error=mean(errors), worst_error=max(errors))


def trust_of_op(op: str, kind: str, chip: str) -> Trust:
    """How far times of an op around attention were from silicon: of published ones of the same op, kind and chip."""
    collective = next((name for name in ("all_gather", "reduce_scatter") if op.startswith(name)), op)
    family = "product" if op in ("linear", "matmul") else collective
    what = ", ".join(part for part in (chip, family, kind) if part)
    for row in op_errors():
        if (row["op"], row["kind"], row["chip"]) == (family, kind, chip):
            return Trust(kind=what, walls=int(row["walls"]), **{key: float(row[key]) for key in ("mean_error", "worst_error")})
    return Trust(kind=what, walls=0)


@cache
def op_errors() -> list[dict[str, str]]:
    """Errors of ops around attention by op, kind of program and chip, each with its source."""
    with OP_ERRORS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class RatioError:
    """How far predicted ratios of two walls are from the chip's, over pairs of published walls that differ in one setting.

    As a factor less 1: the mean, and what 9 of 10 keep within.
    """

    pairs: int
    mean: float
    most: float

    @property
    def text(self) -> str:
        """A sentence for people."""
        return (
            f"of {self.pairs} pairs of published walls that differ in one setting, predicted ratios were {self.mean:.1%} "
            f"off on the mean, 9 of 10 by at most {self.most:.1%}"
        )


@cache
def ratio_error() -> RatioError:
    """From the shipped walls."""
    off = sorted(abs(log(c.predicted / c.measured)) for c in changes(shipped()))
    return RatioError(len(off), exp(mean(off)) - 1, exp(off[int(MOST * (len(off) - 1))]) - 1)


def too_small(before: float, after: float) -> str | None:
    """What to say of a difference between two times that does not tell; None of one that does, and where there is none."""
    if before == after or tells(before, after):
        return None
    return f"a difference of {after / before - 1:+.1%} is too small to tell: {ratio_error().text}"


def tells(before: float, after: float) -> bool:
    """Whether two times differ by more than 9 of 10 predicted ratios are off."""
    return abs(log(after / before)) > log(1 + ratio_error().most)
