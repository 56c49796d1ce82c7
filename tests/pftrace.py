"""Perfetto's traces read back by its own messages: packets one by one, their texts in place of the texts' numbers."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tensix_sim.trace.perfetto import is_there

VIEWED = "trace.pftrace" if is_there() else "trace.json.gz"  # what a run writes for a viewer


def packets(path: Path) -> Iterator[Any]:
    """All packets of a file, those that are deflated too; what is interned is known from the packet on that has it."""
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    names, lines, notes = {0: ""}, {0: ""}, {}
    for packet in _inflated(proto, path.read_bytes()):
        names |= {text.iid: text.name for text in packet.interned_data.event_names}
        notes |= {text.iid: text.name for text in packet.interned_data.debug_annotation_names}
        lines |= {at.iid: f"{at.file_name}:{at.line_number}" for at in packet.interned_data.source_locations}
        event = packet.track_event
        if packet.HasField("track_event") and event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
            at = lines[event.source_location_iid]
            event.name, event.source_location.file_name = names[event.name_iid], at
            for note in event.debug_annotations:
                note.name = notes[note.name_iid]
        yield packet


def _inflated(proto: Any, raw: bytes) -> Iterator[Any]:
    trace = proto.Trace()
    trace.ParseFromString(raw)
    for packet in trace.packet:
        if packet.compressed_packets:
            yield from _inflated(proto, zlib.decompress(packet.compressed_packets))
        else:
            yield packet
