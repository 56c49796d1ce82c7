"""The attention ops: what sets one apart from the others, each as one object, and the rules that it adds to those of all.

A new op is an `Op` here, its rules above it, its kernels, and its function in `tensix_sim.ttnn.transformer`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tensix_sim.arch.model import unknown_name
from tensix_sim.arch.rings import has_ring
from tensix_sim.config import Inputs, RunSpec
from tensix_sim.formats import TILE
from tensix_sim.kernels.sdpa.compute_kernels import COMPUTE_KERNELS, LEGACY, STREAMING, AttentionKernel
from tensix_sim.sdpa.keys import (
    ATTN_MASK,
    BALANCED,
    BATCH,
    BLOCK,
    CAUSAL,
    DTYPE,
    DTYPES,
    FP32_DEST,
    GRID,
    INPUTS_IN,
    JOINT,
    JOINT_FILES,
    K_CHUNK,
    KERNEL,
    KV_HEADS,
    KV_LEN,
    LINKS,
    LOGICAL,
    MASK_BATCH,
    MASK_HEADS,
    MESH,
    NUMERICS,
    PAGED,
    PLACES,
    PREFIX,
    Q_CHUNK,
    Q_HEADS,
    RING_ID,
    RING_IDS,
    RING_SIZE,
    SCALE,
    SEQ_LEN,
    SINK,
    START_TENSOR,
    TOPOLOGY,
    WINDOW,
    WINDOWS,
    Asked,
    Fault,
    OpRule,
)

MAX_RING = 32
MOST_WINDOWS = 1024  # places in the tensor: validation of tt-metal's sdpa_device_operation.cpp
MORE_L1 = 2_000  # derived from five published failures (#57941): what a program with two fabric connections keeps
# keys that not every op takes
OF_SOME_OPS = (
    RING_SIZE, RING_IDS, RING_ID, MESH, PAGED, PREFIX, CAUSAL, WINDOW, ATTN_MASK, SINK, START_TENSOR, WINDOWS, *PLACES,
    TOPOLOGY, LINKS, LOGICAL, JOINT, BALANCED, JOINT_FILES,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Op:
    """An op as an object. `codes` are its names in ttnn's logs, today's first.

    `takes` lists what it takes of `OF_SOME_OPS`, and of the keys of K and V, as `check` shows them; `takes_unshown` what else.
    A `ring` shares the queries among its devices, `slabs` for each; where K and V travel (`travels`) all are simulated together.
    `kernel` runs where nobody chooses one and DST is narrow enough for it; `why_kernel` says why, if not because ttnn does so.
    With `wide_scores` scores are float32 if DST is 32-bit. `l1_more` bytes of L1 lie below its buffers besides the usual ones.
    """

    name: str
    ttnn_name: str
    codes: tuple[str, ...]
    takes: tuple[str, ...]
    rules: tuple[OpRule, ...]
    example: Mapping[str, Any]
    takes_unshown: tuple[str, ...] = ()
    ring: bool = False
    travels: bool = False
    slabs: int = 1
    kernel: AttentionKernel = STREAMING
    why_kernel: str = ""
    wide_scores: bool = True
    l1_more: int = 0

    @classmethod
    def of(cls, spec: RunSpec) -> "Op":
        """The op of a spec.

        Raises:
            UnknownNameError: there is none of that name.
        """
        if spec.op not in OPS:
            raise unknown_name("op", spec.op, OPS)
        return OPS[spec.op]

    @property
    def foreign(self) -> tuple[str, ...]:
        """Keys that it does not take."""
        return tuple(key for key in OF_SOME_OPS if key not in self.takes + self.takes_unshown)

    def adopt(self, spec: RunSpec) -> RunSpec:
        """The same work by this op: what it does not take has its default."""
        defaults = {key: default_of(key) for key in self.foreign}
        inputs = {key.removeprefix(OF_INPUTS): defaults.pop(key) for key in self.foreign if key.startswith(OF_INPUTS)}
        return spec.model_copy(update={"op": self.name, "inputs": spec.inputs.model_copy(update=inputs)} | defaults)


OF_INPUTS = "inputs."


def default_of(key: str) -> Any:
    """The default of a key of a spec or of its inputs."""
    model = Inputs if key.startswith(OF_INPUTS) else RunSpec
    return model.model_fields[key.removeprefix(OF_INPUTS)].default


def positions(spec: RunSpec) -> tuple[int, ...]:
    """Ring positions to simulate; an explicit `ring_id` wins. The only device of an op without a ring has position 0."""
    if not Op.of(spec).ring:
        return (0,)
    if spec.ring_id is not None:
        return (spec.ring_id,)
    return tuple(range(spec.ring_size)) if spec.ring_ids == "all" else spec.ring_ids


def compute_kernel(spec: RunSpec) -> AttentionKernel:
    """The given compute kernel, or the one that ttnn chooses: the op's, or the legacy one where that has no 32-bit DST."""
    if spec.kernel:
        return COMPUTE_KERNELS[spec.kernel]
    kernel = Op.of(spec).kernel
    return kernel if kernel.wide_dst or not spec.effective_compute_config.fp32_dest_acc_en else LEGACY


