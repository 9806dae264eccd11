"""awq_<bits>bit_g<group>: AWQ's gemm layout; weight[n, k] = scale[g, n] * (code[k, n] - zero[g, n]), g = k // group.

`qweight` int32 `[in, out * bits / 32]` packs along the outputs: of every 8 of them, numbers 0, 2, 4, 6, 1, 3, 5, 7 in
this order, a little-endian bitstream (4 bits: one word). `qzeros` int32 `[groups, out * bits / 32]` likewise; `scales`
`[groups, out]`. Zeros are stored as they are. AWQ moves activation scales into norms and the layers before: weights
of another checkpoint of the same model do not fit beside these.
Sources: autoawq awq/modules/linear/gemm.py, awq/utils/packing_utils.py; auto_round/utils/bit_packing.py (other widths).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.awq_family import AWQFamily, Read, read_settings
from localq.formats.base import Format, Match, PackedTensor, Part, count
from localq.formats.bits import pack, unpack

_NAME = re.compile(r"awq_([4-7])bit_(?:g(\d{1,6})|row)(_asym)?")
_SLOTS = (0, 2, 4, 6, 1, 3, 5, 7)  # the output in each slot
_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # the slot of each output


class AWQ(
    AWQFamily,
    name="awq",
    checked="autoawq, auto-round",
    kernel="integers",
    suffixes=("qweight", "qzeros", "scales"),
    row_multiple=32,
    block_size=1,
):
    known_bits = (4, 5, 6, 7)

    @classmethod
    def find(cls, name: str) -> type[Format] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]), int(found[2] or 0), found[3] is None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 128, False), cls.of(4, 32, True)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2:
            raise CheckpointError(f"A tensor of shape {shape[-1:]} is no matrix of {cls.name}, of blocks of 1 weights.")
        *lead, out, width = shape
        groups, words = -(-width // cls.group(width)), -(-out // 8 * 8 * int(cls.bits) // 32)
        return {
            "qweight": Part("int32", (*lead, width, words)),
            "qzeros": Part("int32", (*lead, groups, words)),
            "scales": Part("float16|bfloat16|float32", (*lead, groups, out)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if not {"qweight", "qzeros", "scales"} <= set(stored) or stored["qweight"].dtype != "int32":
            return None
        words, scales = stored["qweight"].shape, stored["scales"].shape
        if len(words) < 2 or len(scales) != len(words) or words[-2] == scales[-2]:
            return None
        found = read_settings(quantization, "gemm", words[-2], cls.known_bits)
        if found is None:
            return None
        form = cls.of(found.bits, found.group, found.symmetric)
        return form, (*words[:-2], scales[-1], words[-2])

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Columns of every part; packed anew where they do not start on a word."""
        rows, bits = count(t.shape[-2], index), int(cls.bits)
        run = range(t.shape[-2])[index] if isinstance(index, slice) else range(0)
        if run and run.step == 1 and run.start % 32 == 0:
            words = slice(run.start * bits // 32, -(-run.stop // 8 * 8 * bits // 32))
            packed = {n: t.parts[n][..., words] for n in ("qweight", "qzeros")}
        else:
            packed = {n: _pack(_unpack(t.parts[n], bits)[..., index], bits) for n in ("qweight", "qzeros")}
        return PackedTensor(
            cls, (*t.shape[:-2], rows, t.shape[-1]), {**packed, "scales": t.parts["scales"][..., index]}
        )

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Columns beside columns."""
        parts: dict[str, Array] = {"scales": np.concatenate([t.parts["scales"] for t in tensors], axis=-1)}
        for name in ("qweight", "qzeros"):
            fields = [_unpack(t.parts[name], int(cls.bits))[..., : t.shape[-2]] for t in tensors]
            parts[name] = _pack(np.concatenate(fields, axis=-1), int(cls.bits))
        return PackedTensor(cls, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def zeros(cls, t: PackedTensor) -> Array:
        return _unpack(t.parts["qzeros"], int(cls.bits))[..., : t.shape[-2]]

    @classmethod
    def read(cls, t: PackedTensor) -> Read:
        codes = _unpack(t.parts["qweight"], int(cls.bits))[:, : t.shape[-2]]
        scales, points = (np.ascontiguousarray(a.T, np.float32) for a in (t.parts["scales"], cls.zeros(t)))
        return np.ascontiguousarray(codes.T), scales, points

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout, bits = cls.layout(shape), int(cls.bits)
        words = rng.integers(-(1 << 31), 1 << 31, layout["qweight"].shape, np.int64).astype(np.int32)
        fields = rng.integers(0, 1 << bits, layout["scales"].shape).astype(np.uint8)
        if cls.symmetric:
            fields[:] = 1 << (bits - 1)
        spread = (rng.uniform(0.5, 1.5, fields.shape) / (1 << bits)).astype(np.float16)
        return PackedTensor(cls, shape, {"qweight": words, "qzeros": _pack(fields, bits), "scales": spread})


def _unpack(words: Array, bits: int) -> NDArray[np.uint8]:
    """Fields `[..., n]`, in the order of the outputs, of words `[..., n * bits / 32]`; a short last run is filled."""
    run = 8 * bits // 32 if 8 * bits % 32 == 0 else bits
    missing = -words.shape[-1] % run
    whole = np.concatenate([words, np.zeros((*words.shape[:-1], missing), words.dtype)], axis=-1) if missing else words
    fields = unpack(np.ascontiguousarray(whole).view(np.uint32), bits)
    return fields.reshape(*fields.shape[:-1], -1, 8)[..., _PLACES].reshape(fields.shape)


def _pack(fields: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """The inverse of `_unpack`; a short last word is filled with zeros."""
    out = fields.shape[-1]
    padded = np.concatenate([fields, np.zeros((*fields.shape[:-1], -out % 32), np.uint8)], axis=-1)
    slots = padded.reshape(*padded.shape[:-1], -1, 8)[..., _SLOTS].reshape(padded.shape)
    return pack(slots, bits)[..., : -(-out // 8 * 8 * bits // 32)].view(np.int32)
