"""The text MLX would hand to Apple's compiler, and its translation to a C++ file for the executor.

On a machine without Metal `mx.fast.metal_kernel` refuses a call, but not inside `mx.export_function`, whose callback
sees the finished source of every kernel. So nothing of MLX's generator is imitated here. Address spaces vanish in C++;
only `threadgroup` declarations are given storage, because all threads of a threadgroup share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

IDS = {  # attribute -> as the executor's lq_ids calls it
    "thread_position_in_grid": "", "thread_position_in_threadgroup": "", "threadgroup_position_in_grid": "",
    "threads_per_threadgroup": "", "dispatch_threads_per_threadgroup": "", "threads_per_grid": "",
    "grid_size": "threads_per_grid", "threadgroups_per_grid": "", "thread_index_in_threadgroup": "",
    "thread_index_in_simdgroup": "", "simdgroup_index_in_threadgroup": "", "simdgroups_per_threadgroup": "",
    "dispatch_simdgroups_per_threadgroup": "", "threads_per_simdgroup": "",
    "thread_execution_width": "threads_per_simdgroup",
}  # fmt: skip
_SHARED = re.compile(
    r"(?<=[{};])(\s*)threadgroup\s+(\w+)\s+(\w+(?:\s*\[[^;\]]*\])+(?:\s*,\s*\w+(?:\s*\[[^;\]]*\])+)*)\s*;"
)
_INSTANCE = re.compile(r'\ntemplate \[\[host_name\("[^"]*"\)\]\] \[\[kernel\]\] decltype\((.*)\) .*;\n')
_SIGNATURE = re.compile(r"\[\[kernel\]\] void (\w+)\(\n(.*?)\)\s*\{", re.S)
_PARAMETER = re.compile(r"(.+?)\s+(\w+)\s*\[\[(\w+)(?:\(\d+\))?\]\]", re.S)
PRELUDE = (
    '#include "metal_shim.h"\n#include "mlx/backend/metal/kernels/utils.h"\n'  # MLX puts utils.h before every kernel
)
ENTRY = """
struct lq_any {{ void* p; template <class U> operator U*() const {{ return (U*)p; }} }};
extern "C" __attribute__((no_sanitize("thread"))) void lq_entry(void* const* buffers, const lq_ids* i) {{
  {call}({arguments});
}}
"""


class Parameter(NamedTuple):
    """A buffer of the kernel's signature."""

    name: str
    output: bool


def generated(call: Callable[..., mx.array], inputs: list[mx.array]) -> str:
    """The source of the one kernel that `call(*inputs)` would launch."""
    seen: list[str] = []

    def event(what: dict) -> None:
        if what["type"] == "primitive" and what["name"] == "CustomKernel":
            seen.append(what["arguments"][1])

    mx.export_function(event, call, *inputs)
    assert len(seen) == 1, f"{len(seen)} kernels in one call"
    return seen[0]


def translate(text: str) -> tuple[str, list[Parameter]]:
    """C++ to stand after `PRELUDE`, with an entry point for the executor, and the buffers that it takes, in order."""
    instance = _INSTANCE.search(text)
    if instance:
        text = text[: instance.start()] + "\n"
    text = _shared_storage(re.sub(r"//[^\n]*", "", text))
    signature = _SIGNATURE.search(text)
    assert signature, text
    arguments, buffers = [], []
    for line in re.split(r",\n", signature.group(2)):
        found = _PARAMETER.fullmatch(line.strip())
        assert found, line
        kind, name, attribute = found.groups()
        if attribute != "buffer":
            arguments.append(_id(kind, IDS[attribute] or attribute))
            continue
        pointed = re.sub(r"\b(device|constant)\b", "", kind).replace("&", "*").strip()
        at = f"buffers[{len(buffers)}]"
        arguments.append(f"*({pointed}){at}" if "&" in kind else f"lq_any{{{at}}}")
        buffers.append(Parameter(name, "const" not in kind.split() and "constant" not in kind.split()))
    call = instance.group(1) if instance else signature.group(1)
    return '#line 1 "kernel"\n' + text + '\n#line 1 "entry"\n' + ENTRY.format(
        call=call, arguments=", ".join(arguments)
    ), buffers


def plain_casts(cpp: str) -> str:
    """`uint(q[i])` as `(uint)(q[i])`: g++ takes it for the type of a function where it watches bounds."""
    return re.sub(r"\b(uint|int|float)\((\w+\[[^\[\]()]*\])\)", r"(\1)(\2)", cpp)


def _id(kind: str, field: str) -> str:
    if kind[-1] not in "23":
        return f"i->{field}" + ("[0]" if "position" in field or field.startswith(("threads_per_grid",)) else "")
    return f"{kind}(" + ", ".join(f"i->{field}[{axis}]" for axis in range(int(kind[-1]))) + ")"


def _shared_storage(text: str) -> str:
    """`threadgroup float s[64];` becomes a reference into the executor's arena, one for all threads."""
    count = 0

    def declare(found: re.Match[str]) -> str:
        nonlocal count
        out = found.group(1)
        for variable in re.split(r",(?![^\[]*\])", found.group(3)):
            name, dims = re.fullmatch(r"\s*(\w+)\s*(.*?)\s*", variable, re.S).groups()  # type: ignore[union-attr]
            count += 1
            out += f"typedef {found.group(2)} lq_t_{name} {dims}; "
            out += f"lq_t_{name}& {name} = *(lq_t_{name}*)lq_tg_alloc(sizeof(lq_t_{name}), {count}); "
        return out

    text = _SHARED.sub(declare, text)
    left = re.search(r"#define[^\n]*\bthreadgroup\b|\bthreadgroup\s+[\w:<>, ]+?\s+\w+\s*[\[;=]", text)
    assert not left, f"a threadgroup declaration that the harness does not know: {left.group(0)!r}"
    return text
