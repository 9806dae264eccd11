"""Which implementation multiplies a tensor: the one table of (op, format, device), and who decides.

    metal, cuda   localq's own kernel (`own`) where there is one and no mode of MLX's keeps the format's size; else
                  MLX's own mode where `Format.to_native` has one, float formats as plain arrays, else the reference
    cpu           MLX's own mode only for formats that keep their size there (`Format.same_size`: MLX's, and those of
                  safetensors files that say the same in another order) and only for a few tokens: its time grows
                  with every token (measured at 2816 x 1024, 4 bits: 8 ms for one token, 3.4 s for 512, where the
                  reference needs 36 and 130 ms). Else the reference: a ggml type in the nearest affine mode would
                  need up to 11 % more memory, a 16-bit weight 10 to 40 times the time of float32

`LOCALQ_KERNELS=reference|native|own` overrides it. Nothing here runs at import: the device is asked for on first use.
A fast kernel is compared with the reference on rows of the first real tensor of its format, once per process; on a
mismatch, or where it cannot be built, the next one takes over (own, native, reference) with one warning, so nobody gets
wrong tokens because a driver or a compiler differs from ours.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from localq.errors import LocalqError, UsageError
from localq.formats.base import Exactness, Format, PackedTensor
from localq.kernels import gradient, native, own, reference

OPS = ("matmul", "transposed", "embedding", "gather", "multi")
_IMPLEMENTATIONS: dict[str, tuple[ModuleType, ...]] = {  # the choice, then what is tried where it does not serve
    "reference": (),
    "native": (native,),
    "own": (own, native),
}
CPU_TOKENS = 4  # up to here MLX's CPU kernels are faster than decoding to float32 once for all tokens
CHECKED_TOKENS = (1, 4, 40)  # a vector, a small batch, a tile: each has a kernel of its own
_VERDICTS: dict[tuple[str, str, str, str], bool] = {}  # (device, kernel, format, dtype) -> agrees with the reference


def device() -> str:
    """Where MLX computes: "metal", "cuda" or "cpu"."""
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def activation_dtype(stored: str | None) -> mx.Dtype:
    """Dtype of activations here: float32 on a CPU (half precision is 10 to 40 times slower there), else `stored`."""
    names = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
    return mx.float32 if device() == "cpu" else names.get(stored or "", mx.bfloat16)


def choose(op: str, fmt: type[Format], where: str) -> str:
    """Name of the implementation of `op` for a format on a device, before any check of its results.

    Raises:
        UsageError: LOCALQ_KERNELS names no implementation, or one that this device does not have.
    """
    assert op in OPS, op
    wish = os.environ.get("LOCALQ_KERNELS", "")
    if wish == "own" and where == "cpu":
        raise UsageError(
            "LOCALQ_KERNELS=own: localq's own kernels run on GPUs; here MLX computes on the CPU.",
            "Use 'native' or 'reference'.",
        )
    if wish and wish not in _IMPLEMENTATIONS:
        raise UsageError(f"LOCALQ_KERNELS is '{wish}'; expected 'native', 'own' or 'reference'.")
    if wish:
        return wish
    if where == "cpu":
        return "native" if fmt.same_size else "reference"
    return "own" if own.serves(op, fmt) and not fmt.same_size else "native"


def place(t: PackedTensor, dtype: mx.Dtype) -> Placed:
    """A matrix `[out, in]` where it will be multiplied, still packed, with activations of `dtype`."""
    kernel = _settled(t, "matmul", dtype)
    shape = (t.shape[-2], t.shape[-1])
    handle = native.prepare(t, dtype) if kernel is native else None
    takes = kernel is own or (handle is None and _in_its_place(t, "matmul", dtype))
    if takes and (held := own.prepare(t, dtype)) is not None:
        return Placed(own, held, t.format.name, shape, t.nbytes)
    if handle is None:
        return Placed(reference, reference.prepare(t, dtype), t.format.name, shape, t.nbytes)
    many = native.views(handle, t.shape) if device() == "cpu" else None
    return Placed(native, handle, t.format.name, shape, t.nbytes, many)


def place_stack(tensors: Sequence[PackedTensor], dtype: mx.Dtype) -> PlacedStack:
    """A stack of matrices `[out, in]` (experts, heads); formats may differ, then the reference multiplies them."""
    shapes = {t.shape for t in tensors}
    if len(shapes) != 1:
        raise LocalqError(f"The matrices of a stack have different shapes: {sorted(shapes)}.")
    one_format = len({t.format for t in tensors}) == 1
    name = "+".join(sorted({t.format.name for t in tensors}))
    shape, nbytes = (len(tensors), *tensors[0].shape), sum(t.nbytes for t in tensors)
    kernel = _settled(tensors[0], "gather", dtype) if one_format else reference
    handle = native.prepare_stack(tensors, dtype) if kernel is native else None
    takes = kernel is own or (one_format and handle is None and _in_its_place(tensors[0], "gather", dtype))
    if takes and (held := own.prepare_stack(tensors, dtype)) is not None:
        return PlacedStack(own, held, name, shape, nbytes)
    if handle is None:
        return PlacedStack(reference, reference.prepare_stack(tensors, dtype), name, shape, nbytes)
    views = native.views(handle, shape) if device() == "cpu" else None
    many = None if views is None else [views.matrix(i) for i in range(len(tensors))]
    return PlacedStack(native, handle, name, shape, nbytes, many)


@dataclass(frozen=True, eq=False)
class Placed:
    """A packed matrix `[out, in]` and the implementation that multiplies it; `many` is for the reference on a CPU."""

    kernel: Any
    handle: Any
    format: str
    shape: tuple[int, int]
    nbytes: int  # as stored
    many: PackedTensor | None = None

    @property
    def ways(self) -> Ways:
        """How it is computed, for the load report."""
        return _ways(self.handle)

    def matmul(self, x: mx.array, training: bool = False) -> mx.array:
        """`x [..., in] -> [..., out]`, in x's dtype; with a derivative by `x` where `training`."""
        if training and self.kernel is own:
            return gradient.product(x, self.matmul, self.transposed)
        if self.many is not None and x.size > CPU_TOKENS * x.shape[-1]:
            return native.matmul(x, self.handle, self.many)
        y: mx.array = self.kernel.matmul(x, self.handle)
        return y

    def transposed(self, x: mx.array, training: bool = False) -> mx.array:
        """`x [..., out] -> [..., in]`, in x's dtype; with a derivative by `x` where `training`."""
        if training and self.kernel is own:
            return gradient.product(x, self.transposed, self.matmul)
        if self.many is not None and x.size > CPU_TOKENS * x.shape[-1]:
            return native.transposed(x, self.handle, self.many)
        y: mx.array = self.kernel.transposed(x, self.handle)
        return y

    def embedding(self, ids: mx.array, dtype: mx.Dtype) -> mx.array:
        """Rows `ids` as `[*ids.shape, in]` in `dtype`."""
        y: mx.array = self.kernel.embedding(ids, self.handle, dtype)
        return y


