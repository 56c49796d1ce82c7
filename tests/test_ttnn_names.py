"""What stands around attention in ttnn: names, values, refusals, and files of a checkout, as upstream's callers use them."""

import inspect
import math
import operator
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ttnn_coverage
import yaml

from tensix_sim import ttnn
from tensix_sim.ttnn import configs, further, glue, helpers
from tensix_sim.ttnn.names import why_absent
from tensix_sim.ttnn.session import SESSION

RNG = np.random.default_rng(0)
SYMBIOTE = yaml.safe_load((Path(__file__).parent / "ttnn_surface.yaml").read_text())["symbiote"].split()


@pytest.fixture(autouse=True)
def _fresh(own_session: None) -> None:
    """Each test has settings, records and random numbers of its own."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def draw(*shape: int) -> Any:
    """Normal numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def put(array: Any, device: Any, dtype: Any = ttnn.float32, **more: Any) -> ttnn.Tensor:
    """An array on a device, in tiles."""
    return ttnn.from_numpy(array, dtype, layout=ttnn.TILE_LAYOUT, device=device, **more)


# -- numbers without cycles ---------------------------------------------------------------------------------------

OF_ONE: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "cos": math.cos,
    "erf": math.erf,
    "exp": math.exp,
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "logical_not": lambda x: float(not x),
    "neg": operator.neg,
    "reciprocal": lambda x: 1 / x,
    "relu": lambda x: max(x, 0.0),
    "rsqrt": lambda x: x**-0.5 if x > 0 else math.nan,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "sign": lambda x: math.copysign(1, x),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "sin": math.sin,
    "sqrt": lambda x: math.sqrt(x) if x > 0 else math.nan,
    "square": lambda x: x * x,
    "tanh": math.tanh,
}
OF_TWO: dict[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "sub": operator.sub,
    "multiply": operator.mul,
    "mul": operator.mul,
    "divide": operator.truediv,
    "div": operator.truediv,
    "rsub": lambda x, y: y - x,
    "rdiv": lambda x, y: y / x,
    "maximum": max,
    "minimum": min,
    "pow": lambda x, y: x**y if x > 0 or y == 2 else math.nan,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "logical_and": lambda x, y: float(bool(x) and bool(y)),
    "logical_or": lambda x, y: float(bool(x) or bool(y)),
}
OF_MANY: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "mean": lambda x: math.fsum(x) / len(x),
    "max": max,
    "min": min,
}


def each(f: Callable[..., float], *arrays: Any) -> Any:
    """A function of Python's numbers, element by element."""
    return np.vectorize(f, otypes=[np.float64])(*(array.astype(np.float64) for array in arrays))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the logarithm and roots of negative numbers
def test_functions_of_elements_are_pythons(device: Any) -> None:
    """Each of the tables, to float32's precision, of one tensor, of two and of a number; of float32 none has cycles."""
    assert OF_ONE.keys() == glue.UNARY.keys()
    assert OF_TWO.keys() == glue.BINARY.keys() | glue.ALIASES.keys()
    x, y = draw(1, 2, 32, 32), draw(1, 2, 32, 32)
    a, b = put(x, device), put(y, device)
    for name, f in OF_ONE.items():
        assert np.allclose(getattr(ttnn, name)(a).to_numpy(), each(f, x), rtol=1e-5, atol=1e-6, equal_nan=True), name
    for name, g in OF_TWO.items():
        assert np.allclose(getattr(ttnn, name)(a, b).to_numpy(), each(g, x, y), rtol=1e-5, atol=1e-6, equal_nan=True), name
        assert np.allclose(getattr(ttnn, name)(a, 2).to_numpy(), each(g, x, np.full_like(x, 2)), rtol=1e-5, equal_nan=True), name
    assert len(SESSION.calls) == len(OF_ONE) + 2 * len(OF_TWO)
    assert {call.cycles for call in SESSION.calls} == {None}
    assert any(note.startswith("gelu: its cycles are not modelled") for note in SESSION.notes)


def test_operators_are_the_functions(device: Any) -> None:
    """Those that upstream's tensors have; a tensor stays a key by identity."""
    x, y = draw(1, 1, 32, 32), draw(1, 1, 32, 32)
    a, b = put(x, device), put(y, device)
    results = [a + b, 1 + a, a - b, 1 - a, a * b, 2 * a, a / b, 1 / a, -a, a < b, a <= b, a > b, a >= b, a == b, a != b]
    wanted = [x + y, 1 + x, x - y, 1 - x, x * y, 2 * x, x / y, 1 / x, -x, x < y, x <= y, x > y, x >= y, x == y, x != y]
    for result, value in zip(results, wanted, strict=True):
        assert np.allclose(result.to_numpy(), value, rtol=1e-6)
    assert np.allclose((a @ b).to_numpy(), x @ y, atol=1e-4)
    assert {a: 1}[a] == 1
    assert (a[0].shape, a[..., 0].shape, a[:, :, -1:].shape) == ([1, 32, 32], [1, 1, 32], [1, 1, 1, 32])
    assert np.array_equal(a[0, 0, 3].to_numpy(), x[0, 0, 3])
    with pytest.raises(TypeError, match="neither a tensor nor a number"):
        a + object()


def test_sums_norms_and_softmax_are_their_formulas(device: Any) -> None:
    """Against sums of Python's numbers, and the formulas in float64."""
    x, w, r = draw(1, 2, 32, 64), draw(1, 1, 2, 32), draw(1, 2, 32, 64)
    a, weight, residual = put(x, device), put(w, device), put(r, device)
    assert OF_MANY.keys() == glue.SUMS.keys()
    for name, f in OF_MANY.items():
        op = getattr(ttnn, name)
        rows = [f(row.tolist()) for row in x.reshape(-1, 64)]
        assert np.allclose(op(a, -1, True).to_numpy().ravel(), rows, atol=1e-5)
        assert np.allclose(op(a).to_numpy(), f(x.ravel().tolist()), atol=1e-4)
        assert (op(a).shape, op(a, dim=[2, 3]).shape, op(a, dim=1, keepdim=True).shape) == ([], [1, 2], [1, 1, 32, 64])
    wide = x.astype(np.float64)
    powers = np.exp(wide)
    assert np.allclose(ttnn.softmax(a, dim=-1).to_numpy(), powers / powers.sum(-1, keepdims=True), atol=1e-6)
    rms = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * w.ravel()
    assert np.allclose(ttnn.rms_norm(a, epsilon=1e-5, weight=weight).to_numpy(), rms, atol=1e-5)
    summed = wide + r
    about_mean = (summed - summed.mean(-1, keepdims=True)) / summed.std(-1, keepdims=True)
    assert np.allclose(
        ttnn.layer_norm(a, residual_input_tensor=residual, bias=weight).to_numpy(), about_mean + w.ravel(), atol=1e-4
    )
    with pytest.raises(RuntimeError, match=r"rms_norm: weight .* has not 64 elements"):
        ttnn.rms_norm(a, weight=residual)


