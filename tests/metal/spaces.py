"""Address spaces of kernels, which the executor does not see: the text MLX writes, type-checked by clang (PyPI's
`libclang`, 17 or newer) as C++ for OpenCL. It has the same four spaces and, like Metal, none that stands for all.
Nothing is run.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

from tests.metal.harness import HERE

FLAGS = ["-x", "clcpp", "-cl-std=clc++2021", "-cl-no-stdinc", "-target", "x86_64-linux-gnu", f"-isystem{HERE}"]
FLAGS += ["-Xclang", "-cl-ext=-all,+cl_khr_fp16", "-Wno-unused-value"]
_INSTANCE = re.compile(r"\]\] \[\[kernel\]\] decltype\(\w+<(.*)>\) ")
_KERNEL = re.compile(r"(?:template <([^>]*)>\n)?\[\[kernel\]\] void (\w+)\(\n(.*?)\) \{\n", re.S)


def missing() -> str:
    """Why nothing can be checked here, "" if it can."""
    if importlib.util.find_spec("clang") is None:
        return "checking address spaces needs libclang (pip install libclang)"
    return ""


def translate(text: str) -> str:
    """The kernel of MLX's text as one of OpenCL: template arguments filled in, attributes gone."""
    given = _INSTANCE.search(text)
    text = re.sub(r"#include[^\n]*", "", text)
    text = re.sub(r"\bulong2\(", "make_ulong2(", text)  # OpenCL's vectors have no constructors
    text = text.split("\ntemplate [[host_name")[0]
    found = _KERNEL.search(text)
    assert found, text
    told = ""
    if found[1]:
        assert given
        for parameter, value in zip(found[1].split(", "), given[1].split(", "), strict=True):
            kind, name = parameter.split()
            told += f"typedef {value} {name};\n" if kind == "typename" else f"enum {{ {name} = {value} }};\n"
    parameters, references = [], ""
    for line in found[3].split(",\n"):
        plain = re.sub(r"\s*\[\[.*\]\]", "", line).strip()
        reference = re.fullmatch(r"(.*)& (\w+)", plain)
        if reference:
            kind, name = reference.groups()
            references += f"{kind}& {name} = *{name}_p; "
            plain = f"{kind}* {name}_p"
        parameters.append(plain)
    head = f"{told}__kernel void {found[2]}({', '.join(parameters)}) {{ {references}\n"
    return text[: found.start()] + head + text[found.end() :]


def findings(text: str) -> list[str]:
    """What clang says against a kernel as MLX writes it."""
    cindex: Any = importlib.import_module("clang.cindex")  # untyped, and not installed everywhere
    whole = '#include "address_spaces.h"\n#line 1 "kernel"\n' + translate(text)
    unit = cindex.Index.create().parse("kernel.clcpp", args=FLAGS, unsaved_files=[("kernel.clcpp", whole)])
    return [f"{d.location.line}: {d.spelling}" for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Warning]
