"""ERNIE 4.5, dense: as Llama; heads are rotated in pairs of neighbours in both containers."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, MLP, NORMS, OUTER, biases, decoder, has_biases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

BEGINNING: dict[str, str | Name] = {**OUTER, **NORMS, **ATTENTION, **biases(ATTENTION, optional=True)}


def ernie(keys: ModelKeys, *linears: str) -> dict[str, Any]:
    """Config keys both kinds share; biases on `linears` besides the attention's, or on none.

    Raises:
        UnsupportedError: only some have biases.
    """
    return {
        **decoder(keys, scalings=()),
        "use_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output", *linears),
    }


ARCHITECTURE = Architecture(
    model_type="ernie4_5",
    names={**BEGINNING, **MLP, **biases(MLP, optional=True)},
    config=lambda keys: ernie(keys, "ffn_gate", "ffn_up", "ffn_down"),
)