def test_products_turn_add_and_fuse(device: Any) -> None:
    """Transposed sides, a bias, functions before and after, by name, by UnaryOpType and with a parameter."""
    x, w, b = draw(2, 1, 32, 64), draw(1, 1, 96, 64), draw(1, 1, 1, 96)
    a, weight, bias = put(x, device), put(w, device), put(b, device)
    plain = x @ w.swapaxes(2, 3)
    assert np.allclose(ttnn.matmul(a, weight, transpose_b=True).to_numpy(), plain, atol=1e-4)
    turned = ttnn.matmul(ttnn.transpose(a, 2, 3), weight, transpose_a=True, transpose_b=True)
    assert np.allclose(turned.to_numpy(), plain, atol=1e-4)
    relu = ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU)
    for one in ("relu", ttnn.UnaryOpType.RELU, (ttnn.UnaryOpType.RELU, True), relu):
        fused = ttnn.linear(a, weight, bias=bias, transpose_b=True, activation=one)
        assert np.allclose(fused.to_numpy(), np.maximum(plain + b, 0), atol=1e-4)
    gated = ttnn.mul(a, a, input_tensor_a_activations=[ttnn.UnaryOpType.SILU], dtype=ttnn.bfloat16)
    assert gated.dtype is ttnn.bfloat16
    assert np.allclose(gated.to_numpy(), x * x / (1 + np.exp(-x)), rtol=1e-2, atol=1e-3)
    with pytest.raises(RuntimeError, match="do not go together"):
        ttnn.matmul(a, weight)
    with pytest.raises(RuntimeError, match=r"'selu' is none of .*relu"):
        ttnn.linear(a, weight, transpose_b=True, activation="selu")
    with pytest.raises(TypeError, match="bias"):
        ttnn.matmul(a, weight, bias=bias)


def test_shapes_are_numpys(device: Any) -> None:
    """pad, repeat, squeeze, unsqueeze, chunk, where, embedding; new tensors."""
    x = draw(1, 2, 32, 64)
    a = put(x, device)
    assert np.array_equal(
        ttnn.pad(a, [(0, 0), (0, 32)], value=3.0).to_numpy(), np.pad(x, [(0, 0)] * 3 + [(0, 32)], constant_values=3)
    )
    assert np.array_equal(ttnn.pad(a, [(0, 1)], 3.0).to_numpy(), np.pad(x, [(0, 0)] * 3 + [(0, 1)], constant_values=3))
    assert ttnn.pad(a, [1, 2, 64, 64], [0, 0, 0, 0], 0.0).shape == [1, 2, 64, 64]
    assert np.array_equal(ttnn.repeat(a, ttnn.Shape([1, 2, 1, 1])).to_numpy(), np.tile(x, (1, 2, 1, 1)))
    assert (ttnn.squeeze(a, 0).shape, ttnn.unsqueeze(a, -1).shape, ttnn.squeeze(a).shape) == (
        [2, 32, 64],
        [1, 2, 32, 64, 1],
        [2, 32, 64],
    )
    assert [part.shape for part in ttnn.chunk(a, 2, dim=3)] == [[1, 2, 32, 32]] * 2
    assert np.array_equal(ttnn.where(ttnn.gt(a, 0), a, 0.0).to_numpy(), np.where(x > 0, x, 0))
    ids = ttnn.from_numpy(np.array([[3, 0, 3]], np.uint32), device=device)
    table = ttnn.from_numpy(x[0, 0], ttnn.bfloat16, device=device)
    assert np.array_equal(ttnn.embedding(ids, table).to_numpy(), table.to_numpy()[[[3, 0, 3]]])
    with pytest.raises(RuntimeError, match=r"embedding: .*out of bounds"):
        ttnn.embedding(ids, table[:2])
    assert ttnn.rand((2, 32), low=2, high=3).to_numpy().min() >= 2
    assert np.array_equal(ttnn.rand((2, 32), seed=1).to_numpy(), ttnn.rand((2, 32), seed=1).to_numpy())
    assert ttnn.arange(2, 8, 2).to_numpy().tolist() == [2, 4, 6]
    assert np.isnan(ttnn.empty((1, 32)).to_numpy()).all()
    like = ttnn.full_like(a, 2.0), ttnn.zeros_like(a), ttnn.ones_like(a)
    assert [one.to_numpy().mean() for one in like] == [2, 0, 1]
    assert all((one.dtype, one.device()) == (a.dtype, device) for one in like)
    assert ttnn.is_tensor_storage_on_device(a)


def test_without_numerics_shapes_are_the_same(device: Any) -> None:
    """Of the tables' functions, products, norms and shapes; and wrong ones are refused all the same."""
    shapes = []
    for numerics in ("fast", "off"):
        ttnn.configure(numerics=numerics)
        a, w = put(draw(1, 2, 32, 64), device), put(draw(1, 1, 64, 32), device)
        results = [ttnn.gelu(a), a + a, ttnn.mean(a, 1), a @ w, ttnn.rms_norm(a), ttnn.pad(a, [(0, 32), (0, 0)]), ttnn.softmax(a)]
        shapes.append([one.shape for one in results])
        with pytest.raises(RuntimeError, match="add"):
            a + w
    assert shapes[0] == shapes[1]


# -- names --------------------------------------------------------------------------------------------------------


def test_values_of_made_types_hold_their_fields() -> None:
    """By place or by name, with defaults; unknown and lacking ones are TypeErrors; equal ones are equal."""
    for name in configs.FIELDS:
        made = getattr(ttnn, name)
        given = dict.fromkeys(set(made._FIELDS) - set(made._DEFAULTS), 1)
        assert made(**given) == made(**given)
        assert name in repr(made(**given))
        with pytest.raises(TypeError, match="no_such"):
            made(**given, no_such=1)
        if given:
            with pytest.raises(TypeError, match="needs"):
                made()
    assert ttnn.PlacementShard(2).dim == 2
    with pytest.raises(TypeError, match="by name"):
        ttnn.MatmulMultiCoreReuseProgramConfig((8, 8), 1, 1, 1, 1, 1)
    for name, members in configs.MEMBERS.items():
        assert [one.name for one in getattr(ttnn, name)] == members.split()


@pytest.mark.parametrize("name", configs.ONLY_NAMES)
def test_a_name_to_import_cannot_be_made(name: str) -> None:
    """It can be asked about, and says where the limit is written."""
    assert not isinstance(1, getattr(ttnn, name))
    with pytest.raises(ttnn.NotModelledError, match=r"a name to import .*docs/ttnn.md"):
        getattr(ttnn, name)()


def test_cores_and_shards_are_counted() -> None:
    """Ranges of so many cores, each core once, in order; shards that cover the tensor."""
    for row_wise in (False, True):
        for count in (1, 7, 8, 20, 64):
            cores = ttnn.num_cores_to_corerangeset(count, ttnn.CoreCoord(8, 8), row_wise)
            assert cores.num_cores() == count
            assert len(cores.ranges()) <= 2
    lower = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(1, 0), ttnn.CoreCoord(3, 9))])
    some = ttnn.num_cores_to_corerangeset_in_subcoregrids(ttnn.CoreCoord(1, 0), 16, lower, row_wise=True)
    assert some.ranges()[0] == ttnn.CoreRange(ttnn.CoreCoord(1, 0), ttnn.CoreCoord(3, 4))
    with pytest.raises(RuntimeError, match="there are 30"):
        ttnn.num_cores_to_corerangeset_in_subcoregrids(ttnn.CoreCoord(1, 0), 31, lower)
    grid = ttnn.CoreGrid(y=2, x=4)
    for strategy, shape in (("HEIGHT", (16, 64)), ("WIDTH", (128, 8)), ("BLOCK", (64, 16))):
        config = ttnn.create_sharded_memory_config((1, 2, 64, 64), grid, ttnn.ShardStrategy[strategy])
        assert (config.is_sharded(), config.shard_spec.shape) == (True, shape)
    same = ttnn.create_sharded_memory_config_((32, 64), grid, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True)
    assert same.shard_spec.shape == (32, 64)


