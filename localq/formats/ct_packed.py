"""ct_int<bits>_g<group>: compressed-tensors' packed integers; weight = (q - zero_point) * scale, both signed.

`weight_packed` int32 `[out, words]` holds u = q + 2**(bits - 1) along the inputs; `weight_scale` `[out, groups]`
(`[out, 1]` for whole rows) in the model's float; `weight_shape` int64 `[2]`; asymmetric ones have `weight_zero_point`
int32 `[words, groups]`, offset alike and packed down the outputs; `weight_g_idx` int32 `[in]` is the group of every
input where activation order moved them.

Words are a dense little-endian bitstream since 0.18; before, 32 // bits codes a word with the rest unused (`_padded`
in the name; the same thing for 2, 4 and 8 bits). The width tells them apart, the config's `version` where it cannot.
Sources: compressed_tensors/compressors/pack_quantized (0.12 and 0.19) `pack_to_int32`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.bits import pack, unpack
from localq.formats.integers import affine, affine_bits, affine_group, dequantized, native_bits

BITS = (2, 3, 4, 5, 6, 7, 8)
_NAME = re.compile(r"ct_int([2-8])_(?:g(\d{1,6})|row)(_padded)?(_asym)?")


class CTPacked(
    Format,
    name="ct_int",
    checked="compressed-tensors",
    kernel="integers",
    family="compressed-tensors",
    bits=4,
    group_size=128,
    bits_per_weight=4.125,
    scale="16-bit float per group or output",
    containers=("safetensors",),
    mains=("weight_packed",),
    suffixes=("weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"),
    scale_parts=("weight_scale",),
):
    dense: ClassVar[bool] = True

    @classmethod
    def of(cls, bits: int, group: int, dense: bool = True, symmetric: bool = True) -> type[CTPacked]:
        """The variant of this width and group (0: the whole row)."""
        dense = dense or bits in (2, 4, 8)
        stored = (bits if dense else 32 / (32 // bits)) + (16 + (0 if symmetric else bits)) / (group or 4096)
        name = f"ct_int{bits}_{f'g{group}' if group else 'row'}" + ("" if dense else "_padded")
        return cls.variant(
            name + ("" if symmetric else "_asym"),
            bits=bits,
            group_size=group,
            dense=dense,
            symmetric=symmetric,
            bits_per_weight=stored,
            same_size=native_bits(bits, group or 4096, not symmetric) <= 1.1 * stored,
            row_multiple=1 if symmetric else 32,
        )

    @classmethod
    def find(cls, name: str) -> type[CTPacked] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        return cls.of(int(found[1]), int(found[2] or 0), not found[3], not found[4])

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 128), cls.of(4, 32, symmetric=False), cls.of(3, 64, dense=False), cls.of(8, 0)

    @classmethod
    def group(cls, width: int) -> int:
        """Weights that share a scale in rows of `width`."""
        return min(cls.group_size or width, width)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2:
            raise CheckpointError(f"A {cls.name} tensor has shape {shape}; a matrix was expected.")
        out, width = shape
        groups = -(-width // cls.group(width))
        parts = {
            "weight_packed": Part("int32", (out, _words(width, int(cls.bits), cls.dense))),
            "weight_scale": Part("float16|bfloat16|float32", (out, groups)),
        }
        if not cls.symmetric:
            parts["weight_zero_point"] = Part("int32", (_words(out, int(cls.bits), cls.dense), groups))
        return parts

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight_shape": Part("int64", (2,)), "weight_g_idx": Part("int32", (shape[-1],))}

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        order, groups = parts.get("weight_g_idx"), parts["weight_scale"].shape[-1]
        if order is not None and order.size and (order.min() < 0 or order.max() >= groups):
            raise CheckpointError(
                f"weight_g_idx of a {cls.name} tensor names groups {order.min()} to {order.max()}; it has {groups}."
            )

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        """Also the bits that padded codes leave free: zeros. Of 8-bit codes as many fill a word as of 7; not zeros."""
        super().check_scales(t)
        bits = 7 if cls.bits == 8 else int(cls.bits)
        free = np.uint32(-1 << 32 // bits * bits & 0xFFFFFFFF).view(np.int32)
        blocks = np.array_split(t.parts["weight_packed"], 64)
        if cls.bits == 8 and not any((block & free).any() for block in blocks):
            raise CheckpointError(
                f"Every word of a {cls.name} tensor of shape {t.shape} ends in four zero bits: these are codes of 7 "
                "bits, and the config says num_bits 8."
            )
        if not cls.dense and any((block & free).any() for block in blocks):
            raise CheckpointError(
                f"A {cls.name} tensor of shape {t.shape} has {32 // bits} codes of {bits} bits in a word; the bits "
                "beyond them are expected to be zeros, and are not: its codes are wider."
            )

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Settings `num_bits`, `strategy`, `group_size`, `symmetric`, `version` of methods/compressed_tensors.py."""
        main, scale = stored.get("weight_packed"), stored.get("weight_scale")
        if main is None or main.dtype != "int32" or scale is None or len(main.shape) != 2 or len(scale.shape) != 2:
            return None
        if not quantization or quantization.get("quant_method") != "compressed-tensors":
            return None
        bits = quantization.get("num_bits")
        if bits not in BITS or quantization.get("type") != "int":
            raise UnsupportedError(
                f"compressed-tensors packs {quantization.get('type')!r} of {bits!r} bits here; localq knows integers "
                f"of {BITS[0]} to {BITS[-1]} bits in weight_packed."
            )
        out, width = _shape(stored, quantization, bits)
        dense = _is_dense(main.shape[1], width, bits, quantization)
        group, groups = _group(quantization, width), scale.shape[1]
        if groups != -(-width // group):
            raise CheckpointError(
                f"The config says groups of {group}, {-(-width // group)} in {width} inputs; weight_scale has {groups}."
            )
        symmetric = "weight_zero_point" not in stored
        if quantization.get("symmetric") is not symmetric:
            raise CheckpointError(
                f"The config says symmetric: {quantization.get('symmetric')!r}, and weight_zero_point is "
                f"{'not stored' if symmetric else 'stored'}."
            )
        return cls.of(bits, 0 if group == width else group, dense, symmetric), (out, width)

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """u `[out, in]`."""
        return _unpacked(t.parts["weight_packed"], int(cls.bits), t.shape[-1], cls.dense)

    @classmethod
    def zeros(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Zero points as u has them, `[out, groups]`: 2**(bits - 1) where the format is symmetric."""
        if cls.symmetric:
            return np.full(t.parts["weight_scale"].shape, 1 << (int(cls.bits) - 1), np.uint8)
        packed = np.ascontiguousarray(t.parts["weight_zero_point"].T)
        return np.ascontiguousarray(_unpacked(packed, int(cls.bits), t.shape[0], cls.dense).T)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        scales, zeros = t.parts["weight_scale"].astype(np.float32), cls.zeros(t).astype(np.float32)
        return dequantized(cls.codes(t), scales, zeros, t.parts.get("weight_g_idx"), cls.group(t.shape[-1]))

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_bits(int(cls.bits)) and affine_group(cls.group(t.shape[-1]), t.shape[-1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine; inputs are sorted by group where `weight_g_idx` scatters groups of equal length."""
        if not cls.has_native(t):
            return None
        group, width, bits = cls.group(t.shape[-1]), t.shape[-1], affine_bits(int(cls.bits))
        order = t.parts.get("weight_g_idx")
        if order is not None and np.array_equal(order, np.arange(width) // group):
            order = None
        if order is None and cls.dense and bits == cls.bits and width * bits % 32 == 0:
            words = np.ascontiguousarray(t.parts["weight_packed"]).view(np.uint32)  # MLX's very bitstream
        else:
            codes = cls.codes(t)
            if order is not None:
                if np.bincount(order).tolist() != [group] * (width // group):
                    return None  # groups of other lengths than MLX's
                order = np.argsort(order, kind="stable").astype(np.int32)
                codes = codes[:, order]
            words = pack(codes, bits)
        scales, zeros = t.parts["weight_scale"].astype(np.float32), cls.zeros(t).astype(np.float32)
        native = affine(words, bits, group, scales, zeros)
        return native if native is None or order is None else Native(**{**vars(native), "input_order": order})

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Rows of codes and scales; zero points, packed down the outputs, are packed anew."""
        parts = {n: t.parts[n][index] for n in ("weight_packed", "weight_scale")}
        if "weight_g_idx" in t.parts:
            parts["weight_g_idx"] = t.parts["weight_g_idx"]
        if not cls.symmetric:
            parts["weight_zero_point"] = _packed(cls.zeros(t)[index].T, int(cls.bits), cls.dense).T
        return PackedTensor(t.format, (count(t.shape[-2], index), t.shape[-1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other; all must agree about `weight_g_idx`."""
        orders = [t.parts["weight_g_idx"] for t in tensors if "weight_g_idx" in t.parts]
        if orders and (len(orders) < len(tensors) or any(not np.array_equal(o, orders[0]) for o in orders)):
            return None
        parts = {n: np.concatenate([t.parts[n] for t in tensors]) for n in ("weight_packed", "weight_scale")}
        if orders:
            parts["weight_g_idx"] = orders[0]
        if not cls.symmetric:
            zeros = np.concatenate([cls.zeros(t) for t in tensors])
            parts["weight_zero_point"] = _packed(zeros.T, int(cls.bits), cls.dense).T
        return PackedTensor(tensors[0].format, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        bits, layout = int(cls.bits), cls.layout(shape)
        parts: dict[str, Array] = {
            "weight_packed": _packed(rng.integers(0, 1 << bits, shape, np.uint8), bits, cls.dense),
            "weight_scale": rng.uniform(0.5, 1.5, layout["weight_scale"].shape).astype(np.float16) / (1 << bits),
        }
        if not cls.symmetric:
            zeros = rng.integers(0, 1 << bits, layout["weight_scale"].shape[::-1], np.uint8)
            parts["weight_zero_point"] = _packed(zeros, bits, cls.dense).T
        parts["weight_scale"] = parts["weight_scale"].astype(np.float16)
        return PackedTensor(cls, shape, parts)


def _words(length: int, bits: int, dense: bool) -> int:
    """Words that hold `length` codes."""
    return -(-length * bits // 32) if dense else -(-length // (32 // bits))


def _unpacked(words: Array, bits: int, length: int, dense: bool) -> NDArray[np.uint8]:
    """The first `length` codes of rows of words."""
    whole = np.ascontiguousarray(words).view(np.uint32)
    if dense:
        missing = -whole.shape[-1] % bits
        if missing:
            whole = np.concatenate([whole, np.zeros((*whole.shape[:-1], missing), np.uint32)], axis=-1)
        return np.ascontiguousarray(unpack(whole, bits)[..., :length])
    shifts = np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits)
    fields = whole[..., None] >> shifts & np.uint32((1 << bits) - 1)
    return fields.reshape(*whole.shape[:-1], -1)[..., :length].astype(np.uint8)


def _packed(codes: Array, bits: int, dense: bool) -> NDArray[np.int32]:
    """The inverse of `_unpacked`, padded with zeros."""
    length = codes.shape[-1]
    size = 32 if dense else 32 // bits
    padded = np.concatenate([codes, np.zeros((*codes.shape[:-1], -length % size), np.uint8)], axis=-1)
    if dense:
        return np.ascontiguousarray(pack(padded, bits)[..., : _words(length, bits, True)]).view(np.int32)
    shifts = np.arange(size, dtype=np.uint32) * np.uint32(bits)
    fields = padded.reshape(*codes.shape[:-1], -1, size).astype(np.uint32) << shifts
    joined: NDArray[np.int32] = np.bitwise_or.reduce(fields, axis=-1).astype(np.uint32).view(np.int32)
    return joined


def _shape(stored: Mapping[str, Part], quantization: Mapping[str, Any], bits: int) -> tuple[int, int]:
    """`[out, in]` by `weight_shape`, else by the groups of the scales, else by the words."""
    words, scales = stored["weight_packed"].shape, stored["weight_scale"].shape
    if "weight_shape" in stored:
        found = [int(n) for n in stored["weight_shape"].values().reshape(-1)]
        if len(found) != 2 or found[0] != words[0] or not 0 < found[1] <= words[1] * 32 // bits:
            raise CheckpointError(f"weight_shape is {found}; weight_packed has {words} words of {bits}-bit codes.")
        return found[0], found[1]
    group = quantization.get("group_size")
    if quantization.get("strategy") == "group" and isinstance(group, int) and group > 0:
        return words[0], scales[1] * group
    return words[0], words[1] * (32 // bits) if _old(quantization) else words[1] * 32 // bits


def _is_dense(words: int, width: int, bits: int, quantization: Mapping[str, Any]) -> bool:
    """By the number of words a row; where both packings have as many, by the writer's version."""
    fits = [dense for dense in (True, False) if _words(width, bits, dense) == words]
    if not fits:
        raise CheckpointError(
            f"weight_packed has {words} words a row; {width} codes of {bits} bits take "
            f"{_words(width, bits, True)} (dense) or {_words(width, bits, False)} (padded)."
        )
    return fits[0] if len(fits) == 1 else not _old(quantization)


def _old(quantization: Mapping[str, Any]) -> bool:
    """Whether a version before 0.18 wrote it; a config without version is older than that."""
    found = re.match(r"(\d+)\.(\d+)", str(quantization.get("version", "")))
    return found is None or (int(found[1]), int(found[2])) < (0, 18)


def _group(quantization: Mapping[str, Any], width: int) -> int:
    strategy, group = quantization.get("strategy"), quantization.get("group_size")
    if strategy == "channel" or (strategy is None and group in (None, -1)):
        return width
    if strategy not in ("group", None) or type(group) is not int or (group != -1 and group < 1):
        raise UnsupportedError(
            f"compressed-tensors' strategy {strategy!r} with group_size {group!r}; localq knows 'group' and 'channel' "
            "for packed integers."
        )
    return width if group == -1 else min(group, width)
