"""What a quantisation format is: the class every file of this folder subclasses, and the tensor it describes.

A `Format` is stateless: its class methods work on a `PackedTensor`, which is a format, a logical shape and
named parts (numpy arrays, usually views of a mapped file). numpy and ml_dtypes only: no MLX, no path, no model.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from localq.errors import CheckpointError, LocalqError
from localq.formats.arrays import Array, NDArray
from localq.formats.ggml_types import GGML_BY_NAME

Exactness = Literal["exact", "rounded", "requantised"]
EXACTNESS: tuple[Exactness, ...] = ("exact", "rounded", "requantised")  # the better first

_REGISTRY: dict[str, type[Format]] = {}
_VARIANTS: dict[str, type[Format]] = {}
SMALL = 1 << 20  # bytes of the largest array whose values may be read to find out what a tensor is


class Part(NamedTuple):
    """One stored array of a packed tensor: numpy/ml_dtypes dtype name (`a|b` where either may be) and stored shape.

    Where it stands for an array of a file, `read` gets its values.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Array] | None = None

    def values(self) -> Array:
        """The stored values, for small arrays that say what the big ones mean (a shape, a bit width).

        Raises:
            CheckpointError: larger than `SMALL` bytes.
        """
        assert self.read is not None, "no file behind this part"
        if math.prod(self.shape) > SMALL:
            raise CheckpointError(f"An array of shape {self.shape} was expected to hold {SMALL} bytes or fewer.")
        values = self.read()
        if values.nbytes > SMALL:
            raise CheckpointError(f"An array of {values.nbytes} bytes was expected to hold {SMALL} or fewer.")
        return values


Match = tuple["type[Format]", tuple[int, ...]]  # the format of a stored tensor and its logical shape


