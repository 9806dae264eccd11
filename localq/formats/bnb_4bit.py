"""bnb_<nf4|fp4>_g<block>[_double]: bitsandbytes' 4-bit codebooks; weight = quant_map[code] * absmax[block].

Blocks of `blocksize` (64) weights run over the matrix read row by row. `weight` holds two codes a byte, the HIGH
nibble first, flat: uint8 `[out * in / 2, 1]`, or the same bytes as another dtype (`bnb_4bit_quant_storage`). Beside
it:

    weight.absmax                                  float32 `[blocks]`; with double quantisation uint8, then
                                                   absmax = nested_quant_map[byte] * nested_absmax[i // 256] + offset
    weight.quant_map                               float32 `[16]`, the code table, another for nf4 than for fp4
    weight.nested_absmax, weight.nested_quant_map  float32 `[blocks / 256]` and `[256]`
    weight.quant_state.bitsandbytes__nf4 (or fp4)  uint8, JSON: shape, blocksize, nested_offset, ...

Source: bitsandbytes/functional.py (`QuantState.as_dict`, `dequantize_4bit`, `dequantize_blockwise`), 0.50.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.reselect import floats, numbers, run_of

MAPS = ("nf4", "fp4")
STORAGE = {"uint8": 1, "int8": 1, "float16": 2, "bfloat16": 2, "float32": 4}
_NESTED = 256  # blocks of the second quantisation
_STATE = "weight.quant_state.bitsandbytes__"
_MAX_STATE = 1 << 14
_NAME = re.compile(r"bnb_(nf4|fp4)_g(\d{1,6})(_double)?(?:_in_(int8|float16|bfloat16|float32))?")
_TABLES = {  # for samples and pictures: a checkpoint brings its own. Source: bitsandbytes/functional.py
    "nf4": (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
    "fp4": (0, 0.0052, 0.6667, 1, 0.3333, 0.5, 0.1667, 0.25, -0.0, -0.0052, -0.6667, -1, -0.3333, -0.5, -0.1667, -0.25),
}


class BNB4Bit(
    Format,
    name="bnb_4bit",
    checked="bitsandbytes",
    kernel="bnb_4bit",
    family="bitsandbytes",
    bits=4,
    group_size=64,
    bits_per_weight=4.5,
    symmetric=False,
    scale="float32 per block",
    containers=("safetensors",),
    suffixes=(
        *("weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map"),
        *(_STATE + name for name in MAPS),
    ),
    scale_parts=("weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map"),
    zero_scales=True,
):
    table: ClassVar[str] = "nf4"
    double: ClassVar[bool] = False
    storage: ClassVar[str] = "uint8"

    @classmethod
    def of(cls, table: str = "nf4", block: int = 64, double: bool = False, storage: str = "uint8") -> type[BNB4Bit]:
        """The variant of this code table, block length, second quantisation and stored dtype."""
        return BNB4Bit.variant(
            f"bnb_{table}_g{block}{'_double' * double}{'' if storage == 'uint8' else f'_in_{storage}'}",
            table=table,
            double=double,
            storage=storage,
            group_size=block,
            scale="8-bit per block x float32 per 256 blocks" if double else "float32 per block",
            bits_per_weight=4 + (8 + 32 / _NESTED if double else 32) / block,
        )

    @classmethod
    def find(cls, name: str) -> type[BNB4Bit] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(found[1], int(found[2]), bool(found[3]), found[4] or "uint8")

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(), cls.of("nf4", 64, True), cls.of("fp4", 64, True, "bfloat16"), cls.of("fp4", 128)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        size = math.prod(shape)
        blocks = -(-size // cls.group_size)
        parts = {
            "weight": Part(cls.storage, (-(-size // (2 * STORAGE[cls.storage])), 1)),
            "weight.absmax": Part("uint8" if cls.double else "float32", (blocks,)),
            "weight.quant_map": Part("float32", (16,)),
            _STATE + cls.table: Part("uint8", (1,)),
        }
        if cls.double:
            parts["weight.nested_absmax"] = Part("float32", (-(-blocks // _NESTED),))
            parts["weight.nested_quant_map"] = Part("float32", (256,))
        return parts

    @classmethod
    def check_parts(cls, shape: tuple[int, ...], parts: Mapping[str, Part]) -> None:
        """As the layout has it, the JSON being of any length."""
        state = parts.get(_STATE + cls.table)
        if state is not None and state.dtype == "uint8" and len(state.shape) == 1:
            parts = {**parts, _STATE + cls.table: Part("uint8", (1,))}
        super().check_parts(shape, parts)

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        if cls.double:
            read_state(parts[_STATE + cls.table], cls.table, nested=True)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The arrays say all; what the config's `bnb_4bit_quant_type` says must not contradict them."""
        found = [name for name in MAPS if _STATE + name in stored]
        if not found:
            return None
        if len(found) > 1 or "weight" not in stored or "weight.absmax" not in stored:
            raise CheckpointError(
                f"A bitsandbytes 4-bit tensor is stored as {', '.join(sorted(stored))}; expected weight, "
                f"weight.absmax, weight.quant_map and one quant_state."
            )
        said = (quantization or {}).get("bnb_4bit_quant_type")
        if said is not None and said != found[0]:
            raise CheckpointError(f"The config's bnb_4bit_quant_type is {said!r}, the tensor's quant_state {found[0]}.")
        weight, double = stored["weight"], "weight.nested_absmax" in stored
        if weight.dtype not in STORAGE:
            raise UnsupportedError(f"4-bit codes are stored as {weight.dtype}; localq knows {', '.join(STORAGE)}.")
        state = read_state(stored[_STATE + found[0]].values(), found[0], double)
        return cls.of(found[0], state["blocksize"], double, weight.dtype), tuple(state["shape"])

    @classmethod
    def absmax(cls, t: PackedTensor) -> NDArray[np.float32]:
        """The scale of every block, float32 `[blocks]`."""
        stored = t.parts["weight.absmax"]
        if not cls.double:
            return stored
        state = read_state(t.parts[_STATE + cls.table], cls.table, nested=True)
        scale = np.repeat(t.parts["weight.nested_absmax"], _NESTED)[: len(stored)]
        found: NDArray[np.float32] = t.parts["weight.nested_quant_map"][stored] * scale
        found += np.float32(state["nested_offset"])
        return found

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        codes, size, block = stored_bytes(t), math.prod(t.shape), cls.group_size
        out = _pairs(t.parts["weight.quant_map"]).take(codes).view(np.float32)[:size]
        absmax = cls.absmax(t)
        whole = size // block
        grouped = out[: whole * block].reshape(whole, block)
        grouped *= absmax[:whole, None]
        out[whole * block :] *= absmax[whole:]  # a last block that is short
        return out.reshape(t.shape)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Still packed, with single scales, where rows are whole blocks; else decoded."""
        rows, width, block = t.shape[-2], t.shape[-1], cls.group_size
        run = run_of(index, rows)
        if width % block == 0 and block % 2 == 0:
            chosen = numbers(index, rows) if run is None else run
            absmax = cls.absmax(t).reshape(rows, -1)[chosen]
            return _cut(t, stored_bytes(t).reshape(rows, -1)[chosen], absmax)
        if run is not None:  # from the block the first row begins in
            first = run.start * width // (2 * block) * 2 * block
            last = min(-(-run.stop * width // (2 * block)) * 2 * block, t.size)
            flat = stored_bytes(t)[first // 2 : -(-last // 2)].reshape(1, -1)
            absmax = cls.absmax(t)[first // block : -(-last // block)].reshape(1, -1)
            some = _cut(t, flat, absmax, last - first).dequantize().reshape(-1)
            return floats(some[run.start * width - first : run.stop * width - first].reshape(-1, width))
        each = [t.rows(slice(i, i + 1)).dequantize() for i in numbers(index, rows)]
        return floats(np.concatenate(each) if each else np.empty((0, width), np.float32))

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Packed with single scales; None where rows are no whole blocks or code tables differ."""
        first, width = tensors[0], tensors[0].shape[1]
        tables = [t.parts["weight.quant_map"] for t in tensors]
        if width % cls.group_size or cls.group_size % 2 or any(not np.array_equal(a, tables[0]) for a in tables):
            return None
        codes = np.concatenate([stored_bytes(t) for t in tensors]).reshape(-1, width // 2)
        return _cut(first, codes, np.concatenate([cls.absmax(t) for t in tensors]).reshape(len(codes), -1))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        weight = layout["weight"]
        raw = rng.integers(0, 256, weight.shape[0] * STORAGE[cls.storage], np.uint8)
        blocks = layout["weight.absmax"].shape
        parts: dict[str, Array] = {
            "weight": raw.view(_dtype(cls.storage)).reshape(-1, 1),
            "weight.quant_map": np.array(_TABLES[cls.table], np.float32),
            _STATE + cls.table: _state(cls, shape, 0.5),
        }
        if not cls.double:
            return PackedTensor(
                cls, shape, {**parts, "weight.absmax": rng.uniform(0.5, 1.5, blocks).astype(np.float32)}
            )
        nested = rng.uniform(0.3, 0.4, layout["weight.nested_absmax"].shape).astype(np.float32)
        parts |= {"weight.absmax": rng.integers(0, 256, blocks, np.uint8), "weight.nested_absmax": nested}
        return PackedTensor(cls, shape, {**parts, "weight.nested_quant_map": np.linspace(-1, 1, 256, dtype=np.float32)})


def read_state(stored: Array, table: str, nested: bool) -> dict[str, Any]:
    """The JSON of a quant_state, held to what is needed: blocksize, shape and, if nested, the offset.

    Raises:
        CheckpointError: it is no such JSON, or contradicts the arrays.
        UnsupportedError: a shape of other than two axes, or another length of nested blocks.
    """
    if stored.nbytes > _MAX_STATE:
        raise CheckpointError(f"quant_state is {stored.nbytes} bytes long; at most {_MAX_STATE} were expected.")
    try:
        state = json.loads(stored.tobytes().decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"quant_state is not the JSON that was expected: {error}.") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"quant_state is a JSON {type(state).__name__}; an object was expected.")
    shape, block = state.get("shape"), state.get("blocksize")
    whole = isinstance(shape, list) and all(type(n) is int and 0 < n < 1 << 31 for n in shape)
    if not whole or type(block) is not int or not 2 <= block <= 1 << 16 or block & (block - 1):
        raise CheckpointError(
            f"quant_state has shape {str(shape)[:60]} and blocksize {str(block)[:20]}; expected positive integers, "
            f"the blocksize a power of two."
        )
    if state.get("quant_type") != table:
        raise CheckpointError(f"quant_state says {str(state.get('quant_type'))[:20]!r}; its name says {table!r}.")
    if len(shape or ()) != 2:
        raise UnsupportedError(f"A bitsandbytes tensor of shape {shape} is no matrix; localq knows [out, in].")
    offset, length = state.get("nested_offset"), state.get("nested_blocksize")
    if nested and (not isinstance(offset, (int, float)) or isinstance(offset, bool) or abs(offset) > 3e38):
        raise CheckpointError(f"quant_state has the nested_offset {str(offset)[:20]}; a number was expected.")
    if nested and length != _NESTED:
        raise UnsupportedError(f"quant_state has the nested_blocksize {str(length)[:20]}; localq knows {_NESTED}.")
    if not nested and (offset is not None or length is not None):
        raise CheckpointError("quant_state tells of nested scales, but weight.nested_absmax is missing.")
    return state


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands in it twice")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def stored_bytes(t: PackedTensor) -> NDArray[np.uint8]:
    """The stored bytes of all codes, without what pads the last element."""
    return np.ascontiguousarray(t.parts["weight"]).reshape(-1).view(np.uint8)[: -(-t.size // 2)]


def _pairs(table: NDArray[np.float32]) -> NDArray[np.uint64]:
    """For every byte its two weights, the high nibble's first, in one word."""
    byte = np.arange(256)
    return np.stack([table[byte >> 4], table[byte & 15]], axis=1).astype(np.float32).view(np.uint64)[:, 0]


def _state(form: type[BNB4Bit], shape: tuple[int, ...], offset: float | None) -> NDArray[np.uint8]:
    state = {"quant_type": form.table, "blocksize": form.group_size, "shape": list(shape)}
    if form.double:
        state |= {"nested_blocksize": _NESTED, "nested_offset": offset}
    return np.frombuffer(json.dumps(state).encode(), np.uint8)


def _cut(t: PackedTensor, codes: Array, absmax: Array, size: int = 0) -> PackedTensor:
    """Rows of bytes and scales as a tensor of one row, or as many rows as there are."""
    form = BNB4Bit.of(t.format.table, t.format.group_size)  # type: ignore[attr-defined]
    shape = (1, size) if size else (len(codes), t.shape[-1])
    return PackedTensor(
        form,
        shape,
        {
            "weight": codes.reshape(-1, 1),
            "weight.absmax": absmax.reshape(-1),
            "weight.quant_map": t.parts["weight.quant_map"],
            _STATE + form.table: _state(form, shape, None),
        },
    )
