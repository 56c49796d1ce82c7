"""What a simulated device did, cycle by cycle: spans on lanes, counters, transfers."""

import linecache
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch.model import unknown_name
from tensix_sim.files import frame
from tensix_sim.trace.causes import WAIT, Cause, What
from tensix_sim.trace.table import Records, Table

Level = Literal["off", "zones", "transfers"]
# What each RISC does, in the order in which a tile meets them
LANES = {"NCRISC": "reader", "TRISC_0": "unpack", "TRISC_1": "math", "TRISC_2": "pack", "BRISC": "writer"}
RISCS = tuple(LANES)
RISC_OF = {lane: risc for risc, lane in LANES.items()}

SPAN = np.dtype([("lane", "<i4"), ("name", "<i4"), ("start", "<i8"), ("end", "<i8"), ("line", "<i4")])
COUNT = np.dtype([("series", "<i4"), ("time", "<i8"), ("value", "<i8")])
TRANSFER = np.dtype(
    [(c, "<i4") for c in ("lane", "kind", "noc", "source_x", "source_y", "target_x", "target_y", "requests")]
    + [(c, "<i8") for c in ("nbytes", "start", "end")]
)


class Lane(NamedTuple):
    """One RISC of one core, by logical coordinates."""

    core: tuple[int, int]
    risc: str

    def __str__(self) -> str:
        return f"({self.core[0]},{self.core[1]}) {self.risc}"

    @property
    def name(self) -> str:
        """As screens have it: "math"."""
        return LANES[self.risc]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sorts lanes row by row of the grid, and within a core in the order of `RISCS`."""
        return self.core[1], self.core[0], RISCS.index(self.risc)


class Line(NamedTuple):
    """A line of a kernel's source, counted from 1; line 0 of no file stands for no kernel's."""

    file: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" if self.file else ""


class Series(NamedTuple):
    """A counter: what it counts, in which unit, and on which core; none for one of the whole chip."""

    what: str
    unit: str
    core: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """As files and screens have it: "(3,1) k_in" of a core, "read bytes" of a chip."""
        return f"({self.core[0]},{self.core[1]}) {self.what}" if self.core else f"{self.what} {self.unit}"


class Trace:
    """What one device did. Times are whole device clock cycles.

    Level `off` records nothing, `zones` spans and counters, `transfers` also every NoC transfer. Names, lanes
    and series are numbered in the order of their first use. At most `spill_rows` rows of each kind stay in
    memory, the rest goes to an anonymous temporary file. `notes` are facts about the run, shown in files; `units` says which
    unit does a step, by its name: matmul, fpu or sfpu; `sources` are the texts of the files that lines are of.
    """

    def __init__(self, level: Level = "zones", spill_rows: int = 1 << 20) -> None:
        if level not in get_args(Level):
            raise ValueError(f"trace level {level!r}: must be one of {', '.join(get_args(Level))}")
        self.level: Level = level
        self.zones = level != "off"
        self.transfers = level == "transfers"
        self.notes: dict[str, str] = {}
        self.units: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self._names: dict[What, int] = {}
        self._lanes: dict[Lane, int] = {}
        self._lines: dict[Line, int] = {Line(): 0}
        self._series: dict[Series, int] = {}
        self._spans = Table(SPAN, spill_rows)
        self._counts = Table(COUNT, spill_rows)
        self._transfers = Table(TRANSFER, spill_rows)

    # -- recording ------------------------------------------------------------------------------------------

    def name(self, what: What) -> int:
        """Give what a span or a transfer is, a step's name or a cause of waiting, its number."""
        if isinstance(what, str) and what.startswith(WAIT):
            raise ValueError(f"step {what!r}: what starts so is a wait; give its Cause")
        return self._names.setdefault(what, len(self._names))

    def lane(self, core: tuple[int, int], risc: str) -> int:
        """Give a RISC, one of `RISCS`, of a core, by logical coordinates, the number of its lane."""
        if risc not in RISCS:
            raise ValueError(f"RISC {risc!r}: must be one of {', '.join(RISCS)}")
        return self._lanes.setdefault(Lane(core, risc), len(self._lanes))

    def lanes_of(self, core: tuple[int, int], first: str, *others: str) -> int:
        """Give some RISCs lanes with numbers one after the other, if anything is recorded: the first."""
        numbers = [self.lane(core, risc) for risc in (first, *others)] if self.zones else [0]
        return numbers[0]

    def series(self, what: str, unit: str, core: tuple[int, int] | None = None) -> int:
        """Give a counter its number, such as "k_in" in "tiles" on core (0, 0)."""
        return self._series.setdefault(Series(what, unit, core), len(self._series))

    def line(self, file: str, number: int, path: str) -> int:
        """Give a line of a kernel its number; `path` is where its file can be read now."""
        if file not in self.sources:
            self.sources[file] = "".join(linecache.getlines(path))
        return self._lines.setdefault(Line(file, number), len(self._lines))

    def span(self, lane: int, name: int, start: int, end: int, line: int = 0) -> None:
        """Record that a lane did `name` from cycle `start` up to `end`, for a line; its spans come in order of time."""
        if start != end and self.zones:
            self._spans.append(lane, name, start, end, line)

    def count(self, series: int, time: int, value: int) -> None:
        """Record that a counter has `value` from cycle `time` on; its values come in order of time."""
        if self.zones:
            self._counts.append(series, time, value)

    def extend(self, kind: str, rows: Records) -> None:
        """Record many spans or counts, as `SPAN` or `COUNT` has them."""
        self.tables[kind].extend(rows)

    def transfer(
        self,
        start: int,
        end: int,
        noc: int,
        source: tuple[int, int],
        target: tuple[int, int],
        nbytes: int,
        *,
        lane: int,
        kind: int,
        requests: int = 1,
    ) -> None:
        """Record what went over a NoC: issued at cycle `start`, landed at cycle `end`, `nbytes` in all.

        Data flows from `source` to `target`, both NoC positions; `lane` issued it in `requests` equal parts;
        `kind` is the number of a name, such as "READ".
        """
        if self.transfers:
            self._transfers.append(lane, kind, noc, *source, *target, requests, nbytes, start, end)

    # -- what was recorded ----------------------------------------------------------------------------------

    @property
    def names(self) -> list[What]:
        """What spans and transfers are, by number."""
        return list(self._names)

    @property
    def lanes(self) -> list[Lane]:
        """Lanes by number."""
        return list(self._lanes)

    @property
    def lines(self) -> list[Line]:
        """Lines of kernels by number."""
        return list(self._lines)

    @property
    def counters(self) -> list[Series]:
        """Counters by number."""
        return list(self._series)

    @property
    def tables(self) -> dict[str, Table]:
        """What was recorded, by kind."""
        return {"spans": self._spans, "counts": self._counts, "transfers": self._transfers}

    def spans(
        self, core: tuple[int, int] | None = None, risc: str | None = None, start: int = 0, end: int | None = None
    ) -> Records:
        """Read spans, in the order of recording: `SPAN` rows.

        All of them, or those of a core, (x, y), of a RISC, by its name or its lane's ("TRISC_1" or "math"), of both, and those
        that reach into the cycles from `start` up to `end`.

        Raises:
            KeyError: there is no such core or RISC in the trace; has the nearest that there are.
        """
        risc = RISC_OF.get(risc, risc) if risc else risc
        self._know("core", core, {lane.core for lane in self._lanes})
        self._know("RISC", risc, {*RISCS, *RISC_OF})
        if core is None and risc is None and not start and end is None:
            return self._spans.array()
        chosen = np.array([core in (None, lane.core) and risc in (None, lane.risc) for lane in self.lanes], bool)
        last = np.iinfo(np.int64).max if end is None else end
        pieces = [b[chosen[b["lane"]] & (b["end"] > start) & (b["start"] < last)] for b in self._spans.blocks()]
        return np.concatenate(pieces) if pieces else np.empty(0, SPAN)

    def _know(self, what: str, wanted: Any, known: set[Any]) -> None:
        """Hold what was asked for to what the trace has."""
        if wanted is not None and wanted not in known and known:
            raise unknown_name(what, str(wanted), sorted(map(str, known)))

    def waits(self, by: Literal["cause", "core", "risc", "lane"] = "cause") -> dict[Any, int]:
        """Cycles of waiting over all lanes by cause, by core, by RISC or by the lane's name, such as "math", the longest first.

        Raises:
            KeyError: `by` is something else.
        """
        self._know("way to add waits up", by, {"cause", "core", "risc", "lane"})
        waits = np.array([isinstance(name, Cause) for name in self.names], bool)
        column, keys = (
            ("name", self.names)
            if by == "cause"
            else ("lane", [getattr(lane, "name" if by == "lane" else by) for lane in self.lanes])
        )
        cycles: Counter[Any] = Counter()
        for block in self._spans.blocks():
            rows = block[waits[block["name"]]]
            spent = np.zeros(len(keys), np.int64)
            np.add.at(spent, rows[column], rows["end"] - rows["start"])
            for key, n in zip(keys, spent.tolist(), strict=True):
                cycles[key] += n
        return {key: n for key, n in cycles.most_common() if n}

    def counter(self, label: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cycles at which a counter changed and its values from then on, such as those of "(0,0) k_in".

        Raises:
            KeyError: there is no such counter; has the nearest that there are.
        """
        series = [i for i, known in enumerate(self._series) if known.label == label]
        if not series:
            raise unknown_name("counter", label, [s.label for s in self._series])
        rows = [block[block["series"] == series[0]] for block in self._counts.blocks()]
        values = np.concatenate(rows) if rows else np.empty(0, COUNT)
        return values["time"], values["value"]

    def bandwidth(self, what: str = "read") -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Starts of equal bins of time and the bytes a cycle in them: of "read", "write", "noc0", "dram bank 3" and so on.

        Raises:
            KeyError: nothing of that name was recorded.
        """
        starts, nbytes = self.counter(f"{what} bytes")
        width = int(starts[1] - starts[0]) if len(starts) > 1 else max(1, self.end)
        return starts, nbytes / width

    def __repr__(self) -> str:
        spans, lanes = len(self._spans), len(self._lanes)
        return (
            f"Trace({self.level}: {spans:,} spans on {lanes:,} lanes, {len(self._series):,} counters, up to cycle {self.end:,})"
        )

    def frame(self, of: Literal["spans", "counters", "transfers"] = "spans", by: str | None = None) -> Any:
        """A table as a DataFrame of pandas or, where that is missing, polars; `by` chooses one of the two.

        Of spans a row has the core, the lane ("math"), what it did, whether that was a wait, its first and last cycle, and file
        and line of the kernel that asked for it; of counters the value from a cycle on; of transfers, which a trace has at its
        level `transfers`, what went over a NoC.

        Raises:
            UsageError: neither is installed, or not the one that was chosen.
            KeyError: there is no such table.
        """
        return frame(self.columns(of), by)

    def columns(self, of: Literal["spans", "counters", "transfers"] = "spans") -> dict[str, NDArray[Any]]:
        """The same by columns, texts as objects.

        Raises:
            KeyError: there is no such table.
        """
        self._know("table", of, {"spans", "counters", "transfers"})
        return {"spans": self._span_columns, "counters": self._counter_columns}.get(of, self._transfer_columns)()

    def _lane_columns(self, lanes: NDArray[np.int32]) -> dict[str, Any]:
        x, y = (np.array([lane.core[i] for lane in self.lanes], np.int64)[lanes] for i in (0, 1))
        return {"x": x, "y": y, "lane": np.array([lane.name for lane in self.lanes], object)[lanes]}

    def _span_columns(self) -> dict[str, Any]:
        rows, names = self.spans(), self.names
        waits = np.array([isinstance(name, Cause) for name in names], bool)[rows["name"]]
        what = np.array([name.text if isinstance(name, Cause) else name for name in names], object)[rows["name"]]
        times = {"start": rows["start"], "end": rows["end"], "cycles": rows["end"] - rows["start"]}
        line = np.array(list(map(str, self.lines)), object)[rows["line"]]
        return {**self._lane_columns(rows["lane"]), "what": what, "waits": waits, **times, "line": line}

    def _counter_columns(self) -> dict[str, Any]:
        rows, series = self.counts(), self.counters
        words = {"counter": [s.label for s in series], "unit": [s.unit for s in series]}
        named = {name: np.array(values, object)[rows["series"]] for name, values in words.items()}
        return {**named, "time": rows["time"], "value": rows["value"]}

    def _transfer_columns(self) -> dict[str, Any]:
        rows = self.transferred()
        kind = np.array([str(name) for name in self.names], object)[rows["kind"]]
        others = (name for name in TRANSFER.names or () if name not in ("lane", "kind"))
        return {**self._lane_columns(rows["lane"]), "kind": kind, **{name: rows[name] for name in others}}

    @property
    def end(self) -> int:
        """Cycle at which the last span ends."""
        return max((int(block["end"].max()) for block in self._spans.blocks() if len(block)), default=0)

    def counts(self) -> Records:
        """Read all counter values, in the order of recording: `COUNT` rows."""
        return self._counts.array()

    def transferred(self) -> Records:
        """Read all transfers, in the order of recording: `TRANSFER` rows."""
        return self._transfers.array()

    def span_blocks(self) -> Iterator[Records]:
        """Read all spans in pieces: for traces that are larger than memory."""
        return self._spans.blocks()

    def count_blocks(self) -> Iterator[Records]:
        """Read all counter values in pieces."""
        return self._counts.blocks()
