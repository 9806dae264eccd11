"""Tiny models of the youngest and the rarest dense architectures, and their GGUF layout (conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, Weights
from tests.factories.other import permuted

Named = Iterator[tuple[str, Array]]

_OLMO: Config = {"model_type": "olmo", "clip_qkv": 1.5, "rms_norm_eps": 1e-5}


def _without_norms(c: Config, name: str, w: Array) -> Named:
    if "norm" not in name:
        yield name, w


def _olmo_rows(c: Config, name: str, w: Array) -> Named:
    heads = {"q_proj": c["num_attention_heads"], "k_proj": c["num_key_value_heads"]}
    module = name.rsplit(".", 2)[-2]
    yield name, permuted(w, heads[module]) if module in heads else w


def _factors(c: Config) -> Weights:
    scaling = c.get("rope_scaling") or {}
    kinds = [k for k in ("long", "short") if f"{k}_factor" in scaling]
    return {f"rope_factors_{k}.weight": np.array(scaling[f"{k}_factor"], np.float32) for k in kinds}


_STRETCHED: Config = {
    "type": "longrope",
    "short_factor": [1.0 + 0.01 * i for i in range(32)],
    "long_factor": [1.0 + 0.01 * i for i in range(32)],  # as short: which of the two is test_longrope.py's matter
    "short_mscale": 1.243163121016122,
    "long_mscale": 1.243163121016122,
    "original_max_position_embeddings": 4096,
}


def _phimoe_keys(c: Config) -> dict[str, Any]:
    stretched = {"rope.scaling.attn_factor": (1 + np.log(32) / np.log(4096)) ** 0.5} if c.get("rope_scaling") else {}
    return {
        "rope.dimension_count": 64,
        "attention.sliding_window": 512,
        "rope.scaling.original_context_length": c["original_max_position_embeddings"],
        **{name: float(value) for name, value in stretched.items()},
    }


def _phimoe_names(c: Config, name: str, w: Array) -> Named:
    parts = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    for old, new in parts.items() if ".experts." in name else ():
        name = name.replace(old, new)
    yield name, w


_PHIMOE: Config = {
    "model_type": "phimoe",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "original_max_position_embeddings": 512,
}


def _plamo_order(c: Config, name: str, w: Array) -> Named:
    """PlamoModel.shuffle_attn_*: from query h on key h % groups to query h on key h // shared."""
    shared, groups = c["n_shared_head"], c["num_key_value_heads"]
    if name.endswith("q_proj.weight"):
        w = w.reshape(shared, groups, -1, w.shape[1]).swapaxes(0, 1).reshape(w.shape)
    elif name.endswith("o_proj.weight"):
        w = w.reshape(w.shape[0], shared, groups, -1).swapaxes(1, 2).reshape(w.shape)
    yield name, np.ascontiguousarray(w)


_PLAMO: Config = {"model_type": "plamo", "num_attention_heads": 8, "num_key_value_heads": 2, "n_shared_head": 4}
_OFFSETS = {"pre_mixer_norm": 1.0, "post_mixer_norm": 0.2, "pre_mlp_norm": 1.0, "post_mlp_norm": 1.0 / 5**1.5}


def _plamo3_change(c: Config, name: str, w: Array) -> Named:
    """The offsets that Plamo3Model.modify_tensors adds; two names without a suffix."""
    module = name.removesuffix(".weight").rsplit(".", 1)[-1]
    offset = _OFFSETS.get(module, 1.0 if module.endswith("norm") else 0.0)
    bare = module in ("post_mixer_norm", "post_mlp_norm")
    yield name.replace(".weight", ".bare") if bare else name, w + np.float32(offset) if offset else w


def _plamo3_published(c: Config, name: str, w: Array) -> Named:
    """Norms such that adding the offset and taking it away again loses nothing."""
    module = name.removesuffix(".weight").rsplit(".", 1)[-1]
    if not module.endswith("norm"):
        yield name, w
        return
    offset = np.float32(_OFFSETS.get(module, 1.0))
    yield name, (np.float32(0.25) * (w - 1) + offset) - offset


_PLAMO3: Config = {
    "model_type": "plamo3",
    "num_hidden_layers": 4,
    "head_dim": 64,
    "window_size": 8,
    "sliding_window_pattern": 2,
    "rope_theta": 1e6,
    "rope_local_theta": 1e4,
}


def _plamo3_keys(c: Config) -> dict[str, Any]:
    return {
        "vocab_size": c["vocab_size"],
        "attention.sliding_window": c["window_size"],
        "attention.sliding_window_pattern": c["sliding_window_pattern"],
        "rope.freq_base_swa": c["rope_local_theta"],
    }


