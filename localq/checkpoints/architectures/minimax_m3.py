"""MiniMax M3 (text): M2's attention where an indexer picks blocks of keys, DeepSeek's experts, clamped activations.

The published model also sees, so the config is nested and the names begin with `language_model.`.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, MLP, decoder, expert_counts
from localq.checkpoints.architectures._rules import minus_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_M = "language_model."
_L = _M + "model.layers.{i}."
_MOE = _L + "block_sparse_moe."
_NORMS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_INDEXER = {x: f"{_L}self_attn.index_{x}.weight" for x in ("q_proj", "k_proj")}
_INDEXER_NORMS = {x: f"{_L}self_attn.index_{x}.weight" for x in ("q_norm", "k_norm")}
_PARTS = {"gate": "w1", "down": "w2", "up": "w3"}


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func") != 2 or not keys.flag("expert_weights_norm", False):
        keys.refuse("expert_gating_func", "expert_weights_norm")
    config = decoder(keys, scalings=(), partial_rope=True)
    dense, inner = keys.integer("leading_dense_block_count", 0), keys.integer("expert_feed_forward_length")
    flags = [int(i >= dense) for i in range(keys.layers)]
    text = {
        **config,
        "dense_intermediate_size": config["intermediate_size"],
        "intermediate_size": inner,
        "shared_intermediate_size": inner * keys.integer("expert_shared_count"),
        "rotary_dim": keys.integer("rope.dimension_count", config["head_dim"]),
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "routed_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        # Constants of the activation: GGUF has no key for them, llama.cpp takes these too (src/llama-graph.cpp)
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        "use_qk_norm": True,
        "use_gemma_norm": True,
        "moe_layer_freq": flags,
        "sparse_attention_config": {
            "sparse_num_index_heads": keys.integer("attention.indexer.head_count"),
            "sparse_index_dim": keys.integer("attention.indexer.key_length"),
            "sparse_topk_blocks": keys.integer("attention.indexer.top_k"),
            "sparse_block_size": keys.integer("attention.indexer.block_size"),
            "sparse_local_block": keys.integer("attention.indexer.local_blocks"),
            "sparse_attention_freq": flags,
        },
    }
    return {"text_config": text, "max_position_embeddings": config["max_position_embeddings"]}


def _under(names: dict[str, str | Name]) -> dict[str, str | Name]:
    return {stored: f"{_M}{hf}" for stored, hf in names.items()}


ARCHITECTURE = Architecture(
    model_type="minimax_m3_vl",
    names={
        "token_embd.weight": _M + "model.embed_tokens.weight",
        "output_norm.weight": Name(_M + "model.norm.weight", minus_one),
        "output.weight": _M + "lm_head.weight",
        **{f"blk.{{i}}.{n}.weight": Name(f"{_L}{hf}.weight", minus_one) for n, hf in _NORMS.items()},
        **_under(ATTENTION),
        **{n: Name(str(hf), optional=True) for n, hf in _under(MLP).items()},
        "blk.{i}.ffn_gate_inp.weight": Name(_MOE + "gate.weight", optional=True),
        "blk.{i}.exp_probs_b.bias": Name(_MOE + "e_score_correction_bias", optional=True),
        **{
            f"blk.{{i}}.ffn_{x}_exps.weight": Name(f"{_MOE}experts.{{e}}.{w}.weight", optional=True)
            for x, w in _PARTS.items()
        },
        **{
            f"blk.{{i}}.ffn_{x}_shexp.weight": Name(f"{_MOE}shared_experts.{x}_proj.weight", optional=True)
            for x in _PARTS
        },
        **{f"blk.{{i}}.indexer.{x}.weight": Name(hf, optional=True) for x, hf in _INDEXER.items()},
        **{f"blk.{{i}}.indexer.{x}.weight": Name(hf, minus_one, optional=True) for x, hf in _INDEXER_NORMS.items()},
    },
    config=_config,
)
