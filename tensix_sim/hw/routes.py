"""Ways between cores and banks: which banks a tensor's tiles lie in, which links they pass, and what each step takes.

A `Plan` is a read or write that has been worked out: its tiles' banks, and the routes to them in the compiled loop's records.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.hw.engine import TICKS, to_ticks
from tensix_sim.hw.noc import LinkId, Noc
from tensix_sim.hw.silicon import Silicon
from tensix_sim.hw.tables import BANK, MOVE, ROUTE, SERVER, rows
from tensix_sim.program import Tensor

Direction = Literal["read", "write"]

SERVERS = 4  # of a router
PIECE_BYTES = 1024  # of a long packet; about a tile, so that neither waits long for the other


class Path(NamedTuple):
    """A kind of tile between one core and all banks of a memory."""

    direction: Direction
    noc: int
    core: Coord  # NoC position
    memory: str
    tile_bytes: int
    acknowledged: bool = True  # the core waits for the answer to a write; else only until the data are there
    targets: tuple[Coord, ...] = ()  # of a multicast, the farthest last, to which alone it has a route


@dataclass(eq=False, slots=True)
class Plan:
    """The tiles of one read or write."""

    path: Path
    move: int  # its place in the network
    banks: int  # place of the first tile's bank
    tiles: int
    in_flight: int  # tiles that may be under way at a time
    issue: int  # cycles that the RISC spends on all of them
    hop_tiles: int

    @property
    def nbytes(self) -> int:
        """Bytes moved each time."""
        return self.tiles * self.path.tile_bytes


class Ways(NamedTuple):
    """Where a path leads, on any chip: records `ROUTE`, whose lists begin at the first of `lists`, servers by name, and hops."""

    routes: NDArray[Any]
    lists: list[int]
    servers: dict[str, int]
    hops: list[int]  # to or from each bank


@lru_cache(maxsize=64)
def known_ways(machine: Machine, count: bool) -> dict[tuple[Path, frozenset[Coord]], Ways]:
    """Ways that were worked out for one of a machine's chips, by path and known senders; those of all of them are equal."""
    return {}


