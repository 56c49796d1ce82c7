"""The two networks on chip: unidirectional tori, dimension-ordered routes, each link a FIFO server.

NoC 0 goes right, then down; NoC 1 goes up, then left. Both use NoC 0 coordinates here.
"""

from tensix_sim.arch import model
from tensix_sim.arch.model import Coord

LinkId = tuple[int, int, int]  # router x, router y, axis along which the link leaves it (0: x, 1: y)


class Noc:
    """Routes and zero-load latencies of one NoC.

    A link that only continues what another link delivers, with nothing turning in or injected between them,
    can never queue: `contended` leaves it out. For this a NoC knows which nodes have sent data on it so far.
    """

    def __init__(self, index: int, spec: model.NocSpec) -> None:
        self.index = index
        self.spec = spec
        self.size = (spec.columns, spec.rows)
        self.step = 1 if index == 0 else -1
        self.axes = (0, 1) if index == 0 else (1, 0)
        self.sources: set[Coord] = set()

    def route(self, source: Coord, target: Coord) -> list[LinkId]:
        """Links from `source` to `target` in the order of travel."""
        links = []
        at = list(source)
        for axis in self.axes:
            while at[axis] != target[axis]:
                links.append((at[0], at[1], axis))
                at[axis] = (at[axis] + self.step) % self.size[axis]
        return links

    def contended(self, source: Coord, target: Coord, slow_source: bool = False) -> list[LinkId]:
        """Links of the route at which two streams can meet.

        What a `slow_source` sends, slower than a link, cannot queue before it has met another stream.
        """
        first_axis, second_axis = self.axes
        alone = slow_source and sum(node[second_axis] == source[second_axis] for node in self.sources) == 1
        kept: list[LinkId] = []
        for x, y, axis in self.route(source, target):
            if axis == first_axis:
                joined = (x, y) in self.sources and not alone
            else:  # streams of every node in this line of the first axis may turn in here
                joined = any(node[axis] == (x, y)[axis] for node in self.sources)
            if joined:
                kept.append((x, y, axis))
        return kept

    def hops(self, source: Coord, target: Coord) -> int:
        """Router-to-router steps one way."""
        return sum((self.step * (target[a] - source[a])) % self.size[a] for a in (0, 1))

    def one_way(self, source: Coord, target: Coord) -> int:
        """Cycles of one header from NIU to NIU."""
        return self.spec.router_cycles * self.hops(source, target) + self.spec.round_trip_base // 2

    def round_trip(self, source: Coord, target: Coord) -> int:
        """Cycles of a request and its response, which together go once round each axis that they use."""
        around = sum(self.size[a] for a in (0, 1) if source[a] != target[a])
        return self.spec.round_trip_base + self.spec.router_cycles * around

    def packet_bytes(self, nbytes: int) -> int:
        """Bytes on a link for a transfer of `nbytes`: whole flits, and a header flit for each packet."""
        packets = -(-nbytes // self.spec.max_packet_bytes)
        flits = -(-nbytes // self.spec.flit_bytes)
        return (flits + packets) * self.spec.flit_bytes
