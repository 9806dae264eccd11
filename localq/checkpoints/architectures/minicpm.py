"""MiniCPM 1, 2 and 4: Llama with scaled embeddings, residuals and logits; LongRoPE in the newer ones."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, NORMS, OUTER, decoder
from localq.checkpoints.architectures._rope import LONG, SHORT
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear", "longrope"), own_head_dim=False)
    keys.integer("expert_count", 0)
    # The defaults are those of src/models/minicpm.cpp
    residual = keys.number("residual_scale", 1.4 / keys.layers**0.5)
    if config.get("rope_scaling", {}).get("rope_type") == "longrope":
        config["rope_scaling"]["original_max_position_embeddings"] = keys.integer(
            "rope.scaling.original_context_length", config["max_position_embeddings"]
        )
    return {
        **config,
        "scale_emb": keys.number("embedding_scale", 12.0),
        "scale_depth": residual * keys.layers**0.5,
        "dim_model_base": config["hidden_size"] / keys.number("logit_scale", 256.0 / config["hidden_size"]),
        # The head is scaled, tied or not; mlx-lm scales it only as a matrix of its own
        "tie_word_embeddings": False,
    }


ARCHITECTURE = Architecture(
    model_type="minicpm",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", query_rows),
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", key_rows),
        **MLP,
    },
    config=_config,
    consumed=(LONG, SHORT),
)
