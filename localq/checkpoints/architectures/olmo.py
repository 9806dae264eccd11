"""OLMo 1: Llama with layer norms that have no weights, queries, keys and values cut off at a limit."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import OUTER, decoder
from localq.checkpoints.architectures.llama import ARCHITECTURE as LLAMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear", "yarn"), rms=False, own_head_dim=False)
    if config["layer_norm_eps"] != 1e-5:  # no OLMo has another; Hugging Face's config has no place for it
        keys.refuse("attention.layer_norm_epsilon")
    return {**config, "clip_qkv": keys.number("attention.clamp_kqv", 0.0) or None, "attention_bias": False}


ARCHITECTURE = Architecture(
    model_type="olmo",
    names={
        "token_embd.weight": OUTER["token_embd.weight"],
        "output.weight": OUTER["output.weight"],
        **{n: t for n, t in LLAMA.names.items() if n.startswith("blk.") and "norm" not in n and n.endswith("weight")},
    },
    config=_config,
)