@dataclass(frozen=True, eq=False)
class PlacedStack:
    """Packed matrices `[n, out, in]` and the implementation that multiplies them; `many` as in `Placed`."""

    kernel: Any
    handle: Any
    format: str
    shape: tuple[int, ...]
    nbytes: int
    many: list[PackedTensor] | None = None

    @property
    def ways(self) -> Ways:
        """How it is computed, for the load report."""
        return _ways(self.handle)

    def gather(
        self, x: mx.array, indices: mx.array, in_order: bool, transpose: bool = True, training: bool = False
    ) -> mx.array:
        """Each `x [*batch, m, in]` times the matrix its index names, transposed -> `[*indices.shape, m, out]`.

        Without `transpose` times the matrix as stored: `[*batch, m, out] -> [*indices.shape, m, in]`.
        With a derivative by `x` where `training`.
        """
        if training and self.kernel is own:
            return gradient.product(
                x,
                lambda v: self.gather(v, indices, in_order, transpose),
                lambda v: self.gather(v, indices, in_order, not transpose),
            )
        if self.many is not None and indices.size * x.shape[-2] > CPU_TOKENS * len(self.many):
            return native.gather(x, self.handle, indices, in_order, transpose, self.many)
        y: mx.array = self.kernel.gather(x, self.handle, indices, in_order, transpose)
        return y

    def multi(self, x: mx.array, transpose: bool, training: bool = False) -> mx.array:
        """`x [..., n, m, in]` times each matrix transposed, or `[..., n, m, out]` times each as stored.

        With a derivative by `x` where `training`.
        """
        if training and self.kernel is own:
            return gradient.product(x, lambda v: self.multi(v, transpose), lambda v: self.multi(v, not transpose))
        if self.many is not None and x.size > CPU_TOKENS * x.shape[-1] * len(self.many):
            return native.multi(x, self.handle, transpose, self.many)
        y: mx.array = self.kernel.multi(x, self.handle, transpose)
        return y


class Ways(NamedTuple):
    """How a placed tensor is computed; `error` is the repack's largest, in quantisation steps."""

    way: str
    exactness: Exactness
    error: float


def _ways(handle: Any) -> Ways:
    if isinstance(handle, native.NativeWeight):
        return Ways(f"native {handle.way}", handle.exactness, handle.error)
    if isinstance(handle, own.OwnWeight):
        return Ways(f"own {handle.way}", handle.exactness, handle.error)
    return Ways("reference", "exact", 0.0)


