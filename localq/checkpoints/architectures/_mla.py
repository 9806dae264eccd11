"""Multi-head latent attention (DeepSeek V2 and after): names, config keys, and the two halves of `kv_b_proj`.

Hugging Face keeps one matrix `kv_b_proj` `[heads * (nope + v), kv_lora_rank]`. llama.cpp's converter cuts it by head
(`DeepseekV2Model.modify_tensors`, conversion/deepseek.py): `attn_k_b` `[heads, kv_lora_rank, nope]`, transposed, and
`attn_v_b` `[heads, v, kv_lora_rank]`. Floats are put together again, exactly. A packed `attn_k_b` has its blocks along
the other axis, so no packed `kv_b_proj` holds the same weights: both halves then keep the names mlx-lm has for them,
`embed_q` and `unembed_out`, which are the same matrices in the same orientation. Files of 2024 hold `attn_kv_b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._decoder import LAYER, MLP, NORMS, OUTER, embedding
from localq.checkpoints.architectures._rope import rope_scaling
from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

_ATTN = LAYER + "self_attn."
QUERIES: dict[str, str | Name] = {
    "blk.{i}.attn_q.weight": Name(_ATTN + "q_proj.weight", optional=True),
    "blk.{i}.attn_q_a.weight": Name(_ATTN + "q_a_proj.weight", optional=True),
    "blk.{i}.attn_q_a_norm.weight": Name(_ATTN + "q_a_layernorm.weight", optional=True),
    "blk.{i}.attn_q_b.weight": Name(_ATTN + "q_b_proj.weight", optional=True),
}
ATTENTION: dict[str, str | Name] = {
    **QUERIES,
    "blk.{i}.attn_kv_a_mqa.weight": _ATTN + "kv_a_proj_with_mqa.weight",
    "blk.{i}.attn_kv_a_norm.weight": _ATTN + "kv_a_layernorm.weight",
    "blk.{i}.attn_kv_b.weight": Name(_ATTN + "kv_b_proj.weight", optional=True),
    "blk.{i}.attn_k_b.weight": Name(_ATTN + "embed_q.weight", optional=True),
    "blk.{i}.attn_v_b.weight": Name(_ATTN + "unembed_out.weight", optional=True),
    "blk.{i}.attn_output.weight": _ATTN + "o_proj.weight",
}
EXPERTS: dict[str, str | Name] = {
    "blk.{i}.ffn_gate_inp.weight": Name(LAYER + "mlp.gate.weight", optional=True),
    "blk.{i}.exp_probs_b.bias": Name(LAYER + "mlp.gate.e_score_correction_bias", optional=True),
    **{
        f"blk.{{i}}.ffn_{x}_exps.weight": Name(f"{LAYER}mlp.experts.{{e}}.{x}_proj.weight", optional=True)
        for x in ("gate", "up", "down")
    },
    **{
        f"blk.{{i}}.ffn_{x}_shexp.weight": Name(f"{LAYER}mlp.shared_experts.{x}_proj.weight", optional=True)
        for x in ("gate", "up", "down")
    },
}
DENSE: dict[str, str | Name] = {n: Name(str(t), optional=True) for n, t in MLP.items()}
LATENT: dict[str, str | Name] = {**OUTER, **NORMS, **ATTENTION, **DENSE, **EXPERTS}


FLOATS = ("f32", "f16", "bf16")


def halves_apart(keys: ModelKeys) -> bool:
    """Whether any layer's halves of `kv_b_proj` are packed and stay apart.

    Raises:
        UnsupportedError: some layers' do, others' do not.
    """
    apart = set()
    for i in range(keys.layers):
        kinds = {keys.tensors[n].type.name for x in "kv" if (n := f"blk.{i}.attn_{x}_b.weight") in keys.tensors}
        apart.add(bool(kinds) and not (len(kinds) == 1 and kinds <= set(FLOATS)))
    if len(apart) > 1:
        raise UnsupportedError(f"Some layers of this {keys.architecture} file pack 'attn_k_b', others do not.")
    return apart == {True}


def join_halves(keys: ModelKeys, pieces: dict[str, Source], layers: Sequence[int] | None = None) -> None:
    """`attn_k_b` and `attn_v_b` of one float type as `attn_kv_b`; halves of packed types stay apart.

    `layers` are those with latent attention, all by default.

    Raises:
        CheckpointError: a layer has neither form, half of one, or halves that do not fit each other.
    """
    for i in range(keys.layers) if layers is None else layers:
        whole, key, value = (f"blk.{i}.attn_{x}_b.weight" for x in ("kv", "k", "v"))
        if whole in pieces:
            continue
        if key not in pieces or value not in pieces:
            raise CheckpointError(f"The GGUF file lacks '{whole}', and '{key}' or '{value}' as well.")
        k, v = pieces[key], pieces[value]
        if len(k.shape) != 3 or len(v.shape) != 3 or k.shape[0] != v.shape[0] or k.shape[1] != v.shape[2]:
            raise CheckpointError(
                f"'{key}' is {k.shape} and '{value}' {v.shape}; expected [heads, rank, nope] and [heads, v, rank]."
            )
        if k.format == v.format and k.format in FLOATS:
            shape = (k.shape[0] * (k.shape[2] + v.shape[1]), k.shape[1])
            pieces[whole] = k._replace(shape=shape, nbytes=k.nbytes + v.nbytes, others=(v.tensor,), join=_joined)
            del pieces[key], pieces[value]


def _joined(k: PackedTensor, v: PackedTensor) -> PackedTensor:
    import numpy as np

    from localq.formats.base import PackedTensor

    halves = np.concatenate([k.parts["weight"].swapaxes(1, 2), v.parts["weight"]], axis=1)
    both = np.ascontiguousarray(halves).reshape(-1, halves.shape[-1])
    return PackedTensor(k.format, tuple(both.shape), {"weight": both})


def latent(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of the attention, the norms, the sizes and the rope.

    Raises:
        UnsupportedError: a rope scaling or a key localq does not compute.
    """
    rotated = keys.integer("rope.dimension_count")
    width = keys.integer("attention.key_length_mla", keys.integer("attention.key_length"))
    value = keys.integer("attention.value_length_mla", keys.integer("attention.value_length"))
    keys.integer("attention.head_count_kv", keys.heads)  # 1 where llama.cpp absorbs, else as many as there are heads
    if not 0 < rotated < width:
        raise CheckpointError(f"'{keys.architecture}' rotates {rotated} of {width} dimensions; expected a part.")
    vocab, hidden = embedding(keys)
    config: dict[str, Any] = {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.heads,
        "q_lora_rank": keys.integer("attention.q_lora_rank", 0) or None,
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": width - rotated,
        "v_head_dim": value,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        "attention_bias": False,
        "rope_scaling": yarn(keys, rotated),
    }
    return config


