"""Tiny models with state-space layers (Mamba 1 and 2), and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.factories.hybrid import Named, kv_of, minus_exp, published
from tests.factories.more import GONE, Array, Case, Config
from tests.factories.other import llama_rows


def _mamba2_change(c: Config, name: str, w: Array) -> Named:
    """Mamba2Model.modify_tensors, with the groups of the config."""
    if name.endswith(".dt_bias"):
        name = name.replace(".dt_bias", ".dt_proj.bias")
    elif "conv1d.weight" in name:
        w = w.squeeze(1)
    elif name.endswith(".A_log"):
        w = minus_exp(w)[:, None]
    elif name.endswith(".D"):
        w = w[:, None]
    elif name.endswith((".mixer.norm.weight", ".mamba.norm.weight")):
        w = w.reshape(c.get("n_groups", c.get("mamba_n_groups")), -1)
    yield name, w


def _mamba2_keys(c: Config) -> dict[str, Any]:
    return {
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.head_count_kv": None,
        "rope.freq_base": None,
        "ssm.conv_kernel": c["conv_kernel"],
        "ssm.inner_size": c["num_heads"] * c["head_dim"],
        "ssm.state_size": c["state_size"],
        "ssm.time_step_rank": c["num_heads"],
        "ssm.group_count": c["n_groups"],
        "attention.key_length": None,
        "attention.value_length": None,
        "attention.layer_norm_epsilon": None,
        "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"],
    }


_MAMBA2: Config = {
    "model_type": "mamba2",
    "num_heads": 8,
    "head_dim": 64,
    "n_groups": 2,
    "state_size": 32,
    "conv_kernel": 4,
    "expand": 2,
    "use_bias": False,
    "use_conv_bias": True,
    "layer_norm_epsilon": 1e-4,
    "time_step_limit": [0.0, 1e30],
    "time_step_rank": 16,
    "intermediate_size": 512,
    "rms_norm_eps": GONE,
    "num_attention_heads": GONE,
    "num_key_value_heads": GONE,
}


def _mamba_change(c: Config, name: str, w: Array) -> Named:
    yield name, minus_exp(w) if name.endswith("A_log") else w.squeeze(1) if "conv1d.weight" in name else w


def _mamba_keys(c: Config) -> dict[str, Any]:
    return {
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.head_count_kv": None,
        "rope.freq_base": None,
        "ssm.conv_kernel": c["conv_kernel"],
        "ssm.inner_size": c["intermediate_size"],
        "ssm.state_size": c["state_size"],
        "ssm.time_step_rank": c["time_step_rank"],
        "ssm.dt_b_c_rms": c["model_type"] == "falcon_mamba",
        "attention.layer_norm_epsilon": None,
        "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"],
    }


_MAMBA: Config = {
    **{k: v for k, v in _MAMBA2.items() if k not in ("num_heads", "head_dim", "n_groups", "time_step_limit")},
    "model_type": "mamba",
    "state_size": 16,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}


def _nemotron_keys(c: Config) -> dict[str, Any]:
    pattern = c["hybrid_override_pattern"]
    width = c.get("moe_intermediate_size", c["intermediate_size"])
    out = {
        "attention.head_count_kv": [c["num_key_value_heads"] if kind == "*" else 0 for kind in pattern],
        "feed_forward_length": [width if kind in "-E" else 0 for kind in pattern],
        "vocab_size": c["vocab_size"],
        "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"],
        "ssm.conv_kernel": c["conv_kernel"],
        "ssm.inner_size": c["mamba_num_heads"] * c["mamba_head_dim"],
        "ssm.state_size": c["ssm_state_size"],
        "ssm.time_step_rank": c["mamba_num_heads"],
        "ssm.group_count": c["n_groups"],
        "rope.scaling.finetuned": False,
    }
    if "n_routed_experts" in c:
        out |= {
            "expert_feed_forward_length": c["moe_intermediate_size"],
            "expert_shared_feed_forward_length": c["moe_shared_expert_intermediate_size"],
            "expert_shared_count": c["n_shared_experts"],
            "expert_weights_norm": c["norm_topk_prob"],
            "expert_weights_scale": c["routed_scaling_factor"],
            "expert_group_used_count": None,
            "moe_latent_size": c.get("moe_latent_size"),
        }
    return out


_NEMOTRON: Config = {
    "model_type": "nemotron_h",
    "hybrid_override_pattern": "M-*M",
    "num_hidden_layers": 4,
    "head_dim": 64,
    "mamba_num_heads": 8,
    "mamba_head_dim": 32,
    "mamba_proj_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "use_conv_bias": True,
    "n_groups": 2,
    "ssm_state_size": 32,
    "conv_kernel": 4,
    "layer_norm_epsilon": 1e-5,
    "rms_norm_eps": GONE,
}
_NEMOTRON_MOE: Config = {
    **_NEMOTRON,
    "hybrid_override_pattern": "ME*M",
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 1,
    "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 128,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}


def _nemotron_published(c: Config, name: str, w: Array) -> Named:
    for changed, value in published(c, name, w):
        yield changed.replace(".fc1.", ".up_proj.").replace(".fc2.", ".down_proj."), value


def _nemotron_change(c: Config, name: str, w: Array) -> Named:
    for changed, value in _mamba2_change(c, name, w):
        yield from llama_rows(c, changed, value)


_NEMOTRON_NAMES = {
    f"backbone.layers.{{bid}}.mixer.experts.{x}_proj": f"blk.{{bid}}.ffn_{x}_exps" for x in ("up", "down")
}


def _granite_keys(c: Config) -> dict[str, Any]:
    return {
        "attention.head_count_kv": kv_of(c, "attention"),
        "ssm.conv_kernel": c["mamba_d_conv"],
        "ssm.inner_size": c["mamba_n_heads"] * c["mamba_d_head"],
        "ssm.state_size": c["mamba_d_state"],
        "ssm.time_step_rank": c["mamba_n_heads"],
        "ssm.group_count": c["mamba_n_groups"],
        "rope.scaling.finetuned": False,
        "context_length": 2**20,
        "attention.scale": c["attention_multiplier"],
        "embedding_scale": c["embedding_multiplier"],
        "residual_scale": c["residual_multiplier"],
        "logit_scale": c["logits_scaling"],
        "vocab_size": c["vocab_size"],
        "expert_shared_feed_forward_length": c["shared_intermediate_size"] if "num_local_experts" in c else None,
    }


def _granite_change(c: Config, name: str, w: Array) -> Named:
    for changed, value in _mamba2_change(c, name, w):
        for shown, part in _granite_shown(c, changed, value):
            if ".shared_mlp.input_linear." in shown:
                gate, up = np.split(part, 2)
                stem = shown.replace("shared_mlp.input_linear", "{}")
                if "num_local_experts" in c:
                    yield stem.format("shared_mlp.gate_proj"), gate
                    yield stem.format("shared_mlp.up_proj"), up
                else:
                    yield stem.format("mlp.gate_proj"), gate
                    yield stem.format("mlp.up_proj"), up
            elif ".shared_mlp.output_linear." in shown and "num_local_experts" not in c:
                yield shown.replace("shared_mlp.output_linear", "mlp.down_proj"), part
            else:
                yield from llama_rows(c, shown, part)


def _granite_shown(c: Config, name: str, w: Array) -> Named:
    """The experts' gate and up apart, as mlx-lm names them."""
    if name.endswith("block_sparse_moe.input_linear.weight"):
        half = w.shape[1] // 2
        yield name.replace("input_linear", "switch_mlp.gate_proj"), w[:, :half]
        yield name.replace("input_linear", "switch_mlp.up_proj"), w[:, half:]
    elif name.endswith("block_sparse_moe.output_linear.weight"):
        yield name.replace("output_linear", "switch_mlp.down_proj"), w
    else:
        yield name, w


