"""Where an SDPA kernel loses accuracy: its stages, each as places of `ComputeConfig.ideal`."""

from tensix_sim.kernels.sdpa.verbs import LOSSES, OUTPUTS, SUMS
from tensix_sim.kernels.sdpa.verbs import STAGES as NAMES

INPUT = "input format"
Place = tuple[str, str, str]


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
