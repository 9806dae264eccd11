"""PLaMo 3: seven of eight layers slide, two rope bases; four norms a layer whose weights are stored less an offset."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import decoder, sliding_layers, sliding_period
from localq.checkpoints.architectures.plamo2 import less

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_L = "model.layers.layers.{i}."


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=())
    window = keys.integer("attention.sliding_window", 0)
    period = sliding_period(sliding_layers(keys, period=8)) if window else 1
    if not period:
        keys.refuse("attention.sliding_window_pattern")
    return {
        **config,
        "window_size": window or config["max_position_embeddings"],
        "sliding_window_pattern": period,
        # Left out of a file, llama.cpp takes this (src/llama-hparams.h), mlx-lm too
        "rope_local_theta": keys.number("rope.freq_base_swa", 10000.0),
    }


_FUSED = {"attn_qkv": "mixer.qkv_proj", "attn_output": "mixer.o_proj"}
_NORMS = {"attn_norm": "pre_mixer_norm", "ffn_norm": "pre_mlp_norm"}
_HEADS = {"attn_q_norm": "mixer.q_norm", "attn_k_norm": "mixer.k_norm"}
ARCHITECTURE = Architecture(
    model_type="plamo3",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": Name("model.norm.weight", less(1.0)),
        "output.weight": Name("lm_head.weight", optional=True),
        **{f"blk.{{i}}.{n}.weight": f"{_L}{hf}.weight" for n, hf in _FUSED.items()},
        **{f"blk.{{i}}.{n}.weight": Name(f"{_L}{hf}.weight", less(1.0)) for n, hf in {**_NORMS, **_HEADS}.items()},
        "blk.{i}.post_attention_norm": Name(_L + "post_mixer_norm.weight", less(1.0 / 5)),
        "blk.{i}.post_ffw_norm": Name(_L + "post_mlp_norm.weight", less(1.0 / 5**1.5)),
        "blk.{i}.ffn_up.weight": _L + "mlp.gate_up_proj.weight",
        "blk.{i}.ffn_down.weight": _L + "mlp.down_proj.weight",
    },
    config=_config,
)
