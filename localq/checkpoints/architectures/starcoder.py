"""StarCoder (the first) and SantaCoder: GPT-2 with one head of keys and values for all queries."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import biases
from localq.checkpoints.architectures.gpt2 import gpt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_H = "transformer.h.{i}."
_BOTH: dict[str, str | Name] = {
    "output_norm.weight": "transformer.ln_f.weight",
    "blk.{i}.attn_norm.weight": _H + "ln_1.weight",
    "blk.{i}.attn_qkv.weight": _H + "attn.c_attn.weight",
    "blk.{i}.attn_output.weight": _H + "attn.c_proj.weight",
    "blk.{i}.ffn_norm.weight": _H + "ln_2.weight",
    "blk.{i}.ffn_up.weight": _H + "mlp.c_fc.weight",
    "blk.{i}.ffn_down.weight": _H + "mlp.c_proj.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.kv_heads != 1:
        keys.refuse("attention.head_count_kv")
    return {**gpt(keys), "multi_query": True, "tie_word_embeddings": "output.weight" not in keys.tensors}


ARCHITECTURE = Architecture(
    model_type="gpt_bigcode",
    names={
        "token_embd.weight": "transformer.wte.weight",
        "position_embd.weight": "transformer.wpe.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        **_BOTH,
        **biases(_BOTH),
    },
    config=_config,
)
