"""The text of a kernel: one body (`NAME.metal`) after one format's decode struct (`include/STEM.h`).

A struct holds its arrays and decodes 16 weights of a row, which is all a body knows of it: `f`, made of the kernel's
inputs before the body begins. A struct of a family (any number of bits, any group) names its numbers and dtypes in a
line `// constants: BITS, GROUP, S`; they come before it, as an enum and as typedefs. MLX hashes the text on every call:
it stays under `LIMIT` bytes.

For products with one vector a struct may also multiply: `dot(row, first, x, sums)` is the sum over one piece of a row,
`SPAN` runs of `RUN` weights, `STRIDE` apart, the first at `first`, times `x [SPAN * RUN]` (`sums`: of x, for each run).
Runs of a piece lie in the same bytes, so that each is loaded once; codes are multiplied before they are scaled, and
minima meet the sums. A struct without it has that of `dot.h`, from `decode16`. Codes become floats there by OR with the
exponent of 2^23, which is subtracted again: both are exact, and Apple's GPUs convert, shift and extract bits at a
quarter of the rate of AND, OR and float arithmetic (philipturner/metal-benchmarks, measured on M1).

Rules for both, so that the same text serves Metal, CUDA and the executor of tests/metal: ids by their Metal names;
`constant` and `threadgroup` only on declarations; float literals end in `f`; sums in float; no simdgroup function under
a branch; no load wider than ALIGN; every store guarded by its index; at most 256 threads in a threadgroup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import mlx.core as mx

LIMIT = 8 << 10
MAX_THREADS = 256
MAX_ROWS = 65535  # threadgroups along a grid's second axis, on NVIDIA's GPUs
LEAST = 8  # elements of an input: MLX puts smaller ones into another address space
PARAMETERS = {  # body -> its inputs after those of the struct, and its outputs
    "dequantize": ([], ["o"]),
    "rows": (["ids"], ["o"]),
    "qmv": (["x"], ["y"]),
    "gather": (["x", "expert"], ["y"]),
    "qmv_few": (["x"], ["y"]),
    "qvm_matrix": (["x"], ["y"]),
    "qvm_gather": (["x", "expert"], ["y"]),
    "qmm_matrix": (["x"], ["y"]),
    "qmm_sorted": (["x", "tiles"], ["y"]),
}
SHARED = {"qvm_matrix": "qvm", "qvm_gather": "qvm", "qmm_matrix": "qmm", "qmm_sorted": "qmm"}  # body -> what follows it
METAL_ONLY = {"qmm_matrix": "#include <metal_simdgroup_matrix>\n", "qmm_sorted": "#include <metal_simdgroup_matrix>\n"}
Factory = Callable[..., Callable[..., list[mx.array]]]  # `mx.fast.metal_kernel`, or what has its signature
_MEMBER = re.compile(r"^  const device (\w+)\* (\w+);", re.M)
Values = tuple[tuple[str, int | str], ...]  # constants of a family's struct: numbers, or names of dtypes
_CONSTANTS = re.compile(r"^// constants: ([\w, ]+)$", re.M)
DTYPES = {
    "uint8_t": mx.uint8, "int8_t": mx.int8, "ushort": mx.uint16, "uint": mx.uint32, "uint64_t": mx.uint64,
    "half": mx.float16, "bfloat16_t": mx.bfloat16, "float": mx.float32,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Packed:
    """A packed matrix `[out, in]`, or a stack `[..., out, in]`: the struct's inputs, flat, and its constants."""

    stem: str
    arrays: tuple[mx.array, ...]  # as `inputs(stem)` lists them, each of one axis
    shape: tuple[int, ...]
    constants: Values = ()

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """The template arguments that every body has: rows and columns of one matrix."""
        return [("N", self.shape[-2]), ("K", self.shape[-1])]

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@cache
def body(name: str) -> str:
    """The body `name`.metal, and the one it shares with others."""
    parts = [name, SHARED[name]] if name in SHARED else [name]
    return "".join((files("localq_metal") / f"{part}.metal").read_text(encoding="utf-8") for part in parts)


@cache
def decoder(stem: str) -> str:
    """The decode struct of `Format.kernel == stem`, given the `dot` of dot.h if it has none of its own."""
    text = (files("localq_metal") / "include" / f"{stem}.h").read_text(encoding="utf-8")
    if " dot(" in text:
        return text
    start, end = text.split("\n};", 1)
    return start + "\n" + (files("localq_metal") / "dot.h").read_text(encoding="utf-8") + "};" + end


@cache
def stems() -> tuple[str, ...]:
    """Every stem that has a decode struct."""
    found = (files("localq_metal") / "include").iterdir()
    return tuple(sorted(f.name.removesuffix(".h") for f in found if f.name.endswith(".h")))


@cache
def inputs(stem: str, values: Values = ()) -> dict[str, mx.Dtype]:
    """The arrays that the struct holds, in its order: its members that point to device memory, and their dtypes."""
    named = dict(values)
    return {name: DTYPES[str(named.get(kind, kind))] for kind, name in _MEMBER.findall(decoder(stem))}


@cache
def constants(stem: str) -> tuple[str, ...]:
    """Names of the numbers that the struct wants told, from its line `// constants: BITS, GROUP`."""
    found = _CONSTANTS.search(decoder(stem))
    return tuple(name.strip() for name in found[1].split(",")) if found else ()


@cache
def build(factory: Factory, name: str, stem: str, values: Values = ()) -> Callable[..., Any]:
    """The kernel `name` for the format `stem`, made by `factory` at the first call; compiled when first evaluated."""
    assert tuple(n for n, _ in values) == constants(stem), (stem, values)
    own, outputs = PARAMETERS[name]
    arrays, numbers = inputs(stem, values), ", ".join(f"{n} = {v}" for n, v in values if isinstance(v, int))
    told = f"enum {{ {numbers} }};\n" if numbers else ""
    told += "".join(f"typedef {v} {n};\n" for n, v in values if isinstance(v, str))
    filled = f"  const Format f = {{{', '.join(arrays)}, uint(N), uint(K)}};\n"
    header, source = METAL_ONLY.get(name, "") + told + decoder(stem), filled + body(name)
    assert len(header) + len(source) < LIMIT, (name, stem)
    called = "_".join([name, stem, *(str(v) for _, v in values)])
    return factory(
        name=f"localq_{called}", input_names=[*arrays, *own], output_names=outputs, source=source, header=header
    )


def launch(factory: Factory, name: str, packed: Packed, arrays: list[mx.array], **how: Any) -> mx.array:
    """The one output of the kernel `name` for a packed weight; `template` comes before the sizes of the matrix."""
    kernel = build(factory, name, packed.stem, packed.constants)
    how["template"] = [*how["template"], *packed.sizes]
    y: mx.array = kernel(inputs=[*packed.arrays, *arrays], **how)[0]
    return y