def _talkie_published(c: Config, name: str, w: Array) -> Named:
    yield name, w + np.float32(0.5) if name.endswith("_g") else w


def _talkie_shown(c: Config, name: str, w: Array) -> Named:
    if name.endswith(("attn_query.weight", "attn_key.weight")):
        signs = np.repeat([1, -1], c["head_dim"] // 2).astype(np.float32)
        w = (w.reshape(-1, c["head_dim"], w.shape[-1]) * signs[:, None]).reshape(w.shape)
    if name != "lm_head_gain.w_g":
        yield name, w


def _talkie_change(c: Config, name: str, w: Array) -> Named:
    for changed, value in _talkie_shown(c, name, w):
        yield changed, value[:, None] if changed.endswith("head_g") else value


_TALKIE: Config = {
    "model_type": "talkie",
    "head_dim": 64,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1.1920928955078125e-07,
    "rope_theta": 1e6,
}
_BLOCK = "model.blocks.{bid}."
_TALKIE_NAMES = {
    "model.embed": "token_embd",
    "lm_head": "output.weight",
    **{f"{_BLOCK}attn.attn_{a}": f"blk.{{bid}}.attn_{b}" for a, b in (("query", "q"), ("key", "k"), ("value", "v"))},
    _BLOCK + "attn.attn_resid": "blk.{bid}.attn_output",
    **{
        f"{_BLOCK}mlp.mlp_{a}": f"blk.{{bid}}.ffn_{b}"
        for a, b in (("gate", "gate"), ("linear", "up"), ("resid", "down"))
    },
    _BLOCK + "attn_gain.a_g": "blk.{bid}.attn_output.scale",
    _BLOCK + "mlp_gain.a_g": "blk.{bid}.ffn_down.scale",
    _BLOCK + "attn.head_gain.head_g": "blk.{bid}.attn_q_norm.weight",
    _BLOCK + "embed_skip.a_g": "blk.{bid}.layer_output_scale.weight",
}
HEAD_GAIN = 0.75


def _talkie_gain(c: Config, name: str, w: Array) -> Named:
    """The gain is a key in GGUF, so the tiny model's is a number both know."""
    for changed, value in _talkie_published(c, name, w):
        yield changed, np.full_like(value, HEAD_GAIN) if changed == "lm_head_gain.w_g" else value


_KINDS = ["sliding_attention"] * 3 + ["full_attention"]


def _pattern_keys(c: Config) -> dict[str, Any]:
    return {
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in c["layer_types"]],
    }


_SPARK: Config = {
    "model_type": "spark2_5",
    "num_hidden_layers": 4,
    "head_dim": 64,
    "sliding_window": 8,
    "layer_types": _KINDS,
    "hidden_act": "gelu",
    "rope_theta": GONE,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0},
    },
}
_ATTN = "model.layers.{bid}.self_attn."
_SPARK_NAMES = {
    "model.embedding": "token_embd",
    _ATTN + "q_k_v_proj": "blk.{bid}.attn_qkv",
    _ATTN + "g_proj": "blk.{bid}.attn_gate",
    _ATTN + "out_proj": "blk.{bid}.attn_output",
}


def _spark_keys(c: Config) -> dict[str, Any]:
    full, local = (c["rope_parameters"][kind] for kind in ("full_attention", "sliding_attention"))
    return {
        "vocab_size": c["vocab_size"],
        **_pattern_keys(c),
        "rope.freq_base": full["rope_theta"],
        "rope.freq_base_swa": local["rope_theta"],
        "rope.dimension_count": int(c["head_dim"] * full["partial_rotary_factor"]),
        "rope.dimension_count_swa": int(c["head_dim"] * local["partial_rotary_factor"]),
    }


def _apart(c: Config, name: str, w: Array) -> Named:
    """The other form llama.cpp takes: queries, keys and values as three tensors."""
    if "q_k_v_proj" not in name:
        yield name, w
        return
    heads, groups, width = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    for x, part in zip("qkv", np.split(w, [heads * width, (heads + groups) * width]), strict=True):
        yield name.replace("q_k_v_proj", f"{x}_proj"), part


_GLIMMER: Config = {
    "model_type": "muse_glimmer",
    "num_hidden_layers": 4,
    "head_dim": 64,
    "sliding_window": 8,
    "layer_types": _KINDS,
    "qk_scale_factor": 1.75,
    "final_logit_softcapping": 20.0,
    "output_multiplier": 0.5,
}
_GLIMMER_NAMES = {
    _ATTN + "gate_proj": "blk.{bid}.attn_gate",
    "model.layers.{bid}.post_attention_layernorm": "blk.{bid}.post_attention_norm",
    "model.layers.{bid}.pre_feedforward_layernorm": "blk.{bid}.ffn_norm",
    "model.layers.{bid}.post_feedforward_layernorm": "blk.{bid}.post_ffw_norm",
}


