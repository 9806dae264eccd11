"""Spark X2.5: three of four layers slide, a sigmoid gate per head, exact GELU in the feed-forward layers."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, MLP, NORMS, decoder, sliding_layers
from localq.checkpoints.architectures._joins import fused_names, join_rows
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = [("attn_q", None), ("attn_k", None), ("attn_v", None)]


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.value("attention.sliding_window_pattern") is None:
        raise CheckpointError("The GGUF file lacks the key 'spark2_5.attention.sliding_window_pattern'.")
    config = decoder(keys, scalings=(), partial_rope=True)
    width, theta = config["head_dim"], config["rope_theta"]
    whole = keys.integer("rope.dimension_count", width)
    local = keys.integer("rope.dimension_count_swa", whole)
    bases = {"full_attention": (theta, whole), "sliding_attention": (keys.number("rope.freq_base_swa", theta), local)}
    flags = sliding_layers(keys, period=0)
    return {
        **config,
        "hidden_act": "gelu",
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in flags],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": dims / width}
            for kind, (base, dims) in bases.items()
        },
    }


ARCHITECTURE = Architecture(
    model_type="spark2_5",
    names={
        "token_embd.weight": "model.embedding.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        **NORMS,
        **MLP,
        **fused_names("attn_qkv", LAYER + "self_attn.q_k_v_proj", _QKV),
        "blk.{i}.attn_gate.weight": LAYER + "self_attn.g_proj.weight",
        "blk.{i}.attn_output.weight": LAYER + "self_attn.out_proj.weight",
    },
    config=_config,
    prepare=join_rows("attn_qkv", _QKV),
)
