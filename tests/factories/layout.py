"""Hugging Face weights as llama.cpp's converter lays them out: GGUF names, row order, norms, stacks, factor tensors.

Facts from llama.cpp's conversion/{llama,qwen,gemma,phi,gpt_oss}.py; independent of localq's own tables on purpose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tests.factories.tiny import TinyModel, Weights

_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",  # phi3 keeps gate and up fused, gate first
    "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
}
_GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_EXPERT = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def gguf_tensors(model: TinyModel) -> Weights:
    """GGUF name -> float32 array in the orientation and row order llama.cpp expects."""
    out: Weights = {}
    experts: dict[str, list[NDArray[np.float32]]] = {}
    for name, w in model.weights.items():
        if name in _TOP:
            out[_TOP[name]] = _norm(model, name, w)
            continue
        layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name).groups()
        if m := re.fullmatch(r"(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight", rest):
            experts.setdefault(f"blk.{layer}.ffn_{_EXPERT[m[2]]}_exps.weight", []).append(w)
        elif rest == "self_attn.sinks":
            out[f"blk.{layer}.attn_sinks.weight"] = w
        elif rest.startswith("mlp.experts."):
            out.update((f"blk.{layer}.{n}", a) for n, a in split_gpt_oss_experts(rest, w))
        else:
            module, kind = rest.rsplit(".", 1)
            out[f"blk.{layer}.{_layer_name(model, module)}.{kind}"] = _permuted(model, module, _norm(model, name, w))
    out.update((name, np.stack(stack)) for name, stack in experts.items())
    out.update(_rope_tensors(model))
    return out


def _layer_name(model: TinyModel, module: str) -> str:
    if model.config["model_type"].startswith("gemma") and module in _GEMMA:
        return _GEMMA[module]
    if model.config["model_type"] == "gpt_oss" and module == "post_attention_layernorm":
        return "post_attention_norm"
    return _LAYER[module]


def _norm(model: TinyModel, name: str, w: NDArray[np.float32]) -> NDArray[np.float32]:
    gemma = model.config["model_type"].startswith("gemma")
    return w + np.float32(1) if gemma and name.endswith("norm.weight") else w


def _permuted(model: TinyModel, module: str, w: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of Q and K from half-split to interleaved rotary order, for the architectures converted as "llama"."""
    if model.config["model_type"] not in ("llama", "mistral", "mixtral"):
        return w
    heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(module)
    if heads is None:
        return w
    split = w.reshape(model.config[heads], 2, -1, *w.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(w.shape))


def split_gpt_oss_experts(rest: str, w: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """gate_up is interleaved along its output; 16-bit experts lie [expert, in, out]."""
    if rest == "mlp.experts.down_proj":
        yield "ffn_down_exps.weight", np.ascontiguousarray(w.swapaxes(-1, -2))
    elif rest == "mlp.experts.down_proj_bias":
        yield "ffn_down_exps.bias", w
    elif rest == "mlp.experts.gate_up_proj":
        turned = w.swapaxes(-1, -2)
        yield "ffn_gate_exps.weight", np.ascontiguousarray(turned[:, 0::2])
        yield "ffn_up_exps.weight", np.ascontiguousarray(turned[:, 1::2])
    else:
        yield "ffn_gate_exps.bias", np.ascontiguousarray(w[:, 0::2])
        yield "ffn_up_exps.bias", np.ascontiguousarray(w[:, 1::2])


def _rope_tensors(model: TinyModel) -> Iterator[tuple[str, NDArray[np.float32]]]:
    scaling = model.config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama3_factors(model, scaling)
    if "long_factor" in scaling:
        yield "rope_factors_long.weight", np.array(scaling["long_factor"], np.float32)
        yield "rope_factors_short.weight", np.array(scaling["short_factor"], np.float32)


def _llama3_factors(model: TinyModel, scaling: dict[str, float]) -> NDArray[np.float32]:
    """What each rotary frequency is divided by (Llama 3.1's rule)."""
    dim, base, original = model.head_dim, model.config["rope_theta"], scaling["original_max_position_embeddings"]
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    out = []
    for i in range(0, dim, 2):
        turns = original / (2 * math.pi * base ** (i / dim))  # turns within the original context
        if turns > high:
            out.append(1.0)
        elif turns < low:
            out.append(factor)
        else:
            smooth = (turns - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)
