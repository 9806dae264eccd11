"""Floats: plain ones, FP8, and the 4- and 8-bit floats in blocks (OCP's MX, NVIDIA's NVFP4), bitsandbytes' NF4.

Sources: IEEE 754, OCP OFP8 and MX specifications, compressed-tensors' presets, bitsandbytes; figures as published.
"""

from __future__ import annotations

from localq.inspect.knowledge.base import Card, Figure, Packing

_PLAIN = {
    "F32": ("f32", 32, "8 bits of exponent and 23 of fraction: training precision, twice what running needs"),
    "F16": ("f16", 16, "5 bits of exponent and 10 of fraction: finer than BF16, but nothing above 65504"),
    "BF16": ("bf16", 16, "8 bits of exponent and 7 of fraction: the range of F32, as most models are published"),
}
_ALSO = {"FP16": "F16", "FP32": "F32", "16bit": "BF16", "32bit": "F32"}


def plain(scheme: str) -> Card | None:
    """BF16, F16 and F32: no quantisation at all."""
    found = _PLAIN.get(_ALSO.get(scheme, scheme))
    if not found:
        return None
    name, bits, words = found
    return Card(
        what=f"not quantised: {words}",
        packing=Packing(name, 1, 1, True, ((1, bits, "float"),)),
        activations="16 bits as a rule",
        engines="every engine",
        made="as published, or converted from it",
        who="who has the memory, wants a reference, or will quantise it",
        instead="Q8_0, FP8 or MLX 8-bit: half the memory and hardly a difference",
    )


def fp8(scheme: str, activations: int | None) -> Card:
    how = {
        "FP8-dynamic": "one scale per output row; activations are scaled per token while running",
        "FP8-block": "one scale per block of 128 x 128 weights, as DeepSeek published its models",
        "FP8-static": "one scale per matrix; activation scales were fixed by calibration",
        "FP8-KV": "one scale per matrix, and scales for a KV cache in FP8, which halves its memory",
    }.get(scheme, "the name does not say what shares a scale: a matrix, a row, or a block of 128 x 128")
    kind = "E5M2: 5 bits of exponent, 2 of fraction" if "E5M2" in scheme else "E4M3: 4 bits of exponent, 3 of fraction"
    kind += "" if "E5M2" in scheme or "E4M3" in scheme else ", as a rule"
    return Card(
        what=f"8-bit floats ({kind}); {how}",
        packing=Packing("", 128 * 128, 128 * 128, True, ((128 * 128, 8, "floats"), (1, 32, "scale"))),
        activations=f"{activations} bits" if activations else "8 bits where the GPU multiplies FP8, else 16",
        engines="vLLM, SGLang, TensorRT-LLM: natively on NVIDIA from Ada and Hopper on; elsewhere as weights only",
        made="plain rounding, in minutes; static scales need a calibration text",
        quality=(
            Figure(
                "Llama-3.1-8B, mean of 13 tasks: .6311 in bf16, .6297 in FP8; Qwen3-8B .6524 and .6520",
                "intel/auto-round, documentation",
            ),
        ),
        who="who serves on Hopper, Ada or newer and has half the memory of bf16",
        instead="W4A16 or NVFP4 for less memory; Q8_0 or MLX 8-bit on a Mac",
    )


def blocks(scheme: str, container: str | None) -> Card | None:
    """MXFP4, MXFP8 and NVFP4, with and without 16-bit activations."""
    name = scheme.split("A")[0].split("-")[0].removesuffix("_MOE")
    if name not in ("MXFP4", "MXFP8", "NVFP4"):
        return None
    nv, bits = name == "NVFP4", int(name[-1])
    group = 16 if nv else 32
    suffix = "_ggml" if container == "gguf" else ""
    scale = "a scale that is itself an 8-bit float, and one 32-bit scale per matrix" if nv else "a shared power of two"
    values = "E2M1: 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives" if bits == 4 else "E4M3"
    activations = "4 bits, or 16: the name does not say" if nv else "16 bits, or the engine's choice"
    w4a4 = Figure("weights and activations, WikiText-2: Llama-3-8B 7.54 in bf16, 8.43 in NVFP4", "arXiv 2512.02010")
    both = Figure("Qwen3.5-35B-A3B, WikiText-2: 7.70 in bf16, 8.14 in NVFP4, 8.83 in MXFP4", "arXiv 2603.28765")
    return Card(
        what=f"{bits}-bit floats ({values}) in groups of {group} with {scale}",
        packing=Packing(
            f"{name.lower()}{suffix if bits == 4 else ''}",
            group,
            group,
            True,
            ((group, bits, "floats"), (1, 8, "scale (E4M3)" if nv else "power of two (E8M0)")),
        ),
        activations="16 bits (A16)" if scheme.endswith("A16") else activations,
        engines="vLLM, SGLang, TensorRT-LLM (natively on Blackwell); MLX and llama.cpp in their own containers; localq",
        made="rounding, calibrated (modelopt, llm-compressor, AutoRound), or trained so (gpt-oss in MXFP4)",
        quality=(w4a4, both) if nv else (both,) if bits == 4 else (),
        who="who serves on Blackwell" if nv else "who runs a model published so (gpt-oss), or serves on Blackwell",
        instead="FP8 on Hopper; W4A16, Q4_K_M or MLX 4-bit where nothing multiplies 4-bit floats",
    )


def nf4(name: str) -> Card:
    """bitsandbytes' 4-bit codebooks."""
    return Card(
        what=f"{name}: 4-bit places in a table of 16 levels"
        + (", spaced like a normal distribution" if name == "nf4" else ""),
        packing=Packing(f"bnb_{name}_g64", 64, 64, False, ((64, 4, "places in the table"), (1, 32, "largest value"))),
        activations="16 bits",
        engines="transformers with bitsandbytes (NVIDIA first); localq reads it",
        made="while loading, without calibration; with double quantisation the scales shrink to 0.127 bits per weight",
        quality=(
            Figure(
                "MMLU of LLaMA after tuning: 53.0 in bf16, 53.1 with NF4 and double quantisation", "arXiv 2305.14314"
            ),
        )
        if name == "nf4"
        else (),
        who="who trains adapters (QLoRA) or tries a model quickly",
        instead="AWQ or GPTQ for serving; GGUF or MLX on a Mac",
    )
