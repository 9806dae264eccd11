"""Rope scaling: GGUF's keys and factor tensors back into Hugging Face's `rope_scaling`.

GGUF stores Llama 3's scaling only as the divisors it comes to (`rope_freqs.weight`); its four parameters are solved
for and accepted only if they give the stored divisors again.
"""

from __future__ import annotations

import math
from typing import Any

from localq.checkpoints.architectures._hybrid import whole_numbers
from localq.checkpoints.keys import brief
from localq.errors import CheckpointError, UnsupportedError

LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def sections(keys: ModelKeys, rotated: int) -> list[int]:
    """How many of the rotated pairs turn by each axis of a position: in a text all do by the same number.

    Raises:
        UnsupportedError: they are not all of them, and the rest would stand still.
    """
    found = whole_numbers(keys, "rope.dimension_sections", 4)
    if 2 * sum(found) != rotated:
        keys.refuse("rope.dimension_sections", "rope.dimension_count")
    return found


def rope_scaling(keys: ModelKeys, dims: int, theta: float) -> dict[str, Any] | None:
    """Hugging Face's `rope_scaling`, None where there is none.

    Args:
        keys: the file's keys.
        dims: rotated dimensions of one head.
        theta: rope base.

    Raises:
        UnsupportedError: a scaling localq cannot state exactly.
    """
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))
    # llama.cpp takes a file that names no type for linear (`load_hparams`: rope_scaling defaults to "linear")
    kind = keys.text("rope.scaling.type", "linear")
    divisors = keys.small("rope_freqs.weight")
    if divisors is not None:
        if factor not in (0.0, 1.0):
            raise UnsupportedError(f"The GGUF file scales its rope twice: by {factor} and by 'rope_freqs.weight'.")
        return llama3(keys, divisors, dims, theta)
    if kind == "longrope" or LONG in keys.tensors or SHORT in keys.tensors:
        return _longrope(keys, dims)
    if kind == "none" or kind == "linear" and factor in (0.0, 1.0):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return _yarn(keys, factor)
    raise UnsupportedError(
        f"'{keys.architecture}.rope.scaling.type' is {brief(kind)}; localq knows none, linear, yarn and longrope."
    )


def _yarn(keys: ModelKeys, factor: float) -> dict[str, Any]:
    for key in ("rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor", "rope.scaling.yarn_ext_factor"):
        found = keys.number(key, 1.0)
        if found != 1.0:
            raise UnsupportedError(f"'{keys.architecture}.{key}' is {found}; localq knows only 1 for yarn.")
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": keys.integer(
            "rope.scaling.original_context_length", keys.integer("context_length")
        ),
        "beta_fast": keys.number("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": keys.number("rope.scaling.yarn_beta_slow", 1.0),
    }


def _longrope(keys: ModelKeys, dims: int) -> dict[str, Any]:
    """LongRoPE's two lists; Hugging Face has no place for the attention factor, which must be the formula's."""
    long, short = keys.small(LONG), keys.small(SHORT)
    if long is None or short is None or not len(long) == len(short) == dims // 2:
        raise CheckpointError(
            f"LongRoPE needs '{LONG}' and '{SHORT}' of {dims // 2} values; the GGUF file has "
            f"{len(long or ())} and {len(short or ())}."
        )
    positions = keys.integer("context_length")
    original = keys.integer("rope.scaling.original_context_length", positions)
    stretched = positions > original > 1
    expected = math.sqrt(1 + math.log(positions / original) / math.log(original)) if stretched else 1.0
    found = keys.number("rope.scaling.attn_factor", 1.0)
    if not math.isclose(found, expected, rel_tol=1e-5):
        raise UnsupportedError(
            f"'{keys.architecture}.rope.scaling.attn_factor' is {found}; a LongRoPE of {original} positions stretched "
            f"to {positions} has {expected:.6g}."
        )
    return {"rope_type": "longrope", "long_factor": long, "short_factor": short}


def llama3(keys: ModelKeys, divisors: list[float], dims: int, theta: float) -> dict[str, Any] | None:
    """Solve the converter's formula (`LlamaModel.generate_extra_tensors`, conversion/llama.py) for the factor.

    With low_freq_factor 1, high_freq_factor 4 and 8192 original positions, which every Llama 3 has and the converter
    assumes, the longest wavelength alone gives the factor; all divisors then check it.
    """
    if all(d == 1.0 for d in divisors):
        return None
    known: dict[str, Any] = {
        "rope_type": "llama3",
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": keys.integer("rope.scaling.original_context_length", 8192),
    }
    if len(divisors) == dims // 2:
        last = _smoothness(len(divisors) - 1, dims, theta, known)
        inverse = (1 / divisors[-1] - last) / (1 - last) if last < 1 else 1.0
        known["factor"] = float(f"{1 / inverse:.6g}") if inverse > 0 else 1.0
        again = [_divisor(j, dims, theta, known) for j in range(len(divisors))]
        # The converter computes in float32, we in float64: a few units in the last place, and more where 1 - s cancels
        if all(math.isclose(a, d, rel_tol=2e-5) for a, d in zip(again, divisors, strict=True)):
            return known
    raise UnsupportedError(
        f"'rope_freqs.weight' ({len(divisors)} divisors from {min(divisors):g} to {max(divisors):g}) is no Llama 3 "
        f"rope scaling of {dims} dimensions at base {theta:g}.",
        "localq knows no other meaning of it; please report the file.",
    )


def _smoothness(j: int, dims: int, theta: float, known: dict[str, Any]) -> float:
    """1 where a frequency is kept, 0 where it is divided by the whole factor, between them a ramp in 1/wavelength."""
    wavelength = 2 * math.pi * float(theta ** (2 * j / dims))
    low, high = known["low_freq_factor"], known["high_freq_factor"]
    ramp: float = (known["original_max_position_embeddings"] / wavelength - low) / (high - low)
    return min(1.0, max(0.0, ramp))


def _divisor(j: int, dims: int, theta: float, known: dict[str, Any]) -> float:
    kept = _smoothness(j, dims, theta, known)
    return float(1 / ((1 - kept) / known["factor"] + kept))
