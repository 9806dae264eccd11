"""Tiny random models, one per architecture: a Hugging Face config and float32 weights under Hugging Face names.

Nothing here imports localq: these models are the oracle for its names, configs and loaders. Weights follow the
published checkpoints of each architecture (names, orientation `[out, in]`, fused or split projections).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.factories.vocabulary import Vocabulary, vocabulary

Weights = dict[str, NDArray[np.float32]]

_BASE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "torch_dtype": "float32",
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 4096,
    "truncate": False,
}
_MOE = {"intermediate_size": 256, "num_experts_per_tok": 2}


def _longrope(half: int) -> dict[str, Any]:
    short = [round(1.0 + 0.01 * i, 4) for i in range(half)]
    long = [round(1.0 + 0.75 * i, 4) for i in range(half)]
    return {"type": "longrope", "short_factor": short, "long_factor": long}


# arch -> (model_type, HF class, vocabulary kind, what differs from _BASE)
_ARCHS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "llama": ("llama", "LlamaForCausalLM", "spm", {"head_dim": 64}),
    "llama3": (
        "llama",
        "LlamaForCausalLM",
        "bpe",
        {
            "head_dim": 64,
            "rope_theta": 500000.0,
            "rope_scaling": _LLAMA3_ROPE,
            "tie_word_embeddings": True,
            "max_position_embeddings": 131072,
        },
    ),
    "mistral": ("mistral", "MistralForCausalLM", "spm", {"head_dim": 128, "sliding_window": None, "rope_theta": 1e6}),
    "mixtral": (
        "mixtral",
        "MixtralForCausalLM",
        "spm",
        {**_MOE, "num_local_experts": 4, "rope_theta": 1e6, "sliding_window": None},
    ),
    "qwen2": (
        "qwen2",
        "Qwen2ForCausalLM",
        "bpe",
        {"rope_theta": 1e6, "rms_norm_eps": 1e-6, "use_sliding_window": False},
    ),
    "qwen3": (
        "qwen3",
        "Qwen3ForCausalLM",
        "bpe",
        {"head_dim": 128, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "tie_word_embeddings": True},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        "bpe",
        {
            **_MOE,
            "head_dim": 64,
            "rope_theta": 1e6,
            "num_experts": 4,
            "moe_intermediate_size": 256,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
    ),
    "gemma2": (
        "gemma2",
        "Gemma2ForCausalLM",
        "spm",
        {
            "head_dim": 64,
            "query_pre_attn_scalar": 64,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "sliding_window": 8,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_act": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-6,
        },
    ),
    "gemma3": (
        "gemma3_text",
        "Gemma3ForCausalLM",
        "spm",
        {
            "head_dim": 64,
            "query_pre_attn_scalar": 64,
            "num_hidden_layers": 6,
            "intermediate_size": 256,
            "num_key_value_heads": 1,
            "sliding_window": 8,
            "sliding_window_pattern": 6,
            "rope_theta": 1e6,
            "rope_local_base_freq": 10000.0,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-6,
        },
    ),
    "phi3": (
        "phi3",
        "Phi3ForCausalLM",
        "spm",
        {"original_max_position_embeddings": 512, "rope_scaling": None, "sliding_window": 2047},
    ),
    "phi3_longrope": (
        "phi3",
        "Phi3ForCausalLM",
        "spm",
        {
            "original_max_position_embeddings": 512,
            "max_position_embeddings": 4096,
            "rope_scaling": _longrope(32),
            "sliding_window": 2047,
        },
    ),
    "phi4": (
        "phi3",
        "Phi3ForCausalLM",
        "bpe",
        {
            "original_max_position_embeddings": 512,
            "max_position_embeddings": 4096,
            "partial_rotary_factor": 0.75,
            "rope_scaling": _longrope(24),
            "sliding_window": None,
            "tie_word_embeddings": True,
            "num_key_value_heads": 1,
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        "GptOssForCausalLM",
        "bpe",
        {
            **_MOE,
            "head_dim": 64,
            "num_local_experts": 4,
            "experts_per_token": 2,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_theta": 150000.0,
            "rope_scaling": _YARN,
            "attention_bias": True,
            "max_position_embeddings": 131072,
            "initial_context_length": 4096,
            "swiglu_limit": 7.0,
        },
    ),
}
ARCHS = tuple(_ARCHS)


@dataclass
class TinyModel:
    """A tiny random model: `arch` (a key of this module), HF `config`, float32 `weights`, kind of vocabulary."""

    arch: str
    config: dict[str, Any]
    weights: Weights = field(repr=False)
    vocabulary: str | Vocabulary  # "spm" or "bpe" for a small one made up, or a real one
    seed: int = 0

    @property
    def tokens(self) -> Vocabulary:
        """The vocabulary itself."""
        if isinstance(self.vocabulary, Vocabulary):
            return self.vocabulary
        return vocabulary(self.vocabulary, self.config["vocab_size"])

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        c = self.config
        return int(c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"])


def build(arch: str, seed: int = 0, **changes: Any) -> TinyModel:
    """A tiny model of `arch` (one of ARCHS), the same for the same seed; `changes` override config keys.

    Weights are drawn so that logits spread over several units and attention is far from uniform.
    """
    model_type, cls, kind, own = _ARCHS[arch]
    config = {"model_type": model_type, "architectures": [cls], **_BASE, **own, **changes}
    config.update({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    rng = np.random.default_rng([seed, *arch.encode()])
    return TinyModel(arch, config, dict(_draw(config, rng)), kind, seed)


def _draw(config: dict[str, Any], rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    hidden = config["hidden_size"]
    for name, shape in shapes(config):
        w = rng.standard_normal(shape, dtype=np.float32)
        if name.endswith("norm.weight"):  # gemma stores the distance from one
            yield name, 0.1 * w + np.float32(0.0 if config["model_type"].startswith("gemma") else 1.0)
        elif len(shape) == 1 or name.endswith(("_bias", "sinks")):
            yield name, 0.1 * w
        elif "embed_tokens" in name:
            yield name, (hidden**-0.5 if config["tie_word_embeddings"] else 0.5) * w
        else:
            fan_in = shape[-2] if name.endswith(("experts.gate_up_proj", "experts.down_proj")) else shape[-1]
            gain = 2.0 if any(s in name for s in ("q_proj", "k_proj", "qkv_proj", "router", "gate.weight")) else 1.0
            yield name, (gain / fan_in**0.5) * w


def shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """HF tensor names and shapes of a config, layer by layer."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield from ((p + n, s) for n, s in _attention(config))
        yield from ((p + n, s) for n, s in _feed_forward(config))
        yield from ((p + n, (hidden,)) for n in _norms(config))
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (vocab, hidden)


