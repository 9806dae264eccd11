"""Codebooks of vectors, trellises, ternary models, and containers with schemes of their own. Figures as published."""

from __future__ import annotations

from localq.inspect.knowledge.base import Card, Figure

CARDS = {
    "aqlm": Card(
        what="AQLM: groups of 8 weights are sums of entries of learned codebooks (1x16: one of 65,536 entries)",
        activations="16 bits",
        engines="transformers (aqlm), vLLM",
        made="hours to weeks: about 720 A100-hours for 70B",
        quality=(
            Figure(
                "Llama-2-7B in 2 bits (1x16), WikiText-2: 5.92, after PV tuning 5.68", "arXiv 2401.06118, 2405.14852"
            ),
        ),
        who="who must fit a large model into 2 bits on NVIDIA",
        instead="exl3 at the same bits; a smaller model in 4 bits",
    ),
    "quip": Card(
        what="QuIP#: rotated weights, eight at a time, as points of the E8 lattice",
        activations="16 bits",
        engines="its own code (GPL); few others",
        made="calibrated on a GPU, hours",
        quality=(Figure("Llama-2-7B in 4 bits, WikiText-2: 5.12 in fp16, 5.19", "arXiv 2406.11235"),),
        who="research",
        instead="exl3, which carries the idea on",
    ),
    "qtip": Card(
        what="QTIP: rotated weights as a path through a trellis: vector quantisation without a large table",
        activations="16 bits",
        engines="its own code (GPL); exl3 is a descendant",
        made="calibrated on a GPU, hours",
        quality=(Figure("Llama-2-7B in 4 bits, WikiText-2: 5.12 in fp16, 5.17", "arXiv 2406.11235"),),
        who="research",
        instead="exl3",
    ),
    "vptq": Card(
        what="VPTQ: vectors of weights as entries of a learned codebook, with a second codebook for what is left",
        activations="16 bits",
        engines="transformers (vptq)",
        made="calibrated on GPUs, hours",
        who="who must fit a large model into 2 to 3 bits",
        instead="exl3 or AutoRound at 2 bits",
    ),
    "bitnet": Card(
        what="BitNet b1.58: every weight is -1, 0 or 1 (log2 3 = 1.58 bits), trained that way from the start",
        activations="8 bits per token",
        engines="bitnet.cpp, llama.cpp (TQ1_0, TQ2_0), transformers",
        made="trained, never converted: rounding an ordinary model to three values destroys it",
        quality=(Figure("3B trained alike, perplexity: 10.04 in fp16, 9.91 in ternary", "arXiv 2402.17764"),),
        who="who wants a small model on a CPU",
        instead="a 4-bit build of an ordinary model of the same memory",
    ),
    "exl2": Card(
        what="EXL2: GPTQ's rounding with bits mixed from 2 to 8 per layer to meet an average",
        activations="16 bits",
        engines="exllamav2, TabbyAPI: NVIDIA only",
        made="calibrated, minutes to hours on one GPU",
        who="one user on one NVIDIA card",
        instead="exl3: better at the same bits",
    ),
    "exl3": Card(
        what="EXL3: rotated weights coded along a trellis (after QTIP), any average of bits",
        activations="16 bits",
        engines="exllamav3, TabbyAPI: NVIDIA only",
        made="calibrated, hours for 70B on a 4090",
        who="one user on one NVIDIA card, 2 to 4 bits",
        instead="GGUF i-quants or MLX on a Mac",
    ),
    "mlc": Card(
        what="MLC: q4f16_1 is 4-bit whole numbers with 16-bit activations, compiled for one target",
        activations="16 or 32 bits, as the name's f16 or f32 says",
        engines="MLC-LLM, WebLLM",
        made="mlc_llm convert_weight, rounding",
        who="who runs a model in a browser or on a phone",
        instead="GGUF or MLX on a computer",
    ),
    "ik": Card(
        what="a type of ik_llama.cpp, a fork of llama.cpp: tables of levels (IQ*_K) or a trellis (IQ*_KT)",
        activations="as in llama.cpp",
        engines="ik_llama.cpp alone: llama.cpp, Ollama and localq refuse it",
        made="ik_llama.cpp's llama-quantize, with an importance matrix",
        who="who runs a very large mixture of experts on CPU and GPU with that fork",
        instead="llama.cpp's own types of the same bits",
    ),
}

# What a method does besides the scheme that a name gives.
METHODS = {
    "qat": "QAT: the model was trained to be rounded to this grid, so it loses less; requantising throws that away",
    "dwq": "DWQ: MLX scales and biases tuned so that the outputs follow the original's, from text, in hours",
    "modelopt": "modelopt: NVIDIA's Model Optimizer made it",
    "compressed-tensors": "compressed-tensors: llm-compressor's; its config says which module has which scheme",
    "smoothquant": "SmoothQuant: outliers of activations are moved into the weights, so that 8-bit activations work",
    "spinquant": "SpinQuant: learned rotations spread outliers, for 4-bit weights and activations",
    "torchao": "torchao: PyTorch's own quantisation",
    "quanto": "quanto: Hugging Face's optimum-quanto",
    "quark": "Quark: AMD's quantiser",
    "higgs": "HIGGS: rotated weights with the best grid for a normal distribution",
    "spqr": "SpQR: low bits with outliers kept apart in 16 bits",
    "sinq": "SINQ: a scale per row and per column, without calibration",
    "eetq": "EETQ: 8-bit whole numbers in a layout for NVIDIA's kernels",
    "paroquant": "ParoQuant: pairs of channels are rotated before rounding",
}
