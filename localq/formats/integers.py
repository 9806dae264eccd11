"""What formats of integer codes with a scale and a zero point per group share. No format of its own.

weight = scale * (code - zero) is MLX's affine with bias = -scale * zero. That product of a 16-bit scale and a zero
point of up to 9 bits, and every scale * code, is exact in float32; the bias seldom fits into 16 bits where zero is no
power of two, and is kept as float32 then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, Native
from localq.formats.mlx_modes import AFFINE_BITS, AFFINE_GROUPS


def affine_bits(bits: int) -> int:
    """The width MLX's affine keeps codes of `bits` in: itself, 8 for 7; 0 for none."""
    return next((wide for wide in AFFINE_BITS if wide in (bits, bits + 1) and wide >= bits), 0)


def affine_group(group: int, width: int) -> int:
    """MLX's group size that serves scales of `group` weights in rows of `width` (scales repeated); 0 for none."""
    return next((g for g in reversed(AFFINE_GROUPS) if group % g == 0 and width % g == 0), 0)


def native_bits(bits: int, group: int, whole_biases: bool) -> float:
    """Bits per weight in MLX's affine, scales and biases being float32 or of 16 bits; infinite where it is none."""
    wide, size = affine_bits(bits), affine_group(group, group)
    return wide + (64 if whole_biases else 32) / size if wide and size else float("inf")


def affine(words: Array, bits: int, group: int, scales: Floats, zeros: Floats) -> Native | None:
    """MLX's affine of codes in MLX's bitstream, uint32 `[out, in * bits / 32]`; scales and zeros `[out, groups]`.

    `group` weights share a scale, the last group of a row may be shorter. None where no group size of MLX's serves.
    """
    width = words.shape[-1] * 32 // bits
    size = affine_group(group, width)
    if bits not in AFFINE_BITS or not size:
        return None
    with np.errstate(all="ignore"):
        biases = -scales * zeros
    if not np.isfinite(biases).all():
        return None
    error = _error(scales, zeros, biases, (1 << bits) - 1)
    repeats, columns = group // size, width // size
    spread = [np.repeat(a, repeats, axis=-1)[..., :columns] if repeats > 1 else a for a in narrowest(scales, biases)]
    return Native(
        "affine", bits, size, words, spread[0], spread[1], exactness="rounded" if error else "exact", error=error
    )


def _error(scales: Floats, zeros: Floats, biases: Floats, top: int) -> float:
    """Largest difference of the two ways to compute a weight, in units of its scale; 0 where float32 never rounds."""
    short = not np.any(scales.view(np.uint32) & 0x1FF) and bool(np.all(np.rint(zeros) == zeros))
    if short:  # 15 bits of a scale times 9 of code - zero
        return 0.0
    worst = 0.0
    for code in (0, 1, top):
        right = scales.astype(np.float64) * (code - zeros.astype(np.float64))
        ours = scales * np.float32(code) + biases
        with np.errstate(all="ignore"):
            worst = max(worst, float(np.nan_to_num(np.abs(ours - right) / np.abs(scales)).max(initial=0)))
    return worst


def narrowest(*arrays: Floats) -> tuple[Array, ...]:
    """The arrays as float16, else as bfloat16, if that changes no value in any of them, else as they are."""
    for name in ("float16", "bfloat16"):
        kind = ml_dtypes.bfloat16 if name == "bfloat16" else name
        with np.errstate(over="ignore"):
            small = tuple(a.astype(kind) for a in arrays)
        if all(np.array_equal(s.astype(np.float32), a) for s, a in zip(small, arrays, strict=True)):
            return small
    return arrays


def dequantized(codes: NDArray[np.uint8], scales: Floats, zeros: Floats, group_of: Array | None, group: int) -> Floats:
    """scale * (code - zero) as float32 `[out, in]`; `group_of` `[in]` says each column's group, None: one by one."""
    out = codes.astype(np.float32)
    if group_of is None and codes.shape[-1] % group == 0:
        grouped = out.reshape(len(out), -1, group)
        grouped -= zeros[:, :, None]
        grouped *= scales[:, :, None]
        return out
    index = np.arange(codes.shape[-1]) // group if group_of is None else group_of
    out -= zeros[:, index]
    out *= scales[:, index]
    return out


def whole(quantization: Mapping[str, Any], key: str) -> int:
    """An integer of the settings.

    Raises:
        CheckpointError: there is none of that name, or it is none.
    """
    found = quantization.get(key)
    if type(found) is not int:
        raise CheckpointError(f"The config's {key} is {found!r}; an integer was expected.")
    return found


def one_of(quantization: Mapping[str, Any], key: str, known: tuple[int, ...]) -> int:
    """An integer of the settings that must be one of `known`.

    Raises:
        UnsupportedError: it is another.
    """
    found = whole(quantization, key)
    if found not in known:
        raise UnsupportedError(f"The config asks for {key} {found}; localq knows {', '.join(map(str, known))}.")
    return found


def check_middle(form: type[Format], zeros: Array) -> None:
    """Hold the zero points of a format that its config calls symmetric to 2**(bits - 1), the middle of the codes.

    Raises:
        CheckpointError: one is another.
    """
    middle = 1 << (int(form.bits) - 1)
    wrong = zeros != middle
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise CheckpointError(
            f"The config calls the {form.name} tensor symmetric, whose zero points are {middle}; {int(wrong.sum())} of "
            f"{zeros.size} are others, the first at {place}: {int(zeros[place])}.",
            "The config is of another file, or names another layout of zero points than the arrays have.",
        )


def group_length(quantization: Mapping[str, Any], width: int) -> int:
    """Weights that share a scale in a row of `width`: the config's group_size, -1 for the whole row.

    Raises:
        CheckpointError: no such number.
    """
    group = whole(quantization, "group_size")
    if group != -1 and group < 1:
        raise CheckpointError(f"The config's group_size is {group}; -1 or a positive number was expected.")
    return width if group == -1 or group >= width else group