def test_sets_of_cores_are_sets() -> None:
    """Against Python's sets of their (x, y): what they have, what is left of one, the corners of all, their order."""
    whole, hole = (ttnn.CoreRange(ttnn.CoreCoord(1, 0), ttnn.CoreCoord(*end)) for end in ((3, 4), (1, 1)))
    cores = ttnn.CoreRangeSet([whole])
    left = cores.subtract(ttnn.CoreRangeSet([hole]))
    places = {(x, y) for x in (1, 2, 3) for y in range(5)} - {(1, 0), (1, 1)}
    assert {(core.x, core.y) for core in ttnn.corerange_to_cores(left)} == places
    assert (left.num_cores(), left.bounding_box(), left.bounding_box().grid_size()) == (13, whole, ttnn.CoreCoord(3, 5))
    assert cores.contains(left)
    assert left.contains(ttnn.CoreCoord(1, 2))
    assert not left.contains(hole)
    assert ttnn.corerange_to_cores(cores, 2, row_wise=True) == [ttnn.CoreCoord(1, 0), ttnn.CoreCoord(2, 0)]
    assert repr(cores) == "{[(x=1,y=0) - (x=3,y=4)]}"
    assert ttnn.corerange_to_cores(cores, 2) == [ttnn.CoreCoord(1, 0), ttnn.CoreCoord(1, 1)]


def test_what_a_tensor_is_can_be_asked() -> None:
    """Padding to tiles, shards, place; in ttnn's functions as in the tensor's own words."""
    device = ttnn.open_device(device_id=0)
    odd = put(draw(1, 33, 64), device)
    assert (ttnn.has_tile_padding(odd), ttnn.has_tile_padding(odd, dim=-2), ttnn.has_tile_padding(odd, dim=2)) == (
        True,
        True,
        False,
    )
    assert ttnn.pad_to_tile_shape(odd.shape) == odd.padded_shape
    assert ttnn.has_storage_type_of(odd, ttnn.DEVICE_STORAGE_TYPE)
    grid = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 0))])
    spec = ttnn.ShardSpec(grid, (32, 32), ttnn.ShardOrientation.ROW_MAJOR)
    where = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
    assert ttnn.is_sharded(put(draw(64, 32), device, memory_config=where))
    assert spec.shape == [32, 32]


def test_a_tensor_is_made_of_a_spec() -> None:
    """Type, layout and place are the spec's; beside it none of them is taken; of nothing comes nothing."""
    device, x = ttnn.open_device(device_id=0), draw(1, 32, 64)
    spec = ttnn.TensorSpec(x.shape, ttnn.bfloat8_b, ttnn.TILE_LAYOUT, buffer_type=ttnn.BufferType.L1)
    made, blank = ttnn.from_torch(x, spec=spec, device=device), ttnn.allocate_tensor_on_device(spec, device)
    assert (made.dtype, made.layout, made.memory_config()) == (ttnn.bfloat8_b, ttnn.TILE_LAYOUT, ttnn.L1_MEMORY_CONFIG)
    assert (blank.shape, blank.dtype, blank.memory_config()) == (made.shape, made.dtype, made.memory_config())
    assert ttnn.empty_like(made).spec == made.spec
    with pytest.raises(RuntimeError, match="must be None when spec is specified"):
        ttnn.from_torch(x, ttnn.bfloat16, spec=spec)
    with pytest.raises(RuntimeError, match="spec shape"):
        ttnn.from_torch(x[:, :, :32], spec=spec)
    assert ttnn.from_torch(None) is None


def test_a_block_has_a_mapper_or_a_composer_of_its_own() -> None:
    """Inside all tensors are cut, or put together, by it, but where another is given; outside as ever."""
    mesh, x = ttnn.open_mesh_device(ttnn.MeshShape(1, 4)), draw(4, 32, 32)
    with ttnn.distribute(ttnn.ShardTensorToMesh(mesh, 0)):
        cut = ttnn.from_torch(x, device=mesh)
        whole = ttnn.from_torch(x, device=mesh, mesh_mapper=ttnn.ReplicateTensorToMesh(mesh))
    assert (cut.shape, whole.shape, ttnn.from_torch(x, device=mesh).shape) == ([1, 32, 32], x.shape, x.shape)
    torch = pytest.importorskip("torch")
    with ttnn.distribute(ttnn.ConcatMeshToTensor(mesh, 0)):
        assert torch.equal(ttnn.to_torch(cut), torch.from_numpy(x))
    with pytest.raises(RuntimeError, match="give a mesh_composer"):
        ttnn.to_torch(cut)


def test_a_models_parameters_are_those_its_layers_take() -> None:
    """A small torch model's own result, by ttnn's ops on what the names of its modules say; what is the caller's, is taken."""
    torch = pytest.importorskip("torch")
    nn, device, made = torch.nn, ttnn.open_device(device_id=0), ttnn.model_preprocessing

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(8, 32), nn.LayerNorm(32)
            self.layers = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32, bias=False)])
            self.scale = nn.Parameter(torch.ones(32))

        def forward(self, x: Any) -> Any:
            return self.layers[1](self.layers[0](self.norm(self.table(x)))) * self.scale

    model, ids = Model(), torch.arange(8, dtype=torch.int32)
    found = made.preprocess_model_parameters(initialize_model=lambda: model, device=device)
    x = ttnn.embedding(ttnn.from_torch(ids, ttnn.uint32, device=device), found.table.weight, layout=ttnn.TILE_LAYOUT)
    x = ttnn.layer_norm(x, weight=found.norm.weight, bias=found.norm.bias, epsilon=1e-5)
    x = ttnn.linear(x, found.layers[0].weight, bias=found.layers[0].bias)
    x = ttnn.linear(x, found.layers[1].weight) * ttnn.to_layout(found.scale, ttnn.TILE_LAYOUT)
    assert np.allclose(ttnn.to_numpy(x), model(ids).detach().numpy(), atol=0.05)
    assert "bias" not in found.layers[1]

    def own(module: Any, name: str, convert_to_ttnn: Any) -> Any:
        return {"twice": {"weight": 2 * module.weight}} if name == "a.norm" and convert_to_ttnn(module, name) else None

    more = {"custom_preprocessor": own, "convert_to_ttnn": lambda module, name: "layers" not in name, "prefix": "a"}
    found = made.preprocess_model(initialize_model=lambda: model, **more)
    assert torch.equal(found.norm.twice.weight, 2 * model.norm.weight)
    assert torch.equal(found.layers[0].weight, model.layers[0].weight.T)
    assert found.table.weight.device() is None
    with pytest.raises(AttributeError, match="no parameter 'other'; there are twice"):
        found.norm.other  # noqa: B018
    with pytest.raises(ttnn.NotModelledError, match="run_model"):
        made.preprocess_model(initialize_model=lambda: model, run_model=model)
    with pytest.raises(ttnn.NotModelledError, match=r"infer_ttnn_module_args: ttnn has it"):
        made.infer_ttnn_module_args  # noqa: B018


def test_torch_gets_the_rank_that_it_asks_for() -> None:
    """Leading dimensions of 1 go; others are refused in upstream's words."""
    pytest.importorskip("torch")
    assert ttnn.to_torch(ttnn.from_numpy(draw(1, 1, 4, 8)), torch_rank=2).shape == (4, 8)
    with pytest.raises(RuntimeError, match="Unable to squeeze to desired rank!"):
        ttnn.to_torch(ttnn.from_numpy(draw(1, 2, 4, 8)), torch_rank=2)


