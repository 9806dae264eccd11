"""Gemma 3n (text): four alternating streams, low-rank residuals, per-layer embeddings, shared keys and values.

Norms are stored as they are. Clipping of the alternating streams' coefficients is part of the architecture (120 in
every release) and has no key.
"""

from __future__ import annotations

import math
from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    MLP,
    QK_NORMS,
    decoder,
    per_layer,
    sliding_layers,
)
from localq.checkpoints.architectures._shapes import unstacked
from localq.checkpoints.keys import ModelKeys, is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.names import Source

_MODEL = "model.language_model."
_LAYER = _MODEL + "layers.{i}."
_STREAMS = {"altup_proj": "altup_projections", "altup_unembd_proj": "altup_unembed_projections"}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=())
    sliding = sliding_layers(keys, period=5)
    shared = keys.integer(
        "attention.shared_kv_layers", max(keys.layers - 20, 0)
    )  # 20 of their own: src/models/gemma3n.cpp
    own = sliding[: keys.layers - shared]
    if len(set(own)) != 2:  # layers that share take the last of their kind
        keys.refuse("attention.shared_kv_layers", "attention.sliding_window_pattern")
    width = keys.integer("embedding_length_per_layer_input")
    text = {
        **config,
        "model_type": "gemma3n_text",
        "intermediate_size": per_layer(keys, "feed_forward_length"),
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "num_kv_shared_layers": shared,
        "rope_local_base_freq": keys.number("rope.freq_base_swa", 10000.0),
        # llama.cpp caps at 30 also without the key (src/llama-hparams.h)
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0) or None,
        "activation_sparsity_pattern": _sparsity(keys),
        "hidden_size_per_layer_input": width,
        "vocab_size_per_layer_input": keys.shape("per_layer_token_embd.weight")[0],
        "altup_num_inputs": keys.integer("altup.num_inputs"),
        "altup_active_idx": keys.integer("altup.active_idx"),
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "laurel_rank": keys.shape("blk.0.laurel_l.weight")[0],
    }
    if not config["tie_word_embeddings"]:
        raise CheckpointError("The GGUF file has an 'output.weight'; Gemma 3n's head is its embedding.")
    return {"text_config": text, "vocab_size": config["vocab_size"], "hidden_size": config["hidden_size"]}


def _sparsity(keys: ModelKeys) -> list[float]:
    """Shares of the activations that are cut off; GGUF has the normal distribution's quantiles of them."""
    found = keys.value("activation_sparsity_scale")
    values = list(found) if is_array(found) else []
    if len(values) != keys.layers or not all(isinstance(v, float) and v < 10 for v in values):
        raise CheckpointError(f"'gemma3n.activation_sparsity_scale' is no list of {keys.layers} quantiles.")
    return [round(0.5 * (1 + math.erf(v / math.sqrt(2))), 6) for v in values]


def _apart(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """The streams' projections, one stack in GGUF, as the matrices they are."""
    count = keys.integer("altup.num_inputs") - 1
    for stack in _STREAMS:
        unstacked(pieces, f"{stack}.weight", count)


def _choose(keys: ModelKeys) -> Architecture:
    streams = {
        f"{stack}.{e}.weight": f"{_MODEL}{hf}.{e}.weight"
        for stack, hf in _STREAMS.items()
        for e in range(min(keys.integer("altup.num_inputs"), 64) - 1)
    }
    return ARCHITECTURE._replace(names={**ARCHITECTURE.names, **streams})


def _inside(hf: str) -> str:
    return hf.replace("model.", _MODEL, 1)


ARCHITECTURE = Architecture(
    model_type="gemma3n",
    names={
        "token_embd.weight": _MODEL + "embed_tokens.weight",
        "output_norm.weight": _MODEL + "norm.weight",
        "per_layer_token_embd.weight": _MODEL + "embed_tokens_per_layer.weight",
        "per_layer_model_proj.weight": _MODEL + "per_layer_model_projection.weight",
        "per_layer_proj_norm.weight": _MODEL + "per_layer_projection_norm.weight",
        **{stored: _inside(str(hf)) for stored, hf in {**ATTENTION, **QK_NORMS, **MLP}.items()},
        "blk.{i}.attn_norm.weight": _LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": _LAYER + "post_attention_layernorm.weight",
        "blk.{i}.ffn_norm.weight": _LAYER + "pre_feedforward_layernorm.weight",
        "blk.{i}.post_ffw_norm.weight": _LAYER + "post_feedforward_layernorm.weight",
        "blk.{i}.inp_gate.weight": _LAYER + "per_layer_input_gate.weight",
        "blk.{i}.proj.weight": _LAYER + "per_layer_projection.weight",
        "blk.{i}.post_norm.weight": _LAYER + "post_per_layer_input_norm.weight",
        "blk.{i}.altup_correct_coef.weight": _LAYER + "altup.correction_coefs.weight",
        "blk.{i}.altup_correct_scale.weight": _LAYER + "altup.correct_output_scale",
        "blk.{i}.altup_predict_coef.weight": _LAYER + "altup.prediction_coefs.weight",
        "blk.{i}.altup_router.weight": _LAYER + "altup.modality_router.weight",
        "blk.{i}.altup_router_norm.weight": _LAYER + "altup.router_norm.weight",
        "blk.{i}.laurel_l.weight": _LAYER + "laurel.linear_left.weight",
        "blk.{i}.laurel_r.weight": _LAYER + "laurel.linear_right.weight",
        "blk.{i}.laurel_post_norm.weight": _LAYER + "laurel.post_laurel_norm.weight",
    },
    config=_config,
    choose=_choose,
    prepare=_apart,
)
