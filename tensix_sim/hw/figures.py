"""Figures of a chip's memory system: bytes moved, by kind, over time and by link, and how busy banks, links and ports were."""

from collections import Counter
from typing import NamedTuple

from tensix_sim.hw.engine import TICKS
from tensix_sim.hw.noc import LinkId
from tensix_sim.hw.routes import Routes, link_name


class Traffic(NamedTuple):
    """Bytes moved and how busy banks and links were over a run's cycles."""

    dram_read_bytes: int
    dram_write_bytes: int
    l1_write_bytes: int
    dram_utilization: float
    noc_utilization: float
    busiest_server: str
    busiest_server_utilization: float

    @classmethod
    def of(cls, routes: Routes, cycles: int) -> "Traffic":
        """What passed in so many cycles."""
        moved: Counter[tuple[str, str]] = Counter()
        hop_bytes = 0
        for plan in routes.plans():
            moved[plan.path.direction, plan.path.memory] += routes.uses(plan) * plan.nbytes
            hop_bytes += routes.uses(plan) * plan.hop_tiles * plan.path.tile_bytes
        busy, cycles = busy_ticks(routes), max(cycles, 1)
        busiest = max(busy, key=lambda name: busy[name])
        links = 2 * 2 * routes.spec.columns * routes.spec.rows
        return cls(
            dram_read_bytes=moved["read", "dram"],
            dram_write_bytes=moved["write", "dram"],
            l1_write_bytes=moved["write", "l1"],
            dram_utilization=(moved["read", "dram"] + moved["write", "dram"]) / (cycles * routes.dram.rate),
            noc_utilization=hop_bytes / (cycles * links * routes.spec.link_rate),
            busiest_server=busiest,
            busiest_server_utilization=busy[busiest] / (cycles * TICKS),
        )


def busy_ticks(routes: Routes) -> dict[str, int]:
    """Ticks for which each bank, link and core port was at work, by name."""
    net = routes.silicon.net
    ticks = net.banks["busy"].tolist() + net.servers["busy"][list(routes.servers.values())].tolist()
    return dict(zip([*routes.bank_names, *routes.servers], ticks, strict=True))


def busy_shares(routes: Routes, cycles: int) -> dict[str, float]:
    """Share of `cycles` for which each DRAM bank, link and core port moved data, by name, for those that did."""
    busy = {name: ticks / TICKS for name, ticks in busy_ticks(routes).items()}
    busy |= {name: nbytes / routes.spec.link_rate for name, nbytes in link_bytes(routes).items()}
    return {name: spent / max(cycles, 1) for name, spent in sorted(busy.items()) if spent}


def link_bytes(routes: Routes) -> dict[str, int]:
    """Bytes of packets over each link, by name, for links with any."""
    moved: Counter[tuple[int, LinkId]] = Counter()
    for plan in routes.plans():
        path = plan.path
        for bank, tiles in Counter(routes.banks_of(plan)).items():
            nbytes = routes.uses(plan) * tiles * routes.packet(path)
            moved.update(dict.fromkeys([(path.noc, link) for link in routes.links(path, bank)], nbytes))
    return {link_name(noc, link): nbytes for (noc, link), nbytes in sorted(moved.items()) if nbytes}


def bytes_over_time(routes: Routes) -> dict[str, tuple[int, list[int]]]:
    """Cycles in a bin and the bytes in each, of reads, writes, each NoC and each DRAM bank; nothing without a trace."""
    return {name: routes.silicon.bytes_over_time(i) for i, name in enumerate(routes.flows)}
