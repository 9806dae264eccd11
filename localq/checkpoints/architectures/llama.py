"""Llama 1, 2 and 3, Mistral, and Mixtral where the file counts experts.

The converter interleaves the two halves of every query and key head (`LlamaModel.permute`, conversion/llama.py).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    MLP,
    NORMS,
    OUTER,
    biases,
    decoder,
    expert_counts,
    has_biases,
)
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_ATTENTION: dict[str, str | Name] = {
    **ATTENTION,
    "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", rule=query_rows),
    "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", rule=key_rows),
}
_MOE = LAYER + "block_sparse_moe."


def _llama(keys: ModelKeys) -> dict[str, Any]:
    return {
        **decoder(keys),
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output"),
        "mlp_bias": has_biases(keys, "ffn_gate", "ffn_up", "ffn_down"),
    }


def _mixtral(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    config = decoder(keys, scalings=("linear", "yarn"), own_head_dim=False)
    return {**config, "num_local_experts": experts, "num_experts_per_tok": used}


MIXTRAL = Architecture(
    model_type="mixtral",
    names={
        **OUTER,
        **NORMS,
        **_ATTENTION,
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.ffn_gate_exps.weight": _MOE + "experts.{e}.w1.weight",
        "blk.{i}.ffn_down_exps.weight": _MOE + "experts.{e}.w2.weight",
        "blk.{i}.ffn_up_exps.weight": _MOE + "experts.{e}.w3.weight",
    },
    config=_mixtral,
)

ARCHITECTURE = Architecture(
    model_type="llama",
    names={
        **OUTER,
        **NORMS,
        **_ATTENTION,
        **MLP,
        **biases(_ATTENTION, optional=True),
        **biases(MLP, optional=True),
    },
    config=_llama,
    consumed=("rope_freqs.weight",),
    with_experts=MIXTRAL,
)
