"""Every packing of every fixture: each array taken away, cast, reshaped, cut; each scale NaN or zero; each is an error.

The error names the tensor. What decodes all the same has the very weights it had (padding, settings nobody reads), or
is a whole matrix of another shape, which no architecture takes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, NotFoundError, UnsupportedError
from tests.packed.fixtures import NAME, Variant, variants
from tests.packed.rawfile import save

FILES = (
    *("auto_round", "awq", "bitsandbytes", "codebooks", "compressed_tensors", "fp8", "gptq", "hqq", "modelopt"),
    *("quanto_torchao",),
)
FLOATS = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def opened(folder: Path, parts: dict[str, np.ndarray], variant: Variant) -> Any:
    """The tensor, or what was said instead."""
    config = {k: v for k, v in (variant.config or {}).items() if k not in ("header", "float8")}
    header = (variant.config or {}).get("header")
    save(
        folder / "model.safetensors",
        {f"{NAME}.{n}": a for n, a in parts.items()},
        {f"{NAME}.weight": header} if header else None,
    )
    said = {"model_type": "llama"} | ({"quantization_config": config} if config else {})
    (folder / "config.json").write_text(json.dumps(said))
    with np.errstate(all="ignore"), open_checkpoint(folder) as checkpoint:
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        t = checkpoint[f"{NAME}.weight"]
        return t, t.dequantize()


def damages(t: Any, parts: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray | None]:
    """What may happen to one array; None takes it away."""
    array = parts[name]
    flat = array.reshape(-1)
    found: dict[str, np.ndarray | None] = {"gone": None, "of another dtype": np.zeros(array.shape, np.int64)}
    if array.dtype == np.int64:
        found["of another dtype"] = np.zeros(array.shape, np.float32)
    found["of another shape"] = array[None] if array.ndim < 2 else array[..., None]
    if array.size > 1:
        found["cut"] = array[..., :-1] if array.ndim > 1 else array[:-1]
    if name in t.format.scales(t) and array.dtype.name in FLOATS:
        bad = flat.copy()
        bad[-1] = np.nan
        found["not a number"] = bad.reshape(array.shape)
        if not t.format.zero_scales:
            bad = flat.copy()
            bad[0] = 0
            found["zero"] = bad.reshape(array.shape)
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_array_of_every_format(tmp_path: Path, file: str) -> None:
    seen: set[tuple[str, frozenset[str]]] = set()
    missed: list[str] = []
    count = 0
    for label, variant in variants(f"{file}.safetensors").items():
        try:
            t, weights = opened(tmp_path, dict(variant.parts), variant)
        except (CheckpointError, UnsupportedError, NotFoundError):
            continue  # its test adds arrays
        key = (t.format.name, frozenset(variant.parts))
        if key in seen or len(variant.parts) == 1:
            continue
        seen.add(key)
        needed = set(t.format.layout(t.shape))
        for name in variant.parts:
            for what, array in damages(t, variant.parts, name).items():
                if name not in t.parts or (what == "gone" and name not in needed):
                    continue
                parts = {n: a for n, a in variant.parts.items() if n != name}
                parts |= {} if array is None else {name: array}
                count += 1
                missed += trouble(tmp_path, parts, variant, weights, f"{label} ({t.format.name}): {name} {what}")
    assert count and not missed, "\n".join(missed)


def trouble(folder: Path, parts: dict[str, np.ndarray], variant: Variant, weights: np.ndarray, what: str) -> list[str]:
    """What is wrong with how this damage was taken."""
    try:
        got, now = opened(folder, parts, variant)
    except (CheckpointError, UnsupportedError, NotFoundError) as error:
        return [] if NAME in str(error) else [f"{what}: {error}"]
    if got.shape != weights.shape or np.array_equal(now, weights):
        return []
    return [f"{what} -> other weights"]
