"""The main charts of the page as PNG files, drawn by matplotlib, which is an extra: `pip install 'tensix-sim[plot]'`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.analysis import Verdict
from tensix_sim.error import LengthError
from tensix_sim.files import atomic_path
from tensix_sim.page.data import describe
from tensix_sim.page.families import DONE, WORK
from tensix_sim.page.packing import unpack
from tensix_sim.trace import Run
from tensix_sim.tuning import Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

Data = Mapping[str, Any]
INK, QUIET, LINE, NODE, ACCENT = "#0b0b0b", "#52514e", "#e4e2da", "#eceae4", "#2a78d6"
LOW, HIGH = "#d9e6f7", "#0d3f85"
PIXELS = 1200  # columns of a lane
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.edgecolor": "#bdbab0", "axes.labelcolor": QUIET, "text.color": INK, "xtick.color": QUIET,
    "ytick.color": QUIET, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
    "axes.titlelocation": "left", "figure.facecolor": "white",
}  # fmt: skip


def write_pngs(run: Run, verdicts: Sequence[Verdict], folder: Path) -> list[Path]:
    """Draw devices, roofline and, with a trace, cores, floor plan, time and budget of the slowest device; return the files.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    from matplotlib import rc_context

    data = describe(run, verdicts)
    device = max(data["devices"], key=lambda d: d["cycles"])
    charts: dict[str, Callable[[Data, Data], Figure]] = {"devices": _devices, "roofline": _roofline}
    if device["cores"]:
        charts |= {"cores": _cores, "time": _time, "budget": _budget}
    if device["servers"]:
        charts["floor"] = _floor
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with rc_context(STYLE):
        for name, chart in charts.items():
            path = folder / f"{name}.png"
            with atomic_path(path) as target:
                chart(data, device).savefig(target, format="png", dpi=150, metadata={"Software": None})
            written.append(path)
    return written


