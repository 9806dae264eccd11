"""Packings localq refuses by name: whose order of weights only their own kernel undoes, or that nobody publishes now.

A refusal says which key or array was understood, and what to do instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_OTHER = "Get the model in another packing (GGUF, MLX, AWQ, GPTQ, compressed-tensors), or quantise the original."
# quant_method -> why
_METHODS = {
    "exl2": "ExLlamaV2's mixed-width rows (EXL2) are ordered for its CUDA kernels",
    "eetq": "EETQ stores int8 weights in an order of CUDA tensor-core tiles that only its own kernel undoes",
    "marlin": "Marlin stores weights in the order of its CUDA kernel's tiles",
    "bitblas": "BitBLAS stores weights in an order compiled for one GPU",
    "flute": "FLUTE stores weights in an order of CUDA tiles tuned for one GPU, which only its own kernel undoes",
    "sinq": "SINQ divides the inputs by a second scale, in an order of arrays that has changed between its versions",
    "qqq": "QQQ stores weights in the order of its CUDA kernel's tiles",
    "gguf": "ggml's blocks in safetensors are gptqmodel's alone; localq reads them from GGUF files",
    "qtip": "localq has no reader of QTIP's trellis codes, which are kept in tiles for its CUDA kernels",
}
# one of these as the config's layout of a method that has others, too
_LAYOUTS = {"marlin", "marlin-24", "marlin_24", "bitblas", "gptq_marlin", "qqq"}
_LAYOUT_KEYS = ("checkpoint_format", "format", "version")


def refused_arrays(parts: Collection[str]) -> tuple[str, str] | None:
    """Sentence and hint where these arrays of one module are packed in a refused way, else None."""
    if {"q_weight", "q_scale_max"} <= set(parts):
        return f"the arrays {', '.join(sorted(parts))} are EXL2's: {_METHODS['exl2']}.", _OTHER
    if {"trellis", "SU"} <= set(parts):
        return f"the arrays {', '.join(sorted(parts))} are QTIP's: {_METHODS['qtip']}.", _OTHER
    return None


def refused_method(quantization: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """The same where the config names such a packing."""
    if not quantization:
        return None
    if quantization.get("rotation_config"):
        return "the config's rotation_config (AutoRound's) rotates activations at run time; localq does not.", _OTHER
    method = str(quantization.get("quant_method", "")).lower()
    if method in _METHODS:
        return f"{_METHODS[method]} (quant_method {method!r}).", _OTHER
    for key in _LAYOUT_KEYS:
        found = str(quantization.get(key, "")).lower()
        if found in _LAYOUTS:
            return f"the config's {key} {found!r} names an order of weights that only its CUDA kernel undoes.", _OTHER
    if quantization.get("is_marlin_format") is True:
        return f"{_METHODS['marlin']} (is_marlin_format).", _OTHER
    return None