@dataclass(frozen=True, eq=False)
class PackedTensor:
    """A tensor as stored: `shape` is the logical `[..., out_features, in_features]`, `parts` the packed arrays.

    Raises:
        CheckpointError: a part is missing, or has another dtype or shape than the format's layout.
    """

    format: type[Format]
    shape: tuple[int, ...]
    parts: Mapping[str, Array]

    def __post_init__(self) -> None:
        self.format.check_parts(self.shape, {n: Part(p.dtype.name, p.shape) for n, p in self.parts.items()})
        self.format.check(self.parts)

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts, scales included; of arrays shared with other tensors, its share."""
        return int(sum(p.nbytes for p in self.parts.values()) * self.format.share)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.nbytes / max(self.size, 1)

    def dequantize(self) -> NDArray[np.float32]:
        """The weights as float32 in the logical shape."""
        return self.format.dequantize(self)

    def rows(self, index: slice | Array) -> PackedTensor:
        """The same matrix (or stack of matrices) with the rows `index` of axis -2, as `Format.select_rows` has it."""
        assert len(self.shape) >= 2, self.shape
        if isinstance(index, slice) and index.indices(self.shape[-2]) == (0, self.shape[-2], 1):
            return self
        return self.format.select_rows(self, index)

    def matrix(self, index: int) -> PackedTensor:
        """Matrix `index` of a stack `[n, ..., out, in]` (an expert, a head): a view."""
        assert len(self.shape) >= 3, self.shape
        return self.format.select_matrix(self, index)


@dataclass(frozen=True, eq=False)
class Native:
    """The same weights in one of MLX's own modes: `y = quantized_matmul(x', weight, scales, biases) * multiplier`.

    `weight` is uint32 `[..., out, in * bits / 32]`, `scales`/`biases` `[..., out, in / group_size]`. What MLX's modes
    have no place for stands beside them, float32: `multiplier`, per matrix (`shape[:-2]`) or per row (`shape[:-1]`),
    and what happens to the input first, `x' = (x * input_scale)[..., input_order]` (both `[in]`, `input_order` int32;
    matrices alone have them, stacks do not). Before and after everything else stand rotations, see formats/rotated.py:
    a float32 matrix `[h, h]` for every h inputs or outputs, or h alone for Sylvester's Hadamard matrix / sqrt(h); of
    inputs also `[in / h, h, h]`, a matrix for each of their blocks.

    `exactness` was decided by the repack itself, and `error` is its largest error, in quantisation steps (0 if exact).
    `exact` says: with `scales` and `biases` cast to float32, MLX's float32 decode has the values of `dequantize` (a
    zero may change its sign). Affine scales come in the narrowest dtype that holds them (float16, else float32);
    whoever casts them to a narrower one, bfloat16 say, rounds them and has to say so.
    """

    mode: str
    bits: int
    group_size: int
    weight: Array
    scales: Array
    biases: Array | None = None
    multiplier: Array | None = None
    exactness: Exactness = "exact"
    error: float = 0.0
    input_order: Array | None = None
    input_scale: Array | None = None
    input_rotation: Array | int | None = None
    output_rotation: Array | int | None = None


class Format:
    """Base of every format. Subclass with keywords and the format is registered::

        class Q4_0(GGMLFormat, name="q4_0", family="ggml", symmetric=True): ...

    A base that stands for no format of its own (no `name`) is not registered. A format with free parameters (GPTQ:
    bits, group, ...) is registered once, as a family; `match` gives `variant`s of it, subclasses made on demand with
    facts of their own, which `find` and `localq.formats.find` know by name again.
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""  # "float", "ggml", "mlx": who defines the layout
    bits: ClassVar[float] = 0  # bits of one code
    group_size: ClassVar[int] = 1  # weights that share the innermost scale
    block_size: ClassVar[int] = 1  # in_features must be a multiple of this
    bits_per_weight: ClassVar[float] = 0  # stored bits per weight, scales included (nominal)
    symmetric: ClassVar[bool] = True  # no separate minimum or zero point
    scale: ClassVar[str] = ""  # in words: "fp16 per 32", "6-bit per 32 x fp16 per 256"
    containers: ClassVar[tuple[str, ...]] = ()  # "gguf", "mlx" (safetensors with MLX's config), "safetensors"
    checked: ClassVar[str] = ""  # whose decoded values the tests compare with
    kernel: ClassVar[str | None] = None  # stem of the kernel pair in localq_metal
    same_size: ClassVar[bool] = False  # the MLX mode that holds it takes about the same memory
    # How a safetensors checkpoint spells it: arrays `PREFIX.suffix` of one module.
    mains: ClassVar[tuple[str, ...]] = ("weight",)  # one of these makes PREFIX a matrix
    suffixes: ClassVar[tuple[str, ...]] = ()  # arrays beside it that belong to it
    unused: ClassVar[tuple[str, ...]] = ()  # arrays beside it that multiplying float activations needs not
    scale_parts: ClassVar[tuple[str, ...]] = ()  # parts that must be finite ...
    zero_scales: ClassVar[bool] = False  # ... and, unless zeros mean blocks of zeros, not zero
    row_multiple: ClassVar[int] = 1  # rows that share packed words or scales: cut blocks of rows at multiples of it
    mixed_rows: ClassVar[bool] = False  # one row costs the decoding of all
    share: ClassVar[float] = 1.0  # of its arrays, where several tensors lie in the same ones

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        super().__init_subclass__()
        known = {key for base in cls.__mro__ for key in base.__dict__.get("__annotations__", ())}
        for key, value in facts.items():
            if key not in known:
                raise TypeError(f"{cls.__name__}: '{key}' is not a fact of a format")
            setattr(cls, key, value)
        if not name:
            return
        if name in _REGISTRY:
            raise TypeError(f"format '{name}' is defined twice: {_REGISTRY[name].__name__} and {cls.__name__}")
        cls.name = name
        _REGISTRY[name] = cls

    @classmethod
    def variant(cls, name: str, **facts: Any) -> type[Self]:
        """The member of this family called `name`: a subclass made at the first call, with these facts."""
        found = _VARIANTS.get(name)
        if found is None:
            found = types.new_class(name, (cls,), facts, lambda space: space.update(__module__=cls.__module__))
            found.name = name
            _VARIANTS[name] = found
        assert issubclass(found, cls) and all(getattr(found, k) == v for k, v in facts.items()), name
        return found

    @classmethod
    def find(cls, name: str) -> type[Format] | None:
        """The variant of this family called `name`, or None."""
        return None

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        """Formats of tensors: this one, or a few variants where this is a family; for checks and tables."""
        return (cls,)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        """A tensor to try kernels with: every kind of code, ordinary scales."""
        return cls.quantize(rng.standard_normal(shape).astype(np.float32))

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """Parts of a tensor of logical `shape` `[..., out, in]`: name -> dtype and stored shape."""
        raise TypeError(f"{cls.__name__} defines no layout")

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """Parts that a tensor of this shape may have besides."""
        return {}

    @classmethod
    def check_parts(cls, shape: tuple[int, ...], parts: Mapping[str, Part]) -> None:
        """Hold the dtypes and shapes of a tensor's parts to `layout` and `options`.

        Raises:
            CheckpointError: a part is missing, or has another dtype or shape.
        """
        wanted = cls.layout(shape)
        for name in wanted:
            if name not in parts:
                raise CheckpointError(f"A {cls.name} tensor of shape {shape} lacks its part '{name}'.")
        for name, want in {**cls.options(shape), **wanted}.items():
            have = parts.get(name)
            if have is not None and (have.shape != want.shape or have.dtype not in want.dtype.split("|")):
                raise CheckpointError(
                    f"Part '{name}' of a {cls.name} tensor of shape {shape} is "
                    f"{have.dtype} {have.shape}; expected {want.dtype} {want.shape}."
                )

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        """The float arrays that `check_scales` looks at, padding cut off: by default those named in `scale_parts`."""
        return {name: t.parts[name] for name in cls.scale_parts if name in t.parts}

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        """Refuse scales that make no weights.

        Raises:
            CheckpointError: one is infinite or NaN, or zero where the format has no zero scales.
        """
        for name, values in cls.scales(t).items():
            bad = ~np.isfinite(values) if cls.zero_scales else ~np.isfinite(values) | (values == 0)
            if bad.any():
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                wanted = "finite scales" if cls.zero_scales else "finite scales other than zero"
                raise CheckpointError(
                    f"Part '{name}' of a {cls.name} tensor of shape {t.shape} has {int(bad.sum())} scales that make "
                    f"no weights, the first at {place}: {float(values[place])}; expected {wanted}.",
                    "The file is damaged, or its quantiser failed: download or quantise it again.",
                )

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        """Further rules between parts whose dtypes and shapes are right.

        Raises:
            CheckpointError: the parts contradict each other.
        """

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Format (this one or a variant of it) and logical shape if `stored` (suffix -> part) is its, else None.

        `quantization` is what the checkpoint's config says for this very module, None where it says nothing. Asked
        only where one of `mains` is stored.

        Raises:
            CheckpointError: it is this format's, but settings and arrays contradict each other.
            UnsupportedError: it is this format's, in a way localq does not know.
        """
        return None

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Rows `index` of axis -2 with the same values; a slice copies nothing.

        Here every part's leading axes are either `shape[:-1]` (one entry per row) or `shape[:-2]` (one per matrix).
        Formats that store rows otherwise override it; what they return may be another format's.
        """
        lead = len(t.shape) - 2
        cut = (slice(None),) * lead + (index,)
        parts = {n: p[cut] if p.ndim > lead else p for n, p in t.parts.items()}
        return PackedTensor(cls, (*t.shape[:-2], count(t.shape[-2], index), t.shape[-1]), parts)

    @classmethod
    def select_matrix(cls, t: PackedTensor, index: int) -> PackedTensor:
        """Matrix `index` of a stack, a view; overridden where a part is not stored once a matrix."""
        return PackedTensor(cls, t.shape[1:], {n: p[index, ...] for n, p in t.parts.items()})

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Matrices of this format as one, their packed rows copied; None where per-matrix parts disagree."""
        first = tensors[0]
        parts: dict[str, Array] = {}
        for name, part in first.parts.items():
            others = [t.parts[name] for t in tensors if name in t.parts]
            if len(others) == len(tensors) and part.ndim > 0 and part.shape[0] == first.shape[0]:
                parts[name] = np.concatenate(others)
            elif len(others) == len(tensors) and all(np.array_equal(o, part) for o in others):
                parts[name] = part
            else:
                return None
        return PackedTensor(cls, (sum(t.shape[0] for t in tensors), first.shape[1]), parts)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        """Decode to float32 `t.shape`: slow, right, the oracle of every kernel."""
        raise TypeError(f"{cls.__name__} defines no dequantize")

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """The same weights in an MLX mode, or None where no mode holds them."""
        return None

    @classmethod
    def native_rows(cls, t: PackedTensor, rows: slice) -> Native | None:
        """`to_native` of some rows of a matrix, from a multiple of `row_multiple` on, without repacking the others."""
        some = t.rows(rows)
        return some.format.to_native(some)

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        """Whether `to_native` is worth a call; cheap, and False only where it would be None."""
        return cls.to_native.__func__ is not Format.to_native.__func__  # type: ignore[attr-defined]

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        """Pack float32 `[..., out, in]`."""
        raise LocalqError(f"localq reads {cls.name} but does not write it.")


def registered() -> Mapping[str, type[Format]]:
    """The formats of the files imported so far; `localq.formats.FORMATS` imports them all."""
    return _REGISTRY


def made(name: str) -> type[Format] | None:
    """The format or variant of this name, if it is there already."""
    return _REGISTRY.get(name) or _VARIANTS.get(name)


def count(length: int, index: slice | Array) -> int:
    """How many of `length` rows `index` takes."""
    return len(range(*index.indices(length))) if isinstance(index, slice) else len(index)


class GGMLFormat(Format):
    """A ggml block type: one part `weight`, uint8 `[..., out, in / block * bytes]`, rows of whole blocks."""

    block_bytes: ClassVar[int] = 0

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        super().__init_subclass__(
            name=name, **{"family": "ggml", "containers": ("gguf",), "checked": "ggml, gguf-py", **facts}
        )
        if name:
            kind = GGML_BY_NAME[name]
            cls.block_size, cls.block_bytes = kind.block, kind.bytes
            cls.bits_per_weight = 8 * kind.bytes / kind.block

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.block_size:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {cls.block_size}."
            )
        return {"weight": Part("uint8", (*shape[:-1], shape[-1] // cls.block_size * cls.block_bytes))}

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        blocks = t.parts["weight"].reshape(-1, cls.block_bytes)
        out = np.empty((len(blocks), cls.block_size), np.float32)
        step = (1 << 17) // cls.block_size  # keep a chunk's temporaries inside the CPU's caches
        with np.errstate(all="ignore"):  # damaged scales are inf or NaN; the weights then are too, as in ggml
            for i in range(0, len(blocks), step):
                cls.decode(blocks[i : i + step], out[i : i + step])
        return out.reshape(t.shape)

    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        """Decode uint8 `[n, block_bytes]` into float32 `[n, block_size]`, bit for bit as ggml's `to_float`."""
        raise TypeError(f"{cls.__name__} defines no decode")
