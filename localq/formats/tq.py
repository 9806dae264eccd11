"""tq2, tq3, tq4: localq's own open format: a random rotation per 128 weights, then the best levels for a Gaussian.

A row `w` is cut into groups of 128. With signs s (one per input) and the Hadamard matrix H of order 128 (Sylvester's
order, entries 1 and -1), a group is stored as codes c and one norm r, and stands for

    w = s * (H @ (r * level[c])) / sqrt(128)

(quantising: u = H @ (s * w) / sqrt(128), then c and r such that u is about r * level[c]).

Rotated weights are nearly Gaussian, whatever their outliers were, so one table serves all groups: Lloyd's and Max's
levels for N(0, 1) with 4, 8 or 16 codes, symmetric about zero, `LEVELS` below being their positive halves; code 0 is
the lowest. Its mean squared error is 0.1175, 0.03455 and 0.009501 of the weights' variance.

    weight  uint32 `[out, in * bits / 32]`   codes in a little-endian bitstream, as MLX's affine has them
    norms   float16 `[out, in / 128]`        r, fitted to u by least squares
    seed    int64 `[]` (`[n]` of a stack)    of the signs: input j has -1 where bit 63 of z is set, all modulo 2**64:
                                             z = seed + (j + 1) * 0x9E3779B97F4A7C15
                                             z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
                                             z = (z ^ z >> 27) * 0x94D049BB133111EB;  z = z ^ z >> 31   (splitmix64)

config.json says `"quantization_config": {"quant_method": "tq"}`; bits follow from the shapes. The idea is that of
HIGGS' scalar grids (arXiv 2411.17525); the levels are those of Max (1960) and Lloyd (1982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.bits import pack, unpack
from localq.formats.hadamard import transform
from localq.formats.rounding import refuse_nonfinite

GROUP, SEED = 128, 1
LEVELS = {
    2: (0.452780035, 1.510417608),
    3: (0.245094179, 0.756005281, 1.343909278, 2.151945705),
    4: (0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.256231197, 1.618046386, 2.069017227, 2.732589571),
}
_FITS = 4  # rounds of codes and norms in turn


class TQ(Format):
    """Of any width."""

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % GROUP:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {GROUP}.")
        return {
            "weight": Part("uint32", (*shape[:-1], shape[-1] * int(cls.bits) // 32)),
            "norms": Part("float16", (*shape[:-1], shape[-1] // GROUP)),
            "seed": Part("int64", shape[:-2]),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """By the three arrays; the config may only agree."""
        if not {"weight", "norms", "seed"} <= set(stored):
            return None
        words, norms = stored["weight"].shape, stored["norms"].shape
        if len(words) < 2 or len(norms) != len(words):
            raise CheckpointError(f"weight is {words} and norms are {norms}; expected as many axes, two or more.")
        bits = words[-1] * 32 / (norms[-1] * GROUP) if norms[-1] else 0
        if bits not in LEVELS:
            raise CheckpointError(
                f"weight has {words[-1]} words a row and norms have {norms[-1]} groups, {bits:g} bits; "
                f"expected 2, 3 or 4."
            )
        said = (quantization or {}).get("bits")
        if said is not None and said != bits:
            raise CheckpointError(f"The config says {said!r} bits, the shapes of weight and norms {bits:g}.")
        return (cls, (*words[:-1], norms[-1] * GROUP)) if bits == cls.bits else None

    @classmethod
    def levels(cls) -> NDArray[np.float32]:
        """The table of all codes."""
        half = np.array(LEVELS[int(cls.bits)], np.float32)
        return np.concatenate([-half[::-1], half])

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = cls.levels().take(unpack(t.parts["weight"], int(cls.bits))).reshape(-1, GROUP)
        out *= t.parts["norms"].astype(np.float32).reshape(-1, 1) * np.float32(1 / math.sqrt(GROUP))
        rotated: NDArray[np.float32] = transform(out, GROUP).reshape(t.shape)
        stack = rotated.reshape(-1, *t.shape[-2:])
        for matrix, seed in zip(stack, t.parts["seed"].reshape(-1), strict=True):
            matrix *= signs(int(seed), t.shape[-1])
        return rotated

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        """Codes and norms fitted in turn, from the root mean square of a group; seed 1."""
        layout = cls.layout(w.shape)
        refuse_nonfinite(cls.name, w)
        width = w.shape[-1]
        flat = w.reshape(-1, width)
        words = np.empty((len(flat), layout["weight"].shape[-1]), np.uint32)
        norms = np.empty((len(flat), layout["norms"].shape[-1]), np.float16)
        step = max(1, (1 << 20) // width)
        for i in range(0, len(flat), step):
            rows = flat[i : i + step].astype(np.float32) * signs(SEED, width)
            u = transform(rows.reshape(-1, GROUP), GROUP) * np.float32(1 / math.sqrt(GROUP))
            codes, norm = cls._fit(u)
            words[i : i + step] = pack(codes.reshape(len(rows), width), int(cls.bits))
            norms[i : i + step] = norm.reshape(len(rows), -1)
        parts: dict[str, Array] = {
            "weight": words.reshape(layout["weight"].shape),
            "norms": norms.reshape(layout["norms"].shape),
        }
        return PackedTensor(cls, w.shape, {**parts, "seed": np.full(w.shape[:-2], SEED, np.int64)})

    @classmethod
    def _fit(cls, u: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Codes `[groups, 128]` and norms `[groups, 1]` of rotated weights."""
        levels = cls.levels()
        edges = (levels[1:] + levels[:-1]) / 2
        norm = np.sqrt(np.mean(u * u, axis=1, keepdims=True))
        codes = np.zeros(u.shape, np.uint8)
        for _ in range(_FITS):
            safe = np.where(norm > 0, norm, 1)
            codes = np.searchsorted(edges, u / safe).astype(np.uint8)
            near = levels.take(codes)
            norm = np.maximum((u * near).sum(axis=1, keepdims=True) / (near * near).sum(axis=1, keepdims=True), 0)
        if norm.max(initial=0) > 65504:
            raise CheckpointError(f"A group of weights has the norm {norm.max():g}, which float16 does not hold.")
        return codes, norm.astype(np.float16)


_FACTS: dict[str, Any] = {
    **{"family": "tq", "group_size": GROUP, "block_size": GROUP, "scale": "fp16 per 128", "zero_scales": True},
    **{"containers": ("safetensors",), "suffixes": ("weight", "norms", "seed"), "scale_parts": ("norms",)},
    **{"kernel": "tq"},
}


class TQ2(TQ, name="tq2", checked="its specification", bits=2, bits_per_weight=2.125, **_FACTS):
    pass


class TQ3(TQ, name="tq3", checked="its specification", bits=3, bits_per_weight=3.125, **_FACTS):
    pass


class TQ4(TQ, name="tq4", checked="its specification", bits=4, bits_per_weight=4.125, **_FACTS):
    pass


def signs(seed: int, width: int) -> NDArray[np.float32]:
    """1 and -1 for every input."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed & (1 << 64) - 1) + np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.where((z ^ z >> np.uint64(31)) >> np.uint64(63), np.float32(-1), np.float32(1))
