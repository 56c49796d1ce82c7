"""A Perfetto protobuf trace: chip, core, its RISCs in the order in which a tile meets them, then its circular buffers.

Times are nanoseconds, as Perfetto has them; each slice carries its first and last cycle. Needs the `perfetto` package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensix_sim.emit.run import Emission
from tensix_sim.files import atomic_path
from tensix_sim.trace import RISCS, Cause, Trace, What
from tensix_sim.user_errors import UserError

SEQUENCE = 1
NEEDS = "perfetto: needs the perfetto package: pip install 'tensix-sim[emit]'"


class MissingPackageError(UserError):
    """A package of an extra is not installed."""


def packages() -> tuple[Any, Any]:
    """The modules of `perfetto` for its messages and for writing them."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
        from perfetto.trace_builder import proto_builder
    except ImportError as error:
        raise MissingPackageError(NEEDS) from error
    return perfetto_trace_pb2, proto_builder


def write(emission: Emission, path: Path) -> Path:
    """Write the trace of all devices, in pieces: memory does not grow with it.

    Raises:
        MissingPackageError: there is no `perfetto`.
    """
    proto, builders = packages()
    with atomic_path(path) as target, target.open("wb") as file:
        builder = builders.StreamingTraceProtoBuilder(file)
        about = builder.create_packet()
        about.trusted_packet_sequence_id = SEQUENCE
        about.trace_uuid.lsb = int.from_bytes(bytes.fromhex(emission.run.id), signed=True)  # 64 bits of the 128
        builder.write_packet(about)
        for device, trace in emission.devices:
            _Device(emission, device["ring_id"], f"device {device['ring_id']}", trace, proto, builder).write()
        for ring_id, trace in emission.run.tails.items():
            place = emission.spec.ring_size + ring_id
            _Device(emission, place, f"device {ring_id}, after the op", trace, proto, builder).write()
    return path


class _Device:
    """The tracks of one device: numbers from its own range, the `place`-th, of which the first is the chip's."""

    def __init__(self, emission: Emission, place: int, name: str, trace: Trace, proto: Any, builder: Any) -> None:
        self.emission, self.name, self.trace = emission, name, trace
        self.explicit = proto.TrackDescriptor.EXPLICIT
        self.event = proto.TrackEvent
        self.builder = builder
        self.chip = (place + 1) << 32
        cores = sorted({lane.core for lane in trace.lanes}, key=lambda core: core[::-1])
        self.cores = {core: self.chip + 1 + i for i, core in enumerate(cores)}
        self.lanes = [self.chip + (1 << 16) + i for i in range(len(trace.lanes))]
        self.counters = [self.chip + (1 << 24) + i for i in range(len(trace.counters))]

    def write(self) -> None:
        """Write descriptors of tracks, then events in the order of recording."""
        self._track(self.chip, self.name, ordered=True)
        for rank, (core, track) in enumerate(self.cores.items()):
            self._track(track, f"core {core[0]},{core[1]}", self.chip, rank, ordered=True)
        for track, (core, risc) in zip(self.lanes, self.trace.lanes, strict=True):
            self._track(track, risc, self.cores[core], RISCS.index(risc))
        for rank, (track, series) in enumerate(zip(self.counters, self.trace.counters, strict=True)):
            parent, name = (self.cores[series.core], series.what) if series.core else (self.chip, series.label)
            self._track(track, name, parent, len(RISCS) + len(self.cores) + rank, unit=series.unit)
        for block in self.trace.span_blocks():
            for lane, name, first, last, _ in block.tolist():
                self._slice(self.lanes[lane], self.trace.names[name], first, last)
        for block in self.trace.count_blocks():
            for series, time, value in block.tolist():
                self._count(self.counters[series], time, value)

    def _track(self, uuid: int, name: str, parent: int = 0, rank: int = 0, ordered: bool = False, unit: str = "") -> None:
        with self._packet() as packet:
            track = packet.track_descriptor
            track.uuid, track.name = uuid, name
            if parent:
                track.parent_uuid, track.sibling_order_rank = parent, rank
            if ordered:
                track.child_ordering = self.explicit
            if unit:
                track.counter.unit_name = unit

    def _slice(self, track: int, what: What, first: int, last: int) -> None:
        with self._event(track, first, self.event.TYPE_SLICE_BEGIN) as event:
            event.name = str(what)
            event.categories.append("wait" if isinstance(what, Cause) else "busy")
            for label, cycles in (("first cycle", first), ("cycles", last - first)):
                note = event.debug_annotations.add()
                note.name, note.int_value = label, cycles
        with self._event(track, last, self.event.TYPE_SLICE_END):
            pass

    def _count(self, track: int, time: int, value: int) -> None:
        with self._event(track, time, self.event.TYPE_COUNTER) as event:
            event.counter_value = value

    @contextmanager
    def _event(self, track: int, cycle: int, kind: Any) -> Iterator[Any]:
        with self._packet() as packet:
            packet.timestamp = self.emission.ns(cycle)
            packet.track_event.type, packet.track_event.track_uuid = kind, track
            yield packet.track_event

    @contextmanager
    def _packet(self) -> Iterator[Any]:
        packet = self.builder.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        yield packet
        self.builder.write_packet(packet)