def test_golden_functions_agree_with_the_ops() -> None:
    """Of encoders' ops, on the same numbers; others are torch's by name, or said to be absent."""
    torch = pytest.importorskip("torch")
    device, x, both = ttnn.open_device(device_id=0), draw(2, 32, 192), draw(2, 32, 128)
    apart = ttnn.transformer.split_query_key_value_and_split_heads
    for given, heads, kv in (([x], 2, 2), ([x], 4, 1), ([x, both], 6, 2)):
        golden = ttnn.get_golden_function(apart)(*map(torch.from_numpy, given), num_heads=heads, num_kv_heads=kv)
        for want, have in zip(golden, apart(*(put(one, device) for one in given), num_heads=heads, num_kv_heads=kv), strict=True):
            assert np.array_equal(want.numpy(), ttnn.to_numpy(have))
    q, scores = draw(2, 4, 32, 64), draw(2, 4, 32, 32)
    together, softmax = ttnn.transformer.concatenate_heads, ttnn.transformer.attention_softmax_
    joined = ttnn.get_golden_function(together)(torch.from_numpy(q))
    assert np.array_equal(joined.numpy(), ttnn.to_numpy(together(put(q, device))))
    shares = ttnn.get_golden_function(softmax)(torch.from_numpy(scores), head_size=64)
    assert np.allclose(shares.numpy(), ttnn.to_numpy(softmax(put(scores, device), head_size=64)), atol=1e-6)
    assert ttnn.get_golden_function(ttnn.silu) is torch.nn.functional.silu
    with pytest.raises(ttnn.NotModelledError, match="layer_norm has none here"):
        ttnn.get_golden_function(ttnn.layer_norm)


@pytest.mark.parametrize("fill", [0.0, -np.inf])
def test_a_softmax_takes_a_scale_and_a_mask(fill: float) -> None:
    """Against NumPy; in place the scores take it."""
    device, x, hides = ttnn.open_device(device_id=0), draw(2, 4, 32, 64), np.zeros((2, 1, 32, 64), np.float32)
    hides[..., 40:] = fill
    powers = np.exp(x * np.float32(0.25) + hides)
    wanted = powers / powers.sum(-1, keepdims=True)
    mask = put(hides, device)
    for op in (
        ttnn.scale_mask_softmax,
        ttnn.scale_mask_softmax_in_place,
        ttnn.scale_causal_mask_hw_dims_softmax_in_place,
    ):
        scores = put(x, device)
        result = op(scores, 0.25, mask, numeric_stable=True)
        assert np.allclose(ttnn.to_numpy(result), wanted, atol=1e-6)
        assert (result is scores) == ("in_place" in op.__name__)
    same = put(x, device)
    assert np.array_equal(ttnn.to_numpy(ttnn.softmax_in_place(same)), ttnn.to_numpy(ttnn.softmax(put(x, device))))


def test_mappers_made_of_configs_are_the_classes() -> None:
    """The same shards, and back."""
    x = draw(2, 4, 32, 32)
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    placed = ttnn.MeshMapperConfig([ttnn.PlacementShard(0), ttnn.PlacementShard(1)])
    cut = put(x, mesh, mesh_mapper=ttnn.create_mesh_mapper(mesh, placed))
    by_class = put(x, mesh, mesh_mapper=ttnn.ShardTensor2dMesh(mesh, mesh.shape, (0, 1)))
    assert all(np.array_equal(a.values(), b.values()) for a, b in zip(cut.shards, by_class.shards, strict=True))
    assert np.array_equal(ttnn.to_numpy(cut, ttnn.create_mesh_composer(mesh, ttnn.MeshComposerConfig([0, 1]))), x)
    columns = ttnn.create_mesh_mapper(mesh, ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementShard(1)]))
    assert put(x, mesh, mesh_mapper=columns).shape == [2, 1, 32, 32]
    assert put(x, mesh, mesh_mapper=ttnn.replicate_tensor_to_mesh_mapper(mesh)).shape == x.shape
    row = put(np.concatenate([x] * 4), mesh, mesh_mapper=ttnn.shard_tensor_to_mesh_mapper(mesh, 0))
    assert ttnn.to_numpy(row, ttnn.concat_mesh_to_tensor_composer(mesh, 0)).shape == (8, 4, 32, 32)


def test_names_of_a_package_of_models_are_there_or_say_why_not() -> None:
    """All that tt-symbiote uses: planned, or out of scope, in the words of the table."""
    unsaid = []
    for name in SYMBIOTE:
        thing: Any = ttnn
        for part in name.split("."):
            try:
                thing = getattr(thing, part)
            except AttributeError as error:
                if not re.search(r"ttnn has it, and this simulator has not; (planned|out of scope)", str(error)):
                    unsaid.append(str(error))
                break
    assert unsaid == []


def test_a_name_that_is_planned_is_not_modelled() -> None:
    """A test that needs it ends in what ends others at a limit; whoever asks whether it is there is told no."""
    with pytest.raises(ttnn.NotModelledError, match="this simulator has not; planned"):
        ttnn.transformer.flash_mla_prefill  # noqa: B018
    assert not hasattr(ttnn, "conv2d")


def test_a_name_that_is_here_is_not_said_to_be_absent() -> None:
    """The table of absent names lies nowhere."""
    here = {
        *ttnn.__all__,
        *(f"{part}.{name}" for part in ("transformer", "experimental") for name in getattr(ttnn, part).__all__),
    }
    assert {name for name in here if why_absent(name)} == set()


@pytest.mark.parametrize(
    "name", ["moreh_layer_norm", "relu_bw", "logical_xor_", "experimental.deepseek.moe", "Tensor.buffer_address"]
)
def test_a_family_of_names_is_known_by_its_letters(name: str) -> None:
    """Those of ttnn 0.67 that share a beginning or an end stand in the table once; methods, too."""
    assert why_absent(name)
    assert not why_absent("conv2d_of_nobody")
    with pytest.raises(ttnn.NotModelledError, match="buffer_address: ttnn has it"):
        ttnn.from_numpy(draw(32, 32)).buffer_address()
    with pytest.raises(AttributeError, match=r"MeshDevice.reshap is not in .* near it are reshape"):
        ttnn.open_device(device_id=0).reshap()


@pytest.mark.parametrize("name", ["SubDevices", "clusters_of", "execute", "allocater"])
def test_nothing_near_in_letters_only_is_offered(name: str) -> None:
    """A name unlike all others is said to be absent and no more."""
    with pytest.raises(AttributeError) as error:
        getattr(ttnn, name)
    assert "execute_trace" not in str(error.value)
    assert "deallocate" not in str(error.value)


def test_set_up_calls_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """What conftests and the heads of scripts do before the first op."""
    assert ttnn.cluster.get_cluster_type() is ttnn.cluster.ClusterType.GALAXY
    assert ttnn._ttnn.multi_device.SystemMeshDescriptor().shape() == [8, 4]
    assert ttnn._ttnn.multi_device.MeshDevice is ttnn.MeshDevice
    assert not ttnn.using_distributed_env()
    assert ttnn.GetPCIeDeviceID(3) == 3
    assert ttnn.database.SQLITE_CONNECTION is None
    assert not ttnn.tracer.is_tracing_enabled()
    assert not ttnn.operation_tracer.ENABLE_TRACER
    ttnn.tracer.disable_tracing()
    before = ttnn.CONFIG.enable_logging
    with ttnn.manage_config("enable_logging", not before):
        assert ttnn.CONFIG.enable_logging is not before
    assert ttnn.CONFIG.enable_logging is before
    assert isinstance(ttnn.CONFIG, ttnn.Config)
    assert (ttnn.CONFIG.report_path, ttnn.CONFIG_PATH, ttnn.CONFIG_OVERRIDES) == (None, None, None)
    with pytest.raises(AttributeError, match="no_such"), ttnn.manage_config("no_such", 1):
        pass
    dispatch = ttnn.device.DispatchCoreConfig(ttnn.device.DispatchCoreType.WORKER, ttnn.device.DispatchCoreAxis.ROW, None)
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 2), dispatch_core_config=dispatch, mesh_type=ttnn.MeshType.Ring)
    ttnn.set_fabric_config(
        ttnn.FabricConfig.FABRIC_1D, ttnn.FabricReliabilityMode.STRICT_INIT, None, ttnn.FabricTensixConfig.MUX,
        ttnn.FabricUDMMode.DISABLED, ttnn.FabricManagerMode.DEFAULT, ttnn.FabricRouterConfig(),
    )  # fmt: skip
    ttnn.enable_program_cache(mesh)
    ttnn.disable_and_clear_program_cache(mesh)
    ttnn.visualize_mesh_device(mesh)
    assert capsys.readouterr().out.split() == ["0", "1", "4", "5"]
    assert sorted(ttnn.get_t3k_physical_device_ids_ring()) == list(range(8))
    assert ttnn.operations.chunk is ttnn.chunk
    both = ttnn.CreateDevices([0, 2], l1_small_size=0)
    assert [one.id() for one in both.values()] == [0, 2]
    with ttnn.command_queue(1):
        ttnn.dump_device_memory_state(both[0], prefix="before")
    for mark in (ttnn.start_tracy_zone, ttnn.stop_tracy_zone, ttnn.tracy_message, ttnn.tracy_frame, ttnn.set_printoptions):
        mark("here")
    for switch in (ttnn.enable_asynchronous_slow_dispatch, ttnn.disable_asynchronous_slow_dispatch, ttnn.apply_device_delay):
        switch(both[0])
    ttnn.CloseDevices({2: both.pop(2)})
    ttnn.CloseDevice(both[0])