def _settled(t: PackedTensor, op: str, dtype: mx.Dtype) -> Any:
    """The implementation for this very tensor: chosen, able to hold it, and seen to agree with the reference."""
    for kernel in _IMPLEMENTATIONS[choose(op, t.format, device())]:
        if _trusted(t, kernel, op, dtype):
            return kernel
    return reference


def _in_its_place(t: PackedTensor, op: str, dtype: mx.Dtype) -> bool:
    """Whether `own` takes a tensor that MLX's mode does not hold, as it does others of its format."""
    if device() == "cpu" or os.environ.get("LOCALQ_KERNELS") or choose(op, t.format, device()) != "native":
        return False
    return _trusted(t, own, op, dtype)


def _trusted(t: PackedTensor, kernel: Any, op: str, dtype: mx.Dtype) -> bool:
    """Whether a kernel may hold a tensor and agrees with the reference; where it does not, warns once."""
    if not (own.serves(op, t.format) if kernel is own else native.holds(t)):
        return False
    where = device()
    key = (where, "own stack" if kernel is own and op == "gather" else kernel.NAME, t.format.name, str(dtype))
    if key not in _VERDICTS:
        sample = _sample(t, kernel)
        if kernel is own and not own.holds(sample):
            return False
        verdict = _agrees(sample, kernel, op, dtype)
        if verdict is None:  # rows of zeros say nothing: use it, and look again at the next tensor
            return True
        _VERDICTS[key] = not verdict
        if verdict:
            owner = "MLX's" if kernel is native else "localq's own"
            warnings.warn(
                f"{owner} kernel for {t.format.name} on {where} {verdict}; using a slower one.",
                RuntimeWarning,
                stacklevel=5,
            )
    return _VERDICTS[key]


def tolerance(dtype: mx.Dtype, where: str) -> float:
    """Largest believable rms error of a product, relative to the rms of its result.

    A wrong layout gives errors near 1. float32 products differ by their summation order, on a GPU by TF32's 10-bit
    mantissa; half precision rounds inputs, scales and (MLX's CUDA mat-vec below 8 bits) the running sum.
    """
    if dtype != mx.float32:
        return 3e-2
    return 1e-5 if where == "cpu" else 2e-3


def _sample(t: PackedTensor, kernel: Any) -> PackedTensor:
    """The first rows of a real tensor; for `own` drawn ones as wide, where rows taken out are packed otherwise."""
    matrix = t if len(t.shape) == 2 else t.matrix(0)
    rows = matrix.rows(slice(0, 64))
    if kernel is native or rows.format is t.format:
        return rows
    some = -(-64 // t.format.row_multiple) * t.format.row_multiple
    return t.format.sample((some, t.shape[-1]), np.random.default_rng(0))


def _agrees(sample: PackedTensor, kernel: Any, op: str, dtype: mx.Dtype) -> str | None:
    """What is wrong with a kernel on a sample, "" if nothing; None where its weights are zero.

    Of `own` every body is tried: the product of a few tokens or of experts, and decoding (in the transposed product).
    """
    if kernel is native:
        return _compare(sample, native, "matmul", dtype)
    try:
        if op == "gather":
            return _compare(sample, own, "gather", dtype) or _compare(sample, own, "transposed", dtype)
        found: str | None = ""
        for tokens in CHECKED_TOKENS:
            found = found or _compare(sample, own, "matmul", dtype, tokens)
        return found or _compare(sample, own, "transposed", dtype)
    except (RuntimeError, ValueError) as error:  # MLX reports what Metal's compiler says when the result is evaluated
        return f"does not run ({(str(error).splitlines() or [type(error).__name__])[0][:200]})"


def _compare(sample: PackedTensor, kernel: Any, op: str, dtype: mx.Dtype, tokens: int = 4) -> str | None:
    width = sample.shape[-2 if op == "transposed" else -1]
    x = mx.array(np.random.default_rng(0).standard_normal((tokens, width)).astype(np.float32)).astype(dtype)
    want = np.asarray(getattr(reference, "matmul" if op == "gather" else op)(x, sample).astype(mx.float32))
    size = float(np.sqrt(np.mean(want**2)))
    if op == "gather":  # two experts alike
        weight = kernel.prepare_stack([sample, sample], dtype)
        got = np.asarray(kernel.gather(x[:, None], weight, mx.array([0, 1, 1, 0]), False)[:, 0].astype(mx.float32))
    else:
        weight = kernel.prepare(sample, dtype)
        if weight is None:
            return None
        got = np.asarray(getattr(kernel, op)(x, weight).astype(mx.float32))
    if size == 0:
        return None
    allowed = max(tolerance(dtype, device()), 0.0 if weight.exactness == "exact" else 1e-2)
    right = bool(np.sqrt(np.mean((got - want) ** 2)) <= allowed * size)
    return "" if right else "disagrees with the reference"
