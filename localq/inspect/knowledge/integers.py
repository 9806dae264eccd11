"""Whole numbers in safetensors: GPTQ, AWQ, AutoRound, HQQ, bitsandbytes' int8, compressed-tensors' WxAy.

Figures as the methods' own papers or repositories publish them.
"""

from __future__ import annotations

from localq.inspect.knowledge.base import Card, Figure, Packing

_GPU = "vLLM, SGLang, transformers (GPTQModel); localq"


def grouped(bits: int, group: int, zero: bool, name: str = "") -> Packing:
    """Codes with an fp16 scale and, for GPTQ and AWQ, a zero point as wide as a code."""
    parts = ((group, bits, "codes"), (1, 16, "scale"), *(((1, bits, "zero point"),) if zero else ()))
    return Packing(name, group, group, not zero, parts)


def gptq(bits: int, group: int) -> Card:
    return Card(
        what=f"GPTQ: whole numbers of {bits} bits, rounded column by column so that later columns make up for errors",
        packing=grouped(bits, group, True, f"gptq_{bits}bit_g{group}_asym"),
        activations=f"16 bits: only weights are packed (W{bits}A16)",
        engines=_GPU,
        made="a calibration text of 128 pieces and 10 to 15 minutes for 8B on a GPU",
        quality=(
            Figure(
                "LLaMA-7B, WikiText-2 perplexity: 5.68 in fp16, 6.09 in 4 bits by GPTQ, 6.29 by rounding",
                "arXiv 2210.17323",
            ),
            Figure("Llama-2-7B, 4 bits in groups of 128: 5.47 in fp16, 5.69 by GPTQ", "arXiv 2306.00978"),
        )
        if bits == 4
        else (),
        who="who serves with vLLM or transformers on NVIDIA or AMD",
        instead="AWQ or AutoRound of the same size; GGUF or MLX on a Mac",
    )


def awq(bits: int, group: int) -> Card:
    return Card(
        what=f"AWQ: whole numbers of {bits} bits; channels that matter to the activations are scaled up first",
        packing=grouped(bits, group, True, f"awq_{bits}bit_g{group}_asym" if bits == 4 else ""),
        activations=f"16 bits: only weights are packed (W{bits}A16)",
        engines=f"{_GPU}; builds named AWQ may hold AutoAWQ's, compressed-tensors' or MLX's layout",
        made="a calibration text of 16 to 128 pieces and about 10 minutes for 8B on a GPU",
        quality=(
            Figure(
                "Llama-2-7B, 4 bits in groups of 128: 5.47 in fp16, 5.60 by AWQ, 5.73 by rounding", "arXiv 2306.00978"
            ),
        )
        if bits == 4
        else (),
        who="who serves with vLLM or SGLang on NVIDIA",
        instead="FP8 where memory allows; GGUF or MLX on a Mac",
    )


def autoround(bits: int, group: int) -> Card:
    return Card(
        what=f"AutoRound: whole numbers of {bits} bits whose rounding was learned, layer by layer",
        packing=grouped(bits, group, True),
        activations="16 bits unless the name says otherwise",
        engines="vLLM, SGLang, transformers (auto-round); localq where the packing inside is GPTQ's or AWQ's",
        made="128 to 512 calibration pieces, about 12 minutes for 8B on an A100",
        quality=(
            Figure(
                "Llama-3.1-8B, mean of 13 tasks: .6212 in 16 bits, .6106 in 4 bits (groups of 128)",
                "intel/auto-round, documentation",
            ),
        )
        if bits == 4
        else (),
        who="who wants the best 2 to 4 bits for vLLM; Intel GPUs",
        instead="AWQ or GPTQ where AutoRound is not supported",
    )


def hqq(bits: int, group: int) -> Card:
    parts = ((group, bits, "codes"), (1, 16, "scale"), (1, 16, "zero point"))
    return Card(
        what=f"HQQ: whole numbers of {bits} bits with a zero point that is a float, fitted without any text",
        packing=Packing(f"hqq_{bits}bit_g{group}", group, group, False, parts),
        activations="16 bits",
        engines="transformers (hqq), vLLM; localq",
        made="no calibration text, seconds to minutes",
        quality=(
            Figure(
                "Llama-2-70B in 2 bits (groups of 16): perplexity 4.13, where 13B in fp16 has 4.63",
                "mobiuslabs, model card",
            ),
        )
        if bits == 2
        else (),
        who="who wants to quantise at once, without data",
        instead="AWQ, GPTQ or AutoRound at 4 bits and below when there is time to calibrate",
    )


def bnb_int8() -> Card:
    return Card(
        what="bitsandbytes LLM.int8: whole numbers of 8 bits, one scale per row; outlier columns multiply in 16 bits",
        packing=Packing("bnb_int8", 4096, 4096, True, ((4096, 8, "codes"), (1, 32, "scale"))),
        activations="8 bits where they are small, 16 bits for outliers",
        engines="transformers with bitsandbytes on NVIDIA; localq reads it",
        made="while loading, without calibration",
        who="who trains adapters or tries a model quickly",
        instead="FP8 or W8A8 for serving; Q8_0 or MLX 8-bit on a Mac",
    )


def w8a8() -> Card:
    return Card(
        what="W8A8: weights and activations in 8 bits, so that the multiplication itself is in 8 bits",
        packing=Packing("", 4096, 4096, True, ((4096, 8, "codes"), (1, 16, "scale"))),
        activations="8 bits, as a rule scaled per token while running",
        engines="vLLM, SGLang, TensorRT-LLM",
        made="llm-compressor: SmoothQuant and GPTQ for whole numbers, plain rounding for FP8",
        quality=(
            Figure(
                "WikiText-2 perplexity: Llama-2-7B 5.474 to 5.515, Llama-3-8B 6.138 to 6.258 (integers)",
                "mit-han-lab/smoothquant",
            ),
        ),
        who="who serves many requests at once: prefill and large batches get faster, not only smaller",
        instead="W4A16 for one user at a time: there memory decides, and weights are half as large",
    )


def weights_only(bits: int, activations: int, group: int | None, scheme: str) -> Card:
    size = group or 128
    usual = "" if group else " (groups of 128, compressed-tensors' preset: the name gives none)"
    return Card(
        what=f"{scheme}: weights in {bits} bits, activations in {activations}{usual if bits == 4 else ''}",
        packing=grouped(bits, size, False) if bits < 8 else None,
        activations=f"{activations} bits",
        engines="vLLM, SGLang (compressed-tensors, GPTQ or AutoRound inside: look at the config)",
        made="llm-compressor (GPTQ, AWQ) or AutoRound, with a calibration text",
        quality=(
            Figure(
                "Llama-2-7B, groups of 128: 5.47 in fp16; 5.60 by AWQ, 5.69 by GPTQ, 5.73 by rounding",
                "arXiv 2306.00978",
            ),
        )
        if (bits, activations) == (4, 16)
        else (),
        who="who serves few requests at a time: weights are what is read for every token",
        instead="W8A8 or FP8 for many requests at once; GGUF or MLX on a Mac",
    )
