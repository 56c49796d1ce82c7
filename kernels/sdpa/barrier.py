"""How many tiles a core has in flight before it waits for all of them: the reader until they are here, the writer until they left.

Source: `get_barrier_read_threshold` of tt-metal, in the op's dataflow_common.hpp; ttnn's other data movement kernels have it too.
"""

TILES_IN_FLIGHT = 512  # of all readers together
BYTES_OF_EACH = 1024 + 128  # whatever a tile really has


def barrier_threshold(readers: int, tile_bytes: int) -> int:
    """Tiles of `tile_bytes` between two barriers of each of so many readers; 0 beyond 512 of them: no barrier until the end."""
    return TILES_IN_FLIGHT // readers * BYTES_OF_EACH // tile_bytes