def test_a_sub_device_is_the_chip(device: Any) -> None:
    """One of all cores, or less what dispatch takes, with a note; a smaller one, or two, are refused."""
    cores = [ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(6, rows))]) for rows in (9, 4)]
    manager = device.create_sub_device_manager([ttnn.SubDevice(cores[:1])], 0)
    device.load_sub_device_manager(manager)
    device.set_sub_device_stall_group([ttnn.SubDeviceId(0)])
    device.reset_sub_device_stall_group()
    device.clear_loaded_sub_device_manager()
    device.remove_sub_device_manager(manager)
    assert any("taken as the whole chip" in note for note in SESSION.notes)
    for sub_devices in ([ttnn.SubDevice(cores[1:])], [ttnn.SubDevice(cores[:1]), ttnn.SubDevice(cores[1:])]):
        with pytest.raises(ttnn.NotModelledError, match="sub-devices"):
            device.create_sub_device_manager(sub_devices, 0)


# -- nothing is taken silently --------------------------------------------------------------------------------------


def _rotary(cos: tuple[int, ...], matrix: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    def call(device: Any, x: Any) -> Any:
        return ttnn.experimental.rotary_embedding_llama(
            x, put(draw(*cos), device), put(draw(*cos), device), put(draw(*matrix), device)
        )

    return call


def _gather(**more: Any) -> Callable[[Any, Any], Any]:
    return lambda device, x: ttnn.experimental.all_gather_async(x, dim=3, **more)


WRONG: list[tuple[str, Callable[[Any, Any], Any], str]] = [
    (
        "a word as program config",
        lambda d, x: ttnn.linear(x, x, program_config="nonsense"),
        "program_config = 'nonsense' is none of",
    ),
    (
        "attention's program config",
        lambda d, x: ttnn.matmul(
            x, x, program_config=ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32)
        ),
        "is none of Matmul",
    ),
    ("any memory config", lambda d, x: ttnn.linear(x, x, memory_config=object()), "memory_config = .* MemoryConfig is taken"),
    ("any kernel config", lambda d, x: ttnn.matmul(x, x, compute_kernel_config=object()), "compute_kernel_config"),
    ("any semaphore", _gather(multi_device_global_semaphore=object()), "multi_device_global_semaphore = .* GlobalSemaphore"),
    ("semaphores of any kind", _gather(multi_device_global_semaphore=[1, 2]), "multi_device_global_semaphore"),
    (
        "a layout's name",
        lambda d, x: ttnn.from_torch(draw(32, 32), layout="tile"),
        "layout = 'tile' is of type str; Layout is taken",
    ),
    ("a number of passes", lambda d, x: ttnn.WormholeComputeKernelConfig(math_fidelity=7), "math_fidelity = 7"),
    ("a matrix of 64", _rotary((1, 1, 64, 64), (1, 1, 64, 64)), r"trans_mat is \[1, 1, 64, 64\]; \[1, 1, 32, 32\] is needed"),
    ("cos of 32 rows", _rotary((1, 1, 32, 64), (1, 1, 32, 32)), r"cos_cache \[1, 1, 32, 64\] does not go with"),
    ("a dimension too many", lambda d, x: ttnn.concat([x, x], dim=5), "concat: "),
    ("any place", lambda d, x: ttnn.to_memory_config(x, object()), "to_memory_config: memory_config = .* MemoryConfig is taken"),
    ("any mapper", lambda d, x: ttnn.from_torch(draw(32, 32), device=d, mesh_mapper=object()), "mesh_mapper"),
    ("a sum of shapes", lambda d, x: ttnn.add(x, put(draw(1, 1, 32, 64), d)), "add: "),
    ("a type's name", lambda d, x: ttnn.typecast(x, "bfloat16"), "dtype = 'bfloat16'"),
    ("no such dimension", lambda d, x: ttnn.softmax(x, dim=4), "softmax: dim 4"),
    (
        "a cache of other heads",
        lambda d, x: ttnn.fill_cache(put(draw(2, 4, 128, 64), d), x, 0),
        r"fill_cache: the input is \[1, 1, 64, 64\], the cache \[2, 4, 128, 64\]",
    ),
    ("a split of none", lambda d, x: ttnn.split(x, 32, dim=7), "split: "),
]


