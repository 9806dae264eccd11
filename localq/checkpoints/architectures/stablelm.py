"""StableLM 3B, Zephyr, StableLM 2: layer norms with biases, part of each head rotated; a norm per head in the 12B."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    MLP,
    NORMS,
    OUTER,
    biases,
    decoder,
    has_biases,
    rotated_share,
)
from localq.checkpoints.architectures._shapes import unstacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}


def _has_norms(keys: ModelKeys) -> bool:
    return "blk.0.attn_q_norm.weight" in keys.tensors


def _parallel(keys: ModelKeys) -> bool:
    """Attention and feed-forward side by side: where layers have one norm only (src/models/stablelm.cpp)."""
    one = "blk.0.ffn_norm.weight" not in keys.tensors
    if keys.flag("use_parallel_residual", one) != one:
        keys.refuse("use_parallel_residual")
    return one


def _config(keys: ModelKeys) -> dict[str, Any]:
    return {
        **decoder(keys, scalings=(), own_head_dim=False, partial_rope=True, rms=False),
        "use_qkv_bias": has_biases(keys, "attn_q", "attn_k", "attn_v"),
        "partial_rotary_factor": rotated_share(keys),
        "use_parallel_residual": _parallel(keys),
        "qk_layernorm": _has_norms(keys),
    }


def _norms_per_head(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    for i in range(keys.layers if _has_norms(keys) else 0):
        unstacked(pieces, f"blk.{i}.attn_q_norm.weight", keys.heads)
        unstacked(pieces, f"blk.{i}.attn_k_norm.weight", keys.kv_heads)


def _choose(keys: ModelKeys) -> Architecture:
    names = dict(ARCHITECTURE.names)
    for x, count in (("q", keys.heads), ("k", keys.kv_heads)) if _has_norms(keys) else ():
        for e in range(min(count, len(keys.tensors) * 64)):
            names[f"blk.{{i}}.attn_{x}_norm.{e}.weight"] = f"{LAYER}self_attn.{x}_layernorm.norms.{e}.weight"
    return ARCHITECTURE._replace(names=names)


_SECOND: dict[str, str | Name] = {
    "blk.{i}.ffn_norm.weight": Name(LAYER + "post_attention_layernorm.weight", optional=True)
}
ARCHITECTURE = Architecture(
    model_type="stablelm",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        "output_norm.bias": "model.norm.bias",
        **NORMS,
        **biases(NORMS),
        **_SECOND,
        **biases(_SECOND, optional=True),
        **ATTENTION,
        **biases(_QKV, optional=True),
        **MLP,
    },
    config=_config,
    choose=_choose,
    prepare=_norms_per_head,
)
