"""tt-symbiote's prefill attention on random weights, each module beside torch's: prints correlations by name, as JSON.

Run by tests/test_symbiote.py, in an environment that has tt-symbiote.
"""

import json
import os

import torch
import ttnn

os.environ["MESH_DEVICE"] = "T3K"  # of the boards that the package knows the one that its modules ask for
from transformers.models.llama import modeling_llama as hf
from tt_symbiote.core.tensor import TorchTTNNTensor
from tt_symbiote.modules import ttnn_attention as attention
from tt_symbiote.modules.ttnn_linear import TTNNLinear
from tt_symbiote.modules.ttnn_normalization import DeepseekV2RMSNorm, TTNNLayerNorm, TTNNRMSNorm
from tt_symbiote.modules.ttnn_rope import TTNNRotaryPositionEmbedding
from tt_symbiote.utils.device_management import set_device

WIDTH, HEADS, ROWS, HEAD = 256, 4, 128, 64
DEVICE = ttnn.open_device(device_id=0)


def ready(module):
    """The module on the device. The product within fused QKV unwraps what it gives; all others take tensors of ttnn."""
    set_device(module, DEVICE)
    for name in ("query_key_value", "qkv_proj"):
        if (fused := getattr(module, name, None)) is not None:
            fused.linear._bypass_tensor_wrapping = False
    module.preprocess_weights()
    module.move_weights_to_device()
    return module


def put(x):
    """A tensor on the device, in tiles."""
    return ttnn.from_torch(x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=DEVICE)


def likeness(computed, wanted):
    """Their correlation."""
    while isinstance(computed, tuple | list):
        (computed,) = computed
    values = computed.to_torch if isinstance(computed, TorchTTNNTensor) else ttnn.to_torch(computed)
    return torch.corrcoef(torch.stack([values.float().ravel(), wanted.float().ravel()]))[0, 1].item()


def rotation():
    """Cosines and sines [1, ROWS, HEAD], of halves."""
    angle = torch.outer(torch.arange(float(ROWS)), 10000.0 ** -(torch.arange(0, HEAD, 2) / HEAD)).repeat(1, 2)
    return angle.cos()[None], angle.sin()[None]


def normal(layer):
    """The layer with random weights."""
    for weights in layer.parameters():
        torch.nn.init.normal_(weights)
    return layer


def run():
    """All modules; their correlations with torch."""
    x, found = torch.randn(1, 1, ROWS, WIDTH), {}
    for kind, layer in (
        (TTNNLinear, torch.nn.Linear(WIDTH, 384)),
        (TTNNLayerNorm, normal(torch.nn.LayerNorm(WIDTH))),
        (TTNNRMSNorm, normal(DeepseekV2RMSNorm(WIDTH))),
    ):
        found[kind.__name__] = likeness(ready(kind.from_torch(layer))(put(x)), layer(x))
    q, k, v = (torch.randn(1, HEADS, ROWS, HEAD) for _ in range(3))
    cos, sin = rotation()
    rotary = ready(TTNNRotaryPositionEmbedding())(*map(put, (q, k, cos[None], sin[None])))
    for name, computed, wanted in zip("qk", rotary, attention.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        found[f"TTNNRotaryPositionEmbedding of {name}"] = likeness(computed, wanted)
    for mask in (None, torch.randn(1, 1, ROWS, ROWS)):
        causal, sdpa = mask is None, ready(attention.TTNNSDPAAttention())
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        given = None if causal else put(mask)
        out = sdpa(sdpa, *map(put, (q, k, v)), given, scaling=HEAD**-0.5, is_causal=causal, transpose_output=False)
        found["TTNNSDPAAttention, causal" if causal else "TTNNSDPAAttention, mask"] = likeness(out, wanted)
    layer = attention.SelfAttention(attention.SelfAttentionConfig(WIDTH, HEADS)).eval()
    computed = ready(attention.TTNNSelfAttention.from_torch(layer))(put(x[0]))
    found["TTNNSelfAttention"] = likeness(computed, layer(x[0])[0])
    config = hf.LlamaConfig(hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=HEAD)
    config._attn_implementation = "sdpa"
    llama = hf.LlamaAttention(config, 0).eval()
    wanted, _ = llama(x[0], position_embeddings=(cos, sin), attention_mask=None)
    computed = ready(attention.LlamaAttention.from_torch(llama))(put(x[0]), position_embeddings=(put(cos), put(sin)))
    found["LlamaAttention"] = likeness(computed[0], wanted)
    return found


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        print(json.dumps(run()))  # noqa: T201
