"""Apertus: norms on queries and keys, an MLP without a gate whose activation (xIELU) has numbers of each layer's own.

Hugging Face keeps those four numbers as tensors, GGUF as keys; they go into the config as `xielu` and from there into
the model (models/corrected/apertus.py).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, OUTER, QK_NORMS, decoder
from localq.checkpoints.keys import brief, is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _per_layer(keys: ModelKeys, key: str) -> list[float]:
    """A key without the architecture's name in front: one number, or one for each layer."""
    found: Any = keys.metadata.get(key)
    values = list(found) if is_array(found) else [found] * keys.layers
    if len(values) != keys.layers or not all(isinstance(v, (int, float)) and abs(v) < 1e9 for v in values):
        raise CheckpointError(f"The GGUF key '{key}' is {brief(found)}; expected {keys.layers} numbers.")
    return [float(v) for v in values]


def _config(keys: ModelKeys) -> dict[str, Any]:
    numbers = ("alpha_p", "alpha_n", "beta", "eps")
    return {
        **decoder(keys, own_head_dim=False),
        "mlp_bias": False,
        "attention_bias": False,
        "post_norm": False,
        "qk_norm": True,
        "xielu": {number: _per_layer(keys, f"xielu.{number}") for number in numbers},
    }


ARCHITECTURE = Architecture(
    model_type="apertus",
    names={
        **OUTER,
        **ATTENTION,
        **QK_NORMS,
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": LAYER + "attention_layernorm.weight",
        "blk.{i}.ffn_norm.weight": LAYER + "feedforward_layernorm.weight",
        **{name: target for name, target in MLP.items() if "ffn_gate" not in name},
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
