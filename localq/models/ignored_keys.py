"""Keys of configs that change what transformers computes and that mlx-lm's architecture passes over.

Each was found by changing every key that transformers' code reads, one by one, in a tiny model: transformers' logits
moved, mlx-lm's did not move at all. A value that is not what the architecture computes is refused. A sliding window
that it does not have is no harm to prompts that fit in one, so it bounds the context instead (`window`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.errors import UnsupportedError

_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
# model_type -> key (a dot leads into an object) -> the values with which the architecture computes what the config asks
# for; absent and null do too
COMPUTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "bailing_hybrid": {
        "kda_lower_bound": (),
        "kda_safe_gate": (),
    },  # the later hybrid, which transformers calls the same
    "dbrx": {"ffn_config.ffn_act_fn": ({"name": "silu"},)},
    "deepseek_v3": {"rope_interleave": (True,)},
    "ernie4_5_moe": {"moe_norm_min": (1e-12,)},
    "gemma3_text": {"final_logit_softcapping": (), "use_bidirectional_attention": (False,)},
    "gemma4_text": {"use_bidirectional_attention": (False, "vision")},
    "glm4_moe_lite": {"rope_interleave": (True,)},
    "gpt2": {
        "activation_function": _TANH,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
    "gpt_bigcode": {"scale_attn_weights": (True,), "activation_function": (*_TANH, "gelu")},
    "gpt_oss": {"swiglu_limit": (7.0,), "swiglu_alpha": (1.702,)},
    "gptj": {"activation_function": _TANH},
    "mamba2": {"hidden_act": ("silu",)},
    "nanochat": {"final_logit_softcapping": (15.0,), "hidden_act": ("relu2",)},
    "nemotron": {"hidden_act": ("relu2",)},
    "nemotron_h": {"mlp_hidden_act": ("relu2",), "mamba_hidden_act": ("silu",)},
    "olmoe": {"clip_qkv": ()},
    "phi": {"qk_layernorm": (False,)},
    "qwen2_moe": {"norm_topk_prob": (False,), "mlp_only_layers": ([],), "decoder_sparse_step": (1,)},
    "youtu_llm": {"rope_interleave": (True,)},
}
# Where a lone expert's weight is not brought to a sum of one, as transformers and llama.cpp do with `norm_topk_prob`
_SEVERAL_EXPERTS = (
    *("bailing_hybrid", "bailing_moe", "bailing_moe_linear", "deepseek_v3", "deepseek_v32", "dots1", "exaone_moe"),
    *("glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "kimi_k2", "kimi_k3", "kimi_linear", "mimo_v2_flash", "nemotron_h"),
)
_WINDOWED = ("phi3", "starcoder2", "mixtral", "phimoe")  # every layer, where the config names a window
_QWEN_VL = ("qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text")
_WINDOWED_IF_USED = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", *_QWEN_VL)  # in some of their layers


def check_keys(text: Mapping[str, Any]) -> None:
    """Refuse a config whose answers the architecture would not give.

    Raises:
        UnsupportedError: naming the key, its value and what is computed.
    """
    model_type = str(text.get("model_type"))
    for path, values in COMPUTED.get(model_type, {}).items():
        outer, _, key = path.rpartition(".")
        holder = text.get(outer) if outer else text
        value = holder.get(key) if isinstance(holder, Mapping) else None
        if value is not None and value not in values:
            known = " or ".join(repr(v) for v in values) or "none"
            raise UnsupportedError(
                f"The config's {key} is {str(value)[:40]!r}; mlx-lm's '{model_type}' computes {known} whatever it says."
            )
    chosen = text.get("num_experts_per_tok") or text.get("num_experts_per_token")
    summed = text.get("norm_topk_prob") or text.get("moe_renormalize")
    if model_type in _SEVERAL_EXPERTS and chosen == 1 and summed:
        raise UnsupportedError(
            f"The config asks for one expert a token, with a weight of one; mlx-lm's '{model_type}' gives it another."
        )


def window(text: Mapping[str, Any]) -> int | None:
    """Tokens up to which an architecture without the config's sliding window computes the same; None: all of them."""
    model_type, size = text.get("model_type"), text.get("sliding_window")
    if model_type == "llama4_text" and "text_config" not in text:  # the multimodal architecture computes both
        return _chunk(text)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        return None
    used = model_type in _WINDOWED or (model_type in _WINDOWED_IF_USED and text.get("use_sliding_window"))
    layers, kinds = text.get("num_hidden_layers"), text.get("layer_types")
    if model_type == "dots1" and isinstance(layers, int):
        used = "sliding_attention" in kinds if isinstance(kinds, list) else text.get("max_window_layers", 62) < layers
    return size if used else None


def _chunk(text: Mapping[str, Any]) -> int | None:
    """Llama 4's text part alone: neither chunks of attention nor scores sharpened from `floor_scale` on.

    Where a key is missing transformers has 8192 of both.
    """
    ropes = text.get("no_rope_layers")
    without = not isinstance(ropes, list) or 0 in ropes
    sizes = [text.get("attention_chunk_size", 8192)]
    if text.get("attn_temperature_tuning", True) and without:
        sizes.append(text.get("floor_scale", 8192) - 1)
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)