def _granite_published(c: Config, name: str, w: Array) -> Named:
    """Fused as Hugging Face has it: the other half is drawn anew."""
    for apart, stem in ((".mlp.", ".shared_mlp."), (".switch_mlp.", ".")):
        if f"{apart}up_proj." in name:
            return
        if f"{apart}gate_proj." in name:
            rng = np.random.default_rng(len(name) + int(1e6 * abs(float(w.flat[0]))))
            up = rng.standard_normal(w.shape, dtype=np.float32) / np.float32(w.shape[-1] ** 0.5)
            yield name.replace(f"{apart}gate_proj", f"{stem}input_linear"), np.concatenate([w, up], axis=-2)
            return
        name = name.replace(f"{apart}down_proj", f"{stem}output_linear")
    yield from published(c, name, w)


_GRANITE: Config = {
    "model_type": "granitemoehybrid",
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "num_hidden_layers": 3,
    "layer_types": ["mamba", "attention", "mamba"],
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.03,
    "residual_multiplier": 0.25,
    "logits_scaling": 4.0,
    "shared_intermediate_size": 256,
    "mamba_n_heads": 16,
    "mamba_d_head": 32,
    "mamba_d_state": 32,
    "mamba_d_conv": 4,
    "mamba_n_groups": 1,
    "mamba_proj_bias": False,
    "mamba_conv_bias": True,
    "position_embedding_type": "nope",
    "tie_word_embeddings": True,
}
_GRANITE_NAMES = {
    **{f"model.layers.{{bid}}.shared_mlp.{x}_proj": f"blk.{{bid}}.ffn_{x}_shexp" for x in ("gate", "up")},
    "model.layers.{bid}.shared_mlp.output_linear": "blk.{bid}.ffn_down_shexp",
    **{
        f"model.layers.{{bid}}.block_sparse_moe.switch_mlp.{x}_proj": f"blk.{{bid}}.ffn_{x}_exps"
        for x in ("gate", "up", "down")
    },
}


def _jamba_keys(c: Config) -> dict[str, Any]:
    return {
        "attention.head_count_kv": kv_of({**c, "layer_types": c["layers_block_type"]}, "attention"),
        "rope.freq_base": None,
        "ssm.conv_kernel": c["mamba_d_conv"],
        "ssm.inner_size": c["mamba_expand"] * c["hidden_size"],
        "ssm.state_size": c["mamba_d_state"],
        "ssm.time_step_rank": c["mamba_dt_rank"],
    }


