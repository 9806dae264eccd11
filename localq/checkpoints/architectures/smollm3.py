"""SmolLM3: as Llama, but every fourth layer does without rope."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, NORMS, OUTER, decoder
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    # GGUF has no key for the layers without rope; src/models/smollm3.cpp has the step built in
    with_rope = [int((i + 1) % 4 != 0) for i in range(keys.layers)]
    return {**decoder(keys), "attention_bias": False, "mlp_bias": False, "no_rope_layers": with_rope}


ARCHITECTURE = Architecture(
    model_type="smollm3",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", query_rows),
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", key_rows),
        **MLP,
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
