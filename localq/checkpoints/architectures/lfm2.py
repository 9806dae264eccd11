"""LFM2: short convolutions and some attention, the embedding as the head."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, decoder
from localq.checkpoints.architectures._hybrid import any_kind, by_kv_heads, check_kinds, in_turn, three_axes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_kinds = by_kv_heads("convolution")
_A = LAYER + "self_attn."
_KINDS: dict[str, dict[str, str | Name]] = {
    "attention": {
        **{f"blk.{{i}}.attn_{x}.weight": f"{_A}{x}_proj.weight" for x in ("q", "k", "v")},
        **{f"blk.{{i}}.attn_{x}_norm.weight": f"{_A}{x}_layernorm.weight" for x in ("q", "k")},
        "blk.{i}.attn_output.weight": _A + "out_proj.weight",
    },
    "convolution": {
        "blk.{i}.shortconv.conv.weight": LAYER + "conv.conv.weight",
        "blk.{i}.shortconv.in_proj.weight": LAYER + "conv.in_proj.weight",
        "blk.{i}.shortconv.out_proj.weight": LAYER + "conv.out_proj.weight",
    },
}
PARTS = {"w1": "gate", "w2": "down", "w3": "up"}
MLP: dict[str, str | Name] = {f"blk.{{i}}.ffn_{x}.weight": f"{LAYER}feed_forward.{w}.weight" for w, x in PARTS.items()}
NAMES: dict[str, str | Name] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "token_embd_norm.weight": "model.embedding_norm.weight",
    "blk.{i}.attn_norm.weight": LAYER + "operator_norm.weight",
    "blk.{i}.ffn_norm.weight": LAYER + "ffn_norm.weight",
    **any_kind(_KINDS),
}
PREPARE = in_turn(check_kinds(_KINDS, _kinds), three_axes("shortconv.conv"))


def config_lfm2(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of dense and MoE models."""
    config = decoder(keys, scalings=(), own_head_dim=False)
    return {
        **config,
        "norm_eps": config["rms_norm_eps"],
        "conv_bias": False,
        "conv_L_cache": keys.integer("shortconv.l_cache"),
        "layer_types": ["full_attention" if kind == "attention" else "conv" for kind in _kinds(keys)],
        "tie_word_embeddings": True,
    }


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = config_lfm2(keys)
    return {
        **config,
        "block_dim": config["hidden_size"],
        "block_ff_dim": config["intermediate_size"],
        "block_multiple_of": 1,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
    }


ARCHITECTURE = Architecture(model_type="lfm2", names={**NAMES, **MLP}, config=_config, prepare=PREPARE)