_JAMBA: Config = {
    "model_type": "jamba",
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "attention", "mamba", "mamba"],
    "attn_layer_offset": 1,
    "attn_layer_period": 4,
    "expert_layer_offset": 1,
    "expert_layer_period": 2,
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_dt_rank": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}


def _falcon_scaled(c: Config, name: str, w: Array) -> Named:
    """FalconH1Model.modify_tensors: the scales multiplied in."""
    inner, groups = c["mamba_d_ssm"], c["mamba_n_groups"] * c["mamba_d_state"]
    f = np.float32
    if "mamba.in_proj" in name:
        sizes = [inner, inner, groups, groups, c["mamba_n_heads"]]
        rows = np.repeat(np.array(c["ssm_multipliers"], f), sizes)
        yield name, w * f(c["ssm_in_multiplier"]) * rows[:, None]
        return
    for part, factors in {
        "down_proj": [c["mlp_multipliers"][1]],
        "gate_proj": [c["mlp_multipliers"][0]],
        "k_proj": [c["key_multiplier"], c["attention_in_multiplier"]],
        "q_proj": [c["attention_in_multiplier"]],
        "v_proj": [c["attention_in_multiplier"]],
        ".o_proj": [c["attention_out_multiplier"]],
        "out_proj": [c["ssm_out_multiplier"]],
        "lm_head": [c["lm_head_multiplier"]],
        "embed_tokens": [c["embedding_multiplier"]],
    }.items():
        if part in name:
            for factor in factors:
                w = w * f(factor)
            break
    yield name, w


def _falcon_change(c: Config, name: str, w: Array) -> Named:
    for changed, value in _falcon_scaled(c, name, w):
        for stored, last in _mamba2_change(c, changed, value):
            # gguf-py knows this norm by its full name: the converter writes no suffix
            yield stored.replace("pre_ff_layernorm.weight", "pre_ff_layernorm.bare"), last


def _falcon_keys(c: Config) -> dict[str, Any]:
    return {
        "vocab_size": c["vocab_size"],
        "ssm.conv_kernel": c["mamba_d_conv"],
        "ssm.inner_size": c["mamba_d_ssm"],
        "ssm.state_size": c["mamba_d_state"],
        "ssm.time_step_rank": c["mamba_n_heads"],
        "ssm.group_count": c["mamba_n_groups"],
    }


_FALCON: Config = {
    "model_type": "falcon_h1",
    "head_dim": 64,
    "mamba_d_ssm": 384,
    "mamba_n_heads": 6,
    "mamba_d_head": 64,
    "mamba_n_groups": 2,
    "mamba_d_state": 32,
    "mamba_d_conv": 4,
    "mamba_conv_bias": True,
    "mamba_rms_norm": True,
    "mamba_norm_before_gate": False,
    "attention_in_multiplier": 0.8,
    "attention_out_multiplier": 0.9375,
    "embedding_multiplier": 5.5,
    "key_multiplier": 0.39,
    "lm_head_multiplier": 0.04,
    "mlp_multipliers": [0.88, 0.58],
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.23,
    "ssm_multipliers": [0.35, 0.25, 0.36, 0.5, 0.3],
    "rope_theta": 1e11,
}

CASES: dict[str, Case] = {
    "mamba2": Case("mamba2", _MAMBA2, _mamba2_keys, _mamba2_change, hugging_face=published),
    "mamba": Case("mamba", _MAMBA, _mamba_keys, _mamba_change, hugging_face=published),
    "falcon_mamba": Case(
        "mamba", {**_MAMBA, "model_type": "falcon_mamba"}, _mamba_keys, _mamba_change, hugging_face=published
    ),
    "nemotron_h": Case("nemotron_h", _NEMOTRON, _nemotron_keys, _nemotron_change, hugging_face=_nemotron_published),
    **{
        name: Case(
            "nemotron_h_moe",
            {**_NEMOTRON_MOE, **latent},
            _nemotron_keys,
            _nemotron_change,
            names=_NEMOTRON_NAMES,
            hugging_face=_nemotron_published,
        )
        for name, latent in (("nemotron_h_moe", {}), ("nemotron_h_latent", {"moe_latent_size": 128}))
    },
    "granitehybrid": Case("granitehybrid", _GRANITE, _granite_keys, _granite_change, hugging_face=_granite_published),
    "granitehybrid_moe": Case(
        "granitehybrid",
        {**_GRANITE, "num_local_experts": 8, "num_experts_per_tok": 3},
        _granite_keys,
        _granite_change,
        names=_GRANITE_NAMES,
        hugging_face=_granite_published,
        shown=_granite_shown,
    ),
    "jamba": Case("jamba", _JAMBA, _jamba_keys, _mamba_change, hugging_face=published),
    "falcon_h1": Case(
        "falcon-h1",
        _FALCON,
        _falcon_keys,
        _falcon_change,
        names={"model.layers.{bid}.pre_ff_layernorm.bare": "blk.{bid}.ffn_norm"},
        hugging_face=published,
        shown=_falcon_scaled,
    ),
}
