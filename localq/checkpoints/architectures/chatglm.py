"""GLM-4 of 2024 (GLM-4-9B-hf, GLM-Edge): half of each head rotated, gate and up fused in both containers.

Files made from ChatGLM's own repositories have q, k and v fused; they are cut.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, biases, decoder, has_biases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), partial_rope=True)
    rotated = keys.integer("rope.dimension_count", config["head_dim"])
    fused = "blk.0.attn_qkv.bias" in keys.tensors
    return {
        **config,
        "partial_rotary_factor": rotated / config["head_dim"],
        "attention_bias": fused or has_biases(keys, "attn_q", "attn_k", "attn_v"),
    }


ARCHITECTURE = Architecture(
    model_type="glm",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **biases(_QKV, optional=True),
        "blk.{i}.ffn_up.weight": LAYER + "mlp.gate_up_proj.weight",
        "blk.{i}.ffn_down.weight": LAYER + "mlp.down_proj.weight",
    },
    config=_config,
)
