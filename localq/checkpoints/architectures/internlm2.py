"""InternLM 2 and 2.5: as Llama under names of its own.

Hugging Face keeps q, k and v in one matrix, head group by head group; the names here are those of the three matrices
that GGUF has, and `models/corrected/internlm2.py` runs.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import biases, decoder, has_biases
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_L = "model.layers.{i}."
_ATTENTION: dict[str, str | Name] = {
    "blk.{i}.attn_q.weight": Name(_L + "attention.wq.weight", query_rows),
    "blk.{i}.attn_k.weight": Name(_L + "attention.wk.weight", key_rows),
    "blk.{i}.attn_v.weight": _L + "attention.wv.weight",
    "blk.{i}.attn_output.weight": _L + "attention.wo.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear",), own_head_dim=False)
    if "rope_scaling" in config:
        config["rope_scaling"]["type"] = config["rope_scaling"]["rope_type"]
    return {**config, "bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output")}


ARCHITECTURE = Architecture(
    model_type="internlm2",
    names={
        "token_embd.weight": "model.tok_embeddings.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": Name("output.weight", optional=True),
        "blk.{i}.attn_norm.weight": _L + "attention_norm.weight",
        "blk.{i}.ffn_norm.weight": _L + "ffn_norm.weight",
        **_ATTENTION,
        **biases(_ATTENTION, optional=True),
        "blk.{i}.ffn_gate.weight": _L + "feed_forward.w1.weight",
        "blk.{i}.ffn_down.weight": _L + "feed_forward.w2.weight",
        "blk.{i}.ffn_up.weight": _L + "feed_forward.w3.weight",
    },
    config=_config,
)
