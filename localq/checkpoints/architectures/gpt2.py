"""GPT-2: learnt positions, layer norms, q, k and v fused.

Hugging Face stores the projections as `[in, out]`; GGUF turns them to `[out, in]` and packs along in, so they appear
under mlx-lm's names (`model.h.{i}....`), whose orientation that is.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import biases, embedding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_H = "model.h.{i}."
_BOTH: dict[str, str | Name] = {
    "output_norm.weight": "model.ln_f.weight",
    "blk.{i}.attn_norm.weight": _H + "ln_1.weight",
    "blk.{i}.attn_qkv.weight": _H + "attn.c_attn.weight",
    "blk.{i}.attn_output.weight": _H + "attn.c_proj.weight",
    "blk.{i}.ffn_norm.weight": _H + "ln_2.weight",
    "blk.{i}.ffn_up.weight": _H + "mlp.c_fc.weight",
    "blk.{i}.ffn_down.weight": _H + "mlp.c_proj.weight",
}


def gpt(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of GPT-2 and those who kept its spelling."""
    vocab, hidden = embedding(keys)
    positions = keys.shape("position_embd.weight")[0]
    if keys.integer("context_length") != positions:
        keys.refuse("context_length")
    return {
        "vocab_size": vocab,
        "n_embd": hidden,
        "n_layer": keys.layers,
        "n_head": keys.heads,
        "n_positions": positions,
        "n_ctx": positions,
        "n_inner": keys.integer("feed_forward_length"),
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon"),
    }


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = gpt(keys)
    if keys.kv_heads != keys.heads or config["n_inner"] != 4 * config["n_embd"]:
        keys.refuse("attention.head_count_kv", "feed_forward_length")
    return config


ARCHITECTURE = Architecture(
    model_type="gpt2",
    names={
        "token_embd.weight": "model.wte.weight",
        "position_embd.weight": "model.wpe.weight",
        **_BOTH,
        **biases(_BOTH),
    },
    config=_config,
    # The converter of 2023 and 2024 wrote the tied head once more
    consumed=("output.weight",),
)
