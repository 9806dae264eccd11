"""Phi-3, Phi-3.5 and Phi-4: q, k, v and gate, up fused in both containers; LongRoPE factors as tensors."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import LAYER, NORMS, OUTER, decoder
from localq.checkpoints.architectures._rope import LONG, SHORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear", "longrope"), own_head_dim=False, partial_rope=True)
    scaling = config.get("rope_scaling")
    if scaling:  # mlx-lm's phi3 looks for "type" alone
        scaling["type"] = scaling["rope_type"]
    return {
        **config,
        "partial_rotary_factor": keys.integer("rope.dimension_count", config["head_dim"]) / config["head_dim"],
        "original_max_position_embeddings": keys.integer(
            "rope.scaling.original_context_length", config["max_position_embeddings"]
        ),
        # Written as 0 for Phi-4, which has no window (conversion/phi.py)
        "sliding_window": keys.integer("attention.sliding_window", 0) or None,
    }


ARCHITECTURE = Architecture(
    model_type="phi3",
    names={
        **OUTER,
        **NORMS,
        "blk.{i}.attn_qkv.weight": LAYER + "self_attn.qkv_proj.weight",
        "blk.{i}.attn_output.weight": LAYER + "self_attn.o_proj.weight",
        "blk.{i}.ffn_up.weight": LAYER + "mlp.gate_up_proj.weight",
        "blk.{i}.ffn_down.weight": LAYER + "mlp.down_proj.weight",
    },
    config=_config,
    consumed=(LONG, SHORT),
)
