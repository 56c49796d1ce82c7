"""What a spec's op makes of it: its geometry, and the program of a device."""

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.program import Program
from tensix_sim.sdpa import program, ring_program
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.inputs import RunNumbers
from tensix_sim.sdpa.op import Op
from tensix_sim.sdpa.ring_joint import RingGeometry


def geometry_of(spec: RunSpec, on: Machine | None = None) -> Geometry:
    """Work out the geometry of a spec that `check` has passed, on another machine than the spec's if one is given."""
    return (RingGeometry if Op.of(spec).travels else Geometry).of(spec, on)


def program_of(
    spec: RunSpec, g: Geometry, on: Machine, ring_id: int, numbers: RunNumbers, only: int | None = None, alone: bool = False
) -> Program:
    """The program of device `ring_id`, of all cores or `only` one, the others idle; without values if numerics are off.

    One whose K and V travel may be `alone`, and its neighbours do as it does.
    """
    if isinstance(g, RingGeometry):
        return ring_program.build(spec, g, on, ring_id, numbers, only, alone)
    return program.build(spec, g, on, ring_id, numbers, only)
