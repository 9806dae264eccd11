"""Muse Glimmer (text): gated attention, queries and keys normed without weights, global layers are not rotated.

The scale of the normed queries is stored as the weights of a norm, and ones beside it (conversion/muse_glimmer.py).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, OUTER, decoder, sliding_layers
from localq.checkpoints.architectures._rules import key_rows, minus_one, query_rows
from localq.checkpoints.keys import shortest
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source

_SCALES = ("attn_q_norm", "attn_k_norm")
_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=())
    cap, window = keys.number("final_logit_softcapping", 0.0), keys.integer("attention.sliding_window")
    if cap == 0.0:  # mlx-lm divides by it
        keys.refuse("final_logit_softcapping", "logit_scale")
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    flags = sliding_layers(keys, period=4)
    return {
        **config,
        "final_logit_softcapping": cap,
        "output_multiplier": keys.number("logit_scale"),
        "sliding_window": window,
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in flags],
        "qk_scale_factor": _query_scale(keys),
    }


def _query_scale(keys: ModelKeys) -> float:
    """The one value of all layers' query norms."""
    found = [set(keys.small(f"blk.{i}.{name}.weight") or []) for name in _SCALES for i in range(keys.layers)]
    queries, ones = set().union(*found[: keys.layers]), set().union(*found[keys.layers :])
    if len(queries) != 1 or ones != {1.0}:
        raise UnsupportedError(
            "'attn_q_norm' and 'attn_k_norm' of this muse-glimmer file are not one scale in all layers, and ones."
        )
    return shortest(queries.pop())


def _drop_scales(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    for i in range(keys.layers):
        for name in _SCALES:
            pieces.pop(f"blk.{i}.{name}.weight", None)


ARCHITECTURE = Architecture(
    model_type="muse_glimmer",
    names={
        **OUTER,
        **ATTENTION,
        "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", query_rows),
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", key_rows),
        "blk.{i}.attn_gate.weight": LAYER + "self_attn.gate_proj.weight",
        **{f"blk.{{i}}.{stored}.weight": Name(f"{LAYER}{hf}.weight", minus_one) for stored, hf in _NORMS.items()},
        **MLP,
    },
    config=_config,
    prepare=_drop_scales,
)
