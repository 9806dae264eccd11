"""Whole tiny models, packed by hand: the packed folder's logits against mlx-lm's on the dequantised weights.

The packers here share no code with localq: codes become bits one by one, in the order the layouts publish.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.files import save_weights, start_folder
from tests.factories.tiny import TinyModel
from tests.models.folders import difference, packed_logits, plain_logits
from tests.packed.rawfile import save

Packed = tuple[Mapping[str, np.ndarray], np.ndarray]  # suffix -> array; the weights they stand for
Packer = Callable[[np.ndarray], Packed]


def write_both(
    model: TinyModel, root: Path, pick: Callable[[str, np.ndarray], Packer | None], quantization: dict[str, Any]
) -> tuple[Path, Path]:
    """Folders `packed` and `dense` of the same weights; `pick(path, weight)` says who packs a module, None: nobody."""
    packed, dense = {}, {}
    for name, weight in model.weights.items():
        path = name.removesuffix(".weight")
        pack = pick(path, weight) if name.endswith(".weight") and weight.ndim == 2 else None
        if pack is None:
            packed[name] = dense[name] = weight
            continue
        parts, dense[name] = pack(weight)
        packed |= {f"{path}.{part}": np.asarray(array, order="C") for part, array in parts.items()}
    folders = start_folder(model, root / "packed", {}), start_folder(model, root / "dense", {})
    save(folders[0] / "model.safetensors", packed)
    save_weights(folders[1], dense)
    config = json.loads((folders[0] / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    return folders


def compare(packed: Path, dense: Path) -> tuple[Any, float]:
    """The packed model, and its logits' largest distance from the dequantised one's, in units of their range.

    Once with one token after the other, as decoding does, once with all at a time: these are two ways to multiply.
    """
    import mlx.core as mx

    from localq.checkpoints import open_checkpoint
    from localq.models.loader import load_model
    from tests.models.folders import IDS

    with open_checkpoint(packed) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    want = plain_logits(dense)
    together = difference(packed_logits(model), want)
    cache = model.make_cache() if hasattr(model, "make_cache") else None
    if cache is None:
        from mlx_lm.models.cache import make_prompt_cache

        cache = make_prompt_cache(model)
    singly = np.stack([np.array(model(mx.array([[token]]), cache=cache)[0, 0]) for token in IDS])
    return model, max(together, difference(singly, want))


def rounded(weight: np.ndarray, bits: int, group: int, symmetric: bool, order: np.ndarray | None = None) -> Any:
    """Round to nearest: codes [out, in], float16 scales and integer zeros [out, groups], the group of every input."""
    out, width = weight.shape
    index = (np.arange(width) if order is None else order) // group
    top, groups = (1 << bits) - 1, -(-width // group)
    scales, zeros = np.empty((out, groups), np.float16), np.empty((out, groups), np.int64)
    for g in range(groups):
        part = weight[:, index == g]
        if symmetric:
            scales[:, g], zeros[:, g] = 2 * np.abs(part).max(axis=1) / top, 1 << (bits - 1)
        else:
            low, high = np.minimum(part.min(axis=1), 0), np.maximum(part.max(axis=1), 0)
            scales[:, g] = (high - low) / top
            zeros[:, g] = np.clip(np.rint(-low / scales[:, g].astype(np.float32)), 0, top)
    wide = scales.astype(np.float32)[:, index]
    codes = np.clip(np.rint(weight / wide) + zeros[:, index], 0, top).astype(np.int64)
    return codes, scales, zeros, index


def decoded(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, index: np.ndarray) -> np.ndarray:
    """scale * (code - zero)."""
    return (scales.astype(np.float32)[:, index] * (codes - zeros[:, index]).astype(np.float32)).astype(np.float32)


def stream(codes: np.ndarray, bits: int) -> np.ndarray:
    """int32 words of a little-endian bitstream along the last axis."""
    spread = (codes[..., None] >> np.arange(bits)) & 1
    return np.packbits(spread.reshape(*codes.shape[:-1], -1).astype(np.uint8), axis=-1, bitorder="little").view("<i4")


def gptq(bits: int = 4, group: int = 64, symmetric: bool = True, scattered: bool = False, minus: int = 1) -> Packer:
    """GPTQ's v1 (`minus` 1) or v2 (0), act-order where `scattered`."""

    def pack(weight: np.ndarray) -> Packed:
        order = np.random.default_rng(weight.shape[1]).permutation(weight.shape[1]) if scattered else None
        codes, scales, zeros, index = rounded(weight, bits, group, symmetric, order)
        parts = {"qweight": stream(codes, bits).T, "scales": scales.T, "g_idx": index.astype(np.int32)}
        stored = (zeros - minus) & ((1 << bits) - 1)
        return {**parts, "qzeros": stream(stored.T, bits)}, decoded(codes, scales, zeros, index)

    return pack


def awq(group: int = 64, symmetric: bool = False) -> Packer:
    """AWQ's gemm layout."""

    def words(fields: np.ndarray) -> np.ndarray:  # [rows, out]
        blocks = fields.reshape(len(fields), -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
        return (blocks << (4 * np.arange(8))).sum(axis=-1).astype(np.uint32).view(np.int32)

    def pack(weight: np.ndarray) -> Packed:
        codes, scales, zeros, index = rounded(weight, 4, group, symmetric)
        return {"qweight": words(codes.T), "qzeros": words(zeros.T), "scales": scales.T}, decoded(
            codes, scales, zeros, index
        )

    return pack
