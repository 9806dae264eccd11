"""RWKV 7: no attention; states that decay, and tokens mixed with the one before.

Names are those of the published checkpoints in flash-linear-attention's form. GGUF keeps the six mixing weights of a
layer in one tensor, and dummies of the first layer's value mix, which are never read (conversion/rwkv.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import embedding
from localq.checkpoints.architectures._hybrid import in_turn
from localq.checkpoints.architectures._shapes import as_shape, reshaped
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

_L = "model.layers.{i}."
_A = _L + "attn."
MIXES = "rwkvag"  # receptance, decay, key, value, learning rate, gate
_NORMS = {"attn_norm": "attn_norm", "attn_norm_2": "ffn_norm", "time_mix_ln": "attn.g_norm"}
_RANKS = {
    "decay_low_rank_dim": "attention.decay_lora_rank",
    "a_low_rank_dim": "attention.iclr_lora_rank",
    "v_low_rank_dim": "attention.value_residual_mix_lora_rank",
    "gate_low_rank_dim": "attention.gate_lora_rank",
}


def _lora(letter: str) -> dict[str, str | Name]:
    """Two matrices and a bias; the gate has none, the first layer no value mix."""
    stem, gap = f"blk.{{i}}.time_mix_{letter}", letter == "v"
    names: dict[str, str | Name] = {
        f"{stem}{end}.weight": Name(f"{_A}{letter}_lora.lora.{part}", optional=gap)
        for end, part in (("1", "0.weight"), ("2", "2.weight"), ("0", "2.bias"))
    }
    if letter == "g":
        del names[f"{stem}0.weight"]
    return names


def _mixes(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """`time_mix_lerp_fused`, `[6, 1, 1, hidden]`, as six tensors."""
    hidden = keys.hidden
    for i in range(keys.layers):
        stored = f"blk.{i}.time_mix_lerp_fused.weight"
        piece = pieces.pop(stored, None)
        if piece is None or piece.shape[0] != len(MIXES) or piece.shape[-1] != hidden:
            found = "missing" if piece is None else f"of shape {piece.shape}"
            raise CheckpointError(f"'{stored}' is {found}; expected {len(MIXES)} rows of {hidden}.")
        rows = as_shape(piece, (len(MIXES), hidden))
        for e, letter in enumerate(MIXES):
            pieces[f"blk.{i}.time_mix_lerp_{letter}.weight"] = piece._replace(
                shape=(1, 1, hidden), nbytes=piece.nbytes // len(MIXES), change=_row(rows, e)
            )


def _row(rows: Source, e: int) -> Callable[[PackedTensor], PackedTensor]:
    def change(t: PackedTensor) -> PackedTensor:
        from localq.formats.base import PackedTensor

        assert rows.change is not None
        parts = {name: part[e].reshape(1, 1, -1) for name, part in rows.change(t).parts.items()}
        return PackedTensor(t.format, (1, 1, rows.shape[1]), parts)

    return change


def _shapes(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    head = keys.integer("wkv.head_size")
    if head < 1 or keys.hidden % head:
        raise CheckpointError(f"'rwkv7.wkv.head_size' is {head}; expected a divisor of {keys.hidden}.")
    reshaped(time_mix_r_k=(-1, head), time_mix_k_k=(-1,), time_mix_k_a=(-1,), channel_mix_lerp_k=(-1,))(keys, pieces)


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    keys.integer("attention.head_count", 0)  # llama.cpp asks for it and reads the width of a head instead
    if keys.integer("token_shift_count", 2) != 2:
        keys.refuse("token_shift_count")
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "norm_eps": keys.number("attention.layer_norm_epsilon"),
        "head_dim": keys.integer("wkv.head_size"),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": False,
        **{name: keys.integer(key) for name, key in _RANKS.items()},
    }


_PROJECTIONS = {"receptance": "r_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
ARCHITECTURE = Architecture(
    model_type="rwkv7",
    names={
        "token_embd.weight": "model.embeddings.weight",
        "output.weight": "lm_head.weight",
        **{f"output_norm.{kind}": f"model.norm.{kind}" for kind in ("weight", "bias")},
        **{f"token_embd_norm.{kind}": f"model.layers.0.pre_norm.{kind}" for kind in ("weight", "bias")},
        **{f"blk.{{i}}.{n}.{kind}": f"{_L}{hf}.{kind}" for n, hf in _NORMS.items() for kind in ("weight", "bias")},
        **{f"blk.{{i}}.time_mix_lerp_{x}.weight": f"{_A}x_{x}" for x in MIXES},
        **{f"blk.{{i}}.time_mix_{x}.weight": f"{_A}{x}" for x in ("k_k", "k_a", "r_k")},
        **{f"blk.{{i}}.time_mix_{n}.weight": f"{_A}{hf}.weight" for n, hf in _PROJECTIONS.items()},
        **{stored: name for letter in "wavg" for stored, name in _lora(letter).items()},
        "blk.{i}.channel_mix_lerp_k.weight": _L + "ffn.x_k",
        "blk.{i}.channel_mix_key.weight": _L + "ffn.key.weight",
        "blk.{i}.channel_mix_value.weight": _L + "ffn.value.weight",
    },
    config=_config,
    consumed=tuple(f"blk.0.time_mix_v{end}.weight" for end in "012"),
    prepare=in_turn(_mixes, _shapes),
)