def main_picture(data: Data) -> bytes | None:
    """Lanes, circular buffers and bandwidth over time of the slowest device, as a PNG file; None without a trace.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib import rc_context

    device = max(data["devices"], key=lambda d: d["cycles"])
    if not device["cores"]:
        return None
    drawn = BytesIO()
    with rc_context(STYLE):
        _time(data, device).savefig(drawn, format="png", dpi=80, metadata={"Software": None})
    return drawn.getvalue()


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _colours(data: Data) -> dict[str, str]:
    return {family["key"]: family["light"] for family in data["families"]}


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("share", [LOW, HIGH])


def _patches(data: Data, used: set[str]) -> list[Patch]:
    from matplotlib.patches import Patch

    return [Patch(color=f["light"], label=f["label"]) for f in data["families"] if f["key"] in used]


def _devices(data: Data, device: Data) -> Figure:
    """Cycles and utilisations of each device, side by side; what binds it beside its name."""
    devices = data["devices"]
    binds = {verdict["ring_id"]: f": {verdict['binds']}" for verdict in data["verdicts"]}
    figure = _figure(10, 1.2 + 0.32 * len(devices), f"{data['title']}: {data['shape']}")
    measures = {
        "cycles": [d["cycles"] for d in devices],
        "math utilisation": [d["math_utilization"] for d in devices],
        "DRAM utilisation": [d["dram_utilization"] for d in devices],
        "NoC utilisation": [d["noc_utilization"] for d in devices],
    }
    all_axes = np.atleast_1d(figure.subplots(1, len(measures), sharey=True))
    for axes, (label, values) in zip(all_axes, measures.items(), strict=True):
        shown = [f"{v:,}" if label == "cycles" else f"{v:.1%}" for v in values]
        bars = axes.barh(range(len(devices)), values, color=ACCENT, height=0.6)
        axes.bar_label(bars, shown, padding=3, fontsize=8)
        axes.set_xlim(0, max(1 if label != "cycles" else 0, *values) * 1.35)
        axes.set_title(label)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    all_axes[0].set_yticks(range(len(devices)), [f"device {d['ring_id']}{binds.get(d['ring_id'], '')}" for d in devices])
    all_axes[0].invert_yaxis()
    return figure


def _cores(data: Data, device: Data) -> Figure:
    """Busy share of each core's math thread, on every device."""
    traced = [d for d in data["devices"] if d["cores"]]
    columns = min(4, len(traced))
    figure = _figure(2.6 * columns + 0.8, 0.6 + 3.1 * -(-len(traced) // columns), "Math thread busy, share of the wall")
    all_axes = np.ravel(np.atleast_1d(figure.subplots(-(-len(traced) // columns), columns)))
    grids = [_busy(data, d) for d in traced]
    top = max(grid.max() for grid in grids) or 1.0
    image = None
    for axes, d, grid in zip(all_axes, traced, grids, strict=False):
        image = axes.pcolormesh(grid, cmap=_shades(), vmin=0, vmax=top, edgecolors="white", linewidth=1.5)
        axes.set_title(f"device {d['ring_id']}")
        axes.set_xticks(np.arange(grid.shape[1]) + 0.5, range(grid.shape[1]))
        axes.set_yticks(np.arange(grid.shape[0]) + 0.5, range(grid.shape[0]))
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for axes in all_axes[len(traced) :]:
        axes.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=list(all_axes), format="{x:.0%}", shrink=0.6)
    return figure


def _busy(data: Data, device: Data) -> NDArray[np.float64]:
    size = np.max(device["cores"], axis=0) + 1
    grid = np.zeros((size[1], size[0]))
    work = {family.key for family in WORK}
    for core, lane, name, cycles in zip(*unpack(device["totals"]), strict=True):
        if data["lanes"][lane] == "math" and data["family_of"][name] in work:
            x, y = device["cores"][core]
            grid[y, x] += cycles / device["wall"]
    return grid


def _budget(data: Data, device: Data) -> Figure:
    """Stacked bars of the lanes of the core that ends last; each adds up to the wall."""
    core = _last(device)
    figure = _figure(11, 3.6, f"Cycle budget of core {_core(device, core)} on device {device['ring_id']}")
    axes, colours, used = figure.subplots(), _colours(data), set()
    order = list(colours)
    lanes: list[list[tuple[int, int]]] = [[] for _ in data["lanes"]]
    for place, lane, name, cycles in zip(*unpack(device["totals"]), strict=True):
        if place == core:
            lanes[lane].append((int(name), int(cycles)))
    for i, lane in enumerate(lanes):
        left = 0
        for name, cycles in sorted(lane, key=lambda part: (order.index(data["family_of"][part[0]]), -part[1])):
            key = data["family_of"][name]
            used.add(key)
            axes.barh(i, cycles, left=left, color=colours[key], height=0.7, edgecolor="white", linewidth=0.5)
            if cycles > 0.08 * device["wall"]:
                text = f"{data['names'][name]} {cycles / device['wall']:.0%}"
                axes.text(left + cycles / 2, i, text, ha="center", va="center", fontsize=8, color=_ink_on(colours[key]))
            left += cycles
    axes.set_yticks(range(len(data["lanes"])), data["lanes"])
    axes.invert_yaxis()
    axes.set_xlim(0, device["wall"])
    _in_cycles(axes)
    patches = _patches(data, used)
    axes.legend(handles=patches, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.14), frameon=False, fontsize=8)
    return figure


def _time(data: Data, device: Data) -> Figure:
    """Lanes of the core that ends last, the tiles in its circular buffers, and the bytes that the device moved."""
    core = _last(device)
    detail = device["detail"][str(core)]
    lists, buffers = unpack(detail["packed"]), detail["buffers"]
    lanes, flows = data["lanes"], [flow for flow in device["flows"] if not flow["name"].startswith("dram bank")]
    figure = _figure(12, 7.5, f"Core {_core(device, core)} of device {device['ring_id']} over time")
    rows = len(lanes) + len(buffers) + len(flows)
    all_axes = np.atleast_1d(figure.subplots(rows, 1, sharex=True, gridspec_kw={"hspace": 0.1}))
    used = set()
    for i, lane in enumerate(lanes):
        shares = _shares(data, np.array(data["acts"])[2 * lists[2 * i]], np.cumsum(lists[2 * i + 1]), device["wall"])
        used |= {f["key"] for f, share in zip(data["families"], shares, strict=True) if share.any()}
        x = (np.arange(PIXELS) + 0.5) * device["wall"] / PIXELS
        all_axes[i].stackplot(x, shares, colors=list(_colours(data).values()), step="mid", linewidth=0)
        _strip(all_axes[i], lane, 1)
    sizes = {b["name"]: b["tiles"] for b in data["l1"]["buffers"]}
    for i, name in enumerate(buffers):
        time, tiles = np.cumsum(lists[2 * len(lanes) + 2 * i]), lists[2 * len(lanes) + 2 * i + 1]
        axes = all_axes[len(lanes) + i]
        axes.fill_between(np.append(time, device["wall"]), np.append(tiles, tiles[-1:]), step="post", color=ACCENT, linewidth=0)
        _strip(axes, f"{name}, tiles", sizes.get(name) or max(1, *tiles))
    for flow, axes in zip(flows, all_axes[len(lanes) + len(buffers) :], strict=True):
        rates = unpack(flow["bytes"])[0] / flow["width"]
        axes.stairs(rates, np.arange(len(rates) + 1) * flow["width"], fill=True, color=ACCENT)
        _strip(axes, f"{flow['name']}, B per cycle", max(1.0, float(rates.max(initial=0))))
    all_axes[-1].set_xlim(0, device["wall"])
    _in_cycles(all_axes[-1])
    figure.legend(handles=_patches(data, used - {DONE}), loc="outside lower left", ncols=5, frameon=False, fontsize=8)
    return figure


def _shares(data: Data, names: NDArray[np.int64], ends: NDArray[np.int64], wall: int) -> NDArray[np.float64]:
    """Share of each family in each of `PIXELS` equal parts of the wall."""
    edges = np.linspace(0, wall, PIXELS + 1)
    shares = np.zeros((len(data["families"]), PIXELS))
    keys = [data["family_of"][name] for name in range(len(data["names"]))]
    spent = np.diff(ends, prepend=0)
    for i, family in enumerate(data["families"]):
        mine = np.array([n != 0 and keys[n] == family["key"] for n in names], bool)
        until = np.concatenate(([0], np.cumsum(np.where(mine, spent, 0))))
        shares[i] = np.diff(np.interp(edges, np.concatenate(([0], ends)), until)) * PIXELS / wall
    return shares


def _strip(axes: Axes, label: str, top: float) -> None:
    axes.set_ylim(0, top)
    axes.set_yticks([top], ["" if top == 1 and "," not in label else f"{top:,.0f}"], fontsize=7)
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    axes.tick_params(axis="x", length=0)


def _roofline(data: Data, device: Data) -> Figure:
    """Useful flops per cycle over flops per byte of DRAM traffic, under the chip's roofs."""
    figure = _figure(6.4, 4.4, "Roofline")
    axes, roof = figure.subplots(), device["roofline"]
    ridge = roof["peak_flops_per_cycle"] / roof["bytes_per_cycle"]
    points = [(d["roofline"]["flops_per_byte"], d["roofline"]["flops_per_cycle"]) for d in data["devices"]]
    xs = [x for x, _ in points if x > 0] + [ridge]
    x = np.geomspace(min(xs) / 4, max(xs) * 4, 200)
    axes.loglog(x, np.minimum(roof["peak_flops_per_cycle"], x * roof["bytes_per_cycle"]), color=QUIET, linewidth=1.4)
    axes.plot(*zip(*points, strict=True), "o", color="white", markeredgecolor=ACCENT)
    mine = roof["flops_per_byte"], roof["flops_per_cycle"]
    axes.plot(*mine, "o", color=ACCENT)
    if mine[0] > 0:
        share = mine[1] / min(roof["peak_flops_per_cycle"], mine[0] * roof["bytes_per_cycle"])
        text = f"device {device['ring_id']}: {share:.1%} of its roof"
        axes.annotate(text, mine, textcoords="offset points", xytext=(8, -3), fontsize=8)
    axes.set_xlabel("useful flops per byte of DRAM traffic")
    axes.set_ylabel("useful flops per cycle")
    axes.set_title(f"FPUs {roof['peak_flops_per_cycle']:,.0f} flops, DRAM {roof['bytes_per_cycle']:,.0f} B per cycle")
    axes.set_ylim(min(y for _, y in [*points, (0, roof["peak_flops_per_cycle"])]) / 3, roof["peak_flops_per_cycle"] * 1.5)
    axes.grid(color=LINE, linewidth=0.6)
    return figure


def _floor(data: Data, device: Data) -> Figure:
    """The chip's NoC grid: links and DRAM banks shaded by the share of the wall for which they moved data."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = _figure(12, 6.2, f"Floor plan, device {device['ring_id']}: share of the wall for which data moved")
    scale = ScalarMappable(Normalize(0, max(device["servers"].values())), _shades())
    panels = figure.subplots(1, 2)
    for noc, (axes, directions) in enumerate(
        zip(panels, ({"east": (1, 0), "south": (0, 1)}, {"west": (-1, 0), "north": (0, -1)}), strict=True)
    ):
        for name, share in device["servers"].items():
            if name.startswith(f"noc{noc} link "):
                at, direction = name.split(" ")[2:]
                x, y = map(int, at.split("-"))
                dx, dy = directions[direction]
                arrow = {"arrowstyle": "-|>", "color": scale.to_rgba(share), "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (x + 0.75 * dx, y + 0.75 * dy), (x + 0.2 * dx, y + 0.2 * dy), arrowprops=arrow)
        _nodes(axes, data, device, scale)
        axes.set_title(f"NoC {noc}")
    figure.colorbar(scale, ax=list(panels), format="{x:.0%}", shrink=0.6)
    return figure


def _nodes(axes: Axes, data: Data, device: Data, scale: Any) -> None:
    chip = data["chip"]
    workers = [(x, y) for x in chip["worker_columns"] for y in chip["worker_rows"]]
    axes.plot(*zip(*workers, strict=True), "s", color=NODE, markeredgecolor="#bdbab0", markersize=11)
    for bank, (x, y) in enumerate(chip["dram"]):
        shade = scale.to_rgba(device["servers"].get(f"dram bank {bank}", 0.0))
        box = {"boxstyle": "square,pad=0.3", "facecolor": shade, "edgecolor": INK, "linewidth": 0.7}
        light = sum(weight * c for weight, c in zip((0.3, 0.59, 0.11), shade, strict=False)) > 0.5
        axes.text(x, y, f"D{bank}", ha="center", va="center", fontsize=7, color=INK if light else "white", bbox=box)
    axes.set_xlim(-0.9, chip["columns"] - 0.1)
    axes.set_ylim(chip["rows"] - 0.1, -0.9)
    axes.set_xticks(range(chip["columns"]))
    axes.set_yticks(range(chip["rows"]))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _last(device: Data) -> int:
    """The core that ends last, whose lanes the page always has."""
    return next(int(core) for core, detail in device["detail"].items() if detail["why"] in ("ends last", "idle"))


def _core(device: Data, core: int) -> str:
    x, y = device["cores"][core]
    return f"({x},{y})"


def _in_cycles(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel("cycles")
    axes.tick_params(axis="x", length=3)


def _ink_on(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return INK if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.22 else "white"


def _save(draw: Callable[[], Figure], path: Path) -> None:
    """Write a figure in the format that the suffix of `path` names; the same figure gives the same bytes."""
    from matplotlib import rc_context

    with rc_context(STYLE | {"svg.hashsalt": "tensix_sim"}), atomic_path(path) as target:
        kind = path.suffix.removeprefix(".") or "png"
        draw().savefig(target, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def write_lengths_plot(tunings: Sequence[Tuning], path: Path) -> None:
    """Draw the times of the given and the best config over sequence lengths; the suffix of `path` names the format.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: a format that matplotlib does not know.
    """
    _save(lambda: _lengths(tunings), path)


def _lengths(tunings: Sequence[Tuning]) -> Figure:
    spec = tunings[0].space.spec
    fig = _figure(7.5, 4.2, f"{spec.op} on {spec.board}: given and best config")
    ax = fig.add_subplot()
    lengths = [t.space.spec.inputs.seq_len for t in tunings]
    best = [t.winner.microseconds for t in tunings]
    given = [t.given.microseconds if t.given else np.nan for t in tunings]
    ax.plot(lengths, given, "o-", color=QUIET, label="given")
    ax.plot(lengths, best, "o-", color=ACCENT, label="best")
    for t, low, high in zip(tunings, best, given, strict=True):
        chosen = "/".join(str(t.winner.settings[name]) for name in t.space.varied)
        gain = f"{high / low:.2f}x\n" if t.given else ""
        ax.annotate(f"{gain}{chosen}", (t.space.spec.inputs.seq_len, low), (6, -20), textcoords="offset points", fontsize=8)
    _over_lengths(ax, lengths, xlabel="tokens", ylabel="microseconds, slowest device")
    ax.margins(x=0.1, y=0.12)  # room for what the first and the last point say
    return fig


def write_length_errors_plot(errors: Sequence[LengthError], path: Path) -> None:
    """Draw errors over lengths, one line for each width of DST; the suffix of `path` names the format.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: a format that matplotlib does not know.
    """
    _save(lambda: _length_errors(errors), path)


def _length_errors(errors: Sequence[LengthError]) -> Figure:
    fig = _figure(7.5, 4.2, "Relative L2 error of queries that see all keys")
    ax = fig.add_subplot()
    for wide, color in ((False, ACCENT), (True, QUIET)):
        line = [e for e in errors if e.fp32_dest_acc_en is wide]
        ax.plot([e.keys for e in line], [100 * e.rel_l2 for e in line], "o-", color=color, label=f"{32 if wide else 16}-bit DST")
    keys = sorted({e.keys for e in errors})
    _over_lengths(ax, keys, xlabel="keys", ylabel="relative L2 error, %")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if ax.get_ylim()[0] <= t <= ax.get_ylim()[1]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    return fig


def _over_lengths(ax: Axes, lengths: Sequence[int], **labels: str) -> None:
    """Logarithmic axes with the lengths at their ticks, and a legend of the lines that are drawn."""
    ax.set(xscale="log", yscale="log", xticks=lengths, **labels)
    ax.set_xticklabels([f"{n // 1024}k" if n % 1024 == 0 else f"{n:,}" for n in lengths])
    ax.minorticks_off()
    ax.grid(color=LINE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
