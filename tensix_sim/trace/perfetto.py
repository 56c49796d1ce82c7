"""A trace in Perfetto's own form: chip, core, its RISCs in the order in which a tile meets them, then its circular buffers.

Texts stand once, and packets are deflated. Times are nanoseconds, as Perfetto has them; each slice carries its first cycle, its
cycles, and file and line of the kernel that asked for it. Needs the `perfetto` package, whose messages make a packet of each kind
once, with holes for the numbers: to make each by itself takes five times as long as to simulate it.
"""

import zlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.files import atomic_path
from tensix_sim.trace.causes import Cause
from tensix_sim.trace.trace import RISCS, Trace
from tensix_sim.trace.writers import Devices, nanoseconds
from tensix_sim.user_errors import UserError

SEQUENCE = 1
CATEGORIES = ("busy", "wait")
FIRST, CYCLES = 1, 2  # numbers of the annotations' names
WIDE = 6  # bytes of a number in a hole: seven bits each, the lowest first, all but the last with the top bit
HOLES = tuple((1 << 7 * (WIDE - 1)) + i for i in range(6))  # numbers as wide as a hole, which no packet has
NEEDS = "perfetto: needs the perfetto package: pip install 'tensix-sim[emit]'"


class MissingPackageError(UserError):
    """A package of an extra is not installed."""


def is_there() -> bool:
    """Whether the package is installed."""
    return find_spec("perfetto") is not None


def messages() -> Any:
    """The module of `perfetto` with its messages.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise MissingPackageError(NEEDS) from error
    return perfetto_trace_pb2


def write_perfetto(path: Path, traces: Devices, clock_hz: int, run: str = "", tails: Devices = ()) -> Path:
    """Write what devices did, and what they did after the op; memory does not grow with it.

    `run` is the id of the run, 16 hex digits, which becomes the low half of the trace's UUID.

    Raises:
        MissingPackageError: there is no `perfetto`.
        OSError: the file cannot be written; an older one stays as it was.
    """
    proto = messages()
    with atomic_path(path) as target, target.open("wb") as file:
        packets = _Packets(file, proto, run)
        for ring_id, trace in traces:
            _Device(packets, ring_id, trace, clock_hz).write(f"device {ring_id}")
        behind = 1 + max((ring_id for ring_id, _ in traces), default=0)
        for ring_id, trace in tails:
            _Device(packets, behind + ring_id, trace, clock_hz).write(f"device {ring_id}, after the op")
    return path


class _Packets:
    """Packets of a file, and the numbers of the texts that they have by number."""

    def __init__(self, file: IO[bytes], proto: Any, run: str) -> None:
        self.file, self.proto = file, proto
        self.names: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        first = proto.Trace()
        about = first.packet.add()
        about.trusted_packet_sequence_id = SEQUENCE
        about.sequence_flags = proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        if run:
            about.interned_data.event_categories.add(iid=len(CATEGORIES) + 1, name=run)  # as text, by which it is found
            about.trace_uuid.lsb = int.from_bytes(bytes.fromhex(run), signed=True)  # 64 bits of the 128
        file.write(first.SerializeToString())
        self.chunk = proto.Trace()
        texts = self.add().interned_data
        for iid, text in enumerate(CATEGORIES, 1):
            texts.event_categories.add(iid=iid, name=text)
        for iid, text in ((FIRST, "first cycle"), (CYCLES, "cycles")):
            texts.debug_annotation_names.add(iid=iid, name=text)

    def add(self) -> Any:
        """A new packet, to be filled before anything else is added."""
        return self._into(self.chunk)

    def _into(self, chunk: Any) -> Any:
        packet = chunk.packet.add()
        packet.trusted_packet_sequence_id = SEQUENCE
        packet.sequence_flags = self.proto.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        return packet

    def event(self, chunk: Any, kind: int, time: int, track: int) -> Any:
        """A new event of a track in a chunk."""
        packet = self._into(chunk)
        packet.timestamp = time
        packet.track_event.type, packet.track_event.track_uuid = kind, track
        return packet.track_event

    def flush(self) -> None:
        """Write what was added."""
        self.write([self.chunk.SerializeToString()])
        self.chunk = self.proto.Trace()

    def write(self, packets: Iterable[bytes]) -> None:
        """Write packets that are made already."""
        deflated = self.proto.Trace()
        deflated.packet.add().compressed_packets = zlib.compress(b"".join(packets), 1)
        self.file.write(deflated.SerializeToString())

    def learn(self, trace: Trace) -> None:
        """Give the trace's names and lines numbers, those that are new."""
        texts = self.add().interned_data
        for name in map(str, trace.names):
            if name not in self.names:
                self.names[name] = len(self.names) + 1
                texts.event_names.add(iid=self.names[name], name=name)
        for line in trace.lines[1:]:
            if str(line) not in self.lines:
                self.lines[str(line)] = len(self.lines) + 1
                texts.source_locations.add(iid=self.lines[str(line)], file_name=line.file, line_number=line.number)


