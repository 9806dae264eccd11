"""Tiny models of architectures with ordinary attention, and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, Weights


def permuted(w: Array, heads: int) -> Array:
    """`LlamaModel.permute`: the halves of every head interleaved."""
    return np.ascontiguousarray(w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape))


def llama_rows(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Queries and keys in Llama's row order."""
    heads = {"q_proj": c["num_attention_heads"], "k_proj": c["num_key_value_heads"]}
    module = name.rsplit(".", 2)[-2]
    yield name.replace("correction_bias", "correction.bias"), permuted(w, heads[module]) if module in heads else w


def _moe_keys(c: Config) -> dict[str, Any]:
    return {
        "rope.dimension_count": c.get("head_dim", c["hidden_size"] // c["num_attention_heads"]),
        "leading_dense_block_count": c["first_k_dense_replace"],
        "vocab_size": c["vocab_size"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_weights_scale": float(c.get("routed_scaling_factor", 1.0)),
        "expert_shared_count": c.get("num_shared_experts", c.get("n_shared_experts")),
        "expert_weights_norm": c.get("norm_topk_prob"),
    }


_EXPERTS: Config = {
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
}


def _dots1_keys(c: Config) -> dict[str, Any]:
    return {**_moe_keys(c), "rope.dimension_count": None, "vocab_size": None}


def _experts_apart(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """mlx-lm's dots1 keeps its stacks under the name of the single experts."""
    if ".mlp.experts." in name and w.ndim == 3:
        yield from ((name.replace(".experts.", f".experts.{e}."), w[e]) for e in range(len(w)))
    else:
        yield name, w


def _same(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("correction_bias", "correction.bias"), w


_BAILING: Config = {
    "model_type": "bailing_moe",
    "moe_intermediate_size": 64,
    "num_experts": 8,
    "num_shared_experts": 2,
    "num_experts_per_tok": 3,
    "norm_topk_prob": True,
    "first_k_dense_replace": 0,
    "use_bias": False,
}


def _bailing_published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("mlp.gate.gate_proj.", "mlp.gate."), w


def _bailing_rows(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if not name.endswith("query_key_value.weight"):
        yield name, w
        return
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    head = c["hidden_size"] // heads
    q, k, v = np.split(w, [heads * head, (heads + kv) * head])
    stem = name.removesuffix("query_key_value.weight").replace("attention", "self_attn")
    yield from ((f"{stem}{x}_proj.weight", p) for x, p in (("q", permuted(q, heads)), ("k", permuted(k, kv)), ("v", v)))


def _bailing2_keys(c: Config) -> dict[str, Any]:
    head = c["hidden_size"] // c["num_attention_heads"]
    return {
        **_moe_keys(c),
        "rope.dimension_count": int(head * c["partial_rotary_factor"]),
        "expert_shared_feed_forward_length": c["moe_intermediate_size"] * c["num_shared_experts"],
    }


def _bailing2_names(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace(".expert_bias", ".expert_bias.bias"), w


_W = {"w1": "gate", "v1": "up", "w2": "down"}
_DBRX: Config = {
    "model_type": "dbrx",
    "d_model": 256,
    "n_layers": 2,
    "n_heads": 4,
    "max_seq_len": 512,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 1.5, "rope_theta": 5e5},
    "ffn_config": {"ffn_hidden_size": 256, "moe_num_experts": 4, "moe_top_k": 2},
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"), GONE),
    **dict.fromkeys(("num_hidden_layers", "max_position_embeddings", "rms_norm_eps", "rope_theta"), GONE),
}


_DBRX_NAMES = {f"transformer.blocks.{{bid}}.ffn.experts.{a}": f"blk.{{bid}}.ffn_{b}_exps" for a, b in _W.items()}


def _dbrx_keys(c: Config) -> dict[str, Any]:
    return {
        "feed_forward_length": c["ffn_config"]["ffn_hidden_size"],
        "attention.head_count_kv": c["attn_config"]["kv_n_heads"],
        "rope.freq_base": c["attn_config"]["rope_theta"],
        "attention.clamp_kqv": c["attn_config"]["clip_qkv"],
        "expert_count": c["ffn_config"]["moe_num_experts"],
        "expert_used_count": c["ffn_config"]["moe_top_k"],
        "attention.layer_norm_epsilon": 1e-5,
    }


def _longrope(half: int, **more: Any) -> Config:
    return {
        "rope_type": "longrope",
        "type": "longrope",
        "short_factor": [1.0 + 0.01 * i for i in range(half)],
        "long_factor": [1.0 + 0.5 * i for i in range(half)],
        "original_max_position_embeddings": 512,
        **more,
    }


def _factors(c: Config) -> Weights:
    scaling = c.get("rope_scaling") or {}
    kinds = [k for k in ("long", "short") if f"{k}_factor" in scaling]
    return {f"rope_factors_{k}.weight": np.array(scaling[f"{k}_factor"], np.float32) for k in kinds}


def _minicpm_keys(c: Config) -> dict[str, Any]:
    return {
        "embedding_scale": float(c["scale_emb"]),
        "residual_scale": c["scale_depth"] / c["num_hidden_layers"] ** 0.5,
        "logit_scale": c["hidden_size"] / c["dim_model_base"],
        "rope.scaling.type": "longrope" if c.get("rope_scaling") else None,
    }


_SCALES: Config = {"scale_emb": 12.0, "scale_depth": 1.4, "dim_model_base": 64}


def _minicpm3_keys(c: Config) -> dict[str, Any]:
    return {
        "vocab_size": c["vocab_size"],
        "attention.q_lora_rank": c["q_lora_rank"],
        "attention.kv_lora_rank": c["kv_lora_rank"],
        "attention.key_length": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
        "rope.dimension_count": c["qk_rope_head_dim"],
        "rope.freq_base": None,
    }


_SLIDING: Config = {
    "num_hidden_layers": 4,
    "head_dim": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "n_group": 1,
    "topk_group": 1,
    "sliding_window": 8,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
}


def _sliding_keys(c: Config) -> dict[str, Any]:
    return {
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in c["layer_types"]],
    }


def _afmoe_names(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace(".expert_bias", ".expert_bias.bias"), w


def _exaone_published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias"), w


def _deci_rows(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name, permuted(w, len(w) // 64) if name.endswith(("q_proj.weight", "k_proj.weight")) else w


CASES: dict[str, Case] = {
    "deepseek": Case(
        "deepseek",
        {"model_type": "deepseek", **_EXPERTS},
        lambda c: {**_moe_keys(c), "rope.scaling.type": "none"},
        llama_rows,
    ),
    "dots1": Case(
        "dots1",
        {
            "model_type": "dots1",
            **_EXPERTS,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "scoring_func": "sigmoid",
            "head_dim": 64,
            "num_key_value_heads": 4,
        },
        _dots1_keys,
        _same,
        hugging_face=_experts_apart,
    ),
    "bailingmoe": Case("bailingmoe", _BAILING, _moe_keys, _bailing_rows, hugging_face=_bailing_published),
    "bailingmoe2": Case(
        "bailingmoe2",
        {
            **_BAILING,
            "first_k_dense_replace": 1,
            "use_qk_norm": True,
            "partial_rotary_factor": 0.5,
            "score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
            "routed_scaling_factor": 2.5,
            "n_group": 4,
            "topk_group": 2,
            "num_shared_experts": 1,
        },
        _bailing2_keys,
        _bailing2_names,
        hugging_face=_bailing_published,
    ),
    "dbrx": Case("dbrx", _DBRX, _dbrx_keys, names=_DBRX_NAMES),
    "minicpm": Case("minicpm", {"model_type": "minicpm", **_SCALES}, _minicpm_keys, llama_rows),
    "minicpm4": Case(
        "minicpm",
        {"model_type": "minicpm", **_SCALES, "rope_scaling": _longrope(32)},
        _minicpm_keys,
        llama_rows,
        extra=_factors,
    ),
    "minicpm3": Case(
        "minicpm3",
        {
            "model_type": "minicpm3",
            **_SCALES,
            "dim_model_base": 256,
            "num_key_value_heads": 4,
            "q_lora_rank": 128,
            "kv_lora_rank": 64,
            "qk_nope_head_dim": 32,
            "qk_rope_head_dim": 32,
            "rms_norm_eps": 1e-5,
            "rope_scaling": _longrope(16),
        },
        _minicpm3_keys,
        extra=_factors,
    ),
    "afmoe": Case(
        "afmoe",
        {
            "model_type": "afmoe",
            **_SLIDING,
            "num_shared_experts": 1,
            "num_dense_layers": 1,
            "route_norm": True,
            "route_scale": 2.5,
            "score_func": "sigmoid",
            "mup_enabled": True,
        },
        lambda c: {
            **_sliding_keys(c),
            "expert_gating_func": 2,
            "expert_shared_count": c["num_shared_experts"],
            "leading_dense_block_count": c["num_dense_layers"],
            "expert_weights_norm": c["route_norm"],
            "expert_weights_scale": c["route_scale"],
            "attention.sliding_window_pattern": None,
        },
        _afmoe_names,
        hugging_face=_experts_apart,
    ),
    "exaone_moe": Case(
        "exaone-moe",
        {
            "model_type": "exaone_moe",
            **_SLIDING,
            "num_shared_experts": 1,
            "is_moe_layer": [False, True, True, True],
            "scoring_func": "sigmoid",
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "first_k_dense_replace": 1,
        },
        lambda c: {
            **_sliding_keys(c),
            "expert_shared_count": c["num_shared_experts"],
            "expert_shared_feed_forward_length": c["moe_intermediate_size"],
            "leading_dense_block_count": c["first_k_dense_replace"],
            "expert_weights_norm": c["norm_topk_prob"],
            "expert_weights_scale": c["routed_scaling_factor"],
            "nextn_predict_layers": 0,
            "rope.scaling.type": "none",
        },
        _same,
        hugging_face=_exaone_published,
    ),
    "nanbeige": Case(
        "nanbeige",
        {"model_type": "nanbeige", "head_dim": 64, "num_loops": 2, "skip_loop_final_norm": False},
        lambda c: {
            "rope.dimension_count": c["head_dim"],
            "num_loops": c["num_loops"],
            "skip_loop_final_norm": c["skip_loop_final_norm"],
        },
        llama_rows,
    ),
    "mellum": Case(
        "mellum",
        {
            "model_type": "mellum",
            **_SLIDING,
            "norm_topk_prob": True,
            "n_group": GONE,
            "topk_group": GONE,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 8.0,
                    "original_max_position_embeddings": 64,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                },
            },
        },
        lambda c: {
            **_sliding_keys(c),
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 8.0,
            "rope.scaling.original_context_length": 64,
            "rope.scaling.yarn_beta_fast": 32.0,
            "rope.scaling.yarn_beta_slow": 1.0,
        },
    ),
    "deci": Case(
        "deci",
        {
            "model_type": "nemotron-nas",
            "num_hidden_layers": 3,
            "num_key_value_heads": GONE,
            "intermediate_size": GONE,
            "block_configs": [
                {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}},
                {"attention": {"no_op": True}, "ffn": {"ffn_mult": 2.5}},
                {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 1.5}},
            ],
        },
        lambda c: {
            "attention.head_count": [4, 0, 4],
            "attention.head_count_kv": [2, 0, 1],
            "feed_forward_length": [256, 512, 256],
            "attention.key_length": 64,
            "attention.value_length": 64,
            "rope.dimension_count": 64,
            "vocab_size": c["vocab_size"],
        },
        _deci_rows,
    ),
}
