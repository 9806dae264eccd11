"""Launches recorded instead of run, and what they should give: many of them compile to one library."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from tests.metal.harness import CHECKED, JUNK, NUMPY, Harness, Kernel, Mode, _aligned, _bytes, _gxx, launch
from tests.metal.translate import PRELUDE, Parameter, plain_casts, translate


@dataclass(frozen=True)
class Recorded:
    """One launch: the text that MLX writes for it, and all that it is launched with."""

    text: str
    names: list[str]  # of inputs, then of outputs
    call: dict[str, Any]

    def inputs(self) -> dict[str, Any]:
        """Bytes of its inputs, and their shapes, by name."""
        pairs = list(zip(self.names, self.call["inputs"], strict=False))
        shapes = {f"{n}_shape": np.array(a.shape, np.int32) for n, a in pairs}
        return {n: _bytes(a, 0) for n, a in pairs} | shapes

    def result(self) -> np.ndarray:
        """Bytes for its one output."""
        dtype, shape = self.call["output_dtypes"][0], self.call["output_shapes"][0]
        out = _aligned(int(np.prod(shape)) * np.dtype(NUMPY[dtype]).itemsize, 0)
        out[:] = JUNK
        return out


@dataclass(frozen=True)
class Trial:
    """A launch whose one result is known: equal bit for bit (NaN to NaN), or within `bound`."""

    recorded: Recorded
    want: np.ndarray
    bound: np.ndarray | None = None
    name: str = field(default="", compare=False)

    def passes(self, got: np.ndarray) -> bool:
        """Whether this is the result."""
        got = got.reshape(self.want.shape)
        if self.bound is None:
            return np.array_equal(got, self.want, equal_nan=True)
        return bool(np.isfinite(got).all() and (np.abs(got - self.want) <= self.bound).all())


def recorded(call: Callable[[Any], Any]) -> Recorded:
    """The one launch of ours that `call(factory)` makes."""
    seen: list[Recorded] = []

    def factory(**made: Any) -> Any:
        kernel = Kernel(None, CHECKED, made)  # type: ignore[arg-type]

        def run(**how: Any) -> list[mx.array]:
            seen.append(Recorded(kernel.text(how), [*made["input_names"], *made["output_names"]], how))
            return [mx.zeros(how["output_shapes"][0], how["output_dtypes"][0])]

        return run

    call(factory)
    assert len(seen) == 1
    return seen[0]


def library(
    harness: Harness, texts: list[str], mode: Mode, more: list[str], change: Callable[[str], str] = lambda cpp: cpp
) -> tuple[Path, list[list[Parameter]]]:
    """One library of kernels as MLX writes them, and their buffers; its `lq_which` says which one a launch runs.

    `more`: flags; `change` is made to every translated text.

    Raises:
        KernelError: g++ refuses it.
    """
    cpp, parameters = "", []
    for at, text in enumerate(texts):
        one, buffers = translate(text)
        one = change(one).replace('extern "C" ', "static ")
        cpp += f"namespace lq_n{at} {{\n{one}\n}}\n"
        parameters.append(buffers)
    chosen = "".join(f"case {at}: return lq_n{at}::lq_entry(b, i);\n" for at in range(len(texts)))
    cpp += 'extern "C" { int lq_which; __attribute__((no_sanitize("thread")))\n'
    cpp += f"void lq_entry(void* const* b, const lq_ids* i) {{ switch (lq_which) {{\n{chosen}}} }} }}\n"
    flags = [f for f in harness.flags(mode) if f != "-g"] + more
    made = harness.folder / f"{hashlib.sha256((cpp + ' '.join(flags)).encode()).hexdigest()[:24]}.cpp"
    made.write_text(plain_casts(cpp))
    try:
        _gxx(*flags, "-include", harness.prelude(flags, PRELUDE), "-c", "-o", made.with_suffix(".o"), made)
        _gxx("-shared", "-o", made.with_suffix(".so"), made.with_suffix(".o"), harness.executor)
    finally:
        made.unlink()
        made.with_suffix(".o").unlink(missing_ok=True)
    return made.with_suffix(".so"), parameters


def run(
    path: Path, which: int, trial: Trial, stored: dict[str, Any], parameters: list[Parameter], mode: Mode
) -> np.ndarray:
    """The bytes that kernel number `which` of a library writes.

    Raises:
        KernelError: what the executor found.
    """
    held = ctypes.CDLL(str(path))  # so that lq_which stays
    ctypes.c_int.in_dll(held, "lq_which").value = which
    out = trial.recorded.result()
    buffers = [(out if p.output else stored[p.name], p) for p in parameters]
    launch(path, buffers, trial.recorded.call["grid"], trial.recorded.call["threadgroup"], mode)
    return out
