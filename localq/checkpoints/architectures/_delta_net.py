"""What Qwen3-Next and Qwen3.5 share: gated delta nets, every n-th layer attention with gated queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, QK_NORMS, decoder, expert_counts
from localq.checkpoints.architectures._hybrid import log_of_minus
from localq.checkpoints.architectures._rules import minus_one, take
from localq.checkpoints.keys import is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.architectures import Change
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

LINEAR = LAYER + "linear_attn."
OUTER: dict[str, str | Name] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": Name("model.norm.weight", minus_one),
    "output.weight": Name("lm_head.weight", optional=True),
}
NORMS: dict[str, str | Name] = {
    "blk.{i}.attn_norm.weight": Name(LAYER + "input_layernorm.weight", minus_one),
    "blk.{i}.post_attention_norm.weight": Name(LAYER + "post_attention_layernorm.weight", minus_one),
}
FULL: dict[str, str | Name] = {**ATTENTION, **{n: Name(str(hf), minus_one) for n, hf in QK_NORMS.items()}}
SHARED_EXPERT: dict[str, str | Name] = {
    "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.gate.weight",
    "blk.{i}.ffn_gate_inp_shexp.weight": LAYER + "mlp.shared_expert_gate.weight",
    **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{LAYER}mlp.shared_expert.{x}_proj.weight" for x in ("gate", "up", "down")},
}


class Sizes(NamedTuple):
    """Heads and widths of the linear attention, and taps of its convolution."""

    key_heads: int
    value_heads: int
    width: int
    taps: int

    @property
    def keys(self) -> int:
        """Channels of the keys (and of the queries)."""
        return self.key_heads * self.width

    @property
    def a_key(self) -> int:
        """Value heads that share a key head."""
        return self.value_heads // self.key_heads


def sizes(keys: ModelKeys) -> Sizes:
    """`Sizes` of a file (Qwen3NextModel.set_gguf_parameters, conversion/qwen.py).

    Raises:
        CheckpointError: they contradict each other.
    """
    names = ("group_count", "time_step_rank", "state_size", "conv_kernel")
    found = Sizes(*(keys.integer(f"ssm.{name}") for name in names))
    inner = keys.integer("ssm.inner_size")
    if min(found) < 1 or found.value_heads % found.key_heads or inner != found.value_heads * found.width:
        raise CheckpointError(
            f"'{keys.architecture}' has {found.value_heads} value heads on {found.key_heads} key heads of "
            f"{found.width}, and ssm.inner_size {inner}; expected a multiple, and heads times width."
        )
    return found


def kinds(keys: ModelKeys) -> list[str]:
    """Kind of every layer: each n-th is attention."""
    period = keys.integer("full_attention_interval", 4)
    if period < 1:
        keys.refuse("full_attention_interval")
    usual = [(i + 1) % period != 0 for i in range(keys.layers)]
    own = keys.value("attention.recurrent_layers")
    if own is not None and (not is_array(own) or [bool(one) for one in own][: keys.layers] != usual):
        keys.refuse("attention.recurrent_layers", "full_attention_interval")
    if all(usual):
        keys.refuse("full_attention_interval")  # mlx-lm makes its masks from the first attention layer
    return ["linear attention" if linear else "attention" for linear in usual]


def linear_names(projections: dict[str, str | Name], reorder: bool) -> dict[str, str | Name]:
    """Tensors of a gated delta net: `projections`, then those of both models."""
    order = by_group if reorder else (lambda rows: None)
    return {
        **projections,
        "blk.{i}.ssm_conv1d.weight": Name(LINEAR + "conv1d.weight", order(conv_rows)),
        "blk.{i}.ssm_dt.bias": Name(LINEAR + "dt_bias", order(head_rows)),
        "blk.{i}.ssm_a": Name(LINEAR + "A_log", _decays if reorder else log_of_minus),
        "blk.{i}.ssm_norm.weight": LINEAR + "norm.weight",
        "blk.{i}.ssm_out.weight": LINEAR + "out_proj.weight",
    }


def delta_config(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of both models."""
    found = sizes(keys)
    kinds(keys)
    config = decoder(keys, scalings=(), partial_rope=True)
    return {
        **config,
        "linear_num_value_heads": found.value_heads,
        "linear_num_key_heads": found.key_heads,
        "linear_key_head_dim": found.width,
        "linear_value_head_dim": found.width,
        "linear_conv_kernel_dim": found.taps,
        "full_attention_interval": keys.integer("full_attention_interval", 4),
        "attention_bias": False,
    }