class _Device:
    """The tracks of one device: numbers from its own range, the `place`-th, of which the first is the chip's."""

    def __init__(self, packets: _Packets, place: int, trace: Trace, clock_hz: int) -> None:
        self.packets, self.trace, self.clock_hz = packets, trace, clock_hz
        self.chip = (place + 1) << 32
        cores = sorted({lane.core for lane in trace.lanes}, key=lambda core: core[::-1])
        self.cores = {core: self.chip + 1 + i for i, core in enumerate(cores)}
        self.lanes = [self.chip + (1 << 16) + i for i in range(len(trace.lanes))]
        self.counters = [self.chip + (1 << 24) + i for i in range(len(trace.counters))]

    def write(self, name: str) -> None:
        """Write descriptors of tracks, then events in the order of recording."""
        self._track(self.chip, name, ordered=True)
        for rank, (core, track) in enumerate(self.cores.items()):
            self._track(track, f"core {core[0]},{core[1]}", self.chip, rank, ordered=True)
        for track, (core, risc) in zip(self.lanes, self.trace.lanes, strict=True):
            self._track(track, risc, self.cores[core], RISCS.index(risc))
        for rank, (track, series) in enumerate(zip(self.counters, self.trace.counters, strict=True)):
            parent, label = (self.cores[series.core], series.what) if series.core else (self.chip, series.label)
            self._track(track, label, parent, len(RISCS) + len(self.cores) + rank, unit=series.unit)
        self.packets.learn(self.trace)
        self.packets.flush()
        self._slices()
        self._counts()

    def _track(self, uuid: int, name: str, parent: int = 0, rank: int = 0, ordered: bool = False, unit: str = "") -> None:
        track = self.packets.add().track_descriptor
        track.uuid, track.name = uuid, name
        if parent:
            track.parent_uuid, track.sibling_order_rank = parent, rank
        if ordered:
            track.child_ordering = track.EXPLICIT
        if unit:
            track.counter.unit_name = unit

    def _slices(self) -> None:
        made: dict[tuple[int, int], list[bytes]] = {}
        lanes = np.array(self.lanes)
        for block in self.trace.span_blocks():
            begin, end = (_in_holes(nanoseconds(block[edge], self.clock_hz)) for edge in ("start", "end"))
            first, cycles = _in_holes(block["start"]), _in_holes(block["end"] - block["start"])
            whats = zip(block["name"].tolist(), block["line"].tolist(), strict=True)
            pieces: list[bytes] = []
            for what, track, *numbers in zip(whats, _in_holes(lanes[block["lane"]]), begin, first, cycles, end, strict=True):
                a, b, c, d, e, f, g = made.get(what) or made.setdefault(what, self._slice(*what))
                pieces += (a, numbers[0], b, numbers[1], c, numbers[2], d, track, e, numbers[3], f, track, g)
            self.packets.write(pieces)

    def _slice(self, name: int, line: int) -> list[bytes]:
        """Packets of a slice's begin and end, around its begin, first cycle, cycles and track, its end and track."""
        proto, what = self.packets.proto, self.trace.names[name]
        chunk = proto.Trace()
        event = self.packets.event(chunk, proto.TrackEvent.TYPE_SLICE_BEGIN, HOLES[0], HOLES[3])
        event.name_iid = self.packets.names[str(what)]
        event.category_iids.append(1 + isinstance(what, Cause))
        if line:
            event.source_location_iid = self.packets.lines[str(self.trace.lines[line])]
        event.debug_annotations.add(name_iid=FIRST, int_value=HOLES[1])
        event.debug_annotations.add(name_iid=CYCLES, int_value=HOLES[2])
        self.packets.event(chunk, proto.TrackEvent.TYPE_SLICE_END, HOLES[4], HOLES[5])
        return _around_holes(chunk, 6)

    def _counts(self) -> None:
        proto = self.packets.proto
        chunk = proto.Trace()
        self.packets.event(chunk, proto.TrackEvent.TYPE_COUNTER, HOLES[0], HOLES[1]).counter_value = HOLES[2]
        a, b, c, d = _around_holes(chunk, 3)
        counters = np.array(self.counters)
        for block in self.trace.count_blocks():
            numbers = nanoseconds(block["time"], self.clock_hz), counters[block["series"]], block["value"]
            pieces: list[bytes] = []
            for time, track, value in zip(*map(_in_holes, numbers), strict=True):
                pieces += (a, time, b, track, c, value, d)
            self.packets.write(pieces)


def _in_holes(numbers: NDArray[np.int64]) -> list[bytes]:
    """Numbers, none negative, as wide as a hole each."""
    parts = (numbers[:, None] >> 7 * np.arange(WIDE)) & 0x7F
    parts[:, :-1] |= 0x80
    found: list[bytes] = parts.astype(np.uint8).view(f"V{WIDE}").ravel().tolist()
    return found


def _around_holes(chunk: Any, count: int) -> list[bytes]:
    """Packets in pieces: what stands before, between and behind the first so many holes, in the order in which they have them."""
    left, order = chunk.SerializeToString(), []
    for hole in _in_holes(np.array(HOLES[:count])):
        before, found, left = left.partition(hole)
        assert found, "a packet's numbers stand in another order than they were given in"
        order.append(before)
    return [*order, left]
