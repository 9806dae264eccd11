"""Every packing of every family: each array taken away, cast, reshaped, cut; each scale made no number or zero.

The error names the tensor. What decodes all the same has the very weights it had (padding, settings nobody reads), or
is a whole matrix of another shape, which no architecture takes. A family that no case belongs to fails the test.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from localq.errors import CheckpointError, NotFoundError, UnsupportedError
from localq.formats.base import PackedTensor
from tests.packed.cases import Case, every, family, wanted

FLOATS = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
AFFINE = ("affine_2bit_g32", "affine_4bit_g64")  # one class makes all of them
CASES = [c for c in every() if not c.label.startswith("affine") or c.label in AFFINE]
KINDS = sorted({c.label.partition(" ")[0] for c in CASES})


def opened(folder: Path, case: Case) -> tuple[PackedTensor, np.ndarray] | None:
    """The tensor, or None for cases whose own test brings more than the fixture has."""
    try:
        return case.open(folder)
    except (CheckpointError, UnsupportedError, NotFoundError):
        return None


def test_no_family_is_left_out(tmp_path: Path) -> None:
    found = set()
    for case in CASES:
        t = opened(tmp_path, case)
        found |= {family(t[0].format)} if t else set()
    assert {name for name in wanted() - found if not name.startswith("affine_")} == set()


def damages(t: PackedTensor, parts: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray | None]:
    """What may happen to one array; None takes it away."""
    array = parts[name]
    found: dict[str, np.ndarray | None] = {"gone": None, "of another dtype": np.zeros(array.shape, np.int64)}
    if array.dtype == np.int64:
        found["of another dtype"] = np.zeros(array.shape, np.float32)
    found["of another shape"] = array[None] if array.ndim < 2 else array[..., None]
    if array.size > 1:
        found["cut"] = array[..., :-1] if array.ndim > 1 else array[:-1]
        found["cut by a row"] = array[:-1]
    scales = t.format.scales(t).get(name)
    if scales is not None and array.dtype.name in FLOATS:
        kind = scales.dtype if scales.dtype.itemsize == array.dtype.itemsize else array.dtype  # as its bytes are read
        bad = {"not a number": np.nan, "infinite": np.inf}
        bad |= {} if t.format.zero_scales else {"zero": 0}
        for what, value in bad.items():
            flat = array.reshape(-1).copy()
            flat.view(kind)[0 if what == "zero" else -1] = value
            found[what] = flat.reshape(array.shape)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_of_every_format(tmp_path: Path, kind: str) -> None:
    seen: set[tuple[str, frozenset[str]]] = set()
    missed: list[str] = []
    count = read = 0
    for case in (c for c in CASES if c.label.partition(" ")[0] == kind):
        found = opened(tmp_path, case)
        if found is None:
            continue
        read += 1
        t, weights = found
        key = (t.format.name, frozenset(case.parts))
        if key in seen or len(case.parts) == 1:
            continue
        seen.add(key)
        needed = set(t.format.layout(t.shape))
        for name in case.parts:
            for what, array in damages(t, case.parts, name).items():
                if name not in t.parts or (what == "gone" and name not in needed):
                    continue
                parts = {n: a for n, a in case.parts.items() if n != name}
                parts |= {} if array is None else {name: array}
                count += 1
                said = f"{case.label} ({t.format.name}): {name} {what}"
                missed += trouble(tmp_path, replace(case, parts=parts), weights, said)
    assert (count or not read) and not missed, "\n".join(missed)


def trouble(folder: Path, case: Case, weights: np.ndarray, what: str) -> list[str]:
    """What is wrong with how this damage was taken."""
    try:
        got, now = case.open(folder)
    except (CheckpointError, UnsupportedError, NotFoundError) as error:
        named = (case.module, case.name.removesuffix(".weight"))  # of a fused matrix one of its pieces
        return [] if any(name in str(error) for name in named) else [f"{what}: {error}"]
    if got.shape != weights.shape or np.array_equal(now, weights):
        return []
    return [f"{what} -> other weights"]
