"""Mamba-2 (Codestral Mamba): state-space layers alone."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import embedding
from localq.checkpoints.architectures._mamba2 import flat, has_conv_bias, mixer, no_limit, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

OUTER: dict[str, str | Name] = {
    "token_embd.weight": "backbone.embeddings.weight",
    "output_norm.weight": "backbone.norm_f.weight",
    "output.weight": Name("lm_head.weight", optional=True),
    "blk.{i}.attn_norm.weight": "backbone.layers.{i}.norm.weight",
}


def state_space(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of models without attention; the heads and MLPs they state are zeros."""
    vocab, hidden = embedding(keys)
    for unused in ("attention.head_count", "feed_forward_length"):
        if keys.integer(unused, 0):
            keys.refuse(unused)
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "layer_norm_epsilon": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "use_bias": False,
        "use_conv_bias": has_conv_bias(keys, list(range(keys.layers))),
        "conv_kernel": keys.integer("ssm.conv_kernel"),
        "state_size": keys.integer("ssm.state_size"),
        "time_step_rank": keys.integer("ssm.time_step_rank"),
        "intermediate_size": keys.integer("ssm.inner_size"),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
    }


def _config(keys: ModelKeys) -> dict[str, Any]:
    found = sizes(keys)
    return {
        **state_space(keys),
        "num_heads": found.heads,
        "head_dim": found.width,
        "n_groups": found.groups,
        "time_step_limit": no_limit(),
    }


ARCHITECTURE = Architecture(
    model_type="mamba2", names={**OUTER, **mixer("backbone.layers.{i}.mixer.")}, config=_config, prepare=flat
)
