"""The text of a kernel: one body (`NAME.metal`) after one format's decode struct (`include/STEM.h`).

A struct says how many weights a block holds, in how many bytes and how they must be aligned, and decodes 16 weights;
every body is written once against it. MLX hashes the text on every call: it stays under `LIMIT` bytes.

Rules for both, so that the same text serves Metal, CUDA and the executor of tests/metal: ids by their Metal names;
`constant` and `threadgroup` only on declarations; float literals end in `f`; sums in float; no simdgroup function under
a branch; no load wider than ALIGN; every store guarded by its index; at most 256 threads in a threadgroup.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import mlx.core as mx

LIMIT = 8 << 10
MAX_THREADS = 256
PARAMETERS = {  # body -> its inputs and outputs
    "dequantize": (["w"], ["o"]),
    "qmv": (["w", "x"], ["y"]),
    "gather": (["w", "x", "expert"], ["y"]),
}
Factory = Callable[..., Callable[..., list[mx.array]]]  # `mx.fast.metal_kernel`, or what has its signature


@cache
def body(name: str) -> str:
    """The body `name`.metal."""
    return (files("localq_metal") / f"{name}.metal").read_text(encoding="utf-8")


@cache
def decoder(stem: str) -> str:
    """The decode struct of `Format.kernel == stem`."""
    return (files("localq_metal") / "include" / f"{stem}.h").read_text(encoding="utf-8")


@cache
def stems() -> tuple[str, ...]:
    """Every stem that has a decode struct."""
    found = (files("localq_metal") / "include").iterdir()
    return tuple(sorted(f.name.removesuffix(".h") for f in found if f.name.endswith(".h")))


@cache
def build(factory: Factory, name: str, stem: str) -> Callable[..., Any]:
    """The kernel `name` for the format `stem`, made by `factory` at the first call; compiled when first evaluated."""
    inputs, outputs = PARAMETERS[name]
    header, source = decoder(stem), body(name)
    assert len(header) + len(source) < LIMIT, (name, stem)
    return factory(name=f"localq_{name}_{stem}", input_names=inputs, output_names=outputs, source=source, header=header)
