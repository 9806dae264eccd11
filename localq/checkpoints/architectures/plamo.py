"""PLaMo 13B: attention and MLP side by side behind one norm; eight queries share each key.

Query head h uses key h % 5 in the published weights, h // 8 in GGUF (`shuffle_attn_q_weight`, conversion/plamo.py),
for which the converter moves rows of `q_proj` and columns of `o_proj`. Packed columns cannot be moved back: both
matrices appear in GGUF's order, and `grouped_heads` in the config says so.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import embedding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_L = "model.layers.layers.{i}."
_PROJECTIONS = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj"}


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    heads, groups, width = keys.heads, keys.kv_heads, keys.head_dim
    if heads % groups or heads * width != hidden or keys.integer("rope.dimension_count", width) != width:
        keys.refuse("attention.head_count", "attention.head_count_kv", "attention.key_length", "rope.dimension_count")
    if keys.text("rope.scaling.type", "none") != "none":
        keys.refuse("rope.scaling.type", "rope.scaling.factor")
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "n_shared_head": heads // groups,
        "grouped_heads": True,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": False,
    }


ARCHITECTURE = Architecture(
    model_type="plamo",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": _L + "norm.weight",
        **{f"blk.{{i}}.{stored}.weight": f"{_L}self_attn.{hf}.weight" for stored, hf in _PROJECTIONS.items()},
        **{f"blk.{{i}}.ffn_{x}.weight": Name(f"{_L}mlp.{x}_proj.weight") for x in ("gate", "up", "down")},
    },
    config=_config,
)
