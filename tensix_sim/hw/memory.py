"""Reads and writes of interleaved tensors: which tiles go to which banks, on which way, and when they have landed.

A burst is what a data-movement RISC issues between two barriers; `Network` moves its tiles one by one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

import simpy

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.hw.engine import TICKS, Engine, to_ticks, whole_cycles
from tensix_sim.hw.network import NEVER, NOBODY, Network, QueuedMove
from tensix_sim.hw.noc import LinkId, Noc
from tensix_sim.program import Tensor
from tensix_sim.trace import Trace

Direction = Literal["read", "write"]

PIECE_BYTES = 1024  # of a long packet; about a tile, so that neither waits long for the other


class Path(NamedTuple):
    """A kind of tile between one core and all banks of a memory."""

    direction: Direction
    noc: int
    core: Coord  # NoC position
    memory: str
    tile_bytes: int
    acknowledged: bool = True  # the core waits for the answer to a write; else only until the data are there


@dataclass(eq=False, slots=True)
class Plan:
    """The tiles of one read or write, and how often it was issued."""

    path: Path
    move: QueuedMove
    issue: int  # cycles that the RISC spends on all of them
    hop_tiles: int
    uses: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes moved each time."""
        return self.move.tiles * self.path.tile_bytes


class Memory:
    """One chip's DRAM banks and L1 banks, reached over two NoCs.

    Banks are numbered: DRAM first, then, for each NoC, which has an interface of its own there, the L1 of the worker cores
    and that of the Ethernet tiles.
    """

    def __init__(self, machine: Machine, engine: Engine, trace: Trace) -> None:
        chip = machine.chip
        self.machine = machine
        self.engine = engine
        self.trace = trace
        self.dram = chip.dram
        self.spec = chip.noc
        self.nocs = (Noc(0, chip.noc), Noc(1, chip.noc))
        self.l1_banks = [machine.worker((x, y)) for y in range(machine.grid[1]) for x in range(machine.grid[0])]
        self.routers = list(chip.ethernet.endpoints)
        self._nodes = {"dram": list(chip.dram.endpoints), "l1": self.l1_banks, "ethernet": self.routers}
        self._first_bank, self._bank_names = self._numbered()
        buffer = to_ticks(chip.noc.buffer_bytes / chip.noc.link_rate)
        self.flows = ("read", "write", "noc0", "noc1", *(f"dram bank {b}" for b in range(chip.dram.banks))) if trace.zones else ()
        dram = (chip.dram.open_rows, to_ticks(chip.dram.row_miss_cycles), buffer)
        others = len(self._bank_names) - chip.dram.banks
        self.network = Network([dram] * chip.dram.banks + [(0, 0, buffer)] * others, trace.transfers, len(self.flows))
        self.names: list[str] = []  # of the network's servers
        self._links: dict[tuple[int, LinkId], int] = {}
        self._ports: dict[tuple[int, Direction, Coord], int] = {}
        self._plans: tuple[dict[object, Plan], ...] = ({}, {})
        self._routes: dict[Path, int] = {}
        self._patterns: dict[tuple[int, ...], int] = {}
        self._retired: list[Plan] = []
        self._under_way: dict[int, Transfer] = {}
        engine.beside.append(self)

    @property
    def due(self) -> float:
        """Cycle before which no kernel must be woken."""
        return inf if self.network.due >= NEVER else whole_cycles(self.network.due)

    # -- transfers ----------------------------------------------------------------------------------------

    def start(self, plan: Plan, lane: int = 0) -> "Transfer":
        """Issue a read or write now; its event happens when all has landed."""
        plan.uses += 1
        now = self.engine.now
        place = self.network.start(now * TICKS, plan.move)
        transfer = self._under_way[place] = Transfer(plan, self.engine.event(), lane, now)
        return transfer

    def run_to(self, horizon: float) -> None:
        """Let the network go on to cycle `horizon`, before which no kernel acts, or until a kernel must be woken."""
        network = self.network
        limit = NEVER - 1 if horizon == inf else int(horizon) * TICKS
        while network.due <= limit:
            place, end, queued_bank, queued_link = network.advance(limit)
            if place == NOBODY:
                continue
            transfer = self._under_way[place]
            if self.trace.transfers and not self._record_burst(transfer, place, end // TICKS):
                network.resume(place, end)
                continue
            transfer.queued_bank, transfer.queued_link = queued_bank // TICKS, queued_link // TICKS
            self._end(transfer, place, end // TICKS)
            return

    def _end(self, transfer: "Transfer", place: int, end: int) -> None:
        """Wake the kernel of a transfer that has landed."""
        plan = transfer.plan
        del self._under_way[place]
        self.network.end(place, plan.move)
        self.engine.happen(transfer.event, end)

    def _record_burst(self, transfer: "Transfer", place: int, end: int) -> bool:
        """Record what a burst moved between the core and each bank; whether it was the transfer's last."""
        plan, trace = transfer.plan, self.trace
        direction, noc, core, memory, tile_bytes, _ = plan.path
        issued = int(self.network.net.transfers[place]["issued"])
        kind = trace.name(direction.upper())
        banks = self.network.net.tables[plan.move.banks + transfer.recorded : plan.move.banks + issued].tolist()
        for bank, tiles in Counter(banks).items():
            node = self._nodes[memory][bank]
            source, target = (node, core) if direction == "read" else (core, node)
            trace.transfer(
                transfer.burst, end, noc, source, target, tiles * tile_bytes, lane=transfer.lane, kind=kind, requests=tiles
            )
        transfer.burst, transfer.recorded = end, issued
        return issued == plan.move.tiles

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
    ) -> Plan:
        """How to move `pages` of `tensor` to or from `core` (NoC position) in bursts of at most `barrier` tiles (0: no limit).

        A burst of writes goes when the one before it has left the core, or with `answered` when its answers are back.
        """
        banks = len(self._nodes[tensor.memory])
        where: object
        if isinstance(pages, range) and pages.step == 1:
            where = ("from", pages.start % banks, len(pages))
        else:
            where = tuple([p % banks for p in pages])
        key = (direction, core, tensor.memory, tensor.format.tile_bytes, where, barrier, answered)
        plan = self._plans[noc].get(key)
        if plan is None:
            self._learn_sources(direction, noc, "ethernet" if core in self.routers else tensor.memory)
            path = Path(direction, noc, core, tensor.memory, tensor.format.tile_bytes)
            gap = self.spec.read_issue_cycles if direction == "read" else self.spec.write_issue_cycles
            targets = tuple([p % banks for p in pages])
            plan = self._plans[noc][key] = self._make_plan(path, targets, barrier or len(pages), gap, answered)
        return plan

    def copy_plan(self, noc: int, source: Coord, target: Coord, nbytes: int, parts: int = 1) -> Plan:
        """How to write `nbytes` from a core's L1 to that of another, or of an Ethernet tile, without waiting for an answer.

        They go in `parts` equal parts, one after the other. Other packets go between the flits of a long one, on other virtual
        channels: a part moves in pieces.
        """
        key = ("copy", source, target, nbytes, parts)
        plan = self._plans[noc].get(key)
        if plan is None:
            self._learn_sources("write", noc, "l1")
            pieces = -(-nbytes // (parts * PIECE_BYTES))
            memory = "ethernet" if target in self.routers else "l1"
            path = Path("write", noc, source, memory, -(-nbytes // (parts * pieces)), acknowledged=False)
            bank = self._nodes[memory].index(target)
            plan = self._plans[noc][key] = self._make_plan(path, (bank,) * (parts * pieces), pieces, 0, answered=True)
            plan.issue = self.spec.write_issue_cycles * -(-nbytes // self.spec.max_packet_bytes)
        return plan

    def _learn_sources(self, direction: Direction, noc: int, memory: str) -> None:
        """Note which nodes send data on this NoC from now on; what was planned without them is planned again."""
        senders = memory if direction == "read" or memory == "ethernet" else "l1"
        new = set(self._nodes[senders])
        if not new <= self.nocs[noc].sources:
            self.nocs[noc].sources |= new
            self._retired += self._plans[noc].values()
            self._plans[noc].clear()
            self._routes.clear()

    def _make_plan(self, path: Path, banks: tuple[int, ...], barrier: int, gap: int, answered: bool = False) -> Plan:
        nodes = self._nodes[path.memory]
        if path not in self._routes:
            self._routes[path] = self.network.add_routes([self._route(path, bank) for bank in range(len(nodes))])
        if banks not in self._patterns:
            self._patterns[banks] = self.network.add("tables", banks)
        noc, reading = self.nocs[path.noc], path.direction == "read"
        hops = sum(noc.hops(nodes[bank], path.core) if reading else noc.hops(path.core, nodes[bank]) for bank in banks)
        tiles, first = len(banks), self._patterns[banks]
        move = QueuedMove(
            not reading, self._routes[path], first, tiles, min(barrier, tiles), gap * TICKS, answered and not reading
        )
        return Plan(path, move, gap * len(banks), hops)

    def _route(self, path: Path, bank: int) -> tuple[int, ...]:
        """The network's record of the way of one tile between a core and a bank."""
        noc, spec, core = self.nocs[path.noc], self.spec, path.core
        reading, in_dram = path.direction == "read", path.memory == "dram"
        node = self._nodes[path.memory][bank]
        service = self._service(path, bank)
        on_link = to_ticks(self._packet(path) / spec.link_rate)
        source, target = (node, core) if reading else (core, node)
        links = [self._link(path.noc, link) for link in noc.contended(source, target, slow_source=reading and service >= on_link)]
        first = self.network.add("tables", links)
        flows = [self.flows.index(flow) for flow in self._flows_of(path, bank)] if self.flows else []
        first_flow = self.network.add("tables", flows)
        there = noc.one_way(core, node)
        fixed = spec.software_cycles if reading else spec.write_ack_base
        if in_dram:
            fixed += self.dram.read_cycles if reading else self.dram.write_cycles
        back = noc.round_trip(core, node) + fixed - there if path.acknowledged else 0
        return (
            bank + self._first_bank[path.memory, path.noc],
            there * TICKS,
            service,
            back * TICKS,
            self._port(path),
            to_ticks(self._packet(path) / spec.niu_rate),
            first,
            first + len(links),
            on_link,
            path.tile_bytes,
            first_flow,
            first_flow + len(flows),
            0,
        )

    def _flows_of(self, path: Path, bank: int) -> list[str]:
        """Names of the flows that count the bytes of a path's tiles."""
        return [path.direction, f"noc{path.noc}", *([f"dram bank {bank}"] if path.memory == "dram" else [])]

    def _packet(self, path: Path) -> int:
        """Bytes of one tile on a link."""
        return self.nocs[0].packet_bytes(path.tile_bytes)

    def _service(self, path: Path, bank: int) -> int:
        if path.memory != "dram":
            return to_ticks(path.tile_bytes / self.spec.niu_rate)
        return to_ticks(max(self.dram.request_cycles, path.tile_bytes / self.dram.rate_of(bank)))

    def _link(self, noc: int, link: LinkId) -> int:
        if (noc, link) not in self._links:
            self._links[noc, link] = self._server(self._link_name(noc, link))
        return self._links[noc, link]

    def _link_name(self, noc: int, link: LinkId) -> str:
        x, y, axis = link
        return f"noc{noc} link {x}-{y} {(('east', 'south'), ('west', 'north'))[noc][axis]}"

    def _port(self, path: Path) -> int:
        key = (path.noc, path.direction, path.core)
        if key not in self._ports:
            x, y = path.core
            self._ports[key] = self._server(f"noc{path.noc} {'into' if path.direction == 'read' else 'out of'} {x}-{y}")
        return self._ports[key]

    def _server(self, name: str) -> int:
        self.names.append(name)
        return self.network.add("servers", [(0, 0, 0)])

    # -- figures --------------------------------------------------------------------------------------------

    def traffic(self, cycles: int) -> dict[str, Any]:
        """Bytes moved and how busy banks and links were over `cycles`."""
        moved: Counter[tuple[Direction, str]] = Counter()
        hop_bytes = 0
        for plan in self._all_plans():
            moved[plan.path.direction, plan.path.memory] += plan.uses * plan.nbytes
            hop_bytes += plan.uses * plan.hop_tiles * plan.path.tile_bytes
        busy = self.busy()
        cycles = max(cycles, 1)
        dram_bytes = moved["read", "dram"] + moved["write", "dram"]
        links = 2 * 2 * self.spec.columns * self.spec.rows
        busiest = max(busy, key=lambda name: busy[name])
        return {
            "dram_read_bytes": moved["read", "dram"],
            "dram_write_bytes": moved["write", "dram"],
            "l1_write_bytes": moved["write", "l1"],
            "dram_utilization": dram_bytes / (cycles * self.dram.rate),
            "noc_utilization": hop_bytes / (cycles * links * self.spec.link_rate),
            "busiest_server": busiest,
            "busiest_server_utilization": busy[busiest] / (cycles * TICKS),
        }

    def bytes_over_time(self) -> dict[str, tuple[int, list[int]]]:
        """Cycles in a bin and the bytes in each, of reads, writes, each NoC and each DRAM bank; nothing without a trace."""
        return {name: self.network.bytes_over_time(i) for i, name in enumerate(self.flows)}

    def link_bytes(self) -> dict[str, int]:
        """Bytes of packets over each link, by name, for links with any."""
        moved: Counter[tuple[int, LinkId]] = Counter()
        for plan in self._all_plans():
            path = plan.path
            noc, nodes = self.nocs[path.noc], self._nodes[path.memory]
            banks = self.network.net.tables[plan.move.banks : plan.move.banks + plan.move.tiles].tolist()
            for bank, tiles in Counter(banks).items():
                ends = (nodes[bank], path.core) if path.direction == "read" else (path.core, nodes[bank])
                nbytes = plan.uses * tiles * self._packet(path)
                moved.update(dict.fromkeys([(path.noc, link) for link in noc.route(*ends)], nbytes))
        return {self._link_name(noc, link): nbytes for (noc, link), nbytes in sorted(moved.items()) if nbytes}

    def shares(self, cycles: int) -> dict[str, float]:
        """Share of `cycles` for which each DRAM bank, link and core port moved data, by name, for those that did."""
        busy = {name: ticks / TICKS for name, ticks in self.busy().items()}
        busy |= {name: nbytes / self.spec.link_rate for name, nbytes in self.link_bytes().items()}
        return {name: spent / max(cycles, 1) for name, spent in sorted(busy.items()) if spent}

    def _all_plans(self) -> list[Plan]:
        return [*self._retired, *self._plans[0].values(), *self._plans[1].values()]

    def _numbered(self) -> tuple[dict[tuple[str, int], int], list[str]]:
        """The first bank of each memory from each NoC, and the names of all banks."""
        names = [f"dram bank {b}" for b in range(self.dram.banks)]
        first = {("dram", 0): 0, ("dram", 1): 0}
        for noc in (0, 1):
            for memory, label in (("l1", "l1"), ("ethernet", "ethernet tile")):
                first[memory, noc] = len(names)
                names += [f"{label} {x}-{y} noc{noc}" for x, y in self._nodes[memory]]
        return first, names

    def busy(self) -> dict[str, int]:
        """Ticks for which each bank, link and core port was at work, by name."""
        banks, servers = self.network.net.banks["busy"].tolist(), self.network.net.servers["busy"].tolist()
        return dict(zip(self._bank_names + self.names, banks + servers[: len(self.names)], strict=True))


class Transfer:
    """A read or write on its way; `event` happens when it has landed.

    `queued_bank` and `queued_link` are then the cycles that the last tile of each burst waited for its bank and for
    links (of a write, the last of all).
    """

    __slots__ = ("burst", "event", "lane", "plan", "queued_bank", "queued_link", "recorded", "start")

    def __init__(self, plan: Plan, event: simpy.Event, lane: int, start: int) -> None:
        self.plan = plan
        self.event = event
        self.lane = lane
        self.start = self.burst = start  # when it was issued, and its burst under way
        self.recorded = 0  # tiles before that burst
        self.queued_bank = self.queued_link = 0
