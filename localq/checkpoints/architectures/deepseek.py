"""DeepSeek-MoE (the first): Llama's attention and row order, softmax experts beside shared ones."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, decoder
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = {**decoder(keys, scalings=("linear",), own_head_dim=False), **experts(keys)}
    if config["routed_scaling_factor"] != 1.0 or config["norm_topk_prob"] or config["tie_word_embeddings"]:
        keys.refuse("expert_weights_scale", "expert_weights_norm")
    return config


ARCHITECTURE = Architecture(
    model_type="deepseek",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", query_rows),
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", key_rows),
        "output.weight": "lm_head.weight",
        **DENSE,
        **EXPERTS,
    },
    config=_config,
)
