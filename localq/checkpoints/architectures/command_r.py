"""Command R, R+ and Aya: one layer norm before attention and feed-forward side by side, scaled logits, tied head.

Heads are rotated in pairs of neighbours in both containers, so their rows keep their order.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, OUTER, QK_NORMS, decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

COHERE: dict[str, str | Name] = {
    "token_embd.weight": OUTER["token_embd.weight"],
    "output_norm.weight": OUTER["output_norm.weight"],
    "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
    **ATTENTION,
    **MLP,
}


def cohere(keys: ModelKeys) -> dict[str, Any]:
    """Config keys both generations share."""
    return {
        **decoder(keys, scalings=(), own_head_dim=False, rms=False),
        "attention_bias": False,
        "layer_norm_bias": False,
        "logit_scale": keys.number("logit_scale", 0.0) or 1.0,
    }


ARCHITECTURE = Architecture(
    model_type="cohere",
    names={**COHERE, **{name: Name(str(hf), optional=True) for name, hf in QK_NORMS.items()}},
    config=lambda keys: {**cohere(keys), "use_qk_norm": "blk.0.attn_q_norm.weight" in keys.tensors},
)
