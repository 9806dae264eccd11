"""gptq_<bits>bit_g<group>: GPTQ's packing; weight[n, k] = scale[g, n] * (code[k, n] - zero[g, n]), g = g_idx[k].

`qweight` int32 `[in * bits / 32, out]`, per column a little-endian bitstream down the rows; `qzeros` int32
`[groups, out * bits / 32]`, the same along the rows; `scales` `[groups, out]`; `g_idx` int32 `[in]`, the group of every
input, k // group where it is missing. Four kinds:

    gptq       v1: zero = stored + 1 modulo 2**bits, field by field (AutoGPTQ, auto-round)
    gptq_w     v1 as gptqmodel writes asymmetric 2, 4 and 8 bits: it takes 0x11111111 (...) from whole words, so that a
               zero point of 0 borrows from its neighbour; adding it back undoes that
    gptq_v2    zero = stored
    gptq_p     planar, zeros as v2: 32 codes are `bits` words, first the low planes of codes (4 bits wide; 2 for 3-bit
               codes), then the higher ones (5: 1, 6: 2, 7: 2 and 1); a plane's words are little-endian streams

A name without `_asym` is one the config calls symmetric (`sym` true): its zero points are all 2**(bits - 1), which
tells v1 from v2 and planar words from plain ones. Of asymmetric tensors nothing but `checkpoint_format` does.
`desc_act` is not asked: `g_idx` is the order. Sources: auto_gptq qlinear_cuda.py `pack`; gptqmodel
utils/planar_packing.py, utils/model.py `convert_gptq_v2_to_v1_format_module`, model_dequant.py.
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
from localq.formats.integers import (
    affine,
    affine_bits,
    affine_group,
    check_middle,
    dequantized,
    group_length,
    native_bits,
    one_of,
)

BITS = (2, 3, 4, 5, 6, 7, 8)
_PLANES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}  # other widths have one plane: the bitstream
_NAME = re.compile(r"gptq(_w|_v2|_p)?_([2-8])bit_(?:g(\d{1,6})|row)(_asym)?")


class GPTQ(
    Format,
    name="gptq",
    checked="gptqmodel, auto-round",
    kernel="integers",
    family="gptq",
    bits=4,
    group_size=128,
    block_size=32,
    bits_per_weight=4.15625,
    symmetric=False,
    scale="16-bit float and integer zero point per group",
    containers=("safetensors",),
    mains=("qweight",),
    suffixes=("qweight", "qzeros", "scales", "g_idx"),
    scale_parts=("scales",),
    row_multiple=32,
):
    kind: ClassVar[str] = ""  # "" (v1), "_w", "_v2", "_p"

    @classmethod
    def of(cls, bits: int, group: int, kind: str = "", symmetric: bool = True) -> type[GPTQ]:
        """The variant of this width, group (0: the whole row) and kind."""
        stored = bits + (16 + bits) / (group or 4096)
        name = f"gptq{kind}_{bits}bit_{f'g{group}' if group else 'row'}{'' if symmetric else '_asym'}"
        return cls.variant(
            name,
            bits=bits,
            group_size=group,
            kind=kind,
            symmetric=symmetric,
            bits_per_weight=stored,
            same_size=native_bits(bits, group or 4096, not symmetric) <= 1.1 * stored,
        )

    @classmethod
    def find(cls, name: str) -> type[GPTQ] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        return cls.of(int(found[2]), int(found[3] or 0), found[1] or "", found[4] is None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 128), cls.of(3, 64, "_v2"), cls.of(4, 32, "_w", False), cls.of(5, 128, "_p"), cls.of(8, 0)

    @classmethod
    def group(cls, width: int) -> int:
        """Weights that share a scale in rows of `width`."""
        return min(cls.group_size or width, width)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2 or shape[-1] % 32:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 32.")
        *lead, out, width = shape
        groups, bits = -(-width // cls.group(width)), int(cls.bits)
        return {
            "qweight": Part("int32", (*lead, width * bits // 32, out)),
            "qzeros": Part("int32", (*lead, groups, _zero_words(cls, out))),
            "scales": Part("float16|bfloat16|float32", (*lead, groups, out)),
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"g_idx": Part("int32", (*shape[:-2], shape[-1]))}

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        order, groups = parts.get("g_idx"), parts["scales"].shape[-2]
        if order is not None and order.size and (order.min() < 0 or order.max() >= groups):
            raise CheckpointError(
                f"g_idx of a {cls.name} tensor names groups {order.min()} to {order.max()}; it has {groups}."
            )

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        if cls.symmetric:
            check_middle(cls, cls.zeros(t))

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Config `bits`, `group_size`, `sym`, `checkpoint_format` and (here) `zeros`, see methods/gptq.py."""
        if not quantization or quantization.get("quant_method") != "gptq" or "qweight" not in stored:
            return None
        if str(quantization.get("pack_dtype", "int32")) != "int32":
            raise UnsupportedError(f"GPTQ packed into {quantization['pack_dtype']!r}; localq knows int32 words.")
        bits = one_of(quantization, "bits", BITS)
        words = stored["qweight"].shape
        if len(words) < 2 or words[-2] % bits:
            raise CheckpointError(f"qweight is {words}, whose rows are no codes of {bits} bits, as the config has it.")
        *lead, rows, out = words
        width = rows * 32 // bits
        group = group_length(quantization, width)
        groups = stored["scales"].shape[-2] if "scales" in stored and len(stored["scales"].shape) > 1 else 0
        if groups != -(-width // group):
            raise CheckpointError(
                f"The config says {bits} bits in groups of {group}: {width} inputs, {-(-width // group)} groups; "
                f"scales are {stored['scales'].shape if 'scales' in stored else 'missing'}."
            )
        form = cls.of(bits, 0 if group == width else group, _kind(quantization), quantization.get("sym") is True)
        return form, (*lead, out, width)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Columns of every part; zero points that do not start on a word are packed anew, as v2's."""
        rows = count(t.shape[-2], index)
        parts = {n: p if n == "g_idx" else p[..., index] for n, p in t.parts.items() if n != "qzeros"}
        bits, zeros, form = int(cls.bits), t.parts["qzeros"], cls
        run = range(t.shape[-2])[index] if isinstance(index, slice) else range(0)
        if run and run.step == 1 and run.start % 32 == 0:
            parts["qzeros"] = zeros[..., _zero_words(cls, run.start) : _zero_words(cls, run.stop)]
        else:
            parts["qzeros"] = _pack_zeros(cls.zeros(t)[..., index], bits, cls.kind == "_p")
            form = GPTQ.of(bits, cls.group_size, "_p" if cls.kind == "_p" else "_v2", cls.symmetric)
        return PackedTensor(form, (*t.shape[:-2], rows, t.shape[-1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Columns beside columns, with the zero points as v2's; all must agree about `g_idx`."""
        orders = [t.parts["g_idx"] for t in tensors if "g_idx" in t.parts]
        if orders and (len(orders) < len(tensors) or any(not np.array_equal(o, orders[0]) for o in orders)):
            return None
        parts = {n: np.concatenate([t.parts[n] for t in tensors], axis=-1) for n in ("qweight", "scales")}
        zeros = np.concatenate([cls.zeros(t) for t in tensors], axis=-1)
        parts["qzeros"] = _pack_zeros(zeros, int(cls.bits), cls.kind == "_p")
        if orders:
            parts["g_idx"] = orders[0]
        form = GPTQ.of(int(cls.bits), cls.group_size, "_p" if cls.kind == "_p" else "_v2", cls.symmetric)
        return PackedTensor(form, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def zeros(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Zero points `[..., groups, out]`."""
        bits, words = int(cls.bits), np.ascontiguousarray(t.parts["qzeros"]).view(np.uint32)
        if cls.kind == "_w":
            words = words + np.uint32(sum(1 << at for at in range(0, 32, bits)))
        found = _unpack_zeros(words, bits, cls.kind == "_p")[..., : t.shape[-2]]
        return (found + np.uint8(1)) & np.uint8((1 << bits) - 1) if cls.kind == "" else found

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Codes `[out, in]` of a matrix."""
        words = np.ascontiguousarray(t.parts["qweight"].T).view(np.uint32)
        return _unplane(words, int(cls.bits)) if _is_planar(cls) else unpack(words, int(cls.bits))

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        if len(t.shape) > 2:
            return np.stack([t.matrix(i).dequantize() for i in range(t.shape[0])])
        scales, zeros = _by_row(t.parts["scales"]), _by_row(cls.zeros(t))
        return dequantized(cls.codes(t), scales, zeros, t.parts.get("g_idx"), cls.group(t.shape[-1]))

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_bits(int(cls.bits)) and affine_group(cls.group(t.shape[-1]), t.shape[-1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine; inputs are sorted by group where `g_idx` scatters groups of equal length. No stacks."""
        if len(t.shape) != 2 or not cls.has_native(t):
            return None
        group, width = cls.group(t.shape[-1]), t.shape[-1]
        order = t.parts.get("g_idx")
        if order is not None and np.array_equal(order, np.arange(width) // group):
            order = None
        bits = affine_bits(int(cls.bits))
        if order is None and bits == cls.bits and not _is_planar(cls):
            words = t.parts["qweight"].T.view(np.uint32)  # MLX's very bitstream, seen from the side
        else:
            codes = cls.codes(t)
            if order is not None:
                if not np.array_equal(np.bincount(order, minlength=-(-width // group)), _lengths(width, group)):
                    return None  # groups of other lengths than MLX's
                order = np.argsort(order, kind="stable").astype(np.int32)
                codes = codes[:, order]
            words = pack(codes, bits)
        native = affine(words, bits, group, _by_row(t.parts["scales"]), _by_row(cls.zeros(t)))
        return native if native is None or order is None else Native(**{**vars(native), "input_order": order})

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout, bits = cls.layout(shape), int(cls.bits)
        words = rng.integers(-(1 << 31), 1 << 31, layout["qweight"].shape, np.int64).astype(np.int32)
        fields = rng.integers(0, 1 << bits, layout["scales"].shape).astype(np.uint8)
        if cls.symmetric:
            fields[:] = (1 << (bits - 1)) - (cls.kind in ("", "_w"))
        parts: dict[str, Array] = {"qweight": words, "qzeros": _pack_zeros(fields, bits, cls.kind == "_p")}
        spread = rng.uniform(0.5, 1.5, layout["scales"].shape) / (1 << int(cls.bits))
        return PackedTensor(cls, shape, {**parts, "scales": spread.astype(np.float16)})


def _kind(quantization: Mapping[str, Any]) -> str:
    found = quantization.get("checkpoint_format")
    kinds = {"gptq": "", "gptq_v2": "_v2", "gptq_p": "_p", "gptq_w": "_w"}
    if not isinstance(found, str) or found not in kinds:
        raise UnsupportedError(f"GPTQ's checkpoint_format is {found!r}; localq knows gptq, gptq_v2 and gptq_p.")
    return kinds[found]


def _is_planar(form: type[GPTQ]) -> bool:
    return form.kind == "_p" and int(form.bits) in _PLANES


def _zero_words(form: type[GPTQ], out: int) -> int:
    """Words of one group's zero points; planes come 32 outputs at a time."""
    return -(-out // 32) * int(form.bits) if _is_planar(form) else -(-out * int(form.bits) // 32)


def _by_row(a: Array) -> NDArray[np.float32]:
    """`[groups, out]` as float32 `[out, groups]`."""
    return np.ascontiguousarray(a.T, np.float32)


def _lengths(width: int, group: int) -> Array:
    full, rest = divmod(width, group)
    return np.array([group] * full + [rest] * bool(rest))


def _unplane(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """Codes `[..., n]` of planar words `[..., n * bits / 32]`."""
    runs = words.reshape(*words.shape[:-1], -1, bits)
    codes, word, shift = np.zeros((*runs.shape[:-1], 32), np.uint8), 0, 0
    for wide in _PLANES[bits]:
        codes |= unpack(runs[..., word : word + wide], wide) << np.uint8(shift)
        word, shift = word + wide, shift + wide
    return codes.reshape(*words.shape[:-1], -1)


def _plane(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint32]:
    """The inverse of `_unplane`."""
    runs, planes, shift = codes.reshape(*codes.shape[:-1], -1, 32), [], 0
    for wide in _PLANES[bits]:
        planes.append(pack(runs >> np.uint8(shift) & np.uint8((1 << wide) - 1), wide))
        shift += wide
    return np.concatenate(planes, axis=-1).reshape(*codes.shape[:-1], -1)


def _unpack_zeros(words: NDArray[np.uint32], bits: int, planar: bool) -> NDArray[np.uint8]:
    """Fields `[..., n]` of rows of words, the last run of which may be short."""
    missing = -words.shape[-1] % bits
    if missing:
        words = np.concatenate([words, np.zeros((*words.shape[:-1], missing), np.uint32)], axis=-1)
    return _unplane(words, bits) if planar and bits in _PLANES else unpack(words, bits)


def _pack_zeros(zeros: NDArray[np.uint8], bits: int, planar: bool) -> NDArray[np.int32]:
    """Zero points `[..., groups, out]` as `qzeros` of v2."""
    out = zeros.shape[-1]
    padded = np.concatenate([zeros, np.zeros((*zeros.shape[:-1], -out % 32), np.uint8)], axis=-1)
    if planar and bits in _PLANES:
        return _plane(padded, bits).view(np.int32)
    words = pack(padded, bits)
    return np.ascontiguousarray(words[..., : -(-out * bits // 32)]).view(np.int32)