def _norms(config: dict[str, Any]) -> list[str]:
    names = ["input_layernorm.weight", "post_attention_layernorm.weight"]
    if config["model_type"].startswith("gemma"):
        names += ["pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight"]
    return names


def _attention(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    kind, hidden, heads, kv = (
        config[k] for k in ("model_type", "hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    head = config.get("head_dim") or hidden // heads
    if kind == "phi3":
        yield "self_attn.qkv_proj.weight", ((heads + 2 * kv) * head, hidden)
        yield "self_attn.o_proj.weight", (hidden, heads * head)
        return
    for name, n in (("q", heads), ("k", kv), ("v", kv)):
        yield f"self_attn.{name}_proj.weight", (n * head, hidden)
        if kind in ("qwen2", "gpt_oss"):
            yield f"self_attn.{name}_proj.bias", (n * head,)
    yield "self_attn.o_proj.weight", (hidden, heads * head)
    if kind == "gpt_oss":
        yield "self_attn.o_proj.bias", (hidden,)
        yield "self_attn.sinks", (heads,)
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield "self_attn.q_norm.weight", (head,)
        yield "self_attn.k_norm.weight", (head,)


def _feed_forward(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    if kind == "phi3":
        yield "mlp.gate_up_proj.weight", (2 * inner, hidden)
        yield "mlp.down_proj.weight", (hidden, inner)
    elif kind == "mixtral":
        yield "block_sparse_moe.gate.weight", (config["num_local_experts"], hidden)
        for e in range(config["num_local_experts"]):
            for name, shape in (("w1", (inner, hidden)), ("w2", (hidden, inner)), ("w3", (inner, hidden))):
                yield f"block_sparse_moe.experts.{e}.{name}.weight", shape
    elif kind == "qwen3_moe":
        inner = config["moe_intermediate_size"]
        yield "mlp.gate.weight", (config["num_experts"], hidden)
        for e in range(config["num_experts"]):
            for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
                yield f"mlp.experts.{e}.{name}_proj.weight", shape
    elif kind == "gpt_oss":  # experts lie transposed, gate and up interleaved (openai/gpt-oss in 16 bits)
        n = config["num_local_experts"]
        yield "mlp.router.weight", (n, hidden)
        yield "mlp.router.bias", (n,)
        yield "mlp.experts.gate_up_proj", (n, hidden, 2 * inner)
        yield "mlp.experts.gate_up_proj_bias", (n, 2 * inner)
        yield "mlp.experts.down_proj", (n, inner, hidden)
        yield "mlp.experts.down_proj_bias", (n, hidden)
    else:
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            yield f"mlp.{name}_proj.weight", shape