# -- causal attention whose queries are shared among an even ring of devices ----------------------------------


def ring_is_even(c: Asked) -> Iterator[Fault]:
    """A ring is even, and not too long."""
    ring = c[RING_SIZE]
    if ring % 2 or ring > MAX_RING:
        yield c.fault(f"a ring has an even number of devices, {MAX_RING} at most", RING_SIZE)


def _position_lies_on_the_ring(c: Asked) -> Iterator[Fault]:
    ring = c[RING_SIZE]
    if c[RING_ID] is not None and c[RING_ID] >= ring:
        yield c.fault(f"positions on the ring are 0 to {ring - 1}", RING_ID, RING_SIZE)


def _positions_are_distinct(c: Asked) -> Iterator[Fault]:
    ids = c[RING_IDS]
    if ids != "all" and (len(set(ids)) != len(ids) or not ids):
        yield c.fault("lists at least one position and none twice", RING_IDS)


def _positions_lie_on_the_ring(c: Asked) -> Iterator[Fault]:
    ring, ids = c[RING_SIZE], c[RING_IDS]
    if ids != "all" and (outside := [i for i in ids if i >= ring]):
        yield c.fault(f"positions on the ring are 0 to {ring - 1}, so {outside} are none", RING_IDS, RING_SIZE)


def _mesh_tells_the_position(c: Asked) -> Iterator[Fault]:
    if c[MESH] is not None and c[RING_ID] is None and c[RING_SIZE] not in c[MESH]:
        rule = "a device's position is its place along the mesh axis as long as the ring, and neither axis is; give ring_id"
        yield c.fault(rule, RING_SIZE, MESH)


POSITION_RULES = (
    _position_lies_on_the_ring, _positions_are_distinct, _positions_lie_on_the_ring, _mesh_tells_the_position,
)  # fmt: skip


def _sequence_has_a_tile_for_each_slab(c: Asked) -> Iterator[Fault]:
    least = 2 * TILE * c[RING_SIZE]
    if c[SEQ_LEN] < least:
        yield c.fault(f"two slabs a device, a tile each, need {least} rows: {least - c[SEQ_LEN]} more", SEQ_LEN, RING_SIZE)


def _sequence_makes_equal_slabs(c: Asked) -> Iterator[Fault]:
    slabs = 2 * c[RING_SIZE]
    if rest := c[SEQ_LEN] % slabs:
        yield c.fault(f"the sequence is cut in {slabs} equal slabs; {rest} left over", SEQ_LEN, RING_SIZE)


def _q_chunks_fill_a_slab(c: Asked) -> Iterator[Fault]:
    if rest := c.slab % c[Q_CHUNK]:
        over = f"is {c[Q_CHUNK] - c.slab} rows longer than" if c[Q_CHUNK] > c.slab else f"leaves {rest} rows of"
        yield c.fault(f"a Q chunk {over} a slab, which is {c.slab} rows", Q_CHUNK, SEQ_LEN, RING_SIZE)


def _one_dtype(c: Asked) -> Iterator[Fault]:
    if len(set(c.dtypes)) > 1:
        given = [key for key in DTYPES if c[key]]
        yield c.fault("Q, K and V have one data type in this op", *given, DTYPE)


def _prefix_is_paged(c: Asked) -> Iterator[Fault]:
    if c[PREFIX] is not None and c[PAGED] is None:
        yield c.fault("a prefix is read through a page table, and there is none", PAGED, PREFIX)


def _prefix(c: Asked) -> int:
    """Rows that the cache holds already, as far as checks see: not what is in a tensor."""
    return 0 if c[START_TENSOR] else c[PREFIX] or 0


def _prefix_is_whole_q_chunks(c: Asked) -> Iterator[Fault]:
    if rest := _prefix(c) % c[Q_CHUNK]:
        yield c.fault(f"a prefix is whole Q chunks; {rest} left over", PREFIX, Q_CHUNK)