def yarn(keys: ModelKeys, rotated: int) -> dict[str, Any] | None:
    """YaRN with DeepSeek's two mscales.

    GGUF holds 0.1 * mscale_all_dim and not mscale. llama.cpp takes mscale for equal to it in deepseek2, for 1
    elsewhere and where it is absent (src/llama-context.cpp), which is true of every released model.
    """
    multiplier = keys.number("rope.scaling.yarn_log_multiplier", 0.0)
    scaling = rope_scaling(keys, rotated, keys.number("rope.freq_base", 10000.0))
    if scaling is None:
        return None
    if scaling["rope_type"] != "yarn":
        raise UnsupportedError(
            f"This {keys.architecture} file scales its rope by '{scaling['rope_type']}'; localq knows yarn there."
        )
    all_dim = float(f"{10 * multiplier:.6g}")
    own = {"mscale": (keys.architecture == "deepseek2" and all_dim) or 1.0, "mscale_all_dim": all_dim}
    return {**scaling, "type": "yarn", **own}


def experts(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of the experts; all None and dense layers where the file counts none."""
    count = keys.integer("expert_count", 0)
    width = keys.integer("expert_feed_forward_length", 0)
    shared = keys.integer("expert_shared_count", 0)
    dense = keys.integer("leading_dense_block_count", 0)
    used = keys.integer("expert_used_count", 0)
    scale, norm = keys.number("expert_weights_scale", 1.0), keys.flag("expert_weights_norm", False)
    groups, group_used = keys.integer("expert_group_count", 1), keys.integer("expert_group_used_count", 1)
    if not count:
        return {"n_routed_experts": None, "n_shared_experts": None}
    if not 0 < used <= count:
        raise CheckpointError(f"'{keys.architecture}' counts {count} experts and uses {used} of them.")
    return {
        "n_routed_experts": count,
        "n_shared_experts": shared or None,
        "num_experts_per_tok": used,
        "moe_intermediate_size": width,
        "first_k_dense_replace": dense,
        "moe_layer_freq": 1,
        "routed_scaling_factor": scale or 1.0,  # llama.cpp takes 0 for "not set"
        "norm_topk_prob": norm,
        "n_group": max(groups, 1),
        "topk_group": max(group_used, 1),
    }
