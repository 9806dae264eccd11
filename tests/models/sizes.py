"""How published models are written down for tests: sizes of their config.json, weights and cache."""

from __future__ import annotations

from typing import Any, NamedTuple


class Release(NamedTuple):
    """A published model: its config, billions of weights, bytes of KV cache per token at 16 bits."""

    config: dict[str, Any]
    billions: float
    kv: int


def of(model_type: str, sizes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """hidden, layers, inner, heads, key/value heads, vocabulary; and what else the architecture asks for."""
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    common = {"rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768, "tie_word_embeddings": False}
    return {**common, "model_type": model_type, **dict(zip((*names, "vocab_size"), sizes, strict=True)), **more}


DELTA = {
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_conv_kernel_dim": 4, "full_attention_interval": 4, "head_dim": 256, "partial_rotary_factor": 0.25,
}  # fmt: skip
