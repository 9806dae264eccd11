"""Llama 4 (text): three layers of chunked attention with rope to one global layer without, one expert per token.

Hugging Face keeps the experts transposed, gate and up in one stack; the names here are mlx-lm's, GGUF's orientation.
The window, the interval of global layers and the temperature are built into llama.cpp (src/models/llama4.cpp).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, NORMS, decoder, expert_counts
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MODEL = "language_model.model."
_FFN = _MODEL + "layers.{i}.feed_forward."
_PARTS = ("gate", "up", "down")
CHUNK = 8192


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    if used != 1:
        keys.refuse("expert_used_count")
    if keys.integer("attention.sliding_window", CHUNK) == 0:  # every layer global and with rope: MobileLLM
        keys.refuse("attention.sliding_window")
    step = keys.integer("interleave_moe_layer_step")
    if step == 0 or keys.integer("expert_gating_func", 2) != 2:
        keys.refuse("interleave_moe_layer_step", "expert_gating_func")
    config = decoder(keys)
    if config["tie_word_embeddings"]:
        raise UnsupportedError("The GGUF file has no 'output.weight'; Llama 4 has a head of its own.")
    text = {
        **config,
        "model_type": "llama4_text",
        "intermediate_size": keys.integer("expert_feed_forward_length"),
        "intermediate_size_mlp": config["intermediate_size"],
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "interleave_moe_layer_step": step,
        "attention_bias": False,
        "attention_chunk_size": CHUNK,
        "floor_scale": CHUNK,
        "attn_scale": 0.1,
        "attn_temperature_tuning": 4,
        # Maverick, told by its experts, has no norms on queries and keys
        "use_qk_norm": experts != 128,
        "rope_scaling": config.get("rope_scaling"),
    }
    return {"text_config": text, "vocab_size": config["vocab_size"], "hidden_size": config["hidden_size"]}


def _choose(keys: ModelKeys) -> Architecture:
    """Which layers have experts follows from a key."""
    step = keys.integer("interleave_moe_layer_step", 1)
    names = {n: t for n, t in ARCHITECTURE.names.items() if ".ffn_" not in n or "norm" in n}
    for i in range(keys.layers):
        with_experts = step > 0 and (i + 1) % step == 0
        for stored, hf in (_EXPERTS if with_experts else _DENSE).items():
            names[stored.replace("{i}", str(i))] = hf.replace("{i}", str(i))
    return ARCHITECTURE._replace(names=names)


_DENSE = {f"blk.{{i}}.ffn_{x}.weight": f"{_FFN}{x}_proj.weight" for x in _PARTS}
_EXPERTS = {
    "blk.{i}.ffn_gate_inp.weight": _FFN + "router.weight",
    **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_FFN}experts.{x}_proj.weight" for x in _PARTS},
    **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{_FFN}shared_expert.{x}_proj.weight" for x in _PARTS},
}

ARCHITECTURE = Architecture(
    model_type="llama4",
    names={
        "token_embd.weight": _MODEL + "embed_tokens.weight",
        "output_norm.weight": _MODEL + "norm.weight",
        "output.weight": "language_model.lm_head.weight",
        **{
            stored: "language_" + str(hf).replace("model.", "model.model.", 1)
            for stored, hf in {**NORMS, **ATTENTION}.items()
        },
        **{stored: Name(hf, optional=True) for stored, hf in {**_DENSE, **_EXPERTS}.items()},
    },
    config=_config,
    consumed=("rope_freqs.weight",),
    choose=_choose,
)
