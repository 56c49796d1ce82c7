"""Where an SDPA kernel loses accuracy: its stages, each as places of `ComputeConfig.ideal`."""

from tensix_sim.kernel_api import Matmul, MulColumn, RowMax, RowSum, Verb
from tensix_sim.kernels.sdpa import row_verbs, verbs
from tensix_sim.kernels.sdpa.losses import OUTPUTS, PRODUCTS, SCALED, SUMS, SUMS_MULTIPLIED, Losses
from tensix_sim.kernels.sdpa.losses import STAGES as NAMES

INPUT = "input format"
Place = tuple[str, str, str]

LOSSES: dict[type[Verb], Losses] = {
    Matmul: PRODUCTS,
    MulColumn: SCALED,
    RowMax: {},
    RowSum: SUMS_MULTIPLIED,
} | {verb: verb.losses for room in (verbs, row_verbs) for verb in vars(room).values() if hasattr(verb, "losses")}


def _places(stage: str) -> tuple[Place, ...]:
    return tuple(
        (verb.__name__, name, step)
        for verb, losses in LOSSES.items()
        for buffer, steps in losses.items()
        for name in ((f"{buffer}_A", f"{buffer}_B") if buffer in (OUTPUTS, SUMS) else (buffer,))
        for step, lost in steps.items()
        if lost == stage
    )


STAGES: dict[str, tuple[Place, ...]] = {name: _places(name) for name in NAMES}
