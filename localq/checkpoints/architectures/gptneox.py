"""GPT-NeoX, Pythia: q, k and v fused head by head in Hugging Face, one after the other in GGUF."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import biases, decoder
from localq.checkpoints.architectures._rules import take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.checkpoints.keys import ModelKeys
    from localq.formats.base import PackedTensor

_L = "gpt_neox.layers.{i}."


def _by_head(keys: ModelKeys, shape: tuple[int, ...]) -> Callable[[PackedTensor], PackedTensor]:
    """Rows [3, heads, width] of GGUF to [heads, 3, width] (`GPTNeoXModel.modify_tensors`, conversion/gptneox.py)."""
    heads = keys.heads

    def change(t: PackedTensor) -> PackedTensor:
        import numpy as np

        return take(t, np.arange(shape[0]).reshape(3, heads, -1).swapaxes(0, 1).reshape(-1))

    return change


_BOTH: dict[str, str | Name] = {
    "output_norm.weight": "gpt_neox.final_layer_norm.weight",
    "blk.{i}.attn_norm.weight": _L + "input_layernorm.weight",
    "blk.{i}.attn_qkv.weight": Name(_L + "attention.query_key_value.weight", _by_head),
    "blk.{i}.attn_output.weight": _L + "attention.dense.weight",
    "blk.{i}.ffn_norm.weight": _L + "post_attention_layernorm.weight",
    "blk.{i}.ffn_up.weight": _L + "mlp.dense_h_to_4h.weight",
    "blk.{i}.ffn_down.weight": _L + "mlp.dense_4h_to_h.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False, partial_rope=True, rms=False)
    if config["num_key_value_heads"] != config["num_attention_heads"]:
        keys.refuse("attention.head_count_kv")
    if config["intermediate_size"] != 4 * config["hidden_size"]:
        keys.refuse("feed_forward_length")
    return {
        **config,
        "rotary_emb_base": config["rope_theta"],
        "rotary_pct": keys.integer("rope.dimension_count", config["head_dim"]) / config["head_dim"],
        "use_parallel_residual": keys.flag("use_parallel_residual", True),
    }


ARCHITECTURE = Architecture(
    model_type="gpt_neox",
    names={
        "token_embd.weight": "gpt_neox.embed_in.weight",
        "output.weight": "embed_out.weight",
        **_BOTH,
        **biases(_BOTH),
    },
    config=_config,
)
