"""What a core sends to several at once: when all of them have space, and a flag behind it."""

from tensix_sim.kernel_api import CircularBuffer, DataMovement


async def send_to_all(dm: DataMovement, cb: CircularBuffer, tiles: int, others: tuple[tuple[int, int], ...], ready: str, valid: str) -> None:
    """The tiles written to `cb` last; each of `others` raises `ready` here when it has space, and sees `valid` raised there."""
    if others:
        await dm.semaphore_wait(ready, len(others))
        dm.semaphore_set(ready, 0)
        await dm.multicast(cb, tiles, others)
        dm.semaphore_multicast(others, valid)
