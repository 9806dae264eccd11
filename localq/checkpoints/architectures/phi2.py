"""Phi-1, 1.5 and 2: one norm before attention and MLP side by side, biases everywhere, also on the head."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, biases, decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_BOTH: dict[str, str | Name] = {
    "output.weight": "lm_head.weight",
    "output_norm.weight": "model.final_layernorm.weight",
    "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
    "blk.{i}.attn_q.weight": LAYER + "self_attn.q_proj.weight",
    "blk.{i}.attn_k.weight": LAYER + "self_attn.k_proj.weight",
    "blk.{i}.attn_v.weight": LAYER + "self_attn.v_proj.weight",
    "blk.{i}.attn_output.weight": LAYER + "self_attn.dense.weight",
    "blk.{i}.ffn_up.weight": LAYER + "mlp.fc1.weight",
    "blk.{i}.ffn_down.weight": LAYER + "mlp.fc2.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False, partial_rope=True, rms=False)
    rotated = keys.integer("rope.dimension_count", config["head_dim"])
    return {**config, "partial_rotary_factor": rotated / config["head_dim"]}


ARCHITECTURE = Architecture(
    model_type="phi",
    names={"token_embd.weight": "model.embed_tokens.weight", **_BOTH, **biases(_BOTH)},
    config=_config,
)
