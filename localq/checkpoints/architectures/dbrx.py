"""DBRX: fused q, k and v with clipped values, layer norms without biases, every layer with experts.

Hugging Face stacks all experts' rows in one matrix and stores `w2` transposed; GGUF has a stack per projection, all
`[experts, out, in]`. They appear here as mlx-lm names them, a matrix per expert: `ffn.experts.{e}.w1.weight`.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder, expert_counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_BLOCK = "transformer.blocks.{i}."


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False, rms=False)
    experts, used = expert_counts(keys)
    if config["layer_norm_eps"] != 1e-5:
        keys.refuse("attention.layer_norm_epsilon")
    return {
        "vocab_size": config["vocab_size"],
        "d_model": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "max_seq_len": config["max_position_embeddings"],
        "attn_config": {
            "kv_n_heads": config["num_key_value_heads"],
            "clip_qkv": keys.number("attention.clamp_kqv"),
            "rope_theta": config["rope_theta"],
        },
        "ffn_config": {
            "ffn_hidden_size": config["intermediate_size"],
            "moe_num_experts": experts,
            "moe_top_k": used,
        },
    }


ARCHITECTURE = Architecture(
    model_type="dbrx",
    names={
        "token_embd.weight": "transformer.wte.weight",
        "output_norm.weight": "transformer.norm_f.weight",
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": _BLOCK + "norm_attn_norm.norm_1.weight",
        "blk.{i}.attn_output_norm.weight": _BLOCK + "norm_attn_norm.norm_2.weight",
        "blk.{i}.attn_qkv.weight": _BLOCK + "norm_attn_norm.attn.Wqkv.weight",
        "blk.{i}.attn_output.weight": _BLOCK + "norm_attn_norm.attn.out_proj.weight",
        "blk.{i}.ffn_gate_inp.weight": _BLOCK + "ffn.router.layer.weight",
        "blk.{i}.ffn_gate_exps.weight": _BLOCK + "ffn.experts.{e}.w1.weight",
        "blk.{i}.ffn_down_exps.weight": _BLOCK + "ffn.experts.{e}.w2.weight",
        "blk.{i}.ffn_up_exps.weight": _BLOCK + "ffn.experts.{e}.v1.weight",
    },
    config=_config,
)
