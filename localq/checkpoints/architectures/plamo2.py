"""PLaMo 2: Mamba layers with heads and attention, four norms a layer whose weights are stored less an offset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import embedding
from localq.checkpoints.architectures._hybrid import (
    any_kind,
    by_kv_heads,
    check_kinds,
    floats,
    in_turn,
    log_of_minus,
    the_one,
    three_axes,
    whole_numbers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.architectures import Change
    from localq.checkpoints.keys import ModelKeys
    from localq.formats.base import PackedTensor

_L = "model.layers.layers.{i}."
_M = _L + "mixer."
_kinds = by_kv_heads("state-space")
WINDOW = 2048  # of the attention in the published models; GGUF has no key for it


def less(offset: float) -> Callable[[ModelKeys, tuple[int, ...]], Change]:
    """Undo an offset the converter has added, in float32 (Plamo2Model.modify_tensors, conversion/plamo.py)."""

    def rule(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
        def change(t: PackedTensor) -> PackedTensor:
            import numpy as np

            return floats(t.dequantize() - np.float32(offset))

        return change

    return rule


_KINDS: dict[str, dict[str, str | Name]] = {
    "attention": {
        "blk.{i}.attn_qkv.weight": _M + "qkv_proj.weight",
        "blk.{i}.attn_q_norm.weight": _M + "q_weight",
        "blk.{i}.attn_k_norm.weight": _M + "k_weight",
        "blk.{i}.attn_output.weight": _M + "o_proj.weight",
    },
    "state-space": {
        "blk.{i}.ssm_in.weight": _M + "in_proj.weight",
        "blk.{i}.ssm_conv1d.weight": _M + "conv1d.weight",
        "blk.{i}.ssm_x.weight": _M + "bcdt_proj.weight",
        "blk.{i}.ssm_dt.weight": _M + "dt_proj.weight",
        "blk.{i}.ssm_dt.bias": _M + "dt_bias",
        "blk.{i}.ssm_a": Name(_M + "A_log", log_of_minus),
        "blk.{i}.ssm_d": _M + "D",
        "blk.{i}.ssm_out.weight": _M + "out_proj.weight",
        **{f"blk.{{i}}.ssm_{x.lower()}_norm": f"{_M}{x}_norm_weight" for x in ("dt", "B", "C")},
    },
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    layers = _kinds(keys)
    attention = [i for i, kind in enumerate(layers) if kind == "attention"]
    step = 2 * attention[0] if attention else 0
    if [i for i in range(keys.layers) if step and i % step == step // 2] != attention:
        keys.refuse("attention.head_count_kv")
    width, heads = keys.integer("attention.key_length"), keys.integer("ssm.time_step_rank")
    if keys.integer("attention.value_length") != width or keys.integer("ssm.inner_size") != width * heads:
        keys.refuse("attention.key_length", "attention.value_length", "ssm.inner_size", "ssm.time_step_rank")
    if keys.number("rope.freq_base", 10000.0) != 10000.0:
        keys.refuse("rope.freq_base")
    keys.value("ssm.group_count")  # written as 0: all heads share B and C
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        "num_attention_heads": the_one(
            keys, "attention.head_count", whole_numbers(keys, "attention.head_count", keys.layers)
        ),
        "num_key_value_heads": keys.kv_heads,
        "hidden_size_per_head": width,
        # Beyond its window the attention is another one, which neither mlx-lm nor llama.cpp computes
        "max_position_embeddings": min(keys.integer("context_length"), WINDOW),
        "attention_window_size": WINDOW,
        "mamba_d_state": keys.integer("ssm.state_size"),
        "mamba_d_conv": keys.integer("ssm.conv_kernel"),
        "mamba_num_heads": heads,
        "mamba_step": step,
        "mamba_enabled": True,
    }


ARCHITECTURE = Architecture(
    model_type="plamo2",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": Name("model.norm.weight", less(1.0)),
        "output.weight": Name("lm_head.weight", optional=True),
        "blk.{i}.attn_norm.weight": Name(_L + "pre_mixer_norm.weight", less(1.0)),
        "blk.{i}.post_attention_norm": Name(_L + "post_mixer_norm.weight", less(1.0 / 5)),
        "blk.{i}.ffn_norm.weight": Name(_L + "pre_mlp_norm.weight", less(1.0)),
        "blk.{i}.post_ffw_norm": Name(_L + "post_mlp_norm.weight", less(1.0 / 5**1.5)),
        "blk.{i}.ffn_up.weight": _L + "mlp.gate_up_proj.weight",
        "blk.{i}.ffn_down.weight": _L + "mlp.down_proj.weight",
        **any_kind(_KINDS),
    },
    config=_config,
    prepare=in_turn(check_kinds(_KINDS, _kinds), three_axes("ssm_conv1d")),
    checked="mlx-lm",  # llama.cpp does not come back from a tiny one
)