@pytest.mark.parametrize("numerics", ["fast", "off"])
@pytest.mark.parametrize(("call", "words"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_wrong_arguments_are_runtime_errors(numerics: str, call: Callable[[Any, Any], Any], words: str, device: Any) -> None:
    """Of other types, or of shapes that do not fit: by the name of the op and the argument, with numbers computed and without."""
    ttnn.configure(numerics=numerics)
    with pytest.raises(RuntimeError, match=words):
        call(device, put(draw(1, 1, 64, 64), device))


def test_an_unknown_keyword_is_a_type_error(device: Any) -> None:
    """Named with the op."""
    with pytest.raises(TypeError, match="gelu: got an unexpected keyword argument 'fast'"):
        ttnn.gelu(put(draw(1, 1, 32, 32), device), fast=True)


def test_no_argument_is_taken_silently() -> None:
    """A function reads an argument, refuses it or notes that it has no effect; the few others are documented to have none."""
    unread = {name for _, function in ttnn_coverage.functions() for name in _unread(function)}
    text = (Path(__file__).parent.parent / "docs" / "ttnn.md").read_text().partition("Taken, and without effect")[2]
    assert sorted(name for name in unread if f"`{name}`" not in text) == []


def _unread(function: Any) -> list[str]:
    fates = ttnn_coverage.fates(function)
    return [name for name, fate in fates.items() if fate == ttnn_coverage.UNREAD and len(fates) > 1]


def test_hints_of_collectives_are_noted_once() -> None:
    """Pipeline sizes and sub-devices change neither cycles nor numbers; two semaphores are taken, one is refused."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    x = put(draw(1, 1, 32, 128), mesh, ttnn.bfloat16, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 3))
    cores = ttnn.num_cores_to_corerangeset(4, ttnn.CoreCoord(8, 8))
    semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(2)]
    hints = {"chunks_per_sync": 10, "num_workers_per_link": 2, "num_buffers_per_channel": 2, "subdevice_id": ttnn.SubDeviceId(0)}
    asynchronous = {"multi_device_global_semaphore": semaphores, "cluster_axis": 1}
    for more in ({}, hints, hints):
        ttnn.experimental.all_gather_async(x, dim=3, **asynchronous, **more)
    assert len({tuple(c.cycles for c in SESSION.calls if c.number == n) for n in {c.number for c in SESSION.calls}}) == 1
    assert len([note for note in SESSION.notes if "chunks_per_sync" in note and "without effect" in note]) == 1
    with pytest.raises(RuntimeError, match="it takes a list of two"):
        ttnn.experimental.all_gather_async(x, dim=3, cluster_axis=1, multi_device_global_semaphore=semaphores[:1])


def test_a_gather_over_all_of_a_mesh_is_one_along_each_axis() -> None:
    """The whole comes back in order; a ring that the board has not is a line; short rows cost what whole tiles cost."""
    ttnn.configure(board="t3000")
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    whole = draw(1, 1, 32, 256)
    x = put(whole, mesh, ttnn.float32, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 3))
    x = ttnn.typecast(x, ttnn.bfloat16)
    parts = ttnn.get_device_tensors(ttnn.all_gather(x, dim=3))
    assert all(np.allclose(part.to_numpy(), whole, rtol=1e-2) for part in parts)
    ring, line = (ttnn.all_gather(x, 3, cluster_axis=1, topology=form) for form in (ttnn.Topology.Ring, ttnn.Topology.Linear))
    assert ring.shape == line.shape
    assert any("form no ring; they are joined to a line" in note for note in SESSION.notes)
    costs = []
    for rows in (60, 64):
        SESSION.calls.clear()
        tall = put(np.zeros((1, 1, rows, 256), np.float32), mesh, ttnn.bfloat16, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 3))
        assert ttnn.all_gather(tall, 3, cluster_axis=1).shape == [1, 1, rows, 128]
        costs.append([call.cycles for call in SESSION.calls])
    assert costs[0] == costs[1]


# -- attention's calls ----------------------------------------------------------------------------------------------


def _config(q: int, k: int) -> Any:
    return ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=q, k_chunk_size=k)


def test_a_start_in_a_tensor_is_the_start(device: Any) -> None:
    """The same values as of the number; a program is counted by whether a start is a number or a tensor, not by its value."""
    ttnn.configure(kernel="legacy")
    table = ttnn.from_numpy(np.arange(4, dtype=np.int32)[None], device=device)
    cache = [put(draw(4, 1, 64, 64), device, ttnn.bfloat16) for _ in "kv"]
    q = put(draw(1, 1, 64, 64), device, ttnn.bfloat16)
    chunked = ttnn.transformer.chunked_scaled_dot_product_attention
    for start in (64, 128):
        tensor = ttnn.from_numpy(np.array([start], np.int32), device=device)
        by_number = chunked(q, *cache, table, start, program_config=_config(64, 64))
        by_tensor = chunked(q, *cache, table, chunk_start_idx_tensor=tensor, program_config=_config(64, 64))
        assert np.array_equal(by_number.to_numpy(), by_tensor.to_numpy())
    assert device.num_program_cache_entries() == 2
    with pytest.raises(RuntimeError, match="one integer is needed"):
        chunked(q, *cache, table, chunk_start_idx_tensor=q)
    with pytest.raises(RuntimeError, match="chunk_start_idx must be a multiple of q_chunk_size"):
        chunked(q, *cache, table, 64, program_config=_config(128, 64))


@pytest.mark.parametrize(
    ("heads", "chunks", "place", "words"),
    [
        (1, (2048, 2048), "DRAM", r"grow to \d+ B which is beyond max L1 size of 1499136 B"),
        (8, (512, 512), "L1", r"grow to \d+ B which is beyond max L1 size of 1499136 B"),
        (32, (384, 384), "L1", r"clash with L1 buffers: they end at \d+, an L1 buffer lies at \d+"),
        (
            1,
            (48, 32),
            "DRAM",
            r"q_chunk_size must be divisible by TILE_SIZE; .* a multiple of 32 .*program_config.q_chunk_size = 48",
        ),
        (1, (32, 48), "DRAM", "k_chunk_size must be a multiple of 32"),
    ],
)
def test_upstreams_words_come_first(heads: int, chunks: tuple[int, int], place: str, words: str, device: Any) -> None:
    """Those that tests and sweeps match on, then what the simulator says, with the names of the call."""
    ttnn.configure(numerics="off")
    qkv = [put(np.zeros((1, heads, 4096, 128), np.float32), device, ttnn.bfloat16) for _ in "qkv"]
    where = ttnn.MemoryConfig(buffer_type=ttnn.BufferType[place])
    with pytest.raises(RuntimeError, match=words) as error:
        ttnn.transformer.scaled_dot_product_attention(*qkv, program_config=_config(*chunks), memory_config=where)
    assert "inputs." not in str(error.value)


@pytest.mark.parametrize(
    ("devices", "place", "chunk", "words"),
    [
        (3, 0, 32, "ring_size must be even for balanced distribution"),
        (34, 0, 32, "ring_size must be <= 32 for practical use"),
        (4, 4, 32, r"ring_id must be less than ring_size \(ring_id = 4"),
        (16, 0, 32, "Sequence length tiles must be at least 2"),
        (4, 0, 128, "q_chunk_size must be less than or equal to per-device sequence length"),
        (2, 0, 96, "per-device sequence length must be divisible by q_chunk_size"),
    ],
)
def test_the_ring_says_what_upstreams_does(devices: int, place: int, chunk: int, words: str, device: Any) -> None:
    """In the words of ttnn 0.67's library."""
    q = put(np.zeros((1, 1, 512, 64), np.float32), device, ttnn.bfloat16)
    ring = ttnn.transformer.ring_distributed_scaled_dot_product_attention
    with pytest.raises(RuntimeError, match=words):
        ring(q, q, q, devices, place, program_config=_config(chunk, 64))


@pytest.mark.parametrize(
    ("q", "k", "words"),
    [
        ((1, 3, 64, 64), (1, 2, 64, 64), "Q num_heads must be >= K num_heads and divisible by K num_heads"),
        ((1, 2, 64, 40), (1, 2, 64, 40), "Head dim must be a multiple of TILE_WIDTH"),
        ((1, 2, 128, 64), (1, 2, 64, 64), r"Causal SDPA requires Q and K .* nearest legal: k.shape\[2\] = q.shape\[2\]"),
    ],
)
def test_shapes_are_refused_in_upstreams_words(q: Any, k: Any, words: str, device: Any) -> None:
    """Of heads, their width, and the keys of a causal call."""
    tensors = [put(np.zeros(shape, np.float32), device, ttnn.bfloat16) for shape in (q, k, k)]
    with pytest.raises(RuntimeError, match=words):
        ttnn.transformer.scaled_dot_product_attention(*tensors, program_config=_config(32, 32))


def test_heads_are_made_as_ttnn_makes_them(device: Any) -> None:
    """K transposed, which is the default, and K and V from a tensor of their own; a batch in a tensor."""
    x, kv = draw(1, 1, 32, 256), draw(1, 1, 32, 128)
    together = ttnn.experimental.nlp_create_qkv_heads(put(np.concatenate([x, kv], 3), device), num_heads=4, num_kv_heads=1)
    apart = ttnn.experimental.nlp_create_qkv_heads(put(x, device), put(kv, device), num_heads=4, num_kv_heads=1)
    for one, other in zip(together, apart, strict=True):
        assert np.array_equal(one.to_numpy(), other.to_numpy())
    assert apart[1].shape == [1, 1, 64, 32]
    assert np.array_equal(apart[1].to_numpy(), kv[..., :64].swapaxes(2, 3))
    table = ttnn.from_numpy(np.array([[0], [1]], np.int32), device=device)
    caches = [ttnn.zeros((2, 1, 32, 64), ttnn.float32, device=device) for _ in range(2)]
    one = ttnn.from_numpy(np.array([1], np.int32), device=device)
    ttnn.experimental.paged_fill_cache(caches[0], apart[2], table, batch_idx=1)
    ttnn.experimental.paged_fill_cache(caches[1], apart[2], table, batch_idx_tensor=one)
    assert np.array_equal(caches[0].to_numpy(), caches[1].to_numpy())
    assert caches[0].to_numpy()[1].any()


def test_weights_come_by_as_tensor(device: Any) -> None:
    """With a cache file that is noted and not written, and with a function before; a tensor has a spec."""
    x = draw(1, 1, 32, 32)
    weight = ttnn.as_tensor(
        x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, cache_file_name="w", preprocess=lambda w: 2 * w
    )
    assert np.allclose(weight.to_numpy(), 2 * x, rtol=1e-2)
    assert any("cache_file_name" in note for note in SESSION.notes)
    assert weight.spec == ttnn.TensorSpec(weight.shape, ttnn.bfloat16, ttnn.TILE_LAYOUT, tile=weight.spec.tile)
    assert weight.spec.memory_config == weight.memory_config()


# -- a checkout -----------------------------------------------------------------------------------------------------

CONFTEST = """
import pytest
import ttnn
from tests.scripts.common import updated

def pytest_addoption(parser):
    parser.addoption("--device-id", type=int, default=5, help="upstream's")
    parser.addoption("--tt-arch", default=ttnn.get_arch_name())

@pytest.fixture(scope="function")
def device_params(request):
    return getattr(request, "param", {})

@pytest.fixture(scope="session")
def silicon_arch_name(request):
    return request.config.getoption("--tt-arch")

@pytest.fixture(scope="session")
def weights(model_location_generator, is_ci_env):
    return model_location_generator("some-model")

@pytest.fixture(scope="function")
def device(request, device_params):
    number = request.config.getoption("device_id")
    assert number < ttnn.GetNumPCIeDevices()
    dispatch = ttnn.DispatchCoreConfig(ttnn.device.DispatchCoreType.WORKER, None, ttnn.FabricTensixConfig.DISABLED)
    opened = ttnn.CreateDevice(device_id=number, dispatch_core_config=dispatch, **updated(device_params))
    ttnn.SetDefaultDevice(opened)
    yield opened
    ttnn.close_device(opened)

@pytest.fixture(autouse=True)
def pre_and_post(request):
    before = ttnn.Config()
    for name in (one for one in dir(ttnn.CONFIG) if "__" not in one):
        setattr(before, name, getattr(ttnn.CONFIG, name))
    yield
    if ttnn.database.SQLITE_CONNECTION is not None or ttnn.tracer.is_tracing_enabled():
        raise RuntimeError
"""
OWN = """
import pytest
import ttnn
from models.own.attention import double
from models.common.utility_functions import comp_pcc, skip_for_blackhole
from tests.ttnn.utils_for_testing import assert_with_pcc
from tests.tt_eager.python_api_testing.sweep_tests.comparison_funcs import comp_and_get_pcc

@skip_for_blackhole()
@pytest.mark.parametrize("device_params", [{"l1_small_size": 1024}], indirect=True)
def test_own(device, silicon_arch_name, weights, ensure_gc, grid_size, galaxy_type):
    assert device.id() == WANTED
    x = ttnn.rand((1, 1, 32, 32), device)
    assert comp_pcc == "the checkout's own"
    assert_with_pcc((x + x).to_numpy(), double(x).to_numpy())
    assert comp_and_get_pcc(x, x) == (True, comp_and_get_pcc(x, x)[1], 1.0)
"""


def checkout(folder: Path, wanted: int = 5, head: str = "") -> Path:
    """A tree with upstream's conftest, packages and a test."""
    files = {
        "conftest.py": head + CONFTEST,
        "pytest.ini": "[pytest]\naddopts = --import-mode=importlib\n",
        "models/own/attention.py": "def double(x):\n    return x * 2\n",
        "models/common/utility_functions.py": 'comp_pcc = "the checkout\'s own"\n'
        "def skip_for_blackhole():\n    import pytest\n    return pytest.mark.skipif(False, reason='')\n",
        "tests/scripts/common.py": "def updated(params):\n    return dict(params)\n",
        "tests/own/test_own.py": OWN.replace("WANTED", str(wanted)),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def started(folder: Path, *words: str, cwd: Path | None = None) -> str:
    """What a command in a checkout prints."""
    done = subprocess.run([sys.executable, *words], cwd=cwd or folder, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("where", ["in it", "beside it"])
def test_a_checkout_starts(tmp_path: Path, where: str) -> None:
    """Its options, fixtures and packages win, with the plug-in registered before its conftest, wherever the command runs."""
    root = checkout(tmp_path / "tt-metal")
    beside = tmp_path if where == "beside it" else root
    words = ["-q", "-p", "no:cacheprovider", str(root / "tests/own/test_own.py")]
    assert "1 passed" in (said := started(root, "-m", "pytest", "-p", "tensix_sim.ttnn.plugin", *words, cwd=beside)), said


def test_a_checkout_starts_under_the_command_and_by_its_conftest(tmp_path: Path) -> None:
    """`python -m tensix_sim.ttnn`, with an option; and with the plug-in named in the conftest, so registered last."""
    root = checkout(tmp_path / "tt-metal", 3)
    words = ["-q", "-p", "no:cacheprovider", "tests/own/test_own.py", "--device-id", "3"]
    assert "1 passed" in (said := started(root, "-m", "tensix_sim.ttnn", "--", "pytest", *words)), said
    checkout(root, 3, 'pytest_plugins = ["tensix_sim.ttnn.plugin"]\nfrom tensix_sim.ttnn import imports\nimports.install()\n')
    assert "1 passed" in (said := started(root, "-m", "pytest", *words)), said


def test_without_a_conftest_the_option_is_the_plug_ins(tmp_path: Path) -> None:
    """`--device-id` and all fixtures are there."""
    fixtures = (
        "device, bh_2d_mesh_device, ensure_gc, model_location_generator, grid_size, determinism_check_interval, is_ci_env,"
        "didt_workload_iterations, galaxy_type, is_single_card_n300, get_tt_cache_path, t3k_single_board_mesh_device"
    )
    (tmp_path / "test_it.py").write_text(f"def test_it({fixtures}):\n    assert device.id() == 3\n")
    words = ["-q", "-p", "tensix_sim.ttnn.plugin", "-p", "no:cacheprovider", "--board", "t3000", "--device-id", "3"]
    assert "1 passed" in (said := started(tmp_path, "-m", "pytest", *words)), said


def test_a_stand_in_says_that_it_took_the_name(tmp_path: Path) -> None:
    """Where a module of upstream's is wanted that only a checkout has."""
    said = started(tmp_path, "-m", "tensix_sim.ttnn", "--", sys.executable, "-c", "import models.tt_transformers.tt.attention")
    assert "No module named 'models.tt_transformers': models is tensix_sim's stand-in" in said
    assert "put it on PYTHONPATH" in said


def test_modules_of_ttnn_have_its_names(tmp_path: Path) -> None:
    """Clients import from them: each name is the one of ttnn itself, and what is absent there is absent here."""
    lines = (
        "import ttnn, ttnn.core",
        "from ttnn.operations.transformer import SDPAProgramConfig",
        "from ttnn.operations.ccl import Topology",
        "from ttnn.distributed.distributed import MeshDevice",
        "from tracy.process_device_log import import_log_run_stats",
        "assert (SDPAProgramConfig, Topology, MeshDevice) == (ttnn.SDPAProgramConfig, ttnn.Topology, ttnn.MeshDevice)",
        "assert ttnn.operations.normalization.LayerNormDefaultProgramConfig is ttnn.LayerNormDefaultProgramConfig",
        "assert ttnn.core.is_sharded is ttnn.is_sharded and not hasattr(ttnn.operations.core, 'no_such')",
        "assert (ttnn.core.divup(33, 32), ttnn.core.roundup(33, 32)) == (2, 64)",
        "print('all there')",
    )
    said = started(tmp_path, "-m", "tensix_sim.ttnn", "--", sys.executable, "-c", "\n".join(lines))
    assert "all there" in said, said


def test_helper_modules_are_whole() -> None:
    """Each name of each helper module can be imported, and does or refuses what it says."""
    from tensix_sim.ttnn.imports import HELPERS

    assert [name for names in HELPERS.values() for name in names if not hasattr(helpers, name)] == []
    assert (helpers.divup(33, 32), helpers.roundup(33, 32), helpers.nearest_y(5, 4), helpers.nearest_32(1)) == (2, 64, 8, 32)
    assert helpers.comp_ulp(np.float32([1, 2]), np.float32([1, 2 + 2**-22]), 1)[0]
    assert not helpers.comp_ulp(np.float32([1, 2]), np.float32([1, 2 + 2**-21]), 1)[0]
    with pytest.raises(ttnn.NotModelledError, match="post_process_ops_log"):
        helpers.post_process_ops_log("x")
    helpers.clear_profiler_runtime_artifacts()
    helpers.enable_persistent_kernel_cache()
    assert helpers.assert_with_ulp(np.float32([1]), np.float32([1]), 1)[0]
    assert helpers.comp_shape(np.empty((2, 3)), np.empty((2, 3)))[0]
    with pytest.raises(AssertionError, match="Allclose check failed"):
        helpers.assert_allclose(np.float32([1]), np.float32([2]))
    assert "PCC 0.5\nExpected" in helpers.construct_pcc_assert_message("PCC 0.5", [1], [2])
    assert not helpers.skip_for_grayskull("no").args[0]
    assert helpers.run_for_grayskull("no").args[0]
    assert [helpers.skip_for_n_or_less_dev(n).args[0] for n in (31, 32)] == [False, True]  # of a galaxy
    assert [helpers.run_for_n_dev(n).args[0] for n in (31, 32)] == [True, False]
    assert helpers.stop_measuring_time(helpers.start_measuring_time()) >= 0
    assert helpers.tt_dtype_to_np_dtype(ttnn.uint16) is np.uint16
    with helpers.Profiler().start("x") or helpers.Profiler():
        pass


def test_entries_of_the_program_cache_are_counted_in_a_block(device: Any) -> None:
    """As upstream's helper does."""
    counter = helpers.CacheEntriesCounter(device)
    x = put(draw(1, 1, 32, 32), device)
    for _ in range(2):
        with counter.measure():
            ttnn.gelu(x)
    assert counter.total == 1
    counter.reset()
    assert counter.total == 0


def test_gathers_take_what_each_form_takes_by_place() -> None:
    """An asynchronous gather with its dimension, a buffer, or axis and mesh behind the input; `all_gather` into a tensor."""
    ttnn.configure(board="t3000")
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 0))])
    semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(2)]
    values = draw(1, 1, 32, 256)
    x = put(values, mesh, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 3))
    into, other = (ttnn.empty((1, 1, 32, 256), ttnn.float32, ttnn.TILE_LAYOUT, mesh) for _ in range(2))
    gather = ttnn.experimental.all_gather_async
    gather(x, into, 3, semaphores, num_links=1)
    ttnn.all_gather(x, 3, output_tensor=other)
    results = [into, other, gather(x, 3, semaphores), gather(x, 3, 1, mesh, ttnn.Topology.Linear, semaphores), gather(x, dim=3)]
    for result in results:
        assert all(np.array_equal(one.to_numpy(), values) for one in ttnn.get_device_tensors(result))
    with pytest.raises(TypeError, match="multiple values"):
        gather(x, 3, dim=3)
    with pytest.raises(TypeError, match="3 arguments by place"):
        gather(x, 3, semaphores, 1)


