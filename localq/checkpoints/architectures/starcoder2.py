"""StarCoder2: layer norms and linears with biases everywhere, a feed-forward layer without a gate."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, biases, decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MLP: dict[str, str | Name] = {
    "blk.{i}.ffn_up.weight": LAYER + "mlp.c_fc.weight",
    "blk.{i}.ffn_down.weight": LAYER + "mlp.c_proj.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False, rms=False)
    return {**config, "norm_epsilon": config["layer_norm_eps"], "use_bias": True}


ARCHITECTURE = Architecture(
    model_type="starcoder2",
    names={
        **OUTER,
        "output_norm.bias": "model.norm.bias",
        **NORMS,
        **biases(NORMS),
        **ATTENTION,
        **biases(ATTENTION),
        **_MLP,
        **biases(_MLP),
    },
    config=_config,
)