class Routes:
    """One chip's banks, links and core ports by name, and the plans of what moves over them.

    Banks are numbered: DRAM first, then, for each NoC, which has an interface of its own there, the L1 of the worker cores
    and that of the Ethernet tiles. `flows` are the names under which bytes are counted over time, if they are.
    """

    def __init__(self, machine: Machine, watch: bool, count: bool) -> None:
        """`watch` tells of each burst, `count` counts bytes over time."""
        chip = machine.chip
        self.dram, self.spec = chip.dram, chip.noc
        self.nocs = (Noc(0, chip.noc), Noc(1, chip.noc))
        l1 = [machine.worker((x, y)) for y in range(machine.grid[1]) for x in range(machine.grid[0])]
        self.nodes = {"dram": list(chip.dram.endpoints), "l1": l1, "ethernet": list(chip.ethernet.endpoints)}
        self.bank_names, self._first_bank = self._numbered()
        self.flows = ("read", "write", "noc0", "noc1", *self.bank_names[: chip.dram.banks]) if count else ()
        self.silicon = Silicon(self._banks(), watch, len(self.flows))
        self.silicon.add("servers", rows(SERVER, SERVERS * 2 * self.spec.columns * self.spec.rows))
        self.servers: dict[str, int] = {}  # links and core ports that are used, by name
        self._ways = known_ways(machine, count)
        self._plans: tuple[dict[object, Plan], ...] = ({}, {})
        self._routes: dict[Path, tuple[int, list[int]]] = {}  # the place of the first, and hops
        self._patterns: dict[tuple[int, ...], tuple[int, Counter[int]]] = {}  # the place of the first bank, and tiles of each
        self._retired: list[Plan] = []

    # -- banks ----------------------------------------------------------------------------------------------

    def _numbered(self) -> tuple[list[str], dict[tuple[str, int], int]]:
        """The names of all banks, and the first one of each memory from each NoC."""
        names = [f"dram bank {b}" for b in range(self.dram.banks)]
        first = {("dram", 0): 0, ("dram", 1): 0}
        for noc in (0, 1):
            for memory, label in (("l1", "l1"), ("ethernet", "ethernet tile")):
                first[memory, noc] = len(names)
                names += [f"{label} {x}-{y} noc{noc}" for x, y in self.nodes[memory]]
        return names, first

    def _banks(self) -> NDArray[Any]:
        """Records `BANK` of all of them; only those of DRAM have rows to open."""
        banks = rows(BANK, len(self.bank_names), buffer=to_ticks(self.spec.buffer_bytes / self.spec.link_rate))
        dram = banks[: self.dram.banks]
        dram["open"], dram["row_miss"] = self.dram.open_rows, to_ticks(self.dram.row_miss_cycles)
        return banks

    # -- plans ----------------------------------------------------------------------------------------------

    def plan(
        self,
        direction: Direction,
        noc: int,
        core: Coord,
        tensor: Tensor,
        pages: Sequence[int],
        barrier: int,
        answered: bool = False,
        looked_up: bool = False,
    ) -> Plan:
        """How to move `pages` of `tensor` to or from `core` (NoC position) in bursts of at most `barrier` tiles (0: no limit).

        A burst of writes goes when the one before it has left the core, or with `answered` when its answers are back. Data
        meet those of the senders that are known so far.
        """
        key = (direction, core, tensor.memory, tensor.format.tile_bytes, self.banks(tensor, pages), barrier, answered, looked_up)
        plan = self._plans[noc].get(key)
        if plan is None:
            path = Path(direction, noc, core, tensor.memory, tensor.format.tile_bytes)
            gap = self.spec.read_issue_cycles if direction == "read" else self.spec.write_issue_cycles
            gap += self.spec.page_cycles * looked_up
            banks = len(self.nodes[tensor.memory])
            targets = tuple([p % banks for p in pages])
            plan = self._plans[noc][key] = self._make_plan(path, targets, barrier or len(pages), gap, answered)
        return plan

    def banks(self, tensor: Tensor, pages: Sequence[int]) -> object:
        """The banks that pages lie in, one after the other: equal for those of equal banks."""
        banks = len(self.nodes[tensor.memory])
        if isinstance(pages, range) and pages.step == 1:
            return "from", pages.start % banks, len(pages)
        return tuple([p % banks for p in pages])

    def copy_plan(self, noc: int, source: Coord, target: Coord, nbytes: int, parts: int = 1) -> Plan:
        """How to write `nbytes` from a core's L1 to that of another, or of an Ethernet tile, without waiting for an answer.

        They go in `parts` equal parts, one after the other. Other packets go between the flits of a long one, on other virtual
        channels: a part moves in pieces.
        """
        key = ("copy", source, target, nbytes, parts)
        plan = self._plans[noc].get(key)
        if plan is None:
            pieces = self.pieces(nbytes, parts)
            memory = "ethernet" if target in self.nodes["ethernet"] else "l1"
            path = Path("write", noc, source, memory, -(-nbytes // (parts * pieces)), acknowledged=False)
            bank = self.nodes[memory].index(target)
            plan = self._plans[noc][key] = self._make_plan(path, (bank,) * (parts * pieces), pieces, 0, answered=True)
            plan.issue = self.spec.write_issue_cycles * -(-nbytes // self.spec.max_packet_bytes)
        return plan

    def multicast_plan(self, noc: int, source: Coord, targets: Sequence[Coord], nbytes: int) -> Plan:
        """How to write `nbytes` from a core's L1 to that of others at once: all links to them carry each piece once.

        The ways are reserved before the first packet leaves; the others are linked to it.
        """
        far = tuple(sorted(targets, key=lambda target: (self.nocs[noc].hops(source, target), target)))
        key = ("multicast", source, far, nbytes)
        plan = self._plans[noc].get(key)
        if plan is None:
            pieces = self.pieces(nbytes, 1)
            path = Path("write", noc, source, "l1", -(-nbytes // pieces), acknowledged=False, targets=far)
            plan = self._plans[noc][key] = self._make_plan(path, (0,) * pieces, pieces, 0, answered=True)
            plan.issue = self.spec.write_issue_cycles * -(-nbytes // self.spec.max_packet_bytes)
        return plan

    def pieces(self, nbytes: int, parts: int) -> int:
        """Pieces in which each part of a copy moves."""
        return -(-nbytes // (parts * PIECE_BYTES))

    def plans(self) -> list[Plan]:
        """All that were ever made."""
        return [*self._retired, *self._plans[0].values(), *self._plans[1].values()]

    def banks_of(self, plan: Plan, first: int = 0, end: int | None = None) -> list[int]:
        """The bank of each of its tiles in their memory, or of some of them."""
        end = plan.tiles if end is None else end
        banks: list[int] = self.silicon.net.lists[plan.banks + first : plan.banks + end].tolist()
        return banks

    def ends(self, path: Path, bank: int) -> tuple[Coord, Coord]:
        """NoC positions that a tile goes from and to."""
        node = self.nodes[path.memory][self._reached(path)[bank]]
        return (node, path.core) if path.direction == "read" else (path.core, node)

    def links(self, path: Path, bank: int) -> list[LinkId]:
        """All links that a tile passes, each once."""
        noc = self.nocs[path.noc]
        ends = [(path.core, target) for target in path.targets] or [self.ends(path, bank)]
        return list(dict.fromkeys(link for source, target in ends for link in noc.route(source, target)))

    def uses(self, plan: Plan) -> int:
        """How often it was issued."""
        return int(self.silicon.net.moves[plan.move]["uses"])

    def knows(self, noc: int, senders: str) -> bool:
        """Whether the nodes of a memory are known to send data on this NoC."""
        return self.nocs[noc].sources.issuperset(self.nodes[senders])

    def learn(self, noc: int, senders: str) -> bool:
        """Note that the nodes of a memory send data on this NoC from now on; whether that changes any plan."""
        if self.knows(noc, senders):
            return False
        self.nocs[noc].sources.update(self.nodes[senders])
        for plans in self._plans:  # rows that a core opened are forgotten with its routes, but by what is under way on them
            old = [key for key, plan in plans.items() if plan.path.noc == noc or not self.uses(plan)]
            self._retired += [plans.pop(key) for key in old]
        self._routes.clear()
        return True

    def _make_plan(self, path: Path, banks: tuple[int, ...], barrier: int, gap: int, answered: bool = False) -> Plan:
        if path not in self._routes:
            self._routes[path] = self._to_banks(path)
        routes, hops_to = self._routes[path]
        if banks not in self._patterns:
            self._patterns[banks] = self.silicon.add("lists", banks), Counter(banks)
        (banks_at, tiles_of), reading, tiles = self._patterns[banks], path.direction == "read", len(banks)
        barrier, answered = min(barrier, tiles), answered and not reading
        move = rows(
            MOVE, 1, writing=not reading, routes=routes, banks=banks_at, tiles=tiles,
            barrier=barrier, gap=gap * TICKS, answered=answered,
        )  # fmt: skip
        in_flight = barrier if reading or answered else tiles
        hops = sum(count * hops_to[bank] for bank, count in tiles_of.items())
        return Plan(path, self.silicon.add("moves", move), banks_at, tiles, in_flight, gap * tiles, hops)

    # -- routes ---------------------------------------------------------------------------------------------

    def _to_banks(self, path: Path) -> tuple[int, list[int]]:
        """The place of the first of a path's routes, one for each bank of its memory, and the hops of each."""
        key = path, frozenset(self.nocs[path.noc].sources)
        if key not in self._ways:
            self._ways[key] = self._work_out(path)
        ways = self._ways[key]
        self.servers |= ways.servers
        routes, first = ways.routes.copy(), self.silicon.add("lists", ways.lists)
        for field in ("links", "links_end", "flows", "flows_end"):
            routes[field] += first
        return self.silicon.add("routes", routes), ways.hops

    def _work_out(self, path: Path) -> Ways:
        spec, first_bank, reached = self.spec, self._first_bank[path.memory, path.noc], self._reached(path)
        port, port_name = self._port(path)
        servers: dict[str, int] = {}
        lists: list[int] = []
        share = self._share(path)
        routes = rows(
            ROUTE, len(reached), nbytes=path.tile_bytes, port=port, apart=share < 1,
            link_ticks=to_ticks(self.packet(path) / (spec.link_rate * share)),
            port_ticks=to_ticks(self.packet(path) / spec.niu_rate),
        )  # fmt: skip
        for bank, route in enumerate(routes):
            route["bank"], route["service"] = first_bank + reached[bank], self._service(path, bank)
            there, back = self._latencies(path, bank)
            route["there"], route["back"] = there * TICKS, back * TICKS
            links = self._contended(path, bank, slow_source=route["service"] >= route["link_ticks"])
            servers |= links
            for field, places in (("links", links.values()), ("flows", self._flows_of(path, bank))):
                route[field], route[f"{field}_end"] = len(lists), len(lists) + len(places)
                lists += places
        return Ways(routes, lists, servers | {port_name: port}, [len(self.links(path, bank)) for bank in range(len(reached))])

    def _share(self, path: Path) -> float:
        """Share of a link's rate that a path can have: less where data go along the banks' columns, past all other banks."""
        if path.memory == "dram" and (path.direction, path.noc) == ("read", 1):
            return self.spec.column_read_share
        if path.memory == "dram" and (path.direction, path.noc) == ("write", 0):
            return self.spec.column_write_share
        return 1.0

    def _reached(self, path: Path) -> Sequence[int]:
        """The banks of its memory to which a path has routes, in order."""
        nodes = self.nodes[path.memory]
        return [nodes.index(path.targets[-1])] if path.targets else range(len(nodes))

    def _service(self, path: Path, bank: int) -> int:
        """Ticks of a tile in the bank's hands."""
        if path.memory != "dram":
            return to_ticks(path.tile_bytes / self.spec.niu_rate)
        return to_ticks(max(self.dram.request_cycles, path.tile_bytes / self.dram.rate_of(bank)))

    def _latencies(self, path: Path, bank: int) -> tuple[int, int]:
        """Cycles from the core to the bank, and from the service until the core's RISC knows."""
        noc, reading = self.nocs[path.noc], path.direction == "read"
        node = self.ends(path, bank)[not reading]
        there = noc.one_way(path.core, node)
        if not path.acknowledged:
            return self.spec.multicast_cycles if path.targets else there, 0  # a multicast's flag goes the same way after it
        fixed = self.spec.software_cycles if reading else self.spec.write_ack_base
        if path.memory == "dram":
            fixed += self.dram.read_cycles if reading else self.dram.write_cycles
        return there, noc.round_trip(path.core, node) + fixed - there

    def _contended(self, path: Path, bank: int, slow_source: bool) -> dict[str, int]:
        """Servers of the links at which a path's data can meet others; a slow bank sends nothing that queues before that."""
        slow = path.direction == "read" and slow_source
        noc, ends = self.nocs[path.noc], [(path.core, target) for target in path.targets] or [self.ends(path, bank)]
        links = (link for source, target in ends for link in noc.contended(source, target, slow_source=slow))
        return {link_name(path.noc, link): self._server(path.noc, *link) for link in links}

    def _flows_of(self, path: Path, bank: int) -> list[int]:
        """The flows that count the bytes of a path's tiles."""
        names = [path.direction, f"noc{path.noc}", *([f"dram bank {bank}"] if path.memory == "dram" else [])]
        return [self.flows.index(name) for name in names] if self.flows else []

    def packet(self, path: Path) -> int:
        """Bytes of one tile on a link."""
        return self.nocs[0].packet_bytes(path.tile_bytes)

    def _port(self, path: Path) -> tuple[int, str]:
        """The server of a core's port to the NoC or from it, and its name."""
        (x, y), reading = path.core, path.direction == "read"
        return self._server(path.noc, x, y, 2 + reading), f"noc{path.noc} {'into' if reading else 'out of'} {x}-{y}"

    def _server(self, noc: int, x: int, y: int, which: int) -> int:
        """The place of a router's link along an axis, of its port to the NoC (2) or of that from it (3)."""
        return ((noc * self.spec.columns + x) * self.spec.rows + y) * SERVERS + which


def link_name(noc: int, link: LinkId) -> str:
    """A link in words: the router that it leaves, and where to."""
    x, y, axis = link
    return f"noc{noc} link {x}-{y} {(('east', 'south'), ('west', 'north'))[noc][axis]}"