def _prefix_is_whole_blocks(c: Asked) -> Iterator[Fault]:
    if c.paged and (rest := c[PREFIX] % c[BLOCK]):
        yield c.fault(f"a prefix is whole blocks; {rest} left over", PREFIX, BLOCK)


def _sequence_is_whole_blocks(c: Asked) -> Iterator[Fault]:
    if c.paged and (rest := c[SEQ_LEN] % c[BLOCK]):
        yield c.fault(f"the new rows are whole blocks; {rest} left over", BLOCK, SEQ_LEN)


def _paged_rows_are_whole_k_chunks(c: Asked) -> Iterator[Fault]:
    if c[PREFIX] is not None and (rest := c.kv_len % c[K_CHUNK]):
        rule = f"prefix and new rows, {c.kv_len} together, are whole K chunks; {rest} left over"
        yield c.fault(rule, K_CHUNK, PREFIX, SEQ_LEN)


RING_DISTRIBUTED_SDPA = Op(
    name="ring_distributed_sdpa",
    ttnn_name="ring_distributed_scaled_dot_product_attention",
    codes=("RingDistributedSdpaDeviceOperation", "RingDistributedScaledDotProductAttention"),
    takes=(RING_SIZE, MESH, RING_ID, RING_IDS, PAGED, PREFIX),
    takes_unshown=(WINDOW,),  # of tt-metal's OLMo branch
    rules=(
        ring_is_even,
        *POSITION_RULES,
        _sequence_has_a_tile_for_each_slab,
        _sequence_makes_equal_slabs,
        _q_chunks_fill_a_slab,
        _one_dtype,
        _prefix_is_paged,
        _prefix_is_whole_q_chunks,
        _prefix_is_whole_blocks,
        _sequence_is_whole_blocks,
        _paged_rows_are_whole_k_chunks,
    ),
    example=MappingProxyType({"ring_size": 2, "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 256, "head_dim": 64}}),
    ring=True,
    slabs=2,
    kernel=LEGACY,
    why_kernel="no streaming ring before tt-metal #57037",
    wide_scores=False,
)


# -- attention of a ring whose K and V travel, with joint rows behind the sequence ------------------------------


def ring_order_is_known(c: Asked) -> Iterator[Fault]:
    """A ring has two devices at least, and not too many."""
    if not 2 <= c[RING_SIZE] <= MAX_RING:
        yield c.fault(f"K and V travel among 2 to {MAX_RING} devices", RING_SIZE)


def _board_has_the_ring(c: Asked) -> Iterator[Fault]:
    ring, on = c[RING_SIZE], c.board
    if ring > on.chips:
        yield c.fault(f"{ring} devices; {on.board} has {on.chips}", RING_SIZE, "board")
    elif c[TOPOLOGY] == "ring" and not has_ring(on, ring, on.mesh):
        where = f"{on.board}'s {on.mesh[0]}x{on.mesh[1]} mesh"
        yield c.fault(f"{ring} devices of {where} form no ring; they do a line", TOPOLOGY, RING_SIZE, "board")


def _links_are_there(c: Asked) -> Iterator[Fault]:
    most = c.board.links_per_neighbour
    if c[LINKS] is not None and c[LINKS] > most:
        yield c.fault(f"{c[LINKS]} links; {c.board.board} has {most} between two neighbours", LINKS, "board")


def _gather_cores_have_room(c: Asked) -> Iterator[Fault]:
    (x, y), (columns, rows) = c[GRID], c.board.grid
    need = 2 * (c[LINKS] or c.board.links_per_neighbour)
    beside, below = max(0, columns - x) * rows, max(0, rows - y) * columns
    if x <= columns and y <= rows and max(beside, below) < need:
        rule = (
            f"the gather takes {need} cores, two a link, in columns or in rows beside the {x}x{y} that compute; "
            f"of {columns}x{rows} are left {beside} in columns and {below} in rows"
        )
        yield c.fault(rule, GRID, LINKS, "board")


def _sequence_makes_equal_slices(c: Asked) -> Iterator[Fault]:
    if rest := c[SEQ_LEN] % (TILE * c[RING_SIZE]):
        rule = f"each device has whole tiles, as many as the others, of the sequence with its padding; {rest} rows left over"
        yield c.fault(rule, SEQ_LEN, RING_SIZE)


def _logical_rows_lie_in_the_sequence(c: Asked) -> Iterator[Fault]:
    if c[LOGICAL] is not None and c[LOGICAL] > c[SEQ_LEN]:
        yield c.fault(f"of {c[SEQ_LEN]} rows {c[LOGICAL]} are no padding", LOGICAL, SEQ_LEN)


def _no_separate_keys(c: Asked) -> Iterator[Fault]:
    if c[KV_LEN] is not None and c[KV_LEN] != c[SEQ_LEN]:
        yield c.fault(f"there are as many keys as queries, {c[SEQ_LEN]}; what is padding, logical_n says", KV_LEN, SEQ_LEN)


def _dtypes_go_together(c: Asked) -> Iterator[Fault]:
    q, k, v = c.dtypes
    given = [key for key in DTYPES if c[key]]
    if k != v:
        yield c.fault("K and V are gathered together, so they have one data type", *given, DTYPE)
    elif not c[CAUSAL] and q != k:
        yield c.fault("Q has the data type of K and V where the attention is not causal", *given, DTYPE, CAUSAL)


def _joint_rows_are_not_causal(c: Asked) -> Iterator[Fault]:
    if c[JOINT] and c[CAUSAL]:
        yield c.fault("joint rows see all keys, so there are none in causal attention", JOINT, CAUSAL)


def _balanced_is_causal(c: Asked) -> Iterator[Fault]:
    if not c[BALANCED]:
        return
    if not c[CAUSAL]:
        yield c.fault("there is nothing to balance where the attention is not causal", BALANCED, CAUSAL)
    half, rest = divmod(c[SEQ_LEN], 2 * c[RING_SIZE])
    if rest or half % c[Q_CHUNK]:
        rule = f"each of a device's two parts of the sequence, {half} rows, is whole Q chunks; {half % c[Q_CHUNK]} left over"
        yield c.fault(rule, Q_CHUNK, SEQ_LEN, RING_SIZE, BALANCED)
    if c[LOGICAL] not in (None, c[SEQ_LEN]):
        yield c.fault("padding in a sequence of two parts a device is not modelled", LOGICAL, BALANCED)


def _shared_keys(c: Asked) -> Iterator[Fault]:
    if c[KV_HEADS] == c[Q_HEADS]:
        return
    if c[JOINT]:
        yield c.fault("joint rows go with as many K/V heads as query heads", KV_HEADS, Q_HEADS, JOINT)
    if c[KV_HEADS] == 1 and c[BATCH] > 1:
        yield c.fault("one K/V head for all goes with one batch here", BATCH, KV_HEADS, Q_HEADS)


def _kernel_goes_with_dst(c: Asked) -> Iterator[Fault]:
    if c[KERNEL] and (c[KERNEL] == LEGACY.name) != c[FP32_DEST]:
        yield c.fault("the op takes the legacy kernel with a 32-bit DST, and the streaming one else", KERNEL, FP32_DEST)
    if c[FP32_DEST] and c[NUMERICS] == "exact":
        rule = "the vector unit's logarithm and sigmoid, which merge slices with a 32-bit DST, are not modelled bit for bit"
        yield c.fault(rule, NUMERICS, FP32_DEST)


RING_JOINT_SDPA = Op(
    name="ring_joint_sdpa",
    ttnn_name="ring_joint_scaled_dot_product_attention",
    codes=("RingJointSDPADeviceOperation", "RingJointScaledDotProductAttention"),
    takes=(RING_SIZE, MESH, RING_ID, RING_IDS, CAUSAL, BALANCED, TOPOLOGY, LINKS, LOGICAL, JOINT, JOINT_FILES, *DTYPES),
    rules=(
        ring_order_is_known,
        *POSITION_RULES,
        _board_has_the_ring,
        _links_are_there,
        _gather_cores_have_room,
        _sequence_makes_equal_slices,
        _logical_rows_lie_in_the_sequence,
        _no_separate_keys,
        _dtypes_go_together,
        _joint_rows_are_not_causal,
        _balanced_is_causal,
        _shared_keys,
        _kernel_goes_with_dst,
    ),
    example=MappingProxyType(
        {
            "board": "galaxy",
            "ring_size": 4,
            "is_causal": False,
            "inputs": {"q_heads": 2, "kv_heads": 2, "seq_len": 256, "head_dim": 64, "dtype": "bfloat16"},
            "program_config": {"compute_with_storage_grid_size": (2, 2), "q_chunk_size": 32, "k_chunk_size": 32},
        }
    ),
    ring=True,
    travels=True,
    l1_more=MORE_L1,
)


# -- causal or not, with a sliding window or without, over dense K and V on one device -------------------------


def _every_query_sees_a_key(c: Asked) -> Iterator[Fault]:
    if c[WINDOW] is None or c[CAUSAL]:
        return
    if (blind := c[SEQ_LEN] - c.kv_len - c[WINDOW] // 2) > 0:
        rule = f"a query sees {c[WINDOW] // 2} keys to either side; of {c.kv_len} keys the last {blind} queries see none"
        yield c.fault(rule, WINDOW, SEQ_LEN, KV_LEN)


def _mask_stands_alone(c: Asked) -> Iterator[Fault]:
    if c[ATTN_MASK] is None:
        return
    if c[CAUSAL]:
        yield c.fault("a mask is for attention that is not causal; what is causal must be in the mask", CAUSAL, ATTN_MASK)
    if c[WINDOW] is not None:
        yield c.fault("there is a window or a mask, not both; the window must be in the mask", WINDOW, ATTN_MASK)
    if c[SCALE] == 0:
        yield c.fault("the op divides a mask by the scale, with which it multiplies scores and mask together", SCALE, ATTN_MASK)


def _mask_is_of_one_or_of_each(c: Asked) -> Iterator[Fault]:
    for key, of, what in ((MASK_BATCH, BATCH, "sequence"), (MASK_HEADS, Q_HEADS, "head")):
        if c[ATTN_MASK] is not None and c[key] not in (1, c[of]):
            yield c.fault(f"a mask is one for all, or one for each {what}", key, of)


def _windows_stand_alone(c: Asked) -> Iterator[Fault]:
    if c[WINDOWS] is None:
        return
    if c[CAUSAL]:
        yield c.fault("windows of tokens are for attention that is not causal", CAUSAL, WINDOWS)
    for key, what in ((WINDOW, "a sliding window"), (ATTN_MASK, "a mask"), (SINK, "a sink")):
        if c[key] is not None:
            yield c.fault(f"there are windows of tokens or {what}, not both", key, WINDOWS)


def _windows_cut_the_sequence(c: Asked) -> Iterator[Fault]:
    windows = c[WINDOWS]
    if windows is None:
        return
    if not 2 <= len(windows) <= MOST_WINDOWS:
        yield c.fault(f"lists 2 to {MOST_WINDOWS} places, and here {len(windows)}", WINDOWS)
    elif list(windows) != sorted(windows) or windows[0] != 0 or windows[-1] != c[SEQ_LEN]:
        rule = f"windows begin at 0, one behind the other, and the last ends with the {c[SEQ_LEN]} tokens: each is in one"
        yield c.fault(rule, WINDOWS, SEQ_LEN)
    if c.kv_len != c[SEQ_LEN]:
        yield c.fault("windows are of tokens that are queries and keys", KV_LEN, SEQ_LEN, WINDOWS)


SDPA = Op(
    name="sdpa",
    ttnn_name="scaled_dot_product_attention",
    codes=("SDPAOperation", "ScaledDotProductAttention"),
    takes=(CAUSAL, WINDOW, WINDOWS, ATTN_MASK, SINK, KV_LEN, *DTYPES, INPUTS_IN),
    takes_unshown=PLACES,
    rules=(
        _every_query_sees_a_key,
        _mask_stands_alone,
        _mask_is_of_one_or_of_each,
        _windows_stand_alone,
        _windows_cut_the_sequence,
    ),
    example=MappingProxyType({"inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 256, "head_dim": 64}}),
)


# -- causal attention of new queries behind a prefix, K and V in a paged cache, on one device ------------------


def _keys_are_paged(c: Asked) -> Iterator[Fault]:
    if c[PAGED] is None:
        yield c.fault("K and V are read through a page table, and there is none", PAGED)


def _chunk_has_a_start(c: Asked) -> Iterator[Fault]:
    if c[PREFIX] is None:
        yield c.fault("the op needs to know how many rows the cache holds already", PREFIX)


def _prefix_is_whole_k_chunks(c: Asked) -> Iterator[Fault]:
    if rest := _prefix(c) % c[K_CHUNK]:
        yield c.fault(f"a prefix is whole K chunks; {rest} left over", PREFIX, K_CHUNK)


CHUNKED_SDPA = Op(
    name="chunked_sdpa",
    ttnn_name="chunked_scaled_dot_product_attention",
    codes=("SDPAOperation", "ScaledDotProductAttention"),
    takes=(PAGED, PREFIX, START_TENSOR, *DTYPES, INPUTS_IN),
    takes_unshown=PLACES,
    rules=(_keys_are_paged, _chunk_has_a_start, _prefix_is_whole_q_chunks, _prefix_is_whole_k_chunks),
    example=MappingProxyType(
        {
            "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 128, "head_dim": 64},
            "paged_kv": {"block_size": 64},
            "chunk_start_idx": 128,
        }
    ),
)

OPS = {op.name: op for op in (RING_DISTRIBUTED_SDPA, RING_JOINT_SDPA, SDPA, CHUNKED_SDPA)}
