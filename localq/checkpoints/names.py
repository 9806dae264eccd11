"""GGUF tensors under their Hugging Face names, shapes and row order.

`map_tensors` first brings the forms a file may choose between to one form (fused q/k/v and gate/up are cut, a stack
of experts written as single tensors is numbered), then walks the architecture's table. Nothing is read and numpy is
not imported: what has to happen to the values is a `Source.change`, applied on access.

Exceptions from Hugging Face's names, where no packed tensor could hold the published matrix: halves of a latent
attention's `kv_b_proj` (`embed_q`, `unembed_out`: architectures/_mla.py), parts of a fused matrix packed in several
types (`qkv_proj.parts.0.weight`: _joins.py), and stacks or matrices that Hugging Face keeps the other way round
(gpt-oss's and Granite's experts, DBRX, GPT-2), which appear as mlx-lm names them. Each entry says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localq.checkpoints.architectures import Architecture, Name, find
from localq.checkpoints.architectures._rules import take
from localq.checkpoints.architectures._widths import projected
from localq.checkpoints.keys import ModelKeys, plain
from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import Stored
    from localq.formats.base import PackedTensor

    Change = Callable[[PackedTensor], PackedTensor]


class Source(NamedTuple):
    """Where one Hugging Face tensor comes from.

    Attributes:
        tensor: GGUF name.
        shape: logical shape after `change`, `[..., out_features, in_features]`.
        format: stored ggml type (name in FORMATS).
        nbytes: stored bytes of this tensor alone (an expert's share of its stack).
        change: applied to the stored tensor on access; None where it is taken as it is.
        others: further stored tensors that one matrix is put together from; `join` gets all of them, before `change`.
        join: how; None where there are no others.
    """

    tensor: str
    shape: tuple[int, ...]
    format: str
    nbytes: int
    change: Change | None
    others: tuple[str, ...] = ()
    join: Callable[..., PackedTensor] | None = None


def map_tensors(architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, Stored]) -> dict[str, Source]:
    """Hugging Face name -> `Source` for every weight of a GGUF file.

    Args:
        architecture: GGUF's `general.architecture`.
        metadata: the file's key/value pairs.
        tensors: GGUF name -> stored tensor (`shape` outermost first, `type`, `nbytes`), without the second scales
            that the reader makes part of their weight (NVFP4).

    Raises:
        UnsupportedError: the architecture, or a tensor in the file, is one localq has no name for.
        CheckpointError: a tensor the architecture needs is missing or has an impossible shape.
    """
    keys = ModelKeys(architecture, metadata, tensors)
    entry = find(keys)
    pieces = _pieces(keys, entry)
    if entry.prepare is not None:
        entry.prepare(keys, pieces)
    found: dict[str, Source] = {}
    for pattern, target in entry.names.items():
        name = target if isinstance(target, Name) else Name(target)
        for i in range(keys.layers) if "{i}" in pattern else (0,):
            _take_piece(keys, pieces, pattern.replace("{i}", str(i)), name, i, found)
    _refuse_leftovers(keys, entry, pieces)
    return found


def _take_piece(
    keys: ModelKeys, pieces: dict[str, Source], stored: str, name: Name, i: int, found: dict[str, Source]
) -> None:
    hf = name.hf.replace("{i}", str(i))
    if stored in pieces:
        piece = _ruled(keys, pieces.pop(stored), name)
        if "{e}" not in hf:
            found[hf] = piece
            return
        if len(piece.shape) != (2 if stored.endswith(".bias") else 3) or piece.shape[0] != keys.integer("expert_count"):
            raise CheckpointError(
                f"'{stored}' has shape {piece.shape}; expected a stack of {keys.integer('expert_count')} experts."
            )
        for e in range(piece.shape[0]):
            found[hf.replace("{e}", str(e))] = _expert(piece, e)
        return
    _take_numbered(keys, pieces, stored, name, hf, found)


def _take_numbered(
    keys: ModelKeys, pieces: dict[str, Source], stored: str, name: Name, hf: str, found: dict[str, Source]
) -> None:
    """A tensor the file lacks under its own name: its experts one by one, where it is a stack of them."""
    experts = 0
    while "{e}" in hf and (single := _numbered(stored, experts)) in pieces:
        found[hf.replace("{e}", str(experts))] = _ruled(keys, pieces.pop(single), name)
        experts += 1
    if experts and experts != keys.integer("expert_count"):
        raise CheckpointError(
            f"The GGUF file lacks '{_numbered(stored, experts)}'; it has {experts} of "
            f"{keys.integer('expert_count')} experts."
        )
    if experts == 0 and not name.optional:
        raise CheckpointError(
            f"The GGUF file lacks the tensor '{stored}' that architecture '{keys.architecture}' needs.",
            "It may be one shard of a split file, or a partial download.",
        )


def _ruled(keys: ModelKeys, piece: Source, name: Name) -> Source:
    if name.rule is None:
        return piece
    return piece._replace(change=_after(piece.change, name.rule(keys, piece.shape)))


def _after(first: Change | None, second: Change) -> Change:
    if first is None:
        return second
    return lambda t: second(first(t))


def _expert(piece: Source, e: int) -> Source:
    view = _after(piece.change, lambda t: t.matrix(e))
    return piece._replace(shape=piece.shape[1:], nbytes=piece.nbytes // piece.shape[0], change=view)


def _numbered(stored: str, expert: int) -> str:
    """`blk.0.ffn_up_exps.weight` -> `blk.0.ffn_up.3.weight`, Mixtral's first GGUF form (early 2024)."""
    stem, _, kind = stored.rpartition(".")
    return f"{stem.removesuffix('_exps')}.{expert}.{kind}"


def predicts_ahead(keys: ModelKeys, name: str) -> bool:
    """Whether a tensor belongs to the blocks after the last layer that guess further tokens (multi-token prediction).

    They make no difference to the logits; mlx-lm drops them, llama.cpp keeps them for drafting.
    """
    block = name.split(".", 2)[1] if name.startswith("blk.") else ""
    return block.isdecimal() and len(block) < 9 and keys.layers <= int(block) < keys.blocks


def _pieces(keys: ModelKeys, entry: Architecture) -> dict[str, Source]:
    """Every weight of the file under the name the table uses, fused tensors cut where the table wants them apart."""
    pieces: dict[str, Source] = {}
    for name, stored in keys.tensors.items():
        if name in entry.consumed or predicts_ahead(keys, name):
            continue
        whole = Source(name, tuple(stored.shape), stored.type.name, stored.nbytes, None)
        cuts = _cuts(keys, entry, name, whole.shape)
        if cuts is None:
            pieces[name] = whole
            continue
        start = 0
        for part, rows in cuts:
            if part in keys.tensors:
                raise CheckpointError(f"The GGUF file holds '{part}' twice: alone and inside '{name}'.")
            pieces[part] = _cut(whole, start, rows)
            start += rows
    return pieces


def _cuts(keys: ModelKeys, entry: Architecture, name: str, shape: tuple[int, ...]) -> list[tuple[str, int]] | None:
    """Parts of a fused tensor with their rows, in stored order (`fuse_qkv`, `fuse_gate_up_exps`), or None."""
    block, qkv, kind = name.partition(".attn_qkv.")
    both = "blk.{i}.attn_qkv.weight" in entry.names  # published fused: everywhere, or in linear attention alone
    linear = ("ssm_conv1d.weight", "ssm_a", "ssm_out.weight")
    gated = both and "blk.{i}.ssm_a" in entry.names and not any(f"{block}.{name}" in keys.tensors for name in linear)
    if qkv and "blk.{i}.attn_q.weight" in entry.names and (gated or not both):
        query, key, value = projected(keys, block)
        query *= 2 if gated else 1  # the gate of the queries lies beside them
        rows, sizes = _rows(name, shape), {"attn_q": query, "attn_k": key, "attn_v": value}
    else:
        block, gate_up, kind = name.partition(".ffn_gate_up_exps.")
        if not gate_up or "blk.{i}.ffn_gate_exps.weight" not in entry.names:
            return None
        rows = _rows(name, shape)
        sizes = {"ffn_gate_exps": rows // 2, "ffn_up_exps": rows // 2}
    if sum(sizes.values()) != rows:
        raise CheckpointError(f"'{name}' has {rows} rows; its parts {', '.join(sizes)} need {sum(sizes.values())}.")
    return [(f"{block}.{part}.{kind}", count) for part, count in sizes.items()]


def _row_axis(name: str) -> int:
    return -1 if name.endswith(".bias") else -2


def _rows(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) < -_row_axis(name):
        raise CheckpointError(f"'{name}' has shape {shape}; expected a matrix.")
    return shape[_row_axis(name)]


def _cut(whole: Source, start: int, rows: int) -> Source:
    axis = _row_axis(whole.tensor) % len(whole.shape)
    shape = (*whole.shape[:axis], rows, *whole.shape[axis + 1 :])
    cut = slice(start, start + rows)
    return whole._replace(
        shape=shape, nbytes=whole.nbytes * rows // whole.shape[axis], change=lambda t: take(t, cut, axis)
    )


def _refuse_leftovers(keys: ModelKeys, entry: Architecture, pieces: Mapping[str, Source]) -> None:
    if not pieces:
        return
    some = ", ".join(plain(name) for name in sorted(pieces)[:6]) + (
        f" and {len(pieces) - 6} more" if len(pieces) > 6 else ""
    )
    raise UnsupportedError(
        f"The GGUF file holds tensors localq knows no use for in architecture '{keys.architecture}' "
        f"({entry.model_type}): {some}.",
        "Leaving them out could change the answers, so localq does not run the file; please report it.",
    )