def _glimmer_change(c: Config, name: str, w: Array) -> Named:
    for changed, value in _olmo_rows(c, name, w):
        yield changed, value + np.float32(1) if changed.endswith("layernorm.weight") else value


def _glimmer_scales(c: Config) -> Weights:
    found: Weights = {}
    for i in range(c["num_hidden_layers"]):
        found[f"blk.{i}.attn_q_norm.weight"] = np.full(c["head_dim"], c["qk_scale_factor"], np.float32)
        found[f"blk.{i}.attn_k_norm.weight"] = np.ones(c["head_dim"], np.float32)
    return found


def _glimmer_keys(c: Config) -> dict[str, Any]:
    return {
        **_pattern_keys(c),
        "final_logit_softcapping": c["final_logit_softcapping"],
        "logit_scale": c["output_multiplier"],
    }


def _xverse_rows(c: Config, name: str, w: Array) -> Named:
    """XverseModel._reverse_hf_permute: keys by queries per key, where those are more than one."""
    heads, groups = c["num_attention_heads"], c["num_key_value_heads"]
    counts = {"q_proj": heads, "k_proj": heads // groups if groups != heads else heads}
    module = name.rsplit(".", 2)[-2]
    yield name, permuted(w, counts[module]) if module in counts else w


def _xverse(heads: int, **more: Any) -> Case:
    config = {"model_type": "xverse", "num_attention_heads": heads, "num_key_value_heads": 2}
    return Case("xverse", config, lambda c: {"rope.dimension_count": 256 // heads}, _xverse_rows, **more)


def _plus_one(c: Config, name: str, w: Array) -> Named:
    yield name, w + np.float32(1) if name.endswith("norm.weight") else w


_GEMMA2: Config = {
    "model_type": "gemma2",
    "head_dim": 64,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "query_pre_attn_scalar": 64,
    "sliding_window": 8,
    "rope_scaling": {"rope_type": "linear", "factor": 4.0},
}
CASES: dict[str, Case] = {
    "xverse_grouped": _xverse(4),
    "xverse_grouped_by_four": _xverse(8, llama_cpp=False),  # llama.cpp reads these keys in another order
    "gemma2_stretched": Case(
        "gemma2",
        _GEMMA2,
        lambda c: {
            "attn_logit_softcapping": c["attn_logit_softcapping"],
            "final_logit_softcapping": c["final_logit_softcapping"],
            "attention.sliding_window": c["sliding_window"],
        },
        _plus_one,
    ),
    "olmo": Case(
        "olmo",
        _OLMO,
        lambda c: {
            "attention.layer_norm_rms_epsilon": None,
            "attention.layer_norm_epsilon": 1e-5,
            "attention.clamp_kqv": c["clip_qkv"],
        },
        _olmo_rows,
        hugging_face=_without_norms,
    ),
    "phimoe": Case("phimoe", _PHIMOE, _phimoe_keys, hugging_face=_phimoe_names, llama_cpp=False),
    "phimoe_long": Case(
        "phimoe",
        {
            **_PHIMOE,
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "rope_scaling": _STRETCHED,
        },
        _phimoe_keys,
        hugging_face=_phimoe_names,
        extra=_factors,
        llama_cpp=False,
    ),
    "plamo": Case("plamo", _PLAMO, lambda c: {"rope.freq_base": None}, _plamo_order, shown=_plamo_order),
    "plamo3": Case(
        "plamo3",
        _PLAMO3,
        _plamo3_keys,
        _plamo3_change,
        names={
            "model.layers.layers.{bid}.post_mixer_norm.bare": "blk.{bid}.post_attention_norm",
            "model.layers.layers.{bid}.post_mlp_norm.bare": "blk.{bid}.post_ffw_norm",
        },
        hugging_face=_plamo3_published,
    ),
    "talkie": Case(
        "talkie",
        _TALKIE,
        lambda c: {"logit_scale": HEAD_GAIN},
        _talkie_change,
        names=_TALKIE_NAMES,
        hugging_face=_talkie_gain,
        shown=_talkie_shown,
    ),
    "spark2_5": Case("spark2_5", _SPARK, _spark_keys, names=_SPARK_NAMES),
    "spark2_5_apart": Case("spark2_5", _SPARK, _spark_keys, _apart, names=_SPARK_NAMES),
    "muse_glimmer": Case(
        "muse-glimmer", _GLIMMER, _glimmer_keys, _glimmer_change, names=_GLIMMER_NAMES, extra=_glimmer_scales
    ),
}
