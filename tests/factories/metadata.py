"""GGUF key/value pairs of a tiny model, as llama.cpp's converter writes them, and its small vocabulary."""

from __future__ import annotations

import math
from typing import Any

from tests.factories.tiny import TinyModel
from tests.factories.vocabulary import Vocabulary

ARCHITECTURE = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "gpt_oss": "gpt-oss",
}


def add_metadata(writer: Any, model: TinyModel) -> None:
    """Every key llama.cpp needs to load the model, on a `gguf.GGUFWriter`."""
    c, kind = model.config, model.config["model_type"]
    writer.add_name("tiny")  # a name holding "phi3" makes llama.cpp look for that family's special tokens
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    if kind != "gemma2":  # its converter leaves the base at llama.cpp's default of 10000
        writer.add_rope_freq_base(c["rope_theta"])
    if "head_dim" in c:
        writer.add_key_length(c["head_dim"])
        writer.add_value_length(c["head_dim"])
    if kind in ("llama", "mistral", "mixtral"):
        writer.add_rope_dimension_count(model.head_dim)
    experts = c.get("num_local_experts") or c.get("num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(c["num_experts_per_tok"])
    _ADD_OWN.get(kind, lambda *_: None)(writer, model)
    add_vocabulary(writer, model.tokens)


def _add_gemma2(writer: Any, model: TinyModel) -> None:
    writer.add_attn_logit_softcapping(model.config["attn_logit_softcapping"])
    writer.add_final_logit_softcapping(model.config["final_logit_softcapping"])
    writer.add_sliding_window(model.config["sliding_window"])


def _add_gemma3(writer: Any, model: TinyModel) -> None:
    writer.add_sliding_window(model.config["sliding_window"])


def _add_moe_width(writer: Any, model: TinyModel) -> None:
    writer.add_expert_feed_forward_length(model.config["moe_intermediate_size"])


def _add_phi3(writer: Any, model: TinyModel) -> None:
    c = model.config
    original = c["original_max_position_embeddings"]
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_dimension_count(int(c.get("partial_rotary_factor", 1.0) * model.head_dim))
    writer.add_sliding_window(c["sliding_window"] or 0)
    if c["rope_scaling"]:
        scale = c["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))


def _add_gpt_oss(writer: Any, model: TinyModel) -> None:
    import gguf

    scaling = model.config["rope_scaling"]
    writer.add_sliding_window(model.config["sliding_window"])
    writer.add_expert_feed_forward_length(model.config["intermediate_size"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])


_ADD_OWN = {
    "gemma2": _add_gemma2,
    "gemma3_text": _add_gemma3,
    "qwen3_moe": _add_moe_width,
    "phi3": _add_phi3,
    "gpt_oss": _add_gpt_oss,
}


def add_vocabulary(writer: Any, v: Vocabulary) -> None:
    """tokenizer.ggml.* of a vocabulary."""
    writer.add_tokenizer_model("llama" if v.kind == "spm" else "gpt2")
    writer.add_tokenizer_pre("default" if v.kind == "spm" else v.pre)
    writer.add_token_list(v.tokens)
    writer.add_token_types(v.types)
    if v.kind == "spm":
        writer.add_token_scores(v.scores)
    else:
        writer.add_token_merges([" ".join(pair) for pair in v.merges])
    writer.add_bos_token_id(v.bos)
    writer.add_eos_token_id(v.eos)
    writer.add_add_bos_token(v.kind == "spm")
