"""The facts of every registered format, asked of the formats themselves: what `localq formats` and the README print."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from localq.formats.base import Format, Native, PackedTensor

_ROW = 1024  # a multiple of every block size


class FormatFacts(NamedTuple):
    """One format, or a family by its first example.

    `native` is the MLX mode that holds it ("affine 4-bit g32 x multiplier"), "" where none does; `checked` says whose
    decoded values the tests compare with.
    """

    name: str
    family: str
    bits_per_weight: float
    block: int
    group_size: int
    symmetric: bool
    scale: str
    containers: tuple[str, ...]
    writes: bool
    native: str
    checked: str


def describe_formats() -> list[FormatFacts]:
    """Facts of every format, floats first, then by family and bits per weight."""
    from localq.formats import FORMATS  # all of them: not where one is asked for

    order = {"float": 0, "mlx": 1, "ggml": 2}
    facts = [_describe(f) for f in FORMATS.values()]
    return sorted(facts, key=lambda f: (order.get(f.family, 3), f.family, f.bits_per_weight, f.block, f.name))


def _describe(fmt: type[Format]) -> FormatFacts:
    example = fmt.examples()[0]
    return FormatFacts(
        fmt.name,
        fmt.family,
        round(example.bits_per_weight, 4),
        example.block_size,
        example.group_size,
        example.symmetric,
        fmt.scale,
        fmt.containers,
        _overrides(fmt, "quantize"),
        native_mode(example),
        fmt.checked,
    )


def native_mode(fmt: type[Format]) -> str:
    """The MLX mode that holds a format's weights, found by asking it for a small tensor; "" for none.

    "float" for unpacked formats: MLX's plain matrix product.
    """
    if fmt.family == "float":
        return "float"
    if not _overrides(fmt, "to_native"):
        return ""
    held: Native | None = fmt.to_native(_small(fmt, (32, _ROW)))
    return "" if held is None else words(held)


def words(held: Native) -> str:
    """A repacked tensor's mode in words: "affine 4-bit g32 x multiplier"."""
    bits = f" {held.bits}-bit g{held.group_size}" if held.mode == "affine" else ""
    return f"{held.mode}{bits}" + (" x multiplier" if held.multiplier is not None else "")


def _small(fmt: type[Format], shape: tuple[int, int]) -> PackedTensor:
    """Zeros where zero bytes are weights, else the format's own sample."""
    if fmt.family not in ("ggml", "mlx"):
        return fmt.sample(shape, np.random.default_rng(0))
    parts = {name: np.zeros(part.shape, _dtype(part.dtype)) for name, part in fmt.layout(shape).items()}
    return PackedTensor(fmt, shape, parts)


def _dtype(name: str) -> np.dtype[np.generic]:
    import ml_dtypes

    name = "float32" if name == "any" else name.split("|")[0]
    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)


def _overrides(fmt: type[Format], method: str) -> bool:
    return getattr(fmt, method).__func__ is not getattr(Format, method).__func__
