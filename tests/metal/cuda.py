"""Kernels of `mx.fast.cuda_kernel` on this CPU: the CUDA text MLX would compile, run by the executor of the harness.

MLX for CPUs cannot call `cuda_kernel`, so what it writes around a body is written here too, after MLX 0.32's
mlx/backend/cuda/custom_kernel.cpp: includes, header, a function in namespace mlx::core::cu whose parameters are the
inputs (`NAME_shape` too where the body says so), then the outputs, and the template as constants and types. It launches
whole blocks, so a grid that is no multiple of a block has threads beyond it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from tests.metal.harness import FAST, JUNK, NUMPY, Harness, Mode, _aligned, _array, _bytes
from tests.metal.translate import Parameter, _shared_storage

TYPES = {
    mx.float32: "float", mx.float16: "__half", mx.bfloat16: "__nv_bfloat16", mx.uint8: "uint8_t", mx.int8: "int8_t",
    mx.uint16: "uint16_t", mx.int16: "int16_t", mx.uint32: "uint32_t", mx.int32: "int32_t", mx.uint64: "uint64_t",
}  # fmt: skip
INCLUDES = '#include "mlx/backend/cuda/device/utils.cuh"\n\n#include <cooperative_groups.h>\n\n'
NAME = "custom_kernel"
PRELUDE = '#include "cuda_shim.h"\n'
ENTRY = """
extern "C" __attribute__((no_sanitize("thread"))) void lq_entry(void* const* buffers, const lq_ids*) {{
  mlx::core::cu::{name}({arguments});
}}
"""


def generated(made: dict[str, Any], call: dict[str, Any]) -> tuple[str, list[Parameter]]:
    """The text that MLX compiles for a kernel and a call, and its parameters in order."""
    lines, parameters = [], []
    for name, a in zip(made["input_names"], call["inputs"], strict=True):
        lines.append(f"    const {TYPES[a.dtype]}* {name}")
        parameters.append(Parameter(name, False))
        if f"{name}_shape" in made["source"]:
            lines.append(f"    const __grid_constant__ Shape {name}_shape")
            parameters.append(Parameter(f"{name}_shape", False))
    for name, dtype in zip(made["output_names"], call["output_dtypes"], strict=True):
        lines.append(f"    {TYPES[dtype]}* {name}")
        parameters.append(Parameter(name, True))
    text = INCLUDES + made["header"] + "namespace mlx::core::cu {\n\nnamespace cg = cooperative_groups;\n\n"
    text += f"__global__ void {NAME}(\n" + ",\n".join(lines) + ") {\n"
    for name, value in call.get("template", ()):
        known = f"using {name} = {TYPES[value]}" if isinstance(value, mx.Dtype) else f"constexpr int {name} = {value}"
        text += f"  {known};\n"
    return text + made["source"] + "\n}\n\n} // namespace mlx::core::cu\n", parameters


@dataclass
class CudaHarness:
    """`factory(mode)` has the signature of `mx.fast.cuda_kernel`."""

    harness: Harness

    def factory(self, mode: Mode = FAST) -> Any:
        def cuda_kernel(**made: Any) -> CudaKernel:
            return CudaKernel(self.harness, mode, made)

        return cuda_kernel


@dataclass
class CudaKernel:
    """Called like a kernel of `mx.fast.cuda_kernel`; computes at once."""

    harness: Harness
    mode: Mode
    made: dict[str, Any]

    def __call__(self, **call: Any) -> list[mx.array]:
        text, parameters = generated(self.made, call)
        stored = {}
        for name, a in zip(self.made["input_names"], call["inputs"], strict=True):
            stored[name] = _bytes(a, self.mode.offset if a.dtype == mx.uint8 else 0)
            stored[f"{name}_shape"] = np.array([*a.shape, *[0] * (10 - a.ndim)], np.int32)
        names = self.made["output_names"]
        results = list(zip(names, call["output_shapes"], call["output_dtypes"], strict=True))
        for name, shape, dtype in results:
            stored[name] = _aligned(int(np.prod(shape)) * np.dtype(NUMPY[dtype]).itemsize, 0)
            stored[name][:] = JUNK
        block = call["threadgroup"]
        grid = tuple(-(-g // t) * t for g, t in zip(call["grid"], block, strict=True))
        buffers = [(stored[p.name], p) for p in parameters]
        self.harness.run(as_cpp(text, parameters), PRELUDE, buffers, (grid, block), self.mode)
        return [_array(stored[name], shape, dtype) for name, shape, dtype in results]


def as_cpp(text: str, parameters: list[Parameter]) -> str:
    """The CUDA text as C++ for the executor: shared memory in its arena, an entry point, no includes."""
    text = _shared_storage(re.sub(r"#include[^\n]*", "", text).replace("__shared__", "threadgroup"))
    text = text.replace("const __grid_constant__ Shape ", "const int* ").replace(
        "static __device__ const", "static const"
    )
    text = text.replace("namespace cg = cooperative_groups;", "")
    found = re.search(rf"void {NAME}\(\n(.*?)\) \{{", text, re.S)
    assert found
    kinds = [line.strip().rsplit(" ", 1)[0] for line in found[1].split(",\n")]
    given = ", ".join(f"({kind})buffers[{i}]" for i, kind in enumerate(kinds))
    assert len(kinds) == len(parameters)
    return '#line 1 "kernel"\n' + text + '\n#line 1 "entry"\n' + ENTRY.format(name=NAME, arguments=given)