def test_devices_chosen_by_number_are_neighbours() -> None:
    """The ring of a t3000 there and back, as scripts open it; devices that no link joins are refused, and so are too few."""
    ttnn.configure(board="t3000")
    ring = ttnn.get_t3k_physical_device_ids_ring()
    assert ttnn.open_mesh_device(ttnn.MeshShape(1, 8), physical_device_ids=ring).get_device_ids() == ring
    assert ttnn.open_mesh_device(ttnn.MeshShape(2, 2), physical_device_ids=[6, 7, 4, 5]).get_device_ids() == [6, 7, 4, 5]
    with pytest.raises(ttnn.NotModelledError, match="1 and 2 are no neighbours"):
        ttnn.open_mesh_device(ttnn.MeshShape(1, 8), physical_device_ids=list(range(8)))
    for wrong in ([0, 1], [0, 0, 1, 1], [0, 1, 2, 8]):
        with pytest.raises(RuntimeError, match="4 different ones of 8 are needed"):
            ttnn.open_mesh_device(ttnn.MeshShape(1, 4), physical_device_ids=wrong)


# -- further arguments ---------------------------------------------------------------------------------------------------


def further_ops() -> dict[str, Any]:
    """The ops of the face by their names."""
    rooms = (ttnn, ttnn.experimental, ttnn.transformer)
    named = (getattr(room, name) for room in rooms for name in room.__all__)
    return {one.__name__: one for one in named if inspect.isfunction(one)}


