"""Stored cases: what every format with a kernel of ours decodes to, so that any machine can be proved by one command.

`golden.json` has, for every such format, two hashes (the first 16 hex digits of SHA-256): of a drawn tensor's stored
bytes and of the float32 weights its oracle makes of them. For ggml's types the oracle is gguf-py (ggml itself for the
two that gguf-py does not decode), for others the format's reference, which tests compare with the method's package.
`tools/golden.py` writes the file. Where numpy draws other numbers than then, a case says nothing and is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from localq.formats import FORMATS
from localq.formats.base import Format, PackedTensor
from localq.kernels.drawn import random_tensor

SHAPE = (128, 512)
TURNED = ("tq", "exl3", "quip", "higgs")  # decoded through sums, whose last bits are the machine's: no hash of those


@cache
def cases() -> dict[str, tuple[str, str]]:
    """Format -> hash of the stored bytes, hash of the weights."""
    text = (files("localq.kernels") / "golden.json").read_text(encoding="utf-8")
    return {name: (drawn, weights) for name, (drawn, weights) in json.loads(text).items()}


def tensor(fmt: type[Format]) -> PackedTensor:
    """The tensor of a format's case."""
    return random_tensor(fmt, SHAPE, np.random.default_rng(20))


def examples(formats: Iterable[type[Format]] | None = None) -> Iterator[type[Format]]:
    """Every format, and every example of a family, that has a kernel of ours and the same bits on every machine."""
    for fmt in FORMATS.values() if formats is None else formats:
        yield from (e for e in fmt.examples() if e.kernel is not None and e.kernel not in TURNED)


def check(formats: Iterable[type[Format]] | None = None) -> Iterator[tuple[str, bool]]:
    """Format, and whether the reference makes of its tensor what the oracle made of it."""
    for fmt in examples(formats):
        if fmt.name not in cases():
            continue
        t = tensor(fmt)
        drawn, weights = cases()[fmt.name]
        if stored(t) == drawn:
            yield fmt.name, hashed(t.dequantize()) == weights


def stored(t: PackedTensor) -> str:
    """Hash of a tensor's parts, names among them."""
    found = hashlib.sha256()
    for name in sorted(t.parts):
        found.update(name.encode() + np.ascontiguousarray(t.parts[name]).tobytes())
    return found.hexdigest()[:16]


def hashed(weights: NDArray[np.float32]) -> str:
    """Hash of float32 weights."""
    assert weights.dtype == np.float32, weights.dtype
    return hashlib.sha256(np.ascontiguousarray(weights).tobytes()).hexdigest()[:16]
