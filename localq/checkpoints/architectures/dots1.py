"""dots.llm1: norms on queries and keys, experts weighed by sigmoids after leading dense layers."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, NORMS, OUTER, QK_NORMS, decoder
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.integer("expert_gating_func", 0) != 2:
        keys.refuse("expert_gating_func")
    return {**decoder(keys), **experts(keys), "scoring_func": "noaux_tc"}


ARCHITECTURE = Architecture(
    model_type="dots1", names={**OUTER, **NORMS, **ATTENTION, **QK_NORMS, **DENSE, **EXPERTS}, config=_config
)
