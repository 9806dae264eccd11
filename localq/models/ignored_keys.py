"""Keys of configs that change what transformers computes and that mlx-lm's architecture passes over.

Each was found by changing it in a tiny model: transformers' logits moved, mlx-lm's did not move at all. A value that is
not what the architecture computes is refused. A sliding window that it does not have is no harm to prompts that fit in
one, so it bounds the context instead (`window`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.errors import UnsupportedError

_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
# model_type -> key -> the values with which the architecture computes what the config asks for; absent and null do too
COMPUTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "deepseek_v3": {"rope_interleave": (True,)},
    "gemma3_text": {"final_logit_softcapping": (), "use_bidirectional_attention": (False,)},
    "gpt2": {
        "activation_function": _TANH,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
    "gpt_bigcode": {"scale_attn_weights": (True,)},
    "gpt_oss": {"swiglu_limit": (7.0,), "swiglu_alpha": (1.702,)},
    "gptj": {"activation_function": _TANH},
    "nanochat": {"final_logit_softcapping": (15.0,)},
    "olmoe": {"clip_qkv": ()},
    "phi": {"qk_layernorm": (False,)},
    "qwen2_moe": {"norm_topk_prob": (False,), "mlp_only_layers": ([],), "decoder_sparse_step": (1,)},
}
_WINDOWED = ("phi3", "starcoder2", "mixtral", "phimoe")  # every layer, where the config names a window
_WINDOWED_IF_USED = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")  # from layer max_window_layers on


def check_keys(text: Mapping[str, Any]) -> None:
    """Refuse a config whose answers the architecture would not give.

    Raises:
        UnsupportedError: naming the key, its value and what is computed.
    """
    model_type = str(text.get("model_type"))
    for key, values in COMPUTED.get(model_type, {}).items():
        value = text.get(key)
        if value is not None and value not in values:
            known = " or ".join(repr(v) for v in values) or "none"
            raise UnsupportedError(
                f"The config's {key} is {str(value)[:40]!r}; mlx-lm's '{model_type}' computes {known} whatever it says."
            )


def window(text: Mapping[str, Any]) -> int | None:
    """Tokens up to which an architecture without the config's sliding window computes the same; None: all of them."""
    model_type, size = text.get("model_type"), text.get("sliding_window")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        return None
    used = model_type in _WINDOWED or (model_type in _WINDOWED_IF_USED and text.get("use_sliding_window"))
    return size if used else None
