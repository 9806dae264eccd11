"""Phi-3.5-MoE and Phi-mini-MoE: layer norms with biases, biases everywhere in the attention, sparsemixer's two experts.

GGUF has no key for LongRoPE's scale of queries and keys, nor for the router's band. Those of the published models
stand here; llama.cpp takes RMS norms and a plain softmax router instead, so its logits are others than the authors'.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    NORMS,
    OUTER,
    biases,
    decoder,
    expert_counts,
)
from localq.checkpoints.architectures._rope import LONG, SHORT
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MOE = LAYER + "block_sparse_moe."
STRETCH = (4096, 131072)  # positions of Phi-3.5-MoE, the one release with LongRoPE
SCALE = 1.243163121016122  # its short_mscale and long_mscale
JITTER = 0.01  # router_jitter_noise of every release: the width of sparsemixer's band


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("longrope",), own_head_dim=False)
    experts, used = expert_counts(keys)
    keys.integer("attention.sliding_window", 0)  # written as Phi-3's; these attend to everything (src/models/phi3.cpp)
    positions = config["max_position_embeddings"]
    original = keys.integer("rope.scaling.original_context_length", positions)
    scaling = config.get("rope_scaling")
    if scaling:
        if (original, positions) != STRETCH:
            raise UnsupportedError(
                f"This phimoe file stretches {original} positions to {positions}; GGUF has no key for the scale of "
                f"queries and keys that goes with it, and localq knows only Phi-3.5-MoE's, for {STRETCH[0]} to "
                f"{STRETCH[1]}.",
                "llama.cpp runs it without that scale: --engine llama.",
            )
        scaling.update(type="longrope", short_mscale=SCALE, long_mscale=SCALE)
    return {
        **config,
        "original_max_position_embeddings": original,
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "router_jitter_noise": JITTER,
        "tie_word_embeddings": False,
    }


_LINEAR = {**ATTENTION, **NORMS, "output_norm.weight": OUTER["output_norm.weight"], "output.weight": "lm_head.weight"}
ARCHITECTURE = Architecture(
    model_type="phimoe",
    names={
        "token_embd.weight": OUTER["token_embd.weight"],
        **_LINEAR,
        **biases(_LINEAR),
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.ffn_gate_exps.weight": _MOE + "experts.{e}.w1.weight",
        "blk.{i}.ffn_down_exps.weight": _MOE + "experts.{e}.w2.weight",
        "blk.{i}.ffn_up_exps.weight": _MOE + "experts.{e}.w3.weight",
    },
    config=_config,
    consumed=(LONG, SHORT),
    checked="mlx-lm",
)
