"""Granite 3 and 4 with experts, the latter beside an MLP that all tokens pass (`granitemoeshared`).

Hugging Face keeps the experts' gate and up in one stack, GGUF apart; the names here are mlx-lm's, which are apart too.
A file with shared experts is Granite's hybrid without a single state-space layer, and is run as that.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, NORMS, OUTER, biases, expert_counts
from localq.checkpoints.architectures._joins import fused_names, join_rows
from localq.checkpoints.architectures.granite import ROTATED, scaled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MOE = LAYER + "block_sparse_moe."


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    return {**scaled(keys), "num_local_experts": experts, "num_experts_per_tok": used}


def _shared(keys: ModelKeys) -> dict[str, Any]:
    return {
        **_config(keys),
        "shared_intermediate_size": keys.integer("expert_shared_feed_forward_length"),
        "layer_types": ["attention"] * keys.layers,
        "position_embedding_type": "rope",
        "mlp_bias": False,
    }


_GATE_UP = (("ffn_gate_shexp", None), ("ffn_up_shexp", None))
_NAMES: dict[str, str | Name] = {
    **OUTER,
    **NORMS,
    **ROTATED,
    **biases(ROTATED, optional=True),
    "blk.{i}.ffn_gate_inp.weight": _MOE + "router.layer.weight",
    **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}switch_mlp.{x}_proj.weight" for x in ("gate", "up", "down")},
}
_WITH_SHARED = Architecture(
    model_type="granitemoehybrid",
    names={
        **_NAMES,
        **fused_names("ffn_gate_up_shexp", LAYER + "shared_mlp.input_linear", _GATE_UP),
        "blk.{i}.ffn_down_shexp.weight": LAYER + "shared_mlp.output_linear.weight",
    },
    config=_shared,
    consumed=("rope_freqs.weight",),
    prepare=join_rows("ffn_gate_up_shexp", _GATE_UP),
)
_PLAIN = Architecture(model_type="granitemoe", names=_NAMES, config=_config, consumed=("rope_freqs.weight",))


def _choose(keys: ModelKeys) -> Architecture:
    return _WITH_SHARED if keys.integer("expert_shared_feed_forward_length", 0) else _PLAIN


ARCHITECTURE = _PLAIN._replace(choose=_choose, variants=("granitemoehybrid",))
