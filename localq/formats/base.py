"""What a quantisation format is: the class every file of this folder subclasses, and the tensor it describes.

A `Format` is stateless: its class methods work on a `PackedTensor`, which is a format, a logical shape and
named parts (numpy arrays, usually views of a mapped file). numpy and ml_dtypes only: no MLX, no path, no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localq.errors import CheckpointError, LocalqError
from localq.formats.ggml_types import GGML_BY_NAME

Array = NDArray[Any]
Exactness = Literal["exact", "rounded", "requantised"]

_REGISTRY: dict[str, type[Format]] = {}


class Part(NamedTuple):
    """One stored array of a packed tensor: numpy/ml_dtypes dtype name (`a|b` where either may be) and stored shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PackedTensor:
    """A tensor as stored: `shape` is the logical `[..., out_features, in_features]`, `parts` the packed arrays.

    Each part's leading axes are either `shape[:-1]` (one entry per row) or `shape[:-2]` (one per matrix), so rows
    and leading matrices can be selected without decoding.

    Raises:
        CheckpointError: a part is missing, or has another dtype or shape than the format's layout.
    """

    format: type[Format]
    shape: tuple[int, ...]
    parts: Mapping[str, Array]

    def __post_init__(self) -> None:
        layout = self.format.layout(self.shape)
        for name, want in layout.items():
            if name not in self.parts:
                raise CheckpointError(f"A {self.format.name} tensor of shape {self.shape} lacks its part '{name}'.")
            have = self.parts[name]
            if have.shape != want.shape or have.dtype.name not in want.dtype.split("|"):
                raise CheckpointError(
                    f"Part '{name}' of a {self.format.name} tensor of shape {self.shape} is "
                    f"{have.dtype.name} {have.shape}; expected {want.dtype} {want.shape}."
                )
        self.format.check(self.parts)

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts, scales included."""
        return sum(p.nbytes for p in self.parts.values())

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.nbytes / max(self.size, 1)

    def dequantize(self) -> NDArray[np.float32]:
        """The weights as float32 in the logical shape."""
        return self.format.dequantize(self)

    def rows(self, index: slice | Array) -> PackedTensor:
        """The same matrix (or stack of matrices) with the rows `index` of axis -2; a slice copies nothing."""
        assert len(self.shape) >= 2, self.shape
        lead = len(self.shape) - 2
        taken = np.empty(self.shape[-2], dtype=bool)[index].shape[0]
        cut = (slice(None),) * lead + (index,)
        parts = {n: p[cut] if p.ndim > lead else p for n, p in self.parts.items()}
        return PackedTensor(self.format, (*self.shape[:-2], taken, self.shape[-1]), parts)

    def matrix(self, index: int) -> PackedTensor:
        """Matrix `index` of a stack `[n, ..., out, in]` (an expert, a head): a view."""
        assert len(self.shape) >= 3, self.shape
        return PackedTensor(self.format, self.shape[1:], {n: p[index, ...] for n, p in self.parts.items()})


@dataclass(frozen=True, eq=False)
class Native:
    """The same weights in one of MLX's own modes: `mx.quantized_matmul(x, weight, scales, biases, ...) * multiplier`.

    `weight` is uint32 `[..., out, in * bits / 32]`, `scales`/`biases` `[..., out, in / group_size]`; `exactness` was
    decided by the repack itself, `multiplier` (per matrix, float32) is the scale MLX's mode has no place for.

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


class Format:
    """Base of every format. Subclass with keywords and the format is registered::

        class Q4_0(GGMLFormat, name="q4_0", family="ggml", symmetric=True): ...

    A base that stands for no format of its own (no `name`) is not registered.
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
    kernel: ClassVar[str | None] = None  # stem of the kernel pair in localq_metal

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        super().__init_subclass__()
        for key, value in facts.items():
            if key not in Format.__annotations__:
                raise TypeError(f"{cls.__name__}: '{key}' is not a fact of a format")
            setattr(cls, key, value)
        if not name:
            return
        if name in _REGISTRY:
            raise TypeError(f"format '{name}' is defined twice: {_REGISTRY[name].__name__} and {cls.__name__}")
        cls.name = name
        _REGISTRY[name] = cls

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """Parts of a tensor of logical `shape` `[..., out, in]`: name -> dtype and stored shape."""
        raise TypeError(f"{cls.__name__} defines no layout")

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        """Further rules between parts whose dtypes and shapes are right.

        Raises:
            CheckpointError: the parts contradict each other.
        """

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> tuple[int, ...] | None:
        """The logical shape if `stored` (suffix -> part, as in the file) is this format's, else None.

        `quantization` is what the checkpoint's config says for this very module, None where it says nothing.
        """
        return None

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        """Decode to float32 `t.shape`: slow, right, the oracle of every kernel."""
        raise TypeError(f"{cls.__name__} defines no dequantize")

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """The same weights in an MLX mode, or None where no mode holds them."""
        return None

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        """Pack float32 `[..., out, in]`."""
        raise LocalqError(f"localq reads {cls.name} but does not write it.")


class GGMLFormat(Format):
    """A ggml block type: one part `weight`, uint8 `[..., out, in / block * bytes]`, rows of whole blocks."""

    block_bytes: ClassVar[int] = 0

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        super().__init_subclass__(name=name, **{"family": "ggml", "containers": ("gguf",), **facts})
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
