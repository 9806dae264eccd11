"""Expected tokens per second from bytes, bandwidth and arithmetic; the assumption is always told with the number.

    decode:  t = (weights read + KV read) / (eta x bandwidth) + layers x t0
    prefill: tokens/s = FLOP/s reached / (2 x active parameters + 2 x layers x heads x head_dim x context)

eta and t0 are fitted to published llama.cpp and MLX figures: large matvecs stream at 86 to 97 % of an Apple chip's
bandwidth (Ultras 80 to 87 %) and 82 microseconds a layer go to launches (mlx-lm BENCHMARKS.md, M4 Max); on NVIDIA
cards 85 % and 45 microseconds reproduce discussion 15013 within about 15 %. FLOP/s are those that pp512 of
Llama-2-7B Q4_0 reached (discussions 4167 and 15013): an expectation, not a measurement of localq.
"""

from __future__ import annotations

from typing import NamedTuple

from localq.fit.machines import Target


class Assumption(NamedTuple):
    """Share of the bandwidth that large products reach, and seconds a layer costs besides."""

    eta: float
    per_layer: float
    source: str


class Speed(NamedTuple):
    """Tokens per second, None where a figure is missing; `words` names the assumption."""

    decode: float | None
    prefill: float | None
    words: str


_APPLE = Assumption(0.90, 82e-6, "90 % of bandwidth, 82 us a layer (fit to mlx-lm on M4 Max)")
_ULTRA = Assumption(0.80, 82e-6, "80 % of bandwidth, 82 us a layer (Ultra chips in llama.cpp's table)")
_NVIDIA = Assumption(0.85, 45e-6, "85 % of bandwidth, 45 us a layer (fit to llama.cpp's CUDA table)")
_CPU = Assumption(0.80, 0.0, "80 % of the copy bandwidth, llama.cpp's kernels")

# TFLOP/s in prefill: chip -> figure derived from pp512 of Llama-2-7B Q4_0, by its largest GPU.
PREFILL_TFLOPS = {
    "Apple M1": 1.6, "Apple M1 Pro": 3.6, "Apple M1 Max": 7.1, "Apple M1 Ultra": 13.9, "Apple M2": 2.4,
    "Apple M2 Pro": 4.6, "Apple M2 Max": 9.0, "Apple M2 Ultra": 16.7, "Apple M3": 2.5, "Apple M3 Pro": 4.6,
    "Apple M3 Max": 10.2, "Apple M3 Ultra": 19.8, "Apple M4": 3.0, "Apple M4 Pro": 5.9, "Apple M4 Max": 11.9,
    "Apple M5 Max": 13.0, "RTX 3060": 29, "RTX 3090": 70, "RTX 4090": 162, "RTX 5060 Ti": 50, "RTX 5070 Ti": 94,
    "RTX 5080": 112, "RTX 5090": 190, "A100-SXM4-80GB": 65, "H100 80GB HBM3": 134,
}  # fmt: skip


class Work(NamedTuple):
    """What one token costs.

    Attributes:
        weights: bytes of weights a decode step reads (an untied embedding not, of experts those used).
        cache: bytes of keys and values it reads at the context asked for.
        layers: of the model.
        active: parameters a token is multiplied with.
        attention: FLOP of attention per token of context and token (2 x layers x heads x head_dim).
        context: tokens.
    """

    weights: int
    cache: int
    layers: int
    active: int
    attention: int
    context: int


def expect(target: Target, work: Work) -> Speed:
    """What to expect of a machine; several GPUs are taken as one after the other (layers split), not as faster."""
    found = _assumption(target)
    decode = prefill = None
    if target.bandwidth.gb_per_s:
        seconds = (work.weights + work.cache) / (found.eta * target.bandwidth.gb_per_s * 1e9)
        decode = 1 / (seconds + work.layers * found.per_layer)
    tflops = PREFILL_TFLOPS.get(target.chip)
    if tflops:
        prefill = tflops * 1e12 / (2 * work.active + work.attention * work.context)
    words = found.source
    if target.bandwidth.gb_per_s is None:
        words = f"bandwidth unknown ({target.bandwidth.source})"
    return Speed(decode, prefill, words)


def _assumption(target: Target) -> Assumption:
    if target.device == "metal":
        return _ULTRA if "Ultra" in target.chip else _APPLE
    return _NVIDIA if target.device == "cuda" else _CPU
