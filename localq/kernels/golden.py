"""Stored cases: what formats with a kernel of ours decode to, so that any machine can be proved by one command.

Expected weights are never localq's own. `golden.json` has, for every ggml type, two hashes (the first 16 hex digits of
SHA-256): of a drawn tensor's stored bytes and of the float32 weights gguf-py makes of them (ggml itself for the two
types that gguf-py does not decode). Where numpy draws other numbers than then, such a case says nothing and is left
out. `golden_peers.json` has small tensors of other formats as the methods' own packages wrote them, and a hash of the
weights that those packages decode; of formats decoded through sums, whose last bits are the machine's, some rows.
`tools/golden.py` writes both.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from localq.formats import FORMATS, find
from localq.formats.base import Format, PackedTensor
from localq.kernels.drawn import random_tensor

SHAPE = (128, 512)
ROUNDED = 3e-6  # of the largest weight: sums of a rotation in another order


class Peer(NamedTuple):
    """A tensor that a method's package packed, and what that package decodes of it."""

    package: str
    tensor: PackedTensor
    sha256: str  # of all float32 weights, zeros positive; "" where `rows` are given
    rows: tuple[list[int], NDArray[np.float32]]

    def right(self, weights: NDArray[np.float32]) -> bool:
        """Whether these are the package's weights."""
        if self.sha256:
            return hashlib.sha256((np.ascontiguousarray(weights) + np.float32(0)).tobytes()).hexdigest() == self.sha256
        at, want = self.rows
        return bool(np.abs(weights[at] - want).max() <= ROUNDED * np.abs(want).max())


@cache
def cases() -> dict[str, tuple[str, str]]:
    """Format -> hash of the stored bytes, hash of the weights."""
    text = (files("localq.kernels") / "golden.json").read_text(encoding="utf-8")
    return {name: (drawn, weights) for name, (drawn, weights) in json.loads(text).items()}


@cache
def peers() -> tuple[Peer, ...]:
    """Every case of another package."""
    text = (files("localq.kernels") / "golden_peers.json").read_text(encoding="utf-8")
    return tuple(_peer(case) for case in json.loads(text))


def _peer(case: dict[str, Any]) -> Peer:
    form, shape = find(case["format"]), tuple(case["shape"])
    assert form is not None, case["format"]
    parts = {name: array(*stored) for name, stored in case["parts"].items()}
    rows = (case.get("at", []), array("float32", [-1, shape[1]], case.get("rows", "")))
    return Peer(case["package"], PackedTensor(form, shape, parts), case.get("sha256", ""), rows)


def array(dtype: str, shape: list[int], data: str) -> NDArray[Any]:
    """A stored array: base64, or "drawn" for codes without NaN that a rule gives."""
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    if data == "drawn":
        places = np.arange(np.prod(shape), dtype=np.int64)
        return ((places * 40503 >> 4) % 127 + 128 * (places % 2)).astype(np.uint8).reshape(shape).view(kind)
    return np.frombuffer(base64.b64decode(data), kind).reshape(shape)


def tensor(fmt: type[Format]) -> PackedTensor:
    """The tensor of a format's case."""
    return random_tensor(fmt, SHAPE, np.random.default_rng(20))


def examples(formats: Iterable[type[Format]] | None = None) -> Iterator[type[Format]]:
    """Every ggml type that has a kernel of ours."""
    for fmt in FORMATS.values() if formats is None else formats:
        yield from (e for e in fmt.examples() if e.kernel is not None and e.family == "ggml")


def check(formats: Iterable[type[Format]] | None = None) -> Iterator[tuple[str, bool]]:
    """Format, and whether the reference makes of its tensor what the oracle made of it."""
    for fmt in examples(formats):
        if fmt.name not in cases():
            continue
        t = tensor(fmt)
        drawn, weights = cases()[fmt.name]
        if stored(t) == drawn:
            yield fmt.name, hashed(t.dequantize()) == weights
    for peer in asked(formats):
        yield peer.tensor.format.name, peer.right(peer.tensor.dequantize())


def asked(formats: Iterable[type[Format]] | None = None) -> Iterator[Peer]:
    """Cases of other packages, of these formats and families."""
    wanted = None if formats is None else tuple(formats)
    yield from (p for p in peers() if wanted is None or issubclass(p.tensor.format, wanted))


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