def expert_config(keys: ModelKeys, config: dict[str, Any]) -> dict[str, Any]:
    """Config keys of the models with experts; the fallbacks are llama.cpp's."""
    experts, used = expert_counts(keys)
    inner = config["intermediate_size"]
    return {
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length", inner // used) or inner // used,
        "shared_expert_intermediate_size": keys.integer("expert_shared_feed_forward_length", inner) or inner,
        "norm_topk_prob": keys.flag("expert_weights_norm", True),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


# Value heads: Hugging Face keeps those of one key head together, llama.cpp counts key heads first
# (`_LinearAttentionVReorderBase`, conversion/qwen.py).


def by_group(rows: Callable[[Sizes], Any]) -> Callable[[ModelKeys, tuple[int, ...]], Change]:
    """A rule that gives rows back Hugging Face's order; `rows` lists the stored row of each."""

    def rule(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
        found = sizes(keys)
        axis = -2 if len(shape) == 2 else 0  # a convolution is [channels, 1, taps]

        def change(t: PackedTensor) -> PackedTensor:
            order = rows(found)
            if len(order) != t.shape[axis]:
                raise CheckpointError(f"A tensor of shape {t.shape} was expected to have {len(order)} rows.")
            return take(t, order) if len(shape) != 3 else _take_first(t, order)

        return change

    return rule


def _take_first(t: PackedTensor, order: Any) -> PackedTensor:
    from localq.formats.base import PackedTensor

    return PackedTensor(t.format, t.shape, {name: part[order] for name, part in t.parts.items()})


def head_rows(s: Sizes, width: int = 1) -> Any:
    """Stored place of each value head's rows, `width` a head."""
    import numpy as np

    stored = np.arange(s.value_heads * width).reshape(s.a_key, s.key_heads, width)
    return stored.swapaxes(0, 1).reshape(-1)


def value_rows(s: Sizes) -> Any:
    """Stored place of each channel of the values."""
    return head_rows(s, s.width)


def conv_rows(s: Sizes) -> Any:
    """Stored place of each channel of queries, keys and values."""
    import numpy as np

    return np.concatenate([np.arange(2 * s.keys), 2 * s.keys + value_rows(s)])


def _decays(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    first, then = by_group(head_rows)(keys, shape), log_of_minus(keys, shape)
    return lambda t: then(first(t))


def order_columns(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """A `prepare`: the columns of `ssm_out` in Hugging Face's order where whole blocks can change places.

    A block of 256 spans two heads of 128: such a tensor keeps llama.cpp's order of columns and goes by a name of
    localq's own, `out_proj.tiled`; the model then puts its activations in that order.
    """
    from localq.formats.ggml_types import GGML_BY_NAME

    found = sizes(keys)
    for i in range(keys.layers):
        stored = f"blk.{i}.ssm_out.weight"
        piece = pieces.get(stored)
        if piece is None or found.a_key == 1:
            continue
        if len(piece.shape) != 2 or piece.shape[1] != found.value_heads * found.width:
            raise CheckpointError(
                f"'{stored}' has shape {piece.shape}; expected {found.value_heads * found.width} columns."
            )
        block = GGML_BY_NAME[piece.format].block if piece.format in GGML_BY_NAME else 1
        if found.width % block:
            pieces[f"blk.{i}.ssm_out.tiled.weight"] = pieces.pop(stored)
        else:
            pieces[stored] = piece._replace(change=_blocks(found, block))


def _blocks(s: Sizes, block: int) -> Change:
    def change(t: PackedTensor) -> PackedTensor:
        from localq.formats.base import PackedTensor

        order = head_rows(s, s.width // block)
        w = t.parts["weight"]
        cut = w.reshape(w.shape[0], len(order), -1)[:, order].reshape(w.shape)
        return PackedTensor(t.format, t.shape, {**t.parts, "weight": cut})

    return change
