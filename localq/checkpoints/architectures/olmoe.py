"""OLMoE: norms over all queries and all keys, experts in every layer."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, QK_NORMS, decoder, expert_counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    config = decoder(keys, scalings=())
    # llama.cpp never divides by the sum of the weights here (src/models/olmoe.cpp); no key says otherwise
    return {**config, "num_experts": experts, "num_experts_per_tok": used, "norm_topk_prob": False}


ARCHITECTURE = Architecture(
    model_type="olmoe",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        "output.weight": "lm_head.weight",
        "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.gate.weight",
        "blk.{i}.ffn_gate_exps.weight": LAYER + "mlp.experts.{e}.gate_proj.weight",
        "blk.{i}.ffn_up_exps.weight": LAYER + "mlp.experts.{e}.up_proj.weight",
        "blk.{i}.ffn_down_exps.weight": LAYER + "mlp.experts.{e}.down_proj.weight",
    },
    config=_config,
)
