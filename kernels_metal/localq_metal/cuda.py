"""The same kernels for NVIDIA: their text translated for `mx.fast.cuda_kernel`.

Kernels keep to what both languages have (`source`), so four keywords are all that changes, and `cuda_prelude.h` has
Metal's names. They are replaced as text: CUDA spells `__device__` as `__attribute__((device))`, which a macro `device`
would break. Tiles of simdgroup matrices have no twin: `source.METAL_ONLY`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import mlx.core as mx

_KEYWORDS = (
    (re.compile(r"//[^\n]*"), ""),
    (re.compile(r"\b(?:device|thread) "), ""),
    (re.compile(r"\bthreadgroup\b"), "__shared__"),
    (re.compile(r"\bconstant\b"), "static __device__ const"),
)


def translate(text: str) -> str:
    """Metal text of this package as CUDA text; comments go."""
    for word, other in _KEYWORDS:
        text = word.sub(other, text)
    return text


@cache
def prelude() -> str:
    """What stands before every translated kernel."""
    return (files("localq_metal") / "cuda_prelude.h").read_text(encoding="utf-8")


def cuda_kernel(**made: Any) -> Any:
    """What has the signature of `mx.fast.metal_kernel`, for NVIDIA's GPUs."""
    return translated(mx.fast.cuda_kernel, **made)


def translated(factory: Callable[..., Any], *, source: str, header: str = "", **made: Any) -> Any:
    """A kernel of `factory`, which has the signature of `mx.fast.cuda_kernel`, from Metal text."""
    return factory(**made, source=translate(source), header=prelude() + translate(header))