def test_further_arguments_are_of_ops_that_have_no_such_parameter() -> None:
    """Each op in the tables is there, and takes none of what they give it under that name."""
    ops = further_ops()
    tables = further.INTO, further.HINTS, further.REFUSED
    given = [(argument, op) for table in tables for argument, of in table.items() for op in of.split()]
    given += [(theirs, op) for op, names in further.NAMES.items() for theirs in names]
    assert [pair for pair in given if pair[0] in inspect.signature(ops[pair[1]]).parameters] == []
    assert [op for op, names in further.NAMES.items() if not {*names.values()} <= {*inspect.signature(ops[op]).parameters}] == []


def test_results_go_where_an_op_is_told(device: Any) -> None:
    """Into the tensor that is given, which is returned; hints do nothing, other names are the same, the rest is refused."""
    ones = np.ones((1, 1, 32, 32), np.float32)
    x, y = (ttnn.from_torch(ones, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device) for _ in "xy")
    assert ttnn.add(x, x, output_tensor=y, fast_and_approximate_mode=False) is y
    assert (y.to_numpy() == 2).all()
    assert (ttnn.pow(y, exponent=3).to_numpy() == 8).all()
    attention = ttnn.transformer.scaled_dot_product_attention
    assert attention(x, x, x, windowed_q_token_offset=0, output_concat_heads=False).shape == x.shape
    with pytest.raises(ttnn.NotModelledError, match="output_concat_heads is not modelled"):
        attention(x, x, x, output_concat_heads=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'output_tenzor'"):
        ttnn.add(x, x, output_tenzor=y)


@pytest.mark.parametrize(
    ("argument", "usual", "other"),
    [("max_k_splits", 1, 2), ("matmul_math_fidelity", None, ttnn.MathFidelity.LoFi), ("segmented_accumulation", False, True)],
)
def test_a_program_config_takes_further_fields_as_they_usually_are(argument: str, usual: Any, other: Any) -> None:
    """Those of ttnn 0.81.1; what they might be besides is not modelled."""
    given = {"compute_with_storage_grid_size": (8, 8), "q_chunk_size": 64, "k_chunk_size": 64}
    assert ttnn.SDPAProgramConfig(**given, **{argument: usual}).as_spec() == ttnn.SDPAProgramConfig(**given).as_spec()
    with pytest.raises(ttnn.NotModelledError, match=f"{argument} is not modelled"):
        ttnn.SDPAProgramConfig(**given, **{argument: other})
